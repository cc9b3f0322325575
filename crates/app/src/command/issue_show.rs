//! `bugle issue show`: one issue with what it waits for, who has it, what is below it, and what was said and done last.

use serde_json::{Value as Json, json};

use super::answer::{facts, number, one_line, paragraph, rows, rows_at, section, text};
use super::directory::{Directory, short};
use super::issue::headline;
use super::issue_lookup::{find, hold_on, root_of};
use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::screen::{Screen, Tone};
use crate::when;

/// Comments that are shown; all of them are in the API.
const COMMENTS: usize = 5;
/// Runs that are shown; all of them: `bugle issue runs`.
const RUNS: usize = 5;
/// Children that are shown; all of them: `bugle issue tree`.
const CHILDREN: usize = 20;
/// Lines of one comment that are shown.
const LINES: usize = 12;

pub(super) async fn show(context: &mut Context, named: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let issue = find(context, &client, named).await?;
    let around = Around::load(&client, &issue).await?;
    if context.global.json {
        let answer = around.beside(issue);
        context.screen.answer(&answer);
        return Ok(());
    }
    let directory = Directory::of(&client, text(&issue, "companyId")).await?;
    let root = match &around.hold {
        Some(gate) => Some(root_of(&client, gate).await),
        None => None,
    };
    around.print(&mut context.screen, &issue, &directory, root.as_deref());
    Ok(())
}

/// What stands around an issue and is asked for separately.
struct Around {
    children: Json,
    /// The newest first.
    comments: Json,
    runs: Json,
    active_run: Json,
    /// The hold that covers it.
    hold: Option<Json>,
}

impl Around {
    async fn load(client: &Client, issue: &Json) -> Result<Around, Failure> {
        let (id, company) = (text(issue, "id"), text(issue, "companyId"));
        Ok(Around {
            children: client.get(&format!("/companies/{company}/issues?parentId={id}&limit=1000")).await?,
            comments: client.get(&format!("/issues/{id}/comments?limit={COMMENTS}")).await?,
            runs: client.get(&format!("/issues/{id}/runs")).await?,
            active_run: client.get(&format!("/issues/{id}/active-run")).await?,
            hold: hold_on(client, issue).await?,
        })
    }

    /// All of it as one answer.
    fn beside(self, mut issue: Json) -> Json {
        issue["children"] = self.children;
        issue["comments"] = self.comments;
        issue["runs"] = self.runs;
        issue["activeRun"] = self.active_run;
        issue["activePauseHold"] = json!(self.hold);
        issue
    }

    fn print(&self, screen: &mut Screen, issue: &Json, directory: &Directory, root: Option<&str>) {
        let line = headline(screen, issue);
        screen.line(&line);
        facts(screen, self.page(issue, directory, root));
        let about = text(issue, "description");
        if !about.trim().is_empty() {
            section(screen, "description");
            paragraph(screen, about);
        }
        relations(screen, "waits for", rows_at(issue, "blockedBy"), directory);
        relations(screen, "others wait for it", rows_at(issue, "blocks"), directory);
        let children = rows(&self.children);
        relations(screen, "below it", &children[..children.len().min(CHILDREN)], directory);
        if children.len() > CHILDREN {
            screen.line(&format!("  and {} more", children.len() - CHILDREN));
        }
        self.said(screen, directory);
        self.done(screen, directory);
        let name = text(issue, "identifier");
        screen.note(&format!("say something: bugle issue comment {name} TEXT   more: bugle issue tree|runs|documents|activity {name}"));
    }

    fn page(&self, issue: &Json, directory: &Directory, root: Option<&str>) -> Vec<(&'static str, String)> {
        let named = |list: &str, key: &str| {
            let found = rows_at(issue, list).iter().map(|it| one_line(text(it, key), 48));
            found.collect::<Vec<_>>().join(", ")
        };
        let part_of = rows_at(issue, "ancestors")
            .first()
            .map(|parent| format!("{} {}", text(parent, "identifier"), one_line(text(parent, "title"), 60)));
        let project = issue.get("project").map(|it| one_line(text(it, "name"), 48)).unwrap_or_default();
        let goal = issue.get("goal").map(|it| one_line(text(it, "title"), 60)).unwrap_or_default();
        let held = self.hold.as_ref().zip(root).map(|(gate, root)| on_hold(gate, root));
        let at = |key: &str| when::local(text(issue, key));
        let by = match (text(issue, "createdByAgentId"), text(issue, "createdByUserId")) {
            ("", "") => at("createdAt"),
            ("", user) => format!("{} by {}", at("createdAt"), directory.person(user)),
            (agent, _) => format!("{} by {}", at("createdAt"), directory.agent(agent)),
        };
        vec![
            ("id", text(issue, "id").to_owned()),
            ("assignee", directory.assignee(issue)),
            ("held by", self.holder(directory)),
            ("next", self.next(directory)),
            ("last run", self.last(issue)),
            ("on hold", held.unwrap_or_default()),
            ("priority", text(issue, "priority").to_owned()),
            ("part of", part_of.unwrap_or_default()),
            ("project", project),
            ("goal", goal),
            ("labels", named("labels", "name")),
            ("documents", named("documentSummaries", "key")),
            ("review", review(issue, directory)),
            ("made", by),
            ("started", at("startedAt")),
            ("completed", at("completedAt")),
            ("cancelled", at("cancelledAt")),
        ]
    }

