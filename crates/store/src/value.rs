//! Values that go into statements, and the `p!` list that holds them.
//!
//! A value does not know its SQL type. SQLite takes it as it is; for PostgreSQL it is written as the type that the
//! server inferred for the parameter, so that NULL and JSON need no annotation.

use std::error::Error;

use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The parameters of one call, in the order `$1, $2, ...`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Params(pub(crate) Vec<Value>);

impl Params {
    pub fn of(values: Vec<Value>) -> Self {
        Self(values)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Makes a [`Params`] list: `p![now, &run.id, None, true]`.
#[macro_export]
macro_rules! p {
    (@ [$($done:expr),*]) => { $crate::Params::of(::std::vec![$($done),*]) };
    (@ [$($done:expr),*] None $(, $($rest:tt)*)?) => { $crate::p!(@ [$($done,)* $crate::Value::Null] $($($rest)*)?) };
    (@ [$($done:expr),*] $next:expr $(, $($rest:tt)*)?) => {
        $crate::p!(@ [$($done,)* $crate::Value::from($next)] $($($rest)*)?)
    };
    ($($all:tt)*) => { $crate::p!(@ [] $($all)*) };
}

macro_rules! from {
    ($($given:ty => |$name:ident| $made:expr;)*) => {$(
        impl From<$given> for Value {
            fn from($name: $given) -> Self { $made }
        }
    )*};
}

from! {
    bool => |v| Value::Bool(v);
    &bool => |v| Value::Bool(*v);
    i64 => |v| Value::Int(v);
    &i64 => |v| Value::Int(*v);
    i32 => |v| Value::Int(v.into());
    &i32 => |v| Value::Int((*v).into());
    u32 => |v| Value::Int(v.into());
    &u32 => |v| Value::Int((*v).into());
    f64 => |v| Value::Real(v);
    &f64 => |v| Value::Real(*v);
    String => |v| Value::Text(v);
    &String => |v| Value::Text(v.clone());
    &str => |v| Value::Text(v.to_owned());
    &&str => |v| Value::Text((*v).to_owned());
    Vec<u8> => |v| Value::Bytes(v);
    &Vec<u8> => |v| Value::Bytes(v.clone());
    &[u8] => |v| Value::Bytes(v.to_owned());
    &Value => |v| v.clone();
}

impl<T> From<Option<T>> for Value
where
    Value: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Value::from)
    }
}

// Through a clone of `T`: asking for `From<&T>` here would send the compiler round in circles over `&Option<&Option<..`.
impl<T> From<&Option<T>> for Value
where
    T: Clone,
    Value: From<T>,
{
    fn from(value: &Option<T>) -> Self {
        value.clone().map_or(Value::Null, Value::from)
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Bool(value) => ValueRef::Integer(i64::from(*value)),
            Value::Int(value) => ValueRef::Integer(*value),
            Value::Real(value) => ValueRef::Real(*value),
            Value::Text(value) => ValueRef::Text(value.as_bytes()),
            Value::Bytes(value) => ValueRef::Blob(value),
        }))
    }
}

impl Value {
    /// Whether the value can be written as a parameter of this type; if not, why.
    pub(crate) fn fits(&self, to: &Type) -> Result<(), String> {
        let (fits, kind) = match self {
            Value::Null => (true, "NULL"),
            Value::Bool(_) => (*to == Type::BOOL, "a boolean"),
            Value::Int(value) => match *to {
                Type::INT8 | Type::FLOAT8 => (true, "an integer"),
                Type::INT4 => (i32::try_from(*value).is_ok(), "an integer of more than 32 bits"),
                Type::INT2 => (i16::try_from(*value).is_ok(), "an integer of more than 16 bits"),
                _ => (false, "an integer"),
            },
            Value::Real(_) => (*to == Type::FLOAT8, "a real number"),
            Value::Text(_) => (is_text(to) || *to == Type::JSONB, "a text"),
            Value::Bytes(_) => (*to == Type::BYTEA, "bytes"),
        };
        if fits { Ok(()) } else { Err(format!("{kind} given for a parameter of type {to}")) }
    }
}

fn is_text(kind: &Type) -> bool {
    [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::UNKNOWN, Type::JSON].contains(kind)
}

impl ToSql for Value {
    fn to_sql(&self, to: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.fits(to)?;
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Bool(value) => value.to_sql(to, out),
            Value::Int(value) => match *to {
                Type::INT4 => i32::try_from(*value)?.to_sql(to, out),
                Type::INT2 => i16::try_from(*value)?.to_sql(to, out),
                // Exact up to 2^53, as in SQLite.
                Type::FLOAT8 => (*value as f64).to_sql(to, out),
                _ => value.to_sql(to, out),
            },
            Value::Real(value) => value.to_sql(to, out),
            Value::Text(value) => {
                if *to == Type::JSONB {
                    // The binary form of jsonb is its text behind a version byte.
                    out.extend_from_slice(&[1]);
                }
                out.extend_from_slice(value.as_bytes());
                Ok(IsNull::No)
            }
            Value::Bytes(value) => value.to_sql(to, out),
        }
    }

    /// Every type is looked at when the value is written, where the value is known too.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_takes_every_kind_of_value_by_value_and_by_reference() {
        let (text, maybe, none) = ("b".to_owned(), Some("c".to_owned()), None::<i64>);
        let list = p!["a", &text, &maybe, none, None, 1, 2_i64, true, vec![1_u8], 0.5];
        assert_eq!(
            list.0,
            [
                Value::Text("a".into()),
                Value::Text("b".into()),
                Value::Text("c".into()),
                Value::Null,
                Value::Null,
                Value::Int(1),
                Value::Int(2),
                Value::Bool(true),
                Value::Bytes(vec![1]),
                Value::Real(0.5),
            ]
        );
        assert!(p![].is_empty());
        assert_eq!(p![1,].len(), 1);
    }
}
