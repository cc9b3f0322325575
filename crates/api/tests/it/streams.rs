//! Streams: each event once and in order, over any number of reconnects; slow clients are let go and lose nothing.

use std::time::Duration;

use engine::FrameStream::{Stderr, Stdout};
use futures_util::{SinkExt, StreamExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::logs::{babble, said};
use crate::stage::{BOARD_TOKEN, Events, PATIENCE, Stage};

const EVENTS: i64 = 10_000;
const RECONNECTS: usize = 100;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn socket(stage: &Stage, company: &str, query: &str) -> Result<Socket, Error> {
    let url = format!("ws://{}/api/companies/{company}/events/ws{query}", stage.address);
    connect_async(url).await.map(|(socket, _)| socket)
}

/// A socket whose client's machine takes in little before it reads.
async fn narrow_socket(stage: &Stage, company: &str, query: &str) -> WebSocketStream<TcpStream> {
    let narrow = tokio::net::TcpSocket::new_v4().unwrap();
    narrow.set_recv_buffer_size(64 << 10).unwrap();
    let stream = narrow.connect(stage.address).await.unwrap();
    let url = format!("ws://{}/api/companies/{company}/events/ws{query}", stage.address);
    tokio_tungstenite::client_async(url, stream).await.unwrap().0
}

/// The next message of a socket that is an event.
async fn event(socket: &mut Socket) -> Option<Value> {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("the stream goes on")?.ok()? {
            Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// Appends events numbered from 0, a little ahead of who reads them: a server that has everything at hand sends all of
/// it on each connection, which costs time and shows nothing.
async fn produce(stage: &Stage, company: &str, mut read: watch::Receiver<i64>) {
    for batch in 0..EVENTS / 100 {
        read.wait_for(|read| *read + 800 > batch * 100).await.unwrap();
        let payloads = (0..100).map(|n| json!({ "n": batch * 100 + n }).to_string()).collect();
        stage.append_events(company, payloads).await;
    }
}

#[tokio::test]
async fn server_sent_events_come_once_and_in_order_over_a_hundred_reconnects() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let path = format!("/api/companies/{company}/events");
    let (progress, watched) = watch::channel(0);
    let read = async {
        let mut dice = StdRng::seed_from_u64(1);
        let (mut next, mut last) = (0, "0".to_owned());
        for connection in 0.. {
            let mut events = Events::open(&stage, &path, Some(last.clone())).await;
            let most = if connection < RECONNECTS { dice.random_range(0..150) } else { usize::MAX };
            for _ in 0..most {
                let event = events.next().await.expect("the stream goes on");
                let data = event.json();
                if next == 0 && event.name == "activity.logged" {
                    // That the company was made; told before the first of ours.
                    last = event.id.unwrap();
                    continue;
                }
                assert_eq!((event.name.as_str(), data["payload"]["n"].as_i64()), ("test.event", Some(next)));
                assert_eq!(data["companyId"], company);
                last = event.id.unwrap();
                assert_eq!(data["id"].to_string(), last);
                next += 1;
                progress.send_replace(next);
                if next == EVENTS {
                    return connection;
                }
            }
        }
        unreachable!()
    };
    let (connections, ()) = tokio::join!(read, produce(&stage, &company, watched));
    assert!(connections >= RECONNECTS, "{connections}");
    stage.end().await;
}

#[tokio::test]
async fn socket_frames_come_once_and_in_order_over_a_hundred_reconnects() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let (progress, watched) = watch::channel(0);
    let read = async {
        let mut dice = StdRng::seed_from_u64(2);
        let (mut next, mut last) = (0, 0);
        for connection in 0.. {
            let mut socket = socket(&stage, &company, &format!("?after={last}")).await.unwrap();
            let most = if connection < RECONNECTS { dice.random_range(0..150) } else { usize::MAX };
            for _ in 0..most {
                let event = event(&mut socket).await.expect("the stream goes on");
                if next == 0 && event["type"] == "activity.logged" {
                    last = event["id"].as_i64().unwrap();
                    continue;
                }
                assert_eq!(
                    (event["type"].as_str(), event["payload"]["n"].as_i64()),
                    (Some("test.event"), Some(next))
                );
                last = event["id"].as_i64().unwrap();
                next += 1;
                progress.send_replace(next);
                if next == EVENTS {
                    return connection;
                }
            }
        }
        unreachable!()
    };
    let (connections, ()) = tokio::join!(read, produce(&stage, &company, watched));
    assert!(connections >= RECONNECTS, "{connections}");
    stage.end().await;
}

#[tokio::test]
async fn a_log_is_streamed_once_and_in_order_over_a_hundred_reconnects() {
    let stage = Stage::new().await;
    let (company, _, run) = stage.with_run().await;
    let path = format!("/api/heartbeat-runs/{run}/log/stream");
    let (progress, mut watched) = watch::channel(0);
    let read = async {
        let mut dice = StdRng::seed_from_u64(3);
        let mut texts = [String::new(), String::new()];
        let mut last: Option<String> = None;
        for connection in 0.. {
            let mut events = Events::open(&stage, &path, last.clone()).await;
            let most = if connection < RECONNECTS { dice.random_range(0..60) } else { usize::MAX };
            for _ in 0..most {
                let event = events.next().await.expect("the stream goes on");
                let data = event.json();
                if event.name == "end" {
                    assert_eq!(data, json!({"status": "succeeded"}));
                    assert_eq!(events.next().await, None, "the stream ends with the run");
                    return (connection, texts);
                }
                assert_eq!(event.name, "log");
                if let (Some(last), Some(_)) = (&last, &event.id) {
                    assert_eq!(data["offset"].to_string(), *last, "pieces follow each other");
                }
                let which = usize::from(data["stream"] == "stderr");
                texts[which].push_str(data["chunk"].as_str().unwrap());
                progress.send_modify(|pieces| *pieces += 1);
                if let Some(id) = event.id {
                    assert_eq!(data["nextOffset"].to_string(), id);
                    last = Some(id);
                }
            }
        }
        unreachable!()
    };
    let print = async {
        let mut dice = StdRng::seed_from_u64(4);
        for part in 0..50 {
            // Ahead of the reader, but not by all there is.
            watched.wait_for(|pieces| *pieces + 600 > part * 100).await.unwrap();
            babble(&stage, &run, &mut dice, 100);
        }
        stage.puppets.end(&run, 0);
        stage.over(&company, &run).await;
    };
    let ((connections, texts), ()) = tokio::join!(read, print);
    assert!(connections >= RECONNECTS, "{connections}");
    assert!(texts[0] == said(&stage, &run, Stdout), "stdout is whole");
    assert!(texts[1] == said(&stage, &run, Stderr), "stderr is whole");
    stage.end().await;
}

#[tokio::test]
async fn a_stream_of_a_log_begins_before_the_run_does_and_shows_what_is_there_at_once() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let first = stage.wake(&agent, "a").await;
    let second = stage.wake(&agent, "b").await;
    stage.started(&first).await;
    let mut events = Events::open(&stage, &format!("/api/heartbeat-runs/{second}/log/stream"), None).await;
    stage.puppets.end(&first, 0);
    stage.started(&second).await;
    stage.puppets.say(&second, Stdout, b"no line end yet");
    let event = events.next().await.unwrap();
    assert_eq!(event.json()["chunk"], "no line end yet");
    stage.puppets.end(&second, 3);
    let end = events.next().await.unwrap();
    assert_eq!((end.name.as_str(), end.json()), ("end", json!({"status": "failed"})));
    stage.end().await;
}

