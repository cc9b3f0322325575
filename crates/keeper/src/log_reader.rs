//! Reading a log: live, after a restart, and from the archive, all the same way.
//!
//! A frame that is not complete yet is "nothing there now"; one whose checks fail is reported
//! as damage at its offset and never guessed around. The reader does not wait: [`crate::Watch`]
//! says when to look again.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::archive::Archived;
use crate::error::KeeperError;
use crate::folder;
use crate::frame::{FILE_HEADER, FRAME_HEADER, FileHead, Frame, FrameHead};

/// Reads the frames of one run folder in order.
#[derive(Debug)]
pub struct LogReader {
    folder: PathBuf,
    source: Source,
    head: FileHead,
    offset: u64,
    buffer: Vec<u8>,
    /// Place in the file of the buffer's first byte.
    from: u64,
}

#[derive(Debug)]
enum Source {
    Live(File),
    Archive(Box<Archived>),
}

/// Bytes asked for at once. Frames are at most twice that; larger ones are asked for whole.
const READ_AHEAD: usize = 64 << 10;

impl LogReader {
    /// Opens the log of a folder or of its archive, at its first frame.
    pub fn open(folder: &Path) -> Result<Self, KeeperError> {
        let (source, head) = open(folder)?;
        let folder = folder.to_owned();
        Ok(Self { folder, source, head, offset: FILE_HEADER, buffer: Vec::new(), from: 0 })
    }

    /// Goes to a frame's border; 0 means the first frame.
    ///
    /// An offset whose frame was cut out is accepted and leads to the gap frame. Beyond the end
    /// is `BadOffset`: after a loss of power a log can be shorter than it was.
    pub fn seek(&mut self, offset: u64) -> Result<(), KeeperError> {
        self.follow()?;
        if offset != 0 && offset < FILE_HEADER {
            return Err(KeeperError::BadOffset);
        }
        let settled = self.head.settle(offset);
        let moved_by_gap = settled != offset;
        if !moved_by_gap && !self.is_border(settled)? {
            return Err(KeeperError::BadOffset);
        }
        self.offset = settled;
        Ok(())
    }

    /// Returns the frame here and goes behind it; none: nothing complete is there now.
    ///
    /// After `Corrupt` the reader stays where it was.
    #[allow(clippy::should_implement_trait, reason = "it may say none now and some later")]
    pub fn next(&mut self) -> Result<Option<Frame>, KeeperError> {
        loop {
            if let Some(frame) = self.next_here()? {
                return Ok(Some(frame));
            }
            if !self.is_replaced()? {
                // Caught up: many readers wait, and none should hold a buffer meanwhile.
                self.buffer = Vec::new();
                return Ok(None);
            }
            // It may have grown between the last look and its replacement, never after.
            if let Some(frame) = self.next_here()? {
                return Ok(Some(frame));
            }
            if !self.follow()? {
                return Ok(None);
            }
        }
    }

