//! Budgets, approvals and the inbox from the command line: what stops work, what needs a person, and what settles it.

use std::io::{Read, Write};

use serde_json::{Value as Json, json};

use crate::scene::Scene;

/// Asks the API itself, as a client without a person's token would.
fn post(scene: &Scene, path: &str, body: &Json) -> Json {
    let listen = listen(scene);
    let body = body.to_string();
    let mut stream = std::net::TcpStream::connect(&listen).unwrap();
    write!(
        stream,
        "POST /api{path} HTTP/1.0\r\nHost: {listen}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 20"), "{path}: {answer}");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
}

fn listen(scene: &Scene) -> String {
    let note = std::fs::read(scene.data().join("server.json")).unwrap();
    let note: Json = serde_json::from_slice(&note).unwrap();
    note["listen"].as_str().unwrap().to_owned()
}

fn company(scene: &Scene) -> String {
    scene.json(&["company", "list"])[0]["id"].as_str().unwrap().to_owned()
}

/// Reports that an agent spent something.
fn spent(scene: &Scene, agent: &Json, cents: i64, tokens: i64) {
    // The moment the agent was added is in the month under way: budgets count by when it was spent.
    let body = json!({
        "agentId": agent["id"], "provider": "acme", "model": "large-1", "costCents": cents,
        "inputTokens": tokens, "occurredAt": agent["createdAt"],
    });
    post(scene, &format!("/companies/{}/cost-events", company(scene)), &body);
}

