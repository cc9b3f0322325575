//! `bugle schedule`: when automations start by themselves, what became of it, and holding it.

use clap::{Args, Subcommand};
use domain::automation::calendar::Every;
use serde_json::{Value as Json, json};

use super::answer::{facts, number, one_line, rows, rows_at, section, text};
use super::directory::Shorts;
use super::keys::{self, not_empty};
use crate::cli::Context;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

const EXAMPLES: &str = "\
Examples:
  bugle schedule list                                      all schedules, and when each fires next
  bugle schedule show notes/nightly                        one of them, with what became of its last slots
  bugle schedule preview '30 2 * * *' --timezone Europe/Berlin
  bugle schedule run-now notes/nightly                     start a run with its inputs, now
  bugle schedule pause notes/nightly                       let its slots pass by until it is resumed

Schedules stand in the definition of an automation; there they are added, changed and removed. A schedule is named by its
automation and its name, by its name where only one has it, or by the first 8 digits of its id.";

/// Slots that are shown with a schedule.
const SLOTS: u32 = 10;

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Schedule {
    /// List all schedules, with their next firing and what became of the last one
    List,
    /// Show one schedule: its next firings, and what became of its last slots
    Show(Show),
    /// Start a run with the inputs of a schedule; none of its slots is used up
    RunNow(RunNow),
    /// Hold a schedule: nothing of it fires, and each slot that passes by has its row
    Pause(Named),
    /// Let a schedule go on; what was planned meanwhile is not made up for
    Resume(Named),
    /// Show when a cron expression, an interval or a schedule fires next
    Preview(Preview),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// AUTOMATION/NAME, its name alone, or the first digits of its id
    schedule: String,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    named: Named,
    /// As many of its last slots
    #[arg(long, value_name = "N", default_value_t = SLOTS, value_parser = clap::value_parser!(u32).range(1..=500))]
    slots: u32,
}

#[derive(Debug, Args)]
pub(crate) struct RunNow {
    #[command(flatten)]
    named: Named,
    /// Sent again with the same key, it gives the same run
    #[arg(long, value_name = "KEY", value_parser = not_empty)]
    idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Preview {
    /// A cron expression (`30 2 * * *`), an interval (`15m`), or a schedule
    what: String,
    /// Whose clock a cron expression means, for example Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// As many firings
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    count: u32,
    /// Those after this moment, for example 2026-03-29T00:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
}

impl Schedule {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Schedule::List => list(context).await,
            Schedule::Show(show) => show.run(context).await,
            Schedule::RunNow(run_now) => run_now.run(context).await,
            Schedule::Pause(named) => steer(context, &named.schedule, "pause").await,
            Schedule::Resume(named) => steer(context, &named.schedule, "resume").await,
            Schedule::Preview(preview) => preview.run(context).await,
        }
    }
}

async fn all(client: &Client, company: &str) -> Result<Vec<Json>, Failure> {
    Ok(rows(&client.get(&format!("/companies/{company}/schedules")).await?).to_vec())
}

/// As people name it.
fn name_of(schedule: &Json) -> String {
    format!("{}/{}", text(schedule, "automationName"), text(schedule, "name"))
}

/// The schedule that is meant.
async fn find(context: &Context, client: &Client, typed: &str) -> Result<Json, Failure> {
    let all = all(client, &context.company(client).await?).await?;
    let typed = typed.trim();
    let digits = typed.to_ascii_lowercase();
    let by_id = |it: &&Json| digits.len() >= 8 && text(it, "id").starts_with(&digits);
    let by_name = |it: &&Json| name_of(it) == typed || text(it, "name") == typed;
    let mut found: Vec<&Json> = all.iter().filter(by_name).collect();
    if found.is_empty() {
        found = all.iter().filter(by_id).collect();
    }
    match found.as_slice() {
        [one] => Ok(Json::clone(one)),
        [] => Err(Failure::usage("schedule.unknown", format!("there is no schedule `{typed}`"))
            .hint("see which there are: bugle schedule list")),
        [first, ..] => {
            let several = format!("several automations have a schedule `{typed}`");
            let hint = format!("say which automation is meant, as in {}", name_of(first));
            Err(Failure::usage("schedule.ambiguous", several).hint(hint))
        }
    }
}

