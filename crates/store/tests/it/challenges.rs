//! Challenges of the command line: decided once, by whoever is in time.

use store::Store;
use store::challenges::{self, Challenge};

use crate::acme::{at, tx};
use crate::both_stores;

fn challenge(id: &str, expires: i64) -> Challenge {
    Challenge {
        id: id.into(),
        secret_hash: format!("secret-of-{id}"),
        command: "bugle login".into(),
        client_name: Some("laptop".into()),
        requested_access: "board".into(),
        requested_company_id: Some("acme".into()),
        pending_key_hash: format!("key-of-{id}"),
        pending_key_name: "laptop".into(),
        approved_by_user_id: None,
        board_key_id: None,
        approved_at: None,
        cancelled_at: None,
        expires_at: at(expires),
        created_at: at(0),
    }
}

async fn insert(store: &Store, challenge: Challenge) {
    tx!(store, [challenge], |tx| challenges::insert(tx, &challenge));
}

async fn approve(store: &Store, id: &'static str, seconds: i64) -> Option<Challenge> {
    tx!(store, [], |tx| challenges::approve(tx, id, "eve", "key", at(seconds)))
}

async fn cancel(store: &Store, id: &'static str, seconds: i64) -> bool {
    tx!(store, [], |tx| challenges::cancel(tx, id, at(seconds)))
}

both_stores! {
    async fn only_the_secret_opens_a_challenge(store: Store) {
        insert(&store, challenge("1", 100)).await;
        let found = tx!(store, [], |tx| challenges::with_secret(tx, "1", "secret-of-1"));
        assert_eq!(found, Some(challenge("1", 100)));
        assert_eq!(tx!(store, [], |tx| challenges::with_secret(tx, "1", "secret-of-2")), None);
        assert_eq!(tx!(store, [], |tx| challenges::with_secret(tx, "2", "secret-of-1")), None);
    }

    async fn a_challenge_is_decided_once_and_in_time(store: Store) {
        for id in ["approved", "cancelled", "late"] {
            insert(&store, challenge(id, 100)).await;
        }
        assert_eq!(approve(&store, "approved", 99).await, Some(Challenge {
            approved_by_user_id: Some("eve".into()),
            board_key_id: Some("key".into()),
            approved_at: Some(at(99)),
            ..challenge("approved", 100)
        }));
        assert_eq!(approve(&store, "approved", 99).await, None);
        assert!(!cancel(&store, "approved", 99).await);
        assert!(cancel(&store, "cancelled", 99).await);
        assert!(!cancel(&store, "cancelled", 99).await);
        assert_eq!(approve(&store, "cancelled", 99).await, None);
        assert_eq!(approve(&store, "late", 100).await, None);
        assert!(!cancel(&store, "late", 100).await);
    }

    async fn expired_challenges_are_removed_a_batch_at_a_time(store: Store) {
        for (id, expires) in [("1", 10), ("2", 20), ("3", 30), ("4", 40)] {
            insert(&store, challenge(id, expires)).await;
        }
        assert_eq!(tx!(store, [], |tx| challenges::count_unexpired(tx, at(20))), 2);
        assert_eq!(tx!(store, [], |tx| challenges::remove_expired(tx, at(40), 2)), 2);
        assert_eq!(tx!(store, [], |tx| challenges::remove_expired(tx, at(40), 2)), 1);
        assert_eq!(tx!(store, [], |tx| challenges::remove_expired(tx, at(40), 2)), 0);
        assert!(tx!(store, [], |tx| challenges::with_secret(tx, "4", "secret-of-4")).is_some());
    }
}
