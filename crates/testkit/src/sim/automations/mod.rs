//! Automations in a simulation: random small graphs, runs of them, persons at their gates, and what must hold meanwhile.
//!
//! They share agents, budgets, crashes and time with all else that is played. Agents of steps do what an agent may do: what
//! was asked, something else, nothing; they say that they are blocked or that there was nothing to do.

mod acts;
mod graphs;
mod records;
mod rules;
mod trail;

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::ids::{AutomationId, AutomationRunId, GateId};

pub(crate) use records::Work;
pub(crate) use rules::{Sight, at_any_time, at_rest, due, reasons, unrest};
pub(crate) use trail::Trail;

/// Automation runs at work at once: few, so that some wait for a place.
pub(crate) const PLACES: u32 = 3;

/// What the simulation itself knows of automations.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Those that somebody was told of, by the number in their name.
    pub(crate) automations: BTreeMap<u64, AutomationId>,
    /// Runs that somebody was told of.
    pub(crate) promised: Vec<AutomationRunId>,
    /// What each key was answered with.
    pub(crate) keys: BTreeMap<String, AutomationRunId>,
    /// How often a decision at a gate was answered with yes.
    pub(crate) decided: BTreeMap<GateId, u64>,
    /// Folders in which runs work; the last lies in the first.
    pub(crate) folders: Vec<PathBuf>,
    /// Every file that is written has a length of its own.
    pub(crate) written: u64,
    /// Agents do what they are asked from here on.
    pub(crate) is_ending: bool,
}
