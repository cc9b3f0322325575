//! Playing a script: one step after the other, as a real process with real effects.
//!
//! Here is the order of things: bodies, signals, children, variables. What the steps mean is
//! described in `script.rs`, how their events sound in `voice.rs`, how a client is listened to in
//! `play/conversation.rs`, their effects are done by `effects.rs`.

mod conversation;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::moment::Moment;
use domain::telling::{AgentError, AgentEvent, ErrorClass};
use serde_json::Value;

use super::effects::{self, Call};
use super::output::{self, Closed};
use super::script::{Condition, Failure, ForkHow, Line, Piece, Step, Text, Variable, When};
use super::speech::Speech;
use super::system::{self, Disposition, Mailbox, Woken};
use super::voice::Voice;
use super::words;

/// A step failed.
const FAILED: u8 = 70;
/// Nobody reads the output any more.
const NO_READER: u8 = 74;

/// How often `wait-for` looks.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Why playing stops before the end of a body.
enum Stop {
    Exit(u8),
    Failed { number: usize, problem: String },
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Stop {
        Stop::Exit(NO_READER)
    }
}

/// A step's failure, before its line is known.
enum Fail {
    Stop(Stop),
    Problem(String),
}

impl From<Stop> for Fail {
    fn from(stop: Stop) -> Fail {
        Fail::Stop(stop)
    }
}

impl From<Closed> for Fail {
    fn from(closed: Closed) -> Fail {
        Fail::Stop(closed.into())
    }
}

impl From<String> for Fail {
    fn from(problem: String) -> Fail {
        Fail::Problem(problem)
    }
}

/// Plays a script and returns the exit code.
pub(crate) fn play(script: &[Line], speech: Speech, resume: Option<String>, args: Vec<String>) -> u8 {
    let mailbox = match Mailbox::open() {
        Ok(mailbox) => mailbox,
        Err(error) => {
            let _ = output::err(format!("failed to make a pipe: {error}\n").as_bytes());
            return FAILED;
        }
    };
    let session = resume.clone();
    let mut player = Player {
        voice: Voice::of(speech),
        input: Vec::new(),
        is_input_over: false,
        resume,
        args,
        mailbox,
        handlers: BTreeMap::new(),
        session,
        tools: 0,
        child: None,
        rounds: Vec::new(),
        line_read: String::new(),
        status: String::new(),
        body: String::new(),
    };
    let Voice::Acp(_) = player.voice else { return player.outcome(script) };
    // The client speaks first, and ends the agent by ending its input.
    let code = match player.prompted(script) {
        Ok(true) => player.outcome(script),
        Ok(false) => 0,
        Err(problem) => {
            let _ = output::err(format!("failed to {problem}\n").as_bytes());
            FAILED
        }
    };
    if code == 0 {
        player.linger();
    }
    code
}

struct Player<'a> {
    voice: Voice,
    /// What came on stdin and is no whole line yet; only a conversation reads it so.
    input: Vec<u8>,
    is_input_over: bool,
    resume: Option<String>,
    args: Vec<String>,
    mailbox: Mailbox,
    handlers: BTreeMap<i32, &'a [Line]>,
    session: Option<String>,
    tools: u64,
    child: Option<i32>,
    rounds: Vec<u64>,
    line_read: String,
    status: String,
    body: String,
}

impl<'a> Player<'a> {
    /// Plays a whole body, and says on stderr when a step failed.
    fn outcome(&mut self, lines: &'a [Line]) -> u8 {
        match self.lines(lines) {
            Ok(()) => 0,
            Err(Stop::Exit(code)) => code,
            Err(Stop::Failed { number, problem }) => {
                let _ = output::err(format!("line {number}: failed to {problem}\n").as_bytes());
                FAILED
            }
        }
    }

    fn lines(&mut self, lines: &'a [Line]) -> Result<(), Stop> {
        for line in lines {
            self.signals()?;
            self.step(&line.step).map_err(|fail| match fail {
                Fail::Stop(stop) => stop,
                Fail::Problem(problem) => Stop::Failed { number: line.number, problem },
            })?;
        }
        self.signals()
    }

