//! What the end of an attempt means for its node (spec/automations.md 2.3).

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::contract::{self, FoundFile, json_in};
use super::definition::{Backoff, BackoffKind, Node, NodeKind};
use super::{FailureClass, NodeState, Output, OutputFile, scope};
use crate::moment::Moment;
use crate::run::Outcome;

/// As much of an agent's last words is kept with its node.
pub const LONGEST_TEXT: usize = 64 * 1024;
/// What the infrastructure may do to a node before people look at it.
pub const MOST_LOST: u32 = 10;

/// How the agent's run of an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub outcome: Outcome,
    pub error: Option<String>,
    pub error_code: Option<String>,
    /// `transient_upstream` or nothing.
    pub error_family: Option<String>,
    /// Its last words.
    pub text: String,
    /// It printed more before them, and that is not kept.
    pub text_is_cut: bool,
    pub files: Vec<FoundFile>,
    /// The same, with what they hold as a digest.
    pub left: Vec<OutputFile>,
    /// What changed in the workspace while it worked, though nobody at work then was allowed to change it.
    pub outside: Vec<String>,
    /// Why Bugle stopped it, if it did.
    pub stopped: Option<Stopped>,
    /// Its process was started: it may have done something.
    pub began: bool,
}

/// Why Bugle stopped an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was silent for too long, or took too long.
    Timeout,
    /// For the sake of something else: a pause, a shutdown.
    Interrupted,
}

/// What was tried before, of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tried {
    /// Attempts that count, without the one that ended.
    pub attempts: u32,
    pub repairs: u32,
    /// Attempts that the infrastructure took.
    pub lost: u32,
    /// When the first attempt began of those that follow each other: behind a pause and an answer they begin anew.
    pub since: Option<Moment>,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Of the node: pending again, or over; `awaiting_approval`: its agent asks a person what `reason` says.
    pub state: NodeState,
    /// `None`: it did what it was asked.
    pub class: Option<FailureClass>,
    pub output: Output,
    /// What was wrong, for the next attempt (`feedback`).
    pub feedback: Option<String>,
    /// The next attempt does not begin before.
    pub retry_at: Option<Moment>,
    /// Why, for people.
    pub reason: Option<String>,
    pub unmet: Vec<String>,
    /// A reviewer sends the work back.
    pub rejects: bool,
    pub tried: Tried,
}

/// Judges the end of an attempt. `chance` is between 0 and 1.
pub fn judge(node: &Node, ended: &Ended, tried: Tried, now: Moment, chance: f64) -> Judged {
    let mut output = output(ended);
    if let Some(reason) = scope::complaint(&ended.outside) {
        return out_of_bounds(output, reason, tried);
    }
    let Some((class, words)) = failure(node, ended, &output) else {
        return done(node, ended, output, tried, now, chance);
    };
    output.status = match class {
        FailureClass::VerifyFailed => "verify_failed",
        FailureClass::ContractMiss => "needs_repair",
        _ => "failed",
    }
    .to_owned();
    let failure = Failure { class, half_done: ended.began && is_cut_off(class) };
    fail(node, (failure, words), Vec::new(), output, tried, now, chance)
}

/// An attempt that did not do its work.
#[derive(Debug, Clone, Copy)]
struct Failure {
    class: FailureClass,
    /// It was cut off at any point of its work.
    half_done: bool,
}

/// Whether attempts that end so were cut off, and did not end by themselves.
const fn is_cut_off(class: FailureClass) -> bool {
    matches!(class, FailureClass::ProcessLost | FailureClass::Timeout | FailureClass::Interrupted)
}

/// However it ended, it changed what it was not to. Another attempt would hide that, so people look first.
fn out_of_bounds(output: Output, reason: String, tried: Tried) -> Judged {
    Judged {
        state: NodeState::Blocked,
        class: Some(FailureClass::ScopeViolation),
        output: Output { status: "blocked".to_owned(), ..output },
        feedback: None,
        retry_at: None,
        reason: Some(format!("{reason}; put it back or let it be, then retry the step")),
        unmet: Vec::new(),
        rejects: false,
        tried,
    }
}

