//! What one server sees of the model: the engine's port to processes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::ending::EndedBy;
use domain::ids::RunId;
use engine::{ExitFacts, Frame, LogSource, ProcessError, ProcessId, Processes, Seen, TreeUsage};
use serde_json::json;
use tokio::sync::Notify;

use crate::model::{Journal, Model, Obedience, Refusal, Start, State};

#[derive(Debug)]
pub(crate) struct Port {
    model: Model,
    bells: Mutex<BTreeMap<ProcessId, Arc<Notify>>>,
    held: AtomicUsize,
}

impl Port {
    pub(crate) fn new(model: Model) -> Port {
        Port { model, bells: Mutex::default(), held: AtomicUsize::new(0) }
    }

    /// Starts of this server that the model holds, each in a thread of its own.
    pub(crate) fn held_starts(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    pub(crate) fn ring(&self, id: &ProcessId) {
        let bell = self.bells.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if let Some(bell) = bell {
            bell.notify_one();
        }
    }
}

/// The fence: the highest holder seen is obeyed, lower ones are not.
fn obeys(state: &mut State, id: &ProcessId, holder: i64) -> Result<(), ProcessError> {
    let process = state.processes.get_mut(id).ok_or(ProcessError::NotThere)?;
    if !process.keeper {
        return Err(ProcessError::NotThere);
    }
    if holder < process.holder {
        return Err(ProcessError::Refused);
    }
    process.holder = holder;
    Ok(())
}

impl Processes for Port {
    fn start(&self, id: &ProcessId, holder: i64, command: &adapters::Command) -> Result<(), ProcessError> {
        let mut state = self.model.lock();
        state.attempts.push(id.clone());
        drop(state);
        self.model.changed(id);
        let mut state = self.model.lock();
        self.held.fetch_add(1, Ordering::SeqCst);
        while state.holding {
            state = self.model.shared.gate.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.held.fetch_sub(1, Ordering::SeqCst);
        let refusal = state.refusal;
        if refusal == Some(Refusal::Before) {
            return Err(ProcessError::Other("no more processes".into()));
        }
        let process = state.processes.entry(id.clone()).or_default();
        process.holder = process.holder.max(holder);
        process.argv.clone_from(&command.argv);
        if refusal == Some(Refusal::Late) {
            process.on_its_way = true;
            return Ok(());
        }
        let may = process.start == Start::No;
        if may {
            self.model.begin(&mut state, id);
        }
        // What was to be played when it began: who sees it alive may ask for something else from then on.
        let play = state.play.clone().filter(|_| may);
        drop(state);
        self.model.changed(id);
        if let Some(play) = play {
            play(&self.model, id, command);
        }
        match refusal {
            Some(Refusal::After | Refusal::Unclear) => Err(ProcessError::Other("the pipe broke".into())),
            Some(Refusal::Before | Refusal::Late) | None => Ok(()),
        }
    }

    fn probe(&self, id: &ProcessId) -> Result<Seen, ProcessError> {
        let state = self.model.lock();
        let Some(process) = state.processes.get(id) else { return Ok(Seen::NotStarted) };
        if let Some(exit) = &process.exit {
            return Ok(Seen::Ended(Box::new(exit.clone())));
        }
        Ok(match (process.start, process.keeper) {
            (_, true) => Seen::Alive,
            (Start::No, false) => Seen::NotStarted,
            (Start::Revoked, false) => Seen::Revoked,
            (Start::Yes, false) => Seen::Gone,
        })
    }

    fn unwritten_exit(&self, _: &ProcessId) -> Result<Option<ExitFacts>, ProcessError> {
        Ok(None)
    }

    fn revoke(&self, id: &ProcessId) -> Result<bool, ProcessError> {
        let mut state = self.model.lock();
        if state.refusal == Some(Refusal::Unclear) {
            return Err(ProcessError::Other("the folder cannot be written".into()));
        }
        let process = state.processes.entry(id.clone()).or_default();
        if process.start == Start::No {
            process.start = Start::Revoked;
        }
        let revoked = process.start == Start::Revoked;
        drop(state);
        self.model.changed(id);
        Ok(revoked)
    }

    fn greet(&self, id: &ProcessId, holder: i64) -> Result<(), ProcessError> {
        obeys(&mut self.model.lock(), id, holder)?;
        self.model.rung();
        Ok(())
    }

    fn stop(&self, id: &ProcessId, holder: i64, words: &str) -> Result<(), ProcessError> {
        let mut state = self.model.lock();
        obeys(&mut state, id, holder)?;
        self.model.note(&mut state, id, &json!({ "note": "term", "reason": words }));
        let by_default = state.obedience;
        let obedience = state.processes.get_mut(id).map(|process| {
            process.stops += 1;
            process.obedience.unwrap_or(by_default)
        });
        if obedience == Some(Obedience::AtOnce) {
            self.model.end_locked(&mut state, id, None, Some(15), EndedBy::StopOrder, false);
        }
        drop(state);
        self.model.changed(id);
        Ok(())
    }

    fn linger(&self, id: &ProcessId, holder: i64) -> Result<(), ProcessError> {
        let mut state = self.model.lock();
        obeys(&mut state, id, holder)?;
        if state.lingers_fail > 0 {
            state.lingers_fail -= 1;
            return Err(ProcessError::NotAnswering);
        }
        if let Some(process) = state.processes.get_mut(id) {
            process.lingers += 1;
        }
        drop(state);
        self.model.changed(id);
        Ok(())
    }

    fn say(&self, id: &ProcessId, holder: i64, bytes: &[u8]) -> Result<(), ProcessError> {
        let mut state = self.model.lock();
        obeys(&mut state, id, holder)?;
        if let Some(process) = state.processes.get_mut(id) {
            process.input.extend_from_slice(bytes);
        }
        drop(state);
        self.model.changed(id);
        Ok(())
    }

    fn kill_keeper(&self, id: &ProcessId, holder: i64) -> Result<(), ProcessError> {
        let mut state = self.model.lock();
        obeys(&mut state, id, holder)?;
        if let Some(process) = state.processes.get_mut(id) {
            process.keeper = false;
            process.keeper_kills += 1;
        }
        state.journal.push(Journal::Ended(id.clone()));
        drop(state);
        self.model.changed(id);
        Ok(())
    }

    fn sweep(&self, id: &ProcessId) -> Result<(), ProcessError> {
        let mut state = self.model.lock();
        let fails = state.sweeps_fail > 0;
        state.sweeps_fail = state.sweeps_fail.saturating_sub(1);
        state.processes.entry(id.clone()).or_default().sweeps += 1;
        drop(state);
        self.model.changed(id);
        if fails { Err(ProcessError::Other("a process cannot be ended".into())) } else { Ok(()) }
    }

    fn log(&self, id: &ProcessId, offset: u64) -> Result<Box<dyn LogSource>, ProcessError> {
        let state = self.model.lock();
        let process =
            state.processes.get(id).filter(|process| process.start == Start::Yes && !process.removed);
        let frames = &process.ok_or(ProcessError::NotThere)?.frames;
        let is_border =
            offset == 0 || frames.iter().any(|frame| frame.offset == offset || frame.next_offset == offset);
        if !is_border {
            return Err(ProcessError::BadOffset(offset));
        }
        let next = frames.iter().position(|frame| frame.offset >= offset).unwrap_or(frames.len());
        Ok(Box::new(Reading { model: self.model.clone(), id: id.clone(), next }))
    }

    fn watch(&self, id: &ProcessId, bell: Arc<Notify>) -> Result<(), ProcessError> {
        bell.notify_one();
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), bell);
        Ok(())
    }

