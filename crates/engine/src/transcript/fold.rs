//! Frames of one process into items: its lines through the adapter's reader, calls of tools joined with their
//! results.
//!
//! The same frames give the same items, in however many sittings they are read. Nothing here reads files.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use adapters::{LineSplitter, Reader, Source};
use domain::moment::Moment;
use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use serde_json::Value as Json;

use super::clip::{self, Clipped};
use crate::processes::{Frame, FrameStream};
use crate::progress::Deaf;

/// Bytes that a text of the agent is shown with, and an input or an output of a tool.
const LONGEST_MESSAGE: usize = 64 << 10;
const LONGEST_PART: usize = 16 << 10;
/// Bytes of names, ids and words of errors.
const LONGEST_NAME: usize = 300;
const LONGEST_WORDS: usize = 4 << 10;
/// As many calls are remembered that have no result yet; programs whose calls never get one must not fill the
/// memory.
const MOST_CALLS: usize = 256;

/// What an item says.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Text of the agent.
    Message { text: Clipped },
    /// A tool that was used. Without a result it is under way, or its process ended before one came.
    Tool {
        call: String,
        /// `None`: a result came whose call is not known.
        name: Option<String>,
        input: Json,
        input_is_cut: bool,
        result: Option<ToolResult>,
    },
    /// What was used: by one more message, or by the run so far.
    Usage { usage: Usage, is_total: bool },
    /// Something went wrong, and the program may have gone on.
    Error { error: AgentError },
    /// The session that the program works in.
    Session { id: String },
    /// The program said that it is done.
    Result { error: Option<AgentError>, summary: Option<Clipped>, plan_only: bool },
    /// Lines that mean nothing to the adapter's reader, or all of them where it reads none.
    Output { stream: FrameStream, text: Clipped },
}

/// What a tool gave.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    pub output: Clipped,
    pub is_error: bool,
    /// Milliseconds since the call; `None` when that is not known.
    pub millis: Option<i64>,
}

impl What {
    /// About how many bytes it holds.
    pub(super) fn weight(&self) -> usize {
        let error = |error: &AgentError| error.message.len();
        256 + match self {
            What::Message { text } | What::Output { text, .. } => text.text.len(),
            What::Tool { input, result, .. } => {
                // A null weighs nothing; only then is there no need to write it out.
                let input = if input.is_null() { 0 } else { input.to_string().len() };
                input + result.as_ref().map_or(0, |result| result.output.text.len())
            }
            What::Error { error: told } => error(told),
            What::Result { error: told, summary, .. } => {
                told.as_ref().map_or(0, error) + summary.as_ref().map_or(0, |summary| summary.text.len())
            }
            What::Usage { .. } | What::Session { .. } => 0,
        }
    }
}

/// A moment and what was said then.
pub(super) type Said = (Moment, What);

/// A call that waits for its result.
#[derive(Debug)]
struct Call {
    id: String,
    at: Moment,
    name: String,
    input: Json,
    is_cut: bool,
}

impl Call {
    fn said(self, result: Option<ToolResult>) -> Said {
        let what = What::Tool {
            call: self.id,
            name: Some(self.name),
            input: self.input,
            input_is_cut: self.is_cut,
            result,
        };
        (self.at, what)
    }
}

/// A line, as far as it was understood.
enum Line {
    Event(AgentEvent),
    Raw(Vec<u8>),
}

/// One stream of the process.
#[derive(Default)]
struct Stream {
    splitter: LineSplitter,
    /// Output is missing before the next byte: the line that it belongs to is not whole.
    is_torn: bool,
}

/// The reading of one process.
pub(super) struct Fold {
    reader: Box<dyn Reader>,
    /// The reader panicked: nothing it could have said of the rest is known.
    is_broken: bool,
    stdout: Stream,
    stderr: Stream,
    session: Option<String>,
    calls: VecDeque<Call>,
    last: Option<Moment>,
}

impl Fold {
    pub(super) fn new(reader: Box<dyn Reader>) -> Fold {
        Fold {
            reader,
            is_broken: false,
            stdout: Stream::default(),
            stderr: Stream::default(),
            session: None,
            calls: VecDeque::new(),
            last: None,
        }
    }

