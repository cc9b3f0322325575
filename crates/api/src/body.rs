//! Reading a JSON body field by field: strict about types, and every mistake is named with its path.
//!
//! What no reader asked for is left over: routes of existing clients drop it and say so in a header (D20), our own
//! routes refuse it. The content type is not looked at; what a field means is the route's business.

pub(crate) mod kinds;
mod required;

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::ApiState;
use crate::errors::{ApiError, Issue, Mistakes};

/// The header that names the fields that were dropped.
pub(crate) const IGNORED_FIELDS: &str = "bugle-ignored-fields";
/// Names beyond this many bytes are not listed.
const LONGEST_LIST: usize = 1024;
/// The most values in one body: one that is read takes many times the bytes in which it was written.
const MOST_VALUES: usize = 200_000;
/// The longest text of any field, in characters; most have a smaller bound of their own.
const LONGEST_TEXT: usize = 524_288;
/// Fields that mean the same wherever they stand, and how long they may be.
const LONGEST_TEXTS: [(&str, usize); 2] = [("title", 1_000), ("capabilities", 20_000)];
/// The largest object that is taken as it is, in bytes.
const LARGEST_OBJECT: usize = 262_144;

/// The body of a request, whatever its content type.
#[derive(Debug)]
pub(crate) struct Payload(pub(crate) Bytes);

impl FromRequest<ApiState> for Payload {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Payload, ApiError> {
        let (parts, body) = request.into_parts();
        bytes_of(&parts.headers, body, state.options.body_limit).await.map(Payload)
    }
}

/// Reads a whole body, at most `limit` bytes of it.
pub(crate) async fn bytes_of(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(ApiError::too_large(limit));
    }
    to_bytes(body, limit).await.map_err(|error| {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(one) = cause {
            if one.to_string().contains("length limit") {
                return ApiError::too_large(limit);
            }
            cause = one.source();
        }
        ApiError::bad_request("body_lost", "Request body ended early")
    })
}

/// As [`bytes_of`], of somebody whom nobody knows yet: who is slower than `patience` is let go.
pub(crate) async fn bytes_within(
    patience: Duration,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(patience, bytes_of(headers, body, limit)).await {
        Ok(read) => read,
        Err(_) => Err(ApiError::body_too_slow(patience)),
    }
}

/// An object while it is read.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    issues: Mistakes,
}

impl Fields {
    /// Reads an object; anything else is a mistake.
    pub(crate) fn read(bytes: &[u8]) -> Result<Fields, ApiError> {
        if has_too_many_values(bytes) {
            let text = format!("Request body holds more than {MOST_VALUES} values");
            return Err(ApiError::bad_request("too_many_values", text));
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| malformed(bytes, &error))?;
        match value {
            Value::Object(map) => Ok(Fields::of(map)),
            other => Err(no_object(format!("Expected object, received {}", kind_of(&other)))),
        }
    }

