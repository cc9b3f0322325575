//! Appending to the log: framing, sums, the hard limit, and a disk that is full.
//!
//! The child is never stopped or slowed for the log's sake: what cannot be written is counted,
//! and told in the log when there is room again and in the exit record at last. Nothing is
//! flushed before the end; a crash of the machine loses the run anyway.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::archive::hex;
use crate::cut::{self, Borders};
use crate::folder;
use crate::frame::{FILE_HEADER, FRAME_HEADER, FileHead, FrameHead, Stream};
use crate::spec::Limits;

#[derive(Debug)]
pub(super) struct LogWriter {
    file: File,
    head: FileHead,
    /// Offset of the next frame.
    offset: u64,
    /// Size of the file.
    length: u64,
    seq: u64,
    /// The file never was over its budget. One that was will be cut when it is archived, so its
    /// hash would be of nothing that lasts.
    within: bool,
    keep_head: u64,
    keep_tail: u64,
    hard: u64,
    /// End of the last frame that lies wholly in the head, and the sequence number behind it.
    head_end: (u64, u64),
    /// Some borders of frames behind the head, the last one newest.
    borders: Vec<u64>,
    /// After a cut failed: not again before so many bytes were refused.
    cut_again_at: u64,
    /// Bytes refused by the disk that no note tells of yet.
    untold: u64,
    refused: u64,
}

/// What stands in the exit record.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) end: u64,
    pub(super) dropped: u64,
}

/// Read at once for the hash: small enough for the processor's cache.
const PIECE: usize = 32 << 10;

impl LogWriter {
    pub(super) fn create(limits: &Limits) -> io::Result<Self> {
        let mut options = File::options();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(folder::LOG)?;
        // An earlier keeper of this folder may have died before it had the start.
        if file.metadata()?.len() > 0 {
            file.set_len(0)?;
        }
        let head = FileHead::default();
        let bytes = head.encode();
        file.write_all(&bytes)?;
        let budget = limits.log_head.saturating_add(limits.log_tail);
        Ok(Self {
            file,
            head,
            offset: FILE_HEADER,
            length: FILE_HEADER,
            seq: 0,
            within: true,
            keep_head: limits.log_head,
            keep_tail: limits.log_tail,
            // Room between a cut log and the next cut, or it would be cut at each frame.
            hard: limits.log_hard.max(budget.saturating_add(limits.log_tail.max(1 << 20))),
            head_end: (FILE_HEADER, 0),
            borders: Vec::new(),
            cut_again_at: 0,
            untold: 0,
            refused: 0,
        })
    }

    /// Offset after the last frame.
    pub(super) fn end(&self) -> u64 {
        self.offset
    }

    /// Writes a note of the keeper.
    pub(super) fn note(&mut self, note: &Value) {
        self.append(Stream::Keeper, note.to_string().as_bytes());
    }

    /// Writes one frame, or counts its bytes as dropped.
    pub(super) fn append(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.untold > 0 {
            let note = json!({"note": "dropped", "bytes": self.untold}).to_string();
            if self.write(Stream::Keeper, note.as_bytes()) {
                self.untold = 0;
            }
        }
        if self.untold > 0 || !self.write(stream, bytes) {
            self.untold += bytes.len() as u64;
            self.refused += bytes.len() as u64;
        }
    }

    /// Flushes and sums up. The file is closed: readers notice even if no exit record follows.
    pub(super) fn finish(mut self) -> Finished {
        if self.untold > 0 {
            let note = json!({"note": "dropped", "bytes": self.untold}).to_string();
            let _ = self.write(Stream::Keeper, note.as_bytes());
        }
        let _ = self.file.sync_data();
        // Hashed only now, most likely from memory: inline it would slow the child down.
        let sha256 = if self.within { self.hash().unwrap_or_default() } else { String::new() };
        let cut_out = self.head.gap.map_or(0, |gap| gap.resume - gap.at);
        Finished { bytes: self.length, sha256, end: self.offset, dropped: self.refused + cut_out }
    }

    /// Hash over the file as it stands.
    fn hash(&self) -> io::Result<String> {
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE.min(usize::try_from(self.length).unwrap_or(PIECE))];
        let mut at = 0;
        while at < self.length {
            let most = piece.len().min(usize::try_from(self.length - at).unwrap_or(PIECE));
            match self.file.read_at(&mut piece[..most], at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    hash.update(&piece[..count]);
                    at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(hex(&hash.finalize()))
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        let size = (FRAME_HEADER + bytes.len()) as u64;
        if self.length + size > self.hard && self.refused >= self.cut_again_at && self.cut().is_err() {
            self.cut_again_at = self.refused + self.keep_tail.max(1 << 20);
        }
        // Over the limit and it could not be cut: there is no room for the copy.
        if self.length + size > self.hard {
            self.cut_again_at = self.cut_again_at.min(self.offset);
            return false;
        }
        let head = FrameHead {
            length: u32::try_from(bytes.len()).expect("pieces are far smaller"),
            stream,
            seq: self.seq,
            at_us: folder::now_us(),
            sum: crc32fast::hash(bytes),
        };
        let head_bytes = head.encode(self.offset);
        if write_both(&mut self.file, &head_bytes, bytes).is_err() {
            // Half a frame in the middle would end every reading there.
            let _ = self.file.set_len(self.length);
            return false;
        }
        if self.length + size > self.keep_head.saturating_add(self.keep_tail) {
            self.within = false;
        }
        self.seq += 1;
        self.length += size;
        self.offset += size;
        self.remember_border();
        true
    }

    fn remember_border(&mut self) {
        if self.offset - FILE_HEADER <= self.keep_head {
            self.head_end = (self.offset, self.seq);
            return;
        }
        let apart = (self.keep_tail / 16).max(1);
        if self.borders.last().is_none_or(|&last| self.offset - last >= apart) {
            self.borders.push(self.offset);
        }
    }

    /// Cuts the middle out, so that the file can grow again.
    fn cut(&mut self) -> io::Result<()> {
        let tail_from = self.offset.saturating_sub(self.keep_tail);
        let (at, seq) = self.head_end;
        let resume = self.borders.iter().copied().find(|&border| border >= tail_from).unwrap_or(self.offset);
        if resume <= at {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let borders = Borders { at, resume, seq };
        let (file, head, length) = cut::cut(Path::new("."), &self.file, self.head, self.length, borders)?;
        (self.file, self.head, self.length) = (file, head, length);
        self.borders.retain(|&border| border > resume);
        Ok(())
    }
}

fn write_both(file: &mut File, head: &[u8], bytes: &[u8]) -> io::Result<()> {
    let written = loop {
        match file.write_vectored(&[IoSlice::new(head), IoSlice::new(bytes)]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            written => break written?,
        }
    };
    if let Some(rest) = head.get(written..) {
        file.write_all(rest)?;
        return file.write_all(bytes);
    }
    file.write_all(&bytes[written - head.len()..])
}
