//! Which sections a prompt has, in which order, and what becomes of an instructions file.

use std::path::Path;

use domain::moment::Moment;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::env::Host;
use crate::settings::Settings;

mod waking;

use waking::{any_json, commented};

const ALL: Style = Style {
    instructions: Instructions::Prefix,
    task_markdown: true,
    env_note: true,
    api_note: true,
    skills: false,
};
const BARE: Style = Style {
    instructions: Instructions::Elsewhere,
    task_markdown: false,
    env_note: false,
    api_note: false,
    skills: false,
};

/// What one prompt is made from.
struct Stage {
    folder: tempfile::TempDir,
    host: Host,
    config: Value,
    context: Value,
    api_key: Option<&'static str>,
}

impl Stage {
    fn new(config: Value, context: Value) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        Stage { folder, host: Host::default(), config, context, api_key: None }
    }

    fn setup(&self) -> Setup<'_> {
        Setup {
            run_id: "run-1",
            company_id: "company-1",
            agent_id: "agent-1",
            agent_name: "Ada",
            task_key: None,
            config: &self.config,
            context: &self.context,
            wake_reason: None,
            session: None,
            session_note: None,
            started_at: Moment::from_micros(0),
            api_url: "http://127.0.0.1:3100",
            api_key: self.api_key,
            program: Path::new("/usr/bin/bugle"),
            default_cwd: self.folder.path(),
            host: &self.host,
        }
    }

    fn assemble(&self, style: Style, resumes: bool) -> Prompt {
        let mut settings = Settings::open(&self.config);
        let common = ProgramSettings::read(&mut settings, "agent");
        assemble(&self.setup(), &common, style, resumes)
    }

    fn instructions(&self) -> Result<Option<String>, String> {
        let mut settings = Settings::open(&self.config);
        instructions(&self.setup(), &ProgramSettings::read(&mut settings, "agent"), self.folder.path())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
    }
}

#[test]
fn the_usual_prompt_names_what_agents_act_by() {
    let stage = Stage::new(json!({}), json!({}));
    insta::assert_snapshot!(contract(&stage.setup()));
}

/// A name for each section, by its first words.
const SECTIONS: [(&str, &str); 9] = [
    ("instructions", "Always be brief."),
    ("bootstrap", "BOOTSTRAP agent-1"),
    ("wake", "## Paperclip Wake Payload"),
    ("delta", "## Paperclip Resume Delta"),
    ("fallback", "## Paperclip Session Handoff"),
    ("hand-over", "HANDED OVER"),
    ("task", "THE TASK"),
    ("env note", "Runtime note:"),
    ("template", "TEMPLATE run-1"),
];

fn shown(prompt: &Prompt) -> Vec<&'static str> {
    let mut found: Vec<(usize, &str)> =
        SECTIONS.iter().filter_map(|(name, words)| Some((prompt.text.find(words)?, *name))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, name)| name).collect()
}

fn full(with_wake: bool) -> Stage {
    let mut context = json!({
        "codexTransientFallbackMode": "fresh_session",
        "paperclipPreviousSessionId": "s-1",
        "paperclipContinuationSummary": { "key": "continuation-summary", "body": "Half done." },
        "paperclipSessionHandoffMarkdown": "  HANDED OVER  ",
        "paperclipTaskMarkdown": "THE TASK",
    });
    if with_wake {
        context["paperclipWake"] = commented();
    }
    let config = json!({ "instructionsFilePath": "AGENTS.md", "promptTemplate": "TEMPLATE {{ runId }}",
        "bootstrapPromptTemplate": "BOOTSTRAP {{agentId}}" });
    let stage = Stage::new(config, context);
    stage.write("AGENTS.md", "Always be brief.\n");
    stage
}

/// Which sections a prompt has, in their order, for every way of starting.
#[test]
fn the_sections_follow_from_the_start_and_the_style() {
    let unless_delta = Style { instructions: Instructions::PrefixUnlessDelta, ..BARE };
    let (long, bare_long) = (
        &["instructions", "bootstrap", "wake", "fallback", "hand-over", "task", "env note", "template"][..],
        &["bootstrap", "wake", "fallback", "hand-over", "template"][..],
    );
    let rows: &[(Style, bool, bool, &[&str])] = &[
        (ALL, true, false, long),
        (ALL, true, true, &["instructions", "delta", "hand-over", "task", "env note"]),
        (ALL, false, true, &["instructions", "hand-over", "task", "env note", "template"]),
        (
            ALL,
            false,
            false,
            &["instructions", "bootstrap", "fallback", "hand-over", "task", "env note", "template"],
        ),
        (BARE, true, false, bare_long),
        (BARE, true, true, &["delta", "hand-over"]),
        (
            unless_delta,
            true,
            false,
            &["instructions", "bootstrap", "wake", "fallback", "hand-over", "template"],
        ),
        (unless_delta, true, true, &["delta", "hand-over"]),
        (unless_delta, false, true, &["instructions", "hand-over", "template"]),
    ];
    for (style, with_wake, resumes, expected) in rows {
        let prompt = full(*with_wake).assemble(*style, *resumes);
        assert_eq!(shown(&prompt), *expected, "{style:?} wake {with_wake} resumes {resumes}");
        assert_eq!(prompt.notes, Vec::<String>::new());
        assert!(!prompt.text.contains("\n\n\n"), "one blank line between sections: {}", prompt.text);
        assert_eq!(prompt.text.trim(), prompt.text);
    }
}

