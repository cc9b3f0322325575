//! Projects: what issues are grouped by. Their workspaces and the goals they serve are in files of their own.
//!
//! Any agent of the company may make and change them; what a project's commands are is for people alone, and asked by
//! the API. Pausing a project for its budget is `budgets`'.

mod goals;
mod workspaces;

use std::collections::BTreeMap;

use domain::agent::url_key;
use domain::ids::{AgentId, CompanyId};
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::goals as stored_goals;
use store::projects::{self, Project, Workspace};
use store::secrets::{self, Owner};
use store::{StoreError, Tx, agents, companies};

pub(crate) use goals::check_said;
pub use goals::{GoalDraft, GoalPatch};
pub use workspaces::WorkspaceDraft;

use crate::activity::{Author, Scribe};
use crate::environments::check_choice;
use crate::issues::{Locks, Sheet, agent_in};
use crate::secrets::bindings::{self, Saved};
use crate::{Engine, EngineError, budgets};

/// The longest name of a project, a workspace or a goal.
const NAME: usize = 255;
/// The longest text.
const BODY: usize = 100_000;
/// Where the environment of a project stands in a request.
const ENV: &str = "env";
/// The longest list.
pub const MOST_PROJECTS: i64 = 1_000;
/// How many numbers are tried behind a name that is taken.
const NUMBERS: u32 = 100;

const STATUSES: [&str; 5] = ["backlog", "planned", "in_progress", "completed", "cancelled"];
/// What projects are painted with, one after another.
const PALETTE: [&str; 10] = [
    "#6366f1", "#8b5cf6", "#ec4899", "#f43f5e", "#f97316", "#eab308", "#22c55e", "#14b8a6", "#06b6d4",
    "#3b82f6",
];

/// A project with what is shown of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectCard {
    pub project: Project,
    /// Id and title of each goal, in their order.
    pub goals: Vec<(String, String)>,
    /// The primary one first.
    pub workspaces: Vec<Workspace>,
}

/// A new project.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectDraft {
    pub name: String,
    pub description: Option<String>,
    pub status: String,
    pub goal_ids: Vec<String>,
    pub lead_agent_id: Option<AgentId>,
    /// `YYYY-MM-DD`.
    pub target_date: Option<String>,
    /// `None`: the next of a palette.
    pub color: Option<String>,
    pub env: Option<Json>,
    pub execution_workspace_policy: Option<Json>,
    pub archived_at: Option<Moment>,
    pub workspace: Option<WorkspaceDraft>,
}

impl Default for ProjectDraft {
    fn default() -> ProjectDraft {
        ProjectDraft {
            name: String::new(),
            description: None,
            status: "backlog".to_owned(),
            goal_ids: Vec::new(),
            lead_agent_id: None,
            target_date: None,
            color: None,
            env: None,
            execution_workspace_policy: None,
            archived_at: None,
            workspace: None,
        }
    }
}

/// A change of a project: what is `None` stays. The inner `None` of a double option clears the field.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProjectPatch {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub status: Option<String>,
    pub goal_ids: Option<Vec<String>>,
    pub lead_agent_id: Option<Option<AgentId>>,
    pub target_date: Option<Option<String>>,
    pub color: Option<Option<String>>,
    pub env: Option<Option<Json>>,
    pub execution_workspace_policy: Option<Option<Json>>,
    pub archived_at: Option<Option<Moment>>,
}

