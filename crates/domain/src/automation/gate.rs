//! Questions to people: what their time does to them, and what a decision must be to count (spec/automations.md 2.4).

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::definition::{Decision, Expiry, Gate, OnExpiry};
use super::graph::Graph;
use crate::moment::Moment;
use crate::words;

words!(
    /// What became of a gate.
    GateStatus {
        Pending = "pending",
        Decided = "decided",
        /// Nobody decided in time; that is no "no".
        Expired = "expired",
        /// What it asked about is made again, or its run is over.
        Withdrawn = "withdrawn",
    }
);

/// Gates that say nothing of their time expire after this.
pub const DEFAULT_EXPIRES: Duration = Duration::from_secs(7 * 24 * 3600);
/// A gate that is older than this is marked as stale.
pub const STALE_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Who is told when nobody is named.
pub const NOBODY_NAMED: &str = "unassigned_escalation_principal";

/// What holds for a gate's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub expires_after: Option<Duration>,
    pub on_expiry: OnExpiry,
    pub escalate_to: String,
    pub remind_every: Option<Duration>,
}

/// The terms of a gate: its own, or seven days and then cancelled. In terms of its own what is left out is never.
pub fn terms(expiry: Option<&Expiry>) -> Terms {
    let some = |seconds: Option<u64>| seconds.filter(|it| *it > 0).map(Duration::from_secs);
    let named = expiry.and_then(|it| it.escalate_to.clone()).filter(|name| !name.trim().is_empty());
    Terms {
        expires_after: match expiry {
            None => Some(DEFAULT_EXPIRES),
            Some(expiry) => some(expiry.expires_after_sec),
        },
        on_expiry: expiry.and_then(|it| it.on_expiry).unwrap_or(OnExpiry::Cancel),
        escalate_to: named.unwrap_or_else(|| NOBODY_NAMED.to_owned()),
        remind_every: some(expiry.and_then(|it| it.remind_every_sec)),
    }
}

/// A gate that nobody decided, as far as its time goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    pub asked_at: Moment,
    pub terms: Terms,
    pub reminded_at: Option<Moment>,
    pub reminders: u32,
    /// A reminder went out after its time was over.
    pub reminded_late: bool,
    pub escalated: bool,
    pub marked_stale: bool,
}

/// What its time does to a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// It has been open for a day; nothing else changes.
    MarkStale,
    /// The how-manieth reminder; late = its time is over.
    Remind {
        number: u32,
        late: bool,
    },
    Escalate {
        to: String,
    },
    Expire,
}

impl Open {
    pub fn expires_at(&self) -> Option<Moment> {
        self.terms.expires_after.map(|after| self.asked_at.plus(after))
    }

    /// A decision counts no more, whether a sweep was there or not.
    pub fn is_expired(&self, now: Moment) -> bool {
        self.terms.on_expiry == OnExpiry::Cancel && self.expires_at().is_some_and(|at| now >= at)
    }
}

/// What is due now, and when something is due next.
pub fn due(gate: &Open, now: Moment) -> (Vec<Act>, Option<Moment>) {
    if gate.is_expired(now) {
        return (vec![Act::Expire], None);
    }
    let mut acts = Vec::new();
    let mut next: Vec<Moment> = Vec::new();
    let mut at = |when: Moment, act: &mut dyn FnMut()| if now >= when { act() } else { next.push(when) };
    if !gate.marked_stale {
        at(gate.asked_at.plus(STALE_AFTER), &mut || acts.push(Act::MarkStale));
    }
    let expires_at = gate.expires_at();
    let is_late = expires_at.is_some_and(|at| now >= at);
    if let Some(expires_at) = expires_at {
        match gate.terms.on_expiry {
            OnExpiry::Cancel => next.push(expires_at),
            OnExpiry::Escalate if !gate.escalated => {
                if is_late {
                    acts.push(Act::Escalate { to: gate.terms.escalate_to.clone() });
                } else {
                    next.push(expires_at);
                }
            }
            OnExpiry::Remind if gate.terms.remind_every.is_none() && !gate.reminded_late => {
                if is_late {
                    acts.push(Act::Remind { number: gate.reminders + 1, late: true });
                } else {
                    next.push(expires_at);
                }
            }
            OnExpiry::Escalate | OnExpiry::Remind => {}
        }
    }
    if let Some(every) = gate.terms.remind_every {
        let last = gate.reminded_at.unwrap_or(gate.asked_at);
        let mut due = last.plus(every);
        if now >= due {
            // However many were missed, one is sent.
            acts.push(Act::Remind { number: gate.reminders + 1, late: is_late });
            due = now.plus(every);
        }
        next.push(due);
    }
    (acts, next.into_iter().min())
}

