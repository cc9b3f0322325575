//! The items of a Codex thread: what the agent says, and what it does.
//!
//! Reasoning is left out: it is neither said to anybody nor an action. Items of types that are not known here
//! are left out as well.

use serde_json::{Value, json};

/// Where in its life an item is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Started,
    Completed,
}

/// A use of a tool.
#[derive(Debug, PartialEq)]
pub(super) struct Tool {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) input: Value,
    /// Whether it failed, and what it gave; `None` while it runs.
    pub(super) result: Option<(bool, String)>,
}

/// The text that an item says.
pub(super) fn message(stage: Stage, item: &Value) -> Option<String> {
    let is_said = stage == Stage::Completed && text(item, "type") == "agent_message";
    is_said.then(|| text(item, "text").to_owned()).filter(|text| !text.trim().is_empty())
}

/// The tool that an item uses.
pub(super) fn tool(stage: Stage, item: &Value) -> Option<Tool> {
    let id = Some(text(item, "id")).filter(|id| !id.is_empty())?.to_owned();
    let field = |key: &str| item.get(key).cloned().unwrap_or_default();
    let kind = text(item, "type");
    let is_failed = matches!(text(item, "status"), "failed" | "declined");
    let (name, input, is_error, output) = match kind {
        "command_execution" => {
            let is_error = item.get("exit_code").and_then(Value::as_i64).is_some_and(|code| code != 0);
            let output = text(item, "aggregated_output").to_owned();
            (kind.to_owned(), json!({ "command": field("command") }), is_error, output)
        }
        "file_change" => {
            let changes = field("changes");
            let output =
                listed(&changes, |change| format!("{} {}", text(change, "kind"), text(change, "path")));
            (kind.to_owned(), json!({ "changes": changes }), false, output)
        }
        "mcp_tool_call" => {
            let name = format!("{}.{}", text(item, "server"), text(item, "tool"));
            let (is_error, output) = answer(item);
            (name, field("arguments"), is_error, output)
        }
        // Only the end of these two says what they were about.
        "web_search" if stage == Stage::Completed => {
            let query = text(item, "query").to_owned();
            (kind.to_owned(), json!({ "query": query }), false, String::new())
        }
        "todo_list" if stage == Stage::Completed => {
            let items = field("items");
            let output = listed(&items, |todo| {
                let is_done = todo.get("completed").and_then(Value::as_bool).unwrap_or(false);
                format!("[{}] {}", if is_done { 'x' } else { ' ' }, text(todo, "text"))
            });
            (kind.to_owned(), json!({ "items": items }), false, output)
        }
        _ => return None,
    };
    let result = (stage == Stage::Completed).then_some((is_error || is_failed, output));
    Some(Tool { id, name, input, result })
}

/// What a tool of an MCP server gave.
fn answer(item: &Value) -> (bool, String) {
    if let Some(error) = item.get("error").filter(|error| !error.is_null()) {
        let words = Some(text(error, "message")).filter(|words| !words.is_empty());
        return (true, words.map_or_else(|| error.to_string(), str::to_owned));
    }
    let Some(result) = item.get("result").filter(|result| !result.is_null()) else {
        return (false, String::new());
    };
    let is_text = |part: &&Value| text(part, "type") == "text";
    let parts = result.get("content").and_then(Value::as_array).into_iter().flatten().filter(is_text);
    let said: Vec<&str> = parts.map(|part| text(part, "text")).collect();
    (false, if said.is_empty() { result.to_string() } else { said.join("\n") })
}

