//! Issues in large numbers: what a hundred thousand open ones cost while nothing happens, and what a wake on one of them
//! costs when much is stored.
//!
//! The idle ones wait for what usually keeps an issue waiting: for its agent to be told to begin, for a person, for another
//! issue. The one that is woken has its agent's whole past: every stored run of this agent was a run of this issue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use domain::ids::{AgentId, CompanyId, IssueId, RunId};
use domain::wake::{Actor, Source, TriggerDetail, WakeRequest};
use engine::{Engine, Woken};
use serde_json::{Map, json};
use store::{Store, p, sql};

use crate::bench::{Bench, now};
use crate::figure::{Aim, COUNT, MIB, MILLIS, PER_SECOND, PERCENT, Row};
use crate::samples::Pairs;
use crate::scene::Scene;
use crate::server::Server;
use crate::{lives, machine, null, stored};

const AGENTS: i64 = 100_000;
/// The first rounds meet cold caches.
const WARM_UP: usize = 20;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = idle(bench)?;
    rows.extend(woken(bench)?);
    Ok(rows)
}

fn idle(bench: &Bench) -> Result<Vec<Row>> {
    let program = bench.program()?;
    let scene = bench.scene()?;
    let target = bench.target(&scene)?;
    let issues = bench.runtime.block_on(async {
        let store = bench.open(&target).await?;
        let (company, _) = lives::found(&store, 1).await?;
        stored::add_idle_agents(&store, &company, AGENTS).await?;
        let issues = add_idle_issues(&store, &company).await?;
        store.close().await;
        anyhow::Ok(issues)
    })?;
    let server = Server::start(program, &scene, &target, 16)?;
    // What a start leaves to do is done by then; the slow walks over issues go on, and are part of the figure.
    std::thread::sleep(bench.amount(Duration::from_secs(3), Duration::from_secs(20)));
    let span = bench.amount(Duration::from_secs(10), Duration::from_secs(60));
    let before = machine::activity(server.pid())?;
    std::thread::sleep(span);
    let after = machine::activity(server.pid())?;
    let memory = machine::anonymous_kib(server.pid())? as f64 / 1024.0;
    server.kill()?;
    let (started, items) = bench.runtime.block_on(async {
        let store = bench.open(&target).await?;
        let counted = (count_runs(&store).await?, count_inbox(&store).await?);
        store.close().await;
        anyhow::Ok(counted)
    })?;
    ensure!(started == 0, "{started} runs were started: the issues were not idle");
    let seconds = span.as_secs_f64();
    let switches = after.switches.saturating_sub(before.switches) as f64 / seconds;
    let cpu = after.cpu_nanos.saturating_sub(before.cpu_nanos) as f64 / 1e9 / seconds * 100.0;
    let with = format!("idle server, {AGENTS} agents, {issues} open issues");
    Ok(vec![
        Row::new(format!("{with}: context switches"), switches, PER_SECOND).aim(Aim::AtMost(2.0)),
        Row::new(format!("{with}: use of a core"), cpu, PERCENT)
            .aim(Aim::AtMost(0.2))
            .detail("anonymous memory", memory, MIB)
            .detail("items that came into the inbox", items as f64, COUNT),
    ])
}

/// A store with a past, and one issue of one of its agents.
struct Past {
    store: Arc<Store>,
    engine: Engine,
    agent: AgentId,
    issue: IssueId,
    /// Runs of the issue before anything was measured.
    runs: i64,
}

