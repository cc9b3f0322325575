//! Holds on subtrees: who is under one, and what it remembers.

use domain::ids::{HoldId, IssueId};
use domain::issue::IssueStatus;
use serde_json::json;
use store::Store;
use store::holds::{self, Hold, Member, Release};
use store::issues::Issue;

use crate::both_stores;
use crate::issue_fixture::{add, at, company, issue, set_up, write};

pub(crate) fn hold(id: &str, root: &str, mode: &str, seconds: i64) -> Hold {
    Hold {
        id: id.into(),
        company_id: company(),
        root_issue_id: root.into(),
        mode: mode.into(),
        status: "active".into(),
        reason: Some("because".into()),
        release_policy: Some(json!({"strategy": "manual"})),
        metadata: None,
        created_by_actor_type: "user".into(),
        created_by_agent_id: None,
        created_by_user_id: Some("u1".into()),
        created_by_run_id: None,
        released_at: None,
        released_by_actor_type: None,
        released_by_agent_id: None,
        released_by_user_id: None,
        released_by_run_id: None,
        release_reason: None,
        release_metadata: None,
        created_at: at(seconds),
        updated_at: at(seconds),
    }
}

fn member(hold: &str, issue: &str, depth: i64, skipped: bool) -> Member {
    Member {
        id: format!("{hold} {issue}"),
        company_id: company(),
        hold_id: hold.into(),
        issue_id: issue.into(),
        parent_issue_id: None,
        depth,
        issue_identifier: Some("ACM-1".into()),
        issue_title: issue.into(),
        issue_status: IssueStatus::InProgress,
        assignee_agent_id: Some("ada".into()),
        assignee_user_id: None,
        active_run_id: None,
        active_run_status: None,
        skipped,
        skip_reason: skipped.then(|| "terminal_status".into()),
        created_at: at(1),
    }
}

async fn put(store: &Store, hold: Hold, members: Vec<Member>) {
    write(store, move |tx| {
        let (hold, members) = (hold.clone(), members.clone());
        Box::pin(async move { holds::insert(tx, &hold, &members).await })
    })
    .await;
}

async fn gate(store: &Store, issue: &'static str) -> Option<HoldId> {
    let read = store.read(move |tx| Box::pin(async move { holds::gate(tx, &issue.into()).await }));
    read.await.unwrap().map(|hold| hold.id)
}

async fn release(store: &Store, id: &'static str) -> bool {
    write(store, move |tx| {
        Box::pin(async move {
            let release = Release {
                actor_type: "user".into(),
                agent_id: None,
                user_id: Some("u2".into()),
                run_id: None,
                reason: Some("enough".into()),
                metadata: Some(json!({})),
            };
            holds::release(tx, &id.into(), &release, at(9)).await
        })
    })
    .await
}

both_stores! {
    async fn an_issue_is_held_by_the_newest_pause_on_the_nearest_root_above_it(store: Store) {
        set_up(&store).await;
        let below = |id: &str, parent: &str| Issue { parent_id: Some(parent.into()), ..issue(id) };
        add(&store, vec![issue("a"), below("b", "a"), below("c", "b"), issue("other")]).await;
        assert_eq!(gate(&store, "c").await, None);
        put(&store, hold("far", "a", "pause", 1), vec![]).await;
        put(&store, hold("cancel", "c", "cancel", 2), vec![]).await;
        // Came under the root later, and is held all the same.
        add(&store, vec![below("late", "a")]).await;
        for id in ["a", "b", "c", "late"] {
            assert_eq!(gate(&store, id).await, Some("far".into()), "{id}");
        }
        assert_eq!(gate(&store, "other").await, None);
        put(&store, hold("near", "b", "pause", 3), vec![]).await;
        put(&store, hold("newer", "b", "pause", 4), vec![]).await;
        assert_eq!(gate(&store, "c").await, Some("newer".into()));
        assert_eq!(gate(&store, "a").await, Some("far".into()));
        assert!(release(&store, "newer").await);
        assert_eq!(gate(&store, "c").await, Some("near".into()));
        assert!(!release(&store, "newer").await, "released before");
        let released = store
            .read(|tx| Box::pin(async { holds::get(tx, &"newer".into()).await }))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (released.status.as_str(), released.released_at, released.released_by_user_id.as_deref(), released.release_reason.as_deref()),
            ("released", Some(at(9)), Some("u2"), Some("enough"))
        );
    }

    async fn the_gate_looks_fifteen_issues_up(store: Store) {
        set_up(&store).await;
        let mut chain = vec![issue("i01")];
        const NAMES: [&str; 16] = [
            "i01", "i02", "i03", "i04", "i05", "i06", "i07", "i08", "i09", "i10", "i11", "i12", "i13", "i14", "i15", "i16",
        ];
        for pair in NAMES.windows(2) {
            chain.push(Issue { parent_id: Some(pair[0].into()), ..issue(pair[1]) });
        }
        add(&store, chain).await;
        put(&store, hold("h", "i01", "pause", 1), vec![]).await;
        assert_eq!(gate(&store, "i15").await, Some("h".into()));
        assert_eq!(gate(&store, "i16").await, None);
    }

    async fn a_hold_remembers_its_members_and_lists_are_filtered(store: Store) {
        set_up(&store).await;
        add(&store, ["a", "b"].map(issue).into()).await;
        let members = vec![member("h1", "b", 1, false), member("h1", "a", 0, true)];
        put(&store, hold("h1", "a", "cancel", 1), members.clone()).await;
        put(&store, hold("h2", "a", "pause", 2), vec![]).await;
        assert!(release(&store, "h2").await);
        let (kept, all, active, pauses, on, of, none) = store
            .read(|tx| Box::pin(async {
                let a: IssueId = "a".into();
                Ok((
                    holds::members(tx, &"h1".into(), 10).await?,
                    holds::of_root(tx, &a, None, None, 10).await?,
                    holds::of_root(tx, &a, Some("active"), None, 10).await?,
                    holds::of_root(tx, &a, None, Some("pause"), 10).await?,
                    holds::active_on(tx, "cancel", &["a".into(), "b".into()]).await?,
                    holds::active_members(tx, "cancel", &["a".into(), "b".into()]).await?,
                    holds::active_members(tx, "pause", &["a".into(), "b".into()]).await?,
                ))
            }))
            .await
            .unwrap();
        assert_eq!(kept, [members[1].clone(), members[0].clone()]);
        let ids = |holds: &[Hold]| holds.iter().map(|hold| hold.id.0.clone()).collect::<Vec<_>>();
        assert_eq!([ids(&all), ids(&active), ids(&pauses), ids(&on)], [
            vec!["h2", "h1"], vec!["h1"], vec!["h2"], vec!["h1"],
        ]);
        assert_eq!(of, [("b".into(), "h1".into())], "skipped ones are no members");
        assert_eq!(none, []);
    }
}