/// The attempt ended well as far as its program goes.
fn done(node: &Node, ended: &Ended, mut output: Output, tried: Tried, now: Moment, chance: f64) -> Judged {
    let judged = |state, output: Output, reason: Option<String>| Judged {
        state,
        class: None,
        output,
        feedback: None,
        retry_at: None,
        reason,
        unmet: Vec::new(),
        rejects: false,
        tried: Tried { attempts: tried.attempts + 1, ..tried },
    };
    let said = output.json.as_ref().and_then(|json| json["status"].as_str()).unwrap_or_default().to_owned();
    if said == "blocked" {
        output.status = said;
        let reason = reason_in(&output).unwrap_or_else(|| "the agent says that it is blocked".to_owned());
        return judged(NodeState::Blocked, output, Some(reason));
    }
    if said == "ask" {
        output.status = said;
        let question = output.json.as_ref().and_then(|json| json["question"].as_str()).map(str::to_owned);
        let question = question.filter(|text| !text.trim().is_empty()).or_else(|| reason_in(&output));
        let question =
            question.unwrap_or_else(|| "the agent asks a person, and does not say what".to_owned());
        // What it does next depends on the answer: this was no attempt yet, and people take their time.
        let tried = Tried { since: None, ..tried };
        return Judged { tried, ..judged(NodeState::AwaitingApproval, output, Some(question)) };
    }
    if said == "skipped" {
        output.status = said;
        let reason = reason_in(&output);
        return judged(NodeState::Skipped, output, reason);
    }
    let mut unmet =
        node.output.as_ref().map(|it| contract::unmet(it, &output, &ended.files)).unwrap_or_default();
    if node.kind == Some(NodeKind::Review) {
        unmet.extend(contract::unclear(&output));
    }
    if !unmet.is_empty() {
        output.status = "needs_repair".to_owned();
        let words = format!("the output is not what was asked: {}", unmet.join("; "));
        let failure = Failure { class: FailureClass::ContractMiss, half_done: false };
        return fail(node, (failure, words), unmet, output, tried, now, chance);
    }
    let rejects = node.kind == Some(NodeKind::Review)
        && output.json.as_ref().is_some_and(|json| json["approved"] == Json::Bool(false));
    output.status = "completed".to_owned();
    let reason = if rejects { reason_in(&output) } else { None };
    Judged { rejects, ..judged(NodeState::Completed, output, reason) }
}

/// What an agent says beside its verdict.
fn reason_in(output: &Output) -> Option<String> {
    let json = output.json.as_ref()?;
    let found = ["reason", "blockedReason", "feedback", "summary"].iter().find_map(|key| json[*key].as_str());
    found.map(str::to_owned).filter(|text| !text.trim().is_empty())
}

