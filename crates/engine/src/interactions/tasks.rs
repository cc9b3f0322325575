//! Suggested tasks that a person accepted: they become issues, parents before their children.

use std::collections::BTreeMap;

use domain::ids::{AgentId, IssueId};
use domain::issue::refusal::{Kind, Refusal};
use domain::issue::{IssueStatus, Priority};
use serde_json::{Value as Json, json};
use store::Tx;
use store::interactions::Interaction;
use store::issues::Issue;

use crate::EngineError;
use crate::activity::Scribe;
use crate::issues::{self, IssueDraft, Made, Place, Source};

/// The keys of all suggested tasks.
pub(super) fn client_keys(payload: &Json) -> Vec<String> {
    tasks_of(payload).filter_map(|task| task["clientKey"].as_str()).map(str::to_owned).collect()
}

fn tasks_of(payload: &Json) -> impl Iterator<Item = &Json> {
    payload["tasks"].as_array().into_iter().flatten()
}

/// Makes issues of the selected tasks (`None`: of all) and returns the result of the interaction. A task whose parent was
/// not selected is skipped with it. All of them are judged before the first is written.
pub(super) async fn create(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    asked: &Interaction,
    selected: Option<&[String]>,
) -> Result<Json, EngineError> {
    let all = client_keys(&asked.payload);
    if let Some(unknown) = selected.into_iter().flatten().find(|key| !all.contains(key)) {
        let words = format!("Unknown task: {unknown}");
        return Err(EngineError::refused(Kind::Unprocessable, words));
    }
    let is_selected = |key: &str| selected.is_none_or(|keys| keys.iter().any(|it| it == key));
    let mut waiting: Vec<&Json> =
        tasks_of(&asked.payload).filter(|task| task["clientKey"].as_str().is_some_and(is_selected)).collect();
    let mut made: Vec<(String, Made)> = Vec::new();
    let mut places: BTreeMap<String, Issue> = BTreeMap::new();
    // Each round takes those whose parents are made; what never gets one is skipped.
    loop {
        let (ready, later): (Vec<&Json>, Vec<&Json>) = waiting.into_iter().partition(|task| {
            task["parentClientKey"].as_str().is_none_or(|parent| places.contains_key(parent))
        });
        if ready.is_empty() {
            break;
        }
        for task in ready {
            let key = task["clientKey"].as_str().unwrap_or_default().to_owned();
            let parent = parent_of(tx, issue, &asked.payload, task, &places).await?;
            let draft = draft_of(task, issue, &parent);
            issues::check(&draft)?;
            let place = Place { parent: Some(parent), siblings: None };
            let planned = issues::plan(tx, scribe, &issue.company_id, draft, place).await?;
            places.insert(key.clone(), planned.issue.clone());
            made.push((key, planned));
        }
        waiting = later;
    }
    let mut created = Vec::new();
    for (key, planned) in &made {
        issues::write(tx, scribe, planned, "issue.created", Source::Interaction).await?;
        let parent = planned.issue.parent_id.as_ref();
        let parent = places.values().chain([issue]).find(|it| Some(&it.id) == parent);
        created.push(json!({
            "clientKey": key, "issueId": planned.issue.id, "identifier": planned.issue.identifier,
            "title": planned.issue.title, "parentIssueId": planned.issue.parent_id,
            "parentIdentifier": parent.map(|parent| &parent.identifier),
        }));
    }
    let skipped: Vec<&String> = all.iter().filter(|key| !places.contains_key(*key)).collect();
    Ok(json!({
        "version": 1, "createdTasks": created, "skippedClientKeys": skipped, "rejectionReason": null,
    }))
}

/// The parent of a task: another task, an issue that it or the list names, or the issue of the interaction.
async fn parent_of(
    tx: &mut Tx<'_>,
    issue: &Issue,
    payload: &Json,
    task: &Json,
    places: &BTreeMap<String, Issue>,
) -> Result<Issue, EngineError> {
    if let Some(parent) = task["parentClientKey"].as_str().and_then(|key| places.get(key)) {
        return Ok(parent.clone());
    }
    let named = task["parentId"].as_str().or_else(|| payload["defaultParentId"].as_str());
    match named {
        None => Ok(issue.clone()),
        Some(id) => {
            let found = issues::of_company(tx, &issue.company_id, &IssueId::from(id)).await?;
            Ok(found.ok_or(Refusal::ParentNotFound)?)
        }
    }
}

fn draft_of(task: &Json, issue: &Issue, parent: &Issue) -> IssueDraft {
    let text = |field: &str| task[field].as_str().map(str::to_owned);
    IssueDraft {
        title: text("title").unwrap_or_default(),
        description: text("description"),
        status: IssueStatus::Todo,
        priority: task["priority"].as_str().and_then(Priority::parse).unwrap_or(Priority::Medium),
        project_id: text("projectId").or_else(|| parent.project_id.clone()),
        goal_id: text("goalId").or_else(|| parent.goal_id.clone()),
        parent_id: Some(parent.id.clone()),
        assignee_agent_id: text("assigneeAgentId").map(AgentId),
        assignee_user_id: text("assigneeUserId"),
        request_depth: parent.request_depth.max(issue.request_depth) + 1,
        billing_code: text("billingCode").or_else(|| parent.billing_code.clone()),
        ..IssueDraft::default()
    }
}
