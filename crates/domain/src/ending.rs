//! What to make of the end of an agent's process.
//!
//! An [`Ending`] is what the keeper saw and what the program said; a [`Settlement`] is what the record will say: the
//! outcome, the error, and whether the run is tried again. No row of the table goes by the exit code alone where the
//! program has a terminal event (D6). Stopping the process and writing the record are done elsewhere.

use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::recovery::silence::StopFor;
use crate::run::Outcome;
use crate::telling::{AgentError, ErrorClass, Told};
use crate::words;

/// How the process came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEnd {
    /// The program was never executed: it is not there, not executable, or its folder is missing.
    NeverStarted { error: String },
    /// The program was never executed: the environment that it was to work in could not be had.
    NoPlace { code: String, error: String },
    /// Its keeper is gone and left no record.
    Lost,
    /// The keeper recorded its end.
    Ended { code: Option<i32>, signal: Option<i32>, by: EndedBy, out_of_memory: bool },
}

words!(
    /// Who ended the process.
    EndedBy {
        /// It ended by itself, or by a signal that is not ours.
        Itself = "itself",
        /// We, because somebody asked to stop it.
        StopOrder = "stop_order",
        /// We, because it ran longer than it may.
        WallLimit = "wall_limit",
        /// We, because it stayed after it had said that it was done.
        Lingering = "lingering",
    }
);

/// Everything the settlement may look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    pub process: ProcessEnd,
    pub told: Told,
    /// The adapter's programs say when they are done.
    pub has_terminal_event: bool,
    /// The adapter's programs always have something to say: an agent CLI.
    pub expects_output: bool,
    /// The process was to resume a session.
    pub resuming: bool,
    /// The run had its second process already.
    pub fresh_start_used: bool,
    /// The words of whoever asked to stop it.
    pub stop_asked: Option<String>,
    /// It had said that it was done before it was asked to stop or its time was up.
    pub done_before_stop: bool,
    /// It may be started again after its process was lost.
    pub repeatable: bool,
    /// How often a lost process of this chain of runs was already replaced.
    pub process_loss_retries: u32,
}

words!(
    /// Error family of the wire.
    ErrorFamily { TransientUpstream = "transient_upstream" }
);

words!(
    /// Why the work stopped (spec/heartbeat.md 1.2).
    StopReason {
        Completed = "completed",
        Timeout = "timeout",
        Cancelled = "cancelled",
        BudgetPaused = "budget_paused",
        Paused = "paused",
        ProcessLost = "process_lost",
        AdapterFailed = "adapter_failed",
    }
);

words!(
    /// Something odd that did not change the outcome.
    Warning {
        /// The program said success and then ended with an error code or by a foreign signal.
        ExitAfterSuccess = "exit_after_success",
        /// The program reported a second result; the first counts.
        SecondResult = "second_result",
        /// The program said success; how its process ended is not known.
        ExitUnknown = "exit_unknown",
    }
);

words!(
    /// What the end calls for by itself.
    FollowUp {
        Nothing = "nothing",
        /// One new run in place of the lost process (spec/heartbeat.md 5.2).
        ProcessLossRetry = "process_loss_retry",
        /// A bounded, delayed retry (spec/heartbeat.md 5.3).
        TransientRetry = "transient_retry",
        /// A new run as soon as its account works again; it is no attempt (D6).
        AccountRetry = "account_retry",
    }
);

/// What the record will say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settlement {
    pub outcome: Outcome,
    pub error: Option<String>,
    pub error_code: Option<String>,
    pub family: Option<ErrorFamily>,
    pub not_before: Option<Moment>,
    pub stop_reason: StopReason,
    pub warnings: Vec<Warning>,
    pub follow_up: FollowUp,
    /// Only a plan came out.
    pub plan_only: bool,
}

/// What the end means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The session is gone: one fresh start in the same run, under the next epoch.
    StartFresh,
    /// The run is over.
    Over(Settlement),
}

