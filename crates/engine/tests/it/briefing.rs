//! What a program is told when it starts, and what is kept of the session it worked in: with Codex, which is told on its
//! stdin and counts over the whole thread.

use std::sync::{Arc, Mutex};

use domain::issue::IssueStatus;
use domain::run::RunStatus;
use engine::issues::IssueDraft;
use engine::{AgentDraft, ProcessId};
use serde_json::json;
use store::agents::Agent;
use testkit::{World, both_stores};

use crate::board::Board;

/// What was written to the stdin of each process, in the order of the starts.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn listen(world: &World) -> Heard {
        let heard = Heard::default();
        let ears = heard.clone();
        world.model.on_start(move |_, _, command| {
            ears.0.lock().unwrap().push(String::from_utf8_lossy(&command.stdin).into_owned());
        });
        heard
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// An agent that is Codex by its configuration; `true` stands for the program, which the model never starts.
async fn codex(board: &Board) -> Agent {
    let draft = AgentDraft {
        name: "Cody".to_owned(),
        adapter_type: "codex_local".to_owned(),
        adapter_config: json!({ "command": "/bin/true" }),
        ..World::plain(1)
    };
    let actor = domain::wake::Actor::local_board();
    board.engine.create_agent(&board.company, draft, &actor).await.unwrap()
}

/// One turn of Codex in a thread that used so much altogether.
fn turn(world: &World, process: &ProcessId, thread: &str, tokens: u64) {
    world.model.print(process, &format!("{{\"type\":\"thread.started\",\"thread_id\":\"{thread}\"}}\n"));
    let said = r#"{"type":"item.completed","item":{"id":"i","type":"agent_message","text":"done"}}"#;
    world.model.print(process, &format!("{said}\n"));
    let usage = json!({ "input_tokens": tokens, "cached_input_tokens": 0, "output_tokens": tokens / 100 });
    world.model.print(process, &format!("{}\n", json!({ "type": "turn.completed", "usage": usage })));
    world.model.exit(process, 0);
}

both_stores! {
    async fn an_agent_is_told_of_its_issue_and_of_what_was_said_since(world) {
        let board = Board::new(&world).await;
        let heard = Heard::listen(&world);
        let agent = codex(&board).await;
        let draft = IssueDraft {
            description: Some("The parser drops the last line.".to_owned()),
            ..board.draft("Mend the parser", Some(&agent))
        };
        let issue = board.issue_like(draft).await;
        let first = board.world.eventually("a run of the issue", || async {
            board.world.runs_of(&agent.id).await.into_iter().next()
        }).await;
        let process = World::first(&first.id);
        world.model.until_alive(&process).await;
        let heard = &heard;
        let told = world.eventually("what the program is told", || async { heard.all().pop() }).await;
        for words in ["Mend the parser", "The parser drops the last line.", issue.identifier.as_str()] {
            assert!(told.contains(words), "{words} is not in: {told}");
        }
        board.say(&issue.id, "It is the *first* line, sorry.", &Board::person()).await.unwrap();
        turn(&world, &process, "01a1faf0-10ff-7372-8508-ed199ead7e6b", 1_000);
        world.over(&first.id).await;
        board.world.eventually("a run that is told of the comment", || async {
            for process in world.model.alive() {
                turn(&world, &process, "01a1faf0-10ff-7372-8508-ed199ead7e6b", 2_000);
            }
            heard.all().iter().any(|told| told.contains("It is the *first* line, sorry.")).then_some(())
        }).await;
    }

    async fn what_a_session_used_before_is_not_counted_again(world) {
        let board = Board::new(&world).await;
        let agent = codex(&board).await;
        let issue = board.quiet("Mend the parser", IssueStatus::InProgress, Some(&agent)).await;
        let thread = "01a1faf0-10ff-7372-8508-ed199ead7e6b";
        let mut used = Vec::new();
        for altogether in [1_000, 2_500, 2_600] {
            let (run, process) = board.running(&agent, &issue).await;
            turn(&world, &process, thread, altogether);
            let over = world.over(&run.id).await;
            assert_eq!(over.status, RunStatus::Succeeded, "{over:#?}");
            used.push(over.usage.expect("usage")["inputTokens"].as_u64().expect("a count"));
        }
        assert_eq!(used, [1_000, 1_500, 100]);
    }

    async fn a_session_that_is_gone_costs_one_more_process_in_the_same_run(world) {
        let board = Board::new(&world).await;
        let agent = codex(&board).await;
        let issue = board.quiet("Mend the parser", IssueStatus::InProgress, Some(&agent)).await;
        let (run, process) = board.running(&agent, &issue).await;
        turn(&world, &process, "01a1faf0-10ff-7372-8508-ed199ead7e6b", 1_000);
        world.over(&run.id).await;

        let (run, process) = board.running(&agent, &issue).await;
        assert!(world.model.argv(&process).contains(&"resume".to_owned()), "{:?}", world.model.argv(&process));
        world.model.err(&process, "Error: thread/resume: no rollout found for thread id 01a1faf0\n");
        world.model.exit(&process, 1);
        let again = ProcessId { run: run.id.clone(), epoch: 2 };
        world.model.until_alive(&again).await;
        assert!(!world.model.argv(&again).contains(&"resume".to_owned()), "{:?}", world.model.argv(&again));
        // Another thread begins to count at nothing.
        turn(&world, &again, "02a1faf0-10ff-7372-8508-ed199ead7e6b", 700);
        let over = world.over(&run.id).await;
        assert_eq!((over.status, over.fresh_start_used), (RunStatus::Succeeded, true), "{over:#?}");
        assert_eq!(over.usage.expect("usage")["inputTokens"], 700);
        assert_eq!(over.session_after.as_deref(), Some("02a1faf0-10ff-7372-8508-ed199ead7e6b"));
    }
}
