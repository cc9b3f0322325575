//! Environments: the machines that runs work on.
//!
//! A [`Driver`] knows how to reach one kind of machine: `local` is the server's own, `ssh` is any that can be logged in
//! to; others can be added to [`Drivers`]. A run takes a lease on one environment before its process starts and gives it
//! back after its end (`on_run`); leases of runs that ended in any other way are collected by the sweep
//! (`sweeps/environments.rs`), which is the only place that ends leases.

mod choosing;
pub mod driver;
mod keys;
mod local;
pub(crate) mod on_run;
mod records;
mod ssh;

pub(crate) use choosing::local as local_environment;
pub use driver::{Ask, BroughtBack, Driver, DriverError, Drivers, ProbeReport, Step};
pub use records::{EnvironmentDraft, EnvironmentPatch, MOST_ENVIRONMENTS, RunPlace, shown_config};
pub(crate) use records::{check_choice, check_default};
