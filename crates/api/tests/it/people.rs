//! Who is asking: keys, tokens of runs, logins, and what people are in a company.

use serde_json::{Value, json};

use crate::door::{Door, FIRST_TOKEN};
use crate::shapes::scrubbed;
use crate::stage::{BOARD_TOKEN, Stage, id_of};

#[tokio::test]
async fn an_agent_is_its_key_until_that_is_revoked() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 5).await;
    let local = stage.get("/api/agents/me").await.refusal();
    assert_eq!((local.0, local.2.as_str()), (401, "Agent authentication required"), "the board is no agent");
    let made = stage.post(&format!("/api/agents/{agent}/keys"), json!({})).await.good();
    assert_eq!(made["name"], "default");
    let key = made["token"].as_str().unwrap();
    assert!(key.starts_with("pcp_") && key.len() == 4 + 48, "{key}");
    let me = stage.with_key("GET", "/api/agents/me", (key, None), Value::Null).await.good();
    assert_eq!(me["id"], json!(agent));
    insta::assert_json_snapshot!("agent_me", scrubbed(me));
    let keys = format!("/api/agents/{agent}/keys");
    let listed = stage.get(&keys).await.good();
    assert!(listed[0].get("token").is_none() && listed[0]["lastUsedAt"].is_string(), "{listed}");
    let one = format!("{keys}/{}", id_of(&made));
    for _ in 0..2 {
        let done = stage.send(stage.http.delete(stage.url(&one))).await;
        assert_eq!(done.good(), json!({"ok": true}), "revoking again changes nothing");
    }
    let over = stage.with_key("GET", "/api/companies", (key, None), Value::Null).await;
    assert_eq!(over.refusal(), (401, "unauthorized".into(), "Unauthorized".into()), "not the board");
    let unknown = stage.send(stage.http.delete(stage.url(&format!("{keys}/x")))).await.refusal();
    assert_eq!((unknown.0, unknown.2.as_str()), (404, "Key not found"));
    stage.end().await;
}

#[tokio::test]
async fn a_terminated_agent_has_no_say() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 5).await;
    let key = stage.agent_key(&agent).await;
    stage.post(&format!("/api/agents/{agent}/terminate"), json!({})).await.good();
    assert_eq!(stage.with_key("GET", "/api/agents/me", (&key, None), Value::Null).await.status, 401);
    let refused = stage.post(&format!("/api/agents/{agent}/keys"), json!({})).await.refusal();
    assert_eq!((refused.0, refused.2.as_str()), (409, "Cannot create keys for terminated agents"));
    stage.end().await;
}

#[tokio::test]
async fn the_token_of_a_run_dies_with_it() {
    let stage = Stage::new().await;
    let (company, agent, run) = stage.with_run().await;
    let token = stage.puppets.variable(&run, "PAPERCLIP_API_KEY");
    assert_eq!(token, stage.puppets.variable(&run, "BUGLE_API_KEY"));
    let me = stage.with_key("GET", "/api/agents/me", (&token, None), Value::Null).await.good();
    assert_eq!(me["id"], json!(agent));
    let board =
        stage.with_key("POST", &format!("/api/agents/{agent}/pause"), (&token, None), json!({})).await;
    assert_eq!(board.refusal().2, "Board access required");
    stage.puppets.end(&run, 0);
    stage.over(&company, &run).await;
    let over = stage.with_key("GET", "/api/agents/me", (&token, None), Value::Null).await.refusal();
    assert_eq!((over.0, over.2.as_str()), (403, "Run token is not valid any more: its run has ended"));
    stage.end().await;
}

#[tokio::test]
async fn a_key_speaks_for_runs_of_its_own_agent_only() {
    let stage = Stage::new().await;
    let (company, agent, run) = stage.with_run().await;
    let key = stage.agent_key(&agent).await;
    let other = stage.agent(&company, "Other", 1).await;
    let other = stage.agent_key(&other).await;
    let ask = |key: &str, run: &str| {
        let request =
            stage.http.get(stage.url("/api/agents/me")).bearer_auth(key).header("X-Paperclip-Run-Id", run);
        stage.send(request)
    };
    assert_eq!(ask(&key, &run).await.status, 200);
    assert_eq!(ask(&key, "$PAPERCLIP_RUN_ID").await.status, 200);
    assert_eq!(ask(&key, "0192f7a0-0000-4000-8000-00000000000a").await.status, 200, "of no run: absent");
    let foreign = ask(&other, &run).await.refusal();
    assert_eq!((foreign.0, foreign.1.as_str()), (403, "foreign_run"));
    stage.end().await;
}

