//! The program `bugle openclaw-run`: holds the conversation of one run with a gateway, and prints what is said.
//!
//! It needs no server: one that is restarted reads on in the log. One thread waits for everything. A signal that comes
//! while the agent is at work asks the gateway to stop the run, as far as that takes two seconds; before that it simply
//! ends this program. Nothing is told twice: what a lost answer means is decided by the run's settlement.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::device::Device;
use super::talk::{ADMIN, Fault, PAIRING, Talk, Visitor, random};
use super::wire::{Place, WrongUrl};
use super::words::{DeviceKey, Failed, Job, Line, code};
use crate::scripted::system::{Disposition, Mailbox, dispose};

/// The first argument under which the `bugle` executable becomes this program.
pub const OPENCLAW_RUN: &str = "openclaw-run";

/// It was asked to stop, as shells say it.
const STOPPED: u8 = 128 + 15;
/// A gateway may take this long to stop a run.
const STOPS: Duration = Duration::from_secs(2);
/// The result may come so long after the word that the run is over.
const LINGERS: Duration = Duration::from_secs(2);
const REFUSED_TO_PAIR: &str = "pairing required";

/// Runs the agent that the line on stdin describes; 0 = the gateway says that it is done.
pub fn openclaw_run() -> ExitCode {
    match read_job().and_then(|job| converse(&job)) {
        Ok(Over::Done(line)) => {
            print(&line);
            ExitCode::SUCCESS
        }
        Ok(Over::Stopped) => ExitCode::from(STOPPED),
        Err(failed) => {
            print(&Line::Failed(failed));
            ExitCode::FAILURE
        }
    }
}

enum Over {
    Done(Line),
    Stopped,
}

fn read_job() -> Result<Job, Failed> {
    let mut input = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut input).map_err(|error| error.to_string());
    let job = read.and_then(|_| serde_json::from_slice(&input).map_err(|error| error.to_string()));
    job.map_err(|error| failure(code::REQUEST_FAILED, format!("the job cannot be read: {error}")))
}

fn converse(job: &Job) -> Result<Over, Failed> {
    let place = place(&job.url)?;
    if place.is_open_to_all() {
        let words =
            "everybody on the way can read what is said: the gateway is elsewhere and its address is ws://";
        print(&Line::Note(words.to_owned()));
    }
    let device = match &job.device {
        DeviceKey::Off => None,
        DeviceKey::Pem(pem) => Some(Device::of_pem(pem).ok_or_else(|| {
            failure(code::REQUEST_FAILED, "devicePrivateKeyPem is no Ed25519 key in PKCS #8".to_owned())
        })?),
        DeviceKey::New => match random() {
            Ok(seed) => Some(Device::of_seed(&seed)),
            Err(fault) => return Err(failed(&fault, false)),
        },
    };
    let caller = Caller { job, place, device };
    let begun = match caller.begin() {
        Err(Begun { fault, was_told: false }) if caller.may_pair(&fault) => {
            caller.pair(&fault).map_err(|why| {
                let words = format!("{}; approving the device failed: {}", fault.words(), why.words());
                failure(code::PAIRING_REQUIRED, words)
            })?;
            caller.begin()
        }
        begun => begun,
    };
    match begun {
        Ok((conversation, first)) => conversation.finish(first),
        Err(Begun { fault: Fault::Stopped, .. }) => Ok(Over::Stopped),
        Err(Begun { fault, was_told }) => Err(failed(&fault, was_told && fault.is_silent())),
    }
}

fn place(url: &str) -> Result<Place, Failed> {
    if url.trim().is_empty() {
        return Err(failure(code::URL_MISSING, "the address of the gateway (url) is missing".to_owned()));
    }
    Place::of(url).map_err(|wrong| {
        let code = if wrong == WrongUrl::Protocol { code::URL_PROTOCOL } else { code::URL_INVALID };
        failure(code, format!("the address of the gateway {}: {}", wrong.message(), wrong.hint()))
    })
}

