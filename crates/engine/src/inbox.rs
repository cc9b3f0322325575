//! What needs a person: what rules gave up on, and what waits for a decision.
//!
//! Items are opened and closed by whoever finds or settles them (recovery, budgets, silence); approvals, what agents ask
//! on their issues, and gates of automations are shown beside them. Everything is bounded.

use domain::ids::CompanyId;
use domain::moment::Moment;
use serde_json::json;
use store::approvals::{self, Approval};
use store::automations::gates;
use store::inbox::{self, InboxItem};
use store::interactions::{self, Interaction};
use store::{audit, companies};

use crate::activity::Author;
use crate::automations::{GateView, views_of_pending};
use crate::issues::Locks;
use crate::{Engine, EngineError, stops};
use domain::issue::refusal::Refusal;

/// The longest list of items.
pub const MOST_ITEMS: i64 = 500;

/// What needs a person in a company.
#[derive(Debug, Clone, PartialEq)]
pub struct Inbox {
    /// Newest first.
    pub items: Vec<InboxItem>,
    /// Those that wait for a decision, newest first.
    pub approvals: Vec<Approval>,
    /// Questions, suggestions and confirmations on open issues that wait for an answer, newest first.
    pub interactions: Vec<Interaction>,
    /// Gates of automations that wait for a decision, oldest first.
    pub gates: Vec<GateView>,
    /// How many items are open, and how many approvals and interactions wait.
    pub open: (i64, i64, i64),
    /// How many gates wait.
    pub open_gates: i64,
}

impl Engine {
    /// Returns what needs a person, the items before a place.
    pub async fn inbox(
        &self,
        company: &CompanyId,
        before: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Inbox, EngineError> {
        let limit = limit.clamp(1, MOST_ITEMS);
        let found = self.inner.read((company.clone(), before), move |tx, (company, before)| {
            Box::pin(async move {
                if companies::get(tx, &company).await?.is_none() {
                    return Ok(None);
                }
                Ok(Some(Inbox {
                    items: inbox::list_open(tx, &company, before, limit).await?,
                    approvals: approvals::list(tx, &company, Some("pending"), None, limit).await?,
                    interactions: interactions::waiting(tx, &company, limit).await?,
                    gates: views_of_pending(tx, &company, (Moment::from_micros(0), ""), limit).await?,
                    open: (
                        inbox::count_open(tx, &company).await?,
                        approvals::count_pending(tx, &company).await?,
                        interactions::count_waiting(tx, &company).await?,
                    ),
                    open_gates: gates::count_pending(tx, &company).await?,
                }))
            })
        });
        found.await?.ok_or(EngineError::NotFound("Company"))
    }

    /// Finds an item by its id, whatever company it belongs to.
    pub async fn inbox_item(&self, id: &str) -> Result<InboxItem, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { inbox::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Inbox item"))
    }

    /// A person says that an item needs nobody any more. What it was about is not touched: if it still stands, whoever
    /// found it opens another one.
    pub async fn resolve_inbox_item(&self, id: &str, by: &Author) -> Result<InboxItem, EngineError> {
        if !by.is_board() {
            return Err(Refusal::BoardRequired.into());
        }
        let resolved = self.inner.change(by, Locks::default(), id.to_owned(), |tx, mut scribe, _, id| {
            Box::pin(async move {
                let item = inbox::get(tx, &id).await?.ok_or(EngineError::NotFound("Inbox item"))?;
                if inbox::resolve(tx, &id, "dismissed", scribe.now).await? {
                    let details = json!({ "kind": item.kind, "cause": item.cause, "title": item.title });
                    let about = (item.entity_type.as_str(), item.entity_id.as_str());
                    scribe.tell(tx, &item.company_id, "inbox.item_resolved", about, details).await?;
                    let (actor, now) = (scribe.by.actor(), scribe.now);
                    let action = "inbox.item_resolved";
                    let record = stops::record(&item.company_id, &actor, action, &id, &item.title, now);
                    audit::append(tx, record).await?;
                }
                let item = inbox::get(tx, &id).await?.ok_or(EngineError::NotFound("Inbox item"))?;
                Ok(item)
            })
        });
        resolved.await
    }
}
