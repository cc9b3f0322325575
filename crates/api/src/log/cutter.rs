//! Frames into pieces of text that can be given out: never half a code point, and in answers never half a line.
//!
//! A frame is what one read of a pipe gave, so lines and code points go on in later frames, with frames of the other
//! stream in between. What is not complete is held, and [`Cutter::place`] tells where somebody else can go on as if they
//! had read all of it themselves. Reading files is not done here.

use domain::moment::Moment;
use engine::{Frame, FrameStream};

use super::place::{MOST_SEEN, Place, Tail};

/// Held bytes beyond which an open line is given as it is: the most that an answer holds.
const LONGEST_LINE: usize = 1 << 20;

/// Between what a piece may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Lines, as far as the run ends them.
    Line,
    /// Code points: for readers who want to see what is there at once.
    Char,
}

impl Unit {
    /// How many bytes may be given.
    fn cut(self, bytes: &[u8]) -> usize {
        match self {
            Unit::Line => bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1),
            Unit::Char => bytes.len() - open_char(bytes),
        }
    }

    fn open_char(self) -> Tail {
        match self {
            Unit::Line => Tail::OpenCharInLines,
            Unit::Char => Tail::OpenChar,
        }
    }

    fn of(tail: Tail) -> Unit {
        match tail {
            Tail::Whole | Tail::OpenLine | Tail::OpenCharInLines => Unit::Line,
            Tail::OpenChar => Unit::Char,
        }
    }
}

/// A piece of output as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) at: Moment,
    pub(crate) stream: FrameStream,
    pub(crate) text: String,
}

/// What was begun in a stream and is not complete.
#[derive(Debug, Clone)]
struct Open {
    stream: FrameStream,
    /// Of the frame it begins in, and which part of that frame it is.
    offset: u64,
    tail: Tail,
    /// Number of that frame.
    index: u64,
    at: Moment,
    bytes: Vec<u8>,
}

/// Frames of an earlier reader, to be read again without giving them out.
#[derive(Debug, Clone, Copy)]
struct Replay {
    place: Place,
    left: u64,
    has_begun: bool,
}

/// Cuts the frames of one process, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Cutter {
    unit: Unit,
    /// Stdin and the notes of the keeper are told as well.
    with_system: bool,
    epoch: i64,
    open: Vec<Open>,
    replay: Option<Replay>,
    /// Number of the last frame, and of the last one of which something was given.
    index: u64,
    given: u64,
    /// Of the last frame: stream, offset, length, sequence number.
    last: Option<(FrameStream, u64, usize, u64)>,
    /// Where the next frame begins.
    next: u64,
}

impl Cutter {
    /// Goes on from a place; the first frame must be the one at its offset.
    pub(crate) fn new(place: Place, unit: Unit, with_system: bool) -> Cutter {
        let is_plain = place.tail == Tail::Whole && place.seen == 0;
        let replay = (!is_plain).then_some(Replay { place, left: place.seen, has_begun: false });
        Cutter {
            unit,
            with_system,
            epoch: place.epoch,
            open: Vec::new(),
            replay,
            index: 0,
            given: 0,
            last: None,
            next: place.offset,
        }
    }

    /// Takes the next frame in and gives what is complete.
    pub(crate) fn take(&mut self, frame: &Frame, out: &mut Vec<Piece>) {
        let follows = self.last.is_none_or(|(_, _, _, seq)| frame.seq == seq + 1);
        let replay = self.replay.take();
        self.index += 1;
        self.last = Some((frame.stream, frame.offset, frame.bytes.len(), frame.seq));
        self.next = frame.next_offset;
        match replay {
            Some(replay) if !replay.has_begun && frame.offset == replay.place.offset => {
                self.begin_again(frame, replay.place.tail);
                self.go_on_replaying(replay, out);
            }
            // Where frames were cut out meanwhile, nobody knows what was given: from here on everything is.
            Some(replay) if replay.has_begun && follows => {
                self.cut(frame, Unit::of(replay.place.tail), &mut Vec::new());
                self.go_on_replaying(Replay { left: replay.left - 1, ..replay }, out);
            }
            _ => self.cut(frame, self.unit, out),
        }
    }

    /// Gives what is held: nothing will complete it.
    pub(crate) fn finish(&mut self, out: &mut Vec<Piece>) {
        for open in std::mem::take(&mut self.open) {
            self.give(out, open.stream, open.at, &open.bytes);
        }
        self.replay = None;
    }

