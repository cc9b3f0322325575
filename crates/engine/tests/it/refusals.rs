//! A store that refuses the end of a run for good, which is no outage: the run ends all the same, says why its record is
//! short, and never stays without a reason.
//!
//! The refusals are rules of the schema, added for the test.

use domain::run::RunStatus;
use domain::wake::{Actor, WakeStatus};
use engine::Engine;
use serde_json::json;
use store::runs::Run;
use store::wakes::Wake;
use store::{Sql, p, sql};
use testkit::{World, both_stores};

/// The same rule for SQLite, and as function and trigger for PostgreSQL.
struct Rule {
    sqlite: Sql,
    postgres: [Sql; 2],
}

impl Rule {
    async fn add(&self, world: &World) {
        run(
            world,
            if world.store.is_postgres() { &self.postgres } else { std::slice::from_ref(&self.sqlite) },
        )
        .await;
    }

    async fn lift(world: &World) {
        let lift = if world.store.is_postgres() {
            sql!("DROP FUNCTION refuse CASCADE")
        } else {
            sql!("DROP TRIGGER refuse")
        };
        run(world, &[lift]).await;
    }
}

async fn run(world: &World, statements: &[Sql]) {
    let statements = statements.to_vec();
    let written = world.store.write(move |tx| {
        let statements = statements.clone();
        Box::pin(async move {
            for sql in statements {
                tx.exec(sql, p![]).await?;
            }
            Ok(())
        })
    });
    written.await.unwrap();
}

macro_rules! refuse {
    ($what:literal, $when:literal, $words:literal) => {
        Rule {
            sqlite: sql!(concat!(
                "CREATE TRIGGER refuse BEFORE ",
                $what,
                " WHEN ",
                $when,
                " BEGIN SELECT RAISE(ABORT, '",
                $words,
                "'); END"
            )),
            postgres: [
                sql!(concat!(
                    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF ",
                    $when,
                    " THEN RAISE EXCEPTION '",
                    $words,
                    "'; END IF; RETURN NEW; END$$"
                )),
                sql!(concat!(
                    "CREATE TRIGGER refuse BEFORE ",
                    $what,
                    " FOR EACH ROW EXECUTE FUNCTION refuse()"
                )),
            ],
        }
    };
}

/// Refuses an end that quotes what the program printed.
fn of_what_was_printed() -> Rule {
    refuse!("UPDATE ON runs", "NEW.stdout_excerpt LIKE '%poison%'", "no poison in here")
}

/// Refuses every event of a run but its first two.
fn of_events() -> Rule {
    refuse!("INSERT ON run_events", "NEW.seq > 2", "no more events")
}

/// Refuses every end.
fn of_all_ends() -> Rule {
    refuse!("UPDATE ON runs", "NEW.finished_at IS NOT NULL", "nothing ends here")
}

/// Refuses a second process of a run.
fn of_second_processes() -> Rule {
    refuse!("UPDATE ON runs", "NEW.lease_epoch > 1", "one is enough")
}

/// The wake of a run, and that its agent takes new work.
async fn all_is_settled(world: &World, engine: &Engine, run: &Run) -> Wake {
    let wake = world.wake_row(&run.wake_id).await;
    assert!(wake.status.is_final(), "{wake:#?}");
    // A moment after the commit of the end.
    world.eventually("its place is given back", || async { (engine.capacity().0 == 0).then_some(()) }).await;
    world.start(engine, &run.agent_id, "next").await;
    wake
}

