//! The keeper's end of `control.sock`: who may order, and whole messages only.
//!
//! What an order does is decided by the loop. A connection that sends half a message costs a
//! slot until it closes or others need it, never a wait.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::fs::Mode;
use rustix::process::umask;

use crate::folder;
use crate::orders::{Reply, Request, encode, lengths};

#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    inbox: Vec<u8>,
}

/// A server uses one at a time; the oldest goes when more come.
const MOST_CLIENTS: usize = 8;

impl Control {
    pub(super) fn listen() -> io::Result<Self> {
        let _ = std::fs::remove_file(folder::SOCKET);
        // Private from its first moment, and without a second change of the file. The keeper has
        // one thread, and the child must not inherit this mask.
        let before = umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(folder::SOCKET);
        umask(before);
        let listener = bound?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, clients: Vec::new() })
    }

    /// Everything to poll for reading: the door first, then the connections in order.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd()).chain(self.clients.iter().map(|client| client.stream.as_fd()))
    }

    pub(super) fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                if self.clients.len() == MOST_CLIENTS {
                    self.clients.remove(0);
                }
                self.clients.push(Client { stream, inbox: Vec::new() });
            }
        }
    }

    /// Reads what the connections have and answers each whole message.
    pub(super) fn serve(&mut self, mut obey: impl FnMut(Request, &[u8]) -> Reply) {
        self.clients.retain_mut(|client| client.serve(&mut obey).is_ok());
    }
}

impl Client {
    fn serve(&mut self, obey: &mut impl FnMut(Request, &[u8]) -> Reply) -> io::Result<()> {
        let mut piece = [0; 8 << 10];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.inbox.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.answer(obey)?;
        }
    }

    fn answer(&mut self, obey: &mut impl FnMut(Request, &[u8]) -> Reply) -> io::Result<()> {
        while let Some(prefix) = self.inbox.first_chunk::<8>() {
            let (header, body) = lengths(*prefix).ok_or(io::ErrorKind::InvalidData)?;
            let Some(message) = self.inbox.get(8..8 + header + body) else { return Ok(()) };
            let (header, body) = message.split_at(header);
            let length = 8 + message.len();
            let reply = match serde_json::from_slice::<Request>(header) {
                Ok(request) => obey(request, body),
                // An order of a newer server that this keeper does not know.
                Err(_) => Reply::NotUnderstood,
            };
            self.inbox.drain(..length);
            // Answers are short: a peer that does not even take that is dropped.
            self.stream.write_all(&encode(&reply, &[]))?;
        }
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
        Ok(())
    }
}
