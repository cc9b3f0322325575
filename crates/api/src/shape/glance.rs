//! A company at a glance on the wire: dashboard, badges, and what needs a person.

use domain::agent::AgentStatus;
use domain::budget::money::percent;
use domain::issue::IssueStatus;
use domain::moment::Moment;
use engine::{AccountView, Badges, Dashboard as Seen, DayOfRuns};
use serde::Serialize;
use serde_json::Value;
use store::dismissals::Dismissal as DismissalRow;
use store::inbox::InboxItem as ItemRow;
use utoipa::ToSchema;

use super::approval::Approval;
use super::cents;
use super::gate::Gate;
use super::interaction::Interaction;
use adapters::redacted;

/// A company at a glance.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dashboard {
    company_id: String,
    agents: AgentCounts,
    tasks: TaskCounts,
    costs: MonthCosts,
    pending_approvals: i64,
    budgets: BudgetCounts,
    /// The last 14 days, oldest first.
    run_activity: Vec<RunDay>,
    /// Accounts that nothing starts on now. For people: an agent is shown none.
    parked_accounts: Vec<ParkedAccount>,
}

/// An account that nothing starts on, in short.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParkedAccount {
    id: String,
    provider: String,
    label: String,
    /// `quota`, `login`, `failures` or `person`.
    reason: Option<&'static str>,
    /// When one run tries it again; null when somebody has to do something first.
    #[schema(value_type = Option<String>)]
    until: Option<Moment>,
    /// In words, what is waited for.
    waits_for: String,
    /// How many agents use it.
    agents: usize,
}

impl ParkedAccount {
    /// `None`: runs start on it, if one after another.
    pub(crate) fn of(view: AccountView) -> Option<ParkedAccount> {
        let park = view.stored.account.park()?;
        Some(ParkedAccount {
            reason: Some(park.why.as_str()),
            until: park.until,
            waits_for: view.waits_for.unwrap_or_default(),
            agents: view.agents.len(),
            id: view.stored.id,
            provider: view.stored.provider,
            label: view.stored.label,
        })
    }
}

#[derive(Debug, Default, Serialize, ToSchema)]
struct AgentCounts {
    /// Idle ones too.
    active: i64,
    running: i64,
    paused: i64,
    error: i64,
}

#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TaskCounts {
    /// All but `done` and `cancelled`.
    open: i64,
    in_progress: i64,
    blocked: i64,
    done: i64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MonthCosts {
    month_spend_cents: i64,
    month_budget_cents: i64,
    month_utilization_percent: f64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BudgetCounts {
    active_incidents: i64,
    pending_approvals: i64,
    paused_agents: i64,
    paused_projects: i64,
}

#[derive(Debug, Serialize, ToSchema)]
struct RunDay {
    /// `YYYY-MM-DD`, UTC.
    date: String,
    succeeded: i64,
    /// Timed out ones too.
    failed: i64,
    other: i64,
    total: i64,
}

impl From<DayOfRuns> for RunDay {
    fn from(day: DayOfRuns) -> RunDay {
        let (succeeded, failed, other) = (day.succeeded, day.failed, day.other);
        let date = day.day.iso().chars().take(10).collect();
        RunDay { date, succeeded, failed, other, total: succeeded + failed + other }
    }
}

impl Dashboard {
    pub(crate) fn new(company: String, seen: Seen, parked_accounts: Vec<ParkedAccount>) -> Dashboard {
        let mut agents = AgentCounts::default();
        for (status, count) in &seen.agents {
            match status {
                AgentStatus::Active | AgentStatus::Idle => agents.active += count,
                AgentStatus::Running => agents.running += count,
                AgentStatus::Paused => agents.paused += count,
                AgentStatus::Error => agents.error += count,
                AgentStatus::PendingApproval | AgentStatus::Terminated => {}
            }
        }
        let mut tasks = TaskCounts::default();
        for (status, count) in &seen.issues {
            if !status.is_terminal() {
                tasks.open += count;
            }
            match status {
                IssueStatus::InProgress => tasks.in_progress += count,
                IssueStatus::Blocked => tasks.blocked += count,
                IssueStatus::Done => tasks.done += count,
                IssueStatus::Backlog | IssueStatus::Todo | IssueStatus::InReview | IssueStatus::Cancelled => {
                }
            }
        }
        let month_spend_cents = cents(seen.month_spent);
        Dashboard {
            company_id: company,
            agents,
            tasks,
            costs: MonthCosts {
                month_spend_cents,
                month_budget_cents: seen.month_budget_cents,
                month_utilization_percent: percent(month_spend_cents, seen.month_budget_cents),
            },
            pending_approvals: seen.pending_approvals,
            budgets: BudgetCounts {
                active_incidents: seen.open_incidents,
                pending_approvals: seen.pending_budget_approvals,
                paused_agents: seen.paused_agents,
                paused_projects: seen.paused_projects,
            },
            run_activity: seen.runs.into_iter().map(RunDay::from).collect(),
            parked_accounts,
        }
    }
}

/// What waits for a person, in numbers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SidebarBadges {
    inbox: i64,
    approvals: i64,
    failed_runs: i64,
    /// Always 0: nobody asks to join here.
    join_requests: i64,
}

