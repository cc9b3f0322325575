//! Issues in general: looking for them, making them, changing them, giving them to others.

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::super::arguments::{Arguments, count, flag, issue, list, object, text, text_or_null, texts, word};
use super::super::desk::{Desk, Refused, step};
use super::task::STATUSES;
use super::{Effect, Tool};

pub(super) const PRIORITIES: [&str; 4] = ["critical", "high", "medium", "low"];
/// As many as the reference suggests at once.
const MOST_TASKS: usize = 25;

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "search_issues",
        title: "Look for issues",
        about: "Lists issues of your company, the most urgent first. Use it before you create one: it may be there \
                already.",
        effect: Effect::Reads,
        takes: || {
            object(
                [
                    ("q", text("words in title, identifier, description or comments")),
                    ("status", texts("only in these statuses")),
                    ("assignee", text("only those of this agent: id, short name or name")),
                    ("parent", text("only those directly below this issue: id or identifier")),
                    ("projectId", text("only those of this project")),
                    ("limit", count("at most so many; default 50")),
                ],
                &[],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let limit = given.number("limit").unwrap_or(50);
                let mut asked = vec![
                    ("q", given.text("q").map(str::to_owned)),
                    ("status", given.texts("status").map(|statuses| statuses.join(","))),
                    ("projectId", given.text("projectId").map(str::to_owned)),
                ];
                if let Some(agent) = given.text("assignee") {
                    let id = desk.agent_named(agent).await?;
                    asked.push(("assigneeAgentId", id.as_str().map(str::to_owned)));
                }
                if let Some(parent) = given.text("parent") {
                    let id = desk.ids_of(&[parent]).await?.remove(0);
                    asked.push(("parentId", id.as_str().map(str::to_owned)));
                }
                let mut path = format!("/companies/{}/issues?limit={limit}", desk.company().await?);
                for (name, value) in asked {
                    path.extend(value.map(|value| format!("&{name}={}", step(&value))));
                }
                Ok(desk.get(&path).await?.into())
            })
        },
    },
    Tool {
        name: "read_issue",
        title: "Read an issue",
        about: "Shows an issue with everything around it: what it blocks and is blocked by, related issues, documents, \
                work products, and where a review stands (executionState).",
        effect: Effect::Reads,
        takes: || object([("issue", issue())], &[]),
        does: |desk, given| {
            Box::pin(
                async move { Ok(desk.get(&format!("/issues/{}", desk.issue(&given).await?)).await?.into()) },
            )
        },
    },
    Tool {
        name: "update_task",
        title: "Change an issue",
        about: "Changes fields of an issue, with a comment that says why. To end your work on it use `finish`, to give it \
                to another agent `delegate`.",
        effect: Effect::Sets,
        takes: || {
            object(
                [
                    ("issue", issue()),
                    ("status", word(&STATUSES, "the new status")),
                    ("comment", text("is added with the change; Markdown")),
                    ("title", text("the new title")),
                    ("description", text("the new description; Markdown")),
                    ("priority", word(&PRIORITIES, "how urgent it is")),
                    (
                        "blockedBy",
                        texts("ids or identifiers of all issues that must be done first; [] for none"),
                    ),
                    ("parent", text("id or identifier of the issue that it becomes a part of")),
                    ("projectId", text_or_null("the project it belongs to; null for none")),
                    ("goalId", text_or_null("the goal it serves; null for none")),
                    ("labelIds", texts("ids of all its labels")),
                    ("resume", flag("with a comment: asks the assignee to go on with the work")),
                    ("reopen", flag("moves a closed issue back to todo")),
                ],
                &[],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let names = [
                    "status",
                    "comment",
                    "title",
                    "description",
                    "priority",
                    "projectId",
                    "goalId",
                    "labelIds",
                    "resume",
                    "reopen",
                ];
                let mut body = given.body(&names);
                if let Some(blockers) = given.texts("blockedBy") {
                    body.insert("blockedByIssueIds".to_owned(), Value::Array(desk.ids_of(&blockers).await?));
                }
                if let Some(parent) = given.text("parent") {
                    body.insert("parentId".to_owned(), desk.ids_of(&[parent]).await?.remove(0));
                }
                let path = format!("/issues/{}", desk.issue(&given).await?);
                Ok(desk.send(Method::PATCH, &path, body).await?.into())
            })
        },
    },
    Tool {
        name: "delegate",
        title: "Give an issue to another agent",
        about: "Assigns an issue to another agent, which is woken for it, with a comment that says what is expected. For \
                a part of your own task make a sub-task with `create_subtasks` instead.",
        effect: Effect::Sets,
        takes: || {
            object(
                [
                    ("issue", text("id or identifier of the issue")),
                    ("assignee", text("the agent: id, short name or name; `list_agents` shows them")),
                    ("comment", text("what is expected of it; Markdown")),
                    ("status", word(&STATUSES, "the new status; default todo")),
                ],
                &["issue", "assignee", "comment"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let mut body = given.body(&["comment", "status"]);
                body.entry("status").or_insert_with(|| json!("todo"));
                let agent = desk.agent_named(given.text("assignee").unwrap_or_default()).await?;
                body.insert("assigneeAgentId".to_owned(), agent);
                let path = format!("/issues/{}", desk.issue(&given).await?);
                Ok(desk.send(Method::PATCH, &path, body).await?.into())
            })
        },
    },
    Tool {
        name: "create_subtasks",
        title: "Split a task",
        about: "Creates issues below a task, in order. With an `assignee` an issue is todo and that agent is woken; \
                without one it waits in the backlog. Set `blockParentUntilDone` when the task cannot go on before. If one \
                is refused, those before it were created: the answer says which.",
        effect: Effect::Adds,
        takes: || {
            let task = object(
                [
                    ("title", text("what is to be done, in one line")),
                    ("description", text("all that is needed to do it; Markdown")),
                    ("acceptanceCriteria", texts("how to tell that it is done")),
                    ("assignee", text("the agent that does it: id, short name or name")),
                    ("priority", word(&PRIORITIES, "how urgent it is; default medium")),
                    ("status", word(&STATUSES, "default: todo with an assignee, else backlog")),
                    (
                        "blockedBy",
                        texts(
                            "issues that must be done first: ids, identifiers, or #1 for the first of this call",
                        ),
                    ),
                    ("blockParentUntilDone", flag("the task above waits until this is done")),
                ],
                &["title"],
            );
            object([("issue", issue()), ("tasks", list(task, "1 to 25 issues to create"))], &["tasks"])
        },
        does: |desk, given| {
            Box::pin(async move {
                let tasks = given.list("tasks");
                if tasks.is_empty() || tasks.len() > MOST_TASKS {
                    return Err(Refused::because(
                        "bad_arguments",
                        format!("arguments.tasks must have 1 to {MOST_TASKS} entries"),
                        "make several calls for more",
                    ));
                }
                let path = format!("/issues/{}/children", desk.issue(&given).await?);
                let mut created: Vec<Value> = Vec::new();
                for task in tasks {
                    match create_below(desk, &path, task, &created).await {
                        Ok(issue) => created.push(issue),
                        Err(mut refused) => {
                            // What was done must be known before anything is tried again.
                            refused.body["refusedTask"] = task["title"].clone();
                            refused.body["created"] = Value::Array(created.iter().map(brief).collect());
                            return Err(told_with_created(refused, created.len()));
                        }
                    }
                }
                Ok(json!({ "created": created }).into())
            })
        },
    },
    Tool {
        name: "create_issue",
        title: "Create an issue",
        about: "Creates an issue that is no part of your task. Look for it with `search_issues` first. With an `assignee` \
                it is todo and that agent is woken.",
        effect: Effect::Adds,
        takes: || {
            object(
                [
                    ("title", text("what is to be done, in one line")),
                    ("description", text("all that is needed to do it; Markdown")),
                    ("assignee", text("the agent that does it: id, short name or name")),
                    ("status", word(&STATUSES, "default: todo with an assignee, else backlog")),
                    ("priority", word(&PRIORITIES, "how urgent it is; default medium")),
                    ("parent", text("id or identifier of the issue that it is a part of")),
                    ("projectId", text("the project it belongs to")),
                    ("goalId", text("the goal it serves")),
                    ("blockedBy", texts("ids or identifiers of issues that must be done first")),
                    ("billingCode", text("whom its costs are charged to")),
                ],
                &["title"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let mut body = draft(desk, &given, &[]).await?;
                body.extend(given.body(&["projectId", "goalId", "billingCode"]));
                if let Some(parent) = given.text("parent") {
                    body.insert("parentId".to_owned(), desk.ids_of(&[parent]).await?.remove(0));
                }
                let path = format!("/companies/{}/issues", desk.company().await?);
                Ok(desk.send(Method::POST, &path, body).await?.into())
            })
        },
    },
];

