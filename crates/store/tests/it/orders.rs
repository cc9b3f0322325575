//! The outbox of wakes, and wakes that are deferred behind an issue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::ids::IssueId;
use domain::wake::{ActorKind, Source, TriggerDetail, WakeStatus};
use serde_json::json;
use store::issues::Issue;
use store::orders::{self, NewOrder, Order};
use store::{Rule, Store, StoreError, locks, wakes};

use crate::both_stores;
use crate::issue_fixture::{add, ask, at, company, finish, issue, queue, run, set_up, start, wake, write};

pub(crate) fn order(agent: &str, issue: &str, reason: &str) -> NewOrder {
    NewOrder {
        company_id: company(),
        agent_id: agent.into(),
        issue_id: Some(issue.into()),
        wake_id: None,
        source: Source::Automation,
        trigger_detail: Some(TriggerDetail::System),
        reason: reason.into(),
        payload: json!({ "issueId": issue }),
        context: json!({ "wakeCommentIds": ["k1"] }),
        actor_kind: ActorKind::User,
        actor_id: "u1".into(),
        idempotency_key: None,
    }
}

async fn place(store: &Store, order: NewOrder, seconds: i64) -> Option<i64> {
    write(store, move |tx| {
        let order = order.clone();
        Box::pin(async move { orders::place(tx, &order, at(seconds)).await })
    })
    .await
}

async fn due(store: &Store, seconds: i64, limit: i64) -> Vec<Order> {
    store.read(move |tx| Box::pin(orders::due(tx, at(seconds), limit))).await.unwrap()
}

fn reasons(orders: &[Order]) -> Vec<&str> {
    orders.iter().map(|order| order.reason.as_str()).collect()
}

