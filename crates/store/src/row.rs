//! Rows that come back, read by position into Rust values.
//!
//! Columns are not looked up by name: the statement stands beside the code that reads it, and positions are checked by
//! the number of columns. A value that does not fit is an error that names the statement and the column.

use crate::StoreError;
use crate::value::Value;

/// One row of an answer.
#[derive(Debug)]
pub struct Row {
    statement: &'static str,
    cells: Cells,
}

#[derive(Debug)]
enum Cells {
    Sqlite(Box<[Value]>),
    Postgres(tokio_postgres::Row),
}

/// What a column holds, the same for both engines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// A Rust value that can be read from one column. The error says what was expected or why it does not fit.
pub trait FromCell: Sized {
    fn from_cell(cell: Cell<'_>) -> Result<Self, String>;
}

/// A Rust value that can be read from a whole row; made by [`crate::from_row!`], and by tuples.
pub trait FromRow: Sized {
    fn from_row(row: &Row) -> Result<Self, StoreError>;
}

impl Row {
    pub(crate) fn sqlite(statement: &'static str, values: Vec<Value>) -> Self {
        Self { statement, cells: Cells::Sqlite(values.into_boxed_slice()) }
    }

    pub(crate) fn postgres(statement: &'static str, row: tokio_postgres::Row) -> Self {
        Self { statement, cells: Cells::Postgres(row) }
    }

    pub fn len(&self) -> usize {
        match &self.cells {
            Cells::Sqlite(values) => values.len(),
            Cells::Postgres(row) => row.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the value of the column at `position`, counted from 0.
    pub fn get<T: FromCell>(&self, position: usize) -> Result<T, StoreError> {
        self.cell(position).and_then(T::from_cell).map_err(|reason| StoreError::Row {
            statement: self.statement,
            column: position,
            reason,
        })
    }

    /// Reads the whole row into a struct or a tuple.
    pub fn read<T: FromRow>(&self) -> Result<T, StoreError> {
        T::from_row(self)
    }

    /// Fails unless the row has exactly `count` columns. Used by [`crate::from_row!`].
    pub fn expect_columns(&self, count: usize) -> Result<(), StoreError> {
        if self.len() == count {
            return Ok(());
        }
        let reason = format!("the row has {} columns, its reader takes {count}", self.len());
        Err(StoreError::Row { statement: self.statement, column: self.len().min(count), reason })
    }

    fn cell(&self, position: usize) -> Result<Cell<'_>, String> {
        match &self.cells {
            Cells::Sqlite(values) => match values.get(position) {
                None => Err(format!("the row has {} columns", values.len())),
                Some(Value::Null) => Ok(Cell::Null),
                Some(Value::Bool(value)) => Ok(Cell::Bool(*value)),
                Some(Value::Int(value)) => Ok(Cell::Int(*value)),
                Some(Value::Real(value)) => Ok(Cell::Real(*value)),
                Some(Value::Text(value)) => Ok(Cell::Text(value)),
                Some(Value::Bytes(value)) => Ok(Cell::Bytes(value)),
            },
            Cells::Postgres(row) => postgres_cell(row, position),
        }
    }
}

fn postgres_cell(row: &tokio_postgres::Row, position: usize) -> Result<Cell<'_>, String> {
    use tokio_postgres::types::Type;
    let Some(column) = row.columns().get(position) else {
        return Err(format!("the row has {} columns", row.len()));
    };
    macro_rules! take {
        ($kind:ty, $name:ident => $cell:expr) => {
            match row.try_get::<_, Option<$kind>>(position) {
                Ok(Some($name)) => Ok($cell),
                Ok(None) => Ok(Cell::Null),
                Err(error) => Err(error.to_string()),
            }
        };
    }
    match *column.type_() {
        Type::INT8 => take!(i64, v => Cell::Int(v)),
        Type::INT4 => take!(i32, v => Cell::Int(v.into())),
        Type::INT2 => take!(i16, v => Cell::Int(v.into())),
        Type::BOOL => take!(bool, v => Cell::Bool(v)),
        Type::FLOAT8 => take!(f64, v => Cell::Real(v)),
        Type::FLOAT4 => take!(f32, v => Cell::Real(v.into())),
        Type::BYTEA => take!(&[u8], v => Cell::Bytes(v)),
        Type::JSON | Type::JSONB => take!(JsonText<'_>, v => Cell::Text(v.0)),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
            take!(&str, v => Cell::Text(v))
        }
        ref other => Err(format!("type {other} is not read by the store")),
    }
}

/// The text of a `json` or `jsonb` column, borrowed from the row.
struct JsonText<'a>(&'a str);

impl<'a> tokio_postgres::types::FromSql<'a> for JsonText<'a> {
    fn from_sql(
        kind: &tokio_postgres::types::Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let text = if *kind == tokio_postgres::types::Type::JSONB {
            raw.split_first().ok_or("an empty jsonb value")?.1
        } else {
            raw
        };
        Ok(Self(std::str::from_utf8(text)?))
    }

    fn accepts(_: &tokio_postgres::types::Type) -> bool {
        true
    }
}

