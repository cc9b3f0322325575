//! Which session the process of a run is started with: decided last of all, when it is known where the process works.
//!
//! The claim has put the candidate on the row. Here its record, its folder, the agent's limits and what earlier runs found
//! out are looked at (`domain::session::choice`); a session that is not resumed is taken off the row *before* the process
//! is started, so that whoever reads its output later knows what it was started with. What a fresh session is told of the
//! one before is made here too. Nothing is started here.

use std::path::Path;

use domain::session::choice::{self, Choice, View, Why};
use domain::session::codec::{self, Params};
use domain::session::handover::{self, HandOver};
use domain::session::rotation::{self, History};
use serde_json::{Map, Value as Json, json};
use store::run_starts::{self, RunStart};
use store::runs::Run;
use store::sessions::{self, LastOfSession, SessionRuns, TaskSession};
use store::{StoreError, Tx, runs};

use super::{Entry, Launch, Tending, home_of};
use crate::unwritten::{Unwritten, in_words};
use crate::{resuming, signals};

/// What the decision is made from.
#[derive(Debug)]
struct Found {
    start: Option<RunStart>,
    /// The session of the task.
    saved: Option<TaskSession>,
    is_known_gone: bool,
    note: Option<Json>,
    runs: Option<SessionRuns>,
    /// The last run of the session that is resumed, or was left.
    last: Option<LastOfSession>,
}

/// How the process of this epoch stands to the sessions before it; what the end of the run says about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The session that it leaves, and why.
    pub(crate) left: Option<(String, Why, String)>,
    /// The session that it resumes is the one of its task.
    pub(crate) is_of_task: bool,
    /// What its output is read with, where that was written down.
    pub(super) config: Option<Json>,
}

/// Whether the adapter of this kind finds its sessions in whatever folder it works.
fn is_folder_free(adapter: &str) -> bool {
    adapter == "codex_local"
}

async fn load(tx: &mut Tx<'_>, run: &Run, epoch: i64, kind: &str) -> Result<Found, StoreError> {
    let start = run_starts::get(tx, &run.id, epoch).await?;
    let saved = sessions::of_task(tx, &run.agent_id, kind, &run.task_key).await?;
    let asked = run.session_before.as_deref();
    let (mut is_known_gone, mut note, mut runs_in) = (false, None, None);
    if let Some(asked) = asked {
        is_known_gone = sessions::is_gone(tx, &run.agent_id, kind, asked).await?;
        note = runs::session_note(tx, &run.agent_id, asked, None).await?;
        runs_in = Some(sessions::runs_in(tx, &run.agent_id, asked).await?);
    }
    let left = start.as_ref().and_then(|start| start.previous_session.as_deref());
    let last = match asked.or(left) {
        Some(session) => sessions::last_in(tx, &run.agent_id, session, &run.id).await?,
        None => None,
    };
    Ok(Found { start, saved, is_known_gone, note, runs: runs_in, last })
}

/// What is kept of the session that a run is to resume.
fn params_of(found: &Found, run: &Run, kind: &str, asked: &str) -> Params {
    let resumed = codec::read(kind, &run.context["resumeSessionParams"]).filter(|params| params.id == asked);
    let saved = found.saved.as_ref().filter(|saved| saved.session_id == asked);
    let saved = saved.and_then(|saved| codec::read(kind, saved.params.as_ref()?));
    let mut params = resumed.or(saved).unwrap_or_default();
    params.id = asked.to_owned();
    let noted = found.note.as_ref().and_then(|note| note.get("cwd")?.as_str()).filter(|cwd| !cwd.is_empty());
    params.cwd = params.cwd.or_else(|| noted.map(str::to_owned));
    params
}

/// What the last run of a session said: its summary, else its result, its message or its error.
fn last_words(last: &LastOfSession) -> Option<&str> {
    let of_result = |key: &str| last.result.as_ref().and_then(|result| result.get(key)?.as_str());
    let words = ["summary", "result", "message"].iter().find_map(|key| of_result(key));
    words.or_else(|| of_result("error")).or(last.error.as_deref())
}

