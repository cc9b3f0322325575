//! Fires the timers of agents when they are due.
//!
//! The due time is an indexed column: idle agents are not looked at. The firing and the wake it makes are one commit,
//! guarded by the due time that was seen, so that of two servers one fires and a crash in between fires nothing twice.

use std::sync::Arc;
use std::time::Duration;

use domain::agent::HeartbeatPolicy;
use domain::schedule;
use domain::wake::{Actor, Source, TriggerDetail, WakeRequest};
use serde_json::{Map, json};
use store::agents::{self, DueTimer};
use store::{StoreError, Tx};

use crate::Inner;
use crate::intake::{self, Admission};
use crate::wakes::Admitted;

const BATCH: i64 = 100;
/// The longest sleep: a clock may jump, another node may set a timer.
const LONGEST: Duration = Duration::from_secs(30);

pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !super::rest(&engine, "the timers", &engine.timers, pass).await {
            return;
        }
    }
}

/// Fires what is due; returns how long there is nothing to do.
async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    let now = engine.clock.now();
    let due = engine
        .read((), move |tx, ()| Box::pin(async move { agents::due_timers(tx, now, BATCH).await }))
        .await?;
    let full = due.len() as i64 == BATCH;
    let mut failed = false;
    for timer in due {
        if engine.closing.is_cancelled() {
            return Ok(LONGEST);
        }
        // One agent's trouble is not another's: it is said, and the next pass tries again.
        if let Err(error) = fire(engine, &timer).await {
            tracing::warn!(agent = %timer.agent_id, %error, "cannot fire the timer");
            failed = true;
        }
    }
    if failed {
        // It is due still, and would be at once again.
        return Ok(engine.settings.period);
    }
    if full {
        return Ok(Duration::ZERO);
    }
    let next = engine.read((), |tx, ()| Box::pin(agents::next_timer(tx))).await?;
    let now = engine.clock.now();
    // Never less than a moment: two clocks of a database and a server may differ.
    Ok(next.map_or(LONGEST, |at| at.since(now)).clamp(Duration::from_millis(20), LONGEST))
}

async fn fire(engine: &Arc<Inner>, timer: &DueTimer) -> Result<(), StoreError> {
    let fired = engine.at_door(timer.clone(), |tx, timer, admission| Box::pin(wake(tx, timer, admission)));
    fired.await.map(drop)
}

async fn wake(
    tx: &mut Tx<'_>,
    timer: DueTimer,
    admission: Admission,
) -> Result<Option<Admitted>, StoreError> {
    let Some(agent) = intake::lock_agent(tx, &timer.agent_id).await? else { return Ok(None) };
    let policy = HeartbeatPolicy::read(&agent.runtime_config, &agent.adapter_type);
    let next = (policy.has_timer() && agent.status.is_invokable())
        .then(|| schedule::after_firing(timer.due_at, policy.every, admission.now));
    if !agents::advance_timer(tx, &timer.agent_id, timer.due_at, next).await? || next.is_none() {
        return Ok(None);
    }
    let context = Map::from_iter([
        ("source".to_owned(), json!("scheduler")),
        ("reason".to_owned(), json!("interval_elapsed")),
        ("now".to_owned(), json!(admission.now)),
    ]);
    let request = WakeRequest {
        source: Source::Timer,
        trigger_detail: Some(TriggerDetail::System),
        reason: Some("heartbeat_timer".to_owned()),
        payload: Map::new(),
        context,
        idempotency_key: None,
        body_hash: String::new(),
        actor: Actor::system("heartbeat_scheduler"),
        carries_on: false,
    };
    let fate = intake::admit(tx, &agent, &request, &admission).await?;
    Ok(Some(Admitted { agent, fate }))
}
