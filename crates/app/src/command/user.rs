//! `bugle user` and `bugle token`: the people of a server, what they are in a company, and keys for them and for agents.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::agent_lookup::text;
use crate::cli::Context;
use crate::client::encoded;
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

/// What somebody can be in a company.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    Owner,
    Admin,
    Member,
    Viewer,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Admin => "admin",
            Role::Member => "member",
            Role::Viewer => "viewer",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Make a user, and a member of the company that is meant
    Add(Add),
    /// List the users of the server
    List,
    /// List the people of a company
    Members,
    /// Say what somebody is in a company
    Role(SetRole),
    /// Say whether a company trusts somebody: what others write is held until somebody releases it
    Trust(Trust),
    /// End somebody's membership of a company
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// What they are called
    name: String,
    /// Their address
    #[arg(long)]
    email: Option<String>,
    /// They administer the whole server
    #[arg(long)]
    admin: bool,
    /// What they are in the company; `--role none` adds them to none
    #[arg(long, value_name = "ROLE", default_value = "member")]
    role: MaybeRole,
    /// What they write is held until somebody releases it: bugle run release
    #[arg(long)]
    untrusted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum MaybeRole {
    Owner,
    Admin,
    Member,
    Viewer,
    None,
}

#[derive(Debug, Args)]
pub(crate) struct SetRole {
    /// Their id or address
    user: String,
    /// What they become
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Trusted {
    /// What they write reaches agents at once
    Yes,
    /// What they write is held, and they change nothing else
    No,
}

#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// Their id or address
    user: String,
    /// Whether they are trusted
    trusted: Trusted,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Their id or address
    user: String,
}

impl User {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            User::Add(add) => {
                let role = match add.role {
                    MaybeRole::Owner => Some(Role::Owner),
                    MaybeRole::Admin => Some(Role::Admin),
                    MaybeRole::Member => Some(Role::Member),
                    MaybeRole::Viewer => Some(Role::Viewer),
                    MaybeRole::None => None,
                };
                // The company first: a user that belongs nowhere because of a slip helps nobody.
                let company = match role {
                    Some(_) => Some(context.company(&client).await?),
                    None => None,
                };
                let body = json!({ "name": add.name, "email": add.email, "isInstanceAdmin": add.admin });
                let user = client.post("/users", &body).await?;
                let id = text(&user, "id").to_owned();
                if let (Some(company), Some(role)) = (&company, role) {
                    let path = format!("/companies/{company}/members/{}", encoded(&id));
                    let mut body = json!({ "role": role.as_str() });
                    if add.untrusted {
                        body["trusted"] = false.into();
                    }
                    client.ask(Method::PUT, &path, Some(&body), &[]).await?;
                }
                if context.global.json {
                    context.screen.answer(&user);
                    return Ok(());
                }
                context.screen.line(&format!("made {} (id {id})", text(&user, "name")));
                context.screen.note(&format!("give them a key: bugle token create --user {id}"));
                Ok(())
            }
            User::List => {
                let users = client.get("/users").await?;
                if context.global.json {
                    context.screen.answer(&users);
                    return Ok(());
                }
                let rows = users.as_array().into_iter().flatten().map(|user| {
                    vec![
                        (Tone::Strong, text(user, "name").to_owned()),
                        (Tone::Plain, text(user, "email").to_owned()),
                        (Tone::Plain, if user["isInstanceAdmin"] == true { "admin" } else { "" }.to_owned()),
                        (Tone::Plain, when::local(text(user, "createdAt"))),
                        (Tone::Faint, text(user, "id").to_owned()),
                    ]
                });
                context.screen.table(&["NAME", "ADDRESS", "SERVER", "MADE", "ID"], rows.collect());
                Ok(())
            }
            User::Members => {
                let company = context.company(&client).await?;
                let members = client.get(&format!("/companies/{company}/members")).await?;
                if context.global.json {
                    context.screen.answer(&members);
                    return Ok(());
                }
                let rows = members.as_array().into_iter().flatten().map(|member| {
                    vec![
                        (Tone::Strong, text(&member["user"], "name").to_owned()),
                        (Tone::Plain, text(&member["user"], "email").to_owned()),
                        (Tone::Plain, text(member, "membershipRole").to_owned()),
                        (Tone::Plain, text(member, "status").to_owned()),
                        (Tone::Plain, if member["trusted"] == false { "no" } else { "yes" }.to_owned()),
                        (Tone::Faint, text(member, "principalId").to_owned()),
                    ]
                });
                context.screen.table(&["NAME", "ADDRESS", "ROLE", "STATUS", "TRUSTED", "ID"], rows.collect());
                Ok(())
            }
            User::Role(set) => {
                let company = context.company(&client).await?;
                let path = format!("/companies/{company}/members/{}", encoded(&set.user));
                let body = json!({ "role": set.role.as_str() });
                let member = client.ask(Method::PUT, &path, Some(&body), &[]).await?;
                said(context, &member, &format!("{} is {} now", set.user, set.role.as_str()))
            }
            User::Trust(trust) => {
                let company = context.company(&client).await?;
                let members = client.get(&format!("/companies/{company}/members")).await?;
                let is_meant = |member: &&Json| {
                    [text(member, "principalId"), text(&member["user"], "email")]
                        .contains(&trust.user.as_str())
                };
                // What they are otherwise stays.
                let status = members.as_array().into_iter().flatten().find(is_meant);
                let status = status.map_or("active", |member| text(member, "status"));
                let is_trusted = trust.trusted == Trusted::Yes;
                let path = format!("/companies/{company}/members/{}", encoded(&trust.user));
                let body = json!({ "trusted": is_trusted, "status": status });
                let member = client.ask(Method::PUT, &path, Some(&body), &[]).await?;
                let words = if is_trusted { "is trusted" } else { "is not trusted: what they write is held" };
                said(context, &member, &format!("{} {words}", trust.user))
            }
            User::Remove(remove) => {
                let company = context.company(&client).await?;
                let path = format!("/companies/{company}/members/{}", encoded(&remove.user));
                let done = client.ask(Method::DELETE, &path, None, &[]).await?;
                said(context, &done, &format!("{} is no member any more", remove.user))
            }
        }
    }
}

