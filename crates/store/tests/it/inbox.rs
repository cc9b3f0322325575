//! The inbox: one open item for each thing, kind and cause.

use domain::ids::CompanyId;
use serde_json::json;
use store::Store;
use store::inbox::{self, InboxItem};

use crate::acme::{at, tx};
use crate::both_stores;

fn item(id: &str, entity: &str, cause: &str, seconds: i64) -> InboxItem {
    InboxItem {
        id: id.into(),
        company_id: "acme".into(),
        kind: "issue_blocked".into(),
        entity_type: "issue".into(),
        entity_id: entity.into(),
        cause: cause.into(),
        title: "ACM-1 is blocked".into(),
        details: json!({"attempts": 2}),
        owner_agent_id: Some("ada".into()),
        opened_at: at(seconds),
        resolved_at: None,
        resolution: None,
    }
}

async fn open(store: &Store, item: InboxItem) -> bool {
    tx!(store, [item], |tx| inbox::open(tx, &item))
}

fn names(items: &[InboxItem]) -> Vec<&str> {
    items.iter().map(|item| item.id.as_str()).collect()
}

both_stores! {
    async fn one_item_is_open_for_a_thing_kind_and_cause(store: Store) {
        assert!(open(&store, item("1", "issue", "stranded", 1)).await);
        assert!(!open(&store, item("2", "issue", "stranded", 2)).await);
        assert!(open(&store, item("3", "issue", "missing_comment", 3)).await);
        assert!(open(&store, item("4", "other", "stranded", 4)).await);
        assert!(open(&store, InboxItem { kind: "approval".into(), ..item("5", "issue", "stranded", 5) }).await);
        let of_issue = tx!(store, [], |tx| inbox::open_of(tx, "issue", 9));
        assert_eq!(names(&of_issue), ["5", "3", "1"]);
        assert!(tx!(store, [], |tx| inbox::resolve(tx, "1", "done", at(6))));
        assert!(!tx!(store, [], |tx| inbox::resolve(tx, "1", "again", at(7))));
        let resolved = InboxItem { resolved_at: Some(at(6)), resolution: Some("done".into()), ..item("1", "issue", "stranded", 1) };
        assert_eq!(tx!(store, [], |tx| inbox::get(tx, "1")), Some(resolved));
        assert!(open(&store, item("6", "issue", "stranded", 8)).await, "it may come up again");
    }

    async fn of_many_who_open_an_item_at_once_one_does(store: Store) {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..12 {
            let store = store.clone();
            tasks.spawn(async move { open(&store, item(&number.to_string(), "issue", "breaker", 1)).await });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|opened| *opened).count(), 1);
    }

    async fn what_is_over_resolves_the_items_of_a_thing(store: Store) {
        for (id, entity, cause) in [("1", "a", "x"), ("2", "a", "y"), ("3", "a", "z"), ("4", "b", "x")] {
            open(&store, item(id, entity, cause, 1)).await;
        }
        assert_eq!(tx!(store, [], |tx| inbox::resolve_of(tx, "a", Some("x"), "gone", at(2))), 1);
        assert_eq!(tx!(store, [], |tx| inbox::resolve_of(tx, "a", None, "gone", at(3))), 2);
        assert_eq!(tx!(store, [], |tx| inbox::resolve_of(tx, "a", None, "gone", at(4))), 0);
        assert_eq!(names(&tx!(store, [], |tx| inbox::open_of(tx, "b", 9))), ["4"]);
    }

    async fn items_come_newest_first_and_the_resolved_are_removed_later(store: Store) {
        for (id, seconds) in [("1", 1), ("2", 2), ("3", 2), ("4", 4)] {
            open(&store, item(id, id, "x", seconds)).await;
        }
        open(&store, InboxItem { company_id: "other".into(), ..item("9", "9", "x", 9) }).await;
        for (id, seconds) in [("3", 10), ("1", 11)] {
            tx!(store, [id], |tx| inbox::resolve(tx, id, "done", at(seconds)));
        }
        let acme = CompanyId::from("acme");
        assert_eq!(names(&tx!(store, [acme], |tx| inbox::list_open(tx, &acme, None, 1))), ["4"]);
        let before = Some((at(4), "4".to_owned()));
        assert_eq!(names(&tx!(store, [acme, before], |tx| inbox::list_open(tx, &acme, before.clone(), 9))), ["2"]);
        assert_eq!(names(&tx!(store, [acme], |tx| inbox::list(tx, &acme, None, 9))), ["4", "3", "2", "1"]);
        assert_eq!(names(&tx!(store, [acme, before], |tx| inbox::list(tx, &acme, before.clone(), 2))), ["3", "2"]);
        assert_eq!(tx!(store, [acme], |tx| inbox::count_open(tx, &acme)), 2);
        assert_eq!(tx!(store, [], |tx| inbox::remove_resolved(tx, at(11), 9)), 1);
        assert_eq!(tx!(store, [], |tx| inbox::remove_resolved(tx, at(12), 9)), 1);
        assert_eq!(tx!(store, [], |tx| inbox::remove_resolved(tx, at(99), 9)), 0, "what is open stays");
    }
}
