//! Goals in a company file, by their title. How far one is reached is no matter of configuration.

use domain::company_file::{Entry, Mistake, Section};
use domain::ids::AgentId;
use serde_json::json;
use store::goals::Goal;

use super::kind::{Bench, Doing, Hand, Kind};
use super::object;
use super::there::There;
use crate::projects::check_said;
use crate::{GoalDraft, GoalPatch};

pub(super) struct Goals;

fn entry(goal: &Goal, there: &There) -> Entry {
    let parent = goal.parent_id.as_ref().and_then(|id| there.goals.iter().find(|goal| goal.id == *id));
    let owner = goal.owner_agent_id.as_ref().and_then(|id| there.agent_name(id.as_str()));
    let fields = object(json!({
        "title": goal.title, "description": goal.description, "level": goal.level,
        "parent": parent.map(|goal| &goal.title), "owner": owner,
    }));
    Entry::new(Section::Goals, Some(goal.id.clone()), fields)
}

impl Kind for Goals {
    fn section(&self) -> Section {
        Section::Goals
    }

    fn entries(&self, there: &There) -> Vec<Entry> {
        there.goals.iter().map(|goal| entry(goal, there)).collect()
    }

    fn ready(&self, bench: &Bench<'_>, entry: Entry, found: &mut Vec<Mistake>) -> Entry {
        let text = |field: &str| entry.text(field).unwrap_or_default();
        let judged = check_said(&text("title"), entry.text("description").as_deref(), &text("level"));
        bench.note(&entry.place, judged, found);
        entry
    }

    fn again<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str) -> Doing<'a, Option<Entry>> {
        Box::pin(async move {
            let found = hand.look(id, |tx, id| Box::pin(async move { store::goals::get(tx, &id).await }));
            Ok(found.await?.map(|goal| entry(&goal, hand.there)))
        })
    }

    fn make<'a>(&'a self, hand: &'a Hand<'a>, entry: &'a Entry) -> Doing<'a, String> {
        Box::pin(async move {
            let draft = GoalDraft {
                title: entry.text("title").unwrap_or_default(),
                description: entry.text("description"),
                level: entry.text("level").unwrap_or_default(),
                parent_id: hand.id_in(Section::Goals, entry, "parent")?,
                owner_agent_id: hand.id_in(Section::Agents, entry, "owner")?.map(AgentId),
                ..GoalDraft::default()
            };
            Ok(hand.engine.make_goal(&hand.there.company.id, draft, true, hand.by).await?.id)
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
            let parent = hand.id_in(Section::Goals, after, "parent")?;
            let owner = hand.id_in(Section::Agents, after, "owner")?.map(AgentId);
            let patch = GoalPatch {
                title: is_new("title").then(|| after.text("title")).flatten(),
                description: is_new("description").then(|| after.text("description")),
                level: is_new("level").then(|| after.text("level")).flatten(),
                status: None,
                parent_id: is_new("parent").then_some(parent),
                owner_agent_id: is_new("owner").then_some(owner),
            };
            hand.engine.patch_goal(id, patch, hand.by).await.map(drop)
        })
    }

    fn remove<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str, _: &'a Entry) -> Doing<'a, ()> {
        Box::pin(async move { hand.engine.delete_goal(id, hand.by).await.map(drop) })
    }
}
