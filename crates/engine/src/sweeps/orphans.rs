//! Looks for issues that block others and belong to nobody, and gives them back to the agent that made them.
//!
//! Whether that helps decides `domain::recovery::orphan`. What belongs to nobody and was made by a person stays: the
//! chain that is stuck behind it is shown by `graph`.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::IssueId;
use domain::issue::IssueStatus;
use domain::recovery::Cause;
use domain::recovery::orphan::{self, OrphanView};
use store::issues::{self, Issue};
use store::{StoreError, Tx, agents, relations};

use crate::activity::Scribe;
use crate::attempts::{self, AUTHOR, Counts};
use crate::{Inner, issue_views};

/// As many issues as are looked at that one blocks.
const MOST_BLOCKED: i64 = 50;

pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !super::rest(&engine, "blockers that belong to nobody", &engine.orphans, pass).await {
            return;
        }
    }
}

/// Gives back what is to be given back; returns how long there is nothing to do.
async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    super::walk(
        engine,
        "the owner",
        |tx, after, limit| Box::pin(async move { issues::orphans(tx, &after, limit).await }),
        |engine, issue| Box::pin(async move { give_back(&engine, issue).await }),
    )
    .await?;
    Ok(super::seldom(engine))
}

async fn give_back(engine: &Arc<Inner>, issue: IssueId) -> Result<bool, StoreError> {
    let scribe = engine.scribe(&AUTHOR);
    engine
        .write((issue, scribe), |tx, (id, mut scribe)| {
            Box::pin(async move {
                let Some(issue) = issues::lock(tx, &id).await? else { return Ok(false) };
                let view = view(tx, &issue, &scribe).await?;
                let Some(adoption) = orphan::decide(&view) else { return Ok(false) };
                let now = scribe.now;
                let after = Issue {
                    assignee_agent_id: Some(adoption.assignee.clone()),
                    last_activity_at: now,
                    updated_at: now,
                    ..issue
                };
                issues::update(tx, &after).await?;
                attempts::order(tx, &after.company_id, &adoption.wake, None, now).await?;
                attempts::remark(tx, &mut scribe, &after, adoption.comment).await?;
                let details = adoption.activity.into();
                scribe.tell_issue(tx, &after.company_id, "issue.updated", &after.id, details).await?;
                Ok(true)
            })
        })
        .await
}

async fn view(tx: &mut Tx<'_>, issue: &Issue, scribe: &Scribe) -> Result<OrphanView, StoreError> {
    let maker = match &issue.created_by_agent_id {
        Some(maker) => agents::get(tx, maker).await?.filter(|maker| maker.company_id == issue.company_id),
        None => None,
    };
    let blocked = relations::dependents(tx, &issue.id, MOST_BLOCKED).await?;
    let is_open = |status: IssueStatus| !status.is_terminal();
    Ok(OrphanView {
        issue: issue.id.clone(),
        identifier: issue.identifier.clone(),
        status: issue.status,
        assigned: issue.assignee_agent_id.is_some() || issue.assignee_user_id.is_some(),
        creator: maker.map(|maker| (maker.id, maker.status)),
        blocks: blocked.into_iter().filter(|it| is_open(it.status)).map(|it| it.identifier).collect(),
        held: issue_views::pause_hold(tx, &issue.id).await?.is_some(),
        attempts: Counts::read(tx, &issue.id).await?.of(Cause::OrphanBlocker),
        untouched_for: scribe.now.since(issue.updated_at),
    })
}
