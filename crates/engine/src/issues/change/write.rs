//! Writing a change that was judged: in the order in which people read it.

use domain::cancel::Stop;
use domain::ids::{AgentId, CommentId, RunId};
use domain::issue::IssueStatus;
use domain::issue::change::StopCause;
use domain::issue::notices::{self, Said, Standing};
use domain::issue::refusal::Refusal;
use domain::issue::stages::StageType;
use domain::recovery::InboxKind;
use serde_json::{Map, Value as Json, json};
use store::comments::{self, Comment};
use store::issues::{self, Issue};
use store::relations::{self, Changed as Edges};
use store::{Tx, audit, inbox, labels, locks, recoveries, runs};

use super::plan::{Plan, changes_readiness, ends};
use super::{IssuePatch, Patched, Route, Written};
use crate::activity::Scribe;
use crate::issues::create::by_of;
use crate::issues::facts::{self, Locked};
use crate::issues::texts::cut;
use crate::issues::tidings;
use crate::stops::{self, StopReport};
use crate::{EngineError, held_texts, interactions};

/// An issue has fewer open items than this.
const MOST_ITEMS: i64 = 100;

pub(super) async fn write(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    locked: &Locked,
    mut plan: Plan,
    patch: &IssuePatch,
    route: Route,
) -> Result<Written, EngineError> {
    let (id, company, now) = (plan.before.id.clone(), plan.before.company_id.clone(), scribe.now);
    let stop = stop(tx, scribe, &plan).await?;
    plan.custodian.keep(tx, scribe, &plan.before).await?;
    issues::update(tx, &plan.after).await?;
    if plan.changed.clears_locks {
        let own = plan.custodian.editor.run().map(|run| &run.id);
        let is_own = own.is_some() && plan.before.lock_run_id.as_ref() == own;
        locks::clear(tx, &id).await?;
        // Behind the writer's own run its settlement looks who goes on: until then its process still works.
        if !is_own {
            tidings::after_unlock(tx, scribe, &id).await?;
        }
    }
    let edges = match &plan.blockers {
        None => None,
        Some(blockers) => {
            let by = by_of(scribe);
            Some(relations::replace_blockers(tx, &company, &id, blockers, &by, now).await?)
        }
    };
    if let Some(wanted) = &plan.labels {
        labels::replace(tx, &id, wanted).await?;
    }
    let comment = say(tx, scribe, &plan, patch).await?;
    tell(tx, scribe, &plan, edges.as_ref(), patch, route).await?;
    if let Some(comment) = &comment {
        tell_comment(tx, scribe, &plan, comment).await?;
    }
    // What nobody has released is no word of a person yet.
    if let (Some(comment), true) = (&comment, scribe.by.is_board() && !patch.is_from_outside) {
        interactions::expire_superseded(tx, scribe, &plan.after, comment).await?;
    }
    if !patch.is_from_outside {
        settle_attention(tx, scribe, &plan).await?;
    }
    let stopped_run = stop.as_ref().and_then(|(_, report, _)| report.stopping.first().cloned());
    wake(tx, scribe, locked, &plan, patch, (comment.as_ref(), stopped_run.clone()), route).await?;
    plan.after = issues::get(tx, &id).await?.ok_or(Refusal::IssueNotFound)?;
    Ok(Written { patched: Patched { issue: plan.after, comment, stopped_run }, stop })
}

/// Stops the run that the change stops. Its agent is locked.
async fn stop(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    plan: &Plan,
) -> Result<Option<(AgentId, StopReport, String)>, EngineError> {
    let Some((run, cause)) = &plan.changed.stop else { return Ok(None) };
    let Some(run) = runs::lock(tx, run).await? else { return Ok(None) };
    let words = match cause {
        StopCause::Interrupt => "Interrupted by a comment on the issue",
        StopCause::IssueCancelled => "Cancelled because its issue was cancelled",
    };
    let mut report = StopReport::default();
    stops::stop_one(tx, Stop::CancelRun, &run, words, &mut report, scribe.now).await?;
    let details = json!({
        "source": cause.source(), "issueId": plan.before.id, "agentId": run.agent_id, "status": run.status,
    });
    let about = ("heartbeat_run", run.id.as_str());
    scribe.tell(tx, &run.company_id, "heartbeat.cancelled", about, details).await?;
    let actor = scribe.by.actor();
    let record =
        stops::record(&run.company_id, &actor, "heartbeat.cancelled", run.id.as_str(), words, scribe.now);
    audit::append(tx, record).await?;
    Ok(Some((run.agent_id, report, words.to_owned())))
}

/// Writes the comment.
async fn say(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    plan: &Plan,
    patch: &IssuePatch,
) -> Result<Option<Comment>, EngineError> {
    let Some(body) = &patch.comment else { return Ok(None) };
    let mut comment = Comment {
        id: CommentId(scribe.id()),
        company_id: plan.before.company_id.clone(),
        issue_id: plan.before.id.clone(),
        author_agent_id: scribe.by.agent_id(),
        author_user_id: scribe.by.user_id(),
        created_by_run_id: scribe.by.run_id(),
        body: body.clone(),
        created_at: scribe.now,
        updated_at: scribe.now,
    };
    if patch.is_from_outside {
        held_texts::hold_comment(tx, scribe, &plan.before, &mut comment).await?;
    }
    comments::insert(tx, &comment).await?;
    Ok(Some(comment))
}

