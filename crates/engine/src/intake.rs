//! The one door in: a request to wake an agent becomes a recorded wake, and with a free slot a running run.
//!
//! Load, decide, apply, all in one transaction with the agent locked, and behind it the issue that the wake names; what is
//! decided is `domain::wake`, whether the run may start at once is `domain::claim`. A deferred wake whose turn has come
//! passes here again. Starting a process happens after the commit, elsewhere.

use domain::agent::{AgentStatus, HeartbeatPolicy};
use domain::claim::{self, Gate};
use domain::ids::{AgentId, IssueId, RunId, WakeId};
use domain::moment::Moment;
use domain::recovery::breaker::HELD_REASON;
use domain::recovery::looks;
use domain::run::RunStatus;
use domain::wake::{
    self, ActorKind, BudgetBlock, Decision, IssueView, Refusal, SameKey, ScopeRun, SkipReason, Source,
    StaleRetry, Verdict, WakeRequest, WakeStatus, WakeView,
};
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::leases::Claimed;
use store::runs::Run;
use store::wakes::Wake;
use store::{StoreError, Tx, agents, locks, runs, wakes};

use crate::claims::{Claim, Claimant, Dismissal, Room};
use crate::digest;
use crate::issue_views::AtDoor;
use crate::{breaker, budgets, claims, issue_views, resuming, signals};

/// Ids and conditions of an admission: everything the transaction needs and must not fetch itself, because it may run twice.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    pub wake_id: WakeId,
    pub run_id: RunId,
    pub now: Moment,
    pub claimant: Claimant,
    /// Processes this node may run, and how many it runs.
    pub instance_slots: u32,
    pub instance_running: u32,
    /// What a follow-up of an earlier run carries on.
    pub chain: Chain,
    /// The deferred wake whose turn has come; no new one is recorded.
    pub promotes: Option<Box<Wake>>,
}

/// What a new run inherits from the run it follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    pub retry_of: Option<RunId>,
    pub process_loss_retries: u32,
    pub retry_attempt: u32,
    pub retry_reason: Option<&'static str>,
    /// It waits until then.
    pub retry_at: Option<Moment>,
}

/// What became of a request.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// A run of its own, with the lease when it was claimed at once.
    Queued { run: Box<Run>, claimed: Option<Claimed> },
    /// It joined this run.
    Merged { run: Box<Run> },
    /// Recorded, nothing starts.
    Skipped { wake: Box<Wake>, reason: SkipReason },
    /// Recorded, the caller gets an error.
    Refused { refusal: Refusal },
    /// It waits behind another agent's run, in this wake.
    Deferred { wake: Box<Wake> },
    /// The answer of an earlier wake with the same key and body.
    Replayed { wake: Box<Wake>, run: Option<Box<Run>> },
    /// The key was used for another request.
    KeyReused { wake: WakeId },
}

/// A hash of everything a caller asked for: object keys in order, so that equal requests are equal.
pub fn body_hash(parts: &Json) -> String {
    digest::sha256(canonical(parts).to_string())
}

