//! The keeper process by itself, as the program runs it in its keeper mode.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(folder) => keeper::keep_main(Path::new(&folder)),
        None => ExitCode::FAILURE,
    }
}
