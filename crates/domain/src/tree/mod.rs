//! Holds on subtrees of issues: which hold covers an issue, and what a board does to a whole tree (spec/heartbeat.md
//! 5.9, 7.4).
//!
//! A pause hold keeps the agents' work on its root and everything below from starting; it ends when it is released. A
//! cancel ends the work and remembers what the issues were, so that a restore can bring them back. `preview` says what an
//! operation would do, issue by issue; `operation` is what it does, all in one commit.

pub mod operation;
pub mod preview;

use serde::{Deserialize, Serialize};

use crate::ids::{HoldId, IssueId};
use crate::moment::Moment;
use crate::words;

/// How many issues up, the first included, a pause is looked for.
pub const MAX_ANCESTORS: usize = 15;

words!(
    /// What is done to a tree.
    Mode { Pause = "pause", Resume = "resume", Cancel = "cancel", Restore = "restore" }
);

words!(
    /// Whether a hold still counts.
    HoldStatus { Active = "active", Released = "released" }
);

words!(
    /// How a hold is meant to end. It is kept and shown; a person or an operation releases the hold.
    ReleaseStrategy { Manual = "manual", AfterActiveRunsFinish = "after_active_runs_finish" }
);

/// How a hold is meant to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleasePolicy {
    #[serde(default = "manual")]
    pub strategy: ReleaseStrategy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

fn manual() -> ReleaseStrategy {
    ReleaseStrategy::Manual
}

/// A hold, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub id: HoldId,
    pub root: IssueId,
    pub mode: Mode,
    pub status: HoldStatus,
    pub reason: Option<String>,
    pub release_policy: Option<ReleasePolicy>,
    pub created_at: Moment,
}

impl Hold {
    fn is_active(&self, mode: Mode) -> bool {
        self.mode == mode && self.status == HoldStatus::Active
    }
}

/// The pause that covers an issue; `PauseGate` on the wire, where `mode` is `pause`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseGate {
    pub hold: HoldId,
    pub root: IssueId,
    pub issue: IssueId,
    /// The issue is the root itself.
    pub is_root: bool,
    pub reason: Option<String>,
    pub release_policy: Option<ReleasePolicy>,
}

/// Finds the pause that covers an issue: that of the nearest ancestor, or of the issue itself, and of several on one root
/// the newest. The members that a hold remembers play no part, so that what was added below later is held too.
///
/// `chain` is the issue, its parent, and so on; `holds` are those whose root is one of them.
pub fn pause_gate(chain: &[IssueId], holds: &[Hold]) -> Option<PauseGate> {
    let issue = chain.first()?;
    chain.iter().take(MAX_ANCESTORS).find_map(|root| {
        let hold = newest(holds.iter().filter(|hold| hold.root == *root && hold.is_active(Mode::Pause)))?;
        Some(PauseGate {
            hold: hold.id.clone(),
            root: root.clone(),
            issue: issue.clone(),
            is_root: root == issue,
            reason: hold.reason.clone(),
            release_policy: hold.release_policy.clone(),
        })
    })
}

fn newest<'a>(holds: impl Iterator<Item = &'a Hold>) -> Option<&'a Hold> {
    holds.max_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)))
}

/// Why a hold is not released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseRefusal {
    /// There is none.
    Missing,
    /// It holds another tree.
    OtherRoot,
    /// It was released before.
    Released,
}

impl ReleaseRefusal {
    /// The text of the wire.
    pub const fn text(self) -> &'static str {
        match self {
            ReleaseRefusal::Missing => "Issue tree hold not found",
            ReleaseRefusal::OtherRoot => "Issue tree hold does not belong to the requested root issue",
            ReleaseRefusal::Released => "Issue tree hold is already released",
        }
    }
}

