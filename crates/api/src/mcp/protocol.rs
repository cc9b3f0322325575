//! JSON-RPC 2.0 as the Model Context Protocol uses it: messages in, faults out, and the greeting.

use serde_json::{Map, Value, json};

/// The versions that are spoken, newest first. They differ in what this server does not do.
pub(super) const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// What a client is told when it connects. A language model reads it.
const INSTRUCTIONS: &str = "\
Bugle gives you work and hears from you about it. `read_task` shows the task that you were woken for; tools that take \
`issue` mean that task when you leave it out. Say what you found with `comment`, hand in what you made with \
`report_work_product`, split work with `create_subtasks`. Ask a person with `ask_questions` or `ask_confirmation`, and end \
your turn: you are woken with the answer. Before you end, call `finish`: done, in_review, or blocked and by what. A refusal \
says what to do next; after a conflict about who holds a task do not try again.";

/// A version of the protocol that this server speaks.
pub(super) fn is_known(version: &str) -> bool {
    VERSIONS.contains(&version)
}

/// One message of a client.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// Wants an answer.
    Request { id: Value, method: String, params: Value },
    /// Wants none.
    Notice,
}

impl Message {
    pub(super) fn read(bytes: &[u8]) -> Result<Message, Fault> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| Fault { code: PARSE, message: format!("the message is not JSON: {error}") })?;
        let Value::Object(mut map) = value else {
            return Err(Fault::invalid_request("a message is one JSON object; batches are not taken"));
        };
        if map.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(Fault::invalid_request("`jsonrpc` must be \"2.0\""));
        }
        let params = map.shift_remove("params").unwrap_or_else(|| Value::Object(Map::new()));
        match (map.shift_remove("method"), map.shift_remove("id")) {
            (Some(Value::String(method)), Some(id)) if id.is_string() || id.is_number() => {
                Ok(Message::Request { id, method, params })
            }
            (Some(Value::String(_)), Some(_)) => {
                Err(Fault::invalid_request("`id` must be a string or a number"))
            }
            (Some(Value::String(_)), None) => Ok(Message::Notice),
            (None, Some(_)) if map.contains_key("result") || map.contains_key("error") => Ok(Message::Notice),
            _ => Err(Fault::invalid_request("`method` must be a string")),
        }
    }
}

const PARSE: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
/// The protocol's own code for a resource that is not there.
const NO_RESOURCE: i64 = -32002;

/// Why a message has no result. What a tool was refused is no fault, but a result that says so.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    code: i64,
    message: String,
}

impl Fault {
    pub(super) fn invalid_request(message: impl Into<String>) -> Fault {
        Fault { code: INVALID_REQUEST, message: message.into() }
    }

    pub(super) fn method_not_found(method: &str) -> Fault {
        Fault { code: METHOD_NOT_FOUND, message: format!("there is no method `{method}`") }
    }

    pub(super) fn invalid_params(message: impl Into<String>) -> Fault {
        Fault { code: INVALID_PARAMS, message: message.into() }
    }

    pub(super) fn no_resource(message: impl Into<String>) -> Fault {
        Fault { code: NO_RESOURCE, message: message.into() }
    }

    /// The whole message that says so.
    pub(super) fn answer(self, id: Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": id, "error": { "code": self.code, "message": self.message } })
    }
}

/// The answer to `initialize`: the version that the client wants if it is spoken here, else the newest.
pub(super) fn welcome(params: &Value, program: &str) -> Value {
    let wanted = params["protocolVersion"].as_str().filter(|version| is_known(version));
    json!({
        "protocolVersion": wanted.unwrap_or(VERSIONS[0]),
        "capabilities": { "tools": {}, "resources": {} },
        "serverInfo": { "name": "bugle", "title": "Bugle", "version": program },
        "instructions": INSTRUCTIONS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_an_id_and_a_method_is_answered() {
        let read = |text: &str| Message::read(text.as_bytes()).map_err(|fault| fault.code);
        let request =
            |id: Value, params: Value| Ok(Message::Request { id, method: "ping".to_owned(), params });
        for (text, expected) in [
            (r#"{"jsonrpc": "2.0", "id": 1, "method": "ping"}"#, request(json!(1), json!({}))),
            (
                r#"{"jsonrpc": "2.0", "id": "a", "method": "ping", "params": {"x": 1}}"#,
                request(json!("a"), json!({"x": 1})),
            ),
            (r#"{"jsonrpc": "2.0", "method": "notifications/initialized"}"#, Ok(Message::Notice)),
            (r#"{"jsonrpc": "2.0", "id": 1, "result": {}}"#, Ok(Message::Notice)),
            (r#"{"jsonrpc": "2.0", "id": null, "method": "ping"}"#, Err(INVALID_REQUEST)),
            (r#"{"jsonrpc": "1.0", "id": 1, "method": "ping"}"#, Err(INVALID_REQUEST)),
            (r#"{"jsonrpc": "2.0", "id": 1}"#, Err(INVALID_REQUEST)),
            (r#"[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]"#, Err(INVALID_REQUEST)),
            ("{", Err(PARSE)),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_client_gets_the_version_it_wants_if_it_is_spoken() {
        for (wanted, told) in [("2025-03-26", "2025-03-26"), ("2099-01-01", "2025-11-25"), ("", "2025-11-25")]
        {
            assert_eq!(welcome(&json!({ "protocolVersion": wanted }), "1")["protocolVersion"], told);
        }
    }
}
