//! Reading the words of one line of a script: texts with variables, numbers, spans, JSON.
//!
//! Mistakes are said without their line; whoever reads the line adds it.

use std::time::Duration;

use domain::moment::Moment;
use domain::telling::{ErrorClass, Usage};
use serde_json::Value;

use super::script::{Failure, Form, Piece, Text, Variable, When};
use super::system;

/// The words of one line that are not read yet.
pub(crate) struct Words<'a> {
    pub(crate) rest: &'a str,
}

impl<'a> Words<'a> {
    /// The next word as it stands.
    pub(crate) fn bare(&mut self) -> Option<&'a str> {
        let rest = self.rest.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest.trim_start();
        Some(word).filter(|word| !word.is_empty())
    }

    /// The next word, which may be a JSON string.
    pub(crate) fn word(&mut self, what: &str) -> Result<Text, String> {
        if !self.rest.starts_with('"') {
            return text(self.bare().ok_or_else(|| format!("{what} is missing"))?);
        }
        let mut strings = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        let word =
            strings.next().and_then(Result::ok).ok_or_else(|| format!("{what} is not a JSON string"))?;
        let end = strings.byte_offset();
        self.rest = self.rest[end..].trim_start();
        text(&word)
    }

    /// The rest of the line, if there is any.
    pub(crate) fn text(&mut self) -> Result<Option<Text>, String> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return Ok(None);
        }
        // Quotes around only a part of the text are part of the text.
        let quoted = if rest.starts_with('"') { serde_json::from_str::<String>(rest).ok() } else { None };
        text(quoted.as_deref().unwrap_or(rest)).map(Some)
    }

    pub(crate) fn text_or_empty(&mut self) -> Result<Text, String> {
        Ok(self.text()?.unwrap_or_default())
    }

    pub(crate) fn some_text(&mut self) -> Result<Text, String> {
        self.text()?.ok_or_else(|| "the text is missing".to_owned())
    }

    pub(crate) fn number(&mut self, what: &str) -> Result<u64, String> {
        let word = self.bare().ok_or_else(|| format!("{what} is missing"))?;
        word.parse().map_err(|_| format!("`{word}` is not a whole number"))
    }

    pub(crate) fn size(&mut self) -> Result<u64, String> {
        let word = self.bare().ok_or_else(|| "SIZE is missing".to_owned())?;
        let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
        let unit: Option<u64> = match &word[digits..] {
            "" | "B" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            _ => None,
        };
        let size =
            word[..digits].parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
        size.ok_or_else(|| format!("`{word}` is not a size like 100, 64KiB, 5MiB or 1GiB"))
    }

    pub(crate) fn form(&mut self) -> Result<Form, String> {
        match self.bare() {
            None | Some("text") => Ok(Form::Text),
            Some("line") => Ok(Form::Line),
            Some("binary") => Ok(Form::Binary),
            Some(other) => Err(format!("`{other}` is not a form of bytes")),
        }
    }

    pub(crate) fn span(&mut self) -> Result<Duration, String> {
        let word = self.bare().ok_or_else(|| "SPAN is missing".to_owned())?;
        span(word).ok_or_else(|| format!("`{word}` is not a span like 250us, 100ms, 1.5s, 2m or 1h"))
    }

    pub(crate) fn method(&mut self) -> Result<String, String> {
        let word = self.bare().ok_or_else(|| "METHOD is missing".to_owned())?;
        let method = word.to_ascii_uppercase();
        if ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
            return Ok(method);
        }
        Err(format!("`{word}` is not a method"))
    }

    pub(crate) fn json(&mut self) -> Result<Option<Value>, String> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return Ok(None);
        }
        let value: Value = serde_json::from_str(rest).map_err(|error| format!("not JSON: {error}"))?;
        // Variables inside its strings are replaced when the step is played; unknown ones are found now.
        expand(&value, &mut |found| text(found).map(|_| String::new())).map(|_| Some(value))
    }

    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let is_set = self.rest == name;
        if is_set {
            self.rest = "";
        }
        is_set
    }

    pub(crate) fn signal(&mut self) -> Result<i32, String> {
        let word = self.bare().ok_or_else(|| "SIGNAL is missing".to_owned())?;
        system::signal(word)
            .ok_or_else(|| format!("`{word}` is not a signal like TERM, INT, HUP, USR1 or KILL"))
    }

    /// The next word when it is `name=value` with one of the names.
    pub(crate) fn option(&mut self, names: &[&'static str]) -> Option<(&'static str, &'a str)> {
        let word = self.rest.split_whitespace().next()?;
        let (name, value) = word.split_once('=')?;
        let name = names.iter().find(|known| **known == name)?;
        self.bare();
        Some((name, value))
    }

    pub(crate) fn failure(&mut self) -> Result<Failure, String> {
        let word = self.bare().ok_or_else(|| "CLASS is missing".to_owned())?;
        let known = || ErrorClass::ALL.iter().map(|class| class.as_str()).collect::<Vec<_>>().join(", ");
        let class = ErrorClass::parse(word)
            .ok_or_else(|| format!("`{word}` is not a class of failure ({})", known()))?;
        let (mut code, mut not_before) = (None, None);
        while let Some((name, value)) = self.option(&["not-before", "code"]) {
            match name {
                "code" => code = Some(value.to_owned()),
                _ => {
                    let when = span(value).map(When::In).or_else(|| Moment::parse(value).map(When::At));
                    not_before =
                        Some(when.ok_or_else(|| format!("`{value}` is neither a span nor an ISO time"))?);
                }
            }
        }
        Ok(Failure { class, code, not_before, text: self.some_text()? })
    }

    pub(crate) fn usage(&mut self) -> Result<Usage, String> {
        let mut usage = Usage {
            input_tokens: self.number("IN")?,
            output_tokens: self.number("OUT")?,
            ..Usage::default()
        };
        const NAMES: &[&str] = &["model", "provider", "biller", "billing"];
        let mut at = 0;
        while !self.rest.is_empty() {
            if let Some((name, value)) = self.option(NAMES) {
                let field = match name {
                    "model" => &mut usage.model,
                    "provider" => &mut usage.provider,
                    "biller" => &mut usage.biller,
                    _ => &mut usage.billing_type,
                };
                *field = Some(value.to_owned());
                continue;
            }
            match at {
                0 => usage.cached_input_tokens = self.number("CACHED")?,
                1 => {
                    let word = self.bare().unwrap_or_default();
                    let micros =
                        micros(word).ok_or_else(|| format!("`{word}` is not a cost in dollars like 0.02"))?;
                    usage.cost_micros = Some(micros);
                }
                _ => return Err(format!("`{}` is too much", self.rest)),
            }
            at += 1;
        }
        Ok(usage)
    }

    pub(crate) fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err(format!("`{}` is too much", self.rest)) }
    }
}

