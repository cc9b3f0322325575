//! What a new definition does to the plans of a schedule.
//!
//! The name makes it the same schedule. While its slots stay the same nothing is forgotten: what was due stays due. When
//! they change, it plans anew from the moment of the change, and what the old ones missed is nobody's business any more.
//!
//! A slot that was dealt with is never planned once more on the same grid, also when the clock was set back meanwhile.
//! Slots of another grid are slots of their own; where one falls together with one that was dealt with, it is passed over
//! when it comes.

use super::due::TOLERANCE;
use super::{ScheduleSpec, Timing};
use crate::automation::Problem;
use crate::moment::Moment;

/// Where a schedule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Where the grid of an interval begins.
    pub anchor: Moment,
    /// The first slot that nobody has dealt with; `None`: it plans nothing.
    pub next: Option<Moment>,
}

/// The plan of a schedule from now on; `before` is what it was, and where it stood, and `last` its newest slot that was
/// dealt with.
pub fn plan(
    before: Option<(&ScheduleSpec, Plan)>,
    last: Option<Moment>,
    spec: &ScheduleSpec,
    now: Moment,
) -> Result<Plan, Problem> {
    let kept = before.filter(|(old, _)| old.has_timing_of(spec)).map(|(_, plan)| plan);
    // Slots to the second are what people read, and write down.
    let whole_second = Moment::from_micros(now.micros().div_euclid(1_000_000) * 1_000_000);
    let anchor = kept.map_or(whole_second, |plan| plan.anchor);
    let timing = spec.timing(anchor)?;
    let next = match kept {
        _ if !spec.is_enabled() => None,
        Some(Plan { next: Some(planned), .. }) => Some(planned),
        Some(Plan { next: None, .. }) => timing.next_after(last.map_or(now, |last| last.max(now))),
        None => timing.next_after(now),
    };
    Ok(Plan { anchor, next })
}

/// The next slots of a schedule that nobody has dealt with before `next`, at most so many. What is due already is no more
/// to come.
pub fn upcoming(timing: &Timing, next: Moment, now: Moment, count: usize) -> Vec<Moment> {
    if next <= now {
        return timing.upcoming(now, count);
    }
    let rest = timing.upcoming(next, count.saturating_sub(1));
    std::iter::once(next).chain(rest).take(count).collect()
}

