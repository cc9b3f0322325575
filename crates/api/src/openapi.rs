//! The description of the surface, made from the routes themselves: what is mounted is described.

use serde_json::Value;
use utoipa::OpenApi;

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
        (name = "wakes", description = "asks to work, each with its fate"),
        (name = "runs", description = "pieces of work, with what they did and said"),
        (name = "streams", description = "the same, live"),
        (name = "instance", description = "health, audit, backup, figures")
    )
)]
struct Description;

/// The description as an OpenAPI document.
pub fn openapi() -> Value {
    let mut routes = crate::ordinary().merge(crate::unhurried());
    let mut document = Description::openapi();
    document.merge(routes.to_openapi());
    let mut document = serde_json::to_value(document).expect("a description is JSON");
    for (path, methods) in document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten() {
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            operation["operationId"] = Value::from(name_of(method, path));
        }
    }
    document
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
