//! `bugle inbox`: what needs a person, each with the command that settles it.
//!
//! Six sources make one list: what rules gave up on (and runs of automations that came to a bad end or do not go on),
//! budgets that stopped something, gates of automations, requests of agents, what they ask on their issues, and issues
//! that are assigned to the person. Nothing is decided here.

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::answer::{number, one_line, rows, rows_at, text};
use super::approval::{asker, gist, settled_by};
use super::budget::{amount, raise, scope};
use super::directory::{Directory, short};
use super::gate::{asker as asker_of_gate, wants_answer};
use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

#[derive(Debug, Args)]
pub(crate) struct Inbox {
    #[command(subcommand)]
    order: Option<Order>,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Say that an item needs nobody any more; what it is about is not touched
    Resolve {
        /// Id of the item, or its first digits
        item: String,
    },
}

/// One thing that needs a person.
#[derive(Debug, PartialEq)]
struct Need {
    kind: String,
    what: String,
    since: String,
    settle: String,
    /// The item, where it can be put away as such.
    item: Option<String>,
    /// What the server said about it.
    of: Json,
}

impl Inbox {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        if let Some(Order::Resolve { item }) = self.order {
            return resolve(context, &client, &company, &item).await;
        }
        let needs = load(&client, &company).await?;
        if context.global.json {
            let list: Vec<Json> = needs
                .into_iter()
                .map(|need| {
                    json!({"kind": need.kind, "title": need.what, "openedAt": need.since, "settle": need.settle, "item": need.of})
                })
                .collect();
            context.screen.answer(&json!(list));
            return Ok(());
        }
        if needs.is_empty() {
            context.screen.note("nothing needs you");
            return Ok(());
        }
        for need in &needs {
            let kind = context.screen.tint(Tone::Waiting, &need.kind);
            let since = context.screen.tint(Tone::Faint, &when::local(&need.since));
            context.screen.line(&format!("{kind}  {}  {since}", need.what));
            let settle = context.screen.tint(Tone::Strong, &need.settle);
            context.screen.line(&format!("  {settle}"));
            if let Some(item) = &need.item {
                let aside = format!("or, if it needs nobody: bugle inbox resolve {item}");
                let aside = context.screen.tint(Tone::Faint, &aside);
                context.screen.line(&format!("  {aside}"));
            }
        }
        Ok(())
    }
}

/// Puts an item away.
async fn resolve(context: &mut Context, client: &Client, company: &str, typed: &str) -> Result<(), Failure> {
    let typed = typed.trim().to_ascii_lowercase();
    let items = items(client, company).await?;
    let is_meant = |item: &&Json| typed.len() >= 8 && text(item, "id").starts_with(&typed);
    let matching: Vec<&Json> = items.iter().filter(is_meant).collect();
    let [item] = matching.as_slice() else {
        return Err(Failure::usage("item.unknown", format!("`{typed}` does not name one open item"))
            .hint("see which there are: bugle inbox"));
    };
    let path = format!("/companies/{company}/inbox-items/{}/resolve", text(item, "id"));
    let resolved = client.post(&path, &json!({})).await?;
    if context.global.json {
        context.screen.answer(&resolved);
    } else {
        context.screen.line(&format!("put away: {}", one_line(text(&resolved, "title"), 100)));
    }
    Ok(())
}

/// What rules gave up on.
async fn items(client: &Client, company: &str) -> Result<Vec<Json>, Failure> {
    Ok(rows_at(&shown(client, company).await?, "items").to_vec())
}

async fn shown(client: &Client, company: &str) -> Result<Json, Failure> {
    client.get(&format!("/companies/{company}/inbox-items")).await
}

/// How many things need a person.
pub(super) async fn count(client: &Client, company: &str) -> Result<usize, Failure> {
    Ok(load(client, company).await?.len())
}

