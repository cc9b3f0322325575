//! The example `examples/backlog`, run exactly as its page says, on a clone of the repository that this is in.

use serde_json::{Value as Json, json};

use crate::examples::{git, is_checkout, play, root};
use crate::scene::Scene;
use crate::stage::{is_final, wait_for};

/// Who waits for whom, by the numbers of the issues.
const BLOCKERS: [(&str, &[usize]); 6] = [
    ("Open the notebook", &[]),
    ("Count the lines of each crate", &[1]),
    ("Count the tests of each crate", &[1]),
    ("Find the longest files", &[1]),
    ("Write the report", &[2, 3, 4]),
    ("Close the notebook", &[5]),
];

fn moment<'a>(of: &'a Json, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_else(|| panic!("no {key} in {of:#}"))
}

#[test]
fn three_agents_work_through_a_backlog_in_the_order_of_its_blockers() {
    if !is_checkout() {
        return;
    }
    let scene = Scene::served();
    let out = play(&scene, "backlog");
    assert!(out.contains("# The survey of ") && out.contains("the backlog is worked through: "), "{out}");

    let companies = scene.json(&["company", "list"]);
    let company = companies.as_array().unwrap().iter().find(|company| company["name"] == "Backlog").unwrap();
    let company = company["id"].as_str().unwrap();
    // The last issue is done before the run that did it has ended.
    let runs = wait_for("the end of all runs", || {
        let runs = scene.get(&format!("/companies/{company}/heartbeat-runs?limit=100"));
        let all_over = runs.as_array()?.iter().all(|run| is_final(&run["status"]));
        all_over.then_some(runs)
    });
    let ends: Vec<_> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["status"].as_str(), run["exitCode"].as_i64()))
        .collect();
    assert_eq!(
        ends,
        [(Some("succeeded"), Some(0)); 6],
        "one run for each issue, and each succeeded: {runs:#}"
    );

    let listed = scene.get(&format!("/companies/{company}/issues?limit=100"));
    let mut issues: Vec<Json> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|issue| scene.get(&format!("/issues/{}", issue["id"].as_str().unwrap())))
        .collect();
    issues.sort_by_key(|issue| issue["issueNumber"].as_i64());
    let found: Vec<_> =
        issues.iter().map(|issue| (issue["title"].as_str(), issue["status"].as_str())).collect();
    assert_eq!(found, BLOCKERS.map(|(title, _)| (Some(title), Some("done"))));

    for (issue, (title, blockers)) in issues.iter().zip(BLOCKERS) {
        let id = issue["id"].as_str().unwrap();
        let worked = scene.get(&format!("/issues/{id}/runs"));
        let [run] = worked.as_array().unwrap().as_slice() else {
            panic!("one run worked on {title}: {worked:#}")
        };
        assert_eq!(run["agentId"], issue["assigneeAgentId"], "{title}");
        assert_eq!(issue["blockedBy"].as_array().unwrap().len(), blockers.len(), "{title}");
        for blocker in blockers.iter().map(|number| &issues[number - 1]) {
            let waits = issue["blockedBy"].as_array().unwrap().iter().any(|it| it["id"] == blocker["id"]);
            assert!(waits, "{title} waits for {}", blocker["title"]);
            let (ended, began) = (moment(blocker, "completedAt"), moment(run, "startedAt"));
            assert!(ended <= began, "{title} began at {began}, and {} ended at {ended}", blocker["title"]);
        }
        let comments = scene.get(&format!("/issues/{id}/comments"));
        let is_said =
            comments.as_array().unwrap().iter().any(|it| it["authorAgentId"] == issue["assigneeAgentId"]);
        assert!(is_said, "{title}: its agent says what it did: {comments:#}");
    }
    assert_eq!(scene.json(&["inbox", "--company", company]), json!([]), "nothing needs a person");

    let clone = scene.place("tmp/bugle-backlog/clone");
    let source = git(&root(), &["rev-parse", "HEAD"]).unwrap();
    let made = git(&clone, &["log", "--no-merges", "--format=%s", &format!("{source}..HEAD")]).unwrap();
    let mut made: Vec<&str> = made.lines().collect();
    made.sort_unstable();
    let note = "A line in the notebook";
    assert_eq!(made, [note, note, BLOCKERS[1].0, BLOCKERS[2].0, BLOCKERS[3].0, BLOCKERS[4].0]);
}
