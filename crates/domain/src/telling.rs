//! What an agent tells us while it works, whatever program it is: the common events that adapters read out of lines,
//! and [`Told`], everything the events of one process say together.
//!
//! [`Told`] is a fold over the log: read again from the start it is the same, so nothing is counted twice after a
//! restart. What a program says about itself is evidence, not the outcome; the outcome is `ending::settle`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::moment::Moment;
use crate::words;

words!(
    /// What kind of failure an agent program reported.
    ErrorClass {
        /// The provider is busy or down for a moment; trying again later helps.
        Transient = "transient",
        /// A limit of the account is reached; nothing helps before it is reset.
        Quota = "quota",
        /// Nobody is logged in, or the login was lost.
        Auth = "auth",
        /// The session to resume does not exist any more.
        SessionGone = "session_gone",
        /// The program wanted a permission that nobody could give.
        Permission = "permission",
        /// It gave up because the time it had been given was over.
        TimedOut = "timed_out",
        /// The request itself was wrong: trying again does not help.
        BadRequest = "bad_request",
        /// Anything else.
        Other = "other",
    }
);

/// A failure an agent program reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentError {
    /// What kind of failure it is.
    pub class: ErrorClass,
    /// The program's own words.
    pub message: String,
    /// The error code of the wire where the specs name one for this program (for example `claude_auth_required`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The provider asked not to be tried again before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Moment>,
}

/// Tokens and money of one run, as its program reported them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub output_tokens: u64,
    /// Integer micro-dollars; `None` when no price is known (D21).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<i64>,
    /// The price of a part of it is not known: `cost_micros` is what the rest cost.
    #[serde(skip_serializing_if = "is_false")]
    pub cost_partial: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub biller: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing_type: Option<String>,
}

/// For fields that are left out unless they are set.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the attribute hands a reference over")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Usage {
    /// The price of all of it is known.
    pub const fn is_cost_known(&self) -> bool {
        self.cost_micros.is_some() && !self.cost_partial
    }

    /// Nothing was used, as far as is known.
    pub fn is_nothing(&self) -> bool {
        self.input_tokens == 0
            && self.cached_input_tokens == 0
            && self.output_tokens == 0
            && self.cost_micros.unwrap_or(0) == 0
    }

    /// Adds what one more message used. Names of provider and model are the latest; a missing price keeps the known sum,
    /// and makes it a part of the cost only.
    pub fn add(&mut self, more: &Usage) {
        let has_unpriced =
            |usage: &Usage| usage.cost_partial || (usage.cost_micros.is_none() && !usage.is_nothing());
        let is_priced = self.cost_micros.is_some() || more.cost_micros.is_some();
        self.cost_partial = is_priced && (has_unpriced(self) || has_unpriced(more));
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(more.cached_input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        if let Some(cost) = more.cost_micros {
            self.cost_micros = Some(self.cost_micros.unwrap_or(0).saturating_add(cost));
        }
        for (ours, theirs) in [
            (&mut self.provider, &more.provider),
            (&mut self.biller, &more.biller),
            (&mut self.model, &more.model),
            (&mut self.billing_type, &more.billing_type),
        ] {
            if theirs.is_some() {
                ours.clone_from(theirs);
            }
        }
    }
}

/// A permission that an agent program wants before it uses a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// Names the request within its process.
    pub ask: String,
    /// Over the exact words of the program, as hex: an answer is good for these and no others.
    pub hash: String,
    pub tool: String,
    /// What the tool is to do, in the program's words.
    pub title: String,
    pub input: Value,
    /// What the program offers to be answered.
    pub options: Vec<PermissionOption>,
}

/// One answer that a program offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermissionOption {
    pub id: String,
    pub name: String,
    /// The protocol's word, for example `allow_once`.
    pub kind: String,
}

