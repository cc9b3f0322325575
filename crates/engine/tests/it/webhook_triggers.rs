//! Requests from outside that start automations: proven, once for each event, and with their run in one commit.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::automation::AutomationStatus;
use domain::ids::{AutomationId, AutomationRunId, CompanyId};
use domain::webhook::proof::{Rejection, Scheme};
use domain::webhook::receipt::ReceiptStatus;
use engine::{
    Author, Engine, EngineError, Incoming, Knock, MadeTrigger, Received, Reception, SecretValue, Settings,
    TriggerDraft, TriggerPatch,
};
use ring::hmac;
use serde_json::{Value as Json, json};
use store::{p, sql};
use testkit::{World, both_stores};

const NOON: i64 = testkit::NOON.micros() / 1_000_000;
const SECRET: &str = "It's-a-Secret-to-Everybody";

/// A company with an automation, and a trigger of it.
struct Scene {
    company: CompanyId,
    automation: AutomationId,
    made: MadeTrigger,
}

fn definition(inputs: Json) -> Json {
    let objective =
        if inputs.get("webhook").is_some() { "look at {{ inputs.webhook.body }}" } else { "look" };
    json!({
        "name": "deploy", "inputs": inputs,
        "nodes": [{ "id": "work", "agent": "Speaker", "objective": objective }],
    })
}

fn draft(scheme: Scheme, secret: Option<&str>) -> TriggerDraft {
    TriggerDraft {
        automation: "deploy".to_owned(),
        name: None,
        scheme,
        secret: secret.map(|text| SecretValue::new(text.to_owned())),
        secret_header: None,
        input: None,
        headers: None,
        size_limit: None,
        rate_per_minute: None,
    }
}

impl Scene {
    async fn new(world: &World, engine: &Engine, draft: TriggerDraft) -> Scene {
        let by = Author::local_board();
        let company = world.agent(engine, 5).await.company_id;
        let inputs = json!({ "webhook": { "type": "object" } });
        let applied = engine.apply_automation(&company, &definition(inputs), false, &by).await.unwrap();
        let automation = applied.view.automation.id;
        engine.set_automation_status(&automation, AutomationStatus::Active, None, &by).await.unwrap();
        let made = engine.create_webhook_trigger(&company, draft, &by).await.unwrap();
        Scene { company, automation, made }
    }

    async fn come(&self, engine: &Engine, headers: BTreeMap<String, String>, body: &[u8]) -> Received {
        let Knock::Open(at) = engine.knock(self.made.reveal_token()).await.unwrap() else {
            panic!("too many come at the same time")
        };
        engine.receive(*at, Incoming { headers, body: body.to_vec() }).await.unwrap()
    }

    async fn send(&self, engine: &Engine, headers: BTreeMap<String, String>, body: &[u8]) -> Reception {
        match self.come(engine, headers, body).await {
            Received::Noted(reception) => *reception,
            Received::Wait(_) => panic!("too many came before"),
        }
    }

    /// Headers as a sender of the standard convention makes them.
    fn signed(&self, id: &str, seconds: i64, body: &[u8]) -> BTreeMap<String, String> {
        signed_with(self.made.reveal_secret(), id, seconds, body)
    }

    fn id(&self) -> &str {
        &self.made.view.trigger.id
    }

    async fn receipts(&self, engine: &Engine) -> Vec<(ReceiptStatus, Option<String>)> {
        let found = engine.webhook_receipts(self.id(), None, 100).await.unwrap();
        found.into_iter().rev().map(|receipt| (receipt.status, receipt.reason)).collect()
    }
}

fn signed_with(secret: &str, id: &str, seconds: i64, body: &[u8]) -> BTreeMap<String, String> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut message = format!("{id}.{seconds}.").into_bytes();
    message.extend_from_slice(body);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &message);
    headers(&[
        ("webhook-id", id),
        ("webhook-timestamp", &seconds.to_string()),
        ("webhook-signature", &format!("v1,{}", STANDARD.encode(tag))),
        ("content-type", "application/json"),
        ("x-private", "nobody asked for it"),
    ])
}

fn headers(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn github(body: &[u8], delivery: &str, event: &str) -> BTreeMap<String, String> {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), body);
    let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    headers(&[
        ("x-hub-signature-256", &format!("sha256={tag}")),
        ("x-github-delivery", delivery),
        ("x-github-event", event),
    ])
}

