//! `bugle company`: the tenants of a server.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::agent_lookup::text;
use super::confirm::{Deed, confirm};
use crate::cli::Context;
use crate::company_choice::choose;
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

#[derive(Debug, Subcommand)]
pub(crate) enum Company {
    /// Make a company
    Create(Create),
    /// List the companies of this server
    List,
    /// Delete a company with everything in it; its runs are ended first
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Its name, its prefix or its id
    company: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name
    name: String,
    /// What it is about
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl Company {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Company::Create(create) => {
                let body = json!({ "name": create.name, "description": create.description });
                let company = client.post("/companies", &body).await?;
                if context.global.json {
                    context.screen.answer(&company);
                    return Ok(());
                }
                let (name, prefix) = (text(&company, "name"), text(&company, "issuePrefix"));
                context.screen.line(&format!("made {name} ({prefix}, id {})", text(&company, "id")));
                context.screen.note(&format!("mean it with --company {prefix}, or BUGLE_COMPANY={prefix}"));
                Ok(())
            }
            Company::List => {
                let companies = client.get("/companies").await?;
                if context.global.json {
                    context.screen.answer(&companies);
                    return Ok(());
                }
                let companies: Vec<&Json> = companies.as_array().into_iter().flatten().collect();
                if companies.is_empty() {
                    context.screen.note("no companies yet. Make one: bugle company create NAME");
                    return Ok(());
                }
                let rows = companies.into_iter().map(|company| {
                    vec![
                        (Tone::Strong, text(company, "name").to_owned()),
                        (Tone::Plain, text(company, "issuePrefix").to_owned()),
                        (Tone::Plain, text(company, "status").to_owned()),
                        (Tone::Plain, when::local(text(company, "createdAt"))),
                        (Tone::Faint, text(company, "id").to_owned()),
                    ]
                });
                context.screen.table(&["NAME", "PREFIX", "STATUS", "MADE", "ID"], rows.collect());
                Ok(())
            }
            Company::Delete(Delete { company, yes }) => {
                let id = choose(&client, Some(&company)).await?;
                let deed = Deed {
                    code: "company_delete",
                    name: &company,
                    question: format!(
                        "Delete {company} with its agents, issues, runs, logs and costs, and end what runs in it?"
                    ),
                    what: format!("deleting `{company}`"),
                    command: format!("bugle company delete '{company}' --yes"),
                };
                confirm(context, deed, yes)?;
                let done = client.ask(Method::DELETE, &format!("/companies/{id}"), None, &[]).await?;
                if context.global.json {
                    context.screen.answer(&done);
                    return Ok(());
                }
                context.screen.line(&format!("deleted {company}"));
                Ok(())
            }
        }
    }
}
