//! A running run that shows no sign of life, and what is done about it (spec/heartbeat.md 5.6, S5).
//!
//! Silence is no output **and** no processor time **and** no input or output of the whole tree, for a time: a compiler
//! that says nothing for ten minutes is not silent. `pulse` folds what the keeper and the log show into one moment; [`level`] names how bad it is; [`decide`] says what to do. A flagged run stays what it is: its issue is
//! not blocked and keeps its lock while it runs. The stop itself is the keeper's.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::ids::{AgentId, IssueId, RunId};
use crate::moment::Moment;
use crate::recovery::pulse::Pulse;
use crate::recovery::repetition::NoProgress;
use crate::recovery::{InboxItem, InboxKind, object};
use crate::words;

/// How long `continue` keeps a run from being flagged.
pub const REARM: Duration = Duration::from_secs(30 * 60);
/// Longest reason of a watchdog decision, in characters.
pub const DECISION_REASON: usize = 4000;

words!(
    /// How silent a run is; the field `level` of its `outputSilence`.
    Level {
        NotApplicable = "not_applicable",
        Ok = "ok",
        Suspicious = "suspicious",
        Critical = "critical",
        Snoozed = "snoozed",
    }
);

words!(
    /// What is done with a run that is silent or gets nowhere.
    Policy {
        /// People are told.
        Flag = "flag",
        /// People are told and the run is stopped.
        Stop = "stop",
    }
);

words!(
    /// Why the watchdog stops a run; the error code of the run.
    StopFor {
        Silent = "silent",
        NoProgress = "no_progress",
        /// It ran longer than it may.
        WallLimit = "timeout",
    }
);

impl StopFor {
    /// The words of the stop order. `ending` reads the reason back out of them: the run ends as `timed_out`, because a
    /// watchdog is a limit and not somebody's wish.
    pub const fn words(self) -> &'static str {
        match self {
            StopFor::Silent => "Stopped by the watchdog: no sign of life",
            StopFor::NoProgress => "Stopped by the watchdog: the same again and again, no progress",
            StopFor::WallLimit => "Stopped by the watchdog: longer than its time limit",
        }
    }

    /// Reads the words of a stop order; `None` when somebody else gave it.
    pub fn read(words: &str) -> Option<StopFor> {
        StopFor::ALL.iter().copied().find(|stop| stop.words() == words)
    }
}

/// When a run is silent and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WatchSettings {
    pub suspicious_after: Duration,
    pub critical_after: Duration,
    /// At the suspicious level.
    pub on_suspicious: Policy,
    /// At the critical level.
    pub on_critical: Policy,
    pub on_no_progress: Policy,
    /// The longest a run may take; the keeper enforces it, this is the second lock on the door.
    pub wall_limit: Option<Duration>,
}

impl Default for WatchSettings {
    /// One hour, four hours, and nothing is stopped: a wrong stop costs more than a late look.
    fn default() -> WatchSettings {
        WatchSettings {
            suspicious_after: Duration::from_secs(3600),
            critical_after: Duration::from_secs(4 * 3600),
            on_suspicious: Policy::Flag,
            on_critical: Policy::Flag,
            on_no_progress: Policy::Flag,
            wall_limit: None,
        }
    }
}

/// How silent a running run is.
pub fn level(
    running: bool,
    quiet_since: Moment,
    snoozed_until: Option<Moment>,
    settings: &WatchSettings,
    now: Moment,
) -> Level {
    if !running {
        return Level::NotApplicable;
    }
    let age = now.since(quiet_since);
    if age < settings.suspicious_after.min(settings.critical_after) {
        Level::Ok
    } else if snoozed_until.is_some_and(|until| until > now) {
        Level::Snoozed
    } else if age >= settings.critical_after {
        Level::Critical
    } else {
        Level::Suspicious
    }
}

