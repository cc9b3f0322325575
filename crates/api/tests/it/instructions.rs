//! The instructions of agents over the wire: who reads and writes them, and what is shown.

use reqwest::Method;
use serde_json::{Value, json};

use crate::issues::Acme;
use crate::stage::{Answer, id_of};

async fn ask(acme: &Acme, method: Method, path: &str, body: Value) -> Answer {
    acme.stage.send(acme.stage.http.request(method, acme.stage.url(path)).json(&body)).await
}

async fn get(acme: &Acme, path: &str) -> Value {
    ask(acme, Method::GET, path, json!({})).await.good()
}

fn names(bundle: &Value) -> Vec<&str> {
    bundle["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect()
}

const BOARD_ONLY: &str =
    "Only board-authenticated callers can manage instructions path or bundle configuration";

#[tokio::test]
async fn a_bundle_is_written_file_by_file_and_everybody_of_the_company_reads_it() {
    let acme = Acme::new().await;
    let bundle = format!("/api/agents/{}/instructions-bundle", acme.agent);
    let file = format!("{bundle}/file");
    let empty = get(&acme, &bundle).await;
    let keys = [
        "agentId",
        "companyId",
        "mode",
        "rootPath",
        "managedRootPath",
        "entryFile",
        "resolvedEntryPath",
        "editable",
        "warnings",
        "legacyPromptTemplateActive",
        "legacyBootstrapPromptTemplateActive",
        "files",
    ];
    for key in keys {
        assert!(empty.get(key).is_some(), "no {key} in {empty}");
    }
    assert_eq!(
        (&empty["mode"], &empty["entryFile"], &empty["files"]),
        (&Value::Null, &json!("AGENTS.md"), &json!([]))
    );
    let written =
        ask(&acme, Method::PUT, &file, json!({ "path": "AGENTS.md", "content": "Say `\\n`.\r\n" })).await;
    assert_eq!(
        written.good(),
        json!({ "path": "AGENTS.md", "size": 11, "language": "markdown", "markdown": true, "isEntryFile": true,
            "editable": true, "deprecated": false, "virtual": false, "content": "Say `\\n`.\r\n" })
    );
    ask(&acme, Method::PUT, &file, json!({ "path": "./tools/run.sh", "content": "" })).await.good();
    // It is managed by being written, and its agent reads it.
    let read = acme.agent(Method::GET, &bundle, None, json!({})).await.good();
    assert_eq!((&read["mode"], names(&read)), (&json!("managed"), vec!["AGENTS.md", "tools/run.sh"]));
    let entry = read["resolvedEntryPath"].as_str().unwrap();
    assert!(
        entry.starts_with(read["managedRootPath"].as_str().unwrap()) && entry.ends_with("/AGENTS.md"),
        "{read}"
    );
    let one = acme.agent(Method::GET, &format!("{file}?path=tools/run.sh"), None, json!({})).await.good();
    assert_eq!((&one["language"], &one["content"]), (&json!("bash"), &json!("")));

    for (asked, status, words) in [
        (file.clone(), 422, "Query parameter 'path' is required"),
        (format!("{file}?path=none.md"), 404, "Instructions file not found"),
        (format!("{file}?path=../x"), 422, "path must not leave the folder of the bundle"),
    ] {
        let (found, _, text) = ask(&acme, Method::GET, &asked, json!({})).await.refusal();
        assert_eq!((found, text.as_str()), (status, words), "{asked}");
    }
    let refused = ask(&acme, Method::DELETE, &format!("{file}?path=AGENTS.md"), json!({})).await.refusal();
    assert_eq!(
        (refused.0, refused.2.as_str()),
        (422, "The entry file cannot be removed: name another one first")
    );
    let left = ask(&acme, Method::DELETE, &format!("{file}?path=tools/run.sh"), json!({})).await.good();
    assert_eq!(names(&left), ["AGENTS.md"]);
    assert_eq!(ask(&acme, Method::PUT, &file, json!({ "path": "a.md" })).await.status, 400);

    let told = get(&acme, &format!("/api/companies/{}/activity?limit=3", acme.company)).await;
    let actions: Vec<&str> =
        told.as_array().unwrap().iter().map(|one| one["action"].as_str().unwrap()).collect();
    let written = "agent.instructions_file_updated";
    assert_eq!(actions, ["agent.instructions_file_deleted", written, written]);
    assert_eq!(
        (&told[0]["entityId"], &told[0]["details"]),
        (&json!(acme.agent), &json!({ "path": "tools/run.sh" }))
    );
    acme.stage.end().await;
}

#[tokio::test]
async fn people_say_where_instructions_are_and_agents_do_not() {
    let acme = Acme::new().await;
    let of_agent = format!("/api/agents/{}", acme.agent);
    let (path, bundle) = (format!("{of_agent}/instructions-path"), format!("{of_agent}/instructions-bundle"));
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("AGENTS.md"), "Be kind.").unwrap();
    std::fs::write(root.path().join(".env"), "hush").unwrap();
    let at = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    let set = ask(&acme, Method::PATCH, &path, json!({ "path": at("AGENTS.md"), "odd": 1 })).await.good();
    let expected = json!({ "agentId": acme.agent, "adapterType": "process",
        "adapterConfigKey": "instructionsFilePath", "path": at("AGENTS.md") });
    assert_eq!(set, expected);
    assert_eq!(get(&acme, &of_agent).await["adapterConfig"]["instructionsFilePath"], at("AGENTS.md"));
    let shown = get(&acme, &bundle).await;
    assert_eq!((&shown["mode"], names(&shown)), (&json!("external"), vec!["AGENTS.md"]));
    // An agent of this type is told of none, and people are told that.
    assert_eq!(shown["warnings"], json!(["Agents of the type `process` are not told of instructions."]));
    for (body, status) in [
        (json!({ "path": "AGENTS.md" }), 422),
        (json!({}), 400),
        (json!({ "path": " " }), 400),
        (json!({ "path": "/x", "adapterConfigKey": "command" }), 400),
    ] {
        assert_eq!(ask(&acme, Method::PATCH, &path, body.clone()).await.status, status, "{body}");
    }

    let external = json!({ "mode": "external", "rootPath": root.path(), "entryFile": "guide.md" });
    let shown = ask(&acme, Method::PATCH, &bundle, external).await.good();
    assert_eq!(
        (&shown["rootPath"], &shown["resolvedEntryPath"]),
        (&json!(root.path()), &json!(at("guide.md")))
    );
    let file = format!("{bundle}/file");
    ask(&acme, Method::PUT, &file, json!({ "path": "guide.md", "content": "Be quick." })).await.good();
    assert_eq!(std::fs::read_to_string(at("guide.md")).unwrap(), "Be quick.");
    // What is hidden is nobody's.
    assert_eq!(names(&get(&acme, &bundle).await), ["AGENTS.md", "guide.md"]);
    assert_eq!(ask(&acme, Method::GET, &format!("{file}?path=.env"), json!({})).await.status, 422);
    for (body, words) in [
        (
            json!({ "mode": "managed", "rootPath": "/srv" }),
            "rootPath is only for bundles of the mode `external`",
        ),
        (json!({ "rootPath": "srv" }), "rootPath must be an absolute path without `..`"),
        (json!({ "entryFile": "../x" }), "entryFile must not leave the folder of the bundle"),
    ] {
        let (status, _, text) = ask(&acme, Method::PATCH, &bundle, body).await.refusal();
        assert_eq!((status, text.as_str()), (422, words));
    }
    assert_eq!(ask(&acme, Method::PATCH, &bundle, json!({ "mode": "other" })).await.status, 400);

    // A prompt of before is shown as a file until it is cleared.
    ask(&acme, Method::PATCH, &of_agent, json!({ "adapterConfig": { "promptTemplate": "Go." } }))
        .await
        .good();
    let legacy = "promptTemplate.legacy.md";
    assert_eq!(get(&acme, &bundle).await["legacyPromptTemplateActive"], true);
    let old = get(&acme, &format!("{file}?path={legacy}")).await;
    assert_eq!(
        (&old["content"], &old["virtual"], &old["deprecated"]),
        (&json!("Go."), &json!(true), &json!(true))
    );
    let taken = json!({ "mode": "managed", "clearLegacyPromptTemplate": true });
    let taken = ask(&acme, Method::PATCH, &bundle, taken).await.good();
    assert_eq!((&taken["legacyPromptTemplateActive"], names(&taken)), (&json!(false), vec!["guide.md"]));
    assert_eq!(get(&acme, &format!("{file}?path=guide.md")).await["content"], "Be quick.");
    let config = get(&acme, &of_agent).await["adapterConfig"].clone();
    let mut keys: Vec<&String> =
        config.as_object().unwrap().keys().filter(|key| key.starts_with("instr")).collect();
    keys.sort();
    assert_eq!(keys, ["instructionsBundleMode", "instructionsEntryFile"], "{config}");

    for (method, asked, body) in [
        (Method::PATCH, &path, json!({ "path": "/etc/passwd" })),
        (Method::PATCH, &bundle, json!({ "mode": "external", "rootPath": "/etc" })),
        (Method::PUT, &file, json!({ "path": "guide.md", "content": "Do as I say." })),
        (Method::DELETE, &file, json!({})),
    ] {
        let (status, _, text) = acme.agent(method, asked, None, body).await.refusal();
        assert_eq!((status, text.as_str()), (403, BOARD_ONLY), "{asked}");
    }
    acme.stage.end().await;
}

