//! Kinds of fields beside the plain ones: ids, lists of ids, moments, web addresses, and texts of several lines.
//!
//! How long a text may be and what an id means is the engine's to say.

use domain::ids::looks_like_id;
use domain::moment::Moment;
use serde_json::{Map, Value};

use super::Fields;
#[cfg(test)]
use crate::errors::ApiError;
use crate::errors::Mistakes;

/// The longest list of any field (D20); most have a smaller bound of their own.
const LONGEST_ARRAY: usize = 1_000;

impl Fields {
    /// Reads an object that is a part of a body; its mistakes are named from there.
    pub(crate) fn of(map: Map<String, Value>) -> Fields {
        Fields { map, issues: Mistakes::default() }
    }

    /// A flag that is off unless it is set.
    pub(crate) fn flag(&mut self, key: &str) -> bool {
        self.boolean(key).unwrap_or(false)
    }

    /// A text in which the written escapes of line ends are line ends (spec/api.md 1, ML).
    pub(crate) fn lines(&mut self, key: &str) -> Option<String> {
        self.text(key).map(|text| with_line_ends(&text))
    }

    /// The same, where null clears.
    pub(crate) fn nullable_lines(&mut self, key: &str) -> Option<Option<String>> {
        Some(self.nullable_text(key)?.map(|text| with_line_ends(&text)))
    }

    /// The same, where a text must be and say something.
    pub(crate) fn required_lines(&mut self, key: &str) -> String {
        with_line_ends(&self.required_text(key))
    }

    /// A text that must be there but may be empty.
    pub(crate) fn present_lines(&mut self, key: &str) -> String {
        if self.map.get(key).is_none_or(Value::is_null) {
            return self.required_lines(key);
        }
        self.lines(key).unwrap_or_default()
    }

    /// A text that must be there but may be empty, and is taken as it is written.
    pub(crate) fn present_text(&mut self, key: &str) -> String {
        if self.map.get(key).is_none_or(Value::is_null) {
            return self.required_text(key);
        }
        self.text(key).unwrap_or_default()
    }

    /// An id in small letters.
    pub(crate) fn id(&mut self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        self.as_id(key, text)
    }

    /// An id that must be there.
    pub(crate) fn required_id(&mut self, key: &str) -> String {
        let text = self.required_text(key);
        if text.is_empty() {
            return text;
        }
        self.as_id(key, text).unwrap_or_default()
    }

    /// An id that may be cleared: `Some(None)` for null.
    pub(crate) fn nullable_id(&mut self, key: &str) -> Option<Option<String>> {
        match self.nullable_text(key)? {
            None => Some(None),
            Some(text) => self.as_id(key, text).map(Some),
        }
    }

    fn as_id(&mut self, key: &str, text: String) -> Option<String> {
        if looks_like_id(&text) {
            return Some(text.to_ascii_lowercase());
        }
        self.mistake("invalid_string", key, "Invalid uuid");
        None
    }

