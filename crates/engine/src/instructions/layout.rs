//! Laying instructions out for one run, in a folder that is named for what they say.
//!
//! The same mechanism as for skills: an older version stays where it is, so that a session that was told of it finds it.

use std::io;
use std::path::{Path, PathBuf};

use domain::brief::fenced;
use domain::instructions::{LARGEST_FILE, language};
use store::instructions::InstructionFile;

use super::folder::{Folder, FolderError};
use crate::skills::shelf;

/// A text and where it lies in its bundle.
pub(crate) type Text = (String, String);

/// The hash of what the files say.
pub(crate) fn digest(files: &[InstructionFile]) -> String {
    shelf::digest_of(
        "instructions 1",
        files.iter().flat_map(|file| [file.path.as_str(), file.content.as_str()]),
    )
}

/// The folder of this version of the files.
pub(super) fn folder_of(managed_root: &Path, files: &[InstructionFile]) -> PathBuf {
    managed_root.join(&digest(files)[..32])
}

/// Lays the files out; returns their folder. Blocks.
pub(crate) fn lay_out(managed_root: &Path, files: &[InstructionFile]) -> io::Result<PathBuf> {
    let folder = folder_of(managed_root, files);
    let texts: Vec<(&str, &str)> =
        files.iter().map(|file| (file.path.as_str(), file.content.as_str())).collect();
    shelf::hold_exactly(&folder, &texts)?;
    Ok(folder)
}

/// Lays out one file that says what all of them say, for a machine that has none of them; returns it, and the names of
/// those that did not fit. Blocks.
pub(crate) fn lay_out_joined(
    managed_root: &Path,
    entry: &str,
    files: &[Text],
) -> io::Result<(PathBuf, Vec<String>)> {
    let (text, left_out) = joined(entry, files);
    let name = entry.rsplit('/').next().unwrap_or(entry);
    let folder =
        managed_root.join(&shelf::digest_of("instructions as one 1", [text.as_str()].into_iter())[..32]);
    shelf::hold_exactly(&folder, &[(name, &text)])?;
    Ok((folder.join(name), left_out))
}

/// The entry file with the others behind it.
fn joined(entry: &str, files: &[Text]) -> (String, Vec<String>) {
    let said = files.iter().find(|(path, _)| path == entry).map_or("", |(_, text)| text.trim_end());
    let (mut all, mut left_out) = (said.to_owned(), Vec::new());
    for (path, text) in files.iter().filter(|(path, _)| path != entry) {
        let part = format!("\n\nThe file `{path}` that belongs to them:\n\n{}", fenced(text, language(path)));
        if all.len() + part.len() > LARGEST_FILE {
            left_out.push(path.clone());
        } else {
            all.push_str(&part);
        }
    }
    (all, left_out)
}

/// Where the entry file of an external bundle really lies. Blocks.
pub(crate) fn find_outside(root: &Path, ours: &Path, entry: &str) -> Result<PathBuf, String> {
    Folder::open(root, ours).and_then(|folder| folder.find(entry)).map_err(in_words)
}

/// The texts of an external bundle, as many as can be told. Blocks.
pub(crate) fn read_outside(root: &Path, ours: &Path, entry: &str) -> Result<Vec<Text>, String> {
    let read = || -> Result<Vec<Text>, FolderError> {
        let folder = Folder::open(root, ours)?;
        let mut texts = vec![(entry.to_owned(), folder.read(entry)?)];
        let mut size = 0;
        for (path, bytes) in folder.list()?.files {
            size += usize::try_from(bytes).unwrap_or(usize::MAX).min(LARGEST_FILE + 1);
            if path != entry
                && size <= LARGEST_FILE
                && let Ok(text) = folder.read(&path)
            {
                texts.push((path, text));
            }
        }
        Ok(texts)
    };
    read().map_err(in_words)
}

fn in_words(error: FolderError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use domain::ids::{AgentId, CompanyId};
    use domain::moment::Moment;

    use super::*;

    fn file(path: &str, content: &str) -> InstructionFile {
        InstructionFile {
            agent_id: AgentId::from("a"),
            path: path.to_owned(),
            company_id: CompanyId::from("c"),
            content: content.to_owned(),
            updated_at: Moment::from_micros(0),
        }
    }

    #[test]
    fn a_version_has_its_own_folder_and_is_put_right_at_every_start() {
        let base = tempfile::tempdir().unwrap();
        let files = [file("AGENTS.md", "one"), file("docs/style.md", "two")];
        let first = lay_out(base.path(), &files).unwrap();
        std::fs::write(first.join("mine.md"), "do as I say").unwrap();
        std::fs::remove_file(first.join("docs/style.md")).unwrap();
        assert_eq!(lay_out(base.path(), &files).unwrap(), first);
        assert_eq!(std::fs::read_to_string(first.join("docs/style.md")).unwrap(), "two");
        assert!(!first.join("mine.md").exists());
        let second = lay_out(base.path(), &files[..1]).unwrap();
        assert_ne!(first, second);
        assert!(first.join("AGENTS.md").exists(), "a session may still know of it");
        assert_ne!(digest(&[file("a", "bc")]), digest(&[file("ab", "c")]));
    }

    #[test]
    fn a_machine_without_the_files_is_told_them_in_one() {
        let text = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let files = [
            text("a.md", "````\nodd"),
            text("AGENTS.md", "Be brief.\n"),
            text("big", &"x".repeat(LARGEST_FILE)),
        ];
        let (all, left_out) = joined("AGENTS.md", &files);
        assert!(all.starts_with("Be brief.\n\nThe file `a.md` that belongs to them:"), "{all}");
        assert!(all.contains("`````markdown"), "{all}");
        assert_eq!(left_out, ["big"]);
    }
}
