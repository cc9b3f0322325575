//! `bugle audit`: whether the record of decisions is whole, and its head and its records, to be kept elsewhere.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use futures_util::StreamExt;
use serde_json::{Value as Json, json};
use store::audit::{AuditHead, Break};
use store::audit_file::{self, FileReport, LastLine, StoppedLine};

use super::agent_lookup::text;
use crate::cli::Context;
use crate::client::encoded;
use crate::failure::{Failure, Kind};
use crate::screen::Tone;

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Check every link of the chain; with a head that was kept, also that nothing before it was replaced
    Verify(Verify),
    /// Print the head of the chain, to be kept where the server cannot write
    Head,
    /// Write the records as JSON lines, which `verify --file` checks without a server
    Export(Export),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bugle audit head > /media/usb/head.json\n  bugle audit verify --head /media/usb/head.json\n  bugle audit verify --file audit.jsonl"
)]
pub(crate) struct Verify {
    /// A head that was printed earlier
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// Check what was exported; no server is asked
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bugle audit export > audit.jsonl\n  bugle audit export --since 2026-04-01T00:00:00Z --output april.jsonl"
)]
pub(crate) struct Export {
    /// From this time on, like 2026-04-27T15:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Up to this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Write to this file, which must not be there yet [default: standard output]
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Audit {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Audit::Verify(verify) => verify.run(context).await,
            Audit::Head => {
                let head = context.client()?.get("/audit/head").await?;
                context.screen.answer(&head);
                Ok(())
            }
            Audit::Export(export) => export.run(context).await,
        }
    }
}

fn kept_head(file: &Path) -> Result<AuditHead, Failure> {
    let unusable = |why: String| {
        Failure::usage("head.unreadable", format!("cannot use the head in {}: {why}", file.display()))
            .hint("make one with: bugle audit head > FILE")
    };
    let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
    let head: AuditHead = serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    Ok(AuditHead { hash: head.hash.to_ascii_lowercase(), ..head })
}

impl Verify {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let kept = self.head.as_deref().map(kept_head).transpose()?;
        if let Some(file) = &self.file {
            return verify_file(context, file, kept.as_ref());
        }
        let mut path = "/audit/verify".to_owned();
        if let Some(head) = &kept {
            path.push_str(&format!("?seq={}&hash={}", head.seq, encoded(&head.hash)));
        }
        let client = context.client()?;
        let report = client.get(&path).await?;
        let is_whole = report.get("ok").and_then(Json::as_bool).unwrap_or(false);
        if context.global.json {
            context.screen.answer(&report);
        } else if is_whole {
            let checked = report.get("checked").and_then(Json::as_i64).unwrap_or_default();
            let word = context.screen.tint(Tone::Good, "whole");
            context.screen.line(&format!("the record is {word}: {checked} decisions checked"));
            if self.head.is_none() {
                context
                    .screen
                    .note("a head kept elsewhere would also show a replaced record: bugle audit head");
            }
        } else {
            let broken = report.get("firstBroken").unwrap_or(&Json::Null);
            let seq = broken.get("seq").and_then(Json::as_i64).unwrap_or_default();
            say_broken(context, "record", seq, text(broken, "why"));
            if text(broken, "why") == Break::NoHead.as_str() {
                context
                    .screen
                    .note("stop the server, and put the last good backup in the place of its store");
            }
        }
        if is_whole { Ok(()) } else { Err(Failure::shown(Kind::Failed, "audit.broken")) }
    }
}

fn say_broken(context: &mut Context, what: &str, seq: i64, why: &str) {
    let word = context.screen.tint(Tone::Bad, "broken");
    context.screen.line(&format!("the {what} is {word} at number {seq}: {}", meaning(why)));
}

/// Looks through what was exported.
fn verify_file(context: &mut Context, file: &Path, kept: Option<&AuditHead>) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage("audit.unreadable", format!("cannot read {}: {error}", file.display()))
            .hint("make one with: bugle audit export > FILE")
    };
    let opened = File::open(file).map_err(unreadable)?;
    let report: FileReport = audit_file::check(BufReader::new(opened), kept).map_err(unreadable)?;
    let outside = kept.filter(|_| report.ok && !report.covers_head);
    if context.global.json {
        let broken = report.first_broken.as_ref();
        context.screen.answer(&json!({
            "ok": report.ok && outside.is_none(), "checked": report.checked,
            "first": report.span.map(|span| span.0), "last": report.span.map(|span| span.1),
            "firstBroken": broken.map(|link| json!({ "seq": link.seq, "why": link.why.as_str() })),
            "coversHead": report.covers_head,
        }));
    } else if let Some(link) = &report.first_broken {
        say_broken(context, "file", link.seq, link.why.as_str());
    } else if outside.is_none() {
        let word = context.screen.tint(Tone::Good, "whole");
        let span =
            report.span.map(|(first, last)| format!(", numbers {first} to {last}")).unwrap_or_default();
        context.screen.line(&format!("the file is {word}: {} decisions checked{span}", report.checked));
        if kept.is_none() {
            context.screen.note("a head kept elsewhere would also show a replaced record: --head FILE");
        }
    }
    match outside {
        _ if !report.ok => Err(Failure::shown(Kind::Failed, "audit.broken")),
        Some(head) => {
            let message = format!("the head that was kept is number {}, which is not in the file", head.seq);
            Err(Failure::usage("head.outside", message)
                .hint("export the part that it lies in: bugle audit export"))
        }
        None => Ok(()),
    }
}

