//! The small programs of this crate behind one executable, the way `bugle` runs them.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some(adapters::SCRIPTED) => adapters::scripted_main(args),
        Some(adapters::HTTP_CALL) => adapters::http_call(),
        Some(adapters::ACP_RUN) => adapters::acp_run(),
        Some(adapters::OPENCLAW_RUN) => adapters::openclaw_run(),
        other => panic!("{other:?} is not a program"),
    }
}
