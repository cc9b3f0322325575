//! `bugle up`: the server.
//!
//! Settings, then the lock, the store, the port, and only then the engine, whose recovery goes on in the background: the
//! server answers while it still takes over what an earlier one left. Stopping leaves the keepers alone, so that the
//! next start finds the runs as they are; `--stop-runs` ends them too. No rule of the engine is repeated here.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{ApiOptions, ApiState};
use clap::Args;
use domain::wake::Actor;
use domain::webhook::place::Reach;
use engine::{Clock, Engine, Keepers, SystemClock, SystemDice};
use serde_json::json;
use store::{Store, companies};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::cli::Context;
use crate::config::{Config, Flags, LogFormat, Trust};
use crate::doctor::{self, Finding};
use crate::failure::{Failure, chain};
use crate::instance::{self, Instance, Note};
use crate::screen::Tone;
use crate::{data_dir, door, reachable, store_look};

const EXAMPLES: &str = "\
Settings come from flags, then BUGLE_LISTEN, BUGLE_MODE, BUGLE_DATABASE_URL, BUGLE_MAX_RUNS, BUGLE_MAX_AUTOMATION_RUNS,
BUGLE_MAX_QUEUE_AGE, BUGLE_LOG_FORMAT, BUGLE_SECRETS_MASTER_KEY_FILE, BUGLE_SECRETS_STRICT_MODE, BUGLE_WEBHOOKS_ALLOW_PRIVATE,
then config.toml in the data folder (listen, mode, database_url, max_runs, max_automation_runs, max_queue_age, stop_runs,
log_format, in [retention]: runs_days, events_days, skipped_wakes_days, workspaces_days, schedule_slots_days, logs_mib, in
[secrets]: key_file, strict_mode, and in [webhooks]: allow_private). BUGLE_LOG sets what is logged, for example BUGLE_LOG=debug.

Stopping the server (ctrl-c) does not stop the runs: the next `bugle up` goes on with them.";

/// What is logged unless BUGLE_LOG says otherwise.
const LOGGED: &str = "warn,bugle=info,engine=info,api=info,store=info";
/// Everything but the runs has ended by then, or is left as it is.
const LEAVING: Duration = Duration::from_millis(1500);
/// With `--stop-runs`: the longest usual grace, and some.
const STOPPING: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Up {
    #[command(flatten)]
    flags: Flags,
}

impl Up {
    pub(crate) fn run(self, context: &mut Context) -> Result<(), Failure> {
        let data_dir = context.data_dir()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
            Failure::failed("runtime", format!("cannot start: {error}"))
                .hint("is the machine out of files? ulimit -n")
        })?;
        let served = runtime.block_on(async {
            let config = doctor::before_start(&data_dir, &self.flags).await?;
            start_logging(config.log_format);
            Server::start(config).await?.serve(context).await
        });
        // Reads of a database that does not answer may hang; the process ends all the same.
        runtime.shutdown_timeout(Duration::from_millis(200));
        served
    }
}

/// A server that listens.
struct Server {
    config: Config,
    /// Held until the end.
    _instance: Instance,
    store: Arc<Store>,
    engine: Engine,
    listener: TcpListener,
    /// Where agents on other machines come in; none where the path of the data folder is too long for a socket.
    door: Option<UnixListener>,
    listen: SocketAddr,
    state: ApiState,
    interrupts: Interrupts,
    /// Makes the first administrator; none where nobody waits for one.
    first: Option<String>,
}

