//! Automation runs from their start to their end: steps, contracts, gates, and what people do to them.

use domain::automation::definition::Decision;
use domain::automation::operation::Operation;
use domain::automation::{AutomationRunStatus, AutomationStatus, NodeState, StopKind};
use domain::budget::ScopeKind;
use domain::ids::{AutomationId, AutomationRunId, CompanyId, GateId, RunId};
use domain::run::RunStatus;
use domain::telling::{AgentEvent, Permission};
use domain::wake::Actor;
use engine::{
    AgentDraft, Asked, Author, AutomationRunView, Clock as _, Engine, EngineError, GateDecision, LaunchDraft,
    ProcessId, Settings,
};
use serde_json::{Map, Value as Json, json};
use store::automations::gates::GateRow;
use store::automations::runs::{self, AutomationRun};
use store::budgets::stopped;
use testkit::{World, both_stores};

use crate::budgets::{cents, say};

/// A company with an agent and an automation.
pub(crate) struct Line {
    pub(crate) world: World,
    pub(crate) engine: Engine,
    pub(crate) company: CompanyId,
}

impl Line {
    pub(crate) async fn new(world: World) -> Line {
        let settings = world.settings();
        Line::with(world, settings).await
    }

    pub(crate) async fn with(world: World, settings: Settings) -> Line {
        let engine = world.engine_with(settings).await;
        let company = world.company(&engine).await;
        for name in ["Ada", "Bob"] {
            let draft = AgentDraft { name: name.to_owned(), ..World::scripted(8) };
            engine.create_agent(&company, draft, &Actor::local_board()).await.unwrap();
        }
        Line { world, engine, company }
    }

    pub(crate) fn board() -> Author {
        Author::local_board()
    }

    pub(crate) async fn apply(&self, definition: Json) -> AutomationId {
        let applied = self.engine.apply_automation(&self.company, &definition, false, &Line::board()).await;
        applied.unwrap().view.automation.id
    }

    pub(crate) async fn launch(&self, automation: &AutomationId) -> AutomationRunId {
        self.launch_with(automation, json!({})).await.unwrap().id
    }

    pub(crate) async fn launch_with(
        &self,
        automation: &AutomationId,
        inputs: Json,
    ) -> Result<AutomationRun, EngineError> {
        let draft = LaunchDraft { inputs: inputs.as_object().unwrap().clone(), ..LaunchDraft::default() };
        self.engine.run_automation(&self.company, automation, draft, &Line::board()).await
    }

    /// A run of one step after another, started.
    pub(crate) async fn started(&self, nodes: Json) -> AutomationRunId {
        let automation = self.apply(json!({ "name": "line", "nodes": nodes })).await;
        self.launch(&automation).await
    }

    pub(crate) async fn view(&self, run: &AutomationRunId) -> AutomationRunView {
        self.engine.automation_run(run).await.unwrap()
    }

    /// A run as stored, whether its definition can be read or not.
    pub(crate) async fn row(&self, run: &AutomationRunId) -> AutomationRun {
        let run = run.clone();
        let read = self.world.read(move |tx| {
            let run = run.clone();
            Box::pin(async move { runs::get(tx, &run).await })
        });
        read.await.unwrap()
    }

    /// Writes something into a run behind the engine's back.
    pub(crate) async fn meddle(
        &self,
        run: &AutomationRunId,
        with: impl Fn(&mut AutomationRun) + Send + Sync + Clone + 'static,
    ) {
        let run = run.clone();
        let written = self.world.store.write(move |tx| {
            let (run, with) = (run.clone(), with.clone());
            Box::pin(async move {
                let mut row = runs::lock(tx, &run).await?.expect("it is there");
                with(&mut row);
                runs::update(tx, &row).await
            })
        });
        written.await.unwrap();
    }

