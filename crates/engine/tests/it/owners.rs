//! Many workers, one issue: exactly one of them has it, whoever dies (S3).

use std::sync::Arc;

use domain::issue::IssueStatus;
use domain::run::RunStatus;
use engine::issues::{Checkout, CommentDraft};
use engine::{AgentDraft, Author, EngineError, ProcessId};
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::issues::Issue;
use store::runs::Run;
use testkit::{World, on_postgres, on_sqlite};

use crate::board::{Board, in_run};

const WORKERS: usize = 20;

fn rounds(short: usize) -> usize {
    let times: usize = std::env::var("BUGLE_SOAK").ok().and_then(|times| times.parse().ok()).unwrap_or(0);
    if times > 0 { 1000 } else { short }
}

#[test]
fn of_twenty_workers_one_has_the_issue_whoever_dies_on_sqlite() {
    on_sqlite(|world| async move { play(world, rounds(100)).await });
}

#[test]
fn of_twenty_workers_one_has_the_issue_whoever_dies_on_postgres() {
    on_postgres(|world| async move { play(world, rounds(100)).await });
}

struct Worker {
    agent: Agent,
    run: Run,
    process: ProcessId,
}

impl Worker {
    fn author(&self) -> Author {
        in_run(&self.agent, &self.run.id)
    }

    /// Another run in the place of the one whose process was lost: the first time the program sees to it by itself.
    async fn replaced(&mut self, board: &Board) {
        let world = &board.world;
        world.over(&self.run.id).await;
        let next = if self.run.process_loss_retries > 0 {
            world.wake(&board.engine, &self.agent.id, "work").await
        } else {
            let next = world.eventually("a run in its place", || async {
                let runs = world.runs_of(&self.agent.id).await;
                let is_next = |run: &Run| {
                    run.retry_of_run_id.as_ref() == Some(&self.run.id) && run.task_key == self.run.task_key
                };
                runs.into_iter().find(is_next)
            });
            next.await
        };
        self.run = world.until(&next.id, RunStatus::Running).await;
        self.process = World::first(&self.run.id);
        world.model.until_alive(&self.process).await;
    }

    /// A run that recovery has made for the same agent goes on in place of this one.
    async fn stand_in(&mut self, board: &Board, run: &str) {
        board.finish((&self.run, &self.process)).await;
        self.run = board.world.run(&run.into()).await;
        assert_eq!(self.run.agent_id, self.agent.id, "the issue went to another agent");
        self.process = World::first(&self.run.id);
        board.world.model.until_alive(&self.process).await;
    }

    /// A run that was there for one issue gives way to one without.
    async fn back_to_work(&mut self, board: &Board) {
        if self.run.issue_id.is_some() {
            board.finish((&self.run, &self.process)).await;
            (self.run, self.process) = board.world.start(&board.engine, &self.agent.id, "work").await;
        }
    }
}

/// What a refused worker is told: who has it, and whether that one lives.
fn told(outcome: Result<Issue, EngineError>) -> Json {
    match outcome {
        Err(EngineError::Refused { details: Some(details), .. }) => details,
        other => panic!("a second owner, or no reason: {other:?}"),
    }
}

async fn play(world: World, rounds: usize) {
    let board = Arc::new(Board::new(&world).await);
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let draft = AgentDraft { name: format!("Worker {number}"), ..World::scripted(3) };
        let actor = domain::wake::Actor::local_board();
        let agent = board.engine.create_agent(&board.company, draft, &actor).await.unwrap();
        let (run, process) = world.start(&board.engine, &agent.id, "work").await;
        workers.push(Worker { agent, run, process });
    }
    for round in 0..rounds {
        // Another one each time: after the second recovery an issue is given up.
        let issue = board.quiet("the one", IssueStatus::Todo, None).await;
        let claims = workers.iter().enumerate().map(|(number, worker)| {
            let (board, author, id) = (Arc::clone(&board), worker.author(), issue.id.clone());
            let ask = Checkout { agent: worker.agent.id.clone(), expected: vec![IssueStatus::Todo] };
            tokio::spawn(async move { (number, board.engine.checkout_issue(&id, ask, &author).await) })
        });
        let mut owner = None;
        let mut refused = Vec::new();
        for claim in claims.collect::<Vec<_>>() {
            let (number, outcome) = claim.await.unwrap();
            match outcome {
                Ok(_) => assert_eq!(owner.replace(number), None, "round {round}: two owners"),
                refusal => refused.push(told(refusal)),
            }
        }
        let owner = owner.expect("one of them has it");
        let held = board.row(&issue.id).await;
        let run = &workers[owner].run;
        assert_eq!((held.lock_run_id.as_ref(), held.lock_epoch), (Some(&run.id), Some(run.lease_epoch)));
        for details in refused {
            assert_eq!(
                (&details["holderRunId"], &details["holderLive"]),
                (&json!(run.id), &json!(true)),
                "{details}"
            );
        }
        if round % 2 == 1 {
            let dead = workers[owner].author();
            world.model.lose_keeper(&workers[owner].process);
            workers[owner].replaced(&board).await;
            let late = CommentDraft { body: "late".to_owned(), ..CommentDraft::default() };
            let patch = engine::issues::IssuePatch { title: Some("late".to_owned()), ..Default::default() };
            let late = (
                board.engine.comment_on_issue(&issue.id, late, &dead).await.map(|_| issue.clone()),
                board.engine.patch_issue(&issue.id, patch, &dead).await.map(|patched| patched.issue),
            );
            for write in [late.0, late.1] {
                let details = told(write);
                assert_eq!(details["reason"], json!("run_over"), "{details}");
                // It is nobody's, or somebody's already who took the place of the dead one.
                let is_others = details["holderRunId"] != json!(dead.run_id());
                assert_eq!(details["holderLive"], json!(is_others), "{details}");
            }
            // The next of the same agent takes it without anybody's help, unless the program has seen to that already.
            let again = Checkout {
                agent: workers[owner].agent.id.clone(),
                expected: vec![IssueStatus::Todo, IssueStatus::InProgress],
            };
            match board.engine.checkout_issue(&issue.id, again, &workers[owner].author()).await {
                Ok(_) => {}
                refused => {
                    let details = told(refused);
                    assert_eq!(details["holderLive"], json!(true), "{details}");
                    workers[owner].stand_in(&board, details["holderRunId"].as_str().unwrap()).await;
                }
            }
            assert_eq!(board.row(&issue.id).await.lock_run_id, Some(workers[owner].run.id.clone()));
        }
        board.engine.release_issue(&issue.id, &workers[owner].author()).await.unwrap();
        assert_eq!(board.row(&issue.id).await.lock_run_id, None);
        workers[owner].back_to_work(&board).await;
    }
    let (locked, holders) = world.read(|tx| Box::pin(store::locks::count_live(tx))).await;
    assert_eq!((locked, holders), (0, 0));
}
