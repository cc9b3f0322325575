//! What people decide about automations, and what sweeps do to their gates, is in the audit chain (docs/audit.md).

use std::time::Duration;

use domain::automation::definition::Decision;
use domain::automation::operation::Operation;
use domain::automation::{AutomationRunStatus, AutomationStatus};
use domain::budget::ScopeKind;
use domain::gate::{Answer, GateKind};
use domain::issue::IssueStatus;
use domain::moment::Moment;
use engine::{ApprovalDraft, Asked, Author, GateAnswer, InteractionDraft};
use serde_json::{Value as Json, json};
use store::audit::{self, StoredAudit};
use testkit::{World, both_stores};

use crate::automations::{Line, asks_for_permission, gate, step};
use crate::board::{Board, in_run};
use crate::budgets::{cents, say};

fn asking(expiry: Json) -> Json {
    let mut asks = gate("ok", &[]);
    asks["gate"]["expiry"] = expiry;
    json!({ "name": "line", "nodes": [asks] })
}

/// The whole chain, which must be whole.
pub(crate) async fn records(world: &World) -> Vec<StoredAudit> {
    let report = world.read(|tx| Box::pin(async move { audit::verify(tx, None).await })).await;
    assert!(report.ok, "{report:?}");
    world.read(|tx| Box::pin(async move { audit::page(tx, 0, 1_000).await })).await
}

/// How often something was done by somebody.
pub(crate) fn count(records: &[StoredAudit], action: &str, by: &str) -> usize {
    let found: Vec<_> = records.iter().filter(|it| it.action == action).collect();
    assert!(found.iter().all(|it| it.actor.starts_with(by)), "{action}: {found:?}");
    found.len()
}

impl Line {
    async fn pass(&self, seconds: u64) {
        self.world.clock.advance(Duration::from_secs(seconds));
        self.engine.nudge();
    }
}

