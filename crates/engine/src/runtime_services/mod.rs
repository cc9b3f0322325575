//! Services beside a workspace: asked for here, started, looked at and stopped by the sweep (`sweeps/runtime_services.rs`).
//!
//! A service is a row that says what is to run, and a process under a keeper, as a run has one: it outlives the server,
//! and nothing of it is left when it is stopped. Asking writes the row and rings; only the sweep touches processes, so
//! that a server that dies anywhere leaves a row from which the next one goes on.
//!
//! A job is such a row too: its process is to end by itself, and what it came to is an operation on the workspace.

pub(crate) mod ending;
mod health;
pub(crate) mod job;

use std::path::{Path, PathBuf};

use adapters::Problem;
use domain::environment::runtime_service::{
    self, Commands, Health, Lifecycle, PortWish, ServiceScope, ServiceSpec, ServiceStatus,
};
use domain::environment::workspace_command::{Choice, Meant, Refusal, select};
use domain::ids::{AgentId, CompanyId, RunId};
use domain::issue::refusal::Kind;
use serde_json::{Value as Json, json};
use store::execution_workspaces::{self, ExecutionWorkspace};
use store::runtime_services::{self as rows, RuntimeService};
use store::workspace_operations::WorkspaceOperation;
use store::{StoreError, Tx, agents};

use crate::activity::{Author, Scribe};
use crate::digest;
use crate::issues::Locks;
use crate::workspaces::commands::shell_of;
use crate::{Engine, EngineError, Inner};

pub(crate) use health::is_well;

/// As many services are listed.
pub const MOST_SERVICES: i64 = 500;
/// As many levels of a chain of managers are climbed.
const MOST_LEVELS: usize = 50;
/// Services under a keeper of this program.
const PROVIDER: &str = "local_process";

/// The workspace that services belong to.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceHome {
    pub company: CompanyId,
    pub project: Option<String>,
    pub project_workspace: Option<String>,
    pub execution_workspace: Option<String>,
    /// Its folder on this machine.
    pub cwd: Option<String>,
    /// Its `workspaceRuntime`.
    pub runtime: Option<Json>,
}

pub use domain::environment::workspace_command::Action as ServiceAction;

/// Which services are meant; all of them where nothing is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceChoice {
    /// A name of the configuration.
    pub command: Option<String>,
    /// The id of one that was started.
    pub service: Option<String>,
    /// A place in the configuration.
    pub index: Option<usize>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Acted {
    /// The services of the workspace as they are then, newest first.
    pub services: Vec<RuntimeService>,
    pub operation: WorkspaceOperation,
}

impl ServiceHome {
    fn is_execution(&self) -> bool {
        self.execution_workspace.is_some()
    }

    /// For people.
    fn words(&self) -> (&'static str, &'static str) {
        if self.is_execution() {
            ("Execution workspace", "execution workspace")
        } else {
            ("Project workspace", "project workspace")
        }
    }

    /// What a service of this scope belongs to here. Services of runs and agents that somebody starts by hand belong to
    /// the workspace.
    fn scope(&self, wish: ServiceScope) -> Option<(ServiceScope, String)> {
        let own = match (&self.execution_workspace, &self.project_workspace) {
            (Some(id), _) => Some((ServiceScope::ExecutionWorkspace, id.clone())),
            (None, Some(id)) => Some((ServiceScope::ProjectWorkspace, id.clone())),
            (None, None) => None,
        };
        match (wish, &self.project_workspace) {
            (ServiceScope::ProjectWorkspace, Some(id)) => Some((ServiceScope::ProjectWorkspace, id.clone())),
            _ => own,
        }
    }

    /// The folder of a service here, and whom it belongs to. One that runs in the folder of an execution workspace is that
    /// workspace's, whatever it would share: in another folder it is another one.
    fn place_of(&self, spec: &ServiceSpec) -> (PathBuf, Option<(ServiceScope, String)>) {
        let cwd = self.cwd.as_deref().unwrap_or_default();
        let folder = folder_of(cwd, spec.cwd.as_deref());
        let is_inside = self.is_execution() && folder.starts_with(cwd);
        let scope = if is_inside { ServiceScope::ExecutionWorkspace } else { spec.scope };
        let scope = self.scope(scope);
        (folder, scope)
    }

