//! Looks after the services of this node: starts those that are to start, asks how they are, stops those that are to
//! stop, and notes what became of them. Nobody else touches their processes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::environment::lease;
use domain::environment::runtime_service::{Health, Look, ProcessSeen, ServiceStatus, Step, next};
use domain::ids::RunId;
use futures_util::{StreamExt, stream};
use serde_json::Value as Json;
use store::runtime_services::{self as rows, RuntimeService};
use store::{StoreError, runs, workspace_operations};
use tokio::time::Instant;

use crate::processes::{ProcessError, ProcessId, Seen, beside};
use crate::runtime_services::job;
use crate::{EngineError, Inner, runtime_services};

/// As many services of a node are looked after.
const MOST: i64 = 1_000;
/// So many are looked at side by side.
const WIDTH: usize = 8;
/// Between looks while one starts or stops.
const SOON: Duration = Duration::from_millis(250);
/// Between looks at services that run.
const NOW_AND_THEN: Duration = Duration::from_secs(10);
/// From asking a service to end to killing it.
const GRACE: Duration = Duration::from_secs(10);
/// Beyond its grace, a keeper may take this long.
const KEEPER_ENDS: Duration = Duration::from_secs(5);
/// Services that ended are forgotten after this.
const KEPT_FOR: Duration = Duration::from_secs(7 * 86_400);
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
const FORGET_BATCH: i64 = 100;

/// What this server knows of the processes it looks after: handles, not truth.
#[derive(Debug, Default)]
struct Known {
    watched: BTreeMap<ProcessId, Option<Instant>>,
}

pub(crate) async fn run(engine: Arc<Inner>) {
    let mut known = Known::default();
    let mut forgot_at: Option<Instant> = None;
    loop {
        if forgot_at.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
            forgot_at = Some(Instant::now());
            if let Err(error) = forget(&engine).await {
                tracing::warn!(%error, "cannot forget services that ended long ago");
            }
        }
        let pass = pass(&engine, &mut known).await;
        if !super::rest(&engine, "services", &engine.services, pass).await {
            for id in known.watched.keys() {
                engine.processes.unwatch(id);
            }
            return;
        }
    }
}

async fn pass(engine: &Arc<Inner>, known: &mut Known) -> Result<Duration, StoreError> {
    let node = engine.claimer.node_id.clone();
    let live =
        engine.read(node, |tx, node| Box::pin(async move { rows::live(tx, &node, MOST).await })).await?;
    let here: Vec<ProcessId> = live.iter().map(runtime_services::process_of).collect();
    known.watched.retain(|id, _| {
        let stays = here.contains(id);
        if !stays {
            engine.processes.unwatch(id);
        }
        stays
    });
    for id in &here {
        if !known.watched.contains_key(id) {
            greet(engine, id).await;
            known.watched.insert(id.clone(), None);
        }
    }
    let ordered: Vec<Option<Instant>> =
        here.iter().map(|id| known.watched.get(id).copied().flatten()).collect();
    let looked: Vec<(ProcessId, Result<Tended, EngineError>)> = stream::iter(live.into_iter().zip(ordered))
        .map(|(service, ordered_at)| async move {
            let id = runtime_services::process_of(&service);
            let done = tend(engine, service, ordered_at).await;
            (id, done)
        })
        .buffer_unordered(WIDTH)
        .collect()
        .await;
    let (mut any, mut soonest) = (false, super::seldom(engine));
    for (id, done) in looked {
        match done {
            Ok(seen) => {
                any |= seen.changed;
                soonest = soonest.min(seen.again);
                if let Some(entry) = known.watched.get_mut(&id) {
                    *entry = seen.ordered_at;
                }
            }
            Err(error) => {
                tracing::warn!(service = %id.run, %error, "cannot look after a service");
                soonest = soonest.min(engine.settings.period);
            }
        }
    }
    if any {
        engine.services_changed.notify_waiters();
        engine.feed.ring();
        // What changed may have to be looked at once more.
        soonest = soonest.min(SOON);
    }
    Ok(soonest)
}

/// What came of looking after one.
struct Tended {
    changed: bool,
    again: Duration,
    /// When its keeper was told to stop it.
    ordered_at: Option<Instant>,
}

/// Has its keeper obey this server, and its folder ring.
async fn greet(engine: &Arc<Inner>, id: &ProcessId) {
    let (inner, process) = (Arc::clone(engine), id.clone());
    let bell = Arc::clone(&engine.services);
    let greeted = beside(&engine.processes, move || {
        let _ = inner.processes.watch(&process, bell);
        inner.processes.greet(&process, inner.claimer.holder)
    });
    if let Ok(Err(error)) = greeted.await
        && !matches!(error, ProcessError::NotThere)
    {
        tracing::debug!(service = %id.run, %error, "the keeper of a service was not greeted");
    }
}