impl Engine {
    /// Lists the projects of a company, oldest first, behind a place.
    pub async fn projects(
        &self,
        company: &CompanyId,
        after: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Vec<ProjectCard>, EngineError> {
        let limit = limit.clamp(1, MOST_PROJECTS);
        let listed = self.inner.read((company.clone(), after), move |tx, (company, after)| {
            Box::pin(async move {
                let found = projects::list(tx, &company, after, limit).await?;
                cards(tx, found).await
            })
        });
        Ok(listed.await?)
    }

    /// Finds a project by its id, whatever company it belongs to.
    pub async fn project(&self, id: &str) -> Result<ProjectCard, EngineError> {
        let found = self.inner.read(id.to_owned(), |tx, id| {
            Box::pin(async move {
                let found = projects::get(tx, &id).await?;
                Ok(cards(tx, found.into_iter().collect()).await?.pop())
            })
        });
        found.await?.ok_or(EngineError::NotFound("Project"))
    }

    /// Finds a project by its short name in a company.
    pub async fn project_named(&self, company: &CompanyId, name: &str) -> Result<ProjectCard, EngineError> {
        let key = url_key(name);
        let found = self.inner.read((company.clone(), key), |tx, (company, key)| {
            Box::pin(async move {
                let found = projects::by_url_key(tx, &company, &key).await?;
                Ok(cards(tx, found.into_iter().collect()).await?.pop())
            })
        });
        found.await?.ok_or(EngineError::NotFound("Project"))
    }

    /// Creates a project, with its first workspace if one is given; a name that is taken gets a number.
    pub async fn create_project(
        &self,
        company: &CompanyId,
        draft: ProjectDraft,
        by: &Author,
    ) -> Result<ProjectCard, EngineError> {
        self.make_project(company, draft, false, by).await
    }

    /// The same. `is_once`: a name that is taken gets no number, it is refused.
    pub(crate) async fn make_project(
        &self,
        company: &CompanyId,
        draft: ProjectDraft,
        is_once: bool,
        by: &Author,
    ) -> Result<ProjectCard, EngineError> {
        check_project(&draft)?;
        self.inner.refuse_bare_secrets(ENV, draft.env.as_ref())?;
        let context = (company.clone(), draft);
        let made = self.inner.change(by, Locks::default(), context, move |tx, mut scribe, _, context| {
            Box::pin(async move {
                let (company, draft) = context;
                let name = draft.name.trim();
                if is_once {
                    companies::lock(tx, &company).await?.ok_or(EngineError::NotFound("Company"))?;
                    if projects::is_named(tx, &company, name).await? {
                        return Err(EngineError::taken("project", name));
                    }
                }
                companies::get(tx, &company).await?.ok_or(EngineError::NotFound("Company"))?;
                agent_in(tx, &scribe, &company).await?;
                in_company(tx, &company, &draft.goal_ids, draft.lead_agent_id.as_ref()).await?;
                check_choice(tx, &company, draft.execution_workspace_policy.as_ref()).await?;
                let ready = draft.workspace.as_ref().map(workspaces::ready).transpose()?;
                let project = name_and_insert(tx, &mut scribe, &company, &draft).await?;
                if is_once && project.name != name {
                    return Err(EngineError::taken("project", name));
                }
                bindings::refer(tx, env_saved(&project), scribe.by.agent_id().as_ref()).await?;
                projects::replace_goals(tx, &project.id, &draft.goal_ids).await?;
                let details = json!({ "name": project.name, "status": project.status });
                scribe.tell(tx, &company, "project.created", ("project", &project.id), details).await?;
                if let Some(workspace) = ready {
                    workspaces::insert(tx, &mut scribe, &project, workspace).await?;
                }
                Ok(card(tx, project).await?)
            })
        });
        made.await
    }

    /// Changes a project.
    pub async fn patch_project(
        &self,
        id: &str,
        patch: ProjectPatch,
        by: &Author,
    ) -> Result<ProjectCard, EngineError> {
        self.inner.refuse_bare_secrets(ENV, patch.env.as_ref().and_then(Option::as_ref))?;
        let context = (id.to_owned(), patch);
        let patched = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (id, patch)| {
            Box::pin(async move {
                let before = projects::lock(tx, &id).await?.ok_or(EngineError::NotFound("Project"))?;
                agent_in(tx, &scribe, &before.company_id).await?;
                let company = before.company_id.clone();
                check_choice(
                    tx,
                    &company,
                    patch.execution_workspace_policy.as_ref().and_then(Option::as_ref),
                )
                .await?;
                let goal_ids = patch.goal_ids.clone();
                let env_before = before.env.clone();
                let project = Project { updated_at: scribe.now, ..patched(before, patch) };
                check_row(&project)?;
                let goals = goal_ids.as_deref().unwrap_or_default();
                in_company(tx, &company, goals, project.lead_agent_id.as_ref()).await?;
                if !projects::update(tx, &project).await? {
                    let words =
                        format!("Project shortname '{}' is already in use in this company", project.url_key);
                    return Err(EngineError::refused(Kind::Conflict, words));
                }
                if project.env != env_before {
                    let saved = Saved { before: env_before.as_ref(), ..env_saved(&project) };
                    bindings::refer(tx, saved, scribe.by.agent_id().as_ref()).await?;
                }
                if let Some(goals) = goal_ids {
                    projects::replace_goals(tx, &id, &goals).await?;
                }
                let details = json!({ "name": project.name, "status": project.status });
                scribe.tell(tx, &company, "project.updated", ("project", &id), details).await?;
                Ok(card(tx, project).await?)
            })
        });
        patched.await
    }

