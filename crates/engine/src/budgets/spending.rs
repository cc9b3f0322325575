//! What a run spends: charged while it goes on, settled at its end, and the head-room given back.
//!
//! A charge is the difference between what the run used so far and what its rows say it was charged, policy by policy.
//! So reading a log twice costs nothing, a lost answer costs nothing, and a budget that is made while the run goes on is
//! charged for all of it.

use domain::budget::Account;
use domain::budget::meter::{self, Consumed, FinalCharge, Meter};
use domain::ids::{IssueId, RunId};
use domain::moment::Moment;
use domain::telling::Usage;
use store::budgets::counters::Counter;
use store::budgets::reservations::{self, Reservation, Share};
use store::costs::{self, CostEvent, Dearest};
use store::runs::Run;
use store::{StoreError, Tx};

use super::door::project_of;
use super::{accounts, crossing};

/// Far above anything real, and far enough below the end of the number for sums over thousands of runs.
const MOST: i64 = 1_000_000_000_000_000;

/// What a posting set off beside itself; the caller rings for it after the commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Charged {
    /// A scope is to be stopped.
    pub stops: bool,
    /// Head-room was given back: a run that is held for it may start.
    pub frees: bool,
}

/// What a usage comes to against budgets. What a subscription covers costs nothing.
pub(crate) fn used(usage: &Usage) -> Consumed {
    let all = Consumed::of(usage);
    let is_covered = billing_type(usage) == "subscription_included";
    Consumed { micros: if is_covered { 0 } else { all.micros.min(MOST) }, tokens: all.tokens.min(MOST) }
}

/// Takes a report of what the run used so far into its meter, which knows the dearest message then.
pub(crate) fn meter(meter: Meter, usage: &Usage) -> Meter {
    meter::charge(meter, used(usage)).meter
}

/// Charges a run that goes on with what it `used` so far. Called in the transaction that saves its progress, behind the
/// check of its lease.
pub(crate) async fn charge(
    tx: &mut Tx<'_>,
    run: &Run,
    used: Consumed,
    now: Moment,
) -> Result<Charged, StoreError> {
    let mut accounts = accounts::concerning(tx, &run.company_id, &run.agent_id, project_of(run), now).await?;
    if accounts.is_empty() {
        return Ok(Charged::default());
    }
    let so_far = reservations::of_run(tx, &run.id).await?;
    let mut shares = Vec::new();
    for account in &mut accounts {
        let policy = &account.policy.id;
        let charged: i64 = of_policy(&so_far, account).map(|it| it.charged).sum();
        let window = account.counter.window;
        let is_here = of_policy(&so_far, account).any(|it| it.window_start == window.start);
        let carried = of_policy(&so_far, account).map(|it| it.reserved).max().unwrap_or(0);
        if !is_here && carried > 0 {
            // A run that lives into the next window takes its head-room along, if there is room.
            let share = Share { policy: policy.clone(), window, amount: carried };
            reservations::reserve(tx, &run.id, &[share], now).await?;
        }
        let amount = used.in_metric(account.policy.metric) - charged;
        if amount > 0 {
            shares.push(Share { policy: policy.clone(), window, amount });
        }
    }
    if shares.is_empty() {
        return Ok(Charged::default());
    }
    let counted = reservations::charge(tx, &run.id, &shares, now).await?;
    let changed = renewed(accounts, &counted);
    let stops = crossing::look(tx, &run.company_id, &changed, (run.id.as_str(), "charge"), now).await?;
    Ok(Charged { stops, frees: false })
}

fn of_policy<'a>(rows: &'a [Reservation], account: &Account) -> impl Iterator<Item = &'a Reservation> {
    let policy = account.policy.id.clone();
    rows.iter().filter(move |row| row.policy_id == policy)
}

/// The accounts whose counters have changed, as they are then.
fn renewed(accounts: Vec<Account>, counted: &[Counter]) -> Vec<Account> {
    let changed = accounts.into_iter().filter_map(|account| {
        let counter = counted.iter().find(|it| {
            it.policy_id == account.policy.id && it.window_start == account.counter.window.start
        })?;
        Some(Account { counter: counter.rule(), ..account })
    });
    changed.collect()
}

/// Settles a run that is over: the rest is charged, the head-room given back, and the ledger gets its one entry.
///
/// Called in the transaction of the settlement, behind the check of its lease. `meter` is what the log of the run came to.
pub(crate) async fn settle(
    tx: &mut Tx<'_>,
    run: &Run,
    usage: Option<&Usage>,
    meter: Meter,
    now: Moment,
) -> Result<Charged, StoreError> {
    let Some(usage) = usage.filter(|usage| !usage.is_nothing() || meter != Meter::default()) else {
        return release(tx, &run.id, now).await;
    };
    let end = last_charge(usage, meter);
    let project = project_of(run);
    let accounts = accounts::concerning(tx, &run.company_id, &run.agent_id, project, now).await?;
    if !accounts.is_empty() {
        let totals: Vec<Share> = accounts
            .iter()
            .map(|account| Share {
                policy: account.policy.id.clone(),
                window: account.counter.window,
                amount: end.total.in_metric(account.policy.metric),
            })
            .collect();
        reservations::settle(tx, &run.id, &totals, now).await?;
    }
    let released = release(tx, &run.id, now).await?;
    let mut scribe = crossing::scribe((run.id.as_str(), "cost"), now);
    costs::record(tx, &entry(scribe.id(), run, usage, end, now)).await?;
    let dearest = Dearest { micros: meter.dearest.micros, tokens: meter.dearest.tokens };
    costs::note_messages(tx, &run.id, &run.agent_id, 1, dearest, now).await?;
    let mut stops = false;
    if !accounts.is_empty() {
        let after = accounts::concerning(tx, &run.company_id, &run.agent_id, project, now).await?;
        stops = crossing::look(tx, &run.company_id, &after, (run.id.as_str(), "settle"), now).await?;
    }
    Ok(Charged { stops, ..released })
}

