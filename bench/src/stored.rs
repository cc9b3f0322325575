//! Many rows, quickly: finished runs of a company, and agents that do nothing. The database makes them by itself, so that
//! a million take seconds and not minutes.

use anyhow::Result;
use domain::ids::{AgentId, CompanyId};
use store::{Store, p, sql};

use crate::bench::now;

/// Rows in one transaction.
const CHUNK: i64 = 10_000;
/// Agents that the stored runs belong to.
const AGENTS: i64 = 100;
/// Ids of agents with a past, and of those that never did anything, begin so.
const WITH_PAST: &str = "000000aa";
const IDLE: &str = "000000bb";

/// The numbers from $1 to $2.
macro_rules! numbers {
    () => {
        " WITH RECURSIVE n (i) AS (SELECT CAST($1 AS bigint) UNION ALL SELECT i + 1 FROM n WHERE i < $2) "
    };
}

/// When run i began: one every five seconds from $4 on.
macro_rules! began {
    () => {
        "($4 + i * 5000000)"
    };
}

macro_rules! agents {
    ($id:expr) => {
        concat!(
            "INSERT INTO agents (id, company_id, name, url_key, role, status, adapter_type, adapter_config, \
             runtime_config, permissions, created_at, updated_at)",
            numbers!(),
            "SELECT ",
            $id,
            ", $3, 'agent ' || CAST($5 AS text) || CAST(i AS text), 'agent-' || CAST($5 AS text) || CAST(i AS text), \
             'general', 'idle', 'process', '{\"command\": \"/bin/true\"}', \
             '{\"heartbeat\": {\"enabled\": false, \"maxConcurrentRuns\": 5}}', '{\"canCreateAgents\": false}', $4, $4 FROM n"
        )
    };
}

macro_rules! runs {
    ($id:expr, $agent:expr) => {
        concat!(
            "INSERT INTO runs (id, company_id, agent_id, invocation_source, trigger_detail, status, wake_id, context, \
             created_at, updated_at, started_at, finished_at, lease_epoch, lease_holder, node_id, boot_id, exit_code, \
             usage, result, log_offset, log_bytes, log_sha256, log_state, last_output_at, last_output_seq, \
             last_output_stream, last_output_bytes, stdout_excerpt, event_seq)",
            numbers!(),
            "SELECT ",
            $id,
            ", $3, ",
            $agent,
            ", 'on_demand', 'manual', CASE WHEN i % 20 = 0 THEN 'failed' ELSE 'succeeded' END, ",
            $id,
            ", '{\"wakeReason\": \"bench\", \"wakeSource\": \"on_demand\", \"wakeTriggerDetail\": \"manual\"}', ",
            began!(),
            ", ",
            began!(),
            " + 2000000, ",
            began!(),
            ", ",
            began!(),
            " + 2000000, 1, 1, 'bench', 'an earlier boot', CASE WHEN i % 20 = 0 THEN 1 ELSE 0 END, \
             '{\"inputTokens\": 12345, \"cachedInputTokens\": 10000, \"outputTokens\": 678, \"provider\": \"unknown\", \
             \"biller\": \"unknown\", \"model\": \"unknown\", \"billingType\": \"unknown\", \"costUsd\": 0.0123}', \
             '{\"stopReason\": \"completed\", \"effectiveTimeoutSec\": 0, \"timeoutConfigured\": false, \
             \"timeoutSource\": \"default\", \"timeoutFired\": false, \"summary\": \"did what was asked\"}', \
             4096, 4096, 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 'removed', ",
            began!(),
            ", 12, 'stdout', 3900, 'the last lines that the program said, about as long as they are', 4 FROM n"
        )
    };
}

macro_rules! wakes {
    ($id:expr, $agent:expr) => {
        concat!(
            "INSERT INTO wakes (id, company_id, agent_id, source, trigger_detail, payload, status, actor_kind, actor_id, \
             run_id, requested_at, claimed_at, finished_at)",
            numbers!(),
            "SELECT ",
            $id,
            ", $3, ",
            $agent,
            ", 'on_demand', 'manual', '{}', 'completed', 'user', 'local-board', ",
            $id,
            ", ",
            began!(),
            ", ",
            began!(),
            ", ",
            began!(),
            " + 2000000 FROM n"
        )
    };
}

macro_rules! run_events {
    ($id:expr, $agent:expr) => {
        concat!(
            "INSERT INTO run_events (company_id, run_id, agent_id, seq, event_type, stream, level, message, payload, \
             created_at)",
            numbers!(),
            "SELECT $3, ",
            $id,
            ", ",
            $agent,
            ", e.seq, 'lifecycle', 'system', 'info', 'run went on', '{\"attempt\": 1}', ",
            began!(),
            " FROM n CROSS JOIN (SELECT 1 AS seq UNION ALL SELECT 2 AS seq) AS e"
        )
    };
}

