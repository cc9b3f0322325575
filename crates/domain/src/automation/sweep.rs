//! What happens to runs by themselves: a restart, silence, a budget that is lifted, a shutdown (spec/automations.md 2.4).

use std::time::Duration;

use super::advance::NodeView;
use super::definition::{Definition, OnRestart};
use super::{AutomationRunStatus, Guardrail, StopKind};
use crate::moment::Moment;

/// A run in which nothing has happened for so long is reaped, at the least.
pub const STALE_AFTER: Duration = Duration::from_secs(600);
/// And so much after the longest idle time of what is under way.
pub const STALE_SLACK: Duration = Duration::from_secs(60);
/// A reaped run goes on by itself no later than this after it was reaped.
pub const RESUME_WINDOW: Duration = Duration::from_secs(20 * 60);
/// And no more often than this before somebody looked.
pub const MOST_RESUMES: u32 = 2;

/// What a start of the server does to a run that was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtRestart {
    /// Its steps go on: keepers held them, or they are settled from their records.
    GoesOn,
    Fails,
}

/// By default a run goes on; failing is what its definition asks for.
pub fn at_restart(definition: &Definition, status: AutomationRunStatus) -> AtRestart {
    match definition.policy.on_restart {
        Some(OnRestart::Fail) if status.is_at_work() => AtRestart::Fails,
        Some(OnRestart::Fail | OnRestart::Resume) | None => AtRestart::GoesOn,
    }
}

/// When a run is reaped unless something happens; `idle` are the idle times of what is under way (`None` = no limit).
pub fn stale_at(last_sign: Moment, idle: &[Option<Duration>]) -> Option<Moment> {
    if idle.iter().any(Option::is_none) {
        return None;
    }
    let longest = idle.iter().flatten().max().copied().unwrap_or_default();
    Some(last_sign.plus(STALE_AFTER.max(longest + STALE_SLACK)))
}

/// Nothing was heard of anything that is under way for longer than any of it may be silent. Who waits for people is not
/// silent, and nothing else is while somebody does.
pub fn is_stale(definition: &Definition, nodes: &[NodeView], now: Moment) -> bool {
    if nodes.iter().any(|node| node.live.as_ref().is_some_and(|live| live.waits_for_person)) {
        return false;
    }
    let begun = nodes.iter().filter_map(|node| {
        let live = node.live.as_ref()?;
        let sign = live.last_sign_at.max(live.began_at)?;
        Some((sign, definition.node(&node.id).and_then(|node| node.time_limits().0)))
    });
    let (signs, idle): (Vec<Moment>, Vec<Option<Duration>>) = begun.unzip();
    let last = signs.into_iter().max();
    last.and_then(|last| stale_at(last, &idle)).is_some_and(|at| now >= at)
}

/// A paused run, as far as going on by itself goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PausedRun {
    pub status: AutomationRunStatus,
    pub stop_kind: Option<StopKind>,
    pub guardrail: Option<Guardrail>,
    pub stopped_at: Moment,
    /// How often it went on by itself since a person last had it go on.
    pub resumes: u32,
    pub resume_stale: bool,
    /// Some node may be tried again.
    pub has_work: bool,
    /// Agents of the run that their budgets still hold. Each of them needs its own way out.
    pub held_agents: usize,
}

/// Whether a paused run goes on by itself (W9, W22).
pub fn resumes(run: &PausedRun, now: Moment) -> bool {
    if run.status != AutomationRunStatus::Paused || run.held_agents > 0 {
        return false;
    }
    match (run.stop_kind, run.guardrail) {
        (Some(StopKind::StaleReaped), _) => {
            run.resume_stale
                && run.has_work
                && run.resumes < MOST_RESUMES
                && now <= run.stopped_at.plus(RESUME_WINDOW)
        }
        // A limit of its own is not lifted by anybody's budget.
        (Some(StopKind::GuardrailStopped), Some(Guardrail::SpendPause)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::automation::definition::read;

    fn at(seconds: i64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_restart_fails_only_what_asks_for_it() {
        use AutomationRunStatus::{AwaitingApproval, Paused, Pausing, Queued, Running};
        for (policy, status, expected) in [
            (json!({}), Running, AtRestart::GoesOn),
            (json!({ "onRestart": "resume" }), Running, AtRestart::GoesOn),
            (json!({ "onRestart": "fail" }), Running, AtRestart::Fails),
            (json!({ "onRestart": "fail" }), Pausing, AtRestart::Fails),
            (json!({ "onRestart": "fail" }), Queued, AtRestart::GoesOn),
            (json!({ "onRestart": "fail" }), Paused, AtRestart::GoesOn),
            (json!({ "onRestart": "fail" }), AwaitingApproval, AtRestart::GoesOn),
        ] {
            let definition = read(&json!({ "name": "n", "nodes": [], "policy": policy })).unwrap();
            assert_eq!(at_restart(&definition, status), expected, "{policy} {status}");
        }
    }

    #[test]
    fn silence_is_measured_by_the_longest_idle_time() {
        let seconds = |it: u64| Some(Duration::from_secs(it));
        for (idle, expected) in [
            (vec![], Some(600)),
            (vec![seconds(10)], Some(600)),
            (vec![seconds(600)], Some(660)),
            (vec![seconds(600), seconds(3600)], Some(3660)),
            (vec![seconds(600), None], None),
        ] {
            assert_eq!(stale_at(at(0), &idle), expected.map(at), "{idle:?}");
        }
    }

    #[test]
    fn what_goes_on_by_itself_does_so_for_its_own_reason_and_not_for_ever() {
        use AutomationRunStatus::{Failed, Paused, Queued};
        let reaped = PausedRun {
            status: Paused,
            stop_kind: Some(StopKind::StaleReaped),
            guardrail: None,
            stopped_at: at(0),
            resumes: 0,
            resume_stale: true,
            has_work: true,
            held_agents: 0,
        };
        let spend = PausedRun {
            stop_kind: Some(StopKind::GuardrailStopped),
            guardrail: Some(Guardrail::SpendPause),
            resumes: 9,
            ..reaped.clone()
        };
        let rows = [
            (reaped.clone(), 0, true),
            (reaped.clone(), 1200, true),
            (reaped.clone(), 1201, false),
            (PausedRun { resumes: 1, ..reaped.clone() }, 0, true),
            (PausedRun { resumes: 2, ..reaped.clone() }, 0, false),
            (PausedRun { resume_stale: false, ..reaped.clone() }, 0, false),
            (PausedRun { has_work: false, ..reaped.clone() }, 0, false),
            (PausedRun { held_agents: 1, ..reaped.clone() }, 0, false),
            (PausedRun { status: Failed, ..reaped.clone() }, 0, false),
            (PausedRun { status: Queued, ..reaped.clone() }, 0, false),
            (spend.clone(), 99_999, true),
            (PausedRun { held_agents: 1, ..spend.clone() }, 0, false),
            (PausedRun { held_agents: 2, ..spend.clone() }, 0, false),
            (PausedRun { guardrail: Some(Guardrail::RunLimit), ..spend.clone() }, 0, false),
            (PausedRun { guardrail: None, ..spend.clone() }, 0, false),
            (PausedRun { stop_kind: Some(StopKind::OperatorStopped), ..spend.clone() }, 0, false),
            (PausedRun { stop_kind: None, ..spend.clone() }, 0, false),
        ];
        for (run, now, expected) in rows {
            assert_eq!(resumes(&run, at(now)), expected, "{run:?} at {now}");
        }
    }
}
