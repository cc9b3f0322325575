//! The execution lock: one live holder, fenced by run and epoch.

use std::time::Duration;

use domain::ids::{AgentId, IssueId};
use domain::run::RunStatus;
use store::issues::{self, Issue};
use store::leases::{self, Lease};
use store::locks::{self, Holder};
use store::{Store, Tx};

use crate::both_stores;
use crate::issue_fixture::{add, at, finish, get, issue, queue, run, set_up, start, write};

async fn with_runs(store: &Store, runs: &[(&str, &str)]) {
    set_up(store).await;
    add(store, vec![Issue { assignee_agent_id: Some("ada".into()), ..issue("i") }]).await;
    queue(store, runs.iter().map(|(id, agent)| run(id, agent, Some("i"), 1)).collect()).await;
}

async fn take_in(tx: &mut Tx<'_>, lease: &Lease, agent: &str) -> Result<bool, store::StoreError> {
    let issue: IssueId = "i".into();
    issues::lock(tx, &issue).await?;
    locks::take(tx, &issue, (&lease.run, lease.epoch), &agent.into(), at(50)).await
}

async fn take(store: &Store, lease: &Lease, agent: &'static str) -> bool {
    let lease = lease.clone();
    write(store, move |tx| {
        let lease = lease.clone();
        Box::pin(async move { take_in(tx, &lease, agent).await })
    })
    .await
}

async fn holder(store: &Store) -> Option<Holder> {
    store.read(|tx| Box::pin(async { locks::holder(tx, &"i".into()).await })).await.unwrap()
}

async fn release(store: &Store, lease: &Lease) -> bool {
    let lease = lease.clone();
    write(store, move |tx| {
        let lease = lease.clone();
        Box::pin(async move { locks::release(tx, &"i".into(), (&lease.run, lease.epoch)).await })
    })
    .await
}

