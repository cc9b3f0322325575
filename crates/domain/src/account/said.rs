//! What the end of a run says about the account it ran on.
//!
//! Most ends say nothing: a cancelled run, a lost process, a mistake of the agent. A failure counts only where the
//! provider had not answered anything yet; whoever was answered has a working account.

use crate::account::Unclear;
use crate::ending::{Ending, FollowUp, ProcessEnd, Settlement};
use crate::moment::Moment;
use crate::run::Outcome;
use crate::telling::{AgentError, ErrorClass};

/// What an end says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The provider did what it was asked for.
    Answered,
    /// A limit is reached.
    Limit {
        not_before: Option<Moment>,
    },
    /// Nobody is logged in.
    LoginLost,
    /// It failed before the provider had answered.
    Failed(Unclear),
    Nothing,
}

impl Said {
    /// What follows a run on a known account: one that met a parked account is asked for again when that works, and not
    /// a certain time later. `is_stopped`: somebody asked to stop it, and nothing follows.
    pub fn follow_up(self, otherwise: FollowUp, is_stopped: bool) -> FollowUp {
        match self {
            Said::Limit { .. } | Said::LoginLost if !is_stopped => FollowUp::AccountRetry,
            Said::Limit { .. } | Said::LoginLost | Said::Answered | Said::Failed(_) | Said::Nothing => {
                otherwise
            }
        }
    }
}

/// Reads an end that was settled.
pub fn read(ending: &Ending, settlement: &Settlement) -> Said {
    let answered = ending.told.usage.as_ref().is_some_and(|usage| !usage.is_nothing());
    let silent = if answered { Said::Answered } else { Said::Nothing };
    match settlement.outcome {
        Outcome::Succeeded => Said::Answered,
        Outcome::Cancelled | Outcome::TimedOut => silent,
        Outcome::Failed => match error_of(ending).map(|error| error.class) {
            Some(ErrorClass::Quota) => Said::Limit { not_before: settlement.not_before },
            Some(ErrorClass::Auth) => Said::LoginLost,
            // Whoever looks at a request closely enough to find it wrong has let it in.
            Some(ErrorClass::BadRequest | ErrorClass::Permission) => Said::Answered,
            _ if answered => Said::Answered,
            Some(ErrorClass::SessionGone | ErrorClass::TimedOut) => Said::Nothing,
            Some(ErrorClass::Transient) => Said::Failed(Unclear::Busy),
            Some(ErrorClass::Other) | None if ended_by_itself(ending) => Said::Failed(Unclear::Unknown),
            Some(ErrorClass::Other) | None => Said::Nothing,
        },
    }
}

/// The failure that decided the outcome, as `ending::settle` chooses it.
fn error_of(ending: &Ending) -> Option<&AgentError> {
    match ending.told.terminals.first() {
        Some(first) => first.error.as_ref(),
        None => ending.told.trouble.as_ref(),
    }
}

