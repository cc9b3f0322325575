//! A gateway that is none: it speaks the protocol as far as spec/heartbeat.md 9.5 tells, and plays a list of steps when an
//! agent is told to work. Signatures of devices are verified, and devices are paired.

use std::collections::BTreeSet;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::{Message, WebSocket};

const NONCE: &str = "nonce-7";
/// Far beyond anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What happens when the agent is told to work.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "two test programs use it, and not all of it each")]
pub(crate) enum Step {
    /// An event of the run.
    Event(&'static str, Value),
    /// An event of somebody else's run.
    Foreign(&'static str, Value),
    /// The answer to `agent`.
    Answer(Value),
    /// A refusal of `agent`.
    Refuse(&'static str),
    /// Waits until `agent.wait` comes.
    Wait,
    /// The answer to `agent.wait`.
    Waited(Value),
    /// A second answer to `agent`.
    Second(Value),
    /// Goes on when the test says so.
    Hold,
    /// Says nothing more, but takes orders to stop.
    Hang,
    Close(u16, &'static str),
    /// The connection is gone without a word.
    Drop,
    /// A text of so many bytes.
    Large(usize),
    /// Something that is no frame.
    Noise(&'static str),
}

/// How a gateway is.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    pub(crate) token: Option<&'static str>,
    pub(crate) password: Option<&'static str>,
    pub(crate) protocol: u64,
    /// A device is let in only after it was paired.
    pub(crate) pairs: bool,
    /// A refusal names the request to pair.
    pub(crate) names_request: bool,
    /// Says nothing at all after the upgrade.
    pub(crate) is_mute: bool,
    pub(crate) steps: Vec<Step>,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner {
            token: None,
            password: None,
            protocol: 3,
            pairs: false,
            names_request: false,
            is_mute: false,
            steps: Vec::new(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    asked: Vec<(String, Value)>,
    headers: Vec<(String, String)>,
    paired: BTreeSet<String>,
    pending: Vec<(String, String)>,
    connections: Vec<TcpStream>,
    released: usize,
    held: usize,
    is_closed: bool,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// Listens until it is dropped.
pub(crate) struct Gateway {
    at: SocketAddr,
    shared: Shared,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    pub(crate) fn open(manner: Manner) -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let shared = Shared::default();
        let state = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut talks = Vec::new();
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut locked = state.0.lock().unwrap();
                if locked.is_closed {
                    break;
                }
                locked.connections.push(stream.try_clone().unwrap());
                drop(locked);
                let (manner, state) = (manner.clone(), Arc::clone(&state));
                talks.push(std::thread::spawn(move || {
                    // A client that leaves in the middle ends the talk, whatever was to come.
                    let _ = Talk::hold(stream, manner, state);
                }));
            }
            for talk in talks {
                talk.join().unwrap();
            }
        });
        Gateway { at, shared, thread: Some(thread) }
    }

    /// One that plays these steps to everybody.
    pub(crate) fn playing(steps: Vec<Step>) -> Gateway {
        Gateway::open(Manner { steps, ..Manner::default() })
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.at)
    }

    /// The methods that were asked for, in order, with their parameters.
    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        self.shared.0.lock().unwrap().asked.clone()
    }

    pub(crate) fn methods(&self) -> Vec<String> {
        self.asked().into_iter().map(|(method, _)| method).collect()
    }

    /// The parameters of the last request of this method.
    pub(crate) fn params(&self, method: &str) -> Value {
        let asked = self.asked();
        let found = asked.iter().rev().find(|(own, _)| own == method);
        found.unwrap_or_else(|| panic!("nobody asked for {method}: {:?}", self.methods())).1.clone()
    }

    /// Waits until somebody asked for this.
    #[allow(dead_code, reason = "only one of two test programs waits")]
    pub(crate) fn until_asked(&self, method: &str) {
        let (lock, changed) = &*self.shared;
        let is_waiting = |state: &mut State| !state.asked.iter().any(|(own, _)| own == method);
        let (state, late) = changed.wait_timeout_while(lock.lock().unwrap(), PATIENCE, is_waiting).unwrap();
        drop(state);
        assert!(!late.timed_out(), "nobody asked for {method}");
    }

    /// The headers of the last upgrade, names in lower case.
    #[allow(dead_code, reason = "only one of two test programs looks at them")]
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let state = self.shared.0.lock().unwrap();
        state.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
    }

