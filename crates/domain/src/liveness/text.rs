//! What an agent's words look like: which of them are its own, whether they speak of work to come, and what it named as
//! its next action (spec/heartbeat.md 4.14).
//!
//! Language is the weakest evidence there is. These tests know English phrases and nothing else; `liveness::classify`
//! asks them only where durable traces of work are missing. What the words demand of others is `actionability`.

use crate::summary;

/// Longest stored next action, in characters.
pub const NEXT_ACTION: usize = 500;
/// How many of the run's comments are read, counted from the newest.
pub const COMMENTS: usize = 5;

/// Everything a run said, by where it was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spoken {
    /// Comments of the run on its issue, oldest first.
    pub comments: Vec<String>,
    /// The result's own field for what is next.
    pub next_action: Option<String>,
    pub summary: Option<String>,
    pub result: Option<String>,
    pub message: Option<String>,
    /// The error the result speaks of.
    pub error: Option<String>,
    /// Output kept in the result.
    pub stdout: Option<String>,
    pub stderr: Option<String>,
    pub stdout_excerpt: Option<String>,
    pub stderr_excerpt: Option<String>,
    /// The error of the run.
    pub run_error: Option<String>,
    /// The continuation summary as earlier runs left it. It is not this run's speech: it may name the next action to
    /// show, and decides nothing, or one old sentence would classify every later run.
    pub earlier_summary: Option<String>,
}

impl Spoken {
    /// What the run said on purpose: comments and its result.
    pub fn high_signal(&self) -> String {
        let newest = self.comments.len().saturating_sub(COMMENTS);
        let comments = self.comments[newest..].iter().map(String::as_str);
        join(comments.chain(self.next_action.as_deref()).chain(self.result_words()))
    }

    /// What it printed, without the lines of tools.
    pub fn raw(&self) -> String {
        let printed = self.printed().map(without_noise).collect::<Vec<_>>();
        join(printed.iter().map(String::as_str))
    }

    /// What the language tests read: speech, or else output.
    pub fn telling(&self) -> String {
        let high = self.high_signal();
        if high.is_empty() { self.raw() } else { high }
    }

    /// What it said it would do next. The newest comment comes first, then the result, then what it printed.
    pub fn own_next_action(&self) -> Option<String> {
        let newest = self.comments.len().saturating_sub(COMMENTS);
        let structured = || self.next_action.as_deref().and_then(first_line);
        self.comments[newest..]
            .iter()
            .rev()
            .find_map(|comment| next_action(comment))
            .or_else(structured)
            .or_else(|| self.result_words().find_map(next_action))
            .or_else(|| self.printed().find_map(|text| next_action(&without_noise(text))))
    }

    /// The next action of the continuation summary.
    pub fn earlier_next_action(&self) -> Option<String> {
        self.earlier_summary.as_deref().and_then(summary::next_action).map(|text| cut(&text, NEXT_ACTION))
    }

    fn result_words(&self) -> impl Iterator<Item = &str> {
        [&self.summary, &self.result, &self.message, &self.error].into_iter().filter_map(|t| t.as_deref())
    }

    fn printed(&self) -> impl Iterator<Item = &str> {
        [&self.stdout, &self.stderr, &self.stdout_excerpt, &self.stderr_excerpt, &self.run_error]
            .into_iter()
            .filter_map(|t| t.as_deref())
    }
}

/// The text speaks of work the agent is going to do.
pub fn speaks_of_plans(text: &str) -> bool {
    pattern!(PLAN_LABEL, r"(?im)^[\s>*#-]*(?:next|next steps?|next action|plan)\s*\**\s*:");
    PLAN_LABEL.is_match(text) || FUTURE.is_match(text)
}

/// The issue asks for a plan, an analysis or a report: planning is the work itself.
pub fn asks_for_a_plan(title: &str, description: &str) -> bool {
    pattern!(
        TITLE,
        r"(?i)\b(?:plan|planning|analysis|investigation|research|report|proposal|design doc|write-?up)\b"
    );
    pattern!(
        DESCRIPTION,
        r"(?i)\b(?:create|write|produce|draft|update|revise|prepare)[ \t]+(?:(?:an?|the)[ \t]+)?(?:plan|analysis|investigation|(?:research[ \t]+)?report|proposal|design doc|write-?up)\b"
    );
    TITLE.is_match(title) || DESCRIPTION.is_match(description)
}

