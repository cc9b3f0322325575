//! Where a reader of a log stands, as one number.
//!
//! To clients the number is opaque; it fits into the 53 bits that every JSON reader keeps. In a log that was never
//! restarted, between two whole lines, it is the offset in the file of frames and nothing else. Otherwise it also says
//! which process of the run it belongs to, and what of the frames from there on was given already, so that an answer may
//! end between two lines although a frame does not.

/// Bits of the offset: a run that prints more than a terabyte cannot be followed behind that.
const OFFSET_BITS: u32 = 40;
const EPOCH_BITS: u32 = 4;
const TAIL_BITS: u32 = 2;
const SEEN_BITS: u32 = 7;
/// Frames behind the first held one that a place can tell of.
pub(crate) const MOST_SEEN: u64 = (1 << SEEN_BITS) - 1;

/// What of the frame at the offset was not given yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// All of it.
    Whole,
    /// What stands behind its last line end.
    OpenLine,
    /// The unfinished code point at its end; what follows is cut into lines.
    OpenCharInLines,
    /// The unfinished code point at its end; what follows is cut at code points only.
    OpenChar,
}

const TAILS: [Tail; 4] = [Tail::Whole, Tail::OpenLine, Tail::OpenCharInLines, Tail::OpenChar];

/// Where a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The process of the run, by its epoch; from 1.
    pub(crate) epoch: i64,
    /// The border of a frame.
    pub(crate) offset: u64,
    pub(crate) tail: Tail,
    /// How many frames behind the one at the offset were given too, as far as their lines were complete.
    pub(crate) seen: u64,
}

impl Place {
    /// The border of a frame, with everything before it given and nothing behind it.
    pub(crate) fn border(epoch: i64, offset: u64) -> Place {
        Place { epoch, offset, tail: Tail::Whole, seen: 0 }
    }

    /// The number on the wire; `None` behind the first terabyte.
    pub(crate) fn number(self) -> Option<u64> {
        if self.offset >> OFFSET_BITS != 0 || self.seen > MOST_SEEN {
            return None;
        }
        let epoch = u64::try_from(self.epoch.max(1) - 1).unwrap_or(0) & ((1 << EPOCH_BITS) - 1);
        let tail = TAILS.iter().position(|tail| *tail == self.tail).unwrap_or(0) as u64;
        let high = (((self.seen << TAIL_BITS) | tail) << EPOCH_BITS) | epoch;
        Some((high << OFFSET_BITS) | self.offset)
    }

    /// Reads a number, for a run whose newest process has the epoch `newest`; `None`: it was never given out.
    pub(crate) fn read(number: u64, newest: i64) -> Option<Place> {
        if number >> (OFFSET_BITS + EPOCH_BITS + TAIL_BITS + SEEN_BITS) != 0 {
            return None;
        }
        let mut high = number >> OFFSET_BITS;
        let mut next = |bits: u32| {
            let value = high & ((1 << bits) - 1);
            high >>= bits;
            value
        };
        let (epoch, tail, seen) = (next(EPOCH_BITS), next(TAIL_BITS), next(SEEN_BITS));
        // Of an epoch only its end is known. A run has few: the newest that ends so is meant.
        let newest = newest.max(1);
        let back = (newest - 1 - epoch as i64).rem_euclid(1 << EPOCH_BITS);
        let epoch = newest - back;
        let offset = number & ((1 << OFFSET_BITS) - 1);
        (epoch >= 1).then_some(Place { epoch, offset, tail: TAILS[tail as usize], seen })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn between_whole_lines_of_the_first_process_the_number_is_the_offset() {
        assert_eq!(Place::border(1, 4711).number(), Some(4711));
        assert_eq!(Place::read(4711, 3), Some(Place::border(1, 4711)));
        assert_eq!(Place::read(0, 0), Some(Place::border(1, 0)));
    }

    #[test]
    fn numbers_that_were_never_given_out_are_refused() {
        assert_eq!(Place::read(u64::MAX, 1), None);
        assert_eq!(Place::read(Place::border(2, 9).number().unwrap(), 1), None);
        assert_eq!(Place::border(1, 1 << 40).number(), None);
    }

    proptest! {
        #[test]
        fn every_place_reads_back(
            newest in 1i64..40,
            back in 0i64..16,
            offset in 0u64..1 << 40,
            tail in 0usize..4,
            seen in 0u64..=MOST_SEEN,
        ) {
            prop_assume!(newest - back >= 1);
            let place = Place { epoch: newest - back, offset, tail: TAILS[tail], seen };
            let number = place.number().unwrap();
            prop_assert!(number < 1 << 53);
            prop_assert_eq!(Place::read(number, newest), Some(place));
        }
    }
}
