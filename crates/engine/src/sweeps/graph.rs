//! Looks for chains of blockers and reviews that nobody works on, and shows them to people.
//!
//! What is stuck is decided by `domain::recovery::graph`, page by page over the issues that are blocked or in review, each
//! page with all that stands above it. Findings are items of the inbox on the issue that waits, opened once and resolved
//! when they are gone; an owner is woken only where the instance asks for that. While nothing happens nothing is looked
//! at: a round begins when the event log has grown, and takes its time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::ids::{CompanyId, IssueId};
use domain::issue::stages::State;
use domain::issue::{IssueStatus, Principal};
use domain::moment::Moment;
use domain::recovery::graph::{self, Finding, Graph, GraphIssue, GraphSettings, GraphStep, Known, Reviewer};
use domain::recovery::{Cause, InboxKind};
use serde_json::Value as Json;
use store::comments::{self, Order};
use store::inbox::{self, InboxItem};
use store::issues::{self, Issue};
use store::{
    StoreError, Tx, events, holds, instance_settings, locks, orders, relations, runs_of_issues, wakes,
};

use super::stranded::awaiting_decision;
use crate::activity::Scribe;
use crate::attempts::{self, AUTHOR, Counts};
use crate::{Inner, promotions};

/// Issues per page, and pages per pass.
const PAGE: i64 = 100;
const PAGES: usize = 2;
/// Between two passes.
const PERIOD: Duration = Duration::from_secs(30);
/// Edges above one page.
const MOST_EDGES: i64 = 5_000;
/// Comments among which the last words of an agent are looked for, and as much of them as is kept.
const NEWEST_COMMENTS: i64 = 10;
const MOST_SAID: usize = 2_000;
/// Open items of one kind.
const MOST_ITEMS: i64 = 1_000;

/// The settings of the instance that say whether owners are woken, and for how young chains.
const SETTINGS: &str = "experimental";

pub(crate) async fn run(engine: Arc<Inner>) {
    let mut round = Round::default();
    loop {
        let pass = pass(&engine, &mut round).await;
        if !super::rest(&engine, "chains of blockers", &engine.graph, pass).await {
            return;
        }
    }
}

/// How far the walk is.
#[derive(Debug, Default)]
struct Round {
    after: Option<String>,
    /// The end of the event log when the round began, and when the last whole round began.
    began_at: i64,
    seen: Option<i64>,
}

async fn pass(engine: &Arc<Inner>, round: &mut Round) -> Result<Duration, StoreError> {
    let head = engine.read((), |tx, ()| Box::pin(events::head(tx))).await?;
    if round.after.is_none() {
        if round.seen == Some(head) {
            return Ok(PERIOD);
        }
        round.began_at = head;
        // What was shown before comes first: most of what is gone is not blocked any more.
        look_at_shown(engine).await?;
        round.after = Some(String::new());
    }
    for _ in 0..PAGES {
        let Some(after) = round.after.clone() else { break };
        let page = engine
            .read(after, |tx, after| Box::pin(async move { issues::stuck(tx, &after, PAGE).await }))
            .await?;
        round.after = page.last().filter(|_| page.len() as i64 == PAGE).map(|last| last.id.0.clone());
        look_at(engine, page).await?;
    }
    if round.after.is_none() {
        round.seen = Some(round.began_at);
    }
    Ok(PERIOD)
}

