//! Environments in a company file. Their keys are secrets of the company and stand there by name; in plain none may.

use domain::company_file::{Entry, Mistake, Section, without_nulls};
use serde_json::{Map, Value as Json, json};
use store::environments::Environment;

use super::kind::{Bench, Doing, Hand, Kind};
use super::object;
use super::references::{hidden, settings_to_file, settings_to_store};
use super::there::There;
use crate::Engine;
use crate::environments::{EnvironmentDraft, EnvironmentPatch};

pub(super) struct Environments;

fn status(entry: &Entry) -> String {
    if entry.flag("archived") { "archived" } else { "active" }.to_owned()
}

fn entry(row: &Environment, there: &There) -> Entry {
    let fields = object(json!({
        "name": row.name, "driver": row.driver, "description": row.description,
        "archived": row.status == "archived",
        "config": without_nulls(settings_to_file(&row.config, &there.secrets)),
        "metadata": row.metadata,
    }));
    let id = Some(row.id.clone()).filter(|id| !id.is_empty());
    hidden(Entry::new(Section::Environments, id, fields))
}

/// The fields of a driver that are secret.
fn secret_fields(engine: &Engine, driver: &str) -> &'static [&'static str] {
    engine.settings().drivers.find(driver).map_or(&[], |driver| driver.secrets())
}

impl Kind for Environments {
    fn section(&self) -> Section {
        Section::Environments
    }

    fn entries(&self, there: &There) -> Vec<Entry> {
        there.environments.iter().map(|row| entry(row, there)).collect()
    }

    fn ready(&self, bench: &Bench<'_>, entry: Entry, found: &mut Vec<Mistake>) -> Entry {
        let driver = entry.text("driver").unwrap_or_default();
        let config = entry.object("config");
        let before = found.len();
        let kept = bench
            .there
            .environments
            .iter()
            .find(|row| super::environments::entry(row, bench.there).key == entry.key);
        for field in secret_fields(bench.engine, &driver) {
            let is_kept = kept.is_some_and(|row| row.config.get(*field) == config.get(*field));
            if config.contains_key(*field) && !is_kept {
                let hint = format!(
                    "store it with bugle secret set NAME, then write {field}SecretRef = {{ secret = \"NAME\" }}"
                );
                found.push(Mistake::new(
                    format!("{}.config.{field}", entry.place),
                    "is a secret, which no file holds",
                    hint,
                ));
            }
        }
        let path = format!("{}.config", entry.place);
        let stored = settings_to_store(&path, &config, &bench.there.secrets, found);
        if found.len() == before {
            let row = Environment {
                id: String::new(),
                company_id: bench.there.company.id.clone(),
                name: entry.text("name").unwrap_or_default(),
                description: entry.text("description"),
                driver,
                status: status(&entry),
                config: Json::Object(stored),
                metadata: entry.said_object("metadata"),
                created_at: bench.engine.now(),
                updated_at: bench.engine.now(),
            };
            bench.note(&entry.place, bench.engine.check_environment(&row), found);
            if row.driver == "local" && row.status != "active" {
                let path = format!("{}.archived", entry.place);
                found.push(Mistake::new(path, "the machine of the server stays", "leave it out"));
            }
        }
        entry
    }

    fn again<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str) -> Doing<'a, Option<Entry>> {
        Box::pin(async move {
            let found =
                hand.look(id, |tx, id| Box::pin(async move { store::environments::get(tx, &id).await }));
            Ok(found.await?.map(|row| entry(&row, hand.there)))
        })
    }

    fn make<'a>(&'a self, hand: &'a Hand<'a>, entry: &'a Entry) -> Doing<'a, String> {
        Box::pin(async move {
            let draft = EnvironmentDraft {
                name: entry.text("name").unwrap_or_default(),
                description: entry.text("description"),
                driver: entry.text("driver").unwrap_or_default(),
                status: status(entry),
                config: Json::Object(stored(hand, entry)),
                metadata: entry.said_object("metadata"),
            };
            Ok(hand.engine.make_environment(&hand.there.company.id, draft, true, hand.by).await?.id)
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
            let mut config = stored(hand, after);
            // It is laid over what there is: what is to go is said.
            for key in before.object("config").keys().filter(|key| !after.object("config").contains_key(*key))
            {
                config.insert(key.clone(), Json::Null);
            }
            let (driver, was) = (after.text("driver"), before.text("driver"));
            let is_new = |field: &str| after.is_other(before, field);
            let patch = EnvironmentPatch {
                name: is_new("name").then(|| after.text("name")).flatten(),
                description: is_new("description").then(|| after.text("description")),
                driver: driver.filter(|driver| Some(driver) != was.as_ref()),
                status: is_new("archived").then(|| status(after)),
                config: (is_new("config") || is_new("driver")).then_some(config),
                metadata: is_new("metadata").then(|| after.said_object("metadata")),
            };
            hand.engine.patch_environment(id, patch, hand.by).await.map(drop)
        })
    }

    fn remove<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str, _: &'a Entry) -> Doing<'a, ()> {
        Box::pin(async move { hand.engine.delete_environment(id, hand.by).await.map(drop) })
    }
}

/// The settings as they are stored; that they refer to secrets that are there was looked at before.
fn stored(hand: &Hand<'_>, entry: &Entry) -> Map<String, Json> {
    settings_to_store("config", &entry.object("config"), &hand.there.secrets, &mut Vec::new())
}
