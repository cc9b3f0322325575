//! Nobody reaches into a company that they have no part in: every route is tried by everybody who must not.
//!
//! The routes come from the description of the surface, and each must be in the table below: a new route without an
//! expectation fails the test.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::door::Door;
use crate::stage::{Stage, id_of};

/// Stands in every text of the company that is reached for: no refusal may tell any of it.
const HUSH: &str = "hush";

/// Who may come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    /// Everybody, key or not.
    Anyone,
    /// Who has a part in the company that the path is about.
    Company,
    /// Of these, people who may read configurations; viewers may not even look.
    Managers,
    /// Of these, whoever administers the instance is let in too; viewers may look.
    Members,
    /// People, each for themselves.
    People,
    /// Agents, each for itself.
    Agents,
    /// Who administers the instance.
    Admins,
}

use For::{Admins, Agents, Anyone, Company, Managers, Members, People};

/// Each route with a body that it takes: what a body must look like is said before who may send it.
fn table() -> Vec<(&'static str, &'static str, For, Value)> {
    let none = Value::Null;
    let empty = || json!({});
    let id = "0192f7a0-0000-4000-8000-00000000000a";
    let secret = "x".repeat(40);
    vec![
        ("GET", "/health", Anyone, none.clone()),
        ("GET", "/api/health", Anyone, none.clone()),
        ("GET", "/api/openapi.json", Anyone, none.clone()),
        ("GET", "/api/companies/issues", Anyone, none.clone()),
        ("GET", "/api/issues", Anyone, none.clone()),
        ("POST", "/api/cli-auth/challenges", Anyone, json!({"command": "test"})),
        ("GET", "/api/cli-auth/challenges/{challenge}", Anyone, none.clone()),
        ("POST", "/api/cli-auth/challenges/{challenge}/cancel", Anyone, json!({"token": secret})),
        ("GET", "/metrics", Admins, none.clone()),
        ("GET", "/api/metrics", Admins, none.clone()),
        ("GET", "/api/audit/head", Admins, none.clone()),
        ("GET", "/api/audit/verify", Admins, none.clone()),
        ("POST", "/api/backup", Admins, json!({"path": "/nowhere/backup"})),
        ("POST", "/api/bootstrap", Admins, json!({"token": secret, "name": "Eve"})),
        ("POST", "/api/companies", Admins, json!({"name": "Eve's"})),
        ("GET", "/api/users", Admins, none.clone()),
        ("POST", "/api/users", Admins, json!({"name": "Eve"})),
        ("GET", "/api/users/{user}/keys", Admins, none.clone()),
        ("POST", "/api/users/{user}/keys", Admins, empty()),
        ("DELETE", "/api/users/{user}/keys/{key}", Admins, none.clone()),
        ("GET", "/api/companies", People, none.clone()),
        ("GET", "/api/companies/stats", People, none.clone()),
        ("GET", "/api/cli-auth/me", People, none.clone()),
        ("POST", "/api/cli-auth/challenges/{challenge}/approve", People, json!({"token": secret})),
        ("POST", "/api/cli-auth/revoke-current", People, none.clone()),
        ("GET", "/api/agents/me", Agents, none.clone()),
        ("GET", "/api/agents/me/inbox-lite", Agents, none.clone()),
        ("GET", "/api/agents/me/inbox/mine", Agents, none.clone()),
        ("GET", "/api/agents/{agent}", Company, none.clone()),
        ("PATCH", "/api/agents/{agent}", Company, json!({"title": "Mine"})),
        ("POST", "/api/agents/{agent}/approve", Company, none.clone()),
        ("PATCH", "/api/agents/{agent}/budgets", Company, json!({"budgetMonthlyCents": 5})),
        ("POST", "/api/agents/{agent}/cancel-work", Company, none.clone()),
        ("GET", "/api/agents/{agent}/configuration", Managers, none.clone()),
        ("POST", "/api/agents/{agent}/heartbeat/invoke", Company, none.clone()),
        ("GET", "/api/agents/{agent}/keys", Managers, none.clone()),
        ("POST", "/api/agents/{agent}/keys", Company, empty()),
        ("DELETE", "/api/agents/{agent}/keys/{key}", Company, none.clone()),
        ("POST", "/api/agents/{agent}/pause", Company, none.clone()),
        (
            "PATCH",
            "/api/agents/{agent}/permissions",
            Company,
            json!({"canCreateAgents": true, "canAssignTasks": true}),
        ),
        ("POST", "/api/agents/{agent}/resume", Company, none.clone()),
        ("GET", "/api/agents/{agent}/runtime-state", Managers, none.clone()),
        ("POST", "/api/agents/{agent}/runtime-state/reset-session", Company, empty()),
        ("GET", "/api/agents/{agent}/task-sessions", Managers, none.clone()),
        ("POST", "/api/agents/{agent}/terminate", Company, none.clone()),
        ("POST", "/api/agents/{agent}/wakeup", Company, empty()),
        ("GET", "/api/agents/{agent}/wakeups", Company, none.clone()),
        ("GET", "/api/approvals/{approval}", Company, none.clone()),
        ("POST", "/api/approvals/{approval}/approve", Company, empty()),
        ("GET", "/api/approvals/{approval}/comments", Company, none.clone()),
        ("POST", "/api/approvals/{approval}/comments", Company, json!({"body": "mine"})),
        ("GET", "/api/approvals/{approval}/issues", Company, none.clone()),
        ("POST", "/api/approvals/{approval}/reject", Company, empty()),
        ("POST", "/api/approvals/{approval}/request-revision", Company, empty()),
        ("POST", "/api/approvals/{approval}/resubmit", Company, empty()),
        ("DELETE", "/api/attachments/{attachment}", Company, none.clone()),
        ("GET", "/api/attachments/{attachment}/content", Company, none.clone()),
        ("GET", "/api/companies/{company}", Company, none.clone()),
        ("PATCH", "/api/companies/{company}", Company, json!({"name": "Mine"})),
        ("DELETE", "/api/companies/{company}", Company, none.clone()),
        ("GET", "/api/companies/{company}/activity", Company, none.clone()),
        (
            "POST",
            "/api/companies/{company}/activity",
            Company,
            json!({"actorId": "x", "action": "x.y", "entityType": "x", "entityId": "x"}),
        ),
        ("POST", "/api/companies/{company}/adapters/{kind}/test-environment", Company, empty()),
        ("GET", "/api/companies/{company}/agent-configurations", Managers, none.clone()),
        ("POST", "/api/companies/{company}/agent-hires", Company, json!({"name": "Mine"})),
        ("GET", "/api/companies/{company}/agents", Company, none.clone()),
        ("POST", "/api/companies/{company}/agents", Company, json!({"name": "Mine"})),
        ("GET", "/api/companies/{company}/approvals", Company, none.clone()),
        (
            "POST",
            "/api/companies/{company}/approvals",
            Company,
            json!({"type": "request_board_approval", "payload": {}}),
        ),
        ("POST", "/api/companies/{company}/archive", Company, none.clone()),
        (
            "POST",
            "/api/companies/{company}/budget-incidents/{incident}/resolve",
            Company,
            json!({"action": "keep_paused"}),
        ),
        ("PATCH", "/api/companies/{company}/budgets", Company, json!({"budgetMonthlyCents": 5})),
        ("GET", "/api/companies/{company}/budgets/overview", Company, none.clone()),
        (
            "POST",
            "/api/companies/{company}/budgets/policies",
            Company,
            json!({"scopeType": "company", "scopeId": id, "amount": 5}),
        ),
        (
            "POST",
            "/api/companies/{company}/cost-events",
            Company,
            json!({"agentId": id, "provider": "p", "model": "m", "costCents": 1, "occurredAt": "2026-04-27T15:02:47Z"}),
        ),
        ("GET", "/api/companies/{company}/costs/by-agent", Company, none.clone()),
        ("GET", "/api/companies/{company}/costs/by-agent-model", Company, none.clone()),
        ("GET", "/api/companies/{company}/costs/by-biller", Company, none.clone()),
        ("GET", "/api/companies/{company}/costs/by-project", Company, none.clone()),
        ("GET", "/api/companies/{company}/costs/by-provider", Company, none.clone()),
        ("GET", "/api/companies/{company}/costs/quota-windows", Company, none.clone()),
        ("GET", "/api/companies/{company}/costs/summary", Company, none.clone()),
        ("GET", "/api/companies/{company}/costs/window-spend", Company, none.clone()),
        ("GET", "/api/companies/{company}/dashboard", Company, none.clone()),
        ("GET", "/api/companies/{company}/events", Company, none.clone()),
        ("GET", "/api/companies/{company}/events/ws", Company, none.clone()),
        ("GET", "/api/companies/{company}/goals", Company, none.clone()),
        ("POST", "/api/companies/{company}/goals", Company, json!({"title": "mine"})),
        ("GET", "/api/companies/{company}/heartbeat-runs", Company, none.clone()),
        ("GET", "/api/companies/{company}/inbox-dismissals", Company, none.clone()),
        ("POST", "/api/companies/{company}/inbox-dismissals", Company, json!({"itemKey": "run:x"})),
        ("GET", "/api/companies/{company}/inbox-items", Company, none.clone()),
        ("POST", "/api/companies/{company}/inbox-items/{item}/resolve", Company, none.clone()),
        ("GET", "/api/companies/{company}/issues", Company, none.clone()),
        ("POST", "/api/companies/{company}/issues", Company, json!({"title": "mine"})),
        ("POST", "/api/companies/{company}/issues/{issue}/attachments", Company, none.clone()),
        ("GET", "/api/companies/{company}/labels", Company, none.clone()),
        ("POST", "/api/companies/{company}/labels", Company, json!({"name": "mine", "color": "#112233"})),
        ("GET", "/api/companies/{company}/live-runs", Company, none.clone()),
        ("GET", "/api/companies/{company}/members", Members, none.clone()),
        ("PUT", "/api/companies/{company}/members/{user}", Company, json!({"role": "owner"})),
        ("DELETE", "/api/companies/{company}/members/{user}", Company, none.clone()),
        ("GET", "/api/companies/{company}/projects", Company, none.clone()),
        ("POST", "/api/companies/{company}/projects", Company, json!({"name": "mine"})),
        ("GET", "/api/companies/{company}/sidebar-badges", Company, none.clone()),
        ("GET", "/api/goals/{goal}", Company, none.clone()),
        ("PATCH", "/api/goals/{goal}", Company, json!({"title": "mine"})),
        ("DELETE", "/api/goals/{goal}", Company, none.clone()),
        ("GET", "/api/heartbeat-runs/{run}", Company, none.clone()),
        ("POST", "/api/heartbeat-runs/{run}/cancel", Company, none.clone()),
        ("GET", "/api/heartbeat-runs/{run}/events", Company, none.clone()),
        ("GET", "/heartbeat-runs/{run}/events", Company, none.clone()),
        ("GET", "/api/heartbeat-runs/{run}/explain", Company, none.clone()),
        ("GET", "/api/heartbeat-runs/{run}/issues", Company, none.clone()),
        ("GET", "/api/heartbeat-runs/{run}/log", Company, none.clone()),
        ("GET", "/heartbeat-runs/{run}/log", Company, none.clone()),
        ("GET", "/api/heartbeat-runs/{run}/log/stream", Company, none.clone()),
        ("GET", "/api/heartbeat-runs/{run}/transcript", Company, none.clone()),
        ("POST", "/api/heartbeat-runs/{run}/watchdog-decisions", Company, json!({"decision": "continue"})),
        ("GET", "/api/issues/{issue}", Company, none.clone()),
        ("PATCH", "/api/issues/{issue}", Company, json!({"title": "mine"})),
        ("DELETE", "/api/issues/{issue}", Company, none.clone()),
        ("GET", "/api/issues/{issue}/active-run", Company, none.clone()),
        ("GET", "/api/issues/{issue}/activity", Company, none.clone()),
        ("POST", "/api/issues/{issue}/admin/force-release", Company, none.clone()),
        ("GET", "/api/issues/{issue}/approvals", Company, none.clone()),
        ("POST", "/api/issues/{issue}/approvals", Company, json!({"approvalId": id})),
        ("DELETE", "/api/issues/{issue}/approvals/{approval}", Company, none.clone()),
        ("GET", "/api/issues/{issue}/attachments", Company, none.clone()),
        (
            "POST",
            "/api/issues/{issue}/checkout",
            Company,
            json!({"agentId": id, "expectedStatuses": ["todo", "backlog"]}),
        ),
        ("POST", "/api/issues/{issue}/children", Company, json!({"title": "mine"})),
        ("GET", "/api/issues/{issue}/comments", Company, none.clone()),
        ("POST", "/api/issues/{issue}/comments", Company, json!({"body": "mine"})),
        ("GET", "/api/issues/{issue}/comments/{comment}", Company, none.clone()),
        ("DELETE", "/api/issues/{issue}/comments/{comment}", Company, none.clone()),
        ("GET", "/api/issues/{issue}/documents", Company, none.clone()),
        ("GET", "/api/issues/{issue}/documents/{key}", Company, none.clone()),
        (
            "PUT",
            "/api/issues/{issue}/documents/{key}",
            Company,
            json!({"format": "markdown", "body": "mine"}),
        ),
        ("DELETE", "/api/issues/{issue}/documents/{key}", Company, none.clone()),
        ("GET", "/api/issues/{issue}/documents/{key}/revisions", Company, none.clone()),
        ("POST", "/api/issues/{issue}/documents/{key}/revisions/{revision}/restore", Company, none.clone()),
        ("GET", "/api/issues/{issue}/heartbeat-context", Company, none.clone()),
        ("POST", "/api/issues/{issue}/inbox-archive", Company, none.clone()),
        ("DELETE", "/api/issues/{issue}/inbox-archive", Company, none.clone()),
        ("GET", "/api/issues/{issue}/interactions", Company, none.clone()),
        (
            "POST",
            "/api/issues/{issue}/interactions",
            Company,
            json!({"kind": "request_confirmation", "payload": {"prompt": "mine?"}}),
        ),
        ("POST", "/api/issues/{issue}/interactions/{interaction}/accept", Company, empty()),
        ("POST", "/api/issues/{issue}/interactions/{interaction}/reject", Company, empty()),
        ("POST", "/api/issues/{issue}/interactions/{interaction}/respond", Company, json!({"answers": []})),
        ("GET", "/api/issues/{issue}/live-runs", Company, none.clone()),
        ("POST", "/api/issues/{issue}/read", Company, none.clone()),
        ("DELETE", "/api/issues/{issue}/read", Company, none.clone()),
        ("POST", "/api/issues/{issue}/release", Company, none.clone()),
        ("GET", "/api/issues/{issue}/runs", Company, none.clone()),
        ("POST", "/api/issues/{issue}/tree-control/preview", Company, json!({"mode": "pause"})),
        ("GET", "/api/issues/{issue}/tree-control/state", Company, none.clone()),
        ("GET", "/api/issues/{issue}/tree-holds", Company, none.clone()),
        ("POST", "/api/issues/{issue}/tree-holds", Company, json!({"mode": "pause"})),
        ("GET", "/api/issues/{issue}/tree-holds/{hold}", Company, none.clone()),
        ("POST", "/api/issues/{issue}/tree-holds/{hold}/release", Company, empty()),
        ("GET", "/api/issues/{issue}/work-products", Company, none.clone()),
        (
            "POST",
            "/api/issues/{issue}/work-products",
            Company,
            json!({"type": "document", "provider": "p", "title": "mine"}),
        ),
        ("DELETE", "/api/labels/{label}", Company, none.clone()),
        ("GET", "/api/projects/{project}", Company, none.clone()),
        ("PATCH", "/api/projects/{project}", Company, json!({"name": "mine"})),
        ("DELETE", "/api/projects/{project}", Company, none.clone()),
        ("GET", "/api/projects/{project}/workspaces", Company, none.clone()),
        ("POST", "/api/projects/{project}/workspaces", Company, json!({"cwd": "/tmp"})),
        ("PATCH", "/api/projects/{project}/workspaces/{workspace}", Company, json!({"name": "mine"})),
        ("DELETE", "/api/projects/{project}/workspaces/{workspace}", Company, none.clone()),
        ("PATCH", "/api/work-products/{product}", Company, json!({"title": "mine"})),
        ("DELETE", "/api/work-products/{product}", Company, none),
    ]
}

