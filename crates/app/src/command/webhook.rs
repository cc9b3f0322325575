//! `bugle webhook`: events of a company that are sent to the servers of others, and their requests that start
//! automations.

use std::time::Duration;

use clap::{Args, Subcommand};
use domain::ids::looks_like_id;
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::answer::{counted, facts, number, one_line, printable, rows, rows_at, text};
use super::confirm::{Deed, confirm};
use super::directory::short;
use super::webhook_trigger::Trigger;
use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

const EXAMPLES: &str = "\
Examples:
  bugle webhook add https://example.com/hooks --events 'automation.*'   all events of automations
  bugle webhook test 0192f7a0                                           send one that means nothing
  bugle webhook deliveries 0192f7a0                                     what was sent, and the answers
  bugle webhook redeliver 0192f7b3                                      send one once more
  bugle webhook trigger add deploy --scheme github                      pushes start the automation `deploy`

Each request is signed as standardwebhooks.com says; the secret is printed once, by `add`.";

/// A test is waited for so long: the time limit of a request, and some.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Webhook {
    /// Send events to an URL from now on
    Add(Add),
    /// List the webhooks of the company
    List,
    /// Show one
    Show(Named),
    /// Send no more until it is enabled again
    Disable(Named),
    /// Send again, what happens from now on
    Enable(Named),
    /// Give one a new secret; the old one is good beside it for a day
    Rotate(Named),
    /// Remove one, with the record of what was sent
    Remove(Remove),
    /// Send an event that means nothing, and wait for the answer
    Test(Named),
    /// List what was sent, or is to be
    Deliveries(Named),
    /// Send a delivery that is over once more
    Redeliver {
        /// Id of the delivery, or its first digits
        delivery: String,
    },
    /// Let others start an automation: make, list and remove triggers
    #[command(subcommand)]
    Trigger(Trigger),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Id of the webhook, or its first digits
    webhook: String,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Where to send: http or https
    #[arg(value_name = "URL")]
    address: String,
    /// Which events, each an exact name, `prefix.*` or `*`
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', default_value = "*")]
    events: Vec<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Id of the webhook, or its first digits
    webhook: String,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

/// The webhooks of a company, as the command line reaches them.
struct Desk<'a> {
    client: &'a Client,
    base: String,
}

impl Webhook {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let desk = Desk { client: &client, base: format!("/companies/{company}/webhooks") };
        match self {
            Webhook::Trigger(trigger) => trigger.run(context, &client, &company).await,
            Webhook::Add(add) => add.run(context, &desk).await,
            Webhook::List => list(context, &desk).await,
            Webhook::Show(Named { webhook }) => {
                let found = desk.find(&webhook).await?;
                show(context, &found);
                Ok(())
            }
            Webhook::Disable(Named { webhook }) => desk.switch(context, &webhook, false).await,
            Webhook::Enable(Named { webhook }) => desk.switch(context, &webhook, true).await,
            Webhook::Rotate(Named { webhook }) => {
                let found = desk.find(&webhook).await?;
                let rotated = client.post(&desk.path(&found, "/rotate"), &json!({})).await?;
                told(context, &rotated, |context| {
                    context.screen.line(&format!("new secret of {}:", short(text(&rotated, "id"))));
                    secret(context, &rotated);
                });
                Ok(())
            }
            Webhook::Remove(remove) => remove.run(context, &desk).await,
            Webhook::Test(Named { webhook }) => {
                let found = desk.find(&webhook).await?;
                let ordered = client.post(&desk.path(&found, "/test"), &json!({})).await?;
                awaited(context, &client, &ordered).await
            }
            Webhook::Deliveries(Named { webhook }) => {
                let found = desk.find(&webhook).await?;
                let sent = client.get(&desk.path(&found, "/deliveries")).await?;
                deliveries(context, &sent);
                Ok(())
            }
            Webhook::Redeliver { delivery } => {
                let id = desk.delivery(&delivery).await?;
                let ordered = client.post(&format!("/webhook-deliveries/{id}/redeliver"), &json!({})).await?;
                awaited(context, &client, &ordered).await
            }
        }
    }
}

