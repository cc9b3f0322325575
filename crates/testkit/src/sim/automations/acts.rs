//! What persons ask of automations, and what the agents of steps leave.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::automation::definition::{Decision, Limits};
use domain::automation::gate::GateStatus;
use domain::automation::operation::Operation;
use domain::automation::{AutomationRunStatus, AutomationStatus};
use domain::ids::{AgentId, AutomationId, AutomationRunId, GateId, ScheduleId};
use engine::{Asked, Author, EngineError, GateDecision, LaunchDraft, ProcessId};
use serde_json::{Value as Json, json};

use super::super::acts::{came, nothing};
use super::super::records::RunRow;
use super::super::{Made, Simulation};
use super::records::{WorkGate, WorkRun};
use super::rules::of_step;
use crate::Obedience;

/// So many automations there are at most.
const AUTOMATIONS: u64 = 3;

fn person(name: &str) -> Author {
    Author::Board { user: Some(name.to_owned()), may_assign: true }
}

impl Simulation {
    /// Somebody does something with automations.
    pub(in super::super) fn act_on_automations(&mut self) -> Result<(), String> {
        match self.roll(100) {
            0..7 => {
                let number = self.roll(AUTOMATIONS);
                self.someone_applies(number);
            }
            7..25 => self.someone_launches(),
            25..52 => return self.someone_decides(),
            52..82 => self.someone_operates(),
            82..86 => self.someone_holds_an_automation(),
            86..90 => self.someone_asks_of_a_schedule(),
            90..94 => return self.someone_edits_a_file(),
            _ => self.a_program_is_slow_to_obey(),
        }
        Ok(())
    }

    fn someone(&self) -> Author {
        person(["ann", "ben"][self.roll(2) as usize])
    }

    /// An automation is saved: a new one, or another version.
    pub(in super::super) fn someone_applies(&mut self, number: u64) {
        let definition = self.definition(number);
        self.note(format!("apply automation-{number}: {}", without_folder(&definition)));
        let (company, by) = (self.company.clone(), self.someone());
        self.ask(move |engine| async move {
            match engine.apply_automation(&company, &definition, false, &by).await {
                Err(error @ EngineError::Invalid(_)) => {
                    Made::Trouble(format!("a definition is refused: {error:?}"))
                }
                applied => came(applied, |applied| Made::Automation(number, applied.view.automation.id)),
            }
        });
    }

    fn automation(&self) -> Option<AutomationId> {
        let known: Vec<&AutomationId> = self.automations.automations.values().collect();
        (!known.is_empty()).then(|| known[self.roll(known.len() as u64) as usize].clone())
    }

    fn someone_launches(&mut self) {
        let Some(automation) = self.automation() else { return };
        let key = (self.roll(3) == 0).then(|| format!("key-{}", self.roll(3)));
        let draft = LaunchDraft {
            dry_run: key.is_none() && self.roll(20) == 0,
            idempotency_key: key.clone(),
            ..LaunchDraft::default()
        };
        self.note(format!("start {automation} with key {key:?}, dry: {}", draft.dry_run));
        let (company, by) = (self.company.clone(), self.someone());
        self.ask(move |engine| async move {
            let key = key.map(|key| format!("{automation} {key}"));
            let started = engine.run_automation(&company, &automation, draft, &by).await;
            came(started, |run| Made::Started { run: run.id, key })
        });
    }

