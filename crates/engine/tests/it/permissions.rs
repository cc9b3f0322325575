//! An agent waits for a permission: people are asked once, the answer goes to its process, and what nobody waits for is
//! taken back.

use domain::run::RunStatus;
use domain::telling::{AgentEvent, Permission};
use domain::wake::Actor;
use engine::{ApprovalVerdict, Author, Engine, EngineError, ProcessId};
use serde_json::json;
use store::approvals::Approval;
use store::runs::Run;
use testkit::{Server, World, both_stores};

use crate::board::Board;

fn asks(number: u32) -> AgentEvent {
    let permission = Permission {
        ask: number.to_string(),
        hash: format!("hash-{number}"),
        tool: "Bash".to_owned(),
        title: format!("rm {number}"),
        input: json!({ "command": format!("rm {number}") }),
        options: Vec::new(),
    };
    AgentEvent::PermissionAsked { permission }
}

fn closes(number: u32, outcome: &str) -> AgentEvent {
    AgentEvent::PermissionClosed { ask: number.to_string(), outcome: outcome.to_owned() }
}

async fn approvals(world: &World, run: &Run, status: &'static str) -> Vec<Approval> {
    let company = run.company_id.clone();
    let read = world.read(move |tx| {
        let company = company.clone();
        Box::pin(async move { store::approvals::list(tx, &company, Some(status), None, 100).await })
    });
    let found = read.await;
    found.into_iter().filter(|it| it.payload["permission"]["runId"] == run.id.as_str()).collect()
}

/// The one approval of a run that is in this state, as soon as there is one.
async fn one(world: &World, run: &Run, status: &'static str) -> Approval {
    world
        .eventually("an approval in this state", || async {
            let mut found = approvals(world, run, status).await;
            assert!(found.len() < 2, "{found:#?}");
            found.pop()
        })
        .await
}

async fn decide(engine: &Engine, id: &str, verdict: ApprovalVerdict) -> Result<Approval, EngineError> {
    engine.decide_approval(id, verdict, None, &Author::local_board()).await
}

fn lines(world: &World, process: &ProcessId) -> Vec<String> {
    world.model.heard(process).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

both_stores! {
    async fn a_person_decides_once_and_the_process_hears_it(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        world.model.say(&process, &asks(1));
        let asked = one(&world, &run, "pending").await;
        assert_eq!(asked.payload["title"], "permission for Bash: rm 1");
        assert_eq!(asked.requested_by_agent_id, Some(ada.id.clone()));

        // Neither its agent nor another way of deciding: only yes or no, and only by a person.
        let agent = Author::agent(&ada.id, Some(&run.id));
        assert!(board.engine.decide_approval(&asked.id, ApprovalVerdict::Approve, None, &agent).await.is_err());
        assert!(decide(&board.engine, &asked.id, ApprovalVerdict::RequestRevision).await.is_err());
        decide(&board.engine, &asked.id, ApprovalVerdict::Approve).await.unwrap();
        world.model.until("the answer", |model| model.heard(&process).ends_with('\n').then_some(())).await;
        world.model.say(&process, &closes(1, "allowed"));
        assert!(decide(&board.engine, &asked.id, ApprovalVerdict::Reject).await.is_err(), "decided is decided");

        world.model.say(&process, &asks(2));
        let second = one(&world, &run, "pending").await;
        assert_ne!(second.id, asked.id);
        decide(&board.engine, &second.id, ApprovalVerdict::Reject).await.unwrap();
        world.model.until("the second answer", |model| model.heard(&process).contains("hash-2").then_some(())).await;
        let expected = [
            r#"{"ask":"1","hash":"hash-1","allow":true}"#,
            r#"{"ask":"2","hash":"hash-2","allow":false}"#,
        ];
        assert_eq!(lines(&world, &process), expected);
        world.model.say(&process, &closes(2, "denied"));
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
        assert_eq!(world.runs_of(&ada.id).await.len(), 1, "who was answered in the middle of a run is not woken for it");
    }

    async fn a_server_that_is_killed_changes_nothing_of_it(world) {
        let server = Server::start(&world, world.settings()).await;
        let agent = server.agent(&world, 1).await;
        let (run, process) = server.start_run(&world, &agent.id, "a").await;
        world.model.say(&process, &asks(1));
        let asked = one(&world, &run, "pending").await;
        server.kill(&world).await;
        // It asks once more while nobody is there.
        world.model.say(&process, &asks(2));
        let next = Server::start(&world, world.settings()).await;
        let both = world.eventually("both to be asked for", || async {
            let found = approvals(&world, &run, "pending").await;
            (found.len() == 2).then_some(found)
        }).await;
        assert!(both.iter().any(|it| it.id == asked.id), "the first is not asked for again");
        for approval in &both {
            let id = approval.id.clone();
            let decided = next.call(|engine| async move { decide(&engine, &id, ApprovalVerdict::Approve).await });
            decided.await.unwrap();
        }
        world.model.until("the answers", |model| {
            let heard = model.heard(&process);
            (heard.contains("hash-1") && heard.contains("hash-2")).then_some(())
        }).await;
        next.kill(&world).await;
        // The process took one and not the other, as far as its log tells: the next server says the other again.
        world.model.say(&process, &closes(1, "allowed"));
        let last = Server::start(&world, world.settings()).await;
        world.model.until("the answer again", |model| (model.heard(&process).matches("hash-2").count() == 2).then_some(())).await;
        assert_eq!(world.model.heard(&process).matches("hash-1").count(), 1);
        world.model.say(&process, &closes(2, "allowed"));
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
        last.leave(&world).await;
    }

    async fn what_nobody_waits_for_any_more_is_taken_back(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        world.model.say(&process, &asks(1));
        let first = one(&world, &run, "pending").await;
        world.model.say(&process, &closes(1, "expired"));
        let back = one(&world, &run, "cancelled").await;
        assert_eq!(back.id, first.id);
        assert!(back.decision_note.is_some_and(|note| note.contains("expired")));

        world.model.say(&process, &asks(2));
        one(&world, &run, "pending").await;
        board.engine.cancel_run(&run.id, None, &Actor::local_board()).await.unwrap();
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        assert_eq!(approvals(&world, &run, "cancelled").await.len(), 2);
        assert_eq!(approvals(&world, &run, "pending").await.len(), 0);
    }

    async fn an_issue_knows_what_its_run_waits_for(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.issue("clean up", domain::issue::IssueStatus::Todo, Some(&ada)).await;
        let run = world.eventually("its run", || async {
            world.runs_of(&ada.id).await.into_iter().find(|run| run.issue_id.as_deref() == Some(issue.id.as_str()))
        }).await;
        let process = World::first(&run.id);
        world.model.until_alive(&process).await;
        world.model.say(&process, &asks(1));
        let asked = one(&world, &run, "pending").await;
        let linked = board.engine.approvals_of_issue(&issue.id).await.unwrap();
        assert_eq!(linked.iter().map(|it| &it.id).collect::<Vec<_>>(), [&asked.id]);
    }
}
