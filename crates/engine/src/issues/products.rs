//! Work products: what came out of the work on an issue (a branch, a pull request, a preview, a file).

use domain::ids::{IssueId, RunId};
use domain::issue::products::{HEALTHS, KINDS, REVIEW_STATES, STATUSES};
use serde_json::{Value as Json, json};
use store::issues;
use store::work_products::{self, WorkProduct};

use super::texts::{BODY, NAME, Sheet, TITLE};
use super::{Locks, guard};
use crate::activity::Author;
use crate::{Engine, EngineError};

/// As many work products as an issue is shown with.
pub(crate) const MOST_PRODUCTS: i64 = 500;

/// A new work product.
#[derive(Debug, Clone, PartialEq)]
pub struct ProductDraft {
    /// `preview_url`, `runtime_service`, `pull_request`, `branch`, `commit`, `artifact` or `document`.
    pub kind: String,
    pub provider: String,
    pub title: String,
    pub project_id: Option<String>,
    pub execution_workspace_id: Option<String>,
    pub runtime_service_id: Option<String>,
    pub external_id: Option<String>,
    pub url: Option<String>,
    pub status: String,
    pub review_state: String,
    /// At most one of a kind is; it takes that place from the one before.
    pub is_primary: bool,
    pub health_status: String,
    pub summary: Option<String>,
    pub metadata: Option<Json>,
    pub created_by_run_id: Option<RunId>,
}

impl Default for ProductDraft {
    fn default() -> ProductDraft {
        ProductDraft {
            kind: "artifact".to_owned(),
            provider: String::new(),
            title: String::new(),
            project_id: None,
            execution_workspace_id: None,
            runtime_service_id: None,
            external_id: None,
            url: None,
            status: "active".to_owned(),
            review_state: "none".to_owned(),
            is_primary: false,
            health_status: "unknown".to_owned(),
            summary: None,
            metadata: None,
            created_by_run_id: None,
        }
    }
}

/// A change of a work product: what is `None` stays. The inner `None` of a double option clears the field.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProductPatch {
    pub kind: Option<String>,
    pub provider: Option<String>,
    pub title: Option<String>,
    pub project_id: Option<Option<String>>,
    pub execution_workspace_id: Option<Option<String>>,
    pub runtime_service_id: Option<Option<String>>,
    pub external_id: Option<Option<String>>,
    pub url: Option<Option<String>>,
    pub status: Option<String>,
    pub review_state: Option<String>,
    pub is_primary: Option<bool>,
    pub health_status: Option<String>,
    pub summary: Option<Option<String>>,
    pub metadata: Option<Option<Json>>,
}

impl Engine {
    /// Lists the work products of an issue, primary ones first.
    pub async fn work_products(&self, issue: &IssueId) -> Result<Vec<WorkProduct>, EngineError> {
        let found = self.inner.read(issue.clone(), |tx, issue| {
            Box::pin(async move {
                if issues::get(tx, &issue).await?.is_none() {
                    return Ok(None);
                }
                work_products::list(tx, &issue, MOST_PRODUCTS).await.map(Some)
            })
        });
        found.await?.ok_or(EngineError::NotFound("Issue"))
    }

    /// Returns one work product.
    pub async fn work_product(&self, id: &str) -> Result<WorkProduct, EngineError> {
        let found = self
            .inner
            .read(id.to_owned(), |tx, id| Box::pin(async move { work_products::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Work product"))
    }

    /// Adds a work product to an issue.
    pub async fn create_work_product(
        &self,
        issue: &IssueId,
        draft: ProductDraft,
        by: &Author,
    ) -> Result<WorkProduct, EngineError> {
        let context = (issue.clone(), draft);
        let added = self.inner.change(by, Locks::of(issue), context, |tx, mut scribe, locks, (id, draft)| {
            Box::pin(async move {
                let locked = locks.take(tx).await?;
                let issue = locked.issues.get(&id).ok_or(EngineError::NotFound("Issue"))?;
                let custodian = guard(tx, &scribe, issue).await?;
                let product = WorkProduct {
                    id: scribe.id(),
                    company_id: issue.company_id.clone(),
                    project_id: draft.project_id.or_else(|| issue.project_id.clone()),
                    issue_id: id.clone(),
                    execution_workspace_id: draft.execution_workspace_id,
                    runtime_service_id: draft.runtime_service_id,
                    kind: draft.kind,
                    provider: draft.provider,
                    external_id: draft.external_id,
                    title: draft.title,
                    url: draft.url,
                    status: draft.status,
                    review_state: draft.review_state,
                    is_primary: draft.is_primary,
                    health_status: draft.health_status,
                    summary: draft.summary,
                    metadata: draft.metadata,
                    // A run that writes is the one it came from, whatever it says.
                    created_by_run_id: scribe.by.run_id().or(draft.created_by_run_id),
                    created_at: scribe.now,
                    updated_at: scribe.now,
                };
                check(&product)?;
                in_company(tx, issue, product.project_id.as_deref()).await?;
                work_products::insert(tx, &product).await?;
                custodian.keep(tx, &mut scribe, issue).await?;
                let company = &issue.company_id;
                let action = "issue.work_product_created";
                scribe.tell_issue(tx, company, action, &id, details(&product)).await?;
                issues::touch(tx, &id, scribe.now).await?;
                Ok(product)
            })
        });
        added.await
    }

    /// Changes a work product.
    pub async fn patch_work_product(
        &self,
        id: &str,
        patch: ProductPatch,
        by: &Author,
    ) -> Result<WorkProduct, EngineError> {
        let issue = self.work_product(id).await?.issue_id;
        let context = (id.to_owned(), issue.clone(), patch);
        let patched =
            self.inner.change(by, Locks::of(&issue), context, |tx, mut scribe, locks, (id, issue, patch)| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&issue).ok_or(EngineError::NotFound("Issue"))?;
                    let custodian = guard(tx, &scribe, issue).await?;
                    let before =
                        work_products::get(tx, &id).await?.ok_or(EngineError::NotFound("Work product"))?;
                    let product = WorkProduct { updated_at: scribe.now, ..patched(before, patch) };
                    check(&product)?;
                    in_company(tx, issue, product.project_id.as_deref()).await?;
                    work_products::update(tx, &product).await?;
                    custodian.keep(tx, &mut scribe, issue).await?;
                    let company = &issue.company_id;
                    let action = "issue.work_product_updated";
                    scribe.tell_issue(tx, company, action, &issue.id, details(&product)).await?;
                    issues::touch(tx, &issue.id, scribe.now).await?;
                    Ok(product)
                })
            });
        patched.await
    }

    /// Removes a work product.
    pub async fn delete_work_product(&self, id: &str, by: &Author) -> Result<WorkProduct, EngineError> {
        let issue = self.work_product(id).await?.issue_id;
        let context = (id.to_owned(), issue.clone());
        let removed =
            self.inner.change(by, Locks::of(&issue), context, |tx, mut scribe, locks, (id, issue)| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&issue).ok_or(EngineError::NotFound("Issue"))?;
                    let custodian = guard(tx, &scribe, issue).await?;
                    let product =
                        work_products::get(tx, &id).await?.ok_or(EngineError::NotFound("Work product"))?;
                    work_products::remove(tx, &id).await?;
                    custodian.keep(tx, &mut scribe, issue).await?;
                    let company = &issue.company_id;
                    let action = "issue.work_product_deleted";
                    scribe.tell_issue(tx, company, action, &issue.id, details(&product)).await?;
                    issues::touch(tx, &issue.id, scribe.now).await?;
                    Ok(product)
                })
            });
        removed.await
    }
}

