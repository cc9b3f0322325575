//! What the payload of an interaction may hold, and whether answers fit its questions (spec/api.md 3.9). Pure.

use std::collections::BTreeSet;

use domain::ids::looks_like_id;
use domain::issue::Priority;
use domain::issue::refusal::Kind;
use serde_json::{Value as Json, json};

use crate::EngineError;
use crate::issues::Sheet;

/// Names every mistake of a payload.
pub(super) fn check(sheet: &mut Sheet, kind: &str, payload: &Json) {
    if payload["version"] != 1 && !payload["version"].is_null() {
        sheet.wrong("payload.version", "is not 1", "leave it out");
    }
    match kind {
        "suggest_tasks" => tasks(sheet, payload),
        "ask_user_questions" => questions(sheet, payload),
        "request_confirmation" => confirmation(sheet, payload),
        _ => {}
    }
}

/// The payload as it is kept: with its version and defaults.
pub(super) fn normalised(kind: &str, mut payload: Json) -> Json {
    payload["version"] = json!(1);
    if kind == "request_confirmation" && payload["allowDeclineReason"].is_null() {
        payload["allowDeclineReason"] = json!(true);
    }
    payload
}

fn text(sheet: &mut Sheet, path: &str, value: &Json, most: usize, is_required: bool) {
    match value {
        Json::String(text) if is_required => sheet.required(path, text, most),
        Json::String(text) => sheet.text(path, text, most),
        Json::Null if !is_required => {}
        Json::Null => sheet.wrong(path, "Required", "give it a text"),
        _ => sheet.wrong(path, "must be a text", "write it in quotes"),
    }
}

fn list<'a>(sheet: &mut Sheet, path: &str, value: &'a Json, most: usize) -> &'a [Json] {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() || items.len() > most {
        sheet.wrong(path, &format!("must have 1 to {most} entries"), "give a list");
    }
    items.get(..most.min(items.len())).unwrap_or_default()
}

fn unique(sheet: &mut Sheet, path: &str, value: &Json, seen: &mut BTreeSet<String>) {
    if value.as_str().is_some_and(|key| !seen.insert(key.to_owned())) {
        sheet.wrong(path, "is used twice", "give each its own");
    }
}

