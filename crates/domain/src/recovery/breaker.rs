//! Agents that wake each other in a circle are stopped, and people hear of it once (S12 b).
//!
//! A cycle is closed when a wake reaches the agent that set it off: A woke B, and B, or somebody B woke, wakes A. Cycles
//! have the same shape when the wake that sets them off has: from whom, to whom, about which issue, for which reason.
//! [`admit`] is asked before the intake for each wake that an agent causes; wakes by people, timers and recovery pass by
//! and break no cycle. What is held stays written down and is let go when a person touches the issue.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use serde_json::json;

use crate::ids::{AgentId, IssueId};
use crate::moment::Moment;
use crate::recovery::{InboxItem, InboxKind, object};

/// Reason shown on a wake that is held.
pub const HELD_REASON: &str = "wake_loop";

/// When the breaker trips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// So many cycles of one shape ...
    pub cycles: u32,
    /// ... within this span.
    pub within: Duration,
}

impl Default for BreakerSettings {
    /// Six cycles in ten minutes: two agents that really work need longer for one.
    fn default() -> BreakerSettings {
        BreakerSettings { cycles: 6, within: Duration::from_secs(600) }
    }
}

/// One wake that an agent caused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeEdge {
    pub from: AgentId,
    pub to: AgentId,
    pub issue: Option<IssueId>,
    pub reason: String,
    pub at: Moment,
}

impl WakeEdge {
    fn has_shape_of(&self, other: &WakeEdge) -> bool {
        self.from == other.from
            && self.to == other.to
            && self.issue == other.issue
            && self.reason == other.reason
    }
}

/// A breaker that tripped and was not reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trip {
    /// The agents of the circle.
    pub agents: BTreeSet<AgentId>,
    /// The issue it went around; `None`: wakes without one.
    pub issue: Option<IssueId>,
    pub at: Moment,
}

impl Trip {
    /// The wake is one of those that went in the circle.
    pub fn holds(&self, edge: &WakeEdge) -> bool {
        self.issue == edge.issue && self.agents.contains(&edge.from) && self.agents.contains(&edge.to)
    }
}

/// Everything the decision may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerView {
    /// Wakes that agents caused within the span, oldest first, held ones left out.
    pub history: Vec<WakeEdge>,
    /// The wake that is asked for.
    pub edge: WakeEdge,
    /// Trips that nobody reset.
    pub tripped: Vec<Trip>,
    /// When a person last touched the issue: what came before proves nothing.
    pub last_touch: Option<Moment>,
    /// What people call the issue.
    pub identifier: Option<String>,
}

/// What becomes of the wake.
#[derive(Debug, Clone, PartialEq)]
pub enum Admission {
    /// It goes on to the intake.
    Pass,
    /// An agent's own write never wakes it.
    OwnWrite,
    /// It closes one cycle too many: it is held, the trip is stored, and the item opened.
    Trips { trip: Trip, item: Box<InboxItem> },
    /// It belongs to a circle that was stopped: it is held.
    Held,
}

/// Decides about a wake that an agent causes.
pub fn admit(view: &BreakerView, settings: BreakerSettings, now: Moment) -> Admission {
    let edge = &view.edge;
    if edge.from == edge.to {
        return Admission::OwnWrite;
    }
    let untouched = |at: Moment| view.last_touch.is_none_or(|touch| at > touch);
    if view.tripped.iter().any(|trip| untouched(trip.at) && trip.holds(edge)) {
        return Admission::Held;
    }
    let start = now.minus(settings.within);
    let mut edges: Vec<&WakeEdge> = view.history.iter().filter(|e| e.at > start && untouched(e.at)).collect();
    edges.push(edge);
    // Only cycles that this wake closes can be one too many: those set off by the agent it reaches.
    let mut shapes: Vec<&WakeEdge> = Vec::new();
    for candidate in edges.iter().filter(|e| e.from == edge.to) {
        if !shapes.iter().any(|shape| shape.has_shape_of(candidate)) {
            shapes.push(candidate);
        }
    }
    let most = shapes
        .into_iter()
        .map(|shape| (closed(shape, &edges), shape))
        .filter(|(found, _)| found.cycles >= settings.cycles)
        .max_by_key(|(found, _)| found.cycles);
    let Some((found, shape)) = most else { return Admission::Pass };
    let trip = Trip { agents: found.agents, issue: shape.issue.clone(), at: now };
    let item = item(view, &trip, found.cycles, settings);
    Admission::Trips { trip, item: Box::new(item) }
}

struct Cycles {
    cycles: u32,
    /// Everybody who took part.
    agents: BTreeSet<AgentId>,
}

