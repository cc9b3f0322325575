//! Projects in a company file, with their workspaces by name. How far a project is is no matter of configuration.

use domain::company_file::{ENVIRONMENT, Entry, Mistake, Section, without_nulls};
use domain::ids::AgentId;
use serde_json::{Map, Value as Json, json};
use store::projects::Workspace;

use super::kind::{Bench, Doing, Hand, Kind};
use super::object;
use super::references::{env_to_file, env_to_store, hidden, marked_env};
use super::there::There;
use crate::EngineError;
use crate::projects::{
    ProjectCard, ProjectDraft, ProjectPatch, WorkspaceDraft, cards, check_project, check_workspace,
};

pub(super) struct Projects;

/// In a file an environment is called by its name; an empty one is the company's own, which a policy says with null.
fn policy_to_file(policy: &Json, there: &There) -> Json {
    let mut said = without_nulls(policy.clone());
    if let (Some(given), Some(fields)) = (policy.get("environmentId"), said.as_object_mut()) {
        fields.shift_remove("environmentId");
        match given.as_str().map(str::trim).filter(|id| !id.is_empty()) {
            None => drop(fields.insert(ENVIRONMENT.to_owned(), Json::from(""))),
            Some(id) => {
                if let Some(name) = there.environment_name(id) {
                    fields.insert(ENVIRONMENT.to_owned(), Json::from(name));
                }
            }
        }
    }
    said
}

fn policy_to_store(hand: &Hand<'_>, entry: &Entry) -> Result<Option<Json>, EngineError> {
    let Some(Json::Object(mut policy)) = entry.said_object("executionWorkspacePolicy") else {
        return Ok(None);
    };
    if let Some(name) = policy.shift_remove(ENVIRONMENT) {
        let id = match name.as_str().unwrap_or_default() {
            "" => Json::Null,
            name => Json::from(hand.id(Section::Environments, name)?),
        };
        policy.insert("environmentId".to_owned(), id);
    }
    Ok(Some(Json::Object(policy)))
}

fn workspace_entry(row: &Workspace) -> Json {
    json!({
        "primary": row.is_primary, "sourceType": row.source_type, "cwd": row.cwd, "repoUrl": row.repo_url,
        "repoRef": row.repo_ref, "defaultRef": row.default_ref, "visibility": row.visibility,
        "setupCommand": row.setup_command, "cleanupCommand": row.cleanup_command,
        "remoteProvider": row.remote_provider, "remoteWorkspaceRef": row.remote_workspace_ref,
        "sharedWorkspaceKey": row.shared_workspace_key,
        "metadata": row.metadata,
        "runtimeConfig": row.runtime_config.clone().map(without_nulls),
    })
}

/// Workspaces by what a file calls them: of several that have one name, the later ones by a number behind it.
fn named(rows: &[Workspace]) -> Vec<(String, &Workspace)> {
    let mut named: Vec<(String, &Workspace)> = Vec::new();
    for row in rows {
        let is_free = |name: &String| !named.iter().any(|(taken, _)| taken == name);
        let numbers = (2..).map(|number| format!("{} {number}", row.name));
        let name = std::iter::once(row.name.clone()).chain(numbers).find(is_free);
        named.push((name.unwrap_or_default(), row));
    }
    named
}

fn entry(card: &ProjectCard, there: &There) -> Entry {
    let project = &card.project;
    let workspaces: Map<String, Json> =
        named(&card.workspaces).into_iter().map(|(name, row)| (name, workspace_entry(row))).collect();
    let goals: Vec<&str> = card.goals.iter().map(|(_, title)| title.as_str()).collect();
    let fields = object(json!({
        "name": project.name, "description": project.description,
        "lead": project.lead_agent_id.as_ref().and_then(|id| there.agent_name(id.as_str())),
        "targetDate": project.target_date, "color": project.color, "archived": project.archived_at.is_some(),
        "goals": goals,
        "env": project.env.as_ref().map(|env| env_to_file(env, &there.secrets)),
        "executionWorkspacePolicy": project.execution_workspace_policy.as_ref().map(|it| policy_to_file(it, there)),
        "workspaces": workspaces,
    }));
    hidden(Entry::new(Section::Projects, Some(project.id.clone()), fields))
}

