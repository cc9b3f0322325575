//! Ids: UUIDs that sort by the moment they were made, each kind a type of its own.
//!
//! The first 48 bits are milliseconds, the rest is random; the version digit is 4 because existing clients take any
//! digit above 5 for a short name (spec/api.md 1). Random bits are an argument: minting has no source of its own.

use crate::moment::Moment;

/// Makes the text of an id from a moment and 16 random bytes (of which 10 are used).
pub fn mint(at: Moment, random: [u8; 16]) -> String {
    let millis = (at.micros().max(0) / 1000) as u64;
    let mut bytes = random;
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    bytes[6] = 0x40 + bytes[6] % 0x10;
    bytes[8] = 0x80 + bytes[8] % 0x40;
    let mut text = String::with_capacity(36);
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).expect("a nibble is below 16"));
        }
    }
    text
}

/// True for text that existing clients take for an id and not for a short name (spec/api.md 1).
pub fn looks_like_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            14 => (b'1'..=b'5').contains(b),
            19 => matches!(b.to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b'),
            _ => b.is_ascii_hexdigit(),
        })
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// Makes a new id from a moment and 16 random bytes.
            pub fn mint(at: Moment, random: [u8; 16]) -> $name { $name(mint(at, random)) }
            /// The text of the id.
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(&self.0) }
        }

        impl From<&str> for $name { fn from(text: &str) -> $name { $name(text.to_owned()) } }
    };
}

id!(/// A company: the tenant that everything belongs to.
    CompanyId);
id!(/// An agent: a configured worker.
    AgentId);
id!(/// A run: one piece of work of an agent, from wake to end.
    RunId);
id!(/// A wake: one recorded ask, whatever came of it.
    WakeId);
id!(/// An issue: one work item of a company.
    IssueId);
id!(/// A comment on an issue.
    CommentId);
id!(/// A hold on a subtree of issues.
    HoldId);
id!(/// An automation: a definition that keeps its name through its versions.
    AutomationId);
id!(/// A run of an automation.
    AutomationRunId);
id!(/// A question of an automation run to people.
    GateId);
id!(/// A budget policy: an amount that a scope may spend in a window.
    PolicyId);
id!(/// A schedule of an automation.
    ScheduleId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_their_moment_and_pass_the_clients_test() {
        let early = mint(Moment::from_micros(1_000_000_000_000_000), [0xff; 16]);
        let late = mint(Moment::from_micros(1_000_000_000_001_000), [0x00; 16]);
        assert!(early < late);
        assert!(looks_like_id(&early) && looks_like_id(&late));
        // 1,000,000,000,000 milliseconds, then the random bytes, but for the version and the variant.
        assert_eq!(early, "00e8d4a5-1000-4fff-bfff-ffffffffffff");
        assert_eq!(late, "00e8d4a5-1001-4000-8000-000000000000");
        let mixed = mint(Moment::from_micros(-5), *b"0123456789abcdef");
        assert_eq!(mixed, "00000000-0000-4637-b839-616263646566");
    }

    #[test]
    fn other_text_is_not_an_id() {
        for text in
            ["", "engineer", "0192f7a0-0000-7000-8000-000000000000", "0192f7a0-0000-4000-c000-000000000000"]
        {
            assert!(!looks_like_id(text), "{text}");
        }
        assert!(looks_like_id("0192F7A0-0000-4000-B000-00000000000A"));
    }
}
