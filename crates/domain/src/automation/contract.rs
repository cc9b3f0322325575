//! Whether what a node left is what was asked of it.

use serde_json::Value as Json;

use super::definition::Contract;
use super::{Output, Problem};

/// What was found of a file that a contract names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// As the contract names it.
    pub path: String,
    /// `None`: it is not there, or is no plain file below the workspace.
    pub bytes: Option<u64>,
    /// Its text, where sections are looked for in it.
    pub text: Option<String>,
    /// It is the file that lay there before the run began, or before the step was made again: nobody has written it since.
    pub is_old: bool,
}

/// Looks at a contract when its definition is saved.
pub fn check(path: &str, contract: &Contract) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(schema) = &contract.schema {
        if !schema.is_object() && !schema.is_boolean() {
            problems.push(Problem::new(format!("{path}.schema"), "is not a JSON Schema", "give an object"));
        } else if let Err(error) = jsonschema::validator_for(schema) {
            let message = format!("is not a JSON Schema: {error}");
            let place = format!("{path}.schema{}", error.instance_path());
            problems.push(Problem::new(place, message, "see json-schema.org"));
        }
    }
    for (index, file) in contract.files.iter().enumerate() {
        if let Some(message) = not_below(file) {
            let hint = "name it relative to the workspace, as in notes/release.md";
            problems.push(Problem::new(format!("{path}.files[{index}]"), message, hint));
        }
    }
    for (index, section) in contract.sections.iter().enumerate() {
        if section.trim().is_empty() {
            let message = "must not be empty";
            problems.push(Problem::new(
                format!("{path}.sections[{index}]"),
                message,
                "give the words of a heading",
            ));
        }
    }
    if contract.repairs.is_some_and(|repairs| repairs > 10) {
        problems.push(Problem::new(format!("{path}.repairs"), "must be at most 10", "give a smaller number"));
    }
    problems
}

/// Why a path does not name something below a folder.
pub fn not_below(path: &str) -> Option<&'static str> {
    if path.trim().is_empty() {
        return Some("must not be empty");
    }
    if path.contains('\0') || path.contains('\\') {
        return Some("has a character that no path here has");
    }
    if path.starts_with('/') || path.starts_with('~') {
        return Some("must be relative");
    }
    path.split('/').any(|part| part == "..").then_some("must not lead out of the workspace")
}

/// What is missing of what was asked, in words for the agent; empty = nothing.
pub fn unmet(contract: &Contract, output: &Output, files: &[FoundFile]) -> Vec<String> {
    let mut unmet = Vec::new();
    if let Some(schema) = &contract.schema {
        unmet.extend(against_schema(schema, output.json.as_ref()));
    }
    let mut is_of_text = !unmet.is_empty();
    for path in &contract.files {
        let found = files.iter().find(|file| file.path == *path);
        match found.and_then(|file| Some((file.bytes?, file.is_old))) {
            None => unmet.push(format!("the file {path} is not there")),
            Some((_, true)) => unmet.push(format!(
                "the file {path} was there before the run or before this step was made again, and was not written since; \
                 write it anew"
            )),
            Some((0, _)) => unmet.push(format!("the file {path} is empty")),
            Some(_) => {}
        }
    }
    if !contract.sections.is_empty() {
        let first = contract.files.first();
        let text = match first {
            Some(first) => {
                files.iter().find(|file| file.path == *first).and_then(|file| file.text.as_deref())
            }
            None => Some(output.text.as_str()),
        };
        let place = first.map_or("the last message", String::as_str);
        for section in missing(&contract.sections, text.unwrap_or_default()) {
            unmet.push(format!("{place} has no section \"{section}\""));
            is_of_text |= first.is_none();
        }
    }
    if is_of_text && output.text_is_cut {
        unmet.push(cut(output));
    }
    unmet
}