both_stores! {
    async fn the_oldest_orders_come_first_and_none_before_it_is_due(store: Store) {
        set_up(&store).await;
        assert_eq!(store.read(|tx| Box::pin(orders::next_due(tx))).await.unwrap(), None);
        for (reason, seconds) in [("third", 3), ("first", 1), ("second", 2)] {
            assert!(place(&store, order("ada", "i", reason), seconds).await.is_some());
        }
        assert_eq!(reasons(&due(&store, 2, 10).await), ["first", "second"]);
        assert_eq!(reasons(&due(&store, 9, 2).await), ["first", "second"]);
        let id = due(&store, 1, 1).await[0].id;
        write(&store, move |tx| Box::pin(orders::put_off(tx, id, "no answer", at(30)))).await;
        let later = due(&store, 99, 10).await;
        assert_eq!(reasons(&later), ["second", "third", "first"]);
        assert_eq!((later[2].attempts, later[2].last_error.as_deref()), (1, Some("no answer")));
        assert_eq!(store.read(|tx| Box::pin(orders::next_due(tx))).await.unwrap(), Some(at(2)));
        assert_eq!(store.read(|tx| Box::pin(orders::count(tx))).await.unwrap(), 3);
        let of_issue = store
            .read(|tx| Box::pin(async { orders::of_issue(tx, &IssueId::from("i"), 2).await }))
            .await
            .unwrap();
        assert_eq!(reasons(&of_issue), ["second", "third"]);
    }

    async fn an_open_order_stands_for_the_same_asked_again_but_not_for_another_actor(store: Store) {
        set_up(&store).await;
        let first = place(&store, order("ada", "i", "issue_commented"), 1).await.unwrap();
        assert_eq!(place(&store, order("ada", "i", "issue_commented"), 2).await, None);
        for other in [
            order("bob", "i", "issue_commented"),
            order("ada", "j", "issue_commented"),
            order("ada", "i", "issue_assigned"),
            NewOrder { actor_id: "u2".into(), ..order("ada", "i", "issue_commented") },
            NewOrder { actor_kind: ActorKind::Agent, ..order("ada", "i", "issue_commented") },
            NewOrder { issue_id: None, ..order("ada", "i", "issue_commented") },
            NewOrder { issue_id: None, ..order("ada", "i", "issue_commented") },
        ] {
            assert!(place(&store, other.clone(), 3).await.is_some(), "{other:?}");
        }
        let merged = write(&store, move |tx| Box::pin(async move {
            let twin = orders::twin(tx, &order("ada", "i", "issue_commented")).await?.unwrap();
            assert_eq!(twin.id, first);
            orders::replace(tx, twin.id, &json!({"commentId": "k2"}), &json!({"wakeCommentIds": ["k1", "k2"]})).await?;
            orders::take(tx, first).await
        })).await.unwrap();
        assert_eq!(merged.context, json!({"wakeCommentIds": ["k1", "k2"]}));
        assert_eq!((merged.created_at, merged.issue_id), (at(1), Some("i".into())));
        assert!(place(&store, order("ada", "i", "issue_commented"), 4).await.is_some(), "it was delivered");
    }

    async fn a_deferred_wake_is_ordered_once(store: Store) {
        set_up(&store).await;
        let promote = |wake: &str| NewOrder { wake_id: Some(wake.into()), ..order("ada", "i", "issue_execution_promoted") };
        assert!(place(&store, promote("w1"), 1).await.is_some());
        assert_eq!(place(&store, promote("w1"), 2).await, None);
        assert!(place(&store, promote("w2"), 3).await.is_some());
        let twin = store
            .read(|tx| Box::pin(async { orders::twin(tx, &order("ada", "i", "issue_execution_promoted")).await }))
            .await
            .unwrap();
        assert_eq!(twin, None, "a promotion takes up no other wakes");
    }

    async fn an_order_is_delivered_once_and_an_undone_delivery_leaves_it(store: Store) {
        set_up(&store).await;
        for number in 0..20 {
            assert!(place(&store, order("ada", &format!("i{number}"), "issue_assigned"), number).await.is_some());
        }
        let undone = store
            .write::<(), _>(|tx| Box::pin(async {
                let first = orders::due(tx, at(99), 1).await?.remove(0);
                assert!(orders::take(tx, first.id).await?.is_some());
                Err(StoreError::Closed)
            }))
            .await;
        assert!(undone.is_err());
        let delivered = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (store, delivered) = (store.clone(), delivered.clone());
            tasks.spawn(async move {
                for seen in due(&store, 99, 100).await {
                    let id = seen.id;
                    if write(&store, move |tx| Box::pin(orders::take(tx, id))).await.is_some() {
                        delivered.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(delivered.load(Ordering::SeqCst), 20);
        assert_eq!(store.read(|tx| Box::pin(orders::count(tx))).await.unwrap(), 0);
    }

    async fn one_wake_of_an_agent_is_deferred_on_an_issue(store: Store) {
        set_up(&store).await;
        ask(&store, vec![
            wake("w1", "ada", Some("i"), WakeStatus::Deferred),
            wake("w2", "bob", Some("i"), WakeStatus::Deferred),
            wake("w3", "ada", Some("j"), WakeStatus::Deferred),
            wake("w4", "ada", Some("i"), WakeStatus::Queued),
        ]).await;
        let second = store
            .write(|tx| Box::pin(async {
                wakes::insert(tx, &wake("w5", "ada", Some("i"), WakeStatus::Deferred)).await
            }))
            .await;
        assert!(matches!(second, Err(StoreError::Constraint { rule: Rule::Unique, .. })), "{second:?}");
        let (mine, all, of_agent, some) = store
            .read(|tx| Box::pin(async {
                Ok((
                    wakes::deferred(tx, &"ada".into(), &"i".into()).await?.unwrap(),
                    wakes::deferred_on(tx, &"i".into(), 10).await?,
                    wakes::deferred_of_agent(tx, &"ada".into(), 10).await?,
                    wakes::deferred_on_some(tx, &["j".into(), "k".into()]).await?,
                ))
            }))
            .await
            .unwrap();
        let ids = |wakes: &[wakes::Wake]| wakes.iter().map(|wake| wake.id.0.clone()).collect::<Vec<_>>();
        assert_eq!(mine, wake("w1", "ada", Some("i"), WakeStatus::Deferred));
        assert_eq!((ids(&all), ids(&of_agent)), (
            vec!["w1".to_owned(), "w2".to_owned()], vec!["w1".to_owned(), "w3".to_owned()],
        ));
        assert_eq!(some, [("j".into(), "ada".into())]);
    }

    async fn a_deferred_wake_is_merged_into_settled_or_ended_and_then_left_alone(store: Store) {
        set_up(&store).await;
        ask(&store, vec![
            wake("w1", "ada", Some("i"), WakeStatus::Deferred),
            wake("w2", "bob", Some("i"), WakeStatus::Deferred),
        ]).await;
        let settled = |run: &str| wakes::Wake {
            run_id: Some(run.into()),
            ..wake("w1", "ada", Some("i"), WakeStatus::Queued)
        };
        let (one, other) = (settled("r1"), settled("r2"));
        let done = write(&store, move |tx| {
            let (one, other) = (one.clone(), other.clone());
            Box::pin(async move { Ok([
                wakes::merge_deferred(tx, &"w1".into(), &json!({"commentId": "k2"})).await?,
                wakes::settle_deferred(tx, &one).await?,
                wakes::settle_deferred(tx, &other).await?,
                wakes::merge_deferred(tx, &"w1".into(), &json!({})).await?,
                wakes::end_without_run(tx, &"w1".into(), WakeStatus::Cancelled, None, at(9)).await?,
                wakes::end_without_run(tx, &"w2".into(), WakeStatus::Failed, Some("gone"), at(9)).await?,
                wakes::end_without_run(tx, &"w2".into(), WakeStatus::Cancelled, None, at(10)).await?,
            ]) })
        }).await;
        assert_eq!(done, [true, true, false, false, false, true, false]);
        let (first, second) = store
            .read(|tx| Box::pin(async {
                Ok((wakes::get(tx, &"w1".into()).await?.unwrap(), wakes::get(tx, &"w2".into()).await?.unwrap()))
            }))
            .await
            .unwrap();
        assert_eq!((first.status, first.run_id, first.coalesced_count), (WakeStatus::Queued, Some("r1".into()), 1));
        assert_eq!((first.payload, first.requested_at), (json!({"commentId": "k2"}), at(1)));
        assert_eq!((second.status, second.finished_at, second.error.as_deref()), (WakeStatus::Failed, Some(at(9)), Some("gone")));
    }

    async fn wakes_that_are_deferred_behind_nobody_are_found_again(store: Store) {
        set_up(&store).await;
        let of_ada = |id: &str| Issue { assignee_agent_id: Some("ada".into()), ..issue(id) };
        add(&store, vec![of_ada("held"), of_ada("free")]).await;
        queue(&store, vec![run("r1", "ada", Some("held"), 1)]).await;
        let lease = start(&store, "r1").await;
        write(&store, move |tx| {
            let run = lease.run.clone();
            Box::pin(async move { locks::take(tx, &"held".into(), (&run, 1), &"ada".into(), at(5)).await })
        }).await;
        ask(&store, vec![
            wake("w1", "bob", Some("held"), WakeStatus::Deferred),
            wake("w2", "bob", Some("free"), WakeStatus::Deferred),
            wake("w3", "ada", Some("free"), WakeStatus::Deferred),
        ]).await;
        let lost = |after: &'static str| {
            let store = store.clone();
            async move { store.read(move |tx| Box::pin(wakes::deferred_for_nothing(tx, after, 10))).await.unwrap() }
        };
        assert_eq!(lost("").await, ["free".into()]);
        assert_eq!(lost("free").await, []);
        finish(&store, "r1".into()).await;
        assert_eq!(lost("").await, ["free".into(), "held".into()]);
    }
}
