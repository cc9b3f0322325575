//! Whose turn it is, where more endpoints wait than are sent to side by side.
//!
//! The one whose last turn is longest ago comes first. One that is slow or fails stands back behind others, and never
//! has all places: whoever answers well does not wait for whoever does not answer at all.

use std::time::Duration;

/// Endpoints that are sent to side by side.
pub const PLACES: usize = 16;
/// So many of them may be slow ones.
pub const SLOW_PLACES: usize = PLACES / 2;
/// Deliveries to one endpoint before others get its place.
pub const MOST: usize = 32;
/// A turn gets no further delivery after this.
pub const LONGEST: Duration = Duration::from_secs(10);
/// An endpoint that takes so long for a delivery is slow, and its turn is over.
pub const SLOW: Duration = Duration::from_secs(2);
/// So many turns of others may go before the one of an endpoint that is slow.
const STANDS_BACK: u64 = 64;

/// An endpoint that something is to be sent to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InLine<'a> {
    pub id: &'a str,
    /// The number of its last turn, counted over all endpoints from 1; 0 when it had none.
    pub last: u64,
    /// Its last turn took long, or the last delivery failed.
    pub is_slow: bool,
}

/// Places that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    pub all: usize,
    /// By endpoints that were slow when their turns began.
    pub slow: usize,
}

/// Says who gets the places that are free, in order.
pub fn next<'a>(waiting: &[InLine<'a>], taken: Taken) -> Vec<InLine<'a>> {
    let mut line = waiting.to_vec();
    let place = |one: &InLine<'_>| one.last.saturating_add(if one.is_slow { STANDS_BACK } else { 0 });
    line.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.id.cmp(b.id)));
    let mut free = PLACES.saturating_sub(taken.all);
    let mut free_for_slow = SLOW_PLACES.saturating_sub(taken.slow);
    let mut chosen = Vec::new();
    for one in line {
        if free == 0 {
            break;
        }
        if one.is_slow {
            if free_for_slow == 0 {
                continue;
            }
            free_for_slow -= 1;
        }
        free -= 1;
        chosen.push(one);
    }
    chosen
}

/// Whether a turn is over after a delivery that was taken: how many it had, how long it has lasted, and how long the
/// last one took.
pub fn is_over(deliveries: usize, lasted: Duration, took: Duration) -> bool {
    deliveries >= MOST || lasted >= LONGEST || took >= SLOW
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: &str, last: u64, is_slow: bool) -> InLine<'_> {
        InLine { id, last, is_slow }
    }

    fn ids(waiting: &[InLine<'_>], taken: (usize, usize)) -> Vec<String> {
        let chosen = next(waiting, Taken { all: taken.0, slow: taken.1 });
        chosen.iter().map(|one| one.id.to_owned()).collect()
    }

    #[test]
    fn the_turn_that_is_longest_ago_comes_first_and_the_slow_stand_back() {
        let line = [one("a", 9, false), one("b", 0, false), one("c", 3, false), one("d", 1, true)];
        assert_eq!(ids(&line, (0, 0)), ["b", "c", "a", "d"]);
        assert_eq!(ids(&line, (14, 0)), ["b", "c"], "as many as there are places");
        assert_eq!(ids(&line, (16, 3)), [] as [&str; 0]);
        assert_eq!(ids(&[one("b", 5, false), one("a", 5, false)], (15, 0)), ["a"]);
    }

    #[test]
    fn the_slow_never_have_all_places_and_wait_not_for_ever() {
        let names: Vec<String> = (0..40).map(|number| format!("slow-{number:02}")).collect();
        let mut line: Vec<InLine<'_>> = names.iter().map(|name| one(name, 1, true)).collect();
        assert_eq!(next(&line, Taken::default()).len(), SLOW_PLACES);
        assert_eq!(next(&line, Taken { all: 12, slow: 6 }).len(), 2);
        assert!(next(&line, Taken { all: 8, slow: 8 }).is_empty(), "places are kept free for others");
        line.push(one("good", 90, false));
        assert_eq!(ids(&line, (8, 8)), ["good"]);
        // Others had more turns than it stands back for.
        assert_eq!(ids(&line, (15, 0)), ["slow-00"]);
    }

    #[test]
    fn a_turn_ends_after_many_deliveries_after_long_and_after_a_slow_one() {
        let (short, quick) = (Duration::from_secs(1), Duration::from_millis(50));
        for (deliveries, lasted, took, over) in [
            (1, short, quick, false),
            (31, short, quick, false),
            (32, short, quick, true),
            (2, LONGEST, quick, true),
            (1, SLOW, SLOW, true),
        ] {
            assert_eq!(is_over(deliveries, lasted, took), over, "{deliveries} {lasted:?} {took:?}");
        }
    }
}
