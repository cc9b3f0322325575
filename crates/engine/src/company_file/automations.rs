//! Automations in a company file: their definitions, by name. Agents stand there by name, whatever they were saved with.

use std::collections::BTreeSet;

use domain::automation::check::{Known, check};
use domain::automation::definition::{self, Definition};
use domain::automation::{AutomationStatus, Problem};
use domain::company_file::{Entry, Mistake, Section, key_of};
use domain::ids::{AutomationId, looks_like_id};
use serde_json::Value as Json;

use super::kind::{Bench, Doing, Hand, Kind};
use super::object;
use super::there::There;
use crate::{AutomationView, EngineError};

pub(super) struct Automations;

/// Beside the definition: whether a new one starts.
const STATUS: &str = "status";

fn entry(view: &AutomationView, there: &There) -> Entry {
    let mut definition = view.version.definition.clone();
    for node in definition["nodes"].as_array_mut().into_iter().flatten() {
        let named = node.get("agent").and_then(Json::as_str).filter(|agent| looks_like_id(agent));
        if let Some(name) = named.and_then(|id| there.agent_name(id)) {
            node["agent"] = Json::from(name);
        }
    }
    let id = Some(view.automation.id.0.clone());
    let mut fields = object(definition::without_nulls(definition));
    fields.insert(STATUS.to_owned(), Json::from(view.automation.status.as_str()));
    Entry::new(Section::Automations, id, fields)
}

/// What an entry says of the automation itself.
fn said(entry: &Entry) -> Json {
    let mut fields = entry.fields.clone();
    fields.shift_remove(STATUS);
    Json::Object(fields)
}

/// The definition that an entry is.
fn definition_of(entry: &Entry) -> Result<Definition, Problem> {
    definition::read(&definition::without_nulls(said(entry)))
}

/// What a stored automation names may be gone by now: that is no mistake of a file that leaves it as it is. What is still
/// there is not meant: it may be this very file that removes it.
fn is_gone(there: &There, section: Section, name: &str) -> bool {
    let key = key_of(section, name);
    let is_it = |name: &str| key_of(section, name) == key;
    if section == Section::Agents {
        !there.agents.iter().chain(&there.waiting).any(|agent| is_it(&agent.name))
    } else {
        !there.automations.iter().any(|view| is_it(&view.automation.name))
    }
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
        // In the one form in which it is kept.
        let mut kept = entry.clone();
        if let Ok(fields @ Json::Object(_)) = serde_json::to_value(&definition) {
            kept.fields = object(fields);
            kept.fields.extend(entry.fields.get(STATUS).map(|status| (STATUS.to_owned(), status.clone())));
        }
        let stored = bench.there.automations.iter().find(|view| view.automation.name == definition.name);
        let stored = stored.map(|view| self::entry(view, bench.there));
        let settled = Entry::new(Section::Automations, None, kept.fields.clone());
        let is_left = stored.is_some_and(|stored| said(&stored) == said(&settled));
        let is_there = |section: Section, name: &str| {
            bench.stays.contains(&(section, key_of(section, name)))
                || (is_left && is_gone(bench.there, section, name))
        };
        let agents = definition.nodes.iter().filter_map(|node| node.agent.as_deref());
        let others = definition.after.iter().map(|after| after.automation.as_str());
        let known = Known {
            agents: agents.filter(|name| is_there(Section::Agents, name)).collect(),
            ambiguous: BTreeSet::new(),
            automations: others.filter(|name| is_there(Section::Automations, name)).collect(),
        };
        // What was saved under other rules is no mistake of a file that leaves it as it is.
        let all = Known {
            agents: definition.nodes.iter().filter_map(|node| node.agent.as_deref()).collect(),
            ambiguous: BTreeSet::new(),
            automations: definition.after.iter().map(|after| after.automation.as_str()).collect(),
        };
        let of_old = if is_left { check(&definition, &all) } else { Vec::new() };
        let problems = check(&definition, &known).into_iter().filter(|problem| !of_old.contains(problem));
        found.extend(problems.map(mistake));
        kept
    }

    fn again<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str) -> Doing<'a, Option<Entry>> {
        Box::pin(async move {
            match hand.engine.automation(&hand.there.company.id, id).await {
                Ok(view) => Ok(Some(entry(&view, hand.there))),
                Err(EngineError::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn make<'a>(&'a self, hand: &'a Hand<'a>, entry: &'a Entry) -> Doing<'a, String> {
        Box::pin(async move {
            let (company, definition) = (&hand.there.company.id, said(entry));
            let status = entry.text(STATUS).and_then(|status| AutomationStatus::parse(&status));
            let status = status.unwrap_or(AutomationStatus::Active);
            if status == AutomationStatus::Active {
                let saved = hand.engine.apply_automation(company, &definition, false, hand.by).await?;
                return Ok(saved.view.automation.id.0);
            }
            // Nothing of it starts in between.
            let saved = hand.engine.draft_automation(company, &definition, false, hand.by).await?;
            let made = saved.view.automation;
            if made.status != status {
                hand.engine.set_automation_status(&made.id, status, None, hand.by).await?;
            }
            Ok(made.id.0)
        })
    }

    fn change<'a>(&'a self, hand: &'a Hand<'a>, _: &'a str, _: &'a Entry, after: &'a Entry) -> Doing<'a, ()> {
        Box::pin(async move {
            let (company, definition) = (&hand.there.company.id, said(after));
            hand.engine.apply_automation(company, &definition, false, hand.by).await.map(drop)
        })
    }

    fn remove<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str, _: &'a Entry) -> Doing<'a, ()> {
        Box::pin(async move {
            hand.engine.remove_automation(&AutomationId(id.to_owned()), hand.by).await.map(drop)
        })
    }
}
