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