fn fail(
    node: &Node,
    (failure, words): (Failure, String),
    unmet: Vec<String>,
    output: Output,
    tried: Tried,
    now: Moment,
    chance: f64,
) -> Judged {
    let class = failure.class;
    let is_wanted = match node.retry.as_ref().and_then(|retry| retry.on.as_ref()) {
        // What Bugle itself stopped was not the node's failure, and how often a contract is repaired it says itself.
        Some(_) if matches!(class, FailureClass::Interrupted | FailureClass::ContractMiss) => true,
        Some(classes) => classes.contains(&class) && class != FailureClass::Stopped,
        None => !class.is_terminal(),
    };
    // What is tried again because people asked for it has an end as well. What Bugle itself stopped was no loss: a run that
    // people paused ten times has lost nothing.
    let is_lost = !class.consumes_attempt()
        && !class.consumes_repair()
        && class != FailureClass::Interrupted
        && (!class.is_terminal() || is_wanted);
    let tried = Tried {
        attempts: tried.attempts + u32::from(class.consumes_attempt()),
        repairs: tried.repairs + u32::from(class.consumes_repair()),
        lost: tried.lost + u32::from(is_lost),
        ..tried
    };
    let asks = failure.half_done && node.repeatable == Some(false);
    let is_interrupted = class == FailureClass::Interrupted;
    let is_late = match (node.retry.as_ref().and_then(|retry| retry.max_elapsed_sec), tried.since) {
        (Some(most), Some(since)) if !is_interrupted => now >= since.plus(Duration::from_secs(most)),
        _ => false,
    };
    let (state, why) = match class {
        _ if asks => {
            let words = "it may have done its work, and nobody knows: look what it did, then retry it";
            (NodeState::Blocked, Some(words.to_owned()))
        }
        _ if !is_wanted => (NodeState::Failed, None),
        _ if is_late => (NodeState::Failed, Some("its time for retries is over".to_owned())),
        FailureClass::ContractMiss if tried.repairs > node.max_repairs() => {
            (NodeState::Blocked, Some(format!("repaired {} times", node.max_repairs())))
        }
        FailureClass::ContractMiss | FailureClass::Interrupted => (NodeState::Pending, None),
        _ if class.consumes_attempt() && tried.attempts >= node.max_attempts() => {
            (NodeState::Failed, Some(format!("attempt {} of {}", tried.attempts, node.max_attempts())))
        }
        _ if !class.consumes_attempt() && tried.lost > MOST_LOST => {
            (NodeState::Failed, Some(format!("lost {} times", tried.lost)))
        }
        _ => (NodeState::Pending, None),
    };
    let nth = match class {
        _ if class.consumes_attempt() => tried.attempts,
        FailureClass::ContractMiss => 0,
        _ => tried.lost,
    };
    // The time until it may go on is not the node's.
    let since = tried.since.filter(|_| !is_interrupted);
    let waits = matches!(state, NodeState::Pending) && nth > 0 && !is_interrupted;
    let backoff = node.retry.as_ref().and_then(|retry| retry.backoff);
    let retry_at = waits.then(|| now.plus(wait(backoff, class, nth, chance))).filter(|at| *at > now);
    let tells = matches!(class, FailureClass::ContractMiss | FailureClass::VerifyFailed);
    let reason = match why {
        Some(why) => format!("{words} ({why})"),
        None => words.clone(),
    };
    Judged {
        state,
        class: Some(class),
        output,
        feedback: (tells && state == NodeState::Pending).then_some(words),
        retry_at,
        reason: Some(reason),
        unmet,
        rejects: false,
        tried: Tried { since, ..tried },
    }
}

/// How long to wait before the next attempt; without a policy, what the infrastructure did gets time and the rest none.
pub fn wait(backoff: Option<Backoff>, class: FailureClass, nth: u32, chance: f64) -> Duration {
    const MOST: f64 = 86_400.0;
    let usual = Backoff {
        kind: match class.consumes_attempt() || class.consumes_repair() {
            true => BackoffKind::None,
            false => BackoffKind::Exponential,
        },
        initial_sec: None,
        max_sec: Some(60.0),
        multiplier: Some(2.5),
        jitter_sec: None,
    };
    let backoff = backoff.unwrap_or(usual);
    let initial = backoff.initial_sec.unwrap_or(2.0);
    let seconds = match backoff.kind {
        BackoffKind::None => 0.0,
        BackoffKind::Fixed => initial,
        BackoffKind::Exponential => {
            let steps = i32::try_from(nth.saturating_sub(1)).unwrap_or(i32::MAX);
            initial * backoff.multiplier.unwrap_or(2.0).powi(steps)
        }
    };
    let seconds = seconds.min(backoff.max_sec.unwrap_or(MOST)) + backoff.jitter_sec.unwrap_or(0.0) * chance;
    Duration::from_secs_f64(seconds.clamp(0.0, MOST))
}

fn output(ended: &Ended) -> Output {
    let text = ended.text.trim();
    let is_cut = ended.text_is_cut || text.len() > LONGEST_TEXT;
    Output {
        status: String::new(),
        json: json_in(text),
        text: text[..text.floor_char_boundary(LONGEST_TEXT)].to_owned(),
        files: ended.left.clone(),
        text_is_cut: is_cut,
    }
}