    /// Where another reader goes on.
    pub(crate) fn place(&self) -> Place {
        if let Some(replay) = self.replay {
            return replay.place;
        }
        match self.open.iter().min_by_key(|open| open.index) {
            None => Place::border(self.epoch, self.next),
            Some(oldest) => Place {
                epoch: self.epoch,
                offset: oldest.offset,
                tail: oldest.tail,
                seen: self.given.saturating_sub(oldest.index),
            },
        }
    }

    /// The first frame of an earlier reader: its beginning was given.
    fn begin_again(&mut self, frame: &Frame, tail: Tail) {
        let from = match tail {
            Tail::Whole => 0,
            Tail::OpenLine => Unit::Line.cut(&frame.bytes),
            Tail::OpenChar | Tail::OpenCharInLines => Unit::Char.cut(&frame.bytes),
        };
        self.given = self.index;
        let bytes = frame.bytes[from..].to_vec();
        if !bytes.is_empty() {
            let (stream, offset, at) = (frame.stream, frame.offset, frame.at);
            self.open.push(Open { stream, offset, tail, index: self.index, at, bytes });
        }
    }

    fn go_on_replaying(&mut self, replay: Replay, out: &mut Vec<Piece>) {
        if replay.left > 0 {
            self.replay = Some(Replay { has_begun: true, ..replay });
        } else if Unit::of(replay.place.tail) != self.unit {
            // The earlier reader held what this one does not, or the other way round.
            self.release(out);
        }
    }

    fn cut(&mut self, frame: &Frame, unit: Unit, out: &mut Vec<Piece>) {
        match frame.stream {
            FrameStream::Keeper | FrameStream::Stdin => {
                if self.with_system {
                    self.give(out, frame.stream, frame.at, &frame.bytes);
                }
            }
            FrameStream::Stdout | FrameStream::Stderr => self.join(frame, unit, out),
        }
        let oldest = self.open.iter().map(|open| open.index).min();
        let is_far = oldest.is_some_and(|oldest| self.given.saturating_sub(oldest) > MOST_SEEN);
        let held: usize = self.open.iter().map(|open| open.bytes.len()).sum();
        if is_far || held > LONGEST_LINE {
            self.release(out);
        }
    }

    fn join(&mut self, frame: &Frame, unit: Unit, out: &mut Vec<Piece>) {
        let before = self.open.iter().position(|open| open.stream == frame.stream);
        let mut open = match before {
            Some(at) => self.open.swap_remove(at),
            None => Open {
                stream: frame.stream,
                offset: frame.offset,
                // A frame that is nothing but a part of a code point has that part at its end.
                tail: if unit == Unit::Char { Tail::OpenChar } else { Tail::Whole },
                index: self.index,
                at: frame.at,
                bytes: Vec::new(),
            },
        };
        open.bytes.extend_from_slice(&frame.bytes);
        let cut = unit.cut(&open.bytes);
        if cut > 0 {
            self.give(out, frame.stream, frame.at, &open.bytes[..cut]);
            // What was held before has a line end, or the end of a code point, in this frame: the rest lies in it.
            open.bytes.drain(..cut);
            let tail = if unit == Unit::Char { Tail::OpenChar } else { Tail::OpenLine };
            (open.offset, open.tail, open.index, open.at) = (frame.offset, tail, self.index, frame.at);
        }
        if !open.bytes.is_empty() {
            self.open.push(open);
        }
    }

    /// Gives everything that is held, because it is too much, or for too long. A code point that the last frame leaves
    /// open is held on.
    fn release(&mut self, out: &mut Vec<Piece>) {
        for mut open in std::mem::take(&mut self.open) {
            let kept = match self.last {
                Some((stream, offset, length, _))
                    if stream == open.stream && open_char(&open.bytes) <= length =>
                {
                    let kept = open.bytes.split_off(open.bytes.len() - open_char(&open.bytes));
                    Open {
                        offset,
                        tail: self.unit.open_char(),
                        index: self.index,
                        bytes: kept,
                        ..open.clone()
                    }
                }
                _ => Open { bytes: Vec::new(), ..open.clone() },
            };
            self.give(out, open.stream, open.at, &open.bytes);
            if !kept.bytes.is_empty() {
                self.open.push(kept);
            }
        }
        self.given = self.index;
    }

    fn give(&mut self, out: &mut Vec<Piece>, stream: FrameStream, at: Moment, bytes: &[u8]) {
        self.given = self.index;
        if !bytes.is_empty() {
            out.push(Piece { at, stream, text: String::from_utf8_lossy(bytes).into_owned() });
        }
    }
}

