//! Two notes for programs that do not look around by themselves: which variables tell of the run, and how the API is
//! called. Only names are written, never a value.

use crate::adapter::Setup;
use crate::cli::config::ProgramSettings;
use crate::cli::prompt::Style;
use crate::env;

/// The notes that this kind of agent wants.
pub(super) fn sections(setup: &Setup<'_>, common: &ProgramSettings<'_>, style: Style) -> Vec<String> {
    if !style.env_note && !style.api_note {
        return Vec::new();
    }
    let env::Environment { vars, in_files, .. } = env::for_run(setup, &common.env);
    let has = |name: &str| vars.get(name).is_some_and(|value| !value.trim().is_empty());
    let mut sections = Vec::new();
    let of_files = in_files.iter().flat_map(|it| &it.variables);
    let mut names: Vec<&str> = vars
        .keys()
        .chain(of_files)
        .filter(|name| name.starts_with("PAPERCLIP_"))
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names.dedup();
    if style.env_note && !names.is_empty() {
        sections.push(format!(
            "Runtime note:\nThese environment variables tell of this run: {}.\n\
             Read them in a shell when you need them, and do not print their values.",
            names.join(", ")
        ));
    }
    if style.api_note && has("PAPERCLIP_API_URL") && has("PAPERCLIP_API_KEY") {
        sections.push(API.to_owned());
    }
    sections
}

/// The key goes through a pipe: as an argument of curl it would stand in the list of processes.
const API: &str = "\
API access note:
Call the API with curl from a shell, and keep the key out of arguments and output. To read:
  printf 'Authorization: Bearer %s\\n' \"$PAPERCLIP_API_KEY\" | curl -sS -H @- \"$PAPERCLIP_API_URL/api/agents/me\"
To write, name the run as well:
  printf 'Authorization: Bearer %s\\n' \"$PAPERCLIP_API_KEY\" | curl -sS -H @- -X POST \
-H \"X-Paperclip-Run-Id: $PAPERCLIP_RUN_ID\" -H \"Content-Type: application/json\" -d @body.json \
\"$PAPERCLIP_API_URL/api/issues/<issue id>/comments\"";