fn canonical(value: &Json) -> Json {
    match value {
        Json::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            Json::Object(
                keys.into_iter().map(|key| (key.clone(), canonical(&map[key]))).collect::<Map<_, _>>(),
            )
        }
        Json::Array(items) => Json::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

/// Loads, decides and applies for an agent whose row is locked.
pub(crate) async fn admit(
    tx: &mut Tx<'_>,
    agent: &Agent,
    request: &WakeRequest,
    admission: &Admission,
) -> Result<Fate, StoreError> {
    let earlier = match &request.idempotency_key {
        Some(key) => wakes::with_key(tx, &agent.company_id, &agent.id, key).await?,
        None => None,
    };
    let mut request = request.clone();
    wake::enrich(&mut request);
    let policy = HeartbeatPolicy::read(&agent.runtime_config, &agent.adapter_type);
    let mut view = WakeView {
        agent: agent.status,
        policy,
        same_key: earlier.as_ref().map(|wake| SameKey {
            wake: wake.id.clone(),
            body_hash: wake.body_hash.clone().unwrap_or_default(),
        }),
        budget_block: None,
        scope: Vec::new(),
        has_work: false,
        issue: None,
    };
    let mut door = None;
    if earlier.is_none() {
        resuming::ask(tx, agent, &mut request).await?;
        door = look(tx, agent, &mut request, &mut view, admission.now).await?;
    }
    let ask = Ask { agent, admission, task_key: task_key_of(&request), door: door.as_ref() };
    let Verdict { decision, cancel_retries, context, payload } = wake::decide(&view, &request);
    request.context.extend(context);
    request.payload.extend(payload);
    ask.drop_retries(tx, &cancel_retries).await?;
    let decision = match decision {
        Decision::Queue | Decision::Merge { .. } if ask.goes_in_a_circle(tx, &request).await? => {
            return ask.hold_circle(tx, &request).await;
        }
        decision => decision,
    };
    match decision {
        Decision::Replay { wake } => replay(tx, earlier, wake).await,
        Decision::KeyReused { wake } => Ok(Fate::KeyReused { wake }),
        Decision::Refuse(refusal) => ask.refuse(tx, &request, refusal).await,
        Decision::Skip(reason) => ask.skip(tx, &request, reason).await,
        Decision::Merge { into, reason } => match ask.merge(tx, &request, &into, reason).await? {
            Some(fate) => Ok(fate),
            // It ended a moment ago, and nothing else waits in its scope.
            None => ask.queue(tx, request, &view).await,
        },
        Decision::Fold { into } => ask.fold(tx, &request, &into).await,
        Decision::Defer { merge_into } => ask.defer(tx, &request, merge_into, wake::DEFERRED).await,
        Decision::Queue => ask.queue(tx, request, &view).await,
    }
}

fn task_key_of(request: &WakeRequest) -> String {
    wake::task_key(&request.context, &request.payload).unwrap_or_default()
}

/// Fills the view, with the issue locked that the wake names, and the project of the wake into its context.
async fn look(
    tx: &mut Tx<'_>,
    agent: &Agent,
    request: &mut WakeRequest,
    view: &mut WakeView,
    now: Moment,
) -> Result<Option<AtDoor>, StoreError> {
    let door = match issue_named(&request.context) {
        Some(id) => Some(issue_views::at_door(tx, agent, &id, request).await?),
        None => None,
    };
    let of_issue = door.as_ref().and_then(|door| door.issue.as_ref()?.project_id.as_deref());
    let project = wake::project_of(&request.context, of_issue);
    // What was accepted before is held by a budget, and not refused (D1).
    if !request.carries_on {
        view.budget_block = budgets::block(tx, &agent.company_id, &agent.id, project.as_deref(), now).await?;
    }
    if let Some(project) = project {
        request.context.entry("projectId").or_insert_with(|| project.into());
    }
    view.scope = scope(tx, agent, &task_key_of(request)).await?;
    if let Some(issue) = issue_named(&request.context).filter(|it| wake::is_scope_of_another(&view.scope, it))
    {
        view.scope = scope(tx, agent, issue.as_str()).await?;
        request.context.insert("taskKey".to_owned(), issue.0.into());
    }
    if request.source == Source::Timer && view.policy.skip_when_idle {
        view.has_work = !view.scope.is_empty() || store::issues::has_work(tx, &agent.id).await?;
    }
    view.issue = door.as_ref().map(|door| door.view.clone());
    Ok(door)
}

async fn scope(tx: &mut Tx<'_>, agent: &Agent, task_key: &str) -> Result<Vec<ScopeRun>, StoreError> {
    let found = runs::in_scope(tx, &agent.id, task_key).await?.into_iter();
    let of = |(id, status, stopping, issue): (_, _, _, Option<String>)| ScopeRun {
        id,
        status,
        stopping,
        issue: issue.map(IssueId),
    };
    Ok(found.map(of).collect())
}

fn issue_named(context: &Map<String, Json>) -> Option<IssueId> {
    context.get("issueId").and_then(Json::as_str).filter(|id| !id.trim().is_empty()).map(IssueId::from)
}

/// Where the record of a wake keeps which budget refused it: a repeated request gets the same answer.
const BLOCKED_BY: &str = "budgetBlock";

async fn replay(tx: &mut Tx<'_>, earlier: Option<Wake>, id: WakeId) -> Result<Fate, StoreError> {
    let wake = match earlier {
        Some(wake) => wake,
        None => return Ok(Fate::KeyReused { wake: id }),
    };
    let refused_by = wake.error.as_deref().and_then(AgentStatus::parse);
    if let (WakeStatus::Failed, None, Some(status)) = (wake.status, &wake.run_id, refused_by) {
        return Ok(Fate::Refused { refusal: Refusal::NotInvokable(status) });
    }
    if let (WakeStatus::Skipped, None, Some(scope)) =
        (wake.status, &wake.run_id, wake.payload.get(BLOCKED_BY))
    {
        let text = |key: &str| scope[key].as_str().unwrap_or_default().to_owned();
        let reason = wake.error.clone().unwrap_or_default();
        let block = BudgetBlock { reason, scope_type: text("scopeType"), scope_id: text("scopeId") };
        return Ok(Fate::Refused { refusal: Refusal::Budget(block) });
    }
    let run = match &wake.run_id {
        Some(run) => runs::get(tx, run).await?.map(Box::new),
        None => None,
    };
    Ok(Fate::Replayed { wake: Box::new(wake), run })
}

/// A request on its way to its fate.
struct Ask<'a> {
    agent: &'a Agent,
    admission: &'a Admission,
    task_key: String,
    /// The issue that it names, locked.
    door: Option<&'a AtDoor>,
}

