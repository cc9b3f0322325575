//! Chains of blockers and reviews that nobody works on (spec/heartbeat.md 5.8).
//!
//! [`findings`] classifies the open issues of one company; [`owners`] says who could help, by reporting line and id and
//! never by a role or a name; [`reconcile`] turns findings into inbox items on the source and at most one wake of an
//! owner each (D7). Blockers of other companies cannot occur: the store refuses such an edge. Cycles are cut, not
//! reported; the routes refuse to close one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde_json::json;

use crate::agent::AgentStatus;
use crate::ids::{AgentId, CompanyId, IssueId};
use crate::issue::IssueStatus;
use crate::moment::Moment;
use crate::recovery::{self, Cause, InboxItem, InboxKind, WakeOrder, object};
use crate::words;

words!(
    /// What is wrong with the end of the chain.
    GraphState {
        BlockedByUnassignedIssue = "blocked_by_unassigned_issue",
        BlockedByUninvokableAssignee = "blocked_by_uninvokable_assignee",
        BlockedByCancelledIssue = "blocked_by_cancelled_issue",
        InvalidReviewParticipant = "invalid_review_participant",
        InReviewWithoutActionPath = "in_review_without_action_path",
        /// It is blocked in words only: no issue blocks it, so nothing will ever unblock it by itself.
        BlockedWithoutBlockers = "blocked_without_blockers",
    }
);

words!(
    /// How bad it is; every finding is critical today.
    Severity { Warning = "warning", Critical = "critical" }
);

words!(
    /// Why an agent could help.
    OwnerReason {
        StalledBlockerAssignee = "stalled_blocker_assignee",
        AssigneeReportingChain = "assignee_reporting_chain",
        CreatorReportingChain = "creator_reporting_chain",
        RootAgent = "root_agent",
        OrderedInvokableFallback = "ordered_invokable_fallback",
    }
);

/// Who is to act on an issue in review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reviewer {
    Agent(AgentId),
    User(String),
    /// The execution state names nobody, or somebody without an id.
    Nobody,
}

/// One issue of the company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphIssue {
    pub id: IssueId,
    pub identifier: Option<String>,
    pub status: IssueStatus,
    pub hidden: bool,
    pub assignee: Option<AgentId>,
    pub assigned_to_user: bool,
    pub creator: Option<AgentId>,
    /// The current participant, where the issue has an execution state.
    pub review: Option<Reviewer>,
    /// A live run is its execution path, by its scope or by the lock.
    pub has_live_run: bool,
    /// A queued, deferred or ordered wake is there.
    pub has_wake: bool,
    pub awaits_interaction: bool,
    pub awaits_approval: bool,
    /// A pause hold covers it.
    pub held: bool,
    /// An open item of the inbox tells already that it was given up.
    pub shown: bool,
    /// What its agent said last; asked of an issue that is blocked in words only.
    pub said: Option<String>,
    pub updated_at: Moment,
}

impl GraphIssue {
    /// Somebody or something is known to carry it on.
    pub const fn waits_healthily(&self) -> bool {
        self.assigned_to_user
            || self.has_live_run
            || self.has_wake
            || self.awaits_interaction
            || self.awaits_approval
            || self.shown
    }

    fn label(&self) -> &str {
        self.identifier.as_deref().unwrap_or(self.id.as_str())
    }
}

/// One agent of the company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphAgent {
    pub id: AgentId,
    pub status: AgentStatus,
    pub reports_to: Option<AgentId>,
    /// A budget stops it.
    pub budget_blocked: bool,
}

/// Everything the classification may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    pub company: CompanyId,
    pub issues: Vec<GraphIssue>,
    /// (blocker, blocked).
    pub blocks: Vec<(IssueId, IssueId)>,
    pub agents: Vec<GraphAgent>,
}

