//! Rules that are broken from outside, to see that a simulation notices: nothing of it is in the product.

use store::{p, sql};

use super::Simulation;

/// A broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakage {
    /// Somebody lifts every cap behind the back of the server.
    NoCap,
    /// No sweep ever looks by itself: a ring that is lost is lost for good.
    NoPeriod,
    /// A server that was replaced still writes: it ends a run that goes on.
    NoFence,
    /// The orders of a commit are not written.
    NoOrder,
    /// A gate is passed that nobody decided.
    NoAnswer,
    /// What became of a slot is not on record.
    NoSlot,
    /// Something happens to an automation run that is not in its history.
    NoEntry,
}

impl Simulation {
    pub(super) fn break_a_rule(&mut self) {
        match self.script.breaks {
            None | Some(Breakage::NoPeriod) => {}
            Some(Breakage::NoCap) => {
                self.life().tamper(|tx| {
                    Box::pin(async move {
                        let lift = sql!("UPDATE budget_counters SET cap = NULL");
                        tx.exec(lift, p![]).await?;
                        let lift = sql!("UPDATE budget_policies SET amount = 100000000");
                        tx.exec(lift, p![]).await
                    })
                });
            }
            Some(Breakage::NoFence) => {
                if self.has_broken || self.crashes == 0 {
                    return;
                }
                let Some(id) = self.around.model.alive().first().cloned() else { return };
                self.note(format!("a replaced server ends {}", id.run));
                self.has_broken = true;
                let now = engine::Clock::now(&*self.around.clock).micros();
                self.life().tamper(move |tx| {
                    let run = id.run.clone();
                    Box::pin(async move {
                        let end =
                            sql!("UPDATE runs SET status = 'succeeded', finished_at = $2 WHERE id = $1");
                        tx.exec(end, p![run, now]).await
                    })
                });
            }
            Some(Breakage::NoAnswer) => {
                let pass =
                    sql!("UPDATE automation_nodes SET state = 'completed' WHERE state = 'awaiting_approval'");
                self.life().tamper(move |tx| Box::pin(async move { tx.exec(pass, p![]).await }));
            }
            Some(Breakage::NoSlot) => {
                let forget = sql!(
                    "DELETE FROM schedule_slots WHERE EXISTS (SELECT 1 FROM schedule_slots o \
                     WHERE o.schedule_id = schedule_slots.schedule_id AND o.slot < schedule_slots.slot) \
                     AND EXISTS (SELECT 1 FROM schedule_slots o \
                     WHERE o.schedule_id = schedule_slots.schedule_id AND o.slot > schedule_slots.slot)"
                );
                self.life().tamper(move |tx| Box::pin(async move { tx.exec(forget, p![]).await }));
            }
            Some(Breakage::NoEntry) => {
                let change = sql!("UPDATE automation_runs SET status = 'queued' WHERE status = 'blocked'");
                self.life().tamper(move |tx| Box::pin(async move { tx.exec(change, p![]).await }));
            }
            Some(Breakage::NoOrder) => {
                let lost = self.life().tamper(|tx| {
                    Box::pin(async move { tx.exec(sql!("DELETE FROM wake_orders"), p![]).await })
                });
                if lost > 0 {
                    self.note(format!("{lost} orders are forgotten"));
                }
            }
        }
    }
}