/// The ways in which a server is asked to leave.
struct Interrupts {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Server {
    async fn start(config: Config) -> Result<Server, Failure> {
        // First of all: a signal that comes during the start is not lost.
        let interrupts = Interrupts::listen().map_err(|error| failed("watch for signals", &error))?;
        let started_at = SystemClock.now();
        data_dir::make(&config.data_dir)?;
        let mut instance = Instance::take(&config.data_dir, &started_at.iso())?;
        let node_id = data_dir::node_id(&config.data_dir)
            .map_err(|error| failed("read the id of this node", &error))?;
        let token = data_dir::board_token(&config.data_dir)
            .map_err(|error| failed("read the board token", &error))?;

        let target = store_look::target(&config);
        let store = match Store::open(&target, store::Settings::default(), started_at.micros()).await {
            Ok(store) => Arc::new(store),
            Err(error) => return Err(store_look::refusal(&target, &error).into()),
        };
        let ending = store.read(|tx| Box::pin(async move { store::audit::ending(tx).await })).await;
        if let Ok(Err(link)) = ending {
            // Everything can be looked at, and what runs goes on.
            let (number, why) = (link.seq, link.why.meaning());
            tracing::error!(number, why, "the record of decisions is broken; see: bugle audit verify");
        }
        let listener = match TcpListener::bind(config.listen).await {
            Ok(listener) => listener,
            Err(error) => return Err(doctor::busy(config.listen, &error).await.into()),
        };
        let listen = listener.local_addr().map_err(|error| failed("name the port", &error))?;
        instance.listens(listen).map_err(|error| failed("write the lock", &error))?;

        let program = program();
        let keepers = Keepers::new(&config.data_dir, program.clone()).map_err(|error| {
            Finding::fail("file watches", "watches.none", chain(&error), "see: bugle doctor")
        })?;
        let (path, door) = match door::open(&config.data_dir) {
            Ok((path, listener)) => (Some(path), Some(listener)),
            Err(error) => {
                tracing::warn!(%error, "agents on other machines cannot reach this server through their line");
                (None, None)
            }
        };
        let settings = engine::Settings { agent_door: path, ..settings(&config, node_id, program, listen) };
        // It begins when somebody can ask it: what a start finds to do would only keep them waiting.
        let engine = Engine::prepare(
            Arc::clone(&store),
            Arc::new(keepers),
            Arc::new(SystemClock),
            Arc::new(SystemDice),
            settings,
        );
        let engine = engine.await.map_err(|error| engine_failed(&error))?;
        if let Err(error) = engine.check_secrets().await {
            // Everything else works; runs that need a secret say so themselves.
            tracing::error!(%error, "agents that need a secret cannot start");
        }
        first_company(&engine).await?;
        let note = Note {
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            listen,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: started_at.iso(),
            asks_for_keys: config.mode == Trust::Authenticated,
        };
        instance::write_note(&config.data_dir, &note).map_err(|error| failed("write server.json", &error))?;
        let waits_for_first = config.mode == Trust::Authenticated
            && engine.needs_first_admin().await.map_err(|error| engine_failed(&error))?;
        let first = waits_for_first.then(data_dir::first_token);
        let options = ApiOptions {
            mode: config.mode.mode(),
            board_token: Some(token),
            bootstrap_token: first.clone(),
            ..ApiOptions::new(listen, env!("CARGO_PKG_VERSION"), started_at)
        };
        let state = ApiState::new(engine.clone(), options);
        Ok(Server {
            config,
            _instance: instance,
            store,
            engine,
            listener,
            door,
            listen,
            state,
            interrupts,
            first,
        })
    }

    async fn serve(mut self, context: &mut Context) -> Result<(), Failure> {
        self.greet(context);
        let gone = CancellationToken::new();
        let app = api::router(self.state.clone());
        let door = self.door.take().map(|listener| {
            let app = api::router(self.state.for_strangers());
            let serving = axum::serve(listener, app).with_graceful_shutdown(gone.clone().cancelled_owned());
            tokio::spawn(serving.into_future())
        });
        let serving = axum::serve(self.listener, app).with_graceful_shutdown(gone.clone().cancelled_owned());
        let mut serving = tokio::spawn(serving.into_future());
        self.engine.begin();
        tokio::select! {
            ended = &mut serving => {
                let why = match ended {
                    Ok(Ok(())) => "nobody listens any more".to_owned(),
                    Ok(Err(error)) => chain(&error),
                    Err(error) => chain(&error),
                };
                return Err(Failure::failed("up.failed", format!("the server stopped by itself: {why}"))
                    .hint("the runs go on; start it again: bugle up"));
            }
            () = self.interrupts.next() => {}
        }
        let (running, _) = self.engine.capacity();
        let mut left = running as usize;
        if self.config.stop_runs && running > 0 {
            context
                .screen
                .note(&format!("stopping; ending {running} runs first (again ctrl-c: leave them running)"));
            tokio::select! {
                still = self.engine.stop_runs(STOPPING) => left = still,
                () = self.interrupts.next() => left = self.engine.capacity().0 as usize,
            }
        }
        // The note goes first: from now on the command line says that there is no server, instead of waiting for it.
        instance::remove_note(&self.config.data_dir);
        gone.cancel();
        let leaving = async {
            // Ends the streams too, which would otherwise keep their connections.
            self.engine.leave().await;
            let _ = (&mut serving).await;
            if let Some(door) = door {
                let _ = door.await;
            }
            self.store.close().await;
        };
        if tokio::time::timeout(LEAVING, leaving).await.is_err() {
            serving.abort();
            tracing::info!("left before every connection was closed");
        }
        context.screen.note(&match left {
            0 => "stopped".to_owned(),
            1 => "stopped; 1 run goes on without the server. `bugle up` takes it over".to_owned(),
            left => format!("stopped; {left} runs go on without the server. `bugle up` takes them over"),
        });
        Ok(())
    }

