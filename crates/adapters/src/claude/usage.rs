//! What a run of Claude Code used, out of reports that cover more than the run.
//!
//! `usage` of a result leaves the calls of side models out, so `model_usage_since_last_result` counts where
//! it is there, else `modelUsage`. That one is a running total: of the process up to 2.1.197, of the session
//! over all its resumes from 2.1.316 on. So it is differenced against the [`Usage`] that was noted when the
//! session was last heard of, by the same version; what the versions in between do was not measured. Where
//! nothing can be differenced, `usage` gives the tokens of the main model, and the cost stays unknown.
//!
//! While the run works, the input of each message counts as it comes: what the program reports then is final
//! for the input and a placeholder for the output. The next result replaces it, unless that says that nothing
//! was used: an interrupted request was billed all the same.
//!
//! Tokens that were written to the cache are input, for they are billed as such.

use std::collections::VecDeque;

use domain::telling::Usage;
use serde_json::{Map, Value, json};

use crate::cli::figures;

/// The last version whose totals begin with the process, and the first whose totals go on with the session.
const PER_PROCESS: [u64; 3] = [2, 1, 197];
const PER_SESSION: [u64; 3] = [2, 1, 316];

/// Lines of one message come close together; so many messages at a time are enough for many sub-agents.
const MESSAGES: usize = 64;

/// As much of a message's id as is kept, in bytes.
const ID: usize = 128;

/// What was used before this process, as far as the totals of this process contain it. `None` when that is
/// not known.
pub(super) fn baseline(is_fresh: bool, version: Option<&str>, note: Option<&Value>) -> Option<Usage> {
    if is_fresh {
        return Some(Usage::default());
    }
    let number = version.and_then(number)?;
    if number <= PER_PROCESS {
        return Some(Usage::default());
    }
    let note = note.filter(|note| note.get("version").and_then(Value::as_str) == version)?;
    if number < PER_SESSION { None } else { noted(note) }
}

/// `2.1.316` as numbers.
fn number(version: &str) -> Option<[u64; 3]> {
    let mut parts = version.split(['.', '-', ' ']).map(str::parse);
    Some([parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?])
}

/// Writes the totals of a session into its note.
pub(super) fn note(totals: &Usage, fields: &mut Map<String, Value>) {
    fields.insert("cumulativeInputTokens".to_owned(), json!(totals.input_tokens));
    fields.insert("cumulativeCachedInputTokens".to_owned(), json!(totals.cached_input_tokens));
    fields.insert("cumulativeOutputTokens".to_owned(), json!(totals.output_tokens));
    if let Some(micros) = totals.cost_micros {
        fields.insert("cumulativeCostUsd".to_owned(), json!(micros as f64 / 1e6));
    }
}

/// Reads the totals of a session out of its note; all of the tokens, or nothing.
fn noted(note: &Value) -> Option<Usage> {
    let tokens = |name: &str| note.get(name).and_then(Value::as_u64);
    Some(Usage {
        input_tokens: tokens("cumulativeInputTokens")?,
        cached_input_tokens: tokens("cumulativeCachedInputTokens")?,
        output_tokens: tokens("cumulativeOutputTokens")?,
        cost_micros: note.get("cumulativeCostUsd").and_then(figures::micros),
        ..Usage::default()
    })
}

/// The count of one process.
#[derive(Debug, Default)]
pub(super) struct Spending {
    baseline: Option<Usage>,
    /// What results have reported.
    counted: Usage,
    /// What was started and no result reports.
    lost: Usage,
    /// What came since the last result.
    pending: Pending,
    /// The latest totals in the program's own sense.
    totals: Option<Usage>,
}

impl Spending {
    pub(super) fn begin(&mut self, baseline: Option<Usage>) {
        self.baseline = baseline;
    }

    /// Takes the usage of one message of a model. True when that changed something.
    pub(super) fn message(&mut self, id: &str, usage: &Value, is_finished: bool) -> bool {
        let mut usage = of(usage);
        if !is_finished {
            usage.output_tokens = 0;
        }
        self.pending.hear(&id[..id.floor_char_boundary(ID)], usage)
    }

