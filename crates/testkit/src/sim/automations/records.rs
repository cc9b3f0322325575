//! What the rules of automations look at, read from the store in one look.

use std::collections::{BTreeMap, BTreeSet};

use domain::automation::calendar::{SkipReason, SlotState};
use domain::automation::definition::Decision;
use domain::automation::gate::GateStatus;
use domain::automation::{AttemptState, AutomationRunStatus, NodeState, StopKind, TriggerType};
use domain::hold::HeldReason;
use serde_json::Value as Json;
use store::{StoreError, Tx, p, sql};

/// A run of an automation.
#[derive(Debug, Clone)]
pub(crate) struct WorkRun {
    pub(crate) id: String,
    pub(crate) automation: String,
    pub(crate) version: i64,
    pub(crate) status: AutomationRunStatus,
    pub(crate) trigger: TriggerType,
    pub(crate) key: Option<String>,
    pub(crate) finished_at: Option<i64>,
    pub(crate) root: Option<String>,
    pub(crate) held_reason: Option<HeldReason>,
    pub(crate) held_until: Option<i64>,
    pub(crate) stop_to: Option<AutomationRunStatus>,
    pub(crate) stop_kind: Option<StopKind>,
    pub(crate) working_since: Option<i64>,
    pub(crate) cost: i64,
    pub(crate) detail: Option<String>,
    pub(crate) history_seq: i64,
    pub(crate) look_at: Option<i64>,
}

/// A node of a run.
#[derive(Debug, Clone)]
pub(crate) struct WorkNode {
    pub(crate) run: String,
    pub(crate) id: String,
    pub(crate) state: NodeState,
    pub(crate) attempt: i64,
    pub(crate) attempts: i64,
    pub(crate) repairs: i64,
    pub(crate) reworks: i64,
    pub(crate) retry_at: Option<i64>,
    pub(crate) reason: Option<String>,
    pub(crate) output: Option<Json>,
}

/// An attempt at a node.
#[derive(Debug, Clone)]
pub(crate) struct WorkAttempt {
    pub(crate) run: String,
    pub(crate) node: String,
    pub(crate) attempt: i64,
    pub(crate) agent_run: Option<String>,
    pub(crate) state: AttemptState,
    pub(crate) counts: bool,
    pub(crate) deliver_at: i64,
    pub(crate) held_reason: Option<HeldReason>,
    pub(crate) has_record: bool,
    pub(crate) cost: i64,
}

impl WorkAttempt {
    pub(crate) fn is_live(&self) -> bool {
        self.state != AttemptState::Ended
    }
}

/// A question to people.
#[derive(Debug, Clone)]
pub(crate) struct WorkGate {
    pub(crate) id: String,
    pub(crate) run: String,
    pub(crate) node: String,
    pub(crate) status: GateStatus,
    pub(crate) hash: String,
    pub(crate) shown: Json,
    pub(crate) decisions: Vec<Decision>,
    pub(crate) approvers: Vec<String>,
    pub(crate) self_approval: bool,
    pub(crate) started_by: Option<String>,
    pub(crate) decision: Option<Decision>,
    pub(crate) decided_by: Option<String>,
    pub(crate) next_at: Option<i64>,
}

/// A schedule.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) id: String,
    pub(crate) spec: Json,
    pub(crate) next_at: Option<i64>,
    pub(crate) last_slot: Option<i64>,
}

/// A slot of a schedule.
#[derive(Debug, Clone)]
pub(crate) struct SlotRow {
    pub(crate) schedule: String,
    pub(crate) slot: i64,
    pub(crate) state: SlotState,
    pub(crate) reason: Option<SkipReason>,
    pub(crate) run: Option<String>,
}

/// Something that was told of a run.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) run: String,
    pub(crate) seq: i64,
    pub(crate) status: AutomationRunStatus,
    pub(crate) event: String,
    pub(crate) node: Option<String>,
    pub(crate) payload: Json,
}