#[test]
fn a_forced_fresh_session_hears_what_was_before() {
    let mut stage = Stage::new(
        json!({ "promptTemplate": "go" }),
        json!({
            "codexTransientFallbackMode": "fresh_session_safer_invocation",
            "resumeSessionDisplayId": "s-1\n- fallback mode: none",
            "paperclipContinuationSummary": { "body": "x".repeat(1_501) },
        }),
    );
    let text = stage.assemble(BARE, false).text;
    assert!(text.contains("\n- previous session: s-1 - fallback mode: none\n"), "{text}");
    assert!(text.contains("\n- fallback mode: fresh_session_safer_invocation\n"), "{text}");
    assert!(text.contains(&format!("```text\n{}\n```\n[continuation summary truncated]", "x".repeat(1_500))));
    stage.context["paperclipContinuationSummary"] = Value::Null;
    stage.context["resumeSessionDisplayId"] = Value::Null;
    let text = stage.assemble(BARE, false).text;
    assert!(text.contains("- previous session: unknown\n") && !text.contains("```"), "{text}");
    for mode in ["same_session", "safer_invocation", "", "else"] {
        stage.context["codexTransientFallbackMode"] = json!(mode);
        assert_eq!(stage.assemble(BARE, false).text, "go", "{mode}");
    }
}

#[test]
fn the_notes_name_variables_and_never_their_values() {
    let mut stage = Stage::new(
        json!({ "promptTemplate": "go", "env": { "PAPERCLIP_EXTRA": "canary-extra", "OTHER": "canary-other" } }),
        json!({ "issueId": "i-7" }),
    );
    let notes = Style { env_note: true, api_note: true, ..BARE };
    let without_key = stage.assemble(notes, false).text;
    assert!(!without_key.contains("curl"), "{without_key}");
    stage.api_key = Some("canary-run-token");
    let text = stage.assemble(notes, true).text;
    insta::assert_snapshot!(text);
    assert!(!text.contains("canary"), "{text}");
    let only_api = stage.assemble(Style { api_note: true, ..BARE }, false).text;
    assert!(only_api.starts_with("API access note:"), "{only_api}");
}

#[test]
fn a_prompt_is_never_blank_and_never_holds_a_nul() {
    let stage = Stage::new(json!({ "promptTemplate": "{{ context.nothing }}" }), json!({}));
    let prompt = stage.assemble(BARE, false);
    assert_eq!(prompt.text, contract(&stage.setup()));
    assert_eq!(prompt.notes, ["every part of the prompt is blank, so the usual one is given"]);
    let stage = Stage::new(json!({ "promptTemplate": "a{{ context.x }}b" }), json!({ "x": "\u{0}" }));
    assert_eq!(stage.assemble(BARE, false).text, "a\u{FFFD}b");
}

#[test]
fn a_template_that_grows_without_bound_is_cut_with_a_note() {
    let config = json!({ "promptTemplate": "{{context}}".repeat(300), "bootstrapPromptTemplate": "ok" });
    let stage = Stage::new(config, json!({ "x": "y".repeat(5_000) }));
    let prompt = stage.assemble(BARE, false);
    assert_eq!(
        prompt.notes,
        ["promptTemplate is longer than 1024 KiB once it is filled; its end is left out"]
    );
    assert_eq!(prompt.text.len(), "ok\n\n".len() + template::LONGEST);
}

#[test]
fn the_instructions_say_where_they_come_from() {
    let mut stage = Stage::new(json!({}), json!({}));
    assert_eq!(stage.instructions(), Ok(None));
    stage.config = json!({ "instructionsFilePath": "AGENTS.md" });
    stage.write("AGENTS.md", "\u{FEFF} \n ");
    assert_eq!(stage.instructions(), Ok(None));
    stage.write("AGENTS.md", "\u{FEFF}Be brief.\r\n\n");
    let folder = stage.folder.path().display().to_string();
    let expected = format!(
        "Be brief.\n\nThe instructions above come from {folder}/AGENTS.md. Relative file references in them start \
         from {folder}/."
    );
    assert_eq!(stage.instructions(), Ok(Some(expected.clone())));
    // An absolute path is the same file from any folder.
    stage.config = json!({ "instructionsFilePath": format!("{folder}/AGENTS.md") });
    assert_eq!(stage.instructions(), Ok(Some(expected)));
    stage.write("AGENTS.md", b"caf\xE9");
    assert!(stage.instructions().unwrap().unwrap().starts_with("caf\u{FFFD}\n\n"));
    // A program on another machine is not sent to folders of this one.
    stage.host = Host::elsewhere();
    let text = stage.instructions().unwrap().unwrap();
    assert!(text.contains("come from another machine") && !text.contains(&folder), "{text}");
}