impl From<Badges> for SidebarBadges {
    fn from(badges: Badges) -> SidebarBadges {
        let Badges { inbox, approvals, failed_runs } = badges;
        SidebarBadges { inbox, approvals, failed_runs, join_requests: 0 }
    }
}

/// A thing that a person has put aside.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dismissal {
    id: String,
    company_id: String,
    user_id: String,
    /// `approval:<id>`, `join:<id>` or `run:<id>`.
    item_key: String,
    #[schema(value_type = String, format = DateTime)]
    dismissed_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<DismissalRow> for Dismissal {
    fn from(row: DismissalRow) -> Dismissal {
        Dismissal {
            id: row.id,
            company_id: row.company_id.0,
            user_id: row.user_id,
            item_key: row.item_key,
            dismissed_at: row.dismissed_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Something that rules gave up on, or that waits for somebody. One of the kind `automation_run` is a run of an automation
/// that failed, is blocked, or is paused and does not go on by itself; it has the id of the run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InboxItem {
    id: String,
    company_id: String,
    kind: String,
    entity_type: String,
    entity_id: String,
    cause: String,
    title: String,
    #[schema(value_type = Object)]
    details: Value,
    owner_agent_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    opened_at: Moment,
    #[schema(value_type = Option<String>)]
    resolved_at: Option<Moment>,
    resolution: Option<String>,
}

impl From<ItemRow> for InboxItem {
    fn from(row: ItemRow) -> InboxItem {
        InboxItem {
            id: row.id,
            company_id: row.company_id.0,
            kind: row.kind,
            entity_type: row.entity_type,
            entity_id: row.entity_id,
            cause: row.cause,
            title: row.title,
            details: redacted(row.details),
            owner_agent_id: row.owner_agent_id.map(|id| id.0),
            opened_at: row.opened_at,
            resolved_at: row.resolved_at,
            resolution: row.resolution,
        }
    }
}

/// What needs a person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Inbox {
    /// Newest first; the cursor of the next page is in the `Bugle-Cursor` header.
    items: Vec<InboxItem>,
    /// Those that wait for a decision, newest first.
    approvals: Vec<Approval>,
    /// What agents asked on open issues and nobody has answered, newest first.
    interactions: Vec<Interaction>,
    /// Gates of automations that wait for a decision, oldest first.
    gates: Vec<Gate>,
    open_items: i64,
    pending_approvals: i64,
    pending_interactions: i64,
    pending_gates: i64,
}

impl Inbox {
    pub(crate) fn new(inbox: engine::Inbox) -> Inbox {
        Inbox {
            items: inbox.items.into_iter().map(InboxItem::from).collect(),
            approvals: inbox.approvals.into_iter().map(Approval::from).collect(),
            interactions: inbox.interactions.into_iter().map(Interaction::from).collect(),
            gates: inbox.gates.into_iter().map(Gate::from).collect(),
            open_items: inbox.open.0,
            pending_approvals: inbox.open.1,
            pending_interactions: inbox.open.2,
            pending_gates: inbox.open_gates,
        }
    }
}
