//! One transaction on one connection, pipelined.
//!
//! Writes whose result nobody needs are kept back and go out together with the next read or with the commit; `BEGIN`
//! rides with the first of them. So a transaction of writes alone is one round trip. Retrying is not done here.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use deadpool_postgres::ClientWrapper;
use futures_util::future::{MaybeDone, maybe_done};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Statement};

use super::pool::Client;
use crate::StoreError;
use crate::error::speaks_of_the_connection;
use crate::row::Row;
use crate::statement::Sql;
use crate::value::{Params, Value};

type Result<T> = std::result::Result<T, StoreError>;

#[derive(Debug)]
pub(crate) struct PgTx<'c> {
    client: &'c Client,
    begin: &'static str,
    begun: bool,
    queued: Vec<(Sql, Params)>,
    pipelined: bool,
}

/// A transaction that is left in any way but a commit is undone, so that its connection can serve others.
impl Drop for PgTx<'_> {
    fn drop(&mut self) {
        self.send("ROLLBACK");
    }
}

/// How a commit went wrong.
#[derive(Debug)]
pub(crate) enum CommitFailure {
    /// The transaction was undone.
    Undone(StoreError),
    /// The connection was lost while the commit was under way.
    Unknown(StoreError),
}

impl CommitFailure {
    pub(crate) fn into_error(self) -> StoreError {
        match self {
            Self::Undone(error) => error,
            Self::Unknown(error) => StoreError::Unknown { source: Arc::new(error) },
        }
    }
}

