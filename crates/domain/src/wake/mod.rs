//! What becomes of a wake.
//!
//! [`decide`] is the one door in: timers, people, retries and the API all pass it. Each wake gets one visible fate:
//! queued in a run of its own, merged into a run whose input is not sealed yet, folded into the run under way (timers
//! only), deferred behind another agent's run on the same issue, skipped or refused with a reason (spec/heartbeat.md
//! 2.1-2.9; D2, D3, D5). What an issue adds to the rules is in [`issue`]. Nothing is written here, and whether a queued
//! run may start is asked elsewhere: `claim::gate`.

pub mod context;
pub mod interaction;
pub mod issue;
pub mod resume;

pub use context::{PARKED, enrich, merge_context, park, project_of, task_key, unpark};
pub use issue::{IssueFacts, IssueView, LockHolder, StaleRetry, WaitingRetry};

use serde_json::{Map, Value};

use crate::agent::{AgentStatus, HeartbeatPolicy};
use crate::ids::{IssueId, RunId, WakeId};
use crate::run::{Outcome, RunStatus};
use crate::words;

words!(
    /// What asked for the run.
    Source { Timer = "timer", Assignment = "assignment", OnDemand = "on_demand", Automation = "automation" }
);

words!(
    /// How it was asked.
    TriggerDetail { Manual = "manual", Ping = "ping", Callback = "callback", System = "system" }
);

words!(
    /// Who asked.
    ActorKind { User = "user", Agent = "agent", System = "system" }
);

words!(
    /// What became of a wake (spec/heartbeat.md 0.2).
    WakeStatus {
        Queued = "queued",
        Deferred = "deferred_issue_execution",
        Claimed = "claimed",
        Coalesced = "coalesced",
        Skipped = "skipped",
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
        TimedOut = "timed_out",
    }
);

impl WakeStatus {
    /// Nothing happens to the wake any more.
    pub const fn is_final(self) -> bool {
        !matches!(self, WakeStatus::Queued | WakeStatus::Deferred | WakeStatus::Claimed)
    }

    /// The status of a wake whose run ended that way.
    pub const fn of(outcome: Outcome) -> WakeStatus {
        match outcome {
            Outcome::Succeeded => WakeStatus::Completed,
            Outcome::Failed => WakeStatus::Failed,
            Outcome::Cancelled => WakeStatus::Cancelled,
            Outcome::TimedOut => WakeStatus::TimedOut,
        }
    }
}

/// Who asked, for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub kind: ActorKind,
    /// A user id, an agent id, or the name of a part of the program.
    pub id: Option<String>,
}

impl Actor {
    /// A part of the program itself.
    pub fn system(part: &str) -> Actor {
        Actor { kind: ActorKind::System, id: Some(part.to_owned()) }
    }

    /// The person in front of a trusted local instance.
    pub fn local_board() -> Actor {
        Actor { kind: ActorKind::User, id: Some("local-board".to_owned()) }
    }
}

/// A request to wake an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct WakeRequest {
    pub source: Source,
    pub trigger_detail: Option<TriggerDetail>,
    pub reason: Option<String>,
    pub payload: Map<String, Value>,
    /// What the run is to know; enriched by [`enrich`].
    pub context: Map<String, Value>,
    pub idempotency_key: Option<String>,
    /// A hash of everything the caller asked for; two requests with one key must have one hash.
    pub body_hash: String,
    pub actor: Actor,
    /// It carries work on that was accepted before (a retry): the agent's taste for new wakes is not asked.
    pub carries_on: bool,
}

/// A non-final run of the agent in the scope of the wake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeRun {
    pub id: RunId,
    pub status: RunStatus,
    /// Somebody asked to stop it.
    pub stopping: bool,
    /// The issue it works on.
    pub issue: Option<IssueId>,
}

