//! The shape of the log file: a header, then frames.
//!
//! An **offset** is a place in the stream of all frames ever written. As long as nothing was cut
//! out it is also the place in the file. When the middle is cut out (see [`crate::cut`]) the
//! header says where, a *gap frame* stands in its place, and every other frame keeps its
//! offset. The check of a frame's header covers its offset: bytes that only look like a frame
//! (a run that prints a log) are not taken for one.

use serde::{Deserialize, Serialize};

/// Where the bytes of a frame come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
    /// What the child was given.
    Stdin,
    /// The keeper's own notes, one JSON object each.
    Keeper,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Rises by one; a gap in the log is a gap here too.
    pub seq: u64,
    pub stream: Stream,
    /// Microseconds since 1970 UTC.
    pub at_us: i64,
    pub bytes: Vec<u8>,
    pub offset: u64,
    /// Where the next frame begins, also over a gap.
    pub next_offset: u64,
}

pub(crate) const FRAME_HEADER: usize = 32;
/// More than any writer puts into one frame; a longer one is damage, not data.
pub(crate) const LONGEST_PAYLOAD: u32 = 4 << 20;
const MARKER: [u8; 3] = *b"\xB6fr";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) length: u32,
    pub(crate) stream: Stream,
    pub(crate) seq: u64,
    pub(crate) at_us: i64,
    pub(crate) sum: u32,
}

impl FrameHead {
    pub(crate) fn encode(&self, offset: u64) -> [u8; FRAME_HEADER] {
        let mut bytes = [0; FRAME_HEADER];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.stream as u8;
        bytes[5..8].copy_from_slice(&MARKER);
        bytes[8..16].copy_from_slice(&self.seq.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.at_us.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.sum.to_le_bytes());
        let check = check(&bytes[..28], offset);
        bytes[28..32].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads the header of the frame at `offset`; none if there is no such frame.
    pub(crate) fn decode(bytes: &[u8; FRAME_HEADER], offset: u64) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if bytes[5..8] != MARKER || word(28) != check(&bytes[..28], offset) || word(0) > LONGEST_PAYLOAD {
            return None;
        }
        let stream = match bytes[4] {
            0 => Stream::Stdout,
            1 => Stream::Stderr,
            2 => Stream::Stdin,
            3 => Stream::Keeper,
            _ => return None,
        };
        let at_us = i64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes"));
        Some(Self { length: word(0), stream, seq: long(8), at_us, sum: word(24) })
    }

    /// Header and payload together.
    pub(crate) fn size(&self) -> u64 {
        FRAME_HEADER as u64 + u64::from(self.length)
    }
}

fn check(head: &[u8], offset: u64) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(head);
    sum.update(&offset.to_le_bytes());
    sum.finalize()
}

/// Length of the file's header, and the offset of the first frame.
pub(crate) const FILE_HEADER: u64 = 64;
const FILE_MAGIC: &[u8; 8] = b"BUGLELOG";
const FILE_VERSION: u32 = 1;

/// The part of the log that was cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Offset of the gap frame, and of the first frame that is gone.
    pub(crate) at: u64,
    /// Offset of the first frame after it.
    pub(crate) resume: u64,
    /// Bytes the gap frame takes in the file.
    pub(crate) size: u64,
}

/// What the header of a log file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FileHead {
    pub(crate) gap: Option<Gap>,
}

impl FileHead {
    pub(crate) fn encode(&self) -> [u8; FILE_HEADER as usize] {
        let mut bytes = [0; FILE_HEADER as usize];
        bytes[0..8].copy_from_slice(FILE_MAGIC);
        bytes[8..12].copy_from_slice(&FILE_VERSION.to_le_bytes());
        if let Some(gap) = self.gap {
            bytes[16..24].copy_from_slice(&gap.at.to_le_bytes());
            bytes[24..32].copy_from_slice(&gap.resume.to_le_bytes());
            bytes[32..40].copy_from_slice(&gap.size.to_le_bytes());
        }
        let sum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; FILE_HEADER as usize]) -> Option<Self> {
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let sum = u32::from_le_bytes(bytes[60..].try_into().expect("four bytes"));
        if &bytes[..8] != FILE_MAGIC
            || bytes[8..12] != FILE_VERSION.to_le_bytes()
            || sum != crc32fast::hash(&bytes[..60])
        {
            return None;
        }
        let gap = Gap { at: long(16), resume: long(24), size: long(32) };
        let sane = gap.at >= FILE_HEADER && gap.resume > gap.at;
        if gap.at != 0 && !sane {
            return None;
        }
        Some(Self { gap: (gap.at != 0).then_some(gap) })
    }

    /// Where in the file a frame lies. Inside the gap: at the gap frame.
    pub(crate) fn place(&self, offset: u64) -> u64 {
        match self.gap {
            Some(gap) if offset >= gap.resume => gap.at + gap.size + (offset - gap.resume),
            Some(gap) if offset > gap.at => gap.at,
            _ => offset,
        }
    }

    /// The offset that a reader at `offset` really stands at.
    pub(crate) fn settle(&self, offset: u64) -> u64 {
        match self.gap {
            Some(gap) if offset > gap.at && offset < gap.resume => gap.at,
            _ => offset.max(FILE_HEADER),
        }
    }

    /// Offset of the end of a file of `length` bytes.
    pub(crate) fn end(&self, length: u64) -> u64 {
        match self.gap {
            Some(gap) if length >= gap.at + gap.size => gap.resume + (length - gap.at - gap.size),
            _ => length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_frame_only_at_its_own_offset() {
        let head = FrameHead { length: 3, stream: Stream::Stderr, seq: 9, at_us: -5, sum: 77 };
        let bytes = head.encode(4096);
        assert_eq!(FrameHead::decode(&bytes, 4096), Some(head));
        assert_eq!(FrameHead::decode(&bytes, 4097), None);
        for at in 0..FRAME_HEADER {
            let mut bent = bytes;
            bent[at] ^= 1;
            assert_eq!(FrameHead::decode(&bent, 4096), None, "byte {at}");
        }
    }

    #[test]
    fn offsets_keep_their_meaning_over_a_gap() {
        let head = FileHead { gap: Some(Gap { at: 1000, resume: 9000, size: 100 }) };
        assert_eq!(FileHead::decode(&head.encode()), Some(head));
        assert_eq!((head.place(64), head.place(1000), head.place(9000)), (64, 1000, 1100));
        assert_eq!((head.settle(0), head.settle(5000), head.settle(9001)), (64, 1000, 9001));
        assert_eq!(head.end(1100 + 7), 9007);
        assert_eq!(FileHead::default().end(500), 500);
    }
}
