//! Many automation runs, quickly: an automation of one step and a gate, runs of it that are over, and some that are not.
//! Each over run has its two nodes, an attempt, a decided gate and its history.

use anyhow::Result;
use domain::automation::AutomationStatus;
use domain::ids::{AgentId, AutomationId, CompanyId};
use domain::moment::Moment;
use engine::{Dice, SystemDice};
use serde_json::{Value as Json, json};
use store::automations::definitions::{self, Automation, Version};
use store::{Store, StoreError, Tx, p, sql};

use crate::bench::now;

/// Runs in one transaction.
const CHUNK: i64 = 10_000;
/// One run began every five seconds.
const APART: i64 = 5_000_000;

/// The status of run i that is over.
macro_rules! over {
    () => {
        "CASE WHEN i % 20 = 0 THEN 'failed' ELSE 'completed' END"
    };
}

/// The status of run i that is not: half of them wait to begin, most others for people, and eight are at work.
macro_rules! live {
    () => {
        "CASE WHEN i % 125 = 0 THEN 'running' WHEN i % 10 < 5 THEN 'queued' WHEN i % 10 < 9 THEN 'awaiting_approval' \
         ELSE 'paused' END"
    };
}

macro_rules! automation_runs {
    ($id:expr, $status:expr) => {
        concat!(
            "INSERT INTO automation_runs (id, company_id, automation_id, version, number, status, trigger_type, inputs, \
             idempotency_key, body_hash, priority, actor_kind, actor_id, created_at, updated_at, queued_at, started_at, \
             finished_at, epoch, server_node, worked_micros, working_since, history_seq, told_seq, look_at, stop_kind)",
            numbers!(),
            "SELECT id, $3, $5, 1, number, status, 'manual', '{\"since\": \"v1.0\"}', 'key ' || id, 'body', 2, 'user', \
             'local-board', at, at + 3000000, at, CASE WHEN status <> 'queued' THEN at END, \
             CASE WHEN status IN ('completed', 'failed') THEN at + 3000000 END, 1, 'bench', 2000000, \
             CASE WHEN status = 'running' THEN at END, 5, 5, CASE WHEN status = 'running' THEN at END, \
             CASE WHEN status = 'paused' THEN 'operator_stopped' END \
             FROM (SELECT ",
            $id,
            " AS id, ",
            $status,
            " AS status, ",
            began!(),
            " AS at, i + 1 AS number FROM n) AS made"
        )
    };
}

