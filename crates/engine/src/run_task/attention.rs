//! Minding how a run is: its pulse is taken now and then, and the watchdog is told when something is wrong.
//!
//! Whether it is, decides `domain::recovery::silence`; how it is shown to people and stopped is `watchdog`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::ids::IssueId;
use domain::limit;
use domain::moment::Moment;
use domain::recovery::pulse::Reading;
use domain::recovery::repetition::NoProgress;
use domain::recovery::silence::{self, Level, WatchSettings, WatchView};
use serde_json::Value as Json;
use store::agents::Agent;
use store::runs::Run;

use super::Tending;
use crate::attempts::AUTHOR;
use crate::processes::{TreeUsage, beside};
use crate::watchdog::{self, Raise, Raised};

/// A sign of life is noted in the store at most this often.
const NOTED_AGAIN: Duration = Duration::from_secs(60);

/// What a task knows of how its run is.
#[derive(Debug)]
pub(super) struct Attention {
    settings: WatchSettings,
    /// When its tree was measured last; first some time after the task began, which most runs do not live to see.
    measured_at: Moment,
    /// The last sign of life that the store knows.
    noted: Option<Moment>,
    /// The silence that people were shown.
    flagged: Option<(Level, Moment)>,
    /// People were shown something, and an item of the inbox may be open.
    shown: bool,
    snoozed_until: Option<Moment>,
    /// Something went wrong with telling people; not again before that moment.
    not_before: Option<Moment>,
    /// What could not be told for that.
    untold: Option<NoProgress>,
}

impl Attention {
    pub(super) fn of(run: &Run, agent: &Agent, now: Moment) -> Attention {
        let flagged = watchdog::flagged_before(run);
        Attention {
            settings: watchdog::settings(agent, wall_limit(&agent.adapter_type, &agent.adapter_config)),
            measured_at: now,
            noted: run.last_activity_at,
            flagged,
            shown: flagged.is_some() || run.no_progress_count > 0,
            snoozed_until: run.snoozed_until,
            not_before: None,
            untold: None,
        }
    }

    /// People were shown something of the run.
    pub(super) fn has_shown(&self) -> bool {
        self.shown
    }

    /// Until the tree is to be measured again.
    pub(super) fn next(&self, now: Moment) -> Duration {
        let every = watchdog::measure_every(&self.settings);
        self.measured_at.plus(every).since(now).max(Duration::from_millis(10))
    }
}

/// What its keeper enforces, and some time for it to do so.
fn wall_limit(kind: &str, config: &Json) -> Option<Duration> {
    let grace = config.get("graceSec").and_then(Json::as_f64).filter(|it| it.is_finite() && *it > 0.0);
    let grace = grace.unwrap_or(15.0);
    let seconds = Some(limit::of(kind, config).seconds).filter(|seconds| *seconds > 0.0)?;
    Some(Duration::from_secs_f64((seconds + grace).min(1e9)) + Duration::from_secs(30))
}

