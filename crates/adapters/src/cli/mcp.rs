//! Telling a program of Bugle's tools: `adapterConfig.mcp`, off unless it is set.
//!
//! The program starts `bugle mcp` itself and hands the run's environment down to it, which says who asks. So the key of the
//! run stands in no argument, which everybody on the machine may read, and in no file. Nothing in the user's home is
//! touched; what the user set up there stays beside it. Each program is told in its own way, in its own file.

use serde_json::{Value, json};

use crate::adapter::Setup;
use crate::cli::ProgramSettings;

/// What the tools are found under.
pub(crate) const NAME: &str = "bugle";
/// What `bugle mcp` reads of the run's environment, for programs that hand down nothing else.
pub(crate) const VARIABLES: [&str; 3] = ["BUGLE_API_URL", "BUGLE_API_KEY", "BUGLE_RUN_ID"];
/// The argument behind the program.
pub(crate) const COMMAND: &str = "mcp";

/// The flag of those programs that take the widespread `mcpServers` object as an argument.
pub(crate) fn flag(setup: &Setup<'_>, common: &ProgramSettings<'_>) -> Option<String> {
    let server = json!({ "command": program(setup), "args": [COMMAND] });
    // One argument: as two, the flag would take what comes behind it for more of the same.
    is_told(setup, common).then(|| format!("--mcp-config={}", json!({ "mcpServers": { NAME: server } })))
}

/// It is wanted, and the program that serves the tools is on the machine where the agent's program runs.
pub(crate) fn is_told(setup: &Setup<'_>, common: &ProgramSettings<'_>) -> bool {
    common.mcp && !setup.host.is_elsewhere
}

/// What people should know when it is wanted on another machine.
pub(crate) fn not_there(setup: &Setup<'_>, common: &ProgramSettings<'_>) -> Option<String> {
    let words =
        "the tools are served on the machine of the server only, so `mcp` has no effect in this environment";
    (common.mcp && setup.host.is_elsewhere).then(|| words.to_owned())
}

/// The program that serves the tools, by its path: whoever starts it is another program, and would find itself behind
/// `/proc/self/exe`.
pub(crate) fn program(setup: &Setup<'_>) -> Value {
    let path = match std::fs::read_link(setup.program) {
        Ok(running) if setup.program.starts_with("/proc") => running,
        Ok(_) | Err(_) => setup.program.to_owned(),
    };
    let path = path.to_string_lossy();
    // After an upgrade the file of that name is the newer program, which serves as well.
    Value::from(path.strip_suffix(" (deleted)").unwrap_or(&path))
}

/// What people should know when it is wanted of a program that cannot be told.
pub(crate) fn not_told(common: &ProgramSettings<'_>) -> Option<String> {
    let words = "this program takes tools from its own settings only, so `mcp` has no effect: set up `bugle mcp` there";
    common.mcp.then(|| words.to_owned())
}
