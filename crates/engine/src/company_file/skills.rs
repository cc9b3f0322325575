//! Skills in a company file, by their key. What the top of a text says of it need not be said beside it.

use domain::company_file::{Entry, Mistake, Section};
use domain::skill::{self, front};
use serde_json::json;
use store::skills::Skill;

use super::kind::{Bench, Doing, Hand, Kind};
use super::object;
use super::references::hidden;
use super::there::There;
use crate::SkillDraft;
use crate::skills::read_draft;

/// Where the keys of a company's own skills begin.
const OWN: &str = "company/";

pub(super) struct Skills;

fn draft(entry: &Entry) -> SkillDraft {
    SkillDraft {
        name: entry.text("name"),
        // An empty text takes away what was there.
        description: Some(entry.text("description").unwrap_or_default()),
        markdown: entry.text("markdown"),
        metadata: Some(entry.said_object("metadata").unwrap_or_else(|| json!({}))),
    }
}

fn entry(skill: &Skill) -> Entry {
    let fields = object(json!({
        "key": skill.key, "name": skill.name, "description": skill.description.as_deref().unwrap_or_default(),
        "markdown": skill.markdown, "metadata": skill.metadata,
    }));
    hidden(Entry::new(Section::Skills, Some(skill.id.clone()), fields))
}

impl Kind for Skills {
    fn section(&self) -> Section {
        Section::Skills
    }

    fn entries(&self, there: &There) -> Vec<Entry> {
        there.skills.iter().map(entry).collect()
    }

    fn ready(&self, bench: &Bench<'_>, entry: Entry, found: &mut Vec<Mistake>) -> Entry {
        let key = entry.text("key").unwrap_or_default();
        let slug = key.strip_prefix(OWN).filter(|slug| skill::slug(slug).as_deref() == Some(*slug));
        let is_there = bench.there.skills.iter().any(|skill| skill.key == key);
        if slug.is_none() && !is_there {
            let path = format!("{}.key", entry.place);
            found.push(Mistake::new(
                path,
                "is not the key of a company's skill",
                "write it like company/code-review",
            ));
            return entry;
        }
        let top = front(&entry.text("markdown").unwrap_or_default());
        let name = entry.text("name").or(top.name).or(slug.map(str::to_owned));
        let description = entry.text("description").or(top.description).unwrap_or_default();
        let draft = SkillDraft {
            name,
            description: Some(description),
            markdown: entry.text("markdown"),
            metadata: entry.said_object("metadata"),
        };
        match read_draft(&draft) {
            Ok(read) => {
                let fields = object(json!({
                    "key": key, "name": read.name, "description": read.description.unwrap_or_default(),
                    "markdown": read.markdown, "metadata": read.metadata,
                }));
                Entry { fields, ..entry }
            }
            Err(error) => {
                bench.note(&entry.place, Err(error), found);
                entry
            }
        }
    }

    fn again<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str) -> Doing<'a, Option<Entry>> {
        Box::pin(async move {
            let found = hand.look(id, |tx, id| Box::pin(async move { store::skills::get(tx, &id).await }));
            Ok(found.await?.as_ref().map(entry))
        })
    }

    fn make<'a>(&'a self, hand: &'a Hand<'a>, entry: &'a Entry) -> Doing<'a, String> {
        Box::pin(async move {
            let key = entry.text("key").unwrap_or_default();
            let slug = key.strip_prefix(OWN).unwrap_or(&key);
            // The first name of a skill is its folder for ever.
            let first = SkillDraft { name: Some(slug.to_owned()), ..draft(entry) };
            let made = hand.engine.create_skill(&hand.there.company.id, first, hand.by).await?;
            if Some(made.name.as_str()) != entry.text("name").as_deref() {
                hand.engine.change_skill(&made.id, draft(entry), hand.by).await?;
            }
            Ok(made.id)
        })
    }

    fn change<'a>(
        &'a self,
        hand: &'a Hand<'a>,
        id: &'a str,
        before: &'a Entry,
        after: &'a Entry,
    ) -> Doing<'a, ()> {
        Box::pin(async move {
            let whole = draft(after);
            // What the top of a new text says is not what the file says.
            let is_new = |field: &str| after.is_other(before, "markdown") || after.is_other(before, field);
            let changed = SkillDraft {
                name: whole.name.filter(|_| is_new("name")),
                description: whole.description.filter(|_| is_new("description")),
                markdown: whole.markdown.filter(|_| is_new("markdown")),
                metadata: whole.metadata.filter(|_| after.is_other(before, "metadata")),
            };
            hand.engine.change_skill(id, changed, hand.by).await.map(drop)
        })
    }

    fn remove<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str, _: &'a Entry) -> Doing<'a, ()> {
        Box::pin(async move { hand.engine.delete_skill(id, hand.by).await.map(drop) })
    }
}
