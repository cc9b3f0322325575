//! The surface as clients see it: a real engine on a store in memory, processes that the tests play, real HTTP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::cloned_ref_to_slice_refs, reason = "expected lists read better written out")]

mod approvals;
mod documents;
mod door;
mod isolation;
mod issue_parts;
mod issues;
mod lists;
mod logs;
mod money;
mod people;
mod puppets;
mod refusals;
mod shapes;
mod stage;
mod streams;
mod transcripts;
mod trees;
mod trust;
mod wakes;
