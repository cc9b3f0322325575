//! The client's side of one conversation in the Agent Client Protocol: one session, one prompt.
//!
//! What comes in goes to a method, what is to be done comes out as [`Act`]s; nothing here reads, writes or waits. The
//! client offers the agent neither files nor terminals of its own, so all that an agent can ask for is a permission.

use std::collections::VecDeque;
use std::time::Duration;

use domain::telling::{Permission, PermissionOption};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::words::{Answer, Job, Line, Outcome, Policy};

/// The version of the protocol that is spoken.
const VERSION: u64 = 1;
/// As many permissions wait at a time; an agent that wants more is told no.
const MOST_ASKS: usize = 64;
/// What is shown of a request, in bytes: the hash is over all of it.
const LONGEST_TITLE: usize = 2_000;
/// JSON-RPC's word for a method that is not offered.
const NO_METHOD: i64 = -32_601;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    /// Say it to the agent.
    Send(Value),
    /// Print it.
    Print(Line),
    /// Close the agent's input: it ends with it.
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Initializing,
    Opening,
    Choosing,
    Prompting,
    /// It was asked to stop the turn.
    Stopping,
    Over,
}

/// A permission that waits.
#[derive(Debug)]
struct Open {
    rpc_id: Value,
    ask: String,
    hash: String,
    options: Vec<PermissionOption>,
    /// On the conversation's clock.
    since: Duration,
}

/// One conversation.
#[derive(Debug)]
pub(super) struct Talk {
    job: Job,
    step: Step,
    /// The number of the request that waits for its answer.
    number: u64,
    session: Option<String>,
    /// Calls that choose model and mode, in order.
    choices: VecDeque<(&'static str, Value)>,
    open: Vec<Open>,
    asks: u64,
    /// The turn ended as it should.
    is_done: bool,
}

impl Talk {
    pub(super) fn new(job: Job) -> Talk {
        Talk {
            job,
            step: Step::Initializing,
            number: 0,
            session: None,
            choices: VecDeque::new(),
            open: Vec::new(),
            asks: 0,
            is_done: false,
        }
    }

    /// The first words.
    pub(super) fn begin(&mut self) -> Vec<Act> {
        let params = json!({
            "protocolVersion": VERSION,
            "clientCapabilities": { "fs": { "readTextFile": false, "writeTextFile": false }, "terminal": false },
            "clientInfo": { "name": "bugle", "title": "Bugle", "version": env!("CARGO_PKG_VERSION") },
        });
        self.ask("initialize", params)
    }

    /// The agent's input is closed, or is to be.
    pub(super) fn is_over(&self) -> bool {
        self.step == Step::Over
    }

    /// The agent answered the prompt.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Takes one line of the agent. `now` is the conversation's own clock.
    pub(super) fn line(&mut self, line: &[u8], now: Duration) -> Vec<Act> {
        if line.trim_ascii().is_empty() {
            return Vec::new();
        }
        let message = serde_json::from_slice::<Value>(line).ok().filter(Value::is_object);
        let Some(message) = message else {
            return vec![Act::Print(Line::Noise(String::from_utf8_lossy(line).into_owned()))];
        };
        let mut acts = Vec::new();
        let method = message.get("method").and_then(Value::as_str).map(str::to_owned);
        let id = message.get("id").filter(|id| !id.is_null()).cloned();
        acts.push(Act::Print(Line::FromAgent(message.clone())));
        match (method, id) {
            (Some(method), Some(id)) => acts.extend(self.request(&method, id, &message, now)),
            (Some(_), None) => {}
            (None, Some(id)) if id == self.number && self.number > 0 => acts.extend(self.answered(&message)),
            (None, _) => {}
        }
        acts
    }

    /// Takes what came on the driver's own input.
    pub(super) fn answer(&mut self, line: &[u8]) -> Vec<Act> {
        let Ok(answer) = serde_json::from_slice::<Answer>(line) else { return Vec::new() };
        // One that was answered before, or that is not about these words, is nobody's answer.
        let is_meant = |open: &Open| open.ask == answer.ask && open.hash == answer.hash;
        let Some(place) = self.open.iter().position(is_meant) else { return Vec::new() };
        let open = self.open.remove(place);
        let (option, outcome) = match answer.allow {
            true => (allowing(&open.options), Outcome::Allowed),
            false => (denying(&open.options), Outcome::Denied),
        };
        close(&open, option, outcome)
    }

