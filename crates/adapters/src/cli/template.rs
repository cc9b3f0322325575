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

/// The name up to the closing braces, and what stands behind them. Looks no further than the name goes, so a template
/// full of opening braces takes no longer than another.
fn placeholder(after: &str) -> Option<(&str, &str)> {
    let after = after.trim_start_matches(' ');
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
    let (name, behind) = after.split_at(after.find(|letter| !is_part(letter))?);
    let behind = behind.trim_start_matches(' ').strip_prefix("}}")?;
    (!name.is_empty()).then_some((name, behind))
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use domain::moment::Moment;
    use proptest::prelude::*;

    use super::*;
    use crate::env::Host;

    fn filled(template: &str, context: &Value) -> Rendered {
        let (config, host) = (json!({ "env": { "TOKEN": "canary" } }), Host::default());
        render(
            template,
            &Setup {
                run_id: "run-1",
                company_id: "company-1",
                agent_id: "agent-1",
                agent_name: "Ada {{ runId }}",
                task_key: None,
                config: &config,
                context,
                wake_reason: None,
                session: None,
                session_note: None,
                started_at: Moment::from_micros(0),
                api_url: "http://127.0.0.1:3100",
                api_key: Some("canary"),
                program: Path::new("/usr/bin/bugle"),
                default_cwd: Path::new("/"),
                host: &host,
            },
        )
    }

    #[test]
    fn a_name_becomes_what_is_known_under_it() {
        let context = json!({
            "issueId": "i-7", "n": 1.5, "yes": true, "none": null, "list": [{ "x": 1 }], "a": { "b-c_d": { "e": "deep" } },
            "a.b": "never reached", "braces": "{{ runId }}", "": { "": "blank" },
        });
        for (template, text) in [
            ("", ""),
            ("plain { } }} text", "plain { } }} text"),
            ("{{agentId}} {{ companyId }} {{  runId}}", "agent-1 company-1 run-1"),
            ("{{company.id}}/{{agent.id}}/{{agent.companyId}}", "company-1/agent-1/company-1"),
            ("{{run.id}} {{run.source}}", "run-1 on_demand"),
            ("{{company}}", r#"{"id":"company-1"}"#),
            ("{{context.issueId}}|{{context.n}}|{{context.yes}}", "i-7|1.5|true"),
            ("[{{context.none}}{{context.missing}}{{context.issueId.more}}{{nothing}}{{agentId.x}}]", "[]"),
            (
                "{{context.list}}|{{context.list.0}}|{{context.list.length}}|{{context.list.x}}",
                r#"[{"x":1}]|||"#,
            ),
            ("{{context.a}}|{{context.a.b-c_d.e}}|{{context.a.b}}", r#"{"b-c_d":{"e":"deep"}}|deep|"#),
            // What is put in is not looked at again.
            ("{{context.braces}} {{agent.name}}", "{{ runId }} Ada {{ runId }}"),
            // Braces around anything that is no name stay.
            (
                "{{}} {{ }} {{a b}} {{#if runId}} {{ä}} {{{runId}}}",
                "{{}} {{ }} {{a b}} {{#if runId}} {{ä}} {run-1}",
            ),
            ("{{runId", "{{runId"),
            ("{{ {{runId}} }}", "{{ run-1 }}"),
            ("{{context..}}|{{.}}|{{context.}}", r#"blank||{"":"blank"}"#),
            ("ä{{runId}}ö", "ärun-1ö"),
        ] {
            assert_eq!(
                filled(template, &context),
                Rendered { text: text.to_owned(), is_cut: false },
                "{template}"
            );
        }
    }

    #[test]
    fn the_configuration_and_the_key_are_no_names() {
        for name in
            ["agent", "agent.adapterConfig", "agent.adapterConfig.env.TOKEN", "config", "apiKey", "env.TOKEN"]
        {
            let text = filled(&format!("{{{{{name}}}}}"), &json!({})).text;
            assert!(!text.contains("canary"), "{name}: {text}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let context = json!({ "x": "ä".repeat(LONGEST / 2 - 1) });
        for (template, length, is_cut) in [
            ("a{{context.x}}b", LONGEST, false),
            ("aa{{context.x}}ä", LONGEST, true),
            ("a{{context.x}}ä", LONGEST - 1, true),
            ("{{context.x}}{{context.x}}{{context.x}}", LONGEST, true),
        ] {
            let Rendered { text, is_cut: cut } = filled(template, &context);
            assert_eq!((text.len(), cut), (length, is_cut), "{template}");
        }
    }

    proptest! {
        #[test]
        fn any_template_is_filled_once(template in r"(\{\{|\}\}|[{}]|[ a-z.]|agentId|context\.x|\PC){0,24}") {
            let context = json!({ "x": "{{agentId}}" });
            let Rendered { text, is_cut } = filled(&template, &context);
            prop_assert!(!is_cut);
            prop_assert!(text.matches("agent-1").count() <= template.matches("agentId").count());
            if !template.contains("{{") {
                prop_assert_eq!(text, template);
            }
        }
    }
}