/// Everything that needs a person, newest first.
async fn load(client: &Client, company: &str) -> Result<Vec<Need>, Failure> {
    let overview = client.get(&format!("/companies/{company}/budgets/overview")).await?;
    let approvals = client.all(&format!("/companies/{company}/approvals?status=pending")).await?;
    let mine = "backlog,todo,in_progress,in_review,blocked";
    let path = format!("/companies/{company}/issues?assigneeUserId=me&status={mine}");
    let mine = client.get(&path).await?;
    let directory = Directory::of_agents(client, company).await?;
    let mut needs = Vec::new();
    let inbox = shown(client, company).await?;
    for item in rows_at(&inbox, "items") {
        let name = name_of(client, item).await;
        needs.push(of_item(item, &name));
    }
    for asked in rows_at(&inbox, "interactions") {
        let about = json!({ "entityType": "issue", "entityId": text(asked, "issueId") });
        let name = name_of(client, &about).await;
        needs.push(of_question(asked, &name, &directory));
    }
    // All of them, however many: the inbox itself shows the oldest.
    let gates = client.all(&format!("/companies/{company}/gates?kind=node")).await?;
    needs.extend(rows(&gates).iter().map(|gate| of_gate(gate, &directory)));
    let stops: Vec<&Json> = rows_at(&overview, "activeIncidents")
        .iter()
        .filter(|incident| text(incident, "thresholdType") == "hard")
        .collect();
    needs.extend(stops.iter().map(|incident| of_incident(incident)));
    let is_of_stop =
        |approval: &&Json| stops.iter().any(|stop| text(stop, "approvalId") == text(approval, "id"));
    let asked = rows(&approvals).iter().filter(|approval| !is_of_stop(approval));
    needs.extend(asked.map(|approval| of_approval(approval, &directory)));
    needs.extend(rows(&mine).iter().map(of_issue));
    needs.sort_by(|one, other| other.since.cmp(&one.since));
    Ok(needs)
}

/// The identifier of the issue that an item is about, where it is about one.
async fn name_of(client: &Client, item: &Json) -> String {
    let details = item.get("details").unwrap_or(&Json::Null);
    let known =
        ["leafIdentifier", "identifier"].iter().map(|key| text(details, key)).find(|it| !it.is_empty());
    let id = match (text(item, "entityType"), text(details, "issueId")) {
        ("issue", _) => text(item, "entityId"),
        (_, id) => id,
    };
    // In a chain the leaf is where it can be settled.
    if let Some(known) = known {
        return known.to_owned();
    }
    if id.is_empty() {
        return String::new();
    }
    match client.get(&format!("/issues/{id}")).await {
        Ok(issue) => text(&issue, "identifier").to_owned(),
        Err(_) => id.to_owned(),
    }
}

fn of_item(item: &Json, issue: &str) -> Need {
    let (kind, entity, id) = (text(item, "kind"), text(item, "entityType"), text(item, "entityId"));
    let details = item.get("details").unwrap_or(&Json::Null);
    let settle = match (kind, entity) {
        ("budget", _) => raise(details),
        ("silent_run" | "no_progress", _) => {
            format!("bugle run explain {id}, then: bugle run cancel {id}, or let it go on")
        }
        ("stuck_chain", _) => {
            format!("bugle issue show {issue}, then give it to somebody: bugle issue assign {issue} AGENT")
        }
        ("account_login", _) => format!("log the agents' program in, then: bugle account login-done {id}"),
        ("account_parked", _) => format!("bugle account show {id}, then: bugle account resume {id}"),
        ("automation_run", _) => {
            let next = match (text(details, "status"), text(item, "cause")) {
                ("paused", "run_limit") => {
                    "resume ID with a higher limit (--max-runtime-sec, --max-tokens, --max-cost-cents)"
                }
                ("paused", _) => "resume ID",
                // It asks again at the gate that nobody decided in time.
                (_, "gate_expired") => "retry ID NODE",
                _ => "recover ID",
            };
            let next = next.replace("ID", id).replace("NODE", text(details, "nodeId"));
            format!("bugle automation show {id}, then: bugle automation {next}")
        }
        ("webhook_disabled", _) => format!("bugle webhook deliveries {id}, then: bugle webhook enable {id}"),
        ("schedule_stuck", _) => {
            let name = format!("{}/{}", text(details, "automation"), text(details, "schedule"));
            format!("bugle schedule show {name}, then put right what it says; it is tried again by itself")
        }
        ("wake_loop", "issue") => {
            format!(
                "bugle issue activity {issue}, then: bugle issue comment {issue} TEXT, or bugle issue hold {issue}"
            )
        }
        (_, "issue") => {
            format!("bugle issue show {issue}, then: bugle issue reopen {issue} -m \"what to do next\"")
        }
        (_, "run") => format!("bugle run explain {id}"),
        (_, "agent") => format!("bugle agent show {id}, or stop it: bugle agent pause {id}"),
        (_, _) => format!("bugle activity --about {entity}:{id}"),
    };
    Need {
        kind: kind.to_owned(),
        what: one_line(text(item, "title"), 100),
        since: text(item, "openedAt").to_owned(),
        settle,
        item: Some(text(item, "id").to_owned()),
        of: item.clone(),
    }
}

