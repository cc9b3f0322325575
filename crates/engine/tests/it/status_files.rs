//! The status files of runs of automations: one that cannot be written holds up no other.

use std::path::{Path, PathBuf};

use domain::automation::AutomationRunStatus;
use domain::automation::operation::Operation;
use domain::ids::AutomationRunId;
use serde_json::{Value as Json, json};
use store::automations::runs;
use testkit::both_stores;

use crate::automations::{Line, gate};

/// A run that waits at a gate, and its file.
async fn waiting(line: &Line, name: &str) -> (AutomationRunId, PathBuf) {
    let automation = line.apply(json!({ "name": name, "nodes": [gate("ok", &[])] })).await;
    let run = line.launch(&automation).await;
    let view = line.until_status(&run, AutomationRunStatus::AwaitingApproval).await;
    (run, view.status_file)
}

/// Waits until a file says so.
async fn says(line: &Line, file: &Path, status: &str) {
    line.world
        .eventually(status, || async {
            let text = std::fs::read_to_string(file).ok()?;
            let read: Json = serde_json::from_str(&text).ok()?;
            (read["status"] == status).then_some(())
        })
        .await;
}

both_stores! {
    async fn a_status_file_that_cannot_be_written_holds_up_no_other_and_is_written_later(world) {
        let line = Line::new(world).await;
        let (first, in_the_way) = waiting(&line, "first").await;
        let (second, other) = waiting(&line, "second").await;
        says(&line, &in_the_way, "awaiting_approval").await;
        says(&line, &other, "awaiting_approval").await;
        line.world.eventually("nothing that is not told", || async {
            let untold = line.world.read(|tx| Box::pin(runs::untold(tx, "node-1", 10))).await;
            untold.is_empty().then_some(())
        }).await;
        // A file lies where the folder of the older one belongs.
        let folder = in_the_way.parent().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        std::fs::write(folder, "in the way").unwrap();
        line.operate(&first, Operation::Cancel).await.unwrap();
        line.operate(&second, Operation::Cancel).await.unwrap();
        says(&line, &other, "cancelled").await;
        assert!(folder.is_file(), "nothing was written there");
        std::fs::remove_file(folder).unwrap();
        line.engine.nudge();
        says(&line, &in_the_way, "cancelled").await;
        line.engine.leave().await;
    }
}
