//! The kinds of things that a company file speaks of: one row each in [`KINDS`], and nothing else knows what there is.

use std::collections::{BTreeMap, BTreeSet};

use domain::company_file::{Entry, Mistake, Section, key_of};
use serde_json::{Map, Value as Json};
use store::{BoxFuture, StoreError, Tx};

use super::there::There;
use super::{
    agents, automations, budgets, environments, goals, labels, projects, settings, skills, webhooks,
};
use crate::{Author, Engine, EngineError};

/// What is under way for one thing of a company.
pub(super) type Doing<'a, T> = BoxFuture<'a, Result<T, EngineError>>;

/// One kind of things: what there is of it, what a file may say of it, and how it is made, changed and removed. Everything
/// is done through the same functions of the engine as by anybody else, so that every rule and every record stays.
pub(super) trait Kind: Sync {
    fn section(&self) -> Section;

    /// What the company has, as a file would say it.
    fn entries(&self, there: &There) -> Vec<Entry>;

    /// What a file says as the company would keep it, with what is wrong with it. Nothing is written.
    fn ready(&self, bench: &Bench<'_>, entry: Entry, found: &mut Vec<Mistake>) -> Entry;

    /// What there is of this id now, under the names that were there when the plan was made; `None`: it is gone.
    fn again<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str) -> Doing<'a, Option<Entry>>;

    /// Makes a thing; returns its id.
    fn make<'a>(&'a self, hand: &'a Hand<'a>, entry: &'a Entry) -> Doing<'a, String>;

    /// Makes a thing that has this id be like `after`.
    fn change<'a>(
        &'a self,
        hand: &'a Hand<'a>,
        id: &'a str,
        before: &'a Entry,
        after: &'a Entry,
    ) -> Doing<'a, ()>;

    /// Removes the thing of this id.
    fn remove<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str, entry: &'a Entry) -> Doing<'a, ()>;
}

/// Every kind, one for each section.
pub(super) const KINDS: &[&dyn Kind] = &[
    &settings::Settings,
    &labels::Labels,
    &skills::Skills,
    &environments::Environments,
    &agents::Agents,
    &goals::Goals,
    &projects::Projects,
    &budgets::Budgets,
    &automations::Automations,
    &webhooks::Webhooks,
];

/// The kind of a section.
pub(super) fn kind_of(section: Section) -> &'static dyn Kind {
    let found = KINDS.iter().find(|kind| kind.section() == section);
    *found.expect("a test looks that every section has its kind")
}

/// What a file is looked through with.
pub(super) struct Bench<'a> {
    pub(super) engine: &'a Engine,
    pub(super) there: &'a There,
    /// The keys of the agents and automations that there are when all is done.
    pub(super) stays: BTreeSet<(Section, String)>,
}

impl Bench<'_> {
    /// Notes what the engine finds wrong with a thing; its paths are those below `place`.
    pub(super) fn note(&self, place: &str, judged: Result<(), EngineError>, found: &mut Vec<Mistake>) {
        match judged {
            Ok(()) => {}
            Err(EngineError::Invalid(problems)) => {
                found.extend(problems.into_iter().map(|problem| {
                    let path = format!("{place}.{}", problem.path);
                    Mistake::new(path, problem.message, problem.hint.unwrap_or_default())
                }));
            }
            Err(other) => found.push(Mistake::new(place, other.to_string(), "change it, then apply again")),
        }
    }
}

/// What a change is made with.
pub(super) struct Hand<'a> {
    pub(super) engine: &'a Engine,
    pub(super) there: &'a There,
    pub(super) by: &'a Author,
    /// The ids of everything that can be referred to by now.
    pub(super) ids: BTreeMap<(Section, String), String>,
    /// What everything was like when the plan was made, by its id.
    pub(super) was: BTreeMap<(Section, String), Map<String, Json>>,
}

impl Hand<'_> {
    /// Refuses to change what somebody else has changed since the plan was made. `but`: fields that nobody looks at.
    pub(super) async fn is_as_planned(
        &self,
        kind: &dyn Kind,
        id: &str,
        but: &[&str],
    ) -> Result<(), EngineError> {
        let looked_at = |fields: &Map<String, Json>| {
            let fields = fields.iter().filter(|(name, _)| !but.contains(&name.as_str()));
            fields.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<String, Json>>()
        };
        let was = self.was.get(&(kind.section(), id.to_owned())).map(looked_at);
        // What is gone is told of by whoever looks for it.
        let Some(now) = kind.again(self, id).await? else { return Ok(()) };
        if was.is_some_and(|was| was != looked_at(&now.fields)) {
            let message = "somebody has changed it meanwhile".to_owned();
            return Err(EngineError::Conflict { message, details: None });
        }
        Ok(())
    }

    /// Looks for one thing in the store.
    pub(super) async fn look<T, F>(&self, id: &str, find: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: for<'t, 'c> Fn(&'t mut Tx<'c>, String) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + Sync
            + 'static,
    {
        Ok(self.engine.inner.read(id.to_owned(), find).await?)
    }

    /// The id of what a name means.
    pub(super) fn id(&self, section: Section, name: &str) -> Result<String, EngineError> {
        let found = self.ids.get(&(section, key_of(section, name))).filter(|id| !id.is_empty());
        found.cloned().ok_or(EngineError::Conflict {
            message: format!("{} `{name}` is not there any more", section.thing()),
            details: None,
        })
    }

    /// The id of what the name in a field means; `None` where the field says nothing.
    pub(super) fn id_in(
        &self,
        section: Section,
        entry: &Entry,
        field: &str,
    ) -> Result<Option<String>, EngineError> {
        entry.text(field).map(|name| self.id(section, &name)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_has_its_kind() {
        let kinds: Vec<Section> = KINDS.iter().map(|kind| kind.section()).collect();
        assert_eq!(kinds, Section::ALL);
    }
}