/// Everything the decision may look at, for one running run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchView {
    pub run: RunId,
    pub issue: Option<IssueId>,
    pub agent_name: String,
    pub started_at: Moment,
    pub pulse: Pulse,
    pub last_output_at: Option<Moment>,
    /// The program said that it is done: what is left is the keeper's.
    pub is_done: bool,
    /// It waits for a person, who was told: its silence is not its own.
    pub waits_for_person: bool,
    /// Somebody asked to stop it already.
    pub stopping: bool,
    pub snoozed_until: Option<Moment>,
    /// The level it was flagged at, and the silence it was flagged for.
    pub flagged: Option<(Level, Moment)>,
    /// A circle of calls that was just completed.
    pub no_progress: Option<NoProgress>,
    /// Whose inbox it is.
    pub owner: Option<AgentId>,
    pub settings: WatchSettings,
}

/// What the watchdog does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Watch {
    /// Opens the item, or raises the open one of the same kind, run and cause.
    pub flag: Option<Flag>,
    pub stop: Option<StopFor>,
}

/// A run is shown to people.
#[derive(Debug, Clone, PartialEq)]
pub struct Flag {
    /// The action of the activity entry.
    pub action: &'static str,
    pub details: serde_json::Map<String, serde_json::Value>,
    pub item: InboxItem,
    /// Remembered with the run, so that one silence is flagged once per level.
    pub flagged: Option<(Level, Moment)>,
}

/// Activity of a silence that was found, and of one that became critical.
pub const STALE_DETECTED: &str = "heartbeat.output_stale_detected";
/// See [`STALE_DETECTED`].
pub const STALE_ESCALATED: &str = "heartbeat.output_stale_escalated";
/// Activity of a run that gets nowhere.
pub const NO_PROGRESS_DETECTED: &str = "heartbeat.no_progress_detected";

/// Decides.
pub fn decide(view: &WatchView, now: Moment) -> Watch {
    if view.stopping || view.is_done {
        return Watch::default();
    }
    let settings = &view.settings;
    if settings.wall_limit.is_some_and(|limit| now.since(view.started_at) >= limit) {
        return Watch { flag: None, stop: Some(StopFor::WallLimit) };
    }
    if let Some(circle) = &view.no_progress {
        let stop = (settings.on_no_progress == Policy::Stop).then_some(StopFor::NoProgress);
        return Watch { flag: Some(no_progress(view, circle)), stop };
    }
    if view.waits_for_person {
        return Watch::default();
    }
    let level = level(true, view.pulse.quiet_since(), view.snoozed_until, settings, now);
    let policy = match level {
        Level::NotApplicable | Level::Ok | Level::Snoozed => return Watch::default(),
        Level::Suspicious => settings.on_suspicious,
        Level::Critical => settings.on_critical,
    };
    let since = view.pulse.quiet_since();
    let before = view.flagged.filter(|(_, silence)| *silence == since).map(|(level, _)| level);
    let flag = before.is_none_or(|before| before < level).then(|| silent(view, level, before, now));
    // What was not measured may be working where nobody can see it.
    let stop = (policy == Policy::Stop && view.pulse.is_measured()).then_some(StopFor::Silent);
    Watch { flag, stop }
}

fn silent(view: &WatchView, level: Level, before: Option<Level>, now: Moment) -> Flag {
    let since = view.pulse.quiet_since();
    let details = object(json!({
        "source": "recovery.scan_silent_active_runs",
        "level": level,
        "runId": view.run,
        "sourceIssueId": view.issue,
        "silenceAgeMs": u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX),
        "silenceStartedAt": since,
        "lastOutputAt": view.last_output_at,
        "measured": view.pulse.is_measured(),
    }));
    Flag {
        action: if before.is_some() { STALE_ESCALATED } else { STALE_DETECTED },
        item: item(view, InboxKind::SilentRun, "silent", "shows no sign of life", &details),
        details,
        flagged: Some((level, since)),
    }
}

fn no_progress(view: &WatchView, circle: &NoProgress) -> Flag {
    let details = object(json!({
        "source": "recovery.no_progress",
        "runId": view.run,
        "sourceIssueId": view.issue,
        "tool": circle.tool,
        "circle": circle.circle,
        "times": circle.times,
    }));
    Flag {
        action: NO_PROGRESS_DETECTED,
        item: item(
            view,
            InboxKind::NoProgress,
            "no_progress",
            "repeats itself and changes nothing",
            &details,
        ),
        details,
        flagged: view.flagged,
    }
}

