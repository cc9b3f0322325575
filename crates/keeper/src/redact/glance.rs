//! A glance that rules out most text before the automaton looks at every byte of it.
//!
//! Secrets of one kind begin alike (`sk-`, `ghp_`), and a text full of such beginnings stops a
//! search that goes by beginnings at each of them. So each value is looked for by the four bytes
//! of it that are least like the other values and least like ordinary text, and compared whole only
//! there. It answers "surely not" or "perhaps": what is replaced is not decided here.

use std::collections::{HashMap, HashSet};

use aho_corasick::Span;
use aho_corasick::packed::{MatchKind, Searcher};

#[derive(Debug)]
pub(super) struct Glance {
    /// Each looks for some of the windows.
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    search: Searcher,
    /// For each window looked for: the values it stands in, and where.
    places: Vec<Vec<(usize, usize)>>,
}

const WINDOW: usize = 4;
/// As many as are looked for at once: with more of them there are more false hits than a second look costs.
const AT_ONCE: usize = 32;
/// More looks than this, and the automaton is as fast.
const MOST_PARTS: usize = 12;
/// With more hits than one in so many bytes the automaton is as fast.
const SPARSE: usize = 64;

impl Glance {
    /// None where the processor or the number of values does not allow it.
    pub(super) fn new(patterns: &[Vec<u8>]) -> Option<Self> {
        let mut windows: Vec<&[u8]> = Vec::new();
        let mut places: Vec<Vec<(usize, usize)>> = Vec::new();
        let mut shared: HashMap<&[u8], usize> = HashMap::new();
        for pattern in patterns {
            let own: HashSet<&[u8]> = pattern.windows(WINDOW).collect();
            own.into_iter().for_each(|window| *shared.entry(window).or_default() += 1);
        }
        for (which, pattern) in patterns.iter().enumerate() {
            let (at, window) =
                pattern.windows(WINDOW).enumerate().min_by_key(|(_, window)| plainness(window, &shared))?;
            let known = windows.iter().position(|it| *it == window).unwrap_or_else(|| {
                windows.push(window);
                places.push(Vec::new());
                windows.len() - 1
            });
            places[known].push((which, at));
        }
        if windows.len() > AT_ONCE * MOST_PARTS {
            return None;
        }
        let mut parts = Vec::new();
        for (windows, places) in windows.chunks(AT_ONCE).zip(places.chunks(AT_ONCE)) {
            let search = aho_corasick::packed::Config::new()
                .match_kind(MatchKind::LeftmostFirst)
                .builder()
                .extend(windows)
                .build()?;
            parts.push(Part { search, places: places.to_vec() });
        }
        Some(Self { parts })
    }

    /// False: none of the values is in the text.
    pub(super) fn perhaps(&self, text: &[u8], patterns: &[Vec<u8>]) -> bool {
        self.parts.iter().any(|part| part.perhaps(text, patterns))
    }
}

impl Part {
    fn perhaps(&self, text: &[u8], patterns: &[Vec<u8>]) -> bool {
        let (mut from, mut hits) = (0, 0);
        while let Some(hit) = self.search.find_in(text, Span { start: from, end: text.len() }) {
            hits += 1;
            let stands = |&(which, at): &(usize, usize)| {
                hit.start().checked_sub(at).is_some_and(|start| text[start..].starts_with(&patterns[which]))
            };
            if self.places[hit.pattern().as_usize()].iter().any(stands) || hits > text.len() / SPARSE {
                return true;
            }
            // Not behind the hit: the next one may overlap it.
            from = hit.start() + 1;
        }
        false
    }
}

/// How many values have this window, and how ordinary its bytes are.
fn plainness(window: &[u8], shared: &HashMap<&[u8], usize>) -> (usize, u32) {
    let shared = shared.get(window).copied().unwrap_or(0);
    let ordinary = |byte: &u8| match byte {
        b'A'..=b'Z' | b'0'..=b'9' => 1,
        b'a'..=b'z' => 3,
        _ => 4,
    };
    let repeats = u32::from(window.windows(2).any(|pair| pair[0] == pair[1]));
    (shared, window.iter().map(ordinary).sum::<u32>() + 4 * repeats)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(list: &[&str]) -> Vec<Vec<u8>> {
        list.iter().map(|value| value.as_bytes().to_vec()).collect()
    }

    #[test]
    fn beginnings_alone_are_no_hit_and_whole_values_are() {
        let patterns = values(&["sk-live-AAAA1111", "sk-live-BBBB2222", "sk-test-CCCC3333"]);
        // None: this processor has no such search, and the automaton does it all.
        let Some(glance) = Glance::new(&patterns) else { return };
        assert!(!glance.perhaps("sk-live- sk-test- sk-".repeat(100).as_bytes(), &patterns));
        for pattern in &patterns {
            let text = [b"sk-live-sk-".repeat(50), pattern.clone(), b" sk-".repeat(50)].concat();
            assert!(glance.perhaps(&text, &patterns));
        }
    }

    #[test]
    fn a_value_behind_a_false_hit_that_overlaps_it_is_seen() {
        let patterns = values(&["ABAB1111", "xxxxABAB"]);
        let Some(glance) = Glance::new(&patterns) else { return };
        for text in ["ABABAB1111", "ABABABAB1111..", "xxxxxABAB", "ABAxxxxABAB", "1111ABAB1111"] {
            let text = format!("{}{text}{}", " ".repeat(100), " ".repeat(100));
            assert!(glance.perhaps(text.as_bytes(), &patterns), "{text}");
        }
    }
}
