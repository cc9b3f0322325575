//! The two doors that a budget can close: the intake of a wake ([`block`]) and the start of a run ([`reserve`]).
//!
//! Both ask first whether anybody in the company has a budget, in the one statement that tells who is paused; where
//! nobody has, nothing else is asked. What is reserved here is given back by `spending`.

use domain::budget::block::{self as rule, AgentView, BlockView, CompanyView, ProjectView};
use domain::budget::meter::{self, Consumed, Cover, RUNS_REMEMBERED, Shortfall};
use domain::budget::{Account, Metric};
use domain::ids::{AgentId, CompanyId, RunId};
use domain::moment::Moment;
use domain::wake::BudgetBlock;
use serde_json::Value as Json;
use store::agents::Agent;
use store::budgets::reservations::{self, Reserved, Share};
use store::budgets::scopes::{self, Scopes};
use store::runs::Run;
use store::{StoreError, Tx, costs};

use super::accounts::{self, company_status};
use super::crossing;

/// Why a waiting run may not start, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    pub scope_type: String,
    pub scope_id: String,
    pub reason: String,
    /// What its next message may cost beyond what is left, in the unit of the counters (micro-dollars or tokens).
    pub short: Option<Shortfall>,
}

/// Whether a budget, or a paused company or project, stops all new work of an agent; `None` also when there is no such
/// agent in the company.
pub(crate) async fn block(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    agent: &AgentId,
    project: Option<&str>,
    now: Moment,
) -> Result<Option<BudgetBlock>, StoreError> {
    let Some(found) = scopes::of_agent(tx, agent, project).await? else { return Ok(None) };
    let accounts = accounts_of(tx, &found, agent, project, now).await?;
    blocked(&found, company, agent, &accounts)
}

async fn accounts_of(
    tx: &mut Tx<'_>,
    found: &Scopes,
    agent: &AgentId,
    project: Option<&str>,
    now: Moment,
) -> Result<Vec<Account>, StoreError> {
    if !found.has_policies {
        return Ok(Vec::new());
    }
    accounts::concerning(tx, &found.company_id, agent, project, now).await
}

fn blocked(
    found: &Scopes,
    company: &CompanyId,
    agent: &AgentId,
    accounts: &[Account],
) -> Result<Option<BudgetBlock>, StoreError> {
    let view = BlockView {
        company: (found.company_id == *company)
            .then(|| -> Result<_, StoreError> {
                Ok(CompanyView {
                    id: found.company_id.clone(),
                    name: found.company_name.clone(),
                    status: company_status(&found.company_status)?,
                    reason: found.company_pause,
                })
            })
            .transpose()?,
        agent: Some(AgentView {
            id: agent.clone(),
            company: found.company_id.clone(),
            name: found.agent_name.clone(),
            status: found.agent_status,
            reason: found.agent_pause,
        }),
        project: found.project_id.clone().zip(found.project_company_id.clone()).map(|(id, company)| {
            let name = found.project_name.clone().unwrap_or_default();
            ProjectView { id, company, name, reason: found.project_pause }
        }),
        accounts,
    };
    // An agent that is not there, or not there in this company, is somebody else's refusal.
    let block = rule::block(&view).ok().flatten();
    Ok(block.map(|block| BudgetBlock {
        reason: block.reason.to_owned(),
        scope_type: block.scope.kind.as_str().to_owned(),
        scope_id: block.scope.id,
    }))
}

/// The project that a run spends for.
pub(super) fn project_of(run: &Run) -> Option<&str> {
    run.project_id.as_deref().or_else(|| run.context.get("projectId").and_then(Json::as_str))
}

/// Whether the run may start as far as budgets go; what its next message may cost is then set aside for it. False: it is
/// held, and where only a raise helps, somebody has been told.
///
/// Called in the transaction of the claim, with the agent locked, before the run becomes `running`.
pub(crate) async fn reserve(
    tx: &mut Tx<'_>,
    run: &Run,
    agent: &Agent,
    now: Moment,
) -> Result<bool, StoreError> {
    let project = project_of(run);
    let Some(found) = scopes::of_agent(tx, &agent.id, project).await? else { return Ok(true) };
    let accounts = accounts_of(tx, &found, &agent.id, project, now).await?;
    let is_blocked = blocked(&found, &run.company_id, &agent.id, &accounts)?.is_some();
    if accounts.is_empty() {
        return Ok(!is_blocked);
    }
    let cover = cover(tx, agent, &accounts).await?;
    let made = match cover {
        Cover::Short(short) => {
            let is_exceeded = accounts.iter().any(|it| it.policy.id == short.policy && it.is_exceeded());
            // Of what is spent altogether the incident tells.
            if short.needs_a_raise && !is_exceeded {
                crossing::tell_shortage(tx, (&run.company_id, &agent.id), &short, now).await?;
            }
            return Ok(false);
        }
        Cover::Reserved(_) if is_blocked => return Ok(false),
        Cover::Reserved(made) => made,
    };
    let shares: Vec<Share> = made
        .iter()
        .filter_map(|reservation| {
            let account = accounts.iter().find(|account| account.policy.id == reservation.policy)?;
            let window = account.counter.window;
            Some(Share { policy: reservation.policy.clone(), window, amount: reservation.amount })
        })
        .collect();
    // The rule looked without a lock; the store sets aside only what still fits.
    if reservations::reserve(tx, &run.id, &shares, now).await? != Reserved::Made {
        return Ok(false);
    }
    let mut after = accounts;
    for account in &mut after {
        if account.counter.committed() == 0 && account.policy.limit().is_some() {
            // The first of a window.
            crossing::shortage_is_over(tx, &account.policy.id, "window_began", now).await?;
        }
        let mine = shares.iter().find(|share| share.policy == account.policy.id);
        account.counter.reserved += mine.map_or(0, |share| share.amount);
    }
    crossing::look(tx, &run.company_id, &after, (run.id.as_str(), "reserve"), now).await?;
    Ok(true)
}