async fn list(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let schedules = all(&client, &context.company(&client).await?).await?;
    if context.global.json {
        context.screen.answer(&json!(schedules));
        return Ok(());
    }
    if schedules.is_empty() {
        context
            .screen
            .note("no schedules yet: they stand in the definitions of automations (docs/schedules.md)");
        return Ok(());
    }
    let shown = schedules.iter().map(|schedule| {
        let last = schedule.get("lastSlot").unwrap_or(&Json::Null);
        vec![
            (Tone::Strong, one_line(&name_of(schedule), 60)),
            (Tone::Plain, one_line(&rule(schedule), 40)),
            (Tone::Plain, next(schedule)),
            (tone(text(last, "state")), outcome(last)),
            (
                Tone::Plain,
                match text(last, "slot") {
                    "" => String::new(),
                    slot => when::local(slot),
                },
            ),
        ]
    });
    context.screen.table(&["SCHEDULE", "WHEN", "NEXT", "LAST", "AT"], shown.collect());
    Ok(())
}

impl Show {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let mut schedule = find(context, &client, &self.named.schedule).await?;
        let path = format!("/schedules/{}/slots?limit={}", text(&schedule, "id"), self.slots);
        let slots = client.get(&path).await?;
        if context.global.json {
            schedule["slots"] = slots;
            context.screen.answer(&schedule);
            return Ok(());
        }
        show(context, &schedule);
        if rows(&slots).is_empty() {
            return Ok(());
        }
        section(&mut context.screen, "what became of its last slots");
        let runs = Shorts::of(rows(&slots), "automationRunId");
        let shown = rows(&slots).iter().map(|slot| {
            vec![
                (Tone::Plain, when::local(text(slot, "slot"))),
                (tone(text(slot, "state")), outcome(slot)),
                (
                    Tone::Plain,
                    match text(slot, "automationRunId") {
                        "" => one_line(text(slot, "detail"), 80),
                        run => runs.cut(run),
                    },
                ),
            ]
        });
        context.screen.table(&["SLOT", "WHAT", "RUN"], shown.collect());
        Ok(())
    }
}

fn show(context: &mut Context, schedule: &Json) {
    let title = context.screen.tint(Tone::Strong, &one_line(&name_of(schedule), 100));
    let next = next(schedule);
    context.screen.line(&format!("{title}  {next}"));
    let inputs = schedule.get("inputs").filter(|inputs| inputs.as_object().is_some_and(|it| !it.is_empty()));
    let missed = match text(schedule, "misfire") {
        "all" => format!("the newest {} fire", number(schedule, "maxCatchUp")),
        "one" => "the newest one fires".to_owned(),
        _ => "they are skipped".to_owned(),
    };
    let overlap = match text(schedule, "overlap") {
        "queue" => format!("a slot waits, {} at most", number(schedule, "maxCatchUp")),
        "allow" => "a slot fires beside it".to_owned(),
        _ => "a slot is skipped".to_owned(),
    };
    let waiting = match number(schedule, "waiting") {
        0 => String::new(),
        count => format!("{count} for the end of a run"),
    };
    let upcoming: Vec<&str> = rows_at(schedule, "upcoming").iter().map(|it| text(it, "local")).collect();
    facts(
        &mut context.screen,
        [
            ("id", text(schedule, "id").to_owned()),
            ("when", rule(schedule)),
            ("missed", missed),
            ("overlap", overlap),
            ("inputs", inputs.map(ToString::to_string).unwrap_or_default()),
            ("waiting", waiting),
            ("trouble", one_line(text(schedule, "trouble"), 400)),
            ("next", upcoming.join("\n")),
        ],
    );
}

impl RunNow {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let schedule = find(context, &client, &self.named.schedule).await?;
        let company = text(&schedule, "companyId");
        let runs = format!("/companies/{company}/automations/{}/runs", text(&schedule, "automationId"));
        let (body, before) = match self.idempotency_key {
            Some(key) => (json!({ "idempotencyKey": key }), keys::newest(&client, &runs).await?),
            None => (json!({}), 0),
        };
        let path = format!("/schedules/{}/run-now", text(&schedule, "id"));
        let started = client.post(&path, &body).await.map_err(keys::explained)?;
        if context.global.json {
            context.screen.answer(&started);
            return Ok(());
        }
        let (name, run) = (text(&schedule, "automationName"), text(&started, "automationRunId"));
        let count = number(&started, "number");
        let again = keys::again(count, before);
        let line = format!("run {count} of {name} is {}{again}: {run}", text(&started, "status"));
        context.screen.line(&one_line(&line, 200));
        Ok(())
    }
}

async fn steer(context: &mut Context, typed: &str, action: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let schedule = find(context, &client, typed).await?;
    let changed = client.post(&format!("/schedules/{}/{action}", text(&schedule, "id")), &json!({})).await?;
    if context.global.json {
        context.screen.answer(&changed);
    } else {
        show(context, &changed);
    }
    Ok(())
}

