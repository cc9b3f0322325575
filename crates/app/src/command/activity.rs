//! `bugle activity`: what was done in a company, by whom, newest first.

use std::collections::HashMap;

use clap::Args;
use serde_json::Value as Json;

use super::agent_lookup;
use super::answer::{one_line, rows, text};
use super::directory::{Directory, short};
use super::issue_lookup;
use crate::cli::Context;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

#[derive(Debug, Args)]
pub(crate) struct Activity {
    /// Only what this agent did, by name or id
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Only what happened to this issue, like ACM-12
    #[arg(long, value_name = "ISSUE", conflicts_with = "about")]
    issue: Option<String>,
    /// Only what happened to this thing, for example agent:ID
    #[arg(long, value_name = "TYPE[:ID]")]
    about: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
}

impl Activity {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let mut path = format!("/companies/{company}/activity?limit={}", self.limit);
        if let Some(named) = &self.agent {
            let agent = agent_lookup::find(context, &client, named).await?;
            path.push_str(&format!("&agentId={}", text(&agent, "id")));
        }
        if let Some(named) = &self.issue {
            let issue = issue_lookup::find(context, &client, named).await?;
            path.push_str(&format!("&entityType=issue&entityId={}", text(&issue, "id")));
        }
        if let Some(about) = &self.about {
            let (kind, id) = about.split_once(':').unwrap_or((about, ""));
            path.push_str(&format!("&entityType={}", encoded(kind)));
            if !id.is_empty() {
                path.push_str(&format!("&entityId={}", encoded(id)));
            }
        }
        let told = client.get(&path).await?;
        print(context, &client, &company, &told).await
    }
}

/// Prints a list of what happened.
pub(super) async fn print(
    context: &mut Context,
    client: &Client,
    company: &str,
    told: &Json,
) -> Result<(), Failure> {
    if context.global.json {
        context.screen.answer(told);
        return Ok(());
    }
    if rows(told).is_empty() {
        context.screen.note("nothing happened that is told here. Runs are listed by: bugle run list");
        return Ok(());
    }
    let directory = Directory::of_agents(client, company).await?;
    let names = identifiers(rows(told));
    let shown = rows(told).iter().map(|entry| {
        let who = match (text(entry, "actorType"), text(entry, "actorId")) {
            ("agent", id) => directory.agent(id),
            (_, id) => one_line(id, 40),
        };
        vec![
            (Tone::Faint, when::local(text(entry, "createdAt"))),
            (Tone::Plain, who),
            (Tone::Strong, text(entry, "action").to_owned()),
            (Tone::Plain, thing(entry, &directory, &names)),
            (Tone::Plain, one_line(&said(entry), 80)),
        ]
    });
    context.screen.table(&["WHEN", "WHO", "WHAT", "ABOUT", ""], shown.collect());
    Ok(())
}

/// The identifiers of issues, as far as entries name them: not every entry does.
fn identifiers(told: &[Json]) -> HashMap<&str, &str> {
    let name = |entry| entry_name(entry).map(|name| (text(entry, "entityId"), name));
    told.iter().filter_map(name).collect()
}

fn entry_name(entry: &Json) -> Option<&str> {
    let name = text(entry.get("details")?, "identifier");
    (text(entry, "entityType") == "issue" && !name.is_empty()).then_some(name)
}

/// What it happened to, by the best name there is.
fn thing(entry: &Json, directory: &Directory, names: &HashMap<&str, &str>) -> String {
    let (kind, id) = (text(entry, "entityType"), text(entry, "entityId"));
    match (kind, names.get(id)) {
        ("issue", Some(name)) => (*name).to_owned(),
        ("agent", _) => directory.agent(id),
        (_, _) => format!("{kind} {}", short(id)),
    }
}

/// The details in words: texts and numbers that say more than the ids beside them.
fn said(entry: &Json) -> String {
    let Some(details) = entry.get("details").and_then(Json::as_object) else { return String::new() };
    let mut parts = Vec::new();
    for (key, value) in details {
        if key == "identifier" || key.starts_with('_') || key.ends_with("Id") || key.ends_with("Ids") {
            continue;
        }
        match value {
            Json::String(text) if !text.is_empty() => parts.push(format!("{key}: {text}")),
            Json::Number(number) => parts.push(format!("{key}: {number}")),
            Json::Bool(true) => parts.push(key.clone()),
            _ => {}
        }
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_says_what_is_not_an_id() {
        let entry = json!({"entityType": "issue", "entityId": "0192f7a0-0000-4000-8000-00000000000a",
            "details": {"identifier": "ACM-1", "status": "done", "_previous": {"status": "todo"},
                "commentId": "x", "reopened": true, "hidden": false}});
        assert_eq!(said(&entry), "status: done, reopened");
        let nameless = json!({"entityType": "issue", "entityId": entry["entityId"], "details": {}});
        let told = [nameless.clone(), entry];
        let names = identifiers(&told);
        assert_eq!(thing(&nameless, &Directory::default(), &names), "ACM-1");
        let other = json!({"entityType": "label", "entityId": "0192f7a0-0000-4000-8000-00000000000a"});
        assert_eq!(thing(&other, &Directory::default(), &HashMap::new()), "label 0192f7a0-0000");
    }
}
