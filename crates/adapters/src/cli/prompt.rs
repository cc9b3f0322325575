//! What an agent program is told: the sections of a prompt, their order, and which of them a resumed session needs.
//!
//! Everything comes from the run's context and the agent's settings; nothing is looked up. The text is made for one
//! process: when a session turns out to be gone, the fresh start is described anew and gets the long form, never the
//! few lines that were meant for the session. Words of users stand in fences and are said to be data.

mod contract;
mod instructions;
mod notes;
#[cfg(test)]
mod tests;
mod wake;

use domain::brief::{fenced, shorten};
use serde_json::Value;

use crate::adapter::Setup;
use crate::cli::config::ProgramSettings;
use crate::cli::template::{self, Rendered};
use crate::env;

pub(crate) use contract::contract;
pub(crate) use instructions::instructions;

/// Where an agent's instructions file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// In front of every prompt: the program has no other place for them and does not keep them.
    Prefix,
    /// In front of every prompt but the short one of a resumed session, which has them already.
    PrefixUnlessDelta,
    /// Not into the prompt: the adapter hands them over in its own way.
    Elsewhere,
}

/// What a kind of agent wants in its prompt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) instructions: Instructions,
    /// The task's own words, where the program is not expected to fetch them.
    pub(crate) task_markdown: bool,
    /// Names the variables that tell of the run.
    pub(crate) env_note: bool,
    /// Says how to call the API with curl, when there is a key to call it with.
    pub(crate) api_note: bool,
    /// Names the skills of the run, where the program does not look for them by itself.
    pub(crate) skills: bool,
}

/// A finished prompt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// Never blank, and without NUL, so that it can be an argument as well as a file.
    pub(crate) text: String,
    /// What people should know about it.
    pub(crate) notes: Vec<String>,
}

/// Puts the prompt of one process together. `resumes` is the adapter's own answer: the process will be started on a
/// session. Reads the instructions file, and the skills of a run on another machine, and nothing else.
pub(crate) fn assemble(
    setup: &Setup<'_>,
    common: &ProgramSettings<'_>,
    style: Style,
    resumes: bool,
) -> Prompt {
    let wake = setup.context.get("paperclipWake").and_then(env::wake_payload);
    let is_delta = resumes && wake.is_some();
    let mut sections: Vec<String> = Vec::new();
    let mut notes: Vec<String> = Vec::new();

    let wants_instructions = match style.instructions {
        Instructions::Prefix => true,
        Instructions::PrefixUnlessDelta => !is_delta,
        Instructions::Elsewhere => false,
    };
    if wants_instructions {
        let cwd = super::folder_of(setup);
        match instructions(setup, common, &cwd) {
            Ok(text) => sections.extend(text),
            Err(why) => notes.push(why),
        }
    }
    let skills = match style.skills || setup.host.is_elsewhere {
        true => super::skills::section(setup, is_delta, &mut notes),
        false => None,
    };
    let mut fill = |name: &str, text: &str| {
        let Rendered { text, is_cut } = template::render(text, setup);
        if is_cut {
            notes.push(format!(
                "{name} is longer than {} KiB once it is filled; its end is left out",
                template::LONGEST / 1024
            ));
        }
        text
    };
    if !resumes && let Some(bootstrap) = common.bootstrap {
        sections.push(fill("bootstrapPromptTemplate", bootstrap));
    }
    if let Some(wake) = &wake {
        sections.push(wake::render(wake, if is_delta { wake::Form::Delta } else { wake::Form::Long }));
    }
    if !resumes {
        sections.extend(fallback(setup.context));
    }
    sections.extend(env::non_blank(setup.context.get("paperclipSessionHandoffMarkdown")));
    sections.extend(env::non_blank(setup.context.get("bugleNodeMarkdown")));
    if style.task_markdown {
        sections.extend(env::non_blank(setup.context.get("paperclipTaskMarkdown")));
    }
    sections.extend(skills);
    sections.extend(notes::sections(setup, common, style));
    if !is_delta {
        sections.push(fill("promptTemplate", common.template.unwrap_or(contract::CONTRACT)));
    }

    let mut text = joined(&sections);
    if text.is_empty() {
        notes.push("every part of the prompt is blank, so the usual one is given".to_owned());
        text = joined(&[contract(setup)]);
    }
    Prompt { text, notes }
}

/// Why the agent was woken, in the long form, for agents that are told in another way than by a prompt.
pub(crate) fn waking(context: &Value) -> Option<String> {
    let wake = context.get("paperclipWake").and_then(env::wake_payload)?;
    Some(wake::render(&wake, wake::Form::Long))
}

/// What a fresh session of Codex is told when the one before it was given up over and over again.
fn fallback(context: &Value) -> Option<String> {
    let mode = env::non_blank(context.get("codexTransientFallbackMode"))?;
    if !matches!(mode.as_str(), "fresh_session" | "fresh_session_safer_invocation") {
        return None;
    }
    let session = ["paperclipPreviousSessionId", "resumeSessionDisplayId"]
        .iter()
        .find_map(|key| wake::line(context.get(*key)?.as_str()?));
    let mut lines = vec![
        "## Paperclip Session Handoff".to_owned(),
        String::new(),
        "The session before this one failed more than once, so this one starts afresh.".to_owned(),
        String::new(),
        format!("- previous session: {}", session.as_deref().unwrap_or("unknown")),
        format!("- fallback mode: {mode}"),
    ];
    let summary = context.get("paperclipContinuationSummary");
    if let Some(body) = summary.and_then(|summary| env::non_blank(summary.get("body").or(Some(summary)))) {
        let (body, is_cut) = shorten(&body, HANDED_OVER);
        lines.extend([
            String::new(),
            "What the issue's summary says so far:".to_owned(),
            fenced(body, "text"),
        ]);
        lines.extend(is_cut.then(|| "[continuation summary truncated]".to_owned()));
    }
    Some(lines.join("\n"))
}

/// How much of the continuation summary a hand-over repeats, in characters.
const HANDED_OVER: usize = 1_500;

fn joined(sections: &[String]) -> String {
    let sections: Vec<&str> =
        sections.iter().map(|section| section.trim()).filter(|section| !section.is_empty()).collect();
    sections.join("\n\n").replace('\0', "\u{FFFD}")
}
