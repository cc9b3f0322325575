//! Running statements on one SQLite connection.

use std::cell::Cell;

use rusqlite::Connection;
use rusqlite::StatementStatus;
use rusqlite::types::ValueRef;

use crate::StoreError;
use crate::row::Row;
use crate::statement::Sql;
use crate::value::{Params, Value};

type Result<T> = std::result::Result<T, StoreError>;

thread_local! {
    /// The steps of this thread that nobody took yet.
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// Takes the steps that SQLite made on this thread since the last call: what its statements cost, on whatever machine.
pub(crate) fn take_steps() -> u64 {
    STEPS.take()
}

fn count(statement: &rusqlite::Statement<'_>) {
    let steps = statement.reset_status(StatementStatus::VmStep);
    STEPS.set(STEPS.get() + u64::try_from(steps).unwrap_or(0));
}

pub(crate) fn exec(connection: &Connection, sql: Sql, params: &Params) -> Result<u64> {
    let failed = |error| StoreError::sqlite(sql.source(), error);
    let mut statement = prepared(connection, sql, params)?;
    if statement.column_count() == 0 {
        let changed = statement.raw_execute().map(|changed| changed as u64).map_err(failed);
        count(&statement);
        return changed;
    }
    // With RETURNING, each row that comes back is one that was changed.
    let mut rows = statement.raw_query();
    let mut changed = 0;
    while rows.next().map_err(failed)?.is_some() {
        changed += 1;
    }
    drop(rows);
    count(&statement);
    Ok(changed)
}

pub(crate) fn rows(connection: &Connection, sql: Sql, params: &Params) -> Result<Vec<Row>> {
    let failed = |error| StoreError::sqlite(sql.source(), error);
    let mut statement = prepared(connection, sql, params)?;
    let width = statement.column_count();
    let mut found = Vec::new();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(failed)? {
        let mut values = Vec::with_capacity(width);
        for column in 0..width {
            values.push(owned(row.get_ref(column).map_err(failed)?).map_err(|reason| StoreError::Row {
                statement: sql.source(),
                column,
                reason,
            })?);
        }
        found.push(Row::sqlite(sql.source(), values));
    }
    drop(rows);
    count(&statement);
    Ok(found)
}

fn prepared<'c>(
    connection: &'c Connection,
    sql: Sql,
    params: &Params,
) -> Result<rusqlite::CachedStatement<'c>> {
    let failed = |error| StoreError::sqlite(sql.source(), error);
    let mut statement = connection.prepare_cached(sql.sqlite()).map_err(failed)?;
    let takes = statement.parameter_count();
    if takes != params.0.len() {
        // SQLite would take the missing ones as NULL.
        return Err(StoreError::Parameters { statement: sql.source(), takes, given: params.0.len() });
    }
    for (at, value) in params.0.iter().enumerate() {
        statement.raw_bind_parameter(at + 1, value).map_err(failed)?;
    }
    Ok(statement)
}

fn owned(value: ValueRef<'_>) -> std::result::Result<Value, String> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Real(value) => Value::Real(value),
        ValueRef::Text(value) => {
            Value::Text(std::str::from_utf8(value).map_err(|_| "text is not UTF-8")?.to_owned())
        }
        ValueRef::Blob(value) => Value::Bytes(value.to_owned()),
    })
}
