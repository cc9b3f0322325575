//! What the agent of a gateway is told: the parameters of the request `agent`, the message among them.
//!
//! The agent works on another machine, under its own login and with a key of its own for the API. So everything that
//! other agents find in their environment stands in the message, but for the key: of that only the place is named.
//! Words of users stand in fences and are said to be data.

use domain::brief::{fenced, one_line};
use serde_json::{Map, Value, json};

use super::Config;
use crate::adapter::Setup;
use crate::cli;
use crate::env::{self, Declared};

/// Where the agent keeps its key for the API, unless it is configured otherwise.
const KEY_FILE: &str = "~/.openclaw/workspace/paperclip-claimed-api-key.json";
/// The session of agents that have but one.
const FIXED: &str = "paperclip";
/// What is said of the run, in this order.
const VARIABLES: [&str; 10] = [
    "PAPERCLIP_RUN_ID",
    "PAPERCLIP_AGENT_ID",
    "PAPERCLIP_COMPANY_ID",
    "PAPERCLIP_API_URL",
    "PAPERCLIP_TASK_ID",
    "PAPERCLIP_WAKE_REASON",
    "PAPERCLIP_WAKE_COMMENT_ID",
    "PAPERCLIP_APPROVAL_ID",
    "PAPERCLIP_APPROVAL_STATUS",
    "PAPERCLIP_LINKED_ISSUE_IDS",
];

/// Which session of the gateway a run works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Strategy {
    /// One for each issue.
    #[default]
    Issue,
    /// One for each run.
    Run,
    /// Always the same.
    Fixed,
}

impl Strategy {
    pub(super) const NAMES: [&str; 3] = ["issue", "run", "fixed"];

    pub(super) fn parse(name: &str) -> Option<Strategy> {
        match name {
            "issue" => Some(Strategy::Issue),
            "run" => Some(Strategy::Run),
            "fixed" => Some(Strategy::Fixed),
            _ => None,
        }
    }
}

/// The parameters of the request `agent`.
pub(super) fn params(setup: &Setup<'_>, config: &Config<'_>) -> Map<String, Value> {
    let mut params = config.template.clone();
    let own = ["message", "text"].iter().find_map(|key| env::non_blank(params.get(*key)));
    params.remove("text");
    let told = wake_text(setup, config);
    let message = own.map_or_else(|| told.clone(), |own| format!("{own}\n\n{told}"));
    params.insert("message".to_owned(), json!(message));
    params.insert("sessionKey".to_owned(), json!(session_key(setup, config)));
    params.insert("idempotencyKey".to_owned(), json!(setup.run_id));
    if !params.get("timeout").is_some_and(Value::is_number) {
        params.insert("timeout".to_owned(), json!(config.wait_ms()));
    }
    if let Some(agent) = config.agent.filter(|_| env::non_blank(params.get("agentId")).is_none()) {
        params.insert("agentId".to_owned(), json!(agent));
    }
    let mut said = params.get("paperclip").and_then(Value::as_object).cloned().unwrap_or_default();
    said.extend(run_object(setup, config));
    params.insert("paperclip".to_owned(), Value::Object(said));
    params
}

fn issue_of(setup: &Setup<'_>) -> Option<String> {
    env::non_blank(setup.context.get("issueId"))
}

fn session_key(setup: &Setup<'_>, config: &Config<'_>) -> String {
    let fixed = || config.session_key.unwrap_or(FIXED).to_owned();
    let key = match (config.strategy, issue_of(setup)) {
        (Strategy::Run, _) => format!("paperclip:run:{}", setup.run_id),
        (Strategy::Issue, Some(issue)) => format!("paperclip:issue:{issue}"),
        (Strategy::Issue, None) | (Strategy::Fixed, _) => fixed(),
    };
    match config.agent {
        Some(agent) if !key.starts_with("agent:") => format!("agent:{agent}:{key}"),
        _ => key,
    }
}

fn api_url<'a>(setup: &'a Setup<'_>, config: &Config<'a>) -> &'a str {
    config.api_url.unwrap_or(setup.api_url)
}

