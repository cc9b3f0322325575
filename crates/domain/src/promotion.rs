//! When a run lets go of its issue: whose deferred wake goes on (spec/heartbeat.md 4.17, items 1 and 2).
//!
//! [`release`] says what happens to the lock and to each deferred wake of the issue. A promoted wake passes the one intake
//! again; the lock is stamped at its claim and not here. Pauses, budgets and holds keep a wake deferred (D1) and do not
//! stand in the way of the wakes behind it. When nothing is promoted, `recovery::stranded` is asked.

use serde_json::{Map, Value, json};

use crate::agent::AgentStatus;
use crate::ids::{AgentId, IssueId, WakeId};
use crate::issue::IssueStatus;
use crate::wake::ActorKind;
use crate::words;

/// Reason of a wake that was promoted.
pub const PROMOTED: &str = "issue_execution_promoted";
/// `source` of the activity of an issue that is opened again.
pub const REOPEN_SOURCE: &str = "deferred_comment_wake";
/// The wake reason that opens a closed issue again, whoever asked.
pub const REOPEN_REASON: &str = "issue_reopened_via_comment";

words!(
    /// Who holds the execution lock of the issue, seen from the run that ends.
    Lock {
        Free = "free",
        Ours = "ours",
        /// Another run that is running under the epoch of the lock.
        OthersLive = "others_live",
        /// A run that ended or was claimed anew since: nobody may write under it.
        OthersDead = "others_dead",
    }
);

/// The issue of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasedIssue {
    pub id: IssueId,
    pub identifier: String,
    pub status: IssueStatus,
    pub lock: Lock,
    /// A pause hold covers it.
    pub held: bool,
}

/// A deferred wake of the issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredWake {
    pub id: WakeId,
    pub agent: AgentId,
    /// `None`: the agent is gone or of another company.
    pub agent_status: Option<AgentStatus>,
    /// A budget stops the agent.
    pub budget_blocked: bool,
    /// Who asked first.
    pub asked_by: ActorKind,
    /// `wakeReason` of the parked context.
    pub wake_reason: Option<String>,
    /// The parked context names comments.
    pub has_comments: bool,
    /// `reopenedFrom` of the parked context.
    pub reopened_from: Option<String>,
    /// A verified interaction: it may pass a hold (2.5).
    pub is_interaction: bool,
}

/// What happens to one deferred wake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeferredFate {
    /// It goes to the intake.
    Promoted,
    /// It stays deferred.
    Kept(KeptFor),
    /// It ends as `failed` with these words.
    Failed(&'static str),
}

words!(
    /// What a deferred wake waits for.
    KeptFor {
        Paused = "paused",
        Budget = "budget",
        Hold = "hold",
    }
);

/// The issue is opened again.
#[derive(Debug, Clone, PartialEq)]
pub struct Reopen {
    /// `reopenedFrom` of the promoted context.
    pub reopened_from: String,
    /// Details of the activity `issue.updated`, actor `system`/`heartbeat`. The status becomes `todo`, the execution
    /// state nothing.
    pub activity: Map<String, Value>,
}

/// What the release does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Release {
    /// The lock is cleared.
    pub clears_lock: bool,
    /// In the order of the wakes; those behind the promoted one are not looked at.
    pub fates: Vec<(WakeId, DeferredFate)>,
    pub reopen: Option<Reopen>,
}

impl Release {
    /// The wake that goes on.
    pub fn promoted(&self) -> Option<&WakeId> {
        self.fates.iter().find(|(_, fate)| *fate == DeferredFate::Promoted).map(|(id, _)| id)
    }
}

/// Decides; `deferred` is in the order of asking, oldest first.
///
/// A sweep asks the same for an issue whose lock is not live, with whatever [`Lock`] it finds.
pub fn release(issue: Option<&ReleasedIssue>, deferred: &[DeferredWake]) -> Release {
    let Some(issue) = issue else { return Release::default() };
    if issue.lock == Lock::OthersLive {
        return Release::default();
    }
    let mut release =
        Release { clears_lock: matches!(issue.lock, Lock::Ours | Lock::OthersDead), ..Release::default() };
    for wake in deferred {
        let fate = fate(issue, wake);
        let promoted = fate == DeferredFate::Promoted;
        release.fates.push((wake.id.clone(), fate));
        if promoted {
            release.reopen = reopen(issue, wake);
            break;
        }
    }
    release
}

