//! Who and what else there is in a company, and everything that has no tool of its own.

use axum::http::Method;
use serde_json::Value;

use super::super::arguments::{object, text, word};
use super::super::desk::{Refused, step};
use super::{Effect, Tool};

const METHODS: [&str; 5] = ["GET", "POST", "PATCH", "PUT", "DELETE"];

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "list_agents",
        title: "List agents",
        about: "Lists the agents of your company: name, role, what they can do, whom they report to, whether they are \
                at work.",
        effect: Effect::Reads,
        takes: || object([], &[]),
        does: |desk, _| {
            Box::pin(async move {
                Ok(desk.get(&format!("/companies/{}/agents", desk.company().await?)).await?.into())
            })
        },
    },
    Tool {
        name: "read_agent",
        title: "Read about an agent",
        about: "Shows one agent of your company with its managers and what it may do.",
        effect: Effect::Reads,
        takes: || object([("agent", text("id, short name or name"))], &["agent"]),
        does: |desk, given| {
            Box::pin(async move {
                let id = desk.agent_named(given.text("agent").unwrap_or_default()).await?;
                Ok(desk.get(&format!("/agents/{}", id.as_str().unwrap_or_default())).await?.into())
            })
        },
    },
    Tool {
        name: "list_projects",
        title: "List projects",
        about: "Lists the projects of your company, with their folders, repositories and goals.",
        effect: Effect::Reads,
        takes: || object([], &[]),
        does: |desk, _| {
            Box::pin(async move {
                Ok(desk.get(&format!("/companies/{}/projects", desk.company().await?)).await?.into())
            })
        },
    },
    Tool {
        name: "read_project",
        title: "Read a project",
        about: "Shows one project: what it is for, where its code is, how it is doing.",
        effect: Effect::Reads,
        takes: || object([("projectId", text("id or short name of the project"))], &["projectId"]),
        does: |desk, given| {
            Box::pin(async move {
                let mut path = format!("/projects/{}", step(given.text("projectId").unwrap_or_default()));
                if !desk.is_agent() {
                    path.push_str(&format!("?companyId={}", desk.company().await?));
                }
                Ok(desk.get(&path).await?.into())
            })
        },
    },
    Tool {
        name: "list_goals",
        title: "List goals",
        about: "Lists the goals of your company: what all the work is for.",
        effect: Effect::Reads,
        takes: || object([], &[]),
        does: |desk, _| {
            Box::pin(async move {
                Ok(desk.get(&format!("/companies/{}/goals", desk.company().await?)).await?.into())
            })
        },
    },
    Tool {
        name: "read_dashboard",
        title: "Read the dashboard",
        about: "Shows how your company is doing in figures: agents, tasks, costs, budgets, approvals, runs of the last \
                two weeks.",
        effect: Effect::Reads,
        takes: || object([], &[]),
        does: |desk, _| {
            Box::pin(async move {
                Ok(desk.get(&format!("/companies/{}/dashboard", desk.company().await?)).await?.into())
            })
        },
    },
    Tool {
        name: "call_api",
        title: "Call the API",
        about: "Sends any request to Bugle's HTTP API in your name, for what has no tool of its own; the id of your run \
                is added by itself. GET /openapi.json describes all routes. Prefer the other tools.",
        effect: Effect::Any,
        takes: || {
            let mut schema = object(
                [
                    ("method", word(&METHODS, "the HTTP method")),
                    ("path", text("the path below /api with its query, for example /companies/ID/labels")),
                    ("body", Value::Null),
                ],
                &["method", "path"],
            );
            schema["properties"]["body"] =
                serde_json::json!({ "description": "the JSON body, for methods that take one" });
            schema
        },
        does: |desk, given| {
            Box::pin(async move {
                let method: Method = given.text("method").unwrap_or("GET").parse().unwrap_or(Method::GET);
                let path = given.text("path").unwrap_or_default().trim();
                let path = path.strip_prefix("/api").filter(|rest| rest.starts_with('/')).unwrap_or(path);
                if !path.starts_with('/') {
                    return Err(Refused::because(
                        "bad_arguments",
                        "path must begin with / and name no host",
                        "give the path below /api, for example /agents/me",
                    ));
                }
                let body = match given.value("body") {
                    // Some clients can only send a body as a text.
                    Some(Value::String(text)) => Some(text.clone().into_bytes()),
                    Some(body) => Some(body.to_string().into_bytes()),
                    None => None,
                };
                let answer = desk.ask(method, path, body.map(|bytes| ("application/json", bytes))).await?;
                Ok(answer.told().into())
            })
        },
    },
];