/// One thing an agent program said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AgentEvent {
    /// The session the program works in.
    Session { id: String },
    /// What its adapter wants to know of the session at the next run, in a shape of its own; replaces what was noted
    /// before.
    SessionNote { note: Value },
    /// Text of the agent.
    Message { text: String },
    /// The agent uses a tool.
    ToolCall { id: String, name: String, input: Value },
    /// What the tool gave.
    ToolResult { id: String, is_error: bool, output: String },
    /// What one more message used; amounts add up.
    UsageAdded { usage: Usage },
    /// What the run used so far; replaces what was said before.
    UsageTotal { usage: Usage },
    /// The program waits for a permission that a person is to give.
    PermissionAsked { permission: Permission },
    /// It waits no more for the permission that it asked for under this name: `outcome` says why.
    PermissionClosed { ask: String, outcome: String },
    /// Something went wrong and the program may go on.
    Trouble { error: AgentError },
    /// The program says that it is done: the terminal event.
    Result {
        /// `None` = success.
        error: Option<AgentError>,
        summary: Option<String>,
        /// Only a plan came out, nothing was done.
        plan_only: bool,
        /// The program's own result, kept for people.
        json: Option<Value>,
    },
}

/// A terminal event, as remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminal {
    pub error: Option<AgentError>,
    pub summary: Option<String>,
    pub plan_only: bool,
    pub json: Option<Value>,
}

/// Everything one process said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Told {
    pub session: Option<String>,
    /// What the adapter noted about the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_note: Option<Value>,
    /// `None` when the program reported no usage at all: unknown, not zero.
    pub usage: Option<Usage>,
    pub messages: u64,
    pub tool_calls: u64,
    /// Terminal events in order; more than two are not kept.
    pub terminals: Vec<Terminal>,
    /// The last trouble that was reported without a terminal event.
    pub trouble: Option<AgentError>,
    pub last_message: Option<String>,
}

impl Told {
    /// Takes one event in.
    pub fn hear(&mut self, event: &AgentEvent) {
        match event {
            AgentEvent::Session { id } => self.session = Some(id.clone()),
            AgentEvent::SessionNote { note } => self.session_note = Some(note.clone()),
            AgentEvent::Message { text } => {
                self.messages += 1;
                self.last_message = Some(text.clone());
            }
            AgentEvent::ToolCall { .. } => self.tool_calls += 1,
            AgentEvent::ToolResult { .. }
            | AgentEvent::PermissionAsked { .. }
            | AgentEvent::PermissionClosed { .. } => {}
            AgentEvent::UsageAdded { usage } => self.usage.get_or_insert_with(Usage::default).add(usage),
            AgentEvent::UsageTotal { usage } => self.usage = Some(usage.clone()),
            AgentEvent::Trouble { error } => self.trouble = Some(error.clone()),
            AgentEvent::Result { error, summary, plan_only, json } => {
                if self.terminals.len() < 2 {
                    self.terminals.push(Terminal {
                        error: error.clone(),
                        summary: summary.clone(),
                        plan_only: *plan_only,
                        json: json.clone(),
                    });
                }
            }
        }
    }

    /// The program said that it is done.
    pub fn is_done(&self) -> bool {
        !self.terminals.is_empty()
    }

