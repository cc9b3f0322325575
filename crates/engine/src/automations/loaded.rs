//! A run with everything that is decided by: its definition, its nodes, and the attempts that are under way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::automation::advance::{Clock, Live, NodeView, Spent, Stop, View, clock};
use domain::automation::definition::{Definition, Limits, Node};
use domain::automation::operation::Reset;
use domain::automation::scope::Bounds;
use domain::automation::{AttemptState, AutomationRunStatus, NodeState, Output};
use domain::ids::AutomationRunId;
use domain::moment::Moment;
use domain::permission;
use domain::run::RunStatus;
use domain::wake::ActorKind;
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::automations::definitions::{self, Automation};
use store::automations::gates::{self, GateRow};
use store::automations::nodes::{self, Attempt, NodeRow};
use store::automations::runs::{self, AutomationRun};
use store::runs::Run;
use store::{StoreError, Tx, inbox};

use super::definitions::agents_meant;
use super::launch;
use super::telling::{self, Note};
use crate::permissions;

/// Gates of one run that are looked at.
pub(super) const MOST_GATES_OF_RUN: i64 = 10_000;

/// A run and what belongs to it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) run: AutomationRun,
    pub(super) automation: Automation,
    pub(super) definition: Definition,
    pub(super) nodes: Vec<NodeRow>,
    pub(super) live: Vec<Under>,
}

/// An attempt that is under way, with the agent's run that does its work.
#[derive(Debug)]
pub(super) struct Under {
    pub(super) attempt: Attempt,
    pub(super) agent_run: Option<Run>,
}

/// What cannot be gone on with.
#[derive(Debug)]
pub(super) enum Unloadable {
    /// There is no such run.
    Gone,
    /// The definition that it began with cannot be read.
    Unreadable(Box<AutomationRun>, String),
}

impl Loaded {
    /// Loads a run; `locked` = its row is locked first.
    pub(super) async fn load(
        tx: &mut Tx<'_>,
        id: &AutomationRunId,
        locked: bool,
    ) -> Result<Result<Loaded, Unloadable>, StoreError> {
        let run = if locked { runs::lock(tx, id).await? } else { runs::get(tx, id).await? };
        let Some(run) = run else { return Ok(Err(Unloadable::Gone)) };
        let Some(automation) = definitions::get(tx, &run.automation_id).await? else {
            return Ok(Err(Unloadable::Gone));
        };
        let data = match &run.own_definition {
            Some(own) => Some(own.clone()),
            None => definitions::version(tx, &run.automation_id, run.version).await?.map(|it| it.definition),
        };
        let read = data.map(|data| launch::read(&data).map_err(|error| words(&error)));
        let definition = match read {
            Some(Ok(definition)) => definition,
            Some(Err(why)) => return Ok(Err(Unloadable::Unreadable(Box::new(run), why))),
            None => return Ok(Err(Unloadable::Unreadable(Box::new(run), "its version is gone".to_owned()))),
        };
        let nodes = nodes::of_run(tx, id).await?;
        let mut live = Vec::new();
        for attempt in nodes::live(tx, id).await? {
            let agent_run = match &attempt.agent_run_id {
                Some(agent_run) => store::runs::get(tx, agent_run).await?,
                None => None,
            };
            live.push(Under { attempt, agent_run });
        }
        Ok(Ok(Loaded { run, automation, definition, nodes, live }))
    }

    pub(super) fn node(&mut self, id: &str) -> Option<&mut NodeRow> {
        self.nodes.iter_mut().find(|node| node.node_id == id)
    }

