//! `bugle issue`: the work of a company. This file is the list of what can be done to it, and how an issue is told in
//! one line; each group of commands is a file `issue_*` of its own.

use clap::{Args, Subcommand};
use serde_json::Value as Json;

use super::answer::{one_line, text};
use super::issue_checkout::{Checkout, ForceRelease};
use super::issue_comment::Comment;
use super::issue_document::{Document, Documents};
use super::issue_fields::{Create, Update};
use super::issue_history::{Activity, Runs};
use super::issue_list::List;
use super::issue_status::{Assign, Block, Closing};
use super::issue_tree::{OnTree, Restore, Tree, Unhold};
use super::{issue_checkout, issue_show, issue_status, issue_tree};
use crate::cli::Context;
use crate::failure::Failure;
use crate::screen::{Screen, Tone};

const EXAMPLES: &str = "\
Examples:
  bugle issue create \"Write the release notes\" --assignee ada
  bugle issue create \"Publish them\" --assignee ada --blocked-by ACM-1
  bugle issue comment ACM-1 \"mention the new flag\"
  bugle issue tree ACM-1

An issue is named like ACM-12, by its number alone (12), or by its id.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Issue {
    /// Make an issue; the agent it is assigned to is woken for it
    Create(Box<Create>),
    /// List issues, the most urgent first
    List(List),
    /// Show an issue: who works on it, what it waits for, what was said last
    Show(Named),
    /// Change fields of an issue
    Update(Box<Update>),
    /// Say something on an issue; its assignee is woken
    Comment(Comment),
    /// Give an issue to an agent or a person
    Assign(Assign),
    /// Say that an issue is done; what it blocked goes on
    Done(Closing),
    /// Say that an issue cannot go on, and what it waits for
    Block(Block),
    /// Cancel an issue; the run that works on it is stopped
    Cancel(Closing),
    /// Take a closed or blocked issue up again
    Reopen(Closing),
    /// Take an issue for an agent: it is in progress
    Checkout(Checkout),
    /// Give an issue back: it is to do, and nobody's
    Release(Named),
    /// Take an issue away from whatever run has it
    ForceRelease(ForceRelease),
    /// Draw an issue with everything below it
    Tree(Tree),
    /// Hold an issue and everything below it: its runs are stopped, nothing new starts
    Hold(OnTree),
    /// Let a held issue and everything below it go on
    Unhold(Unhold),
    /// Cancel an issue and everything below it
    CancelTree(OnTree),
    /// Bring back what cancel-tree cancelled
    Restore(Restore),
    /// List the documents of an issue
    Documents(Documents),
    /// Read or write one document of an issue
    #[command(subcommand)]
    Document(Document),
    /// List the runs that worked on an issue, newest first
    Runs(Runs),
    /// List what happened to an issue, newest first
    Activity(Activity),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The issue, like ACM-12
    pub(super) issue: String,
}

impl Issue {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Issue::Create(create) => create.run(context).await,
            Issue::List(list) => list.run(context).await,
            Issue::Show(Named { issue }) => issue_show::show(context, &issue).await,
            Issue::Update(update) => update.run(context).await,
            Issue::Comment(comment) => comment.run(context).await,
            Issue::Assign(assign) => assign.run(context).await,
            Issue::Done(closing) => issue_status::done(context, closing).await,
            Issue::Block(block) => block.run(context).await,
            Issue::Cancel(closing) => issue_status::cancel(context, closing).await,
            Issue::Reopen(closing) => issue_status::reopen(context, closing).await,
            Issue::Checkout(checkout) => checkout.run(context).await,
            Issue::Release(Named { issue }) => issue_checkout::release(context, &issue).await,
            Issue::ForceRelease(release) => release.run(context).await,
            Issue::Tree(tree) => tree.run(context).await,
            Issue::Hold(order) => issue_tree::hold(context, order).await,
            Issue::Unhold(unhold) => unhold.run(context).await,
            Issue::CancelTree(order) => issue_tree::cancel(context, order).await,
            Issue::Restore(restore) => restore.run(context).await,
            Issue::Documents(documents) => documents.run(context).await,
            Issue::Document(document) => document.run(context).await,
            Issue::Runs(runs) => runs.run(context).await,
            Issue::Activity(activity) => activity.run(context).await,
        }
    }
}

/// The colour of an issue's status.
pub(super) fn tone(status: &str) -> Tone {
    match status {
        "done" => Tone::Good,
        "in_progress" => Tone::Busy,
        "in_review" => Tone::Waiting,
        "blocked" => Tone::Bad,
        "cancelled" | "backlog" => Tone::Faint,
        _ => Tone::Plain,
    }
}

/// An issue in one line: `ACM-12  in_progress  Write the release notes`.
pub(super) fn headline(screen: &Screen, issue: &Json) -> String {
    let status = text(issue, "status");
    let (name, status) =
        (screen.tint(Tone::Strong, text(issue, "identifier")), screen.tint(tone(status), status));
    format!("{name}  {status}  {}", one_line(text(issue, "title"), 100))
}

/// Tells what an issue is like after a change.
pub(super) fn tell(context: &mut Context, issue: &Json) {
    if context.global.json {
        context.screen.answer(issue);
    } else {
        let line = headline(&context.screen, issue);
        context.screen.line(&line);
    }
}

/// A text as it was typed; `-` stands for standard input.
pub(super) fn typed(text: &str) -> Result<String, Failure> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    std::io::read_to_string(std::io::stdin().lock()).map_err(|error| {
        Failure::usage("stdin.unreadable", format!("cannot read standard input: {error}"))
            .hint("give the text itself, in quotes, instead of -")
    })
}
