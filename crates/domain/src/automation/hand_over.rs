//! What begins when a run is over: runs of the automations that name its own under `after`.
//!
//! Which ends start one, what it is given, and how long a chain of such runs may grow. Making the run is not done here.

use serde_json::{Map, Value as Json};

use super::definition::{After, Definition, InputKind};
use super::{AutomationRunStatus, template};

/// Runs may start each other in a chain of this length: automations that do so for ever are refused when they are saved,
/// but a definition may change while a chain is on its way.
pub const LONGEST_CHAIN: u64 = 20;

/// A run that is over.
#[derive(Debug, Clone, Copy)]
pub struct Over<'a> {
    /// The name of its automation.
    pub automation: &'a str,
    pub status: AutomationRunStatus,
    /// How many runs one after another led to it; 0 = something else started it.
    pub chain: u64,
    /// What its templates are filled with.
    pub data: &'a Json,
}

/// Goes through the links of another automation's definition: for each that this end starts, the inputs of the run that
/// begins, or in words why none does.
pub fn hand_over(definition: &Definition, over: &Over<'_>) -> Vec<Result<Map<String, Json>, String>> {
    let is_meant = |after: &&After| after.automation == over.automation && starts(after, over.status);
    definition.after.iter().filter(is_meant).map(|after| inputs(definition, after, over)).collect()
}

/// How many runs led to one, as its trigger tells.
pub fn chain(trigger: Option<&Json>) -> u64 {
    trigger.and_then(|detail| detail["chain"].as_u64()).unwrap_or(0)
}

/// A link that names no ends means that of a run that completed.
fn starts(after: &After, status: AutomationRunStatus) -> bool {
    match after.on.is_empty() {
        true => status == AutomationRunStatus::Completed,
        false => after.on.contains(&status),
    }
}

fn inputs(definition: &Definition, after: &After, over: &Over<'_>) -> Result<Map<String, Json>, String> {
    if over.chain >= LONGEST_CHAIN {
        return Err(format!("{LONGEST_CHAIN} runs have started one another"));
    }
    let fill = |(name, text): (&String, &String)| -> Result<Option<(String, Json)>, String> {
        let filled = template::fill_value(text, over.data);
        let filled = filled.map_err(|error| format!("its input {name} cannot be filled: {error}"))?;
        let kind = definition.inputs.get(name).and_then(|input| input.kind);
        Ok(value(kind, filled).map(|value| (name.clone(), value)))
    };
    after.inputs.iter().filter_map(|input| fill(input).transpose()).collect()
}

