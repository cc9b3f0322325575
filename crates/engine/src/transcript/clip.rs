//! Cutting what an agent said to a size that a page can hold. What is left out is counted, and still in the
//! log.

use serde_json::Value as Json;

/// A text, cut.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clipped {
    pub text: String,
    /// Bytes that were left out behind it.
    pub left_out: u64,
}

impl Clipped {
    /// The text up to so many bytes, between two characters.
    pub(super) fn of(text: String, most: usize) -> Clipped {
        let mut text = text;
        let left_out = text.len().saturating_sub(text.floor_char_boundary(most));
        if left_out > 0 {
            text.truncate(text.len() - left_out);
            // What was cut off may have been megabytes.
            text.shrink_to_fit();
        }
        Clipped { text, left_out: left_out as u64 }
    }
}

/// What an entry of a list or an object weighs beside its texts.
const ENTRY: usize = 8;

/// The value with at most about so many bytes in it, and whether anything was left out: long texts are cut,
/// and the last entries of lists and objects are dropped.
pub(super) fn value(value: Json, most: usize) -> (Json, bool) {
    let (mut room, mut is_cut) = (most, false);
    let value = shrunk(value, &mut room, &mut is_cut);
    (value, is_cut)
}

fn shrunk(value: Json, room: &mut usize, is_cut: &mut bool) -> Json {
    match value {
        Json::String(text) => {
            let text = Clipped::of(text, *room);
            *room = room.saturating_sub(text.text.len());
            *is_cut |= text.left_out > 0;
            Json::String(text.text)
        }
        Json::Array(entries) => {
            let mut kept = Vec::new();
            for entry in entries {
                if !pay(room, ENTRY, is_cut) {
                    break;
                }
                kept.push(shrunk(entry, room, is_cut));
            }
            Json::Array(kept)
        }
        Json::Object(entries) => {
            let mut kept = serde_json::Map::new();
            for (key, entry) in entries {
                if !pay(room, ENTRY + key.len(), is_cut) {
                    break;
                }
                kept.insert(key, shrunk(entry, room, is_cut));
            }
            Json::Object(kept)
        }
        plain => plain,
    }
}

fn pay(room: &mut usize, price: usize, is_cut: &mut bool) -> bool {
    let left = room.checked_sub(price);
    *is_cut |= left.is_none();
    *room = left.unwrap_or(0);
    left.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_cut_between_characters_and_the_rest_is_counted() {
        let clipped = |text: &str, most| Clipped::of(text.to_owned(), most);
        assert_eq!(clipped("abc", 3), Clipped { text: "abc".into(), left_out: 0 });
        assert_eq!(clipped("abé", 3), Clipped { text: "ab".into(), left_out: 2 });
        assert_eq!(clipped("", 0), Clipped::default());
    }

    #[test]
    fn values_keep_their_beginning() {
        let whole = json!({"command": "ls", "list": [1, 2, 3]});
        assert_eq!(value(whole.clone(), 1000), (whole, false));
        let long = json!({"a": "x".repeat(100), "b": 1});
        assert_eq!(value(long, 49), (json!({"a": "x".repeat(40)}), true));
        let list = json!(vec![1; 1000]);
        let (kept, is_cut) = value(list, 80);
        assert_eq!((kept.as_array().map(Vec::len), is_cut), (Some(10), true));
    }
}
