//! `bugle skill`: the skills of a company, which agents read when they come to work of that kind.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use super::agent_lookup::text;
use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::screen::Tone;

#[derive(Debug, Subcommand)]
pub(crate) enum Skill {
    /// List the skills of the company
    List,
    /// Add a skill, or give one of that name a new text
    Add(Add),
    /// Print the text of a skill
    Show(Named),
    /// Remove a skill; agents that are configured with it go on without it
    Remove(Named),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Key, folder or id of the skill
    skill: String,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The SKILL.md, or a folder with one; - reads it from stdin
    file: PathBuf,
    /// Its name; else the one at the top of the file
    #[arg(long)]
    name: Option<String>,
    /// What it is for, in one line; else what the top of the file says
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// Larger files are no skills.
const LARGEST: u64 = 1 << 20;

impl Skill {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Skill::List => list(context).await,
            Skill::Add(add) => add.run(context).await,
            Skill::Show(Named { skill }) => show(context, &skill).await,
            Skill::Remove(Named { skill }) => remove(context, &skill).await,
        }
    }
}

async fn all(context: &mut Context, client: &Client) -> Result<(String, Vec<Json>), Failure> {
    let company = context.company(client).await?;
    let found = client.get(&format!("/companies/{company}/skills")).await?;
    Ok((company, found.as_array().cloned().unwrap_or_default()))
}

/// The skill that is meant.
async fn find(context: &mut Context, client: &Client, named: &str) -> Result<Json, Failure> {
    let (_, skills) = all(context, client).await?;
    let same = |skill: &&Json| ["id", "key", "slug", "name"].iter().any(|key| text(skill, key) == named);
    skills.iter().find(same).cloned().ok_or_else(|| {
        Failure::usage("skill.not_found", format!("there is no skill `{named}`"))
            .hint("see: bugle skill list")
    })
}

async fn list(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let (_, skills) = all(context, &client).await?;
    if context.global.json {
        context.screen.answer(&Json::Array(skills));
        return Ok(());
    }
    if skills.is_empty() {
        context.screen.note("no skills yet. Add one: bugle skill add SKILL.md");
        return Ok(());
    }
    let rows = skills
        .iter()
        .map(|skill| {
            vec![
                (Tone::Strong, text(skill, "key").to_owned()),
                (Tone::Plain, text(skill, "description").to_owned()),
                (Tone::Faint, text(skill, "id").to_owned()),
            ]
        })
        .collect();
    context.screen.table(&["KEY", "FOR", "ID"], rows);
    Ok(())
}

async fn show(context: &mut Context, named: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let skill = find(context, &client, named).await?;
    if context.global.json {
        context.screen.answer(&skill);
    } else {
        context.screen.line(text(&skill, "markdown").trim_end());
    }
    Ok(())
}

async fn remove(context: &mut Context, named: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let skill = find(context, &client, named).await?;
    let gone = client.delete(&format!("/skills/{}", text(&skill, "id"))).await?;
    if context.global.json {
        context.screen.answer(&gone);
    } else {
        context.screen.line(&format!("{} is removed", text(&gone, "key")));
    }
    Ok(())
}

impl Add {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let markdown = self.read()?;
        let client = context.client()?;
        let mut body = Map::from_iter([("markdown".to_owned(), json!(markdown))]);
        for (key, value) in [("name", &self.name), ("description", &self.description)] {
            body.extend(value.as_ref().map(|value| (key.to_owned(), json!(value))));
        }
        let body = Json::Object(body);
        let (company, skills) = all(context, &client).await?;
        let name = self.name.clone().or_else(|| domain::skill::front(&markdown).name).unwrap_or_default();
        let slug = domain::skill::slug(&name).unwrap_or_default();
        let there = skills.iter().find(|skill| text(skill, "slug") == slug);
        let saved = match there {
            Some(skill) => client.patch(&format!("/skills/{}", text(skill, "id")), &body).await?,
            None => client.post(&format!("/companies/{company}/skills"), &body).await?,
        };
        if context.global.json {
            context.screen.answer(&saved);
            return Ok(());
        }
        let what = if there.is_some() { "has a new text" } else { "is added" };
        let key = text(&saved, "key");
        context.screen.line(&format!("{key} {what}. An issue that mentions skill://{key} gets it."));
        Ok(())
    }

    fn read(&self) -> Result<String, Failure> {
        let mut text = String::new();
        let path = if self.file.is_dir() { self.file.join("SKILL.md") } else { self.file.clone() };
        let read = if self.file.as_os_str() == "-" {
            std::io::stdin().take(LARGEST).read_to_string(&mut text)
        } else {
            std::fs::File::open(&path).and_then(|file| file.take(LARGEST).read_to_string(&mut text))
        };
        read.map_err(|error| {
            Failure::usage("skill.unreadable", format!("cannot read {}: {error}", path.display()))
                .hint("give the path of a SKILL.md, or of the folder it lies in")
        })?;
        Ok(text)
    }
}