/// True when the scope is that of another issue: two that were given one `taskKey` never share a run. Such a wake gets
/// the issue itself for a key.
pub fn is_scope_of_another(scope: &[ScopeRun], issue: &IssueId) -> bool {
    scope.iter().any(|run| run.issue.as_ref().is_some_and(|other| other != issue))
}

/// An earlier wake with the same idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SameKey {
    pub wake: WakeId,
    pub body_hash: String,
}

/// A budget that stops all starts of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetBlock {
    pub reason: String,
    pub scope_type: String,
    pub scope_id: String,
}

/// Everything the decision may look at.
#[derive(Debug, Clone, PartialEq)]
pub struct WakeView {
    pub agent: AgentStatus,
    pub policy: HeartbeatPolicy,
    pub same_key: Option<SameKey>,
    pub budget_block: Option<BudgetBlock>,
    /// Non-final runs with the task key of the wake, newest first.
    pub scope: Vec<ScopeRun>,
    /// The agent has an open task or an unread wake.
    pub has_work: bool,
    /// The issue that the context names; `None` when it names none.
    pub issue: Option<IssueView>,
}

words!(
    /// Why a wake started nothing.
    SkipReason {
        HeartbeatDisabled = "heartbeat.disabled",
        WakeOnDemandDisabled = "heartbeat.wakeOnDemand.disabled",
        NoWork = "heartbeat.no_work",
        /// The issue does not exist.
        IssueNotFound = "issue_execution_issue_not_found",
        /// A pause hold covers the issue.
        TreeHold = "issue_tree_hold_active",
        /// Blockers are open, and nothing of the agent waits on the issue.
        DependenciesBlocked = "issue_dependencies_blocked",
    }
);

/// The ask is against a rule; the caller gets an error and the record says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A budget stops all starts (`budget.blocked`).
    Budget(BudgetBlock),
    /// The agent is paused, terminated or waits for approval (`agent.not_invokable`).
    NotInvokable(AgentStatus),
}

impl Refusal {
    /// The reason and status of the wake row (D4).
    pub const fn record(&self) -> (&'static str, WakeStatus) {
        match self {
            Refusal::Budget(_) => ("budget.blocked", WakeStatus::Skipped),
            Refusal::NotInvokable(_) => ("agent.not_invokable", WakeStatus::Failed),
        }
    }
}

/// True for the reasons of wakes that were turned away by what is over some day: a pause, a budget, a hold. The work that
/// they asked for is still to be done then.
pub fn is_turned_away(reason: &str) -> bool {
    ["budget.blocked", "agent.not_invokable", SkipReason::TreeHold.as_str()].contains(&reason)
}

/// What becomes of a wake.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The same ask was answered before: give the same answer, write nothing.
    Replay { wake: WakeId },
    /// The key was used for another ask: 409, nothing is written.
    KeyReused { wake: WakeId },
    /// Record and answer with an error.
    Refuse(Refusal),
    /// Record and start nothing.
    Skip(SkipReason),
    /// Add what is new to a run that has not started. The wake is recorded under that reason, else under its own.
    Merge { into: RunId, reason: Option<&'static str> },
    /// A timer found its run under way: recorded as folded into it, nothing changes.
    Fold { into: RunId },
    /// Another agent works on the issue: the wake waits without a run until that work ends. It joins the wake of the
    /// same agent that waits already, whose actor and reason stay.
    Defer { merge_into: Option<WakeId> },
    /// A run of its own; it may have to wait, and `claim::gate` says for what.
    Queue,
}

/// The reason under which a wake is recorded that joined a run on its issue.
pub const MERGED_ON_ISSUE: &str = "issue_execution_same_name";
/// The reason under which a wake is recorded that waits behind another agent's run.
pub const DEFERRED: &str = "issue_execution_deferred";

/// The decision and what it does beside the wake.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub decision: Decision,
    /// Retries that nobody needs any more: they end with that code, whatever the decision is.
    pub cancel_retries: Vec<(RunId, StaleRetry)>,
    /// Keys that the context gets before it is stored.
    pub context: Map<String, Value>,
    /// Keys that the payload gets before it is stored.
    pub payload: Map<String, Value>,
}