    fn commands(&self) -> Result<Commands, EngineError> {
        runtime_service::read_all(self.runtime.as_ref()).map_err(|mistakes| {
            let problem = |(path, message): (String, String)| Problem {
                path: format!("workspaceRuntime.{path}"),
                message,
                hint: None,
            };
            EngineError::Invalid(mistakes.into_iter().map(problem).collect())
        })
    }
}

fn unprocessable(text: impl Into<String>) -> EngineError {
    EngineError::refused(Kind::Unprocessable, text)
}

impl Engine {
    /// Starts, stops or starts again services of a workspace, or runs a job in it.
    pub async fn act_on_services(
        &self,
        home: &ServiceHome,
        action: ServiceAction,
        choice: &ServiceChoice,
        by: &Author,
    ) -> Result<Acted, EngineError> {
        let (what, small) = home.words();
        let cwd = home.cwd.as_deref().filter(|cwd| !cwd.trim().is_empty());
        if cwd.is_none() && action != ServiceAction::Stop {
            return Err(unprocessable(format!("{what} needs a local path before services can be run in it")));
        }
        if let Some(id) = home.execution_workspace.as_deref().filter(|_| action != ServiceAction::Stop)
            && self.execution_workspace(id).await?.is_closed()
        {
            let message = "The workspace is closed".to_owned();
            return Err(EngineError::Conflict { message, details: None });
        }
        let named = match &choice.service {
            None => None,
            Some(id) => {
                let found = self.load_service(id).await?.filter(|found| belongs(found, home));
                Some(found.ok_or_else(|| missing("Runtime service", small))?)
            }
        };
        let wanted = Choice {
            started: named.as_ref().map(|service| service.service_name.clone()),
            command: choice.command.clone(),
            index: choice.index,
        };
        let meant = select(&home.commands()?, action, &wanted).map_err(|refusal| refused(home, refusal))?;
        let specs = match meant {
            Meant::Services(specs) => specs,
            Meant::Job(job) => {
                let operation = self.run_job(home, &job, by).await?;
                return Ok(Acted { services: self.services_of(home).await?, operation });
            }
        };
        match action {
            ServiceAction::Stop => self.stop_services(home, &specs, named.as_ref(), action, by).await?,
            ServiceAction::Restart => {
                self.stop_services(home, &specs, named.as_ref(), action, by).await?;
                self.wait_until_stopped(home, &specs).await?;
                self.start_services(home, specs, by).await?;
            }
            ServiceAction::Start | ServiceAction::Run => self.start_services(home, specs, by).await?,
        }
        let operation = self.note_action(home, action, &wanted, by).await?;
        Ok(Acted { services: self.services_of(home).await?, operation })
    }

    async fn start_services(
        &self,
        home: &ServiceHome,
        specs: Vec<ServiceSpec>,
        by: &Author,
    ) -> Result<(), EngineError> {
        for spec in specs {
            let service = self.drafted_service(home, &spec, by)?;
            self.inner
                .change(by, Locks::default(), service, |tx, mut scribe, _, service| {
                    Box::pin(async move { start(tx, &mut scribe, service, ServiceAction::Start).await })
                })
                .await?;
        }
        self.inner.services.notify_one();
        Ok(())
    }

    /// The row of a service that is to start. Its port is one that is free now; who takes it meanwhile is found out by
    /// the service itself, which then ends and says so.
    fn drafted_service(
        &self,
        home: &ServiceHome,
        spec: &ServiceSpec,
        by: &Author,
    ) -> Result<RuntimeService, EngineError> {
        let (what, _) = home.words();
        let (folder, scope) = home.place_of(spec);
        let Some((scope, scope_id)) = scope else {
            return Err(unprocessable(format!("{what} is not known")));
        };
        if !folder.is_dir() {
            return Err(unprocessable(format!("The folder {} does not exist", folder.display())));
        }
        let port = match spec.port {
            PortWish::None => None,
            PortWish::Fixed(port) => Some(port),
            PortWish::Free => Some(free_port()?),
        };
        let folder = folder.to_string_lossy().into_owned();
        let now = self.now();
        Ok(RuntimeService {
            id: self.new_id(),
            company_id: home.company.clone(),
            project_id: home.project.clone(),
            project_workspace_id: home.project_workspace.clone(),
            execution_workspace_id: home.execution_workspace.clone(),
            issue_id: None,
            scope_type: scope,
            reuse_key: spec.reuse_text(&scope_id, &folder).map(|text| digest::sha256(&text)),
            scope_id: Some(scope_id),
            service_name: spec.name.clone(),
            status: ServiceStatus::Starting,
            lifecycle: spec.lifecycle,
            command: Some(spec.command.clone()),
            port: port.map(i64::from),
            url: spec.url_at(port),
            provider: PROVIDER.to_owned(),
            provider_ref: None,
            owner_agent_id: by.agent_id(),
            started_by_run_id: by.run_id(),
            last_used_at: now,
            started_at: now,
            stopped_at: None,
            stop_policy: Some(spec.stop.to_json()),
            health_status: Health::Unknown,
            plan: plan(&self.inner, home, spec, &folder, port),
            cwd: Some(folder),
            node_id: self.inner.claimer.node_id.clone(),
            epoch: 1,
            stop_asked_at: None,
            failure: None,
            created_at: now,
            updated_at: now,
        })
    }

