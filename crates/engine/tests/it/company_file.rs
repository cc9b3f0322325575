//! A company as a file: what is written reads as nothing to do, one edit is one change, and nothing is lost on the way.

use domain::agent::{AgentStatus, Role};
use domain::automation::AutomationStatus;
use domain::company_file::{Action, MARK};
use domain::ids::{AgentId, CompanyId};
use domain::wake::Actor;
use engine::environments::EnvironmentDraft;
use engine::{
    AgentDraft, AppliedFile, ApplyAsk, CompanyPatch, EngineError, SecretDraft, SecretValue, SkillDraft,
};
use serde_json::{Value as Json, json};
use store::automations::definitions::{self, Automation, Version};
use testkit::{World, both_stores};

use crate::board::Board;

const CANARY: &str = "canary-of-the-company-file";

/// A file with something of everything that a file can say.
pub(crate) fn everything() -> Json {
    json!({
        "version": 1,
        "company": {"name": "Acme", "description": "Makes things.\nAll of them.\n", "brandColor": "#1A2b3C"},
        "labels": [{"name": "bug", "color": "#FF0000"}, {"name": "chore", "color": "#00ff00"}],
        "skills": [
            {"key": "company/review", "name": "Code review", "markdown": "Look twice.\n", "metadata": {"by": "us"}},
            {"key": "company/ship", "markdown": "---\nname: ship\ndescription: How we ship\n---\nTag it."},
        ],
        "environments": [
            {"name": "This machine", "driver": "local"},
            {"name": "Box", "driver": "ssh", "description": "The big one",
             "config": {"host": "box.example", "username": "me", "remoteWorkspacePath": "/srv/work",
                        "privateKeySecretRef": {"secret": "box key"}, "knownHosts": "box.example ssh-ed25519 AAAA",
                        "strictHostKeyChecking": false}},
            {"name": "Attic", "driver": "ssh", "archived": true,
             "config": {"host": "attic", "username": "me", "remoteWorkspacePath": "/srv"}},
        ],
        "agents": [
            {"name": "Worker", "adapterType": "process", "role": "engineer", "reportsTo": "chief",
             "title": "Worker bee", "icon": "bug", "capabilities": "Works.", "defaultEnvironment": "Box",
             "canAssignTasks": false, "metadata": {"team": "a", "level": 1.5},
             "adapterConfig": {"command": "make", "args": ["-j", "2"],
                               "env": {"REGION": "eu", "API_KEY": CANARY, "TOKEN": {"secret": "github"}}},
             "runtimeConfig": {"heartbeat": {"enabled": true, "intervalSec": 3600}}},
            {"name": "Chief", "adapterType": "claude_local", "role": "ceo",
             "skills": ["company/review", "bugle/bugle"],
             "adapterConfig": {"model": "opus"},
             "instructions": {"entry": "chief.md", "files": {"chief.md": "Lead.\n", "docs/style.md": "Be kind."}}},
            {"name": "Coder", "adapterType": "codex_local", "reportsTo": "Chief", "canCreateAgents": true,
             "instructions": {"files": {"AGENTS.md": "Write code."}}},
            {"name": "Gate", "adapterType": "openclaw_gateway", "adapterConfig": {"url": "wss://gate.example"}},
        ],
        "goals": [
            {"title": "Sell", "parent": "Grow", "owner": "Worker", "level": "team", "description": "More"},
            {"title": "Grow", "level": "company"},
        ],
        "projects": [
            {"name": "Web site", "description": "What people see", "lead": "Chief", "targetDate": "2030-01-31",
             "color": "#123456", "goals": ["Sell", "Grow"], "env": {"MODE": "dark", "DB_PASSWORD": CANARY},
             "executionWorkspacePolicy": {"enabled": true, "environment": "Box"},
             "workspaces": {
                "web": {"cwd": "/srv/web", "primary": true, "setupCommand": "make setup"},
                "docs": {"sourceType": "git_repo", "repoUrl": "https://git.example/docs.git", "defaultRef": "main",
                         "runtimeConfig": {"workspaceRuntime": {"services": []}}},
             }},
            {"name": "Büro", "archived": true, "executionWorkspacePolicy": {"environment": ""}},
        ],
        "budgets": [
            {"amount": 10000, "warnPercent": 70},
            {"agent": "Worker", "amount": 500, "hardStop": false, "notify": false},
            {"agent": "Worker", "amount": 90000, "metric": "tokens", "active": false},
            {"project": "Web site", "amount": 3000},
        ],
        "automations": [
            {"name": "ship", "after": [{"automation": "check"}],
             "nodes": [{"id": "tag", "agent": "worker", "objective": "Tag it."}]},
            {"name": "check", "description": "Before each release", "priority": "high",
             "inputs": {"since": {"type": "string", "default": "v1"}},
             "nodes": [{"id": "look", "agent": "Chief", "objective": "Look at everything since {{inputs.since}}."},
                       {"id": "ask", "dependsOn": ["look"], "gate": {"title": "Ship it?"}}]},
        ],
    })
}

/// A company that files are applied to.
pub(crate) struct File(pub(crate) Board);

impl File {
    pub(crate) async fn new(world: &World) -> File {
        let board = Board::new(world).await;
        let file = File(board);
        file.store_secrets(&file.0.company.clone()).await;
        file
    }

    async fn store_secrets(&self, company: &CompanyId) {
        for name in ["github", "box key"] {
            let draft = SecretDraft {
                name: name.to_owned(),
                value: SecretValue::new(format!("{CANARY} {name}")),
                provider: "local_encrypted".to_owned(),
                description: None,
                external_ref: None,
            };
            self.0.engine.create_secret(company, draft, &Board::person()).await.unwrap();
        }
    }

    pub(crate) async fn ask(&self, company: &CompanyId, ask: ApplyAsk) -> Result<AppliedFile, EngineError> {
        self.0.engine.apply_company_file(company, &ask, &Board::person()).await
    }

