//! Interactions: one under each key, resolved once.

use domain::ids::IssueId;
use serde_json::json;
use store::Store;
use store::interactions::{self, Answer, Interaction};

use crate::acme::{at, tx};
use crate::both_stores;

fn interaction(id: &str, key: Option<&str>, seconds: i64) -> Interaction {
    Interaction {
        id: id.into(),
        company_id: "acme".into(),
        issue_id: "issue".into(),
        kind: "request_confirmation".into(),
        status: "pending".into(),
        continuation_policy: "wake_assignee".into(),
        idempotency_key: key.map(str::to_owned),
        source_comment_id: Some("comment".into()),
        source_run_id: Some("run".into()),
        title: Some("Go on?".into()),
        summary: None,
        created_by_agent_id: Some("ada".into()),
        created_by_user_id: None,
        resolved_by_agent_id: None,
        resolved_by_user_id: None,
        payload: json!({"version": 1, "prompt": "Go on?"}),
        result: None,
        resolved_at: None,
        created_at: at(seconds),
        updated_at: at(seconds),
    }
}

async fn insert(store: &Store, interaction: Interaction) -> bool {
    tx!(store, [interaction], |tx| interactions::insert(tx, &interaction))
}

both_stores! {
    async fn an_issue_has_one_interaction_under_a_key(store: Store) {
        let first = interaction("1", Some("plan:1"), 0);
        assert!(insert(&store, first.clone()).await);
        assert!(!insert(&store, interaction("2", Some("plan:1"), 1)).await);
        assert!(insert(&store, interaction("3", None, 2)).await);
        assert!(insert(&store, interaction("4", None, 3)).await, "without a key there may be many");
        assert!(insert(&store, Interaction { issue_id: "other".into(), ..interaction("5", Some("plan:1"), 4) }).await);
        let issue = IssueId::from("issue");
        assert_eq!(tx!(store, [issue], |tx| interactions::with_key(tx, &issue, "plan:1")), Some(first.clone()));
        assert_eq!(tx!(store, [issue], |tx| interactions::with_key(tx, &issue, "plan:2")), None);
        assert_eq!(tx!(store, [], |tx| interactions::get(tx, "1")), Some(first));
        let after = Some((at(0), "1".to_owned()));
        let page = tx!(store, [issue, after], |tx| interactions::list(tx, &issue, after.clone(), 5));
        assert_eq!(page.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["3", "4"]);
        assert_eq!(tx!(store, [issue], |tx| interactions::list(tx, &issue, None, 2)).len(), 2);
    }

    async fn an_interaction_is_resolved_once(store: Store) {
        insert(&store, interaction("1", None, 0)).await;
        insert(&store, interaction("2", None, 1)).await;
        let yes = Answer {
            status: "accepted".into(),
            result: Some(json!({"version": 1, "outcome": "accepted"})),
            by_agent: None,
            by_user: Some("board".into()),
        };
        let resolved = tx!(store, [yes], |tx| interactions::resolve(tx, "1", &yes, at(5)));
        assert_eq!(resolved, Some(Interaction {
            status: "accepted".into(),
            result: yes.result.clone(),
            resolved_by_user_id: Some("board".into()),
            resolved_at: Some(at(5)),
            updated_at: at(5),
            ..interaction("1", None, 0)
        }));
        let no = Answer { status: "rejected".into(), result: None, by_agent: Some("ada".into()), by_user: None };
        assert_eq!(tx!(store, [no], |tx| interactions::resolve(tx, "1", &no, at(6))), None);
        let issue = IssueId::from("issue");
        let waiting = tx!(store, [issue], |tx| interactions::pending(tx, &issue, 9));
        assert_eq!(waiting, [interaction("2", None, 1)]);
        let some = [issue.clone(), IssueId::from("other")];
        assert_eq!(tx!(store, [some], |tx| interactions::waiting_on(tx, &some)), some[..1]);
        let no = Answer { status: "rejected".into(), result: None, by_agent: Some("ada".into()), by_user: None };
        assert!(tx!(store, [no], |tx| interactions::resolve(tx, "2", &no, at(7))).is_some());
        assert_eq!(tx!(store, [some], |tx| interactions::waiting_on(tx, &some)), [] as [IssueId; 0]);
    }
}
