//! The language of the scripted agent: what a script consists of.
//!
//! A script is a list of steps, one a line. Blank lines and lines that begin with `#` mean nothing. Steps with a body
//! end their line with `{`, the body's last line is `}`; an `if-...` may go on with `} else {`.
//!
//! ```text
//! session
//! if-resuming {
//!   message going on with ${TASK_KEY}
//! } else {
//!   message starting ${TASK_KEY}
//! }
//! repeat 3 {
//!   tool bash {"command": "make test"}
//!   usage 1000 200 50 0.02
//!   sleep 100ms
//! }
//! result success all tests pass
//! ```
//!
//! * TEXT is the rest of the line as it stands. In double quotes it is a JSON string, for spaces at the borders and
//!   for line ends inside.
//! * FILE, ID and other single words end at a space; in double quotes they are JSON strings too. Files are relative to
//!   the working folder.
//! * SPAN is a number with `us`, `ms`, `s`, `m` or `h`; SIZE a number of bytes or one with `KiB`, `MiB` or `GiB`.
//! * `${NAME}` in TEXT, FILE, ID and inside the strings of JSON is replaced: `RUN_ID`, `EPOCH` (of the process, from the
//!   keeper's mark), `TASK_KEY`, `TASK_ID`, `AGENT_ID`, `COMPANY_ID`, `SESSION` (said last, else the one to resume),
//!   `PID`, `CHILD` (the last `fork`), `I` (the round of the innermost `repeat`, from 1), `LINE` (the last `read` or `permission`), `STATUS` and `BODY`
//!   (the last `api`), `ARG:n` (from 1), `ENV:NAME`. `$${` is a plain `${`.
//! * As JSON (inline in a configuration) a script is a list: texts are lines, `{"repeat 3": [...]}` is a step with a
//!   body, `{"if-resuming": [...], "else": [...]}` one with two.
//!
//! A step that fails ends the program with exit code 70 and a line on stderr that names it; a script that cannot be
//! read ends it with exit code 2 before anything happened. This file holds the nouns; `parse.rs` reads, `play.rs` does.

use std::time::Duration;

use domain::moment::Moment;
use domain::telling::{ErrorClass, Usage};
use serde_json::Value;

/// The steps as people write them, and what they do; printed by `bugle scripted --steps`.
pub(crate) const STEPS: &[(&str, &str)] = &[
    ("print TEXT", "a line on stdout"),
    ("err TEXT", "a line on stderr"),
    ("lines N [TEXT]", "N lines on stdout, numbered from 1"),
    (
        "bytes SIZE [text|line|binary]",
        "that many bytes on stdout, always the same: lines of 128, one endless line, or every byte value",
    ),
    ("sleep SPAN", "waits without using the processor"),
    ("spin SPAN", "uses so much time of the processor and says nothing"),
    ("hang", "waits until it is killed"),
    ("wait-for FILE [SPAN]", "waits until the file exists; fails after SPAN (60s)"),
    ("touch FILE", "makes an empty file"),
    ("edit FILE TEXT", "appends a line to a file, making folders as needed"),
    ("commit MESSAGE", "commits everything in the working folder's git repository"),
    (
        "ledger FILE [TEXT]",
        "appends `RUN_ID EPOCH TEXT` as one durable line: a real action that must not happen twice",
    ),
    ("api METHOD PATH [JSON]", "calls the control plane and prints the status; sets STATUS and BODY"),
    ("read", "reads a line from stdin into LINE; empty at the end"),
    ("env", "prints the names of its environment, sorted"),
    ("cwd", "prints its working folder"),
    ("args", "prints its arguments, one a line"),
    (
        "session [ID]",
        "says which session it works in: ID, else the one to resume, else one named for the run",
    ),
    (
        "session-gone [silent]",
        "when resuming: says that the session is gone and exits 1; silent: exits 1 without a word",
    ),
    ("message TEXT", "says a text of the agent"),
    ("tool NAME [JSON]", "says that it uses a tool"),
    ("tool-result ok|error [TEXT]", "says what the last tool gave"),
    (
        "permission NAME [JSON]",
        "asks for the permission to use a tool and waits; sets LINE to the option that was chosen, or to `none` (acp only)",
    ),
    (
        "usage IN OUT [CACHED] [COST] [model=M] [provider=P] [biller=B] [billing=T]",
        "says what one more message used; COST in dollars",
    ),
    ("usage-total IN OUT [CACHED] [COST] [...]", "says what the run used so far"),
    ("trouble CLASS [not-before=WHEN] [code=CODE] TEXT", "says that something went wrong, and goes on"),
    ("result success [TEXT]", "the terminal event: done"),
    (
        "result error CLASS [not-before=WHEN] [code=CODE] TEXT",
        "the terminal event: failed; CLASS is transient, quota, auth, session_gone, permission, bad_request or other; WHEN a SPAN from now or an ISO time",
    ),
    ("plan-only [TEXT]", "the terminal event: only a plan came out"),
    ("exit CODE", "ends at once"),
    ("kill SIGNAL", "sends itself a signal"),
    ("ignore SIGNAL...", "ignores signals from now on"),
    ("on SIGNAL { ... }", "plays the body when the signal comes, during a wait or between steps"),
    (
        "fork [setsid] [double] [quiet] [ignore-term] { ... }",
        "plays the body in a child: in its own session, as a grandchild whose parent is gone, without stdout and stderr, deaf to TERM",
    ),
    ("wait", "waits until every child has ended"),
    ("repeat N { ... }", "plays the body N times"),
    ("if-resuming { ... }", "plays the body when it was started to resume a session"),
    ("if-attempt N { ... }", "plays the body in the Nth process of the run"),
    ("if-file FILE { ... }", "plays the body when the file exists"),
    ("if-same A B { ... }", "plays the body when both words are the same"),
];