fn item(
    view: &WatchView,
    kind: InboxKind,
    cause: &str,
    what: &str,
    details: &serde_json::Map<String, serde_json::Value>,
) -> InboxItem {
    InboxItem {
        kind,
        entity_type: "run",
        entity_id: view.run.to_string(),
        cause: cause.to_owned(),
        title: format!("The run of {} {what}", view.agent_name),
        details: details.clone(),
        owner: view.owner.clone(),
    }
}

words!(
    /// What somebody decides about a flagged run.
    WatchdogDecision {
        Snooze = "snooze",
        Continue = "continue",
        DismissedFalsePositive = "dismissed_false_positive",
    }
);

/// `snooze` needs a time that has not passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("snoozedUntil must be a future ISO datetime")]
pub struct NotInFuture;

impl WatchdogDecision {
    /// The action of its activity entry.
    pub const fn action(self) -> &'static str {
        match self {
            WatchdogDecision::Snooze => "heartbeat.watchdog_snoozed",
            WatchdogDecision::Continue | WatchdogDecision::DismissedFalsePositive => {
                "heartbeat.watchdog_decision_recorded"
            }
        }
    }

    /// Until when the run is left alone. A dismissed silence is not raised again at its level, because it was flagged.
    pub fn quiet_until(self, asked: Option<Moment>, now: Moment) -> Result<Option<Moment>, NotInFuture> {
        let future = asked.filter(|at| *at > now);
        match self {
            WatchdogDecision::Snooze => future.map(Some).ok_or(NotInFuture),
            WatchdogDecision::Continue => Ok(Some(future.unwrap_or_else(|| now.plus(REARM)))),
            WatchdogDecision::DismissedFalsePositive => Ok(None),
        }
    }
}

/// True when the actor may decide: the board, or the agent that owns the open inbox item of the run.
pub fn may_decide(is_board: bool, agent: Option<&AgentId>, owner: Option<&AgentId>) -> bool {
    is_board || (agent.is_some() && agent == owner)
}

#[cfg(test)]
mod tests {
    use crate::recovery::pulse::Reading;

    use super::*;

    const START: Moment = Moment::from_micros(1_000_000_000_000);

    fn at(seconds: u64) -> Moment {
        START.plus(Duration::from_secs(seconds))
    }

    /// The settings of S5: a minute, and twenty minutes of wall time.
    fn minute() -> WatchSettings {
        WatchSettings {
            suspicious_after: Duration::from_secs(60),
            critical_after: Duration::from_secs(240),
            wall_limit: Some(Duration::from_secs(1200)),
            ..WatchSettings::default()
        }
    }

    fn still(seconds: u64) -> Reading {
        Reading { at: at(seconds), cpu: Duration::from_secs(1), io_bytes: 10_000, processes: 2 }
    }

    fn view() -> WatchView {
        let mut pulse = Pulse::new(START);
        pulse.measured(still(0));
        pulse.measured(still(1));
        WatchView {
            run: "r".into(),
            issue: Some("i".into()),
            agent_name: "Ada".into(),
            started_at: START,
            pulse,
            last_output_at: None,
            is_done: false,
            waits_for_person: false,
            stopping: false,
            snoozed_until: None,
            flagged: None,
            no_progress: None,
            owner: Some("boss".into()),
            settings: minute(),
        }
    }

    #[test]
    fn the_levels_of_the_table() {
        let settings = WatchSettings::default();
        let hours =
            |h: u64, s: u64| START.plus(Duration::from_secs(h * 3600 + s)).minus(Duration::from_secs(1));
        let rows = [
            (false, START, None, hours(9, 0), Level::NotApplicable),
            (true, START, None, START, Level::Ok),
            (true, START, None, hours(1, 0), Level::Ok),
            (true, START, None, hours(1, 1), Level::Suspicious),
            (true, START, None, hours(4, 0), Level::Suspicious),
            (true, START, None, hours(4, 1), Level::Critical),
            (true, START, Some(hours(9, 0)), hours(4, 1), Level::Snoozed),
            (true, START, Some(hours(9, 0)), hours(1, 0), Level::Ok),
            (true, START, Some(hours(4, 1)), hours(4, 1), Level::Critical),
            (true, hours(5, 0), None, hours(4, 0), Level::Ok),
        ];
        for (running, quiet_since, snoozed, now, expected) in rows {
            assert_eq!(level(running, quiet_since, snoozed, &settings, now), expected, "{}", now.iso());
        }
    }

