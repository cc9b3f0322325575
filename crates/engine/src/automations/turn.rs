//! One look at a run that is at work, on its way: doing what `domain::automation::advance` says is next.

use std::collections::BTreeMap;

use domain::automation::advance::{LimitKind, NodeView, Step, advance, without_place};
use domain::automation::graph::Graph;
use domain::automation::sweep;
use domain::automation::transition::{RunEvent, StopAt, next};
use domain::automation::verdict::Stopped;
use domain::automation::{
    AttemptState, AutomationRunStatus, FailureClass, Guardrail, NodeState, StopKind, template,
};
use domain::ids::GateId;
use domain::moment::Moment;
use domain::wake::Actor;
use serde_json::{Value as Json, json};
use store::automations::nodes::{self, Attempt};
use store::{StoreError, Tx};

use super::definitions::agents_meant;
use super::draws::Draws;
use super::endings::{NO_SUCH_NODE, fail_node};
use super::launch::no_folder;
use super::loaded::{Loaded, Under, end_attempt};
use super::stopping::{self, Order};
use super::telling::{self, Note};
use super::tend::Done;
use super::{hand_over, questions};

/// One look, on its way.
pub(super) struct Turn<'a> {
    pub(super) it: &'a mut Loaded,
    pub(super) done: &'a mut Done,
    pub(super) draws: &'a mut Draws,
    /// The workspace is no folder any more; looked at before the transaction.
    pub(super) is_homeless: bool,
    /// What lies in it that steps may not remove, by step; looked at before the transaction.
    pub(super) names: &'a BTreeMap<String, Json>,
    pub(super) now: Moment,
    /// When to look again if nothing happens.
    pub(super) look_at: Option<Moment>,
}

impl<'a> Turn<'a> {
    /// Of a run that waits for people: it has no place, and nothing is under way.
    pub(super) fn of_waiting(
        (it, done, draws): (&'a mut Loaded, &'a mut Done, &'a mut Draws),
        now: Moment,
    ) -> Turn<'a> {
        const NONE: &BTreeMap<String, Json> = &BTreeMap::new();
        Turn { it, done, draws, is_homeless: false, names: NONE, now, look_at: None }
    }
}

