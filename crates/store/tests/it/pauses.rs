//! Pauses: one for each company and agent, lifted only for the reason it was made for.

use domain::agent::{AgentStatus, PauseReason};
use store::pauses::{self, CompanyPause};
use store::{agents, sql};

use crate::acme::{at, company_with_an_agent, tx};
use crate::both_stores;

both_stores! {
    async fn a_company_is_resumed_only_for_the_reason_of_its_pause(store: Store) {
        let (acme, _) = company_with_an_agent(&store).await;
        let active = CompanyPause { status: "active".into(), pause_reason: None, paused_at: None };
        assert_eq!(tx!(store, [acme], |tx| pauses::of_company(tx, &acme)), Some(active.clone()));
        assert!(!tx!(store, [acme], |tx| pauses::resume_company(tx, &acme, PauseReason::Budget, at(1))));
        assert!(tx!(store, [acme], |tx| pauses::pause_company(tx, &acme, PauseReason::Manual, at(2))));
        assert!(!tx!(store, [acme], |tx| pauses::pause_company(tx, &acme, PauseReason::Budget, at(3))));
        assert!(!tx!(store, [acme], |tx| pauses::resume_company(tx, &acme, PauseReason::Budget, at(4))));
        let paused =
            CompanyPause { status: "paused".into(), pause_reason: Some(PauseReason::Manual), paused_at: Some(at(2)) };
        assert_eq!(tx!(store, [acme], |tx| pauses::of_company(tx, &acme)), Some(paused));
        assert!(tx!(store, [acme], |tx| pauses::resume_company(tx, &acme, PauseReason::Manual, at(5))));
        assert_eq!(tx!(store, [acme], |tx| pauses::of_company(tx, &acme)), Some(active));
    }

    async fn an_agent_is_paused_if_it_could_work_and_resumed_for_the_same_reason(store: Store) {
        let (acme, ada) = company_with_an_agent(&store).await;
        assert!(tx!(store, [ada], |tx| pauses::pause_agent(tx, &ada, PauseReason::Budget, at(1))));
        assert!(!tx!(store, [ada], |tx| pauses::pause_agent(tx, &ada, PauseReason::Manual, at(2))));
        assert_eq!(tx!(store, [acme], |tx| pauses::count_paused_agents(tx, &acme)), 1);
        let paused = tx!(store, [ada], |tx| agents::get(tx, &ada)).unwrap();
        assert_eq!(
            (paused.status, paused.pause_reason, paused.paused_at),
            (AgentStatus::Paused, Some(PauseReason::Budget), Some(at(1)))
        );
        assert!(!tx!(store, [ada], |tx| pauses::resume_agent(tx, &ada, PauseReason::Manual, at(3))));
        assert!(tx!(store, [ada], |tx| pauses::resume_agent(tx, &ada, PauseReason::Budget, at(4))));
        let resumed = tx!(store, [ada], |tx| agents::get(tx, &ada)).unwrap();
        assert_eq!((resumed.status, resumed.pause_reason, resumed.paused_at), (AgentStatus::Idle, None, None));
        for status in ["terminated", "pending_approval"] {
            let set = sql!("UPDATE agents SET status = $1 WHERE id = 'ada'");
            tx!(store, [], |tx| tx.run(set, store::p![status]));
            assert!(!tx!(store, [ada], |tx| pauses::pause_agent(tx, &ada, PauseReason::Budget, at(5))), "{status}");
        }
    }
}