fn of_incident(incident: &Json) -> Need {
    let metric = text(incident, "metric");
    let unit = if metric == "tokens" { "--tokens" } else { "--usd" };
    let what = format!(
        "the budget of {} is used up: {} of {}",
        scope(incident),
        amount(metric, number(incident, "amountObserved")),
        amount(metric, number(incident, "amountLimit"))
    );
    Need {
        kind: "budget_stop".to_owned(),
        what,
        since: text(incident, "createdAt").to_owned(),
        settle: format!("bugle budget resolve {} {unit} N, or --keep-paused", short(text(incident, "id"))),
        item: None,
        of: incident.clone(),
    }
}

fn of_approval(approval: &Json, directory: &Directory) -> Need {
    let gist = gist(approval);
    let gist = if gist.is_empty() { String::new() } else { format!(": {gist}") };
    Need {
        kind: "approval".to_owned(),
        what: format!("{} asks for {}{gist}", asker(approval, directory), text(approval, "type")),
        since: text(approval, "createdAt").to_owned(),
        settle: settled_by(approval),
        item: None,
        of: approval.clone(),
    }
}

fn of_question(asked: &Json, issue: &str, directory: &Directory) -> Need {
    let wants = match text(asked, "kind") {
        "ask_user_questions" => "has questions",
        "request_confirmation" => "wants a confirmation",
        "suggest_tasks" => "suggests tasks",
        _ => "asks something",
    };
    let who = match text(asked, "createdByAgentId") {
        "" => "somebody".to_owned(),
        agent => directory.agent(agent),
    };
    let about = ["title", "summary"].iter().map(|key| text(asked, key)).find(|it| !it.is_empty());
    let about = about.map_or(String::new(), |words| format!(": {}", one_line(words, 80)));
    Need {
        kind: "question".to_owned(),
        what: format!("{who} {wants} on {issue}{about}"),
        since: text(asked, "createdAt").to_owned(),
        settle: format!(
            "bugle gate show {}, then answer as it says, or: bugle issue comment {issue} TEXT",
            text(asked, "id")
        ),
        item: None,
        of: asked.clone(),
    }
}

fn of_gate(gate: &Json, directory: &Directory) -> Need {
    let id = text(gate, "id");
    let words: Vec<&str> = rows_at(gate, "decisions").iter().filter_map(Json::as_str).collect();
    let (first, others) =
        words.split_first().map_or(("approve", &[][..]), |(first, others)| (*first, others));
    let others = if others.is_empty() { String::new() } else { format!(", or {}", others.join(", ")) };
    let answer = if first == "approve" && wants_answer(gate) { " -m ANSWER" } else { "" };
    let escalated = match text(gate, "escalatedTo") {
        "" => String::new(),
        to => format!(" (escalated to {})", one_line(to, 40)),
    };
    let asks = one_line(text(gate, "title"), 80);
    Need {
        kind: "gate".to_owned(),
        what: format!("{} asks: {asks}{escalated}", asker_of_gate(gate, directory)),
        since: text(gate, "requestedAt").to_owned(),
        settle: format!("bugle gate show {id}, then: bugle gate {first} {id}{answer}{others}"),
        item: None,
        of: gate.clone(),
    }
}

