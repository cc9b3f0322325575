//! Texts with places in them: objectives, titles and inputs, filled when they are needed.
//!
//! The language is Jinja's. A name that is not there is an error and never an empty text; what is filled in is data and
//! is never read as a template again. Lists, tables and booleans are written as JSON, a text as it is, and nothing where
//! there is nothing.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::{ast, parse};
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, escape_formatter};
use serde::Serialize;
use serde_json::Value as Json;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::Problem;

/// A filled text is cut off here: agents are told so much at most.
const LONGEST: usize = 256 * 1024;
/// Steps that filling one may take, so that a loop in a text ends.
const FUEL: u64 = 200_000;
/// What the library calls a text that has no name.
const NAME: &str = "<string>";
/// The deepest that the lines of JSON are moved in by.
const DEEPEST_INDENT: usize = 16;

fn environment<'a>() -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(write);
    environment.add_filter("tojson", to_json);
    // An error names what is not there.
    environment.set_debug(true);
    environment
}

/// Writes a value into a text.
fn write(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => Ok(()),
        ValueKind::Bool | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            let text = serde_json::to_string(value).map_err(|error| unwritable(&error))?;
            escape_formatter(out, state, &Value::from(text))
        }
        _ => escape_formatter(out, state, value),
    }
}

/// The filter `tojson`: of Jinja's arguments it has `indent`. What agents read is no page of a browser: nothing is escaped
/// for one.
fn to_json(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<Value>>("indent")?,
    };
    options.assert_all_used()?;
    let width = match indent {
        None => None,
        Some(indent) if indent.kind() == ValueKind::Bool => indent.is_true().then_some(2),
        Some(indent) => Some(usize::try_from(indent)?),
    };
    let Some(width) = width else { return serde_json::to_string(value).map_err(|error| unwritable(&error)) };
    let (mut written, indent) = (Vec::<u8>::new(), " ".repeat(width.min(DEEPEST_INDENT)));
    let lines = PrettyFormatter::with_indent(indent.as_bytes());
    value
        .serialize(&mut Serializer::with_formatter(&mut written, lines))
        .map_err(|error| unwritable(&error))?;
    Ok(String::from_utf8_lossy(&written).into_owned())
}

fn unwritable(error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::BadSerialization, error.to_string())
}

/// Looks at a text before anything is there to fill it with. `knows` is asked for each name that it uses, as its parts:
/// `["nodes", "collect", "text"]`; what it returns is the trouble.
pub fn check(path: &str, text: &str, knows: impl Fn(&[&str]) -> Option<(String, String)>) -> Vec<Problem> {
    let environment = environment();
    let parsed = environment.template_from_str(text);
    let parsed = match parsed.and_then(|_| parse(text, NAME, environment.syntax().clone())) {
        Ok(parsed) => parsed,
        Err(error) => {
            let message = format!("is not a template: {}", in_words(text, &error));
            return vec![Problem::new(path, message, "a place is written {{ inputs.name }}")];
        }
    };
    let mut used = Used::default();
    used.functions.extend(environment.globals().map(|(name, _)| name.to_owned()));
    used.statement(&parsed);
    let mut found = used.wrong;
    for (name, line) in used.filters.iter().filter(|(name, _)| !is_known(&environment, "filter", name)) {
        let hint = "the filters are those of Jinja, as in {{ inputs.name | upper }}";
        found.push((*line, format!("`{name}` is not a filter"), hint.to_owned()));
    }
    for (name, line) in used.tests.iter().filter(|(name, _)| !is_known(&environment, "test", name)) {
        let hint = "the tests are those of Jinja, as in {% if inputs.name is none %}";
        found.push((*line, format!("`{name}` is not a test"), hint.to_owned()));
    }
    for (name, line) in &used.names {
        let parts: Vec<&str> = name.iter().map(String::as_str).collect();
        found.extend(knows(&parts).map(|(message, hint)| (*line, message, hint)));
    }
    let problem = |(line, message, hint): (usize, String, String)| {
        Problem::new(path, format!("{message}{}", on_line(text, line)), hint)
    };
    found.into_iter().map(problem).collect()
}

