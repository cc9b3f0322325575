//! What a change looks at: the rows it locks, and the facts that the rules ask for.
//!
//! Locks are taken in one order (D15): agents, then issues, each by id. A change that finds, behind its locks, that it
//! needs more of them is undone and comes again with all of them; on the embedded store, where writes come one after
//! another, that happens at most once. One that is refused is undone, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::access::{LOCAL_USER, MembershipStatus};
use domain::ids::{AgentId, CompanyId, IssueId};
use domain::issue::checkout::{AssigneeFacts, Custody};
use domain::issue::lock::{CheckoutFacts, LockFacts};
use domain::run::RunStatus;
use store::agents::{self, Agent};
use store::issues::{self, Issue};
use store::users::{self, Principal};
use store::{BoxFuture, StoreError, Tx, locks, projects, relations, runs};

use crate::activity::{Author, Scribe};
pub(crate) use crate::issue_views::pause_hold;
use crate::writes::Undoing;
use crate::{EngineError, Inner};

/// How often a change comes again before it is given up: each time it found more to lock than the time before.
const MOST_ATTEMPTS: u32 = 8;

/// The rows that a change locks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Locks {
    pub(crate) agents: BTreeSet<AgentId>,
    pub(crate) issues: BTreeSet<IssueId>,
}

/// What was locked, as it is now. What is gone is not in it.
#[derive(Debug, Default)]
pub(crate) struct Locked {
    pub(crate) agents: BTreeMap<AgentId, Agent>,
    pub(crate) issues: BTreeMap<IssueId, Issue>,
}

/// Why a try at a change was undone.
#[derive(Debug)]
pub(crate) enum Again {
    /// It is to come again with these locks.
    Wider(Locks),
    Refused(EngineError),
}

impl<E: Into<EngineError>> From<E> for Again {
    fn from(refusal: E) -> Again {
        Again::Refused(refusal.into())
    }
}

impl Undoing for Again {
    fn into_store(self) -> Result<StoreError, Again> {
        match self {
            Again::Refused(refusal) => refusal.into_store().map_err(Again::Refused),
            wider @ Again::Wider(_) => Err(wider),
        }
    }
}

impl Locks {
    pub(crate) fn of(issue: &IssueId) -> Locks {
        Locks { agents: BTreeSet::new(), issues: BTreeSet::from([issue.clone()]) }
    }

    /// Everything of both.
    pub(crate) fn with(&self, more: &Locks) -> Locks {
        Locks { agents: &self.agents | &more.agents, issues: &self.issues | &more.issues }
    }

    /// Has everything that the other one has.
    pub(crate) fn holds(&self, other: &Locks) -> bool {
        self.agents.is_superset(&other.agents) && self.issues.is_superset(&other.issues)
    }

    /// Takes the locks.
    pub(crate) async fn take(&self, tx: &mut Tx<'_>) -> Result<Locked, StoreError> {
        let mut locked = Locked::default();
        for id in &self.agents {
            if let Some(agent) = agents::lock(tx, id).await? {
                locked.agents.insert(id.clone(), agent);
            }
        }
        for id in &self.issues {
            if let Some(issue) = issues::lock(tx, id).await? {
                locked.issues.insert(id.clone(), issue);
            }
        }
        Ok(locked)
    }
}

impl Inner {
    /// Runs a change in a transaction and rings afterwards.
    pub(crate) async fn change<C, T, F>(
        &self,
        by: &Author,
        locks: Locks,
        context: C,
        closure: F,
    ) -> Result<T, EngineError>
    where
        C: Clone + Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t, 'c> Fn(&'t mut Tx<'c>, Scribe, Locks, C) -> BoxFuture<'t, Result<T, EngineError>>
            + Send
            + Sync
            + 'static,
    {
        self.refuse_when_closing()?;
        let context = (self.scribe(by), locks, context);
        let changed = self
            .write_unless(context, move |tx, (scribe, locks, context)| closure(tx, scribe, locks, context));
        let changed = changed.await?;
        self.rang();
        Ok(changed)
    }