/// Whether a hold may be released for this root. `hold` is that of the company, if there is one.
pub fn release<'a>(hold: Option<&'a Hold>, root: &IssueId) -> Result<&'a Hold, ReleaseRefusal> {
    let hold = hold.ok_or(ReleaseRefusal::Missing)?;
    if hold.root != *root {
        Err(ReleaseRefusal::OtherRoot)
    } else if hold.status == HoldStatus::Released {
        Err(ReleaseRefusal::Released)
    } else {
        Ok(hold)
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    pub(crate) fn hold(id: &str, root: &str, mode: Mode, at: i64) -> Hold {
        Hold {
            id: HoldId::from(id),
            root: IssueId::from(root),
            mode,
            status: HoldStatus::Active,
            reason: None,
            release_policy: None,
            created_at: Moment::from_micros(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::hold;
    use super::*;

    fn chain(names: &[&str]) -> Vec<IssueId> {
        names.iter().map(|name| IssueId::from(*name)).collect()
    }

    fn released(hold: Hold) -> Hold {
        Hold { status: HoldStatus::Released, ..hold }
    }

    #[test]
    fn the_nearest_active_pause_covers_and_the_newest_of_one_root_counts() {
        let leaf = chain(&["leaf", "mid", "top"]);
        let pause = |id: &str, root: &str, at| hold(id, root, Mode::Pause, at);
        for (name, holds, covering) in [
            ("none", vec![], None),
            ("itself", vec![pause("h", "leaf", 1)], Some(("h", "leaf", true))),
            ("ancestor", vec![pause("h", "top", 1)], Some(("h", "top", false))),
            ("nearest", vec![pause("far", "top", 9), pause("near", "mid", 1)], Some(("near", "mid", false))),
            (
                "newest",
                vec![pause("b", "mid", 2), pause("c", "mid", 3), pause("a", "mid", 1)],
                Some(("c", "mid", false)),
            ),
            ("same moment", vec![pause("b", "mid", 2), pause("a", "mid", 2)], Some(("b", "mid", false))),
            ("elsewhere", vec![pause("h", "other", 1)], None),
            ("released", vec![released(pause("h", "mid", 1))], None),
            (
                "released over active",
                vec![released(pause("new", "mid", 2)), pause("old", "mid", 1)],
                Some(("old", "mid", false)),
            ),
            ("cancel", vec![hold("h", "mid", Mode::Cancel, 1)], None),
            ("resume", vec![hold("h", "mid", Mode::Resume, 1)], None),
            ("restore", vec![hold("h", "mid", Mode::Restore, 1)], None),
        ] {
            let found = pause_gate(&leaf, &holds);
            let found = found.as_ref().map(|gate| (gate.hold.as_str(), gate.root.as_str(), gate.is_root));
            assert_eq!(found, covering, "{name}");
        }
        assert_eq!(pause_gate(&[], &[pause("h", "leaf", 1)]), None);
    }

    #[test]
    fn the_look_up_ends_after_fifteen_issues() {
        let long: Vec<IssueId> = (1..=20).map(|n| IssueId(format!("i{n}"))).collect();
        for (root, covered) in [("i1", true), ("i15", true), ("i16", false)] {
            assert_eq!(pause_gate(&long, &[hold("h", root, Mode::Pause, 1)]).is_some(), covered, "{root}");
        }
    }

    #[test]
    fn the_gate_says_what_the_hold_says() {
        let policy =
            ReleasePolicy { strategy: ReleaseStrategy::AfterActiveRunsFinish, note: Some("n".into()) };
        let held = Hold {
            reason: Some("why".into()),
            release_policy: Some(policy.clone()),
            ..hold("h", "top", Mode::Pause, 1)
        };
        let gate = PauseGate {
            hold: HoldId::from("h"),
            root: IssueId::from("top"),
            issue: IssueId::from("leaf"),
            is_root: false,
            reason: Some("why".into()),
            release_policy: Some(policy),
        };
        assert_eq!(pause_gate(&chain(&["leaf", "top"]), &[held]), Some(gate));
    }

    #[test]
    fn a_hold_is_released_once_and_for_its_own_root() {
        let (held, root) = (hold("h", "top", Mode::Pause, 1), IssueId::from("top"));
        let gone = released(held.clone());
        assert_eq!(release(Some(&held), &root), Ok(&held));
        assert_eq!(release(Some(&held), &IssueId::from("mid")), Err(ReleaseRefusal::OtherRoot));
        assert_eq!(release(Some(&gone), &IssueId::from("mid")), Err(ReleaseRefusal::OtherRoot));
        assert_eq!(release(Some(&gone), &root), Err(ReleaseRefusal::Released));
        assert_eq!(release(None, &root), Err(ReleaseRefusal::Missing));
        for (refusal, text) in [
            (ReleaseRefusal::Missing, "Issue tree hold not found"),
            (ReleaseRefusal::OtherRoot, "Issue tree hold does not belong to the requested root issue"),
            (ReleaseRefusal::Released, "Issue tree hold is already released"),
        ] {
            assert_eq!(refusal.text(), text);
        }
    }

    #[test]
    fn a_release_policy_is_manual_unless_it_says_otherwise() {
        let read = |text| serde_json::from_str::<ReleasePolicy>(text);
        let policy = read("{}").expect("valid");
        assert_eq!(policy, ReleasePolicy { strategy: ReleaseStrategy::Manual, note: None });
        assert_eq!(serde_json::to_string(&policy).expect("plain"), r#"{"strategy":"manual"}"#);
        assert!(read(r#"{"strategy":"later"}"#).is_err());
        assert!(read(r#"{"other":1}"#).is_err());
    }
}
