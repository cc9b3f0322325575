//! Labels in a company file.

use domain::company_file::{Entry, Mistake, Section};
use serde_json::json;
use store::labels::Label;

use super::kind::{Bench, Doing, Hand, Kind};
use super::object;
use super::there::There;
use crate::issues::{LabelDraft, check_label};

pub(super) struct Labels;

fn entry(label: &Label) -> Entry {
    let fields = object(json!({ "name": label.name, "color": label.color }));
    Entry::new(Section::Labels, Some(label.id.clone()), fields)
}

fn draft(entry: &Entry) -> LabelDraft {
    LabelDraft {
        name: entry.text("name").unwrap_or_default(),
        color: entry.text("color").unwrap_or_default().to_lowercase(),
    }
}

impl Kind for Labels {
    fn section(&self) -> Section {
        Section::Labels
    }

    fn entries(&self, there: &There) -> Vec<Entry> {
        there.labels.iter().map(entry).collect()
    }

    fn ready(&self, bench: &Bench<'_>, entry: Entry, found: &mut Vec<Mistake>) -> Entry {
        let draft = draft(&entry);
        bench.note(&entry.place, check_label(&draft), found);
        let fields = object(json!({ "name": draft.name, "color": draft.color }));
        Entry { fields, ..entry }
    }

    fn again<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str) -> Doing<'a, Option<Entry>> {
        Box::pin(async move {
            let found = hand.look(id, |tx, id| Box::pin(async move { store::labels::get(tx, &id).await }));
            Ok(found.await?.as_ref().map(entry))
        })
    }

    fn make<'a>(&'a self, hand: &'a Hand<'a>, entry: &'a Entry) -> Doing<'a, String> {
        Box::pin(async move {
            let made = hand.engine.create_label(&hand.there.company.id, draft(entry), hand.by).await?;
            Ok(made.id)
        })
    }

    fn change<'a>(
        &'a self,
        hand: &'a Hand<'a>,
        id: &'a str,
        _: &'a Entry,
        after: &'a Entry,
    ) -> Doing<'a, ()> {
        Box::pin(async move { hand.engine.change_label(id, draft(after), hand.by).await.map(drop) })
    }

    fn remove<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str, _: &'a Entry) -> Doing<'a, ()> {
        Box::pin(async move { hand.engine.delete_label(id, hand.by).await.map(drop) })
    }
}
