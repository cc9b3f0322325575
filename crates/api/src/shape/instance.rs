//! The instance itself on the wire: its health, its audit chain, its backups.

use domain::moment::Moment;
use serde::Serialize;
use store::audit::{self, AuditReport};
use utoipa::ToSchema;

/// Whether the instance works.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Health {
    /// Always `ok`.
    pub(crate) status: &'static str,
    pub(crate) version: String,
    pub(crate) deployment_mode: &'static str,
    pub(crate) deployment_exposure: &'static str,
    pub(crate) auth_ready: bool,
    /// `ready`, or `bootstrap_pending` until there is an administrator.
    pub(crate) bootstrap_status: &'static str,
    pub(crate) bootstrap_invite_active: bool,
    pub(crate) features: Features,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) started_at: Moment,
    pub(crate) recovery: Recovery,
    pub(crate) capacity: Capacity,
    pub(crate) store: StoreHealth,
    /// Where the end of the audit chain is broken; then nothing that was decided before is sure, and perhaps nothing can be
    /// decided. Left out while its head and its last record agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audit_broken: Option<BrokenLink>,
}

/// As much of the health as somebody hears who has not said who they are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublicHealth {
    /// Always `ok`.
    pub(crate) status: &'static str,
    pub(crate) deployment_mode: &'static str,
    /// `ready`, or `bootstrap_pending` until there is an administrator.
    pub(crate) bootstrap_status: &'static str,
    pub(crate) bootstrap_invite_active: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Features {
    pub(crate) company_deletion_enabled: bool,
}

/// How far taking over the runs of an earlier start is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Recovery {
    done: bool,
    taken_over: u64,
    failed: u64,
}

impl From<engine::Recovery> for Recovery {
    fn from(recovery: engine::Recovery) -> Recovery {
        Recovery { done: recovery.done, taken_over: recovery.taken_over, failed: recovery.failed }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Capacity {
    /// Processes that run on this node.
    pub(crate) running: u32,
    /// Processes that may.
    pub(crate) slots: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StoreHealth {
    /// `sqlite` or `postgres`.
    pub(crate) kind: &'static str,
    /// Writes that wait for their turn.
    pub(crate) waiting: usize,
}

/// The instance does not work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Unhealthy {
    /// Always `unhealthy`.
    pub(crate) status: &'static str,
    pub(crate) version: String,
    /// `database_unreachable`.
    pub(crate) error: &'static str,
}

/// The end of the audit chain; kept elsewhere, it shows later that nothing before it was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditHead {
    pub(crate) seq: i64,
    pub(crate) hash: String,
}

/// What a walk along the audit chain found.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditVerdict {
    ok: bool,
    /// Records whose place and hash are right, from the first on.
    checked: i64,
    first_broken: Option<BrokenLink>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BrokenLink {
    seq: i64,
    /// `missing`, `changed`, `truncated`, `beyond_head`, `not_as_exported`, `unreadable`, `before_first` or `no_head`.
    why: &'static str,
}

impl From<audit::BrokenLink> for BrokenLink {
    fn from(link: audit::BrokenLink) -> BrokenLink {
        BrokenLink { seq: link.seq, why: link.why.as_str() }
    }
}

impl From<AuditReport> for AuditVerdict {
    fn from(report: AuditReport) -> AuditVerdict {
        AuditVerdict {
            ok: report.ok,
            checked: report.checked,
            first_broken: report.first_broken.map(BrokenLink::from),
        }
    }
}

/// A copy of the store.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Backup {
    pub(crate) path: String,
    pub(crate) bytes: u64,
}
