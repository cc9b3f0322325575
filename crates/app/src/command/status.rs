//! `bugle status`: whether a server is there and well, how much is going on, and what each company has to do, to decide
//! and to pay.

use clap::Args;
use serde_json::{Value as Json, json};

use super::answer::{counted, number, one_line, rows, rows_at, text, usd};
use super::audit::meaning;
use super::inbox;
use crate::cli::Context;
use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::screen::Tone;

/// As many companies as are told of when none is named.
const MOST: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let health = client.get("/health").await?;
        let broken = health.get("auditBroken").filter(|it| !it.is_null());
        let is_well = text(&health, "status") == "ok" && broken.is_none();
        let place = client.place().base;
        // A server that is not well has more to say about that than about its companies.
        let told = if is_well { told(context, &client).await } else { Ok(Vec::new()) };
        let companies = match told {
            Ok(companies) => companies,
            // Who may not see them may still ask how the server is.
            Err(failure) if failure.kind == Kind::Refused => Vec::new(),
            Err(failure) => return Err(failure),
        };
        if context.global.json {
            let answer = json!({ "url": place, "health": health, "companies": companies });
            context.screen.answer(&answer);
        } else {
            let (tone, word) = match (is_well, broken) {
                (true, _) => (Tone::Good, "well"),
                (false, None) => (Tone::Bad, text(&health, "status")),
                (false, Some(_)) => (Tone::Bad, "not well"),
            };
            let word = context.screen.tint(tone, word);
            context.screen.line(&format!("bugle {} at {place} is {word}", text(&health, "version")));
            if let Some(broken) = broken {
                let (seq, why) = (number(broken, "seq"), meaning(text(broken, "why")));
                let words = format!("  decisions their record is broken at number {seq}: {why}");
                context.screen.line(&words);
                context.screen.note("see: bugle audit verify; what to do about it: bugle doctor");
            }
            let count = |path: &str| health.pointer(path).and_then(Json::as_u64);
            if let (Some(running), Some(slots)) = (count("/capacity/running"), count("/capacity/slots")) {
                context.screen.line(&format!("  runs      {running} under way, up to {slots} at once"));
            }
            if let Some(done) = health.pointer("/recovery/done").and_then(Json::as_bool) {
                let taken_over = count("/recovery/takenOver").unwrap_or(0);
                let failed = count("/recovery/failed").unwrap_or(0);
                let state = if done { "complete" } else { "under way" };
                let trouble = if failed > 0 { format!(", {failed} not yet") } else { String::new() };
                context.screen.line(&format!("  recovery  {state}, {taken_over} runs taken over{trouble}"));
            }
            if let Some(kind) = health.pointer("/store/kind").and_then(Json::as_str) {
                let waiting = count("/store/waiting").unwrap_or(0);
                context.screen.line(&format!("  store     {kind}, {waiting} calls waiting"));
            }
            for company in &companies {
                context.screen.line(&line(company));
                for account in rows_at(company, "parkedAccounts") {
                    let (provider, label) = (text(account, "provider"), text(account, "label"));
                    let waits = text(account, "waitsFor");
                    context.screen.line(&format!("    {provider}, {label}: {waits}"));
                }
            }
            if companies.iter().any(|company| number(company, "inbox") > 0) {
                context.screen.note("what needs you: bugle inbox");
            }
        }
        if is_well { Ok(()) } else { Err(Failure::shown(Kind::Failed, "server.unhealthy")) }
    }
}

/// What each company has to do, to decide and to pay.
async fn told(context: &Context, client: &Client) -> Result<Vec<Json>, Failure> {
    let all = client.get("/companies").await?;
    let meant = match &context.global.company {
        Some(_) => Some(context.company(client).await?),
        None => None,
    };
    let mut told = Vec::new();
    for company in rows(&all) {
        let id = text(company, "id");
        if meant.as_deref().is_some_and(|meant| meant != id) {
            continue;
        }
        if told.len() == MOST {
            break;
        }
        let glance = client.get(&format!("/companies/{id}/dashboard")).await?;
        told.push(json!({
            "id": id, "name": company["name"], "inbox": inbox::count(client, id).await?,
            "tasks": glance["tasks"], "costs": glance["costs"], "pendingApprovals": glance["pendingApprovals"], "parkedAccounts": glance["parkedAccounts"],
        }));
    }
    Ok(told)
}

/// A company in one line.
fn line(company: &Json) -> String {
    let (tasks, costs) = (&company["tasks"], &company["costs"]);
    let spent = usd(number(costs, "monthSpendCents"));
    let spent = match number(costs, "monthBudgetCents") {
        0 => format!("{spent} this month"),
        budget => format!("{spent} of {} this month", usd(budget)),
    };
    format!(
        "  {}: {} ({} in progress, {} blocked), {} for you to look at, {spent}",
        one_line(text(company, "name"), 40),
        counted(number(tasks, "open"), "open issue"),
        number(tasks, "inProgress"),
        number(tasks, "blocked"),
        number(company, "inbox")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_company_is_told_in_one_line() {
        let company = json!({"name": "Acme", "inbox": 2, "tasks": {"open": 3, "inProgress": 1, "blocked": 1},
            "costs": {"monthSpendCents": 1234, "monthBudgetCents": 5000}});
        assert_eq!(
            line(&company),
            "  Acme: 3 open issues (1 in progress, 1 blocked), 2 for you to look at, $12.34 of $50.00 this month"
        );
    }
}