impl Tending<'_> {
    /// Decides, writes down what differs from the row, and puts what the program is to be told into the briefing.
    pub(super) async fn choose_session(&mut self) -> Result<Launch, String> {
        self.standing = Standing { config: self.standing.config.take(), ..Standing::default() };
        self.put_handover(None, None);
        // The first process of a run that has no session, and whose wake set none aside: nothing to look at.
        if self.is_new() && resuming::resets(&self.run.context).is_none() {
            return Ok(Launch::Started);
        }
        let kind = self.agent.adapter_type.clone();
        let of = (self.run.clone(), self.lease.epoch, kind.clone());
        let found = self.read_patiently("the session", of, |tx, (run, epoch, kind)| {
            Box::pin(async move { load(tx, &run, epoch, &kind).await })
        });
        let Some(found) = found.await else { return Ok(Launch::Leaving) };
        let decided = found.start.as_ref().and_then(decided);
        let choice = match decided {
            Some((previous, why, words)) => Choice::Fresh { previous, why, words },
            None => self.judge(&found),
        };
        match choice {
            Choice::None => {}
            Choice::Resume { params, remark } => {
                let saved = found.saved.as_ref().map(|saved| saved.session_id.as_str());
                self.standing.is_of_task = saved == Some(params.id.as_str());
                if let Some(remark) = remark {
                    let payload = json!({ "session": params.id, "because": remark });
                    self.events.push(signals::lifecycle("warn", "the session moved", Some(payload)));
                }
            }
            Choice::Fresh { previous, why, words } => {
                if self.run.session_before.is_some() && !self.leave_session(&previous, why, &words).await? {
                    return Ok(Launch::Leaving);
                }
                let payload = json!({ "session": previous, "reason": why, "because": words });
                self.events.push(signals::lifecycle("warn", NOT_RESUMED, Some(payload)));
                let markdown =
                    why.hands_over().then(|| self.hand_over(&previous, &words, found.last.as_ref()));
                self.put_handover(markdown, Some((&previous, &words)));
                self.standing.left = Some((previous, why, words));
                // What was noted about the session that is left is not about this one.
                self.prepare_reader(Entry::Launch).await;
            }
        }
        Ok(Launch::Started)
    }

    /// Nothing is on record of the process but what its claim wrote.
    pub(super) fn is_new(&self) -> bool {
        self.lease.epoch == 1 && self.run.session_before.is_none()
    }

    fn judge(&self, found: &Found) -> Choice {
        let kind = self.agent.adapter_type.as_str();
        let asked = self.run.session_before.as_deref().map(|asked| params_of(found, &self.run, kind, asked));
        let context = self.briefing.as_ref().unwrap_or(&self.run.context);
        let workspace = &context["paperclipWorkspace"];
        let home = home_of(&self.engine.settings, &self.agent.id);
        let cwd = self.with_setup(adapters::folder_of);
        let reset = resuming::resets(&self.run.context);
        let set_aside = found.saved.as_ref().map(|saved| saved.session_id.as_str()).zip(reset);
        let mode = context["codexTransientFallbackMode"].as_str().unwrap_or_default();
        let policy = rotation::policy(kind, &self.agent.runtime_config);
        let history = found.runs.as_ref().and_then(|runs| {
            let last = found.last.as_ref();
            let of = |part: Option<&Json>| part.cloned().unwrap_or(Json::Null);
            let usage = of(last.and_then(|last| last.usage.as_ref()));
            let note = of(last.and_then(|last| last.session_note.as_ref()));
            let input_tokens = rotation::input_tokens(&usage, &note);
            Some(History { runs: runs.runs, oldest: runs.oldest?, newest: runs.newest?, input_tokens })
        });
        choice::choose(&View {
            asked: asked.as_ref(),
            set_aside,
            is_known_gone: found.is_known_gone,
            over: found.note.as_ref().and_then(|note| note.get("over")?.as_str()),
            cwd: &cwd,
            home: Path::new(&home),
            source: workspace["source"].as_str(),
            workspace: workspace["workspaceId"].as_str(),
            is_folder_free: is_folder_free(kind),
            remote: context
                .pointer("/paperclipEnvironment/remoteExecution")
                .filter(|remote| remote.is_object()),
            bundle: self.bundle.as_deref(),
            is_fallback: mode.starts_with("fresh_session"),
            rotation: rotation::decide(&policy, history.as_ref()),
        })
    }

    /// Takes the session off the row of the run; false when the lease is not ours any more.
    async fn leave_session(&mut self, previous: &str, why: Why, words: &str) -> Result<bool, String> {
        let context = (self.lease.clone(), previous.to_owned(), words.to_owned());
        let written = self.engine.write_patiently(context, move |tx, (lease, previous, words)| {
            Box::pin(
                async move { run_starts::leave_session(tx, &lease, (&previous, why.as_str(), &words)).await },
            )
        });
        match written.await {
            Ok(true) => {}
            Ok(false) | Err(Unwritten::Leaving) => return Ok(false),
            Err(Unwritten::Refused(error)) => {
                let words = in_words(&error);
                return Err(format!("the store refuses to record that the session is left: {words}"));
            }
        }
        self.run.session_before = None;
        Ok(true)
    }

    fn hand_over(&self, previous: &str, reason: &str, last: Option<&LastOfSession>) -> String {
        let context = self.briefing.as_ref().unwrap_or(&self.run.context);
        let issue = context["paperclipIssue"]["identifier"].as_str().or(self.run.issue_id.as_deref());
        let last = last.and_then(last_words);
        let summary = context["paperclipContinuationSummary"]["body"].as_str();
        handover::text(&HandOver { previous, issue, reason, last, summary })
    }

    /// Puts the keys of a hand-over into what the program is told, and takes out those of somebody else.
    fn put_handover(&mut self, markdown: Option<String>, left: Option<(&str, &str)>) {
        let values = [
            (HANDOFF, markdown),
            (ROTATION_REASON, left.map(|(_, words)| words.to_owned())),
            (PREVIOUS, left.map(|(previous, _)| previous.to_owned())),
        ];
        let context = self.briefing.as_ref().unwrap_or(&self.run.context);
        if values.iter().all(|(key, value)| value.is_none() && context.get(*key).is_none()) {
            return;
        }
        let mut told: Map<String, Json> = context.as_object().cloned().unwrap_or_default();
        for (key, value) in values {
            match value {
                Some(value) => told.insert(key.to_owned(), Json::String(value)),
                None => told.remove(key),
            };
        }
        self.briefing = Some(Json::Object(told));
    }

    /// What is kept of the session that the run ended in.
    pub(crate) fn session_params(&self, session: &str) -> Json {
        let context = self.briefing.as_ref().unwrap_or(&self.run.context);
        let workspace = &context["paperclipWorkspace"];
        let text = |key: &str| workspace[key].as_str().map(str::to_owned);
        let noted = self.account.told.session_note.as_ref().and_then(|note| note.get("cwd")?.as_str());
        let cwd = noted.map(str::to_owned);
        let remote = context.pointer("/paperclipEnvironment/remoteExecution");
        let params = Params {
            id: session.to_owned(),
            cwd: cwd.or_else(|| Some(self.with_setup(adapters::folder_of).to_string_lossy().into_owned())),
            workspace: text("workspaceId"),
            repo_url: text("repoUrl"),
            repo_ref: text("repoRef"),
            bundle: self.bundle.clone(),
            remote: remote.filter(|remote| remote.is_object()).cloned(),
        };
        params.to_json()
    }

    /// What `usageJson` says about sessions (spec/heartbeat.md 4.13); added to what was used, if anything was.
    pub(crate) fn with_session(&self, usage: Option<Json>) -> Option<Json> {
        let mut usage = usage?;
        let fields = usage.as_object_mut()?;
        let is_reused = self.run.session_before.is_some();
        let rotated = self.standing.left.as_ref().filter(|(_, why, _)| *why == Why::Rotated);
        for (key, value) in [
            ("persistedSessionId", json!(self.account.told.session)),
            ("sessionReused", json!(is_reused)),
            ("taskSessionReused", json!(is_reused && self.standing.is_of_task)),
            ("freshSession", json!(!is_reused)),
            ("sessionRotated", json!(rotated.is_some())),
            ("sessionRotationReason", json!(rotated.map(|(_, _, words)| words))),
        ] {
            fields.insert(key.to_owned(), value);
        }
        Some(usage)
    }

    /// The session that was asked for and the one that answered, when they differ.
    pub(crate) fn other_session(&self) -> Option<(&str, &str)> {
        let asked = self.run.session_before.as_deref()?;
        let answered = self.account.told.session.as_deref()?;
        (asked != answered).then_some((asked, answered))
    }
}

