//! Laying texts out for a program, skills above all: a folder that holds exactly what one run may see.
//!
//! The folder is named for what is in it and lies below the data folder of the server, apart for each company: nothing is
//! put into anybody's home, and no run sees what another was given. It is looked through at every start, for agents work
//! as the same user and could have changed it. Two starts that make it at once make the same.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use domain::moment::Moment;

/// A skill as it is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sheet {
    pub(crate) key: String,
    /// The name of its folder: letters, digits and dashes.
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) markdown: String,
    /// The issue asks for it, and not the agent.
    pub(crate) is_mentioned: bool,
}

/// Where programs look for skills below a folder they are given.
const BELOW: &str = ".claude/skills";
/// The file of a skill in its folder.
const LEAF: &str = "SKILL.md";
/// How files that are being written begin.
const NEW: &str = ".new-";

/// The hash of what the skills say.
pub(crate) fn digest<'a>(sheets: impl Iterator<Item = &'a Sheet>) -> String {
    digest_of("skills 1", sheets.flat_map(|sheet| [sheet.name.as_str(), sheet.markdown.as_str()]))
}

/// The hash of texts, under the name of what they are.
pub(crate) fn digest_of<'a>(what: &str, parts: impl Iterator<Item = &'a str>) -> String {
    let mut text = what.to_owned();
    for part in parts {
        // With its length: borders between texts count.
        text.push_str(&format!("{}:{part}", part.len()));
    }
    crate::key_hash(&text)
}

/// One at a time lays out or clears away: what is used again is never removed meanwhile.
static SHELF: Mutex<()> = Mutex::new(());

/// Lays the skills out below `base`, and marks them as used `now`; returns the folder to be given to the program. Blocks.
pub(crate) fn lay_out(base: &Path, sheets: &[Sheet], now: Moment) -> io::Result<PathBuf> {
    let _alone = SHELF.lock().unwrap_or_else(PoisonError::into_inner);
    let root = base.join(&digest(sheets.iter())[..32]);
    let names: Vec<String> = sheets.iter().map(|sheet| format!("{}/{LEAF}", sheet.name)).collect();
    let files: Vec<(&str, &str)> =
        names.iter().zip(sheets).map(|(name, sheet)| (name.as_str(), sheet.markdown.as_str())).collect();
    hold_exactly(&root.join(BELOW), &files)?;
    File::open(&root)?.set_modified(time_of(now))?;
    Ok(root)
}

/// Removes a folder of skills that was used last before a moment; false: it stays. Blocks.
pub(crate) fn remove_unused(root: &Path, before: SystemTime) -> bool {
    let _alone = SHELF.lock().unwrap_or_else(PoisonError::into_inner);
    let used = std::fs::symlink_metadata(root).and_then(|data| data.modified());
    used.is_ok_and(|used| used < before) && std::fs::remove_dir_all(root).is_ok()
}

/// A moment as disks know it.
pub(crate) fn time_of(moment: Moment) -> SystemTime {
    let micros = moment.micros();
    let span = Duration::from_micros(micros.unsigned_abs());
    if micros >= 0 { SystemTime::UNIX_EPOCH + span } else { SystemTime::UNIX_EPOCH - span }
}

/// Where a skill lies below the folder.
pub(crate) fn file_of(root: &Path, name: &str) -> PathBuf {
    root.join(BELOW).join(name).join(LEAF)
}

/// The folder holds these files, paths and texts, and nothing else when it returns. Blocks.
pub(crate) fn hold_exactly(root: &Path, files: &[(&str, &str)]) -> io::Result<()> {
    std::fs::create_dir_all(root)?;
    for (path, text) in files {
        let mut folder = root.to_owned();
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        for part in above.split('/').filter(|part| !part.is_empty()) {
            folder.push(part);
            // A link in its place would lead elsewhere.
            if std::fs::symlink_metadata(&folder).is_ok_and(|data| !data.is_dir()) {
                std::fs::remove_file(&folder)?;
            }
            std::fs::create_dir_all(&folder)?;
        }
        let file = root.join(path);
        if std::fs::symlink_metadata(&file).is_ok_and(|data| data.is_dir()) {
            std::fs::remove_dir_all(&file)?;
        }
        put(&file, text.as_bytes())?;
    }
    let paths: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    drop_others(root, &paths)
}