async fn tend(
    engine: &Arc<Inner>,
    service: RuntimeService,
    ordered_at: Option<Instant>,
) -> Result<Tended, EngineError> {
    let id = runtime_services::process_of(&service);
    let now = engine.clock.now();
    let service = give_up_when_done_with(engine, service).await?;
    let (inner, process) = (Arc::clone(engine), id.clone());
    let probed = beside(&engine.processes, move || inner.processes.probe(&process)).await;
    let probed = probed.map_err(|error| ProcessError::Other(error.to_string()))??;
    let (seen, words) = match &probed {
        Seen::Ended(exit) if job::is_one(&service) && exit.code == Some(0) => (ProcessSeen::Done, None),
        Seen::NotStarted => (ProcessSeen::NotStarted, None),
        Seen::Alive => (ProcessSeen::Alive, None),
        Seen::Revoked => (ProcessSeen::Over, Some("it could not be started".to_owned())),
        Seen::Ended(exit) => (ProcessSeen::Over, Some(ended_as(exit))),
        Seen::Gone => (ProcessSeen::Over, Some("its process is gone".to_owned())),
        Seen::Damaged(words) => (ProcessSeen::Over, Some(words.clone())),
    };
    let exit_code = if let Seen::Ended(exit) = &probed { exit.code.map(i64::from) } else { None };
    if matches!(probed, Seen::Gone | Seen::Damaged(_)) {
        let (inner, process) = (Arc::clone(engine), id.clone());
        let swept = beside(&engine.processes, move || inner.processes.sweep(&process)).await;
        swept.map_err(|error| ProcessError::Other(error.to_string()))??;
    }
    let readiness = service.plan.get("readiness").filter(|readiness| !readiness.is_null());
    let millis =
        |key: &str| readiness.and_then(|it| it.get(key)).and_then(Json::as_u64).map(Duration::from_millis);
    let url = readiness.and_then(|it| it.get("url")).and_then(Json::as_str);
    let port = service.port.and_then(|port| u16::try_from(port).ok());
    let answered = match seen {
        ProcessSeen::Alive => runtime_services::is_well(url, port).await,
        ProcessSeen::NotStarted | ProcessSeen::Over | ProcessSeen::Done => None,
    };
    let look = Look {
        status: service.status,
        seen,
        stop_asked: service.stop_asked_at.is_some(),
        answered,
        health: service.health_status,
        age: now.since(service.started_at),
        patience: millis("withinMs").unwrap_or(Duration::from_secs(30)),
        is_idle: false,
    };
    let waits = if service.status == ServiceStatus::Starting {
        millis("everyMs").unwrap_or(SOON)
    } else {
        NOW_AND_THEN
    };
    let stays = |again| Tended { changed: false, again, ordered_at };
    match next(&look) {
        Step::Nothing => Ok(stays(waits)),
        Step::Start => match start(engine, &service, &id).await {
            Ok(()) => Ok(stays(SOON)),
            Err(words) => {
                become_(engine, &service, (ServiceStatus::Failed, Health::Unhealthy), Some(words), None).await
            }
        },
        Step::Stop => {
            let ordered_at = stop(engine, &id, ordered_at).await;
            Ok(Tended { ordered_at, ..stays(SOON) })
        }
        Step::Becomes(status, health) => {
            let words = words.filter(|_| status == ServiceStatus::Failed);
            become_(engine, &service, (status, health), words, exit_code).await
        }
    }
}

fn ended_as(exit: &crate::ExitFacts) -> String {
    match (&exit.exec_error, exit.code, exit.signal) {
        (Some(error), _, _) => format!("it could not be executed: {error}"),
        (None, Some(code), _) => format!("it ended with exit code {code}"),
        (None, None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None, None) => "it ended".to_owned(),
    }
}

/// Asks to stop a service that its policy lets go.
async fn give_up_when_done_with(
    engine: &Arc<Inner>,
    mut service: RuntimeService,
) -> Result<RuntimeService, EngineError> {
    if service.stop_asked_at.is_some() {
        return Ok(service);
    }
    let run_is_over = match service.started_by_run_id.clone() {
        None => false,
        Some(run) => {
            let status = engine.read(run, |tx, run: RunId| {
                Box::pin(async move { Ok(runs::get(tx, &run).await?.map(|run| run.status)) })
            });
            lease::is_over(status.await?)
        }
    };
    let now = engine.clock.now();
    if runtime_services::is_done_with(&service, run_is_over, now) {
        let asked = engine.write(service.id.clone(), move |tx, id| {
            Box::pin(async move { rows::ask_to_stop(tx, &id, now).await })
        });
        if asked.await? {
            service.stop_asked_at = Some(now);
        }
    }
    Ok(service)
}

