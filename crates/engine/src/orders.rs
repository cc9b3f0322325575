//! The outbox of wakes: placed with the change that makes them necessary, delivered afterwards by the one door.
//!
//! A change writes the wakes that follow as orders in its own transaction ([`order`]), so none is lost, whatever dies.
//! The deliverer takes one after the other, each in a transaction of its own in which the order ends and its wake begins:
//! agent and issue are locked in order, and an order that fails harms no other. It is rung after each change and comes by
//! itself. A deferred wake whose turn has come goes the same way ([`promote`]); whose turn it is says `promotions`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::ids::{AgentId, CompanyId, IssueId, RunId, WakeId};
use domain::issue::notices::Notice;
use domain::moment::Moment;
use domain::recovery;
use domain::wake::{Actor, Source, TriggerDetail, WakeRequest, WakeStatus, merge_context};
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value as Json, json};
use store::orders::{self, NewOrder, Order};
use store::wakes::{self, Wake};
use store::{StoreError, Tx, issues};

use crate::activity::Scribe;
use crate::intake::{self, Admission, Fate, body_hash};
use crate::unwritten::{in_words, is_refusal};
use crate::wakes::Admitted;
use crate::{Engine, EngineError, Inner, promotions, sweeps};

/// Orders taken up at once.
const BATCH: i64 = 256;
/// Agents served side by side: enough for a group commit, few enough for PostgreSQL (D15).
const WIDTH: usize = 16;
/// As often as an order is tried that the store refuses; then its wake is recorded as failed.
const MOST_ATTEMPTS: i64 = 5;
/// More orders than this do not wait for one issue.
const MOST_OF_ISSUE: i64 = 500;

/// Orders a wake for each notice; returns the numbers of those that are new. The issues they are about are locked.
pub(crate) async fn order(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    notices: &[Notice],
    by: &Actor,
    now: Moment,
) -> Result<Vec<i64>, StoreError> {
    let mut placed = Vec::with_capacity(notices.len());
    for notice in notices {
        let order = NewOrder {
            company_id: company.clone(),
            agent_id: notice.agent.clone(),
            issue_id: notice.issue.clone(),
            wake_id: None,
            source: notice.source,
            trigger_detail: Some(notice.detail),
            reason: notice.reason.to_owned(),
            payload: Json::Object(notice.payload.clone()),
            context: Json::Object(notice.context.clone()),
            actor_kind: by.kind,
            actor_id: by.id.clone().unwrap_or_default(),
            idempotency_key: None,
        };
        if let Some(id) = orders::place(tx, &order, now).await? {
            placed.push(id);
            continue;
        }
        // One more voice in an order that stands for the same.
        let Some(twin) = orders::twin(tx, &order).await? else { continue };
        let mut payload = object(twin.payload);
        payload.extend(notice.payload.clone());
        let context = merge_context(&object(twin.context), &notice.context);
        orders::replace(tx, twin.id, &payload.into(), &context.into()).await?;
    }
    Ok(placed)
}

/// Orders that a deferred wake goes on; returns the number, if none was ordered before. Its issue is locked.
pub(crate) async fn promote(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    wake: &Wake,
    now: Moment,
) -> Result<Option<i64>, StoreError> {
    let order = NewOrder {
        company_id: company.clone(),
        agent_id: wake.agent_id.clone(),
        issue_id: wake.issue_id.clone(),
        wake_id: Some(wake.id.clone()),
        source: Source::Automation,
        trigger_detail: Some(TriggerDetail::System),
        reason: domain::promotion::PROMOTED.to_owned(),
        payload: Json::Object(Map::new()),
        context: Json::Object(Map::new()),
        actor_kind: wake.actor_kind,
        actor_id: wake.actor_id.clone().unwrap_or_default(),
        idempotency_key: None,
    };
    orders::place(tx, &order, now).await
}

/// Delivers until the engine closes.
pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !sweeps::rest(&engine, "the orders of wakes", &engine.orders, pass).await {
            return;
        }
    }
}