/// One stuck chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub state: GraphState,
    pub severity: Severity,
    /// The issue that waits.
    pub source: IssueId,
    /// The issue at which the chain is stuck; the source itself for a review.
    pub leaf: IssueId,
    /// The agent that should act in a review and cannot.
    pub participant: Option<AgentId>,
    /// From the source to the leaf.
    pub path: Vec<IssueId>,
    /// Names the finding: the same for the same state of affairs.
    pub incident_key: String,
    /// Names what is wrong, whoever waits for it.
    pub leaf_key: String,
    /// Who could help, best first.
    pub owners: Vec<Owner>,
    /// One sentence for people.
    pub reason: String,
}

/// An agent that could help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub agent: AgentId,
    pub reason: OwnerReason,
}

/// Classifies; at most one finding per issue, in the order of their labels.
pub fn findings(graph: &Graph) -> Vec<Finding> {
    let look = Look::new(graph);
    let mut examined: Vec<&GraphIssue> = graph
        .issues
        .iter()
        .filter(|issue| !issue.hidden && !look.is_unresolved_blocker(issue))
        .filter(|issue| matches!(issue.status, IssueStatus::Blocked | IssueStatus::InReview))
        .collect();
    examined.sort_by_key(|issue| (issue.label(), &issue.id));
    examined
        .into_iter()
        .filter_map(|source| {
            if look.is_blocked_in_words(source) {
                let state = GraphState::BlockedWithoutBlockers;
                let stuck = Stuck { leaf: source, state, participant: None };
                (!source.waits_healthily()).then(|| look.finding(source, &[source], stuck))
            } else if source.status == IssueStatus::Blocked {
                let mut path = vec![source];
                let mut seen = HashSet::from([&source.id]);
                look.explore(source, &mut path, &mut seen).map(|stuck| look.finding(source, &path, stuck))
            } else {
                look.review(source).map(|stuck| look.finding(source, &[source], stuck))
            }
        })
        .collect()
}

/// Who could help with an issue, best first, each once: its assignee while it is open, the assignee's managers, its
/// creator and the creator's managers, agents without a manager by id, any agent by id. All of them can be woken.
pub fn owners(issue: &GraphIssue, agents: &[GraphAgent]) -> Vec<Owner> {
    let by_id: BTreeMap<&AgentId, &GraphAgent> = agents.iter().map(|a| (&a.id, a)).collect();
    let chain = |from: &AgentId| {
        let mut seen = BTreeSet::from([from.clone()]);
        let mut line = Vec::new();
        let mut at = by_id.get(from).and_then(|a| a.reports_to.as_ref());
        while let Some(id) = at {
            // A ring of managers ends where it closes.
            if !seen.insert(id.clone()) {
                break;
            }
            line.push(id.clone());
            at = by_id.get(id).and_then(|a| a.reports_to.as_ref());
        }
        line
    };
    let mut candidates: Vec<(AgentId, OwnerReason)> = Vec::new();
    if let Some(assignee) = &issue.assignee {
        if !issue.status.is_terminal() {
            candidates.push((assignee.clone(), OwnerReason::StalledBlockerAssignee));
        }
        candidates.extend(chain(assignee).into_iter().map(|id| (id, OwnerReason::AssigneeReportingChain)));
    }
    if let Some(creator) = &issue.creator {
        candidates.push((creator.clone(), OwnerReason::CreatorReportingChain));
        candidates.extend(chain(creator).into_iter().map(|id| (id, OwnerReason::CreatorReportingChain)));
    }
    let roots = by_id.values().filter(|a| a.reports_to.is_none());
    candidates.extend(roots.map(|a| (a.id.clone(), OwnerReason::RootAgent)));
    candidates.extend(by_id.keys().map(|id| ((*id).clone(), OwnerReason::OrderedInvokableFallback)));
    let mut seen = HashSet::new();
    candidates
        .into_iter()
        .filter(|(id, _)| by_id.get(id).is_some_and(|a| a.status.is_invokable()) && seen.insert(id.clone()))
        .map(|(agent, reason)| Owner { agent, reason })
        .collect()
}

/// What is known of a finding from earlier passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub incident_key: String,
    pub leaf_key: String,
    /// Attempts counted under [`Cause::GraphLiveness`] for the leaf.
    pub wakes: u32,
    /// Its inbox item is open.
    pub open: bool,
}