/// The whole record of automations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Work {
    /// By id: name and status.
    pub(crate) automations: BTreeMap<String, (String, String)>,
    /// By automation and version.
    pub(crate) definitions: BTreeMap<(String, i64), Json>,
    pub(crate) runs: Vec<WorkRun>,
    pub(crate) nodes: Vec<WorkNode>,
    pub(crate) attempts: Vec<WorkAttempt>,
    pub(crate) gates: Vec<WorkGate>,
    pub(crate) schedules: Vec<Planned>,
    pub(crate) slots: Vec<SlotRow>,
    /// Run, number of entries of its history, and the highest number of one.
    pub(crate) histories: BTreeMap<String, (i64, i64)>,
    /// What was told since the last look.
    pub(crate) told: Vec<Told>,
    /// Where the next look goes on.
    pub(crate) cursor: i64,
}

impl Work {
    pub(crate) fn run(&self, id: &str) -> Option<&WorkRun> {
        self.runs.iter().find(|run| run.id == id)
    }

    pub(crate) fn nodes_of<'a>(&'a self, run: &'a str) -> impl Iterator<Item = &'a WorkNode> {
        self.nodes.iter().filter(move |node| node.run == run)
    }

    /// What a run goes by; repairs change no edge of it.
    pub(crate) fn definition(&self, run: &WorkRun) -> &Json {
        static NONE: Json = Json::Null;
        self.definitions.get(&(run.automation.clone(), run.version)).unwrap_or(&NONE)
    }

    /// A node as its definition has it.
    pub(crate) fn defined(&self, run: &WorkRun, node: &str) -> Option<&Json> {
        self.definition(run)["nodes"].as_array()?.iter().find(|it| it["id"] == *node)
    }

    /// What a node depends on.
    pub(crate) fn dependencies(&self, run: &WorkRun, node: &str) -> BTreeSet<String> {
        let listed = self.defined(run, node).and_then(|node| node["dependsOn"].as_array());
        listed.into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect()
    }

    /// Reads all of it; of what was told, what came behind the cursor. `known` are definitions that were read before:
    /// they never change.
    pub(crate) async fn read(
        tx: &mut Tx<'_>,
        cursor: i64,
        known: BTreeMap<(String, i64), Json>,
    ) -> Result<Work, StoreError> {
        let mut work = Work { cursor, definitions: known, ..Work::default() };
        let sql = sql!("SELECT id, name, status FROM automations ORDER BY id");
        for row in tx.rows(sql, p![]).await? {
            work.automations.insert(row.get(0)?, (row.get(1)?, row.get(2)?));
        }
        let sql = sql!("SELECT automation_id, version, definition FROM automation_versions");
        for row in tx.rows(sql, p![]).await? {
            let key: (String, i64) = (row.get(0)?, row.get(1)?);
            if let std::collections::btree_map::Entry::Vacant(place) = work.definitions.entry(key) {
                place.insert(json(&row.get::<String>(2)?));
            }
        }
        let sql = sql!(
            "SELECT id, automation_id, version, status, trigger_type, idempotency_key, finished_at, root, held_reason, \
             held_until, stop_to, stop_kind, working_since, cost_micros, detail, history_seq, look_at \
             FROM automation_runs ORDER BY created_at, id"
        );
        for row in tx.rows(sql, p![]).await? {
            work.runs.push(WorkRun {
                id: row.get(0)?,
                automation: row.get(1)?,
                version: row.get(2)?,
                status: row.get(3)?,
                trigger: row.get(4)?,
                key: row.get(5)?,
                finished_at: row.get(6)?,
                root: row.get(7)?,
                held_reason: row.get(8)?,
                held_until: row.get(9)?,
                stop_to: row.get(10)?,
                stop_kind: row.get(11)?,
                working_since: row.get(12)?,
                cost: row.get(13)?,
                detail: row.get(14)?,
                history_seq: row.get(15)?,
                look_at: row.get(16)?,
            });
        }
        work.read_steps(tx).await?;
        work.read_plans(tx).await?;
        let sql = sql!("SELECT run_id, COUNT(*), MAX(seq) FROM automation_history GROUP BY run_id");
        for row in tx.rows(sql, p![]).await? {
            work.histories.insert(row.get(0)?, (row.get(1)?, row.get(2)?));
        }
        let sql = sql!("SELECT id, type, payload FROM events WHERE id > $1 ORDER BY id");
        for row in tx.rows(sql, p![cursor]).await? {
            work.cursor = row.get(0)?;
            let kind: String = row.get(1)?;
            if let Some(event) = kind.strip_prefix("automation.") {
                work.told.extend(told(event, json(&row.get::<String>(2)?)));
            }
        }
        // Of one run in the order of its history: ids of two transactions may be the other way round.
        work.told.sort_by(|a, b| (&a.run, a.seq).cmp(&(&b.run, b.seq)));
        Ok(work)
    }

