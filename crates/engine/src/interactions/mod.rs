//! Interactions on issues: an agent suggests tasks, asks questions or wants a confirmation; a person answers.
//!
//! An interaction is resolved once, by whoever comes first; asking again under the same key gives the first one back.
//! What a payload may hold is in `interactions::payload`, what accepted tasks become in `interactions::tasks`.

mod payload;
mod tasks;

use domain::gate::Answer as Said;
use domain::ids::{CommentId, CompanyId, IssueId, RunId};
use domain::issue::notices::{self, ContinuationPolicy, InteractionStatus, Resolved};
use domain::issue::refusal::{Kind, Refusal};
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::comments::{self, Comment};
use store::documents::{self, Document};
use store::interactions::{self, Answer, Interaction};
use store::issues::{self, Issue};
use store::{Tx, audit};

use crate::activity::{Author, Scribe};
use crate::issues::{Locks, Sheet, guard, send, standing};
use crate::{Engine, EngineError, gates, stops, verdicts};

/// The longest list of interactions.
const MOST_INTERACTIONS: i64 = 500;
/// The longest reason for a decline.
const REASON: usize = 4_000;

/// What an interaction asks for.
pub const KINDS: [&str; 3] = ["suggest_tasks", "ask_user_questions", "request_confirmation"];

/// A new interaction.
#[derive(Debug, Clone, PartialEq)]
pub struct InteractionDraft {
    /// One of [`KINDS`].
    pub kind: String,
    pub idempotency_key: Option<String>,
    pub source_comment_id: Option<CommentId>,
    /// Agents: always their run.
    pub source_run_id: Option<RunId>,
    pub title: Option<String>,
    pub summary: Option<String>,
    /// `None`: the assignee is woken, except for a confirmation.
    pub continuation_policy: Option<String>,
    pub payload: Json,
}

/// What a person says to an interaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Of suggested tasks only these; `None`: all.
    Accept {
        selected: Option<Vec<String>>,
    },
    Reject {
        reason: Option<String>,
    },
    /// `answers` is a list of `{questionId, optionIds}`.
    Respond {
        answers: Json,
        summary_markdown: Option<String>,
    },
}

impl Reply {
    /// The same, as it is said to everything that waits for a person.
    pub(crate) const fn answer(&self) -> Said {
        match self {
            Reply::Accept { .. } => Said::Approve,
            Reply::Reject { .. } => Said::Reject,
            Reply::Respond { .. } => Said::Respond,
        }
    }
}

impl Engine {
    /// Lists the interactions of an issue, oldest first, behind a place.
    pub async fn interactions(
        &self,
        issue: &IssueId,
        after: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Vec<Interaction>, EngineError> {
        let limit = limit.clamp(1, MOST_INTERACTIONS);
        let listed = self.inner.read((issue.clone(), after), move |tx, (issue, after)| {
            Box::pin(async move {
                if issues::get(tx, &issue).await?.is_none() {
                    return Ok(None);
                }
                interactions::list(tx, &issue, after, limit).await.map(Some)
            })
        });
        listed.await?.ok_or(EngineError::NotFound("Issue"))
    }

    /// Asks people something on an issue. The same key with the same question gives the one that was asked before.
    pub async fn create_interaction(
        &self,
        issue: &IssueId,
        draft: InteractionDraft,
        by: &Author,
    ) -> Result<Interaction, EngineError> {
        check(&draft)?;
        let context = (issue.clone(), draft);
        let asked = self.inner.change(by, Locks::of(issue), context, |tx, mut scribe, locks, (id, draft)| {
            Box::pin(async move {
                let locked = locks.take(tx).await?;
                let issue = locked.issues.get(&id).ok_or(Refusal::IssueNotFound)?;
                ask(tx, &mut scribe, issue, draft).await
            })
        });
        asked.await
    }

    /// Resolves an interaction. Only people may.
    pub async fn resolve_interaction(
        &self,
        issue: &IssueId,
        interaction: &str,
        reply: Reply,
        by: &Author,
    ) -> Result<Interaction, EngineError> {
        self.resolve_interaction_seen(issue, interaction, reply, None, by).await
    }

    /// The same. `seen`: the hash of what the person was shown (`gates`); then it counts for exactly that.
    pub(crate) async fn resolve_interaction_seen(
        &self,
        issue: &IssueId,
        interaction: &str,
        reply: Reply,
        seen: Option<String>,
        by: &Author,
    ) -> Result<Interaction, EngineError> {
        if !by.is_board() {
            return Err(Refusal::BoardRequired.into());
        }
        let context = (issue.clone(), interaction.to_owned(), reply, seen);
        let resolved = self.inner.change(
            by,
            Locks::of(issue),
            context,
            |tx, mut scribe, locks, (id, interaction, reply, seen)| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&id).ok_or(Refusal::IssueNotFound)?;
                    resolve(tx, &mut scribe, issue, &interaction, reply, seen.as_deref()).await
                })
            },
        );
        resolved.await
    }
}