impl Turn<'_> {
    /// Does what needs no agent, and so no place, however full the house is: the next question is asked, or the run comes
    /// to its end. False: some step is to begin, or waits for its time.
    pub(super) async fn without_place(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        // Each step that leads to another one changes a node, so this ends.
        loop {
            let steps = without_place(&self.it.view(&self.it.node_views(), self.now));
            if steps.is_empty() {
                return Ok(false);
            }
            if !self.do_all(tx, steps).await? {
                return Ok(true);
            }
        }
    }

    /// Does what was planned; true when that changed what is next after it.
    async fn do_all(&mut self, tx: &mut Tx<'_>, steps: Vec<Step>) -> Result<bool, StoreError> {
        let mut again = false;
        for step in steps {
            // What the run comes to is said when nothing changes any more: a question may not have been one.
            let is_rest = matches!(step, Step::Await | Step::BackOff(_) | Step::Settle { .. });
            if again && is_rest {
                break;
            }
            again |= self.take(tx, step).await?;
        }
        Ok(again)
    }

    /// Does what is next; true when that changed what is next after it.
    pub(super) async fn step(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        if !self.it.run.status.is_at_work() {
            return Ok(false);
        }
        if self.it.run.stop_to.is_none() && self.is_lost() {
            let root = self.it.run.root.as_deref().unwrap_or_default();
            let reason = no_folder(&format!("{root} is no folder any more"));
            let order = Order::new(StopAt::Failed, StopKind::GuardrailStopped, Some(reason));
            let action = "automation.internal_sweep.failed_without_workspace";
            return self.halt(tx, order, Note::run("run_failed_workspace"), action).await;
        }
        let mut views = self.it.node_views();
        let mut plan = advance(&self.it.view(&views, self.now));
        // Who waits for people is neither silent nor late; nobody is asked about that who is in time.
        let is_late = plan.steps.iter().any(|step| matches!(step, Step::Stop { why: Stopped::Timeout, .. }));
        if (is_late || self.is_stale(&views)) && self.it.excuse(tx, &mut views, self.now).await? {
            plan = advance(&self.it.view(&views, self.now));
        }
        if self.it.run.stop_to.is_none() && self.is_stale(&views) {
            return self.reap(tx).await;
        }
        self.look_at = plan.look_at;
        self.do_all(tx, plan.steps).await
    }

    /// Nothing works in the workspace, and it is gone: nothing can begin there.
    fn is_lost(&self) -> bool {
        self.is_homeless && !self.it.nodes.iter().any(|node| node.state == NodeState::Running)
    }

    fn is_stale(&self, views: &[NodeView]) -> bool {
        sweep::is_stale(&self.it.definition, views, self.now)
    }

    /// The run is paused; it goes on by itself, if it may (spec/automations.md 2.4).
    async fn reap(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let reason = "nothing was heard of it for too long".to_owned();
        let order = Order::new(StopAt::Paused, StopKind::StaleReaped, Some(reason));
        let note = Note::run("run_paused_stale_no_provider_activity");
        self.halt(tx, order, note, "automation.internal_sweep.paused_stale_run").await
    }

    /// Tells the run to stop, and says so there and in the audit. False: it cannot stop so, and nothing has changed.
    async fn halt(
        &mut self,
        tx: &mut Tx<'_>,
        order: Order,
        note: Note<'_>,
        action: &str,
    ) -> Result<bool, StoreError> {
        let reason = order.reason.clone();
        if stopping::tell(&mut self.it.run, order, self.now).is_err() {
            return Ok(false);
        }
        telling::tell(tx, &mut self.it.run, note.because(reason.clone()), self.now).await?;
        self.audit(tx, action, json!({ "reason": reason })).await?;
        Ok(true)
    }

    async fn audit(&self, tx: &mut Tx<'_>, action: &str, details: Json) -> Result<(), StoreError> {
        let by = Actor::system("automation");
        telling::audit(tx, &self.it.run, &by, action, details, self.now).await
    }

    async fn take(&mut self, tx: &mut Tx<'_>, step: Step) -> Result<bool, StoreError> {
        match step {
            Step::Start(node) => self.begin(tx, &node).await,
            Step::Ask(node) => self.ask(tx, &node).await,
            Step::Block { node, by } => {
                let is_before = Graph::of(&self.it.definition).ancestors(&node).contains(by.as_str());
                let reason = match is_before {
                    true => format!("it depends on {by}, which did not succeed"),
                    false => format!("{by} did not succeed, and stops all others then (`pause_all`)"),
                };
                if let Some(row) = self.it.node(&node) {
                    row.state = NodeState::Blocked;
                    row.reason = Some(reason.clone());
                    row.finished_at = Some(self.now);
                    nodes::update(tx, row).await?;
                }
                let note = Note::node("node_blocked", &node).because(Some(reason)).with(json!({ "by": by }));
                telling::tell(tx, &mut self.it.run, note, self.now).await?;
                Ok(true)
            }
            Step::Stop { node, why } => self.stop(tx, &node, why).await,
            Step::Limit(kind) => self.limit(tx, kind).await,
            Step::Stopped => self.stopped(tx).await,
            Step::Await if self.it.run.status == AutomationRunStatus::AwaitingApproval => Ok(false),
            Step::Await => {
                self.leave(RunEvent::Await);
                let note = Note::run("run_awaiting_approval");
                telling::tell(tx, &mut self.it.run, note, self.now).await?;
                Ok(false)
            }
            Step::BackOff(until) => {
                self.leave(RunEvent::BackOff);
                self.it.run.queued_at = self.now;
                self.it.run.not_before = Some(until);
                let note = Note::run("run_backed_off").with(json!({ "until": until }));
                telling::tell(tx, &mut self.it.run, note, self.now).await?;
                Ok(false)
            }
            Step::Settle { settled, reason } => {
                self.leave(RunEvent::Settle(settled));
                self.it.run.finished_at = Some(self.now);
                self.it.run.detail = reason.clone();
                let event = match self.it.run.status {
                    AutomationRunStatus::Completed => "run_completed",
                    AutomationRunStatus::Blocked => "run_blocked",
                    _ => "run_failed",
                };
                let note =
                    Note::run(event).because(reason).with(json!({ "lastFailure": self.it.run.last_failure }));
                telling::tell(tx, &mut self.it.run, note, self.now).await?;
                self.over(tx).await?;
                Ok(false)
            }
        }
    }

    /// The run leaves its place.
    fn leave(&mut self, event: RunEvent) {
        if let Ok(status) = next(self.it.run.status, event) {
            self.it.run.status = status;
        }
        self.it.leave_work(self.now);
        self.done.moved = true;
    }

    /// Begins an attempt: its agent is ordered to be woken in this same commit.
    async fn begin(&mut self, tx: &mut Tx<'_>, id: &str) -> Result<bool, StoreError> {
        let Some(node) = self.it.definition.node(id).cloned() else {
            let failure = (FailureClass::ToolResolution, NO_SUCH_NODE.to_owned());
            return self.cannot_begin(tx, id, failure).await;
        };
        let name = node.agent.clone().unwrap_or_default();
        let of = (&self.it.run.company_id, self.it.run.agent_ids.as_ref());
        let agents = agents_meant(tx, of, &name).await?;
        let filled = template::fill(node.objective.as_deref().unwrap_or_default(), &self.it.template_data());
        let (agent, objective) = match (agents.as_slice(), filled) {
            ([agent], Ok(objective)) => (agent, objective),
            ([], _) => {
                let words = format!("there is no agent `{name}` any more");
                return self.cannot_begin(tx, id, (FailureClass::AgentGone, words)).await;
            }
            ([_, _, ..], _) => {
                let words = format!("several agents are called `{name}`");
                return self.cannot_begin(tx, id, (FailureClass::AgentGone, words)).await;
            }
            (_, Err(error)) => {
                let words = format!("its objective cannot be filled: {error}");
                return self.cannot_begin(tx, id, (FailureClass::Template, words)).await;
            }
        };
        let (now, epoch) = (self.now, self.it.run.epoch);
        let company = self.it.run.company_id.clone();
        let run_id = self.it.run.id.clone();
        let Some(row) = self.it.node(id) else { return Ok(false) };
        row.attempt += 1;
        row.state = NodeState::Running;
        row.since = row.since.or(Some(now));
        row.started_at = row.started_at.or(Some(now));
        row.retry_at = None;
        row.reason = None;
        row.finished_at = None;
        let number = row.attempt;
        nodes::update(tx, row).await?;
        let attempt = Attempt {
            run_id,
            node_id: id.to_owned(),
            attempt: number,
            company_id: company,
            epoch,
            agent_id: agent.id.clone(),
            agent_run_id: None,
            state: AttemptState::Ordered,
            counts: true,
            objective,
            ordered_at: now,
            deliver_at: now,
            held_reason: None,
            started_at: None,
            ended_at: None,
            stopped: None,
            stop_asked_at: None,
            record: None,
            tokens: 0,
            cost_micros: 0,
            names_before: self.names.get(id).cloned(),
        };
        nodes::insert_attempt(tx, &attempt).await?;
        let metadata = json!({ "attempt": number, "agentId": agent.id, "epoch": epoch });
        telling::tell(tx, &mut self.it.run, Note::node("node_started", id).with(metadata), now).await?;
        self.it.live.push(Under { attempt, agent_run: None });
        self.done.ordered = true;
        Ok(false)
    }

    /// The node fails before anybody was woken for it.
    async fn cannot_begin(
        &mut self,
        tx: &mut Tx<'_>,
        id: &str,
        failure: (FailureClass, String),
    ) -> Result<bool, StoreError> {
        let number = self.it.node(id).map_or(0, |row| row.attempt);
        fail_node(tx, self.it, id, failure, number, self.now).await?;
        Ok(true)
    }

    /// Asks people.
    async fn ask(&mut self, tx: &mut Tx<'_>, id: &str) -> Result<bool, StoreError> {
        let gate = GateId::mint(self.now, self.draws.draw());
        if let Err(failure) = questions::ask(tx, self.it, id, gate, self.now).await? {
            return self.cannot_begin(tx, id, failure).await;
        }
        self.done.asked = true;
        Ok(false)
    }

    /// Asks an attempt to stop; one whose agent was not woken yet is over at once.
    async fn stop(&mut self, tx: &mut Tx<'_>, id: &str, why: Stopped) -> Result<bool, StoreError> {
        let now = self.now;
        let at = self.it.live.iter().position(|it| it.attempt.node_id == id && it.attempt.counts);
        let Some(at) = at else { return Ok(false) };
        let attempt = &mut self.it.live[at].attempt;
        attempt.stop_asked_at = Some(now);
        attempt.stopped = Some(match why {
            Stopped::Timeout => "timeout".to_owned(),
            Stopped::Interrupted => "interrupted".to_owned(),
        });
        let number = attempt.attempt;
        let is_over = attempt.state == AttemptState::Ordered;
        if is_over {
            end_attempt(attempt, json!({ "outcome": "withdrawn" }), now);
        }
        nodes::update_attempt(tx, &self.it.live[at].attempt).await?;
        if is_over {
            self.it.live.remove(at);
            if let Some(row) = self.it.node(id) {
                row.state = NodeState::Pending;
                nodes::update(tx, row).await?;
            }
        }
        let event = if why == Stopped::Timeout { "node_timed_out" } else { "node_stopping" };
        let note = Note::node(event, id).with(json!({ "attempt": number }));
        telling::tell(tx, &mut self.it.run, note, now).await?;
        if why == Stopped::Timeout {
            let details = json!({ "nodeId": id, "attempt": number });
            self.audit(tx, "automation.internal_sweep.stopped_overdue_step", details).await?;
        }
        Ok(is_over)
    }

    /// A limit of the run itself: it is paused, and only a person who raises the limit has it go on.
    async fn limit(&mut self, tx: &mut Tx<'_>, kind: LimitKind) -> Result<bool, StoreError> {
        let reason = format!("the run reached its limit {}", kind.field());
        let order = Order::new(StopAt::Paused, StopKind::GuardrailStopped, Some(reason));
        let order = Order { guardrail: Some(Guardrail::RunLimit), ..order };
        let note = Note::run("run_limit_reached").with(json!({ "limit": kind.field() }));
        self.halt(tx, order, note, "automation.internal_sweep.run_limit_reached").await
    }

    /// What was under way has stopped: the run is where it was to stop at.
    async fn stopped(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let to = self.it.run.stop_to.take().unwrap_or(AutomationRunStatus::Paused);
        let kind = self.it.run.stop_kind.unwrap_or(StopKind::OperatorStopped);
        let (event, word) = match to {
            AutomationRunStatus::Cancelled => (RunEvent::Cancel, "run_cancelled"),
            AutomationRunStatus::Failed => (RunEvent::Fail(kind), "run_failed"),
            _ => (RunEvent::Stopped, "run_paused"),
        };
        if event == RunEvent::Stopped && self.it.run.status == AutomationRunStatus::Running {
            self.it.run.status = AutomationRunStatus::Pausing;
        }
        self.leave(event);
        self.it.run.stopped_at = Some(self.now);
        self.it.run.detail = self.it.run.stop_reason.clone();
        let reason = self.it.run.stop_reason.clone();
        telling::tell(tx, &mut self.it.run, Note::run(word).because(reason), self.now).await?;
        if self.it.run.status.is_final() {
            self.it.run.finished_at = Some(self.now);
            self.over(tx).await?;
        }
        Ok(false)
    }

    /// The run is over: its questions are taken back, and what begins after it begins.
    async fn over(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        hand_over::over(tx, self.it, self.draws, self.now).await
    }
}
