//! What becomes of the slots that have come.
//!
//! A schedule remembers the first slot that nobody has dealt with. [`decide`] deals with the slots from there to now, a page
//! at a time, so that no outage makes a transaction large: each slot fires or is skipped with a reason, and nothing is
//! left out. Whether a slot that fires does so at once is [`place`]. Nothing here creates a run.

use std::time::Duration;

use super::{Misfire, Overlap, SkipReason, Timing};
use crate::moment::Moment;

/// A slot that is found later than this was missed; before that it merely comes a little late, unless the next one has
/// come as well. So one slot at most comes late: no short interval fires many at once.
pub const TOLERANCE: Duration = Duration::from_secs(60);

/// What is known of a schedule that may be due.
#[derive(Debug)]
pub struct View<'a> {
    pub timing: &'a Timing,
    /// The first slot that nobody has dealt with.
    pub next: Moment,
    pub now: Moment,
    pub misfire: Misfire,
    pub catch_up: usize,
    /// How many may start or wait now, where slots take turns ([`room`]).
    pub room: Option<usize>,
    /// Why nothing fires at present: it is paused, or a draft.
    pub rests: Option<SkipReason>,
    /// From when to when it was paused last: what was planned then is not made up for.
    pub rested: Option<(Moment, Moment)>,
    /// Slots before this are too old to be kept on record.
    pub forget_before: Moment,
}

/// What becomes of the slots of one page, and where the next one begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub slots: Vec<(Moment, Fate)>,
    /// The first slot after them, `None` when there is no further one. It lies in the future when nothing more is due.
    pub next: Option<Moment>,
}

/// What becomes of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Fire,
    Skip(SkipReason),
}

/// Decides about the slots that have come, at most so many.
pub fn decide(view: &View<'_>, most: usize) -> Page {
    let first = match view.next < view.forget_before {
        true => view.timing.next_after(Moment::from_micros(view.forget_before.micros().saturating_sub(1))),
        false => Some(view.next),
    };
    let catch_up = match view.misfire {
        Misfire::Skip => 0,
        Misfire::One => 1,
        Misfire::All => view.catch_up,
    };
    // Whether a slot is among the newest can only be seen from those behind it.
    let behind = catch_up.saturating_add(1).saturating_add(view.room.unwrap_or(0));
    let looked_at = most.saturating_add(behind);
    let mut come = Vec::new();
    let mut next = first;
    while let Some(slot) = next.filter(|slot| *slot <= view.now && come.len() < looked_at) {
        come.push(slot);
        next = view.timing.next_after(slot);
    }
    // The newest comes in time, or a little late, when the one after it has not come.
    let is_all = next.is_none_or(|next| next > view.now);
    let is_in_time = come.last().is_some_and(|newest| is_all && view.now.since(*newest) <= TOLERANCE);
    let newest = match (view.misfire, is_in_time) {
        (Misfire::Skip | Misfire::All, true) => catch_up + 1,
        // It is the newest, late or not.
        (Misfire::One, true | false) | (Misfire::Skip | Misfire::All, false) => catch_up,
    };
    let made_up_from = come.len().saturating_sub(newest);
    let fates = come.iter().enumerate().map(|(place, slot)| {
        let fate = match view.rests {
            Some(reason) => Fate::Skip(reason),
            None if was_at_rest(view, *slot) => Fate::Skip(SkipReason::Paused),
            None if place < made_up_from => Fate::Skip(SkipReason::Misfire),
            None => Fate::Fire,
        };
        (*slot, fate)
    });
    let mut slots: Vec<_> = fates.collect();
    // Of those that have come together the newest get the places.
    if let Some(room) = view.room {
        let fire = slots.iter_mut().rev().filter(|(_, fate)| *fate == Fate::Fire);
        for (_, fate) in fire.skip(room) {
            *fate = Fate::Skip(SkipReason::QueueFull);
        }
    }
    slots.truncate(most);
    let next = come.get(most).copied().or(next);
    Page { slots, next }
}

fn was_at_rest(view: &View<'_>, slot: Moment) -> bool {
    view.rested.is_some_and(|(from, to)| slot >= from && slot < to)
}

