//! What people do to runs of automations that are there: stop them, have them go on, and have steps made again.

use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::answer::{counted, number, printable, rows_at, text};
use super::automation::{differ, done_with, find_run, unknown};
use super::automation_inputs::fields;
use super::keys::not_empty;
use crate::cli::Context;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::screen::Tone;

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Id of the run, or its first digits
    #[arg(value_parser = not_empty)]
    run: String,
    /// Why; it stays on record
    #[arg(long, short = 'm', value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct About {
    /// Id of the run, or its first digits
    #[arg(value_parser = not_empty)]
    run: String,
    /// Why; it stays on record
    #[arg(long, short = 'm', value_name = "TEXT")]
    reason: Option<String>,
    /// Say what would be made again, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// Id of a run or its first digits, or the name of an automation
    #[arg(value_parser = not_empty)]
    what: String,
    /// Why; it stays on record
    #[arg(long, short = 'm', value_name = "TEXT")]
    reason: Option<String>,
    /// Let the steps under way end by themselves
    #[arg(long)]
    drain: bool,
    /// Of an automation: pause its runs, too, and not only what would start
    #[arg(long)]
    runs: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// Id of a run or its first digits, or the name of an automation
    #[arg(value_parser = not_empty)]
    what: String,
    /// Why; it stays on record
    #[arg(long, short = 'm', value_name = "TEXT")]
    reason: Option<String>,
    /// Time at work that the run may take from here on, in all
    #[arg(long, value_name = "SECONDS")]
    max_runtime_sec: Option<u64>,
    /// Tokens that it may use, in all
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    /// Money that it may cost, in all
    #[arg(long, value_name = "CENTS")]
    max_cost_cents: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct OfNode {
    /// Id of the run, or its first digits
    #[arg(value_parser = not_empty)]
    run: String,
    /// The step
    #[arg(value_parser = not_empty)]
    node: String,
    /// Why; the step's next attempt is told it
    #[arg(long, short = 'm', value_name = "TEXT")]
    reason: Option<String>,
    /// Say what would be made again, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// Id of the run, or its first digits
    #[arg(value_parser = not_empty)]
    run: String,
    /// The step
    #[arg(value_parser = not_empty)]
    node: String,
    /// Another objective
    #[arg(long, value_name = "TEXT")]
    objective: Option<String>,
    /// Another agent
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Any field of the step; the value is JSON, null takes the field out
    #[arg(long = "set", value_name = "FIELD=JSON")]
    fields: Vec<String>,
    /// Why; the step's next attempt is told it
    #[arg(long, short = 'm', value_name = "TEXT")]
    reason: Option<String>,
    /// Say what would be changed and made again, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Pause {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let body = json!({ "reason": self.reason, "drain": self.drain, "runs": self.runs });
        of_either(context, &self.what, "pause", body).await
    }
}

impl Resume {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut limits = Map::new();
        for (name, value) in [
            ("maxRuntimeSec", self.max_runtime_sec),
            ("maxTokens", self.max_tokens),
            ("maxCostCents", self.max_cost_cents),
        ] {
            limits.extend(value.map(|value| (name.to_owned(), json!(value))));
        }
        let mut body = json!({ "reason": self.reason });
        if !limits.is_empty() {
            body["limits"] = Json::Object(limits);
        }
        of_either(context, &self.what, "resume", body).await
    }
}

impl Cancel {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        operate(context, &self.run, None, "cancel", self.reason, false).await
    }
}

impl About {
    pub(super) async fn recover(self, context: &mut Context) -> Result<(), Failure> {
        operate(context, &self.run, None, "recover", self.reason, self.dry_run).await
    }
}

impl OfNode {
    pub(super) async fn run(self, context: &mut Context, operation: &str) -> Result<(), Failure> {
        operate(context, &self.run, Some(self.node), operation, self.reason, self.dry_run).await
    }
}

impl Repair {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut patch = fields(&self.fields)?;
        for (name, value) in [("objective", &self.objective), ("agent", &self.agent)] {
            let Some(value) = value else { continue };
            if patch.insert(name.to_owned(), json!(value)).is_some() {
                let message = format!("{name} is given twice: with --{name} and with --set");
                return Err(Failure::usage("usage", message).hint("give it once"));
            }
        }
        if patch.is_empty() {
            let as_it_is = format!("bugle automation retry {} {}", self.run, self.node);
            let message = "a repair changes the step, and no change is given";
            return Err(Failure::usage("automation.no_change", message)
                .hint(format!("give --objective, --agent or --set; as it is: {as_it_is}")));
        }
        let client = context.client()?;
        let found = the_run(context, &client, &self.run).await?;
        if self.dry_run {
            let changes = changes(&found, &self.node, &patch);
            return preview(context, &client, (&found, "repair", Some(&self.node)), &changes).await;
        }
        let body = json!({ "nodeId": self.node, "patch": patch, "reason": self.reason });
        let after = client.post(&format!("/automation-runs/{}/repair", text(&found, "id")), &body).await;
        let after = after.map_err(|failure| helped(failure, &found))?;
        let words = format!("{} is made again in this run; the automation stays as it is", self.node);
        done_with(context, &after, &words);
        Ok(())
    }
}

