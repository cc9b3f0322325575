//! The events of `codex exec --json`.

use domain::telling::{AgentEvent, Usage};
use serde_json::{Value, json};

/// The number of the next item, and what the turn used.
#[derive(Debug, Default)]
pub(crate) struct CodexVoice {
    items: u64,
    has_begun: bool,
    command: String,
    usage: Usage,
}

impl CodexVoice {
    pub(super) fn say(&mut self, event: &AgentEvent) -> Vec<Value> {
        let mut said = Vec::new();
        if let AgentEvent::Session { id } = event {
            return vec![json!({ "type": "thread.started", "thread_id": id })];
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            said.push(json!({ "type": "turn.started" }));
        }
        match event {
            AgentEvent::Message { text } => {
                let item = json!({ "id": self.item(), "type": "agent_message", "text": text });
                said.push(json!({ "type": "item.completed", "item": item }));
            }
            AgentEvent::ToolCall { input, name, .. } => {
                self.command = input["command"].as_str().unwrap_or(name).to_owned();
                let item = self.execution(Value::Null, "", "in_progress");
                said.push(json!({ "type": "item.started", "item": item }));
            }
            AgentEvent::ToolResult { is_error, output, .. } => {
                let (code, status) = if *is_error { (1, "failed") } else { (0, "completed") };
                let item = self.execution(json!(code), output, status);
                self.items += 1;
                said.push(json!({ "type": "item.completed", "item": item }));
            }
            AgentEvent::UsageAdded { usage } => self.usage.add(usage),
            AgentEvent::UsageTotal { usage } => self.usage.clone_from(usage),
            AgentEvent::Trouble { error } => said.push(json!({ "type": "error", "message": error.message })),
            AgentEvent::Result { error: Some(error), .. } => {
                said.push(json!({ "type": "error", "message": error.message }));
                said.push(json!({ "type": "turn.failed", "error": { "message": error.message } }));
            }
            AgentEvent::Result { error: None, .. } => {
                let usage = &self.usage;
                said.push(json!({ "type": "turn.completed", "usage": {
                    // With the cached ones in it.
                    "input_tokens": usage.input_tokens.saturating_add(usage.cached_input_tokens),
                    "cached_input_tokens": usage.cached_input_tokens,
                    "output_tokens": usage.output_tokens, "reasoning_output_tokens": 0,
                } }));
            }
            AgentEvent::Session { .. }
            | AgentEvent::SessionNote { .. }
            | AgentEvent::PermissionAsked { .. }
            | AgentEvent::PermissionClosed { .. } => {}
        }
        said
    }

    fn item(&mut self) -> String {
        let id = format!("item_{}", self.items);
        self.items += 1;
        id
    }

    /// A command keeps its number from its beginning to its end.
    fn execution(&self, code: Value, output: &str, status: &str) -> Value {
        json!({
            "id": format!("item_{}", self.items), "type": "command_execution", "command": self.command,
            "aggregated_output": output, "exit_code": code, "status": status,
        })
    }
}
