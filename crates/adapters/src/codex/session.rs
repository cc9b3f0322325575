//! Which thread a process takes up, and what is noted of it for the next run.
//!
//! Codex counts tokens over the whole thread, so the sum at the end of a run says nothing without the sum at
//! its beginning. That is noted, with the folder of the thread. Codex does not tell its version, so the note
//! has none.

use std::path::Path;

use serde_json::{Value, json};

use crate::adapter::Setup;
use crate::cli;
use crate::env;

/// What a thread used so far, as Codex reports it: the cached tokens are a part of the input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) input: u64,
    pub(super) cached: u64,
    pub(super) output: u64,
}

impl Totals {
    /// What came on top of `before`; `None` when the sums do not go on from there, so that nobody knows.
    pub(super) fn since(self, before: Totals) -> Option<Totals> {
        let more = Totals {
            input: self.input.checked_sub(before.input)?,
            cached: self.cached.checked_sub(before.cached)?,
            output: self.output.checked_sub(before.output)?,
        };
        // A turn that came to its end has used something.
        Some(more).filter(|more| more.input > 0 || more.output > 0)
    }
}

/// The answer for one process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice<'a> {
    /// The thread to resume.
    pub(super) session: Option<&'a str>,
    /// What that thread used before; a fresh one nothing, `None` is unknown.
    pub(super) before: Option<Totals>,
    /// Why there is a session and it is not resumed.
    pub(super) remark: Option<String>,
    /// The run before failed at the provider: leave out what makes requests unusual.
    pub(super) is_safer: bool,
}

/// Decides for a process that works in `cwd`.
pub(super) fn choose<'a>(setup: &Setup<'a>, cwd: &Path) -> Choice<'a> {
    let mode = env::non_blank(setup.context.get("codexTransientFallbackMode")).unwrap_or_default();
    let is_safer = matches!(mode.as_str(), "safer_invocation" | "fresh_session_safer_invocation");
    let fresh = |remark| Choice { session: None, before: Some(Totals::default()), remark, is_safer };
    if matches!(mode.as_str(), "fresh_session" | "fresh_session_safer_invocation") {
        let left =
            setup.session.map(|session| format!("leaves the thread {session} after repeated failures"));
        return fresh(left);
    }
    let note = setup.session_note.filter(|note| setup.session.is_some_and(|id| is_about(note, id.trim())));
    let resume = cli::session::resume(&Setup { session_note: note, ..*setup }, cwd);
    match resume.session {
        Some(session) => {
            Choice { session: Some(session), before: note.and_then(totals), remark: None, is_safer }
        }
        None => fresh(resume.note),
    }
}

/// Nothing in the note says that it is about another thread.
fn is_about(note: &Value, session: &str) -> bool {
    env::non_blank(note.get("threadId")).is_none_or(|thread| thread == session)
}

fn totals(note: &Value) -> Option<Totals> {
    let count = |key: &str| note.get(key).and_then(Value::as_u64);
    Some(Totals {
        input: count("inputTokens")?,
        cached: count("cachedInputTokens")?,
        output: count("outputTokens")?,
    })
}

/// What the next run wants to know. Without totals its usage stays unknown: a turn that did not come to its
/// end used tokens that Codex tells nobody about until the turn after it.
pub(super) fn note(thread: &str, cwd: &str, totals: Option<Totals>) -> Value {
    let mut note = json!({ "cwd": cwd, "threadId": thread });
    if let (Some(fields), Some(totals)) = (note.as_object_mut(), totals) {
        fields.insert("inputTokens".to_owned(), json!(totals.input));
        fields.insert("cachedInputTokens".to_owned(), json!(totals.cached));
        fields.insert("outputTokens".to_owned(), json!(totals.output));
    }
    note
}

/// What is noted of a thread that cannot take another turn: the next run begins a new one.
pub(super) fn over(thread: &str, cwd: &str, why: &str) -> Value {
    json!({ "cwd": cwd, "threadId": thread, "over": why })
}

#[cfg(test)]
mod tests {
    use domain::moment::Moment;

    use super::*;
    use crate::env::Host;

    const NOTED: Totals = Totals { input: 1230, cached: 200, output: 7 };

    /// Session, what was before, whether there is a remark, whether it is safer.
    fn chosen(
        session: &str,
        note: Option<Value>,
        mode: &str,
    ) -> (Option<String>, Option<Totals>, bool, bool) {
        let (config, context, host) =
            (json!({}), json!({ "codexTransientFallbackMode": mode }), Host::default());
        let setup = Setup {
            run_id: "r",
            company_id: "c",
            agent_id: "a",
            agent_name: "A",
            task_key: None,
            config: &config,
            context: &context,
            wake_reason: None,
            session: Some(session),
            session_note: note.as_ref(),
            started_at: Moment::from_micros(0),
            api_url: "http://127.0.0.1:1",
            api_key: None,
            program: Path::new("/bugle"),
            default_cwd: Path::new("/w"),
            host: &host,
        };
        let choice = choose(&setup, Path::new("/w"));
        (choice.session.map(str::to_owned), choice.before, choice.remark.is_some(), choice.is_safer)
    }

    #[test]
    fn a_thread_is_taken_up_in_its_own_folder_unless_a_fresh_one_is_wanted() {
        let kept = || Some(note("t-1", "/w", Some(NOTED)));
        let resumed = |before, safer| (Some("t-1".to_owned()), before, false, safer);
        let fresh = |remark, safer| (None, Some(Totals::default()), remark, safer);
        let rows = [
            (chosen("t-1", kept(), ""), resumed(Some(NOTED), false)),
            (chosen(" t-1 ", kept(), "same_session"), resumed(Some(NOTED), false)),
            (chosen("t-1", kept(), "safer_invocation"), resumed(Some(NOTED), true)),
            (chosen("t-1", kept(), "fresh_session"), fresh(true, false)),
            (chosen("t-1", kept(), "fresh_session_safer_invocation"), fresh(true, true)),
            (chosen("", kept(), ""), fresh(false, false)),
            (chosen("--last", None, ""), fresh(true, false)),
            // What is not known stays unknown.
            (chosen("t-1", None, ""), resumed(None, false)),
            (chosen("t-1", Some(note("t-1", "/w/", None)), ""), resumed(None, false)),
            (chosen("t-1", Some(json!({ "inputTokens": -1 })), ""), resumed(None, false)),
            (chosen("t-1", Some(json!([])), ""), resumed(None, false)),
            (chosen("t-1", Some(note("t-2", "/elsewhere", Some(NOTED))), ""), resumed(None, false)),
            (chosen("t-1", Some(note("t-1", "/elsewhere", Some(NOTED))), ""), fresh(true, false)),
            (chosen("t-1", Some(over("t-1", "/w", "full")), ""), fresh(true, false)),
            (chosen("t-1", Some(over("t-2", "/w", "full")), ""), resumed(None, false)),
        ];
        for (at, (choice, expected)) in rows.into_iter().enumerate() {
            assert_eq!(choice, expected, "row {at}");
        }
    }

    #[test]
    fn sums_that_do_not_go_on_say_nothing() {
        let sum = |input, cached, output| Totals { input, cached, output };
        assert_eq!(sum(2460, 400, 14).since(NOTED), Some(NOTED));
        assert_eq!(NOTED.since(Totals::default()), Some(NOTED));
        for other in [NOTED, sum(1000, 400, 14), sum(2460, 0, 14), sum(2460, 400, 6), Totals::default()] {
            assert_eq!(other.since(NOTED), None, "{other:?}");
        }
    }
}
