//! The way of an agent through its task: who it is, what there is to do, taking it, saying something, finishing it.

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::super::arguments::{count, flag, issue, object, text, texts, word};
use super::super::desk::{Refused, step};
use super::{Effect, Tool};

/// What a person has no use for.
pub(super) fn is_for_agents(name: &str) -> bool {
    matches!(name, "inbox" | "checkout" | "finish")
}

/// The statuses from which a task is taken when none are named, as in the reference's client.
const TAKEN_FROM: [&str; 4] = ["todo", "backlog", "blocked", "in_review"];
pub(super) const STATUSES: [&str; 7] =
    ["backlog", "todo", "in_progress", "in_review", "done", "blocked", "cancelled"];
const HELD: &str =
    "somebody else holds it: do not try again; take another task from `inbox`, or end your turn";

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "whoami",
        title: "Who am I",
        about: "Shows who you are to Bugle: your id, company, role, managers, budget, and the run and task that you \
                work for.",
        effect: Effect::Reads,
        takes: || object([], &[]),
        does: |desk, _| {
            Box::pin(async move {
                let path = if desk.is_agent() { "/agents/me" } else { "/cli-auth/me" };
                let mut me = desk.get(path).await?;
                me["runId"] = json!(desk.run().map(|run| run.as_str()));
                me["taskId"] = json!(desk.task().await);
                Ok(me.into())
            })
        },
    },
    Tool {
        name: "inbox",
        title: "My open work",
        about: "Lists the issues that are assigned to you and not done: `items` to work on, `inReview` waiting for a \
                review. Prefer in_progress, then todo; leave blocked ones unless you can unblock them.",
        effect: Effect::Reads,
        takes: || object([], &[]),
        does: |desk, _| {
            Box::pin(async move {
                let mut inbox = desk.get("/agents/me/inbox-lite").await?;
                let (company, me) = (desk.company().await?, desk.agent()?);
                // The inbox holds these too; here they have a list of their own.
                if let Some(items) = inbox["items"].as_array_mut() {
                    items.retain(|item| item["status"] != "in_review");
                }
                let review = format!("/companies/{company}/issues?assigneeAgentId={me}&status=in_review");
                inbox["inReview"] = desk.get(&review).await?["items"].take();
                Ok(inbox.into())
            })
        },
    },
    Tool {
        name: "read_task",
        title: "Read a task",
        about: "Shows what a task is about: its text, what it is part of, project and goal, attachments, the latest \
                comment, what blocks it. Read this first.",
        effect: Effect::Reads,
        takes: || {
            object(
                [
                    ("issue", issue()),
                    ("wakeCommentId", text("a comment to show with it: the one you were woken for")),
                ],
                &[],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let mut path = format!("/issues/{}/heartbeat-context", desk.issue(&given).await?);
                if let Some(comment) = given.text("wakeCommentId") {
                    path.push_str(&format!("?wakeCommentId={}", step(comment)));
                }
                Ok(desk.get(&path).await?.into())
            })
        },
    },
    Tool {
        name: "checkout",
        title: "Take a task",
        about: "Takes a task for you: it is in_progress, yours, and held by your run. The task that you were woken for \
                is usually held already. When it is refused because somebody else holds it, do not try again.",
        effect: Effect::Sets,
        takes: || {
            object(
                [
                    ("issue", issue()),
                    (
                        "expectedStatuses",
                        texts("take it only from these; default: todo, backlog, blocked, in_review"),
                    ),
                ],
                &[],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let path = format!("/issues/{}/checkout", desk.issue(&given).await?);
                let mut body = given.body(&["expectedStatuses"]);
                body.entry("expectedStatuses").or_insert_with(|| json!(TAKEN_FROM));
                body.insert("agentId".to_owned(), json!(desk.agent()?));
                let taken = desk.send(Method::POST, &path, body).await;
                Ok(taken.map_err(|refused| refused.next(StatusCode::CONFLICT, HELD))?.into())
            })
        },
    },
    Tool {
        name: "release",
        title: "Give a task back",
        about: "Gives a task back without having done it: it is todo and nobody's. Say why in a comment first.",
        effect: Effect::Sets,
        takes: || object([("issue", issue())], &[]),
        does: |desk, given| {
            Box::pin(async move {
                let path = format!("/issues/{}/release", desk.issue(&given).await?);
                Ok(desk.send(Method::POST, &path, Map::new()).await?.into())
            })
        },
    },
    Tool {
        name: "list_comments",
        title: "Read comments",
        about: "Lists the comments of an issue, newest first. With `after` and `order` asc: what was said since that \
                comment.",
        effect: Effect::Reads,
        takes: || {
            object(
                [
                    ("issue", issue()),
                    ("after", text("the id of a comment; only what comes behind it is listed")),
                    ("order", word(&["asc", "desc"], "oldest or newest (default) first")),
                    ("limit", count("at most so many; default 50")),
                ],
                &[],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let limit = given.number("limit").unwrap_or(50);
                let order = given.text("order").unwrap_or("desc");
                let mut path =
                    format!("/issues/{}/comments?order={order}&limit={limit}", desk.issue(&given).await?);
                if let Some(after) = given.text("after") {
                    path.push_str(&format!("&after={}", step(after)));
                }
                Ok(desk.get(&path).await?.into())
            })
        },
    },
    Tool {
        name: "read_comment",
        title: "Read one comment",
        about: "Shows one comment of an issue, for example the one that you were woken for.",
        effect: Effect::Reads,
        takes: || object([("issue", issue()), ("commentId", text("the id of the comment"))], &["commentId"]),
        does: |desk, given| {
            Box::pin(async move {
                let comment = step(given.text("commentId").unwrap_or_default());
                let path = format!("/issues/{}/comments/{comment}", desk.issue(&given).await?);
                Ok(desk.get(&path).await?.into())
            })
        },
    },
    Tool {
        name: "comment",
        title: "Say something on an issue",
        about: "Adds a comment in Markdown. Whoever the issue is assigned to hears of it, and so does everybody you \
                name as [@Name](agent://ID).",
        effect: Effect::Adds,
        takes: || {
            object(
                [
                    ("issue", issue()),
                    ("body", text("the comment, Markdown")),
                    ("resume", flag("also asks the assignee to go on with the work")),
                    ("reopen", flag("also moves a closed issue back to todo")),
                ],
                &["body"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let path = format!("/issues/{}/comments", desk.issue(&given).await?);
                Ok(desk.send(Method::POST, &path, given.body(&["body", "resume", "reopen"])).await?.into())
            })
        },
    },
    Tool {
        name: "finish",
        title: "Finish a task",
        about: "Ends your work on a task, with a comment that says what came of it. `done`: it is done. `in_review`: \
                somebody is to look at it; name a person as `assigneeUserId` to hand it to them. `blocked`: it cannot go \
                on; name the issues that it waits for as `blockedBy`, and you are woken when these are done. Then end \
                your turn.",
        effect: Effect::Sets,
        takes: || {
            object(
                [
                    ("issue", issue()),
                    ("outcome", word(&["done", "in_review", "blocked"], "how it stands")),
                    ("comment", text("what was done and what came of it, or what is missing; Markdown")),
                    ("blockedBy", texts("ids or identifiers of issues that must be done first")),
                    ("assigneeUserId", text("for in_review: the id of the person who goes on with it")),
                ],
                &["outcome", "comment"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let outcome = given.text("outcome").unwrap_or_default();
                let mut body = given.body(&["comment"]);
                body.insert("status".to_owned(), json!(outcome));
                if let Some(blockers) = given.texts("blockedBy") {
                    body.insert("blockedByIssueIds".to_owned(), Value::Array(desk.ids_of(&blockers).await?));
                }
                if let Some(person) = given.text("assigneeUserId") {
                    if outcome != "in_review" {
                        return Err(Refused::because(
                            "bad_arguments",
                            "assigneeUserId goes with the outcome in_review only",
                            "leave it out, or finish with in_review",
                        ));
                    }
                    body.insert("assigneeUserId".to_owned(), json!(person));
                    body.insert("assigneeAgentId".to_owned(), Value::Null);
                }
                let path = format!("/issues/{}", desk.issue(&given).await?);
                Ok(desk.send(Method::PATCH, &path, body).await?.into())
            })
        },
    },
];
