//! Scenario S7: a stored session that its program does not find costs one more start in the same run and is never asked
//! for again; a folder that moved costs none. And what else makes a process begin afresh. Played with Codex, which is
//! told on its stdin and names the session on its command line.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::ids::RunId;
use domain::issue::IssueStatus;
use domain::run::RunStatus;
use domain::wake::Actor;
use engine::{AgentDraft, AgentPatch, Mark, ProcessId, What};
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::issues::Issue;
use store::runs::Run;
use testkit::{Server, World, both_stores};

use crate::board::Board;

const OLD: &str = "01a1faf0-10ff-7372-8508-ed199ead7e6b";
const NEW: &str = "02a1faf0-10ff-7372-8508-ed199ead7e6b";
const HANDOFF: &str = "## Paperclip Session Handoff";

/// What was written to the stdin of each process.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<(ProcessId, String)>>>);

impl Heard {
    fn listen(world: &World) -> Heard {
        let heard = Heard::default();
        let ears = heard.clone();
        world.model.on_start(move |_, process, command| {
            let told = String::from_utf8_lossy(&command.stdin).into_owned();
            ears.0.lock().unwrap().push((process.clone(), told));
        });
        heard
    }

    async fn of(&self, world: &World, process: &ProcessId) -> String {
        let told = || async {
            let heard = self.0.lock().unwrap();
            heard.iter().rfind(|(of, _)| of == process).map(|(_, told)| told.clone())
        };
        world.eventually("what the program is told", told).await
    }

    /// The hand-over in what a process was told.
    async fn handed(&self, world: &World, process: &ProcessId) -> Option<String> {
        let told = self.of(world, process).await;
        let from = told.find(HANDOFF)?;
        let rest = &told[from..];
        let until = rest[HANDOFF.len()..].find("\n\n## ").map_or(rest.len(), |at| at + HANDOFF.len());
        Some(rest[..until].to_owned())
    }
}

/// An agent that is Codex by its configuration; `true` stands for the program, which the model never starts.
fn draft(runtime_config: Json) -> AgentDraft {
    AgentDraft {
        name: "Cody".to_owned(),
        adapter_type: "codex_local".to_owned(),
        adapter_config: json!({ "command": "/bin/true" }),
        runtime_config,
        ..World::plain(1)
    }
}

async fn codex(board: &Board, runtime_config: Json) -> Agent {
    board.engine.create_agent(&board.company, draft(runtime_config), &Actor::local_board()).await.unwrap()
}

/// One turn in a thread, and its end. Codex counts over a whole thread, so every turn reports more than those before.
fn turn(world: &World, process: &ProcessId, thread: &str, said: &str) {
    static USED: AtomicU64 = AtomicU64::new(0);
    let used = USED.fetch_add(1000, Ordering::Relaxed) + 1000;
    let lines = [
        json!({ "type": "thread.started", "thread_id": thread }),
        json!({ "type": "item.completed", "item": { "id": "i", "type": "agent_message", "text": said } }),
        json!({ "type": "turn.completed",
            "usage": { "input_tokens": used, "cached_input_tokens": 0, "output_tokens": used / 100 } }),
    ];
    for line in lines {
        world.model.print(process, &format!("{line}\n"));
    }
    world.model.exit(process, 0);
}

/// A whole run of an issue: it works in this thread.
async fn work(board: &Board, agent: &Agent, issue: &Issue, thread: &str) -> (Run, Vec<String>) {
    let (run, process) = board.running(agent, issue).await;
    let argv = board.world.model.argv(&process);
    turn(&board.world, &process, thread, "half of the parser is done");
    let over = board.world.over(&run.id).await;
    assert_eq!(over.status, RunStatus::Succeeded, "{over:#?}");
    (over, argv)
}

/// The thread that a command resumes.
fn resumed(argv: &[String]) -> Option<&str> {
    let at = argv.iter().position(|arg| arg == "resume")?;
    argv.get(at + 1).map(String::as_str)
}

