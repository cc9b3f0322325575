//! User names, masked to their first letter.
//!
//! A name counts only between bytes that cannot belong to a name (`bob` but not `bobby` nor
//! `bob.txt`), so a name at the end of what was read waits for the next byte.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

#[derive(Debug)]
pub(super) struct Users {
    search: AhoCorasick,
    /// Longest first.
    names: Vec<Vec<u8>>,
    held: Vec<u8>,
    /// The byte before what is held.
    before: Option<u8>,
}

impl Users {
    pub(super) fn new(names: &[String]) -> Option<Self> {
        let mut names: Vec<Vec<u8>> =
            names.iter().filter(|name| !name.is_empty()).map(|name| name.clone().into_bytes()).collect();
        if names.is_empty() {
            return None;
        }
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        names.dedup();
        let search = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .match_kind(MatchKind::LeftmostLongest)
            .build(&names)
            .expect("a few names fit an automaton");
        Some(Self { search, names, held: Vec::new(), before: None })
    }

    pub(super) fn push<'a>(&mut self, bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        if self.held.is_empty() && self.search.find(bytes).is_none() {
            let safe = self.tail_start(bytes, 0);
            self.held.extend_from_slice(&bytes[safe..]);
            self.before = safe.checked_sub(1).map_or(self.before, |last| Some(bytes[last]));
            return &bytes[..safe];
        }
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(bytes);
        scratch.clear();
        let done = self.mask(&text, scratch, false);
        self.before = done.checked_sub(1).map_or(self.before, |last| Some(text[last]));
        self.held.extend_from_slice(&text[done..]);
        scratch
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        self.mask(&held, out, true);
    }

    /// Masks what is decided and returns from where on nothing is.
    fn mask(&self, text: &[u8], out: &mut Vec<u8>, at_end: bool) -> usize {
        let (mut from, mut look) = (0, 0);
        let mut tail = if at_end { text.len() } else { self.tail_start(text, 0) };
        while let Some(found) = self.search.find(&text[look..]) {
            let start = look + found.start();
            if start >= tail {
                break;
            }
            let Some(name) = self.bounded_name(text, start) else {
                look = start + 1;
                continue;
            };
            out.extend_from_slice(&text[from..start]);
            mask_into(name, out);
            from = start + name.len();
            look = from;
            if from > tail {
                tail = self.tail_start(text, from);
            }
        }
        out.extend_from_slice(&text[from..tail]);
        tail
    }

    fn bounded_name(&self, text: &[u8], start: usize) -> Option<&Vec<u8>> {
        if !self.free_before(text, start) {
            return None;
        }
        let free_after = |name: &[u8]| text.get(start + name.len()).is_none_or(|&byte| !belongs(byte));
        self.names.iter().find(|name| text[start..].starts_with(name) && free_after(name))
    }

    fn free_before(&self, text: &[u8], at: usize) -> bool {
        let before = at.checked_sub(1).map_or(self.before, |last| Some(text[last]));
        before.is_none_or(|byte| !belongs(byte))
    }

    /// The first place from which the text may be a name whose end is not here yet.
    fn tail_start(&self, text: &[u8], from: usize) -> usize {
        let longest = self.names[0].len();
        let first = from.max(text.len().saturating_sub(longest));
        let undecided = |at: usize| {
            self.free_before(text, at) && self.names.iter().any(|name| name.starts_with(&text[at..]))
        };
        (first..text.len()).find(|&at| undecided(at)).unwrap_or(text.len())
    }
}

fn belongs(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn mask_into(name: &[u8], out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(name);
    let mut letters = text.chars();
    let first = letters.next().expect("names are not empty");
    out.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
    out.extend(letters.map(|_| b'*'));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::redact::Redactor;
    use crate::redact::tests::in_pieces;

    fn naive(names: &[String], text: &[u8]) -> Vec<u8> {
        let mut names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        let (mut out, mut at) = (Vec::new(), 0);
        'text: while at < text.len() {
            if at == 0 || !belongs(text[at - 1]) {
                for name in &names {
                    let end = at + name.len();
                    if text[at..].starts_with(name) && text.get(end).is_none_or(|&byte| !belongs(byte)) {
                        mask_into(name, &mut out);
                        at = end;
                        continue 'text;
                    }
                }
            }
            out.push(text[at]);
            at += 1;
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn any_cutting_masks_the_same(
            names in proptest::collection::vec("a[ab ]{0,3}b", 1..4),
            text in "[ab .]{0,60}",
            cuts in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            let mut filter = Redactor::new(&[], false, &names);
            prop_assert_eq!(in_pieces(&mut filter, text.as_bytes(), &cuts), naive(&names, text.as_bytes()));
        }
    }

    #[test]
    fn only_a_bounded_name_is_masked() {
        let out = in_pieces(
            &mut Redactor::new(&[], false, &["jürgen".into()]),
            "/home/jürgen/x jürgen.k xjürgen jürgen".as_bytes(),
            &[9],
        );
        assert_eq!(String::from_utf8(out).unwrap(), "/home/j*****/x jürgen.k xjürgen j*****");
    }
}
