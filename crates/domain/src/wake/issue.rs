//! What becomes of a wake that names an issue.
//!
//! On top of the rules for all wakes: the issue must exist, a pause hold and open blockers keep wakes away, and a wake
//! for one agent waits while another agent's run holds the issue (spec/heartbeat.md 2.3 rows 8-9, 2.6, 2.7). Only a live
//! holder of the lock makes others wait: a run that is queued or waits for its retry holds nothing, so a new assignee is
//! never behind the former one's retry.

use serde_json::{Map, Value, json};

use super::interaction::{CommentFacts, Passes, is_verified};
use super::{Decision, MERGED_ON_ISSUE, ScopeRun, SkipReason, Verdict, WakeRequest, on_scope};
use crate::ids::{AgentId, IssueId, RunId, WakeId};
use crate::issue::{Blocker, IssueStatus, PauseHold};
use crate::words;

/// The issue that a wake names.
#[derive(Debug, Clone, PartialEq)]
pub enum IssueView {
    /// There is no such issue in the company.
    Missing(IssueId),
    Found(Box<IssueFacts>),
}

/// What intake looks at, with the issue locked.
#[derive(Debug, Clone, PartialEq)]
pub struct IssueFacts {
    pub id: IssueId,
    pub status: IssueStatus,
    pub assignee: Option<AgentId>,
    /// The agent that is to be woken.
    pub woken: AgentId,
    /// The nearest active pause hold on the issue or above it.
    pub hold: Option<PauseHold>,
    /// Blockers that are not done, by title.
    pub blockers: Vec<Blocker>,
    /// The run that holds the execution lock, only while it is live.
    pub holder: Option<LockHolder>,
    /// Runs of any agent that wait for a retry on this issue.
    pub retries: Vec<WaitingRetry>,
    /// The wake of this agent that is deferred behind the issue already.
    pub deferred: Option<WakeId>,
    /// The comment that the context names, if it exists.
    pub comment: Option<CommentFacts>,
}

/// A running run that holds the execution lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    pub run: RunId,
    pub agent: AgentId,
}

/// A run that waits for its retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRetry {
    pub run: RunId,
    pub agent: AgentId,
    /// Its context is that of an interaction: it never needed to be the assignee's.
    pub is_interaction: bool,
}

words!(
    /// Why a retry that waits is of no use any more.
    StaleRetry { IssueCancelled = "issue_cancelled", IssueReassigned = "issue_reassigned" }
);

impl StaleRetry {
    /// The words on the run and on its wake.
    pub const fn words(self) -> &'static str {
        match self {
            StaleRetry::IssueCancelled => "the retry was dropped: its issue was cancelled",
            StaleRetry::IssueReassigned => "the retry was dropped: its issue was given to another assignee",
        }
    }
}

/// The test of spec/heartbeat.md 2.7, at intake and when the retry falls due.
///
/// A retry of a mentioned agent is not stale: the comment woke it, not the assignment, exactly as at the claim.
pub fn stale_retry(
    status: IssueStatus,
    assignee: Option<&AgentId>,
    retry: &WaitingRetry,
) -> Option<StaleRetry> {
    if status == IssueStatus::Cancelled {
        return Some(StaleRetry::IssueCancelled);
    }
    let is_assignees = assignee == Some(&retry.agent);
    (!is_assignees && !retry.is_interaction).then_some(StaleRetry::IssueReassigned)
}

