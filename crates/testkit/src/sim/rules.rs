//! What is true at every instant at which all is quiet, and what is true in the end.
//!
//! The rules look at the record, at the processes, and at what the simulation itself knows: which caps were promised, what
//! the programs have really used. They know nothing of how the engine keeps them.

use std::collections::{HashMap, HashSet};

use engine::ProcessId;

use super::records::{Records, RunRow};
use crate::{Journal, Model};

/// What a policy may spend, as it was promised: by scope and metric.
pub(crate) type Promises = HashMap<(String, String, String), i64>;

/// What the simulation knows by itself.
pub(crate) struct Known<'a> {
    pub(crate) model: &'a Model,
    /// The highest cap that each scope ever had, in the unit of the counters.
    pub(crate) promises: &'a Promises,
    /// What each run has said that it cost, as far as it was told in dollars.
    pub(crate) said: &'a HashMap<String, i64>,
    /// The dearest message, and the most processes that lived at once.
    pub(crate) dearest: i64,
    pub(crate) most_alive: i64,
    /// Issues that somebody was told exist.
    pub(crate) promised_issues: &'a [String],
}

macro_rules! holds {
    ($what:expr, $($words:tt)*) => {
        if !$what {
            return Err(format!($($words)*));
        }
    };
}

/// The rules of every instant.
pub(crate) fn at_any_time(records: &Records, known: &Known<'_>) -> Result<(), String> {
    runs(records)?;
    processes(records, known)?;
    locks(records)?;
    wakes(records)?;
    money(records, known)?;
    bounds(records)?;
    let issues: HashSet<&String> = records.issues.iter().map(|issue| &issue.id).collect();
    for issue in known.promised_issues {
        holds!(issues.contains(issue), "the issue {issue} was answered, and is not there");
    }
    Ok(())
}

fn runs(records: &Records) -> Result<(), String> {
    let (mut running, mut waiting) = (HashSet::new(), HashSet::new());
    for run in &records.runs {
        let scope = (&run.agent, &run.task_key);
        match run.status.as_str() {
            "running" => holds!(running.insert(scope), "two runs of one scope are running: {run:?}"),
            "queued" | "scheduled_retry" => {
                holds!(waiting.insert(scope), "two runs of one scope wait: {run:?}");
            }
            _ => holds!(run.finished_at.is_some(), "a run is over and has no end: {run:?}"),
        }
    }
    Ok(())
}

fn processes(records: &Records, known: &Known<'_>) -> Result<(), String> {
    for (id, starts) in known.model.all_starts() {
        holds!(starts <= 1, "{id:?} was started {starts} times");
    }
    for id in known.model.alive() {
        let run = records.run(id.run.as_str());
        let Some(run) = run else { return Err(format!("a process of no run: {id:?}")) };
        holds!(run.is_running() && run.epoch == id.epoch, "{id:?} lives, and its run is {run:?}");
    }
    let mut alive: HashMap<(&str, &str), ProcessId> = HashMap::new();
    for entry in known.model.journal() {
        let (Journal::Started(id) | Journal::Ended(id)) = &entry;
        let Some(run) = records.run(id.run.as_str()) else { continue };
        let scope = (run.agent.as_str(), run.task_key.as_str());
        match entry {
            Journal::Started(id) => {
                let other = alive.insert(scope, id.clone());
                holds!(other.is_none(), "{id:?} was started beside {other:?}");
            }
            Journal::Ended(_) => drop(alive.remove(&scope)),
        }
    }
    Ok(())
}

/// At most one live run holds an issue, and the holder is running in that epoch. A lock of a run that is over is only
/// waiting to be cleared.
fn locks(records: &Records) -> Result<(), String> {
    let mut held = HashSet::new();
    for issue in &records.issues {
        let Some(holder) = &issue.lock_run else { continue };
        let Some(run) = records.run(holder) else {
            return Err(format!("{} is locked by a run that is not there: {holder}", issue.identifier));
        };
        if !run.is_running() {
            continue;
        }
        holds!(issue.lock_epoch == Some(run.epoch), "the lock is of another epoch: {issue:?}, {run:?}");
        holds!(issue.lock_agent.as_ref() == Some(&run.agent), "another agent's lock: {issue:?}, {run:?}");
        holds!(run.issue.as_ref() == Some(&issue.id), "the lock of another issue: {issue:?}, {run:?}");
        holds!(held.insert(holder), "one run holds two issues: {run:?}");
    }
    Ok(())
}