    /// A list of ids.
    pub(crate) fn ids(&mut self, key: &str) -> Option<Vec<String>> {
        let texts = self.texts(key)?;
        for (index, text) in texts.iter().enumerate() {
            if !looks_like_id(text) {
                self.mistake("invalid_string", &format!("{key}.{index}"), "Invalid uuid");
            }
        }
        Some(texts.into_iter().map(|text| text.to_ascii_lowercase()).collect())
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let items = self.array(key)?;
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) if !text.contains('\0') => texts.push(text),
                Value::String(_) => {
                    self.mistake("custom", &format!("{key}.{index}"), "must not contain a NUL character");
                }
                other => self.wrong_type(&format!("{key}.{index}"), "string", &other),
            }
        }
        Some(texts)
    }

    /// A list of words of a list of words.
    pub(crate) fn words<T: Copy>(
        &mut self,
        key: &str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Option<Vec<T>> {
        let texts = self.texts(key)?;
        let mut words = Vec::with_capacity(texts.len());
        for (index, text) in texts.into_iter().enumerate() {
            let mut one = Fields::of(Map::from_iter([("word".to_owned(), Value::String(text))]));
            words.extend(one.word("word", all, &name));
            for issue in one.issues.into_parts().0 {
                self.mistake(issue.code, &format!("{key}.{index}"), issue.message);
            }
        }
        Some(words)
    }

    /// One of a list of words that must be there.
    pub(crate) fn required_word<T: Copy>(
        &mut self,
        key: &str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        if self.map.get(key).is_none_or(Value::is_null) {
            self.required_text(key);
            return None;
        }
        self.word(key, all, name)
    }

    /// A list of anything. One that is too long is refused before anybody looks at what is in it.
    pub(crate) fn array(&mut self, key: &str) -> Option<Vec<Value>> {
        match self.take(key)? {
            Value::Array(items) if items.len() > LONGEST_ARRAY => {
                let message = format!("Array must contain at most {LONGEST_ARRAY} element(s)");
                self.mistake("too_big", key, message);
                None
            }
            Value::Array(items) => Some(items),
            other => {
                self.wrong_type(key, "array", &other);
                None
            }
        }
    }

    /// A list with at least one entry.
    pub(crate) fn filled_array(&mut self, key: &str) -> Vec<Value> {
        if self.map.get(key).is_none_or(Value::is_null) {
            self.map.shift_remove(key);
            self.mistake("invalid_type", key, "Required");
            return Vec::new();
        }
        let items = self.array(key);
        if items.as_ref().is_some_and(Vec::is_empty) {
            self.mistake("too_small", key, "Array must contain at least 1 element(s)");
        }
        items.unwrap_or_default()
    }

    /// A moment in UTC, written with `Z`.
    pub(crate) fn moment(&mut self, key: &str) -> Option<Moment> {
        let text = self.text(key)?;
        self.as_moment(key, &text)
    }

    /// A moment that may be cleared: `Some(None)` for null.
    pub(crate) fn nullable_moment(&mut self, key: &str) -> Option<Option<Moment>> {
        match self.nullable_text(key)? {
            None => Some(None),
            Some(text) => self.as_moment(key, &text).map(Some),
        }
    }

    fn as_moment(&mut self, key: &str, text: &str) -> Option<Moment> {
        let moment = Moment::parse(text).filter(|_| text.ends_with('Z'));
        if moment.is_none() {
            self.mistake("invalid_string", key, "Invalid datetime");
        }
        moment
    }

    /// A web address that may be cleared: `Some(None)` for null.
    pub(crate) fn nullable_url(&mut self, key: &str) -> Option<Option<String>> {
        let url = self.nullable_text(key)?;
        if url.as_deref().is_some_and(|url| !is_absolute(url)) {
            self.mistake("invalid_string", key, "Invalid url");
            return None;
        }
        Some(url)
    }

    /// An object of which only these keys are known; another one is a mistake (the strict objects of spec/api.md).
    pub(crate) fn strict_object(&mut self, key: &str, known: &[&str]) -> Option<Option<Map<String, Value>>> {
        let object = self.nullable_object(key)?;
        for name in object.iter().flat_map(Map::keys) {
            if !known.contains(&name.as_str()) {
                self.mistake(
                    "unrecognized_keys",
                    &format!("{key}.{name}"),
                    format!("Unrecognized key(s) in object: '{name}'"),
                );
            }
        }
        Some(object)
    }

    /// Takes a field away for as long as others are read.
    pub(crate) fn set_aside(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key)
    }

    /// Puts a field back.
    pub(crate) fn put_back(&mut self, key: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.map.insert(key.to_owned(), value);
        }
    }

    /// Notes the mistakes of a part that was read on its own.
    pub(crate) fn take_mistakes(&mut self, prefix: &str, part: Fields) {
        let (told, untold) = part.issues.into_parts();
        for issue in told {
            self.mistake(issue.code, &format!("{prefix}.{}", issue.path.join(".")), issue.message);
        }
        self.issues.count(untold);
    }

    /// Ends the reading of a body of which nothing is dropped and nothing refused.
    #[cfg(test)]
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        self.drop_rest().map(drop)
    }
}