    #[test]
    fn s5_a_silent_run_is_flagged_within_five_seconds_and_once() {
        let mut view = view();
        let mut flags = Vec::new();
        for second in (0..=235).step_by(5) {
            view.pulse.measured(still(second));
            if let Some(flag) = decide(&view, at(second)).flag {
                view.flagged = flag.flagged;
                flags.push((second, flag.action));
            }
        }
        assert_eq!(flags, [(60, STALE_DETECTED)]);
        let critical = decide(&view, at(240)).flag.expect("a higher level");
        assert_eq!((critical.action, critical.flagged), (STALE_ESCALATED, Some((Level::Critical, START))));
        view.flagged = critical.flagged;
        assert_eq!(decide(&view, at(1199)), Watch::default());
    }

    #[test]
    fn s5_b_a_silent_run_whose_child_compiles_is_never_flagged() {
        let mut view = view();
        for second in (0..=600).step_by(5) {
            let cpu = Duration::from_secs(second);
            view.pulse.measured(Reading { cpu, ..still(second) });
            assert_eq!(decide(&view, at(second)), Watch::default(), "{second}");
        }
    }

    #[test]
    fn s5_c_a_circle_is_flagged_and_stopped_by_policy() {
        let circle = NoProgress { tool: "bash".into(), circle: 1, times: 8 };
        let mut view = WatchView { no_progress: Some(circle), ..view() };
        let watch = decide(&view, at(9));
        let flag = watch.flag.expect("a flag");
        assert_eq!(
            (flag.item.kind, flag.item.cause.as_str(), watch.stop),
            (InboxKind::NoProgress, "no_progress", None)
        );
        assert_eq!((flag.action, &flag.details["tool"]), (NO_PROGRESS_DETECTED, &json!("bash")));
        view.settings.on_no_progress = Policy::Stop;
        assert_eq!(decide(&view, at(9)).stop, Some(StopFor::NoProgress));
    }

    #[test]
    fn a_run_that_waits_for_a_person_is_not_silent_but_its_time_runs_out_all_the_same() {
        assert!(decide(&view(), at(300)).flag.is_some());
        let waiting = WatchView { waits_for_person: true, ..view() };
        assert_eq!(decide(&waiting, at(300)), Watch::default());
        assert_eq!(decide(&waiting, at(1200)).stop, Some(StopFor::WallLimit));
    }

    #[test]
    fn s5_d_a_run_that_said_it_is_done_is_left_to_its_keeper() {
        for done in [WatchView { is_done: true, ..view() }, WatchView { stopping: true, ..view() }] {
            assert_eq!(decide(&done, at(9000)), Watch::default());
        }
    }

    #[test]
    fn s5_e_whatever_it_does_it_ends_at_the_wall_limit() {
        let circle = NoProgress { tool: "bash".into(), circle: 1, times: 8 };
        let mut busy = WatchView { no_progress: Some(circle), ..view() };
        busy.pulse.printed(at(1199));
        for view in [view(), busy] {
            assert_ne!(decide(&view, at(1199)).stop, Some(StopFor::WallLimit));
            assert_eq!(decide(&view, at(1200)), Watch { flag: None, stop: Some(StopFor::WallLimit) });
        }
    }

    #[test]
    fn the_policy_of_each_level_is_followed_and_only_what_was_measured_is_stopped() {
        let stop = |suspicious, critical, seconds, measured: bool| {
            let mut view = view();
            view.settings.on_suspicious = suspicious;
            view.settings.on_critical = critical;
            if !measured {
                view.pulse = Pulse::new(START);
            }
            decide(&view, at(seconds)).stop
        };
        let rows = [
            (Policy::Flag, Policy::Flag, 60, true, None),
            (Policy::Flag, Policy::Flag, 240, true, None),
            (Policy::Stop, Policy::Flag, 59, true, None),
            (Policy::Stop, Policy::Flag, 60, true, Some(StopFor::Silent)),
            (Policy::Stop, Policy::Flag, 240, true, None),
            (Policy::Flag, Policy::Stop, 239, true, None),
            (Policy::Flag, Policy::Stop, 240, true, Some(StopFor::Silent)),
            (Policy::Stop, Policy::Stop, 240, false, None),
        ];
        for (suspicious, critical, seconds, measured, expected) in rows {
            assert_eq!(
                stop(suspicious, critical, seconds, measured),
                expected,
                "{suspicious} {critical} {seconds}"
            );
        }
    }

