//! How alive the work of an ended run was: done, advanced, only planned, silent, stuck.
//!
//! Durable traces decide wherever there are any; language is asked only after them, and only for English
//! (spec/heartbeat.md 4.14). Classification happens before the program posts anything on the agent's behalf and before
//! the continuation summary is refreshed, so a run is judged by its own doing. What follows from the state is decided in
//! `recovery::continuation`.

use serde_json::{Map, Value};

use crate::issue::IssueStatus;
use crate::moment::Moment;
use crate::run::Outcome;
use crate::words;

/// Declares a pattern that is compiled once.
macro_rules! pattern {
    ($name:ident, $text:literal) => {
        static $name: std::sync::LazyLock<regex::Regex> = std::sync::LazyLock::new(|| {
            regex::Regex::new($text).expect("the pattern is fixed text and the tests compile it")
        });
    };
}
pub(crate) use pattern;

pub mod actionability;
pub mod text;

pub use actionability::Actionability;
pub use text::Spoken;

/// Longest stored reason, in characters.
pub const REASON: usize = 500;

words!(
    /// How alive the work of a run was (spec/heartbeat.md 1.2).
    LivenessState {
        Completed = "completed",
        Advanced = "advanced",
        PlanOnly = "plan_only",
        EmptyResponse = "empty_response",
        Blocked = "blocked",
        Failed = "failed",
        NeedsFollowup = "needs_followup",
    }
);

/// The issue of the run, as it stands when the run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueLook {
    pub status: IssueStatus,
    pub title: String,
    pub description: String,
}

/// Traces of this run that stay. What the program itself writes for a run does not count: leases, lifecycle and error
/// events, the start of the adapter, the continuation summary, a summary comment posted for the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Comments on the run's issue.
    pub comments: u64,
    /// Revisions of documents of the issue, plans among them.
    pub document_revisions: u64,
    /// Those of the document `plan`.
    pub plan_revisions: u64,
    /// Work products of the issue.
    pub work_products: u64,
    pub workspace_operations: u64,
    /// Entries of the activity log.
    pub activities: u64,
    /// Stored events of tools and other actions.
    pub tool_events: u64,
    /// The newest of all.
    pub latest_at: Option<Moment>,
}

impl Evidence {
    /// Something was done. A prepared workspace alone is not work.
    pub const fn is_concrete(&self) -> bool {
        self.comments > 0
            || self.document_revisions > 0
            || self.work_products > 0
            || self.activities > 0
            || self.tool_events > 0
    }
}

/// Everything the classification may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivenessView {
    pub outcome: Outcome,
    pub error_code: Option<String>,
    /// The program itself said that only a plan came out.
    pub plan_only: bool,
    pub issue: Option<IssueLook>,
    pub spoken: Spoken,
    pub evidence: Evidence,
}

/// What the classification says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liveness {
    pub state: LivenessState,
    /// One sentence for people.
    pub reason: String,
    /// Kept for the states that leave something to do.
    pub next_action: Option<String>,
    pub last_useful_action_at: Option<Moment>,
    /// Not stored.
    pub actionability: Actionability,
}