/// The language has a filter or a test of that name.
fn is_known(environment: &Environment<'_>, kind: &str, name: &str) -> bool {
    // The library writes names without the blanks that may stand in them.
    let name: String = name.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    let question = format!("name is {kind}");
    let asked = environment.compile_expression_owned(question);
    asked.and_then(|asked| asked.eval(Value::from_pairs([("name", name)]))).is_ok_and(|known| known.is_true())
}

/// Where in a text; a text of one line needs no word of it.
fn on_line(text: &str, line: usize) -> String {
    if text.trim().contains('\n') { format!(" (line {line})") } else { String::new() }
}

fn in_words(text: &str, error: &Error) -> String {
    let line = error.line().map(|line| on_line(text, line)).unwrap_or_default();
    let detail = error.detail().map(|detail| detail.replace("is undefined", "is not there"));
    match (error.kind(), detail) {
        (ErrorKind::UndefinedError, Some(detail)) => format!("{detail}{line}"),
        (ErrorKind::UndefinedError, None) => format!("a value is not there{line}"),
        (kind, Some(detail)) => format!("{kind}: {detail}{line}"),
        (kind, None) => format!("{kind}{line}"),
    }
}

/// Fills a text; the error is in words.
pub fn fill(text: &str, with: &Json) -> Result<String, String> {
    let mut filled = whole(text, with)?;
    if filled.len() > LONGEST {
        filled.truncate(filled.floor_char_boundary(LONGEST));
        filled.push_str("\n[cut]");
    }
    Ok(filled)
}

/// Fills a text that makes a value: the text, and, where it is one expression and nothing else, what that comes to.
pub fn fill_value(text: &str, with: &Json) -> Result<(String, Option<Json>), String> {
    let filled = whole(text, with)?;
    if filled.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let environment = environment();
    let expression = only_expression(&environment, text);
    let Some(expression) = expression.and_then(|it| environment.compile_expression(it).ok()) else {
        return Ok((filled, None));
    };
    let value = expression.eval(Serde(with)).map_err(|error| in_words(text, &error))?;
    let value = serde_json::to_value(&value).map_err(|error| error.to_string())?;
    Ok((filled, Some(value)))
}

fn whole(text: &str, with: &Json) -> Result<String, String> {
    environment().render_str(text, Serde(with)).map_err(|error| in_words(text, &error))
}

/// What stands in the braces of a text that is one place.
fn only_expression<'t>(environment: &Environment<'_>, text: &'t str) -> Option<&'t str> {
    let text = text.trim();
    let parsed = parse(text, NAME, environment.syntax().clone()).ok()?;
    let ast::Stmt::Template(template) = &parsed else { return None };
    let [ast::Stmt::EmitExpr(_)] = template.children.as_slice() else { return None };
    let inner = text.strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(inner.strip_suffix('-').unwrap_or(inner).trim())
}

/// What a text uses, each with the line on which it stands first.
#[derive(Default)]
struct Used<'a> {
    /// Names that are to be filled in, as their parts.
    names: BTreeMap<Vec<String>, usize>,
    filters: BTreeMap<String, usize>,
    tests: BTreeMap<String, usize>,
    /// What cannot work: the line, the message and the hint.
    wrong: Vec<(usize, String, String)>,
    /// Names that the text gives to something itself, by the block that they are of.
    own: Vec<BTreeSet<&'a str>>,
    /// Functions of the language.
    functions: BTreeSet<String>,
}

impl<'a> Used<'a> {
    fn is_own(&self, name: &str) -> bool {
        self.own.iter().any(|block| block.contains(name))
    }

    fn give(&mut self, name: &'a str) {
        if self.own.is_empty() {
            self.own.push(BTreeSet::new());
        }
        if let Some(block) = self.own.last_mut() {
            block.insert(name);
        }
    }