#[test]
fn a_budget_that_is_used_up_stops_its_agent_until_it_is_raised() {
    let scene = Scene::served();
    let ada = scene.json(&["agent", "add", "ada", "--", "true"]);
    let set = scene.ok(&["budget", "set", "--agent", "ada", "--usd", "5", "--warn", "50"]);
    assert_eq!(set.out, "budget of agent ada: $5.00 a month, $0.00 of it spent, warns at 50 %\n");
    spent(&scene, &ada, 300, 1000);
    let listed = scene.ok(&["budget", "list"]);
    assert!(listed.out.contains("agent ada  nearly used up  $5.00  $3.00"), "{listed:?}");
    assert!(scene.ok(&["budget", "incidents"]).out.contains("warned"));
    assert_eq!(scene.json(&["inbox"]), json!([]), "a warning needs no decision");
    let none = scene.bugle(&["--json", "budget", "resolve", "--keep-paused"]);
    assert_eq!((none.code, none.error()["code"].clone()), (Some(3), json!("incident.none")));

    spent(&scene, &ada, 200, 0);
    let listed = scene.ok(&["budget", "list"]);
    assert!(listed.out.contains("agent ada  used up, paused  $5.00  $5.00"), "{listed:?}");
    let refused = scene.bugle(&["--json", "wake", "ada"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    let inbox = scene.json(&["inbox"]);
    assert_eq!(inbox.as_array().unwrap().len(), 1, "the stop and its approval are one thing: {inbox}");
    let settle = inbox[0]["settle"].as_str().unwrap();
    assert!(settle.starts_with("bugle budget resolve ") && settle.contains("--usd N"), "{inbox}");
    let shown = scene.ok(&["inbox"]);
    assert!(shown.out.contains("the budget of agent ada is used up: $5.00 of $5.00"), "{shown:?}");

    let undecided = scene.bugle(&["--json", "budget", "resolve"]);
    assert_eq!((undecided.code, undecided.error()["code"].clone()), (Some(2), json!("resolve.undecided")));
    let misfit = scene.bugle(&["--json", "budget", "resolve", "--tokens", "5"]);
    assert_eq!((misfit.code, misfit.error()["code"].clone()), (Some(2), json!("resolve.misfit")));
    let little = scene.bugle(&["--json", "budget", "resolve", "--usd", "5"]);
    assert_eq!(little.code, Some(3), "{little:?}");
    assert!(little.error()["hint"].as_str().unwrap().contains("$5.00"), "{little:?}");
    let id: String = inbox[0]["item"]["id"].as_str().unwrap().chars().take(13).collect();
    let raised = scene.ok(&["budget", "resolve", &id, "--usd", "10", "--note", "go on"]);
    assert!(raised.out.contains("agent ada goes on"), "{raised:?}");
    assert_eq!(scene.json(&["inbox"]), json!([]));
    scene.ok(&["wake", "ada", "--follow"]);
}

#[test]
fn work_that_a_budget_holds_names_the_policy_and_goes_on_when_it_is_raised() {
    let scene = Scene::served();
    let ada = scene.json(&[
        "agent",
        "add",
        "ada",
        "--max-concurrent",
        "1",
        "--",
        "sh",
        "-c",
        "echo on; exec sleep 1000",
    ]);
    let first = scene.json(&["wake", "ada", "--task-key", "a"]);
    let first = first["id"].as_str().unwrap();
    let second = scene.json(&["wake", "ada", "--task-key", "b"]);
    let second = second["id"].as_str().unwrap();
    let policy = scene.json(&["budget", "set", "--agent", "ada", "--tokens", "1000", "--window", "lifetime"]);
    spent(&scene, &ada, 0, 1000);
    assert_eq!(scene.ended(first)["status"], "cancelled", "what runs is stopped");
    let explained = scene.json(&["run", "explain", second]);
    assert_eq!(explained["heldReason"], "budget", "{explained}");
    let told = scene.ok(&["run", "explain", second]);
    let id = policy["policyId"].as_str().unwrap();
    assert!(
        told.out.contains(&format!("1000 tokens of 1000 tokens (lifetime) spent, policy {id}")),
        "{told:?}"
    );
    assert!(told.out.contains("bugle budget set --agent ada --tokens N --window lifetime"), "{told:?}");
    assert!(told.out.contains("bugle budget resolve "), "{told:?}");

    let mut follow = scene.start(&["--json", "logs", second, "-f"]);
    let raised = scene.ok(&["budget", "set", "--agent", "ada", "--tokens", "5000", "--window", "lifetime"]);
    assert!(raised.out.contains("5000 tokens in all, 1000 tokens of it spent"), "{raised:?}");
    follow.out("on");
    assert_eq!(scene.json(&["budget", "incidents"]), json!([]));
}

#[test]
fn a_company_and_a_project_have_budgets_and_what_was_spent_is_split() {
    let scene = Scene::served();
    let ada = scene.json(&["agent", "add", "ada", "--", "true"]);
    scene.ok(&["project", "create", "Site"]);
    assert!(scene.ok(&["budget", "list"]).err.contains("nothing limits what is spent"));
    scene.ok(&["--company", "My company", "budget", "set", "--usd", "50"]);
    scene.ok(&["budget", "set", "--project", "site", "--usd", "0.50", "--window", "lifetime", "--warn-only"]);
    let policies = scene.json(&["budget", "list"])["policies"].clone();
    let mut told: Vec<(String, i64, String, bool)> = policies
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let text = |key: &str| it[key].as_str().unwrap().to_owned();
            (
                text("scopeType"),
                it["amount"].as_i64().unwrap(),
                text("windowKind"),
                it["hardStopEnabled"] == true,
            )
        })
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            ("company".into(), 5000, "calendar_month_utc".into(), true),
            ("project".into(), 50, "lifetime".into(), false),
        ]
    );
    spent(&scene, &ada, 1234, 70);
    let costs = scene.ok(&["budget", "costs"]);
    assert!(costs.out.starts_with("$12.34 spent; 24.68 % of the monthly budget of $50.00"), "{costs:?}");
    assert!(scene.ok(&["budget", "costs", "--by", "agent"]).out.contains("ada    $12.34  70"));
    assert!(scene.ok(&["budget", "costs", "--by", "model"]).out.contains("ada    acme      large-1  $12.34"));
    assert!(scene.ok(&["budget", "costs", "--by", "provider"]).out.contains("acme      large-1  $12.34"));
    assert!(scene.ok(&["budget", "costs", "--by", "project"]).err.contains("nothing was spent"));
    assert_eq!(scene.json(&["budget", "costs", "--by", "agent"])[0]["costCents"], 1234);
    assert!(scene.ok(&["budget", "set", "--usd", "0"]).out.contains("no limit any more"));

    for (args, code) in [
        (&["budget", "set", "--usd", "0.001"][..], "usd.invalid"),
        (&["budget", "set", "--usd", "five"], "usd.invalid"),
        (&["budget", "set", "--tokens=-1"], "tokens.invalid"),
        (&["budget", "set"], "usage"),
        (&["budget", "set", "--usd", "1", "--tokens", "1"], "usage"),
        (&["budget", "set", "--agent", "nobody-here", "--usd", "1"], "agent.unknown"),
        (&["budget", "set", "--project", "none-such", "--usd", "1"], "project.unknown"),
        (&["budget", "resolve", "0192f7a0", "--keep-paused"], "incident.unknown"),
    ] {
        let mut args = args.to_vec();
        args.insert(0, "--json");
        let told = scene.bugle(&args);
        assert_eq!((told.code, told.error()["code"].as_str()), (Some(2), Some(code)), "{args:?}: {told:?}");
    }
}

