//! Carrying a folder that is no repository to a host and back.
//!
//! What was sent is noted, file by file. What comes back is compared with that: a file that the run changed replaces the
//! one here only where that one is still as it was sent; else it stays, and the run's is put beside it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::digest::hex;

/// What a file was: its content, or where a link leads; and whether it can be executed.
pub(super) type Manifest = BTreeMap<String, String>;

/// What came of taking the files in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) changed: usize,
    pub(super) removed: usize,
    /// Files that both sides changed.
    pub(super) conflicts: Vec<String>,
}

/// Where files lie that both sides changed; it does not travel.
pub(super) const ASIDE: &str = ".bugle-remote";

/// Notes what is in a folder.
pub(super) fn manifest(folder: &Path) -> io::Result<Manifest> {
    let mut found = Manifest::new();
    walk(folder, Path::new(""), &mut found)?;
    Ok(found)
}

fn walk(root: &Path, below: &Path, found: &mut Manifest) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if path.as_os_str() == ASIDE {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(root, &path, found)?;
        } else if let Some(print) = fingerprint(&root.join(&path))?
            && let Some(name) = path.to_str()
        {
            found.insert(name.to_owned(), print);
        }
    }
    Ok(())
}

/// What a file is; `None`: there is none, or it is neither a file nor a link.
fn fingerprint(path: &Path) -> io::Result<Option<String>> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if meta.file_type().is_symlink() {
        return Ok(Some(format!("link {}", fs::read_link(path)?.display())));
    }
    if !meta.is_file() {
        return Ok(None);
    }
    let mut hash = Sha256::new();
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    let word = if meta.permissions().mode() & 0o100 == 0 { "file" } else { "program" };
    let digest = hex(&hash.finalize());
    Ok(Some(format!("{word} {digest}")))
}

/// Takes in what came back into `from`. Doing it again does nothing more.
pub(super) fn take_in(sent: &Manifest, from: &Path, into: &Path, aside: &Path) -> io::Result<Taken> {
    let back = manifest(from)?;
    let mut taken = Taken::default();
    for (name, theirs) in &back {
        if sent.get(name) == Some(theirs) {
            continue;
        }
        let target = into.join(name);
        let ours = fingerprint(&target)?;
        if ours.as_ref() == Some(theirs) {
            continue;
        }
        let is_ours_untouched = ours.as_ref() == sent.get(name) && !target.is_dir() && is_inside(into, name);
        if is_ours_untouched {
            put(&from.join(name), &target)?;
            taken.changed += 1;
        } else {
            put(&from.join(name), &aside.join(name))?;
            taken.conflicts.push(name.clone());
        }
    }
    for (name, was) in sent {
        if back.contains_key(name) || !is_inside(into, name) {
            continue;
        }
        let target = into.join(name);
        // What was changed here stays, though the run removed it.
        if fingerprint(&target)?.as_ref() == Some(was) {
            fs::remove_file(&target)?;
            taken.removed += 1;
        }
    }
    Ok(taken)
}

/// Whether a name leads to a place below the folder, over no link.
fn is_inside(root: &Path, name: &str) -> bool {
    let name = Path::new(name);
    if !name.components().all(|part| matches!(part, Component::Normal(_))) {
        return false;
    }
    let mut path = root.to_owned();
    for part in name.parent().into_iter().flat_map(Path::components) {
        path.push(part);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return false,
            Err(_) => return true,
        }
    }
    true
}

/// Moves a file to its place, at once and as a whole.
fn put(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let beside = beside(to);
    let _ = fs::remove_file(&beside);
    let meta = fs::symlink_metadata(from)?;
    if meta.file_type().is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from)?, &beside)?;
    } else {
        fs::copy(from, &beside)?;
    }
    fs::rename(&beside, to)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".bugle-new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(folder: &Path, name: &str) -> Option<String> {
        fs::read_to_string(folder.join(name)).ok()
    }

    #[test]
    fn what_the_run_changed_comes_back_and_what_a_person_changed_stays() {
        let root = tempfile::tempdir().unwrap();
        let (here, there, aside) =
            (root.path().join("here"), root.path().join("there"), root.path().join("aside"));
        for (name, text) in
            [("same", "1"), ("run", "1"), ("person", "1"), ("both", "1"), ("gone", "1"), ("d/kept", "1")]
        {
            write(&here, name, text);
            write(&there, name, text);
        }
        let sent = manifest(&here).unwrap();
        write(&there, "run", "2");
        write(&there, "new/file", "n");
        write(&there, "both", "theirs");
        fs::remove_file(there.join("gone")).unwrap();
        fs::remove_file(there.join("d/kept")).unwrap();
        write(&here, "person", "2");
        write(&here, "both", "ours");
        write(&here, "d/kept", "edited");
        write(&here, "mine", "m");
        let taken = take_in(&sent, &there, &here, &aside).unwrap();
        assert_eq!(taken, Taken { changed: 2, removed: 1, conflicts: vec!["both".to_owned()] });
        let now = |name: &str| read(&here, name);
        assert_eq!(now("run").as_deref(), Some("2"));
        assert_eq!(now("new/file").as_deref(), Some("n"));
        assert_eq!(now("person").as_deref(), Some("2"));
        assert_eq!(now("both").as_deref(), Some("ours"));
        assert_eq!(read(&aside, "both").as_deref(), Some("theirs"));
        assert_eq!(now("gone"), None);
        assert_eq!(now("d/kept").as_deref(), Some("edited"));
        assert_eq!(now("mine").as_deref(), Some("m"));
        let again = take_in(&sent, &there, &here, &aside).unwrap();
        assert_eq!((again.changed, again.removed), (0, 0));
    }

    #[test]
    fn nothing_is_written_over_a_link_that_leads_out_of_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let (here, there, aside, outside) = (
            root.path().join("here"),
            root.path().join("there"),
            root.path().join("aside"),
            root.path().join("outside"),
        );
        for folder in [&here, &there, &outside] {
            fs::create_dir_all(folder).unwrap();
        }
        std::os::unix::fs::symlink(&outside, here.join("link")).unwrap();
        write(&there, "link/file", "x");
        let taken = take_in(&Manifest::new(), &there, &here, &aside).unwrap();
        assert_eq!(taken.conflicts, ["link/file"]);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}