    /// Removes a project with its workspaces; its issues stay, without a project.
    pub async fn delete_project(&self, id: &str, by: &Author) -> Result<ProjectCard, EngineError> {
        let removed = self.inner.change(by, Locks::default(), id.to_owned(), |tx, mut scribe, _, id| {
            Box::pin(async move {
                let project = projects::lock(tx, &id).await?.ok_or(EngineError::NotFound("Project"))?;
                let company = project.company_id.clone();
                agent_in(tx, &scribe, &company).await?;
                if !scribe.by.is_board() && budgets::limits_project(tx, &company, &id, scribe.now).await? {
                    let text = "A project with a budget is deleted by a person";
                    return Err(EngineError::refused(Kind::Forbidden, text));
                }
                let card = card(tx, project).await?;
                secrets::refer(tx, Owner::Project(&id), &[]).await?;
                projects::remove(tx, &id).await?;
                let details = json!({ "name": card.project.name });
                scribe.tell(tx, &company, "project.deleted", ("project", &id), details).await?;
                Ok(card)
            })
        });
        removed.await
    }
}

/// Looks for mistakes in a workspace that is about to be saved.
pub(crate) fn check_workspace(draft: &WorkspaceDraft) -> Result<(), EngineError> {
    workspaces::ready(draft).map(drop)
}

/// The environment of a project that is saved.
fn env_saved(project: &Project) -> Saved<'_> {
    Saved {
        owner: Owner::Project(&project.id),
        company: &project.company_id,
        path: ENV,
        before: None,
        env: project.env.as_ref(),
    }
}

/// As it is stored.
fn typed(mut env: Json) -> Json {
    bindings::typed(&mut env);
    env
}

/// Adds to projects what is shown of them.
pub(crate) async fn cards(tx: &mut Tx<'_>, found: Vec<Project>) -> Result<Vec<ProjectCard>, StoreError> {
    let ids: Vec<String> = found.iter().map(|project| project.id.clone()).collect();
    let mut served: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (project, goal, title) in projects::goals_of(tx, &ids).await? {
        served.entry(project).or_default().push((goal, title));
    }
    let mut workspaces: BTreeMap<String, Vec<Workspace>> = BTreeMap::new();
    for workspace in projects::workspaces_of(tx, &ids).await? {
        workspaces.entry(workspace.project_id.clone()).or_default().push(workspace);
    }
    let card = |project: Project| ProjectCard {
        goals: served.remove(&project.id).unwrap_or_default(),
        workspaces: workspaces.remove(&project.id).unwrap_or_default(),
        project,
    };
    Ok(found.into_iter().map(card).collect())
}

async fn card(tx: &mut Tx<'_>, project: Project) -> Result<ProjectCard, StoreError> {
    let empty = ProjectCard { project: project.clone(), goals: Vec::new(), workspaces: Vec::new() };
    Ok(cards(tx, vec![project]).await?.pop().unwrap_or(empty))
}

/// The short name of a project: a name with other letters than a-z gets the first digits of the id.
fn key_of(name: &str, id: &str) -> String {
    let key = url_key(name);
    let tail: String = id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    match (key.is_empty(), name.is_ascii()) {
        (true, _) => tail,
        (false, true) => key,
        (false, false) => format!("{key}-{tail}"),
    }
}

async fn name_and_insert(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    company: &CompanyId,
    draft: &ProjectDraft,
) -> Result<Project, EngineError> {
    let id = scribe.id();
    let name = draft.name.trim().to_owned();
    let color = match &draft.color {
        Some(color) => color.clone(),
        None => {
            let before = projects::list(tx, company, None, MOST_PROJECTS).await?.len();
            PALETTE[before % PALETTE.len()].to_owned()
        }
    };
    let mut project = Project {
        url_key: key_of(&name, &id),
        company_id: company.clone(),
        name: name.clone(),
        description: draft.description.clone(),
        status: draft.status.clone(),
        lead_agent_id: draft.lead_agent_id.clone(),
        target_date: draft.target_date.clone(),
        color: Some(color),
        env: draft.env.clone().map(typed),
        pause_reason: None,
        paused_at: None,
        execution_workspace_policy: draft.execution_workspace_policy.clone(),
        archived_at: draft.archived_at,
        created_at: scribe.now,
        updated_at: scribe.now,
        id,
    };
    for number in 2..=NUMBERS {
        if projects::insert(tx, &project).await? {
            return Ok(project);
        }
        project.name = format!("{name} {number}");
        project.url_key = key_of(&project.name, &project.id);
    }
    let words = format!("Project name '{name}' and its first hundred numbers are in use in this company");
    Err(EngineError::refused(Kind::Conflict, words))
}