/// Whoever calls the gateway for a run.
struct Caller<'a> {
    job: &'a Job,
    place: Place,
    device: Option<Device>,
}

/// A beginning that failed.
struct Begun {
    fault: Fault,
    /// The agent was told to work.
    was_told: bool,
}

impl Caller<'_> {
    fn answers(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.job.answer_ms)
    }

    fn connect(&self, device: Option<&Device>, scopes: &[&str]) -> Result<Talk, Fault> {
        let until = self.answers();
        let mut talk = Talk::open(&self.place, &self.job.headers, until, print)?;
        let nonce = talk.challenge(until)?;
        let visitor = Visitor { device, family: self.job.device_family.as_deref(), scopes };
        talk.enter(&nonce, &self.job.auth, visitor, until)?;
        Ok(talk)
    }

    /// Tells the agent to work; returns the first answer.
    fn begin(&self) -> Result<(Conversation<'_>, Value), Begun> {
        let before = |fault| Begun { fault, was_told: false };
        let after = |fault| Begun { fault, was_told: true };
        let mut talk = self.connect(self.device.as_ref(), &[ADMIN]).map_err(before)?;
        print(&Line::Note(format!("connected to {}", self.place.shown())));
        // From here on there is something to be stopped.
        talk.heed(mailbox().map_err(|error| before(Fault::Gone(format!("signals: {error}"))))?);
        let until = self.answers();
        let params = Value::Object(self.job.params.clone());
        let id = talk.send("agent", params, until).map_err(after)?;
        let mut heard = Heard { runs: vec![self.job.run_id.clone()], asked: id.clone(), ..Heard::default() };
        let first = talk.answer(&id, "agent", until, &mut |frame| heard.hear(frame));
        let mut conversation = Conversation { job: self.job, talk, heard };
        match first {
            Ok(first) => Ok((conversation, first)),
            Err(fault) => {
                if matches!(fault, Fault::Stopped | Fault::Late(_)) {
                    conversation.abort(&self.job.run_id);
                }
                Err(after(fault))
            }
        }
    }

    fn may_pair(&self, fault: &Fault) -> bool {
        let is_asked = fault.words().to_lowercase().contains(REFUSED_TO_PAIR);
        is_asked && self.device.is_some() && self.job.pairs_itself && self.job.auth.is_shared()
    }

    /// Approves this run's own device, and no other: a gateway may have strangers waiting.
    fn pair(&self, fault: &Fault) -> Result<(), Fault> {
        let Some(device) = &self.device else { return Err(fault.clone()) };
        print(&Line::Note(format!("the gateway does not know the device {}: approving it", device.id())));
        let mut talk = self.connect(None, &[ADMIN, PAIRING])?;
        let until = self.answers();
        let request = match request_in(fault) {
            Some(request) => request,
            None => {
                let list = talk.ask("device.pair.list", json!({}), until, &mut |_| {})?;
                let mut pending = list["pending"].as_array().into_iter().flatten();
                let own = pending.rfind(|it| it["deviceId"] == device.id().as_str());
                own.and_then(|it| it["requestId"].as_str()).map(str::to_owned).ok_or_else(|| {
                    Fault::Gone("the gateway has no request of this device to approve".to_owned())
                })?
            }
        };
        talk.ask("device.pair.approve", json!({ "requestId": request }), until, &mut |_| {})?;
        talk.close();
        Ok(())
    }
}

/// The name of the request to pair, where the refusal gives it.
fn request_in(fault: &Fault) -> Option<String> {
    if let Fault::Refused { details, .. } = fault
        && let Some(id) = details["requestId"].as_str().map(str::trim).filter(|id| !id.is_empty())
    {
        return Some(id.to_owned());
    }
    let words = fault.words();
    let at = words.to_ascii_lowercase().find("requestid")?;
    let behind = words.get(at + "requestid".len()..)?.trim_start_matches([':', '=', ' ', '"', '\'']);
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    let id = &behind[..behind.find(|letter| !is_part(letter)).unwrap_or(behind.len())];
    (!id.is_empty()).then(|| id.to_owned())
}

