//! Logs on the wire: where a reader stands, how frames become text, and reading on from there.

mod cutter;
mod place;
mod tape;

pub(crate) use cutter::{Piece, Unit};
pub(crate) use place::Place;
pub(crate) use tape::{Known, Pull, Tape};
