//! What lies in a workspace of what nodes were to leave there. Read outside of transactions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use domain::automation::OutputFile;
use domain::automation::contract::FoundFile;
use domain::automation::definition::Contract;
use domain::automation::scope::Bounds;
use domain::moment::Moment;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use crate::digest::hex;

/// As much of a file is read to look for sections.
const MOST_TEXT: u64 = 1 << 20;
/// A larger file is not read for its digest: it is told by its size.
const MOST_DIGEST: u64 = 256 << 20;
/// As many files and folders are looked at for what changed.
const MOST_LOOKED_AT: usize = 1_000_000;
/// As many names are kept of what may not be removed.
const MOST_NAMES: usize = 20_000;
/// What git keeps for itself; it changes when somebody only looks.
const OF_GIT: &str = ".git";

/// What was found of one node's files.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) files: Vec<FoundFile>,
    pub(super) left: Vec<OutputFile>,
    /// What changed though it was not to, relative to the workspace.
    pub(super) outside: Vec<String>,
}

/// By node and attempt.
pub(super) type FoundBy = BTreeMap<(String, i64), Found>;

/// What lies in a workspace before a run begins of the files that its steps are to leave: by path, what the file system
/// says of each. Nobody's clock is asked.
pub(super) fn before(root: Option<&str>, paths: &BTreeSet<String>) -> Json {
    let Some(root) = root else { return json!({}) };
    let stamped = |path: &String| Some((path.clone(), Json::from(stamp(&below(Path::new(root), path)?)?)));
    Json::Object(paths.iter().filter_map(stamped).collect())
}

/// Which file it is, and which of its writes was the last.
fn stamp(whole: &Path) -> Option<String> {
    let it = std::fs::metadata(whole).ok()?;
    Some(format!("{}:{}.{:09}:{}", it.ino(), it.ctime(), it.ctime_nsec(), it.len()))
}

/// Looks at the files of a contract; `before`: those that lay there before the run began.
pub(super) fn look(root: Option<&str>, contract: Option<&Contract>, before: &Json) -> Found {
    let mut found = Found::default();
    let (Some(root), Some(contract)) = (root, contract) else { return found };
    for (index, path) in contract.files.iter().enumerate() {
        let whole = below(Path::new(root), path);
        let file = whole.as_deref().and_then(|whole| digest(whole, path));
        let is_old =
            before[path].is_string() && before[path].as_str() == whole.as_deref().and_then(stamp).as_deref();
        let is_read = index == 0 && !contract.sections.is_empty();
        let text = whole.filter(|_| is_read).and_then(|whole| text(&whole));
        let bytes = file.as_ref().map(|file| file.bytes);
        found.files.push(FoundFile { path: path.clone(), bytes, text, is_old });
        found.left.extend(file);
    }
    found
}

/// What changed below a folder since then and is out of bounds. A file is told by the time of its last change that the
/// file system keeps, which nobody can set back; what was made, renamed or removed, by that of its folder. Large folders
/// take their time; nobody reads what is answered after `gives_up`.
pub(super) fn outside(
    root: &str,
    bounds: &Bounds,
    since: Moment,
    gives_up: &dyn Fn() -> bool,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut looked_at = 0;
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        if gives_up() {
            break;
        }
        let whole = Path::new(root).join(&folder);
        let before = found.len();
        // Who may not be looked into was so before: a change of that shows in the folder that holds it.
        for entry in std::fs::read_dir(&whole).into_iter().flatten().flatten() {
            looked_at += 1;
            if looked_at > MOST_LOOKED_AT {
                found.push(format!(
                    "what is among more than {MOST_LOOKED_AT} files, which are too many to look at"
                ));
                return found;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = joined(&folder, &name);
            let Ok(metadata) = entry.metadata() else { continue };
            if name == OF_GIT || bounds.are_open_below(&path) {
                continue;
            }
            if metadata.is_dir() {
                folders.push(path);
            } else if changed_since(&metadata, since) && !bounds.allow(&path) {
                found.push(path);
            }
        }
        let has_changed = std::fs::symlink_metadata(&whole).is_ok_and(|it| changed_since(&it, since));
        if has_changed && found.len() == before && !bounds.allow_folder(&folder) {
            found.push(format!("{folder}/ (something in it was made, renamed or removed)"));
        }
    }
    found.sort_unstable();
    found
}

