//! Deleting a company: its work is ended first, then its files go, then its rows. Folders that its runs worked in are left
//! to the sweep of each node (`sweeps/leftovers.rs`).
//!
//! A deletion that is interrupted leaves an archived company without working agents, and asking again goes on with it.
//! What is on the audit chain stays, with a record of the deletion itself.

use std::time::Duration;

use domain::ids::{CompanyId, RunId};
use store::{audit, companies, removal, runtime_services};

use crate::activity::Author;
use crate::processes::{ProcessError, beside};
use crate::runtime_services::ending;
use crate::{CompanyPatch, Engine, EngineError, stops};

/// Rows, runs or agents in one transaction.
const BATCH: i64 = 200;
/// Agents' processes have this long to end: the longest usual grace and a little more.
const PATIENCE: Duration = Duration::from_secs(30);
/// A run of another node, or one that is just being claimed, is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Engine {
    /// Deletes a company with everything in it. Fails with `Conflict`, and nothing of the record is gone yet, when
    /// processes of it do not end in time.
    pub async fn delete_company(&self, company: &CompanyId, by: &Author) -> Result<(), EngineError> {
        self.inner.refuse_when_closing()?;
        let (found, _) = self.patch_company(company, archived(), by).await?;
        self.end_agents(company, by).await?;
        self.await_the_end(company).await?;
        self.end_services(company).await?;
        self.remove_runs(company).await?;
        self.remove_files(company).await?;
        while self.inner.write(company.clone(), |tx, id| Box::pin(removed_batch(tx, id))).await? > 0 {}
        let record = (by.actor(), found.name, self.now());
        let is_removed = self.inner.write((company.clone(), record), |tx, (id, (actor, name, now))| {
            Box::pin(async move {
                if !removal::last(tx, &id, now).await? {
                    return Ok(false);
                }
                let record = stops::record(&id, &actor, "company.deleted", id.as_str(), &name, now);
                audit::append(tx, record).await?;
                Ok(true)
            })
        });
        if !is_removed.await? {
            return Err(still_working(&[]));
        }
        self.inner.leftovers.notify_one();
        tracing::info!(%company, "the company was deleted");
        Ok(())
    }

    /// Ends all agents: nothing is started any more, and what runs is asked to stop.
    async fn end_agents(&self, company: &CompanyId, by: &Author) -> Result<(), EngineError> {
        loop {
            let agents = self.inner.read(company.clone(), |tx, id| {
                Box::pin(async move { removal::agents_to_end(tx, &id, BATCH).await })
            });
            let agents = agents.await?;
            if agents.is_empty() {
                return Ok(());
            }
            for agent in agents {
                self.terminate_agent(&agent, &by.actor()).await?;
            }
        }
    }

    /// Waits until no run is left that is not over.
    async fn await_the_end(&self, company: &CompanyId) -> Result<(), EngineError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let left = self.inner.read(company.clone(), |tx, id| {
                Box::pin(async move { removal::unfinished(tx, &id, 10).await })
            });
            let left = left.await?;
            let Some(first) = left.first() else { return Ok(()) };
            if tokio::time::Instant::now() >= deadline {
                return Err(still_working(&left));
            }
            match self.inner.handle_of(first) {
                Some(handle) => drop(tokio::time::timeout_at(deadline, handle.ended()).await),
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Ends its services: without their rows nobody would know of their processes.
    async fn end_services(&self, company: &CompanyId) -> Result<(), EngineError> {
        loop {
            // Somebody may have started one meanwhile.
            let ended = ending::end_all_of(&self.inner, company).await;
            ended.map_err(|message| EngineError::Conflict { message, details: None })?;
            let over = self.services(company, false).await?;
            if over.is_empty() {
                return Ok(());
            }
            let (inner, of) = (self.inner.clone(), over.clone());
            let removed = beside(&self.inner.processes, move || {
                of.iter().try_for_each(|service| inner.processes.remove(&RunId(service.id.clone())).map(drop))
            });
            removed.await.unwrap_or_else(|error| Err(ProcessError::Other(error.to_string())))?;
            let forget = self.inner.write(over, |tx, over| {
                Box::pin(async move {
                    for service in &over {
                        runtime_services::remove(tx, &service.id).await?;
                    }
                    Ok(())
                })
            });
            forget.await?;
        }
    }

    async fn remove_runs(&self, company: &CompanyId) -> Result<(), EngineError> {
        loop {
            let runs = self.inner.read(company.clone(), |tx, id| {
                Box::pin(async move { removal::finished(tx, &id, BATCH).await })
            });
            let runs = runs.await?;
            if runs.is_empty() {
                return Ok(());
            }
            let (inner, of) = (self.inner.clone(), runs.clone());
            let removed = beside(&self.inner.processes, move || {
                of.iter().try_for_each(|run| inner.processes.remove(run).map(drop))
            });
            removed.await.unwrap_or_else(|error| Err(ProcessError::Other(error.to_string())))?;
            let remove =
                self.inner.write(runs, |tx, runs| Box::pin(async move { removal::runs(tx, &runs).await }));
            remove.await?;
        }
    }

    /// Removes what was attached to issues.
    async fn remove_files(&self, company: &CompanyId) -> Result<(), EngineError> {
        loop {
            let files = self.inner.read(company.clone(), |tx, id| {
                Box::pin(async move { removal::files(tx, &id, BATCH).await })
            });
            let files = files.await?;
            if files.is_empty() {
                return Ok(());
            }
            for (_, key) in &files {
                let path = self.inner.settings.data_dir.join(key);
                if let Err(error) = tokio::fs::remove_file(&path).await
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    tracing::warn!(path = %path.display(), %error, "cannot remove an attachment");
                }
            }
            let ids: Vec<String> = files.into_iter().map(|(id, _)| id).collect();
            let forget = self
                .inner
                .write(ids, |tx, ids| Box::pin(async move { removal::forget_files(tx, &ids).await }));
            forget.await?;
        }
    }
}

fn archived() -> CompanyPatch {
    CompanyPatch { status: Some("archived".to_owned()), ..CompanyPatch::default() }
}

async fn removed_batch(tx: &mut store::Tx<'_>, company: CompanyId) -> Result<u64, store::StoreError> {
    // The row is locked so that nobody can begin something in it meanwhile.
    companies::lock(tx, &company).await?;
    removal::batch(tx, &company, BATCH).await
}

fn still_working(runs: &[RunId]) -> EngineError {
    EngineError::Conflict {
        message: "Company has runs that have not ended yet; delete it again in a moment".to_owned(),
        details: Some(serde_json::json!({ "runIds": runs })),
    }
}
