//! The commands of `bugle`, one a file. Each talks to the server over HTTP alone, except `up`, which is the server, and
//! `doctor`, which must work without one.

pub(crate) mod agent;
mod agent_add;
mod agent_lookup;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod company;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod logs;
pub(crate) mod run;
mod run_explain;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod wake;
