//! Finding the agent that was named.

use domain::agent::url_key;
use domain::ids::looks_like_id;
use serde_json::Value as Json;

use crate::cli::Context;
use crate::client::{Client, encoded};
use crate::failure::Failure;

/// Returns the agent with this id or name.
pub(super) async fn find(context: &Context, client: &Client, named: &str) -> Result<Json, Failure> {
    let named = named.trim();
    let path = if looks_like_id(named) {
        format!("/agents/{named}")
    } else {
        let key = url_key(named);
        if key.is_empty() {
            let failure = Failure::usage("agent.unknown", format!("`{named}` is not the name of an agent"));
            return Err(failure.hint("see which there are: bugle agent list"));
        }
        format!("/agents/{}?companyId={}", encoded(&key), context.company(client).await?)
    };
    client.get(&path).await.map_err(|failure| {
        if failure.message == "Agent not found" {
            return Failure::usage("agent.unknown", format!("there is no agent `{named}`"))
                .hint("see which there are: bugle agent list");
        }
        failure
    })
}

/// A text field of an answer; empty when it is not there.
pub(super) fn text<'a>(of: &'a Json, key: &str) -> &'a str {
    of.get(key).and_then(Json::as_str).unwrap_or_default()
}
