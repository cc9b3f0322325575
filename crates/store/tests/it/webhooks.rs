//! Webhooks as stored: leases of deliveries, receipts of events, and secrets that run out.

use domain::automation::AutomationStatus;
use domain::ids::CompanyId;
use domain::webhook::delivery::{DeliveryStatus, DisabledReason};
use domain::webhook::proof::Scheme;
use domain::webhook::receipt::ReceiptStatus;
use serde_json::json;
use store::Store;
use store::automations::definitions::{self, Automation};
use store::webhooks::deliveries::{self, Delivery, Outcome};
use store::webhooks::endpoints::{self, Endpoint};
use store::webhooks::receipts::{self, Receipt};
use store::webhooks::secrets::{self, SealedSecret};
use store::webhooks::triggers::{self, WebhookTrigger};

use crate::acme::{at, company_with_an_agent, tx};
use crate::both_stores;

fn endpoint(id: &str) -> Endpoint {
    Endpoint {
        id: id.into(),
        company_id: "acme".into(),
        url: "https://example.com/hook".into(),
        events: json!(["automation.*"]),
        description: None,
        is_enabled: true,
        disabled_reason: None,
        disabled_at: None,
        failing_since: None,
        event_cursor: 0,
        secret_version: 1,
        created_by_user_id: Some("board".into()),
        created_at: at(1),
        updated_at: at(1),
    }
}

fn delivery(id: &str, event: Option<i64>, due: i64) -> Delivery {
    Delivery {
        id: id.into(),
        endpoint_id: "e1".into(),
        company_id: "acme".into(),
        event_id: event,
        kind: "automation.run.created".into(),
        payload: json!({ "runId": "r" }),
        happened_at: at(1),
        status: DeliveryStatus::Pending,
        attempts: 0,
        due_at: Some(at(due)),
        lease: None,
        answer_status: None,
        answer: None,
        error: None,
        took_ms: None,
        tried_at: None,
        created_at: at(due),
        finished_at: None,
    }
}

fn outcome(status: DeliveryStatus, due: Option<i64>) -> Outcome {
    Outcome {
        status,
        attempts: 1,
        due_at: due.map(at),
        answer_status: Some(500),
        answer: Some("no".into()),
        error: None,
        took_ms: 7,
        tried_at: at(20),
    }
}

/// The automation that the trigger starts.
async fn automation(store: &Store) {
    let automation = Automation {
        id: "a1".into(),
        company_id: "acme".into(),
        name: "ship".into(),
        status: AutomationStatus::Active,
        paused_reason: None,
        version: 1,
        created_by: None,
        created_at: at(0),
        updated_at: at(0),
        removed_at: None,
    };
    assert!(tx!(store, [automation], |tx| definitions::insert(tx, &automation)));
}

fn trigger(id: &str) -> WebhookTrigger {
    WebhookTrigger {
        id: id.into(),
        company_id: "acme".into(),
        automation_id: "a1".into(),
        name: "push".into(),
        token_hash: format!("hash-{id}"),
        scheme: Scheme::Github,
        secret_header: "x-webhook-secret".into(),
        input: "webhook".into(),
        headers: json!(["content-type"]),
        size_limit: 1 << 20,
        rate_per_minute: 120,
        is_enabled: true,
        secret_version: 1,
        created_by_user_id: None,
        created_at: at(1),
        updated_at: at(1),
    }
}

fn receipt(id: &str, status: ReceiptStatus, event: Option<&str>, second: i64) -> Receipt {
    Receipt {
        id: id.into(),
        trigger_id: "t1".into(),
        company_id: "acme".into(),
        status,
        reason: None,
        event_id: event.map(Into::into),
        digest: "d".into(),
        size: 3,
        content_type: Some("application/json".into()),
        duplicate_of: None,
        automation_run_id: None,
        received_at: at(second),
    }
}

