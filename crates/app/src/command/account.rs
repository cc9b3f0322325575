//! `bugle account`: the logins and keys that agents share, what keeps runs from starting on them, and what to do about it.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value as Json, json};

use super::answer::{facts, one_line, rows, rows_at, text};
use super::directory::short;
use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

const EXAMPLES: &str = "\
Examples:
  bugle account list                         which accounts there are, and what they wait for
  bugle account login-done                   after `claude` or `codex login`: one run tries it, the others follow
  bugle account auto-resume off 0192f7a0     ask me when a limit is over, and do not go on by yourself

An account is the login or key that an agent's program uses. Agents with the same one share it: a limit that one of them
meets holds them all, and nothing is lost meanwhile. The shortest name of an account is the first 8 digits of its id; where
there is only one that is meant, none is needed.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Account {
    /// List the accounts that were used, with what they wait for
    List,
    /// Show one account, with the agents that use it
    Show(Named),
    /// Let one run try a parked account now; the others follow when it is answered
    Resume(Named),
    /// Say that somebody has logged in: the same as resume
    LoginDone(Named),
    /// Let nothing start on an account; runs that are under way go on
    Park(Park),
    /// Say whether an account goes on by itself when a limit is over, or asks
    AutoResume(AutoResume),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Id of the account, or its first digits [default: the only one that is parked]
    account: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Park {
    /// Id of the account, or its first digits [default: the only one there is]
    account: Option<String>,
    /// Until this moment, for example 2026-04-27T15:00:00Z [default: until it is resumed]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Switch {
    /// It goes on by itself
    On,
    /// Somebody is asked
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct AutoResume {
    #[arg(value_enum)]
    /// Whether it goes on by itself
    switch: Switch,
    /// Id of the account, or its first digits [default: the only one there is]
    account: Option<String>,
}

impl Account {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Account::List => list(context).await,
            Account::Show(named) => show(context, named.account.as_deref()).await,
            Account::Resume(named) | Account::LoginDone(named) => {
                let client = context.client()?;
                let account = find(context, &client, named.account.as_deref(), is_parked).await?;
                let path = format!("/accounts/{}/resume", text(&account, "id"));
                let changed = client.post(&path, &json!({})).await?;
                answer(context, &changed);
                Ok(())
            }
            Account::Park(park) => {
                let client = context.client()?;
                let account = find(context, &client, park.account.as_deref(), |_| true).await?;
                let body = park.until.map_or_else(|| json!({}), |until| json!({ "until": until }));
                let path = format!("/accounts/{}/park", text(&account, "id"));
                let changed = client.post(&path, &body).await?;
                answer(context, &changed);
                Ok(())
            }
            Account::AutoResume(AutoResume { switch, account }) => {
                let client = context.client()?;
                let account = find(context, &client, account.as_deref(), |_| true).await?;
                let body = json!({ "autoResume": matches!(switch, Switch::On) });
                let changed = client.patch(&format!("/accounts/{}", text(&account, "id")), &body).await?;
                answer(context, &changed);
                Ok(())
            }
        }
    }
}

/// All accounts of a company.
pub(super) async fn all(client: &Client, company: &str) -> Result<Vec<Json>, Failure> {
    Ok(rows(&client.get(&format!("/companies/{company}/accounts")).await?).to_vec())
}

/// What the account of an agent waits for; empty when it waits for nothing, or nothing is known of it.
pub(super) fn waits_of<'a>(accounts: &'a [Json], agent: &str) -> &'a str {
    let uses = |account: &&Json| rows_at(account, "agents").iter().any(|user| text(user, "id") == agent);
    accounts.iter().find(uses).map(|account| text(account, "waitsFor")).unwrap_or_default()
}

fn is_parked(account: &Json) -> bool {
    text(account, "state") == "parked"
}

/// The account that is meant: by the first digits of its id, else the only one that could be.
async fn find(
    context: &Context,
    client: &Client,
    typed: Option<&str>,
    could_be: impl Fn(&Json) -> bool,
) -> Result<Json, Failure> {
    let accounts = all(client, &context.company(client).await?).await?;
    let typed = typed.map(|typed| typed.trim().to_ascii_lowercase());
    let is_meant = |account: &&Json| match &typed {
        Some(typed) => typed.len() >= 8 && text(account, "id").starts_with(typed.as_str()),
        None => could_be(account),
    };
    let matching: Vec<&Json> = accounts.iter().filter(is_meant).collect();
    match (matching.as_slice(), &typed) {
        ([one], _) => Ok(Json::clone(one)),
        ([], Some(typed)) => Err(Failure::usage("account.unknown", format!("there is no account `{typed}`"))
            .hint("see which there are: bugle account list")),
        ([], None) => Err(Failure::usage("account.unknown", "no account is meant: none waits for anything")
            .hint("see which there are: bugle account list")),
        (_, _) => Err(Failure::usage("account.ambiguous", "several accounts could be meant")
            .hint("give the first 8 digits of its id: bugle account list")),
    }
}

