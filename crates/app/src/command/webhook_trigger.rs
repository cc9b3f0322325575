//! `bugle webhook trigger`: who starts which automation from outside. A secret of the sender's own choice comes through a
//! pipe; it is never an argument, because arguments are shown to everybody on the machine.

use std::io::Read;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::answer::{number, one_line, printable, rows, text};
use super::automation::unknown;
use super::confirm::{Deed, confirm};
use super::directory::{Shorts, short};
use super::webhook::{secret, told};
use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

const EXAMPLES: &str = "\
Examples:
  bugle webhook trigger add deploy --scheme github       prints the path and the secret to give to GitHub
  pass show ci | bugle webhook trigger add deploy --secret-from-stdin
  bugle webhook trigger receipts 0192f7a0                what came, and what became of it
  bugle webhook trigger rotate 0192f7a0                  the old secret is good beside the new one for a day

What is sent is the input `webhook` of the run: body, headers, eventId. Declare it under inputs, with the type object.";

/// More is no secret.
const LONGEST: u64 = 64 << 10;

/// How a sender proves who it is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scheme {
    /// standardwebhooks.com
    Standard,
    /// X-Hub-Signature-256
    Github,
    /// A secret in a header
    #[value(name = "shared_secret", alias = "shared-secret")]
    SharedSecret,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Scheme::Standard => "standard",
            Scheme::Github => "github",
            Scheme::SharedSecret => "shared_secret",
        }
    }
}

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Trigger {
    /// Let requests from outside start an automation
    Add(Add),
    /// List the triggers of the company
    List,
    /// Take requests again
    Enable(Named),
    /// Refuse requests until it is enabled again
    Disable(Named),
    /// Give one a new secret; the old one is good beside it for a day
    Rotate(Named),
    /// Remove one, with the record of what came
    Remove(Remove),
    /// List what came, and what became of it
    Receipts(Named),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Id of the trigger, or its first digits
    trigger: String,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Name or id of the automation
    automation: String,
    /// How senders prove who they are
    #[arg(long, value_enum, default_value = "standard")]
    scheme: Scheme,
    /// What to call it
    #[arg(long)]
    name: Option<String>,
    /// Read the secret from a pipe, instead of making one
    #[arg(long)]
    secret_from_stdin: bool,
    /// For shared_secret: the header that holds it [default: x-webhook-secret]
    #[arg(long, value_name = "HEADER")]
    secret_header: Option<String>,
    /// The input that gets what is sent [default: webhook]
    #[arg(long)]
    input: Option<String>,
    /// Headers to hand on with it
    #[arg(long, value_name = "HEADER", value_delimiter = ',')]
    headers: Vec<String>,
    /// The largest body, in bytes [default: 1 MiB]
    #[arg(long, value_name = "BYTES")]
    size_limit: Option<i64>,
    /// Requests in a minute [default: 120]
    #[arg(long, value_name = "N")]
    rate_per_minute: Option<i64>,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Id of the trigger, or its first digits
    trigger: String,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

impl Trigger {
    pub(crate) async fn run(
        self,
        context: &mut Context,
        client: &Client,
        company: &str,
    ) -> Result<(), Failure> {
        let base = format!("/companies/{company}/webhook-triggers");
        match self {
            Trigger::Add(add) => add.run(context, client, &base).await,
            Trigger::List => list(context, client, &base).await,
            Trigger::Enable(Named { trigger }) => switch(context, client, (&base, &trigger), true).await,
            Trigger::Disable(Named { trigger }) => switch(context, client, (&base, &trigger), false).await,
            Trigger::Rotate(Named { trigger }) => {
                let id = find(client, &base, &trigger).await?;
                let rotated = client.post(&format!("{base}/{id}/rotate"), &json!({})).await?;
                told(context, &rotated, |context| {
                    context.screen.line(&format!("new secret of {}:", short(&id)));
                    secret(context, &rotated);
                });
                Ok(())
            }
            Trigger::Remove(remove) => remove.run(context, client, &base).await,
            Trigger::Receipts(Named { trigger }) => {
                let id = find(client, &base, &trigger).await?;
                let came = client.get(&format!("{base}/{id}/receipts")).await?;
                receipts(context, &came);
                Ok(())
            }
        }
    }
}

impl Add {
    async fn run(self, context: &mut Context, client: &Client, base: &str) -> Result<(), Failure> {
        let mut body = json!({ "automation": self.automation, "scheme": self.scheme.as_str() });
        let rest = [
            ("name", self.name.map(Json::from)),
            ("secretHeader", self.secret_header.map(Json::from)),
            ("input", self.input.map(Json::from)),
            ("headers", (!self.headers.is_empty()).then(|| json!(self.headers))),
            ("sizeLimit", self.size_limit.map(Json::from)),
            ("ratePerMinute", self.rate_per_minute.map(Json::from)),
        ];
        for (key, value) in rest {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        if self.secret_from_stdin {
            body["secret"] = Json::from(piped()?);
        }
        let made = client.post(base, &body).await.map_err(unknown(&self.automation))?;
        told(context, &made, |context| {
            let (id, automation) = (short(text(&made, "id")), printable(text(&made, "automation")));
            context.screen.line(&format!("{id} starts {automation}; send to"));
            let place = format!("{}{}", client.place().base, text(&made, "path"));
            let place = context.screen.tint(Tone::Strong, &place);
            context.screen.line(&format!("  {place}"));
            secret(context, &made);
            context.screen.note("the address is not shown again, either: whoever sends needs both");
        });
        Ok(())
    }
}

impl Remove {
    async fn run(self, context: &mut Context, client: &Client, base: &str) -> Result<(), Failure> {
        let id = find(client, base, &self.trigger).await?;
        let name = short(&id);
        let deed = Deed {
            code: "webhook_trigger_remove",
            name: &name,
            question: format!("Remove the trigger {name}?"),
            what: format!("removing `{name}`"),
            command: format!("bugle webhook trigger remove {name} --yes"),
        };
        confirm(context, deed, self.yes)?;
        let done = client.ask(Method::DELETE, &format!("{base}/{id}"), None, &[]).await?;
        told(context, &done, |context| context.screen.line(&format!("removed {name}")));
        Ok(())
    }
}

/// All of what comes through the pipe, without the last line end.
fn piped() -> Result<String, Failure> {
    let mut given = String::new();
    let read = std::io::stdin().take(LONGEST).read_to_string(&mut given);
    read.map_err(|error| {
        Failure::usage("webhook_trigger.secret_unreadable", format!("cannot read the secret: {error}"))
            .hint("send it through a pipe: ... | bugle webhook trigger add AUTOMATION --secret-from-stdin")
    })?;
    Ok(given.trim_end_matches(['\r', '\n']).to_owned())
}

async fn find(client: &Client, base: &str, typed: &str) -> Result<String, Failure> {
    let all = client.get(base).await?;
    let typed = typed.trim().to_ascii_lowercase();
    let ids = rows(&all).iter().map(|row| text(row, "id"));
    let meant: Vec<&str> = ids.filter(|id| typed.len() >= 4 && id.starts_with(&typed)).collect();
    match meant.as_slice() {
        [one] => Ok((*one).to_owned()),
        _ => Err(Failure::usage("webhook_trigger.unknown", format!("`{typed}` does not name one trigger"))
            .hint("see which there are: bugle webhook trigger list")),
    }
}

async fn switch(
    context: &mut Context,
    client: &Client,
    (base, typed): (&str, &str),
    enabled: bool,
) -> Result<(), Failure> {
    let id = find(client, base, typed).await?;
    let changed = client.patch(&format!("{base}/{id}"), &json!({ "enabled": enabled })).await?;
    told(context, &changed, |context| {
        let state = if enabled { "enabled" } else { "disabled" };
        context.screen.line(&format!("{} is {state}", short(&id)));
    });
    Ok(())
}

async fn list(context: &mut Context, client: &Client, base: &str) -> Result<(), Failure> {
    let all = client.get(base).await?;
    told(context, &all, |context| {
        if rows(&all).is_empty() {
            context.screen.note("no triggers yet. Make one: bugle webhook trigger add AUTOMATION");
            return;
        }
        let shown = rows(&all).iter().map(|row| {
            let is_on = row.get("enabled").and_then(Json::as_bool).unwrap_or(false);
            let obstacle = text(row, "obstacle");
            let (state, tone) = match (is_on, obstacle) {
                (false, _) => ("disabled", Tone::Bad),
                (true, "") => ("enabled", Tone::Good),
                (true, obstacle) => (obstacle, Tone::Bad),
            };
            vec![
                (Tone::Strong, short(text(row, "id"))),
                (Tone::Plain, one_line(text(row, "automation"), 40)),
                (Tone::Plain, one_line(text(row, "name"), 40)),
                (Tone::Plain, text(row, "scheme").to_owned()),
                (tone, state.to_owned()),
                (Tone::Faint, when::local(text(row, "createdAt"))),
            ]
        });
        context.screen.table(&["ID", "AUTOMATION", "NAME", "SCHEME", "STATE", "SINCE"], shown.collect());
    });
    Ok(())
}

fn receipts(context: &mut Context, came: &Json) {
    told(context, came, |context| {
        if rows(came).is_empty() {
            context.screen.note("nothing came yet");
            return;
        }
        let runs = Shorts::of(rows(came), "automationRunId");
        let shown = rows(came).iter().map(|row| {
            let status = text(row, "status");
            let tone = match status {
                "accepted" | "received" => Tone::Good,
                "duplicate" => Tone::Faint,
                _ => Tone::Bad,
            };
            vec![
                (Tone::Strong, short(text(row, "id"))),
                (tone, status.to_owned()),
                (Tone::Plain, text(row, "reason").to_owned()),
                (Tone::Plain, one_line(text(row, "eventId"), 40)),
                (Tone::Plain, number(row, "size").to_string()),
                (Tone::Plain, runs.cut(text(row, "automationRunId"))),
                (Tone::Faint, when::local(text(row, "receivedAt"))),
            ]
        });
        context.screen.table(&["ID", "STATUS", "WHY", "EVENT", "BYTES", "RUN", "CAME"], shown.collect());
    });
}
