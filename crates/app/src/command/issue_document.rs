//! `bugle issue documents` and `bugle issue document get|put`: the texts that belong to an issue.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value as Json, json};

use super::answer::{number, one_line, rows, text};
use super::issue_lookup::{explained, find};
use crate::cli::Context;
use crate::client::encoded;
use crate::failure::{Failure, Kind};
use crate::screen::Tone;
use crate::when;

#[derive(Debug, Args)]
pub(crate) struct Documents {
    /// The issue, like ACM-12
    issue: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Document {
    /// Print a document
    Get(Get),
    /// Write a document; without a text it is read from standard input
    Put(Put),
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The issue, like ACM-12
    issue: String,
    /// Its key, for example plan
    key: String,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The issue, like ACM-12
    issue: String,
    /// Its key, for example plan
    key: String,
    /// The text [default: standard input]
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    text: Option<String>,
    /// A file with the text
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Its title [default: the one it has]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// What was changed, in a line
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,
    /// The revision that was read; if somebody wrote since, nothing is written [default: the newest]
    #[arg(long, value_name = "REVISION")]
    base: Option<String>,
}

impl Documents {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let issue = find(context, &client, &self.issue).await?;
        let documents = client.get(&format!("/issues/{}/documents", text(&issue, "id"))).await?;
        if context.global.json {
            context.screen.answer(&documents);
            return Ok(());
        }
        if rows(&documents).is_empty() {
            let name = text(&issue, "identifier");
            context
                .screen
                .note(&format!("no documents. Write one: bugle issue document put {name} plan < plan.md"));
            return Ok(());
        }
        let shown = rows(&documents).iter().map(|document| {
            vec![
                (Tone::Strong, text(document, "key").to_owned()),
                (Tone::Plain, one_line(text(document, "title"), 60)),
                (Tone::Plain, number(document, "latestRevisionNumber").to_string()),
                (Tone::Plain, when::bytes(text(document, "body").len() as u64)),
                (Tone::Faint, when::local(text(document, "updatedAt"))),
            ]
        });
        context.screen.table(&["KEY", "TITLE", "REVISION", "SIZE", "WRITTEN"], shown.collect());
        Ok(())
    }
}

impl Document {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Document::Get(get) => get.run(context).await,
            Document::Put(put) => put.run(context).await,
        }
    }
}

fn unknown(failure: Failure, issue: &Json, key: &str) -> Failure {
    let name = text(issue, "identifier");
    match failure.message.as_str() {
        "Document not found" => Failure::usage("document.unknown", format!("{name} has no document `{key}`"))
            .hint(format!("see which it has: bugle issue documents {name}")),
        "Invalid document key" => {
            Failure::usage("document.key", format!("`{key}` is not a key for a document"))
                .hint("a key is of small letters, digits, - and _, for example plan")
        }
        _ => failure,
    }
}

impl Get {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let issue = find(context, &client, &self.issue).await?;
        let path = format!("/issues/{}/documents/{}", text(&issue, "id"), encoded(&self.key));
        let document = client.get(&path).await.map_err(|failure| unknown(failure, &issue, &self.key))?;
        if context.global.json {
            context.screen.answer(&document);
            return Ok(());
        }
        // The text itself and nothing else, so that it can be edited and put back.
        let body = text(&document, "body");
        context.screen.pass_on(false, body);
        if !body.is_empty() && !body.ends_with('\n') && std::io::stdout().is_terminal() {
            context.screen.line("");
        }
        Ok(())
    }
}

impl Put {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let body = self.body()?;
        let client = context.client()?;
        let issue = find(context, &client, &self.issue).await?;
        let path = format!("/issues/{}/documents/{}", text(&issue, "id"), encoded(&self.key));
        let before = match client.get(&path).await {
            Ok(document) => Some(document),
            Err(failure) if failure.message == "Document not found" => None,
            Err(failure) => return Err(unknown(failure, &issue, &self.key)),
        };
        let mut sent = Map::new();
        sent.insert("format".into(), json!("markdown"));
        sent.insert("body".into(), json!(body));
        // A title that is left out would be cleared.
        let title = self.title.as_deref().or(before.as_ref().map(|it| text(it, "title")));
        if let Some(title) = title.filter(|title| !title.is_empty()) {
            sent.insert("title".into(), json!(title));
        }
        if let Some(summary) = &self.summary {
            sent.insert("changeSummary".into(), json!(summary));
        }
        let base = self
            .base
            .clone()
            .or_else(|| before.as_ref().map(|document| text(document, "latestRevisionId").to_owned()));
        if let Some(base) = base {
            sent.insert("baseRevisionId".into(), json!(base));
        }
        let saved = client.ask(Method::PUT, &path, Some(&Json::Object(sent)), &[]).await;
        let document = match saved {
            Ok(document) => document,
            Err(failure) => return Err(self.refused(&client, &issue, failure).await),
        };
        if context.global.json {
            context.screen.answer(&document);
            return Ok(());
        }
        let revision = number(&document, "latestRevisionNumber");
        let (name, key) = (text(&issue, "identifier"), text(&document, "key"));
        context.screen.line(&format!("{name} {key}: revision {revision} is written"));
        Ok(())
    }

    fn body(&self) -> Result<String, Failure> {
        match (&self.text, &self.file) {
            (Some(text), _) => super::issue::typed(text),
            (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| {
                let message = format!("cannot read {}: {error}", file.display());
                Failure::usage("file.unreadable", message).hint("name a text file that you may read")
            }),
            (None, None) => super::issue::typed("-"),
        }
    }

    async fn refused(&self, client: &crate::client::Client, issue: &Json, failure: Failure) -> Failure {
        let name = text(issue, "identifier");
        if failure.message == "Document was updated by someone else" {
            let message = format!("{} of {name} was written by somebody else meanwhile", self.key);
            return Failure { kind: Kind::Refused, message, ..failure }.hint(format!(
                "read it again, then put yours: bugle issue document get {name} {}",
                self.key
            ));
        }
        explained(client, issue, unknown(failure, issue, &self.key)).await
    }
}