/// Why the newest process of a run did not resume.
async fn left(world: &World, run: &RunId) -> Option<(String, String)> {
    let events = world.events(run).await;
    let event = events.iter().rfind(|event| {
        event.message.as_deref() == Some("the session is not resumed; a fresh one is started")
    })?;
    let payload = event.payload.clone()?;
    Some((payload["session"].as_str()?.to_owned(), payload["reason"].as_str()?.to_owned()))
}

/// The whole scenario, with the way in which the program says that it does not know the session.
async fn session_is_unknown(world: World, say_so: fn(&World, &ProcessId)) {
    let board = Board::new(&world).await;
    let heard = Heard::listen(&world);
    let agent = codex(&board, json!({})).await;
    let issue = board.quiet("Mend the parser", IssueStatus::InProgress, Some(&agent)).await;
    // Two tasks came to the same session.
    let other = board.quiet("Mend the lexer", IssueStatus::InProgress, Some(&agent)).await;
    let (first, _) = work(&board, &agent, &issue, OLD).await;
    work(&board, &agent, &other, OLD).await;

    let (run, process) = board.running(&agent, &issue).await;
    assert_eq!(resumed(&world.model.argv(&process)), Some(OLD));
    say_so(&world, &process);
    world.model.exit(&process, 1);
    let again = ProcessId { run: run.id.clone(), epoch: 2 };
    world.model.until_alive(&again).await;
    assert_eq!(resumed(&world.model.argv(&again)), None);
    let handed = heard.handed(&world, &again).await.expect("a hand-over");
    assert!(handed.len() <= 2048, "{} bytes", handed.len());
    for words in [OLD, "half of the parser is done", issue.identifier.as_str()] {
        assert!(handed.contains(words), "{words} is not in: {handed}");
    }
    // The long form: the fresh session knows nothing.
    let told = heard.of(&world, &again).await;
    assert!(told.contains("## Paperclip Wake Payload"), "{told}");
    turn(&world, &again, NEW, "all of it is done");
    let over = world.over(&run.id).await;
    assert_eq!((over.status, over.session_after.as_deref()), (RunStatus::Succeeded, Some(NEW)));
    assert_eq!(world.model.started(&run.id).len(), 2, "exactly one extra start");
    assert_eq!(over.usage.as_ref().unwrap()["freshSession"], json!(true));

    // The other task kept the same session: it is not asked for any more.
    let (run, argv) = work(&board, &agent, &other, "03a1faf0-10ff-7372-8508-ed199ead7e6b").await;
    assert_eq!((resumed(&argv), world.model.started(&run.id).len()), (None, 1));
    // Nor when a person asks for it.
    let mut resume = World::request("");
    resume.payload.insert("resumeFromRunId".to_owned(), json!(first.id));
    let run = World::ran(board.engine.wake(&agent.id, resume).await);
    let process = World::first(&run.id);
    world.model.until_alive(&process).await;
    assert_eq!(resumed(&world.model.argv(&process)), None);
    turn(&world, &process, NEW, "done again");
    world.over(&run.id).await;
    assert_eq!(world.model.started(&run.id).len(), 1);
    assert_eq!(left(&world, &run.id).await, Some((OLD.to_owned(), "known_gone".to_owned())));
    // The next ten wakes use the new one.
    for _ in 0..10 {
        let (run, argv) = work(&board, &agent, &issue, NEW).await;
        assert_eq!((resumed(&argv), world.model.started(&run.id).len()), (Some(NEW), 1));
        assert_eq!(run.usage.unwrap()["taskSessionReused"], json!(true));
    }
    // The repository moves: no start fails for it.
    let moved = tempfile::tempdir().unwrap();
    let patch = AgentPatch { adapter_config: Some(json!({ "cwd": moved.path() })), ..AgentPatch::default() };
    board.engine.patch_agent(&agent.id, patch, &Actor::local_board()).await.unwrap();
    let (run, process) = board.running(&agent, &issue).await;
    assert_eq!(resumed(&world.model.argv(&process)), None);
    assert!(heard.handed(&world, &process).await.expect("a hand-over").contains(NEW));
    turn(&world, &process, "04a1faf0-10ff-7372-8508-ed199ead7e6b", "moved");
    let over = world.over(&run.id).await;
    assert_eq!((over.status, world.model.started(&run.id).len()), (RunStatus::Succeeded, 1));
    assert_eq!((over.session_before, over.fresh_start_used), (None, false));
    assert_eq!(left(&world, &run.id).await, Some((NEW.to_owned(), "folder_changed".to_owned())));
}

