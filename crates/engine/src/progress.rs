//! What the log of a process says, as a fold: frame by frame, the same whenever it is read again from the start.
//!
//! Re-attaching after a restart reads from the first frame, so nothing is counted twice and nothing skipped; what is
//! saved is always the absolute state at an offset. Nothing here reads files or writes to the store.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use adapters::{LineSplitter, Reader, Source};
use domain::budget::meter::{Consumed, Meter};
use domain::moment::Moment;
use domain::recovery::pulse::Pulse;
use domain::recovery::repetition::{LONGEST_CIRCLE, NoProgress, Repetition, SAME_CALLS};
use domain::telling::{AgentError, AgentEvent, ErrorClass, Permission, Told, Usage};
use serde_json::{Value as Json, json};
use store::leases::Progress;

use crate::budgets;
use crate::processes::{Frame, FrameStream};

/// How much of each stream's end is kept beside the row (spec/heartbeat.md 15, "excerpt cap").
const EXCERPT: usize = 32 << 10;

/// As many commands are remembered as a summary names, and so much of each.
const COMMANDS: usize = domain::summary::NAMED;
const COMMAND: usize = 500;
/// As many permissions of one process wait at a time.
const MOST_PERMISSIONS: usize = 100;

/// The account of one process.
pub(crate) struct Account {
    reader: Box<dyn Reader>,
    stdout: LineSplitter,
    stderr: LineSplitter,
    pub(crate) told: Told,
    /// What earlier processes of the same run used.
    earlier: Option<Usage>,
    /// What the run used so far, and its dearest message.
    pub(crate) meter: Meter,
    /// What of it is known to be charged.
    pub(crate) charged: Option<Consumed>,
    pub(crate) stdout_tail: Tail,
    pub(crate) stderr_tail: Tail,
    /// The offset after the last frame that is accounted for.
    pub(crate) offset: u64,
    pub(crate) process: Process,
    last_output: Option<(Moment, &'static str)>,
    outputs: i64,
    output_bytes: i64,
    /// The last commands that its tools executed, oldest first.
    commands: VecDeque<String>,
    /// Its calls since it last did something else.
    repetition: Repetition,
    /// When the calls were made that the repetition remembers.
    calls_at: VecDeque<Moment>,
    /// A circle of calls that was completed and is not judged yet, with the moment it began and the offset in the log
    /// behind it.
    pub(crate) circle: Option<(NoProgress, Moment, u64)>,
    /// The permissions that it waits for, oldest first.
    pub(crate) permissions: Vec<Permission>,
    /// Those that it waits for no more, with the reason; until somebody has looked at them.
    pub(crate) closed_permissions: Vec<(Permission, String)>,
    /// Something of the two changed.
    pub(crate) has_permission_news: bool,
    /// The last sign of life.
    pub(crate) pulse: Pulse,
    /// The terminal event was there before the first step of a stop.
    pub(crate) done_before_stop: bool,
    /// The offset in the log behind the terminal event.
    pub(crate) done_at: Option<u64>,
    stopping: bool,
    /// Something was learnt since the last save that people wait for.
    pub(crate) news: bool,
    /// Output came since the last save.
    pub(crate) output: bool,
}

/// The process, as its keeper announced it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub pid: Option<i64>,
    pub group: Option<i64>,
    pub started_at: Option<Moment>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("told", &self.told)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl Account {
    /// An account of a process that was quiet since then, as far as is known. `earlier` is what the processes before it
    /// used.
    pub(crate) fn new(reader: Box<dyn Reader>, quiet_since: Moment, earlier: Option<Usage>) -> Account {
        let meter =
            earlier.as_ref().map_or_else(Meter::default, |usage| budgets::meter(Meter::default(), usage));
        Account {
            reader,
            stdout: LineSplitter::new(),
            stderr: LineSplitter::new(),
            told: Told::default(),
            earlier,
            // What they used together is no message.
            meter: Meter { dearest: Consumed::default(), ..meter },
            charged: None,
            stdout_tail: Tail::default(),
            stderr_tail: Tail::default(),
            offset: 0,
            process: Process::default(),
            last_output: None,
            outputs: 0,
            output_bytes: 0,
            commands: VecDeque::new(),
            repetition: Repetition::default(),
            calls_at: VecDeque::new(),
            circle: None,
            permissions: Vec::new(),
            closed_permissions: Vec::new(),
            has_permission_news: false,
            pulse: Pulse::new(quiet_since),
            done_before_stop: false,
            done_at: None,
            stopping: false,
            news: false,
            output: false,
        }
    }

    /// Takes one frame in.
    pub(crate) fn take(&mut self, frame: &Frame) {
        self.offset = frame.next_offset;
        match frame.stream {
            FrameStream::Stdout => self.output(frame, Source::Stdout),
            FrameStream::Stderr => self.output(frame, Source::Stderr),
            FrameStream::Stdin => {}
            FrameStream::Keeper => self.note(&frame.bytes),
        }
    }

    /// The process is over: the last line may lack its end.
    pub(crate) fn finish(&mut self) {
        let mut events = Vec::new();
        let (reader, stdout, stderr) = (&mut self.reader, &mut self.stdout, &mut self.stderr);
        let heard = catch_unwind(AssertUnwindSafe(|| {
            stdout.finish(|line| events.extend(reader.line(Source::Stdout, line)));
            stderr.finish(|line| events.extend(reader.line(Source::Stderr, line)));
            events.extend(reader.finish());
        }));
        let at = self.last_output.map_or(self.pulse.quiet_since(), |(at, _)| at);
        self.hear(&events, at);
        if heard.is_err() {
            self.is_broken(at);
        }
    }

    /// The reader panicked over what the program said. It reads no more: reading the same again would only break it
    /// again, for ever, because a task that is lost is found again.
    fn is_broken(&mut self, at: Moment) {
        self.reader = Box::new(Deaf);
        let message = "the adapter broke over the output of the program; see its log".to_owned();
        let error = AgentError { class: ErrorClass::Other, message, code: None, not_before: None };
        self.hear(&[AgentEvent::Trouble { error }], at);
    }

    fn output(&mut self, frame: &Frame, source: Source) {
        let (splitter, tail, name) = match source {
            Source::Stdout => (&mut self.stdout, &mut self.stdout_tail, "stdout"),
            Source::Stderr => (&mut self.stderr, &mut self.stderr_tail, "stderr"),
        };
        tail.push(&frame.bytes);
        self.last_output = Some((frame.at, name));
        self.pulse.printed(frame.at);
        self.outputs += 1;
        self.output_bytes += i64::try_from(frame.bytes.len()).unwrap_or(0);
        self.output = true;
        if self.reader.is_listening() {
            let mut events = Vec::new();
            let reader = &mut self.reader;
            let heard = catch_unwind(AssertUnwindSafe(|| {
                splitter.push(&frame.bytes, |line| events.extend(reader.line(source, line)));
            }));
            self.hear(&events, frame.at);
            if heard.is_err() {
                self.is_broken(frame.at);
            }
        }
    }

    fn hear(&mut self, events: &[AgentEvent], at: Moment) {
        for event in events {
            if let AgentEvent::ToolCall { name, input, .. } = event {
                self.note_call(name, input, at);
            }
            self.note_permission(event);
            self.news |= matches!(
                event,
                AgentEvent::Session { .. } | AgentEvent::UsageAdded { .. } | AgentEvent::UsageTotal { .. }
            );
            match printable(event) {
                Some(event) => self.told.hear(&event),
                None => self.told.hear(event),
            }
            if let (AgentEvent::UsageAdded { .. } | AgentEvent::UsageTotal { .. }, Some(usage)) =
                (event, self.used())
            {
                self.meter = budgets::meter(self.meter, &usage);
            }
        }
        if self.told.is_done() {
            self.done_at.get_or_insert(self.offset);
            self.done_before_stop |= !self.stopping;
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        let Ok(note) = serde_json::from_slice::<Json>(bytes) else { return };
        let number = |key: &str| note.get(key).and_then(Json::as_i64);
        match note.get("note").and_then(Json::as_str) {
            Some("exec_ok") => {
                self.process = Process {
                    pid: number("pid"),
                    group: number("pgid"),
                    started_at: number("startedAtUs").map(Moment::from_micros),
                };
                self.news = true;
            }
            // The first step of any stop, whoever asked for it.
            Some("term") => self.stopping = true,
            _ => {}
        }
    }

    /// One that waits already is not asked for twice, and so many at a time are more than anybody answers.
    fn note_permission(&mut self, event: &AgentEvent) {
        match event {
            AgentEvent::PermissionAsked { permission } => {
                let is_known = self.permissions.iter().any(|open| open.ask == permission.ask);
                if !is_known && self.permissions.len() < MOST_PERMISSIONS {
                    self.permissions.push(permission.clone());
                    self.has_permission_news = true;
                }
            }
            AgentEvent::PermissionClosed { ask, outcome } => {
                self.close_permissions(outcome, |open| open.ask == *ask);
            }
            // After its last word it waits for nobody.
            AgentEvent::Result { .. } => self.close_permissions("it is done", |_| true),
            _ => {}
        }
    }

    fn close_permissions(&mut self, outcome: &str, is_meant: impl Fn(&Permission) -> bool) {
        for permission in self.permissions.extract_if(.., |open| is_meant(open)) {
            self.closed_permissions.push((permission, outcome.to_owned()));
            self.has_permission_news = true;
        }
    }

    /// Takes a call of a tool in. Its circle is judged by somebody who can look at the workspace.
    fn note_call(&mut self, tool: &str, input: &Json, at: Moment) {
        if let Some(command) = input.get("command").and_then(Json::as_str) {
            if self.commands.len() == COMMANDS {
                self.commands.pop_front();
            }
            self.commands
                .push_back(command.chars().take(COMMAND).collect::<String>().replace('\0', "\u{fffd}"));
        }
        if self.calls_at.len() == SAME_CALLS * LONGEST_CIRCLE {
            self.calls_at.pop_front();
        }
        self.calls_at.push_back(at);
        if let Some(found) = self.repetition.call(tool, input, None) {
            let calls = (found.times * found.circle).min(self.calls_at.len());
            let began = self.calls_at.get(self.calls_at.len() - calls).copied().unwrap_or(at);
            self.circle = Some((found, began, self.offset));
        }
    }

    /// The circle was judged to be progress, or is not to be judged: it has to be gone through anew to be seen again.
    pub(crate) fn forgive_circle(&mut self) {
        self.circle = None;
        self.repetition = Repetition::default();
    }

    /// The last commands that its tools executed, oldest first.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.commands.iter().cloned().collect()
    }

    /// What is to be charged, if it is not known to be charged already.
    pub(crate) fn to_charge(&self) -> Option<Consumed> {
        let used = self.meter.charged;
        (self.charged != Some(used) && used != Consumed::default()).then_some(used)
    }

    /// What all processes of the run used so far; `None` when none of them reported anything.
    pub(crate) fn used(&self) -> Option<Usage> {
        match (&self.earlier, &self.told.usage) {
            (None, told) => told.clone(),
            (earlier, None) => earlier.clone(),
            (Some(earlier), Some(told)) => {
                let mut all = earlier.clone();
                all.add(told);
                Some(all)
            }
        }
    }

    /// The process is over and another one of the same run comes: the state with which that one begins, in which what
    /// was used so far is what earlier processes used.
    pub(crate) fn handed_over(&self) -> Progress {
        let earlier = self.used();
        Progress {
            usage: usage_json(earlier.as_ref(), earlier.as_ref()),
            last_output_seq: self.outputs,
            ..Progress::default()
        }
    }

    /// The state to be saved.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            log_offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            process_pid: self.process.pid,
            process_group_id: self.process.group,
            process_started_at: self.process.started_at,
            session: self.told.session.clone(),
            usage: self.usage(),
            last_output_at: self.last_output.map(|(at, _)| at),
            last_output_seq: self.outputs,
            last_output_stream: self.last_output.map(|(_, name)| name.to_owned()),
            last_output_bytes: (self.outputs > 0).then_some(self.output_bytes),
        }
    }

    /// `usageJson` (spec/heartbeat.md 4.13); `None` when no program of the run reported anything.
    pub(crate) fn usage(&self) -> Option<Json> {
        usage_json(self.used().as_ref(), self.earlier.as_ref())
    }
}

