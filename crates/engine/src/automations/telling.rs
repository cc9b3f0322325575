//! What is told of automation runs: an entry of the run's history, an event for subscribers, and for what must be
//! believed later a record of the audit chain; all in the transaction of the change.

use domain::automation::AutomationRunStatus;
use domain::moment::Moment;
use domain::wake::Actor;
use serde_json::{Value as Json, json};
use store::audit::{self, AuditRecord};
use store::automations::history::{self, Entry};
use store::automations::runs::AutomationRun;
use store::{StoreError, Tx, events};

/// Something that happened to a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Note<'a> {
    /// As `run_paused`, `node_started` or `gate_opened`; the event is `automation.run.paused` and so on.
    pub(crate) event: &'a str,
    pub(crate) node: Option<&'a str>,
    pub(crate) reason: Option<String>,
    pub(crate) metadata: Option<Json>,
}

impl<'a> Note<'a> {
    pub(crate) fn run(event: &'a str) -> Note<'a> {
        Note { event, ..Note::default() }
    }

    pub(crate) fn node(event: &'a str, node: &'a str) -> Note<'a> {
        Note { event, node: Some(node), ..Note::default() }
    }

    pub(crate) fn because(self, reason: Option<String>) -> Note<'a> {
        Note { reason, ..self }
    }

    pub(crate) fn with(self, metadata: Json) -> Note<'a> {
        Note { metadata: Some(metadata), ..self }
    }
}

/// Tells it. The run's row is locked, and is written by the caller afterwards: its history has grown.
pub(crate) async fn tell(
    tx: &mut Tx<'_>,
    run: &mut AutomationRun,
    note: Note<'_>,
    now: Moment,
) -> Result<(), StoreError> {
    run.history_seq += 1;
    let is_of_stop = matches!(
        run.status,
        AutomationRunStatus::Paused | AutomationRunStatus::Cancelled | AutomationRunStatus::Failed
    );
    let entry = Entry {
        run_id: run.id.clone(),
        seq: run.history_seq,
        at: now,
        event: note.event.to_owned(),
        node_id: note.node.map(str::to_owned),
        reason: note.reason,
        stop_kind: run.stop_kind.filter(|_| is_of_stop),
        metadata: note.metadata,
    };
    let mut payload = json!({
        "automationId": run.automation_id, "automationRunId": run.id, "number": run.number, "status": run.status,
        "seq": entry.seq, "nodeId": entry.node_id, "reason": entry.reason, "stopKind": entry.stop_kind,
    });
    if let Some(Json::Object(more)) = &entry.metadata {
        for (key, value) in more {
            payload[key.as_str()] = value.clone();
        }
    }
    history::add(tx, &entry).await?;
    let kind = kind(note.event);
    events::append(tx, run.company_id.as_str(), &kind, &payload.to_string(), now.micros()).await
}

/// The type of the event that subscribers hear of an entry of the history (D23).
pub fn kind(event: &str) -> String {
    match event.split_once('_') {
        Some((noun, verb)) => format!("automation.{noun}.{verb}"),
        None => format!("automation.{event}"),
    }
}

/// Records a decision of a person, or what a sweep did, in the audit chain.
pub(crate) async fn audit(
    tx: &mut Tx<'_>,
    run: &AutomationRun,
    by: &Actor,
    action: &str,
    details: Json,
    now: Moment,
) -> Result<(), StoreError> {
    let record = AuditRecord {
        company_id: Some(run.company_id.0.clone()),
        actor: in_words(by),
        action: action.to_owned(),
        subject: run.id.0.clone(),
        details_json: details.to_string(),
        at: now.micros(),
    };
    audit::append(tx, record).await
}

/// Who did it, as the audit chain names them.
pub(super) fn in_words(actor: &Actor) -> String {
    format!("{}:{}", actor.kind, actor.id.as_deref().unwrap_or("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_named_after_their_noun() {
        for (event, expected) in [
            ("run_created", "automation.run.created"),
            ("run_paused_stale", "automation.run.paused_stale"),
            ("node_repair_requested", "automation.node.repair_requested"),
            ("gate_opened", "automation.gate.opened"),
        ] {
            assert_eq!(kind(event), expected);
        }
    }
}