#[test]
fn what_is_asked_for_is_shown_talked_about_and_decided_once() {
    let scene = Scene::served();
    let ada = scene.json(&["agent", "add", "ada", "--", "true"]);
    let issue = scene.json(&["issue", "create", "Ship it"]);
    let ask = |title: &str| {
        let body = json!({
            "type": "request_board_approval", "requestedByAgentId": ada["id"], "issueIds": [issue["id"]],
            "payload": {"title": title, "plan": "first\nthen"},
        });
        post(&scene, &format!("/companies/{}/approvals", company(&scene)), &body)["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = ask("Buy a domain");
    let listed = scene.ok(&["approval", "list", "--status", "pending"]);
    for said in [&first[..13], "request_board_approval", "ada", "Buy a domain"] {
        assert!(listed.out.contains(said), "{said}: {listed:?}");
    }
    let inbox = scene.ok(&["inbox"]);
    assert!(inbox.out.contains("ada asks for request_board_approval: Buy a domain"), "{inbox:?}");
    assert!(inbox.out.contains(&format!("bugle approval approve {}", &first[..13])), "{inbox:?}");

    scene.ok(&["approval", "comment", &first, "which registrar?"]);
    let shown = scene.ok(&["approval", "show", &first[..13]]);
    for said in ["pending", "title: Buy a domain", "    then", "MYC-1  backlog  Ship it", "which registrar?"]
    {
        assert!(shown.out.contains(said), "{said}: {shown:?}");
    }
    // A server that is named is not taken for the one of the data folder: no person's token goes there.
    let url = format!("http://{}", listen(&scene));
    let stranger = scene.bugle(&["--json", "--url", &url, "approval", "approve", &first]);
    assert_eq!(stranger.code, Some(3), "only a person decides: {stranger:?}");
    assert!(stranger.error()["hint"].as_str().unwrap().contains("person"), "{stranger:?}");

    let said = scene.ok(&["approval", "approve", &first, "-m", "the cheap one"]);
    assert_eq!(said.out, format!("approval {} is approved\n", &first[..13]));
    let late = scene.bugle(&["--json", "approval", "reject", &first]);
    assert_eq!(late.code, Some(3), "{late:?}");
    assert!(late.error()["error"].as_str().unwrap().contains("is approved already"), "{late:?}");
    assert!(scene.ok(&["approval", "show", &first]).out.contains("note      the cheap one"));

    let second = ask("Hire help");
    scene.ok(&["approval", "request-revision", &second, "-m", "how much?"]);
    assert_eq!(scene.json(&["approval", "show", &second])["status"], "revision_requested");
    scene.ok(&["approval", "reject", &second]);
    assert_eq!(scene.json(&["inbox"]), json!([]));
}

#[test]
fn the_inbox_and_the_status_count_what_is_for_a_person() {
    let scene = Scene::served();
    assert!(scene.ok(&["inbox"]).err.contains("nothing needs you"));
    scene.ok(&["issue", "create", "Look at this"]);
    scene.ok(&["issue", "assign", "1", "--user", "local-board"]);
    let inbox = scene.ok(&["inbox"]);
    assert!(inbox.out.contains("MYC-1 (backlog) is yours: Look at this"), "{inbox:?}");
    assert!(inbox.out.contains("bugle issue done MYC-1"), "{inbox:?}");
    assert_eq!(scene.json(&["issue", "list", "--assignee", "me"])[0]["identifier"], "MYC-1");
    let status = scene.ok(&["status"]);
    assert!(
        status
            .out
            .contains("My company: 1 open issue (0 in progress, 0 blocked), 1 for you to look at, $0.00"),
        "{status:?}"
    );
    assert!(status.err.contains("bugle inbox"), "{status:?}");
    let status = scene.json(&["status"]);
    assert_eq!(
        (&status["companies"][0]["inbox"], &status["companies"][0]["tasks"]["open"]),
        (&json!(1), &json!(1))
    );
    scene.ok(&["issue", "done", "1"]);
    assert_eq!(scene.json(&["status"])["companies"][0]["inbox"], 0);
}