/// Settles; the first row that matches ends it.
pub fn settle(ending: &Ending) -> Verdict {
    let done_first = ending.done_before_stop && ending.told.is_done();
    let words = ending.stop_asked.as_deref().unwrap_or("Cancelled by control plane");
    let stopped_by_us = match &ending.process {
        ProcessEnd::Ended { by, .. } => *by == EndedBy::StopOrder,
        ProcessEnd::NeverStarted { .. } | ProcessEnd::NoPlace { .. } | ProcessEnd::Lost => {
            ending.stop_asked.is_some()
        }
    };
    if stopped_by_us && !done_first {
        return Verdict::Over(cancelled(words));
    }
    match verdict(ending, done_first) {
        // Nothing from before a stop starts anything after it, not even when the process was quicker than our signal.
        Verdict::StartFresh if ending.stop_asked.is_some() => Verdict::Over(cancelled(words)),
        Verdict::Over(settlement) if ending.stop_asked.is_some() => {
            Verdict::Over(Settlement { follow_up: FollowUp::Nothing, ..settlement })
        }
        verdict => verdict,
    }
}

impl Ending {
    /// The program said that the session it was to resume does not exist, whatever becomes of the run.
    pub fn found_session_gone(&self) -> bool {
        let first = self.told.terminals.first().map(|terminal| terminal.error.as_ref());
        let error = first.unwrap_or(self.told.trouble.as_ref());
        self.resuming && error.is_some_and(|error| error.class == ErrorClass::SessionGone)
    }
}

fn verdict(ending: &Ending, done_first: bool) -> Verdict {
    let (code, signal, by, out_of_memory) = match &ending.process {
        ProcessEnd::NeverStarted { error } => return Verdict::Over(failed(error.clone(), "adapter_failed")),
        ProcessEnd::NoPlace { code, error } => return Verdict::Over(failed(error.clone(), code)),
        ProcessEnd::Lost => return Verdict::Over(lost(ending)),
        ProcessEnd::Ended { code, signal, by, out_of_memory } => (*code, *signal, *by, *out_of_memory),
    };
    if by == EndedBy::WallLimit && !done_first {
        return Verdict::Over(Settlement {
            outcome: Outcome::TimedOut,
            stop_reason: StopReason::Timeout,
            ..failed("ran longer than its time limit and was stopped".into(), "timeout")
        });
    }
    let by_us = by != EndedBy::Itself;
    if let Some(first) = ending.told.terminals.first() {
        return match &first.error {
            None => Verdict::Over(success(ending, by_us, code, signal)),
            Some(error) => by_class(ending, error),
        };
    }
    // Only a class that explains an end is taken from trouble on the way; "other" may have been survived.
    if let Some(trouble) = ending.told.trouble.as_ref().filter(|t| t.class != ErrorClass::Other)
        && ending.has_terminal_event
    {
        return by_class(ending, trouble);
    }
    if signal.is_some() && !by_us {
        return Verdict::Over(killed(ending, signal, out_of_memory));
    }
    if !ending.has_terminal_event {
        return Verdict::Over(match code {
            Some(0) => succeeded(Vec::new(), false),
            Some(code) => failed(format!("Process exited with code {code}"), "adapter_failed"),
            None => failed("the process ended without an exit code".into(), "adapter_failed"),
        });
    }
    let silent = ending.told.messages == 0 && ending.told.usage.is_none();
    if ending.resuming && !ending.fresh_start_used && silent && code != Some(0) {
        return Verdict::StartFresh;
    }
    Verdict::Over(match (code, &ending.told.trouble) {
        (Some(0), _) => {
            failed("the program ended without saying that it was done".into(), "no_terminal_event")
        }
        (_, Some(trouble)) => {
            failed(trouble.message.clone(), trouble.code.as_deref().unwrap_or("adapter_failed"))
        }
        (Some(code), None) => failed(format!("Process exited with code {code}"), "adapter_failed"),
        (None, None) => {
            failed("the process was stopped before it said that it was done".into(), "adapter_failed")
        }
    })
}

fn success(ending: &Ending, by_us: bool, code: Option<i32>, signal: Option<i32>) -> Settlement {
    if ending.expects_output && ending.told.is_empty() {
        return failed("the program reported success and produced nothing at all".into(), "no_output");
    }
    let mut warnings = Vec::new();
    if !by_us && (code.unwrap_or(0) != 0 || signal.is_some()) {
        warnings.push(Warning::ExitAfterSuccess);
    }
    if ending.told.terminals.len() > 1 {
        warnings.push(Warning::SecondResult);
    }
    succeeded(warnings, ending.told.terminals.first().is_some_and(|t| t.plan_only))
}