async fn ask(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    draft: InteractionDraft,
) -> Result<Interaction, EngineError> {
    let custodian = guard(tx, scribe, issue).await?;
    if scribe.by.agent_id().is_some() && scribe.by.run_id().is_none() {
        return Err(Refusal::RunIdRequired.into());
    }
    let default = if draft.kind == "request_confirmation" { "none" } else { "wake_assignee" };
    let asked = Interaction {
        id: scribe.id(),
        company_id: issue.company_id.clone(),
        issue_id: issue.id.clone(),
        status: "pending".to_owned(),
        continuation_policy: draft.continuation_policy.unwrap_or_else(|| default.to_owned()),
        idempotency_key: draft.idempotency_key,
        source_comment_id: draft.source_comment_id,
        source_run_id: scribe.by.run_id().or(draft.source_run_id),
        title: draft.title,
        summary: draft.summary,
        created_by_agent_id: scribe.by.agent_id(),
        created_by_user_id: scribe.by.user_id(),
        resolved_by_agent_id: None,
        resolved_by_user_id: None,
        payload: payload::normalised(&draft.kind, draft.payload),
        result: None,
        resolved_at: None,
        created_at: scribe.now,
        updated_at: scribe.now,
        kind: draft.kind,
    };
    let before = match &asked.idempotency_key {
        None => None,
        Some(key) => interactions::with_key(tx, &issue.id, key).await?,
    };
    if let Some(before) = before {
        let words = "Interaction idempotency key already exists for a different request";
        let differs = || EngineError::refused(Kind::Conflict, words);
        return is_same(&before, &asked).then_some(before).ok_or_else(differs);
    }
    if let Some(comment) = &asked.source_comment_id {
        let found = comments::get(tx, comment).await?.filter(|comment| comment.issue_id == issue.id);
        found.ok_or(EngineError::NotFound("Comment"))?;
    }
    if stale_target(tx, &issue.company_id, &asked).await?.is_some() {
        let words = "Confirmation target is not the current revision";
        return Err(EngineError::refused(Kind::Unprocessable, words));
    }
    if !interactions::insert(tx, &asked).await? {
        let words = "Interaction idempotency key already exists for a different request";
        return Err(EngineError::refused(Kind::Conflict, words));
    }
    custodian.keep(tx, scribe, issue).await?;
    tell(tx, scribe, &asked, "issue.thread_interaction_created").await?;
    issues::touch(tx, &issue.id, scribe.now).await?;
    Ok(asked)
}

/// The same question of the same author. The run is left out: a key is to survive the run that made it.
fn is_same(before: &Interaction, asked: &Interaction) -> bool {
    let of = |it: &Interaction| {
        (
            (it.kind.clone(), it.continuation_policy.clone(), it.source_comment_id.clone()),
            (it.title.clone(), it.summary.clone(), it.payload.clone()),
            (it.created_by_agent_id.clone(), it.created_by_user_id.clone()),
        )
    };
    of(before) == of(asked)
}

