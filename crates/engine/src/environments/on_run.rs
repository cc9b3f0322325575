//! A run and its environment: the lease is taken before its process starts, its folder goes there, and comes back when
//! the process is over. Giving the lease back is the sweep's (`sweeps/environments.rs`).
//!
//! Dies here? The lease is on record before anything is done on another machine, and everything that is done there may be
//! done again. A run on the machine of the server has nothing to wait for: its lease is written while its process starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapters::{Command, Host};
use domain::ending::ProcessEnd;
use domain::environment::lease::LeaseStatus;
use domain::ids::RunId;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use store::environment_leases::{self as leases, EnvironmentLease};
use store::environments::{self, Environment};
use store::runs::Run;
use store::{StoreError, Tx};

use super::driver::{Ask, Driver, DriverError, Step};
use super::{choosing, keys};
use crate::activity::Author;
use crate::digest::hex;
use crate::run_task::{Tending, home_of};
use crate::settings::Settings;
use crate::unwritten::{Unwritten, in_words};
use crate::{Inner, runtime_services, signals};

/// Bringing work back is tried again after these, while the machine does not answer.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];

/// Where a run works.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    environment: Environment,
    lease: EnvironmentLease,
    driver: Arc<dyn Driver>,
    /// The lease is on record.
    is_recorded: bool,
    folder: PathBuf,
    /// The run's folder on this machine.
    local: PathBuf,
    scope: String,
    elsewhere: Host,
}

/// What an adapter is shown of a run on another machine.
pub(crate) struct Elsewhere {
    pub(crate) context: Json,
    pub(crate) config: Json,
    pub(crate) cwd: PathBuf,
    pub(crate) api_url: String,
}

/// Why a run has no place.
pub(crate) enum NoPlace {
    Failed(DriverError),
    /// It has one, and its process cannot be started there, in words.
    NotStarted(String),
    /// It was asked to stop meanwhile.
    AskedToStop,
    Leaving,
}

impl From<String> for NoPlace {
    fn from(words: String) -> NoPlace {
        NoPlace::NotStarted(words)
    }
}

impl From<DriverError> for NoPlace {
    fn from(error: DriverError) -> NoPlace {
        NoPlace::Failed(error)
    }
}

impl Placed {
    fn held(&self) -> &Json {
        self.lease.metadata.as_ref().unwrap_or(&Json::Null)
    }

    fn ask<'a>(&'a self, settings: &'a Settings) -> Ask<'a> {
        Ask {
            lease_id: &self.lease.id,
            run_id: self.lease.heartbeat_run_id.as_ref().map_or("", |run| run.as_str()),
            scope: &self.scope,
            config: &self.environment.config,
            held: self.held(),
            api_url: &settings.api_url,
            door: settings.agent_door.as_deref(),
            folder: &self.folder,
            local: &self.local,
            host: &settings.host,
        }
    }

    /// What programs there are started with; `None`: it is this machine.
    pub(crate) fn host(&self) -> Option<&Host> {
        self.driver.is_remote().then_some(&self.elsewhere)
    }

    /// The run's folder on this machine.
    pub(crate) fn local(&self) -> &Path {
        &self.local
    }

    /// What the adapter is shown instead, where it is another machine.
    pub(crate) fn elsewhere(&self, context: &Json, config: &Json) -> Option<Elsewhere> {
        if !self.driver.is_remote() {
            return None;
        }
        let text = |key: &str| self.held().get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let cwd = text("remoteCwd");
        let (mut context, mut config) = (context.clone(), config.clone());
        // Folders of this machine mean nothing there.
        if let Some(config) = config.as_object_mut() {
            config.remove("cwd");
        }
        if let Some(workspace) = context.get_mut("paperclipWorkspace").and_then(Json::as_object_mut) {
            workspace.insert("cwd".to_owned(), json!(cwd));
            workspace.insert("agentHome".to_owned(), json!(cwd));
            workspace.remove("worktreePath");
        }
        Some(Elsewhere { context, config, cwd: PathBuf::from(cwd), api_url: text("paperclipApiUrl") })
    }

    /// `paperclipEnvironment` (spec/heartbeat.md 4.9).
    fn shown(&self) -> Json {
        let mut shown = json!({
            "id": self.environment.id, "name": self.environment.name, "driver": self.environment.driver,
            "leaseId": self.lease.id,
        });
        for key in ["workspaceRealization", "remoteCwd", "host", "port", "username"] {
            if let (Some(value), Some(shown)) = (self.held().get(key), shown.as_object_mut())
                && !value.is_null()
            {
                shown.insert(key.to_owned(), value.clone());
            }
        }
        if let (Some(machine), Some(shown)) = (self.driver.machine(self.held()), shown.as_object_mut()) {
            shown.insert("remoteExecution".to_owned(), machine);
        }
        shown
    }
}