/// Classifies; the first row that matches ends it.
pub fn classify(view: &LivenessView) -> Liveness {
    use LivenessState::{Advanced, Blocked, Completed, EmptyResponse, Failed, NeedsFollowup, PlanOnly};
    let words = view.spoken.telling();
    let actionability = actionability::read(&words);
    let concrete = view.evidence.is_concrete();
    let useful = !words.is_empty();
    let status = view.issue.as_ref().map(|issue| issue.status);
    let planned = || text::speaks_of_plans(&words) || view.spoken.own_next_action().is_some();
    let planning_is_the_work = || {
        view.evidence.plan_revisions > 0
            || view.issue.as_ref().is_some_and(|i| text::asks_for_a_plan(&i.title, &i.description))
    };

    let (state, reason) = if view.outcome != Outcome::Succeeded {
        (Failed, failure(view))
    } else if let Some(status) = status.filter(|s| s.is_terminal()) {
        (Completed, format!("the issue is {status}"))
    } else if status == Some(IssueStatus::Blocked) {
        (Blocked, "the issue was marked as blocked".to_owned())
    } else if actionability == Actionability::ApprovalRequired {
        (Blocked, "the agent says that it waits for an approval".to_owned())
    } else if actionability == Actionability::BlockedExternal {
        (Blocked, "the agent says that it needs something it cannot get by itself".to_owned())
    } else if view.plan_only && !planning_is_the_work() {
        // The program's own word is better evidence than any phrase (D6, last row).
        (PlanOnly, "the program reported a plan and no work".to_owned())
    } else if !useful && !concrete {
        (EmptyResponse, "the run succeeded, said nothing and left no trace of work".to_owned())
    } else if concrete {
        (Advanced, traces(&view.evidence))
    } else if planning_is_the_work() {
        (Advanced, "planning was the work, and the run produced text".to_owned())
    } else if planned() {
        if actionability == Actionability::Runnable {
            (PlanOnly, "the run told what it would do and left no trace of doing it".to_owned())
        } else {
            (NeedsFollowup, "the run names a next step that is not plainly its own to take".to_owned())
        }
    } else {
        // Without useful text and evidence the row of silence has matched, so there is text here.
        (NeedsFollowup, "the run produced text and left no trace of work".to_owned())
    };

    let keeps_next = matches!(state, Blocked | PlanOnly | NeedsFollowup);
    let keeps_time = matches!(state, Advanced | Completed | Blocked) && concrete;
    Liveness {
        state,
        reason: text::cut(&reason, REASON),
        next_action: keeps_next
            .then(|| view.spoken.own_next_action().or_else(|| view.spoken.earlier_next_action()))
            .flatten(),
        last_useful_action_at: view.evidence.latest_at.filter(|_| keeps_time),
        actionability,
    }
}

/// Which continuation a run is: what its context says, else what its row says.
pub fn continuation_attempt(context: &Map<String, Value>, of_row: u32) -> u32 {
    context
        .get("continuationAttempt")
        .and_then(Value::as_f64)
        .filter(|n| n.is_finite() && *n >= 0.0)
        .map_or(of_row, |n| n as u32)
}

fn failure(view: &LivenessView) -> String {
    match &view.error_code {
        Some(code) => format!("the run ended as {} ({code})", view.outcome),
        None => format!("the run ended as {}", view.outcome),
    }
}

