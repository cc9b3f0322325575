//! A folder of instructions on this machine, which people named: looked into within bounds, and never out of.
//!
//! Whatever lies below it may be a link, made by an agent that works in it. A path counts by where it leads: out of the
//! folder, into something hidden, or into what is Bugle's own, is refused. Everything here blocks.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use domain::instructions::{self, LARGEST_FILE, MOST_FILES};
use rustix::fs::OFlags;

/// As many names are looked at for a list.
const LOOKED_AT: usize = 2_000;
/// Folders of programs, in which nobody keeps instructions.
const SKIPPED: [&str; 1] = ["node_modules"];

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderError {
    #[error("there is no such file")]
    Missing,
    #[error("the folder is not there")]
    NoFolder,
    #[error("it leads out of the folder of the instructions, or into hidden files")]
    Outside,
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it is larger than {} KiB", LARGEST_FILE / 1024)]
    TooLarge,
    #[error("it is not text in UTF-8")]
    NotText,
    #[error("it cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// A folder that is there.
#[derive(Debug)]
pub(super) struct Folder {
    /// Without links.
    root: PathBuf,
    /// What is Bugle's own.
    ours: PathBuf,
}

/// What is in a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Paths and sizes, by path.
    pub(super) files: Vec<(String, u64)>,
    /// There is more than is shown.
    pub(super) is_cut: bool,
}

impl Folder {
    pub(super) fn open(root: &Path, ours: &Path) -> Result<Folder, FolderError> {
        let root = fs::canonicalize(root).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FolderError::NoFolder,
            _ => FolderError::Io(error),
        })?;
        let ours = fs::canonicalize(ours).unwrap_or_else(|_| ours.to_owned());
        if root.starts_with(&ours) {
            return Err(FolderError::Outside);
        }
        if root.is_dir() { Ok(Folder { root, ours }) } else { Err(FolderError::NoFolder) }
    }

    /// Whether a path without links is one of the folder.
    fn holds(&self, real: &Path) -> bool {
        let Ok(rest) = real.strip_prefix(&self.root) else { return false };
        let is_plain = |part: Component<'_>| match part {
            Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
            _ => false,
        };
        rest.components().all(is_plain) && !real.starts_with(&self.ours)
    }

    /// Where a file really lies.
    pub(super) fn find(&self, path: &str) -> Result<PathBuf, FolderError> {
        let real = fs::canonicalize(self.root.join(path)).map_err(missing)?;
        if !self.holds(&real) {
            return Err(FolderError::Outside);
        }
        if fs::symlink_metadata(&real)?.is_file() { Ok(real) } else { Err(FolderError::NotAFile) }
    }

    /// What a file says.
    pub(super) fn read(&self, path: &str) -> Result<String, FolderError> {
        let real = self.find(path)?;
        // Something else may be in its place by now: that is neither followed nor waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(real).map_err(missing)?;
        if !file.metadata()?.is_file() {
            return Err(FolderError::NotAFile);
        }
        let mut bytes = Vec::new();
        file.take(LARGEST_FILE as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > LARGEST_FILE {
            return Err(FolderError::TooLarge);
        }
        String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or(FolderError::NotText)
    }

    /// Lists the files, as many as are shown.
    pub(super) fn list(&self) -> Result<Listing, FolderError> {
        let mut listing = Listing::default();
        let mut looked_at = 0;
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.root.join(&folder))? {
                looked_at += 1;
                if looked_at > LOOKED_AT {
                    listing.is_cut = true;
                    folders.clear();
                    break;
                }
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
                // In its one spelling it is itself, or it could not be asked for.
                if instructions::path(&path).as_deref() != Ok(path.as_str()) {
                    continue;
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if !SKIPPED.contains(&name.as_str()) {
                        folders.push(path);
                    }
                } else if let Ok(real) = self.find(&path) {
                    listing.files.push((path, fs::metadata(real).map_or(0, |data| data.len())));
                }
            }
        }
        listing.files.sort();
        if listing.files.len() > MOST_FILES {
            listing.files.truncate(MOST_FILES);
            listing.is_cut = true;
        }
        Ok(listing)
    }

    /// The file says this when it returns, or what it said before.
    pub(super) fn write(&self, path: &str, text: &str) -> Result<(), FolderError> {
        let target = match fs::symlink_metadata(self.root.join(path)) {
            // A link stays one: what it leads to is written.
            Ok(_) => self.find(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.new_file(path)?,
            Err(error) => return Err(error.into()),
        };
        let folder = target.parent().ok_or(FolderError::Outside)?;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!(".bugle-new-{}-{number}", std::process::id()));
        let written = put(&temporary, text, &target);
        if written.is_err() {
            // What is left of it is hidden, and nobody's loss.
            let _ = fs::remove_file(&temporary);
        }
        Ok(written?)
    }

    /// Where a new file is to lie; its folders are there when it returns.
    fn new_file(&self, path: &str) -> Result<PathBuf, FolderError> {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut at = self.root.clone();
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            let next = at.join(part);
            match fs::create_dir(&next) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
            at = fs::canonicalize(next).map_err(missing)?;
            if !self.holds(&at) {
                return Err(FolderError::Outside);
            }
        }
        Ok(at.join(name))
    }

    /// Removes a file; of a link the link.
    pub(super) fn remove(&self, path: &str) -> Result<(), FolderError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = fs::canonicalize(self.root.join(folder)).map_err(missing)?;
        if !self.holds(&folder) {
            return Err(FolderError::Outside);
        }
        let file = folder.join(name);
        if fs::symlink_metadata(&file).map_err(missing)?.is_dir() {
            return Err(FolderError::NotAFile);
        }
        fs::remove_file(file).map_err(missing)
    }
}

