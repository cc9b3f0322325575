//! Costs as people report and read them (spec/heartbeat.md 8.6). Sums are exact; cents are made of them at the wire.

use std::time::Duration;

use domain::budget::meter::Consumed;
use domain::budget::money;
use domain::ids::{AgentId, CompanyId, IssueId, RunId};
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use serde_json::json;
use store::budgets::counters;
use store::costs::reports::{
    self, OfAgent, OfAgentModel, OfBiller, OfProject, OfProvider, OfWindow, Span, Total,
};
use store::costs::{self, CostEvent};
use store::projects::Project;
use store::{StoreError, Tx, agents, companies, goals, issues, projects, runs};

use super::policies::MOST_LISTED;
use super::spending::normal_billing_type;
use super::{accounts, crossing};
use crate::activity::{Author, Scribe};
use crate::agents::problem;
use crate::{Engine, EngineError};

/// A cost that somebody reports by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostReport {
    pub agent_id: AgentId,
    pub issue_id: Option<IssueId>,
    pub project_id: Option<String>,
    pub goal_id: Option<String>,
    pub run_id: Option<RunId>,
    pub billing_code: Option<String>,
    pub provider: String,
    pub biller: Option<String>,
    pub billing_type: Option<String>,
    pub model: String,
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub output_tokens: i64,
    pub cost_micros: i64,
    pub occurred_at: Moment,
}

/// What was spent with each provider in a span that ends now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowSpend {
    /// `5h`, `24h` or `7d`.
    pub window: &'static str,
    pub hours: u32,
    pub providers: Vec<OfWindow>,
}

/// The longest name or code.
const NAME: usize = 255;
/// The spans of `window-spend`.
const SPANS: [(&str, u32); 3] = [("5h", 5), ("24h", 24), ("7d", 168)];
/// What one report may say at most, in micro-dollars (a million dollars) and in tokens: far above anything real, and the
/// sums of millions of reports stay numbers.
const MOST: i64 = 1_000_000_000_000;

impl Engine {
    /// Takes a cost into the ledger that somebody reports by hand; it counts against budgets at once.
    pub async fn report_cost(
        &self,
        company: &CompanyId,
        report: CostReport,
        by: &Author,
    ) -> Result<CostEvent, EngineError> {
        let problems = problems(&report);
        if !problems.is_empty() {
            return Err(EngineError::Invalid(problems));
        }
        let context = (company.clone(), report, self.inner.scribe(by));
        let (event, stops) = self
            .inner
            .write_unless(context, |tx, (company, report, scribe)| {
                Box::pin(async move { take(tx, &company, report, scribe).await })
            })
            .await?;
        self.inner.feed.ring();
        self.inner.after_charge(super::Charged { stops, frees: false });
        Ok(event)
    }

    /// What a company spent, and its monthly amount in cents.
    pub async fn cost_summary(&self, company: &CompanyId, span: Span) -> Result<(Total, i64), EngineError> {
        let found = self.inner.read(company.clone(), move |tx, company| {
            Box::pin(async move {
                let Some(row) = companies::get(tx, &company).await? else { return Ok(None) };
                let total = reports::summary(tx, &company, span).await?;
                Ok(Some((total, row.budget_monthly_cents)))
            })
        });
        found.await?.ok_or(EngineError::NotFound("Company"))
    }

    /// What each agent of a company spent, the highest cost first.
    pub async fn costs_by_agent(&self, company: &CompanyId, span: Span) -> Result<Vec<OfAgent>, EngineError> {
        let read = self.inner.read(company.clone(), move |tx, company| {
            Box::pin(async move { reports::by_agent(tx, &company, span, MOST_LISTED).await })
        });
        Ok(read.await?)
    }

    /// What each agent of a company spent with each model.
    pub async fn costs_by_agent_model(
        &self,
        company: &CompanyId,
        span: Span,
    ) -> Result<Vec<OfAgentModel>, EngineError> {
        let read = self.inner.read(company.clone(), move |tx, company| {
            Box::pin(async move { reports::by_agent_model(tx, &company, span, MOST_LISTED).await })
        });
        Ok(read.await?)
    }