/// What an instance wants of the classification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphSettings {
    /// Owners are woken; without it findings are told to people only.
    pub wakes_owners: bool,
    /// Owners are woken only for chains that changed within this span: 1 to 720 hours, 24 by default.
    pub look_back: Duration,
}

impl Default for GraphSettings {
    fn default() -> GraphSettings {
        GraphSettings { wakes_owners: false, look_back: Duration::from_secs(24 * 3600) }
    }
}

/// One step of a pass.
#[derive(Debug, Clone, PartialEq)]
pub enum GraphStep {
    /// Opens an inbox item on the source.
    Open { item: Box<InboxItem>, wake: Option<Box<WakeOrder>> },
    /// The finding is no more: its inbox item is resolved.
    Resolve { incident_key: String },
}

/// Compares the findings with what is known. Several sources stuck at one leaf share one item.
pub fn reconcile(
    graph: &Graph,
    found: &[Finding],
    known: &[Known],
    settings: GraphSettings,
    now: Moment,
) -> Vec<GraphStep> {
    let current: HashSet<&str> =
        found.iter().flat_map(|f| [f.incident_key.as_str(), f.leaf_key.as_str()]).collect();
    let mut steps: Vec<GraphStep> = known
        .iter()
        .filter(|k| k.open)
        .filter(|k| !current.contains(k.incident_key.as_str()) && !current.contains(k.leaf_key.as_str()))
        .map(|k| GraphStep::Resolve { incident_key: k.incident_key.clone() })
        .collect();
    let by_id: HashMap<&IssueId, &GraphIssue> = graph.issues.iter().map(|i| (&i.id, i)).collect();
    let mut told: HashSet<&str> = known.iter().filter(|k| k.open).map(|k| k.leaf_key.as_str()).collect();
    for finding in found {
        let (Some(source), Some(leaf)) = (by_id.get(&finding.source), by_id.get(&finding.leaf)) else {
            continue;
        };
        if source.held || !told.insert(&finding.leaf_key) {
            continue;
        }
        // Whoever blocked it in words has said what he had to say.
        let is_stalled = |owner: &&Owner| {
            finding.state == GraphState::BlockedWithoutBlockers
                && owner.reason == OwnerReason::StalledBlockerAssignee
        };
        let owner =
            finding.owners.iter().filter(|owner| !is_stalled(owner)).find(|owner| {
                graph.agents.iter().any(|agent| agent.id == owner.agent && !agent.budget_blocked)
            });
        let newest = finding.path.iter().filter_map(|id| by_id.get(id)).map(|i| i.updated_at).max();
        let recent = newest.is_some_and(|at| at >= now.minus(settings.look_back));
        let woken = known.iter().filter(|k| k.leaf_key == finding.leaf_key).map(|k| k.wakes).max();
        let wakes = settings.wakes_owners && recent && recovery::may_try(woken.unwrap_or(0));
        steps.push(GraphStep::Open {
            item: Box::new(item(finding, source, leaf, owner)),
            wake: owner.filter(|_| wakes).map(|owner| Box::new(wake(finding, leaf, owner))),
        });
    }
    steps
}

fn item(finding: &Finding, source: &GraphIssue, leaf: &GraphIssue, owner: Option<&Owner>) -> InboxItem {
    InboxItem {
        kind: InboxKind::StuckChain,
        entity_type: "issue",
        entity_id: finding.source.to_string(),
        cause: finding.incident_key.clone(),
        title: if finding.state == GraphState::BlockedWithoutBlockers && source.id == leaf.id {
            finding.reason.clone()
        } else {
            format!("{} is stuck: {}", source.label(), finding.reason)
        },
        details: object(json!({
            "state": finding.state,
            "severity": finding.severity,
            "incidentKey": finding.incident_key,
            "leafKey": finding.leaf_key,
            "sourceIssueId": finding.source,
            "leafIssueId": finding.leaf,
            "leafIdentifier": leaf.identifier,
            "path": finding.path,
            "participantAgentId": finding.participant,
            "said": leaf.said,
            "ownerReason": owner.map(|o| o.reason),
        })),
        owner: owner.map(|o| o.agent.clone()),
    }
}