fn by_class(ending: &Ending, error: &AgentError) -> Verdict {
    let code = |fallback: &str| error.code.clone().unwrap_or_else(|| fallback.to_owned());
    let plain = |fallback: &str| failed(error.message.clone(), &code(fallback));
    Verdict::Over(match error.class {
        ErrorClass::SessionGone if ending.resuming && !ending.fresh_start_used => return Verdict::StartFresh,
        ErrorClass::SessionGone | ErrorClass::BadRequest | ErrorClass::Other => plain("adapter_failed"),
        // It kept the run's limit by itself. What does no harm twice is tried again.
        ErrorClass::TimedOut => Settlement {
            outcome: Outcome::TimedOut,
            stop_reason: StopReason::Timeout,
            family: ending.repeatable.then_some(ErrorFamily::TransientUpstream),
            follow_up: if ending.repeatable { FollowUp::TransientRetry } else { FollowUp::Nothing },
            ..plain("timeout")
        },
        ErrorClass::Auth => plain("auth_required"),
        ErrorClass::Permission => plain("permission_blocked"),
        ErrorClass::Transient => Settlement {
            family: Some(ErrorFamily::TransientUpstream),
            not_before: error.not_before,
            follow_up: FollowUp::TransientRetry,
            ..plain("adapter_failed")
        },
        ErrorClass::Quota => Settlement {
            family: Some(ErrorFamily::TransientUpstream),
            not_before: error.not_before,
            follow_up: FollowUp::TransientRetry,
            ..plain("quota_exhausted")
        },
    })
}

fn lost(ending: &Ending) -> Settlement {
    match ending.told.terminals.first() {
        Some(first) if first.error.is_none() => succeeded(vec![Warning::ExitUnknown], first.plan_only),
        Some(first) => match by_class(ending, first.error.as_ref().expect("the arm above has no error")) {
            Verdict::Over(settlement) => settlement,
            Verdict::StartFresh => {
                process_lost(ending, "the keeper of the process is gone and left no record".into())
            }
        },
        None => process_lost(ending, "the keeper of the process is gone and left no record".into()),
    }
}

fn killed(ending: &Ending, signal: Option<i32>, out_of_memory: bool) -> Settlement {
    if out_of_memory {
        return failed("the system killed the process because memory ran out".into(), "out_of_memory");
    }
    process_lost(
        ending,
        format!("the process was killed by signal {}, which Bugle did not send", signal.unwrap_or(0)),
    )
}

fn process_lost(ending: &Ending, mut error: String) -> Settlement {
    let again = ending.repeatable && ending.process_loss_retries < crate::retry::PROCESS_LOSS_RETRIES;
    if again {
        error.push_str("; retrying once");
    }
    Settlement {
        stop_reason: StopReason::ProcessLost,
        follow_up: if again { FollowUp::ProcessLossRetry } else { FollowUp::Nothing },
        ..failed(error, "process_lost")
    }
}

fn cancelled(words: &str) -> Settlement {
    // A watchdog is a limit and not a wish: what it stops may be tried again, what somebody cancelled may not (D1, D6).
    if let Some(stop) = StopFor::read(words) {
        return Settlement {
            outcome: Outcome::TimedOut,
            stop_reason: StopReason::Timeout,
            ..failed(words.to_owned(), stop.as_str())
        };
    }
    let lower = words.to_lowercase();
    let stop_reason = if lower.contains("budget") {
        StopReason::BudgetPaused
    } else if lower.contains("pause") {
        StopReason::Paused
    } else {
        StopReason::Cancelled
    };
    Settlement { outcome: Outcome::Cancelled, stop_reason, ..failed(words.to_owned(), "cancelled") }
}

fn succeeded(warnings: Vec<Warning>, plan_only: bool) -> Settlement {
    Settlement {
        outcome: Outcome::Succeeded,
        error: None,
        error_code: None,
        family: None,
        not_before: None,
        stop_reason: StopReason::Completed,
        warnings,
        follow_up: FollowUp::Nothing,
        plan_only,
    }
}

fn failed(error: String, code: &str) -> Settlement {
    Settlement {
        outcome: Outcome::Failed,
        error: Some(error),
        error_code: Some(code.to_owned()),
        family: None,
        not_before: None,
        stop_reason: StopReason::AdapterFailed,
        warnings: Vec::new(),
        follow_up: FollowUp::Nothing,
        plan_only: false,
    }
}

#[cfg(test)]
mod tests {
    use crate::telling::{AgentEvent, Usage};

    use super::*;

