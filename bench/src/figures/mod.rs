//! The figures, one file each. A figure prepares what it needs, measures in turns with its limit, and clears up.

mod automations;
mod engine_alone;
mod flush;
mod history;
mod idle;
mod issues;
mod keepers;
mod listing;
mod live_line;
mod log_intake;
mod restart;
mod wake;
mod whole_lives;

use anyhow::Result;

use crate::bench::Bench;
use crate::figure::Row;

/// One figure, or a few that share their preparation.
pub(crate) struct Figures {
    pub(crate) name: &'static str,
    pub(crate) purpose: &'static str,
    pub(crate) measure: fn(&Bench) -> Result<Vec<Row>>,
}

/// All of them, in the order in which they are measured.
pub(crate) const ALL: &[Figures] = &[
    Figures { name: "flush", purpose: "one small durable append", measure: flush::measure },
    Figures { name: "keepers", purpose: "starting keepers, their memory", measure: keepers::measure },
    Figures { name: "engine", purpose: "the engine without processes", measure: engine_alone::measure },
    Figures { name: "history", purpose: "a run's life with much stored", measure: history::measure },
    Figures { name: "wake", purpose: "from the request to the first instruction", measure: wake::measure },
    Figures {
        name: "lives",
        purpose: "wakes of `true` through the whole life",
        measure: whole_lives::measure,
    },
    Figures { name: "log", purpose: "a run that prints without end", measure: log_intake::measure },
    Figures { name: "line", purpose: "from a printed line to its subscribers", measure: live_line::measure },
    Figures {
        name: "restart",
        purpose: "a hundred live runs and a killed server",
        measure: restart::measure,
    },
    Figures { name: "list", purpose: "listing and starting with much stored", measure: listing::measure },
    Figures { name: "issues", purpose: "very many open issues", measure: issues::measure },
    Figures {
        name: "automations",
        purpose: "changes of automation runs with many stored",
        measure: automations::changes,
    },
    Figures {
        name: "automation-start",
        purpose: "starting with many automation runs stored",
        measure: automations::start,
    },
    Figures { name: "idle", purpose: "a server with nothing to do", measure: idle::measure },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_a_name_of_its_own() {
        let mut names: Vec<&str> = ALL.iter().map(|one| one.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
