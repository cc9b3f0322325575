//! `bugle agent set-env`: variables of one agent, plain ones and those that take their value from a secret.

use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::agent_lookup::{find, text};
use super::env_pairs;
use crate::cli::Context;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  bugle agent set-env cody LEVEL=full
  bugle agent set-env cody GITHUB_TOKEN=secret:github     the latest version of a stored secret
  bugle agent set-env cody GITHUB_TOKEN=secret:github@2   this version and no other
  bugle agent set-env cody --unset LEVEL

Processes that start from now on get it. A value that you type here is seen by everybody on this machine while the
command runs: store what is secret with `bugle secret set`.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SetEnv {
    /// Name or id of the agent
    agent: String,
    /// A variable; NAME=secret:SECRET takes the value of a stored secret
    #[arg(value_name = "NAME=VALUE", required_unless_present = "unset")]
    pairs: Vec<String>,
    /// Take a variable out; may be repeated
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
}

impl SetEnv {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let pairs = env_pairs::split("", &self.pairs)?;
        let client = context.client()?;
        let agent = find(context, &client, &self.agent).await?;
        let config = agent.get("adapterConfig");
        // What is not shown comes back as the mark that it was shown as, and stays.
        let mut env =
            config.and_then(|it| it.get("env")).and_then(Json::as_object).cloned().unwrap_or_else(Map::new);
        for name in &self.unset {
            if env.shift_remove(name).is_none() {
                return Err(Failure::usage(
                    "env.unknown",
                    format!("{} has no variable {name}", text(&agent, "name")),
                )
                .hint(format!("see what it has: bugle agent show {}", self.agent)));
            }
        }
        env.extend(env_pairs::bindings(&client, text(&agent, "companyId"), &pairs).await?);
        let body = json!({ "adapterConfig": { "env": env } });
        let changed = client.patch(&format!("/agents/{}", text(&agent, "id")), &body).await?;
        if context.global.json {
            context.screen.answer(&changed);
        } else {
            context.screen.line(&format!("{} is changed", text(&changed, "name")));
        }
        Ok(())
    }
}