    pub(crate) async fn until(
        &self,
        run: &AutomationRunId,
        what: &str,
        so: impl Fn(&AutomationRunView) -> bool,
    ) -> AutomationRunView {
        let last = std::cell::RefCell::new(None);
        let waited = tokio::time::timeout(testkit::patience(), async {
            loop {
                let view = self.view(run).await;
                if so(&view) {
                    return view;
                }
                last.replace(Some(view));
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        })
        .await;
        waited.unwrap_or_else(|_| panic!("the run never was {what}: {:#?}", last.borrow()))
    }

    pub(crate) async fn until_status(
        &self,
        run: &AutomationRunId,
        status: AutomationRunStatus,
    ) -> AutomationRunView {
        self.until(run, status.as_str(), |view| view.run.status == status).await
    }

    /// Until nothing of a run is due: the next look comes when time goes by, or when somebody changes something.
    pub(crate) async fn looked_at(&self, run: &AutomationRunId) {
        self.world
            .eventually("the next look", || async {
                let now = self.world.clock.now();
                self.row(run).await.look_at.filter(|at| *at > now)
            })
            .await;
    }

    /// The process that works on a node now.
    pub(crate) async fn process(&self, run: &AutomationRunId, node: &str, attempt: i64) -> ProcessId {
        let of = |view: &AutomationRunView| {
            let mut attempts = view.attempts.iter();
            attempts.find(|it| it.node_id == node && it.attempt == attempt)?.agent_run_id.clone()
        };
        let view =
            self.until(run, &format!("at attempt {attempt} of {node}"), |view| of(view).is_some()).await;
        let process = World::first(&of(&view).unwrap());
        self.world.model.until_alive(&process).await;
        process
    }

    /// The work of a node ends with these words.
    pub(crate) async fn says(&self, run: &AutomationRunId, node: &str, attempt: i64, words: &str) -> RunId {
        let process = self.process(run, node, attempt).await;
        self.world.model.say(&process, &result(words));
        self.world.model.exit(&process, 0);
        process.run
    }

    pub(crate) async fn gate(&self, run: &AutomationRunId, node: &str) -> GateRow {
        let what = format!("the gate {node}");
        let found = self.world.eventually(&what, || async {
            let view = self.view(run).await;
            view.gates.into_iter().find(|gate| {
                gate.node_id == node
                    && gate.decision.is_none()
                    && gate.decided_at.is_none()
                    && gate.status.as_str() == "pending"
            })
        });
        found.await
    }

    pub(crate) async fn decide(&self, gate: &GateRow, decision: Decision) -> Result<(), EngineError> {
        self.decide_by(gate, decision, &Line::board()).await
    }

    pub(crate) async fn decide_by(
        &self,
        gate: &GateRow,
        decision: Decision,
        by: &Author,
    ) -> Result<(), EngineError> {
        let ask = GateDecision { decision, hash: gate.hash.clone(), reason: None, targets: Vec::new() };
        self.engine.decide_gate(&gate.id, ask, by).await.map(drop)
    }

    pub(crate) async fn operate(
        &self,
        run: &AutomationRunId,
        operation: Operation,
    ) -> Result<AutomationRun, EngineError> {
        self.engine.operate(run, Asked::new(operation), &Line::board()).await
    }

    pub(crate) async fn events(&self, run: &AutomationRunId) -> Vec<String> {
        let entries = self.engine.automation_history(run, 0, 1_000).await.unwrap();
        entries.into_iter().map(|entry| entry.event).collect()
    }
}

/// The last words of an agent.
pub(crate) fn result(words: &str) -> AgentEvent {
    AgentEvent::Result { error: None, summary: Some(words.to_owned()), plan_only: false, json: None }
}

/// An agent waits until a person has said whether it may.
pub(crate) fn asks_for_permission() -> AgentEvent {
    let permission = Permission {
        ask: "1".to_owned(),
        hash: "h".to_owned(),
        tool: "Bash".to_owned(),
        title: "rm".to_owned(),
        input: json!({ "command": "rm" }),
        options: Vec::new(),
    };
    AgentEvent::PermissionAsked { permission }
}

pub(crate) fn step(id: &str, before: &[&str]) -> Json {
    json!({ "id": id, "agent": "Ada", "objective": format!("do {id}"), "dependsOn": before })
}

pub(crate) fn gate(id: &str, before: &[&str]) -> Json {
    json!({ "id": id, "dependsOn": before, "gate": { "title": "may it go on?" } })
}

pub(crate) fn state(view: &AutomationRunView, node: &str) -> NodeState {
    view.nodes.iter().find(|it| it.node_id == node).unwrap().state
}

pub(crate) fn code(error: &EngineError) -> String {
    match error {
        EngineError::Refused { details: Some(details), .. } => {
            details["code"].as_str().unwrap_or("none").to_owned()
        }
        other => format!("{other:?}"),
    }
}

both_stores! {
    async fn steps_run_one_after_another_and_see_what_came_before(world) {
        let line = Line::new(world).await;
        let automation = line.apply(json!({
            "name": "notes",
            "inputs": { "since": { "type": "string", "default": "v1" } },
            "nodes": [
                step("collect", &[]),
                { "id": "draft", "agent": "Bob", "dependsOn": ["collect"],
                  "objective": "from {{ inputs.since }}: {{ nodes.collect.json.commits }} / {{ nodes.collect.text }}" },
            ],
        })).await;
        let run = line.launch_with(&automation, json!({ "since": "v2" })).await.unwrap();
        assert_eq!((run.number, run.version, run.status), (1, 1, AutomationRunStatus::Queued));
        line.says(&run.id, "collect", 1, "{\"commits\": 3}").await;
        line.process(&run.id, "draft", 1).await;
        let view = line.view(&run.id).await;
        let draft = view.attempts.iter().find(|it| it.node_id == "draft").unwrap();
        assert_eq!(draft.objective, "from v2: 3 / {\"commits\": 3}");
        let agent_run = line.world.run(draft.agent_run_id.as_ref().unwrap()).await;
        assert_eq!(agent_run.task_key, format!("automation:{}:draft:1", run.id));
        assert_eq!(agent_run.context["bugleAutomation"]["objective"], json!(draft.objective));
        line.says(&run.id, "draft", 1, "written").await;
        let view = line.until_status(&run.id, AutomationRunStatus::Completed).await;
        assert_eq!(view.nodes[1].output.as_ref().unwrap()["text"], "written");
        assert!(view.run.finished_at.is_some() && view.run.working_since.is_none());
        assert_eq!(
            line.events(&run.id).await,
            [
                "run_created", "run_execution_claimed", "node_started", "node_completed", "node_started",
                "node_completed", "run_completed",
            ]
        );
        let status = line.world.eventually("the status file", || async {
            let text = std::fs::read_to_string(&view.status_file).ok()?;
            let status: Json = serde_json::from_str(&text).ok()?;
            (status["status"] == "completed").then_some(status)
        });
        assert_eq!(status.await["completedNodes"], json!(["collect", "draft"]));
        line.engine.leave().await;
    }

    async fn a_step_begins_when_its_own_dependencies_are_done_and_not_later(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("a", &[]), step("b", &[]), step("c", &["a"])])).await;
        let slow = line.process(&run, "b", 1).await;
        line.says(&run, "a", 1, "done").await;
        line.process(&run, "c", 1).await;
        assert!(line.world.model.is_alive(&slow), "nobody waited for b");
        line.engine.leave().await;
    }

    async fn a_gate_stops_what_comes_after_it_until_a_person_says_so(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("a", &[]), gate("ok", &["a"]), step("b", &["ok"])])).await;
        line.says(&run, "a", 1, "a draft").await;
        let view = line.until_status(&run, AutomationRunStatus::AwaitingApproval).await;
        assert_eq!((state(&view, "ok"), state(&view, "b")), (NodeState::AwaitingApproval, NodeState::Pending));
        let gate = line.gate(&run, "ok").await;
        assert_eq!(gate.shown["upstream"][0]["text"], "a draft");
        let listed = line.engine.gates(&line.company, (domain::moment::Moment::from_micros(0), String::new()), 10).await;
        assert!(listed.unwrap().iter().map(|it| &it.gate.id).eq([&gate.id]));
        line.decide(&gate, Decision::Approve).await.unwrap();
        let again = line.decide(&gate, Decision::Cancel).await.unwrap_err();
        assert_eq!(code(&again), "gate_already_decided");
        line.says(&run, "b", 1, "published").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn rework_makes_the_work_again_and_asks_anew(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("a", &[]), step("b", &["a"]), gate("ok", &["b"])])).await;
        line.says(&run, "a", 1, "1").await;
        line.says(&run, "b", 1, "1").await;
        let first = line.gate(&run, "ok").await;
        let ask = GateDecision {
            decision: Decision::Rework, hash: first.hash.clone(), reason: Some("shorter".to_owned()), targets: vec!["b".to_owned()],
        };
        line.engine.decide_gate(&first.id, ask, &Line::board()).await.unwrap();
        let process = line.process(&run, "b", 2).await;
        let told = line.world.run(&process.run).await.context["bugleAutomation"]["feedback"].clone();
        assert_eq!(told, "shorter");
        line.says(&run, "b", 2, "2").await;
        let second = line.gate(&run, "ok").await;
        assert_ne!((&first.id, &first.hash), (&second.id, &second.hash));
        assert_eq!(code(&line.decide(&first, Decision::Approve).await.unwrap_err()), "gate_already_decided");
        let crossed = GateDecision { decision: Decision::Approve, hash: first.hash, reason: None, targets: Vec::new() };
        let refused = line.engine.decide_gate(&second.id, crossed, &Line::board()).await.unwrap_err();
        assert_eq!(code(&refused), "stale");
        line.decide(&second, Decision::Approve).await.unwrap();
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!(view.nodes.iter().map(|node| node.attempt).collect::<Vec<_>>(), [1, 2, 0]);
        line.engine.leave().await;
    }

    async fn what_is_missing_is_asked_for_and_then_the_step_is_blocked(world) {
        let line = Line::new(world).await;
        let mut strict = step("a", &[]);
        strict["output"] = json!({ "schema": { "type": "object", "required": ["version"] }, "repairs": 1 });
        let run = line.started(json!([strict, step("b", &["a"]), step("c", &[])])).await;
        line.says(&run, "c", 1, "fine").await;
        line.says(&run, "a", 1, "no json").await;
        let process = line.process(&run, "a", 2).await;
        let told = line.world.run(&process.run).await.context["bugleAutomation"]["feedback"].clone();
        assert!(told.as_str().unwrap().contains("no JSON object"), "{told}");
        line.says(&run, "a", 2, "{\"other\": 1}").await;
        let view = line.until_status(&run, AutomationRunStatus::Blocked).await;
        assert_eq!([state(&view, "a"), state(&view, "b"), state(&view, "c")], [NodeState::Blocked, NodeState::Blocked, NodeState::Completed]);
        assert!(view.allowed.contains(&Operation::Continue));
        // A person repairs the step in this run alone.
        let asked = Asked {
            node: Some("a".to_owned()), patch: Some(json!({ "objective": "say {\"version\": 1}" })), ..Asked::new(Operation::Repair)
        };
        line.engine.operate(&run, asked, &Line::board()).await.unwrap();
        line.says(&run, "a", 3, "{\"version\": 1}").await;
        line.says(&run, "b", 1, "done").await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert!(view.definition.as_ref().unwrap().nodes[0].objective.as_deref().unwrap().starts_with("say"));
        let kept = line.engine.automation(&line.company, "line").await.unwrap();
        assert_eq!(kept.version.definition["nodes"][0]["objective"], "do a", "the automation is what it was");
        line.engine.leave().await;
    }

    async fn a_pause_waits_for_what_is_under_way_and_its_work_is_not_an_attempt(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("a", &[])])).await;
        let process = line.process(&run, "a", 1).await;
        line.world.model.set_obedience(&process, testkit::Obedience::Later);
        line.operate(&run, Operation::Pause).await.unwrap();
        line.world.model.until_stopping(&process).await;
        assert_eq!(line.view(&run).await.run.status, AutomationRunStatus::Pausing);
        line.world.model.obey(&process);
        let view = line.until_status(&run, AutomationRunStatus::Paused).await;
        assert_eq!((view.run.stop_kind, state(&view, "a")), (Some(StopKind::OperatorStopped), NodeState::Pending));
        assert_eq!((view.nodes[0].attempts, view.nodes[0].lost), (0, 0));
        line.operate(&run, Operation::Resume).await.unwrap();
        line.says(&run, "a", 2, "done").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn a_cancel_ends_what_runs_and_says_so_meanwhile(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("a", &[]), step("b", &["a"])])).await;
        let process = line.process(&run, "a", 1).await;
        line.world.model.set_obedience(&process, testkit::Obedience::Later);
        let asked = line.operate(&run, Operation::Cancel).await.unwrap();
        assert_eq!((asked.status, asked.stop_asked_at.is_some()), (AutomationRunStatus::Running, true));
        line.operate(&run, Operation::Cancel).await.unwrap();
        line.world.model.until_stopping(&process).await;
        line.world.model.obey(&process);
        let view = line.until_status(&run, AutomationRunStatus::Cancelled).await;
        assert_eq!(state(&view, "b"), NodeState::Pending);
        assert_eq!(line.world.over(&process.run).await.status, RunStatus::Cancelled);
        line.engine.leave().await;
    }

    async fn a_paused_automation_lets_nothing_begin(world) {
        let line = Line::new(world).await;
        let automation = line.apply(json!({ "name": "line", "nodes": [step("a", &[])] })).await;
        let by = Line::board();
        line.engine.set_automation_status(&automation, AutomationStatus::Paused, Some("holiday".into()), &by).await.unwrap();
        let refused = line.launch_with(&automation, json!({})).await.unwrap_err();
        assert!(refused.to_string().contains("paused"), "{refused}");
        line.engine.set_automation_status(&automation, AutomationStatus::Active, None, &by).await.unwrap();
        let run = line.launch(&automation).await;
        line.process(&run, "a", 1).await;
        line.engine.leave().await;
    }

    async fn a_server_that_died_goes_on_where_it_was(world) {
        let line = Line::new(world.clone()).await;
        let run = line.started(json!([step("a", &[]), gate("ok", &["a"]), step("b", &["ok"])])).await;
        let process = line.process(&run, "a", 1).await;
        line.engine.leave().await;
        world.model.say(&process, &result("done while nobody was there"));
        world.model.exit(&process, 0);
        let line = Line { engine: world.engine().await, ..line };
        let gate = line.gate(&run, "ok").await;
        line.engine.leave().await;
        let line = Line { engine: world.engine().await, ..line };
        line.decide(&gate, Decision::Approve).await.unwrap();
        line.engine.leave().await;
        let line = Line { engine: world.engine().await, ..line };
        line.says(&run, "b", 1, "done").await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!(view.attempts.len(), 2, "nothing was made twice");
        line.engine.leave().await;
    }

    async fn the_same_key_starts_one_run(world) {
        let line = Line::new(world).await;
        let automation = line.apply(json!({ "name": "line", "inputs": { "n": { "default": 1 } }, "nodes": [step("a", &[])] })).await;
        let draft = |n: i64| LaunchDraft {
            inputs: Map::from_iter([("n".to_owned(), json!(n))]), idempotency_key: Some("k".to_owned()), ..LaunchDraft::default()
        };
        let by = Line::board();
        let first = line.engine.run_automation(&line.company, &automation, draft(1), &by).await.unwrap();
        let again = line.engine.run_automation(&line.company, &automation, draft(1), &by).await.unwrap();
        assert_eq!(first.id, again.id);
        let other = line.engine.run_automation(&line.company, &automation, draft(2), &by).await;
        assert!(matches!(other, Err(EngineError::Conflict { .. })), "{other:?}");
        line.engine.leave().await;
    }

    async fn a_gate_that_nobody_decides_expires_and_says_what_to_do(world) {
        let line = Line::new(world).await;
        let mut asks = gate("ok", &[]);
        asks["gate"]["expiry"] = json!({ "expiresAfterSec": 3600, "remindEverySec": 1500 });
        let run = line.started(json!([asks, step("b", &["ok"])])).await;
        let gate = line.gate(&run, "ok").await;
        line.world.clock.advance(std::time::Duration::from_secs(1600));
        line.engine.nudge();
        line.until(&run, "a reminder", |view| view.gates[0].reminders == 1).await;
        line.world.clock.advance(std::time::Duration::from_secs(2000));
        let late = line.decide(&gate, Decision::Approve).await.unwrap_err();
        assert_eq!(code(&late), "gate_expired");
        line.engine.nudge();
        let view = line.until_status(&run, AutomationRunStatus::Cancelled).await;
        assert_eq!(view.gates[0].status.as_str(), "expired");
        assert!(view.run.detail.unwrap().contains("retry it"), "it says what to do next");
        let retry = Asked { node: Some("ok".to_owned()), ..Asked::new(Operation::Retry) };
        line.engine.operate(&run, retry, &Line::board()).await.unwrap();
        let anew = line.gate(&run, "ok").await;
        assert_ne!(GateId(anew.id.0.clone()), gate.id);
        line.decide(&anew, Decision::Approve).await.unwrap();
        line.says(&run, "b", 1, "done").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn what_a_budget_stopped_goes_on_once_when_it_is_raised(world) {
        let line = Line::new(world).await;
        let company = line.company.clone();
        let set = async |amount| {
            let draft = cents(ScopeKind::Company, company.as_str(), amount);
            line.engine.set_budget(&company, draft, &Line::board(), true).await.unwrap();
        };
        set(5).await;
        let run = line.started(json!([step("a", &[])])).await;
        let process = line.process(&run, "a", 1).await;
        say(&line.world, &process, Some(50_000), 10);
        let view = line.until_status(&run, AutomationRunStatus::Paused).await;
        assert_eq!(view.run.stop_kind, Some(StopKind::GuardrailStopped));
        set(1_000).await;
        // The second attempt was ordered, and had not begun when the run was paused.
        let again = line.process(&run, "a", 3).await;
        // Nothing that the budget stopped is left to be taken up: what was taken up is all there is.
        let company = line.company.clone();
        line.world
            .eventually("nothing is left to take up", || async {
                let scope = company.clone();
                let stopped = line.world.read(move |tx| {
                    let scope = scope.clone();
                    Box::pin(async move { stopped::of_scope(tx, (ScopeKind::Company, scope.as_str()), 10).await })
                });
                stopped.await.is_empty().then_some(())
            })
            .await;
        line.world.model.say(&again, &result("done"));
        line.world.model.exit(&again, 0);
        line.until_status(&run, AutomationRunStatus::Completed).await;
        let agent = line.world.run(&again.run).await.agent_id;
        let runs: Vec<RunId> = line.world.runs_of(&agent).await.into_iter().map(|run| run.id).collect();
        assert_eq!(runs.len(), 2, "the step was done once more, and not by anybody else: {runs:?}");
        line.engine.leave().await;
    }

    async fn a_question_that_the_end_of_its_run_took_back_is_asked_anew(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("a", &[]), gate("ok", &[]), step("b", &["ok"])])).await;
        line.process(&run, "a", 1).await;
        let first = line.gate(&run, "ok").await;
        line.operate(&run, Operation::Cancel).await.unwrap();
        let view = line.until_status(&run, AutomationRunStatus::Cancelled).await;
        assert_eq!(view.gates[0].status.as_str(), "withdrawn");
        assert_eq!(state(&view, "ok"), NodeState::Pending, "nobody is asked any more");
        // Another step is made again, and the question with it: else the run would wait for an answer to none.
        let retry = Asked { node: Some("a".to_owned()), ..Asked::new(Operation::Retry) };
        line.engine.operate(&run, retry, &Line::board()).await.unwrap();
        line.says(&run, "a", 2, "done").await;
        let second = line.gate(&run, "ok").await;
        assert_ne!(first.id, second.id);
        line.decide(&second, Decision::Approve).await.unwrap();
        line.says(&run, "b", 1, "done").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn what_was_lost_half_way_was_paid_for(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("a", &[])])).await;
        let lost = line.process(&run, "a", 1).await;
        say(&line.world, &lost, Some(30_000), 10);
        line.world.model.lose_keeper(&lost);
        let agent_run = |view: &AutomationRunView| view.attempts[0].agent_run_id.clone().unwrap();
        let view = line.until(&run, "another run for the attempt", |view| agent_run(view) != lost.run).await;
        let process = World::first(&agent_run(&view));
        line.world.clock.advance(std::time::Duration::from_secs(60));
        line.engine.nudge();
        line.world.model.until_alive(&process).await;
        say(&line.world, &process, Some(20_000), 5);
        line.world.model.say(&process, &result("done"));
        line.world.model.exit(&process, 0);
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!((view.run.cost_micros, view.run.tokens), (50_000, 15));
        assert_eq!((view.attempts[0].cost_micros, view.attempts[0].tokens), (50_000, 15));
        assert_eq!(view.attempts.len(), 1, "it is one attempt");
        line.engine.leave().await;
    }

    async fn a_reviewer_may_send_work_back_again_when_a_person_had_it_go_on(world) {
        let line = Line::new(world).await;
        let mut review = step("review", &["draft"]);
        review["kind"] = json!("review");
        let run = line.started(json!([step("draft", &[]), review])).await;
        let rejects = "{\"approved\": false, \"feedback\": \"shorter\"}";
        for attempt in 1..=6 {
            line.says(&run, "draft", attempt, "a text").await;
            line.says(&run, "review", attempt, rejects).await;
        }
        let view = line.until_status(&run, AutomationRunStatus::Blocked).await;
        assert_eq!(state(&view, "review"), NodeState::Blocked);
        let retry = Asked { node: Some("review".to_owned()), ..Asked::new(Operation::Retry) };
        line.engine.operate(&run, retry, &Line::board()).await.unwrap();
        line.says(&run, "review", 7, rejects).await;
        line.says(&run, "draft", 7, "a short text").await;
        line.says(&run, "review", 8, "{\"approved\": true}").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }
}
