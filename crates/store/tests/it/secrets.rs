//! Secrets: names, versions, and what refers to them.

use domain::ids::AgentId;
use store::secrets::{self, Owner, Secret, Version};
use store::{p, sql};

use crate::acme::{at, company_with_an_agent, tx};
use crate::both_stores;

fn secret(id: &str, company: &str, name: &str, seconds: i64) -> Secret {
    Secret {
        id: id.into(),
        company_id: company.into(),
        name: name.into(),
        provider: "local_encrypted".into(),
        external_ref: None,
        latest_version: 1,
        description: None,
        created_by_agent_id: None,
        created_by_user_id: Some("board".into()),
        created_at: at(seconds),
        updated_at: at(seconds),
    }
}

fn version(secret: &str, number: i64) -> Version {
    Version {
        secret_id: secret.into(),
        version: number,
        key_id: "k".into(),
        material: format!("{{\"data\":\"{number}\"}}"),
        created_at: at(number),
    }
}

both_stores! {
    async fn a_name_belongs_to_one_secret_of_a_company(store: Store) {
        let (company, _) = company_with_an_agent(&store).await;
        let (one, same, other) =
            (secret("s1", "acme", "A", 1), secret("s2", "acme", "A", 2), secret("s3", "acme", "B", 2));
        assert!(tx!(store, [one], |tx| secrets::insert(tx, &one)));
        assert!(!tx!(store, [same], |tx| secrets::insert(tx, &same)));
        assert!(tx!(store, [other], |tx| secrets::insert(tx, &other)));
        let taken = Secret { name: "A".into(), ..other.clone() };
        assert!(!tx!(store, [taken], |tx| secrets::update(tx, &taken)));
        let renamed = Secret { name: "C".into(), latest_version: 2, updated_at: at(3), ..other.clone() };
        assert!(tx!(store, [renamed], |tx| secrets::update(tx, &renamed)));
        assert_eq!(tx!(store, [], |tx| secrets::lock(tx, "s3")), Some(renamed.clone()));
        assert_eq!(tx!(store, [company], |tx| secrets::list(tx, &company, None, 9)), [renamed, one.clone()]);
        let before = Some((at(2), "s3".to_owned()));
        assert_eq!(tx!(store, [company, before], |tx| secrets::list(tx, &company, before.clone(), 9)), [one]);
    }

    async fn versions_go_with_their_secret(store: Store) {
        company_with_an_agent(&store).await;
        let one = secret("s1", "acme", "A", 1);
        tx!(store, [one], |tx| secrets::insert(tx, &one));
        for version in [version("s1", 1), version("s1", 2)] {
            tx!(store, [version], |tx| secrets::insert_version(tx, &version));
        }
        assert_eq!(tx!(store, [], |tx| secrets::version(tx, "s1", 1)), Some(version("s1", 1)));
        assert_eq!(tx!(store, [], |tx| secrets::versions(tx, "s1", 9)), [version("s1", 2), version("s1", 1)]);
        let again = store.write(|tx| Box::pin(async move { secrets::insert_version(tx, &version("s1", 2)).await }));
        assert!(again.await.is_err(), "a version never changes");
        assert!(tx!(store, [], |tx| secrets::remove(tx, "s1")));
        assert!(!tx!(store, [], |tx| secrets::remove(tx, "s1")));
        assert_eq!(tx!(store, [], |tx| secrets::versions(tx, "s1", 9)), []);
    }

    async fn a_secret_in_use_cannot_be_removed(store: Store) {
        let (_, ada): (_, AgentId) = company_with_an_agent(&store).await;
        let one = secret("s1", "acme", "A", 1);
        tx!(store, [one], |tx| secrets::insert(tx, &one));
        let uses = vec![("TOKEN".to_owned(), "s1".to_owned())];
        tx!(store, [ada, uses], |tx| secrets::refer(tx, Owner::Agent(&ada), &uses));
        let found = tx!(store, [], |tx| secrets::references(tx, "s1", 9));
        let shown: Vec<_> = found.iter().map(|it| (&*it.owner_kind, &*it.owner_name, &*it.variable)).collect();
        assert_eq!(shown, [("agent", "Ada", "TOKEN")]);
        let removed = store.write(|tx| Box::pin(async move { secrets::remove(tx, "s1").await }));
        assert!(removed.await.is_err());
        tx!(store, [], |tx| tx.run(sql!("UPDATE agents SET status = 'terminated' WHERE id = 'ada'"), p![]));
        assert_eq!(tx!(store, [], |tx| secrets::references(tx, "s1", 9)), []);
        assert!(tx!(store, [], |tx| secrets::remove(tx, "s1")));
    }

    async fn an_owner_refers_to_what_it_says_last(store: Store) {
        let (_, ada) = company_with_an_agent(&store).await;
        for one in [secret("s1", "acme", "A", 1), secret("s2", "acme", "B", 1)] {
            tx!(store, [one], |tx| secrets::insert(tx, &one));
        }
        for uses in [vec![("X", "s1"), ("Y", "s2")], vec![("X", "s2")]] {
            let uses: Vec<(String, String)> =
                uses.into_iter().map(|(name, id)| (name.to_owned(), id.to_owned())).collect();
            tx!(store, [ada, uses], |tx| secrets::refer(tx, Owner::Agent(&ada), &uses));
        }
        assert_eq!(tx!(store, [], |tx| secrets::references(tx, "s1", 9)), []);
        assert_eq!(tx!(store, [], |tx| secrets::references(tx, "s2", 9)).len(), 1);
    }

    async fn the_first_key_is_the_one_that_holds(store: Store) {
        assert_eq!(tx!(store, [], |tx| secrets::key(tx)), None);
        assert_eq!(tx!(store, [], |tx| secrets::note_key(tx, "one", at(1))), "one");
        assert_eq!(tx!(store, [], |tx| secrets::note_key(tx, "two", at(2))), "one");
        assert_eq!(tx!(store, [], |tx| secrets::key(tx)), Some("one".to_owned()));
    }
}
