//! Who is to hear of a change: the facts for `domain::issue::notices`, and what it says, put into the outbox.
//!
//! The issues that an order is about, and those whose readiness changes, are locked by the caller. Delivery is not done
//! here.

use std::collections::BTreeMap;

use domain::ids::{AgentId, CompanyId, IssueId};
use domain::issue::IssueStatus;
use domain::issue::create::waits;
use domain::issue::mentions::{Name, mentioned};
use domain::issue::notices::{self, Child, Dependent, Family, MOST_CHILDREN_TOLD, Notice, Origin, Standing};
use store::comments::{self, Order};
use store::issues::{self, Issue};
use store::{StoreError, Tx, agents, relations};

use super::create::Source;
use super::facts::Locked;
use crate::activity::Scribe;
use crate::{EngineError, orders, promotions};

/// As many children as are looked at when one of them ends.
const MOST_CHILDREN: i64 = 500;
/// As many names as a text may call.
const MOST_CALLS: usize = 50;

/// Puts the wakes of a change into the outbox.
pub(crate) async fn send(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    company: &CompanyId,
    notices: &[Notice],
) -> Result<(), EngineError> {
    orders::order(tx, company, notices, &scribe.by.actor(), scribe.now).await?;
    Ok(())
}

/// An issue was made: its assignee is to work on it.
pub(super) async fn after_creation(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    issue: &Issue,
    source: Source,
) -> Result<(), EngineError> {
    if issue.assignee_agent_id.is_none() {
        return Ok(());
    }
    let origin = match source {
        Source::Create => Origin::Create,
        Source::Child => Origin::ChildCreate,
        Source::Interaction => Origin::InteractionAccept,
    };
    let editor = scribe.editor(tx).await?;
    let notices = notices::created(&issue.id, &standing(issue), origin, &editor);
    send(tx, scribe, &issue.company_id, &notices).await
}

/// An issue is gone: what it blocked waits for one less.
pub(super) async fn after_removal(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    removed: &Issue,
    locked: &Locked,
) -> Result<(), EngineError> {
    let mut notices = Vec::new();
    for dependent in dependents_of(tx, &removed.id, locked).await? {
        let waited = locked.issues.get(&dependent.issue).is_some_and(|issue| issue.waits_on_blockers);
        if waited && dependent.unresolved.is_empty() {
            issues::set_waits_on_blockers(tx, &dependent.issue, false).await?;
            notices.extend(notices::blockers_resolved(&dependent, None));
        }
    }
    send(tx, scribe, &removed.company_id, &notices).await
}

/// Status and assignee.
pub(crate) fn standing(issue: &Issue) -> Standing {
    Standing { status: issue.status, assignee: issue.assignee_agent_id.clone() }
}

/// The locked issues, but the changed one itself, that depended on it when they were locked: with their blockers as they
/// are now.
pub(crate) async fn dependents_of(
    tx: &mut Tx<'_>,
    changed: &IssueId,
    locked: &Locked,
) -> Result<Vec<Dependent>, StoreError> {
    let others: Vec<&Issue> = locked.issues.values().filter(|issue| issue.id != *changed).collect();
    let ids: Vec<IssueId> = others.iter().map(|issue| issue.id.clone()).collect();
    let mut blockers: BTreeMap<IssueId, Vec<(IssueId, IssueStatus)>> = BTreeMap::new();
    for (blocked, blocker) in relations::blockers_of(tx, &ids).await? {
        blockers.entry(blocked).or_default().push((blocker.id, blocker.status));
    }
    let dependent = |issue: &Issue| {
        let all = blockers.remove(&issue.id).unwrap_or_default();
        Dependent {
            issue: issue.id.clone(),
            status: issue.status,
            assignee: issue.assignee_agent_id.clone(),
            unresolved: all
                .iter()
                .filter(|(_, status)| *status != IssueStatus::Done)
                .map(|(id, _)| id.clone())
                .collect(),
            blockers: all.into_iter().map(|(id, _)| id).collect(),
        }
    };
    Ok(others.into_iter().map(dependent).collect())
}

