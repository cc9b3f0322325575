//! Companies on the wire.

use domain::moment::Moment;
use serde::Serialize;
use store::companies::Company as Row;
use store::pauses::CompanyPause;
use utoipa::ToSchema;

use super::cents;

/// A company.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Company {
    id: String,
    name: String,
    description: Option<String>,
    /// `active`, `paused` or `archived`.
    status: String,
    /// Begins the identifiers of its issues.
    issue_prefix: String,
    issue_counter: i64,
    budget_monthly_cents: i64,
    /// What was spent in the month of now, UTC.
    spent_monthly_cents: i64,
    require_board_approval_for_new_agents: bool,
    feedback_data_sharing_enabled: bool,
    #[schema(value_type = Option<String>)]
    feedback_data_sharing_consent_at: Option<Moment>,
    feedback_data_sharing_consent_by_user_id: Option<String>,
    feedback_data_sharing_terms_version: Option<String>,
    brand_color: Option<String>,
    logo_asset_id: Option<String>,
    logo_url: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

/// A company with whether it may work.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangedCompany {
    #[serde(flatten)]
    company: Company,
    /// `manual`, `budget` or `system`.
    pause_reason: Option<&'static str>,
    #[schema(value_type = Option<String>)]
    paused_at: Option<Moment>,
}

impl ChangedCompany {
    pub(crate) fn new(row: Row, pause: &CompanyPause, spent: i64) -> ChangedCompany {
        ChangedCompany {
            company: Company::new(row, spent),
            pause_reason: pause.pause_reason.map(|reason| reason.as_str()),
            paused_at: pause.paused_at,
        }
    }
}

/// How much a company has.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CompanyStats {
    agent_count: i64,
    issue_count: i64,
}

impl From<engine::CompanyStats> for CompanyStats {
    fn from(stats: engine::CompanyStats) -> CompanyStats {
        CompanyStats { agent_count: stats.agents, issue_count: stats.issues }
    }
}

impl Company {
    /// `spent` in micro-dollars.
    pub(crate) fn new(row: Row, spent: i64) -> Company {
        Company {
            id: row.id.0,
            name: row.name,
            description: row.description,
            status: row.status,
            issue_prefix: row.issue_prefix,
            issue_counter: row.issue_counter,
            budget_monthly_cents: row.budget_monthly_cents,
            spent_monthly_cents: cents(spent),
            require_board_approval_for_new_agents: row.require_approval,
            feedback_data_sharing_enabled: false,
            feedback_data_sharing_consent_at: None,
            feedback_data_sharing_consent_by_user_id: None,
            feedback_data_sharing_terms_version: None,
            brand_color: row.brand_color,
            logo_asset_id: None,
            logo_url: None,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