    /// Gives up what waited too long.
    pub(super) fn tick(&mut self, now: Duration) -> Vec<Act> {
        let Some(patience) = self.job.patience_ms.map(Duration::from_millis) else { return Vec::new() };
        let is_over = |open: &Open| now.saturating_sub(open.since) >= patience;
        let (over, open) = std::mem::take(&mut self.open).into_iter().partition(is_over);
        self.open = open;
        let over: Vec<Open> = over;
        over.iter().flat_map(|open| close(open, None, Outcome::Expired)).collect()
    }

    /// When [`Talk::tick`] is wanted next.
    pub(super) fn next_tick(&self) -> Option<Duration> {
        let patience = self.job.patience_ms.map(Duration::from_millis)?;
        self.open.iter().map(|open| open.since + patience).min()
    }

    /// The run is to stop: the turn is cancelled, and who waits for a permission is told that none comes.
    pub(super) fn stop(&mut self) -> Vec<Act> {
        match self.step {
            Step::Prompting => {
                self.step = Step::Stopping;
                let mut acts = self.cancel_asks();
                let params = json!({ "sessionId": self.session });
                acts.extend(say(json!({ "jsonrpc": "2.0", "method": "session/cancel", "params": params })));
                acts
            }
            Step::Initializing | Step::Opening | Step::Choosing => self.leave(),
            Step::Stopping | Step::Over => Vec::new(),
        }
    }

    fn leave(&mut self) -> Vec<Act> {
        let mut acts = self.cancel_asks();
        if self.step != Step::Over {
            self.step = Step::Over;
            acts.push(Act::Close);
        }
        acts
    }

    fn cancel_asks(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.open).iter().flat_map(|open| close(open, None, Outcome::Cancelled)).collect()
    }

    fn ask(&mut self, method: &str, params: Value) -> Vec<Act> {
        self.number += 1;
        say(json!({ "jsonrpc": "2.0", "id": self.number, "method": method, "params": params }))
    }

    fn stuck(&mut self, words: String, is_gone: bool) -> Vec<Act> {
        let mut acts = vec![Act::Print(Line::Stuck { words, is_gone })];
        acts.extend(self.leave());
        acts
    }

    /// The agent answered what it was asked last.
    fn answered(&mut self, message: &Value) -> Vec<Act> {
        // What the failure means is for the reader to say; here it only ends the conversation.
        let Some(result) = message.get("result").filter(|_| message.get("error").is_none()) else {
            return self.leave();
        };
        match self.step {
            Step::Initializing => self.open_session(result),
            Step::Opening => {
                let named = result.get("sessionId").and_then(Value::as_str).map(str::to_owned);
                self.session = named.or_else(|| self.job.session.clone());
                if self.session.is_none() {
                    return self.stuck("the agent opened a session and did not name it".to_owned(), false);
                }
                match self.choices_of(result) {
                    Ok(choices) => {
                        self.choices = choices;
                        self.go_on()
                    }
                    Err(words) => self.stuck(words, false),
                }
            }
            Step::Choosing => self.go_on(),
            Step::Prompting | Step::Stopping => {
                self.is_done = true;
                self.leave()
            }
            Step::Over => Vec::new(),
        }
    }

    fn open_session(&mut self, result: &Value) -> Vec<Act> {
        let version = result.get("protocolVersion").and_then(Value::as_u64);
        if version != Some(VERSION) {
            let theirs =
                version.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"));
            let words =
                format!("the agent speaks {theirs} of the protocol, and this program version {VERSION}");
            return self.stuck(words, false);
        }
        self.step = Step::Opening;
        let common = json!({ "cwd": self.job.cwd, "mcpServers": self.job.mcp_servers });
        let Some(session) = self.job.session.clone() else { return self.ask("session/new", common) };
        let can = &result["agentCapabilities"];
        // Resuming says nothing of what was; loading says all of it once more.
        let method = if can["sessionCapabilities"].get("resume").is_some_and(|it| !it.is_null()) {
            "session/resume"
        } else if can["loadSession"] == true {
            "session/load"
        } else {
            return self.stuck(format!("the agent cannot go on with session {session}"), true);
        };
        let mut params = common;
        params["sessionId"] = Value::from(session);
        self.ask(method, params)
    }

