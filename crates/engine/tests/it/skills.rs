//! Which skills a run gets, and how its program hears of them.

use std::sync::{Arc, Mutex};

use domain::issue::IssueStatus;
use domain::wake::Actor;
use engine::issues::IssueDraft;
use engine::{AgentDraft, AgentPatch, ProcessId, SkillDraft};
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::skills::Skill;
use testkit::{World, both_stores};

use crate::board::{Board, refusal};

async fn skill(board: &Board, name: &str) -> Skill {
    let draft = SkillDraft {
        name: Some(name.to_owned()),
        description: Some(format!("For {name}.")),
        markdown: Some(format!("Text of {name}.")),
        ..SkillDraft::default()
    };
    board.engine.create_skill(&board.company, draft, &Board::person()).await.unwrap()
}

async fn agent(board: &Board, adapter_type: &str, config: Json) -> Agent {
    let draft = AgentDraft {
        name: adapter_type.to_owned(),
        adapter_type: adapter_type.to_owned(),
        adapter_config: config,
        ..World::plain(1)
    };
    board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap()
}

/// Starts a run with this context; what its process was told, and its arguments.
async fn told(board: &Board, agent: &Agent, context: Json) -> (ProcessId, String, Vec<String>) {
    let world = &board.world;
    let heard: Arc<Mutex<Option<String>>> = Arc::default();
    let ears = Arc::clone(&heard);
    world.model.on_start(move |_, _, command| {
        *ears.lock().unwrap() = Some(String::from_utf8_lossy(&command.stdin).into_owned());
    });
    let mut request = World::request("");
    request.context.extend(context.as_object().cloned().unwrap_or_default());
    let run = World::ran(board.engine.wake(&agent.id, request).await);
    let process = World::first(&run.id);
    world.model.until_alive(&process).await;
    let text = world.eventually("what it is told", || async { heard.lock().unwrap().clone() }).await;
    let argv = world.model.argv(&process);
    world.model.print(&process, "{\"type\":\"turn.completed\"}\n");
    world.model.exit(&process, 0);
    world.over(&run.id).await;
    (process, text, argv)
}

/// The files of skills that a text names, with what they say.
fn files(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.strip_suffix("`)")?.rsplit_once("(`"));
    lines
        .filter(|(_, file)| file.ends_with("/SKILL.md"))
        .map(|(_, file)| {
            let name = file.rsplit('/').nth(1).unwrap().to_owned();
            (name, std::fs::read_to_string(file).unwrap())
        })
        .collect()
}

