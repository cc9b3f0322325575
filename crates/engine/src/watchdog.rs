//! The watchdog over running runs: who is told that one is silent or gets nowhere, and what people decide about it.
//!
//! The task of a run keeps its pulse and asks `domain::recovery::silence`; what the rule says is written here, in one
//! commit with the progress it was found at. The item is resolved when the run goes on or ends. Stopping a run is the
//! business of its task and its keeper.

use std::path::Path;
use std::time::{Duration, SystemTime};

use domain::cancel::Stop;
use domain::ids::{AgentId, IssueId, RunId};
use domain::moment::Moment;
use domain::recovery::silence::{
    self, DECISION_REASON, Level, Policy, StopFor, WatchSettings, WatchdogDecision,
};
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::leases::{self, Lease, Progress};
use store::runs::{self, Run};
use store::{StoreError, Tx, inbox, issues, runs_of_issues};

use crate::activity::{Author, Scribe};
use crate::stops::{self, StopReport};
use crate::{Engine, EngineError, attempts};

/// As many items as are open for one run at the most.
const MOST_ITEMS: i64 = 20;
/// As many files as are looked at for a change of a workspace.
const MOST_FILES: usize = 20_000;

/// What an agent's configuration says: `runtimeConfig.watchdog.{stallSec, criticalSec, stallAction, noProgressAction}`.
/// What it does not say, or says wrongly, is the default. `wall` is the limit that its keeper goes by.
pub(crate) fn settings(agent: &Agent, wall: Option<Duration>) -> WatchSettings {
    let defaults = WatchSettings { wall_limit: wall, ..WatchSettings::default() };
    let Some(config) = agent.runtime_config.get("watchdog") else { return defaults };
    let seconds = |key: &str| {
        let seconds = config.get(key)?.as_f64().filter(|it| it.is_finite() && *it > 0.0)?;
        Some(Duration::from_secs_f64(seconds.min(1e9)))
    };
    let action = |key: &str| config.get(key)?.as_str().and_then(Policy::parse);
    let suspicious_after = seconds("stallSec").unwrap_or(defaults.suspicious_after);
    let critical_after = seconds("criticalSec").unwrap_or(suspicious_after.saturating_mul(4));
    let on_stall = action("stallAction").unwrap_or(Policy::Flag);
    WatchSettings {
        suspicious_after,
        critical_after: critical_after.max(suspicious_after),
        on_suspicious: on_stall,
        on_critical: on_stall,
        on_no_progress: action("noProgressAction").unwrap_or(Policy::Flag),
        ..defaults
    }
}

/// How often the tree of a run is measured: so that a silence is found a twelfth of its length late.
pub(crate) fn measure_every(settings: &WatchSettings) -> Duration {
    let shortest = settings.suspicious_after.min(settings.critical_after);
    (shortest / 12).clamp(Duration::from_millis(100), Duration::from_secs(30))
}

/// The silence that an earlier incarnation has shown people.
pub(crate) fn flagged_before(run: &Run) -> Option<(Level, Moment)> {
    let level = Level::parse(&run.silence_level)?;
    let shown = matches!(level, Level::Suspicious | Level::Critical);
    run.last_activity_at.filter(|_| shown).map(|since| (level, since))
}

/// True when a file of a workspace was changed after `since`. The bookkeeping of git is no change.
pub(crate) fn has_changed_since(workspace: &Path, since: Moment) -> bool {
    let since = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(since.micros()).unwrap_or(0));
    let mut folders = vec![workspace.to_owned()];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            looked_at += 1;
            // A workspace that is larger than that gets the benefit of the doubt: nobody is told of progress.
            if looked_at > MOST_FILES {
                return true;
            }
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() && entry.file_name() == ".git" {
                continue;
            }
            if about.modified().is_ok_and(|at| at > since) {
                return true;
            }
            if about.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    false
}

