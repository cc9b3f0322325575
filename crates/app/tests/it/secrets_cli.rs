//! `bugle secret` and `bugle agent set-env`, as they are typed.

use serde_json::json;

use crate::scene::{Scene, Told, finish};

fn with_input(scene: &Scene, args: &[&str], input: &str) -> Told {
    let file = scene.place("input");
    std::fs::write(&file, input).unwrap();
    let mut command = scene.command(args);
    command.stdin(std::fs::File::open(&file).unwrap());
    finish(command)
}

#[test]
fn a_secret_is_stored_bound_renamed_and_removed_by_command() {
    let scene = Scene::served();
    assert!(scene.ok(&["secret", "list"]).err.contains("bugle secret set NAME"));
    let empty = scene.bugle(&["--json", "secret", "set", "github"]);
    assert_eq!((empty.code, empty.error()["code"].clone()), (Some(2), json!("secret.empty")));
    let stored = with_input(&scene, &["secret", "set", "github", "--description", "for CI"], "first value\n");
    assert_eq!(stored.out.trim(), "stored github");
    let again = with_input(&scene, &["--json", "secret", "set", "github"], "first value");
    assert_eq!(
        (again.code, again.error()["error"].clone()),
        (Some(3), json!("Secret already exists: github"))
    );
    assert!(again.error()["hint"].as_str().unwrap().contains("bugle secret rotate github"));
    let rotated = with_input(&scene, &["secret", "rotate", "github"], "second value\r\n");
    assert_eq!(rotated.out.trim(), "github has version 2");

    let shown = [
        "agent",
        "add",
        "hello",
        "--env",
        "LEVEL=full",
        "--env",
        "GH=secret:github",
        "--",
        "sh",
        "-c",
        "echo \"$LEVEL [$GH]\" | rev",
    ];
    scene.ok(&shown);
    let unknown = scene.bugle(&["--json", "agent", "set-env", "hello", "NPM=secret:npm"]);
    assert_eq!((unknown.code, unknown.error()["code"].clone()), (Some(2), json!("secret.unknown")));
    scene.ok(&["agent", "set-env", "hello", "OLD=secret:github@1", "LEVEL=low"]);
    let woken = scene.ok(&["wake", "hello", "--follow"]);
    assert!(woken.out.contains("]eulav dnoces[ wol"), "{woken:?}");
    let env = &scene.json(&["agent", "show", "hello"])["adapterConfig"]["env"];
    assert_eq!((&env["OLD"]["version"], &env["GH"]["version"]), (&json!(1), &json!("latest")));

    scene.ok(&["secret", "rename", "github", "gh"]);
    let used = scene.bugle(&["--json", "secret", "remove", "gh", "--yes"]);
    assert_eq!(used.code, Some(3));
    assert_eq!(used.error()["error"], "Secret is in use: agent hello (GH), agent hello (OLD)");
    scene.ok(&["agent", "set-env", "hello", "--unset", "GH", "--unset", "OLD"]);
    assert_eq!(scene.ok(&["secret", "remove", "gh", "--yes"]).out.trim(), "removed gh");
    assert_eq!(scene.json(&["secret", "list"]), json!([]));
}

#[test]
fn strict_mode_and_the_key_are_set_up_where_the_server_starts() {
    let mut scene = Scene::bare();
    let key = scene.place("key");
    scene.up(&["--secrets-strict-mode", "--secrets-key-file", key.to_str().unwrap()]);
    let refused = scene.bugle(&["--json", "agent", "add", "hello", "--env", "API_KEY=plain", "--", "true"]);
    let text = "Strict secret mode requires secret references for sensitive key: API_KEY";
    assert_eq!((refused.code, refused.error()["error"].clone()), (Some(2), json!(text)), "{refused:?}");
    with_input(&scene, &["secret", "set", "api"], "a long value");
    scene.ok(&["agent", "add", "hello", "--env", "API_KEY=secret:api", "--", "true"]);
    assert!(key.exists() && !scene.data().join("secrets.key").exists());
    let doctor = scene.bugle(&["--json", "doctor", "--secrets-key-file", key.to_str().unwrap()]);
    let report: serde_json::Value = serde_json::from_str(&doctor.out).unwrap();
    let check = report["checks"].as_array().unwrap().iter().find(|it| it["check"] == "secrets key").unwrap();
    assert_eq!(check["level"], "ok", "{check}");
}
