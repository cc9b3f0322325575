//! Recoveries: automatic attempts have a bound, whoever counts.

use domain::ids::{CompanyId, IssueId, RunId};
use store::Store;
use store::recoveries::{self, Recovery};

use crate::acme::{at, tx};
use crate::both_stores;

async fn attempt(store: &Store, issue: &str, cause: &'static str, run: &str, most: i64) -> Option<i64> {
    let (acme, issue, run) = (CompanyId::from("acme"), IssueId::from(issue), RunId::from(run));
    tx!(store, [acme, issue, run], |tx| {
        recoveries::attempt(tx, (&acme, &issue, cause), Some(&run), most, at(1))
    })
}

both_stores! {
    async fn attempts_are_counted_up_to_their_bound(store: Store) {
        assert_eq!(attempt(&store, "i", "stranded", "r1", 2).await, Some(1));
        assert_eq!(attempt(&store, "i", "stranded", "r2", 2).await, Some(2));
        assert_eq!(attempt(&store, "i", "stranded", "r3", 2).await, None);
        assert_eq!(attempt(&store, "i", "continuation", "r4", 2).await, Some(1), "each cause for itself");
        assert_eq!(attempt(&store, "j", "stranded", "r5", 2).await, Some(1), "each issue for itself");
        assert_eq!(attempt(&store, "k", "stranded", "r6", 0).await, None);
        let i = IssueId::from("i");
        let recovery = |cause: &str, attempts, run: &str| Recovery {
            issue_id: "i".into(),
            cause: cause.into(),
            company_id: "acme".into(),
            attempts,
            last_run_id: Some(run.into()),
            created_at: at(1),
            updated_at: at(1),
        };
        let counted = tx!(store, [i], |tx| recoveries::of_issue(tx, &i, 9));
        assert_eq!(counted, [recovery("continuation", 1, "r4"), recovery("stranded", 2, "r2")]);
        let k = IssueId::from("k");
        assert_eq!(tx!(store, [k], |tx| recoveries::of_issue(tx, &k, 9)), []);
    }

    async fn a_success_starts_the_count_anew(store: Store) {
        for cause in ["stranded", "continuation", "process_lost"] {
            attempt(&store, "i", cause, "r", 1).await;
        }
        let i = IssueId::from("i");
        assert_eq!(tx!(store, [i], |tx| recoveries::reset(tx, &i, Some("stranded"))), 1);
        assert_eq!(attempt(&store, "i", "stranded", "r", 1).await, Some(1));
        assert_eq!(attempt(&store, "i", "continuation", "r", 1).await, None);
        assert_eq!(tx!(store, [i], |tx| recoveries::reset(tx, &i, None)), 3);
        assert_eq!(tx!(store, [i], |tx| recoveries::reset(tx, &i, None)), 0);
        assert_eq!(attempt(&store, "i", "continuation", "r", 1).await, Some(1));
    }

    async fn many_who_try_at_once_stay_within_the_bound(store: Store) {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..12 {
            let store = store.clone();
            tasks.spawn(async move { attempt(&store, "i", "stranded", &format!("run-{number}"), 5).await });
        }
        let mut numbers: Vec<i64> = tasks.join_all().await.into_iter().flatten().collect();
        numbers.sort();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
    }
}
