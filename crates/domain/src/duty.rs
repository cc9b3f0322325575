//! What a run owes its issue: a comment, once asked for again if it is missing.
//!
//! [`of_wake`] says which wakes start a fresh session and which owe a comment (spec/heartbeat.md 4.3); [`judge`] decides
//! at the end what became of the debt (4.16); [`closing_comment`] is the text the program posts for an agent that
//! succeeded silently (4.15, step 2). Nothing is posted here.

use serde_json::json;

use crate::ids::{AgentId, CommentId, IssueId, RunId};
use crate::recovery::{self, Carry, Cause, WakeOrder};
use crate::run::Outcome;
use crate::words;

/// Reason, and retry reason, of the one wake that asks for a missing comment.
pub const MISSING_COMMENT: &str = "missing_issue_comment";

words!(
    /// `issue_comment_status` of a run.
    CommentStatus {
        NotApplicable = "not_applicable",
        Satisfied = "satisfied",
        RetryQueued = "retry_queued",
        RetryExhausted = "retry_exhausted",
    }
);

/// What the reason of a wake brings with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WakeDuty {
    /// The saved session is not resumed; the log says why.
    pub resets_session: bool,
    /// The run must leave a comment on its issue.
    pub owes_comment: bool,
}

/// Reads the duty of a wake.
///
/// `force_fresh` is the caller's `forceFreshSession`; `resumes` an explicit resume, which wins over every reset.
pub fn of_wake(reason: Option<&str>, force_fresh: bool, resumes: bool) -> WakeDuty {
    let new_work = matches!(
        reason,
        Some(
            "issue_assigned"
                | "execution_review_requested"
                | "execution_approval_requested"
                | "execution_changes_requested"
        )
    );
    WakeDuty { resets_session: (new_work || force_fresh) && !resumes, owes_comment: new_work }
}

/// Everything the judgement may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DutyView {
    pub run: RunId,
    pub agent: AgentId,
    pub issue: Option<IssueId>,
    /// The newest comment of the run on the issue, also one the program posted for it.
    pub comment: Option<CommentId>,
    /// `retryReason` of the run's context.
    pub retry_reason: Option<String>,
    /// `wakeReason` of the run's context.
    pub wake_reason: Option<String>,
    /// A deferred wake with a comment waits for this agent on this issue: the next run will speak.
    pub comment_waits: bool,
    /// The run still holds the lock of the issue when it is settled.
    pub holds_lock: bool,
    /// Somebody asked to stop the run.
    pub stop_asked: bool,
    /// The settlement orders another run in place of this one (transient or lost process).
    pub retried: bool,
    /// Attempts already counted for (issue, [`Cause::MissingComment`]).
    pub attempts: u32,
}

/// What became of the debt.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub status: CommentStatus,
    /// The comment that pays it.
    pub comment: Option<CommentId>,
    /// The one wake that asks for it again.
    pub retry: Option<WakeOrder>,
    /// An event on the ended run.
    pub event: Option<DutyEvent>,
}

/// What the run's events say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DutyEvent {
    /// info: a deferred comment wake speaks instead.
    AnsweredByDeferred,
    /// warn: asked for once more.
    AskedAgain,
    /// warn: asked for once more, and missing again.
    StillMissing,
}

impl DutyEvent {
    /// `info` or `warn`.
    pub const fn level(self) -> &'static str {
        match self {
            DutyEvent::AnsweredByDeferred => "info",
            DutyEvent::AskedAgain | DutyEvent::StillMissing => "warn",
        }
    }

    /// The message.
    pub const fn message(self) -> &'static str {
        match self {
            DutyEvent::AnsweredByDeferred => {
                "no comment was left; a waiting comment on the issue starts the next run"
            }
            DutyEvent::AskedAgain => "no comment was left on the issue; the agent is asked for one once more",
            DutyEvent::StillMissing => "no comment was left on the issue, and the agent is not asked again",
        }
    }
}

