//! Asking people: what a gate shows, and the digest that binds a decision to it. What people answer is in `gates`.

use domain::automation::definition::{Decision, Gate};
use domain::automation::gate::{self as rule, GateStatus};
use domain::automation::graph::Graph;
use domain::automation::{FailureClass, NodeState, feedback, template};
use domain::ids::GateId;
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::automations::gates::{self, GateRow};
use store::automations::nodes;
use store::{StoreError, Tx};

use super::endings::NO_SUCH_NODE;
use super::loaded::Loaded;
use super::telling::{self, Note};
use crate::digest;

/// Asks people at a node, under a new id; or says why it cannot be asked.
pub(super) async fn ask(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    id: &str,
    gate: GateId,
    now: Moment,
) -> Result<Result<(), (FailureClass, String)>, StoreError> {
    let Some(node) = it.definition.node(id).cloned() else {
        return Ok(Err((FailureClass::ToolResolution, NO_SUCH_NODE.to_owned())));
    };
    let of = node.gate.clone().unwrap_or_default();
    let data = it.template_data();
    let fill = |text: Option<&String>| text.map(|text| template::fill(text, &data)).transpose();
    let (title, instructions) = match (fill(of.title.as_ref()), fill(of.instructions.as_ref())) {
        (Ok(title), Ok(instructions)) => (title, instructions),
        (Err(error), _) | (_, Err(error)) => {
            let words = format!("its question cannot be filled: {error}");
            return Ok(Err((FailureClass::Template, words)));
        }
    };
    let title = title.unwrap_or_else(|| format!("{}: {id}", it.automation.name));
    open(tx, it, (id, gate), &of, (title, instructions), now).await?;
    Ok(Ok(()))
}

/// Asks people what the agent of a step wants to know; the step goes on with the answer.
pub(super) async fn ask_for_agent(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    (id, gate): (&str, GateId),
    (question, words): (&str, &str),
    now: Moment,
) -> Result<(), StoreError> {
    const LONGEST_TITLE: usize = 300;
    let of = Gate { decisions: vec![Decision::Approve, Decision::Cancel], ..Gate::default() };
    let line = question.lines().next().unwrap_or_default();
    let title = format!("{}{}", feedback::asks(id), &line[..line.floor_char_boundary(LONGEST_TITLE)]);
    let instructions = match words.contains(question) {
        true => words.to_owned(),
        false => format!("{question}\n\n{words}"),
    };
    open(tx, it, (id, gate), &of, (title, Some(instructions)), now).await
}

async fn open(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    (id, gate): (&str, GateId),
    of: &Gate,
    (title, instructions): (String, Option<String>),
    now: Moment,
) -> Result<(), StoreError> {
    let shown = shown(it, id, &title, instructions.as_deref());
    let terms = rule::terms(of.expiry.as_ref());
    let mut row = GateRow {
        hash: bind(&gate, &shown),
        id: gate,
        company_id: it.run.company_id.clone(),
        run_id: it.run.id.clone(),
        node_id: id.to_owned(),
        status: GateStatus::Pending,
        title,
        instructions,
        shown,
        decisions: json!(rule::decisions(of)),
        rework_targets: json!(of.rework_targets),
        approvers: json!(of.approvers),
        self_approval: of.self_approval.unwrap_or(true),
        started_by: it.started_by(),
        expiry: of.expiry.as_ref().map(|expiry| json!(expiry)),
        asked_at: now,
        expires_at: terms.expires_after.map(|after| now.plus(after)),
        next_at: None,
        reminded_at: None,
        reminders: 0,
        reminded_late: false,
        escalated_at: None,
        escalated_to: None,
        stale_at: None,
        decision: None,
        reason: None,
        targets: None,
        decided_at: None,
        decided_by_kind: None,
        decided_by: None,
    };
    row.next_at = rule::due(&super::gates::open(&row), now).1;
    gates::insert(tx, &row).await?;
    if let Some(node) = it.node(id) {
        node.state = NodeState::AwaitingApproval;
        node.started_at = node.started_at.or(Some(now));
        nodes::update(tx, node).await?;
    }
    let note = Note::node("gate_opened", id).with(json!({
        "gateId": row.id, "title": row.title, "expiresAt": row.expires_at,
    }));
    telling::tell(tx, &mut it.run, note, now).await
}

/// Everything that people are shown at a gate.
pub(super) fn shown(it: &Loaded, node: &str, title: &str, instructions: Option<&str>) -> Json {
    let graph = Graph::of(&it.definition);
    let upstream: Vec<Json> = graph
        .dependencies(node)
        .iter()
        .map(|id| {
            let output = it.output(id).unwrap_or_default();
            json!({ "nodeId": id, "status": output.status, "text": output.text, "json": output.json, "files": output.files })
        })
        .collect();
    let mut shown = json!({
        "automation": it.automation.name, "version": it.run.version, "automationRunId": it.run.id, "nodeId": node,
        "title": title, "instructions": instructions, "inputs": it.run.inputs, "upstream": upstream,
    });
    if let Some(own) = own_definition(it) {
        shown["definition"] = json!(own);
    }
    shown
}

/// What an approval lets happen is the version of the automation, or what a repair made of it in this run: its digest.
fn own_definition(it: &Loaded) -> Option<String> {
    it.run.own_definition.as_ref().map(|own| digest::sha256(rule::canonical(own)))
}

/// A repair has changed what an approval would let happen: open questions are put anew, and who looked before has to look
/// again.
pub(super) async fn put_anew(tx: &mut Tx<'_>, it: &mut Loaded, now: Moment) -> Result<(), StoreError> {
    for mut gate in it.open_gates(tx).await? {
        gate.shown["definition"] = json!(own_definition(it));
        gate.hash = bind(&gate.id, &gate.shown);
        gates::show_anew(tx, &gate).await?;
        let note = Note::node("gate_changed", &gate.node_id)
            .because(Some("a repair has changed what comes after it".to_owned()))
            .with(json!({ "gateId": gate.id }));
        telling::tell(tx, &mut it.run, note, now).await?;
    }
    Ok(())
}

/// The digest that a decision names.
pub(super) fn bind(gate: &GateId, shown: &Json) -> String {
    digest::sha256(rule::bound(gate.as_str(), shown))
}