/// What is wrong with the verdict of a reviewer, in words for it; one that gives none lets the work pass.
pub fn unclear(output: &Output) -> Option<String> {
    let approved = output.json.as_ref().and_then(|json| json.get("approved"));
    match approved {
        Some(Json::Bool(_)) => None,
        Some(other) => Some(format!("`approved` is {other}, and must be true or false")),
        // It may have been in what is lost.
        None if output.text_is_cut && output.json.is_none() => {
            Some(format!("the last message holds no verdict; {}", cut(output)))
        }
        None => None,
    }
}

/// That not all of an output is there, and what helps.
fn cut(output: &Output) -> String {
    let kept = output.text.len().div_ceil(1024);
    format!("the output is longer than {kept} KiB and was cut; say less, or leave what is long in a file")
}

fn against_schema(schema: &Json, found: Option<&Json>) -> Vec<String> {
    const MOST: usize = 10;
    let Ok(validator) = jsonschema::validator_for(schema) else {
        return vec!["the schema of the output cannot be read".to_owned()];
    };
    let Some(found) = found else {
        return vec![
            "the last message holds no JSON object; end with one, alone or in a ```json block".to_owned(),
        ];
    };
    let say = |error: jsonschema::ValidationError<'_>| {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "the JSON object".to_owned() } else { format!("at {place}") };
        format!("{place}: {error}")
    };
    validator.iter_errors(found).take(MOST).map(say).collect()
}

/// Sections that a text has no heading for: a line of Markdown that begins with `#`, or one that is all bold.
fn missing<'a>(sections: &'a [String], text: &str) -> Vec<&'a str> {
    let plain = |line: &str| {
        let around = |letter: char| letter.is_whitespace() || matches!(letter, '#' | '*' | ':');
        line.trim_matches(around).to_lowercase()
    };
    let is_heading = |line: &&str| {
        let line = line.trim();
        line.starts_with('#') || (line.starts_with("**") && line.trim_end_matches(':').ends_with("**"))
    };
    let headings: Vec<String> = text.lines().filter(is_heading).map(plain).collect();
    sections.iter().map(String::as_str).filter(|section| !headings.contains(&plain(section))).collect()
}