impl Tending<'_> {
    /// Takes the pulse when that is due, and tells people when something is wrong. False: the lease is another's.
    pub(super) async fn mind(&mut self) -> bool {
        let now = self.engine.clock.now();
        let circle = match self.attention.untold.take() {
            Some(circle) => Some(circle),
            None => self.judge_circle().await,
        };
        let every = watchdog::measure_every(&self.attention.settings);
        let is_due = now.since(self.attention.measured_at) >= every;
        if !is_due && circle.is_none() {
            return true;
        }
        if is_due {
            self.attention.measured_at = now;
            self.measure(now).await;
        }
        if self.attention.not_before.is_some_and(|at| at > now) {
            self.attention.untold = circle;
            return true;
        }
        if !self.note_life(now).await {
            return false;
        }
        let attention = &self.attention;
        let watch = silence::decide(
            &WatchView {
                run: self.run.id.clone(),
                issue: self.run.issue_id.clone().map(IssueId),
                agent_name: self.agent.name.clone(),
                started_at: self.run.started_at.unwrap_or(self.run.created_at),
                pulse: self.account.pulse,
                last_output_at: self.account.progress().last_output_at,
                is_done: self.account.told.is_done(),
                waits_for_person: !self.account.permissions.is_empty(),
                stopping: self.stop_words().is_some(),
                snoozed_until: attention.snoozed_until,
                flagged: attention.flagged,
                no_progress: circle.clone(),
                owner: None,
                settings: attention.settings,
            },
            now,
        );
        if watch.flag.is_none() && watch.stop.is_none() {
            return true;
        }
        self.raise(watch, circle, now).await
    }

    /// A circle of calls counts when nothing came of it: no file of the workspace changed since it began. One that was
    /// read again after a restart was judged before.
    async fn judge_circle(&mut self) -> Option<NoProgress> {
        let (found, began, offset) = self.account.circle.take()?;
        if offset <= self.told_up_to {
            self.account.forgive_circle();
            return None;
        }
        let workspace = self.workspace();
        let look = move || watchdog::has_changed_since(&workspace, began);
        let looked = beside(&self.engine.processes, look).await;
        if looked.unwrap_or(false) {
            self.account.forgive_circle();
            return None;
        }
        Some(found)
    }

    fn workspace(&self) -> PathBuf {
        let named = self.agent.adapter_config.get("cwd").and_then(Json::as_str).map(PathBuf::from);
        named
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| self.engine.settings.data_dir.join("agents").join(self.agent.id.as_str()))
    }

    async fn measure(&mut self, now: Moment) {
        let (engine, id) = (Arc::clone(self.engine), self.process());
        let measured = beside(&self.engine.processes, move || engine.processes.measure(&id)).await;
        // One that cannot be seen, or is just coming or going, is known by its output only.
        if let Ok(Ok(Some(used))) = measured {
            let TreeUsage { cpu, io_bytes, processes } = used;
            self.account.pulse.measured(Reading { at: now, cpu, io_bytes, processes });
        }
    }

    /// Notes a sign of life in the store, seldom; at once, when people were shown a silence that is over.
    async fn note_life(&mut self, now: Moment) -> bool {
        let quiet_since = self.account.pulse.quiet_since();
        let is_over = self.attention.flagged.is_some_and(|(_, since)| quiet_since > since);
        let every = (watchdog::measure_every(&self.attention.settings) * 2).min(NOTED_AGAIN);
        let is_news = match self.attention.noted {
            Some(noted) => quiet_since.since(noted) >= every && quiet_since > noted,
            None => quiet_since > self.run.started_at.unwrap_or(quiet_since),
        };
        if !is_over && !is_news {
            return true;
        }
        let noted = self.engine.write(self.lease.clone(), move |tx, lease| {
            Box::pin(async move { watchdog::note(tx, &lease, quiet_since, is_over, now).await })
        });
        match noted.await {
            Ok(true) => {
                self.attention.noted = Some(quiet_since);
                if is_over {
                    self.attention.flagged = None;
                }
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::warn!(run = %self.run.id, %error, "cannot note that the run is active");
                self.attention.not_before = Some(now.plus(NOTED_AGAIN / 12));
                true
            }
        }
    }

    async fn raise(&mut self, watch: silence::Watch, circle: Option<NoProgress>, now: Moment) -> bool {
        let flagged = watch.flag.as_ref().map(|flag| flag.flagged);
        let stop = watch.stop;
        let raise = Raise {
            lease: self.lease.clone(),
            run: self.run.clone(),
            agent: self.agent.clone(),
            progress: self.account.progress(),
            flag: watch.flag,
            stop,
            quiet_since: self.account.pulse.quiet_since(),
        };
        let scribe = self.engine.scribe(&AUTHOR);
        let raised = self.engine.write((raise, scribe), |tx, (raise, scribe)| {
            Box::pin(async move { watchdog::raise(tx, raise, scribe).await })
        });
        match raised.await {
            Ok(Raised::Done(report)) => {
                if let Some(flagged) = flagged {
                    self.attention.flagged = flagged;
                    self.attention.shown = true;
                }
                self.attention.snoozed_until = None;
                let words = stop.map_or("", silence::StopFor::words);
                self.engine.after_stop(&None, &report, words);
                true
            }
            Ok(Raised::Snoozed(until)) => {
                self.attention.snoozed_until = Some(until);
                true
            }
            Ok(Raised::Stale) => false,
            Err(error) => {
                tracing::warn!(run = %self.run.id, %error, "cannot tell people how the run is");
                self.attention.untold = circle;
                self.attention.not_before = Some(now.plus(NOTED_AGAIN / 12));
                true
            }
        }
    }
}