/// A company with one of everything, and everybody who must not reach it.
struct World {
    stage: Stage,
    door: Door,
    company: String,
    /// What stands for each named part of a path.
    ids: BTreeMap<&'static str, String>,
    /// A chief of another company, with every right there.
    foreign_agent: String,
    /// An owner of another company.
    foreign_member: String,
    /// Reads in the company.
    viewer: String,
    /// The token of a run of the company that is over.
    ended_run: String,
}

impl World {
    async fn new() -> World {
        let stage = Stage::new().await;
        let (company, agent, run) = {
            let company = stage.company("Acme hush").await;
            let agent = stage.agent(&company, "Engineer hush", 5).await;
            let run = stage.wake(&agent, "task").await;
            stage.started(&run).await;
            (company, agent, run)
        };
        let ended_run = stage.puppets.variable(&run, "PAPERCLIP_API_KEY");
        stage.puppets.end(&run, 0);
        stage.over(&company, &run).await;

        let made = |path: String, body: Value| {
            let stage = &stage;
            async move { stage.post(&path, body).await.good() }
        };
        let issue =
            id_of(&made(format!("/api/companies/{company}/issues"), json!({"title": "Work hush"})).await);
        let comment = id_of(&made(format!("/api/issues/{issue}/comments"), json!({"body": "hush"})).await);
        let plan = json!({"format": "markdown", "body": "hush"});
        let document = stage.person("PUT", &format!("/api/issues/{issue}/documents/plan"), plan).await.good();
        let confirmation = json!({"kind": "request_confirmation", "payload": {"prompt": "hush?"}});
        let interaction = id_of(&made(format!("/api/issues/{issue}/interactions"), confirmation).await);
        let approval =
            json!({"type": "request_board_approval", "payload": {"title": "hush"}, "issueIds": [issue]});
        let approval = id_of(&made(format!("/api/companies/{company}/approvals"), approval).await);
        let label = json!({"name": "hush", "color": "#112233"});
        let label = id_of(&made(format!("/api/companies/{company}/labels"), label).await);
        let product = json!({"type": "document", "provider": "p", "title": "hush"});
        let product = id_of(&made(format!("/api/issues/{issue}/work-products"), product).await);
        let project =
            id_of(&made(format!("/api/companies/{company}/projects"), json!({"name": "Plan hush"})).await);
        let workspace =
            id_of(&made(format!("/api/projects/{project}/workspaces"), json!({"cwd": "/tmp/hush"})).await);
        let goal =
            id_of(&made(format!("/api/companies/{company}/goals"), json!({"title": "Goal hush"})).await);
        let held = made(format!("/api/issues/{issue}/tree-holds"), json!({"mode": "pause"})).await;
        let hold = held["hold"]["id"].as_str().or(held["id"].as_str()).unwrap().to_owned();
        let key = id_of(&made(format!("/api/agents/{agent}/keys"), json!({"name": "hush"})).await);
        let (user, _) = stage.user("Owner hush", Some((&company, "owner"))).await;
        let (_, viewer) = stage.user("Viewer", Some((&company, "viewer"))).await;
        let item = stage.engine.new_id();
        open_item(&stage, &company, &item, &issue).await;

        let other = stage.company("Rival").await;
        let chief = json!({
            "name": "Chief", "role": "ceo", "adapterType": "process", "adapterConfig": {"command": "true"},
        });
        let chief = id_of(&stage.post(&format!("/api/companies/{other}/agents"), chief).await.good());
        let foreign_agent = stage.agent_key(&chief).await;
        let (_, foreign_member) = stage.user("Stranger", Some((&other, "owner"))).await;

        let nobody = "0192f7a0-0000-4000-8000-00000000000a".to_owned();
        let ids = BTreeMap::from([
            ("company", company.clone()),
            ("agent", agent),
            ("run", run),
            ("issue", issue),
            ("comment", comment),
            ("revision", document["latestRevisionId"].as_str().unwrap().to_owned()),
            ("interaction", interaction),
            ("approval", approval),
            ("label", label),
            ("product", product),
            ("project", project),
            ("workspace", workspace),
            ("goal", goal),
            ("hold", hold),
            ("user", user),
            ("item", item),
            ("kind", "process".to_owned()),
            ("key", key),
            // Of these there is none: whose it would be is asked before.
            ("attachment", nobody.clone()),
            ("incident", nobody.clone()),
            ("challenge", nobody),
        ]);
        let door = Door::new(&stage);
        World { stage, door, company, ids, foreign_agent, foreign_member, viewer, ended_run }
    }