impl From<Decision> for Verdict {
    fn from(decision: Decision) -> Verdict {
        Verdict { decision, cancel_retries: Vec::new(), context: Map::new(), payload: Map::new() }
    }
}

/// Decides; the first rule that matches ends it. The request is enriched already ([`enrich`]).
pub fn decide(view: &WakeView, request: &WakeRequest) -> Verdict {
    if let Some(decision) = at_the_door(view, request) {
        return decision.into();
    }
    match &view.issue {
        Some(issue) => issue::decide(issue, &view.scope, request),
        None => on_scope(&view.scope, request, None).unwrap_or(Decision::Queue).into(),
    }
}

/// The rules that ask nothing of an issue.
fn at_the_door(view: &WakeView, request: &WakeRequest) -> Option<Decision> {
    if let Some(same) = &view.same_key {
        let wake = same.wake.clone();
        return Some(if same.body_hash == request.body_hash {
            Decision::Replay { wake }
        } else {
            Decision::KeyReused { wake }
        });
    }
    if let Some(block) = &view.budget_block {
        return Some(Decision::Refuse(Refusal::Budget(block.clone())));
    }
    if !view.agent.is_invokable() {
        return Some(Decision::Refuse(Refusal::NotInvokable(view.agent)));
    }
    let by_timer = request.source == Source::Timer;
    if by_timer && !view.policy.enabled {
        return Some(Decision::Skip(SkipReason::HeartbeatDisabled));
    }
    if !by_timer && !request.carries_on && !view.policy.wake_on_demand {
        return Some(Decision::Skip(SkipReason::WakeOnDemandDisabled));
    }
    if by_timer && view.policy.skip_when_idle && !view.has_work {
        return Some(Decision::Skip(SkipReason::NoWork));
    }
    None
}

