//! Texts from outside: held where no agent reads, until a person who is trusted lets them go on.
//!
//! Who is not trusted is `domain::access::outside`, and so is what a decision does to a text. A comment, or a new issue, is
//! written at once with words of ours in the place of its own; its own lie in `held_texts` and nowhere else, so that no
//! list, stream or prompt can hold them by mistake, and a run that is under way reads nothing that was not released. What
//! waits on the issue is held by the gates of claims (`has_held_text`). Whoever writes or decides holds the lock of the
//! issue, and so does whoever claims.

use domain::access::outside::{self, Decision, Held, Misfit};
use domain::ids::{AgentId, CommentId, IssueId, RunId};
use domain::issue::IssueStatus;
use domain::issue::refusal::{Kind, Refusal};
use domain::recovery::InboxKind;
use domain::run::RunStatus;
use serde_json::json;
use store::comments::{self, Comment};
use store::held_texts::{self, HeldText};
use store::inbox::{self, InboxItem};
use store::issues::{self, Issue};
use store::runs::Run;
use store::{Tx, audit, runs, runs_of_issues, wakes};

use crate::activity::{Author, Scribe};
use crate::claims::{self, Dismissal};
use crate::issues::{IssueDraft, Locks, Sheet};
use crate::{Engine, EngineError, stops};

/// What agents and lists show in the place of a text that waits.
const TITLE: &str = "(held until a trusted member releases it)";
const COMMENT: &str = "(This comment is held until a trusted member releases it.)";
/// And in the place of one that was refused.
const REFUSED: &str = "(This comment was refused by a trusted member.)";
/// Texts of one company that may wait: nobody reads more, and who writes more is stopped.
const MOST_WAITING: i64 = 200;
/// Texts of one issue that are shown and decided.
const MOST_OF_ISSUE: i64 = 1_000;
/// Runs that wait on one issue, and wakes of a run, that are looked at.
const MOST_RUNS: i64 = 500;
const MOST_WAKES: i64 = 1_000;

/// Who asked for a run, and what of it came from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Provenance {
    /// Kind and id of whoever asked, once each, the first first.
    pub asked_by: Vec<(domain::wake::ActorKind, Option<String>)>,
    /// The texts from outside on its issue.
    pub texts: Vec<HeldText>,
}

/// What an issue says, taken out of it.
#[derive(Debug)]
pub(crate) struct Said {
    title: String,
    description: Option<String>,
}

impl Said {
    pub(crate) fn take(issue: &mut Issue) -> Said {
        let title = std::mem::replace(&mut issue.title, TITLE.to_owned());
        Said { title, description: issue.description.take() }
    }
}

/// Refuses what a text from outside may not bring: it says something, and arranges nothing.
pub(crate) fn check_draft(draft: &IssueDraft) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    let brings = [
        ("parentId", draft.parent_id.is_some()),
        ("goalId", draft.goal_id.is_some()),
        ("projectWorkspaceId", draft.project_workspace_id.is_some()),
        ("executionWorkspaceId", draft.execution_workspace_id.is_some()),
        ("inheritExecutionWorkspaceFromIssueId", draft.inherit_execution_workspace_from.is_some()),
        ("blockedByIssueIds", !draft.blocked_by.is_empty()),
        ("requestDepth", draft.request_depth != 0),
        ("billingCode", draft.billing_code.is_some()),
        ("assigneeAdapterOverrides", draft.assignee_adapter_overrides.is_some()),
        ("executionPolicy", draft.execution_policy.is_some()),
        ("executionWorkspacePreference", draft.execution_workspace_preference.is_some()),
        ("executionWorkspaceSettings", draft.execution_workspace_settings.is_some()),
        ("status", !matches!(draft.status, IssueStatus::Backlog | IssueStatus::Todo)),
    ];
    for (path, _) in brings.iter().filter(|(_, is_brought)| *is_brought) {
        sheet.wrong(
            path,
            "an issue from outside cannot set this",
            "leave it out, and set it after its release",
        );
    }
    sheet.finish()
}

/// Holds what a new issue says, which was taken out of it before it was written.
pub(crate) async fn hold_issue(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    said: Said,
) -> Result<(), EngineError> {
    hold(tx, scribe, issue, None, (Some(said.title), said.description)).await
}

/// Holds what a comment says that is about to be written. Its issue is locked.
pub(crate) async fn hold_comment(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    comment: &mut Comment,
) -> Result<(), EngineError> {
    let body = std::mem::replace(&mut comment.body, COMMENT.to_owned());
    hold(tx, scribe, issue, Some(comment.id.clone()), (None, Some(body))).await
}

