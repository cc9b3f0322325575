//! The activity log: newest first, in pages, without what is hidden.

use serde_json::json;
use store::activity::{self, Activity, Place, Wanted};
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
                    let (company, ada, bob) = (company(), "ada".into(), "bob".into());
                    let any = Wanted::default();
                    let of_agents = Wanted { entity_type: Some("agent"), ..any };
                    let of_ada = Wanted { agent: Some(&ada), ..any };
                    let about_i = Wanted { entity_id: Some("i"), ..any };
                    let issue_i = Wanted { entity_type: Some("issue"), ..about_i };
                    let hidden = Wanted { entity_id: Some("hidden"), ..any };
                    Ok([
                        activity::of_company(tx, &company, any, None, 10).await?,
                        activity::of_company(tx, &company, any, None, 2).await?,
                        activity::of_company(tx, &company, any, before.clone(), 10).await?,
                        activity::of_company(tx, &company, of_agents, None, 10).await?,
                        activity::of_company(tx, &company, of_ada, None, 10).await?,
                        activity::of_company(tx, &company, Wanted { agent: Some(&ada), ..of_agents }, None, 10).await?,
                        activity::of_company(tx, &company, issue_i, None, 10).await?,
                        activity::of_company(tx, &company, issue_i, before.clone(), 10).await?,
                        activity::of_company(tx, &company, Wanted { agent: Some(&ada), ..issue_i }, None, 1).await?,
                        activity::of_company(tx, &company, Wanted { agent: Some(&bob), ..issue_i }, None, 10).await?,
                        activity::of_company(tx, &company, about_i, None, 1).await?,
                        activity::of_company(tx, &company, about_i, before, 10).await?,
                        activity::of_company(tx, &company, Wanted { agent: Some(&ada), ..about_i }, None, 1).await?,
                        activity::of_company(tx, &company, Wanted { entity_type: Some("agent"), ..about_i }, None, 10).await?,
                        activity::of_company(tx, &company, hidden, None, 10).await?,
                        activity::of_company(tx, &company, Wanted { entity_type: Some("issue"), ..hidden }, None, 10).await?,
                        activity::of_entity(tx, &company, ("issue", "i"), 10).await?,
                        activity::of_entity(tx, &company, ("issue", "hidden"), 10).await?,
                        activity::of_run(tx, &"r1".into(), 10).await?,
                    ])
                })
            })
            .await
            .unwrap();
        assert_eq!(found.each_ref().map(|part| ids(part)), [
            vec!["6", "4", "3", "1"], vec!["6", "4"], vec!["3", "1"], vec!["3"], vec!["1"], vec![],
            vec!["4", "1"], vec!["1"], vec!["1"], vec![], vec!["4"], vec!["1"], vec!["1"], vec![], vec![], vec![],
            vec!["4", "1"], vec!["2"], vec!["1", "2", "6"],
        ]);
        assert_eq!(found[3][0], all[2]);
        let counted = store
            .read(|tx| Box::pin(async { activity::count_of_run(tx, &"r1".into()).await }))
            .await
            .unwrap();
        assert_eq!(counted, (2, Some(at(2))), "leases are no work");
    }
}