both_stores! {
    async fn s7_an_unknown_session_in_words_costs_one_start_and_is_never_asked_for_again(world) {
        session_is_unknown(world, |world, process| {
            world.model.err(process, "Error: thread/resume: no rollout found for thread id\n");
        }).await;
    }

    async fn s7_an_unknown_session_without_words_costs_one_start_and_is_never_asked_for_again(world) {
        session_is_unknown(world, |_, _| {}).await;
    }

    async fn a_session_that_is_gone_is_remembered_though_the_run_is_cancelled(world) {
        let board = Board::new(&world).await;
        let agent = codex(&board, json!({})).await;
        let issue = board.quiet("Mend the parser", IssueStatus::InProgress, Some(&agent)).await;
        work(&board, &agent, &issue, OLD).await;
        let (run, process) = board.running(&agent, &issue).await;
        world.model.err(&process, "Error: thread/resume: no rollout found for thread id\n");
        board.engine.cancel_run(&run.id, None, &Actor::local_board()).await.unwrap();
        world.model.exit(&process, 1);
        let over = world.over(&run.id).await;
        assert_eq!((over.status, world.model.started(&run.id).len()), (RunStatus::Cancelled, 1));
        let (run, argv) = work(&board, &agent, &issue, NEW).await;
        assert_eq!((resumed(&argv), world.model.started(&run.id).len()), (None, 1));
    }

    async fn new_work_and_a_forced_start_leave_the_session_and_say_why(world) {
        let board = Board::new(&world).await;
        let heard = Heard::listen(&world);
        let agent = codex(&board, json!({})).await;
        let issue = board.quiet("Mend the parser", IssueStatus::InProgress, Some(&agent)).await;
        work(&board, &agent, &issue, OLD).await;
        // A9.10 to A9.13 and A9.16; the rest of the table is the domain's.
        for (reason, forced) in [
            ("issue_assigned", false),
            ("execution_review_requested", false),
            ("execution_approval_requested", false),
            ("execution_changes_requested", false),
            ("manual", true),
        ] {
            let mut wake = World::request("");
            wake.context.insert("issueId".to_owned(), json!(issue.id));
            wake.context.insert("wakeReason".to_owned(), json!(reason));
            wake.context.insert("forceFreshSession".to_owned(), json!(forced));
            let run = World::ran(board.engine.wake(&agent.id, wake).await);
            let process = World::first(&run.id);
            world.model.until_alive(&process).await;
            assert_eq!(resumed(&world.model.argv(&process)), None, "{reason}");
            assert_eq!(heard.handed(&world, &process).await, None, "{reason}");
            turn(&world, &process, OLD, "done");
            world.over(&run.id).await;
            assert_eq!(left(&world, &run.id).await, Some((OLD.to_owned(), "reset".to_owned())), "{reason}");
        }
        let (run, argv) = work(&board, &agent, &issue, OLD).await;
        assert_eq!((resumed(&argv), left(&world, &run.id).await), (Some(OLD), None));
    }

    async fn a_session_that_served_its_runs_is_left_with_a_hand_over(world) {
        let board = Board::new(&world).await;
        let heard = Heard::listen(&world);
        let limits = json!({ "heartbeat": { "sessionCompaction": { "maxSessionRuns": 2 } } });
        let agent = codex(&board, limits).await;
        let issue = board.quiet("Mend the parser", IssueStatus::InProgress, Some(&agent)).await;
        for expected in [None, Some(OLD), Some(OLD)] {
            let (_, argv) = work(&board, &agent, &issue, OLD).await;
            assert_eq!(resumed(&argv), expected);
            world.clock.advance(Duration::from_secs(1));
        }
        let (run, process) = board.running(&agent, &issue).await;
        assert_eq!(resumed(&world.model.argv(&process)), None);
        assert!(heard.handed(&world, &process).await.expect("a hand-over").contains("maxSessionRuns"));
        turn(&world, &process, NEW, "done");
        let over = world.over(&run.id).await;
        assert_eq!((over.session_before.as_deref(), over.session_after.as_deref()), (None, Some(NEW)));
        let usage = over.usage.unwrap();
        assert_eq!((&usage["sessionRotated"], &usage["sessionReused"]), (&json!(true), &json!(false)));
        assert!(usage["sessionRotationReason"].as_str().unwrap().contains("maxSessionRuns"));
        let (_, argv) = work(&board, &agent, &issue, NEW).await;
        assert_eq!(resumed(&argv), Some(NEW));
    }

    async fn a_fresh_start_that_a_dying_server_left_undone_is_told_the_same(world) {
        let heard = Heard::listen(&world);
        let server = Server::start(&world, world.settings()).await;
        let company = server.agent(&world, 1).await.company_id;
        let agent = server.call(move |engine| async move {
            engine.create_agent(&company, draft(json!({})), &Actor::local_board()).await
        }).await.unwrap();
        let (run, process) = server.start_run(&world, &agent.id, "a").await;
        turn(&world, &process, OLD, "half of the parser is done");
        world.over(&run.id).await;
        let (run, process) = server.start_run(&world, &agent.id, "a").await;
        let before = world.model.attempts();
        world.model.hold_starts();
        world.model.exit(&process, 1);
        world.model.until("the start under way", |model| (model.attempts() > before).then_some(())).await;
        server.kill(&world).await;
        let next = Server::start(&world, world.settings()).await;
        let (second, third) =
            (ProcessId { run: run.id.clone(), epoch: 2 }, ProcessId { run: run.id.clone(), epoch: 3 });
        world.model.until("the start taken back", |model| model.is_revoked(&second).then_some(())).await;
        world.model.release_starts();
        world.model.until_alive(&third).await;
        assert_eq!(resumed(&world.model.argv(&third)), None);
        assert!(heard.handed(&world, &third).await.expect("a hand-over").contains(OLD));
        turn(&world, &third, NEW, "all of it");
        assert_eq!(world.over(&run.id).await.session_after.as_deref(), Some(NEW));
        next.leave(&world).await;
    }

    async fn a_transcript_says_the_same_though_the_run_began_afresh_and_its_agent_became_another(world) {
        let board = Board::new(&world).await;
        let agent = codex(&board, json!({})).await;
        let issue = board.quiet("Mend the parser", IssueStatus::InProgress, Some(&agent)).await;
        work(&board, &agent, &issue, OLD).await;
        let (run, process) = board.running(&agent, &issue).await;
        // Codex begins another thread when it does not take an id for one.
        let line = json!({ "type": "thread.started", "thread_id": NEW });
        world.model.print(&process, &format!("{line}\n"));
        let read = || async {
            let row = world.run(&run.id).await;
            let page = board.engine.transcript(&row, Mark::START, 100).await.unwrap();
            page.items.into_iter().map(|item| (item.attempt, item.what)).collect::<Vec<_>>()
        };
        let early = world.eventually("the other thread", || async {
            let items = read().await;
            (!items.is_empty()).then_some(items)
        }).await;
        assert!(matches!(&early[0].1, What::Result { error: Some(_), .. }), "{early:?}");
        world.model.exit(&process, 1);
        let again = ProcessId { run: run.id.clone(), epoch: 2 };
        world.model.until_alive(&again).await;
        turn(&world, &again, NEW, "done");
        world.over(&run.id).await;
        let whole = read().await;
        assert_eq!(whole[..early.len()], early, "the first process was asked for the other session");
        let patch = AgentPatch {
            adapter_type: Some("claude_local".to_owned()),
            adapter_config: Some(json!({ "command": "/bin/true", "cwd": "/tmp" })),
            ..AgentPatch::default()
        };
        board.engine.patch_agent(&agent.id, patch, &Actor::local_board()).await.unwrap();
        world.clock.advance(Duration::from_secs(60));
        assert_eq!(read().await, whole);
    }
}