fn woken(bench: &Bench) -> Result<Vec<Row>> {
    let (few, many) = (1_000, bench.amount(100_000, 1_000_000));
    let rounds = bench.amount(150, 600);
    let (small, large) = (bench.scene()?, bench.scene()?);
    let (taken, whole, own) = bench.runtime.block_on(async {
        let pasts = [past(bench, &small, few).await?, past(bench, &large, many).await?];
        let (mut taken, mut whole) = (Pairs::default(), Pairs::default());
        for round in 0..rounds + WARM_UP {
            let mut spans = [[0.0; 2]; 2];
            for (span, past) in spans.iter_mut().zip(&pasts) {
                *span = live(past).await?;
            }
            if round >= WARM_UP {
                taken.push(spans[1][0], spans[0][0]);
                whole.push(spans[1][1], spans[0][1]);
            }
        }
        let lived = (rounds + WARM_UP) as i64;
        for Past { store, engine, issue, runs, .. } in &pasts {
            engine.leave().await;
            let more = count_runs_of(store, issue).await? - runs;
            // Work that is never closed is carried on now and then, beside the wakes.
            ensure!(more >= lived, "{lived} wakes made {more} runs of the issue");
            store.close().await;
        }
        anyhow::Ok((taken, whole, pasts[1].runs))
    })?;
    let row = |what: &str, pairs: &Pairs| {
        Row::new(format!("{what}, {many} runs stored"), pairs.measured.p50(), MILLIS)
            .limit(format!("{few} runs stored"), pairs.limit.p50(), MILLIS, pairs.ratio())
            .aim(Aim::RatioAtMost(1.5))
            .detail("p95", pairs.measured.p95(), MILLIS)
            .detail("of them, of this issue", own as f64, COUNT)
    };
    Ok(vec![
        row("a wake on an issue, taken in and claimed", &taken),
        row("a wake on an issue, to its settled end", &whole),
    ])
}

async fn past(bench: &Bench, scene: &Scene, count: i64) -> Result<Past> {
    let store = Arc::new(bench.open(&bench.target(scene)?).await?);
    let (company, _) = lives::found(&store, 1).await?;
    let agent = stored::add_runs(&store, &company, count).await?;
    let issue = add_issue_with_past(&store, &company, &agent).await?;
    let runs = count_runs_of(&store, &issue).await?;
    ensure!(runs > 0, "the issue has no past");
    let engine = null::engine(&store, scene.folder(), 4).await?;
    Ok(Past { store, engine, agent, issue, runs })
}

/// One life of a run on the issue. Returns how long it took until the wake was answered, and until the end was durable, in
/// milliseconds.
async fn live(past: &Past) -> Result<[f64; 2]> {
    let Past { engine, agent, issue, .. } = past;
    let mut payload = Map::new();
    payload.insert("issueId".to_owned(), json!(issue));
    let request = WakeRequest {
        source: Source::Automation,
        trigger_detail: Some(TriggerDetail::System),
        reason: Some("issue_status_changed".to_owned()),
        payload,
        context: Map::new(),
        idempotency_key: None,
        body_hash: String::new(),
        actor: Actor::local_board(),
        carries_on: false,
    };
    let began = Instant::now();
    let run = match engine.wake(agent, request).await? {
        Woken::Run(run) => run,
        Woken::Skipped(skipped) => bail!("a wake was skipped: {:?}", skipped.reason),
    };
    let taken = began.elapsed();
    ensure!(run.issue_id.as_deref() == Some(issue.as_str()), "run {} is not of the issue", run.id);
    until_let_go(engine, &run.id).await;
    Ok([taken, began.elapsed()].map(|span| span.as_secs_f64() * 1000.0))
}

/// The engine lets go of a run after its end is durable.
async fn until_let_go(engine: &Engine, run: &RunId) {
    while let Some(bell) = engine.log_bell(run) {
        let ring = bell.notified();
        tokio::pin!(ring);
        ring.as_mut().enable();
        // It may have let go between the two looks; then nobody rings any more.
        if engine.log_bell(run).is_some() {
            ring.await;
        }
    }
}