    async fn stop_services(
        &self,
        home: &ServiceHome,
        specs: &[ServiceSpec],
        named: Option<&RuntimeService>,
        action: ServiceAction,
        by: &Author,
    ) -> Result<(), EngineError> {
        let meant = match named {
            Some(named) => vec![named.clone()],
            None => self.live_of(home, specs).await?,
        };
        for service in meant {
            let context = (service, action);
            self.inner
                .change(by, Locks::default(), context, |tx, mut scribe, _, (service, action)| {
                    Box::pin(async move {
                        if rows::ask_to_stop(tx, &service.id, scribe.now).await? {
                            tell(tx, &mut scribe, &service, action).await?;
                        }
                        Ok(())
                    })
                })
                .await?;
        }
        self.inner.services.notify_one();
        Ok(())
    }

    /// The live services that were started in this workspace under these names. Those that it shares with its siblings
    /// stay, unless they are named by themselves.
    async fn live_of(
        &self,
        home: &ServiceHome,
        specs: &[ServiceSpec],
    ) -> Result<Vec<RuntimeService>, EngineError> {
        let mut found = self.services_of(home).await?;
        found.retain(|service| {
            service.status.is_live()
                && (!home.is_execution() || service.execution_workspace_id == home.execution_workspace)
                && specs.iter().any(|spec| spec.name == service.service_name)
        });
        Ok(found)
    }

    /// Waits until none of these is live any more: the sweep rings when it has written that.
    async fn wait_until_stopped(&self, home: &ServiceHome, specs: &[ServiceSpec]) -> Result<(), EngineError> {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(45);
        loop {
            let rung = self.inner.services_changed.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let live = self.live_of(home, specs).await?;
            let Some(still) = live.first() else { return Ok(()) };
            tokio::select! {
                () = &mut rung => {}
                () = tokio::time::sleep_until(deadline) => {
                    let message = format!("Runtime service `{}` does not stop", still.service_name);
                    return Err(EngineError::Conflict { message, details: None });
                }
            }
        }
    }

