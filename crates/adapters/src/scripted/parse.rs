//! Reading a script: text, or its JSON form, into steps; or an error that names the line and what was expected there.
//!
//! Everything that can be wrong without playing is found here. The language itself is described in `script.rs`, the words
//! of a line are read by `words.rs`.

use std::time::Duration;

use serde_json::Value;

use super::script::{Condition, ForkHow, Line, STEPS, Step};
use super::system;
use super::words::Words;

/// How long `wait-for` waits when the script does not say.
const WAIT_FOR: Duration = Duration::from_secs(60);

/// Bodies within bodies; deeper is a mistake, and would end the stack of the reader.
const DEEPEST: usize = 100;

/// Why a script cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: `{line}`: {problem}")]
pub(crate) struct ScriptError {
    pub(crate) number: usize,
    pub(crate) line: String,
    pub(crate) problem: String,
}

/// Reads a script.
pub(crate) fn parse(text: &str) -> Result<Vec<Line>, ScriptError> {
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())).filter(|(_, line)| {
        // An empty line or a comment.
        !line.is_empty() && !line.starts_with('#')
    });
    let (steps, end) = body(&mut lines, 0)?;
    match end {
        End::Script => Ok(steps),
        End::Body(number) => Err(error(number, "}", "closes nothing: there is no open `{`")),
        End::Else(number) => Err(error(number, "} else {", "belongs to no `if-...`")),
    }
}

/// Turns the JSON form into the text form.
pub(crate) fn from_json(script: &Value) -> Result<String, ScriptError> {
    let mut text = String::new();
    write_steps(script, &mut text, 0)?;
    Ok(text)
}

fn write_steps(steps: &Value, text: &mut String, depth: usize) -> Result<(), ScriptError> {
    let number = text.lines().count() + 1;
    let Some(steps) = steps.as_array().filter(|_| depth <= DEEPEST) else {
        return Err(error(number, &short(&steps.to_string()), "expected a list of steps"));
    };
    for step in steps {
        match step {
            Value::String(line) => {
                text.push_str(line);
                text.push('\n');
            }
            Value::Object(fields) => {
                let mut heads = fields.iter().filter(|(head, _)| *head != "else");
                let (Some((head, then)), None) = (heads.next(), heads.next()) else {
                    let problem = "expected one step with its body, like {\"repeat 3\": [\"print hello\"]}";
                    return Err(error(text.lines().count() + 1, &short(&step.to_string()), problem));
                };
                text.push_str(&format!("{} {{\n", head.trim_end_matches(['{', ' '])));
                write_steps(then, text, depth + 1)?;
                if let Some(otherwise) = fields.get("else") {
                    text.push_str("} else {\n");
                    write_steps(otherwise, text, depth + 1)?;
                }
                text.push_str("}\n");
            }
            other => {
                let problem = "expected a step: a text, or an object with a step and its body";
                return Err(error(text.lines().count() + 1, &short(&other.to_string()), problem));
            }
        }
    }
    Ok(())
}

fn error(number: usize, line: &str, problem: impl Into<String>) -> ScriptError {
    ScriptError { number, line: short(line), problem: problem.into() }
}

fn short(line: &str) -> String {
    match line.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

/// What ended a list of steps.
enum End {
    Script,
    Body(usize),
    Else(usize),
}

fn body<'a>(
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
    depth: usize,
) -> Result<(Vec<Line>, End), ScriptError> {
    let mut steps = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line == "}" {
            return Ok((steps, End::Body(number)));
        }
        if line.starts_with('}') && line[1..].split_whitespace().eq(["else", "{"]) {
            return Ok((steps, End::Else(number)));
        }
        if depth > DEEPEST {
            return Err(error(number, line, format!("is nested deeper than {DEEPEST} bodies")));
        }
        let step = step(number, line, lines, depth).map_err(|problem| match problem {
            Wrong::Here(problem) => {
                let name = line.split_whitespace().next().unwrap_or_default();
                let usage = STEPS.iter().find(|(usage, _)| usage.split(' ').next() == Some(name));
                match usage {
                    Some((usage, _)) => error(number, line, format!("{problem}; expected `{usage}`")),
                    None => error(number, line, problem),
                }
            }
            Wrong::There(error) => error,
        })?;
        steps.push(Line { number, step });
    }
    Ok((steps, End::Script))
}

