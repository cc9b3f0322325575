//! Which events an endpoint hears: exact names, `prefix.*` for all that begin so, `*` for everything.

/// The type of the event that somebody asks for by hand, to try an endpoint. It is sent whatever the endpoint hears.
pub const TEST: &str = "webhook.test";
/// Patterns of one endpoint.
pub const MOST_PATTERNS: usize = 50;
/// The longest pattern; no event has a name as long as that.
const LONGEST: usize = 100;

/// Says what is wrong with a pattern; `None` when it is one.
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