/// The id of run i: it sorts by time, like a real one.
macro_rules! run_id {
    (sqlite) => {
        "printf('%08x-%04x-4%03x-8%03x-%012x', (($4 + i * 5000000) / 1000) >> 16, (($4 + i * 5000000) / 1000) & 65535, \
         i & 4095, (i >> 12) & 4095, i)"
    };
    (postgres) => {
        "(lpad(to_hex((($4 + i * 5000000) / 1000) >> 16), 8, '0') || '-' || \
          lpad(to_hex((($4 + i * 5000000) / 1000) & 65535), 4, '0') || '-4' || lpad(to_hex(i & 4095), 3, '0') || '-8' || \
          lpad(to_hex((i >> 12) & 4095), 3, '0') || '-' || lpad(to_hex(i), 12, '0'))"
    };
}

/// The id of agent i, after its beginning $5.
macro_rules! agent_id {
    (sqlite, $i:literal) => {
        concat!("(CAST($5 AS text) || printf('-0000-4000-8000-%012x', ", $i, "))")
    };
    (postgres, $i:literal) => {
        concat!("(CAST($5 AS text) || '-0000-4000-8000-' || lpad(to_hex(", $i, "), 12, '0'))")
    };
}

/// Adds finished runs with a wake and two events each, spread over a hundred agents that are added too. The newest ended
/// an hour ago. Returns one of these agents.
pub(crate) async fn add_runs(store: &Store, company: &CompanyId, count: i64) -> Result<AgentId> {
    add_agents(store, company, WITH_PAST, 0, AGENTS).await?;
    let first = now().micros() - 3_600_000_000 - count * 5_000_000;
    let mut from = 0;
    while from < count {
        let to = (from + CHUNK).min(count) - 1;
        let company = company.clone();
        store
            .write_bulk(move |tx| {
                let company = company.clone();
                Box::pin(async move {
                    let statements = if tx.is_postgres() {
                        [
                            sql!(runs!(run_id!(postgres), agent_id!(postgres, "i % 100"))),
                            sql!(wakes!(run_id!(postgres), agent_id!(postgres, "i % 100"))),
                            sql!(run_events!(run_id!(postgres), agent_id!(postgres, "i % 100"))),
                        ]
                    } else {
                        [
                            sql!(runs!(run_id!(sqlite), agent_id!(sqlite, "i % 100"))),
                            sql!(wakes!(run_id!(sqlite), agent_id!(sqlite, "i % 100"))),
                            sql!(run_events!(run_id!(sqlite), agent_id!(sqlite, "i % 100"))),
                        ]
                    };
                    for statement in statements {
                        tx.run(statement, p![from, to, &company, first, WITH_PAST]).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        from = to + 1;
    }
    Ok(AgentId(format!("{WITH_PAST}-0000-4000-8000-000000000000")))
}

/// Adds agents that do nothing, their timers off.
pub(crate) async fn add_idle_agents(store: &Store, company: &CompanyId, count: i64) -> Result<()> {
    let mut from = 0;
    while from < count {
        let more = CHUNK.min(count - from);
        add_agents(store, company, IDLE, from, more).await?;
        from += more;
    }
    Ok(())
}

async fn add_agents(
    store: &Store,
    company: &CompanyId,
    ids: &'static str,
    from: i64,
    count: i64,
) -> Result<()> {
    let (company, at) = (company.clone(), now());
    let made = store.write_bulk(move |tx| {
        let company = company.clone();
        Box::pin(async move {
            let statement = if tx.is_postgres() {
                sql!(agents!(agent_id!(postgres, "i")))
            } else {
                sql!(agents!(agent_id!(sqlite, "i")))
            };
            tx.run(statement, p![from, from + count - 1, &company, at, ids]).await
        })
    });
    Ok(made.await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::looks_like_id;
    use store::runs::{self, Listed};
    use store::{Settings, Target, agents};

    async fn filled(target: &Target) {
        let store = Store::open(target, Settings::default(), now().micros()).await.unwrap();
        let (company, _) = crate::lives::found(&store, 1).await.unwrap();
        let with_past = add_runs(&store, &company, CHUNK + 5).await.unwrap();
        add_idle_agents(&store, &company, 7).await.unwrap();
        let listed = Listed::Company(company.clone());
        let (newest, agents) = store
            .read(move |tx| {
                let (listed, company) = (listed.clone(), company.clone());
                Box::pin(async move {
                    Ok((
                        runs::listed(tx, &listed, None, None, 30_000).await?,
                        agents::list(tx, &company, None, 1000).await?,
                    ))
                })
            })
            .await
            .unwrap();
        assert_eq!((newest.len(), agents.len()), (CHUNK as usize + 5, 100 + 7 + 1));
        assert!(newest.iter().all(|run| looks_like_id(&run.id.0) && run.id.0 == run.wake_id.0));
        assert_eq!(newest.iter().filter(|run| run.agent_id == with_past).count() as i64, CHUNK / AGENTS + 1);
        assert!(newest.is_sorted_by(|newer, older| newer.id > older.id), "ids sort by time");
        store.close().await;
    }

    #[tokio::test]
    async fn stored_runs_are_rows_that_the_program_reads() {
        filled(&Target::Memory).await;
        if let Some(database) = testkit::postgres::database() {
            filled(&Target::Postgres(database.url)).await;
        }
    }
}