    fn exit(code: i32) -> ProcessEnd {
        ProcessEnd::Ended { code: Some(code), signal: None, by: EndedBy::Itself, out_of_memory: false }
    }

    fn signalled(signal: i32, by: EndedBy) -> ProcessEnd {
        ProcessEnd::Ended { code: None, signal: Some(signal), by, out_of_memory: false }
    }

    fn said(events: &[AgentEvent]) -> Told {
        let mut told = Told::default();
        events.iter().for_each(|event| told.hear(event));
        told
    }

    fn message() -> AgentEvent {
        AgentEvent::Message { text: "working".into() }
    }

    fn success_event() -> AgentEvent {
        AgentEvent::Result { error: None, summary: Some("done".into()), plan_only: false, json: None }
    }

    fn error(class: ErrorClass) -> AgentError {
        AgentError {
            class,
            message: "it says no".into(),
            code: None,
            not_before: Some(Moment::from_micros(9)),
        }
    }

    fn error_event(class: ErrorClass) -> AgentEvent {
        AgentEvent::Result { error: Some(error(class)), summary: None, plan_only: false, json: None }
    }

    fn cli(process: ProcessEnd, told: Told) -> Ending {
        Ending {
            process,
            told,
            has_terminal_event: true,
            expects_output: true,
            resuming: false,
            fresh_start_used: false,
            stop_asked: None,
            done_before_stop: false,
            repeatable: true,
            process_loss_retries: 0,
        }
    }

    fn over(ending: &Ending) -> Settlement {
        match settle(ending) {
            Verdict::Over(settlement) => settlement,
            Verdict::StartFresh => panic!("expected an end, got a fresh start"),
        }
    }

    /// Name, ending, outcome, error code, follow-up, warnings.
    type Row = (&'static str, Ending, Outcome, Option<&'static str>, FollowUp, Vec<Warning>);