/// What a change of an issue's status means for those that it blocks: they wait, or wait no more.
pub(crate) async fn note_readiness(
    tx: &mut Tx<'_>,
    dependents: &[Dependent],
    locked: &Locked,
) -> Result<(), StoreError> {
    for dependent in dependents {
        let waits = waits(dependent.status, &dependent.unresolved);
        if locked.issues.get(&dependent.issue).is_some_and(|issue| issue.waits_on_blockers != waits) {
            issues::set_waits_on_blockers(tx, &dependent.issue, waits).await?;
        }
    }
    Ok(())
}

/// The parent, which is locked, with all its children as they are now.
pub(crate) async fn family(tx: &mut Tx<'_>, parent: &Issue) -> Result<Family, StoreError> {
    let mut children = Vec::new();
    let mut is_complete = true;
    for child in issues::children(tx, &parent.id, MOST_CHILDREN).await? {
        is_complete &= child.status.is_terminal();
        children.push(Child {
            id: child.id,
            identifier: Some(child.identifier),
            title: child.title,
            status: child.status,
            priority: child.priority,
            assignee_agent: child.assignee_agent_id,
            assignee_user: child.assignee_user_id,
            last_comment: None,
        });
    }
    if is_complete {
        for child in children.iter_mut().take(MOST_CHILDREN_TOLD) {
            let last = comments::list(tx, &child.id, Order::NewestFirst, None, 1).await?;
            child.last_comment = last.into_iter().next().map(|comment| comment.body);
        }
    }
    Ok(Family {
        parent: parent.id.clone(),
        status: parent.status,
        assignee: parent.assignee_agent_id.clone(),
        children,
    })
}

/// The agents of the company that a text calls.
pub(super) async fn called(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    text: &str,
) -> Result<Vec<AgentId>, StoreError> {
    let mut known: BTreeMap<AgentId, String> = BTreeMap::new();
    for token in names_in(text) {
        let key = domain::agent::url_key(token);
        for agent in agents::named(tx, company, token, &key).await? {
            known.insert(agent.id, agent.name);
        }
    }
    let linked: Vec<AgentId> = links_in(text);
    if !linked.is_empty() {
        for agent in agents::some(tx, &linked).await? {
            if agent.company_id == *company {
                known.insert(agent.id, agent.name);
            }
        }
    }
    let names: Vec<Name<'_>> = known.iter().map(|(id, name)| Name { id, name }).collect();
    Ok(mentioned(text, &names))
}

/// What may be a name: the rules say which of them is.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| c.is_whitespace() || "@,!?.:;()[]".contains(c);
    let tokens = text.split('@').skip(1).map(move |rest| &rest[..rest.find(ends).unwrap_or(rest.len())]);
    tokens.filter(|token| !token.is_empty() && token.len() <= 200).take(MOST_CALLS)
}

/// What may be the id of an agent.
fn links_in(text: &str) -> Vec<AgentId> {
    let links = text.match_indices("agent://").filter_map(|(at, sign)| text.get(at + sign.len()..));
    let ids = links.filter_map(|rest| rest.get(..36)).filter(|id| domain::ids::looks_like_id(id));
    ids.take(MOST_CALLS).map(|id| AgentId(id.to_ascii_lowercase())).collect()
}

/// The lock of an issue was given up: who waits behind it and whose turn it is goes on.
pub(crate) async fn after_unlock(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    issue: &IssueId,
) -> Result<(), EngineError> {
    let Some(issue) = issues::get(tx, issue).await? else { return Ok(()) };
    let look = promotions::look(tx, Some(&issue), scribe.now).await?;
    promotions::end_hopeless(tx, &look, scribe.now).await?;
    if let Some(wake) = look.promoted() {
        orders::promote(tx, &issue.company_id, wake, scribe.now).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_name_or_a_link_is_found_and_nothing_else_is_asked_for() {
        let names: Vec<&str> = names_in("@Ada, ask @bob-2! or me@home.org; @ nobody").collect();
        assert_eq!(names, ["Ada", "bob-2", "home"]);
        let id = "0192F7A0-0000-4000-8000-00000000000A";
        let text = format!("[Ada](agent://{id}) [x](agent://short) agent://");
        assert_eq!(links_in(&text), [AgentId(id.to_ascii_lowercase())]);
    }
}