impl Desk<'_> {
    fn path(&self, webhook: &Json, rest: &str) -> String {
        format!("{}/{}{rest}", self.base, text(webhook, "id"))
    }

    async fn find(&self, typed: &str) -> Result<Json, Failure> {
        let all = self.client.get(&self.base).await?;
        let typed = typed.trim().to_ascii_lowercase();
        let is_meant = |row: &&Json| typed.len() >= 4 && text(row, "id").starts_with(&typed);
        let meant: Vec<&Json> = rows(&all).iter().filter(is_meant).collect();
        match meant.as_slice() {
            [one] => Ok((*one).clone()),
            _ => Err(Failure::usage("webhook.unknown", format!("`{typed}` does not name one webhook"))
                .hint("see which there are: bugle webhook list")),
        }
    }

    /// The id of a delivery, whole or looked for in the latest of each webhook.
    async fn delivery(&self, typed: &str) -> Result<String, Failure> {
        let typed = typed.trim().to_ascii_lowercase();
        if looks_like_id(&typed) {
            return Ok(typed);
        }
        let mut meant = Vec::new();
        if typed.len() >= 4 {
            let all = self.client.get(&self.base).await?;
            for webhook in rows(&all) {
                let sent = self.client.get(&self.path(webhook, "/deliveries")).await?;
                let ids = rows(&sent).iter().map(|row| text(row, "id").to_owned());
                meant.extend(ids.filter(|id| id.starts_with(&typed)));
            }
        }
        match meant.as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(Failure::usage("delivery.unknown", format!("`{typed}` does not name one delivery"))
                .hint("give all of its id: bugle webhook deliveries WEBHOOK --json")),
        }
    }

    async fn switch(&self, context: &mut Context, typed: &str, enabled: bool) -> Result<(), Failure> {
        let found = self.find(typed).await?;
        let changed = self.client.patch(&self.path(&found, ""), &json!({ "enabled": enabled })).await?;
        told(context, &changed, |context| {
            let state = if enabled { "enabled" } else { "disabled" };
            context.screen.line(&format!("{} is {state}", short(text(&changed, "id"))));
        });
        Ok(())
    }
}

impl Add {
    async fn run(self, context: &mut Context, desk: &Desk<'_>) -> Result<(), Failure> {
        let body = json!({ "url": self.address, "events": self.events, "description": self.description });
        let made = desk.client.post(&desk.base, &body).await?;
        told(context, &made, |context| {
            let (id, url) = (short(text(&made, "id")), printable(text(&made, "url")));
            context.screen.line(&format!("{id} sends {} to {url}", patterns(&made)));
            secret(context, &made);
            context.screen.note(&format!("try it: bugle webhook test {id}"));
        });
        Ok(())
    }
}

impl Remove {
    async fn run(self, context: &mut Context, desk: &Desk<'_>) -> Result<(), Failure> {
        let found = desk.find(&self.webhook).await?;
        let id = short(text(&found, "id"));
        let deed = Deed {
            code: "webhook_remove",
            name: &id,
            question: format!("Remove {id} ({})?", printable(text(&found, "url"))),
            what: format!("removing `{id}`"),
            command: format!("bugle webhook remove {id} --yes"),
        };
        confirm(context, deed, self.yes)?;
        let done = desk.client.ask(Method::DELETE, &desk.path(&found, ""), None, &[]).await?;
        told(context, &done, |context| context.screen.line(&format!("removed {id}")));
        Ok(())
    }
}

/// Prints a secret that is never shown again.
pub(super) fn secret(context: &mut Context, of: &Json) {
    let shown = context.screen.tint(Tone::Strong, text(of, "secret"));
    context.screen.line(&format!("  {shown}"));
    context.screen.note("give this secret to the other side: it is not shown again");
}

async fn list(context: &mut Context, desk: &Desk<'_>) -> Result<(), Failure> {
    let all = desk.client.get(&desk.base).await?;
    if context.global.json {
        context.screen.answer(&all);
        return Ok(());
    }
    if rows(&all).is_empty() {
        context.screen.note("no webhooks yet. Add one: bugle webhook add URL --events 'automation.*'");
        return Ok(());
    }
    let shown = rows(&all).iter().map(|row| {
        let (state, tone) = state(row);
        vec![
            (Tone::Strong, short(text(row, "id"))),
            (tone, state),
            (Tone::Plain, one_line(text(row, "url"), 60)),
            (Tone::Plain, one_line(&patterns(row), 40)),
            (Tone::Faint, one_line(text(row, "description"), 30)),
        ]
    });
    context.screen.table(&["ID", "STATE", "URL", "EVENTS", "WHAT FOR"], shown.collect());
    Ok(())
}