/// Why the attempt did not do its work; `None`: its program ended well.
fn failure(node: &Node, ended: &Ended, output: &Output) -> Option<(FailureClass, String)> {
    let code = ended.error_code.as_deref().unwrap_or_default();
    let words = ended.error.clone().unwrap_or_else(|| "the agent's run failed".to_owned());
    let class = match (ended.outcome, ended.stopped) {
        (Outcome::Succeeded, _) => {
            let said = output.json.as_ref().and_then(|json| json["status"].as_str())?;
            let is_bad = matches!(said, "failed" | "verify_failed" | "needs_repair");
            let reason = reason_in(output).unwrap_or_else(|| format!("the agent says: {said}"));
            return is_bad.then_some((FailureClass::VerifyFailed, reason));
        }
        (_, Some(Stopped::Timeout)) => {
            let (idle, total) = node.time_limits();
            let say =
                |limit: Option<Duration>| limit.map_or("none".to_owned(), |it| format!("{} s", it.as_secs()));
            let words = format!("it took too long (idle {}, in all {})", say(idle), say(total));
            return Some((FailureClass::Timeout, words));
        }
        (Outcome::TimedOut, _) => FailureClass::Timeout,
        (_, Some(Stopped::Interrupted)) => FailureClass::Interrupted,
        // The agent was paused, or its work was let go: it is given again when it can be.
        (Outcome::Cancelled, None) if is_held(ended.error.as_deref()) => FailureClass::Interrupted,
        // It waited for its turn for too long, and never began: it is given again.
        (Outcome::Cancelled, None) if code == "expired" && !ended.began => FailureClass::Interrupted,
        (Outcome::Cancelled, None) => FailureClass::Stopped,
        (Outcome::Failed, None) => match code {
            "auth_required" | "permission_blocked" | "claude_auth_required" => FailureClass::ProviderTerminal,
            "process_lost" => FailureClass::ProcessLost,
            "out_of_memory" | "adapter_failed" | "no_terminal_event" | "no_output"
                if ended.error_family.is_none() =>
            {
                FailureClass::AgentFailed
            }
            // Where it was to work is not there, or is not for it: people change that.
            "environment_not_found"
            | "environment_inactive"
            | "unsupported_environment"
            | "unsupported_adapter_environment" => FailureClass::ToolResolution,
            "lease_acquire_failed" | "transport_resolution_failed" | "workspace_realization_failed" => {
                FailureClass::EnvironmentFailed
            }
            "quota_exhausted" => FailureClass::ProviderTransient,
            _ if ended.error_family.as_deref() == Some("transient_upstream") => {
                FailureClass::ProviderTransient
            }
            _ => FailureClass::AgentFailed,
        },
    };
    Some((class, words))
}

/// The words of a stop that holds the agent's work and does not end it (D1).
fn is_held(error: Option<&str>) -> bool {
    error.is_some_and(|error| {
        error == crate::budget::crossing::STOP_WORDS || error == crate::cancel::Stop::PauseAgent.message()
    })
}

