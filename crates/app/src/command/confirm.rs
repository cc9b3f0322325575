//! Asking before what cannot be undone: a person types the name, a script says `--yes`.

use std::io::IsTerminal;

use crate::cli::Context;
use crate::failure::Failure;

/// What is about to be done.
pub(super) struct Deed<'a> {
    /// The first part of the error's code.
    pub(super) code: &'a str,
    /// What is to be typed to confirm it.
    pub(super) name: &'a str,
    /// What a person is asked.
    pub(super) question: String,
    /// What cannot be undone, for a script.
    pub(super) what: String,
    /// The command that does it without a question.
    pub(super) command: String,
}

/// Goes on only when it is meant.
pub(super) fn confirm(context: &mut Context, deed: Deed<'_>, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let code = format!("{}.unconfirmed", deed.code);
    let hint = format!("to do it: {}", deed.command);
    if !std::io::stdin().is_terminal() || context.global.json {
        return Err(Failure::usage(&code, format!("{} cannot be undone; say --yes", deed.what)).hint(hint));
    }
    context.screen.note(&format!("{} Type {} to go on:", deed.question, deed.name));
    let mut answer = String::new();
    if std::io::stdin().read_line(&mut answer).is_ok() && answer.trim() == deed.name {
        return Ok(());
    }
    Err(Failure::usage(&code, "nothing was done").hint(hint))
}