/// Judges; the first row that matches ends it.
pub fn judge(view: &DutyView) -> Judgement {
    let plain = |status, event| Judgement { status, comment: None, retry: None, event };
    let Some(issue) = &view.issue else { return plain(CommentStatus::NotApplicable, None) };
    if let Some(comment) = &view.comment {
        return Judgement { comment: Some(comment.clone()), ..plain(CommentStatus::Satisfied, None) };
    }
    if view.retry_reason.as_deref() == Some(MISSING_COMMENT) {
        return plain(CommentStatus::RetryExhausted, Some(DutyEvent::StillMissing));
    }
    if !of_wake(view.wake_reason.as_deref(), false, false).owes_comment {
        return plain(CommentStatus::NotApplicable, None);
    }
    if view.comment_waits {
        return plain(CommentStatus::NotApplicable, Some(DutyEvent::AnsweredByDeferred));
    }
    // Nothing from before a stop starts anything after it, and one follow-up of a run is enough.
    if !view.holds_lock || view.stop_asked || view.retried {
        return plain(CommentStatus::RetryExhausted, None);
    }
    if !recovery::may_try(view.attempts) {
        return plain(CommentStatus::RetryExhausted, Some(DutyEvent::StillMissing));
    }
    let words = Carry {
        reason: MISSING_COMMENT,
        retry_reason: MISSING_COMMENT,
        source: None,
        counts_as: Some(Cause::MissingComment),
    };
    let mut order = recovery::carry_on(&view.agent, issue, Some(&view.run), words);
    order.payload.insert("retryReason".into(), json!(MISSING_COMMENT));
    order.context.insert("missingIssueCommentForRunId".into(), json!(view.run));
    Judgement { retry: Some(order), ..plain(CommentStatus::RetryQueued, Some(DutyEvent::AskedAgain)) }
}