fn listed(items: &Value, show: impl Fn(&Value) -> String) -> String {
    items.as_array().into_iter().flatten().map(show).collect::<Vec<_>>().join("\n")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, input, and what it gave.
    type Read = (String, Value, Option<(bool, String)>);

    fn read(stage: Stage, mut item: Value) -> Option<Read> {
        item["id"] = json!("item_1");
        tool(stage, &item).map(|tool| (tool.name, tool.input, tool.result))
    }

    #[test]
    fn every_kind_of_item_is_read() {
        use Stage::{Completed, Started};
        let gave = |is_error, output: &str| Some((is_error, output.to_owned()));
        let change = json!([{ "path": "a.rs", "kind": "add" }, { "path": "b.rs", "kind": "update" }]);
        let todo = json!([{ "text": "one", "completed": true }, { "text": "two", "completed": false }]);
        let mcp = |result: Value, error: Value| {
            json!({
                "type": "mcp_tool_call", "server": "files", "tool": "read", "arguments": { "path": "a" },
                "result": result, "error": error, "status": "completed",
            })
        };
        let part = |text: &str| json!({ "type": "text", "text": text });
        let texts = json!({ "content": [part("a"), { "type": "image" }, part("b")] });
        let called = |result| Some(("files.read".to_owned(), json!({ "path": "a" }), result));
        let command = |exit: Value, status: &str| {
            json!({
                "type": "command_execution", "command": "ls", "aggregated_output": "out",
                "exit_code": exit, "status": status,
            })
        };
        let ran = |result| Some(("command_execution".to_owned(), json!({ "command": "ls" }), result));
        let rows = [
            (read(Started, command(Value::Null, "in_progress")), ran(None)),
            (read(Completed, command(json!(0), "completed")), ran(gave(false, "out"))),
            (read(Completed, command(json!(2), "failed")), ran(gave(true, "out"))),
            (read(Completed, command(Value::Null, "declined")), ran(gave(true, "out"))),
            (
                read(Completed, json!({ "type": "file_change", "changes": change, "status": "completed" })),
                Some((
                    "file_change".to_owned(),
                    json!({ "changes": change }),
                    gave(false, "add a.rs\nupdate b.rs"),
                )),
            ),
            (
                read(Completed, json!({ "type": "file_change", "status": "failed" })),
                Some(("file_change".to_owned(), json!({ "changes": null }), gave(true, ""))),
            ),
            (read(Started, mcp(Value::Null, Value::Null)), called(None)),
            (read(Completed, mcp(texts, Value::Null)), called(gave(false, "a\nb"))),
            (read(Completed, mcp(json!({ "x": 1 }), Value::Null)), called(gave(false, "{\"x\":1}"))),
            (read(Completed, mcp(Value::Null, json!({ "message": "no" }))), called(gave(true, "no"))),
            (read(Started, json!({ "type": "web_search", "query": "" })), None),
            (
                read(Completed, json!({ "type": "web_search", "query": "bees" })),
                Some(("web_search".to_owned(), json!({ "query": "bees" }), gave(false, ""))),
            ),
            (read(Started, json!({ "type": "todo_list", "items": todo })), None),
            (
                read(Completed, json!({ "type": "todo_list", "items": todo })),
                Some(("todo_list".to_owned(), json!({ "items": todo }), gave(false, "[x] one\n[ ] two"))),
            ),
            (read(Completed, json!({ "type": "reasoning", "text": "hm" })), None),
            (read(Completed, json!({ "type": "something_new" })), None),
        ];
        for (at, (found, expected)) in rows.into_iter().enumerate() {
            assert_eq!(found, expected, "row {at}");
        }
        assert_eq!(tool(Completed, &json!({ "type": "command_execution" })), None);
    }

    #[test]
    fn only_a_whole_message_is_said() {
        let item = json!({ "type": "agent_message", "text": "hello" });
        assert_eq!(message(Stage::Completed, &item).as_deref(), Some("hello"));
        assert_eq!(message(Stage::Started, &item), None);
        assert_eq!(message(Stage::Completed, &json!({ "type": "agent_message", "text": " " })), None);
        assert_eq!(message(Stage::Completed, &json!({ "type": "reasoning", "text": "hm" })), None);
    }
}