/// What the task asks to be written.
#[derive(Debug, Clone)]
pub(crate) struct Raise {
    pub lease: Lease,
    pub run: Run,
    pub agent: Agent,
    pub progress: Progress,
    pub flag: Option<silence::Flag>,
    pub stop: Option<StopFor>,
    pub quiet_since: Moment,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Raised {
    Done(StopReport),
    /// A person wants to hear nothing of the silence before that moment.
    Snoozed(Moment),
    /// Somebody else holds the lease.
    Stale,
}

/// Shows a run to people, and asks to stop it where that is the policy.
pub(crate) async fn raise(tx: &mut Tx<'_>, raise: Raise, mut scribe: Scribe) -> Result<Raised, StoreError> {
    let Raise { lease, run, agent, progress, flag, stop, quiet_since } = raise;
    let now = scribe.now;
    let company = run.company_id.clone();
    let issue = run.issue_id.clone().map(IssueId);
    let owner = match &issue {
        Some(issue) => match issues::get(tx, issue).await? {
            Some(issue) => attempts::owner(tx, &issue).await?,
            None => None,
        },
        None => None,
    };
    if !leases::progress(tx, &lease, &progress, now).await? {
        return Ok(Raised::Stale);
    }
    let Some(row) = runs::get(tx, &run.id).await? else { return Ok(Raised::Stale) };
    let is_of_silence =
        flag.as_ref().is_some_and(|flag| flag.item.cause == SILENT) || stop == Some(StopFor::Silent);
    if let Some(until) = row.snoozed_until.filter(|until| is_of_silence && *until > now) {
        return Ok(Raised::Snoozed(until));
    }
    let mut report = StopReport::default();
    if let Some(stop) = stop {
        stops::stop_one(tx, Stop::CancelRun, &row, stop.words(), &mut report, now).await?;
    }
    let Some(flag) = flag else { return Ok(Raised::Done(report)) };
    if flag.item.cause == SILENT {
        runs_of_issues::note_activity(tx, &lease, quiet_since).await?;
        let level = flag.flagged.map_or(Level::Suspicious, |(level, _)| level);
        runs_of_issues::set_silence(tx, &run.id, Some(quiet_since), level.as_str()).await?;
    } else {
        runs_of_issues::set_no_progress(tx, &lease, row.no_progress_count + 1).await?;
    }
    let item = domain::recovery::InboxItem { owner: owner.or(agent.reports_to), ..flag.item };
    let item = attempts::row(scribe.id(), &company, &item, now);
    if !inbox::open(tx, &item).await? {
        inbox::retell(tx, &item).await?;
    }
    let about = ("heartbeat_run", run.id.as_str());
    scribe.tell(tx, &company, flag.action, about, Json::Object(flag.details)).await?;
    Ok(Raised::Done(report))
}

/// The cause of an item about a silent run.
pub(crate) const SILENT: &str = "silent";

/// The run gave a sign of life: notes when, and takes back what was shown of its silence. False: the lease is another's.
pub(crate) async fn note(
    tx: &mut Tx<'_>,
    lease: &Lease,
    at: Moment,
    was_shown: bool,
    now: Moment,
) -> Result<bool, StoreError> {
    if !runs_of_issues::note_activity(tx, lease, at).await? {
        return Ok(false);
    }
    if was_shown {
        inbox::resolve_of(tx, lease.run.as_str(), Some(SILENT), "active_again", now).await?;
    }
    Ok(true)
}

/// What somebody decides about a run that is shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchdogVerdict {
    pub decision: WatchdogDecision,
    /// Until when the run is to be left alone.
    pub until: Option<Moment>,
    pub reason: Option<String>,
}

impl Engine {
    /// Records what somebody decided about a silent run: until when it is left alone, or that nothing is wrong. Answers
    /// with that moment.
    pub async fn decide_watchdog(
        &self,
        run: &RunId,
        verdict: WatchdogVerdict,
        by: &Author,
    ) -> Result<Option<Moment>, EngineError> {
        let context = (run.clone(), verdict, self.inner.scribe(by));
        let decided = self.inner.write_unless(context, |tx, (run, verdict, mut scribe)| {
            Box::pin(async move { decide(tx, &run, &verdict, &mut scribe).await })
        });
        let until = decided.await?;
        self.inner.feed.ring();
        Ok(until)
    }
}

async fn decide(
    tx: &mut Tx<'_>,
    id: &RunId,
    verdict: &WatchdogVerdict,
    scribe: &mut Scribe,
) -> Result<Option<Moment>, EngineError> {
    let Some(run) = runs::get(tx, id).await? else { return Err(EngineError::NotFound("Heartbeat run")) };
    let items = inbox::open_of(tx, id.as_str(), MOST_ITEMS).await?;
    let owner: Option<&AgentId> = items.iter().find_map(|item| item.owner_agent_id.as_ref());
    let agent = scribe.by.agent_id();
    if !silence::may_decide(scribe.by.is_board(), agent.as_ref(), owner) {
        return Err(EngineError::Conflict {
            message: "Only the board or the owner of the inbox item may decide about the run".to_owned(),
            details: None,
        });
    }
    let until = verdict
        .decision
        .quiet_until(verdict.until, scribe.now)
        .map_err(|error| EngineError::Conflict { message: error.to_string(), details: None })?;
    runs_of_issues::snooze(tx, id, until).await?;
    for item in items.iter().filter(|item| item.cause == SILENT) {
        inbox::resolve(tx, &item.id, verdict.decision.as_str(), scribe.now).await?;
    }
    let reason: Option<String> =
        verdict.reason.as_ref().map(|reason| reason.chars().take(DECISION_REASON).collect());
    let details = json!({
        "runId": id, "decision": verdict.decision, "snoozedUntil": until, "reason": reason,
        "sourceIssueId": run.issue_id,
    });
    let about = ("heartbeat_run", id.as_str());
    scribe.tell(tx, &run.company_id, verdict.decision.action(), about, details).await?;
    Ok(until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_file_is_a_change_and_git_keeping_its_books_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let at = |seconds: i64| Moment::from_micros(now.as_micros() as i64 + seconds * 1_000_000);
        assert!(!has_changed_since(folder.path(), at(-60)));
        std::fs::create_dir(folder.path().join(".git")).expect("made");
        std::fs::write(folder.path().join(".git/index"), "x").expect("written");
        assert!(!has_changed_since(folder.path(), at(-60)));
        std::fs::create_dir(folder.path().join("src")).expect("made");
        std::fs::write(folder.path().join("src/main.rs"), "x").expect("written");
        assert!(has_changed_since(folder.path(), at(-60)));
        assert!(!has_changed_since(folder.path(), at(60)));
        assert!(!has_changed_since(&folder.path().join("nowhere"), at(-60)));
    }
}
