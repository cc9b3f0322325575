//! Random small automations.

use serde_json::{Value as Json, json};

use super::super::{AGENTS, Simulation};

impl Simulation {
    /// A definition of an automation with two to seven nodes.
    pub(super) fn definition(&self, number: u64) -> Json {
        let count = 2 + self.roll(6);
        let folder = match self.roll(5) {
            0 | 1 => Some(0),
            2 => Some(1),
            3 => Some(2),
            _ => None,
        };
        let nodes: Vec<Json> = (0..count).map(|at| self.node(at, folder.is_some())).collect();
        let priority = ["high", "medium", "medium", "low"][self.roll(4) as usize];
        let mut definition = json!({
            "name": format!("automation-{number}"), "nodes": nodes,
            "inputs": { "n": { "type": "number", "default": 1 } },
            "priority": priority,
        });
        if let Some(folder) = folder {
            definition["workspace"] = json!(self.automations.folders[folder]);
        }
        if self.roll(3) == 0 {
            definition["limits"]["maxParallelAgents"] = json!(1 + self.roll(2));
        }
        if self.roll(6) == 0 {
            definition["limits"]["maxCostCents"] = json!(2 + self.roll(4));
        }
        if self.roll(8) == 0 {
            definition["limits"]["maxRuntimeSec"] = json!(600 + self.roll(1200));
        }
        if self.roll(4) == 0 {
            definition["policy"]["onRestart"] = json!("fail");
        }
        if self.roll(4) == 0 {
            definition["policy"]["resumeStale"] = json!(false);
        }
        let others: Vec<u64> =
            self.automations.automations.keys().copied().filter(|it| *it < number).collect();
        if let Some(first) = others.first()
            && self.roll(3) == 0
        {
            let ends = [json!([]), json!(["completed", "blocked", "failed"]), json!(["cancelled"])];
            definition["after"] =
                json!([{ "automation": format!("automation-{first}"), "on": ends[self.roll(3) as usize] }]);
        }
        if self.roll(2) == 0 {
            definition["schedules"] = json!([self.schedule(number)]);
        }
        definition
    }

    /// When it starts by itself. Of one automation the same in each version, but for what is done about missed slots: so
    /// its slots have one grid.
    fn schedule(&self, number: u64) -> Json {
        let misfire = ["skip", "one", "all"][self.roll(3) as usize];
        let overlap = ["skip", "queue", "allow"][self.roll(3) as usize];
        let mut schedule = json!({
            "name": "planned", "maxCatchUp": 2,
            "misfire": misfire,
            "overlap": overlap,
        });
        match number % 3 {
            0 => schedule["every"] = json!("45m"),
            1 => schedule["cron"] = json!("*/30 * * * *"),
            _ => schedule["every"] = json!("2h"),
        }
        schedule
    }

    fn node(&self, at: u64, has_folder: bool) -> Json {
        let mut before: Vec<String> = Vec::new();
        for other in 0..at {
            if before.len() < 3 && self.roll(if other + 1 == at { 2 } else { 3 }) == 0 {
                before.push(format!("n{other}"));
            }
        }
        let id = format!("n{at}");
        let kind = self.roll(10);
        if kind < 3 {
            return self.gate(&id, &before);
        }
        let objective = match before.first() {
            Some(first) if self.roll(2) == 0 => format!("do {id} after {{{{ nodes.{first}.text }}}}"),
            _ => format!("do {id} for {{{{ inputs.n }}}}"),
        };
        let agent = format!("Agent{}", self.roll(AGENTS));
        let mut node = json!({ "id": id, "agent": agent, "objective": objective, "dependsOn": before });
        if kind < 5 && !before.is_empty() {
            node["kind"] = json!("review");
        }
        if self.roll(3) == 0 {
            node["output"]["schema"] = json!({ "type": "object", "required": ["version"] });
            node["output"]["repairs"] = json!(self.roll(3));
        }
        if has_folder && self.roll(3) == 0 {
            node["output"]["files"] = json!([format!("{id}.md")]);
        }
        if self.roll(3) == 0 {
            let seconds = [0, 5, 300][self.roll(3) as usize];
            node["retry"] = json!({ "maxAttempts": 1 + self.roll(3) });
            if seconds > 0 {
                node["retry"]["backoff"] = json!({ "kind": "fixed", "initialSec": seconds, "jitterSec": 3 });
            }
        }
        if self.roll(4) == 0 {
            node["timeout"] = json!({ "idleSec": 60 + self.roll(600) });
        }
        if self.roll(3) == 0 {
            let modes = ["continue_independent", "pause_downstream_only", "pause_all"];
            node["partialFailure"] = json!(modes[self.roll(3) as usize]);
        }
        if self.roll(5) == 0 {
            node["repeatable"] = json!(false);
        }
        node
    }

    fn gate(&self, id: &str, before: &[String]) -> Json {
        let mut gate = json!({ "title": format!("may {id} go on?") });
        if self.roll(4) == 0 {
            gate["decisions"] = json!(["approve", "cancel"]);
        }
        match self.roll(4) {
            0 => gate["approvers"] = json!(["ann"]),
            1 => gate["selfApproval"] = json!(false),
            _ => {}
        }
        if self.roll(2) == 0 {
            let ends = ["cancel", "escalate", "remind"][self.roll(3) as usize];
            gate["expiry"] = json!({ "expiresAfterSec": 3600 + self.roll(20_000), "onExpiry": ends });
            if self.roll(2) == 0 {
                gate["expiry"]["remindEverySec"] = json!(1200 + self.roll(4000));
            }
        }
        json!({ "id": id, "dependsOn": before, "gate": gate })
    }
}
