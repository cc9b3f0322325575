//! The session of a program: what is kept of it, whether a run resumes it, and what a fresh one is told instead.
//!
//! [`codec`] is what is kept, [`choice`] the decision of one process (spec/heartbeat.md 4.1, 4.3, 4.10), [`rotation`] when
//! a session has grown too old or too large, [`handover`] the few lines that a fresh session begins with. Which session a
//! wake asks for is `wake::resume`.

pub mod choice;
pub mod codec;
pub mod handover;
pub mod rotation;
