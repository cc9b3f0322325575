//! People and keys: who may reach an instance, and as whom (spec/api.md 2, D19).
//!
//! Who may do what is `domain::access`; here are the users, their memberships and keys, the keys of agents, and the
//! login of a command line. Of every key only the hash is kept: its text is given out once, when it is made.

mod challenges;
mod credentials;
mod keys;
mod members;

pub use challenges::{ChallengeDraft, ChallengeView, NewChallenge};
pub use keys::MadeKey;

use crate::Inner;
use crate::digest;

/// The SHA-256 of a key's text, as 64 hexadecimal digits: what is stored of it.
pub fn hash(text: &str) -> String {
    digest::sha256(text)
}

impl Inner {
    /// The random bytes of one credential.
    fn secret(&self) -> [u8; 24] {
        let (one, two) = (self.dice.bytes(), self.dice.bytes());
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&one);
        bytes[16..].copy_from_slice(&two[..8]);
        bytes
    }
}