/// How many bytes at the end are the beginning of a code point.
fn open_char(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let end = &bytes[bytes.len() - back..];
        if end[0] & 0xC0 != 0x80 {
            let is_open = std::str::from_utf8(end)
                .is_err_and(|error| error.error_len().is_none() && error.valid_up_to() == 0);
            return if is_open { back } else { 0 };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames of 32 bytes of header each, as the files have them.
    fn frames(parts: &[(FrameStream, Vec<u8>)]) -> Vec<Frame> {
        let mut offset = 64;
        parts
            .iter()
            .enumerate()
            .map(|(seq, (stream, bytes))| {
                let next_offset = offset + 32 + bytes.len() as u64;
                let at = Moment::from_micros(seq as i64);
                let frame =
                    Frame { seq: seq as u64, stream: *stream, at, bytes: bytes.clone(), offset, next_offset };
                offset = next_offset;
                frame
            })
            .collect()
    }

    /// Reads the frames in sittings of the given lengths; each goes on where the one before says, from its number.
    fn in_sittings(frames: &[Frame], unit: Unit, lengths: &[usize]) -> Vec<Vec<Piece>> {
        let mut place = Place::border(1, 0);
        let mut lengths = lengths.iter().copied();
        let mut sittings = Vec::new();
        let mut end = 0;
        while end < frames.len() {
            let from = frames.iter().position(|frame| frame.offset >= place.offset).unwrap_or(frames.len());
            end = (end + lengths.next().unwrap_or(frames.len())).min(frames.len());
            let mut cutter = Cutter::new(place, unit, false);
            let mut out = Vec::new();
            for frame in &frames[from..end.max(from)] {
                cutter.take(frame, &mut out);
            }
            if end == frames.len() {
                cutter.finish(&mut out);
            }
            place = Place::read(cutter.place().number().unwrap(), 1).unwrap();
            sittings.push(out);
        }
        sittings
    }

    fn text_of(pieces: &[Piece], stream: FrameStream) -> String {
        pieces.iter().filter(|piece| piece.stream == stream).map(|piece| piece.text.as_str()).collect()
    }

    fn bytes_of(frames: &[Frame], stream: FrameStream) -> Vec<u8> {
        frames.iter().filter(|frame| frame.stream == stream).flat_map(|frame| frame.bytes.clone()).collect()
    }

    const OUT: FrameStream = FrameStream::Stdout;
    const ERR: FrameStream = FrameStream::Stderr;

    #[test]
    fn a_line_is_held_until_it_ends_and_then_told_once() {
        let frames = frames(&[(OUT, b"one\ntw".into()), (ERR, b"e\n".into()), (OUT, b"o\n".into())]);
        let told = in_sittings(&frames, Unit::Line, &[1, 1, 1]);
        let texts: Vec<Vec<&str>> =
            told.iter().map(|pieces| pieces.iter().map(|piece| piece.text.as_str()).collect()).collect();
        assert_eq!(texts, [vec!["one\n"], vec!["e\n"], vec!["two\n"]]);
    }

    #[test]
    fn a_code_point_split_over_frames_is_told_whole() {
        let euro = "€".as_bytes();
        let frames =
            frames(&[(OUT, [b"a", &euro[..1]].concat()), (ERR, b"!".into()), (OUT, euro[1..].to_vec())]);
        for lengths in [&[3][..], &[1, 1, 1], &[2, 1], &[1, 2]] {
            let told = in_sittings(&frames, Unit::Char, lengths).concat();
            assert_eq!(text_of(&told, OUT), "a€", "{lengths:?}");
            assert_eq!(text_of(&told, ERR), "!", "{lengths:?}");
        }
    }

    #[test]
    fn invalid_bytes_become_the_replacement_character() {
        let frames = frames(&[(OUT, b"\xff\n\xe2\x82".into())]);
        let told = in_sittings(&frames, Unit::Line, &[1]).concat();
        assert_eq!(text_of(&told, OUT), "\u{fffd}\n\u{fffd}");
    }

    #[test]
    fn a_line_longer_than_an_answer_is_told_in_parts_between_code_points() {
        let line = "é".repeat(LONGEST_LINE).into_bytes();
        let parts: Vec<_> = line.chunks(65_535).map(|part| (OUT, part.to_vec())).collect();
        let frames = frames(&parts);
        let lengths = vec![1; frames.len()];
        let sittings = in_sittings(&frames, Unit::Line, &lengths);
        assert!(sittings.iter().filter(|pieces| !pieces.is_empty()).count() >= 2);
        assert_eq!(text_of(&sittings.concat(), OUT).into_bytes(), line);
    }

    #[test]
    fn an_open_line_does_not_hold_the_other_stream_back_for_ever() {
        let mut parts = vec![(OUT, b"prompt".to_vec())];
        parts.extend((0..400).map(|_| (ERR, b"line\n".to_vec())));
        let frames = frames(&parts);
        let sittings = in_sittings(&frames, Unit::Line, &vec![1; frames.len()]);
        assert!(sittings[1..].iter().all(|pieces| text_of(pieces, ERR) == "line\n"));
        assert_eq!(text_of(&sittings.concat(), OUT), "prompt");
    }

    #[test]
    fn after_a_gap_everything_is_told() {
        let mut frames = frames(&[
            (OUT, b"a\nb".into()),
            (ERR, b"x\n".into()),
            (OUT, b"c\n".into()),
            (OUT, b"d\n".into()),
        ]);
        let mut cutter = Cutter::new(Place::border(1, 0), Unit::Line, false);
        let mut out = Vec::new();
        cutter.take(&frames[0], &mut out);
        cutter.take(&frames[1], &mut out);
        let place = cutter.place();
        assert_eq!((place.offset, place.tail, place.seen), (64, Tail::OpenLine, 1));
        // The frame at the place was cut out: a gap frame stands there.
        let gap = Frame {
            stream: FrameStream::Keeper,
            next_offset: frames[2].offset,
            bytes: b"{}".into(),
            ..frames[0].clone()
        };
        frames.splice(0..2, [Frame { offset: 60, ..gap }]);
        let mut cutter = Cutter::new(place, Unit::Line, false);
        let mut out = Vec::new();
        frames.iter().for_each(|frame| cutter.take(frame, &mut out));
        assert_eq!(text_of(&out, OUT), "c\nd\n");
    }

    /// Output with many line ends, code points of all lengths and bytes that are none.
    fn output() -> impl Strategy<Value = Vec<(FrameStream, Vec<u8>)>> {
        let bytes = prop_oneof![
            4 => Just(b"\n".to_vec()),
            4 => Just("é".as_bytes().to_vec()),
            4 => Just("€".as_bytes().to_vec()),
            4 => Just("🦀".as_bytes().to_vec()),
            2 => proptest::collection::vec(any::<u8>(), 1..3),
            4 => "[a-z ]{1,6}".prop_map(String::into_bytes),
        ];
        let stream = proptest::collection::vec(bytes, 0..24).prop_map(|parts| parts.concat());
        (stream.clone(), stream, proptest::collection::vec((any::<bool>(), 1usize..7), 0..60)).prop_map(
            |(out, err, cuts)| {
                let mut left = [(OUT, &out[..]), (ERR, &err[..])];
                let mut frames = Vec::new();
                for (which, length) in cuts {
                    let (stream, rest) = &mut left[usize::from(which)];
                    let (part, after) = rest.split_at(length.min(rest.len()));
                    *rest = after;
                    if !part.is_empty() {
                        frames.push((*stream, part.to_vec()));
                    }
                }
                frames.extend(
                    left.iter()
                        .filter(|(_, rest)| !rest.is_empty())
                        .map(|(stream, rest)| (*stream, rest.to_vec())),
                );
                frames
            },
        )
    }

    proptest! {
        #[test]
        fn in_however_many_sittings_each_byte_is_told_once_and_in_order(
            parts in output(),
            lengths in proptest::collection::vec(1usize..5, 0..60),
            by_line in any::<bool>(),
        ) {
            let frames = frames(&parts);
            let unit = if by_line { Unit::Line } else { Unit::Char };
            let told = in_sittings(&frames, unit, &lengths).concat();
            for stream in [OUT, ERR] {
                let whole = bytes_of(&frames, stream);
                prop_assert_eq!(text_of(&told, stream), String::from_utf8_lossy(&whole));
            }
        }

        #[test]
        fn no_sitting_but_the_last_ends_within_a_line(
            parts in output(),
            lengths in proptest::collection::vec(1usize..5, 0..60),
        ) {
            let sittings = in_sittings(&frames(&parts), Unit::Line, &lengths);
            let count = sittings.len();
            for pieces in &sittings[..count.saturating_sub(1)] {
                for stream in [OUT, ERR] {
                    let text = text_of(pieces, stream);
                    prop_assert!(text.is_empty() || text.ends_with('\n'), "{:?}", text);
                }
            }
        }
    }
}