    /// The calls that choose mode and model, by what the agent says can be chosen.
    fn choices_of(&self, result: &Value) -> Result<VecDeque<(&'static str, Value)>, String> {
        let mut choices = VecDeque::new();
        let has_option = |id: &str| {
            let options = result["configOptions"].as_array().into_iter().flatten();
            options.filter(|option| option["id"] == id).count() > 0
        };
        if let Some(model) = &self.job.model {
            if has_option("model") {
                choices.push_back((
                    "session/set_config_option",
                    json!({ "sessionId": self.session, "configId": "model", "value": model }),
                ));
            } else if result["models"].is_object() {
                choices
                    .push_back(("session/set_model", json!({ "sessionId": self.session, "modelId": model })));
            } else {
                return Err(format!("model `{model}` is configured, and the agent lets nobody choose one"));
            }
        }
        if let Some(mode) = &self.job.mode {
            if result["modes"].is_object() {
                choices.push_back(("session/set_mode", json!({ "sessionId": self.session, "modeId": mode })));
            } else if has_option("mode") {
                choices.push_back((
                    "session/set_config_option",
                    json!({ "sessionId": self.session, "configId": "mode", "value": mode }),
                ));
            } else {
                return Err(format!("mode `{mode}` is configured, and the agent lets nobody choose one"));
            }
        }
        Ok(choices)
    }

    /// Makes the next choice, or says the prompt.
    fn go_on(&mut self) -> Vec<Act> {
        if let Some((method, params)) = self.choices.pop_front() {
            self.step = Step::Choosing;
            return self.ask(method, params);
        }
        self.step = Step::Prompting;
        let prompt = json!([{ "type": "text", "text": std::mem::take(&mut self.job.prompt) }]);
        self.ask("session/prompt", json!({ "sessionId": self.session, "prompt": prompt }))
    }

    /// The agent asks for something.
    fn request(&mut self, method: &str, id: Value, message: &Value, now: Duration) -> Vec<Act> {
        if method != "session/request_permission" {
            let words = format!("{method} is not offered by this client");
            let error = json!({ "code": NO_METHOD, "message": words });
            return say(json!({ "jsonrpc": "2.0", "id": id, "error": error }));
        }
        let options: Vec<PermissionOption> = message["params"]["options"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|option| {
                let text = |key: &str| option.get(key).and_then(Value::as_str);
                let id = text("optionId")?.to_owned();
                let name = cut(text("name").unwrap_or(&id));
                Some(PermissionOption { name, kind: text("kind").unwrap_or_default().to_owned(), id })
            })
            .collect();
        let is_asked = self.step == Step::Prompting;
        match self.job.policy {
            Policy::Allow if is_asked => say(reply(&id, allowing(&options))),
            Policy::Deny if is_asked => say(reply(&id, denying(&options))),
            // Whoever asks again under the number of one that waits would be answered twice.
            Policy::Ask
                if is_asked
                    && self.open.len() < MOST_ASKS
                    && self.open.iter().all(|open| open.rpc_id != id) =>
            {
                self.asks += 1;
                let permission = permission(self.asks, &message["params"], options);
                self.open.push(Open {
                    rpc_id: id,
                    ask: permission.ask.clone(),
                    hash: permission.hash.clone(),
                    options: permission.options.clone(),
                    since: now,
                });
                vec![Act::Print(Line::Asks(permission))]
            }
            Policy::Ask | Policy::Allow | Policy::Deny => say(reply(&id, None)),
        }
    }
}

/// What a person is shown.
fn permission(number: u64, params: &Value, options: Vec<PermissionOption>) -> Permission {
    let call = &params["toolCall"];
    let text = |value: &Value| value.as_str().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
    let tool = text(&call["name"])
        .or_else(|| text(&call["_meta"]["claudeCode"]["toolName"]))
        .or_else(|| text(&call["kind"]))
        .unwrap_or_else(|| "tool".to_owned());
    let title = text(&call["title"]).unwrap_or_else(|| tool.clone());
    let input = match &call["rawInput"] {
        Value::Null => json!({}),
        input => input.clone(),
    };
    // The request as it was asked, the number left out: serde keeps the order of the agent.
    let hash = Sha256::digest(params.to_string().as_bytes());
    let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Permission { ask: number.to_string(), hash, tool: cut(&tool), title: cut(&title), input, options }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST_TITLE)].to_owned()
}

/// The narrowest option that allows: this once, if there is such.
fn allowing(options: &[PermissionOption]) -> Option<&PermissionOption> {
    of_kinds(options, ["allow_once", "allow_always"])
}