impl Ask<'_> {
    /// Retries on the issue that nobody needs any more end, whosever they are: their issue is locked.
    async fn drop_retries(&self, tx: &mut Tx<'_>, stale: &[(RunId, StaleRetry)]) -> Result<(), StoreError> {
        let Some(AtDoor { issue: Some(issue), live, .. }) = self.door else { return Ok(()) };
        for (id, why) in stale {
            if let Some(run) = live.iter().find(|run| run.id == *id) {
                let why = Dismissal::of_retry(*why, run, issue);
                claims::dismiss(tx, run, &why, self.admission.now).await?;
            }
        }
        Ok(())
    }

    async fn refuse(
        &self,
        tx: &mut Tx<'_>,
        request: &WakeRequest,
        refusal: Refusal,
    ) -> Result<Fate, StoreError> {
        let (reason, status) = refusal.record();
        // The state that refused is kept: a repeated request with the same key gets the same answer.
        let error = match &refusal {
            Refusal::NotInvokable(status) => status.as_str().to_owned(),
            Refusal::Budget(block) => block.reason.clone(),
        };
        let mut wake =
            Wake { reason: Some(reason.into()), error: Some(error), ..self.record(request, status, None) };
        if let (Refusal::Budget(block), Json::Object(payload)) = (&refusal, &mut wake.payload) {
            let scope = json!({ "scopeType": block.scope_type, "scopeId": block.scope_id });
            payload.insert(BLOCKED_BY.to_owned(), scope);
        }
        self.save(tx, &wake).await?;
        self.look_later(tx).await?;
        Ok(Fate::Refused { refusal })
    }

    async fn skip(
        &self,
        tx: &mut Tx<'_>,
        request: &WakeRequest,
        reason: SkipReason,
    ) -> Result<Fate, StoreError> {
        let wake =
            Wake { reason: Some(reason.as_str().into()), ..self.record(request, WakeStatus::Skipped, None) };
        self.save(tx, &wake).await?;
        if let Some(AtDoor { issue: Some(issue), view: IssueView::Found(facts), .. }) = self.door
            && let (SkipReason::TreeHold, Some(hold)) = (reason, &facts.hold)
        {
            let action = "issue.tree_hold_wakeup_deferred";
            let details = wake::issue::hold_activity(hold, request);
            let cause = (wake.id.as_str(), None);
            claims::tell_issue(tx, (issue, action), cause, details, self.admission.now).await?;
            self.look_later(tx).await?;
        }
        Ok(Fate::Skipped { wake: Box::new(wake), reason })
    }

    /// The work on the issue was turned away: somebody looks after it, or nothing would ever begin it when what turned
    /// it away is over.
    async fn look_later(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let Some(AtDoor { issue: Some(issue), .. }) = self.door else { return Ok(()) };
        if issue.assignee_agent_id.as_ref() == Some(&self.agent.id) {
            store::issues::check_by(tx, &issue.id, self.admission.now.plus(looks::AFTER)).await?;
        }
        Ok(())
    }

    /// `None`: the run waits no more.
    async fn merge(
        &self,
        tx: &mut Tx<'_>,
        request: &WakeRequest,
        into: &RunId,
        reason: Option<&'static str>,
    ) -> Result<Option<Fate>, StoreError> {
        // The agent is locked and claims lock it too, so the run can only have ended: as a retry of an issue that
        // somebody else was woken for.
        let Some(mut run) = runs::lock(tx, into).await? else { return Ok(None) };
        if !matches!(run.status, RunStatus::Queued | RunStatus::ScheduledRetry) {
            return Ok(None);
        }
        let reason = reason.map(str::to_owned).or_else(|| request.reason.clone());
        let wake =
            Wake { coalesced_count: 1, reason, ..self.record(request, WakeStatus::Coalesced, Some(into)) };
        self.save(tx, &wake).await?;
        let existing = run.context.as_object().cloned().unwrap_or_default();
        let merged = wake::merge_context(&existing, &request.context);
        if run.issue_id.is_none() {
            // It was asked for without an issue until now.
            run.issue_id = issue_named(&merged).map(|issue| issue.0);
            run.project_id = wake::project_of(&merged, None).or(run.project_id);
        }
        run.context = Json::Object(merged);
        runs::replace_context(tx, &run, self.admission.now).await?;
        Ok(Some(Fate::Merged { run: Box::new(run) }))
    }

    async fn fold(&self, tx: &mut Tx<'_>, request: &WakeRequest, into: &RunId) -> Result<Fate, StoreError> {
        let wake = Wake { coalesced_count: 1, ..self.record(request, WakeStatus::Coalesced, Some(into)) };
        self.save(tx, &wake).await?;
        match runs::get(tx, into).await? {
            Some(run) => Ok(Fate::Merged { run: Box::new(run) }),
            None => Ok(Fate::Skipped { wake: Box::new(wake), reason: SkipReason::NoWork }),
        }
    }

    /// Agents wake each other in a circle, and this wake is one of it.
    async fn goes_in_a_circle(&self, tx: &mut Tx<'_>, request: &WakeRequest) -> Result<bool, StoreError> {
        if request.actor.kind != ActorKind::Agent || self.admission.promotes.is_some() {
            return Ok(false);
        }
        let Some(AtDoor { issue: Some(issue), .. }) = self.door else { return Ok(false) };
        // The run that this wake will not have gives its id to the item that tells of the circle.
        let item = self.admission.run_id.as_str();
        breaker::admit_wake(tx, self.agent, &issue.id, request, item, self.admission.now).await
    }

    /// It waits until a person looks at the issue.
    async fn hold_circle(&self, tx: &mut Tx<'_>, request: &WakeRequest) -> Result<Fate, StoreError> {
        let waits = match issue_named(&request.context) {
            Some(issue) => wakes::deferred(tx, &self.agent.id, &issue).await?.map(|wake| wake.id),
            None => None,
        };
        self.defer(tx, request, waits, HELD_REASON).await
    }

    /// The wake waits behind another agent's run, alone or in the one that waits there already.
    async fn defer(
        &self,
        tx: &mut Tx<'_>,
        request: &WakeRequest,
        merge_into: Option<WakeId>,
        reason: &str,
    ) -> Result<Fate, StoreError> {
        let issue = issue_named(&request.context).unwrap_or_else(|| IssueId(String::new()));
        let stored = match &merge_into {
            Some(first) => wakes::get(tx, first).await?,
            None => None,
        };
        let reason = Some(reason.to_owned());
        let Some(mut first) = stored else {
            let payload = wake::park(None, &request.payload, issue.as_str(), &request.context);
            let wake = Wake {
                reason,
                payload: Json::Object(payload),
                ..self.record(request, WakeStatus::Deferred, None)
            };
            self.save(tx, &wake).await?;
            return Ok(Fate::Deferred { wake: Box::new(wake) });
        };
        let before = first.payload.as_object();
        first.payload = Json::Object(wake::park(before, &request.payload, issue.as_str(), &request.context));
        wakes::merge_deferred(tx, &first.id, &first.payload).await?;
        first.coalesced_count += 1;
        // Which one it went into: its own record has no run yet.
        let mut payload = request.payload.clone();
        payload.insert("deferredWakeupRequestId".to_owned(), json!(first.id));
        let wake = Wake {
            coalesced_count: 1,
            reason,
            payload: Json::Object(payload),
            ..self.record(request, WakeStatus::Coalesced, None)
        };
        self.save(tx, &wake).await?;
        Ok(Fate::Deferred { wake: Box::new(first) })
    }

    async fn queue(
        &self,
        tx: &mut Tx<'_>,
        request: WakeRequest,
        view: &WakeView,
    ) -> Result<Fate, StoreError> {
        let (agent, Admission { now, chain, .. }) = (self.agent, self.admission);
        let waits_for_retry = chain.retry_at.is_some();
        let status = if waits_for_retry { RunStatus::ScheduledRetry } else { RunStatus::Queued };
        let context = Json::Object(request.context.clone());
        let session = resuming::session_of(tx, agent, &context, &self.task_key).await?;
        let load = runs::load_of_agent(tx, &agent.id).await?;
        let wake = self.record(&request, WakeStatus::Queued, Some(&self.admission.run_id));
        let wake = match &self.admission.promotes {
            Some(_) => Wake { reason: Some(domain::promotion::PROMOTED.to_owned()), ..wake },
            None => wake,
        };
        let mut run = self.new_run(&request, &wake, status, session);
        let at_claim = self.door.map(|door| door.at_claim(&run, &request.actor));
        let gate = claim::gate(&claims::view(
            status,
            Some(budgets::status_at_claim(agent)),
            at_claim.clone(),
            view.scope.iter().any(|run| run.status == RunStatus::Running),
            Room {
                slots: view.policy.max_concurrent_runs,
                agent_running: load.running,
                instance_slots: self.admission.instance_slots,
                instance_running: self.admission.instance_running,
            },
        ));
        self.save(tx, &wake).await?;
        runs::insert(tx, &run).await?;
        let owner = (&agent.company_id, &agent.id, &run.id);
        let message = if waits_for_retry { "run scheduled for a retry" } else { "run queued" };
        let details = json!({
            "reason": request.reason, "source": request.source, "wakeupRequestId": wake.id,
            "retryOfRunId": chain.retry_of, "scheduledRetryAt": chain.retry_at,
        });
        signals::run_event(tx, owner, 1, signals::lifecycle("info", message, Some(details)), *now).await?;
        if !waits_for_retry {
            signals::run_queued(tx, &run, *now).await?;
        }
        self.point(tx, &run).await?;
        // Whoever waited before for the slots of this agent comes first: the dispatcher knows the order. It also ends
        // what will never start.
        let mut claimed = None;
        if gate == Gate::Open && load.queued == 0 {
            let issue = self.door.and_then(|door| door.issue.as_ref()).zip(at_claim.as_ref());
            if let Claim::Taken(taken) =
                claims::claim_locked(tx, agent, &mut run, issue, &self.admission.claimant, *now).await?
            {
                claimed = Some(taken);
            }
        }
        Ok(Fate::Queued { run: Box::new(run), claimed })
    }

    /// Clients are shown the assignee's run from the moment on that it waits, if no other is there to be shown.
    async fn point(&self, tx: &mut Tx<'_>, run: &Run) -> Result<(), StoreError> {
        let Some(door) = self.door else { return Ok(()) };
        let Some(issue) = &door.issue else { return Ok(()) };
        if issue.assignee_agent_id.as_ref() == Some(&run.agent_id) && door.points_nowhere() {
            locks::point_to(tx, &issue.id, Some(&run.id)).await?;
        }
        Ok(())
    }

    /// Writes the wake down: a new one, or what became of the one that was deferred.
    async fn save(&self, tx: &mut Tx<'_>, wake: &Wake) -> Result<(), StoreError> {
        match &self.admission.promotes {
            None => wakes::insert(tx, wake).await,
            Some(_) => wakes::settle_deferred(tx, wake).await.map(drop),
        }
    }

    fn record(&self, request: &WakeRequest, status: WakeStatus, run: Option<&RunId>) -> Wake {
        let finished_at = status.is_final().then_some(self.admission.now);
        if let Some(deferred) = &self.admission.promotes {
            return Wake { status, run_id: run.cloned(), finished_at, error: None, ..(**deferred).clone() };
        }
        Wake {
            id: self.admission.wake_id.clone(),
            company_id: self.agent.company_id.clone(),
            agent_id: self.agent.id.clone(),
            source: request.source,
            trigger_detail: request.trigger_detail,
            reason: request.reason.clone(),
            payload: Json::Object(request.payload.clone()),
            status,
            coalesced_count: 0,
            actor_kind: request.actor.kind,
            actor_id: request.actor.id.clone(),
            idempotency_key: request.idempotency_key.clone(),
            body_hash: request.idempotency_key.as_ref().map(|_| request.body_hash.clone()),
            run_id: run.cloned(),
            requested_at: self.admission.now,
            claimed_at: None,
            finished_at,
            error: None,
            issue_id: issue_named(&request.context),
        }
    }

    fn new_run(&self, request: &WakeRequest, wake: &Wake, status: RunStatus, session: Option<String>) -> Run {
        let Admission { now, chain, .. } = self.admission;
        let owner = (&self.agent.company_id, &self.agent.id);
        Run {
            trigger_detail: request.trigger_detail,
            status,
            task_key: self.task_key.clone(),
            issue_id: issue_named(&request.context).map(|id| id.0),
            context: Json::Object(request.context.clone()),
            retry_of_run_id: chain.retry_of.clone(),
            process_loss_retries: chain.process_loss_retries,
            retry_at: chain.retry_at,
            retry_attempt: chain.retry_attempt,
            retry_reason: chain.retry_reason.map(str::to_owned),
            session_before: session,
            project_id: wake::project_of(&request.context, None),
            continuation_attempt: i64::from(wake::resume::continuation_attempt(&request.context)),
            ..Run::waiting(self.admission.run_id.clone(), owner, &wake.id, request.source, *now)
        }
    }
}

/// The agent a wake is for, locked: first in the order of locks (D15).
pub(crate) async fn lock_agent(tx: &mut Tx<'_>, id: &AgentId) -> Result<Option<Agent>, StoreError> {
    agents::lock(tx, id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_requests_have_equal_hashes_whatever_the_order_of_keys() {
        let one: Json = serde_json::from_str(r#"{"a": {"x": 1, "y": [1, 2]}, "b": null}"#).expect("valid");
        let two: Json = serde_json::from_str(r#"{"b": null, "a": {"y": [1, 2], "x": 1}}"#).expect("valid");
        let other: Json = serde_json::from_str(r#"{"b": null, "a": {"y": [2, 1], "x": 1}}"#).expect("valid");
        assert_eq!(body_hash(&one), body_hash(&two));
        assert_ne!(body_hash(&one), body_hash(&other));
    }
}