/// Counts the cycles that were set off by wakes of one shape and came back to their agent.
fn closed(shape: &WakeEdge, edges: &[&WakeEdge]) -> Cycles {
    let mut cycles = 0;
    let mut agents = BTreeSet::new();
    // Who was reached since the wake that set the open cycle off; empty while none is open.
    let mut reached: HashSet<&AgentId> = HashSet::new();
    for edge in edges {
        if edge.has_shape_of(shape) {
            reached = HashSet::from([&edge.to]);
        } else if reached.contains(&edge.from) {
            if edge.to == shape.from {
                cycles += 1;
                agents.extend(reached.drain().cloned());
                agents.insert(shape.from.clone());
            } else {
                reached.insert(&edge.to);
            }
        }
    }
    Cycles { cycles, agents }
}

fn item(view: &BreakerView, trip: &Trip, cycles: u32, settings: BreakerSettings) -> InboxItem {
    let agents: Vec<&str> = trip.agents.iter().map(AgentId::as_str).collect();
    let (entity_type, entity_id) = match &trip.issue {
        Some(issue) => ("issue", issue.to_string()),
        None => ("agent", view.edge.to.to_string()),
    };
    let title = match &view.identifier {
        Some(identifier) => format!("Agents wake each other in a circle over {identifier}"),
        None => "Agents wake each other in a circle".to_owned(),
    };
    InboxItem {
        kind: InboxKind::WakeLoop,
        entity_type,
        entity_id,
        cause: format!("wake_loop:{}", agents.join("+")),
        title,
        details: object(json!({
            "agentIds": agents,
            "issueId": trip.issue,
            "reason": view.edge.reason,
            "cycles": cycles,
            "withinSeconds": settings.within.as_secs(),
        })),
        owner: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Moment = Moment::from_micros(1_000_000_000_000);

    fn at(seconds: u64) -> Moment {
        NOON.plus(Duration::from_secs(seconds))
    }

    fn edge(from: &str, to: &str, seconds: u64) -> WakeEdge {
        WakeEdge {
            from: from.into(),
            to: to.into(),
            issue: Some("i".into()),
            reason: "issue_commented".into(),
            at: at(seconds),
        }
    }

    /// Plays the wakes through the breaker the way the shell does, and says what became of each.
    fn play(edges: &[WakeEdge], touch: Option<Moment>) -> (String, Vec<Trip>, Vec<InboxItem>) {
        let (mut history, mut tripped, mut items, mut fates) =
            (Vec::new(), Vec::new(), Vec::new(), String::new());
        for edge in edges {
            let view = BreakerView {
                history: history.clone(),
                edge: edge.clone(),
                tripped: tripped.clone(),
                last_touch: touch.filter(|t| *t < edge.at),
                identifier: Some("ACM-1".into()),
            };
            fates.push(match admit(&view, BreakerSettings::default(), edge.at) {
                Admission::Pass => {
                    history.push(edge.clone());
                    '.'
                }
                Admission::OwnWrite => 'o',
                Admission::Held => 'h',
                Admission::Trips { trip, item } => {
                    tripped.push(trip);
                    items.push(*item);
                    'T'
                }
            });
        }
        (fates, tripped, items)
    }

    fn ping_pong(wakes: usize, every: u64) -> Vec<WakeEdge> {
        (0..wakes)
            .map(|n| {
                let (from, to) = if n.is_multiple_of(2) { ("a", "b") } else { ("b", "a") };
                edge(from, to, n as u64 * every)
            })
            .collect()
    }

    #[test]
    fn s12_ping_pong_stops_at_the_sixth_cycle_and_is_told_once() {
        let (fates, tripped, items) = play(&ping_pong(30, 5), None);
        assert_eq!(fates, "...........Thhhhhhhhhhhhhhhhhh");
        assert_eq!(tripped.len(), 1);
        assert_eq!(tripped[0].agents, BTreeSet::from(["a".into(), "b".into()]));
        assert_eq!(items.len(), 1);
        assert_eq!((items[0].entity_type, items[0].entity_id.as_str()), ("issue", "i"));
        assert_eq!(items[0].cause, "wake_loop:a+b");
        assert_eq!(items[0].title, "Agents wake each other in a circle over ACM-1");
        assert_eq!(
            (&items[0].details["cycles"], &items[0].details["withinSeconds"]),
            (&json!(6), &json!(600))
        );
    }

    #[test]
    fn six_cycles_in_more_than_the_span_are_work() {
        // Six cycles need eleven steps: at 60 s each the first wake is out of the span when the sixth closes.
        assert_eq!(play(&ping_pong(40, 60), None).0, ".".repeat(40));
        assert!(play(&ping_pong(40, 54), None).0.contains('T'));
    }

    #[test]
    fn an_agents_own_write_never_wakes_it() {
        let own: Vec<WakeEdge> = (0..100).map(|n| edge("a", "a", n)).collect();
        assert_eq!(play(&own, None).0, "o".repeat(100));
    }

    #[test]
    fn many_wakes_without_an_answer_are_no_cycle() {
        let mut edges: Vec<WakeEdge> = (0..50).map(|n| edge("a", "b", n)).collect();
        edges.push(edge("b", "a", 51));
        edges.extend((52..60).map(|n| edge("b", "a", n)));
        assert_eq!(play(&edges, None).0, ".".repeat(59));
    }

    #[test]
    fn a_circle_of_three_is_a_circle() {
        let edges: Vec<WakeEdge> = (0..30)
            .map(|n: u64| {
                let ring = ["a", "b", "c"];
                edge(ring[n as usize % 3], ring[(n as usize + 1) % 3], n)
            })
            .collect();
        let (fates, tripped, _) = play(&edges, None);
        assert_eq!(fates.find('T'), Some(17));
        assert_eq!(&fates[18..], "h".repeat(12));
        assert_eq!(tripped[0].agents, BTreeSet::from(["a".into(), "b".into(), "c".into()]));
    }

    #[test]
    fn another_reason_or_issue_is_another_shape() {
        let edges: Vec<WakeEdge> = (0..40)
            .map(|n: u64| {
                let (from, to) = if n.is_multiple_of(2) { ("a", "b") } else { ("b", "a") };
                WakeEdge { issue: Some(IssueId(format!("i{}", n / 2))), ..edge(from, to, n) }
            })
            .collect();
        assert_eq!(play(&edges, None).0, ".".repeat(40));
        let edges: Vec<WakeEdge> = (0..40)
            .map(|n: u64| {
                let (from, to) = if n.is_multiple_of(2) { ("a", "b") } else { ("b", "a") };
                WakeEdge { reason: format!("r{}", n / 2), ..edge(from, to, n) }
            })
            .collect();
        assert_eq!(play(&edges, None).0, ".".repeat(40));
    }

    #[test]
    fn wakes_outside_the_circle_go_on() {
        let mut edges = ping_pong(12, 1);
        edges.push(WakeEdge { issue: Some("other".into()), ..edge("a", "b", 20) });
        edges.push(edge("a", "c", 21));
        edges.push(edge("c", "a", 22));
        edges.push(edge("b", "a", 23));
        assert_eq!(play(&edges, None).0, "...........T...h");
    }

    #[test]
    fn a_person_resets_it_and_the_count() {
        let (fates, tripped, _) = play(&ping_pong(40, 1), Some(at(14)));
        assert_eq!(&fates[..15], "...........Thhh");
        // Eleven more pass before the next trip: b's answer comes first after the touch.
        assert_eq!(&fates[15..], "...........Thhhhhhhhhhhhh");
        assert_eq!(tripped.len(), 2);
    }

    #[test]
    fn the_span_and_the_touch_begin_after_their_moment() {
        // Twelve wakes close six cycles: eleven are history, the twelfth is asked for.
        let history = ping_pong(11, 10);
        let ask = |now: Moment, last_touch: Option<Moment>| {
            let edge = WakeEdge { at: now, ..edge("b", "a", 0) };
            let view =
                BreakerView { history: history.clone(), edge, tripped: vec![], last_touch, identifier: None };
            admit(&view, BreakerSettings::default(), now)
        };
        let trips = |admission: Admission| matches!(admission, Admission::Trips { .. });
        assert!(trips(ask(at(600).minus(Duration::from_micros(1)), None)));
        assert_eq!(ask(at(600), None), Admission::Pass, "the first wake is as old as the span");
        assert!(trips(ask(at(110), Some(NOON.minus(Duration::from_micros(1))))));
        assert_eq!(ask(at(110), Some(NOON)), Admission::Pass, "the touch came with the first wake");
    }

    #[test]
    fn wakes_without_an_issue_are_told_of_at_the_agent() {
        let edges: Vec<WakeEdge> =
            ping_pong(12, 1).into_iter().map(|e| WakeEdge { issue: None, ..e }).collect();
        let (_, _, items) = play(&edges, None);
        assert_eq!((items[0].entity_type, items[0].entity_id.as_str()), ("agent", "a"));
    }
}
