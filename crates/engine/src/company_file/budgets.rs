//! Budgets in a company file: the policies of the company, its agents and its projects. None is ever removed; one that
//! the file does not have is switched off.

use domain::budget::policy::Draft;
use domain::budget::{Metric, Scope, ScopeKind, WindowKind};
use domain::company_file::{Entry, Mistake, Section};
use domain::ids::PolicyId;
use serde_json::json;
use store::budgets::policies::{self, Policy};

use super::kind::{Bench, Doing, Hand, Kind};
use super::object;
use super::there::There;
use crate::EngineError;

pub(super) struct Budgets;

/// `None`: its agent or its project is gone.
fn entry(policy: &Policy, there: &There) -> Option<Entry> {
    let id = policy.scope_id.as_str();
    let (agent, project) = match policy.scope_type {
        ScopeKind::Company => (None, None),
        ScopeKind::Agent => (Some(there.agent_name(id)?), None),
        ScopeKind::Project => (None, Some(there.project(id)?.project.name.as_str())),
    };
    let fields = object(json!({
        "agent": agent, "project": project, "metric": policy.metric, "window": policy.window_kind,
        "amount": policy.amount, "warnPercent": policy.warn_percent, "hardStop": policy.hard_stop_enabled,
        "notify": policy.notify_enabled, "active": policy.is_active,
    }));
    Some(Entry::new(Section::Budgets, Some(policy.id.0.clone()), fields))
}

fn scope(hand: &Hand<'_>, entry: &Entry) -> Result<Scope, EngineError> {
    if let Some(id) = hand.id_in(Section::Agents, entry, "agent")? {
        return Ok(Scope { kind: ScopeKind::Agent, id });
    }
    if let Some(id) = hand.id_in(Section::Projects, entry, "project")? {
        return Ok(Scope { kind: ScopeKind::Project, id });
    }
    Ok(Scope { kind: ScopeKind::Company, id: hand.there.company.id.0.clone() })
}

/// What is not new of one that was there (`before`) stays what it is by now.
async fn set(
    hand: &Hand<'_>,
    before: Option<&Entry>,
    entry: &Entry,
    is_active: bool,
) -> Result<String, EngineError> {
    let is_new = |field: &str| before.is_none_or(|before| entry.is_other(before, field));
    let draft = Draft {
        scope: scope(hand, entry)?,
        metric: entry.text("metric").and_then(|metric| Metric::parse(&metric)),
        window: entry.text("window").and_then(|window| WindowKind::parse(&window)),
        amount: entry.count("amount"),
        warn_percent: is_new("warnPercent").then(|| entry.count("warnPercent")),
        hard_stop: is_new("hardStop").then(|| entry.flag("hardStop")),
        notify: is_new("notify").then(|| entry.flag("notify")),
        is_active: Some(is_active),
    };
    Ok(hand.engine.set_budget(&hand.there.company.id, draft, hand.by, true).await?.policy.id.0)
}

impl Kind for Budgets {
    fn section(&self) -> Section {
        Section::Budgets
    }

    fn entries(&self, there: &There) -> Vec<Entry> {
        there.policies.iter().filter_map(|policy| entry(policy, there)).collect()
    }

    fn ready(&self, _: &Bench<'_>, entry: Entry, _: &mut Vec<Mistake>) -> Entry {
        entry
    }

    fn again<'a>(&'a self, hand: &'a Hand<'a>, id: &'a str) -> Doing<'a, Option<Entry>> {
        Box::pin(async move {
            let found =
                hand.look(id, |tx, id| Box::pin(async move { policies::get(tx, &PolicyId(id)).await }));
            Ok(found.await?.and_then(|policy| entry(&policy, hand.there)))
        })
    }

    fn make<'a>(&'a self, hand: &'a Hand<'a>, entry: &'a Entry) -> Doing<'a, String> {
        Box::pin(set(hand, None, entry, entry.flag("active")))
    }

    fn change<'a>(
        &'a self,
        hand: &'a Hand<'a>,
        _: &'a str,
        before: &'a Entry,
        after: &'a Entry,
    ) -> Doing<'a, ()> {
        Box::pin(async move { set(hand, Some(before), after, after.flag("active")).await.map(drop) })
    }

    fn remove<'a>(&'a self, hand: &'a Hand<'a>, _: &'a str, entry: &'a Entry) -> Doing<'a, ()> {
        Box::pin(async move { set(hand, Some(entry), entry, false).await.map(drop) })
    }
}