    /// The outcome table D6: name, ending, outcome, error code, follow-up, warnings.
    #[test]
    fn every_row_of_the_outcome_table() {
        use FollowUp::{Nothing, ProcessLossRetry, TransientRetry};
        use Outcome::{Cancelled, Failed, Succeeded, TimedOut};
        let stop =
            |ending: Ending| Ending { stop_asked: Some("Cancelled by control plane".into()), ..ending };
        let plain = |ending: Ending| Ending { has_terminal_event: false, expects_output: false, ..ending };
        let stopped =
            |code| ProcessEnd::Ended { code, signal: None, by: EndedBy::StopOrder, out_of_memory: false };
        let oom = ProcessEnd::Ended { code: None, signal: Some(9), by: EndedBy::Itself, out_of_memory: true };
        let ok = || said(&[message(), success_event()]);
        let rows: Vec<Row> = vec![
            ("success, 0", cli(exit(0), ok()), Succeeded, None, Nothing, vec![]),
            (
                "success, then our signal (lingering)",
                cli(signalled(15, EndedBy::Lingering), ok()),
                Succeeded,
                None,
                Nothing,
                vec![],
            ),
            (
                "success, then asked to stop",
                Ending { done_before_stop: true, ..stop(cli(signalled(15, EndedBy::StopOrder), ok())) },
                Succeeded,
                None,
                Nothing,
                vec![],
            ),
            (
                "success, then out of time",
                Ending { done_before_stop: true, ..cli(signalled(15, EndedBy::WallLimit), ok()) },
                Succeeded,
                None,
                Nothing,
                vec![],
            ),
            (
                "asked to stop",
                stop(cli(signalled(15, EndedBy::StopOrder), said(&[message()]))),
                Cancelled,
                Some("cancelled"),
                Nothing,
                vec![],
            ),
            (
                "asked to stop, says success after it",
                stop(cli(stopped(Some(0)), ok())),
                Cancelled,
                Some("cancelled"),
                Nothing,
                vec![],
            ),
            (
                "asked to stop, error after it",
                stop(cli(stopped(Some(1)), said(&[error_event(ErrorClass::Transient)]))),
                Cancelled,
                Some("cancelled"),
                Nothing,
                vec![],
            ),
            ("quicker than our signal", stop(cli(exit(0), ok())), Succeeded, None, Nothing, vec![]),
            (
                "failed by itself, nothing follows a stop",
                stop(cli(exit(1), said(&[error_event(ErrorClass::Transient)]))),
                Failed,
                Some("adapter_failed"),
                Nothing,
                vec![],
            ),
            (
                "stopped without words",
                cli(stopped(None), said(&[])),
                Cancelled,
                Some("cancelled"),
                Nothing,
                vec![],
            ),
            (
                "asked to stop, keeper lost",
                stop(cli(ProcessEnd::Lost, said(&[]))),
                Cancelled,
                Some("cancelled"),
                Nothing,
                vec![],
            ),
            (
                "asked to stop, never started",
                stop(cli(ProcessEnd::NeverStarted { error: "no".into() }, said(&[]))),
                Cancelled,
                Some("cancelled"),
                Nothing,
                vec![],
            ),
            (
                "time limit",
                cli(signalled(15, EndedBy::WallLimit), said(&[message()])),
                TimedOut,
                Some("timeout"),
                Nothing,
                vec![],
            ),
            (
                "time limit, success after it",
                cli(exit(0), said(&[])),
                Failed,
                Some("no_terminal_event"),
                Nothing,
                vec![],
            ),
            (
                "time limit wins over a later stop",
                stop(cli(signalled(9, EndedBy::WallLimit), said(&[]))),
                TimedOut,
                Some("timeout"),
                Nothing,
                vec![],
            ),
            (
                "success, exit not 0 by itself",
                cli(exit(1), ok()),
                Succeeded,
                None,
                Nothing,
                vec![Warning::ExitAfterSuccess],
            ),
            (
                "success, foreign signal",
                cli(signalled(9, EndedBy::Itself), ok()),
                Succeeded,
                None,
                Nothing,
                vec![Warning::ExitAfterSuccess],
            ),
            (
                "two results, success first",
                cli(exit(0), said(&[message(), success_event(), error_event(ErrorClass::Other)])),
                Succeeded,
                None,
                Nothing,
                vec![Warning::SecondResult],
            ),
            (
                "two results, error first",
                cli(exit(0), said(&[error_event(ErrorClass::Other), success_event()])),
                Failed,
                Some("adapter_failed"),
                Nothing,
                vec![],
            ),
            (
                "error event, exit 0",
                cli(exit(0), said(&[error_event(ErrorClass::Other)])),
                Failed,
                Some("adapter_failed"),
                Nothing,
                vec![],
            ),
            (
                "its own time was over, repeatable",
                cli(exit(1), said(&[error_event(ErrorClass::TimedOut)])),
                TimedOut,
                Some("timeout"),
                TransientRetry,
                vec![],
            ),
            (
                "error event, exit 1",
                cli(exit(1), said(&[error_event(ErrorClass::BadRequest)])),
                Failed,
                Some("adapter_failed"),
                Nothing,
                vec![],
            ),
            ("none, 0", cli(exit(0), said(&[message()])), Failed, Some("no_terminal_event"), Nothing, vec![]),
            (
                "none, not 0",
                cli(exit(3), said(&[message()])),
                Failed,
                Some("adapter_failed"),
                Nothing,
                vec![],
            ),
            (
                "none, not 0, trouble of no class",
                cli(exit(3), said(&[AgentEvent::Trouble { error: error(ErrorClass::Other) }])),
                Failed,
                Some("adapter_failed"),
                Nothing,
                vec![],
            ),
            (
                "none, killed, not ours",
                cli(signalled(9, EndedBy::Itself), said(&[message()])),
                Failed,
                Some("process_lost"),
                ProcessLossRetry,
                vec![],
            ),
            (
                "none, killed by the kernel",
                cli(oom, said(&[message()])),
                Failed,
                Some("out_of_memory"),
                Nothing,
                vec![],
            ),
            (
                "keeper lost",
                cli(ProcessEnd::Lost, said(&[message()])),
                Failed,
                Some("process_lost"),
                ProcessLossRetry,
                vec![],
            ),
            (
                "keeper lost a second time",
                Ending { process_loss_retries: 1, ..cli(ProcessEnd::Lost, said(&[])) },
                Failed,
                Some("process_lost"),
                Nothing,
                vec![],
            ),
            (
                "keeper lost, not repeatable",
                Ending { repeatable: false, ..cli(ProcessEnd::Lost, said(&[])) },
                Failed,
                Some("process_lost"),
                Nothing,
                vec![],
            ),
            (
                "keeper lost after success",
                cli(ProcessEnd::Lost, ok()),
                Succeeded,
                None,
                Nothing,
                vec![Warning::ExitUnknown],
            ),
            (
                "keeper lost after an error",
                cli(ProcessEnd::Lost, said(&[error_event(ErrorClass::Auth)])),
                Failed,
                Some("auth_required"),
                Nothing,
                vec![],
            ),
            (
                "login missing, exit 0",
                cli(exit(0), said(&[AgentEvent::Trouble { error: error(ErrorClass::Auth) }])),
                Failed,
                Some("auth_required"),
                Nothing,
                vec![],
            ),
            (
                "login missing, exit 1",
                cli(exit(1), said(&[error_event(ErrorClass::Auth)])),
                Failed,
                Some("auth_required"),
                Nothing,
                vec![],
            ),
            (
                "limit reached",
                cli(exit(1), said(&[error_event(ErrorClass::Quota)])),
                Failed,
                Some("quota_exhausted"),
                TransientRetry,
                vec![],
            ),
            (
                "transient upstream",
                cli(exit(1), said(&[error_event(ErrorClass::Transient)])),
                Failed,
                Some("adapter_failed"),
                TransientRetry,
                vec![],
            ),
            (
                "permission refused",
                cli(exit(0), said(&[error_event(ErrorClass::Permission)])),
                Failed,
                Some("permission_blocked"),
                Nothing,
                vec![],
            ),
            (
                "session gone, not resuming",
                cli(exit(1), said(&[error_event(ErrorClass::SessionGone)])),
                Failed,
                Some("adapter_failed"),
                Nothing,
                vec![],
            ),
            (
                "success, no output at all",
                cli(
                    exit(0),
                    said(&[AgentEvent::Result { error: None, summary: None, plan_only: false, json: None }]),
                ),
                Failed,
                Some("no_output"),
                Nothing,
                vec![],
            ),
            (
                "never started",
                cli(ProcessEnd::NeverStarted { error: "no such program".into() }, said(&[])),
                Failed,
                Some("adapter_failed"),
                Nothing,
                vec![],
            ),
            ("process, 0", plain(cli(exit(0), said(&[]))), Succeeded, None, Nothing, vec![]),
            ("process, 7", plain(cli(exit(7), said(&[]))), Failed, Some("adapter_failed"), Nothing, vec![]),
            (
                "process, killed",
                plain(cli(signalled(9, EndedBy::Itself), said(&[]))),
                Failed,
                Some("process_lost"),
                ProcessLossRetry,
                vec![],
            ),
            (
                "process, stopped",
                stop(plain(cli(signalled(9, EndedBy::StopOrder), said(&[])))),
                Cancelled,
                Some("cancelled"),
                Nothing,
                vec![],
            ),
            (
                "process, time limit",
                plain(cli(signalled(9, EndedBy::WallLimit), said(&[]))),
                TimedOut,
                Some("timeout"),
                Nothing,
                vec![],
            ),
        ];
        for (name, ending, outcome, code, follow_up, warnings) in rows {
            let settlement = over(&ending);
            assert_eq!((settlement.outcome, settlement.error_code.as_deref()), (outcome, code), "{name}");
            assert_eq!((settlement.follow_up, &settlement.warnings), (follow_up, &warnings), "{name}");
            assert_eq!(settlement.error.is_none(), outcome == Succeeded, "{name}");
        }
    }

