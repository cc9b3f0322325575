//! The keeper with small real programs that behave and misbehave.

mod archiving;
mod containing;
mod feeding;
mod logging;
mod ordering;
mod running;
mod starting;
mod support;
mod watching;
