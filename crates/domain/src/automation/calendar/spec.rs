//! A schedule as people write it, and what is wrong with it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::cron::{self, Cron, Mistake};
use super::{Every, Misfire, Overlap, Timing};
use crate::automation::Problem;
use crate::automation::check::is_name;
use crate::automation::definition::Definition;
use crate::moment::Moment;

/// Schedules of one automation.
pub const MOST_SCHEDULES: usize = 50;
/// Missed slots that are made up for when `maxCatchUp` does not say.
pub const CATCH_UP: u32 = 5;
/// The largest `maxCatchUp`.
pub const MOST_CATCH_UP: u32 = 100;

/// When an automation starts by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Unique within the automation: a schedule that is changed keeps its slots by it.
    pub name: String,
    /// A cron expression of five fields, or of six beginning with seconds. Either this or `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// An interval, as in `15m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Every>,
    /// Whose clock the expression means: a name such as `Europe/Berlin`; UTC when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What is done about slots that were missed; `skip` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfire: Option<Misfire>,
    /// How many of them are made up for, and how many may wait: 1 to 100, 5 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_catch_up: Option<u32>,
    /// What a slot does while a run of the automation is not over; `skip` when left out, `queue` with `misfire = "all"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// What its runs are started with.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub inputs: Map<String, Json>,
    /// False: it plans nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

impl ScheduleSpec {
    pub fn misfire(&self) -> Misfire {
        self.misfire.unwrap_or(Misfire::Skip)
    }

    /// Several slots that are made up for at once would skip each other: then they take turns, unless it is said.
    pub fn overlap(&self) -> Overlap {
        self.overlap.unwrap_or(match self.misfire() {
            Misfire::Skip | Misfire::One => Overlap::Skip,
            Misfire::All => Overlap::Queue,
        })
    }

    pub fn catch_up(&self) -> usize {
        self.max_catch_up.unwrap_or(CATCH_UP).clamp(1, MOST_CATCH_UP) as usize
    }

    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    /// The place whose clock it goes by.
    pub fn timezone(&self) -> &str {
        self.timezone.as_deref().unwrap_or(cron::UTC)
    }

    /// Its slots; those of an interval begin at the anchor. The paths of what is wrong are within the schedule.
    pub fn timing(&self, anchor: Moment) -> Result<Timing, Problem> {
        match (&self.cron, self.every) {
            (Some(expression), None) => match Cron::new(expression, self.timezone()) {
                Ok(cron) => Ok(Timing::Cron(Box::new(cron))),
                Err(Mistake::Expression(why)) => {
                    Err(Problem::new("cron", why, "minute hour day month weekday, as in `30 2 * * MON-FRI`"))
                }
                Err(Mistake::Zone(why)) => {
                    Err(Problem::new("timezone", why, "give its name, as in `Europe/Berlin`"))
                }
            },
            (None, Some(every)) if self.timezone.is_none() => Ok(Timing::Every { anchor, every }),
            (None, Some(_)) => Err(Problem::new(
                "timezone",
                "means nothing to an interval",
                "leave it out, or write `cron` in place of `every`",
            )),
            (Some(_), Some(_)) => {
                Err(Problem::new("every", "cannot stand beside `cron`", "leave one of the two out"))
            }
            (None, None) => Err(Problem::new("cron", "is missing", "say `cron` or `every`")),
        }
    }

    /// True when both have the same slots, once their intervals begin at the same moment.
    pub fn has_timing_of(&self, other: &ScheduleSpec) -> bool {
        (&self.cron, self.every, self.timezone()) == (&other.cron, other.every, other.timezone())
    }

    fn check(&self, path: &str, definition: &Definition) -> Vec<Problem> {
        let at = |field: &str| format!("{path}.{field}");
        let mut problems = Vec::new();
        if !is_name(&self.name) {
            let hint = "letters, digits, - and _, beginning with a letter, at most 100";
            problems.push(Problem::new(at("name"), format!("`{}` is not a name", self.name), hint));
        }
        if let Err(problem) = self.timing(Moment::from_micros(0)) {
            problems.push(Problem { path: at(&problem.path), ..problem });
        }
        if let Some(count) = self.max_catch_up
            && !(1..=MOST_CATCH_UP).contains(&count)
        {
            let message = format!("must be between 1 and {MOST_CATCH_UP}");
            problems.push(Problem::new(
                at("maxCatchUp"),
                message,
                "`misfire = \"skip\"` makes up for nothing",
            ));
        }
        // Nobody is there to be asked for an input when it fires.
        if let Err(missing) = definition.inputs(&self.inputs) {
            let hint = "give it under the schedule's inputs, or a default under the automation's";
            problems.extend(missing.into_iter().map(|it| Problem::new(at(&it.path), it.message, hint)));
        }
        problems
    }
}

