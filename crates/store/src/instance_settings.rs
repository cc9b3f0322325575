//! Settings of the whole instance that people change while it runs: one JSON object under each name.

use domain::moment::Moment;
use serde_json::Value as Json;

use crate::{StoreError, Tx, p, sql};

/// Returns the settings under a name; none before they were first saved.
pub async fn get(tx: &mut Tx<'_>, name: &str) -> Result<Option<Json>, StoreError> {
    let row = tx.one(sql!("SELECT value FROM instance_settings WHERE name = $1"), p![name]).await?;
    row.map(|row| row.get(0)).transpose()
}

/// Saves a setting that nobody has saved yet; false: somebody has, and it stays as it is. Of two at once the second
/// waits for the first.
pub async fn claim(tx: &mut Tx<'_>, name: &str, text: &str, now: Moment) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(
                "INSERT INTO instance_settings (name, value, updated_at) VALUES ($1, $2, $3) \
                 ON CONFLICT (name) DO NOTHING"
            ),
            p![name, &Json::from(text), now],
        )
        .await?;
    Ok(added == 1)
}

/// Saves the settings under a name.
pub async fn save(tx: &mut Tx<'_>, name: &str, value: &Json, now: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO instance_settings (name, value, updated_at) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at"
        ),
        p![name, value, now],
    )
    .await
}