both_stores! {
    async fn what_people_and_sweeps_do_to_automations_is_in_the_chain(world) {
        let line = Line::new(world).await;
        let by = Line::board();
        let automation = line.apply(asking(json!({ "expiresAfterSec": 200_000, "remindEverySec": 50_000 }))).await;
        let run = line.launch(&automation).await;
        line.decide(&line.gate(&run, "ok").await, Decision::Approve).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.set_automation_status(&automation, AutomationStatus::Paused, None, &by).await.unwrap();
        line.engine.set_automation_status(&automation, AutomationStatus::Active, None, &by).await.unwrap();

        let run = line.launch(&automation).await;
        line.gate(&run, "ok").await;
        line.pass(60_000).await;
        line.until(&run, "a reminder", |view| view.gates[0].reminders > 0).await;
        line.pass(40_000).await;
        line.until(&run, "the mark of a day", |view| view.gates[0].stale_at.is_some()).await;
        line.pass(110_000).await;
        line.until_status(&run, AutomationRunStatus::Cancelled).await;
        let retry = Asked { node: Some("ok".to_owned()), ..Asked::new(Operation::Retry) };
        line.engine.operate(&run, retry, &by).await.unwrap();
        line.gate(&run, "ok").await;
        line.operate(&run, Operation::Cancel).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Cancelled).await;

        line.apply(asking(json!({ "expiresAfterSec": 3_600, "onExpiry": "escalate", "escalateTo": "boss" }))).await;
        let run = line.launch(&automation).await;
        line.gate(&run, "ok").await;
        line.pass(4_000).await;
        line.until(&run, "somebody else to be told", |view| view.gates[0].escalated_at.is_some()).await;
        line.operate(&run, Operation::Cancel).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Cancelled).await;
        line.engine.remove_automation(&automation, &by).await.unwrap();

        let records = records(&line.world).await;
        let of = |action: &str| records.iter().filter(|it| it.action == action).collect::<Vec<_>>();
        for (action, times) in [
            ("automation.created", 1),
            ("automation.changed", 1),
            ("automation.paused", 1),
            ("automation.resumed", 1),
            ("automation.removed", 1),
            ("automation.run_requested", 3),
            ("automation.gate_decided", 1),
            ("automation.run_retry", 1),
            ("automation.run_cancel", 2),
        ] {
            let found = of(action);
            assert_eq!(found.len(), times, "{action}");
            assert!(found.iter().all(|it| it.actor.starts_with("user:")), "{found:?}");
        }
        for action in ["reminder_due", "marked_stale", "expired", "escalated"] {
            let found = of(&format!("automation.internal_sweep.approval_gate_{action}"));
            assert!(!found.is_empty(), "{action}");
            assert!(found.iter().all(|it| it.actor == "system:automation_gate_expiry"), "{found:?}");
        }
        let decided: Json = serde_json::from_str(&of("automation.gate_decided")[0].details).unwrap();
        assert!(decided["hash"].as_str().is_some_and(|hash| hash.len() == 64), "it says what was decided about");
        line.engine.leave().await;
    }

    async fn what_people_say_to_agents_is_in_the_chain_with_what_it_was_about(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("work", IssueStatus::Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        world.model.say(&process, &asks_for_permission());
        let question = InteractionDraft {
            kind: "ask_user_questions".into(),
            idempotency_key: None,
            source_comment_id: None,
            source_run_id: None,
            title: None,
            summary: None,
            continuation_policy: None,
            payload: json!({ "questions": [{
                "id": "color", "prompt": "Which?", "selectionMode": "single", "required": true,
                "options": [{ "id": "red", "label": "Red" }, { "id": "blue", "label": "Blue" }],
            }] }),
        };
        board.engine.create_interaction(&issue.id, question, &in_run(&ada, &run.id)).await.unwrap();
        let spend = ApprovalDraft {
            kind: "request_board_approval".into(),
            payload: json!({ "title": "May I?" }),
            requested_by_agent_id: None,
            issue_ids: Vec::new(),
        };
        board.engine.create_approval(&board.company, spend, &Author::agent(&ada.id, None)).await.unwrap();
        let start = (Moment::from_micros(0), String::new());
        let waiting = world.eventually("all three to be asked", || async {
            let found = board.engine.pending_gates(&board.company, Vec::new(), start.clone(), 10).await.unwrap();
            (found.len() == 3).then_some(found)
        });
        let waiting = waiting.await;
        let blue = json!([{ "questionId": "color", "optionIds": ["blue"] }]);
        let answer_to = |kind: GateKind| match kind {
            GateKind::Permission => Answer::Approve,
            GateKind::Question => Answer::Respond,
            GateKind::Approval | GateKind::Node => Answer::Reject,
        };
        for gate in &waiting {
            let said = GateAnswer {
                answer: answer_to(gate.kind()),
                hash: gate.hash(),
                reason: Some(format!("to the {}", gate.kind())),
                targets: Vec::new(),
                answers: (gate.kind() == GateKind::Question).then(|| blue.clone()),
                selected: None,
            };
            board.engine.answer_gate(gate.id(), said, &Board::person()).await.unwrap();
        }
        let chain = records(&world).await;
        for gate in &waiting {
            let kind = gate.kind();
            let record = chain.iter().find(|it| it.subject == gate.id()).unwrap();
            assert!(record.actor.starts_with("user:"), "{record:?}");
            let told: Json = serde_json::from_str(&record.details).unwrap();
            assert_eq!(told["kind"], json!(kind), "{told}");
            assert_eq!(told["decision"], json!(answer_to(kind)), "{told}");
            assert_eq!(told["hash"], json!(gate.hash()), "{told}");
            assert_eq!(told["reason"], json!(format!("to the {kind}")), "{told}");
            assert_eq!(told["requestedByAgentId"], json!(ada.id), "{told}");
            let (of_run, more) = match kind {
                GateKind::Permission => (json!(run.id), (told["tool"].clone(), json!("Bash"))),
                GateKind::Question => (json!(run.id), (told["answers"].clone(), blue.clone())),
                GateKind::Approval | GateKind::Node => (Json::Null, (told["type"].clone(), json!("request_board_approval"))),
            };
            assert_eq!(told["runId"], of_run, "{told}");
            assert_eq!(more.0, more.1, "{told}");
        }
        board.engine.leave().await;
    }

    async fn what_budgets_limits_and_a_shutdown_do_to_runs_is_in_the_chain(world) {
        let line = Line::new(world).await;
        let by = Line::board();
        let steps = json!([step("a", &[])]);
        let set = async |amount| {
            let draft = cents(ScopeKind::Company, line.company.as_str(), amount);
            line.engine.set_budget(&line.company, draft, &by, true).await.unwrap();
        };
        set(5).await;
        let plain = line.apply(json!({ "name": "plain", "nodes": steps })).await;
        let first = line.launch(&plain).await;
        let process = line.process(&first, "a", 1).await;
        say(&line.world, &process, Some(50_000), 10);
        line.until_status(&first, AutomationRunStatus::Paused).await;
        let second = line.launch(&plain).await;
        line.until_status(&second, AutomationRunStatus::Paused).await;
        set(1_000).await;
        for run in [&first, &second] {
            let view = line.until(run, "woken again", |view| {
                view.attempts.iter().any(|it| it.agent_run_id.is_some() && it.ended_at.is_none())
            });
            let attempt = view.await.nodes[0].attempt;
            line.says(run, "a", attempt, "done").await;
            line.until_status(run, AutomationRunStatus::Completed).await;
        }
        let limited = line.apply(json!({ "name": "limited", "limits": { "maxTokens": 5 }, "nodes": steps })).await;
        let run = line.launch(&limited).await;
        let process = line.process(&run, "a", 1).await;
        say(&line.world, &process, None, 10);
        // With the message that reaches it, and not only when the run is looked at anyway.
        line.until_status(&run, AutomationRunStatus::Paused).await;
        let timed = json!({ "name": "timed", "schedules": [{ "name": "often", "every": "15m" }], "nodes": steps });
        line.apply(timed).await;
        let schedules = line.engine.schedules(&line.company, None, 10).await.unwrap();
        let schedule = schedules[0].schedule.id.clone();
        line.engine.pause_schedule(&schedule, &by).await.unwrap();
        line.engine.resume_schedule(&schedule, &by).await.unwrap();
        let policy = json!({ "onRestart": "fail" });
        let ending = line.apply(json!({ "name": "ending", "policy": policy, "nodes": steps })).await;
        let run = line.launch(&ending).await;
        line.process(&run, "a", 1).await;
        line.engine.leave().await;
        let records = records(&line.world).await;
        for (action, times) in [
            ("spend_paused_run", 1),
            ("launch_held", 1),
            ("auto_resumed_guardrail_stopped_run", 2),
            ("run_limit_reached", 1),
            ("shutdown_failed_run", 1),
        ] {
            let action = format!("automation.internal_sweep.{action}");
            assert_eq!(count(&records, &action, "system:automation"), times, "{action}");
        }
        for action in ["automation.schedule_paused", "automation.schedule_resumed"] {
            assert_eq!(count(&records, action, "user:"), 1, "{action}");
        }
    }
}
