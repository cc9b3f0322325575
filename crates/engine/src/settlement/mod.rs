//! The one way out: the end of a process becomes the end of its run, with everything that follows, in one commit.
//!
//! What the end means is `domain::ending`. The run, its wakes, its events, the runtime state of the agent, the session
//! of the task, the status of the agent, the retry, and what the end means for its issue (`issue`) are written together
//! under the lease; who comes second finds the lease gone and writes nothing. Other issues that the run had taken are let
//! go behind that commit (`ties`).
//!
//! A store that is away is waited for. One that is there and refuses the record gets a shorter one ([`Record`]): the
//! outcome stays what it was, the error code says that the record is short, and no run is left running for it.

mod issue;
pub(crate) mod ties;

use std::sync::LazyLock;
use std::time::Duration;

use domain::account::said;
use domain::agent::{AgentStatus, HeartbeatPolicy};
use domain::budget::crossing::STOP_WORDS;
use domain::budget::meter::Meter;
use domain::ending::{self, Ending, FollowUp, ProcessEnd, Settlement, Verdict};
use domain::ids::AgentId;
use domain::moment::Moment;
use domain::run::{Outcome, RunStatus};
use domain::telling::Usage;
use domain::wake::{Actor, Source, TriggerDetail, WakeRequest, WakeStatus};
use domain::{limit, retry, schedule};
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::leases::{self, End, Lease};
use store::runs::{NewRunEvent, Run};
use store::runs_of_issues::{self, Leftovers};
use store::sessions::{self, RunSummary, TaskSession};
use store::{StoreError, Tx, agents, inbox, issues, runs, wakes};

use crate::accounts::{self, Parting};
use crate::activity::Scribe;
use crate::intake::{self, Admission, Chain, Fate};
use crate::processes::ExitFacts;
use crate::run_task::Tending;
use crate::unwritten::{Unwritten, in_words};
use crate::{automations, budgets, permissions, resuming, signals, workspaces};

/// What became of the settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The run is over; `queue` says that another run of the agent waits for its slot.
    Over { queue: bool },
    /// The run goes on with a second process.
    StartFresh,
    /// The record asks to stop the run, which was not known when the end was judged: it is to be judged again.
    AskedToStop(String),
    /// Somebody else holds the lease.
    Stale,
    /// The server leaves before it could be written.
    Leaving,
}

/// How much of the end is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    Whole,
    /// Nothing of what the program said: no output, no usage, no session. The follow-up and one event stay.
    Short,
    /// The end of the run, of its wakes and of the agent's work on it, and nothing beside: no event, no follow-up.
    Bare,
}

