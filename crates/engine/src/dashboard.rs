//! What a company looks like at a glance: counts for its dashboard, the badges beside it, and what people put aside.

use std::collections::BTreeSet;

use domain::agent::AgentStatus;
use domain::budget::WindowKind;
use domain::ids::CompanyId;
use domain::issue::IssueStatus;
use domain::moment::Moment;
use domain::run::RunStatus;
use serde_json::json;
use store::costs::reports::{self, Span};
use store::dismissals::{self, Dismissal};
use store::{approvals, automations, budgets, companies, overview, pauses};

use crate::activity::Author;
use crate::issues::{Locks, Sheet};
use crate::{Engine, EngineError};

/// Days of runs that are shown.
const DAYS: i64 = 14;
/// Agents in error that are looked at for a badge.
const MOST_FAILED: i64 = 500;
/// Things that were put aside are read so many at a time.
const MOST_DISMISSED: i64 = 1_000;

/// The runs that were made on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayOfRuns {
    /// Its first moment.
    pub day: Moment,
    pub succeeded: i64,
    /// Timed out ones among them.
    pub failed: i64,
    pub other: i64,
}

/// What a company looks like now.
#[derive(Debug, Clone, PartialEq)]
pub struct Dashboard {
    pub agents: Vec<(AgentStatus, i64)>,
    /// Hidden ones among them.
    pub issues: Vec<(IssueStatus, i64)>,
    /// In micro-dollars.
    pub month_spent: i64,
    pub month_budget_cents: i64,
    pub pending_approvals: i64,
    pub open_incidents: i64,
    /// Of the approvals those about a budget.
    pub pending_budget_approvals: i64,
    pub paused_agents: i64,
    pub paused_projects: i64,
    /// Oldest first.
    pub runs: Vec<DayOfRuns>,
}

/// What waits for a person, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Badges {
    pub inbox: i64,
    pub approvals: i64,
    pub failed_runs: i64,
}

impl Engine {
    /// Looks at a company.
    pub async fn dashboard(&self, company: &CompanyId) -> Result<Dashboard, EngineError> {
        let now = self.now();
        let today = now.micros().div_euclid(overview::DAY);
        let since = Moment::from_micros((today - DAYS + 1) * overview::DAY);
        let month = WindowKind::CalendarMonthUtc.at(now);
        let found = self.inner.read(company.clone(), move |tx, company| {
            Box::pin(async move {
                let Some(row) = companies::get(tx, &company).await? else { return Ok(None) };
                let counted = overview::runs_by_day(tx, &company, since).await?;
                let runs = (today - DAYS + 1..=today).map(|day| of_day(day, &counted)).collect();
                let pending = approvals::list(tx, &company, Some("pending"), None, MOST_FAILED).await?;
                let about_budgets =
                    pending.iter().filter(|approval| approval.kind == "budget_override_required").count();
                Ok(Some(Dashboard {
                    agents: overview::agents(tx, &company).await?,
                    issues: overview::issues(tx, &company).await?,
                    month_spent: reports::summary(tx, &company, Span::of(month)).await?.cost_micros,
                    month_budget_cents: row.budget_monthly_cents,
                    pending_approvals: approvals::count_pending(tx, &company).await?,
                    open_incidents: {
                        let open = budgets::incidents::list_open(tx, &company, None, MOST_FAILED).await?;
                        i64::try_from(open.len()).unwrap_or(i64::MAX)
                    },
                    pending_budget_approvals: i64::try_from(about_budgets).unwrap_or(i64::MAX),
                    paused_agents: pauses::count_paused_agents(tx, &company).await?,
                    paused_projects: budgets::scopes::count_paused_projects(tx, &company).await?,
                    runs,
                }))
            })
        });
        found.await?.ok_or(EngineError::NotFound("Company"))
    }