    /// The nodes as the rules see them.
    pub(super) fn node_views(&self) -> Vec<NodeView> {
        let view = |node: &NodeRow| {
            let mut live = None;
            let mut leaves = false;
            for under in self.live.iter().filter(|under| under.attempt.node_id == node.node_id) {
                if !under.attempt.counts {
                    leaves = true;
                    continue;
                }
                let run = under.agent_run.as_ref();
                let began_at = run.and_then(|run| run.started_at);
                let signs = run.map(|run| [run.last_output_at, run.last_activity_at, run.started_at]);
                live = Some(Live {
                    began_at,
                    last_sign_at: signs.into_iter().flatten().flatten().max(),
                    stops: under.attempt.stop_asked_at.is_some(),
                    waits_for_person: false,
                    waited: Duration::ZERO,
                });
            }
            NodeView {
                id: node.node_id.clone(),
                state: node.state,
                retry_at: node.retry_at,
                live,
                leaves,
                began: node.since.is_some(),
            }
        };
        self.nodes.iter().map(view).collect()
    }

    /// Fills in how long agents of its steps waited for permissions of people, and which still do. True: some did.
    pub(super) async fn excuse(
        &self,
        tx: &mut Tx<'_>,
        views: &mut [NodeView],
        now: Moment,
    ) -> Result<bool, StoreError> {
        let mut any = false;
        for under in self.live.iter().filter(|under| under.attempt.counts) {
            let Some(run) = &under.agent_run else { continue };
            let view = views.iter_mut().find(|view| view.id == under.attempt.node_id);
            let Some(live) = view.and_then(|view| view.live.as_mut()) else { continue };
            let asked = permissions::asked_by(tx, run).await?;
            let waited = permission::waited(&asked, now);
            any |= !asked.is_empty();
            live.waits_for_person = waited.waits;
            live.waited = waited.in_all;
            live.last_sign_at = live.last_sign_at.max(waited.until);
        }
        Ok(any)
    }

    /// What the run used: what is over is on record, what is under way is as far as it is known.
    pub(super) fn spent(&self, now: Moment) -> Spent {
        let working = self.run.working_since.map_or(Duration::ZERO, |since| now.since(since));
        let (mut tokens, mut cost) = (self.run.tokens, self.run.cost_micros);
        for run in self.live.iter().filter_map(|under| under.agent_run.as_ref()) {
            let (more, micros) = used(run);
            tokens += more;
            cost += micros;
        }
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Spent {
            worked: Duration::from_micros(count(self.run.worked_micros)) + working,
            tokens: count(tokens),
            cost_micros: count(cost),
            rests: self.run.working_since.is_none(),
        }
    }

    /// Its limits: those that people raised for this run come before those of the definition.
    pub(super) fn limits(&self) -> Limits {
        self.raised_limits().or(self.definition.limits)
    }

    /// What people raised its limits to.
    pub(super) fn raised_limits(&self) -> Limits {
        let raised = self.run.limits.as_ref().and_then(|limits| serde_json::from_value(limits.clone()).ok());
        raised.unwrap_or_default()
    }

    pub(super) fn view<'a>(&'a self, nodes: &'a [NodeView], now: Moment) -> View<'a> {
        View {
            definition: &self.definition,
            limits: self.limits(),
            status: self.run.status,
            stop: self.run.stop_to.map(|_| Stop { drains: self.run.stop_drains }),
            nodes,
            spent: self.spent(now),
            now,
        }
    }

    /// What templates are filled with.
    pub(super) fn template_data(&self) -> Json {
        let output = |node: &NodeRow| {
            let output =
                node.output.clone().unwrap_or_else(|| json!({ "text": "", "json": null, "files": [] }));
            let mut output = output;
            for (key, blank) in [
                ("json", Json::Null),
                ("files", json!([])),
                ("text", json!("")),
                ("status", json!(node.state)),
                ("textIsCut", json!(false)),
            ] {
                if output.get(key).is_none() {
                    output[key] = blank;
                }
            }
            (node.node_id.clone(), output)
        };
        let nodes: serde_json::Map<String, Json> = self.nodes.iter().map(output).collect();
        json!({
            "inputs": self.run.inputs,
            "nodes": nodes,
            "run": {
                "id": self.run.id, "automation": self.automation.name, "trigger": self.run.trigger_type,
                "workspace": self.run.root, "number": self.run.number,
            },
        })
    }

