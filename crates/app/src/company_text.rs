//! A company file as text: TOML, YAML or JSON, whichever a person likes best. What it says is the server's to judge.

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

use crate::failure::Failure;

/// How a company file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Toml,
    Yaml,
    Json,
}

/// What stands on top of a file that was written.
const TOP: &str = "\
# A company of Bugle, as a file: what is here is what `bugle apply -f FILE` makes of it (docs/company-file.md).
# Values that are secret are not here. ***REDACTED*** stands for a value that the company has and keeps.
";

/// Of what is wrong with a file so many lines are told, and so many characters of each.
const MOST_LINES: usize = 12;
const LONGEST_LINE: usize = 200;

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Format::Toml => "TOML",
            Format::Yaml => "YAML",
            Format::Json => "JSON",
        }
    }

    /// What the end of a file's name says.
    pub(crate) fn of_name(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "toml" => Some(Format::Toml),
            "yaml" | "yml" => Some(Format::Yaml),
            "json" => Some(Format::Json),
            _ => None,
        }
    }

    /// What a text looks like.
    fn of_text(text: &str) -> Format {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let first = lines.next().unwrap_or_default();
        let is_key = |key: &str| key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if first.starts_with('{') {
            Format::Json
        } else if first.starts_with("---") || first.split_once(':').is_some_and(|(key, _)| is_key(key.trim()))
        {
            Format::Yaml
        } else {
            Format::Toml
        }
    }
}

/// Reads a document; a mistake is named with its line.
pub(crate) fn read(text: &str, format: Option<Format>) -> Result<Json, Failure> {
    let text = text.trim_start_matches('\u{FEFF}');
    let format = format.unwrap_or_else(|| Format::of_text(text));
    let read = match format {
        Format::Toml => toml::from_str::<toml::Table>(text)
            .map_err(|error| error.to_string())
            .and_then(|table| of_toml(toml::Value::Table(table))),
        Format::Yaml => {
            serde_saphyr::from_str::<Clear>(text).map(|read| read.0).map_err(|error| error.to_string())
        }
        Format::Json => {
            serde_json::from_str::<Clear>(text).map(|read| read.0).map_err(|error| error.to_string())
        }
    };
    read.map_err(|error| {
        let message = format!("the file is not {}: {}", format.name(), shortened(error.trim()));
        Failure::usage("company_file.malformed", message)
            .hint("mend that line, or say what it is with --format toml, yaml or json")
    })
}

