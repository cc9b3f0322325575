//! The program as people use it: the real binary, real servers, real processes. Nothing of it is left when a test ends.

// Helpers of tests are tests to people, not to the lint.
#![allow(clippy::unwrap_used)]

mod agents;
mod audit_cli;
mod automations_cli;
mod automations_crash;
mod backlog;
mod broken_setups;
mod budgets_cli;
mod canaries;
mod company_file;
mod crash;
mod environments;
mod examples;
mod first_steps;
mod following;
#[path = "../../../adapters/tests/it/gateway.rs"]
mod gateway;
mod gateways;
mod instructions_cli;
mod issues_cli;
mod log_stream;
mod logins;
mod mcp;
mod outcomes;
mod permissions;
mod release_notes;
mod restarts;
mod restarts_of_automations;
mod runtime_services;
mod scene;
mod scopes_of_steps;
mod secrets_cli;
mod stage;
mod stalls;
mod stop;
mod stopping;
mod transcripts;
mod untrusted_cli;
mod webhooks_cli;
mod workspaces;
