//! What a person or a script sees: standard output and standard error, colours, tables and the live status line.
//!
//! The one place that prints. Colours and the status line appear on terminals only; `NO_COLOR` and `TERM=dumb` are
//! respected. A reader that goes away (`| head`) ends the program quietly.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value as Json;

use crate::failure::Failure;

/// Colours by what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
    Busy,
    Waiting,
    Faint,
    Strong,
}

impl Tone {
    fn code(self) -> Option<&'static str> {
        match self {
            Tone::Plain => None,
            Tone::Good => Some("32"),
            Tone::Bad => Some("31"),
            Tone::Busy => Some("36"),
            Tone::Waiting => Some("33"),
            Tone::Faint => Some("2"),
            Tone::Strong => Some("1"),
        }
    }

    /// The colour of a run's status.
    pub(crate) fn of_status(status: &str) -> Tone {
        match status {
            "succeeded" => Tone::Good,
            "failed" | "timed_out" => Tone::Bad,
            "running" => Tone::Busy,
            "queued" | "scheduled_retry" => Tone::Waiting,
            "cancelled" => Tone::Faint,
            _ => Tone::Plain,
        }
    }
}

/// Both outputs of the program.
#[derive(Debug)]
pub(crate) struct Screen {
    pub(crate) json: bool,
    color_out: bool,
    color_err: bool,
    /// A status line can be kept at the bottom of stderr.
    live: bool,
    /// A status line is on the screen now.
    shown: bool,
}

impl Screen {
    pub(crate) fn new(json: bool) -> Screen {
        let colors = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Screen {
            json,
            color_out: colors && out && !json,
            color_err: colors && err,
            live: err && !json,
            shown: false,
        }
    }

    /// A text in a colour, for stdout.
    pub(crate) fn tint(&self, tone: Tone, text: &str) -> String {
        tinted(self.color_out, tone, text)
    }

    /// A text in a colour, for stderr.
    pub(crate) fn tint_note(&self, tone: Tone, text: &str) -> String {
        tinted(self.color_err, tone, text)
    }

    /// A line on stdout.
    pub(crate) fn line(&mut self, text: &str) {
        self.clear();
        self.write_out(text.as_bytes());
        self.write_out(b"\n");
        flush_out();
    }

    /// A JSON value on stdout: the answer of a command.
    pub(crate) fn answer(&mut self, value: &Json) {
        self.line(&format!("{value:#}"));
    }

    /// A JSON value as one line, for answers that go on.
    pub(crate) fn json_line(&mut self, value: &Json) {
        self.line(&value.to_string());
    }

    /// A line for the person, on stderr; not shown with `--json`.
    pub(crate) fn note(&mut self, text: &str) {
        if !self.json {
            self.clear();
            self.write_err(format!("{text}\n").as_bytes());
        }
    }

    /// Output of an agent, as it is.
    pub(crate) fn pass_on(&mut self, is_stderr: bool, text: &str) {
        self.clear();
        if is_stderr {
            self.write_err(text.as_bytes());
        } else {
            self.write_out(text.as_bytes());
            flush_out();
        }
    }

    /// Shows or replaces the live status line.
    pub(crate) fn status(&mut self, text: &str) {
        if self.live {
            let cut: String = text.chars().take(terminal_width().saturating_sub(1)).collect();
            let line = format!("\r\x1b[K{}", tinted(self.color_err, Tone::Faint, &cut));
            self.write_err(line.as_bytes());
            self.shown = true;
        }
    }

    /// A status line would be seen.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Takes the status line away.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            self.write_err(b"\r\x1b[K");
        }
    }

    /// Says why a command failed, and what to type next.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        self.clear();
        if failure.is_silent {
            return;
        }
        if self.json {
            self.write_err(format!("{}\n", failure.to_json()).as_bytes());
            return;
        }
        let mut text = format!("{} {}\n", self.tint_note(Tone::Bad, "error:"), failure.message);
        for problem in problems(failure) {
            text.push_str(&format!("  {problem}\n"));
        }
        if let Some(hint) = &failure.hint {
            text.push_str(&format!("{} {hint}\n", self.tint_note(Tone::Waiting, "hint:")));
        }
        self.write_err(text.as_bytes());
    }

    /// A table on stdout; nothing but the head when there are no rows is the caller's business.
    pub(crate) fn table(&mut self, head: &[&str], rows: Vec<Vec<(Tone, String)>>) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if self.color_out {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(head.iter().map(|title| cell(Tone::Faint, title)));
        for row in rows {
            table.add_row(row.iter().map(|(tone, text)| cell(*tone, text)));
        }
        for line in table.to_string().lines() {
            self.line(line.strip_prefix(' ').unwrap_or(line).trim_end());
        }
    }

    fn write_out(&self, bytes: &[u8]) {
        leave_if_nobody_reads(io::stdout().lock().write_all(bytes));
    }

    fn write_err(&self, bytes: &[u8]) {
        // Nobody can be told when stderr is gone; the work goes on.
        let _ = io::stderr().lock().write_all(bytes);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The mistakes that the server named, one a line.
fn problems(failure: &Failure) -> Vec<String> {
    let listed = failure.details.as_deref().and_then(Json::as_array);
    listed
        .into_iter()
        .flatten()
        .filter_map(|problem| {
            let message = problem.get("message")?.as_str()?;
            let path = match problem.get("path")? {
                Json::Array(steps) => steps
                    .iter()
                    .map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned))
                    .collect::<Vec<_>>()
                    .join("."),
                other => other.as_str()?.to_owned(),
            };
            let hint = problem
                .get("hint")
                .and_then(Json::as_str)
                .map(|hint| format!(" ({hint})"))
                .unwrap_or_default();
            Some(if path.is_empty() {
                format!("{message}{hint}")
            } else {
                format!("{path}: {message}{hint}")
            })
        })
        .collect()
}

fn cell(tone: Tone, text: &str) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Bad => cell.fg(Color::DarkRed),
        Tone::Busy => cell.fg(Color::DarkCyan),
        Tone::Waiting => cell.fg(Color::DarkYellow),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
        Tone::Strong => cell.add_attribute(Attribute::Bold),
    }
}

fn tinted(colors: bool, tone: Tone, text: &str) -> String {
    match tone.code() {
        Some(code) if colors && !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
        _ => text.to_owned(),
    }
}

fn flush_out() {
    leave_if_nobody_reads(io::stdout().lock().flush());
}

fn leave_if_nobody_reads(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

fn terminal_width() -> usize {
    // Some terminals do not know their size and say 0.
    let told = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if told == 0 { 80 } else { told }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn colours_are_left_out_unless_wanted() {
        assert_eq!(tinted(false, Tone::Bad, "x"), "x");
        assert_eq!(tinted(true, Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(tinted(true, Tone::Bad, ""), "");
    }

    #[test]
    fn the_servers_problems_are_listed_with_their_paths() {
        let failure = Failure::usage("x", "Validation error").details(Some(json!([
            {"code": "invalid_type", "path": ["payload", 0], "message": "must be an object"},
            {"path": "adapterConfig.cwd", "message": "must be absolute", "hint": "start it with /"},
            {"unrelated": true},
        ])));
        assert_eq!(
            problems(&failure),
            ["payload.0: must be an object", "adapterConfig.cwd: must be absolute (start it with /)"]
        );
    }
}