    /// Asks to stop one service.
    pub async fn stop_service(
        &self,
        service: &RuntimeService,
        by: &Author,
    ) -> Result<RuntimeService, EngineError> {
        self.inner
            .change(by, Locks::default(), service.clone(), |tx, mut scribe, _, service| {
                Box::pin(async move {
                    if rows::ask_to_stop(tx, &service.id, scribe.now).await? {
                        tell(tx, &mut scribe, &service, ServiceAction::Stop).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.inner.services.notify_one();
        self.service(&service.id).await
    }

    /// The services of a workspace, newest first; jobs are none.
    pub async fn services_of(&self, home: &ServiceHome) -> Result<Vec<RuntimeService>, EngineError> {
        let Some((scope, id)) = home.scope(ServiceScope::ExecutionWorkspace) else { return Ok(Vec::new()) };
        let context = (home.company.clone(), id, home.project_workspace.clone());
        let found = self.inner.read(context, move |tx, (company, id, project)| {
            Box::pin(async move {
                let mut found = rows::of_scope(tx, &company, scope, &id, MOST_SERVICES).await?;
                if scope == ServiceScope::ExecutionWorkspace
                    && let Some(project) = project
                {
                    let shared = ServiceScope::ProjectWorkspace;
                    found.extend(rows::of_scope(tx, &company, shared, &project, MOST_SERVICES).await?);
                }
                found.retain(|service| !job::is_one(service));
                Ok(found)
            })
        });
        Ok(found.await?)
    }

    /// The services of a company, newest first.
    pub async fn services(
        &self,
        company: &CompanyId,
        only_live: bool,
    ) -> Result<Vec<RuntimeService>, EngineError> {
        let found = self.inner.read(company.clone(), move |tx, company| {
            Box::pin(async move { rows::of_company(tx, &company, only_live, MOST_SERVICES).await })
        });
        Ok(found.await?)
    }

    async fn load_service(&self, id: &str) -> Result<Option<RuntimeService>, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { rows::get(tx, &id).await }));
        Ok(found.await?)
    }

    /// Finds a service by its id, whatever company it belongs to.
    pub async fn service(&self, id: &str) -> Result<RuntimeService, EngineError> {
        self.load_service(id).await?.ok_or(EngineError::NotFound("Runtime service"))
    }

    /// What services beside an execution workspace go by: its own configuration where it says something of them, else that
    /// of the project's workspace.
    pub async fn service_home(&self, row: &ExecutionWorkspace) -> Result<ServiceHome, EngineError> {
        let own = row.metadata.as_ref().map(|metadata| metadata["config"]["workspaceRuntime"].clone());
        let own = own.filter(Json::is_object);
        let of_project = match (&own, row.project_workspace_id.clone()) {
            (None, Some(id)) => {
                let found = self
                    .inner
                    .read(id, |tx, id| Box::pin(async move { store::projects::workspace(tx, &id).await }));
                found.await?.and_then(|workspace| workspace.runtime_config?.get("workspaceRuntime").cloned())
            }
            (Some(_), _) | (None, None) => None,
        };
        Ok(ServiceHome {
            company: row.company_id.clone(),
            project: Some(row.project_id.clone()),
            project_workspace: row.project_workspace_id.clone(),
            execution_workspace: Some(row.id.clone()),
            cwd: row.cwd.clone(),
            runtime: own.or(of_project),
        })
    }

    /// Whether an agent works on, or manages somebody who works on, an open issue of a workspace.
    pub async fn works_in(&self, agent: &AgentId, home: &ServiceHome) -> Result<bool, EngineError> {
        let context = (agent.clone(), home.clone());
        let found = self.inner.read(context, |tx, (agent, home)| {
            Box::pin(async move {
                let (project, execution) = (home.project_workspace.clone(), home.execution_workspace.clone());
                // An execution workspace is what it is asked about, though it has a project's behind it.
                let project = project.filter(|_| execution.is_none());
                for assignee in rows::assignees(tx, &home.company, project, execution).await? {
                    if is_above(tx, &agent, assignee).await? {
                        return Ok(true);
                    }
                }
                Ok(false)
            })
        });
        Ok(found.await?)
    }
}

async fn is_above(tx: &mut Tx<'_>, agent: &AgentId, of: AgentId) -> Result<bool, StoreError> {
    let mut next = Some(of);
    for _ in 0..MOST_LEVELS {
        let Some(one) = next else { return Ok(false) };
        if one == *agent {
            return Ok(true);
        }
        next = agents::get(tx, &one).await?.and_then(|agent| agent.reports_to);
    }
    Ok(false)
}

fn belongs(service: &RuntimeService, home: &ServiceHome) -> bool {
    let is = |ours: &Option<String>, theirs: &Option<String>| ours.is_some() && ours == theirs;
    service.company_id == home.company
        && (is(&home.execution_workspace, &service.execution_workspace_id)
            || is(&home.project_workspace, &service.project_workspace_id))
}

fn refused(home: &ServiceHome, refusal: Refusal) -> EngineError {
    let (what, small) = home.words();
    match refusal {
        Refusal::NoConfiguration => unprocessable(format!("{what} has no runtime service configuration")),
        Refusal::NotFound => missing("Workspace command", small),
        Refusal::NotDefined(name) => unprocessable(format!(
            "Runtime service `{name}` is not defined in the configuration of this {small}"
        )),
        Refusal::OnlyRuns(name) => unprocessable(format!("Workspace job `{name}` can only be run")),
        Refusal::StartIt => unprocessable("A workspace service should be started instead of run"),
        Refusal::SelectJob => unprocessable("Select a workspace job to run"),
    }
}

/// Refuses to start something in an execution workspace that is not there for it. Its row is locked: nobody begins to
/// close it meanwhile.
async fn check_open(tx: &mut Tx<'_>, service: &RuntimeService) -> Result<(), EngineError> {
    let Some(id) = &service.execution_workspace_id else { return Ok(()) };
    let row =
        execution_workspaces::lock(tx, id).await?.ok_or(EngineError::NotFound("Execution workspace"))?;
    let words = if row.is_closed() {
        "The workspace is closed"
    } else if row.closing_at.is_some() {
        "The workspace is being closed"
    } else if row.node_id != service.node_id {
        "The workspace lies on another server"
    } else {
        return Ok(());
    };
    Err(EngineError::Conflict { message: words.to_owned(), details: None })
}

fn missing(what: &str, small: &str) -> EngineError {
    EngineError::refused(Kind::NotFound, format!("{what} not found for this {small}"))
}

/// Adds the row of a service that starts; one that is live and the same is used instead.
async fn start(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    service: RuntimeService,
    action: ServiceAction,
) -> Result<(), EngineError> {
    check_open(tx, &service).await?;
    let (company, id) = (service.company_id.clone(), service.scope_id.clone().unwrap_or_default());
    let there = rows::of_scope(tx, &company, service.scope_type, &id, MOST_SERVICES).await?;
    let same = there.into_iter().find(|it| it.status.is_live() && it.service_name == service.service_name);
    if let Some(same) = same {
        let is_ending = same.stop_asked_at.is_some();
        if !is_ending && same.reuse_key.is_some() && same.reuse_key == service.reuse_key {
            rows::use_(tx, &same.id, scribe.now).await?;
            return Ok(());
        }
        let message = if is_ending {
            format!("Runtime service `{}` is being stopped", same.service_name)
        } else if job::is_one(&same) {
            format!("Workspace job `{}` is running already", same.service_name)
        } else {
            format!(
                "Runtime service `{}` runs already, as it was configured before; restart it",
                same.service_name
            )
        };
        return Err(EngineError::Conflict { message, details: Some(json!({ "runtimeServiceId": same.id })) });
    }
    // Whether it is free is asked last: a service that is used again holds its port.
    if let Some(port) = service.port.and_then(|port| u16::try_from(port).ok()).filter(|port| !is_free(*port))
    {
        let message = format!("Port {port} of runtime service `{}` is in use", service.service_name);
        return Err(EngineError::Conflict { message, details: Some(json!({ "port": port })) });
    }
    if !rows::insert(tx, &service).await? {
        let message = format!("Runtime service `{}` is being started by somebody else", service.service_name);
        return Err(EngineError::Conflict { message, details: None });
    }
    tell(tx, scribe, &service, action).await?;
    Ok(())
}

async fn tell(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    service: &RuntimeService,
    action: ServiceAction,
) -> Result<(), StoreError> {
    let (prefix, kind, id) = match (&service.execution_workspace_id, &service.project_workspace_id) {
        (Some(id), _) => ("execution_workspace.runtime", "execution_workspace", id.clone()),
        (None, Some(id)) => ("project.workspace_runtime", "project_workspace", id.clone()),
        (None, None) => ("project.workspace_runtime", "runtime_service", service.id.clone()),
    };
    let details = json!({
        "runtimeServiceId": service.id, "serviceName": service.service_name, "projectId": service.project_id,
        "workspaceId": service.project_workspace_id, "port": service.port,
    });
    let action = format!("{prefix}_{}", action.as_str());
    scribe.tell(tx, &service.company_id, &action, (kind, &id), details).await
}

/// What is executed, all of it.
fn plan(inner: &Inner, home: &ServiceHome, spec: &ServiceSpec, folder: &str, port: Option<u16>) -> Json {
    let mut env = inner.settings.host.env.clone();
    let mut say = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            for prefix in ["BUGLE", "PAPERCLIP"] {
                env.insert(format!("{prefix}_{name}"), value.to_owned());
            }
        }
    };
    say("COMPANY_ID", Some(home.company.as_str()));
    say("PROJECT_ID", home.project.as_deref());
    say("WORKSPACE_CWD", home.cwd.as_deref());
    say("WORKSPACE_ID", home.execution_workspace.as_deref().or(home.project_workspace.as_deref()));
    for (name, value) in &spec.env {
        env.insert(name.clone(), runtime_service::with_port(value, port));
    }
    if let Some(port) = port {
        env.insert(spec.port_variable.clone(), port.to_string());
    }
    let shell = shell_of(inner.settings.host.env.get("SHELL").map(String::as_str));
    let readiness = spec.readiness.as_ref().map(|readiness| {
        json!({
            "url": runtime_service::with_port(&readiness.url, port), "everyMs": readiness.every.as_millis() as u64,
            "withinMs": readiness.within.as_millis() as u64,
        })
    });
    json!({ "argv": [shell, "-lc", spec.command], "cwd": folder, "env": env, "readiness": readiness, "port": port })
}