/// Under this name a run's usage keeps what the processes before the present one used: their logs are not read again.
const EARLIER: &str = "earlierProcesses";

fn usage_json(usage: Option<&Usage>, earlier: Option<&Usage>) -> Option<Json> {
    let usage = usage?;
    let unknown = || "unknown".to_owned();
    let mut json = json!({
        "inputTokens": usage.input_tokens,
        "cachedInputTokens": usage.cached_input_tokens,
        "outputTokens": usage.output_tokens,
        "provider": usage.provider.clone().unwrap_or_else(unknown),
        "biller": usage.biller.clone().or_else(|| usage.provider.clone()).unwrap_or_else(unknown),
        "model": usage.model.clone().unwrap_or_else(unknown),
        "billingType": usage.billing_type.clone().unwrap_or_else(unknown),
        "costUsd": usage.cost_micros.map(|micros| micros as f64 / 1e6),
        "costMicros": usage.cost_micros,
        "costKnown": usage.is_cost_known(),
    });
    if let Some(earlier) = earlier {
        json[EARLIER] = json!(earlier);
    }
    Some(json)
}

/// What earlier processes of a run used, as its record says.
pub(crate) fn earlier_usage(of_run: Option<&Json>) -> Option<Usage> {
    let earlier = of_run?.get(EARLIER)?;
    serde_json::from_value(earlier.clone()).ok()
}

