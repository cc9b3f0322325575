//! What the child is given on its standard input.
//!
//! Offsets count everything it was ever given, so an order that is repeated after a crash
//! gives nothing twice. Bytes are acknowledged when they are kept here; they are written to the
//! child as it reads.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Waiting bytes beyond which no more is taken: a child that does not read costs no more memory.
const MOST_WAITING: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Input {
    pipe: Option<File>,
    waiting: Vec<u8>,
    written: usize,
    taken: u64,
    /// Nothing more will come.
    complete: bool,
}

/// What became of an offer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<'a> {
    /// These bytes were new.
    New(&'a [u8]),
    /// Bytes before the offer are missing.
    Missing,
    Closed,
}

impl Input {
    /// `first` is written before everything else; `complete`: and nothing follows.
    pub(super) fn new(pipe: Option<OwnedFd>, first: Vec<u8>, complete: bool) -> Self {
        let taken = first.len() as u64;
        let complete = complete || pipe.is_none();
        let waiting = if pipe.is_some() { first } else { Vec::new() };
        let mut input = Self { pipe: pipe.map(File::from), waiting, written: 0, taken, complete };
        input.push();
        input
    }

    pub(super) fn offset(&self) -> u64 {
        self.taken
    }

    /// Takes the part of an offer that is new and has room.
    pub(super) fn offer<'a>(&mut self, offset: u64, bytes: &'a [u8], close: bool) -> Taken<'a> {
        let end = offset + bytes.len() as u64;
        if offset > self.taken {
            return Taken::Missing;
        }
        if self.complete || self.pipe.is_none() {
            // A repetition of the order that closed it is answered like the first time.
            return if end <= self.taken { Taken::New(&[]) } else { Taken::Closed };
        }
        let known = usize::try_from(self.taken - offset).unwrap_or(usize::MAX).min(bytes.len());
        let room = MOST_WAITING.saturating_sub(self.waiting.len() - self.written);
        let new = &bytes[known..];
        let new = &new[..new.len().min(room)];
        self.waiting.extend_from_slice(new);
        self.taken += new.len() as u64;
        self.complete = close && self.taken == end;
        self.push();
        Taken::New(new)
    }

    /// To be polled for writing; none if there is nothing to write.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().filter(|_| self.written < self.waiting.len()).map(AsFd::as_fd)
    }

    /// Writes what the child takes now; closes when all is written and nothing follows, or
    /// when the child closed its end.
    pub(super) fn push(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        while self.written < self.waiting.len() {
            match pipe.write(&self.waiting[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.close(),
            }
        }
        self.waiting = Vec::new();
        self.written = 0;
        if self.complete {
            self.pipe = None;
        }
    }

    pub(super) fn close(&mut self) {
        self.pipe = None;
        self.waiting = Vec::new();
        self.written = 0;
        self.complete = true;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn offers_may_be_repeated_and_overlap_but_not_leave_a_hole() {
        let (mut read, write) = io::pipe().unwrap();
        let mut input = Input::new(Some(write.into()), b"ab".to_vec(), false);
        assert_eq!(input.offer(2, b"cd", false), Taken::New(b"cd"));
        assert_eq!(input.offer(2, b"cd", false), Taken::New(b""));
        assert_eq!(input.offer(3, b"def", false), Taken::New(b"ef"));
        assert_eq!(input.offer(7, b"x", false), Taken::Missing);
        assert_eq!(input.offer(6, b"g", true), Taken::New(b"g"));
        assert_eq!(input.offer(6, b"g", true), Taken::New(b""));
        assert_eq!(input.offer(7, b"h", false), Taken::Closed);
        let mut all = String::new();
        read.read_to_string(&mut all).unwrap();
        assert_eq!(all, "abcdefg");
    }

    #[test]
    fn a_child_that_does_not_read_is_not_fed_without_end() {
        let (_read, write) = io::pipe().unwrap();
        let flags = rustix::fs::fcntl_getfl(&write).unwrap();
        rustix::fs::fcntl_setfl(&write, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        let mut input = Input::new(Some(write.into()), Vec::new(), false);
        let piece = vec![7; 300 << 10];
        while matches!(input.offer(input.offset(), &piece, false), Taken::New(new) if new.len() == piece.len())
        {
        }
        assert!(input.offset() <= (MOST_WAITING + (128 << 10)) as u64);
        assert_eq!(input.offer(input.offset(), &piece, true), Taken::New(b""));
        assert!(!input.complete, "a close holds only when everything before it was taken");
    }
}