    fn measure(&self, id: &ProcessId) -> Result<Option<TreeUsage>, ProcessError> {
        let mut state = self.model.lock();
        let process = state.processes.get_mut(id).filter(|process| process.keeper);
        let used = process.and_then(|process| {
            process.measured += 1;
            process.used
        });
        drop(state);
        self.model.rung();
        Ok(used)
    }

    fn unwatch(&self, id: &ProcessId) {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn archive(&self, id: &ProcessId) -> Result<(), ProcessError> {
        let mut state = self.model.lock();
        let process = state.processes.get_mut(id).ok_or(ProcessError::NotThere)?;
        if process.keeper {
            return Err(ProcessError::Other("its keeper is still there".into()));
        }
        process.archived = true;
        drop(state);
        self.model.changed(id);
        Ok(())
    }

    fn remove(&self, run: &RunId) -> Result<u64, ProcessError> {
        let mut state = self.model.lock();
        let mut freed = 0;
        for (id, process) in &mut state.processes {
            if id.run == *run && !process.removed {
                process.removed = true;
                freed += process.frames.last().map_or(0, |frame| frame.next_offset);
            }
        }
        Ok(freed)
    }

    fn boot_id(&self) -> String {
        self.model.lock().boot.clone()
    }

    fn never_blocks(&self) -> bool {
        self.model.lock().never_blocks
    }
}

struct Reading {
    model: Model,
    id: ProcessId,
    next: usize,
}

impl LogSource for Reading {
    fn next(&mut self) -> Result<Option<Frame>, ProcessError> {
        let state = self.model.lock();
        let frame = state.processes.get(&self.id).and_then(|process| process.frames.get(self.next).cloned());
        self.next += usize::from(frame.is_some());
        Ok(frame)
    }
}