    /// Takes a result.
    pub(super) fn result(&mut self, result: &Value) {
        let models = |name: &str| result.get(name).and_then(Value::as_object);
        let totals = models("modelUsage").filter(|models| !models.is_empty()).map(sum);
        let own =
            totals.as_ref().zip(self.baseline.as_ref()).and_then(|(totals, before)| less(totals, before));
        let before = self.counted.clone();
        if let Some(since) = models("model_usage_since_last_result") {
            self.counted.add(&sum(since));
        } else if let Some(own) = own {
            self.counted = own;
        } else {
            self.counted.add(&of(result.get("usage").unwrap_or(&Value::Null)));
        }
        if self.counted == before {
            self.lost.add(&self.pending.usage);
        }
        self.pending = Pending::default();
        if totals.is_some() {
            self.totals = totals;
        }
    }

    /// What the run used so far; `None` when nothing is known.
    pub(super) fn run(&self) -> Option<Usage> {
        let mut run = self.counted.clone();
        run.add(&self.lost);
        run.add(&self.pending.usage);
        Some(run).filter(|run| !run.is_nothing())
    }

    /// The totals that the next run of this session has to know; `None` when something came after the last
    /// result, for then nobody knows whether the program counted it.
    pub(super) fn totals(&self) -> Option<&Usage> {
        self.totals.as_ref().filter(|_| self.pending.usage.is_nothing())
    }
}

/// Messages whose end has not been reported.
#[derive(Debug, Default)]
struct Pending {
    latest: VecDeque<(String, Usage)>,
    usage: Usage,
}

impl Pending {
    /// A message comes in several lines with the same id; the largest numbers count.
    fn hear(&mut self, id: &str, usage: Usage) -> bool {
        if let Some((_, known)) = self.latest.iter_mut().find(|(known, _)| known == id) {
            let mut is_new = false;
            for (known, said, sum) in [
                (&mut known.input_tokens, usage.input_tokens, &mut self.usage.input_tokens),
                (
                    &mut known.cached_input_tokens,
                    usage.cached_input_tokens,
                    &mut self.usage.cached_input_tokens,
                ),
                (&mut known.output_tokens, usage.output_tokens, &mut self.usage.output_tokens),
            ] {
                if said > *known {
                    *sum = sum.saturating_add(said - *known);
                    *known = said;
                    is_new = true;
                }
            }
            return is_new;
        }
        if usage.is_nothing() {
            return false;
        }
        self.usage.add(&usage);
        if self.latest.len() == MESSAGES {
            self.latest.pop_front();
        }
        self.latest.push_back((id.to_owned(), usage));
        true
    }
}

/// The `usage` of a message or a result: tokens alone.
fn of(usage: &Value) -> Usage {
    let tokens = |name| figures::tokens(usage, name);
    Usage {
        input_tokens: tokens("input_tokens").saturating_add(tokens("cache_creation_input_tokens")),
        cached_input_tokens: tokens("cache_read_input_tokens"),
        output_tokens: tokens("output_tokens"),
        ..Usage::default()
    }
}

/// All models of a `modelUsage` together.
fn sum(models: &Map<String, Value>) -> Usage {
    let mut sum = Usage::default();
    for (name, model) in models {
        let tokens = |name| figures::tokens(model, name);
        sum.add(&Usage {
            input_tokens: tokens("inputTokens").saturating_add(tokens("cacheCreationInputTokens")),
            cached_input_tokens: tokens("cacheReadInputTokens"),
            output_tokens: tokens("outputTokens"),
            cost_micros: model.get("costUSD").filter(|_| has_price(name)).and_then(figures::priced),
            ..Usage::default()
        });
    }
    sum
}

/// Models of other makers, behind a gateway, are charged by the program as if they were its own default.
fn has_price(model: &str) -> bool {
    let model = model.to_ascii_lowercase();
    ["claude", "anthropic"].iter().any(|maker| model.contains(maker))
}