    /// Lets one more [`Step::Hold`] go on.
    #[allow(dead_code, reason = "only one of two test programs holds")]
    pub(crate) fn release(&self) {
        self.shared.0.lock().unwrap().released += 1;
        self.shared.1.notify_all();
    }

    /// Makes a request to pair of another device.
    #[allow(dead_code, reason = "only one of two test programs pairs")]
    pub(crate) fn stranger(&self) {
        let stranger = ("request-of-a-stranger".to_owned(), "stranger".to_owned());
        self.shared.0.lock().unwrap().pending.push(stranger);
    }

    #[allow(dead_code, reason = "only one of two test programs pairs")]
    pub(crate) fn paired(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().paired.iter().cloned().collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let mut state = self.shared.0.lock().unwrap();
        state.is_closed = true;
        for connection in &state.connections {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.1.notify_all();
        let _ = TcpStream::connect(self.at);
        let thread = self.thread.take();
        let ended = thread.map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

/// A connection of the fake; errors are those of a client that left.
struct Talk {
    socket: WebSocket<TcpStream>,
    manner: Manner,
    shared: Shared,
}

type Left = tungstenite::Error;

impl Talk {
    fn hold(stream: TcpStream, manner: Manner, shared: Shared) -> Result<(), Left> {
        let mut headers = Vec::new();
        #[allow(clippy::result_large_err, reason = "the signature is that of the library")]
        let look = |request: &Request, response: Response| {
            for (name, value) in request.headers() {
                headers.push((name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned()));
            }
            Ok(response)
        };
        let Ok(socket) = tungstenite::accept_hdr(stream, look) else { return Ok(()) };
        shared.0.lock().unwrap().headers = headers;
        let mut talk = Talk { socket, manner, shared };
        if talk.manner.is_mute {
            loop {
                talk.next()?;
            }
        }
        talk.say(&json!({ "type": "event", "event": "connect.challenge", "payload": { "nonce": NONCE } }))?;
        if !talk.let_in()? {
            return Ok(());
        }
        loop {
            let request = talk.next()?;
            match request["method"].as_str().unwrap_or_default() {
                "agent" => talk.play(&request)?,
                _ => talk.serve(&request)?,
            }
        }
    }

    fn say(&mut self, frame: &Value) -> Result<(), Left> {
        self.socket.send(Message::text(frame.to_string()))
    }

    /// The next request, which is remembered.
    fn next(&mut self) -> Result<Value, Left> {
        loop {
            match self.socket.read()? {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    assert_eq!((&frame["type"], frame["id"].is_string()), (&json!("req"), true), "{frame}");
                    let method = frame["method"].as_str().unwrap().to_owned();
                    self.shared.0.lock().unwrap().asked.push((method, frame["params"].clone()));
                    self.shared.1.notify_all();
                    return Ok(frame);
                }
                Message::Close(_) => return Err(Left::ConnectionClosed),
                _ => {}
            }
        }
    }

    fn accept(&mut self, request: &Value, payload: &Value) -> Result<(), Left> {
        self.say(&json!({ "type": "res", "id": request["id"], "ok": true, "payload": payload }))
    }

    fn refuse(&mut self, request: &Value, code: &str, words: &str, details: Value) -> Result<(), Left> {
        let error = json!({ "code": code, "message": words, "details": details });
        self.say(&json!({ "type": "res", "id": request["id"], "ok": false, "error": error }))
    }

    fn close(&mut self, code: u16, reason: &'static str) -> Result<(), Left> {
        self.socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() }))?;
        loop {
            self.socket.read()?;
        }
    }

    /// The hello; false when it turned somebody away.
    fn let_in(&mut self) -> Result<bool, Left> {
        let request = self.next()?;
        let params = &request["params"];
        let turned_away = self.objection(params);
        let Some((code, words, details, reason)) = turned_away else {
            let hello = json!({ "type": "hello-ok", "protocol": self.manner.protocol, "auth": { "deviceToken": "device-token-of-the-gateway" } });
            self.accept(&request, &hello)?;
            return Ok(true);
        };
        self.refuse(&request, code, &words, details)?;
        self.close(1008, reason)?;
        Ok(false)
    }

    fn objection(&mut self, params: &Value) -> Option<(&'static str, String, Value, &'static str)> {
        let plain = |code, words: &str, reason| Some((code, words.to_owned(), Value::Null, reason));
        if params["minProtocol"] != self.manner.protocol || params["maxProtocol"] != self.manner.protocol {
            return plain("INVALID_REQUEST", "protocol mismatch", "protocol mismatch");
        }
        let client = &params["client"];
        assert_eq!(
            (&client["id"], &client["mode"]),
            (&json!("gateway-client"), &json!("backend")),
            "{params}"
        );
        assert_eq!(
            (&client["version"], &params["role"]),
            (&json!("paperclip"), &json!("operator")),
            "{params}"
        );
        let auth = &params["auth"];
        if self.manner.token.is_some_and(|token| auth["token"] != token) {
            return plain("INVALID_REQUEST", "unauthorized: gateway token mismatch", "unauthorized");
        }
        if self.manner.password.is_some_and(|password| auth["password"] != password) {
            return plain("INVALID_REQUEST", "unauthorized: gateway password mismatch", "unauthorized");
        }
        let device = &params["device"];
        if device.is_object() {
            if let Err(why) = verified(params) {
                return plain("INVALID_REQUEST", &format!("device signature invalid: {why}"), "device");
            }
            let id = device["id"].as_str().unwrap().to_owned();
            let mut state = self.shared.0.lock().unwrap();
            if self.manner.pairs && !state.paired.contains(&id) {
                let request = format!("request-{}", state.pending.len() + 1);
                state.pending.push((request.clone(), id));
                let details =
                    if self.manner.names_request { json!({ "requestId": request }) } else { Value::Null };
                return Some(("NOT_PAIRED", "pairing required".to_owned(), details, "pairing required"));
            }
        } else if self.manner.pairs && self.manner.token.is_none() && self.manner.password.is_none() {
            return plain("NOT_PAIRED", "device identity required", "device");
        }
        None
    }

    /// Everything but `agent`.
    fn serve(&mut self, request: &Value) -> Result<(), Left> {
        match request["method"].as_str().unwrap_or_default() {
            "chat.abort" => self.accept(request, &json!({ "ok": true, "aborted": true })),
            "device.pair.list" => {
                let pending: Vec<Value> = self
                    .shared
                    .0
                    .lock()
                    .unwrap()
                    .pending
                    .iter()
                    .map(|(request, device)| json!({ "requestId": request, "deviceId": device }))
                    .collect();
                self.accept(request, &json!({ "pending": pending, "paired": [] }))
            }
            "device.pair.approve" => {
                let mut state = self.shared.0.lock().unwrap();
                let wanted = request["params"]["requestId"].clone();
                let found = state.pending.iter().position(|(id, _)| wanted == id.as_str());
                let device = found.map(|at| state.pending.remove(at).1);
                state.paired.extend(device.clone());
                drop(state);
                match device {
                    Some(_) => self.accept(request, &json!({ "requestId": wanted })),
                    None => self.refuse(request, "INVALID_REQUEST", "unknown requestId", Value::Null),
                }
            }
            other => {
                self.refuse(request, "INVALID_REQUEST", &format!("unknown method: {other}"), Value::Null)
            }
        }
    }

    fn play(&mut self, request: &Value) -> Result<(), Left> {
        let run = request["params"]["idempotencyKey"].clone();
        let event = |run: &Value, stream: &str, data: &Value| json!({ "type": "event", "event": "agent", "payload": { "runId": run, "stream": stream, "data": data } });
        let mut waiting = Value::Null;
        for step in self.manner.steps.clone() {
            match step {
                Step::Event(stream, data) => self.say(&event(&run, stream, &data))?,
                Step::Foreign(stream, data) => self.say(&event(&json!("another-run"), stream, &data))?,
                Step::Answer(payload) | Step::Second(payload) => self.accept(request, &payload)?,
                Step::Refuse(words) => self.refuse(request, "UNAVAILABLE", words, Value::Null)?,
                Step::Wait => loop {
                    let next = self.next()?;
                    if next["method"] == "agent.wait" {
                        waiting = next;
                        break;
                    }
                    self.serve(&next)?;
                },
                Step::Waited(payload) => self.accept(&waiting.clone(), &payload)?,
                Step::Hold => self.wait_for_release(),
                Step::Hang => loop {
                    let next = self.next()?;
                    if next["method"] != "agent.wait" {
                        self.serve(&next)?;
                    }
                },
                Step::Close(code, reason) => self.close(code, reason)?,
                Step::Drop => {
                    let _ = self.socket.get_ref().shutdown(Shutdown::Both);
                    return Err(Left::ConnectionClosed);
                }
                Step::Large(bytes) => {
                    self.say(&json!({ "type": "event", "event": "agent", "payload": "x".repeat(bytes) }))?
                }
                Step::Noise(text) => self.socket.send(Message::text(text))?,
            }
        }
        Ok(())
    }

    fn wait_for_release(&self) {
        let (lock, changed) = &*self.shared;
        let mut state = lock.lock().unwrap();
        state.held += 1;
        let mine = state.held;
        let is_waiting = |state: &mut State| state.released < mine && !state.is_closed;
        let (state, late) = changed.wait_timeout_while(state, PATIENCE, is_waiting).unwrap();
        drop(state);
        assert!(!late.timed_out(), "nobody let the agent go on");
    }
}

