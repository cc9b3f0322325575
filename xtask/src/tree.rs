//! The files of the project: what a person wrote, without what tools made.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder of the workspace.
pub(crate) fn root() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(own.parent().context("the workspace is above xtask")?.to_owned())
}

/// Every text file that was written by hand, with its path from the root, sorted.
pub(crate) fn texts(root: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    walk(root, root, &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !["target", ".git", "node_modules", "dist"].contains(&name.as_str()) {
                walk(root, &entry.path(), found)?;
            }
        } else if kind.is_file() && name != "Cargo.lock" {
            let path = entry.path();
            // What is not UTF-8 was not written as text.
            if let Ok(text) = fs::read_to_string(&path) {
                let shown = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                found.push((shown, text));
            }
        }
    }
    Ok(())
}