const NOT_RESUMED: &str = "the session is not resumed; a fresh one is started";
const HANDOFF: &str = "paperclipSessionHandoffMarkdown";
const ROTATION_REASON: &str = "paperclipSessionRotationReason";
const PREVIOUS: &str = "paperclipPreviousSessionId";

/// What was decided for this process before, by whoever began to start it.
pub(super) fn decided(start: &RunStart) -> Option<(String, Why, String)> {
    let why = start.fresh_reason.as_deref().and_then(Why::parse)?;
    let words = start.fresh_words.clone().unwrap_or_default();
    Some((start.previous_session.clone()?, why, words))
}

/// The record of the first process of a run, or of one that goes on as the one before was to.
pub(crate) fn first_start(run: &Run, agent: &store::agents::Agent, now: domain::moment::Moment) -> RunStart {
    RunStart {
        run_id: run.id.clone(),
        epoch: run.lease_epoch,
        adapter_type: agent.adapter_type.clone(),
        config: adapters::kept_for_readers(&agent.adapter_config),
        session_asked: run.session_before.clone(),
        previous_session: None,
        fresh_reason: None,
        fresh_words: None,
        created_at: now,
    }
}

/// The record of the process that comes in place of the last one; `gone`: the session which that did not find.
pub(super) fn next_start(first: RunStart, last: Option<RunStart>, gone: Option<&str>) -> RunStart {
    let left = match gone {
        Some(gone) => Some((gone.to_owned(), Why::Gone, "its program does not find it any more".to_owned())),
        None => last.as_ref().and_then(decided),
    };
    let Some((previous, why, words)) = left else { return first };
    RunStart {
        session_asked: None,
        previous_session: Some(previous),
        fresh_reason: Some(why.as_str().to_owned()),
        fresh_words: Some(words),
        ..first
    }
}

/// What was noted about a session, for a process that was decided to resume it: whether it may was asked before.
pub(crate) fn settled_note(note: Option<Json>) -> Option<Json> {
    let mut note = note?;
    if let Some(fields) = note.as_object_mut() {
        fields.remove("cwd");
        fields.remove("over");
    }
    Some(note)
}