/// What came beside the answers.
#[derive(Debug, Default)]
struct Heard {
    /// The names that the run goes by.
    runs: Vec<String>,
    /// The request that told the agent to work.
    asked: String,
    /// Why the run failed, in the words of its events.
    failure: Option<String>,
    /// A second answer to that request: gateways send one with the result.
    second: Option<Value>,
}

impl Heard {
    fn hear(&mut self, frame: &Value) {
        if frame["type"] == "res" && frame["id"] == self.asked.as_str() {
            self.second = Some(frame["payload"].clone());
            if frame["ok"] != true {
                self.failure = words_in(frame).or(self.failure.take());
            }
            return;
        }
        let payload = &frame["payload"];
        let is_ours = payload["runId"].as_str().is_some_and(|run| self.runs.iter().any(|own| own == run));
        if frame["type"] != "event" || frame["event"] != "agent" || !is_ours {
            return;
        }
        let stream = payload["stream"].as_str().unwrap_or("unknown");
        let data = &payload["data"];
        let phase = data["phase"].as_str().unwrap_or_default();
        let is_failure =
            stream == "error" || stream == "lifecycle" && matches!(phase, "error" | "failed" | "cancelled");
        if is_failure {
            self.failure = words_in(data).or(self.failure.take());
        }
        print(&Line::event(stream, data));
    }
}

/// The words of a failure, wherever a gateway puts them.
fn words_in(data: &Value) -> Option<String> {
    let text = |value: &Value| {
        let text = value.as_str().or_else(|| value["message"].as_str())?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    ["error", "message", "summary"].iter().find_map(|key| text(&data[*key]))
}

/// A run that the agent was told of.
struct Conversation<'a> {
    job: &'a Job,
    talk: Talk,
    heard: Heard,
}

impl Conversation<'_> {
    fn finish(mut self, first: Value) -> Result<Over, Failed> {
        match status(&first) {
            "ok" => {
                self.talk.close();
                return Ok(Over::Done(Line::done(&json!({ "status": "ok", "accepted": first }))));
            }
            "error" => {
                let words = words_in(&first).or(self.heard.failure.take());
                return Err(failure(code::AGENT_ERROR, said(words, "the agent reported an error")));
            }
            _ => {}
        }
        let run = first["runId"].as_str().map_or_else(|| self.job.run_id.clone(), str::to_owned);
        self.heard.runs.push(run.clone());
        let wait = Duration::from_millis(self.job.wait_ms);
        let until = Instant::now() + wait + Duration::from_millis(self.job.answer_ms);
        let params = json!({ "runId": run, "timeoutMs": self.job.wait_ms });
        let (talk, heard) = (&mut self.talk, &mut self.heard);
        let waited = match talk.ask("agent.wait", params, until, &mut |frame| heard.hear(frame)) {
            Ok(waited) => waited,
            Err(Fault::Stopped) => {
                self.abort(&run);
                return Ok(Over::Stopped);
            }
            Err(fault) => {
                if matches!(fault, Fault::Late(_)) {
                    self.abort(&run);
                }
                return Err(failed(&fault, true));
            }
        };
        match status(&waited) {
            "ok" => {
                let has_result = |it: &Value| it.get("result").is_some() || it.get("meta").is_some();
                if !has_result(&first) && !has_result(&waited) && self.heard.second.is_none() {
                    let heard = &mut self.heard;
                    self.talk.listen(Instant::now() + LINGERS, &mut |frame| {
                        heard.hear(frame);
                        heard.second.is_some()
                    });
                }
                self.talk.close();
                let second = self.heard.second.take();
                let all = json!({ "status": "ok", "accepted": first, "waited": waited, "second": second });
                Ok(Over::Done(Line::done(&all)))
            }
            "timeout" => {
                self.abort(&run);
                let words = format!("the agent was not done within {} ms", self.job.wait_ms);
                Err(Failed { may_go_on: true, ..failure(code::WAIT_TIMEOUT, words) })
            }
            "error" => {
                let words = words_in(&waited).or(self.heard.failure.take());
                Err(failure(code::WAIT_ERROR, said(words, "the run failed at the gateway")))
            }
            other => {
                let words =
                    format!("the gateway says `{other}` of the run, which is no status that is known");
                Err(Failed { may_go_on: true, ..failure(code::WAIT_STATUS_UNEXPECTED, words) })
            }
        }
    }

    /// Asks the gateway to stop the run; whether it does is its own affair.
    fn abort(&mut self, run: &str) {
        let params = json!({ "sessionKey": self.job.params.get("sessionKey"), "runId": run });
        let heard = &mut self.heard;
        let until = Instant::now() + STOPS;
        if let Err(fault) = self.talk.ask("chat.abort", params, until, &mut |frame| heard.hear(frame)) {
            print(&Line::Note(format!("the gateway was asked to stop the run: {}", fault.words())));
        }
    }
}