impl Export {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut query = Vec::new();
        for (name, time) in [("since", &self.since), ("until", &self.until)] {
            query.extend(time.as_ref().map(|time| format!("{name}={}", encoded(time))));
        }
        let client = context.client()?;
        let mut pieces = client.stream(&format!("/audit/export?{}", query.join("&"))).await?.bytes_stream();
        let unwritable = |error: std::io::Error| {
            let place = self.output.as_ref().map_or("standard output".into(), |it| it.display().to_string());
            Failure::failed("audit.unwritable", format!("cannot write to {place}: {error}"))
                .hint("name a file that is not there yet, in a folder that you may write in")
        };
        let mut out: Box<dyn Write> = match &self.output {
            Some(file) => Box::new(File::create_new(file).map_err(unwritable)?),
            None => Box::new(std::io::stdout()),
        };
        let mut lines = Lines::default();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| {
                Failure::new(Kind::Unreachable, "audit.cut_off", format!("the export broke off: {error}"))
                    .hint("remove what was written, and export again")
            })?;
            lines.take(&piece);
            out.write_all(&piece).map_err(unwritable)?;
        }
        out.flush().map_err(unwritable)?;
        let records = lines.records()?;
        if let Some(file) = &self.output {
            if context.global.json {
                context.screen.answer(&json!({ "file": file.display().to_string(), "records": records }));
            } else {
                context.screen.line(&format!("wrote {records} decisions to {}", file.display()));
                let check = format!("check it anywhere: bugle audit verify --file {}", file.display());
                context.screen.note(&check);
            }
        }
        Ok(())
    }
}

/// The lines that went by.
#[derive(Default)]
struct Lines {
    number: usize,
    last: Vec<u8>,
    begun: Vec<u8>,
}

impl Lines {
    fn take(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.number += 1;
                self.last = std::mem::take(&mut self.begun);
            }
        }
    }

    /// How many of them were records, when the last one says that these were all.
    fn records(&self) -> Result<usize, Failure> {
        // The last line is no record.
        let records = self.number.saturating_sub(1);
        if self.begun.is_empty() && serde_json::from_slice::<LastLine>(&self.last).is_ok() {
            return Ok(records);
        }
        if let Ok(StoppedLine { stopped }) = serde_json::from_slice(&self.last) {
            let (seq, why) = (stopped.seq, meaning(&stopped.why));
            let message = format!(
                "the export stopped at number {seq}: {why}; {records} decisions before it were written"
            );
            return Err(Failure::failed("audit.broken", message).hint(
                "see what is wrong: bugle audit verify; what was written says itself that it is not whole",
            ));
        }
        Err(Failure::new(Kind::Unreachable, "audit.cut_off", "the export broke off before its end")
            .hint("remove what was written, and export again"))
    }
}

/// What a word of [`Break`] means; one of a newer server stands for itself.
pub(super) fn meaning(why: &str) -> &str {
    match Break::parse(why) {
        Some(known) => known.meaning(),
        None => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pieces: &[&str]) -> Result<usize, Failure> {
        let mut lines = Lines::default();
        for piece in pieces {
            lines.take(piece.as_bytes());
        }
        lines.records()
    }

    #[test]
    fn an_export_is_whole_only_with_the_line_that_says_so() {
        let end = r#"{"end":{"records":1,"seq":1,"hash":"ab"}}"#;
        assert_eq!(after(&["{\"a\":1}\n", end, "\n"]), Ok(1));
        assert_eq!(after(&["{\"a\"", ":1}", "\n", &end[..9], &end[9..], "\n"]), Ok(1));
        let code = |pieces: &[&str]| after(pieces).map_err(|failure| (failure.kind, failure.code));
        assert_eq!(code(&["{\"a\":1}\n", end]), Err((Kind::Unreachable, "audit.cut_off".to_owned())));
        assert_eq!(code(&[]), Err((Kind::Unreachable, "audit.cut_off".to_owned())));
        let stopped = "{\"stopped\":{\"seq\":2,\"why\":\"unreadable\"}}\n";
        assert_eq!(code(&["{\"a\":1}\n", stopped]), Err((Kind::Failed, "audit.broken".to_owned())));
        let said = after(&["{\"a\":1}\n", stopped]).unwrap_err().message;
        assert!(
            said.contains("number 2") && said.contains("cannot be read") && said.contains("1 decisions"),
            "{said}"
        );
    }
}
