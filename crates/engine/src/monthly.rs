//! The monthly amount that a change of an agent or a company brings (`budgetMonthlyCents`).
//!
//! It sets the policy of that scope in the transaction of the change: neither comes without the other. What a policy
//! means, and what follows from it, is `budgets`.

use domain::budget::policy::{self as rule, Draft};
use domain::budget::{Metric, Policy, Scope, WindowKind};
use domain::ids::CompanyId;
use store::Tx;
use store::budgets::policies;

use crate::activity::Scribe;
use crate::{EngineError, budgets, hiring};

/// An amount that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Monthly {
    /// What the row of the scope shows.
    pub(crate) shown: i64,
    pub(crate) cents: i64,
    /// It is proven that a person asks (D19).
    pub(crate) is_proven: bool,
}

/// Sets an amount; `None`, and nothing was written, when it holds already.
pub(crate) async fn set(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    company: &CompanyId,
    scope: Scope,
    asked: Monthly,
) -> Result<Option<Policy>, EngineError> {
    let month = WindowKind::CalendarMonthUtc;
    let known = policies::of_scope(tx, company, &scope, month.at(scribe.now).start).await?;
    let mut known = known.iter().map(|standing| standing.policy.rule());
    let known = known.find(|policy| policy.metric == Metric::BilledCents && policy.window == month);
    if rule::monthly_holds(asked.shown, known.as_ref(), asked.cents) {
        return Ok(None);
    }
    let draft = draft(scope, asked.cents);
    let saved = budgets::save_policy(tx, company, &draft, scribe.clone(), asked.is_proven).await?;
    scribe.skip();
    Ok(Some(saved))
}

fn draft(scope: Scope, cents: i64) -> Draft {
    Draft { hard_stop: (cents > 0).then_some(true), ..hiring::monthly(scope.kind, &scope.id, cents) }
}
