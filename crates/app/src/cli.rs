//! The command line: what can be typed, and the way from there to a command and an exit code.
//!
//! Each command is a file under `command/`; nothing is done here but parsing and reporting.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::client::Client;
use crate::command::{
    account, activity, agent, approval, audit, automation, backup, budget, company, company_apply,
    company_export, completions, demo, doctor, environment, gate, inbox, issue, login, logs, mcp, project,
    run, runtime_service, schedule, secret, skill, status, up, user, wake, webhook, workspace,
};
use crate::failure::Failure;
use crate::screen::Screen;
use crate::{company_choice, data_dir};

const AFTER_HELP: &str = "\
Start here:
  bugle up                                     start the server (in a terminal of its own)
  bugle agent add hello -- echo hello          add an agent: any command
  bugle wake hello --follow                    wake it and watch

Exit codes:
  0 done   1 the run, or the command, failed   2 typed wrong   3 skipped or refused
  4 no server answers   130 interrupted (the run goes on)";

/// A control plane for AI agents: wakes, runs, watches and stops them, and keeps a record you can believe.
#[derive(Debug, Parser)]
#[command(name = "bugle", version, after_help = AFTER_HELP, max_term_width = 110, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print JSON instead of text; errors are JSON on stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The company that is meant, by name or id; needed only when there are several
    #[arg(long, global = true, value_name = "COMPANY", env = "BUGLE_COMPANY")]
    pub(crate) company: Option<String>,
    /// The server [default: in a run, the one that runs it; the one of the data folder; http://127.0.0.1:3100]
    #[arg(long, global = true, value_name = "URL", env = "BUGLE_URL")]
    pub(crate) url: Option<String>,
    /// The data folder, an absolute path [default: $XDG_DATA_HOME/bugle]
    #[arg(long, global = true, value_name = "DIR", env = "BUGLE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server
    Up(up::Up),
    /// See it work: two agents, live logs, and a server that is killed in the middle
    Demo(demo::Demo),
    /// Say whether all is well, and how much is going on
    Status(status::Status),
    /// Find what keeps a server from working here, and how to fix it
    Doctor(doctor::Doctor),
    /// Add, list, show, change, pause, resume and end agents
    #[command(subcommand)]
    Agent(agent::Agent),
    /// Wake an agent
    Wake(wake::Wake),
    /// List, show, explain and cancel runs
    #[command(subcommand)]
    Run(run::Run),
    /// Print the output of a run
    Logs(logs::Logs),
    /// Make, show, change and stop issues: the work that agents do
    #[command(subcommand)]
    Issue(issue::Issue),
    /// Make, list and change projects
    #[command(subcommand)]
    Project(project::Project),
    /// Store what agents need and nobody is to read
    #[command(subcommand)]
    Secret(secret::Secret),
    /// Send events to the servers of others, and let them start automations
    #[command(subcommand)]
    Webhook(webhook::Webhook),
    /// List, show and close the folders that runs work in
    #[command(subcommand)]
    Workspace(workspace::Workspace),
    /// See and steer the logins and keys that agents share
    #[command(subcommand)]
    Account(account::Account),
    /// List, add, show and remove skills: texts that agents read when they come to work of that kind
    #[command(subcommand)]
    Skill(skill::Skill),
    /// List, add, probe and remove the machines that runs work on
    #[command(subcommand)]
    Environment(environment::Environment),
    /// List, start and stop what is kept running beside workspaces
    #[command(subcommand)]
    Service(runtime_service::RuntimeService),
    /// List, show, hold and preview what starts automations by themselves
    #[command(subcommand)]
    Schedule(schedule::Schedule),
    /// Say what may be spent, and see what was
    #[command(subcommand)]
    Budget(budget::Budget),
    /// List what needs a person, each with the command that settles it
    Inbox(inbox::Inbox),
    /// List, show and decide what agents ask for
    #[command(subcommand)]
    Approval(approval::Approval),
    /// Save, start, show and steer automations: graphs of steps, each an agent's work or a gate for people
    #[command(subcommand)]
    Automation(automation::Automation),
    /// List, show and decide what waits for a person: gates, permissions, questions
    #[command(subcommand)]
    Gate(gate::Gate),
    /// List what was done, and by whom
    Activity(activity::Activity),
    /// Make and list companies
    #[command(subcommand)]
    Company(company::Company),
    /// Write a whole company as a file: agents, budgets, projects and all that belongs to them
    Export(company_export::Export),
    /// Bring a company in line with a file; shows what that changes
    Apply(company_apply::Apply),
    /// Log in to a server that asks for a key, and let others in
    Login(login::Login),
    /// Forget the key of this server, and revoke it
    Logout(login::Logout),
    /// Say who you are to the server
    Whoami(login::Whoami),
    /// Make and list users, and say what they are in a company
    #[command(subcommand)]
    User(user::User),
    /// Make, list and revoke keys of users and agents
    #[command(subcommand)]
    Token(user::Token),
    /// Check the record of decisions, and export it
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Make a consistent copy of the store while the server runs
    Backup(backup::Backup),
    /// Serve Bugle's tools to an agent program over stdin and stdout (Model Context Protocol)
    Mcp(mcp::Mcp),
    /// Print what makes a shell complete bugle's commands
    Completions(completions::Completions),
}

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) screen: Screen,
}

