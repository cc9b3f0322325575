//! Agents that wake each other in a circle: asked by the intake for each wake that an agent causes.
//!
//! The rule is `domain::recovery::breaker`. A circle that was stopped is an open item of the inbox, of kind `wake_loop`:
//! it holds as long as the item is open and nobody touched the issue since. What is held is deferred under the reason
//! `wake_loop`; letting it go is `sweeps::breaker`'s. Wakes that name no issue are none of its business: agents cause none
//! but their own.

use std::collections::BTreeSet;

use domain::ids::{AgentId, IssueId};
use domain::moment::Moment;
use domain::recovery::InboxKind;
use domain::recovery::breaker::{self, Admission, BreakerSettings, BreakerView, HELD_REASON, Trip, WakeEdge};
use domain::wake::{ActorKind, WakeRequest};
use serde_json::Value as Json;
use store::agents::Agent;
use store::inbox::InboxItem;
use store::wakes::Wake;
use store::{StoreError, Tx, activity, inbox, issues, wakes};

use crate::attempts;

/// Wakes that are looked back at; more in the span are a circle in any case.
const MOST_WAKES: i64 = 2_000;
/// Items that are open for one issue or agent.
const MOST_ITEMS: i64 = 50;

/// Whether a wake belongs to a circle of agents and is to be held. The agent, and the issue it is about, are locked; the
/// item that tells people of a new circle gets this id.
pub(crate) async fn admit_wake(
    tx: &mut Tx<'_>,
    agent: &Agent,
    issue: &IssueId,
    request: &WakeRequest,
    item: &str,
    now: Moment,
) -> Result<bool, StoreError> {
    let (ActorKind::Agent, Some(from)) = (request.actor.kind, &request.actor.id) else { return Ok(false) };
    let edge = WakeEdge {
        from: AgentId(from.clone()),
        to: agent.id.clone(),
        issue: Some(issue.clone()),
        reason: request.reason.clone().unwrap_or_default(),
        at: now,
    };
    // What an agent asks for itself by name is no answer to anybody.
    if edge.from == edge.to {
        return Ok(false);
    }
    let (tripped, last_touch) = trips(tx, issue).await?;
    let settings = BreakerSettings::default();
    let since = now.minus(settings.within);
    let needed = i64::from(settings.cycles);
    // Whoever is to be woken has set off as many wakes, or no circle can have come round so often.
    let caused = wakes::count_caused_by(tx, &agent.company_id, &edge.to, since, needed).await?;
    if caused < needed && tripped.is_empty() {
        return Ok(false);
    }
    let mut history = wakes::caused_by_agents(tx, &agent.company_id, since, HELD_REASON, MOST_WAKES).await?;
    history.reverse();
    let history = history.into_iter().map(|wake| WakeEdge {
        from: wake.from,
        to: wake.to,
        issue: wake.issue_id,
        // A deferred wake is stored under another reason; the shape is what it was asked for.
        reason: wake.reason.unwrap_or_default(),
        at: wake.requested_at,
    });
    let identifier = issues::get(tx, issue).await?.map(|issue| issue.identifier);
    let view = BreakerView { history: history.collect(), edge, tripped, last_touch, identifier };
    match breaker::admit(&view, settings, now) {
        Admission::Pass | Admission::OwnWrite => Ok(false),
        Admission::Held => Ok(true),
        Admission::Trips { item: told, .. } => {
            tracing::warn!(agent = %agent.id, cause = %told.cause, "agents wake each other in a circle; it is stopped");
            inbox::open(tx, &attempts::row(item.to_owned(), &agent.company_id, &told, now)).await?;
            Ok(true)
        }
    }
}

/// Whether a deferred wake belongs to a circle that is stopped still.
pub(crate) async fn still_holds(tx: &mut Tx<'_>, wake: &Wake) -> Result<bool, StoreError> {
    let (ActorKind::Agent, Some(from), Some(issue)) = (wake.actor_kind, &wake.actor_id, &wake.issue_id)
    else {
        return Ok(false);
    };
    let edge = WakeEdge {
        from: AgentId(from.clone()),
        to: wake.agent_id.clone(),
        issue: Some(issue.clone()),
        reason: String::new(),
        at: wake.requested_at,
    };
    let (tripped, last_touch) = trips(tx, issue).await?;
    Ok(tripped.iter().any(|trip| last_touch.is_none_or(|touch| trip.at > touch) && trip.holds(&edge)))
}

/// The circles that were stopped about an issue, and when a person last touched it.
async fn trips(tx: &mut Tx<'_>, issue: &IssueId) -> Result<(Vec<Trip>, Option<Moment>), StoreError> {
    let open = inbox::open_of(tx, issue.as_str(), MOST_ITEMS).await?;
    Ok((open.iter().filter_map(trip).collect(), activity::last_touch_of_issue(tx, issue).await?))
}

/// The circle that an item tells of.
pub(crate) fn trip(item: &InboxItem) -> Option<Trip> {
    if item.kind != InboxKind::WakeLoop.as_str() {
        return None;
    }
    let agents: BTreeSet<AgentId> = item.details["agentIds"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .map(AgentId::from)
        .collect();
    let issue = (item.entity_type == "issue").then(|| IssueId(item.entity_id.clone()));
    Some(Trip { agents, issue, at: item.opened_at })
}