#[tokio::test]
async fn agents_see_configurations_only_with_the_right_to_hire() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let other = stage.agent(&company, "Other", 1).await;
    let key = stage.agent_key(&agent).await;
    let get = |path: String| {
        let (stage, key) = (&stage, &key);
        async move { stage.with_key("GET", &path, (key, None), Value::Null).await }
    };
    assert_eq!(get(format!("/api/agents/{other}")).await.good()["adapterConfig"], json!({}));
    assert_eq!(get(format!("/api/agents/{agent}")).await.good()["adapterConfig"]["command"], "true");
    let path = format!("/api/agents/{other}/configuration");
    assert_eq!(get(path.clone()).await.refusal().2, "Missing permission: can create agents");
    let permissions = format!("/api/agents/{agent}/permissions");
    let both = json!({"canCreateAgents": true, "canAssignTasks": false});
    let own = stage.with_key("PATCH", &permissions, (&key, None), both.clone()).await.refusal();
    assert_eq!((own.0, own.2.as_str()), (403, "Only CEO can manage permissions"));
    for wrong in [json!({"canCreateAgents": true}), json!({"canCreateAgents": true, "canAssignTasks": null})]
    {
        assert_eq!(stage.patch(&permissions, wrong).await.status, 400);
    }
    let changed = stage.patch(&permissions, both).await.good();
    assert_eq!(changed["access"]["taskAssignSource"], "agent_creator");
    assert_eq!(changed["access"]["grants"], json!([]));
    let configuration = get(path).await.good();
    assert_eq!(configuration["adapterConfig"]["command"], "true");
    insta::assert_json_snapshot!("agent_configuration", scrubbed(configuration));
    let listed = get(format!("/api/companies/{company}/agent-configurations")).await.good();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    stage.end().await;
}

#[tokio::test]
async fn a_command_line_logs_in_with_the_help_of_a_person() {
    let stage = Stage::new().await;
    stage.company("Acme Corp").await;
    let made = stage.post("/api/cli-auth/challenges", json!({"command": "bugle login"})).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    let (id, secret) = (id_of(&made), made["token"].as_str().unwrap().to_owned());
    let key = made["boardApiToken"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("pcp_cli_auth_") && key.starts_with("pcp_board_"));
    assert_eq!(made["approvalPath"], json!(format!("/cli-auth/{id}?token={secret}")));
    let poll = format!("/api{}?token={secret}", made["pollPath"].as_str().unwrap());
    insta::assert_json_snapshot!("challenge", scrubbed(stage.get(&poll).await.good()));
    let early = stage.with_key("GET", "/api/cli-auth/me", (&key, None), Value::Null).await;
    assert_eq!(early.status, 401, "the key is not valid yet");
    for wrong in
        [format!("/api/cli-auth/challenges/{id}?token={secret}x"), format!("/api/cli-auth/challenges/{id}")]
    {
        let refused = stage.get(&wrong).await.refusal();
        assert_eq!((refused.0, refused.2.as_str()), (404, "CLI auth challenge not found"));
    }
    let path = made["approvalPath"].as_str().unwrap();
    let page = stage.get(path).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("\ncommand: bugle login\n"), "{}", page.text);
    assert!(page.text.contains(&format!("bugle login approve {id}:{secret}\n")), "{}", page.text);
    assert_eq!(stage.get(&format!("{path}x")).await.refusal().2, "CLI auth challenge not found");
    let odd = json!({"command": "ls\u{1b}[2K\nbugle up", "clientName": "\u{202e}moc"});
    let odd = stage.post("/api/cli-auth/challenges", odd).await.json();
    let odd = stage.get(odd["approvalPath"].as_str().unwrap()).await.text;
    assert!(odd.contains("command: ls\\u{1b}[2K\\nbugle up\nfrom: \\u{202e}moc\n"), "{odd}");
    let approve = format!("/api/cli-auth/challenges/{id}/approve");
    let body = json!({ "token": secret });
    let local = stage.post(&approve, body.clone()).await.refusal();
    assert_eq!((local.0, local.2.as_str()), (403, "Board access required: local board token"));
    assert_eq!(stage.person("POST", &approve, json!({"token": "short"})).await.status, 400);
    let approved = stage.person("POST", &approve, body.clone()).await.good();
    assert_eq!((&approved["approved"], &approved["userId"]), (&json!(true), &json!("local-board")));
    assert_eq!(stage.get(&poll).await.good()["status"], "approved");
    let page = stage.get(path).await.text;
    assert!(page.ends_with("Nothing is left to do: this login is approved.\n"), "{page}");
    let me = stage.with_key("GET", "/api/cli-auth/me", (&key, None), Value::Null).await.good();
    assert_eq!((&me["source"], &me["keyId"]), (&json!("board_key"), &approved["keyId"]));
    let cancel = stage.post(&format!("/api/cli-auth/challenges/{id}/cancel"), body).await.good();
    assert_eq!(cancel, json!({"status": "approved", "cancelled": false}));
    let revoked =
        stage.with_key("POST", "/api/cli-auth/revoke-current", (&key, None), json!({})).await.good();
    assert_eq!(revoked, json!({"revoked": true, "keyId": approved["keyId"]}));
    assert_eq!(stage.with_key("GET", "/api/cli-auth/me", (&key, None), Value::Null).await.status, 401);
    let none = stage.post("/api/cli-auth/revoke-current", json!({})).await.refusal();
    assert_eq!((none.0, none.2.as_str()), (400, "Current board API key context is required"));
    stage.end().await;
}

