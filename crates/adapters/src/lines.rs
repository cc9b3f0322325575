//! Cutting a stream of bytes into lines, whatever borders the pieces came in.
//!
//! Works on bytes, so a character that is cut by a piece's border arrives whole. One splitter serves one stream. What a
//! line means is the readers' business.

/// The longest line that is handed on; what follows on the same line is dropped and counted.
pub const LINE_LIMIT: usize = 4 * 1024 * 1024;

/// Buffers larger than this are given back after the long line that needed them.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Turns pieces of one stream into whole lines.
#[derive(Debug, Default)]
pub struct LineSplitter {
    /// The beginning of a line whose end has not come yet.
    pending: Vec<u8>,
    /// The pending line went over the limit: skip to its end.
    is_over: bool,
    dropped: u64,
}

impl LineSplitter {
    /// Returns an empty splitter.
    pub fn new() -> LineSplitter {
        LineSplitter::default()
    }

    /// Takes a piece and hands on every line that it completes, without `\n` or `\r\n`.
    pub fn push(&mut self, mut piece: &[u8], mut on_line: impl FnMut(&[u8])) {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (line, rest) = (&piece[..end], &piece[end + 1..]);
            if self.pending.is_empty() && !self.is_over && line.len() <= LINE_LIMIT {
                on_line(without_return(line));
            } else {
                self.hold(line);
                self.emit(&mut on_line);
            }
            piece = rest;
        }
        self.hold(piece);
    }

    /// The stream ended: hands on a last line that had no line end.
    pub fn finish(&mut self, mut on_line: impl FnMut(&[u8])) {
        if !self.pending.is_empty() {
            self.emit(&mut on_line);
        }
    }

    /// The part of an unfinished line that is held back.
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Bytes dropped because their line was longer than [`LINE_LIMIT`].
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn hold(&mut self, part: &[u8]) {
        let room = if self.is_over { 0 } else { LINE_LIMIT - self.pending.len() };
        let kept = part.len().min(room);
        self.pending.extend_from_slice(&part[..kept]);
        if kept < part.len() {
            self.is_over = true;
            self.dropped += (part.len() - kept) as u64;
        }
    }

    fn emit(&mut self, on_line: &mut impl FnMut(&[u8])) {
        // A cut line did not end in a return, whatever its last kept byte is.
        on_line(if self.is_over { &self.pending } else { without_return(&self.pending) });
        self.pending.clear();
        self.is_over = false;
        if self.pending.capacity() > KEPT_CAPACITY {
            self.pending = Vec::new();
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, u64) {
        let mut splitter = LineSplitter::new();
        let mut seen = Vec::new();
        for piece in pieces {
            splitter.push(piece, |line| seen.push(line.to_vec()));
        }
        splitter.finish(|line| seen.push(line.to_vec()));
        assert!(splitter.pending().is_empty());
        (seen, splitter.dropped())
    }

    /// What a person would call the lines of a text, worked out without streaming.
    fn expected(text: &[u8]) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = text
            .split(|b| *b == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
            .collect();
        if text.is_empty() || text.ends_with(b"\n") {
            all.pop();
        }
        all
    }

    proptest! {
        #[test]
        fn borders_of_pieces_do_not_change_the_lines(
            text in "[a\u{e9}\u{1f41d} \r\n]{0,60}",
            cuts in proptest::collection::vec(0usize..200, 0..8),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let (seen, dropped) = lines(&pieces);
            prop_assert_eq!(seen, expected(bytes));
            prop_assert_eq!(dropped, 0);
        }
    }

    #[test]
    fn the_rest_of_an_endless_line_is_dropped_and_counted_and_the_next_line_is_whole() {
        let half = vec![b'x'; LINE_LIMIT / 2 + 10];
        for pieces in [
            vec![&half[..], &half[..], b"tail\nnext\n"],
            vec![&[&half[..], &half[..], b"tail\nnext\n"].concat()[..]],
        ] {
            let (seen, dropped) = lines(&pieces);
            assert_eq!(seen.len(), 2);
            assert_eq!(seen[0].len(), LINE_LIMIT);
            assert_eq!(seen[1], b"next");
            assert_eq!(dropped, 20 + 4);
        }
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_whole() {
        let mut line = vec![b'x'; LINE_LIMIT];
        line.push(b'\n');
        let (seen, dropped) = lines(&[&line[..7], &line[7..]]);
        assert_eq!((seen.len(), seen[0].len(), dropped), (1, LINE_LIMIT, 0));
    }

    #[test]
    fn memory_of_a_long_line_is_given_back() {
        let mut splitter = LineSplitter::new();
        splitter.push(&vec![b'x'; 1_000_000], |_| {});
        assert_eq!(splitter.pending().len(), 1_000_000);
        splitter.push(b"\n", |_| {});
        assert!(splitter.pending.capacity() <= KEPT_CAPACITY);
    }
}
