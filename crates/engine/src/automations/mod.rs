//! Automations: runs of many steps, each an agent's work or a question to people.
//!
//! Nothing here is an engine of its own beside the agents' runs: a step wakes its agent by the one door (`dispatch`), and
//! the one settlement says when it is over ([`agent_run_over`]). All else is one transaction that looks at an automation
//! run, asks `domain::automation::advance` what is to be done and does it (`tend`, `turn`); it comes after everything that
//! happens to the run, when a time has come that it named, and by itself after a lost ring. Which waiting run begins is
//! `admission`, what stops one `stopping`, what has it go on `going_on`, what follows its end `hand_over`. What people may
//! do is in `operations` and `gates`, what they see in `views`. Files are looked at before transactions and never in one.

mod admission;
mod definitions;
mod dispatch;
mod draws;
mod endings;
mod figures;
mod found;
mod gates;
mod going_on;
mod hand_over;
mod launch;
mod loaded;
mod operations;
mod policies;
mod questions;
pub(crate) mod retention;
mod status_file;
mod stopping;
mod telling;
mod tend;
mod turn;
mod unreadable;
mod views;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::automation::StopKind;
use domain::ids::{AutomationRunId, RunId};
use domain::moment::Moment;
use store::automations::{nodes, runs};
use store::runs::Run;
use store::{StoreError, Tx};
use tokio::sync::Notify;

use crate::Inner;

pub use definitions::{Applied, AutomationView, MOST_AUTOMATIONS};
pub use domain::automation::difference::Change;
pub use figures::Admissions;
pub use gates::{GateDecision, GateView, MOST_GATES, StepOf};
pub(crate) use gates::{step_of, views_of_pending};
pub use launch::LaunchDraft;
pub use operations::{Asked, Preview};
pub use telling::kind as event_type;
pub use views::{MOST_RUNS, RunView, StepWait};

pub(crate) use launch::{Launch, launch};

/// How long a run that is at work is left alone when nothing happens to it.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// A server that goes waits no longer than this for its store to write which runs end with it; its next start ends those
/// that are left. Below the time that the program gives the whole of its leaving.
const LEAVING: Duration = Duration::from_millis(500);

/// What is rung when something is to be done.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    /// A run is to be looked at.
    tend: Notify,
    /// An agent is to be woken.
    dispatch: Notify,
    /// A run waits, or a place became free.
    admission: Notify,
    /// A gate was opened: its time may be the next.
    gates: Notify,
    /// The history of a run went on.
    status: Notify,
    /// Something is planned otherwise, or a run that slots wait for is over.
    pub(crate) schedules: Notify,
    /// A budget was raised or a pause lifted since runs were last looked at.
    lifted: AtomicBool,
    /// Runs whose workspaces are being looked at, aside from the others.
    aside: Mutex<HashSet<AutomationRunId>>,
    /// What this server let begin.
    pub(crate) admissions: figures::Waits,
}

impl Bells {
    pub(crate) fn ring(&self) {
        for bell in [&self.tend, &self.dispatch, &self.admission, &self.gates, &self.status, &self.schedules]
        {
            bell.notify_one();
        }
    }

    fn aside(&self) -> MutexGuard<'_, HashSet<AutomationRunId>> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An account was parked, or works again: runs may begin that wait for it.
    pub(crate) fn accounts_moved(&self) {
        self.admission.notify_one();
    }

    /// What kept runs or their steps waiting may be over: they are looked at now.
    pub(crate) fn lift(&self) {
        self.lifted.store(true, Ordering::Release);
        self.ring();
    }
}

/// Sets everything going.
pub(crate) fn start(engine: &Arc<Inner>) {
    let tasks = &engine.tasks;
    let (inner, started_at) = (Arc::clone(engine), engine.clock.now());
    tasks.spawn(async move {
        policies::at_start(&inner, started_at).await;
    });
    tasks.spawn(tend::run(Arc::clone(engine)));
    tasks.spawn(dispatch::run(Arc::clone(engine)));
    tasks.spawn(admission::run(Arc::clone(engine)));
    tasks.spawn(gates::run(Arc::clone(engine)));
    tasks.spawn(status_file::run(Arc::clone(engine)));
}

