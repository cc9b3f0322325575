//! The surface: HTTP routes, wire shapes, trust, streams, and their description.
//!
//! [`router`] is all of it. Handlers ask the engine and the store and shape what they say; decisions are made in
//! `domain`, SQL is in `store`. Listening on an address is the program's.

mod actor;
mod body;
mod bounds;
mod errors;
mod guards;
mod log;
mod lookup;
mod mcp;
mod metrics;
mod openapi;
mod paging;
mod reach;
mod routes;
mod shape;
mod stream;
mod trust;
mod veil;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Extension, Router};
use domain::moment::Moment;
use engine::Engine;
use tower_http::compression::CompressionLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use domain::access::credential::Mode;
pub use openapi::openapi;

use crate::errors::ApiError;
use crate::metrics::Metrics;
use crate::routes::{
    adapters, agents, cli_auth, companies, instance, llms, run_transcript, runs, runtime, transcript, wakes,
};

/// What the surface can be told.
#[derive(Debug, Clone)]
pub struct ApiOptions {
    pub mode: Mode,
    /// Proves that a person asks, where only a person may (D19). Without one, nothing proves it.
    pub board_token: Option<String>,
    /// In `authenticated` mode: makes the first administrator, as long as there is none.
    pub bootstrap_token: Option<String>,
    /// The version of the program.
    pub version: String,
    pub started_at: Moment,
    /// Where the program listens.
    pub listen: SocketAddr,
    /// Larger bodies are refused.
    pub body_limit: usize,
    /// Larger attachments are refused.
    pub attachment_limit: usize,
    /// Ordinary requests are given up after this; streams, backups and audits are not.
    pub request_timeout: Duration,
    /// WebSocket clients are pinged this often; one that missed a pong is let go.
    pub ping_every: Duration,
    /// Streams ask this often whether who listens still may.
    pub recheck_every: Duration,
    /// A WebSocket client that takes nothing for this long is let go.
    pub slow_client_after: Duration,
}

impl ApiOptions {
    /// The options of an instance on this address.
    pub fn new(listen: SocketAddr, version: impl Into<String>, started_at: Moment) -> ApiOptions {
        ApiOptions {
            mode: Mode::LocalTrusted,
            board_token: None,
            bootstrap_token: None,
            version: version.into(),
            started_at,
            listen,
            // What the reference takes (spec/api.md 1): comments and documents with images in them.
            body_limit: 10 << 20,
            attachment_limit: 10 << 20,
            request_timeout: Duration::from_secs(60),
            ping_every: Duration::from_secs(30),
            recheck_every: Duration::from_secs(10),
            slow_client_after: Duration::from_secs(10),
        }
    }
}

/// What every handler has. Clones share it.
#[derive(Debug, Clone)]
pub struct ApiState {
    pub(crate) engine: Engine,
    pub(crate) options: Arc<ApiOptions>,
    pub(crate) metrics: Arc<Metrics>,
}

impl ApiState {
    pub fn new(engine: Engine, options: ApiOptions) -> ApiState {
        ApiState { engine, options: Arc::new(options), metrics: Arc::new(Metrics::new()) }
    }

    /// The same surface for who comes from another machine: being let in proves nothing, and nobody is known without a
    /// key, whatever the mode of the instance.
    #[must_use]
    pub fn for_strangers(&self) -> ApiState {
        let options = ApiOptions {
            mode: Mode::Authenticated,
            board_token: None,
            bootstrap_token: None,
            ..(*self.options).clone()
        };
        ApiState { options: Arc::new(options), ..self.clone() }
    }
}

