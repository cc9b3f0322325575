//! What lies in a workspace of what nodes were to leave there. Read outside of transactions.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use domain::automation::OutputFile;
use domain::automation::contract::FoundFile;
use domain::automation::definition::Contract;
use sha2::{Digest, Sha256};

use crate::digest::hex;

/// As much of a file is read to look for sections.
const MOST_TEXT: u64 = 1 << 20;
/// A larger file is not read for its digest: it is told by its size.
const MOST_DIGEST: u64 = 256 << 20;

/// What was found of one node's files.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) files: Vec<FoundFile>,
    pub(super) left: Vec<OutputFile>,
}

/// By node and attempt.
pub(super) type FoundBy = BTreeMap<(String, i64), Found>;

/// Looks at the files of a contract.
pub(super) fn look(root: Option<&str>, contract: Option<&Contract>) -> Found {
    let mut found = Found::default();
    let (Some(root), Some(contract)) = (root, contract) else { return found };
    for (index, path) in contract.files.iter().enumerate() {
        let whole = below(Path::new(root), path);
        let file = whole.as_deref().and_then(|whole| digest(whole, path));
        let is_read = index == 0 && !contract.sections.is_empty();
        let text = whole.filter(|_| is_read).and_then(|whole| text(&whole));
        found.files.push(FoundFile { path: path.clone(), bytes: file.as_ref().map(|file| file.bytes), text });
        found.left.extend(file);
    }
    found
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
        let found = look(root.to_str(), Some(&contract));
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
        assert!(look(None, Some(&contract)).files.is_empty());
    }
}