impl Preview {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let mut body = match self.what.trim() {
            // Nor is `@daily` a schedule: the answer says what to write instead.
            expression if expression.contains(char::is_whitespace) || expression.starts_with('@') => {
                json!({ "cron": expression })
            }
            interval if Every::parse(interval).is_ok() => json!({ "every": interval }),
            named => {
                let schedule = find(context, &client, named).await?;
                match text(&schedule, "every") {
                    "" => json!({ "cron": schedule["cron"], "timezone": schedule["timezone"] }),
                    every => json!({ "every": every }),
                }
            }
        };
        body["count"] = json!(self.count);
        if let Some(zone) = self.timezone {
            body["timezone"] = json!(zone);
        }
        if let Some(from) = self.from {
            body["from"] = json!(from);
        }
        let firings =
            client.post(&format!("/companies/{}/schedules/preview", encoded(&company)), &body).await?;
        if context.global.json {
            context.screen.answer(&firings);
            return Ok(());
        }
        for firing in rows(&firings) {
            context.screen.line(text(firing, "local"));
        }
        Ok(())
    }
}

/// When it fires, in short.
fn rule(schedule: &Json) -> String {
    match (text(schedule, "every"), text(schedule, "timezone")) {
        ("", "UTC") => text(schedule, "cron").to_owned(),
        ("", zone) => format!("{} {zone}", text(schedule, "cron")),
        (every, _) => format!("every {every}"),
    }
}

/// Its next firing, or why there is none.
fn next(schedule: &Json) -> String {
    let is_enabled = schedule.get("enabled").and_then(Json::as_bool).unwrap_or(true);
    match (text(schedule, "automationStatus"), rows_at(schedule, "upcoming").first()) {
        _ if !is_enabled => "switched off".to_owned(),
        _ if !text(schedule, "pausedAt").is_empty() => "paused".to_owned(),
        ("paused", _) => "its automation is paused".to_owned(),
        ("draft", _) => "its automation is a draft".to_owned(),
        (_, Some(first)) => text(first, "local").to_owned(),
        (_, None) if !text(schedule, "trouble").is_empty() => "stuck".to_owned(),
        (_, None) => "never".to_owned(),
    }
}

/// What became of a slot, in short.
fn outcome(slot: &Json) -> String {
    match (text(slot, "state"), text(slot, "reason")) {
        (state, "") => state.to_owned(),
        (state, reason) => format!("{state}: {reason}"),
    }
}

fn tone(state: &str) -> Tone {
    match state {
        "fired" => Tone::Good,
        "waiting" => Tone::Waiting,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_says_when_it_fires_next_or_why_it_does_not() {
        let firing = json!([{ "local": "2026-03-29 03:00 +02:00" }]);
        let rows = [
            (json!({ "automationStatus": "active", "upcoming": firing }), "2026-03-29 03:00 +02:00"),
            (
                json!({ "automationStatus": "active", "upcoming": [], "pausedAt": "2026-01-01T00:00:00Z" }),
                "paused",
            ),
            (json!({ "automationStatus": "paused", "upcoming": [] }), "its automation is paused"),
            (json!({ "automationStatus": "draft", "upcoming": [] }), "its automation is a draft"),
            (json!({ "automationStatus": "draft", "upcoming": [], "enabled": false }), "switched off"),
            (json!({ "automationStatus": "active", "upcoming": [] }), "never"),
            (
                json!({ "automationStatus": "active", "upcoming": [], "trouble": "cron: `61 * * * *` is none" }),
                "stuck",
            ),
        ];
        for (schedule, shown) in rows {
            assert_eq!(next(&schedule), shown);
        }
    }

    #[test]
    fn rules_and_outcomes_are_short() {
        let cron = |zone: &str| json!({ "cron": "30 2 * * *", "every": null, "timezone": zone });
        assert_eq!(rule(&cron("UTC")), "30 2 * * *");
        assert_eq!(rule(&cron("Europe/Berlin")), "30 2 * * * Europe/Berlin");
        assert_eq!(rule(&json!({ "every": "15m", "timezone": "UTC" })), "every 15m");
        assert_eq!(outcome(&json!({ "state": "skipped", "reason": "misfire" })), "skipped: misfire");
        assert_eq!(outcome(&json!({ "state": "fired", "reason": null })), "fired");
        assert_eq!(outcome(&Json::Null), "");
    }
}