/// What lies directly in the folders that may change and may itself not be removed: by folder, its names. `null`: too many.
pub(super) fn names(root: &str, bounds: &Bounds) -> Json {
    let mut left = MOST_NAMES;
    let mut all = Map::new();
    for folder in bounds.mixed() {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(Path::new(root).join(&folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != OF_GIT && !bounds.allow(&joined(&folder, &name)) {
                names.push(name);
            }
        }
        left = left.saturating_sub(names.len());
        all.insert(folder, if left == 0 { Json::Null } else { json!(names) });
    }
    Json::Object(all)
}

/// What of these names is there no more.
pub(super) fn removed(root: &str, names: &Json) -> Vec<String> {
    let mut removed = Vec::new();
    for (folder, names) in names.as_object().into_iter().flatten() {
        for name in names.as_array().into_iter().flatten().filter_map(Json::as_str) {
            let path = joined(folder, name);
            let looked = std::fs::symlink_metadata(Path::new(root).join(&path));
            if looked.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
                removed.push(format!("{path} (removed)"));
            }
        }
    }
    removed
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn changed_since(metadata: &Metadata, since: Moment) -> bool {
    metadata.ctime().saturating_mul(1_000_000).saturating_add(metadata.ctime_nsec() / 1_000) >= since.micros()
}

/// The same files as they are now.
pub(super) fn again(root: Option<&str>, files: &[OutputFile]) -> Vec<Option<OutputFile>> {
    let Some(root) = root else { return vec![None; files.len()] };
    let look =
        |file: &OutputFile| below(Path::new(root), &file.path).and_then(|whole| digest(&whole, &file.path));
    files.iter().map(look).collect()
}

/// A plain file that lies below a folder, whatever links lead to it.
fn below(root: &Path, path: &str) -> Option<PathBuf> {
    let whole = root.join(path).canonicalize().ok()?;
    (whole.starts_with(root) && whole.is_file()).then_some(whole)
}

fn digest(whole: &Path, path: &str) -> Option<OutputFile> {
    let mut file = std::fs::File::open(whole).ok()?;
    let bytes = file.metadata().ok()?.len();
    let sha256 = if bytes > MOST_DIGEST {
        format!("size:{bytes}")
    } else {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read(&mut buffer).ok()? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        hex(&hasher.finalize())
    };
    Some(OutputFile { path: path.to_owned(), bytes, sha256 })
}

fn text(whole: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(whole).ok()?.take(MOST_TEXT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bounds of the only step of an automation.
    fn bounds(scope: &serde_json::Value) -> Bounds {
        let node = serde_json::json!({ "id": "a", "agent": "Ada", "objective": "x", "scope": scope });
        let definition = serde_json::json!({ "name": "n", "nodes": [node] });
        Bounds::of(&domain::automation::definition::read(&definition).unwrap(), "a").unwrap()
    }

    /// A moment before which the file system has written all that it was told to.
    fn a_tick_later(folder: &Path) -> Moment {
        let file = folder.join("tick");
        let written = || {
            std::fs::write(&file, "").unwrap();
            let it = std::fs::symlink_metadata(&file).unwrap();
            std::fs::remove_file(&file).unwrap();
            it.ctime() * 1_000_000 + it.ctime_nsec() / 1_000
        };
        // Behind all that was written before; the folder itself is older than that.
        let first = written();
        loop {
            let now = written();
            if now > first {
                return Moment::from_micros(now);
            }
        }
    }

    #[test]
    fn what_changed_out_of_bounds_is_named_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (root, aside) = (folder.path().join("work"), folder.path().join("aside"));
        for sub in ["docs/private", "src/deep", "target", ".git"] {
            std::fs::create_dir_all(root.join(sub)).unwrap();
        }
        std::fs::create_dir_all(&aside).unwrap();
        for file in ["src/a.rs", "src/deep/b.rs", "src/old.rs", "target/gone", "docs/private/key", "README"] {
            std::fs::write(root.join(file), "one").unwrap();
        }
        let name = root.to_str().unwrap();
        let docs = bounds(&serde_json::json!({ "writable": ["docs"], "denied": ["docs/private"] }));
        let since = a_tick_later(&aside);
        let never = || false;
        let look = || outside(name, &docs, since, &never);
        assert_eq!(look(), [""; 0]);
        std::fs::create_dir_all(root.join("docs/new")).unwrap();
        std::fs::write(root.join("docs/new/a.md"), "two").unwrap();
        std::fs::write(root.join(".git/index"), "two").unwrap();
        assert_eq!(look(), [""; 0], "what it may");
        std::fs::write(root.join("src/deep/b.rs"), "two").unwrap();
        // An old time that somebody gave it does not hide it.
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        std::fs::File::options()
            .write(true)
            .open(root.join("src/deep/b.rs"))
            .unwrap()
            .set_modified(old)
            .unwrap();
        std::fs::rename(root.join("src/old.rs"), root.join("docs/old.rs")).unwrap();
        std::fs::remove_file(root.join("target/gone")).unwrap();
        std::fs::write(root.join("docs/private/key"), "two").unwrap();
        std::os::unix::fs::symlink("src", root.join("link")).unwrap();
        let removed = |folder: &str| format!("{folder}/ (something in it was made, renamed or removed)");
        let expected = [
            "docs/private/key".into(),
            "link".into(),
            removed("src"),
            "src/deep/b.rs".into(),
            removed("target"),
        ];
        assert_eq!(look(), expected);
        assert_eq!(outside(name, &docs, Moment::from_micros(i64::MAX), &never), [""; 0]);
    }

    #[test]
    fn what_is_removed_beside_what_may_change_is_known_by_its_name() {
        let removed = |scope: serde_json::Value, act: &dyn Fn(&Path)| {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path();
            std::fs::create_dir_all(root.join("sub")).unwrap();
            for file in ["src.txt", "sub/x.txt", "sub/y.txt"] {
                std::fs::write(root.join(file), "one").unwrap();
            }
            let names = names(root.to_str().unwrap(), &bounds(&scope));
            act(root);
            super::removed(root.to_str().unwrap(), &names)
        };
        let rm = |path: &'static str| move |root: &Path| std::fs::remove_file(root.join(path)).unwrap();
        let rm_all = |root: &Path| {
            std::fs::remove_file(root.join("src.txt")).unwrap();
            std::fs::remove_dir_all(root.join("sub")).unwrap();
        };
        let aside = |root: &Path| {
            std::fs::create_dir(root.join("out")).unwrap();
            std::fs::rename(root.join("src.txt"), root.join("out/src.txt")).unwrap();
        };
        let moved = |root: &Path| std::fs::rename(root.join("sub"), root.join("moved")).unwrap();
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let (src, sub) = ("src.txt (removed)", "sub (removed)");
        type Act<'a> = &'a dyn Fn(&Path);
        let rows: [(&str, Act<'_>, &[&str]); 8] = [
            ("{\"denied\":[\"src.txt\"]}", &rm("src.txt"), &[src]),
            ("{\"denied\":[\"src.txt\"]}", &rm("sub/x.txt"), &[]),
            ("{\"denied\":[\"sub\",\"src.txt\"]}", &rm_all, &[src, sub]),
            (
                "{\"writable\":[\"sub\"],\"denied\":[\"sub/x.txt\"]}",
                &rm("sub/x.txt"),
                &["sub/x.txt (removed)"],
            ),
            ("{\"writable\":[\"sub\"],\"denied\":[\"sub/x.txt\"]}", &rm("sub/y.txt"), &[]),
            ("{\"writable\":[\"out\"]}", &rm_all, &[src, sub]),
            ("{\"writable\":[\"out\"]}", &aside, &[src]),
            ("{\"writable\":[\"moved\"]}", &moved, &[sub]),
        ];
        for (scope, act, expected) in rows {
            let mut found = removed(json(scope), act);
            found.sort();
            assert_eq!(found, expected, "{scope}");
        }
    }

    #[test]
    fn only_plain_files_below_the_workspace_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("work");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("notes.md"), "# A\n").unwrap();
        std::fs::write(root.join("empty"), "").unwrap();
        std::fs::write(folder.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), root.join("link")).unwrap();
        let names = ["notes.md", "empty", "sub", "link", "none"].map(str::to_owned);
        let contract = Contract { files: names.into(), sections: vec!["A".into()], ..Contract::default() };
        let found = look(root.to_str(), Some(&contract), &Json::Null);
        let sizes: Vec<_> = found.files.iter().map(|file| file.bytes).collect();
        assert_eq!(sizes, [Some(4), Some(0), None, None, None]);
        assert_eq!(found.files[0].text.as_deref(), Some("# A\n"));
        assert_eq!(found.left.len(), 2);
        assert_eq!(found.left[0].sha256.len(), 64);
        assert_eq!(
            again(root.to_str(), &found.left),
            found.left.iter().cloned().map(Some).collect::<Vec<_>>()
        );
        std::fs::write(root.join("notes.md"), "# B\n").unwrap();
        assert_ne!(again(root.to_str(), &found.left)[0].as_ref(), Some(&found.left[0]));
        assert!(look(None, Some(&contract), &Json::Null).files.is_empty());
    }

    #[test]
    fn a_file_that_lay_there_before_is_known_until_somebody_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::write(root.join("notes.md"), "one").unwrap();
        let paths = BTreeSet::from(["notes.md", "log.txt", "../notes.md"].map(str::to_owned));
        let there = before(root.to_str(), &paths);
        assert_eq!(there.as_object().unwrap().keys().collect::<Vec<_>>(), ["notes.md"]);
        let contract =
            Contract { files: ["notes.md", "log.txt"].map(str::to_owned).into(), ..Contract::default() };
        let old = || {
            let found = look(root.to_str(), Some(&contract), &there);
            found.files.iter().map(|file| file.is_old).collect::<Vec<_>>()
        };
        assert_eq!(old(), [true, false]);
        std::fs::write(root.join("log.txt"), "new").unwrap();
        assert_eq!(old(), [true, false]);
        // The same words in another file are its work all the same.
        std::fs::write(root.join("anew"), "one").unwrap();
        std::fs::rename(root.join("anew"), root.join("notes.md")).unwrap();
        assert_eq!(old(), [false, false]);
        assert_eq!(before(None, &paths), json!({}));
    }
}