async fn hold(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    comment: Option<CommentId>,
    (title, body): (Option<String>, Option<String>),
) -> Result<(), EngineError> {
    if held_texts::count_waiting(tx, &issue.company_id).await? >= MOST_WAITING {
        let words = format!("{MOST_WAITING} texts from outside wait for a release already");
        return Err(EngineError::refused(Kind::Conflict, words));
    }
    let text = HeldText {
        id: scribe.id(),
        company_id: issue.company_id.clone(),
        issue_id: issue.id.clone(),
        comment_id: comment,
        author_user_id: scribe.by.user_id(),
        author_agent_id: scribe.by.agent_id(),
        title,
        body,
        created_at: scribe.now,
        decision: None,
        decided_by: None,
        decided_at: None,
    };
    held_texts::insert(tx, &text).await?;
    let details =
        json!({ "issueId": issue.id, "identifier": issue.identifier, "commentId": text.comment_id });
    let item = InboxItem {
        id: scribe.id(),
        company_id: issue.company_id.clone(),
        kind: InboxKind::HeldText.as_str().to_owned(),
        entity_type: "held_text".to_owned(),
        entity_id: text.id.clone(),
        cause: "untrusted".to_owned(),
        // Nothing of the text: agents may read what is told of a company.
        title: format!("somebody who is not trusted wrote on {}: let it go on?", issue.identifier),
        details: details.clone(),
        owner_agent_id: None,
        opened_at: scribe.now,
        resolved_at: None,
        resolution: None,
    };
    inbox::open(tx, &item).await?;
    let mut details = details;
    details["textId"] = json!(text.id);
    scribe.tell_issue(tx, &issue.company_id, "issue.text_held", &issue.id, details).await?;
    Ok(())
}

/// A comment is gone, and what it said with it.
pub(crate) async fn forget_comment(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    issue: &IssueId,
    comment: &CommentId,
) -> Result<(), EngineError> {
    for text in held_texts::waiting_of(tx, issue, MOST_OF_ISSUE).await? {
        if text.comment_id.as_ref() == Some(comment) {
            held_texts::decide(tx, &text.id, Decision::Refused, "author", scribe.now).await?;
            inbox::resolve_of(tx, &text.id, None, "taken_back", scribe.now).await?;
        }
    }
    Ok(())
}

/// An issue goes, and its texts with it: nobody is asked about them any more.
pub(crate) async fn forget_issue(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    issue: &IssueId,
) -> Result<(), EngineError> {
    for text in held_texts::waiting_of(tx, issue, MOST_OF_ISSUE).await? {
        inbox::resolve_of(tx, &text.id, None, "issue_deleted", scribe.now).await?;
    }
    Ok(())
}

impl Engine {
    /// Returns the texts from outside on an issue, decided ones too, oldest first. For people.
    pub async fn held_texts(&self, issue: &IssueId) -> Result<Vec<HeldText>, EngineError> {
        let found = self.inner.read(issue.clone(), |tx, issue| {
            Box::pin(async move { held_texts::of_issue(tx, &issue, MOST_OF_ISSUE).await })
        });
        Ok(found.await?)
    }

    /// Decides about texts of an issue that a person has seen; returns all of its texts as they are then. Released, they
    /// take their places, and what waited for them goes on; of what was refused no agent hears anything, and runs that
    /// nothing else asked for end.
    pub async fn decide_held_texts(
        &self,
        issue: &IssueId,
        texts: Vec<String>,
        decision: Decision,
        by: &Author,
    ) -> Result<Vec<HeldText>, EngineError> {
        if !by.is_board() {
            return Err(Refusal::BoardRequired.into());
        }
        let context = (issue.clone(), texts);
        let decided =
            self.inner.change(by, Locks::of(issue), context, move |tx, mut scribe, locks, (id, texts)| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&id).ok_or(Refusal::IssueNotFound)?;
                    decide(tx, &mut scribe, issue, &texts, decision).await?;
                    Ok(held_texts::of_issue(tx, &id, MOST_OF_ISSUE).await?)
                })
            });
        let decided = decided.await?;
        self.inner.rang();
        self.inner.doorbell.ring_all();
        Ok(decided)
    }

    /// Says who asked for a run, and what of it came from outside.
    pub async fn provenance(&self, run: &RunId) -> Result<Provenance, EngineError> {
        let found = self.inner.read(run.clone(), |tx, id| {
            Box::pin(async move {
                let mut asked_by = Vec::new();
                for wake in wakes::of_run(tx, &id, MOST_WAKES).await? {
                    let who = (wake.actor_kind, wake.actor_id);
                    if !asked_by.contains(&who) {
                        asked_by.push(who);
                    }
                }
                let issue = runs::get(tx, &id).await?.and_then(|run| run.issue_id).map(IssueId);
                let texts = match issue {
                    Some(issue) => held_texts::of_issue(tx, &issue, MOST_OF_ISSUE).await?,
                    None => Vec::new(),
                };
                Ok(Provenance { asked_by, texts })
            })
        });
        Ok(found.await?)
    }
}