/// The first line that is labelled as the next step or speaks of it.
pub fn next_action(text: &str) -> Option<String> {
    pattern!(LABEL, r"(?i)^[\s>*#-]*(?:next|next steps?|next action)\s*\**\s*:\s*\**\s*(.*)$");
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(found) = LABEL.captures(line) {
            let same_line = found.get(1).map_or("", |m| m.as_str().trim());
            if !same_line.is_empty() {
                return Some(cut(same_line, NEXT_ACTION));
            }
            let below = lines.by_ref().map(unmarked).find(|l| !l.is_empty() && !is_noise(l));
            if let Some(below) = below {
                return Some(cut(below, NEXT_ACTION));
            }
            return None;
        }
        if FUTURE.is_match(line) {
            return Some(cut(unmarked(line), NEXT_ACTION));
        }
    }
    None
}

/// A line that a tool printed, or that echoes a command.
pub fn is_noise(line: &str) -> bool {
    pattern!(
        LABEL,
        r"(?i)^\s*(?:command|status|exit_code|tool|tool_call|tool_result|stdout|stderr|event|payload|session|cwd|ref_id)\s*:"
    );
    pattern!(JSON, r"(?i)^\s*[{\[].{0,80}?\b(?:tool|event|stdout|stderr|cmd|command|payload)(?:\b|_)");
    pattern!(COMMAND, r"^\s*(?:\$\s*)?(?:rg|sed|cat|ls|git|pnpm|npm|yarn|curl|node|python)(?:\s|$)");
    LABEL.is_match(line) || JSON.is_match(line) || COMMAND.is_match(line)
}

/// The first `max` characters.
pub(crate) fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => text[..end].to_owned(),
        None => text.to_owned(),
    }
}

pattern!(
    FUTURE,
    r"(?i)\b(?:i['’]ll|i will|i am going to|i['’]m going to|let me|i need to|(?:my|the) next step is(?: to)?|next,?(?: i will| i['’]ll)?)(?: first)?,?[ \t]+(?:first,?[ \t]+)?(?:inspect|check|review|look|investigate|analy[sz]e|open|read|start|begin|work on|implement|fix|test|update|create|add)\b"
);

fn join<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.map(str::trim).filter(|t| !t.is_empty()).collect::<Vec<_>>().join("\n")
}

fn without_noise(text: &str) -> String {
    text.lines().filter(|line| !is_noise(line)).collect::<Vec<_>>().join("\n")
}

fn first_line(text: &str) -> Option<String> {
    text.lines().map(unmarked).find(|line| !line.is_empty()).map(|line| cut(line, NEXT_ACTION))
}