async fn resolve(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    id: &str,
    reply: Reply,
    seen: Option<&str>,
) -> Result<Interaction, EngineError> {
    let found = interactions::get(tx, id).await?.filter(|found| found.issue_id == issue.id);
    let asked = found.ok_or(EngineError::NotFound("Interaction"))?;
    if let Some(seen) = seen {
        gates::judge_question(&asked, seen, &reply)?;
    }
    if asked.status != "pending" {
        return Err(EngineError::refused(Kind::Conflict, "Interaction has already been resolved"));
    }
    let said = reply.answer();
    let (status, result) = match (asked.kind.as_str(), reply) {
        ("suggest_tasks", Reply::Accept { selected }) => {
            let result = tasks::create(tx, scribe, issue, &asked, selected.as_deref()).await?;
            (InteractionStatus::Accepted, result)
        }
        ("suggest_tasks", Reply::Reject { reason }) => {
            check_reason(reason.as_deref())?;
            let keys = tasks::client_keys(&asked.payload);
            let result = json!({
                "version": 1, "createdTasks": [], "skippedClientKeys": keys, "rejectionReason": reason,
            });
            (InteractionStatus::Rejected, result)
        }
        ("request_confirmation", Reply::Accept { .. }) => {
            match stale_target(tx, &issue.company_id, &asked).await? {
                Some(target) => (InteractionStatus::Expired, outcome("stale_target", None, None, target)),
                None => (InteractionStatus::Accepted, outcome("accepted", None, None, Json::Null)),
            }
        }
        ("request_confirmation", Reply::Reject { reason }) => {
            check_reason(reason.as_deref())?;
            let needs = asked.payload["rejectRequiresReason"] == true;
            if needs && reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
                let words = "A decline reason is required for this confirmation";
                return Err(EngineError::refused(Kind::Unprocessable, words));
            }
            (InteractionStatus::Rejected, outcome("rejected", reason.as_deref(), None, Json::Null))
        }
        ("ask_user_questions", Reply::Respond { answers, summary_markdown }) => {
            let answers = payload::answers(&asked.payload, &answers)?;
            let result = json!({ "version": 1, "answers": answers, "summaryMarkdown": summary_markdown });
            (InteractionStatus::Answered, result)
        }
        ("ask_user_questions", Reply::Reject { reason }) => {
            check_reason(reason.as_deref())?;
            let result = json!({ "version": 1, "answers": [], "summaryMarkdown": null, "reason": reason });
            (InteractionStatus::Rejected, result)
        }
        (kind, _) => {
            let words = format!("Interactions of kind {kind} cannot be resolved like this");
            return Err(EngineError::refused(Kind::Unprocessable, words));
        }
    };
    let answer = Answer {
        status: status.as_str().to_owned(),
        result: Some(result),
        by_agent: None,
        by_user: scribe.by.user_id(),
    };
    let resolved = interactions::resolve(tx, id, &answer, scribe.now).await?;
    let resolved = resolved
        .ok_or_else(|| EngineError::refused(Kind::Conflict, "Interaction has already been resolved"))?;
    let action = match status {
        InteractionStatus::Accepted => "issue.thread_interaction_accepted",
        InteractionStatus::Rejected => "issue.thread_interaction_rejected",
        InteractionStatus::Answered => "issue.thread_interaction_answered",
        InteractionStatus::Expired | InteractionStatus::Pending | InteractionStatus::Failed => {
            "issue.thread_interaction_expired"
        }
    };
    tell(tx, scribe, &resolved, action).await?;
    let (actor, now) = (scribe.by.actor(), scribe.now);
    let kept = verdicts::of_question(&asked, said, &resolved);
    audit::append(tx, stops::record_with(&issue.company_id, &actor, action, id, &kept, now)).await?;
    issues::touch(tx, &issue.id, now).await?;
    wake(tx, scribe, issue, &resolved, status).await?;
    Ok(resolved)
}

async fn wake(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    issue: &Issue,
    resolved: &Interaction,
    status: InteractionStatus,
) -> Result<(), EngineError> {
    let policy =
        ContinuationPolicy::parse(&resolved.continuation_policy).unwrap_or(ContinuationPolicy::Never);
    let notice = notices::interaction_resolved(&Resolved {
        interaction: resolved.id.clone(),
        kind: resolved.kind.clone(),
        status,
        policy,
        issue: issue.id.clone(),
        standing: standing(issue),
        source_comment: resolved.source_comment_id.clone(),
        source_run: resolved.source_run_id.clone(),
    });
    let notices: Vec<notices::Notice> = notice.into_iter().collect();
    send(tx, scribe, &issue.company_id, &notices).await
}

