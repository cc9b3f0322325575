//! A run that is busy and gets nowhere: the same tool call with the same arguments, again and again, while the workspace
//! stays as it is (S5 c).
//!
//! A fold over the calls of one run, small enough to be committed with the log offset it was read up to. A circle of two
//! or three calls counts like one call: agents alternate. What is done about it is decided in `silence`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How often the same call may be made; the last of them is flagged.
pub const SAME_CALLS: usize = 8;
/// The longest circle of calls that is recognised.
pub const LONGEST_CIRCLE: usize = 3;

/// The calls since the workspace last changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Repetition {
    /// Fingerprints of the last calls, oldest first.
    calls: VecDeque<u64>,
    /// What the workspace looked like.
    workspace: Option<String>,
    /// The circle was flagged; it is not flagged again before it is broken.
    flagged: bool,
}

/// The same again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoProgress {
    /// The tool of the last call.
    pub tool: String,
    /// How many calls the circle has.
    pub circle: usize,
    /// How often it was gone through.
    pub times: usize,
}

impl Repetition {
    /// Takes one tool call in; `workspace` names its state, `None` where there is none to look at.
    ///
    /// Answers once per circle, at the call that completes it for the [`SAME_CALLS`]th time.
    pub fn call(&mut self, tool: &str, input: &Value, workspace: Option<&str>) -> Option<NoProgress> {
        if self.workspace.as_deref() != workspace {
            self.calls.clear();
            self.workspace = workspace.map(str::to_owned);
            self.flagged = false;
        }
        self.calls.push_back(fingerprint(tool, input));
        if self.calls.len() > SAME_CALLS * LONGEST_CIRCLE {
            self.calls.pop_front();
        }
        let circle = (1..=LONGEST_CIRCLE).find(|circle| self.goes_in_a_circle_of(*circle));
        let Some(circle) = circle else {
            self.flagged = false;
            return None;
        };
        if self.flagged {
            return None;
        }
        self.flagged = true;
        Some(NoProgress { tool: tool.to_owned(), circle, times: SAME_CALLS })
    }

    /// The run is in a circle that was flagged and not broken since.
    pub const fn is_flagged(&self) -> bool {
        self.flagged
    }

    fn goes_in_a_circle_of(&self, circle: usize) -> bool {
        let wanted = SAME_CALLS * circle;
        if self.calls.len() < wanted {
            return false;
        }
        let start = self.calls.len() - wanted;
        (start + circle..self.calls.len()).all(|at| self.calls[at] == self.calls[at - circle])
    }
}

/// FNV-1a over the tool's name and its arguments with sorted keys: the same call has the same number in every process.
fn fingerprint(tool: &str, input: &Value) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    eat(&mut hash, tool.as_bytes());
    eat(&mut hash, &[0]);
    eat_value(&mut hash, input);
    hash
}