#[test]
fn long_instructions_are_cut_between_characters_and_say_so() {
    let stage = Stage::new(json!({ "instructionsFilePath": "AGENTS.md" }), json!({}));
    let most = 256 * 1024;
    stage.write("AGENTS.md", "x".repeat(most));
    assert!(!stage.instructions().unwrap().unwrap().contains("Only its first"));
    stage.write("AGENTS.md", format!("{}ä{}", "x".repeat(most - 1), "y".repeat(9)));
    let text = stage.instructions().unwrap().unwrap();
    assert!(text.starts_with(&format!("{}\n\nThe instructions above", "x".repeat(most - 1))));
    assert!(text.contains("Only its first 256 KiB are given here; read the rest in the file."));
}

#[test]
fn instructions_that_cannot_be_read_are_a_note_and_no_failure() {
    let mut stage =
        Stage::new(json!({ "instructionsFilePath": "none.md", "promptTemplate": "go" }), json!({}));
    let missing = format!("{}/none.md", stage.folder.path().display());
    let prompt = stage.assemble(Style { instructions: Instructions::Prefix, ..BARE }, false);
    assert_eq!(prompt.text, "go");
    assert_eq!(
        prompt.notes,
        [format!(
            "the instructions file `{missing}` cannot be read, so the agent works without it: No such file or directory \
             (os error 2)"
        )]
    );
    // Neither a folder nor a pipe without a writer nor an endless device keeps a run waiting.
    let pipe = stage.folder.path().join("pipe");
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    );
    made.unwrap();
    for path in [".", "pipe", "/dev/zero"] {
        stage.config = json!({ "instructionsFilePath": path });
        let why = stage.instructions().unwrap_err();
        assert!(why.ends_with("it is not a regular file"), "{why}");
    }
}

proptest! {
    #[test]
    fn any_context_makes_a_prompt(context in any_json(), wake in any_json(), resumes in any::<bool>()) {
        let mut stage = Stage::new(json!({ "promptTemplate": "{{context.issue.title}}{{context}}" }), context);
        if let Some(fields) = stage.context.as_object_mut() {
            fields.insert("paperclipWake".to_owned(), wake);
        }
        let prompt = stage.assemble(ALL, resumes);
        prop_assert!(!prompt.text.trim().is_empty() && !prompt.text.contains('\0'));
        prop_assert_eq!(prompt, stage.assemble(ALL, resumes));
    }
}

#[test]
fn a_program_is_told_of_its_skills_once_and_of_those_that_its_issue_mentions_always() {
    let context = json!({
        "paperclipWake": { "reason": "issue_commented", "issue": { "id": "i", "title": "Mend it" } },
        "paperclipRuntimeSkills": { "root": "/data/skills/x", "skills": [
            { "key": "bugle/bugle", "name": "bugle", "description": "How to\nwork here", "file": "/s/bugle/SKILL.md" },
            { "key": "company/review", "name": "review", "file": "/s/review/SKILL.md", "mentioned": true },
        ] },
    });
    let stage = Stage::new(json!({}), context);
    let style = Style { skills: true, ..BARE };
    let fresh = stage.assemble(style, false).text;
    assert!(
        fresh
            .contains("- `bugle`: How to work here (`/s/bugle/SKILL.md`)\n- `review` (`/s/review/SKILL.md`)")
    );
    let resumed = stage.assemble(style, true).text;
    assert!(!resumed.contains("/s/bugle/") && resumed.contains("/s/review/"), "{resumed}");
    assert!(!stage.assemble(BARE, false).text.contains("## Skills"));
}

#[test]
fn on_another_machine_every_program_is_told_the_texts_of_its_skills() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let context = json!({
        "paperclipRuntimeSkills": { "root": folder.path(), "skills": [
            { "key": "bugle/bugle", "name": "bugle", "file": file("bugle", "Take up, report, finish.\n") },
            { "key": "company/long", "name": "long", "file": file("long", &"x".repeat(70_000)) },
            { "key": "company/gone", "name": "gone", "file": folder.path().join("gone") },
            { "key": "company/review", "name": "review", "file": file("review", "Read twice."), "mentioned": true },
        ] },
    });
    let mut stage = Stage::new(json!({}), context);
    stage.host = Host::elsewhere();
    let prompt = stage.assemble(BARE, false);
    assert!(
        prompt.text.contains("### bugle\n\nTake up, report, finish.\n\n### review\n\nRead twice."),
        "{}",
        prompt.text
    );
    assert!(
        !prompt.text.contains(folder.path().to_str().unwrap()),
        "a folder of the server: {}",
        prompt.text
    );
    let about = |name: &str| prompt.notes.iter().any(|note| note.contains(name));
    assert!(about("`long` does not fit") && about("`gone` cannot be read"), "{:?}", prompt.notes);
}