both_stores! {
    async fn a_run_gets_the_programs_skill_those_of_its_agent_and_those_its_issue_mentions(world) {
        let board = Board::new(&world).await;
        let review = skill(&board, "Review").await;
        skill(&board, "Tests").await;
        skill(&board, "Unwanted").await;
        let cody = agent(&board, "codex_local", json!({ "command": "/bin/true" })).await;
        let by = Board::person();
        let desired = vec!["tests".to_owned(), "nothing".to_owned()];
        let synced = board.engine.sync_skills(&cody.id, desired, &Actor::local_board(), &by).await.unwrap();
        let shown: Vec<_> =
            synced.entries.iter().map(|it| (it.key.as_str(), it.is_desired, it.is_missing)).collect();
        assert_eq!(
            shown,
            [
                ("bugle/bugle", true, false),
                ("company/review", false, false),
                ("company/tests", true, false),
                ("company/unwanted", false, false),
                ("nothing", true, true),
            ]
        );
        let draft = IssueDraft {
            status: IssueStatus::Backlog,
            description: Some(format!("Mind skill://{} here.", review.id)),
            ..board.draft("Mend the parser", Some(&cody))
        };
        let issue = board.issue_like(draft).await;
        board.set_status(&issue.id, IssueStatus::InProgress).await;
        let (process, text, _) = told(&board, &cody, json!({ "issueId": issue.id })).await;
        let found = files(&text);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["bugle", "review", "tests"], "{text}");
        assert!(found[1].1.ends_with("Text of Review."), "{found:?}");
        let messages = world.messages(&process.run).await;
        for words in ["skills that are asked for do not exist", "the issue mentions skills"] {
            assert!(messages.iter().any(|message| message == words), "{messages:?}");
        }
    }

    async fn a_program_that_looks_for_skills_by_itself_is_given_the_folder_and_nobody_else_names_it(world) {
        let board = Board::new(&world).await;
        let clara = agent(&board, "claude_local", json!({ "command": "/bin/true" })).await;
        let trap = json!({ "root": "/tmp/trap", "skills": [{ "name": "trap", "file": "/tmp/trap/SKILL.md" }] });
        let (_, text, argv) = told(&board, &clara, json!({ "paperclipRuntimeSkills": trap })).await;
        let given: Vec<&String> = argv.iter().skip_while(|arg| *arg != "--add-dir").skip(1).take(1).collect();
        let file = std::path::Path::new(given[0]).join(".claude/skills/bugle/SKILL.md");
        assert!(std::fs::read_to_string(&file).unwrap().contains("BUGLE_API_KEY"), "{argv:?}");
        assert!(!text.contains("trap") && !argv.iter().any(|arg| arg.contains("trap")), "{argv:?} {text}");
        // A program that reads none is told of none, whatever the wake says.
        let plain = agent(&board, "process", json!({ "command": "/bin/true" })).await;
        let run = World::ran(board.engine.wake(&plain.id, World::request("a")).await);
        world.model.until_alive(&World::first(&run.id)).await;
    }

    async fn instructions_that_changed_end_the_session_that_was_told_the_old_ones(world) {
        let board = Board::new(&world).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "Be brief.").unwrap();
        let config = json!({ "command": "/bin/true", "instructionsFilePath": file.path() });
        let clara = agent(&board, "claude_local", config).await;
        let session = "3f1b0a52-3a7e-4f0e-9a53-2b1c6d7e8f90";
        let work = || async {
            let run = World::ran(board.engine.wake(&clara.id, World::request("a")).await);
            let process = World::first(&run.id);
            world.model.until_alive(&process).await;
            let is_resumed = world.model.argv(&process).contains(&"--resume".to_owned());
            let init = json!({ "type": "system", "subtype": "init", "session_id": session, "model": "m" });
            let result = json!({ "type": "result", "subtype": "success", "is_error": false, "result": "done",
                "session_id": session });
            for line in [init, result] {
                world.model.print(&process, &format!("{line}\n"));
            }
            world.model.exit(&process, 0);
            world.over(&run.id).await;
            is_resumed
        };
        assert!(!work().await);
        assert!(work().await, "nothing changed");
        std::fs::write(file.path(), "Be thorough.").unwrap();
        assert!(!work().await, "it was told to be brief");
        assert!(work().await);
        let config = json!({ "paperclipSkillSync": { "desiredSkills": ["tests"] } });
        skill(&board, "Tests").await;
        let patch = AgentPatch { adapter_config: Some(config), ..AgentPatch::default() };
        board.engine.patch_agent(&clara.id, patch, &Actor::local_board()).await.unwrap();
        assert!(!work().await, "it has another skill");
    }

    async fn a_skill_is_one_of_its_name_and_keeps_its_key(world) {
        let board = Board::new(&world).await;
        let (made, by) = (skill(&board, "Review").await, Board::person());
        let again = SkillDraft {
            name: Some("review!".to_owned()),
            markdown: Some("x".to_owned()),
            ..SkillDraft::default()
        };
        let refused = refusal(board.engine.create_skill(&board.company, again.clone(), &by).await);
        assert_eq!((refused.0.as_str(), refused.1.as_str()), ("Conflict", "Skill already exists: company/review"));
        let changed = board.engine.change_skill(&made.id, again, &by).await.unwrap();
        assert_eq!((changed.key.as_str(), changed.name.as_str()), ("company/review", "review!"));
        assert_eq!(board.neighbour().await.engine.skills(&board.company).await.unwrap().len(), 1);
    }
}
