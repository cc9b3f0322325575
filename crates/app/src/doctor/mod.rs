//! What could keep a server from working here: each check once, for `bugle doctor` and for `bugle up`.
//!
//! `up` asks those that would stop it ([`before_start`]) and turns the first that does into its error, so that both say
//! the same in the same words. Nothing is repaired here, and looking changes nothing.

mod leftovers;
mod listening;
mod machine;
mod record;
mod secrets_key;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::config::{self, Config, Flags};
use crate::failure::{Failure, Kind};
use crate::instance::{self, Holder};
use crate::{data_dir, store_look};

pub(crate) use listening::busy;

/// A process that is killed keeps what it has for less than this.
const DYING: Duration = Duration::from_secs(1);
/// Between two looks whether it is gone.
const AGAIN: Duration = Duration::from_millis(20);

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    Warn,
    Fail,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: &'static str,
    pub(crate) level: Level,
    /// A machine string that stays the same; `ok` when all is well.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
    /// `bugle up` would refuse to start.
    pub(crate) stops_up: bool,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, message: impl Into<String>) -> Finding {
        Finding { check, level: Level::Ok, code: "ok", message: message.into(), fix: None, stops_up: false }
    }

    pub(crate) fn warn(
        check: &'static str,
        code: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        let (message, fix) = (message.into(), Some(fix.into()));
        Finding { check, level: Level::Warn, code, message, fix, stops_up: false }
    }

    /// Something that keeps the server from starting.
    pub(crate) fn fail(
        check: &'static str,
        code: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        let (message, fix) = (message.into(), Some(fix.into()));
        Finding { check, level: Level::Fail, code, message, fix, stops_up: true }
    }
}

impl From<Finding> for Failure {
    fn from(finding: Finding) -> Failure {
        let typed = ["config.", "listen.", "database_url.", "data_dir.relative", "data_dir.unknown"];
        let kind = if typed.iter().any(|prefix| finding.code.starts_with(prefix)) {
            Kind::Usage
        } else {
            Kind::Failed
        };
        let failure = Failure::new(kind, finding.code, finding.message);
        match finding.fix {
            Some(fix) => failure.hint(fix),
            None => failure,
        }
    }
}

/// What `up` asks before it touches anything; returns the settings, or what stops it.
pub(crate) async fn before_start(data_dir: &Path, flags: &Flags) -> Result<Config, Finding> {
    stop_at(data_dir::look(data_dir))?;
    let config = config::read(data_dir, flags)?;
    stop_at(listening::address(config.listen, config.mode))?;
    let since = Instant::now();
    let holder = || instance::holder(data_dir).ok().flatten();
    let has_waited = free_of_others(since, holder).await.map_err(|it| instance::taken(data_dir, &it))?;
    stop_at(machine::clock(SystemTime::now()))?;
    stop_at(machine::disk(data_dir))?;
    stop_at(machine::watches())?;
    let mut port = listening::port(config.listen).await;
    // Whoever went just now may have left the folder before the port.
    while port.stops_up && has_waited && since.elapsed() < DYING {
        tokio::time::sleep(AGAIN).await;
        port = listening::port(config.listen).await;
    }
    stop_at(port)?;
    Ok(config)
}

/// Waits a moment for one that has the folder: it was told to leave perhaps, or killed, and is not gone yet. True: it
/// went meanwhile; an error is who stays.
async fn free_of_others(since: Instant, mut holder: impl FnMut() -> Option<Holder>) -> Result<bool, Holder> {
    let mut has_waited = false;
    while let Some(holder) = holder() {
        if since.elapsed() >= DYING {
            return Err(holder);
        }
        has_waited = true;
        tokio::time::sleep(AGAIN).await;
    }
    Ok(has_waited)
}

fn stop_at(finding: Finding) -> Result<(), Finding> {
    if finding.stops_up { Err(finding) } else { Ok(()) }
}

/// Everything, in the order in which people read it.
pub(crate) async fn everything(data_dir: &Path, flags: &Flags) -> Vec<Finding> {
    let folder = data_dir::look(data_dir);
    let is_usable = !folder.stops_up;
    let mut findings = vec![folder];
    let holder = instance::holder(data_dir).ok().flatten();
    let config = config::read(data_dir, flags);
    match &config {
        Ok(config) => {
            let (runs, automations) = (config.max_runs, config.max_automation_runs);
            let words = format!("up to {runs} runs at once, and {automations} runs of automations");
            findings.push(Finding::ok("settings", words));
            findings.push(match &holder {
                None => Finding::ok("instance", "no server runs on this folder"),
                Some(holder) => running(data_dir, holder).await,
            });
            findings.push(listening::address(config.listen, config.mode));
            let is_own = holder.as_ref().is_some_and(|holder| serves(holder, config.listen));
            findings.push(match is_own {
                true => {
                    Finding::ok("port", format!("{} is used by the server of this folder", config.listen))
                }
                false => listening::port(config.listen).await,
            });
        }
        Err(error) => findings.push(error.clone().into()),
    }
    findings.push(machine::clock(SystemTime::now()));
    findings.push(machine::disk(data_dir));
    if is_usable && let Ok(config) = &config {
        findings.push(store_look::look(config, holder.is_some()).await);
        findings.push(secrets_key::look(config));
        findings.extend(record::look(config, holder.as_ref()).await);
    }
    findings.push(machine::open_files());
    findings.push(machine::watches());
    findings.push(machine::containment());
    findings.push(machine::git());
    findings.push(leftovers::look(data_dir, holder.is_some()));
    findings
}

/// A server that runs is no trouble, unless it does not answer; a second one would refuse to start.
async fn running(data_dir: &Path, holder: &Holder) -> Finding {
    let taken = instance::taken(data_dir, holder);
    let answers = match holder.listen {
        Some(listen) => listening::health(listen).await.is_some(),
        None => false,
    };
    if answers {
        let fix = "nothing to do; `bugle status` shows it";
        return Finding { level: Level::Warn, fix: Some(fix.to_owned()), ..taken };
    }
    let message = format!("{}, and it does not answer", taken.message);
    let fix = format!("wait if it has just started; else end it: kill {}", holder.pid);
    Finding { message, fix: Some(fix), ..taken }
}

fn serves(holder: &Holder, listen: SocketAddr) -> bool {
    holder.listen == Some(listen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_wrong_is_usage_and_what_the_machine_lacks_is_failure() {
        for (code, kind) in [
            ("config.unknown_key", Kind::Usage),
            ("listen.not_loopback", Kind::Usage),
            ("data_dir.relative", Kind::Usage),
            ("data_dir.not_a_folder", Kind::Failed),
            ("port.busy", Kind::Failed),
            ("store.newer", Kind::Failed),
        ] {
            assert_eq!(Failure::from(Finding::fail("x", code, "", "")).kind, kind, "{code}");
        }
    }

    #[tokio::test]
    async fn one_that_dies_is_waited_for_and_one_that_stays_is_named() {
        let now = Instant::now();
        let mut looks = 0;
        let dying = || {
            looks += 1;
            (looks < 3).then(Holder::default)
        };
        assert_eq!(free_of_others(now, dying).await, Ok(true));
        assert_eq!(looks, 3);
        assert_eq!(free_of_others(now, || None).await, Ok(false));
        let before = now.checked_sub(DYING).unwrap();
        let staying = Holder { pid: 7, ..Holder::default() };
        assert_eq!(free_of_others(before, || Some(staying.clone())).await, Err(staying.clone()));
    }
}
