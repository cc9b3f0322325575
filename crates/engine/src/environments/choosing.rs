//! Finding the environment of a run: everybody's wishes are loaded, `domain::environment::choice` chooses.

use domain::environment::choice::{Chooser, Chosen, Wish, Wishes, choose};
use domain::environment::runtime_service::ServiceScope;
use domain::ids::{CompanyId, IssueId};
use domain::moment::Moment;
use serde_json::json;
use store::environments::{self, Environment};
use store::issues::Issue;
use store::runs::Run;
use store::runtime_services as services;
use store::runtime_services::RuntimeService;
use store::{StoreError, Tx, execution_workspaces, issues, projects};

use super::driver::{DriverError, Step};
use crate::runtime_services::job;

/// As many services of one workspace are told of.
const MOST_SERVICES: i64 = 50;

/// The environment that somebody chose for a run, or why it cannot be had; `None`: nobody did.
pub(super) async fn of_run(
    tx: &mut Tx<'_>,
    run: &Run,
) -> Result<Result<Option<Environment>, DriverError>, StoreError> {
    let issue = match &run.issue_id {
        Some(id) => issues::get(tx, &IssueId::from(id.as_str())).await?,
        None => None,
    };
    let named = run.context.get("projectId").and_then(serde_json::Value::as_str);
    let project = issue.as_ref().and_then(|issue| issue.project_id.as_deref()).or(named);
    let project = match project {
        Some(id) => projects::get(tx, id).await?.filter(|project| project.company_id == run.company_id),
        None => None,
    };
    let wishes = Wishes {
        workspace: of_workspace(tx, run, issue.as_ref()).await?,
        issue: Wish::of(issue.as_ref().and_then(|issue| issue.execution_workspace_settings.as_ref())),
        project: Wish::of(project.as_ref().and_then(|project| project.execution_workspace_policy.as_ref())),
        agent: Wish::of_column(environments::default_of_agent(tx, &run.agent_id).await?.as_deref()),
    };
    let (id, by) = match choose(&wishes) {
        Chosen::CompanyDefault => return Ok(Ok(None)),
        Chosen::Named { id, by } => (id, by),
    };
    let found = environments::get(tx, &id).await?;
    let found = found.filter(|environment| environment.company_id == run.company_id);
    Ok(usable(found, &id, by).map(Some))
}

/// What the workspace says that the run works in, where it names one; else the one that the issue is tied to, whether or
/// not the run works there.
async fn of_workspace(tx: &mut Tx<'_>, run: &Run, issue: Option<&Issue>) -> Result<Wish, StoreError> {
    let own = run.context.get("executionWorkspaceId").and_then(serde_json::Value::as_str);
    if let Some(wish @ Wish::Named(_)) = config_of(tx, run, own).await?.map(|config| Wish::of(Some(&config)))
    {
        return Ok(wish);
    }
    let tied = issue.and_then(|issue| issue.execution_workspace_id.as_deref());
    Ok(Wish::of_workspace(config_of(tx, run, tied).await?.as_ref()))
}

/// The configuration of an open workspace.
async fn config_of(
    tx: &mut Tx<'_>,
    run: &Run,
    workspace: Option<&str>,
) -> Result<Option<serde_json::Value>, StoreError> {
    let Some(id) = workspace else { return Ok(None) };
    let row = execution_workspaces::get(tx, id).await?;
    let row = row.filter(|row| row.company_id == run.company_id && !row.is_closed());
    Ok(row.and_then(|row| row.metadata?.get("config").cloned()))
}

fn usable(found: Option<Environment>, id: &str, by: Chooser) -> Result<Environment, DriverError> {
    let by = by.words();
    let Some(found) = found else {
        let words = format!("{by} wants the environment {id}, and there is none of this id in the company");
        return Err(DriverError::new(Step::Find, words));
    };
    if found.status != "active" {
        let words = format!("{by} wants the environment `{}`, which is {}", found.name, found.status);
        return Err(DriverError::new(Step::Inactive, words));
    }
    Ok(found)
}

/// The live services beside the workspace of a run; none for a run that has no workspace of a project.
pub(super) async fn services_of_run(tx: &mut Tx<'_>, run: &Run) -> Result<Vec<RuntimeService>, StoreError> {
    let issue = match &run.issue_id {
        Some(id) => issues::get(tx, &IssueId::from(id.as_str())).await?,
        None => None,
    };
    let named = |key: &str| run.context.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
    let workspace = issue
        .as_ref()
        .and_then(|issue| issue.project_workspace_id.clone())
        .or_else(|| named("projectWorkspaceId"));
    let project = issue.as_ref().and_then(|issue| issue.project_id.clone()).or_else(|| named("projectId"));
    let workspace = match (workspace, project) {
        (Some(workspace), _) => Some(workspace),
        (None, Some(project)) => {
            projects::workspaces_of(tx, &[project]).await?.into_iter().next().map(|workspace| workspace.id)
        }
        (None, None) => None,
    };
    let mut found = Vec::new();
    let execution = issue.and_then(|issue| issue.execution_workspace_id);
    for (scope, id) in
        [(ServiceScope::ExecutionWorkspace, execution), (ServiceScope::ProjectWorkspace, workspace)]
    {
        if let Some(id) = id {
            found.extend(services::of_scope(tx, &run.company_id, scope, &id, MOST_SERVICES).await?);
        }
    }
    found.retain(|service| {
        service.status.is_live() && service.stop_asked_at.is_none() && !job::is_one(service)
    });
    Ok(found)
}

/// The local environment that a company gets.
pub(crate) fn local(company: &CompanyId, id: String, now: Moment) -> Environment {
    Environment {
        id,
        company_id: company.clone(),
        name: "Local".to_owned(),
        description: Some("The machine of the server".to_owned()),
        driver: "local".to_owned(),
        status: "active".to_owned(),
        config: json!({}),
        metadata: None,
        created_at: now,
        updated_at: now,
    }
}

/// Makes the local environment of a company where it has none; returns it.
pub(crate) async fn ensure_local(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    id: String,
    now: Moment,
) -> Result<Option<Environment>, StoreError> {
    let local = local(company, id, now);
    if environments::insert(tx, &local).await? {
        return Ok(Some(local));
    }
    // Somebody was quicker, or it was there.
    environments::local_of(tx, company).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_that_is_not_there_or_put_away_is_named_with_who_wants_it() {
        let found = |status: &str| Environment {
            id: "e".to_owned(),
            company_id: CompanyId::from("c"),
            name: "Big".to_owned(),
            description: None,
            driver: "ssh".to_owned(),
            status: status.to_owned(),
            config: json!({}),
            metadata: None,
            created_at: Moment::from_micros(0),
            updated_at: Moment::from_micros(0),
        };
        assert!(usable(Some(found("active")), "e", Chooser::Issue).is_ok());
        let refused = usable(Some(found("archived")), "e", Chooser::Issue).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "environment_inactive: the issue wants the environment `Big`, which is archived"
        );
        let refused = usable(None, "e", Chooser::Agent).unwrap_err();
        assert_eq!(refused.step.code(), "environment_not_found");
    }
}
