//! Reports over the ledger: sums of a company's events in a span of time, both ends included.
//!
//! A report goes through the events of its span once, by the index of its company. Sums are exact integers.

use domain::budget::Window;
use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;

use crate::value::Value;
use crate::{StoreError, Tx, from_row, p, sql, sql_list};

/// A span of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: Moment,
    pub to: Moment,
}

impl Span {
    /// All time.
    pub const ALL: Span = Span { from: Moment::from_micros(i64::MIN), to: Moment::from_micros(i64::MAX) };

    /// A window, whose end does not belong to it.
    pub const fn of(window: Window) -> Span {
        Span { from: window.start, to: Moment::from_micros(window.end.micros() - 1) }
    }
}

/// What was spent altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Total {
    pub events: i64,
    /// Events whose price is not known; they count 0 in `cost_micros`.
    pub unknown: i64,
    pub cost_micros: i64,
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub output_tokens: i64,
    pub counted_tokens: i64,
}
from_row!(Total {
    events,
    unknown,
    cost_micros,
    input_tokens,
    cached_input_tokens,
    output_tokens,
    counted_tokens
});

/// Returns what a company spent.
pub async fn summary(tx: &mut Tx<'_>, company: &CompanyId, span: Span) -> Result<Total, StoreError> {
    let total = tx
        .one_as(
            sql!(
                "SELECT COUNT(*), COUNT(*) FILTER (WHERE NOT cost_known), \
                 CAST(COALESCE(SUM(cost_micros), 0) AS bigint), CAST(COALESCE(SUM(input_tokens), 0) AS bigint), \
                 CAST(COALESCE(SUM(cached_input_tokens), 0) AS bigint), \
                 CAST(COALESCE(SUM(output_tokens), 0) AS bigint), CAST(COALESCE(SUM(counted_tokens), 0) AS bigint) \
                 FROM cost_events WHERE company_id = $1 AND occurred_at >= $2 AND occurred_at <= $3"
            ),
            p![company, span.from, span.to],
        )
        .await?;
    Ok(total.unwrap_or_default())
}

/// Returns what each of these agents spent; those that spent nothing are left out.
pub async fn spent_by(
    tx: &mut Tx<'_>,
    agents: &[AgentId],
    span: Span,
) -> Result<Vec<(AgentId, i64)>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT agent_id, CAST(SUM(cost_micros) AS bigint) FROM cost_events \
                 WHERE occurred_at >= $1 AND occurred_at <= $2 AND agent_id IN ({list}) GROUP BY agent_id"
            ),
            p![span.from, span.to],
            agents.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// The counters that reports by agent, provider and biller share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub cost_micros: i64,
    pub unknown: i64,
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub output_tokens: i64,
    /// Runs billed by the metered interface of a provider.
    pub api_runs: i64,
    /// Runs covered, wholly or beyond their share, by a subscription; with their tokens.
    pub subscription_runs: i64,
    pub subscription_input_tokens: i64,
    pub subscription_cached_input_tokens: i64,
    pub subscription_output_tokens: i64,
}

macro_rules! usage_columns {
    () => {
        "CAST(SUM(e.cost_micros) AS bigint), COUNT(*) FILTER (WHERE NOT e.cost_known), \
         CAST(SUM(e.input_tokens) AS bigint), CAST(SUM(e.cached_input_tokens) AS bigint), \
         CAST(SUM(e.output_tokens) AS bigint), \
         COUNT(DISTINCT e.run_id) FILTER (WHERE e.billing_type = 'metered_api'), \
         COUNT(DISTINCT e.run_id) FILTER (WHERE e.billing_type IN ('subscription_included', 'subscription_overage')), \
         CAST(COALESCE(SUM(e.input_tokens) FILTER \
         (WHERE e.billing_type IN ('subscription_included', 'subscription_overage')), 0) AS bigint), \
         CAST(COALESCE(SUM(e.cached_input_tokens) FILTER \
         (WHERE e.billing_type IN ('subscription_included', 'subscription_overage')), 0) AS bigint), \
         CAST(COALESCE(SUM(e.output_tokens) FILTER \
         (WHERE e.billing_type IN ('subscription_included', 'subscription_overage')), 0) AS bigint)"
    };
}

