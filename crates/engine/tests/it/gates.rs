//! What waits for a person is one list, whoever asks, and each is decided once, about exactly what was shown.

use domain::automation::AutomationRunStatus;
use domain::automation::definition::Decision;
use domain::automation::gate::GateStatus;
use domain::automation::operation::Operation;
use domain::budget::ScopeKind;
use domain::gate::{Answer, GateKind};
use domain::issue::IssueStatus;
use domain::moment::Moment;
use engine::{AnyGate, ApprovalDraft, Author, EngineError, GateAnswer, GateDecision, InteractionDraft};
use serde_json::{Value as Json, json};
use store::agents::Agent;
use testkit::{World, both_stores};

use crate::automation_audit::{count, records};
use crate::automations::{Line, asks_for_permission, code, gate, step};
use crate::board::Board;
use crate::budgets::{cents, say};

fn said(answer: Answer, of: &AnyGate) -> GateAnswer {
    GateAnswer { answer, hash: of.hash(), reason: None, targets: Vec::new(), answers: None, selected: None }
}

/// The only gate of a kind that waits, as soon as it does.
async fn waiting(line: &Line, kind: GateKind) -> AnyGate {
    let found = line.world.eventually("somebody to be asked", || async {
        let start = (Moment::from_micros(0), String::new());
        let found = line.engine.pending_gates(&line.company, vec![kind], start, 10).await.unwrap();
        assert!(found.len() < 2, "{found:?}");
        found.into_iter().next()
    });
    found.await
}

/// A company in which everything that can wait for a person does, oldest first: a gate of an automation, a hire, a
/// question on an issue, and a permission.
struct Desk {
    line: Line,
    board: Board,
    ada: Agent,
}

impl Desk {
    async fn new(world: World) -> Desk {
        let line = Line::new(world).await;
        let board =
            Board { world: line.world.clone(), engine: line.engine.clone(), company: line.company.clone() };
        let ada = board.agent("Eve").await;
        let desk = Desk { line, board, ada };
        let run = desk.line.started(json!([gate("ok", &[])])).await;
        desk.line.gate(&run, "ok").await;
        desk.ask("Spend?").await;
        desk.question().await;
        desk.permission().await;
        desk
    }

    async fn ask(&self, title: &str) -> String {
        self.line.world.clock.advance(std::time::Duration::from_secs(1));
        let draft = ApprovalDraft {
            kind: "request_board_approval".into(),
            payload: json!({ "title": title }),
            requested_by_agent_id: None,
            issue_ids: Vec::new(),
        };
        let by = Author::agent(&self.ada.id, None);
        self.line.engine.create_approval(&self.line.company, draft, &by).await.unwrap().id
    }

    async fn question(&self) {
        self.line.world.clock.advance(std::time::Duration::from_secs(1));
        let issue = self.board.quiet("work", IssueStatus::Todo, Some(&self.ada)).await;
        let payload = json!({ "version": 1, "questions": [{
            "id": "color", "prompt": "Which?", "selectionMode": "single", "required": true,
            "options": [{ "id": "red", "label": "Red" }, { "id": "blue", "label": "Blue" }],
        }] });
        let draft = InteractionDraft {
            kind: "ask_user_questions".into(),
            idempotency_key: None,
            source_comment_id: None,
            source_run_id: None,
            title: Some("A color".into()),
            summary: None,
            continuation_policy: None,
            payload,
        };
        self.line.engine.create_interaction(&issue.id, draft, &Board::person()).await.unwrap();
    }

    async fn permission(&self) {
        self.line.world.clock.advance(std::time::Duration::from_secs(1));
        let (_, process) = self.line.world.start(&self.line.engine, &self.ada.id, "").await;
        self.line.world.model.say(&process, &asks_for_permission());
        self.line
            .world
            .eventually("the permission to be asked for", || async {
                let asked = self.pending(vec![GateKind::Permission], 10).await;
                (asked.len() == 1).then_some(())
            })
            .await;
    }

