//! What a run is told of its task when its process is started: loaded afresh, put together by `domain::brief`.
//!
//! It is made for each process and kept nowhere: a run that waited, or that starts again, is told how things are now.
//! The record of the run keeps the ids that it was woken for.

use domain::brief::{self, PayloadView, SummaryDocument, TaskComment, TaskIssue};
use domain::ids::IssueId;
use domain::issue::Principal;
use domain::summary;
use serde_json::{Map, Value as Json, json};
use store::comments::{self, Comment};
use store::issues::{self, Issue};
use store::runs::Run;
use store::{StoreError, Tx, documents};

/// Whether there is anything to be told that the run's own context does not hold.
pub(super) fn is_needed(run: &Run) -> bool {
    let nothing = Map::new();
    brief::is_needed(run.context.as_object().unwrap_or(&nothing), run.issue_id.is_some())
}

/// The context of the run with everything that its agent is told.
pub(super) async fn load(tx: &mut Tx<'_>, run: &Run) -> Result<Map<String, Json>, StoreError> {
    let mut context = run.context.as_object().cloned().unwrap_or_default();
    let issue = match &run.issue_id {
        None => None,
        Some(id) => issues::get(tx, &IssueId::from(id.as_str())).await?,
    };
    let issue = issue.filter(|issue| issue.company_id == run.company_id);
    let ids = brief::comment_ids(&context);
    let found = comments::some(tx, &ids).await?;
    let found: Vec<TaskComment> =
        found.into_iter().filter(|comment| comment.company_id == run.company_id).map(told).collect();
    let document = match &issue {
        None => None,
        Some(issue) => documents::get(tx, &issue.id, summary::KEY).await?,
    };
    if issue.as_ref().is_some_and(|issue| issue.checkout_run_id.as_ref() == Some(&run.id)) {
        context.insert("paperclipHarnessCheckedOut".to_owned(), json!(true));
    }
    let summary = document.map(|document| SummaryDocument {
        key: document.key,
        title: document.title,
        body: document.body,
        updated_at: document.updated_at,
    });
    let task = issue.as_ref().map(task);
    let view =
        PayloadView { context: &context, issue: task.as_ref(), comments: &found, summary: summary.as_ref() };
    let wake = brief::payload(&view);
    // A comment of another issue says nothing about this task.
    let latest = ids.last().and_then(|id| found.iter().find(|comment| comment.id == *id));
    let latest = latest.filter(|comment| task.as_ref().is_none_or(|task| task.id == comment.issue));
    let markdown = brief::markdown(task.as_ref(), latest);
    let continued = summary.map(|summary| json!({ "key": summary.key, "body": summary.body }));
    let named = task.map(|task| json!({ "id": task.id, "identifier": task.identifier, "title": task.title }));
    for (key, value) in [
        ("paperclipWake", wake),
        ("paperclipTaskMarkdown", markdown.map(Json::String)),
        ("paperclipContinuationSummary", continued),
        ("paperclipIssue", named),
    ] {
        match value {
            Some(value) => context.insert(key.to_owned(), value),
            None => context.remove(key),
        };
    }
    if let Some(words) = brief::node(&context) {
        context.insert("bugleNodeMarkdown".to_owned(), json!(words));
    }
    Ok(context)
}

fn task(issue: &Issue) -> TaskIssue {
    TaskIssue {
        id: issue.id.clone(),
        identifier: Some(issue.identifier.clone()),
        title: issue.title.clone(),
        description: issue.description.clone(),
        status: issue.status,
        priority: issue.priority,
    }
}

fn told(comment: Comment) -> TaskComment {
    let user = comment.author_user_id.map(Principal::User);
    TaskComment {
        id: comment.id,
        issue: comment.issue_id,
        body: comment.body,
        author: comment.author_agent_id.map(Principal::Agent).or(user),
        written_at: comment.created_at,
    }
}