both_stores! {
    async fn an_end_that_is_refused_for_what_the_program_said_is_recorded_without_it(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        of_what_was_printed().add(&world).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        world.model.print(&process, "this is poison\n");
        world.model.say_message(&process, "done");
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        let ended = world.over(&run.id).await;
        // What happened to the process stays what it was; that the record is short has a name.
        assert_eq!(
            (ended.status, ended.error_code.as_deref(), ended.exit_code),
            (RunStatus::Succeeded, Some("settlement_refused"), Some(0))
        );
        let error = ended.error.as_deref().unwrap();
        assert!(error.contains("no poison in here"), "{error}");
        assert_eq!((&ended.stdout_excerpt, &ended.result.as_ref().unwrap()["stopReason"]), (&None, &json!("completed")));
        let events = world.events(&run.id).await;
        let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=ended.event_seq).collect::<Vec<_>>());
        let last = events.last().unwrap();
        let details = last.payload.as_ref().unwrap();
        assert_eq!((details["status"].as_str(), details["exitCode"].as_i64()), (Some("succeeded"), Some(0)));
        assert!(details["refused"].as_str().unwrap().contains("no poison in here"), "{details}");
        assert_eq!(all_is_settled(&world, &engine, &ended).await.status, WakeStatus::Completed);
    }

    async fn a_retry_follows_an_end_that_is_recorded_in_short(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        of_what_was_printed().add(&world).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        world.model.print(&process, "this is poison\n");
        world.model.lose_keeper(&process);
        let ended = world.over(&run.id).await;
        assert_eq!((ended.status, ended.error_code.as_deref()), (RunStatus::Failed, Some("settlement_refused")));
        let details = world.events(&run.id).await.iter().find_map(|event| event.payload.clone().filter(|it| it["refused"].is_string()));
        assert_eq!(details.unwrap()["errorCode"], "process_lost");
        let again = world.eventually("the replacement", || async {
            world.runs_of(&agent.id).await.into_iter().find(|next| next.retry_of_run_id.as_ref() == Some(&run.id))
        });
        let again = again.await;
        world.model.until_alive(&World::first(&again.id)).await;
    }

    async fn an_end_whose_events_are_refused_is_recorded_bare(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        of_events().add(&world).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        world.model.exit(&process, 3);
        let ended = world.over(&run.id).await;
        assert_eq!(
            (ended.status, ended.error_code.as_deref(), ended.exit_code, ended.event_seq),
            (RunStatus::Failed, Some("settlement_refused"), Some(3), 2)
        );
        let error = ended.error.as_deref().unwrap();
        assert!(error.contains("no more events") && error.contains("exited with code 3"), "{error}");
        Rule::lift(&world).await;
        assert_eq!(all_is_settled(&world, &engine, &ended).await.status, WakeStatus::Failed);
    }

    async fn a_run_that_cannot_be_ended_at_all_says_so_and_ends_when_it_can(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        of_all_ends().add(&world).await;
        world.model.say_message(&process, "done");
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        let next = world.eventually("the reason", || async {
            let explained = engine.explain(&run.id).await.unwrap();
            assert_eq!(explained.status, RunStatus::Running);
            explained.next.contains("nothing ends here").then_some(explained.next)
        });
        let next = next.await;
        assert!(next.contains("cannot be recorded"), "{next}");
        Rule::lift(&world).await;
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
    }

    async fn a_second_process_that_is_refused_ends_its_run(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (first, process) = world.start(&engine, &agent.id, "a").await;
        world.model.say_session(&process, "s-1");
        world.model.say_message(&process, "done");
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.over(&first.id).await;
        of_second_processes().add(&world).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        // Its session is gone: it is to be started afresh.
        world.model.exit(&process, 1);
        let ended = world.over(&run.id).await;
        assert_eq!((ended.status, ended.error_code.as_deref()), (RunStatus::Failed, Some("adapter_failed")));
        assert!(ended.error.as_deref().unwrap().contains("one is enough"), "{:?}", ended.error);
        all_is_settled(&world, &engine, &ended).await;
    }

    async fn a_stop_is_heard_while_an_end_is_refused(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        of_all_ends().add(&world).await;
        world.model.exit(&process, 3);
        world.eventually("the reason", || async {
            let explained = engine.explain(&run.id).await.unwrap();
            explained.next.contains("nothing ends here").then_some(())
        }).await;
        engine.cancel_run(&run.id, None, &Actor::local_board()).await.unwrap();
        Rule::lift(&world).await;
        assert_eq!(world.over(&run.id).await.status, RunStatus::Failed);
    }
}
