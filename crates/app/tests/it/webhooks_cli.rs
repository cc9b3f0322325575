//! `bugle webhook`, as it is typed, against a receiver on this machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use serde_json::json;

use crate::scene::Scene;

/// Takes requests and answers each with 200; their heads and bodies come out of the channel.
fn receiver() -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, came) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = text.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nthanks";
            stream.get_mut().write_all(answer).unwrap();
            if sender.send((head, body)).is_err() {
                return;
            }
        }
    });
    (url, came)
}

#[test]
fn a_webhook_is_added_tried_listed_and_removed_by_command() {
    let scene = Scene::served();
    assert!(scene.ok(&["webhook", "list"]).err.contains("bugle webhook add URL"));
    let (url, came) = receiver();
    let added = scene.ok(&["webhook", "add", &url, "--events", "activity.logged", "--description", "for CI"]);
    assert!(added.out.contains("sends activity.logged to") && added.out.contains("whsec_"), "{added:?}");
    let id = added.out.split_whitespace().next().unwrap().to_owned();
    let tried = scene.ok(&["webhook", "test", &id]);
    assert!(tried.out.starts_with("delivered in ") && tried.out.contains("thanks"), "{tried:?}");
    // Making it was told first.
    let kinds = [came.recv().unwrap(), came.recv().unwrap()].map(|(head, body)| {
        assert!(head.contains("webhook-signature: v1,"), "{head}");
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()["type"].clone()
    });
    assert!(kinds.contains(&json!("webhook.test")), "{kinds:?}");
    let sent = scene.json(&["webhook", "deliveries", &id]);
    let test = sent.as_array().unwrap().iter().find(|row| row["type"] == "webhook.test").unwrap();
    assert_eq!((&test["status"], &test["answerStatus"]), (&json!("delivered"), &json!(200)));
    let again = scene.ok(&["webhook", "redeliver", test["id"].as_str().unwrap()]);
    assert!(again.out.starts_with("delivered in "), "{again:?}");
    assert_eq!(scene.ok(&["webhook", "disable", &id]).out.trim(), format!("{id} is disabled"));
    let refused = scene.bugle(&["--json", "webhook", "test", &id]);
    assert_eq!(
        (refused.code, refused.error()["error"].clone()),
        (Some(3), json!("Webhook is disabled: enable it first"))
    );
    assert!(scene.ok(&["webhook", "show", &id]).out.contains("disabled (by_person)"));
    scene.ok(&["webhook", "enable", &id]);
    assert!(scene.ok(&["webhook", "rotate", &id]).out.contains("whsec_"));
    let unsure = scene.bugle(&["--json", "webhook", "remove", &id]);
    assert_eq!((unsure.code, unsure.error()["code"].clone()), (Some(2), json!("webhook_remove.unconfirmed")));
    assert_eq!(scene.ok(&["webhook", "remove", &id, "--yes"]).out.trim(), format!("removed {id}"));
    assert_eq!(scene.json(&["webhook", "list"]), json!([]));
    let wrong = scene.bugle(&["--json", "webhook", "add", "ftp://example.com"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(scene.ok(&["webhook", "trigger", "list"]).err.contains("bugle webhook trigger add AUTOMATION"));
    let unknown = scene.bugle(&["--json", "webhook", "trigger", "add", "deploy"]);
    assert_eq!(unknown.error()["error"], "there is no automation `deploy`");
}