    #[test]
    fn a_session_that_is_gone_costs_one_fresh_start() {
        let resuming = |process, told| Ending { resuming: true, ..cli(process, told) };
        let by_text = resuming(exit(0), said(&[error_event(ErrorClass::SessionGone)]));
        let by_trouble =
            resuming(exit(1), said(&[AgentEvent::Trouble { error: error(ErrorClass::SessionGone) }]));
        let by_silence = resuming(exit(1), said(&[]));
        for ending in [&by_text, &by_trouble, &by_silence] {
            assert_eq!(settle(ending), Verdict::StartFresh);
            let second = Ending { fresh_start_used: true, ..ending.clone() };
            assert_eq!(over(&second).outcome, Outcome::Failed);
            let stopped = Ending { stop_asked: Some("enough".into()), ..ending.clone() };
            assert_eq!(over(&stopped).outcome, Outcome::Cancelled);
        }
        let used = AgentEvent::UsageAdded { usage: Usage { input_tokens: 1, ..Usage::default() } };
        for spoke in [message(), used] {
            assert_eq!(
                over(&resuming(exit(1), said(&[spoke]))).error_code.as_deref(),
                Some("adapter_failed")
            );
        }
        assert_eq!(over(&resuming(exit(0), said(&[]))).error_code.as_deref(), Some("no_terminal_event"));
    }

