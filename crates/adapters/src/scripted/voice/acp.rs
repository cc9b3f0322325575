//! An agent of the Agent Client Protocol: what it answers to its client, and what it says by itself.

use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use serde_json::{Value, json};

/// One conversation.
#[derive(Debug, Default)]
pub(crate) struct AcpVoice {
    session: String,
    is_resumed: bool,
    /// The request that the end of the turn answers.
    prompt: Option<Value>,
    messages: u64,
    asks: u64,
    usage: Usage,
}

/// What a line of the client means for the agent.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// It was answered, or there is nothing to answer.
    Nothing(Vec<Value>),
    /// The turn begins; a session is resumed if there is one.
    Prompted,
    /// The turn is to be broken off.
    Cancelled,
    /// The client chose this option for what it was asked last; none when it gave no permission.
    Answered(Option<String>),
}

impl AcpVoice {
    /// Takes a line of the client. `fresh` names a new session; an old one is found only when `keeps` is set.
    pub(crate) fn hear(&mut self, line: &str, fresh: &str, keeps: bool) -> Heard {
        let Ok(message) = serde_json::from_str::<Value>(line) else { return Heard::Nothing(Vec::new()) };
        let id = message["id"].clone();
        let result =
            |result: Value| Heard::Nothing(vec![json!({ "jsonrpc": "2.0", "id": id, "result": result })]);
        match message["method"].as_str() {
            Some("initialize") => result(json!({
                "protocolVersion": 1, "agentInfo": { "name": "scripted", "version": env!("CARGO_PKG_VERSION") },
                "agentCapabilities": { "loadSession": true, "sessionCapabilities": { "resume": {} } },
                "authMethods": [],
            })),
            Some("session/new") => {
                fresh.clone_into(&mut self.session);
                result(
                    json!({ "sessionId": fresh, "modes": { "currentModeId": "default", "availableModes": [] } }),
                )
            }
            Some("session/resume" | "session/load") if keeps => {
                message["params"]["sessionId"].as_str().unwrap_or_default().clone_into(&mut self.session);
                self.is_resumed = true;
                result(json!({}))
            }
            Some("session/resume" | "session/load") => {
                let session = &message["params"]["sessionId"];
                let error = json!({ "code": -32002, "message": "Resource not found", "data": { "sessionId": session } });
                Heard::Nothing(vec![json!({ "jsonrpc": "2.0", "id": id, "error": error })])
            }
            Some("session/prompt") => {
                self.prompt = Some(id);
                Heard::Prompted
            }
            Some("session/cancel") => Heard::Cancelled,
            Some(_) if !id.is_null() => result(json!({})),
            None if id == format!("ask-{}", self.asks) => {
                let outcome = &message["result"]["outcome"];
                Heard::Answered(outcome["optionId"].as_str().map(str::to_owned))
            }
            Some(_) | None => Heard::Nothing(Vec::new()),
        }
    }

    /// The session that was resumed, or made.
    pub(crate) fn session(&self) -> &str {
        &self.session
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Asks its client for a permission.
    pub(crate) fn ask(&mut self, tool: &str, input: &Value) -> Value {
        self.asks += 1;
        json!({
            "jsonrpc": "2.0", "id": format!("ask-{}", self.asks), "method": "session/request_permission",
            "params": {
                "sessionId": self.session,
                "toolCall": {
                    "toolCallId": format!("ask-{}", self.asks), "title": input["command"].as_str().unwrap_or(tool),
                    "name": tool, "kind": "execute", "rawInput": input,
                },
                "options": [
                    { "optionId": "allow_always", "name": "Always allow", "kind": "allow_always" },
                    { "optionId": "allow", "name": "Allow", "kind": "allow_once" },
                    { "optionId": "reject", "name": "Reject", "kind": "reject_once" },
                ],
            },
        })
    }

    /// The end of the turn, when it was cancelled.
    pub(crate) fn cancelled(&mut self) -> Option<Value> {
        let id = self.prompt.take()?;
        Some(json!({ "jsonrpc": "2.0", "id": id, "result": { "stopReason": "cancelled", "usage": null } }))
    }

    pub(super) fn say(&mut self, event: &AgentEvent) -> Vec<Value> {
        match event {
            AgentEvent::Message { text } => {
                self.messages += 1;
                let id = format!("msg_{}", self.messages);
                let content = json!({ "type": "text", "text": text });
                let update =
                    json!({ "sessionUpdate": "agent_message_chunk", "messageId": id, "content": content });
                vec![self.update(update)]
            }
            AgentEvent::ToolCall { id, name, input } => vec![self.update(json!({
                "sessionUpdate": "tool_call", "toolCallId": id, "name": name, "title": name, "kind": "execute",
                "status": "in_progress", "rawInput": input,
            }))],
            AgentEvent::ToolResult { id, is_error, output } => {
                let status = if *is_error { "failed" } else { "completed" };
                vec![self.update(json!({
                    "sessionUpdate": "tool_call_update", "toolCallId": id, "status": status, "rawOutput": output,
                }))]
            }
            AgentEvent::UsageAdded { usage } => {
                self.usage.add(usage);
                Vec::new()
            }
            AgentEvent::UsageTotal { usage } => {
                self.usage.clone_from(usage);
                Vec::new()
            }
            AgentEvent::Result { error, .. } => self.end(error.as_ref()).into_iter().collect(),
            // It told its session before the turn, and has no words for the rest.
            AgentEvent::Session { .. }
            | AgentEvent::SessionNote { .. }
            | AgentEvent::Trouble { .. }
            | AgentEvent::PermissionAsked { .. }
            | AgentEvent::PermissionClosed { .. } => Vec::new(),
        }
    }

    fn update(&self, update: Value) -> Value {
        let params = json!({ "sessionId": self.session, "update": update });
        json!({ "jsonrpc": "2.0", "method": "session/update", "params": params })
    }

    fn end(&mut self, error: Option<&AgentError>) -> Option<Value> {
        let id = self.prompt.take()?;
        let Some(error) = error else {
            let usage = &self.usage;
            let usage = json!({
                "inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens,
                "cachedReadTokens": usage.cached_input_tokens, "cachedWriteTokens": 0,
            });
            let result = json!({ "stopReason": "end_turn", "usage": usage });
            return Some(json!({ "jsonrpc": "2.0", "id": id, "result": result }));
        };
        let kind = match error.class {
            ErrorClass::Transient => "overloaded",
            ErrorClass::Quota => "billing_error",
            ErrorClass::Auth => "authentication_failed",
            ErrorClass::BadRequest => "invalid_request",
            ErrorClass::SessionGone | ErrorClass::Permission | ErrorClass::TimedOut | ErrorClass::Other => {
                "unknown"
            }
        };
        let message = format!("Internal error: {}", error.message);
        let error = json!({ "code": -32603, "message": message, "data": { "errorKind": kind } });
        Some(json!({ "jsonrpc": "2.0", "id": id, "error": error }))
    }
}