    /// The agent produced nothing at all: no text, no tool call, no summary.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
            && self.tool_calls == 0
            && self
                .terminals
                .iter()
                .all(|t| t.summary.as_deref().unwrap_or("").trim().is_empty() && !t.plan_only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_usage_sums_up_and_a_total_replaces_it() {
        let one = Usage {
            input_tokens: 5,
            output_tokens: 2,
            cost_micros: Some(20_000),
            model: Some("m".into()),
            ..Usage::default()
        };
        let free = Usage { input_tokens: 1, cached_input_tokens: 3, ..Usage::default() };
        let mut told = Told::default();
        assert_eq!(told.usage, None);
        told.hear(&AgentEvent::UsageAdded { usage: one.clone() });
        told.hear(&AgentEvent::UsageAdded { usage: free });
        let both = Usage { input_tokens: 6, cached_input_tokens: 3, cost_partial: true, ..one.clone() };
        assert_eq!(told.usage, Some(both));
        told.hear(&AgentEvent::UsageTotal { usage: one.clone() });
        assert_eq!(told.usage, Some(one));
    }

    #[test]
    fn an_unknown_price_stays_unknown() {
        let mut usage = Usage::default();
        usage.add(&Usage { input_tokens: 7, ..Usage::default() });
        assert_eq!(usage.cost_micros, None);
        assert!(!usage.is_nothing());
        assert!(Usage { cost_micros: Some(0), ..Usage::default() }.is_nothing());
    }

    #[test]
    fn a_cost_is_known_only_when_all_of_it_is() {
        let of = |cost| Usage { output_tokens: 5, cost_micros: cost, ..Usage::default() };
        type Row<'a> = (&'a [Option<i64>], Option<i64>, bool);
        let rows: &[Row<'_>] = &[
            (&[Some(3), Some(4)], Some(7), true),
            (&[Some(3), None], Some(3), false),
            (&[None, Some(3)], Some(3), false),
            (&[None, Some(3), Some(4)], Some(7), false),
            (&[None, None], None, false),
            (&[Some(0)], Some(0), true),
        ];
        for (costs, sum, known) in rows {
            let mut usage = Usage::default();
            costs.iter().for_each(|cost| usage.add(&of(*cost)));
            assert_eq!((usage.cost_micros, usage.is_cost_known()), (*sum, *known), "{costs:?}");
        }
        // A message that used nothing needs no price.
        let mut usage = of(Some(3));
        usage.add(&Usage::default());
        assert!(usage.is_cost_known());
    }

    #[test]
    fn a_partial_cost_is_written_and_a_whole_one_is_not_spoken_of() {
        for (partial, written) in [(true, Some(&Value::Bool(true))), (false, None)] {
            let usage = Usage { cost_micros: Some(3), cost_partial: partial, ..Usage::default() };
            let value = serde_json::to_value(&usage).expect("plain data");
            assert_eq!(value.get("costPartial"), written);
            assert_eq!(serde_json::from_value::<Usage>(value).expect("just written"), usage);
        }
    }

    #[test]
    fn what_was_said_is_counted_and_the_last_of_it_kept() {
        let error = |message: &str| AgentError {
            class: ErrorClass::Other,
            message: message.into(),
            code: None,
            not_before: None,
        };
        let call = |id: &str| AgentEvent::ToolCall { id: id.into(), name: "t".into(), input: Value::Null };
        let mut told = Told::default();
        assert!(!told.is_done());
        for event in [
            AgentEvent::Session { id: "s1".into() },
            AgentEvent::Message { text: "one".into() },
            call("1"),
            AgentEvent::Session { id: "s2".into() },
            AgentEvent::Message { text: "two".into() },
            call("2"),
            call("3"),
            AgentEvent::Trouble { error: error("first") },
            AgentEvent::Trouble { error: error("second") },
        ] {
            told.hear(&event);
        }
        assert_eq!((told.messages, told.tool_calls), (2, 3));
        assert_eq!((told.session.as_deref(), told.last_message.as_deref()), (Some("s2"), Some("two")));
        assert_eq!(told.trouble.as_ref().map(|it| it.message.as_str()), Some("second"));
        assert!(!told.is_done() && !told.is_empty());
        told.hear(&AgentEvent::Result { error: None, summary: None, plan_only: false, json: None });
        assert!(told.is_done());
        let tools_only = Told { tool_calls: 1, ..Told::default() };
        assert!(!tools_only.is_empty());
    }

    #[test]
    fn silence_is_empty_and_any_work_is_not() {
        let done = |summary: Option<&str>, plan_only| AgentEvent::Result {
            error: None,
            summary: summary.map(str::to_owned),
            plan_only,
            json: None,
        };
        let heard = |events: &[AgentEvent]| {
            let mut told = Told::default();
            events.iter().for_each(|e| told.hear(e));
            told
        };
        assert!(heard(&[]).is_empty());
        assert!(heard(&[done(None, false)]).is_empty());
        assert!(heard(&[done(Some("  "), false)]).is_empty());
        assert!(!heard(&[done(Some("did it"), false)]).is_empty());
        assert!(!heard(&[done(None, true)]).is_empty());
        assert!(!heard(&[AgentEvent::Message { text: "hi".into() }]).is_empty());
        assert!(heard(&[done(None, false), done(None, false), done(None, false)]).terminals.len() == 2);
    }
}