    /// All that waits, in pages of so many.
    async fn pending(&self, kinds: Vec<GateKind>, page: i64) -> Vec<AnyGate> {
        let (mut all, mut after) = (Vec::new(), (Moment::from_micros(0), String::new()));
        loop {
            let engine = &self.line.engine;
            let found = engine.pending_gates(&self.line.company, kinds.clone(), after, page).await.unwrap();
            let Some(last) = found.last() else { return all };
            after = (last.asked_at(), last.id().to_owned());
            all.extend(found);
        }
    }

    async fn one(&self, kind: GateKind) -> AnyGate {
        let mut found = self.pending(vec![kind], 10).await;
        assert_eq!(found.len(), 1, "{kind}");
        found.remove(0)
    }

    async fn answer(&self, gate: &AnyGate, said: GateAnswer) -> Result<AnyGate, EngineError> {
        self.line.engine.answer_gate(gate.id(), said, &Board::person()).await
    }
}

both_stores! {
    async fn everything_that_waits_is_listed_once_oldest_first_however_small_the_pages_are(world) {
        let desk = Desk::new(world).await;
        let expected = [GateKind::Node, GateKind::Approval, GateKind::Question, GateKind::Permission];
        for page in [1, 2, 3, 100] {
            let kinds: Vec<GateKind> = desk.pending(Vec::new(), page).await.iter().map(AnyGate::kind).collect();
            assert_eq!(kinds, expected, "in pages of {page}");
        }
        // Of many approvals that wait a filter finds the one that is a permission, behind all of them.
        for number in 0..20 {
            desk.ask(&format!("Number {number}")).await;
        }
        assert_eq!(desk.pending(vec![GateKind::Approval], 7).await.len(), 21);
        assert_eq!(desk.pending(vec![GateKind::Permission, GateKind::Question], 1).await.len(), 2);
        assert_eq!(desk.pending(Vec::new(), 5).await.len(), 24);
        let neighbour = desk.board.neighbour().await;
        let theirs = neighbour.engine.pending_gates(&neighbour.company, Vec::new(), (Moment::from_micros(0), String::new()), 10);
        assert_eq!(theirs.await.unwrap(), []);
        let inbox = desk.line.engine.inbox(&desk.line.company, None, 100).await.unwrap();
        assert_eq!((inbox.gates.len(), inbox.open_gates), (1, 1));
        desk.line.engine.leave().await;
    }

    async fn each_is_decided_once_for_what_was_shown_and_by_a_person(world) {
        let desk = Desk::new(world).await;
        let cases: [(GateKind, Answer, Answer, Option<Json>); 4] = [
            (GateKind::Node, Answer::Approve, Answer::Reject, None),
            (GateKind::Permission, Answer::Reject, Answer::Rework, None),
            (GateKind::Question, Answer::Respond, Answer::Cancel,
             Some(json!([{ "questionId": "color", "optionIds": ["blue"] }]))),
            (GateKind::Approval, Answer::Approve, Answer::Respond, None),
        ];
        for (kind, right, wrong, answers) in cases {
            let gate = desk.one(kind).await;
            let say = |answer| GateAnswer { answers: answers.clone(), ..said(answer, &gate) };
            let agent = Author::agent(&desk.ada.id, None);
            let asked = desk.line.engine.answer_gate(gate.id(), say(right), &agent).await;
            assert!(asked.is_err(), "{kind}: an agent decides nothing");
            let other = GateAnswer { hash: "0".repeat(64), ..say(right) };
            assert_eq!(code(&desk.answer(&gate, other).await.unwrap_err()), "stale", "{kind}");
            let refused = desk.answer(&gate, say(wrong)).await.unwrap_err();
            assert_eq!(code(&refused), "gate_invalid_decision", "{kind}");
            let decided = desk.answer(&gate, say(right)).await.unwrap_or_else(|error| panic!("{kind}: {error:?}"));
            assert_eq!((decided.decision(), decided.status().as_str()), (Some(right), "decided"), "{kind}");
            let again = desk.answer(&gate, say(right)).await.unwrap_err();
            assert_eq!(code(&again), "gate_already_decided", "{kind}");
            assert_eq!(desk.pending(vec![kind], 10).await.len(), 0, "{kind}");
        }
        let runs = desk.line.engine.automation_runs(&desk.line.company, None, None, 10).await.unwrap();
        desk.line.until_status(&runs[0].id, AutomationRunStatus::Completed).await;
        desk.line.engine.leave().await;
    }

    async fn a_request_that_was_changed_since_is_not_decided(world) {
        let desk = Desk::new(world).await;
        let seen = desk.one(GateKind::Approval).await;
        desk.answer(&seen, said(Answer::Rework, &seen)).await.unwrap();
        assert_eq!(desk.pending(vec![GateKind::Approval], 10).await.len(), 0, "it waits for who asked");
        let by = Author::agent(&desk.ada.id, None);
        let payload = Some(json!({ "title": "Spend more?" }));
        desk.line.engine.resubmit_approval(seen.id(), payload, &by).await.unwrap();
        let refused = desk.answer(&seen, said(Answer::Approve, &seen)).await.unwrap_err();
        assert_eq!(code(&refused), "stale");
        let anew = desk.one(GateKind::Approval).await;
        assert_eq!(anew.id(), seen.id());
        desk.answer(&anew, said(Answer::Approve, &anew)).await.unwrap();
        desk.line.engine.leave().await;
    }

    async fn what_a_budget_stopped_is_not_approved_and_a_no_keeps_it_paused(world) {
        let line = Line::new(world).await;
        let company = line.company.clone();
        let budget = cents(ScopeKind::Company, company.as_str(), 5);
        line.engine.set_budget(&company, budget, &Line::board(), true).await.unwrap();
        let run = line.started(json!([step("a", &[])])).await;
        let process = line.process(&run, "a", 1).await;
        say(&line.world, &process, Some(50_000), 10);
        line.until_status(&run, AutomationRunStatus::Paused).await;
        let gate = waiting(&line, GateKind::Approval).await;
        assert_eq!(gate.answers(), [Answer::Reject]);
        let open = async || line.engine.budgets(&company).await.unwrap().incidents.len();
        let answer = async |answer: Answer, by: &Author| line.engine.answer_gate(gate.id(), said(answer, &gate), by).await;
        for wrong in [Answer::Approve, Answer::Rework] {
            let refused = answer(wrong, &Line::board()).await.unwrap_err();
            assert_eq!(code(&refused), "gate_invalid_decision", "{wrong}");
            assert!(refused.to_string().contains("raise it on its incident"), "{refused}");
        }
        let agent = Author::agent(&line.view(&run).await.attempts[0].agent_id, None);
        let asked = answer(Answer::Reject, &agent).await;
        assert!(asked.is_err(), "an agent decides nothing");
        assert_eq!(open().await, 1, "nothing was settled");
        let decided = answer(Answer::Reject, &Line::board()).await.unwrap();
        assert_eq!((decided.decision(), open().await), (Some(Answer::Reject), 0));
        let again = answer(Answer::Reject, &Line::board()).await.unwrap_err();
        assert_eq!(code(&again), "gate_already_decided");
        assert_eq!(line.view(&run).await.run.status, AutomationRunStatus::Paused);

        // What an agent asks for is another thing: it comes with no stop.
        let draft = ApprovalDraft {
            kind: "budget_override_required".into(),
            payload: json!({ "title": "More?" }),
            requested_by_agent_id: None,
            issue_ids: Vec::new(),
        };
        line.engine.create_approval(&company, draft, &agent).await.unwrap();
        let gate = waiting(&line, GateKind::Approval).await;
        assert_eq!(gate.answers(), [Answer::Approve, Answer::Reject, Answer::Rework]);
        line.engine.leave().await;
    }

    async fn an_agent_that_asks_gets_no_answer_that_nobody_said(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("a", &[]), gate("ok", &["a"])])).await;
        line.says(&run, "a", 1, "{\"status\": \"ask\", \"question\": \"Which one?\"}").await;
        let asked = line.gate(&run, "a").await;
        assert!(line.engine.gate(&asked.id).await.unwrap().wants_answer);
        let decide = async |words: Option<&str>| {
            let ask = GateDecision {
                decision: Decision::Approve,
                hash: asked.hash.clone(),
                reason: words.map(str::to_owned),
                targets: Vec::new(),
            };
            line.engine.decide_gate(&asked.id, ask, &Line::board()).await
        };
        for silent in [None, Some(""), Some(" \n")] {
            let refused = decide(silent).await.unwrap_err();
            assert_eq!(code(&refused), "gate_answer_missing", "{silent:?}");
            assert!(refused.to_string().contains("reason"), "it names the field: {refused}");
        }
        decide(Some("the blue one")).await.unwrap();
        let process = line.process(&run, "a", 2).await;
        let told = line.world.run(&process.run).await.context["bugleAutomation"]["feedback"].clone();
        assert!(told.as_str().unwrap().contains("the blue one"), "{told}");
        line.says(&run, "a", 2, "done").await;
        // A gate is approved without a word.
        let ok = line.gate(&run, "ok").await;
        assert!(!line.engine.gate(&ok.id).await.unwrap().wants_answer);
        line.decide(&ok, Decision::Approve).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn a_step_whose_agent_asks_for_a_permission_names_what_it_waits_for(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("a", &[]), step("b", &[])])).await;
        line.process(&run, "b", 1).await;
        let process = line.process(&run, "a", 1).await;
        assert_eq!(line.view(&run).await.waits, []);
        line.world.model.say(&process, &asks_for_permission());
        let asked = waiting(&line, GateKind::Permission).await;
        let AnyGate::Permission(_, Some(step)) = &asked else { panic!("{asked:?}") };
        assert_eq!((&step.run_id, step.node_id.as_str()), (&run, "a"));
        assert_eq!((step.automation.as_str(), step.run_number), ("line", 1));
        let view = line.view(&run).await;
        let [wait] = view.waits.as_slice() else { panic!("{:?}", view.waits) };
        assert_eq!((wait.node_id.as_str(), wait.gate.as_str()), ("a", asked.id()));
        line.engine.answer_gate(asked.id(), said(Answer::Approve, &asked), &Line::board()).await.unwrap();
        assert_eq!(line.view(&run).await.waits, []);
        line.engine.leave().await;
    }

    async fn a_gate_of_a_run_that_cannot_be_read_blocks_it_and_says_so(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([gate("ok", &[])])).await;
        let asked = line.gate(&run, "ok").await;
        line.until_status(&run, AutomationRunStatus::AwaitingApproval).await;
        line.meddle(&run, |row| row.own_definition = Some(json!({ "nodes": 7 }))).await;
        let seen = line.view(&run).await;
        assert!(seen.definition.is_none() && seen.run.detail.unwrap().contains("cannot be read"));
        assert_eq!((seen.allowed, seen.nodes.len(), seen.gates.len()), (vec![Operation::Cancel], 1, 1));
        let by = Author::agent(&"somebody".into(), None);
        let refused = line.decide_by(&asked, Decision::Approve, &by).await.unwrap_err();
        assert_eq!(code(&refused), "gate_requires_human");
        assert_eq!(line.row(&run).await.status, AutomationRunStatus::AwaitingApproval, "an agent ends nothing");
        let refused = line.decide(&asked, Decision::Approve).await.unwrap_err();
        assert_eq!(code(&refused), "gate_withdrawn");
        assert!(refused.to_string().contains("cannot be read"), "{refused}");
        let seen = line.view(&run).await;
        assert_eq!((seen.run.status, seen.allowed), (AutomationRunStatus::Blocked, Vec::new()));
        assert_eq!(seen.gates[0].status, GateStatus::Withdrawn);
        line.engine.leave().await;
    }

    async fn who_cancels_a_run_that_cannot_be_read_is_on_record_once(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("a", &[])])).await;
        line.process(&run, "a", 1).await;
        // A look that finds it unreadable before anybody cancels it blocks it by itself.
        line.looked_at(&run).await;
        line.meddle(&run, |row| row.own_definition = Some(json!({ "nodes": 7 }))).await;
        for _ in 0..2 {
            line.operate(&run, Operation::Cancel).await.unwrap();
        }
        line.world
            .eventually("a blocked run", || async {
                (line.row(&run).await.status == AutomationRunStatus::Blocked).then_some(())
            })
            .await;
        let ended = line.operate(&run, Operation::Cancel).await.unwrap();
        assert_eq!(ended.status, AutomationRunStatus::Blocked);
        assert_eq!(count(&records(&line.world).await, "automation.run_cancel", "user:"), 1);
        line.engine.leave().await;
    }
}
