//! Webhooks: events that leave for the servers of others, and requests of others that start automations.
//!
//! Everything here is a rule: which events an endpoint hears, where they may be sent, when a delivery is tried again,
//! what a request has to show, and what becomes of one. Nothing is sent, signed or stored here.

pub mod delivery;
pub mod event;
pub mod form;
pub mod place;
pub mod proof;
pub mod rate;
pub mod receipt;
pub mod turn;
