//! What a run is told of its task: the wake payload and the task in words.
//!
//! Both are pure functions of what was loaded. How much of it a program is shown, and in which form, is the business of
//! the adapters.

mod quote;

pub use quote::{fenced, one_line, shorten};
