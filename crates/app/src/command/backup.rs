//! `bugle backup`: has the server make a consistent copy of its store while it goes on working.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value as Json, json};

use super::agent_lookup::text;
use crate::cli::Context;
use crate::failure::Failure;
use crate::when;

#[derive(Debug, Args)]
#[command(
    after_help = "The copy holds decisions and records, and secrets only sealed: without the key (secrets.key in the data \
                  folder, or where BUGLE_SECRETS_MASTER_KEY_FILE says) nobody opens them, you included. Keep a copy of the key \
                  in another place. Logs of runs lie in the data folder, under runs/."
)]
pub(crate) struct Backup {
    /// Where the copy goes [default: bugle-backup-DATE in this folder]
    path: Option<PathBuf>,
}

impl Backup {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let here = std::env::current_dir().map_err(|error| {
            Failure::usage("cwd.missing", format!("the current folder cannot be named: {error}"))
                .hint("give an absolute path: bugle backup /some/where")
        })?;
        let path = here.join(self.path.unwrap_or_else(|| {
            PathBuf::from(format!("bugle-backup-{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ")))
        }));
        let Some(path) = path.to_str() else {
            return Err(
                Failure::usage("path.not_utf8", format!("{} is not UTF-8", path.display())).hint("rename it")
            );
        };
        let client = context.client()?;
        let report = client.post("/backup", &json!({ "path": path })).await?;
        if context.global.json {
            context.screen.answer(&report);
            return Ok(());
        }
        let bytes = report.get("bytes").and_then(Json::as_u64).unwrap_or_default();
        let shown = text(&report, "path");
        context
            .screen
            .line(&format!("copied the store to {shown} ({}), and checked the copy", when::bytes(bytes)));
        context.screen.note("the key that opens its secrets is not in it: keep a copy of that elsewhere");
        Ok(())
    }
}
