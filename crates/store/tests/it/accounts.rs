//! Accounts: what is remembered of one comes back as it was, and what is due is found.

use domain::account::{Account, Failure, Park, ParkedFor, Standing, Unclear};
use domain::moment::Moment;
use store::Store;
use store::accounts::{self, Login, StoredAccount};

use crate::both_stores;
use crate::issue_fixture::{at, company, set_up, write};

fn account(id: &str, fingerprint: &str) -> StoredAccount {
    StoredAccount {
        id: id.into(),
        company_id: company(),
        provider: "anthropic".into(),
        fingerprint: fingerprint.into(),
        label: "login in /home/ada/.claude".into(),
        account: Account::open(),
        first_agent_id: Some("ada".into()),
        due_at: None,
        reset_at: None,
        last_error: None,
        login: Login::default(),
        created_at: at(1),
        updated_at: at(1),
    }
}

fn park(why: ParkedFor, until: Option<Moment>) -> Park {
    Park { why, since: at(2), until, is_named: true, is_released: false, is_asked: true }
}

async fn put(store: &Store, account: StoredAccount) -> bool {
    write(store, move |tx| {
        let account = account.clone();
        Box::pin(async move { accounts::insert(tx, &account).await })
    })
    .await
}

async fn save(store: &Store, account: StoredAccount) {
    write(store, move |tx| {
        let account = account.clone();
        Box::pin(async move { accounts::save(tx, &account, at(3)).await })
    })
    .await;
}

async fn get(store: &Store, id: &'static str) -> StoredAccount {
    store.read(move |tx| Box::pin(async move { accounts::get(tx, id).await })).await.unwrap().unwrap()
}

both_stores! {
    async fn an_account_comes_back_as_it_stood(store: Store) {
        set_up(&store).await;
        assert!(put(&store, account("a1", "f1")).await);
        // Of two at once one is first.
        assert!(!put(&store, account("a2", "f1")).await);
        assert_eq!(get(&store, "a1").await, account("a1", "f1"));
        let standings = [
            Standing::Open,
            Standing::Parked(park(ParkedFor::Quota, Some(at(60)))),
            Standing::Parked(park(ParkedFor::Login, None)),
            Standing::Parked(park(ParkedFor::Failures, Some(at(60)))),
            Standing::Parked(park(ParkedFor::Person, None)),
            Standing::Probing { park: park(ParkedFor::Quota, Some(at(60))), run: "r".into(), since: at(61) },
            Standing::Resuming { next_start_at: at(62), until: at(90) },
        ];
        for standing in standings {
            let failure = Failure { at: at(1), kind: Unclear::Unknown, agent: "ada".into() };
            let changed = StoredAccount {
                account: Account {
                    standing,
                    auto_resume: false,
                    is_shared: true,
                    level: 3,
                    refusals: vec![at(1), at(2)],
                    failures: vec![failure],
                },
                due_at: Some(at(60)),
                reset_at: Some(at(60)),
                last_error: Some("enough".into()),
                login: Login { files: vec!["/a/b".into()], node: Some("n".into()), mark: Some("1:2:3".into()) },
                updated_at: at(3),
                ..account("a1", "f1")
            };
            save(&store, changed.clone()).await;
            assert_eq!(get(&store, "a1").await, changed);
        }
    }

    async fn what_is_due_and_what_is_logged_out_is_found(store: Store) {
        set_up(&store).await;
        for (id, fingerprint, due, why) in [
            ("a1", "f1", Some(60), ParkedFor::Quota),
            ("a2", "f2", Some(50), ParkedFor::Quota),
            ("a3", "f3", None, ParkedFor::Login),
        ] {
            put(&store, account(id, fingerprint)).await;
            let due_at = due.map(at);
            let standing = Standing::Parked(park(why, due_at));
            let login = Login { files: Vec::new(), node: Some("node-1".into()), mark: Some("-".into()) };
            let of = Account { standing, ..Account::open() };
            save(&store, StoredAccount { account: of, due_at, login, ..account(id, fingerprint) }).await;
        }
        let found = store.read(|tx| Box::pin(async move {
            Ok((
                accounts::due(tx, at(49), 9).await?,
                accounts::due(tx, at(60), 9).await?,
                accounts::next_due(tx).await?,
                accounts::logged_out(tx, "node-1", "", 9).await?.len(),
                accounts::logged_out(tx, "node-2", "", 9).await?.len(),
                accounts::count_by_state(tx).await?,
            ))
        })).await.unwrap();
        let (early, late, next, here, there, counts) = found;
        assert_eq!((early, late), (Vec::<String>::new(), vec!["a2".to_owned(), "a1".to_owned()]));
        assert_eq!((next, here, there), (Some(at(50)), 1, 0));
        assert_eq!(counts, [("parked".to_owned(), 3)]);
        let by_fingerprint = store.read(|tx| Box::pin(async move {
            accounts::with_fingerprints(tx, &["f1".to_owned(), "f3".to_owned(), "f9".to_owned()]).await
        })).await.unwrap();
        assert_eq!(by_fingerprint.len(), 2);
    }
}
