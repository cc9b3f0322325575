//! Looks at accounts that time has come to, and at logins that were lost.
//!
//! Whoever waits for an account hears of its time by a ring of the dispatcher's bell. A lost login lies in files that a
//! program of its own writes: how they look from the outside tells that somebody logged in. They are never opened.

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use store::accounts::{self as stored, StoredAccount};

use crate::{Inner, accounts};

/// Accounts looked at in one pass.
const BATCH: i64 = 100;
/// The longest sleep: a clock may jump, another node may park one.
const LONGEST: Duration = Duration::from_secs(30);
/// Between two looks at the files of a lost login.
const LOGIN_AGAIN: Duration = Duration::from_secs(2);

pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !super::rest(&engine, "accounts", &engine.accounts, pass).await {
            return;
        }
    }
}

/// Looks at what is due; returns how long there is nothing to do.
async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    let is_watching = watch_logins(engine).await?;
    let now = engine.clock.now();
    let due =
        engine.read((), move |tx, ()| Box::pin(async move { stored::due(tx, now, BATCH).await })).await?;
    let (mut failed, mut came) = (false, false);
    for id in &due {
        match tick(engine, id).await {
            Ok(()) => came = true,
            // One account's trouble is not another's.
            Err(error) => {
                tracing::warn!(account = %id, %error, "cannot look after the account");
                failed = true;
            }
        }
    }
    if came {
        engine.feed.ring();
        engine.doorbell.ring_all();
        engine.automations.accounts_moved();
    }
    if failed {
        return Ok(engine.settings.period);
    }
    if due.len() as i64 == BATCH {
        return Ok(Duration::ZERO);
    }
    let next = engine.read((), |tx, ()| Box::pin(stored::next_due(tx))).await?;
    let next = next.map_or(LONGEST, |at| at.since(engine.clock.now()));
    let longest = if is_watching { LOGIN_AGAIN } else { LONGEST };
    Ok(next.clamp(Duration::from_millis(10), longest))
}

async fn tick(engine: &Arc<Inner>, id: &str) -> Result<(), StoreError> {
    let now = engine.clock.now();
    engine
        .write(id.to_owned(), move |tx, id| {
            Box::pin(async move {
                let Some(mut account) = stored::lock(tx, &id).await? else { return Ok(()) };
                // Another server may have been faster.
                if account.due_at.is_none_or(|at| at > now) {
                    return Ok(());
                }
                if let Some(change) = account.account.tick(now) {
                    let told = accounts::keep(tx, account, Some(change), now).await?;
                    return accounts::tell(tx, told, None, now).await;
                }
                // Who waits for it hears of it now, and not again.
                account.due_at = account.account.next_look(now).filter(|at| *at > now);
                stored::save(tx, &account, now).await
            })
        })
        .await
}

/// Looks whether somebody logged in; true while there is anything to look at.
async fn watch_logins(engine: &Arc<Inner>) -> Result<bool, StoreError> {
    let mut after = String::new();
    let mut is_watching = false;
    loop {
        let node = engine.settings.node_id.clone();
        let page = engine.read((node, after), |tx, (node, after)| {
            Box::pin(async move { stored::logged_out(tx, &node, &after, BATCH).await })
        });
        let page = page.await?;
        is_watching |= !page.is_empty();
        for account in &page {
            let Some(before) = &account.login.mark else { continue };
            let now = accounts::mark(&account.login.files);
            if accounts::is_new_login(before, &now) {
                login_changed(engine, account, now).await?;
            }
        }
        match page.last() {
            Some(last) if page.len() as i64 == BATCH => after = last.id.clone(),
            Some(_) | None => return Ok(is_watching),
        }
    }
}

async fn login_changed(engine: &Arc<Inner>, account: &StoredAccount, mark: String) -> Result<(), StoreError> {
    let now = engine.clock.now();
    tracing::info!(account = %account.id, "the login of the account has changed");
    engine
        .write((account.id.clone(), account.login.mark.clone(), mark), move |tx, (id, before, mark)| {
            Box::pin(async move {
                let Some(mut account) = stored::lock(tx, &id).await? else { return Ok(()) };
                if account.login.mark != before {
                    return Ok(());
                }
                account.login.mark = Some(mark);
                let change = account.account.login_changed(now);
                let told = accounts::keep(tx, account, change, now).await?;
                accounts::tell(tx, told, None, now).await
            })
        })
        .await
}
