//! Which session a run starts from: the one somebody asked for, else that of its task, else none.
//!
//! What is decided is `domain::wake::resume` and `domain::duty`; here is what they look at. Saving a session is for the
//! settlement, forgetting one for `sessions`.

use domain::duty;
use domain::ids::RunId;
use domain::moment::Moment;
use domain::wake::resume::{self, DISPLAY_LIMIT, EndedRun, TaskSession};
use domain::wake::{WakeRequest, interaction, task_key};
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::runs::Run;
use store::sessions::GoneSession;
use store::{StoreError, Tx, runs, sessions};

/// Lets a wake that names an ended run go on where that one ended. A run that is unknown, or another agent's, is no
/// error and changes nothing.
pub(crate) async fn ask(tx: &mut Tx<'_>, agent: &Agent, request: &mut WakeRequest) -> Result<(), StoreError> {
    let named = request.payload.get("resumeFromRunId").and_then(Json::as_str);
    let Some(named) = named.filter(|id| !id.trim().is_empty()).map(RunId::from) else { return Ok(()) };
    let Some(run) = runs::get(tx, &named).await?.filter(|run| run.agent_id == agent.id) else {
        return Ok(());
    };
    let ended = EndedRun {
        id: run.id,
        context: run.context.as_object().cloned().unwrap_or_default(),
        session_before: run.session_before,
        session_after: run.session_after,
    };
    let of_wake = task_key(&request.context, &request.payload);
    let saved = match resume::key_to_resume(&ended, of_wake.as_deref()) {
        Some(key) => sessions::of_task(tx, &agent.id, &agent.adapter_type, &key).await?,
        None => None,
    };
    let saved = saved.map(|saved| TaskSession {
        last_run: saved.last_run_id,
        display_id: Some(saved.session_id.chars().take(DISPLAY_LIMIT).collect()),
        params: Some(saved.params.unwrap_or_else(|| json!({ "sessionId": saved.session_id }))),
    });
    if let Some(resumed) = resume::decide(&ended, saved.as_ref()) {
        resume::apply(&resumed, &ended, &mut request.context);
    }
    Ok(())
}

/// The session that a run with this context and task starts from now.
pub(crate) async fn session_of(
    tx: &mut Tx<'_>,
    agent: &Agent,
    context: &Json,
    task_key: &str,
) -> Result<Option<String>, StoreError> {
    let text = |value: &Json| value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned);
    // Whoever carries a run on begins where that run ended, not where it began.
    let is_first = context.get("retryOfRunId").is_none_or(Json::is_null);
    let asked = text(&context["resumeSessionParams"]["sessionId"])
        .or_else(|| text(&context["resumeSessionDisplayId"]))
        .filter(|_| is_first);
    if asked.is_some() {
        return Ok(asked);
    }
    if resets(context).is_some() {
        return Ok(None);
    }
    let session = sessions::of_task(tx, &agent.id, &agent.adapter_type, task_key).await?;
    Ok(session.map(|session| session.session_id))
}

/// What in the context of a run sets the session of its task aside; nothing does where one was asked for.
pub(crate) fn resets(context: &Json) -> Option<&str> {
    let forced = context["forceFreshSession"] == Json::Bool(true);
    let reason = context.as_object().and_then(interaction::reason);
    let by_reason = reason.filter(|reason| duty::of_wake(Some(reason), false, false).resets_session);
    by_reason.or(forced.then_some("forceFreshSession"))
}

/// Notes that the session a run asked for is gone: nobody asks for it again, under whatever task it was kept.
pub(crate) async fn mark_gone(
    tx: &mut Tx<'_>,
    run: &Run,
    adapter_type: &str,
    session: &str,
    now: Moment,
) -> Result<(), StoreError> {
    let gone = GoneSession {
        company_id: run.company_id.clone(),
        agent_id: run.agent_id.clone(),
        adapter_type: adapter_type.to_owned(),
        session_id: session.to_owned(),
        run_id: run.id.clone(),
        found_at: now,
    };
    sessions::mark_gone(tx, &gone).await
}

/// The session that a run resumes is the one its task has when it starts, not when it was queued.
pub(crate) async fn renew(tx: &mut Tx<'_>, agent: &Agent, run: &mut Run) -> Result<(), StoreError> {
    let session = session_of(tx, agent, &run.context, &run.task_key).await?;
    if session != run.session_before {
        runs::set_session_before(tx, &run.id, session.as_deref()).await?;
        run.session_before = session;
    }
    Ok(())
}
