//! What to do about the permissions that the process of a run waits for.
//!
//! A request becomes an approval; a decision goes back to the process; an approval that nobody waits for any more is
//! taken back. All of it is derived from what the log says and what is stored, so that it is the same after a restart:
//! an answer that was given and not yet taken is given again, and whoever takes it takes it once.

use std::time::Duration;

use crate::moment::Moment;
use crate::telling::Permission;

/// What is known of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct PermissionView {
    pub permission: Permission,
    /// Why the process waits for it no more, if it does not.
    pub closed: Option<String>,
    /// The status of its approval, if there is one.
    pub approval: Option<String>,
    /// The process was told the answer by this task.
    pub is_told: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Nobody was asked yet.
    Ask,
    /// A person decided.
    Tell { allow: bool },
    /// Nobody waits for the decision: the approval is cancelled with these words.
    TakeBack { words: String },
    /// A person has not decided, or everything is done.
    Nothing,
}

/// Decides.
pub fn next(view: &PermissionView) -> Next {
    let approval = view.approval.as_deref();
    if let Some(outcome) = &view.closed {
        return match approval {
            Some("pending" | "revision_requested") => {
                Next::TakeBack { words: format!("the agent waits for it no more: {outcome}") }
            }
            _ => Next::Nothing,
        };
    }
    match approval {
        None => Next::Ask,
        Some("pending" | "revision_requested") => Next::Nothing,
        Some(_) if view.is_told => Next::Nothing,
        // What is neither is not allowed.
        Some(decision) => Next::Tell { allow: decision == "approved" },
    }
}

/// How a process waited for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waited {
    /// Some request is not answered.
    pub waits: bool,
    /// While it waited for any of its requests.
    pub in_all: Duration,
    /// When the last answer came.
    pub until: Option<Moment>,
}

/// Sums up when requests were made and answered, oldest first; those that overlap count once.
pub fn waited(asked: &[(Moment, Option<Moment>)], now: Moment) -> Waited {
    let mut waited = Waited::default();
    let mut counted_to: Option<Moment> = None;
    for (from, answered) in asked {
        let to = answered.unwrap_or(now);
        let from = counted_to.map_or(*from, |counted| counted.max(*from));
        waited.in_all += to.since(from);
        counted_to = Some(counted_to.map_or(to, |counted| counted.max(to)));
        waited.waits |= answered.is_none();
        waited.until = waited.until.max(*answered);
    }
    waited
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn time_spent_waiting_for_people_is_counted_once() {
        let at = |seconds: i64| Moment::from_micros(seconds * 1_000_000);
        type Row<'a> = (&'a [(i64, Option<i64>)], (bool, u64, Option<i64>));
        let rows: [Row<'_>; 7] = [
            (&[], (false, 0, None)),
            (&[(10, Some(30))], (false, 20, Some(30))),
            (&[(10, None)], (true, 90, None)),
            (&[(10, Some(30)), (50, Some(55))], (false, 25, Some(55))),
            (&[(10, Some(30)), (20, Some(40))], (false, 30, Some(40))),
            (&[(10, Some(50)), (20, Some(30)), (60, None)], (true, 80, Some(50))),
            (&[(10, Some(30)), (20, None)], (true, 90, Some(30))),
        ];
        for (asked, (waits, seconds, until)) in rows {
            let asked: Vec<_> = asked.iter().map(|(from, to)| (at(*from), to.map(at))).collect();
            let expected = Waited { waits, in_all: Duration::from_secs(seconds), until: until.map(at) };
            assert_eq!(waited(&asked, at(100)), expected, "{asked:?}");
        }
    }

    #[test]
    fn every_state_of_a_request_has_its_next_step() {
        let take_back =
            |outcome: &str| Next::TakeBack { words: format!("the agent waits for it no more: {outcome}") };
        let rows: [(Option<&str>, Option<&str>, bool, Next); 12] = [
            (None, None, false, Next::Ask),
            (None, Some("pending"), false, Next::Nothing),
            (None, Some("revision_requested"), false, Next::Nothing),
            (None, Some("approved"), false, Next::Tell { allow: true }),
            (None, Some("rejected"), false, Next::Tell { allow: false }),
            (None, Some("cancelled"), false, Next::Tell { allow: false }),
            (None, Some("approved"), true, Next::Nothing),
            (Some("expired"), None, false, Next::Nothing),
            (Some("expired"), Some("pending"), false, take_back("expired")),
            (Some("cancelled"), Some("revision_requested"), false, take_back("cancelled")),
            (Some("allowed"), Some("approved"), false, Next::Nothing),
            (Some("expired"), Some("approved"), false, Next::Nothing),
        ];
        for (closed, approval, is_told, expected) in rows {
            let permission = Permission {
                ask: "1".to_owned(),
                hash: "h".to_owned(),
                tool: "Bash".to_owned(),
                title: "ls".to_owned(),
                input: json!({}),
                options: Vec::new(),
            };
            let view = PermissionView {
                permission,
                closed: closed.map(str::to_owned),
                approval: approval.map(str::to_owned),
                is_told,
            };
            assert_eq!(next(&view), expected, "{view:?}");
        }
    }
}
