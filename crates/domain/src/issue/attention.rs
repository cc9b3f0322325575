//! Whether what blocks an issue is being dealt with, in a word for lists: pure, of what was loaded.
//!
//! It is a hint for people. What is done about it is `recovery::graph`'s.

use std::collections::BTreeSet;

use super::{Blocker, IssueStatus};
use crate::ids::IssueId;

/// How the blockers of a blocked issue stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttentionState {
    /// The issue is not blocked.
    #[default]
    None,
    /// Somebody works on everything that blocks it.
    Covered,
    /// A review that nobody does stands in the way.
    Stalled,
    /// Nothing will happen by itself.
    NeedsAttention,
}

impl AttentionState {
    /// The word of the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            AttentionState::None => "none",
            AttentionState::Covered => "covered",
            AttentionState::Stalled => "stalled",
            AttentionState::NeedsAttention => "needs_attention",
        }
    }
}

/// `BlockerAttention` of the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attention {
    pub state: AttentionState,
    /// `active_child`, `active_dependency`, `stalled_review` or `attention_required`.
    pub reason: Option<&'static str>,
    pub unresolved: usize,
    pub covered: usize,
    pub stalled: usize,
    pub attention: usize,
    pub sample: Option<String>,
    pub sample_stalled: Option<String>,
}

/// Judges the blockers of an issue. `at_work` are issues with a run that is not over.
pub fn judge(
    status: IssueStatus,
    blockers: &[Blocker],
    at_work: &BTreeSet<IssueId>,
    has_open_child: bool,
) -> Attention {
    if status != IssueStatus::Blocked {
        return Attention::default();
    }
    let mut seen = Attention::default();
    for blocker in blockers.iter().filter(|blocker| blocker.status != IssueStatus::Done) {
        seen.unresolved += 1;
        let is_owned = blocker.assignee_agent.is_some() || blocker.assignee_user.is_some();
        match blocker.status {
            _ if at_work.contains(&blocker.id) => seen.covered += 1,
            IssueStatus::Todo | IssueStatus::InProgress if is_owned => seen.covered += 1,
            IssueStatus::InReview => {
                seen.stalled += 1;
                seen.sample_stalled = seen.sample_stalled.or_else(|| blocker.identifier.clone());
            }
            IssueStatus::Todo
            | IssueStatus::InProgress
            | IssueStatus::Backlog
            | IssueStatus::Blocked
            | IssueStatus::Cancelled
            | IssueStatus::Done => {
                seen.attention += 1;
                seen.sample = seen.sample.or_else(|| blocker.identifier.clone());
            }
        }
    }
    (seen.state, seen.reason) = if seen.attention > 0 {
        (AttentionState::NeedsAttention, Some("attention_required"))
    } else if seen.stalled > 0 {
        (AttentionState::Stalled, Some("stalled_review"))
    } else if seen.covered > 0 {
        (AttentionState::Covered, Some("active_dependency"))
    } else if has_open_child {
        (AttentionState::Covered, Some("active_child"))
    } else {
        (AttentionState::NeedsAttention, Some("attention_required"))
    };
    if seen.sample.is_none() {
        let first = blockers.iter().find(|blocker| blocker.status != IssueStatus::Done);
        seen.sample = first.and_then(|blocker| blocker.identifier.clone());
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::super::Priority;
    use super::*;

    fn blocker(id: &str, status: IssueStatus, is_owned: bool) -> Blocker {
        Blocker {
            id: id.into(),
            identifier: Some(id.to_uppercase()),
            title: id.to_owned(),
            status,
            priority: Priority::Medium,
            assignee_agent: is_owned.then(|| "a".into()),
            assignee_user: None,
        }
    }

    #[test]
    fn the_worst_blocker_decides() {
        use IssueStatus::{Backlog, Blocked, Cancelled, Done, InProgress, InReview, Todo};
        let at_work = BTreeSet::from([IssueId::from("busy")]);
        type Row = (&'static str, Vec<Blocker>, bool, &'static str, Option<&'static str>);
        let rows: Vec<Row> = vec![
            ("none", vec![], false, "needs_attention", Some("attention_required")),
            ("child", vec![], true, "covered", Some("active_child")),
            ("done", vec![blocker("b", Done, true)], true, "covered", Some("active_child")),
            ("owned", vec![blocker("b", InProgress, true)], false, "covered", Some("active_dependency")),
            ("at work", vec![blocker("busy", Blocked, false)], false, "covered", Some("active_dependency")),
            (
                "nobody's",
                vec![blocker("b", Todo, false)],
                false,
                "needs_attention",
                Some("attention_required"),
            ),
            (
                "review",
                vec![blocker("a", Todo, true), blocker("b", InReview, true)],
                false,
                "stalled",
                Some("stalled_review"),
            ),
            (
                "worst",
                vec![
                    blocker("a", InReview, true),
                    blocker("b", Cancelled, true),
                    blocker("c", Backlog, true),
                ],
                false,
                "needs_attention",
                Some("attention_required"),
            ),
        ];
        for (name, blockers, child, state, reason) in rows {
            let seen = judge(Blocked, &blockers, &at_work, child);
            assert_eq!((seen.state.as_str(), seen.reason), (state, reason), "{name}");
            assert_eq!(judge(Todo, &blockers, &at_work, child), Attention::default());
        }
    }

    #[test]
    fn blockers_are_counted_and_the_first_of_the_worst_is_named() {
        use IssueStatus::{Backlog, Blocked, Cancelled, Done, InProgress, InReview, Todo};
        let at_work = BTreeSet::new();
        let told = |blockers: &[Blocker]| {
            let seen = judge(Blocked, blockers, &at_work, false);
            let counts = [seen.unresolved, seen.covered, seen.stalled, seen.attention];
            (counts, seen.sample, seen.sample_stalled)
        };
        let name = |name: &str| Some(name.to_owned());
        let mixed = [
            blocker("done", Done, true),
            blocker("a", InProgress, true),
            blocker("b", Todo, true),
            blocker("c", InReview, true),
            blocker("d", InReview, true),
            blocker("e", Backlog, true),
            blocker("f", Cancelled, true),
            blocker("g", Todo, false),
        ];
        assert_eq!(told(&mixed), ([7, 2, 2, 3], name("E"), name("C")));
        let owned = [blocker("done", Done, true), blocker("a", InProgress, true), blocker("b", Todo, true)];
        assert_eq!(told(&owned), ([2, 2, 0, 0], name("A"), None));
        assert_eq!(told(&owned[..1]), ([0, 0, 0, 0], None, None));
    }
}