/// Who decides, as far as a gate asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decider<'a> {
    /// A person, by credentials; agents and the program are none.
    pub is_person: bool,
    pub user: Option<&'a str>,
}

/// A decision that somebody sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask<'a> {
    pub decision: Decision,
    /// Of what was shown to them.
    pub hash: &'a str,
    pub targets: &'a [String],
    pub by: Decider<'a>,
    /// Something is said with it.
    pub has_words: bool,
}

/// A gate, as far as a decision goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing<'a> {
    pub status: GateStatus,
    pub hash: &'a str,
    pub decisions: &'a [Decision],
    pub approvers: &'a [String],
    /// Whom it was escalated to: may decide beside the approvers.
    pub escalated_to: Option<&'a str>,
    pub self_approval: bool,
    /// Who started the run.
    pub started_by: Option<&'a str>,
    /// Nodes that may be named for rework.
    pub before: BTreeSet<&'a str>,
    pub open: Open,
    /// The agent of a step asks: to approve is to answer it.
    pub wants_answer: bool,
}

/// Why a decision does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Refused {
    /// Only people decide.
    RequiresHuman,
    /// Not one of the approvers.
    NotAllowed,
    SelfApproval,
    /// It is decided; the first decision stands.
    AlreadyDecided,
    Withdrawn,
    Expired,
    /// What was shown is not what is asked now.
    Stale,
    InvalidDecision,
    InvalidTarget(String),
    /// An agent asked, and nothing is answered.
    AnswerMissing,
}

impl Refused {
    /// The code on the wire.
    pub const fn code(&self) -> &'static str {
        match self {
            Refused::RequiresHuman => "gate_requires_human",
            Refused::NotAllowed => "gate_not_allowed",
            Refused::SelfApproval => "gate_self_approval",
            Refused::AlreadyDecided => "gate_already_decided",
            Refused::Withdrawn => "gate_withdrawn",
            Refused::Expired => "gate_expired",
            Refused::Stale => "stale",
            Refused::InvalidDecision => "gate_invalid_decision",
            Refused::InvalidTarget(_) => "gate_invalid_target",
            Refused::AnswerMissing => "gate_answer_missing",
        }
    }
}

/// Judges a decision. What is refused first is what the sender can do least about.
pub fn decide(gate: &Standing<'_>, ask: &Ask<'_>, now: Moment) -> Result<(), Refused> {
    if !ask.by.is_person {
        return Err(Refused::RequiresHuman);
    }
    let is_named = |user: &str| {
        gate.approvers.iter().any(|it| it == user) || gate.escalated_to.is_some_and(|it| it == user)
    };
    if !gate.approvers.is_empty() && !ask.by.user.is_some_and(is_named) {
        return Err(Refused::NotAllowed);
    }
    // To withdraw one's own run needs nobody else.
    let approves = ask.decision == Decision::Approve;
    if approves && !gate.self_approval && gate.started_by.is_some() && gate.started_by == ask.by.user {
        return Err(Refused::SelfApproval);
    }
    match gate.status {
        GateStatus::Pending => {}
        GateStatus::Decided => return Err(Refused::AlreadyDecided),
        GateStatus::Expired => return Err(Refused::Expired),
        GateStatus::Withdrawn => return Err(Refused::Withdrawn),
    }
    if gate.open.is_expired(now) {
        return Err(Refused::Expired);
    }
    if gate.hash != ask.hash {
        return Err(Refused::Stale);
    }
    if !gate.decisions.contains(&ask.decision) {
        return Err(Refused::InvalidDecision);
    }
    if ask.decision != Decision::Rework && !ask.targets.is_empty() {
        return Err(Refused::InvalidTarget(ask.targets[0].clone()));
    }
    if let Some(target) = ask.targets.iter().find(|target| !gate.before.contains(target.as_str())) {
        return Err(Refused::InvalidTarget(target.clone()));
    }
    // Words that nobody said are no answer.
    if approves && gate.wants_answer && !ask.has_words {
        return Err(Refused::AnswerMissing);
    }
    Ok(())
}

/// Where rework begins: what the decision names, or the gate, or what it depends on.
pub fn rework_targets(graph: &Graph<'_>, node: &str, gate: &Gate, named: &[String]) -> BTreeSet<String> {
    let chosen = if named.is_empty() { &gate.rework_targets } else { named };
    match chosen.is_empty() {
        false => chosen.iter().cloned().collect(),
        true => graph.dependencies(node).iter().map(|id| (*id).to_owned()).collect(),
    }
}