/// Looks whether a device is the one that it says.
fn verified(params: &Value) -> Result<(), String> {
    let (client, device) = (&params["client"], &params["device"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let key = URL_SAFE_NO_PAD.decode(text(&device["publicKey"])).map_err(|error| error.to_string())?;
    let id: String = Sha256::digest(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    if device["id"] != id.as_str() {
        return Err("the id is not that of the key".to_owned());
    }
    if device["nonce"] != NONCE {
        return Err("the nonce is not ours".to_owned());
    }
    let signed_at = device["signedAt"].as_i64().ok_or("no time")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    if i64::try_from(now).unwrap().abs_diff(signed_at) > 60_000 {
        return Err(format!("signed at {signed_at}"));
    }
    let scopes: Vec<String> = params["scopes"].as_array().unwrap().iter().map(text).collect();
    let claim = [
        "v3".to_owned(),
        id,
        text(&client["id"]),
        text(&client["mode"]),
        text(&params["role"]),
        scopes.join(","),
        signed_at.to_string(),
        text(&params["auth"]["token"]),
        NONCE.to_owned(),
        text(&client["platform"]),
        text(&client["deviceFamily"]),
    ];
    let signature = URL_SAFE_NO_PAD.decode(text(&device["signature"])).map_err(|error| error.to_string())?;
    UnparsedPublicKey::new(&ED25519, key)
        .verify(claim.join("|").as_bytes(), &signature)
        .map_err(|_| format!("not signed: {}", claim.join("|")))
}
