//! Finding the file that a command names, by the rules of the shell: a name with a slash is a path, any other is looked
//! for in the folders of PATH.
//!
//! Done before the start, so that a missing program is a clear answer and not a process that ended strangely.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::adapter::AdapterError;
use crate::env::Host;

/// No file to execute.
#[derive(Debug)]
pub(crate) enum Unresolved {
    NotFound { command: String, path: String },
    NotExecutable { path: PathBuf },
    NoFile { path: PathBuf },
}

impl From<Unresolved> for AdapterError {
    fn from(unresolved: Unresolved) -> AdapterError {
        match unresolved {
            Unresolved::NotFound { command, path } => AdapterError::CommandNotFound { command, path },
            Unresolved::NotExecutable { path } => AdapterError::NotExecutable { path },
            Unresolved::NoFile { path } => AdapterError::NoFile { path },
        }
    }
}

/// Returns the program to execute on a machine: its absolute path where it can be looked for, else its name.
pub(crate) fn find_on(host: &Host, command: &str, path: &str, cwd: &Path) -> Result<String, Unresolved> {
    if host.is_elsewhere { Ok(command.to_owned()) } else { find(command, path, cwd) }
}

/// Returns the absolute path of the file to execute.
pub(crate) fn find(command: &str, path: &str, cwd: &Path) -> Result<String, Unresolved> {
    if command.contains('/') {
        let file = cwd.join(command);
        return if is_executable(&file) {
            Ok(text(&file))
        } else if !file.exists() {
            Err(Unresolved::NoFile { path: file })
        } else {
            Err(Unresolved::NotExecutable { path: file })
        };
    }
    // An empty entry of PATH means the working folder.
    let mut files = path.split(':').map(|folder| cwd.join(folder).join(command));
    files
        .find(|file| is_executable(file))
        .map(|file| text(&file))
        .ok_or_else(|| Unresolved::NotFound { command: command.to_owned(), path: path.to_owned() })
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Both parts are texts, so the whole is one.
fn text(file: &Path) -> String {
    file.to_string_lossy().into_owned()
}