impl Usage {
    /// Reads the ten columns of `usage_columns` that begin at `at`.
    fn read(row: &crate::Row, at: usize) -> Result<Usage, StoreError> {
        Ok(Usage {
            cost_micros: row.get(at)?,
            unknown: row.get(at + 1)?,
            input_tokens: row.get(at + 2)?,
            cached_input_tokens: row.get(at + 3)?,
            output_tokens: row.get(at + 4)?,
            api_runs: row.get(at + 5)?,
            subscription_runs: row.get(at + 6)?,
            subscription_input_tokens: row.get(at + 7)?,
            subscription_cached_input_tokens: row.get(at + 8)?,
            subscription_output_tokens: row.get(at + 9)?,
        })
    }
}

/// What an agent spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfAgent {
    pub agent_id: AgentId,
    pub agent_name: Option<String>,
    pub agent_status: Option<String>,
    pub usage: Usage,
}

/// Returns what each agent of a company spent, the highest cost first.
pub async fn by_agent(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    span: Span,
    limit: i64,
) -> Result<Vec<OfAgent>, StoreError> {
    let rows = tx
        .rows(
            sql!(concat!(
                "SELECT e.agent_id, MIN(a.name), MIN(a.status), ",
                usage_columns!(),
                " FROM cost_events e LEFT JOIN agents a ON a.id = e.agent_id \
                 WHERE e.company_id = $1 AND e.occurred_at >= $2 AND e.occurred_at <= $3 \
                 GROUP BY e.agent_id ORDER BY SUM(e.cost_micros) DESC, e.agent_id LIMIT $4"
            )),
            p![company, span.from, span.to, limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(OfAgent {
                agent_id: row.get(0)?,
                agent_name: row.get(1)?,
                agent_status: row.get(2)?,
                usage: Usage::read(row, 3)?,
            })
        })
        .collect()
}

/// What was spent with one model of one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfProvider {
    pub provider: String,
    pub biller: String,
    pub billing_type: String,
    pub model: String,
    pub usage: Usage,
}

/// Returns what a company spent by provider, biller, billing type and model, the highest cost first.
pub async fn by_provider(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    span: Span,
    limit: i64,
) -> Result<Vec<OfProvider>, StoreError> {
    let rows = tx
        .rows(
            sql!(concat!(
                "SELECT e.provider, e.biller, e.billing_type, e.model, ",
                usage_columns!(),
                " FROM cost_events e WHERE e.company_id = $1 AND e.occurred_at >= $2 AND e.occurred_at <= $3 \
                 GROUP BY e.provider, e.biller, e.billing_type, e.model \
                 ORDER BY SUM(e.cost_micros) DESC, e.provider, e.biller, e.billing_type, e.model LIMIT $4"
            )),
            p![company, span.from, span.to, limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(OfProvider {
                provider: row.get(0)?,
                biller: row.get(1)?,
                billing_type: row.get(2)?,
                model: row.get(3)?,
                usage: Usage::read(row, 4)?,
            })
        })
        .collect()
}

/// What was spent through one biller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfBiller {
    pub biller: String,
    pub providers: i64,
    pub models: i64,
    pub usage: Usage,
}

/// Returns what a company spent by biller, the highest cost first.
pub async fn by_biller(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    span: Span,
    limit: i64,
) -> Result<Vec<OfBiller>, StoreError> {
    let rows = tx
        .rows(
            sql!(concat!(
                "SELECT e.biller, COUNT(DISTINCT e.provider), COUNT(DISTINCT e.model), ",
                usage_columns!(),
                " FROM cost_events e WHERE e.company_id = $1 AND e.occurred_at >= $2 AND e.occurred_at <= $3 \
                 GROUP BY e.biller ORDER BY SUM(e.cost_micros) DESC, e.biller LIMIT $4"
            )),
            p![company, span.from, span.to, limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(OfBiller {
                biller: row.get(0)?,
                providers: row.get(1)?,
                models: row.get(2)?,
                usage: Usage::read(row, 3)?,
            })
        })
        .collect()
}