#[tokio::test]
async fn an_authenticated_instance_waits_for_its_first_administrator() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let door = Door::new(&stage);
    let health = door.ask("GET", "/api/health", None, None).await.good();
    let expected = json!({
        "status": "ok", "deploymentMode": "authenticated", "bootstrapStatus": "bootstrap_pending",
        "bootstrapInviteActive": true,
    });
    assert_eq!(health, expected);
    let nobody = door.ask("GET", &format!("/api/companies/{company}"), None, None).await;
    assert_eq!(nobody.refusal(), (401, "unauthorized".into(), "Unauthorized".into()));
    assert_eq!(door.ask("GET", "/api/companies", None, None).await.refusal().2, "Board access required");
    let local = door.get("/api/companies", BOARD_TOKEN).await;
    assert_eq!(local.status, 401, "the local token proves nothing here");
    let first = |token: &str| json!({"token": token, "name": "Ada", "email": "Ada@Example.org"});
    assert_eq!(door.ask("POST", "/api/bootstrap", None, Some(&first("guess"))).await.status, 401);
    let here = stage.post("/api/bootstrap", first(FIRST_TOKEN)).await;
    assert_eq!(here.status, 401, "a trusted instance makes none");
    let made = door.ask("POST", "/api/bootstrap", None, Some(&first(FIRST_TOKEN))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.json();
    assert_eq!(
        (&made["user"]["email"], &made["user"]["isInstanceAdmin"]),
        (&json!("ada@example.org"), &json!(true))
    );
    let key = made["key"]["token"].as_str().unwrap();
    let again = door.ask("POST", "/api/bootstrap", None, Some(&first(FIRST_TOKEN))).await;
    assert_eq!(again.status, 409);
    let me = door.get("/api/cli-auth/me", key).await.good();
    assert_eq!((&me["isInstanceAdmin"], &me["companyIds"]), (&json!(true), &json!([company])));
    insta::assert_json_snapshot!("cli_auth_me", scrubbed(me));
    let health = door.get("/api/health", key).await.good();
    assert_eq!((&health["bootstrapStatus"], &health["version"]), (&json!("ready"), &json!("1.2.3")));
    assert_eq!(door.post("/api/companies", key, json!({"name": "Second"})).await.status, 201);
    assert_eq!(
        door.get("/api/companies", key).await.good().as_array().unwrap().len(),
        2,
        "its founder owns it"
    );
    stage.end().await;
}