/// What hangs on the runs that began from $2 to $3.
async fn add_parts(
    tx: &mut Tx<'_>,
    automation: &AutomationId,
    agent: &AgentId,
    (from, to): (Moment, Moment),
) -> Result<(), StoreError> {
    let nodes = sql!(
        "INSERT INTO automation_nodes (run_id, node_id, place, state, attempt, attempts, output, since, started_at) \
         SELECT id, 'a', 0, CASE WHEN status IN ('completed', 'awaiting_approval') THEN 'completed' \
         WHEN status = 'failed' THEN 'failed' ELSE 'pending' END, \
         CASE WHEN status IN ('completed', 'awaiting_approval', 'failed') THEN 1 ELSE 0 END, 0, \
         CASE WHEN status IN ('completed', 'awaiting_approval') THEN '{\"status\": \"completed\", \"text\": \"a draft\"}' END, \
         created_at, created_at FROM automation_runs WHERE automation_id = $1 AND created_at BETWEEN $2 AND $3"
    );
    let gate_nodes = sql!(
        "INSERT INTO automation_nodes (run_id, node_id, place, state, since, started_at) \
         SELECT id, 'ok', 1, CASE WHEN status IN ('completed', 'awaiting_approval') THEN status ELSE 'pending' END, \
         created_at, created_at FROM automation_runs WHERE automation_id = $1 AND created_at BETWEEN $2 AND $3"
    );
    let attempts = sql!(
        "INSERT INTO automation_attempts (run_id, node_id, attempt, company_id, epoch, agent_id, agent_run_id, state, \
         objective, ordered_at, deliver_at, started_at, ended_at, record, tokens) SELECT id, 'a', 1, company_id, 1, $4, id, \
         'ended', 'write the notes of this release', created_at, created_at, created_at, created_at + 2000000, \
         '{\"outcome\": \"completed\"}', 12345 FROM automation_runs \
         WHERE automation_id = $1 AND created_at BETWEEN $2 AND $3 AND status IN ('completed', 'failed', 'awaiting_approval')"
    );
    let gates = sql!(
        "INSERT INTO automation_gates (id, company_id, run_id, node_id, status, title, shown, hash, decisions, \
         rework_targets, approvers, self_approval, started_by, asked_at, next_at, decision, decided_at, decided_by_kind, \
         decided_by) SELECT id, company_id, id, 'ok', CASE WHEN status = 'completed' THEN 'decided' ELSE 'pending' END, \
         'may it go on?', '{\"title\": \"may it go on?\"}', 'of what is shown', '[\"approve\", \"rework\", \"cancel\"]', '[]', \
         '[]', TRUE, 'local-board', created_at, CASE WHEN status <> 'completed' THEN created_at + 8640000000000 END, \
         CASE WHEN status = 'completed' THEN 'approve' END, CASE WHEN status = 'completed' THEN created_at END, \
         CASE WHEN status = 'completed' THEN 'user' END, CASE WHEN status = 'completed' THEN 'local-board' END \
         FROM automation_runs \
         WHERE automation_id = $1 AND created_at BETWEEN $2 AND $3 AND status IN ('completed', 'awaiting_approval')"
    );
    let history = sql!(
        "INSERT INTO automation_history (run_id, seq, at, event, node_id, metadata) \
         SELECT id, e.seq, created_at, e.event, CASE WHEN e.seq > 2 THEN 'a' END, '{\"attempt\": 1, \"epoch\": 1}' \
         FROM automation_runs CROSS JOIN (SELECT 1 AS seq, 'run_created' AS event UNION ALL SELECT 2, 'run_execution_claimed' \
         UNION ALL SELECT 3, 'node_started' UNION ALL SELECT 4, 'node_completed' UNION ALL SELECT 5, 'gate_opened') AS e \
         WHERE automation_id = $1 AND created_at BETWEEN $2 AND $3"
    );
    for statement in [nodes, gate_nodes, gates, history] {
        tx.run(statement, p![automation, from, to]).await?;
    }
    tx.run(attempts, p![automation, from, to, agent]).await
}

/// The graph of the stored runs, and of those that are measured.
pub(crate) fn definition(agent: &str) -> Json {
    json!({
        "name": "notes",
        "nodes": [
            { "id": "a", "agent": agent, "objective": "write the notes of this release" },
            { "id": "ok", "dependsOn": ["a"], "gate": { "title": "may it go on?" } },
        ],
    })
}

/// Adds an automation of a step and a gate.
pub(crate) async fn found(store: &Store, company: &CompanyId, agent: &AgentId) -> Result<AutomationId> {
    let at = now();
    let automation = Automation {
        id: AutomationId::mint(at, SystemDice.bytes()),
        company_id: company.clone(),
        name: "notes".to_owned(),
        status: AutomationStatus::Active,
        paused_reason: None,
        version: 1,
        created_by: None,
        created_at: at,
        updated_at: at,
        removed_at: None,
    };
    let version = Version {
        automation_id: automation.id.clone(),
        version: 1,
        hash: "of the definition".to_owned(),
        definition: definition(agent.as_str()),
        created_by: None,
        created_at: at,
    };
    let id = automation.id.clone();
    store
        .write(move |tx| {
            let (automation, version) = (automation.clone(), version.clone());
            Box::pin(async move {
                definitions::insert(tx, &automation).await?;
                definitions::add_version(tx, &version).await
            })
        })
        .await?;
    Ok(id)
}

