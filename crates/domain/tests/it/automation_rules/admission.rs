//! Which waiting run begins (spec/automations.md 2.1).

use std::collections::BTreeMap;

use domain::automation::admission::{Fate, Taken, Throttle, Waiting, admit};
use domain::ids::{AutomationId, AutomationRunId};

use super::{at, seconds};
use crate::table::{Table, joined, parts};

const NOW: i64 = 1_000;

/// Runs that wait, what is at work, how many may be, and what becomes of each in the order in which they are looked at.
const ORDER: &[[&str; 4]] = &[
    ["a 2@10", "-", "8", "a begins"],
    ["a 2@10; b 2@20", "-", "8", "a begins; b begins"],
    ["a 2@20; b 2@10", "-", "8", "b begins; a begins"],
    ["a 2@20; b 2@10", "-", "1", "b begins; a capacity"],
    ["b 2@10; a 2@10", "-", "1", "a begins; b capacity"],
    ["a 2@10; b 1@900", "-", "1", "b begins; a capacity"],
    ["a 3@10; b 2@20; c 1@30; d 0@40", "-", "2", "d begins; c begins; b capacity; a capacity"],
];

const TURNS: &[[&str; 4]] = &[
    ["a 2@10 of x; b 2@20 of x; c 2@30 of y", "-", "8", "a begins; c begins; b begins"],
    ["a 2@10 of x; b 2@20 of x; c 2@30 of y", "-", "2", "a begins; c begins; b capacity"],
    ["a 2@10 of x; b 1@20 of x; c 2@30 of y", "-", "1", "b begins; a capacity; c capacity"],
    ["a 2@10 of x; c 2@30 of y", "r of x", "2", "c begins; a capacity"],
    ["a 2@10 of x; c 2@30 of y", "r of x; s of y", "3", "a begins; c capacity"],
    ["a 1@10 of x; c 2@30 of y", "r of x", "2", "a begins; c capacity"],
    ["a 2@10 of x paused; b 2@20 of x; c 2@30 of y", "-", "1", "a paused; b begins; c capacity"],
    ["a 2@10 of x agent Ada; b 2@20 of x; c 2@30 of y", "-", "1", "a paused agent Ada; b begins; c capacity"],
    [
        "a 2@10 /w of x; b 2@20 /w of x; c 2@30 /w of y",
        "-",
        "8",
        "a begins; c workspace_lock /w; b workspace_lock /w",
    ],
];

const CAPACITY: &[[&str; 4]] = &[
    ["a 2@10", "r; s", "2", "a capacity"],
    ["a 2@10", "r; s", "3", "a begins"],
    ["a 2@10; b 2@20", "r; s", "3", "a begins; b capacity"],
    ["a 2@10", "r; s; t", "2", "a capacity"],
    ["a 0@10", "-", "0", "a capacity"],
];

const WORKSPACES: &[[&str; 4]] = &[
    ["a 2@10 /w", "-", "8", "a begins"],
    ["a 2@10 /w", "r /w", "8", "a workspace_lock /w"],
    ["a 2@10 /w/x", "r /w", "8", "a workspace_lock /w"],
    ["a 2@10 /w", "r /w/x", "8", "a workspace_lock /w/x"],
    ["a 2@10 /wx", "r /w", "8", "a begins"],
    ["a 2@10 /v", "r /w", "8", "a begins"],
    ["a 2@10", "r /w", "8", "a begins"],
    ["a 2@10 /w", "r", "8", "a begins"],
    ["a 2@10 /w; b 2@20 /w", "-", "8", "a begins; b workspace_lock /w"],
    ["a 2@10 /w; b 1@20 /w", "-", "8", "b begins; a workspace_lock /w"],
    ["a 2@10 /w; b 2@20 /v", "r /w", "8", "a workspace_lock /w; b begins"],
    ["a 2@10 /w; b 2@20; c 2@30 /v", "r /w", "2", "a workspace_lock /w; b begins; c capacity"],
    ["a 2@10 /w; b 2@20 /w/x", "r /w/y", "8", "a workspace_lock /w/y; b workspace_lock /w"],
    ["a 2@10 /w; b 2@20 /w", "r", "1", "a capacity; b workspace_lock /w"],
    [
        "a 2@10 /w; b 2@20 /v; c 2@30 /w; d 2@40 /v",
        "-",
        "8",
        "a begins; b begins; c workspace_lock /w; d workspace_lock /v",
    ],
];