    fn concrete(&self, path: &str) -> String {
        path.split('/')
            .map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                None => part.to_owned(),
                Some("key") if path.contains("/documents/") => "plan".to_owned(),
                Some(name) => {
                    self.ids.get(name).unwrap_or_else(|| panic!("what is {name} of {path}?")).clone()
                }
            })
            .collect::<Vec<_>>()
            .join("/")
    }

    async fn tried(&self, route: &(&str, &str, For, Value), key: Option<&str>) -> crate::stage::Answer {
        let (method, path, _, body) = route;
        let is_form = path.ends_with("/attachments") && *method == "POST";
        let mut path = self.concrete(path);
        if is_form {
            return self.uploaded(&path, key).await;
        }
        if path.ends_with("/inbox/mine") {
            path.push_str("?userId=x");
        }
        self.door.ask(method, &path, key, Some(body).filter(|body| !body.is_null())).await
    }
}

impl World {
    /// Tries to attach a file.
    async fn uploaded(&self, path: &str, key: Option<&str>) -> crate::stage::Answer {
        let form = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
                    Content-Type: text/plain\r\n\r\nmine\r\n--x--\r\n";
        let mut request =
            axum::http::Request::post(path).header("Content-Type", "multipart/form-data; boundary=x");
        if let Some(key) = key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        self.door.send(request.body(axum::body::Body::from(form)).unwrap()).await
    }
}