/// What the agent's own runs of the scope make of the wake; `None` when none takes it in (D2).
fn on_scope(scope: &[ScopeRun], request: &WakeRequest, reason: Option<&'static str>) -> Option<Decision> {
    let waiting = |status| scope.iter().find(move |run| run.status == status);
    if let Some(run) = waiting(RunStatus::Queued).or_else(|| waiting(RunStatus::ScheduledRetry)) {
        return Some(Decision::Merge { into: run.id.clone(), reason });
    }
    let running = scope.iter().find(|run| run.status == RunStatus::Running)?;
    // A timer brings nothing new to a run under way. A run that is being stopped takes nothing in: its work ends here.
    let folds = request.source == Source::Timer && !running.stopping;
    Some(if folds { Decision::Fold { into: running.id.clone() } } else { Decision::Queue })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request(source: Source) -> WakeRequest {
        WakeRequest {
            source,
            trigger_detail: Some(TriggerDetail::Manual),
            reason: None,
            payload: Map::new(),
            context: Map::new(),
            idempotency_key: None,
            body_hash: "h1".into(),
            actor: Actor::local_board(),
            carries_on: false,
        }
    }

    fn policy() -> HeartbeatPolicy {
        HeartbeatPolicy {
            enabled: true,
            every: Duration::from_secs(60),
            wake_on_demand: true,
            max_concurrent_runs: 5,
            skip_when_idle: false,
        }
    }

    fn quiet() -> WakeView {
        WakeView {
            agent: AgentStatus::Idle,
            policy: policy(),
            same_key: None,
            budget_block: None,
            scope: vec![],
            has_work: false,
            issue: None,
        }
    }

    fn scope(runs: &[(&str, RunStatus)]) -> Vec<ScopeRun> {
        runs.iter()
            .map(|(id, status)| ScopeRun { id: (*id).into(), status: *status, stopping: false, issue: None })
            .collect()
    }

    #[test]
    fn two_issues_never_share_a_scope() {
        let of = |issue: Option<&str>| ScopeRun {
            issue: issue.map(IssueId::from),
            ..scope(&[("r", RunStatus::Queued)])[0].clone()
        };
        let here = IssueId::from("i");
        for (runs, expected) in [
            (vec![], false),
            (vec![of(None)], false),
            (vec![of(Some("i"))], false),
            (vec![of(Some("i")), of(Some("j"))], true),
        ] {
            assert_eq!(is_scope_of_another(&runs, &here), expected, "{runs:?}");
        }
    }

    fn block() -> BudgetBlock {
        BudgetBlock { reason: "spent".into(), scope_type: "agent".into(), scope_id: "a".into() }
    }

    /// The decision table, row by row: what is special about the view, who asks, what comes out.
    #[test]
    fn the_first_matching_row_decides() {
        use RunStatus::{Queued, Running, ScheduledRetry};
        let same = |hash: &str| Some(SameKey { wake: "w".into(), body_hash: hash.into() });
        let off = HeartbeatPolicy { enabled: false, ..policy() };
        let deaf = HeartbeatPolicy { wake_on_demand: false, ..policy() };
        let thrifty = HeartbeatPolicy { skip_when_idle: true, ..policy() };
        let into = |id: &str| Decision::Merge { into: id.into(), reason: None };
        let rows: Vec<(&str, WakeView, Source, Decision)> = vec![
            ("nothing special", quiet(), Source::OnDemand, Decision::Queue),
            (
                "same key, same body",
                WakeView { same_key: same("h1"), ..quiet() },
                Source::OnDemand,
                Decision::Replay { wake: "w".into() },
            ),
            (
                "same key, other body",
                WakeView { same_key: same("h2"), ..quiet() },
                Source::OnDemand,
                Decision::KeyReused { wake: "w".into() },
            ),
            (
                "a replay wins over a pause",
                WakeView { same_key: same("h1"), agent: AgentStatus::Paused, ..quiet() },
                Source::OnDemand,
                Decision::Replay { wake: "w".into() },
            ),
            (
                "budget",
                WakeView { budget_block: Some(block()), ..quiet() },
                Source::Timer,
                Decision::Refuse(Refusal::Budget(block())),
            ),
            (
                "budget wins over pause",
                WakeView { budget_block: Some(block()), agent: AgentStatus::Paused, ..quiet() },
                Source::OnDemand,
                Decision::Refuse(Refusal::Budget(block())),
            ),
            (
                "paused",
                WakeView { agent: AgentStatus::Paused, ..quiet() },
                Source::OnDemand,
                Decision::Refuse(Refusal::NotInvokable(AgentStatus::Paused)),
            ),
            (
                "terminated",
                WakeView { agent: AgentStatus::Terminated, ..quiet() },
                Source::Timer,
                Decision::Refuse(Refusal::NotInvokable(AgentStatus::Terminated)),
            ),
            (
                "pending approval",
                WakeView { agent: AgentStatus::PendingApproval, ..quiet() },
                Source::Assignment,
                Decision::Refuse(Refusal::NotInvokable(AgentStatus::PendingApproval)),
            ),
            (
                "error agents are woken",
                WakeView { agent: AgentStatus::Error, ..quiet() },
                Source::OnDemand,
                Decision::Queue,
            ),
            (
                "timer, switched off",
                WakeView { policy: off.clone(), ..quiet() },
                Source::Timer,
                Decision::Skip(SkipReason::HeartbeatDisabled),
            ),
            (
                "on demand does not need the timer",
                WakeView { policy: off, ..quiet() },
                Source::OnDemand,
                Decision::Queue,
            ),
            (
                "deaf to people",
                WakeView { policy: deaf.clone(), ..quiet() },
                Source::OnDemand,
                Decision::Skip(SkipReason::WakeOnDemandDisabled),
            ),
            (
                "deaf to automations",
                WakeView { policy: deaf.clone(), ..quiet() },
                Source::Automation,
                Decision::Skip(SkipReason::WakeOnDemandDisabled),
            ),
            (
                "deaf, but not to the timer",
                WakeView { policy: deaf, ..quiet() },
                Source::Timer,
                Decision::Queue,
            ),
            (
                "timer without work",
                WakeView { policy: thrifty.clone(), ..quiet() },
                Source::Timer,
                Decision::Skip(SkipReason::NoWork),
            ),
            (
                "timer with work",
                WakeView { policy: thrifty.clone(), has_work: true, ..quiet() },
                Source::Timer,
                Decision::Queue,
            ),
            (
                "people need no work",
                WakeView { policy: thrifty, ..quiet() },
                Source::OnDemand,
                Decision::Queue,
            ),
            (
                "joins the queued run",
                WakeView { scope: scope(&[("r", RunStatus::Queued)]), ..quiet() },
                Source::OnDemand,
                into("r"),
            ),
            (
                "joins the retry",
                WakeView { scope: scope(&[("r", ScheduledRetry)]), ..quiet() },
                Source::OnDemand,
                into("r"),
            ),
            (
                "queued wins over retry",
                WakeView { scope: scope(&[("s", ScheduledRetry), ("q", Queued)]), ..quiet() },
                Source::OnDemand,
                into("q"),
            ),
            (
                "joins the follow-up of the run under way",
                WakeView { scope: scope(&[("f", Queued), ("r", Running)]), ..quiet() },
                Source::OnDemand,
                into("f"),
            ),
            (
                "a timer joins the follow-up too",
                WakeView { scope: scope(&[("f", Queued), ("r", Running)]), ..quiet() },
                Source::Timer,
                into("f"),
            ),
            (
                "follows the run under way",
                WakeView { scope: scope(&[("r", Running)]), ..quiet() },
                Source::OnDemand,
                Decision::Queue,
            ),
            (
                "a timer folds into the run under way",
                WakeView { scope: scope(&[("r", Running)]), ..quiet() },
                Source::Timer,
                Decision::Fold { into: "r".into() },
            ),
            (
                "a timer does not fold into a run that is being stopped",
                WakeView {
                    scope: vec![ScopeRun { id: "r".into(), status: Running, stopping: true, issue: None }],
                    ..quiet()
                },
                Source::Timer,
                Decision::Queue,
            ),
        ];
        for (name, view, source, expected) in rows {
            assert_eq!(decide(&view, &request(source)), expected.into(), "{name}");
        }
    }

    #[test]
    fn work_that_was_accepted_goes_on_at_an_agent_deaf_to_new_wakes() {
        let view = WakeView { policy: HeartbeatPolicy { wake_on_demand: false, ..policy() }, ..quiet() };
        let retry = WakeRequest { carries_on: true, ..request(Source::Automation) };
        assert_eq!(decide(&view, &retry), Decision::Queue.into());
    }

    #[test]
    fn refusals_are_recorded_as_the_wire_says() {
        assert_eq!(Refusal::Budget(block()).record(), ("budget.blocked", WakeStatus::Skipped));
        assert_eq!(
            Refusal::NotInvokable(AgentStatus::Paused).record(),
            ("agent.not_invokable", WakeStatus::Failed)
        );
    }

    #[test]
    fn a_wake_ends_as_its_run_does() {
        let ends: Vec<_> = Outcome::ALL.iter().map(|o| WakeStatus::of(*o).as_str()).collect();
        assert_eq!(ends, ["completed", "failed", "cancelled", "timed_out"]);
        assert!(Outcome::ALL.iter().all(|o| WakeStatus::of(*o).is_final() && o.status().is_final()));
        let open: Vec<_> = WakeStatus::ALL.iter().filter(|s| !s.is_final()).map(|s| s.as_str()).collect();
        assert_eq!(open, ["queued", "deferred_issue_execution", "claimed"]);
    }
}