    /// What a company spent by provider, biller, billing type and model, the highest cost first.
    pub async fn costs_by_provider(
        &self,
        company: &CompanyId,
        span: Span,
    ) -> Result<Vec<OfProvider>, EngineError> {
        let read = self.inner.read(company.clone(), move |tx, company| {
            Box::pin(async move { reports::by_provider(tx, &company, span, MOST_LISTED).await })
        });
        Ok(read.await?)
    }

    /// What a company spent by biller, the highest cost first.
    pub async fn costs_by_biller(
        &self,
        company: &CompanyId,
        span: Span,
    ) -> Result<Vec<OfBiller>, EngineError> {
        let read = self.inner.read(company.clone(), move |tx, company| {
            Box::pin(async move { reports::by_biller(tx, &company, span, MOST_LISTED).await })
        });
        Ok(read.await?)
    }

    /// What a company spent by project, the highest cost first, with the names of those that are still there.
    pub async fn costs_by_project(
        &self,
        company: &CompanyId,
        span: Span,
    ) -> Result<Vec<(OfProject, Option<String>)>, EngineError> {
        let read = self.inner.read(company.clone(), move |tx, company| {
            Box::pin(async move {
                let spent = reports::by_project(tx, &company, span, MOST_LISTED).await?;
                let ids: Vec<String> = spent.iter().map(|row| row.project_id.clone()).collect();
                let projects = projects::some(tx, &ids).await?;
                let named = spent.into_iter().map(|row| {
                    let is_it =
                        |project: &&Project| project.id == row.project_id && project.company_id == company;
                    let project = projects.iter().find(is_it);
                    let name = project.map(|project| project.name.clone());
                    (row, name)
                });
                Ok(named.collect())
            })
        });
        Ok(read.await?)
    }

    /// What a company spent in the last hours and days.
    pub async fn window_spend(&self, company: &CompanyId) -> Result<Vec<WindowSpend>, EngineError> {
        let now = self.now();
        let read = self.inner.read(company.clone(), move |tx, company| {
            Box::pin(async move {
                let mut spans = Vec::new();
                for (window, hours) in SPANS {
                    let from = now.minus(Duration::from_secs(u64::from(hours) * 3_600));
                    let providers = reports::since(tx, &company, from, MOST_LISTED).await?;
                    spans.push(WindowSpend { window, hours, providers });
                }
                Ok(spans)
            })
        });
        Ok(read.await?)
    }

    /// What each of these agents spent in the month that `now` lies in, in micro-dollars (`spentMonthlyCents`).
    pub async fn spent_this_month(&self, agents: &[AgentId]) -> Result<Vec<(AgentId, i64)>, EngineError> {
        let month = domain::budget::WindowKind::CalendarMonthUtc.at(self.now());
        let read = self.inner.read(agents.to_vec(), move |tx, agents| {
            Box::pin(async move { reports::spent_by(tx, &agents, Span::of(month)).await })
        });
        Ok(read.await?)
    }

    /// What a company spent in the month of now, in micro-dollars.
    pub async fn company_spent_this_month(&self, company: &CompanyId) -> Result<i64, EngineError> {
        let month = domain::budget::WindowKind::CalendarMonthUtc.at(self.now());
        Ok(self.cost_summary(company, Span::of(month)).await?.0.cost_micros)
    }

    /// Counters of a company that are not what their parts say: there never should be one.
    pub async fn budget_drift(&self, company: &CompanyId) -> Result<Vec<counters::Drift>, EngineError> {
        let read = self.inner.read(company.clone(), |tx, company| {
            Box::pin(async move { counters::drifted(tx, &company, MOST_LISTED).await })
        });
        Ok(read.await?)
    }
}

fn problems(report: &CostReport) -> Vec<adapters::Problem> {
    let mut problems = Vec::new();
    for (path, text) in [("provider", &report.provider), ("model", &report.model)] {
        if text.trim().is_empty() {
            problems.push(problem(path, "must not be empty", "say who was paid for what"));
        }
    }
    for (path, text) in [
        ("provider", Some(&report.provider)),
        ("model", Some(&report.model)),
        ("biller", report.biller.as_ref()),
        ("billingType", report.billing_type.as_ref()),
        ("billingCode", report.billing_code.as_ref()),
    ] {
        if text.is_some_and(|text| text.chars().nth(NAME).is_some()) {
            problems.push(problem(path, &format!("is longer than {NAME} characters"), "make it shorter"));
        }
    }
    for (path, number, most) in [
        ("costCents", report.cost_micros, money::cents(MOST)),
        ("inputTokens", report.input_tokens, MOST),
        ("cachedInputTokens", report.cached_input_tokens, MOST),
        ("outputTokens", report.output_tokens, MOST),
    ] {
        if !(0..=MOST).contains(&number) {
            let message = format!("must be between 0 and {most}");
            problems.push(problem(path, &message, "report more than that in parts"));
        }
    }
    problems
}

