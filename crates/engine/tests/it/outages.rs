//! The store goes away while runs go on and end; nothing is lost, and all of it is on record when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use domain::run::RunStatus;
use domain::wake::Actor;
use engine::EngineError;
use store::{Store, Target};
use testkit::{NOON, World, on_postgres};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A line to the database that can be cut. Gone with the runtime of its test.
struct Line {
    port: u16,
    is_cut: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    calls: Arc<std::sync::Mutex<CancellationToken>>,
}

impl Line {
    async fn to(port: u16) -> Line {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let line = Line {
            port: listener.local_addr().unwrap().port(),
            is_cut: Arc::default(),
            refused: Arc::default(),
            calls: Arc::default(),
        };
        let (is_cut, refused, calls) =
            (Arc::clone(&line.is_cut), Arc::clone(&line.refused), Arc::clone(&line.calls));
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if is_cut.load(Ordering::SeqCst) {
                    refused.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let end = calls.lock().unwrap().clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    near.set_nodelay(true).unwrap();
                    far.set_nodelay(true).unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        () = end.cancelled() => {}
                    }
                });
            }
        });
        line
    }

    /// Ends all calls; new ones come through.
    fn drop_calls(&self) {
        std::mem::take(&mut *self.calls.lock().unwrap()).cancel();
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.drop_calls();
    }

    fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

async fn line_and_store(world: &World) -> (Line, Arc<Store>) {
    let Target::Postgres(url) = &world.target else { unreachable!("these tests are of PostgreSQL") };
    let (before, rest) = url.split_once("127.0.0.1:").unwrap();
    let (port, name) = rest.split_once('/').unwrap();
    let line = Line::to(port.parse().unwrap()).await;
    let target = Target::Postgres(format!("{before}127.0.0.1:{}/{name}", line.port));
    let settings = store::Settings { pg_pool: 4, ..store::Settings::default() };
    let store = Store::open(&target, settings, NOON.micros()).await.unwrap();
    (line, Arc::new(store))
}

#[test]
fn what_ends_while_the_database_is_away_is_settled_when_it_is_back() {
    on_postgres(|world| async move {
        let (line, store) = line_and_store(&world).await;
        let engine = world.engine_on(store, world.model.port(), world.settings()).await;
        let agent = world.agent(&engine, 3).await;
        let mut runs = Vec::new();
        for task in ["a", "b", "c"] {
            runs.push(world.start(&engine, &agent.id, task).await);
        }
        line.cut();
        for (_, process) in &runs {
            world.model.say_usage(process, 1, 1, 1);
            world.model.say_done(process);
            world.model.exit(process, 0);
        }
        let away = || async { (line.refused.load(Ordering::SeqCst) > 3).then_some(()) };
        world.eventually("writes that fail", away).await;
        assert!(matches!(engine.wake(&agent.id, World::request("d")).await, Err(EngineError::Store(_))));
        for (run, _) in &runs {
            assert_eq!(world.run(&run.id).await.status, RunStatus::Running);
        }
        line.mend();
        for (run, process) in &runs {
            let run = world.over(&run.id).await;
            assert_eq!(run.status, RunStatus::Succeeded);
            assert_eq!(world.model.starts(process), 1);
            let seqs: Vec<i64> = world.events(&run.id).await.iter().map(|event| event.seq).collect();
            assert_eq!(seqs, (1..=run.event_seq).collect::<Vec<_>>());
        }
        assert_eq!(world.runtime_state(&agent.id).await.unwrap().input_tokens, 3);
        world.start(&engine, &agent.id, "d").await;
    });
}

#[test]
fn connections_that_break_in_the_middle_of_anything_lose_and_double_nothing() {
    on_postgres(|world| async move {
        let (line, store) = line_and_store(&world).await;
        let settings = engine::Settings { period: std::time::Duration::from_millis(100), ..world.settings() };
        let engine = world.engine_on(store, world.model.port(), settings).await;
        let agent = world.agent(&engine, 10).await;
        world.model.on_start(|model, id, _| {
            model.say_usage(id, 1, 1, 1);
            model.say_done(id);
            model.exit(id, 0);
        });
        for round in 0..40 {
            let (asked, id) = (engine.clone(), agent.id.clone());
            let task = format!("task-{}", round % 7);
            tokio::spawn(async move {
                // With a key, a request whose answer was lost may be made again.
                while asked.wake(&id, World::keyed(&task, &format!("key-{round}"), "")).await.is_err() {}
            });
            for _ in 0..world.dice.roll(200) {
                tokio::task::yield_now().await;
            }
            line.drop_calls();
        }
        world
            .eventually("forty wakes, all over", || async {
                let wakes = world.wakes_of(&agent.id).await;
                (wakes.len() == 40 && wakes.iter().all(|wake| wake.status.is_final())).then_some(())
            })
            .await;
        let runs = world.runs_of(&agent.id).await;
        for run in &runs {
            assert_eq!(run.status, RunStatus::Succeeded, "{run:#?}");
            let seqs: Vec<i64> = world.events(&run.id).await.iter().map(|event| event.seq).collect();
            assert_eq!(seqs, (1..=run.event_seq).collect::<Vec<_>>());
            assert_eq!(world.model.started(&run.id).len(), 1);
        }
        let state = world.runtime_state(&agent.id).await.unwrap();
        assert_eq!(state.input_tokens, runs.len() as i64, "each run is charged once");
    });
}

#[test]
fn an_engine_whose_store_is_closed_can_leave_and_the_next_one_settles() {
    let folder = tempfile::tempdir().unwrap();
    let file = Target::Sqlite(folder.path().join("store.db"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::new(file.clone()).await;
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        world.store.close().await;
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        let refused = engine.cancel_run(&run.id, None, &Actor::local_board()).await;
        assert!(matches!(refused, Err(EngineError::Store(_))));
        engine.leave().await;

        let model = world.model.clone();
        let world = World::new(file).await.with_model(model);
        assert_eq!(world.run(&run.id).await.status, RunStatus::Running);
        let engine = world.engine().await;
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
        assert_eq!(world.model.starts(&process), 1);
        engine.leave().await;
        world.store.close().await;
    });
}