fn said(context: &mut Context, answer: &Json, words: &str) -> Result<(), Failure> {
    if context.global.json {
        context.screen.answer(answer);
    } else {
        context.screen.line(words);
    }
    Ok(())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a key; it is shown once
    Create(Create),
    /// List keys, without their text
    List(Whose),
    /// Revoke a key
    Revoke(Revoke),
}

/// Whose keys are meant; without either, your own.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// The agent, by name or id
    #[arg(long, conflicts_with = "user")]
    agent: Option<String>,
    /// The user, by id or address
    #[arg(long)]
    user: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    whose: Whose,
    /// What the key is called
    #[arg(long, default_value = "default")]
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The id of the key
    id: String,
    #[command(flatten)]
    whose: Whose,
}

impl Whose {
    async fn path(&self, context: &Context) -> Result<String, Failure> {
        match (&self.agent, &self.user) {
            (Some(agent), _) => {
                let client = context.client()?;
                let found = super::agent_lookup::find(context, &client, agent).await?;
                Ok(format!("/agents/{}/keys", encoded(text(&found, "id"))))
            }
            (None, user) => Ok(format!("/users/{}/keys", encoded(user.as_deref().unwrap_or("me")))),
        }
    }
}

impl Token {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Token::Create(create) => {
                let path = create.whose.path(context).await?;
                let key = client.post(&path, &json!({ "name": create.name })).await?;
                if context.global.json {
                    context.screen.answer(&key);
                    return Ok(());
                }
                context.screen.line(text(&key, "token"));
                context.screen.note("keep it now: it is not shown again");
                Ok(())
            }
            Token::List(whose) => {
                let keys = client.get(&whose.path(context).await?).await?;
                if context.global.json {
                    context.screen.answer(&keys);
                    return Ok(());
                }
                let rows = keys.as_array().into_iter().flatten().map(|key| {
                    let is_revoked = key["revokedAt"].is_string();
                    let used = text(key, "lastUsedAt");
                    vec![
                        (Tone::Strong, text(key, "name").to_owned()),
                        (Tone::Plain, if is_revoked { "revoked" } else { "good" }.to_owned()),
                        (Tone::Plain, when::local(text(key, "createdAt"))),
                        (Tone::Plain, if used.is_empty() { "never".to_owned() } else { when::local(used) }),
                        (Tone::Faint, text(key, "id").to_owned()),
                    ]
                });
                context.screen.table(&["NAME", "STATUS", "MADE", "USED", "ID"], rows.collect());
                Ok(())
            }
            Token::Revoke(revoke) => {
                let path = format!("{}/{}", revoke.whose.path(context).await?, encoded(&revoke.id));
                let done = client.ask(Method::DELETE, &path, None, &[]).await?;
                said(context, &done, "revoked")
            }
        }
    }
}
