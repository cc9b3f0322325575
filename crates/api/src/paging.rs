//! Asking for a part of a list: query parameters, limits, and cursors.
//!
//! Lists are arrays (existing clients read them), so the cursor of the next page travels in a header, and comes back in
//! the same header or as `?cursor=`. A cursor names a place between two rows, not a number of rows: what is added or
//! removed meanwhile moves nothing.

use std::convert::Infallible;

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use domain::ids::looks_like_id;
use domain::moment::Moment;
use serde::Serialize;

use crate::errors::ApiError;

/// The header of the next page's cursor.
pub(crate) const CURSOR: &str = "bugle-cursor";
/// No list is longer than this.
pub(crate) const MOST: i64 = 1000;

/// The query of a request, and the cursor from its header. Reading it never fails; a name that comes twice counts once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    query: Vec<(String, String)>,
    header: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked, Infallible> {
        let query = Query::try_from_uri(&parts.uri).map(|Query(query)| query).unwrap_or_default();
        Ok(Asked { query, header: text_of(&parts.headers) })
    }
}

fn text_of(headers: &HeaderMap) -> Option<String> {
    headers.get(CURSOR)?.to_str().ok().map(str::to_owned)
}

/// A place in a list: the moment and id of the last row that was given.
pub(crate) type Place = (Moment, String);

impl Asked {
    /// A parameter that is there and not blank.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "true" | "yes"))
    }

    /// The names of all parameters, sorted, each once.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.query.iter().map(|(key, _)| key.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// A whole number between the two; `None` when it is absent or no number.
    pub(crate) fn number(&self, name: &str, least: i64, most: i64) -> Option<i64> {
        let value = self.get(name)?.parse::<f64>().ok().filter(|number| number.is_finite())?;
        Some((value.trunc() as i64).clamp(least, most))
    }

    /// `limit`: absent is the most there is, what is no number is `otherwise`.
    pub(crate) fn limit(&self, otherwise: i64) -> i64 {
        match self.get("limit") {
            None => MOST,
            Some(_) => self.number("limit", 1, MOST).unwrap_or(otherwise),
        }
    }

    pub(crate) fn cursor(&self) -> Option<&str> {
        self.header.as_deref().map(str::trim).filter(|text| !text.is_empty()).or_else(|| self.get("cursor"))
    }

    /// The place the cursor names.
    pub(crate) fn place(&self) -> Result<Option<Place>, ApiError> {
        let Some(text) = self.cursor() else { return Ok(None) };
        let place = text.split_once('.').and_then(|(micros, id)| {
            let micros = micros.parse().ok()?;
            looks_like_id(id).then(|| (Moment::from_micros(micros), id.to_owned()))
        });
        match place {
            Some(place) => Ok(Some(place)),
            None => Err(bad_cursor()),
        }
    }
}

/// A cursor that is none of ours.
pub(crate) fn bad_cursor() -> ApiError {
    ApiError::bad_request("bad_cursor", "Cursor was not given by this server")
        .hint("use the Bugle-Cursor header of the page before, or none for the first page")
}

/// The answer to a list: `rows` are one more than `limit` when there is a next page.
pub(crate) fn page<T, W: Serialize>(
    mut rows: Vec<T>,
    limit: i64,
    place: impl Fn(&T) -> String,
    wire: impl FnOnce(Vec<T>) -> Vec<W>,
) -> Response {
    let limit = usize::try_from(limit).unwrap_or(0);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let cursor = rows.last().filter(|_| has_more).map(place);
    let mut answer = Json(wire(rows)).into_response();
    if let Some(value) = cursor.and_then(|text| HeaderValue::from_str(&text).ok()) {
        answer.headers_mut().insert(CURSOR, value);
    }
    answer
}

/// The cursor of a row.
pub(crate) fn cursor_of(at: Moment, id: &str) -> String {
    format!("{}.{id}", at.micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Asked {
        let uri: axum::http::Uri = format!("/x?{query}").parse().unwrap();
        Asked { query: Query::try_from_uri(&uri).map(|Query(query)| query).unwrap_or_default(), header: None }
    }

    #[test]
    fn limits_follow_the_table_of_existing_clients() {
        for (query, limit) in [
            ("", 1000),
            ("limit=", 1000),
            ("limit=5", 5),
            ("limit=0", 1),
            ("limit=-3", 1),
            ("limit=5000", 1000),
            ("limit=ten", 200),
            ("limit=2.9", 2),
            ("limit=NaN", 200),
        ] {
            assert_eq!(asked(query).limit(200), limit, "{query}");
        }
    }

    #[test]
    fn a_cursor_reads_back_and_others_are_refused() {
        let id = "0192f7a0-0000-4000-8000-00000000000a";
        let cursor = cursor_of(Moment::from_micros(17), id);
        let place = asked(&format!("cursor={cursor}")).place().unwrap();
        assert_eq!(place, Some((Moment::from_micros(17), id.to_owned())));
        assert_eq!(asked("").place().unwrap(), None);
        for wrong in ["17", "x.y", "17.'--", ".", &format!("x.{id}")] {
            assert!(asked(&format!("cursor={wrong}")).place().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_header_wins_over_the_query() {
        let both = Asked { header: Some("h".into()), ..asked("cursor=q") };
        assert_eq!(both.cursor(), Some("h"));
        assert_eq!(asked("b=1&a=2&b=3").names(), ["a", "b"]);
    }
}
