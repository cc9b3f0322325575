//! What is to be done next with a run that is at work. Asked again after everything that happens to it, and when a time
//! that it named has come; asking twice does no harm (spec/automations.md 2.3, without its waves).

use std::collections::BTreeSet;
use std::time::Duration;

use super::definition::{Definition, Limits, PartialFailure};
use super::graph::Graph;
use super::transition::Settled;
use super::verdict::Stopped;
use super::{AutomationRunStatus, NodeState};
use crate::moment::Moment;

/// A run that would only wait gives its place and its workspace back when it waits longer than this.
pub const LONG_WAIT: Duration = Duration::from_secs(60);

/// A run, as far as the next step goes.
#[derive(Debug, Clone)]
pub struct View<'a> {
    pub definition: &'a Definition,
    /// The definition's, or what people raised them to for this run.
    pub limits: Limits,
    pub status: AutomationRunStatus,
    pub stop: Option<Stop>,
    pub nodes: &'a [NodeView],
    pub spent: Spent,
    pub now: Moment,
}

/// Somebody wants the run to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// What is under way may end by itself; nothing begins.
    pub drains: bool,
}

/// What a run used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Time at work, without waiting.
    pub worked: Duration,
    /// It does not grow at present: no agent works for the run.
    pub rests: bool,
    pub tokens: u64,
    pub cost_micros: u64,
}

/// A node of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    pub id: String,
    pub state: NodeState,
    pub retry_at: Option<Moment>,
    /// The attempt that is under way.
    pub live: Option<Live>,
    /// An attempt that no longer counts has processes still.
    pub leaves: bool,
    /// It was begun since it was made again last; else what it is, others made of it.
    pub began: bool,
}

impl NodeView {
    /// It failed, or is blocked by what it did itself; not because of another one.
    pub fn is_broken_itself(&self) -> bool {
        self.state == NodeState::Failed || (self.state == NodeState::Blocked && self.began)
    }
}

/// An attempt that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// `None`: its agent's run has not started.
    pub began_at: Option<Moment>,
    /// When anything was last heard of it.
    pub last_sign_at: Option<Moment>,
    /// It was asked to stop.
    pub stops: bool,
    /// It asked people for a permission and waits: neither silence nor time counts meanwhile.
    pub waits_for_person: bool,
    /// As long as it waited for people before, in all.
    pub waited: Duration,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Begin an attempt of this node.
    Start(String),
    /// Ask people at this node.
    Ask(String),
    /// It cannot begin any more, because of what the other node came to.
    Block { node: String, by: String },
    /// Stop the attempt of this node.
    Stop { node: String, why: Stopped },
    /// The run reached one of its limits.
    Limit(LimitKind),
    /// What was under way has stopped.
    Stopped,
    /// Nothing to do before a person decides.
    Await,
    /// Nothing to do before this time.
    BackOff(Moment),
    /// All nodes are over. The words say which of them decided it.
    Settle { settled: Settled, reason: Option<String> },
}

/// Which limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    Runtime,
    Tokens,
    Cost,
}

impl LimitKind {
    /// The field that raises it.
    pub const fn field(self) -> &'static str {
        match self {
            LimitKind::Runtime => "maxRuntimeSec",
            LimitKind::Tokens => "maxTokens",
            LimitKind::Cost => "maxCostCents",
        }
    }
}

/// What is to be done, and when to look again at the latest if nothing happens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub look_at: Option<Moment>,
}

/// Which limit a run has reached.
pub fn limit_reached(limits: &Limits, spent: &Spent) -> Option<LimitKind> {
    let over = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| used >= limit);
    if limits.max_runtime_sec.is_some_and(|most| spent.worked >= Duration::from_secs(most)) {
        return Some(LimitKind::Runtime);
    }
    if over(limits.max_tokens, spent.tokens) {
        return Some(LimitKind::Tokens);
    }
    let cost = limits.max_cost_cents.map(|cents| cents.saturating_mul(10_000));
    over(cost, spent.cost_micros).then_some(LimitKind::Cost)
}