impl Cell<'_> {
    fn unfit<T>(self, expected: &str) -> Result<T, String> {
        let found = match self {
            Cell::Null => "NULL",
            Cell::Bool(_) => "a boolean",
            Cell::Int(_) => "an integer",
            Cell::Real(_) => "a real number",
            Cell::Text(_) => "a text",
            Cell::Bytes(_) => "bytes",
        };
        Err(format!("expected {expected}, found {found}"))
    }
}

impl FromCell for i64 {
    fn from_cell(cell: Cell<'_>) -> Result<Self, String> {
        match cell {
            Cell::Int(value) => Ok(value),
            other => other.unfit("an integer"),
        }
    }
}

macro_rules! narrow {
    ($($kind:ty),*) => {$(
        impl FromCell for $kind {
            fn from_cell(cell: Cell<'_>) -> Result<Self, String> {
                let wide = i64::from_cell(cell)?;
                <$kind>::try_from(wide).map_err(|_| format!("{wide} is out of range"))
            }
        }
    )*};
}
narrow!(i32, u32, u16, u64, usize);

impl FromCell for bool {
    fn from_cell(cell: Cell<'_>) -> Result<Self, String> {
        match cell {
            Cell::Bool(value) => Ok(value),
            Cell::Int(0) => Ok(false),
            Cell::Int(1) => Ok(true),
            other => other.unfit("a boolean"),
        }
    }
}

impl FromCell for f64 {
    fn from_cell(cell: Cell<'_>) -> Result<Self, String> {
        match cell {
            Cell::Real(value) => Ok(value),
            Cell::Int(value) => Ok(value as f64),
            other => other.unfit("a number"),
        }
    }
}

impl FromCell for String {
    fn from_cell(cell: Cell<'_>) -> Result<Self, String> {
        match cell {
            Cell::Text(value) => Ok(value.to_owned()),
            other => other.unfit("a text"),
        }
    }
}

impl FromCell for Vec<u8> {
    fn from_cell(cell: Cell<'_>) -> Result<Self, String> {
        match cell {
            Cell::Bytes(value) => Ok(value.to_owned()),
            other => other.unfit("bytes"),
        }
    }
}

impl FromCell for Value {
    fn from_cell(cell: Cell<'_>) -> Result<Self, String> {
        Ok(match cell {
            Cell::Null => Value::Null,
            Cell::Bool(value) => Value::Bool(value),
            Cell::Int(value) => Value::Int(value),
            Cell::Real(value) => Value::Real(value),
            Cell::Text(value) => Value::Text(value.to_owned()),
            Cell::Bytes(value) => Value::Bytes(value.to_owned()),
        })
    }
}

impl<T: FromCell> FromCell for Option<T> {
    fn from_cell(cell: Cell<'_>) -> Result<Self, String> {
        match cell {
            Cell::Null => Ok(None),
            other => T::from_cell(other).map(Some),
        }
    }
}

/// Makes a struct readable from a row, its fields in the order of the columns:
/// `from_row!(Queued { id, agent_id, queued_at });`
#[macro_export]
macro_rules! from_row {
    ($name:path { $($field:ident),+ $(,)? }) => {
        impl $crate::FromRow for $name {
            fn from_row(row: &$crate::Row) -> ::std::result::Result<Self, $crate::StoreError> {
                row.expect_columns([$(stringify!($field)),+].len())?;
                let mut position = 0..;
                let mut next = || position.next().expect("positions have no end");
                // Fields of a struct literal are evaluated in the order they are written.
                Ok(Self { $($field: row.get(next())?),+ })
            }
        }
    };
}

macro_rules! tuple {
    ($count:literal: $($kind:ident $at:literal),+) => {
        impl<$($kind: FromCell),+> FromRow for ($($kind,)+) {
            fn from_row(row: &Row) -> Result<Self, StoreError> {
                row.expect_columns($count)?;
                Ok(($(row.get::<$kind>($at)?,)+))
            }
        }
    };
}
tuple!(1: A 0);
tuple!(2: A 0, B 1);
tuple!(3: A 0, B 1, C 2);
tuple!(4: A 0, B 1, C 2, D 3);
tuple!(5: A 0, B 1, C 2, D 3, E 4);
tuple!(6: A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(7: A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Run {
        id: String,
        epoch: i64,
        live: bool,
        note: Option<String>,
    }
    from_row!(Run { id, epoch, live, note });

    #[test]
    fn a_struct_is_read_by_position() {
        let row = Row::sqlite("q", vec![Value::Text("r1".into()), Value::Int(3), Value::Int(1), Value::Null]);
        assert_eq!(row.read::<Run>().unwrap(), Run { id: "r1".into(), epoch: 3, live: true, note: None });
    }

    #[test]
    fn a_wrong_type_names_the_statement_and_the_column() {
        let row = Row::sqlite("SELECT a, b", vec![Value::Int(1), Value::Null]);
        let error = row.read::<(i64, String)>().unwrap_err();
        assert_eq!(error.to_string(), "column 1 of `SELECT a, b`: expected a text, found NULL");
    }

    #[test]
    fn too_few_columns_are_an_error_and_not_a_panic() {
        let row = Row::sqlite("SELECT a", vec![Value::Int(1)]);
        assert!(matches!(row.read::<(i64, i64)>(), Err(StoreError::Row { column: 1, .. })));
        assert!(matches!(row.get::<i64>(7), Err(StoreError::Row { column: 7, .. })));
    }
}
