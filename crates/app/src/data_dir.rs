//! The data folder: where it is, what lies in it, and the small files that are made once.
//!
//! Made with mode 0700, because logs of agents and the board token are nobody else's business. Whether a folder can be
//! used is asked here without changing it; the store and the runs inside it belong to other rooms.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use domain::ids;
use engine::{Clock, Dice, SystemClock, SystemDice};
use rand::RngCore;

use crate::doctor::Finding;

/// The embedded store.
pub(crate) const STORE: &str = "bugle.sqlite";
const NODE_ID: &str = "node-id";
const TOKEN: &str = "board.token";

/// Returns the data folder that is meant: the one given, else the one of the user.
pub(crate) fn locate(given: Option<&Path>) -> Result<PathBuf, Finding> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let refuse = |code, message: String, fix: &str| Finding::fail("data folder", code, message, fix);
    if let Some(given) = given {
        if given.as_os_str().is_empty() {
            return Err(refuse(
                "data_dir.relative",
                "the data folder is empty text".into(),
                "give an absolute path",
            ));
        }
        if !given.is_absolute() {
            let absolute = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")).join(given);
            return Err(refuse(
                "data_dir.relative",
                format!("the data folder `{}` is a relative path", given.display()),
                &format!("write it from the root: --data-dir {}", absolute.display()),
            ));
        }
        return Ok(given.to_owned());
    }
    // A relative XDG folder is to be ignored, says its specification.
    let base = var("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let base =
        base.or_else(|| var("HOME").filter(|path| path.is_absolute()).map(|home| home.join(".local/share")));
    base.map(|base| base.join("bugle")).ok_or_else(|| {
        let message = "neither XDG_DATA_HOME nor HOME names a folder".to_owned();
        refuse("data_dir.unknown", message, "say where the data goes: --data-dir /some/folder")
    })
}

/// Says whether the folder can be used; leaves everything as it was.
pub(crate) fn look(folder: &Path) -> Finding {
    const NAME: &str = "data folder";
    let shown = folder.display();
    match std::fs::metadata(folder) {
        Ok(meta) if !meta.is_dir() => Finding::fail(
            NAME,
            "data_dir.not_a_folder",
            format!("{shown} is not a folder"),
            "choose another with --data-dir, or move the file away",
        ),
        Ok(meta) => {
            let me = rustix::process::geteuid().as_raw();
            if meta.uid() != me {
                return Finding::fail(
                    NAME,
                    "data_dir.foreign_owner",
                    format!("{shown} belongs to user {}, and this is user {me}", meta.uid()),
                    format!("run bugle as that user, choose another folder, or: chown -R {me} '{shown}'"),
                );
            }
            if let Err(error) = try_out(folder) {
                return Finding::fail(
                    NAME,
                    "data_dir.not_writable",
                    format!("cannot write to {shown}: {error}"),
                    format!("chmod u+rwx '{shown}', or choose another folder with --data-dir"),
                );
            }
            if meta.mode() & 0o077 != 0 {
                return Finding::warn(
                    NAME,
                    "data_dir.open",
                    format!("{shown} is open to other users (mode {:o})", meta.mode() & 0o777),
                    format!("chmod 700 '{shown}'"),
                );
            }
            Finding::ok(NAME, shown.to_string())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_symlink() => Finding::fail(
            NAME,
            "data_dir.not_a_folder",
            format!("{shown} is a link to a folder that does not exist"),
            "make the folder it points to, or choose another with --data-dir",
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match try_to_make(folder) {
            Ok(()) => Finding::ok(NAME, format!("{shown} (will be made)")),
            Err(error) => cannot_make(folder, &error),
        },
        Err(error) => cannot_make(folder, &error),
    }
}

/// Makes the folder if it is missing, readable for its owner alone.
pub(crate) fn make(folder: &Path) -> Result<(), Finding> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| cannot_make(folder, &error))
}

