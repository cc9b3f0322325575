//! Questions to people: listing them, deciding them, and what their time does to them.

use std::sync::Arc;
use std::time::Duration;

use domain::automation::definition::{Decision, Expiry};
use domain::automation::gate::{self, Act, Ask, Decider, GateStatus, Open, Refused, Standing};
use domain::automation::graph::Graph;
use domain::automation::operation;
use domain::automation::transition::{RunEvent, StopAt, Stopping, next};
use domain::automation::{AutomationRunStatus, NodeState, Output, OutputFile, StopKind};
use domain::ids::{AutomationRunId, CompanyId, GateId, RunId, mint};
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use domain::wake::{Actor, ActorKind};
use serde_json::{Value as Json, json};
use store::automations::gates::{self, GateRow};
use store::automations::nodes::{self, NodeRow};
use store::automations::{definitions, runs};
use store::{StoreError, Tx};

use super::draws::Draws;
use super::found;
use super::going_on::requeue;
use super::hand_over::over;
use super::loaded::{Loaded, Unloadable};
use super::questions::bind;
use super::stopping::{self, Order};
use super::telling::{self, Note};
use super::tend::Done;
use super::turn::Turn;
use super::{AttemptKey, LOOK_AGAIN, unreadable};
use crate::activity::Author;
use crate::processes::beside;
use crate::{Engine, EngineError, Inner, inbox, sweeps};

/// The longest list of gates.
pub const MOST_GATES: i64 = 1_000;
const BATCH: i64 = 128;

/// A gate, with what it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct GateView {
    pub gate: GateRow,
    pub automation: String,
    pub run_number: i64,
    /// The agent of a step asks: to approve it is to answer it.
    pub wants_answer: bool,
}

/// The step of an automation that an agent works at.
#[derive(Debug, Clone, PartialEq)]
pub struct StepOf {
    pub run_id: AutomationRunId,
    pub node_id: String,
    pub automation: String,
    pub run_number: i64,
}

/// What became of a decision; what was written with it stays written.
enum Judged {
    Counts,
    /// What is shown is another thing now.
    Refused(Refused, Box<GateRow>),
    /// The run cannot be read, for this reason.
    Unreadable(String),
}

/// What somebody decides.
#[derive(Debug, Clone, PartialEq)]
pub struct GateDecision {
    pub decision: Decision,
    /// Of what was shown; without it nobody knows what was decided about.
    pub hash: String,
    pub reason: Option<String>,
    /// For rework: where it begins.
    pub targets: Vec<String>,
}

impl Engine {
    /// Lists the gates of a company that wait, oldest first, behind a place; all of them can be had, however many.
    pub async fn gates(
        &self,
        company: &CompanyId,
        after: (Moment, String),
        limit: i64,
    ) -> Result<Vec<GateView>, EngineError> {
        let limit = limit.clamp(1, MOST_GATES);
        let listed = self.inner.read((company.clone(), after), move |tx, (company, after)| {
            Box::pin(async move { views_of_pending(tx, &company, (after.0, &after.1), limit).await })
        });
        Ok(listed.await?)
    }

    /// Finds a gate by its id, whatever company it belongs to.
    pub async fn gate(&self, id: &GateId) -> Result<GateView, EngineError> {
        let found = self.inner.read(id.clone(), |tx, id| {
            Box::pin(async move {
                match gates::get(tx, &id).await? {
                    Some(gate) => view(tx, gate).await,
                    None => Ok(None),
                }
            })
        });
        found.await?.ok_or(EngineError::NotFound("Gate"))
    }

