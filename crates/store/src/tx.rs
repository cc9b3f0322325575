//! One logical transaction, the same for both engines.
//!
//! The first error poisons it: whatever the closure makes of that error, the transaction is undone. When it begins,
//! commits or is tried again is decided by the engines.

use crate::audit::AuditRecord;
use crate::postgres::PgTx;
use crate::row::{FromRow, Row};
use crate::sqlite::statements;
use crate::statement::{LIST_SIZES, ListStatement, Sql};
use crate::value::{Params, Value};
use crate::{StoreError, audit, events};

type Result<T> = std::result::Result<T, StoreError>;

/// A transaction in progress. It is handed to the closures of [`crate::Store::write`] and [`crate::Store::read`].
#[derive(Debug)]
pub struct Tx<'c> {
    engine: Engine<'c>,
    failed: Option<StoreError>,
    events: i64,
    audit: Vec<AuditRecord>,
}

#[derive(Debug)]
pub(crate) enum Engine<'c> {
    // `&mut`, though SQLite would take `&`: a shared connection is not `Send`, and the handlers' futures must be.
    Sqlite(&'c mut rusqlite::Connection),
    Postgres(PgTx<'c>),
}

impl<'c> Tx<'c> {
    pub(crate) fn new(engine: Engine<'c>) -> Self {
        Self { engine, failed: None, events: 0, audit: Vec::new() }
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.engine, Engine::Postgres(_))
    }

    /// Runs a write whose result is not needed. PostgreSQL may be told later, together with the next read or the
    /// commit; its error then comes from there.
    pub async fn run(&mut self, sql: Sql, params: Params) -> Result<()> {
        self.alive()?;
        let outcome = match &mut self.engine {
            Engine::Sqlite(connection) => statements::exec(connection, sql, &params).map(|_| ()),
            Engine::Postgres(tx) => {
                if tx.is_pipelined() {
                    tx.queue(sql, params);
                    Ok(())
                } else {
                    tx.exec(sql, params).await.map(|_| ())
                }
            }
        };
        self.remember(outcome)
    }

    /// Runs a write and returns how many rows it changed.
    pub async fn exec(&mut self, sql: Sql, params: Params) -> Result<u64> {
        self.alive()?;
        let outcome = match &mut self.engine {
            Engine::Sqlite(connection) => statements::exec(connection, sql, &params),
            Engine::Postgres(tx) => tx.exec(sql, params).await,
        };
        self.remember(outcome)
    }

    /// Returns the first row, if there is one.
    pub async fn one(&mut self, sql: Sql, params: Params) -> Result<Option<Row>> {
        self.alive()?;
        let outcome = match &mut self.engine {
            // To its end even so: a statement with RETURNING must not stop after its first row.
            Engine::Sqlite(connection) => statements::rows(connection, sql, &params),
            Engine::Postgres(tx) => tx.rows(sql, params).await,
        };
        self.remember(outcome).map(|rows| rows.into_iter().next())
    }

    /// Returns all rows.
    pub async fn rows(&mut self, sql: Sql, params: Params) -> Result<Vec<Row>> {
        self.alive()?;
        let outcome = match &mut self.engine {
            Engine::Sqlite(connection) => statements::rows(connection, sql, &params),
            Engine::Postgres(tx) => tx.rows(sql, params).await,
        };
        self.remember(outcome)
    }

    /// [`Tx::one`], read into a struct or a tuple.
    pub async fn one_as<T: FromRow>(&mut self, sql: Sql, params: Params) -> Result<Option<T>> {
        let row = self.one(sql, params).await?;
        let outcome = row.map(|row| row.read()).transpose();
        self.remember(outcome)
    }

    /// [`Tx::rows`], read into structs or tuples.
    pub async fn rows_as<T: FromRow>(&mut self, sql: Sql, params: Params) -> Result<Vec<T>> {
        let rows = self.rows(sql, params).await?;
        let outcome = rows.iter().map(Row::read).collect();
        self.remember(outcome)
    }

    /// [`Tx::rows_as`] for who looks for damage: `None` when a row does not hold what its reader expects. That is then
    /// no error, and the transaction goes on.
    pub(crate) async fn rows_if_readable<T: FromRow>(
        &mut self,
        sql: Sql,
        params: Params,
    ) -> Result<Option<Vec<T>>> {
        self.alive()?;
        let outcome = match &mut self.engine {
            Engine::Sqlite(connection) => statements::rows(connection, sql, &params),
            Engine::Postgres(tx) => tx.rows(sql, params).await,
        };
        match outcome.and_then(|rows| rows.iter().map(Row::read).collect()) {
            Ok(read) => Ok(Some(read)),
            Err(StoreError::Row { .. }) => Ok(None),
            Err(error) => self.remember(Err(error)),
        }
    }

    /// Runs a query with `IN ({list})` for any number of values, in portions: an `ORDER BY` holds inside a portion
    /// only. `first` are the parameters before the list.
    pub async fn rows_in(
        &mut self,
        sql: &ListStatement,
        first: Params,
        list: Vec<Value>,
    ) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (sql, params) in portions(sql, &first, list) {
            rows.append(&mut self.rows(sql, params).await?);
        }
        Ok(rows)
    }

    /// Runs a write with `IN ({list})` for any number of values and returns how many rows it changed. Values given
    /// twice may be counted twice only if the statement still changes the row the second time.
    pub async fn exec_in(&mut self, sql: &ListStatement, first: Params, list: Vec<Value>) -> Result<u64> {
        let mut changed = 0;
        for (sql, params) in portions(sql, &first, list) {
            changed += self.exec(sql, params).await?;
        }
        Ok(changed)
    }

    /// Number of the next event of this transaction, from 0.
    pub(crate) fn next_event(&mut self) -> Result<i64> {
        let number = self.events;
        if number >= events::MOST_PER_TRANSACTION {
            return self.remember(Err(StoreError::TooManyEvents));
        }
        self.events += 1;
        Ok(number)
    }

    pub(crate) fn note_audit(&mut self, record: AuditRecord) {
        self.audit.push(record);
    }

    /// Writes what was kept for the end, because its locks come last. Returns the first error of the transaction,
    /// also one that the closure swallowed.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        if let Some(first) = &self.failed {
            return Err(first.clone());
        }
        let records = std::mem::take(&mut self.audit);
        if records.is_empty() {
            return Ok(());
        }
        audit::write(self, records).await
    }

    pub(crate) fn first_error(&self) -> Option<&StoreError> {
        self.failed.as_ref()
    }

    pub(crate) fn into_engine(self) -> Engine<'c> {
        self.engine
    }

    fn alive(&self) -> Result<()> {
        self.failed.as_ref().map_or(Ok(()), |first| Err(first.clone()))
    }

    fn remember<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if let (Err(error), None) = (&outcome, &self.failed) {
            self.failed = Some(error.clone());
        }
        outcome
    }
}

/// Cuts a list into the sizes that statements exist for; the last portion is filled up with its last value.
fn portions(sql: &ListStatement, first: &Params, list: Vec<Value>) -> Vec<(Sql, Params)> {
    let largest = LIST_SIZES[LIST_SIZES.len() - 1];
    list.chunks(largest)
        .filter_map(|portion| {
            let (sql, size) = sql.for_count(portion.len());
            let last = portion.last()?;
            let mut values = first.0.clone();
            values.extend_from_slice(portion);
            values.extend(std::iter::repeat_n(last, size - portion.len()).cloned());
            Some((sql, Params(values)))
        })
        .collect()
}
