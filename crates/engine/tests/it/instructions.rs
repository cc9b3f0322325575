//! What a run is told of the instructions of its agent.

use std::path::{Path, PathBuf};

use domain::instructions::{Mode, Wanted};
use domain::wake::Actor;
use engine::{AgentDraft, AgentPatch};
use serde_json::{Value as Json, json};
use store::agents::Agent;
use testkit::{World, both_stores};

use crate::board::{Board, refusal};

async fn agent(board: &Board, adapter_type: &str, config: Json) -> Agent {
    let draft = AgentDraft {
        name: adapter_type.to_owned(),
        adapter_type: adapter_type.to_owned(),
        adapter_config: config,
        ..World::plain(1)
    };
    board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap()
}

async fn write(board: &Board, agent: &Agent, path: &str, content: &str) {
    let by = Board::person();
    board.engine.write_instructions(&agent.id, path, content.to_owned(), false, &by).await.unwrap();
}

/// Runs a Claude agent once on the same task; what it was started with.
async fn worked(board: &Board, agent: &Agent) -> Vec<String> {
    let world = &board.world;
    let run = World::ran(board.engine.wake(&agent.id, World::request("a")).await);
    let process = World::first(&run.id);
    world.model.until_alive(&process).await;
    let argv = world.model.argv(&process);
    let session = "3f1b0a52-3a7e-4f0e-9a53-2b1c6d7e8f90";
    let init = json!({ "type": "system", "subtype": "init", "session_id": session, "model": "m" });
    let result = json!({ "type": "result", "subtype": "success", "is_error": false, "result": "done",
        "session_id": session });
    for line in [init, result] {
        world.model.print(&process, &format!("{line}\n"));
    }
    world.model.exit(&process, 0);
    world.over(&run.id).await;
    argv
}

/// What it was told for its system prompt; nothing when it resumed.
fn told(argv: &[String]) -> Option<&str> {
    argv.iter().skip_while(|arg| *arg != "--append-system-prompt").nth(1).map(String::as_str)
}

/// The folder in which what it was told says that other files are.
fn folder(told: &str) -> PathBuf {
    let place = told.rsplit_once("start from ").map_or("", |(_, place)| place);
    Path::new(place.trim_end_matches('.')).to_owned()
}