fn of_issue(issue: &Json) -> Need {
    let (name, status) = (text(issue, "identifier"), text(issue, "status"));
    let settle = match status {
        "in_review" => {
            format!(
                "bugle issue show {name}, then: bugle issue done {name} -m TEXT, or bugle issue assign {name} AGENT -m TEXT"
            )
        }
        _ => format!(
            "bugle issue show {name}, then: bugle issue done {name}, or bugle issue assign {name} AGENT"
        ),
    };
    Need {
        kind: "your_issue".to_owned(),
        what: format!("{name} ({status}) is yours: {}", one_line(text(issue, "title"), 80)),
        since: text(issue, "updatedAt").to_owned(),
        settle,
        item: None,
        of: issue.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_names_the_commands_that_decide_it() {
        let gate = json!({"id": "019ab3f3-0000-4000-8000-00000000000a", "kind": "node", "title": "Publish?",
                          "automation": "notes", "runNumber": 3, "nodeId": "ok", "requestedAt": "",
                          "decisions": ["approve", "rework", "cancel"]});
        let need = of_gate(&gate, &Directory::default());
        assert_eq!(need.what, "notes #3 ok asks: Publish?");
        let id = "019ab3f3-0000-4000-8000-00000000000a";
        assert_eq!(
            need.settle,
            format!("bugle gate show {id}, then: bugle gate approve {id}, or rework, cancel")
        );
        let asked = json!({"id": id, "kind": "node", "title": "Which?", "automation": "notes", "runNumber": 3,
                           "nodeId": "draft", "requestedAt": "", "decisions": ["approve", "cancel"],
                           "wantsAnswer": true, "escalatedTo": "ann"});
        let need = of_gate(&asked, &Directory::default());
        assert_eq!(need.what, "notes #3 draft asks: Which? (escalated to ann)");
        assert!(
            need.settle.ends_with(&format!("bugle gate approve {id} -m ANSWER, or cancel")),
            "{}",
            need.settle
        );
    }

    #[test]
    fn every_item_names_the_command_that_settles_it() {
        let item = |kind: &str, entity: &str, details: Json| {
            of_item(&json!({"kind": kind, "entityType": entity, "entityId": "ID", "title": "t", "details": details}), "ACM-7")
                .settle
        };
        assert!(item("stranded_issue", "issue", json!({})).contains("bugle issue reopen ACM-7"));
        assert!(item("stuck_chain", "issue", json!({})).contains("bugle issue assign ACM-7"));
        assert!(item("wake_loop", "issue", json!({})).contains("bugle issue hold ACM-7"));
        assert!(item("wake_loop", "agent", json!({})).contains("bugle agent show ID"));
        assert!(item("silent_run", "run", json!({})).contains("bugle run cancel ID"));
        assert!(item("no_progress", "run", json!({})).contains("bugle run explain ID"));
        assert!(item("account_login", "account", json!({})).contains("bugle account login-done ID"));
        assert!(item("account_parked", "account", json!({})).contains("bugle account resume ID"));
        assert!(item("webhook_disabled", "webhook", json!({})).contains("bugle webhook enable ID"));
        let about = json!({"automation": "notes", "schedule": "nightly"});
        assert!(item("schedule_stuck", "schedule", about).starts_with("bugle schedule show notes/nightly, "));
        for (status, cause, next) in [
            ("failed", "failed", "then: bugle automation recover ID"),
            ("blocked", "blocked", "then: bugle automation recover ID"),
            (
                "paused",
                "run_limit",
                "then: bugle automation resume ID with a higher limit (--max-runtime-sec,",
            ),
            ("paused", "stale_reaped", "then: bugle automation resume ID"),
            ("cancelled", "gate_expired", "then: bugle automation retry ID ok"),
        ] {
            let about = json!({"kind": "automation_run", "entityType": "automation_run", "entityId": "ID",
                "cause": cause, "title": "t", "details": {"status": status, "nodeId": "ok"}});
            let settle = of_item(&about, "").settle;
            assert!(settle.starts_with("bugle automation show ID, ") && settle.contains(next), "{settle}");
        }
        let budget = json!({"scopeType": "company", "metric": "tokens"});
        assert_eq!(item("budget", "budget_policy", budget), "bugle budget set --tokens N");
        assert_eq!(item("of_a_later_time", "thing", json!({})), "bugle activity --about thing:ID");
    }
}
