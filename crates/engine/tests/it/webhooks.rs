//! Events that leave: signed, at least once, under one id, and to nobody who must not be reached.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ids::CompanyId;
use domain::webhook::delivery::{DeliveryStatus, DisabledReason};
use domain::webhook::place::Reach;
use domain::webhook::turn;
use engine::{Author, EndpointDraft, EndpointPatch, Engine, EngineError, SecretDraft, SecretValue, Settings};
use futures_util::{StreamExt, stream};
use ring::hmac;
use serde_json::{Value as Json, json};
use store::webhooks::deliveries::Delivery;
use testkit::{Server, World, both_stores};
use tokio::sync::{mpsc, oneshot};

/// Long enough to be known in any form.
const TODAY: &str = "canary-of-today-and-of-tomorrow";
const KIND: &str = "automation.run.created";

/// What came.
#[derive(Debug)]
struct Request {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn id(&self) -> &str {
        self.header("webhook-id")
    }

    fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether one of its signatures is of this secret, as a receiver would check it.
    fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let mut message = format!("{}.{}.", self.id(), self.header("webhook-timestamp")).into_bytes();
        message.extend_from_slice(&self.body);
        self.header("webhook-signature").split(' ').any(|one| {
            let shown = STANDARD.decode(one.strip_prefix("v1,").unwrap()).unwrap();
            hmac::verify(&key, &message, &shown).is_ok()
        })
    }
}

/// How the next request is answered.
enum Reply {
    Status(u16),
    With(u16, &'static str, String),
    Text(u16, String),
    /// And then never an end.
    Begun(u16, &'static str),
    /// Never.
    Silence,
}

#[derive(Clone)]
struct Shelf {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    came: mpsc::UnboundedSender<Request>,
}

/// A server that keeps what comes, and answers as it was told; with nothing more to say it is content.
struct Receiver {
    url: String,
    shelf: Shelf,
    came: mpsc::UnboundedReceiver<Request>,
    _closing: oneshot::Sender<()>,
}

impl Receiver {
    async fn start() -> Receiver {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (came_in, came) = mpsc::unbounded_channel();
        let shelf = Shelf { replies: Arc::default(), came: came_in };
        let app = axum::Router::new().fallback(take).with_state(shelf.clone());
        let (closing, closed) = oneshot::channel::<()>();
        tokio::spawn(async move {
            tokio::select! {
                served = async { axum::serve(listener, app).await } => served.unwrap(),
                _ = closed => {}
            }
        });
        Receiver { url, shelf, came, _closing: closing }
    }

    fn answers(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shelf.replies.lock().unwrap().extend(replies);
    }

    async fn next(&mut self) -> Request {
        tokio::time::timeout(testkit::patience(), self.came.recv()).await.expect("a request comes").unwrap()
    }

    /// What came and was not looked at.
    fn rest(&mut self) -> usize {
        std::iter::from_fn(|| self.came.try_recv().ok()).count()
    }
}

async fn take(State(shelf): State<Shelf>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let reply = shelf.replies.lock().unwrap().pop_front().unwrap_or(Reply::Status(200));
    shelf.came.send(Request { path: uri.path().to_owned(), headers, body }).unwrap();
    let of = |status| StatusCode::from_u16(status).unwrap();
    match reply {
        Reply::Status(status) => of(status).into_response(),
        Reply::With(status, name, value) => (of(status), [(name, value)]).into_response(),
        Reply::Text(status, text) => (of(status), text).into_response(),
        Reply::Begun(status, text) => {
            let begun = stream::iter([Ok::<_, std::io::Error>(text)]).chain(stream::pending());
            (of(status), Body::from_stream(begun)).into_response()
        }
        Reply::Silence => std::future::pending().await,
    }
}

fn nearby(world: &World) -> Settings {
    Settings { webhook_reach: Reach::Private, ..world.settings() }
}

fn draft(url: &str, events: &[&str]) -> EndpointDraft {
    EndpointDraft {
        url: url.to_owned(),
        events: events.iter().map(|event| (*event).to_owned()).collect(),
        description: None,
        secret: None,
    }
}

/// An endpoint that hears of automations; its id and its secret.
async fn endpoint(engine: &Engine, company: &CompanyId, url: &str) -> (String, String) {
    let by = Author::local_board();
    let made = engine.create_webhook(company, draft(url, &["automation.*"]), &by).await.unwrap();
    (made.made.id.clone(), made.reveal().to_owned())
}

/// Something happens in a company, and readers see it: on PostgreSQL they wait for transactions that began before.
async fn happens(world: &World, company: &CompanyId, kind: &'static str, payload: Json) {
    let now = testkit::NOON.micros();
    let event = (company.clone(), payload.to_string());
    let written = world.store.write({
        let event = event.clone();
        move |tx| {
            let (company, payload) = event.clone();
            Box::pin(async move { store::events::append(tx, company.as_str(), kind, &payload, now).await })
        }
    });
    written.await.unwrap();
    let seen = world.eventually("what happened is seen", || {
        let (company, payload) = event.clone();
        let read = world.read(move |tx| {
            let company = company.clone();
            Box::pin(async move { store::events::after(tx, Some(company.as_str()), 0, 1_000).await })
        });
        async move { read.await.iter().any(|event| event.payload == payload).then_some(()) }
    });
    seen.await;
}

/// The only delivery of an endpoint, when it is so.
async fn delivery(world: &World, endpoint: &str, what: &str, so: impl Fn(&Delivery) -> bool) -> Delivery {
    let found = world.eventually(what, || {
        let id = endpoint.to_owned();
        let so = &so;
        let listed = world.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::webhooks::deliveries::list(tx, &id, None, 9).await })
        });
        async move { listed.await.into_iter().next().filter(so) }
    });
    found.await
}