/// Reserves by the rule. A run never reserves nothing where there is a limit: so the last start before the limit and the
/// first one after it cannot both look at the same last unit.
async fn cover(tx: &mut Tx<'_>, agent: &Agent, accounts: &[Account]) -> Result<Cover, StoreError> {
    if accounts.iter().all(|account| account.policy.stop_limit().is_none()) {
        return Ok(meter::reserve(accounts, |_| 0));
    }
    let dearest = costs::dearest_message(tx, &agent.id, RUNS_REMEMBERED as i64).await?;
    let seen = [Consumed { micros: dearest.micros, tokens: dearest.tokens }];
    let configured = |metric| configured(&agent.runtime_config, metric);
    Ok(meter::reserve(accounts, |metric| meter::reservation_size(metric, configured(metric), &seen).max(1)))
}

/// What an agent's configuration says a message may cost: `runtimeConfig.budget.{messageCents, messageTokens}`.
fn configured(runtime_config: &Json, metric: Metric) -> Option<i64> {
    let budget = runtime_config.get("budget")?;
    match metric {
        Metric::BilledCents => {
            let cents =
                budget.get("messageCents")?.as_f64().filter(|cents| cents.is_finite() && *cents > 0.0)?;
            // Fractions of a cent count: a message seldom costs a whole one.
            Some((cents * 10_000.0).min(1e15) as i64)
        }
        Metric::Tokens => budget.get("messageTokens")?.as_i64(),
    }
}

/// Why a waiting run would not be let through by [`reserve`] now; it changes nothing.
pub(crate) async fn shortage(
    tx: &mut Tx<'_>,
    run: &Run,
    agent: &Agent,
    now: Moment,
) -> Result<Option<Shortage>, StoreError> {
    let project = project_of(run);
    let Some(found) = scopes::of_agent(tx, &agent.id, project).await? else { return Ok(None) };
    let accounts = accounts_of(tx, &found, &agent.id, project, now).await?;
    let short = match accounts.is_empty() {
        true => None,
        false => match cover(tx, agent, &accounts).await? {
            Cover::Short(short) => Some(short),
            Cover::Reserved(_) => None,
        },
    };
    if let Some(block) = blocked(&found, &run.company_id, &agent.id, &accounts)? {
        let BudgetBlock { reason, scope_type, scope_id } = block;
        return Ok(Some(Shortage { scope_type, scope_id, reason, short }));
    }
    Ok(short.map(|short| Shortage {
        scope_type: short.scope.kind.as_str().to_owned(),
        scope_id: short.scope.id.clone(),
        reason: if short.needs_a_raise {
            "What is left of the budget does not cover one message".to_owned()
        } else {
            "What is left of the budget is reserved for running runs".to_owned()
        },
        short: Some(short),
    }))
}

/// Whether any of these waiting runs of one agent is held for a budget, asked at once.
pub(crate) async fn shortages(
    tx: &mut Tx<'_>,
    runs: &[Run],
    agent: &Agent,
    now: Moment,
) -> Result<Vec<RunId>, StoreError> {
    // Runs differ only in their project.
    let mut known: Vec<(Option<String>, bool)> = Vec::new();
    let mut held = Vec::new();
    for run in runs {
        let project = project_of(run).map(str::to_owned);
        let is_short = match known.iter().find(|(known, _)| *known == project) {
            Some((_, is_short)) => *is_short,
            None => {
                let is_short = shortage(tx, run, agent, now).await?.is_some();
                known.push((project, is_short));
                is_short
            }
        };
        if is_short {
            held.push(run.id.clone());
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_for_a_message_is_read_in_the_unit_of_the_counters() {
        let config = serde_json::json!({ "budget": { "messageCents": 2.5, "messageTokens": 700 } });
        assert_eq!(configured(&config, Metric::BilledCents), Some(25_000));
        assert_eq!(configured(&config, Metric::Tokens), Some(700));
        for nothing in [
            serde_json::json!({}),
            serde_json::json!({ "budget": 7 }),
            serde_json::json!({ "budget": { "messageCents": -1, "messageTokens": "many" } }),
        ] {
            assert_eq!(configured(&nothing, Metric::BilledCents), None);
            assert_eq!(configured(&nothing, Metric::Tokens), None);
        }
    }
}
