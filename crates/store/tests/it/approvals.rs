//! Approvals: decided once, sent back and asked again, with their comments and issues.

use domain::ids::{CompanyId, IssueId};
use serde_json::json;
use store::Store;
use store::approvals::{self, Approval, ApprovalComment, Linker, Verdict};

use crate::acme::{at, tx};
use crate::both_stores;

fn approval(id: &str, seconds: i64) -> Approval {
    Approval {
        id: id.into(),
        company_id: "acme".into(),
        kind: "request_board_approval".into(),
        requested_by_agent_id: Some("ada".into()),
        requested_by_user_id: None,
        status: "pending".into(),
        payload: json!({"title": "a server"}),
        decision_note: None,
        decided_by_user_id: None,
        decided_at: None,
        created_at: at(seconds),
        updated_at: at(seconds),
    }
}

async fn insert(store: &Store, approval: Approval) {
    tx!(store, [approval], |tx| approvals::insert(tx, &approval));
}

fn verdict(status: &str, by: &str) -> Verdict {
    Verdict { status: status.into(), note: Some("fine".into()), by_user: Some(by.into()) }
}

async fn decide(store: &Store, id: &'static str, verdict: Verdict) -> Option<Approval> {
    tx!(store, [verdict], |tx| approvals::decide(tx, id, &verdict, at(50)))
}

async fn ids(store: &Store, status: Option<&'static str>, before: Option<&Approval>) -> Vec<String> {
    let (acme, before) = (CompanyId::from("acme"), before.map(|one| (one.created_at, one.id.clone())));
    let found = tx!(store, [acme, before], |tx| approvals::list(tx, &acme, status, before.clone(), 2));
    found.into_iter().map(|one| one.id).collect()
}