/// Everything that the transaction needs.
#[derive(Clone)]
struct Closing {
    record: Record,
    run: Run,
    lease: Lease,
    end: End,
    events: Vec<NewRunEvent<'static>>,
    settlement: Settlement,
    summary: RunSummary,
    session: Option<TaskSession>,
    /// The session it asked for, when that turned out to be gone.
    gone: Option<(&'static str, String)>,
    follow_up: Option<(WakeRequest, Admission)>,
    /// People were shown something of the run that is over with it.
    shown: bool,
    /// Approvals of permissions that may still wait, with who takes them back.
    asked: Option<(Scribe, Vec<String>)>,
    /// What its issue is told of it; `None`: it has none.
    work: Option<Box<issue::Work>>,
    /// What the program said it used, and what its log came to.
    spent: (Option<Usage>, Meter),
    /// What the end says of the account; `None`: there is none that is known.
    parting: Option<Parting>,
}

/// What became of the write.
enum Written {
    /// `waiting`: agents with runs that may have waited for the issue.
    Over {
        left: Leftovers,
        waiting: Vec<AgentId>,
        charged: budgets::Charged,
    },
    AskedToStop(String),
    Stale,
}

/// Settles the end of a process.
pub(crate) async fn settle(task: &mut Tending<'_>, process: ProcessEnd, exit: Option<&ExitFacts>) -> Settled {
    let adapter = task.adapter();
    // Read once: what is judged by it and what is written because of it must be the same.
    let stop_asked = task.stop_words();
    let knows_of_stop = stop_asked.is_some();
    let has_terminal_event = adapter.is_some_and(|adapter| adapter.has_terminal_event());
    let ending = Ending {
        process,
        told: task.account.told.clone(),
        has_terminal_event,
        expects_output: has_terminal_event && task.agent.adapter_type != "http",
        resuming: task.run.session_before.is_some(),
        fresh_start_used: task.run.fresh_start_used,
        stop_asked,
        done_before_stop: task.account.done_before_stop,
        repeatable: adapter.is_some_and(|adapter| adapter.is_repeatable(&task.agent.adapter_config))
            && !automations::is_never_repeated(&task.run),
        process_loss_retries: task.run.process_loss_retries,
    };
    let gone = task.run.session_before.clone().filter(|_| ending.found_session_gone());
    let gone = adapter.map(|adapter| adapter.kind()).zip(gone);
    let mut settlement = match ending::settle(&ending) {
        Verdict::StartFresh => return Settled::StartFresh,
        Verdict::Over(settlement) => settlement,
    };
    workspaces::outputs::capture(task.engine, &task.run, &task.lease).await;
    let parting = part(task, (&ending, &mut settlement), exit);
    let mut closing = closing(task, settlement, exit);
    closing.parting = parting;
    closing.end.knows_of_stop = knows_of_stop;
    closing.gone = gone;
    let outcome = closing.settlement.outcome;
    let written = loop {
        let now = task.engine.clock.now();
        let context = closing.clone();
        let tried =
            task.engine.write_patiently(context, move |tx, closing| Box::pin(write(tx, closing, now))).await;
        match tried {
            Ok(written) => break written,
            Err(Unwritten::Leaving) => return Settled::Leaving,
            Err(Unwritten::Refused(error)) => {
                let words = in_words(&error);
                tracing::error!(run = %task.run.id, record = ?closing.record, %words, "the store refuses the end of the run");
                task.say_trouble(words.clone());
                if closing.record == Record::Bare {
                    // There is nothing shorter: somebody has to mend the store, and may take the time it takes.
                    tokio::select! {
                        biased;
                        () = task.engine.leaving.cancelled() => return Settled::Leaving,
                        () = tokio::time::sleep(REFUSED_AGAIN) => {}
                    }
                }
                closing = closing.shorter(&words);
            }
        }
    };
    match written {
        Written::Stale => Settled::Stale,
        Written::AskedToStop(words) => Settled::AskedToStop(words),
        Written::Over { left, waiting, charged } => {
            task.engine.after_charge(charged);
            if task.stop_words().is_some_and(|words| words == STOP_WORDS) {
                // Its work may have been let go while it was being stopped.
                task.engine.budgets.ring();
            }
            tracing::info!(run = %task.run.id, %outcome, "run settled");
            task.engine.feed.ring();
            task.engine.housekeeping.notify_one();
            task.engine.retries.notify_one();
            task.engine.accounts.notify_one();
            task.engine.orders_bell();
            task.engine.automations_bell();
            task.engine.stranded.notify_one();
            task.engine.environments.notify_one();
            task.engine.services.notify_one();
            for agent in waiting {
                task.engine.doorbell.ring(&agent);
            }
            if left.ties {
                ties::loosen(task).await;
            }
            Settled::Over { queue: left.queue }
        }
    }
}

/// What the end says of the account that the run worked on, and what follows for its sake.
fn part(
    task: &Tending<'_>,
    (ending, settlement): (&Ending, &mut Settlement),
    exit: Option<&ExitFacts>,
) -> Option<Parting> {
    let credential = task.engine.keyring.of(&task.agent)?;
    let said = said::read(ending, settlement);
    settlement.follow_up = said.follow_up(settlement.follow_up, ending.stop_asked.is_some());
    let ended_at = exit.and_then(|exit| exit.ended_at);
    let said = (said, settlement.error.as_deref());
    Some(Parting::of(&task.engine.keyring, &credential, said, ended_at))
}

/// Beside the outcome of a run whose record is short.
const REFUSED: &str = "settlement_refused";
/// Between tries when the store refuses even the shortest record.
const REFUSED_AGAIN: Duration = Duration::from_secs(5);

impl Closing {
    /// The same end with less beside it, because the store refused it with these words.
    fn shorter(self, words: &str) -> Closing {
        let (error, code) = (&self.settlement.error, &self.settlement.error_code);
        let payload = json!({
            "status": self.end.outcome, "exitCode": self.end.exit_code, "signal": self.end.signal,
            "error": error, "errorCode": code, "followUp": self.settlement.follow_up, "refused": words,
        });
        let event = NewRunEvent {
            event_type: "lifecycle",
            stream: Some("system"),
            level: "error",
            message: "the store refused the full record of this end; this is what it took",
            payload: Some(payload),
        };
        let mut told = format!("the store refused the full record of this end ({words})");
        if let Some(error) = error {
            told.push_str("; the end itself: ");
            told.push_str(error);
        }
        let is_whole = self.record == Record::Whole;
        let events = if is_whole { vec![event] } else { Vec::new() };
        let end = End {
            error: Some(told.clone()),
            error_code: Some(REFUSED.to_owned()),
            usage: None,
            result: Some(json!({ "stopReason": self.settlement.stop_reason, "errorCode": code })),
            session_after: None,
            session_note: None,
            stdout_excerpt: None,
            stderr_excerpt: None,
            events: i64::from(is_whole),
            ..self.end
        };
        let summary = RunSummary {
            error: Some(told),
            session_id: None,
            input_tokens: 0,
            cached_input_tokens: 0,
            output_tokens: 0,
            cost_micros: 0,
            ..self.summary
        };
        Closing {
            record: if is_whole { Record::Short } else { Record::Bare },
            end,
            events,
            summary,
            session: None,
            work: self.work,
            asked: if is_whole { self.asked } else { None },
            follow_up: if is_whole { self.follow_up } else { None },
            ..self
        }
    }
}

fn closing(task: &mut Tending<'_>, settlement: Settlement, exit: Option<&ExitFacts>) -> Closing {
    let progress = task.account.progress();
    let told = &task.account.told;
    let outcome = settlement.outcome;
    let mut events = task.events.clone();
    let level = if outcome == Outcome::Succeeded { "info" } else { "error" };
    events.push(NewRunEvent {
        event_type: "lifecycle",
        stream: Some("system"),
        level,
        message: match outcome {
            Outcome::Succeeded => "run succeeded",
            Outcome::Failed => "run failed",
            Outcome::Cancelled => "run cancelled",
            Outcome::TimedOut => "run timed_out",
        },
        payload: Some(json!({
            "status": outcome, "exitCode": exit.and_then(|exit| exit.code), "errorCode": settlement.error_code,
            "error": settlement.error, "warnings": settlement.warnings, "followUp": settlement.follow_up,
            "survivorsKilled": exit.map(|exit| exit.survivors_killed),
        })),
    });
    let used = task.account.used();
    let usage = used.clone().unwrap_or_default();
    // Far above anything real, and far enough below the end of the number for sums over thousands of runs.
    const MOST: i64 = 1_000_000_000_000_000;
    let count = |tokens: u64| i64::try_from(tokens).unwrap_or(MOST).min(MOST);
    let now = task.engine.clock.now();
    let follow_up = follow_up(task, &settlement, now);
    if settlement.follow_up == FollowUp::TransientRetry && follow_up.is_none() {
        static EXHAUSTED: LazyLock<String> = LazyLock::new(retry::exhausted);
        let payload = json!({
            "retryReason": "transient_failure", "scheduledRetryAttempt": task.run.retry_attempt,
            "maxAttempts": retry::DELAYS.len(),
        });
        events.push(signals::lifecycle("warn", &EXHAUSTED, Some(payload)));
    }
    if let Some((asked, answered)) = task.other_session() {
        let payload = json!({ "asked": asked, "answered": answered });
        events.push(signals::lifecycle(
            "warn",
            "another session answered than the one asked for",
            Some(payload),
        ));
    }
    let result = result(task, &settlement, exit);
    let work = issue::Work::of(task, &result, settlement.plan_only, settlement.error.as_deref());
    let session = told.session.clone().map(|session_id| TaskSession {
        id: domain::ids::mint(now, task.engine.dice.bytes()),
        company_id: task.run.company_id.clone(),
        agent_id: task.run.agent_id.clone(),
        adapter_type: task.agent.adapter_type.clone(),
        task_key: task.run.task_key.clone(),
        params: Some(task.session_params(&session_id)),
        session_id,
        last_run_id: Some(task.run.id.clone()),
        last_error: settlement.error.clone(),
        created_at: now,
        updated_at: now,
    });
    Closing {
        record: Record::Whole,
        end: End {
            outcome,
            error: settlement.error.clone(),
            error_code: settlement.error_code.clone(),
            exit_code: exit.and_then(|exit| exit.code).map(i64::from),
            signal: exit.and_then(|exit| exit.signal).map(signal_name),
            usage: task.with_session(progress.usage),
            result: Some(result),
            session_after: progress.session,
            session_note: told.session_note.clone(),
            log_offset: progress.log_offset,
            log_bytes: exit.map(|exit| count(exit.log_bytes)),
            log_sha256: exit.map(|exit| exit.log_sha256.clone()),
            last_output_at: progress.last_output_at,
            last_output_seq: progress.last_output_seq,
            last_output_stream: progress.last_output_stream,
            last_output_bytes: progress.last_output_bytes,
            stdout_excerpt: task.account.stdout_tail.text(),
            stderr_excerpt: task.account.stderr_tail.text(),
            process_pid: progress.process_pid,
            process_group_id: progress.process_group_id,
            process_started_at: progress.process_started_at,
            finished_at: ended_at(task.run.started_at, exit.and_then(|exit| exit.ended_at), now),
            knows_of_stop: false,
            events: count(events.len() as u64),
        },
        summary: RunSummary {
            run_id: task.run.id.clone(),
            status: outcome.status(),
            error: settlement.error.clone(),
            session_id: told.session.clone(),
            input_tokens: count(usage.input_tokens),
            cached_input_tokens: count(usage.cached_input_tokens),
            output_tokens: count(usage.output_tokens),
            cost_micros: usage.cost_micros.unwrap_or(0).clamp(0, MOST),
        },
        follow_up,
        work: work.map(Box::new),
        shown: task.has_shown(),
        asked: task.waiting_approvals(),
        spent: (used, task.account.meter),
        parting: None,
        run: task.run.clone(),
        lease: task.lease.clone(),
        events,
        settlement,
        session,
        gone: None,
    }
}

/// When the process ended by its keeper's record, which may be long before a server was there to settle it. Another
/// clock, or one that was set, must not end a run before it began or in the future.
fn ended_at(started: Option<Moment>, ended: Option<Moment>, now: Moment) -> Option<Moment> {
    ended.filter(|at| *at <= now && started.is_none_or(|started| started <= *at))
}

/// `resultJson` (spec/heartbeat.md 4.13).
fn result(task: &Tending<'_>, settlement: &Settlement, exit: Option<&ExitFacts>) -> Json {
    let told = &task.account.told;
    let mut result: Map<String, Json> =
        match told.terminals.first().and_then(|terminal| terminal.json.as_ref()) {
            Some(Json::Object(map)) => map.clone(),
            Some(other) => Map::from_iter([("result".to_owned(), other.clone())]),
            None => Map::new(),
        };
    let limit = limit::of(&task.agent.adapter_type, &task.agent.adapter_config);
    // What the program calls its summary itself stays; ours is for results that have none.
    let has_own = result.get("summary").and_then(Json::as_str).is_some_and(|text| !text.trim().is_empty());
    let summary =
        told.terminals.first().and_then(|t| t.summary.clone()).or_else(|| told.last_message.clone());
    let summary = summary.filter(|_| !has_own);
    let mut put = |key: &str, value: Json| {
        if !value.is_null() {
            result.insert(key.to_owned(), value);
        }
    };
    put("stopReason", json!(settlement.stop_reason));
    put("effectiveTimeoutSec", json!(limit.seconds));
    put("effectiveTimeoutMs", if limit.in_millis { json!(limit.seconds * 1000.0) } else { Json::Null });
    put("timeoutConfigured", json!(limit.seconds > 0.0));
    put("timeoutSource", json!(if limit.is_configured { "config" } else { "default" }));
    put("timeoutFired", json!(settlement.outcome == Outcome::TimedOut));
    put("summary", json!(summary.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())));
    put("errorFamily", json!(settlement.family));
    put("retryNotBefore", json!(settlement.not_before));
    put("transientRetryNotBefore", json!(settlement.not_before));
    put("warnings", if settlement.warnings.is_empty() { Json::Null } else { json!(settlement.warnings) });
    put("stdoutIsCut", if task.account.stdout_tail.is_cut() { json!(true) } else { Json::Null });
    put("planOnly", if settlement.plan_only { json!(true) } else { Json::Null });
    if let Some(exit) = exit {
        put("endedBy", json!(exit.by));
        put("containment", json!(exit.containment));
        put("cpuMs", json!(exit.cpu_micros / 1000));
        put("peakMemoryBytes", json!(exit.peak_memory_bytes));
        put("survivorsKilled", json!(exit.survivors_killed));
        put("leftBehind", if exit.left_behind.is_empty() { Json::Null } else { json!(exit.left_behind) });
        put("droppedLogBytes", if exit.dropped_bytes == 0 { Json::Null } else { json!(exit.dropped_bytes) });
    }
    Json::Object(result)
}