    pub(crate) async fn apply(&self, document: &Json) -> AppliedFile {
        let ask = ApplyAsk { document: document.clone(), ..ApplyAsk::default() };
        self.ask(&self.0.company, ask).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// What is wrong with a file: each place with its message.
    async fn wrong(&self, document: Json) -> Vec<(String, String)> {
        let asked = self.ask(&self.0.company, ApplyAsk { document, ..ApplyAsk::default() }).await;
        match asked {
            Err(EngineError::Invalid(problems)) => {
                problems.into_iter().map(|problem| (problem.path, problem.message)).collect()
            }
            other => panic!("nothing was wrong: {other:?}"),
        }
    }

    pub(crate) async fn export(&self) -> Json {
        self.0.engine.export_company(&self.0.company).await.unwrap()
    }

    /// What is written is applied: there is nothing to do, whether or not what is missing goes.
    pub(crate) async fn is_settled(&self, when: &str) {
        for prune in [false, true] {
            let ask = ApplyAsk { document: self.export().await, prune, ..ApplyAsk::default() };
            let applied =
                self.ask(&self.0.company, ask).await.unwrap_or_else(|error| panic!("{when}: {error:?}"));
            assert_eq!(told(&applied), Vec::<String>::new(), "{when}");
            assert_eq!(applied.plan.left, [], "{when}");
        }
    }

    async fn head(&self) -> i64 {
        self.0.world.read(|tx| Box::pin(async move { store::audit::head(tx).await })).await.seq
    }
}

/// Each change in a line.
pub(crate) fn told(applied: &AppliedFile) -> Vec<String> {
    let one = |change: &domain::company_file::Change| {
        let paths: Vec<&str> = change.fields.iter().map(|field| field.path.as_str()).collect();
        format!("{} {} {}: {}", change.action, change.section.thing(), change.name, paths.join(" "))
    };
    applied.plan.changes.iter().map(one).collect()
}

fn agent<'a>(document: &'a mut Json, name: &str) -> &'a mut Json {
    let agents = document["agents"].as_array_mut().unwrap();
    agents.iter_mut().find(|agent| agent["name"] == name).unwrap()
}

type Edit = (&'static str, fn(&mut Json), &'static str);

/// One edit of a file for each kind of things and fields, and the one change that comes of it.
const EDITS: &[Edit] = &[
    (
        "automation",
        |it| it["automations"][0]["nodes"][0]["objective"] = json!("Tag it twice."),
        "change automation ship: nodes[tag].objective",
    ),
    (
        "automation's priority",
        |it| drop(it["automations"][1].as_object_mut().unwrap().remove("priority")),
        "change automation check: priority",
    ),
    ("settings", |it| it["company"]["description"] = json!("Less"), "change company Acme: description"),
    (
        "approval",
        |it| it["company"]["requireBoardApprovalForNewAgents"] = json!(true),
        "change company Acme: requireBoardApprovalForNewAgents",
    ),
    ("label", |it| it["labels"][0]["color"] = json!("#0000ff"), "change label bug: color"),
    (
        "new label",
        |it| it["labels"].as_array_mut().unwrap().push(json!({"name": "idea", "color": "#ffffff"})),
        "make label idea: name color",
    ),
    (
        "skill",
        |it| it["skills"][0]["markdown"] = json!("---\nname: review\n---\nLook thrice."),
        "change skill company/review: markdown",
    ),
    ("skill's name", |it| it["skills"][0]["name"] = json!("Reviews"), "change skill company/review: name"),
    (
        "skill's purpose",
        |it| it["skills"][1]["description"] = json!(""),
        "change skill company/ship: description",
    ),
    (
        "local environment",
        |it| it["environments"][0]["name"] = json!("Here"),
        "change environment Here: name",
    ),
    (
        "environment",
        |it| it["environments"][1]["config"]["host"] = json!("box2.example"),
        "change environment Box: config.host",
    ),
    (
        "archived environment",
        |it| drop(it["environments"][2].as_object_mut().unwrap().remove("archived")),
        "change environment Attic: archived",
    ),
    ("manager", |it| agent(it, "Worker")["reportsTo"] = json!("Coder"), "change agent Worker: reportsTo"),
    (
        "agent's env",
        |it| agent(it, "Worker")["adapterConfig"]["env"]["REGION"] = json!("us"),
        "change agent Worker: adapterConfig.env.REGION",
    ),
    (
        "hidden value",
        |it| agent(it, "Worker")["adapterConfig"]["env"]["API_KEY"] = json!("another"),
        "change agent Worker: adapterConfig.env.API_KEY",
    ),
    (
        "secret",
        |it| agent(it, "Worker")["adapterConfig"]["env"]["TOKEN"] = json!({"secret": "box key"}),
        "change agent Worker: adapterConfig.env.TOKEN.secret",
    ),
    (
        "timer",
        |it| agent(it, "Worker")["runtimeConfig"]["heartbeat"]["intervalSec"] = json!(60),
        "change agent Worker: runtimeConfig.heartbeat.intervalSec",
    ),
    (
        "right",
        |it| agent(it, "Worker")["canCreateAgents"] = json!(true),
        "change agent Worker: canCreateAgents",
    ),
    (
        "default environment",
        |it| drop(agent(it, "Worker").as_object_mut().unwrap().remove("defaultEnvironment")),
        "change agent Worker: defaultEnvironment",
    ),
    (
        "adapter",
        |it| agent(it, "Coder")["adapterType"] = json!("claude_local"),
        "change agent Coder: adapterType",
    ),
    (
        "skills of an agent",
        |it| agent(it, "Chief")["skills"] = json!(["company/ship"]),
        "change agent Chief: skills",
    ),
    (
        "instructions",
        |it| agent(it, "Chief")["instructions"]["files"]["chief.md"] = json!("Lead well."),
        "change agent Chief: instructions.files.chief.md",
    ),
    (
        "entry file",
        |it| agent(it, "Chief")["instructions"]["entry"] = json!("docs/style.md"),
        "change agent Chief: instructions.entry",
    ),
    (
        "gateway",
        |it| agent(it, "Gate")["adapterConfig"]["url"] = json!("wss://gate2.example"),
        "change agent Gate: adapterConfig.url",
    ),
    ("spelling", |it| agent(it, "Gate")["name"] = json!("GATE"), "change agent GATE: name"),
    ("goal", |it| it["goals"][0]["description"] = json!("Even more"), "change goal Sell: description"),
    (
        "goal's parent",
        |it| drop(it["goals"][0].as_object_mut().unwrap().remove("parent")),
        "change goal Sell: parent",
    ),
    ("project", |it| it["projects"][0]["lead"] = json!("Worker"), "change project Web site: lead"),
    (
        "project's env",
        |it| it["projects"][0]["env"]["MODE"] = json!("light"),
        "change project Web site: env.MODE",
    ),
    (
        "policy",
        |it| it["projects"][0]["executionWorkspacePolicy"]["environment"] = json!(""),
        "change project Web site: executionWorkspacePolicy.environment",
    ),
    ("archived project", |it| it["projects"][1]["archived"] = json!(false), "change project Büro: archived"),
    (
        "workspace",
        |it| it["projects"][0]["workspaces"]["web"]["cwd"] = json!("/srv/www"),
        "change project Web site: workspaces.web.cwd",
    ),
    (
        "new workspace",
        |it| it["projects"][0]["workspaces"]["lab"] = json!({"cwd": "/lab"}),
        "change project Web site: workspaces.lab.cwd",
    ),
    (
        "budget",
        |it| it["budgets"][0]["amount"] = json!(20000),
        "change budget company, billed_cents, calendar_month_utc: amount",
    ),
    (
        "budget that was off",
        |it| it["budgets"][2]["active"] = json!(true),
        "change budget agent Worker, tokens, calendar_month_utc: active",
    ),
    (
        "new budget",
        |it| it["budgets"].as_array_mut().unwrap().push(json!({"agent": "Coder", "amount": 5})),
        "make budget agent Coder, billed_cents, calendar_month_utc: agent amount",
    ),
];

