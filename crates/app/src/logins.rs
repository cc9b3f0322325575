//! The keys that a person has logged in with, one for each server, in a file that only they can read.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data_dir;

/// The name of the server whose data folder this is, whatever its port is today.
pub(crate) const OF_THE_FOLDER: &str = "local";

const FILE: &str = "logins.json";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Logins {
    keys: BTreeMap<String, String>,
}

fn all(folder: &Path) -> Logins {
    let text = std::fs::read(folder.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Returns the key for a server.
pub(crate) fn read(folder: &Path, server: &str) -> Option<String> {
    all(folder).keys.remove(server)
}

/// Keeps the key for a server.
pub(crate) fn save(folder: &Path, server: &str, key: &str) -> io::Result<()> {
    let mut logins = all(folder);
    logins.keys.insert(server.to_owned(), key.to_owned());
    write(folder, &logins)
}

/// Forgets the key for a server; false: there was none.
pub(crate) fn forget(folder: &Path, server: &str) -> io::Result<bool> {
    let mut logins = all(folder);
    let was_known = logins.keys.remove(server).is_some();
    if was_known {
        write(folder, &logins)?;
    }
    Ok(was_known)
}

fn write(folder: &Path, logins: &Logins) -> io::Result<()> {
    let text = serde_json::to_string_pretty(logins).map_err(io::Error::other)?;
    data_dir::replace(&folder.join(FILE), &format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_server_has_its_key_and_only_the_owner_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), "http://a"), None);
        assert!(!forget(folder.path(), "http://a").unwrap());
        save(folder.path(), "http://a", "one").unwrap();
        save(folder.path(), OF_THE_FOLDER, "two").unwrap();
        assert_eq!(read(folder.path(), "http://a").as_deref(), Some("one"));
        assert_eq!(read(folder.path(), OF_THE_FOLDER).as_deref(), Some("two"));
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(forget(folder.path(), "http://a").unwrap());
        assert_eq!(read(folder.path(), "http://a"), None);
        std::fs::write(folder.path().join(FILE), "not json").unwrap();
        assert_eq!(read(folder.path(), OF_THE_FOLDER), None);
    }
}