/// The wake that carries the work on, with the ids of its admission.
fn follow_up(task: &Tending<'_>, settlement: &Settlement, now: Moment) -> Option<(WakeRequest, Admission)> {
    let run = &task.run;
    let mut context = run.context.as_object().cloned().unwrap_or_default();
    let (reason, chain) = match settlement.follow_up {
        FollowUp::Nothing => return None,
        FollowUp::ProcessLossRetry => {
            context.insert("retryReason".into(), json!("process_lost"));
            let retries = run.process_loss_retries + 1;
            (
                "process_lost_retry",
                Chain {
                    process_loss_retries: retries,
                    retry_reason: Some("process_lost"),
                    ..Chain::default()
                },
            )
        }
        FollowUp::AccountRetry => {
            // It waits in the queue for its account, and is no attempt: the count stays.
            context.insert("retryReason".into(), json!("transient_failure"));
            context.insert("errorFamily".into(), json!(settlement.family));
            context.insert("transientRetryNotBefore".into(), json!(settlement.not_before));
            let chain = Chain {
                retry_attempt: run.retry_attempt,
                retry_reason: Some("transient_failure"),
                ..Chain::default()
            };
            ("transient_failure_retry", chain)
        }
        FollowUp::TransientRetry => {
            let jitter = task.engine.dice.fraction();
            let retry = retry::plan(run.retry_attempt, jitter, settlement.not_before, now)?;
            context.insert("retryReason".into(), json!("transient_failure"));
            context.insert("errorFamily".into(), json!(settlement.family));
            if task.agent.adapter_type == "codex_local" {
                let fallback = retry::codex_fallback(retry.attempt);
                context.insert("codexTransientFallbackMode".into(), json!(fallback));
            }
            context.insert("scheduledRetryAttempt".into(), json!(retry.attempt));
            context.insert("scheduledRetryAt".into(), json!(retry.due_at));
            context.insert("transientRetryNotBefore".into(), json!(settlement.not_before));
            let chain = Chain {
                retry_attempt: retry.attempt,
                retry_reason: Some("transient_failure"),
                retry_at: Some(retry.due_at),
                ..Chain::default()
            };
            ("transient_failure_retry", chain)
        }
    };
    context.insert("wakeReason".into(), json!(reason));
    context.insert("retryOfRunId".into(), json!(run.id));
    if !run.task_key.is_empty() {
        context.insert("taskKey".into(), json!(run.task_key));
    }
    let mut payload = Map::from_iter([("retryOfRunId".to_owned(), json!(run.id))]);
    if let Some(issue) = &run.issue_id {
        payload.insert("issueId".into(), json!(issue));
    }
    let request = WakeRequest {
        source: Source::Automation,
        trigger_detail: Some(TriggerDetail::System),
        reason: Some(reason.to_owned()),
        payload,
        context,
        idempotency_key: None,
        body_hash: String::new(),
        actor: Actor::system("settlement"),
        carries_on: true,
    };
    // The slot of this run is free only after the commit: the dispatcher claims the follow-up.
    let admission = task
        .engine
        .admission(task.engine.settings.max_runs, Chain { retry_of: Some(run.id.clone()), ..chain });
    Some((request, admission))
}

