//! `bugle secret`: values that agents need and nobody is to read. A value is typed unseen or comes through a pipe; it is
//! never an argument, because arguments are shown to everybody on the machine, and never printed again.

use std::io::{IsTerminal, Read};

use clap::{Args, Subcommand};
use domain::ids::looks_like_id;
use reqwest::Method;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::{Value as Json, json};

use super::answer::{number, one_line, rows, text};
use super::confirm::{Deed, confirm};
use crate::cli::Context;
use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::screen::Tone;
use crate::when;

const EXAMPLES: &str = "\
Examples:
  bugle secret set github                      type the value unseen
  pass show github | bugle secret set github   or send it through a pipe
  bugle agent add cody --adapter codex_local --env GITHUB_TOKEN=secret:github
  bugle agent set-env cody OPENAI_API_KEY=secret:openai
  bugle secret rotate github                   processes that start from now on get the new value";

/// More is no secret.
const LONGEST: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Secret {
    /// List the secrets of the company, without their values
    List,
    /// Store a value under a name
    Set(Set),
    /// Give a secret a new value
    Rotate(Named),
    /// Give a secret another name; who refers to it notices nothing
    Rename(Rename),
    /// Remove a secret that nothing refers to
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Name or id of the secret
    secret: String,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Its name
    name: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Rename {
    /// Name or id of the secret
    secret: String,
    /// Its new name
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Name or id of the secret
    secret: String,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

impl Secret {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        match self {
            Secret::List => list(context, &client, &company).await,
            Secret::Set(set) => set.run(context, &client, &company).await,
            Secret::Rotate(Named { secret }) => {
                let id = id_of(&client, &company, &secret).await?;
                let value = value_of(context, &secret).await?;
                let rotated =
                    client.post(&format!("/secrets/{id}/rotate"), &json!({ "value": value })).await?;
                let shown = format!("{} has version {}", shown(&rotated), number(&rotated, "latestVersion"));
                told(context, &rotated, &shown);
                Ok(())
            }
            Secret::Rename(Rename { secret, name }) => {
                let id = id_of(&client, &company, &secret).await?;
                let renamed = client.patch(&format!("/secrets/{id}"), &json!({ "name": name })).await?;
                let shown = format!("{} is now called {}", one_line(&secret, 80), shown(&renamed));
                told(context, &renamed, &shown);
                Ok(())
            }
            Secret::Remove(remove) => remove.run(context, &client, &company).await,
        }
    }
}

impl Set {
    async fn run(self, context: &mut Context, client: &Client, company: &str) -> Result<(), Failure> {
        let value = value_of(context, &self.name).await?;
        let body = json!({ "name": self.name, "value": value, "description": self.description });
        let made = client.post(&format!("/companies/{company}/secrets"), &body).await;
        let made = made.map_err(|failure| match failure.message.starts_with("Secret already exists") {
            true => failure.hint(format!("give it a new value: bugle secret rotate {}", self.name)),
            false => failure,
        })?;
        told(context, &made, &format!("stored {}", shown(&made)));
        if !context.global.json {
            let name = text(&made, "name");
            context
                .screen
                .note(&format!("give it to an agent: bugle agent set-env AGENT NAME=secret:{name}"));
        }
        Ok(())
    }
}

impl Remove {
    async fn run(self, context: &mut Context, client: &Client, company: &str) -> Result<(), Failure> {
        let named = self.secret;
        let id = id_of(client, company, &named).await?;
        let deed = Deed {
            code: "secret_remove",
            name: &named,
            question: format!("Remove {named} with all its versions?"),
            what: format!("removing `{named}`"),
            command: format!("bugle secret remove '{named}' --yes"),
        };
        confirm(context, deed, self.yes)?;
        let done = client.ask(Method::DELETE, &format!("/secrets/{id}"), None, &[]).await;
        let done = done.map_err(|failure| match failure.message.starts_with("Secret is in use") {
            true => failure
                .hint("take it out of their environments first: bugle agent set-env AGENT --unset NAME"),
            false => failure,
        })?;
        told(context, &done, &format!("removed {}", one_line(&named, 80)));
        Ok(())
    }
}

async fn list(context: &mut Context, client: &Client, company: &str) -> Result<(), Failure> {
    let secrets = client.get(&format!("/companies/{company}/secrets")).await?;
    if context.global.json {
        context.screen.answer(&secrets);
        return Ok(());
    }
    if rows(&secrets).is_empty() {
        context.screen.note("no secrets yet. Store one: bugle secret set NAME");
        return Ok(());
    }
    let shown = rows(&secrets).iter().map(|secret| {
        vec![
            (Tone::Strong, shown(secret)),
            (Tone::Plain, number(secret, "latestVersion").to_string()),
            (Tone::Plain, when::local(text(secret, "updatedAt"))),
            (Tone::Plain, one_line(text(secret, "description"), 40)),
            (Tone::Faint, text(secret, "id").to_owned()),
        ]
    });
    context.screen.table(&["NAME", "VERSION", "CHANGED", "WHAT FOR", "ID"], shown.collect());
    Ok(())
}

fn shown(secret: &Json) -> String {
    one_line(text(secret, "name"), 80)
}

fn told(context: &mut Context, answer: &Json, line: &str) {
    if context.global.json {
        context.screen.answer(answer);
    } else {
        context.screen.line(line);
    }
}

/// Returns the secret with this id or name.
pub(super) async fn find(client: &Client, company: &str, named: &str) -> Result<Json, Failure> {
    let named = named.trim();
    let secrets = client.get(&format!("/companies/{company}/secrets")).await?;
    let is_meant = |secret: &&Json| {
        text(secret, "name") == named
            || (looks_like_id(named) && text(secret, "id").eq_ignore_ascii_case(named))
    };
    rows(&secrets).iter().find(is_meant).cloned().ok_or_else(|| {
        Failure::usage("secret.unknown", format!("there is no secret `{named}`"))
            .hint(format!("see which there are: bugle secret list; store it: bugle secret set '{named}'"))
    })
}

async fn id_of(client: &Client, company: &str, named: &str) -> Result<String, Failure> {
    Ok(text(&find(client, company, named).await?, "id").to_owned())
}

/// Reads a value: typed unseen at a terminal, else all of what comes through the pipe, without the last line end.
async fn value_of(context: &mut Context, name: &str) -> Result<String, Failure> {
    let lost = |error: std::io::Error| {
        Failure::usage("secret.unreadable", format!("cannot read the value: {error}"))
            .hint(format!("send it through a pipe: ... | bugle secret set {name}"))
    };
    let mut value = if std::io::stdin().is_terminal() {
        context.screen.note(&format!("Value of {} (it is not shown):", one_line(name, 80)));
        typed_unseen().await?.map_err(lost)?
    } else {
        let mut bytes = Vec::new();
        std::io::stdin().take(LONGEST).read_to_end(&mut bytes).map_err(lost)?;
        String::from_utf8(bytes).map_err(|_| {
            Failure::usage("secret.not_text", "the value is not UTF-8 text")
                .hint("encode it first, for example with base64")
        })?
    };
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    if value.is_empty() {
        return Err(Failure::usage("secret.empty", "no value was given")
            .hint(format!("type it, or send it through a pipe: ... | bugle secret set {name}")));
    }
    Ok(value)
}

/// Reads one line without showing it. An interrupt leaves the terminal as it was.
async fn typed_unseen() -> Result<std::io::Result<String>, Failure> {
    let Ok(_unseen) = Unseen::start() else {
        return Err(Failure::usage("secret.shown", "this terminal would show what is typed")
            .hint("send the value through a pipe"));
    };
    let (said, line) = tokio::sync::oneshot::channel();
    // Not a task of the runtime: nobody waits for a line that never comes.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line).map(|_| line);
        // Nobody listens after an interrupt.
        let _ = said.send(read);
    });
    tokio::select! {
        read = line => Ok(read.unwrap_or_else(|_| Err(std::io::ErrorKind::UnexpectedEof.into()))),
        _ = tokio::signal::ctrl_c() => {
            Err(Failure::new(Kind::Interrupted, "secret.interrupted", "nothing was stored"))
        }
    }
}

/// A terminal that does not show what is typed, as long as this lives.
struct Unseen(Termios);

impl Unseen {
    fn start() -> rustix::io::Result<Unseen> {
        let before = tcgetattr(std::io::stdin())?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        unseen.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &unseen)?;
        Ok(Unseen(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