/// The event without NUL in the texts that become columns, `None` when there is none: PostgreSQL refuses it, and the
/// end of a run must not hang on what its program says.
fn printable(event: &AgentEvent) -> Option<AgentEvent> {
    let clean = |text: &mut String| {
        let has = text.contains('\0');
        if has {
            *text = text.replace('\0', "\u{fffd}");
        }
        has
    };
    let clean_error = |error: &mut AgentError| {
        let in_message = clean(&mut error.message);
        error.code.as_mut().is_some_and(clean) | in_message
    };
    let has_texts = matches!(
        event,
        AgentEvent::Session { .. } | AgentEvent::Trouble { .. } | AgentEvent::Result { error: Some(_), .. }
    );
    if !has_texts {
        return None;
    }
    let mut event = event.clone();
    let changed = match &mut event {
        AgentEvent::Session { id } => clean(id),
        AgentEvent::Trouble { error } | AgentEvent::Result { error: Some(error), .. } => clean_error(error),
        _ => false,
    };
    changed.then_some(event)
}

/// The end of a stream, at most [`EXCERPT`] bytes.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
    /// Something before `bytes` was dropped.
    cut: bool,
}

impl Tail {
    pub(crate) fn push(&mut self, piece: &[u8]) {
        if piece.len() >= EXCERPT {
            self.cut |= !self.bytes.is_empty() || piece.len() > EXCERPT;
            self.bytes.clear();
            self.bytes.extend_from_slice(&piece[piece.len() - EXCERPT..]);
            return;
        }
        self.bytes.extend_from_slice(piece);
        // Cut seldom: at most twice the size is held.
        if self.bytes.len() > EXCERPT * 2 {
            self.bytes.drain(..self.bytes.len() - EXCERPT);
            self.cut = true;
        }
    }

