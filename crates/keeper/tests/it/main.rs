//! The keeper with small real programs that behave and misbehave.
#![allow(clippy::unwrap_used)] // the lint's exception for tests does not see functions that tests share

mod archiving;
mod containing;
mod feeding;
mod logging;
mod measuring;
mod ordering;
mod running;
mod starting;
mod support;
mod watching;
