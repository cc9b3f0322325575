//! What waits for a person's decision, whatever it is about: its kind, what may be said to it, and when that counts.
//!
//! One list shows all of it, and one command answers it. What an answer does is the subject's own: `automation::gate` for
//! the nodes of automations, approvals and interactions in the engine.

use crate::words;

words!(
    /// What asks.
    GateKind {
        /// A node of an automation.
        Node = "node",
        /// An agent that wants to use a tool, in the middle of its run.
        Permission = "permission",
        /// An agent that asks something on an issue.
        Question = "question",
        /// Anything else that the board is asked for: a hire, a strategy, more budget.
        Approval = "approval",
    }
);

words!(
    /// What a person says.
    Answer {
        Approve = "approve",
        Reject = "reject",
        /// It is to be done again: work of an automation, or a request that is to be asked better.
        Rework = "rework",
        /// The run that asks is ended.
        Cancel = "cancel",
        /// Questions are answered.
        Respond = "respond",
    }
);

/// What may be said to something of a kind. For a node that is a matter of its definition, and the most there is.
pub const fn answers(kind: GateKind, has_questions: bool) -> &'static [Answer] {
    match (kind, has_questions) {
        (GateKind::Node, _) => &[Answer::Approve, Answer::Rework, Answer::Cancel],
        // Who waits in the middle of its work cannot ask better.
        (GateKind::Permission, _) => &[Answer::Approve, Answer::Reject],
        (GateKind::Question, true) => &[Answer::Respond, Answer::Reject],
        (GateKind::Question, false) => &[Answer::Approve, Answer::Reject],
        (GateKind::Approval, _) => &[Answer::Approve, Answer::Reject, Answer::Rework],
    }
}

/// What may be said to the request that comes with a budget's stop. To approve it would say that it was seen, and raise
/// nothing: the amount is said on its incident.
pub const ANSWERS_TO_STOP: &[Answer] = &[Answer::Reject];

/// Why an answer does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It was answered, taken back or sent back before; the first answer stands.
    AlreadyDecided,
    /// What was shown is not what is asked now.
    Stale,
    /// That cannot be said to this.
    InvalidDecision,
}

impl Refused {
    /// The code on the wire: the same ones as of gates of automations.
    pub const fn code(self) -> &'static str {
        match self {
            Refused::AlreadyDecided => "gate_already_decided",
            Refused::Stale => "stale",
            Refused::InvalidDecision => "gate_invalid_decision",
        }
    }
}

/// Judges an answer that names the hash of what its sender has seen. `waits`: nobody has answered yet.
pub fn judge(waits: bool, hash: &str, seen: &str, answer: Answer, allowed: &[Answer]) -> Result<(), Refused> {
    if !waits {
        return Err(Refused::AlreadyDecided);
    }
    if hash != seen {
        return Err(Refused::Stale);
    }
    if !allowed.contains(&answer) {
        return Err(Refused::InvalidDecision);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_said_is_a_matter_of_the_kind() {
        for (kind, has_questions, expected) in [
            (GateKind::Node, false, "approve rework cancel"),
            (GateKind::Permission, false, "approve reject"),
            (GateKind::Question, false, "approve reject"),
            (GateKind::Question, true, "respond reject"),
            (GateKind::Approval, false, "approve reject rework"),
        ] {
            let words: Vec<&str> = answers(kind, has_questions).iter().map(|it| it.as_str()).collect();
            assert_eq!(words.join(" "), expected, "{kind} {has_questions}");
        }
        assert_eq!(ANSWERS_TO_STOP, [Answer::Reject]);
    }

    #[test]
    fn an_answer_counts_once_for_what_was_seen() {
        let allowed = answers(GateKind::Permission, false);
        for (waits, seen, answer, expected) in [
            (true, "a", Answer::Approve, Ok(())),
            (true, "a", Answer::Reject, Ok(())),
            (true, "a", Answer::Rework, Err(Refused::InvalidDecision)),
            (true, "b", Answer::Approve, Err(Refused::Stale)),
            // What somebody can do least about is said first.
            (true, "b", Answer::Rework, Err(Refused::Stale)),
            (false, "a", Answer::Approve, Err(Refused::AlreadyDecided)),
            (false, "b", Answer::Respond, Err(Refused::AlreadyDecided)),
        ] {
            assert_eq!(judge(waits, "a", seen, answer, allowed), expected, "{waits} {seen} {answer}");
        }
    }
}
