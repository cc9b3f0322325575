//! `bugle doctor`: what keeps a server from working here, and how to fix it. Works with and without a server.

use clap::Args;
use serde_json::json;

use crate::cli::Context;
use crate::config::Flags;
use crate::data_dir;
use crate::doctor::{self, Finding, Level};
use crate::failure::{Failure, Kind};
use crate::screen::Tone;

#[derive(Debug, Args)]
#[command(after_help = "Takes the settings that `bugle up` takes, and says what `up` would say with them.")]
pub(crate) struct Doctor {
    #[command(flatten)]
    flags: Flags,
}

impl Doctor {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let findings = match data_dir::locate(context.global.data_dir.as_deref()) {
            Ok(folder) => doctor::everything(&folder, &self.flags).await,
            Err(finding) => vec![finding],
        };
        let first = findings.iter().find(|finding| finding.stops_up);
        let has_failed = findings.iter().any(|finding| finding.level == Level::Fail);
        if context.global.json {
            let stopped_by = first.map(|finding| finding.code);
            context.screen.answer(&json!({
                "ok": !has_failed, "upWouldStart": first.is_none(), "stoppedBy": stopped_by, "checks": findings,
            }));
        } else {
            for finding in &findings {
                print(context, finding);
            }
            context.screen.line(&match first {
                None => "`bugle up` would start".to_owned(),
                Some(finding) => format!("`bugle up` would not start: {}", finding.message),
            });
        }
        if has_failed { Err(Failure::shown(Kind::Failed, "doctor.failed")) } else { Ok(()) }
    }
}

fn print(context: &mut Context, finding: &Finding) {
    let (tone, word) = match finding.level {
        Level::Ok => (Tone::Good, "ok  "),
        Level::Warn => (Tone::Waiting, "warn"),
        Level::Fail => (Tone::Bad, "fail"),
    };
    let word = context.screen.tint(tone, word);
    context.screen.line(&format!("{word}  {:<15} {}", finding.check, finding.message));
    if let Some(fix) = finding.fix.as_ref().filter(|_| finding.level != Level::Ok) {
        let fix = context.screen.tint(Tone::Faint, &format!("fix: {fix}"));
        context.screen.line(&format!("      {:<15} {fix}", ""));
    }
}
