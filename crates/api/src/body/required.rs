//! Fields that must be there: absent or null, each is a mistake and never its default.

use domain::moment::Moment;
use serde_json::{Map, Value};

use super::Fields;

impl Fields {
    /// Notes a field that is missing or null; false when it is.
    fn is_given(&mut self, key: &str, expected: &str) -> bool {
        match self.map.get(key) {
            None => self.mistake("invalid_type", key, "Required"),
            Some(Value::Null) => {
                self.map.shift_remove(key);
                self.mistake("invalid_type", key, format!("Expected {expected}, received null"));
            }
            Some(_) => return true,
        }
        false
    }

    /// A whole number that is not negative and must be there.
    pub(crate) fn required_count(&mut self, key: &str) -> i64 {
        if self.is_given(key, "number") { self.count(key).unwrap_or(0) } else { 0 }
    }

    /// A truth that must be told.
    pub(crate) fn required_boolean(&mut self, key: &str) -> bool {
        self.is_given(key, "boolean") && self.boolean(key).unwrap_or(false)
    }

    /// An object that must be there.
    pub(crate) fn required_object(&mut self, key: &str) -> Map<String, Value> {
        if self.is_given(key, "object") { self.object(key).unwrap_or_default() } else { Map::new() }
    }

    /// A moment in UTC that must be there.
    pub(crate) fn required_moment(&mut self, key: &str) -> Moment {
        if self.is_given(key, "string") { self.moment(key).unwrap_or_default() } else { Moment::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_as_good_as_nothing_and_both_are_mistakes() {
        let mut read =
            Fields::read(br#"{"a": null, "b": 5, "c": true, "d": {}, "e": "2026-04-27T15:02:47Z"}"#).unwrap();
        assert_eq!(
            (read.required_count("a"), read.required_boolean("a"), read.required_count("z")),
            (0, false, 0)
        );
        assert_eq!((read.required_count("b"), read.required_boolean("c")), (5, true));
        assert!(read.required_object("d").is_empty() && read.required_moment("e") > Moment::default());
        read.required_object("z");
        read.required_moment("z");
        let told: Vec<(String, &str)> =
            read.issues.iter().map(|issue| (issue.path.join("."), issue.message.as_str())).collect();
        let expected = [
            ("a", "Expected number, received null"),
            ("a", "Required"),
            ("z", "Required"),
            ("z", "Required"),
            ("z", "Required"),
        ];
        assert_eq!(told, expected.map(|(path, message)| (path.to_owned(), message)));
    }
}