    /// As [`Fields::read`], for routes that need no body: an empty one is an object without fields.
    pub(crate) fn read_or_empty(bytes: &[u8]) -> Result<Fields, ApiError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Fields::of(Map::new()));
        }
        Fields::read(bytes)
    }

    /// The field is there, null or not.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Notes a mistake; `key` may be a path with dots.
    pub(crate) fn mistake(&mut self, code: &'static str, key: &str, message: impl Into<String>) {
        self.issues.note(|| Issue::new(code, key, message));
    }

    fn wrong_type(&mut self, key: &str, expected: &str, found: &Value) {
        self.mistake("invalid_type", key, format!("Expected {expected}, received {}", kind_of(found)));
    }

    /// A field that is there and not null.
    fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        match self.take(key)? {
            // It would become a column, and PostgreSQL takes none.
            Value::String(text) if text.contains('\0') => {
                self.mistake("custom", key, "must not contain a NUL character");
                None
            }
            Value::String(text) => {
                let bound = LONGEST_TEXTS.iter().find(|(name, _)| *name == key);
                self.no_longer(key, text, bound.map_or(LONGEST_TEXT, |(_, most)| *most))
            }
            other => {
                self.wrong_type(key, "string", &other);
                None
            }
        }
    }

    /// Notes a text that is too long as a mistake.
    fn no_longer(&mut self, key: &str, text: String, most: usize) -> Option<String> {
        if text.chars().nth(most).is_none() {
            return Some(text);
        }
        self.mistake("too_big", key, format!("is longer than {most} characters"));
        None
    }

    /// A text that must be there and not be blank.
    pub(crate) fn required_text(&mut self, key: &str) -> String {
        if self.map.get(key).is_none_or(Value::is_null) {
            let message =
                if self.map.contains_key(key) { "Expected string, received null" } else { "Required" };
            self.map.shift_remove(key);
            self.mistake("invalid_type", key, message);
            return String::new();
        }
        let text = self.text(key);
        self.not_blank(key, text).unwrap_or_default()
    }

    /// Notes a blank text as a mistake.
    pub(crate) fn not_blank(&mut self, key: &str, text: Option<String>) -> Option<String> {
        let text = text?;
        if text.trim().is_empty() {
            self.mistake("too_small", key, "String must contain at least 1 character(s)");
            return None;
        }
        Some(text)
    }

    /// A text that may be cleared: `Some(None)` for null.
    pub(crate) fn nullable_text(&mut self, key: &str) -> Option<Option<String>> {
        if self.map.get(key).is_some_and(Value::is_null) {
            self.map.shift_remove(key);
            return Some(None);
        }
        self.text(key).map(Some)
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Option<bool> {
        match self.take(key)? {
            Value::Bool(value) => Some(value),
            other => {
                self.wrong_type(key, "boolean", &other);
                None
            }
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn count(&mut self, key: &str) -> Option<i64> {
        let value = self.take(key)?;
        // 5.0 is a whole number to every client that has only one kind of numbers.
        let whole = value.as_i64().or_else(|| {
            let number = value.as_f64()?;
            (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
        });
        match whole {
            Some(number) if number >= 0 => Some(number),
            Some(_) => {
                self.mistake("too_small", key, "Number must be greater than or equal to 0");
                None
            }
            None => {
                let expected = if value.is_number() { "integer" } else { "number" };
                let found = if value.is_number() { "float" } else { kind_of(&value) };
                self.mistake("invalid_type", key, format!("Expected {expected}, received {found}"));
                None
            }
        }
    }

    pub(crate) fn object(&mut self, key: &str) -> Option<Map<String, Value>> {
        match self.take(key)? {
            object @ Value::Object(_) if is_larger(&object, LARGEST_OBJECT) => {
                self.mistake("too_big", key, format!("is larger than {LARGEST_OBJECT} bytes"));
                None
            }
            Value::Object(map) => Some(map),
            other => {
                self.wrong_type(key, "object", &other);
                None
            }
        }
    }

    /// A whole document, which must be there. It may be as large as the body.
    pub(crate) fn document(&mut self, key: &str) -> Value {
        match self.take(key) {
            Some(document @ Value::Object(_)) => document,
            Some(other) => {
                self.wrong_type(key, "object", &other);
                Value::Null
            }
            None => {
                self.mistake("invalid_type", key, "Required");
                Value::Null
            }
        }
    }

    /// An object that may be cleared: `Some(None)` for null.
    pub(crate) fn nullable_object(&mut self, key: &str) -> Option<Option<Map<String, Value>>> {
        if self.map.get(key).is_some_and(Value::is_null) {
            self.map.shift_remove(key);
            return Some(None);
        }
        self.object(key).map(Some)
    }

    /// One of a list of words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        key: &str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let text = self.text(key)?;
        let found = all.iter().copied().find(|word| name(*word) == text);
        if found.is_none() {
            let known: Vec<String> = all.iter().map(|word| format!("'{}'", name(*word))).collect();
            let message = format!("Invalid enum value. Expected {}, received '{text}'", known.join(" | "));
            self.mistake("invalid_enum_value", key, message);
        }
        found
    }

    /// Ends the reading; what is left over is dropped and returned for the header.
    pub(crate) fn drop_rest(self) -> Result<Ignored, ApiError> {
        if !self.issues.is_empty() {
            return Err(ApiError::validation(self.issues));
        }
        Ok(Ignored(self.map.into_iter().map(|(key, _)| key).collect()))
    }

    /// Ends the reading; what is left over is a mistake.
    pub(crate) fn refuse_rest(mut self) -> Result<(), ApiError> {
        for key in self.map.keys() {
            let issue =
                || Issue::new("unrecognized_keys", key, format!("Unrecognized key in object: '{key}'"));
            self.issues.note(issue);
        }
        self.drop_rest().map(drop)
    }
}

/// Fields that were dropped.
#[derive(Debug, Default)]
pub(crate) struct Ignored(Vec<String>);

impl Ignored {
    /// Names them in the header of an answer.
    pub(crate) fn name_in(&self, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        let mut list = String::new();
        for name in &self.0 {
            // A key may hold anything; a header may not.
            let clean: String =
                name.chars().map(|c| if c.is_ascii_graphic() && c != ',' { c } else { '?' }).collect();
            if list.len() + clean.len() > LONGEST_LIST {
                list.push_str(", ...");
                break;
            }
            if !list.is_empty() {
                list.push_str(", ");
            }
            list.push_str(&clean);
        }
        if let Ok(value) = HeaderValue::from_str(&list) {
            headers.insert(IGNORED_FIELDS, value);
        }
    }
}

/// A body that is something else, or nothing.
fn no_object(message: String) -> ApiError {
    let hint = Some("send a JSON object, at least {}".to_owned());
    let issue = Issue { code: "invalid_type", path: Vec::new(), message, hint };
    ApiError::validation(issue)
}

/// Counts what separates values, outside of texts, before anything is built of it.
fn has_too_many_values(bytes: &[u8]) -> bool {
    let (mut is_text, mut is_escaped, mut found) = (false, false, 0_usize);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b',' if !is_text => found += 1,
            _ => {}
        }
    }
    found >= MOST_VALUES
}

