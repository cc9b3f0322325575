//! Telling a run to stop, whoever does: a person, a budget, a limit, silence, a gate, a policy.
//!
//! How a run takes it is `domain::automation::transition::stop`. Only the run's row is changed here: stopping what is under
//! way is the next look's, telling of it the caller's, who knows the words.

use domain::automation::transition::{IllegalMove, StopAt, Stopping, stop};
use domain::automation::{Guardrail, StopKind};
use domain::moment::Moment;
use store::automations::runs::AutomationRun;

use super::going_on;

/// What stops a run, where, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) at: StopAt,
    pub(super) kind: StopKind,
    /// What lifts it, for a guardrail.
    pub(super) guardrail: Option<Guardrail>,
    /// For people.
    pub(super) reason: Option<String>,
    /// What is under way may end by itself.
    pub(super) drains: bool,
}

impl Order {
    pub(super) fn new(at: StopAt, kind: StopKind, reason: Option<String>) -> Order {
        Order { at, kind, guardrail: None, reason, drains: false }
    }

    /// A budget keeps an agent of the run from work.
    pub(super) fn of_budget(reason: String) -> Order {
        let order = Order::new(StopAt::Paused, StopKind::GuardrailStopped, Some(reason));
        Order { guardrail: Some(Guardrail::SpendPause), ..order }
    }
}

/// Tells a run to stop; its row is locked, and written by the caller.
///
/// `Stopping::Done`: it has stopped; where that is an end, what follows from it is to be done. `Stopping::First`: it is
/// looked at now. Refused where it cannot stop so; then nothing has changed.
pub(super) fn tell(run: &mut AutomationRun, order: Order, now: Moment) -> Result<Stopping, IllegalMove> {
    let stopping = stop(run.status, order.at, order.kind)?;
    run.stop_kind = Some(order.kind);
    run.guardrail = order.guardrail;
    run.held_reason = None;
    run.held_resource = None;
    run.held_until = None;
    match stopping {
        Stopping::First(status) => {
            run.status = status;
            run.stop_to = Some(order.at.status());
            run.stop_asked_at = Some(now);
            run.stop_drains = order.drains;
            run.stop_reason = order.reason;
            run.look_at = Some(now);
        }
        Stopping::Done(status) => {
            run.status = status;
            run.stop_reason = order.reason.clone();
            run.detail = order.reason;
            run.stopped_at = Some(now);
            run.finished_at = status.is_final().then_some(now);
            run.look_at = going_on::look_at(run, now);
        }
    }
    Ok(stopping)
}