    /// The files that its steps are to leave; none when one of them has begun, for nobody knows who wrote what is there.
    fn files_to_come(&self) -> BTreeSet<String> {
        if self.nodes.iter().any(|node| node.attempt > 0) {
            return BTreeSet::new();
        }
        self.files_of(|_| true).collect()
    }

    /// The files that some of its steps are to leave.
    fn files_of(&self, meant: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
        let nodes = self.definition.nodes.iter().filter(move |node| meant(&node.id));
        nodes.filter_map(|node| node.output.as_ref()).flat_map(|contract| contract.files.iter().cloned())
    }

    /// The files that are to be looked at before anything begins: what lies there now is no work of what begins then.
    /// `None`: nobody has to look.
    pub(super) fn unstamped(&self) -> Option<BTreeSet<String>> {
        if !self.run.status.is_at_work() {
            return None;
        }
        let Some(before) = &self.run.files_before else { return Some(self.files_to_come()) };
        let forgotten = before.as_object().into_iter().flatten().filter(|(_, stamp)| stamp.is_null());
        let mut paths: BTreeSet<String> = forgotten.map(|(path, _)| path.clone()).collect();
        if !paths.is_empty() {
            // Somebody may still write them.
            let is_busy = |id: &str| self.live.iter().any(|it| it.attempt.node_id == id && !it.is_over());
            for path in self.files_of(is_busy) {
                paths.remove(&path);
            }
        }
        (!paths.is_empty()).then_some(paths)
    }

    /// Keeps what was found of files that were to be looked at.
    pub(super) fn stamp(&mut self, paths: &BTreeSet<String>, found: &Json) {
        let before = self.run.files_before.get_or_insert_with(|| json!({}));
        let Some(before) = before.as_object_mut() else { return };
        for path in paths {
            match found.get(path) {
                Some(stamp) => drop(before.insert(path.clone(), stamp.clone())),
                None => drop(before.remove(path)),
            }
        }
    }

    /// What these nodes left in the workspace is an output no more, unless it is written again.
    fn forget_files(&mut self, of: &BTreeSet<String>) {
        let paths: Vec<String> = self.files_of(|id| of.contains(id)).collect();
        if let Some(Json::Object(before)) = &mut self.run.files_before {
            before.extend(paths.into_iter().map(|path| (path, Json::Null)));
        }
    }

    /// A person has looked at the work: reviewers may send it back as often as at first. What gates sent back stays counted.
    pub(super) async fn forgive_rejections(
        &mut self,
        tx: &mut Tx<'_>,
        reset: &Reset,
    ) -> Result<(), StoreError> {
        for row in self.nodes.iter_mut().filter(|row| row.reworks > 0 && reset.nodes.contains(&row.node_id)) {
            if self.definition.node(&row.node_id).is_some_and(|node| !node.is_gate()) {
                row.reworks = 0;
                nodes::update(tx, row).await?;
            }
        }
        Ok(())
    }

    /// The time that a run was paused is nobody's time for retries: what waits to be tried again gets all of it anew.
    pub(super) async fn renew_patience(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let waits = |node: &&mut NodeRow| node.state == NodeState::Pending && node.since.is_some();
        for node in self.nodes.iter_mut().filter(waits) {
            node.since = None;
            nodes::update(tx, node).await?;
        }
        Ok(())
    }

    /// The person who started it, or the first of the runs that led to it.
    pub(super) fn started_by(&self) -> Option<String> {
        if self.run.actor_kind == ActorKind::User {
            return self.run.actor_id.clone();
        }
        self.run.trigger_detail.as_ref()?["startedBy"].as_str().map(str::to_owned)
    }

    /// What a node came to.
    pub(super) fn output(&self, id: &str) -> Option<Output> {
        let row = self.nodes.iter().find(|node| node.node_id == id)?;
        serde_json::from_value(row.output.clone()?).ok()
    }

