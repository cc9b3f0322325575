//! The continuation summary: one bounded document per issue that tells the next run where the last one stopped
//! (spec/heartbeat.md 4.15.1).
//!
//! [`body`] writes it anew after each run from what is known; of the former body only the next action and the paths are
//! carried over. It is stored as document [`KEY`] on top of the revision that was read; storing is the shell's.

use crate::issue::IssueStatus;
use crate::liveness::pattern;
use crate::liveness::text::cut;
use crate::moment::Moment;
use crate::run::Outcome;
use crate::words;

/// Key of the document; hidden from lists.
pub const KEY: &str = "continuation-summary";
/// Its title.
pub const TITLE: &str = "Continuation Summary";
/// Longest body, in characters.
pub const BODY: usize = 8000;
/// Longest section, in characters.
pub const SECTION: usize = 1200;
/// Longest error, in characters.
pub const ERROR: usize = 500;
/// How many paths and commands are named.
pub const NAMED: usize = 12;

const TRUNCATED: &str = "\n[truncated]\n";
const NEXT_ACTION: &str = "Next Action";
const PATHS: &str = "Files / Routes Touched";

words!(
    /// What the next run is to do, in one word.
    Mode { Review = "review", Implementation = "implementation", Plan = "plan" }
);

/// Everything the summary may tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryView {
    pub identifier: String,
    pub title: String,
    pub description: String,
    pub status: IssueStatus,
    pub agent_name: String,
    pub run: String,
    pub outcome: Outcome,
    pub error: Option<String>,
    pub error_code: Option<String>,
    /// Summary, result and message of the result: the first that says anything is told.
    pub result: [Option<String>; 3],
    pub stdout_excerpt: Option<String>,
    pub stderr_excerpt: Option<String>,
    /// Commands the run's tools executed, oldest first.
    pub commands: Vec<String>,
    /// What the issue waits for, and what its liveness says, one line each.
    pub blockers: Vec<String>,
    /// The next action the run itself named.
    pub next_action: Option<String>,
    pub former_body: Option<String>,
    pub at: Moment,
}

/// What kind of work comes next.
pub const fn mode(status: IssueStatus, outcome: Outcome) -> Mode {
    match (status, outcome) {
        (IssueStatus::Done | IssueStatus::InReview, _) => Mode::Review,
        (_, Outcome::Failed | Outcome::TimedOut | Outcome::Cancelled) => Mode::Implementation,
        (IssueStatus::Backlog | IssueStatus::Todo, Outcome::Succeeded) => Mode::Plan,
        (IssueStatus::InProgress | IssueStatus::Blocked | IssueStatus::Cancelled, Outcome::Succeeded) => {
            Mode::Implementation
        }
    }
}

/// Writes the body.
pub fn body(view: &SummaryView) -> String {
    let error = view.error.as_deref().map(|error| cut(error.trim(), ERROR)).filter(|e| !e.is_empty());
    let told = view.result.iter().flatten().map(|t| t.trim()).find(|t| !t.is_empty());
    let result = told.map(str::to_owned).or_else(|| error.clone());

    let mut actions = vec![format!("Run {} ended as {}.", view.run, view.outcome)];
    actions.extend(result.clone());
    if let Some(error) = error.as_deref().filter(|error| Some(*error) != result.as_deref()) {
        actions.push(format!("Error: {error}"));
    }
    let mut blockers = view.blockers.clone();
    if matches!(view.outcome, Outcome::Failed | Outcome::TimedOut) {
        let code = view.error_code.as_deref().unwrap_or("no error code");
        blockers.insert(0, format!("The last run ended as {} ({code}).", view.outcome));
    }
    let newest = view.commands.len().saturating_sub(NAMED);

    let mut text = format!("# {TITLE}\n\n");
    for (label, value) in [
        ("Issue", format!("{} {}", view.identifier, one_line(&view.title))),
        ("Status", view.status.to_string()),
        ("Mode", mode(view.status, view.outcome).to_string()),
        ("Last run", format!("{} ({})", view.run, view.outcome)),
        ("Agent", one_line(&view.agent_name)),
        ("Updated", view.at.iso()),
    ] {
        text.push_str(&format!("- {label}: {value}\n"));
    }
    let objective =
        section(&view.description, "Objective").unwrap_or_else(|| view.description.trim().to_owned());
    for (name, content) in [
        ("Objective", or(objective, "The description says nothing.")),
        (
            "Acceptance Criteria",
            or(
                section(&view.description, "Acceptance Criteria").unwrap_or_default(),
                "None are written down in the description.",
            ),
        ),
        ("Recent Concrete Actions", bullets(&actions)),
        (PATHS, or(bullets(&paths(view, result.as_deref())), "None were named.")),
        (
            "Commands Run",
            or(
                bullets(&view.commands[newest..]),
                &format!("None are known; the log of run {} has it all.", view.run),
            ),
        ),
        ("Blockers / Decisions", or(bullets(&blockers), "None are known.")),
        (NEXT_ACTION, format!("- {}", next(view))),
    ] {
        text.push_str(&format!("\n## {name}\n\n{}\n", cut(&content, SECTION).trim_end()));
    }
    if text.chars().count() <= BODY {
        return text;
    }
    format!("{}{TRUNCATED}", cut(&text, BODY - 20))
}

