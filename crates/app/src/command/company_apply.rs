//! `bugle apply`: brings a company in line with a file, and says before what that means, field by field.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value as Json, json};

use super::answer::{one_line, printable, rows, rows_at, text};
use super::confirm::{Deed, confirm};
use crate::cli::Context;
use crate::client::Client;
use crate::company_text::{self, Format};
use crate::failure::Failure;
use crate::screen::{Screen, Tone};

const EXAMPLES: &str = "\
Examples:
  bugle apply -f company.toml --dry-run        only look
  bugle apply -f company.toml
  bugle apply -f company.toml --prune          what the file does not have goes, too
  bugle apply -f company.toml --company Two --create";

/// The largest file; the server takes no larger body.
const LARGEST: u64 = 10 << 20;
/// Lines of a text that are shown of each side.
const MOST_LINES: usize = 12;
/// Characters of a value that are shown.
const LONGEST: usize = 100;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Apply {
    /// The file; - reads it from stdin
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// How it is written; else what the end of its name says, or what it looks like
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove what the file does not have, in the sections that it has; agents are terminated
    #[arg(long)]
    prune: bool,
    /// Remove without asking
    #[arg(long)]
    yes: bool,
    /// Found the company if there is none of that name
    #[arg(long)]
    create: bool,
}

impl Apply {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let document = self.read()?;
        let client = context.client()?;
        let name = self.new_name(context, &document)?;
        let place = match &name {
            Some(name) => self.place_of(&client, name).await?,
            None => Some(context.company(&client).await?),
        };
        let Some(company) = place else {
            let mut body = json!({ "document": document, "name": name, "dryRun": true });
            let planned = client.post("/companies/apply", &body).await?;
            self.show(context, &planned);
            if self.dry_run {
                return Ok(());
            }
            body["dryRun"] = json!(false);
            let done = client.post("/companies/apply", &body).await?;
            finish(context, &done, &format!("founded {}", one_line(&name.unwrap_or_default(), 80)));
            return Ok(());
        };
        let path = format!("/companies/{company}/apply");
        let mut body = json!({
            "document": document, "prune": self.prune, "dryRun": true, "keepName": name.is_some(),
        });
        let planned = client.post(&path, &body).await?;
        self.show(context, &planned);
        if self.dry_run {
            return Ok(());
        }
        if rows_at(&planned, "changes").is_empty() {
            if context.global.json {
                context.screen.answer(&planned);
            }
            return Ok(());
        }
        self.confirm(context, &planned)?;
        body["dryRun"] = json!(false);
        // What was looked at is done, or nothing.
        body["expect"] = planned["fingerprint"].clone();
        let done = client.post(&path, &body).await?;
        finish(context, &done, &counted(&done));
        Ok(())
    }

    fn read(&self) -> Result<Json, Failure> {
        let shown = self.file.display();
        let is_stdin = self.file.as_os_str() == "-";
        let unreadable = |error: std::io::Error| {
            Failure::usage("company_file.unreadable", format!("cannot read {shown}: {error}"))
                .hint("name the file, or - for stdin: bugle apply -f company.toml")
        };
        let mut bytes = Vec::new();
        if is_stdin {
            std::io::stdin().take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        } else {
            let file = std::fs::File::open(&self.file).map_err(unreadable)?;
            file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        }
        if bytes.len() as u64 > LARGEST {
            let message = format!("{shown} is larger than {} MiB", LARGEST >> 20);
            return Err(
                Failure::usage("company_file.too_large", message).hint("leave out what is no configuration")
            );
        }
        let text = String::from_utf8(bytes).map_err(|_| {
            Failure::usage("company_file.not_text", format!("{shown} is not UTF-8 text"))
                .hint("save it as UTF-8")
        })?;
        let format = self.format.or_else(|| Format::of_name(&self.file).filter(|_| !is_stdin));
        company_text::read(&text, format)
    }

    /// What a company that may be founded is called.
    fn new_name(&self, context: &Context, document: &Json) -> Result<Option<String>, Failure> {
        if !self.create {
            return Ok(None);
        }
        let said = document.pointer("/company/name").and_then(Json::as_str).map(str::to_owned);
        let name = context.global.company.clone().or(said).filter(|name| !name.trim().is_empty());
        name.map(|name| Some(name.trim().to_owned())).ok_or_else(|| {
            Failure::usage("company_file.nameless", "neither the file nor the command names the company")
                .hint("name it: bugle apply -f FILE --create --company NAME")
        })
    }

    /// The id of the company of this name; `None` where there is none.
    async fn place_of(&self, client: &Client, name: &str) -> Result<Option<String>, Failure> {
        let companies = client.get("/companies").await?;
        let is_meant = |company: &&Json| text(company, "name") == name || text(company, "id") == name;
        let found: Vec<&Json> = rows(&companies).iter().filter(is_meant).collect();
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(text(one, "id").to_owned())),
            _ => Err(Failure::usage("company.ambiguous", format!("several companies are called `{name}`"))
                .hint("name it by its id: bugle company list")),
        }
    }

    /// Shows what a plan says; as JSON, where nothing is done after it.
    fn show(&self, context: &mut Context, planned: &Json) {
        if context.global.json {
            if self.dry_run {
                context.screen.answer(planned);
            }
            return;
        }
        let screen = &mut context.screen;
        for change in rows_at(planned, "changes") {
            show_change(screen, change);
        }
        let left: Vec<String> = rows_at(planned, "left")
            .iter()
            .map(|left| format!("{} {}", text(left, "kind"), one_line(text(left, "name"), 60)))
            .collect();
        if !left.is_empty() {
            screen.note(&format!(
                "not in the file, and left as they are (--prune removes them): {}",
                left.join(", ")
            ));
        }
        if rows_at(planned, "changes").is_empty() {
            screen.line("nothing to change: the company is what the file says");
        } else if self.dry_run {
            screen.note(&format!("a dry run: nothing was changed ({})", counted(planned)));
        }
    }

    /// What goes is asked for.
    fn confirm(&self, context: &mut Context, planned: &Json) -> Result<(), Failure> {
        let going: Vec<String> = rows_at(planned, "changes")
            .iter()
            .filter(|change| takes_away(change))
            .map(|change| format!("{} {}", text(change, "kind"), one_line(text(change, "name"), 60)))
            .collect();
        if !self.prune || going.is_empty() {
            return Ok(());
        }
        let file = self.file.display();
        let deed = Deed {
            code: "company_file",
            name: "remove",
            question: format!("This removes: {}.", going.join(", ")),
            what: format!("removing {}", going.join(", ")),
            command: format!("bugle apply -f '{file}' --prune --yes"),
        };
        confirm(context, deed, self.yes)
    }
}

