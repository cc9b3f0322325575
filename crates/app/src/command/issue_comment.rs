//! `bugle issue comment`: says something to whoever works on an issue.

use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::answer::{one_line, text};
use super::directory::Directory;
use super::issue::typed;
use super::issue_lookup::{explained, find};
use crate::cli::Context;
use crate::failure::Failure;
use crate::when;

#[derive(Debug, Args)]
pub(crate) struct Comment {
    /// The issue, like ACM-12
    issue: String,
    /// What to say; - reads standard input. @NAME wakes that agent too
    text: String,
    /// Take a closed issue up again
    #[arg(long)]
    reopen: bool,
    /// Ask for more work on an issue, even when it is done
    #[arg(long)]
    resume: bool,
    /// Stop the run that works on it, so that the next one reads this
    #[arg(long)]
    interrupt: bool,
    /// It is from outside: it is held until a trusted member releases it
    #[arg(long)]
    untrusted: bool,
}

impl Comment {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let body = typed(&self.text)?;
        if body.trim().is_empty() {
            return Err(Failure::usage("comment.empty", "there is nothing in the comment")
                .hint("put the text in quotes: bugle issue comment ACM-1 \"looks good\""));
        }
        let client = context.client()?;
        let issue = find(context, &client, &self.issue).await?;
        let mut sent = Map::new();
        sent.insert("body".into(), json!(body));
        let flags = [
            ("reopen", self.reopen),
            ("resume", self.resume),
            ("interrupt", self.interrupt),
            ("untrusted", self.untrusted),
        ];
        for (key, flag) in flags {
            if flag {
                sent.insert(key.into(), json!(true));
            }
        }
        let path = format!("/issues/{}/comments", text(&issue, "id"));
        let comment = match client.post(&path, &Json::Object(sent)).await {
            Ok(comment) => comment,
            Err(failure) => return Err(explained(&client, &issue, failure).await),
        };
        if context.global.json {
            context.screen.answer(&comment);
            return Ok(());
        }
        // What was said may have changed where the issue stands.
        let after = find(context, &client, text(&issue, "id")).await?;
        let (name, status) = (text(&after, "identifier"), text(&after, "status"));
        context.screen.line(&format!("commented on {name} ({status}): {}", one_line(&body, 60)));
        let note = match (text(&after, "assigneeAgentId"), status) {
            ("", _) => format!("nobody works on it: bugle issue assign {name} AGENT"),
            (_, "done" | "cancelled") => {
                format!(
                    "it is {status}, so nobody is woken; to go on: bugle issue comment {name} TEXT --reopen"
                )
            }
            (agent, _) => {
                let directory = Directory::of_agents(&client, text(&after, "companyId")).await?;
                let agent = directory.agent(agent);
                match (text(&comment, "heldReason"), text(&comment, "heldUntil")) {
                    ("hold", _) => format!(
                        "it waits until a trusted member releases it: bugle run release --issue {name}"
                    ),
                    ("quota", "") => {
                        format!("{agent} is told when its account works again: bugle account list")
                    }
                    ("quota", until) => {
                        format!("{agent} is told; it waits for quota until {}", when::local(until))
                    }
                    _ => format!("{agent} is told; what it does: bugle issue runs {name}"),
                }
            }
        };
        context.screen.note(&note);
        Ok(())
    }
}
