//! `bugle login`, `logout` and `whoami`: the keys with which a person talks to a server that asks for one.
//!
//! A login shows a code; a person who is in already approves it, and the key that this command holds becomes valid.
//! Nothing is sent to any other server than the one that is meant.

use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::answer::{one_line, text};
use crate::cli::Context;
use crate::client::{Client, encoded};
use crate::data_dir;
use crate::failure::{Failure, Kind, chain};
use crate::logins;

/// Faster than this a server is not asked, whatever it suggests.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);

/// A code is an id and a secret.
const BETWEEN: char = ':';

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Login {
    #[command(subcommand)]
    step: Option<Step>,
    /// Use this key instead of asking for one
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Ask for the key of an administrator of the instance
    #[arg(long)]
    admin: bool,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Approve the login of another command line
    Approve(Approve),
    /// Become the first administrator, with the token that the server printed at its start
    First(First),
}

#[derive(Debug, Args)]
struct Approve {
    /// The code that the other command line shows
    code: String,
}

#[derive(Debug, Args)]
struct First {
    /// What the server printed
    token: String,
    /// What you are called
    #[arg(long)]
    name: String,
    /// Your address
    #[arg(long)]
    email: Option<String>,
}

impl Login {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        match (self.step, self.key) {
            (Some(Step::Approve(approve)), _) => approve.run(context, &client).await,
            (Some(Step::First(first)), _) => first.run(context, &client).await,
            (None, Some(key)) => {
                let before = kept(&client);
                keep(&client, key.trim())?;
                match client.get("/cli-auth/me").await {
                    Ok(me) => greet(context, &me),
                    Err(failure) => {
                        // What was there worked, perhaps.
                        match before {
                            Some(before) => keep(&client, &before)?,
                            None => forget(&client)?,
                        }
                        Err(failure)
                    }
                }
            }
            (None, None) => ask(context, &client, self.admin).await,
        }
    }
}

/// Asks for a key and waits until somebody approves.
async fn ask(context: &mut Context, client: &Client, admin: bool) -> Result<(), Failure> {
    let access = if admin { "instance_admin_required" } else { "board" };
    let name = hostname();
    let body = json!({ "command": "bugle login", "clientName": name, "requestedAccess": access });
    let made = client.ask_without_key(Method::POST, "/cli-auth/challenges", Some(&body)).await;
    let made = made?;
    let (id, secret) = (text(&made, "id").to_owned(), text(&made, "token").to_owned());
    let code = format!("{id}{BETWEEN}{secret}");
    if context.global.json {
        context.screen.json_line(&json!({ "type": "waiting", "code": code, "expiresAt": made["expiresAt"] }));
    } else {
        context.screen.note("Somebody who is logged in, or the person at the server, approves this with:");
        context.screen.note(&format!("  bugle login approve {code}"));
    }
    let pause = made["suggestedPollIntervalMs"].as_u64().map_or(SHORTEST_PAUSE, Duration::from_millis);
    let path = format!("/cli-auth/challenges/{}?token={}", encoded(&id), encoded(&secret));
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause.max(SHORTEST_PAUSE)) => {}
            _ = tokio::signal::ctrl_c() => {
                let path = format!("/cli-auth/challenges/{}/cancel", encoded(&id));
                // A login that nobody cancels ends by itself.
                let body = json!({ "token": secret });
                let _ = client.ask_without_key(Method::POST, &path, Some(&body)).await;
                return Err(Failure::new(Kind::Interrupted, "login.cancelled", "the login was cancelled"));
            }
        }
        let state = client.ask_without_key(Method::GET, &path, None).await?;
        match text(&state, "status") {
            "approved" => break,
            "pending" => context.screen.status("waiting for somebody to approve"),
            status => {
                let failure =
                    Failure::new(Kind::Refused, "login.not_approved", format!("the login is {status}"));
                return Err(failure.hint("begin again: bugle login"));
            }
        }
    }
    context.screen.clear();
    keep(client, text(&made, "boardApiToken"))?;
    let me = client.get("/cli-auth/me").await?;
    greet(context, &me)
}

