//! What was told of automation runs, followed from their beginning: a change of status that the table does not have, a gap in
//! a history, a step that is made again though nobody asked for it.

use std::collections::{BTreeMap, BTreeSet};

use domain::automation::AutomationRunStatus;
use domain::automation::transition::{RunEvent, next};

use super::records::{Told, Work};

/// Where everything that was told leads to so far.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    /// The newest entry of each run, and the status it was told with.
    pub(crate) newest: BTreeMap<String, (i64, AutomationRunStatus)>,
    /// Nodes that are done, by run.
    done: BTreeSet<(String, String)>,
    /// Gates with a decision.
    decided: BTreeSet<String>,
    /// Gates that were approved and not completed yet, by run and node.
    approved: BTreeSet<(String, String)>,
}

impl Trail {
    /// Follows what was told since the last look.
    pub(crate) fn follow(&mut self, work: &Work) -> Result<(), String> {
        for told in &work.told {
            self.step(told, work).map_err(|words| format!("{words}: {told:?}"))?;
        }
        Ok(())
    }

    fn step(&mut self, told: &Told, work: &Work) -> Result<(), String> {
        let before = self.newest.insert(told.run.clone(), (told.seq, told.status));
        match before {
            None if told.seq != 1 || told.event != "run.created" => {
                return Err("a history does not begin with its beginning".to_owned());
            }
            Some((seq, _)) if told.seq != seq + 1 => return Err(format!("a gap behind entry {seq}")),
            Some((_, was)) if !leads(was, told.status) => {
                return Err(format!("a run that was {was} cannot be {}", told.status));
            }
            _ => {}
        }
        if let Some(nodes) = told.payload["nodes"].as_array() {
            for node in nodes.iter().filter_map(|node| node.as_str()) {
                self.done.remove(&(told.run.clone(), node.to_owned()));
                self.approved.remove(&(told.run.clone(), node.to_owned()));
            }
        }
        let Some(node) = &told.node else { return Ok(()) };
        let key = (told.run.clone(), node.clone());
        match told.event.as_str() {
            "node.started" | "gate.opened" if self.done.contains(&key) => {
                Err("what is done begins again, and nobody asked for it".to_owned())
            }
            "node.completed" | "node.skipped_no_work" => {
                let is_gate = work
                    .run(&told.run)
                    .and_then(|run| work.defined(run, node))
                    .is_some_and(|node| node.get("gate").is_some());
                if is_gate && !self.approved.remove(&key) {
                    return Err("a gate is completed that nobody approved".to_owned());
                }
                self.done.insert(key);
                Ok(())
            }
            "gate.decided" => {
                let gate = told.payload["gateId"].as_str().unwrap_or_default();
                if !self.decided.insert(gate.to_owned()) {
                    return Err("a gate is decided twice".to_owned());
                }
                match told.payload["decision"].as_str() {
                    Some("approve") => drop(self.approved.insert(key)),
                    // Which nodes are made again is not told; that they are is asked for.
                    Some("rework") => self.done.retain(|(run, _)| *run != told.run),
                    _ => {}
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Some event of the table leads from one status to the other.
fn leads(from: AutomationRunStatus, to: AutomationRunStatus) -> bool {
    from == to || RunEvent::ALL.iter().any(|(event, _)| next(from, *event) == Ok(to))
}