/// Removes what is none of these paths: somebody else's work, which a program must not take for ours.
fn drop_others(folder: &Path, paths: &[&str]) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let below: Vec<&str> =
            paths.iter().filter_map(|path| path.strip_prefix(name)?.strip_prefix('/')).collect();
        let removed = match (entry.file_type()?.is_dir(), below.is_empty()) {
            (true, false) => drop_others(&entry.path(), &below),
            (true, true) => std::fs::remove_dir_all(entry.path()),
            // What another start is about to put there.
            (false, _) if name.starts_with(NEW) || paths.contains(&name) => Ok(()),
            (false, _) => std::fs::remove_file(entry.path()),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The file is there with these bytes when it returns; a link in its place is replaced, not followed.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let is_file = std::fs::symlink_metadata(path).is_ok_and(|data| data.is_file());
    if is_file && std::fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let folder = path.parent().ok_or_else(|| io::Error::other("a file without a folder"))?;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!("{NEW}{}-{number}", std::process::id()));
    // What another process of this number left behind.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o444).open(&temporary)?;
    io::Write::write_all(&mut file, bytes)?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_micros(1_800_000_000_000_000);

    fn sheet(name: &str, markdown: &str) -> Sheet {
        Sheet {
            key: name.to_owned(),
            name: name.to_owned(),
            description: String::new(),
            markdown: markdown.to_owned(),
            is_mentioned: false,
        }
    }

    #[test]
    fn the_same_skills_lie_in_the_same_folder_and_others_elsewhere() {
        let base = tempfile::tempdir().unwrap();
        let sheets = [sheet("a", "one"), sheet("b", "two")];
        let root = lay_out(base.path(), &sheets, NOW).unwrap();
        assert_eq!(lay_out(base.path(), &sheets, NOW).unwrap(), root);
        assert_eq!(std::fs::read_to_string(file_of(&root, "b")).unwrap(), "two");
        assert_ne!(lay_out(base.path(), &[sheet("a", "one"), sheet("b", "three")], NOW).unwrap(), root);
        assert_ne!(lay_out(base.path(), &sheets[..1], NOW).unwrap(), root);
        // Borders between texts count.
        assert_ne!(digest([sheet("a", "bc")].iter()), digest([sheet("ab", "c")].iter()));
    }

    #[test]
    fn what_an_agent_did_to_the_folder_is_put_right_at_the_next_start() {
        let base = tempfile::tempdir().unwrap();
        let sheets = [sheet("a", "one")];
        let root = lay_out(base.path(), &sheets, NOW).unwrap();
        let file = file_of(&root, "a");
        let (elsewhere, added) = (base.path().join("elsewhere"), root.join(BELOW).join("mine"));
        std::fs::write(&elsewhere, "other").unwrap();
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        std::fs::create_dir(&added).unwrap();
        std::fs::write(added.join("SKILL.md"), "do as I say").unwrap();
        let beside = file.with_file_name("more.md");
        std::fs::write(&beside, "do as I say").unwrap();
        lay_out(base.path(), &sheets, NOW).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "other");
        assert!(!added.exists() && !beside.exists());
        // A link in the place of a folder leads nowhere either.
        let (folder, trap) = (file.parent().unwrap(), base.path().join("trap"));
        std::fs::create_dir(&trap).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        std::os::unix::fs::symlink(&trap, folder).unwrap();
        lay_out(base.path(), &sheets, NOW).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
        assert!(!trap.join("SKILL.md").exists());
    }

    #[test]
    fn a_folder_that_nobody_has_used_for_long_goes_and_is_laid_out_anew() {
        let base = tempfile::tempdir().unwrap();
        let (sheets, day) = ([sheet("a", "one")], Duration::from_secs(86_400));
        let root = lay_out(base.path(), &sheets, NOW).unwrap();
        assert!(!remove_unused(&root, time_of(NOW)));
        lay_out(base.path(), &sheets, NOW.plus(day)).unwrap();
        assert!(!remove_unused(&root, time_of(NOW.plus(day / 2))), "it was used again");
        assert!(remove_unused(&root, time_of(NOW.plus(day * 2))) && !root.exists());
        assert_eq!(lay_out(base.path(), &sheets, NOW).unwrap(), root);
        assert!(file_of(&root, "a").is_file());
    }
}
