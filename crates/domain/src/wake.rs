//! What becomes of a wake.
//!
//! [`decide`] is the one door in: timers, people, retries and the API all pass it. Each wake gets one visible fate:
//! queued in a run of its own, merged into a run whose input is not sealed yet, folded into the run under way (timers
//! only), skipped or refused with a reason (spec/heartbeat.md 2.1-2.3, 2.8, 2.9; D2, D3, D5). Wakes on a task have
//! further rules, which are not here yet. Nothing is written here.

use serde_json::{Map, Value};

use crate::agent::{AgentStatus, HeartbeatPolicy};
use crate::ids::{RunId, WakeId};
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
}

words!(
    /// Why a wake started nothing.
    SkipReason {
        HeartbeatDisabled = "heartbeat.disabled",
        WakeOnDemandDisabled = "heartbeat.wakeOnDemand.disabled",
        NoWork = "heartbeat.no_work",
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
    /// Add what is new to a run that has not started.
    Merge { into: RunId },
    /// A timer found its run under way: recorded as folded into it, nothing changes.
    Fold { into: RunId },
    /// A run of its own; it may have to wait, and `claim::gate` says for what.
    Queue,
}

/// Decides; the first rule that matches ends it.
pub fn decide(view: &WakeView, request: &WakeRequest) -> Decision {
    if let Some(same) = &view.same_key {
        let wake = same.wake.clone();
        return if same.body_hash == request.body_hash {
            Decision::Replay { wake }
        } else {
            Decision::KeyReused { wake }
        };
    }
    if let Some(block) = &view.budget_block {
        return Decision::Refuse(Refusal::Budget(block.clone()));
    }
    if !view.agent.is_invokable() {
        return Decision::Refuse(Refusal::NotInvokable(view.agent));
    }
    let by_timer = request.source == Source::Timer;
    if by_timer && !view.policy.enabled {
        return Decision::Skip(SkipReason::HeartbeatDisabled);
    }
    if !by_timer && !request.carries_on && !view.policy.wake_on_demand {
        return Decision::Skip(SkipReason::WakeOnDemandDisabled);
    }
    if by_timer && view.policy.skip_when_idle && !view.has_work {
        return Decision::Skip(SkipReason::NoWork);
    }
    let waiting = |status| view.scope.iter().find(move |run| run.status == status);
    if let Some(run) = waiting(RunStatus::Queued).or_else(|| waiting(RunStatus::ScheduledRetry)) {
        return Decision::Merge { into: run.id.clone() };
    }
    // A timer brings nothing new to a run under way. A run that is being stopped takes nothing in: its work ends here.
    if let Some(run) = view.scope.iter().find(|run| run.status == RunStatus::Running && !run.stopping)
        && by_timer
    {
        return Decision::Fold { into: run.id.clone() };
    }
    Decision::Queue
}

/// The key that joins wakes of one agent into one scope: explicit `taskKey`, else `taskId`, else `issueId`, first of the
/// context, then of the payload (spec/heartbeat.md 1.1). `None` is a scope too.
pub fn task_key(context: &Map<String, Value>, payload: &Map<String, Value>) -> Option<String> {
    [context, payload]
        .iter()
        .flat_map(|map| ["taskKey", "taskId", "issueId"].iter().filter_map(|key| text(map, key)))
        .next()
        .map(str::to_owned)
}

/// Fills the context from the request, in the order of spec/heartbeat.md 2.2; what the caller gave is never overwritten.
pub fn enrich(request: &mut WakeRequest) {
    let WakeRequest { source, trigger_detail, reason, payload, context, .. } = request;
    let key = task_key(context, payload);
    let comments = comment_ids(context, payload);
    let payload_issue = text(payload, "issueId").map(str::to_owned);
    let payload_comment = text(payload, "commentId").map(str::to_owned);

    fill(context, "wakeReason", reason.clone());
    fill(context, "issueId", payload_issue.clone());
    fill(context, "taskId", payload_issue);
    fill(context, "taskKey", key);
    fill(context, "commentId", payload_comment);
    set_comments(context, comments);
    fill(context, "wakeSource", Some(source.as_str().to_owned()));
    fill(context, "wakeTriggerDetail", trigger_detail.map(|d| d.as_str().to_owned()));
}

/// Adds what a merged wake brings to the context of the run it joins: incoming keys win, comment ids are joined
/// (spec/heartbeat.md 2.9).
pub fn merge_context(existing: &Map<String, Value>, incoming: &Map<String, Value>) -> Map<String, Value> {
    let mut comments = comment_ids(existing, &Map::new());
    for id in comment_ids(incoming, &Map::new()) {
        if !comments.contains(&id) {
            comments.push(id);
        }
    }
    let mut merged = existing.clone();
    for (key, value) in incoming {
        merged.insert(key.clone(), value.clone());
    }
    set_comments(&mut merged, comments);
    merged
}

fn comment_ids(context: &Map<String, Value>, payload: &Map<String, Value>) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    let mut push = |id: &str| {
        if !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
        }
    };
    let listed = context.get("wakeCommentIds").and_then(Value::as_array);
    let listed: Vec<&str> =
        listed.into_iter().flatten().filter_map(Value::as_str).filter(|id| !id.trim().is_empty()).collect();
    if listed.is_empty() {
        ["wakeCommentId", "commentId"].iter().filter_map(|key| text(context, key)).for_each(&mut push);
    } else {
        listed.into_iter().for_each(&mut push);
    }
    text(payload, "commentId").into_iter().for_each(&mut push);
    ids
}

