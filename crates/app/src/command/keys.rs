//! Keys that make sending again harmless, and what was typed where nothing is no answer.

use serde_json::Value as Json;

use super::answer::{number, rows};
use crate::client::Client;
use crate::failure::Failure;

/// Takes what was typed unless it is nothing: a variable of a script that is not set names nobody, and is no key.
pub(super) fn not_empty(typed: &str) -> Result<String, String> {
    match typed.trim() {
        "" => Err("it is empty; is a variable of the script not set?".to_owned()),
        _ => Ok(typed.to_owned()),
    }
}

/// The number of the newest run in a list of runs of one automation; 0 when there is none.
pub(super) async fn newest(client: &Client, runs: &str) -> Result<i64, Failure> {
    let found = client.get(&format!("{runs}?limit=1")).await?;
    Ok(rows(&found).first().map_or(0, |run| number(run, "number")))
}

/// What is said of a run whose number was given out before it was asked for: the key started it the first time.
pub(super) fn again(number: i64, before: i64) -> &'static str {
    if number <= before { " (the same as before)" } else { "" }
}

/// A key that stands for another request names the run that it started.
pub(super) fn explained(failure: Failure) -> Failure {
    let run = failure.details.as_deref().and_then(|details| details.get("automationRunId"));
    match run.and_then(Json::as_str) {
        Some(run) => {
            let hint =
                format!("see what it started: bugle automation show {run}; a new request needs a new key");
            failure.hint(hint)
        }
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_is_neither_a_name_nor_a_key() {
        for nothing in ["", " ", "\t\n"] {
            assert!(not_empty(nothing).is_err(), "{nothing:?}");
        }
        assert_eq!(not_empty(" nightly").as_deref(), Ok(" nightly"));
    }

    #[test]
    fn a_run_is_the_same_as_before_when_its_number_was_given_out_before() {
        let said = " (the same as before)";
        for (number, before, expected) in [(1, 0, ""), (4, 3, ""), (3, 3, said), (1, 3, said)] {
            assert_eq!(again(number, before), expected, "{number} after {before}");
        }
    }

    #[test]
    fn a_key_of_another_request_names_its_run() {
        let refused =
            |details: Json| Failure::usage("conflict", "reused").hint("before").details(Some(details));
        let hint = explained(refused(json!({ "automationRunId": "R" }))).hint.unwrap();
        assert!(hint.contains("bugle automation show R"), "{hint}");
        assert_eq!(explained(refused(json!({ "status": "paused" }))).hint.as_deref(), Some("before"));
    }
}