    /// Somebody decides at a gate: with the right hash or another one, once or twice, alone or beside somebody else.
    fn someone_decides(&mut self) -> Result<(), String> {
        let gates = &self.work.gates;
        let open: Vec<&WorkGate> = gates.iter().filter(|gate| gate.status == GateStatus::Pending).collect();
        let gate = match (open.is_empty(), gates.is_empty()) {
            (_, true) => return Ok(()),
            (false, _) if self.roll(8) > 0 => open[self.roll(open.len() as u64) as usize].clone(),
            _ => gates[self.roll(gates.len() as u64) as usize].clone(),
        };
        // What lies in the folder stays as it is while this is asked.
        let shows_files = files(&gate.shown).next().is_some();
        if shows_files {
            self.settle()?;
        }
        let times = 1 + self.roll(3) / 2;
        for _ in 0..times {
            let by = match self.roll(8) {
                0 => Author::agent(&AgentId(self.agents[0].0.clone()), None),
                _ => self.someone(),
            };
            let decision = match self.roll(8) {
                0 => Decision::Cancel,
                1 | 2 => Decision::Rework,
                _ => Decision::Approve,
            };
            let hash = match self.roll(8) {
                0 => "0".repeat(gate.hash.len()),
                1 => self.work.gates[0].hash.clone(),
                _ => gate.hash.clone(),
            };
            self.decide(&gate, decision, hash, by);
        }
        if shows_files { self.settle() } else { Ok(()) }
    }

    /// Sends one decision. One that must not count and is taken is trouble.
    pub(in super::super) fn decide(&mut self, gate: &WorkGate, decision: Decision, hash: String, by: Author) {
        let run = self.work.run(&gate.run).cloned();
        let before: Vec<String> = match &run {
            Some(run) => self.work.dependencies(run, &gate.node).into_iter().collect(),
            None => Vec::new(),
        };
        let is_named = decision == Decision::Rework && !before.is_empty() && self.roll(2) == 0;
        let targets = if is_named { vec![before[0].clone()] } else { Vec::new() };
        self.note(format!(
            "{:?} says {decision} at gate {} of {} in {}, hash {}",
            by.user_id(),
            gate.id,
            gate.node,
            gate.run,
            if hash == gate.hash { "as shown" } else { "of something else" }
        ));
        let user = by.user_id();
        let is_started_by = gate.started_by.is_some() && gate.started_by == user;
        let must_fail = if !by.is_board() {
            Some("an agent")
        } else if hash != gate.hash {
            Some("who has seen something else")
        } else if !gate.approvers.is_empty() && !user.is_some_and(|user| gate.approvers.contains(&user)) {
            Some("who is no approver")
        } else if decision == Decision::Approve && !gate.self_approval && is_started_by {
            Some("who started the run")
        } else if !gate.decisions.contains(&decision) {
            Some("what cannot be decided")
        } else if gate.status != GateStatus::Pending {
            Some("what is decided")
        } else {
            None
        };
        let lengths =
            run.and_then(|run| run.root).map(|root| lengths(&root, &gate.shown)).unwrap_or_default();
        let id = GateId(gate.id.clone());
        let ask = GateDecision { decision, hash, reason: Some("so it is".to_owned()), targets };
        self.ask(move |engine| async move {
            let decided = engine.decide_gate(&id, ask, &by).await;
            if let (Ok(_), Some(whose)) = (&decided, must_fail) {
                return Made::Trouble(format!("a decision was taken of {whose}: gate {id}"));
            }
            if let (Ok(view), Decision::Approve) = (&decided, decision)
                && let Some((path, bytes)) =
                    files(&view.gate.shown).find(|it| lengths.get(&it.0) != Some(&it.1))
            {
                return Made::Trouble(format!(
                    "{path} of {bytes} bytes was approved, and is another one: gate {id}"
                ));
            }
            came(decided, |view| Made::Decided(view.gate.id))
        });
    }

    fn automation_run(&self) -> Option<WorkRun> {
        let runs = &self.work.runs;
        let open: Vec<&WorkRun> = runs.iter().filter(|run| !run.status.is_final()).collect();
        match (open.is_empty(), runs.is_empty()) {
            (_, true) => None,
            (false, _) if self.roll(3) > 0 => Some(open[self.roll(open.len() as u64) as usize].clone()),
            _ => Some(runs[self.roll(runs.len() as u64) as usize].clone()),
        }
    }