const OWN_REASONS: &[[&str; 4]] = &[
    ["a 2@10 paused", "-", "8", "a paused"],
    ["a 1@10 /w paused; b 2@20 /w", "-", "1", "a paused; b begins"],
    ["a 2@10 agent Ada", "-", "8", "a paused agent Ada"],
    ["a 1@10 /w agent Ada; b 2@20 /w", "-", "1", "a paused agent Ada; b begins"],
    ["a 2@10 paused agent Ada", "-", "8", "a paused"],
    ["a 2@10 agent Ada retry 1001 account acme", "-", "8", "a paused agent Ada"],
    ["a 2@10 /w agent Ada", "r /w", "1", "a paused agent Ada"],
    ["a 2@10 retry 1001", "-", "8", "a retry_backoff until 1001"],
    ["a 2@10 retry 1000", "-", "8", "a begins"],
    ["a 2@10 retry 999", "-", "8", "a begins"],
    ["a 1@10 /w retry 1001; b 2@20 /w", "-", "1", "a retry_backoff until 1001; b begins"],
    ["a 2@10 account acme", "-", "8", "a rate_limit acme"],
    ["a 2@10 account acme free 1100", "-", "8", "a rate_limit acme until 1100"],
    ["a 1@10 /w account acme; b 2@20 /w", "-", "1", "a rate_limit acme; b begins"],
    ["a 2@10 /w paused retry 1001 account acme", "r /w", "1", "a paused"],
    ["a 2@10 /w retry 1001 account acme", "r /w", "1", "a retry_backoff until 1001"],
    ["a 2@10 /w account acme", "r /w", "1", "a rate_limit acme"],
    ["a 2@10 /w", "r /w", "1", "a workspace_lock /w"],
    ["a 2@10 /w", "r /v", "1", "a capacity"],
];

const FOLDERS: &[[&str; 3]] = &[
    ["/w", "/w", "yes"],
    ["/w", "/w/x", "yes"],
    ["/w/x", "/w", "yes"],
    ["/w/x/y", "/w", "yes"],
    ["/w/x", "/w/y", "no"],
    ["/w", "/wx", "no"],
    ["/w", "/v", "no"],
    ["/", "/w", "yes"],
    ["/w", "/", "yes"],
];

/// `a 2@10 /w of x paused agent Ada retry 1001 account acme free 1100`: the run a of priority 2 has waited since 10.
fn waiting(text: &str) -> Waiting {
    let mut words = text.split(' ');
    let id = words.next().unwrap();
    let (priority, since) = words.next().unwrap().split_once('@').unwrap();
    let mut run = Waiting {
        id: AutomationRunId::from(id),
        automation: AutomationId::from("one"),
        priority: priority.parse().unwrap(),
        queued_at: at(since.parse().unwrap()),
        root: None,
        not_before: None,
        is_paused: false,
        paused_agent: None,
        throttled: None,
    };
    while let Some(word) = words.next() {
        if word == "of" {
            run.automation = AutomationId::from(words.next().unwrap());
            continue;
        }
        if word == "agent" {
            run.paused_agent = Some(format!("agent {}", words.next().unwrap()));
            continue;
        }
        let mut number = || at(words.next().unwrap().parse().unwrap());
        match word {
            "paused" => run.is_paused = true,
            "retry" => run.not_before = Some(number()),
            "account" => {
                let account = words.next().unwrap().to_owned();
                run.throttled = Some(Throttle { account, until: None });
            }
            "free" => run.throttled.as_mut().unwrap().until = Some(number()),
            root => run.root = Some(root.to_owned()),
        }
    }
    run
}