async fn tried(world: &World, endpoint: &str, attempts: i64) -> Delivery {
    delivery(world, endpoint, "the delivery was tried", |it| it.attempts == attempts && it.lease.is_none())
        .await
}

both_stores! {
    async fn what_happens_is_sent_signed_to_whoever_hears_it(world) {
        let engine = world.engine_with(nearby(&world)).await;
        let mut receiver = Receiver::start().await;
        let company = world.company(&engine).await;
        happens(&world, &company, KIND, json!({ "runId": "before" })).await;
        let (id, secret) = endpoint(&engine, &company, &receiver.url).await;
        happens(&world, &company, "activity.other", json!({})).await;
        happens(&world, &company, KIND, json!({ "runId": "r1", "words": "ä" })).await;
        engine.nudge();
        let came = receiver.next().await;
        assert_eq!((came.path.as_str(), came.header("content-type")), ("/hook", "application/json"));
        assert!(came.header("user-agent").starts_with("bugle/"));
        assert!(came.is_signed_with(&secret) && !came.is_signed_with("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
        let seconds: i64 = came.header("webhook-timestamp").parse().unwrap();
        assert_eq!(seconds, testkit::NOON.micros() / 1_000_000);
        let body = came.json();
        assert_eq!((&body["type"], &body["data"]), (&json!(KIND), &json!({ "runId": "r1", "words": "ä" })));
        assert_eq!((&body["timestamp"], &body["companyId"]), (&json!("2026-01-01T12:00:00.000Z"), &json!(company)));
        let sent = delivery(&world, &id, "it is delivered", |it| it.status == DeliveryStatus::Delivered).await;
        assert_eq!((sent.id.as_str(), sent.event_id), (came.id(), body["eventId"].as_i64()));
        assert_eq!((sent.attempts, sent.answer_status), (1, Some(200)));
        assert_eq!(receiver.rest(), 0, "nothing else was heard");
        // Both secrets sign while the receiver changes over.
        let rotated = engine.rotate_webhook_secret(&id, None, None, &Author::local_board()).await.unwrap();
        engine.test_webhook(&id, &Author::local_board()).await.unwrap();
        let test = receiver.next().await;
        assert_eq!((&test.json()["type"], &test.json()["eventId"]), (&json!("webhook.test"), &Json::Null));
        assert!(test.is_signed_with(&secret) && test.is_signed_with(rotated.reveal()));
        engine.leave().await;
    }

    async fn what_was_not_taken_is_tried_again_under_its_id(world) {
        let engine = world.engine_with(nearby(&world)).await;
        let mut receiver = Receiver::start().await;
        let company = world.company(&engine).await;
        let (id, secret) = endpoint(&engine, &company, &receiver.url).await;
        receiver.answers([
            Reply::Text(500, "x".repeat(10_000)),
            Reply::With(429, "retry-after", "1000".to_owned()),
            Reply::Text(200, "thanks\0".to_owned()),
        ]);
        happens(&world, &company, KIND, json!({})).await;
        engine.nudge();
        let first = receiver.next().await;
        let waits = tried(&world, &id, 1).await;
        assert_eq!((waits.status, waits.answer_status), (DeliveryStatus::Pending, Some(500)));
        assert_eq!(waits.answer.map(|text| text.len()), Some(4_096), "an answer is cut");
        assert!(engine.webhook(&id).await.unwrap().failing_since.is_some());
        world.clock.advance(Duration::from_secs(7));
        engine.nudge();
        let second = receiver.next().await;
        let waits = tried(&world, &id, 2).await;
        let wait = waits.due_at.unwrap().since(testkit::NOON);
        assert!(wait >= Duration::from_secs(1_000), "the receiver said when: {wait:?}");
        world.clock.advance(Duration::from_secs(1_001));
        engine.nudge();
        let third = receiver.next().await;
        let done = tried(&world, &id, 3).await;
        assert_eq!((done.status, done.answer.as_deref()), (DeliveryStatus::Delivered, Some("thanks\u{fffd}")));
        assert_eq!((first.id(), second.id()), (third.id(), third.id()));
        assert_eq!(first.body, third.body);
        assert!(third.is_signed_with(&secret), "signed anew, with its own time");
        assert_ne!(first.header("webhook-timestamp"), third.header("webhook-timestamp"));
        assert!(engine.webhook(&id).await.unwrap().failing_since.is_none());
        // By hand, once more.
        let again = engine.redeliver(&done.id, &Author::local_board()).await.unwrap();
        assert_eq!((again.status, again.attempts), (DeliveryStatus::Pending, 0));
        assert_eq!(receiver.next().await.id(), done.id);
        engine.leave().await;
    }

    async fn a_server_that_dies_before_it_heard_the_answer_sends_it_again_under_the_same_id(world) {
        let mut receiver = Receiver::start().await;
        let server = Server::start(&world, nearby(&world)).await;
        let (url, of) = (receiver.url.clone(), world.clone());
        let (company, id) = server.call(move |engine| async move {
            let company = of.company(&engine).await;
            let (id, _) = endpoint(&engine, &company, &url).await;
            (company, id)
        }).await;
        receiver.answers([Reply::Silence]);
        happens(&world, &company, KIND, json!({})).await;
        server.call(|engine| async move { engine.nudge() }).await;
        let first = receiver.next().await;
        server.kill(&world).await;
        // Whoever comes next waits until nobody can have it any more.
        let engine = world.engine_with(nearby(&world)).await;
        engine.nudge();
        assert_eq!(receiver.rest(), 0);
        world.clock.advance(Duration::from_secs(61));
        engine.nudge();
        let second = receiver.next().await;
        assert_eq!((first.id(), &first.body), (second.id(), &second.body));
        let done = tried(&world, &id, 1).await;
        assert_eq!(done.status, DeliveryStatus::Delivered);
        engine.leave().await;
    }

    async fn two_servers_on_one_store_send_each_event_once(world) {
        let one = world.engine_with(nearby(&world)).await;
        let two = world.engine_with(Settings { node_id: "node-2".to_owned(), ..nearby(&world) }).await;
        let mut receiver = Receiver::start().await;
        let company = world.company(&one).await;
        endpoint(&one, &company, &receiver.url).await;
        const MANY: usize = 30;
        for number in 0..MANY {
            happens(&world, &company, KIND, json!({ "number": number })).await;
            if number % 3 == 0 {
                one.nudge();
                two.nudge();
            }
        }
        one.nudge();
        two.nudge();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..MANY {
            let came = receiver.next().await;
            assert!(seen.insert(came.json()["data"]["number"].as_u64()), "{:?} twice", came.json());
        }
        one.leave().await;
        two.leave().await;
        assert_eq!(receiver.rest(), 0);
    }

    async fn redirects_are_not_followed_and_slow_answers_are_none(world) {
        let settings = Settings { webhook_limit: Duration::from_secs(3), ..nearby(&world) };
        let engine = world.engine_with(settings).await;
        let mut receiver = Receiver::start().await;
        let company = world.company(&engine).await;
        let (id, _) = endpoint(&engine, &company, &receiver.url).await;
        let elsewhere = receiver.url.replace("/hook", "/elsewhere");
        receiver.answers([Reply::With(307, "location", elsewhere), Reply::Silence]);
        happens(&world, &company, KIND, json!({})).await;
        engine.nudge();
        assert_eq!(receiver.next().await.path, "/hook");
        let moved = tried(&world, &id, 1).await;
        assert_eq!((moved.status, moved.answer_status), (DeliveryStatus::Pending, Some(307)));
        world.clock.advance(Duration::from_secs(7));
        engine.nudge();
        assert_eq!(receiver.next().await.path, "/hook");
        let slow = tried(&world, &id, 2).await;
        assert_eq!((slow.status, slow.answer_status), (DeliveryStatus::Pending, None));
        assert!(slow.error.unwrap().starts_with("gave no answer within"));
        assert_eq!(receiver.rest(), 0);
        engine.leave().await;
    }

    async fn an_answer_counts_as_soon_as_its_status_is_there(world) {
        let settings = Settings { webhook_limit: Duration::from_secs(600), ..nearby(&world) };
        let engine = world.engine_with(settings).await;
        let mut receiver = Receiver::start().await;
        let company = world.company(&engine).await;
        let (id, _) = endpoint(&engine, &company, &receiver.url).await;
        receiver.answers([Reply::Begun(200, "well, ")]);
        happens(&world, &company, KIND, json!({})).await;
        engine.nudge();
        receiver.next().await;
        let done = tried(&world, &id, 1).await;
        assert_eq!((done.status, done.answer_status), (DeliveryStatus::Delivered, Some(200)));
        assert_eq!(done.answer.as_deref(), Some("well, "), "as far as it came");
        engine.leave().await;
    }

    async fn as_many_endpoints_as_hang_another_one_gets_its_turn(world) {
        const BACKLOG: usize = 5;
        let settings = Settings { webhook_limit: Duration::from_secs(2), ..nearby(&world) };
        let engine = world.engine_with(settings).await;
        let mut hanging = Receiver::start().await;
        let company = world.company(&engine).await;
        hanging.answers((0..turn::PLACES * BACKLOG).map(|_| Reply::Silence));
        for _ in 0..turn::PLACES {
            endpoint(&engine, &company, &hanging.url).await;
        }
        for number in 0..BACKLOG {
            happens(&world, &company, KIND, json!({ "number": number })).await;
        }
        engine.nudge();
        for _ in 0..turn::PLACES {
            hanging.next().await;
        }
        // The last one by its id, too.
        world.clock.advance(Duration::from_secs(1));
        let mut good = Receiver::start().await;
        let rival = world.company(&engine).await;
        endpoint(&engine, &rival, &good.url).await;
        happens(&world, &rival, KIND, json!({ "for": "the rival" })).await;
        engine.nudge();
        assert_eq!(good.next().await.json()["data"], json!({ "for": "the rival" }));
        let came = hanging.rest();
        assert!(came <= 2 * turn::PLACES, "{came} others were tried again first");
        engine.leave().await;
    }

    async fn machines_nearby_are_not_reached_whatever_their_name(world) {
        let engine = world.engine_with(world.settings()).await;
        let mut receiver = Receiver::start().await;
        let company = world.company(&engine).await;
        let named = receiver.url.replace("127.0.0.1", "localhost");
        let mapped = receiver.url.replace("127.0.0.1", "[::ffff:127.0.0.1]");
        let other = receiver.url.replace("127.0.0.1", "0x7f.1");
        for url in [receiver.url.clone(), named, mapped, other] {
            let (id, _) = endpoint(&engine, &company, &url).await;
            engine.test_webhook(&id, &Author::local_board()).await.unwrap();
            let refused = tried(&world, &id, 1).await;
            let error = refused.error.unwrap();
            assert!(error.contains("must not be reached from here"), "{url}: {error}");
        }
        assert_eq!(receiver.rest(), 0);
        engine.leave().await;
    }

    async fn an_endpoint_that_is_gone_or_fails_for_days_gets_nothing_more_and_people_are_told(world) {
        let engine = world.engine_with(nearby(&world)).await;
        let mut receiver = Receiver::start().await;
        let company = world.company(&engine).await;
        let (gone, _) = endpoint(&engine, &company, &format!("{}?key=hush", receiver.url)).await;
        receiver.answers([Reply::Status(410)]);
        happens(&world, &company, KIND, json!({})).await;
        engine.nudge();
        receiver.next().await;
        let over = delivery(&world, &gone, "it is over", |it| it.status == DeliveryStatus::Failed).await;
        assert_eq!(over.answer_status, Some(410));
        let off = engine.webhook(&gone).await.unwrap();
        assert_eq!((off.is_enabled, off.disabled_reason), (false, Some(DisabledReason::Gone)));
        let items = engine.inbox(&company, None, 9).await.unwrap().items;
        assert_eq!((items.len(), items[0].kind.as_str(), items[0].cause.as_str()), (1, "webhook_disabled", "gone"));
        assert!(items[0].title.contains("?key=***") && !format!("{items:?}").contains("hush"));
        for refused in [
            engine.test_webhook(&gone, &Author::local_board()).await.unwrap_err(),
            engine.redeliver(&over.id, &Author::local_board()).await.unwrap_err(),
        ] {
            assert!(refused.to_string().contains("enable it first"), "{refused}");
        }
        engine.delete_webhook(&gone, &Author::local_board()).await.unwrap();
        assert!(engine.inbox(&company, None, 9).await.unwrap().items.is_empty());

        let (failing, _) = endpoint(&engine, &company, &receiver.url).await;
        receiver.answers([Reply::Status(500), Reply::Status(500)]);
        happens(&world, &company, KIND, json!({})).await;
        engine.nudge();
        receiver.next().await;
        tried(&world, &failing, 1).await;
        world.clock.advance(Duration::from_secs(5 * 86_400 + 1));
        engine.nudge();
        receiver.next().await;
        delivery(&world, &failing, "it is over", |it| it.status == DeliveryStatus::Failed).await;
        assert_eq!(engine.webhook(&failing).await.unwrap().disabled_reason, Some(DisabledReason::Failing));
        happens(&world, &company, KIND, json!({ "while": "off" })).await;
        engine.nudge();
        let on = EndpointPatch { is_enabled: Some(true), ..EndpointPatch::default() };
        engine.patch_webhook(&failing, on, &Author::local_board()).await.unwrap();
        assert!(engine.inbox(&company, None, 9).await.unwrap().items.is_empty());
        happens(&world, &company, KIND, json!({ "while": "on" })).await;
        engine.nudge();
        assert_eq!(receiver.next().await.json()["data"], json!({ "while": "on" }));
        let told = world.read(|tx| Box::pin(async move { store::audit::page(tx, 0, 100).await })).await;
        let actions: Vec<(&str, &str)> = told
            .iter()
            .filter(|entry| entry.action.starts_with("webhook."))
            .map(|entry| (entry.action.as_str(), entry.actor.as_str()))
            .collect();
        let (board, system) = ("user:local-board", "system:webhooks");
        assert_eq!(actions, [
            ("webhook.created", board), ("webhook.disabled", system), ("webhook.deleted", board),
            ("webhook.created", board), ("webhook.disabled", system), ("webhook.updated", board),
        ]);
        assert!(!format!("{told:?}").contains("hush") && !format!("{told:?}").contains("whsec_"));
        engine.leave().await;
    }

    async fn no_stored_value_leaves(world) {
        let engine = world.engine_with(nearby(&world)).await;
        let mut receiver = Receiver::start().await;
        let company = world.company(&engine).await;
        let by = Author::local_board();
        let (id, secret) = endpoint(&engine, &company, &receiver.url).await;
        for (name, value) in [("a", "canary-in-the-store"), ("b", "canary \"quoted\" too")] {
            let draft = SecretDraft {
                name: name.to_owned(),
                value: SecretValue::new(value.to_owned()),
                provider: "local_encrypted".to_owned(),
                description: None,
                external_ref: None,
            };
            let made = engine.create_secret(&company, draft, &by).await.unwrap();
            if name == "a" {
                engine.rotate_secret(&made.id, SecretValue::new(TODAY.to_owned()), None, &by).await.unwrap();
            }
        }
        let words = format!("canary-in-the-store, {TODAY}, canary \"quoted\" too, {secret}");
        receiver.answers([Reply::Text(500, format!("you sent {TODAY}: {words}"))]);
        happens(&world, &company, KIND, json!({ "words": words, "base64": STANDARD.encode(TODAY) })).await;
        engine.nudge();
        let came = receiver.next().await;
        let text = String::from_utf8(came.body.to_vec()).unwrap();
        for hidden in ["canary", "whsec_", &STANDARD.encode(TODAY)[..12]] {
            assert!(!text.contains(hidden), "{hidden} in {text}");
        }
        assert!(came.is_signed_with(&secret), "what is signed is what is sent");
        let kept = tried(&world, &id, 1).await.answer.unwrap();
        assert!(!kept.contains("canary") && !kept.contains("whsec_"), "{kept}");
        engine.leave().await;
    }

    async fn what_cannot_be_an_endpoint_is_refused_by_its_field(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let by = Author::local_board();
        let with_secret = |text: &str| EndpointDraft {
            secret: Some(SecretValue::new(text.to_owned())),
            ..draft("https://example.com", &["*"])
        };
        for (wrong, path) in [
            (draft("ftp://example.com", &["*"]), "url"),
            (draft("https://user:pass@example.com", &["*"]), "url"),
            (draft("http://169.254.169.254/latest", &["*"]), "url"),
            (draft("http://[fe80::1]/", &["*"]), "url"),
            (draft("http://0/", &["*"]), "url"),
            (draft("https://example.com", &[]), "events"),
            (draft("https://example.com", &["*", "Run.*"]), "events.1"),
            (draft("https://example.com", &["automation.*", "bogus.event"]), "events.1"),
            (with_secret("whsec_c2hvcnQ="), "secret"),
        ] {
            let refused = engine.create_webhook(&company, wrong, &by).await.unwrap_err();
            let EngineError::Invalid(problems) = refused else { panic!("{refused}") };
            assert_eq!(problems[0].path, path);
            assert!(!format!("{problems:?}").contains("pass@"));
        }
        assert!(engine.webhooks(&company).await.unwrap().is_empty());
        let made = engine.create_webhook(&company, draft("https://example.com?k=v", &["*"]), &by).await.unwrap();
        let masked = EndpointPatch { url: Some("https://example.com?k=***".to_owned()), ..EndpointPatch::default() };
        let refused = engine.patch_webhook(&made.made.id, masked, &by).await.unwrap_err();
        assert!(matches!(refused, EngineError::Invalid(_)), "{refused}");
        engine.leave().await;
    }
}