/// Where a slot that fires goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A run is made of it now.
    Start,
    /// It waits until the runs before it are over.
    Wait,
    Skip(SkipReason),
}

/// How many slots may start or wait beside what there is; `None`: as many as come.
pub fn room(overlap: Overlap, has_run: bool, waiting: usize, most_waiting: usize) -> Option<usize> {
    match overlap {
        Overlap::Queue if !has_run && waiting == 0 => Some(most_waiting.saturating_add(1)),
        Overlap::Queue => Some(most_waiting.saturating_sub(waiting)),
        Overlap::Skip | Overlap::Allow => None,
    }
}

/// Decides whether a slot may start beside what there is: a run that is not over, and slots that wait already.
pub fn place(overlap: Overlap, has_run: bool, waiting: usize, most_waiting: usize) -> Place {
    match overlap {
        Overlap::Allow => Place::Start,
        Overlap::Skip if has_run => Place::Skip(SkipReason::Overlap),
        Overlap::Skip => Place::Start,
        Overlap::Queue if !has_run && waiting == 0 => Place::Start,
        Overlap::Queue if waiting < most_waiting => Place::Wait,
        Overlap::Queue => Place::Skip(SkipReason::QueueFull),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::automation::calendar::{Cron, Every};

    const fn at(seconds: i64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    const MINUTE: i64 = 60;
    const HOUR: i64 = 3600;

    fn quarter() -> Timing {
        Timing::Every { anchor: at(0), every: Every::parse("15m").unwrap() }
    }

    fn view(timing: &Timing, next: i64, now: i64, misfire: Misfire, catch_up: usize) -> View<'_> {
        View {
            timing,
            next: at(next),
            now: at(now),
            misfire,
            catch_up,
            room: None,
            rests: None,
            rested: None,
            forget_before: Moment::from_micros(i64::MIN),
        }
    }

    /// The page in short: how many fire, how many are skipped, and the next slot.
    fn counted(page: &Page) -> (usize, usize, Option<i64>) {
        let fired = page.slots.iter().filter(|(_, fate)| *fate == Fate::Fire).count();
        (fired, page.slots.len() - fired, page.next.map(|next| next.micros() / 1_000_000))
    }

    #[test]
    fn an_outage_of_three_hours_is_made_up_for_as_the_policy_says() {
        let timing = quarter();
        let now = 3 * HOUR + 7 * MINUTE;
        // Due: 12 slots, from 15 minutes to 3 hours.
        for (misfire, catch_up, fired) in [
            (Misfire::Skip, 5, 0),
            (Misfire::One, 5, 1),
            (Misfire::All, 5, 5),
            (Misfire::All, 1, 1),
            (Misfire::All, 12, 12),
            (Misfire::All, 100, 12),
        ] {
            let page = decide(&view(&timing, 15 * MINUTE, now, misfire, catch_up), 1000);
            assert_eq!(
                counted(&page),
                (fired, 12 - fired, Some(3 * HOUR + 15 * MINUTE)),
                "{misfire} {catch_up}"
            );
            // It is the newest that fire, and they do so in their order.
            let first_fired = page.slots.iter().position(|(_, fate)| *fate == Fate::Fire).unwrap_or(12);
            assert_eq!(first_fired, 12 - fired);
            assert!(page.slots.is_sorted_by_key(|(slot, _)| *slot));
            assert!(page.slots[..first_fired].iter().all(|it| it.1 == Fate::Skip(SkipReason::Misfire)));
        }
    }

    #[test]
    fn a_slot_that_is_a_little_late_is_none_that_was_missed() {
        let timing = quarter();
        let slot = 15 * MINUTE;
        for (late, fate) in [
            (0, Fate::Fire),
            (1, Fate::Fire),
            (60, Fate::Fire),
            (61, Fate::Skip(SkipReason::Misfire)),
            (899, Fate::Skip(SkipReason::Misfire)),
        ] {
            let page = decide(&view(&timing, slot, slot + late, Misfire::Skip, 5), 10);
            assert_eq!(page, Page { slots: vec![(at(slot), fate)], next: Some(at(2 * slot)) }, "{late} s");
        }
    }

    #[test]
    fn a_slot_in_time_fires_beside_those_that_are_made_up_for() {
        let timing = quarter();
        let now = HOUR + 30;
        // With `one` it is the newest, and the only one.
        for (misfire, fired) in [(Misfire::Skip, 1), (Misfire::One, 1), (Misfire::All, 4)] {
            let page = decide(&view(&timing, 15 * MINUTE, now, misfire, 5), 10);
            assert_eq!(counted(&page), (fired, 4 - fired, Some(HOUR + 15 * MINUTE)), "{misfire}");
            assert_eq!(page.slots.last(), Some(&(at(HOUR), Fate::Fire)), "{misfire}");
        }
    }

    #[test]
    fn of_slots_that_are_close_together_one_at_most_comes_a_little_late() {
        for (every, down_at, now, newest) in [("10s", 60, 112, 110), ("1m", 55 * 60, 56 * 60 + 20, 56 * 60)] {
            let timing = Timing::Every { anchor: at(0), every: Every::parse(every).unwrap() };
            for misfire in [Misfire::Skip, Misfire::One] {
                let page = decide(&view(&timing, down_at, now, misfire, 5), 100);
                assert_eq!(counted(&page).0, 1, "{misfire}, {every}");
                assert_eq!(page.slots.last(), Some(&(at(newest), Fate::Fire)), "{misfire}, {every}");
            }
        }
        // The next one comes at this very moment: it fires, and the one before it was missed.
        let timing = Timing::Every { anchor: at(0), every: Every::parse("10s").unwrap() };
        let page = decide(&view(&timing, 10, 20, Misfire::Skip, 5), 100);
        assert_eq!(page.slots, [(at(10), Fate::Skip(SkipReason::Misfire)), (at(20), Fate::Fire)]);
    }

    #[test]
    fn nothing_is_decided_before_its_time() {
        let timing = quarter();
        for now in [0, 899] {
            let page = decide(&view(&timing, 900, now, Misfire::All, 5), 10);
            assert_eq!(page, Page { slots: vec![], next: Some(at(900)) });
        }
    }

    #[test]
    fn a_clock_that_was_set_back_changes_nothing() {
        let timing = quarter();
        let page = decide(&view(&timing, 15 * MINUTE, -HOUR, Misfire::All, 5), 10);
        assert_eq!(page, Page { slots: vec![], next: Some(at(15 * MINUTE)) });
    }

    #[test]
    fn what_rests_fires_nothing_and_says_why() {
        let timing = quarter();
        for reason in [SkipReason::Paused, SkipReason::Draft] {
            let resting = View { rests: Some(reason), ..view(&timing, 15 * MINUTE, HOUR, Misfire::All, 5) };
            let page = decide(&resting, 10);
            assert_eq!(counted(&page), (0, 4, Some(HOUR + 15 * MINUTE)));
            assert!(page.slots.iter().all(|(_, fate)| *fate == Fate::Skip(reason)));
        }
    }

    #[test]
    fn what_was_planned_in_a_pause_is_not_made_up_for_after_it() {
        let timing = quarter();
        // Paused from half past to a quarter past the next hour; nobody looked before half past.
        let rested = Some((at(30 * MINUTE), at(75 * MINUTE)));
        let page = decide(&View { rested, ..view(&timing, 15 * MINUTE, 90 * MINUTE, Misfire::All, 5) }, 10);
        let fates: Vec<Fate> = page.slots.iter().map(|(_, fate)| *fate).collect();
        let paused = Fate::Skip(SkipReason::Paused);
        assert_eq!(fates, [Fate::Fire, paused, paused, paused, Fate::Fire, Fate::Fire]);
    }

    #[test]
    fn what_is_too_old_for_the_record_gets_no_row() {
        let timing = quarter();
        let old = View { forget_before: at(HOUR), ..view(&timing, 15 * MINUTE, 2 * HOUR, Misfire::Skip, 5) };
        let page = decide(&old, 100);
        // From the first full hour to the second.
        assert_eq!(page.slots.first().map(|it| it.0), Some(at(HOUR)));
        assert_eq!((page.slots.len(), page.next), (5, Some(at(2 * HOUR + 15 * MINUTE))));
    }

    #[test]
    fn a_long_outage_is_dealt_with_in_pages_that_come_to_the_same() {
        let timing = Timing::Every { anchor: at(0), every: Every::parse("1m").unwrap() };
        // One slot is in time: it fires whatever the policy is, and with `one` it is the newest.
        for (misfire, catch_up, fired) in [(Misfire::Skip, 5, 1), (Misfire::One, 5, 1), (Misfire::All, 7, 8)]
        {
            let now = 1000 * MINUTE - 1 - 60;
            let whole = decide(&view(&timing, MINUTE, now + 60, misfire, catch_up), 10_000);
            for most in [1, 3, 7, 8, 100, 998, 999, 1000] {
                let (mut slots, mut next) = (Vec::new(), Some(at(MINUTE)));
                loop {
                    let from = next.unwrap().micros() / 1_000_000;
                    let page = decide(&view(&timing, from, now + 60, misfire, catch_up), most);
                    assert!(page.slots.len() <= most);
                    if page.slots.is_empty() {
                        break;
                    }
                    slots.extend(page.slots);
                    next = page.next;
                }
                assert_eq!((&slots, next), (&whole.slots, whole.next), "{misfire}, pages of {most}");
            }
            assert_eq!(counted(&whole).0, fired);
        }
    }

    #[test]
    fn the_newest_of_those_that_come_together_get_the_places() {
        let timing = Timing::Every { anchor: at(0), every: Every::parse("15s").unwrap() };
        let full = Fate::Skip(SkipReason::QueueFull);
        let missed = Fate::Skip(SkipReason::Misfire);
        use Fate::Fire;
        // Down from 10 s to 105 s: the last is in time, the six before it were missed.
        for (misfire, catch_up, room, expected) in [
            (Misfire::All, 3, None, [missed, missed, missed, Fire, Fire, Fire, Fire]),
            (Misfire::All, 3, Some(4), [missed, missed, missed, Fire, Fire, Fire, Fire]),
            (Misfire::All, 3, Some(3), [missed, missed, missed, full, Fire, Fire, Fire]),
            (Misfire::All, 1, Some(2), [missed, missed, missed, missed, missed, Fire, Fire]),
            (Misfire::All, 9, None, [Fire, Fire, Fire, Fire, Fire, Fire, Fire]),
            (Misfire::All, 9, Some(3), [full, full, full, full, Fire, Fire, Fire]),
            (Misfire::One, 5, Some(6), [missed, missed, missed, missed, missed, missed, Fire]),
            (Misfire::Skip, 3, Some(0), [missed, missed, missed, missed, missed, missed, full]),
        ] {
            let view = View { room, ..view(&timing, 15, 105, misfire, catch_up) };
            let fates: Vec<Fate> = decide(&view, 100).slots.iter().map(|(_, fate)| *fate).collect();
            assert_eq!(fates, expected, "{misfire} {catch_up} {room:?}");
        }
    }

    #[test]
    fn the_newest_get_the_places_however_small_the_pages_are() {
        let timing = Timing::Every { anchor: at(0), every: Every::parse("1s").unwrap() };
        for (misfire, catch_up, count) in
            [(Misfire::Skip, 3, 1), (Misfire::One, 3, 1), (Misfire::All, 3, 3), (Misfire::All, 100, 100)]
        {
            let of = |next| View { room: Some(catch_up), ..view(&timing, next, 500, misfire, catch_up) };
            let whole = decide(&of(1), 10_000);
            let fired: Vec<i64> =
                whole.slots.iter().filter(|it| it.1 == Fate::Fire).map(|it| it.0.micros()).collect();
            let newest: Vec<i64> =
                (501 - fired.len() as i64..=500).map(|second| at(second).micros()).collect();
            assert_eq!((fired.len(), &fired), (count, &newest), "{misfire}");
            for most in [1, 3, 61, 100, 499] {
                let (mut slots, mut next) = (Vec::new(), 1);
                while next <= 500 {
                    // What was given a place keeps it: the room is that of the beginning.
                    let page = decide(&of(next), most);
                    next = page.next.unwrap().micros() / 1_000_000;
                    slots.extend(page.slots);
                }
                assert_eq!(slots, whole.slots, "{misfire} {catch_up}, pages of {most}");
            }
        }
    }

    #[test]
    fn there_is_room_for_as_many_as_take_turns() {
        use Overlap::*;
        for (overlap, has_run, waiting, expected) in [
            (Skip, false, 0, None),
            (Allow, true, 3, None),
            (Queue, false, 0, Some(6)),
            (Queue, true, 0, Some(5)),
            // Who waits is not overtaken: nothing starts at once.
            (Queue, false, 2, Some(3)),
            (Queue, true, 5, Some(0)),
            (Queue, false, 7, Some(0)),
        ] {
            assert_eq!(room(overlap, has_run, waiting, 5), expected, "{overlap}, {has_run}, {waiting}");
        }
    }

    #[test]
    fn what_a_slot_does_beside_a_run_that_is_not_over() {
        use Overlap::*;
        let rows = [
            (Skip, false, 0, Place::Start),
            (Skip, true, 0, Place::Skip(SkipReason::Overlap)),
            (Allow, false, 0, Place::Start),
            (Allow, true, 9, Place::Start),
            (Queue, false, 0, Place::Start),
            (Queue, true, 0, Place::Wait),
            // Who waits is not overtaken.
            (Queue, false, 1, Place::Wait),
            (Queue, true, 4, Place::Wait),
            (Queue, true, 5, Place::Skip(SkipReason::QueueFull)),
            (Queue, false, 5, Place::Skip(SkipReason::QueueFull)),
        ];
        for (overlap, has_run, waiting, expected) in rows {
            assert_eq!(place(overlap, has_run, waiting, 5), expected, "{overlap}, {has_run}, {waiting}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// A server that looks now and then, with long and short absences, page by page: each slot is decided once, in
        /// order, none too early, and the next one is in the future whenever a look is over.
        #[test]
        fn each_slot_is_decided_once_and_never_early(
            expression in prop::sample::select(&["*/15 * * * *", "30 2 * * *", "0 9 * * MON", "*/10 1-3 * * *"][..]),
            zone in prop::sample::select(&["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"][..]),
            misfire in prop::sample::select(Misfire::ALL),
            catch_up in 1_usize..8,
            most in 1_usize..40,
            start in 1_760_000_000_i64..1_800_000_000,
            absences in prop::collection::vec(prop_oneof![1_i64..120, 1_i64..20_000, 1_i64..900_000], 1..30),
        ) {
            let timing = Timing::Cron(Box::new(Cron::new(expression, zone).unwrap()));
            let mut next = timing.next_after(at(start)).unwrap();
            let first = next;
            let mut decided: Vec<(Moment, Fate)> = Vec::new();
            let mut now = start;
            for absence in absences {
                now += absence;
                let (mut fired, mut fired_late) = (0, 0);
                loop {
                    let mut view = view(&timing, 0, now, misfire, catch_up);
                    view.next = next;
                    let page = decide(&view, most);
                    next = page.next.unwrap();
                    if page.slots.is_empty() {
                        break;
                    }
                    for (slot, fate) in &page.slots {
                        prop_assert!(*slot <= at(now));
                        if *fate == Fate::Fire {
                            fired += 1;
                            fired_late += usize::from(at(now).since(*slot) > TOLERANCE);
                        }
                    }
                    decided.extend(page.slots);
                }
                prop_assert!(next > at(now), "the next slot is in the future");
                let most_late = match misfire { Misfire::Skip => 0, Misfire::One => 1, Misfire::All => catch_up };
                prop_assert!(fired_late <= most_late);
                let most_fired = match misfire { Misfire::Skip | Misfire::One => 1, Misfire::All => catch_up + 1 };
                prop_assert!(fired <= most_fired);
            }
            let slots: Vec<Moment> = decided.iter().map(|(slot, _)| *slot).collect();
            let expected: Vec<Moment> = std::iter::successors(Some(first), |last| timing.next_after(*last))
                .take_while(|slot| *slot <= at(now))
                .collect();
            prop_assert_eq!(slots, expected);
        }
    }
}