    /// Takes one frame in.
    pub(super) fn take(&mut self, frame: &Frame, out: &mut Vec<Said>) {
        let source = match frame.stream {
            FrameStream::Stdout => Source::Stdout,
            FrameStream::Stderr => Source::Stderr,
            FrameStream::Stdin => return,
            FrameStream::Keeper => return self.note(frame, out),
        };
        self.last = Some(frame.at);
        let stream = match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        };
        let mut bytes = &frame.bytes[..];
        if stream.is_torn {
            // What begins like an event is taken for the beginning of a line.
            let whole = if bytes.first() == Some(&b'{') { Some(0) } else { after_line(bytes) };
            let Some(from) = whole else { return };
            bytes = &bytes[from..];
            stream.is_torn = false;
        }
        let mut lines = Vec::new();
        let (reader, splitter) = (&mut self.reader, &mut stream.splitter);
        let heard = catch_unwind(AssertUnwindSafe(|| {
            splitter.push(bytes, |line| read(&mut **reader, source, line, &mut lines));
        }));
        self.tell(lines, frame.at, frame.stream, out);
        if heard.is_err() {
            self.broke(frame.at, out);
        }
    }

    /// The process is over: the last lines may lack their ends, and what has no result gets none any more.
    pub(super) fn finish(&mut self, out: &mut Vec<Said>) {
        let at = self.last.unwrap_or(Moment::from_micros(0));
        for source in [Source::Stdout, Source::Stderr] {
            let (stream, name) = match source {
                Source::Stdout => (&mut self.stdout, FrameStream::Stdout),
                Source::Stderr => (&mut self.stderr, FrameStream::Stderr),
            };
            let (mut lines, reader) = (Vec::new(), &mut self.reader);
            let heard = catch_unwind(AssertUnwindSafe(|| {
                stream.splitter.finish(|line| read(&mut **reader, source, line, &mut lines));
            }));
            self.tell(lines, at, name, out);
            if heard.is_err() {
                self.broke(at, out);
            }
        }
        match catch_unwind(AssertUnwindSafe(|| self.reader.finish())) {
            Ok(events) => events.into_iter().for_each(|event| self.hear(event, at, out)),
            Err(_) => self.broke(at, out),
        }
        out.extend(self.calls.drain(..).map(|call| call.said(None)));
    }

    /// The calls that have no result yet, oldest first.
    pub(super) fn under_way(&self) -> impl Iterator<Item = Said> {
        self.calls.iter().map(|call| {
            let what = What::Tool {
                call: call.id.clone(),
                name: Some(call.name.clone()),
                input: call.input.clone(),
                input_is_cut: call.is_cut,
                result: None,
            };
            (call.at, what)
        })
    }

    fn tell(&mut self, lines: Vec<Line>, at: Moment, stream: FrameStream, out: &mut Vec<Said>) {
        let mut raw: Vec<u8> = Vec::new();
        let flush = |raw: &mut Vec<u8>, out: &mut Vec<Said>| {
            if !raw.is_empty() {
                let text = String::from_utf8_lossy(&std::mem::take(raw)).into_owned();
                out.push((at, What::Output { stream, text: Clipped::of(text, LONGEST_PART) }));
            }
        };
        for line in lines {
            match line {
                Line::Raw(line) => {
                    if raw.len() + line.len() > LONGEST_PART {
                        flush(&mut raw, out);
                    }
                    raw.extend_from_slice(&line);
                    raw.push(b'\n');
                }
                Line::Event(event) => {
                    flush(&mut raw, out);
                    self.hear(event, at, out);
                }
            }
        }
        flush(&mut raw, out);
    }

    fn hear(&mut self, event: AgentEvent, at: Moment, out: &mut Vec<Said>) {
        let what = match event {
            // It is the adapter's own.
            AgentEvent::SessionNote { .. } => return,
            // The approval tells of it, and the call that it is about is here.
            AgentEvent::PermissionAsked { .. } | AgentEvent::PermissionClosed { .. } => return,
            AgentEvent::Session { id } => {
                if self.session.as_ref() == Some(&id) {
                    return;
                }
                self.session = Some(id.clone());
                What::Session { id: name(id) }
            }
            AgentEvent::Message { text } => What::Message { text: Clipped::of(text, LONGEST_MESSAGE) },
            AgentEvent::ToolCall { id, name: tool, input } => {
                let id = name(id);
                let again = self.calls.iter().position(|call| call.id == id);
                let full = (self.calls.len() == MOST_CALLS).then_some(0);
                let left = again.or(full).and_then(|place| self.calls.remove(place));
                out.extend(left.map(|call| call.said(None)));
                let (input, is_cut) = clip::value(input, LONGEST_PART);
                self.calls.push_back(Call { id, at, name: name(tool), input, is_cut });
                return;
            }
            AgentEvent::ToolResult { id, is_error, output } => {
                let (id, output) = (name(id), Clipped::of(output, LONGEST_PART));
                let place = self.calls.iter().position(|call| call.id == id);
                let Some(call) = place.and_then(|place| self.calls.remove(place)) else {
                    let result = Some(ToolResult { output, is_error, millis: None });
                    let what =
                        What::Tool { call: id, name: None, input: Json::Null, input_is_cut: false, result };
                    out.push((at, what));
                    return;
                };
                let millis = Some(at.micros().saturating_sub(call.at.micros()).max(0) / 1000);
                out.push(call.said(Some(ToolResult { output, is_error, millis })));
                return;
            }
            AgentEvent::UsageAdded { usage } => What::Usage { usage, is_total: false },
            AgentEvent::UsageTotal { usage } => What::Usage { usage, is_total: true },
            AgentEvent::Trouble { error } => What::Error { error: bounded(error) },
            AgentEvent::Result { error, summary, plan_only, json: _ } => What::Result {
                error: error.map(bounded),
                summary: summary.map(|summary| Clipped::of(summary, LONGEST_MESSAGE)),
                plan_only,
            },
        };
        out.push((at, what));
    }

    fn broke(&mut self, at: Moment, out: &mut Vec<Said>) {
        if !std::mem::replace(&mut self.is_broken, true) {
            self.reader = Box::new(Deaf);
            let message = "the adapter broke over the output of the program; see its log".to_owned();
            let error = AgentError { class: ErrorClass::Other, message, code: None, not_before: None };
            out.push((at, What::Error { error }));
        }
    }

    /// A note of the keeper: where output is missing, lines are not whole, and people are told.
    fn note(&mut self, frame: &Frame, out: &mut Vec<Said>) {
        let Ok(note) = serde_json::from_slice::<Json>(&frame.bytes) else { return };
        let key = match note.get("note").and_then(Json::as_str) {
            Some("gap") => "droppedBytes",
            Some("dropped") => "bytes",
            _ => return,
        };
        let Some(bytes) = note.get(key).and_then(Json::as_u64).filter(|bytes| *bytes > 0) else { return };
        for stream in [&mut self.stdout, &mut self.stderr] {
            *stream = Stream { splitter: LineSplitter::new(), is_torn: true };
        }
        let text = format!("{bytes} bytes of output are missing here: the log was full\n");
        out.push((
            frame.at,
            What::Output { stream: FrameStream::Keeper, text: Clipped { text, left_out: 0 } },
        ));
    }
}

/// Reads one line. What means nothing to a reader that listens is shown unless it is of the program's own
/// protocol.
fn read(reader: &mut dyn Reader, source: Source, line: &[u8], out: &mut Vec<Line>) {
    if !reader.is_listening() {
        out.push(Line::Raw(line.to_vec()));
        return;
    }
    let events = reader.line(source, line);
    if events.is_empty() && !matches!(line.trim_ascii_start().first(), None | Some(b'{')) {
        out.push(Line::Raw(line.to_vec()));
    }
    out.extend(events.into_iter().map(Line::Event));
}

/// The place behind the first line end.
fn after_line(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1)
}

fn name(text: String) -> String {
    Clipped::of(text, LONGEST_NAME).text
}

fn bounded(mut error: AgentError) -> AgentError {
    error.message = Clipped::of(error.message, LONGEST_WORDS).text;
    error.code = error.code.map(name);
    error
}

#[cfg(test)]
mod tests;