#[tokio::test]
async fn roles_say_what_people_may_do_in_a_company() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let (owner, owner_key) = stage.user("Olga", Some((&company, "owner"))).await;
    let (admin, admin_key) = stage.user("Adam", Some((&company, "admin"))).await;
    let (member, member_key) = stage.user("Mia", Some((&company, "member"))).await;
    let (viewer, viewer_key) = stage.user("Vera", Some((&company, "viewer"))).await;
    let (_, stranger_key) = stage.user("Sam", None).await;
    let door = Door::new(&stage);
    let wake = format!("/api/agents/{agent}/wakeup");
    let issue = format!("/api/companies/{company}/issues");
    for (who, key, wakes, works) in [
        ("owner", &owner_key, 202, 201),
        ("admin", &admin_key, 202, 201),
        ("member", &member_key, 403, 201),
        ("viewer", &viewer_key, 403, 403),
        ("stranger", &stranger_key, 403, 403),
    ] {
        assert_eq!(door.post(&wake, key, json!({})).await.status, wakes, "{who}");
        assert_eq!(door.post(&issue, key, json!({"title": "x"})).await.status, works, "{who}");
    }
    assert_eq!(
        door.post(&issue, &viewer_key, json!({"title": "x"})).await.refusal().2,
        "Viewer access is read-only"
    );
    assert_eq!(
        door.post(&wake, &member_key, json!({})).await.refusal().2,
        "Missing permission: agents:create"
    );

    let members = format!("/api/companies/{company}/members");
    let listed = door.get(&members, &viewer_key).await.good();
    assert_eq!(listed.as_array().unwrap().len(), 4);
    insta::assert_json_snapshot!("member", scrubbed(listed[0].clone()));
    let put = |user: &str, key: &str, role: &str| {
        let (path, key, body) = (format!("{members}/{user}"), key.to_owned(), json!({ "role": role }));
        let door = &door;
        async move { door.ask("PUT", &path, Some(&key), Some(&body)).await }
    };
    assert_eq!(put(&viewer, &member_key, "member").await.refusal().2, "Missing permission: users:invite");
    assert_eq!(
        put(&viewer, &admin_key, "owner").await.refusal().2,
        "Missing permission: users:manage_permissions"
    );
    assert_eq!(put(&owner, &admin_key, "viewer").await.status, 403, "nobody takes more than they have");
    assert_eq!(put(&viewer, &owner_key, "member").await.good()["membershipRole"], "member");
    assert_eq!(put(&owner, &owner_key, "viewer").await.status, 409, "a company keeps an owner");
    let remove = |user: &str, key: &str| {
        let (path, key) = (format!("{members}/{user}"), key.to_owned());
        let door = &door;
        async move { door.ask("DELETE", &path, Some(&key), None).await }
    };
    assert_eq!(remove(&owner, &owner_key).await.status, 409);
    assert_eq!(remove(&member, &admin_key).await.status, 403);
    assert_eq!(remove(&member, &owner_key).await.good(), json!({"ok": true}));
    assert_eq!(door.post(&issue, &member_key, json!({"title": "x"})).await.status, 403, "at once");
    assert_eq!(remove(&member, &owner_key).await.refusal().0, 404);
    assert_eq!(remove(&admin, &owner_key).await.status, 200);
    stage.end().await;
}

#[tokio::test]
async fn people_have_keys_of_their_own() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let (user, key) = stage.user("Mia", Some((&company, "member"))).await;
    let (_, other) = stage.user("Vera", Some((&company, "viewer"))).await;
    let door = Door::new(&stage);
    let made = door.post("/api/users/me/keys", &key, json!({"name": "laptop"})).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    assert!(made["expiresAt"].is_string() && made["token"].as_str().unwrap().starts_with("pcp_board_"));
    let listed = door.get("/api/users/me/keys", &key).await.good();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(listed.as_array().unwrap().iter().all(|key| key.get("token").is_none()));
    assert_eq!(door.get(&format!("/api/users/{user}/keys"), &other).await.status, 403);
    assert_eq!(door.get("/api/users", &key).await.refusal().2, "Instance admin access required");
    let one = format!("/api/users/me/keys/{}", id_of(&made));
    assert_eq!(door.ask("DELETE", &one, Some(&other), None).await.status, 404, "not theirs");
    assert_eq!(door.ask("DELETE", &one, Some(&key), None).await.good(), json!({"ok": true}));
    assert_eq!(door.get("/api/cli-auth/me", made["token"].as_str().unwrap()).await.status, 401);
    let local = stage.post("/api/users", json!({"name": "Eve"})).await.refusal();
    assert_eq!(local.2, "Board access required: local board token", "who makes keys makes people");
    let listed = stage.get("/api/users").await.good();
    insta::assert_json_snapshot!("user", scrubbed(listed[0].clone()));
    stage.end().await;
}