async fn become_(
    engine: &Arc<Inner>,
    service: &RuntimeService,
    (status, health): (ServiceStatus, Health),
    words: Option<String>,
    exit_code: Option<i64>,
) -> Result<Tended, EngineError> {
    let now = engine.clock.now();
    let end = match job::operation_of(service) {
        Some(id) if !status.is_live() => {
            Some((id.to_owned(), job::end_of(engine, service, status, exit_code, words.as_deref()).await))
        }
        Some(_) | None => None,
    };
    tracing::info!(service = %service.service_name, %status, %health, "a service changed");
    let context = (service.clone(), words, end);
    let changed = engine.write(context, move |tx, (service, words, end)| {
        Box::pin(async move {
            let changed = rows::become_(tx, &service, status, health, words.as_deref(), now).await?;
            if let (true, Some((id, end))) = (changed, &end) {
                workspace_operations::finish(tx, id, end, now).await?;
            }
            Ok(changed)
        })
    });
    Ok(Tended { changed: changed.await?, again: SOON, ordered_at: None })
}

/// Starts the process; the error is in words, and says that nothing runs.
async fn start(engine: &Arc<Inner>, service: &RuntimeService, id: &ProcessId) -> Result<(), String> {
    let mut command = command_of(&service.plan)?;
    command.wall = job::is_one(service).then_some(job::WALL);
    let (inner, process) = (Arc::clone(engine), id.clone());
    let started = beside(&engine.processes, move || {
        let Err(error) = inner.processes.start(&process, inner.claimer.holder, &command) else {
            return Ok(());
        };
        match inner.processes.revoke(&process) {
            Ok(true) => Err(format!("cannot start it: {error}")),
            // It may run: the next look says.
            Ok(false) | Err(_) => Ok(()),
        }
    });
    let started = started.await.unwrap_or(Ok(()));
    let bell = Arc::clone(&engine.services);
    let _ = engine.processes.watch(id, bell);
    started
}

fn command_of(plan: &Json) -> Result<adapters::Command, String> {
    let argv: Vec<String> = plan
        .get("argv")
        .and_then(Json::as_array)
        .map(|words| words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    let cwd = plan.get("cwd").and_then(Json::as_str).unwrap_or_default();
    if argv.is_empty() || cwd.is_empty() {
        return Err("its record says nothing to execute".to_owned());
    }
    let env = plan.get("env").and_then(Json::as_object).into_iter().flatten();
    let env = env.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    Ok(adapters::Command {
        argv,
        cwd: cwd.into(),
        env,
        stdin: Vec::new(),
        keep_stdin_open: false,
        secrets: Vec::new(),
        grace: GRACE,
        wall: None,
        notes: Vec::new(),
        in_files: Vec::new(),
    })
}

/// Has the keeper stop it; one that does not is killed, with what it held.
async fn stop(engine: &Arc<Inner>, id: &ProcessId, ordered_at: Option<Instant>) -> Option<Instant> {
    let (inner, process) = (Arc::clone(engine), id.clone());
    let holder = engine.claimer.holder;
    match ordered_at {
        None => {
            let ordered = beside(&engine.processes, move || {
                inner.processes.stop(&process, holder, "the service is stopped")
            });
            match ordered.await {
                Ok(Ok(())) => Some(Instant::now()),
                // No socket yet, or not any more: the next look says which.
                Ok(Err(_)) | Err(_) => None,
            }
        }
        Some(at) if at.elapsed() > GRACE + KEEPER_ENDS => {
            let killed =
                beside(&engine.processes, move || inner.processes.kill_keeper(&process, holder)).await;
            if let Ok(Err(error)) = killed {
                tracing::warn!(service = %id.run, %error, "the keeper of a service cannot be killed");
            }
            Some(at)
        }
        Some(at) => Some(at),
    }
}

/// Removes services that ended long ago, with their files.
async fn forget(engine: &Arc<Inner>) -> Result<(), EngineError> {
    let before = engine.clock.now().minus(KEPT_FOR);
    let node = engine.claimer.node_id.clone();
    let ended = engine.read(node, move |tx, node| {
        Box::pin(async move { rows::ended_before(tx, &node, before, FORGET_BATCH).await })
    });
    for id in ended.await? {
        let (inner, run) = (Arc::clone(engine), RunId(id.clone()));
        let removed = beside(&engine.processes, move || inner.processes.remove(&run)).await;
        removed.map_err(|error| ProcessError::Other(error.to_string()))??;
        engine.write(id, |tx, id| Box::pin(async move { rows::remove(tx, &id).await })).await?;
    }
    Ok(())
}