/// A step and the line it stands on, from 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) step: Step,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Print(Text),
    Err(Text),
    Lines { count: u64, text: Option<Text> },
    Bytes { count: u64, form: Form },
    Sleep(Duration),
    Spin(Duration),
    Hang,
    WaitFor { file: Text, within: Duration },
    Touch(Text),
    Edit { file: Text, text: Text },
    Commit(Text),
    Ledger { file: Text, text: Option<Text> },
    Api { method: String, path: Text, body: Option<Value> },
    Read,
    Env,
    Cwd,
    Args,
    Session(Option<Text>),
    SessionGone { is_silent: bool },
    Message(Text),
    Tool { name: String, input: Value },
    ToolResult { is_error: bool, text: Option<Text> },
    Permission { name: String, input: Value },
    Usage { is_total: bool, usage: Usage },
    Trouble(Failure),
    Success(Option<Text>),
    Failure(Failure),
    PlanOnly(Option<Text>),
    Exit(u8),
    Kill(i32),
    Ignore(Vec<i32>),
    On { signal: i32, body: Vec<Line> },
    Fork { how: ForkHow, body: Vec<Line> },
    Wait,
    Repeat { count: u64, body: Vec<Line> },
    If { condition: Condition, then: Vec<Line>, otherwise: Vec<Line> },
}

/// What `bytes` look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Lines of 128 bytes.
    Text,
    /// No line end.
    Line,
    /// Every byte value.
    Binary,
}

/// A failure that the script wants to report.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub(crate) class: ErrorClass,
    pub(crate) code: Option<String>,
    pub(crate) not_before: Option<When>,
    pub(crate) text: Text,
}

/// A moment that may be relative to the moment when the step is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    In(Duration),
    At(Moment),
}

/// How a child is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ForkHow {
    pub(crate) has_own_session: bool,
    pub(crate) is_double: bool,
    pub(crate) is_quiet: bool,
    pub(crate) ignores_term: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    Resuming,
    Attempt(u64),
    File(Text),
    Same(Text, Text),
}

/// A text with variables in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Literal(String),
    Variable(Variable),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Variable {
    RunId,
    Epoch,
    TaskKey,
    TaskId,
    AgentId,
    CompanyId,
    Session,
    Pid,
    Child,
    Round,
    LineRead,
    Status,
    Body,
    Arg(usize),
    Env(String),
}

impl Variable {
    pub(crate) fn parse(name: &str) -> Option<Variable> {
        Some(match name {
            "RUN_ID" => Variable::RunId,
            "EPOCH" => Variable::Epoch,
            "TASK_KEY" => Variable::TaskKey,
            "TASK_ID" => Variable::TaskId,
            "AGENT_ID" => Variable::AgentId,
            "COMPANY_ID" => Variable::CompanyId,
            "SESSION" => Variable::Session,
            "PID" => Variable::Pid,
            "CHILD" => Variable::Child,
            "I" => Variable::Round,
            "LINE" => Variable::LineRead,
            "STATUS" => Variable::Status,
            "BODY" => Variable::Body,
            _ => match name.split_once(':')? {
                ("ENV", name) if !name.is_empty() => Variable::Env(name.to_owned()),
                ("ARG", number) => Variable::Arg(number.parse().ok().filter(|number| *number > 0)?),
                _ => return None,
            },
        })
    }
}
