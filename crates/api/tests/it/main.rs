//! The surface as clients see it: a real engine on a store in memory, processes that the tests play, real HTTP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::cloned_ref_to_slice_refs, reason = "expected lists read better written out")]

mod accounts;
mod approvals;
mod automation_events;
mod automations;
mod company_file;
mod configurations;
mod documents;
mod door;
mod environments;
mod gates;
mod heartbeat_of_the_skill;
mod inbox;
mod instructions;
mod isolation;
mod issue_parts;
mod issues;
mod lists;
mod logs;
mod mcp;
mod money;
mod people;
mod puppets;
mod refusals;
mod schedules;
mod secrets;
mod shapes;
mod skills;
mod stage;
mod streams;
mod transcripts;
mod trees;
mod trust;
mod untrusted;
mod wakes;
mod webhooks;