    /// The steps with a scope that may begin now or as soon as what is over is judged, with what they may change.
    pub(super) fn scoped_to_begin(&self) -> Vec<(String, Bounds)> {
        let is_over = |id: &str| self.live.iter().all(|under| under.attempt.node_id != id || under.is_over());
        let may_be_done = |id: &String| {
            let row = self.nodes.iter().find(|row| row.node_id == *id);
            row.is_some_and(|row| row.state.is_done() || (row.state == NodeState::Running && is_over(id)))
        };
        let may_begin = |node: &&Node| {
            let row = self.nodes.iter().find(|row| row.node_id == node.id);
            node.scope.is_some()
                && row.is_some_and(|row| !row.state.is_final())
                && is_over(&node.id)
                && node.depends_on.iter().all(may_be_done)
        };
        let nodes = self.definition.nodes.iter().filter(may_begin);
        nodes.filter_map(|node| Some((node.id.clone(), Bounds::of(&self.definition, &node.id)?))).collect()
    }

    /// Its time counts as far as agents work for it.
    pub(super) fn wind_clock(&mut self, now: Moment) {
        let began = |under: &Under| under.agent_run.as_ref().and_then(|run| run.started_at);
        let begun: Vec<Option<Moment>> = self.live.iter().map(began).collect();
        match clock(self.run.working_since.is_some(), &begun, now) {
            Clock::Same => {}
            Clock::Runs(since) => self.run.working_since = Some(since),
            Clock::Rests => count_work(&mut self.run, now),
        }
    }

    /// Time at work is counted up to now; the run leaves its place.
    pub(super) fn leave_work(&mut self, now: Moment) {
        count_work(&mut self.run, now);
    }

    /// Has nodes made again: their outputs, their files and what was tried are forgotten, and attempts under way no longer
    /// count.
    pub(super) async fn reset(
        &mut self,
        tx: &mut Tx<'_>,
        reset: &Reset,
        feedback: Option<&str>,
        now: Moment,
    ) -> Result<(), StoreError> {
        if self.run.status == AutomationRunStatus::Cancelled {
            // Where nobody had decided in time, somebody acts now.
            inbox::resolve_of(tx, self.run.id.as_str(), None, "work_goes_on", now).await?;
        }
        for under in self.live.iter_mut().filter(|under| reset.nodes.contains(&under.attempt.node_id)) {
            under.attempt.counts = false;
            match under.attempt.state {
                AttemptState::Ordered => end_attempt(&mut under.attempt, json!({ "outcome": "reset" }), now),
                _ => under.attempt.stop_asked_at = under.attempt.stop_asked_at.or(Some(now)),
            }
            nodes::update_attempt(tx, &under.attempt).await?;
        }
        self.live.retain(|under| under.attempt.state != AttemptState::Ended);
        for gate in self.open_gates(tx).await? {
            if reset.nodes.contains(&gate.node_id) {
                self.withdraw(tx, gate, "what it asked about is made again", now).await?;
            }
        }
        for node in self.nodes.iter_mut().filter(|node| reset.nodes.contains(&node.node_id)) {
            let is_target = reset.targets.contains(&node.node_id);
            *node = NodeRow {
                attempt: node.attempt,
                reworks: node.reworks,
                started_at: node.started_at,
                feedback: feedback.filter(|_| is_target).map(str::to_owned),
                ..launch::blank(&self.run.id, &node.node_id, node.place)
            };
            nodes::update(tx, node).await?;
        }
        self.forget_files(&reset.nodes);
        Ok(())
    }

    pub(super) async fn open_gates(&self, tx: &mut Tx<'_>) -> Result<Vec<GateRow>, StoreError> {
        use domain::automation::gate::GateStatus;
        let all = gates::of_run(tx, &self.run.id, MOST_GATES_OF_RUN).await?;
        Ok(all.into_iter().filter(|gate| gate.status == GateStatus::Pending).collect())
    }

    /// Takes a question back.
    pub(super) async fn withdraw(
        &mut self,
        tx: &mut Tx<'_>,
        mut gate: GateRow,
        why: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        gate.status = domain::automation::gate::GateStatus::Withdrawn;
        gate.next_at = None;
        gates::update(tx, &gate).await?;
        let note = Note::node("gate_withdrawn", &gate.node_id).because(Some(why.to_owned()));
        telling::tell(tx, &mut self.run, note.with(json!({ "gateId": gate.id })), now).await
    }