impl Context {
    /// The data folder that is meant.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Failure> {
        Ok(data_dir::locate(self.global.data_dir.as_deref())?)
    }

    /// The way to the server.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let data_dir = match (&self.global.url, self.data_dir()) {
            (_, Ok(folder)) => Some(folder),
            // A server that was named needs no data folder here.
            (Some(_), Err(_)) => None,
            (None, Err(failure)) => return Err(failure),
        };
        let given = self.global.url.clone().or_else(|| match self.global.data_dir {
            // A folder that was named says where its server is.
            Some(_) => None,
            // What agents are given. Their folder is not that of the server.
            None => ["BUGLE_API_URL", "PAPERCLIP_API_URL"].iter().find_map(|name| std::env::var(name).ok()),
        });
        Client::new(given.as_deref(), data_dir)
    }

    /// The id of the company that is meant.
    pub(crate) async fn company(&self, client: &Client) -> Result<String, Failure> {
        company_choice::choose(client, self.global.company.as_deref()).await
    }
}

/// Parses what was typed, does it, and reports how it went.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let mut context = Context { screen: Screen::new(cli.global.json), global: cli.global };
    match dispatch(cli.command, &mut context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            context.screen.failure(&failure);
            failure.exit_code()
        }
    }
}

fn dispatch(command: Command, context: &mut Context) -> Result<(), Failure> {
    if let Command::Completions(completions) = command {
        completions.print(Cli::command(), &mut context.screen);
        return Ok(());
    }
    if let Command::Up(up) = command {
        return up.run(context);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::failed("runtime", format!("cannot start: {error}"))
            .hint("is the machine out of files? ulimit -n")
    })?;
    runtime.block_on(async {
        match command {
            Command::Demo(demo) => demo.run(context).await,
            Command::Status(status) => status.run(context).await,
            Command::Doctor(doctor) => doctor.run(context).await,
            Command::Agent(agent) => agent.run(context).await,
            Command::Wake(wake) => wake.run(context).await,
            Command::Run(run) => run.run(context).await,
            Command::Logs(logs) => logs.run(context).await,
            Command::Issue(issue) => issue.run(context).await,
            Command::Skill(skill) => skill.run(context).await,
            Command::Project(project) => project.run(context).await,
            Command::Secret(secret) => secret.run(context).await,
            Command::Webhook(webhook) => webhook.run(context).await,
            Command::Workspace(workspace) => workspace.run(context).await,
            Command::Account(account) => account.run(context).await,
            Command::Environment(environment) => environment.run(context).await,
            Command::Service(service) => service.run(context).await,
            Command::Schedule(schedule) => schedule.run(context).await,
            Command::Budget(budget) => budget.run(context).await,
            Command::Inbox(inbox) => inbox.run(context).await,
            Command::Approval(approval) => approval.run(context).await,
            Command::Automation(automation) => automation.run(context).await,
            Command::Gate(gate) => gate.run(context).await,
            Command::Activity(activity) => activity.run(context).await,
            Command::Company(company) => company.run(context).await,
            Command::Export(export) => export.run(context).await,
            Command::Apply(apply) => apply.run(context).await,
            Command::Login(login) => login.run(context).await,
            Command::Logout(logout) => logout.run(context).await,
            Command::Whoami(whoami) => whoami.run(context).await,
            Command::User(user) => user.run(context).await,
            Command::Token(token) => token.run(context).await,
            Command::Audit(audit) => audit.run(context).await,
            Command::Backup(backup) => backup.run(context).await,
            Command::Mcp(mcp) => mcp.run(context).await,
            Command::Up(_) | Command::Completions(_) => Ok(()),
        }
    })
}

/// What was typed cannot be understood. Scripts that asked for JSON get JSON here too.
fn refuse(error: &clap::Error) -> ExitCode {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    let wants_json = std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json");
    if !is_help && wants_json {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let failure = Failure::usage("usage", first).hint("see: bugle --help");
        Screen::new(true).failure(&failure);
        return failure.exit_code();
    }
    // Nobody to tell when the terminal is gone.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => Failure::usage("usage", "").exit_code(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_is_for() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "{} has no help", sub.get_name());
                for argument in sub.get_arguments().filter(|argument| !argument.is_hide_set()) {
                    assert!(argument.get_help().is_some(), "{} {}", sub.get_name(), argument.get_id());
                }
                check(sub);
            }
        }
        check(&Cli::command());
    }
}
