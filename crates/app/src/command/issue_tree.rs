//! `bugle issue tree|hold|unhold|cancel-tree|restore`: an issue with everything below it, seen and stopped as a whole.
//!
//! What an operation takes and leaves out is decided by the server; `--dry-run` asks it without doing anything.

use std::collections::HashSet;

use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::answer::{counted, listing, number, one_line, rows, rows_at, text};
use super::directory::Directory;
use super::issue::tone;
use super::issue_list::status_with_run;
use super::issue_lookup::{explained, find, hold_on, open_blockers, root_of};
use crate::cli::Context;
use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::screen::{Screen, Tone};

/// The largest tree that is drawn.
const MOST: usize = 1000;

#[derive(Debug, Args)]
pub(crate) struct Tree {
    /// The issue at the top, like ACM-12
    issue: String,
}

#[derive(Debug, Args)]
pub(crate) struct OnTree {
    /// The issue at the top, like ACM-12
    issue: String,
    /// Why; it is shown to whoever asks
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Unhold {
    /// The issue that was held, like ACM-12
    issue: String,
    /// Why; it is kept with the hold
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    on: OnTree,
    /// Wake the agents whose issues come back
    #[arg(long)]
    wake: bool,
}

impl Tree {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let root = find(context, &client, &self.issue).await?;
        let (id, company) = (text(&root, "id"), text(&root, "companyId"));
        let path =
            format!("/companies/{company}/issues?descendantOf={id}&includeBlockedBy=true&limit={MOST}");
        let below = client.get(&path).await?;
        let nodes = Node::grown(&root, rows(&below));
        if context.global.json {
            let json = nodes.to_json();
            context.screen.answer(&json);
            return Ok(());
        }
        let directory = Directory::of_agents(&client, company).await?;
        nodes.draw(&mut context.screen, &directory, "", "");
        if let Some(gate) = hold_on(&client, &root).await? {
            let root = root_of(&client, &gate).await;
            let note = context.screen.tint(Tone::Waiting, "on hold");
            context.screen.line(&format!("{note} with the tree of {root}: bugle issue unhold {root}"));
        }
        if rows(&below).len() >= MOST {
            context.screen.note(&format!("there may be more: only {MOST} issues are drawn"));
        }
        Ok(())
    }
}

/// An issue with what is below it.
#[derive(Debug)]
struct Node<'a> {
    issue: &'a Json,
    children: Vec<Node<'a>>,
}

impl<'a> Node<'a> {
    /// Puts a tree together. What names a parent that is not there (it is hidden) hangs on the root, so that nothing is
    /// left out; nothing is drawn twice.
    fn grown(root: &'a Json, below: &'a [Json]) -> Node<'a> {
        let known: HashSet<&str> = below.iter().map(|issue| text(issue, "id")).collect();
        let mut drawn = HashSet::from([text(root, "id")]);
        let mut node = Node::of(root, below, &mut drawn);
        for issue in below {
            if !known.contains(text(issue, "parentId")) && !drawn.contains(text(issue, "id")) {
                drawn.insert(text(issue, "id"));
                let orphan = Node::of(issue, below, &mut drawn);
                node.children.push(orphan);
            }
        }
        node.children.sort_by_key(|child| number(child.issue, "issueNumber"));
        node
    }

    fn of(issue: &'a Json, below: &'a [Json], drawn: &mut HashSet<&'a str>) -> Node<'a> {
        let mut children = Vec::new();
        for child in below.iter().filter(|child| text(child, "parentId") == text(issue, "id")) {
            if drawn.insert(text(child, "id")) {
                children.push(Node::of(child, below, drawn));
            }
        }
        children.sort_by_key(|child| number(child.issue, "issueNumber"));
        Node { issue, children }
    }

    fn to_json(&self) -> Json {
        let mut issue = self.issue.clone();
        issue["children"] = self.children.iter().map(Node::to_json).collect();
        issue
    }

    fn draw(&self, screen: &mut Screen, directory: &Directory, branch: &str, below: &str) {
        let line = told(screen, self.issue, directory);
        screen.line(&format!("{branch}{line}"));
        for (at, child) in self.children.iter().enumerate() {
            let is_last = at + 1 == self.children.len();
            let (branch, rest) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            child.draw(screen, directory, &format!("{below}{branch}"), &format!("{below}{rest}"));
        }
    }
}

