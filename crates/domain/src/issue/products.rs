//! The words of work products: what an issue has brought about (spec/api.md 3.7).

/// What it is.
pub const KINDS: [&str; 7] =
    ["preview_url", "runtime_service", "pull_request", "branch", "commit", "artifact", "document"];

/// How far it is.
pub const STATUSES: [&str; 9] = [
    "active",
    "ready_for_review",
    "approved",
    "changes_requested",
    "merged",
    "closed",
    "failed",
    "archived",
    "draft",
];

/// What people said of it.
pub const REVIEW_STATES: [&str; 4] = ["none", "needs_board_review", "approved", "changes_requested"];

/// Whether it works, for what is running.
pub const HEALTHS: [&str; 3] = ["unknown", "healthy", "unhealthy"];