/// Tells what changed in the issue.
async fn tell(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    plan: &Plan,
    edges: Option<&Edges>,
    patch: &IssuePatch,
    route: Route,
) -> Result<(), EngineError> {
    let (company, id) = (&plan.before.company_id, &plan.before.id);
    let (mut details, previous) = differences(&plan.before, &plan.after);
    let is_changed = !details.is_empty();
    if let Some(labels) = &plan.labels {
        details.insert("labelIds".to_owned(), json!(labels));
    }
    if let Some(from) = plan.changed.reopened_from {
        details.insert("reopened".to_owned(), true.into());
        details.insert("reopenedFrom".to_owned(), json!(from));
    }
    if patch.resume {
        details.insert("resumeIntent".to_owned(), true.into());
    }
    if route == Route::Comment {
        details.insert("source".to_owned(), "comment".into());
    }
    details.insert("identifier".to_owned(), json!(plan.before.identifier));
    details.insert("_previous".to_owned(), previous.into());
    let is_worth_telling = is_changed || plan.labels.is_some();
    if is_worth_telling || (route == Route::Patch && patch.comment.is_none()) {
        scribe.tell_issue(tx, company, "issue.updated", id, details.into()).await?;
    }
    if let Some(edges) = edges.filter(|edges| !edges.added.is_empty() || !edges.removed.is_empty()) {
        let details = json!({
            "identifier": plan.before.identifier, "added": edges.added, "removed": edges.removed,
            "blockedByIssueIds": plan.blockers,
        });
        scribe.tell_issue(tx, company, "issue.blockers_updated", id, details).await?;
    }
    for (kind, action) in
        [(StageType::Review, "issue.reviewers_updated"), (StageType::Approval, "issue.approvers_updated")]
    {
        let (before, after) = (participants(&plan.before, kind), participants(&plan.after, kind));
        let only = |here: &[Json], there: &[Json]| -> Vec<Json> {
            here.iter().filter(|one| !there.contains(one)).cloned().collect()
        };
        let (added, removed) = (only(&after, &before), only(&before, &after));
        if added.is_empty() && removed.is_empty() {
            continue;
        }
        let details = json!({
            "identifier": plan.before.identifier, "participants": after,
            "addedParticipants": added, "removedParticipants": removed,
        });
        scribe.tell_issue(tx, company, action, id, details).await?;
    }
    if let Some(decision) = &plan.changed.decision {
        let details = json!({
            "identifier": plan.before.identifier, "decisionId": decision.id, "stageId": decision.stage,
            "stageType": decision.kind, "outcome": decision.outcome, "body": cut(&decision.body, 500),
        });
        scribe.tell_issue(tx, company, "issue.execution_decision_recorded", id, details).await?;
        let actor = scribe.by.actor();
        let words = format!("{} {}", decision.kind.as_str(), decision.outcome.as_str());
        let action = "issue.execution_decision_recorded";
        audit::append(tx, stops::record(company, &actor, action, id.as_str(), &words, scribe.now)).await?;
    }
    Ok(())
}

/// Whom the policy of an issue asks in its stages of a kind, each once.
fn participants(issue: &Issue, kind: StageType) -> Vec<Json> {
    let stages = issue.execution_policy.as_ref().and_then(|policy| policy["stages"].as_array());
    let stages = stages.into_iter().flatten().filter(|stage| stage["type"] == kind.as_str());
    let mut found: Vec<Json> = Vec::new();
    for one in stages.filter_map(|stage| stage["participants"].as_array()).flatten() {
        let who = json!({ "type": one["type"], "agentId": one["agentId"], "userId": one["userId"] });
        if !found.contains(&who) {
            found.push(who);
        }
    }
    found
}

async fn tell_comment(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    plan: &Plan,
    comment: &Comment,
) -> Result<(), EngineError> {
    let mut details = json!({
        "commentId": comment.id, "bodySnippet": cut(&comment.body, 120),
        "identifier": plan.before.identifier, "issueTitle": plan.after.title,
    });
    if let Some(from) = plan.changed.reopened_from {
        details["reopened"] = true.into();
        details["reopenedFrom"] = json!(from);
    }
    let company = &plan.before.company_id;
    scribe.tell_issue(tx, company, "issue.comment_added", &plan.before.id, details).await?;
    Ok(())
}