/// Writes the end, and says what is left for others.
async fn write(tx: &mut Tx<'_>, closing: Closing, now: Moment) -> Result<Written, StoreError> {
    let Closing {
        record,
        run,
        lease,
        mut end,
        events,
        settlement,
        summary,
        session,
        gone,
        follow_up,
        work,
        shown,
        asked,
        spent,
        parting,
    } = closing;
    let Some(agent) = agents::lock(tx, &run.agent_id).await? else { return Ok(Written::Stale) };
    // Behind the agent and before all else (D15): whoever wakes agents of an automation run comes the same way.
    automations::agent_run_over(tx, &run, now).await?;
    let issue = match &work {
        Some(work) => issues::lock(tx, &work.issue).await?,
        None => None,
    };
    let mut follow_up = follow_up;
    if let (Some(issue), Some(_), FollowUp::ProcessLossRetry) = (&issue, &follow_up, settlement.follow_up)
        && holds_lease(tx, &lease).await?
        && !issue::may_replace(tx, issue, now).await?
    {
        follow_up = None;
        end.error = end.error.map(|error| error.replace(RETRYING, ""));
    }
    let Some(last) = leases::settle(tx, &lease, &end, now).await? else {
        return Ok(match leases::stop_words(tx, &lease).await? {
            Some(words) if !end.knows_of_stop => Written::AskedToStop(words),
            Some(_) | None => Written::Stale,
        });
    };
    let held_lock = match &issue {
        Some(issue) => issue::let_go(tx, issue, &lease).await?,
        None => false,
    };
    wakes::finish(tx, &run.id, WakeStatus::of(end.outcome), end.error.as_deref(), now).await?;
    permissions::take_back_all(tx, asked, "the run is over").await?;
    let status = rest(tx, &agent, end.outcome, now).await?;
    // Behind the run, and before the counters of budgets (D15).
    let of_account = match &parting {
        Some(parting) if record != Record::Bare => accounts::ended(tx, &run, parting, now).await?,
        Some(_) | None => None,
    };
    // The counters of budgets are locked before that of events (D15). What the program said is not looked at any more when
    // the store refused it; what it was charged so far stands.
    let charged = match record {
        Record::Whole => budgets::settle(tx, &run, spent.0.as_ref(), spent.1, now).await?,
        Record::Short | Record::Bare => budgets::release(tx, &run.id, now).await?,
    };
    let ended = Run {
        status: end.outcome.status(),
        error: end.error.clone(),
        error_code: end.error_code.clone(),
        finished_at: Some(end.finished_at.unwrap_or(now)),
        result: end.result.clone(),
        ..run.clone()
    };
    if record != Record::Bare {
        let owner = (&run.company_id, &run.agent_id, &run.id);
        for (seq, event) in (last - end.events + 1..).zip(events) {
            signals::run_event(tx, owner, seq, event, now).await?;
        }
        signals::run_status(tx, &ended, now).await?;
        tell_rest(tx, &agent, status, end.outcome, now).await?;
        sessions::add_run(tx, (&run.company_id, &run.agent_id, &agent.adapter_type), &summary, now).await?;
    }
    if let Some(told) = of_account {
        accounts::tell(tx, told, None, now).await?;
    }
    if let Some(session) = session {
        sessions::save(tx, &session).await?;
    }
    if let Some((kind, gone)) = gone {
        resuming::mark_gone(tx, &run, kind, &gone, now).await?;
    }
    if shown {
        inbox::resolve_of(tx, run.id.as_str(), None, "run_ended", now).await?;
    }
    let retried = follow_up.is_some();
    if let Some((request, admission)) = follow_up {
        let retry_at = admission.chain.retry_at;
        let fate = intake::admit(tx, &agent, &request, &Admission { now, ..admission }).await?;
        // One that joined a run which waits already comes with that run.
        if let Fate::Queued { run: next, .. } = &fate {
            automations::carried_on(tx, &run, &next.id).await?;
            tell_retry(tx, &run, settlement.follow_up, retry_at, now).await?;
        }
    }
    if let (Some(work), Some(issue)) = (work, &issue) {
        let ended = issue::Ended {
            run: &ended,
            agent: &agent,
            issue,
            outcome: end.outcome,
            stop_asked: end.knows_of_stop,
            retried,
        };
        match record {
            Record::Whole => issue::settle(tx, &ended, held_lock, *work, now).await?,
            Record::Short | Record::Bare => issue::settle_shortly(tx, &ended, now).await?,
        }
    }
    let waiting = match &issue {
        Some(issue) => ties::waiting(tx, &issue.id).await?,
        None => Vec::new(),
    };
    let left = runs_of_issues::leftovers(tx, &agent.id, &run.id).await?;
    Ok(Written::Over { left, waiting, charged })
}

