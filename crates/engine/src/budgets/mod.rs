//! Budgets in the engine: load, decide, apply.
//!
//! What a scope may spend is `domain::budget`; the counters and reservations are `store::budgets`. Here the two meet: the
//! intake ([`block`]), the claim ([`reserve`]), the run that goes on ([`charge`]) and its end ([`settle`]); what people
//! set and decide (`policies`), report and read (`reports`). Nothing here pauses or stops inside a transaction of a run:
//! that is done by the sweep (`upkeep`), which is rung when a line was crossed and finds by itself what a crash left
//! undone.

mod accounts;
mod crossing;
mod door;
mod pauses;
mod policies;
mod reports;
mod spending;
pub(crate) mod upkeep;

pub use door::Shortage;
pub use policies::{BudgetOverview, IncidentSummary, PolicySummary};
pub use reports::{CostReport, WindowSpend};

pub(crate) use accounts::{limits_project, status_at_claim};
pub(crate) use door::{block, reserve, shortage, shortages};
pub(crate) use policies::save as save_policy;
pub(crate) use spending::{Charged, charge, meter, release, settle};