/// A person looked at the issue: automatic repair starts counting anew, and what asked for a person is answered when
/// the issue moved.
async fn settle_attention(tx: &mut Tx<'_>, scribe: &Scribe, plan: &Plan) -> Result<(), EngineError> {
    let id = &plan.before.id;
    if scribe.by.is_board() {
        recoveries::reset(tx, id, None).await?;
    }
    let moved = plan.before.status != plan.after.status
        || plan.before.assignee_agent_id != plan.after.assignee_agent_id;
    if moved && (scribe.by.is_board() || plan.after.status.is_terminal()) {
        inbox::resolve_of(tx, id.as_str(), None, "issue_changed", scribe.now).await?;
    } else if plan.before.status == IssueStatus::Blocked && plan.after.status != IssueStatus::Blocked {
        // Whoever set it going again, nobody is to look why it rested.
        for item in inbox::open_of(tx, id.as_str(), MOST_ITEMS).await? {
            if InboxKind::parse(&item.kind).is_some_and(InboxKind::asks_why_it_rests) {
                inbox::resolve(tx, &item.id, "issue_changed", scribe.now).await?;
            }
        }
    }
    Ok(())
}

/// Orders the wakes that follow.
async fn wake(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    locked: &Locked,
    plan: &Plan,
    patch: &IssuePatch,
    (comment, interrupted): (Option<&Comment>, Option<RunId>),
    route: Route,
) -> Result<(), EngineError> {
    let id = &plan.before.id;
    let editor = &plan.custodian.editor;
    let said = comment.map(|comment| Said {
        comment: comment.id.clone(),
        mentioned: plan.mentioned.clone(),
        reopened_from: plan.changed.reopened_from,
        resumes: patch.resume,
        interrupted: interrupted.filter(|_| patch.interrupt),
    });
    let before = tidings::standing(&plan.before);
    let mut dependents = Vec::new();
    if changes_readiness(plan) {
        dependents = tidings::dependents_of(tx, id, locked).await?;
        dependents.retain(|dependent| dependent.blockers.contains(id));
        tidings::note_readiness(tx, &dependents, locked).await?;
    }
    let mut notices = match (route, said) {
        (Route::Comment, Some(said)) => notices::commented(id, &before, &said, editor),
        (Route::Comment, None) => Vec::new(),
        (Route::Patch, said) => {
            let parent = plan.after.parent_id.as_ref().and_then(|parent| locked.issues.get(parent));
            let family = match parent.filter(|_| ends(plan)) {
                None => None,
                Some(parent) => Some(tidings::family(tx, parent).await?),
            };
            let patched = notices::Patched {
                issue: id.clone(),
                before,
                after: tidings::standing(&plan.after),
                stage: plan.changed.stage_wake.clone(),
                said,
                dependents,
                family,
            };
            notices::patched(&patched, editor)
        }
    };
    if let Some(notice) = freed(tx, plan).await? {
        let is_own = editor.agent() == Some(&notice.agent);
        if !is_own && notices.iter().all(|known| known.agent != notice.agent || known.issue != notice.issue) {
            notices.push(notice);
        }
    }
    tidings::send(tx, scribe, &plan.before.company_id, &notices).await
}

/// Its last open blocker was taken away by hand: that is as good as done.
async fn freed(tx: &mut Tx<'_>, plan: &Plan) -> Result<Option<notices::Notice>, EngineError> {
    let is_freed = plan.before.waits_on_blockers && !plan.after.waits_on_blockers && plan.blockers.is_some();
    if !is_freed {
        return Ok(None);
    }
    let Standing { status, assignee } = tidings::standing(&plan.after);
    let unresolved = facts::open_blockers(tx, &plan.after.id).await?;
    let blockers = plan.blockers.clone().unwrap_or_default();
    let dependent =
        notices::Dependent { issue: plan.after.id.clone(), status, assignee, blockers, unresolved };
    Ok(notices::blockers_resolved(&dependent, None))
}

/// What differs, as it is and as it was, under the names of the wire.
fn differences(before: &Issue, after: &Issue) -> (Map<String, Json>, Map<String, Json>) {
    let fields = |issue: &Issue| {
        [
            ("title", json!(issue.title)),
            ("description", json!(issue.description)),
            ("status", json!(issue.status)),
            ("priority", json!(issue.priority)),
            ("projectId", json!(issue.project_id)),
            ("projectWorkspaceId", json!(issue.project_workspace_id)),
            ("goalId", json!(issue.goal_id)),
            ("parentId", json!(issue.parent_id)),
            ("assigneeAgentId", json!(issue.assignee_agent_id)),
            ("assigneeUserId", json!(issue.assignee_user_id)),
            ("requestDepth", json!(issue.request_depth)),
            ("billingCode", json!(issue.billing_code)),
            ("assigneeAdapterOverrides", json!(issue.assignee_adapter_overrides)),
            ("executionPolicy", json!(issue.execution_policy)),
            ("executionState", json!(issue.execution_state)),
            ("executionWorkspaceId", json!(issue.execution_workspace_id)),
            ("executionWorkspacePreference", json!(issue.execution_workspace_preference)),
            ("executionWorkspaceSettings", json!(issue.execution_workspace_settings)),
            ("hiddenAt", json!(issue.hidden_at)),
        ]
    };
    let (mut now, mut then) = (Map::new(), Map::new());
    for ((key, is), (_, was)) in fields(after).into_iter().zip(fields(before)) {
        if is != was {
            // Told to everybody: a configuration for one task may hold what only its agent is to know.
            now.insert(key.to_owned(), adapters::redacted(is));
            then.insert(key.to_owned(), adapters::redacted(was));
        }
    }
    (now, then)
}