fn unmarked(line: &str) -> &str {
    line.trim().trim_start_matches(['-', '*', '>', '#', ' ']).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tools_are_noise_and_sentences_are_not() {
        let noise = [
            "command: cargo test",
            "  Status: ok",
            "exit_code: 1",
            "tool: bash",
            "tool_call: read",
            "tool_result: 4 lines",
            "stdout: hello",
            "stderr: oops",
            "event: message",
            "payload: {}",
            "session: 12",
            "cwd: /tmp",
            "ref_id: 9",
            r#"{"type":"tool_use","name":"x"}"#,
            r#"[{"event": "start"}]"#,
            r#"{"cmd":["ls"]}"#,
            "$ git status",
            "git status",
            "$rg TODO",
            "sed -n 1p x",
            "cat x",
            "ls",
            "pnpm test",
            "npm ci",
            "yarn",
            "curl -s localhost",
            "node x.js",
            "python x.py",
        ];
        for line in noise {
            assert!(is_noise(line), "{line}");
        }
        let far = format!("{{{}\"tool\": 1}}", "x".repeat(90));
        let speech =
            ["The command: it works", "gitlab is down", "{ an aside }", "nodes are fine", "catalogue", &far];
        for line in speech {
            assert!(!is_noise(line), "{line}");
        }
    }

    #[test]
    fn work_to_come_is_told_from_work_done() {
        let plans = [
            "I'll inspect the store first.",
            "I’ll start with the tests",
            "I will first check the logs",
            "I am going to implement it",
            "I'm going to fix it",
            "Let me look at the file",
            "let me first read it",
            "I need to update the schema",
            "Next, I will add a test",
            "next create the table",
            "Next I'll verify\nNext, I'll test it",
            "My next step is to review the diff",
            "The next step is fix the parser",
            "I will work on it",
            "I'll analyse and I'll analyze",
            "Done so far.\nNext: deploy",
            "- Next steps: deploy",
            "**Next action:** deploy",
            "next step : deploy",
            "Plan: one, two",
        ];
        for text in plans {
            assert!(speaks_of_plans(text), "{text}");
        }
        let done = [
            "",
            "I fixed the parser and added a test.",
            "I will not be able to",
            "The plan: none",
            "What is next is unclear",
            "I'll\ninspect",
            "I will gladly check",
            "let me know",
        ];
        for text in done {
            assert!(!speaks_of_plans(text), "{text}");
        }
    }

    #[test]
    fn the_issue_may_ask_for_a_plan() {
        let titles = [
            "Plan the move",
            "Sprint planning",
            "Cost analysis",
            "Investigation of the crash",
            "Research caches",
            "Weekly report",
            "A proposal",
            "Design doc for sync",
            "Write-up of the outage",
            "Writeup",
        ];
        for title in titles {
            assert!(asks_for_a_plan(title, ""), "{title}");
        }
        for verb in ["create", "Write", "produce", "draft", "update", "revise", "prepare"] {
            for what in [
                "plan",
                "analysis",
                "investigation",
                "report",
                "research report",
                "proposal",
                "design doc",
                "write-up",
            ] {
                assert!(
                    asks_for_a_plan("Do it", &format!("Please {verb} the {what} today")),
                    "{verb} {what}"
                );
                assert!(asks_for_a_plan("Do it", &format!("{verb} {what}")), "{verb} {what}");
            }
        }
        for (title, description) in [
            ("Plant a tree", ""),
            ("Fix the parser", "follow the plan"),
            ("Reporting is broken", "write a parser"),
        ] {
            assert!(!asks_for_a_plan(title, description), "{title}");
        }
    }

    #[test]
    fn the_next_action_is_a_labelled_line_or_one_that_speaks_of_it() {
        let rows = [
            ("All done.", None),
            ("Did A.\nNext: do B\nNext: do C", Some("do B")),
            ("- **Next step:** do B", Some("do B")),
            ("Next steps:\n\ncommand: ls\n- do B\n- do C", Some("do B")),
            ("## Next action:\n\n  * do B", Some("do B")),
            ("Did A.\n- I'll check B then.\nNext: C", Some("I'll check B then.")),
            ("Next action:\n\n", None),
            ("Plan: one", None),
        ];
        for (text, expected) in rows {
            assert_eq!(next_action(text).as_deref(), expected, "{text}");
        }
        assert_eq!(next_action(&format!("Next: {}", "é".repeat(600))).map(|t| t.chars().count()), Some(500));
    }

    #[test]
    fn the_newest_comment_names_the_next_action_before_result_and_output() {
        let mut spoken = Spoken {
            comments: vec!["Next: old".into(), "Next: new".into(), "Thanks".into()],
            next_action: Some("\n- from the field\nmore".into()),
            result: Some("Next: from the result".into()),
            stdout_excerpt: Some("tool: x\nNext: from the output".into()),
            earlier_summary: Some("## Next Action\n\n- from long ago\n".into()),
            ..Spoken::default()
        };
        let mut found = Vec::new();
        for clear in [
            |s: &mut Spoken| s.comments.clear(),
            |s: &mut Spoken| s.next_action = None,
            |s: &mut Spoken| s.result = None,
            |s: &mut Spoken| s.stdout_excerpt = None,
        ] {
            found.push(spoken.own_next_action().expect("one is left"));
            clear(&mut spoken);
        }
        assert_eq!(found, ["new", "from the field", "from the result", "from the output"]);
        assert_eq!(spoken.own_next_action(), None);
        assert_eq!(spoken.earlier_next_action().as_deref(), Some("from long ago"));
    }

    #[test]
    fn speech_is_read_before_output_and_only_the_last_five_comments() {
        let spoken = Spoken {
            comments: (1..=7).map(|n| format!("c{n}")).collect(),
            summary: Some(" s ".into()),
            stdout: Some("$ ls\nprinted".into()),
            earlier_summary: Some("old".into()),
            ..Spoken::default()
        };
        assert_eq!(spoken.telling(), "c3\nc4\nc5\nc6\nc7\ns");
        assert_eq!(spoken.raw(), "printed");
        let silent = Spoken { comments: vec![], summary: None, ..spoken };
        assert_eq!(silent.telling(), "printed");
    }
}
