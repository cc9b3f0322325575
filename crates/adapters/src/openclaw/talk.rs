//! Talking to a gateway: the hello with its challenge and its signature, then requests and their answers.
//!
//! What comes between a request and its answer is handed to whoever asks. When to say what is the driver's business.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use super::device::{Claim, Device};
use super::wire::{Break, Place, Wire};
use super::words::{Auth, Line, logged};
use crate::scripted::system::Mailbox;

/// The only version of the protocol that is spoken here.
const PROTOCOL: u32 = 3;
const CLIENT_ID: &str = "gateway-client";
const CLIENT_MODE: &str = "backend";
const CLIENT_VERSION: &str = "paperclip";
const ROLE: &str = "operator";
pub(super) const ADMIN: &str = "operator.admin";
pub(super) const PAIRING: &str = "operator.pairing";

/// Why a request has no answer, or not the one that was hoped for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// The gateway refuses.
    Refused { words: String, details: Value },
    /// No answer came in time.
    Late(String),
    /// There is no connection.
    Gone(String),
    /// A signal came.
    Stopped,
}

impl Fault {
    pub(super) fn words(&self) -> &str {
        match self {
            Fault::Refused { words, .. } | Fault::Late(words) | Fault::Gone(words) => words,
            Fault::Stopped => "it was stopped",
        }
    }

    /// What was asked for may have been begun all the same.
    pub(super) fn is_silent(&self) -> bool {
        !matches!(self, Fault::Refused { .. })
    }
}

/// As whom a connection introduces itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visitor<'a> {
    pub(super) device: Option<&'a Device>,
    pub(super) family: Option<&'a str>,
    pub(super) scopes: &'a [&'a str],
}

/// One connection to a gateway.
#[derive(Debug)]
pub(super) struct Talk {
    wire: Wire,
    /// Where lines for the log go.
    tell: fn(&Line),
}

impl Talk {
    pub(super) fn open(
        place: &Place,
        headers: &[(String, String)],
        until: Instant,
        tell: fn(&Line),
    ) -> Result<Talk, Fault> {
        match Wire::open(place, headers, until) {
            Ok(wire) => Ok(Talk { wire, tell }),
            Err(why) => Err(fault(why, "the connection")),
        }
    }

    /// Waits for the challenge; returns its nonce.
    pub(super) fn challenge(&mut self, until: Instant) -> Result<String, Fault> {
        loop {
            let frame = self.wire.next(until).map_err(|why| fault(why, "the challenge"))?;
            if frame["type"] != "event" || frame["event"] != "connect.challenge" {
                continue;
            }
            let nonce = frame["payload"]["nonce"].as_str().map(str::trim).filter(|nonce| !nonce.is_empty());
            return nonce
                .map(str::to_owned)
                .ok_or_else(|| Fault::Gone("the gateway's challenge has no nonce".to_owned()));
        }
    }

    /// Answers the challenge.
    pub(super) fn enter(
        &mut self,
        nonce: &str,
        auth: &Auth,
        visitor: Visitor<'_>,
        until: Instant,
    ) -> Result<(), Fault> {
        let platform = platform();
        let family = visitor.family.map(str::to_lowercase).unwrap_or_default();
        let mut client =
            json!({ "id": CLIENT_ID, "version": CLIENT_VERSION, "platform": platform, "mode": CLIENT_MODE });
        if !family.is_empty() {
            client["deviceFamily"] = json!(family);
        }
        let mut params = json!({
            "minProtocol": PROTOCOL, "maxProtocol": PROTOCOL, "client": client, "role": ROLE,
            "scopes": visitor.scopes,
        });
        if !auth.is_nothing() {
            params["auth"] = json!(auth);
        }
        if let Some(device) = visitor.device {
            let signed_at_ms = now_ms();
            let signature = device.sign(&Claim {
                client_id: CLIENT_ID,
                client_mode: CLIENT_MODE,
                role: ROLE,
                scopes: visitor.scopes,
                signed_at_ms,
                token: auth.token.as_deref().unwrap_or_default(),
                nonce,
                platform,
                family: &family,
            });
            params["device"] = json!({
                "id": device.id(), "publicKey": device.public_key(), "signature": signature,
                "signedAt": signed_at_ms, "nonce": nonce,
            });
        }
        self.ask("connect", params, until, &mut |_| {}).map(drop)
    }

    /// Sends a request and waits for its answer; every other frame goes to `hear`.
    pub(super) fn ask(
        &mut self,
        method: &str,
        params: Value,
        until: Instant,
        hear: &mut dyn FnMut(&Value),
    ) -> Result<Value, Fault> {
        let id = self.send(method, params, until)?;
        self.answer(&id, method, until, hear)
    }

    /// Sends a request; returns its id.
    pub(super) fn send(&mut self, method: &str, params: Value, until: Instant) -> Result<String, Fault> {
        let id = uuid::Builder::from_random_bytes(random()?).into_uuid().to_string();
        (self.tell)(&Line::Sent { method: method.to_owned(), params: logged(&params) });
        let frame = json!({ "type": "req", "id": id, "method": method, "params": params });
        self.wire.send(&frame, until).map_err(|why| fault(why, method))?;
        Ok(id)
    }

    /// Waits for the answer to a request.
    pub(super) fn answer(
        &mut self,
        id: &str,
        method: &str,
        until: Instant,
        hear: &mut dyn FnMut(&Value),
    ) -> Result<Value, Fault> {
        loop {
            let frame = self.wire.next(until).map_err(|why| fault(why, method))?;
            if frame["type"] != "res" || frame["id"] != id {
                hear(&frame);
                continue;
            }
            let (method, error) = (method.to_owned(), &frame["error"]);
            if frame["ok"] == true {
                let payload = &frame["payload"];
                (self.tell)(&Line::Answered { method, payload: logged(payload), error: Value::Null });
                return Ok(payload.clone());
            }
            (self.tell)(&Line::Answered { method, payload: Value::Null, error: logged(error) });
            let text =
                |value: &Value| value.as_str().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
            let words = text(&error["message"])
                .or_else(|| text(&error["code"]))
                .unwrap_or_else(|| "the gateway refuses and gives no reason".to_owned());
            return Err(Fault::Refused { words, details: error["details"].clone() });
        }
    }

    /// Hears whatever comes, until `hear` says that it is enough, or no more comes.
    pub(super) fn listen(&mut self, until: Instant, hear: &mut dyn FnMut(&Value) -> bool) {
        while let Ok(frame) = self.wire.next(until) {
            if hear(&frame) {
                return;
            }
        }
    }

    /// Lets signals interrupt it from now on.
    pub(super) fn heed(&mut self, mailbox: Mailbox) {
        self.wire.heed(mailbox);
    }

    pub(super) fn close(self) {
        self.wire.close();
    }
}

fn fault(why: Break, what: &str) -> Fault {
    match why {
        Break::Late => Fault::Late(format!("timeout: the gateway gave no answer in time ({what})")),
        Break::Signal => Fault::Stopped,
        Break::Gone(words) => Fault::Gone(words),
    }
}

/// Random bytes of the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Fault::Gone("the system gives no random bytes".to_owned())),
    }
}

/// The name of this system as gateways know it.
fn platform() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

fn now_ms() -> i64 {
    let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
