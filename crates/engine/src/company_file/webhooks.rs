//! Webhooks in a company file: who hears of its events, by their address. What requests are signed with is in no file: one
//! that is made from a file gets a secret of its own, which rotating it tells.

use std::collections::BTreeSet;

use domain::company_file::{Action, Change, Entry, Mistake, Plan, Section, key_of};
use domain::webhook::delivery::DisabledReason;
use domain::webhook::place;
use serde_json::json;
use store::webhooks::endpoints::{self, Endpoint};

use super::kind::{Bench, Doing, Hand, Kind};
use super::object;
use super::there::There;
use crate::webhooks::check_endpoint;
use crate::{EndpointDraft, EndpointPatch};

pub(super) struct Webhooks;

fn entry(endpoint: &Endpoint) -> Entry {
    // One that was turned off because nobody answered is still meant to be on.
    let is_enabled = endpoint.disabled_reason != Some(DisabledReason::ByPerson);
    let fields = object(json!({
        "url": place::shown(&endpoint.url), "events": endpoint.events, "description": endpoint.description,
        "enabled": is_enabled,
    }));
    Entry::new(Section::Webhooks, Some(endpoint.id.clone()), fields)
}

/// Where one goes, all of its address go: nothing is left that no file speaks of.
pub(super) fn with_twins(plan: &mut Plan, there: &There) {
    let goes = |change: &Change| change.section == Section::Webhooks && change.action == Action::Remove;
    let gone: Vec<Entry> = plan
        .changes
        .iter()
        .filter(|change| goes(change))
        .filter_map(|change| change.before.clone())
        .collect();
    for twin in there.webhooks.iter().map(entry) {
        if gone.iter().any(|it| it.key == twin.key) && gone.iter().all(|it| it.id != twin.id) {
            plan.changes.push(Change {
                action: Action::Remove,
                section: Section::Webhooks,
                name: twin.name.clone(),
                fields: Vec::new(),
                before: Some(twin),
                after: None,
            });
        }
    }
}

fn there_of<'a>(there: &'a There, entry: &Entry) -> Option<&'a Endpoint> {
    there.webhooks.iter().find(|endpoint| key_of(Section::Webhooks, &endpoint.url) == entry.key)
}

impl Kind for Webhooks {
    fn section(&self) -> Section {
        Section::Webhooks
    }

    /// Of several with one address the oldest.
    fn entries(&self, there: &There) -> Vec<Entry> {
        let mut seen = BTreeSet::new();
        let all = there.webhooks.iter().map(entry);
        all.filter(|entry| seen.insert(entry.key.clone())).collect()
    }

    fn ready(&self, bench: &Bench<'_>, entry: Entry, found: &mut Vec<Mistake>) -> Entry {
        let url = entry.text("url").unwrap_or_default();
        let there = there_of(bench.there, &entry);
        let checked = Some(url.as_str()).filter(|_| there.is_none());
        let events = entry.texts("events");
        // What is there was taken once, and stays.
        let is_kept = there.is_some_and(|endpoint| endpoint.patterns().eq(events.iter().map(String::as_str)));
        let patterns = Some(events.as_slice()).filter(|_| !is_kept);
        let judged = check_endpoint(checked, patterns, entry.text("description").as_deref());
        bench.note(&entry.place, judged, found);
        let mut entry = entry;
        if there.is_some() {
            // The values in it stay what they are.
            entry.fields.insert("url".to_owned(), json!(place::shown(&url)));
        }
        entry
    }

    fn again<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str) -> Doing<'a, Option<Entry>> {
        Box::pin(async move {
            let found = hand.look(id, |tx, id| Box::pin(async move { endpoints::get(tx, &id).await }));
            Ok(found.await?.as_ref().map(entry))
        })
    }

    fn make<'a>(&'a self, hand: &'a Hand<'a>, entry: &'a Entry) -> Doing<'a, String> {
        Box::pin(async move {
            let draft = EndpointDraft {
                url: entry.text("url").unwrap_or_default(),
                events: entry.texts("events"),
                description: entry.text("description"),
                secret: None,
            };
            let how = (entry.flag("enabled"), true);
            Ok(hand.engine.make_webhook(&hand.there.company.id, draft, how, hand.by).await?.made.id)
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
            let is_new = |field: &str| after.is_other(before, field);
            let patch = EndpointPatch {
                url: None,
                events: is_new("events").then(|| after.texts("events")),
                description: is_new("description").then(|| after.text("description")),
                is_enabled: is_new("enabled").then(|| after.flag("enabled")),
            };
            hand.engine.patch_webhook(id, patch, hand.by).await.map(drop)
        })
    }

    fn remove<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str, _: &'a Entry) -> Doing<'a, ()> {
        Box::pin(async move { hand.engine.delete_webhook(id, hand.by).await.map(drop) })
    }
}
