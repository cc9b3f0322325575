//! Managed checkouts: clones of projects that have an address and no folder, one a project and repository.
//!
//! They belong to the server; runs work in worktrees of them. A clone appears under its name only when it is whole.

use std::path::PathBuf;
use std::time::Duration;

use domain::ids::CompanyId;
use domain::workspace::name;
use domain::workspace::place::Checkout;

use crate::{Inner, Settings};

/// Cloning may take this long (spec/heartbeat.md 15).
const CLONE: Duration = Duration::from_secs(600);
const FETCH: Duration = Duration::from_secs(120);

/// Where the checkout of a repository lies; without an address the project's own folder.
pub(crate) fn folder_of(
    settings: &Settings,
    company: &CompanyId,
    project: &str,
    repo_url: Option<&str>,
) -> PathBuf {
    let last = repo_url.map_or_else(|| "_default".to_owned(), name::repository);
    settings
        .data_dir
        .join("projects")
        .join(name::segment(company.as_str(), "company"))
        .join(name::segment(project, "project"))
        .join(last)
}

/// Makes the checkout, or finds it made.
pub(crate) async fn make(
    engine: &Inner,
    company: &CompanyId,
    project: &str,
    repo_url: Option<&str>,
) -> Checkout {
    let folder = folder_of(&engine.settings, company, project, repo_url);
    let path = folder.display().to_string();
    let failed = |reason: String| Checkout::Failed { reason };
    let _lock = engine.repositories.lock(&folder).await;
    let Some(url) = repo_url.filter(|url| !url.trim().is_empty()) else {
        return match std::fs::create_dir_all(&folder) {
            Ok(()) => Checkout::Ready { path },
            Err(error) => failed(format!("cannot make {path}: {error}")),
        };
    };
    if folder.join(".git").is_dir() {
        return Checkout::Ready { path };
    }
    if std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Checkout::NotGit { path };
    }
    let Some(above) = folder.parent() else { return failed("there is no place for it".to_owned()) };
    // Of an earlier try that was broken off.
    let half = above.join(format!(".cloning-{}", folder.file_name().unwrap_or_default().to_string_lossy()));
    let _ = std::fs::remove_dir_all(&half);
    if let Err(error) = std::fs::create_dir_all(above) {
        return failed(format!("cannot make {}: {error}", above.display()));
    }
    let target = half.to_string_lossy().into_owned();
    let cloned = engine.git(above).patience(CLONE).run(&["clone", "--quiet", "--", url, &target]).await;
    if let Err(error) = cloned {
        let _ = std::fs::remove_dir_all(&half);
        return failed(without_password(&error.to_string(), url));
    }
    let _ = std::fs::remove_dir(&folder);
    match std::fs::rename(&half, &folder) {
        Ok(()) => Checkout::Ready { path },
        Err(error) => failed(format!("cannot move the clone to {path}: {error}")),
    }
}

/// Brings what is known of the remote up to date; the error is a warning.
pub(crate) async fn fetch(engine: &Inner, folder: impl Into<PathBuf>) -> Result<(), String> {
    let git = engine.git(folder).patience(FETCH);
    match git.run(&["fetch", "--quiet", "--prune", "origin"]).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("cannot fetch, so the work begins from what was known: {error}")),
    }
}

/// git repeats the address it was given, with everything in it.
fn without_password(words: &str, url: &str) -> String {
    let secret = url.split_once("://").and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'));
    match secret {
        Some((login, _)) => words.replace(login, "***"),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_an_address_is_not_repeated() {
        let url = "https://me:hunter22@host/team/repo.git";
        let told = without_password("fatal: unable to access 'https://me:hunter22@host/team/repo.git'", url);
        assert_eq!(told, "fatal: unable to access 'https://***@host/team/repo.git'");
        assert_eq!(without_password("x", "https://host/r"), "x");
    }
}
