//! Users, memberships and grants.

use domain::ids::CompanyId;
use serde_json::json;
use store::Store;
use store::users::{self, Grant, Membership, Principal, User};

use crate::acme::{at, tx};
use crate::both_stores;

fn user(id: &str, email: Option<&str>) -> User {
    User {
        id: id.into(),
        name: format!("User {id}"),
        email: email.map(str::to_owned),
        is_instance_admin: false,
        created_at: at(1),
        updated_at: at(1),
    }
}

async fn insert(store: &Store, user: User) -> bool {
    tx!(store, [user], |tx| users::insert(tx, &user))
}

fn member(company: &str, who: &Principal, status: &str, role: Option<&str>) -> Membership {
    Membership {
        id: format!("{company}-{}-{}", who.kind, who.id),
        company_id: company.into(),
        principal_type: who.kind.clone(),
        principal_id: who.id.clone(),
        status: status.into(),
        role: role.map(str::to_owned),
        is_untrusted: false,
        created_at: at(1),
        updated_at: at(1),
    }
}

async fn save(store: &Store, membership: Membership) -> Option<Membership> {
    tx!(store, [membership], |tx| users::save_membership(tx, &membership))
}

async fn holds(store: &Store, who: &Principal, key: &'static str) -> bool {
    let acme = CompanyId::from("acme");
    tx!(store, [acme, who], |tx| users::holds_grant(tx, &acme, &who, key))
}

both_stores! {
    async fn an_id_and_an_address_belong_to_one_user(store: Store) {
        assert!(insert(&store, user("1", Some("a@b.c"))).await);
        assert!(!insert(&store, user("1", None)).await);
        assert!(!insert(&store, user("2", Some("a@b.c"))).await);
        assert!(insert(&store, user("3", None)).await);
        assert!(insert(&store, user("4", None)).await, "many may have no address");
        assert_eq!(tx!(store, [], |tx| users::with_email(tx, "a@b.c")), Some(user("1", Some("a@b.c"))));
        assert_eq!(tx!(store, [], |tx| users::get(tx, "2")), None);
        assert_eq!(tx!(store, [], |tx| users::list(tx, None, 2)).len(), 2);
        let after = Some((at(1), "3".to_owned()));
        assert_eq!(tx!(store, [after], |tx| users::list(tx, after.clone(), 2)), [user("4", None)]);
    }

    async fn the_first_administrator_is_still_to_be_made_until_there_is_one(store: Store) {
        insert(&store, user("1", None)).await;
        assert!(!tx!(store, [], |tx| users::has_instance_admin(tx)));
        assert!(!tx!(store, [], |tx| users::set_instance_admin(tx, "nobody", true, at(2))));
        assert!(tx!(store, [], |tx| users::set_instance_admin(tx, "1", true, at(2))));
        assert!(tx!(store, [], |tx| users::has_instance_admin(tx)));
        assert!(tx!(store, [], |tx| users::get(tx, "1")).is_some_and(|one| one.is_instance_admin));
        tx!(store, [], |tx| users::set_instance_admin(tx, "1", false, at(3)));
        assert!(!tx!(store, [], |tx| users::has_instance_admin(tx)));
    }

    async fn a_principal_is_a_member_of_a_company_once(store: Store) {
        let (acme, eve) = (CompanyId::from("acme"), Principal::user("eve"));
        let first = member("acme", &eve, "pending", Some("viewer"));
        assert_eq!(save(&store, first.clone()).await, Some(first.clone()));
        let changed = Membership {
            id: "another-id".into(),
            created_at: at(9),
            updated_at: at(9),
            ..member("acme", &eve, "active", Some("owner"))
        };
        let expected = Membership { id: first.id, created_at: at(1), ..changed.clone() };
        assert_eq!(save(&store, changed).await, Some(expected.clone()));
        assert_eq!(tx!(store, [acme, eve], |tx| users::membership(tx, &acme, &eve)), Some(expected));
        // An agent with the same id is somebody else.
        let agent = Principal::agent("eve");
        assert_eq!(tx!(store, [acme, agent], |tx| users::membership(tx, &acme, &agent)), None);
        save(&store, member("acme", &agent, "active", None)).await;
        save(&store, member("acme", &Principal::user("bob"), "active", Some("member"))).await;
        save(&store, member("zoo", &eve, "active", Some("member"))).await;
        let of_eve = tx!(store, [eve], |tx| users::memberships_of(tx, &eve, None, 9));
        assert_eq!(of_eve.iter().map(|one| one.company_id.as_str()).collect::<Vec<_>>(), ["acme", "zoo"]);
        let rest = tx!(store, [eve, acme], |tx| users::memberships_of(tx, &eve, Some(&acme), 9));
        assert_eq!(rest.len(), 1);
        let people = tx!(store, [acme], |tx| users::members(tx, &acme, "user", None, 9));
        assert_eq!(people.iter().map(|one| one.principal_id.as_str()).collect::<Vec<_>>(), ["bob", "eve"]);
        assert_eq!(tx!(store, [acme], |tx| users::lock_owners(tx, &acme, 9)), 1);
    }

    async fn a_grant_counts_while_its_holder_is_an_active_member(store: Store) {
        let (acme, ada) = (CompanyId::from("acme"), Principal::agent("ada"));
        let grant = |id: &str, key: &str| Grant {
            id: id.into(),
            company_id: "acme".into(),
            principal_type: "agent".into(),
            principal_id: "ada".into(),
            permission_key: key.into(),
            scope: None,
            granted_by_user_id: Some("board".into()),
            created_at: at(1),
            updated_at: at(1),
        };
        let assign = grant("1", "tasks:assign");
        tx!(store, [assign], |tx| users::grant(tx, &assign));
        assert!(!holds(&store, &ada, "tasks:assign").await, "not a member");
        for (status, counts) in [("pending", false), ("active", true), ("suspended", false), ("active", true)] {
            save(&store, member("acme", &ada, status, None)).await;
            assert_eq!(holds(&store, &ada, "tasks:assign").await, counts, "{status}");
        }
        assert!(!holds(&store, &ada, "agents:create").await);
        assert!(!holds(&store, &Principal::user("ada"), "tasks:assign").await);
        let narrowed = Grant { scope: Some(json!({"project": "site"})), updated_at: at(5), ..grant("2", "tasks:assign") };
        tx!(store, [narrowed], |tx| users::grant(tx, &narrowed));
        let more = grant("3", "agents:create");
        tx!(store, [more], |tx| users::grant(tx, &more));
        let granted = tx!(store, [acme, ada], |tx| users::grants_of(tx, &acme, &ada, 9));
        assert_eq!(granted, [more, Grant { id: "1".into(), ..narrowed }], "granted twice is granted once");
        assert!(tx!(store, [acme, ada], |tx| users::revoke_grant(tx, &acme, &ada, "tasks:assign")));
        assert!(!tx!(store, [acme, ada], |tx| users::revoke_grant(tx, &acme, &ada, "tasks:assign")));
        assert!(!holds(&store, &ada, "tasks:assign").await);
        assert!(tx!(store, [acme, ada], |tx| users::remove_membership(tx, &acme, &ada)));
        assert!(!tx!(store, [acme, ada], |tx| users::remove_membership(tx, &acme, &ada)));
        assert_eq!(tx!(store, [acme, ada], |tx| users::grants_of(tx, &acme, &ada, 9)), []);
    }
}
