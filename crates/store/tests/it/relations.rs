//! Blockers: edges, readiness, and what may not be lost.

use domain::ids::IssueId;
use domain::issue::IssueStatus;
use store::issues::{self, Issue};
use store::relations::{self, By, Changed};
use store::{Rule, Store, StoreError};

use crate::both_stores;
use crate::issue_fixture::{add, at, company, issue, set_up, write};

async fn block(store: &Store, blocked: &'static str, blockers: &[&str]) -> Changed {
    let blockers: Vec<IssueId> = blockers.iter().map(|id| IssueId::from(*id)).collect();
    write(store, move |tx| {
        let blockers = blockers.clone();
        Box::pin(async move {
            relations::replace_blockers(tx, &company(), &blocked.into(), &blockers, &By::default(), at(1))
                .await
        })
    })
    .await
}

async fn set(store: &Store, id: &'static str, status: IssueStatus) {
    write(store, move |tx| {
        Box::pin(async move {
            let one = issues::get(tx, &id.into()).await?.unwrap();
            issues::update(tx, &Issue { status, ..one }).await
        })
    })
    .await;
}

fn id(text: &str) -> IssueId {
    text.into()
}

both_stores! {
    async fn blockers_are_replaced_and_the_difference_is_told(store: Store) {
        set_up(&store).await;
        add(&store, ["a", "b", "c", "x"].map(issue).into()).await;
        let first = block(&store, "x", &["b", "a", "b"]).await;
        assert_eq!(first, Changed { added: vec![id("b"), id("a")], removed: vec![] });
        assert_eq!(block(&store, "x", &["a", "b"]).await, Changed::default());
        let second = block(&store, "x", &["c", "a"]).await;
        assert_eq!(second, Changed { added: vec![id("c")], removed: vec![id("b")] });
        let (above, below) = store
            .read(|tx| Box::pin(async {
                Ok((
                    relations::blockers(tx, &id("x"), 10).await?,
                    relations::dependents(tx, &id("a"), 10).await?,
                ))
            }))
            .await
            .unwrap();
        assert_eq!(above.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(below.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["x"]);
        assert_eq!(block(&store, "x", &[]).await.removed, [id("a"), id("c")]);
    }

    async fn an_issue_cannot_block_itself(store: Store) {
        set_up(&store).await;
        add(&store, vec![issue("a")]).await;
        let refused = store
            .write(|tx| Box::pin(async {
                relations::add(tx, &company(), &id("a"), &id("a"), &By::default(), at(1)).await
            }))
            .await;
        assert!(matches!(refused, Err(StoreError::Constraint { rule: Rule::Check, .. })), "{refused:?}");
    }

    async fn only_a_done_blocker_is_resolved(store: Store) {
        set_up(&store).await;
        add(&store, ["a", "b", "x", "y", "free"].map(issue).into()).await;
        block(&store, "x", &["a", "b"]).await;
        block(&store, "y", &["a"]).await;
        set(&store, "a", IssueStatus::Done).await;
        set(&store, "b", IssueStatus::Cancelled).await;
        let unresolved = store
            .read(|tx| Box::pin(async {
                relations::unresolved(tx, &[id("x"), id("y"), id("free")]).await
            }))
            .await
            .unwrap();
        assert_eq!(unresolved, [(id("x"), id("b"), IssueStatus::Cancelled)]);
        for (issue, ready) in [("x", false), ("y", true), ("free", true)] {
            let read = store.read(move |tx| Box::pin(async move { relations::is_ready(tx, &issue.into()).await }));
            assert_eq!(read.await.unwrap(), ready, "{issue}");
        }
        let all = store
            .read(|tx| Box::pin(async { relations::blockers_of(tx, &[id("x"), id("y")]).await }))
            .await
            .unwrap();
        let all: Vec<(&str, &str, IssueStatus)> =
            all.iter().map(|(blocked, one)| (blocked.as_str(), one.id.as_str(), one.status)).collect();
        use IssueStatus::{Cancelled, Done};
        assert_eq!(all, [("x", "a", Done), ("x", "b", Cancelled), ("y", "a", Done)]);
    }

    async fn an_issue_that_waits_though_all_is_done_is_found_again(store: Store) {
        set_up(&store).await;
        add(&store, ["a", "x", "y", "z"].map(issue).into()).await;
        block(&store, "x", &["a"]).await;
        block(&store, "y", &["a", "z"]).await;
        write(&store, |tx| Box::pin(async {
            issues::set_waits_on_blockers(tx, &id("x"), true).await?;
            issues::set_waits_on_blockers(tx, &id("y"), true).await
        })).await;
        let waiting = |after: &'static str| {
            let store = store.clone();
            async move { store.read(move |tx| Box::pin(relations::ready_but_waiting(tx, after, 10))).await.unwrap() }
        };
        assert_eq!(waiting("").await, []);
        set(&store, "a", IssueStatus::Done).await;
        assert_eq!(waiting("").await, [id("x")]);
        assert_eq!(waiting("x").await, []);
        set(&store, "z", IssueStatus::Done).await;
        write(&store, |tx| Box::pin(async { issues::set_waits_on_blockers(tx, &id("x"), false).await })).await;
        assert_eq!(waiting("").await, [id("y")]);
    }

    async fn the_edges_above_an_issue_show_a_circle_before_it_is_closed(store: Store) {
        set_up(&store).await;
        add(&store, ["a", "b", "c", "d"].map(issue).into()).await;
        block(&store, "c", &["b"]).await;
        block(&store, "b", &["a"]).await;
        let above = |from: &[&'static str], limit| {
            let (store, from) = (store.clone(), from.iter().map(|one| id(one)).collect::<Vec<_>>());
            async move {
                let read = store.read(move |tx| {
                    let from = from.clone();
                    Box::pin(async move { relations::above(tx, &from, limit).await })
                });
                let mut edges = read.await.unwrap();
                edges.sort();
                edges
            }
        };
        assert_eq!(above(&["c"], 100).await, [(id("b"), id("a")), (id("c"), id("b"))]);
        assert_eq!(above(&["a", "d"], 100).await, []);
        assert_eq!(above(&["c"], 1).await.len(), 1);
        // And if there is one already, the walk ends.
        block(&store, "a", &["c"]).await;
        assert_eq!(above(&["c"], 100).await.len(), 3);
    }

    async fn two_edges_that_close_a_circle_together_are_not_both_added(store: Store) {
        set_up(&store).await;
        add(&store, ["a", "b"].map(issue).into()).await;
        let mut tasks = tokio::task::JoinSet::new();
        for (blocked, blocker) in [("a", "b"), ("b", "a")] {
            let store = store.clone();
            tasks.spawn(async move {
                write(&store, move |tx| Box::pin(async move {
                    issues::lock(tx, &blocked.into()).await?;
                    relations::lock_graph(tx, &company()).await?;
                    let above = relations::above(tx, &[blocker.into()], 100).await?;
                    if above.iter().any(|(_, reached)| reached.as_str() == blocked) {
                        return Ok(false);
                    }
                    relations::add(tx, &company(), &blocker.into(), &blocked.into(), &By::default(), at(1)).await?;
                    Ok(true)
                }))
                .await
            });
        }
        let mut added = tasks.join_all().await;
        added.sort();
        assert_eq!(added, [false, true]);
    }
}