fn judge(row: &[&str]) -> Vec<String> {
    let runs: Vec<Waiting> = parts(row[0]).map(waiting).collect();
    let at_work: Vec<&str> = parts(row[1]).collect();
    let root = |text: &&str| {
        let (id, root) = text.split_once(' ').filter(|(_, root)| root.starts_with('/'))?;
        Some((AutomationRunId::from(id), root.to_owned()))
    };
    let automation = |text: &&str| text.split_once(" of ").map(|(_, name)| AutomationId::from(name));
    let taken = Taken {
        running: at_work.len(),
        most: row[2].parse().unwrap(),
        roots: at_work.iter().filter_map(root).collect(),
        by_automation: at_work.iter().filter_map(automation).fold(BTreeMap::new(), |mut all, name| {
            *all.entry(name).or_default() += 1;
            all
        }),
    };
    let say = |(id, fate): (AutomationRunId, Fate)| match fate {
        Fate::Admitted => format!("{id} begins"),
        Fate::Held { reason, resource, until } => {
            let resource = resource.map(|it| format!(" {it}")).unwrap_or_default();
            let until = until.map(|it| format!(" until {}", seconds(it))).unwrap_or_default();
            format!("{id} {reason}{resource}{until}")
        }
    };
    vec![joined(admit(&runs, &taken, at(NOW)).into_iter().map(say))]
}

const COLUMNS: [&str; 4] = ["runs that wait", "at work", "places", "what becomes of them"];

/// A run at work in one folder keeps another one out of the other folder.
fn shuts_out(one: &str, other: &str) -> bool {
    let waiting = Waiting {
        id: AutomationRunId::from("b"),
        automation: AutomationId::from("one"),
        priority: 2,
        queued_at: at(1),
        root: Some(other.to_owned()),
        not_before: None,
        is_paused: false,
        paused_agent: None,
        throttled: None,
    };
    let roots = vec![(AutomationRunId::from("a"), one.to_owned())];
    let taken = Taken { running: 1, most: 8, roots, ..Taken::default() };
    admit(&[waiting], &taken, at(NOW)).iter().all(|(_, fate)| *fate != Fate::Admitted)
}

pub(super) fn tables() -> Vec<Table> {
    let order = "`a 2@10` is a run a of priority 2 (0 is `critical`, 3 is `low`) that has waited since the \
                 second 10. Now is the second 1000. `r /w` is a run at work in the folder `/w`.";
    let turns = "Of one priority, automations take turns: `a 2@10 of x` is a run of the automation x, `r of x` one that \
                 is at work and has had its turn. Who cannot begin for a reason of its own takes no turn.";
    let workspaces = "A run holds its folder while it is at work. One that waits for its folder holds up those \
                      behind it that want the same one, and nobody else.";
    let own = "A run that cannot begin for a reason of its own keeps nobody out. `paused` is a run of a paused \
               automation, `agent Ada` one whose first steps are all of agents that are paused, Ada among them. The \
               first reason of these is the one that is shown as `queueReason`: `paused`, `retry_backoff`, \
               `rate_limit`, `workspace_lock`, `capacity`.";
    vec![
        Table::judged(("Who begins first", order), COLUMNS, 3, ORDER, judge),
        Table::judged(("Whose turn it is", turns), COLUMNS, 3, TURNS, judge),
        Table::judged(
            ("As many as there are places", "A server has so many runs at work at once, at the most."),
            COLUMNS,
            3,
            CAPACITY,
            judge,
        ),
        Table::judged(("One run in a workspace", workspaces), COLUMNS, 3, WORKSPACES, judge),
        Table::judged(("What a run waits for", own), COLUMNS, 3, OWN_REASONS, judge),
        Table::judged(
            ("Folders that are one workspace", "Canonical paths, by whole components."),
            ["one folder", "another", "same workspace"],
            2,
            FOLDERS,
            |row| vec![if shuts_out(row[0], row[1]) { "yes".to_owned() } else { "no".to_owned() }],
        ),
    ]
}

#[test]
fn every_row_on_admission_is_what_is_decided() {
    assert_eq!(tables().len(), 6);
}