/// Says what is to be done now.
pub fn advance(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    if !view.status.is_at_work() {
        return plan;
    }
    let lives = |node: &&NodeView| node.live.is_some() || node.leaves;
    if let Some(stop) = view.stop {
        // What drains is within the limits of its run as ever.
        let drains = stop.drains && limit_reached(&view.limits, &view.spent).is_none();
        let running = view.nodes.iter().filter_map(|node| node.live.as_ref().map(|live| (node, live)));
        for (node, live) in running {
            // What has not begun is not waited for: nothing begins any more, and its agent may not be able to for long.
            let is_waited_for = drains && live.began_at.is_some();
            if !is_waited_for && !live.stops {
                plan.steps.push(Step::Stop { node: node.id.clone(), why: Stopped::Interrupted });
            } else if drains {
                overdue(view, node, live, &mut plan);
                plan.at_runtime_limit(view);
            }
        }
        if view.nodes.iter().find(lives).is_none() {
            plan.steps.push(Step::Stopped);
        }
        return plan;
    }
    // A limit keeps work from going on; where all is done there is none to keep.
    let is_over = view.nodes.iter().all(|node| node.state.is_final() && node.live.is_none() && !node.leaves);
    if let Some(kind) = limit_reached(&view.limits, &view.spent).filter(|_| !is_over) {
        plan.steps.push(Step::Limit(kind));
        return plan;
    }
    if !is_over {
        plan.at_runtime_limit(view);
    }
    for node in view.nodes {
        if let Some(live) = &node.live {
            overdue(view, node, live, &mut plan);
        }
    }
    let graph = Graph::of(view.definition);
    let blocked = block(view, &graph, &mut plan);
    begin(view, &graph, &blocked, &mut plan);
    rest(view, &blocked, &mut plan);
    plan
}

/// What the agents are called that a run would wake first if it were at work now; `None`: it has something else to do, or
/// nothing (spec/automations.md 2.1).
pub fn next_agents<'a>(view: &View<'a>) -> Option<BTreeSet<&'a str>> {
    let plan = advance(&View { status: AutomationRunStatus::Running, stop: None, ..view.clone() });
    let of = |step: &Step| match step {
        Step::Start(id) => view.definition.node(id)?.agent.as_deref(),
        _ => None,
    };
    let called: Option<BTreeSet<&str>> = plan.steps.iter().map(of).collect();
    called.filter(|called| !called.is_empty())
}

/// What is next of a run that waits for people, and so has no place: the next question is asked, or it comes to its end.
/// Nothing, as soon as some step is to begin or waits for its time: then all of it waits for a place.
pub fn without_place(view: &View<'_>) -> Vec<Step> {
    let steps = advance(&View { status: AutomationRunStatus::Running, ..view.clone() }).steps;
    let needs_place = |step: &Step| match step {
        Step::Ask(_) | Step::Block { .. } | Step::Await | Step::Settle { .. } => false,
        Step::Start(_) | Step::Stop { .. } | Step::Limit(_) | Step::Stopped | Step::BackOff(_) => true,
    };
    if steps.iter().any(needs_place) { Vec::new() } else { steps }
}

/// What becomes of the clock of a run, by which its time is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// It goes on as it was.
    Same,
    /// It counts from this time on.
    Runs(Moment),
    /// It has counted up to now.
    Rests,
}

/// The time of a run counts while an agent works for it: not while nothing is under way, nor while all that is waits for its
/// agent.
///
/// `counts` = it counts at present; `begun` = when the agents of what is under way began, `None` = one has not.
pub fn clock(counts: bool, begun: &[Option<Moment>], now: Moment) -> Clock {
    match (counts, begun.iter().flatten().min()) {
        (false, Some(at)) => Clock::Runs(now.min(*at)),
        (true, None) => Clock::Rests,
        (true, Some(_)) | (false, None) => Clock::Same,
    }
}