    /// Decides a gate, once, about exactly what was shown.
    ///
    /// Refused with the codes of `domain::automation::gate::Refused`. When a file that was shown has changed since, what is
    /// shown is made anew with a new hash, and the decision is refused as stale: whoever decides looks again.
    pub async fn decide_gate(
        &self,
        id: &GateId,
        ask: GateDecision,
        by: &Author,
    ) -> Result<GateView, EngineError> {
        self.inner.refuse_when_closing()?;
        let before = self.gate(id).await?.gate;
        let files = match ask.decision {
            Decision::Approve => self.files_now(&before).await?,
            Decision::Rework | Decision::Cancel => None,
        };
        let now = self.now();
        let context = (before, ask, by.clone(), files, Draws::new(self.inner.dice.bytes()));
        let decided = self.inner.write_unless(context, move |tx, (before, ask, by, files, mut draws)| {
            Box::pin(async move { decide(tx, &before, &ask, &by, files, &mut draws, now).await })
        });
        let judged = decided.await?;
        self.inner.automations.ring();
        self.inner.feed.ring();
        match judged {
            Judged::Counts => self.gate(id).await,
            Judged::Refused(refused, gate) => Err(refusal(&refused, &gate)),
            Judged::Unreadable(why) => {
                let words = format!(
                    "Nothing of this run can be decided: its definition cannot be read ({why}). The run is blocked; \
                     start another one of the automation as it is now"
                );
                let gate = self.gate(id).await?.gate;
                let details = json!({
                    "code": Refused::Withdrawn.code(), "gateId": gate.id, "automationRunId": gate.run_id,
                    "status": gate.status,
                });
                Err(EngineError::refused_with(Kind::Conflict, words, details))
            }
        }
    }

    /// The files that a gate shows, as they are now; `None`: it shows none.
    async fn files_now(&self, gate: &GateRow) -> Result<Option<Json>, EngineError> {
        let run =
            self.inner.read(gate.run_id.clone(), |tx, id| Box::pin(async move { runs::get(tx, &id).await }));
        let root = run.await?.and_then(|run| run.root);
        let mut shown = gate.shown.clone();
        let look = beside(&self.inner.processes, move || {
            let mut any = false;
            for upstream in shown["upstream"].as_array_mut().into_iter().flatten() {
                let files: Vec<OutputFile> =
                    serde_json::from_value(upstream["files"].clone()).unwrap_or_default();
                any |= !files.is_empty();
                let now = found::again(root.as_deref(), &files);
                let now = files.into_iter().zip(now).map(|(was, is)| match is {
                    Some(is) => is,
                    None => OutputFile { bytes: 0, sha256: "missing".to_owned(), ..was },
                });
                upstream["files"] = json!(now.collect::<Vec<_>>());
            }
            any.then_some(shown)
        });
        Ok(look.await.unwrap_or_default())
    }
}

/// The gates of a company that wait, oldest first, behind a place.
pub(crate) async fn views_of_pending(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    after: (Moment, &str),
    limit: i64,
) -> Result<Vec<GateView>, StoreError> {
    let mut views = Vec::new();
    for gate in gates::pending(tx, company, after, limit).await? {
        views.extend(view(tx, gate).await?);
    }
    Ok(views)
}

async fn view(tx: &mut Tx<'_>, gate: GateRow) -> Result<Option<GateView>, StoreError> {
    let Some(run) = runs::get(tx, &gate.run_id).await? else { return Ok(None) };
    let automation = definitions::get(tx, &run.automation_id).await?;
    let automation = automation.map(|it| it.name).unwrap_or_default();
    let wants_answer = may_be_question(&gate) && wants_answer(&gate, &nodes::of_run(tx, &gate.run_id).await?);
    Ok(Some(GateView { gate, automation, run_number: run.number, wants_answer }))
}

/// What an agent asks can be answered, or its run ended: with any other choice a gate is no question of an agent.
fn may_be_question(gate: &GateRow) -> bool {
    gate.decisions == json!([Decision::Approve, Decision::Cancel])
}

/// A gate is never attempted; where it belongs to a node that was, the agent of that step asks.
fn wants_answer(gate: &GateRow, nodes: &[NodeRow]) -> bool {
    nodes.iter().any(|node| node.node_id == gate.node_id && node.attempt > 0)
}

/// The step that a run of an agent works at; `None`: it works at none.
pub(crate) async fn step_of(tx: &mut Tx<'_>, run: &RunId) -> Result<Option<StepOf>, StoreError> {
    let Some(agent_run) = store::runs::get(tx, run).await? else { return Ok(None) };
    let Some(key) = AttemptKey::parse(&agent_run.task_key) else { return Ok(None) };
    let found = runs::get(tx, &key.run).await?;
    let Some(run) = found.filter(|run| run.company_id == agent_run.company_id) else { return Ok(None) };
    let automation = definitions::get(tx, &run.automation_id).await?;
    let automation = automation.map(|it| it.name).unwrap_or_default();
    Ok(Some(StepOf { run_id: run.id, node_id: key.node, automation, run_number: run.number }))
}