    /// Plays the bodies of the signals that came.
    fn signals(&mut self) -> Result<(), Stop> {
        while let Some(signal) = self.mailbox.next() {
            if let Some(body) = self.handlers.get(&signal).copied() {
                self.lines(body)?;
            }
        }
        Ok(())
    }

    /// Waits, playing the bodies of the signals that come meanwhile; `None` waits for ever.
    fn pause(&mut self, span: Option<Duration>) -> Result<(), Stop> {
        let until = span.and_then(|span| Instant::now().checked_add(span));
        loop {
            let listens = matches!(self.voice, Voice::Acp(_)) && !self.is_input_over;
            match self.mailbox.wait_or(until, listens.then(rustix::stdio::stdin)) {
                Woken::Signal => self.signals()?,
                Woken::Input => {
                    self.heard()?;
                }
                Woken::Timeout => return Ok(()),
            }
        }
    }

    fn step(&mut self, step: &'a Step) -> Result<(), Fail> {
        match step {
            Step::Print(text) => self.out(&(self.text(text) + "\n"))?,
            Step::Err(text) => output::err((self.text(text) + "\n").as_bytes())?,
            Step::Lines { count, text } => {
                output::numbered(*count, &self.optional(text.as_ref()).unwrap_or_default())?
            }
            Step::Bytes { count, form } => output::bytes(*count, *form)?,
            Step::Sleep(span) => self.pause(Some(*span))?,
            Step::Spin(span) => {
                let since = system::processor_time();
                while system::processor_time().saturating_sub(since) < *span {
                    std::hint::spin_loop();
                }
            }
            Step::Hang => self.pause(None)?,
            Step::WaitFor { file, within } => self.wait_for(file, *within)?,
            Step::Touch(file) => effects::touch(&self.file(file))?,
            Step::Edit { file, text } => effects::edit(&self.file(file), &self.text(text))?,
            Step::Commit(message) => effects::commit(&self.text(message))?,
            Step::Ledger { file, text } => {
                let text = self.optional(text.as_ref()).unwrap_or_default();
                effects::ledger(&self.file(file), &format!("{} {} {text}", run_id(), epoch()))?;
            }
            Step::Api { method, path, body } => self.api(method, path, body.as_ref())?,
            Step::Read => {
                self.line_read = output::read_line().map_err(|error| format!("read from stdin: {error}"))?
            }
            Step::Env => {
                let mut names: Vec<String> =
                    std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned() + "\n").collect();
                names.sort();
                self.out(&names.concat())?;
            }
            Step::Cwd => {
                let cwd =
                    std::env::current_dir().map_err(|error| format!("tell the working folder: {error}"))?;
                self.out(&format!("{}\n", cwd.display()))?;
            }
            Step::Args => self.out(&self.args.iter().map(|arg| format!("{arg}\n")).collect::<String>())?,
            Step::Session(id) => {
                let id = match (id, &self.resume) {
                    (Some(id), _) => self.text(id),
                    (None, Some(resumed)) => resumed.clone(),
                    (None, None) => format!("session-{}", run_id()),
                };
                self.session = Some(id.clone());
                self.say(&AgentEvent::Session { id })?;
            }
            Step::SessionGone { is_silent } => self.session_gone(*is_silent)?,
            Step::Message(text) => self.say(&AgentEvent::Message { text: self.text(text) })?,
            Step::Tool { name, input } => {
                self.tools += 1;
                let event =
                    AgentEvent::ToolCall { id: self.tool_id(), name: name.clone(), input: self.json(input)? };
                self.say(&event)?;
            }
            Step::ToolResult { is_error, text } => {
                let output = self.optional(text.as_ref()).unwrap_or_default();
                self.say(&AgentEvent::ToolResult { id: self.tool_id(), is_error: *is_error, output })?;
            }
            Step::Permission { name, input } => self.permission(name, input)?,
            Step::Usage { is_total: false, usage } => {
                self.say(&AgentEvent::UsageAdded { usage: usage.clone() })?
            }
            Step::Usage { is_total: true, usage } => {
                self.say(&AgentEvent::UsageTotal { usage: usage.clone() })?
            }
            Step::Trouble(failure) => self.say(&AgentEvent::Trouble { error: self.error(failure) })?,
            Step::Success(text) => {
                let summary = self.optional(text.as_ref());
                self.say(&AgentEvent::Result { error: None, summary, plan_only: false, json: None })?;
            }
            Step::Failure(failure) => {
                let error = Some(self.error(failure));
                self.say(&AgentEvent::Result { error, summary: None, plan_only: false, json: None })?;
            }
            Step::PlanOnly(text) => {
                let summary = self.optional(text.as_ref());
                self.say(&AgentEvent::Result { error: None, summary, plan_only: true, json: None })?;
            }
            Step::Exit(code) => return Err(Stop::Exit(*code).into()),
            Step::Kill(signal) => {
                system::raise(*signal).map_err(|error| format!("send the signal: {error}"))?
            }
            Step::Ignore(signals) => {
                for signal in signals {
                    dispose(*signal, Disposition::Ignore)?;
                    self.handlers.remove(signal);
                }
            }
            Step::On { signal, body } => {
                self.handlers.insert(*signal, body);
                dispose(*signal, Disposition::Post)?;
            }
            Step::Fork { how, body } => self.fork(*how, body)?,
            Step::Wait => while system::reap(None) {},
            Step::Repeat { count, body } => {
                self.rounds.push(0);
                for round in 1..=*count {
                    self.rounds.pop();
                    self.rounds.push(round);
                    self.lines(body)?;
                }
                self.rounds.pop();
            }
            Step::If { condition, then, otherwise } => {
                let body = if self.holds(condition) { then } else { otherwise };
                self.lines(body)?;
            }
        }
        Ok(())
    }

    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Resuming => self.resume.is_some(),
            Condition::Attempt(number) => epoch().parse() == Ok(*number),
            Condition::File(file) => self.file(file).exists(),
            Condition::Same(one, other) => self.text(one) == self.text(other),
        }
    }

    fn wait_for(&mut self, file: &Text, within: Duration) -> Result<(), Fail> {
        let file = self.file(file);
        let since = Instant::now();
        while !file.exists() {
            if since.elapsed() >= within {
                return Err(format!("see `{}` within {within:?}", file.display()).into());
            }
            self.pause(Some(LOOK_AGAIN))?;
        }
        Ok(())
    }

    fn api(&mut self, method: &str, path: &Text, body: Option<&Value>) -> Result<(), Fail> {
        let path = self.text(path);
        let (status, body) = effects::call(Call {
            base: &variable("BUGLE_API_URL"),
            key: &variable("BUGLE_API_KEY"),
            run_id: &run_id(),
            method,
            path: &path,
            body: body.map(|body| self.json(body)).transpose()?.map(|body| body.to_string()),
        })?;
        (self.status, self.body) = (status.to_string(), body);
        self.out(&format!("{method} {path} {status}\n"))?;
        Ok(())
    }

    fn session_gone(&mut self, is_silent: bool) -> Result<(), Fail> {
        let Some(session) = &self.resume else { return Ok(()) };
        if !is_silent {
            let message = format!("no session found with id {session}");
            output::err(format!("{message}\n").as_bytes())?;
            let error = AgentError { class: ErrorClass::SessionGone, message, code: None, not_before: None };
            self.say(&AgentEvent::Result {
                error: Some(error),
                summary: None,
                plan_only: false,
                json: None,
            })?;
        }
        Err(Stop::Exit(1).into())
    }

    fn fork(&mut self, how: ForkHow, body: &'a [Line]) -> Result<(), Fail> {
        let problem = |error: io::Error| format!("fork: {error}");
        if let Some(child) = system::fork().map_err(problem)? {
            self.child = Some(child);
            if how.is_double {
                system::reap(Some(child));
                self.child = None;
            }
            return Ok(());
        }
        if how.is_double && system::fork().map_err(problem)?.is_some() {
            system::leave(0);
        }
        // From here on this is another process. It must never return into the steps of its parent, not even by a panic.
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.child(how, body)));
        system::leave(code.unwrap_or(FAILED))
    }

    fn child(&mut self, how: ForkHow, body: &'a [Line]) -> u8 {
        // Letters of the parent are none of the child's, nor the other way round.
        for signal in std::mem::take(&mut self.handlers).into_keys() {
            let _ = dispose(signal, Disposition::Default);
        }
        match Mailbox::open() {
            Ok(mailbox) => self.mailbox = mailbox,
            Err(_) => return FAILED,
        }
        self.child = None;
        if how.ignores_term && dispose(libc::SIGTERM, Disposition::Ignore).is_err() {
            return FAILED;
        }
        if system::listen().is_err() {
            return FAILED;
        }
        if how.has_own_session && rustix::process::setsid().is_err() {
            return FAILED;
        }
        if how.is_quiet && output::silence().is_err() {
            return FAILED;
        }
        self.outcome(body)
    }

    fn error(&self, failure: &Failure) -> AgentError {
        AgentError {
            class: failure.class,
            message: self.text(&failure.text),
            code: failure.code.clone(),
            not_before: failure.not_before.map(|when| match when {
                When::At(moment) => moment,
                When::In(span) => now().plus(span),
            }),
        }
    }

    fn tool_id(&self) -> String {
        format!("tool-{}", self.tools)
    }

    fn say(&mut self, event: &AgentEvent) -> Result<(), Stop> {
        Ok(output::out(&self.voice.say(event))?)
    }

    fn out(&self, text: &str) -> Result<(), Stop> {
        Ok(output::out(text.as_bytes())?)
    }

    fn file(&self, text: &Text) -> PathBuf {
        PathBuf::from(self.text(text))
    }

    fn optional(&self, text: Option<&Text>) -> Option<String> {
        text.map(|text| self.text(text))
    }

    fn json(&self, value: &Value) -> Result<Value, String> {
        words::expand(value, &mut |source| words::text(source).map(|text| self.text(&text)))
    }

    fn text(&self, text: &Text) -> String {
        let mut whole = String::new();
        for piece in &text.0 {
            match piece {
                Piece::Literal(literal) => whole.push_str(literal),
                Piece::Variable(variable) => whole.push_str(&self.value(variable)),
            }
        }
        whole
    }

    fn value(&self, name: &Variable) -> String {
        match name {
            Variable::RunId => run_id(),
            Variable::Epoch => epoch(),
            Variable::TaskKey => variable("BUGLE_TASK_KEY"),
            Variable::TaskId => variable("BUGLE_TASK_ID"),
            Variable::AgentId => variable("BUGLE_AGENT_ID"),
            Variable::CompanyId => variable("BUGLE_COMPANY_ID"),
            Variable::Session => self.session.clone().unwrap_or_default(),
            Variable::Pid => system::own_pid().to_string(),
            Variable::Child => self.child.map(|child| child.to_string()).unwrap_or_default(),
            Variable::Round => self.rounds.last().map(u64::to_string).unwrap_or_default(),
            Variable::LineRead => self.line_read.clone(),
            Variable::Status => self.status.clone(),
            Variable::Body => self.body.clone(),
            Variable::Arg(number) => self.args.get(number - 1).cloned().unwrap_or_default(),
            Variable::Env(name) => variable(name),
        }
    }
}

fn variable(name: &str) -> String {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The keeper's mark is `<run>/<epoch>`.
fn mark() -> (String, String) {
    let mark = variable("BUGLE_RUN");
    match mark.rsplit_once('/') {
        Some((run, epoch)) => (run.to_owned(), epoch.to_owned()),
        None => (String::new(), String::new()),
    }
}

fn run_id() -> String {
    let id = variable("BUGLE_RUN_ID");
    let id = if id.is_empty() { mark().0 } else { id };
    if id.is_empty() { "no-run".to_owned() } else { id }
}

/// Outside of a keeper it is the first and only process.
fn epoch() -> String {
    let (_, epoch) = mark();
    if epoch.is_empty() { "1".to_owned() } else { epoch }
}

fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn dispose(signal: i32, how: Disposition) -> Result<(), String> {
    system::dispose(signal, how).map_err(|error| format!("change what becomes of signal {signal}: {error}"))
}
