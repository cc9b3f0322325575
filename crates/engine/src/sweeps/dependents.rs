//! Looks for issues that wait on blockers though all of these are done.
//!
//! The change that finishes the last blocker wakes who waits, in its own commit. This re-derives the same from the stored
//! state, should anything ever have ended a blocker by another way. Only issues that are marked as waiting are looked at.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::IssueId;
use domain::issue::IssueStatus;
use domain::issue::notices::{Dependent, blockers_resolved};
use domain::wake::Actor;
use store::{StoreError, issues, relations};
use tokio::time::Instant;

use crate::{Inner, orders};

/// A look at very many issues is followed by a rest of so many times its length.
const REST: u32 = 50;

pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !super::rest(&engine, "issues that wait on blockers", &engine.dependents, pass).await {
            return;
        }
    }
}

/// Orders the wakes that are due; returns how long there is nothing to do.
async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    let begun = Instant::now();
    super::walk(
        engine,
        "the blockers",
        |tx, after, limit| Box::pin(async move { relations::ready_but_waiting(tx, &after, limit).await }),
        |engine, issue| Box::pin(async move { tell(&engine, &issue).await }),
    )
    .await?;
    Ok(super::seldom(engine).max(begun.elapsed() * REST))
}

/// Tells the assignee, once: the mark goes with the order.
async fn tell(engine: &Arc<Inner>, issue: &IssueId) -> Result<bool, StoreError> {
    let now = engine.clock.now();
    engine
        .write(issue.clone(), move |tx, id| {
            Box::pin(async move {
                let Some(issue) = issues::lock(tx, &id).await?.filter(|issue| issue.waits_on_blockers) else {
                    return Ok(false);
                };
                let blockers = relations::blockers_of(tx, std::slice::from_ref(&id)).await?;
                let is_open = |status: IssueStatus| status != IssueStatus::Done;
                let dependent = Dependent {
                    issue: id.clone(),
                    status: issue.status,
                    assignee: issue.assignee_agent_id.clone(),
                    unresolved: blockers
                        .iter()
                        .filter(|(_, blocker)| is_open(blocker.status))
                        .map(|(_, blocker)| blocker.id.clone())
                        .collect(),
                    blockers: blockers.into_iter().map(|(_, blocker)| blocker.id).collect(),
                };
                if !dependent.unresolved.is_empty() {
                    return Ok(false);
                }
                issues::set_waits_on_blockers(tx, &id, false).await?;
                let notices: Vec<_> = blockers_resolved(&dependent, None).into_iter().collect();
                let by = Actor::system("dependents");
                let placed = orders::order(tx, &issue.company_id, &notices, &by, now).await?;
                Ok(!placed.is_empty())
            })
        })
        .await
}