fn folder_of(cwd: &str, below: Option<&str>) -> PathBuf {
    match below {
        Some(below) => Path::new(cwd).join(below),
        None => PathBuf::from(cwd),
    }
}

fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn free_port() -> Result<u16, EngineError> {
    let bound = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| EngineError::Conflict {
        message: format!("No port is free: {error}"),
        details: None,
    })
}

/// Nobody asked to stop a service that ends with its run, or that nothing uses any more.
pub(crate) fn is_done_with(service: &RuntimeService, run_is_over: bool, now: domain::moment::Moment) -> bool {
    let policy = service.stop_policy.as_ref();
    let kind = policy.and_then(|policy| policy.get("type")).and_then(Json::as_str).unwrap_or("manual");
    let idle = policy.and_then(|policy| policy.get("idleSeconds")).and_then(Json::as_u64);
    let is_idle =
        kind == "idle_timeout" && idle.is_some_and(|idle| now.since(service.last_used_at).as_secs() >= idle);
    let ends_with_run = kind == "on_run_finish" || service.lifecycle == Lifecycle::Ephemeral;
    is_idle || (ends_with_run && service.started_by_run_id.is_some() && run_is_over)
}

/// As a run's agent reads them.
pub(crate) fn shown_to_runs(services: &[RuntimeService]) -> (Json, Option<String>) {
    let live: Vec<&RuntimeService> = services.iter().filter(|service| service.status.is_live()).collect();
    let shown = live.iter().map(|service| {
        json!({
            "id": service.id, "serviceName": service.service_name, "status": service.status, "url": service.url,
            "port": service.port, "healthStatus": service.health_status, "lifecycle": service.lifecycle,
            "scopeType": service.scope_type, "scopeId": service.scope_id, "reused": true,
        })
    });
    let primary = live.iter().find_map(|service| service.url.clone());
    (Json::Array(shown.collect()), primary)
}