async fn open_item(stage: &Stage, company: &str, item: &str, issue: &str) {
    let row = store::inbox::InboxItem {
        id: item.to_owned(),
        company_id: company.into(),
        kind: "issue_blocked".to_owned(),
        entity_type: "issue".to_owned(),
        entity_id: issue.to_owned(),
        cause: "stranded".to_owned(),
        title: "hush".to_owned(),
        details: json!({}),
        owner_agent_id: None,
        opened_at: stage.engine.now(),
        resolved_at: None,
        resolution: None,
    };
    let write = stage.engine.store().write(move |tx| {
        let row = row.clone();
        Box::pin(async move { store::inbox::open(tx, &row).await })
    });
    write.await.unwrap();
}

#[tokio::test]
async fn every_route_has_an_expectation() {
    let document = api::openapi();
    let mut described: Vec<(String, String)> = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.push((method.to_uppercase(), path.clone()));
        }
    }
    let mut expected: Vec<(String, String)> =
        table().into_iter().map(|(method, path, _, _)| (method.to_owned(), path.to_owned())).collect();
    described.sort();
    expected.sort();
    let missing: Vec<_> = described.iter().filter(|route| !expected.contains(route)).collect();
    let gone: Vec<_> = expected.iter().filter(|route| !described.contains(route)).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "without an expectation: {missing:?}; not served: {gone:?}"
    );
    assert!(expected.windows(2).all(|two| two[0] != two[1]), "a route twice");
}