fn tasks(sheet: &mut Sheet, payload: &Json) {
    id(sheet, "payload.defaultParentId", &payload["defaultParentId"]);
    let mut keys = BTreeSet::new();
    for (index, task) in list(sheet, "payload.tasks", &payload["tasks"], 50).iter().enumerate() {
        let at = |field: &str| format!("payload.tasks.{index}.{field}");
        text(sheet, &at("clientKey"), &task["clientKey"], 120, true);
        unique(sheet, &at("clientKey"), &task["clientKey"], &mut keys);
        text(sheet, &at("parentClientKey"), &task["parentClientKey"], 120, false);
        text(sheet, &at("title"), &task["title"], 240, true);
        text(sheet, &at("description"), &task["description"], 20_000, false);
        text(sheet, &at("billingCode"), &task["billingCode"], 120, false);
        text(sheet, &at("assigneeUserId"), &task["assigneeUserId"], 255, false);
        for field in ["parentId", "assigneeAgentId", "projectId", "goalId"] {
            id(sheet, &at(field), &task[field]);
        }
        if !task["priority"].is_null() && task["priority"].as_str().and_then(Priority::parse).is_none() {
            sheet.wrong(&at("priority"), "is not known", "one of: critical, high, medium, low");
        }
        if !task["assigneeAgentId"].is_null() && !task["assigneeUserId"].is_null() {
            sheet.wrong(&at("assigneeUserId"), "Issue can only have one assignee", "give one of both");
        }
        if task["labels"].as_array().is_some_and(|labels| labels.len() > 20) {
            sheet.wrong(&at("labels"), "has more than 20 entries", "give fewer");
        }
    }
    let known: BTreeSet<&str> = payload["tasks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|task| task["clientKey"].as_str())
        .collect();
    for (index, task) in payload["tasks"].as_array().into_iter().flatten().take(50).enumerate() {
        let path = format!("payload.tasks.{index}.parentClientKey");
        match task["parentClientKey"].as_str() {
            Some(parent) if !known.contains(parent) => {
                sheet.wrong(&path, "names no task of this list", "name another task's clientKey");
            }
            Some(parent) if task["clientKey"] == parent => {
                sheet.wrong(&path, "names the task itself", "name another task's clientKey");
            }
            Some(_) | None => {}
        }
    }
}

fn id(sheet: &mut Sheet, path: &str, value: &Json) {
    if !value.is_null() && !value.as_str().is_some_and(looks_like_id) {
        sheet.wrong(path, "Invalid uuid", "give the id, not a name");
    }
}

fn questions(sheet: &mut Sheet, payload: &Json) {
    text(sheet, "payload.title", &payload["title"], 240, false);
    text(sheet, "payload.submitLabel", &payload["submitLabel"], 120, false);
    let mut ids = BTreeSet::new();
    for (index, question) in list(sheet, "payload.questions", &payload["questions"], 10).iter().enumerate() {
        let at = |field: &str| format!("payload.questions.{index}.{field}");
        text(sheet, &at("id"), &question["id"], 120, true);
        unique(sheet, &at("id"), &question["id"], &mut ids);
        text(sheet, &at("prompt"), &question["prompt"], 500, true);
        text(sheet, &at("helpText"), &question["helpText"], 1_000, false);
        if !matches!(question["selectionMode"].as_str(), Some("single" | "multi")) {
            sheet.wrong(&at("selectionMode"), "is not known", "one of: single, multi");
        }
        let mut option_ids = BTreeSet::new();
        for (number, option) in list(sheet, &at("options"), &question["options"], 10).iter().enumerate() {
            let of = |field: &str| format!("payload.questions.{index}.options.{number}.{field}");
            text(sheet, &of("id"), &option["id"], 120, true);
            unique(sheet, &of("id"), &option["id"], &mut option_ids);
            text(sheet, &of("label"), &option["label"], 120, true);
            text(sheet, &of("description"), &option["description"], 500, false);
        }
    }
}

fn confirmation(sheet: &mut Sheet, payload: &Json) {
    text(sheet, "payload.prompt", &payload["prompt"], 1_000, true);
    for (field, most) in [
        ("acceptLabel", 80),
        ("rejectLabel", 80),
        ("rejectReasonLabel", 160),
        ("declineReasonPlaceholder", 240),
        ("detailsMarkdown", 20_000),
    ] {
        text(sheet, &format!("payload.{field}"), &payload[field], most, false);
    }
    let target = &payload["target"];
    match target["type"].as_str() {
        None if target.is_null() => {}
        Some("issue_document") => {
            text(sheet, "payload.target.key", &target["key"], 64, true);
            id(sheet, "payload.target.issueId", &target["issueId"]);
            if !target["revisionId"].as_str().is_some_and(looks_like_id) {
                sheet.wrong("payload.target.revisionId", "Invalid uuid", "name the revision to confirm");
            }
        }
        Some("custom") => {
            text(sheet, "payload.target.key", &target["key"], 120, true);
            text(sheet, "payload.target.revisionId", &target["revisionId"], 255, false);
        }
        Some(_) | None => {
            sheet.wrong("payload.target.type", "is not known", "one of: issue_document, custom");
        }
    }
    text(sheet, "payload.target.label", &target["label"], 240, false);
    text(sheet, "payload.target.href", &target["href"], 2_000, false);
    let is_dangerous = |href: &str| {
        let href = href.trim().to_ascii_lowercase();
        href.starts_with("javascript:") || href.starts_with("data:") || href.starts_with("//")
    };
    if target["href"].as_str().is_some_and(is_dangerous) {
        sheet.wrong("payload.target.href", "is not allowed", "link to a page");
    }
}

/// The answers, one for each question that has one; every required question has.
pub(super) fn answers(payload: &Json, given: &Json) -> Result<Vec<Json>, EngineError> {
    let wrong = |words: String| Err(EngineError::refused(Kind::Unprocessable, words));
    let questions = payload["questions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let given = given.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut answers = Vec::new();
    let mut seen = BTreeSet::new();
    for answer in given {
        let id = answer["questionId"].as_str().unwrap_or_default();
        let Some(question) = questions.iter().find(|question| question["id"] == id) else {
            return wrong(format!("Unknown question: {id}"));
        };
        if !seen.insert(id) {
            return wrong(format!("Duplicate answer for question: {id}"));
        }
        let mut chosen: Vec<&str> = Vec::new();
        for option in answer["optionIds"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            let is_known = question["options"].as_array().into_iter().flatten().any(|it| it["id"] == option);
            if !is_known {
                return wrong(format!("Unknown option for question {id}: {option}"));
            }
            if !chosen.contains(&option) {
                chosen.push(option);
            }
        }
        if question["selectionMode"] == "single" && chosen.len() > 1 {
            return wrong(format!("Question {id} takes one answer"));
        }
        if !chosen.is_empty() {
            answers.push(json!({ "questionId": id, "optionIds": chosen }));
        }
    }
    let is_missing = |question: &&Json| {
        question["required"] == true && !answers.iter().any(|answer| answer["questionId"] == question["id"])
    };
    match questions.iter().find(is_missing) {
        Some(question) => {
            wrong(format!("Missing answer for question: {}", question["id"].as_str().unwrap_or_default()))
        }
        None => Ok(answers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(kind: &str, payload: &Json) -> Vec<String> {
        let mut sheet = Sheet::default();
        check(&mut sheet, kind, payload);
        match sheet.finish() {
            Err(EngineError::Invalid(problems)) => problems.into_iter().map(|it| it.path).collect(),
            other => {
                assert!(other.is_ok());
                Vec::new()
            }
        }
    }

    #[test]
    fn every_mistake_of_a_payload_is_named() {
        let task = json!({"clientKey": "a", "title": "t"});
        let option = json!({"id": "o", "label": "l"});
        let question = json!({"id": "q", "prompt": "p", "selectionMode": "single", "options": [option]});
        let rows: Vec<(&str, Json, Vec<&str>)> = vec![
            ("suggest_tasks", json!({"tasks": [task]}), vec![]),
            ("suggest_tasks", json!({"tasks": []}), vec!["payload.tasks"]),
            ("suggest_tasks", json!({"tasks": [task, task]}), vec!["payload.tasks.1.clientKey"]),
            (
                "suggest_tasks",
                json!({"tasks": [{"clientKey": "a", "title": "", "parentClientKey": "b", "priority": "x"}]}),
                vec!["payload.tasks.0.title", "payload.tasks.0.priority", "payload.tasks.0.parentClientKey"],
            ),
            ("ask_user_questions", json!({"questions": [question]}), vec![]),
            (
                "ask_user_questions",
                json!({"questions": [{"id": "q", "prompt": "p", "options": [option, option]}]}),
                vec!["payload.questions.0.selectionMode", "payload.questions.0.options.1.id"],
            ),
            ("request_confirmation", json!({"prompt": "sure?"}), vec![]),
            ("request_confirmation", json!({}), vec!["payload.prompt"]),
            (
                "request_confirmation",
                json!({"prompt": "p", "target": {"type": "custom", "key": "k", "href": " JavaScript:x"}}),
                vec!["payload.target.href"],
            ),
            (
                "request_confirmation",
                json!({"prompt": "p", "target": {"type": "issue_document", "key": "plan", "revisionId": "x"}}),
                vec!["payload.target.revisionId"],
            ),
        ];
        for (kind, payload, expected) in rows {
            assert_eq!(mistakes(kind, &payload), expected, "{payload}");
        }
    }

    #[test]
    fn answers_fit_their_questions() {
        let questions = json!({"questions": [
            {"id": "a", "required": true, "selectionMode": "single", "options": [{"id": "1"}, {"id": "2"}]},
            {"id": "b", "selectionMode": "multi", "options": [{"id": "1"}, {"id": "2"}]},
        ]});
        let says = |given: Json| match answers(&questions, &given) {
            Ok(answers) => json!(answers).to_string(),
            Err(error) => error.to_string(),
        };
        let one = |question: &str, options: Json| json!({"questionId": question, "optionIds": options});
        assert_eq!(says(json!([])), "Missing answer for question: a");
        assert_eq!(says(json!([one("x", json!([]))])), "Unknown question: x");
        assert_eq!(says(json!([one("a", json!(["3"]))])), "Unknown option for question a: 3");
        assert_eq!(says(json!([one("a", json!(["1", "2"]))])), "Question a takes one answer");
        let twice = json!([one("a", json!(["1"])), one("a", json!(["2"]))]);
        assert_eq!(says(twice), "Duplicate answer for question: a");
        let good = json!([one("a", json!(["1"])), one("b", json!(["2", "1", "2"]))]);
        assert_eq!(
            answers(&questions, &good).unwrap(),
            [one("a", json!(["1"])), one("b", json!(["2", "1"]))]
        );
    }
}
