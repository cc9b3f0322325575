//! The figures, one file each. A figure prepares what it needs, measures in turns with its limit, and clears up.

mod engine_alone;
mod flush;
mod history;
mod keepers;

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