/// A gate as far as its time goes.
pub(super) fn open(gate: &GateRow) -> Open {
    let expiry: Option<Expiry> = gate.expiry.as_ref().and_then(|it| serde_json::from_value(it.clone()).ok());
    Open {
        asked_at: gate.asked_at,
        terms: gate::terms(expiry.as_ref()),
        reminded_at: gate.reminded_at,
        reminders: u32::try_from(gate.reminders).unwrap_or(u32::MAX),
        reminded_late: gate.reminded_late,
        escalated: gate.escalated_at.is_some(),
        marked_stale: gate.stale_at.is_some(),
    }
}

fn list<T: serde::de::DeserializeOwned>(json: &Json) -> Vec<T> {
    serde_json::from_value(json.clone()).unwrap_or_default()
}

fn refusal(refused: &Refused, gate: &GateRow) -> EngineError {
    let (kind, words) = match refused {
        Refused::RequiresHuman => (Kind::Forbidden, "Only a person decides a gate".to_owned()),
        Refused::NotAllowed => (Kind::Forbidden, "Not one of the approvers of this gate".to_owned()),
        Refused::SelfApproval => {
            (Kind::Forbidden, "Who started the run may not approve it; somebody else must".to_owned())
        }
        Refused::AlreadyDecided => (Kind::Conflict, "The gate is decided already".to_owned()),
        Refused::Withdrawn => {
            (Kind::Conflict, "The gate was withdrawn: what it asked about is made again".to_owned())
        }
        Refused::Expired => (
            Kind::Conflict,
            "The gate expired before anybody decided; retry its node to ask again".to_owned(),
        ),
        Refused::Stale => {
            (Kind::Conflict, "What was shown is not what is asked now; look at the gate again".to_owned())
        }
        Refused::InvalidDecision => (Kind::Unprocessable, "That cannot be decided here".to_owned()),
        Refused::InvalidTarget(target) => {
            (Kind::Unprocessable, format!("{target} does not come before this gate"))
        }
        Refused::AnswerMissing => {
            let words = "reason: is missing: an agent asks, and goes on with the answer that is said there";
            (Kind::Unprocessable, words.to_owned())
        }
    };
    let details = json!({
        "code": refused.code(), "gateId": gate.id, "automationRunId": gate.run_id, "status": gate.status,
        "winningDecision": gate.decision, "decidedBy": gate.decided_by, "decidedAt": gate.decided_at,
        "hash": gate.hash, "decisions": gate.decisions,
    });
    EngineError::refused_with(kind, words, details)
}