fn wake(finding: &Finding, leaf: &GraphIssue, owner: &Owner) -> WakeOrder {
    // Only the assignee may run in the scope of the issue; others look at it from a scope of their own.
    let own = leaf.assignee.as_ref() == Some(&owner.agent);
    let mut payload = object(json!({
        "sourceIssueId": finding.source, "recoveryIssueId": finding.leaf, "incidentKey": finding.incident_key,
    }));
    let mut context = payload.clone();
    context.insert("source".into(), json!("harness_liveness_escalation"));
    context.insert("wakeReason".into(), json!("harness_liveness_escalation"));
    if own {
        payload.insert("issueId".into(), json!(leaf.id));
        context.insert("issueId".into(), json!(leaf.id));
        context.insert("taskId".into(), json!(leaf.id));
    } else {
        context.insert("taskKey".into(), json!(finding.leaf_key));
    }
    WakeOrder {
        agent: owner.agent.clone(),
        issue: own.then(|| leaf.id.clone()),
        reason: "harness_liveness_escalation",
        retry_of: None,
        payload,
        context,
        idempotency_key: None,
        continuation_attempt: 0,
        counts_as: Some(Cause::GraphLiveness),
    }
}

/// The issue at the end of a chain and what is wrong with it.
struct Stuck<'a> {
    leaf: &'a GraphIssue,
    state: GraphState,
    participant: Option<AgentId>,
}

struct Look<'a> {
    graph: &'a Graph,
    /// Blockers that count, by the issue they block, in the order of their labels.
    blockers: HashMap<&'a IssueId, Vec<&'a GraphIssue>>,
    /// Issues with any blocker that is not done, visible or not.
    waiting: HashSet<&'a IssueId>,
    unresolved: HashSet<&'a IssueId>,
    agents: HashMap<&'a AgentId, &'a GraphAgent>,
}

impl<'a> Look<'a> {
    fn new(graph: &'a Graph) -> Look<'a> {
        let issues: HashMap<&IssueId, &GraphIssue> =
            graph.issues.iter().filter(|i| !i.hidden).map(|i| (&i.id, i)).collect();
        let mut blockers: HashMap<&IssueId, Vec<&GraphIssue>> = HashMap::new();
        let mut unresolved = HashSet::new();
        let done: HashSet<&IssueId> = graph
            .issues
            .iter()
            .filter(|issue| issue.status == IssueStatus::Done)
            .map(|issue| &issue.id)
            .collect();
        let waiting = graph.blocks.iter().filter(|(blocker, _)| !done.contains(blocker));
        let waiting = waiting.map(|(_, blocked)| blocked).collect();
        for (blocker, blocked) in &graph.blocks {
            let (Some(blocker), Some(blocked)) = (issues.get(blocker), issues.get(blocked)) else { continue };
            if blocker.status == IssueStatus::Done {
                continue;
            }
            blockers.entry(&blocked.id).or_default().push(blocker);
            if blocked.status == IssueStatus::Blocked && blocker.status != IssueStatus::Cancelled {
                unresolved.insert(&blocker.id);
            }
        }
        for list in blockers.values_mut() {
            list.sort_by_key(|issue| (issue.label(), &issue.id));
        }
        Look {
            graph,
            blockers,
            waiting,
            unresolved,
            agents: graph.agents.iter().map(|a| (&a.id, a)).collect(),
        }
    }

    fn is_unresolved_blocker(&self, issue: &GraphIssue) -> bool {
        self.unresolved.contains(&issue.id)
    }

    fn is_blocked_in_words(&self, issue: &GraphIssue) -> bool {
        issue.status == IssueStatus::Blocked && !self.waiting.contains(&issue.id)
    }

    fn explore(
        &self,
        issue: &'a GraphIssue,
        path: &mut Vec<&'a GraphIssue>,
        seen: &mut HashSet<&'a IssueId>,
    ) -> Option<Stuck<'a>> {
        for &blocker in self.blockers.get(&issue.id).map_or(&[][..], Vec::as_slice) {
            if !seen.insert(&blocker.id) {
                continue;
            }
            path.push(blocker);
            let deeper =
                if blocker.status == IssueStatus::Blocked { self.explore(blocker, path, seen) } else { None };
            if let Some(stuck) = deeper.or_else(|| self.judge(blocker)) {
                return Some(stuck);
            }
            path.pop();
        }
        None
    }

