//! S12: nothing goes on for ever, and who has nothing to do costs nothing.
//!
//! (e), a task that fails for a day, is `recovery_of_issues::what_always_fails_is_tried_a_few_times_and_then_blocked_once`.

use std::time::Duration;

use domain::ids::RunId;
use domain::issue::IssueStatus;
use domain::run::RunStatus;
use domain::wake::{Actor, Source, WakeStatus};
use engine::ProcessId;
use serde_json::json;
use store::agents::Agent;
use testkit::{World, both_stores};

use crate::board::{Board, in_run};
use crate::issue_settlement::{assigned, items, say_result, under_way};

both_stores! {
    async fn an_agent_that_comments_on_its_own_issue_never_wakes_itself(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, process) = assigned(&board, &ada).await;
        let before = board.count(&ada).await;
        for number in 0..100 {
            let text = format!("@Ada note {number}");
            board.say(&issue.id, &text, &in_run(&ada, &run.id)).await.unwrap();
        }
        assert_eq!(board.count(&ada).await, before);
        let patch = engine::issues::IssuePatch { status: Some(IssueStatus::Done), ..Default::default() };
        board.patch(&issue.id, patch, &in_run(&ada, &run.id)).await.unwrap();
        say_result(&world.model, &process, Some("Done."), false);
        world.over(&run.id).await;
        assert_eq!(world.runs_of(&ada.id).await.len(), 1);
    }

    async fn two_agents_that_call_each_other_are_stopped_and_people_hear_of_it_once(world) {
        let board = Board::new(&world).await;
        let pair = [board.agent("Ada").await, board.agent("Bob").await];
        let issue = board.quiet("ping", IssueStatus::Todo, None).await;
        let mut woken = 0;
        let mut who = 0;
        board.say(&issue.id, "@Ada begin", &Board::person()).await.unwrap();
        loop {
            let of = &pair[who];
            let Some((run, process)) = started(&world, of).await else { break };
            woken += 1;
            assert!(woken < 40, "nobody stops them");
            world.clock.advance(Duration::from_secs(5));
            let other = &pair[1 - who];
            let text = format!("@{} your turn", other.name);
            board.say(&issue.id, &text, &in_run(of, &run)).await.unwrap();
            say_result(&world.model, &process, None, false);
            world.over(&run).await;
            until_delivered(&world).await;
            who = 1 - who;
        }
        // Six cycles of one shape: the twelfth wake between them is held.
        assert_eq!(woken, 12);
        let open = items(&board, issue.id.as_str()).await;
        let told: Vec<_> = open.iter().filter(|item| item.kind == "wake_loop").collect();
        assert_eq!(told.len(), 1);
        let held = &pair[who];
        let wake = world.wakes_of(&held.id).await.pop().expect("a wake");
        let late = told[0].opened_at.since(wake.requested_at);
        assert!(late <= Duration::from_secs(5), "people hear of it after {late:?}");
        assert_eq!((wake.status, wake.reason.as_deref()), (WakeStatus::Deferred, Some("wake_loop")));
        // It stays so, however often somebody looks.
        for _ in 0..5 {
            world.clock.advance(Duration::from_secs(60));
            board.engine.nudge();
            tokio::task::yield_now().await;
        }
        assert_eq!(world.wake_row(&wake.id).await.status, WakeStatus::Deferred);
        // A person looks at it: the wake goes on.
        board.say(&issue.id, "I see. Go on.", &Board::person()).await.unwrap();
        world.eventually("the wake goes on", || async {
            board.engine.nudge();
            let wake = world.wake_row(&wake.id).await;
            (wake.status != WakeStatus::Deferred).then_some(())
        }).await;
        let (run, process) = under_way(&world, &held.id).await;
        say_result(&world.model, &process, Some("Done."), false);
        world.over(&run.id).await;
        let open = items(&board, issue.id.as_str()).await;
        assert_eq!(open.iter().filter(|item| item.kind == "wake_loop").count(), 0);
    }

    async fn a_timer_that_fires_many_times_during_a_long_run_leaves_one_wake_at_the_most(world) {
        let board = Board::new(&world).await;
        let mut draft = engine::AgentDraft { name: "Ada".to_owned(), ..World::scripted(1) };
        draft.runtime_config["heartbeat"] = json!({ "enabled": true, "intervalSec": 1200, "maxConcurrentRuns": 1 });
        let ada = board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap();
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        for _ in 0..13 {
            world.clock.advance(Duration::from_secs(600));
            board.engine.nudge();
            world.eventually("the timer set anew", || async {
                let due = world.agent_row(&ada.id).await.next_timer_at;
                due.is_none_or(|at| at > board.engine.now()).then_some(())
            }).await;
        }
        let waiting = world.runs_of(&ada.id).await.into_iter().filter(|run| run.status != RunStatus::Running);
        assert_eq!(waiting.count(), 0, "a timer folds into the run under way");
        let pending = world.wakes_of(&ada.id).await.into_iter().filter(|wake| wake.source == Source::Timer);
        assert!(pending.filter(|wake| !wake.status.is_final()).count() <= 1);
        say_result(&world.model, &process, Some("Done."), false);
        world.over(&run.id).await;
    }

    async fn many_agents_with_timers_and_nothing_to_do_start_no_process_in_a_working_day(world) {
        const AGENTS: usize = 22;
        const TIMES: usize = 24;
        let every = Duration::from_secs(1200);
        let board = Board::new(&world).await;
        let mut agents = Vec::new();
        for number in 0..AGENTS {
            let mut draft = engine::AgentDraft { name: format!("Agent{number}"), ..World::scripted(1) };
            draft.runtime_config["heartbeat"] =
                json!({ "enabled": true, "intervalSec": every.as_secs(), "maxConcurrentRuns": 1, "skipWhenIdle": true });
            agents.push(board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap());
        }
        // Eight hours.
        for _ in 0..TIMES {
            world.clock.advance(every);
            board.engine.nudge();
            for agent in &agents {
                world.eventually("the timer set anew", || async {
                    let due = world.agent_row(&agent.id).await.next_timer_at;
                    due.is_some_and(|at| at > board.engine.now()).then_some(())
                }).await;
            }
        }
        assert_eq!(world.model.attempts(), 0);
        for agent in &agents {
            let wakes = world.wakes_of(&agent.id).await;
            assert_eq!((wakes.len(), world.runs_of(&agent.id).await.len()), (TIMES, 0));
            for wake in wakes {
                assert_eq!((wake.status, wake.reason.as_deref()), (WakeStatus::Skipped, Some("heartbeat.no_work")));
            }
        }
        // They are not deaf: who has something to do is started by its timer.
        board.quiet("something", IssueStatus::Todo, Some(&agents[7])).await;
        world.clock.advance(every);
        board.engine.nudge();
        let (run, _) = under_way(&world, &agents[7].id).await;
        assert_eq!(run.context["wakeSource"], "timer", "{}", run.context);
        assert_eq!(world.model.attempts(), 1);
    }
}

/// The run of an agent that started, if one does: an empty outbox and nothing queued say that none will.
async fn started(world: &World, agent: &Agent) -> Option<(RunId, ProcessId)> {
    until_delivered(world).await;
    let runs = world.runs_of(&agent.id).await;
    let run = runs.into_iter().find(|run| run.status.is_live())?;
    let (run, process) = {
        let _ = run;
        under_way(world, &agent.id).await
    };
    Some((run.id, process))
}

async fn until_delivered(world: &World) {
    world
        .eventually("an empty outbox", || async {
            let left: i64 = world.read(|tx| Box::pin(store::orders::count(tx))).await;
            (left == 0).then_some(())
        })
        .await;
}