/// The server goes: runs that are to end with it are told to.
pub(crate) async fn leave(engine: &Arc<Inner>) {
    let now = engine.clock.now().plus(Duration::from_micros(1));
    let ending = policies::end_those_that_ask(engine, StopKind::Shutdown, now);
    if tokio::time::timeout(LEAVING, ending).await.is_err() {
        tracing::warn!(
            "the store does not answer; runs that are to end with the server end at its next start"
        );
    }
}

/// The attempt that a run of an agent works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptKey {
    pub(crate) run: AutomationRunId,
    pub(crate) node: String,
    pub(crate) attempt: i64,
}

const KEY: &str = "automation:";

impl AttemptKey {
    /// The task key of the agent's runs for this attempt (D3): no other wake ever merges into them.
    pub(crate) fn task_key(&self) -> String {
        format!("{KEY}{}:{}:{}", self.run, self.node, self.attempt)
    }

    pub(crate) fn parse(task_key: &str) -> Option<AttemptKey> {
        let mut parts = task_key.strip_prefix(KEY)?.splitn(3, ':');
        let run = parts.next().filter(|id| domain::ids::looks_like_id(id))?;
        let (node, attempt) = (parts.next()?, parts.next()?.parse().ok()?);
        Some(AttemptKey { run: AutomationRunId::from(run), node: node.to_owned(), attempt })
    }
}

/// A run of an agent is over; its automation run, if it is one's, is looked at. Locks that run's row.
pub(crate) async fn agent_run_over(tx: &mut Tx<'_>, run: &Run, now: Moment) -> Result<(), StoreError> {
    if let Some(key) = AttemptKey::parse(&run.task_key) {
        runs::look_by(tx, &key.run, now).await?;
    }
    Ok(())
}

/// The limits of tokens and money of its automation run hold for this run.
pub(crate) fn is_limited(run: &Run) -> bool {
    run.context["bugleAutomation"]["limited"] == true
}

/// The step that this run works on says that nobody may repeat it without a person (`repeatable = false`).
pub(crate) fn is_never_repeated(run: &Run) -> bool {
    run.context["bugleAutomation"]["repeatable"] == false
}

/// A run that is under way used something; where that counts towards a limit, its automation run is looked at at once, and
/// not when it would be anyway. Locks that run's row.
pub(crate) async fn used(tx: &mut Tx<'_>, run: &Run, now: Moment) -> Result<(), StoreError> {
    match AttemptKey::parse(&run.task_key).filter(|_| is_limited(run)) {
        Some(key) => runs::look_by(tx, &key.run, now).await,
        None => Ok(()),
    }
}

/// Another run of the agent does the work of this one from here on; what this one used is charged to the automation run.
/// Comes behind [`agent_run_over`].
pub(crate) async fn carried_on(tx: &mut Tx<'_>, run: &Run, by: &RunId) -> Result<(), StoreError> {
    if let Some(key) = AttemptKey::parse(&run.task_key) {
        // As it is stored: what the run used was written with its end.
        let (tokens, cost) =
            store::runs::get(tx, &run.id).await?.as_ref().map(loaded::used).unwrap_or_default();
        if nodes::carry_on(tx, (&key.run, &key.node, key.attempt), by, (tokens, cost)).await? {
            runs::charge(tx, &key.run, (tokens, cost)).await?;
        }
    }
    Ok(())
}

impl Inner {
    /// A run of an agent is over, or may be.
    pub(crate) fn automations_bell(&self) {
        self.automations.tend.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_key_of_an_attempt_is_read_back() {
        let run = AutomationRunId::mint(Moment::from_micros(1), [7; 16]);
        let key = AttemptKey { run, node: "draft-notes".to_owned(), attempt: 3 };
        assert_eq!(AttemptKey::parse(&key.task_key()), Some(key));
        for text in ["", "automation:", "automation:x:y:1", "issue:1", "automation::a:1"] {
            assert_eq!(AttemptKey::parse(text), None, "{text}");
        }
    }
}