/// The JSON object that somebody's last words are or end with: all of it, or the last fenced block.
pub fn json_in(text: &str) -> Option<Json> {
    let whole = text.trim();
    let object = |text: &str| serde_json::from_str::<Json>(text).ok().filter(Json::is_object);
    if let Some(found) = object(whole) {
        return Some(found);
    }
    let mut blocks = Vec::new();
    let mut open: Option<Vec<&str>> = None;
    for line in whole.lines() {
        match (line.trim_start().starts_with("```"), open.take()) {
            (true, Some(block)) => blocks.push(block.join("\n")),
            (true, None) => open = Some(Vec::new()),
            (false, Some(mut block)) => {
                block.push(line);
                open = Some(block);
            }
            (false, None) => {}
        }
    }
    let fenced = blocks.iter().rev().find_map(|block| object(block));
    // Programs that print a line after another end with the one that counts.
    fenced.or_else(|| whole.lines().next_back().and_then(object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn output(text: &str) -> Output {
        Output { text: text.to_owned(), json: json_in(text), ..Output::default() }
    }

    #[test]
    fn a_json_object_is_found_where_agents_put_it() {
        let rows = [
            ("{\"a\": 1}", Some(json!({ "a": 1 }))),
            ("  {\"a\": 1}\n", Some(json!({ "a": 1 }))),
            ("Done.\n```json\n{\"a\": 1}\n```\nBye.", Some(json!({ "a": 1 }))),
            ("```\n{\"a\": 1}\n```\n```json\n{\"a\": 2}\n```", Some(json!({ "a": 2 }))),
            ("```json\n{\"a\": 1}\n```\n```sh\nls\n```", Some(json!({ "a": 1 }))),
            ("building\n{\"a\": 3}", Some(json!({ "a": 3 }))),
            ("[1, 2]", None),
            ("none at all", None),
            ("```json\n{\"a\": \n```", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(json_in(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_said_to_the_agent() {
        let contract = Contract {
            schema: Some(json!({
                "type": "object", "required": ["version"], "properties": { "version": { "type": "string" } },
            })),
            files: ["notes.md", "log.txt", "old.md"].map(str::to_owned).into(),
            sections: vec!["Highlights".to_owned(), "Fixes".to_owned()],
            ..Contract::default()
        };
        let files = [
            FoundFile {
                path: "notes.md".into(),
                bytes: Some(9),
                text: Some("# highlights\n".into()),
                is_old: false,
            },
            FoundFile { path: "log.txt".into(), bytes: Some(0), text: None, is_old: false },
            FoundFile { path: "old.md".into(), bytes: Some(3), text: None, is_old: true },
        ];
        let said = unmet(&contract, &output("{\"version\": 3}"), &files);
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said[0].contains("/version"), "{said:?}");
        assert_eq!(said[1], "the file log.txt is empty");
        assert!(said[2].starts_with("the file old.md was there before the run"), "{said:?}");
        assert_eq!(said[3], "notes.md has no section \"Fixes\"");
        let said = unmet(&contract, &output("nothing"), &[]);
        assert!(said[0].contains("no JSON object"));
        assert_eq!(said[1..3], ["the file notes.md is not there", "the file log.txt is not there"]);
        let sections = Contract { sections: vec!["A b".into()], ..Contract::default() };
        for text in ["## A b", "**a B**:", "# A b:"] {
            assert_eq!(unmet(&sections, &output(text), &[]), Vec::<String>::new(), "{text}");
        }
        assert_eq!(unmet(&sections, &output("A b"), &[]).len(), 1);
        assert_eq!(unmet(&Contract::default(), &output(""), &[]), Vec::<String>::new());
        let cut = Output { text_is_cut: true, ..output(&"x".repeat(2048)) };
        let schema = Contract { schema: Some(json!({ "type": "object" })), ..Contract::default() };
        let said = unmet(&schema, &cut, &[]);
        assert!(said[1].starts_with("the output is longer than 2 KiB and was cut"), "{said:?}");
        assert_eq!(unmet(&Contract::default(), &cut, &[]), Vec::<String>::new());
    }

    #[test]
    fn a_reviewer_says_true_or_false_or_nothing() {
        for clear in ["{\"approved\": true}", "{\"approved\": false}", "{\"other\": 1}", "fine"] {
            assert_eq!(unclear(&output(clear)), None, "{clear}");
        }
        let said = unclear(&output("{\"approved\": \"no\"}"));
        assert_eq!(said.as_deref(), Some("`approved` is \"no\", and must be true or false"));
        let cut = Output { text_is_cut: true, ..output("the end of it") };
        assert!(unclear(&cut).unwrap().contains("was cut"));
    }

    #[test]
    fn contracts_that_make_no_sense_are_refused_with_their_place() {
        let contract = Contract {
            schema: Some(json!({ "type": "colour" })),
            files: ["../x", "/etc/passwd", "", "a/../../b", "ok/a.md"].map(str::to_owned).into(),
            sections: vec![" ".to_owned()],
            repairs: Some(11),
        };
        let paths: Vec<String> = check("nodes[0].output", &contract).into_iter().map(|it| it.path).collect();
        assert!(paths[0].starts_with("nodes[0].output.schema"), "{paths:?}");
        assert_eq!(
            paths[1..],
            [
                "nodes[0].output.files[0]",
                "nodes[0].output.files[1]",
                "nodes[0].output.files[2]",
                "nodes[0].output.files[3]",
                "nodes[0].output.sections[0]",
                "nodes[0].output.repairs"
            ]
        );
        assert_eq!(check("o", &Contract::default()), []);
    }
}
