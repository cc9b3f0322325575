//! What may stand in a field: each mistake is named by its path, all of them at once.
//!
//! Texts hold no NUL, which PostgreSQL does not take, and are bounded. What a value means is not looked at here.

use adapters::Problem;
use domain::ids::looks_like_id;
use serde_json::Value as Json;

use crate::EngineError;
use crate::agents::problem;

/// The longest title.
pub(crate) const TITLE: usize = 1_000;
/// The longest description, comment or document.
pub(crate) const BODY: usize = 524_288;
/// The longest name, key or reference.
pub(crate) const NAME: usize = 255;
/// The largest object that is kept as it is.
const OBJECT: usize = 262_144;
/// The longest list of ids.
const IDS: usize = 200;

/// A list of mistakes.
#[derive(Debug, Default)]
pub(crate) struct Sheet(Vec<Problem>);

impl Sheet {
    /// Says what is wrong with a field and what helps.
    pub(crate) fn wrong(&mut self, path: &str, message: &str, hint: &str) {
        self.0.push(problem(path, message, hint));
    }

    /// How many requests deep an issue may lie.
    pub(crate) fn depth(&mut self, depth: Option<i64>) {
        if depth.is_some_and(|depth| !(0..=1_000_000).contains(&depth)) {
            self.wrong("requestDepth", "must be between 0 and 1000000", "leave it out");
        }
    }

    /// A text that must say something.
    pub(crate) fn required(&mut self, path: &str, text: &str, most: usize) {
        if text.trim().is_empty() {
            self.wrong(path, "must not be empty", "give it a text");
        }
        self.text(path, text, most);
    }

    /// A text that may be empty.
    pub(crate) fn text(&mut self, path: &str, text: &str, most: usize) {
        if text.contains('\0') {
            self.wrong(path, "must not contain NUL characters", "leave them out");
        }
        if text.chars().nth(most).is_some() {
            self.wrong(path, &format!("is longer than {most} characters"), "make it shorter");
        }
    }

    /// A text that may be left out.
    pub(crate) fn maybe(&mut self, path: &str, text: Option<&str>, most: usize) {
        if let Some(text) = text {
            self.text(path, text, most);
        }
    }

    /// An id that may be left out.
    pub(crate) fn id(&mut self, path: &str, id: Option<&str>) {
        if id.is_some_and(|id| !looks_like_id(id)) {
            self.wrong(path, "Invalid uuid", "give the id, not a name");
        }
    }

    /// A list of ids.
    pub(crate) fn ids<'a>(&mut self, path: &str, ids: impl Iterator<Item = &'a str>) {
        for (index, id) in ids.enumerate() {
            if index == IDS {
                self.wrong(path, &format!("has more than {IDS} entries"), "give fewer");
                return;
            }
            self.id(&format!("{path}.{index}"), Some(id));
        }
    }

    /// One word of several.
    pub(crate) fn word(&mut self, path: &str, word: &str, words: &[&str]) {
        if !words.contains(&word) {
            let (message, hint) = (format!("`{word}` is not known"), format!("one of: {}", words.join(", ")));
            self.wrong(path, &message, &hint);
        }
    }

    /// An object that is kept as it is.
    pub(crate) fn object(&mut self, path: &str, object: Option<&Json>) {
        let Some(object) = object else { return };
        if !object.is_object() {
            self.wrong(path, "must be an object", "for example {}");
        }
        let text = object.to_string();
        if text.len() > OBJECT {
            self.wrong(path, &format!("is larger than {OBJECT} bytes"), "make it smaller");
        }
        if text.contains("\\u0000") {
            self.wrong(path, "must not contain NUL characters", "leave them out");
        }
        // The configuration of an agent to be hired, or of one task: read with marks in it, it must not be kept with them.
        if let Some(config) = object.get("adapterConfig") {
            self.0.extend(adapters::placeholders(&format!("{path}.adapterConfig"), config));
        }
    }

    /// Adds mistakes that somebody else has found.
    pub(crate) fn extend(&mut self, problems: Vec<Problem>) {
        self.0.extend(problems);
    }

    /// Ends the list: nothing was wrong, or all that was.
    pub(crate) fn finish(self) -> Result<(), EngineError> {
        if self.0.is_empty() { Ok(()) } else { Err(EngineError::Invalid(self.0)) }
    }
}

/// Cuts a text to so many characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_mistake_is_named_by_its_path() {
        let mut sheet = Sheet::default();
        sheet.required("title", " ", TITLE);
        sheet.text("body", "a\0", BODY);
        sheet.maybe("name", Some("four"), 3);
        sheet.maybe("nothing", None, 0);
        sheet.id("parentId", Some("BUG-1"));
        sheet.ids("labelIds", ["0192f7a0-0000-4000-8000-000000000000", "x"].into_iter());
        sheet.word("mode", "stop", &["pause", "cancel"]);
        sheet.object("metadata", Some(&json!([1])));
        sheet.object("payload", Some(&json!({"a": "\0"})));
        sheet.object(
            "payload",
            Some(&json!({"adapterConfig": {"env": {"KEY": {"type": "plain", "value": adapters::REDACTED}}}})),
        );
        sheet.object("payload", Some(&json!({"text": adapters::REDACTED})));
        let Err(EngineError::Invalid(problems)) = sheet.finish() else { panic!("nothing was wrong") };
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "title",
                "body",
                "name",
                "parentId",
                "labelIds.1",
                "mode",
                "metadata",
                "payload",
                "payload.adapterConfig.env.KEY"
            ]
        );
        assert_eq!(problems[8].message, "Refusing to persist redacted placeholder for key: KEY");
        assert!(Sheet::default().finish().is_ok());
        assert_eq!(cut("äöü", 2), "äö");
    }
}