fn traces(evidence: &Evidence) -> String {
    let parts: Vec<String> = [
        (evidence.comments, "comments"),
        (evidence.document_revisions, "document revisions"),
        (evidence.work_products, "work products"),
        (evidence.activities, "activity entries"),
        (evidence.tool_events, "tool events"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, name)| format!("{name}: {count}"))
    .collect();
    format!("the run left traces of work ({})", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::LivenessState::{
        Advanced, Blocked, Completed, EmptyResponse, Failed, NeedsFollowup, PlanOnly,
    };
    use super::*;

    const AT: Moment = Moment::from_micros(7_000_000);

    fn quiet() -> LivenessView {
        LivenessView {
            outcome: Outcome::Succeeded,
            error_code: None,
            plan_only: false,
            issue: Some(IssueLook {
                status: IssueStatus::InProgress,
                title: "Fix the parser".into(),
                description: "It loses commas.".into(),
            }),
            spoken: Spoken::default(),
            evidence: Evidence::default(),
        }
    }

    fn said(text: &str) -> LivenessView {
        LivenessView { spoken: Spoken { result: Some(text.into()), ..Spoken::default() }, ..quiet() }
    }

    fn with(status: IssueStatus, view: LivenessView) -> LivenessView {
        LivenessView { issue: view.issue.map(|i| IssueLook { status, ..i }), ..view }
    }

    fn titled(title: &str, view: LivenessView) -> LivenessView {
        LivenessView { issue: view.issue.map(|i| IssueLook { title: title.into(), ..i }), ..view }
    }

    fn left(evidence: Evidence, view: LivenessView) -> LivenessView {
        LivenessView { evidence: Evidence { latest_at: Some(AT), ..evidence }, ..view }
    }

    fn one(field: fn(&mut Evidence) -> &mut u64) -> Evidence {
        let mut evidence = Evidence::default();
        *field(&mut evidence) = 1;
        evidence
    }

    /// Name, view, state, next action, last useful action.
    type Row = (&'static str, LivenessView, LivenessState, Option<&'static str>, Option<Moment>);

    #[test]
    fn every_row_of_the_table() {
        let comment = || one(|e| &mut e.comments);
        let operation = || one(|e| &mut e.workspace_operations);
        let plan = "I'll inspect the parser.";
        let rows: Vec<Row> = vec![
            (
                "1 failed",
                LivenessView { outcome: Outcome::Failed, ..left(comment(), said(plan)) },
                Failed,
                None,
                None,
            ),
            ("1 timed out", LivenessView { outcome: Outcome::TimedOut, ..quiet() }, Failed, None, None),
            (
                "1 cancelled, issue done",
                with(IssueStatus::Done, LivenessView { outcome: Outcome::Cancelled, ..quiet() }),
                Failed,
                None,
                None,
            ),
            ("2 done", with(IssueStatus::Done, said(plan)), Completed, None, None),
            (
                "2 done with traces",
                with(IssueStatus::Done, left(comment(), said(plan))),
                Completed,
                None,
                Some(AT),
            ),
            ("2 cancelled", with(IssueStatus::Cancelled, quiet()), Completed, None, None),
            ("3 issue blocked", with(IssueStatus::Blocked, quiet()), Blocked, None, None),
            (
                "3 issue blocked, next named",
                with(IssueStatus::Blocked, said("Next: ask")),
                Blocked,
                Some("ask"),
                None,
            ),
            (
                "3 declared blocker",
                said("Blocked on the API key.\nNext: get the key"),
                Blocked,
                Some("get the key"),
                None,
            ),
            (
                "3 approval wanted, with traces",
                left(comment(), said("This needs approval")),
                Blocked,
                None,
                Some(AT),
            ),
            (
                "3 approval wanted, plan reported",
                LivenessView { plan_only: true, ..said("Pending approval") },
                Blocked,
                None,
                None,
            ),
            ("4 silence", quiet(), EmptyResponse, None, None),
            ("4 silence, no issue", LivenessView { issue: None, ..quiet() }, EmptyResponse, None, None),
            ("4 a workspace alone is not work", left(operation(), quiet()), EmptyResponse, None, None),
            ("5 comment", left(comment(), said(plan)), Advanced, None, Some(AT)),
            ("5 document", left(one(|e| &mut e.document_revisions), quiet()), Advanced, None, Some(AT)),
            ("5 work product", left(one(|e| &mut e.work_products), quiet()), Advanced, None, Some(AT)),
            ("5 activity", left(one(|e| &mut e.activities), quiet()), Advanced, None, Some(AT)),
            ("5 tools", left(one(|e| &mut e.tool_events), said(plan)), Advanced, None, Some(AT)),
            (
                "5 a workspace does not make a plan work",
                left(operation(), said(plan)),
                PlanOnly,
                Some(plan),
                None,
            ),
            ("6 the task is a plan", titled("Plan the parser", said(plan)), Advanced, None, None),
            (
                "6 the task is a plan, reported as one",
                LivenessView { plan_only: true, ..titled("Plan it", said(plan)) },
                Advanced,
                None,
                None,
            ),
            ("6 a plan was revised", left(one(|e| &mut e.plan_revisions), said(plan)), Advanced, None, None),
            (
                "6 the task is a plan, nothing said",
                titled("Plan the parser", quiet()),
                EmptyResponse,
                None,
                None,
            ),
            ("7 future work only", said(plan), PlanOnly, Some(plan), None),
            (
                "7 next action only",
                said("Looked around.\nNext: fix the lexer"),
                PlanOnly,
                Some("fix the lexer"),
                None,
            ),
            (
                "7 a plan that names no next step",
                said("Plan: fix the lexer, then go on."),
                PlanOnly,
                None,
                None,
            ),
            (
                "7 a next step without words of a plan",
                LivenessView {
                    spoken: Spoken { next_action: Some("fix the lexer".into()), ..Spoken::default() },
                    ..quiet()
                },
                PlanOnly,
                Some("fix the lexer"),
                None,
            ),
            (
                "7 not blocked",
                said("Not blocked.\nNext: rerun cargo test"),
                PlanOnly,
                Some("rerun cargo test"),
                None,
            ),
            ("7 no issue", LivenessView { issue: None, ..said(plan) }, PlanOnly, Some(plan), None),
            (
                "7 the program reported a plan",
                LivenessView { plan_only: true, ..left(one(|e| &mut e.tool_events), said("Here it is.")) },
                PlanOnly,
                None,
                None,
            ),
            (
                "7 the program reported a plan, silently",
                LivenessView { plan_only: true, ..quiet() },
                PlanOnly,
                None,
                None,
            ),
            (
                "8 a manager is to look",
                said("I'll start the production deploy."),
                NeedsFollowup,
                Some("I'll start the production deploy."),
                None,
            ),
            ("8 nobody knows", said("Next: hm"), NeedsFollowup, Some("hm"), None),
            ("9 text", said("The parser is odd."), NeedsFollowup, None, None),
            ("9 runnable words without a plan", said("The test is odd."), NeedsFollowup, None, None),
            (
                "9 output only",
                LivenessView {
                    spoken: Spoken { stdout_excerpt: Some("$ ls\nodd".into()), ..Spoken::default() },
                    ..quiet()
                },
                NeedsFollowup,
                None,
                None,
            ),
            (
                "4 noise only",
                LivenessView {
                    spoken: Spoken { stdout_excerpt: Some("$ ls\ntool: x".into()), ..Spoken::default() },
                    ..quiet()
                },
                EmptyResponse,
                None,
                None,
            ),
        ];
        for (name, view, state, next_action, useful_at) in rows {
            let found = classify(&view);
            assert_eq!(
                (found.state, found.next_action.as_deref(), found.last_useful_action_at),
                (state, next_action, useful_at),
                "{name}: {found:?}"
            );
        }
    }

    #[test]
    fn an_old_summary_is_shown_and_decides_nothing() {
        let old = "## Blockers / Decisions\n\n- Blocked on the API key\n\n## Next Action\n\n- get the key\n";
        let earlier = |view: LivenessView| LivenessView {
            spoken: Spoken { earlier_summary: Some(old.into()), ..view.spoken },
            ..view
        };
        assert_eq!(classify(&earlier(quiet())).state, EmptyResponse);
        let followed = classify(&earlier(said("The parser is odd.")));
        assert_eq!((followed.state, followed.next_action.as_deref()), (NeedsFollowup, Some("get the key")));
    }

    #[test]
    fn comments_beat_the_noise_of_the_transcript() {
        let view = LivenessView {
            spoken: Spoken {
                comments: vec!["Next: fix the lexer".into()],
                stdout_excerpt: Some("Blocked on the API key\nNext: get the key".into()),
                ..Spoken::default()
            },
            ..quiet()
        };
        let found = classify(&view);
        assert_eq!((found.state, found.next_action.as_deref()), (PlanOnly, Some("fix the lexer")));
        assert_eq!(found.actionability, Actionability::Runnable);
    }

    #[test]
    fn the_reason_names_what_was_seen() {
        let view =
            LivenessView { outcome: Outcome::Failed, error_code: Some("process_lost".into()), ..quiet() };
        assert_eq!(classify(&view).reason, "the run ended as failed (process_lost)");
        let evidence = Evidence { comments: 2, tool_events: 9, ..Evidence::default() };
        assert_eq!(
            classify(&left(evidence, quiet())).reason,
            "the run left traces of work (comments: 2, tool events: 9)"
        );
        let long = LivenessView { error_code: Some("x".repeat(900)), outcome: Outcome::Failed, ..quiet() };
        assert_eq!(classify(&long).reason.chars().count(), REASON);
    }

    #[test]
    fn the_attempt_is_what_the_context_says_else_the_row() {
        let context =
            |value: Value| json!({ "continuationAttempt": value }).as_object().cloned().expect("an object");
        assert_eq!(continuation_attempt(&context(json!(2)), 1), 2);
        assert_eq!(continuation_attempt(&context(json!("2")), 1), 1);
        assert_eq!(continuation_attempt(&context(json!(-1)), 1), 1);
        assert_eq!(continuation_attempt(&context(json!(0)), 1), 0);
        assert_eq!(continuation_attempt(&Map::new(), 1), 1);
    }
}