    /// The rows of the table for a blocker; the first that matches ends it.
    fn judge(&self, blocker: &'a GraphIssue) -> Option<Stuck<'a>> {
        let stuck = |state| Some(Stuck { leaf: blocker, state, participant: None });
        if blocker.status == IssueStatus::Cancelled {
            return stuck(GraphState::BlockedByCancelledIssue);
        }
        if blocker.waits_healthily() {
            return None;
        }
        if blocker.status == IssueStatus::InReview {
            return self.review(blocker);
        }
        match &blocker.assignee {
            None => stuck(GraphState::BlockedByUnassignedIssue),
            Some(agent) if !self.can_work(agent) => stuck(GraphState::BlockedByUninvokableAssignee),
            Some(_) if self.is_blocked_in_words(blocker) => stuck(GraphState::BlockedWithoutBlockers),
            Some(_) => None,
        }
    }

    /// The rows for an issue in review.
    fn review(&self, issue: &'a GraphIssue) -> Option<Stuck<'a>> {
        let stuck = |state, participant| Some(Stuck { leaf: issue, state, participant });
        if issue.waits_healthily() {
            return None;
        }
        match &issue.review {
            Some(Reviewer::Agent(agent)) if self.can_work(agent) => None,
            Some(Reviewer::Agent(agent)) => stuck(GraphState::InvalidReviewParticipant, Some(agent.clone())),
            Some(Reviewer::User(id)) if !id.is_empty() => None,
            Some(Reviewer::User(_) | Reviewer::Nobody) => stuck(GraphState::InvalidReviewParticipant, None),
            None => stuck(GraphState::InReviewWithoutActionPath, None),
        }
    }

    fn can_work(&self, agent: &AgentId) -> bool {
        self.agents.get(agent).is_some_and(|a| a.status.is_invokable())
    }

    fn finding(&self, source: &GraphIssue, path: &[&GraphIssue], stuck: Stuck<'_>) -> Finding {
        let (leaf, state, company) = (stuck.leaf, stuck.state, &self.graph.company);
        Finding {
            state,
            severity: Severity::Critical,
            source: source.id.clone(),
            leaf: leaf.id.clone(),
            path: path.iter().map(|issue| issue.id.clone()).collect(),
            incident_key: format!("harness_liveness:{company}:{}:{state}:{}", source.id, leaf.id),
            leaf_key: format!("harness_liveness_leaf:{company}:{state}:{}", leaf.id),
            owners: owners(leaf, &self.graph.agents),
            reason: match state {
                GraphState::BlockedByUnassignedIssue => {
                    format!("its blocker {} has no assignee", leaf.label())
                }
                GraphState::BlockedByUninvokableAssignee => {
                    format!("the agent of its blocker {} cannot be woken", leaf.label())
                }
                GraphState::BlockedByCancelledIssue => format!("its blocker {} was cancelled", leaf.label()),
                GraphState::InvalidReviewParticipant => {
                    format!("whoever is to review {} cannot", leaf.label())
                }
                GraphState::InReviewWithoutActionPath => {
                    format!("{} is in review and nobody was asked to review it", leaf.label())
                }
                GraphState::BlockedWithoutBlockers => match leaf.said.as_deref().and_then(first_line) {
                    Some(said) => format!("{} is blocked: {said}", leaf.label()),
                    None => format!("{} is blocked, no reason given", leaf.label()),
                },
            },
            participant: stuck.participant,
        }
    }
}

/// The first line that says something, cut to what fits into a title.
fn first_line(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(crate::liveness::text::cut(line, 160))
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