#[tokio::test]
async fn an_agent_with_every_right_neither_names_nor_drops_where_instructions_are() {
    let acme = Acme::new().await;
    let agents = format!("/api/companies/{}/agents", acme.company);
    let chief = json!({ "name": "Chief", "role": "ceo", "adapterType": "process", "adapterConfig": { "command": "true" } });
    let chief = id_of(&acme.post(&agents, chief).await.good());
    let key = acme.stage.key_of(&acme.company, &chief).await;
    let by_chief = async |method: Method, path: &str, body: Value| {
        let request = acme.stage.http.request(method, acme.stage.url(path)).json(&body);
        acme.stage.send(acme.stage.by(request, &key, None)).await
    };
    let of_agent = format!("/api/agents/{}", acme.agent);
    let set = json!({ "path": "/srv/AGENTS.md" });
    ask(&acme, Method::PATCH, &format!("{of_agent}/instructions-path"), set).await.good();
    for key in [
        "instructionsBundleMode",
        "instructionsRootPath",
        "instructionsEntryFile",
        "instructionsFilePath",
        "agentsMdPath",
    ] {
        let config = json!({ "command": "true", key: "/etc" });
        let body = json!({ "name": "Spy", "adapterType": "process", "adapterConfig": config });
        let hires = format!("/api/companies/{}/agent-hires", acme.company);
        for (method, path) in [(Method::PATCH, &of_agent), (Method::POST, &agents), (Method::POST, &hires)] {
            let (status, _, text) = by_chief(method, path, body.clone()).await.refusal();
            assert_eq!(
                (status, text),
                (403, format!("Agent keys cannot modify instruction paths ({key})")),
                "{path}"
            );
        }
    }
    let replaced = json!({ "adapterConfig": { "command": "false" }, "replaceAdapterConfig": true });
    let changed = by_chief(Method::PATCH, &of_agent, replaced).await.good();
    let expected = json!({ "command": "false", "instructionsFilePath": "/srv/AGENTS.md" });
    assert_eq!(changed["adapterConfig"], expected);
    acme.stage.end().await;
}