/// A report names nothing of another company: its names would be read there.
async fn foreign(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    report: &CostReport,
) -> Result<Option<&'static str>, StoreError> {
    let is_ours = |found: Option<CompanyId>| found.as_ref() == Some(company);
    if let Some(project) = &report.project_id
        && !is_ours(projects::get(tx, project).await?.map(|row| row.company_id))
    {
        return Ok(Some("Project does not belong to company"));
    }
    if let Some(goal) = &report.goal_id
        && !is_ours(goals::get(tx, goal).await?.map(|row| row.company_id))
    {
        return Ok(Some("Goal does not belong to company"));
    }
    if let Some(run) = &report.run_id
        && !is_ours(runs::get(tx, run).await?.map(|row| row.company_id))
    {
        return Ok(Some("Heartbeat run does not belong to company"));
    }
    Ok(None)
}

async fn take(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    report: CostReport,
    mut scribe: Scribe,
) -> Result<(CostEvent, bool), EngineError> {
    let now = scribe.now;
    let agent = agents::get(tx, &report.agent_id).await?.ok_or(EngineError::NotFound("Agent"))?;
    if agent.company_id != *company {
        return Err(EngineError::refused(Kind::Unprocessable, "Agent does not belong to company"));
    }
    if let Some(text) = foreign(tx, company, &report).await? {
        return Err(EngineError::refused(Kind::Unprocessable, text));
    }
    let of_issue = match &report.issue_id {
        None => None,
        Some(issue) => match issues::get(tx, issue).await?.filter(|issue| issue.company_id == *company) {
            Some(issue) => issue.project_id,
            None => {
                let text = "Issue does not belong to company";
                return Err(EngineError::refused(Kind::Unprocessable, text));
            }
        },
    };
    let project = report.project_id.clone().or(of_issue);
    let spent = Consumed {
        micros: report.cost_micros,
        tokens: report.input_tokens + report.cached_input_tokens + report.output_tokens,
    };
    let accounts = accounts::concerning(tx, company, &agent.id, project.as_deref(), now).await?;
    let mut changed = Vec::new();
    for account in accounts {
        let amount = spent.in_metric(account.policy.metric);
        let window = account.policy.window.at(report.occurred_at);
        if amount == 0 {
            continue;
        }
        let counter = counters::charge_outside(tx, &account.policy.id, window, amount, now).await?;
        // What happened in a window that is over stops nobody now.
        if window == account.counter.window
            && let Some(counter) = counter
        {
            changed.push(domain::budget::Account { counter: counter.rule(), ..account });
        }
    }
    let biller = report.biller.filter(|biller| !biller.trim().is_empty());
    let event = CostEvent {
        id: scribe.id(),
        company_id: company.clone(),
        agent_id: report.agent_id,
        issue_id: report.issue_id,
        project_id: project,
        goal_id: report.goal_id,
        run_id: report.run_id,
        origin: costs::REPORTED.to_owned(),
        billing_code: report.billing_code,
        biller: biller.unwrap_or_else(|| report.provider.clone()),
        provider: report.provider,
        billing_type: normal_billing_type(report.billing_type.as_deref().unwrap_or_default()).to_owned(),
        model: report.model,
        input_tokens: report.input_tokens,
        cached_input_tokens: report.cached_input_tokens,
        output_tokens: report.output_tokens,
        counted_tokens: spent.tokens,
        cost_micros: spent.micros,
        cost_known: true,
        occurred_at: report.occurred_at,
        created_at: now,
    };
    costs::record(tx, &event).await?;
    let details = json!({
        "agentId": event.agent_id, "model": event.model, "costCents": money::cents(event.cost_micros),
    });
    scribe.tell(tx, company, "cost.reported", ("cost_event", &event.id), details).await?;
    let origin = (event.id.as_str(), "report");
    let stops = crossing::look(tx, company, &changed, origin, now).await?;
    Ok((event, stops))
}