/// `None` when the totals are smaller than what was before: then they do not go on from there.
fn less(totals: &Usage, before: &Usage) -> Option<Usage> {
    let cost_micros = match (totals.cost_micros, before.cost_micros) {
        (Some(all), Some(before)) => Some(all.checked_sub(before).filter(|rest| *rest >= 0)?),
        // What was before had no price, so all of the price is new.
        (all, None) => all,
        (None, Some(_)) => None,
    };
    Some(Usage {
        input_tokens: totals.input_tokens.checked_sub(before.input_tokens)?,
        cached_input_tokens: totals.cached_input_tokens.checked_sub(before.cached_input_tokens)?,
        output_tokens: totals.output_tokens.checked_sub(before.output_tokens)?,
        cost_micros,
        cost_partial: totals.cost_partial,
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(input: u64, cached: u64, output: u64, cost: Option<i64>) -> Usage {
        Usage {
            input_tokens: input,
            cached_input_tokens: cached,
            output_tokens: output,
            cost_micros: cost,
            ..Usage::default()
        }
    }

    fn model(times: u64) -> Value {
        json!({ "claude-x": {
            "inputTokens": 1000 * times, "cacheCreationInputTokens": 30 * times,
            "cacheReadInputTokens": 200 * times, "outputTokens": 7 * times, "costUSD": 0.00433 * times as f64,
        } })
    }

    fn spent(baseline: Option<Usage>, results: &[Value]) -> Option<Usage> {
        let mut spending = Spending::default();
        spending.begin(baseline);
        results.iter().for_each(|result| spending.result(result));
        spending.run()
    }

    #[test]
    fn what_was_before_depends_on_the_version_and_the_note() {
        let mut fields = Map::new();
        fields.insert("version".to_owned(), json!("2.1.316"));
        note(&tokens(1030, 200, 7, Some(4330)), &mut fields);
        let note = Value::Object(fields);
        let (zero, known) = (Some(Usage::default()), Some(tokens(1030, 200, 7, Some(4330))));
        let part = json!({ "version": "2.1.316", "cumulativeInputTokens": 5, "cumulativeCostUsd": 1 });
        let rows = [
            (true, None, None, &zero),
            (true, Some("2.1.316"), Some(&note), &zero),
            (false, Some("2.1.197"), None, &zero),
            (false, Some("2.0.9"), None, &zero),
            (false, Some("2.1.316"), Some(&note), &known),
            (false, Some("2.1.316"), Some(&part), &None),
            (false, Some("2.1.316"), None, &None),
            (false, Some("2.1.329"), Some(&note), &None),
            (false, Some("2.1.250"), Some(&json!({ "version": "2.1.250" })), &None),
            (false, Some("next"), Some(&note), &None),
            (false, None, Some(&note), &None),
        ];
        for (is_fresh, version, note, expected) in rows {
            assert_eq!(baseline(is_fresh, version, note), *expected, "{is_fresh} {version:?}");
        }
    }

    #[test]
    fn totals_are_differenced_and_the_report_since_the_last_result_is_preferred() {
        let before = || Some(tokens(1030, 200, 7, Some(4330)));
        let one = Some(tokens(1030, 200, 7, Some(4330)));
        let two = Some(tokens(2060, 400, 14, Some(8660)));
        let totals = |times| json!({ "modelUsage": model(times) });
        let since =
            |times, one| json!({ "modelUsage": model(times), "model_usage_since_last_result": model(one) });
        assert_eq!(spent(Some(Usage::default()), &[totals(1)]), one);
        assert_eq!(spent(Some(Usage::default()), &[totals(1), totals(2)]), two);
        assert_eq!(spent(before(), &[totals(2)]), one);
        assert_eq!(spent(before(), &[totals(2), totals(3)]), two);
        assert_eq!(spent(None, &[since(5, 1), since(6, 1)]), two);
    }

    #[test]
    fn what_cannot_be_differenced_is_not_guessed() {
        let usage = json!({ "input_tokens": 5, "cache_creation_input_tokens": 1, "output_tokens": 2 });
        let result = json!({ "modelUsage": model(2), "usage": usage });
        assert_eq!(spent(None, std::slice::from_ref(&result)), Some(tokens(6, 0, 2, None)));
        // Smaller than before: another session, or totals that begin anew.
        assert_eq!(spent(Some(tokens(9000, 0, 0, None)), &[result]), Some(tokens(6, 0, 2, None)));
        assert_eq!(spent(None, &[json!({ "modelUsage": model(2) })]), None);
        assert_eq!(
            spent(Some(Usage::default()), &[json!({ "modelUsage": {}, "usage": { "input_tokens": 0 } })]),
            None
        );
    }

    #[test]
    fn a_model_of_another_maker_has_no_price() {
        let used = |name: &str, cost| (name.to_owned(), json!({ "inputTokens": 10, "costUSD": cost }));
        let of = |models: Vec<(String, Value)>| sum(&models.into_iter().collect());
        assert_eq!(of(vec![used("glm-9", 0.5)]).cost_micros, None);
        assert_eq!(of(vec![used("claude-x", 0.0)]).cost_micros, None);
        let both = of(vec![used("us.anthropic.x", 0.5), used("glm-9", 0.5)]);
        assert_eq!((both.cost_micros, both.cost_partial, both.input_tokens), (Some(500_000), true, 20));
    }

    #[test]
    fn messages_count_once_by_their_input_until_a_result_replaces_them() {
        let mut spending = Spending::default();
        spending.begin(Some(Usage::default()));
        let said = json!({ "input_tokens": 1000, "cache_creation_input_tokens": 30,
            "cache_read_input_tokens": 200, "output_tokens": 1 });
        assert!(spending.message("a", &said, false));
        assert!(!spending.message("a", &said, false));
        assert_eq!(spending.run(), Some(tokens(1030, 200, 0, None)));
        assert!(spending.message("a", &json!({ "output_tokens": 9 }), true));
        assert!(spending.message("b", &said, false));
        assert!(!spending.message("c", &json!({ "input_tokens": 0 }), false));
        assert_eq!(spending.run(), Some(tokens(2060, 400, 9, None)));
        assert_eq!(spending.totals(), None);
        spending.result(&json!({ "modelUsage": model(2) }));
        assert_eq!(spending.run(), Some(tokens(2060, 400, 14, Some(8660))));
        assert_eq!(spending.totals(), Some(&tokens(2060, 400, 14, Some(8660))));
        assert!(spending.message("d", &said, false));
        assert_eq!(spending.totals(), None);
    }

    #[test]
    fn an_interrupted_request_counts_though_the_result_denies_it() {
        let mut spending = Spending::default();
        spending.begin(Some(Usage::default()));
        spending.result(&json!({ "modelUsage": model(1) }));
        assert!(spending.message("a", &json!({ "input_tokens": 50 }), false));
        spending.result(&json!({ "modelUsage": model(1) }));
        let run = spending.run().unwrap();
        assert_eq!((run.input_tokens, run.cost_micros, run.cost_partial), (1080, Some(4330), true));
        spending.result(&json!({ "modelUsage": model(2) }));
        assert_eq!(spending.run().unwrap().input_tokens, 2110);
    }

    #[test]
    fn memory_does_not_grow_with_the_messages() {
        let mut spending = Spending::default();
        for number in 0..10 * MESSAGES {
            spending.message(&format!("{number}{}", "x".repeat(1000)), &json!({ "input_tokens": 1 }), false);
        }
        assert_eq!(spending.pending.latest.len(), MESSAGES);
        assert!(spending.pending.latest.iter().all(|(id, _)| id.len() <= ID));
        assert_eq!(spending.run().unwrap().input_tokens, 10 * MESSAGES as u64);
    }
}
