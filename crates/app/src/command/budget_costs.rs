//! `bugle budget costs`: what was spent, in all or by what it was spent on.

use clap::{Args, ValueEnum};
use serde_json::Value as Json;

use super::answer::{number, one_line, rows, text, usd};
use crate::cli::Context;
use crate::client::encoded;
use crate::failure::Failure;
use crate::screen::Tone;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Each agent
    Agent,
    /// Each model of each agent
    Model,
    /// Each model of each provider
    Provider,
    /// Each project
    Project,
}

#[derive(Debug, Args)]
pub(crate) struct Costs {
    /// What it is split by [default: not split]
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Only what was spent since
    #[arg(long, value_name = "DATE")]
    from: Option<String>,
    /// Only what was spent until
    #[arg(long, value_name = "DATE")]
    to: Option<String>,
}

impl Costs {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let report = match self.by {
            None => "summary",
            Some(By::Agent) => "by-agent",
            Some(By::Model) => "by-agent-model",
            Some(By::Provider) => "by-provider",
            Some(By::Project) => "by-project",
        };
        let mut path = format!("/companies/{company}/costs/{report}");
        let mut mark = '?';
        for (key, value) in [("from", &self.from), ("to", &self.to)] {
            if let Some(value) = value {
                path.push_str(&format!("{mark}{key}={}", encoded(value)));
                mark = '&';
            }
        }
        let costs = client.get(&path).await.map_err(|failure| {
            if failure.message.starts_with("invalid '") {
                return failure.hint("a date is written like 2026-04-01");
            }
            failure
        })?;
        if context.global.json {
            context.screen.answer(&costs);
            return Ok(());
        }
        match self.by {
            None => summary(context, &costs),
            Some(_) if rows(&costs).is_empty() => context.screen.note("nothing was spent"),
            Some(by) => split(context, by, &costs),
        }
        Ok(())
    }
}

fn summary(context: &mut Context, costs: &Json) {
    let spent = usd(number(costs, "spendCents"));
    let line = match number(costs, "budgetCents") {
        0 => format!("{spent} spent; no monthly budget is set"),
        budget => {
            let percent = costs.get("utilizationPercent").and_then(Json::as_f64).unwrap_or(0.0);
            format!("{spent} spent; {percent} % of the monthly budget of {}", usd(budget))
        }
    };
    context.screen.line(&line);
    let unknown = number(costs, "unknownPriceEvents");
    if unknown > 0 {
        context.screen.note(&format!(
            "{unknown} messages have no known price and count as $0; limit them by tokens: bugle budget set --tokens N"
        ));
    }
    context.screen.note("on what: bugle budget costs --by agent|model|provider|project");
}

fn split(context: &mut Context, by: By, costs: &Json) {
    let head: &[&str] = match by {
        By::Agent => &["AGENT", "COST", "INPUT", "CACHED", "OUTPUT", "RUNS"],
        By::Model => &["AGENT", "PROVIDER", "MODEL", "COST", "INPUT", "CACHED", "OUTPUT"],
        By::Provider => &["PROVIDER", "MODEL", "COST", "INPUT", "CACHED", "OUTPUT"],
        By::Project => &["PROJECT", "COST", "INPUT", "CACHED", "OUTPUT"],
    };
    let shown = rows(costs)
        .iter()
        .map(|row| {
            let named = |name: &str, id: &str| match text(row, name) {
                "" => text(row, id).to_owned(),
                name => one_line(name, 40),
            };
            let mut line: Vec<(Tone, String)> = match by {
                By::Agent => vec![(Tone::Strong, named("agentName", "agentId"))],
                By::Model => vec![
                    (Tone::Strong, named("agentName", "agentId")),
                    (Tone::Plain, text(row, "provider").to_owned()),
                    (Tone::Plain, text(row, "model").to_owned()),
                ],
                By::Provider => vec![
                    (Tone::Strong, text(row, "provider").to_owned()),
                    (Tone::Plain, text(row, "model").to_owned()),
                ],
                By::Project => vec![(Tone::Strong, named("projectName", "projectId"))],
            };
            line.push((Tone::Plain, usd(number(row, "costCents"))));
            for key in ["inputTokens", "cachedInputTokens", "outputTokens"] {
                line.push((Tone::Plain, number(row, key).to_string()));
            }
            if by == By::Agent {
                let runs = number(row, "apiRunCount") + number(row, "subscriptionRunCount");
                line.push((Tone::Plain, runs.to_string()));
            }
            line
        })
        .collect();
    context.screen.table(head, shown);
}