both_stores! {
    async fn a_running_run_of_the_assignee_takes_a_free_lock_and_keeps_it(store: Store) {
        with_runs(&store, &[("r1", "ada"), ("r2", "ada")]).await;
        assert_eq!(holder(&store).await, None);
        let (first, second) = (start(&store, "r1").await, start(&store, "r2").await);
        assert!(take(&store, &first, "ada").await);
        assert!(take(&store, &first, "ada").await, "its own lock");
        assert!(!take(&store, &second, "ada").await, "another one's");
        assert_eq!(holder(&store).await, Some(Holder {
            run_id: "r1".into(), epoch: 1, agent_id: "ada".into(), locked_at: at(50),
            run_status: Some(RunStatus::Running), is_live: true,
        }));
        assert_eq!(get(&store, "i").await.execution_run_id, Some("r1".into()));
        let held = store
            .read(|tx| Box::pin(async {
                let issue: IssueId = "i".into();
                Ok([
                    locks::holds(tx, &issue, (&"r1".into(), 1)).await?,
                    locks::holds(tx, &issue, (&"r1".into(), 2)).await?,
                    locks::holds(tx, &issue, (&"r2".into(), 1)).await?,
                ])
            }))
            .await
            .unwrap();
        assert_eq!(held, [true, false, false]);
        assert_eq!(store.read(|tx| Box::pin(locks::count_live(tx))).await.unwrap(), (1, 1));
    }

    async fn a_queued_run_and_a_run_of_somebody_else_take_nothing(store: Store) {
        with_runs(&store, &[("queued", "ada"), ("theirs", "bob")]).await;
        let queued = Lease { run: "queued".into(), epoch: 0, holder: 1 };
        assert!(!take(&store, &queued, "ada").await);
        let theirs = start(&store, "theirs").await;
        assert!(!take(&store, &theirs, "bob").await);
        assert_eq!(holder(&store).await, None);
    }

    async fn the_lock_of_a_run_that_is_over_is_dead_and_the_next_one_takes_it(store: Store) {
        with_runs(&store, &[("r1", "ada"), ("r2", "ada")]).await;
        let (first, second) = (start(&store, "r1").await, start(&store, "r2").await);
        assert!(take(&store, &first, "ada").await);
        let dead = |store: Store| async move { store.read(|tx| Box::pin(locks::dead(tx, "", 10))).await.unwrap() };
        assert_eq!(dead(store.clone()).await, []);
        finish(&store, "r1".into()).await;
        let left = holder(&store).await.unwrap();
        assert_eq!((left.run_status, left.is_live), (Some(RunStatus::Succeeded), false));
        assert_eq!(dead(store.clone()).await, [("i".into(), "r1".into())]);
        assert!(!take(&store, &first, "ada").await, "a run that is over");
        assert!(take(&store, &second, "ada").await);
        assert!(!release(&store, &first).await, "it is not its any more");
        assert_eq!(holder(&store).await.unwrap().run_id, "r2".into());
        assert!(release(&store, &second).await);
        assert_eq!(holder(&store).await, None);
        assert_eq!(get(&store, "i").await.execution_run_id, None);
    }

    async fn a_new_epoch_of_the_holder_makes_the_lock_of_the_old_one_dead(store: Store) {
        with_runs(&store, &[("r1", "ada"), ("r2", "ada")]).await;
        let (first, second) = (start(&store, "r1").await, start(&store, "r2").await);
        assert!(take(&store, &first, "ada").await);
        let opened = first.clone();
        let next = write(&store, move |tx| {
            let opened = opened.clone();
            Box::pin(async move { leases::next_epoch(tx, &opened, true, "boot", at(60)).await })
        }).await.unwrap().lease;
        assert!(!holder(&store).await.unwrap().is_live);
        assert!(!take(&store, &first, "ada").await, "the epoch that is over");
        assert!(take(&store, &next, "ada").await);
        assert!(!release(&store, &first).await, "a late release of the old epoch");
        assert!(!take(&store, &second, "ada").await);
        assert_eq!(holder(&store).await.unwrap().epoch, 2);
    }

    async fn a_run_that_was_removed_holds_nothing(store: Store) {
        with_runs(&store, &[("r1", "ada")]).await;
        let lease = start(&store, "r1").await;
        assert!(take(&store, &lease, "ada").await);
        let clear = |store: Store| async move {
            write(&store, |tx| Box::pin(async { locks::clear_dead(tx, &"i".into()).await })).await
        };
        assert!(!clear(store.clone()).await, "it is live");
        write(&store, |tx| Box::pin(async {
            tx.run(store::sql!("DELETE FROM runs WHERE id = 'r1'"), store::p![]).await
        })).await;
        let left = holder(&store).await.unwrap();
        assert_eq!((left.run_status, left.is_live), (None, false));
        assert!(clear(store.clone()).await);
        assert!(!clear(store.clone()).await);
        assert_eq!((holder(&store).await, get(&store, "i").await.execution_run_id), (None, None));
    }

    async fn a_run_finds_all_that_it_holds_and_clearing_leaves_nothing(store: Store) {
        with_runs(&store, &[("r1", "ada")]).await;
        add(&store, vec![issue("other")]).await;
        let lease = start(&store, "r1").await;
        assert!(take(&store, &lease, "ada").await);
        write(&store, |tx| Box::pin(async {
            let other: IssueId = "other".into();
            assert!(locks::check_out(tx, &other, None, Some(&"r1".into())).await?);
            assert!(!locks::check_out(tx, &other, None, Some(&"r2".into())).await?, "somebody was faster");
            assert!(locks::check_out(tx, &other, Some(&"r1".into()), Some(&"r1".into())).await?);
            Ok(())
        })).await;
        let held = store.read(|tx| Box::pin(async { locks::of_run(tx, &"r1".into(), 10).await })).await.unwrap();
        assert_eq!(held, ["i".into(), "other".into()]);
        write(&store, |tx| Box::pin(async {
            locks::clear(tx, &"i".into()).await?;
            locks::clear(tx, &"other".into()).await
        })).await;
        for id in ["i", "other"] {
            let one = get(&store, id).await;
            assert_eq!((one.lock_run_id, one.execution_run_id, one.checkout_run_id, one.locked_at), (None, None, None, None));
        }
    }

    async fn the_pointer_names_a_queued_run_without_locking(store: Store) {
        with_runs(&store, &[("r1", "ada")]).await;
        write(&store, |tx| Box::pin(async { locks::point_to(tx, &"i".into(), Some(&"r1".into())).await })).await;
        assert_eq!(get(&store, "i").await.execution_run_id, Some("r1".into()));
        assert_eq!(holder(&store).await, None);
        write(&store, |tx| Box::pin(async {
            locks::unpoint(tx, &"i".into(), &"other".into()).await
        })).await;
        assert_eq!(get(&store, "i").await.execution_run_id, Some("r1".into()));
        write(&store, |tx| Box::pin(async { locks::unpoint(tx, &"i".into(), &"r1".into()).await })).await;
        assert_eq!(get(&store, "i").await.execution_run_id, None);
    }

    /// Twenty runs come running in and want one issue; whoever got it ends at some time, and another one takes over.
    async fn of_twenty_runs_that_want_one_issue_one_has_it_at_any_time(store: Store) {
        const NAMES: [&str; 20] = [
            "r00", "r01", "r02", "r03", "r04", "r05", "r06", "r07", "r08", "r09", "r10", "r11", "r12", "r13", "r14",
            "r15", "r16", "r17", "r18", "r19",
        ];
        with_runs(&store, &NAMES.map(|name| (name, "ada"))).await;
        let mut tasks = tokio::task::JoinSet::new();
        for name in NAMES {
            let store = store.clone();
            tasks.spawn(async move {
                // Claimed and locked in one transaction, as a claim does.
                loop {
                    let taken = write(&store, move |tx| Box::pin(async move {
                        issues::lock(tx, &"i".into()).await?;
                        let server = crate::issue_fixture::server();
                        let lease = match leases::claim(tx, &name.into(), &server, at(100)).await? {
                            Some(claimed) => claimed.lease,
                            None => Lease { run: name.into(), epoch: 1, holder: 1 },
                        };
                        let agent = AgentId("ada".into());
                        let taken = locks::take(tx, &"i".into(), (&lease.run, lease.epoch), &agent, at(50)).await?;
                        Ok(taken.then_some(lease))
                    })).await;
                    if let Some(lease) = taken {
                        let held = holder(&store).await.unwrap();
                        assert_eq!((held.run_id, held.is_live), (lease.run.clone(), true));
                        finish(&store, lease.run).await;
                        return;
                    }
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            });
        }
        assert_eq!(tasks.join_all().await.len(), NAMES.len());
        assert!(!holder(&store).await.unwrap().is_live);
    }
}