/// Decides; a refusal that comes with something that is to be written is no error.
async fn decide(
    tx: &mut Tx<'_>,
    before: &GateRow,
    ask: &GateDecision,
    by: &Author,
    files: Option<Json>,
    draws: &mut Draws,
    now: Moment,
) -> Result<Judged, EngineError> {
    let loaded = Loaded::load(tx, &before.run_id, true).await?;
    // Read again: the run is locked now.
    let mut gate = gates::get(tx, &before.id).await?.ok_or(EngineError::NotFound("Gate"))?;
    let mut it = match loaded {
        Ok(loaded) => loaded,
        Err(Unloadable::Gone) => return Err(EngineError::NotFound("Automation run")),
        Err(Unloadable::Unreadable(run, why)) => {
            let refused = match gate.status {
                _ if !by.is_board() => Some(Refused::RequiresHuman),
                GateStatus::Pending => None,
                GateStatus::Decided => Some(Refused::AlreadyDecided),
                GateStatus::Expired => Some(Refused::Expired),
                GateStatus::Withdrawn => Some(Refused::Withdrawn),
            };
            if let Some(refused) = refused {
                return Err(refusal(&refused, &gate));
            }
            unreadable::end(tx, *run, &why, now).await?;
            return Ok(Judged::Unreadable(why));
        }
    };
    let definition = it.definition.clone();
    let graph = Graph::of(&definition);
    let (decisions, approvers): (Vec<Decision>, Vec<String>) = (list(&gate.decisions), list(&gate.approvers));
    let user = by.user_id();
    let standing = Standing {
        status: gate.status,
        hash: &gate.hash,
        decisions: &decisions,
        approvers: &approvers,
        escalated_to: gate.escalated_to.as_deref(),
        self_approval: gate.self_approval,
        started_by: gate.started_by.as_deref(),
        before: graph.ancestors(&gate.node_id),
        open: open(&gate),
        wants_answer: definition.node(&gate.node_id).is_some_and(|node| !node.is_gate()),
    };
    let asked = Ask {
        decision: ask.decision,
        hash: &ask.hash,
        targets: &ask.targets,
        by: Decider { is_person: by.is_board(), user: user.as_deref() },
        has_words: ask.reason.as_deref().is_some_and(|words| !words.trim().is_empty()),
    };
    if let Err(refused) = gate::decide(&standing, &asked, now) {
        return Err(refusal(&refused, &gate));
    }
    if let Some(shown) = files.filter(|shown| *shown != gate.shown) {
        gate.hash = bind(&gate.id, &shown);
        gate.shown = shown;
        gates::show_anew(tx, &gate).await?;
        let note = Note::node("gate_changed", &gate.node_id)
            .because(Some("a file that it shows has changed".to_owned()))
            .with(json!({ "gateId": gate.id }));
        telling::tell(tx, &mut it.run, note, now).await?;
        runs::update(tx, &it.run).await?;
        return Ok(Judged::Refused(Refused::Stale, Box::new(gate)));
    }
    let actor = by.actor();
    gate.status = GateStatus::Decided;
    gate.decision = Some(ask.decision);
    gate.reason = ask.reason.clone();
    gate.targets = Some(json!(ask.targets));
    gate.decided_at = Some(now);
    gate.decided_by_kind = Some(actor.kind);
    gate.decided_by = actor.id.clone();
    gate.next_at = None;
    gates::update(tx, &gate).await?;
    let metadata = json!({
        "gateId": gate.id, "decision": ask.decision, "decidedBy": { "kind": actor.kind, "actorId": actor.id },
        "hash": gate.hash, "targets": ask.targets,
    });
    let note = Note::node("gate_decided", &gate.node_id).because(ask.reason.clone()).with(metadata.clone());
    telling::tell(tx, &mut it.run, note, now).await?;
    let mut details = metadata;
    details["reason"] = json!(ask.reason);
    details["nodeId"] = json!(gate.node_id);
    telling::audit(tx, &it.run, &actor, "automation.gate_decided", details, now).await?;
    match ask.decision {
        Decision::Approve => approve(tx, &mut it, &gate, now).await?,
        Decision::Rework => {
            let of = definition.node(&gate.node_id).and_then(|node| node.gate.clone()).unwrap_or_default();
            let targets = gate::rework_targets(&graph, &gate.node_id, &of, &ask.targets);
            let mut reset = operation::from_nodes(&graph, targets);
            reset.nodes.insert(gate.node_id.clone());
            let feedback = ask.reason.clone().unwrap_or_else(|| "a person sent it back".to_owned());
            it.reset(tx, &reset, Some(&feedback), now).await?;
            it.forgive_rejections(tx, &reset).await?;
            if let Some(row) = it.node(&gate.node_id) {
                row.reworks += 1;
                nodes::update(tx, row).await?;
            }
        }
        Decision::Cancel => {
            cancel(tx, &mut it, StopKind::Cancelled, "cancelled at a gate", draws, now).await?;
        }
    }
    if ask.decision != Decision::Cancel {
        proceed(tx, &mut it, draws, now).await?;
    }
    it.run.updated_at = now;
    runs::update(tx, &it.run).await?;
    Ok(Judged::Counts)
}