/// An issue of the picture: who has it, and what it waits for.
fn told(screen: &Screen, issue: &Json, directory: &Directory) -> String {
    let name = screen.tint(Tone::Strong, text(issue, "identifier"));
    let status = screen.tint(tone(text(issue, "status")), &status_with_run(issue));
    let mut line = format!("{name}  {status}  {}", one_line(text(issue, "title"), 60));
    let who = directory.assignee(issue);
    if !who.is_empty() {
        line.push_str(&format!("  ({who})"));
    }
    let open: Vec<String> = if matches!(text(issue, "status"), "done" | "cancelled") {
        Vec::new()
    } else {
        open_blockers(issue).iter().map(|it| text(it, "identifier").to_owned()).collect()
    };
    if !open.is_empty() {
        line.push_str(&screen.tint(Tone::Waiting, &format!("  waits for {}", listing(&open))));
    }
    line
}

/// Holds a tree.
pub(super) async fn hold(context: &mut Context, order: OnTree) -> Result<(), Failure> {
    operate(context, "pause", order, Map::new()).await
}

/// Cancels a tree.
pub(super) async fn cancel(context: &mut Context, order: OnTree) -> Result<(), Failure> {
    operate(context, "cancel", order, Map::new()).await
}

impl Restore {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut more = Map::new();
        if self.wake {
            more.insert("metadata".into(), json!({ "wakeAgents": true }));
        }
        operate(context, "restore", self.on, more).await
    }
}

async fn operate(
    context: &mut Context,
    mode: &str,
    order: OnTree,
    more: Map<String, Json>,
) -> Result<(), Failure> {
    let client = context.client()?;
    let root = find(context, &client, &order.issue).await?;
    let (id, name) = (text(&root, "id"), text(&root, "identifier"));
    if order.dry_run {
        let preview = previewed(&client, &root, mode).await?;
        if context.global.json {
            context.screen.answer(&preview);
        } else {
            would(&mut context.screen, &preview, mode, name);
        }
        return Ok(());
    }
    if let Some(failure) = needless(&client, &root, mode).await? {
        return Err(failure);
    }
    let mut body = more;
    body.insert("mode".into(), json!(mode));
    if let Some(reason) = &order.reason {
        body.insert("reason".into(), json!(reason));
    }
    let answer = match client.post(&format!("/issues/{id}/tree-holds"), &Json::Object(body)).await {
        Ok(answer) => answer,
        Err(failure) => return Err(explained(&client, &root, failure).await),
    };
    if context.global.json {
        context.screen.answer(&answer);
        return Ok(());
    }
    let totals = answer.pointer("/preview/totals").unwrap_or(&Json::Null);
    let issues = counted(number(totals, "affectedIssues"), "issue");
    let (running, queued) = (number(totals, "activeRuns"), number(totals, "queuedRuns"));
    let (line, next) = match mode {
        "pause" => (
            format!("{issues} on hold; stopped: {}, in the queue: {queued}", counted(running, "run")),
            format!("let it go on: bugle issue unhold {name}"),
        ),
        "cancel" => (
            format!("{issues} cancelled, with {}", counted(running + queued, "run")),
            format!("bring it back: bugle issue restore {name}"),
        ),
        _ => (format!("{issues} brought back"), format!("see: bugle issue tree {name}")),
    };
    context.screen.line(&format!("{name}: {line}"));
    context.screen.note(&next);
    Ok(())
}

async fn previewed(client: &Client, root: &Json, mode: &str) -> Result<Json, Failure> {
    let path = format!("/issues/{}/tree-control/preview", text(root, "id"));
    match client.post(&path, &json!({ "mode": mode })).await {
        Ok(preview) => Ok(preview),
        Err(failure) => Err(explained(client, root, failure).await),
    }
}

/// Says what an operation would do, issue by issue.
fn would(screen: &mut Screen, preview: &Json, mode: &str, name: &str) {
    let totals = preview.get("totals").unwrap_or(&Json::Null);
    screen.line(&format!(
        "{mode} of {name} would take {}, {} running and {} queued runs",
        counted(number(totals, "affectedIssues"), "issue"),
        number(totals, "activeRuns"),
        number(totals, "queuedRuns")
    ));
    let table = rows_at(preview, "issues")
        .iter()
        .map(|issue| (issue, String::new()))
        .chain(
            rows_at(preview, "skippedIssues")
                .iter()
                .map(|issue| (issue, format!("left out: {}", text(issue, "skipReason")))),
        )
        .filter(|(issue, why)| !why.is_empty() || issue["skipped"] != true)
        .map(|(issue, why)| {
            let status = text(issue, "status");
            vec![
                (Tone::Strong, text(issue, "identifier").to_owned()),
                (tone(status), status.to_owned()),
                (Tone::Plain, one_line(text(issue, "title"), 60)),
                (Tone::Waiting, why),
            ]
        })
        .collect();
    screen.table(&["ISSUE", "STATUS", "TITLE", ""], table);
    for warning in rows_at(preview, "warnings") {
        let message = one_line(text(warning, "message"), 200);
        let warning = screen.tint_note(Tone::Waiting, "warning:");
        screen.note(&format!("{warning} {message}"));
    }
}