    fn someone_operates(&mut self) {
        let Some(run) = self.automation_run() else { return };
        use Operation::{Cancel, Continue, Pause, Recover, Repair, Resume, Retry};
        let fitting: &[Operation] = match run.status {
            AutomationRunStatus::Paused => {
                &[Resume, Resume, Resume, Retry, Recover, Continue, Repair, Cancel]
            }
            status if status.is_final() => &[Retry, Recover, Recover, Repair, Continue],
            _ => &[Pause, Pause, Pause, Cancel, Resume, Retry],
        };
        let operation = fitting[self.roll(fitting.len() as u64) as usize];
        let nodes = self.work.definition(&run)["nodes"].as_array().cloned().unwrap_or_default();
        let node = nodes.get(self.roll(nodes.len().max(1) as u64) as usize).cloned().unwrap_or_default();
        let is_gate = node.get("gate").is_some();
        let asked = Asked {
            node: matches!(operation, Retry | Repair | Continue)
                .then(|| node["id"].as_str().unwrap_or_default().to_owned()),
            drain: self.roll(2) == 0,
            limits: (operation == Resume && self.roll(2) == 0).then(ample),
            patch: (operation == Repair && !is_gate).then(|| json!({ "objective": "do it better" })),
            ..Asked::new(operation)
        };
        self.note(format!(
            "{operation} run {} ({}), node {:?}, drain {}",
            run.id, run.status, asked.node, asked.drain
        ));
        self.operate(&run, asked);
    }

    pub(in super::super) fn operate(&mut self, run: &WorkRun, asked: Asked) {
        let (id, by) = (AutomationRunId(run.id.clone()), self.someone());
        self.ask(move |engine| async move { came(engine.operate(&id, asked, &by).await, nothing) });
    }

    fn someone_holds_an_automation(&mut self) {
        let Some(automation) = self.automation() else { return };
        use AutomationStatus::{Active, Draft, Paused};
        let status = [Active, Active, Active, Paused, Paused, Draft][self.roll(6) as usize];
        self.note(format!("{automation} is {status}"));
        self.set_status(automation, status);
    }

    pub(in super::super) fn set_status(&mut self, automation: AutomationId, status: AutomationStatus) {
        let by = self.someone();
        self.ask(move |engine| async move {
            came(engine.set_automation_status(&automation, status, None, &by).await, nothing)
        });
    }

    fn someone_asks_of_a_schedule(&mut self) {
        let count = self.work.schedules.len() as u64;
        if count == 0 {
            return;
        }
        let schedule = ScheduleId(self.work.schedules[self.roll(count) as usize].id.clone());
        let (what, by) = (self.roll(4), self.someone());
        self.note(format!(
            "schedule {schedule}: {}",
            ["run now", "pause", "resume", "resume"][what as usize]
        ));
        self.ask(move |engine| async move {
            match what {
                0 => came(engine.run_schedule_now(&schedule, None, &by).await, |run| Made::Started {
                    run: run.id,
                    key: None,
                }),
                1 => came(engine.pause_schedule(&schedule, &by).await, nothing),
                _ => came(engine.resume_schedule(&schedule, &by).await, nothing),
            }
        });
    }

    /// Nothing starts by itself any more.
    pub(in super::super) fn rest_schedules(&mut self) {
        for schedule in self.work.schedules.iter().map(|it| ScheduleId(it.id.clone())).collect::<Vec<_>>() {
            let by = self.someone();
            self.ask(move |engine| async move { came(engine.pause_schedule(&schedule, &by).await, nothing) });
        }
    }

    /// What persons do in the end: what is paused goes on, and what is asked is approved.
    pub(in super::super) fn everybody_helps(&mut self) {
        for run in self.work.runs.clone() {
            if run.status == AutomationRunStatus::Paused {
                self.operate(&run, Asked { limits: Some(ample()), ..Asked::new(Operation::Resume) });
            }
        }
        for gate in self.work.gates.clone() {
            if gate.status == GateStatus::Pending {
                let is_anns = gate.started_by.as_deref() == Some("ann") && !gate.self_approval;
                let by = person(if is_anns { "ben" } else { "ann" });
                self.decide(&gate, Decision::Approve, gate.hash.clone(), by);
            }
        }
    }

