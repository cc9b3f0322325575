//! `bugle budget`: what may be spent, what was, and what happens when it is used up.
//!
//! Amounts are typed in dollars or tokens and travel in cents or tokens; nothing is rounded silently. What was spent on
//! what is `budget_costs`.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value as Json, json};

use super::answer::{number, one_line, rows_at, text, usd};
use super::budget_costs::Costs;
use super::directory::short;
use super::{agent_lookup, project};
use crate::cli::Context;
use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::screen::Tone;
use crate::when;

const EXAMPLES: &str = "\
Examples:
  bugle budget set --usd 50                         the whole company, each month
  bugle budget set --agent ada --usd 5 --warn 70
  bugle budget set --agent ada --tokens 1000000     for models whose price is not known
  bugle budget set --project site --usd 200 --window lifetime

When a budget is used up its scope is paused: running runs are stopped, queued ones held. Raising it lets both go on.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Budget {
    /// List the budgets with what was spent of them
    List,
    /// Set a budget: of an agent, of a project, else of the whole company
    Set(Set),
    /// List the warnings and stops that nobody has decided yet
    Incidents,
    /// Decide about a stop: raise the budget and go on, or keep it paused
    Resolve(Resolve),
    /// Show what was spent
    Costs(Costs),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Window {
    /// From the first of each month, in UTC
    Month,
    /// Once and for all
    Lifetime,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Of this agent, by name or id
    #[arg(long, value_name = "AGENT", conflicts_with = "project")]
    agent: Option<String>,
    /// Of this project, by name or id
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// So many dollars; 0 lifts the limit
    #[arg(long, value_name = "DOLLARS", required_unless_present = "tokens", conflicts_with = "tokens")]
    usd: Option<String>,
    /// So many tokens; 0 lifts the limit
    #[arg(long, value_name = "TOKENS")]
    tokens: Option<i64>,
    /// What the amount is for
    #[arg(long, value_enum, default_value = "month")]
    window: Window,
    /// Warn at so many percent of it [default: 80]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99))]
    warn: Option<u8>,
    /// Only warn, and never stop anything
    #[arg(long)]
    warn_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resolve {
    /// Id of the incident, or its first digits [default: the only one there is]
    incident: Option<String>,
    /// Raise the budget to so many dollars, and go on
    #[arg(long, value_name = "DOLLARS", conflicts_with_all = ["tokens", "keep_paused"])]
    usd: Option<String>,
    /// Raise the budget to so many tokens, and go on
    #[arg(long, value_name = "TOKENS", conflicts_with = "keep_paused")]
    tokens: Option<i64>,
    /// Leave it paused
    #[arg(long)]
    keep_paused: bool,
    /// Why
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl Budget {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Budget::List => list(context).await,
            Budget::Set(set) => set.run(context).await,
            Budget::Incidents => incidents(context).await,
            Budget::Resolve(resolve) => resolve.run(context).await,
            Budget::Costs(costs) => costs.run(context).await,
        }
    }
}

/// All budgets of the company that is meant, and what is open.
async fn overview(context: &Context, client: &Client) -> Result<Json, Failure> {
    client.get(&format!("/companies/{}/budgets/overview", context.company(client).await?)).await
}

async fn list(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let overview = overview(context, &client).await?;
    if context.global.json {
        context.screen.answer(&overview);
        return Ok(());
    }
    let policies = rows_at(&overview, "policies");
    if policies.is_empty() {
        context.screen.note("no budgets: nothing limits what is spent. Set one: bugle budget set --usd 50");
        return Ok(());
    }
    let shown = policies.iter().map(|policy| {
        let metric = text(policy, "metric");
        let (status, tone) = standing(policy);
        let reserved = match number(policy, "reservedAmount") {
            0 => String::new(),
            reserved => amount(metric, reserved),
        };
        let limit = match number(policy, "amount") {
            0 => "no limit".to_owned(),
            limit => amount(metric, limit),
        };
        vec![
            (Tone::Strong, scope(policy)),
            (tone, status),
            (Tone::Plain, limit),
            (Tone::Plain, amount(metric, number(policy, "observedAmount"))),
            (Tone::Plain, reserved),
            (Tone::Plain, amount(metric, number(policy, "remainingAmount"))),
            (Tone::Plain, window(text(policy, "windowKind")).to_owned()),
            (Tone::Faint, short(text(policy, "policyId"))),
        ]
    });
    context
        .screen
        .table(&["OF", "STATUS", "LIMIT", "SPENT", "RESERVED", "LEFT", "PER", "POLICY"], shown.collect());
    let open = rows_at(&overview, "activeIncidents").len();
    if open > 0 {
        context.screen.note(&format!("{open} to decide: bugle budget incidents"));
    }
    Ok(())
}

fn standing(policy: &Json) -> (String, Tone) {
    if policy["isActive"] == false {
        return ("off".to_owned(), Tone::Faint);
    }
    match (text(policy, "status"), policy["paused"] == true) {
        ("hard_stop", true) => ("used up, paused".to_owned(), Tone::Bad),
        ("hard_stop", false) => ("used up".to_owned(), Tone::Bad),
        ("warning", _) => ("nearly used up".to_owned(), Tone::Waiting),
        (status, true) => (format!("{status}, paused"), Tone::Waiting),
        (status, false) => (status.to_owned(), Tone::Good),
    }
}

/// What a policy or an incident is about: `agent ada`.
pub(super) fn scope(of: &Json) -> String {
    let name = match text(of, "scopeName") {
        "" => short(text(of, "scopeId")),
        name => one_line(name, 40),
    };
    format!("{} {name}", text(of, "scopeType"))
}

/// An amount in its unit.
pub(super) fn amount(metric: &str, value: i64) -> String {
    if metric == "tokens" { format!("{value} tokens") } else { usd(value) }
}

/// A window in a word.
pub(super) fn window(kind: &str) -> &str {
    match kind {
        "calendar_month_utc" => "month",
        kind => kind,
    }
}

/// What to type to raise the budget of a policy or an incident.
pub(super) fn raise(of: &Json) -> String {
    let whose = match text(of, "scopeType") {
        "agent" => format!("--agent {} ", word(text(of, "scopeName"), text(of, "scopeId"))),
        "project" => format!("--project {} ", word(text(of, "scopeName"), text(of, "scopeId"))),
        _ => String::new(),
    };
    let unit = if text(of, "metric") == "tokens" { "--tokens N" } else { "--usd N" };
    let window = if text(of, "windowKind") == "lifetime" { " --window lifetime" } else { "" };
    format!("bugle budget set {whose}{unit}{window}")
}

/// A name as a shell takes it, or the id where the name is no use.
pub(super) fn word(name: &str, id: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match name {
        "" => id.to_owned(),
        name if name.chars().all(is_plain) && !name.starts_with('-') => name.to_owned(),
        name if name.chars().all(|c| is_plain(c) || c == ' ') => format!("\"{name}\""),
        _ => id.to_owned(),
    }
}

/// Dollars as they were typed, in cents.
fn cents(flag: &str, typed: &str) -> Result<i64, Failure> {
    let wrong = |what: &str| {
        Failure::usage("usd.invalid", format!("{flag} {typed} {what}"))
            .hint("for example: --usd 5 or --usd 0.50")
    };
    let bare = typed.trim().trim_start_matches('$');
    let (whole, part) = bare.split_once('.').unwrap_or((bare, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && part.is_empty() || !is_digits(whole) || !is_digits(part) {
        return Err(wrong("is not an amount of dollars"));
    }
    if part.trim_end_matches('0').len() > 2 {
        return Err(wrong("is finer than a cent"));
    }
    let fraction = format!("{part:0<2}");
    let digits = format!("{whole}{}", &fraction[..2]);
    let cents = digits.parse::<i64>().ok().filter(|cents| *cents <= 1_000_000_000_000);
    cents.ok_or_else(|| wrong("is more than there is"))
}

fn tokens(typed: i64) -> Result<i64, Failure> {
    if typed < 0 {
        return Err(Failure::usage("tokens.invalid", format!("--tokens {typed} is not a number of tokens"))
            .hint("for example: --tokens 1000000"));
    }
    Ok(typed)
}

impl Set {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let (metric, limit) = match (&self.usd, self.tokens) {
            (Some(usd), _) => ("billed_cents", cents("--usd", usd)?),
            (None, count) => ("tokens", tokens(count.unwrap_or(0))?),
        };
        let client = context.client()?;
        let (scope_type, scope, company) = self.scope(context, &client).await?;
        let mut body = Map::new();
        body.insert("scopeType".into(), json!(scope_type));
        body.insert("scopeId".into(), json!(scope));
        body.insert("metric".into(), json!(metric));
        body.insert("amount".into(), json!(limit));
        let kind = match self.window {
            Window::Month => "calendar_month_utc",
            Window::Lifetime => "lifetime",
        };
        body.insert("windowKind".into(), json!(kind));
        if let Some(percent) = self.warn {
            body.insert("warnPercent".into(), json!(percent));
        }
        body.insert("hardStopEnabled".into(), json!(!self.warn_only));
        let path = format!("/companies/{company}/budgets/policies");
        let policy = client.post(&path, &Json::Object(body)).await?;
        if context.global.json {
            context.screen.answer(&policy);
            return Ok(());
        }
        let whose = scope_shown(&policy);
        if limit == 0 {
            context.screen.line(&format!("{whose}: no limit any more"));
        } else {
            let per = match self.window {
                Window::Month => "a month",
                Window::Lifetime => "in all",
            };
            let warn = number(&policy, "warnPercent");
            let spent = amount(metric, number(&policy, "observedAmount"));
            context.screen.line(&format!(
                "{whose}: {} {per}, {spent} of it spent, warns at {warn} %",
                amount(metric, limit)
            ));
        }
        if policy["paused"] == true {
            let reason = text(&policy, "pauseReason");
            context.screen.note(&format!("it is paused ({reason}); what was spent: bugle budget list"));
        }
        Ok(())
    }

    /// Whose budget it is, and the company whose policy that becomes.
    async fn scope(
        &self,
        context: &Context,
        client: &Client,
    ) -> Result<(&'static str, String, String), Failure> {
        let (kind, found) = match (&self.agent, &self.project) {
            (Some(named), _) => ("agent", agent_lookup::find(context, client, named).await?),
            (None, Some(named)) => ("project", project::find(context, client, named).await?),
            (None, None) => {
                let company = context.company(client).await?;
                return Ok(("company", company.clone(), company));
            }
        };
        Ok((kind, text(&found, "id").to_owned(), text(&found, "companyId").to_owned()))
    }
}

fn scope_shown(of: &Json) -> String {
    format!("budget of {}", scope(of))
}

async fn incidents(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let overview = overview(context, &client).await?;
    let open = rows_at(&overview, "activeIncidents");
    if context.global.json {
        context.screen.answer(&json!(open));
        return Ok(());
    }
    if open.is_empty() {
        context.screen.note("nothing to decide. The budgets: bugle budget list");
        return Ok(());
    }
    let shown = open.iter().map(|incident| {
        let metric = text(incident, "metric");
        let (what, tone) = match text(incident, "thresholdType") {
            "hard" => ("stopped", Tone::Bad),
            _ => ("warned", Tone::Waiting),
        };
        vec![
            (Tone::Strong, short(text(incident, "id"))),
            (tone, what.to_owned()),
            (Tone::Plain, scope(incident)),
            (Tone::Plain, amount(metric, number(incident, "amountLimit"))),
            (Tone::Plain, amount(metric, number(incident, "amountObserved"))),
            (Tone::Plain, window(text(incident, "windowKind")).to_owned()),
            (Tone::Faint, when::local(text(incident, "createdAt"))),
        ]
    });
    context.screen.table(&["INCIDENT", "WHAT", "OF", "LIMIT", "SPENT", "PER", "WHEN"], shown.collect());
    context.screen.note("decide: bugle budget resolve INCIDENT --usd N, or --keep-paused");
    Ok(())
}

impl Resolve {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let overview = overview(context, &client).await?;
        let incident = self.find(rows_at(&overview, "activeIncidents"))?;
        let metric = text(incident, "metric");
        let mut body = Map::new();
        match (self.raised(metric)?, self.keep_paused) {
            (Some(limit), _) => {
                body.insert("action".into(), json!("raise_budget_and_resume"));
                body.insert("amount".into(), json!(limit));
            }
            (None, true) => {
                body.insert("action".into(), json!("keep_paused"));
            }
            (None, false) => {
                let id = short(text(incident, "id"));
                let unit = if metric == "tokens" { "--tokens" } else { "--usd" };
                return Err(Failure::usage("resolve.undecided", "say what is to happen")
                    .hint(format!("bugle budget resolve {id} {unit} N, or --keep-paused")));
            }
        }
        if let Some(note) = &self.note {
            body.insert("decisionNote".into(), json!(note));
        }
        let (company, id) = (text(incident, "companyId"), text(incident, "id"));
        let path = format!("/companies/{company}/budget-incidents/{id}/resolve");
        let decided = client.post(&path, &Json::Object(body)).await.map_err(|failure| {
            if failure.message == "New budget must exceed current observed spend" {
                let spent = amount(metric, number(incident, "amountObserved"));
                return Failure { kind: Kind::Refused, ..failure }
                    .hint(format!("more than {spent} was spent already; raise it beyond that"));
            }
            failure
        })?;
        if context.global.json {
            context.screen.answer(&decided);
        } else if self.keep_paused {
            context.screen.line(&format!("{} stays paused", scope(incident)));
            context.screen.note(&format!("to let it go on later: {}", raise(incident)));
        } else {
            context
                .screen
                .line(&format!("{} goes on; what it was stopped at is woken again", scope(incident)));
        }
        Ok(())
    }

    fn find<'a>(&self, open: &'a [Json]) -> Result<&'a Json, Failure> {
        let matching: Vec<&Json> = match self.incident.as_deref().map(str::trim) {
            Some(typed) => {
                let typed = typed.to_ascii_lowercase();
                let is_meant =
                    |incident: &&Json| !typed.is_empty() && text(incident, "id").starts_with(&typed);
                open.iter().filter(is_meant).collect()
            }
            None => open.iter().filter(|incident| text(incident, "thresholdType") == "hard").collect(),
        };
        match (matching.as_slice(), &self.incident) {
            ([one], _) => Ok(*one),
            ([], Some(typed)) => {
                Err(Failure::usage("incident.unknown", format!("there is no open incident `{typed}`"))
                    .hint("see which there are: bugle budget incidents"))
            }
            ([], None) => Err(Failure::new(Kind::Refused, "incident.none", "no budget has stopped anything")
                .hint("to change a budget: bugle budget set --help")),
            (_, _) => Err(Failure::usage("incident.ambiguous", "several incidents can be meant")
                .hint("name one: bugle budget incidents")),
        }
    }

    /// The new amount, in the unit of the incident.
    fn raised(&self, metric: &str) -> Result<Option<i64>, Failure> {
        let misfit = |flag: &str, counts: &str| {
            Failure::usage("resolve.misfit", format!("{flag} does not fit: this budget counts {counts}"))
                .hint("see: bugle budget incidents")
        };
        match (&self.usd, self.tokens, metric) {
            (Some(_), _, "tokens") => Err(misfit("--usd", "tokens")),
            (Some(usd), _, _) => cents("--usd", usd).map(Some),
            (None, Some(count), "tokens") => tokens(count).map(Some),
            (None, Some(_), _) => Err(misfit("--tokens", "dollars")),
            (None, None, _) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_to_the_cent() {
        for (typed, read) in [
            ("5", Some(500)),
            ("$5", Some(500)),
            ("0.5", Some(50)),
            (".05", Some(5)),
            ("12.30", Some(1230)),
            ("12.300", Some(1230)),
            ("0", Some(0)),
            ("5.", Some(500)),
            ("0.001", None),
            ("-1", None),
            ("1e3", None),
            ("", None),
            (".", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(cents("--usd", typed).ok(), read, "{typed}");
        }
    }

    #[test]
    fn the_command_that_raises_a_budget_can_be_pasted() {
        let of = |scope: &str, name: &str, metric: &str, kind: &str| {
            raise(
                &json!({"scopeType": scope, "scopeName": name, "scopeId": "ID", "metric": metric, "windowKind": kind}),
            )
        };
        let month = "calendar_month_utc";
        assert_eq!(of("agent", "ada", "billed_cents", month), "bugle budget set --agent ada --usd N");
        assert_eq!(
            of("agent", "Slow One", "tokens", month),
            "bugle budget set --agent \"Slow One\" --tokens N"
        );
        assert_eq!(
            of("project", "$(rm)", "tokens", "lifetime"),
            "bugle budget set --project ID --tokens N --window lifetime"
        );
        assert_eq!(of("company", "Acme", "billed_cents", month), "bugle budget set --usd N");
    }
}