/// What a file says of a workspace; of one that was there (`was`) what is new.
fn workspace_draft(name: &str, workspace: &Json, was: Option<&Json>) -> WorkspaceDraft {
    let is_new = |field: &str| was.is_none_or(|was| was.get(field) != workspace.get(field));
    let said = |field: &str| workspace.get(field).and_then(Json::as_str).map(str::to_owned);
    let word =
        |field: &str, default: &str| is_new(field).then(|| said(field).unwrap_or_else(|| default.to_owned()));
    let text = |field: &str| is_new(field).then(|| said(field));
    let table =
        |field: &str| is_new(field).then(|| workspace.get(field).filter(|value| value.is_object()).cloned());
    WorkspaceDraft {
        name: was.is_none().then(|| name.to_owned()),
        source_type: word("sourceType", "local_path"),
        cwd: text("cwd"),
        repo_url: text("repoUrl"),
        repo_ref: text("repoRef"),
        default_ref: text("defaultRef"),
        visibility: word("visibility", "default"),
        setup_command: text("setupCommand"),
        cleanup_command: text("cleanupCommand"),
        remote_provider: text("remoteProvider"),
        remote_workspace_ref: text("remoteWorkspaceRef"),
        shared_workspace_key: text("sharedWorkspaceKey"),
        metadata: table("metadata"),
        runtime_config: table("runtimeConfig"),
        // One becomes the primary one; none stops being it otherwise.
        is_primary: (workspace["primary"] == true).then_some(true),
    }
}

/// What of a project is not a reference.
fn draft(entry: &Entry, env: Option<Json>) -> ProjectDraft {
    ProjectDraft {
        name: entry.text("name").unwrap_or_default(),
        description: entry.text("description"),
        target_date: entry.text("targetDate"),
        color: entry.text("color"),
        env,
        ..ProjectDraft::default()
    }
}

fn stored_env(hand: &Hand<'_>, entry: &Entry, id: Option<&str>) -> Option<Json> {
    let env = entry.said_object("env")?;
    let there = id.and_then(|id| hand.there.project(id)).and_then(|card| card.project.env.as_ref());
    let marked = marked_env(&env, there);
    Some(env_to_store("env", &marked, &hand.there.secrets, &mut Vec::new()))
}

impl Kind for Projects {
    fn section(&self) -> Section {
        Section::Projects
    }

    fn entries(&self, there: &There) -> Vec<Entry> {
        there.projects.iter().map(|card| entry(card, there)).collect()
    }

    fn ready(&self, bench: &Bench<'_>, entry: Entry, found: &mut Vec<Mistake>) -> Entry {
        let mut entry = entry;
        let place = entry.place.clone();
        let before = found.len();
        let mut env = entry.said_object("env");
        if let Some(given) = &env {
            let there = bench
                .there
                .projects
                .iter()
                .find(|card| super::projects::entry(card, bench.there).key == entry.key);
            let marked = marked_env(given, there.and_then(|card| card.project.env.as_ref()));
            bench.note(&place, bench.engine.inner.refuse_bare_secrets("env", Some(&marked)), found);
            let path = format!("{place}.env");
            let stored = env_to_store(&path, given, &bench.there.secrets, found);
            entry.fields.insert("env".to_owned(), env_to_file(&stored, &bench.there.secrets));
            env = Some(stored);
        }
        if found.len() == before {
            bench.note(&place, check_project(&draft(&entry, env)), found);
        }
        for (name, workspace) in entry.object("workspaces") {
            let judged = check_workspace(&workspace_draft(&name, &workspace, None));
            bench.note(&format!("{place}.workspaces.{name}"), judged, found);
        }
        entry
    }

