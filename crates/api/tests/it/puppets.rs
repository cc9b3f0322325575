//! Processes that the tests play: what they print, and when they end, is said by the test.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use domain::ending::EndedBy;
use domain::ids::RunId;
use domain::moment::Moment;
use engine::{ExitFacts, Frame, FrameStream, LogSource, ProcessError, ProcessId, Processes, Seen};
use tokio::sync::Notify;

/// As the files have it: a header before the first frame, and one in each.
const FIRST: u64 = 64;
const HEADER: u64 = 32;

#[derive(Debug, Default)]
pub(crate) struct Puppets {
    all: Mutex<HashMap<ProcessId, Puppet>>,
    /// The environment that the process of each run was given.
    given: Mutex<HashMap<RunId, Vec<(String, String)>>>,
    /// What its keeper was told to hide.
    hidden: Mutex<HashMap<RunId, Vec<String>>>,
    /// Rings when a process was started.
    pub(crate) started: Notify,
}

#[derive(Debug, Default)]
struct Puppet {
    frames: Arc<Mutex<Vec<Frame>>>,
    exit: Option<ExitFacts>,
    bell: Option<Arc<Notify>>,
}

impl Puppet {
    fn ring(&self) {
        if let Some(bell) = &self.bell {
            bell.notify_one();
        }
    }
}

impl Puppets {
    /// Prints; one call is one frame.
    pub(crate) fn say(&self, run: &str, stream: FrameStream, bytes: &[u8]) {
        self.say_as(run, 1, stream, bytes);
    }

    pub(crate) fn say_as(&self, run: &str, epoch: i64, stream: FrameStream, bytes: &[u8]) {
        let all = self.all.lock().unwrap();
        let puppet = &all[&ProcessId { run: run.into(), epoch }];
        push(&mut puppet.frames.lock().unwrap(), stream, bytes);
        puppet.ring();
    }

    /// Ends with an exit code.
    pub(crate) fn end(&self, run: &str, code: i32) {
        let mut all = self.all.lock().unwrap();
        let puppet = all.get_mut(&ProcessId { run: run.into(), epoch: 1 }).expect("it was started");
        puppet.exit = Some(ExitFacts { executed: true, code: Some(code), ..ExitFacts::default() });
        puppet.ring();
    }

    /// Makes up a process of an epoch that the engine did not start.
    pub(crate) fn pretend(&self, run: &str, epoch: i64) {
        self.all.lock().unwrap().entry(ProcessId { run: run.into(), epoch }).or_default();
    }

    pub(crate) fn is_started(&self, run: &str) -> bool {
        self.all.lock().unwrap().contains_key(&ProcessId { run: run.into(), epoch: 1 })
    }

    /// A variable of the environment of a run's process.
    pub(crate) fn variable(&self, run: &str, name: &str) -> String {
        let given = self.given.lock().unwrap();
        let all = &given[&RunId::from(run)];
        all.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).expect("it was given")
    }

    /// What the keeper of a run was told to hide.
    pub(crate) fn secrets(&self, run: &str) -> Vec<String> {
        self.hidden.lock().unwrap()[&RunId::from(run)].clone()
    }

    /// The frames that were printed.
    pub(crate) fn frames(&self, run: &str) -> Vec<Frame> {
        self.all.lock().unwrap()[&ProcessId { run: run.into(), epoch: 1 }].frames.lock().unwrap().clone()
    }
}

fn push(frames: &mut Vec<Frame>, stream: FrameStream, bytes: &[u8]) {
    let offset = frames.last().map_or(FIRST, |frame| frame.next_offset);
    let next_offset = offset + HEADER + bytes.len() as u64;
    let seq = frames.len() as u64;
    // A moment that snapshots can show.
    let at = Moment::from_micros(1_777_777_777_000_000 + seq as i64 * 1000);
    frames.push(Frame { seq, stream, at, bytes: bytes.to_vec(), offset, next_offset });
}

struct Reader {
    frames: Arc<Mutex<Vec<Frame>>>,
    at: usize,
}