/// Reads a text with variables.
pub(crate) fn text(source: &str) -> Result<Text, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = source;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            literal.push_str(&rest[..at - 1]);
            literal.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        literal.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let end = after
            .find('}')
            .ok_or_else(|| "a `${` is never closed; write `$${` for a plain one".to_owned())?;
        let name = &after[..end];
        let variable = Variable::parse(name)
            .ok_or_else(|| format!("there is no variable `{name}`; write `$${{` for a plain `${{`"))?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Variable(variable));
        rest = &after[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(Text(pieces))
}

/// Replaces every string inside a JSON value.
pub(crate) fn expand(
    value: &Value,
    replace: &mut impl FnMut(&str) -> Result<String, String>,
) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::String(replace(text)?),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| expand(item, replace)).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, item)| Ok((key.clone(), expand(item, replace)?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn span(word: &str) -> Option<Duration> {
    let digits = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let unit = match &word[digits..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(word[..digits].parse::<f64>().ok()? * unit).ok()
}

/// Dollars as written, exactly, in micro-dollars.
fn micros(word: &str) -> Option<i64> {
    let word = word.strip_prefix('$').unwrap_or(word);
    let (whole, part) = word.split_once('.').unwrap_or((word, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if part.len() > 6 || !are_digits(whole) || !are_digits(part) || (whole.is_empty() && part.is_empty()) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: i64 = format!("{part:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::super::script::{Line, Step};
    use super::*;

    #[test]
    fn numbers_are_exact() {
        for (word, value) in [
            ("0.02", Some(20_000)),
            ("$1", Some(1_000_000)),
            (".5", Some(500_000)),
            ("0.1234567", None),
            ("", None),
            ("-1", None),
        ] {
            assert_eq!(micros(word), value, "{word}");
        }
        for (word, value) in
            [("1.5s", Some(1500)), ("2m", Some(120_000)), ("10", None), ("1.2.3s", None), ("ms", None)]
        {
            assert_eq!(span(word), value.map(Duration::from_millis), "{word}");
        }
        let [Line { step: Step::Usage { usage, is_total: false }, .. }] =
            &parse("usage 10 2 model=m 5 0.3").unwrap()[..]
        else {
            panic!()
        };
        let expected = Usage {
            input_tokens: 10,
            output_tokens: 2,
            cached_input_tokens: 5,
            cost_micros: Some(300_000),
            model: Some("m".into()),
            ..Usage::default()
        };
        assert_eq!(*usage, expected);
    }
}
