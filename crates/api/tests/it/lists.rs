//! Lists: their order, their bounds, and pages that stay put while rows are added.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::stage::{Stage, id_of};

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(id_of).collect()
}

#[tokio::test]
async fn pages_of_runs_stay_put_while_runs_are_added() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 2).await;
    let mut before = BTreeSet::new();
    for number in 0..25 {
        before.insert(stage.wake(&agent, &format!("task {number}")).await);
    }
    let path = format!("/api/companies/{company}/heartbeat-runs?limit=7");
    let (mut seen, mut cursor): (Vec<String>, Option<String>) = (Vec::new(), None);
    for page in 0.. {
        let mut request = stage.http.get(stage.url(&path));
        if let Some(cursor) = &cursor {
            request = request.header("Bugle-Cursor", cursor);
        }
        let answer = stage.send(request).await;
        cursor = answer.header("bugle-cursor").map(str::to_owned);
        seen.extend(ids(&answer.good()));
        stage.wake(&agent, &format!("later {page}")).await;
        if cursor.is_none() {
            break;
        }
        // The same cursor in the query is the same page.
        let query = stage.get(&format!("{path}&cursor={}", cursor.as_deref().unwrap())).await;
        assert_ne!(query.good(), json!([]));
    }
    assert_eq!(seen.len(), 25, "each once");
    assert_eq!(seen.iter().cloned().collect::<BTreeSet<_>>(), before);
    let mut newest_first = seen.clone();
    newest_first.sort_by(|one, other| other.cmp(one));
    assert_eq!(seen, newest_first, "ids sort by creation");
    stage.end().await;
}

#[tokio::test]
async fn runs_are_listed_by_agent_and_status_with_the_limits_clients_know() {
    let stage = Stage::new().await;
    let (company, agent, run) = stage.with_run().await;
    let other = stage.agent(&company, "Other", 1).await;
    let of_other = stage.wake(&other, "x").await;
    let queued = stage.wake(&other, "y").await;
    let list = async |query: &str| {
        ids(&stage.get(&format!("/api/companies/{company}/heartbeat-runs?{query}")).await.good())
    };
    assert_eq!(list(&format!("agentId={agent}")).await, [run.clone()]);
    assert_eq!(list(&format!("agentId={other}")).await, [queued.clone(), of_other.clone()]);
    assert_eq!(list("agentId=other").await, [queued.clone(), of_other.clone()]);
    assert_eq!(list("status=queued").await, [queued.clone()]);
    assert_eq!(list(&format!("status=running&agentId={agent}")).await, [run.clone()]);
    assert_eq!(list("limit=ten").await.len(), 3);
    assert_eq!(list("limit=0").await.len(), 1);
    assert_eq!(list("agentId=0192f7a0-0000-4000-8000-00000000000a").await, Vec::<String>::new());
    let foreign = stage.company("Foreign").await;
    let path = format!("/api/companies/{foreign}/heartbeat-runs?agentId={agent}");
    assert_eq!(stage.get(&path).await.good(), json!([]), "not through another company");
    let answer = stage.get(&format!("/api/companies/{company}/heartbeat-runs?status=done")).await;
    assert_eq!((answer.status, answer.refusal().2.as_str()), (400, "Unknown run status: done"));
    let answer = stage.get(&format!("/api/companies/{company}/heartbeat-runs?cursor=5")).await;
    assert_eq!((answer.status, answer.refusal().1.as_str()), (400, "bad_cursor"));
    stage.end().await;
}

#[tokio::test]
async fn queued_runs_say_what_they_wait_for() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    for task in ["a", "b", "a"] {
        stage.wake(&agent, task).await;
    }
    let path = format!("/api/companies/{company}/heartbeat-runs");
    let shown = |list: Value| -> Vec<(String, Value)> {
        let of = |run: &Value| (run["taskKey"].as_str().unwrap().to_owned(), run["heldReason"].clone());
        list.as_array().unwrap().iter().map(of).collect()
    };
    let expected = [("a", json!("running")), ("b", json!("slot")), ("a", Value::Null)];
    let expected = expected.map(|(task, held)| (task.to_owned(), held));
    assert_eq!(shown(stage.get(&path).await.good()), expected);
    let live = stage.get(&format!("/api/companies/{company}/live-runs")).await.good();
    assert_eq!(shown(live), expected);
    stage.end().await;
}