fn details(product: &WorkProduct) -> Json {
    json!({
        "workProductId": product.id, "type": product.kind, "provider": product.provider,
        "title": product.title, "status": product.status,
    })
}

fn patched(mut product: WorkProduct, patch: ProductPatch) -> WorkProduct {
    for (ours, theirs) in [
        (&mut product.kind, patch.kind),
        (&mut product.provider, patch.provider),
        (&mut product.title, patch.title),
        (&mut product.status, patch.status),
        (&mut product.review_state, patch.review_state),
        (&mut product.health_status, patch.health_status),
    ] {
        if let Some(value) = theirs {
            *ours = value;
        }
    }
    for (ours, theirs) in [
        (&mut product.project_id, patch.project_id),
        (&mut product.execution_workspace_id, patch.execution_workspace_id),
        (&mut product.runtime_service_id, patch.runtime_service_id),
        (&mut product.external_id, patch.external_id),
        (&mut product.url, patch.url),
        (&mut product.summary, patch.summary),
    ] {
        if let Some(value) = theirs {
            *ours = value;
        }
    }
    if let Some(is_primary) = patch.is_primary {
        product.is_primary = is_primary;
    }
    if let Some(metadata) = patch.metadata {
        product.metadata = metadata;
    }
    product
}

fn check(product: &WorkProduct) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    sheet.word("type", &product.kind, &KINDS);
    sheet.required("provider", &product.provider, NAME);
    sheet.required("title", &product.title, TITLE);
    sheet.id("projectId", product.project_id.as_deref());
    sheet.id("executionWorkspaceId", product.execution_workspace_id.as_deref());
    sheet.maybe("runtimeServiceId", product.runtime_service_id.as_deref(), NAME);
    sheet.maybe("externalId", product.external_id.as_deref(), NAME);
    if product.url.as_deref().is_some_and(|url| !is_absolute_url(url)) {
        sheet.wrong("url", "Invalid url", "give an absolute address, for example https://example.org/pr/7");
    }
    sheet.maybe("url", product.url.as_deref(), 2_000);
    sheet.word("status", &product.status, &STATUSES);
    sheet.word("reviewState", &product.review_state, &REVIEW_STATES);
    sheet.word("healthStatus", &product.health_status, &HEALTHS);
    sheet.maybe("summary", product.summary.as_deref(), BODY);
    sheet.object("metadata", product.metadata.as_ref());
    sheet.id("createdByRunId", product.created_by_run_id.as_ref().map(RunId::as_str));
    sheet.finish()
}

/// A scheme, `://` and something after it.
pub(crate) fn is_absolute_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        let starts = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        starts && scheme.bytes().all(good) && !rest.is_empty() && !rest.contains(char::is_whitespace)
    })
}

async fn in_company(
    tx: &mut store::Tx<'_>,
    issue: &issues::Issue,
    project: Option<&str>,
) -> Result<(), EngineError> {
    let Some(project) = project else { return Ok(()) };
    let found = store::projects::get(tx, project).await?;
    if found.is_some_and(|project| project.company_id == issue.company_id) {
        return Ok(());
    }
    Err(EngineError::NotFound("Project"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_place() {
        for good in ["https://example.org/x", "git+ssh://host/repo"] {
            assert!(is_absolute_url(good), "{good}");
        }
        for bad in ["", "example.org", "/x", "://x", "https://", "https://a b", "1x://y"] {
            assert!(!is_absolute_url(bad), "{bad}");
        }
    }
}