/// What an attempt is on record with (spec/automations.md 1.2).
pub fn record(judged: &Judged) -> Json {
    json!({
        "outcome": judged.state, "failureClass": judged.class, "reason": judged.reason,
        "unmetRequirements": judged.unmet,
        "consumesModelAttemptBudget": judged.state != NodeState::AwaitingApproval
            && judged.class.is_none_or(FailureClass::consumes_attempt),
        "consumesRepairBudget": judged.class.is_some_and(FailureClass::consumes_repair),
        "retryAt": judged.retry_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automation::definition::{Contract, Retry};

    fn ended(outcome: Outcome, code: &str) -> Ended {
        Ended {
            outcome,
            error: (outcome != Outcome::Succeeded).then(|| "words".to_owned()),
            error_code: Some(code.to_owned()).filter(|code| !code.is_empty()),
            error_family: None,
            text: String::new(),
            text_is_cut: false,
            files: Vec::new(),
            left: Vec::new(),
            outside: Vec::new(),
            stopped: None,
            began: true,
        }
    }

    fn says(text: &str) -> Ended {
        Ended { text: text.to_owned(), ..ended(Outcome::Succeeded, "") }
    }

    fn now() -> Moment {
        Moment::from_micros(1_000_000_000)
    }

    fn judged(node: &Node, ended: &Ended, tried: Tried) -> Judged {
        judge(node, ended, tried, now(), 0.5)
    }

    #[test]
    fn every_end_has_its_class_and_its_state() {
        use FailureClass::*;
        use NodeState::*;
        let transient = Ended {
            error_family: Some("transient_upstream".to_owned()),
            ..ended(Outcome::Failed, "adapter_failed")
        };
        let stopped = |by| Ended { stopped: Some(by), ..ended(Outcome::Cancelled, "cancelled") };
        let held = Ended {
            error: Some(crate::budget::crossing::STOP_WORDS.to_owned()),
            ..ended(Outcome::Cancelled, "cancelled")
        };
        let rows = [
            (says("done"), None, Completed),
            (says("{\"status\": \"completed\"}"), None, Completed),
            (says("{\"status\": \"skipped\"}"), None, Skipped),
            (says("{\"status\": \"blocked\", \"reason\": \"no key\"}"), None, Blocked),
            (says("{\"status\": \"ask\", \"question\": \"Which one?\"}"), None, AwaitingApproval),
            (says("{\"status\": \"failed\"}"), Some(VerifyFailed), Pending),
            (says("{\"status\": \"verify_failed\"}"), Some(VerifyFailed), Pending),
            (ended(Outcome::Failed, "adapter_failed"), Some(AgentFailed), Pending),
            (ended(Outcome::Failed, "no_output"), Some(AgentFailed), Pending),
            (ended(Outcome::Failed, "something_new"), Some(AgentFailed), Pending),
            (transient, Some(ProviderTransient), Pending),
            (ended(Outcome::Failed, "quota_exhausted"), Some(ProviderTransient), Pending),
            (ended(Outcome::Failed, "auth_required"), Some(ProviderTerminal), Failed),
            (ended(Outcome::Failed, "permission_blocked"), Some(ProviderTerminal), Failed),
            (ended(Outcome::Failed, "process_lost"), Some(ProcessLost), Pending),
            (ended(Outcome::Failed, "environment_not_found"), Some(ToolResolution), Failed),
            (ended(Outcome::Failed, "lease_acquire_failed"), Some(EnvironmentFailed), Pending),
            (ended(Outcome::TimedOut, "timeout"), Some(Timeout), Pending),
            (stopped(super::Stopped::Timeout), Some(Timeout), Pending),
            (stopped(super::Stopped::Interrupted), Some(Interrupted), Pending),
            (held, Some(Interrupted), Pending),
            (ended(Outcome::Cancelled, "cancelled"), Some(FailureClass::Stopped), Failed),
            (ended(Outcome::Cancelled, "expired"), Some(FailureClass::Stopped), Failed),
            (Ended { began: false, ..ended(Outcome::Cancelled, "expired") }, Some(Interrupted), Pending),
        ];
        for (end, class, state) in rows {
            let judged = judged(&Node::default(), &end, Tried::default());
            assert_eq!((judged.class, judged.state), (class, state), "{end:?}");
        }
    }

    #[test]
    fn what_its_scope_leaves_out_blocks_a_node_however_it_ended() {
        let stopped = Ended { stopped: Some(Stopped::Interrupted), ..ended(Outcome::Cancelled, "cancelled") };
        let lost = ended(Outcome::Failed, "process_lost");
        let retries = Node {
            retry: Some(Retry { on: Some(vec![FailureClass::ScopeViolation]), ..Retry::default() }),
            ..Node::default()
        };
        let before = Tried { attempts: 1, repairs: 1, lost: 1, since: None };
        for end in [says("done"), says("{\"status\": \"skipped\"}"), lost, stopped] {
            for node in [&Node::default(), &retries] {
                let judged = judged(node, &Ended { outside: vec!["src/a".into()], ..end.clone() }, before);
                let class = Some(FailureClass::ScopeViolation);
                assert_eq!((judged.state, judged.class), (NodeState::Blocked, class), "{end:?}");
                assert_eq!((judged.tried, judged.feedback), (before, None), "{end:?}");
                assert!(judged.reason.unwrap().contains("src/a"), "{end:?}");
            }
        }
    }

    #[test]
    fn attempts_repairs_and_losses_are_counted_apart() {
        let tried = |attempts, repairs, lost| Tried { attempts, repairs, lost, since: None };
        let node = Node {
            output: Some(Contract { sections: vec!["A".into()], ..Contract::default() }),
            ..Node::default()
        };
        let bad = ended(Outcome::Failed, "adapter_failed");
        let lost = ended(Outcome::Failed, "process_lost");
        let rows = [
            (&bad, tried(0, 0, 0), NodeState::Pending, tried(1, 0, 0)),
            (&bad, tried(2, 0, 9), NodeState::Failed, tried(3, 0, 9)),
            (&lost, tried(2, 2, 0), NodeState::Pending, tried(2, 2, 1)),
            (&lost, tried(0, 0, 10), NodeState::Failed, tried(0, 0, 11)),
        ];
        for (end, before, state, after) in rows {
            let judged = judged(&node, end, before);
            assert_eq!((judged.state, judged.tried), (state, after), "{before:?}");
        }
        let miss = says("no heading");
        for (before, state) in [(0, NodeState::Pending), (1, NodeState::Pending), (2, NodeState::Blocked)] {
            let judged = judged(&node, &miss, tried(2, before, 0));
            assert_eq!((judged.state, judged.tried), (state, tried(2, before + 1, 0)));
            assert_eq!(judged.feedback.is_some(), state == NodeState::Pending);
            assert_eq!(judged.unmet.len(), 1);
        }
    }

    #[test]
    fn the_policy_says_what_is_tried_again_and_when() {
        let policy = |retry: Retry| Node { retry: Some(retry), ..Node::default() };
        let only = policy(Retry { on: Some(vec![FailureClass::Timeout]), ..Retry::default() });
        let bad = ended(Outcome::Failed, "adapter_failed");
        assert_eq!(judged(&only, &bad, Tried::default()).state, NodeState::Failed);
        let late = Ended { stopped: Some(super::Stopped::Timeout), ..ended(Outcome::Cancelled, "") };
        assert_eq!(judged(&only, &late, Tried::default()).state, NodeState::Pending);
        let auth = ended(Outcome::Failed, "auth_required");
        let all = policy(Retry { on: Some(vec![FailureClass::ProviderTerminal]), ..Retry::default() });
        assert_eq!(judged(&all, &auth, Tried::default()).state, NodeState::Pending, "people asked for it");
        let elapsed = policy(Retry { max_elapsed_sec: Some(60), ..Retry::default() });
        let since = |seconds: i64| Tried {
            since: Some(Moment::from_micros(1_000_000_000 - seconds * 1_000_000)),
            ..Tried::default()
        };
        assert_eq!(judged(&elapsed, &bad, since(59)).state, NodeState::Pending);
        assert_eq!(judged(&elapsed, &bad, since(60)).state, NodeState::Failed);
        let paused = Ended { stopped: Some(Stopped::Interrupted), ..ended(Outcome::Cancelled, "cancelled") };
        let paused = judged(&elapsed, &paused, since(61));
        assert_eq!((paused.state, paused.tried.since), (NodeState::Pending, None), "a pause is no failure");
        let asks = judged(&elapsed, &says("{\"status\": \"ask\", \"question\": \"Which?\"}"), since(61));
        assert_eq!((asks.state, asks.tried.since), (NodeState::AwaitingApproval, None));
    }

    #[test]
    fn waits_grow_as_the_policy_says() {
        let backoff = |kind, initial, most, multiplier, jitter| {
            Some(Backoff { kind, initial_sec: initial, max_sec: most, multiplier, jitter_sec: jitter })
        };
        use BackoffKind::{Exponential, Fixed, None as Never};
        let rows = [
            (None, FailureClass::AgentFailed, 1, 0.0),
            (None, FailureClass::ProviderTransient, 1, 2.0),
            (None, FailureClass::ProviderTransient, 2, 5.0),
            (None, FailureClass::ProviderTransient, 3, 12.5),
            (None, FailureClass::ProviderTransient, 30, 60.0),
            (backoff(Never, Some(9.0), None, None, None), FailureClass::Timeout, 3, 0.0),
            (backoff(Fixed, Some(9.0), None, None, None), FailureClass::Timeout, 3, 9.0),
            (backoff(Exponential, Some(3.0), Some(20.0), None, None), FailureClass::Timeout, 2, 6.0),
            (backoff(Exponential, Some(3.0), Some(20.0), None, Some(4.0)), FailureClass::Timeout, 9, 22.0),
            (backoff(Exponential, Some(3.0), None, Some(100.0), None), FailureClass::Timeout, 4000, 86_400.0),
        ];
        for (policy, class, nth, seconds) in rows {
            assert_eq!(wait(policy, class, nth, 0.5), Duration::from_secs_f64(seconds), "{policy:?} {nth}");
        }
    }

    #[test]
    fn only_a_reviewer_sends_work_back() {
        let no = says("{\"approved\": false, \"feedback\": \"shorter\"}");
        let review = Node { kind: Some(NodeKind::Review), ..Node::default() };
        let sent = judged(&review, &no, Tried::default());
        assert!(sent.rejects && sent.state == NodeState::Completed);
        assert_eq!(sent.reason.as_deref(), Some("shorter"));
        assert!(!judged(&review, &says("{\"approved\": true}"), Tried::default()).rejects);
        assert!(!judged(&review, &says("fine"), Tried::default()).rejects);
        for words in
            ["{\"approved\": \"no\", \"feedback\": \"bad\"}", "{\"approved\": null}", "{\"approved\": 0}"]
        {
            let unclear = judged(&review, &says(words), Tried::default());
            let found = (unclear.state, unclear.class, unclear.rejects);
            assert_eq!(found, (NodeState::Pending, Some(FailureClass::ContractMiss), false), "{words}");
        }
        assert!(!judged(&Node::default(), &no, Tried::default()).rejects);
    }

    #[test]
    fn what_cannot_be_repeated_is_asked_about() {
        let once = Node { repeatable: Some(false), ..Node::default() };
        let lost = ended(Outcome::Failed, "process_lost");
        assert_eq!(judged(&once, &lost, Tried::default()).state, NodeState::Blocked);
        assert_eq!(
            judged(&once, &ended(Outcome::Failed, "adapter_failed"), Tried::default()).state,
            NodeState::Pending
        );
    }

    #[test]
    fn long_words_are_cut_and_said_to_be() {
        let judged = judged(&Node::default(), &says(&"ä".repeat(LONGEST_TEXT)), Tried::default());
        assert!(judged.output.text_is_cut && judged.output.text.len() == LONGEST_TEXT);
    }

    #[test]
    fn an_output_whose_beginning_is_lost_is_said_to_be_cut() {
        let ended = Ended { text_is_cut: true, ..says("the end of it") };
        let plain = judged(&Node::default(), &ended, Tried::default());
        assert!(plain.output.text_is_cut && plain.state == NodeState::Completed);
        let schema = Contract { schema: Some(json!({ "type": "object" })), ..Contract::default() };
        let review = Node { kind: Some(NodeKind::Review), ..Node::default() };
        for node in [Node { output: Some(schema), ..Node::default() }, review] {
            let missed = judged(&node, &ended, Tried::default());
            assert_eq!((missed.state, missed.class), (NodeState::Pending, Some(FailureClass::ContractMiss)));
            assert!(missed.reason.unwrap().contains("was cut"), "{:?}", missed.unmet);
        }
    }
}
