//! Secret values, also where they are split between two reads.
//!
//! What a value may look like is in `forms`; here all of that is looked for at once.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::forms::forms;
use super::glance::Glance;

pub(crate) const REPLACEMENT: &[u8] = b"***REDACTED***";

#[derive(Debug)]
pub(super) struct Secrets {
    search: AhoCorasick,
    glance: Option<Glance>,
    patterns: Vec<Vec<u8>>,
    /// Which patterns begin with a byte.
    begins: Box<[Vec<u32>; 256]>,
    longest: usize,
    held: Vec<u8>,
    joined: Vec<u8>,
}

impl Secrets {
    pub(super) fn new(values: &[String]) -> Option<Self> {
        let patterns = forms(values);
        if patterns.is_empty() {
            return None;
        }
        // A contiguous NFA is a sixth of the default's memory, and faster where matches are dense.
        let search = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .match_kind(MatchKind::LeftmostLongest)
            .build(&patterns)
            .expect("values that fit a pipe message fit an automaton");
        let mut begins = Box::new([const { Vec::new() }; 256]);
        for (which, pattern) in (0..).zip(&patterns) {
            begins[usize::from(pattern[0])].push(which);
        }
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        let glance = Glance::new(&patterns);
        Some(Self { search, glance, patterns, begins, longest, held: Vec::new(), joined: Vec::new() })
    }