fn status(payload: &Value) -> &str {
    payload["status"].as_str().map(str::trim).unwrap_or_default()
}

fn said(words: Option<String>, otherwise: &str) -> String {
    words.unwrap_or_else(|| otherwise.to_owned())
}

fn failure(code: &str, words: String) -> Failed {
    Failed { code: code.to_owned(), words, may_go_on: false }
}

/// What a fault is called on the wire; the words of a gateway count where it has no better ones.
fn failed(fault: &Fault, may_go_on: bool) -> Failed {
    let words = fault.words();
    let lower = words.to_lowercase();
    let code = if lower.contains(REFUSED_TO_PAIR) {
        code::PAIRING_REQUIRED
    } else if matches!(fault, Fault::Late(_)) || lower.contains("timeout") {
        code::TIMEOUT
    } else {
        code::REQUEST_FAILED
    };
    Failed { may_go_on, ..failure(code, words.to_owned()) }
}

fn mailbox() -> io::Result<Mailbox> {
    let mailbox = Mailbox::open()?;
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        dispose(signal, Disposition::Post)?;
    }
    Ok(mailbox)
}

/// Prints a line. A log that is gone is noticed by whoever reads it.
fn print(line: &Line) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(&line.to_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_to_pair_is_found_in_details_and_in_words() {
        let refused = |words: &str, details: Value| Fault::Refused { words: words.to_owned(), details };
        for (fault, expected) in [
            (refused("pairing required", json!({ "requestId": "r-1" })), Some("r-1")),
            (refused("pairing required (requestId: r_2-a)", Value::Null), Some("r_2-a")),
            (Fault::Gone("closed (1008): pairing required requestId=abc".to_owned()), Some("abc")),
            (refused("pairing required", json!({ "requestId": " " })), None),
            (refused("pairing required, requestId", Value::Null), None),
        ] {
            assert_eq!(request_in(&fault).as_deref(), expected, "{fault:?}");
        }
    }

    #[test]
    fn faults_have_the_codes_of_the_wire() {
        let refused = |words: &str| Fault::Refused { words: words.to_owned(), details: Value::Null };
        for (fault, expected) in [
            (Fault::Late("x".to_owned()), code::TIMEOUT),
            (refused("model Timeout"), code::TIMEOUT),
            (refused("Pairing required"), code::PAIRING_REQUIRED),
            (refused("unauthorized"), code::REQUEST_FAILED),
            (Fault::Gone("the gateway closed the connection".to_owned()), code::REQUEST_FAILED),
        ] {
            assert_eq!(failed(&fault, false).code, expected, "{fault:?}");
        }
    }
}