/// The comment posted for an agent that succeeded on an issue and wrote none itself: the first of summary, result and
/// message that says anything.
pub fn closing_comment(
    outcome: Outcome,
    has_issue: bool,
    commented: bool,
    words: [Option<&str>; 3],
) -> Option<&str> {
    if outcome != Outcome::Succeeded || !has_issue || commented {
        return None;
    }
    words.into_iter().flatten().map(str::trim).find(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const OBLIGING: [&str; 4] = [
        "issue_assigned",
        "execution_review_requested",
        "execution_approval_requested",
        "execution_changes_requested",
    ];

    #[test]
    fn new_work_resets_the_session_and_owes_a_comment_and_nothing_else_does() {
        for reason in OBLIGING {
            assert_eq!(
                of_wake(Some(reason), false, false),
                WakeDuty { resets_session: true, owes_comment: true },
                "{reason}"
            );
        }
        let others = [
            "heartbeat_timer",
            "issue_commented",
            "issue_comment_mentioned",
            "issue_reopened_via_comment",
            "issue_status_changed",
            "issue_checked_out",
            "issue_blockers_resolved",
            "approval_approved",
            "process_lost_retry",
            "transient_failure_retry",
            "missing_issue_comment",
            "issue_assignment_recovery",
            "issue_continuation_needed",
            "run_liveness_continuation",
        ];
        for reason in others.map(Some).into_iter().chain([None]) {
            assert_eq!(
                of_wake(reason, false, false),
                WakeDuty { resets_session: false, owes_comment: false },
                "{reason:?}"
            );
        }
    }

    #[test]
    fn force_resets_any_session_and_an_explicit_resume_none() {
        assert_eq!(of_wake(None, true, false), WakeDuty { resets_session: true, owes_comment: false });
        assert_eq!(
            of_wake(Some("issue_assigned"), true, false),
            WakeDuty { resets_session: true, owes_comment: true }
        );
        assert_eq!(
            of_wake(Some("issue_assigned"), true, true),
            WakeDuty { resets_session: false, owes_comment: true }
        );
    }

    fn silent() -> DutyView {
        DutyView {
            run: "r".into(),
            agent: "a".into(),
            issue: Some("i".into()),
            comment: None,
            retry_reason: None,
            wake_reason: Some("issue_assigned".into()),
            comment_waits: false,
            holds_lock: true,
            stop_asked: false,
            retried: false,
            attempts: 0,
        }
    }

    #[test]
    fn every_row_of_the_comment_policy() {
        use CommentStatus::{NotApplicable, RetryExhausted, RetryQueued, Satisfied};
        use DutyEvent::{AnsweredByDeferred, AskedAgain, StillMissing};
        let rows: Vec<(&str, DutyView, CommentStatus, Option<DutyEvent>)> = vec![
            (
                "1 no issue",
                DutyView { issue: None, comment: Some("c".into()), ..silent() },
                NotApplicable,
                None,
            ),
            ("2 commented", DutyView { comment: Some("c".into()), ..silent() }, Satisfied, None),
            (
                "2 commented at the second asking",
                DutyView {
                    comment: Some("c".into()),
                    retry_reason: Some(MISSING_COMMENT.into()),
                    ..silent()
                },
                Satisfied,
                None,
            ),
            (
                "3 silent at the second asking",
                DutyView { retry_reason: Some(MISSING_COMMENT.into()), wake_reason: None, ..silent() },
                RetryExhausted,
                Some(StillMissing),
            ),
            (
                "4 owes none",
                DutyView { wake_reason: None, comment_waits: true, ..silent() },
                NotApplicable,
                None,
            ),
            (
                "5 a comment waits",
                DutyView { comment_waits: true, ..silent() },
                NotApplicable,
                Some(AnsweredByDeferred),
            ),
            ("6 asked again", silent(), RetryQueued, Some(AskedAgain)),
            (
                "6 another retry reason",
                DutyView { retry_reason: Some("process_lost".into()), ..silent() },
                RetryQueued,
                Some(AskedAgain),
            ),
            ("6 second count", DutyView { attempts: 1, ..silent() }, RetryQueued, Some(AskedAgain)),
            ("6 lock not held", DutyView { holds_lock: false, ..silent() }, RetryExhausted, None),
            ("6 stopped", DutyView { stop_asked: true, ..silent() }, RetryExhausted, None),
            ("6 retried for another reason", DutyView { retried: true, ..silent() }, RetryExhausted, None),
            ("6 attempts used up", DutyView { attempts: 2, ..silent() }, RetryExhausted, Some(StillMissing)),
        ];
        for (name, view, status, event) in rows {
            let found = judge(&view);
            assert_eq!((found.status, found.event), (status, event), "{name}");
            assert_eq!(found.retry.is_some(), status == RetryQueued, "{name}");
            assert_eq!(found.comment.is_some(), status == Satisfied, "{name}");
        }
    }

    #[test]
    fn the_one_wake_says_what_it_is_for() {
        let order = judge(&silent()).retry.expect("a retry");
        assert_eq!((order.reason, order.continuation_attempt), ("missing_issue_comment", 0));
        assert_eq!(order.counts_as, Some(Cause::MissingComment));
        assert_eq!(order.retry_of, Some("r".into()));
        assert_eq!(
            Value::Object(order.payload),
            json!({ "issueId": "i", "retryOfRunId": "r", "retryReason": "missing_issue_comment" })
        );
        assert_eq!(
            Value::Object(order.context),
            json!({
                "issueId": "i", "taskId": "i", "wakeReason": "missing_issue_comment",
                "retryReason": "missing_issue_comment", "retryOfRunId": "r", "missingIssueCommentForRunId": "r",
            })
        );
    }

    #[test]
    fn events_have_the_level_of_the_table_and_say_what_follows() {
        for (event, level, follows) in [
            (DutyEvent::AnsweredByDeferred, "info", "a waiting comment on the issue starts the next run"),
            (DutyEvent::AskedAgain, "warn", "the agent is asked for one once more"),
            (DutyEvent::StillMissing, "warn", "the agent is not asked again"),
        ] {
            let message = event.message();
            assert_eq!(event.level(), level, "{message}");
            assert!(message.starts_with("no comment was left") && message.ends_with(follows), "{message}");
        }
    }

    #[test]
    fn the_closing_comment_is_the_first_word_of_a_silent_success() {
        let words = [None, Some("  "), Some(" said ")];
        assert_eq!(closing_comment(Outcome::Succeeded, true, false, words), Some("said"));
        assert_eq!(
            closing_comment(Outcome::Succeeded, true, false, [Some("s"), Some("r"), Some("m")]),
            Some("s")
        );
        assert_eq!(closing_comment(Outcome::Succeeded, true, true, words), None);
        assert_eq!(closing_comment(Outcome::Succeeded, false, false, words), None);
        assert_eq!(closing_comment(Outcome::Succeeded, true, false, [None; 3]), None);
        for outcome in [Outcome::Failed, Outcome::Cancelled, Outcome::TimedOut] {
            assert_eq!(closing_comment(outcome, true, false, words), None, "{outcome}");
        }
    }
}