#[tokio::test]
async fn output_is_told_live_without_disturbing_the_cursor() {
    let stage = Stage::new().await;
    let (company, _, run) = stage.with_run().await;
    let mut events = Events::open(&stage, &format!("/api/companies/{company}/events?after=0"), None).await;
    let mut last = None;
    loop {
        let event = events.next().await.unwrap();
        last = event.id.clone().or(last);
        if event.name == "heartbeat.run.status" && event.json()["payload"]["status"] == "running" {
            break;
        }
    }
    stage.puppets.say(&run, Stdout, b"hello\n");
    let line = loop {
        let event = events.next().await.unwrap();
        if event.name == "heartbeat.run.log" {
            break event;
        }
        assert!(event.id.is_some());
    };
    assert_eq!(line.id, None);
    assert_eq!((&line.json()["id"], &line.json()["payload"]["chunk"]), (&json!(0), &json!("hello\n")));
    assert!(last.unwrap().parse::<i64>().unwrap() > 0);
    stage.end().await;
}

#[tokio::test]
async fn a_slow_socket_is_closed_with_its_cursor_while_others_go_on() {
    let stage = Stage::with(|options| options.slow_client_after = Duration::from_secs(1)).await;
    let company = stage.company("Acme").await;
    let mut slow = narrow_socket(&stage, &company, "?after=0").await;
    let mut quick = socket(&stage, &company, "?after=0").await.unwrap();
    // More than both ends of a connection buffer.
    const COUNT: i64 = 160;
    let padding = "x".repeat(64 << 10);
    let produce = async {
        for batch in 0..COUNT / 20 {
            let payload = |n| json!({ "n": batch * 20 + n, "padding": padding }).to_string();
            stage.append_events(&company, (0..20).map(payload).collect()).await;
        }
    };
    let read = async {
        // That the company was made.
        assert_eq!(event(&mut quick).await.expect("it goes on")["type"], "activity.logged");
        for n in 0..COUNT {
            assert_eq!(event(&mut quick).await.expect("it goes on")["payload"]["n"], n);
        }
    };
    tokio::join!(produce, read);
    // The figures say when the slow one was given up.
    let metrics = async {
        loop {
            let text = stage.get("/metrics").await.text;
            if text.contains("bugle_subscribers{kind=\"websocket\"} 1\n") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, metrics).await.expect("the slow one is given up");
    let mut next = 0;
    let mut last = 0;
    let close = loop {
        match slow.next().await.expect("it is told to go").unwrap() {
            Message::Text(text) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                last = event["id"].as_i64().unwrap();
                if next == 0 && event["type"] == "activity.logged" {
                    continue;
                }
                assert_eq!(event["payload"]["n"], next);
                next += 1;
            }
            Message::Close(frame) => break frame.unwrap(),
            Message::Ping(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    };
    assert!(next < COUNT, "it did not get everything");
    assert_eq!(
        (u16::from(close.code), close.reason.as_str()),
        (1013, format!("too slow; resume with ?after={last}").as_str())
    );
    let mut again = socket(&stage, &company, &format!("?after={last}")).await.unwrap();
    for n in next..COUNT {
        assert_eq!(event(&mut again).await.expect("it goes on")["payload"]["n"], n);
    }
    stage.end().await;
}

#[tokio::test]
async fn a_socket_that_misses_a_pong_is_let_go_and_one_that_answers_stays() {
    let stage = Stage::with(|options| options.ping_every = Duration::from_millis(50)).await;
    let company = stage.company("Acme").await;
    let mut live = socket(&stage, &company, "").await.unwrap();
    let mut pings = 0;
    while pings < 4 {
        // Reading answers pings.
        if let Message::Ping(_) = tokio::time::timeout(PATIENCE, live.next()).await.unwrap().unwrap().unwrap()
        {
            pings += 1;
        }
    }
    let dead = socket(&stage, &company, "").await.unwrap();
    let gone = async {
        while !stage.get("/metrics").await.text.contains("bugle_subscribers{kind=\"websocket\"} 0\n") {}
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("both fell silent and are gone");
    drop((dead, live));
    stage.end().await;
}

#[tokio::test]
async fn sockets_are_as_careful_about_strangers_as_the_rest() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let status = async |query: &str, header: Option<(&'static str, &str)>| {
        let url = format!("ws://{}/api/companies/{company}/events/ws{query}", stage.address);
        let mut request = url.into_client_request().unwrap();
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((mut socket, _)) => {
                socket.close(None).await.unwrap();
                101
            }
            Err(Error::Http(answer)) => answer.status().as_u16(),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(status("", None).await, 101);
    assert_eq!(status("?token=nonsense", None).await, 401);
    assert_eq!(status(&format!("?token={BOARD_TOKEN}"), None).await, 101);
    assert_eq!(status("", Some(("authorization", "Bearer nonsense"))).await, 401);
    assert_eq!(status("", Some(("origin", "https://evil.example"))).await, 403);
    assert_eq!(status("", Some(("origin", "http://localhost:5173"))).await, 101);
    assert_eq!(status("?after=x", None).await, 400);
    let plain = stage.get(&format!("/api/companies/{company}/events/ws")).await;
    assert_eq!((plain.status, plain.refusal().1.as_str()), (400, "not_a_websocket"));
    stage.end().await;
}

#[tokio::test]
async fn what_a_socket_says_is_not_obeyed() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let mut talker = socket(&stage, &company, "").await.unwrap();
    talker.send(Message::text("{\"type\": \"delete everything\"}")).await.unwrap();
    stage.append_events(&company, vec!["{}".to_owned()]).await;
    assert_eq!(event(&mut talker).await.unwrap()["type"], "test.event");
    stage.end().await;
}

/// A stream that looks again at once whether it may go on.
async fn watchful() -> (Stage, String, String, String, String) {
    let stage = Stage::with(|options| options.recheck_every = Duration::from_millis(20)).await;
    let (company, agent, run) = stage.with_run().await;
    let made = stage.post(&format!("/api/agents/{agent}/keys"), json!({})).await.good();
    let revoke = format!("/api/agents/{agent}/keys/{}", made["id"].as_str().unwrap());
    (stage, company, run, made["token"].as_str().unwrap().to_owned(), revoke)
}

#[tokio::test]
async fn streams_end_when_their_key_is_revoked() {
    let (stage, company, run, key, revoke) = watchful().await;
    let other = stage.agent(&company, "Other", 1).await;
    let stays = stage.agent_key(&other).await;
    let open = async |path: String, key: &str| Events::open_as(&stage, &path, None, key).await;
    let mut events = open(format!("/api/companies/{company}/events"), &key).await;
    let mut log = open(format!("/api/heartbeat-runs/{run}/log/stream"), &key).await;
    let mut unharmed = open(format!("/api/companies/{company}/events"), &stays).await;
    let mut frames = socket(&stage, &company, &format!("?token={key}")).await.unwrap();
    stage.send(stage.http.delete(stage.url(&revoke))).await.good();
    for events in [&mut events, &mut log] {
        let last = loop {
            let event = events.next().await.expect("it is told to go");
            if event.name == "revoked" {
                break event;
            }
        };
        assert_eq!(last.json(), json!({"error": "Unauthorized"}));
        assert_eq!(events.next().await, None);
    }
    let close = loop {
        let message = tokio::time::timeout(PATIENCE, frames.next()).await.unwrap().unwrap().unwrap();
        if let Message::Close(frame) = message {
            break frame.unwrap();
        }
    };
    assert_eq!(u16::from(close.code), 1008, "{}", close.reason);
    stage.append_events(&company, vec!["{}".to_owned()]).await;
    while unharmed.next().await.expect("another key's stream goes on").name != "test.event" {}
    stage.end().await;
}
