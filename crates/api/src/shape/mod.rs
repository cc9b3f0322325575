//! Wire shapes: what stored rows look like to clients. Field names and nulls are those of existing clients; fields of our
//! own are added beside them. Nothing is loaded or decided here.

pub(crate) mod account;
pub(crate) mod activity;
pub(crate) mod agent;
pub(crate) mod approval;
pub(crate) mod attachment;
pub(crate) mod automation;
pub(crate) mod budget;
pub(crate) mod comment;
pub(crate) mod company;
pub(crate) mod company_file;
pub(crate) mod cost;
pub(crate) mod document;
pub(crate) mod environment;
pub(crate) mod execution_workspace;
pub(crate) mod explanation;
pub(crate) mod gate;
pub(crate) mod glance;
pub(crate) mod held_text;
pub(crate) mod instance;
pub(crate) mod instructions;
pub(crate) mod interaction;
pub(crate) mod issue;
pub(crate) mod issue_detail;
pub(crate) mod output;
pub(crate) mod person;
pub(crate) mod project;
pub(crate) mod reference;
pub(crate) mod run;
pub(crate) mod run_of_issue;
pub(crate) mod runtime;
pub(crate) mod runtime_environment;
pub(crate) mod runtime_service;
pub(crate) mod schedule;
pub(crate) mod secret;
pub(crate) mod skill;
pub(crate) mod transcript;
pub(crate) mod tree;
pub(crate) mod wake;
pub(crate) mod webhook;
pub(crate) mod webhook_trigger;
pub(crate) mod work_product;

/// Cents of a sum in micro-dollars, half a cent rounded up (D21).
pub(crate) fn cents(micros: i64) -> i64 {
    micros.saturating_add(5_000).div_euclid(10_000)
}

#[cfg(test)]
mod tests {
    #[test]
    fn half_a_cent_is_rounded_up() {
        for (micros, cents) in
            [(0, 0), (4_999, 0), (5_000, 1), (10_000, 1), (14_999, 1), (15_000, 2), (-5_000, 0), (-5_001, -1)]
        {
            assert_eq!(super::cents(micros), cents, "{micros}");
        }
    }
}