/// The same edit of what was written: entries stand in another order there.
fn edited(mut exported: Json, edit: fn(&mut Json)) -> Json {
    let order = everything();
    for section in ["labels", "skills", "environments", "goals", "projects", "budgets", "automations"] {
        let name = |entry: &Json| {
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_lowercase();
            // What they are called is edited, too.
            let name = match section {
                "skills" => String::new(),
                "environments" if entry["driver"] == "local" => "local".to_owned(),
                _ => text("name"),
            };
            [name, text("key"), text("title"), text("agent"), text("project"), text("metric")]
        };
        let wanted: Vec<_> = order[section].as_array().unwrap().iter().map(name).collect();
        let entries = exported[section].as_array_mut().unwrap();
        entries.sort_by_key(|entry| wanted.iter().position(|it| *it == name(entry)).unwrap_or(usize::MAX));
    }
    edit(&mut exported);
    exported
}

both_stores! {
    async fn what_is_written_is_nothing_to_do_over_a_company_with_everything_in_it(world) {
        let file = File::new(&world).await;
        let made = file.apply(&everything()).await;
        assert!(made.is_done && made.plan.changes.len() == 22, "{:?}", told(&made));
        let again = file.apply(&everything()).await;
        assert_eq!(told(&again), Vec::<String>::new(), "a file that was applied is nothing to do");
        file.is_settled("after everything was made").await;
        let text = file.export().await.to_string();
        assert!(!text.contains(CANARY), "no value of a secret is written: {text}");
        assert!(text.contains(MARK) && text.contains(r#"{"secret":"github"}"#), "{text}");
        assert!(!text.contains("PRIVATE KEY"), "{text}");
        for part in text.split(['"', ' ']) {
            assert!(!domain::ids::looks_like_id(part), "an id: {part} in {text}");
        }
    }

    async fn one_edit_is_one_change_and_nothing_to_do_afterwards(world) {
        let file = File::new(&world).await;
        file.apply(&everything()).await;
        for (what, edit, expected) in EDITS {
            let document = edited(file.export().await, *edit);
            let applied = file.apply(&document).await;
            assert_eq!(told(&applied), [expected.to_string()], "{what}");
            let again = file.apply(&document).await;
            assert_eq!(told(&again), Vec::<String>::new(), "{what}, again");
            file.is_settled(what).await;
        }
    }

    async fn any_edits_together_end_where_the_file_says(world) {
        let file = File::new(&world).await;
        file.apply(&everything()).await;
        // Small steps through a few walks: enough to mix every edit with others.
        let mut state = 7_usize;
        for step in 0..8 {
            let mut document = edited(file.export().await, |_| {});
            let mut names = Vec::new();
            for _ in 0..4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (what, edit, _) = EDITS[(state >> 33) % EDITS.len()];
                // Things that are there already are not made once more.
                if !what.starts_with("new") && what != "spelling" && !names.contains(&what) {
                    edit(&mut document);
                    names.push(what);
                }
            }
            file.apply(&document).await;
            let again = file.apply(&document).await;
            assert_eq!(told(&again), Vec::<String>::new(), "step {step}: {names:?}");
            file.is_settled(&format!("step {step}: {names:?}")).await;
        }
    }

    async fn things_that_were_made_by_hand_are_written_as_they_are(world) {
        let file = File::new(&world).await;
        let (engine, company, by) = (&file.0.engine, &file.0.company, Board::person());
        let actor = Actor::local_board();
        let draft = |name: &str, kind: &str, config: Json| AgentDraft {
            name: name.to_owned(), adapter_type: kind.to_owned(), adapter_config: config, ..AgentDraft::default()
        };
        for (name, kind, config) in [
            ("Plain", "process", json!({"command": "true", "nothing": null, "env": {"AUTH": "secret-value-1"}})),
            ("Codex", "codex_local", json!({})),
            ("Claw", "openclaw_gateway", json!({"url": "ws://localhost:1", "authToken": "secret-value-2"})),
            ("Outside", "claude_local", json!({"instructionsBundleMode": "external", "instructionsRootPath": "/srv", "instructionsEntryFile": "a.md", "instructionsFilePath": "/srv/a.md"})),
            ("Empty", "claude_local", json!({"instructionsBundleMode": "managed"})),
            ("Web", "http", json!({"url": "http://localhost:1", "headers": {"Authorization": "secret-value-3"}})),
        ] {
            engine.create_agent(company, draft(name, kind, config), &actor).await.unwrap();
        }
        let gone = engine.create_agent(company, draft("Gone", "process", json!({"command": "true"})), &actor).await.unwrap();
        let under = AgentDraft { reports_to: Some(gone.id.clone()), ..draft("Under", "process", json!({"command": "true"})) };
        engine.create_agent(company, under, &actor).await.unwrap();
        engine.terminate_agent(&gone.id, &actor).await.unwrap();
        let sealed = EnvironmentDraft {
            name: "Sealed".to_owned(), description: None, driver: "ssh".to_owned(), status: "active".to_owned(),
            config: json!({"host": "h", "username": "u", "remoteWorkspacePath": "/w",
                "privateKey": "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret-value-4\n-----END OPENSSH PRIVATE KEY-----\n"}),
            metadata: None,
        };
        engine.create_environment(company, sealed, &by).await.unwrap();
        let skill = SkillDraft { name: Some("Own Name".to_owned()), description: Some(String::new()),
            markdown: Some("---\nname: other\ndescription: said on top\n---\nx".to_owned()), metadata: None };
        engine.create_skill(company, skill, &by).await.unwrap();
        file.is_settled("after things were made by hand").await;
        let exported = file.export().await;
        assert!(!exported.to_string().contains("secret-value"), "{exported}");
        assert!(!exported.to_string().contains("Gone"), "nobody is written who is no more");
        // A change of an agent keeps what is hidden, and its keys.
        let row = |id: &AgentId| { let id = id.clone(); file.0.world.read(move |tx| { let id = id.clone(); Box::pin(async move { store::agents::get(tx, &id).await }) }) };
        let claw = exported["agents"].as_array().unwrap().iter().position(|agent| agent["name"] == "Claw").unwrap();
        let id = { let company = company.clone(); file.0.world.read(move |tx| { let company = company.clone(); Box::pin(async move { store::agents::list(tx, &company, None, 100).await }) }).await }
            .into_iter().find(|agent| agent.name == "Claw").unwrap().id;
        let before = row(&id).await.unwrap().adapter_config;
        let mut document = exported.clone();
        document["agents"][claw]["adapterConfig"]["url"] = json!("ws://localhost:2");
        file.apply(&document).await;
        let after = row(&id).await.unwrap().adapter_config;
        for key in ["authToken", "devicePrivateKeyPem"] {
            assert_eq!(before[key], after[key], "{key}");
        }
        assert_eq!(after["url"], "ws://localhost:2");
        file.is_settled("after one of them was changed").await;
    }

    async fn what_the_file_does_not_have_goes_only_when_that_is_asked_for(world) {
        let file = File::new(&world).await;
        file.apply(&everything()).await;
        let before = file.export().await;
        let mut document = before.clone();
        for section in ["labels", "skills", "goals", "projects", "budgets", "automations"] {
            document[section] = json!([]);
        }
        document["environments"].as_array_mut().unwrap().retain(|it| it["name"] != "Attic");
        document["agents"].as_array_mut().unwrap().retain(|it| it["name"] != "Worker");
        let kept = file.apply(&document).await;
        assert_eq!((told(&kept), kept.plan.left.len()), (Vec::new(), 15), "{:?}", kept.plan.left);
        assert_eq!(file.export().await, before);
        let ask = ApplyAsk { document: document.clone(), prune: true, ..ApplyAsk::default() };
        let pruned = file.ask(&file.0.company, ask).await.unwrap();
        assert!(pruned.plan.changes.iter().all(|change| change.action == Action::Remove), "{:?}", told(&pruned));
        assert_eq!(pruned.plan.changes.len(), 15, "{:?}", told(&pruned));
        let company = file.0.company.clone();
        let left = file.0.world.read(move |tx| { let company = company.clone(); Box::pin(async move { store::agents::list(tx, &company, None, 100).await }) }).await;
        assert!(left.iter().all(|agent| agent.name != "Worker" && agent.status != AgentStatus::Terminated));
        file.is_settled("after the rest was removed").await;
    }

    async fn a_new_company_is_made_as_another_one_is(world) {
        let file = File::new(&world).await;
        file.apply(&everything()).await;
        let mut exported = file.export().await;
        // Values that are not in the file have to come from somewhere.
        let by = Board::person();
        let ask = |document: &Json| ApplyAsk { document: document.clone(), ..ApplyAsk::default() };
        let refused = file.0.engine.apply_to_new_company("Twin", &ask(&exported), &by).await.unwrap_err();
        let EngineError::Invalid(problems) = refused else { panic!("{refused:?}") };
        let paths: Vec<String> = problems.into_iter().map(|problem| problem.path.rsplit_once(".").unwrap().1.to_owned()).collect();
        assert_eq!(paths, ["privateKeySecretRef", "API_KEY", "TOKEN", "DB_PASSWORD"]);
        let companies = file.0.world.read(|tx| Box::pin(async move { store::companies::list(tx, 10).await })).await;
        assert_eq!(companies.len(), 1, "a file that is wrong founds none");
        agent(&mut exported, "Worker")["adapterConfig"]["env"]["API_KEY"] = json!(CANARY);
        exported["projects"][0]["env"]["DB_PASSWORD"] = json!(CANARY);
        let twin = file.0.engine.found_company("Twin", None, 0, &by).await.unwrap().id;
        file.store_secrets(&twin).await;
        let keeping = ApplyAsk { keep_name: true, ..ask(&exported) };
        let made = file.ask(&twin, keeping.clone()).await.unwrap();
        assert!(made.is_done);
        let mut of_twin = file.0.engine.export_company(&twin).await.unwrap();
        assert_eq!(of_twin["company"]["name"], "Twin");
        of_twin["company"]["name"] = json!("Acme");
        let sorted = |document: &Json| edited(document.clone(), |it| {
            it["agents"].as_array_mut().unwrap().sort_by_key(|agent| agent["name"].to_string());
        });
        let mut wanted = exported.clone();
        agent(&mut wanted, "Worker")["adapterConfig"]["env"]["API_KEY"] = json!(MARK);
        wanted["projects"][0]["env"]["DB_PASSWORD"] = json!(MARK);
        assert_eq!(sorted(&of_twin), sorted(&wanted));
        assert_eq!(told(&file.ask(&twin, keeping).await.unwrap()), Vec::<String>::new());
        // Without secrets one request is enough.
        let small = json!({"version": 1, "company": {"name": "Small", "description": "x"},
            "agents": [{"name": "Ada", "adapterType": "process", "adapterConfig": {"command": "true"}}]});
        let dry = ApplyAsk { dry_run: true, ..ask(&small) };
        let looked = file.0.engine.apply_to_new_company("Tiny", &dry, &by).await.unwrap();
        assert_eq!((looked.is_done, looked.company), (false, None));
        let founded = file.0.engine.apply_to_new_company("Tiny", &ask(&small), &by).await.unwrap();
        assert_eq!(told(&founded), ["change company Tiny: description", "make agent Ada: name adapterType adapterConfig.command"]);
    }

    async fn a_dry_run_and_a_file_that_is_wrong_change_nothing(world) {
        let file = File::new(&world).await;
        file.apply(&everything()).await;
        let (before, head) = (file.export().await, file.head().await);
        let document = edited(before.clone(), |it| {
            it["company"]["description"] = json!("Other");
            agent(it, "Worker")["title"] = json!("Other");
            it["labels"] = json!([{"name": "new", "color": "#aaaaaa"}]);
        });
        let dry = ApplyAsk { document: document.clone(), dry_run: true, prune: true, ..ApplyAsk::default() };
        let looked = file.ask(&file.0.company, dry).await.unwrap();
        assert_eq!((looked.is_done, looked.plan.changes.len()), (false, 5), "{:?}", told(&looked));
        let mut wrong = document.clone();
        agent(&mut wrong, "Worker")["adapterConfig"] = json!({"command": 7, "env": {"1": "x", "PORT": 80, "T": {"secret": "none"}}});
        agent(&mut wrong, "Coder")["adapterType"] = json!("telepathy");
        agent(&mut wrong, "Chief")["adapterConfig"]["instructionsFilePath"] = json!("/x.md");
        agent(&mut wrong, "Gate")["adapterConfig"]["devicePrivateKeyPem"] = json!("x");
        wrong["labels"][0]["color"] = json!("red");
        wrong["environments"][1]["config"]["privateKey"] = json!("plain");
        wrong["projects"][0]["workspaces"]["web"]["cwd"] = json!("");
        wrong["projects"][0]["targetDate"] = json!("soon");
        wrong["automations"][0]["nodes"][0]["agent"] = json!("Nobody");
        wrong["automations"][1]["nodes"][0]["objectiv"] = json!("x");
        let at = |name: &str| wrong["agents"].as_array().unwrap().iter().position(|agent| agent["name"] == name).unwrap();
        let mut expected = vec![
            "labels[0].color".to_owned(),
            "environments[1].config.privateKey".to_owned(),
            format!("agents[{}].adapterConfig.env.PORT", at("Worker")),
            format!("agents[{}].adapterConfig.env.T", at("Worker")),
            format!("agents[{}].adapterType", at("Coder")),
            format!("agents[{}].adapterConfig.instructionsFilePath", at("Chief")),
            format!("agents[{}].adapterConfig.devicePrivateKeyPem", at("Gate")),
            "projects[0].targetDate".to_owned(),
            "automations[0].nodes[0].agent".to_owned(),
            "automations[1].nodes[0].objectiv".to_owned(),
            "projects[0].workspaces.web.cwd".to_owned(),
        ];
        let mut found: Vec<String> = file.wrong(wrong).await.into_iter().map(|(path, _)| path).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        let mut archived = before.clone();
        agent(&mut archived, "Coder")["defaultEnvironment"] = json!("Attic");
        let found = file.wrong(archived).await;
        assert_eq!(found[0].1, "the environment `Attic` is archived");
        assert_eq!((file.export().await, file.head().await), (before, head));
    }

    async fn a_company_does_not_get_the_name_of_another_one(world) {
        let file = File::new(&world).await;
        let by = Board::person();
        let two = file.0.engine.found_company("Two", None, 0, &by).await.unwrap().id;
        let document = json!({"version": 1, "company": {"name": " acme", "description": "one"}});
        let ask = |document: &Json| ApplyAsk { document: document.clone(), ..ApplyAsk::default() };
        for dry_run in [true, false] {
            let refused = file.ask(&two, ApplyAsk { dry_run, ..ask(&document) }).await.unwrap_err();
            let EngineError::Invalid(problems) = refused else { panic!("{refused:?}") };
            assert_eq!((problems.len(), problems[0].path.as_str()), (1, "company.name"), "{problems:?}");
        }
        let there = file.0.engine.export_company(&two).await.unwrap();
        assert_eq!((&there["company"]["name"], &there["company"]["description"]), (&json!("Two"), &Json::Null));
        // Without the name, and under another one, the same file is applied.
        let keeping = ApplyAsk { keep_name: true, ..ask(&document) };
        assert_eq!(told(&file.ask(&two, keeping).await.unwrap()), ["change company Two: description"]);
        let mut renamed = document;
        renamed["company"]["name"] = json!("Three");
        assert_eq!(told(&file.ask(&two, ask(&renamed)).await.unwrap()), ["change company Three: name"]);
        // Its own name is nobody else's.
        assert_eq!(told(&file.ask(&two, ask(&renamed)).await.unwrap()), Vec::<String>::new());
    }

    async fn a_file_that_a_person_applies_needs_no_further_approval_and_those_who_wait_stay(world) {
        let file = File::new(&world).await;
        let (engine, company) = (&file.0.engine, &file.0.company);
        let patch = CompanyPatch { require_approval: Some(true), ..CompanyPatch::default() };
        engine.patch_company(company, patch, &Board::person()).await.unwrap();
        let waiting = AgentDraft { name: "Waiting".to_owned(), role: Role::Qa, ..World::scripted(1) };
        engine.hire_agent(company, waiting, Vec::new(), &Board::person()).await.unwrap();
        let exported = file.export().await;
        assert_eq!(exported["agents"], json!([]), "nobody has decided on them");
        let ada = json!({"name": "Ada", "adapterType": "process", "adapterConfig": {"command": "true"}, "reportsTo": "Waiting"});
        let document = json!({"version": 1, "agents": [ada]});
        let ask = ApplyAsk { document, prune: true, ..ApplyAsk::default() };
        let applied = file.ask(company, ask).await.unwrap();
        assert_eq!(told(&applied), ["make agent Ada: name reportsTo adapterType adapterConfig.command"]);
        let of = company.clone();
        let all = file.0.world.read(move |tx| { let of = of.clone(); Box::pin(async move { store::agents::list(tx, &of, None, 10).await }) }).await;
        let mut statuses: Vec<(String, AgentStatus)> = all.into_iter().map(|agent| (agent.name, agent.status)).collect();
        statuses.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(statuses, [("Ada".to_owned(), AgentStatus::Idle), ("Waiting".to_owned(), AgentStatus::PendingApproval)]);
        let named = json!({"version": 1, "agents": [{"name": "waiting", "adapterType": "process", "adapterConfig": {"command": "true"}}]});
        let found = file.wrong(named).await;
        assert_eq!(found, [("agents[0]".to_owned(), "the agent `waiting` waits for its approval".to_owned())]);
    }

    async fn an_edit_beside_a_schedule_leaves_it_and_its_history_alone(world) {
        let file = File::new(&world).await;
        let document = json!({
            "version": 1,
            "agents": [{"name": "Ada", "adapterType": "process", "adapterConfig": {"command": "true"}}],
            "automations": [{
                "name": "night", "inputs": {"since": {"type": "string", "default": "v1"}},
                "nodes": [{"id": "look", "agent": "Ada", "objective": "Look."}],
                "schedules": [
                    {"name": "nightly", "cron": "30 2 * * *", "timezone": "Europe/Berlin", "inputs": {"since": "v2"}},
                    {"name": "often", "every": "15m", "enabled": false},
                ],
            }],
        });
        file.apply(&document).await;
        let schedules = || async {
            let listed = file.0.engine.schedules(&file.0.company, None, 10).await.unwrap();
            listed.into_iter().map(|view| (view.schedule.id, view.spec.name)).collect::<Vec<_>>()
        };
        let before = schedules().await;
        assert_eq!(before.len(), 2, "{before:?}");
        file.is_settled("with schedules").await;
        let mut edited = file.export().await;
        edited["automations"][0]["nodes"][0]["objective"] = json!("Look twice.");
        assert_eq!(told(&file.apply(&edited).await), ["change automation night: nodes[look].objective"]);
        assert_eq!(schedules().await, before, "the same ones");
        file.is_settled("after an edit beside them").await;
        edited["automations"][0]["schedules"].as_array_mut().unwrap().pop();
        let applied = told(&file.apply(&edited).await);
        assert!(applied.len() == 1 && applied[0].starts_with("change automation night: schedules"), "{applied:?}");
        assert_eq!(schedules().await, before[..1]);
        let mut wrong = edited.clone();
        wrong["automations"][0]["schedules"][0]["cron"] = json!("never");
        let places: Vec<String> = file.wrong(wrong).await.into_iter().map(|(path, _)| path).collect();
        assert!(places[0].starts_with("automations[0].schedules[0]"), "{places:?}");
    }

    async fn webhooks_are_known_by_their_address_and_the_file_has_none_of_their_secrets(world) {
        let file = File::new(&world).await;
        let url = format!("https://hooks.example/in?token={CANARY}");
        let document = json!({"version": 1, "webhooks": [
            {"url": url, "events": ["automation.*"], "description": "for CI"},
            {"url": "https://other.example/in", "events": ["*"], "enabled": false},
        ]});
        let applied = file.apply(&document).await;
        let shown = format!("{:?}", applied.plan.changes.iter().map(|change| &change.fields).collect::<Vec<_>>());
        assert!(!shown.contains(CANARY), "{shown}");
        let webhooks = || async { file.0.engine.webhooks(&file.0.company).await.unwrap() };
        let made = webhooks().await;
        assert_eq!(made.iter().map(|it| it.is_enabled).collect::<Vec<_>>(), [true, false]);
        assert_eq!(made[0].url, url);
        file.is_settled("with webhooks").await;
        let exported = file.export().await;
        assert_eq!(exported["webhooks"][0]["url"], "https://hooks.example/in?token=***");
        assert!(!exported.to_string().contains(CANARY));
        // The whole address means the same one, and so does the masked one.
        assert_eq!(told(&file.apply(&document).await), Vec::<String>::new());
        let mut edited = exported.clone();
        edited["webhooks"][0]["events"] = json!(["heartbeat.run.status"]);
        edited["webhooks"][1].as_object_mut().unwrap().remove("enabled");
        let expected = [
            "change webhook https://hooks.example/in?token=***: events",
            "change webhook https://other.example/in: enabled",
        ];
        assert_eq!(told(&file.apply(&edited).await), expected);
        let changed = webhooks().await;
        assert_eq!((changed[0].url.as_str(), changed[0].secret_version), (url.as_str(), 1));
        assert!(changed.iter().all(|it| it.is_enabled));
        file.is_settled("after a change").await;
        // Two with one address: the older one is in the file, and nothing is made of it again and again.
        let draft = engine::EndpointDraft {
            url: "https://other.example/in".to_owned(), events: vec!["*".to_owned()], description: None, secret: None,
        };
        file.0.engine.create_webhook(&file.0.company, draft, &Board::person()).await.unwrap();
        file.is_settled("with two of one address").await;
        let wrong = json!({"version": 1, "webhooks": [
            {"url": "https://new.example/in?key=***", "events": ["*"]}, {"url": "ftp://x", "events": []},
            {"url": "https://a.example/", "secret": "whsec_x"},
        ]});
        let places: Vec<String> = file.wrong(wrong).await.into_iter().map(|(path, _)| path).collect();
        assert!(places.iter().any(|place| place.starts_with("webhooks[2].secret")), "{places:?}");
        let masked = json!({"version": 1, "webhooks": [{"url": "https://new.example/in?key=***", "events": ["*"]}]});
        assert_eq!(file.wrong(masked).await[0].0, "webhooks[0].url");
        let ask = ApplyAsk { document: json!({"version": 1, "webhooks": []}), prune: true, ..ApplyAsk::default() };
        file.ask(&file.0.company, ask).await.unwrap();
        assert_eq!(webhooks().await.len(), 0, "the younger one of that address, too");
    }

    async fn things_that_a_file_could_not_tell_apart_are_said_and_not_written(world) {
        let file = File::new(&world).await;
        let mut ids = Vec::new();
        for _ in 0..2 {
            let draft = engine::GoalDraft { title: "Grow".to_owned(), ..engine::GoalDraft::default() };
            ids.push(file.0.engine.create_goal(&file.0.company, draft, &Board::person()).await.unwrap().id);
        }
        let refused = file.0.engine.export_company(&file.0.company).await.unwrap_err();
        assert!(refused.to_string().starts_with("The company has several goals called `Grow`"), "{refused}");
        assert!(ids.iter().all(|id| refused.to_string().contains(id.as_str())), "{refused}");
        assert!(refused.to_string().contains("PATCH /api/goals/ID"), "{refused}");
        let found = file.wrong(json!({"version": 1, "goals": [{"title": "Grow"}]})).await;
        assert_eq!(found, [("goals[0]".to_owned(), "the company has several goals called `Grow`".to_owned())]);
    }

    async fn what_is_null_in_what_people_keep_stays_so(world) {
        let file = File::new(&world).await;
        let (engine, company, by) = (&file.0.engine, &file.0.company, Board::person());
        let kept = json!({"a": [null, 1], "b": null, "c": {"d": null}});
        let agent = AgentDraft {
            name: "Ada".to_owned(), adapter_type: "process".to_owned(), metadata: Some(kept.clone()),
            adapter_config: json!({"command": "true", "unset": null, "extra": kept}), ..AgentDraft::default()
        };
        engine.create_agent(company, agent, &Actor::local_board()).await.unwrap();
        let definition = json!({
            "name": "nightly", "inputs": {"deep": {"default": {"a": null, "b": 1}}, "to": {"required": false}},
            "nodes": [{"id": "look", "agent": "Ada", "objective": "Look.",
                       "output": {"schema": {"properties": {"k": {"enum": ["a", null]}, "n": {"const": null}}}}}],
            "schedules": [{"name": "often", "every": "15m", "inputs": {"to": null}}],
        });
        engine.apply_automation(company, &definition, false, &by).await.unwrap();
        let mut exported = file.export().await;
        assert_eq!(exported["agents"][0]["metadata"], kept);
        assert_eq!(exported["agents"][0]["adapterConfig"]["extra"], kept);
        assert_eq!(exported["agents"][0]["adapterConfig"].get("unset"), None);
        file.is_settled("with nulls").await;
        exported["automations"][0]["description"] = json!("Each night");
        assert_eq!(told(&file.apply(&exported).await), ["change automation nightly: description"]);
        let stored = engine.automation(company, "nightly").await.unwrap().version.definition;
        for field in ["inputs", "nodes"] {
            assert_eq!(stored[field], definition[field], "{field}");
        }
        assert_eq!(stored["schedules"][0]["inputs"], json!({"to": null}));
        exported["agents"][0]["metadata"]["b"] = json!(1);
        assert_eq!(told(&file.apply(&exported).await), ["change agent Ada: metadata.b"]);
    }

    async fn what_was_saved_under_other_rules_is_no_mistake_of_a_file_that_leaves_it(world) {
        let file = File::new(&world).await;
        let (engine, company) = (&file.0.engine, &file.0.company);
        let node = json!([{"id": "look", "agent": "Ada", "objective": "Look."}]);
        file.apply(&json!({"version": 1, "automations": [{"name": "old", "nodes": node}],
            "agents": [{"name": "Ada", "adapterType": "process", "adapterConfig": {"command": "true"}}]})).await;
        let view = engine.automation(company, "old").await.unwrap();
        let definition = json!({"name": "old", "nodes": [{"id": "look", "agent": "Ada", "objective": "{{ inputs['gone'] }}", "timeout": {"idleSec": i64::MAX}}]});
        let automation = Automation { version: 2, ..view.automation };
        let version = Version { version: 2, hash: "of old".to_owned(), definition, ..view.version };
        file.0.world.store.write(move |tx| { let (automation, version) = (automation.clone(), version.clone()); Box::pin(async move {
            definitions::add_version(tx, &version).await?; definitions::update(tx, &automation).await }) }).await.unwrap();
        let mut edited = file.export().await;
        file.is_settled("with what nobody may save any more").await;
        edited["automations"][0]["description"] = json!("Of old");
        let places: Vec<String> = file.wrong(edited).await.into_iter().map(|(path, _)| path).collect();
        assert_eq!(places, ["automations[0].nodes[0].timeout.idleSec", "automations[0].nodes[0].objective"]);
    }

    async fn agents_of_other_letters_are_hired_once(world) {
        let file = File::new(&world).await;
        let named = |name: &str| json!({"version": 1, "agents": [{"name": name, "adapterType": "process", "adapterConfig": {"command": "true"}}]});
        for name in ["Müller", "東京"] {
            assert_eq!(told(&file.apply(&named(name)).await).len(), 1, "{name}");
            assert_eq!(told(&file.apply(&named(name)).await), Vec::<String>::new(), "{name}");
        }
        assert_eq!(told(&file.apply(&named("Möller")).await), ["change agent Möller: name"], "its short name is the same");
        file.is_settled("with other letters").await;
    }

    async fn an_automation_whose_agent_is_gone_is_no_mistake_of_a_file_that_leaves_it(world) {
        let file = File::new(&world).await;
        let (engine, company) = (&file.0.engine, &file.0.company);
        let agent = |name: &str| json!({"name": name, "adapterType": "process", "adapterConfig": {"command": "true"}});
        let node = |agent: &str| json!([{"id": "look", "agent": agent, "objective": "Look."}]);
        let document = json!({"version": 1, "agents": [agent("Ada"), agent("Bob"), agent("Cy")], "automations": [
            {"name": "first", "nodes": node("Cy")},
            {"name": "second", "after": [{"automation": "first"}], "nodes": node("Ada")},
            {"name": "third", "nodes": node("Bob")},
        ]});
        file.apply(&document).await;
        let actor = Actor::local_board();
        let id = |name: &str| { let (name, of) = (name.to_owned(), company.clone()); file.0.world.read(move |tx| { let (name, of) = (name.clone(), of.clone()); Box::pin(async move {
            let found = store::agents::list(tx, &of, None, 10).await?; Ok(found.into_iter().find(|agent| agent.name == name).unwrap().id) }) }) };
        engine.terminate_agent(&id("Ada").await, &actor).await.unwrap();
        let patch = engine::AgentPatch { name: Some("Robert".to_owned()), ..engine::AgentPatch::default() };
        engine.patch_agent(&id("Bob").await, patch, &actor).await.unwrap();
        let first = engine.automation(company, "first").await.unwrap().automation.id;
        engine.remove_automation(&first, &Board::person()).await.unwrap();
        let exported = file.export().await;
        for prune in [false, true] {
            let ask = ApplyAsk { document: exported.clone(), prune, ..ApplyAsk::default() };
            assert_eq!(told(&file.ask(company, ask).await.unwrap()), Vec::<String>::new());
        }
        // Whoever changes the automation has it looked at as a whole.
        let mut edited = exported.clone();
        edited["automations"][0]["nodes"][0]["objective"] = json!("Look twice.");
        let places: Vec<String> = file.wrong(edited).await.into_iter().map(|(path, _)| path).collect();
        assert_eq!(places, ["automations[0].after[0].automation", "automations[0].nodes[0].agent"]);
        // Whom this file sends away was there before it.
        let third = json!({"version": 1, "agents": [agent("Cy")], "automations": [{"name": "fourth", "nodes": node("Robert")}]});
        file.apply(&third).await;
        let ask = ApplyAsk { document: third, prune: true, ..ApplyAsk::default() };
        assert!(matches!(file.ask(company, ask).await, Err(EngineError::Invalid(_))));
    }

    async fn instructions_move_to_a_folder_that_the_file_names(world) {
        let file = File::new(&world).await;
        let told_here = json!({"version": 1, "agents": [{"name": "Ada", "adapterType": "claude_local",
            "instructions": {"entry": "a.md", "files": {"a.md": "Lead.", "b.md": "Be kind."}}}]});
        file.apply(&told_here).await;
        let outside = json!({"version": 1, "agents": [{"name": "Ada", "adapterType": "claude_local",
            "adapterConfig": {"instructionsBundleMode": "external", "instructionsRootPath": "/srv/ada",
                "instructionsEntryFile": "a.md", "instructionsFilePath": "/srv/ada/a.md"}}]});
        assert_eq!(told(&file.apply(&outside).await).len(), 1);
        assert_eq!(told(&file.apply(&outside).await), Vec::<String>::new());
        let exported = file.export().await;
        assert_eq!(exported["agents"][0]["adapterConfig"]["instructionsRootPath"], "/srv/ada");
        file.is_settled("outside").await;
        file.apply(&told_here).await;
        assert_eq!(file.export().await["agents"][0]["instructions"], told_here["agents"][0]["instructions"]);
        file.is_settled("back again").await;
    }

    async fn what_everybody_may_save_a_file_may_say(world) {
        let file = File::new(&world).await;
        let (engine, company, by) = (&file.0.engine, &file.0.company, Board::person());
        let goal = |title: &str| engine::GoalDraft { title: title.to_owned(), description: Some("é".repeat(60_000)), ..engine::GoalDraft::default() };
        let one = engine.create_goal(company, goal("one\nin two lines"), &by).await.unwrap();
        let two = engine.create_goal(company, engine::GoalDraft { parent_id: Some(one.id.clone()), ..goal("two") }, &by).await.unwrap();
        let patch = engine::GoalPatch { parent_id: Some(Some(two.id)), ..engine::GoalPatch::default() };
        engine.patch_goal(&one.id, patch, &by).await.unwrap();
        let project = engine::ProjectDraft { name: "a\ttab".to_owned(), description: Some("é".repeat(60_000)), goal_ids: vec![one.id], ..engine::ProjectDraft::default() };
        engine.create_project(company, project, &by).await.unwrap();
        let agent = AgentDraft { name: "Ada".to_owned(), title: Some("é".repeat(1_000)), capabilities: Some("é".repeat(20_000)), ..World::scripted(1) };
        engine.create_agent(company, agent, &Actor::local_board()).await.unwrap();
        file.is_settled("with long texts and a circle").await;
        let mut long = file.export().await;
        long["goals"][0]["description"] = json!("é".repeat(100_001));
        assert_eq!(file.wrong(long).await[0].0, "goals[0].description");
    }

    async fn an_automation_that_does_not_run_is_made_so_elsewhere_and_left_as_it_is_here(world) {
        let file = File::new(&world).await;
        let (engine, company, by) = (&file.0.engine, &file.0.company, Board::person());
        let automation = |name: &str| json!({"name": name, "nodes": [{"id": "look", "agent": "Ada", "objective": "Look."}],
            "schedules": [{"name": "often", "every": "15m"}]});
        let document = json!({"version": 1, "agents": [{"name": "Ada", "adapterType": "process", "adapterConfig": {"command": "true"}}],
            "automations": [automation("busy"), automation("early"), automation("paused")]});
        file.apply(&document).await;
        for (name, status) in [("early", AutomationStatus::Draft), ("paused", AutomationStatus::Paused)] {
            let id = engine.automation(company, name).await.unwrap().automation.id;
            engine.set_automation_status(&id, status, None, &by).await.unwrap();
        }
        let exported = file.export().await;
        let said: Vec<&Json> = exported["automations"].as_array().unwrap().iter().map(|it| &it["status"]).collect();
        assert_eq!(said, [&Json::Null, &json!("draft"), &json!("paused")]);
        file.is_settled("with a pause").await;
        // A file from before it lifts no pause, and an edit beside it changes none.
        assert_eq!(told(&file.apply(&document).await), Vec::<String>::new());
        let mut edited = document.clone();
        edited["automations"][2]["nodes"][0]["objective"] = json!("Look twice.");
        assert_eq!(told(&file.apply(&edited).await), ["change automation paused: nodes[look].objective"]);
        assert_eq!(file.export().await["automations"][2]["status"], "paused");
        let twin = file.0.neighbour().await.company;
        let ask = ApplyAsk { document: exported.clone(), keep_name: true, ..ApplyAsk::default() };
        file.ask(&twin, ask.clone()).await.unwrap();
        for (name, status) in [("busy", AutomationStatus::Active), ("early", AutomationStatus::Draft), ("paused", AutomationStatus::Paused)] {
            assert_eq!(engine.automation(&twin, name).await.unwrap().automation.status, status, "{name}");
        }
        assert_eq!(told(&file.ask(&twin, ask).await.unwrap()), Vec::<String>::new());
    }

    async fn what_is_off_in_a_file_is_never_on_and_one_address_goes_as_a_whole(world) {
        let file = File::new(&world).await;
        let company = &file.0.company;
        let off = json!({"version": 1, "webhooks": [{"url": "https://off.example/in", "events": ["*"], "enabled": false}]});
        file.apply(&off).await;
        let made = file.0.engine.webhooks(company).await.unwrap().remove(0);
        assert!(!made.is_enabled);
        let (of, id) = (company.clone(), made.id.clone());
        let happened = file.0.world.read(move |tx| { let (of, id) = (of.clone(), id.clone()); Box::pin(async move {
            store::activity::of_entity(tx, &of, ("webhook", id.as_str()), 10).await }) }).await;
        let actions: Vec<&str> = happened.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(actions, ["webhook.created"]);
        for token in ["a", "b"] {
            let url = format!("https://two.example/in?token={token}");
            let draft = engine::EndpointDraft { url, events: vec!["*".to_owned()], description: None, secret: None };
            file.0.engine.create_webhook(company, draft, &Board::person()).await.unwrap();
        }
        file.is_settled("with two of one address").await;
        let ask = ApplyAsk { document: off, prune: true, ..ApplyAsk::default() };
        let gone = "remove webhook https://two.example/in?token=***: ";
        assert_eq!(told(&file.ask(company, ask).await.unwrap()), [gone, gone]);
        file.is_settled("after both went").await;
        assert_eq!(file.0.engine.webhooks(company).await.unwrap().len(), 1);
    }

    async fn the_budget_of_an_agent_that_waits_is_there_once(world) {
        let file = File::new(&world).await;
        let (engine, company) = (&file.0.engine, &file.0.company);
        let patch = CompanyPatch { require_approval: Some(true), ..CompanyPatch::default() };
        engine.patch_company(company, patch, &Board::person()).await.unwrap();
        let waiting = AgentDraft { name: "Waiting".to_owned(), budget_monthly_cents: 500, ..World::scripted(1) };
        engine.hire_agent(company, waiting, Vec::new(), &Board::person()).await.unwrap();
        file.is_settled("with a budget of an agent that waits").await;
        let document = json!({"version": 1, "budgets": [{"agent": "Waiting", "amount": 500}]});
        assert_eq!(told(&file.apply(&document).await), Vec::<String>::new());
        let ask = ApplyAsk { document: json!({"version": 1, "budgets": []}), prune: true, ..ApplyAsk::default() };
        assert_eq!(told(&file.ask(company, ask).await.unwrap()), Vec::<String>::new());
    }
}