/// A thing goes, or a workspace or a file of one.
fn takes_away(change: &Json) -> bool {
    let loses = |field: &Json| {
        let path = text(field, "path");
        field["after"].is_null()
            && (path.starts_with("workspaces.") || path.starts_with("instructions.files."))
    };
    text(change, "action") == "remove" || rows_at(change, "fields").iter().any(loses)
}

fn finish(context: &mut Context, done: &Json, words: &str) {
    if context.global.json {
        context.screen.answer(done);
    } else {
        context.screen.note(words);
    }
}

fn counted(planned: &Json) -> String {
    let of = |action: &str| {
        rows_at(planned, "changes").iter().filter(|change| text(change, "action") == action).count()
    };
    format!("{} made, {} changed, {} removed", of("make"), of("change"), of("remove"))
}

fn show_change(screen: &mut Screen, change: &Json) {
    let (sign, tone) = match text(change, "action") {
        "make" => ("+", Tone::Good),
        "remove" => ("-", Tone::Bad),
        _ => ("~", Tone::Waiting),
    };
    let end = if sign == "-" && text(change, "kind") == "agent" { " (it is terminated)" } else { "" };
    let head = format!("{sign} {} {}{end}", text(change, "kind"), one_line(text(change, "name"), 80));
    let head = screen.tint(tone, &head);
    screen.line(&head);
    for field in rows_at(change, "fields") {
        show_field(screen, field);
    }
}

fn show_field(screen: &mut Screen, field: &Json) {
    let path = one_line(text(field, "path"), LONGEST);
    let (before, after) = (&field["before"], &field["after"]);
    let is_long = |value: &Json| value.as_str().is_some_and(|text| text.trim_end().contains('\n'));
    if is_long(before) || is_long(after) {
        screen.line(&format!("    {path}:"));
        let (gone, come) =
            different_lines(before.as_str().unwrap_or_default(), after.as_str().unwrap_or_default());
        show_lines(screen, "-", Tone::Bad, &gone);
        show_lines(screen, "+", Tone::Good, &come);
        return;
    }
    let shown = |value: &Json| one_line(&value.to_string(), LONGEST);
    let line = match (before.is_null(), after.is_null()) {
        (true, _) => format!("{path}: {}", screen.tint(Tone::Good, &shown(after))),
        (false, true) => format!("{path}: {} is taken away", screen.tint(Tone::Bad, &shown(before))),
        (false, false) => {
            let (before, after) =
                (screen.tint(Tone::Bad, &shown(before)), screen.tint(Tone::Good, &shown(after)));
            format!("{path}: {before} -> {after}")
        }
    };
    screen.line(&format!("    {line}"));
}

/// The lines between what two texts have in common at their beginnings and at their ends.
fn different_lines<'a>(before: &'a str, after: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut before, mut after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    while !before.is_empty() && before.last() == after.last() {
        before.pop();
        after.pop();
    }
    let same = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
    (before.split_off(same), after.split_off(same))
}

fn show_lines(screen: &mut Screen, sign: &str, tone: Tone, lines: &[&str]) {
    for line in lines.iter().take(MOST_LINES) {
        let cut: String = printable(line).chars().take(LONGEST).collect();
        let line = screen.tint(tone, &format!("{sign} {cut}"));
        screen.line(&format!("      {line}"));
    }
    if lines.len() > MOST_LINES {
        screen.line(&format!("      {sign} ... and {} more lines", lines.len() - MOST_LINES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_texts_the_lines_that_differ_are_shown() {
        assert_eq!(different_lines("a\nb\nc", "a\nx\ny\nc"), (vec!["b"], vec!["x", "y"]));
        assert_eq!(different_lines("", "a\nb"), (vec![], vec!["a", "b"]));
        assert_eq!(different_lines("a\na", "a\na\na"), (vec![], vec!["a"]));
    }

    #[test]
    fn a_file_of_an_agent_that_goes_is_asked_for_too() {
        let change = |path: &str, after: Json| json!({"action": "change", "fields": [{"path": path, "before": "x", "after": after}]});
        assert!(takes_away(&change("instructions.files.a.md", Json::Null)));
        assert!(takes_away(&change("workspaces.web.cwd", Json::Null)));
        assert!(!takes_away(&change("workspaces.web.cwd", json!("/x"))));
        assert!(!takes_away(&change("title", Json::Null)));
        assert!(takes_away(&json!({"action": "remove"})));
    }
}