/// What the last message of a flush is.
enum Last<'a> {
    Nothing,
    Exec(Sql, &'a Params),
    Rows(Sql, &'a Params),
    Commit,
}

enum Answer {
    Changed(u64),
    Rows(Vec<tokio_postgres::Row>),
}

type Reply<'f> = Pin<Box<dyn Future<Output = std::result::Result<Answer, Error>> + Send + 'f>>;

impl<'c> PgTx<'c> {
    pub(crate) fn new(client: &'c Client, begin: &'static str, pipelined: bool) -> Self {
        Self { client, begin, begun: false, queued: Vec::new(), pipelined }
    }

    pub(crate) fn queue(&mut self, sql: Sql, params: Params) {
        self.queued.push((sql, params));
    }

    /// Whether writes may be kept back. Without it each goes out by itself, which is only good for comparing.
    pub(crate) fn is_pipelined(&self) -> bool {
        self.pipelined
    }

    pub(crate) async fn exec(&mut self, sql: Sql, params: Params) -> Result<u64> {
        match self.flush(Last::Exec(sql, &params)).await.map_err(|(error, _)| error)? {
            Some(Answer::Changed(changed)) => Ok(changed),
            _ => Ok(0),
        }
    }

    pub(crate) async fn rows(&mut self, sql: Sql, params: Params) -> Result<Vec<Row>> {
        match self.flush(Last::Rows(sql, &params)).await.map_err(|(error, _)| error)? {
            Some(Answer::Rows(rows)) => {
                Ok(rows.into_iter().map(|row| Row::postgres(sql.source(), row)).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Commits what was done, if anything was.
    pub(crate) async fn commit(mut self) -> std::result::Result<(), CommitFailure> {
        if !self.begun && self.queued.is_empty() {
            return Ok(());
        }
        let outcome = self.flush(Last::Commit).await;
        match outcome {
            Ok(_) => {
                self.begun = false;
                Ok(())
            }
            Err((error, Outcome::Undone)) => Err(CommitFailure::Undone(error)),
            Err((error, Outcome::Unknown)) => Err(CommitFailure::Unknown(error)),
        }
    }

    /// Ends a transaction that only read. Nothing is lost with it, so the server's word is not waited for.
    pub(crate) async fn end_read(mut self) -> Result<()> {
        if !self.queued.is_empty() {
            self.flush(Last::Nothing).await.map_err(|(error, _)| error)?;
        }
        self.send("COMMIT");
        Ok(())
    }

    /// Sends a command that ends the transaction; the next user of the connection comes behind it.
    fn send(&mut self, command: &'static str) {
        if !std::mem::take(&mut self.begun) {
            return;
        }
        let mut ending = Box::pin(self.client.batch_execute(command));
        // The first poll hands the message to the connection. Its reply is of no interest.
        let _ = ending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Sends what is kept back and `last` in one go, then reads all the replies. The first error wins: those behind
    /// it only say that the transaction is already lost.
    async fn flush(&mut self, last: Last<'_>) -> std::result::Result<Option<Answer>, (StoreError, Outcome)> {
        let queued = std::mem::take(&mut self.queued);
        let client: &ClientWrapper = self.client;
        let undone = |error| (error, Outcome::Undone);
        if !self.begun && client.is_closed() {
            // Nothing has been sent yet, so this is certain; after sending it would not be.
            let lost = std::io::Error::from(std::io::ErrorKind::NotConnected);
            return Err(undone(StoreError::unavailable(lost)));
        }
        let prepared = prepare(client, &queued, &last).await.map_err(undone)?;
        let mut prepared = prepared.iter();
        let mut replies: Vec<(&'static str, MaybeDone<Reply<'_>>)> = Vec::with_capacity(queued.len() + 2);
        if !self.begun {
            self.begun = true;
            replies.push((self.begin, simple(client, self.begin)));
        }
        for (sql, params) in &queued {
            let statement = prepared.next().expect("one was prepared for each");
            replies.push((sql.source(), executed(client, statement, &params.0)));
        }
        match &last {
            Last::Nothing => {}
            Last::Exec(sql, params) => {
                let statement = prepared.next().expect("one was prepared for the last, too");
                replies.push((sql.source(), executed(client, statement, &params.0)));
            }
            Last::Rows(sql, params) => {
                let statement = prepared.next().expect("one was prepared for the last, too");
                replies.push((sql.source(), queried(client, statement, &params.0)));
            }
            Last::Commit => replies.push((COMMIT, simple(client, COMMIT))),
        }
        let committing = matches!(last, Last::Commit);
        // A future of the client sends its message when it is first polled, so this is the moment of sending.
        poll_fn(|context| {
            for (_, reply) in &mut replies {
                let _ = Pin::new(reply).poll(context);
            }
            Poll::Ready(())
        })
        .await;
        let mut answer = None;
        for (text, reply) in &mut replies {
            Pin::new(&mut *reply).await;
            match Pin::new(reply).take_output() {
                Some(Ok(given)) => answer = Some(given),
                Some(Err(error)) => {
                    let outcome = if committing { fate(text, &error) } else { Outcome::Undone };
                    return Err((StoreError::postgres(text, error), outcome));
                }
                None => {}
            }
        }
        Ok(answer)
    }
}

const COMMIT: &str = "COMMIT";

/// What an error says about a transaction whose commit was already sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Undone,
    Unknown,
}

fn fate(text: &str, error: &Error) -> Outcome {
    match error.as_db_error() {
        // The server refused this statement, so the commit behind it could only roll back.
        Some(_) if text != COMMIT => Outcome::Undone,
        // The server refused the commit itself. If the session ended with it, it may have come after the fact.
        Some(told) if speaks_of_the_connection(told.code().code()) => Outcome::Unknown,
        Some(_) => Outcome::Undone,
        // No word of the server: the replies were lost, and with them whether it came to the commit.
        None => Outcome::Unknown,
    }
}

/// Prepares all statements of a flush, those that are new to the connection in one go.
async fn prepare(
    client: &ClientWrapper,
    queued: &[(Sql, Params)],
    last: &Last<'_>,
) -> Result<Vec<Statement>> {
    let last = match last {
        Last::Exec(sql, params) | Last::Rows(sql, params) => Some((*sql, *params)),
        Last::Nothing | Last::Commit => None,
    };
    let all: Vec<(Sql, &Params)> = queued.iter().map(|(sql, params)| (*sql, params)).chain(last).collect();
    let pending = all.iter().map(|(sql, _)| client.prepare_cached(sql.postgres()));
    let statements = futures_util::future::join_all(pending).await;
    let mut prepared = Vec::with_capacity(all.len());
    for ((sql, params), statement) in all.into_iter().zip(statements) {
        let statement = statement.map_err(|error| StoreError::postgres(sql.source(), error))?;
        let takes = statement.params().len();
        if takes != params.len() {
            return Err(StoreError::Parameters { statement: sql.source(), takes, given: params.len() });
        }
        // A value that cannot be written would fail on this side only, with the commit behind it already sent.
        for (at, (value, kind)) in params.0.iter().zip(statement.params()).enumerate() {
            value.fits(kind).map_err(|reason| {
                let source = Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(format!(
                    "${}: {reason}",
                    at + 1
                )));
                StoreError::Statement { statement: sql.source(), source }
            })?;
        }
        prepared.push(statement);
    }
    Ok(prepared)
}

fn simple<'f>(client: &'f ClientWrapper, text: &'static str) -> MaybeDone<Reply<'f>> {
    maybe_done(Box::pin(async move { client.batch_execute(text).await.map(|()| Answer::Changed(0)) }))
}

fn executed<'f>(
    client: &'f ClientWrapper,
    statement: &'f Statement,
    values: &'f [Value],
) -> MaybeDone<Reply<'f>> {
    maybe_done(Box::pin(async move {
        client.execute_raw(statement, values.iter().map(as_sql)).await.map(Answer::Changed)
    }))
}

fn queried<'f>(
    client: &'f ClientWrapper,
    statement: &'f Statement,
    values: &'f [Value],
) -> MaybeDone<Reply<'f>> {
    maybe_done(Box::pin(async move {
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(as_sql).collect();
        client.query(statement, &values).await.map(Answer::Rows)
    }))
}

fn as_sql(value: &Value) -> &(dyn ToSql + Sync) {
    value
}