    fn again<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str) -> Doing<'a, Option<Entry>> {
        Box::pin(async move {
            let found = hand.look(id, |tx, id| {
                Box::pin(async move {
                    let found = store::projects::get(tx, &id).await?;
                    cards(tx, found.into_iter().collect()).await
                })
            });
            Ok(found.await?.first().map(|card| entry(card, hand.there)))
        })
    }

    fn make<'a>(&'a self, hand: &'a Hand<'a>, entry: &'a Entry) -> Doing<'a, String> {
        Box::pin(async move {
            let goals: Result<Vec<String>, EngineError> =
                entry.texts("goals").iter().map(|title| hand.id(Section::Goals, title)).collect();
            let draft = ProjectDraft {
                goal_ids: goals?,
                lead_agent_id: hand.id_in(Section::Agents, entry, "lead")?.map(AgentId),
                execution_workspace_policy: policy_to_store(hand, entry)?,
                archived_at: entry.flag("archived").then(|| hand.engine.now()),
                ..draft(entry, stored_env(hand, entry, None))
            };
            let made = hand.engine.make_project(&hand.there.company.id, draft, true, hand.by).await?;
            for (name, workspace) in primary_first(entry) {
                let draft = workspace_draft(&name, &workspace, None);
                hand.engine.create_workspace(&made.project.id, draft, hand.by).await?;
            }
            Ok(made.project.id)
        })
    }

    fn change<'a>(
        &'a self,
        hand: &'a Hand<'a>,
        id: &'a str,
        before: &'a Entry,
        after: &'a Entry,
    ) -> Doing<'a, ()> {
        Box::pin(async move {
            let is_new = |field: &str| after.is_other(before, field);
            let own = |entry: &Entry| {
                let mut fields = entry.fields.clone();
                fields.shift_remove("workspaces");
                fields
            };
            if own(before) != own(after) {
                let goals: Result<Vec<String>, EngineError> =
                    after.texts("goals").iter().map(|title| hand.id(Section::Goals, title)).collect();
                let lead = hand.id_in(Section::Agents, after, "lead")?.map(AgentId);
                let archived = after.flag("archived").then(|| hand.engine.now());
                let policy = policy_to_store(hand, after)?;
                let patch = ProjectPatch {
                    name: is_new("name").then(|| after.text("name")).flatten(),
                    description: is_new("description").then(|| after.text("description")),
                    target_date: is_new("targetDate").then(|| after.text("targetDate")),
                    color: is_new("color").then(|| after.text("color")),
                    goal_ids: if is_new("goals") { Some(goals?) } else { None },
                    lead_agent_id: is_new("lead").then_some(lead),
                    env: is_new("env").then(|| stored_env(hand, after, Some(id))),
                    execution_workspace_policy: is_new("executionWorkspacePolicy").then_some(policy),
                    archived_at: is_new("archived").then_some(archived),
                    status: None,
                };
                hand.engine.patch_project(id, patch, hand.by).await?;
            }
            change_workspaces(hand, id, before, after).await
        })
    }

    fn remove<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str, _: &'a Entry) -> Doing<'a, ()> {
        Box::pin(async move { hand.engine.delete_project(id, hand.by).await.map(drop) })
    }
}

fn primary_first(entry: &Entry) -> Vec<(String, Json)> {
    let mut all: Vec<(String, Json)> = entry.object("workspaces").into_iter().collect();
    all.sort_by_key(|(_, workspace)| workspace["primary"] != true);
    all
}

/// The new primary one first: the one before it is it no more then.
async fn change_workspaces(
    hand: &Hand<'_>,
    project: &str,
    before: &Entry,
    after: &Entry,
) -> Result<(), EngineError> {
    let there = named(hand.there.project(project).map(|card| card.workspaces.as_slice()).unwrap_or_default());
    let of = |name: &str| there.iter().find(|(known, _)| known == name).map(|(_, row)| row);
    let (was, wanted) = (before.object("workspaces"), after.object("workspaces"));
    for (name, workspace) in primary_first(after) {
        let draft = |was: Option<&Json>| workspace_draft(&name, &workspace, was);
        match of(&name) {
            None => drop(hand.engine.create_workspace(project, draft(None), hand.by).await?),
            Some(row) if was.get(&name) != Some(&workspace) => {
                let draft = draft(was.get(&name));
                hand.engine.patch_workspace(project, &row.id, draft, hand.by).await?;
            }
            Some(_) => {}
        }
    }
    for (_, row) in there.iter().filter(|(name, _)| !wanted.contains_key(name)) {
        hand.engine.delete_workspace(project, &row.id, hand.by).await?;
    }
    Ok(())
}