/// Looks at every issue that was shown, in pages.
async fn look_at_shown(engine: &Arc<Inner>) -> Result<(), StoreError> {
    let mut after = String::new();
    loop {
        let (last, shown) = engine
            .read(after.clone(), |tx, after| {
                Box::pin(async move {
                    let kind = InboxKind::StuckChain.as_str();
                    let items = inbox::open_of_kind(tx, kind, &after, MOST_ITEMS).await?;
                    let last =
                        items.last().filter(|_| items.len() as i64 == MOST_ITEMS).map(|it| it.id.clone());
                    let ids: Vec<IssueId> = items.into_iter().map(|item| IssueId(item.entity_id)).collect();
                    Ok((last, issues::some(tx, &ids).await?))
                })
            })
            .await?;
        look_at(engine, shown).await?;
        match last {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

/// Looks at some issues, each company by itself.
async fn look_at(engine: &Arc<Inner>, sources: Vec<Issue>) -> Result<(), StoreError> {
    let mut of_companies: BTreeMap<CompanyId, Vec<Issue>> = BTreeMap::new();
    for issue in sources {
        of_companies.entry(issue.company_id.clone()).or_default().push(issue);
    }
    for (company, sources) in of_companies {
        let now = engine.clock.now();
        let found = engine
            .read((company.clone(), sources), move |tx, (company, sources)| {
                Box::pin(async move { reconcile(tx, &company, sources, now).await })
            })
            .await;
        let steps = match found {
            Ok(steps) => steps,
            // One company's trouble is not another's.
            Err(error) => {
                tracing::warn!(%company, %error, "cannot look at the chains of blockers");
                continue;
            }
        };
        for step in steps {
            let scribe = engine.scribe(&AUTHOR);
            let context = (company.clone(), step, scribe);
            let written = engine
                .write(context, |tx, (company, step, scribe)| {
                    Box::pin(async move { apply(tx, &company, step, scribe).await })
                })
                .await;
            match written {
                Ok(()) => {
                    engine.feed.ring();
                    engine.orders_bell();
                }
                Err(error) => tracing::warn!(%company, %error, "cannot write what was found of a chain"),
            }
        }
    }
    Ok(())
}

/// A step with what it needs to be written.
#[derive(Debug, Clone)]
struct Write {
    step: GraphStep,
    /// The open item that is resolved.
    item: Option<String>,
    /// The issue at which the chain is stuck.
    leaf: Option<IssueId>,
}

async fn reconcile(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    sources: Vec<Issue>,
    now: Moment,
) -> Result<Vec<Write>, StoreError> {
    let settings = settings(tx).await?;
    let wanted: BTreeSet<IssueId> = sources.iter().map(|issue| issue.id.clone()).collect();
    let graph = load(tx, company, sources, now).await?;
    let mut found = graph::findings(&graph);
    found.retain(|finding| wanted.contains(&finding.source));
    let (known, items) = known(tx, company, &wanted, &found, settings).await?;
    let steps = graph::reconcile(&graph, &found, &known, settings, now);
    let write = |step: GraphStep| {
        let (item, leaf) = match &step {
            GraphStep::Resolve { incident_key } => {
                let item = items.iter().find(|item| item.cause == *incident_key);
                (item.map(|item| item.id.clone()), None)
            }
            GraphStep::Open { item, .. } => {
                let leaf = found.iter().find(|finding| finding.incident_key == item.cause);
                (None, leaf.map(|finding| finding.leaf.clone()))
            }
        };
        Write { step, item, leaf }
    };
    Ok(steps.into_iter().map(write).collect())
}

/// What was shown before: the items of these sources, and those that tell of the same leaf already.
async fn known(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    sources: &BTreeSet<IssueId>,
    found: &[Finding],
    settings: GraphSettings,
) -> Result<(Vec<Known>, Vec<InboxItem>), StoreError> {
    let leaves: BTreeSet<&str> = found.iter().map(|finding| finding.leaf_key.as_str()).collect();
    // Of those that tell of the same leaf as many are asked for as there should ever be; of the sources' own, all.
    let entities: Vec<String> = sources.iter().map(|id| id.0.clone()).collect();
    let mut items = inbox::open_about(tx, InboxKind::StuckChain.as_str(), &entities).await?;
    let others = open_items(tx).await?;
    items.extend(others.into_iter().filter(|item| !sources.contains(&IssueId(item.entity_id.clone()))));
    let leaf_key = |item: &InboxItem| item.details["leafKey"].as_str().unwrap_or_default().to_owned();
    items.retain(|item| {
        item.company_id == *company
            && (sources.contains(&IssueId(item.entity_id.clone()))
                || leaves.contains(leaf_key(item).as_str()))
    });
    let mut known: Vec<Known> = items
        .iter()
        .map(|item| Known {
            incident_key: item.cause.clone(),
            leaf_key: leaf_key(item),
            wakes: 0,
            open: true,
        })
        .collect();
    if settings.wakes_owners {
        for finding in found {
            let wakes = Counts::read(tx, &finding.leaf).await?.of(Cause::GraphLiveness);
            let (incident_key, leaf_key) = (finding.incident_key.clone(), finding.leaf_key.clone());
            known.push(Known { incident_key, leaf_key, wakes, open: false });
        }
    }
    Ok((known, items))
}

async fn open_items(tx: &mut Tx<'_>) -> Result<Vec<InboxItem>, StoreError> {
    inbox::open_of_kind(tx, InboxKind::StuckChain.as_str(), "", MOST_ITEMS).await
}

async fn settings(tx: &mut Tx<'_>) -> Result<GraphSettings, StoreError> {
    let defaults = GraphSettings::default();
    let Some(stored) = instance_settings::get(tx, SETTINGS).await? else { return Ok(defaults) };
    let hours = stored["issueGraphLivenessAutoRecoveryLookbackHours"].as_u64().map(|it| it.clamp(1, 720));
    Ok(GraphSettings {
        wakes_owners: stored["enableIssueGraphLivenessAutoRecovery"] == Json::Bool(true),
        look_back: hours.map_or(defaults.look_back, |hours| Duration::from_secs(hours * 3600)),
    })
}

/// The sources with everything above them, and with what they block themselves.
async fn load(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    sources: Vec<Issue>,
    now: Moment,
) -> Result<Graph, StoreError> {
    let ids: Vec<IssueId> = sources.iter().map(|issue| issue.id.clone()).collect();
    let mut blocks: BTreeSet<(IssueId, IssueId)> = relations::above(tx, &ids, MOST_EDGES)
        .await?
        .into_iter()
        .map(|(blocked, blocker)| (blocker, blocked))
        .collect();
    blocks.extend(relations::blocked_by(tx, &ids).await?);
    let mut all: BTreeMap<IssueId, Issue> =
        sources.into_iter().map(|issue| (issue.id.clone(), issue)).collect();
    let missing: BTreeSet<&IssueId> = blocks.iter().flat_map(|(one, other)| [one, other]).collect();
    let missing: Vec<IssueId> = missing.into_iter().filter(|id| !all.contains_key(*id)).cloned().collect();
    for issue in issues::some(tx, &missing).await? {
        all.insert(issue.id.clone(), issue);
    }
    let ids: Vec<IssueId> = all.keys().cloned().collect();
    let mut live: BTreeSet<IssueId> =
        runs_of_issues::live_of(tx, &ids).await?.into_iter().map(|run| run.issue_id).collect();
    for lock in locks::of_issues(tx, &ids).await? {
        let is_live = lock.run_status.is_some_and(|status| status.is_live());
        if is_live && lock.run_epoch == Some(lock.epoch) {
            live.insert(lock.issue_id);
        }
    }
    let mut woken: BTreeSet<IssueId> = orders::waiting_for(tx, &ids).await?.into_iter().collect();
    for (id, _) in wakes::deferred_on_some(tx, &ids).await? {
        // One that is kept carries nothing on; one behind a live run is that run's business.
        if !woken.contains(&id) && promotions::look(tx, all.get(&id), now).await?.promoted().is_some() {
            woken.insert(id);
        }
    }
    let held: BTreeSet<IssueId> = holds::held(tx, &ids).await?.into_iter().map(|(issue, _)| issue).collect();
    let entities: Vec<String> = ids.iter().map(|id| id.0.clone()).collect();
    let shown = inbox::with_open(tx, InboxKind::StrandedIssue.as_str(), &entities).await?;
    let shown: BTreeSet<IssueId> = shown.into_iter().map(IssueId).collect();
    let open = all.values().filter(|it| !matches!(it.status, IssueStatus::Done | IssueStatus::Cancelled));
    let open: Vec<IssueId> = open.map(|issue| issue.id.clone()).collect();
    let awaiting = awaiting_decision(tx, &open).await?;
    let waiting: BTreeSet<&IssueId> = blocks
        .iter()
        .filter(|(blocker, _)| all.get(blocker).is_none_or(|issue| issue.status != IssueStatus::Done))
        .map(|(_, blocked)| blocked)
        .collect();
    let mut issues = Vec::with_capacity(all.len());
    for issue in all.values().filter(|issue| issue.company_id == *company) {
        let awaits = awaiting.contains(&issue.id);
        let is_in_words = issue.status == IssueStatus::Blocked && !waiting.contains(&issue.id);
        issues.push(GraphIssue {
            said: if is_in_words { last_words(tx, issue).await? } else { None },
            shown: shown.contains(&issue.id),
            review: reviewer(issue),
            has_live_run: live.contains(&issue.id),
            has_wake: woken.contains(&issue.id),
            awaits_interaction: awaits,
            awaits_approval: awaits,
            held: held.contains(&issue.id),
            ..attempts::graph_issue(issue)
        });
    }
    let agents = attempts::agents_about(tx, company, &issues).await?;
    Ok(Graph { company: company.clone(), issues, blocks: blocks.into_iter().collect(), agents })
}

/// What an agent said last on an issue, among the newest comments.
async fn last_words(tx: &mut Tx<'_>, issue: &Issue) -> Result<Option<String>, StoreError> {
    let newest = comments::list(tx, &issue.id, Order::NewestFirst, None, NEWEST_COMMENTS).await?;
    let said = newest.into_iter().find(|comment| comment.author_agent_id.is_some());
    Ok(said.map(|comment| comment.body.chars().take(MOST_SAID).collect()))
}

/// Shows at once what has come to rest with nobody named: an issue that its agent blocked in words only, or put into
/// review without a reviewer. Longer chains are the sweep's. Called at the end of a run, with the issue locked.
pub(crate) async fn show(tx: &mut Tx<'_>, scribe: &mut Scribe, issue: &Issue) -> Result<(), StoreError> {
    if issue.hidden_at.is_some() || !matches!(issue.status, IssueStatus::Blocked | IssueStatus::InReview) {
        return Ok(());
    }
    let company = &issue.company_id;
    let graph = load(tx, company, vec![issue.clone()], scribe.now).await?;
    let mut found = graph::findings(&graph);
    found.retain(|finding| finding.source == issue.id && finding.leaf == issue.id);
    // Told before, it is not told again: the inbox has one open item of a thing and cause.
    for step in graph::reconcile(&graph, &found, &[], GraphSettings::default(), scribe.now) {
        if let GraphStep::Open { item, .. } = step
            && attempts::open_item(tx, scribe, company, &item).await?
        {
            let details = Json::Object(item.details.clone());
            let action = "issue.harness_liveness_escalation_created";
            scribe.tell_issue(tx, company, action, &issue.id, details).await?;
        }
    }
    Ok(())
}

/// Whose turn it is in a review.
fn reviewer(issue: &Issue) -> Option<Reviewer> {
    let state = issue.execution_state.as_ref()?;
    Some(match State::read(state).and_then(|state| state.turn()) {
        Some((_, Principal::Agent(agent))) => Reviewer::Agent(agent),
        Some((_, Principal::User(user))) => Reviewer::User(user),
        None => Reviewer::Nobody,
    })
}

async fn apply(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    write: Write,
    mut scribe: Scribe,
) -> Result<(), StoreError> {
    let now = scribe.now;
    match write.step {
        GraphStep::Resolve { .. } => {
            if let Some(item) = write.item {
                inbox::resolve(tx, &item, "gone", now).await?;
            }
            Ok(())
        }
        GraphStep::Open { item, wake } => {
            let (wake, leaf) = (wake.map(|wake| *wake), write.leaf);
            if let (Some(_), Some(leaf)) = (&wake, &leaf) {
                issues::lock(tx, leaf).await?;
            }
            if !attempts::open_item(tx, &mut scribe, company, &item).await? {
                return Ok(());
            }
            if let Some(wake) = wake {
                attempts::order(tx, company, &wake, leaf.as_ref(), now).await?;
            }
            let source = IssueId(item.entity_id.clone());
            let details = Json::Object(item.details.clone());
            scribe
                .tell_issue(tx, company, "issue.harness_liveness_escalation_created", &source, details)
                .await
        }
    }
}