/// Delivers what is due; returns how long there is nothing to do.
async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    loop {
        let now = engine.clock.now();
        let due =
            engine.read((), move |tx, ()| Box::pin(async move { orders::due(tx, now, BATCH).await })).await?;
        if due.is_empty() {
            break;
        }
        if engine.closing.is_cancelled() {
            return Ok(engine.settings.period);
        }
        // Those for one agent one after another: the later one says more.
        let mut of_agents: BTreeMap<AgentId, Vec<Order>> = BTreeMap::new();
        for order in due {
            of_agents.entry(order.agent_id.clone()).or_default().push(order);
        }
        let outcomes: Vec<Result<(), StoreError>> = stream::iter(of_agents.into_values())
            .map(|orders| async move {
                for order in &orders {
                    match engine.deliver(order).await {
                        Ok(_) => {}
                        // Not even its failure can be written: it comes again, and keeps no other from its turn.
                        Err(error) if is_refusal(&error) => {
                            tracing::error!(order = order.id, %error, "cannot put the wake off");
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            })
            .buffer_unordered(WIDTH)
            .collect()
            .await;
        outcomes.into_iter().collect::<Result<(), StoreError>>()?;
    }
    let next = engine.read((), |tx, ()| Box::pin(orders::next_due(tx))).await?;
    let wait = next.map_or(engine.settings.period, |at| at.since(engine.clock.now()));
    // Never less than a moment: two clocks of a database and a server may differ.
    Ok(wait.clamp(Duration::from_millis(5), engine.settings.period))
}

impl Engine {
    /// Tells the deliverer that wakes were ordered.
    pub fn orders_bell(&self) {
        self.inner.orders_bell();
    }

    /// Delivers the wakes that are ordered for an issue now, without waiting for the deliverer; returns the runs they came
    /// to. When this returns, none of the orders that stood before is left.
    pub async fn deliver_now(&self, issue: &IssueId) -> Result<Vec<RunId>, EngineError> {
        self.inner.refuse_when_closing()?;
        let now = self.now();
        let listed = self.inner.read(issue.clone(), move |tx, issue| {
            Box::pin(async move { orders::of_issue(tx, &issue, MOST_OF_ISSUE).await })
        });
        let mut runs = Vec::new();
        for order in listed.await?.into_iter().filter(|order| order.deliver_at <= now) {
            // In a task of its own: a caller who goes away must not leave a claimed run that nobody starts.
            let inner = Arc::clone(&self.inner);
            let delivered = self.inner.tasks.spawn(async move { inner.deliver(&order).await });
            match delivered.await {
                Ok(delivered) => runs.extend(delivered?),
                Err(_) => return Err(EngineError::Closing),
            }
        }
        Ok(runs)
    }
}

impl Inner {
    /// Wakes were ordered.
    pub(crate) fn orders_bell(&self) {
        self.orders.notify_one();
    }

    /// Delivers one order, unless somebody else has; returns the run that it came to. An order that fails is put off, and
    /// one that fails for good leaves a failed wake.
    async fn deliver(self: &Arc<Self>, order: &Order) -> Result<Option<RunId>, StoreError> {
        let delivered = self.at_door(order.clone(), |tx, order, admission| {
            Box::pin(async move { deliver(tx, order, admission).await })
        });
        let error = match delivered.await {
            Ok(admitted) => return Ok(admitted.and_then(|admitted| run_of(&admitted.fate))),
            Err(error) => error,
        };
        if !is_refusal(&error) {
            // The store is away: all orders stand.
            return Err(error);
        }
        let words = in_words(&error);
        tracing::error!(order = order.id, reason = %order.reason, agent = %order.agent_id, %words, "cannot deliver a wake");
        let now = self.clock.now();
        let admission = self.admission(0, intake::Chain::default());
        self.write((order.clone(), admission, words), move |tx, (order, admission, words)| {
            Box::pin(async move { fail(tx, order, admission, &words, now).await })
        })
        .await?;
        Ok(None)
    }
}

fn run_of(fate: &Fate) -> Option<RunId> {
    match fate {
        Fate::Queued { run, .. } | Fate::Merged { run } | Fate::Replayed { run: Some(run), .. } => {
            Some(run.id.clone())
        }
        Fate::Skipped { .. }
        | Fate::Refused { .. }
        | Fate::Deferred { .. }
        | Fate::Replayed { run: None, .. }
        | Fate::KeyReused { .. } => None,
    }
}

/// Takes the order and admits its wake, in one transaction.
async fn deliver(
    tx: &mut Tx<'_>,
    order: Order,
    admission: Admission,
) -> Result<Option<Admitted>, StoreError> {
    let agent = intake::lock_agent(tx, &order.agent_id).await?;
    let issue = match &order.issue_id {
        Some(issue) => issues::lock(tx, issue).await?,
        None => None,
    };
    // As it stands now: others may have added to it.
    let Some(order) = orders::take(tx, order.id).await? else { return Ok(None) };
    if order.wake_id.is_some() {
        return promotions::go_on(tx, agent, issue, admission).await;
    }
    let Some(agent) = agent.filter(|agent| agent.company_id == order.company_id) else { return Ok(None) };
    let request = request(order);
    let fate = intake::admit(tx, &agent, &request, &admission).await?;
    Ok(Some(Admitted { agent, fate }))
}

fn request(order: Order) -> WakeRequest {
    let carries_on = recovery::carries_on(order.actor_kind, &order.reason);
    let hash = body_hash(&json!({ "reason": order.reason, "payload": order.payload }));
    WakeRequest {
        source: order.source,
        trigger_detail: order.trigger_detail,
        reason: Some(order.reason),
        payload: object(order.payload),
        context: object(order.context),
        body_hash: order.idempotency_key.as_ref().map(|_| hash).unwrap_or_default(),
        idempotency_key: order.idempotency_key,
        actor: Actor { kind: order.actor_kind, id: Some(order.actor_id).filter(|id| !id.is_empty()) },
        carries_on,
    }
}

/// Puts an order off that the store refuses; in the end its wake is recorded as failed, and says why. A deferred wake
/// stays deferred: its sweep comes again.
async fn fail(
    tx: &mut Tx<'_>,
    order: Order,
    admission: Admission,
    words: &str,
    now: Moment,
) -> Result<(), StoreError> {
    let tried = order.attempts + 1;
    if tried < MOST_ATTEMPTS {
        let pause = Duration::from_millis(250) * 4u32.pow(u32::try_from(tried - 1).unwrap_or(0));
        return orders::put_off(tx, order.id, words, now.plus(pause)).await;
    }
    intake::lock_agent(tx, &order.agent_id).await?;
    if let Some(issue) = &order.issue_id {
        issues::lock(tx, issue).await?;
    }
    let Some(order) = orders::take(tx, order.id).await? else { return Ok(()) };
    if order.wake_id.is_some() {
        return Ok(());
    }
    wakes::insert(tx, &undelivered(order, admission.wake_id, WakeStatus::Failed, words, now)).await
}

/// The record of an order that ends without a run.
fn undelivered(order: Order, id: WakeId, status: WakeStatus, words: &str, now: Moment) -> Wake {
    Wake {
        id,
        company_id: order.company_id,
        agent_id: order.agent_id,
        source: order.source,
        trigger_detail: order.trigger_detail,
        reason: Some(order.reason),
        payload: order.payload,
        status,
        coalesced_count: 0,
        actor_kind: order.actor_kind,
        actor_id: Some(order.actor_id).filter(|id| !id.is_empty()),
        idempotency_key: None,
        body_hash: None,
        run_id: None,
        requested_at: order.created_at,
        claimed_at: None,
        finished_at: Some(now),
        error: Some(words.to_owned()),
        issue_id: order.issue_id,
    }
}

/// Ends what an agent was to be woken for and has come to no run: orders and deferred wakes (D1). The agent is locked, and
/// so nobody delivers or promotes any of it meanwhile.
pub(crate) async fn end_all_of(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    words: &str,
    scribe: &mut Scribe,
) -> Result<(), StoreError> {
    let now = scribe.now;
    loop {
        let open = orders::of_agent(tx, agent, BATCH).await?;
        let is_last = (open.len() as i64) < BATCH;
        for order in open {
            // A promotion stands for a deferred wake, which ends below.
            if let Some(order) = orders::take(tx, order.id).await?.filter(|order| order.wake_id.is_none()) {
                let wake = undelivered(order, WakeId(scribe.id()), WakeStatus::Cancelled, words, now);
                wakes::insert(tx, &wake).await?;
            }
        }
        if is_last {
            break;
        }
    }
    loop {
        let deferred = wakes::deferred_of_agent(tx, agent, BATCH).await?;
        for wake in &deferred {
            wakes::end_without_run(tx, &wake.id, WakeStatus::Cancelled, Some(words), now).await?;
        }
        if (deferred.len() as i64) < BATCH {
            return Ok(());
        }
    }
}

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(map) => map,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => Map::new(),
    }
}