/// What a repair would change of a step, as it is told of definitions.
fn changes(run: &Json, node: &str, patch: &Map<String, Json>) -> Vec<Json> {
    let nodes = rows_at(&run["definition"], "nodes");
    let now = nodes.iter().find(|it| text(it, "id") == node).unwrap_or(&Json::Null);
    let differs = patch.iter().filter(|(field, value)| now[field.as_str()] != **value);
    let told = |field: &str, value: &Json| json!({ "path": field, "before": now[field], "after": value });
    differs.map(|(field, value)| told(field, value)).collect()
}

async fn the_run(context: &Context, client: &Client, typed: &str) -> Result<Json, Failure> {
    find_run(context, client, typed).await?.ok_or_else(|| {
        Failure::usage("automation_run.unknown", format!("there is no automation run `{typed}`"))
            .hint("see which there are: bugle automation runs")
    })
}

/// Asks something of a run, or of an automation when there is no such run.
async fn of_either(context: &mut Context, what: &str, operation: &str, body: Json) -> Result<(), Failure> {
    let client = context.client()?;
    let mut body = body;
    let runs = body.as_object_mut().and_then(|body| body.remove("runs")).is_some_and(|runs| runs == true);
    if let Some(run) = find_run(context, &client, what).await? {
        let path = format!("/automation-runs/{}/{operation}", text(&run, "id"));
        let after = client.post(&path, &body).await.map_err(|failure| helped(failure, &run))?;
        let words = format!("the run is {}", text(&after, "status"));
        done_with(context, &after, &words);
        return Ok(());
    }
    let company = context.company(&client).await?;
    let path = format!("/companies/{company}/automations/{}/{operation}", encoded(what));
    let mut asked = json!({ "reason": body["reason"] });
    if runs {
        asked["runs"] = json!(true);
        asked["drain"] = body["drain"].clone();
    }
    let after = client.post(&path, &asked).await.map_err(unknown(what))?;
    let words = format!("{} is {}", printable(text(&after, "name")), text(&after, "status"));
    done_with(context, &after, &words);
    Ok(())
}

async fn operate(
    context: &mut Context,
    run: &str,
    node: Option<String>,
    operation: &str,
    reason: Option<String>,
    dry_run: bool,
) -> Result<(), Failure> {
    let client = context.client()?;
    let found = the_run(context, &client, run).await?;
    let id = text(&found, "id").to_owned();
    if dry_run {
        return preview(context, &client, (&found, operation, node.as_deref()), &[]).await;
    }
    let mut body = json!({ "reason": reason });
    if let Some(node) = node {
        body["nodeId"] = json!(node);
    }
    let after = client.post(&format!("/automation-runs/{id}/{operation}"), &body).await;
    let after = after.map_err(|failure| helped(failure, &found))?;
    let is_cancelling = !text(&after, "cancelRequestedAt").is_empty();
    let words = match is_cancelling {
        true => "the run is cancelling: what is under way is being stopped".to_owned(),
        false => format!("the run is {}", text(&after, "status")),
    };
    done_with(context, &after, &words);
    Ok(())
}

/// Says what an operation would change and make again.
async fn preview(
    context: &mut Context,
    client: &Client,
    (run, operation, node): (&Json, &str, Option<&str>),
    changes: &[Json],
) -> Result<(), Failure> {
    let of = node.map(|node| format!("&nodeId={}", encoded(node))).unwrap_or_default();
    let path = format!("/automation-runs/{}/reset-preview?operation={operation}{of}", text(run, "id"));
    let preview = client.get(&path).await.map_err(|failure| helped(failure, run))?;
    if context.global.json {
        context.screen.answer(&preview);
        return Ok(());
    }
    for change in changes {
        differ(&mut context.screen, change);
    }
    if !changes.is_empty() {
        context.screen.note("the change itself is checked when it is made");
    }
    let lost = rows_at(&preview, "nodes");
    let is_allowed = rows_at(run, "allowedActions").iter().any(|allowed| allowed == operation);
    let shown = lost.iter().map(|lost| {
        let output = if lost["hasOutput"] == Json::Bool(true) { "is lost" } else { "none" };
        let begins = if lost["isTarget"] == Json::Bool(true) { "begins here" } else { "" };
        vec![
            (Tone::Strong, printable(text(lost, "nodeId"))),
            (Tone::Plain, text(lost, "state").to_owned()),
            (Tone::Plain, output.to_owned()),
            (Tone::Faint, begins.to_owned()),
        ]
    });
    if lost.is_empty() && is_allowed {
        context.screen.line("no step would be made again: the run would go on where it was");
    } else {
        context.screen.table(&["STEP", "NOW", "OUTPUT", ""], shown.collect());
    }
    if is_allowed && text(run, "status") == "paused" {
        context.screen.note("the run is paused: it would go on as a whole");
    }
    if !is_allowed {
        let status = text(run, "status");
        context.screen.note(&format!("it would be refused now: the run is {status}"));
    }
    Ok(())
}