/// Gives every idle agent an open issue: of four, one is to do, one in the backlog, one waits for the first, and one is a
/// person's. Returns how many there are.
async fn add_idle_issues(store: &Store, company: &CompanyId) -> Result<i64> {
    let (company, at) = (company.clone(), now());
    let made = store.write_bulk(move |tx| {
        let company = company.clone();
        Box::pin(async move {
            tx.run(
                sql!(
                    "INSERT INTO issues (id, company_id, title, status, priority, priority_rank, assignee_agent_id, \
                     assignee_user_id, issue_number, identifier, origin_kind, origin_fingerprint, request_depth, \
                     waits_on_blockers, last_activity_at, created_at, updated_at) \
                     SELECT '000000cc-0000-4000-8000-' || substr(CAST(1000000000000 + a.i AS text), 2), $1, \
                     'issue ' || CAST(a.i AS text), \
                     CASE a.i % 4 WHEN 1 THEN 'todo' WHEN 2 THEN 'backlog' WHEN 3 THEN 'blocked' ELSE 'in_progress' END, \
                     'medium', 2, CASE WHEN a.i % 4 = 0 THEN NULL ELSE a.id END, \
                     CASE WHEN a.i % 4 = 0 THEN 'local-board' ELSE NULL END, a.i, 'BEN-' || CAST(a.i AS text), 'manual', \
                     'default', 0, a.i % 4 = 3, $2, $2, $2 \
                     FROM (SELECT id, row_number() OVER (ORDER BY id) AS i FROM agents \
                           WHERE company_id = $1 AND url_key LIKE 'agent-000000bb%') a"
                ),
                p![&company, at],
            )
            .await?;
            tx.run(
                sql!(
                    "INSERT INTO issue_relations (blocker_id, blocked_id, company_id, created_at) \
                     SELECT '000000cc-0000-4000-8000-' || substr(CAST(1000000000000 + issue_number - 2 AS text), 2), id, \
                     company_id, created_at FROM issues WHERE company_id = $1 AND status = 'blocked'"
                ),
                p![&company],
            )
            .await?;
            let row = tx.one(sql!("SELECT COUNT(*) FROM issues WHERE company_id = $1"), p![&company]).await?;
            row.map(|row| row.get(0)).transpose()
        })
    });
    let made: Option<i64> = made.await?;
    let made = made.context("a count is one row")?;
    ensure!(made == AGENTS, "{made} issues for {AGENTS} agents");
    Ok(made)
}

/// Adds an issue of an agent, under way, and makes the agent's stored runs runs of it.
async fn add_issue_with_past(store: &Store, company: &CompanyId, agent: &AgentId) -> Result<IssueId> {
    let issue = IssueId("000000cc-0000-4000-8000-000000000001".to_owned());
    let (company, agent, id, at) = (company.clone(), agent.clone(), issue.clone(), now());
    let made = store.write_bulk(move |tx| {
        let (company, agent, id) = (company.clone(), agent.clone(), id.clone());
        Box::pin(async move {
            tx.run(
                sql!(
                    "INSERT INTO issues (id, company_id, title, status, priority, priority_rank, assignee_agent_id, \
                     issue_number, identifier, origin_kind, origin_fingerprint, request_depth, last_activity_at, \
                     created_at, updated_at) VALUES ($1, $2, 'a long story', 'in_progress', 'medium', 2, $3, 1, 'BEN-1', \
                     'manual', 'default', 0, $4, $4, $4)"
                ),
                p![&id, &company, &agent, at],
            )
            .await?;
            tx.run(sql!("UPDATE runs SET issue_id = $1, task_key = $1 WHERE agent_id = $2"), p![&id, &agent])
                .await?;
            tx.run(sql!("UPDATE wakes SET issue_id = $1 WHERE agent_id = $2"), p![&id, &agent]).await
        })
    });
    made.await?;
    Ok(issue)
}

async fn count_runs_of(store: &Store, issue: &IssueId) -> Result<i64> {
    let issue = issue.clone();
    let counted = store.read(move |tx| {
        let issue = issue.clone();
        Box::pin(async move {
            let row = tx.one(sql!("SELECT COUNT(*) FROM runs WHERE issue_id = $1"), p![&issue]).await?;
            row.map(|row| row.get(0)).transpose()
        })
    });
    counted.await?.context("a count is one row")
}

async fn count_runs(store: &Store) -> Result<i64> {
    let counted = store.read(|tx| {
        Box::pin(async move {
            let row = tx.one(sql!("SELECT COUNT(*) FROM runs"), p![]).await?;
            row.map(|row| row.get(0)).transpose()
        })
    });
    counted.await?.context("a count is one row")
}

async fn count_inbox(store: &Store) -> Result<i64> {
    let counted = store.read(|tx| {
        Box::pin(async move {
            let row = tx.one(sql!("SELECT COUNT(*) FROM inbox_items"), p![]).await?;
            row.map(|row| row.get(0)).transpose()
        })
    });
    counted.await?.context("a count is one row")
}