impl Plan {
    fn earlier(&mut self, at: Moment) {
        self.look_at = Some(self.look_at.map_or(at, |other| other.min(at)));
    }

    /// Looks again when the run will have used up its time, if that goes by.
    fn at_runtime_limit(&mut self, view: &View<'_>) {
        if let Some(most) = view.limits.max_runtime_sec.filter(|_| !view.spent.rests) {
            let left = Duration::from_secs(most).saturating_sub(view.spent.worked);
            self.earlier(view.now.plus(left));
        }
    }
}

/// Stops an attempt that is silent for too long or takes too long, or says when it would be.
fn overdue(view: &View<'_>, node: &NodeView, live: &Live, plan: &mut Plan) {
    let Some(began_at) = live.began_at.filter(|_| !live.stops && !live.waits_for_person) else { return };
    let Some(of) = view.definition.node(&node.id) else { return };
    let (idle, total) = of.time_limits();
    let last = live.last_sign_at.map_or(began_at, |at| at.max(began_at));
    let ends = [idle.map(|idle| last.plus(idle)), total.map(|total| began_at.plus(total).plus(live.waited))];
    let Some(end) = ends.into_iter().flatten().min() else { return };
    if view.now >= end {
        plan.steps.push(Step::Stop { node: node.id.clone(), why: Stopped::Timeout });
    } else {
        plan.earlier(end);
    }
}

/// Nodes that cannot begin any more; returns them.
fn block(view: &View<'_>, graph: &Graph<'_>, plan: &mut Plan) -> BTreeSet<String> {
    let mut blocked = BTreeSet::new();
    for broken in view.nodes.iter().filter(|it| matches!(it.state, NodeState::Failed | NodeState::Blocked)) {
        // What was blocked by others says nothing for itself.
        let of = view.definition.node(&broken.id).filter(|_| broken.is_broken_itself());
        let mode = of.map(|node| node.on_failure());
        let after = graph.descendants([broken.id.as_str()]);
        let waiting = view.nodes.iter().filter(|it| it.state == NodeState::Pending && it.live.is_none());
        for node in waiting {
            let is_hit = mode == Some(PartialFailure::PauseAll) || after.contains(node.id.as_str());
            if is_hit && blocked.insert(node.id.clone()) {
                plan.steps.push(Step::Block { node: node.id.clone(), by: broken.id.clone() });
            }
        }
    }
    blocked
}

fn begin(view: &View<'_>, graph: &Graph<'_>, blocked: &BTreeSet<String>, plan: &mut Plan) {
    let done: BTreeSet<&str> =
        view.nodes.iter().filter(|node| node.state.is_done()).map(|node| node.id.as_str()).collect();
    // What an earlier answer made of it still works: two that were never to be at work together would be.
    let leaves: Vec<&str> = view.nodes.iter().filter(|it| it.leaves).map(|it| it.id.as_str()).collect();
    let left_over = |id: &str| {
        !leaves.is_empty() && {
            let (before, after) = (graph.ancestors(id), graph.descendants([id]));
            leaves.iter().any(|left| before.contains(left) || after.contains(left))
        }
    };
    let mut room =
        view.limits.parallel().saturating_sub(view.nodes.iter().filter(|it| it.live.is_some()).count());
    for node in view.nodes {
        let is_next = node.state == NodeState::Pending
            && node.live.is_none()
            && !node.leaves
            && !blocked.contains(&node.id)
            && !left_over(&node.id)
            && graph.dependencies(&node.id).iter().all(|id| done.contains(id));
        if !is_next {
            continue;
        }
        if let Some(at) = node.retry_at.filter(|at| *at > view.now) {
            plan.earlier(at);
            continue;
        }
        let is_gate = view.definition.node(&node.id).is_some_and(|node| node.is_gate());
        if is_gate {
            plan.steps.push(Step::Ask(node.id.clone()));
        } else if room > 0 {
            room -= 1;
            plan.steps.push(Step::Start(node.id.clone()));
        }
    }
}

