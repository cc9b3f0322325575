//! What a new definition does to the plans of a schedule.
//!
//! The name makes it the same schedule. While its slots stay the same nothing is forgotten: what was due stays due. When
//! they change, it plans anew from the moment of the change, and what the old ones missed is nobody's business any more.

use super::ScheduleSpec;
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

/// The plan of a schedule from now on; `before` is what it was, and where it stood.
pub fn plan(
    before: Option<(&ScheduleSpec, Plan)>,
    spec: &ScheduleSpec,
    now: Moment,
) -> Result<Plan, Problem> {
    let kept = before.filter(|(old, _)| old.has_timing_of(spec)).map(|(_, plan)| plan);
    // Slots to the second are what people read, and write down.
    let whole_second = Moment::from_micros(now.micros().div_euclid(1_000_000) * 1_000_000);
    let anchor = kept.map_or(whole_second, |plan| plan.anchor);
    let timing = spec.timing(anchor)?;
    let next = match kept.and_then(|plan| plan.next) {
        _ if !spec.is_enabled() => None,
        Some(planned) => Some(planned),
        None => timing.next_after(now),
    };
    Ok(Plan { anchor, next })
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
            assert_eq!(plan(before, spec, at(1000)), Ok(expected), "{what}");
        }
    }

    #[test]
    fn a_grid_begins_at_a_whole_second() {
        let plan = plan(None, &spec(json!({ "name": "n", "every": "10s" })), Moment::from_micros(1_999_999));
        assert_eq!(plan, Ok(stands(1, Some(11))));
    }

    #[test]
    fn what_has_no_slots_has_no_plan() {
        let wrong = spec(json!({ "name": "n", "cron": "0 0 31 2 *" }));
        assert_eq!(plan(None, &wrong, at(0)).unwrap_err().path, "cron");
    }
}
