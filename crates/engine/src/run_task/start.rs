//! Starting the process of a run: what the adapter describes, given to a keeper, at most once per epoch.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapters::{Adapter, Command, Setup};
use domain::ending::ProcessEnd;
use domain::ids::AgentId;
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::run_starts::{self, RunStart};
use store::runs::{self, NewRunEvent, Run};
use store::{BoxFuture, StoreError, Tx};
use tokio::time::Instant;

use super::session::{decided, settled_note};
use super::workspace::Seat;
use super::{Entry, Tending, brief};
use crate::Settings;
use crate::environments::on_run::NoPlace;
use crate::processes::beside;
use crate::progress::{Account, Deaf, earlier_usage};
use crate::secrets::resolve::Resolved;

/// As many arguments and notes of a command are kept in its event.
const MOST_TEXTS: usize = 50;
/// As many characters of each.
const LONGEST_TEXT: usize = 16_384;

/// Where an agent works when its configuration names no folder.
pub(crate) fn home_of(settings: &Settings, agent: &AgentId) -> PathBuf {
    settings.data_dir.join("agents").join(agent.as_str())
}

/// What an adapter may look at, as far as the record of the run says it; `home` is [`home_of`] its agent.
pub(crate) fn setup_of<'a>(
    settings: &'a Settings,
    run: &'a Run,
    agent: &'a Agent,
    home: &'a Path,
) -> Setup<'a> {
    Setup {
        run_id: run.id.as_str(),
        company_id: run.company_id.as_str(),
        agent_id: agent.id.as_str(),
        agent_name: &agent.name,
        task_key: Some(run.task_key.as_str()).filter(|key| !key.is_empty()),
        config: &agent.adapter_config,
        context: &run.context,
        wake_reason: run.context.get("wakeReason").and_then(Json::as_str),
        session: run.session_before.as_deref(),
        session_note: None,
        started_at: run.started_at.unwrap_or(run.created_at),
        api_url: &settings.api_url,
        api_key: None,
        program: &settings.program,
        default_cwd: home,
        host: &settings.host,
    }
}