fn fate(issue: &ReleasedIssue, wake: &DeferredWake) -> DeferredFate {
    match wake.agent_status {
        None => return DeferredFate::Failed("the agent no longer exists"),
        Some(AgentStatus::Terminated) => return DeferredFate::Failed("the agent was terminated"),
        Some(AgentStatus::Paused | AgentStatus::PendingApproval) => {
            return DeferredFate::Kept(KeptFor::Paused);
        }
        Some(AgentStatus::Active | AgentStatus::Idle | AgentStatus::Running | AgentStatus::Error) => {}
    }
    if wake.budget_blocked {
        return DeferredFate::Kept(KeptFor::Budget);
    }
    if issue.held && !wake.is_interaction {
        return DeferredFate::Kept(KeptFor::Hold);
    }
    DeferredFate::Promoted
}

/// A comment opens a closed issue again when a person wrote it, or when opening is what was asked for. Plain comments
/// and mentions by agents and by the program never do.
fn reopen(issue: &ReleasedIssue, wake: &DeferredWake) -> Option<Reopen> {
    let asked = wake.asked_by == ActorKind::User || wake.wake_reason.as_deref() == Some(REOPEN_REASON);
    if !wake.has_comments || !issue.status.is_terminal() || !asked {
        return None;
    }
    let mut activity = Map::new();
    for (key, value) in [
        ("status", json!(IssueStatus::Todo)),
        ("reopened", json!(true)),
        ("reopenedFrom", json!(issue.status)),
        ("source", json!(REOPEN_SOURCE)),
        ("identifier", json!(issue.identifier)),
    ] {
        activity.insert(key.to_owned(), value);
    }
    Some(Reopen {
        reopened_from: wake.reopened_from.clone().unwrap_or_else(|| issue.status.as_str().to_owned()),
        activity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(lock: Lock) -> ReleasedIssue {
        ReleasedIssue {
            id: "i".into(),
            identifier: "ACM-1".into(),
            status: IssueStatus::InProgress,
            lock,
            held: false,
        }
    }

    fn wake(id: &str) -> DeferredWake {
        DeferredWake {
            id: id.into(),
            agent: "b".into(),
            agent_status: Some(AgentStatus::Idle),
            budget_blocked: false,
            asked_by: ActorKind::Agent,
            wake_reason: Some("issue_commented".into()),
            has_comments: true,
            reopened_from: None,
            is_interaction: false,
        }
    }

    #[test]
    fn the_lock_decides_whether_anything_is_released() {
        let rows = [
            (Lock::Ours, true, true),
            (Lock::Free, false, true),
            (Lock::OthersDead, true, true),
            (Lock::OthersLive, false, false),
        ];
        for (lock, clears, promotes) in rows {
            let found = release(Some(&issue(lock)), &[wake("w")]);
            assert_eq!((found.clears_lock, found.promoted().is_some()), (clears, promotes), "{lock}");
        }
        assert_eq!(release(None, &[wake("w")]), Release::default());
    }

    #[test]
    fn every_fate_of_a_deferred_wake() {
        let with = |agent_status| DeferredWake { agent_status, ..wake("w") };
        let held = ReleasedIssue { held: true, ..issue(Lock::Ours) };
        let rows: Vec<(&str, ReleasedIssue, DeferredWake, DeferredFate)> = vec![
            ("idle", issue(Lock::Ours), wake("w"), DeferredFate::Promoted),
            ("active", issue(Lock::Ours), with(Some(AgentStatus::Active)), DeferredFate::Promoted),
            ("running", issue(Lock::Ours), with(Some(AgentStatus::Running)), DeferredFate::Promoted),
            ("error", issue(Lock::Ours), with(Some(AgentStatus::Error)), DeferredFate::Promoted),
            ("gone", held.clone(), with(None), DeferredFate::Failed("the agent no longer exists")),
            (
                "terminated",
                issue(Lock::Ours),
                with(Some(AgentStatus::Terminated)),
                DeferredFate::Failed("the agent was terminated"),
            ),
            (
                "paused",
                issue(Lock::Ours),
                with(Some(AgentStatus::Paused)),
                DeferredFate::Kept(KeptFor::Paused),
            ),
            (
                "pending",
                issue(Lock::Ours),
                with(Some(AgentStatus::PendingApproval)),
                DeferredFate::Kept(KeptFor::Paused),
            ),
            (
                "over budget",
                held.clone(),
                DeferredWake { budget_blocked: true, is_interaction: true, ..wake("w") },
                DeferredFate::Kept(KeptFor::Budget),
            ),
            ("under a hold", held.clone(), wake("w"), DeferredFate::Kept(KeptFor::Hold)),
            (
                "an interaction under a hold",
                held,
                DeferredWake { is_interaction: true, ..wake("w") },
                DeferredFate::Promoted,
            ),
        ];
        for (name, issue, wake, expected) in rows {
            let found = release(Some(&issue), &[wake]);
            assert_eq!(found.fates, [("w".into(), expected.clone())], "{name}");
        }
    }

    #[test]
    fn one_is_promoted_and_those_before_it_do_not_stand_in_the_way() {
        let deferred = [
            DeferredWake { agent_status: None, ..wake("gone") },
            DeferredWake { agent_status: Some(AgentStatus::Paused), ..wake("paused") },
            wake("first"),
            wake("second"),
        ];
        let found = release(Some(&issue(Lock::Ours)), &deferred);
        let ids: Vec<&str> = found.fates.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["gone", "paused", "first"]);
        assert_eq!(found.promoted(), Some(&"first".into()));
        assert_eq!(release(Some(&issue(Lock::Ours)), &deferred[..2]).promoted(), None);
    }

    #[test]
    fn a_closed_issue_is_opened_by_people_and_by_those_who_ask_for_it() {
        use ActorKind::{Agent, System, User};
        let rows = [
            (IssueStatus::Done, User, Some("issue_commented"), true, true),
            (IssueStatus::Cancelled, User, Some("issue_comment_mentioned"), true, true),
            (IssueStatus::Done, User, None, true, true),
            (IssueStatus::Done, User, Some("issue_commented"), false, false),
            (IssueStatus::Done, Agent, Some("issue_commented"), true, false),
            (IssueStatus::Done, Agent, Some("issue_comment_mentioned"), true, false),
            (IssueStatus::Done, System, Some("issue_commented"), true, false),
            (IssueStatus::Done, Agent, Some("issue_reopened_via_comment"), true, true),
            (IssueStatus::Done, System, Some("issue_reopened_via_comment"), true, true),
            (IssueStatus::Done, System, Some("issue_reopened_via_comment"), false, false),
            (IssueStatus::InProgress, User, Some("issue_reopened_via_comment"), true, false),
            (IssueStatus::InReview, User, Some("issue_commented"), true, false),
            (IssueStatus::Blocked, User, Some("issue_commented"), true, false),
        ];
        for (status, asked_by, reason, has_comments, opens) in rows {
            let deferred =
                DeferredWake { asked_by, wake_reason: reason.map(str::to_owned), has_comments, ..wake("w") };
            let found = release(Some(&ReleasedIssue { status, ..issue(Lock::Ours) }), &[deferred]);
            assert_eq!(found.reopen.is_some(), opens, "{status} {asked_by} {reason:?} {has_comments}");
            // A closed issue that stays closed still gets its promoted run.
            assert!(found.promoted().is_some());
        }
    }

    #[test]
    fn the_reopening_says_from_what() {
        let done = ReleasedIssue { status: IssueStatus::Done, ..issue(Lock::Ours) };
        let asked = DeferredWake { asked_by: ActorKind::User, ..wake("w") };
        let opened = release(Some(&done), std::slice::from_ref(&asked)).reopen.expect("opened");
        assert_eq!(opened.reopened_from, "done");
        assert_eq!(
            Value::Object(opened.activity),
            json!({
                "status": "todo", "reopened": true, "reopenedFrom": "done", "source": "deferred_comment_wake",
                "identifier": "ACM-1",
            })
        );
        let parked = DeferredWake { reopened_from: Some("cancelled".into()), ..asked };
        let opened = release(Some(&done), &[parked]).reopen.expect("opened");
        assert_eq!(
            (opened.reopened_from.as_str(), &opened.activity["reopenedFrom"]),
            ("cancelled", &json!("done"))
        );
    }
}
