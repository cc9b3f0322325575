//! The instance itself: health, audit chain, backups, and the description of this API.

use std::path::PathBuf;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use domain::access::Actor;
use domain::access::credential::Mode;
use domain::moment::Moment;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use store::audit::{self, Break, BrokenLink, Readable};
use store::audit_file::{End, LastLine, Line, StoppedLine};
use utoipa::ToSchema;

use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody, broken_record};
use crate::paging::Asked;
use crate::shape::instance::{
    AuditHead, AuditVerdict, Backup, Capacity, Features, Health, PublicHealth, StoreHealth, Unhealthy,
};

/// A store that takes longer to answer is taken for dead.
const PING: Duration = Duration::from_secs(2);
/// Records of the audit chain in one look.
const EXPORT_PAGE: i64 = 500;

/// Whether the instance works. In `authenticated` mode who has not said who they are hears little more than that.
#[utoipa::path(get, path = "/health", tag = "instance",
    responses((status = 200, body = Health), (status = 503, body = Unhealthy)))]
pub(crate) async fn health(State(state): State<ApiState>, caller: Caller) -> Response {
    let (engine, options) = (&state.engine, &state.options);
    let store = engine.store();
    match tokio::time::timeout(PING, store.ping()).await {
        Ok(Ok(())) => {}
        failed => {
            if let Ok(Err(error)) = failed {
                tracing::warn!(error = &error as &dyn std::error::Error, "the store does not answer");
            }
            let unhealthy = Unhealthy {
                status: "unhealthy",
                version: options.version.clone(),
                error: "database_unreachable",
            };
            return (StatusCode::SERVICE_UNAVAILABLE, Json(unhealthy)).into_response();
        }
    }
    let is_authenticated = options.mode == Mode::Authenticated;
    let is_pending = is_authenticated && engine.needs_first_admin().await.unwrap_or(false);
    let bootstrap_status = if is_pending { "bootstrap_pending" } else { "ready" };
    let bootstrap_invite_active = is_pending && options.bootstrap_token.is_some();
    if *caller.who() == Actor::Nobody {
        let deployment_mode = options.mode.as_str();
        let public =
            PublicHealth { status: "ok", deployment_mode, bootstrap_status, bootstrap_invite_active };
        return Json(public).into_response();
    }
    let ending = store.read(|tx| Box::pin(async move { audit::ending(tx).await })).await;
    let audit_broken = ending.ok().and_then(Result::err).map(Into::into);
    let (running, slots) = engine.capacity();
    let load = store.load();
    Json(Health {
        status: "ok",
        version: options.version.clone(),
        deployment_mode: options.mode.as_str(),
        // In authenticated mode any host name is answered to.
        deployment_exposure: if is_authenticated { "public" } else { "private" },
        auth_ready: true,
        bootstrap_status,
        bootstrap_invite_active,
        features: Features { company_deletion_enabled: true },
        started_at: options.started_at,
        recovery: engine.recovery().into(),
        capacity: Capacity { running, slots },
        store: StoreHealth {
            kind: if store.is_postgres() { "postgres" } else { "sqlite" },
            waiting: load.waiting_high + load.waiting_bulk,
        },
        audit_broken,
    })
    .into_response()
}

/// The end of the audit chain, to be kept elsewhere.
#[utoipa::path(get, path = "/audit/head", tag = "instance", responses((status = 200, body = AuditHead)))]
pub(crate) async fn audit_head(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<Json<AuditHead>, ApiError> {
    caller.instance_admin()?;
    let head = state.engine.store().read(|tx| Box::pin(async move { audit::head(tx).await })).await?;
    Ok(Json(AuditHead { seq: head.seq, hash: head.hash }))
}

/// Walks along the whole audit chain; with `seq` and `hash`, compares it with a head that was kept.
#[utoipa::path(get, path = "/audit/verify", tag = "instance",
    params(("seq" = Option<i64>, Query), ("hash" = Option<String>, Query)),
    responses((status = 200, body = AuditVerdict), (status = 400, body = ErrorBody)))]
