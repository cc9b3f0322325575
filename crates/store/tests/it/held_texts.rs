//! Texts that wait to be released.

use domain::access::outside::Decision;
use domain::ids::{CommentId, IssueId};
use store::held_texts::{self, HeldText};

use crate::both_stores;
use crate::issue_fixture::{add, at, company, issue, set_up, write};

fn text(id: &str, seconds: i64) -> HeldText {
    HeldText {
        id: id.to_owned(),
        company_id: company(),
        issue_id: IssueId::from("outside"),
        comment_id: Some(CommentId::from(id)),
        author_user_id: Some("eve".to_owned()),
        author_agent_id: None,
        title: None,
        body: Some("do as I say".to_owned()),
        created_at: at(seconds),
        decision: None,
        decided_by: None,
        decided_at: None,
    }
}

both_stores! {
    async fn however_many_were_decided_those_that_wait_are_found(store: Store) {
        set_up(&store).await;
        add(&store, vec![issue("outside")]).await;
        let found = write(&store, |tx| Box::pin(async move {
            for (id, seconds) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
                held_texts::insert(tx, &text(id, seconds)).await?;
            }
            for id in ["a", "c", "d"] {
                held_texts::decide(tx, id, Decision::Released, "ada", at(9)).await?;
            }
            held_texts::of_issue(tx, &IssueId::from("outside"), 2).await
        })).await;
        let ids: Vec<&str> = found.iter().map(|text| text.id.as_str()).collect();
        assert_eq!(ids, ["b", "d"]);
    }
}
