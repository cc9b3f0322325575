//! What to do about the permissions that the process of a run waits for.
//!
//! A request becomes an approval; a decision goes back to the process; an approval that nobody waits for any more is
//! taken back. All of it is derived from what the log says and what is stored, so that it is the same after a restart:
//! an answer that was given and not yet taken is given again, and whoever takes it takes it once.

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