pub(crate) async fn audit_verify(
    State(state): State<ApiState>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<AuditVerdict>, ApiError> {
    caller.instance_admin()?;
    let exported = match (asked.get("seq").map(str::parse::<i64>), asked.get("hash")) {
        (None, None) => None,
        (Some(Ok(seq)), Some(hash)) if seq >= 0 => {
            Some(audit::AuditHead { seq, hash: hash.to_ascii_lowercase() })
        }
        _ => {
            let text = "A kept head has both seq and hash";
            return Err(ApiError::bad_request("bad_query", text).hint("use what GET /api/audit/head said"));
        }
    };
    let report = state
        .engine
        .store()
        .read(move |tx| {
            let exported = exported.clone();
            Box::pin(async move { audit::verify(tx, exported.as_ref()).await })
        })
        .await?;
    Ok(Json(report.into()))
}

/// The audit chain as JSON lines, oldest first: each record with the hash of the one before it, and a last line that says
/// where it ends. `since` and `until` are ISO 8601 times. `bugle audit verify --file` checks it without a server.
///
/// Refused where the end of the chain is not known. What cannot be read ends it early: the last line is then
/// `{"stopped": {seq, why}}`.
#[utoipa::path(get, path = "/audit/export", tag = "instance",
    params(("since" = Option<String>, Query), ("until" = Option<String>, Query)),
    responses((status = 200, body = String, content_type = "application/x-ndjson"), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn audit_export(
    State(state): State<ApiState>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    caller.instance_admin()?;
    let (since, until) = (moment(&asked, "since")?, moment(&asked, "until")?);
    let store = state.engine.store();
    let span = store.read(move |tx| Box::pin(async move { audit::span(tx, since, until).await })).await?;
    let span = span.map_err(|link| broken_record(&link))?;
    let lines = stream::unfold(Some((state, span.behind, span.previous.clone())), move |place| {
        let last = span.last;
        let records = span.last - span.behind;
        async move {
            let (state, behind, previous) = place?;
            if behind >= last {
                let end = LastLine { end: End { records, seq: behind, hash: previous } };
                return Some((Ok(line(&end)), None));
            }
            let read = state.engine.store().read(move |tx| {
                Box::pin(async move { audit::readable(tx, behind, EXPORT_PAGE.min(last - behind)).await })
            });
            let Readable { records: page, is_cut } = match read.await {
                Ok(read) => read,
                Err(error) => return Some((Err(error), None)),
            };
            let is_at_a_gap = page.first().is_none_or(|record| record.seq > last);
            let (mut text, mut behind, mut previous) = (String::new(), behind, previous);
            for record in page.into_iter().filter(|record| record.seq <= last) {
                let hash = record.hash.clone();
                behind = record.seq;
                text.push_str(&line(&Line::of(record, previous)));
                previous = hash;
            }
            if is_cut || is_at_a_gap {
                // In the place of the line that says where it ends.
                let why = if is_cut { Break::Unreadable } else { Break::Missing };
                text.push_str(&line(&StoppedLine::from(BrokenLink { seq: behind + 1, why })));
                return Some((Ok(text), None));
            }
            Some((Ok(text), Some((state, behind, previous))))
        }
    });
    let body = Body::from_stream(lines);
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn line(of: &impl Serialize) -> String {
    let mut text = serde_json::to_string(of).expect("texts and numbers are JSON");
    text.push('\n');
    text
}

/// A time of the query, in microseconds.
fn moment(asked: &Asked, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = asked.get(name) else { return Ok(None) };
    match Moment::parse(text) {
        Some(moment) => Ok(Some(moment.micros())),
        None => {
            let message = format!("{name}: '{}' is not a time", text.escape_default());
            Err(ApiError::bad_request("bad_query", message).hint("write it like 2026-04-27T15:00:00Z"))
        }
    }
}

/// Where to put a copy of the store.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct BackupBody {
    /// An absolute path on the machine of the server, of a file that does not exist yet.
    path: String,
}

/// Makes a consistent copy of the store while it is in use.
#[utoipa::path(post, path = "/backup", tag = "instance", request_body = BackupBody,
    responses((status = 201, body = Backup), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn backup(
    State(state): State<ApiState>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    caller.instance_admin()?;
    let mut fields = Fields::read(&body)?;
    let read = BackupBody { path: fields.required_text("path") };
    let path = PathBuf::from(&read.path);
    if !read.path.trim().is_empty() && !path.is_absolute() {
        fields.mistake("custom", "path", "Must be an absolute path");
    }
    fields.refuse_rest()?;
    if tokio::fs::symlink_metadata(&path).await.is_ok() {
        return Err(ApiError::conflict("backup_exists", format!("{} already exists", path.display()))
            .hint("choose a new name; a backup never replaces a file"));
    }
    let made = state.engine.store().backup(&path).await?;
    let shaped = Backup { path: made.file.display().to_string(), bytes: made.bytes };
    Ok((StatusCode::CREATED, Json(shaped)).into_response())
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "instance", responses((status = 200, body = Object)))]
pub(crate) async fn openapi() -> Json<serde_json::Value> {
    Json(crate::openapi())
}