fn patterns(webhook: &Json) -> String {
    rows_at(webhook, "events").iter().filter_map(Json::as_str).collect::<Vec<_>>().join(", ")
}

fn state(webhook: &Json) -> (String, Tone) {
    match (text(webhook, "disabledReason"), text(webhook, "failingSince")) {
        ("", "") => ("enabled".to_owned(), Tone::Good),
        ("", _) => ("failing".to_owned(), Tone::Waiting),
        (reason, _) => (format!("disabled ({reason})"), Tone::Bad),
    }
}

fn show(context: &mut Context, webhook: &Json) {
    told(context, webhook, |context| {
        let since = |key: &str| match text(webhook, key) {
            "" => String::new(),
            at => when::local(at),
        };
        let screen = &mut context.screen;
        screen.line(text(webhook, "id"));
        let all = [
            ("url", text(webhook, "url").to_owned()),
            ("events", patterns(webhook)),
            ("state", state(webhook).0),
            ("failing", since("failingSince")),
            ("disabled", since("disabledAt")),
            ("what for", text(webhook, "description").to_owned()),
            ("secret", format!("version {}", number(webhook, "secretVersion"))),
            ("since", since("createdAt")),
        ];
        facts(screen, all);
    });
}

fn deliveries(context: &mut Context, sent: &Json) {
    told(context, sent, |context| {
        if rows(sent).is_empty() {
            context.screen.note("nothing was sent yet");
            return;
        }
        let shown = rows(sent).iter().map(|row| {
            vec![
                (Tone::Strong, short(text(row, "id"))),
                (tone_of(text(row, "status")), text(row, "status").to_owned()),
                (Tone::Plain, text(row, "type").to_owned()),
                (Tone::Plain, number(row, "attempts").to_string()),
                (Tone::Plain, one_line(&answer(row), 50)),
                (Tone::Faint, when::local(text(row, "createdAt"))),
            ]
        });
        context.screen.table(&["ID", "STATUS", "EVENT", "TRIES", "ANSWER", "SINCE"], shown.collect());
    });
}

fn tone_of(status: &str) -> Tone {
    match status {
        "delivered" => Tone::Good,
        "failed" => Tone::Bad,
        _ => Tone::Waiting,
    }
}

/// The last answer in a few words.
fn answer(delivery: &Json) -> String {
    let status = match number(delivery, "answerStatus") {
        0 => String::new(),
        status => format!("HTTP {status}"),
    };
    let rest = [text(delivery, "error"), text(delivery, "answer")];
    let rest = rest.into_iter().find(|words| !words.trim().is_empty()).unwrap_or_default();
    [status.as_str(), rest].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

/// Waits until a delivery was tried, and says what came of it.
async fn awaited(context: &mut Context, client: &Client, ordered: &Json) -> Result<(), Failure> {
    let path = format!("/webhook-deliveries/{}", text(ordered, "id"));
    let looking = async {
        loop {
            let now = client.get(&path).await?;
            if number(&now, "attempts") > 0 || text(&now, "status") != "pending" {
                return Ok::<Json, Failure>(now);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let Ok(found) = tokio::time::timeout(PATIENCE, looking).await else {
        return Err(Failure::failed("webhook.not_sent", "it was not sent yet")
            .hint("see what becomes of it: bugle webhook deliveries WEBHOOK"));
    };
    let found = found?;
    let words = one_line(&answer(&found), 200);
    if text(&found, "status") == "delivered" {
        let took = number(&found, "tookMs");
        told(context, &found, |context| {
            context.screen.line(&format!("delivered in {took} ms: {words}"));
        });
        return Ok(());
    }
    let tries = counted(number(&found, "attempts"), "try").replace("trys", "tries");
    Err(Failure::failed("webhook.not_taken", format!("not taken after {tries}: {words}"))
        .hint("it is tried again by itself; see: bugle webhook deliveries WEBHOOK"))
}

pub(super) fn told(context: &mut Context, answer: &Json, say: impl FnOnce(&mut Context)) {
    if context.global.json {
        context.screen.answer(answer);
    } else {
        say(context);
    }
}
