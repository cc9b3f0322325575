//! A company with one agent, and a short way to call the store, for tests of one call after another.

use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;
use store::{Store, p, sql};

/// Some seconds after noon.
pub(crate) const fn at(seconds: i64) -> Moment {
    Moment::from_micros(crate::NOON + seconds * 1_000_000)
}

/// A company with one idle agent.
pub(crate) async fn company_with_an_agent(store: &Store) -> (CompanyId, AgentId) {
    let write = store.write(|tx| {
        Box::pin(async move {
            tx.run(
                sql!(
                    "INSERT INTO companies (id, name, status, issue_prefix, created_at, updated_at) \
                     VALUES ('acme', 'Acme', 'active', 'ACM', $1, $1)"
                ),
                p![at(0)],
            )
            .await?;
            tx.run(
                sql!(
                    "INSERT INTO agents (id, company_id, name, url_key, role, status, adapter_type, adapter_config, \
                     runtime_config, permissions, created_at, updated_at) VALUES ('ada', 'acme', 'Ada', 'ada', \
                     'engineer', 'idle', 'process', '{}', '{}', '{}', $1, $1)"
                ),
                p![at(0)],
            )
            .await
        })
    });
    write.await.unwrap();
    ("acme".into(), "ada".into())
}

/// Runs one call of the store as a transaction of its own: `tx!(store, [id], |tx| users::get(tx, &id))`. What stands in
/// the brackets is cloned into it.
macro_rules! tx {
    ($store:expr, [$($name:ident),*], |$tx:ident| $call:expr) => {{
        $(let $name = $name.clone();)*
        let write = $store.write(move |$tx| {
            $(let $name = $name.clone();)*
            Box::pin(async move { $call.await })
        });
        write.await.unwrap()
    }};
}
pub(crate) use tx;