/// Every wake has one fate, which agrees with that of its run.
fn wakes(records: &Records) -> Result<(), String> {
    let mut deferred = HashSet::new();
    for wake in &records.wakes {
        let run = match &wake.run {
            Some(run) => match records.run(run) {
                Some(run) => Some(run),
                None => return Err(format!("a wake of a run that is not there: {wake:?}")),
            },
            None => None,
        };
        let agrees = match (wake.status.as_str(), run) {
            ("queued", Some(run)) => matches!(run.status.as_str(), "queued" | "scheduled_retry"),
            ("claimed", Some(run)) => run.is_running(),
            ("coalesced", _) => true,
            ("deferred_issue_execution", None) => {
                wake.issue.is_some() && deferred.insert((&wake.agent, &wake.issue))
            }
            ("skipped" | "failed" | "cancelled", None) => wake.reason.is_some(),
            ("completed" | "failed" | "cancelled" | "timed_out" | "skipped", Some(run)) => !run.is_live(),
            _ => false,
        };
        holds!(agrees, "the fate of a wake is not that of its run: {wake:?}, {run:?}");
        let is_open = matches!(wake.status.as_str(), "queued" | "claimed" | "deferred_issue_execution");
        holds!(is_open == wake.finished_at.is_none(), "a wake that is over has no end, or one has: {wake:?}");
    }
    Ok(())
}

fn money(records: &Records, known: &Known<'_>) -> Result<(), String> {
    for counter in &records.counters {
        let mine = records
            .reservations
            .iter()
            .filter(|it| it.policy == counter.policy && it.window == counter.window);
        let (mut charged, mut reserved) = (0, 0);
        for reservation in mine {
            charged += reservation.charged;
            reserved += reservation.reserved;
            let is_running = records.run(&reservation.run).is_some_and(RunRow::is_running);
            holds!(
                reservation.reserved == 0 || is_running,
                "a run that is over holds money: {reservation:?}"
            );
        }
        holds!(
            counter.spent == counter.outside + charged,
            "spent is not the sum: {counter:?}, charged {charged}"
        );
        holds!(counter.reserved == reserved, "reserved is not the sum: {counter:?}, {reserved}");
        let key = (counter.scope_type.clone(), counter.scope.clone(), counter.metric.clone());
        if let Some(cap) = known.promises.get(&key)
            && counter.metric == "billed_cents"
        {
            let most = cap + known.dearest * known.most_alive;
            holds!(counter.spent <= most, "{} spent of a cap of {cap}: {counter:?}", counter.spent);
            if counter.spent > *cap {
                // Whoever runs on has been told to stop.
                let goes_on = records.runs.iter().find(|run| {
                    let concerns = counter.scope_type == "company" || counter.scope == run.agent;
                    concerns && run.is_running() && !run.is_asked_to_stop
                });
                holds!(goes_on.is_none(), "the cap of {counter:?} is reached, and {goes_on:?} goes on");
            }
        }
    }
    let mut seen = HashSet::new();
    for (run, cost) in &records.ledger {
        holds!(seen.insert(run), "two entries of one run in the ledger: {run}");
        let said = known.said.get(run).copied().unwrap_or(0);
        let is_simple = records.run(run).is_some_and(|run| run.epoch == 1);
        holds!(!is_simple || *cost == said, "the ledger has {cost} for run {run}, which used {said}");
    }
    for (run, said) in known.said {
        let is_over = records.run(run).is_some_and(|run| !run.is_live());
        holds!(
            *said == 0 || !is_over || seen.contains(run),
            "the ledger does not know run {run}, which used {said}"
        );
    }
    Ok(())
}