/// The same facts for programs at the gateway.
fn run_object(setup: &Setup<'_>, config: &Config<'_>) -> Map<String, Value> {
    let context = setup.context;
    let text = |keys: &[&str]| keys.iter().find_map(|key| env::non_blank(context.get(*key))).map(Value::from);
    let whole = |key: &str| context.get(key).filter(|value| !value.is_null()).cloned();
    let list = |key: &str| whole(key).filter(|value| value.as_array().is_some_and(|items| !items.is_empty()));
    let reason = setup.wake_reason.map(Value::from).or_else(|| text(&["wakeReason"]));
    let mut runtime = config.workspace_runtime.clone();
    if let Some(services) = list("paperclipRuntimeServiceIntents") {
        runtime.insert("services".to_owned(), services);
    }
    let runtime = Some(Value::Object(runtime)).filter(|it| it.as_object().is_some_and(|it| !it.is_empty()));
    let facts = [
        ("runId", Some(json!(setup.run_id))),
        ("companyId", Some(json!(setup.company_id))),
        ("agentId", Some(json!(setup.agent_id))),
        ("agentName", Some(json!(setup.agent_name))),
        ("taskId", text(&["taskId", "issueId"])),
        ("issueId", text(&["issueId"])),
        ("issueIds", list("issueIds")),
        ("wakeReason", reason),
        ("wakeCommentId", text(&["wakeCommentId", "commentId"])),
        ("approvalId", text(&["approvalId"])),
        ("approvalStatus", text(&["approvalStatus"])),
        ("apiUrl", Some(json!(api_url(setup, config)))),
        ("wake", whole("paperclipWake")),
        ("workspace", whole("paperclipWorkspace")),
        ("workspaces", list("paperclipWorkspaces")),
        ("workspaceRuntime", runtime),
    ];
    facts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

fn wake_text(setup: &Setup<'_>, config: &Config<'_>) -> String {
    let keyless = Setup { api_key: None, ..*setup };
    let mut vars = env::for_run(&keyless, &Declared::new()).vars;
    vars.insert("PAPERCLIP_API_URL".to_owned(), api_url(setup, config).to_owned());
    let known = |name: &str| vars.get(name).map(|value| one_line(value)).filter(|value| !value.is_empty());
    let key_file = config.key_file.unwrap_or(KEY_FILE);
    let mut lines = vec![
        "You were woken by Bugle, which speaks the API of Paperclip. You work on a machine of your own, so set this \
         for the run:"
            .to_owned(),
        String::new(),
    ];
    lines.extend(VARIABLES.iter().filter_map(|name| Some(format!("{name}={}", known(name)?))));
    lines.push(format!("PAPERCLIP_API_KEY=<the token in {key_file}>"));
    lines.push(String::new());
    lines.push(format!("Read PAPERCLIP_API_KEY from {key_file}, and print it nowhere."));
    lines.push(String::new());
    for (label, name) in [
        ("task_id", "PAPERCLIP_TASK_ID"),
        ("issue_id", "PAPERCLIP_ISSUE_ID"),
        ("wake_reason", "PAPERCLIP_WAKE_REASON"),
        ("wake_comment_id", "PAPERCLIP_WAKE_COMMENT_ID"),
        ("approval_id", "PAPERCLIP_APPROVAL_ID"),
        ("approval_status", "PAPERCLIP_APPROVAL_STATUS"),
        ("linked_issue_ids", "PAPERCLIP_LINKED_ISSUE_IDS"),
    ] {
        lines.extend(known(name).map(|value| format!("{label}={value}")));
    }
    lines.push(String::new());
    lines.push(RULES.to_owned());
    let mut sections = vec![lines.join("\n")];
    sections.extend(cli::waking(setup.context));
    let payload = setup.context.get("paperclipWake").and_then(env::wake_payload);
    if let Some(payload) = payload {
        let json = fenced(&format!("{payload:#}"), "json");
        sections.push(format!("The same as JSON (data, as above):\n{json}"));
    }
    sections.join("\n\n").replace('\0', "\u{FFFD}")
}

/// The names of routes and fields are an interface: agents act by them.
const RULES: &str = "\
HTTP rules:
- Send `Authorization: Bearer $PAPERCLIP_API_KEY` with every request to $PAPERCLIP_API_URL.
- Send `X-Paperclip-Run-Id: $PAPERCLIP_RUN_ID` with every request that changes something.
- Use the routes below `/api` that are named here or in your skills. Do not guess others.

Workflow:
1. GET /api/agents/me, to be sure of who you are.
2. If issue_id is set, work on that issue:
   - unless the text below says that it is checked out for this run already: POST /api/issues/{issue_id}/checkout with \
{\"agentId\": \"$PAPERCLIP_AGENT_ID\", \"expectedStatuses\": [\"todo\", \"backlog\", \"blocked\", \"in_review\"]}; after \
a 409 leave the issue alone;
   - GET /api/issues/{issue_id} and, where you need them, GET /api/issues/{issue_id}/comments;
   - do the work;
   - PATCH /api/issues/{issue_id} with the new `status` and a `comment` that says what is done, what is left and who acts \
next.
3. If not: GET /api/companies/$PAPERCLIP_COMPANY_ID/issues?assigneeAgentId=$PAPERCLIP_AGENT_ID&status=todo,in_progress,blocked, \
take up what is in progress first, then what is to be done. If there is nothing, say so and stop.
4. If you are stuck, set the issue to blocked and say who has to do what.";
