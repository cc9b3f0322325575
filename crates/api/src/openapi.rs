//! The description of the surface, made from the routes themselves: what is mounted is described.

use serde_json::Value;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Bugle",
        description = "Wakes, runs and watches AI agents. Lists are arrays; when there is more, the `Bugle-Cursor` header of \
                       an answer is the cursor of the next page, sent back in the same header or as `?cursor=`."
    ),
    tags(
        (name = "companies", description = "tenants"),
        (name = "agents", description = "configured workers"),
        (name = "skills", description = "texts that say how work of one kind is done"),
        (name = "wakes", description = "asks to work, each with its fate"),
        (name = "issues", description = "work items, with their comments, documents, questions and files"),
        (name = "projects", description = "what work belongs to and is for"),
        (name = "environments", description = "the machines that runs work on, and services beside workspaces"),
        (name = "trees", description = "whole trees of issues: paused, resumed, cancelled, restored"),
        (name = "runs", description = "pieces of work, with what they did and said"),
        (name = "streams", description = "the same, live"),
        (name = "approvals", description = "what somebody asked a person to decide"),
        (name = "automations", description = "work of several steps, and what starts it"),
        (name = "accounts", description = "logins and keys at providers, and what keeps runs from starting on them"),
        (name = "costs", description = "what was spent"),
        (name = "budgets", description = "what may be spent, and lines that were crossed"),
        (name = "webhooks", description = "events that are sent to the servers of others, and their requests that start automations"),
        (name = "people", description = "users, members, keys and logins"),
        (name = "instance", description = "health, audit, backup, figures")
    )
)]
struct Description;

/// The description as an OpenAPI document.
pub fn openapi() -> Value {
    let mcp = OpenApiRouter::new().nest("/api", crate::mcp::mount());
    let hooks = OpenApiRouter::new().nest("/api", crate::routes::hooks::mount());
    let mut routes = crate::ordinary().merge(crate::unhurried()).merge(mcp).merge(hooks);
    let mut document = Description::openapi();
    document.merge(routes.to_openapi());
    let mut document = serde_json::to_value(document).expect("a description is JSON");
    for (path, methods) in document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten() {
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            operation["operationId"] = Value::from(name_of(method, path));
            let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
            for (status, response) in responses.into_iter().flatten() {
                describe(status, response);
            }
        }
    }
    document
}

/// The specification wants a description of every answer; what is empty is left out of the document by its writer.
fn describe(status: &str, response: &mut Value) {
    let Some(response) = response.as_object_mut() else { return };
    let code = status.parse::<u16>().ok().and_then(|code| axum::http::StatusCode::from_u16(code).ok());
    let reason = code.and_then(|code| code.canonical_reason()).unwrap_or("an answer");
    response.entry("description").or_insert_with(|| Value::from(reason));
}

/// The name of an operation, from its method and path: names of functions are not unique, and change.
fn name_of(method: &str, path: &str) -> String {
    let mut name = method.to_owned();
    let (path, is_prefixed) = path.strip_prefix("/api/").map_or((path, false), |rest| (rest, true));
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if part.starts_with('{') {
            name.push_str("By");
        }
        for word in part.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
            let (first, rest) = word.split_at(1);
            name.push_str(&first.to_ascii_uppercase());
            name.push_str(rest);
        }
    }
    if !is_prefixed {
        name.push_str("Unprefixed");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_the_description_that_the_specification_wants() {
        let document = openapi();
        let paths = document["paths"].as_object().unwrap();
        let operations = paths.values().flat_map(|methods| methods.as_object().unwrap().values());
        let answers: Vec<&Value> =
            operations.flat_map(|operation| operation["responses"].as_object().unwrap().values()).collect();
        assert!(answers.len() > 50, "{}", answers.len());
        for answer in answers {
            assert!(answer["description"].as_str().is_some_and(|text| !text.is_empty()), "{answer}");
        }
    }

    #[test]
    fn operations_are_named_after_their_paths() {
        for (method, path, name) in [
            ("get", "/api/agents/{agent}", "getAgentsByAgent"),
            ("post", "/api/agents/{agent}/heartbeat/invoke", "postAgentsByAgentHeartbeatInvoke"),
            ("get", "/api/openapi.json", "getOpenapiJson"),
            ("get", "/health", "getHealthUnprefixed"),
        ] {
            assert_eq!(name_of(method, path), name);
        }
    }
}
