//! Leases of runs on environments, with a driver that a test holds in its hand.

use std::sync::{Arc, Mutex};

use adapters::{Command, Problem};
use domain::environment::lease::{Cleanup, LeaseStatus};
use domain::ids::RunId;
use domain::run::RunStatus;
use domain::wake::Actor;
use engine::environments::{
    Ask, BroughtBack, Driver, DriverError, Drivers, EnvironmentDraft, EnvironmentPatch, ProbeReport, Step,
};
use engine::{AgentDraft, AgentPatch, Author, Engine, EngineError, ProcessId};
use serde_json::{Value as Json, json};
use store::BoxFuture;
use store::agents::Agent;
use store::environment_leases::EnvironmentLease;
use store::environments::Environment;
use store::execution_workspaces::ExecutionWorkspace;
use testkit::{World, both_stores};

/// A machine that is not there.
#[derive(Debug, Default)]
struct Far {
    done: Mutex<Vec<String>>,
    /// Steps that fail, as often as they stand here.
    failing: Mutex<Vec<&'static str>>,
}

impl Far {
    fn step(&self, step: &'static str, ask: &Ask<'_>) -> Result<(), DriverError> {
        self.done.lock().unwrap().push(format!("{step} {}", ask.run_id));
        let mut failing = self.failing.lock().unwrap();
        match failing.iter().position(|it| *it == step) {
            Some(at) => {
                failing.remove(at);
                let of = if step == "release" { Step::Clean } else { Step::Acquire };
                Err(DriverError::new(of, format!("{step} does not work")))
            }
            None => Ok(()),
        }
    }

    fn done(&self, run: &RunId) -> Vec<String> {
        let done = self.done.lock().unwrap();
        let of = |line: &String| {
            line.split_once(' ').filter(|(_, it)| *it == run.as_str()).map(|(step, _)| step.to_owned())
        };
        done.iter().filter_map(of).collect()
    }
}

impl Driver for Far {
    fn kind(&self) -> &'static str {
        "far"
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn check(&self, _: &Json) -> Vec<Problem> {
        Vec::new()
    }

    fn secrets(&self) -> &'static [&'static str] {
        &["password"]
    }

    fn lay_out(&self, _: &Ask<'_>) -> Result<Json, DriverError> {
        Ok(json!({ "remoteCwd": "/far/work", "host": "far" }))
    }

    fn acquire<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Json, DriverError>> {
        Box::pin(async move {
            self.step("acquire", &ask)?;
            let mut held = ask.held.clone();
            held["paperclipApiUrl"] = json!("http://far.example");
            Ok(held)
        })
    }

    fn realise<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Json, DriverError>> {
        Box::pin(async move {
            self.step("realise", &ask)?;
            Ok(ask.held.clone())
        })
    }

    fn wrap<'a>(&'a self, ask: Ask<'a>, command: Command) -> BoxFuture<'a, Result<Command, DriverError>> {
        Box::pin(async move {
            self.step("wrap", &ask)?;
            let said =
                |name: &str| command.env.iter().find(|(it, _)| it == name).map(|(_, value)| value.clone());
            let argv = vec![
                "far-run".to_owned(),
                command.argv[0].clone(),
                command.cwd.display().to_string(),
                said("BUGLE_API_URL").unwrap_or_default(),
                said("PATH").unwrap_or_else(|| "no path".to_owned()),
            ];
            Ok(Command { argv, ..command })
        })
    }

    fn bring_back<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<BroughtBack, DriverError>> {
        Box::pin(async move {
            self.step("bring_back", &ask)?;
            Ok(BroughtBack { words: "all of it".to_owned(), is_partial: false })
        })
    }

    fn release<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Option<String>, DriverError>> {
        Box::pin(async move {
            self.step("release", &ask)?;
            Ok(None)
        })
    }

    fn probe<'a>(&'a self, _: Ask<'a>) -> BoxFuture<'a, ProbeReport> {
        Box::pin(async { ProbeReport { ok: true, summary: "it is far".to_owned(), details: None } })
    }

    fn machine(&self, _: &Json) -> Option<Json> {
        Some(json!({ "transport": "far" }))
    }
}

