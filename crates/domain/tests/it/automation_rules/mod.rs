//! The rules of automations, spec/automations.md 1.4, 2.1 to 2.4 and 3, as the tables of `docs/automation-rules.md`.
//!
//! The statuses of a run have a page of their own (`docs/automation-states.md`). A row is judged by the function of
//! `domain::automation` that the engine asks; none is judged by anything else.

mod admission;
mod endings;
mod gates;
mod next_steps;
mod operations;
mod schedules;
mod sweeps;

use domain::moment::Moment;

use crate::table::Table;

const PAGE: &str = include_str!("../../../../../docs/automation-rules.md");

const OPENING: &str = "# The rules of automations

What decides about automations and their runs, as tables. Each row is judged by the function that the server asks, and a
test compares this page with the rows (`crates/domain/tests/it/automation_rules`). The statuses of a run are in
[automation-states.md](automation-states.md), what a person needs of all this in [automations.md](automations.md) and
[schedules.md](schedules.md). Times are in seconds. A cell with `-` is nothing.
";

/// A moment, in seconds.
const fn at(seconds: i64) -> Moment {
    Moment::from_micros(seconds * 1_000_000)
}

fn seconds(moment: Moment) -> i64 {
    moment.micros().div_euclid(1_000_000)
}

fn tables() -> Vec<Table> {
    [
        admission::tables(),
        next_steps::tables(),
        endings::tables(),
        sweeps::tables(),
        gates::tables(),
        operations::tables(),
        schedules::tables(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn the_page_shows_these_tables() {
    let tables = tables();
    let rows: usize = tables.iter().map(Table::rows).sum();
    assert!(rows > 300, "only {rows} rows");
    let mut text = OPENING.to_owned();
    for table in &tables {
        text.push('\n');
        text.push_str(&table.print());
    }
    assert!(PAGE == text, "write this into docs/automation-rules.md:\n\n{text}");
}
