//! The words, states and decisions of Bugle.
//!
//! Everything here is a pure function of its arguments: time, randomness and ids are handed in. Nothing waits, reads a
//! clock or the environment, or touches I/O; `Cargo.toml` has no runtime, SQL or HTTP. The shell that loads the views,
//! applies the decisions and rings the bells is the `engine`.

pub mod access;
pub mod account;
pub mod agent;
pub mod automation;
pub mod brief;
pub mod budget;
pub mod cancel;
pub mod claim;
pub mod company_file;
pub mod duty;
pub mod ending;
pub mod environment;
pub mod gate;
pub mod hold;
pub mod ids;
pub mod instructions;
pub mod issue;
pub mod limit;
pub mod liveness;
pub mod moment;
pub mod permission;
pub mod promotion;
pub mod recovery;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod session;
pub mod skill;
pub mod summary;
pub mod telling;
pub mod tree;
pub mod wake;
pub mod webhook;
pub mod workspace;

/// Declares an enum whose variants are stored, sent and printed as fixed machine strings.
///
/// The strings are an interface (databases, clients, agent skills): they are written out, never derived from names.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The machine string.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// Reads the machine string; anything else is `None`.
            pub fn parse(text: &str) -> Option<$name> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.serialize_str(self.as_str()) }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<$name, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                $name::parse(&text).ok_or_else(|| {
                    let known: Vec<&str> = $name::ALL.iter().map(|v| v.as_str()).collect();
                    serde::de::Error::custom(format!("unknown value `{text}`, expected one of: {}", known.join(", ")))
                })
            }
        }
    };
}
pub(crate) use words;