/// Decides for a wake that names an issue and has passed the rules for all wakes.
pub(super) fn decide(view: &IssueView, scope: &[ScopeRun], request: &WakeRequest) -> Verdict {
    let facts = match view {
        IssueView::Missing(_) => return Decision::Skip(SkipReason::IssueNotFound).into(),
        IssueView::Found(facts) => facts,
    };
    let comment = facts.comment.as_ref();
    let verified = is_verified(&request.context, &facts.id, comment, None, Some(&request.actor), &[]);
    let passes = Passes::read(&request.context, verified);
    let mut context = Map::new();
    if let Some(hold) = &facts.hold {
        if passes.verified {
            context.extend(hold_context(hold));
        } else if !request.carries_on {
            return Decision::Skip(SkipReason::TreeHold).into();
        }
    }
    let cancel_retries: Vec<(RunId, StaleRetry)> = facts
        .retries
        .iter()
        .filter_map(|retry| {
            let code = stale_retry(facts.status, facts.assignee.as_ref(), retry)?;
            Some((retry.run.clone(), code))
        })
        .collect();
    let is_dropped = |run: &&ScopeRun| cancel_retries.iter().any(|(stale, _)| *stale == run.id);
    let scope: Vec<ScopeRun> = scope.iter().filter(|run| !is_dropped(run)).cloned().collect();
    if passes.interaction && !facts.blockers.is_empty() {
        context.extend(blocker_context(&facts.blockers));
    }
    let decision = fate(facts, &scope, request, passes);
    let mut payload = Map::new();
    if decision == Decision::Skip(SkipReason::DependenciesBlocked) {
        payload.insert("issueId".to_owned(), facts.id.as_str().into());
        payload.insert("unresolvedBlockerIssueIds".to_owned(), ids(&facts.blockers));
    }
    Verdict { decision, cancel_retries, context, payload }
}

fn fate(facts: &IssueFacts, scope: &[ScopeRun], request: &WakeRequest, passes: Passes) -> Decision {
    if let Some(decision) = on_scope(scope, request, Some(MERGED_ON_ISSUE)) {
        return decision;
    }
    // Work that was accepted before keeps its run: what is in its way now holds it at the claim (D1).
    if request.carries_on {
        return Decision::Queue;
    }
    if facts.holder.as_ref().is_some_and(|holder| holder.agent != facts.woken) {
        return Decision::Defer { merge_into: facts.deferred.clone() };
    }
    if !facts.blockers.is_empty() && !passes.dependencies() {
        return Decision::Skip(SkipReason::DependenciesBlocked);
    }
    Decision::Queue
}

/// What a verified interaction is told about the hold it passes (spec/heartbeat.md 2.3 row 9).
pub fn hold_context(hold: &PauseHold) -> Map<String, Value> {
    let told = json!({
        "treeHoldInteraction": true,
        "activeTreeHold": {
            "holdId": hold.id, "rootIssueId": hold.root, "mode": "pause", "reason": hold.reason,
            "releasePolicy": hold.release_policy, "interaction": true,
        },
    });
    object(told)
}

/// What an interaction is told about the blockers it passes (spec/heartbeat.md 2.6 row G).
pub fn blocker_context(blockers: &[Blocker]) -> Map<String, Value> {
    let told = json!({
        "dependencyBlockedInteraction": true,
        "unresolvedBlockerIssueIds": ids(blockers),
        "unresolvedBlockerCount": blockers.len(),
        "unresolvedBlockerSummaries": blockers.iter().map(Blocker::summary).collect::<Vec<_>>(),
    });
    object(told)
}

/// The details of the activity `issue.tree_hold_wakeup_deferred` that a wake leaves when a hold keeps it away.
pub fn hold_activity(hold: &PauseHold, request: &WakeRequest) -> Value {
    json!({
        "holdId": hold.id, "rootIssueId": hold.root, "requestedReason": request.reason,
        "source": request.source, "triggerDetail": request.trigger_detail,
        "securityPrinciples": crate::issue::HOLD_PRINCIPLES,
    })
}

