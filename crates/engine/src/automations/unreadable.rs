//! A run whose definition cannot be read, as an older or a newer program may have written it: nothing of it can be decided.
//! One broken run is one blocked run, and says so; it holds no place, no folder and nobody's work.

use domain::automation::AutomationRunStatus;
use domain::automation::gate::GateStatus;
use domain::ids::RunId;
use domain::moment::Moment;
use domain::wake::Actor;
use serde_json::json;
use store::automations::runs::{self, AutomationRun};
use store::automations::{gates, nodes};
use store::{StoreError, Tx};

use super::loaded::{MOST_GATES_OF_RUN, count_work, end_attempt};
use super::telling::{self, Note};

/// Ends a run that cannot be read, or has its next look end it where agents may work for it: that one has them stopped.
/// Its row is locked.
pub(super) async fn end(
    tx: &mut Tx<'_>,
    run: AutomationRun,
    why: &str,
    now: Moment,
) -> Result<(), StoreError> {
    if run.status.is_at_work() {
        return runs::look_by(tx, &run.id, now).await;
    }
    block(tx, run, why, now).await.map(drop)
}

/// Ends a run that cannot be read; its row is locked. Answers the agents' runs that worked for it: they are to be stopped.
pub(super) async fn block(
    tx: &mut Tx<'_>,
    mut run: AutomationRun,
    why: &str,
    now: Moment,
) -> Result<Vec<RunId>, StoreError> {
    let mut left = Vec::new();
    if !run.status.is_final() {
        for mut gate in gates::of_run(tx, &run.id, MOST_GATES_OF_RUN).await? {
            if gate.status == GateStatus::Pending {
                gate.status = GateStatus::Withdrawn;
                gate.next_at = None;
                gates::update(tx, &gate).await?;
            }
        }
        for mut attempt in nodes::live(tx, &run.id).await? {
            left.extend(attempt.agent_run_id.clone());
            end_attempt(&mut attempt, json!({ "outcome": "withdrawn", "reason": why }), now);
            nodes::update_attempt(tx, &attempt).await?;
        }
        count_work(&mut run, now);
        run.status = AutomationRunStatus::Blocked;
        run.detail = Some(format!("its definition cannot be read: {why}"));
        run.finished_at = Some(now);
        run.stop_to = None;
        run.not_before = None;
        run.held_reason = None;
        run.held_resource = None;
        run.held_until = None;
        let note = Note::run("run_blocked_corrupt_checkpoint").because(run.detail.clone());
        telling::tell(tx, &mut run, note, now).await?;
        let (by, action) = (Actor::system("automation"), "automation.internal_sweep.blocked_unreadable_run");
        telling::audit(tx, &run, &by, action, json!({ "reason": run.detail }), now).await?;
    }
    run.look_at = None;
    run.updated_at = now;
    runs::update(tx, &run).await?;
    Ok(left)
}
