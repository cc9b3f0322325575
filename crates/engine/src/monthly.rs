//! The monthly amount that a change of an agent or a company brings (`budgetMonthlyCents`).
//!
//! It sets the policy of that scope in the transaction of the change: neither comes without the other. What a policy
//! means, and what follows from it, is `budgets`.

use domain::budget::policy::Draft;
use domain::budget::{Level, Metric, Policy, Scope, WindowKind};
use domain::ids::CompanyId;
use store::Tx;
use store::budgets::{counters, policies};

use crate::activity::{Author, Scribe};
use crate::{Engine, EngineError, budgets, hiring};

/// An amount that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Monthly {
    /// What the row of the scope shows.
    pub(crate) shown: i64,
    pub(crate) cents: i64,
    /// It is proven that a person asks (D19).
    pub(crate) is_proven: bool,
}

/// Sets an amount; `None`, and nothing was written, when it holds already. What is refused wrote nothing either.
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
    if holds(asked.shown, known.as_ref(), asked.cents) {
        return Ok(None);
    }
    let draft = draft(scope, asked.cents);
    let saved = budgets::save_policy(tx, company, &draft, scribe.clone(), asked.is_proven).await??;
    scribe.skip();
    Ok(Some(saved))
}

/// The amount is shown, and stops the scope where it is spent: one that is switched off does not hold.
fn holds(shown: i64, known: Option<&Policy>, cents: i64) -> bool {
    let limit = (cents > 0).then(|| Metric::BilledCents.inner(cents));
    shown == cents && known.and_then(Policy::stop_limit) == limit
}

fn draft(scope: Scope, cents: i64) -> Draft {
    Draft { hard_stop: (cents > 0).then_some(true), ..hiring::monthly(scope.kind, &scope.id, cents) }
}

impl Engine {
    /// What follows a commit in which an amount was set.
    pub(crate) async fn after_monthly(
        &self,
        company: &CompanyId,
        policy: &Policy,
        by: &Author,
    ) -> Result<(), EngineError> {
        // What settled while the first count was made is in this one.
        let now = self.now();
        let window = policy.window.at(now);
        let counted = self.inner.write((policy.id.clone(), window), move |tx, (id, window)| {
            Box::pin(async move { counters::recount(tx, &id, window, now).await })
        });
        counted.await?;
        let shown = self.budget(&policy.id).await?;
        let stops = shown.policy.stop_limit().is_some() && shown.status == Level::HardStop;
        if stops && !shown.paused {
            // Spent already: whoever set it hears what came of it. It loosens nothing: where somebody has set another
            // amount meanwhile, that one stays.
            let again = draft(policy.scope.clone(), policy.amount);
            return match self.set_budget(company, again, by, false).await {
                Ok(_) | Err(EngineError::Refused { .. }) => Ok(()),
                Err(error) => Err(error),
            };
        }
        self.inner.feed.ring();
        self.inner.budgets.ring();
        self.inner.lifted();
        self.inner.look_again(company).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use domain::budget::ScopeKind;

    use super::*;

    #[test]
    fn an_amount_holds_when_it_is_shown_and_stops() {
        let policy = |amount, hard_stop, is_active| Policy {
            id: "p1".into(),
            scope: Scope { kind: ScopeKind::Agent, id: "a1".into() },
            metric: Metric::BilledCents,
            window: WindowKind::CalendarMonthUtc,
            amount,
            warn_percent: 80,
            hard_stop,
            notify: true,
            is_active,
        };
        for (shown, known, cents, expected) in [
            (0, None, 0, true),
            (0, None, 5, false),
            (5, None, 5, false),
            (5, Some(policy(5, true, true)), 5, true),
            (5, Some(policy(5, true, true)), 6, false),
            (5, Some(policy(5, true, false)), 5, false),
            (5, Some(policy(5, false, true)), 5, false),
            // Shown, though it is off: 0 takes it from view.
            (5, Some(policy(5, true, false)), 0, false),
            (0, Some(policy(0, true, false)), 0, true),
        ] {
            assert_eq!(holds(shown, known.as_ref(), cents), expected, "{shown} {known:?} {cents}");
        }
    }
}
