//! Templates of prompts: `{{ a.b.c }}` is replaced by what is known of the run under that name.
//!
//! Names are made of letters, digits, `_`, `.` and `-`. One pass: what is put in is not looked at again, so a comment
//! that contains braces stays what it is. There are no conditions and no loops.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::adapter::Setup;

/// The longest text that a template may become, in bytes. A template that names a large value many times would else
/// grow without bound.
pub(crate) const LONGEST: usize = 1024 * 1024;

/// A filled template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    /// The text was longer than [`LONGEST`]; what is missing is its end.
    pub(crate) is_cut: bool,
}

/// Fills a template from `agentId`, `companyId`, `runId`, `company`, `agent`, `run` and `context`. What is not there, is
/// null, or lies behind a list becomes empty; objects and lists become JSON. Braces around anything that is no name stay.
pub(crate) fn render(template: &str, setup: &Setup<'_>) -> Rendered {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        match placeholder(after) {
            Some((name, behind)) => {
                text.push_str(&value_text(look(setup, name).as_deref()));
                rest = behind;
            }
            None => {
                // Only one brace is used up: `{{{ name }}` has a placeholder behind the first.
                text.push('{');
                rest = &rest[before.len() + 1..];
            }
        }
        if text.len() > LONGEST {
            break;
        }
    }
    if text.len() <= LONGEST {
        text.push_str(rest);
    }
    let is_cut = text.len() > LONGEST;
    text.truncate(text.floor_char_boundary(LONGEST));
    Rendered { text, is_cut }
}

/// The name up to the closing braces, and what stands behind them.
fn placeholder(after: &str) -> Option<(&str, &str)> {
    let (name, behind) = after.split_once("}}")?;
    let name = name.trim();
    let is_name = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    is_name.then_some((name, behind))
}

fn look<'a>(setup: &Setup<'a>, name: &str) -> Option<Cow<'a, Value>> {
    let (root, path) = name.split_once('.').map_or((name, None), |(root, path)| (root, Some(path)));
    let told = match root {
        "agentId" => Cow::Owned(json!(setup.agent_id)),
        "companyId" => Cow::Owned(json!(setup.company_id)),
        "runId" => Cow::Owned(json!(setup.run_id)),
        "company" => Cow::Owned(json!({ "id": setup.company_id })),
        // Without its configuration: that may hold secrets, and a prompt is kept in sessions and logs.
        "agent" => Cow::Owned(
            json!({ "id": setup.agent_id, "companyId": setup.company_id, "name": setup.agent_name }),
        ),
        "run" => Cow::Owned(json!({ "id": setup.run_id, "source": "on_demand" })),
        "context" => Cow::Borrowed(setup.context),
        _ => return None,
    };
    match (told, path) {
        (told, None) => Some(told),
        (Cow::Borrowed(value), Some(path)) => walk(value, path).map(Cow::Borrowed),
        (Cow::Owned(value), Some(path)) => walk(&value, path).cloned().map(Cow::Owned),
    }
}

fn walk<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, key| value.as_object()?.get(key))
}

fn value_text(value: Option<&Value>) -> Cow<'_, str> {
    match value {
        None | Some(Value::Null) => Cow::Borrowed(""),
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(other) => Cow::Owned(other.to_string()),
    }
}
