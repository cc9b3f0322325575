//! What is kept of automations: a record that cannot be read is one record, and nothing is written for nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::automation::AutomationRunStatus;
use engine::Settings;
use serde_json::json;
use store::{BoxFuture, Target, Turn, Turnstile, p, sql};
use testkit::{World, both_stores};
use tokio::sync::Notify;

use crate::automations::{Line, gate, result, step};

both_stores! {
    async fn a_run_whose_definition_cannot_be_read_is_blocked_and_harms_no_other(world) {
        let line = Line::new(world).await;
        let broken = line.apply(json!({ "name": "broken", "nodes": [step("a", &[])] })).await;
        let sound = line.apply(json!({ "name": "sound", "nodes": [step("a", &[])] })).await;
        let (lost, kept) = (line.launch(&broken).await, line.launch(&sound).await);
        let process = line.process(&lost, "a", 1).await;
        line.process(&kept, "a", 1).await;
        let torn = line.world.store.write(move |tx| {
            let id = broken.clone();
            Box::pin(async move {
                let tear = sql!("UPDATE automation_versions SET definition = '{\"name\": 3}' WHERE automation_id = $1");
                tx.exec(tear, p![&id]).await
            })
        });
        assert_eq!(torn.await.unwrap(), 1);
        line.world.model.say(&process, &result("done"));
        line.world.model.exit(&process, 0);
        let run = line.world.eventually("the end of the broken run", || async {
            let run = line.engine.find_automation_run(&lost).await.unwrap();
            run.status.is_final().then_some(run)
        });
        let run = run.await;
        assert_eq!(run.status, AutomationRunStatus::Blocked);
        assert!(run.detail.unwrap().contains("its definition cannot be read"), "it says why");
        assert_eq!(line.events(&lost).await.last().unwrap(), "run_blocked_corrupt_checkpoint");
        line.says(&kept, "a", 1, "done").await;
        line.until_status(&kept, AutomationRunStatus::Completed).await;
        let listed = line.engine.automation_runs(&line.company, None, None, 10).await.unwrap();
        assert_eq!(listed.len(), 2, "a broken run hides no other");
        line.engine.leave().await;
    }
}

/// Stands before a store and counts who comes.
#[derive(Debug, Default)]
struct Counter {
    calls: AtomicU64,
    bell: Notify,
}

struct Pass;

impl Turn for Pass {
    fn leave(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

impl Turnstile for Counter {
    fn enter(&self, _is_write: bool) -> BoxFuture<'static, Box<dyn Turn>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bell.notify_one();
        Box::pin(async { Box::new(Pass) as Box<dyn Turn> })
    }
}

impl Counter {
    /// Waits for so many further calls.
    async fn calls(&self, more: u64) {
        let until = self.calls.load(Ordering::Relaxed) + more;
        let came = async {
            while self.calls.load(Ordering::Relaxed) < until {
                self.bell.notified().await;
            }
        };
        tokio::time::timeout(testkit::patience(), came).await.expect("the sweeps come");
    }
}

/// Everything that was committed since the store was opened.
fn written(file: &Path) -> Vec<u8> {
    let mut log = PathBuf::from(file).into_os_string();
    log.push("-wal");
    std::fs::read(log).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_nothing_to_do_writes_nothing_however_much_is_stored() {
    const STORED: usize = 100;
    const PERIOD: Duration = Duration::from_millis(20);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    let world = World::new(Target::Sqlite(file.clone())).await;
    let line = Line::new(world.clone()).await;
    for number in 0..STORED {
        let schedule = json!([{ "name": "yearly", "cron": "0 0 29 2 *" }]);
        let name = format!("stored-{number}");
        let nodes = json!([gate("ok", &[]), step("a", &["ok"])]);
        let id = line.apply(json!({ "name": name, "nodes": nodes, "schedules": schedule })).await;
        if number % 4 == 0 {
            let run = line.launch(&id).await;
            line.until_status(&run, AutomationRunStatus::AwaitingApproval).await;
        }
    }
    line.engine.leave().await;

    // Its sweeps come a thousand times as often as they would.
    let counter = Arc::new(Counter::default());
    let store = Arc::new(world.store.behind(Arc::clone(&counter) as Arc<dyn Turnstile>));
    let settings = Settings { period: PERIOD, ..world.settings() };
    let engine = world.engine_on(store, world.model.port(), settings).await;
    let mut before = written(&file);
    loop {
        counter.calls(200).await;
        let now = written(&file);
        if now == before {
            break;
        }
        before = now;
    }
    let (since, calls) = (Instant::now(), counter.calls.load(Ordering::Relaxed));
    counter.calls(1_000).await;
    assert!(written(&file) == before, "something was written for nothing");
    let periods = since.elapsed().as_secs_f64() / PERIOD.as_secs_f64() + 1.0;
    let asked = (counter.calls.load(Ordering::Relaxed) - calls) as f64 / periods;
    assert!(asked < STORED as f64, "the store was asked {asked} times in each period");
    engine.leave().await;
    world.store.close().await;
}