/// A mistake on this line, or one further down in its body.
enum Wrong {
    Here(String),
    There(ScriptError),
}

impl From<String> for Wrong {
    fn from(problem: String) -> Wrong {
        Wrong::Here(problem)
    }
}

fn step<'a>(
    number: usize,
    line: &'a str,
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
    depth: usize,
) -> Result<Step, Wrong> {
    let mut words = Words { rest: line };
    let name = words.bare().unwrap_or_default();
    let has_body = matches!(name, "fork" | "repeat" | "on") || name.starts_with("if-");
    if has_body {
        let head = words.rest.strip_suffix('{').ok_or_else(|| "the line must end with `{`".to_owned())?;
        words = Words { rest: head.trim() };
        return with_body(number, line, name, words, lines, depth);
    }
    let step = match name {
        "print" => Step::Print(words.text_or_empty()?),
        "err" => Step::Err(words.text_or_empty()?),
        "lines" => Step::Lines { count: words.number("N")?, text: words.text()? },
        "bytes" => Step::Bytes { count: words.size()?, form: words.form()? },
        "sleep" => Step::Sleep(words.span()?),
        "spin" => Step::Spin(words.span()?),
        "hang" => Step::Hang,
        "wait-for" => Step::WaitFor {
            file: words.word("FILE")?,
            within: if words.rest.is_empty() { WAIT_FOR } else { words.span()? },
        },
        "touch" => Step::Touch(words.word("FILE")?),
        "edit" => Step::Edit { file: words.word("FILE")?, text: words.text_or_empty()? },
        "commit" => Step::Commit(words.some_text()?),
        "ledger" => Step::Ledger { file: words.word("FILE")?, text: words.text()? },
        "api" => Step::Api { method: words.method()?, path: words.word("PATH")?, body: words.json()? },
        "read" => Step::Read,
        "env" => Step::Env,
        "cwd" => Step::Cwd,
        "args" => Step::Args,
        "session" => Step::Session(if words.rest.is_empty() { None } else { Some(words.word("ID")?) }),
        "session-gone" => Step::SessionGone { is_silent: words.flag("silent") },
        "message" => Step::Message(words.some_text()?),
        "tool" => Step::Tool {
            name: words.bare().ok_or_else(|| "NAME is missing".to_owned())?.to_owned(),
            input: words.json()?.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        },
        "permission" => Step::Permission {
            name: words.bare().ok_or_else(|| "NAME is missing".to_owned())?.to_owned(),
            input: words.json()?.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        },
        "tool-result" => match words.bare() {
            Some("ok") => Step::ToolResult { is_error: false, text: words.text()? },
            Some("error") => Step::ToolResult { is_error: true, text: words.text()? },
            _ => return Err("the result is neither ok nor error".to_owned().into()),
        },
        "usage" => Step::Usage { is_total: false, usage: words.usage()? },
        "usage-total" => Step::Usage { is_total: true, usage: words.usage()? },
        "trouble" => Step::Trouble(words.failure()?),
        "result" => match words.bare() {
            Some("success") => Step::Success(words.text()?),
            Some("error") => Step::Failure(words.failure()?),
            _ => return Err("the result is neither success nor error".to_owned().into()),
        },
        "plan-only" => Step::PlanOnly(words.text()?),
        "exit" => {
            let code = words.number("CODE")?;
            Step::Exit(u8::try_from(code).map_err(|_| format!("`{code}` is not an exit code (0 to 255)"))?)
        }
        "kill" => Step::Kill(words.signal()?),
        "ignore" => {
            let mut signals = vec![words.signal()?];
            while !words.rest.is_empty() {
                signals.push(words.signal()?);
            }
            Step::Ignore(signals)
        }
        "wait" => Step::Wait,
        _ => {
            let known: Vec<&str> = STEPS.iter().filter_map(|(usage, _)| usage.split(' ').next()).collect();
            return Err(format!("`{name}` is not a step; the steps are {}", known.join(", ")).into());
        }
    };
    words.end()?;
    Ok(step)
}

