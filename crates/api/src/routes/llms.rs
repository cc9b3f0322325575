//! Texts for language models that hire agents: which kinds there are and how they are configured, and which icons.
//!
//! They stand outside of `/api`, where the hiring skill of existing agents reads them.

use std::fmt::Write as _;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::access::{Actor, guard};

use super::agents::ICONS;
use crate::actor::Caller;
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;

const PLAIN: &str = "text/plain; charset=utf-8";

/// Refuses whoever could do nothing with it: everybody but people, and agents that may hire.
fn hirer(caller: &Caller) -> Result<(), ApiError> {
    match caller.who() {
        Actor::Agent(agent) => Ok(guard::configuration_reader(caller.who(), &agent.company)?),
        Actor::Board(_) => Ok(()),
        Actor::Nobody => caller.board().map(|_| ()),
    }
}

fn plain(text: String) -> Response {
    ([(header::CONTENT_TYPE, PLAIN)], text).into_response()
}

/// The kinds of agents.
#[utoipa::path(get, path = "/llms/agent-configuration.txt", tag = "agents",
    responses((status = 200, body = String, content_type = "text/plain"), (status = 403, body = ErrorBody)))]
pub(crate) async fn kinds(caller: Caller) -> Result<Response, ApiError> {
    hirer(&caller)?;
    let mut text = String::from("# Kinds of agents\n\nEach kind (adapterType) has a page of its own:\n\n");
    for adapter in adapters::registry() {
        let _ = writeln!(text, "- {0}: /llms/agent-configuration/{0}.txt", adapter.kind());
    }
    text.push_str(
        "\nLook at how your colleagues are configured before you hire: GET /api/companies/:companyId/agent-configurations. \
         Whether a configuration works on this machine: POST \
         /api/companies/:companyId/adapters/:adapterType/test-environment. Icons: /llms/agent-icons.txt.\n",
    );
    Ok(plain(text))
}

/// How one kind is configured.
#[utoipa::path(get, path = "/llms/agent-configuration/{page}", tag = "agents",
    params(("page" = String, Path, description = "an adapterType with `.txt`")),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn kind(Named(page): Named<String>, caller: Caller) -> Result<Response, ApiError> {
    hirer(&caller)?;
    let name = page.strip_suffix(".txt").unwrap_or_default();
    let adapter = adapters::find(name).ok_or_else(|| {
        ApiError::not_found("Adapter type").hint("/llms/agent-configuration.txt lists all kinds")
    })?;
    let mut text = format!("# {name}\n\n");
    for (field, about) in fields_of(name) {
        let _ = writeln!(text, "- adapterConfig.{field}: {about}");
    }
    let models = adapters::models(name);
    if !models.is_empty() {
        let _ = writeln!(text, "\nModels: {}. Others may be named as well.", models.join(", "));
    }
    if adapter.has_terminal_event() {
        text.push_str("\nThe program says itself when it is done.\n");
    } else {
        text.push_str("\nA run succeeds when its process ends with exit code 0.\n");
    }
    Ok(plain(text))
}

/// The names of the icons.
#[utoipa::path(get, path = "/llms/agent-icons.txt", tag = "agents",
    responses((status = 200, body = String, content_type = "text/plain"), (status = 403, body = ErrorBody)))]
pub(crate) async fn icons(caller: Caller) -> Result<Response, ApiError> {
    hirer(&caller)?;
    Ok(plain(format!("# Icons of agents\n\n{}\n", ICONS.join("\n"))))
}

type Field = (&'static str, &'static str);

/// What every command line agent takes.
const COMMON: [Field; 11] = [
    ("command", "the program; default: the usual one, looked for in PATH"),
    ("cwd", "the absolute folder it works in; default: a folder of its own"),
    ("env", "an object of variables: texts, or {\"type\": \"secret_ref\", \"secretId\": ...}"),
    ("model", "the model"),
    ("promptTemplate", "what it is told in every run; {{ }} stands for what is known of the run"),
    ("bootstrapPromptTemplate", "what it is told besides in its first run"),
    ("instructionsFilePath", "a file of instructions; people set it, agents may not"),
    ("extraArgs", "a list of further arguments"),
    ("timeoutSec", "ends the run after so many seconds; default: no limit"),
    ("graceSec", "time to end by itself before it is killed; default 20"),
    ("mcp", "true: it is given Bugle's tools (docs/mcp.md)"),
];
const PROCESS: [Field; 6] = [
    ("command", "the program, required"),
    ("args", "a list of arguments"),
    ("cwd", "the absolute folder it works in; default: a folder of its own"),
    ("env", "an object of variables"),
    ("timeoutSec", "ends the run after so many seconds; default: no limit"),
    ("graceSec", "time to end by itself before it is killed; default 15"),
];
const GATEWAY: [Field; 8] = [
    ("url", "the address of the gateway, ws:// or wss://, required"),
    ("authToken", "its token; better OPENCLAW_GATEWAY_TOKEN in env, bound to a secret"),
    ("agentId", "the agent of the gateway; default: its own default"),
    ("sessionKeyStrategy", "issue (default), run or fixed"),
    ("sessionKey", "the session where the strategy is fixed, or a run has no issue"),
    ("payloadTemplate", "an object of further parameters; its message comes before ours"),
    ("timeoutSec", "ends the run after so many seconds; default 120"),
    ("waitTimeoutMs", "waits so long for the agent instead"),
];

fn fields_of(kind: &str) -> Vec<Field> {
    let own: &[Field] = match kind {
        "process" => return PROCESS.to_vec(),
        "http" => return vec![("url", "the address that is called, required"), ("method", "default POST")],
        "openclaw_gateway" => return GATEWAY.to_vec(),
        "scripted" => return vec![("script", "what it plays, for tests and demonstrations")],
        "claude_local" => &[
            ("effort", "how long it thinks"),
            ("chrome", "true: it may use a browser"),
            ("maxTurnsPerRun", "0: no limit"),
            ("dangerouslySkipPermissions", "default true: nobody is there to be asked"),
        ],
        "codex_local" => &[
            ("modelReasoningEffort", "how long it thinks"),
            ("search", "true: it may search the web"),
            ("fastMode", "true: faster and dearer"),
            ("dangerouslyBypassApprovalsAndSandbox", "written as true unless it is said"),
        ],
        "opencode_local" => &[
            ("variant", "a variant of the model"),
            ("dangerouslySkipPermissions", "default true: it may work outside its folder"),
        ],
        "gemini_local" | "qwen" => &[("sandbox", "true: it works in a sandbox of its own")],
        _ => &[],
    };
    COMMON.iter().chain(own).copied().collect()
}