    async fn read_steps(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = sql!(
            "SELECT run_id, node_id, state, attempt, attempts, repairs, reworks, retry_at, reason, output \
             FROM automation_nodes ORDER BY run_id, place"
        );
        for row in tx.rows(sql, p![]).await? {
            self.nodes.push(WorkNode {
                run: row.get(0)?,
                id: row.get(1)?,
                state: row.get(2)?,
                attempt: row.get(3)?,
                attempts: row.get(4)?,
                repairs: row.get(5)?,
                reworks: row.get(6)?,
                retry_at: row.get(7)?,
                reason: row.get(8)?,
                output: row.get(9)?,
            });
        }
        let sql = sql!(
            "SELECT run_id, node_id, attempt, agent_run_id, state, counts, deliver_at, held_reason, record, cost_micros \
             FROM automation_attempts ORDER BY run_id, node_id, attempt"
        );
        for row in tx.rows(sql, p![]).await? {
            self.attempts.push(WorkAttempt {
                run: row.get(0)?,
                node: row.get(1)?,
                attempt: row.get(2)?,
                agent_run: row.get(3)?,
                state: row.get(4)?,
                counts: row.get(5)?,
                deliver_at: row.get(6)?,
                held_reason: row.get(7)?,
                has_record: row.get::<Option<Json>>(8)?.is_some(),
                cost: row.get(9)?,
            });
        }
        let sql = sql!(
            "SELECT id, run_id, node_id, status, hash, shown, decisions, approvers, self_approval, started_by, decision, \
             decided_by, next_at FROM automation_gates ORDER BY asked_at, id"
        );
        for row in tx.rows(sql, p![]).await? {
            self.gates.push(WorkGate {
                id: row.get(0)?,
                run: row.get(1)?,
                node: row.get(2)?,
                status: row.get(3)?,
                hash: row.get(4)?,
                shown: row.get(5)?,
                decisions: serde_json::from_value(row.get(6)?).unwrap_or_default(),
                approvers: serde_json::from_value(row.get(7)?).unwrap_or_default(),
                self_approval: row.get(8)?,
                started_by: row.get(9)?,
                decision: row.get(10)?,
                decided_by: row.get(11)?,
                next_at: row.get(12)?,
            });
        }
        Ok(())
    }

    async fn read_plans(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = sql!(
            "SELECT id, spec, next_at, last_slot FROM automation_schedules WHERE removed_at IS NULL \
             ORDER BY created_at, id"
        );
        for row in tx.rows(sql, p![]).await? {
            self.schedules.push(Planned {
                id: row.get(0)?,
                spec: row.get(1)?,
                next_at: row.get(2)?,
                last_slot: row.get(3)?,
            });
        }
        let sql = sql!(
            "SELECT schedule_id, slot, state, reason, automation_run_id FROM schedule_slots ORDER BY schedule_id, slot"
        );
        for row in tx.rows(sql, p![]).await? {
            self.slots.push(SlotRow {
                schedule: row.get(0)?,
                slot: row.get(1)?,
                state: row.get(2)?,
                reason: row.get(3)?,
                run: row.get(4)?,
            });
        }
        Ok(())
    }
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_default()
}

/// What an event says of a run; `None`: it is about something else.
fn told(event: &str, payload: Json) -> Option<Told> {
    Some(Told {
        run: payload["automationRunId"].as_str()?.to_owned(),
        seq: payload["seq"].as_i64()?,
        status: serde_json::from_value(payload["status"].clone()).ok()?,
        event: event.to_owned(),
        node: payload["nodeId"].as_str().map(str::to_owned),
        payload,
    })
}
