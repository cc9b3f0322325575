//! What a run is told of its task: the wake payload and the task in words.
//!
//! Both are pure functions of what was loaded. How much of it a program is shown, and in which form, is the business of
//! the adapters.

mod node;
mod payload;
mod quote;
mod task;

pub use node::node;
pub use payload::{
    LONGEST_BODIES, LONGEST_BODY, MOST_COMMENTS, PayloadView, SummaryDocument, TaskComment, TaskIssue,
    comment_ids, is_needed, payload,
};
pub use quote::{fenced, one_line, shorten};
pub use task::{LONGEST_COMMENT, LONGEST_DESCRIPTION, markdown};