    /// Says where it listens and how to go on.
    fn greet(&self, context: &mut Context) {
        let (folder, version) = (self.config.data_dir.display(), env!("CARGO_PKG_VERSION"));
        let store = if self.store.is_postgres() { "PostgreSQL" } else { "SQLite" };
        let url = format!("http://{}", self.listen);
        if context.global.json {
            context.screen.json_line(&json!({
                "type": "listening", "url": url, "dataDir": folder.to_string(), "version": version, "store": store,
                "pid": std::process::id(), "maxRuns": self.config.max_runs,
                "maxAutomationRuns": self.config.max_automation_runs, "mode": self.config.mode.mode(),
                "firstAdministratorToken": self.first,
            }));
            return;
        }
        let shown = context.screen.tint(Tone::Strong, &url);
        context.screen.line(&format!("bugle {version} listens on {shown}"));
        context.screen.line(&format!("  data  {folder} ({store})"));
        context.screen.line(&format!("  runs  up to {} at once", self.config.max_runs));
        if self.config.mode == Trust::Authenticated {
            context.screen.line("  mode  authenticated: everybody needs a key");
        }
        if let Some(first) = &self.first {
            context.screen.line("");
            context.screen.line(
                "  Nobody administers this instance yet. The first administrator is whoever types, once:",
            );
            context.screen.line(&format!("  bugle login first {first} --name \"Your name\" --url {url}"));
            return;
        }
        context.screen.line("");
        context.screen.line("  add an agent   bugle agent add hello -- echo hello");
        context.screen.line("  wake it        bugle wake hello --follow");
        context.screen.line(match self.config.stop_runs {
            true => "  stop           ctrl-c ends the runs, then the server",
            false => "  stop           ctrl-c; runs go on, and the next `bugle up` finds them",
        });
    }
}

impl Interrupts {
    fn listen() -> io::Result<Interrupts> {
        Ok(Interrupts {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// The running code itself, also after the file on the disk was replaced by a newer program.
fn program() -> PathBuf {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        running.to_owned()
    } else {
        std::env::current_exe().unwrap_or_else(|_| PathBuf::from("bugle"))
    }
}

fn settings(config: &Config, node_id: String, program: PathBuf, listen: SocketAddr) -> engine::Settings {
    let defaults = engine::Settings::default();
    engine::Settings {
        data_dir: config.data_dir.clone(),
        node_id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        program,
        api_url: reachable::url(listen),
        host: adapters::Host::from_env(std::env::vars_os()),
        secrets_key_file: config.secrets.key_file.clone(),
        strict_secrets: config.secrets.strict,
        max_runs: config.max_runs,
        max_automation_runs: config.max_automation_runs,
        max_queue_age: config.max_queue_age,
        keep_runs_for: config.retention.runs.unwrap_or(defaults.keep_runs_for),
        keep_events_for: config.retention.events.unwrap_or(defaults.keep_events_for),
        keep_idle_wakes_for: config.retention.idle_wakes.unwrap_or(defaults.keep_idle_wakes_for),
        keep_workspaces_for: config.retention.workspaces.unwrap_or(defaults.keep_workspaces_for),
        keep_slots_for: config.retention.slots.unwrap_or(defaults.keep_slots_for),
        webhook_reach: match config.webhooks_allow_private {
            true => Reach::Private,
            false => Reach::Public,
        },
        keep_log_bytes: config.retention.log_bytes.unwrap_or(defaults.keep_log_bytes),
        ..defaults
    }
}

/// A new instance gets a company, so that the first command need not be about one.
async fn first_company(engine: &Engine) -> Result<(), Failure> {
    let known = engine.store().read(|tx| Box::pin(async move { companies::list(tx, 1).await })).await;
    let known = known.map_err(|error| failed("read the companies", &error))?;
    if known.is_empty() {
        let made = engine.create_company("My company", None, 0, &Actor::local_board()).await;
        made.map_err(|error| engine_failed(&error))?;
    }
    Ok(())
}

fn engine_failed(error: &engine::EngineError) -> Failure {
    failed("start the engine", error)
}

fn failed(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::failed("up.failed", format!("cannot {what}: {}", chain(error)))
        .hint("see what is wrong with: bugle doctor")
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_env("BUGLE_LOG").unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // The first one stays; there is only one server in a process.
    let _ = match format {
        LogFormat::Text => log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