    /// Looks at a block: what is named in it is known in it alone.
    fn within(&mut self, look: impl FnOnce(&mut Self)) {
        self.own.push(BTreeSet::new());
        look(self);
        self.own.pop();
    }

    fn statements(&mut self, all: &[ast::Stmt<'a>]) {
        for one in all {
            self.statement(one);
        }
    }

    fn statement(&mut self, statement: &ast::Stmt<'a>) {
        match statement {
            ast::Stmt::Template(it) => {
                self.give("self");
                self.statements(&it.children);
            }
            ast::Stmt::EmitExpr(it) => self.expression(&it.expr),
            ast::Stmt::EmitRaw(_) => {}
            ast::Stmt::ForLoop(it) => {
                self.expression(&it.iter);
                self.within(|block| {
                    block.give("loop");
                    block.target(&it.target);
                    block.perhaps(it.filter_expr.as_ref());
                    block.statements(&it.body);
                });
                self.within(|block| block.statements(&it.else_body));
            }
            ast::Stmt::IfCond(it) => {
                self.expression(&it.expr);
                self.statements(&it.true_body);
                self.statements(&it.false_body);
            }
            ast::Stmt::WithBlock(it) => self.within(|block| {
                for (target, value) in &it.assignments {
                    block.expression(value);
                    block.target(target);
                }
                block.statements(&it.body);
            }),
            ast::Stmt::Set(it) => {
                self.expression(&it.expr);
                self.target(&it.target);
            }
            ast::Stmt::SetBlock(it) => {
                self.perhaps(it.filter.as_ref());
                self.within(|block| block.statements(&it.body));
                self.target(&it.target);
            }
            ast::Stmt::AutoEscape(it) => {
                self.expression(&it.enabled);
                self.statements(&it.body);
            }
            ast::Stmt::FilterBlock(it) => {
                self.expression(&it.filter);
                self.statements(&it.body);
            }
            ast::Stmt::Block(it) => self.within(|block| {
                block.give("super");
                block.statements(&it.body);
            }),
            ast::Stmt::Import(it) => {
                self.refuse_other(it.span().start_line, "import");
                self.target(&it.name);
            }
            ast::Stmt::FromImport(it) => {
                self.refuse_other(it.span().start_line, "import");
                for (name, alias) in &it.names {
                    self.target(alias.as_ref().unwrap_or(name));
                }
            }
            ast::Stmt::Extends(it) => self.refuse_other(it.span().start_line, "extends"),
            ast::Stmt::Include(it) => self.refuse_other(it.span().start_line, "include"),
            ast::Stmt::Macro(it) => {
                self.give(it.name);
                self.of_macro(it);
            }
            ast::Stmt::CallBlock(it) => {
                self.call(&it.call, usize::from(it.call.span().start_line));
                self.of_macro(&it.macro_decl);
            }
            ast::Stmt::Do(it) => self.call(&it.call, usize::from(it.call.span().start_line)),
        }
    }

    /// There are no other templates that a text could name.
    fn refuse_other(&mut self, line: u16, keyword: &str) {
        let message = format!("`{keyword}` has nothing to name: there are no other templates");
        self.wrong.push((usize::from(line), message, "write the text itself".to_owned()));
    }

    fn of_macro(&mut self, it: &ast::Macro<'a>) {
        self.within(|block| {
            block.give("caller");
            for value in &it.defaults {
                block.expression(value);
            }
            for name in &it.args {
                block.target(name);
            }
            block.statements(&it.body);
        });
    }

    /// What is given a value.
    fn target(&mut self, target: &ast::Expr<'a>) {
        match target {
            ast::Expr::Var(it) => self.give(it.id),
            ast::Expr::List(it) => it.items.iter().for_each(|item| self.target(item)),
            ast::Expr::Tuple(it) => it.items.iter().for_each(|item| self.target(item)),
            other => self.expression(other),
        }
    }

    fn perhaps(&mut self, expression: Option<&ast::Expr<'a>>) {
        if let Some(expression) = expression {
            self.expression(expression);
        }
    }

    fn expressions(&mut self, all: &[ast::Expr<'a>]) {
        for one in all {
            self.expression(one);
        }
    }

    fn expression(&mut self, expression: &ast::Expr<'a>) {
        let line = usize::from(expression.span().start_line);
        match expression {
            ast::Expr::Const(_) => {}
            ast::Expr::Var(_) | ast::Expr::GetAttr(_) | ast::Expr::GetItem(_) => self.name(expression),
            ast::Expr::Slice(it) => {
                self.expression(&it.expr);
                for bound in [&it.start, &it.stop, &it.step] {
                    self.perhaps(bound.as_ref());
                }
            }
            ast::Expr::UnaryOp(it) => self.expression(&it.expr),
            ast::Expr::BinOp(it) => {
                self.expression(&it.left);
                self.expression(&it.right);
            }
            ast::Expr::Compare(it) => {
                self.expression(&it.expr);
                for other in &it.ops {
                    self.expression(&other.expr);
                }
            }
            ast::Expr::IfExpr(it) => {
                self.expression(&it.test_expr);
                self.expression(&it.true_expr);
                self.perhaps(it.false_expr.as_ref());
            }
            ast::Expr::Filter(it) => {
                self.filters.entry(it.name.to_owned()).or_insert(line);
                self.named_in(it.name, &it.args, line);
                self.perhaps(it.expr.as_ref());
                self.arguments(&it.args);
            }
            ast::Expr::Test(it) => {
                self.tests.entry(it.name.to_owned()).or_insert(line);
                self.expression(&it.expr);
                self.arguments(&it.args);
            }
            ast::Expr::Call(it) => self.call(it, line),
            ast::Expr::List(it) => self.expressions(&it.items),
            ast::Expr::Tuple(it) => self.expressions(&it.items),
            ast::Expr::Map(it) => {
                self.expressions(&it.keys);
                self.expressions(&it.values);
            }
        }
    }

    /// Some filters are told the name of another one, or of a test.
    fn named_in(&mut self, filter: &str, arguments: &[ast::CallArg<'a>], line: usize) {
        let (at, named) = match filter {
            "map" => (0, &mut self.filters),
            "select" | "reject" => (0, &mut self.tests),
            "selectattr" | "rejectattr" => (1, &mut self.tests),
            _ => return,
        };
        if let Some(ast::CallArg::Pos(name)) = arguments.get(at)
            && let Some(name) = constant(name)
        {
            named.entry(name).or_insert(line);
        }
    }

    fn arguments(&mut self, all: &[ast::CallArg<'a>]) {
        for one in all {
            match one {
                ast::CallArg::Pos(it)
                | ast::CallArg::Kwarg(_, it)
                | ast::CallArg::PosSplat(it)
                | ast::CallArg::KwargSplat(it) => self.expression(it),
            }
        }
    }

    fn call(&mut self, it: &ast::Call<'a>, line: usize) {
        match &it.expr {
            ast::Expr::Var(called) if self.is_own(called.id) || self.functions.contains(called.id) => {}
            ast::Expr::Var(called) => {
                let functions: Vec<&str> = self.functions.iter().map(String::as_str).collect();
                let hint = format!("there are {}", functions.join(", "));
                self.wrong.push((line, format!("`{}` is not a function", called.id), hint));
            }
            ast::Expr::GetAttr(called) => {
                if root(&called.expr).is_some_and(|root| !self.is_own(root)) {
                    let message = format!("`{}` cannot be called: data has no functions", called.name);
                    let hint = "write a filter, as in {{ inputs.name | upper }}".to_owned();
                    self.wrong.push((line, message, hint));
                }
                self.expression(&called.expr);
            }
            other => self.expression(other),
        }
        self.arguments(&it.args);
    }

    /// A name with all of its parts that are known before anything is there. `nodes['a-b']` is `nodes` and `a-b`.
    fn name(&mut self, expression: &ast::Expr<'a>) {
        let line = usize::from(expression.span().start_line);
        let (mut at, mut parts) = (expression, Vec::new());
        loop {
            match at {
                ast::Expr::GetAttr(it) => {
                    parts.push(it.name.to_owned());
                    at = &it.expr;
                }
                ast::Expr::GetItem(it) => {
                    match constant(&it.subscript_expr) {
                        Some(name) => parts.push(name),
                        None => {
                            self.expression(&it.subscript_expr);
                            parts.clear();
                        }
                    }
                    at = &it.expr;
                }
                ast::Expr::Var(it) => {
                    if !self.is_own(it.id) {
                        parts.push(it.id.to_owned());
                        parts.reverse();
                        self.names.entry(parts).or_insert(line);
                    }
                    return;
                }
                other => return self.expression(other),
            }
        }
    }
}

/// A text that stands in an expression as it is.
fn constant(expression: &ast::Expr<'_>) -> Option<String> {
    expression.as_const()?.as_str().map(str::to_owned)
}

/// The name that a chain of fields begins with.
fn root<'e, 'a>(expression: &'e ast::Expr<'a>) -> Option<&'a str> {
    let mut at: &'e ast::Expr<'a> = expression;
    loop {
        at = match at {
            ast::Expr::Var(it) => return Some(it.id),
            ast::Expr::GetAttr(it) => &it.expr,
            ast::Expr::GetItem(it) => &it.expr,
            _ => return None,
        };
    }
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
    fn values_are_written_as_json_and_nothing_as_nothing() {
        let with = json!({
            "a": [true, null, 1.0, 7, "x"], "b": { "k": "<é>" }, "yes": true, "no": null, "n": 3, "big": 9_007_199_254_740_993_u64,
        });
        for (text, expected) in [
            ("{{ a }}", "[true,null,1.0,7,\"x\"]"),
            ("{{ b }}", "{\"k\":\"<é>\"}"),
            ("{{ yes }}|{{ no }}|{{ n }}|{{ n + 1 }}|{{ big }}", "true||3|4|9007199254740993"),
            ("{{ a[4] }} {{ a[2] }} {{ yes and not no }}", "x 1.0 true"),
            ("{{ b | tojson }} {{ no | tojson }} {{ b.k | tojson }}", "{\"k\":\"<é>\"} null \"<é>\""),
            ("{{ b | tojson(indent=1) }}", "{\n \"k\": \"<é>\"\n}"),
            ("{{ b | tojson(true) }}", "{\n  \"k\": \"<é>\"\n}"),
            ("{% set all %}{{ yes }}{% endset %}{{ all }}", "true"),
            ("{{ a | length }} {{ range(2) }}", "5 [0,1]"),
        ] {
            assert_eq!(fill(text, &with).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn one_expression_alone_is_a_value() {
        let with = json!({ "a": [true, null, 1.0, 7, "x"], "b": { "k": 1 } });
        for (text, expected) in [
            ("{{ a[0] }}", Some(json!(true))),
            (" {{- a[1] -}}\n", Some(Json::Null)),
            ("{{ a[3] + 1 }}", Some(json!(8))),
            ("{{ b }}", Some(json!({ "k": 1 }))),
            ("{{ a | first }}", Some(json!(true))),
            ("{{ '}}' }}", Some(json!("}}"))),
            ("{{ 'x' if b.k == 2 }}", Some(Json::Null)),
            ("{{ a[0] }}{{ a[0] }}", None),
            ("x {{ a[0] }}", None),
            ("{% if a %}{{ a[0] }}{% endif %}", None),
            ("true", None),
        ] {
            assert_eq!(fill_value(text, &with).unwrap().1, expected, "{text}");
        }
        assert_eq!(fill_value("{{ b }}, {{ a[0] }}", &with).unwrap().0, "{\"k\":1}, true");
        assert!(fill_value("{{ gone }}", &with).is_err());
    }

    #[test]
    fn an_error_names_what_is_not_there_and_the_line_of_a_long_text() {
        let with = json!({ "inputs": {}, "nodes": { "a-b": { "json": null } } });
        for (text, words) in [
            ("{{ inputs.until }}", "`inputs.until` is not there"),
            ("one\ntwo {{ nodes['a-b'].text }}", "is not there (line 2)"),
            ("{{ nodes['gone'].text }}", "gone"),
            ("{{ 1 | nofilter }}", "nofilter"),
        ] {
            let error = fill(text, &with).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
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

    #[test]
    fn everything_that_a_text_uses_is_looked_at() {
        let knows = |parts: &[&str]| match parts {
            ["inputs"] | ["inputs", "n"] | ["nodes", "a-b", "text"] => None,
            _ => Some((parts.join("."), "h".to_owned())),
        };
        let rows: &[(&str, &[&str])] = &[
            ("{{ nodes['gone'].text }}", &["nodes.gone.text"]),
            ("{{ nodes['a-b'].text[0] }} {{ inputs['n'] }}", &[]),
            ("{{ inputs[colour] }}", &["colour"]),
            ("{{ inputs['a' ~ 'b'].x[0].y }}", &["inputs.ab.x"]),
            (
                "{{ inputs.n.x + 1 }}\n{{ inputs.n | nofilter }}",
                &["`nofilter` is not a filter (line 2)", "inputs.n.x (line 1)"],
            ),
            ("{{ inputs.n | map('nofilter') | list }}", &["`nofilter` is not a filter"]),
            (
                "{% if false %}{{ 1 is notest }}{{ 2 | nofilter }}{% endif %}",
                &["`nofilter` is not a filter", "`notest` is not a test"],
            ),
            ("{{ inputs.n | select('notest') | list }}", &["`notest` is not a test"]),
            ("{% filter nofilter %}x{% endfilter %}", &["`nofilter` is not a filter"]),
            ("{% include 'x' %}", &["`include` has nothing to name: there are no other templates"]),
            ("{% extends 'x' %}", &["`extends` has nothing to name: there are no other templates"]),
            (
                "{% import 'x' as y %}{{ y.z() }}",
                &["`import` has nothing to name: there are no other templates"],
            ),
            (
                "{% from 'x' import y %}{{ y() }}",
                &["`import` has nothing to name: there are no other templates"],
            ),
            ("{{ nofunction() }}", &["`nofunction` is not a function"]),
            ("{{ inputs.n.items() }}", &["`items` cannot be called: data has no functions"]),
            ("{{ [colour, {'k': shade}, (tint,)] }}", &["colour", "shade", "tint"]),
            ("{{ inputs.n[colour:] }}", &["colour"]),
            ("{{ inputs.n | default(colour) | tojson }}", &["colour"]),
            ("{% for i in range(3) %}{{ loop.index }}{{ i.x }}{% else %}{{ i }}{% endfor %}", &["i"]),
            ("{% set x = inputs.n %}{% if x %}{% set y = 1 %}{% endif %}{{ x.z }}{{ y }}", &[]),
            ("{% with x = colour %}{{ x }}{% endwith %}{{ x }}", &["colour", "x"]),
            (
                "{% macro m(x, y=1) %}{{ x }}{{ y }}{{ caller() }}{% endmacro %}{% call m(1) %}x{% endcall %}{{ m(2) }}",
                &[],
            ),
            ("{% block b %}{{ colour }}{% endblock %}", &["colour"]),
        ];
        for (text, expected) in rows {
            let messages: Vec<String> = check("p", text, knows).into_iter().map(|it| it.message).collect();
            assert_eq!(messages, *expected, "{text}");
        }
    }
}
