//! Whether a process goes on with the session of the run before, and what it means when it did not.
//!
//! These programs keep their sessions on the disk, most of them below the folder they worked in. So the
//! folder is noted with the session, and a run in another folder starts afresh without first asking for what
//! cannot be found. A session that cannot take another turn is noted as `over`, with the reason.

use std::path::Path;

use domain::telling::{AgentError, ErrorClass};
use serde_json::Value;

use crate::adapter::Setup;

/// The answer for one process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resume<'a> {
    /// The session to go on with.
    pub(crate) session: Option<&'a str>,
    /// Why a session that is known is left alone, for people.
    pub(crate) note: Option<String>,
}

/// Decides for a process that will work in `cwd`. Command and reader of one process ask the same, so they
/// agree.
pub(crate) fn resume<'a>(setup: &Setup<'a>, cwd: &Path) -> Resume<'a> {
    let Some(session) = setup.session.map(str::trim).filter(|id| !id.is_empty()) else {
        return Resume { session: None, note: None };
    };
    // It may come from a person, and it becomes an argument: it must not be read as a flag.
    if session.starts_with('-') || session.chars().any(char::is_control) {
        let note = "the session that was asked for has no usable id, so a fresh one is started";
        return Resume { session: None, note: Some(note.to_owned()) };
    }
    let noted = |key: &str| setup.session_note.and_then(|note| note.get(key)).and_then(Value::as_str);
    if let Some(why) = noted("over").filter(|why| !why.trim().is_empty()) {
        let note = format!("session {session} is over ({why}), so a fresh one is started");
        return Resume { session: None, note: Some(note) };
    }
    let noted = noted("cwd");
    match noted.filter(|noted| !noted.is_empty() && Path::new(noted) != cwd) {
        Some(noted) => {
            let note = format!(
                "session {session} worked in `{noted}` and this run works in `{}`, so a fresh one is started",
                cwd.display()
            );
            Resume { session: None, note: Some(note) }
        }
        None => Resume { session: Some(session), note: None },
    }
}

/// The session that was asked for does not exist any more; `message` in the words of the program.
pub(crate) fn gone(message: impl Into<String>) -> AgentError {
    AgentError { class: ErrorClass::SessionGone, message: message.into(), code: None, not_before: None }
}

/// The program took another session than it was asked for: what it was told was meant for somebody who knows
/// the rest.
pub(crate) fn other(asked: &str, answered: &str) -> AgentError {
    gone(format!("session {asked} was asked for, and session {answered} answered"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use domain::moment::Moment;
    use serde_json::json;

    use super::*;
    use crate::env::Host;

    fn answer(session: Option<&str>, note: Option<&Value>) -> (Option<String>, bool) {
        let (host, nothing) = (Host::default(), json!({}));
        let folder = PathBuf::from("/home/ada/here");
        let setup = Setup {
            run_id: "r",
            company_id: "c",
            agent_id: "a",
            agent_name: "A",
            task_key: None,
            config: &nothing,
            context: &nothing,
            wake_reason: None,
            session,
            session_note: note,
            started_at: Moment::from_micros(0),
            api_url: "",
            api_key: None,
            program: Path::new("/bugle"),
            default_cwd: &folder,
            host: &host,
        };
        let resume = resume(&setup, &folder);
        (resume.session.map(str::to_owned), resume.note.is_some())
    }

    #[test]
    fn a_session_is_resumed_in_the_folder_it_worked_in_and_nowhere_else() {
        let id = Some("s-1");
        let on = |folder: &str| json!({ "cwd": folder });
        assert_eq!(answer(None, None), (None, false));
        assert_eq!(answer(Some(" "), None), (None, false));
        assert_eq!(answer(id, None), (id.map(str::to_owned), false));
        assert_eq!(answer(id, Some(&on("/home/ada/here"))), (id.map(str::to_owned), false));
        assert_eq!(answer(id, Some(&on("/home/ada/here/"))), (id.map(str::to_owned), false));
        assert_eq!(answer(id, Some(&on(""))), (id.map(str::to_owned), false));
        assert_eq!(answer(id, Some(&json!({ "cwd": 7 }))), (id.map(str::to_owned), false));
        assert_eq!(answer(id, Some(&on("/home/ada/there"))), (None, true));
        assert_eq!(answer(id, Some(&json!({ "cwd": "/home/ada/here", "over": "full" }))), (None, true));
        assert_eq!(answer(id, Some(&json!({ "over": " " }))), (id.map(str::to_owned), false));
    }

    #[test]
    fn an_id_that_could_be_read_as_a_flag_is_not_passed_on() {
        assert_eq!(answer(Some("--yolo"), None), (None, true));
        assert_eq!(answer(Some("a\nb"), None), (None, true));
        assert_eq!(answer(Some("/home/a/b.jsonl"), None), (Some("/home/a/b.jsonl".to_owned()), false));
    }
}
