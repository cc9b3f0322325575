//! The table of outcomes, through the whole engine: what a process said and how it ended, and what the record says then.

use std::time::Duration;

use domain::ending::EndedBy;
use domain::run::RunStatus;
use domain::telling::ErrorClass;
use domain::wake::Actor;
use engine::{AgentDraft, Engine, ProcessId};
use serde_json::{Value as Json, json};
use store::runs::Run;
use testkit::{Model, NOON, Obedience, World, both_stores};

type Play = fn(&Model, &ProcessId);

/// What is played, and the status, error code, stop reason, warnings and number of runs after it.
type Row = (&'static str, Play, (RunStatus, Option<&'static str>, &'static str, Json, usize));

fn done(model: &Model, id: &ProcessId) {
    model.say_message(id, "did it");
    model.say_done(id);
}

fn failed(model: &Model, id: &ProcessId, class: ErrorClass, code: i32) {
    model.say_failed(id, class, None);
    model.exit(id, code);
}

/// The rows for agents that say when they are done.
fn speaking() -> Vec<Row> {
    use RunStatus::{Failed, Succeeded, TimedOut};
    let none = Json::Null;
    vec![
        (
            "success, 0",
            |m, id| {
                done(m, id);
                m.exit(id, 0)
            },
            (Succeeded, None, "completed", none.clone(), 1),
        ),
        (
            "success, lingering",
            |m, id| {
                done(m, id);
                m.end_by(id, EndedBy::Lingering)
            },
            (Succeeded, None, "completed", none.clone(), 1),
        ),
        (
            "our limit",
            |m, id| m.end_by(id, EndedBy::WallLimit),
            (TimedOut, Some("timeout"), "timeout", none.clone(), 1),
        ),
        (
            "success, exit not 0",
            |m, id| {
                done(m, id);
                m.exit(id, 3)
            },
            (Succeeded, None, "completed", json!(["exit_after_success"]), 1),
        ),
        (
            "success, foreign signal",
            |m, id| {
                done(m, id);
                m.signal(id, 9)
            },
            (Succeeded, None, "completed", json!(["exit_after_success"]), 1),
        ),
        (
            "two results, success first",
            |m, id| {
                done(m, id);
                failed(m, id, ErrorClass::Other, 0)
            },
            (Succeeded, None, "completed", json!(["second_result"]), 1),
        ),
        (
            "error event, 0",
            |m, id| failed(m, id, ErrorClass::Other, 0),
            (Failed, Some("adapter_failed"), "adapter_failed", none.clone(), 1),
        ),
        (
            "error event, then success",
            |m, id| {
                m.say_failed(id, ErrorClass::Other, None);
                done(m, id);
                m.exit(id, 0)
            },
            (Failed, Some("adapter_failed"), "adapter_failed", none.clone(), 1),
        ),
        (
            "none, 0",
            |m, id| m.exit(id, 0),
            (Failed, Some("no_terminal_event"), "adapter_failed", none.clone(), 1),
        ),
        (
            "none, not 0",
            |m, id| m.exit(id, 4),
            (Failed, Some("adapter_failed"), "adapter_failed", none.clone(), 1),
        ),
        (
            "none, killed, not ours",
            |m, id| m.signal(id, 9),
            (Failed, Some("process_lost"), "process_lost", none.clone(), 2),
        ),
        (
            "none, killed for memory",
            |m, id| m.kill_for_memory(id),
            (Failed, Some("out_of_memory"), "adapter_failed", none.clone(), 1),
        ),
        (
            "login lost",
            |m, id| failed(m, id, ErrorClass::Auth, 1),
            (Failed, Some("auth_required"), "adapter_failed", none.clone(), 1),
        ),
        (
            "limit reached",
            |m, id| failed(m, id, ErrorClass::Quota, 0),
            (Failed, Some("quota_exhausted"), "adapter_failed", none.clone(), 2),
        ),
        (
            "transient",
            |m, id| failed(m, id, ErrorClass::Transient, 1),
            (Failed, Some("adapter_failed"), "adapter_failed", none.clone(), 2),
        ),
        (
            "permission refused",
            |m, id| failed(m, id, ErrorClass::Permission, 1),
            (Failed, Some("permission_blocked"), "adapter_failed", none.clone(), 1),
        ),
        (
            "session gone without one",
            |m, id| failed(m, id, ErrorClass::SessionGone, 1),
            (Failed, Some("adapter_failed"), "adapter_failed", none.clone(), 1),
        ),
        (
            "success with no output",
            |m, id| {
                m.say(
                    id,
                    &domain::telling::AgentEvent::Result {
                        error: None,
                        summary: None,
                        plan_only: false,
                        json: None,
                    },
                );
                m.exit(id, 0)
            },
            (Failed, Some("no_output"), "adapter_failed", none.clone(), 1),
        ),
        (
            "plan only",
            |m, id| {
                m.say(
                    id,
                    &domain::telling::AgentEvent::Result {
                        error: None,
                        summary: None,
                        plan_only: true,
                        json: None,
                    },
                );
                m.exit(id, 0)
            },
            (Succeeded, None, "completed", none.clone(), 1),
        ),
        (
            "not executed",
            |m, id| m.fail_exec(id, "ENOENT"),
            (Failed, Some("adapter_failed"), "adapter_failed", none.clone(), 1),
        ),
        (
            "keeper lost",
            |m, id| m.lose_keeper(id),
            (Failed, Some("process_lost"), "process_lost", none.clone(), 2),
        ),
        (
            "success, keeper lost",
            |m, id| {
                done(m, id);
                m.lose_keeper(id)
            },
            (Succeeded, None, "completed", json!(["exit_unknown"]), 1),
        ),
    ]
}

/// The rows for agents whose exit decides.
fn plain() -> Vec<Row> {
    use RunStatus::{Failed, Succeeded, TimedOut};
    let none = Json::Null;
    vec![
        ("0", |m, id| m.exit(id, 0), (Succeeded, None, "completed", none.clone(), 1)),
        ("not 0", |m, id| m.exit(id, 2), (Failed, Some("adapter_failed"), "adapter_failed", none.clone(), 1)),
        (
            "killed, not ours",
            |m, id| m.signal(id, 11),
            (Failed, Some("process_lost"), "process_lost", none.clone(), 2),
        ),
        (
            "our limit",
            |m, id| m.end_by(id, EndedBy::WallLimit),
            (TimedOut, Some("timeout"), "timeout", none.clone(), 1),
        ),
    ]
}

async fn play(world: &World, engine: &Engine, draft: AgentDraft, rows: Vec<Row>) {
    for (name, play, (status, code, reason, warnings, runs)) in rows {
        let agent = world.agent_like(engine, draft.clone()).await;
        let (run, process) = world.start(engine, &agent.id, "a").await;
        play(&world.model, &process);
        let run = world.over(&run.id).await;
        let result = run.result.as_ref().unwrap();
        let found = (
            run.status,
            run.error_code.as_deref(),
            result["stopReason"].as_str().unwrap(),
            result.get("warnings").cloned().unwrap_or(Json::Null),
            world.runs_of(&agent.id).await.len(),
        );
        assert_eq!(found, (status, code, reason, warnings, runs), "{name}");
        assert_eq!(run.error.is_none(), status == RunStatus::Succeeded, "{name}");
    }
}

async fn with_session(world: &World, engine: &Engine) -> (Run, ProcessId) {
    let agent = world.agent(engine, 1).await;
    let (run, process) = world.start(engine, &agent.id, "a").await;
    world.model.say_session(&process, "old");
    done(&world.model, &process);
    world.model.exit(&process, 0);
    world.over(&run.id).await;
    world.start(engine, &agent.id, "a").await
}

both_stores! {
    async fn every_row_of_the_table_for_agents_that_speak(world) {
        let engine = world.engine().await;
        play(&world, &engine, World::scripted(1), speaking()).await;
    }

    async fn every_row_of_the_table_for_plain_commands(world) {
        let engine = world.engine().await;
        play(&world, &engine, World::plain(1), plain()).await;
    }

    async fn a_program_that_says_it_is_done_and_stays_is_told_to_linger_once(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        world.model.print(&process, "busy\n");
        done(&world.model, &process);
        world.model.until("a linger order", |model| (model.lingers(&process) > 0).then_some(())).await;
        world.model.print(&process, "still here\n");
        world.model.end_by(&process, EndedBy::Lingering);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
        assert_eq!(world.model.lingers(&process), 1);
    }

    async fn done_before_it_was_stopped_is_done_and_after_it_is_cancelled(world) {
        let engine = world.engine().await;
        world.model.obey_by_default(Obedience::Later);
        for done_first in [true, false] {
            let agent = world.agent(&engine, 1).await;
            let (run, process) = world.start(&engine, &agent.id, "a").await;
            if done_first {
                done(&world.model, &process);
                world.model.until("it was heard", |model| (model.lingers(&process) > 0).then_some(())).await;
            }
            engine.cancel_run(&run.id, None, &Actor::local_board()).await.unwrap();
            world.model.until_stopping(&process).await;
            if !done_first {
                done(&world.model, &process);
            }
            world.model.obey(&process);
            let expected = if done_first { RunStatus::Succeeded } else { RunStatus::Cancelled };
            assert_eq!(world.over(&run.id).await.status, expected);
        }
    }

    async fn nothing_that_a_program_says_keeps_its_run_from_being_settled(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        for round in 1..=2 {
            let (run, process) = world.start(&engine, &agent.id, "a").await;
            world.model.say_session(&process, "session\0one");
            world.model.say_usage(&process, u64::MAX, u64::MAX, i64::MAX);
            world.model.say_usage(&process, u64::MAX, u64::MAX, i64::MIN);
            world.model.say_message(&process, "a\0b");
            world.model.print(&process, "\0\u{1}\u{fffe}\n::bugle:: {\"type\":\"nonsense\"}\n");
            let error = domain::telling::AgentError {
                class: ErrorClass::Other,
                message: "broke\0here".into(),
                code: Some("no\0code".into()),
                not_before: None,
            };
            let summary = Some("sum\0mary".to_owned());
            let json = Some(json!({ "text": "in\0side" }));
            world.model.say(
                &process,
                &domain::telling::AgentEvent::Result { error: Some(error), summary, plan_only: false, json },
            );
            world.model.exit(&process, 1);
            let run = world.over(&run.id).await;
            assert_eq!((run.status, run.error.as_deref()), (RunStatus::Failed, Some("broke\u{fffd}here")));
            assert_eq!(run.session_after.as_deref(), Some("session\u{fffd}one"));
            // What was told in earnest still adds up.
            let state = world.runtime_state(&agent.id).await.unwrap();
            assert!(state.input_tokens > 0 && state.cost_micros >= 0, "round {round}: {state:?}");
        }
    }

    async fn a_session_that_is_gone_gets_one_fresh_start_in_the_same_run(world) {
        let engine = world.engine().await;
        let (run, first) = with_session(&world, &engine).await;
        assert!(world.model.argv(&first).contains(&"old".to_owned()));
        failed(&world.model, &first, ErrorClass::SessionGone, 1);
        let second = ProcessId { run: run.id.clone(), epoch: 2 };
        world.model.until_alive(&second).await;
        assert!(!world.model.argv(&second).contains(&"--resume".to_owned()));
        let row = world.run(&run.id).await;
        assert_eq!((row.status, row.lease_epoch, row.fresh_start_used), (RunStatus::Running, 2, true));
        // Once: the second time it is a failure.
        failed(&world.model, &second, ErrorClass::SessionGone, 1);
        let ended = world.over(&run.id).await;
        assert_eq!((ended.status, ended.error_code.as_deref()), (RunStatus::Failed, Some("adapter_failed")));
        assert_eq!(ended.session_after, None);
        assert_eq!((world.model.started(&run.id).len(), world.runs_of(&run.agent_id).await.len()), (2, 2));
        let seqs: Vec<i64> = world.events(&run.id).await.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=ended.event_seq).collect::<Vec<_>>());
    }

    async fn a_silent_failure_while_resuming_counts_as_a_session_gone(world) {
        let engine = world.engine().await;
        let (run, first) = with_session(&world, &engine).await;
        world.model.exit(&first, 1);
        let second = ProcessId { run: run.id.clone(), epoch: 2 };
        world.model.until_alive(&second).await;
        world.model.say_session(&second, "new");
        done(&world.model, &second);
        world.model.exit(&second, 0);
        let run = world.over(&run.id).await;
        assert_eq!((run.status, run.session_after.as_deref()), (RunStatus::Succeeded, Some("new")));
        let (_, third) = world.start(&engine, &run.agent_id, "a").await;
        assert!(world.model.argv(&third).contains(&"new".to_owned()));
    }

    async fn a_lost_keeper_is_swept_after_and_its_run_is_tried_again_once(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        world.model.fail_sweeps(2);
        let (first, process) = world.start(&engine, &agent.id, "a").await;
        world.model.lose_keeper(&process);
        let first = world.over(&first.id).await;
        assert_eq!(world.model.sweeps(&process), 3);
        assert_eq!((first.status, first.error_code.as_deref()), (RunStatus::Failed, Some("process_lost")));
        let second = world.runs_of(&agent.id).await.pop().unwrap();
        assert_eq!(second.retry_of_run_id.as_ref(), Some(&first.id));
        assert_eq!((second.process_loss_retries, second.retry_reason.as_deref()), (1, Some("process_lost")));
        assert_eq!(second.context["wakeReason"], json!("process_lost_retry"));
        let process = World::first(&second.id);
        world.model.until_alive(&process).await;
        world.model.lose_keeper(&process);
        assert_eq!(world.over(&second.id).await.error_code.as_deref(), Some("process_lost"));
        assert_eq!(world.runs_of(&agent.id).await.len(), 2);
        assert!(world.messages(&first.id).await.contains(&"a new run replaces the lost process".to_owned()));
    }

    async fn a_call_that_may_not_be_repeated_is_not(world) {
        let engine = world.engine().await;
        for (idempotent, runs) in [(false, 1), (true, 2)] {
            let draft = AgentDraft {
                name: "Caller".into(),
                adapter_type: "http".into(),
                adapter_config: json!({ "url": "http://127.0.0.1:9/run", "idempotent": idempotent }),
                ..AgentDraft::default()
            };
            let agent = world.agent_like(&engine, draft).await;
            let (run, process) = world.start(&engine, &agent.id, "a").await;
            world.model.lose_keeper(&process);
            world.over(&run.id).await;
            assert_eq!(world.runs_of(&agent.id).await.len(), runs);
        }
    }

    async fn a_transient_failure_waits_for_its_retry_and_goes_on_when_it_is_due(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (mut run, mut process) = world.start(&engine, &agent.id, "a").await;
        // 2, 10, 30 and 120 minutes, a quarter more or less; then no more.
        for (attempt, minutes) in [(1u32, 2), (2, 10), (3, 30), (4, 120)] {
            failed(&world.model, &process, ErrorClass::Transient, 1);
            let ended = world.over(&run.id).await;
            assert_eq!(ended.result.unwrap()["errorFamily"], json!("transient_upstream"));
            let next = world.runs_of(&agent.id).await.pop().unwrap();
            assert_eq!((next.status, next.retry_attempt), (RunStatus::ScheduledRetry, attempt));
            let held = engine.held_reasons(std::slice::from_ref(&next)).await.unwrap();
            assert_eq!(held[0].unwrap().as_str(), "retry_backoff");
            let wait = next.retry_at.unwrap().since(ended.finished_at.unwrap()).as_secs();
            assert!((minutes * 45..=minutes * 75).contains(&wait), "{wait} s for {minutes} min");
            world.clock.set(next.retry_at.unwrap());
            engine.nudge();
            process = World::first(&next.id);
            world.model.until_alive(&process).await;
            run = next;
        }
        failed(&world.model, &process, ErrorClass::Transient, 1);
        world.over(&run.id).await;
        assert_eq!(world.runs_of(&agent.id).await.len(), 5);
    }

    async fn a_limit_is_waited_out_until_the_provider_resets_it(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let reset = NOON.plus(Duration::from_secs(9 * 3600));
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        world.model.say_failed(&process, ErrorClass::Quota, Some(reset));
        world.model.exit(&process, 1);
        let run = world.over(&run.id).await;
        assert_eq!(run.result.unwrap()["retryNotBefore"], json!(reset));
        let next = world.runs_of(&agent.id).await.pop().unwrap();
        assert_eq!((next.status, next.retry_at), (RunStatus::ScheduledRetry, Some(reset)));
        // Who asks meanwhile joins it.
        assert_eq!(world.wake(&engine, &agent.id, "a").await.id, next.id);
    }
}