fn eat(hash: &mut u64, bytes: &[u8]) {
    for byte in bytes {
        *hash = (*hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

fn eat_value(hash: &mut u64, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            eat(hash, b"{");
            for key in keys {
                eat_text(hash, key);
                eat_value(hash, &map[key]);
            }
            eat(hash, b"}");
        }
        Value::Array(items) => {
            eat(hash, b"[");
            items.iter().for_each(|item| eat_value(hash, item));
            eat(hash, b"]");
        }
        Value::String(text) => eat_text(hash, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => eat(hash, format!("{value},").as_bytes()),
    }
}

/// With its length, so that no text can look like the border of another.
fn eat_text(hash: &mut u64, text: &str) {
    eat(hash, format!("\"{}:", text.len()).as_bytes());
    eat(hash, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Numbers (from 1) of the calls that were flagged.
    fn flagged(calls: &[(&str, Value, Option<&str>)]) -> Vec<usize> {
        let mut repetition = Repetition::default();
        calls
            .iter()
            .enumerate()
            .filter_map(|(at, (tool, input, workspace))| {
                repetition.call(tool, input, *workspace).map(|_| at + 1)
            })
            .collect()
    }

    fn same(times: usize) -> Vec<(&'static str, Value, Option<&'static str>)> {
        vec![("bash", json!({ "command": "make" }), Some("w")); times]
    }

    #[test]
    fn the_eighth_same_call_is_flagged_once() {
        assert_eq!(flagged(&same(7)), [] as [usize; 0]);
        assert_eq!(flagged(&same(40)), [8]);
        let mut repetition = Repetition::default();
        assert!(!repetition.is_flagged());
        let found: Vec<NoProgress> =
            same(9).iter().filter_map(|(tool, input, w)| repetition.call(tool, input, *w)).collect();
        assert_eq!(found, [NoProgress { tool: "bash".into(), circle: 1, times: 8 }]);
        assert!(repetition.is_flagged());
    }

    #[test]
    fn a_changed_workspace_starts_the_count_anew() {
        let mut calls = same(7);
        calls.push(("bash", json!({ "command": "make" }), Some("w2")));
        calls.extend(vec![("bash", json!({ "command": "make" }), Some("w2")); 7]);
        assert_eq!(flagged(&calls), [15]);
    }

    #[test]
    fn another_call_breaks_the_count_and_a_later_circle_is_flagged_again() {
        let mut calls = same(8);
        calls.push(("bash", json!({ "command": "ls" }), Some("w")));
        calls.extend(same(8));
        assert_eq!(flagged(&calls), [8, 17]);
    }

    #[test]
    fn other_arguments_and_other_tools_are_other_calls() {
        let calls: Vec<_> =
            (0..40).map(|n| ("bash", json!({ "command": format!("step {n}") }), None)).collect();
        assert_eq!(flagged(&calls), [] as [usize; 0]);
        assert_ne!(fingerprint("a", &json!(1)), fingerprint("b", &json!(1)));
        assert_ne!(fingerprint("a", &json!(["x", "y"])), fingerprint("a", &json!(["xy"])));
        assert_ne!(fingerprint("a", &json!([1, 2])), fingerprint("a", &json!([12])));
        assert_ne!(fingerprint("a", &json!({})), fingerprint("a", &json!([])));
        assert_ne!(fingerprint("a", &json!([[], 1])), fingerprint("a", &json!([[1]])));
        assert_ne!(fingerprint("a", &json!("1")), fingerprint("a", &json!(1)));
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let one = serde_json::from_str::<Value>(r#"{"a":1,"b":{"c":2,"d":3}}"#).expect("valid");
        let two = serde_json::from_str::<Value>(r#"{"b":{"d":3,"c":2},"a":1}"#).expect("valid");
        assert_eq!(fingerprint("t", &one), fingerprint("t", &two));
        assert_eq!(fingerprint("", &json!({})), fingerprint("", &json!({})));
        // The number is stored: it must not change with the program.
        assert_eq!(fingerprint("bash", &json!({ "command": "make" })), 17_101_766_938_703_295_399);
    }

    #[test]
    fn circles_of_two_and_three_are_seen_and_of_four_not() {
        let circle = |of: usize, rounds: usize| -> Vec<_> {
            (0..of * rounds).map(|n| ("bash", json!(n % of), Some("w"))).collect()
        };
        assert_eq!(flagged(&circle(2, 8)), [16]);
        assert_eq!(flagged(&circle(2, 30)), [16]);
        assert_eq!(flagged(&circle(3, 8)), [24]);
        assert_eq!(flagged(&circle(3, 7)), [] as [usize; 0]);
        assert_eq!(flagged(&circle(4, 20)), [] as [usize; 0]);
    }

    #[test]
    fn it_goes_on_after_being_stored() {
        let mut repetition = Repetition::default();
        for (tool, input, workspace) in same(7) {
            assert_eq!(repetition.call(tool, &input, workspace), None);
        }
        let stored = serde_json::to_string(&repetition).expect("plain data");
        let mut read: Repetition = serde_json::from_str(&stored).expect("just written");
        assert!(read.call("bash", &json!({ "command": "make" }), Some("w")).is_some());
    }
}