struct Stage {
    world: World,
    engine: Engine,
    far: Arc<Far>,
    agent: Agent,
    environment: Environment,
}

async fn stage(world: World) -> Stage {
    let far = Arc::new(Far::default());
    let drivers = Drivers::default().with(Arc::clone(&far) as Arc<dyn Driver>);
    let engine = world.engine_with(engine::Settings { drivers, ..world.settings() }).await;
    let draft = AgentDraft {
        name: "Ada".to_owned(),
        adapter_config: json!({ "command": "work", "cwd": "/nowhere" }),
        ..AgentDraft::default()
    };
    let agent = world.agent_like(&engine, draft).await;
    let environment = EnvironmentDraft {
        name: "Far".to_owned(),
        description: None,
        driver: "far".to_owned(),
        status: "active".to_owned(),
        config: json!({ "password": "hidden" }),
        metadata: None,
    };
    let by = Author::local_board();
    let environment = engine.create_environment(&agent.company_id, environment, &by).await.unwrap();
    Stage { world, engine, far, agent, environment }
}

impl Stage {
    async fn send_away(&self) {
        let patch = AgentPatch {
            default_environment_id: Some(Some(self.environment.id.clone())),
            ..AgentPatch::default()
        };
        self.engine.patch_agent(&self.agent.id, patch, &Actor::local_board()).await.unwrap();
    }

    async fn wake(&self) -> (RunId, ProcessId) {
        let run = self.world.wake(&self.engine, &self.agent.id, "task").await;
        let id = ProcessId { run: run.id.clone(), epoch: 1 };
        (run.id, id)
    }

    async fn lease_of(&self, run: &RunId) -> Option<EnvironmentLease> {
        let run = run.clone();
        let found = self.world.store.read(move |tx| {
            let run = run.clone();
            Box::pin(async move { store::environment_leases::of_runs(tx, &[run]).await })
        });
        found.await.unwrap().pop()
    }

    async fn ended_lease(&self, run: &RunId) -> EnvironmentLease {
        self.world
            .eventually("the end of a lease", || async {
                self.lease_of(run).await.filter(|lease| lease.status != LeaseStatus::Active)
            })
            .await
    }
}