async fn create_below(desk: &Desk, path: &str, task: &Value, created: &[Value]) -> Result<Value, Refused> {
    let anything = json!({ "type": "object", "properties": {} });
    // Checked already, as a part of the call.
    let task = Arguments::read(&anything, Some(task)).unwrap_or_default();
    let mut body = draft(desk, &task, created).await?;
    body.extend(task.body(&["acceptanceCriteria", "blockParentUntilDone"]));
    desk.send(Method::POST, path, body).await
}

/// The body of a new issue.
async fn draft(desk: &Desk, given: &Arguments, created: &[Value]) -> Result<Map<String, Value>, Refused> {
    let mut body = given.body(&["title", "description", "status", "priority"]);
    if let Some(agent) = given.text("assignee") {
        body.insert("assigneeAgentId".to_owned(), desk.agent_named(agent).await?);
        body.entry("status").or_insert_with(|| json!("todo"));
    }
    let mut blockers = Vec::new();
    for named in given.texts("blockedBy").unwrap_or_default() {
        let earlier = named.strip_prefix('#').map(|number| {
            let found = number.parse::<usize>().ok().and_then(|number| created.get(number.checked_sub(1)?));
            found.map(|issue| issue["id"].clone())
        });
        blockers.push(match earlier {
            Some(Some(id)) => id,
            Some(None) => {
                return Err(Refused::because(
                    "bad_arguments",
                    format!("{named} is no task before this one"),
                    "name an earlier task of this call as #1, #2, ..., or an issue by its identifier",
                ));
            }
            None => desk.ids_of(&[named]).await?.remove(0),
        });
    }
    if !blockers.is_empty() {
        body.insert("blockedByIssueIds".to_owned(), Value::Array(blockers));
    }
    Ok(body)
}

fn brief(issue: &Value) -> Value {
    json!({ "id": issue["id"], "identifier": issue["identifier"], "title": issue["title"] })
}

fn told_with_created(mut refused: Refused, created: usize) -> Refused {
    if created > 0 {
        let error = refused.body["error"].as_str().unwrap_or("refused").to_owned();
        refused.body["error"] = json!(format!("{error} (the {created} before it were created)"));
        refused.next = Some("correct it and call again with what is not created yet");
    }
    refused
}