fn set_comments(context: &mut Map<String, Value>, ids: Vec<String>) {
    let Some(last) = ids.last().cloned() else { return };
    context.remove("paperclipWake");
    context.insert("commentId".to_owned(), last.clone().into());
    context.insert("wakeCommentId".to_owned(), last.into());
    context.insert("wakeCommentIds".to_owned(), ids.into());
}

fn fill(context: &mut Map<String, Value>, key: &str, value: Option<String>) {
    if let Some(value) = value
        && text(context, key).is_none()
    {
        context.insert(key.to_owned(), value.into());
    }
}

/// A string whose trimmed form is not empty; the untrimmed value is kept.
fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

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
        }
    }

    fn scope(runs: &[(&str, RunStatus)]) -> Vec<ScopeRun> {
        runs.iter()
            .map(|(id, status)| ScopeRun { id: (*id).into(), status: *status, stopping: false })
            .collect()
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
        let into = |id: &str| Decision::Merge { into: id.into() };
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
                WakeView { scope: scope(&[("r", Queued)]), ..quiet() },
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
                    scope: vec![ScopeRun { id: "r".into(), status: Running, stopping: true }],
                    ..quiet()
                },
                Source::Timer,
                Decision::Queue,
            ),
        ];
        for (name, view, source, expected) in rows {
            assert_eq!(decide(&view, &request(source)), expected, "{name}");
        }
    }

    #[test]
    fn work_that_was_accepted_goes_on_at_an_agent_deaf_to_new_wakes() {
        let view = WakeView { policy: HeartbeatPolicy { wake_on_demand: false, ..policy() }, ..quiet() };
        let retry = WakeRequest { carries_on: true, ..request(Source::Automation) };
        assert_eq!(decide(&view, &retry), Decision::Queue);
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
    fn the_task_key_is_looked_up_in_the_context_first() {
        let key = |context: Value, payload: Value| task_key(&object(context), &object(payload));
        assert_eq!(key(json!({}), json!({})), None);
        assert_eq!(key(json!({"issueId": "i"}), json!({"taskKey": "k"})), Some("i".into()));
        assert_eq!(key(json!({"taskKey": " "}), json!({"taskId": "t", "issueId": "i"})), Some("t".into()));
        assert_eq!(key(json!({"taskId": "t", "taskKey": "k", "issueId": "i"}), json!({})), Some("k".into()));
        assert_eq!(key(json!({"taskKey": 7}), json!({})), None);
    }

    #[test]
    fn enrichment_fills_what_is_absent_and_overwrites_nothing() {
        let mut wake = WakeRequest {
            reason: Some("issue_commented".into()),
            payload: object(json!({"issueId": "i1", "commentId": "c2"})),
            context: object(json!({"wakeCommentIds": ["c1"], "wakeReason": "kept", "paperclipWake": {}})),
            ..request(Source::Automation)
        };
        enrich(&mut wake);
        assert_eq!(
            Value::Object(wake.context),
            json!({
                "wakeReason": "kept", "issueId": "i1", "taskId": "i1", "taskKey": "i1",
                "commentId": "c2", "wakeCommentId": "c2", "wakeCommentIds": ["c1", "c2"],
                "wakeSource": "automation", "wakeTriggerDetail": "manual",
            })
        );
    }

    #[test]
    fn enrichment_of_an_empty_wake_names_only_where_it_came_from() {
        let mut wake = WakeRequest { trigger_detail: None, ..request(Source::OnDemand) };
        enrich(&mut wake);
        assert_eq!(Value::Object(wake.context), json!({"wakeSource": "on_demand"}));
    }

    #[test]
    fn a_merge_takes_the_newer_value_and_joins_comments() {
        let merged = merge_context(
            &object(json!({"a": 1, "b": 1, "wakeCommentIds": ["c1", "c2"], "paperclipWake": 1})),
            &object(json!({"b": 2, "commentId": "c2"})),
        );
        assert_eq!(
            Value::Object(merged),
            json!({"a": 1, "b": 2, "wakeCommentIds": ["c1", "c2"], "commentId": "c2", "wakeCommentId": "c2"})
        );
        let plain = merge_context(&object(json!({"paperclipWake": 1})), &object(json!({"x": null})));
        assert_eq!(Value::Object(plain), json!({"paperclipWake": 1, "x": null}));
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