/// What is wrong with the schedules of a definition; paths begin with `schedules`.
pub fn check(definition: &Definition) -> Vec<Problem> {
    let schedules = &definition.schedules;
    if schedules.len() > MOST_SCHEDULES {
        let message = format!("has more than {MOST_SCHEDULES} entries");
        return vec![Problem::new("schedules", message, "a cron expression may name many times")];
    }
    let mut problems = Vec::new();
    for (number, schedule) in schedules.iter().enumerate() {
        let path = format!("schedules[{number}]");
        problems.extend(schedule.check(&path, definition));
        if schedules[..number].iter().any(|earlier| earlier.name == schedule.name) {
            let message = format!("`{}` is there twice", schedule.name);
            problems.push(Problem::new(
                format!("{path}.name"),
                message,
                "give each schedule a name of its own",
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::automation::definition;

    fn spec(data: Json) -> ScheduleSpec {
        serde_json::from_value(data).unwrap()
    }

    /// The problems of a definition with these schedules.
    fn check(schedules: Vec<ScheduleSpec>) -> Vec<Problem> {
        let mut definition = definition::read(&json!({
            "name": "notes", "nodes": [], "inputs": { "since": { "type": "string", "default": "v1" } },
        }))
        .unwrap();
        definition.schedules = schedules;
        super::check(&definition)
    }

    #[test]
    fn a_schedule_is_read_and_written_the_same() {
        for data in [
            json!({ "name": "nightly", "cron": "30 2 * * *", "timezone": "Europe/Berlin", "misfire": "all",
                "maxCatchUp": 3, "overlap": "allow", "inputs": { "deep": true }, "enabled": false }),
            json!({ "name": "often", "every": "15m" }),
        ] {
            assert_eq!(serde_json::to_value(spec(data.clone())).unwrap(), data);
        }
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let usual = spec(json!({ "name": "n", "every": 60 }));
        assert_eq!((usual.misfire(), usual.overlap(), usual.catch_up()), (Misfire::Skip, Overlap::Skip, 5));
        assert!(usual.is_enabled() && usual.timezone() == "UTC");
        // Who wants several made up for does not want them to skip each other, unless that is said.
        for (misfire, overlap) in [("one", Overlap::Skip), ("all", Overlap::Queue)] {
            assert_eq!(spec(json!({ "name": "n", "every": 60, "misfire": misfire })).overlap(), overlap);
        }
        let said = spec(json!({ "name": "n", "every": 60, "misfire": "all", "overlap": "skip" }));
        assert_eq!(said.overlap(), Overlap::Skip);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        let rows = [
            (json!({ "name": "n" }), "cron", "is missing"),
            (json!({ "name": "n", "cron": "* * * * *", "every": "1m" }), "every", "beside `cron`"),
            (json!({ "name": "n", "cron": "61 * * * *" }), "cron", "no cron expression"),
            (json!({ "name": "n", "cron": "0 0 31 2 *" }), "cron", "never fires"),
            (
                json!({ "name": "n", "cron": "0 2 * * *", "timezone": "Berlin" }),
                "timezone",
                "not a time zone",
            ),
            (json!({ "name": "n", "every": "1m", "timezone": "UTC" }), "timezone", "nothing to an interval"),
            (json!({ "name": "n", "every": "1m", "maxCatchUp": 0 }), "maxCatchUp", "between 1 and 100"),
            (json!({ "name": "n", "every": "1m", "maxCatchUp": 101 }), "maxCatchUp", "between 1 and 100"),
            (json!({ "name": "", "every": "1m" }), "name", "is not a name"),
            (json!({ "name": "every night", "every": "1m" }), "name", "is not a name"),
            (json!({ "name": "n".repeat(101), "every": "1m" }), "name", "is not a name"),
            (
                json!({ "name": "n", "every": "1m", "inputs": { "sinse": "v2" } }),
                "inputs.sinse",
                "not an input",
            ),
            (
                json!({ "name": "n", "every": "1m", "inputs": { "since": 2 } }),
                "inputs.since",
                "must be a string",
            ),
        ];
        for (data, field, message) in rows {
            let problems = check(vec![spec(data)]);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].path, format!("schedules[0].{field}"));
            assert!(problems[0].message.contains(message), "{problems:?}");
        }
        let every = |name: &str| spec(json!({ "name": name, "every": "1m" }));
        let problems = check(vec![every("a"), every("b"), every("a")]);
        assert_eq!(problems[0].path, "schedules[2].name");
        let many: Vec<ScheduleSpec> =
            (0..=MOST_SCHEDULES).map(|number| every(&format!("n{number}"))).collect();
        assert!(check(many[1..].to_vec()).is_empty());
        assert_eq!(check(many)[0].path, "schedules");
    }

    #[test]
    fn a_schedule_gives_every_input_that_a_run_needs() {
        let definition = |inputs: Json| {
            let schedule = json!({ "name": "n", "every": "1m", "inputs": inputs });
            let data =
                json!({ "name": "notes", "nodes": [], "inputs": { "to": {} }, "schedules": [schedule] });
            super::check(&definition::read(&data).unwrap())
        };
        let problems = definition(json!({}));
        assert_eq!(
            (problems[0].path.as_str(), problems[0].message.as_str()),
            ("schedules[0].inputs.to", "is missing")
        );
        assert!(definition(json!({ "to": "all" })).is_empty());
    }

    #[test]
    fn fields_that_nobody_knows_and_intervals_that_are_too_short_are_refused_when_read() {
        for (data, message) in [
            (json!({ "name": "n", "evry": "1m" }), "unknown field `evry`"),
            (json!({ "name": "n", "every": "0s" }), "one second at least"),
            (json!({ "name": "n", "misfire": "run_once" }), "unknown value `run_once`"),
            (json!({ "cron": "* * * * *" }), "missing field `name`"),
        ] {
            let error = serde_json::from_value::<ScheduleSpec>(data).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_change_of_inputs_or_policy_is_no_change_of_timing() {
        let cron = spec(json!({ "name": "n", "cron": "0 2 * * *" }));
        let other = spec(
            json!({ "name": "m", "cron": "0 2 * * *", "timezone": "UTC", "misfire": "one", "inputs": { "a": 1 } }),
        );
        assert!(cron.has_timing_of(&other));
        for data in [
            json!({ "name": "n", "cron": "0 3 * * *" }),
            json!({ "name": "n", "cron": "0 2 * * *", "timezone": "Europe/Berlin" }),
            json!({ "name": "n", "every": "1d" }),
        ] {
            assert!(!cron.has_timing_of(&spec(data)));
        }
    }
}