async fn list(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let accounts = all(&client, &context.company(&client).await?).await?;
    if context.global.json {
        context.screen.answer(&json!(accounts));
        return Ok(());
    }
    if accounts.is_empty() {
        context.screen.note("no accounts yet: each is listed when a run first starts on it");
        return Ok(());
    }
    let shown = accounts.iter().map(|account| {
        let state = text(account, "state");
        vec![
            (Tone::Strong, short(text(account, "id"))),
            (tone(state), state.to_owned()),
            (Tone::Plain, text(account, "provider").to_owned()),
            (Tone::Plain, one_line(text(account, "label"), 60)),
            (Tone::Plain, rows_at(account, "agents").len().to_string()),
            (Tone::Plain, waits(account)),
        ]
    });
    context.screen.table(&["ACCOUNT", "STATE", "PROVIDER", "WHAT", "AGENTS", "WAITS"], shown.collect());
    Ok(())
}

async fn show(context: &mut Context, typed: Option<&str>) -> Result<(), Failure> {
    let client = context.client()?;
    let account = find(context, &client, typed, |_| true).await?;
    answer(context, &account);
    Ok(())
}

fn answer(context: &mut Context, account: &Json) {
    if context.global.json {
        context.screen.answer(account);
        return;
    }
    let state = text(account, "state");
    let title = context.screen.tint(Tone::Strong, text(account, "label"));
    let shown = context.screen.tint(tone(state), state);
    context.screen.line(&format!("{title}  {shown}"));
    let users: Vec<String> =
        rows_at(account, "agents").iter().map(|agent| text(agent, "name").to_owned()).collect();
    let goes_on = account.get("autoResume").and_then(Json::as_bool).unwrap_or(true);
    let when = |key: &str| match text(account, key) {
        "" => String::new(),
        at => when::local(at),
    };
    facts(
        &mut context.screen,
        [
            ("id", text(account, "id").to_owned()),
            ("provider", text(account, "provider").to_owned()),
            ("waits", waits(account)),
            ("parked", when("parkedAt")),
            ("tried by", text(account, "probeRunId").to_owned()),
            ("goes on", if goes_on { "by itself" } else { "when somebody says so" }.to_owned()),
            ("last error", one_line(text(account, "lastError"), 200)),
            ("agents", users.join(", ")),
        ],
    );
    if state == "parked" {
        context.screen.note("to let one run try it now: bugle account resume");
    }
}

/// What it waits for, with the time as it is here.
fn waits(account: &Json) -> String {
    let words = text(account, "waitsFor");
    match (words.split_once(" until "), text(account, "parkedUntil")) {
        (Some((what, _)), at) if !at.is_empty() => format!("{what} until {}", when::local(at)),
        _ => words.to_owned(),
    }
}

fn tone(state: &str) -> Tone {
    match state {
        "open" => Tone::Good,
        "probing" | "resuming" => Tone::Busy,
        _ => Tone::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_waits_for_what_its_account_waits_for() {
        let accounts = [
            json!({ "agents": [{ "id": "a" }], "waitsFor": null }),
            json!({ "agents": [{ "id": "b" }, { "id": "c" }], "waitsFor": "waiting for a login" }),
        ];
        let waits = ["a", "b", "c", "d"].map(|agent| waits_of(&accounts, agent));
        assert_eq!(waits, ["", "waiting for a login", "waiting for a login", ""]);
    }

    #[test]
    fn times_are_shown_as_they_are_here() {
        let at = "2026-04-27T15:02:47.000Z";
        let account = json!({ "waitsFor": format!("waiting for quota until {at}"), "parkedUntil": at });
        assert_eq!(waits(&account), format!("waiting for quota until {}", when::local(at)));
        assert_eq!(waits(&json!({ "waitsFor": "waiting for a login" })), "waiting for a login");
        assert_eq!(waits(&json!({ "waitsFor": null })), "");
    }
}