    /// The run that has the issue.
    fn holder(&self, directory: &Directory) -> String {
        self.active(directory, true)
    }

    /// The run that waits to have it.
    fn next(&self, directory: &Directory) -> String {
        self.active(directory, false)
    }

    fn active(&self, directory: &Directory, is_running: bool) -> String {
        let run = &self.active_run;
        if !run.is_object() || (text(run, "status") == "running") != is_running {
            return String::new();
        }
        let who = match text(run, "agentName") {
            "" => directory.agent(text(run, "agentId")),
            name => one_line(name, 40),
        };
        let since = match text(run, "startedAt") {
            "" => String::new(),
            at => format!(" since {}", when::local(at)),
        };
        format!("run {} of {who}, {}{since}", text(run, "id"), text(run, "status"))
    }

    /// The run that took it last, where it is over and nobody has it now.
    fn last(&self, issue: &Json) -> String {
        match text(issue, "checkoutRunId") {
            run if run.is_empty() || self.active_run.is_object() => String::new(),
            run => format!("{run}, which is over; nobody has it now"),
        }
    }

    fn said(&self, screen: &mut Screen, directory: &Directory) {
        let comments = rows(&self.comments);
        if comments.is_empty() {
            return;
        }
        section(screen, "last comments");
        for comment in comments.iter().rev() {
            let who = screen.tint(Tone::Strong, &directory.author(comment));
            let at = screen.tint(Tone::Faint, &when::local(text(comment, "createdAt")));
            screen.line(&format!("  {who}  {at}"));
            let body = text(comment, "body");
            let lines: Vec<&str> = body.lines().collect();
            for line in lines.iter().take(LINES) {
                paragraph(screen, &format!("  {line}"));
            }
            if lines.len() > LINES {
                screen.line(&format!("    ({} more lines)", lines.len() - LINES));
            }
        }
    }

    fn done(&self, screen: &mut Screen, directory: &Directory) {
        let runs = rows(&self.runs);
        if runs.is_empty() {
            return;
        }
        section(screen, "last runs");
        for run in runs.iter().take(RUNS) {
            let status = text(run, "status");
            let shown = screen.tint(Tone::of_status(status), status);
            let at = match text(run, "startedAt") {
                "" => text(run, "createdAt"),
                at => at,
            };
            let (id, who) = (short(text(run, "runId")), directory.agent(text(run, "agentId")));
            let summary = one_line(summary(run), 60);
            screen.line(format!("  {id}  {shown}  {who}  {}  {summary}", when::local(at)).trim_end());
        }
        if runs.len() > RUNS {
            screen.line(&format!("  and {} more", runs.len() - RUNS));
        }
    }
}

/// What a run says of itself.
pub(super) fn summary(run: &Json) -> &str {
    let result = run.get("resultJson").unwrap_or(&Json::Null);
    ["summary", "result", "message", "error"]
        .iter()
        .map(|key| text(result, key))
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

fn on_hold(gate: &Json, root: &str) -> String {
    let reason = match text(gate, "reason") {
        "" => String::new(),
        reason => format!(": {}", one_line(reason, 100)),
    };
    format!("with the tree of {root}{reason}; let it go on: bugle issue unhold {root}")
}

/// Whose turn it is in a review or an approval.
fn review(issue: &Json, directory: &Directory) -> String {
    let state = issue.get("executionState").unwrap_or(&Json::Null);
    let turn = state.get("currentParticipant").unwrap_or(&Json::Null);
    if text(state, "status") != "pending" {
        return String::new();
    }
    let who = match (text(turn, "agentId"), text(turn, "userId")) {
        ("", user) => one_line(user, 40),
        (agent, _) => directory.agent(agent),
    };
    let stage = number(state, "currentStageIndex") + 1;
    format!("{} (stage {stage}) waits for {who}", text(state, "currentStageType"))
}

fn relations(screen: &mut Screen, title: &str, issues: &[Json], directory: &Directory) {
    if issues.is_empty() {
        return;
    }
    section(screen, title);
    for issue in issues {
        let line = headline(screen, issue);
        let who = directory.assignee(issue);
        let who = if who.is_empty() { String::new() } else { format!("  ({who})") };
        screen.line(&format!("  {line}{who}"));
    }
}