async fn runs(world: &World) -> i64 {
    let counted = world.read(|tx| {
        Box::pin(async move { tx.one_as::<(i64,)>(sql!("SELECT COUNT(*) FROM automation_runs"), p![]).await })
    });
    counted.await.unwrap().0
}

/// The inputs of the only run.
async fn inputs(world: &World) -> Json {
    let found = world.read(|tx| {
        Box::pin(
            async move { tx.one_as::<(String,)>(sql!("SELECT inputs FROM automation_runs"), p![]).await },
        )
    });
    serde_json::from_str(&found.await.unwrap().0).unwrap()
}

both_stores! {
    async fn a_signed_request_starts_a_run_once_however_often_it_comes(world) {
        let one = world.engine().await;
        let two = world.engine_with(Settings { node_id: "node-2".to_owned(), ..world.settings() }).await;
        let scene = Scene::new(&world, &one, draft(Scheme::Standard, None)).await;
        let body = br#"{"ref": "main", "text": "{{ run.id }} $(rm -rf /)"}"#;
        let headers = scene.signed("msg_1", NOON, body);
        let sent = (0..8).map(|at| {
            let engine = if at % 2 == 0 { &one } else { &two };
            scene.send(engine, headers.clone(), body)
        });
        let came = futures_util::future::join_all(sent).await;
        let statuses = |wanted| came.iter().filter(|it| it.receipt.status == wanted).count();
        assert_eq!((statuses(ReceiptStatus::Accepted), statuses(ReceiptStatus::Duplicate)), (1, 7));
        let run = came[0].receipt.automation_run_id.clone();
        assert!(run.is_some() && came.iter().all(|it| it.receipt.automation_run_id == run), "{came:?}");
        assert_eq!(runs(&world).await, 1);
        let accepted = came.iter().find(|it| it.receipt.status == ReceiptStatus::Accepted).unwrap();
        assert_eq!(one.webhook_body(&accepted.receipt.id).await.unwrap(), body, "kept as it came");
        // What came is data: nothing in it was read as a template, and only the named headers go on.
        let given = &inputs(&world).await["webhook"];
        assert_eq!(given["body"], json!({ "ref": "main", "text": "{{ run.id }} $(rm -rf /)" }));
        assert_eq!(given["headers"], json!({ "content-type": "application/json", "webhook-id": "msg_1" }));
        assert_eq!((&given["eventId"], &given["receiptId"]), (&json!("msg_1"), &json!(accepted.receipt.id)));
        let other = scene.send(&two, scene.signed("msg_1", NOON, b"{}"), b"{}").await;
        assert_eq!(other.receipt.status, ReceiptStatus::Rejected);
        assert_eq!(other.receipt.reason.as_deref(), Some(Rejection::IdReused.as_str()));
        // Weeks later, and signed anew.
        world.clock.advance(Duration::from_secs(20 * 86_400));
        let late = scene.send(&one, scene.signed("msg_1", NOON + 20 * 86_400, body), body).await;
        assert_eq!((late.receipt.status, late.receipt.automation_run_id), (ReceiptStatus::Duplicate, run));
        assert_eq!(runs(&world).await, 1);
        one.leave().await;
        two.leave().await;
    }

    async fn what_is_not_proven_starts_nothing_and_is_not_kept(world) {
        let engine = world.engine().await;
        let scene = Scene::new(&world, &engine, draft(Scheme::Standard, None)).await;
        let body = b"{}";
        let good = scene.signed("m", NOON, body);
        let without = |name: &str| {
            let mut headers = good.clone();
            headers.remove(name);
            headers
        };
        let foreign = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for (headers, sent, why) in [
            (without("webhook-signature"), &b"{}"[..], Rejection::MissingHeader),
            (without("webhook-id"), b"{}", Rejection::MissingHeader),
            (good.clone(), b"{ }", Rejection::WrongSignature),
            (good.clone(), b"", Rejection::WrongSignature),
            (signed_with(foreign, "m", NOON, body), b"{}", Rejection::WrongSignature),
            (scene.signed("m", NOON - 301, body), b"{}", Rejection::OldTimestamp),
            (scene.signed("m", NOON + 302, body), b"{}", Rejection::FutureTimestamp),
        ] {
            let refused = scene.send(&engine, headers, sent).await.receipt;
            assert_eq!((refused.status, refused.reason.as_deref()), (ReceiptStatus::Rejected, Some(why.as_str())));
            assert!(engine.webhook_body(&refused.id).await.is_err(), "no body of {why} is kept");
        }
        assert_eq!(runs(&world).await, 0);
        let unknown = engine.knock("guessed").await.unwrap_err();
        assert!(matches!(unknown, EngineError::NotFound("Webhook")), "{unknown}");
        // None of them used the id up.
        assert_eq!(scene.send(&engine, good, body).await.receipt.status, ReceiptStatus::Accepted);
        let told = world.read(|tx| Box::pin(async move { store::audit::page(tx, 0, 100).await })).await;
        let told = format!("{told:?}");
        assert!(!told.contains("whsec_") && !told.contains(scene.made.reveal_token()), "{told}");
        engine.leave().await;
    }

    async fn an_old_secret_proves_until_its_time_is_over(world) {
        let engine = world.engine().await;
        let scene = Scene::new(&world, &engine, draft(Scheme::Standard, None)).await;
        let by = Author::local_board();
        let hour = Duration::from_secs(3_600);
        let rotated = engine.rotate_trigger_secret(scene.id(), None, Some(hour), &by).await.unwrap();
        let new = rotated.reveal().to_owned();
        let send = async |secret: &str, id: &str, seconds| {
            scene.send(&engine, signed_with(secret, id, seconds, b"{}"), b"{}").await.receipt.status
        };
        assert_eq!(send(scene.made.reveal_secret(), "a", NOON).await, ReceiptStatus::Accepted);
        assert_eq!(send(&new, "b", NOON).await, ReceiptStatus::Accepted);
        world.clock.advance(hour);
        assert_eq!(send(scene.made.reveal_secret(), "c", NOON + 3_600).await, ReceiptStatus::Rejected);
        assert_eq!(send(&new, "c", NOON + 3_600).await, ReceiptStatus::Accepted);
        engine.leave().await;
    }

    async fn github_and_shared_secrets_are_understood(world) {
        let engine = world.engine().await;
        let scene = Scene::new(&world, &engine, draft(Scheme::Github, Some(SECRET))).await;
        let ping = scene.send(&engine, github(b"{}", "d0", "ping"), b"{}").await.receipt;
        assert_eq!((ping.status, ping.automation_run_id), (ReceiptStatus::Received, None));
        let push = scene.send(&engine, github(b"[1]", "d1", "push"), b"[1]").await.receipt;
        assert_eq!(push.status, ReceiptStatus::Accepted);
        let again = scene.send(&engine, github(b"[1]", "d1", "push"), b"[1]").await.receipt;
        assert_eq!((again.status, again.duplicate_of), (ReceiptStatus::Duplicate, Some(push.id)));
        let given = &inputs(&world).await["webhook"]["headers"];
        assert_eq!(given, &json!({ "x-github-delivery": "d1", "x-github-event": "push" }));

        let shared = TriggerDraft {
            secret_header: Some("x-gitlab-token".to_owned()),
            ..draft(Scheme::SharedSecret, Some(SECRET))
        };
        let made = engine.create_webhook_trigger(&scene.company, shared, &Author::local_board()).await.unwrap();
        let scene = Scene { made, ..scene };
        let shown = |secret: &str| headers(&[("x-gitlab-token", secret)]);
        let sent = async |secret: &str, body: &[u8]| scene.send(&engine, shown(secret), body).await.receipt.status;
        assert_eq!(sent("guessed", b"x=1").await, ReceiptStatus::Rejected);
        assert_eq!(sent(SECRET, b"x=1").await, ReceiptStatus::Accepted);
        assert_eq!(sent(SECRET, b"x=1").await, ReceiptStatus::Duplicate);
        assert_eq!(sent(SECRET, b"x=2").await, ReceiptStatus::Accepted);
        world.clock.advance(Duration::from_secs(301));
        assert_eq!(sent(SECRET, b"x=1").await, ReceiptStatus::Accepted, "the window is over: it is another event");
        // Whoever knows the secret says which event it is.
        for (id, status) in [
            ("k1", ReceiptStatus::Accepted), ("k2", ReceiptStatus::Accepted), ("k2", ReceiptStatus::Duplicate),
        ] {
            let named = headers(&[("x-gitlab-token", SECRET), ("idempotency-key", id)]);
            assert_eq!(scene.send(&engine, named, b"{}").await.receipt.status, status, "{id}");
        }
        engine.leave().await;
    }

    async fn what_cannot_be_started_is_refused_on_record_and_may_come_again(world) {
        let engine = world.engine().await;
        let by = Author::local_board();
        let scene = Scene::new(&world, &engine, draft(Scheme::Standard, None)).await;
        let send = async || scene.send(&engine, scene.signed("m", NOON, b"{}"), b"{}").await;
        engine.set_automation_status(&scene.automation, AutomationStatus::Paused, None, &by).await.unwrap();
        assert_eq!(send().await.receipt.reason.as_deref(), Some("automation_paused"));
        engine.set_automation_status(&scene.automation, AutomationStatus::Active, None, &by).await.unwrap();
        let off = TriggerPatch { is_enabled: Some(false), ..TriggerPatch::default() };
        engine.patch_webhook_trigger(scene.id(), off, &by).await.unwrap();
        assert_eq!(send().await.receipt.status, ReceiptStatus::Disabled);
        let on = TriggerPatch { is_enabled: Some(true), ..TriggerPatch::default() };
        engine.patch_webhook_trigger(scene.id(), on, &by).await.unwrap();
        // The definition has lost the input since.
        let lost = engine.apply_automation(&scene.company, &definition(json!({})), false, &by).await.unwrap();
        assert_eq!(lost.warnings.len(), 1, "{:?}", lost.warnings);
        assert!(lost.warnings[0].contains(scene.id()) && lost.warnings[0].contains("input `webhook`"));
        let refused = send().await;
        assert_eq!(refused.receipt.status, ReceiptStatus::Failed);
        assert!(refused.refusal.unwrap().contains("inputs.webhook: is not an input of this automation"));
        let shown = engine.webhook_trigger(scene.id()).await.unwrap();
        assert_eq!(shown.obstacle, Some(Rejection::InputRefused), "the list says so before anybody sends");
        assert_eq!(runs(&world).await, 0, "a receipt without its run is none that was accepted");
        let inputs = json!({ "webhook": { "type": "object" } });
        let found = engine.apply_automation(&scene.company, &definition(inputs), false, &by).await.unwrap();
        assert_eq!(found.warnings, [] as [String; 0]);
        assert_eq!(send().await.receipt.status, ReceiptStatus::Accepted);
        let statuses: Vec<_> = scene.receipts(&engine).await.into_iter().map(|(status, _)| status).collect();
        use ReceiptStatus::{Accepted, Disabled, Failed, Rejected};
        assert_eq!(statuses, [Rejected, Disabled, Failed, Accepted]);
        engine.delete_webhook_trigger(scene.id(), &by).await.unwrap();
        assert!(engine.knock(scene.made.reveal_token()).await.is_err());
        assert_eq!(runs(&world).await, 1);
        engine.leave().await;
    }

    async fn a_trigger_goes_on_with_the_automation_that_has_the_name(world) {
        let engine = world.engine().await;
        let by = Author::local_board();
        let scene = Scene::new(&world, &engine, draft(Scheme::Standard, None)).await;
        let send = async |id: &str| scene.send(&engine, scene.signed(id, NOON, b"{}"), b"{}").await.receipt;
        let listed = async || engine.webhook_triggers(&scene.company).await.unwrap().remove(0);
        assert_eq!(listed().await.obstacle, None);
        engine.remove_automation(&scene.automation, &by).await.unwrap();
        let refused = send("b").await;
        let why = Some(Rejection::AutomationRemoved);
        assert_eq!(
            (refused.status, refused.reason.as_deref()),
            (ReceiptStatus::Rejected, why.map(Rejection::as_str))
        );
        let gone = listed().await;
        assert_eq!((gone.automation.as_str(), gone.obstacle), ("deploy", why));
        // Another one of another name is nobody's heir.
        let mut other = definition(json!({ "webhook": { "type": "object" } }));
        other["name"] = json!("release");
        engine.apply_automation(&scene.company, &other, false, &by).await.unwrap();
        assert_eq!(send("b").await.reason.as_deref(), Some("automation_removed"));

        let inputs = json!({ "webhook": { "type": "object" } });
        let applied = engine.apply_automation(&scene.company, &definition(inputs), false, &by).await.unwrap();
        let heir = applied.view.automation.id;
        assert_ne!(heir, scene.automation);
        let bound = listed().await;
        assert_eq!((&bound.trigger.automation_id, bound.obstacle), (&heir, None));
        // What was refused used no id up.
        let taken = send("b").await;
        assert_eq!(taken.status, ReceiptStatus::Accepted, "{taken:?}");
        let run = taken.automation_run_id.unwrap();
        let started = engine.automation_run(&AutomationRunId::from(run.as_str())).await.unwrap();
        assert_eq!(started.run.automation_id, heir);
        let again = send("b").await;
        assert_eq!((again.status, again.automation_run_id), (ReceiptStatus::Duplicate, Some(run)));
        engine.set_automation_status(&heir, AutomationStatus::Paused, None, &by).await.unwrap();
        assert_eq!(send("c").await.reason.as_deref(), Some("automation_paused"));
        assert_eq!(listed().await.obstacle, Some(Rejection::AutomationPaused));
        engine.leave().await;
    }

    async fn too_many_wait_and_what_is_old_goes(world) {
        let engine = world.engine().await;
        let few = TriggerDraft { rate_per_minute: Some(2), ..draft(Scheme::Standard, None) };
        let scene = Scene::new(&world, &engine, few).await;
        for id in ["a", "b"] {
            scene.send(&engine, scene.signed(id, NOON, b"{}"), b"{}").await;
        }
        let third = scene.come(&engine, scene.signed("c", NOON, b"{}"), b"{}").await;
        let Received::Wait(wait) = third else { panic!("a third came through") };
        assert!(wait > Duration::from_secs(29) && wait <= Duration::from_secs(30), "{wait:?}");
        assert_eq!(scene.receipts(&engine).await.len(), 2);
        let first = engine.webhook_receipts(scene.id(), None, 9).await.unwrap().remove(1);
        assert!(engine.webhook_body(&first.id).await.is_ok());
        world.clock.advance(Duration::from_secs(31 * 86_400));
        engine.nudge();
        world.eventually("the body is gone", || async { engine.webhook_body(&first.id).await.err() }).await;
        assert!(engine.webhook_receipt(&first.id).await.is_ok());
        world.clock.advance(Duration::from_secs(365 * 86_400));
        engine.nudge();
        world.eventually("the receipt is gone", || async { engine.webhook_receipt(&first.id).await.err() }).await;
        engine.leave().await;
    }

    async fn who_proves_nothing_takes_nothing_from_the_sender(world) {
        let engine = world.engine().await;
        let few = TriggerDraft { rate_per_minute: Some(2), ..draft(Scheme::Standard, None) };
        let scene = Scene::new(&world, &engine, few).await;
        let foreign = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let mut waits = 0;
        for number in 0..9 {
            let wrong = signed_with(foreign, &format!("w{number}"), NOON, b"{}");
            match scene.come(&engine, wrong, b"{}").await {
                Received::Noted(noted) => assert_eq!(noted.receipt.status, ReceiptStatus::Rejected),
                Received::Wait(_) => waits += 1,
            }
        }
        assert_eq!(waits, 7, "no more of them are noted than the trigger takes");
        for id in ["a", "b"] {
            let taken = scene.send(&engine, scene.signed(id, NOON, b"{}"), b"{}").await;
            assert_eq!(taken.receipt.status, ReceiptStatus::Accepted);
        }
        let third = scene.come(&engine, scene.signed("c", NOON, b"{}"), b"{}").await;
        assert!(matches!(third, Received::Wait(_)), "{third:?}");
        // Nor are bodies noted that do not come whole, beyond that.
        let token = scene.made.reveal_token();
        let Knock::Open(at) = engine.knock(token).await.unwrap() else { panic!("nobody else is there") };
        engine.reject(&at, Rejection::BodyLost).await.unwrap();
        assert_eq!(scene.receipts(&engine).await.len(), 4);
        let mut inside = vec![at];
        let wait = loop {
            match engine.knock(token).await.unwrap() {
                Knock::Open(at) => inside.push(at),
                Knock::Wait(wait) => break wait,
            }
        };
        assert_eq!((inside.len(), wait), (128, Duration::from_secs(1)));
        inside.pop();
        assert!(matches!(engine.knock(token).await.unwrap(), Knock::Open(_)));
        engine.leave().await;
    }

    async fn a_recorded_request_of_github_starts_nothing_under_another_id(world) {
        let engine = world.engine().await;
        let scene = Scene::new(&world, &engine, draft(Scheme::Github, Some(SECRET))).await;
        let body = br#"{"ref": "main"}"#;
        let first = scene.send(&engine, github(body, "d1", "push"), body).await.receipt;
        assert_eq!(first.status, ReceiptStatus::Accepted);
        world.clock.advance(Duration::from_secs(40 * 86_400));
        let mut nameless = github(body, "d1", "push");
        nameless.remove("x-github-delivery");
        for headers in [github(body, "d2", "push"), nameless] {
            let again = scene.send(&engine, headers, body).await.receipt;
            assert_eq!(
                (again.status, again.duplicate_of.as_ref(), &again.automation_run_id),
                (ReceiptStatus::Duplicate, Some(&first.id), &first.automation_run_id)
            );
        }
        let other = scene.send(&engine, github(b"[2]", "d1", "push"), b"[2]").await.receipt;
        assert_eq!(other.reason.as_deref(), Some(Rejection::IdReused.as_str()));
        assert_eq!(runs(&world).await, 1);
        engine.leave().await;
    }

    async fn a_form_of_github_reaches_the_run_as_the_json_in_it(world) {
        let engine = world.engine().await;
        let scene = Scene::new(&world, &engine, draft(Scheme::Github, Some(SECRET))).await;
        let body = b"payload=%7B%22ref%22%3A+%22refs%2Fheads%2Fmain%22%7D";
        let mut headers = github(body, "d1", "push");
        headers.insert("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned());
        let taken = scene.send(&engine, headers, body).await.receipt;
        assert_eq!(taken.status, ReceiptStatus::Accepted);
        assert_eq!(inputs(&world).await["webhook"]["body"], json!({ "ref": "refs/heads/main" }));
        assert_eq!(engine.webhook_body(&taken.id).await.unwrap(), body, "kept as it came");
        engine.leave().await;
    }

    async fn what_cannot_be_a_trigger_is_refused_by_its_field(world) {
        let engine = world.engine().await;
        let scene = Scene::new(&world, &engine, draft(Scheme::Standard, None)).await;
        let good = || draft(Scheme::SharedSecret, Some(SECRET));
        for (wrong, path) in [
            (TriggerDraft { input: Some("event".to_owned()), ..good() }, "input"),
            (TriggerDraft { size_limit: Some(0), ..good() }, "sizeLimit"),
            (TriggerDraft { size_limit: Some(9 << 20), ..good() }, "sizeLimit"),
            (TriggerDraft { rate_per_minute: Some(0), ..good() }, "ratePerMinute"),
            (TriggerDraft { headers: Some(vec!["authorization".to_owned()]), ..good() }, "headers.0"),
            (
                TriggerDraft {
                    secret_header: Some("x-token".to_owned()),
                    headers: Some(vec!["x-token".to_owned()]),
                    ..good()
                },
                "headers.0",
            ),
            (TriggerDraft { secret_header: Some("X Token".to_owned()), ..good() }, "secretHeader"),
            (draft(Scheme::Github, Some("short")), "secret"),
            (draft(Scheme::Standard, Some(SECRET)), "secret"),
        ] {
            let by = Author::local_board();
            let refused = engine.create_webhook_trigger(&scene.company, wrong, &by).await.unwrap_err();
            let EngineError::Invalid(problems) = refused else { panic!("{path}: {refused}") };
            assert_eq!(problems[0].path, path);
        }
        let unknown = TriggerDraft { automation: "none".to_owned(), ..good() };
        let refused = engine.create_webhook_trigger(&scene.company, unknown, &Author::local_board()).await;
        assert!(matches!(refused.unwrap_err(), EngineError::NotFound("Automation")));
        assert_eq!(engine.webhook_triggers(&scene.company).await.unwrap().len(), 1);
        engine.leave().await;
    }
}
