//! What becomes of the slots of a schedule (spec/automations.md 3, docs/schedules.md).

use domain::automation::calendar::due::{Fate, Place, View, decide, place};
use domain::automation::calendar::{Overlap, ScheduleSpec, SkipReason};
use domain::moment::Moment;

use super::{at, seconds};
use crate::table::{Table, joined, parts};

const MINUTE: i64 = 60;

const USUAL: &[[&str; 4]] = &[
    ["{}", "skip", "skip", "5"],
    ["{\"misfire\":\"skip\"}", "skip", "skip", "5"],
    ["{\"misfire\":\"one\"}", "one", "skip", "5"],
    ["{\"misfire\":\"all\"}", "all", "queue", "5"],
    ["{\"misfire\":\"all\",\"overlap\":\"skip\"}", "all", "skip", "5"],
    ["{\"misfire\":\"all\",\"overlap\":\"allow\"}", "all", "allow", "5"],
    ["{\"overlap\":\"queue\"}", "skip", "queue", "5"],
    ["{\"maxCatchUp\":100}", "skip", "skip", "100"],
    ["{\"maxCatchUp\":0}", "skip", "skip", "1"],
    ["{\"maxCatchUp\":1000}", "skip", "skip", "100"],
];

const MISSED: &[[&str; 5]] = &[
    ["{}", "15:00", "-", "-", "15:00"],
    ["{}", "15:00", "15:00", "15 fires", "30:00"],
    ["{}", "15:00", "16:00", "15 fires", "30:00"],
    ["{}", "15:00", "16:01", "15 misfire", "30:00"],
    ["{}", "15:00", "45:30", "15 misfire; 30 misfire; 45 fires", "60:00"],
    ["{\"misfire\":\"one\"}", "15:00", "44:00", "15 misfire; 30 fires", "45:00"],
    ["{\"misfire\":\"one\"}", "15:00", "45:30", "15 misfire; 30 misfire; 45 fires", "60:00"],
    ["{\"misfire\":\"all\"}", "15:00", "45:30", "15 fires; 30 fires; 45 fires", "60:00"],
    ["{\"every\":\"1m\"}", "55:00", "56:20", "55 misfire; 56 fires", "57:00"],
    ["{\"every\":\"1m\",\"misfire\":\"one\"}", "55:00", "56:20", "55 misfire; 56 fires", "57:00"],
    ["{\"every\":\"1m\",\"misfire\":\"all\"}", "55:00", "56:20", "55 fires; 56 fires", "57:00"],
    ["{\"every\":\"20s\"}", "1:00", "1:45", "1 misfire; 1:20 misfire; 1:40 fires", "2:00"],
    ["{\"every\":\"20s\"}", "1:20", "1:40", "1:20 misfire; 1:40 fires", "2:00"],
    [
        "{\"every\":\"20s\",\"misfire\":\"one\"}",
        "1:00",
        "1:45",
        "1 misfire; 1:20 misfire; 1:40 fires",
        "2:00",
    ],
    ["{\"misfire\":\"all\"}", "15:00", "44:00", "15 fires; 30 fires", "45:00"],
    ["{\"misfire\":\"all\",\"maxCatchUp\":1}", "15:00", "44:00", "15 misfire; 30 fires", "45:00"],
    ["{\"misfire\":\"all\",\"maxCatchUp\":2}", "15:00", "59:00", "15 misfire; 30 fires; 45 fires", "60:00"],
    ["{\"misfire\":\"all\"}", "15:00", "44:00; paused", "15 paused; 30 paused", "45:00"],
    ["{}", "15:00", "15:30; paused", "15 paused", "30:00"],
    ["{\"misfire\":\"all\"}", "15:00", "44:00; draft", "15 draft; 30 draft", "45:00"],
    [
        "{\"misfire\":\"all\"}",
        "15:00",
        "59:00; rested from 20 to 40",
        "15 fires; 30 paused; 45 fires",
        "60:00",
    ],
    [
        "{\"misfire\":\"all\"}",
        "15:00",
        "59:00; rested from 30 to 45",
        "15 fires; 30 paused; 45 fires",
        "60:00",
    ],
    ["{\"misfire\":\"all\"}", "15:00", "59:00; forgets before 30", "30 fires; 45 fires", "60:00"],
    [
        "{\"misfire\":\"all\"}",
        "15:00",
        "60:30; room for 2",
        "15 queue_full; 30 queue_full; 45 fires; 60 fires",
        "75:00",
    ],
    [
        "{\"misfire\":\"one\"}",
        "15:00",
        "60:30; room for 1",
        "15 misfire; 30 misfire; 45 misfire; 60 fires",
        "75:00",
    ],
    ["{\"misfire\":\"all\"}", "15:00", "44:00; room for 0", "15 queue_full; 30 queue_full", "45:00"],
];