/// Whether a value is longer than so many bytes when it is written; it is written no further than that.
fn is_larger(value: &Value, most: usize) -> bool {
    struct Room(usize);
    impl std::io::Write for Room {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::FileTooLarge)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Room(most), value).is_err()
}

fn malformed(bytes: &[u8], error: &serde_json::Error) -> ApiError {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return no_object("Required".to_owned());
    }
    let (line, column) = (error.line(), error.column());
    ApiError::bad_request("malformed_json", format!("Malformed JSON in line {line}, column {column}"))
        .details(serde_json::json!({ "line": line, "column": column, "reason": error.to_string() }))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::response::IntoResponse;

    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::read(text.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        use futures_util::{StreamExt, stream};
        let begun = || stream::iter([Ok::<&str, std::io::Error>("abc")]);
        let (short, headers) = (Duration::from_millis(20), HeaderMap::new());
        let stuck = Body::from_stream(begun().chain(stream::pending()));
        let refused = bytes_within(short, &headers, stuck, 10).await.unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
        let patient = Duration::from_secs(30);
        let whole = bytes_within(patient, &headers, Body::from_stream(begun()), 10).await.unwrap();
        assert_eq!(&whole[..], b"abc");
        let long = bytes_within(patient, &headers, Body::from_stream(begun()), 2).await.unwrap_err();
        assert!(long.is_too_large());
    }

    #[test]
    fn every_wrong_type_is_named_with_its_path() {
        let mut read = fields(r#"{"a": 1, "b": "x", "c": [], "d": 1.5, "e": -1, "f": "no", "g": null}"#);
        assert_eq!(read.text("a"), None);
        assert_eq!(read.boolean("b"), None);
        assert_eq!(read.object("c"), None);
        assert_eq!(read.count("d"), None);
        assert_eq!(read.count("e"), None);
        assert_eq!(read.word("f", &["yes"], |word| word), None);
        assert_eq!(read.required_text("g"), "");
        assert_eq!(read.required_text("h"), "");
        let told: Vec<(String, String)> =
            read.issues.iter().map(|issue| (issue.path.join("."), issue.message.clone())).collect();
        let expected = [
            ("a", "Expected string, received number"),
            ("b", "Expected boolean, received string"),
            ("c", "Expected object, received array"),
            ("d", "Expected integer, received float"),
            ("e", "Number must be greater than or equal to 0"),
            ("f", "Invalid enum value. Expected 'yes', received 'no'"),
            ("g", "Expected string, received null"),
            ("h", "Required"),
        ];
        assert_eq!(told, expected.map(|(path, message)| (path.to_owned(), message.to_owned())));
        assert!(read.drop_rest().is_err());
    }

    #[test]
    fn no_text_holds_a_nul() {
        let mut read = fields(r#"{"a": "x\u0000y", "b": "\u0000", "c": "xy"}"#);
        assert_eq!(
            (read.text("a"), read.required_text("b"), read.text("c")),
            (None, String::new(), Some("xy".into()))
        );
        assert_eq!(read.issues.iter().next().unwrap().message, "must not contain a NUL character");
        assert!(read.drop_rest().is_err());
    }

    #[test]
    fn null_is_absent_except_where_it_clears() {
        let mut read = fields(r#"{"a": null, "b": null, "c": null, "d": 5.0}"#);
        assert_eq!(read.text("a"), None);
        assert_eq!(read.nullable_text("b"), Some(None));
        assert_eq!(read.nullable_object("c"), Some(None));
        assert_eq!(read.nullable_text("z"), None);
        assert_eq!(read.count("d"), Some(5));
        read.refuse_rest().unwrap();
    }

    #[test]
    fn what_nobody_asked_for_is_dropped_and_named_or_refused() {
        let text = r#"{"known": "x", "colour": "red", "ba d\n": 1}"#;
        let mut read = fields(text);
        read.text("known");
        let mut headers = HeaderMap::new();
        read.drop_rest().unwrap().name_in(&mut headers);
        assert_eq!(headers[IGNORED_FIELDS], "colour, ba?d?");
        let mut read = fields(text);
        read.text("known");
        assert!(read.refuse_rest().is_err());
    }

    /// What an answer says of the mistakes: their number, and the message of the last.
    fn told(error: ApiError) -> (usize, String) {
        let details = error.into_details().unwrap();
        let list = details.as_array().unwrap();
        (list.len(), list.last().unwrap()["message"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_hundred_mistakes_are_told_and_the_last_one_counts_the_others() {
        let keys: Vec<String> = (0..100).map(|key| format!(r#""k{key}": 1"#)).collect();
        let (number, last) = told(fields(&format!("{{{}}}", keys.join(", "))).refuse_rest().unwrap_err());
        assert_eq!((number, last.as_str()), (100, "Unrecognized key in object: 'k99'"));
        let keys: Vec<String> = (0..5_000).map(|key| format!(r#""k{key}": 1"#)).collect();
        let mut many = fields(&format!("{{{}}}", keys.join(", ")));
        many.required_text("title");
        assert_eq!(told(many.refuse_rest().unwrap_err()), (100, "and 4902 more mistakes".to_owned()));
    }

    #[test]
    fn a_list_that_is_too_long_is_one_mistake_whatever_is_in_it() {
        let list = |length: usize| fields(&format!(r#"{{"ids": [{}]}}"#, vec!["1"; length].join(",")));
        let mut bounded = list(1_000);
        assert_eq!(bounded.ids("ids"), Some(Vec::new()));
        assert_eq!(told(bounded.drop_rest().unwrap_err()), (100, "and 901 more mistakes".to_owned()));
        for read in [Fields::ids, Fields::texts] {
            let mut longer = list(1_001);
            assert_eq!(read(&mut longer, "ids"), None);
            let expected = (1, "Array must contain at most 1000 element(s)".to_owned());
            assert_eq!(told(longer.drop_rest().unwrap_err()), expected);
        }
    }

    #[test]
    fn a_body_of_too_many_values_is_refused_before_anything_is_built_of_it() {
        let body = |values: usize| format!(r#"{{"a": [{}], "b": ",,\",,"}}"#, vec!["1"; values].join(","));
        assert!(Fields::read(body(MOST_VALUES - 2).as_bytes()).is_ok());
        let refused = Fields::read(body(MOST_VALUES).as_bytes()).unwrap_err();
        assert_eq!(refused.text(), "Request body holds more than 200000 values");
        let text = format!(r#"{{"a": "{}"}}"#, ",".repeat(MOST_VALUES));
        assert!(Fields::read(text.as_bytes()).is_ok(), "commas in a text part nothing");
    }

    #[test]
    fn a_mistake_shows_of_what_was_written_what_a_person_reads() {
        let mut read =
            fields(&format!(r#"{{"{}": 1, "word": "{}"}}"#, ".".repeat(100_000), "é".repeat(100_000)));
        assert_eq!(read.word("word", &["yes"], |word| word), None);
        let details = read.refuse_rest().unwrap_err().into_details().unwrap();
        assert!(details.to_string().len() < 10_000, "{} bytes", details.to_string().len());
        assert_eq!(details[1]["path"].as_array().map(Vec::len), Some(301));
    }

    #[test]
    fn texts_and_objects_that_are_too_large_name_their_field() {
        let (text, object) = ("x".repeat(524_289), "x".repeat(262_136));
        let (title, capabilities) = ("é".repeat(1_000), "é".repeat(20_001));
        let mut read = fields(&format!(
            r#"{{"description": "{text}", "title": "{title}", "capabilities": "{capabilities}",
                "metadata": {{"a": "{object}"}}, "payload": {{"ab": "{object}"}}}}"#
        ));
        assert_eq!((read.text("description"), read.nullable_text("title")), (None, Some(Some(title))));
        assert_eq!((read.nullable_text("capabilities"), read.object("payload")), (None, None));
        assert!(read.nullable_object("metadata").is_some());
        let told: Vec<(String, &str)> =
            read.issues.iter().map(|issue| (issue.path.join("."), issue.message.as_str())).collect();
        let expected = [
            ("description", "is longer than 524288 characters"),
            ("capabilities", "is longer than 20000 characters"),
            ("payload", "is larger than 262144 bytes"),
        ];
        assert_eq!(told, expected.map(|(path, message)| (path.to_owned(), message)));
    }

    #[test]
    fn malformed_json_says_where() {
        let error = Fields::read(b"{\"a\": 1,\n  oops}").unwrap_err();
        assert_eq!(error.clone().into_response().status(), 400);
        assert!(format!("{error:?}").contains("line 2, column 3"), "{error:?}");
        assert!(Fields::read(b"").is_err());
        assert!(Fields::read(b"[]").is_err());
        assert!(Fields::read_or_empty(b" \n").is_ok());
    }
}