/// What a reader says of a mistake shows the lines around it, however long they are: as much of it as a person reads. Of
/// a long line the beginning and the end say what it is about.
fn shortened(error: &str) -> String {
    let lines = error.lines().take(MOST_LINES).map(|line| {
        let count = line.chars().count();
        if count <= LONGEST_LINE {
            return line.to_owned();
        }
        let beginning: String = line.chars().take(LONGEST_LINE / 2).collect();
        let end: String = line.chars().skip(count - LONGEST_LINE / 2).collect();
        format!("{beginning} ... {end}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Writes a document.
pub(crate) fn write(document: &Json, format: Format) -> Result<String, Failure> {
    if format == Format::Toml {
        let mut unsayable = Vec::new();
        look_for_unsayable("", document, &mut unsayable);
        if !unsayable.is_empty() {
            let message = format!("TOML cannot say this: {}", shortened(&unsayable.join("\n")));
            return Err(Failure::failed("company_file.unwritable", message)
                .hint("write it as YAML, which can: bugle export --format yaml"));
        }
    }
    let written = match format {
        Format::Toml => toml::to_string_pretty(&tables_last(document))
            .map(|text| format!("{TOP}\n{text}"))
            .map_err(|error| error.to_string()),
        Format::Yaml => serde_saphyr::to_string(document)
            .map(|text| format!("{TOP}\n{text}"))
            .map_err(|error| error.to_string()),
        Format::Json => serde_json::to_string_pretty(document).map_err(|error| error.to_string()),
    };
    let text = written.map_err(|error| {
        Failure::failed("company_file.unwritable", format!("{} cannot say this: {error}", format.name()))
            .hint("write it as JSON: bugle export --format json")
    })?;
    // Nothing else is cut or added: the end of the text may be the end of somebody's text.
    Ok(if text.ends_with('\n') { text } else { format!("{text}\n") })
}

/// Notes each value that TOML has no form for, with its place.
fn look_for_unsayable(place: &str, value: &Json, found: &mut Vec<String>) {
    match value {
        Json::Null => found.push(format!("{place} is null")),
        Json::Number(number) if number.as_u64().is_some_and(|number| i64::try_from(number).is_err()) => {
            found.push(format!("{place} is {number}, and its largest whole number is {}", i64::MAX));
        }
        Json::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                look_for_unsayable(&format!("{place}[{at}]"), item, found);
            }
        }
        Json::Object(fields) => {
            for (key, item) in fields {
                let dot = if place.is_empty() { "" } else { "." };
                look_for_unsayable(&format!("{place}{dot}{key}"), item, found);
            }
        }
        Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// A number that a document can hold.
fn number(number: f64) -> Result<Json, String> {
    serde_json::Number::from_f64(number)
        .map(Json::Number)
        .ok_or_else(|| format!("{number:?} is a number that no company file can hold"))
}

/// What TOML knows beside what JSON does is a time, and a time is a text.
fn of_toml(value: toml::Value) -> Result<Json, String> {
    Ok(match value {
        toml::Value::String(text) => Json::String(text),
        toml::Value::Integer(number) => Json::from(number),
        toml::Value::Float(float) => number(float)?,
        toml::Value::Boolean(value) => Json::Bool(value),
        toml::Value::Datetime(time) => Json::String(time.to_string()),
        toml::Value::Array(items) => {
            Json::Array(items.into_iter().map(of_toml).collect::<Result<_, String>>()?)
        }
        toml::Value::Table(table) => {
            let read = table.into_iter().map(|(key, value)| {
                let value = of_toml(value).map_err(|error| format!("{key}: {error}"))?;
                Ok((key, value))
            });
            Json::Object(read.collect::<Result<_, String>>()?)
        }
    })
}

/// A document in which no key stands twice in one table and every number is one: what is read is what people see.
struct Clear(Json);

impl<'de> Deserialize<'de> for Clear {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Clear, D::Error> {
        deserializer.deserialize_any(Reader).map(Clear)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a text, a number, true or false, nothing, a list or a table")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json, E> {
        number(value).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(Reader)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut read = Vec::new();
        while let Some(Clear(item)) = items.next_element()? {
            read.push(item);
        }
        Ok(Json::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json, A::Error> {
        let mut read = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            if read.contains_key(&key) {
                return Err(de::Error::custom(format!("`{key}` stands twice in one table")));
            }
            let Clear(value) = fields.next_value()?;
            read.insert(key, value);
        }
        Ok(Json::Object(read))
    }
}

/// In TOML what stands behind the head of a table belongs to it: plain values come first.
fn tables_last(value: &Json) -> Json {
    match value {
        Json::Object(fields) => {
            let is_table = |value: &Json| match value {
                Json::Object(_) => true,
                Json::Array(items) => !items.is_empty() && items.iter().all(Json::is_object),
                _ => false,
            };
            let (tables, plain): (Vec<_>, Vec<_>) = fields.iter().partition(|(_, value)| is_table(value));
            let ordered: Map<String, Json> = plain
                .into_iter()
                .chain(tables)
                .map(|(key, value)| (key.clone(), tables_last(value)))
                .collect();
            Json::Object(ordered)
        }
        Json::Array(items) => Json::Array(items.iter().map(tables_last).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Texts that formats have been known to change on the way.
    const TEXTS: &[&str] = &[
        "",
        " ",
        "plain",
        "yes",
        "no",
        "null",
        "~",
        "true",
        "1",
        "1.0",
        "1e3",
        "0x10",
        "0o7",
        "-",
        "- a",
        "a: b",
        "# no",
        "a # b",
        "2030-01-31",
        "12:30:45",
        "'",
        "\"",
        "\\",
        "\\n",
        "'''",
        "\"\"\"",
        "{a}",
        "[a]",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "%",
        "@",
        "`",
        "one\ntwo",
        "one\n\ntwo\n",
        "\nfirst",
        "  indented\nless",
        "tab\tin",
        "\ttab",
        "trailing \nspace ",
        "end\n\n",
        "cr\r\nlf",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{1}",
        "ünïcödé 東京 🙂",
        "a\\\nb",
        "***REDACTED***",
        "=",
        "<<",
        "---",
        "...",
        "key: |\n  x",
    ];

    fn document() -> Json {
        let texts: Vec<Json> = TEXTS
            .iter()
            .map(|text| json!({"name": text, "list": [text, "x"], "z": {"inner": text}}))
            .collect();
        let keys: Map<String, Json> =
            TEXTS.iter().map(|text| ((*text).to_owned(), json!({"deep": {"a": 1}, "b": text}))).collect();
        json!({
            "version": 1,
            "company": {"name": "Acme", "description": "one\ntwo\n"},
            "agents": texts,
            "goals": [],
            "projects": [{
                "name": "Web", "tables": [{"a": 1}, {"b": {"c": [1, 2]}}], "after": true, "empty": {}, "none": [],
                "mixed": [1, "a", {"b": 2}, [3, [4]]], "nested": [[{"a": 1}], []],
                "numbers": [0, -1, 1.5, 1.0, 9_007_199_254_740_993_i64, 1e300, -0.25],
            }],
            "keys": keys,
        })
    }

    #[test]
    fn what_is_written_in_any_format_reads_as_it_was() {
        for format in [Format::Toml, Format::Yaml, Format::Json] {
            let text = write(&document(), format).unwrap();
            assert_eq!(read(&text, Some(format)).unwrap(), document(), "{text}");
            assert_eq!(Format::of_text(&text), format, "{text}");
        }
    }

    #[test]
    fn each_text_survives_by_itself() {
        for format in [Format::Toml, Format::Yaml, Format::Json] {
            for text in TEXTS {
                let document = json!({"version": 1, "text": text, "list": [text], "table": {*text: text}});
                let written = write(&document, format).unwrap();
                assert_eq!(read(&written, None).unwrap(), document, "{format:?} {text:?}: {written}");
            }
        }
    }

    #[test]
    fn texts_of_several_lines_stay_several_lines() {
        let document = json!({"version": 1, "agents": [{"name": "Ada", "text": "one\ntwo\n"}]});
        for format in [Format::Toml, Format::Yaml] {
            let text = write(&document, format).unwrap();
            assert!(text.lines().any(|line| line.trim() == "two"), "{text}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, format, line) in [
            ("version = 1\n[company\nname = 1", "TOML", "2"),
            ("version: 1\ncompany:\n  - a\n b: c", "YAML", "4"),
            ("{\"version\": 1,\n  oops}", "JSON", "2"),
        ] {
            let failure = read(text, None).unwrap_err();
            assert!(failure.message.starts_with(&format!("the file is not {format}")), "{failure}");
            assert!(failure.message.contains(line), "{failure}");
        }
    }

    #[test]
    fn a_mistake_in_a_line_without_end_is_told_in_few_words() {
        let long = "x".repeat(3 << 20);
        for (text, format) in [
            (long.clone(), Format::Toml),
            (format!("name = {long}"), Format::Toml),
            (format!("{{\"{long}\": oops}}"), Format::Json),
            (format!("a: [{long}"), Format::Yaml),
            (format!("{{\"{long}\": 1, \"{long}\": 2}}"), Format::Json),
        ] {
            let failure = read(&text, Some(format)).unwrap_err();
            assert!(failure.message.len() < 4096, "{format:?}: {} bytes", failure.message.len());
            let is_named = failure.message.contains("line 1") || failure.message.contains("twice");
            assert!(is_named || format == Format::Yaml, "{failure}");
        }
    }

    #[test]
    fn what_one_of_two_would_hide_and_numbers_that_are_none_are_refused() {
        for (text, words) in [
            ("{\"version\": 1, \"agents\": [{\"name\": \"a\", \"name\": \"b\"}]}", "name"),
            ("version: 1\nagents: []\nagents: []", "agents"),
            ("version = 1\nversion = 2", "version"),
            ("version = 1\n[a]\nb = nan", "b: NaN"),
            ("version = 1\n[a]\nb = [1.5, -inf]", "-inf"),
            ("version: 1\na: .nan", ".nan"),
            ("version: 1\na: -.inf", "-.inf"),
        ] {
            let failure = read(text, None).unwrap_err();
            assert_eq!(failure.code, "company_file.malformed", "{text}");
            assert!(failure.message.contains(words), "{text}: {failure}");
        }
    }

    #[test]
    fn the_end_of_the_name_says_the_format_and_a_date_is_a_text() {
        for (name, format) in [
            ("a.toml", Some(Format::Toml)),
            ("b.YML", Some(Format::Yaml)),
            ("c.json", Some(Format::Json)),
            ("d", None),
        ] {
            assert_eq!(Format::of_name(Path::new(name)), format);
        }
        assert_eq!(read("day = 2030-01-31", None).unwrap(), json!({"day": "2030-01-31"}));
    }

    #[test]
    fn what_toml_cannot_say_is_said() {
        let document = json!({
            "list": [1, null], "automations": [{"nodes": [{"output": {"schema": {"enum": ["a", null]}}}]}],
            "agents": [{"metadata": {"n": 12_345_678_901_234_567_890_u64, "least": i64::MIN}}],
        });
        let failure = write(&document, Format::Toml).unwrap_err();
        assert_eq!(failure.code, "company_file.unwritable");
        assert_eq!(
            failure.message,
            "TOML cannot say this: list[1] is null\nautomations[0].nodes[0].output.schema.enum[1] is null\n\
             agents[0].metadata.n is 12345678901234567890, and its largest whole number is 9223372036854775807"
        );
        assert!(failure.hint.unwrap().contains("--format yaml"));
        for format in [Format::Yaml, Format::Json] {
            let text = write(&document, format).unwrap();
            assert_eq!(read(&text, Some(format)).unwrap(), document, "{text}");
        }
    }
}
