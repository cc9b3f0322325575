//! How the engine asks the store: each call with a context that every try of its closure gets a copy of.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use store::{BoxFuture, Store, StoreError, Tx};

use crate::unwritten::{self, Unwritten};
use crate::{EngineError, Inner};

/// What undoes a transaction whose statements all went well: its caller's own reason, or an error of the store after
/// all.
pub(crate) trait Undoing: Sized {
    /// The store's error, or this reason again.
    fn into_store(self) -> Result<StoreError, Self>;
}

impl Undoing for EngineError {
    fn into_store(self) -> Result<StoreError, EngineError> {
        match self {
            EngineError::Store(error) => Ok(error),
            refusal => Err(refusal),
        }
    }
}

impl Inner {
    pub(crate) async fn write<C, T, F>(&self, context: C, closure: F) -> Result<T, StoreError>
    where
        C: Clone + Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t, 'c> Fn(&'t mut Tx<'c>, C) -> BoxFuture<'t, Result<T, StoreError>> + Send + Sync + 'static,
    {
        self.store.write(move |tx| closure(tx, context.clone())).await
    }

    /// Writes what may still be refused while it is written: whatever the closure wrote before it refused is undone.
    pub(crate) async fn write_unless<C, T, F>(&self, context: C, closure: F) -> Result<T, EngineError>
    where
        C: Clone + Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t, 'c> Fn(&'t mut Tx<'c>, C) -> BoxFuture<'t, Result<T, EngineError>> + Send + Sync + 'static,
    {
        self.write_undoing(context, closure).await
    }

    /// The same for any reason to undo.
    pub(crate) async fn write_undoing<C, T, E, F>(&self, context: C, closure: F) -> Result<T, E>
    where
        C: Clone + Send + Sync + 'static,
        T: Send + 'static,
        E: Undoing + From<StoreError> + Send + 'static,
        F: for<'t, 'c> Fn(&'t mut Tx<'c>, C) -> BoxFuture<'t, Result<T, E>> + Send + Sync + 'static,
    {
        undoing(&self.store, context, closure).await
    }

    /// Writes what must be written, however long the store is away. A store that is there and refuses it time and again
    /// will refuse it for ever: then the caller has to write something else.
    pub(crate) async fn write_patiently<C, T, F>(&self, context: C, closure: F) -> Result<T, Unwritten>
    where
        C: Clone + Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t, 'c> Fn(&'t mut Tx<'c>, C) -> BoxFuture<'t, Result<T, StoreError>> + Send + Sync + 'static,
    {
        let closure = Arc::new(closure);
        let mut pause = Duration::from_millis(50);
        let mut refusals = 0;
        loop {
            let again = Arc::clone(&closure);
            match self.write(context.clone(), move |tx, context| again(tx, context)).await {
                Ok(written) => return Ok(written),
                Err(error) => {
                    tracing::warn!(%error, "cannot write; trying again");
                    refusals = if unwritten::is_refusal(&error) { refusals + 1 } else { 0 };
                    if refusals == unwritten::MOST_REFUSALS {
                        return Err(Unwritten::Refused(error));
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.leaving.cancelled() => return Err(Unwritten::Leaving),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    pub(crate) async fn read<C, T, F>(&self, context: C, closure: F) -> Result<T, StoreError>
    where
        C: Clone + Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t, 'c> Fn(&'t mut Tx<'c>, C) -> BoxFuture<'t, Result<T, StoreError>> + Send + Sync + 'static,
    {
        self.store.read(move |tx| closure(tx, context.clone())).await
    }
}

async fn undoing<C, T, E, F>(store: &Store, context: C, closure: F) -> Result<T, E>
where
    C: Clone + Send + Sync + 'static,
    T: Send + 'static,
    E: Undoing + From<StoreError> + Send + 'static,
    F: for<'t, 'c> Fn(&'t mut Tx<'c>, C) -> BoxFuture<'t, Result<T, E>> + Send + Sync + 'static,
{
    let reason = Arc::new(Mutex::new(None));
    let told = Arc::clone(&reason);
    let written = store.write(move |tx| {
        let told = Arc::clone(&told);
        let tried = closure(tx, context.clone());
        Box::pin(async move {
            let undoing = match tried.await {
                Ok(written) => return Ok(written),
                Err(undoing) => undoing,
            };
            let reason = match undoing.into_store() {
                Ok(error) => return Err(error),
                Err(reason) => reason,
            };
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
            Err(StoreError::Withdrawn)
        })
    });
    written.await.map_err(|error| {
        let reason = match error {
            StoreError::Withdrawn => reason.lock().unwrap_or_else(PoisonError::into_inner).take(),
            _ => None,
        };
        reason.unwrap_or_else(|| E::from(error))
    })
}

#[cfg(test)]
mod tests {
    use store::{Settings, Target, instance_settings};

    use super::*;

    const KEY: &str = "experimental";

    #[tokio::test]
    async fn what_is_refused_after_it_was_written_is_undone_and_the_refusal_is_told() {
        let store = Store::open(&Target::Memory, Settings::default(), 0).await.unwrap();
        let written = |is_refused: bool| {
            undoing(&store, is_refused, |tx, is_refused| {
                Box::pin(async move {
                    let value = serde_json::json!({ "refused": is_refused });
                    instance_settings::save(tx, KEY, &value, domain::moment::Moment::from_micros(0)).await?;
                    if is_refused { Err(EngineError::NotFound("Reason")) } else { Ok(()) }
                })
            })
        };
        written(false).await.unwrap();
        let refused = written(true).await;
        assert!(matches!(refused, Err(EngineError::NotFound("Reason"))), "{refused:?}");
        let found = store.read(|tx| Box::pin(async move { instance_settings::get(tx, KEY).await })).await;
        assert_eq!(found.unwrap(), Some(serde_json::json!({ "refused": false })));
        store.close().await;
    }
}
