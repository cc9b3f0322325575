//! The `bugle` program: the server, its command line, and the small programs it runs as children.
//!
//! Decides first which of these it is. A keeper and the small programs beside it must be small and have one thread, so they
//! branch off before anything else exists: no argument parser, no runtime, no TLS. Everything else is in `command/`.

mod cli;
mod client;
mod command;
mod company_choice;
mod company_text;
mod config;
mod data_dir;
mod doctor;
mod door;
mod events;
mod failure;
mod follow;
mod instance;
mod logins;
mod reachable;
mod run_view;
mod screen;
mod store_look;
mod when;

use std::path::Path;
use std::process::ExitCode;

/// The first argument under which this program becomes a keeper.
const KEEP: &str = "keep";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(first) if first == KEEP => {
            let Some(folder) = args.next() else { return ExitCode::from(keeper::SETUP_EXIT) };
            keeper::keep_main(Path::new(&folder))
        }
        Some(first) if first == adapters::SCRIPTED => {
            adapters::scripted_main(args.map(|arg| arg.to_string_lossy().into_owned()))
        }
        Some(first) if first == adapters::HTTP_CALL => adapters::http_call(),
        Some(first) if first == adapters::ACP_RUN => adapters::acp_run(),
        Some(first) if first == adapters::OPENCLAW_RUN => adapters::openclaw_run(),
        _ => cli::main(),
    }
}
