//! Reading answers of the server, and putting them on the screen as facts, sections and short texts.
//!
//! What agents and people wrote reaches a terminal only through here: on one line or several, without anything that a
//! terminal would obey.

use serde_json::Value as Json;

use crate::screen::{Screen, Tone};

pub(super) use super::agent_lookup::text;

/// The rows of a list; none when it is not a list.
pub(super) fn rows(of: &Json) -> &[Json] {
    of.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The rows of a list in a field.
pub(super) fn rows_at<'a>(of: &'a Json, key: &str) -> &'a [Json] {
    of.get(key).map(rows).unwrap_or_default()
}

/// A number of an answer; 0 when it is not there.
pub(super) fn number(of: &Json, key: &str) -> i64 {
    of.get(key).and_then(Json::as_i64).unwrap_or(0)
}

/// A text on one line of at most so many characters.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let line = text.split_whitespace().map(printable).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Keeps what a terminal only shows: no control characters, and none that turn the direction of writing.
pub(super) fn printable(text: &str) -> String {
    let obeys = |c: char| {
        (c.is_control() && c != '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(|c| !obeys(*c)).collect()
}

/// Prints the facts that are not empty, one a line, with what several lines hold below each other.
pub(super) fn facts(screen: &mut Screen, facts: impl IntoIterator<Item = (&'static str, String)>) {
    for (name, value) in facts {
        for (at, line) in value.lines().filter(|line| !line.trim().is_empty()).enumerate() {
            let name = if at == 0 { name } else { "" };
            screen.line(&format!("  {name:<9} {}", printable(line)));
        }
    }
}

/// Prints the title of what follows.
pub(super) fn section(screen: &mut Screen, title: &str) {
    let title = screen.tint(Tone::Faint, title);
    screen.line(&title);
}

/// Prints a text of several lines, indented.
pub(super) fn paragraph(screen: &mut Screen, text: &str) {
    for line in text.lines() {
        screen.line(format!("  {}", printable(line)).trim_end());
    }
}

/// Cents as people write them.
pub(super) fn usd(cents: i64) -> String {
    let (sign, cents) = (if cents < 0 { "-" } else { "" }, cents.unsigned_abs());
    format!("{sign}${}.{:02}", cents / 100, cents % 100)
}

/// So many things: `1 run`, `2 runs`.
pub(super) fn counted(count: i64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// A list as people read it: `a, b and c`.
pub(super) fn listing(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_cannot_move_the_cursor() {
        assert_eq!(one_line(" a\x1b[2J\n b\u{202e}c ", 40), "a[2J bc");
        assert_eq!(printable("a\tb\u{7}\u{2067}"), "a\tb");
        assert_eq!(one_line("ääää", 3), "äää…");
    }

    #[test]
    fn money_and_lists_read_well() {
        for (cents, said) in [(0, "$0.00"), (5, "$0.05"), (123_456, "$1234.56"), (-250, "-$2.50")] {
            assert_eq!(usd(cents), said);
        }
        let list = |items: &[&str]| listing(&items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            [list(&[]), list(&["a"]), list(&["a", "b"]), list(&["a", "b", "c"])],
            ["", "a", "a and b", "a, b and c"]
        );
    }
}
