//! The skills of a run, as the server laid them out: one folder, a `SKILL.md` for each.
//!
//! A program that looks for skills by itself is given the folder. The others are told which there are and where they lie,
//! and read the one that fits. Nothing is put into a home: the login lies there, and other agents'.
//!
//! On another machine there is no such folder: every program is told the texts themselves.

use std::path::Path;

use serde_json::Value;

use crate::adapter::Setup;
use crate::env;

/// As many bytes of texts are told where the files are not.
const CARRIED: usize = 64 * 1024;

/// The folder of the skills, when the run has any and works where it lies.
pub(crate) fn folder<'a>(setup: &Setup<'a>) -> Option<&'a Path> {
    if setup.host.is_elsewhere {
        return None;
    }
    let given = setup.context.get("paperclipRuntimeSkills")?;
    listed(given).next()?;
    given.get("root").and_then(Value::as_str).map(Path::new).filter(|root| root.is_absolute())
}

fn listed(given: &Value) -> impl Iterator<Item = &Value> {
    given.get("skills").and_then(Value::as_array).into_iter().flatten()
}

/// What a program is told of its skills; one that was told before hears only of those that its issue mentions. What people
/// should know of it is added to the notes.
pub(crate) fn section(setup: &Setup<'_>, was_told: bool, notes: &mut Vec<String>) -> Option<String> {
    let given = setup.context.get("paperclipRuntimeSkills")?;
    let is_new = |skill: &&Value| !was_told || skill.get("mentioned") == Some(&Value::Bool(true));
    if setup.host.is_elsewhere {
        return carried(listed(given).filter(is_new), notes);
    }
    let lines: Vec<String> = listed(given).filter(is_new).filter_map(line).collect();
    if lines.is_empty() {
        return None;
    }
    let rule = "These texts say how work of one kind is done here. When one fits what you are about to do, read its file \
        first and follow it.";
    Some(format!("## Skills\n\n{rule}\n\n{}", lines.join("\n")))
}

fn line(skill: &Value) -> Option<String> {
    let text = |key: &str| env::non_blank(skill.get(key)).map(|text| domain::brief::one_line(&text));
    let (name, file) = (text("name")?, text("file")?);
    let about = text("description").map(|about| format!(": {about}")).unwrap_or_default();
    Some(format!("- `{name}`{about} (`{file}`)"))
}

/// The texts themselves, as many as fit.
fn carried<'v>(skills: impl Iterator<Item = &'v Value>, notes: &mut Vec<String>) -> Option<String> {
    let mut told = String::new();
    for skill in skills {
        let text = |key: &str| env::non_blank(skill.get(key));
        let (Some(name), Some(file)) = (text("name"), text("file")) else { continue };
        let name = domain::brief::one_line(&name);
        match std::fs::read_to_string(&file) {
            Ok(text) if told.len() + text.len() <= CARRIED => {
                told.push_str(&format!("\n\n### {name}\n\n{}", text.trim()));
            }
            Ok(_) => notes
                .push(format!("the skill `{name}` does not fit into the prompt of a run on another machine")),
            Err(error) => notes.push(format!("the skill `{name}` cannot be read: {error}")),
        }
    }
    if told.is_empty() {
        return None;
    }
    let rule = "These texts say how work of one kind is done here. When one fits what you are about to do, follow it.";
    Some(format!("## Skills\n\n{rule}{told}"))
}
