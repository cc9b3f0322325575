//! The door for agents on other machines: a socket in the data folder, to which the line of their run leads.
//!
//! It is a file, so that its name outlives a restart of the server, and only the user of the server can open it. What comes
//! in by it has crossed another machine: nobody is known without a key there.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Opens the door of a data folder, in the place of one that an earlier server left.
pub(crate) fn open(data_dir: &Path) -> io::Result<(PathBuf, UnixListener)> {
    let path = std::path::absolute(data_dir)?.join("agents.sock");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok((path, listener))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_door_that_was_left_is_opened_again_and_only_by_its_user() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path()).unwrap());
        let (path, _listener) = open(folder.path()).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