/// What the error of a lost process says when another one takes its place.
const RETRYING: &str = "; retrying once";

/// The lease is still ours, and nobody asked to stop the run.
pub(crate) async fn holds_lease(tx: &mut Tx<'_>, lease: &Lease) -> Result<bool, StoreError> {
    // Locked: what is counted because of this answer must not be undone by a stop that comes meanwhile.
    Ok(owned(tx, lease).await?.is_some_and(|run| run.stop_asked_at.is_none()))
}

/// The run of a lease, locked, while it is the lease's: whoever writes for a run writes behind this.
pub(crate) async fn owned(tx: &mut Tx<'_>, lease: &Lease) -> Result<Option<Run>, StoreError> {
    let is_its = |run: &Run| {
        run.status == RunStatus::Running
            && run.lease_epoch == lease.epoch
            && run.lease_holder == Some(lease.holder)
    };
    Ok(runs::lock(tx, &lease.run).await?.filter(is_its))
}

/// The agent after one of its runs: still running, at rest, or in error; its timer counts from here.
async fn rest(
    tx: &mut Tx<'_>,
    agent: &Agent,
    outcome: Outcome,
    now: Moment,
) -> Result<AgentStatus, StoreError> {
    let status = if runs::count_running(tx, &agent.id).await? > 0 {
        AgentStatus::Running
    } else {
        match outcome {
            Outcome::Succeeded | Outcome::Cancelled => AgentStatus::Idle,
            Outcome::Failed | Outcome::TimedOut => AgentStatus::Error,
        }
    };
    agents::mark_rested(tx, &agent.id, status, now).await?;
    if let Some(due) = agent.next_timer_at {
        let policy = HeartbeatPolicy::read(&agent.runtime_config, &agent.adapter_type);
        agents::advance_timer(tx, &agent.id, due, schedule::next_due(agent.status, &policy, now)).await?;
    }
    Ok(status)
}

