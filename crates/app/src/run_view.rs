//! A run as the command line shows it: the fields it needs, and how they read.

use serde::Deserialize;
use serde_json::Value as Json;

use crate::failure::Failure;
use crate::when;

/// What is shown of a run. Fields that an older server does not send are empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RunView {
    pub(crate) id: String,
    pub(crate) agent_id: String,
    pub(crate) status: String,
    pub(crate) held_reason: Option<String>,
    pub(crate) held_until: Option<String>,
    pub(crate) cancel_requested_at: Option<String>,
    pub(crate) invocation_source: Option<String>,
    pub(crate) trigger_detail: Option<String>,
    pub(crate) task_key: Option<String>,
    pub(crate) attempt: Option<i64>,
    pub(crate) created_at: String,
    pub(crate) started_at: Option<String>,
    pub(crate) finished_at: Option<String>,
    pub(crate) scheduled_retry_at: Option<String>,
    pub(crate) retry_of_run_id: Option<String>,
    pub(crate) process_pid: Option<i64>,
    pub(crate) exit_code: Option<i64>,
    pub(crate) signal: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) error_code: Option<String>,
    pub(crate) log_bytes: Option<i64>,
    pub(crate) last_output_at: Option<String>,
    pub(crate) session_id_after: Option<String>,
    pub(crate) result_json: Option<Json>,
    pub(crate) usage_json: Option<Json>,
}

impl RunView {
    pub(crate) fn read(run: &Json) -> Result<RunView, Failure> {
        RunView::deserialize(run).map_err(|error| {
            Failure::failed("answer.unreadable", format!("cannot read the run that the server sent: {error}"))
                .hint("is the server of another version? see: bugle status")
        })
    }

    pub(crate) fn is_final(&self) -> bool {
        domain::run::RunStatus::parse(&self.status).is_some_and(domain::run::RunStatus::is_final)
    }

    pub(crate) fn has_succeeded(&self) -> bool {
        self.status == "succeeded"
    }

    /// The status in words, with what it waits for.
    pub(crate) fn state(&self) -> String {
        match (self.status.as_str(), &self.held_reason, &self.cancel_requested_at) {
            ("running", _, Some(_)) => "cancelling".to_owned(),
            ("queued", Some(reason), _) => match &self.held_until {
                Some(at) => format!("queued ({reason} until {})", when::local(at)),
                None => format!("queued ({reason})"),
            },
            ("scheduled_retry", _, _) => match &self.scheduled_retry_at {
                Some(at) => format!("retries at {}", when::local(at)),
                None => "scheduled_retry".to_owned(),
            },
            (status, _, _) => status.to_owned(),
        }
    }

    /// How it ended, in a word.
    pub(crate) fn ending(&self) -> String {
        match (&self.error_code, self.exit_code, &self.signal) {
            (Some(code), Some(exit), _) if exit != 0 => format!("{code} (exit {exit})"),
            (Some(code), _, _) => code.clone(),
            (None, Some(exit), _) => format!("exit {exit}"),
            (None, None, Some(signal)) => signal.clone(),
            (None, None, None) => String::new(),
        }
    }

    /// How long it ran, or has been running.
    pub(crate) fn duration(&self) -> Option<String> {
        let started = self.started_at.as_deref()?;
        when::between(started, self.finished_at.as_deref()).map(when::span)
    }
}

/// Ids begin with their time, so that the first twelve digits tell runs apart that began in different milliseconds.
const SHORT: usize = 13;

/// Cuts ids as short as they can be told apart, all to the same length.
pub(crate) fn short_ids(ids: &[&str]) -> Vec<String> {
    let longest = ids.iter().map(|id| id.len()).max().unwrap_or(0);
    let length = (SHORT..longest)
        .find(|length| {
            let mut cut: Vec<&str> = ids.iter().map(|id| id.get(..*length).unwrap_or(id)).collect();
            cut.sort_unstable();
            cut.windows(2).all(|pair| pair[0] != pair[1])
        })
        .unwrap_or(longest);
    ids.iter().map(|id| id.get(..length).unwrap_or(id).to_owned()).collect()
}

/// A run as typed: a whole id, or its beginning.
pub(crate) fn reference(text: &str) -> Result<String, Failure> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let is_id = text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if !is_id || digits < 8 {
        let failure = Failure::usage("run.reference", format!("`{text}` is not the id of a run"));
        return Err(failure.hint("give the id, or at least its first 8 digits; see: bugle run list"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_cut_as_short_as_they_differ() {
        let ids = ["0192f7a0-0000-4000-8000-00000000000a", "0192f7a0-0001-4000-8000-00000000000a"];
        assert_eq!(short_ids(&ids), ["0192f7a0-0000", "0192f7a0-0001"]);
        let ids = ["0192f7a0-0000-4aaa-8000-00000000000a", "0192f7a0-0000-4aab-8000-00000000000a"];
        assert_eq!(short_ids(&ids), ["0192f7a0-0000-4aaa", "0192f7a0-0000-4aab"]);
        assert_eq!(short_ids(&[]), Vec::<String>::new());
    }

    #[test]
    fn a_reference_is_at_least_eight_digits_of_an_id() {
        assert_eq!(reference(" 0192F7A0-0 ").unwrap(), "0192f7a0-0");
        for text in ["", "0192f7a", "hello-world", "../../x"] {
            assert!(reference(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_state_says_what_it_waits_for() {
        let state = |run: Json| RunView::read(&run).unwrap().state();
        assert_eq!(state(json!({"status": "queued", "heldReason": "paused"})), "queued (paused)");
        assert_eq!(
            state(json!({"status": "running", "cancelRequestedAt": "2026-01-01T00:00:00Z"})),
            "cancelling"
        );
        assert_eq!(state(json!({"status": "succeeded", "heldReason": null})), "succeeded");
    }
}