/// What may be decided.
pub fn decisions(gate: &Gate) -> Vec<Decision> {
    if gate.decisions.is_empty() { Decision::ALL.to_vec() } else { gate.decisions.clone() }
}

/// The text whose digest binds a decision: everything that is shown, in one form.
pub fn bound(gate_id: &str, shown: &Json) -> String {
    canonical(&json!({ "gate": gate_id, "shown": shown }))
}

/// JSON with its keys in order, so that equal data has equal text.
pub fn canonical(value: &Json) -> String {
    match value {
        Json::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let parts =
                keys.into_iter().map(|key| format!("{}:{}", Json::from(key.as_str()), canonical(&map[key])));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
        }
        Json::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    const DAY: i64 = 86_400;

    fn open(expires: u64, on_expiry: OnExpiry, remind: u64) -> Open {
        let expiry = Expiry {
            expires_after_sec: Some(expires),
            on_expiry: Some(on_expiry),
            remind_every_sec: Some(remind),
            ..Expiry::default()
        };
        Open {
            asked_at: at(0),
            terms: terms(Some(&expiry)),
            reminded_at: None,
            reminders: 0,
            reminded_late: false,
            escalated: false,
            marked_stale: false,
        }
    }

    fn remind(number: u32, late: bool) -> Act {
        Act::Remind { number, late }
    }

    #[test]
    fn terms_are_seven_days_or_what_the_gate_says() {
        assert_eq!(terms(None).expires_after, Some(DEFAULT_EXPIRES));
        assert_eq!(terms(None).on_expiry, OnExpiry::Cancel);
        let own = terms(Some(&Expiry::default()));
        assert_eq!((own.expires_after, own.remind_every), (None, None));
        assert_eq!(own.escalate_to, NOBODY_NAMED);
        let zero = Expiry { expires_after_sec: Some(0), remind_every_sec: Some(0), ..Expiry::default() };
        assert_eq!((terms(Some(&zero)).expires_after, terms(Some(&zero)).remind_every), (None, None));
    }

    #[test]
    fn time_does_to_a_gate_what_its_terms_say() {
        use OnExpiry::{Cancel, Escalate, Remind};
        let rows: Vec<(Open, i64, Vec<Act>, Option<i64>)> = vec![
            (open(100, Cancel, 0), 99, vec![], Some(100)),
            (open(100, Cancel, 0), 100, vec![Act::Expire], None),
            (open(0, Cancel, 0), DAY - 1, vec![], Some(DAY)),
            (open(0, Cancel, 0), DAY, vec![Act::MarkStale], None),
            (Open { marked_stale: true, ..open(0, Cancel, 0) }, DAY * 9, vec![], None),
            (open(100, Escalate, 0), 99, vec![], Some(100)),
            (open(100, Escalate, 0), 100, vec![Act::Escalate { to: NOBODY_NAMED.into() }], Some(DAY)),
            (Open { escalated: true, ..open(100, Escalate, 0) }, 200, vec![], Some(DAY)),
            (open(100, Remind, 0), 100, vec![remind(1, true)], Some(DAY)),
            (Open { reminded_late: true, reminders: 1, ..open(100, Remind, 0) }, 200, vec![], Some(DAY)),
            (open(0, Cancel, 10), 9, vec![], Some(10)),
            (open(0, Cancel, 10), 10, vec![remind(1, false)], Some(20)),
            (open(0, Cancel, 10), 55, vec![remind(1, false)], Some(65)),
            (
                Open { reminded_at: Some(at(55)), reminders: 1, ..open(0, Cancel, 10) },
                65,
                vec![remind(2, false)],
                Some(75),
            ),
            (open(100, Remind, 60), 120, vec![remind(1, true)], Some(180)),
            (open(100, Cancel, 60), 120, vec![Act::Expire], None),
            (
                open(100, Escalate, 60),
                120,
                vec![Act::Escalate { to: NOBODY_NAMED.into() }, remind(1, true)],
                Some(180),
            ),
        ];
        for (gate, now, acts, next) in rows {
            let found = due(&gate, at(now));
            assert_eq!(found, (acts, next.map(at)), "{gate:?} at {now}");
            assert!(found.1.is_none_or(|next| next > at(now)), "the next time lies in the future");
        }
    }

    fn standing<'a>() -> Standing<'a> {
        Standing {
            status: GateStatus::Pending,
            hash: "h",
            decisions: Decision::ALL,
            approvers: &[],
            escalated_to: None,
            self_approval: true,
            started_by: Some("ann"),
            before: BTreeSet::from(["a", "b"]),
            open: open(100, OnExpiry::Cancel, 0),
            wants_answer: false,
        }
    }

    fn ask<'a>(decision: Decision) -> Ask<'a> {
        let by = Decider { is_person: true, user: Some("ann") };
        Ask { decision, hash: "h", targets: &[], by, has_words: false }
    }

    #[test]
    fn a_decision_counts_once_by_a_person_who_saw_what_is_asked() {
        use Decision::{Approve, Cancel, Rework};
        let agent = Decider { is_person: false, user: None };
        let bob = Decider { is_person: true, user: Some("bob") };
        let local = Decider { is_person: true, user: None };
        let named = ["bob".to_owned()];
        let targets = ["a".to_owned()];
        let wrong = ["z".to_owned()];
        let only = [Approve];
        let rows: Vec<(Standing<'_>, Ask<'_>, i64, Result<(), Refused>)> = vec![
            (standing(), ask(Approve), 0, Ok(())),
            (standing(), ask(Cancel), 99, Ok(())),
            (standing(), Ask { targets: &targets, ..ask(Rework) }, 0, Ok(())),
            (standing(), Ask { by: agent, ..ask(Approve) }, 0, Err(Refused::RequiresHuman)),
            (standing(), Ask { hash: "other", ..ask(Approve) }, 0, Err(Refused::Stale)),
            (standing(), ask(Approve), 100, Err(Refused::Expired)),
            (
                Standing { status: GateStatus::Decided, ..standing() },
                ask(Approve),
                0,
                Err(Refused::AlreadyDecided),
            ),
            (
                Standing { status: GateStatus::Decided, ..standing() },
                ask(Approve),
                100,
                Err(Refused::AlreadyDecided),
            ),
            (Standing { status: GateStatus::Expired, ..standing() }, ask(Approve), 0, Err(Refused::Expired)),
            (
                Standing { status: GateStatus::Withdrawn, ..standing() },
                ask(Approve),
                0,
                Err(Refused::Withdrawn),
            ),
            (Standing { decisions: &only, ..standing() }, ask(Cancel), 0, Err(Refused::InvalidDecision)),
            (
                standing(),
                Ask { targets: &targets, ..ask(Approve) },
                0,
                Err(Refused::InvalidTarget("a".into())),
            ),
            (standing(), Ask { targets: &wrong, ..ask(Rework) }, 0, Err(Refused::InvalidTarget("z".into()))),
            (Standing { approvers: &named, ..standing() }, ask(Approve), 0, Err(Refused::NotAllowed)),
            (
                Standing { approvers: &named, ..standing() },
                Ask { by: local, ..ask(Approve) },
                0,
                Err(Refused::NotAllowed),
            ),
            (Standing { approvers: &named, ..standing() }, Ask { by: bob, ..ask(Approve) }, 0, Ok(())),
            (
                Standing { approvers: &named, escalated_to: Some("ann"), ..standing() },
                ask(Approve),
                0,
                Ok(()),
            ),
            (
                Standing { approvers: &named, escalated_to: Some("ann"), ..standing() },
                Ask { by: local, ..ask(Approve) },
                0,
                Err(Refused::NotAllowed),
            ),
            (Standing { self_approval: false, ..standing() }, ask(Approve), 0, Err(Refused::SelfApproval)),
            (Standing { self_approval: false, ..standing() }, ask(Cancel), 0, Ok(())),
            (Standing { self_approval: false, ..standing() }, Ask { by: bob, ..ask(Approve) }, 0, Ok(())),
            (Standing { wants_answer: true, ..standing() }, ask(Approve), 0, Err(Refused::AnswerMissing)),
            (
                Standing { wants_answer: true, ..standing() },
                Ask { has_words: true, ..ask(Approve) },
                0,
                Ok(()),
            ),
            (Standing { wants_answer: true, ..standing() }, ask(Cancel), 0, Ok(())),
        ];
        for (gate, ask, now, expected) in rows {
            assert_eq!(decide(&gate, &ask, at(now)), expected, "{ask:?}");
        }
        let lasting = Standing { open: open(100, OnExpiry::Escalate, 0), ..standing() };
        assert_eq!(decide(&lasting, &ask(Approve), at(500)), Ok(()));
    }

    #[test]
    fn a_digest_is_of_the_data_and_not_of_its_order() {
        let one: Json = serde_json::from_str(r#"{"b": [1, {"y": 2, "x": "\"" }], "a": null}"#).unwrap();
        let two: Json = serde_json::from_str(r#"{"a": null, "b": [1, {"x": "\"", "y": 2}]}"#).unwrap();
        assert_eq!(bound("g", &one), bound("g", &two));
        assert_ne!(bound("g", &one), bound("h", &one));
        assert_eq!(canonical(&one), r#"{"a":null,"b":[1,{"x":"\"","y":2}]}"#);
    }
}