    /// Takes all questions back: the run is over.
    pub(super) async fn withdraw_all(
        &mut self,
        tx: &mut Tx<'_>,
        why: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        for gate in self.open_gates(tx).await? {
            self.withdraw(tx, gate, why, now).await?;
        }
        Ok(())
    }

    /// The agents of its nodes, by what its definition calls them; nobody where there is none of that name.
    pub(super) async fn agents(
        &self,
        tx: &mut Tx<'_>,
    ) -> Result<BTreeMap<String, Option<Agent>>, StoreError> {
        let names: BTreeSet<&String> =
            self.definition.nodes.iter().filter_map(|node| node.agent.as_ref()).collect();
        let mut agents = BTreeMap::new();
        for name in names {
            let of = (&self.run.company_id, self.run.agent_ids.as_ref());
            let found = agents_meant(tx, of, name).await?;
            agents.insert(name.clone(), found.into_iter().next());
        }
        Ok(agents)
    }

    /// True when some node failed or is blocked.
    pub(super) fn is_broken(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node.state, NodeState::Failed | NodeState::Blocked))
    }
}

impl Under {
    /// When its first process was started, of this run or of those that it carries on for: what changed before is not
    /// its doing. `None`: there was none, or its record is gone.
    pub(super) async fn began_at(&self, tx: &mut Tx<'_>) -> Result<Option<Moment>, StoreError> {
        const MOST: usize = 100;
        let mut first: Option<Moment> = None;
        let mut run = self.agent_run.clone();
        for _ in 0..MOST {
            let Some(one) = run else { break };
            first = one.started_at.map_or(first, |at| Some(first.map_or(at, |other| at.min(other))));
            run = match &one.retry_of_run_id {
                Some(before) => store::runs::get(tx, before).await?.filter(|it| it.task_key == one.task_key),
                None => None,
            };
        }
        Ok(first)
    }

    /// The agent's run is over.
    pub(super) fn is_over(&self) -> bool {
        self.attempt.state == AttemptState::Running
            && self.agent_run.as_ref().is_none_or(|run| run.status.is_final())
    }

    /// The agent's run is to be asked to stop, and was not yet.
    pub(super) fn is_to_be_stopped(&self) -> bool {
        let run = self.agent_run.as_ref();
        self.attempt.stop_asked_at.is_some()
            && run.is_some_and(|run| run.status.is_live() && run.stop_asked_at.is_none())
            && self.agent_run.as_ref().is_some_and(|run| run.status != RunStatus::Succeeded)
    }
}

/// A run is not at work any more: its time there is counted.
pub(super) fn count_work(run: &mut AutomationRun, now: Moment) {
    if let Some(since) = run.working_since.take() {
        let worked = i64::try_from(now.since(since).as_micros()).unwrap_or(i64::MAX);
        run.worked_micros = run.worked_micros.saturating_add(worked);
    }
}

/// An attempt is over, and this is its record.
pub(super) fn end_attempt(attempt: &mut Attempt, record: Json, now: Moment) {
    attempt.state = AttemptState::Ended;
    attempt.ended_at = Some(now);
    attempt.record = Some(record);
}

/// Tokens and micro-dollars of an agent's run, as far as they are known.
pub(super) fn used(run: &Run) -> (i64, i64) {
    let Some(usage) = &run.usage else { return (0, 0) };
    let number = |key: &str| usage[key].as_i64().unwrap_or(0);
    let tokens = number("inputTokens") + number("outputTokens");
    let cost = usage["costMicros"]
        .as_i64()
        .or_else(|| usage["costUsd"].as_f64().map(|it| (it * 1e6).round() as i64));
    (tokens, cost.unwrap_or(0))
}

fn words(error: &crate::EngineError) -> String {
    match error {
        crate::EngineError::Invalid(problems) => {
            problems.iter().map(|it| format!("{}: {}", it.path, it.message)).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}