#[tokio::test]
async fn live_runs_are_filled_up_with_the_newest_others() {
    let stage = Stage::new().await;
    let (company, agent, over) = stage.with_run().await;
    stage.puppets.end(&over, 0);
    assert_eq!(stage.over(&company, &over).await, "succeeded");
    let live = stage.wake(&agent, "more").await;
    let list = async |query: &str| {
        ids(&stage.get(&format!("/api/companies/{company}/live-runs{query}")).await.good())
    };
    assert_eq!(list("").await, [live.clone()]);
    assert_eq!(list("?minCount=5").await, [live.clone(), over.clone()]);
    assert_eq!(list("?minCount=5&limit=1").await, [live.clone()]);
    assert_eq!(list("?minCount=x").await, [live]);
    stage.end().await;
}

#[tokio::test]
async fn the_list_of_agents_takes_no_query() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let first = stage.agent(&company, "A", 1).await;
    let second = stage.agent(&company, "A", 1).await;
    let path = format!("/api/companies/{company}/agents");
    let list = stage.get(&path).await.good();
    assert_eq!(ids(&list), [first, second]);
    assert_eq!(list[1]["name"], "A 2", "a name that is taken gets a number");
    let refused = async |query: &str| stage.get(&format!("{path}?{query}")).await.refusal();
    assert_eq!(refused("name=A").await.2, "Unsupported query parameter: name");
    assert_eq!(refused("z=1&a=2").await.2, "Unsupported query parameters: a, z");
    stage.end().await;
}

#[tokio::test]
async fn companies_wakes_and_events_are_paged_too() {
    let stage = Stage::new().await;
    for number in 0..5 {
        stage.company(&format!("Company {number}")).await;
    }
    let (_, agent, run) = stage.with_run().await;
    for number in 0..4 {
        stage.wake(&agent, &format!("t{number}")).await;
    }
    for (path, whole) in [
        ("/api/companies".to_owned(), 6),
        (format!("/api/agents/{agent}/wakeups"), 5),
        (format!("/api/heartbeat-runs/{run}/events"), 2),
    ] {
        let all = stage.get(&path).await.good();
        assert!(all.as_array().unwrap().len() >= whole, "{path}: {all}");
        let (mut pages, mut cursor) = (Vec::new(), String::new());
        loop {
            let answer = stage.get(&format!("{path}?limit=1&cursor={cursor}")).await;
            let next = answer.header("bugle-cursor").map(str::to_owned);
            let page = answer.good();
            assert_eq!(page.as_array().unwrap().len(), 1);
            pages.push(page[0].clone());
            match next {
                Some(next) => cursor = next,
                None => break,
            }
        }
        assert_eq!(pages[..whole], all.as_array().unwrap()[..whole], "{path}");
    }
    stage.end().await;
}

#[tokio::test]
async fn the_first_digits_of_a_run_stand_for_it_where_they_mean_one_only() {
    let stage = Stage::new().await;
    let (_, agent, run) = stage.with_run().await;
    let found = stage.get(&format!("/api/heartbeat-runs/{}", &run[..13])).await.good();
    assert_eq!(id_of(&found), run);
    assert_eq!(id_of(&stage.get(&format!("/api/heartbeat-runs/{}", run.to_uppercase())).await.good()), run);
    let other = stage.wake(&agent, "other").await;
    let shared: String =
        run.chars().zip(other.chars()).take_while(|(one, two)| one == two).map(|(one, _)| one).collect();
    assert!(shared.len() >= 8, "made within the same minute: {run} {other}");
    let refusal = stage.get(&format!("/api/heartbeat-runs/{shared}")).await.refusal();
    assert_eq!((refusal.0, refusal.1.as_str()), (409, "run_ambiguous"));
    assert_eq!(stage.get(&format!("/api/heartbeat-runs/{}", &run[..7])).await.status, 404);
    stage.end().await;
}
