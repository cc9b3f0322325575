//! Projects, the goals that they serve, and the folders and repositories that they are about.

use domain::agent::PauseReason;
use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// A project as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    pub id: String,
    pub company_id: CompanyId,
    pub name: String,
    pub url_key: String,
    pub description: Option<String>,
    /// `backlog`, `planned`, `in_progress`, `completed` or `cancelled`.
    pub status: String,
    pub lead_agent_id: Option<AgentId>,
    pub target_date: Option<String>,
    pub color: Option<String>,
    pub env: Option<Json>,
    pub pause_reason: Option<PauseReason>,
    pub paused_at: Option<Moment>,
    pub execution_workspace_policy: Option<Json>,
    pub archived_at: Option<Moment>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Project {
    id,
    company_id,
    name,
    url_key,
    description,
    status,
    lead_agent_id,
    target_date,
    color,
    env,
    pause_reason,
    paused_at,
    execution_workspace_policy,
    archived_at,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, name, url_key, description, status, lead_agent_id, target_date, color, env, \
         pause_reason, paused_at, execution_workspace_policy, archived_at, created_at, updated_at"
    };
}

/// Adds a project; returns false, and adds nothing, when another one of the company has its short name.
pub async fn insert(tx: &mut Tx<'_>, project: &Project) -> Result<bool, StoreError> {
    let added = tx
        .exec(
        sql!(concat!(
            "INSERT INTO projects (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ON CONFLICT (company_id, url_key) DO NOTHING"
        )),
        p![&project.id, &project.company_id, &project.name, &project.url_key, &project.description, &project.status, &project.lead_agent_id, &project.target_date, &project.color, &project.env, project.pause_reason, project.paused_at, &project.execution_workspace_policy, project.archived_at, project.created_at, project.updated_at],
        )
        .await?;
    Ok(added == 1)
}

/// Whether a company has a project of this very name.
pub async fn is_named(tx: &mut Tx<'_>, company: &CompanyId, name: &str) -> Result<bool, StoreError> {
    let found = tx
        .one(sql!("SELECT 1 FROM projects WHERE company_id = $1 AND name = $2 LIMIT 1"), p![company, name])
        .await?;
    Ok(found.is_some())
}

/// Writes everything that a patch may change; returns false when the short name is taken by another project.
pub async fn update(tx: &mut Tx<'_>, project: &Project) -> Result<bool, StoreError> {
    let taken = tx
        .one(
            sql!("SELECT 1 FROM projects WHERE company_id = $1 AND url_key = $2 AND id <> $3 LIMIT 1"),
            p![&project.company_id, &project.url_key, &project.id],
        )
        .await?
        .is_some();
    if taken {
        return Ok(false);
    }
    tx.run(
        sql!(
            "UPDATE projects SET name = $2, url_key = $3, description = $4, status = $5, lead_agent_id = $6, target_date = $7, \
             color = $8, env = $9, execution_workspace_policy = $10, archived_at = $11, updated_at = $12 WHERE id = $1"
        ),
        p![&project.id, &project.name, &project.url_key, &project.description, &project.status, &project.lead_agent_id, &project.target_date, &project.color, &project.env, &project.execution_workspace_policy, project.archived_at, project.updated_at],
    )
    .await?;
    Ok(true)
}

/// Pauses a project for a reason, or lets it go on.
pub async fn set_pause(
    tx: &mut Tx<'_>,
    id: &str,
    reason: Option<PauseReason>,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!("UPDATE projects SET pause_reason = $2, paused_at = $3, updated_at = $4 WHERE id = $1"),
        p![id, reason, reason.map(|_| now), now],
    )
    .await
}

/// Returns one project.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Project>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM projects WHERE id = $1")), p![id]).await
}

/// Returns one project and locks its row.
pub async fn lock(tx: &mut Tx<'_>, id: &str) -> Result<Option<Project>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM projects WHERE id = $1 /*+for_update*/")), p![id])
        .await
}

/// Returns the project of a short name.
pub async fn by_url_key(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    url_key: &str,
) -> Result<Option<Project>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM projects WHERE company_id = $1 AND url_key = $2")),
        p![company, url_key],
    )
    .await
}

