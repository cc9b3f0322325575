//! What hangs on an issue: comments, documents, work products, labels, attachments and who has read it.

use domain::ids::{CommentId, IssueId};
use serde_json::json;
use store::attachments::{self, Attachment};
use store::comments::{self, Comment, Order};
use store::documents::{self, Document, Revision};
use store::labels::{self, Label};
use store::work_products::{self, WorkProduct};
use store::{Store, reads};

use crate::both_stores;
use crate::issue_fixture::{add, at, comment, company, issue, say, set_up, write};

fn revision(id: &str, number: i64, body: &str) -> Revision {
    Revision {
        id: id.into(),
        company_id: company(),
        document_id: "d".into(),
        issue_id: "a".into(),
        key: "plan".into(),
        revision_number: number,
        title: Some(format!("title {number}")),
        format: "markdown".into(),
        body: body.into(),
        change_summary: None,
        created_by_agent_id: Some("ada".into()),
        created_by_user_id: None,
        created_by_run_id: Some("r1".into()),
        created_at: at(number),
    }
}

fn document(id: &str, revision: &Revision) -> Document {
    Document {
        id: id.into(),
        company_id: company(),
        issue_id: "a".into(),
        key: "plan".into(),
        title: revision.title.clone(),
        format: "markdown".into(),
        body: revision.body.clone(),
        latest_revision_id: revision.id.clone(),
        latest_revision_number: revision.revision_number,
        created_by_agent_id: Some("ada".into()),
        created_by_user_id: None,
        updated_by_agent_id: Some("ada".into()),
        updated_by_user_id: None,
        created_at: at(1),
        updated_at: at(1),
    }
}

fn product(id: &str, kind: &str, is_primary: bool, seconds: i64) -> WorkProduct {
    WorkProduct {
        id: id.into(),
        company_id: company(),
        project_id: None,
        issue_id: "a".into(),
        execution_workspace_id: None,
        runtime_service_id: None,
        kind: kind.into(),
        provider: "git".into(),
        external_id: None,
        title: id.into(),
        url: None,
        status: "active".into(),
        review_state: "none".into(),
        is_primary,
        health_status: "unknown".into(),
        summary: None,
        metadata: Some(json!({"n": 1})),
        created_by_run_id: Some("r1".into()),
        created_at: at(seconds),
        updated_at: at(seconds),
    }
}

async fn revise(store: &Store, base: &'static str, revision: Revision) -> bool {
    write(store, move |tx| {
        let revision = revision.clone();
        Box::pin(async move { documents::revise(tx, base, &revision).await })
    })
    .await
}

