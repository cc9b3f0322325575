//! A company's own settings in its file.

use domain::company_file::{Entry, Mistake, Section};
use domain::ids::CompanyId;
use serde_json::json;
use store::companies::Company;

use super::kind::{Bench, Doing, Hand, Kind};
use super::object;
use super::there::There;
use crate::{CompanyPatch, companies};

pub(super) struct Settings;

fn entry(company: &Company) -> Entry {
    let fields = object(json!({
        "name": company.name,
        "description": company.description,
        "brandColor": company.brand_color,
        "requireBoardApprovalForNewAgents": company.require_approval,
    }));
    Entry::new(Section::Company, Some(company.id.0.clone()), fields)
}

impl Kind for Settings {
    fn section(&self) -> Section {
        Section::Company
    }

    fn entries(&self, there: &There) -> Vec<Entry> {
        vec![entry(&there.company)]
    }

    fn ready(&self, bench: &Bench<'_>, entry: Entry, found: &mut Vec<Mistake>) -> Entry {
        let color = entry.text("brandColor").map(|color| color.to_ascii_lowercase());
        let (name, description) = (entry.text("name"), entry.text("description"));
        let judged = companies::check(name.as_deref(), description.as_deref(), color.as_deref());
        bench.note(&entry.place, judged, found);
        let mut entry = entry;
        entry.fields.extend(color.map(|color| ("brandColor".to_owned(), json!(color))));
        entry
    }

    fn again<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str) -> Doing<'a, Option<Entry>> {
        Box::pin(async move {
            let found = hand
                .look(id, |tx, id| Box::pin(async move { store::companies::get(tx, &CompanyId(id)).await }));
            Ok(found.await?.as_ref().map(entry))
        })
    }

    fn make<'a>(&'a self, hand: &'a Hand<'a>, _: &'a Entry) -> Doing<'a, String> {
        // There is one, or nobody would look.
        Box::pin(async move { Ok(hand.there.company.id.0.clone()) })
    }

    fn change<'a>(
        &'a self,
        hand: &'a Hand<'a>,
        _: &'a str,
        before: &'a Entry,
        after: &'a Entry,
    ) -> Doing<'a, ()> {
        Box::pin(async move {
            let is_new = |field: &str| after.is_other(before, field);
            let approval = "requireBoardApprovalForNewAgents";
            let patch = CompanyPatch {
                name: is_new("name").then(|| after.text("name")).flatten(),
                description: is_new("description").then(|| after.text("description")),
                brand_color: is_new("brandColor").then(|| after.text("brandColor")),
                require_approval: is_new(approval).then(|| after.flag(approval)),
                is_proven: true,
                ..CompanyPatch::default()
            };
            hand.engine.patch_company(&hand.there.company.id, patch, hand.by).await.map(drop)
        })
    }

    fn remove<'a>(&'a self, _: &'a Hand<'a>, _: &'a str, _: &'a Entry) -> Doing<'a, ()> {
        // No plan removes the company that it is about.
        Box::pin(async { Ok(()) })
    }
}
