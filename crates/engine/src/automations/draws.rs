//! Random numbers for one transaction: all come out of one that was drawn before it, so that a transaction that is tried
//! again draws the same ones.

use sha2::{Digest, Sha256};

/// What is left to draw.
#[derive(Debug, Clone)]
pub(super) struct Draws {
    seed: [u8; 16],
    drawn: u32,
}

impl Draws {
    /// `seed` comes from the engine's dice.
    pub(super) fn new(seed: [u8; 16]) -> Draws {
        Draws { seed, drawn: 0 }
    }

    /// The next number; none comes twice.
    pub(super) fn draw(&mut self) -> [u8; 16] {
        self.drawn += 1;
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_be_bytes()).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_each_time_and_each_of_them_once() {
        let take = |seed| {
            let mut draws = Draws::new([seed; 16]);
            (0..100).map(|_| draws.draw()).collect::<Vec<_>>()
        };
        let (first, again, other) = (take(1), take(1), take(2));
        assert_eq!(first, again);
        let all: std::collections::BTreeSet<_> = first.iter().chain(&other).collect();
        assert_eq!(all.len(), 200);
    }
}