#[tokio::test]
async fn nobody_reaches_into_a_company_that_they_have_no_part_in() {
    let world = World::new().await;
    let before = world.stage.get("/api/audit/head").await.good();
    let mut wrong = Vec::new();
    for route in table() {
        let (method, path, whom, _) = &route;
        let callers = [
            ("nobody", None),
            ("foreign agent", Some(world.foreign_agent.as_str())),
            ("foreign member", Some(world.foreign_member.as_str())),
            ("ended run", Some(world.ended_run.as_str())),
        ];
        for (who, key) in callers {
            // It would end the key that the others are tried with.
            if path.ends_with("/revoke-current") && who == "foreign member" {
                continue;
            }
            let answer = world.tried(&route, key).await;
            let status = answer.status;
            let is_refused = match (who, whom) {
                // A token that is over opens nothing, not even what is open.
                ("ended run", _) => status == 403,
                (_, Anyone) => status != 401 && status != 403,
                (_, Company | Managers | Members) => matches!(status, 401 | 403 | 404),
                (_, Admins) => matches!(status, 401 | 403),
                ("nobody", People | Agents) => matches!(status, 400 | 401 | 403),
                ("foreign agent", People) => matches!(status, 400 | 401 | 403),
                ("foreign agent", Agents) => status == 200,
                // Their own is theirs.
                (_, People) => matches!(status, 200 | 404),
                (_, Agents) => status == 401,
            };
            if !is_refused {
                wrong.push(format!("{method} {path} by {who}: {status} {}", answer.text));
            }
            if answer.text.contains(HUSH) {
                wrong.push(format!("{method} {path} tells {who}: {}", answer.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let after = world.stage.get("/api/audit/head").await.good();
    assert_eq!(before, after, "nothing was decided by any of them");
    world.stage.end().await;
}

#[tokio::test]
async fn a_viewer_looks_and_changes_nothing() {
    let world = World::new().await;
    let before = world.stage.get("/api/audit/head").await.good();
    let mut wrong = Vec::new();
    for route in table() {
        let (method, path, whom, _) = &route;
        if path.ends_with("/revoke-current") {
            continue;
        }
        let answer = world.tried(&route, Some(&world.viewer)).await;
        let status = answer.status;
        let is_right = match (*method, whom) {
            (_, Anyone) => status != 401 && status != 403,
            ("GET", Company | Members) => !matches!(status, 401 | 403),
            ("GET", Managers) => status == 403,
            (_, Company | Managers | Members) => matches!(status, 403 | 404),
            (_, Admins) => matches!(status, 401 | 403),
            (_, People) => matches!(status, 200 | 404),
            (_, Agents) => status == 401,
        };
        if !is_right {
            wrong.push(format!("{method} {path}: {status} {}", answer.text));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let after = world.stage.get("/api/audit/head").await.good();
    assert_eq!(before, after, "nothing was decided by a viewer");
    assert!(world.stage.get(&format!("/api/companies/{}", world.company)).await.text.contains(HUSH));
    world.stage.end().await;
}

#[tokio::test]
async fn lists_of_companies_hold_the_callers_own() {
    let world = World::new().await;
    for path in ["/api/companies", "/api/companies/stats", "/api/cli-auth/me"] {
        let answer = world.door.get(path, &world.foreign_member).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.text.contains(&world.company), "{path}: {}", answer.text);
        let theirs = world.door.get(path, &world.viewer).await;
        assert!(theirs.text.contains(&world.company), "{path}: {}", theirs.text);
    }
    world.stage.end().await;
}
