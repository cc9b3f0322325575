//! `bugle wake`: asks for a run, and with `--follow` watches it to its end.

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value as Json, json};

use super::agent::object;
use super::agent_lookup::{find, text};
use super::keys::not_empty;
use crate::cli::Context;
use crate::failure::{Failure, Kind};
use crate::follow::{Follower, Show};
use crate::run_view::RunView;
use crate::screen::Tone;

const EXAMPLES: &str = "\
Examples:
  bugle wake hello --follow
  bugle wake tests --reason \"new commit\" --payload '{\"commit\": \"abc\"}'
  bugle wake tests --task-key release-7 --idempotency-key build-1234

With --follow the exit code is 0 only if the run succeeded. Leaving with ctrl-c leaves the run alone.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Wake {
    /// Name or id of the agent
    agent: String,
    /// Why; the agent is told
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// What the agent is to know, a JSON object
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// Wakes with the same key share a session and follow each other
    #[arg(long, value_name = "KEY")]
    task_key: Option<String>,
    /// The same key again gives the same answer and starts nothing
    #[arg(long, value_name = "KEY", value_parser = not_empty)]
    idempotency_key: Option<String>,
    /// Begin a new session of the agent
    #[arg(long)]
    fresh_session: bool,
    /// Watch the run until it is over
    #[arg(long, short)]
    follow: bool,
}

impl Wake {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let body = self.body()?;
        let client = context.client()?;
        let agent = find(context, &client, &self.agent).await?;
        let path = format!("/agents/{}/wakeup", text(&agent, "id"));
        let answer = client
            .ask(Method::POST, &path, Some(&body), &[])
            .await
            .map_err(|failure| explained(failure, &agent))?;
        if text(&answer, "status") == "skipped" {
            return Err(skipped(context, &answer, &agent));
        }
        let run = RunView::read(&answer)?;
        if !self.follow {
            self.told(context, &answer, &run);
            return Ok(());
        }
        if context.global.json {
            context.screen.json_line(&json!({ "type": "run", "run": answer }));
        } else {
            context.screen.note(&format!("run {} of {}", run.id, text(&agent, "name")));
        }
        let show = Show { stdout: true, stderr: true, system: false, steps: true };
        let run = Follower::new(&client, &run.id, show).watch(&mut context.screen).await?;
        ended(context, &run)
    }

    fn body(&self) -> Result<Json, Failure> {
        let mut body = Map::new();
        body.insert("source".into(), json!("on_demand"));
        body.insert("triggerDetail".into(), json!("manual"));
        for (key, value) in
            [("reason", &self.reason), ("taskKey", &self.task_key), ("idempotencyKey", &self.idempotency_key)]
        {
            if let Some(value) = value {
                body.insert(key.into(), json!(value));
            }
        }
        if let Some(payload) = &self.payload {
            body.insert("payload".into(), object("--payload", payload)?);
        }
        if self.fresh_session {
            body.insert("forceFreshSession".into(), json!(true));
        }
        Ok(Json::Object(body))
    }

    fn told(&self, context: &mut Context, answer: &Json, run: &RunView) {
        if context.global.json {
            context.screen.answer(answer);
            return;
        }
        let state = context.screen.tint(Tone::of_status(&run.status), &run.state());
        context.screen.line(&format!("run {}  {state}", run.id));
        context.screen.note(&format!("watch it: bugle logs {} -f", run.id));
    }
}

/// Nothing starts, and the server said why.
fn skipped(context: &mut Context, answer: &Json, agent: &Json) -> Failure {
    let reason = match text(answer, "skipReason") {
        "" => text(answer, "reason"),
        reason => reason,
    };
    let message = match text(answer, "message") {
        "" => "the wake was skipped",
        message => message,
    };
    if context.global.json {
        context.screen.answer(answer);
    }
    Failure::new(Kind::Refused, "wake.skipped", format!("{} ({reason})", message.trim_end_matches('.')))
        .hint(format!("what is set for it: bugle agent show {}", text(agent, "urlKey")))
}

/// Adds what to do to refusals that depend on the agent.
fn explained(failure: Failure, agent: &Json) -> Failure {
    let name = text(agent, "urlKey");
    match failure.code.as_str() {
        "agent.not_invokable" => {
            let status = failure
                .details
                .as_deref()
                .map(|details| text(details, "status").to_owned())
                .unwrap_or_default();
            let hint = match status.as_str() {
                "paused" => format!("let it work again: bugle agent resume {name}"),
                "terminated" => "it was ended for good; add another: bugle agent add".to_owned(),
                _ => format!("see: bugle agent show {name}"),
            };
            let message = format!("{} cannot be woken: it is {status}", text(agent, "name"));
            Failure { message, hint: Some(hint), ..failure }
        }
        "idempotency_key_reused" if failure.hint.is_none() => {
            failure.hint("take another key, or send exactly what was sent the first time")
        }
        _ => failure,
    }
}

/// Says how the run ended; fails unless it succeeded.
fn ended(context: &mut Context, run: &RunView) -> Result<(), Failure> {
    if context.global.json {
        let line = json!({
            "type": "end", "runId": run.id, "status": run.status, "exitCode": run.exit_code, "error": run.error,
            "errorCode": run.error_code,
        });
        context.screen.json_line(&line);
    } else {
        let status = context.screen.tint_note(Tone::of_status(&run.status), &run.status);
        let mut line = status;
        if let Some(duration) = run.duration() {
            line.push_str(&format!(" after {duration}"));
        }
        let ending = run.ending();
        if !run.has_succeeded() && !ending.is_empty() {
            line.push_str(&format!(": {ending}"));
        }
        context.screen.note(&line);
        if !run.has_succeeded() {
            if let Some(error) = &run.error {
                context.screen.note(&format!("  {error}"));
            }
            let hint = context.screen.tint_note(Tone::Waiting, "hint:");
            context.screen.note(&format!("{hint} see why: bugle run explain {}", run.id));
        }
    }
    if run.has_succeeded() { Ok(()) } else { Err(Failure::shown(Kind::Failed, "run.failed")) }
}