/// What is done automatically is done a few times at most.
fn bounds(records: &Records) -> Result<(), String> {
    for (issue, cause, attempts) in &records.attempts {
        holds!(*attempts <= 2, "{attempts} attempts at {issue} for {cause}");
    }
    for run in &records.runs {
        holds!(run.process_loss_retries <= 1, "more than one retry of a lost process: {run:?}");
        holds!(run.retry_attempt <= 4, "more retries than there are delays: {run:?}");
        holds!(run.continuation_attempt <= 2, "more than two continuations: {run:?}");
    }
    Ok(())
}

/// What goes on or is about to; `None`: everything is at rest. A run that waits for a blocker which nobody works on is.
pub(crate) fn unrest(records: &Records) -> Option<String> {
    let waits = |run: &RunRow| {
        let is_open =
            |(blocked, status): &(String, String)| run.issue.as_ref() == Some(blocked) && status != "done";
        run.status == "queued" && records.blockers.iter().any(is_open)
    };
    let live = records.runs.iter().find(|run| run.is_live() && !waits(run));
    live.map(|run| format!("{run:?}")).or_else(|| records.orders.first().map(|order| format!("{order:?}")))
}

/// The rules of the end: everything has come to rest.
pub(crate) fn at_rest(records: &Records) -> Result<(), String> {
    if let Some(run) = unrest(records) {
        return Err(format!("at rest, and a run is live: {run}"));
    }
    if let Some(order) = records.orders.first() {
        return Err(format!("at rest, and an order was not delivered: {order:?}"));
    }
    for wake in &records.wakes {
        let is_waiting = wake.run.as_ref().and_then(|run| records.run(run)).is_some_and(RunRow::is_live);
        let is_open = matches!(wake.status.as_str(), "queued" | "claimed" | "deferred_issue_execution");
        holds!(!is_open || is_waiting, "at rest, and a wake has no fate: {wake:?}");
    }
    for issue in &records.issues {
        holds!(issue.lock_run.is_none(), "at rest, and a lock is held: {issue:?}");
        if let Some(words) = stranded(records, issue) {
            return Err(words);
        }
    }
    Ok(())
}

/// Why nobody works on an issue that is somebody's to work on, when nothing says why.
fn stranded(records: &Records, issue: &super::records::IssueRow) -> Option<String> {
    let agent = issue.assignee.as_ref()?;
    if !matches!(issue.status.as_str(), "todo" | "in_progress") {
        return None;
    }
    let waits = records.blockers.iter().any(|(blocked, status)| *blocked == issue.id && status != "done");
    let told = records.inbox.contains(&issue.id) || records.inbox.contains(agent);
    if waits || told {
        return None;
    }
    let of_issue = || records.runs.iter().filter(|run| run.issue.as_ref() == Some(&issue.id));
    let latest = |run: &&RunRow| (run.finished_at, run.created_at);
    let last = of_issue().filter(|run| run.agent == *agent).max_by_key(latest);
    let anybodys = of_issue().max_by_key(latest);
    let wake = records
        .wakes
        .iter()
        .filter(|wake| wake.issue.as_ref() == Some(&issue.id) && wake.agent == *agent)
        .max_by_key(|wake| wake.requested_at);
    // The last wake was refused, and says why; or a person ended its run. The clock jumps: the last wake counts, too.
    let is_closed = wake.is_some_and(|wake| match wake.run.as_ref().and_then(|run| records.run(run)) {
        None => {
            // What a budget, a pause or a hold turned away begins when that is over.
            let waits =
                wake.reason.as_deref().is_some_and(domain::wake::is_turned_away) && records.works(agent);
            !waits && matches!(wake.status.as_str(), "skipped" | "failed" | "cancelled")
        }
        Some(run) => run.status == "cancelled",
    });
    let is_excused = match last {
        _ if is_closed => true,
        // A person ended it, or its account is locked out until a person logs in.
        Some(run) if run.status == "cancelled" => true,
        Some(run) if run.error_code.as_deref() == Some("auth_required") => true,
        // It was looked at, if only by somebody else, and nobody said that there is work to do now.
        _ if issue.status == "todo"
            && [last, anybodys].into_iter().flatten().any(|run| run.status == "succeeded") =>
        {
            true
        }
        Some(_) | None => false,
    };
    (!is_excused).then(|| format!("stranded: {issue:?}; its last run {last:?}; its last wake {wake:?}"))
}
