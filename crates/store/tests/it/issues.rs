//! Issues: numbers, changes, trees, and what goes with a removed one.

use domain::ids::{AgentId, IssueId};
use domain::issue::{IssueStatus, Priority};
use serde_json::json;
use store::issues::{self, Issue};
use store::{Store, holds, labels, orders, relations};

use crate::both_stores;
use crate::issue_fixture::{add, at, company, get, ids, insert, issue, set_up, write};

fn below(id: &str, parent: &str) -> Issue {
    Issue { parent_id: Some(parent.into()), ..issue(id) }
}

both_stores! {
    async fn numbers_of_a_company_count_up_and_none_is_given_twice(store: Store) {
        set_up(&store).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..24 {
            let store = store.clone();
            tasks.spawn(async move {
                write(&store, move |tx| Box::pin(insert(tx, issue(&format!("i{number}"))))).await.identifier
            });
        }
        let mut made = tasks.join_all().await;
        made.sort_by_key(|identifier| identifier.trim_start_matches("ACM-").parse::<i64>().unwrap());
        let wanted: Vec<String> = (1..=24).map(|number| format!("ACM-{number}")).collect();
        assert_eq!(made, wanted);
        let found = store.read(|tx| Box::pin(issues::by_identifier(tx, "ACM-7"))).await.unwrap().unwrap();
        assert_eq!((found.issue_number, found.identifier.as_str()), (7, "ACM-7"));
        let nobody = write(&store, |tx| Box::pin(async { issues::draw_identifier(tx, &"none".into()).await })).await;
        assert_eq!(nobody, None);
    }

    async fn an_issue_comes_back_as_it_was_written(store: Store) {
        set_up(&store).await;
        let full = Issue {
            project_id: Some("p".into()),
            project_workspace_id: Some("pw".into()),
            goal_id: Some("g".into()),
            parent_id: Some("parent".into()),
            description: Some("long".into()),
            status: IssueStatus::InReview,
            priority: Priority::Critical,
            assignee_agent_id: Some("ada".into()),
            assignee_user_id: Some("u1".into()),
            created_by_agent_id: Some("bob".into()),
            created_by_user_id: Some("u2".into()),
            origin_kind: "routine_execution".into(),
            origin_id: Some("r1".into()),
            origin_run_id: Some("run".into()),
            origin_fingerprint: "print".into(),
            request_depth: 3,
            billing_code: Some("b".into()),
            assignee_adapter_overrides: Some(json!({"useProjectWorkspace": true})),
            execution_policy: Some(json!({"mode": "normal"})),
            execution_state: Some(json!({"status": "pending"})),
            execution_workspace_id: Some("ew".into()),
            execution_workspace_preference: Some("inherit".into()),
            execution_workspace_settings: Some(json!({})),
            started_at: Some(at(1)),
            completed_at: Some(at(2)),
            cancelled_at: Some(at(3)),
            hidden_at: Some(at(4)),
            waits_on_blockers: true,
            check_at: Some(at(5)),
            last_activity_at: at(6),
            updated_at: at(7),
            ..issue("full")
        };
        let made = add(&store, vec![full]).await.remove(0);
        assert_eq!(get(&store, "full").await, made);
        let plain = Issue {
            issue_number: made.issue_number,
            identifier: made.identifier.clone(),
            // Settled when it was made.
            created_by_agent_id: made.created_by_agent_id.clone(),
            created_by_user_id: made.created_by_user_id.clone(),
            origin_kind: made.origin_kind.clone(),
            origin_id: made.origin_id.clone(),
            origin_run_id: made.origin_run_id.clone(),
            origin_fingerprint: made.origin_fingerprint.clone(),
            request_depth: made.request_depth,
            title: "new".into(),
            priority: Priority::Low,
            ..issue("full")
        };
        let changed = plain.clone();
        write(&store, move |tx| {
            let changed = changed.clone();
            Box::pin(async move {
                assert!(issues::lock(tx, &changed.id).await?.is_some());
                issues::update(tx, &changed).await
            })
        })
        .await;
        assert_eq!(get(&store, "full").await, plain);
        let some = store
            .read(|tx| Box::pin(async { issues::some(tx, &["full".into(), "none".into()]).await }))
            .await
            .unwrap();
        assert_eq!(some, [plain]);
    }

    async fn a_walk_up_starts_at_the_parent_and_ends_even_in_a_circle(store: Store) {
        set_up(&store).await;
        add(&store, vec![issue("a"), below("b", "a"), below("c", "b"), below("d", "c")]).await;
        let up = |id: &'static str, most| {
            let store = store.clone();
            async move {
                let read = store.read(move |tx| {
                    Box::pin(async move { issues::ancestors(tx, &id.into(), most).await })
                });
                read.await.unwrap()
            }
        };
        assert_eq!(ids(&up("d", 50).await), ["c", "b", "a"]);
        assert_eq!(ids(&up("d", 2).await), ["c", "b"]);
        assert_eq!(ids(&up("a", 50).await), [""; 0]);
        write(&store, |tx| Box::pin(async {
            let a = issues::get(tx, &"a".into()).await?.unwrap();
            issues::update(tx, &Issue { parent_id: Some("d".into()), ..a }).await
        })).await;
        assert_eq!(up("d", 1000).await.len(), 50);
        let down = store
            .read(|tx| Box::pin(async { issues::descendants(tx, &"a".into(), 1000).await }))
            .await
            .unwrap();
        assert_eq!(down.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }

    async fn a_walk_down_goes_level_by_level_and_children_are_counted(store: Store) {
        set_up(&store).await;
        let done = Issue { status: IssueStatus::Done, created_at: at(1), ..below("c", "a") };
        add(&store, vec![issue("a"), below("b", "a"), done, below("d", "b"), issue("other")]).await;
        let (down, bounded, children, count) = store
            .read(|tx| Box::pin(async {
                let down = issues::descendants(tx, &"a".into(), 100).await?;
                let bounded = issues::descendants(tx, &"a".into(), 2).await?;
                let children = issues::children(tx, &"a".into(), 100).await?;
                Ok((down, bounded, children, issues::count_children(tx, &"a".into()).await?))
            }))
            .await
            .unwrap();
        let seen: Vec<(&str, i64)> = down.iter().map(|one| (one.id.as_str(), one.depth)).collect();
        assert_eq!(seen, [("a", 0), ("b", 1), ("c", 1), ("d", 2)]);
        assert_eq!(down[1].parent_id, Some("a".into()));
        assert_eq!(bounded.len(), 2);
        assert_eq!(ids(&children), ["b", "c"]);
        assert_eq!(count, 2);
        let open = |store: Store| async move {
            store.read(|tx| Box::pin(async { issues::has_open_child(tx, &"a".into()).await })).await.unwrap()
        };
        assert!(open(store.clone()).await);
        write(&store, |tx| Box::pin(async {
            let b = issues::get(tx, &"b".into()).await?.unwrap();
            issues::update(tx, &Issue { status: IssueStatus::Cancelled, ..b }).await
        })).await;
        assert!(!open(store.clone()).await);
    }

    async fn a_removed_issue_takes_with_it_what_hangs_on_it(store: Store) {
        set_up(&store).await;
        add(&store, vec![issue("a"), below("b", "a"), issue("c")]).await;
        crate::issue_fixture::say(&store, crate::issue_fixture::comment("k", "a", None, 1)).await;
        write(&store, |tx| Box::pin(async {
            relations::add(tx, &company(), &"a".into(), &"b".into(), &relations::By::default(), at(1)).await?;
            relations::add(tx, &company(), &"c".into(), &"a".into(), &relations::By::default(), at(1)).await?;
            let label = labels::Label {
                id: "l".into(), company_id: company(), name: "bug".into(), color: "#ffffff".into(),
                created_at: at(1), updated_at: at(1),
            };
            assert!(labels::insert(tx, &label).await?);
            labels::replace(tx, &"a".into(), &["l".into()]).await?;
            orders::place(tx, &crate::orders::order("ada", "a", "issue_assigned"), at(1)).await?;
            holds::insert(tx, &crate::holds::hold("h", "a", "pause", 1), &[]).await
        })).await;
        let removed = |store: Store| async move {
            write(&store, |tx| Box::pin(async { issues::remove(tx, &"a".into()).await })).await
        };
        assert!(removed(store.clone()).await);
        assert!(!removed(store.clone()).await);
        assert_eq!(get(&store, "b").await.parent_id, None);
        let left = store
            .read(|tx| Box::pin(async {
                let texts = [
                    store::sql!("SELECT COUNT(*) FROM issue_comments"),
                    store::sql!("SELECT COUNT(*) FROM issue_relations"),
                    store::sql!("SELECT COUNT(*) FROM issue_labels"),
                    store::sql!("SELECT COUNT(*) FROM wake_orders"),
                    store::sql!("SELECT COUNT(*) FROM issue_tree_holds"),
                ];
                let mut left = Vec::new();
                for text in texts {
                    left.push(tx.one(text, store::p![]).await?.unwrap().get::<i64>(0)?);
                }
                Ok(left)
            }))
            .await
            .unwrap();
        assert_eq!(left, [0; 5]);
    }

    async fn an_agent_has_work_unless_all_of_it_is_over_parked_or_hidden(store: Store) {
        set_up(&store).await;
        let mine = |id: &str, status| Issue {
            status,
            assignee_agent_id: Some(AgentId("ada".into())),
            ..issue(id)
        };
        let has = |store: Store| async move {
            store.read(|tx| Box::pin(async { issues::has_work(tx, &"ada".into()).await })).await.unwrap()
        };
        let hidden = Issue { hidden_at: Some(at(1)), ..mine("h", IssueStatus::Todo) };
        let parked = mine("p", IssueStatus::Backlog);
        let theirs = Issue { assignee_agent_id: Some("bob".into()), ..issue("theirs") };
        add(&store, vec![mine("d", IssueStatus::Done), mine("c", IssueStatus::Cancelled), hidden, parked, theirs]).await;
        assert!(!has(store.clone()).await);
        add(&store, vec![mine("b", IssueStatus::Blocked)]).await;
        assert!(has(store.clone()).await);
        let counts = store
            .read(|tx| Box::pin(async { issues::count_by_status(tx, &company()).await }))
            .await
            .unwrap();
        use IssueStatus::{Backlog, Blocked, Cancelled, Done, Todo};
        assert_eq!(counts, [(Backlog, 1), (Blocked, 1), (Cancelled, 1), (Done, 1), (Todo, 2)]);
    }

    async fn activity_only_ever_moves_forward(store: Store) {
        set_up(&store).await;
        add(&store, vec![issue("a")]).await;
        for seconds in [9, 4] {
            write(&store, move |tx| Box::pin(async move { issues::touch(tx, &"a".into(), at(seconds)).await })).await;
        }
        assert_eq!(get(&store, "a").await.last_activity_at, at(9));
    }

    async fn sweeps_find_only_what_they_are_for_in_bounded_portions(store: Store) {
        set_up(&store).await;
        let of = |id: &str, status, agent: Option<&str>, user: Option<&str>| Issue {
            status,
            assignee_agent_id: agent.map(AgentId::from),
            assignee_user_id: user.map(str::to_owned),
            ..issue(id)
        };
        use IssueStatus::{Blocked, Done, InProgress, InReview, Todo};
        add(&store, vec![
            of("a", Todo, Some("ada"), None),
            of("b", InProgress, Some("bob"), None),
            of("c", Todo, None, None),
            of("d", Todo, Some("ada"), Some("u1")),
            of("e", Done, Some("ada"), None),
            of("f", Blocked, Some("ada"), None),
            of("g", InReview, None, None),
        ]).await;
        write(&store, |tx| Box::pin(async {
            issues::set_check_at(tx, &"f".into(), Some(at(20))).await?;
            issues::set_check_at(tx, &"c".into(), Some(at(10))).await?;
            issues::set_check_at(tx, &"g".into(), Some(at(30))).await?;
            issues::set_check_at(tx, &"g".into(), None).await
        })).await;
        let found = store
            .read(|tx| Box::pin(async {
                Ok([
                    issues::stuck(tx, "", 10).await?,
                    issues::to_check(tx, at(19), 10).await?,
                    issues::to_check(tx, at(99), 10).await?,
                ])
            }))
            .await
            .unwrap();
        assert_eq!(found.each_ref().map(|part| ids(part)), [
            vec!["f", "g"], vec!["c"], vec!["c", "f"],
        ]);
        assert_eq!(store.read(|tx| Box::pin(issues::next_check(tx))).await.unwrap(), Some(at(10)));
    }

    async fn a_look_is_planned_for_agents_work_only_and_never_put_off(store: Store) {
        set_up(&store).await;
        use IssueStatus::{Backlog, Blocked, InProgress, Todo};
        let of = |id: &str, status, agent: Option<&str>, check_at: Option<i64>| Issue {
            status,
            assignee_agent_id: agent.map(AgentId::from),
            check_at: check_at.map(at),
            ..issue(id)
        };
        add(&store, vec![
            of("new", Todo, Some("ada"), None),
            of("earlier", InProgress, Some("ada"), Some(10)),
            of("later", InProgress, Some("ada"), Some(90)),
            of("another's", Todo, Some("bob"), Some(90)),
            of("nobody's", Todo, None, None),
            of("rests", Backlog, Some("ada"), None),
            of("blocked", Blocked, Some("ada"), Some(90)),
            Issue { assignee_user_id: Some("u1".into()), ..of("a person's", Todo, Some("ada"), None) },
        ]).await;
        let planned = async || {
            let all = store.read(|tx| Box::pin(issues::to_check(tx, at(999), 100))).await.unwrap();
            let second = |issue: &Issue| (issue.check_at.unwrap().micros() - at(0).micros()) / 1_000_000;
            let mut planned: Vec<_> = all.iter().map(|issue| (issue.id.to_string(), second(issue))).collect();
            planned.sort();
            planned.into_iter().map(|(id, at)| format!("{id} {at}")).collect::<Vec<_>>()
        };
        write(&store, |tx| Box::pin(async move {
            for issue in ["new", "earlier", "later", "nobody's", "rests", "blocked", "a person's"] {
                issues::check_by(tx, &issue.into(), at(50)).await?;
            }
            Ok(())
        })).await;
        assert_eq!(planned().await, ["another's 90", "blocked 90", "earlier 10", "later 50", "new 50"]);
        // An agent can be woken again: what waits for it does not wait longer.
        write(&store, |tx| Box::pin(async { issues::check_of_agent(tx, &"ada".into(), at(40)).await })).await;
        assert_eq!(planned().await, ["another's 90", "blocked 90", "earlier 10", "later 40", "new 40"]);
        write(&store, |tx| Box::pin(async { issues::bring_forward(tx, &company(), at(30)).await })).await;
        assert_eq!(planned().await, ["another's 30", "blocked 90", "earlier 10", "later 30", "new 30"]);
        // It never can.
        write(&store, |tx| Box::pin(async { issues::check_all_of_agent(tx, &"ada".into(), at(20)).await })).await;
        assert_eq!(planned().await, ["another's 30", "blocked 90", "earlier 20", "later 20", "new 20"]);
    }

    async fn two_changes_of_one_issue_wait_for_each_other(store: Store) {
        set_up(&store).await;
        add(&store, vec![issue("a")]).await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let store = store.clone();
            tasks.spawn(async move {
                write(&store, |tx| Box::pin(async {
                    let id = IssueId("a".into());
                    let one = issues::lock(tx, &id).await?.unwrap();
                    let title = format!("{}x", one.title);
                    issues::update(tx, &Issue { title, ..one }).await
                })).await;
            });
        }
        tasks.join_all().await;
        assert_eq!(get(&store, "a").await.title, format!("a{}", "x".repeat(16)));
    }
}