    /// There was more than is kept.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut || self.bytes.len() > EXCERPT
    }

    /// The text, beginning at a whole character; `None` when there was no output.
    pub(crate) fn text(&self) -> Option<String> {
        if self.bytes.is_empty() {
            return None;
        }
        let mut from = self.bytes.len().saturating_sub(EXCERPT);
        let cut = self.is_cut();
        while cut && from < self.bytes.len() && self.bytes[from] & 0xc0 == 0x80 {
            from += 1;
        }
        // NUL is text nowhere: PostgreSQL refuses it, and people cannot see it.
        Some(String::from_utf8_lossy(&self.bytes[from..]).replace('\0', "\u{fffd}"))
    }
}

/// Hears nothing: for agents of a type that this program does not know, and where an adapter broke.
pub(crate) struct Deaf;

impl adapters::Reader for Deaf {
    fn line(&mut self, _: adapters::Source, _: &[u8]) -> Vec<domain::telling::AgentEvent> {
        Vec::new()
    }

    fn is_listening(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;
    impl Reader for Echo {
        fn line(&mut self, _: Source, line: &[u8]) -> Vec<AgentEvent> {
            if line == b"done" {
                return vec![AgentEvent::Result { error: None, summary: None, plan_only: false, json: None }];
            }
            vec![AgentEvent::Message { text: String::from_utf8_lossy(line).into_owned() }]
        }
    }

    fn frame(stream: FrameStream, bytes: &[u8], offset: u64) -> Frame {
        let next_offset = offset + 10;
        Frame { seq: offset, stream, at: Moment::from_micros(7), bytes: bytes.to_vec(), offset, next_offset }
    }

    #[test]
    fn lines_over_frame_borders_are_heard_once_and_the_last_one_at_the_end() {
        let mut account = Account::new(Box::new(Echo), Moment::from_micros(0), None);
        account.take(&frame(FrameStream::Stdout, b"one\ntw", 0));
        account.take(&frame(FrameStream::Stderr, b"err\n", 10));
        account.take(&frame(FrameStream::Stdout, b"o\nthree", 20));
        assert_eq!(account.told.messages, 3);
        account.finish();
        assert_eq!((account.told.messages, account.offset), (4, 30));
        assert_eq!(account.stdout_tail.text().as_deref(), Some("one\ntwo\nthree"));
        assert_eq!(account.progress().last_output_seq, 3);
    }

    struct Brittle;
    impl Reader for Brittle {
        fn line(&mut self, _: Source, line: &[u8]) -> Vec<AgentEvent> {
            assert!(line != b"odd", "what is that");
            vec![AgentEvent::Message { text: String::new() }]
        }
    }

    #[test]
    fn a_reader_that_panics_reads_no_more_and_what_it_heard_before_counts() {
        let mut account = Account::new(Box::new(Brittle), Moment::from_micros(0), None);
        account.take(&frame(FrameStream::Stdout, b"one\nodd\ntwo\n", 0));
        account.take(&frame(FrameStream::Stdout, b"three\n", 10));
        account.finish();
        assert_eq!((account.told.messages, account.offset, account.outputs), (1, 20, 2));
        assert!(account.told.trouble.is_some_and(|error| error.message.contains("broke")));
    }

    #[test]
    fn done_counts_as_before_the_stop_only_when_it_was() {
        for (stop_first, before) in [(false, true), (true, false)] {
            let mut account = Account::new(Box::new(Echo), Moment::from_micros(0), None);
            let stop = frame(FrameStream::Keeper, br#"{"note":"term","by":"stop_order","reason":"x"}"#, 0);
            let done = frame(FrameStream::Stdout, b"done\n", 10);
            for frame in if stop_first { [stop, done] } else { [done, stop] } {
                account.take(&frame);
            }
            assert_eq!(account.done_before_stop, before);
        }
    }

    #[test]
    fn the_process_is_known_from_the_keepers_note() {
        let mut account = Account::new(Box::new(Echo), Moment::from_micros(0), None);
        account.take(&frame(
            FrameStream::Keeper,
            br#"{"note":"exec_ok","pid":42,"pgid":42,"startedAtUs":9}"#,
            0,
        ));
        account.take(&frame(FrameStream::Keeper, b"not json", 10));
        assert_eq!(
            (account.process.pid, account.process.started_at),
            (Some(42), Some(Moment::from_micros(9)))
        );
        assert!(account.news);
    }

    #[test]
    fn a_tail_keeps_the_end_and_begins_at_a_whole_character() {
        let mut tail = Tail::default();
        assert_eq!(tail.text(), None);
        for _ in 0..EXCERPT / 2 {
            tail.push("ä".as_bytes());
        }
        assert!(!tail.is_cut(), "all of it is there");
        for _ in 0..EXCERPT / 2 {
            tail.push("ä".as_bytes());
            assert!(tail.is_cut());
        }
        tail.push(b"x\0y");
        let text = tail.text().expect("there was output");
        assert!(text.len() <= EXCERPT + 2 && text.ends_with("x\u{fffd}y") && text.starts_with('ä'));
    }
}
