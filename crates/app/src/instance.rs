//! One server a data folder: the lock that says who it is, and the note that tells the command line where it listens.
//!
//! The lock is a record lock: the kernel gives it back when its process dies, however that happens, and tells who has it
//! without disturbing anybody. It is lost when its process closes *any* descriptor of the file, so the file is opened
//! once and never by a process that holds it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::process::{Flock, FlockType};
use serde::{Deserialize, Serialize};

use crate::data_dir;
use crate::doctor::Finding;

const LOCK: &str = "instance.lock";
const NOTE: &str = "server.json";

/// What the holder of a folder says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Holder {
    pub(crate) pid: i32,
    pub(crate) since: Option<String>,
    /// Known once it listens.
    pub(crate) listen: Option<SocketAddr>,
}

/// Where a server is, for the command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Note {
    pub(crate) pid: i32,
    pub(crate) listen: SocketAddr,
    pub(crate) version: String,
    pub(crate) started_at: String,
    /// It asks everybody for a key: the token of the folder is none.
    #[serde(default)]
    pub(crate) asks_for_keys: bool,
}

/// The lock of a data folder, held as long as this lives.
#[derive(Debug)]
pub(crate) struct Instance {
    file: File,
    holder: Holder,
}

impl Instance {
    /// Takes the folder, or says who has it.
    pub(crate) fn take(folder: &Path, since: &str) -> Result<Instance, Finding> {
        let path = folder.join(LOCK);
        let cannot = |error: io::Error| {
            Finding::fail(
                "instance",
                "instance.lock_failed",
                format!("cannot lock {}: {error}", path.display()),
                "use a folder on a local disk: --data-dir /some/folder",
            )
        };
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.map_err(cannot)?;
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
                return Err(taken(folder, &read_holder(file, None).unwrap_or_default()));
            }
            Err(error) => return Err(cannot(error.into())),
        }
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let mut instance =
            Instance { file, holder: Holder { pid, since: Some(since.to_owned()), listen: None } };
        instance.write().map_err(cannot)?;
        Ok(instance)
    }

    /// Adds the address to what others read about this instance.
    pub(crate) fn listens(&mut self, listen: SocketAddr) -> io::Result<()> {
        self.holder.listen = Some(listen);
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        let text = serde_json::to_string(&self.holder).expect("plain fields always serialise");
        self.file.rewind()?;
        self.file.set_len(0)?;
        writeln!(self.file, "{text}")
    }
}

/// Returns who holds a folder now. Must not be called by a process that holds it.
pub(crate) fn holder(folder: &Path) -> io::Result<Option<Holder>> {
    let file = match File::open(folder.join(LOCK)) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    match rustix::process::fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))? {
        None => Ok(None),
        Some(lock) => read_holder(file, lock.pid.map(|pid| pid.as_raw_nonzero().get())).map(Some),
    }
}

/// The kernel's word on the pid counts more than the file's: the file may still be that of the one before.
fn read_holder(mut file: File, pid: Option<i32>) -> io::Result<Holder> {
    let mut text = String::new();
    file.rewind()?;
    Read::by_ref(&mut file).take(4096).read_to_string(&mut text)?;
    let said: Holder = serde_json::from_str(&text).unwrap_or_default();
    Ok(match pid {
        Some(pid) if said.pid != pid => Holder { pid, ..Holder::default() },
        Some(_) | None => said,
    })
}

/// The folder is in use.
pub(crate) fn taken(folder: &Path, holder: &Holder) -> Finding {
    let mut message = format!("another bugle (pid {}) uses {}", holder.pid, folder.display());
    if let Some(listen) = holder.listen {
        message.push_str(&format!(", listening on http://{listen}"));
    }
    if let Some(since) = &holder.since {
        message.push_str(&format!(", since {}", crate::when::local(since)));
    }
    let fix = format!(
        "use it as it is (bugle status), stop it (kill {}), or start with another --data-dir",
        holder.pid
    );
    Finding::fail("instance", "instance.held", message, fix)
}

/// Tells the command line where this server is.
pub(crate) fn write_note(folder: &Path, note: &Note) -> io::Result<()> {
    let text = serde_json::to_string_pretty(note).expect("plain fields always serialise");
    data_dir::replace(&folder.join(NOTE), &format!("{text}\n"))
}

/// Reads where the server of a folder is, or was.
pub(crate) fn read_note(folder: &Path) -> Option<Note> {
    serde_json::from_slice(&std::fs::read(folder.join(NOTE)).ok()?).ok()
}

/// Takes the note away, if it is still that of this process.
pub(crate) fn remove_note(folder: &Path) {
    let mine = i32::try_from(std::process::id()).unwrap_or_default();
    if read_note(folder).is_some_and(|note| note.pid == mine) {
        // A note that stays names a server that does not answer: the command line copes.
        let _ = std::fs::remove_file(folder.join(NOTE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_folder_has_no_holder_and_a_taken_one_says_so_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(folder.path()).unwrap(), None);
        let mut instance = Instance::take(folder.path(), "2026-04-27T15:02:47.000Z").unwrap();
        instance.listens("127.0.0.1:4000".parse().unwrap()).unwrap();
        let said: Holder =
            serde_json::from_str(&std::fs::read_to_string(folder.path().join(LOCK)).unwrap()).unwrap();
        assert_eq!(said.pid, i32::try_from(std::process::id()).unwrap());
        assert_eq!(said.listen, Some("127.0.0.1:4000".parse().unwrap()));
    }

    #[test]
    fn a_note_is_removed_only_by_its_own_server() {
        let folder = tempfile::tempdir().unwrap();
        let note = Note {
            pid: 1,
            listen: "127.0.0.1:4000".parse().unwrap(),
            version: "0".into(),
            started_at: "2026-04-27T15:02:47.000Z".into(),
            asks_for_keys: false,
        };
        write_note(folder.path(), &note).unwrap();
        remove_note(folder.path());
        assert_eq!(read_note(folder.path()), Some(note.clone()));
        let mine = Note { pid: i32::try_from(std::process::id()).unwrap(), ..note };
        write_note(folder.path(), &mine).unwrap();
        remove_note(folder.path());
        assert_eq!(read_note(folder.path()), None);
    }
}
