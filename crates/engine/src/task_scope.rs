//! Whether the token of a run may be used on an issue (`domain::access::task`), and the record of where it may not.
//!
//! A run that an agent ordered for itself gives no right that the agent had not before: on which issue it works is then
//! the agent's own word.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use domain::access::task::{self, Deed, Standing};
use domain::access::{self, AgentActor, AgentProof};
use domain::ids::{AgentId, IssueId, RunId};
use domain::wake::{Actor, ActorKind};
use serde_json::{Value as Json, json};
use store::activity::Activity;
use store::issues::{self, Issue};
use store::runs::Run;
use store::{StoreError, Tx, agents, audit, relations, runs, wakes};

use crate::issues::manages;
use crate::{Engine, EngineError, activity, stops};

/// Neighbours of a task that are looked at.
const MOST_NEIGHBOURS: i64 = 200;
/// Refusals of one run that are written down: a process in a loop fills no log.
const MOST_OF_A_RUN: usize = 20;
/// Refusals that are remembered as written down.
const MOST_REMEMBERED: usize = 4_096;

/// What was refused already, by run and words.
pub(crate) type Refused = BTreeSet<(RunId, String)>;

impl Engine {
    /// Refuses the token of a run on what is not its task; everybody else passes.
    pub async fn in_scope(
        &self,
        actor: &access::Actor,
        deed: Deed,
        issue: &Issue,
    ) -> Result<(), EngineError> {
        let access::Actor::Agent(agent) = actor else { return Ok(()) };
        let AgentProof::Run(run) = &agent.proof else { return Ok(()) };
        let context = (agent.clone(), run.clone(), issue.clone());
        let standing = self.inner.read(context, |tx, (agent, run, issue)| {
            Box::pin(async move { standing(tx, &agent, &run, &issue).await })
        });
        Ok(task::of_run(actor, deed, &standing.await?)?)
    }

    /// Writes down that the token of a run was refused: who watches a company sees what its agents tried. It is told once
    /// for each run and words.
    pub async fn note_refused_token(&self, run: &RunId, agent: &AgentId, what: &str, why: &str) {
        let words = format!("{what}: {why}");
        if !self.is_new_refusal(run, &words) {
            return;
        }
        let (id, now) = (self.new_id(), self.now());
        let context = (id, run.clone(), agent.clone(), what.to_owned(), why.to_owned());
        let written = self.inner.write(context, move |tx, (id, run, agent, what, why)| {
            Box::pin(async move {
                let Some(row) = agents::get(tx, &agent).await? else { return Ok(()) };
                let actor = Actor { kind: ActorKind::Agent, id: Some(agent.0.clone()) };
                let words = format!("{what}: {why}");
                let record =
                    stops::record(&row.company_id, &actor, "run_token.refused", run.as_str(), &words, now);
                audit::append(tx, record).await?;
                let entry = Activity {
                    id,
                    company_id: row.company_id,
                    actor_type: "agent".to_owned(),
                    actor_id: agent.0.clone(),
                    action: "run_token.refused".to_owned(),
                    entity_type: "heartbeat_run".to_owned(),
                    entity_id: run.0.clone(),
                    agent_id: Some(agent),
                    run_id: Some(run),
                    details: Some(json!({ "request": what, "error": why })),
                    created_at: now,
                };
                activity::log(tx, &entry).await
            })
        });
        match written.await {
            Ok(()) => self.inner.feed.ring(),
            Err(error) => tracing::warn!(%run, %error, "cannot write down a refused token"),
        }
    }

    fn is_new_refusal(&self, run: &RunId, words: &str) -> bool {
        let mut refused = self.inner.refused_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let of_run = refused.range((run.clone(), String::new())..).take_while(|(of, _)| of == run).count();
        if of_run >= MOST_OF_A_RUN {
            return false;
        }
        if refused.len() >= MOST_REMEMBERED {
            refused.clear();
        }
        refused.insert((run.clone(), words.to_owned()))
    }
}

/// How an issue stands to a run.
async fn standing(
    tx: &mut Tx<'_>,
    agent: &AgentActor,
    run: &RunId,
    issue: &Issue,
) -> Result<Standing, StoreError> {
    let mut standing = Standing {
        is_held: issue.assignee_agent_id.as_ref() == Some(&agent.agent)
            || issue.checkout_run_id.as_ref() == Some(run)
            || issue.lock_run_id.as_ref() == Some(run),
        is_made: issue.created_by_agent_id.as_ref() == Some(&agent.agent),
        ..Standing::default()
    };
    if standing.is_held || standing.is_made {
        return Ok(standing);
    }
    if let (Some(assignee), Some(row)) = (&issue.assignee_agent_id, agents::get(tx, &agent.agent).await?) {
        standing.is_managed = manages(tx, &row, assignee).await?;
    }
    let Some(run) = runs::get(tx, run).await? else { return Ok(standing) };
    if is_own_wish(tx, &run).await? {
        return Ok(standing);
    }
    standing.is_named = names(&run.context, &issue.id);
    if let Some(task) = run.issue_id.as_deref().map(IssueId::from) {
        standing.is_task = task == issue.id;
        let holds = |above: Vec<Issue>, id: &IssueId| above.iter().any(|it| it.id == *id);
        standing.is_below = holds(issues::ancestors(tx, &issue.id, issues::MOST_ANCESTORS).await?, &task);
        standing.is_above = holds(issues::ancestors(tx, &task, issues::MOST_ANCESTORS).await?, &issue.id);
        let blockers = relations::blockers(tx, &task, MOST_NEIGHBOURS).await?;
        let blocked = relations::dependents(tx, &task, MOST_NEIGHBOURS).await?;
        standing.is_beside = blockers.iter().chain(&blocked).any(|it| it.id == issue.id);
    }
    Ok(standing)
}

/// The agent of the run woke itself.
async fn is_own_wish(tx: &mut Tx<'_>, run: &Run) -> Result<bool, StoreError> {
    let wake = wakes::get(tx, &run.wake_id).await?;
    Ok(wake.is_some_and(|wake| {
        wake.actor_kind == ActorKind::Agent && wake.actor_id.as_deref() == Some(run.agent_id.as_str())
    }))
}

/// The context of a run names the issue as one that its wake is about.
fn names(context: &Json, issue: &IssueId) -> bool {
    context["issueIds"].as_array().is_some_and(|ids| ids.iter().any(|id| id == issue.as_str()))
}
