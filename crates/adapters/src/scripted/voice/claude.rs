//! The stream of Claude Code.

use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use serde_json::{Value, json};

/// What goes onto every line, and into the result.
#[derive(Debug, Default)]
pub(crate) struct ClaudeVoice {
    session: String,
    messages: u64,
    usage: Usage,
    text: String,
}

impl ClaudeVoice {
    pub(super) fn say(&mut self, event: &AgentEvent) -> Vec<Value> {
        match event {
            AgentEvent::Session { id } => {
                self.session.clone_from(id);
                vec![json!({
                    "type": "system", "subtype": "init", "session_id": id, "model": "scripted",
                    "claude_code_version": "2.1.197", "tools": [], "permissionMode": "bypassPermissions",
                })]
            }
            AgentEvent::Message { text } => {
                self.text.clone_from(text);
                vec![self.assistant(json!({ "type": "text", "text": text }))]
            }
            AgentEvent::ToolCall { id, name, input } => {
                vec![self.assistant(json!({ "type": "tool_use", "id": id, "name": name, "input": input }))]
            }
            AgentEvent::ToolResult { id, is_error, output } => {
                let result = json!({ "type": "tool_result", "tool_use_id": id, "is_error": is_error, "content": output });
                let message = json!({ "role": "user", "content": [result] });
                vec![json!({ "type": "user", "session_id": self.session, "message": message })]
            }
            AgentEvent::UsageAdded { usage } => {
                self.usage.add(usage);
                Vec::new()
            }
            AgentEvent::UsageTotal { usage } => {
                self.usage.clone_from(usage);
                Vec::new()
            }
            AgentEvent::Trouble { error } => vec![json!({
                "type": "system", "subtype": "api_retry", "attempt": 1, "max_retries": 10, "retry_delay_ms": 600,
                "error_status": status(error.class), "error": error.message, "session_id": self.session,
            })],
            AgentEvent::Result { error, summary, .. } => {
                vec![self.result(error.as_ref(), summary.as_deref())]
            }
            AgentEvent::SessionNote { .. }
            | AgentEvent::PermissionAsked { .. }
            | AgentEvent::PermissionClosed { .. } => Vec::new(),
        }
    }

    fn assistant(&mut self, content: Value) -> Value {
        self.messages += 1;
        // Its usage is that of the beginning of a message, as with the real one: nothing to add up.
        let message = json!({
            "id": format!("msg_{}", self.messages), "role": "assistant", "model": "scripted", "content": [content],
            "usage": { "input_tokens": 0, "output_tokens": 0 },
        });
        json!({ "type": "assistant", "session_id": self.session, "message": message })
    }

    fn result(&self, error: Option<&AgentError>, summary: Option<&str>) -> Value {
        let usage = &self.usage;
        let mut result = json!({
            // Also of a failure: what counts is `is_error`.
            "type": "result", "subtype": "success", "is_error": error.is_some(), "session_id": self.session,
            "num_turns": self.messages, "result": summary.unwrap_or(&self.text),
            "total_cost_usd": usage.cost_micros.unwrap_or(0) as f64 / 1e6,
            "usage": {
                "input_tokens": usage.input_tokens, "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": usage.cached_input_tokens, "output_tokens": usage.output_tokens,
            },
        });
        if let Some(error) = error {
            result["result"] = Value::from(error.message.as_str());
            result["api_error_status"] = json!(status(error.class));
            if error.class == ErrorClass::SessionGone {
                result["subtype"] = Value::from("error_during_execution");
                result["errors"] =
                    json!([format!("No conversation found with session ID: {}", self.session)]);
            }
        }
        result
    }
}

/// The status of HTTP behind a failure of a class, where there is one.
fn status(class: ErrorClass) -> Option<u16> {
    match class {
        ErrorClass::Transient => Some(529),
        ErrorClass::Quota => Some(429),
        ErrorClass::Auth => Some(401),
        ErrorClass::BadRequest => Some(400),
        ErrorClass::SessionGone | ErrorClass::Permission | ErrorClass::TimedOut | ErrorClass::Other => None,
    }
}