/// True when slots that are still to come by the clock were dealt with: it was ahead, and was set back. They do not come
/// again, and nothing fires before `next`. Clocks of two servers differ a little; that is none of it.
pub fn was_set_back(timing: &Timing, (last, next): (Option<Moment>, Option<Moment>), now: Moment) -> bool {
    let is_ahead = last.is_some_and(|last| last.since(now) > TOLERANCE);
    is_ahead && next.is_some_and(|next| timing.next_after(now).is_some_and(|first| first < next))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn spec(data: Json) -> ScheduleSpec {
        serde_json::from_value(data).unwrap()
    }

    const fn at(seconds: i64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    const fn stands(anchor: i64, next: Option<i64>) -> Plan {
        Plan {
            anchor: at(anchor),
            next: match next {
                Some(next) => Some(at(next)),
                None => None,
            },
        }
    }

    #[test]
    fn a_schedule_keeps_its_plans_while_its_slots_stay_the_same() {
        let minute = spec(json!({ "name": "n", "every": "1m" }));
        let off = spec(json!({ "name": "n", "every": "1m", "enabled": false }));
        let other = spec(json!({ "name": "n", "every": "1m", "inputs": { "a": 1 }, "misfire": "one" }));
        let two = spec(json!({ "name": "n", "every": "2m" }));
        let hourly = spec(json!({ "name": "n", "cron": "0 * * * *" }));
        let rows = [
            ("new", None, &minute, stands(1000, Some(1060))),
            ("new, by the clock", None, &hourly, stands(1000, Some(3600))),
            ("new and switched off", None, &off, stands(1000, None)),
            ("unchanged", Some((&minute, stands(30, Some(1050)))), &minute, stands(30, Some(1050))),
            ("other inputs", Some((&minute, stands(30, Some(1050)))), &other, stands(30, Some(1050))),
            ("overdue, it stays so", Some((&minute, stands(30, Some(90)))), &other, stands(30, Some(90))),
            ("another interval", Some((&minute, stands(30, Some(90)))), &two, stands(1000, Some(1120))),
            (
                "a clock in its place",
                Some((&minute, stands(30, Some(90)))),
                &hourly,
                stands(1000, Some(3600)),
            ),
            ("switched off", Some((&minute, stands(30, Some(90)))), &off, stands(30, None)),
            ("switched on, on its old grid", Some((&off, stands(30, None))), &minute, stands(30, Some(1050))),
        ];
        for (what, before, spec, expected) in rows {
            assert_eq!(plan(before, None, spec, at(1000)), Ok(expected), "{what}");
            assert_eq!(plan(before, Some(at(900)), spec, at(1000)), Ok(expected), "{what}");
        }
    }

    #[test]
    fn what_was_dealt_with_is_not_planned_once_more_whatever_the_clock_did() {
        let minute = spec(json!({ "name": "n", "every": "1m" }));
        let off = spec(json!({ "name": "n", "every": "1m", "enabled": false }));
        let two = spec(json!({ "name": "n", "every": "2m" }));
        let rows = [
            (
                "switched on, the clock was ahead",
                Some((&off, stands(30, None))),
                &minute,
                stands(30, Some(5070)),
            ),
            (
                "it waits for the clock",
                Some((&minute, stands(30, Some(5070)))),
                &minute,
                stands(30, Some(5070)),
            ),
            // Another grid has other slots.
            ("another interval", Some((&minute, stands(30, Some(5070)))), &two, stands(1000, Some(1120))),
        ];
        for (what, before, spec, expected) in rows {
            assert_eq!(plan(before, Some(at(5010)), spec, at(1000)), Ok(expected), "{what}");
        }
        // A clock that is a little behind that of the server which dealt with it.
        let back =
            plan(Some((&off, stands(30, None))), Some(at(1050)), &minute, Moment::from_micros(1_049_900_000));
        assert_eq!(back, Ok(stands(30, Some(1110))));
    }

    #[test]
    fn the_next_slots_begin_with_the_one_that_is_planned() {
        let timing = spec(json!({ "name": "n", "every": "1m" })).timing(at(0)).unwrap();
        let seconds =
            |slots: Vec<Moment>| slots.iter().map(|slot| slot.micros() / 1_000_000).collect::<Vec<_>>();
        assert_eq!(seconds(upcoming(&timing, at(120), at(100), 3)), [120, 180, 240]);
        // The clock was set back.
        assert_eq!(seconds(upcoming(&timing, at(6000), at(100), 2)), [6000, 6060]);
        assert_eq!(seconds(upcoming(&timing, at(60), at(100), 2)), [120, 180]);
        assert!(upcoming(&timing, at(120), at(100), 0).is_empty());
    }

    #[test]
    fn a_clock_that_was_set_back_is_told_from_one_that_is_a_little_behind() {
        let timing = spec(json!({ "name": "n", "every": "10s" })).timing(at(0)).unwrap();
        for (last, next, expected) in [
            (None, Some(at(110)), false),
            (Some(at(100)), Some(at(110)), false),
            (Some(at(150)), Some(at(160)), false),
            (Some(at(170)), Some(at(180)), true),
            // It plans anew: what it fires next is the first slot behind now.
            (Some(at(170)), Some(at(110)), false),
            (Some(at(170)), None, false),
        ] {
            assert_eq!(was_set_back(&timing, (last, next), at(101)), expected, "{last:?} {next:?}");
        }
    }

    #[test]
    fn a_grid_begins_at_a_whole_second() {
        let often = spec(json!({ "name": "n", "every": "10s" }));
        let plan = plan(None, None, &often, Moment::from_micros(1_999_999));
        assert_eq!(plan, Ok(stands(1, Some(11))));
    }

    #[test]
    fn what_has_no_slots_has_no_plan() {
        let wrong = spec(json!({ "name": "n", "cron": "0 0 31 2 *" }));
        assert_eq!(plan(None, None, &wrong, at(0)).unwrap_err().path, "cron");
    }
}
