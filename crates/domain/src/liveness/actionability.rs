//! What the words of a run demand before work can go on: nothing, a person's access, an approval, a manager's look.
//!
//! Kept in memory only; it decides whether a run that planned may be continued automatically. The order of the tests is
//! that of spec/heartbeat.md 4.14: a text that asks for an approval is never continued, whatever else it says.

use crate::words;

words!(
    /// Who can take the next step.
    Actionability {
        Runnable = "runnable",
        ManagerReview = "manager_review",
        BlockedExternal = "blocked_external",
        ApprovalRequired = "approval_required",
        Unknown = "unknown",
    }
);

/// Reads the words; a gap between two of them never spans a line break.
pub fn read(text: &str) -> Actionability {
    if text.trim().is_empty() {
        return Actionability::Unknown;
    }
    if NEGATED.is_match(text) {
        return if is_runnable(text) { Actionability::Runnable } else { Actionability::Unknown };
    }
    if APPROVAL.is_match(text) {
        return Actionability::ApprovalRequired;
    }
    if NEED.is_match(text) || (BLOCKER.is_match(text) && WANTED.is_match(text)) {
        return Actionability::BlockedExternal;
    }
    if MANAGER.is_match(text) {
        return Actionability::ManagerReview;
    }
    if is_runnable(text) { Actionability::Runnable } else { Actionability::Unknown }
}

fn is_runnable(text: &str) -> bool {
    COMMAND.is_match(text) || VERB.is_match(text)
}

pattern!(NEGATED, r"(?i)\b(?:not blocked|no blockers?|unblocked)\b");
pattern!(
    APPROVAL,
    r"(?i)\b(?:approval required|pending approval|(?:board|human|user|operator) approval|(?:requires?|need(?:s|ed)?|waiting on)\b[^\n]{0,80}?\bapproval)\b"
);
pattern!(
    NEED,
    r"(?i)\b(?:(?:can['’]t|cannot|unable to) proceed|waiting on|blocked (?:by|on)|need(?:s|ed)?|requires?)\b[^\n]{0,120}?\b(?:access|credentials?|secrets?|api[ -]?keys?|tokens?|passwords?|login|accounts?|permissions?|input|clarification)\b"
);
pattern!(BLOCKER, r"(?i)\b(?:blocked|(?:can['’]t|cannot|unable to) proceed|waiting on)\b");
pattern!(WANTED, r"(?i)\b(?:credentials?|secrets?|api[ -]?keys?|tokens?|access|input|clarification)\b");
pattern!(
    MANAGER,
    r"(?i)\b(?:(?:manager|human|manual|security) review|escalat(?:e|ed|es|ing|ion)|production (?:deploy(?:ment)?|access)|deploy(?:ing)? to production|rotat(?:e|ing)\b[^\n]{0,80}?\b(?:secret|key|token)s?|delet(?:e|ing)\b[^\n]{0,80}?\bproduction|security-sensitive|budget-sensitive|(?:cost|spend|spending|budget) approval)\b"
);
pattern!(
    COMMAND,
    r"(?i)\b(?:run|rerun|re-run|execute)[ \t]+(?:(?:the|all|a)[ \t]+)?(?:pnpm|npm|yarn|bun|vitest|jest|pytest|cargo|go test|curl|tests?|typecheck|build|lint|package|verification)\b"
);
pattern!(
    VERB,
    r"(?i)\b(?:inspect|check|review|look|investigate|analy[sz]e|open|read|start|begin|continue|implement|fix|test|update|create|add|write|verify|validate|report)\b"
);

#[cfg(test)]
mod tests {
    use super::Actionability::{ApprovalRequired, BlockedExternal, ManagerReview, Runnable, Unknown};
    use super::*;