    fn someone_edits_a_file(&mut self) -> Result<(), String> {
        self.settle()?;
        let folder = self.automations.folders[self.roll(3) as usize].clone();
        let name = format!("n{}.md", self.roll(7));
        if self.roll(6) == 0 {
            self.note(format!("somebody removes {name}"));
            drop(std::fs::remove_file(folder.join(name)));
        } else {
            self.note(format!("somebody edits {name}"));
            self.write(&folder.join(name));
        }
        Ok(())
    }

    fn write(&mut self, file: &Path) {
        self.automations.written += 1;
        std::fs::write(file, "x".repeat(self.automations.written as usize)).unwrap();
    }

    fn a_program_is_slow_to_obey(&mut self) {
        let alive = self.around.model.alive();
        if alive.is_empty() {
            return;
        }
        let id: &ProcessId = &alive[self.roll(alive.len() as u64) as usize];
        self.note(format!("{} will be slow to stop", id.run));
        self.around.model.set_obedience(id, Obedience::Later);
    }

    /// The last words of an agent that works on a step, and its files; `None`: it works on something else.
    pub(in super::super) fn words_of_step(&mut self, run: &RunRow) -> Option<String> {
        let (of, node, _) = of_step(run)?;
        let of = self.work.run(of)?.clone();
        let node = self.work.defined(&of, node).cloned().unwrap_or_default();
        let luck = if self.automations.is_ending { 99 } else { self.roll(20) };
        let said = match luck {
            0 | 1 => json!({ "status": "blocked", "reason": "somebody must log in" }),
            2 => json!({ "status": "skipped", "reason": "nothing new" }),
            3 => json!({ "status": "failed", "reason": "the tests are red" }),
            4 | 5 => return Some("I did something else".to_owned()),
            6 | 7 if node["kind"] == "review" => {
                json!({ "approved": false, "feedback": "shorter", "version": 1 })
            }
            _ => json!({ "approved": true, "version": 1 }),
        };
        if luck > 3
            && let (Some(root), Some(files)) = (&of.root, node["output"]["files"].as_array())
        {
            for file in files.iter().filter_map(Json::as_str) {
                self.write(&PathBuf::from(root).join(file));
            }
        }
        Some(said.to_string())
    }
}

/// Limits that nobody reaches here.
fn ample() -> Limits {
    Limits {
        max_parallel_agents: None,
        max_runtime_sec: Some(100_000_000),
        max_tokens: Some(1_000_000_000),
        max_cost_cents: Some(1_000_000),
    }
}

/// The files that a gate shows: path and length.
fn files(shown: &Json) -> impl Iterator<Item = (String, u64)> + '_ {
    let upstream = shown["upstream"].as_array().into_iter().flatten();
    let files = upstream.flat_map(|it| it["files"].as_array().into_iter().flatten());
    files.filter_map(|file| Some((file["path"].as_str()?.to_owned(), file["bytes"].as_u64()?)))
}

/// How long these files are now.
fn lengths(root: &str, shown: &Json) -> BTreeMap<String, u64> {
    let length = |path: &str| std::fs::metadata(Path::new(root).join(path)).map_or(0, |it| it.len());
    files(shown).map(|(path, _)| (path.clone(), length(&path))).collect()
}

/// A definition for the diary: the folder of a history is another one each time it is played.
fn without_folder(definition: &Json) -> Json {
    let mut short = definition.clone();
    if let Some(folder) = definition["workspace"].as_str().and_then(|it| it.rsplit('/').next()) {
        short["workspace"] = json!(folder);
    }
    short
}
