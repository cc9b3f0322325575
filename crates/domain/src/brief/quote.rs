//! Quoting what users wrote, so that it is read as data: fences, single lines, bounded lengths.

/// Puts a text into a fenced block. The fence is longer than any run of back-ticks inside, so nothing in the text can
/// close it. `info` is what stands behind the opening fence; it may be empty.
pub fn fenced(text: &str, info: &str) -> String {
    let fence = "`".repeat(3.max(1 + longest_run(text)));
    format!("{fence}{info}\n{text}\n{fence}")
}

fn longest_run(text: &str) -> usize {
    text.split(|character| character != '`').map(str::len).max().unwrap_or(0)
}

/// Makes one line of a text: what is not printable and every run of white space becomes one space. A title can so not
/// begin a line of its own.
pub fn one_line(text: &str) -> String {
    let breaks = |character: char| {
        character.is_whitespace() || character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
    };
    text.split(breaks).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Returns the first `limit` characters, and whether anything was cut off.
pub fn shorten(text: &str, limit: usize) -> (&str, bool) {
    match text.char_indices().nth(limit) {
        Some((border, _)) => (&text[..border], true),
        None => (text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_longer_than_any_run_inside() {
        for (text, fence) in [
            ("", "```"),
            ("a", "```"),
            ("``", "```"),
            ("```", "````"),
            ("a ``` b ````` c", "``````"),
            ("`\u{200B}````", "`````"),
            ("~~~~~", "```"),
        ] {
            assert_eq!(fenced(text, "text"), format!("{fence}text\n{text}\n{fence}"));
            assert_eq!(fenced(text, ""), format!("{fence}\n{text}\n{fence}"));
        }
    }

    #[test]
    fn nothing_breaks_a_line() {
        for (text, line) in [
            ("", ""),
            (" \n ", ""),
            ("plain words", "plain words"),
            ("a\nb\r\nc\td", "a b c d"),
            ("a\u{0}b\u{1B}[31mc", "a b [31mc"),
            ("a\u{85}b\u{2028}c\u{2029}d\u{A0}e", "a b c d e"),
            (" ä  ö ", "ä ö"),
        ] {
            assert_eq!(one_line(text), line, "{text:?}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        for (text, limit, kept, is_cut) in [
            ("", 0, "", false),
            ("a", 0, "", true),
            ("äöü", 3, "äöü", false),
            ("äöü", 2, "äö", true),
            ("äöü", 9, "äöü", false),
        ] {
            assert_eq!(shorten(text, limit), (kept, is_cut), "{text} {limit}");
        }
    }
}