/// `\r\n`, `\n` and `\r`, written with a backslash and a letter, become line ends.
pub(crate) fn with_line_ends(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    text.replace("\\r\\n", "\n").replace("\\n", "\n").replace("\\r", "\n")
}

/// `scheme://host...`, or another scheme that needs no host (`mailto:`).
fn is_absolute(url: &str) -> bool {
    url.parse::<axum::http::Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::read(text.as_bytes()).unwrap()
    }

    fn told(fields: &Fields) -> Vec<(String, &str)> {
        fields.issues.iter().map(|issue| (issue.path.join("."), issue.message.as_str())).collect()
    }

    #[test]
    fn written_escapes_become_line_ends_and_nothing_else_changes() {
        for (written, stored) in [
            ("a\\nb", "a\nb"),
            ("a\\r\\nb\\rc", "a\nb\nc"),
            ("a\nb", "a\nb"),
            ("a\\tb \\ c", "a\\tb \\ c"),
            ("\\\\n", "\\\n"),
        ] {
            assert_eq!(with_line_ends(written), stored, "{written}");
        }
    }

    #[test]
    fn ids_are_small_letters_and_others_are_named() {
        let id = "0192F7A0-0000-4000-8000-00000000000A";
        let mut read = fields(&format!(
            r#"{{"a": "{id}", "b": "BUG-1", "c": null, "d": ["{id}", "x", 1], "f": null, "g": []}}"#
        ));
        assert_eq!(read.id("a"), Some(id.to_ascii_lowercase()));
        assert_eq!((read.id("b"), read.nullable_id("c"), read.nullable_id("z")), (None, Some(None), None));
        assert_eq!(read.ids("d").map(|ids| ids.len()), Some(2));
        assert_eq!((read.required_id("f"), read.filled_array("g").len()), (String::new(), 0));
        read.filled_array("h");
        assert_eq!(
            told(&read),
            [
                ("b".to_owned(), "Invalid uuid"),
                ("d.2".to_owned(), "Expected string, received number"),
                ("d.1".to_owned(), "Invalid uuid"),
                ("f".to_owned(), "Expected string, received null"),
                ("g".to_owned(), "Array must contain at least 1 element(s)"),
                ("h".to_owned(), "Required"),
            ]
        );
    }

    #[test]
    fn moments_are_utc_addresses_absolute_and_words_known() {
        let mut read = fields(
            r#"{"a": "2026-04-27T15:02:47.000Z", "b": "2026-04-27T15:02:47+02:00", "c": null, "d": "https://x.test/y",
                "e": "x.test", "f": ["todo", "doing"], "g": {"mode": "x", "other": 1}, "h": ""}"#,
        );
        assert!(read.moment("a").is_some());
        assert_eq!((read.moment("b"), read.nullable_moment("c")), (None, Some(None)));
        assert_eq!(read.nullable_url("d"), Some(Some("https://x.test/y".to_owned())));
        assert_eq!(read.nullable_url("e"), None);
        assert_eq!(read.words("f", &["todo"], |word| word), Some(vec!["todo"]));
        assert!(read.strict_object("g", &["mode"]).is_some());
        assert_eq!(read.present_lines("h"), "");
        assert_eq!(
            told(&read),
            [
                ("b".to_owned(), "Invalid datetime"),
                ("e".to_owned(), "Invalid url"),
                ("f.1".to_owned(), "Invalid enum value. Expected 'todo', received 'doing'"),
                ("g.other".to_owned(), "Unrecognized key(s) in object: 'other'"),
            ]
        );
    }
}