#[tokio::test]
async fn companies_are_changed_and_archived_by_people_and_named_by_a_chief() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let path = format!("/api/companies/{company}");
    let chief = json!({"name": "Chief", "role": "ceo", "adapterType": "process", "adapterConfig": {"command": "true"}});
    let chief = id_of(&stage.post(&format!("{path}/agents"), chief).await.good());
    let chief = stage.agent_key(&chief).await;
    let engineer = stage.agent(&company, "Engineer", 1).await;
    let engineer = stage.agent_key(&engineer).await;
    let named = stage.with_key("PATCH", &path, (&chief, None), json!({"brandColor": "#A1B2C3"})).await.good();
    assert_eq!(named["brandColor"], "#a1b2c3");
    assert_eq!(stage.with_key("PATCH", &path, (&chief, None), json!({"status": "paused"})).await.status, 400);
    assert_eq!(stage.with_key("PATCH", &path, (&chief, None), json!({})).await.status, 400);
    // There are no assets: no logo is taken, and that there is none.
    let logo = json!({"name": "Named", "logoAssetId": "0192f7a0-0000-4000-8000-00000000000a"});
    for refused in [
        stage.with_key("PATCH", &path, (&chief, None), logo.clone()).await,
        stage.patch(&path, logo.clone()).await,
    ] {
        assert_eq!((refused.status, refused.refusal().2.as_str()), (404, "Logo asset not found"));
    }
    let bare = json!({ "logoAssetId": null });
    assert_eq!(
        stage.with_key("PATCH", &path, (&chief, None), bare.clone()).await.good()["name"],
        "Acme Corp"
    );
    assert_eq!(stage.patch(&path, bare).await.header("bugle-ignored-fields"), None);
    let refused = stage.with_key("PATCH", &path, (&engineer, None), json!({"name": "Mine"})).await.refusal();
    assert_eq!(refused.2, "Only CEO agents or board users may update company settings");
    let paused = stage.patch(&path, json!({"status": "paused", "colour": "red"})).await;
    assert_eq!(paused.header("bugle-ignored-fields"), Some("colour"));
    let paused = paused.good();
    assert_eq!((&paused["pauseReason"], paused["pausedAt"].is_string()), (&json!("manual"), true));
    insta::assert_json_snapshot!("changed_company", scrubbed(paused));
    assert_eq!(stage.patch(&path, json!({"status": "active"})).await.good()["pausedAt"], Value::Null);
    for wrong in [json!({"name": ""}), json!({"status": "sold"}), json!({"brandColor": "red"})] {
        assert_eq!(stage.patch(&path, wrong.clone()).await.status, 400, "{wrong}");
    }
    let archived = stage.post(&format!("{path}/archive"), json!({})).await.good();
    assert_eq!(archived["status"], "archived");
    for path in ["/api/issues", "/api/companies/issues"] {
        let refused = stage.get(path).await.refusal();
        assert_eq!(refused.2, "Missing companyId in path. Use /api/companies/{companyId}/issues.");
    }
    stage.end().await;
}

#[tokio::test]
async fn an_agent_does_not_make_itself_a_chief_with_rights() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let path = format!("/api/agents/{agent}");
    let budget = json!({"heartbeat": {"enabled": false}, "budget": {"messageCents": 50}});
    stage.patch(&path, json!({ "runtimeConfig": budget })).await.good();
    let key = stage.agent_key(&agent).await;
    for (body, words) in [
        (json!({"role": "ceo"}), "Agents cannot change their own role: it says what they may do"),
        (
            json!({"runtimeConfig": {}}),
            "Agents cannot change their own runtimeConfig.budget: it limits what they may spend",
        ),
    ] {
        let refused = stage.with_key("PATCH", &path, (&key, None), body).await.refusal();
        assert_eq!((refused.0, refused.2.as_str()), (403, words));
    }
    let rights = json!({"canCreateAgents": true, "canAssignTasks": true});
    let rights = stage.with_key("PATCH", &format!("{path}/permissions"), (&key, None), rights).await;
    assert_eq!(rights.refusal().2, "Only CEO can manage permissions");
    let same = json!({"role": "general", "title": "x", "runtimeConfig": budget});
    assert_eq!(stage.with_key("PATCH", &path, (&key, None), same).await.good()["title"], "x");
    assert_eq!(stage.patch(&path, json!({"role": "ceo"})).await.good()["role"], "ceo");
    stage.end().await;
}