both_stores! {
    async fn managed_instructions_are_told_with_their_folder_and_a_change_of_any_file_ends_the_session(world) {
        let board = Board::new(&world).await;
        let clara = agent(&board, "claude_local", json!({ "command": "/bin/true" })).await;
        write(&board, &clara, "AGENTS.md", "Be brief.").await;
        write(&board, &clara, "docs/style.md", "Short lines.").await;
        let first = worked(&board, &clara).await;
        let text = told(&first).unwrap_or_else(|| panic!("{first:?}"));
        assert!(text.starts_with("Be brief.\n\n"), "{text}");
        let place = folder(text);
        assert_eq!(std::fs::read_to_string(place.join("docs/style.md")).unwrap(), "Short lines.");
        let shown = board.engine.instructions(&clara.id).await.unwrap();
        assert_eq!((shown.mode, shown.root.as_deref()), (Some(Mode::Managed), Some(place.as_path())));
        assert!(place.starts_with(&shown.managed_root) && shown.warnings.is_empty(), "{shown:?}");

        assert_eq!(told(&worked(&board, &clara).await), None, "nothing changed: it resumes");
        write(&board, &clara, "docs/style.md", "Long lines.").await;
        let again = worked(&board, &clara).await;
        let text = told(&again).expect("it was told of the old folder");
        assert_ne!(folder(text), place);
        // A session of before still finds what it was told of.
        assert_eq!(std::fs::read_to_string(place.join("docs/style.md")).unwrap(), "Short lines.");
        let by = Board::person();
        board.engine.remove_instructions(&clara.id, "docs/style.md", &by).await.unwrap();
        let again = worked(&board, &clara).await;
        assert!(!folder(told(&again).unwrap()).join("docs").exists());
    }

    async fn instructions_that_cannot_be_had_are_a_warning_and_the_agent_works_without_them(world) {
        let board = Board::new(&world).await;
        let secret = tempfile::tempdir().unwrap();
        std::fs::write(secret.path().join("key"), "hush").unwrap();
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(secret.path().join("key"), root.path().join("AGENTS.md")).unwrap();
        let config = json!({ "command": "/bin/true", "instructionsBundleMode": "external",
            "instructionsRootPath": root.path() });
        let clara = agent(&board, "claude_local", config).await;
        let run = World::ran(board.engine.wake(&clara.id, World::request("a")).await);
        let process = World::first(&run.id);
        world.model.until_alive(&process).await;
        assert_eq!(told(&world.model.argv(&process)), None);
        world.model.exit(&process, 0);
        world.over(&run.id).await;
        let messages = world.messages(&run.id).await;
        let words = "the instructions cannot be had, so the agent works without them";
        assert!(messages.iter().any(|message| message == words), "{messages:?}");
        let by = Board::person();
        let read = refusal(board.engine.instructions_file(&clara.id, "AGENTS.md").await);
        assert!(read.1.contains("leads out of the folder"), "{read:?}");
        let written = board.engine.write_instructions(&clara.id, "AGENTS.md", "x".into(), false, &by).await;
        assert!(refusal(written).1.contains("leads out of the folder"));
        assert_eq!(std::fs::read_to_string(secret.path().join("key")).unwrap(), "hush");
        // A managed bundle whose entry file nobody wrote.
        let wanted = Wanted { mode: Some(Mode::Managed), ..Wanted::default() };
        let shown = board.engine.change_instructions(&clara.id, wanted, &by).await.unwrap();
        assert_eq!(shown.warnings, ["The entry file `AGENTS.md` does not exist."]);
        assert_eq!(told(&worked(&board, &clara).await), None);
    }

    async fn a_folder_of_the_machine_is_taken_in_and_whoever_names_a_file_means_that_file(world) {
        let board = Board::new(&world).await;
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [("guide.md", "Be kind."), ("other.md", "Be quick.")] {
            std::fs::write(root.path().join(name), text).unwrap();
        }
        let config = json!({ "command": "/bin/true", "instructionsFilePath": root.path().join("guide.md") });
        let (clara, by) = (agent(&board, "claude_local", config).await, Board::person());
        // Only the file was named, not what lies beside it.
        let shown = board.engine.instructions(&clara.id).await.unwrap();
        assert_eq!(shown.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["guide.md"]);
        let beside = refusal(board.engine.instructions_file(&clara.id, "other.md").await);
        assert!(beside.1.contains("Only instructionsFilePath itself"), "{beside:?}");
        let wanted = Wanted { mode: Some(Mode::External), ..Wanted::default() };
        let shown = board.engine.change_instructions(&clara.id, wanted, &by).await.unwrap();
        assert_eq!(shown.files.len(), 2, "{shown:?}");
        let wanted = Wanted { mode: Some(Mode::Managed), ..Wanted::default() };
        board.engine.change_instructions(&clara.id, wanted, &by).await.unwrap();
        write(&board, &clara, "guide.md", "Be kinder.").await;
        assert_eq!(std::fs::read_to_string(root.path().join("guide.md")).unwrap(), "Be kind.");
        assert!(told(&worked(&board, &clara).await).unwrap().starts_with("Be kinder."));
        let file = root.path().join("other.md");
        let config = json!({ "instructionsFilePath": file });
        let patch = AgentPatch { adapter_config: Some(config), ..AgentPatch::default() };
        let changed = board.engine.patch_agent(&clara.id, patch, &Actor::local_board()).await.unwrap();
        assert_eq!(changed.adapter_config.get("instructionsBundleMode"), None);
        assert!(told(&worked(&board, &clara).await).unwrap().starts_with("Be quick."));
        let changed = board.engine.set_instructions_path(&clara.id, None, &by).await.unwrap();
        assert_eq!(changed.adapter_config, json!({ "command": "/bin/true" }));
    }

    async fn a_bundle_has_bounds(world) {
        let board = Board::new(&world).await;
        let (clara, by) = (agent(&board, "codex_local", json!({ "command": "/bin/true" })).await, Board::person());
        let put = |path: &str, content: String| {
            let (engine, id, by, path) = (board.engine.clone(), clara.id.clone(), by.clone(), path.to_owned());
            async move { refusal(engine.write_instructions(&id, &path, content, false, &by).await) }
        };
        for path in ["../a.md", "/etc/passwd", ".env"] {
            let (kind, words, _) = put(path, "x".to_owned()).await;
            assert!(kind == "Unprocessable" && words.starts_with("path must "), "{path}: {words}");
        }
        assert_eq!(put("a.md", "x".repeat(256 * 1024 + 1)).await.1, "content is larger than 256 KiB");
        for number in 0..4 {
            write(&board, &clara, &format!("{number}.md"), &"x".repeat(256 * 1024)).await;
        }
        assert!(put("5.md", "x".to_owned()).await.1.contains("at most 1024 KiB together"));
        let (kind, words, _) = put("0.md/a.md", String::new()).await;
        assert_eq!((kind.as_str(), words.as_str()), ("Conflict", "0.md is in the way of 0.md/a.md"));
        let gone = refusal(board.engine.remove_instructions(&clara.id, "AGENTS.md", &by).await);
        assert!(gone.1.contains("entry file cannot be removed"), "{gone:?}");
    }
}
