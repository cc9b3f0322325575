//! A company's own settings in its file.

use domain::company_file::{Entry, Mistake, Section};
use serde_json::json;
use store::BoxFuture;

use super::kind::{Bench, Hand, Kind};
use super::object;
use super::there::There;
use crate::{CompanyPatch, EngineError, companies};

pub(super) struct Settings;

impl Kind for Settings {
    fn section(&self) -> Section {
        Section::Company
    }

    fn entries(&self, there: &There) -> Vec<Entry> {
        let company = &there.company;
        let fields = object(json!({
            "name": company.name,
            "description": company.description,
            "brandColor": company.brand_color,
            "requireBoardApprovalForNewAgents": company.require_approval,
        }));
        vec![Entry::new(Section::Company, Some(company.id.0.clone()), fields)]
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

    fn make<'a>(&'a self, hand: &'a Hand<'a>, _: &'a Entry) -> BoxFuture<'a, Result<String, EngineError>> {
        // There is one, or nobody would look.
        Box::pin(async move { Ok(hand.there.company.id.0.clone()) })
    }

    fn change<'a>(
        &'a self,
        hand: &'a Hand<'a>,
        _: &'a str,
        _: &'a Entry,
        after: &'a Entry,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            let patch = CompanyPatch {
                name: after.text("name"),
                description: Some(after.text("description")),
                brand_color: Some(after.text("brandColor")),
                require_approval: Some(after.flag("requireBoardApprovalForNewAgents")),
                is_proven: true,
                ..CompanyPatch::default()
            };
            hand.engine.patch_company(&hand.there.company.id, patch, hand.by).await.map(drop)
        })
    }

    fn remove<'a>(
        &'a self,
        _: &'a Hand<'a>,
        _: &'a str,
        _: &'a Entry,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        // No plan removes the company that it is about.
        Box::pin(async { Ok(()) })
    }
}