/// Writes beside, then moves into place, with the rights of the file before.
fn put(temporary: &Path, text: &str, target: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(temporary)?;
    file.write_all(text.as_bytes())?;
    if let Ok(before) = fs::metadata(target) {
        file.set_permissions(before.permissions())?;
    }
    file.sync_all()?;
    fs::rename(temporary, target)
}

fn missing(error: io::Error) -> FolderError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FolderError::Missing,
        _ => FolderError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder with instructions, beside one with what is nobody's business.
    fn place() -> (tempfile::TempDir, Folder) {
        let base = tempfile::tempdir().unwrap();
        let (root, ours) = (base.path().join("root"), base.path().join("ours"));
        for folder in [root.join("docs"), root.join(".git"), ours.clone(), base.path().join("other")] {
            fs::create_dir_all(folder).unwrap();
        }
        for (path, text) in [
            ("root/AGENTS.md", "Be brief."),
            ("root/docs/style.md", "Short lines."),
            ("root/.git/config", "hush"),
            ("other/key", "hush"),
            ("ours/key", "hush"),
        ] {
            fs::write(base.path().join(path), text).unwrap();
        }
        let folder = Folder::open(&root, &ours).unwrap();
        (base, folder)
    }

    #[test]
    fn what_lies_in_the_folder_is_listed_read_and_written() {
        let (base, folder) = place();
        symlink("AGENTS.md", base.path().join("root/CLAUDE.md")).unwrap();
        let names = |folder: &Folder| -> Vec<String> {
            folder.list().unwrap().files.into_iter().map(|(path, _)| path).collect()
        };
        assert_eq!(names(&folder), ["AGENTS.md", "CLAUDE.md", "docs/style.md"]);
        assert_eq!(folder.read("CLAUDE.md").unwrap(), "Be brief.");
        folder.write("CLAUDE.md", "Be thorough.").unwrap();
        folder.write("new/deep/a.md", "x").unwrap();
        // The link is one still.
        assert!(fs::symlink_metadata(base.path().join("root/CLAUDE.md")).unwrap().is_symlink());
        assert_eq!(folder.read("AGENTS.md").unwrap(), "Be thorough.");
        folder.remove("CLAUDE.md").unwrap();
        assert_eq!(names(&folder), ["AGENTS.md", "docs/style.md", "new/deep/a.md"]);
        assert!(matches!(folder.remove("gone.md"), Err(FolderError::Missing)));
        assert!(matches!(folder.read("docs"), Err(FolderError::NotAFile)));
    }

    #[test]
    fn no_link_leads_out_of_the_folder() {
        let (base, folder) = place();
        let root = base.path().join("root");
        symlink("../other/key", root.join("key.md")).unwrap();
        symlink("../other", root.join("way")).unwrap();
        symlink(".git/config", root.join("config.md")).unwrap();
        symlink("../ours", root.join("ours")).unwrap();
        for path in ["key.md", "way/key", "config.md", "ours/key"] {
            assert!(matches!(folder.read(path), Err(FolderError::Outside)), "{path}");
            assert!(matches!(folder.write(path, "x"), Err(FolderError::Outside)), "{path}");
        }
        assert!(matches!(folder.write("way/new.md", "x"), Err(FolderError::Outside)));
        assert!(matches!(folder.remove("way/key"), Err(FolderError::Outside)));
        assert_eq!(fs::read_to_string(base.path().join("other/key")).unwrap(), "hush");
        assert_eq!(folder.list().unwrap().files.len(), 2);
        // A link whose end is missing is not made a file by writing to it.
        symlink("../other/new", root.join("dangling.md")).unwrap();
        assert!(folder.write("dangling.md", "x").is_err());
        assert!(!base.path().join("other/new").exists());
        let ours = base.path().join("ours");
        assert!(matches!(Folder::open(&ours, &ours), Err(FolderError::Outside)));
        assert!(matches!(Folder::open(&base.path().join("none"), &ours), Err(FolderError::NoFolder)));
    }

    #[test]
    fn what_is_no_text_or_too_much_is_refused() {
        let (base, folder) = place();
        let root = base.path().join("root");
        fs::write(root.join("bytes"), [0xff, 0xfe]).unwrap();
        fs::write(root.join("large"), "x".repeat(LARGEST_FILE + 1)).unwrap();
        assert!(matches!(folder.read("bytes"), Err(FolderError::NotText)));
        assert!(matches!(folder.read("large"), Err(FolderError::TooLarge)));
        for number in 0..MOST_FILES {
            fs::write(root.join(format!("n{number}.md")), "x").unwrap();
        }
        let listing = folder.list().unwrap();
        assert_eq!((listing.files.len(), listing.is_cut), (MOST_FILES, true));
    }
}
