//! Labels of a company, which its issues carry.

use domain::ids::CompanyId;
use domain::issue::refusal::Kind;
use serde_json::json;
use store::labels::{self, Label};
use store::{Tx, companies};

use super::Locks;
use super::care::agent_in;
use super::texts::Sheet;
use crate::activity::Author;
use crate::{Engine, EngineError};

/// The longest name of a label.
const LABEL: usize = 48;
/// As many labels as a list holds.
const MOST_LABELS: i64 = 1_000;

/// A new label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelDraft {
    pub name: String,
    /// `#rrggbb`.
    pub color: String,
}

impl Engine {
    /// Lists the labels of a company, by name.
    pub async fn labels(&self, company: &CompanyId) -> Result<Vec<Label>, EngineError> {
        let listed = self.inner.read(company.clone(), |tx, company| {
            Box::pin(async move { labels::list(tx, &company, MOST_LABELS).await })
        });
        Ok(listed.await?)
    }

    /// Adds a label.
    pub async fn create_label(
        &self,
        company: &CompanyId,
        draft: LabelDraft,
        by: &Author,
    ) -> Result<Label, EngineError> {
        check(&draft)?;
        let context = (company.clone(), draft);
        let added =
            self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (company, draft)| {
                Box::pin(async move {
                    companies::get(tx, &company).await?.ok_or(EngineError::NotFound("Company"))?;
                    agent_in(tx, &scribe, &company).await?;
                    let label = Label {
                        id: scribe.id(),
                        company_id: company.clone(),
                        name: draft.name.trim().to_owned(),
                        color: draft.color.to_lowercase(),
                        created_at: scribe.now,
                        updated_at: scribe.now,
                    };
                    if !labels::insert(tx, &label).await? {
                        let words = format!("Label already exists: {}", label.name);
                        return Err(EngineError::refused(Kind::Conflict, words));
                    }
                    let details = json!({ "name": label.name, "color": label.color });
                    scribe.tell(tx, &company, "label.created", ("label", &label.id), details).await?;
                    Ok(label)
                })
            });
        added.await
    }

    /// Says what a label is called and how it looks; issues that carry it go on carrying it.
    pub async fn change_label(
        &self,
        label: &str,
        draft: LabelDraft,
        by: &Author,
    ) -> Result<Label, EngineError> {
        check(&draft)?;
        let context = (label.to_owned(), draft);
        let changed = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (id, draft)| {
            Box::pin(async move {
                let before = labels::get(tx, &id).await?.ok_or(EngineError::NotFound("Label"))?;
                agent_in(tx, &scribe, &before.company_id).await?;
                let label = Label {
                    name: draft.name.trim().to_owned(),
                    color: draft.color.to_lowercase(),
                    updated_at: scribe.now,
                    ..before
                };
                if !labels::update(tx, &label).await? {
                    let words = format!("Label already exists: {}", label.name);
                    return Err(EngineError::refused(Kind::Conflict, words));
                }
                let details = json!({ "name": label.name, "color": label.color });
                scribe.tell(tx, &label.company_id, "label.updated", ("label", &id), details).await?;
                Ok(label)
            })
        });
        changed.await
    }

    /// Removes a label from its company and from all issues.
    pub async fn delete_label(&self, label: &str, by: &Author) -> Result<Label, EngineError> {
        let removed = self.inner.change(by, Locks::default(), label.to_owned(), |tx, mut scribe, _, id| {
            Box::pin(async move {
                let label = labels::get(tx, &id).await?.ok_or(EngineError::NotFound("Label"))?;
                agent_in(tx, &scribe, &label.company_id).await?;
                labels::remove(tx, &id).await?;
                let details = json!({ "name": label.name, "color": label.color });
                scribe.tell(tx, &label.company_id, "label.deleted", ("label", &id), details).await?;
                Ok(label)
            })
        });
        removed.await
    }
}

/// Looks for mistakes in a label that is about to be saved.
pub(crate) fn check(draft: &LabelDraft) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    sheet.required("name", &draft.name, LABEL);
    if !is_color(&draft.color) {
        sheet.wrong("color", "is no color", "write it as #rrggbb");
    }
    sheet.finish()
}

/// These labels, once each, all of the company.
pub(super) async fn checked(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    ids: &[String],
) -> Result<Vec<String>, EngineError> {
    let mut wanted: Vec<String> = ids.iter().map(|id| id.to_lowercase()).collect();
    wanted.sort();
    wanted.dedup();
    let found = labels::some(tx, &wanted).await?;
    let known = found.iter().filter(|label| label.company_id == *company).count();
    if known != wanted.len() {
        let words = "One or more labels are invalid for this company";
        return Err(EngineError::refused(Kind::Unprocessable, words));
    }
    Ok(wanted)
}

fn is_color(text: &str) -> bool {
    text.strip_prefix('#')
        .is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_color_is_six_hex_digits_behind_a_hash() {
        assert!(is_color("#0aF3c9"));
        for bad in ["", "#fff", "0aF3c9", "#0aF3cg", "#0aF3c9a"] {
            assert!(!is_color(bad), "{bad}");
        }
    }
}