    /// Where the next frame begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn next_here(&mut self) -> Result<Option<Frame>, KeeperError> {
        let offset = self.offset;
        let place = self.head.place(offset);
        let Some(bytes) = self.bytes(place, FRAME_HEADER)? else { return Ok(None) };
        let bytes: &[u8; FRAME_HEADER] = bytes.try_into().expect("asked for that many");
        let Some(head) = FrameHead::decode(bytes, offset) else {
            return Err(KeeperError::corrupt("a log frame", offset));
        };
        let Some(payload) = self.bytes(place + FRAME_HEADER as u64, head.length as usize)? else {
            return Ok(None);
        };
        if crc32fast::hash(payload) != head.sum {
            return Err(KeeperError::corrupt("a log frame", offset));
        }
        let bytes = payload.to_vec();
        let next_offset = match self.head.gap {
            Some(gap) if gap.at == offset => gap.resume,
            _ => offset + head.size(),
        };
        self.offset = next_offset;
        Ok(Some(Frame { seq: head.seq, stream: head.stream, at_us: head.at_us, bytes, offset, next_offset }))
    }

    /// Bytes of the file, through the buffer; none if they are not all there.
    fn bytes(&mut self, place: u64, length: usize) -> Result<Option<&[u8]>, KeeperError> {
        let buffered = |from: u64, held: usize| {
            place.checked_sub(from).is_some_and(|skip| skip + length as u64 <= held as u64)
        };
        if !buffered(self.from, self.buffer.len()) {
            // With the header of the next frame, so that large frames cost one read each.
            self.buffer.resize((length + FRAME_HEADER).max(READ_AHEAD), 0);
            self.from = place;
            let filled = read_at(&self.source, &mut self.buffer, place)?;
            self.buffer.truncate(filled);
            if filled < length {
                return Ok(None);
            }
        }
        let at = usize::try_from(place - self.from).expect("within the buffer");
        Ok(Some(&self.buffer[at..at + length]))
    }

    fn is_border(&mut self, offset: u64) -> Result<bool, KeeperError> {
        let end = self.head.end(self.length()?);
        if offset == FILE_HEADER || offset == end {
            return Ok(true);
        }
        let place = self.head.place(offset);
        let Some(bytes) = self.bytes(place, FRAME_HEADER)? else { return Ok(false) };
        let bytes: &[u8; FRAME_HEADER] = bytes.try_into().expect("asked for that many");
        Ok(FrameHead::decode(bytes, offset).is_some())
    }

    fn length(&self) -> Result<u64, KeeperError> {
        match &self.source {
            Source::Live(file) => {
                file.metadata().map(|it| it.len()).map_err(KeeperError::io("measure the log"))
            }
            Source::Archive(archived) => Ok(archived.log_bytes()),
        }
    }

    fn is_replaced(&self) -> Result<bool, KeeperError> {
        match &self.source {
            Source::Live(file) => {
                file.metadata().map(|it| it.nlink() == 0).map_err(KeeperError::io("look at the log"))
            }
            Source::Archive(_) => Ok(false),
        }
    }

    /// Changes to the file that replaced ours, if one did: a cut log, or the archive.
    fn follow(&mut self) -> Result<bool, KeeperError> {
        if !self.is_replaced()? {
            return Ok(false);
        }
        let (source, head) = match open(&self.folder) {
            Ok(opened) => opened,
            // Removed for good: what we have open is all there is.
            Err(KeeperError::NotThere) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.source = source;
        self.head = head;
        self.offset = head.settle(self.offset);
        self.buffer.clear();
        self.from = 0;
        Ok(true)
    }
}

fn open(folder: &Path) -> Result<(Source, FileHead), KeeperError> {
    // The archive is looked for twice: a folder may become one between the two looks.
    for _ in 0..2 {
        if folder::archive_path(folder).exists() {
            let archived = Archived::open(folder)?;
            return with_head(Source::Archive(Box::new(archived)));
        }
        match File::open(folder.join(folder::LOG)) {
            Ok(file) => return with_head(Source::Live(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(KeeperError::io("open the log")(error)),
        }
    }
    Err(KeeperError::NotThere)
}

fn with_head(source: Source) -> Result<(Source, FileHead), KeeperError> {
    let mut bytes = [0; FILE_HEADER as usize];
    if read_at(&source, &mut bytes, 0)? < bytes.len() {
        // Created a moment ago, or an archive of a run that never wrote a line.
        return Err(KeeperError::NotThere);
    }
    let head = FileHead::decode(&bytes).ok_or_else(|| KeeperError::corrupt("the log's header", 0))?;
    Ok((source, head))
}

fn read_at(source: &Source, buffer: &mut [u8], place: u64) -> Result<usize, KeeperError> {
    let mut filled = 0;
    while filled < buffer.len() {
        let (rest, at) = (&mut buffer[filled..], place + filled as u64);
        let count = match source {
            Source::Live(file) => match file.read_at(rest, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(KeeperError::io("read the log"))?,
            },
            Source::Archive(archived) => archived.read_log(rest, at)?,
        };
        if count == 0 {
            break;
        }
        filled += count;
    }
    Ok(filled)
}