async fn approve(tx: &mut Tx<'_>, it: &mut Loaded, gate: &GateRow, now: Moment) -> Result<(), StoreError> {
    if it.definition.node(&gate.node_id).is_some_and(|node| !node.is_gate()) {
        return answer(tx, it, gate, now).await;
    }
    let output = Output {
        status: "completed".to_owned(),
        text: gate.reason.clone().unwrap_or_default(),
        json: Some(json!({ "decision": gate.decision, "decidedBy": gate.decided_by, "reason": gate.reason })),
        ..Output::default()
    };
    if let Some(row) = it.node(&gate.node_id) {
        row.state = NodeState::Completed;
        row.output = serde_json::to_value(&output).ok();
        row.finished_at = Some(now);
        nodes::update(tx, row).await?;
    }
    telling::tell(tx, &mut it.run, Note::node("node_completed", &gate.node_id), now).await
}

/// The agent of a step asked: it is woken again with the answer.
async fn answer(tx: &mut Tx<'_>, it: &mut Loaded, gate: &GateRow, now: Moment) -> Result<(), StoreError> {
    let said = gate.reason.as_deref().map(str::trim).unwrap_or_default();
    if let Some(row) = it.node(&gate.node_id) {
        row.state = NodeState::Pending;
        row.reason = None;
        row.feedback =
            Some(domain::automation::feedback::answered(row.feedback.as_deref(), &gate.title, said));
        // People took their time: that is not the step's.
        row.since = None;
        nodes::update(tx, row).await?;
    }
    telling::tell(tx, &mut it.run, Note::node("node_answered", &gate.node_id), now).await
}

/// The run goes on after a decision: at once when it is at work or needs no place for it, or as soon as it has a place.
async fn proceed(tx: &mut Tx<'_>, it: &mut Loaded, draws: &mut Draws, now: Moment) -> Result<(), StoreError> {
    let was = it.run.status;
    if was == AutomationRunStatus::Queued {
        // It waits for a retry of another step, or for its place: what the decision lets begin does not wait for the first.
        it.run.not_before = None;
        it.run.held_reason = None;
        it.run.held_resource = None;
        it.run.held_until = None;
    }
    if let Ok(status) = next(was, RunEvent::Decided) {
        if status == AutomationRunStatus::Queued {
            let mut done = Done::default();
            let turn = (&mut *it, &mut done, draws);
            if !Turn::of_waiting(turn, now).without_place(tx).await? {
                requeue(&mut it.run, now);
                telling::tell(tx, &mut it.run, Note::run("run_resumed"), now).await?;
            }
        } else if status.is_at_work() {
            it.run.look_at = Some(now);
        }
    }
    Ok(())
}

/// The run is to end: at once, or when what is under way has stopped.
pub(super) async fn cancel(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    kind: StopKind,
    reason: &str,
    draws: &mut Draws,
    now: Moment,
) -> Result<(), StoreError> {
    let order = Order::new(StopAt::Cancelled, kind, Some(reason.to_owned()));
    let Ok(stopping) = stopping::tell(&mut it.run, order, now) else { return Ok(()) };
    let event = match stopping {
        Stopping::First(_) => "run_cancel_requested",
        Stopping::Done(_) => "run_cancelled",
    };
    telling::tell(tx, &mut it.run, Note::run(event).because(Some(reason.to_owned())), now).await?;
    match stopping {
        Stopping::First(_) => Ok(()),
        Stopping::Done(_) => over(tx, it, draws, now).await,
    }
}

pub(super) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !sweeps::rest(&engine, "gates", &engine.automations.gates, pass).await {
            return;
        }
    }
}

/// What their time does to gates: each by itself, guarded by what was seen.
async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    let mut failed = false;
    loop {
        let now = engine.clock.now();
        let due =
            engine.read((), move |tx, ()| Box::pin(async move { gates::due(tx, now, BATCH).await })).await?;
        if due.is_empty() || engine.closing.is_cancelled() {
            break;
        }
        for gate in due {
            let id = gate.id.clone();
            let context = (gate.run_id, gate.id, Draws::new(engine.dice.bytes()));
            let acted = engine.write(context, move |tx, (run, gate, mut draws)| {
                Box::pin(async move { act(tx, &run, &gate, &mut draws, now).await })
            });
            if let Err(error) = acted.await {
                // One gate's trouble is not another's: it is said, and comes again.
                tracing::warn!(gate = %id, %error, "cannot look after the gate");
                failed = true;
            }
        }
        engine.automations.tend.notify_one();
        engine.automations.admission.notify_one();
        engine.automations.schedules.notify_one();
        engine.automations.status.notify_one();
        engine.feed.ring();
        if failed {
            return Ok(engine.settings.period);
        }
    }
    let next = engine.read((), |tx, ()| Box::pin(gates::next_due(tx))).await?;
    let seldom = sweeps::seldom(engine);
    Ok(next.map_or(seldom, |at| at.since(engine.clock.now())).clamp(Duration::from_millis(20), seldom))
}