/// The folder of a lease on this machine.
pub(crate) fn folder_of(settings: &Settings, lease: &str) -> PathBuf {
    settings.data_dir.join("leases").join(lease)
}

/// The same for all runs of one agent on one task.
pub(crate) fn scope_of(run: &Run) -> String {
    let digest = Sha256::digest(format!("{}\n{}", run.agent_id, run.task_key));
    hex(&digest[..8])
}

/// The folder of this machine that a run works in: that of its workspace, the configured one, or the agent's home.
fn local_folder(context: &Json, config: &Json, home: &Path) -> PathBuf {
    let text = |value: Option<&Json>| {
        value.and_then(Json::as_str).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let workspace = context.get("paperclipWorkspace");
    let configured = text(config.get("cwd"));
    let is_home = workspace.and_then(|it| it.get("source")).and_then(Json::as_str) == Some("agent_home");
    let cwd = text(workspace.and_then(|it| it.get("cwd"))).filter(|_| !(is_home && configured.is_some()));
    cwd.or(configured).map_or_else(|| home.to_owned(), PathBuf::from)
}

impl Tending<'_> {
    /// Gives the run its place. Returns when its process could be started there.
    pub(crate) async fn take_place(&mut self) -> Result<(), NoPlace> {
        if self.stop_words().is_some() {
            return Err(NoPlace::AskedToStop);
        }
        if self.place.is_none() {
            self.place = self.find_place().await?.map(Box::new);
        }
        match self.place.as_deref().cloned() {
            Some(placed) if placed.driver.is_remote() => {
                self.go_there(placed).await?;
                // What it prints is read as what that machine prints.
                self.renew_reader();
            }
            Some(_) => self.show_place(),
            None => {}
        }
        self.show_services().await;
        Ok(())
    }

    /// Puts into the context of the run which services there are beside its workspace.
    async fn show_services(&mut self) {
        if let Some(context) = self.run.context.as_object_mut() {
            // What the run before was told.
            context.remove("paperclipRuntimeServices");
            context.remove("paperclipRuntimePrimaryUrl");
        }
        let names = |key: &str| self.run.context.get(key).is_some_and(Json::is_string);
        if self.run.issue_id.is_none() && !names("projectId") && !names("projectWorkspaceId") {
            return;
        }
        let now = self.engine.clock.now();
        let found = self.engine.read(self.run.clone(), |tx, run| {
            Box::pin(async move { choosing::services_of_run(tx, &run).await })
        });
        let services = match found.await {
            Ok(services) => services,
            Err(error) => {
                tracing::warn!(run = %self.run.id, %error, "cannot read the services beside the workspace");
                return;
            }
        };
        if services.is_empty() {
            return;
        }
        let used: Vec<String> = services.iter().map(|service| service.id.clone()).collect();
        let noted = self.engine.write(used, move |tx, used| {
            Box::pin(async move {
                for id in &used {
                    store::runtime_services::use_(tx, id, now).await?;
                }
                Ok(())
            })
        });
        if let Err(error) = noted.await {
            tracing::warn!(run = %self.run.id, %error, "cannot note that services are used");
        }
        let (shown, primary) = runtime_services::shown_to_runs(&services);
        self.add_told("paperclipRuntimeServices", shown);
        if let Some(primary) = primary {
            self.add_told("paperclipRuntimePrimaryUrl", json!(primary));
        }
    }

    /// `None`: nobody chose one, and it works here without a lease on anything.
    async fn find_place(&self) -> Result<Option<Placed>, NoPlace> {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.look_for_place().await {
                Ok(found) => return Ok(found?),
                Err(error) => {
                    tracing::warn!(run = %self.run.id, %error, "cannot read the environment of the run; trying again");
                }
            }
            tokio::select! {
                biased;
                () = self.engine.leaving.cancelled() => return Err(NoPlace::Leaving),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    async fn look_for_place(&self) -> Result<Result<Option<Placed>, DriverError>, StoreError> {
        let engine = self.engine;
        let found = engine
            .read(self.run.clone(), |tx, run| {
                Box::pin(async move {
                    let recalled = on_record(tx, &run.id).await?;
                    let chosen = match recalled {
                        Some(_) => Ok(None),
                        None => choosing::of_run(tx, &run).await?,
                    };
                    Ok((recalled, chosen))
                })
            })
            .await?;
        let found = match found {
            (Some((environment, lease)), _) => match self.as_recalled(environment, lease).await? {
                Some(placed) => return Ok(placed.map(Some)),
                // Never another one: what was begun there is still there.
                None => {
                    let words = "nothing here knows the kind of environment that the run works in";
                    Err(DriverError::new(Step::UnknownDriver, words))
                }
            },
            (None, chosen) => chosen,
        };
        Ok(match found {
            Err(error) => Err(error),
            Ok(None) => Ok(None),
            Ok(Some(environment)) => {
                keys::opened(engine, environment).await?.and_then(|opened| self.new_place(opened)).map(Some)
            }
        })
    }

    fn new_place(&self, environment: Environment) -> Result<Placed, DriverError> {
        let engine = self.engine;
        let driver = driver_of(engine, &environment)?;
        if driver.is_remote() && self.adapter().is_some_and(|adapter| !adapter.travels()) {
            let kind = &self.agent.adapter_type;
            let words = format!("agents of the type `{kind}` run on the machine of the server only");
            return Err(DriverError::new(Step::AdapterStays, words));
        }
        let now = engine.clock.now();
        let lease = EnvironmentLease {
            id: domain::ids::mint(now, engine.dice.bytes()),
            company_id: self.run.company_id.clone(),
            environment_id: environment.id.clone(),
            execution_workspace_id: self.run.context["executionWorkspaceId"].as_str().map(str::to_owned),
            issue_id: self.run.issue_id.clone(),
            heartbeat_run_id: Some(self.run.id.clone()),
            status: LeaseStatus::Active,
            lease_policy: "ephemeral".to_owned(),
            provider: environment.driver.clone(),
            provider_lease_id: None,
            acquired_at: now,
            last_used_at: now,
            expires_at: None,
            released_at: None,
            failure_reason: None,
            cleanup_status: None,
            metadata: None,
            release_tries: 0,
            created_at: now,
            updated_at: now,
        };
        let mut placed = self.placed(environment, lease, driver, false);
        let laid_out = placed.driver.lay_out(&placed.ask(&engine.settings))?;
        placed.lease.metadata = Some(laid_out);
        Ok(placed)
    }

    fn placed(
        &self,
        environment: Environment,
        lease: EnvironmentLease,
        driver: Arc<dyn Driver>,
        is_recorded: bool,
    ) -> Placed {
        let settings = &self.engine.settings;
        let home = home_of(settings, &self.agent.id);
        Placed {
            folder: folder_of(settings, &lease.id),
            local: local_folder(self.told(), &self.agent.adapter_config, &home),
            scope: scope_of(&self.run),
            elsewhere: Host::elsewhere(),
            environment,
            lease,
            driver,
            is_recorded,
        }
    }

    /// The place that the run has on record; `None` when nothing here knows its driver.
    async fn as_recalled(
        &self,
        environment: Environment,
        lease: EnvironmentLease,
    ) -> Result<Option<Result<Placed, DriverError>>, StoreError> {
        let Some(driver) = self.engine.settings.drivers.find(&lease.provider) else { return Ok(None) };
        let opened = keys::opened(self.engine, environment).await?;
        Ok(Some(opened.map(|environment| self.placed(environment, lease, driver, true))))
    }

    /// Finds out where a run works that an earlier server started.
    pub(crate) async fn recall_place(&mut self) {
        let found = self
            .engine
            .read(self.run.id.clone(), |tx, run| Box::pin(async move { on_record(tx, &run).await }));
        let recalled = match found.await {
            Ok(Some((environment, lease))) => self.as_recalled(environment, lease).await,
            Ok(None) => return,
            Err(error) => Err(error),
        };
        match recalled {
            Ok(Some(Ok(placed))) => self.place = Some(Box::new(placed)),
            Ok(Some(Err(error))) => {
                tracing::warn!(run = %self.run.id, %error, "the run's place cannot be reached")
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(run = %self.run.id, %error, "cannot read where the run works"),
        }
    }

    /// Reaches the machine and brings the folder of the run there.
    async fn go_there(&mut self, mut placed: Placed) -> Result<(), NoPlace> {
        if !placed.is_recorded {
            self.record(&mut placed, false).await?;
            self.place = Some(Box::new(placed.clone()));
        }
        if let Err(error) = std::fs::create_dir_all(&placed.local) {
            let words = format!("cannot make the folder {}: {error}", placed.local.display());
            return Err(DriverError::new(Step::Realise, words).into());
        }
        let settings = &self.engine.settings;
        let held = self.unless_stopped(placed.driver.acquire(placed.ask(settings))).await??;
        placed.lease.metadata = Some(held);
        let held = self.unless_stopped(placed.driver.realise(placed.ask(settings))).await??;
        placed.lease.metadata = Some(held);
        placed.lease.provider_lease_id = name_of(placed.held());
        self.place = Some(Box::new(placed.clone()));
        self.show_place();
        self.record(&mut placed, true).await?;
        self.place = Some(Box::new(placed));
        Ok(())
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, NoPlace> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                () = self.engine.leaving.cancelled() => return Err(NoPlace::Leaving),
                done = &mut work => return Ok(done),
                () = self.rung() => {
                    if self.stop_words().is_some() {
                        return Err(NoPlace::AskedToStop);
                    }
                }
            }
        }
    }

    /// Puts into the context of the run where it works.
    fn show_place(&mut self) {
        let Some(shown) = self.place.as_ref().map(|placed| placed.shown()) else { return };
        self.add_told("paperclipEnvironment", shown);
    }

    /// Writes the lease of a run on this machine, whose process was started meanwhile.
    pub(crate) async fn record_place(&mut self) {
        let Some(mut placed) = self.place.as_deref().cloned().filter(|placed| !placed.is_recorded) else {
            return;
        };
        match self.record(&mut placed, true).await {
            Ok(()) => self.place = Some(Box::new(placed)),
            Err(NoPlace::Failed(error)) => {
                tracing::warn!(run = %self.run.id, %error, "the lease of the run is not on record");
            }
            Err(NoPlace::NotStarted(_) | NoPlace::AskedToStop | NoPlace::Leaving) => {}
        }
    }

    /// Writes the lease, and what is to be remembered of it; `is_there`: the run has its place, and it is told.
    async fn record(&self, placed: &mut Placed, is_there: bool) -> Result<(), NoPlace> {
        let engine = self.engine;
        let now = engine.clock.now();
        let scribe = engine.scribe(&Author::System { part: "environments" });
        let context = (
            placed.lease.clone(),
            placed.is_recorded,
            self.lease.clone(),
            self.run.context.clone(),
            scribe,
            placed.environment.driver.clone(),
            // A run on this machine is told while it starts; its record need not repeat what its lease says.
            placed.driver.is_remote(),
        );
        let written = engine
            .write_patiently(
                context,
                move |tx, (lease, is_recorded, run_lease, context, mut scribe, driver, is_remote)| {
                    Box::pin(async move {
                        let metadata = lease.metadata.clone().unwrap_or(Json::Null);
                        if is_recorded {
                            leases::note(tx, &lease.id, lease.provider_lease_id.as_deref(), &metadata, now)
                                .await?;
                        } else {
                            leases::insert(tx, &lease).await?;
                        }
                        if is_there {
                            if is_remote {
                                leases::tell_run(tx, &run_lease, &context).await?;
                            }
                            let details = json!({
                                "environmentId": lease.environment_id, "driver": driver, "leaseId": lease.id,
                                "runId": lease.heartbeat_run_id, "provider": lease.provider,
                                "providerLeaseId": lease.provider_lease_id,
                            });
                            let about = ("environment_lease", lease.id.as_str());
                            let action = "environment.lease_acquired";
                            scribe.tell(tx, &lease.company_id, action, about, details).await?;
                        }
                        Ok(())
                    })
                },
            )
            .await;
        match written {
            Ok(()) => {
                placed.is_recorded = true;
                if is_there {
                    engine.feed.ring();
                }
                Ok(())
            }
            Err(Unwritten::Leaving) => Err(NoPlace::Leaving),
            Err(Unwritten::Refused(error)) => {
                let words = format!("the store refuses the lease: {}", in_words(&error));
                Err(DriverError::new(Step::Acquire, words).into())
            }
        }
    }

    /// Makes of the adapter's command the one that the keeper executes.
    pub(crate) async fn wrapped(&self, command: Command) -> Result<Command, NoPlace> {
        let Some(placed) = self.place.as_deref().filter(|placed| placed.driver.is_remote()) else {
            return Ok(command);
        };
        Ok(self.unless_stopped(placed.driver.wrap(placed.ask(&self.engine.settings), command)).await??)
    }

    /// Brings back what a process left on another machine, when it is over. False: the server leaves first.
    pub(crate) async fn bring_back(&mut self, end: &ProcessEnd) -> bool {
        let Some(placed) = self.place.as_deref().filter(|placed| placed.driver.is_remote()).cloned() else {
            return true;
        };
        if matches!(end, ProcessEnd::NeverStarted { .. } | ProcessEnd::NoPlace { .. }) {
            return true;
        }
        let mut pauses = AGAIN_AFTER.iter();
        let came = loop {
            let tried = tokio::select! {
                biased;
                () = self.engine.leaving.cancelled() => return false,
                tried = placed.driver.bring_back(placed.ask(&self.engine.settings)) => tried,
            };
            match (tried, pauses.next()) {
                (Err(error), Some(pause)) => {
                    tracing::warn!(run = %self.run.id, %error, "the work of the run did not come back; trying again");
                    tokio::select! {
                        biased;
                        () = self.engine.leaving.cancelled() => return false,
                        () = tokio::time::sleep(*pause) => {}
                    }
                }
                (tried, _) => break tried,
            }
        };
        let (level, words) = match came {
            Ok(came) => (if came.is_partial { "warn" } else { "info" }, came.words),
            Err(error) => ("error", format!("the work of the run did not come back: {}", error.words)),
        };
        let payload =
            json!({ "environmentId": placed.environment.id, "leaseId": placed.lease.id, "result": words });
        let mut event = signals::lifecycle(level, "workspace brought back", Some(payload));
        if level == "error" {
            event.message = "workspace not brought back";
        }
        self.events.push(event);
        true
    }
}

/// The active lease of a run, with its environment.
async fn on_record(
    tx: &mut Tx<'_>,
    run: &RunId,
) -> Result<Option<(Environment, EnvironmentLease)>, StoreError> {
    let Some(lease) = leases::active_of(tx, run).await? else { return Ok(None) };
    let environment = environments::get(tx, &lease.environment_id).await?;
    Ok(environment.map(|environment| (environment, lease)))
}

/// `ssh://user@host:port/path` for people; `None` where nothing is remembered.
fn name_of(held: &Json) -> Option<String> {
    let host = held.get("host")?.as_str()?;
    let port = held.get("port").and_then(Json::as_u64).unwrap_or(22);
    let path = held.get("remoteWorkspacePath").and_then(Json::as_str).unwrap_or_default();
    Some(match held.get("username").and_then(Json::as_str) {
        Some(user) => format!("ssh://{user}@{host}:{port}{path}"),
        None => format!("ssh://{host}:{port}{path}"),
    })
}

/// The driver of an environment.
pub(super) fn driver_of(engine: &Inner, environment: &Environment) -> Result<Arc<dyn Driver>, DriverError> {
    engine.settings.drivers.find(&environment.driver).ok_or_else(|| {
        let words = format!("nothing here knows environments of the kind `{}`", environment.driver);
        DriverError::new(Step::UnknownDriver, words)
    })
}

/// Ends a lease on its machine, as far as this lets itself be done from here.
pub(crate) async fn release(
    engine: &Inner,
    environment: Environment,
    lease: EnvironmentLease,
    run: Option<&Run>,
) -> Result<Option<String>, DriverError> {
    let Some(driver) = engine.settings.drivers.find(&lease.provider) else {
        let words = format!("nothing here knows environments of the kind `{}`", lease.provider);
        return Err(DriverError::new(Step::UnknownDriver, words));
    };
    let environment = match keys::opened(engine, environment).await {
        Ok(opened) => opened?,
        Err(error) => return Err(DriverError::new(Step::Release, in_words(&error))),
    };
    let folder = folder_of(&engine.settings, &lease.id);
    let placed = Placed {
        local: folder.clone(),
        folder,
        scope: run.map(scope_of).unwrap_or_default(),
        elsewhere: Host::elsewhere(),
        environment,
        lease,
        driver,
        is_recorded: true,
    };
    // Without its run nothing says which folder was its.
    let kept = if placed.driver.is_remote() && run.is_none() {
        None
    } else {
        placed.driver.release(placed.ask(&engine.settings)).await?
    };
    forget_folder(&placed.folder);
    Ok(kept)
}

pub(crate) fn forget_folder(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "cannot remove the folder of a lease");
        }
    }
}
