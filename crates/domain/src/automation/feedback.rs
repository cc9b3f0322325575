//! What the next attempt of a node is told: what people and reviewers said, and then what was wrong with an attempt.
//!
//! Words stay until the node succeeds or is made again. An attempt that failed, was lost or was paused has not used them up,
//! and the next one knows nothing of it.

use super::verdict::Judged;

/// As much stays of what people and reviewers said: the newest.
const MOST_SAID: usize = 16 * 1024;
/// And of what was wrong: its beginning.
const MOST_WRONG: usize = 8 * 1024;
/// Behind this stands what was wrong, at the end of all.
const WRONG: &str = "What was wrong with an attempt: ";
/// Between what was said at one time and at another one.
const GAP: &str = "\n\n";

/// What is told after an attempt that was told `before`.
pub fn after(before: Option<&str>, judged: &Judged) -> Option<String> {
    if judged.state.is_done() {
        return None;
    }
    let Some(wrong) = &judged.feedback else { return before.map(str::to_owned) };
    let wrong = &wrong[..wrong.floor_char_boundary(MOST_WRONG)];
    let (said, _) = parts(before.unwrap_or_default());
    Some(joined(said, &format!("{WRONG}{wrong}")))
}

/// What is told when a person has answered the question of a node that was told `before`.
pub fn answered(before: Option<&str>, title: &str, answer: &str) -> String {
    let (said, wrong) = parts(before.unwrap_or_default());
    let all = joined(said, &joined(title, answer));
    let from = all.ceil_char_boundary(all.len().saturating_sub(MOST_SAID));
    joined(&all[from..], wrong)
}

/// How the title of a question begins that the agent of a node asks.
pub fn asks(node: &str) -> String {
    format!("{node} asks: ")
}

/// Whether a person's answer to the agent of a node is among these words.
pub fn has_answer(told: &str, node: &str) -> bool {
    let question = asks(node);
    told.starts_with(&question) || told.contains(&format!("{GAP}{question}"))
}

/// What was said, and what was wrong.
fn parts(told: &str) -> (&str, &str) {
    if told.starts_with(WRONG) {
        return ("", told);
    }
    match told.rfind(&format!("{GAP}{WRONG}")) {
        Some(at) => (&told[..at], &told[at + GAP.len()..]),
        None => (told, ""),
    }
}

fn joined(first: &str, second: &str) -> String {
    let gap = if first.is_empty() || second.is_empty() { "" } else { GAP };
    format!("{first}{gap}{second}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automation::verdict::Tried;
    use crate::automation::{FailureClass, NodeState, Output};

    fn judged(state: NodeState, wrong: Option<&str>) -> Judged {
        Judged {
            state,
            class: wrong.map(|_| FailureClass::ContractMiss),
            output: Output::default(),
            feedback: wrong.map(str::to_owned),
            retry_at: None,
            reason: None,
            unmet: Vec::new(),
            rejects: false,
            tried: Tried::default(),
        }
    }

    #[test]
    fn words_stay_until_the_work_is_done_and_what_was_wrong_last_stands_last() {
        use NodeState::{AwaitingApproval, Blocked, Completed, Failed, Pending, Skipped};
        let wrong = |words: &str| format!("{WRONG}{words}");
        let both = |words: &str| format!("shorter{GAP}{WRONG}{words}");
        let rows = [
            (None, Pending, None, None),
            (None, Pending, Some("no file"), Some(wrong("no file"))),
            (Some(wrong("no file")), Pending, None, Some(wrong("no file"))),
            (Some(wrong("no file")), Pending, Some("too long"), Some(wrong("too long"))),
            (Some("shorter".to_owned()), Pending, None, Some("shorter".to_owned())),
            (Some("shorter".to_owned()), Pending, Some("no file"), Some(both("no file"))),
            (Some(both("no file")), Pending, Some("too long"), Some(both("too long"))),
            (Some(both("no file")), AwaitingApproval, None, Some(both("no file"))),
            (Some(both("no file")), Failed, None, Some(both("no file"))),
            (Some(both("no file")), Blocked, None, Some(both("no file"))),
            (Some(both("no file")), Completed, None, None),
            (Some(both("no file")), Skipped, None, None),
        ];
        for (before, state, words, told) in rows {
            assert_eq!(after(before.as_deref(), &judged(state, words)), told, "{before:?} {state} {words:?}");
        }
    }

    #[test]
    fn answers_are_kept_together_and_found_again() {
        let first = answered(None, "a asks: Which?", "the blue one");
        assert_eq!(first, "a asks: Which?\n\nthe blue one");
        let missed = after(Some(&first), &judged(NodeState::Pending, Some("no file"))).unwrap();
        let second = answered(Some(&missed), "a asks: How large?", "small");
        let all = "a asks: Which?\n\nthe blue one\n\na asks: How large?\n\nsmall\n\nWhat was wrong with an attempt: no file";
        assert_eq!(second, all);
        let only_wrong = after(None, &judged(NodeState::Pending, Some("no file"))).unwrap();
        let third = answered(Some(&only_wrong), "a asks: Which?", "any");
        assert_eq!(third, format!("a asks: Which?\n\nany\n\n{only_wrong}"));
        for told in [&first, &missed, &second, &third, &answered(Some("shorter"), "a asks: Which?", "any")] {
            assert!(has_answer(told, "a") && !has_answer(told, "b"), "{told}");
        }
        assert!(!has_answer("shorter", "a"));
    }

    #[test]
    fn what_is_told_has_an_end() {
        let mut told = None;
        for _ in 0..30 {
            told = Some(answered(told.as_deref(), "a asks: Which?", &"ä".repeat(2_000)));
            let wrong = "ö".repeat(MOST_WRONG);
            told = after(told.as_deref(), &judged(NodeState::Pending, Some(&wrong)));
        }
        let told = told.unwrap();
        let most = MOST_SAID + GAP.len() + WRONG.len() + MOST_WRONG;
        assert!(told.len() <= most && told.len() > most - 8, "{}", told.len());
        assert!(told.contains(WRONG) && told.ends_with('ö'));
    }
}