    pub(super) fn push<'a>(&mut self, bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        if self.held.is_empty() && !self.holds(bytes) {
            let safe = self.tail_start(bytes, 0);
            self.held.extend_from_slice(&bytes[safe..]);
            return &bytes[..safe];
        }
        let mut text = std::mem::take(&mut self.joined);
        text.clear();
        text.append(&mut self.held);
        text.extend_from_slice(bytes);
        scratch.clear();
        let safe = self.replace(&text, scratch);
        self.held.extend_from_slice(&text[safe..]);
        self.joined = text;
        scratch
    }

    /// False: no value is in the text.
    fn holds(&self, text: &[u8]) -> bool {
        match &self.glance {
            Some(glance) => glance.perhaps(text, &self.patterns),
            None => self.search.find(text).is_some(),
        }
    }

    /// A held tail holds no whole value unless a longer one began alike: decide for the shorter.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        let mut from = 0;
        for found in self.search.find_iter(&held) {
            out.extend_from_slice(&held[from..found.start()]);
            out.extend_from_slice(REPLACEMENT);
            from = found.end();
        }
        out.extend_from_slice(&held[from..]);
    }

    /// Replaces what is decided and returns from where on nothing is.
    fn replace(&self, text: &[u8], out: &mut Vec<u8>) -> usize {
        let (mut from, mut tail) = (0, self.tail_start(text, 0));
        if !self.holds(text) {
            out.extend_from_slice(&text[..tail]);
            return tail;
        }
        for found in self.search.find_iter(text) {
            // One that begins in the tail might still become a longer one.
            if found.start() >= tail {
                break;
            }
            out.extend_from_slice(&text[from..found.start()]);
            out.extend_from_slice(REPLACEMENT);
            from = found.end();
            if from > tail {
                tail = self.tail_start(text, from);
            }
        }
        out.extend_from_slice(&text[from..tail]);
        tail
    }

    /// The first place, not before `from`, where the rest of the text is the beginning of a value.
    fn tail_start(&self, text: &[u8], from: usize) -> usize {
        let first = from.max((text.len() + 1).saturating_sub(self.longest));
        let is_beginning = |at: usize| {
            let rest = &text[at..];
            self.begins[usize::from(rest[0])].iter().any(|which| {
                let pattern = &self.patterns[*which as usize];
                pattern.len() > rest.len() && pattern.starts_with(rest)
            })
        };
        (first..text.len()).find(|&at| is_beginning(at)).unwrap_or(text.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::redact::Redactor;
    use crate::redact::tests::in_pieces;

    /// What is meant, in the plainest way: at each place the longest value that stands there.
    fn naive(values: &[String], text: &[u8]) -> Vec<u8> {
        let forms = forms(values);
        let (mut out, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let longest = forms.iter().filter(|form| text[at..].starts_with(form)).map(Vec::len).max();
            match longest {
                Some(length) => {
                    out.extend_from_slice(REPLACEMENT);
                    at += length;
                }
                None => {
                    out.push(text[at]);
                    at += 1;
                }
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn any_cutting_gives_what_replacing_in_the_whole_text_gives(
            // Two letters, so that values overlap, nest and repeat.
            values in proptest::collection::vec("[ab]{8,12}", 1..5),
            text in "[ab\n]{0,200}",
            inserts in proptest::collection::vec((any::<usize>(), any::<usize>()), 0..6),
            cuts in proptest::collection::vec(any::<usize>(), 0..30),
        ) {
            let mut text = text.into_bytes();
            for (place, which) in inserts {
                let at = place % (text.len() + 1);
                text.splice(at..at, values[which % values.len()].bytes());
            }
            let mut filter = Redactor::new(&values, false, &[]);
            prop_assert_eq!(in_pieces(&mut filter, &text, &cuts), naive(&values, &text));
        }
    }

    #[test]
    fn a_tail_is_held_only_while_it_may_become_a_value() {
        let mut filter = Redactor::new(&["password1".into()], false, &[]);
        assert_eq!(filter.push(b"say pass"), b"say ");
        assert_eq!(filter.push(b"age\n"), b"passage\n");
        assert_eq!(filter.push(b"password"), b"");
        assert_eq!(filter.push(b"1 and on"), b"***REDACTED*** and on");
        assert_eq!(filter.push(b"p"), b"");
        assert_eq!(filter.finish(), b"p");
    }

    #[test]
    fn a_key_with_line_breaks_is_found_in_json_too() {
        let key = "-----BEGIN-----\nabc\n-----END-----\n".to_owned();
        let line = serde_json::to_string(&format!("<{key}>")).unwrap();
        assert_eq!(Redactor::whole(std::slice::from_ref(&key), &line), "\"<***REDACTED***>\"");
        assert_eq!(Redactor::whole(std::slice::from_ref(&key), key.trim()), "***REDACTED***");
    }

    /// Run by hand: `cargo test -p keeper --lib -- --ignored --nocapture how_fast`.
    #[test]
    #[ignore = "measures"]
    fn how_fast_a_log_of_50_mib_passes() {
        use std::time::Instant;
        let line = concat!(
            r#"{"type":"assistant","message":{"content":[{"type":"text","text":"I have read src/lib.rs and 17 tests "#,
            r#"pass; sha 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08; c2VlIHRoZSBuZXh0IHN0ZXA="}]}}"#,
            "\n"
        );
        let text = line.repeat((50 << 20) / line.len());
        for count in [1_usize, 5, 20] {
            let of = |length: usize| -> Vec<String> {
                let value = |which: usize| {
                    let mut state = 0x9E37_79B9_u64.wrapping_mul(which as u64 + 1);
                    let letters = (0..length).map(|_| {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        char::from(
                            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                [(state >> 33) as usize % 62],
                        )
                    });
                    format!("sk-{}", letters.collect::<String>())
                };
                (0..count).map(value).collect()
            };
            // Short ones are looked for as they are only: the first figure is what it cost before.
            for (what, values) in [("as they are", of(12)), ("in all forms", of(40))] {
                let mut filter = Redactor::new(&values, false, &[]);
                let since = Instant::now();
                let mut out = 0;
                for chunk in text.as_bytes().chunks(64 << 10) {
                    out += filter.push(chunk).len();
                }
                out += filter.finish().len();
                assert_eq!(out, text.len());
                println!("{count} values, {what} ({} forms): {:?}", forms(&values).len(), since.elapsed());
            }
        }
    }
}
