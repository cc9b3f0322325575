//! Issues, as callers use them: a file for each subject.
//!
//! Every change is one transaction: the rows it touches are locked (agents, then issues, each by id), looked at as they
//! then are, judged by `domain::issue`, written, told (activity and event), and the wakes that follow are put in the
//! outbox. A refused change writes nothing. Waking agents is the outbox's affair; nothing here waits for it.

mod attachments;
mod care;
mod change;
mod checkout;
mod comment;
mod context;
mod create;
mod documents;
mod facts;
mod labels;
mod lists;
mod products;
mod reading;
mod texts;
mod tidings;

use domain::ids::{CompanyId, IssueId, looks_like_id};
use store::issues::{self, Issue};
use store::{StoreError, Tx};

pub use attachments::AttachmentDraft;
pub use change::{IssuePatch, Patched};
pub use checkout::{Checkout, ForceReleased};
pub use comment::{CommentDraft, MOST_COMMENTS};
pub use context::{CommentCursor, HeartbeatContext};
pub use create::{ChildDraft, IssueDraft};
pub use documents::{DocumentDraft, DocumentSaved};
pub use labels::LabelDraft;
pub use lists::{DEFAULT_LISTED, Detail, Include, Listed, LiteItem, RunRef, Touch};
pub use products::{ProductDraft, ProductPatch};
pub use reading::{Marked, ReadMark};

pub(crate) use care::{ANY_PROOF, Custodian, agent_actor, agent_in, agent_may_hire, guard, manages};
pub(crate) use create::{Made, Place, Source, check, plan, write};
pub(crate) use facts::{Again, Locked, Locks, dependents, open_blockers};
pub(crate) use labels::check as check_label;
pub(crate) use products::is_absolute_url;
pub(crate) use texts::Sheet;
pub(crate) use tidings::{dependents_of, family, note_readiness, send, standing};

use crate::{Engine, EngineError, Inner};

impl Engine {
    /// Finds an issue by its id or its identifier (`BUG-17`), whatever company it belongs to.
    pub async fn find_issue(&self, reference: &str) -> Result<Option<Issue>, EngineError> {
        let found = self
            .inner
            .read(reference.to_owned(), |tx, reference| Box::pin(async move { find(tx, &reference).await }));
        Ok(found.await?)
    }
}

impl Inner {
    /// Somebody changed something: whoever follows events, and whoever delivers wakes, is to look.
    pub(crate) fn rang(&self) {
        self.feed.ring();
        self.orders_bell();
    }
}

/// Finds an issue by its id or its identifier. What is neither is nobody.
pub(crate) async fn find(tx: &mut Tx<'_>, reference: &str) -> Result<Option<Issue>, StoreError> {
    if looks_like_id(reference) {
        return issues::get(tx, &IssueId(reference.to_ascii_lowercase())).await;
    }
    if !is_identifier(reference) {
        return Ok(None);
    }
    issues::by_identifier(tx, &reference.to_ascii_uppercase()).await
}

/// `<PREFIX>-<number>`, in capitals or not.
fn is_identifier(text: &str) -> bool {
    text.split_once('-').is_some_and(|(prefix, number)| {
        let letters = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_alphabetic());
        letters && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The issue of an id, if it is of that company.
pub(crate) async fn of_company(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    id: &IssueId,
) -> Result<Option<Issue>, StoreError> {
    Ok(issues::get(tx, id).await?.filter(|issue| issue.company_id == *company))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_letters_a_dash_and_digits() {
        for good in ["BUG-1", "bug-17", "A-0"] {
            assert!(is_identifier(good), "{good}");
        }
        for bad in ["", "BUG", "BUG-", "-1", "B1-1", "BUG-1a", "BUG-1-2", "BÜG-1"] {
            assert!(!is_identifier(bad), "{bad}");
        }
    }
}