both_stores! {
    async fn comments_are_read_both_ways_from_a_place(store: Store) {
        set_up(&store).await;
        add(&store, ["a", "b"].map(issue).into()).await;
        // Two of the same moment, in the order of their ids.
        for (id, on, seconds) in [("k1", "a", 1), ("k3", "a", 2), ("k2", "a", 2), ("k4", "a", 3), ("other", "b", 1)] {
            say(&store, comment(id, on, Some("u1"), seconds)).await;
        }
        let list = |order, after: Option<(i64, &'static str)>, limit| {
            let store = store.clone();
            async move {
                let after = after.map(|(seconds, id)| (at(seconds), CommentId::from(id)));
                let read = store.read(move |tx| {
                    let after = after.clone();
                    Box::pin(async move { comments::list(tx, &"a".into(), order, after, limit).await })
                });
                read.await.unwrap().into_iter().map(|comment| comment.id.0).collect::<Vec<_>>()
            }
        };
        assert_eq!(list(Order::OldestFirst, None, 10).await, ["k1", "k2", "k3", "k4"]);
        assert_eq!(list(Order::NewestFirst, None, 2).await, ["k4", "k3"]);
        assert_eq!(list(Order::OldestFirst, Some((2, "k2")), 10).await, ["k3", "k4"]);
        assert_eq!(list(Order::NewestFirst, Some((2, "k3")), 10).await, ["k2", "k1"]);
        let (count, one, some, removed, again) = write(&store, |tx| Box::pin(async {
            Ok((
                comments::count(tx, &"a".into()).await?,
                comments::get(tx, &"k1".into()).await?.unwrap(),
                comments::some(tx, &["k2".into(), "none".into()]).await?,
                comments::remove(tx, &"k1".into()).await?,
                comments::remove(tx, &"k1".into()).await?,
            ))
        })).await;
        assert_eq!((count, one, some.len(), removed, again), (4, comment("k1", "a", Some("u1"), 1), 1, true, false));
    }

    async fn the_comments_of_a_run_on_an_issue_are_found(store: Store) {
        set_up(&store).await;
        add(&store, ["a", "b"].map(issue).into()).await;
        for (id, on, run, seconds) in [("k1", "a", "r1", 1), ("k2", "a", "r1", 2), ("k3", "b", "r1", 3), ("k4", "a", "r2", 4)] {
            say(&store, Comment { created_by_run_id: Some(run.into()), ..comment(id, on, None, seconds) }).await;
        }
        let of = store
            .read(|tx| Box::pin(async { comments::of_run(tx, &"r1".into(), &"a".into(), 5).await }))
            .await
            .unwrap();
        assert_eq!(of.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["k2", "k1"]);
    }

    async fn a_document_is_revised_only_from_what_it_says_now(store: Store) {
        set_up(&store).await;
        add(&store, vec![issue("a")]).await;
        let create = |store: Store, id: &'static str, first: &'static str| async move {
            write(&store, move |tx| Box::pin(async move {
                let first = Revision { document_id: id.into(), ..revision(first, 1, "one") };
                documents::create(tx, &document(id, &first), &first).await
            })).await
        };
        assert!(create(store.clone(), "d", "v1").await);
        assert!(!create(store.clone(), "d2", "w1").await, "the key is taken");
        assert!(revise(&store, "v1", revision("v2", 2, "two")).await);
        assert!(!revise(&store, "v1", revision("v3", 3, "lost")).await, "somebody was faster");
        assert!(!revise(&store, "v2", revision("v4", 2, "same number")).await);
        let (now, locked, all, short, revisions, one, by_run) = write(&store, |tx| Box::pin(async {
            let a: IssueId = "a".into();
            Ok((
                documents::get(tx, &a, "plan").await?.unwrap(),
                documents::lock(tx, &a, "plan").await?.unwrap(),
                documents::list(tx, &a, 10).await?,
                documents::summaries(tx, &a, 10).await?,
                documents::revisions(tx, "d", 10).await?,
                documents::revision(tx, "v1").await?.unwrap(),
                documents::written_by_run(tx, &"r1".into(), &a, 10).await?,
            ))
        })).await;
        assert_eq!(now, Document { updated_at: at(2), ..document("d", &revision("v2", 2, "two")) });
        assert_eq!((&locked, &all[0]), (&now, &now));
        assert_eq!(short, [Document { body: String::new(), ..now }]);
        assert_eq!(revisions, [revision("v2", 2, "two"), revision("v1", 1, "one")]);
        assert_eq!(one.body, "one");
        assert_eq!(by_run, [("plan".to_owned(), at(1)), ("plan".to_owned(), at(2))]);
        let removed = write(&store, |tx| Box::pin(async { documents::remove(tx, &"a".into(), "plan").await })).await;
        assert!(removed);
        let left = store.read(|tx| Box::pin(documents::revisions(tx, "d", 10))).await.unwrap();
        assert_eq!(left, []);
    }

    async fn of_two_writers_of_one_revision_one_wins(store: Store) {
        set_up(&store).await;
        add(&store, vec![issue("a")]).await;
        write(&store, |tx| Box::pin(async {
            let first = revision("v1", 1, "one");
            documents::create(tx, &document("d", &first), &first).await
        })).await;
        let mut tasks = tokio::task::JoinSet::new();
        for id in ["x", "y", "z"] {
            let store = store.clone();
            tasks.spawn(async move { revise(&store, "v1", revision(id, 2, id)).await });
        }
        let won = tasks.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1);
    }

    async fn one_work_product_of_a_kind_is_the_primary_one(store: Store) {
        set_up(&store).await;
        add(&store, vec![issue("a")]).await;
        for made in [
            product("p1", "branch", true, 1),
            product("p2", "branch", true, 2),
            product("p3", "pull_request", true, 3),
            product("p4", "branch", false, 4),
        ] {
            write(&store, move |tx| {
                let made = made.clone();
                Box::pin(async move { work_products::insert(tx, &made).await })
            }).await;
        }
        let list = |store: Store| async move {
            let read = store.read(|tx| Box::pin(async { work_products::list(tx, &"a".into(), 10).await }));
            read.await.unwrap().into_iter().map(|one| (one.id, one.is_primary)).collect::<Vec<_>>()
        };
        let row = |id: &str, primary| (id.to_owned(), primary);
        assert_eq!(list(store.clone()).await, [row("p3", true), row("p2", true), row("p4", false), row("p1", false)]);
        let (kept, made, removed) = write(&store, |tx| Box::pin(async {
            work_products::update(tx, &WorkProduct { status: "merged".into(), ..product("p4", "branch", true, 4) }).await?;
            Ok((
                work_products::get(tx, "p4").await?.unwrap(),
                work_products::made_by_run(tx, &"r1".into(), &"a".into()).await?,
                work_products::remove(tx, "p3").await?,
            ))
        })).await;
        assert_eq!(kept.status, "merged");
        assert_eq!((made, removed), ((4, Some(at(4))), true));
        assert_eq!(list(store.clone()).await, [row("p4", true), row("p2", false), row("p1", false)]);
    }

    async fn a_label_has_one_name_in_its_company_and_issues_carry_what_was_last_said(store: Store) {
        set_up(&store).await;
        add(&store, ["a", "b"].map(issue).into()).await;
        let label = |id: &str, name: &str| Label {
            id: id.into(), company_id: company(), name: name.into(), color: "#00ff00".into(),
            created_at: at(1), updated_at: at(1),
        };
        let (bug, ui, twice) = (label("l1", "bug"), label("l2", "Ui"), label("l3", "bug"));
        let made = write(&store, move |tx| {
            let all = [bug.clone(), ui.clone(), twice.clone()];
            Box::pin(async move {
                let mut made = Vec::new();
                for one in &all {
                    made.push(labels::insert(tx, one).await?);
                }
                labels::replace(tx, &"a".into(), &["l1".into(), "l2".into(), "l1".into()]).await?;
                labels::replace(tx, &"b".into(), &["l1".into()]).await?;
                labels::replace(tx, &"b".into(), &["l2".into()]).await?;
                Ok(made)
            })
        }).await;
        assert_eq!(made, [true, true, false]);
        let carried = |store: Store| async move {
            let read = store.read(|tx| Box::pin(async { labels::of_issues(tx, &["a".into(), "b".into()]).await }));
            read.await.unwrap().into_iter().map(|(on, label)| (on.0, label.id)).collect::<Vec<_>>()
        };
        let pair = |on: &str, id: &str| (on.to_owned(), id.to_owned());
        // By bytes, on both engines.
        assert_eq!(carried(store.clone()).await, [pair("a", "l2"), pair("a", "l1"), pair("b", "l2")]);
        let (list, some, gone) = write(&store, |tx| Box::pin(async {
            Ok((
                labels::list(tx, &company(), 10).await?,
                labels::some(tx, &["l1".into(), "l9".into()]).await?,
                labels::remove(tx, "l2").await?,
            ))
        })).await;
        assert_eq!(list.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["l2", "l1"]);
        assert_eq!((some, gone), (vec![label("l1", "bug")], true));
        assert_eq!(carried(store.clone()).await, [pair("a", "l1")]);
        assert_eq!(store.read(|tx| Box::pin(labels::get(tx, "l2"))).await.unwrap(), None);
    }

    async fn a_label_that_is_changed_takes_no_others_name_and_stays_on_its_issues(store: Store) {
        set_up(&store).await;
        add(&store, vec![issue("a")]).await;
        let label = |id: &str, name: &str, color: &str| Label {
            id: id.into(), company_id: company(), name: name.into(), color: color.into(),
            created_at: at(1), updated_at: at(1),
        };
        let there = [label("l1", "bug", "#00ff00"), label("l2", "ui", "#00ff00")];
        let wanted = [label("l1", "bug", "#ff0000"), label("l1", "ui", "#ff0000"), label("l9", "new", "#ff0000"),
            label("l1", "defect", "#0000ff")];
        let (changed, left, carried) = write(&store, move |tx| {
            let (there, wanted) = (there.clone(), wanted.clone());
            Box::pin(async move {
                for one in &there {
                    labels::insert(tx, one).await?;
                }
                labels::replace(tx, &"a".into(), &["l1".into()]).await?;
                let mut changed = Vec::new();
                for one in &wanted {
                    changed.push(labels::update(tx, one).await?);
                }
                Ok((changed, labels::list(tx, &company(), 10).await?, labels::of_issues(tx, &["a".into()]).await?))
            })
        }).await;
        assert_eq!(changed, [true, false, false, true]);
        assert_eq!(left, [label("l1", "defect", "#0000ff"), label("l2", "ui", "#00ff00")]);
        assert_eq!(carried, [("a".into(), label("l1", "defect", "#0000ff"))]);
    }

    async fn attachments_come_newest_first_and_say_where_their_bytes_were(store: Store) {
        set_up(&store).await;
        add(&store, vec![issue("a")]).await;
        let file = |id: &str, seconds| Attachment {
            id: id.into(), company_id: company(), issue_id: "a".into(), issue_comment_id: Some("k".into()),
            asset_id: format!("asset {id}"), provider: "local".into(), object_key: format!("files/{id}"),
            content_type: "text/plain".into(), byte_size: 3, sha256: "00".into(), original_filename: Some("f".into()),
            created_by_agent_id: None, created_by_user_id: Some("u1".into()), created_at: at(seconds), updated_at: at(seconds),
        };
        let (first, second) = (file("f1", 1), file("f2", 2));
        let put = [first.clone(), second.clone()];
        let (list, got, key, none) = write(&store, move |tx| {
            let put = put.clone();
            Box::pin(async move {
                for one in &put {
                    attachments::insert(tx, one).await?;
                }
                Ok((
                    attachments::list(tx, &"a".into(), 10).await?,
                    attachments::get(tx, "f1").await?,
                    attachments::remove(tx, "f1").await?,
                    attachments::remove(tx, "f1").await?,
                ))
            })
        }).await;
        assert_eq!(list, [second, first.clone()]);
        assert_eq!((got, key.as_deref(), none), (Some(first), Some("files/f1"), None));
    }

    async fn a_person_marks_what_they_have_read_and_sees_who_spoke_last(store: Store) {
        set_up(&store).await;
        add(&store, ["a", "b"].map(issue).into()).await;
        for (id, by, seconds) in [("k1", Some("u1"), 1), ("k2", None, 2), ("k3", Some("u2"), 3)] {
            say(&store, comment(id, "a", by, seconds)).await;
        }
        let (read, unmarked, again, all, last) = write(&store, |tx| Box::pin(async {
            let a: IssueId = "a".into();
            reads::mark_read(tx, &company(), &a, "u1", at(4)).await?;
            reads::mark_read(tx, &company(), &a, "u1", at(5)).await?;
            reads::archive(tx, &company(), &a, "u1", at(6)).await?;
            Ok((
                reads::get(tx, &a, "u1").await?.unwrap(),
                reads::unmark(tx, &a, "u1", at(7)).await?,
                reads::unmark(tx, &a, "u1", at(7)).await?,
                reads::of_user(tx, "u1", &["a".into(), "b".into()]).await?,
                reads::last_comments(tx, "u1", &["a".into(), "b".into()]).await?,
            ))
        })).await;
        assert_eq!((read.last_read_at, read.archived_at, read.created_at), (Some(at(5)), Some(at(6)), at(4)));
        assert_eq!((unmarked, again), (true, false));
        assert_eq!(all.iter().map(|one| (one.issue_id.as_str(), one.last_read_at)).collect::<Vec<_>>(), [("a", None)]);
        assert_eq!(last, [reads::Comments { issue_id: "a".into(), own_at: Some(at(1)), others_at: Some(at(3)) }]);
    }
}