/// Returns the projects of these ids that exist, in no order.
pub async fn some(tx: &mut Tx<'_>, ids: &[String]) -> Result<Vec<Project>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(concat!("SELECT ", columns!(), " FROM projects WHERE id IN ({list})")),
            p![],
            ids.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Returns the projects of a company, oldest first, after a place.
pub async fn list(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    after: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<Project>, StoreError> {
    let (at, id) = after.unwrap_or((Moment::from_micros(i64::MIN), String::new()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM projects WHERE company_id = $1 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4"
        )),
        p![company, at, id, limit],
    )
    .await
}

/// Removes a project with its workspaces; its issues stay, without a project. Returns false when it was gone.
pub async fn remove(tx: &mut Tx<'_>, id: &str) -> Result<bool, StoreError> {
    tx.run(
        sql!("UPDATE issues SET project_id = NULL, project_workspace_id = NULL WHERE project_id = $1"),
        p![id],
    )
    .await?;
    Ok(tx.exec(sql!("DELETE FROM projects WHERE id = $1"), p![id]).await? == 1)
}

/// Makes a project serve these goals, in this order, and no others.
pub async fn replace_goals(tx: &mut Tx<'_>, project: &str, goals: &[String]) -> Result<(), StoreError> {
    tx.run(sql!("DELETE FROM project_goals WHERE project_id = $1"), p![project]).await?;
    for (position, goal) in (0_i64..).zip(goals) {
        tx.run(
            sql!(
                "INSERT INTO project_goals (project_id, goal_id, position) VALUES ($1, $2, $3) \
                 ON CONFLICT (project_id, goal_id) DO NOTHING"
            ),
            p![project, goal, position],
        )
        .await?;
    }
    Ok(())
}

/// Returns the goals that these projects serve, as (project, goal, title of the goal), in their order within a project.
pub async fn goals_of(
    tx: &mut Tx<'_>,
    projects: &[String],
) -> Result<Vec<(String, String, String)>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT s.project_id, g.id, g.title FROM project_goals s JOIN goals g ON g.id = s.goal_id \
                 WHERE s.project_id IN ({list}) ORDER BY s.project_id, s.position, g.id"
            ),
            p![],
            projects.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// A folder or repository of a project, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Workspace {
    pub id: String,
    pub company_id: CompanyId,
    pub project_id: String,
    pub name: String,
    /// `local_path`, `git_repo`, `remote_managed` or `non_git_path`.
    pub source_type: String,
    pub cwd: Option<String>,
    pub repo_url: Option<String>,
    pub repo_ref: Option<String>,
    pub default_ref: Option<String>,
    /// `default` or `advanced`.
    pub visibility: String,
    pub setup_command: Option<String>,
    pub cleanup_command: Option<String>,
    pub remote_provider: Option<String>,
    pub remote_workspace_ref: Option<String>,
    pub shared_workspace_key: Option<String>,
    pub metadata: Option<Json>,
    pub runtime_config: Option<Json>,
    pub is_primary: bool,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Workspace {
    id,
    company_id,
    project_id,
    name,
    source_type,
    cwd,
    repo_url,
    repo_ref,
    default_ref,
    visibility,
    setup_command,
    cleanup_command,
    remote_provider,
    remote_workspace_ref,
    shared_workspace_key,
    metadata,
    runtime_config,
    is_primary,
    created_at,
    updated_at
});

macro_rules! workspace_columns {
    () => {
        "id, company_id, project_id, name, source_type, cwd, repo_url, repo_ref, default_ref, visibility, \
         setup_command, cleanup_command, remote_provider, remote_workspace_ref, shared_workspace_key, metadata, \
         runtime_config, is_primary, created_at, updated_at"
    };
}