const PLACES: &[[&str; 4]] = &[
    ["skip", "no", "0", "starts"],
    ["skip", "yes", "0", "overlap"],
    ["skip", "no", "3", "starts"],
    ["queue", "no", "0", "starts"],
    ["queue", "yes", "0", "waits"],
    ["queue", "no", "1", "waits"],
    ["queue", "yes", "4", "waits"],
    ["queue", "yes", "5", "queue_full"],
    ["queue", "no", "5", "queue_full"],
    ["allow", "no", "0", "starts"],
    ["allow", "yes", "0", "starts"],
    ["allow", "yes", "9", "starts"],
];

fn spec(cell: &str) -> ScheduleSpec {
    let mut data: serde_json::Value = serde_json::from_str(cell).unwrap();
    data["name"] = "often".into();
    if data["every"].is_null() {
        data["every"] = "15m".into();
    }
    serde_json::from_value(data).unwrap()
}

fn usual(row: &[&str]) -> Vec<String> {
    let spec = spec(row[0]);
    vec![spec.misfire().to_string(), spec.overlap().to_string(), spec.catch_up().to_string()]
}

/// Minutes and seconds behind the anchor.
fn clock(text: &str) -> Moment {
    let (minutes, rest) = text.split_once(':').unwrap_or((text, "0"));
    at(minutes.parse::<i64>().unwrap() * MINUTE + rest.parse::<i64>().unwrap())
}

fn missed(row: &[&str]) -> Vec<String> {
    let spec = spec(row[0]);
    let timing = spec.timing(at(0)).unwrap();
    let mut view = View {
        timing: &timing,
        next: clock(row[1]),
        now: clock("14:59"),
        misfire: spec.misfire(),
        catch_up: spec.catch_up(),
        room: None,
        rests: None,
        rested: None,
        forget_before: Moment::from_micros(i64::MIN),
    };
    for part in parts(row[2]) {
        match part.split(' ').collect::<Vec<_>>()[..] {
            ["paused"] => view.rests = Some(SkipReason::Paused),
            ["draft"] => view.rests = Some(SkipReason::Draft),
            ["rested", "from", from, "to", to] => view.rested = Some((clock(from), clock(to))),
            ["forgets", "before", before] => view.forget_before = clock(before),
            ["room", "for", room] => view.room = Some(room.parse().unwrap()),
            [now] => view.now = clock(now),
            _ => panic!("unknown words {part}"),
        }
    }
    let page = decide(&view, 100);
    let say = |(slot, fate): (Moment, Fate)| {
        let shown = match (seconds(slot) / MINUTE, seconds(slot) % MINUTE) {
            (minute, 0) => minute.to_string(),
            (minute, second) => format!("{minute}:{second:02}"),
        };
        match fate {
            Fate::Fire => format!("{shown} fires"),
            Fate::Skip(reason) => format!("{shown} {reason}"),
        }
    };
    let next = page.next.map(seconds).unwrap();
    vec![joined(page.slots.into_iter().map(say)), format!("{}:{:02}", next / MINUTE, next % MINUTE)]
}

fn placed(row: &[&str]) -> Vec<String> {
    let overlap = Overlap::parse(row[0]).unwrap();
    vec![match place(overlap, row[1] == "yes", row[2].parse().unwrap(), 5) {
        Place::Start => "starts".to_owned(),
        Place::Wait => "waits".to_owned(),
        Place::Skip(reason) => reason.to_string(),
    }]
}

pub(super) fn tables() -> Vec<Table> {
    let missed_words = "A schedule of `every = \"15m\"`: its slots are the minutes 15, 30, 45 and so on; where the fields \
                        say another interval, the minutes and seconds of that. `first`: the first slot that nobody has \
                        dealt with. A slot is late a minute after its time, or when the next one has come. Each slot has a \
                        row, fired or not. `room`: how many may start or wait where slots take turns (`queue`).";
    let beside = "A slot that fires, while a run of its automation is not over or other slots wait, with \
                  `maxCatchUp` 5.";
    vec![
        Table::judged(
            ("What a schedule means when it does not say", "Several slots that are made up for take turns."),
            ["fields", "`misfire`", "`overlap`", "`maxCatchUp`"],
            1,
            USUAL,
            usual,
        ),
        Table::judged(
            ("Slots that have come", missed_words),
            ["fields", "first", "now", "slots", "next"],
            3,
            MISSED,
            missed,
        ),
        Table::judged(
            ("A slot beside a run", beside),
            ["`overlap`", "a run", "wait", "the slot"],
            3,
            PLACES,
            placed,
        ),
    ]
}

#[test]
fn every_slot_fires_or_says_why_not() {
    tables();
}