/// The whole surface as one service.
pub fn router(state: ApiState) -> Router {
    let ordinary =
        ordinary().layer(CompressionLayer::new()).layer(from_fn_with_state(state.clone(), bounds::in_time));
    let (routes, _) = ordinary.merge(unhurried()).split_for_parts();
    let surface = guarded(routes.fallback(|| async { ApiError::no_such_route() }), &state);
    let (mcp, _) = OpenApiRouter::new().nest("/api", mcp::mount()).split_for_parts();
    // Outside of what it acts through: each request of a tool is admitted and counted like one that came from afar.
    let mcp = mcp.layer(Extension(mcp::Surface(surface.clone())));
    // Who sends there proves it by a signature: nobody is asked who they are.
    let (hooks, _) = OpenApiRouter::new().nest("/api", routes::hooks::mount()).split_for_parts();
    surface.merge(guarded(mcp, &state)).merge(open(hooks, &state))
}

/// What stands in front of a route that asks for no credential.
fn open(routes: Router<ApiState>, state: &ApiState) -> Router {
    routes
        .layer(from_fn_with_state(state.clone(), bounds::in_time))
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(from_fn(bounds::unharmed))
        .layer(from_fn_with_state(state.clone(), metrics::count))
        .with_state(state.clone())
}

/// What stands in front of every route.
fn guarded(routes: Router<ApiState>, state: &ApiState) -> Router {
    routes
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(from_fn(bounds::unharmed))
        .layer(from_fn_with_state(state.clone(), actor::admit))
        .layer(from_fn_with_state(state.clone(), metrics::count))
        .with_state(state.clone())
}

/// Routes that answer at once.
fn ordinary() -> OpenApiRouter<ApiState> {
    let api = OpenApiRouter::new()
        .routes(routes!(instance::health))
        .routes(routes!(instance::openapi))
        .routes(routes!(metrics::show))
        .routes(routes!(instance::audit_head))
        .routes(routes!(companies::list, companies::create))
        .routes(routes!(companies::show, companies::change, companies::remove))
        .routes(routes!(agents::list, agents::create))
        .routes(routes!(agents::show, agents::change))
        .routes(routes!(agents::pause))
        .routes(routes!(agents::resume))
        .routes(routes!(agents::terminate))
        .routes(routes!(agents::cancel_work))
        .routes(routes!(wakes::wakeup))
        .routes(routes!(wakes::invoke))
        .routes(routes!(wakes::list))
        .routes(routes!(runtime::show))
        .routes(routes!(runtime::list))
        .routes(routes!(runtime::reset))
        .routes(routes!(adapters::test_environment))
        .routes(routes!(runs::list))
        .routes(routes!(runs::live))
        .routes(routes!(runs::show))
        .routes(routes!(runs::explain))
        .routes(routes!(runs::cancel))
        .routes(routes!(transcript::events))
        .routes(routes!(transcript::log))
        .routes(routes!(run_transcript::show));
    // The reference's command line reads the first two without the prefix (D20) and shows the third to people, its
    // hiring skill reads the last three, monitoring systems the others.
    let bare = OpenApiRouter::new()
        .routes(routes!(transcript::events))
        .routes(routes!(transcript::log))
        .routes(routes!(cli_auth::page))
        .routes(routes!(instance::health))
        .routes(routes!(metrics::show))
        .routes(routes!(llms::kinds))
        .routes(routes!(llms::kind))
        .routes(routes!(llms::icons));
    OpenApiRouter::new()
        .nest("/api", api.merge(routes::work::mount()).merge(routes::office::mount()))
        .merge(bare)
}

/// Routes that take as long as they take, and whose answers are not held back to compress them.
fn unhurried() -> OpenApiRouter<ApiState> {
    let api = OpenApiRouter::new()
        .routes(routes!(stream::server_sent::events))
        .routes(routes!(stream::socket::events))
        .routes(routes!(stream::log::follow))
        .routes(routes!(stream::automation_run::events))
        .routes(routes!(instance::audit_verify))
        .routes(routes!(instance::audit_export))
        .routes(routes!(instance::backup))
        .merge(routes::company_file::mount_unhurried());
    OpenApiRouter::new().nest("/api", api)
}
