//! Asking people: questions, confirmations, suggested tasks, and approvals.

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::super::arguments::{anything, flag, issue, list, object, text, texts, word};
use super::super::desk::{Desk, Refused, step};
use super::issues::PRIORITIES;
use super::{Effect, Tool};
use crate::mcp::arguments::Arguments;

const POLICIES: [&str; 3] = ["wake_assignee", "wake_assignee_on_accept", "none"];
const POLICY: &str = "whether the assignee of the issue is woken by the answer; default wake_assignee";
const KEY: &str = "a key of your own: the same question under the same key is asked once only";

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "ask_questions",
        title: "Ask a person questions",
        about: "Asks people to choose among answers, on an issue. It does not wait: finish the issue as in_review and end \
                your turn; you are woken with the answers, which `list_questions` shows.",
        effect: Effect::Adds,
        takes: || {
            let option = object(
                [
                    ("id", text("an id of your own; default o1, o2, ...")),
                    ("label", text("the answer, at most 120 characters")),
                    ("description", text("what it would mean")),
                ],
                &["label"],
            );
            let question = object(
                [
                    ("id", text("an id of your own; default q1, q2, ...")),
                    ("prompt", text("the question, at most 500 characters")),
                    ("helpText", text("what a person needs to know to answer")),
                    ("selectionMode", word(&["single", "multi"], "one answer (default) or several")),
                    ("required", flag("it must be answered; default true")),
                    ("options", list(option, "1 to 10 answers to choose from")),
                ],
                &["prompt", "options"],
            );
            object(
                [
                    ("issue", issue()),
                    ("title", text("what it is about, in one line")),
                    ("summary", text("why you ask")),
                    ("questions", list(question, "1 to 10 questions")),
                    ("continuationPolicy", word(&POLICIES, POLICY)),
                    ("idempotencyKey", text(KEY)),
                ],
                &["questions"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let questions: Vec<Value> =
                    given.list("questions").iter().enumerate().map(|(at, it)| question(at, it)).collect();
                let mut payload = json!({ "version": 1, "questions": questions });
                if let Some(title) = given.text("title") {
                    payload["title"] = json!(title);
                }
                ask(desk, &given, "ask_user_questions", payload).await
            })
        },
    },
    Tool {
        name: "ask_confirmation",
        title: "Ask a person to confirm",
        about: "Asks people to say yes or no, on an issue: for example to a plan, by its `document` key; the question is \
                void when the document changes. It does not wait: finish the issue as in_review and end your turn; you \
                are woken with the decision.",
        effect: Effect::Adds,
        takes: || {
            object(
                [
                    ("issue", issue()),
                    ("prompt", text("what is to be confirmed, at most 1000 characters")),
                    ("detailsMarkdown", text("all that is needed to decide")),
                    (
                        "document",
                        text(
                            "the key of the document that is to be confirmed, as it is now: for example plan",
                        ),
                    ),
                    ("acceptLabel", text("what yes is called")),
                    ("rejectLabel", text("what no is called")),
                    ("rejectRequiresReason", flag("whoever says no must say why")),
                    ("continuationPolicy", word(&POLICIES, POLICY)),
                    ("idempotencyKey", text(KEY)),
                ],
                &["prompt"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let names =
                    ["prompt", "detailsMarkdown", "acceptLabel", "rejectLabel", "rejectRequiresReason"];
                let mut payload = given.body(&names);
                payload.insert("version".to_owned(), json!(1));
                if let Some(key) = given.text("document") {
                    let issue = desk.issue(&given).await?;
                    let document = desk.get(&format!("/issues/{issue}/documents/{}", step(key))).await?;
                    let target = json!({
                        "type": "issue_document", "key": document["key"],
                        "revisionId": document["latestRevisionId"],
                        "revisionNumber": document["latestRevisionNumber"],
                    });
                    payload.insert("target".to_owned(), target);
                }
                ask(desk, &given, "request_confirmation", Value::Object(payload)).await
            })
        },
    },
    Tool {
        name: "suggest_tasks",
        title: "Suggest tasks to a person",
        about: "Suggests issues; a person chooses which of them are created. Use it where you may not decide what is done \
                next. It does not wait: finish the issue as in_review and end your turn.",
        effect: Effect::Adds,
        takes: || {
            let task = object(
                [
                    ("title", text("what is to be done, at most 240 characters")),
                    ("description", text("all that is needed to do it; Markdown")),
                    ("priority", word(&PRIORITIES, "how urgent it is")),
                    ("assignee", text("the agent that would do it: id, short name or name")),
                ],
                &["title"],
            );
            object(
                [
                    ("issue", issue()),
                    ("title", text("what the suggestion is about, in one line")),
                    ("summary", text("why you suggest it")),
                    ("tasks", list(task, "1 to 50 issues to suggest")),
                    ("continuationPolicy", word(&POLICIES, POLICY)),
                    ("idempotencyKey", text(KEY)),
                ],
                &["tasks"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let mut tasks = Vec::new();
                for (at, task) in given.list("tasks").iter().enumerate() {
                    let mut suggested = Map::new();
                    suggested.insert("clientKey".to_owned(), json!(format!("t{}", at + 1)));
                    for name in ["title", "description", "priority"] {
                        if let Some(value) = task.get(name).filter(|value| !value.is_null()) {
                            suggested.insert(name.to_owned(), value.clone());
                        }
                    }
                    if let Some(agent) = task["assignee"].as_str() {
                        suggested.insert("assigneeAgentId".to_owned(), desk.agent_named(agent).await?);
                    }
                    tasks.push(Value::Object(suggested));
                }
                ask(desk, &given, "suggest_tasks", json!({ "version": 1, "tasks": tasks })).await
            })
        },
    },
    Tool {
        name: "list_questions",
        title: "Read questions and answers",
        about: "Lists what was asked on an issue (questions, confirmations, suggested tasks), oldest first, each with its \
                status and, once a person has answered, its result.",
        effect: Effect::Reads,
        takes: || object([("issue", issue())], &[]),
        does: |desk, given| {
            Box::pin(async move {
                Ok(desk.get(&format!("/issues/{}/interactions", desk.issue(&given).await?)).await?.into())
            })
        },
    },
    Tool {
        name: "request_approval",
        title: "Request an approval",
        about: "Asks the board to approve something that you may not decide: spending, something irreversible, a \
                strategy. You are woken when it is approved. For a choice or a plan use ask_questions or \
                ask_confirmation.",
        effect: Effect::Adds,
        takes: || {
            object(
                [
                    ("title", text("what is to be approved, in one line")),
                    ("summary", text("why, and what it would mean")),
                    ("recommendedAction", text("what you advise")),
                    ("risks", texts("what could go wrong")),
                    (
                        "type",
                        word(
                            &["request_board_approval", "approve_ceo_strategy"],
                            "default request_board_approval",
                        ),
                    ),
                    ("payload", anything("further fields for whoever decides")),
                    (
                        "issues",
                        texts("ids or identifiers of the issues it is about; default: the task of your run"),
                    ),
                ],
                &["title", "summary"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let mut payload =
                    given.value("payload").and_then(Value::as_object).cloned().unwrap_or_default();
                payload.extend(given.body(&["title", "summary", "recommendedAction", "risks"]));
                let issues = match given.texts("issues") {
                    Some(issues) => desk.ids_of(&issues).await?,
                    None => desk.task().await.into_iter().map(Value::from).collect(),
                };
                let body = Map::from_iter([
                    ("type".to_owned(), json!(given.text("type").unwrap_or("request_board_approval"))),
                    ("payload".to_owned(), Value::Object(payload)),
                    ("issueIds".to_owned(), Value::Array(issues)),
                ]);
                let path = format!("/companies/{}/approvals", desk.company().await?);
                Ok(desk.send(Method::POST, &path, body).await?.into())
            })
        },
    },
    Tool {
        name: "list_approvals",
        title: "List approvals",
        about: "Lists approvals: those of one issue, or all of your company, newest first.",
        effect: Effect::Reads,
        takes: || {
            object(
                [
                    ("issue", text("only those about this issue: id or identifier")),
                    (
                        "status",
                        word(
                            &["pending", "revision_requested", "approved", "rejected", "cancelled"],
                            "only these",
                        ),
                    ),
                ],
                &[],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let path = match given.text("issue") {
                    Some(issue) => format!("/issues/{}/approvals", step(issue)),
                    None => {
                        let status = given.text("status").map(|status| format!("?status={status}"));
                        format!(
                            "/companies/{}/approvals{}",
                            desk.company().await?,
                            status.unwrap_or_default()
                        )
                    }
                };
                Ok(desk.get(&path).await?.into())
            })
        },
    },
    Tool {
        name: "read_approval",
        title: "Read an approval",
        about: "Shows an approval, its decision, the issues that it is about and what was said on it.",
        effect: Effect::Reads,
        takes: || object([("approvalId", text("the id of the approval"))], &["approvalId"]),
        does: |desk, given| {
            Box::pin(async move {
                let path = format!("/approvals/{}", step(given.text("approvalId").unwrap_or_default()));
                let mut approval = desk.get(&path).await?;
                approval["issues"] = desk.get(&format!("{path}/issues")).await?["items"].take();
                approval["comments"] = desk.get(&format!("{path}/comments")).await?["items"].take();
                Ok(approval.into())
            })
        },
    },
    Tool {
        name: "comment_on_approval",
        title: "Say something on an approval",
        about: "Adds a comment to an approval, for example the answer to what the board wants to know.",
        effect: Effect::Adds,
        takes: || {
            object(
                [("approvalId", text("the id of the approval")), ("body", text("the comment, Markdown"))],
                &["approvalId", "body"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let path =
                    format!("/approvals/{}/comments", step(given.text("approvalId").unwrap_or_default()));
                Ok(desk.send(Method::POST, &path, given.body(&["body"])).await?.into())
            })
        },
    },
    Tool {
        name: "resubmit_approval",
        title: "Submit an approval again",
        about: "Submits an approval of yours again after the board asked for a revision, with what is new.",
        effect: Effect::Sets,
        takes: || {
            object(
                [
                    ("approvalId", text("the id of the approval")),
                    ("payload", anything("replaces what was submitted before; left out: the same as before")),
                ],
                &["approvalId"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let path =
                    format!("/approvals/{}/resubmit", step(given.text("approvalId").unwrap_or_default()));
                Ok(desk.send(Method::POST, &path, given.body(&["payload"])).await?.into())
            })
        },
    },
    Tool {
        name: "decide_approval",
        title: "Decide an approval",
        about: "For people: approves or rejects an approval, or asks for a revision. Refused to agents, and to whoever \
                cannot prove to be a person.",
        effect: Effect::Sets,
        takes: || {
            object(
                [
                    ("approvalId", text("the id of the approval")),
                    ("decision", word(&["approve", "reject", "request-revision"], "the decision")),
                    ("decisionNote", text("why")),
                ],
                &["approvalId", "decision"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let approval = step(given.text("approvalId").unwrap_or_default());
                let path = format!("/approvals/{approval}/{}", given.text("decision").unwrap_or_default());
                Ok(desk.send(Method::POST, &path, given.body(&["decisionNote"])).await?.into())
            })
        },
    },
];

