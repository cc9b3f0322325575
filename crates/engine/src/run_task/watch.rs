//! Watching the process of a run: its log is read along, orders are given, progress is saved, and its end is found.

use std::sync::Arc;
use std::time::Duration;

use domain::ending::{EndedBy, ProcessEnd};
use serde_json::json;
use store::{leases, runs};
use tokio::time::Instant;

use super::{Over, Tending, lock};
use crate::feed::LogPiece;
use crate::processes::{ExitFacts, Frame, FrameStream, LogSource, ProcessError, Seen, beside};
use crate::{accounts, automations, budgets, signals};

/// Runs shorter than this save no progress: their end says it all.
const FIRST_SAVE: Duration = Duration::from_millis(250);
/// Output alone is saved this often.
const SAVE_OUTPUT: Duration = Duration::from_secs(5);
/// The keeper may take this long to show itself after it was executed.
const KEEPER_SHOWS: Duration = Duration::from_secs(10);
/// A program that has said all may stay this long: what a keeper goes by.
const LINGERS: Duration = Duration::from_secs(5);
/// Beyond grace and linger, a keeper may take this long to end its run (D28).
const KEEPER_ENDS: Duration = Duration::from_secs(2);
/// Without any ring the folder is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A living keeper is asked this often whether it holds a record that it could not write.
const ASK_FOR_EXIT: Duration = Duration::from_secs(10);
/// Frames taken in before others get a turn.
const TURN: usize = 256;
/// Live events carry at most this much of a piece of output (spec/heartbeat.md 15).
const LIVE_CHUNK: usize = 8192;

