//! Inline base64 images: the data goes, a note of its length stays.
//!
//! Only the shape agents print is known, `"type":"image","source":{"type":"base64","data":"…"`,
//! with or without a media type before the data; and only data of 1,024 characters and more is
//! worth replacing.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

pub(crate) const PLAIN: &str = r#""type":"image","source":{"type":"base64","data":""#;
const WITH_MEDIA: &str = r#""type":"image","source":{"type":"base64","media_type":""#;
/// Between the quote that ends the media type and the data.
const BRIDGE: &[u8] = br#","data":""#;
const LONGEST_MEDIA: usize = 64;
const WORTH_REPLACING: usize = 1024;

#[derive(Debug)]
pub(super) struct Images {
    search: AhoCorasick,
    state: State,
    held: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// `held` may be the beginning of a marker.
    Searching,
    /// In the media type, so far in.
    Media(usize),
    /// In the bridge, so far in.
    Bridge(usize),
    /// In the data; `held` is all of it, still too short.
    Counting,
    /// In data that will be replaced, so many characters in.
    Dropping(u64),
}

impl Images {
    pub(super) fn new() -> Self {
        let search = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .match_kind(MatchKind::LeftmostFirst)
            .build([PLAIN, WITH_MEDIA])
            .expect("two short constants");
        Self { search, state: State::Searching, held: Vec::new() }
    }

    pub(super) fn push<'a>(&mut self, bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        if matches!(self.state, State::Searching) && self.held.is_empty() && self.search.find(bytes).is_none()
        {
            let safe = tail_start(bytes);
            self.held.extend_from_slice(&bytes[safe..]);
            return &bytes[..safe];
        }
        let mut text = std::mem::take(&mut self.held);
        if matches!(self.state, State::Counting) {
            // What is held was looked at already.
            self.held = text;
            text = Vec::new();
        }
        text.extend_from_slice(bytes);
        scratch.clear();
        let mut rest = &text[..];
        while !rest.is_empty() {
            rest = self.step(rest, scratch);
        }
        scratch
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if let State::Dropping(length) = self.state {
            note(length, out);
        }
        out.append(&mut self.held);
        self.state = State::Searching;
    }

    /// Eats the beginning of a text that is not empty and returns the rest.
    fn step<'a>(&mut self, text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        match self.state {
            State::Searching => {
                let Some(found) = self.search.find(text) else {
                    let safe = tail_start(text);
                    out.extend_from_slice(&text[..safe]);
                    self.held.extend_from_slice(&text[safe..]);
                    return &[];
                };
                out.extend_from_slice(&text[..found.end()]);
                let plain = found.pattern().as_usize() == 0;
                self.state = if plain { State::Counting } else { State::Media(0) };
                &text[found.end()..]
            }
            State::Media(count) => {
                let byte = text[0];
                self.state = match byte {
                    b'"' => State::Bridge(0),
                    _ if count == LONGEST_MEDIA => State::Searching,
                    _ => State::Media(count + 1),
                };
                self.pass(text, out)
            }
            State::Bridge(count) if count == BRIDGE.len() => {
                self.state = State::Counting;
                text
            }
            State::Bridge(count) if text[0] == BRIDGE[count] => {
                self.state = State::Bridge(count + 1);
                self.pass(text, out)
            }
            State::Bridge(_) => {
                self.state = State::Searching;
                text
            }
            State::Counting => {
                let wanted = WORTH_REPLACING - self.held.len();
                let run = run_of_data(text);
                if run >= wanted {
                    self.held.clear();
                    self.state = State::Dropping(WORTH_REPLACING as u64);
                    return &text[wanted..];
                }
                self.held.extend_from_slice(&text[..run]);
                if run < text.len() {
                    out.append(&mut self.held);
                    self.state = State::Searching;
                }
                &text[run..]
            }
            State::Dropping(count) => {
                let run = run_of_data(text);
                self.state = State::Dropping(count + run as u64);
                if run < text.len() {
                    note(count + run as u64, out);
                    self.state = State::Searching;
                }
                &text[run..]
            }
        }
    }

    fn pass<'a>(&self, text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        out.push(text[0]);
        &text[1..]
    }
}

fn note(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("[image data left out: {length} characters]").as_bytes());
}

fn run_of_data(text: &[u8]) -> usize {
    let is_data = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    text.iter().position(|byte| !is_data(byte)).unwrap_or(text.len())
}

/// Where the text may begin a marker that is not complete.
fn tail_start(text: &[u8]) -> usize {
    let first = (text.len() + 1).saturating_sub(WITH_MEDIA.len());
    let begins = |at: usize| {
        let rest = &text[at..];
        rest[0] == b'"' && (PLAIN.as_bytes().starts_with(rest) || WITH_MEDIA.as_bytes().starts_with(rest))
    };
    (first..text.len()).find(|&at| begins(at)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Redactor;
    use crate::redact::tests::in_pieces;

    fn through(text: &str, piece: usize) -> String {
        let cuts: Vec<usize> = (0..text.len()).step_by(piece).collect();
        let out = in_pieces(&mut Redactor::new(&[], true, &[]), text.as_bytes(), &cuts);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn large_images_become_a_note_however_they_arrive() {
        for marker in [PLAIN.to_owned(), format!("{WITH_MEDIA}image/png\",\"data\":\"")] {
            for (length, goes) in [(0, false), (1023, false), (1024, true), (5000, true)] {
                let text = format!("{{{marker}{}\"}}}} tail\n", "Q".repeat(length));
                let wanted = if goes {
                    format!("{{{marker}[image data left out: {length} characters]\"}}}} tail\n")
                } else {
                    text.clone()
                };
                for piece in [1, 7, 100_000] {
                    assert_eq!(through(&text, piece), wanted, "{length} in pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn other_data_and_broken_markers_stay() {
        let text = format!(
            r#"{{"type":"text","data":"{}"}} {WITH_MEDIA}x" ,"data":"{}""#,
            "A".repeat(2000),
            "B".repeat(2000)
        );
        assert_eq!(through(&text, 3), text);
    }
}