fn patched(mut project: Project, patch: ProjectPatch) -> Project {
    if let Some(name) = &patch.name {
        name.trim().clone_into(&mut project.name);
        project.url_key = key_of(&project.name, &project.id);
    }
    project.description = patch.description.unwrap_or(project.description);
    project.status = patch.status.unwrap_or(project.status);
    project.lead_agent_id = patch.lead_agent_id.unwrap_or(project.lead_agent_id);
    project.target_date = patch.target_date.unwrap_or(project.target_date);
    project.color = patch.color.unwrap_or(project.color);
    if let Some(mut env) = patch.env {
        if let (Some(given), Some(stored)) = (&mut env, &project.env) {
            bindings::unmask(given, stored);
        }
        project.env = env.map(typed);
    }
    project.execution_workspace_policy =
        patch.execution_workspace_policy.unwrap_or(project.execution_workspace_policy);
    project.archived_at = patch.archived_at.unwrap_or(project.archived_at);
    project
}

pub(crate) fn check_project(draft: &ProjectDraft) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    sheet.required("name", &draft.name, NAME);
    sheet.maybe("description", draft.description.as_deref(), BODY);
    sheet.word("status", &draft.status, &STATUSES);
    sheet.ids("goalIds", draft.goal_ids.iter().map(String::as_str));
    sheet.id("leadAgentId", draft.lead_agent_id.as_ref().map(AgentId::as_str));
    check_date(&mut sheet, draft.target_date.as_deref());
    sheet.maybe("color", draft.color.as_deref(), NAME);
    check_env(&mut sheet, draft.env.as_ref());
    sheet.object("executionWorkspacePolicy", draft.execution_workspace_policy.as_ref());
    sheet.finish()
}

fn check_row(project: &Project) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    sheet.required("name", &project.name, NAME);
    sheet.maybe("description", project.description.as_deref(), BODY);
    sheet.word("status", &project.status, &STATUSES);
    sheet.id("leadAgentId", project.lead_agent_id.as_ref().map(AgentId::as_str));
    check_date(&mut sheet, project.target_date.as_deref());
    sheet.maybe("color", project.color.as_deref(), NAME);
    check_env(&mut sheet, project.env.as_ref());
    sheet.object("executionWorkspacePolicy", project.execution_workspace_policy.as_ref());
    sheet.finish()
}

fn check_env(sheet: &mut Sheet, env: Option<&Json>) {
    sheet.object(ENV, env);
    sheet.extend(bindings::problems(ENV, env, &[]));
}

fn check_date(sheet: &mut Sheet, date: Option<&str>) {
    let is_date = |text: &str| {
        let parts: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        lengths == [4, 2, 2] && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if date.is_some_and(|date| !is_date(date)) {
        sheet.wrong("targetDate", "is no date", "write it as YYYY-MM-DD");
    }
}

async fn in_company(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    goal_ids: &[String],
    lead: Option<&AgentId>,
) -> Result<(), EngineError> {
    let found = stored_goals::some(tx, goal_ids).await?;
    for id in goal_ids {
        if !found.iter().any(|goal| goal.id == *id && goal.company_id == *company) {
            return Err(EngineError::NotFound("Goal"));
        }
    }
    agent_of(tx, company, lead).await
}

async fn agent_of(tx: &mut Tx<'_>, company: &CompanyId, agent: Option<&AgentId>) -> Result<(), EngineError> {
    let Some(agent) = agent else { return Ok(()) };
    let found = agents::get(tx, agent).await?.filter(|agent| agent.company_id == *company);
    found.map(drop).ok_or(EngineError::NotFound("Agent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_of_other_letters_gets_digits_of_the_id() {
        let id = "0192f7a0-0000-4000-8000-000000000000";
        assert_eq!(key_of("Web Site", id), "web-site");
        assert_eq!(key_of("Büro", id), "b-ro-0192f7a0");
        assert_eq!(key_of("東京", id), "0192f7a0");
    }
}
