//! Keys: found by their hash while they are good, and stamped at most once a minute.

use domain::ids::AgentId;
use store::keys::{self, AgentKey, BoardKey};
use store::users::{self, User};
use store::{Store, StoreError};

use crate::acme::{at, company_with_an_agent, tx};
use crate::both_stores;

fn agent_key(id: &str, seconds: i64) -> AgentKey {
    AgentKey {
        id: id.into(),
        company_id: "acme".into(),
        agent_id: "ada".into(),
        name: "a key".into(),
        key_hash: format!("hash-of-{id}"),
        last_used_at: None,
        revoked_at: None,
        created_at: at(seconds),
    }
}

fn board_key(id: &str, seconds: i64) -> BoardKey {
    BoardKey {
        id: id.into(),
        user_id: "eve".into(),
        name: "a key".into(),
        key_hash: format!("hash-of-{id}"),
        last_used_at: None,
        revoked_at: None,
        expires_at: None,
        created_at: at(seconds),
    }
}

async fn insert_agent_key(store: &Store, key: AgentKey) {
    tx!(store, [key], |tx| keys::insert_agent_key(tx, &key));
}

async fn insert_board_key(store: &Store, key: BoardKey) {
    tx!(store, [key], |tx| keys::insert_board_key(tx, &key));
}

async fn with_a_user(store: &Store) {
    let eve = User {
        id: "eve".into(),
        name: "Eve".into(),
        email: None,
        is_instance_admin: false,
        created_at: at(0),
        updated_at: at(0),
    };
    tx!(store, [eve], |tx| users::insert(tx, &eve));
}

both_stores! {
    async fn an_agents_key_is_found_until_it_is_revoked(store: Store) {
        company_with_an_agent(&store).await;
        let (ada, bob) = (AgentId::from("ada"), AgentId::from("bob"));
        for (id, seconds) in [("1", 1), ("2", 2), ("3", 3)] {
            insert_agent_key(&store, agent_key(id, seconds)).await;
        }
        assert_eq!(tx!(store, [], |tx| keys::agent_key(tx, "hash-of-1")), Some(agent_key("1", 1)));
        assert_eq!(tx!(store, [], |tx| keys::agent_key(tx, "hash-of-9")), None);
        assert!(!tx!(store, [bob], |tx| keys::revoke_agent_key(tx, &bob, "1", at(5))), "not a key of that agent");
        assert!(tx!(store, [ada], |tx| keys::revoke_agent_key(tx, &ada, "1", at(5))));
        assert!(!tx!(store, [ada], |tx| keys::revoke_agent_key(tx, &ada, "1", at(6))));
        assert_eq!(tx!(store, [], |tx| keys::agent_key(tx, "hash-of-1")), None);
        assert_eq!(tx!(store, [ada], |tx| keys::revoke_all_of_agent(tx, &ada, at(7))), 2);
        assert_eq!(tx!(store, [], |tx| keys::agent_key(tx, "hash-of-3")), None);
        let listed = tx!(store, [ada], |tx| keys::agent_keys(tx, &ada, None, 2));
        let listed: Vec<_> = listed.iter().map(|key| (key.id.as_str(), key.revoked_at)).collect();
        assert_eq!(listed, [("3", Some(at(7))), ("2", Some(at(7)))], "revoked ones too, newest first");
        let before = Some((at(2), "2".to_owned()));
        let rest = tx!(store, [ada, before], |tx| keys::agent_keys(tx, &ada, before.clone(), 2));
        assert_eq!(rest, [AgentKey { revoked_at: Some(at(5)), ..agent_key("1", 1) }]);
    }

    async fn a_persons_key_is_found_until_it_is_revoked_or_expires(store: Store) {
        with_a_user(&store).await;
        insert_board_key(&store, BoardKey { expires_at: Some(at(100)), ..board_key("1", 1) }).await;
        insert_board_key(&store, board_key("2", 2)).await;
        let found = |seconds| { let store = store.clone(); async move {
            tx!(store, [], |tx| keys::board_key(tx, "hash-of-1", at(seconds))).is_some()
        } };
        assert!(found(99).await);
        assert!(!found(100).await);
        assert!(!tx!(store, [], |tx| keys::revoke_board_key(tx, "bob", "1", at(5))), "not a key of that person");
        assert!(tx!(store, [], |tx| keys::revoke_board_key(tx, "eve", "1", at(5))));
        assert!(!tx!(store, [], |tx| keys::revoke_board_key(tx, "eve", "1", at(6))));
        assert!(!found(99).await);
        let listed = tx!(store, [], |tx| keys::board_keys(tx, "eve", None, 9));
        assert_eq!(listed.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["2", "1"]);
    }

    async fn a_hash_belongs_to_one_key(store: Store) {
        company_with_an_agent(&store).await;
        insert_agent_key(&store, agent_key("1", 1)).await;
        let twin = AgentKey { key_hash: "hash-of-1".into(), ..agent_key("2", 2) };
        let refused = store.write(move |tx| {
            let twin = twin.clone();
            Box::pin(async move { keys::insert_agent_key(tx, &twin).await })
        });
        assert!(matches!(refused.await, Err(StoreError::Constraint { rule: store::Rule::Unique, .. })));
    }

    async fn a_use_is_noted_at_most_once_a_minute(store: Store) {
        company_with_an_agent(&store).await;
        with_a_user(&store).await;
        insert_agent_key(&store, agent_key("1", 1)).await;
        insert_board_key(&store, board_key("1", 1)).await;
        for (seconds, noted) in [(10, true), (11, false), (69, false), (70, true), (129, false)] {
            let key = tx!(store, [], |tx| keys::agent_key(tx, "hash-of-1")).unwrap();
            assert_eq!(key.wants_stamp(at(seconds)), noted, "{seconds}");
            assert_eq!(tx!(store, [], |tx| keys::stamp_agent_key(tx, "1", at(seconds))), noted, "{seconds}");
            let key = tx!(store, [], |tx| keys::board_key(tx, "hash-of-1", at(0))).unwrap();
            assert_eq!(key.wants_stamp(at(seconds)), noted, "{seconds}");
            assert_eq!(tx!(store, [], |tx| keys::stamp_board_key(tx, "1", at(seconds))), noted, "{seconds}");
        }
        let key = tx!(store, [], |tx| keys::agent_key(tx, "hash-of-1")).unwrap();
        assert_eq!(key.last_used_at, Some(at(70)));
    }
}
