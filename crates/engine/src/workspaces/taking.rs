//! Giving a run the folder it works in.
//!
//! The row of the workspace and the run's lease on it are written before git is asked for anything: a server that dies
//! in between finds the row again, with the branch and the folder that were meant, and goes on from there. A workspace
//! that another run works in is never given away; the second run gets one of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::environment::choice::{self as environment, Chosen, Wish};
use domain::ids::IssueId;
use domain::moment::Moment;
use domain::workspace::choice::{self, Choice, Wishes};
use domain::workspace::place::{self, Candidate, SessionFolder, Step, View};
use domain::workspace::{Mode, Phase, Source, Status, name};
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::execution_workspaces::{self as rows, ExecutionWorkspace};
use store::issues::{self, Issue};
use store::leases::Lease;
use store::projects::{self, Project, Workspace};
use store::runs::Run;
use store::{StoreError, Tx, workspace_operations};

use super::commands::{self, Owner, Place};
use super::git::GitError;
use super::repository::{self, Repository};
use super::worktree::{self, Unmade, Wanted};
use super::{checkout, saving, scratch_of, worktrees_of};
use crate::Inner;
use crate::run_task::home_of;
use crate::settlement;
use crate::unwritten::{self, Unwritten, in_words};

/// Workspaces of one task that are looked at for one to be taken again.
const MOST_OF_SCOPE: i64 = 50;
/// Names that are tried for a branch.
const MOST_NAMES: u32 = 200;

/// For whom a folder is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) run: &'a Run,
    pub(crate) agent: &'a Agent,
    pub(crate) lease: &'a Lease,
    /// Where the session worked that the run goes on with.
    pub(crate) session_cwd: Option<&'a str>,
}

/// What was found.
#[derive(Debug)]
pub(crate) enum Seated {
    /// What the agent is told of it, by the keys of the context; and warnings for people.
    At { told: Map<String, Json>, warnings: Vec<String> },
    /// Somebody else owns the run now.
    Stale,
}

/// Everything that the store knows of where the run should work.
#[derive(Debug, Clone, Default)]
struct Facts {
    issue: Option<Issue>,
    project: Option<Project>,
    workspaces: Vec<Workspace>,
    /// What the issue names.
    linked: Option<ExecutionWorkspace>,
}

/// Keys that are said of a run's folder; a run that carries another one on brings the old ones along.
pub(crate) const KEYS: [&str; 3] = ["paperclipWorkspace", "paperclipWorkspaces", "executionWorkspaceId"];

/// Finds, makes and leases the folder of a run; the error is in words, and means that the run cannot start.
pub(crate) async fn seat(engine: &Inner, asking: Asking<'_>) -> Result<Seated, String> {
    let run = asking.run;
    if let Some(root) = run.context["bugleAutomation"]["workspace"].as_str() {
        return told_of_automation(root, &home_of(&engine.settings, &run.agent_id));
    }
    let facts = match has_project(run) {
        false => Facts::default(),
        true => load_patiently(engine, run).await?,
    };
    let settings = facts.issue.as_ref().and_then(|issue| issue.execution_workspace_settings.as_ref());
    let is_assignee =
        facts.issue.as_ref().is_some_and(|issue| issue.assignee_agent_id.as_ref() == Some(&run.agent_id));
    let overrides = facts.issue.as_ref().and_then(|issue| issue.assignee_adapter_overrides.as_ref());
    let overrides = overrides.filter(|_| is_assignee);
    let wishes = Wishes {
        issue: settings,
        policy: facts.project.as_ref().and_then(|project| project.execution_workspace_policy.as_ref()),
        use_project_workspace: overrides.and_then(|overrides| overrides["useProjectWorkspace"].as_bool()),
        agent_strategy: Some(&asking.agent.adapter_config["workspaceStrategy"]).filter(|it| it.is_object()),
        linked: facts.linked.as_ref().map(|row| row.mode.as_str()),
    };
    let asked = choice::asked(&wishes);
    let home = home_of(&engine.settings, &run.agent_id);
    // A project that names no place has no say where the agent was given one.
    let has_no_say = facts.workspaces.is_empty() && asked.is_none() && is_configured(asking.agent);
    let at_agents = asked == Some(Mode::AgentDefault) || has_no_say;
    let found = resolve(engine, asking, &facts, at_agents, &home).await;
    let mut warnings = found.place.warnings.clone();
    if found.place.make {
        std::fs::create_dir_all(&found.place.cwd)
            .map_err(|error| format!("cannot make the folder {}: {error}", found.place.cwd))?;
    }
    let Some(project) = facts.project.as_ref().filter(|_| !at_agents) else {
        return Ok(Seated::At { told: told_at_home(asking, &found, &facts, &home), warnings });
    };
    // The agent's own home is nobody's repository, whatever lies above it.
    let at_home = Path::new(&found.place.cwd) == home;
    let repository = if at_home { None } else { look(engine, &found.place.cwd, &mut warnings).await? };
    let choice = choice::decide(&wishes, asked, Repository::ground(repository.as_ref()))?;
    warnings.extend(choice.warnings.iter().cloned());
    let making = Making { engine, asking, facts: &facts, project, found: &found, choice, home, warnings };
    match repository {
        Some(repository) if making.choice.strategy.worktree => making.worktree(&repository).await,
        in_git => making.shared(in_git.is_some()).await,
    }
}