async fn decide(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    asked: &[String],
    decision: Decision,
) -> Result<(), EngineError> {
    let texts = held_texts::of_issue(tx, &issue.id, MOST_OF_ISSUE).await?;
    let held: Vec<Held> = texts
        .iter()
        .map(|text| Held {
            id: text.id.clone(),
            is_open_issue: text.comment_id.is_none() && !issue.status.is_terminal(),
            decision: text.decision,
        })
        .collect();
    let due = outside::decide(&held, asked, decision).map_err(misfit)?;
    let by = scribe.by.user_id().unwrap_or_else(|| "board".to_owned());
    let mut refused = Vec::new();
    for text in texts.iter().filter(|text| due.contains(&text.id)) {
        match (&text.comment_id, decision) {
            (None, Decision::Released) => put_back(tx, scribe, issue, text).await?,
            // Of a closed issue: it goes on saying nothing.
            (None, Decision::Refused) => {}
            (Some(comment), Decision::Released) => {
                let body = text.body.as_deref().unwrap_or_default();
                comments::set_body(tx, comment, body, scribe.now).await?;
            }
            (Some(comment), Decision::Refused) => {
                comments::set_body(tx, comment, REFUSED, scribe.now).await?;
                refused.push(comment.clone());
            }
        }
        held_texts::decide(tx, &text.id, decision, &by, scribe.now).await?;
        inbox::resolve_of(tx, &text.id, None, decision.as_str(), scribe.now).await?;
        let action = match decision {
            Decision::Released => "issue.text_released",
            Decision::Refused => "issue.text_refused",
        };
        let details =
            json!({ "identifier": issue.identifier, "textId": text.id, "commentId": text.comment_id });
        scribe.tell_issue(tx, &issue.company_id, action, &issue.id, details).await?;
        let words = format!("{} on {}", text.id, issue.identifier);
        let actor = scribe.by.actor();
        let record = stops::record(&issue.company_id, &actor, action, issue.id.as_str(), &words, scribe.now);
        audit::append(tx, record).await?;
    }
    if !refused.is_empty() {
        end_what_they_asked_for(tx, scribe, issue, &refused).await?;
    }
    Ok(())
}

/// The issue says what it said; what somebody wrote into it meanwhile stays.
async fn put_back(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    issue: &Issue,
    text: &HeldText,
) -> Result<(), EngineError> {
    let title = text.title.clone().filter(|_| issue.title == TITLE).unwrap_or_else(|| issue.title.clone());
    let description = issue.description.clone().or_else(|| text.body.clone());
    let released =
        Issue { title, description, updated_at: scribe.now, last_activity_at: scribe.now, ..issue.clone() };
    issues::update(tx, &released).await?;
    Ok(())
}

/// Runs that wait, and that nothing but refused comments asked for, end: nobody is woken to read that there is nothing
/// to be read.
async fn end_what_they_asked_for(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    issue: &Issue,
    refused: &[CommentId],
) -> Result<(), EngineError> {
    for run in runs_of_issues::live(tx, &issue.id, MOST_RUNS).await? {
        let waits = matches!(run.status, RunStatus::Queued | RunStatus::ScheduledRetry);
        if !waits || !is_asked_for_by(tx, &run, refused).await? {
            continue;
        }
        if let Some(run) = runs::lock(tx, &run.id).await? {
            claims::dismiss(tx, &run, &Dismissal::of_refused_text(), scribe.now).await?;
        }
    }
    Ok(())
}

async fn is_asked_for_by(tx: &mut Tx<'_>, run: &Run, comments: &[CommentId]) -> Result<bool, EngineError> {
    let wakes = wakes::of_run(tx, &run.id, MOST_WAKES).await?;
    let is_one = |named: &serde_json::Value| {
        named["commentId"].as_str().is_some_and(|id| comments.iter().any(|comment| comment.as_str() == id))
    };
    Ok(!wakes.is_empty() && wakes.iter().all(|wake| is_one(&wake.payload)))
}

fn misfit(misfit: Misfit) -> EngineError {
    match misfit {
        Misfit::Unknown(_) => EngineError::NotFound("Held text"),
        Misfit::Decided(id, decision) => {
            EngineError::refused(Kind::Conflict, format!("Held text {id} was {decision} before"))
        }
        Misfit::WholeIssue => EngineError::refused(
            Kind::Unprocessable,
            "The text of an issue cannot be refused: cancel or delete the issue",
        ),
    }
}

/// As the record of a text names its author.
pub fn author_of(text: &HeldText) -> (&'static str, Option<String>) {
    match (&text.author_agent_id, &text.author_user_id) {
        (Some(AgentId(id)), _) => ("agent", Some(id.clone())),
        (None, user) => ("user", user.clone()),
    }
}
