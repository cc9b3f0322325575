//! The tokens with which the processes of runs prove who they are.
//!
//! A token is made of its run, the epoch and a secret that this server has drawn at its start, so nobody has to keep it
//! between the claim and the start of the process; the row of the run has only its hash. It opens the door while its run
//! is running with that epoch, and is nothing afterwards: that is for whoever looks a token up to see.

use std::fmt;
use std::sync::Arc;

use domain::access::credential::CredentialKind;
use domain::ids::RunId;
use sha2::{Digest, Sha256};

use crate::Dice;
use crate::digest;

/// What tokens are made with.
#[derive(Clone)]
pub(crate) struct RunTokens {
    secret: Arc<[u8; 32]>,
}

impl RunTokens {
    /// A new secret.
    pub(crate) fn draw(dice: &dyn Dice) -> RunTokens {
        let mut secret = [0; 32];
        secret[..16].copy_from_slice(&dice.bytes());
        secret[16..].copy_from_slice(&dice.bytes());
        RunTokens { secret: Arc::new(secret) }
    }

    /// The token of the process of an epoch.
    pub(crate) fn token(&self, run: &RunId, epoch: i64) -> String {
        let mut digest = Sha256::new();
        // On both sides of what is known, so that nobody who has a token can go on from it.
        digest.update(&self.secret[..]);
        digest.update(run.as_str().as_bytes());
        digest.update(epoch.to_be_bytes());
        digest.update(&self.secret[..]);
        let mut random = [0; 24];
        random.copy_from_slice(&digest.finalize()[..24]);
        CredentialKind::RunToken.mint(random)
    }

    /// What the row of the run keeps of it.
    pub(crate) fn hash(&self, run: &RunId, epoch: i64) -> String {
        digest::sha256(self.token(run, epoch))
    }
}

impl fmt::Debug for RunTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunTokens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemDice;

    #[test]
    fn every_epoch_of_every_run_has_a_token_of_its_own_and_each_server_others() {
        let (one, other) = (RunTokens::draw(&SystemDice), RunTokens::draw(&SystemDice));
        let (run, second): (RunId, RunId) = ("r".into(), "s".into());
        let token = one.token(&run, 1);
        assert_eq!(token, one.token(&run, 1));
        for stranger in [one.token(&run, 2), one.token(&second, 1), other.token(&run, 1)] {
            assert_ne!(token, stranger);
        }
        assert!(token.starts_with("bgl_run_") && token.len() == 8 + 48);
        assert_eq!(one.hash(&run, 1).len(), 64);
        assert!(!format!("{one:?}").contains(&token[8..]));
    }
}