/// The first line of the next action of a body.
pub fn next_action(body: &str) -> Option<String> {
    section(body, NEXT_ACTION)?
        .lines()
        .map(|line| line.trim().trim_start_matches(['-', '*', ' ']).trim())
        .find(|line| !line.is_empty())
        .map(str::to_owned)
}

/// The text under a `##` heading of that name, without it; `None` when there is none or it is empty.
pub fn section(markdown: &str, name: &str) -> Option<String> {
    let heading = |line: &str| line.strip_prefix("## ").map(|title| title.trim().to_lowercase());
    let mut lines = markdown.lines();
    lines.by_ref().find(|line| heading(line).is_some_and(|title| title == name.to_lowercase()))?;
    let text: Vec<&str> =
        lines.take_while(|line| heading(line).is_none() && !line.starts_with("# ")).collect();
    Some(text.join("\n").trim().to_owned()).filter(|text| !text.is_empty())
}

fn next(view: &SummaryView) -> String {
    match (view.status, view.outcome) {
        (IssueStatus::Done, _) => "Nothing is left to do unless somebody opens the issue again.".to_owned(),
        (IssueStatus::InReview, _) => "Wait for the review, then answer what it asks for.".to_owned(),
        (_, Outcome::Failed | Outcome::TimedOut) => format!(
            "Look at the failure of run {} first, then go on from what is done; do not begin anew.",
            view.run
        ),
        (_, Outcome::Cancelled) => {
            "Read the newest comments to see why the last run was cancelled, then go on.".to_owned()
        }
        (_, Outcome::Succeeded) => view
            .next_action
            .as_deref()
            .map(one_line)
            .filter(|text| !text.is_empty())
            .or_else(|| view.former_body.as_deref().and_then(next_action))
            .unwrap_or_else(|| {
                "Go on with the objective, and leave a comment when something is done.".to_owned()
            }),
    }
}

