//! S3: an issue is one run's at a time, and only as long as that run lives.
//!
//! Twenty runs ask for the same issue at once, again and again, and in half of the rounds the one that got it dies. The
//! short form plays 100 rounds; `BUGLE_SOAK=n` plays n.

use std::time::{Duration, Instant};

use domain::ids::{IssueId, RunId};
use domain::issue::IssueStatus;
use domain::run::RunStatus;
use domain::telling::ErrorClass;
use domain::wake::Actor;
use engine::issues::{Checkout, IssuePatch};
use engine::{AgentDraft, EngineError, ProcessId};
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::issues::Issue;
use testkit::{World, both_stores, on_postgres, on_sqlite};

use crate::board::{Board, in_run, refusal};
use crate::issue_wakes::about;

/// As many runs as one agent may have at once.
const OF_ONE_AGENT: usize = 10;
/// How long the lease of a dead holder may be in the way.
const TTL: Duration = Duration::from_secs(30);

fn rounds() -> usize {
    std::env::var("BUGLE_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

#[test]
fn of_twenty_that_claim_an_issue_one_has_it_until_it_lets_go_or_dies_on_sqlite() {
    on_sqlite(play);
}

#[test]
fn of_twenty_that_claim_an_issue_one_has_it_until_it_lets_go_or_dies_on_postgres() {
    on_postgres(play);
}

/// A run that claims.
#[derive(Debug, Clone)]
struct Worker {
    agent: Agent,
    task: String,
    run: RunId,
    process: ProcessId,
}

async fn worker(board: &Board, agent: &Agent, task: String) -> Worker {
    let (run, process) = board.world.start(&board.engine, &agent.id, &task).await;
    Worker { agent: agent.clone(), task, run: run.id, process }
}

async fn play(world: World) {
    let board = Board::new(&world).await;
    let mut workers = Vec::new();
    for name in ["Ada", "Bob"] {
        let draft = AgentDraft { name: name.to_owned(), ..World::scripted(OF_ONE_AGENT as u32) };
        let agent = board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap();
        for number in 0..OF_ONE_AGENT {
            workers.push(worker(&board, &agent, format!("{name} {number}")).await);
        }
    }
    let issue = board.quiet("wanted", IssueStatus::Todo, None).await.id;
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for round in 0..rounds() {
        let (winner, others) = race(&board, &issue, &workers).await;
        refused += others;
        if round % 2 == 0 {
            give_back(&board, &issue, &workers[winner]).await;
            continue;
        }
        let dead = workers[winner].clone();
        let died = Instant::now();
        world.model.lose_keeper(&dead.process);
        // Nobody helps: the others of its agent ask until one of them has it.
        let same: Vec<Worker> =
            workers.iter().filter(|it| it.agent.id == dead.agent.id && it.run != dead.run).cloned().collect();
        let next = loop {
            if let Some(next) = claims(&board, &issue, &same).await.iter().position(Result::is_ok) {
                break same[next].clone();
            }
            assert!(died.elapsed() < TTL, "the lease of a dead run is still in the way");
        };
        slowest = slowest.max(died.elapsed());
        owned_by(&board, &issue, &next).await;
        late_write(&board, &issue, &dead, (&next.run, true)).await;
        give_back(&board, &issue, &next).await;
        late_write(&board, &issue, &dead, (&dead.run, false)).await;
        workers[winner] = replaced(&board, &dead).await;
    }
    eprintln!("{} rounds: {refused} claims refused; taken from a dead holder within {slowest:?}", rounds());
    board.engine.leave().await;
}

/// All claim at once; returns who has it, and how many were told so.
async fn race(board: &Board, issue: &IssueId, workers: &[Worker]) -> (usize, usize) {
    let outcomes = claims(board, issue, workers).await;
    let won: Vec<usize> = (0..workers.len()).filter(|at| outcomes[*at].is_ok()).collect();
    let [winner] = won[..] else { panic!("{} have it: {won:?}", won.len()) };
    owned_by(board, issue, &workers[winner]).await;
    let mut refused = 0;
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        let (kind, words, details) = refusal(outcome);
        assert_eq!((kind.as_str(), words.as_str()), ("Conflict", "Issue checkout conflict"));
        is_held_by(&details, &workers[winner].run, true);
        assert_eq!(details["reason"], "held_by_run");
        refused += 1;
    }
    assert_eq!(refused, workers.len() - 1);
    (winner, refused)
}

async fn claims(board: &Board, issue: &IssueId, workers: &[Worker]) -> Vec<Result<Issue, EngineError>> {
    let mut asked = Vec::new();
    for worker in workers {
        let (engine, issue, worker) = (board.engine.clone(), issue.clone(), worker.clone());
        asked.push(tokio::spawn(async move {
            let expected = vec![IssueStatus::Todo, IssueStatus::InProgress];
            let checkout = Checkout { agent: worker.agent.id.clone(), expected };
            engine.checkout_issue(&issue, checkout, &in_run(&worker.agent, &worker.run)).await
        }));
    }
    let mut outcomes = Vec::new();
    for asked in asked {
        outcomes.push(asked.await.unwrap());
    }
    outcomes
}

/// The columns name this run with its epoch, it is live, and no other run holds anything.
async fn owned_by(board: &Board, issue: &IssueId, owner: &Worker) {
    let row = board.row(issue).await;
    assert_eq!(
        (row.lock_run_id.as_ref(), row.checkout_run_id.as_ref()),
        (Some(&owner.run), Some(&owner.run))
    );
    assert_eq!((row.lock_epoch, row.assignee_agent_id.as_ref()), (Some(1), Some(&owner.agent.id)));
    let (live, _) = board.world.read(|tx| Box::pin(store::locks::count_live(tx))).await;
    assert_eq!(live, 1);
}

fn is_held_by(details: &Json, run: &RunId, live: bool) {
    assert_eq!((&details["holderRunId"], &details["holderLive"]), (&json!(run), &json!(live)), "{details}");
}

async fn late_write(board: &Board, issue: &IssueId, dead: &Worker, (holder, live): (&RunId, bool)) {
    // The settlement of the dead run still writes when the issue is to be looked at; nothing else moves.
    let held =
        |row: Issue| (row.status, row.assignee_agent_id, row.lock_run_id, row.checkout_run_id, row.title);
    let before = held(board.row(issue).await);
    let by = in_run(&dead.agent, &dead.run);
    let patch = IssuePatch { status: Some(IssueStatus::Done), ..IssuePatch::default() };
    let (kind, words, details) = refusal(board.patch(issue, patch, &by).await);
    assert_eq!((kind.as_str(), words.as_str()), ("Conflict", "Issue run ownership conflict"));
    is_held_by(&details, holder, live);
    assert_eq!((&details["reason"], &details["actorRunId"]), (&json!("run_over"), &json!(dead.run)));
    let checkout = Checkout { agent: dead.agent.id.clone(), expected: vec![IssueStatus::Todo] };
    let (_, _, details) = refusal(board.engine.checkout_issue(issue, checkout, &by).await);
    is_held_by(&details, holder, live);
    assert_eq!(held(board.row(issue).await), before, "a late write changed the issue");
}

async fn give_back(board: &Board, issue: &IssueId, owner: &Worker) {
    let free = board.engine.release_issue(issue, &in_run(&owner.agent, &owner.run)).await.unwrap();
    assert_eq!((free.lock_run_id, free.checkout_run_id, free.status), (None, None, IssueStatus::Todo));
}

/// A lost process is replaced once by the program, and afterwards by the test.
async fn replaced(board: &Board, dead: &Worker) -> Worker {
    let lost = board.world.over(&dead.run).await;
    let agent = &dead.agent.id;
    if lost.process_loss_retries > 0 {
        return worker(board, &dead.agent, dead.task.clone()).await;
    }
    let retry = board.world.eventually("the run that replaces it", || async {
        let runs = board.world.runs_of(agent).await;
        runs.into_iter()
            .find(|run| run.retry_of_run_id.as_ref() == Some(&dead.run) && run.status == RunStatus::Running)
    });
    let run = retry.await.id;
    let process = World::first(&run);
    board.world.model.until_alive(&process).await;
    Worker { run, process, ..dead.clone() }
}

both_stores! {
    async fn a_run_that_waits_for_its_start_or_its_retry_holds_no_lease(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("wanted", IssueStatus::Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        world.model.say_failed(&process, ErrorClass::Transient, None);
        world.model.exit(&process, 1);
        world.over(&run.id).await;
        let waits = |status| {
            let (world, agent) = (&world, &ada.id);
            move || async move { world.runs_of(agent).await.into_iter().find(|run| run.status == status) }
        };
        world.eventually("a scheduled retry", waits(RunStatus::ScheduledRetry)).await;
        let lease = |id: IssueId| world.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::locks::holder(tx, &id).await })
        });
        assert_eq!(lease(issue.id.clone()).await, None);
        // So another run of the agent may have it.
        let (other, _) = world.start(&board.engine, &ada.id, "other").await;
        let expected = vec![IssueStatus::Todo, IssueStatus::InProgress];
        let checkout = Checkout { agent: ada.id.clone(), expected };
        let taken = board.engine.checkout_issue(&issue.id, checkout, &in_run(&ada, &other.id)).await.unwrap();
        assert_eq!(taken.lock_run_id, Some(other.id));
        // The same of one that is queued: its agent has no slot.
        let by = Actor::local_board();
        let bob = AgentDraft { name: "Bob".to_owned(), ..World::scripted(1) };
        let bob = board.engine.create_agent(&board.company, bob, &by).await.unwrap();
        world.start(&board.engine, &bob.id, "busy").await;
        let second = board.quiet("second", IssueStatus::Todo, Some(&bob)).await;
        let queued = World::ran(board.engine.wake(&bob.id, about(&second.id, "issue_assigned")).await);
        assert_eq!((queued.status, lease(second.id.clone()).await), (RunStatus::Queued, None));
        board.engine.leave().await;
    }
}