    /// Counts what waits for a person; what that person put aside does not count.
    pub async fn badges(&self, company: &CompanyId, user: Option<&str>) -> Result<Badges, EngineError> {
        let context = (company.clone(), user.map(str::to_owned));
        let found = self.inner.read(context, |tx, (company, user)| {
            Box::pin(async move {
                if companies::get(tx, &company).await?.is_none() {
                    return Ok(None);
                }
                let aside: BTreeSet<String> = match &user {
                    None => BTreeSet::new(),
                    Some(user) => {
                        let rows = dismissals::of_user(tx, &company, user, MOST_DISMISSED).await?;
                        rows.into_iter().map(|row| row.item_key).collect()
                    }
                };
                let pending = approvals::list(tx, &company, Some("pending"), None, MOST_FAILED).await?;
                let waiting =
                    pending.iter().filter(|row| !aside.contains(&format!("approval:{}", row.id))).count();
                let agents = overview::agents_in_error(tx, &company, MOST_FAILED).await?;
                let runs = overview::last_runs(tx, &agents).await?;
                let failed = runs.iter().filter(|(_, run)| !aside.contains(&format!("run:{run}"))).count();
                let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
                let (approvals, failed_runs) = (count(waiting), count(failed));
                let items = crate::inbox::count_items(tx, &company).await?;
                let gates = automations::gates::count_pending(tx, &company).await?;
                let inbox = items + gates + approvals + failed_runs;
                Ok(Some(Badges { inbox, approvals, failed_runs }))
            })
        });
        found.await?.ok_or(EngineError::NotFound("Company"))
    }

    /// What a person has put aside.
    pub async fn dismissals(&self, company: &CompanyId, user: &str) -> Result<Vec<Dismissal>, EngineError> {
        let listed = self.inner.read((company.clone(), user.to_owned()), |tx, (company, user)| {
            Box::pin(async move { dismissals::of_user(tx, &company, &user, MOST_DISMISSED).await })
        });
        Ok(listed.await?)
    }

    /// Puts a thing aside: `approval:<id>`, `join:<id>` or `run:<id>`.
    pub async fn dismiss(
        &self,
        company: &CompanyId,
        user: &str,
        item_key: &str,
        by: &Author,
    ) -> Result<Dismissal, EngineError> {
        let mut sheet = Sheet::default();
        sheet.required("itemKey", item_key, 255);
        let is_known = item_key
            .split_once(':')
            .is_some_and(|(kind, id)| matches!(kind, "approval" | "join" | "run") && !id.is_empty());
        if !is_known {
            sheet.wrong("itemKey", "is not the key of an item", "approval:<id>, join:<id> or run:<id>");
        }
        sheet.finish()?;
        let context = (company.clone(), user.to_owned(), item_key.to_owned());
        let put =
            self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (company, user, key)| {
                Box::pin(async move {
                    let dismissal = Dismissal {
                        id: scribe.id(),
                        company_id: company.clone(),
                        user_id: user,
                        item_key: key.clone(),
                        dismissed_at: scribe.now,
                        created_at: scribe.now,
                        updated_at: scribe.now,
                    };
                    let saved = dismissals::save(tx, &dismissal).await?.unwrap_or(dismissal);
                    let details = json!({ "itemKey": key });
                    scribe
                        .tell(tx, &company, "inbox.dismissed", ("company", company.as_str()), details)
                        .await?;
                    Ok(saved)
                })
            });
        put.await
    }
}

fn of_day(day: i64, counted: &[(i64, RunStatus, i64)]) -> DayOfRuns {
    let mut found =
        DayOfRuns { day: Moment::from_micros(day * overview::DAY), succeeded: 0, failed: 0, other: 0 };
    for (_, status, count) in counted.iter().filter(|(of, _, _)| *of == day) {
        match status {
            RunStatus::Succeeded => found.succeeded += count,
            RunStatus::Failed | RunStatus::TimedOut => found.failed += count,
            RunStatus::Queued | RunStatus::ScheduledRetry | RunStatus::Running | RunStatus::Cancelled => {
                found.other += count;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_counts_its_own_runs_and_time_outs_as_failed() {
        let counted = [
            (7, RunStatus::Succeeded, 3),
            (8, RunStatus::Succeeded, 1),
            (8, RunStatus::Failed, 2),
            (8, RunStatus::TimedOut, 4),
            (8, RunStatus::Running, 5),
            (8, RunStatus::Cancelled, 6),
        ];
        let day = of_day(8, &counted);
        assert_eq!((day.succeeded, day.failed, day.other), (1, 6, 11));
        assert_eq!(day.day.iso(), "1970-01-09T00:00:00.000Z");
        let empty = of_day(9, &counted);
        assert_eq!((empty.succeeded, empty.failed, empty.other), (0, 0, 0));
    }
}