#[tokio::test]
async fn only_a_person_gives_up_to_decide_on_hires() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let path = format!("/api/companies/{company}");
    let wants = |wants: bool| json!({ "requireBoardApprovalForNewAgents": wants });
    assert_eq!(stage.patch(&path, wants(false)).await.status, 200, "it was off");
    stage.patch(&path, wants(true)).await.good();
    let refused = stage.patch(&path, wants(false)).await;
    assert_eq!(
        refused.refusal(),
        (403, "forbidden".into(), "Board access required: local board token".into())
    );
    assert!(refused.json()["hint"].as_str().unwrap().contains("board.token"));
    assert_eq!(stage.get(&path).await.good()["requireBoardApprovalForNewAgents"], true);
    let off = stage.person("PATCH", &path, wants(false)).await.good();
    assert_eq!(off["requireBoardApprovalForNewAgents"], false);
    stage.end().await;
}

#[tokio::test]
async fn a_chain_of_command_ends_at_the_door_of_its_company() {
    let stage = Stage::new().await;
    let (home, other) = (stage.company("Acme").await, stage.company("Rival").await);
    let (boss, agent) = (stage.agent(&home, "Boss", 1).await, stage.agent(&home, "Engineer", 1).await);
    let stranger = stage.agent(&other, "Stranger", 1).await;
    let path = format!("/api/agents/{agent}");
    stage.patch(&path, json!({ "reportsTo": boss })).await.good();
    // Of an older store, where this was not looked at.
    let (id, manager) = (domain::ids::AgentId(boss.clone()), domain::ids::AgentId(stranger));
    let forced = stage.engine.store().write(move |tx| {
        let (id, manager) = (id.clone(), manager.clone());
        Box::pin(async move {
            let mut row = store::agents::lock(tx, &id).await?.expect("an agent of that id");
            row.reports_to = Some(manager);
            store::agents::update(tx, &row).await
        })
    });
    assert!(forced.await.unwrap());
    let shown = stage.get(&path).await.good();
    let chain: Vec<&Value> = shown["chainOfCommand"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(chain, [&json!(boss)]);
    assert_eq!(stage.get(&format!("/api/agents/{boss}")).await.good()["chainOfCommand"], json!([]));
    stage.end().await;
}

#[tokio::test]
async fn a_company_is_deleted_with_its_work_by_its_owners() {
    let stage = Stage::new().await;
    let (company, agent, run) = stage.with_run().await;
    let path = format!("/api/companies/{company}");
    let issue = json!({"title": "Work", "assigneeAgentId": agent, "status": "todo"});
    let issue = id_of(&stage.post(&format!("{path}/issues"), issue).await.good());
    let on_issue = stage.run_of_issue(&issue).await;
    stage.post(&format!("/api/issues/{issue}/comments"), json!({"body": "hm"})).await.good();
    let other = stage.company("Other").await;
    let (_, member) = stage.user("Member", Some((&company, "member"))).await;
    let (_, owner) = stage.user("Owner", Some((&company, "owner"))).await;
    let key = stage.agent_key(&agent).await;
    let remove = async |key: &str| stage.with_key("DELETE", &path, (key, None), Value::Null).await;
    assert_eq!(remove(&key).await.refusal().2, "Board access required");
    assert_eq!(remove(&member).await.refusal().2, "Missing permission: agents:create");
    assert_eq!(stage.get(&path).await.good()["status"], "active");

    // Its processes are ended first.
    assert_eq!(remove(&owner).await.good(), json!({"ok": true}));
    for path in [path.clone(), format!("/api/agents/{agent}"), format!("/api/issues/{issue}")] {
        assert_eq!(stage.get(&path).await.status, 404, "{path}");
    }
    for run in [run, on_issue] {
        assert_eq!(stage.get(&format!("/api/heartbeat-runs/{run}")).await.status, 404);
    }
    assert_eq!(stage.with_key("GET", "/api/agents/me", (&key, None), Value::Null).await.status, 401);
    assert_eq!(stage.get(&format!("/api/companies/{other}")).await.status, 200);
    assert_eq!(remove(BOARD_TOKEN).await.status, 404, "command lines take that for done");
    let audit = stage.get("/api/audit/verify").await;
    assert_eq!(audit.good()["ok"], true);
    stage.end().await;
}