/// The folder of an automation: its runs hold it one after another, and it is nobody's to make or to clear.
fn told_of_automation(root: &str, home: &Path) -> Result<Seated, String> {
    if !Path::new(root).is_dir() {
        return Err(format!("the workspace of the automation, {root}, is not a folder"));
    }
    let workspace = json!({
        "cwd": root, "source": "automation", "mode": Mode::AgentDefault, "strategy": "project_primary",
        "projectId": null, "workspaceId": null, "repoUrl": null, "repoRef": null, "branchName": null,
        "worktreePath": null, "agentHome": home.display().to_string(),
    });
    let told = Map::from_iter([("paperclipWorkspace".to_owned(), workspace)]);
    Ok(Seated::At { told, warnings: Vec::new() })
}

/// Somebody said where the agent works.
fn is_configured(agent: &Agent) -> bool {
    agent.adapter_config["cwd"].as_str().is_some_and(|cwd| !cwd.trim().is_empty())
}

/// The run may belong to a project: only then is there anything to be read.
fn has_project(run: &Run) -> bool {
    run.issue_id.is_some() || run.project_id.is_some() || run.context["projectId"].is_string()
}

/// However long the store is away; one that is there and refuses says why.
async fn load_patiently(engine: &Inner, run: &Run) -> Result<Facts, String> {
    let mut pause = Duration::from_millis(50);
    loop {
        let loaded = engine.read(run.clone(), |tx, run| Box::pin(async move { load(tx, &run).await }));
        match loaded.await {
            Ok(facts) => return Ok(facts),
            Err(error) if unwritten::is_refusal(&error) => {
                return Err(format!("cannot read where the run is to work: {}", in_words(&error)));
            }
            Err(error) => {
                tracing::warn!(run = %run.id, %error, "cannot read where the run is to work; trying again")
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

async fn load(tx: &mut Tx<'_>, run: &Run) -> Result<Facts, StoreError> {
    let issue = match &run.issue_id {
        Some(id) => issues::get(tx, &IssueId(id.clone())).await?.filter(|it| it.company_id == run.company_id),
        None => None,
    };
    let of_context = || run.context["projectId"].as_str().map(str::to_owned);
    let project = issue.as_ref().and_then(|issue| issue.project_id.clone());
    let project = project.or_else(|| run.project_id.clone()).or_else(of_context);
    let project = match project {
        Some(id) => projects::get(tx, &id).await?.filter(|project| project.company_id == run.company_id),
        None => None,
    };
    let workspaces = match &project {
        Some(project) => projects::workspaces_of(tx, std::slice::from_ref(&project.id)).await?,
        None => Vec::new(),
    };
    let linked =
        issue.as_ref().filter(|it| it.execution_workspace_preference.as_deref() == Some("reuse_existing"));
    let linked = match linked.and_then(|issue| issue.execution_workspace_id.as_deref()) {
        Some(id) => {
            rows::get(tx, id).await?.filter(|row| row.company_id == run.company_id && !row.is_closed())
        }
        None => None,
    };
    Ok(Facts { issue, project, workspaces, linked })
}

/// The folder, and what of the project's rows was looked at on the way.
struct Found {
    place: place::Place,
    candidates: Vec<Candidate>,
}

async fn resolve(
    engine: &Inner,
    asking: Asking<'_>,
    facts: &Facts,
    ignores_project: bool,
    home: &Path,
) -> Found {
    let run = asking.run;
    let named = facts.issue.as_ref().and_then(|issue| issue.project_workspace_id.as_deref());
    let preferred = named.or_else(|| run.context["projectWorkspaceId"].as_str());
    let candidates = facts.workspaces.iter().map(|row| Candidate {
        id: row.id.clone(),
        cwd: row.cwd.clone(),
        exists: row.cwd.as_deref().is_some_and(|cwd| Path::new(cwd).is_absolute() && Path::new(cwd).is_dir()),
        repo_url: row.repo_url.clone(),
        repo_ref: row.repo_ref.clone(),
        checkout: None,
    });
    let mut candidates = place::order(preferred, candidates.collect());
    let project = facts.project.as_ref().map(|project| project.id.as_str());
    let folder = project
        .map(|project| checkout::folder_of(&engine.settings, &run.company_id, project, None))
        .unwrap_or_default();
    let (folder, home_text) = (folder.display().to_string(), home.display().to_string());
    loop {
        let view = View {
            project,
            ignores_project,
            preferred,
            candidates: &candidates,
            project_folder: &folder,
            session_cwd: session_folder(engine, asking, home),
            agent_home: &home_text,
        };
        match place::resolve(&view) {
            Step::Settled(place) => return Found { place, candidates },
            Step::CheckOut(at) => {
                let url = candidates[at].repo_url.clone();
                let made =
                    checkout::make(engine, &run.company_id, project.unwrap_or_default(), url.as_deref())
                        .await;
                candidates[at].checkout = Some(made);
            }
        }
    }
}

/// Where the session worked, when that is another place than where the run would work by itself. A folder that was made
/// for a task is that task's.
fn session_folder<'a>(engine: &Inner, asking: Asking<'a>, home: &Path) -> Option<SessionFolder<'a>> {
    let cwd = asking.session_cwd.filter(|cwd| Path::new(cwd).is_absolute() && Path::new(cwd) != home)?;
    let configured = is_configured(asking.agent);
    let is_of_task = Path::new(cwd).starts_with(worktrees_of(&engine.settings));
    (!configured && !is_of_task).then(|| SessionFolder { cwd, exists: Path::new(cwd).is_dir() })
}

async fn look(engine: &Inner, cwd: &str, warnings: &mut Vec<String>) -> Result<Option<Repository>, String> {
    match repository::find(&engine.git(cwd)).await {
        Ok(found) => Ok(found),
        Err(GitError::NotInstalled) if !Path::new(cwd).join(".git").exists() => Ok(None),
        Err(GitError::NotInstalled) => {
            warnings.push("git is not installed".to_owned());
            Ok(None)
        }
        Err(error) => Err(format!("cannot look at the repository in {cwd}: {error}")),
    }
}

/// What is told of a folder that no execution workspace stands for.
fn told_at_home(asking: Asking<'_>, found: &Found, facts: &Facts, home: &Path) -> Map<String, Json> {
    let place = &found.place;
    let configured = is_configured(asking.agent);
    // A configured folder replaces the home, so nothing is said of that.
    let is_replaced = place.source == Source::AgentHome && configured;
    let mut told = Map::new();
    let workspace = json!({
        "cwd": Some(&place.cwd).filter(|_| !is_replaced), "source": place.source, "mode": Mode::AgentDefault,
        "strategy": "project_primary", "projectId": facts.project.as_ref().map(|project| &project.id),
        "workspaceId": null, "repoUrl": null, "repoRef": null, "branchName": null, "worktreePath": null,
        "agentHome": home.display().to_string(),
    });
    told.insert("paperclipWorkspace".to_owned(), workspace);
    told
}

/// A folder on its way to a run.
struct Making<'a> {
    engine: &'a Inner,
    asking: Asking<'a>,
    facts: &'a Facts,
    project: &'a Project,
    found: &'a Found,
    choice: Choice,
    home: PathBuf,
    warnings: Vec<String>,
}

/// What became of taking a row.
#[derive(Debug, Clone)]
enum Taken {
    Stale,
    Row(Box<ExecutionWorkspace>),
    NoName,
}

/// What a row is to be when none can be taken again.
#[derive(Debug, Clone)]
struct Wanting {
    lease: Lease,
    row: ExecutionWorkspace,
    issue: Option<IssueId>,
    /// The row that the issue names.
    linked: Option<String>,
    /// Rows that turned out to be unusable.
    not: Vec<String>,
    /// One that was made for nothing.
    instead_of: Option<String>,
    /// Where its folder goes; `None`: it has no folder of its own.
    parent: Option<PathBuf>,
    flat: bool,
    from_number: u32,
}

impl Making<'_> {
    fn row(
        &self,
        worktree: bool,
        scope: String,
        repo_dir: Option<String>,
        now: Moment,
    ) -> ExecutionWorkspace {
        let (run, place) = (self.asking.run, &self.found.place);
        let (strategy, provider) =
            if worktree { ("git_worktree", "git_worktree") } else { ("project_primary", "local_fs") };
        let identifier = self.facts.issue.as_ref().map(|issue| issue.identifier.clone());
        ExecutionWorkspace {
            id: domain::ids::mint(now, self.engine.dice.bytes()),
            company_id: run.company_id.clone(),
            project_id: self.project.id.clone(),
            project_workspace_id: place.workspace.clone(),
            source_issue_id: self.facts.issue.as_ref().filter(|_| worktree).map(|issue| issue.id.clone()),
            mode: self.choice.mode.persisted().to_owned(),
            strategy_type: strategy.to_owned(),
            name: identifier.unwrap_or_else(|| {
                format!("workspace-{}", run.agent_id.as_str().chars().take(8).collect::<String>())
            }),
            status: Status::Active.as_str().to_owned(),
            cwd: (!worktree).then(|| place.cwd.clone()),
            repo_url: place.repo_url.clone(),
            base_ref: place.repo_ref.clone(),
            branch_name: None,
            provider_type: provider.to_owned(),
            provider_ref: None,
            derived_from: None,
            last_used_at: now,
            opened_at: now,
            closed_at: None,
            cleanup_eligible_at: None,
            cleanup_reason: None,
            metadata: Some(self.metadata(worktree)),
            node_id: self.engine.settings.node_id.clone(),
            scope_key: scope,
            repo_dir,
            base_commit: None,
            closing_at: None,
            look_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    fn metadata(&self, created: bool) -> Json {
        let strategy = &self.choice.strategy;
        json!({
            "source": self.found.place.source, "createdByRuntime": created,
            "config": {
                "environmentId": self.environment(created), "provisionCommand": strategy.provision,
                "teardownCommand": strategy.teardown, "cleanupCommand": null, "workspaceRuntime": self.services(created),
                "desiredState": null,
            },
        })
    }

    /// The environment that somebody chose for a worktree that is made: its work goes on there. The project's folder is
    /// everybody's, whatever one of them chose.
    fn environment(&self, is_own: bool) -> Option<String> {
        let issue = self.facts.issue.as_ref().and_then(|issue| issue.execution_workspace_settings.as_ref());
        let wishes = environment::Wishes {
            workspace: Wish::Silent,
            issue: Wish::of(issue),
            project: Wish::of(self.project.execution_workspace_policy.as_ref()),
            agent: Wish::of_column(self.asking.agent.default_environment_id.as_deref()),
        };
        match environment::choose(&wishes) {
            Chosen::Named { id, .. } if is_own => Some(id),
            Chosen::Named { .. } | Chosen::CompanyDefault => None,
        }
    }

    /// The services that the issue, else the project, wishes beside it.
    fn services(&self, is_own: bool) -> Option<&Json> {
        let issue = self.facts.issue.as_ref().filter(|_| is_own);
        let issue = issue.and_then(|issue| issue.execution_workspace_settings.as_ref());
        let wish = |settings: &'_ Json| settings.get("workspaceRuntime").is_some_and(Json::is_object);
        let policy = self.project.execution_workspace_policy.as_ref();
        issue.filter(|it| wish(it)).or(policy.filter(|it| wish(it))).map(|it| &it["workspaceRuntime"])
    }

    /// Everybody's folder: one row for the place, however many runs.
    async fn shared(self, in_git: bool) -> Result<Seated, String> {
        let now = self.engine.clock.now();
        let place = &self.found.place;
        let scope = format!("shared:{}:{}", self.project.id, place.workspace.as_deref().unwrap_or("-"));
        let wanting = self.wanting(self.row(false, scope, None, now), None);
        let row = match self.take(&wanting, now).await? {
            Taken::Stale => return Ok(Seated::Stale),
            Taken::NoName => return Err("the workspace of the project cannot be recorded".to_owned()),
            Taken::Row(row) => *row,
        };
        let start = match in_git {
            true => repository::commit(&self.engine.git(&place.cwd), "HEAD").await.ok().flatten(),
            false => None,
        };
        let row = ExecutionWorkspace {
            cwd: Some(place.cwd.clone()),
            status: Status::Active.as_str().to_owned(),
            last_used_at: now,
            updated_at: now,
            ..row
        };
        self.finish(row, Source::ProjectPrimary, (start, None), None).await
    }

    fn wanting(&self, row: ExecutionWorkspace, parent: Option<PathBuf>) -> Wanting {
        Wanting {
            lease: self.asking.lease.clone(),
            issue: self.facts.issue.as_ref().map(|issue| issue.id.clone()),
            linked: self.facts.linked.as_ref().map(|row| row.id.clone()),
            not: Vec::new(),
            instead_of: None,
            flat: self.choice.strategy.parent_dir.is_none(),
            parent,
            from_number: 1,
            row,
        }
    }

    /// Gives a row to the run: one of its task that nobody works in, or a new one.
    async fn take(&self, wanting: &Wanting, now: Moment) -> Result<Taken, String> {
        let context = (wanting.clone(), self.asking.run.id.clone());
        let taken = self.engine.write_patiently(context, move |tx, (wanting, run)| {
            Box::pin(async move {
                if let Some(issue) = &wanting.issue {
                    issues::lock(tx, issue).await?;
                }
                if settlement::owned(tx, &wanting.lease).await?.is_none() {
                    return Ok(Taken::Stale);
                }
                let row = match again(tx, &wanting, &run).await? {
                    Some(row) => row,
                    None => match insert(tx, &wanting).await? {
                        Some(row) => row,
                        None => return Ok(Taken::NoName),
                    },
                };
                rows::take(tx, &run, &row.id, now).await?;
                if row.is_worktree() {
                    // Nobody else works there: what is still going on belongs to a server that died.
                    workspace_operations::give_up(tx, &row.id, now).await?;
                }
                if let Some(issue) = wanting.issue.as_ref().filter(|_| row.is_worktree()) {
                    rows::link_issue(tx, issue, &row.id, row.project_workspace_id.as_deref()).await?;
                }
                Ok(Taken::Row(Box::new(row)))
            })
        });
        taken.await.map_err(|error| not_written("take a workspace", &error))
    }

    /// A worktree of the task's own.
    async fn worktree(mut self, repository: &Repository) -> Result<Seated, String> {
        let now = self.engine.clock.now();
        let run = self.asking.run;
        let work = match &self.facts.issue {
            Some(issue) => format!("issue:{}", issue.id),
            None => format!("agent:{}:{}", run.agent_id, run.task_key),
        };
        let scope = format!("{work}:{}", self.found.place.workspace.as_deref().unwrap_or("-"));
        let parent = self.parent(repository)?;
        let mut row = self.row(true, scope, Some(repository.common.display().to_string()), now);
        row.branch_name = Some(self.branch());
        row.base_ref = self.choice.strategy.base_ref.clone().or(row.base_ref);
        let mut wanting = self.wanting(row, Some(parent));
        for _ in 0..MOST_NAMES {
            let row = match self.take(&wanting, now).await? {
                Taken::Stale => return Ok(Seated::Stale),
                Taken::NoName => break,
                Taken::Row(row) => *row,
            };
            match self.realise(repository, row.clone()).await? {
                Realised::Ready(row, source, start, created) => {
                    return self.finish(*row, source, start, Some((repository, created))).await;
                }
                Realised::Taken(words) => {
                    tracing::info!(workspace = %row.id, %words, "taking another branch");
                    wanting.from_number += 1;
                    wanting.row.id = domain::ids::mint(now, self.engine.dice.bytes());
                    if row.base_commit.is_none() {
                        wanting.instead_of = Some(row.id);
                    } else {
                        self.warnings.push(format!("the earlier workspace cannot be used: {words}"));
                        wanting.row.derived_from = Some(row.id.clone());
                        wanting.not.push(row.id);
                    }
                }
            }
        }
        Err("no name is left for a branch of this task".to_owned())
    }

    fn branch(&self) -> String {
        let run = self.asking.run;
        let place = &self.found.place;
        let template = self.choice.strategy.branch_template.as_deref();
        let Some(issue) = &self.facts.issue else {
            let agent = name::segment(&self.asking.agent.name.to_lowercase(), "agent");
            let key = if run.task_key.is_empty() { run.id.as_str() } else { run.task_key.as_str() };
            let key: String = key.chars().take(40).collect();
            return name::sanitised(&format!("{agent}-{key}"));
        };
        let names = name::Names {
            issue_id: issue.id.as_str(),
            issue_identifier: &issue.identifier,
            issue_title: &issue.title,
            agent_id: run.agent_id.as_str(),
            agent_name: &self.asking.agent.name,
            project_id: &self.project.id,
            repo_ref: place.repo_ref.as_deref().unwrap_or_default(),
        };
        name::branch(template.unwrap_or(name::TEMPLATE), &names)
    }

    /// The folder that the worktree's own goes into.
    fn parent(&self, repository: &Repository) -> Result<PathBuf, String> {
        let Some(wished) = &self.choice.strategy.parent_dir else {
            let below = self.found.place.workspace.as_deref().unwrap_or(&self.project.id);
            return Ok(worktrees_of(&self.engine.settings).join(name::segment(below, "project")));
        };
        if let Some(rest) = wished.strip_prefix("~/") {
            let home = self.engine.settings.host.env.get("HOME");
            return home
                .map(|home| Path::new(home).join(rest))
                .ok_or_else(|| "worktreeParentDir begins with ~ and the server has no HOME".to_owned());
        }
        Ok(repository.root.join(wished))
    }

    /// Has git make what the row says, or finds it made; then runs the command that prepares it.
    async fn realise(
        &mut self,
        repository: &Repository,
        mut row: ExecutionWorkspace,
    ) -> Result<Realised, String> {
        let engine = self.engine;
        let git = engine.git(&repository.common);
        let path = PathBuf::from(row.provider_ref.clone().unwrap_or_default());
        let branch = row.branch_name.clone().unwrap_or_default();
        let owner = Owner {
            company: row.company_id.clone(),
            workspace: row.id.clone(),
            run: Some(self.asking.run.id.clone()),
        };
        let is_new = row.base_commit.is_none();
        let base = match &row.base_commit {
            Some(base) => base.clone(),
            None => self.base(repository, &row).await?,
        };
        let words = format!("git worktree add {} ({branch})", path.display());
        let id =
            commands::begin(engine, &owner, Phase::Prepare, Some(&words), &repository.root, None).await?;
        let wanted = Wanted { path: &path, branch: &branch, base: &base, workspace: &row.id };
        let lock = engine.repositories.lock(&repository.common).await;
        let made = worktree::make(&git, &wanted).await;
        drop(lock);
        let made = match made {
            Ok(made) => made,
            Err(unmade) => {
                let words = unmade.to_string();
                commands::end(engine, &id, Err(&words)).await;
                return match unmade {
                    Unmade::Taken(words) => Ok(Realised::Taken(words)),
                    Unmade::Git(error) => Err(format!("cannot make the worktree: {error}")),
                };
            }
        };
        let told = if made.created { "made" } else { "found" };
        let said = super::git::Said { code: Some(0), out: told.into(), ..super::git::Said::default() };
        commands::end(engine, &id, Ok(&said)).await;
        self.warnings.extend(made.warning);
        row.branch_name = made.branch.or(row.branch_name);
        let cwd = Some(path.join(&repository.prefix).components().collect::<PathBuf>())
            .filter(|cwd| cwd.is_dir())
            .unwrap_or_else(|| path.clone());
        row.cwd = Some(cwd.display().to_string());
        let script = row.metadata.as_ref().and_then(|it| it["config"]["provisionCommand"].as_str());
        let script = script.or(self.choice.strategy.provision.as_deref()).map(str::to_owned);
        if let Some(script) = script.filter(|script| !script.trim().is_empty()) {
            let place = self.command_place(repository, &row, &path, made.created);
            commands::run(engine, &owner, Phase::Provision, &script, &place).await?;
        }
        let source = if is_new { self.found.place.source } else { Source::TaskSession };
        row.base_commit = Some(base);
        let start = self.start(&path, &row).await?;
        Ok(Realised::Ready(Box::new(row), source, start, made.created))
    }

    /// The commit that a new branch begins from.
    async fn base(&mut self, repository: &Repository, row: &ExecutionWorkspace) -> Result<String, String> {
        let git = self.engine.git(&repository.root);
        let words = |error: GitError| format!("cannot find what the work begins from: {error}");
        if let Some(derived) = &row.derived_from
            && let Some(base) = self.head_of(derived).await
            && let Some(sha) = repository::commit(&git, &base).await.map_err(words)?
        {
            self.warnings
                .push(format!("another run works in the workspace; going on from its branch {base}"));
            return Ok(sha);
        }
        if self.found.place.managed {
            self.warnings.extend(checkout::fetch(self.engine, &repository.root).await.err());
        }
        let of_project =
            self.facts.workspaces.iter().find(|it| Some(&it.id) == row.project_workspace_id.as_ref());
        let named = row.base_ref.clone().or_else(|| of_project.and_then(|it| it.default_ref.clone()));
        let Some(named) = named.filter(|name| !name.trim().is_empty()) else {
            let base = repository::default_base(&git).await.map_err(words)?;
            let sha = repository::commit(&git, &base).await.map_err(words)?;
            return sha.ok_or_else(|| format!("the repository has no commit {base}"));
        };
        // In a checkout of ours the branches stand where they stood when it was made: the remote's are newer.
        let remote = format!("refs/remotes/origin/{named}");
        let order = if self.found.place.managed { [remote, named.clone()] } else { [named.clone(), remote] };
        for name in &order {
            if let Some(sha) = repository::commit(&git, name).await.map_err(words)? {
                return Ok(sha);
            }
        }
        Err(format!(
            "the work is to begin from `{named}`, and the repository in {} has no such thing; \
                     change baseRef or repoRef",
            repository.root.display()
        ))
    }

    async fn head_of(&self, workspace: &str) -> Option<String> {
        let found = self
            .engine
            .read(workspace.to_owned(), |tx, id| Box::pin(async move { rows::get(tx, &id).await }))
            .await;
        found.ok().flatten()?.branch_name
    }

    /// What a command in the workspace is told (spec/heartbeat.md 4.7).
    fn command_place(
        &self,
        repository: &Repository,
        row: &ExecutionWorkspace,
        path: &Path,
        created: bool,
    ) -> Place {
        let run = self.asking.run;
        let issue = self.facts.issue.as_ref();
        let mut env = self.engine.settings.host.env.clone();
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let path = path.display().to_string();
        for (name, value) in [
            ("WORKSPACE_CWD", path.clone()),
            ("WORKSPACE_PATH", path.clone()),
            ("WORKSPACE_WORKTREE_PATH", path.clone()),
            ("WORKSPACE_BRANCH", text(row.branch_name.as_deref())),
            ("WORKSPACE_BASE_CWD", self.found.place.cwd.clone()),
            ("WORKSPACE_REPO_ROOT", repository.root.display().to_string()),
            ("WORKSPACE_SOURCE", self.found.place.source.as_str().to_owned()),
            ("WORKSPACE_REPO_REF", text(row.base_ref.as_deref())),
            ("WORKSPACE_REPO_URL", text(row.repo_url.as_deref())),
            ("WORKSPACE_CREATED", created.to_string()),
            ("PROJECT_ID", self.project.id.clone()),
            ("PROJECT_WORKSPACE_ID", text(row.project_workspace_id.as_deref())),
            ("AGENT_ID", run.agent_id.0.clone()),
            ("AGENT_NAME", self.asking.agent.name.clone()),
            ("COMPANY_ID", run.company_id.0.clone()),
            ("ISSUE_ID", text(issue.map(|issue| issue.id.as_str()))),
            ("ISSUE_IDENTIFIER", text(issue.map(|issue| issue.identifier.as_str()))),
            ("ISSUE_TITLE", text(issue.map(|issue| issue.title.as_str()))),
        ] {
            env.insert(format!("BUGLE_{name}"), value.clone());
            env.insert(format!("PAPERCLIP_{name}"), value);
        }
        Place { cwd: PathBuf::from(path), repo_root: repository.root.clone(), env }
    }

    /// Where the run begins: the commit, and what lies there besides, so that nothing of it is taken for the run's.
    async fn start(&self, path: &Path, row: &ExecutionWorkspace) -> Result<Start, String> {
        let git = self.engine.git(path);
        let words = |error: GitError| format!("cannot look at the worktree: {error}");
        let head = repository::commit(&git, "HEAD").await.map_err(words)?;
        let dirty = git.run(&["status", "--porcelain", "-z"]).await.map_err(words)?;
        if dirty.out.is_empty() {
            return Ok((head, None));
        }
        let scratch = saving::Scratch::new(&scratch_of(&self.engine.settings), &row.id).map_err(words)?;
        let own = scratch.git(&git).await.map_err(words)?;
        // Without it the run's outputs hold more than its own, and nothing is lost.
        Ok((head, saving::tree_of(&own).await.ok()))
    }

    /// Writes down where the run works, and tells it.
    async fn finish(
        self,
        mut row: ExecutionWorkspace,
        source: Source,
        (start_commit, start_tree): Start,
        worktree: Option<(&Repository, bool)>,
    ) -> Result<Seated, String> {
        let engine = self.engine;
        let now = engine.clock.now();
        row.last_used_at = now;
        row.updated_at = now;
        row.status = Status::Active.as_str().to_owned();
        if let Some(branch) = row.branch_name.clone().filter(|_| worktree.is_some()) {
            row.name = branch;
        }
        let hints: Vec<Json> = self
            .found
            .candidates
            .iter()
            .map(|it| {
                json!({ "workspaceId": it.id, "cwd": it.cwd, "repoUrl": it.repo_url, "repoRef": it.repo_ref })
            })
            .collect();
        let mut told = Map::new();
        let workspace = json!({
            "cwd": row.cwd, "source": source, "mode": self.choice.mode, "strategy": row.strategy_type,
            "projectId": self.project.id, "workspaceId": row.project_workspace_id, "repoUrl": row.repo_url,
            "repoRef": row.base_ref, "branchName": row.branch_name, "worktreePath": row.provider_ref,
            "agentHome": self.home.display().to_string(),
        });
        told.insert("paperclipWorkspace".to_owned(), workspace);
        told.insert("paperclipWorkspaces".to_owned(), Json::Array(hints));
        told.insert("executionWorkspaceId".to_owned(), json!(row.id));
        told.insert("projectId".to_owned(), json!(self.project.id));
        let mut context = self.asking.run.context.as_object().cloned().unwrap_or_default();
        context.extend(told.clone());
        let written = (row, self.asking.lease.clone(), Json::Object(context), start_commit, start_tree);
        let is_ours = engine.write_patiently(written, |tx, (row, lease, context, commit, tree)| {
            Box::pin(async move {
                if !rows::set_context(tx, &lease, &context).await? {
                    return Ok(false);
                }
                rows::update_place(tx, &row).await?;
                rows::begin_at(tx, &lease.run, commit.as_deref(), tree.as_deref()).await?;
                Ok(true)
            })
        });
        match is_ours.await {
            Ok(true) => Ok(Seated::At { told, warnings: self.warnings }),
            Ok(false) => Ok(Seated::Stale),
            Err(error) => Err(not_written("record where the run works", &error)),
        }
    }
}

fn not_written(what: &str, error: &Unwritten) -> String {
    match error {
        Unwritten::Leaving => format!("cannot {what}: the server leaves"),
        Unwritten::Refused(error) => format!("cannot {what}: {}", in_words(error)),
    }
}

/// The commit a run begins at, and the tree of what lay there besides.
type Start = (Option<String>, Option<String>);

/// What became of making it.
enum Realised {
    Ready(Box<ExecutionWorkspace>, Source, Start, bool),
    /// The branch or the folder is somebody else's.
    Taken(String),
}

/// A workspace of the same task that nobody works in.
async fn again(
    tx: &mut Tx<'_>,
    wanting: &Wanting,
    run: &domain::ids::RunId,
) -> Result<Option<ExecutionWorkspace>, StoreError> {
    let want = &wanting.row;
    let mut found = Vec::new();
    if let Some(id) = &wanting.linked {
        found.extend(rows::get(tx, id).await?);
    }
    found.extend(rows::of_scope(tx, &want.node_id, &want.scope_key, MOST_OF_SCOPE).await?);
    let fits = |row: &ExecutionWorkspace| {
        !row.is_closed()
            && row.closing_at.is_none()
            && row.node_id == want.node_id
            && row.company_id == want.company_id
            && row.strategy_type == want.strategy_type
            && row.repo_dir == want.repo_dir
            && row.project_workspace_id == want.project_workspace_id
            && !wanting.not.contains(&row.id)
            && wanting.instead_of.as_ref() != Some(&row.id)
    };
    for row in found.into_iter().filter(fits) {
        let Some(row) = rows::lock(tx, &row.id).await?.filter(fits) else { continue };
        // The project's folder is everybody's; a worktree is one run's at a time.
        let is_free =
            !row.is_worktree() || rows::tenants(tx, &row.id).await?.iter().all(|tenant| tenant == run);
        if is_free {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// A new row under the first free name; `None`: there is none.
async fn insert(tx: &mut Tx<'_>, wanting: &Wanting) -> Result<Option<ExecutionWorkspace>, StoreError> {
    if let Some(id) = &wanting.instead_of {
        rows::discard(tx, id).await?;
    }
    let mut row = wanting.row.clone();
    let (Some(parent), Some(branch), Some(repo)) =
        (&wanting.parent, row.branch_name.clone(), row.repo_dir.clone())
    else {
        return Ok(rows::insert(tx, &row).await?.then_some(row));
    };
    // What the issue goes on from, should somebody else be working there.
    if row.derived_from.is_none() {
        row.derived_from = wanting.linked.clone().filter(|id| *id != row.id);
    }
    for number in wanting.from_number..wanting.from_number + MOST_NAMES {
        let branch = name::numbered(&branch, number);
        if rows::has_branch(tx, &row.node_id, &repo, &branch).await? {
            continue;
        }
        let folder = if wanting.flat { branch.replace('/', "-") } else { branch.clone() };
        row.provider_ref = Some(parent.join(folder).display().to_string());
        row.cwd.clone_from(&row.provider_ref);
        row.name.clone_from(&branch);
        row.branch_name = Some(branch);
        if rows::insert(tx, &row).await? {
            return Ok(Some(row));
        }
    }
    Ok(None)
}