    /// The same, again with more locks as long as it asks for them.
    pub(crate) async fn change_widely<C, T, F>(
        &self,
        by: &Author,
        mut locks: Locks,
        context: C,
        closure: F,
    ) -> Result<T, EngineError>
    where
        C: Clone + Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t, 'c> Fn(&'t mut Tx<'c>, Scribe, Locks, C) -> BoxFuture<'t, Result<T, Again>>
            + Send
            + Sync
            + 'static,
    {
        self.refuse_when_closing()?;
        let scribe = self.scribe(by);
        let closure = Arc::new(closure);
        for _ in 0..MOST_ATTEMPTS {
            let tried = Arc::clone(&closure);
            let attempt = self.write_undoing(
                (scribe.clone(), locks.clone(), context.clone()),
                move |tx, (scribe, locks, context)| {
                    let tried = Arc::clone(&tried);
                    tried(tx, scribe, locks, context)
                },
            );
            match attempt.await {
                Ok(done) => {
                    self.rang();
                    return Ok(done);
                }
                Err(Again::Wider(more)) => locks = locks.with(&more),
                Err(Again::Refused(refusal)) => return Err(refusal),
            }
        }
        let message = "Too many others changed the same issues at the same time".to_owned();
        Err(EngineError::Conflict { message, details: None })
    }
}

/// Who has an issue. Its row is locked.
pub(crate) async fn custody(tx: &mut Tx<'_>, issue: &Issue) -> Result<Custody, StoreError> {
    let checkout = match &issue.checkout_run_id {
        None => None,
        Some(run) => {
            let run_status = runs::get(tx, run).await?.map(|row| row.status);
            Some(CheckoutFacts { run: run.clone(), run_status })
        }
    };
    Ok(Custody {
        issue: issue.id.clone(),
        status: issue.status,
        assignee: issue.assignee_agent_id.clone(),
        checkout,
        lock: lock_facts(tx, issue).await?,
        execution_run: issue.execution_run_id.clone(),
    })
}

async fn lock_facts(tx: &mut Tx<'_>, issue: &Issue) -> Result<Option<LockFacts>, StoreError> {
    if issue.lock_run_id.is_none() {
        return Ok(None);
    }
    Ok(locks::holder(tx, &issue.id).await?.map(|holder| LockFacts {
        run: holder.run_id,
        epoch: holder.epoch,
        agent: holder.agent_id,
        run_status: holder.run_status,
        // The store compares the epochs; one that differs is over, whatever it is now.
        run_epoch: if holder.is_live || holder.run_status != Some(RunStatus::Running) {
            holder.epoch
        } else {
            holder.epoch + 1
        },
    }))
}

/// What is known of an agent that is to get work.
pub(crate) async fn assignee(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    agent: &AgentId,
) -> Result<AssigneeFacts, StoreError> {
    Ok(match agents::get(tx, agent).await? {
        None => AssigneeFacts::Missing,
        Some(agent) if agent.company_id != *company => AssigneeFacts::Foreign,
        Some(agent) => AssigneeFacts::Found(agent.status),
    })
}

/// Blockers that are not done.
pub(crate) async fn open_blockers(tx: &mut Tx<'_>, issue: &IssueId) -> Result<Vec<IssueId>, StoreError> {
    let open = relations::unresolved(tx, std::slice::from_ref(issue)).await?;
    Ok(open.into_iter().map(|(_, blocker, _)| blocker).collect())
}

/// Whether the project of an issue is paused; true by its budget.
pub(crate) async fn project_pause(tx: &mut Tx<'_>, issue: &Issue) -> Result<Option<bool>, StoreError> {
    let Some(project) = &issue.project_id else { return Ok(None) };
    let project = projects::get(tx, project).await?;
    Ok(project
        .filter(|project| project.paused_at.is_some())
        .map(|project| project.pause_reason == Some(domain::agent::PauseReason::Budget)))
}

/// As many dependents as hear of a change.
const MOST_DEPENDENTS: i64 = 1_000;

/// What an issue blocks.
pub(crate) async fn dependents(tx: &mut Tx<'_>, issue: &IssueId) -> Result<Vec<IssueId>, StoreError> {
    let found = relations::dependents(tx, issue, MOST_DEPENDENTS).await?;
    Ok(found.into_iter().map(|related| related.id).collect())
}

/// Whether a user may be named as an assignee: an active member of the company, the person in front of a trusted
/// instance, or whoever asks.
pub(crate) async fn user_exists(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    user: &str,
    by: &Author,
) -> Result<bool, StoreError> {
    if user == LOCAL_USER || by.user_id().as_deref() == Some(user) {
        return Ok(true);
    }
    let member = users::membership(tx, company, &Principal::user(user)).await?;
    Ok(member.is_some_and(|member| member.status == MembershipStatus::Active.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_grow_and_know_what_they_hold() {
        let one = Locks::of(&"i1".into());
        let two = Locks { agents: BTreeSet::from(["a1".into()]), issues: BTreeSet::from(["i2".into()]) };
        let both = one.with(&two);
        assert!(both.holds(&one) && both.holds(&two) && !one.holds(&two));
        assert_eq!(both.issues, BTreeSet::from(["i1".into(), "i2".into()]));
    }
}
