//! Starting the process of a run: what the adapter describes, given to a keeper, at most once per epoch.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use adapters::{Adapter, Command, Setup};
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::runs::{self, NewRunEvent};
use tokio::time::Instant;

use super::{Tending, brief};
use crate::processes::beside;
use crate::progress::{Account, Deaf, earlier_usage};

/// As many arguments and notes of a command are kept in its event.
const MOST_TEXTS: usize = 50;
/// As many characters of each.
const LONGEST_TEXT: usize = 16_384;

impl Tending<'_> {
    fn with_setup<T>(&self, use_it: impl FnOnce(&Setup<'_>) -> T) -> T {
        let settings = &self.engine.settings;
        let home = settings.data_dir.join("agents").join(self.agent.id.as_str());
        let session = self.run.session_before.as_deref();
        let token = self.engine.tokens.token(&self.run.id, self.lease.epoch);
        use_it(&Setup {
            run_id: self.run.id.as_str(),
            company_id: self.run.company_id.as_str(),
            agent_id: self.agent.id.as_str(),
            agent_name: &self.agent.name,
            task_key: Some(self.run.task_key.as_str()).filter(|key| !key.is_empty()),
            config: &self.agent.adapter_config,
            context: self.briefing.as_ref().unwrap_or(&self.run.context),
            wake_reason: self.run.context.get("wakeReason").and_then(Json::as_str),
            session,
            session_note: self.session_note.as_ref(),
            started_at: self.run.started_at.unwrap_or(self.run.created_at),
            api_url: &settings.api_url,
            api_key: Some(&token),
            program: &settings.program,
            default_cwd: &home,
            host: &settings.host,
        })
    }

    /// Since when there was no sign of life, as far as earlier incarnations noted it.
    fn quiet_since(&self) -> Moment {
        self.run.last_activity_at.or(self.run.started_at).unwrap_or(self.run.created_at)
    }

    /// Makes the account of the process, with what was noted about the session that it resumes.
    pub(super) async fn prepare_reader(&mut self) {
        self.session_note = match self.run.session_before.clone() {
            Some(session) => self.note_of(session).await,
            None => None,
        };
        let reader = match self.adapter {
            Some(adapter) => self.with_setup(|setup| reader_of(adapter, setup)),
            None => Box::new(Deaf),
        };
        self.account = Account::new(reader, self.quiet_since(), earlier_usage(self.run.usage.as_ref()));
        let seconds =
            self.agent.adapter_config.get("graceSec").and_then(Json::as_f64).filter(|s| s.is_finite());
        self.grace = Duration::from_secs_f64(seconds.unwrap_or(15.0).clamp(0.0, 3600.0));
    }

    async fn note_of(&self, session: String) -> Option<Json> {
        let context = (self.agent.id.clone(), session);
        let found = self.engine.read(context, |tx, (agent, session)| {
            Box::pin(async move { runs::session_note(tx, &agent, &session).await })
        });
        // Without it a reader says that it does not know, which is dearer than true, and better than untrue.
        found.await.unwrap_or_else(|error| {
            tracing::warn!(run = %self.run.id, %error, "cannot read what was noted about the session");
            None
        })
    }

    /// Starts the process; the error is in words, and says that nothing was started.
    pub(super) async fn launch(&mut self) -> Result<Launch, String> {
        self.prepare_reader().await;
        if self.stop_words().is_some() {
            return Err("it was asked to stop before it started".to_owned());
        }
        let Some(adapter) = self.adapter else {
            return Err(format!("unknown adapter type `{}`", self.agent.adapter_type));
        };
        if !self.brief().await {
            return Ok(Launch::Leaving);
        }
        let home = self.engine.settings.data_dir.join("agents").join(self.agent.id.as_str());
        std::fs::create_dir_all(&home)
            .map_err(|error| format!("cannot make the folder {}: {error}", home.display()))?;
        let command = self.with_setup(|setup| described(adapter, setup))?;
        self.grace = command.grace;
        self.events.push(invoke_event(self.adapter.map_or("unknown", |adapter| adapter.kind()), &command));
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
        started.await.unwrap_or(Ok(())).map(|()| Launch::Started)
    }

    /// Loads what the agent is told of its task, however long the store is away; false when the server leaves first.
    async fn brief(&mut self) -> bool {
        if !brief::is_needed(&self.run) {
            return true;
        }
        let mut pause = Duration::from_millis(50);
        loop {
            let loaded = self
                .engine
                .read(self.run.clone(), |tx, run| Box::pin(async move { brief::load(tx, &run).await }));
            match loaded.await {
                Ok(context) => {
                    self.briefing = Some(Json::Object(context));
                    return true;
                }
                Err(error) => {
                    tracing::warn!(run = %self.run.id, %error, "cannot read the task; trying again")
                }
            }
            tokio::select! {
                biased;
                () = self.engine.leaving.cancelled() => return false,
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

fn reader_of(adapter: &dyn Adapter, setup: &Setup<'_>) -> Box<dyn adapters::Reader> {
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
    let hide = |text: &str| {
        let mut text = text.to_owned();
        for secret in &command.secrets {
            text = text.replace(secret.as_str(), adapters::REDACTED);
        }
        text
    };
    let args = bounded(command.argv.iter().skip(1).map(|arg| hide(arg)));
    NewRunEvent {
        event_type: "adapter.invoke",
        stream: Some("system"),
        level: "info",
        message: "adapter invocation",
        payload: Some(json!({
            "adapterType": kind,
            "command": command.argv.first(),
            "commandArgs": args,
            "cwd": command.cwd,
            "commandNotes": bounded(command.notes.iter().cloned()),
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