fn denying(options: &[PermissionOption]) -> Option<&PermissionOption> {
    of_kinds(options, ["reject_once", "reject_always"])
}

fn of_kinds<'a>(options: &'a [PermissionOption], kinds: [&str; 2]) -> Option<&'a PermissionOption> {
    kinds.iter().find_map(|kind| options.iter().find(|option| option.kind == *kind))
}

/// Answers a request; without an option nobody decided.
fn reply(id: &Value, option: Option<&PermissionOption>) -> Value {
    let outcome = match option {
        Some(option) => json!({ "outcome": "selected", "optionId": option.id }),
        None => json!({ "outcome": "cancelled" }),
    };
    json!({ "jsonrpc": "2.0", "id": id, "result": { "outcome": outcome } })
}

fn close(open: &Open, option: Option<&PermissionOption>, outcome: Outcome) -> Vec<Act> {
    let mut acts = say(reply(&open.rpc_id, option));
    acts.push(Act::Print(Line::Answered { ask: open.ask.clone(), outcome }));
    acts
}

/// Says a message, and prints that it was said. The prompt is in the log already, as the input of the process.
fn say(message: Value) -> Vec<Act> {
    let mut shown = message.clone();
    if let Some(params) = shown.get_mut("params").and_then(Value::as_object_mut) {
        params.remove("prompt");
        params.remove("mcpServers");
    }
    vec![Act::Print(Line::ToAgent(shown)), Act::Send(message)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;

    fn job() -> Job {
        Job {
            argv: vec!["agent".to_owned()],
            cwd: "/w".to_owned(),
            prompt: "do it".to_owned(),
            session: None,
            model: None,
            mode: None,
            mcp_servers: json!([]),
            policy: Policy::Ask,
            patience_ms: None,
        }
    }

    fn hear(talk: &mut Talk, message: &Value) -> Vec<Act> {
        talk.line(message.to_string().as_bytes(), START)
    }

    /// What is said, as `method` or `answer`, and whether the input is closed.
    fn said(acts: &[Act]) -> Vec<String> {
        let sent = acts.iter().filter_map(|act| match act {
            Act::Send(message) => Some(match message["method"].as_str() {
                Some(method) => method.to_owned(),
                None => message["result"]["outcome"]["optionId"]
                    .as_str()
                    .or_else(|| message["result"]["outcome"]["outcome"].as_str())
                    .unwrap_or("error")
                    .to_owned(),
            }),
            Act::Close => Some("close".to_owned()),
            Act::Print(_) => None,
        });
        sent.collect()
    }

    fn result(number: u64, result: Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": number, "result": result })
    }

    fn able(capabilities: Value) -> Value {
        result(1, json!({ "protocolVersion": 1, "agentCapabilities": capabilities }))
    }

    /// A conversation in which the prompt was said.
    fn prompted(job: Job) -> Talk {
        let mut talk = Talk::new(job);
        talk.begin();
        hear(&mut talk, &able(json!({})));
        let acts = hear(&mut talk, &result(2, json!({ "sessionId": "s-1" })));
        assert_eq!(said(&acts), ["session/prompt"]);
        talk
    }

    fn wants(id: u64, command: &str) -> Value {
        json!({ "jsonrpc": "2.0", "id": id, "method": "session/request_permission", "params": {
            "sessionId": "s-1",
            "toolCall": { "toolCallId": "t", "title": "run it", "kind": "execute", "rawInput": { "command": command } },
            "options": [
                { "optionId": "always", "name": "Always", "kind": "allow_always" },
                { "optionId": "yes", "name": "Yes", "kind": "allow_once" },
                { "optionId": "no", "name": "No", "kind": "reject_once" },
            ],
        } })
    }

    fn asked(acts: &[Act]) -> Permission {
        let asked = acts.iter().find_map(|act| match act {
            Act::Print(Line::Asks(permission)) => Some(permission.clone()),
            _ => None,
        });
        asked.expect("somebody is asked")
    }

    fn answer(permission: &Permission, allow: bool) -> Vec<u8> {
        permission_answer(&permission.ask, &permission.hash, allow).trim_ascii().to_vec()
    }

    use super::super::words::permission_answer;

    #[test]
    fn a_fresh_session_is_opened_prompted_and_left() {
        let mut talk = Talk::new(job());
        assert_eq!(said(&talk.begin()), ["initialize"]);
        assert_eq!(said(&hear(&mut talk, &able(json!({})))), ["session/new"]);
        let acts = hear(&mut talk, &result(2, json!({ "sessionId": "s-1" })));
        assert_eq!(said(&acts), ["session/prompt"]);
        let printed = format!("{acts:?}");
        assert_eq!(printed.matches("do it").count(), 1, "the prompt is said and not printed");
        assert!(!talk.is_done());
        assert_eq!(said(&hear(&mut talk, &result(3, json!({ "stopReason": "end_turn" })))), ["close"]);
        assert!(talk.is_done() && talk.is_over());
        assert_eq!(said(&hear(&mut talk, &result(3, json!({})))), [""; 0]);
    }

    #[test]
    fn a_session_is_resumed_the_way_that_the_agent_can() {
        let rows = [
            (json!({ "sessionCapabilities": { "resume": {} }, "loadSession": true }), "session/resume"),
            (json!({ "loadSession": true }), "session/load"),
            (json!({ "loadSession": false }), "close"),
            (json!({}), "close"),
        ];
        for (capabilities, expected) in rows {
            let mut talk = Talk::new(Job { session: Some("old".to_owned()), ..job() });
            talk.begin();
            let acts = hear(&mut talk, &able(capabilities));
            assert_eq!(said(&acts), [expected]);
            let is_gone = acts.iter().any(|act| matches!(act, Act::Print(Line::Stuck { is_gone: true, .. })));
            assert_eq!(is_gone, expected == "close", "then a fresh one is started");
            if expected != "close" {
                // The answer to it need not repeat the name.
                let acts = hear(&mut talk, &result(2, json!({})));
                let Some(Act::Send(prompt)) = acts.last() else { panic!("{acts:?}") };
                assert_eq!(prompt["params"]["sessionId"], "old");
            }
        }
    }

    #[test]
    fn model_and_mode_are_chosen_by_what_the_agent_offers_or_not_at_all() {
        let chosen = || Job { model: Some("m".to_owned()), mode: Some("plan".to_owned()), ..job() };
        let rows = [
            (json!({ "models": {}, "modes": {} }), vec!["session/set_model", "session/set_mode"]),
            (
                json!({ "configOptions": [{ "id": "model" }, { "id": "mode" }] }),
                vec!["session/set_config_option", "session/set_config_option"],
            ),
            (json!({ "models": {} }), vec!["close"]),
            (json!({}), vec!["close"]),
        ];
        for (offer, expected) in rows {
            let mut talk = Talk::new(chosen());
            talk.begin();
            hear(&mut talk, &able(json!({})));
            let mut opened = offer.clone();
            opened["sessionId"] = json!("s-1");
            let mut seen = said(&hear(&mut talk, &result(2, opened)));
            if !talk.is_over() {
                seen.extend(said(&hear(&mut talk, &result(3, json!({})))));
                assert_eq!(said(&hear(&mut talk, &result(4, json!({})))), ["session/prompt"]);
            }
            assert_eq!(seen, expected, "{offer}");
        }
    }

    #[test]
    fn a_failure_of_any_step_ends_the_conversation() {
        for steps in 0..3 {
            let mut talk = Talk::new(job());
            talk.begin();
            let answers = [able(json!({})), result(2, json!({ "sessionId": "s" }))];
            for answer in answers.iter().take(steps) {
                hear(&mut talk, answer);
            }
            let number = steps + 1;
            let acts =
                hear(&mut talk, &json!({ "id": number, "error": { "code": -32603, "message": "no" } }));
            assert_eq!(said(&acts), ["close"], "step {steps}");
            assert!(!talk.is_done());
        }
        let mut old = Talk::new(job());
        old.begin();
        assert_eq!(said(&hear(&mut old, &result(1, json!({ "protocolVersion": 2 })))), ["close"]);
    }

    #[test]
    fn what_is_not_offered_is_refused_and_what_is_no_message_is_kept() {
        let mut talk = prompted(job());
        for method in ["fs/read_text_file", "terminal/create", "x"] {
            let acts = hear(&mut talk, &json!({ "jsonrpc": "2.0", "id": 9, "method": method, "params": {} }));
            let Some(Act::Send(answer)) = acts.last() else { panic!("{acts:?}") };
            assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(9), &json!(NO_METHOD)));
        }
        assert_eq!(talk.line(b"oops", START), [Act::Print(Line::Noise("oops".to_owned()))]);
        assert_eq!(talk.line(b"[1]", START), [Act::Print(Line::Noise("[1]".to_owned()))]);
        assert_eq!(talk.line(b" ", START), []);
    }

    #[test]
    fn policies_answer_by_themselves_and_never_for_longer_than_needed() {
        let answers = |policy: Policy| {
            let mut talk = prompted(Job { policy, ..job() });
            said(&hear(&mut talk, &wants(7, "ls")))
        };
        assert_eq!(answers(Policy::Allow), ["yes"]);
        assert_eq!(answers(Policy::Deny), ["no"]);
        assert_eq!(answers(Policy::Ask), [""; 0]);
        let mut talk = prompted(Job { policy: Policy::Deny, ..job() });
        let nothing = json!({ "id": 1, "method": "session/request_permission", "params": { "options": [] } });
        assert_eq!(said(&hear(&mut talk, &nothing)), ["cancelled"], "an agent that offers no way to refuse");
    }

    #[test]
    fn an_answer_counts_once_and_only_for_the_words_that_were_asked() {
        let mut talk = prompted(job());
        let permission = asked(&hear(&mut talk, &wants(7, "rm -r /")));
        assert_eq!((permission.tool.as_str(), permission.title.as_str()), ("execute", "run it"));
        assert_eq!(permission.input, json!({ "command": "rm -r /" }));
        let other = asked(&hear(&mut talk, &wants(8, "ls")));
        assert_ne!(other.hash, permission.hash, "other arguments, another request");
        let mixed = Permission { hash: other.hash.clone(), ..permission.clone() };
        assert_eq!(talk.answer(&answer(&mixed, true)), [], "an answer to other words");
        assert_eq!(talk.answer(b"{\"ask\":\"1\""), [], "half a line");
        assert_eq!(said(&talk.answer(&answer(&permission, true))), ["yes"]);
        assert_eq!(talk.answer(&answer(&permission, true)), [], "a second time");
        assert_eq!(said(&talk.answer(&answer(&other, false))), ["no"]);
    }

    #[test]
    fn the_same_number_twice_and_one_too_many_are_told_that_nobody_decides() {
        let mut talk = prompted(job());
        assert_eq!(said(&hear(&mut talk, &wants(7, "ls"))), [""; 0]);
        assert_eq!(said(&hear(&mut talk, &wants(7, "rm"))), ["cancelled"]);
        for number in 100..100 + MOST_ASKS as u64 - 1 {
            assert_eq!(said(&hear(&mut talk, &wants(number, "ls"))), [""; 0]);
        }
        assert_eq!(said(&hear(&mut talk, &wants(900, "ls"))), ["cancelled"]);
    }

    #[test]
    fn a_stop_tells_who_waits_then_cancels_the_turn_and_leaves_with_its_answer() {
        let mut talk = prompted(job());
        let permission = asked(&hear(&mut talk, &wants(7, "ls")));
        assert_eq!(said(&talk.stop()), ["cancelled", "session/cancel"]);
        assert_eq!(talk.answer(&answer(&permission, true)), [], "too late");
        assert_eq!(said(&hear(&mut talk, &wants(8, "ls"))), ["cancelled"]);
        assert_eq!(said(&talk.stop()), [""; 0], "once is enough");
        assert_eq!(said(&hear(&mut talk, &result(3, json!({ "stopReason": "cancelled" })))), ["close"]);

        let mut early = Talk::new(job());
        early.begin();
        assert_eq!(said(&early.stop()), ["close"], "before there is a turn");
    }

    #[test]
    fn patience_ends_for_each_by_itself() {
        let at = Duration::from_millis;
        let mut talk = prompted(Job { patience_ms: Some(100), ..job() });
        assert_eq!(talk.next_tick(), None);
        let first = wants(7, "ls").to_string();
        talk.line(first.as_bytes(), at(10));
        talk.line(wants(8, "ls").to_string().as_bytes(), at(50));
        assert_eq!(talk.next_tick(), Some(at(110)));
        assert_eq!(talk.tick(at(109)), []);
        let acts = talk.tick(at(110));
        assert_eq!(said(&acts), ["cancelled"]);
        assert!(
            acts.contains(&Act::Print(Line::Answered { ask: "1".to_owned(), outcome: Outcome::Expired }))
        );
        assert_eq!(talk.next_tick(), Some(at(150)));
    }
}