/// What an agent spent with one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfAgentModel {
    pub agent_id: AgentId,
    pub agent_name: Option<String>,
    pub provider: String,
    pub biller: String,
    pub billing_type: String,
    pub model: String,
    pub cost_micros: i64,
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub output_tokens: i64,
}
from_row!(OfAgentModel {
    agent_id,
    agent_name,
    provider,
    biller,
    billing_type,
    model,
    cost_micros,
    input_tokens,
    cached_input_tokens,
    output_tokens
});

/// Returns what each agent of a company spent with each model, by provider, biller, billing type and model.
pub async fn by_agent_model(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    span: Span,
    limit: i64,
) -> Result<Vec<OfAgentModel>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT e.agent_id, MIN(a.name), e.provider, e.biller, e.billing_type, e.model, \
             CAST(SUM(e.cost_micros) AS bigint), CAST(SUM(e.input_tokens) AS bigint), \
             CAST(SUM(e.cached_input_tokens) AS bigint), CAST(SUM(e.output_tokens) AS bigint) \
             FROM cost_events e LEFT JOIN agents a ON a.id = e.agent_id \
             WHERE e.company_id = $1 AND e.occurred_at >= $2 AND e.occurred_at <= $3 \
             GROUP BY e.agent_id, e.provider, e.biller, e.billing_type, e.model \
             ORDER BY e.provider, e.biller, e.billing_type, e.model, e.agent_id LIMIT $4"
        ),
        p![company, span.from, span.to, limit],
    )
    .await
}

/// What was spent for a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfProject {
    pub project_id: String,
    pub cost_micros: i64,
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub output_tokens: i64,
}
from_row!(OfProject { project_id, cost_micros, input_tokens, cached_input_tokens, output_tokens });

/// Returns what a company spent by project, the highest cost first; what belongs to none is left out.
pub async fn by_project(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    span: Span,
    limit: i64,
) -> Result<Vec<OfProject>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT project_id, CAST(SUM(cost_micros) AS bigint), CAST(SUM(input_tokens) AS bigint), \
             CAST(SUM(cached_input_tokens) AS bigint), CAST(SUM(output_tokens) AS bigint) FROM cost_events \
             WHERE company_id = $1 AND occurred_at >= $2 AND occurred_at <= $3 AND project_id IS NOT NULL \
             GROUP BY project_id ORDER BY SUM(cost_micros) DESC, project_id LIMIT $4"
        ),
        p![company, span.from, span.to, limit],
    )
    .await
}

/// What was spent with a provider in a window that ends now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfWindow {
    pub provider: String,
    /// `None` when there were several.
    pub biller: Option<String>,
    pub cost_micros: i64,
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub output_tokens: i64,
}
from_row!(OfWindow { provider, biller, cost_micros, input_tokens, cached_input_tokens, output_tokens });

/// Returns what a company spent with each provider since a moment, by provider.
pub async fn since(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    from: Moment,
    limit: i64,
) -> Result<Vec<OfWindow>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT provider, CASE WHEN COUNT(DISTINCT biller) = 1 THEN MIN(biller) END, \
             CAST(SUM(cost_micros) AS bigint), CAST(SUM(input_tokens) AS bigint), \
             CAST(SUM(cached_input_tokens) AS bigint), CAST(SUM(output_tokens) AS bigint) FROM cost_events \
             WHERE company_id = $1 AND occurred_at >= $2 GROUP BY provider ORDER BY provider LIMIT $3"
        ),
        p![company, from, limit],
    )
    .await
}
