//! Texts with places in them: objectives, titles and inputs, filled when they are needed.
//!
//! The language is Jinja's. A name that is not there is an error and never an empty text; what is filled in is data and
//! is never read as a template again.

use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value as Json;

use super::Problem;

/// A filled text is cut off here: agents are told so much at most.
const LONGEST: usize = 256 * 1024;
/// Steps that filling one may take, so that a loop in a text ends.
const FUEL: u64 = 200_000;

fn environment<'a>() -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment
}

/// Looks at a text before anything is there to fill it with. `knows` is asked for each name that it uses, as its parts:
/// `["nodes", "collect", "text"]`; what it returns is the trouble.
pub fn check(path: &str, text: &str, knows: impl Fn(&[&str]) -> Option<(String, String)>) -> Vec<Problem> {
    let environment = environment();
    let template = match environment.template_from_str(text) {
        Ok(template) => template,
        Err(error) => {
            let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
            let message = format!("is not a template: {error}{line}");
            return vec![Problem::new(path, message, "a place is written {{ inputs.name }}")];
        }
    };
    let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    names.sort();
    let mut problems = Vec::new();
    // Filters are looked up when they are used: with nothing to fill in, what is missing is no mistake yet.
    let mut lenient = self::environment();
    lenient.set_undefined_behavior(UndefinedBehavior::Chainable);
    if let Err(error) = lenient.render_str(text, ())
        && matches!(
            error.kind(),
            ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction
        )
    {
        let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
        let message = format!("is not a template: {error}{line}");
        problems.push(Problem::new(
            path,
            message,
            "the filters are those of Jinja, as in {{ inputs.name | upper }}",
        ));
    }
    for name in names {
        let parts: Vec<&str> = name.split('.').collect();
        if let Some((message, hint)) = knows(&parts) {
            problems.push(Problem::new(path, message, hint));
        }
    }
    problems
}

/// Fills a text; the error is in words.
pub fn fill(text: &str, with: &Json) -> Result<String, String> {
    let environment = environment();
    let filled = environment.render_str(text, minijinja::value::Serde(with));
    let mut filled = filled.map_err(|error| match missing(&environment, text, with) {
        Some(name) if error.kind() == ErrorKind::UndefinedError => format!("`{name}` is not there"),
        _ => error.to_string(),
    })?;
    if filled.len() > LONGEST {
        filled.truncate(filled.floor_char_boundary(LONGEST));
        filled.push_str("\n[cut]");
    }
    Ok(filled)
}

/// The first name of a text that nothing is there for.
fn missing(environment: &Environment<'_>, text: &str, with: &Json) -> Option<String> {
    let template = environment.template_from_str(text).ok()?;
    let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    names.sort();
    names.into_iter().find(|name| name.split('.').try_fold(with, |at, part| at.get(part)).is_none())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_filled_with_data_that_is_no_template() {
        let with =
            json!({ "inputs": { "since": "{{ run.id }}" }, "nodes": { "a-b": { "json": { "n": 3 } } } });
        assert_eq!(fill("from {{ inputs.since }}", &with).unwrap(), "from {{ run.id }}");
        assert_eq!(fill("{{ nodes['a-b'].json.n + 1 }}", &with).unwrap(), "4");
        assert_eq!(fill("{% for i in [1, 2] %}{{ i }};{% endfor %}", &with).unwrap(), "1;2;");
        assert_eq!(fill("plain <b>&</b>", &with).unwrap(), "plain <b>&</b>");
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        for text in ["{{ inputs.until }}", "{{ colour }}", "{{ nodes.x.text }}"] {
            assert!(fill(text, &json!({ "inputs": {}, "nodes": {} })).is_err(), "{text}");
        }
    }

    #[test]
    fn a_text_that_never_ends_is_stopped() {
        let text = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(fill(text, &json!({})).is_err());
    }

    #[test]
    fn a_text_is_checked_by_the_names_it_uses() {
        let knows = |parts: &[&str]| match parts {
            ["inputs", "since", ..] | ["run", ..] => None,
            _ => Some((format!("{} is not known", parts.join(".")), "h".to_owned())),
        };
        assert_eq!(check("p", "{{ inputs.since }} {{ run.id }}", knows), []);
        let problems = check("p", "{{ inputs.until }}{{ colour }}", knows);
        let messages: Vec<&str> = problems.iter().map(|it| it.message.as_str()).collect();
        assert_eq!(messages, ["colour is not known", "inputs.until is not known"]);
        let broken = check("nodes[0].objective", "{{ inputs.since", knows);
        assert!(broken[0].message.contains("is not a template"), "{broken:?}");
        assert_eq!(broken[0].path, "nodes[0].objective");
    }
}
