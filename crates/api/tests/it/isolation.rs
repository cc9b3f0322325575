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
    /// Everybody who proves to be somebody; what is told is of no company, or of their own.
    Somebody,
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
    /// Who signs, whoever it is: no credential is looked at, and without a signature nobody comes through.
    Signed,
}

use For::{Admins, Agents, Anyone, Company, Managers, Members, People, Signed, Somebody};

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
        ("GET", "/cli-auth/{challenge}", Anyone, none.clone()),
        ("POST", "/api/cli-auth/challenges/{challenge}/cancel", Anyone, json!({"token": secret})),
        ("POST", "/api/mcp", Somebody, json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})),
        ("GET", "/llms/agent-configuration.txt", Somebody, none.clone()),
        ("GET", "/llms/agent-configuration/{page}", Somebody, none.clone()),
        ("GET", "/llms/agent-icons.txt", Somebody, none.clone()),
        ("GET", "/metrics", Admins, none.clone()),
        ("GET", "/api/metrics", Admins, none.clone()),
        ("GET", "/api/audit/head", Admins, none.clone()),
        ("GET", "/api/audit/verify", Admins, none.clone()),
        ("GET", "/api/audit/export", Admins, none.clone()),
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
        ("GET", "/api/agents/{agent}/config-revisions", Managers, none.clone()),
        ("GET", "/api/agents/{agent}/config-revisions/{revision}", Managers, none.clone()),
        ("POST", "/api/agents/{agent}/config-revisions/{revision}/rollback", Company, none.clone()),
        ("POST", "/api/agents/{agent}/heartbeat/invoke", Company, none.clone()),
        ("GET", "/api/agents/{agent}/instructions-bundle", Company, none.clone()),
        ("PATCH", "/api/agents/{agent}/instructions-bundle", Company, json!({"mode": "managed"})),
        ("GET", "/api/agents/{agent}/instructions-bundle/file", Company, none.clone()),
        (
            "PUT",
            "/api/agents/{agent}/instructions-bundle/file",
            Company,
            json!({"path": "mine.md", "content": "mine"}),
        ),
        ("DELETE", "/api/agents/{agent}/instructions-bundle/file", Company, none.clone()),
        ("PATCH", "/api/agents/{agent}/instructions-path", Company, json!({"path": "/mine.md"})),
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
        ("GET", "/api/agents/{agent}/skills", Managers, none.clone()),
        ("POST", "/api/agents/{agent}/skills/sync", Company, json!({"desiredSkills": ["mine"]})),
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
        ("GET", "/api/companies/{company}/adapters/{kind}/detect-model", Company, none.clone()),
        ("GET", "/api/companies/{company}/adapters/{kind}/models", Company, none.clone()),
        ("POST", "/api/companies/{company}/adapters/{kind}/test-environment", Company, empty()),
        ("GET", "/api/companies/{company}/agent-configurations", Managers, none.clone()),
        ("GET", "/api/companies/{company}/automations", Company, none.clone()),
        (
            "POST",
            "/api/companies/{company}/automations",
            Company,
            json!({"definition": {"name": "n", "nodes": []}}),
        ),
        ("GET", "/api/companies/{company}/automations/{automation}", Company, none.clone()),
        ("DELETE", "/api/companies/{company}/automations/{automation}", Company, none.clone()),
        ("GET", "/api/companies/{company}/automations/{automation}/versions", Company, none.clone()),
        ("POST", "/api/companies/{company}/automations/{automation}/pause", Company, empty()),
        ("POST", "/api/companies/{company}/automations/{automation}/resume", Company, empty()),
        ("GET", "/api/companies/{company}/automations/{automation}/runs", Company, none.clone()),
        ("POST", "/api/companies/{company}/automations/{automation}/runs", Company, empty()),
        ("GET", "/api/companies/{company}/automation-runs", Company, none.clone()),
        ("GET", "/api/automation-runs/{run}", Company, none.clone()),
        ("GET", "/api/automation-runs/{run}/history", Company, none.clone()),
        ("GET", "/api/automation-runs/{run}/events", Company, none.clone()),
        ("GET", "/api/automation-runs/{run}/reset-preview", Company, none.clone()),
        ("POST", "/api/automation-runs/{run}/{operation}", Company, empty()),
        ("GET", "/api/companies/{company}/gates", Company, none.clone()),
        ("GET", "/api/gates/{gate}", Company, none.clone()),
        ("POST", "/api/gates/{gate}/decide", Company, json!({"decision": "approve", "hash": "h"})),
        ("GET", "/api/companies/{company}/export", Managers, none.clone()),
        ("POST", "/api/companies/{company}/apply", Company, json!({"document": {"version": 1}})),
        ("POST", "/api/companies/apply", Admins, json!({"name": "Eve's", "document": {"version": 1}})),
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
        ("GET", "/api/companies/{company}/accounts", Company, none.clone()),
        ("GET", "/api/accounts/{account}", Company, none.clone()),
        ("PATCH", "/api/accounts/{account}", Company, json!({"autoResume": true})),
        ("POST", "/api/accounts/{account}/resume", Company, none.clone()),
        ("POST", "/api/accounts/{account}/park", Company, json!({})),
        ("GET", "/api/companies/{company}/schedules", Company, none.clone()),
        ("POST", "/api/companies/{company}/schedules/preview", Company, json!({"every": "1m"})),
        ("GET", "/api/schedules/{schedule}", Company, none.clone()),
        ("GET", "/api/schedules/{schedule}/slots", Company, none.clone()),
        ("POST", "/api/schedules/{schedule}/run-now", Company, empty()),
        ("POST", "/api/schedules/{schedule}/pause", Company, none.clone()),
        ("POST", "/api/schedules/{schedule}/resume", Company, none.clone()),
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
        ("GET", "/api/companies/{company}/skills", Company, none.clone()),
        ("POST", "/api/companies/{company}/skills", Company, json!({"name": "mine", "markdown": "mine"})),
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
        ("GET", "/api/heartbeat-runs/{run}/held-texts", Company, none.clone()),
        ("POST", "/api/heartbeat-runs/{run}/release", Company, json!({"textIds": []})),
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
        ("GET", "/api/issues/{issue}/held-texts", Company, none.clone()),
        ("POST", "/api/issues/{issue}/held-texts/decide", Company, json!({"textIds": []})),
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
        ("GET", "/api/skills/{skill}", Company, none.clone()),
        ("PATCH", "/api/skills/{skill}", Company, json!({"markdown": "mine"})),
        ("DELETE", "/api/skills/{skill}", Company, none.clone()),
        ("DELETE", "/api/labels/{label}", Company, none.clone()),
        ("GET", "/api/companies/{company}/secrets", Company, none.clone()),
        ("GET", "/api/companies/{company}/secret-providers", Company, none.clone()),
        (
            "POST",
            "/api/companies/{company}/secrets",
            Company,
            json!({"name": "mine", "value": "long enough"}),
        ),
        ("POST", "/api/secrets/{secret}/rotate", Company, json!({"value": "long enough"})),
        ("PATCH", "/api/secrets/{secret}", Company, json!({"name": "mine"})),
        ("DELETE", "/api/secrets/{secret}", Company, none.clone()),
        ("GET", "/api/companies/{company}/webhooks", Company, none.clone()),
        (
            "POST",
            "/api/companies/{company}/webhooks",
            Company,
            json!({"url": "https://example.com/mine", "events": ["*"]}),
        ),
        ("GET", "/api/companies/{company}/webhooks/{webhook}", Company, none.clone()),
        ("PATCH", "/api/companies/{company}/webhooks/{webhook}", Company, json!({"description": "mine"})),
        ("DELETE", "/api/companies/{company}/webhooks/{webhook}", Company, none.clone()),
        ("POST", "/api/companies/{company}/webhooks/{webhook}/rotate", Company, empty()),
        ("POST", "/api/companies/{company}/webhooks/{webhook}/test", Company, none.clone()),
        ("GET", "/api/companies/{company}/webhooks/{webhook}/deliveries", Company, none.clone()),
        ("GET", "/api/webhook-deliveries/{delivery}", Company, none.clone()),
        ("POST", "/api/webhook-deliveries/{delivery}/redeliver", Company, none.clone()),
        ("POST", "/api/hooks/{token}", Signed, empty()),
        ("GET", "/api/companies/{company}/webhook-triggers", Company, none.clone()),
        ("POST", "/api/companies/{company}/webhook-triggers", Company, json!({"automation": "mine"})),
        ("GET", "/api/companies/{company}/webhook-triggers/{trigger}", Company, none.clone()),
        ("PATCH", "/api/companies/{company}/webhook-triggers/{trigger}", Company, json!({"name": "mine"})),
        ("DELETE", "/api/companies/{company}/webhook-triggers/{trigger}", Company, none.clone()),
        ("POST", "/api/companies/{company}/webhook-triggers/{trigger}/rotate", Company, empty()),
        ("GET", "/api/companies/{company}/webhook-triggers/{trigger}/receipts", Company, none.clone()),
        ("GET", "/api/webhook-receipts/{receipt}/body", Company, none.clone()),
        ("GET", "/api/companies/{company}/environments", Company, none.clone()),
        ("GET", "/api/companies/{company}/environments/capabilities", Company, none.clone()),
        ("POST", "/api/companies/{company}/environments", Company, machine("mine")),
        ("POST", "/api/companies/{company}/environments/probe-config", Company, machine("mine")),
        ("GET", "/api/environments/{environment}", Company, none.clone()),
        ("PATCH", "/api/environments/{environment}", Company, json!({"name": "mine"})),
        ("DELETE", "/api/environments/{environment}", Company, none.clone()),
        ("POST", "/api/environments/{environment}/probe", Company, none.clone()),
        ("GET", "/api/environments/{environment}/leases", Managers, none.clone()),
        ("GET", "/api/environment-leases/{lease}", Company, none.clone()),
        ("GET", "/api/companies/{company}/runtime-services", Company, none.clone()),
        ("GET", "/api/runtime-services/{service}", Company, none.clone()),
        ("GET", "/api/runtime-services/{service}/log", Company, none.clone()),
        ("POST", "/api/runtime-services/{service}/stop", Company, none.clone()),
        (
            "POST",
            "/api/projects/{project}/workspaces/{workspace}/runtime-services/{action}",
            Company,
            empty(),
        ),
        (
            "POST",
            "/api/projects/{project}/workspaces/{workspace}/runtime-commands/{action}",
            Company,
            empty(),
        ),
        ("POST", "/api/execution-workspaces/{place}/runtime-services/{action}", Company, empty()),
        ("POST", "/api/execution-workspaces/{place}/runtime-commands/{action}", Company, empty()),
        ("GET", "/api/companies/{company}/execution-workspaces", Company, none.clone()),
        ("GET", "/api/execution-workspaces/{place}", Company, none.clone()),
        ("PATCH", "/api/execution-workspaces/{place}", Company, json!({"name": "mine"})),
        ("GET", "/api/execution-workspaces/{place}/close-readiness", Company, none.clone()),
        ("GET", "/api/execution-workspaces/{place}/workspace-operations", Company, none.clone()),
        ("GET", "/api/execution-workspaces/{place}/diff", Company, none.clone()),
        ("GET", "/api/workspace-operations/{operation}/log", Company, none.clone()),
        ("GET", "/api/heartbeat-runs/{run}/workspace-operations", Company, none.clone()),
        ("GET", "/api/heartbeat-runs/{run}/outputs", Company, none.clone()),
        ("GET", "/api/heartbeat-runs/{run}/diff", Company, none.clone()),
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
        let secret = json!({"name": "hush", "value": "hush hush hush"});
        let secret = id_of(&made(format!("/api/companies/{company}/secrets"), secret).await);
        let webhook =
            json!({"url": "https://example.com/hush", "events": ["automation.gate.nothing_at_all"]});
        let webhook = id_of(&made(format!("/api/companies/{company}/webhooks"), webhook).await);
        let delivery =
            id_of(&made(format!("/api/companies/{company}/webhooks/{webhook}/test"), json!({})).await);
        // Switched off: nothing of it is sent anywhere.
        let off = json!({"enabled": false});
        stage.patch(&format!("/api/companies/{company}/webhooks/{webhook}"), off).await.good();
        let definition = json!({
            "name": "hush", "inputs": {"webhook": {}},
            "nodes": [{"id": "work", "agent": "Engineer hush", "objective": "hush"}],
        });
        let board = engine::Author::local_board();
        let home = company.as_str().into();
        stage.engine.apply_automation(&home, &definition, false, &board).await.unwrap();
        let asks = json!({"name": "asks", "nodes": [{"id": "hush", "gate": {"title": "hush?"}}]});
        let asks = stage.engine.apply_automation(&home, &asks, false, &board).await.unwrap();
        let automation = asks.view.automation.id;
        let draft = engine::LaunchDraft::default();
        let asking = stage.engine.run_automation(&home, &automation, draft, &board).await.unwrap();
        let gate = gate_of(&stage, &asking.id).await;
        let trigger = json!({"automation": "hush", "name": "hush"});
        let trigger = made(format!("/api/companies/{company}/webhook-triggers"), trigger).await;
        let token = trigger["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let trigger = id_of(&trigger);
        let skill = json!({"name": "hush", "markdown": "hush"});
        let skill = id_of(&made(format!("/api/companies/{company}/skills"), skill).await);
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
        let (place, operation) = (stage.engine.new_id(), stage.engine.new_id());
        open_place(&stage, &company, &project, &place, &operation).await;

        let account = account_of(&stage, &company).await;
        crate::schedules::apply(&stage, &company, "hush", json!([{"name": "hush", "every": "1d"}])).await;
        let schedule = id_of(&made_list(&stage, &company, "schedules").await[0]);
        let environment =
            id_of(&made(format!("/api/companies/{company}/environments"), machine("hush")).await);

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
            ("secret", secret),
            ("webhook", webhook),
            ("automation", automation.0),
            ("automation run", asking.id.0),
            ("gate", gate),
            ("delivery", delivery),
            ("trigger", trigger),
            ("token", token),
            ("receipt", nobody.clone()),
            ("skill", skill),
            ("product", product),
            ("project", project),
            ("workspace", workspace),
            ("goal", goal),
            ("hold", hold),
            ("user", user),
            ("item", item),
            ("place", place),
            ("operation", operation),
            ("environment", environment),
            ("action", "start".to_owned()),
            ("lease", nobody.clone()),
            ("service", nobody.clone()),
            ("account", account),
            ("schedule", schedule),
            ("kind", "process".to_owned()),
            ("page", "process.txt".to_owned()),
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
                Some("run") if path.contains("/automation-runs/") => self.ids["automation run"].clone(),
                Some("operation") if path.contains("/automation-runs/") => "pause".to_owned(),
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
        if path.ends_with("/instructions-bundle/file") {
            path.push_str("?path=AGENTS.md");
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

/// A machine that nobody is on.
fn machine(name: &str) -> Value {
    json!({
        "name": name, "driver": "ssh",
        "config": {"host": "127.0.0.1", "port": 9, "remoteWorkspacePath": "/hush"},
    })
}

async fn open_place(stage: &Stage, company: &str, project: &str, place: &str, operation: &str) {
    let now = stage.engine.now();
    let row = store::execution_workspaces::ExecutionWorkspace {
        id: place.to_owned(),
        company_id: company.into(),
        project_id: project.to_owned(),
        project_workspace_id: None,
        source_issue_id: None,
        mode: "shared_workspace".to_owned(),
        strategy_type: "project_primary".to_owned(),
        name: "hush".to_owned(),
        status: "active".to_owned(),
        cwd: Some("/tmp/hush".to_owned()),
        repo_url: None,
        base_ref: None,
        branch_name: None,
        provider_type: "local_fs".to_owned(),
        provider_ref: None,
        derived_from: None,
        last_used_at: now,
        opened_at: now,
        closed_at: None,
        cleanup_eligible_at: None,
        cleanup_reason: None,
        metadata: None,
        node_id: "elsewhere".to_owned(),
        scope_key: "hush".to_owned(),
        repo_dir: None,
        base_commit: None,
        closing_at: None,
        look_at: None,
        created_at: now,
        updated_at: now,
    };
    let done = store::workspace_operations::WorkspaceOperation {
        id: operation.to_owned(),
        company_id: company.into(),
        execution_workspace_id: Some(place.to_owned()),
        run_id: None,
        phase: "workspace_provision".to_owned(),
        command: Some("hush".to_owned()),
        cwd: None,
        status: "running".to_owned(),
        exit_code: None,
        log_bytes: None,
        stdout_excerpt: None,
        stderr_excerpt: None,
        metadata: None,
        started_at: now,
        finished_at: None,
    };
    let added = stage.engine.store().write(move |tx| {
        let (row, done) = (row.clone(), done.clone());
        Box::pin(async move {
            store::execution_workspaces::insert(tx, &row).await?;
            store::workspace_operations::begin(tx, &done).await
        })
    });
    added.await.unwrap();
}

/// A list of a company.
async fn made_list(stage: &Stage, company: &str, list: &str) -> Value {
    stage.get(&format!("/api/companies/{company}/{list}")).await.good()
}

/// Makes an account by a run of an agent that declares one.
async fn account_of(stage: &Stage, company: &str) -> String {
    let agent = json!({
        "name": "Teammate", "adapterType": "process", "adapterConfig": {"command": "true", "account": "hush"},
    });
    let agent = id_of(&stage.post(&format!("/api/companies/{company}/agents"), agent).await.good());
    let run = stage.wake(&agent, "task").await;
    stage.started(&run).await;
    stage.puppets.end(&run, 0);
    stage.over(company, &run).await;
    let accounts = stage.get(&format!("/api/companies/{company}/accounts")).await.good();
    accounts[0]["id"].as_str().unwrap().to_owned()
}

/// The gate that a run opens, as soon as it is there.
async fn gate_of(stage: &Stage, run: &domain::ids::AutomationRunId) -> String {
    for _ in 0..600 {
        if let Some(gate) = stage.engine.automation_run(run).await.unwrap().gates.first() {
            return gate.id.0.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the gate never came");
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
                (_, Signed) => status == 401,
                // A token that is over opens nothing, not even what is open.
                ("ended run", _) => status == 403,
                (_, Anyone) => status != 401 && status != 403,
                ("nobody", Somebody) => matches!(status, 401 | 403),
                (_, Somebody) => status == 200,
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
    // Nothing was decided by any of them. That the token of a run that is over was tried is written down, once.
    let seq = |head: &Value| head["seq"].as_i64().unwrap();
    assert_eq!(seq(&after), seq(&before) + 1, "nothing was decided by any of them");
    let told = world.stage.get(&format!("/api/companies/{}/activity?limit=1", world.company)).await.good();
    assert_eq!(told[0]["action"], "run_token.refused");
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
            (_, Signed) => status == 401,
            (_, Anyone) => status != 401 && status != 403,
            (_, Somebody) => status == 200,
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