fn ids(blockers: &[Blocker]) -> Value {
    blockers.iter().map(|blocker| Value::from(blocker.id.as_str())).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::Priority;
    use crate::run::RunStatus;
    use crate::wake::{Actor, ActorKind, Source};

    fn request(source: Source, context: Value) -> WakeRequest {
        WakeRequest {
            source,
            trigger_detail: None,
            reason: None,
            payload: Map::new(),
            context: object(context),
            idempotency_key: None,
            body_hash: String::new(),
            actor: Actor { kind: ActorKind::User, id: Some("u".into()) },
            carries_on: false,
        }
    }

    fn ask() -> WakeRequest {
        request(Source::Automation, json!({"issueId": "i", "wakeReason": "issue_status_changed"}))
    }

    fn comment() -> WakeRequest {
        let context = json!({"wakeReason": "issue_commented", "source": "issue.comment", "commentId": "c"});
        request(Source::Automation, context)
    }

    fn facts() -> IssueFacts {
        IssueFacts {
            id: "i".into(),
            status: IssueStatus::Todo,
            assignee: Some("me".into()),
            woken: "me".into(),
            hold: None,
            blockers: vec![],
            holder: None,
            retries: vec![],
            deferred: None,
            comment: Some(CommentFacts {
                id: "c".into(),
                issue: "i".into(),
                author_agent: None,
                author_user: Some("u".into()),
                written_at: crate::moment::Moment::from_micros(0),
            }),
        }
    }

    fn blocker(id: &str) -> Blocker {
        Blocker {
            id: id.into(),
            identifier: Some("PAP-1".into()),
            title: "first".into(),
            status: IssueStatus::Cancelled,
            priority: Priority::High,
            assignee_agent: Some("b".into()),
            assignee_user: None,
        }
    }

    fn hold() -> PauseHold {
        PauseHold {
            id: "h".into(),
            root: "r".into(),
            reason: Some("audit".into()),
            release_policy: Some(json!({"strategy": "manual"})),
        }
    }

    fn held_by(agent: &str) -> Option<LockHolder> {
        Some(LockHolder { run: "live".into(), agent: agent.into() })
    }

    fn run(id: &str, status: RunStatus) -> ScopeRun {
        ScopeRun { id: id.into(), status, stopping: false, issue: None }
    }

    fn merged(into: &str) -> Decision {
        Decision::Merge { into: into.into(), reason: Some("issue_execution_same_name") }
    }

    /// Rows of the issue path: what is special about the issue, the agent's own runs, who asks, what comes out.
    #[test]
    fn the_first_matching_row_of_the_issue_path_decides() {
        use RunStatus::{Queued, Running, ScheduledRetry};
        let blocked = || IssueFacts { blockers: vec![blocker("b1")], ..facts() };
        let paused = || IssueFacts { hold: Some(hold()), ..facts() };
        let full_pause = json!({"strategy": "manual", "note": "full_pause"});
        let noted = || {
            let hold = PauseHold { release_policy: Some(full_pause.clone()), ..hold() };
            IssueFacts { hold: Some(hold), ..facts() }
        };
        let others = || IssueFacts { holder: held_by("you"), ..facts() };
        let timer = || request(Source::Timer, json!({"issueId": "i"}));
        let retry = || WakeRequest { carries_on: true, ..ask() };
        let gone = request(Source::Automation, json!({"wakeReason": "issue_blocker_cancelled"}));
        let skip = Decision::Skip;
        type Row = (&'static str, IssueFacts, Vec<ScopeRun>, WakeRequest, Decision);
        let rows: Vec<Row> = vec![
            ("J: nothing in the way", facts(), vec![], ask(), Decision::Queue),
            ("row 8: held", paused(), vec![], ask(), skip(SkipReason::TreeHold)),
            ("row 8 wins over a merge", paused(), vec![run("q", Queued)], ask(), skip(SkipReason::TreeHold)),
            ("row 8: held for good, as a note says", noted(), vec![], ask(), skip(SkipReason::TreeHold)),
            ("row 9: a verified comment passes the hold", paused(), vec![], comment(), Decision::Queue),
            (
                "row 9: what the hold's note says is nobody's rule",
                noted(),
                vec![],
                comment(),
                Decision::Queue,
            ),
            (
                "row 8: a comment of somebody else does not",
                IssueFacts {
                    comment: facts().comment.map(|c| CommentFacts { author_user: Some("v".into()), ..c }),
                    ..paused()
                },
                vec![],
                comment(),
                skip(SkipReason::TreeHold),
            ),
            ("a retry waits under the hold in its run", paused(), vec![], retry(), Decision::Queue),
            ("H: blockers are open", blocked(), vec![], ask(), skip(SkipReason::DependenciesBlocked)),
            ("H: not for a comment", blocked(), vec![], comment(), Decision::Queue),
            ("H: not for the news of a cancelled blocker", blocked(), vec![], gone, Decision::Queue),
            ("H: not for a retry", blocked(), vec![], retry(), Decision::Queue),
            ("H: not when a run waits", blocked(), vec![run("q", Queued)], ask(), merged("q")),
            ("H: not when a run is under way", blocked(), vec![run("r", Running)], ask(), Decision::Queue),
            (
                "I before H: another agent holds the issue",
                IssueFacts { blockers: vec![blocker("b1")], ..others() },
                vec![],
                ask(),
                Decision::Defer { merge_into: None },
            ),
            ("2.6.1: same agent, queued", facts(), vec![run("q", Queued)], ask(), merged("q")),
            ("2.6.1: same agent, retry", facts(), vec![run("s", ScheduledRetry)], ask(), merged("s")),
            (
                "2.6.1: queued wins over retry",
                facts(),
                vec![run("s", ScheduledRetry), run("q", Queued)],
                ask(),
                merged("q"),
            ),
            (
                "2.6.1: same agent, running: one follow-up",
                IssueFacts { holder: held_by("me"), ..facts() },
                vec![run("live", Running)],
                comment(),
                Decision::Queue,
            ),
            (
                "2.6.1: the follow-up takes in what comes later",
                IssueFacts { holder: held_by("me"), ..facts() },
                vec![run("f", Queued), run("live", Running)],
                comment(),
                merged("f"),
            ),
            (
                "2.6.1: a timer folds into the run under way",
                IssueFacts { holder: held_by("me"), ..facts() },
                vec![run("live", Running)],
                timer(),
                Decision::Fold { into: "live".into() },
            ),
            (
                "2.6.1: own run of another scope holds the issue",
                IssueFacts { holder: held_by("me"), ..facts() },
                vec![],
                ask(),
                Decision::Queue,
            ),
            ("2.6.1: another agent", others(), vec![], ask(), Decision::Defer { merge_into: None }),
            (
                "2.6.1: another agent, comment",
                others(),
                vec![],
                comment(),
                Decision::Defer { merge_into: None },
            ),
            (
                "2.6.1: another agent, second deferral",
                IssueFacts { deferred: Some("d".into()), ..others() },
                vec![],
                ask(),
                Decision::Defer { merge_into: Some("d".into()) },
            ),
            (
                "an old deferral defers nobody once the issue is free",
                IssueFacts { deferred: Some("d".into()), ..facts() },
                vec![],
                ask(),
                Decision::Queue,
            ),
            (
                "own waiting run wins over the other agent's lock",
                others(),
                vec![run("q", Queued)],
                ask(),
                merged("q"),
            ),
            ("a retry is not deferred", others(), vec![], retry(), Decision::Queue),
            (
                "a closed issue is looked at by the claim",
                IssueFacts { status: IssueStatus::Done, ..facts() },
                vec![],
                ask(),
                Decision::Queue,
            ),
        ];
        for (name, facts, scope, request, expected) in rows {
            let verdict = decide(&IssueView::Found(Box::new(facts)), &scope, &request);
            assert_eq!(verdict.decision, expected, "{name}");
        }
        let missing = decide(&IssueView::Missing("i".into()), &[run("q", Queued)], &comment());
        assert_eq!(missing, skip(SkipReason::IssueNotFound).into(), "A: missing issue");
    }

    #[test]
    fn a_verified_comment_is_told_of_the_hold_it_passes() {
        let paused = IssueFacts { hold: Some(hold()), ..facts() };
        let verdict = decide(&IssueView::Found(Box::new(paused)), &[], &comment());
        let told = json!({
            "treeHoldInteraction": true,
            "activeTreeHold": {"holdId": "h", "rootIssueId": "r", "mode": "pause", "reason": "audit",
                "releasePolicy": {"strategy": "manual"}, "interaction": true},
        });
        assert_eq!(Value::Object(verdict.context), told);
    }

    #[test]
    fn a_comment_is_told_of_the_blockers_it_passes_and_a_skip_names_them() {
        let blocked = IssueFacts { blockers: vec![blocker("b1"), blocker("b2")], ..facts() };
        let view = IssueView::Found(Box::new(blocked));
        let told = decide(&view, &[], &comment());
        let summary = |id| {
            json!({"id": id, "identifier": "PAP-1", "title": "first", "status": "cancelled",
                "priority": "high", "assigneeAgentId": "b", "assigneeUserId": null})
        };
        assert_eq!(
            Value::Object(told.context),
            json!({"dependencyBlockedInteraction": true, "unresolvedBlockerIssueIds": ["b1", "b2"],
                "unresolvedBlockerCount": 2, "unresolvedBlockerSummaries": [summary("b1"), summary("b2")]})
        );
        assert_eq!(told.payload, Map::new());
        let skipped = decide(&view, &[], &ask());
        let payload = json!({"issueId": "i", "unresolvedBlockerIssueIds": ["b1", "b2"]});
        assert_eq!((Value::Object(skipped.payload), skipped.context), (payload, Map::new()));
        let free = decide(&IssueView::Found(Box::new(facts())), &[], &comment());
        assert_eq!(free, Decision::Queue.into());
    }

    #[test]
    fn a_hold_leaves_an_activity() {
        let asked = WakeRequest { reason: Some("issue_assigned".into()), ..ask() };
        let details = hold_activity(&hold(), &asked);
        assert_eq!(details["holdId"], json!("h"));
        assert_eq!(details["rootIssueId"], json!("r"));
        assert_eq!(details["requestedReason"], json!("issue_assigned"));
        assert_eq!((&details["source"], &details["triggerDetail"]), (&json!("automation"), &Value::Null));
        assert!(details["securityPrinciples"].as_array().is_some_and(|list| !list.is_empty()));
    }

    #[test]
    fn retries_end_when_the_issue_is_cancelled_or_given_to_another() {
        let retry = |agent: &str, is_interaction| WaitingRetry {
            run: "s".into(),
            agent: agent.into(),
            is_interaction,
        };
        let rows = [
            ("assignee's", IssueStatus::Todo, Some("me"), retry("me", false), None),
            ("assignee's, done", IssueStatus::Done, Some("me"), retry("me", false), None),
            (
                "cancelled",
                IssueStatus::Cancelled,
                Some("me"),
                retry("me", false),
                Some(StaleRetry::IssueCancelled),
            ),
            (
                "cancelled, mentioned",
                IssueStatus::Cancelled,
                Some("me"),
                retry("you", true),
                Some(StaleRetry::IssueCancelled),
            ),
            (
                "reassigned",
                IssueStatus::Todo,
                Some("me"),
                retry("you", false),
                Some(StaleRetry::IssueReassigned),
            ),
            ("unassigned", IssueStatus::Todo, None, retry("you", false), Some(StaleRetry::IssueReassigned)),
            ("mentioned", IssueStatus::Todo, Some("me"), retry("you", true), None),
        ];
        for (name, status, assignee, retry, expected) in rows {
            let assignee = assignee.map(AgentId::from);
            assert_eq!(stale_retry(status, assignee.as_ref(), &retry), expected, "{name}");
        }
        assert_ne!(StaleRetry::IssueCancelled.words(), StaleRetry::IssueReassigned.words());
    }

    #[test]
    fn a_new_assignee_is_not_behind_the_old_ones_retry_and_joins_no_stale_one() {
        let stale = WaitingRetry { run: "s".into(), agent: "you".into(), is_interaction: false };
        let given = IssueFacts { retries: vec![stale], ..facts() };
        let verdict = decide(&IssueView::Found(Box::new(given)), &[], &ask());
        let ended = vec![(RunId::from("s"), StaleRetry::IssueReassigned)];
        assert_eq!((verdict.decision, verdict.cancel_retries), (Decision::Queue, ended));

        let own = WaitingRetry { run: "s".into(), agent: "me".into(), is_interaction: false };
        let waiting = [run("s", RunStatus::ScheduledRetry)];
        let dropped = IssueFacts { status: IssueStatus::Cancelled, retries: vec![own.clone()], ..facts() };
        let verdict = decide(&IssueView::Found(Box::new(dropped)), &waiting, &ask());
        let ended = vec![(RunId::from("s"), StaleRetry::IssueCancelled)];
        assert_eq!((verdict.decision, verdict.cancel_retries), (Decision::Queue, ended));

        let kept = IssueFacts { retries: vec![own], ..facts() };
        let verdict = decide(&IssueView::Found(Box::new(kept)), &waiting, &ask());
        assert_eq!((verdict.decision, verdict.cancel_retries), (merged("s"), vec![]));
    }
}
