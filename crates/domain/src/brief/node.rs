//! The step of an automation in words: what is to be done, what must come out of it, and what was missing last time.

use serde_json::{Map, Value as Json};

use super::quote::fenced;

/// What an agent is told of its step; `None`: its run is not one of an automation.
pub fn node(context: &Map<String, Json>) -> Option<String> {
    let step = context.get("bugleAutomation")?;
    let text = |key: &str| step[key].as_str().map(str::trim).filter(|text| !text.is_empty());
    let mut lines = vec![format!(
        "## Step `{}` of the automation `{}`\n",
        text("nodeId").unwrap_or_default(),
        text("automation").unwrap_or_default()
    )];
    lines.extend(text("objective").map(str::to_owned));
    if let Some(feedback) = text("feedback") {
        let is_answer = step["answered"].as_bool() == Some(true);
        lines.push(match is_answer {
            true => "\nYou asked a person before; this is the answer:\n".to_owned(),
            false => "\nAn attempt before this one was not accepted:\n".to_owned(),
        });
        lines.push(fenced(feedback, ""));
    }
    let output = &step["output"];
    let mut asked = Vec::new();
    for file in output["files"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        asked.push(format!("- Leave the file `{file}` in the workspace."));
    }
    let sections: Vec<String> = output["sections"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .map(|it| format!("\"{it}\""))
        .collect();
    if !sections.is_empty() {
        let place = match output["files"][0].as_str() {
            Some(file) => format!("`{file}`"),
            None => "Your last message".to_owned(),
        };
        asked.push(format!(
            "- {place} must have a heading for each of these sections: {}.",
            sections.join(", ")
        ));
    }
    if output["schema"].is_object() {
        asked.push("- End with one JSON object in a ```json block that fits this JSON Schema:".to_owned());
        asked.push(fenced(&output["schema"].to_string(), "json"));
    }
    if step["kind"].as_str() == Some("review") {
        asked.push(
            "- You review. End with one JSON object in a ```json block: `{\"approved\": true}`, or \
             `{\"approved\": false, \"feedback\": \"what is to be done better\"}`."
                .to_owned(),
        );
    }
    for (key, words) in [
        ("readable", "Read only below"),
        ("writable", "Change only what lies below"),
        ("denied", "Touch nothing below"),
    ] {
        let paths: Vec<String> = step["scope"][key]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .map(|path| format!("`{path}`"))
            .collect();
        if !paths.is_empty() {
            asked.push(format!("- {words}: {}.", paths.join(", ")));
        }
    }
    if !asked.is_empty() {
        lines.push("\nWhat must come out of it:\n".to_owned());
        lines.extend(asked);
    }
    lines.push(
        "\nIf a person must answer something before you can go on, end with \
         `{\"status\": \"ask\", \"question\": \"...\"}`: you are woken again with the answer. If you cannot go on at all, \
         end with `{\"status\": \"blocked\", \"reason\": \"...\"}`; if there is nothing to do, with \
         `{\"status\": \"skipped\", \"reason\": \"...\"}`."
            .to_owned(),
    );
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_agent_is_told_its_step_and_what_must_come_out_of_it() {
        let context = json!({ "bugleAutomation": {
            "automation": "notes", "nodeId": "draft", "objective": "Write the notes.", "feedback": "no headings",
            "output": { "files": ["notes.md"], "sections": ["Fixes"], "schema": { "type": "object" } },
            "scope": { "writable": ["docs"], "denied": ["src"] }, "kind": "review",
        } });
        let told = node(context.as_object().unwrap()).unwrap();
        for part in [
            "Step `draft` of the automation `notes`",
            "Write the notes.",
            "no headings",
            "`notes.md`",
            "\"Fixes\"",
            "{\"type\":\"object\"}",
            "Change only what lies below: `docs`.",
            "Touch nothing below: `src`.",
            "\"approved\": false",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let mut answered = context.clone();
        answered["bugleAutomation"]["answered"] = json!(true);
        let told = node(answered.as_object().unwrap()).unwrap();
        assert!(told.contains("this is the answer") && !told.contains("was not accepted"), "{told}");
        assert_eq!(node(&Map::new()), None);
        let plain = json!({ "bugleAutomation": { "automation": "a", "nodeId": "b", "objective": "c" } });
        let told = node(plain.as_object().unwrap()).unwrap();
        assert!(!told.contains("must come out"), "{told}");
    }
}
