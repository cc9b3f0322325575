//! Figures for a monitoring system, in its text format.
//!
//! Counters are of this process: what went over HTTP. Gauges come from the engine and the store when somebody looks; the
//! ones that cost a query are looked up every five seconds at most.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::account::AccountState;
use domain::agent::AgentStatus;
use domain::automation::AutomationRunStatus;
use domain::hold::HeldReason;
use domain::run::RunStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use store::{StoreError, automations};
use tokio::time::Instant;

use crate::ApiState;
use crate::actor::Caller;
use crate::errors::{ApiError, ErrorBody};

const CACHED_FOR: Duration = Duration::from_secs(5);
/// Upper borders in seconds. A wake takes a flush, 0.2 to 4 ms; a list of a thousand runs some ten.
const LATENCIES: [f64; 12] = [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 4.0, 16.0];
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Word {
    status: &'static str,
}

/// The figures that this process counts itself.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    latencies: Family<Route, Histogram, fn() -> Histogram>,
    wakes: Family<Kind, Counter>,
    subscribers: Family<Kind, Gauge>,
    counts: tokio::sync::Mutex<Option<(Instant, Counts)>>,
}

/// What the store was asked for.
#[derive(Debug, Clone, Default)]
struct Counts {
    runs: Vec<(RunStatus, i64)>,
    agents: Vec<(AgentStatus, i64)>,
    accounts: Vec<(String, i64)>,
    automation_runs: Vec<(AutomationRunStatus, Option<HeldReason>, i64)>,
    gates: i64,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("bugle");
        let requests = Family::<Answered, Counter>::default();
        let latencies: Family<Route, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(LATENCIES));
        let wakes = Family::<Kind, Counter>::default();
        let subscribers = Family::<Kind, Gauge>::default();
        registry.register("http_requests", "Requests that were answered", requests.clone());
        registry.register("http_request_seconds", "Time until the head of the answer", latencies.clone());
        registry.register("http_wakes", "Wakes that came over HTTP, by what became of them", wakes.clone());
        registry.register("subscribers", "Open streams", subscribers.clone());
        Metrics { registry, requests, latencies, wakes, subscribers, counts: tokio::sync::Mutex::default() }
    }

    /// Counts a wake by what became of it.
    pub(crate) fn count_wake(&self, fate: &'static str) {
        self.wakes.get_or_create(&Kind { kind: fate }).inc();
    }

    /// Counts an open stream for as long as the guard lives.
    pub(crate) fn count_subscriber(&self, kind: &'static str) -> Subscriber {
        let gauge = self.subscribers.get_or_create(&Kind { kind }).clone();
        gauge.inc();
        Subscriber(gauge)
    }
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Subscriber(Gauge);

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts requests by route and status.
pub(crate) async fn count(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", |path| path.as_str()).to_owned();
    // Methods can be invented by callers; a label must not.
    let method = match request.method().as_str() {
        known @ ("GET" | "POST" | "PATCH" | "PUT" | "DELETE" | "HEAD" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let began = Instant::now();
    let answer = next.run(request).await;
    let metrics = &state.metrics;
    metrics.latencies.get_or_create(&Route { route: route.clone() }).observe(began.elapsed().as_secs_f64());
    metrics.requests.get_or_create(&Answered { method, route, status: answer.status().as_u16() }).inc();
    answer
}

/// Figures for a monitoring system.
#[utoipa::path(get, path = "/metrics", tag = "instance",
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"), (status = 403, body = ErrorBody)))]
pub(crate) async fn show(State(state): State<ApiState>, caller: Caller) -> Result<Response, ApiError> {
    // They are figures of the whole instance.
    caller.instance_admin()?;
    let counts = counts(&state).await;
    let mut text = String::new();
    let written = encode_registry(&mut text, &state.metrics.registry)
        .and_then(|()| encode_registry(&mut text, &gauges(&state, counts.as_ref())))
        .and_then(|()| encode_eof(&mut text));
    if let Err(error) = written {
        tracing::error!(%error, "cannot write the metrics");
        return Err(ApiError::internal());
    }
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

async fn counts(state: &ApiState) -> Option<Counts> {
    let mut cached = state.metrics.counts.lock().await;
    if let Some((at, counts)) = &*cached
        && at.elapsed() < CACHED_FOR
    {
        return Some(counts.clone());
    }
    let asked: Result<Counts, StoreError> = state
        .engine
        .store()
        .read(|tx| {
            Box::pin(async move {
                let runs = store::runs::count_live(tx).await?;
                let agents = store::agents::count_by_status(tx).await?;
                Ok(Counts {
                    runs,
                    agents,
                    accounts: store::accounts::count_by_state(tx).await?,
                    automation_runs: automations::runs::count_unfinished(tx).await?,
                    gates: automations::gates::count_all_pending(tx).await?,
                })
            })
        })
        .await;
    match asked {
        Ok(counts) => {
            *cached = Some((Instant::now(), counts.clone()));
            Some(counts)
        }
        Err(error) => {
            // Old figures would be taken for new ones.
            *cached = None;
            tracing::warn!(%error, "cannot count for the metrics");
            None
        }
    }
}

/// What can be said now; what the store does not answer is left out, not zero.
fn gauges(state: &ApiState, counts: Option<&Counts>) -> Registry {
    let mut registry = Registry::with_prefix("bugle");
    let mut gauge =
        |name: &str, help: &str, value: i64| registry.register(name, help, ConstGauge::new(value));
    let (running, slots) = state.engine.capacity();
    gauge("slots", "Processes this node may run", slots.into());
    gauge("slots_used", "Processes this node runs", running.into());
    let recovery = state.engine.recovery();
    gauge("recovery_done", "1 when the runs of an earlier start are taken over", recovery.done.into());
    gauge("recovery_taken_over", "Runs taken over from an earlier start", signed(recovery.taken_over));
    gauge("start_time_seconds", "When the server started", state.options.started_at.micros() / 1_000_000);
    gauge("store_up", "1 when the store answered", counts.is_some().into());
    let load = state.engine.store().load();
    let waiting = Family::<Kind, Gauge>::default();
    waiting.get_or_create(&Kind { kind: "high" }).set(signed(load.waiting_high as u64));
    waiting.get_or_create(&Kind { kind: "bulk" }).set(signed(load.waiting_bulk as u64));
    registry.register("store_waiting", "Writes that wait for their turn", waiting);
    registry.register("store_commits", "Commits that writes shared", ConstCounter::new(load.batches));
    registry.register("store_writes", "Writes that were done", ConstCounter::new(load.jobs));
    let admissions = state.engine.automation_admissions();
    let help = "Runs of automations that this server let begin";
    registry.register("automation_runs_admitted", help, ConstCounter::new(admissions.admitted));
    if let (Some(mean), Some(p95)) = (admissions.mean_wait, admissions.p95_wait) {
        let waits = Family::<Kind, Gauge<f64, AtomicU64>>::default();
        waits.get_or_create(&Kind { kind: "mean" }).set(mean.as_secs_f64());
        waits.get_or_create(&Kind { kind: "p95" }).set(p95.as_secs_f64());
        let help = "How long the last thousand of them had waited";
        registry.register("automation_run_wait_seconds", help, waits);
    }
    if let Some(counts) = counts {
        let runs = Family::<Word, Gauge>::default();
        for status in [RunStatus::Queued, RunStatus::ScheduledRetry, RunStatus::Running] {
            let count = counts.runs.iter().find(|(of, _)| *of == status).map_or(0, |(_, count)| *count);
            runs.get_or_create(&Word { status: status.as_str() }).set(count);
        }
        registry.register("runs", "Runs that are not over", runs);
        let agents = Family::<Word, Gauge>::default();
        for (status, count) in &counts.agents {
            agents.get_or_create(&Word { status: status.as_str() }).set(*count);
        }
        registry.register("agents", "Agents", agents);
        let accounts = Family::<Kind, Gauge>::default();
        for state in AccountState::ALL.iter().map(|state| state.as_str()) {
            let count = counts.accounts.iter().find(|(of, _)| of == state).map_or(0, |(_, count)| *count);
            accounts.get_or_create(&Kind { kind: state }).set(count);
        }
        registry.register("accounts", "Accounts at providers, by how they stand", accounts);
        automations_gauges(&mut registry, counts);
    }
    registry
}

fn automations_gauges(registry: &mut Registry, counts: &Counts) {
    let runs = Family::<Word, Gauge>::default();
    let open = AutomationRunStatus::ALL.iter().filter(|status| !status.is_final());
    for status in open {
        let of = counts.automation_runs.iter().filter(|(of, ..)| of == status);
        runs.get_or_create(&Word { status: status.as_str() }).set(of.map(|(.., count)| count).sum());
    }
    registry.register("automation_runs", "Runs of automations that are not over", runs);
    let queued = Family::<Kind, Gauge>::default();
    for (status, held, count) in &counts.automation_runs {
        if *status == AutomationRunStatus::Queued {
            let kind = held.map_or("none", |held| held.as_str());
            queued.get_or_create(&Kind { kind }).set(*count);
        }
    }
    let help = "Runs of automations that wait to begin, by what they wait for";
    registry.register("automation_runs_queued", help, queued);
    registry.register(
        "gates_pending",
        "Gates of automations that wait for people",
        ConstGauge::new(counts.gates),
    );
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
