//! Automations in a company file: their definitions, by name. Agents stand there by name, whatever they were saved with.

use std::collections::BTreeSet;

use domain::automation::Problem;
use domain::automation::check::{Known, check};
use domain::automation::definition::{self, Definition};
use domain::company_file::{Entry, Mistake, Section, key_of, without_nulls};
use domain::ids::{AutomationId, looks_like_id};
use serde_json::Value as Json;
use store::BoxFuture;

use super::kind::{Bench, Hand, Kind};
use super::object;
use super::there::There;
use crate::{AutomationView, EngineError};

pub(super) struct Automations;

fn entry(view: &AutomationView, there: &There) -> Entry {
    let mut definition = view.version.definition.clone();
    for node in definition["nodes"].as_array_mut().into_iter().flatten() {
        let named = node.get("agent").and_then(Json::as_str).filter(|agent| looks_like_id(agent));
        if let Some(name) = named.and_then(|id| there.agent_name(id)) {
            node["agent"] = Json::from(name);
        }
    }
    let id = Some(view.automation.id.0.clone());
    Entry::new(Section::Automations, id, object(without_nulls(definition)))
}

/// The definition that an entry is.
fn definition_of(entry: &Entry) -> Result<Definition, Problem> {
    definition::read(&Json::Object(entry.fields.clone()))
}

async fn save(hand: &Hand<'_>, entry: &Entry) -> Result<String, EngineError> {
    let definition = Json::Object(entry.fields.clone());
    let saved = hand.engine.apply_automation(&hand.there.company.id, &definition, false, hand.by).await?;
    Ok(saved.view.automation.id.0)
}

impl Kind for Automations {
    fn section(&self) -> Section {
        Section::Automations
    }

    fn entries(&self, there: &There) -> Vec<Entry> {
        there.automations.iter().map(|view| entry(view, there)).collect()
    }

    fn ready(&self, bench: &Bench<'_>, entry: Entry, found: &mut Vec<Mistake>) -> Entry {
        let mistake = |problem: Problem| {
            let dot = if problem.path.is_empty() { "" } else { "." };
            Mistake::new(format!("{}{dot}{}", entry.place, problem.path), problem.message, problem.hint)
        };
        let definition = match definition_of(&entry) {
            Ok(definition) => definition,
            Err(problem) => {
                found.push(mistake(problem));
                return entry;
            }
        };
        let is_there = |section: Section, name: &str| bench.stays.contains(&(section, key_of(section, name)));
        let agents = definition.nodes.iter().filter_map(|node| node.agent.as_deref());
        let others = definition.after.iter().map(|after| after.automation.as_str());
        let known = Known {
            agents: agents.filter(|name| is_there(Section::Agents, name)).collect(),
            ambiguous: BTreeSet::new(),
            automations: others.filter(|name| is_there(Section::Automations, name)).collect(),
        };
        found.extend(check(&definition, &known).into_iter().map(mistake));
        // In the one form in which it is kept.
        match serde_json::to_value(&definition) {
            Ok(Json::Object(fields)) => {
                Entry { fields: object(without_nulls(Json::Object(fields))), ..entry }
            }
            _ => entry,
        }
    }

    fn make<'a>(
        &'a self,
        hand: &'a Hand<'a>,
        entry: &'a Entry,
    ) -> BoxFuture<'a, Result<String, EngineError>> {
        Box::pin(save(hand, entry))
    }

    fn change<'a>(
        &'a self,
        hand: &'a Hand<'a>,
        _: &'a str,
        _: &'a Entry,
        after: &'a Entry,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move { save(hand, after).await.map(drop) })
    }

    fn remove<'a>(
        &'a self,
        hand: &'a Hand<'a>,
        id: &'a str,
        _: &'a Entry,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            hand.engine.remove_automation(&AutomationId(id.to_owned()), hand.by).await.map(drop)
        })
    }
}
