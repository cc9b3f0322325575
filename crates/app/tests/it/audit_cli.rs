//! A record of decisions that somebody has tampered with, as those see it who look after the instance.

use rustix::process::Signal;
use store::{Settings, Sql, Store, Target, p, sql};

use crate::scene::Scene;

/// A server that has some decisions behind it and has left.
fn left() -> Scene {
    let mut scene = Scene::served();
    scene.ok(&["agent", "add", "hello", "--", "true"]);
    for change in ["pause", "resume", "pause", "resume"] {
        scene.ok(&["agent", change, "hello"]);
    }
    scene.stop(Signal::TERM);
    scene
}

fn tamper(scene: &Scene, sql: Sql) {
    let target = Target::Sqlite(scene.data().join("bugle.sqlite"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&target, Settings::default(), 1).await.unwrap();
        let write = store.write(move |tx| Box::pin(async move { tx.exec(sql, p![]).await }));
        assert_eq!(write.await.unwrap(), 1, "{}", sql.source());
        store.close().await;
    });
}

/// The check of the record, and whether a server would start.
fn diagnosis(scene: &Scene) -> (Option<i32>, serde_json::Value, bool) {
    let told = scene.bugle(&["--json", "doctor", "--listen", "127.0.0.1:0"]);
    let report: serde_json::Value =
        serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{error}: {told:?}"));
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["check"] == "decisions").unwrap().clone();
    (told.code, check, report["upWouldStart"] == true)
}

#[test]
fn a_record_that_cannot_be_read_is_named_and_those_before_it_are_exported() {
    let mut scene = left();
    tamper(&scene, sql!("UPDATE audit SET details = X'7b7d' WHERE seq = 3 /*+only_sqlite*/"));
    scene.up(&[]);
    let told = scene.bugle(&["audit", "verify"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.out.contains("broken at number 3") && told.out.contains("cannot be read"), "{told:?}");

    let told = scene.bugle(&["audit", "export"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.err.contains("the export stopped at number 3"), "{told:?}");
    let lines: Vec<serde_json::Value> =
        told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{told:?}");
    assert_eq!([lines[0]["seq"].as_i64(), lines[1]["seq"].as_i64()], [Some(1), Some(2)]);
    assert_eq!(lines[2], serde_json::json!({ "stopped": { "seq": 3, "why": "unreadable" } }));
    std::fs::write(scene.place("cut.jsonl"), &told.out).unwrap();
    let told = scene.bugle(&["audit", "verify", "--file", "cut.jsonl"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.out.contains("broken at number 3"), "{told:?}");
}

#[test]
fn a_record_without_its_head_is_told_wherever_somebody_looks() {
    let mut scene = left();
    assert_eq!(diagnosis(&scene).1["code"], "ok");
    tamper(&scene, sql!("DELETE FROM audit_head"));
    let found = |scene: &Scene| {
        let (code, check, would_start) = diagnosis(scene);
        assert_eq!((code, check["code"].as_str()), (Some(1), Some("audit.broken")), "{check}");
        assert!(check["message"].as_str().unwrap().contains("no head"), "{check}");
        would_start
    };
    assert!(found(&scene), "what runs goes on, and everything can be looked at");
    scene.up(&[]);
    found(&scene);
    let told = scene.bugle(&["status"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.out.contains("not well") && told.out.contains("no head"), "{told:?}");
    for refused in [&["agent", "pause", "hello"][..], &["audit", "head"]] {
        let told = scene.bugle(refused);
        assert_eq!(told.code, Some(1), "{refused:?}: {told:?}");
        assert!(told.err.contains("has no head") && told.err.contains("bugle audit verify"), "{told:?}");
    }
    let told = scene.bugle(&["audit", "export"]);
    assert_eq!((told.code, told.out.as_str()), (Some(3), ""), "{told:?}");
    assert!(told.err.contains("has no head"), "{told:?}");
    let told = scene.bugle(&["audit", "verify"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.out.contains("has no head"), "{told:?}");
}