both_stores! {
    async fn one_holder_of_a_lease_says_what_became_of_a_delivery(store: Store) {
        company_with_an_agent(&store).await;
        let (one, first) = (endpoint("e1"), delivery("d1", Some(7), 10));
        tx!(store, [one], |tx| endpoints::insert(tx, &one));
        tx!(store, [first], |tx| deliveries::insert(tx, &first));
        let again = delivery("d2", Some(7), 5);
        tx!(store, [again], |tx| deliveries::insert(tx, &again));
        assert!(tx!(store, [], |tx| deliveries::has_waiting(tx, "e1", 1)));
        assert!(!tx!(store, [], |tx| deliveries::has_waiting(tx, "e1", 2)), "one event, one delivery");
        assert_eq!(tx!(store, [], |tx| deliveries::claim(tx, "e1", "l1", at(9), at(70))), None);
        let held = tx!(store, [], |tx| deliveries::claim(tx, "e1", "l1", at(10), at(70))).unwrap();
        assert_eq!((held.id.as_str(), held.due_at), ("d1", Some(at(70))));
        assert_eq!(tx!(store, [], |tx| deliveries::claim(tx, "e1", "l2", at(69), at(99))), None);
        // Whoever held it is gone: somebody else has it by now.
        assert!(tx!(store, [], |tx| deliveries::claim(tx, "e1", "l2", at(70), at(130))).is_some());
        let (done, later) = (outcome(DeliveryStatus::Delivered, None), outcome(DeliveryStatus::Pending, Some(40)));
        assert!(!tx!(store, [done], |tx| deliveries::settle(tx, "d1", "l1", &done)));
        assert!(tx!(store, [later], |tx| deliveries::settle(tx, "d1", "l2", &later)));
        assert!(!tx!(store, [done], |tx| deliveries::settle(tx, "d1", "l2", &done)), "a lease is given back once");
        assert_eq!(tx!(store, [], |tx| deliveries::next_due(tx, "e1")), Some(at(40)));
        tx!(store, [], |tx| deliveries::claim(tx, "e1", "l3", at(40), at(99)));
        assert!(tx!(store, [done], |tx| deliveries::settle(tx, "d1", "l3", &done)));
        let found = tx!(store, [], |tx| deliveries::get(tx, "d1")).unwrap();
        assert_eq!((found.status, found.finished_at, found.answer.as_deref()), (DeliveryStatus::Delivered, Some(at(20)), Some("no")));
        assert_eq!(tx!(store, [], |tx| deliveries::next_due(tx, "e1")), None);
    }

    async fn a_delivery_that_is_over_starts_anew_by_hand_and_goes_after_a_while(store: Store) {
        company_with_an_agent(&store).await;
        let one = endpoint("e1");
        tx!(store, [one], |tx| endpoints::insert(tx, &one));
        for (id, event) in [("d1", Some(1)), ("d2", None), ("d3", None)] {
            let row = delivery(id, event, 1);
            tx!(store, [row], |tx| deliveries::insert(tx, &row));
        }
        assert!(!tx!(store, [], |tx| deliveries::restart(tx, "d1", at(5))), "it waits already");
        assert_eq!(tx!(store, [], |tx| deliveries::give_up(tx, "e1", "endpoint_disabled", at(6))), 3);
        assert!(tx!(store, [], |tx| deliveries::restart(tx, "d1", at(7))));
        let listed = tx!(store, [], |tx| deliveries::list(tx, "e1", None, 2));
        let ids: Vec<&str> = listed.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["d3", "d2"]);
        let place = Some((listed[1].created_at, listed[1].id.clone()));
        let rest = tx!(store, [place], |tx| deliveries::list(tx, "e1", place.clone(), 9));
        assert_eq!((rest.len(), rest[0].status, rest[0].attempts), (1, DeliveryStatus::Pending, 0));
        assert_eq!(tx!(store, [], |tx| deliveries::remove_over(tx, at(6), 9)), 0);
        assert_eq!(tx!(store, [], |tx| deliveries::remove_over(tx, at(7), 9)), 2);
    }

    async fn an_endpoint_is_changed_listed_and_removed_with_what_is_its_own(store: Store) {
        let (company, _) = company_with_an_agent(&store).await;
        for one in [endpoint("e1"), endpoint("e2")] {
            tx!(store, [one], |tx| endpoints::insert(tx, &one));
        }
        tx!(store, [], |tx| endpoints::move_cursor(tx, "e1", 12));
        tx!(store, [], |tx| endpoints::set_failing(tx, "e1", Some(at(3))));
        let off = Endpoint {
            is_enabled: false,
            disabled_reason: Some(DisabledReason::Gone),
            disabled_at: Some(at(4)),
            events: json!(["*"]),
            ..endpoint("e2")
        };
        tx!(store, [off], |tx| endpoints::update(tx, &off));
        let on = tx!(store, [], |tx| endpoints::enabled(tx, "", 9));
        assert_eq!(on.iter().map(|it| (it.id.as_str(), it.event_cursor)).collect::<Vec<_>>(), [("e1", 12)]);
        assert_eq!(on[0].failing_since, Some(at(3)));
        assert_eq!(on[0].patterns().collect::<Vec<_>>(), ["automation.*"]);
        assert_eq!(tx!(store, [company], |tx| endpoints::list(tx, &company, 9)).len(), 2);
        assert_eq!(tx!(store, [], |tx| endpoints::lock(tx, "e2")), Some(off));
        let row = delivery("d1", None, 1);
        tx!(store, [row], |tx| deliveries::insert(tx, &row));
        assert!(tx!(store, [], |tx| endpoints::remove(tx, "e1")));
        assert!(!tx!(store, [], |tx| endpoints::remove(tx, "e1")));
        assert_eq!(tx!(store, [], |tx| deliveries::get(tx, "d1")), None);
    }

    async fn an_old_secret_is_good_until_it_runs_out(store: Store) {
        company_with_an_agent(&store).await;
        let secret = |version: i64| SealedSecret {
            owner_id: "e1".into(),
            version,
            company_id: "acme".into(),
            key_id: "k".into(),
            material: format!("m{version}"),
            expires_at: None,
            created_at: at(version),
        };
        let versions = |found: Vec<SealedSecret>| found.into_iter().map(|it| it.version).collect::<Vec<_>>();
        let (one, two, three) = (secret(1), secret(2), secret(3));
        tx!(store, [one], |tx| secrets::insert(tx, &one));
        tx!(store, [], |tx| secrets::expire(tx, "e1", at(100), at(10)));
        tx!(store, [two], |tx| secrets::insert(tx, &two));
        assert_eq!(versions(tx!(store, [], |tx| secrets::good(tx, "e1", at(99), 9))), [2, 1]);
        assert_eq!(versions(tx!(store, [], |tx| secrets::good(tx, "e1", at(100), 9))), [2]);
        // A longer overlap does not give an old one back what it had lost.
        tx!(store, [], |tx| secrets::expire(tx, "e1", at(200), at(50)));
        tx!(store, [three], |tx| secrets::insert(tx, &three));
        assert_eq!(versions(tx!(store, [], |tx| secrets::good(tx, "e1", at(150), 9))), [3, 2]);
        let company = CompanyId::from("acme");
        assert_eq!(tx!(store, [company], |tx| secrets::of_company(tx, &company, 9)).len(), 3);
    }

    async fn a_trigger_is_found_by_the_hash_of_its_token(store: Store) {
        let (company, _) = company_with_an_agent(&store).await;
        automation(&store).await;
        let one = trigger("t1");
        tx!(store, [one], |tx| triggers::insert(tx, &one));
        assert_eq!(tx!(store, [], |tx| triggers::by_token(tx, "hash-t1")), Some(one.clone()));
        assert_eq!(tx!(store, [], |tx| triggers::by_token(tx, "hash")), None);
        let same = WebhookTrigger { id: "t2".into(), ..one.clone() };
        let taken = store.write(move |tx| {
            let same = same.clone();
            Box::pin(async move { triggers::insert(tx, &same).await })
        });
        assert!(taken.await.is_err(), "a token belongs to one trigger");
        let changed = WebhookTrigger { is_enabled: false, input: "event".into(), updated_at: at(9), ..one };
        tx!(store, [changed], |tx| triggers::update(tx, &changed));
        assert_eq!(tx!(store, [company], |tx| triggers::list(tx, &company, 9)), std::slice::from_ref(&changed));
        assert_eq!(tx!(store, [], |tx| triggers::lock(tx, "t1")), Some(changed));
        assert!(tx!(store, [], |tx| triggers::remove(tx, "t1")));
    }

    async fn receipts_are_found_by_event_and_body_and_only_those_that_were_taken_in(store: Store) {
        company_with_an_agent(&store).await;
        automation(&store).await;
        let one = trigger("t1");
        tx!(store, [one], |tx| triggers::insert(tx, &one));
        for (row, body) in [
            (receipt("r1", ReceiptStatus::Rejected, Some("e"), 1), None),
            (receipt("r2", ReceiptStatus::Accepted, Some("e"), 2), Some(b"\0\xff{".as_slice())),
            (receipt("r3", ReceiptStatus::Duplicate, Some("e"), 3), None),
            (receipt("r4", ReceiptStatus::Received, None, 4), Some(b"".as_slice())),
        ] {
            tx!(store, [row], |tx| receipts::insert(tx, &row, body));
        }
        let found = tx!(store, [], |tx| receipts::of_event(tx, "t1", "e"));
        assert_eq!(found.map(|it| it.id), Some("r2".to_owned()));
        assert_eq!(tx!(store, [], |tx| receipts::of_event(tx, "t1", "f")), None);
        assert_eq!(tx!(store, [], |tx| receipts::of_digest(tx, "t1", "d")).map(|it| it.id), Some("r4".to_owned()));
        assert_eq!(tx!(store, [], |tx| receipts::body(tx, "r2")), Some(b"\0\xff{".to_vec()));
        assert_eq!(tx!(store, [], |tx| receipts::body(tx, "r1")), None);
        let listed = tx!(store, [], |tx| receipts::list(tx, "t1", None, 2));
        assert_eq!(listed.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["r4", "r3"]);
        assert_eq!(tx!(store, [], |tx| receipts::get(tx, "r3")).map(|it| it.status), Some(ReceiptStatus::Duplicate));
        assert_eq!(tx!(store, [], |tx| receipts::remove_bodies(tx, at(4), 9)), 1);
        assert_eq!(tx!(store, [], |tx| receipts::body(tx, "r2")), None);
        assert_eq!(tx!(store, [], |tx| receipts::remove_old(tx, at(4), 9)), 3);
        assert!(tx!(store, [], |tx| receipts::get(tx, "r4")).is_some());
    }
}