impl LogSource for Reader {
    fn next(&mut self) -> Result<Option<Frame>, ProcessError> {
        let frame = self.frames.lock().unwrap().get(self.at).cloned();
        self.at += usize::from(frame.is_some());
        Ok(frame)
    }
}

impl Processes for Puppets {
    fn start(&self, id: &ProcessId, _: i64, command: &adapters::Command) -> Result<(), ProcessError> {
        self.given.lock().unwrap().insert(id.run.clone(), command.env.clone());
        self.hidden.lock().unwrap().insert(id.run.clone(), command.secrets.clone());
        self.all.lock().unwrap().entry(id.clone()).or_default();
        self.started.notify_waiters();
        Ok(())
    }

    fn probe(&self, id: &ProcessId) -> Result<Seen, ProcessError> {
        Ok(match self.all.lock().unwrap().get(id) {
            None => Seen::NotStarted,
            Some(Puppet { exit: Some(exit), .. }) => Seen::Ended(Box::new(exit.clone())),
            Some(_) => Seen::Alive,
        })
    }

    fn unwritten_exit(&self, _: &ProcessId) -> Result<Option<ExitFacts>, ProcessError> {
        Ok(None)
    }

    fn revoke(&self, id: &ProcessId) -> Result<bool, ProcessError> {
        Ok(!self.all.lock().unwrap().contains_key(id))
    }

    fn greet(&self, _: &ProcessId, _: i64) -> Result<(), ProcessError> {
        Ok(())
    }

    fn stop(&self, id: &ProcessId, _: i64, _: &str) -> Result<(), ProcessError> {
        let mut all = self.all.lock().unwrap();
        let puppet = all.get_mut(id).ok_or(ProcessError::NotThere)?;
        puppet.exit.get_or_insert(ExitFacts {
            executed: true,
            signal: Some(15),
            by: Some(EndedBy::StopOrder),
            ..ExitFacts::default()
        });
        puppet.ring();
        Ok(())
    }

    fn linger(&self, id: &ProcessId, holder: i64) -> Result<(), ProcessError> {
        self.stop(id, holder, "")
    }

    fn kill_keeper(&self, id: &ProcessId, holder: i64) -> Result<(), ProcessError> {
        self.stop(id, holder, "")
    }

    fn sweep(&self, _: &ProcessId) -> Result<(), ProcessError> {
        Ok(())
    }

    fn log(&self, id: &ProcessId, offset: u64) -> Result<Box<dyn LogSource>, ProcessError> {
        let all = self.all.lock().unwrap();
        let frames = Arc::clone(&all.get(id).ok_or(ProcessError::NotThere)?.frames);
        let at = {
            let frames = frames.lock().unwrap();
            let end = frames.last().map_or(FIRST, |frame| frame.next_offset);
            match offset {
                0 | FIRST => Some(0),
                offset if offset == end => Some(frames.len()),
                offset => frames.iter().position(|frame| frame.offset == offset),
            }
        };
        Ok(Box::new(Reader { frames, at: at.ok_or(ProcessError::BadOffset(offset))? }))
    }

    fn watch(&self, id: &ProcessId, bell: Arc<Notify>) -> Result<(), ProcessError> {
        let mut all = self.all.lock().unwrap();
        let puppet = all.entry(id.clone()).or_default();
        puppet.bell = Some(bell);
        puppet.ring();
        Ok(())
    }

    fn unwatch(&self, id: &ProcessId) {
        if let Some(puppet) = self.all.lock().unwrap().get_mut(id) {
            puppet.bell = None;
        }
    }

    fn archive(&self, _: &ProcessId) -> Result<(), ProcessError> {
        Ok(())
    }

    fn remove(&self, run: &RunId) -> Result<u64, ProcessError> {
        self.all.lock().unwrap().retain(|id, _| id.run != *run);
        Ok(0)
    }

    fn boot_id(&self) -> String {
        "boot".to_owned()
    }
}