both_stores! {
    async fn an_approval_with_an_id_of_its_subject_is_added_once(store: Store) {
        let first = approval("a", 0);
        assert!(tx!(store, [first], |tx| approvals::insert_once(tx, &first)));
        let second = Approval { payload: json!({"title": "something else"}), ..approval("a", 9) };
        assert!(!tx!(store, [second], |tx| approvals::insert_once(tx, &second)));
        assert_eq!(tx!(store, [], |tx| approvals::get(tx, "a")), Some(first));
    }

    async fn the_first_decision_stands(store: Store) {
        insert(&store, approval("a", 0)).await;
        let decided = decide(&store, "a", verdict("approved", "board")).await;
        let expected = Approval {
            status: "approved".into(),
            decision_note: Some("fine".into()),
            decided_by_user_id: Some("board".into()),
            decided_at: Some(at(50)),
            updated_at: at(50),
            ..approval("a", 0)
        };
        assert_eq!(decided, Some(expected.clone()));
        assert_eq!(decide(&store, "a", verdict("rejected", "eve")).await, None);
        assert_eq!(decide(&store, "no such", verdict("approved", "eve")).await, None);
        assert_eq!(tx!(store, [], |tx| approvals::get(tx, "a")), Some(expected.clone()));
        assert_eq!(tx!(store, [], |tx| approvals::lock(tx, "a")), Some(expected));
    }

    async fn of_decisions_at_once_one_is_taken(store: Store) {
        insert(&store, approval("a", 0)).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..8 {
            let store = store.clone();
            let status = if number % 2 == 0 { "approved" } else { "rejected" };
            tasks.spawn(async move { decide(&store, "a", verdict(status, &format!("user-{number}"))).await });
        }
        let taken: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(taken.len(), 1);
        assert_eq!(tx!(store, [], |tx| approvals::get(tx, "a")).as_ref(), taken.first());
    }

    async fn what_was_sent_back_may_be_asked_again_or_decided(store: Store) {
        insert(&store, approval("a", 0)).await;
        assert_eq!(tx!(store, [], |tx| approvals::resubmit(tx, "a", None, at(1))), None, "nobody sent it back");
        let back = tx!(store, [], |tx| approvals::request_revision(tx, "a", Some("cheaper"), Some("board"), at(2)));
        assert_eq!(
            back.map(|one| (one.status, one.decision_note, one.decided_at)),
            Some(("revision_requested".into(), Some("cheaper".into()), Some(at(2))))
        );
        assert_eq!(tx!(store, [], |tx| approvals::request_revision(tx, "a", None, None, at(3))), None);
        let payload = json!({"title": "a small server"});
        let again = tx!(store, [payload], |tx| approvals::resubmit(tx, "a", Some(&payload), at(4)));
        assert_eq!(again, Some(Approval { payload: payload.clone(), updated_at: at(4), ..approval("a", 0) }));
        tx!(store, [], |tx| approvals::request_revision(tx, "a", None, None, at(5)));
        let same = tx!(store, [], |tx| approvals::resubmit(tx, "a", None, at(6)));
        assert_eq!(same.map(|one| one.payload), Some(payload));
        tx!(store, [], |tx| approvals::request_revision(tx, "a", None, None, at(7)));
        assert!(decide(&store, "a", verdict("rejected", "board")).await.is_some());
    }

    async fn approvals_come_newest_first_by_status_and_page(store: Store) {
        for (id, seconds) in [("a", 0), ("b", 1), ("c", 1), ("d", 2)] {
            insert(&store, approval(id, seconds)).await;
        }
        insert(&store, Approval { company_id: "other".into(), ..approval("x", 9) }).await;
        decide(&store, "c", verdict("approved", "board")).await;
        assert_eq!(ids(&store, None, None).await, ["d", "c"]);
        assert_eq!(ids(&store, None, Some(&approval("c", 1))).await, ["b", "a"]);
        assert_eq!(ids(&store, Some("pending"), None).await, ["d", "b"]);
        assert_eq!(ids(&store, Some("pending"), Some(&approval("b", 1))).await, ["a"]);
        assert_eq!(ids(&store, Some("approved"), None).await, ["c"]);
        let acme = CompanyId::from("acme");
        assert_eq!(tx!(store, [acme], |tx| approvals::count_pending(tx, &acme)), 3);
    }

    async fn comments_come_oldest_first(store: Store) {
        insert(&store, approval("a", 0)).await;
        let comment = |id: &str, seconds| ApprovalComment {
            id: id.into(),
            company_id: "acme".into(),
            approval_id: "a".into(),
            author_agent_id: None,
            author_user_id: Some("board".into()),
            body: format!("comment {id}"),
            created_at: at(seconds),
            updated_at: at(seconds),
        };
        for one in [comment("2", 1), comment("1", 1), comment("0", 2)] {
            tx!(store, [one], |tx| approvals::add_comment(tx, &one));
        }
        let first = tx!(store, [], |tx| approvals::comments(tx, "a", None, 2));
        assert_eq!(first, [comment("1", 1), comment("2", 1)]);
        let after = Some((at(1), "2".to_owned()));
        assert_eq!(tx!(store, [after], |tx| approvals::comments(tx, "a", after.clone(), 2)), [comment("0", 2)]);
    }

    async fn issues_are_linked_once_and_found_from_both_sides(store: Store) {
        insert(&store, approval("a", 0)).await;
        insert(&store, approval("b", 1)).await;
        let (acme, one, two) = (CompanyId::from("acme"), IssueId::from("one"), IssueId::from("two"));
        let by = Linker { agent: Some("ada".into()), user: None };
        assert!(tx!(store, [acme, one, by], |tx| approvals::link(tx, &acme, "a", &one, &by, at(1))));
        assert!(!tx!(store, [acme, one, by], |tx| approvals::link(tx, &acme, "a", &one, &by, at(2))));
        assert!(tx!(store, [acme, two, by], |tx| approvals::link(tx, &acme, "a", &two, &by, at(3))));
        assert!(tx!(store, [acme, one, by], |tx| approvals::link(tx, &acme, "b", &one, &by, at(4))));
        assert_eq!(tx!(store, [], |tx| approvals::issues_of(tx, "a", 9)), [two.clone(), one.clone()]);
        assert_eq!(tx!(store, [one], |tx| approvals::of_issue(tx, &one, 9)), [approval("b", 1), approval("a", 0)]);
        let (three, some) = (IssueId::from("three"), [one.clone(), two.clone()]);
        assert!(tx!(store, [acme, three, by], |tx| approvals::link(tx, &acme, "b", &three, &by, at(5))));
        let mut waiting = tx!(store, [some], |tx| approvals::waiting_on(tx, &some));
        waiting.sort();
        assert_eq!(waiting, some);
        let rejected = Verdict { status: "rejected".into(), note: None, by_user: None };
        assert!(tx!(store, [rejected], |tx| approvals::decide(tx, "a", &rejected, at(6))).is_some());
        // The other approval of the first issue still waits, that of the second does not.
        assert_eq!(tx!(store, [some], |tx| approvals::waiting_on(tx, &some)), some[..1]);
        assert!(tx!(store, [one], |tx| approvals::unlink(tx, "a", &one)));
        assert!(!tx!(store, [one], |tx| approvals::unlink(tx, "a", &one)));
        assert_eq!(tx!(store, [], |tx| approvals::issues_of(tx, "a", 9)), [two]);
    }
}
