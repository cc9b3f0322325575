//! Ending all services of a workspace before it is closed, and of a company before it is deleted.
//!
//! Whoever waits here asked in a commit of its own: a server that dies meanwhile leaves services that are being stopped.

use std::time::Duration;

use domain::ids::CompanyId;
use store::execution_workspaces::ExecutionWorkspace;
use store::runtime_services::{self as rows, RuntimeService};
use store::{BoxFuture, StoreError, Tx};

use super::MOST_SERVICES;
use crate::Inner;

/// The grace of a service, that of its keeper, and a pass of another node's sweep.
const PATIENCE: Duration = Duration::from_secs(45);

/// Ends everything that was started in a workspace; the error is in words.
pub(crate) async fn end_all_in(engine: &Inner, workspace: &ExecutionWorkspace) -> Result<(), String> {
    let of = (workspace.company_id.clone(), workspace.id.clone());
    end(engine, of, |tx, (company, id)| {
        Box::pin(async move { rows::live_in(tx, &company, &id, MOST_SERVICES).await })
    })
    .await
}

/// Ends everything that runs beside the workspaces of a company; the error is in words.
pub(crate) async fn end_all_of(engine: &Inner, company: &CompanyId) -> Result<(), String> {
    end(engine, company.clone(), |tx, company| {
        Box::pin(async move { rows::of_company(tx, &company, true, MOST_SERVICES).await })
    })
    .await
}

/// What is live, read anew each time.
type Live<T> = for<'t, 'c> fn(&'t mut Tx<'c>, T) -> BoxFuture<'t, Result<Vec<RuntimeService>, StoreError>>;

async fn end<T>(engine: &Inner, of: T, live: Live<T>) -> Result<(), String>
where
    T: Clone + Send + Sync + 'static,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let rung = engine.services_changed.notified();
        tokio::pin!(rung);
        rung.as_mut().enable();
        let now = engine.clock.now();
        // Asked anew each time: who started one meanwhile is not forgotten.
        let left = engine.write(of.clone(), move |tx, of| {
            Box::pin(async move {
                let left = live(tx, of).await?;
                for service in left.iter().filter(|service| service.stop_asked_at.is_none()) {
                    rows::ask_to_stop(tx, &service.id, now).await?;
                }
                Ok(left)
            })
        });
        let left = left.await.map_err(|error| format!("cannot stop the services: {error}"))?;
        let Some(first) = left.first() else { return Ok(()) };
        engine.services.notify_one();
        tokio::select! {
            biased;
            () = engine.closing.cancelled() => return Err("the server stops".to_owned()),
            () = &mut rung => {}
            () = tokio::time::sleep_until(deadline) => {
                return Err(format!("the service `{}` does not stop", first.service_name));
            }
        }
    }
}