/// Gives back what a run holds, whatever it was charged. Twice is once.
pub(crate) async fn release(tx: &mut Tx<'_>, run: &RunId, now: Moment) -> Result<Charged, StoreError> {
    let held = reservations::release(tx, run, now).await?;
    Ok(Charged { stops: false, frees: held.iter().any(|it| it.reserved > 0) })
}

fn last_charge(usage: &Usage, meter: Meter) -> FinalCharge {
    let amount = used(usage);
    let cost_micros = usage.cost_micros.map(|_| amount.micros);
    let is_covered = billing_type(usage) == "subscription_included";
    let bounded = Usage {
        cost_micros: if is_covered { Some(0) } else { cost_micros },
        cost_partial: usage.cost_partial && !is_covered,
        ..usage.clone()
    };
    let mut end = meter::settle(meter, Some(&bounded));
    end.total.tokens = end.total.tokens.min(MOST);
    end
}

fn entry(id: String, run: &Run, usage: &Usage, end: FinalCharge, now: Moment) -> CostEvent {
    let count = |tokens: u64| i64::try_from(tokens).unwrap_or(MOST).min(MOST);
    let named = |name: &Option<String>| {
        name.as_deref().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)
    };
    let unknown = || "unknown".to_owned();
    let provider = named(&usage.provider);
    CostEvent {
        id,
        company_id: run.company_id.clone(),
        agent_id: run.agent_id.clone(),
        issue_id: run.issue_id.clone().map(IssueId),
        project_id: project_of(run).map(str::to_owned),
        goal_id: None,
        run_id: Some(run.id.clone()),
        origin: costs::OF_RUN.to_owned(),
        billing_code: None,
        biller: named(&usage.biller).or_else(|| provider.clone()).unwrap_or_else(unknown),
        provider: provider.unwrap_or_else(unknown),
        billing_type: billing_type(usage).to_owned(),
        model: named(&usage.model).unwrap_or_else(unknown),
        input_tokens: count(usage.input_tokens),
        cached_input_tokens: count(usage.cached_input_tokens),
        output_tokens: count(usage.output_tokens),
        counted_tokens: end.total.tokens,
        cost_micros: end.total.micros,
        cost_known: end.cost_known,
        occurred_at: now,
        created_at: now,
    }
}

/// The billing type in the words of the ledger (spec/heartbeat.md 4.19).
pub(crate) fn billing_type(usage: &Usage) -> &'static str {
    normal_billing_type(usage.billing_type.as_deref().unwrap_or_default())
}

/// Brings what an adapter or a report says into the words of the ledger.
pub(crate) fn normal_billing_type(said: &str) -> &'static str {
    match said.trim() {
        "api" | "metered_api" => "metered_api",
        "subscription" | "subscription_included" => "subscription_included",
        "subscription_overage" => "subscription_overage",
        "credits" => "credits",
        "fixed" => "fixed",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(cost: Option<i64>, billing: Option<&str>) -> Usage {
        Usage {
            input_tokens: 3,
            cached_input_tokens: 2,
            output_tokens: 5,
            cost_micros: cost,
            billing_type: billing.map(str::to_owned),
            ..Usage::default()
        }
    }

    #[test]
    fn what_a_subscription_covers_costs_nothing_and_its_tokens_count() {
        for (billing, micros) in [
            (Some("subscription"), 0),
            (Some("subscription_included"), 0),
            (Some("subscription_overage"), 70),
            (Some("api"), 70),
            (Some("barter"), 70),
            (None, 70),
        ] {
            assert_eq!(used(&usage(Some(70), billing)), Consumed { micros, tokens: 10 }, "{billing:?}");
            let end = last_charge(&usage(Some(70), billing), Meter::default());
            assert_eq!((end.total.micros, end.cost_known), (micros, true), "{billing:?}");
        }
    }

    #[test]
    fn a_price_that_is_not_known_is_not_free() {
        let end = last_charge(&usage(None, None), Meter::default());
        assert_eq!((end.total, end.cost_known), (Consumed { micros: 0, tokens: 10 }, false));
    }

    #[test]
    fn numbers_beyond_reason_are_bounded() {
        let mad = Usage { output_tokens: u64::MAX, cost_micros: Some(i64::MAX), ..Usage::default() };
        assert_eq!(used(&mad), Consumed { micros: MOST, tokens: MOST });
        assert_eq!(last_charge(&mad, Meter::default()).total, Consumed { micros: MOST, tokens: MOST });
    }
}