async fn tell_rest(
    tx: &mut Tx<'_>,
    agent: &Agent,
    status: AgentStatus,
    outcome: Outcome,
    now: Moment,
) -> Result<(), StoreError> {
    if agent.status.is_invokable() {
        let owner = (&agent.company_id, &agent.id);
        signals::agent_status(tx, owner, status.as_str(), Some(outcome.as_str()), Some(now), now).await?;
    }
    Ok(())
}

async fn tell_retry(
    tx: &mut Tx<'_>,
    run: &Run,
    follow_up: FollowUp,
    retry_at: Option<Moment>,
    now: Moment,
) -> Result<(), StoreError> {
    let seq = runs::draw_seq(tx, &run.id, 1).await?;
    let message = match follow_up {
        FollowUp::ProcessLossRetry => "a new run replaces the lost process",
        FollowUp::TransientRetry => "a retry is scheduled",
        FollowUp::AccountRetry => "a new run goes on when the account works again",
        FollowUp::Nothing => return Ok(()),
    };
    let event = signals::lifecycle(
        "warn",
        message,
        Some(json!({ "retryReason": follow_up, "scheduledRetryAt": retry_at })),
    );
    signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), seq, event, now).await
}

/// The name of a signal, as clients know it.
fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        _ => return format!("SIG{number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ended_when_its_process_did_unless_the_clock_was_set_meanwhile() {
        let at = Moment::from_micros;
        for (started, ended, expected) in [
            (Some(at(10)), Some(at(15)), Some(at(15))),
            (None, Some(at(15)), Some(at(15))),
            (Some(at(10)), Some(at(9)), None),
            (Some(at(10)), Some(at(21)), None),
            (Some(at(10)), None, None),
        ] {
            assert_eq!(ended_at(started, ended, at(20)), expected);
        }
    }

    #[test]
    fn signals_have_their_names() {
        assert_eq!(signal_name(9), "SIGKILL");
        assert_eq!(signal_name(34), "SIG34");
    }
}
