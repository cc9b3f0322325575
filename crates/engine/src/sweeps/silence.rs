//! Takes back what was shown to people of runs that are over.
//!
//! The settlement of a run does that itself. This finds what a run left that was withdrawn, removed, or shown by one
//! server while another one settled it. Finding that a run is silent is its task's business.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::RunId;
use domain::recovery::InboxKind;
use store::{StoreError, inbox, runs_of_issues};

use crate::Inner;

/// Items per page.
const PAGE: i64 = 200;
/// Between two passes: nobody waits for it.
const PERIOD: Duration = Duration::from_secs(60);

pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !super::rest(&engine, "items about runs", &engine.silence, pass).await {
            return;
        }
    }
}

async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    for kind in [InboxKind::SilentRun, InboxKind::NoProgress] {
        let mut after = String::new();
        loop {
            let (last, over) = page(engine, kind, after.clone()).await?;
            if !over.is_empty() {
                let now = engine.clock.now();
                engine
                    .write(over, move |tx, over| {
                        Box::pin(async move {
                            for id in over {
                                inbox::resolve(tx, &id, "run_ended", now).await?;
                            }
                            Ok(())
                        })
                    })
                    .await?;
            }
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
    }
    Ok(PERIOD)
}

/// The open items of one page whose runs are over, and where the next page begins, if there is one.
async fn page(
    engine: &Arc<Inner>,
    kind: InboxKind,
    after: String,
) -> Result<(Option<String>, Vec<String>), StoreError> {
    engine
        .read(after, move |tx, after| {
            Box::pin(async move {
                let items = inbox::open_of_kind(tx, kind.as_str(), &after, PAGE).await?;
                let ids: Vec<RunId> = items.iter().map(|item| RunId(item.entity_id.clone())).collect();
                let runs = runs_of_issues::some(tx, &ids).await?;
                let goes_on = |id: &str| runs.iter().any(|run| run.id.as_str() == id && run.status.is_live());
                let last = items.last().filter(|_| items.len() as i64 == PAGE).map(|item| item.id.clone());
                let over = items.iter().filter(|item| !goes_on(&item.entity_id)).map(|item| item.id.clone());
                Ok((last, over.collect()))
            })
        })
        .await
}