fn with_body<'a>(
    number: usize,
    line: &str,
    name: &str,
    mut words: Words<'a>,
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
    depth: usize,
) -> Result<Step, Wrong> {
    // The head first: its mistake is nearer to the reader than one in the body.
    enum Head {
        Fork(ForkHow),
        Repeat(u64),
        On(i32),
        If(Condition),
    }
    let head = match name {
        "fork" => {
            let mut how = ForkHow::default();
            while let Some(word) = words.bare() {
                match word {
                    "setsid" => how.has_own_session = true,
                    "double" => how.is_double = true,
                    "quiet" => how.is_quiet = true,
                    "ignore-term" => how.ignores_term = true,
                    other => return Err(format!("`{other}` is not a way to fork").into()),
                }
            }
            Head::Fork(how)
        }
        "repeat" => Head::Repeat(words.number("N")?),
        "on" => {
            let signal = words.signal()?;
            if !system::can_be_handled(signal) {
                return Err("no program can handle this signal".to_owned().into());
            }
            Head::On(signal)
        }
        "if-resuming" => Head::If(Condition::Resuming),
        "if-attempt" => Head::If(Condition::Attempt(words.number("N")?)),
        "if-file" => Head::If(Condition::File(words.word("FILE")?)),
        "if-same" => Head::If(Condition::Same(words.word("A")?, words.word("B")?)),
        _ => return Err(format!("`{name}` is not a condition").into()),
    };
    words.end()?;

    let unclosed = || Wrong::There(error(number, line, "the body that begins here is never closed with `}`"));
    let (steps, end) = body(lines, depth + 1).map_err(Wrong::There)?;
    match (head, end) {
        (_, End::Script) => Err(unclosed()),
        (Head::Fork(how), End::Body(_)) => Ok(Step::Fork { how, body: steps }),
        (Head::Repeat(count), End::Body(_)) => Ok(Step::Repeat { count, body: steps }),
        (Head::On(signal), End::Body(_)) => Ok(Step::On { signal, body: steps }),
        (Head::If(condition), End::Body(_)) => Ok(Step::If { condition, then: steps, otherwise: Vec::new() }),
        (Head::If(condition), End::Else(_)) => {
            let (otherwise, end) = body(lines, depth + 1).map_err(Wrong::There)?;
            match end {
                End::Body(_) => Ok(Step::If { condition, then: steps, otherwise }),
                End::Script => Err(unclosed()),
                End::Else(at) => {
                    Err(Wrong::There(error(at, "} else {", "is the second else of one `if-...`")))
                }
            }
        }
        (_, End::Else(at)) => Err(Wrong::There(error(at, "} else {", "belongs to no `if-...`"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::script::{Piece, Text};
    use super::super::words::text;
    use super::*;

    fn problem(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_mistake_names_its_line_and_what_was_expected() {
        for (script, expected) in [
            (
                "\n# hi\nsleep 2x",
                "line 3: `sleep 2x`: `2x` is not a span like 250us, 100ms, 1.5s, 2m or 1h; expected `sleep SPAN`",
            ),
            ("sleep", "line 1: `sleep`: SPAN is missing; expected `sleep SPAN`"),
            ("hang now", "line 1: `hang now`: `now` is too much; expected `hang`"),
            ("exit 256", "line 1: `exit 256`: `256` is not an exit code (0 to 255); expected `exit CODE`"),
            (
                "kill NOISE",
                "line 1: `kill NOISE`: `NOISE` is not a signal like TERM, INT, HUP, USR1 or KILL; expected `kill SIGNAL`",
            ),
            (
                "bytes 3KB",
                "line 1: `bytes 3KB`: `3KB` is not a size like 100, 64KiB, 5MiB or 1GiB; expected `bytes SIZE [text|line|binary]`",
            ),
            (
                "repeat 3 {\nprint\n",
                "line 1: `repeat 3 {`: the body that begins here is never closed with `}`",
            ),
            ("repeat 3", "line 1: `repeat 3`: the line must end with `{`; expected `repeat N { ... }`"),
            ("print\n}", "line 2: `}`: closes nothing: there is no open `{`"),
            ("repeat 1 {\n} else {\n}", "line 2: `} else {`: belongs to no `if-...`"),
            (
                "if-resuming {\n} else {\n} else {\n}",
                "line 3: `} else {`: is the second else of one `if-...`",
            ),
            ("if-raining {\n}", "line 1: `if-raining {`: `if-raining` is not a condition"),
            (
                "repeat 2 {\n  repeat 2 {\n    sleep\n  }\n}",
                "line 3: `sleep`: SPAN is missing; expected `sleep SPAN`",
            ),
            (
                "print ${NOPE}",
                "line 1: `print ${NOPE}`: there is no variable `NOPE`; write `$${` for a plain `${`; expected `print TEXT`",
            ),
            (
                "print ${ENV:X",
                "line 1: `print ${ENV:X`: a `${` is never closed; write `$${` for a plain one; expected `print TEXT`",
            ),
            (
                "tool bash {\"a\": ${I}}",
                "line 1: `tool bash {\"a\": ${I}}`: not JSON: expected value at line 1 column 7; expected `tool NAME [JSON]`",
            ),
            (
                "tool bash \"${HM}\"",
                "line 1: `tool bash \"${HM}\"`: there is no variable `HM`; write `$${` for a plain `${`; expected `tool NAME [JSON]`",
            ),
            (
                "on KILL {\n}",
                "line 1: `on KILL {`: no program can handle this signal; expected `on SIGNAL { ... }`",
            ),
            (
                "usage 1",
                "line 1: `usage 1`: OUT is missing; expected `usage IN OUT [CACHED] [COST] [model=M] [provider=P] [biller=B] [billing=T]`",
            ),
            (
                "fork loudly {\n}",
                "line 1: `fork loudly {`: `loudly` is not a way to fork; expected `fork [setsid] [double] [quiet] [ignore-term] { ... }`",
            ),
        ] {
            assert_eq!(problem(script), expected);
        }
        assert!(
            problem("result error tired x")
                .contains("`tired` is not a class of failure (transient, quota, auth,")
        );
        assert!(problem("dance").contains("`dance` is not a step; the steps are print, err,"));
        assert!(problem(&"repeat 1 {\n".repeat(5000)).contains("nested deeper than 100"));
    }

    #[test]
    fn every_step_of_the_table_is_read_and_no_other() {
        let examples = "print hi|err hi|lines 3 x|bytes 1KiB binary|sleep 1ms|spin 1ms|hang|wait-for f 1s|touch f|edit f x|\
            commit m|ledger f x|api get /x {\"a\":1}|read|env|cwd|args|session s|session-gone silent|message m|tool t {}|\
            tool-result ok x|permission t {}|usage 1 2|usage-total 1 2|trouble other x|result success x|result error auth x|plan-only|exit 3|\
            kill TERM|ignore TERM INT|on TERM {|fork setsid double {|wait|repeat 2 {|if-resuming {|if-attempt 2 {|if-file f {|\
            if-same a b {";
        let name = |line: &str| line.split([' ']).next().unwrap().to_owned();
        let mut seen: Vec<String> = Vec::new();
        for example in examples.split('|').map(str::trim) {
            let script = if example.ends_with('{') { format!("{example}\n}}") } else { example.to_owned() };
            assert_eq!(parse(&script).expect(example).len(), 1);
            seen.push(name(example));
        }
        let listed: Vec<String> = STEPS.iter().map(|(usage, _)| name(usage)).collect();
        assert_eq!(seen, listed);
    }

    #[test]
    fn texts_are_taken_as_they_stand_unless_wholly_quoted() {
        let literal = |source: &str| match &parse(source).unwrap()[0].step {
            Step::Print(Text(pieces)) => match &pieces[..] {
                [] => String::new(),
                [Piece::Literal(text)] => text.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(literal("print  a  b {"), "a  b {");
        assert_eq!(literal(r#"print " a\nb ""#), " a\nb ");
        assert_eq!(literal(r#"print "a" or "b""#), r#""a" or "b""#);
        assert_eq!(literal("print costs $5, $${HOME}"), "costs $5, ${HOME}");
        assert_eq!(literal("print"), "");
        let spaced = parse(r#"edit "my file" text"#).unwrap();
        assert!(matches!(&spaced[0].step, Step::Edit { file, .. } if *file == text("my file").unwrap()));
    }

    #[test]
    fn both_forms_of_a_script_mean_the_same() {
        let text = "print a\nif-resuming {\n repeat 2 {\n  print b\n }\n} else {\n print c\n}\n";
        let json = json!(["print a", {"if-resuming": [{"repeat 2": ["print b"]}], "else": ["print c"]}]);
        assert_eq!(parse(&from_json(&json).unwrap()).unwrap(), parse(text).unwrap());
        for wrong in [json!([1]), json!([{}]), json!([{"a": [], "b": []}]), json!([{"repeat 2": "print"}])] {
            assert!(from_json(&wrong).is_err(), "{wrong}");
        }
    }
}
