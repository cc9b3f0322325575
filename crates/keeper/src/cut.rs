//! Cutting the middle out of a log.
//!
//! The budget of a run is a head and a tail. The log nevertheless grows in full up to a hard
//! limit while the run lives, because a server that is away must find on its return everything
//! it has not read. So the middle is taken out in two places only: by the keeper when the file
//! reaches the hard limit (and again each time it has grown back to it), and by
//! [`crate::archive`] after the run was settled.
//!
//! Cutting writes a new file and renames it over the old one. Offsets stay valid (see
//! [`crate::frame`]). A reader that has the old file open still reads it to its end and then
//! finds the new one, so a reader that keeps up loses nothing at all; one that comes later with
//! an offset inside the gap sees the gap frame, which says how much is missing.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::json;

use crate::folder;
use crate::frame::{FILE_HEADER, FRAME_HEADER, FileHead, FrameHead, Gap, Stream};

/// Where to cut, at borders of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Borders {
    /// Offset of the first frame to go.
    pub(crate) at: u64,
    /// Offset of the first frame to stay again.
    pub(crate) resume: u64,
    /// Sequence number that the first frame to go had.
    pub(crate) seq: u64,
}

/// A file below head and tail and this is left alone: the gap frame and the last whole frame need room.
const SLACK: u64 = 8 << 10;

/// Cuts the log of a settled run to its budget, if it is over it.
pub(crate) fn cut_to_budget(folder: &Path, head: u64, tail: u64) -> io::Result<()> {
    let path = folder.join(folder::LOG);
    let file = File::open(&path)?;
    let length = file.metadata()?.len();
    if length <= head.saturating_add(tail).saturating_add(SLACK) {
        return Ok(());
    }
    let file_head = read_head(&file)?;
    let Some(borders) = find(&file, file_head, length, head, tail)? else { return Ok(()) };
    cut(folder, &file, file_head, length, borders).map(drop)
}

/// Writes the cut log and puts it in place; returns it, its header and its length.
pub(crate) fn cut(
    folder: &Path,
    file: &File,
    head: FileHead,
    length: u64,
    borders: Borders,
) -> io::Result<(File, FileHead, u64)> {
    let draft = folder.join(".log.cut");
    let written = write_cut(&draft, file, head, length, borders);
    let put = written.and_then(|made| std::fs::rename(&draft, folder.join(folder::LOG)).map(|()| made));
    put.inspect_err(|_| {
        let _ = std::fs::remove_file(&draft);
    })
}

fn write_cut(
    draft: &Path,
    file: &File,
    head: FileHead,
    length: u64,
    borders: Borders,
) -> io::Result<(File, FileHead, u64)> {
    let note = json!({
        "note": "gap",
        "droppedBytes": borders.resume - borders.at,
        "resume": borders.resume,
    });
    let payload = note.to_string().into_bytes();
    let gap_head = FrameHead {
        length: u32::try_from(payload.len()).expect("a short note"),
        stream: Stream::Keeper,
        seq: borders.seq,
        at_us: folder::now_us(),
        sum: crc32fast::hash(&payload),
    };
    let cut_head =
        FileHead { gap: Some(Gap { at: borders.at, resume: borders.resume, size: gap_head.size() }) };
    let _ = std::fs::remove_file(draft);
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(options.read(true).append(true).create_new(true), 0o600);
    let mut to = options.open(draft)?;
    to.write_all(&cut_head.encode())?;
    copy(file, FILE_HEADER, borders.at - FILE_HEADER, &mut to)?;
    to.write_all(&gap_head.encode(borders.at))?;
    to.write_all(&payload)?;
    let tail = head.place(borders.resume);
    copy(file, tail, length - tail, &mut to)?;
    let cut_length = to.metadata()?.len();
    Ok((to, cut_head, cut_length))
}

fn copy(from: &File, at: u64, length: u64, to: &mut File) -> io::Result<()> {
    let mut from = from;
    from.seek(SeekFrom::Start(at))?;
    let copied = io::copy(&mut from.take(length), to)?;
    if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

pub(crate) fn read_head(file: &File) -> io::Result<FileHead> {
    let mut bytes = [0; FILE_HEADER as usize];
    file.read_exact_at(&mut bytes, 0)?;
    FileHead::decode(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Walks the frames for the borders; none if there is nothing to gain.
fn find(file: &File, head: FileHead, length: u64, keep: u64, tail: u64) -> io::Result<Option<Borders>> {
    let mut walk = Walk { file, buffer: vec![0; 256 << 10], from: 0, filled: 0 };
    let end = head.end(length);
    let mut cut_at = None;
    let mut offset = FILE_HEADER;
    loop {
        let place = head.place(offset);
        let Some(frame) = walk.head(place, length)?.and_then(|bytes| FrameHead::decode(&bytes, offset))
        else {
            // The end, or damage: nothing behind it can be placed.
            return Ok(None);
        };
        let is_gap = head.gap.is_some_and(|gap| gap.at == offset);
        let next = if is_gap { head.gap.expect("just seen").resume } else { offset + frame.size() };
        if cut_at.is_none() && (is_gap || next - FILE_HEADER > keep) {
            cut_at = Some((offset, frame.seq));
        }
        if let Some((at, seq)) = cut_at
            && end.saturating_sub(next) <= tail
        {
            return Ok((next > at && next <= end).then_some(Borders { at, resume: next, seq }));
        }
        offset = next;
    }
}

/// Reads headers through one buffer, so that many small frames are not many reads.
struct Walk<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    from: u64,
    filled: usize,
}

impl Walk<'_> {
    fn head(&mut self, place: u64, length: u64) -> io::Result<Option<[u8; FRAME_HEADER]>> {
        if place + FRAME_HEADER as u64 > length {
            return Ok(None);
        }
        let inside = place >= self.from && place + FRAME_HEADER as u64 <= self.from + self.filled as u64;
        if !inside {
            self.from = place;
            self.filled = self.file.read_at(&mut self.buffer, place)?;
        }
        let at = usize::try_from(place - self.from).expect("within the buffer");
        Ok(self.buffer.get(at..at + FRAME_HEADER).and_then(|bytes| bytes.try_into().ok()))
    }
}
