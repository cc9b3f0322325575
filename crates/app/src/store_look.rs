//! Asking a store whether this program could use it, without changing it; and what its refusals mean to people.

use std::path::Path;

use store::audit::{self, AuditHead, BrokenLink};
use store::{Settings, Store, StoreError, Target};

use crate::config::Config;
use crate::data_dir;
use crate::doctor::Finding;
use crate::failure::chain;

const CHECK: &str = "store";

/// Where the data of a server is.
pub(crate) fn target(config: &Config) -> Target {
    match &config.database_url {
        Some(url) => Target::Postgres(url.clone()),
        None => Target::Sqlite(config.data_dir.join(data_dir::STORE)),
    }
}

/// Looks at the store of these settings.
pub(crate) async fn look(config: &Config, is_running: bool) -> Finding {
    let target = target(config);
    match &target {
        Target::Sqlite(file) if !has_content(file) => {
            return Finding::ok(CHECK, format!("{} (will be made)", file.display()));
        }
        Target::Sqlite(_) if is_running => return Finding::ok(CHECK, "in use by the server of this folder"),
        Target::Sqlite(_) | Target::Postgres(_) | Target::Memory => {}
    }
    match version(&target).await {
        Ok(have) if have > known() => refusal(&target, &StoreError::NewerStore { have, know: known() }),
        Ok(have) if have == known() => Finding::ok(CHECK, format!("{}, version {have}", shown(&target))),
        Ok(have) => Finding::ok(
            CHECK,
            format!("{}, version {have}; the start brings it to {}", shown(&target), known()),
        ),
        Err(error) => refusal(&target, &error),
    }
}

/// Whether the record of decisions ends where its head says; `None` where there is no store of this program's schema.
/// For a store that no server of this folder uses.
pub(crate) async fn ending(config: &Config) -> Option<Result<AuditHead, BrokenLink>> {
    let target = target(config);
    if matches!(&target, Target::Sqlite(file) if !has_content(file)) {
        return None;
    }
    if version(&target).await.ok()? != known() {
        return None;
    }
    let settings = Settings { readers: 1, pg_pool: 2, ..Settings::default() };
    let store = Store::open_to_look(&target, settings).await.ok()?;
    let ending = store.read(|tx| Box::pin(async move { audit::ending(tx).await })).await;
    store.close().await;
    ending.ok()
}

/// Says in words for people why the store cannot be used.
pub(crate) fn refusal(target: &Target, error: &StoreError) -> Finding {
    let shown = shown(target);
    let fail = |code, message: String, fix: &str| Finding::fail(CHECK, code, message, fix);
    match error {
        StoreError::NewerStore { have, know } => fail(
            "store.newer",
            format!("{shown} is of a newer bugle: it has version {have}, this program knows up to {know}"),
            "install the newer bugle again, or use another --data-dir",
        ),
        StoreError::ChangedMigration { .. }
        | StoreError::BadMigration { .. }
        | StoreError::Migration { .. } => fail(
            "store.migration",
            format!("{shown} cannot be brought up to date: {}", chain(error)),
            "the store is as it was; go back to the bugle that was used before, and report this",
        ),
        StoreError::Full { .. } => {
            fail("disk.full", format!("the disk is full: {}", chain(error)), "make room, then start again")
        }
        StoreError::Unavailable { .. } if matches!(target, Target::Postgres(_)) => fail(
            "store.unreachable",
            format!("cannot reach {shown}: {}", chain(error)),
            "check that PostgreSQL runs and that the address, the user and the password are right",
        ),
        StoreError::Unavailable { .. } | StoreError::Contention { .. } => fail(
            "store.unusable",
            format!("cannot use {shown}: {}", chain(error)),
            "put the last good backup in its place, or start anew with another --data-dir",
        ),
        _ => fail(
            "store.failed",
            format!("cannot use {shown}: {}", chain(error)),
            "report this, with the message",
        ),
    }
}

/// The version of the schema this program writes.
fn known() -> i64 {
    i64::try_from(store::MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The version of the schema that is there; 0 for an empty database.
///
/// Opened as by a program that knows no schema at all: the store then refuses to touch it and names its version.
async fn version(target: &Target) -> Result<i64, StoreError> {
    let settings = Settings { readers: 1, pg_pool: 2, ..Settings::default() };
    match Store::open_with(target, settings, 0, &[]).await {
        Err(StoreError::NewerStore { have, .. }) => Ok(have),
        // An empty database has nothing that could be read.
        Err(StoreError::Statement { .. }) if matches!(target, Target::Postgres(_)) => Ok(0),
        Err(error) => Err(error),
        Ok(store) => {
            store.close().await;
            Ok(0)
        }
    }
}

fn has_content(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|meta| meta.len() > 0 || !meta.is_file())
}

/// Never the address itself: it may hold a password.
fn shown(target: &Target) -> String {
    match target {
        Target::Sqlite(file) => file.display().to_string(),
        Target::Postgres(_) => "the PostgreSQL database".to_owned(),
        Target::Memory => "the store in memory".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn made(file: &Path) -> Target {
        let target = Target::Sqlite(file.to_owned());
        Store::open(&target, Settings::default(), 1).await.unwrap().close().await;
        target
    }

    #[tokio::test]
    async fn the_version_of_a_store_is_read_without_changing_it() {
        let folder = tempfile::tempdir().unwrap();
        let target = made(&folder.path().join("s.sqlite")).await;
        let before = std::fs::read(folder.path().join("s.sqlite")).unwrap();
        assert_eq!(version(&target).await.unwrap(), known());
        assert_eq!(std::fs::read(folder.path().join("s.sqlite")).unwrap(), before);
    }

    #[tokio::test]
    async fn a_file_that_is_no_store_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s.sqlite");
        std::fs::write(&file, "this is a letter, not a database, and quite a long one at that".repeat(40))
            .unwrap();
        let target = Target::Sqlite(file);
        let error = version(&target).await.unwrap_err();
        assert_eq!(refusal(&target, &error).code, "store.unusable");
    }

    #[test]
    fn the_address_of_a_database_is_never_shown() {
        let target = Target::Postgres("postgres://me:secret@host/db".into());
        let finding = refusal(&target, &StoreError::NewerStore { have: 9, know: 2 });
        assert!(!format!("{finding:?}").contains("secret"));
    }
}
