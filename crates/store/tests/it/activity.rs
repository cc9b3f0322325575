//! The activity log: newest first, in pages, without what is hidden.

use serde_json::json;
use store::activity::{self, Activity, Place};
use store::issues::Issue;

use crate::both_stores;
use crate::issue_fixture::{add, at, company, issue, set_up, write};

fn entry(id: &str, entity: (&str, &str), agent: Option<&str>, run: Option<&str>, seconds: i64) -> Activity {
    Activity {
        id: id.into(),
        company_id: company(),
        actor_type: "user".into(),
        actor_id: "u1".into(),
        action: format!("{}.updated", entity.0),
        entity_type: entity.0.into(),
        entity_id: entity.1.into(),
        agent_id: agent.map(Into::into),
        run_id: run.map(Into::into),
        details: Some(json!({"status": "todo"})),
        created_at: at(seconds),
    }
}

fn ids(found: &[Activity]) -> Vec<&str> {
    found.iter().map(|entry| entry.id.as_str()).collect()
}

both_stores! {
    async fn entries_are_found_by_company_agent_kind_thing_and_run(store: Store) {
        set_up(&store).await;
        add(&store, vec![issue("i"), Issue { hidden_at: Some(at(1)), ..issue("hidden") }]).await;
        let lease = Activity {
            action: "environment.lease_acquired".into(),
            ..entry("6", ("environment", "e"), None, Some("r1"), 6)
        };
        let all = [
            entry("1", ("issue", "i"), Some("ada"), Some("r1"), 1),
            entry("2", ("issue", "hidden"), Some("ada"), Some("r1"), 2),
            entry("3", ("agent", "ada"), Some("bob"), None, 3),
            entry("4", ("issue", "i"), None, None, 4),
            Activity { company_id: "other".into(), ..entry("5", ("issue", "i"), Some("ada"), None, 5) },
            lease,
        ];
        let put = all.clone();
        write(&store, move |tx| {
            let put = put.clone();
            Box::pin(async move {
                for one in &put {
                    activity::insert(tx, one).await?;
                }
                Ok(())
            })
        }).await;
        let before: Option<Place> = Some((at(4), "4".into()));
        let found = store
            .read(move |tx| {
                let before = before.clone();
                Box::pin(async move {
                    let (company, ada) = (company(), "ada".into());
                    Ok([
                        activity::of_company(tx, &company, None, None, None, 10).await?,
                        activity::of_company(tx, &company, None, None, None, 2).await?,
                        activity::of_company(tx, &company, None, None, before.clone(), 10).await?,
                        activity::of_company(tx, &company, None, Some("agent"), None, 10).await?,
                        activity::of_company(tx, &company, Some(&ada), None, None, 10).await?,
                        activity::of_company(tx, &company, Some(&ada), Some("agent"), None, 10).await?,
                        activity::of_entity(tx, &company, ("issue", "i"), None, 10).await?,
                        activity::of_entity(tx, &company, ("issue", "i"), before, 10).await?,
                        activity::of_run(tx, &"r1".into(), 10).await?,
                    ])
                })
            })
            .await
            .unwrap();
        assert_eq!(found.each_ref().map(|part| ids(part)), [
            vec!["6", "4", "3", "1"], vec!["6", "4"], vec!["3", "1"], vec!["3"], vec!["1"], vec![], vec!["4", "1"],
            vec!["1"], vec!["1", "2", "6"],
        ]);
        assert_eq!(found[3][0], all[2]);
        let counted = store
            .read(|tx| Box::pin(async { activity::count_of_run(tx, &"r1".into()).await }))
            .await
            .unwrap();
        assert_eq!(counted, (2, Some(at(2))), "leases are no work");
    }
}