/// Adds a workspace. The first one of a project is made the primary one, and a primary one takes that place.
pub async fn insert_workspace(tx: &mut Tx<'_>, workspace: &Workspace) -> Result<Workspace, StoreError> {
    let mut workspace = workspace.clone();
    if !workspace.is_primary {
        let first = tx
            .one(
                sql!("SELECT 1 FROM project_workspaces WHERE project_id = $1 LIMIT 1"),
                p![&workspace.project_id],
            )
            .await?
            .is_none();
        workspace.is_primary = first;
    }
    make_room(tx, &workspace).await?;
    tx.run(
        sql!(concat!(
            "INSERT INTO project_workspaces (",
            workspace_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)"
        )),
        p![&workspace.id, &workspace.company_id, &workspace.project_id, &workspace.name, &workspace.source_type, &workspace.cwd, &workspace.repo_url, &workspace.repo_ref, &workspace.default_ref, &workspace.visibility, &workspace.setup_command, &workspace.cleanup_command, &workspace.remote_provider, &workspace.remote_workspace_ref, &workspace.shared_workspace_key, &workspace.metadata, &workspace.runtime_config, workspace.is_primary, workspace.created_at, workspace.updated_at],
    )
    .await?;
    Ok(workspace)
}

/// Writes everything that a patch may change. A primary one takes that place from the one before it.
pub async fn update_workspace(tx: &mut Tx<'_>, workspace: &Workspace) -> Result<(), StoreError> {
    make_room(tx, workspace).await?;
    tx.run(
        sql!(
            "UPDATE project_workspaces SET name = $2, source_type = $3, cwd = $4, repo_url = $5, repo_ref = $6, default_ref = $7, \
             visibility = $8, setup_command = $9, cleanup_command = $10, remote_provider = $11, \
             remote_workspace_ref = $12, shared_workspace_key = $13, metadata = $14, runtime_config = $15, \
             is_primary = $16, updated_at = $17 WHERE id = $1"
        ),
        p![&workspace.id, &workspace.name, &workspace.source_type, &workspace.cwd, &workspace.repo_url, &workspace.repo_ref, &workspace.default_ref, &workspace.visibility, &workspace.setup_command, &workspace.cleanup_command, &workspace.remote_provider, &workspace.remote_workspace_ref, &workspace.shared_workspace_key, &workspace.metadata, &workspace.runtime_config, workspace.is_primary, workspace.updated_at],
    )
    .await
}

async fn make_room(tx: &mut Tx<'_>, workspace: &Workspace) -> Result<(), StoreError> {
    if !workspace.is_primary {
        return Ok(());
    }
    tx.run(
        sql!(
            "UPDATE project_workspaces SET is_primary = FALSE, updated_at = $3 \
             WHERE project_id = $1 AND is_primary AND id <> $2"
        ),
        p![&workspace.project_id, &workspace.id, workspace.updated_at],
    )
    .await
}

/// Returns one workspace.
pub async fn workspace(tx: &mut Tx<'_>, id: &str) -> Result<Option<Workspace>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", workspace_columns!(), " FROM project_workspaces WHERE id = $1")),
        p![id],
    )
    .await
}

/// Returns the workspaces of these projects: within a project the primary one first, then the oldest.
pub async fn workspaces_of(tx: &mut Tx<'_>, projects: &[String]) -> Result<Vec<Workspace>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(concat!(
                "SELECT ",
                workspace_columns!(),
                " FROM project_workspaces WHERE project_id IN ({list}) \
                 ORDER BY project_id, CASE WHEN is_primary THEN 0 ELSE 1 END, created_at, id"
            )),
            p![],
            projects.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Removes a workspace; the oldest other one of its project becomes primary if it was. Returns false when it was gone.
pub async fn remove_workspace(tx: &mut Tx<'_>, id: &str, now: Moment) -> Result<bool, StoreError> {
    let row = tx
        .one(sql!("DELETE FROM project_workspaces WHERE id = $1 RETURNING project_id, is_primary"), p![id])
        .await?;
    let Some((project, was_primary)) = row.map(|row| row.read::<(String, bool)>()).transpose()? else {
        return Ok(false);
    };
    if was_primary {
        tx.run(
            sql!(
                "UPDATE project_workspaces SET is_primary = TRUE, updated_at = $2 WHERE id = (SELECT w.id \
                 FROM project_workspaces w WHERE w.project_id = $1 ORDER BY w.created_at, w.id LIMIT 1)"
            ),
            p![project, now],
        )
        .await?;
    }
    Ok(true)
}
