//! Which events an endpoint hears: exact names, `prefix.*` for all that begin so, `*` for everything.

/// The type of the event that somebody asks for by hand, to try an endpoint. It is sent whatever the endpoint hears.
pub const TEST: &str = "webhook.test";
/// Patterns of one endpoint.
pub const MOST_PATTERNS: usize = 50;
/// The longest pattern; no event has a name as long as that.
const LONGEST: usize = 100;

/// The types of events that there are (spec/heartbeat.md 10.2), beside those of [`FAMILIES`].
const KINDS: &[&str] = &[
    "account.status",
    "activity.logged",
    "agent.status",
    "heartbeat.run.event",
    "heartbeat.run.queued",
    "heartbeat.run.status",
];
/// Where any one word may follow: each entry of the history of a run is an event (D23).
const FAMILIES: &[&str] = &["automation.gate.", "automation.node.", "automation.run."];

/// The events that there are, in words.
pub fn all() -> String {
    let families = FAMILIES.iter().map(|family| format!("{family}*"));
    KINDS.iter().map(|kind| (*kind).to_owned()).chain(families).collect::<Vec<_>>().join(", ")
}

/// Whether there are events that a pattern means.
pub fn is_told(pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(stem) => KINDS.iter().chain(FAMILIES).any(|kind| kind.starts_with(stem)),
        None => {
            let is_of = |family: &&str| {
                pattern.strip_prefix(*family).is_some_and(|word| !word.is_empty() && !word.contains('.'))
            };
            KINDS.contains(&pattern) || FAMILIES.iter().any(is_of)
        }
    }
}

/// Says what is wrong with the form of a pattern; `None` when it is one.
pub fn flaw(pattern: &str) -> Option<&'static str> {
    let stem = match pattern {
        "*" => return None,
        _ => pattern.strip_suffix(".*").unwrap_or(pattern),
    };
    if pattern.len() > LONGEST {
        return Some("is longer than 100 characters");
    }
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    (!stem.split('.').all(is_word)).then_some("is no name of events")
}

/// Whether one of the patterns means this type of event.
pub fn is_heard<'a>(patterns: impl IntoIterator<Item = &'a str>, kind: &str) -> bool {
    patterns.into_iter().any(|pattern| means(pattern, kind))
}

fn means(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        // With its dot: `run.*` does not mean `runner.started`.
        Some(stem) => kind.starts_with(stem),
        None => pattern == kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_what_begins_like_it_whole_words_only() {
        for (pattern, kind, is_meant) in [
            ("*", "heartbeat.run.status", true),
            ("heartbeat.run.status", "heartbeat.run.status", true),
            ("heartbeat.run.status", "heartbeat.run.queued", false),
            ("heartbeat.run", "heartbeat.run.queued", false),
            ("heartbeat.*", "heartbeat.run.queued", true),
            ("heartbeat.run.*", "heartbeat.run.queued", true),
            ("heartbeat.run.*", "heartbeat.runner.started", false),
            ("heartbeat.*", "heartbeat", false),
            ("automation.*", "automation.gate.opened", true),
            ("automation.*", "activity.logged", false),
        ] {
            assert_eq!(is_heard([pattern], kind), is_meant, "{pattern} {kind}");
        }
        assert!(is_heard(["a.b", "c.*"], "c.d"));
        assert!(!is_heard([], "c.d"));
    }

    #[test]
    fn a_pattern_means_something_only_where_there_are_events_of_that_name() {
        for told in [
            "*",
            "account.*",
            "activity.logged",
            "heartbeat.*",
            "heartbeat.run.*",
            "heartbeat.run.status",
            "automation.*",
            "automation.run.*",
            "automation.run.completed",
            "automation.gate.opened",
        ] {
            assert!(is_told(told), "{told}");
        }
        for bogus in [
            "bogus.event",
            "bogus.*",
            "heartbeat.run",
            "heartbeat.run.log",
            "heartbeat.run.status.*",
            "automation.runs.completed",
            "automation.run",
            "automation.run.step.done",
            "automation.run.completed.*",
            "activity",
            "issue.created",
        ] {
            assert!(!is_told(bogus), "{bogus}");
        }
        assert!(all().starts_with("account.status, ") && all().ends_with("automation.run.*"), "{}", all());
    }

    #[test]
    fn what_no_event_is_called_is_refused() {
        for good in ["*", "activity.logged", "automation.*", "heartbeat.run.*", "a1_b"] {
            assert_eq!(flaw(good), None, "{good}");
        }
        for bad in ["", ".*", "a*", "*.a", "a.*.b", "A.b", "a..b", "a.", "a b", "a-b", "**", "a.**"] {
            assert!(flaw(bad).is_some(), "{bad}");
        }
        assert!(flaw(&"a".repeat(101)).is_some());
    }
}
