//! The folder of a run before its process is started: found or made, and told to the agent.

use serde_json::json;

use super::Tending;
use crate::signals;
use crate::workspaces::taking::{self, Asking, KEYS, Seated};

/// What became of it.
pub(super) enum Seat {
    Ready,
    /// The server leaves, or somebody else owns the run: nothing is started.
    Leaving,
}

impl Tending<'_> {
    /// Gives the run its folder. Whoever asks to stop the run meanwhile is heard, and so is a server that leaves; the
    /// error is in words.
    pub(super) async fn take_seat(&mut self) -> Result<Seat, String> {
        let session_cwd = self.session_note.as_ref().and_then(|note| note["cwd"].as_str()).map(str::to_owned);
        let (engine, handle) = (self.engine, self.handle);
        let seated = {
            let asking = Asking {
                run: &self.run,
                agent: &self.agent,
                lease: &self.lease,
                session_cwd: session_cwd.as_deref(),
            };
            let mut seated = Box::pin(taking::seat(engine, asking));
            loop {
                tokio::select! {
                    biased;
                    () = engine.leaving.cancelled() => return Ok(Seat::Leaving),
                    seated = &mut seated => match seated {
                        Ok(seated) => break seated,
                        // Whatever was broken off by that is gone on with by the next server.
                        Err(_) if engine.leaving.is_cancelled() => return Ok(Seat::Leaving),
                        Err(words) => return Err(words),
                    },
                    () = handle.bell.notified() => {
                        if handle.stop_words().is_some() {
                            return Err("it was asked to stop before it started".to_owned());
                        }
                    }
                }
            }
        };
        // A ring that was taken here was meant for whoever watches.
        handle.bell.notify_one();
        let Seated::At { told, warnings } = seated else { return Ok(Seat::Leaving) };
        if !warnings.is_empty() {
            let warnings: Vec<String> = warnings.iter().map(|warning| format!("[bugle] {warning}")).collect();
            let payload = json!({ "warnings": warnings });
            self.events.push(signals::lifecycle(
                "warn",
                "the workspace is not as it was meant to be",
                Some(payload),
            ));
        }
        let is_kept = told.contains_key("executionWorkspaceId");
        let mut briefing = self.briefing.take().unwrap_or_else(|| self.run.context.clone());
        for context in
            [Some(&mut briefing), Some(&mut self.run.context).filter(|_| is_kept)].into_iter().flatten()
        {
            if let Some(fields) = context.as_object_mut() {
                for key in KEYS {
                    fields.remove(key);
                }
                fields.extend(told.clone());
            }
        }
        self.briefing = Some(briefing);
        if is_kept {
            // What is read of its output may depend on where it works.
            self.renew_reader();
        }
        if handle.stop_words().is_some() {
            return Err("it was asked to stop before it started".to_owned());
        }
        Ok(Seat::Ready)
    }
}