fn paths(view: &SummaryView, result: Option<&str>) -> Vec<String> {
    // A path relative to a repository: folders and a file with an extension. What comes before it keeps addresses out.
    pattern!(PATH, r#"(?:^|[\s`'"(\[,:])((?:\.?[\w@+-][\w.@+-]*/)+[\w@+.-]*\.[A-Za-z][A-Za-z0-9]{0,7})\b"#);
    let former = view.former_body.as_deref().and_then(|body| section(body, PATHS));
    let texts = [result, view.stdout_excerpt.as_deref(), view.stderr_excerpt.as_deref(), former.as_deref()];
    let mut found: Vec<String> = Vec::new();
    for text in texts.into_iter().flatten() {
        for captures in PATH.captures_iter(text) {
            let path = &captures[1];
            if !found.iter().any(|known| known == path) {
                found.push(path.to_owned());
            }
        }
    }
    found.truncate(NAMED);
    found
}

fn bullets(lines: &[String]) -> String {
    lines.iter().map(|line| format!("- {}", line.trim())).collect::<Vec<_>>().join("\n")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn or(text: String, otherwise: &str) -> String {
    if text.trim().is_empty() { otherwise.to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> SummaryView {
        SummaryView {
            identifier: "ACM-1".into(),
            title: "Fix the\nparser".into(),
            description: "Intro.\n\n## Objective\n\nCommas survive.\n\n## Acceptance criteria\n\n- a test\n\n## Notes\n\nx"
                .into(),
            status: IssueStatus::InProgress,
            agent_name: "Ada".into(),
            run: "r1".into(),
            outcome: Outcome::Succeeded,
            error: None,
            error_code: None,
            result: [None, Some("Changed crates/domain/src/wake.rs and `docs/a-b.md`.".into()), None],
            stdout_excerpt: Some("see https://example.com/x/y.html or (ui/main.ts), .github/ci.yml\n1/2 done".into()),
            stderr_excerpt: Some("crates/domain/src/wake.rs:4:1".into()),
            commands: vec!["cargo test".into()],
            blockers: vec!["ACM-2 is not done".into()],
            next_action: Some("Add the\ntest".into()),
            former_body: None,
            at: Moment::from_micros(0),
        }
    }

    #[test]
    fn every_section_is_there_in_its_order() {
        assert_eq!(
            body(&view()),
            "# Continuation Summary\n\n- Issue: ACM-1 Fix the parser\n- Status: in_progress\n- Mode: implementation\n\
             - Last run: r1 (succeeded)\n- Agent: Ada\n- Updated: 1970-01-01T00:00:00.000Z\n\
             \n## Objective\n\nCommas survive.\n\
             \n## Acceptance Criteria\n\n- a test\n\
             \n## Recent Concrete Actions\n\n- Run r1 ended as succeeded.\n- Changed crates/domain/src/wake.rs and `docs/a-b.md`.\n\
             \n## Files / Routes Touched\n\n- crates/domain/src/wake.rs\n- docs/a-b.md\n- ui/main.ts\n- .github/ci.yml\n\
             \n## Commands Run\n\n- cargo test\n\
             \n## Blockers / Decisions\n\n- ACM-2 is not done\n\
             \n## Next Action\n\n- Add the test\n"
        );
    }

    #[test]
    fn empty_sections_say_so() {
        let empty = SummaryView {
            description: " ".into(),
            result: [None, None, None],
            stdout_excerpt: None,
            stderr_excerpt: None,
            commands: vec![],
            blockers: vec![],
            next_action: None,
            ..view()
        };
        let body = body(&empty);
        for (name, text) in [
            ("Objective", "The description says nothing."),
            ("Acceptance Criteria", "None are written down in the description."),
            ("Recent Concrete Actions", "- Run r1 ended as succeeded."),
            ("Files / Routes Touched", "None were named."),
            ("Commands Run", "None are known; the log of run r1 has it all."),
            ("Blockers / Decisions", "None are known."),
            ("Next Action", "- Go on with the objective, and leave a comment when something is done."),
        ] {
            assert_eq!(section(&body, name).as_deref(), Some(text), "{name}");
        }
    }

    #[test]
    fn the_mode_follows_from_issue_and_run() {
        use IssueStatus::{Backlog, Blocked, Cancelled, Done, InProgress, InReview, Todo};
        for outcome in Outcome::ALL.iter().copied() {
            for status in [Done, InReview] {
                assert_eq!(mode(status, outcome), Mode::Review, "{status} {outcome}");
            }
            for status in [Backlog, Todo] {
                let expected = if outcome == Outcome::Succeeded { Mode::Plan } else { Mode::Implementation };
                assert_eq!(mode(status, outcome), expected, "{status} {outcome}");
            }
            for status in [InProgress, Blocked, Cancelled] {
                assert_eq!(mode(status, outcome), Mode::Implementation, "{status} {outcome}");
            }
        }
    }

    #[test]
    fn a_failure_points_the_next_run_at_it() {
        let failed = SummaryView {
            outcome: Outcome::Failed,
            error: Some(format!(" {} ", "e".repeat(700))),
            error_code: Some("adapter_failed".into()),
            result: [None, None, Some("tried".into())],
            ..view()
        };
        let text = body(&failed);
        let actions = section(&text, "Recent Concrete Actions").expect("there");
        assert!(actions.ends_with(&format!("- tried\n- Error: {}", "e".repeat(500))), "{actions}");
        assert!(text.contains("- The last run ended as failed (adapter_failed)."));
        assert!(next_action(&text).expect("there").starts_with("Look at the failure of run r1 first"));
        // Without a result the error is the result, and told once.
        let silent = SummaryView { result: [None, Some(" ".into()), None], ..failed };
        assert_eq!(body(&silent).matches(&"e".repeat(500)).count(), 1);
    }

    #[test]
    fn the_next_action_is_fixed_where_the_state_says_it_and_carried_over_where_not() {
        let former = "## Next Action\n\n- carried over\n- second\n";
        let found = |status, outcome, own: Option<&str>| {
            let view = SummaryView {
                status,
                outcome,
                next_action: own.map(str::to_owned),
                former_body: Some(former.into()),
                ..view()
            };
            next_action(&body(&view)).expect("always there")
        };
        use IssueStatus::{Done, InProgress, InReview};
        use Outcome::{Cancelled, Succeeded, TimedOut};
        assert!(found(Done, Succeeded, Some("x")).starts_with("Nothing is left"));
        assert!(found(InReview, Outcome::Failed, Some("x")).starts_with("Wait for the review"));
        assert!(found(InProgress, TimedOut, Some("x")).starts_with("Look at the failure"));
        assert!(found(InProgress, Cancelled, Some("x")).starts_with("Read the newest comments"));
        assert_eq!(found(InProgress, Succeeded, Some("own")), "own");
        assert_eq!(found(InProgress, Succeeded, Some(" ")), "carried over");
        assert_eq!(found(InProgress, Succeeded, None), "carried over");
    }

    #[test]
    fn twelve_paths_are_named_and_former_ones_last() {
        let many = (0..20).map(|n| format!("src/f{n}.rs")).collect::<Vec<_>>().join(" ");
        let former = "## Files / Routes Touched\n\n- old/path.rs\n- src/f1.rs\n";
        let first =
            SummaryView { result: [Some(many), None, None], former_body: Some(former.into()), ..view() };
        let named = section(&body(&first), "Files / Routes Touched").expect("there");
        assert_eq!((named.lines().count(), named.contains("old/path.rs")), (12, false));
        let few = SummaryView { result: [None, None, None], stdout_excerpt: None, ..first };
        assert_eq!(
            section(&body(&few), "Files / Routes Touched").as_deref(),
            Some("- crates/domain/src/wake.rs\n- old/path.rs\n- src/f1.rs")
        );
    }

    #[test]
    fn sections_and_the_whole_are_bounded() {
        let huge = SummaryView {
            description: "é".repeat(5000),
            title: "t".repeat(9000),
            result: [Some("r".repeat(5000)), None, None],
            commands: (0..40).map(|n| format!("command {n} {}", "c".repeat(300))).collect(),
            ..view()
        };
        let whole = body(&huge);
        assert!(whole.ends_with("\n[truncated]\n"));
        assert_eq!(whole.chars().count(), 8000 - 20 + "\n[truncated]\n".len());
        // The last that fits, and the first that does not.
        let fixed = body(&SummaryView { title: String::new(), ..view() }).chars().count();
        let titled = |length: usize| body(&SummaryView { title: "t".repeat(length), ..view() });
        let (fits, cut) = (titled(8000 - fixed), titled(8001 - fixed));
        assert_eq!((fits.chars().count(), fits.contains("[truncated]")), (8000, false));
        assert!(cut.ends_with("\n[truncated]\n"));
        let bounded = body(&SummaryView { title: "t".into(), ..huge });
        assert!(bounded.chars().count() <= 8000 && !bounded.contains("[truncated]"));
        assert_eq!(section(&bounded, "Objective").map(|s| s.chars().count()), Some(1200));
        let commands = section(&bounded, "Commands Run").expect("there");
        assert!(commands.starts_with("- command 28 ") && commands.chars().count() == 1200);
    }

    #[test]
    fn sections_are_read_by_their_heading() {
        let text = "## A\n\none\n### deeper\ntwo\n\n## b \nthree\n# end\nfour\n## C\n\n";
        assert_eq!(section(text, "A").as_deref(), Some("one\n### deeper\ntwo"));
        assert_eq!(section(text, "B").as_deref(), Some("three"));
        assert_eq!(section(text, "C"), None);
        assert_eq!(section(text, "D"), None);
    }
}