fn outcome(word: &str, reason: Option<&str>, comment: Option<&CommentId>, stale: Json) -> Json {
    json!({
        "version": 1, "outcome": word, "reason": reason, "commentId": comment, "staleTarget": stale,
    })
}

/// The target of a confirmation, if it is a document whose newest revision is another one.
async fn stale_target(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    asked: &Interaction,
) -> Result<Option<Json>, EngineError> {
    let target = &asked.payload["target"];
    if asked.kind != "request_confirmation" || target["type"] != "issue_document" {
        return Ok(None);
    }
    let issue = target["issueId"].as_str().map_or_else(|| asked.issue_id.clone(), IssueId::from);
    let key = target["key"].as_str().unwrap_or_default().to_lowercase();
    let document = documents::get(tx, &issue, &key).await?.filter(|it| it.company_id == *company);
    let latest = document.map(|document| document.latest_revision_id);
    Ok((latest.as_deref() != target["revisionId"].as_str()).then(|| target.clone()))
}

/// A document has a new revision: who asked to confirm an older one gets no answer any more.
pub(crate) async fn expire_stale_targets(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    document: &Document,
) -> Result<(), EngineError> {
    for asked in interactions::pending(tx, &issue.id, MOST_INTERACTIONS).await? {
        let target = asked.payload["target"].clone();
        let is_meant = asked.kind == "request_confirmation"
            && target["type"] == "issue_document"
            && target["key"].as_str().is_some_and(|key| key.eq_ignore_ascii_case(&document.key))
            && target["issueId"].as_str().is_none_or(|id| id == issue.id.as_str())
            && target["revisionId"].as_str() != Some(document.latest_revision_id.as_str());
        if is_meant {
            expire(tx, scribe, &asked, outcome("stale_target", None, None, target)).await?;
        }
    }
    Ok(())
}

/// A person wrote a comment: confirmations that give way to one do so.
pub(crate) async fn expire_superseded(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    comment: &Comment,
) -> Result<(), EngineError> {
    for asked in interactions::pending(tx, &issue.id, MOST_INTERACTIONS).await? {
        if asked.kind == "request_confirmation" && asked.payload["supersedeOnUserComment"] == true {
            let result = outcome("superseded_by_comment", None, Some(&comment.id), Json::Null);
            expire(tx, scribe, &asked, result).await?;
        }
    }
    Ok(())
}

async fn expire(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    asked: &Interaction,
    result: Json,
) -> Result<(), EngineError> {
    let answer = Answer {
        status: InteractionStatus::Expired.as_str().to_owned(),
        result: Some(result),
        by_agent: scribe.by.agent_id(),
        by_user: scribe.by.user_id(),
    };
    if let Some(expired) = interactions::resolve(tx, &asked.id, &answer, scribe.now).await? {
        tell(tx, scribe, &expired, "issue.thread_interaction_expired").await?;
    }
    Ok(())
}

async fn tell(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    interaction: &Interaction,
    action: &str,
) -> Result<(), EngineError> {
    let details = json!({
        "interactionId": interaction.id, "interactionKind": interaction.kind,
        "interactionStatus": interaction.status, "continuationPolicy": interaction.continuation_policy,
    });
    scribe.tell_issue(tx, &interaction.company_id, action, &interaction.issue_id, details).await?;
    Ok(())
}

fn check(draft: &InteractionDraft) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    sheet.word("kind", &draft.kind, &KINDS);
    sheet.maybe("idempotencyKey", draft.idempotency_key.as_deref(), 255);
    sheet.id("sourceCommentId", draft.source_comment_id.as_ref().map(CommentId::as_str));
    sheet.id("sourceRunId", draft.source_run_id.as_ref().map(RunId::as_str));
    sheet.maybe("title", draft.title.as_deref(), 240);
    sheet.maybe("summary", draft.summary.as_deref(), 1_000);
    if let Some(policy) = &draft.continuation_policy {
        let words: Vec<&str> = ContinuationPolicy::ALL.iter().map(|policy| policy.as_str()).collect();
        sheet.word("continuationPolicy", policy, &words);
    }
    sheet.object("payload", Some(&draft.payload));
    payload::check(&mut sheet, &draft.kind, &draft.payload);
    sheet.finish()
}

fn check_reason(reason: Option<&str>) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    sheet.maybe("reason", reason, REASON);
    sheet.finish()
}
