//! Starting the process of a run: what the adapter describes, given to a keeper, at most once per epoch.

use std::sync::Arc;
use std::time::Duration;

use adapters::Setup;
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::runs::NewRunEvent;
use tokio::time::Instant;

use super::Tending;
use crate::processes::beside;
use crate::progress::Account;

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
            context: &self.run.context,
            wake_reason: self.run.context.get("wakeReason").and_then(Json::as_str),
            session,
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

    pub(super) fn prepare_reader(&mut self) {
        let reader: Box<dyn adapters::Reader> = match self.adapter {
            Some(adapter) => self.with_setup(|setup| adapter.reader(setup)),
            None => Box::new(Deaf),
        };
        self.account = Account::new(reader, self.quiet_since());
        let seconds =
            self.agent.adapter_config.get("graceSec").and_then(Json::as_f64).filter(|s| s.is_finite());
        self.grace = Duration::from_secs_f64(seconds.unwrap_or(15.0).clamp(0.0, 3600.0));
    }

    /// Starts the process; the error is in words, and says that nothing was started.
    pub(super) async fn launch(&mut self) -> Result<(), String> {
        self.prepare_reader();
        if self.stop_words().is_some() {
            return Err("it was asked to stop before it started".to_owned());
        }
        let Some(adapter) = self.adapter else {
            return Err(format!("unknown adapter type `{}`", self.agent.adapter_type));
        };
        let home = self.engine.settings.data_dir.join("agents").join(self.agent.id.as_str());
        let described = match std::fs::create_dir_all(&home) {
            Ok(()) => self.with_setup(|setup| adapter.command(setup)),
            Err(error) => return Err(format!("cannot make the folder {}: {error}", home.display())),
        };
        let command = described.map_err(|error| match error.hint() {
            Some(hint) => format!("cannot {error}; hint: {hint}"),
            None => format!("cannot {error}"),
        })?;
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
        started.await.unwrap_or(Ok(()))
    }
}

/// Hears nothing: for agents of a type that this program does not know.
pub(super) struct Deaf;

impl adapters::Reader for Deaf {
    fn line(&mut self, _: adapters::Source, _: &[u8]) -> Vec<domain::telling::AgentEvent> {
        Vec::new()
    }

    fn is_listening(&self) -> bool {
        false
    }
}

/// `adapter.invoke`: what was started, for people. Values of the environment are never in it.
fn invoke_event(kind: &'static str, command: &adapters::Command) -> NewRunEvent<'static> {
    let names: serde_json::Map<String, Json> =
        command.env.iter().map(|(name, _)| (name.clone(), Json::from("***REDACTED***"))).collect();
    let hide = |text: &str| {
        let mut text = text.to_owned();
        for secret in &command.secrets {
            text = text.replace(secret.as_str(), "***REDACTED***");
        }
        text
    };
    let args: Vec<String> = command.argv.iter().skip(1).map(|arg| hide(arg)).collect();
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
            "commandNotes": command.notes,
            "env": names,
        })),
    }
}
