//! What runs know of issues.

use domain::run::RunStatus;
use store::leases::{self, Lease};
use store::runs_of_issues::{self, DayCount, Liveness, TokenHolder};
use store::{Rule, Store, StoreError, runs};

use crate::both_stores;
use crate::issue_fixture::{at, company, finish, queue, run, set_up, start, write};

async fn get(store: &Store, id: &'static str) -> runs::Run {
    store.read(move |tx| Box::pin(async move { runs::get(tx, &id.into()).await })).await.unwrap().unwrap()
}

fn ids(found: &[runs::Run]) -> Vec<&str> {
    found.iter().map(|run| run.id.as_str()).collect()
}

/// The lease as somebody has it who was told too late.
fn late(lease: &Lease) -> Lease {
    Lease { epoch: lease.epoch - 1, ..lease.clone() }
}

both_stores! {
    async fn the_runs_of_an_issue_are_found_live_or_over(store: Store) {
        set_up(&store).await;
        queue(&store, vec![
            run("r1", "ada", Some("i"), 1),
            run("r2", "bob", Some("i"), 2),
            run("r3", "ada", Some("i"), 3),
            run("r4", "ada", Some("j"), 4),
            run("r5", "ada", None, 5),
        ]).await;
        start(&store, "r1").await;
        finish(&store, "r1".into()).await;
        start(&store, "r2").await;
        let (all, two, latest, live, none, of, yes, no, some) = store
            .read(|tx| Box::pin(async {
                let (i, j) = ("i".into(), "j".into());
                Ok((
                    runs_of_issues::list(tx, &i, 10).await?,
                    runs_of_issues::list(tx, &i, 2).await?,
                    runs_of_issues::latest(tx, &i, &"ada".into()).await?,
                    runs_of_issues::live(tx, &i, 10).await?,
                    runs_of_issues::latest(tx, &i, &"nobody".into()).await?,
                    runs_of_issues::live_of(tx, &[i, j, "k".into()]).await?,
                    runs_of_issues::has_live(tx, &"i".into()).await?,
                    runs_of_issues::has_live(tx, &"k".into()).await?,
                    runs_of_issues::some(tx, &["r5".into(), "none".into()]).await?,
                ))
            }))
            .await
            .unwrap();
        assert_eq!((ids(&all), ids(&two), ids(&live), ids(&some)), (
            vec!["r3", "r2", "r1"], vec!["r3", "r2"], vec!["r2", "r3"], vec!["r5"],
        ));
        assert_eq!((latest.unwrap().id, none), ("r3".into(), None));
        let of: Vec<(&str, &str, RunStatus)> =
            of.iter().map(|one| (one.issue_id.as_str(), one.id.as_str(), one.status)).collect();
        use RunStatus::{Queued, Running};
        assert_eq!(of, [("i", "r2", Running), ("i", "r3", Queued), ("j", "r4", Queued)]);
        assert_eq!((yes, no), (true, false));
    }

    async fn a_run_comes_back_with_what_was_noted_on_it(store: Store) {
        set_up(&store).await;
        let made = runs::Run { project_id: Some("p".into()), continuation_attempt: 1, ..run("r1", "ada", Some("i"), 1) };
        queue(&store, vec![made.clone()]).await;
        assert_eq!(get(&store, "r1").await, made);
        write(&store, |tx| Box::pin(async { runs_of_issues::set_continuation_attempt(tx, &"r1".into(), 2).await })).await;
        let lease = start(&store, "r1").await;
        let taken = write(&store, move |tx| {
            let lease = lease.clone();
            Box::pin(async move {
                runs_of_issues::set_continuation_attempt(tx, &"r1".into(), 7).await?;
                let noted = [
                    runs_of_issues::set_external_id(tx, &lease, "theirs").await?,
                    runs_of_issues::set_external_id(tx, &late(&lease), "late").await?,
                    runs_of_issues::set_no_progress(tx, &lease, 8).await?,
                    runs_of_issues::set_no_progress(tx, &late(&lease), 9).await?,
                ];
                let liveness = Liveness {
                    state: Some("plan_only".into()), reason: Some("why".into()), next_action: Some("do".into()),
                    last_useful_action_at: Some(at(3)),
                };
                runs_of_issues::set_liveness(tx, &"r1".into(), &liveness).await?;
                runs_of_issues::set_comment_duty(tx, &"r1".into(), "retry_queued", None, Some(at(4))).await?;
                runs_of_issues::set_comment_duty(tx, &"r1".into(), "satisfied", Some(&"k".into()), None).await?;
                runs_of_issues::snooze(tx, &"r1".into(), Some(at(5))).await?;
                Ok(noted)
            })
        }).await;
        assert_eq!(taken, [true, false, true, false]);
        let now = get(&store, "r1").await;
        assert_eq!(now, runs::Run {
            project_id: Some("p".into()),
            continuation_attempt: 2,
            external_run_id: Some("theirs".into()),
            no_progress_count: 8,
            liveness_state: Some("plan_only".into()),
            liveness_reason: Some("why".into()),
            next_action: Some("do".into()),
            last_useful_action_at: Some(at(3)),
            issue_comment_status: "satisfied".into(),
            issue_comment_satisfied_by_comment_id: Some("k".into()),
            issue_comment_retry_queued_at: Some(at(4)),
            snoozed_until: Some(at(5)),
            ..now.clone()
        });
        let listed = store
            .read(|tx| Box::pin(async {
                runs::listed(tx, &runs::Listed::Company(company()), None, None, 10).await
            }))
            .await
            .unwrap();
        assert_eq!(listed, [now]);
    }

    async fn a_token_speaks_for_its_run_only_while_that_epoch_runs(store: Store) {
        set_up(&store).await;
        queue(&store, vec![run("r1", "ada", Some("i"), 1), run("r2", "bob", None, 1)]).await;
        let (first, other) = (start(&store, "r1").await, start(&store, "r2").await);
        let give = |lease: &Lease, hash: &'static str| {
            let (store, lease) = (store.clone(), lease.clone());
            async move {
                store.write(move |tx| {
                    let lease = lease.clone();
                    Box::pin(async move { runs_of_issues::set_token(tx, &lease, hash).await })
                }).await
            }
        };
        let holder = |hash: &'static str| {
            let store = store.clone();
            async move { store.read(move |tx| Box::pin(runs_of_issues::token_holder(tx, hash))).await.unwrap() }
        };
        assert!(give(&first, "one").await.unwrap());
        assert!(!give(&late(&first), "late").await.unwrap());
        let twice = give(&other, "one").await;
        assert!(matches!(twice, Err(StoreError::Constraint { rule: Rule::Unique, .. })), "{twice:?}");
        let live = TokenHolder {
            run_id: "r1".into(), company_id: company(), agent_id: "ada".into(), issue_id: Some("i".into()), epoch: 1,
            is_live: true,
        };
        assert_eq!(holder("one").await, Some(live.clone()));
        assert_eq!(holder("unknown").await, None);
        let opened = first.clone();
        let next = write(&store, move |tx| {
            let opened = opened.clone();
            Box::pin(async move { leases::next_epoch(tx, &opened, false, "boot", at(6)).await })
        }).await.unwrap().lease;
        assert_eq!(holder("one").await, Some(TokenHolder { is_live: false, ..live.clone() }));
        assert!(give(&next, "two").await.unwrap());
        assert_eq!(holder("one").await, None);
        assert!(holder("two").await.unwrap().is_live);
        finish(&store, "r1".into()).await;
        assert_eq!(holder("two").await, Some(TokenHolder { epoch: 2, is_live: false, ..live }));
    }

    async fn silence_is_noted_unless_something_was_heard_meanwhile(store: Store) {
        set_up(&store).await;
        queue(&store, vec![run("r1", "ada", None, 1), run("r2", "ada", None, 2), run("r3", "ada", None, 3)]).await;
        let (lease, _) = (start(&store, "r1").await, start(&store, "r2").await);
        let quiet = |seconds| {
            let store = store.clone();
            async move {
                let read = store.read(move |tx| Box::pin(runs_of_issues::quiet_since(tx, "node", at(seconds), 10)));
                read.await.unwrap().into_iter().map(|run| run.id.0).collect::<Vec<_>>()
            }
        };
        // Both started at 100; a queued run is not silent.
        assert_eq!(quiet(99).await, [""; 0]);
        assert_eq!(quiet(100).await, ["r1", "r2"]);
        let noted = write(&store, move |tx| {
            let lease = lease.clone();
            Box::pin(async move {
                let id = "r1".into();
                Ok([
                    runs_of_issues::set_silence(tx, &id, None, "suspicious").await?,
                    runs_of_issues::note_activity(tx, &lease, at(200)).await?,
                    runs_of_issues::note_activity(tx, &late(&lease), at(300)).await?,
                    runs_of_issues::set_silence(tx, &id, None, "critical").await?,
                ])
            })
        }).await;
        assert_eq!(noted, [true, true, false, false]);
        let now = get(&store, "r1").await;
        assert_eq!((now.silence_level.as_str(), now.last_activity_at), ("ok", Some(at(200))));
        assert_eq!(quiet(150).await, ["r2"]);
        let again = write(&store, |tx| Box::pin(async {
            runs_of_issues::set_silence(tx, &"r1".into(), Some(at(200)), "critical").await
        })).await;
        assert!(again);
        assert_eq!(get(&store, "r1").await.silence_level, "critical");
    }

    async fn runs_are_counted_by_day_and_outcome(store: Store) {
        set_up(&store).await;
        const DAY: i64 = 86_400;
        queue(&store, vec![
            run("old", "ada", None, -9 * DAY), run("r1", "ada", None, -DAY), run("r2", "ada", None, 0), run("r3", "ada", None, 1),
        ]).await;
        start(&store, "r2").await;
        finish(&store, "r2".into()).await;
        let counts = store
            .read(|tx| Box::pin(async { runs_of_issues::count_by_day(tx, &company(), at(-2 * DAY)).await }))
            .await
            .unwrap();
        let today = crate::NOON / 1_000_000 / DAY;
        let row = |day, status, runs| DayCount { day, status, runs };
        assert_eq!(counts, [
            row(today - 1, RunStatus::Queued, 1), row(today, RunStatus::Queued, 1), row(today, RunStatus::Succeeded, 1),
        ]);
    }
}