    #[test]
    fn the_words_are_tested_in_order() {
        let rows: Vec<(&str, Actionability)> = vec![
            ("", Unknown),
            (" \n ", Unknown),
            // Negated blockers.
            ("Not blocked. I'll run cargo test.", Runnable),
            ("No blockers; needs board approval", Unknown),
            ("no blocker, fix the parser", Runnable),
            ("Unblocked now", Unknown),
            // Approvals, before access: approval requests are not continued.
            ("Approval required before the merge", ApprovalRequired),
            ("pending approval", ApprovalRequired),
            ("waiting for board approval, then fix it", ApprovalRequired),
            ("human approval", ApprovalRequired),
            ("user approval", ApprovalRequired),
            ("operator approval", ApprovalRequired),
            ("This requires the approval of somebody", ApprovalRequired),
            ("It needs access and approval", ApprovalRequired),
            ("need\napproval", Unknown),
            // Things only others can give.
            ("I cannot proceed without the credentials", BlockedExternal),
            ("can't proceed: no login", BlockedExternal),
            ("unable to proceed, account locked", BlockedExternal),
            ("waiting on clarification", BlockedExternal),
            ("blocked by missing permissions", BlockedExternal),
            ("blocked on the API key", BlockedExternal),
            ("I need a password", BlockedExternal),
            ("This needs your input", BlockedExternal),
            ("It requires a token", BlockedExternal),
            ("Blocked.\nThe secret is missing.", BlockedExternal),
            ("Waiting on ops.\nNo access yet.", BlockedExternal),
            // A manager's look.
            ("Next: manager review", ManagerReview),
            ("human review first", ManagerReview),
            ("manual review", ManagerReview),
            ("security review", ManagerReview),
            ("Escalate to the lead", ManagerReview),
            ("production deploy comes next", ManagerReview),
            ("production access", ManagerReview),
            ("Next step: deploy to production and check", ManagerReview),
            ("rotate the old signing key", ManagerReview),
            ("delete rows in production", ManagerReview),
            ("security-sensitive", ManagerReview),
            ("budget-sensitive", ManagerReview),
            ("cost approval", ManagerReview),
            ("spend approval", ManagerReview),
            // Work anybody can do.
            ("rerun the tests", Runnable),
            ("execute pytest", Runnable),
            ("run go test", Runnable),
            ("Two checks of the parser fail. Next step: rerun cargo test and fix the validation.", Runnable),
            ("continue", Runnable),
            ("validate the output", Runnable),
            // Nothing that says anything.
            ("run along", Unknown),
            ("Hm.", Unknown),
            ("blocked", Unknown),
            ("the token ring", Unknown),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_gap_is_bounded() {
        let needs = |gap: usize| format!("need {} token", "x".repeat(gap));
        assert_eq!(read(&needs(118)), BlockedExternal);
        assert_eq!(read(&needs(119)), Unknown);
        let approval = |gap: usize| format!("requires {} approval", "x".repeat(gap));
        assert_eq!(read(&approval(78)), ApprovalRequired);
        assert_eq!(read(&approval(79)), Unknown);
    }

    #[test]
    fn every_verb_of_the_list_is_runnable() {
        for verb in [
            "inspect",
            "check",
            "review",
            "look",
            "investigate",
            "analyse",
            "open",
            "read",
            "start",
            "begin",
            "continue",
            "implement",
            "fix",
            "test",
            "update",
            "create",
            "add",
            "write",
            "verify",
            "validate",
            "report",
        ] {
            assert_eq!(read(&format!("then {verb} it")), Runnable, "{verb}");
        }
        for what in [
            "pnpm",
            "npm",
            "yarn",
            "bun",
            "vitest",
            "jest",
            "pytest",
            "cargo",
            "go test",
            "curl",
            "tests",
            "typecheck",
            "build",
            "lint",
            "package",
            "verification",
        ] {
            for verb in ["run", "rerun", "execute"] {
                assert_eq!(read(&format!("{verb} {what}")), Runnable, "{verb} {what}");
            }
        }
    }
}