/// An agent program itself came to an end: nothing that the machine or the keeper did. A plain command fails for
/// reasons of its own.
fn ended_by_itself(ending: &Ending) -> bool {
    if !ending.has_terminal_event {
        return false;
    }
    match &ending.process {
        ProcessEnd::Ended { signal, out_of_memory, .. } => {
            !out_of_memory && (signal.is_none() || !ending.told.terminals.is_empty())
        }
        ProcessEnd::NeverStarted { .. } | ProcessEnd::NoPlace { .. } | ProcessEnd::Lost => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ending::{EndedBy, Verdict, settle};
    use crate::telling::{AgentEvent, Told, Usage};

    fn ended(code: i32, signal: Option<i32>) -> ProcessEnd {
        let code = signal.is_none().then_some(code);
        ProcessEnd::Ended { code, signal, by: EndedBy::Itself, out_of_memory: false }
    }

    fn said(process: ProcessEnd, events: &[AgentEvent]) -> Said {
        let mut told = Told::default();
        events.iter().for_each(|event| told.hear(event));
        let ending = Ending {
            process,
            told,
            has_terminal_event: true,
            expects_output: false,
            resuming: false,
            fresh_start_used: false,
            stop_asked: None,
            done_before_stop: false,
            repeatable: true,
            process_loss_retries: 0,
        };
        match settle(&ending) {
            Verdict::Over(settlement) => read(&ending, &settlement),
            Verdict::StartFresh => panic!("it starts afresh"),
        }
    }

    fn error(class: ErrorClass) -> AgentError {
        AgentError { class, message: "no".into(), code: None, not_before: Some(Moment::from_micros(9)) }
    }

    fn result(class: Option<ErrorClass>) -> AgentEvent {
        AgentEvent::Result { error: class.map(error), summary: None, plan_only: false, json: None }
    }

    fn trouble(class: ErrorClass) -> AgentEvent {
        AgentEvent::Trouble { error: error(class) }
    }

    fn used() -> AgentEvent {
        AgentEvent::UsageAdded { usage: Usage { output_tokens: 3, ..Usage::default() } }
    }

    #[test]
    fn who_met_a_parked_account_is_asked_for_again_by_the_account() {
        use FollowUp::{AccountRetry, Nothing, TransientRetry};
        let limit = Said::Limit { not_before: None };
        let rows = [
            (limit, TransientRetry, false, AccountRetry),
            (Said::LoginLost, Nothing, false, AccountRetry),
            (Said::LoginLost, Nothing, true, Nothing),
            (limit, Nothing, true, Nothing),
            (Said::Failed(Unclear::Busy), TransientRetry, false, TransientRetry),
            (Said::Answered, Nothing, false, Nothing),
        ];
        for (said, otherwise, is_stopped, expected) in rows {
            assert_eq!(said.follow_up(otherwise, is_stopped), expected, "{said:?}");
        }
    }

    #[test]
    fn every_end_says_what_it_says_of_the_account() {
        let words = AgentEvent::Message { text: "You are out of luck.".into() };
        let limit = Said::Limit { not_before: Some(Moment::from_micros(9)) };
        let rows = [
            ("success", said(ended(0, None), &[result(None)]), Said::Answered),
            ("limit", said(ended(1, None), &[result(Some(ErrorClass::Quota))]), limit),
            ("limit after work", said(ended(1, None), &[used(), result(Some(ErrorClass::Quota))]), limit),
            ("limit on the way", said(ended(0, None), &[trouble(ErrorClass::Quota)]), limit),
            ("login", said(ended(0, None), &[result(Some(ErrorClass::Auth))]), Said::LoginLost),
            ("wrong", said(ended(1, None), &[result(Some(ErrorClass::BadRequest))]), Said::Answered),
            ("refused", said(ended(1, None), &[result(Some(ErrorClass::Permission))]), Said::Answered),
            ("session", said(ended(1, None), &[result(Some(ErrorClass::SessionGone))]), Said::Nothing),
            (
                "busy",
                said(ended(1, None), &[result(Some(ErrorClass::Transient))]),
                Said::Failed(Unclear::Busy),
            ),
            (
                "busy after work",
                said(ended(1, None), &[used(), trouble(ErrorClass::Transient)]),
                Said::Answered,
            ),
            (
                "unknown words",
                said(ended(0, None), &[words.clone(), result(Some(ErrorClass::Other))]),
                Said::Failed(Unclear::Unknown),
            ),
            ("unknown words, no result", said(ended(1, None), &[words]), Said::Failed(Unclear::Unknown)),
            (
                "unknown words after work",
                said(ended(1, None), &[used(), result(Some(ErrorClass::Other))]),
                Said::Answered,
            ),
            ("killed", said(ended(0, Some(9)), &[]), Said::Nothing),
            ("lost", said(ProcessEnd::Lost, &[]), Said::Nothing),
            ("never started", said(ProcessEnd::NeverStarted { error: "no".into() }, &[]), Said::Nothing),
        ];
        for (name, said, expected) in rows {
            assert_eq!(said, expected, "{name}");
        }
    }
}