/// What an input is given: the value of a template that is one expression, as far as the input may hold it. Any other text
/// that fills an input of another type is read as one; what cannot be is refused with the input's name later. An
/// expression that comes to nothing leaves the input out.
fn value(kind: Option<InputKind>, (text, value): (String, Option<Json>)) -> Option<Json> {
    match (kind, value) {
        (_, Some(Json::Null)) => None,
        (Some(InputKind::String), _) | (None, None) => Some(Json::String(text)),
        (None, Some(value)) => Some(value),
        (Some(kind), Some(value)) if kind.fits(&value) => Some(value),
        (Some(_), _) => Some(serde_json::from_str(&text).unwrap_or(Json::String(text))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::automation::definition::read;

    fn said(after: Json, over: &Over<'_>) -> Vec<String> {
        let inputs = json!({
            "count": { "type": "number" }, "text": { "type": "string" }, "all": { "type": "array" },
            "sure": { "type": "boolean" }, "any": {},
        });
        let data = json!({ "name": "deploy", "nodes": [], "inputs": inputs, "after": after });
        let started = hand_over(&read(&data).unwrap(), over);
        let say = |it: Result<Map<String, Json>, String>| match it {
            Ok(inputs) => Json::Object(inputs).to_string(),
            Err(why) => why,
        };
        started.into_iter().map(say).collect()
    }

    #[test]
    fn a_link_is_started_by_the_ends_that_it_names() {
        use AutomationRunStatus::{Blocked, Cancelled, Completed, Failed};
        let rows: [(Json, AutomationRunStatus, usize); 9] = [
            (json!({ "automation": "build" }), Completed, 1),
            (json!({ "automation": "build" }), Failed, 0),
            (json!({ "automation": "build" }), Cancelled, 0),
            (json!({ "automation": "other" }), Completed, 0),
            (json!({ "automation": "build", "on": ["failed", "blocked"] }), Failed, 1),
            (json!({ "automation": "build", "on": ["failed", "blocked"] }), Blocked, 1),
            (json!({ "automation": "build", "on": ["failed", "blocked"] }), Completed, 0),
            (json!({ "automation": "build", "on": ["completed", "cancelled"] }), Cancelled, 1),
            (json!({ "automation": "build", "on": ["completed"] }), Completed, 1),
        ];
        for (after, status, expected) in rows {
            let over = Over { automation: "build", status, chain: 0, data: &json!({}) };
            assert_eq!(said(json!([after]), &over).len(), expected, "{after} {status}");
        }
    }

    #[test]
    fn texts_become_what_the_input_is() {
        let data = json!({ "nodes": { "a": {
            "text": "7", "json": { "list": [1, 2], "sure": [true], "n": 3, "none": null, "name": "x" },
        } } });
        let over = Over { automation: "b", status: AutomationRunStatus::Completed, chain: 0, data: &data };
        for (name, text, expected) in [
            ("count", "{{ nodes.a.text }}", json!(7)),
            ("count", "seven", json!("seven")),
            ("text", "{{ nodes.a.text }}", json!("7")),
            ("any", "{{ nodes.a.text }}", json!("7")),
            ("all", "[{{ nodes.a.text }}, 8]", json!([7, 8])),
            ("sure", "true", json!(true)),
            ("unknown", "true", json!("true")),
            ("sure", "{{ nodes.a.json.sure[0] }}", json!(true)),
            ("sure", "{{ nodes.a.text }}", json!(7)),
            ("all", "{{ nodes.a.json.list }}", json!([1, 2])),
            ("all", "{% for i in [1] %}{{ nodes.a.json.list }}{% endfor %}", json!([1, 2])),
            ("count", "{{ nodes.a.json.n }}", json!(3)),
            ("text", "{{ nodes.a.json.n }}", json!("3")),
            (
                "text",
                "{{ nodes.a.json }}",
                json!("{\"list\":[1,2],\"n\":3,\"name\":\"x\",\"none\":null,\"sure\":[true]}"),
            ),
            ("any", "{{ nodes.a.json.sure }}", json!([true])),
            ("any", "{{ nodes.a.json.name }}", json!("x")),
            ("any", "{{ nodes.a.json.n }}.", json!("3.")),
        ] {
            let after = json!([{ "automation": "b", "inputs": { name: text } }]);
            let expected = Json::Object(Map::from_iter([(name.to_owned(), expected)])).to_string();
            assert_eq!(said(after, &over), [expected], "{name} {text}");
        }
        let nothing = json!([{ "automation": "b", "inputs": { "any": "{{ nodes.a.json.none }}" } }]);
        assert_eq!(said(nothing, &over), ["{}"], "what comes to nothing is left out");
    }

    #[test]
    fn what_cannot_be_filled_and_a_chain_that_is_too_long_start_nothing_and_say_so() {
        let after = json!([{ "automation": "b", "inputs": { "text": "{{ nodes.gone.text }}" } }]);
        let over = Over {
            automation: "b",
            status: AutomationRunStatus::Completed,
            chain: 0,
            data: &json!({ "nodes": {} }),
        };
        let words = said(after, &over);
        assert!(words[0].starts_with("its input text cannot be filled: "), "{words:?}");
        let link = json!([{ "automation": "b" }]);
        for (chain, expected) in
            [(LONGEST_CHAIN - 1, "{}"), (LONGEST_CHAIN, "20 runs have started one another")]
        {
            assert_eq!(said(link.clone(), &Over { chain, ..over }), [expected], "{chain}");
        }
    }

    #[test]
    fn the_chain_is_counted_on_the_trigger() {
        for (trigger, expected) in [
            (None, 0),
            (Some(json!({ "reason": "x" })), 0),
            (Some(json!({ "chain": "3" })), 0),
            (Some(json!({ "chain": 3 })), 3),
        ] {
            assert_eq!(chain(trigger.as_ref()), expected, "{trigger:?}");
        }
    }
}