impl Approve {
    async fn run(self, context: &mut Context, client: &Client) -> Result<(), Failure> {
        let Some((id, secret)) = self.code.trim().split_once(BETWEEN) else {
            return Err(Failure::usage("login.bad_code", "that is not the code of a login")
                .hint("copy all of what `bugle login` shows on the other side"));
        };
        let path = format!("/cli-auth/challenges/{}/approve", encoded(id));
        let answer = client.post(&path, &json!({ "token": secret })).await?;
        if context.global.json {
            context.screen.answer(&answer);
        }
        if answer["approved"] != true {
            let status = text(&answer, "status");
            return Err(Failure::new(Kind::Refused, "login.not_approved", format!("the login is {status}")));
        }
        if !context.global.json {
            // Once more from its own side: that names the person.
            let path = format!("/cli-auth/challenges/{}?token={}", encoded(id), encoded(secret));
            let seen = client.ask_without_key(Method::GET, &path, None).await.unwrap_or(Json::Null);
            let who = seen.pointer("/approvedByUser/name").and_then(Json::as_str);
            let who = one_line(who.unwrap_or_else(|| text(&answer, "userId")), 60);
            context.screen.line(&format!("approved; it acts as {who} for 30 days"));
        }
        Ok(())
    }
}

impl First {
    async fn run(self, context: &mut Context, client: &Client) -> Result<(), Failure> {
        let body = json!({ "token": self.token.trim(), "name": self.name, "email": self.email });
        let made = client.ask_without_key(Method::POST, "/bootstrap", Some(&body)).await;
        let made = made.map_err(|failure| match failure.message.as_str() {
            "The instance has its first administrator already" => {
                failure.hint("they let others in: bugle login, or bugle user add NAME")
            }
            _ => failure,
        })?;
        keep(client, text(&made["key"], "token"))?;
        let me = client.get("/cli-auth/me").await?;
        greet(context, &me)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Logout {}

impl Logout {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        if kept(&client).is_none() {
            context.screen.note("nobody is logged in here");
            return Ok(());
        }
        // A key that is not good any more needs no revoking.
        let revoked = client.post("/cli-auth/revoke-current", &json!({})).await;
        let is_over = |failure: &Failure| failure.kind == Kind::Refused || failure.kind == Kind::Usage;
        if let Err(failure) = &revoked
            && !is_over(failure)
        {
            return revoked.map(drop);
        }
        forget(&client)?;
        if context.global.json {
            context.screen.answer(&json!({ "revoked": revoked.is_ok() }));
        } else {
            context.screen.line("logged out");
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(crate) struct Whoami {}

impl Whoami {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        match client.get("/cli-auth/me").await {
            Ok(me) => greet(context, &me),
            // A key of an agent says who it is elsewhere.
            Err(failure) if failure.kind == Kind::Refused => match client.get("/agents/me").await {
                Ok(agent) if context.global.json => {
                    context.screen.answer(&agent);
                    Ok(())
                }
                Ok(agent) => {
                    let (name, role) = (text(&agent, "name"), text(&agent, "role"));
                    context.screen.line(&format!("the agent {name} ({role}), id {}", text(&agent, "id")));
                    Ok(())
                }
                Err(_) => Err(failure),
            },
            Err(failure) => Err(failure),
        }
    }
}

fn greet(context: &mut Context, me: &Json) -> Result<(), Failure> {
    if context.global.json {
        context.screen.answer(me);
        return Ok(());
    }
    let name = me["user"]["name"].as_str().unwrap_or_else(|| text(me, "userId"));
    let admin = if me["isInstanceAdmin"] == true { ", administrator of the instance" } else { "" };
    let source = match text(me, "source") {
        "board_key" => "with a key",
        _ => "as the person at this machine",
    };
    let companies = me["companyIds"].as_array().map_or(0, Vec::len);
    let companies = if companies == 1 { "1 company".to_owned() } else { format!("{companies} companies") };
    context.screen.line(&format!("{name}{admin}, {source}; {companies}"));
    Ok(())
}

fn kept(client: &Client) -> Option<String> {
    logins::read(client.login_folder()?, client.login_name())
}

fn folder(client: &Client) -> Result<&std::path::Path, Failure> {
    let folder = client.login_folder().ok_or_else(|| {
        Failure::usage("data_dir.unknown", "there is no folder to keep the key in")
            .hint("say where: --data-dir /some/folder")
    })?;
    data_dir::make(folder)?;
    Ok(folder)
}

fn keep(client: &Client, key: &str) -> Result<(), Failure> {
    let folder = folder(client)?;
    logins::save(folder, client.login_name(), key).map_err(|error| cannot_write(&error))
}

fn forget(client: &Client) -> Result<(), Failure> {
    logins::forget(folder(client)?, client.login_name()).map(drop).map_err(|error| cannot_write(&error))
}

fn cannot_write(error: &std::io::Error) -> Failure {
    Failure::failed("login.not_kept", format!("cannot keep the key: {}", chain(error)))
        .hint("see what is wrong with: bugle doctor")
}

/// What this machine is called, so that whoever approves knows who asks.
fn hostname() -> String {
    let told =
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let name: String = told.unwrap_or_default().trim().chars().take(100).collect();
    if name.is_empty() { "command line".to_owned() } else { name }
}