async fn act(
    tx: &mut Tx<'_>,
    run: &AutomationRunId,
    id: &GateId,
    draws: &mut Draws,
    now: Moment,
) -> Result<(), StoreError> {
    let loaded = Loaded::load(tx, run, true).await?;
    let Some(mut gate) = gates::get(tx, id).await?.filter(|gate| gate.status == GateStatus::Pending) else {
        return Ok(());
    };
    let mut it = match loaded {
        Ok(it) => it,
        Err(Unloadable::Gone) => {
            // A gate that stays as it is would be due for ever.
            gate.status = GateStatus::Withdrawn;
            gate.next_at = None;
            return gates::update(tx, &gate).await;
        }
        // Nobody can decide for it.
        Err(Unloadable::Unreadable(run, why)) if run.status.is_at_work() => {
            // The run's own look takes the question back; until then there is nothing to do here.
            gate.next_at = Some(now.plus(LOOK_AGAIN));
            gates::update(tx, &gate).await?;
            return unreadable::end(tx, *run, &why, now).await;
        }
        Err(Unloadable::Unreadable(run, why)) => return unreadable::end(tx, *run, &why, now).await,
    };
    let by = Actor { kind: ActorKind::System, id: Some("automation_gate_expiry".to_owned()) };
    let (acts, next_at) = gate::due(&open(&gate), now);
    gate.next_at = next_at;
    for act in acts {
        let node = gate.node_id.clone();
        let (event, action, metadata) = match act {
            Act::MarkStale => {
                gate.stale_at = Some(now);
                let seconds = gate::STALE_AFTER.as_secs();
                it.run.detail = Some(format!("a gate has waited for more than {seconds} s"));
                ("gate_marked_stale", "approval_gate_marked_stale", json!({ "staleAfterSec": seconds }))
            }
            Act::Remind { number, late } => {
                gate.reminders = i64::from(number);
                gate.reminded_at = Some(now);
                gate.reminded_late |= late;
                let key = format!("automation:{run}:{node}:reminder:{number}");
                let metadata = json!({ "number": number, "late": late, "notificationKey": key });
                ("gate_reminder_due", "approval_gate_reminder_due", metadata)
            }
            Act::Escalate { to } => {
                gate.escalated_at = Some(now);
                gate.escalated_to = Some(to.clone());
                gate.reminders += 1;
                ("gate_escalated", "approval_gate_escalated", json!({ "escalatedTo": to }))
            }
            Act::Expire => {
                gate.status = GateStatus::Expired;
                gate.decided_at = Some(now);
                gate.decided_by_kind = Some(by.kind);
                gate.decided_by = by.id.clone();
                ("gate_expired", "approval_gate_expired", json!({ "expiresAt": gate.expires_at }))
            }
        };
        let mut metadata = metadata;
        metadata["gateId"] = json!(gate.id);
        telling::tell(tx, &mut it.run, Note::node(event, &node).with(metadata.clone()), now).await?;
        metadata["nodeId"] = json!(node);
        let action = format!("automation.internal_sweep.{action}");
        telling::audit(tx, &it.run, &by, &action, metadata, now).await?;
        gates::update(tx, &gate).await?;
        if gate.status == GateStatus::Expired {
            let reason = format!("nobody decided at {node} in time; retry it to ask again");
            cancel(tx, &mut it, StopKind::Cancelled, &reason, draws, now).await?;
            // One that ends for another reason already is ended by that.
            if it.run.stop_reason.as_deref() == Some(reason.as_str()) {
                let item = inbox::of_expired(&it.run, &it.automation.name, &gate, mint(now, draws.draw()));
                store::inbox::open(tx, &item).await?;
            }
        }
    }
    gates::update(tx, &gate).await?;
    it.run.updated_at = now;
    runs::update(tx, &it.run).await
}