    #[test]
    fn a_new_silence_is_flagged_anew_and_a_snoozed_one_not() {
        let flagged = Some((Level::Suspicious, START));
        let mut again = WatchView { flagged, ..view() };
        assert_eq!(decide(&again, at(70)), Watch::default());
        again.pulse.printed(at(100));
        assert_eq!(decide(&again, at(159)), Watch::default());
        assert_eq!(
            decide(&again, at(160)).flag.map(|f| (f.action, f.flagged)),
            Some((STALE_DETECTED, Some((Level::Suspicious, at(100)))))
        );
        let snoozed = WatchView { snoozed_until: Some(at(500)), ..view() };
        assert_eq!(decide(&snoozed, at(499)), Watch::default());
        assert!(decide(&snoozed, at(500)).flag.is_some());
    }

    #[test]
    fn the_flag_says_what_was_seen() {
        let flag = decide(&WatchView { last_output_at: Some(START), ..view() }, at(61)).flag.expect("a flag");
        assert_eq!(
            serde_json::Value::Object(flag.details.clone()),
            json!({
                "source": "recovery.scan_silent_active_runs", "level": "suspicious", "runId": "r",
                "sourceIssueId": "i", "silenceAgeMs": 61_000, "silenceStartedAt": START.iso(),
                "lastOutputAt": START.iso(), "measured": true,
            })
        );
        assert_eq!(
            flag.item,
            InboxItem {
                kind: InboxKind::SilentRun,
                entity_type: "run",
                entity_id: "r".into(),
                cause: "silent".into(),
                title: "The run of Ada shows no sign of life".into(),
                details: flag.details,
                owner: Some("boss".into()),
            }
        );
    }

    #[test]
    fn decisions_of_people_have_their_times() {
        use WatchdogDecision::{Continue, DismissedFalsePositive, Snooze};
        let rearm = at(30 * 60);
        let rows = [
            (Snooze, None, Err(NotInFuture)),
            (Snooze, Some(START), Err(NotInFuture)),
            (Snooze, Some(at(1)), Ok(Some(at(1)))),
            (Continue, None, Ok(Some(rearm))),
            (Continue, Some(START), Ok(Some(rearm))),
            (Continue, Some(at(5)), Ok(Some(at(5)))),
            (DismissedFalsePositive, Some(at(5)), Ok(None)),
        ];
        for (decision, asked, expected) in rows {
            assert_eq!(decision.quiet_until(asked, START), expected, "{decision} {asked:?}");
        }
        assert_eq!(Snooze.action(), "heartbeat.watchdog_snoozed");
        assert_eq!(Continue.action(), "heartbeat.watchdog_decision_recorded");
        assert_eq!(DismissedFalsePositive.action(), "heartbeat.watchdog_decision_recorded");
        assert_eq!(WatchdogDecision::parse("nap"), None);
    }

    #[test]
    fn the_board_and_the_owner_decide() {
        let (a, b): (AgentId, AgentId) = ("a".into(), "b".into());
        assert!(may_decide(true, None, None));
        assert!(may_decide(false, Some(&a), Some(&a)));
        assert!(!may_decide(false, Some(&a), Some(&b)));
        assert!(!may_decide(false, Some(&a), None));
        assert!(!may_decide(false, None, None));
    }

    #[test]
    fn stop_orders_of_the_watchdog_are_recognised_by_their_words() {
        for &stop in StopFor::ALL {
            assert_eq!(StopFor::read(stop.words()), Some(stop));
            let lower = stop.words().to_lowercase();
            assert!(!lower.contains("pause") && !lower.contains("budget"), "{lower}");
        }
        assert_eq!(StopFor::read("Cancelled by control plane"), None);
    }
}
