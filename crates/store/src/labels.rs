//! Labels of a company, and which issues carry them.

use domain::ids::{CompanyId, IssueId};
use domain::moment::Moment;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// A label as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    pub id: String,
    pub company_id: CompanyId,
    pub name: String,
    pub color: String,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Label { id, company_id, name, color, created_at, updated_at });

macro_rules! columns {
    () => {
        "id, company_id, name, color, created_at, updated_at"
    };
}

/// Adds a label; returns false, and adds nothing, when the company has one of that name.
pub async fn insert(tx: &mut Tx<'_>, label: &Label) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO labels (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (company_id, name) DO NOTHING"
            )),
            p![&label.id, &label.company_id, &label.name, &label.color, label.created_at, label.updated_at],
        )
        .await?;
    Ok(added == 1)
}

/// Returns one label.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Label>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM labels WHERE id = $1")), p![id]).await
}

/// Returns the labels of these ids that exist, in no order.
pub async fn some(tx: &mut Tx<'_>, ids: &[String]) -> Result<Vec<Label>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(concat!("SELECT ", columns!(), " FROM labels WHERE id IN ({list})")),
            p![],
            ids.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Returns the labels of a company, by name.
pub async fn list(tx: &mut Tx<'_>, company: &CompanyId, limit: i64) -> Result<Vec<Label>, StoreError> {
    tx.rows_as(
        sql!(concat!("SELECT ", columns!(), " FROM labels WHERE company_id = $1 ORDER BY name LIMIT $2")),
        p![company, limit],
    )
    .await
}

/// Writes what a label is called and how it looks; returns false when the company has another one of that name, or the
/// label is gone.
pub async fn update(tx: &mut Tx<'_>, label: &Label) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE labels SET name = $2, color = $3, updated_at = $4 WHERE id = $1 AND NOT EXISTS (SELECT 1 \
                 FROM labels o WHERE o.company_id = labels.company_id AND o.name = $2 AND o.id <> $1)"
            ),
            p![&label.id, &label.name, &label.color, label.updated_at],
        )
        .await?;
    Ok(changed == 1)
}

/// Removes a label from the company and from its issues; returns false when it was gone.
pub async fn remove(tx: &mut Tx<'_>, id: &str) -> Result<bool, StoreError> {
    Ok(tx.exec(sql!("DELETE FROM labels WHERE id = $1"), p![id]).await? == 1)
}

/// Makes an issue carry these labels and no others.
pub async fn replace(tx: &mut Tx<'_>, issue: &IssueId, labels: &[String]) -> Result<(), StoreError> {
    tx.run(sql!("DELETE FROM issue_labels WHERE issue_id = $1"), p![issue]).await?;
    for label in labels {
        tx.run(
            sql!(
                "INSERT INTO issue_labels (issue_id, label_id) VALUES ($1, $2) \
                 ON CONFLICT (issue_id, label_id) DO NOTHING"
            ),
            p![issue, label],
        )
        .await?;
    }
    Ok(())
}

/// Returns the labels of these issues, by name within an issue.
pub async fn of_issues(tx: &mut Tx<'_>, issues: &[IssueId]) -> Result<Vec<(IssueId, Label)>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT c.issue_id, l.id, l.company_id, l.name, l.color, l.created_at, l.updated_at \
                 FROM issue_labels c JOIN labels l ON l.id = c.label_id WHERE c.issue_id IN ({list}) \
                 ORDER BY c.issue_id, l.name"
            ),
            p![],
            issues.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter()
        .map(|row| {
            let label = Label {
                id: row.get(1)?,
                company_id: row.get(2)?,
                name: row.get(3)?,
                color: row.get(4)?,
                created_at: row.get(5)?,
                updated_at: row.get(6)?,
            };
            Ok((row.get(0)?, label))
        })
        .collect()
}
