//! The program `bugle scripted`: reads its arguments and the script, plays it, and ends with the right code.
//!
//! ```text
//! bugle scripted FILE [--speak plain|claude|codex|acp] [--resume ID] [-- ARGS...]      FILE - is stdin
//! bugle scripted --steps                                              lists the steps
//! ```

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::parse::{self, ScriptError};
use super::play;
use super::script::{Line, STEPS};
use super::speech::Speech;

/// The first argument under which the `bugle` executable becomes this program.
pub const SCRIPTED: &str = "scripted";

/// Wrong arguments, or a script that cannot be read.
const USAGE: u8 = 2;

const HELP: &str = "usage: bugle scripted FILE [--speak plain|claude|codex|acp] [--resume ID] [-- ARGS...]
       bugle scripted --steps
FILE is a script, - reads it from stdin.";

/// What the program was asked to do.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Play { file: PathBuf, speech: Speech, resume: Option<String>, args: Vec<String> },
    Steps,
    Help,
}

/// Why a script could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("read the script `{}`: {source}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("read the script `{}`: {source}", .path.display())]
    Script { path: PathBuf, source: ScriptError },
}

/// Plays a script; `args` are the arguments after `bugle scripted`. The process must have one thread and should do
/// nothing but end with the code that is returned.
pub fn scripted_main(args: impl IntoIterator<Item = String>) -> ExitCode {
    let asked = match read_args(args.into_iter()) {
        Ok(asked) => asked,
        Err(problem) => {
            eprintln!("{problem}\n{HELP}");
            return ExitCode::from(USAGE);
        }
    };
    match asked {
        Asked::Help => say(&format!("{HELP}\n")),
        Asked::Steps => {
            say(&STEPS.iter().map(|(usage, meaning)| format!("{usage}\n    {meaning}\n")).collect::<String>())
        }
        Asked::Play { file, speech, resume, args } => match load(&file) {
            Ok(script) => ExitCode::from(play::play(&script, speech, resume, args)),
            Err(error) => {
                eprintln!("failed to {error}");
                ExitCode::from(USAGE)
            }
        },
    }
}

/// Prints a text. Whoever reads only the beginning of it, as `head` does, has what they wanted.
fn say(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Reads and checks a script; `-` is stdin.
pub(crate) fn load(file: &Path) -> Result<Vec<Line>, LoadError> {
    let text = if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|source| LoadError::Read { path: file.to_owned(), source })?;
    parse::parse(&text).map_err(|source| LoadError::Script { path: file.to_owned(), source })
}

fn read_args(mut args: impl Iterator<Item = String>) -> Result<Asked, String> {
    let (mut file, mut speech, mut resume) = (None, Speech::Plain, None);
    let mut rest = Vec::new();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" => return Ok(Asked::Help),
            "--steps" => return Ok(Asked::Steps),
            "--speak" => {
                let name = args.next().ok_or("--speak needs a name")?;
                speech = Speech::parse(&name).ok_or_else(|| {
                    format!("`{name}` is not a speech; it is one of: {}", Speech::NAMES.join(", "))
                })?;
            }
            "--resume" => resume = Some(args.next().ok_or("--resume needs a session")?),
            "--" => rest.extend(args.by_ref()),
            other if other.starts_with("--") => return Err(format!("`{other}` is not an option")),
            other if file.is_none() => file = Some(PathBuf::from(other)),
            other => return Err(format!("`{other}` is too much; arguments for the script come after --")),
        }
    }
    let file = file.ok_or("the FILE is missing")?;
    Ok(Asked::Play { file, speech, resume, args: rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Asked, String> {
        read_args(args.iter().map(|arg| (*arg).to_owned()))
    }

    #[test]
    fn arguments_are_read_in_any_order_and_mistakes_named() {
        let asked = Asked::Play {
            file: "f".into(),
            speech: Speech::Plain,
            resume: Some("s".into()),
            args: vec!["--speak".into(), "x".into()],
        };
        assert_eq!(read(&["--resume", "s", "f", "--speak", "plain", "--", "--speak", "x"]), Ok(asked));
        assert_eq!(read(&["--steps"]), Ok(Asked::Steps));
        for (args, problem) in [
            (
                &["--speak", "latin", "f"][..],
                "`latin` is not a speech; it is one of: plain, claude, codex, acp",
            ),
            (&[], "the FILE is missing"),
            (&["f", "g"], "`g` is too much; arguments for the script come after --"),
            (&["f", "--loud"], "`--loud` is not an option"),
            (&["f", "--resume"], "--resume needs a session"),
        ] {
            assert_eq!(read(args), Err(problem.to_owned()));
        }
    }
}
