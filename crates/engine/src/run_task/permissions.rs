//! The permissions that the process of a run waits for: people are asked, and what they decided goes back to it.
//!
//! What is to be done is derived each time from the log and the store (`domain::permission`). The process takes an answer
//! once however often it is given, so one that may have been lost with a server is simply given again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::permission::{self, Next, PermissionView};
use store::approvals;
use tokio::time::Instant;

use super::Tending;
use crate::activity::Scribe;
use crate::attempts::AUTHOR;
use crate::permissions::{approval_id, ask, take_back};
use crate::processes::ProcessError;
use crate::settlement;

/// Without a hint the decisions are looked at this often: another node may have taken one.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// As many of those that the process closed are looked at in one go.
const AT_A_TIME: usize = 50;

impl Tending<'_> {
    /// Does what is due about permissions; false: the lease is another's.
    pub(super) async fn mind_permissions(&mut self) -> bool {
        if self.account.permissions.is_empty() && self.account.closed_permissions.is_empty() {
            return true;
        }
        let is_hinted = self.handle.decided.swap(false, Ordering::SeqCst);
        let is_due = self.permissions_at.is_none_or(|at| at.elapsed() >= LOOK_AGAIN);
        if !is_hinted && !is_due && !self.account.has_permission_news {
            return true;
        }
        self.account.has_permission_news = false;
        self.permissions_at = Some(Instant::now());
        let views = match self.permission_views().await {
            Ok(views) => views,
            Err(error) => {
                tracing::warn!(run = %self.run.id, %error, "cannot look at the permissions that it waits for");
                return true;
            }
        };
        for view in views {
            let name = view.permission.ask.clone();
            let is_done = match permission::next(&view) {
                Next::Nothing => true,
                Next::Ask => match self.ask_people(&view).await {
                    Some(true) => true,
                    Some(false) => return false,
                    None => false,
                },
                Next::TakeBack { words } => self.take_back(&name, words).await,
                Next::Tell { allow } => match self.tell_process(&view, allow).await {
                    Ok(is_told) => is_told,
                    Err(()) => return false,
                },
            };
            if is_done && view.closed.is_some() {
                self.account.closed_permissions.retain(|(permission, _)| permission.ask != name);
            }
        }
        true
    }

    /// The approvals that may wait when the process is over, with who takes them back; `None`: there are none.
    pub(crate) fn waiting_approvals(&self) -> Option<(Scribe, Vec<String>)> {
        let open = self.account.permissions.iter();
        let all = open.chain(self.account.closed_permissions.iter().map(|(permission, _)| permission));
        let ids: Vec<String> =
            all.map(|permission| approval_id(&self.run.id, self.lease.epoch, &permission.ask)).collect();
        (!ids.is_empty()).then(|| (self.engine.scribe(&AUTHOR), ids))
    }

    async fn permission_views(&self) -> Result<Vec<PermissionView>, store::StoreError> {
        let open = self.account.permissions.iter().map(|permission| (permission.clone(), None));
        let closed = self.account.closed_permissions.iter().take(AT_A_TIME);
        let closed = closed.map(|(permission, outcome)| (permission.clone(), Some(outcome.clone())));
        let known: Vec<_> = open.chain(closed).collect();
        let ids: Vec<String> = known
            .iter()
            .map(|(permission, _)| approval_id(&self.run.id, self.lease.epoch, &permission.ask))
            .collect();
        let statuses = self.engine.read(ids, |tx, ids| {
            Box::pin(async move {
                let mut statuses = Vec::with_capacity(ids.len());
                for id in &ids {
                    statuses.push(approvals::get(tx, id).await?.map(|approval| approval.status));
                }
                Ok(statuses)
            })
        });
        let views = known.into_iter().zip(statuses.await?).map(|((permission, closed), approval)| {
            let is_told = self.told_permissions.contains(&permission.ask);
            PermissionView { permission, closed, approval, is_told }
        });
        Ok(views.collect())
    }

    /// `None`: it could not be written, and is tried again.
    async fn ask_people(&mut self, view: &PermissionView) -> Option<bool> {
        let context =
            (self.run.clone(), self.lease.clone(), view.permission.clone(), self.engine.scribe(&AUTHOR));
        let asked = self.engine.write(context, |tx, (run, lease, permission, mut scribe)| {
            Box::pin(async move { ask(tx, &mut scribe, (&run, &lease), &permission).await })
        });
        match asked.await {
            Ok(is_ours) => {
                self.engine.feed.ring();
                Some(is_ours)
            }
            Err(error) => {
                tracing::warn!(run = %self.run.id, %error, "cannot ask for a permission; trying again");
                None
            }
        }
    }

    async fn take_back(&self, name: &str, words: String) -> bool {
        let id = approval_id(&self.run.id, self.lease.epoch, name);
        let context = (self.lease.clone(), id, words, self.engine.scribe(&AUTHOR));
        let taken = self.engine.write(context, |tx, (lease, id, words, mut scribe)| {
            Box::pin(async move {
                // Whoever has the run by now reads the same log, and takes it back itself.
                match settlement::owned(tx, &lease).await? {
                    Some(_) => take_back(tx, &mut scribe, &id, &words).await,
                    None => Ok(()),
                }
            })
        });
        match taken.await {
            Ok(()) => {
                self.engine.feed.ring();
                true
            }
            Err(error) => {
                tracing::warn!(run = %self.run.id, %error, "cannot take back an approval; trying again");
                false
            }
        }
    }

    /// Hands a decision to the process. `Err`: its keeper obeys another server.
    async fn tell_process(&mut self, view: &PermissionView, allow: bool) -> Result<bool, ()> {
        let permission = &view.permission;
        let bytes = adapters::permission_answer(&permission.ask, &permission.hash, allow);
        match self.order(move |processes, id, holder| processes.say(id, holder, &bytes)).await {
            Ok(()) => {
                self.told_permissions.insert(permission.ask.clone());
                Ok(true)
            }
            Err(ProcessError::Refused) => Err(()),
            // It is ending: the look at its folder says so.
            Err(ProcessError::NotThere) => Ok(false),
            Err(error) => {
                tracing::warn!(run = %self.run.id, %error, "cannot hand a decision to the process; trying again");
                Ok(false)
            }
        }
    }
}