/// Names the command that helps when a run refused something.
fn helped(failure: Failure, run: &Json) -> Failure {
    let id = text(run, "id");
    if failure.message == "There is no such node" {
        return failure.hint(format!("see its steps: bugle automation show {id}"));
    }
    let details = failure.details.as_deref().unwrap_or(&Json::Null);
    let more = match text(details, "limit") {
        "maxRuntimeSec" => Some(("--max-runtime-sec", format!("{} s", number(run, "workedMs") / 1000))),
        "maxTokens" => Some(("--max-tokens", counted(number(run, "totalTokens"), "token"))),
        "maxCostCents" => Some(("--max-cost-cents", counted(number(run, "costCents"), "cent"))),
        _ => None,
    };
    if let Some((option, used)) = more {
        return failure.hint(format!(
            "it has used {used}; give it more in all: bugle automation resume {id} {option} N"
        ));
    }
    if !details["allowedActions"].is_array() {
        return failure;
    }
    let allowed: Vec<&str> = rows_at(details, "allowedActions").iter().filter_map(Json::as_str).collect();
    // One that needs no step to be named can be printed whole.
    let whole = allowed.iter().find(|it| matches!(**it, "pause" | "resume" | "cancel" | "recover"));
    let (now, typed) = (allowed.join(", "), whole.unwrap_or(&"show"));
    let hint = match now.is_empty() {
        true => format!("see how it stands: bugle automation show {id}"),
        false => format!("it takes now: {now} (bugle automation {typed} {id})"),
    };
    failure.hint(hint)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn refused(message: &str, details: Json) -> Failure {
        Failure::usage("conflict", message).hint("before").details(Some(details))
    }

    #[test]
    fn a_refusal_of_a_run_names_what_it_takes() {
        let run = json!({ "id": "R", "workedMs": 12_400, "totalTokens": 1, "costCents": 30 });
        let hint = |message: &str, details: Json| helped(refused(message, details), &run).hint.unwrap();
        assert_eq!(hint("x", json!(null)), "before");
        for (limit, words) in [
            ("maxRuntimeSec", ["12 s", "--max-runtime-sec"]),
            ("maxTokens", ["1 token", "--max-tokens"]),
            ("maxCostCents", ["30 cents", "--max-cost-cents"]),
        ] {
            let said = hint("x", json!({ "limit": limit, "allowedActions": ["resume"] }));
            assert!(words.iter().all(|word| said.contains(word)) && said.contains("resume R"), "{said}");
        }
        let said = hint("x", json!({ "allowedActions": ["repair", "cancel"] }));
        assert!(said.contains("repair, cancel") && said.contains("bugle automation cancel R"), "{said}");
        let said = hint("x", json!({ "allowedActions": ["repair", "retry"] }));
        assert!(said.contains("bugle automation show R"), "{said}");
        assert!(hint("x", json!({ "allowedActions": [] })).contains("bugle automation show R"));
        assert!(hint("There is no such node", json!({ "allowedActions": ["retry"] })).contains("its steps"));
    }

    #[test]
    fn a_repair_is_told_by_the_fields_that_become_others() {
        let run = json!({ "definition": { "nodes": [
            { "id": "a" }, { "id": "b", "agent": "Ada", "objective": "write", "repeatable": false },
        ] } });
        let patch = json!({ "agent": "Bob", "objective": "write", "repeatable": null, "kind": "test" });
        let told = changes(&run, "b", patch.as_object().unwrap());
        let expected = [
            json!({ "path": "agent", "before": "Ada", "after": "Bob" }),
            json!({ "path": "kind", "before": null, "after": "test" }),
            json!({ "path": "repeatable", "before": false, "after": null }),
        ];
        let sorted: BTreeMap<&str, &Json> = told.iter().map(|it| (text(it, "path"), it)).collect();
        assert_eq!(sorted.into_values().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    }
}
