//! Lists of issues: filters, order, search and bounds.

use domain::ids::AgentId;
use domain::issue::{IssueStatus, Priority};
use store::issues::{self, Filter, Issue, MOST_LISTED, Place};
use store::labels::{self, Label};
use store::{Store, reads};

use crate::both_stores;
use crate::issue_fixture::{add, at, comment, company, ids, issue, say, set_up, write};

async fn list(store: &Store, filter: Filter, limit: i64) -> Vec<Issue> {
    let read = store.read(move |tx| {
        let filter = filter.clone();
        Box::pin(async move { issues::list(tx, &company(), &filter, limit).await })
    });
    read.await.unwrap()
}

async fn found(store: &Store, filter: Filter) -> Vec<String> {
    list(store, filter, 500).await.into_iter().map(|issue| issue.id.0).collect()
}

fn statuses(words: &[&str]) -> Filter {
    Filter { statuses: words.iter().map(|word| (*word).to_owned()).collect(), ..Filter::default() }
}

both_stores! {
    async fn the_urgent_come_first_then_what_was_touched_last(store: Store) {
        set_up(&store).await;
        let of = |id: &str, priority, seconds| Issue {
            priority, last_activity_at: at(seconds), updated_at: at(seconds), ..issue(id)
        };
        add(&store, vec![
            of("low", Priority::Low, 9),
            of("old", Priority::High, 1),
            of("new", Priority::High, 5),
            of("first", Priority::Critical, 0),
            Issue { hidden_at: Some(at(1)), ..of("hidden", Priority::Critical, 9) },
            Issue { status: IssueStatus::Done, ..of("done", Priority::Medium, 9) },
        ]).await;
        assert_eq!(found(&store, Filter::default()).await, ["first", "new", "old", "done", "low"]);
        assert_eq!(found(&store, statuses(&["todo"])).await, ["first", "new", "old", "low"]);
        assert_eq!(found(&store, statuses(&["done", "nonsense"])).await, ["done"]);
        assert_eq!(found(&store, statuses(&["nonsense"])).await, [""; 0]);
        assert_eq!(ids(&list(&store, Filter::default(), 2).await), ["first", "new"]);
    }

    async fn every_filter_lets_through_what_it_names_alone_and_with_another(store: Store) {
        set_up(&store).await;
        add(&store, vec![
            Issue { assignee_agent_id: Some("ada".into()), ..issue("agent") },
            Issue { assignee_user_id: Some("u1".into()), ..issue("user") },
            Issue { project_id: Some("p".into()), ..issue("project") },
            Issue { parent_id: Some("project".into()), ..issue("child") },
            Issue { parent_id: Some("child".into()), status: IssueStatus::Done, ..issue("grandchild") },
            Issue { origin_kind: "routine_execution".into(), origin_id: Some("r".into()), ..issue("routine") },
            Issue { execution_workspace_id: Some("w".into()), ..issue("execution") },
            Issue { project_workspace_id: Some("w".into()), ..issue("workspace") },
            Issue { created_by_agent_id: Some("ada".into()), ..issue("made") },
            issue("said"),
            issue("labelled"),
        ]).await;
        say(&store, comment("k", "said", None, 1)).await;
        write(&store, |tx| Box::pin(async {
            let label = Label {
                id: "l".into(), company_id: company(), name: "bug".into(), color: "#ffffff".into(),
                created_at: at(1), updated_at: at(1),
            };
            assert!(labels::insert(tx, &label).await?);
            labels::replace(tx, &"labelled".into(), &["l".into()]).await
        })).await;
        let ada = Some(AgentId("ada".into()));
        let text = |word: &str| Some(word.to_owned());
        let none = Filter::default;
        let rows: Vec<(Filter, &[&str])> = vec![
            (Filter { assignee_agent_id: ada.clone(), ..none() }, &["agent"]),
            (Filter { assignee_user_id: text("u1"), ..none() }, &["user"]),
            (Filter { project_id: text("p"), ..none() }, &["project"]),
            (Filter { parent_id: Some("project".into()), ..none() }, &["child"]),
            (Filter { descendant_of: Some("project".into()), ..none() }, &["child", "grandchild"]),
            (Filter { descendant_of: Some("project".into()), ..statuses(&["todo"]) }, &["child"]),
            (Filter { origin_kind: text("routine_execution"), ..none() }, &["routine"]),
            (Filter { origin_kind: text("routine_execution"), origin_id: text("r"), ..none() }, &["routine"]),
            (Filter { origin_id: text("other"), ..none() }, &[]),
            (Filter { execution_workspace_id: text("w"), ..none() }, &["execution"]),
            (Filter { workspace_id: text("w"), ..none() }, &["execution", "workspace"]),
            (Filter { label_id: text("l"), ..none() }, &["labelled"]),
            (Filter { participant_agent_id: ada.clone(), ..none() }, &["agent", "made", "said"]),
            (Filter { participant_agent_id: ada.clone(), assignee_agent_id: ada, ..none() }, &["agent"]),
            (Filter { project_id: text("p"), assignee_user_id: text("u1"), ..none() }, &[]),
        ];
        for (filter, wanted) in rows {
            // All have one place in the order, so they come by id.
            assert_eq!(found(&store, filter.clone()).await, wanted, "{filter:?}");
            let open = Filter { statuses: statuses(&["todo", "blocked"]).statuses, ..filter.clone() };
            let wanted: Vec<&str> = wanted.iter().copied().filter(|id| *id != "grandchild").collect();
            assert_eq!(found(&store, open).await, wanted, "open ones of {filter:?}");
        }
        let without = Filter { without_routine_executions: true, ..none() };
        let all = found(&store, none()).await;
        assert_eq!(all.len(), 11);
        assert_eq!(found(&store, without).await.len(), 10);
    }

    async fn another_company_sees_nothing_by_any_way_in(store: Store) {
        set_up(&store).await;
        add(&store, vec![Issue {
            assignee_agent_id: Some("ada".into()),
            assignee_user_id: Some("u1".into()),
            project_id: Some("p".into()),
            parent_id: Some("x".into()),
            origin_id: Some("o".into()),
            ..issue("a")
        }]).await;
        let none = Filter::default;
        for filter in [
            none(),
            Filter { assignee_agent_id: Some("ada".into()), ..none() },
            Filter { assignee_user_id: Some("u1".into()), ..none() },
            Filter { project_id: Some("p".into()), ..none() },
            Filter { parent_id: Some("x".into()), ..none() },
            Filter { origin_kind: Some("manual".into()), origin_id: Some("o".into()), ..none() },
            Filter { search: Some("a".into()), ..none() },
        ] {
            assert_eq!(found(&store, filter.clone()).await, ["a"], "{filter:?}");
            let read = store.read(move |tx| {
                let filter = filter.clone();
                Box::pin(async move { issues::list(tx, &"other".into(), &filter, 10).await })
            });
            assert_eq!(read.await.unwrap(), []);
        }
    }

    async fn a_search_ranks_titles_before_identifiers_before_comments_before_descriptions(store: Store) {
        set_up(&store).await;
        let titled = |id: &str, title: &str, description: Option<&str>| Issue {
            title: title.into(), description: description.map(str::to_owned), ..issue(id)
        };
        add(&store, vec![
            titled("described", "z", Some("speaks of acm-9")),
            titled("said", "z", None),
            titled("inside", "about ACM-9", None),
            titled("starts", "acm-9 first", None),
            titled("nothing", "z", Some("else")),
            titled("six", "z", None),
            titled("seven", "z", None),
            titled("eight", "z", None),
            titled("numbered", "z", None),
        ]).await;
        say(&store, comment("k", "said", None, 1)).await;
        write(&store, |tx| Box::pin(async {
            tx.run(store::sql!("UPDATE issue_comments SET body = 'as in ACM-9.'"), store::p![]).await
        })).await;
        let search = |words: &str| Filter { search: Some(words.into()), ..Filter::default() };
        assert_eq!(
            found(&store, search(" Acm-9 ")).await,
            ["starts", "inside", "numbered", "said", "described"]
        );
        let open = Filter { search: Some("ACM-9".into()), ..statuses(&["todo"]) };
        assert_eq!(found(&store, open).await.len(), 5);
        // Wild cards are letters.
        assert_eq!(found(&store, search("acm_9")).await, [""; 0]);
        assert_eq!(found(&store, search("%")).await, [""; 0]);
        assert_eq!(found(&store, search("\\")).await, [""; 0]);
    }

    async fn a_list_is_cut_in_length_and_in_what_it_says_of_each(store: Store) {
        set_up(&store).await;
        let long = "ä".repeat(1300);
        let described = Issue { description: Some(long), execution_policy: Some(serde_json::json!({})), ..issue("a") };
        add(&store, vec![described, issue("b")]).await;
        let all = list(&store, Filter::default(), i64::MAX).await;
        assert_eq!(ids(&all), ["a", "b"]);
        assert_eq!(all[0].description.as_ref().unwrap().chars().count(), 1200);
        assert_eq!(all[0].execution_policy, None);
        assert_eq!(ids(&list(&store, Filter::default(), 1).await), ["a"]);
        write(&store, |tx| Box::pin(async {
            // More than a list may hold.
            let text = store::sql!(
                "INSERT INTO issues (id, company_id, title, status, priority, priority_rank, issue_number, identifier, \
                 origin_kind, origin_fingerprint, request_depth, last_activity_at, created_at, updated_at) \
                 VALUES ($1, 'acme', 'x', 'todo', 'medium', 2, 0, $1, 'manual', 'default', 0, 0, 0, 0)"
            );
            for number in 0..MOST_LISTED {
                tx.run(text, store::p![format!("n{number}")]).await?;
            }
            Ok(())
        })).await;
        // And the one that tells of a next page.
        assert_eq!(list(&store, Filter::default(), i64::MAX).await.len() as i64, MOST_LISTED + 1);
    }

    async fn a_list_goes_on_behind_any_of_its_issues(store: Store) {
        set_up(&store).await;
        let of = |id: &str, priority, activity, updated| Issue {
            priority, last_activity_at: at(activity), updated_at: at(updated), assignee_agent_id: Some("ada".into()), ..issue(id)
        };
        add(&store, vec![
            of("a", Priority::Critical, 9, 9),
            of("b", Priority::High, 9, 9),
            of("c", Priority::High, 9, 8),
            of("d", Priority::High, 9, 8),
            of("e", Priority::High, 1, 9),
            of("f", Priority::Low, 9, 9),
        ]).await;
        let none = Filter::default;
        for filter in [none(), statuses(&["todo"]), Filter { assignee_agent_id: Some("ada".into()), ..none() }] {
            let all = list(&store, filter.clone(), 10).await;
            assert_eq!(ids(&all), ["a", "b", "c", "d", "e", "f"]);
            for (number, issue) in all.iter().enumerate() {
                let rest = Filter { after: Some(Place::of(issue)), ..filter.clone() };
                assert_eq!(ids(&list(&store, rest, 10).await), ids(&all[number + 1..]), "behind {}", issue.id);
            }
        }
    }

    async fn the_inbox_of_a_person_shows_what_was_not_put_away_or_moved_since(store: Store) {
        set_up(&store).await;
        add(&store, vec![issue("kept"), issue("away"), issue("moved")]).await;
        write(&store, |tx| Box::pin(async {
            for id in ["away", "moved"] {
                reads::archive(tx, &company(), &id.into(), "u1", at(5)).await?;
            }
            issues::touch(tx, &"moved".into(), at(6)).await
        })).await;
        let inbox = Filter { inbox_of_user_id: Some("u1".into()), ..Filter::default() };
        assert_eq!(found(&store, inbox.clone()).await, ["moved", "kept"]);
        write(&store, |tx| Box::pin(async {
            assert!(reads::unarchive(tx, &"away".into(), "u1", at(7)).await?);
            assert!(!reads::unarchive(tx, &"away".into(), "u1", at(7)).await?);
            Ok(())
        })).await;
        assert_eq!(found(&store, inbox).await, ["moved", "away", "kept"]);
    }

    async fn unread_is_what_somebody_else_said_after_the_last_look(store: Store) {
        set_up(&store).await;
        let mine = |id: &str| Issue { created_by_user_id: Some("u1".into()), ..issue(id) };
        add(&store, vec![mine("new"), mine("read"), mine("answered"), mine("quiet"), issue("foreign"), issue("seen")]).await;
        for (id, on, by, seconds) in [
            ("1", "new", None, 10),
            ("2", "read", Some("u2"), 10),
            ("3", "answered", None, 10),
            ("4", "answered", Some("u1"), 11),
            ("5", "quiet", Some("u1"), 10),
            ("6", "foreign", None, 10),
            ("7", "seen", None, 30),
        ] {
            say(&store, comment(id, on, by, seconds)).await;
        }
        write(&store, |tx| Box::pin(async {
            reads::mark_read(tx, &company(), &"read".into(), "u1", at(20)).await?;
            reads::mark_read(tx, &company(), &"seen".into(), "u1", at(20)).await
        })).await;
        let unread = Filter { unread_for_user_id: Some("u1".into()), ..Filter::default() };
        assert_eq!(found(&store, unread).await, ["new", "seen"]);
        let touched = Filter { touched_by_user_id: Some("u1".into()), ..Filter::default() };
        assert_eq!(found(&store, touched).await, ["answered", "new", "quiet", "read", "seen"]);
    }

    async fn the_inbox_of_an_agent_holds_its_work_in_order(store: Store) {
        set_up(&store).await;
        let of = |id: &str, status, priority| Issue {
            status, priority, assignee_agent_id: Some("ada".into()), ..issue(id)
        };
        use IssueStatus::{Backlog, Blocked, Done, InProgress, InReview, Todo};
        add(&store, vec![
            of("b", Blocked, Priority::Medium),
            of("p", InProgress, Priority::High),
            of("t", Todo, Priority::Critical),
            of("r", InReview, Priority::Critical),
            of("g", Backlog, Priority::Critical),
            of("d", Done, Priority::Critical),
            Issue { assignee_agent_id: Some("bob".into()), ..issue("theirs") },
        ]).await;
        let inbox = |limit| {
            let store = store.clone();
            async move {
                store.read(move |tx| Box::pin(async move { issues::inbox_lite(tx, &"ada".into(), limit).await })).await.unwrap()
            }
        };
        assert_eq!(ids(&inbox(500).await), ["r", "t", "p", "b"]);
        assert_eq!(ids(&inbox(1).await), ["r"]);
    }
}
