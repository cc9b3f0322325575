//! Resources: the same issues and documents, for clients that attach what they read to a conversation.

use serde_json::{Value, json};

use super::desk::{Desk, step};
use super::protocol::Fault;

const JSON: &str = "application/json";
const TASK: &str = "bugle://task";

/// The resources that are there for this caller: the task of its run and its documents.
pub(super) async fn listed(desk: &Desk) -> Vec<Value> {
    let Some(task) = desk.task().await else { return Vec::new() };
    let mut found = vec![json!({
        "uri": TASK, "name": "task", "title": "Your task", "mimeType": JSON,
        "description": "what the task of your run is about: the issue, what it is part of, and the latest comment",
    })];
    let documents = desk.get(&format!("/issues/{task}/documents")).await.unwrap_or(Value::Null);
    for document in documents["items"].as_array().into_iter().flatten() {
        let Some(key) = document["key"].as_str() else { continue };
        found.push(json!({
            "uri": format!("bugle://issues/{task}/documents/{key}"), "name": key, "title": document["title"],
            "mimeType": "text/markdown", "description": "a document of your task",
        }));
    }
    // An absent title is left out: null is no title.
    for resource in &mut found {
        if let Some(map) = resource.as_object_mut() {
            map.retain(|_, value| !value.is_null());
        }
    }
    found
}

/// The resources that anybody may name.
pub(super) fn templates() -> Value {
    json!([
        {
            "uriTemplate": "bugle://issues/{issue}", "name": "issue", "title": "An issue", "mimeType": JSON,
            "description": "an issue by its id or identifier, with everything around it",
        },
        {
            "uriTemplate": "bugle://issues/{issue}/documents/{key}", "name": "document", "title": "A document",
            "mimeType": "text/markdown", "description": "a document of an issue, for example its plan",
        },
    ])
}

/// What a resource holds now.
pub(super) async fn read(desk: &Desk, params: &Value) -> Result<Value, Fault> {
    let uri = params["uri"].as_str().ok_or_else(|| Fault::invalid_params("`uri` must be a string"))?;
    let unknown = || Fault::no_resource(format!("there is no resource {uri}; see resources/list"));
    let steps: Vec<&str> = uri.strip_prefix("bugle://").ok_or_else(unknown)?.split('/').collect();
    let (path, kind) = match steps[..] {
        ["task"] => {
            let task = desk.task().await.ok_or_else(|| Fault::no_resource("your run has no task"))?;
            (format!("/issues/{task}/heartbeat-context"), JSON)
        }
        ["issues", issue] => (format!("/issues/{}", step(issue)), JSON),
        ["issues", issue, "documents", key] => {
            (format!("/issues/{}/documents/{}", step(issue), step(key)), "text/markdown")
        }
        _ => return Err(unknown()),
    };
    let told = desk.get(&path).await.map_err(|refused| {
        let words = refused.body["error"].as_str().unwrap_or("it cannot be read");
        Fault::no_resource(format!("{uri}: {words}"))
    })?;
    let text =
        if kind == JSON { told.to_string() } else { told["body"].as_str().unwrap_or_default().to_owned() };
    Ok(json!({ "contents": [{ "uri": uri, "mimeType": kind, "text": text }] }))
}
