//! What programs mutter on stderr: the plain words of a line, and the last of them before the real speech
//! began.
//!
//! Most of it is noise. It matters in one case: a program that ended before it said anything on stdout has
//! said there why.

use domain::telling::{AgentError, ErrorClass};

/// As much of a line as is looked at, in bytes; a stack trace in one line is no message.
const LONGEST: usize = 4096;

/// Returns the line without colours and without the white space at its end, cut to a length for people.
pub(crate) fn plain(line: &[u8]) -> String {
    let mut words = Vec::with_capacity(line.len().min(LONGEST));
    let mut rest = line.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            // A control sequence: ESC, `[`, parameters, one final byte.
            0x1b if rest.next() == Some(b'[') => {
                rest.by_ref().find(|byte| (0x40..=0x7e).contains(byte));
            }
            0x1b => {}
            byte => words.push(byte),
        }
        if words.len() >= LONGEST {
            break;
        }
    }
    String::from_utf8_lossy(&words).trim_end().trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned()
}

/// The last thing that was said before the program began, or nothing once it is clear what was the matter.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    words: Option<String>,
    is_over: bool,
}

impl LastWords {
    /// Takes a plain line; an indented one belongs to the one before it.
    pub(crate) fn hear(&mut self, line: &str) {
        if !self.is_over && !line.is_empty() && !line.starts_with([' ', '\t', '}']) {
            self.words = Some(line.to_owned());
        }
    }

    /// It began after all, or a better reason was found: no words are needed any more.
    pub(crate) fn end(&mut self) {
        *self = LastWords { words: None, is_over: true };
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// The words as a failure of no particular class.
    pub(crate) fn error(&self) -> Option<AgentError> {
        let message = self.words.clone()?;
        Some(AgentError { class: ErrorClass::Other, message, code: None, not_before: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_the_end_of_the_line_are_left_out() {
        assert_eq!(plain(b"\x1b[91m\x1b[1mError: \x1b[0mSession not found \r"), "Error: Session not found");
        assert_eq!(plain(b"caf\xc3\xa9"), "caf\u{e9}");
        assert_eq!(plain(b"\x1b"), "");
        assert_eq!(plain(b"\x1b["), "");
        assert_eq!(plain(b"a\x1b[999"), "a");
        assert_eq!(plain(&b"\xe2\x82\xac".repeat(3000)).len() % 3, 0);
    }

    #[test]
    fn the_last_line_that_is_not_indented_is_the_message() {
        let mut words = LastWords::default();
        assert_eq!(words.error(), None);
        for line in ["Warning: few colours", "No input provided", "    at main", "", "}"] {
            words.hear(line);
        }
        assert_eq!(words.error().map(|it| it.message).as_deref(), Some("No input provided"));
        words.end();
        words.hear("Use another command");
        assert_eq!((words.error(), words.is_over()), (None, true));
    }
}
