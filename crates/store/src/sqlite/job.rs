//! A closure on its way to a connection, and its answer on the way back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::tx::Tx;
use crate::{StoreError, panic_message};

/// What the threads see of a [`Work`].
pub(crate) trait Job: Send {
    /// Runs the closure. After an error everything it did must be undone.
    fn perform(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError>;

    /// Tells the caller: the closure's result, or `failure`.
    fn answer(self: Box<Self>, failure: Option<StoreError>);
}

pub(crate) struct Work<F, T> {
    closure: F,
    result: Option<T>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Work<F, T>
where
    F: for<'t, 'c> Fn(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T, StoreError>> + Send,
    T: Send,
{
    pub(crate) fn new(closure: F) -> (Box<Self>, oneshot::Receiver<Result<T, StoreError>>) {
        let (caller, answer) = oneshot::channel();
        (Box::new(Self { closure, result: None, caller }), answer)
    }
}

impl<F, T> Job for Work<F, T>
where
    F: for<'t, 'c> Fn(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T, StoreError>> + Send,
    T: Send,
{
    fn perform(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let closure = &self.closure;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let result = now(closure(tx)).ok_or(StoreError::ForeignAwait)??;
            now(tx.finish()).ok_or(StoreError::ForeignAwait)??;
            Ok(result)
        }));
        match outcome {
            Ok(Ok(result)) => {
                self.result = Some(result);
                Ok(())
            }
            // The first error is the cause; the closure may have made something else of it.
            Ok(Err(error)) => Err(tx.first_error().cloned().unwrap_or(error)),
            Err(panic) => Err(StoreError::Panicked { message: panic_message(panic.as_ref()) }),
        }
    }

    fn answer(self: Box<Self>, failure: Option<StoreError>) {
        let answer = match (failure, self.result) {
            (None, Some(result)) => Ok(result),
            (Some(error), _) => Err(error),
            (None, None) => Err(StoreError::Closed),
        };
        // A caller that has gone does not change what was done.
        let _ = self.caller.send(answer);
    }
}

/// The value of a future that is ready at once. Every call of SQLite is: a future that is not ready has awaited
/// something foreign inside a transaction.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
