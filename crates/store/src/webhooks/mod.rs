//! Webhooks, as stored: a file for each table. What is sealed is opened elsewhere.

pub mod deliveries;
pub mod endpoints;
pub mod receipts;
pub mod secrets;
pub mod triggers;