/// Adds runs that are over, and behind them some that are not. The newest began an hour ago.
pub(crate) async fn add(
    store: &Store,
    (company, automation, agent): (&CompanyId, &AutomationId, &AgentId),
    over: i64,
    live: i64,
) -> Result<()> {
    let first = now().micros() - 3_600_000_000 - (over + live) * APART;
    let mut from = 0;
    while from < over + live {
        let is_live = from >= over;
        let to = (from + CHUNK).min(if is_live { over + live } else { over }) - 1;
        let context = (company.clone(), automation.clone(), agent.clone());
        let added = store.write_bulk(move |tx| {
            let (company, automation, agent) = context.clone();
            Box::pin(async move {
                let statement = match (is_live, tx.is_postgres()) {
                    (false, false) => sql!(automation_runs!(run_id!(sqlite), over!())),
                    (false, true) => sql!(automation_runs!(run_id!(postgres), over!())),
                    (true, false) => sql!(automation_runs!(run_id!(sqlite), live!())),
                    (true, true) => sql!(automation_runs!(run_id!(postgres), live!())),
                };
                tx.run(statement, p![from, to, &company, first, &automation]).await?;
                let began = |number: i64| Moment::from_micros(first + number * APART);
                add_parts(tx, &automation, &agent, (began(from), began(to))).await
            })
        });
        added.await?;
        from = to + 1;
    }
    if store.is_postgres() {
        // As its own upkeep would after a minute: until then it knows nothing of what came so suddenly.
        store.write_bulk(|tx| Box::pin(async move { tx.run(sql!("ANALYZE"), p![]).await })).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lives;
    use domain::automation::AutomationRunStatus;
    use domain::ids::looks_like_id;
    use store::automations::{gates, history, nodes, runs};
    use store::{Settings, Target};

    async fn filled(target: &Target) {
        let store = Store::open(target, Settings::default(), now().micros()).await.unwrap();
        let (company, agents) = lives::found(&store, 1).await.unwrap();
        let automation = super::found(&store, &company, &agents[0]).await.unwrap();
        add(&store, (&company, &automation, &agents[0]), CHUNK + 5, 250).await.unwrap();
        let (id, of) = (automation.clone(), company.clone());
        let (all, queued, at_work, pending) = store
            .read(move |tx| {
                let (id, of) = (id.clone(), of.clone());
                Box::pin(async move {
                    let place = (Moment::from_micros(i64::MIN), "");
                    Ok((
                        runs::of_automation(tx, &id, (now(), "~"), 30_000).await?,
                        runs::queued(tx, (i64::MIN, place.0, ""), now(), 1_000).await?.len(),
                        runs::at_work(tx).await?.len(),
                        gates::pending(tx, &of, place, 1_000).await?.len(),
                    ))
                })
            })
            .await
            .unwrap();
        assert_eq!(all.len() as i64, CHUNK + 5 + 250);
        assert!(all.iter().all(|run| looks_like_id(run.id.as_str()) && run.told_seq == run.history_seq));
        assert!(all.is_sorted_by(|newer, older| newer.id > older.id && newer.number > older.number));
        assert!(all.iter().all(|run| run.status.is_final() == run.finished_at.is_some()));
        assert_eq!(at_work, 2);
        assert_eq!((queued + pending) / 25, 8, "{queued} and {pending}");
        let newest = all.iter().find(|run| run.status == AutomationRunStatus::Completed).unwrap().id.clone();
        let (rows, tried, asked, told) = store
            .read(move |tx| {
                let run = newest.clone();
                Box::pin(async move {
                    Ok((
                        nodes::of_run(tx, &run).await?,
                        nodes::attempts(tx, &run, 10).await?,
                        gates::of_run(tx, &run, 10).await?,
                        history::after(tx, &run, 0, 10).await?,
                    ))
                })
            })
            .await
            .unwrap();
        assert!(rows.iter().all(|node| node.state.is_done()));
        assert_eq!((rows.len(), tried.len(), asked.len(), told.len()), (2, 1, 1, 5));
        store.close().await;
    }

    #[tokio::test]
    async fn stored_automation_runs_are_rows_that_the_program_reads() {
        filled(&Target::Memory).await;
        if let Some(database) = testkit::postgres::database() {
            filled(&Target::Postgres(database.url)).await;
        }
    }
}
