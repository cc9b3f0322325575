//! When an issue in work is looked at, so that it is never left alone unseen and idle issues cost nothing.
//!
//! Each issue has at most one look planned. Whatever may leave it alone plans one a moment later ([`AFTER`]); the look
//! itself plans the next, ever more seldom. What a look finds is `stranded`'s.

use std::time::Duration;

use serde_json::json;

use super::stranded::Rest;
use super::{InboxItem, InboxKind, object};
use crate::agent::{AgentStatus, PauseReason};
use crate::ids::{AgentId, IssueId};
use crate::issue::IssueStatus;
use crate::moment::Moment;

/// After a run ended or a wake was turned away, the agent has this long to be woken by somebody else.
pub const AFTER: Duration = Duration::from_secs(20);
/// An issue that waits for something is looked at again after half its age, within these limits.
pub const SOONEST: Duration = Duration::from_secs(15);
pub const LATEST: Duration = Duration::from_secs(600);

/// A pause that lasts longer while work waits is shown to people.
const LONG_PAUSE: Duration = Duration::from_secs(3600);
/// The cause of the item that tells of it.
pub const PAUSED: &str = "paused";

/// Whether an issue is ever looked at: an agent, and no person, should be at work on it.
pub fn is_agents_work(status: IssueStatus, agent: Option<&AgentId>, user: Option<&str>) -> bool {
    status.is_in_work() && agent.is_some() && user.is_none()
}

/// When an issue that rests since `since` is looked at again; `None`: not before something happens to it.
pub fn again(rest: Rest, since: Moment, now: Moment) -> Option<Moment> {
    match rest {
        Rest::NotInWork
        | Rest::AssignedToUser
        | Rest::Unassigned
        | Rest::NotItsRun
        | Rest::Cancelled
        | Rest::NotBegun => None,
        Rest::CarriedOn
        | Rest::Held
        | Rest::AgentPaused
        | Rest::BlockedByOthers
        | Rest::AwaitsDecision
        | Rest::BudgetBlocked
        | Rest::AccountParked
        | Rest::JustSucceeded => Some(now.plus((now.since(since) / 2).clamp(SOONEST, LATEST))),
    }
}

/// An agent that is paused while work waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PausedAgent {
    pub id: AgentId,
    pub name: String,
    pub status: AgentStatus,
    pub reason: Option<PauseReason>,
    pub since: Option<Moment>,
}

/// The item about an agent that was paused long ago and perhaps forgotten, with one issue that waits for it: one for the
/// agent, however much waits. Of a pause for a budget, and of an agent that waits for approval, people are asked elsewhere.
pub fn long_pause(agent: &PausedAgent, issue: &IssueId, identifier: &str, now: Moment) -> Option<InboxItem> {
    let is_old = agent.since.is_some_and(|since| now.since(since) >= LONG_PAUSE);
    let by_somebody = agent.status == AgentStatus::Paused && agent.reason != Some(PauseReason::Budget);
    (is_old && by_somebody).then(|| InboxItem {
        kind: InboxKind::PausedAgent,
        entity_type: "agent",
        entity_id: agent.id.to_string(),
        cause: PAUSED.to_owned(),
        title: format!("{} is paused, and {identifier} waits for it", agent.name),
        details: object(json!({
            "agentId": agent.id, "pauseReason": agent.reason, "pausedAt": agent.since, "issueId": issue,
            "identifier": identifier,
        })),
        owner: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(0).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn what_waits_is_looked_at_ever_more_seldom_and_what_is_over_never() {
        for (age, next) in [(0, 15), (40, 20), (400, 200), (90_000, 600)] {
            let found = again(Rest::Held, at(1_000), at(1_000 + age));
            assert_eq!(found, Some(at(1_000 + age + next)), "{age}");
        }
        for rest in [Rest::NotInWork, Rest::Cancelled, Rest::NotBegun, Rest::Unassigned] {
            assert_eq!(again(rest, at(0), at(9)), None, "{rest}");
        }
    }

    #[test]
    fn only_open_work_of_agents_is_looked_at() {
        let agent = AgentId::from("a");
        for &status in IssueStatus::ALL {
            let in_work = matches!(status, IssueStatus::Todo | IssueStatus::InProgress);
            assert_eq!(is_agents_work(status, Some(&agent), None), in_work, "{status}");
            assert!(!is_agents_work(status, None, None), "{status}");
            assert!(!is_agents_work(status, Some(&agent), Some("u")), "{status}");
        }
    }

    #[test]
    fn a_pause_of_an_hour_that_nobody_is_asked_of_is_shown() {
        let paused = PausedAgent {
            id: "a".into(),
            name: "Ada".to_owned(),
            status: AgentStatus::Paused,
            reason: Some(PauseReason::Manual),
            since: Some(at(10)),
        };
        let rows = [
            ("an hour", paused.clone(), 3610, true),
            ("a second less", paused.clone(), 3609, false),
            (
                "by the program",
                PausedAgent { reason: Some(PauseReason::System), ..paused.clone() },
                3610,
                true,
            ),
            ("nobody says why", PausedAgent { reason: None, ..paused.clone() }, 3610, true),
            ("its budget", PausedAgent { reason: Some(PauseReason::Budget), ..paused.clone() }, 3610, false),
            (
                "no approval yet",
                PausedAgent { status: AgentStatus::PendingApproval, ..paused.clone() },
                3610,
                false,
            ),
            ("since nobody knows when", PausedAgent { since: None, ..paused.clone() }, 3610, false),
        ];
        for (name, agent, now, is_shown) in rows {
            assert_eq!(long_pause(&agent, &"i".into(), "BUG-1", at(now)).is_some(), is_shown, "{name}");
        }
        let item = long_pause(&paused, &"i".into(), "BUG-1", at(9_999)).expect("an item");
        assert_eq!(
            (item.kind, item.entity_type, item.entity_id.as_str()),
            (InboxKind::PausedAgent, "agent", "a")
        );
        assert_eq!(
            (item.cause.as_str(), item.title.as_str()),
            (PAUSED, "Ada is paused, and BUG-1 waits for it")
        );
        assert_eq!(item.details["identifier"], "BUG-1");
        assert_eq!(item.details["issueId"], "i");
        assert_eq!(item.details["pauseReason"], "manual");
    }
}
