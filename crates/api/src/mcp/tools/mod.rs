//! The tools: what each is called, what it takes, and which requests it makes.
//!
//! Names and fields are those of the routes wherever both have them, so that what an agent knows of one it knows of the
//! other. Who may use a tool is decided by the routes behind it; a list of tools leaves out only what could never work.

mod company;
mod documents;
mod issues;
mod questions;
mod task;
mod work;

use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::arguments::Arguments;
use super::desk::{Desk, Outcome, Refused, Told};
use super::protocol::Fault;

/// One tool.
pub(super) struct Tool {
    name: &'static str,
    title: &'static str,
    /// For a language model: what comes of it, and when to use it.
    about: &'static str,
    effect: Effect,
    /// The schema of its arguments.
    takes: fn() -> Value,
    does: for<'a> fn(&'a Desk, Arguments) -> BoxFuture<'a, Outcome>,
}

/// What a tool does to the world, so that a client may ask its user first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    /// Adds something; the same call again adds another one.
    Adds,
    /// Brings something into a state; the same call again changes nothing more.
    Sets,
    /// May do anything that its caller may.
    Any,
}

fn all() -> impl Iterator<Item = &'static Tool> {
    [task::TOOLS, issues::TOOLS, questions::TOOLS, documents::TOOLS, work::TOOLS, company::TOOLS]
        .into_iter()
        .flatten()
}

/// The tools of a caller.
pub(super) fn listed(desk: &Desk) -> Vec<Value> {
    all().filter(|tool| desk.is_agent() || !task::is_for_agents(tool.name)).map(Tool::described).collect()
}

impl Tool {
    fn described(&self) -> Value {
        let (reads, sets) = (self.effect == Effect::Reads, self.effect == Effect::Sets);
        json!({
            "name": self.name,
            "title": self.title,
            "description": self.about,
            "inputSchema": (self.takes)(),
            "annotations": {
                "readOnlyHint": reads,
                "destructiveHint": self.effect == Effect::Any,
                "idempotentHint": reads || sets,
                "openWorldHint": false,
            },
        })
    }
}

/// Calls a tool. That it was refused is a result; that there is no such tool is a fault.
pub(super) async fn call(desk: &Desk, params: &Value) -> Result<Value, Fault> {
    let name = params["name"].as_str().ok_or_else(|| Fault::invalid_params("`name` must be a string"))?;
    let tool = all().find(|tool| tool.name == name).ok_or_else(|| {
        Fault::invalid_params(format!("there is no tool `{name}`; tools/list names them all"))
    })?;
    let arguments = match Arguments::read(&(tool.takes)(), params.get("arguments")) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            let mut refused =
                Refused::because("bad_arguments", wrong.join("; "), "correct the arguments and call again");
            refused.body["details"] = json!(wrong);
            return Ok(shown_refused(&refused));
        }
    };
    Ok(match (tool.does)(desk, arguments).await {
        Ok(Told { value, text }) => {
            let text = text.unwrap_or_else(|| value.to_string());
            json!({ "content": [{ "type": "text", "text": text }], "structuredContent": value, "isError": false })
        }
        Err(refused) => shown_refused(&refused),
    })
}

/// A refusal as its reader needs it: what, why, and what to do now.
fn shown_refused(refused: &Refused) -> Value {
    let word = |key: &str| refused.body[key].as_str();
    let mut text = format!("Refused: {}", word("error").unwrap_or("the server gave no reason"));
    let mut shown = refused.body.clone();
    if let Some(status) = refused.status {
        text.push_str(&format!(" (HTTP {})", status.as_u16()));
        shown["status"] = json!(status.as_u16());
    }
    if let Some(details) = refused.body.get("details").filter(|details| !details.is_null()) {
        text.push_str(&format!("\nDetails: {details}"));
    }
    let next = refused.next.or_else(|| refused.status.map(next_after));
    let advice: Vec<&str> = word("hint").into_iter().chain(next).collect();
    if !advice.is_empty() {
        text.push_str(&format!("\nNext: {}", advice.join("; ")));
        shown["next"] = json!(advice.join("; "));
    }
    json!({ "content": [{ "type": "text", "text": text }], "structuredContent": shown, "isError": true })
}

/// What to do after a refusal that neither the route nor the tool has advice for.
fn next_after(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "correct what the details name and call again",
        401 => "your key is not valid (any more), or the call needs the id of a run: stop here",
        403 => "you may not do this: leave it to somebody who may, or ask a person with ask_questions",
        404 => "check the id: `inbox`, `search_issues` and `list_agents` show what there is",
        409 => "things are not as you thought: read them again before anything else",
        422 => "it makes no sense as it stands: change what the error names and call again",
        429 => "wait a moment before you try again",
        _ => "this is no fault of yours: try again once, then say so in a comment",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_says_what_it_is_for_and_what_it_takes() {
        let mut names: Vec<&str> = all().map(|tool| tool.name).collect();
        assert!(names.len() > 30, "{}", names.len());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().count(), "two tools of one name");
        for tool in all() {
            let is_word = tool.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(is_word && tool.name.len() <= 32, "{}", tool.name);
            assert!(tool.about.len() > 30, "{} says too little", tool.name);
            let schema = (tool.takes)();
            assert_eq!(schema["additionalProperties"], false, "{}", tool.name);
            let fields = schema["properties"].as_object().unwrap();
            for (field, schema) in fields {
                let about = schema["description"].as_str().unwrap_or_default();
                assert!(!about.is_empty(), "{}.{field} is not explained", tool.name);
            }
            for required in schema["required"].as_array().unwrap() {
                assert!(fields.contains_key(required.as_str().unwrap()), "{} requires {required}", tool.name);
            }
        }
    }

    #[test]
    fn a_refusal_says_what_to_do_next() {
        let refused = Refused {
            status: Some(StatusCode::CONFLICT),
            body: json!({"error": "Issue checkout conflict", "code": "conflict", "details": {"issueId": "x"}}),
            next: Some("take another task"),
        };
        let shown = shown_refused(&refused);
        assert_eq!(
            shown["content"][0]["text"],
            "Refused: Issue checkout conflict (HTTP 409)\nDetails: {\"issueId\":\"x\"}\nNext: take another task"
        );
        assert_eq!(shown["isError"], true);
        assert_eq!(shown["structuredContent"]["next"], "take another task");
    }
}
