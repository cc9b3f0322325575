//! What must not be written down: the child's environment, its secrets, its first input.
//!
//! One message through the pipe that is the keeper's standard input. It carries its length and
//! a checksum, so that a server killed in the middle of it starts nothing.

use std::io::{self, Read};

use crate::error::KeeperError;

/// The confidential part of a launch.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sealed {
    /// The child's whole environment; it inherits nothing.
    pub env: Vec<(String, String)>,
    /// Values that must not appear in the log, each at least eight bytes.
    pub secrets: Vec<String>,
    /// First bytes of the child's input.
    pub stdin: Vec<u8>,
}

/// Shorter values would redact ordinary words.
pub(crate) const SHORTEST_SECRET: usize = 8;

const MAGIC: &[u8; 8] = b"BUGLSEA1";
const HEADER: usize = 8 + 8 + 4 + 4;
/// A message longer than this is not one of ours.
const LONGEST: u64 = 1 << 30;

impl std::fmt::Debug for Sealed {
    /// Shows how much there is, never what.
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Sealed")
            .field("env", &self.env.len())
            .field("secrets", &self.secrets.len())
            .field("stdin", &self.stdin.len())
            .finish()
    }
}

impl Sealed {
    pub(crate) fn check(&self) -> Result<(), KeeperError> {
        match self.secrets.iter().position(|secret| secret.len() < SHORTEST_SECRET) {
            Some(position) => Err(KeeperError::SecretTooShort { position }),
            None => Ok(()),
        }
    }

    /// The message; `spec_sum` ties it to one spec.
    pub(crate) fn encode(&self, spec_sum: u32) -> Vec<u8> {
        let mut body = Vec::new();
        put_count(&mut body, self.env.len());
        for (name, value) in &self.env {
            put(&mut body, name.as_bytes());
            put(&mut body, value.as_bytes());
        }
        put_count(&mut body, self.secrets.len());
        for secret in &self.secrets {
            put(&mut body, secret.as_bytes());
        }
        put(&mut body, &self.stdin);
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend_from_slice(MAGIC);
        message.extend_from_slice(&(body.len() as u64).to_le_bytes());
        message.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        message.extend_from_slice(&spec_sum.to_le_bytes());
        message.append(&mut body);
        message
    }

    /// Reads one whole message and the sum of its spec; `InvalidData` when torn or foreign.
    pub(crate) fn receive(from: &mut impl Read) -> io::Result<(Self, u32)> {
        let torn = || io::Error::from(io::ErrorKind::InvalidData);
        let mut header = [0; HEADER];
        from.read_exact(&mut header).map_err(|_| torn())?;
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let length = u64::from_le_bytes(header[8..16].try_into().expect("eight bytes"));
        if &header[..8] != MAGIC || length > LONGEST {
            return Err(torn());
        }
        let mut body = Vec::new();
        from.take(length).read_to_end(&mut body)?;
        if body.len() as u64 != length || crc32fast::hash(&body) != word(16) {
            return Err(torn());
        }
        Ok((Self::decode(&body).ok_or_else(torn)?, word(20)))
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut rest = body;
        let mut sealed = Self::default();
        for _ in 0..take_count(&mut rest)? {
            sealed.env.push((take_text(&mut rest)?, take_text(&mut rest)?));
        }
        for _ in 0..take_count(&mut rest)? {
            sealed.secrets.push(take_text(&mut rest)?);
        }
        sealed.stdin = take(&mut rest)?.to_vec();
        rest.is_empty().then_some(sealed)
    }
}

fn put_count(to: &mut Vec<u8>, count: usize) {
    to.extend_from_slice(&(count as u64).to_le_bytes());
}

fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    put_count(to, bytes.len());
    to.extend_from_slice(bytes);
}

fn take_count(rest: &mut &[u8]) -> Option<usize> {
    let (count, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    usize::try_from(u64::from_le_bytes(*count)).ok()
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_count(rest)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(take(rest)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sealed {
        Sealed {
            env: vec![("PATH".into(), "/bin".into()), ("EMPTY".into(), String::new())],
            secrets: vec!["correct-horse".into()],
            stdin: vec![0, 255, 10],
        }
    }

    #[test]
    fn a_message_arrives_whole_or_not_at_all() {
        let message = sample().encode(77);
        assert_eq!(Sealed::receive(&mut &message[..]).unwrap(), (sample(), 77));
        for cut in 0..message.len() {
            assert!(Sealed::receive(&mut &message[..cut]).is_err(), "cut at {cut}");
        }
        let mut bent = message;
        *bent.last_mut().unwrap() ^= 1;
        assert!(Sealed::receive(&mut &bent[..]).is_err());
    }

    #[test]
    fn showing_it_shows_no_value() {
        let shown = format!("{:?}", sample());
        assert!(!shown.contains("horse") && !shown.contains("bin"), "{shown}");
    }
}