/// The name of a service's process among those of runs: they share one folder and one port.
pub(crate) fn process_of(service: &RuntimeService) -> crate::ProcessId {
    crate::ProcessId { run: RunId(service.id.clone()), epoch: service.epoch }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_belong_to_the_workspace_they_are_started_in_unless_its_project_shares_them() {
        let project = ServiceHome {
            company: CompanyId::from("c"),
            project: Some("p".to_owned()),
            project_workspace: Some("pw".to_owned()),
            execution_workspace: None,
            cwd: None,
            runtime: None,
        };
        let execution = ServiceHome { execution_workspace: Some("ew".to_owned()), ..project.clone() };
        let shared = |id: &str| Some((ServiceScope::ProjectWorkspace, id.to_owned()));
        let own = |id: &str| Some((ServiceScope::ExecutionWorkspace, id.to_owned()));
        assert_eq!(project.scope(ServiceScope::Run), shared("pw"));
        assert_eq!(project.scope(ServiceScope::ProjectWorkspace), shared("pw"));
        assert_eq!(execution.scope(ServiceScope::ProjectWorkspace), shared("pw"));
        assert_eq!(execution.scope(ServiceScope::Agent), own("ew"));
        let runtime = json!({ "services": [
            { "name": "inside", "command": "x", "cwd": "ui", "lifecycle": "shared" },
            { "name": "outside", "command": "x", "cwd": "/srv/db", "lifecycle": "shared" },
        ] });
        let specs = runtime_service::read(Some(&runtime)).unwrap();
        let execution = ServiceHome { cwd: Some("/data/ACM-1".to_owned()), ..execution };
        assert_eq!(execution.place_of(&specs[0]), (PathBuf::from("/data/ACM-1/ui"), own("ew")));
        assert_eq!(execution.place_of(&specs[1]), (PathBuf::from("/srv/db"), shared("pw")));
        let project = ServiceHome { cwd: Some("/srv/web".to_owned()), ..project };
        assert_eq!(project.place_of(&specs[0]), (PathBuf::from("/srv/web/ui"), shared("pw")));
    }
}