fn cannot_make(folder: &Path, error: &io::Error) -> Finding {
    Finding::fail(
        "data folder",
        "data_dir.cannot_make",
        format!("cannot make {}: {error}", folder.display()),
        "choose another folder with --data-dir, or make this one yourself",
    )
}

/// Returns the id of this installation, made at the first start.
pub(crate) fn node_id(folder: &Path) -> io::Result<String> {
    made_once(&folder.join(NODE_ID), || ids::mint(SystemClock.now(), SystemDice.bytes()))
}

/// Returns the token that stands for the person at this machine, made at the first start (D19).
pub(crate) fn board_token(folder: &Path) -> io::Result<String> {
    made_once(&folder.join(TOKEN), || {
        let mut bytes = [0; 24];
        rand::rng().fill_bytes(&mut bytes);
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("bgl_board_{digits}")
    })
}

/// A token that makes the first administrator; it lives as long as the server that made it.
pub(crate) fn first_token() -> String {
    let mut bytes = [0; 24];
    rand::rng().fill_bytes(&mut bytes);
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("bgl_first_{digits}")
}

/// Reads the token without making one.
pub(crate) fn existing_board_token(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join(TOKEN)).ok()?;
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}

/// A private file that appears complete or not at all; of two that make it at once, both get the same.
fn made_once(path: &Path, make: impl FnOnce() -> String) -> io::Result<String> {
    let read = || std::fs::read_to_string(path).map(|text| text.trim().to_owned());
    match read() {
        Ok(text) if !text.is_empty() => return Ok(text),
        Ok(_) => std::fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut file = private(&draft)?;
    writeln!(file, "{}", make())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => read(),
    }
}

/// Replaces a file as a whole.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    private(&draft)?.write_all(text.as_bytes())?;
    std::fs::rename(&draft, path)
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Permission bits do not tell about read-only file systems, so a file is made and removed.
fn try_out(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".bugle-probe-{}", std::process::id()));
    private(&probe)?;
    std::fs::remove_file(&probe)
}

/// Makes and removes a folder where the first missing one would be.
fn try_to_make(folder: &Path) -> io::Result<()> {
    let mut ancestor = folder;
    while let Some(parent) = ancestor.parent() {
        match std::fs::metadata(parent) {
            Ok(meta) if meta.is_dir() => {
                let probe = parent.join(format!(".bugle-probe-{}", std::process::id()));
                std::fs::create_dir(&probe)?;
                return std::fs::remove_dir(&probe);
            }
            Ok(_) => return Err(io::Error::other(format!("{} is not a folder", parent.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => ancestor = parent,
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_relative_folder_is_refused_with_the_absolute_one_as_hint() {
        let finding = locate(Some(Path::new("data"))).unwrap_err();
        assert_eq!(finding.code, "data_dir.relative");
        assert!(finding.fix.as_deref().unwrap_or_default().contains("/data"), "{finding:?}");
        assert_eq!(locate(Some(Path::new(""))).unwrap_err().code, "data_dir.relative");
    }

    #[test]
    fn looking_at_a_missing_folder_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b/c");
        assert!(!look(&folder).stops_up);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
        make(&folder).unwrap();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_the_way_is_found_at_any_depth() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(look(&file).code, "data_dir.not_a_folder");
        assert_eq!(look(&file.join("below")).code, "data_dir.cannot_make");
    }

    #[test]
    fn files_made_once_stay_the_same_and_are_private() {
        let root = tempfile::tempdir().unwrap();
        let token = board_token(root.path()).unwrap();
        assert_eq!(board_token(root.path()).unwrap(), token);
        assert_eq!(existing_board_token(root.path()), Some(token));
        assert_eq!(root.path().join(TOKEN).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let node = node_id(root.path()).unwrap();
        assert!(ids::looks_like_id(&node), "{node}");
        assert_eq!(node_id(root.path()).unwrap(), node);
        // Torn by a crash before anything was in it.
        std::fs::write(root.path().join(NODE_ID), "").unwrap();
        assert!(ids::looks_like_id(&node_id(root.path()).unwrap()));
    }
}