/// What a run comes to in which nothing is under way and nothing begins.
fn rest(view: &View<'_>, blocked: &BTreeSet<String>, plan: &mut Plan) {
    let begins = plan.steps.iter().any(|step| matches!(step, Step::Start(_)));
    let is_busy = begins || view.nodes.iter().any(|node| node.live.is_some() || node.leaves);
    if is_busy {
        return;
    }
    let open = |node: &&NodeView| !node.state.is_final() && !blocked.contains(&node.id);
    let retries = view.nodes.iter().filter(open).filter_map(|node| node.retry_at.filter(|at| *at > view.now));
    if let Some(first) = retries.min() {
        if first > view.now.plus(LONG_WAIT) {
            plan.steps.push(Step::BackOff(first));
        }
        return;
    }
    let asks = plan.steps.iter().any(|step| matches!(step, Step::Ask(_)));
    if asks || view.nodes.iter().any(|node| node.state == NodeState::AwaitingApproval) {
        plan.steps.push(Step::Await);
        return;
    }
    let first = |state: NodeState| view.nodes.iter().find(|node| node.state == state).map(|node| &node.id);
    let (settled, reason) = if let Some(node) = first(NodeState::Failed) {
        (Settled::Failed, Some(format!("node {node} failed")))
    } else if let Some(node) = first(NodeState::Blocked) {
        (Settled::Blocked, Some(format!("node {node} is blocked")))
    } else if let Some(node) = view.nodes.iter().find(|node| !node.state.is_final()) {
        (Settled::Failed, Some(format!("flow deadlock: node {} can never begin", node.id)))
    } else {
        (Settled::Completed, None)
    };
    plan.steps.push(Step::Settle { settled, reason });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::automation::definition::read;

    fn definition(nodes: &[(&str, &[&str])]) -> Json {
        let nodes: Vec<_> = nodes
            .iter()
            .map(|(id, before)| match id.strip_prefix('?') {
                Some(_) => json!({ "id": id, "dependsOn": before, "gate": {} }),
                None => json!({ "id": id, "agent": "Ada", "objective": "o", "dependsOn": before }),
            })
            .collect();
        json!({ "name": "n", "nodes": nodes })
    }

    fn at(seconds: i64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    const NOW: i64 = 10_000;

    /// `done`, `failed`, `blocked`, `asks`, `wait` (a retry at a second), `runs` (began and heard of at), `stops`, `left`.
    fn node(id: &str, word: &str) -> NodeView {
        let (word, second) = word.split_once(' ').unwrap_or((word, ""));
        let second: Option<i64> = second.parse().ok();
        let live = |stops| Live {
            began_at: second.map(at),
            last_sign_at: None,
            stops,
            waits_for_person: word == "waits",
            waited: Duration::ZERO,
        };
        let of = |state| NodeView {
            id: id.to_owned(),
            state,
            retry_at: None,
            live: None,
            leaves: false,
            began: word != "blocked",
        };
        match word {
            "done" => of(NodeState::Completed),
            "skipped" => of(NodeState::Skipped),
            "failed" => of(NodeState::Failed),
            "blocked" => of(NodeState::Blocked),
            "asks" => of(NodeState::AwaitingApproval),
            "wait" => NodeView { retry_at: second.map(at), ..of(NodeState::Pending) },
            "runs" | "waits" => NodeView { live: Some(live(false)), ..of(NodeState::Running) },
            "stops" => NodeView { live: Some(live(true)), ..of(NodeState::Running) },
            "left" => NodeView { leaves: true, ..of(NodeState::Pending) },
            _ => of(NodeState::Pending),
        }
    }

    struct Case {
        definition: Json,
        nodes: Vec<NodeView>,
        stop: Option<Stop>,
        spent: Spent,
        status: AutomationRunStatus,
    }

    fn case(edges: &[(&str, &[&str])], words: &[&str]) -> Case {
        Case {
            definition: definition(edges),
            nodes: edges.iter().zip(words).map(|((id, _), word)| node(id, word)).collect(),
            stop: None,
            spent: Spent::default(),
            status: AutomationRunStatus::Running,
        }
    }

    impl Case {
        fn plan(&self) -> Plan {
            let definition = read(&self.definition).unwrap();
            advance(&View {
                limits: definition.limits,
                definition: &definition,
                status: self.status,
                stop: self.stop,
                nodes: &self.nodes,
                spent: self.spent,
                now: at(NOW),
            })
        }

        /// The steps in short.
        fn said(&self) -> Vec<String> {
            self.plan().steps.iter().map(short).collect()
        }
    }

    fn short(step: &Step) -> String {
        match step {
            Step::Start(node) => format!("start {node}"),
            Step::Ask(node) => format!("ask {node}"),
            Step::Block { node, by } => format!("block {node} by {by}"),
            Step::Stop { node, why } => format!("stop {node} {why:?}"),
            Step::Limit(kind) => format!("limit {}", kind.field()),
            Step::Stopped => "stopped".to_owned(),
            Step::Await => "await".to_owned(),
            Step::BackOff(until) => format!("back off {}", until.micros() / 1_000_000),
            Step::Settle { settled, .. } => format!("settle {}", settled.status()),
        }
    }

    type Edges<'a> = &'a [(&'a str, &'a [&'a str])];
    const DIAMOND: Edges<'static> = &[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])];

    #[test]
    fn steps_begin_when_all_they_depend_on_is_done_and_wait_for_nobody_else() {
        let rows: [(Edges<'_>, &[&str], &[&str]); 17] = [
            (DIAMOND, &["", "", "", ""], &["start a"]),
            (DIAMOND, &["done", "", "", ""], &["start b", "start c"]),
            (DIAMOND, &["done", "runs", "", ""], &["start c"]),
            (DIAMOND, &["done", "done", "runs", ""], &[]),
            (DIAMOND, &["done", "done", "skipped", ""], &["start d"]),
            (DIAMOND, &["done", "done", "done", "done"], &["settle completed"]),
            (DIAMOND, &["done", "failed", "runs", ""], &["block d by b"]),
            (DIAMOND, &["done", "failed", "", ""], &["block d by b", "start c"]),
            (DIAMOND, &["done", "failed", "done", "blocked"], &["settle failed"]),
            (DIAMOND, &["done", "blocked", "done", "blocked"], &["settle blocked"]),
            (DIAMOND, &["done", "wait 10001", "wait 10030", ""], &[]),
            (DIAMOND, &["done", "wait 10061", "wait 10099", ""], &["back off 10061"]),
            (DIAMOND, &["done", "wait 10000", "wait 10099", ""], &["start b"]),
            (DIAMOND, &["left", "", "", ""], &[]),
            (DIAMOND, &["", "", "left", ""], &[]),
            (DIAMOND, &["done", "", "left", ""], &["start b"]),
            (DIAMOND, &["done", "", "", "left"], &[]),
        ];
        for (edges, words, expected) in rows {
            assert_eq!(case(edges, words).said(), expected, "{words:?}");
        }
    }

    #[test]
    fn gates_open_as_soon_as_their_own_dependencies_are_met() {
        const TWO: Edges<'static> =
            &[("a", &[]), ("b", &[]), ("?x", &["a"]), ("?y", &["a"]), ("c", &["?x", "b"])];
        let rows: [(&[&str], &[&str]); 6] = [
            (&["done", "runs", "", "", ""], &["ask ?x", "ask ?y"]),
            (&["done", "runs", "asks", "asks", ""], &[]),
            (&["done", "done", "asks", "asks", ""], &["await"]),
            (&["done", "done", "", "", ""], &["ask ?x", "ask ?y", "await"]),
            (&["done", "done", "done", "asks", ""], &["start c"]),
            (&["done", "done", "done", "asks", "done"], &["await"]),
        ];
        for (words, expected) in rows {
            assert_eq!(case(TWO, words).said(), expected, "{words:?}");
        }
    }

    #[test]
    fn the_agents_that_come_first_are_those_of_the_steps_that_would_begin() {
        const FORK: Edges<'static> = &[("a", &[]), ("b", &[]), ("?g", &["a"]), ("c", &["b"])];
        let rows: [(&[&str], Option<&[&str]>); 7] = [
            (&["", "", "", ""], Some(&["A", "B"])),
            (&["wait 10001", "", "", ""], Some(&["B"])),
            (&["done", "", "", ""], None),
            (&["done", "", "asks", ""], Some(&["B"])),
            (&["done", "done", "done", ""], Some(&["C"])),
            (&["failed", "", "", ""], None),
            (&["done", "done", "done", "done"], None),
        ];
        for status in [AutomationRunStatus::Queued, AutomationRunStatus::Running] {
            for (words, expected) in rows {
                let mut case = Case { status, ..case(FORK, words) };
                for (at, name) in [(0, "A"), (1, "B"), (3, "C")] {
                    case.definition["nodes"][at]["agent"] = json!(name);
                }
                let definition = read(&case.definition).unwrap();
                let view = View {
                    limits: definition.limits,
                    definition: &definition,
                    status,
                    stop: None,
                    nodes: &case.nodes,
                    spent: case.spent,
                    now: at(NOW),
                };
                let expected = expected.map(|names| names.iter().copied().collect());
                assert_eq!(next_agents(&view), expected, "{words:?} {status}");
            }
        }
    }

    #[test]
    fn a_full_house_waits_and_gates_need_no_place() {
        let mut wide = case(&[("a", &[]), ("b", &[]), ("c", &[]), ("?g", &[])], &["runs", "", "", ""]);
        wide.definition["limits"] = json!({ "maxParallelAgents": 2 });
        assert_eq!(wide.said(), ["start b", "ask ?g"]);
        wide.definition["limits"] = json!({ "maxParallelAgents": 1 });
        assert_eq!(wide.said(), ["ask ?g"]);
    }

    #[test]
    fn one_failure_pauses_as_much_as_its_node_says() {
        for (mode, expected) in [
            ("pause_downstream_only", vec!["block b by a", "start c"]),
            ("continue_independent", vec!["block b by a", "start c"]),
            ("pause_all", vec!["block b by a", "block c by a", "settle failed"]),
        ] {
            let mut case = case(&[("a", &[]), ("b", &["a"]), ("c", &[])], &["failed", "", ""]);
            case.definition["nodes"][0]["partialFailure"] = json!(mode);
            assert_eq!(case.said(), expected, "{mode}");
        }
    }

    #[test]
    fn a_stop_waits_for_what_is_under_way() {
        let stop = |drains| Some(Stop { drains });
        let rows: [(&[&str], Option<Stop>, &[&str]); 8] = [
            (&["runs", "", "", ""], stop(false), &["stop a Interrupted"]),
            (&["stops", "", "", ""], stop(false), &[]),
            (&["left", "", "", ""], stop(false), &[]),
            (&["done", "", "", ""], stop(false), &["stopped"]),
            (&["runs 9999", "", "", ""], stop(true), &[]),
            // Its agent has not begun, and may not for long: what drains waits for nobody to begin.
            (&["runs", "", "", ""], stop(true), &["stop a Interrupted"]),
            (&["stops", "", "", ""], stop(true), &[]),
            (&["done", "", "asks", ""], stop(true), &["stopped"]),
        ];
        for (words, stop, expected) in rows {
            for status in [AutomationRunStatus::Running, AutomationRunStatus::Pausing] {
                let case = Case { stop, status, ..case(DIAMOND, words) };
                assert_eq!(case.said(), expected, "{words:?} {status}");
            }
        }
    }

    #[test]
    fn nothing_is_done_with_a_run_that_is_not_at_work() {
        for status in AutomationRunStatus::ALL.iter().filter(|status| !status.is_at_work()) {
            let case = Case { status: *status, ..case(DIAMOND, &["", "", "", ""]) };
            assert_eq!(case.plan(), Plan::default(), "{status}");
        }
    }

    #[test]
    fn attempts_end_at_their_limits_and_are_looked_at_then() {
        let one: Edges<'_> = &[("a", &[])];
        let rows = [
            ("runs 9401", Some(10_001), vec![]),
            ("runs 9400", None, vec!["stop a Timeout"]),
            ("stops 9400", None, vec![]),
            ("runs", None, vec![]),
            // People are asked, and may be asleep.
            ("waits 1000", None, vec![]),
        ];
        for (word, look, expected) in rows {
            let plan = case(one, &[word]).plan();
            assert_eq!(plan.look_at, look.map(at), "{word}");
            assert_eq!(plan.steps.iter().map(short).collect::<Vec<_>>(), expected, "{word}");
        }
        let mut heard = case(one, &["runs 8300"]);
        heard.nodes[0].live.as_mut().unwrap().last_sign_at = Some(at(9_999));
        assert_eq!(heard.plan().look_at, Some(at(10_100)), "the ceiling is 1800 s from the beginning");
        heard.nodes[0].live.as_mut().unwrap().began_at = Some(at(8_200));
        assert_eq!(heard.said(), ["stop a Timeout"]);
        heard.nodes[0].live.as_mut().unwrap().waited = Duration::from_secs(50);
        assert_eq!(heard.plan().look_at, Some(at(10_050)), "what it waited for people is not its time");
    }

    #[test]
    fn a_limit_stops_the_run_and_time_that_it_waited_is_not_counted() {
        let spent = |seconds, tokens, cost_micros| Spent {
            worked: Duration::from_secs(seconds),
            tokens,
            cost_micros,
            rests: false,
        };
        let rows = [
            (spent(59, 99, 499_999), None),
            (spent(60, 0, 0), Some(LimitKind::Runtime)),
            (spent(0, 100, 0), Some(LimitKind::Tokens)),
            (spent(0, 0, 500_000), Some(LimitKind::Cost)),
        ];
        for (spent, expected) in rows {
            let limits = Limits {
                max_runtime_sec: Some(60),
                max_tokens: Some(100),
                max_cost_cents: Some(50),
                ..Limits::default()
            };
            assert_eq!(limit_reached(&limits, &spent), expected);
            let mut case = Case { spent, ..case(DIAMOND, &["runs", "", "", ""]) };
            case.definition["limits"] = json!({ "maxRuntimeSec": 60, "maxTokens": 100, "maxCostCents": 50 });
            let plan = case.plan();
            match expected {
                Some(kind) => assert_eq!(plan.steps, [Step::Limit(kind)]),
                None => {
                    assert_eq!(plan.look_at, Some(at(NOW + 1)));
                    case.spent.rests = true;
                    assert_eq!(case.plan().look_at, None, "it never comes");
                }
            }
        }
        assert_eq!(limit_reached(&Limits::default(), &spent(u64::MAX / 2, u64::MAX, u64::MAX)), None);
        // Nobody need raise a limit for a run to end that has done all.
        let mut over = Case { spent: spent(60, 100, 500_000), ..case(DIAMOND, &["done"; 4]) };
        over.definition["limits"] = json!({ "maxRuntimeSec": 60, "maxTokens": 100, "maxCostCents": 50 });
        assert_eq!(over.said(), ["settle completed"]);
        over.nodes[3] = node("d", "left");
        assert_eq!(over.said(), ["limit maxRuntimeSec"]);
    }
}
