//! `bugle run release`: shows what somebody wrote who is not trusted, and lets it go on, or not.
//!
//! What is decided is what was shown here: a text that comes meanwhile waits for the next time.

use std::io::IsTerminal;

use clap::Args;
use serde_json::{Value as Json, json};

use super::answer::{counted, rows, text};
use super::issue_lookup;
use super::logs::unknown;
use crate::cli::Context;
use crate::failure::Failure;
use crate::run_view::reference;
use crate::screen::Tone;
use crate::when;

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Id of the run that waits, or its first digits
    #[arg(required_unless_present = "issue")]
    run: Option<String>,
    /// The issue, where no run waits for it
    #[arg(long, value_name = "ISSUE", conflicts_with = "run")]
    issue: Option<String>,
    /// Refuse the texts: no agent ever reads them
    #[arg(long)]
    refuse: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Release {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let (texts, decide) = match (&self.run, &self.issue) {
            (_, Some(issue)) => {
                let issue = issue_lookup::find(context, &client, issue).await?;
                let path = format!("/issues/{}/held-texts", text(&issue, "id"));
                (path.clone(), format!("{path}/decide"))
            }
            (run, None) => {
                let run = reference(run.as_deref().unwrap_or_default())?;
                let path = format!("/heartbeat-runs/{run}");
                (format!("{path}/held-texts"), format!("{path}/release"))
            }
        };
        let found = client.get(&texts).await.map_err(unknown)?;
        let waiting: Vec<&Json> = rows(&found).iter().filter(|held| held["decision"].is_null()).collect();
        if waiting.is_empty() {
            if context.global.json {
                context.screen.answer(&found);
            } else {
                context.screen.line("nothing waits for a release");
            }
            return Ok(());
        }
        let what = if self.refuse { "refuse" } else { "release" };
        if !context.global.json {
            for held in &waiting {
                show(context, held);
            }
        }
        if !self.yes {
            ask(context, what, waiting.len())?;
        }
        let ids: Vec<&str> = waiting.iter().map(|held| text(held, "id")).collect();
        let decision = if self.refuse { "refused" } else { "released" };
        let decided = client.post(&decide, &json!({ "textIds": ids, "decision": decision })).await?;
        if context.global.json {
            context.screen.answer(&decided);
        } else {
            context.screen.line(&format!("{decision} {}", counted(count(ids.len()), "text")));
        }
        Ok(())
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn show(context: &mut Context, held: &Json) {
    let kind = if held["commentId"].is_null() { "issue" } else { "comment" };
    let (author, at) = (text(held, "authorId"), when::local(text(held, "createdAt")));
    let head = context.screen.tint(Tone::Strong, &format!("{kind} of {author}, {at}"));
    context.screen.line(&head);
    for part in [text(held, "title"), text(held, "body")] {
        for line in part.lines() {
            // Whoever wrote it must not be able to paint over what was asked.
            let line: String = line.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect();
            context.screen.line(&format!("  {line}"));
        }
    }
}

fn ask(context: &mut Context, what: &str, texts: usize) -> Result<(), Failure> {
    let code = format!("text.{what}.unconfirmed");
    if !std::io::stdin().is_terminal() || context.global.json {
        return Err(Failure::usage(
            &code,
            format!("a person is to read this before you {what} it; say --yes"),
        )
        .hint("shown without --json; to do it without a question: --yes"));
    }
    let texts = counted(count(texts), "text");
    context.screen.note(&format!("{what} {texts}? Type {what} to go on:"));
    let mut answer = String::new();
    if std::io::stdin().read_line(&mut answer).is_ok() && answer.trim() == what {
        return Ok(());
    }
    Err(Failure::usage(&code, "nothing was done").hint("it waits on; ask again whenever you like"))
}