both_stores! {
    async fn instructions_go_to_another_machine_as_one_text(world) {
        let stage = stage(world).await;
        stage.send_away().await;
        let patch = AgentPatch {
            adapter_type: Some("codex_local".to_owned()),
            adapter_config: Some(json!({ "command": "work" })),
            ..AgentPatch::default()
        };
        stage.engine.patch_agent(&stage.agent.id, patch, &Actor::local_board()).await.unwrap();
        for (path, content) in [("AGENTS.md", "Be brief."), ("docs/style.md", "Short lines.")] {
            let (engine, by) = (&stage.engine, Author::local_board());
            engine.write_instructions(&stage.agent.id, path, content.to_owned(), false, &by).await.unwrap();
        }
        let heard: Arc<Mutex<Option<String>>> = Arc::default();
        let ears = Arc::clone(&heard);
        stage.world.model.on_start(move |_, _, command| {
            *ears.lock().unwrap() = Some(String::from_utf8_lossy(&command.stdin).into_owned());
        });
        let (_, process) = stage.wake().await;
        stage.world.model.until_alive(&process).await;
        let told = stage.world.eventually("what it is told", || async { heard.lock().unwrap().clone() }).await;
        let place = told.find("Be brief.").unwrap_or_else(|| panic!("{told}"));
        assert!(told[place..].contains("The file `docs/style.md`") && told.contains("Short lines."), "{told}");
        // It is sent to no folder of this machine.
        assert!(told.contains("come from another machine") && !told.contains("/instructions/"), "{told}");
    }

    async fn a_run_on_the_servers_machine_has_a_lease_that_ends_with_it(world) {
        let Stage { world, engine, agent, .. } = stage(world).await;
        let all = engine.environments(&agent.company_id, None, None).await.unwrap();
        let local = all.into_iter().find(|it| it.driver == "local").unwrap();
        let here = AgentPatch {
            adapter_config: Some(json!({ "command": "/bin/true" })),
            replace_adapter_config: true,
            ..AgentPatch::default()
        };
        engine.patch_agent(&agent.id, here, &Actor::local_board()).await.unwrap();
        // Where nobody chose an environment, there is nothing to be given back.
        let (run, id) = world.start(&engine, &agent.id, "task").await;
        world.model.exit(&id, 0);
        world.over(&run.id).await;
        assert!(engine.places_of_runs(std::slice::from_ref(&run.id)).await.unwrap().is_empty());
        let chosen =
            AgentPatch { default_environment_id: Some(Some(local.id)), ..AgentPatch::default() };
        engine.patch_agent(&agent.id, chosen, &Actor::local_board()).await.unwrap();
        let (run, id) = world.start(&engine, &agent.id, "task").await;
        let active = world.eventually("a lease", || async {
            let leases = engine.places_of_runs(std::slice::from_ref(&run.id)).await.unwrap();
            leases.get(&run.id).cloned()
        }).await;
        assert_eq!((active.environment.driver.as_str(), active.lease.status), ("local", LeaseStatus::Active));
        world.model.exit(&id, 0);
        let ended = world.eventually("the end of the lease", || async {
            let lease = engine.environment_lease(&active.lease.id).await.unwrap();
            (lease.status == LeaseStatus::Released).then_some(lease)
        }).await;
        assert_eq!(ended.cleanup_status, Some(Cleanup::Success));
        engine.leave().await;
    }

    async fn a_run_elsewhere_is_brought_there_and_back_and_sees_nothing_of_this_machine(world) {
        let stage = stage(world).await;
        stage.send_away().await;
        let (run, id) = stage.wake().await;
        stage.world.model.until_alive(&id).await;
        let argv = stage.world.model.argv(&id);
        assert_eq!(argv, ["far-run", "work", "/far/work", "http://far.example", "no path"]);
        stage.world.model.exit(&id, 0);
        let ended = stage.ended_lease(&run).await;
        assert_eq!(ended.status, LeaseStatus::Released);
        assert_eq!(stage.far.done(&run), ["acquire", "realise", "wrap", "bring_back", "release"]);
        stage.engine.leave().await;
    }

    async fn the_lease_of_a_run_ends_with_it_however_it_ended(world) {
        let stage = stage(world).await;
        stage.send_away().await;
        // One whose start failed.
        stage.far.failing.lock().unwrap().push("acquire");
        let (failed, _) = stage.wake().await;
        let ended = stage.ended_lease(&failed).await;
        assert_eq!(ended.status, LeaseStatus::Failed);
        let row = stage.world.run(&failed).await;
        assert_eq!((row.status, row.error_code.as_deref()), (RunStatus::Failed, Some("lease_acquire_failed")));
        // One whose keeper died, and that of another: what fails of one is nothing to the other.
        let (lost, id) = stage.wake().await;
        stage.world.model.until_alive(&id).await;
        stage.far.failing.lock().unwrap().push("release");
        stage.world.model.lose_keeper(&id);
        let put_off = stage.world.eventually("a try that failed", || async {
            stage.lease_of(&lost).await.filter(|lease| lease.release_tries == 1)
        }).await;
        assert_eq!((put_off.status, put_off.cleanup_status), (LeaseStatus::Active, Some(Cleanup::Pending)));
        stage.world.clock.advance(std::time::Duration::from_secs(11));
        stage.engine.nudge();
        let ended = stage.ended_lease(&lost).await;
        assert_eq!((ended.status, ended.cleanup_status), (LeaseStatus::Failed, Some(Cleanup::Success)));
        stage.engine.leave().await;
    }

    async fn a_run_elsewhere_that_a_new_server_takes_over_is_brought_back_by_it(world) {
        let stage = stage(world).await;
        stage.send_away().await;
        let (run, id) = stage.wake().await;
        stage.world.model.until_alive(&id).await;
        stage.engine.leave().await;
        let drivers = Drivers::default().with(Arc::clone(&stage.far) as Arc<dyn Driver>);
        let settings = engine::Settings { drivers, ..stage.world.settings() };
        let next = stage.world.engine_with(settings).await;
        stage.world.model.exit(&id, 0);
        let ended = stage.ended_lease(&run).await;
        assert_eq!(ended.status, LeaseStatus::Released);
        assert_eq!(stage.far.done(&run), ["acquire", "realise", "wrap", "bring_back", "release"]);
        next.leave().await;
    }

    async fn a_session_is_resumed_only_on_the_machine_where_it_was_made(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (first, process) = world.start(&engine, &agent.id, "task").await;
        world.model.say_session(&process, "session-1");
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.until(&first.id, RunStatus::Succeeded).await;
        let (second, process) = world.start(&engine, &agent.id, "task").await;
        assert_eq!(world.run(&second.id).await.session_before.as_deref(), Some("session-1"));
        world.model.say_session(&process, "session-1");
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.until(&second.id, RunStatus::Succeeded).await;
        // As if it had been made elsewhere.
        let id = agent.id.clone();
        let noted = world.store.write(move |tx| {
            let id = id.clone();
            Box::pin(async move {
                let mut session = store::sessions::of_agent(tx, &id, 1).await?.pop().unwrap();
                session.params.as_mut().unwrap()["remoteExecution"] = json!({ "transport": "far" });
                store::sessions::save(tx, &session).await
            })
        });
        noted.await.unwrap();
        let (third, process) = world.start(&engine, &agent.id, "task").await;
        assert_eq!(world.run(&third.id).await.session_before, None);
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.until(&third.id, RunStatus::Succeeded).await;
        let said = world.messages(&third.id).await;
        assert!(said.iter().any(|line| line.contains("the session is not resumed")), "{said:?}");
        engine.leave().await;
    }

    async fn environments_that_are_used_or_local_stay_and_archived_ones_are_refused(world) {
        let stage = stage(world).await;
        let by = Author::local_board();
        stage.send_away().await;
        let (_, id) = stage.wake().await;
        stage.world.model.until_alive(&id).await;
        let refused = stage.engine.delete_environment(&stage.environment.id, &by).await.unwrap_err();
        assert!(matches!(refused, EngineError::Conflict { .. }), "{refused:?}");
        let all = stage.engine.environments(&stage.agent.company_id, None, None).await.unwrap();
        let local = all.iter().find(|it| it.driver == "local").expect("made when it is missing");
        assert!(stage.engine.delete_environment(&local.id, &by).await.is_err());
        stage.world.model.exit(&id, 0);
        stage.ended_lease(&id.run).await;
        let archived = EnvironmentPatch { status: Some("archived".to_owned()), ..EnvironmentPatch::default() };
        stage.engine.patch_environment(&stage.environment.id, archived, &by).await.unwrap();
        let (run, _) = stage.wake().await;
        let row = stage.world.eventually("the end of the run", || async {
            Some(stage.world.run(&run).await).filter(|run| run.status == RunStatus::Failed)
        }).await;
        assert_eq!(row.error_code.as_deref(), Some("environment_inactive"));
        let removed = stage.engine.delete_environment(&stage.environment.id, &by).await.unwrap();
        assert_eq!(removed.id, stage.environment.id);
        let agent = stage.world.agent_row(&stage.agent.id).await;
        assert_eq!(agent.default_environment_id, None);
        stage.engine.leave().await;
    }

    async fn the_workspace_of_an_issue_decides_where_its_runs_work_until_its_environment_goes(world) {
        let stage = stage(world).await;
        let (engine, world, company) = (&stage.engine, &stage.world, &stage.agent.company_id);
        let by = Author::local_board();
        let far = stage.environment.id.clone();
        let project = engine::ProjectDraft { name: "Site".to_owned(), ..engine::ProjectDraft::default() };
        let project = engine.create_project(company, project, &by).await.unwrap().project.id;
        let (place, now) = (engine.new_id(), engine.now());
        let config = json!({ "environmentId": far, "provisionCommand": null });
        let row = ExecutionWorkspace {
            id: place.clone(),
            company_id: company.clone(),
            project_id: project.clone(),
            project_workspace_id: None,
            source_issue_id: None,
            mode: "isolated_workspace".to_owned(),
            strategy_type: "git_worktree".to_owned(),
            name: "ACM-1".to_owned(),
            status: "idle".to_owned(),
            cwd: None,
            repo_url: None,
            base_ref: None,
            branch_name: None,
            provider_type: "git_worktree".to_owned(),
            provider_ref: None,
            derived_from: None,
            last_used_at: now,
            opened_at: now,
            closed_at: None,
            cleanup_eligible_at: None,
            cleanup_reason: None,
            metadata: Some(json!({ "config": config })),
            node_id: "n".to_owned(),
            scope_key: "issue:x".to_owned(),
            repo_dir: None,
            base_commit: None,
            closing_at: None,
            look_at: None,
            created_at: now,
            updated_at: now,
        };
        let added = world.store.write(move |tx| {
            let row = row.clone();
            Box::pin(async move { store::execution_workspaces::insert(tx, &row).await })
        });
        assert!(added.await.unwrap());
        let issue = engine::issues::IssueDraft {
            title: "Look".to_owned(),
            status: domain::issue::IssueStatus::Todo,
            assignee_agent_id: Some(stage.agent.id.clone()),
            execution_workspace_id: Some(place.clone()),
            ..engine::issues::IssueDraft::default()
        };
        let issue = engine.create_issue(company, issue, &by).await.unwrap();
        let lease = world.eventually("a lease of its run", || async {
            let runs = world.runs_of(&stage.agent.id).await;
            let run = runs.first()?.id.clone();
            stage.lease_of(&run).await.map(|lease| (run, lease))
        }).await;
        let (run, lease) = lease;
        assert_eq!(lease.environment_id, far);
        let id = ProcessId { run: run.clone(), epoch: 1 };
        world.model.until_alive(&id).await;
        // Closed by its agent: an issue that stays open has another run, which would use the environment too.
        let done = engine::issues::IssuePatch {
            status: Some(domain::issue::IssueStatus::Done),
            ..engine::issues::IssuePatch::default()
        };
        let agent = Author::agent(&stage.agent.id, Some(&run));
        engine.patch_issue(&issue.id, done, &agent).await.unwrap();
        world.model.exit(&id, 0);
        stage.ended_lease(&run).await;
        engine.delete_environment(&far, &by).await.unwrap();
        let row = engine.execution_workspace(&place).await.unwrap();
        assert_eq!(row.metadata.unwrap()["config"]["environmentId"], Json::Null);
        stage.engine.leave().await;
    }

    async fn a_key_that_cannot_be_opened_ends_the_run_and_names_its_field(world) {
        let stage = stage(world).await;
        stage.send_away().await;
        assert_eq!(stage.environment.config["password"], Json::Null, "it is sealed");
        std::fs::write(stage.world.settings().secrets_key_file(), "7".repeat(64)).unwrap();
        stage.engine.leave().await;
        let drivers = Drivers::default().with(Arc::clone(&stage.far) as Arc<dyn Driver>);
        let engine = stage.world.engine_with(engine::Settings { drivers, ..stage.world.settings() }).await;
        let run = stage.world.wake(&engine, &stage.agent.id, "task").await;
        let row = stage.world.eventually("the end of the run", || async {
            Some(stage.world.run(&run.id).await).filter(|run| run.status == RunStatus::Failed)
        }).await;
        assert_eq!(row.error_code.as_deref(), Some("lease_acquire_failed"));
        assert!(row.error.as_deref().is_some_and(|it| it.contains("config.passwordSecretRef")), "{row:?}");
        assert_eq!(stage.far.done(&run.id), Vec::<String>::new());
        engine.leave().await;
    }
}