    #[test]
    fn a_plan_is_a_success_that_says_so() {
        let plan = AgentEvent::Result { error: None, summary: None, plan_only: true, json: None };
        let settlement = over(&cli(exit(0), said(&[plan])));
        assert_eq!((settlement.outcome, settlement.plan_only), (Outcome::Succeeded, true));
        assert!(!over(&cli(exit(0), said(&[success_event()]))).plan_only);
    }

    #[test]
    fn the_words_of_the_stop_give_the_stop_reason() {
        for (words, reason) in [
            ("Cancelled by control plane", StopReason::Cancelled),
            ("Cancelled due to agent pause", StopReason::Paused),
            ("Cancelled due to budget pause", StopReason::BudgetPaused),
        ] {
            let ending = Ending {
                stop_asked: Some(words.to_owned()),
                ..cli(signalled(15, EndedBy::StopOrder), said(&[]))
            };
            assert_eq!(over(&ending).stop_reason, reason);
        }
    }

    #[test]
    fn every_end_has_its_stop_reason() {
        let rows = [
            ("success", cli(exit(0), said(&[message(), success_event()])), StopReason::Completed),
            ("failure", cli(exit(1), said(&[message()])), StopReason::AdapterFailed),
            ("time limit", cli(signalled(15, EndedBy::WallLimit), said(&[message()])), StopReason::Timeout),
            ("keeper lost", cli(ProcessEnd::Lost, said(&[])), StopReason::ProcessLost),
            ("killed", cli(signalled(9, EndedBy::Itself), said(&[])), StopReason::ProcessLost),
            (
                "lost for good",
                Ending { repeatable: false, ..cli(ProcessEnd::Lost, said(&[])) },
                StopReason::ProcessLost,
            ),
            ("stopped", cli(signalled(15, EndedBy::StopOrder), said(&[])), StopReason::Cancelled),
        ];
        for (name, ending, reason) in rows {
            assert_eq!(over(&ending).stop_reason, reason, "{name}");
        }
    }

    #[test]
    fn what_a_watchdog_stops_is_timed_out_and_says_for_what() {
        for &stop in StopFor::ALL {
            let ending = Ending {
                stop_asked: Some(stop.words().to_owned()),
                ..cli(signalled(15, EndedBy::StopOrder), said(&[message()]))
            };
            let settlement = over(&ending);
            assert_eq!(
                (settlement.outcome, settlement.error_code.as_deref(), settlement.stop_reason),
                (Outcome::TimedOut, Some(stop.as_str()), StopReason::Timeout)
            );
            assert_eq!(settlement.follow_up, FollowUp::Nothing);
        }
    }

    #[test]
    fn a_limit_that_the_program_keeps_by_itself_is_a_time_limit() {
        for (repeatable, follow_up) in [(false, FollowUp::Nothing), (true, FollowUp::TransientRetry)] {
            let told = said(&[error_event(ErrorClass::TimedOut)]);
            let settlement = over(&Ending { repeatable, ..cli(exit(1), told) });
            assert_eq!(
                (settlement.outcome, settlement.error_code.as_deref(), settlement.stop_reason),
                (Outcome::TimedOut, Some("timeout"), StopReason::Timeout)
            );
            assert_eq!(settlement.follow_up, follow_up);
        }
    }

    #[test]
    fn a_spec_code_wins_over_ours_and_the_reset_time_is_kept() {
        let named = AgentError { code: Some("claude_auth_required".into()), ..error(ErrorClass::Auth) };
        let event = AgentEvent::Result { error: Some(named), summary: None, plan_only: false, json: None };
        assert_eq!(over(&cli(exit(1), said(&[event]))).error_code.as_deref(), Some("claude_auth_required"));
        for class in [ErrorClass::Quota, ErrorClass::Transient] {
            let limit = over(&cli(exit(1), said(&[error_event(class)])));
            assert_eq!(limit.not_before, Some(Moment::from_micros(9)));
            assert_eq!(limit.family, Some(ErrorFamily::TransientUpstream));
        }
        assert_eq!(over(&cli(exit(1), said(&[error_event(ErrorClass::Auth)]))).not_before, None);
    }
}