impl Tending<'_> {
    /// Reads along until the process is over.
    pub(super) async fn watch(&mut self) -> Over {
        let id = self.process();
        if let Err(error) = self.engine.processes.watch(&id, Arc::clone(&self.handle.bell)) {
            // The period finds everything that the bell would have told, only later.
            tracing::debug!(run = %id.run, %error, "cannot watch the run folder");
        }
        if self.launched_at.is_none() {
            let greeted = self.order(|processes, id, holder| processes.greet(id, holder)).await;
            if let Err(ProcessError::Refused) = greeted {
                return Over::Stale;
            }
        }
        self.saved_at = Instant::now();
        let mut log = None;
        loop {
            let more = self.read_on(&mut log);
            if let Some(over) = self.orders().await {
                return over;
            }
            if more {
                tokio::task::yield_now().await;
            } else if let Some(over) = self.look(&mut log).await {
                return over;
            }
            if !self.save_when_due().await || !self.mind_permissions().await || !self.mind().await {
                return Over::Stale;
            }
            if more {
                continue;
            }
            let wait = self.next_look().min(self.attention.next(self.engine.clock.now()));
            tokio::select! {
                biased;
                () = self.engine.leaving.cancelled() => return Over::Leaving,
                () = self.handle.bell.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Takes in what the log has; true when there may be more right now.
    fn read_on(&mut self, log: &mut Option<Box<dyn LogSource>>) -> bool {
        if log.is_none() {
            *log = self.engine.processes.log(&self.process(), 0).ok();
        }
        let Some(source) = log else { return false };
        let mut taken = 0;
        while taken < TURN {
            match source.next() {
                Ok(Some(frame)) => {
                    self.account.take(&frame);
                    self.tell(&frame);
                    taken += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(run = %self.run.id, %error, "cannot read the log");
                    *log = None;
                    break;
                }
            }
        }
        if taken > 0 {
            if let Some(text) = self.account.stderr_tail.text() {
                *lock(&self.handle.stderr) = text;
            }
            self.handle.log.notify_waiters();
        }
        taken == TURN
    }

    /// Tells live subscribers of a piece of output, once over all incarnations.
    fn tell(&self, frame: &Frame) {
        let stream = match frame.stream {
            FrameStream::Stdout => "stdout",
            FrameStream::Stderr => "stderr",
            FrameStream::Stdin | FrameStream::Keeper => return,
        };
        if frame.offset < self.told_up_to || self.engine.feed.is_idle() {
            return;
        }
        let mut from = frame.bytes.len().saturating_sub(LIVE_CHUNK);
        while from > 0 && from < frame.bytes.len() && frame.bytes[from] & 0xc0 == 0x80 {
            from += 1;
        }
        let payload = json!({
            "runId": self.run.id, "agentId": self.run.agent_id, "ts": frame.at, "stream": stream,
            "chunk": String::from_utf8_lossy(&frame.bytes[from..]), "truncated": from > 0,
            "offset": frame.offset, "nextOffset": frame.next_offset,
        });
        self.engine.feed.tell(LogPiece { company_id: self.run.company_id.clone(), payload, at: frame.at });
    }

    /// Gives the orders that are due: stop, linger, or the end of patience with a keeper.
    async fn orders(&mut self) -> Option<Over> {
        if let Some(words) = self.handle.stop_words()
            && self.stop_ordered.is_none()
        {
            match self.order(move |processes, id, holder| processes.stop(id, holder, &words)).await {
                Ok(()) => self.stop_ordered = Some(Instant::now()),
                Err(ProcessError::Refused) => return Some(Over::Stale),
                // No socket yet, or not any more: the look at the folder says which.
                Err(ProcessError::NotThere) => {}
                Err(error) => {
                    tracing::warn!(run = %self.run.id, %error, "the keeper did not take the stop order");
                    self.stop_ordered = Some(Instant::now());
                }
            }
        }
        if self.account.told.is_done()
            && !self.linger_ordered
            && self.adapter.is_some_and(|a| a.has_terminal_event())
            && self.linger_tried.is_none_or(|at| at.elapsed() >= LOOK_AGAIN)
        {
            let now = Instant::now();
            self.linger_since.get_or_insert(now);
            self.linger_tried = Some(now);
            match self.order(|processes, id, holder| processes.linger(id, holder)).await {
                Err(ProcessError::Refused) => return Some(Over::Stale),
                // Without a socket there is no keeper any more: the look at the folder says so.
                Ok(()) | Err(ProcessError::NotThere) => self.linger_ordered = true,
                // A program that stays would stay for ever.
                Err(error) => {
                    tracing::warn!(run = %self.run.id, %error, "the keeper did not take the linger order; trying again");
                }
            }
        }
        self.note_done();
        let patience = self.grace + KEEPER_ENDS;
        if self.stop_ordered.is_some_and(|at| at.elapsed() > patience)
            || self.linger_since.is_some_and(|at| at.elapsed() > LINGERS + patience)
        {
            tracing::warn!(run = %self.run.id, "the keeper did not end its run; killing it");
            match self.order(|processes, id, holder| processes.kill_keeper(id, holder)).await {
                Err(ProcessError::Refused) => return Some(Over::Stale),
                Ok(()) | Err(_) => {
                    // Once more after as long again, should that not have ended it.
                    let now = Instant::now();
                    self.stop_ordered = self.stop_ordered.map(|_| now);
                    self.linger_since = self.linger_since.map(|_| now);
                }
            }
        }
        None
    }

    /// A program that has said all and stays: what it said is on record at once, not only when it has gone. One that goes
    /// in the same moment, as most do, costs no write for it.
    fn note_done(&mut self) {
        if self.is_done_noted || self.linger_since.is_none_or(|at| at.elapsed() < FIRST_SAVE) {
            return;
        }
        self.is_done_noted = true;
        let Some(terminal) = self.account.told.terminals.first() else { return };
        // What lies before the offset that an earlier incarnation saved was noted by it.
        if self.account.done_at.is_none_or(|offset| offset <= self.told_up_to) {
            return;
        }
        let result = if terminal.error.is_none() { "success" } else { "error" };
        let payload = json!({ "result": result, "lingersForSec": LINGERS.as_secs() });
        self.events.push(signals::lifecycle("info", "the agent is done; its process stays", Some(payload)));
    }

    /// Looks at the folder; `Some` when the process is over.
    async fn look(&mut self, log: &mut Option<Box<dyn LogSource>>) -> Option<Over> {
        let id = self.process();
        let seen = match self.engine.processes.probe(&id) {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(run = %id.run, %error, "cannot look at the run folder");
                return None;
            }
        };
        match seen {
            Seen::Alive => self.unwritten_exit().await.map(|exit| self.end(log, exit)),
            Seen::Ended(exit) => Some(self.end(log, exit)),
            Seen::NotStarted | Seen::Revoked => self.nobody_started(&seen).await,
            Seen::Gone => {
                if let Err(error) = self.order(|processes, id, _| processes.sweep(id)).await {
                    tracing::warn!(run = %id.run, %error, "cannot end what a lost keeper left; trying again");
                    return None;
                }
                while self.read_on(log) {}
                self.account.finish();
                Some(Over::Ended(ProcessEnd::Lost, None))
            }
            Seen::Damaged(what) => {
                tracing::warn!(run = %id.run, what, "the run folder is damaged");
                if let Err(error) = self.order(|processes, id, _| processes.sweep(id)).await {
                    tracing::warn!(run = %id.run, %error, "cannot end what is left of the run; trying again");
                    return None;
                }
                while self.read_on(log) {}
                self.account.finish();
                Some(Over::Ended(ProcessEnd::Lost, None))
            }
        }
    }

    /// Everything was written before the record: one more reading is the whole log.
    fn end(&mut self, log: &mut Option<Box<dyn LogSource>>, exit: Box<ExitFacts>) -> Over {
        while self.read_on(log) {}
        self.account.finish();
        Over::Ended(ended(&exit), Some(exit))
    }

    /// A keeper whose disk is full keeps its record and stays; asked seldom, because it hardly ever happens.
    async fn unwritten_exit(&mut self) -> Option<Box<ExitFacts>> {
        if self.asked_at.elapsed() < ASK_FOR_EXIT {
            return None;
        }
        self.asked_at = Instant::now();
        let (engine, id) = (Arc::clone(self.engine), self.process());
        let asked = beside(&self.engine.processes, move || engine.processes.unwritten_exit(&id)).await;
        asked.ok()?.ok()?.map(Box::new)
    }

    /// No keeper has shown itself. Ours may be on its way; one of an earlier incarnation is not waited for.
    async fn nobody_started(&mut self, seen: &Seen) -> Option<Over> {
        let is_young = self.launched_at.is_some_and(|at| at.elapsed() < KEEPER_SHOWS);
        if is_young && *seen == Seen::NotStarted && !self.is_known_to_have_run() {
            return None;
        }
        match self.order(|processes, id, _| processes.revoke(id).map(|_| ())).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(run = %self.run.id, %error, "cannot take back the start");
                return None;
            }
        }
        match self.engine.processes.probe(&self.process()) {
            Ok(Seen::Revoked) => {}
            // It came after all, in this very moment; the next look sees how far it is.
            Ok(_) | Err(_) => return None,
        }
        let is_of_this_boot = self.run.boot_id.as_deref() == Some(self.engine.claimer.boot_id.as_str());
        if self.launched_at.is_none() && !is_of_this_boot {
            // The folder of another boot may have lost what was not flushed: it may have run (D10).
            return Some(Over::Ended(ProcessEnd::Lost, None));
        }
        if self.is_known_to_have_run() {
            // Somebody removed its folder. Nothing of it may work on beside what is started instead.
            if let Err(error) = self.order(|processes, id, _| processes.sweep(id)).await {
                tracing::warn!(run = %self.run.id, %error, "cannot end what is left of the run; trying again");
                return None;
            }
            self.account.finish();
            return Some(Over::Ended(ProcessEnd::Lost, None));
        }
        if self.launched_at.is_some() {
            let error = "its keeper did not come up; see keeper.err in the run folder".to_owned();
            return Some(Over::Ended(ProcessEnd::NeverStarted { error }, None));
        }
        Some(Over::NeverStarted)
    }

    /// The record or the log tells of a process of this epoch, whatever the folder says.
    fn is_known_to_have_run(&self) -> bool {
        self.run.process_pid.is_some() || self.run.log_offset > 0 || self.account.offset > 0
    }

    /// Saves progress when it is due; false when the lease is not ours any more.
    async fn save_when_due(&mut self) -> bool {
        let due = if self.account.news || !self.events.is_empty() {
            FIRST_SAVE
        } else if self.account.output {
            SAVE_OUTPUT
        } else {
            return true;
        };
        if self.saved_at.elapsed() < due {
            return true;
        }
        self.saved_at = Instant::now();
        let now = self.engine.clock.now();
        let events = std::mem::take(&mut self.events);
        let context = (self.lease.clone(), self.run.clone(), self.account.progress(), events.clone());
        let to_charge = self.account.to_charge();
        // The first answer of the provider lets those go on who wait for it.
        let answers = self.is_answered() && !self.is_answer_noted;
        let saved = self.engine.write(context, move |tx, (lease, run, progress, events)| {
            Box::pin(async move {
                // The automation run comes before the agent's, as everywhere.
                if to_charge.is_some() {
                    automations::used(tx, &run, now).await?;
                }
                if !leases::progress(tx, &lease, &progress, now).await? {
                    return Ok(None);
                }
                let of_account = if answers { accounts::answered(tx, &run.id, now).await? } else { None };
                let charged = match to_charge {
                    Some(used) => budgets::charge(tx, &run, used, now).await?,
                    None => budgets::Charged::default(),
                };
                if let Some(told) = of_account {
                    accounts::tell(tx, told, None, now).await?;
                }
                let count = i64::try_from(events.len()).unwrap_or(0);
                if count > 0 {
                    let first = runs::draw_seq(tx, &run.id, count).await? - count + 1;
                    for (seq, event) in (first..).zip(events) {
                        signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), seq, event, now)
                            .await?;
                    }
                }
                Ok(Some(charged))
            })
        });
        match saved.await {
            Ok(Some(charged)) => {
                (self.account.news, self.account.output) = (false, false);
                self.account.charged = to_charge.or(self.account.charged);
                self.engine.after_charge(charged);
                self.engine.feed.ring();
                if to_charge.is_some() && automations::is_limited(&self.run) {
                    self.engine.automations_bell();
                }
                if answers {
                    self.is_answer_noted = true;
                    self.engine.accounts.notify_one();
                }
                true
            }
            Ok(None) => false,
            Err(error) => {
                // Nothing is lost: the next save writes the same, and more.
                tracing::warn!(run = %self.run.id, %error, "cannot save progress");
                self.events = events;
                // Not before the longest wait is over: a store that refuses it would be asked four times a second.
                self.saved_at = Instant::now() + (SAVE_OUTPUT - FIRST_SAVE);
                true
            }
        }
    }

    /// The provider has answered: something was used.
    fn is_answered(&self) -> bool {
        self.account.told.usage.as_ref().is_some_and(|usage| !usage.is_nothing())
    }

    fn next_look(&self) -> Duration {
        let since = self.saved_at.elapsed();
        if self.launched_at.is_some()
            && self.account.process == Default::default()
            && self.account.offset == 0
        {
            // Nothing is known of it yet: the watch may have been set up a moment too late.
            return Duration::from_millis(50);
        }
        if self.handle.stop_words().is_some() && self.stop_ordered.is_none() {
            return Duration::from_millis(20);
        }
        if let Some(since) = self.linger_since.filter(|_| !self.is_done_noted) {
            return FIRST_SAVE.saturating_sub(since.elapsed()).max(Duration::from_millis(1));
        }
        if self.account.news || !self.events.is_empty() {
            return FIRST_SAVE.saturating_sub(since).max(Duration::from_millis(1));
        }
        if self.account.output {
            SAVE_OUTPUT.saturating_sub(since).clamp(Duration::from_millis(1), LOOK_AGAIN)
        } else {
            LOOK_AGAIN
        }
    }
}

fn ended(exit: &ExitFacts) -> ProcessEnd {
    if !exit.executed {
        let error = exit.exec_error.clone().unwrap_or_else(|| "the program was not executed".to_owned());
        return ProcessEnd::NeverStarted { error };
    }
    ProcessEnd::Ended {
        code: exit.code,
        signal: exit.signal,
        by: exit.by.unwrap_or(EndedBy::Itself),
        out_of_memory: exit.out_of_memory,
    }
}