/// Says so when there is nothing that an operation could take: the server would keep an empty hold.
async fn needless(client: &Client, root: &Json, mode: &str) -> Result<Option<Failure>, Failure> {
    let (id, name, company) = (text(root, "id"), text(root, "identifier"), text(root, "companyId"));
    let refused = |message: String, hint: String| {
        Ok(Some(Failure::new(Kind::Refused, "tree.nothing", message).hint(hint)))
    };
    match mode {
        "pause" => match hold_on(client, root).await? {
            Some(gate) if text(&gate, "rootIssueId") == id => refused(
                format!("{name} is on hold already"),
                format!("let it go on: bugle issue unhold {name}"),
            ),
            _ => Ok(None),
        },
        "restore" => {
            let holds = client.get(&format!("/issues/{id}/tree-holds?status=active&mode=cancel")).await?;
            if !rows(&holds).is_empty() {
                return Ok(None);
            }
            refused(
                format!("nothing was cancelled with the tree of {name}"),
                format!("take a single issue up again: bugle issue reopen {name}"),
            )
        }
        _ => {
            let is_over = matches!(text(root, "status"), "done" | "cancelled");
            let open = "backlog,todo,in_progress,in_review,blocked";
            let path = format!("/companies/{company}/issues?descendantOf={id}&status={open}&limit=1");
            if !is_over || !rows(&client.get(&path).await?).is_empty() {
                return Ok(None);
            }
            refused(
                format!("nothing of {name} is open"),
                format!("see how things are: bugle issue tree {name}"),
            )
        }
    }
}

impl Unhold {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let issue = find(context, &client, &self.issue).await?;
        let (id, name) = (text(&issue, "id"), text(&issue, "identifier"));
        // Asked first: who may not see holds would be told that there is none.
        let holds = client.get(&format!("/issues/{id}/tree-holds?status=active&mode=pause")).await?;
        let Some(gate) = hold_on(&client, &issue).await? else {
            let failure =
                Failure::new(Kind::Refused, "hold.none", format!("there is no hold on {name} or above it"));
            return Err(failure.hint(format!("what it waits for: bugle issue show {name}")));
        };
        if text(&gate, "rootIssueId") != id {
            let root = root_of(&client, &gate).await;
            let message = format!("{name} is held with the tree of {root}, not by itself");
            return Err(Failure::new(Kind::Refused, "hold.above", message)
                .hint(format!("let the whole tree go on: bugle issue unhold {root}")));
        }
        let mut body = Map::new();
        if let Some(reason) = &self.reason {
            body.insert("reason".into(), json!(reason));
        }
        let body = Json::Object(body);
        let mut released = Vec::new();
        // More than one may lie on the same issue; all of them must go for it to go on.
        for hold in rows(&holds) {
            let path = format!("/issues/{id}/tree-holds/{}/release", text(hold, "id"));
            released.push(client.post(&path, &body).await?);
        }
        if context.global.json {
            context.screen.answer(&Json::Array(released));
            return Ok(());
        }
        context.screen.line(&format!("{name} goes on, with everything below it"));
        if let Some(gate) = hold_on(&client, &issue).await? {
            let root = root_of(&client, &gate).await;
            context
                .screen
                .note(&format!("it is still held with the tree of {root}: bugle issue unhold {root}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(id: &str, parent: &str, number: i64) -> Json {
        json!({"id": id, "parentId": parent, "issueNumber": number})
    }

    fn shape(node: &Node<'_>) -> String {
        let children: Vec<String> = node.children.iter().map(shape).collect();
        format!("{}({})", text(node.issue, "id"), children.join(" "))
    }

    #[test]
    fn a_tree_holds_every_issue_once_whatever_the_order() {
        let root = issue("r", "", 1);
        let below = vec![issue("d", "b", 5), issue("c", "r", 3), issue("b", "r", 2), issue("e", "hidden", 4)];
        assert_eq!(shape(&Node::grown(&root, &below)), "r(b(d()) c() e())");
        // A circle, should one ever be sent, does not hang the command.
        let circle = vec![issue("a", "b", 2), issue("b", "a", 3)];
        assert_eq!(shape(&Node::grown(&root, &circle)), "r()");
    }
}
