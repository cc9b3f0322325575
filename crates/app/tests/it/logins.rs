//! A server that asks everybody for a key: its first administrator, others who log in with their help, and their keys.

use serde_json::{Value as Json, json};

use crate::scene::{Running, Scene};

/// Starts a server in authenticated mode; its address, and the token for its first administrator.
fn authenticated(scene: &Scene) -> (Running, String, String) {
    let mut server = scene.start(&["up", "--listen", "127.0.0.1:0", "--mode", "authenticated"]);
    let line = server.out("listens on");
    let url = line.split_whitespace().last().unwrap().to_owned();
    let line = server.out("bugle login first");
    let token = line.split_whitespace().nth(3).unwrap().to_owned();
    (server, url, token)
}

fn code(told: &str) -> Json {
    serde_json::from_str(told).unwrap_or_else(|error| panic!("{error}: {told}"))
}

#[test]
fn the_first_administrator_lets_others_in() {
    let scene = Scene::bare();
    let (_server, url, token) = authenticated(&scene);
    let refused = scene.bugle(&["agent", "list"]);
    assert_eq!(refused.code, Some(3), "nobody is in yet: {refused:?}");
    assert!(refused.err.contains("bugle login first"), "{refused:?}");
    let wrong = scene.bugle(&["login", "first", "guess", "--name", "Eve"]);
    assert_eq!(wrong.code, Some(3), "{wrong:?}");
    let ada = scene.ok(&["login", "first", &token, "--name", "Ada", "--email", "ada@example.org"]);
    assert_eq!(ada.out.trim(), "Ada, administrator of the instance, with a key; 1 company");
    let late = scene.bugle(&["login", "first", &token, "--name", "Eve"]);
    assert_eq!(late.code, Some(3), "there is one first: {late:?}");
    assert!(late.err.contains("they let others in"), "{late:?}");
    scene.ok(&["agent", "add", "hello", "--", "true"]);

    // Another machine, as far as the server can tell.
    let other = Scene::bare();
    let mut login = other.start(&["--json", "login", "--url", &url]);
    let waiting = code(&login.out("waiting"));
    let approved = scene.json(&["login", "approve", waiting["code"].as_str().unwrap()]);
    assert_eq!(approved["approved"], true);
    let told = login.wait();
    assert_eq!(told.code, Some(0), "{told:?}");
    let me = other.json(&["whoami", "--url", &url]);
    assert_eq!((&me["user"]["email"], &me["source"]), (&json!("ada@example.org"), &json!("board_key")));
    other.ok(&["logout", "--url", &url]);
    assert_eq!(other.bugle(&["whoami", "--url", &url]).code, Some(3));
    scene.ok(&["whoami"]);
}

#[test]
fn people_get_roles_and_keys() {
    let scene = Scene::bare();
    let (_server, url, token) = authenticated(&scene);
    scene.ok(&["login", "first", &token, "--name", "Ada"]);
    let mia = scene.json(&["user", "add", "Mia", "--email", "mia@example.org", "--role", "viewer"]);
    let key = scene.ok(&["token", "create", "--user", "mia@example.org"]);
    let other = Scene::bare();
    let wrong = other.bugle(&["login", "--key", "pcp_board_wrong", "--url", &url]);
    assert_eq!(wrong.code, Some(3), "{wrong:?}");
    other.ok(&["login", "--key", key.out.trim(), "--url", &url]);
    other.ok(&["agent", "list", "--url", &url]);
    let refused = other.bugle(&["agent", "add", "hello", "--url", &url, "--", "true"]);
    assert_eq!(refused.code, Some(3), "a viewer looks: {refused:?}");
    scene.ok(&["user", "role", "mia@example.org", "admin"]);
    other.ok(&["agent", "add", "hello", "--url", &url, "--", "true"]);
    let members = scene.json(&["user", "members"]);
    assert_eq!(members.as_array().unwrap().len(), 2);
    let keys = scene.json(&["token", "list", "--user", mia["id"].as_str().unwrap()]);
    scene.ok(&["token", "revoke", keys[0]["id"].as_str().unwrap(), "--user", mia["id"].as_str().unwrap()]);
    assert_eq!(other.bugle(&["agent", "list", "--url", &url]).code, Some(3), "at once");
    let agent_key = scene.json(&["token", "create", "--agent", "hello"]);
    let mut whoami = other.command(&["whoami", "--url", &url]);
    whoami.env("BUGLE_API_KEY", agent_key["token"].as_str().unwrap());
    let told = crate::scene::finish(whoami);
    assert!(told.out.starts_with("the agent hello"), "{told:?}");
}

#[test]
fn whoever_holds_a_key_that_is_over_can_log_in_again() {
    let scene = Scene::bare();
    let (_server, url, token) = authenticated(&scene);
    scene.ok(&["login", "first", &token, "--name", "Ada"]);
    let other = Scene::bare();
    std::fs::create_dir_all(other.data()).unwrap();
    let stale = json!({ "keys": { &url: "pcp_board_over" } });
    std::fs::write(other.data().join("logins.json"), stale.to_string()).unwrap();
    assert!(other.bugle(&["agent", "list", "--url", &url]).err.contains("bugle login"));
    let mut login = other.start(&["--json", "login", "--url", &url]);
    let waiting = code(&login.out("waiting"));
    let approved = scene.ok(&["login", "approve", waiting["code"].as_str().unwrap()]);
    assert_eq!(approved.out.trim(), "approved; it acts as Ada for 30 days");
    assert_eq!(login.wait().code, Some(0));
}

#[test]
fn only_a_server_that_asks_for_keys_listens_for_other_machines() {
    let scene = Scene::bare();
    let refused = scene.bugle(&["up", "--listen", "0.0.0.0:0"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("--mode authenticated"), "{refused:?}");
    let unknown = scene.bugle(&["up", "--mode", "open"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
}

#[test]
fn a_trusted_server_lets_command_lines_in_with_the_token_of_its_folder() {
    let scene = Scene::served();
    let other = Scene::bare();
    let url = format!("http://{}", listen(&scene));
    let mut login = other.start(&["--json", "login", "--url", &url]);
    let waiting = code(&login.out("waiting"));
    let waiting = waiting["code"].as_str().unwrap();
    let without = other.bugle(&["login", "approve", waiting, "--url", &url]);
    assert_eq!(without.code, Some(3), "being on this machine proves nothing: {without:?}");
    scene.ok(&["login", "approve", waiting]);
    assert_eq!(login.wait().code, Some(0));
    let me = other.json(&["whoami", "--url", &url]);
    assert_eq!((&me["userId"], &me["source"]), (&json!("local-board"), &json!("board_key")));
}

fn listen(scene: &Scene) -> String {
    let note = std::fs::read(scene.data().join("server.json")).unwrap();
    let note: Json = serde_json::from_slice(&note).unwrap();
    note["listen"].as_str().unwrap().to_owned()
}
