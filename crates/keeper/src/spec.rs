//! What a keeper is told to run: the open part, written to the folder.
//!
//! Nothing here is secret; environment, secrets and first input travel in [`crate::Sealed`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::KeeperError;
use crate::folder;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Version of the folder's layout; 1.
    pub format: u32,
    pub run: String,
    pub epoch: i64,
    /// Incarnation of the server that launched; rises with each start of a server.
    pub holder: i64,
    pub argv: Vec<String>,
    pub cwd: PathBuf,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub containment: Containment,
    /// Without it a set-uid program could leave an ordinary user's reach.
    #[serde(default = "yes")]
    pub no_new_privs: bool,
    #[serde(default)]
    pub stdin: Stdin,
    #[serde(default)]
    pub redact_images: bool,
    #[serde(default)]
    pub censor_users: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// How long the child may run; none: as long as it wants.
    #[serde(with = "maybe_millis")]
    pub wall: Option<Duration>,
    /// Between TERM and KILL. Agents use it to write down their session.
    #[serde(with = "millis")]
    pub grace: Duration,
    /// How long a child may stay after its terminal event was seen.
    #[serde(with = "millis")]
    pub linger: Duration,
    /// Bytes of the log's beginning that are kept whatever happens.
    pub log_head: u64,
    /// Bytes of the log's end that are kept.
    pub log_tail: u64,
    /// Below this size nothing is dropped while the run lives.
    pub log_hard: u64,
    /// Processes at once; enforced only where a cgroup with the controller can be made.
    pub pids: Option<u64>,
    /// Bytes of memory; enforced only where a cgroup with the controller can be made.
    pub memory: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: None,
            grace: Duration::from_secs(15),
            linger: Duration::from_secs(5),
            log_head: 64 << 20,
            log_tail: 16 << 20,
            log_hard: 1 << 30,
            pids: None,
            memory: None,
        }
    }
}

/// How sure it is that nobody is left when a run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Containment {
    /// The best that changes nothing for the child: a cgroup, else the subreaper.
    ///
    /// The pid namespace is not chosen by itself: the child would see inner pids from `fork` and
    /// outer ones in `/proc`, so that `pkill`, or killing what `ps` shows, hits nobody or a
    /// stranger; and without root its user namespace shows files of others as `nobody`,
    /// which makes ssh refuse its own configuration.
    #[default]
    Auto,
    /// A cgroup v2 of its own: also empties when the keeper itself is killed.
    Cgroup,
    /// A pid namespace with a stub as first process: also dies with the keeper.
    PidNamespace,
    /// Orphans come back to the keeper, which kills them. If the keeper is killed, only the mark finds them.
    Subreaper,
    /// The process group and nothing more: platforms without a subreaper.
    Group,
}

/// What the child finds on its standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Closed,
    /// `Sealed::stdin`, then the end.
    Once,
    /// `Sealed::stdin`, then what [`crate::Handle::feed`] brings until it is closed.
    Open,
}

/// The layout this program writes.
pub(crate) const FORMAT: u32 = 1;

impl Spec {
    /// The mark every process of the run carries in its environment.
    pub(crate) fn mark(&self) -> String {
        mark(&self.run, self.epoch)
    }
}

pub(crate) fn mark(run: &str, epoch: i64) -> String {
    format!("{run}/{epoch}")
}

/// Name of the environment variable that holds the mark.
pub(crate) const MARK: &str = "BUGLE_RUN";

/// Reads the spec of a folder; `Corrupt` if it is unreadable or of a newer layout.
pub(crate) fn read(folder: &Path) -> Result<(Spec, Vec<u8>), KeeperError> {
    let bytes = match std::fs::read(folder.join(folder::SPEC)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(KeeperError::NotThere),
        Err(error) => return Err(KeeperError::io("read the spec")(error)),
    };
    let spec = parse(&bytes).ok_or_else(|| KeeperError::corrupt("the spec", 0))?;
    Ok((spec, bytes))
}

pub(crate) fn parse(bytes: &[u8]) -> Option<Spec> {
    let spec: Spec = serde_json::from_slice(bytes).ok()?;
    (spec.format == FORMAT && !spec.argv.is_empty()).then_some(spec)
}

fn yes() -> bool {
    true
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

mod maybe_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        value.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_survives_its_file_and_old_files_get_defaults() {
        let short = br#"{"format":1,"run":"r","epoch":2,"holder":3,"argv":["true"],"cwd":"/"}"#;
        let spec = parse(short).expect("the short form is complete");
        assert!(spec.no_new_privs);
        assert_eq!(spec.limits, Limits::default());
        let limits = Limits { wall: Some(Duration::from_millis(1500)), pids: Some(7), ..Limits::default() };
        let spec = Spec { limits, stdin: Stdin::Open, ..spec };
        let bytes = serde_json::to_vec(&spec).unwrap();
        assert_eq!(parse(&bytes), Some(spec));
    }

    #[test]
    fn a_newer_layout_and_an_empty_command_are_not_a_spec() {
        assert_eq!(parse(br#"{"format":2,"run":"r","epoch":2,"holder":3,"argv":["true"],"cwd":"/"}"#), None);
        assert_eq!(parse(br#"{"format":1,"run":"r","epoch":2,"holder":3,"argv":[],"cwd":"/"}"#), None);
    }
}