/// A question with all that the route wants: ids, a mode.
fn question(at: usize, given: &Value) -> Value {
    let mut asked = given.clone();
    drop_nulls(&mut asked);
    let otherwise = |map: &mut Value, name: &str, value: Value| {
        if map.get(name).is_none() {
            map[name] = value;
        }
    };
    otherwise(&mut asked, "id", json!(format!("q{}", at + 1)));
    otherwise(&mut asked, "selectionMode", json!("single"));
    otherwise(&mut asked, "required", json!(true));
    for (at, option) in asked["options"].as_array_mut().into_iter().flatten().enumerate() {
        drop_nulls(option);
        otherwise(option, "id", json!(format!("o{}", at + 1)));
    }
    asked
}

fn drop_nulls(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
}

async fn ask(desk: &Desk, given: &Arguments, kind: &str, payload: Value) -> Result<super::Told, Refused> {
    let mut body = given.body(&["title", "summary", "continuationPolicy", "idempotencyKey"]);
    // Whoever asks wants to hear the answer, of a confirmation too.
    body.entry("continuationPolicy").or_insert_with(|| json!(POLICIES[0]));
    body.insert("kind".to_owned(), json!(kind));
    body.insert("payload".to_owned(), payload);
    let path = format!("/issues/{}/interactions", desk.issue(given).await?);
    Ok(desk.send(Method::POST, &path, body).await?.into())
}