impl Tending<'_> {
    pub(super) fn with_setup<T>(&self, use_it: impl FnOnce(&Setup<'_>) -> T) -> T {
        self.with_setup_of(&self.agent.adapter_config, use_it)
    }

    /// The same with another configuration than the agent's as it is stored.
    fn with_setup_of<T>(&self, config: &Json, use_it: impl FnOnce(&Setup<'_>) -> T) -> T {
        let settings = &self.engine.settings;
        let home = home_of(settings, &self.agent.id);
        let token = self.engine.tokens.token(&self.run.id, self.lease.epoch);
        let recorded = setup_of(settings, &self.run, &self.agent, &home);
        let setup = Setup {
            context: self.told(),
            config,
            session_note: self.session_note.as_ref(),
            api_key: Some(&token),
            ..recorded
        };
        let host = self.place.as_ref().and_then(|place| place.host());
        let elsewhere = self.place.as_ref().and_then(|place| place.elsewhere(setup.context, setup.config));
        match (&elsewhere, host) {
            (Some(there), Some(host)) => use_it(&Setup {
                context: &there.context,
                config: &there.config,
                api_url: &there.api_url,
                default_cwd: &there.cwd,
                host,
                ..setup
            }),
            (Some(_) | None, _) => use_it(&setup),
        }
    }

    /// What the agent is told: the context of the run, and what was found for it.
    pub(crate) fn told(&self) -> &Json {
        self.briefing.as_ref().unwrap_or(&self.run.context)
    }

    /// Adds to what the agent is told, and to the record of the run.
    pub(crate) fn add_told(&mut self, key: &str, value: Json) {
        for context in [Some(&mut self.run.context), self.briefing.as_mut()].into_iter().flatten() {
            if !context.is_object() {
                *context = json!({});
            }
            if let Some(context) = context.as_object_mut() {
                context.insert(key.to_owned(), value.clone());
            }
        }
    }

    /// Since when there was no sign of life, as far as earlier incarnations noted it.
    fn quiet_since(&self) -> Moment {
        self.run.last_activity_at.or(self.run.started_at).unwrap_or(self.run.created_at)
    }

    /// Makes the account of the process, with what was noted about the session that it resumes.
    pub(super) async fn prepare_reader(&mut self, entry: Entry) {
        let (note, start) = match entry {
            Entry::Launch if self.is_new() => (None, None),
            Entry::Launch | Entry::Attach => self.recorded().await,
        };
        self.session_note = settled_note(note);
        if let Some(start) = start {
            self.adapter = adapters::find(&start.adapter_type);
            self.standing.left = decided(&start);
            self.standing.config = Some(start.config);
        }
        self.renew_reader();
        let seconds =
            self.agent.adapter_config.get("graceSec").and_then(Json::as_f64).filter(|s| s.is_finite());
        self.grace = Duration::from_secs_f64(seconds.unwrap_or(15.0).clamp(0.0, 3600.0));
    }

    /// A fresh reader, for what is known of the run by now.
    pub(crate) fn renew_reader(&mut self) {
        let config = self.standing.config.as_ref().unwrap_or(&self.agent.adapter_config);
        let reader = match self.adapter {
            Some(adapter) => self.with_setup_of(config, |setup| reader_of(adapter, setup)),
            None => Box::new(Deaf),
        };
        self.account = Account::new(reader, self.quiet_since(), earlier_usage(self.run.usage.as_ref()));
    }

    /// What was noted about the session that is resumed, and the record of this start.
    async fn recorded(&self) -> (Option<Json>, Option<RunStart>) {
        let context = (self.run.clone(), self.lease.epoch);
        let found = self.engine.read(context, |tx, (run, epoch)| {
            Box::pin(async move {
                let note = match &run.session_before {
                    Some(session) => runs::session_note(tx, &run.agent_id, session, None).await?,
                    None => None,
                };
                Ok((note, run_starts::get(tx, &run.id, epoch).await?))
            })
        });
        // Without them a reader says that it does not know, which is dearer than true, and better than untrue.
        found.await.unwrap_or_else(|error| {
            tracing::warn!(run = %self.run.id, %error, "cannot read what was noted about the session");
            (None, None)
        })
    }

    /// Starts the process; the error says that nothing was started.
    pub(super) async fn launch(&mut self) -> Result<Launch, ProcessEnd> {
        self.prepare_reader(Entry::Launch).await;
        match self.launch_there().await {
            Ok(launched) => Ok(launched),
            Err(NoPlace::Leaving) => Ok(Launch::Leaving),
            Err(NoPlace::AskedToStop) => {
                Err(ProcessEnd::NeverStarted { error: "it was asked to stop before it started".to_owned() })
            }
            Err(NoPlace::Failed(error)) => {
                Err(ProcessEnd::NoPlace { code: error.step.code().to_owned(), error: error.words })
            }
            Err(NoPlace::NotStarted(error)) => Err(ProcessEnd::NeverStarted { error }),
        }
    }

    async fn launch_there(&mut self) -> Result<Launch, NoPlace> {
        if self.stop_words().is_some() {
            return Err(NoPlace::AskedToStop);
        }
        let Some(adapter) = self.adapter else {
            return Err(NoPlace::NotStarted(format!("unknown adapter type `{}`", self.agent.adapter_type)));
        };
        if !self.brief().await || !self.give_skills().await {
            return Ok(Launch::Leaving);
        }
        let home = home_of(&self.engine.settings, &self.agent.id);
        std::fs::create_dir_all(&home)
            .map_err(|error| format!("cannot make the folder {}: {error}", home.display()))?;
        if let Seat::Leaving = self.take_seat().await? {
            return Ok(Launch::Leaving);
        }
        // Behind the folder, which another machine is to have; before the session, which another machine may not know.
        self.take_place().await?;
        if !self.give_instructions().await {
            return Ok(Launch::Leaving);
        }
        if self.choose_session().await? == Launch::Leaving {
            return Ok(Launch::Leaving);
        }
        let Some(resolved) = self.resolve().await? else { return Ok(Launch::Leaving) };
        let described = self.with_setup_of(&resolved.config, |setup| described(adapter, setup));
        let command = known_to_hold(described, &resolved)?;
        self.grace = command.grace;
        self.events.push(invoke_event(self.adapter.map_or("unknown", |adapter| adapter.kind()), &command));
        let command = self.wrapped(command).await?;
        let (engine, id, holder) = (Arc::clone(self.engine), self.process(), self.lease.holder);
        let processes = Arc::clone(&engine.processes);
        let started = beside(&processes, move || {
            let Err(error) = engine.processes.start(&id, holder, &command) else { return Ok(()) };
            // An error says nothing about what the keeper has got: only who holds `started` may say so.
            match engine.processes.revoke(&id) {
                Ok(true) => Err(format!("cannot start the process: {error}")),
                Ok(false) => Ok(()),
                Err(second) => {
                    // It may run. The look at the folder goes on until it is sure.
                    tracing::warn!(run = %id.run, %error, %second, "it is not clear whether the process started");
                    Ok(())
                }
            }
        });
        self.launched_at = Some(Instant::now());
        // A start that was broken off, by a panic or the end of the runtime, is as unclear.
        let started = started.await.unwrap_or(Ok(())).map(|()| Launch::Started);
        // Nobody waits for this: the process is on its way.
        self.record_place().await;
        started.map_err(NoPlace::NotStarted)
    }

    /// Loads what the agent is told of its task, however long the store is away; false when the server leaves first.
    async fn brief(&mut self) -> bool {
        if !brief::is_needed(&self.run) {
            return true;
        }
        let load = self.read_patiently("the task", self.run.clone(), |tx, run| {
            Box::pin(async move { brief::load(tx, &run).await })
        });
        let Some(context) = load.await else { return false };
        self.briefing = Some(Json::Object(context));
        true
    }

    /// Reads what no start can do without, however long the store is away; `None` when the server leaves first.
    pub(super) async fn read_patiently<C, T, F>(&self, what: &str, context: C, load: F) -> Option<T>
    where
        C: Clone + Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t, 'c> Fn(&'t mut Tx<'c>, C) -> BoxFuture<'t, Result<T, StoreError>>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.engine.read(context.clone(), load.clone()).await {
                Ok(loaded) => return Some(loaded),
                Err(error) => tracing::warn!(run = %self.run.id, %error, "cannot read {what}; trying again"),
            }
            tokio::select! {
                biased;
                () = self.engine.leaving.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}

/// What became of a launch that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Launch {
    /// The process was started, or may have been: its folder tells.
    Started,
    /// The server leaves, and nothing was started.
    Leaving,
}

/// What the adapter says is to be started; the error is in words. One that panics would have the run started again
/// for ever: its task would be lost, and found again.
fn described(adapter: &dyn Adapter, setup: &Setup<'_>) -> Result<Command, String> {
    match catch_unwind(AssertUnwindSafe(|| adapter.command(setup))) {
        Ok(Ok(command)) => Ok(command),
        Ok(Err(error)) => Err(match error.hint() {
            Some(hint) => format!("cannot {error}; hint: {hint}"),
            None => format!("cannot {error}"),
        }),
        Err(panic) => Err(format!("the adapter `{}` broke: {}", adapter.kind(), words_of(&*panic))),
    }
}

/// A command that says which of its values are secrets of the company; an error that tells none of them. Arguments are
/// shown to everybody on the machine, and written down, so that a value among them is a start that fails.
fn known_to_hold(described: Result<Command, String>, resolved: &Resolved) -> Result<Command, String> {
    let values: Vec<String> = resolved.secrets.iter().map(|value| value.expose().to_owned()).collect();
    let mut command = described.map_err(|words| hidden(&values, &words))?;
    let shown = command.argv.iter().position(|text| keeper::hide(&values, text.as_bytes()).is_some());
    if let Some(at) = shown {
        return Err(format!(
            "argument {at} of the command holds the value of a secret, and arguments are shown to everybody on this \
             machine: take it out of the configuration and the instructions, and let the agent read its variable"
        ));
    }
    for value in values {
        if !command.secrets.contains(&value) {
            command.secrets.push(value);
        }
    }
    Ok(command)
}

/// A text without the values of secrets.
fn hidden(secrets: &[String], text: &str) -> String {
    match keeper::hide(secrets, text.as_bytes()) {
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        None => text.to_owned(),
    }
}

/// The adapter's reader; one that hears nothing when it has none.
pub(crate) fn reader_of(adapter: &dyn Adapter, setup: &Setup<'_>) -> Box<dyn adapters::Reader> {
    catch_unwind(AssertUnwindSafe(|| adapter.reader(setup))).unwrap_or_else(|panic| {
        tracing::error!(adapter = adapter.kind(), words = words_of(&*panic), "the adapter has no reader");
        Box::new(Deaf)
    })
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it says nothing")
}

/// `adapter.invoke`: what was started, for people. Values of the environment are never in it.
fn invoke_event(kind: &'static str, command: &adapters::Command) -> NewRunEvent<'static> {
    let names: serde_json::Map<String, Json> =
        command.env.iter().map(|(name, _)| (name.clone(), Json::from(adapters::REDACTED))).collect();
    let hide = |text: &str| hidden(&command.secrets, text);
    let args = bounded(command.argv.iter().skip(1).map(|arg| hide(arg)));
    NewRunEvent {
        event_type: "adapter.invoke",
        stream: Some("system"),
        level: "info",
        message: "adapter invocation",
        payload: Some(json!({
            "adapterType": kind,
            "command": command.argv.first().map(|program| hide(program)),
            "commandArgs": args,
            "cwd": hide(&command.cwd.to_string_lossy()),
            "commandNotes": bounded(command.notes.iter().map(|note| hide(note))),
            "env": names,
        })),
    }
}

/// Texts as an event keeps them: so many, each so long, and what was left out is said.
fn bounded(texts: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let left_out = texts.len().saturating_sub(MOST_TEXTS);
    let cut = |text: String| match text.char_indices().nth(LONGEST_TEXT) {
        None => text,
        Some((end, _)) => {
            format!("{}... ({} characters more)", &text[..end], text[end..].chars().count())
        }
    };
    let mut kept: Vec<String> = texts.take(MOST_TEXTS).map(cut).collect();
    if left_out > 0 {
        kept.push(format!("... ({left_out} more)"));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_command_lines_are_cut_in_events_and_say_so() {
        let short = || ["a".to_owned(), "é".repeat(LONGEST_TEXT)];
        assert_eq!(bounded(short().into_iter()), short());
        let long = bounded([format!("{}xyz", "é".repeat(LONGEST_TEXT))].into_iter());
        assert_eq!(long, [format!("{}... (3 characters more)", "é".repeat(LONGEST_TEXT))]);
        let many = bounded((0..MOST_TEXTS + 2).map(|number| number.to_string()));
        assert_eq!((many.len(), many[MOST_TEXTS - 1].as_str()), (MOST_TEXTS + 1, "49"));
        assert_eq!(many[MOST_TEXTS], "... (2 more)");
    }

    /// Breaks whenever it is asked for anything.
    #[derive(Debug)]
    struct Broken;

    impl Adapter for Broken {
        fn kind(&self) -> &'static str {
            "broken"
        }

        fn has_terminal_event(&self) -> bool {
            true
        }

        fn is_repeatable(&self, _: &Json) -> bool {
            false
        }

        fn check(&self, _: &Json) -> Vec<adapters::Problem> {
            Vec::new()
        }

        fn command(&self, _: &Setup<'_>) -> Result<Command, adapters::AdapterError> {
            panic!("no such thing")
        }

        fn reader(&self, _: &Setup<'_>) -> Box<dyn adapters::Reader> {
            panic!("nor that")
        }

        fn test_environment(&self, _: &Json, _: &adapters::Host) -> Vec<adapters::Check> {
            Vec::new()
        }
    }

    #[test]
    fn an_adapter_that_panics_is_a_start_that_failed() {
        let (nothing, host) = (Json::Null, adapters::Host::default());
        let setup = Setup {
            run_id: "r",
            company_id: "c",
            agent_id: "a",
            agent_name: "Ada",
            task_key: None,
            config: &nothing,
            context: &nothing,
            wake_reason: None,
            session: None,
            session_note: None,
            started_at: Moment::from_micros(0),
            api_url: "",
            api_key: None,
            program: std::path::Path::new("bugle"),
            default_cwd: std::path::Path::new("."),
            host: &host,
        };
        let error = described(&Broken, &setup).err();
        assert_eq!(error.as_deref(), Some("the adapter `broken` broke: no such thing"));
        assert!(!reader_of(&Broken, &setup).is_listening());
    }
}
