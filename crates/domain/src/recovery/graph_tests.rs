//! The tables of `graph`, row by row. A file of its own: the rows are longer than the rules.

use super::*;

const DAY: Moment = Moment::from_micros(86_400_000_000);

fn issue(id: &str, status: IssueStatus) -> GraphIssue {
    GraphIssue {
        id: id.into(),
        identifier: Some(id.to_uppercase()),
        status,
        hidden: false,
        assignee: None,
        assigned_to_user: false,
        creator: None,
        review: None,
        has_live_run: false,
        has_wake: false,
        awaits_interaction: false,
        awaits_approval: false,
        held: false,
        shown: false,
        said: None,
        updated_at: DAY,
    }
}

fn agent(id: &str, status: AgentStatus, reports_to: Option<&str>) -> GraphAgent {
    GraphAgent { id: id.into(), status, reports_to: reports_to.map(Into::into), budget_blocked: false }
}

/// `s` is blocked by `b`; `a` works for `m`, `p` is paused.
fn blocked_by(leaf: GraphIssue) -> Graph {
    Graph {
        company: "c".into(),
        blocks: vec![(leaf.id.clone(), "s".into())],
        issues: vec![issue("s", IssueStatus::Blocked), leaf],
        agents: vec![
            agent("a", AgentStatus::Idle, Some("m")),
            agent("m", AgentStatus::Active, None),
            agent("p", AgentStatus::Paused, Some("m")),
        ],
    }
}

fn states(graph: &Graph) -> Vec<(String, GraphState, String)> {
    findings(graph).into_iter().map(|f| (f.source.0, f.state, f.leaf.0)).collect()
}

fn assigned(id: &str, status: IssueStatus, to: &str) -> GraphIssue {
    GraphIssue { assignee: Some(to.into()), ..issue(id, status) }
}

#[test]
fn every_row_for_a_blocker() {
    use GraphState::{
        BlockedByCancelledIssue, BlockedByUnassignedIssue, BlockedByUninvokableAssignee,
        BlockedWithoutBlockers, InReviewWithoutActionPath, InvalidReviewParticipant,
    };
    use IssueStatus::{Backlog, Cancelled, InProgress, InReview, Todo};
    let live = |i: GraphIssue| GraphIssue { has_live_run: true, ..i };
    let rows: Vec<(&str, GraphIssue, Option<GraphState>)> = vec![
        ("hidden", GraphIssue { hidden: true, ..issue("b", Todo) }, None),
        ("cancelled", issue("b", Cancelled), Some(BlockedByCancelledIssue)),
        ("cancelled, still running", live(issue("b", Cancelled)), Some(BlockedByCancelledIssue)),
        ("a person's", GraphIssue { assigned_to_user: true, ..issue("b", Todo) }, None),
        ("unassigned with a live run", live(issue("b", Todo)), None),
        ("unassigned with a wake", GraphIssue { has_wake: true, ..issue("b", Todo) }, None),
        ("unassigned, asks a person", GraphIssue { awaits_interaction: true, ..issue("b", Todo) }, None),
        ("unassigned, awaits approval", GraphIssue { awaits_approval: true, ..issue("b", Todo) }, None),
        ("in review without a reviewer", assigned("b", InReview, "a"), Some(InReviewWithoutActionPath)),
        (
            "in review by a paused agent",
            GraphIssue { review: Some(Reviewer::Agent("p".into())), ..assigned("b", InReview, "a") },
            Some(InvalidReviewParticipant),
        ),
        ("in review, nobody's", issue("b", InReview), Some(InReviewWithoutActionPath)),
        ("unassigned todo", issue("b", Todo), Some(BlockedByUnassignedIssue)),
        ("unassigned backlog", issue("b", Backlog), Some(BlockedByUnassignedIssue)),
        (
            "unassigned leaf that is blocked itself",
            issue("b", IssueStatus::Blocked),
            Some(BlockedByUnassignedIssue),
        ),
        ("paused agent's", assigned("b", Todo, "p"), Some(BlockedByUninvokableAssignee)),
        ("lost agent's", assigned("b", InProgress, "gone"), Some(BlockedByUninvokableAssignee)),
        ("paused agent's with a live run", live(assigned("b", Todo, "p")), None),
        ("an agent's", assigned("b", Todo, "a"), None),
        (
            "an agent's, blocked in words",
            assigned("b", IssueStatus::Blocked, "a"),
            Some(BlockedWithoutBlockers),
        ),
        (
            "an agent's, given up",
            GraphIssue { shown: true, ..assigned("b", IssueStatus::Blocked, "a") },
            None,
        ),
        ("an agent's, blocked, with a live run", live(assigned("b", IssueStatus::Blocked, "a")), None),
    ];
    for (name, leaf, expected) in rows {
        let found = states(&blocked_by(leaf));
        let expected: Vec<_> =
            expected.map(|state| ("s".to_owned(), state, "b".to_owned())).into_iter().collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn every_row_for_a_review() {
    use GraphState::{InReviewWithoutActionPath, InvalidReviewParticipant};
    let review = |reviewer: Option<Reviewer>| GraphIssue {
        review: reviewer,
        ..assigned("b", IssueStatus::InReview, "a")
    };
    let by = |id: &str| Some(Reviewer::Agent(id.into()));
    let rows: Vec<(&str, GraphIssue, Option<GraphState>)> = vec![
        ("healthy", GraphIssue { has_wake: true, ..review(None) }, None),
        ("healthy, bad participant", GraphIssue { awaits_interaction: true, ..review(by("p")) }, None),
        ("agent", review(by("m")), None),
        ("paused agent", review(by("p")), Some(InvalidReviewParticipant)),
        ("lost agent", review(by("gone")), Some(InvalidReviewParticipant)),
        ("person", review(Some(Reviewer::User("u".into()))), None),
        ("person without an id", review(Some(Reviewer::User(String::new()))), Some(InvalidReviewParticipant)),
        ("nobody", review(Some(Reviewer::Nobody)), Some(InvalidReviewParticipant)),
        (
            "nobody, unassigned",
            GraphIssue { assignee: None, ..review(Some(Reviewer::Nobody)) },
            Some(InvalidReviewParticipant),
        ),
        ("no execution state, an agent's", review(None), Some(InReviewWithoutActionPath)),
        (
            "no execution state, nobody's",
            GraphIssue { assignee: None, ..review(None) },
            Some(InReviewWithoutActionPath),
        ),
        (
            "no execution state, a person's",
            GraphIssue { assignee: None, assigned_to_user: true, ..review(None) },
            None,
        ),
    ];
    for (name, leaf, expected) in rows {
        let graph = Graph { issues: vec![leaf], blocks: vec![], ..blocked_by(issue("b", IssueStatus::Todo)) };
        let expected: Vec<_> =
            expected.map(|state| ("b".to_owned(), state, "b".to_owned())).into_iter().collect();
        assert_eq!(states(&graph), expected, "{name}");
    }
}

#[test]
fn what_is_blocked_in_words_only_waits_for_a_person() {
    use IssueStatus::{Blocked, Done, Todo};
    let alone = |issue: GraphIssue| chain(&[], vec![issue]);
    let said = |words: &str| GraphIssue { said: Some(words.into()), ..assigned("s", Blocked, "a") };
    let rows: Vec<(&str, Graph, Option<&str>)> = vec![
        ("words", alone(said("\n I need a key.\nPlease.")), Some("S is blocked: I need a key.")),
        ("no words", alone(assigned("s", Blocked, "a")), Some("S is blocked, no reason given")),
        ("nobody's", alone(issue("s", Blocked)), Some("S is blocked, no reason given")),
        ("a person's", alone(GraphIssue { assigned_to_user: true, ..issue("s", Blocked) }), None),
        ("asks a person", alone(GraphIssue { awaits_interaction: true, ..said("x") }), None),
        ("its run goes on", alone(GraphIssue { has_live_run: true, ..said("x") }), None),
        ("given up and shown", alone(GraphIssue { shown: true, ..said("x") }), None),
        (
            "its blockers are done",
            chain(&[("d", "s")], vec![said("still"), issue("d", Done)]),
            Some("S is blocked: still"),
        ),
        ("a blocker is open", chain(&[("o", "s")], vec![said("x"), assigned("o", Todo, "a")]), None),
        (
            "a hidden blocker is open",
            chain(&[("o", "s")], vec![said("x"), GraphIssue { hidden: true, ..assigned("o", Todo, "a") }]),
            None,
        ),
    ];
    for (name, graph, expected) in rows {
        let found = findings(&graph);
        assert_eq!(found.first().map(|f| f.reason.as_str()), expected, "{name}");
        assert!(found.iter().all(|f| f.state == GraphState::BlockedWithoutBlockers), "{name}");
    }
    // It is shown to whoever stands above the agent, not to the agent itself.
    let graph = alone(said("I need a key."));
    let steps = reconcile(&graph, &findings(&graph), &[], GraphSettings::default(), DAY);
    let [GraphStep::Open { item, wake: None }] = &steps[..] else { panic!("one item: {steps:?}") };
    assert_eq!((item.title.as_str(), &item.owner), ("S is blocked: I need a key.", &Some("m".into())));
    assert_eq!(item.details["said"], "I need a key.");
}

#[test]
fn only_what_is_blocked_in_its_own_words_is_called_by_them() {
    let title = |graph: &Graph| {
        let steps = reconcile(graph, &findings(graph), &[], GraphSettings::default(), DAY);
        let [GraphStep::Open { item, .. }] = &steps[..] else { panic!("one item: {steps:?}") };
        item.title.clone()
    };
    let said = GraphIssue { said: Some("x".into()), ..assigned("b", IssueStatus::Blocked, "a") };
    assert_eq!(title(&chain(&[], vec![said.clone()])), "B is blocked: x");
    assert_eq!(title(&blocked_by(said)), "S is stuck: B is blocked: x");
    let review = title(&chain(&[], vec![assigned("b", IssueStatus::InReview, "a")]));
    assert!(review.starts_with("B is stuck: B is in review"), "{review}");
}

#[test]
fn invokable_means_active_idle_running_or_error() {
    for &status in AgentStatus::ALL {
        let mut graph = blocked_by(assigned("b", IssueStatus::Todo, "x"));
        graph.agents.push(agent("x", status, None));
        let expected = !matches!(
            status,
            AgentStatus::Active | AgentStatus::Idle | AgentStatus::Running | AgentStatus::Error
        );
        assert_eq!(!findings(&graph).is_empty(), expected, "{status}");
    }
}

fn chain(edges: &[(&str, &str)], issues: Vec<GraphIssue>) -> Graph {
    Graph {
        issues,
        blocks: edges.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
        ..blocked_by(issue("b", IssueStatus::Todo))
    }
}

#[test]
fn the_top_of_a_chain_is_examined_and_its_deepest_stuck_end_found() {
    use GraphState::{BlockedByUnassignedIssue, BlockedByUninvokableAssignee};
    use IssueStatus::{Blocked, InReview, Todo};
    let deep =
        chain(&[("m", "s"), ("l", "m")], vec![issue("s", Blocked), issue("m", Blocked), issue("l", Todo)]);
    assert_eq!(states(&deep), [("s".into(), BlockedByUnassignedIssue, "l".into())]);
    assert_eq!(findings(&deep)[0].path, ["s".into(), "m".into(), "l".into()]);

    // The middle is judged itself when nothing below it is wrong.
    let middle = chain(
        &[("m", "s"), ("l", "m")],
        vec![issue("s", Blocked), assigned("m", Blocked, "p"), assigned("l", Todo, "a")],
    );
    assert_eq!(states(&middle), [("s".into(), BlockedByUninvokableAssignee, "m".into())]);

    // ... unless it waits healthily.
    let healthy = chain(
        &[("m", "s"), ("l", "m")],
        vec![
            issue("s", Blocked),
            GraphIssue { has_wake: true, ..assigned("m", Blocked, "p") },
            assigned("l", Todo, "a"),
        ],
    );
    assert_eq!(states(&healthy), []);

    // Labels decide the order; the first finding is the only one.
    let two = chain(&[("z", "s"), ("y", "s")], vec![issue("s", Blocked), issue("z", Todo), issue("y", Todo)]);
    assert_eq!(states(&two), [("s".into(), BlockedByUnassignedIssue, "y".into())]);

    // A review that blocks a blocked issue is found once, through that issue.
    let leaf = chain(&[("r", "s")], vec![issue("s", Blocked), assigned("r", InReview, "a")]);
    assert_eq!(states(&leaf), [("s".into(), GraphState::InReviewWithoutActionPath, "r".into())]);

    // A blocker of an issue that is not blocked is examined by itself.
    let open = chain(&[("r", "t")], vec![assigned("t", Todo, "a"), assigned("r", InReview, "a")]);
    assert_eq!(states(&open), [("r".into(), GraphState::InReviewWithoutActionPath, "r".into())]);
}

#[test]
fn cycles_end() {
    use IssueStatus::{Blocked, Todo};
    let ring = chain(
        &[("m", "s"), ("n", "m"), ("m", "n"), ("l", "n")],
        vec![issue("s", Blocked), assigned("m", Blocked, "a"), assigned("n", Blocked, "a"), issue("l", Todo)],
    );
    assert_eq!(states(&ring), [("s".into(), GraphState::BlockedByUnassignedIssue, "l".into())]);
    let closed = chain(&[("s", "m"), ("m", "s")], vec![issue("s", Blocked), issue("m", Blocked)]);
    assert_eq!(states(&closed), []);
}

#[test]
fn a_cancelled_source_of_a_chain_is_examined_as_cancelled_blockers_resolve_nothing() {
    let graph =
        chain(&[("x", "s")], vec![issue("s", IssueStatus::Blocked), issue("x", IssueStatus::Cancelled)]);
    assert_eq!(states(&graph), [("s".into(), GraphState::BlockedByCancelledIssue, "x".into())]);
}

#[test]
fn keys_are_stable() {
    let graph = blocked_by(issue("b", IssueStatus::Todo));
    let finding = &findings(&graph)[0];
    assert_eq!(finding.incident_key, "harness_liveness:c:s:blocked_by_unassigned_issue:b");
    assert_eq!(finding.leaf_key, "harness_liveness_leaf:c:blocked_by_unassigned_issue:b");
    assert_eq!(finding.severity, Severity::Critical);
    let mut reversed = graph.clone();
    reversed.issues.reverse();
    reversed.agents.reverse();
    assert_eq!(findings(&reversed), findings(&graph));
}

#[test]
fn owners_come_by_line_and_id() {
    use OwnerReason::{
        AssigneeReportingChain, CreatorReportingChain, OrderedInvokableFallback, RootAgent,
        StalledBlockerAssignee,
    };
    let agents = [
        agent("worker", AgentStatus::Idle, Some("lead")),
        agent("lead", AgentStatus::Paused, Some("head")),
        agent("head", AgentStatus::Idle, None),
        agent("maker", AgentStatus::Running, Some("ring")),
        agent("ring", AgentStatus::Idle, Some("maker")),
        agent("alone", AgentStatus::Error, None),
        agent("other", AgentStatus::Active, Some("lead")),
    ];
    let leaf = GraphIssue { creator: Some("maker".into()), ..assigned("b", IssueStatus::Todo, "worker") };
    let found = |leaf: &GraphIssue| -> Vec<(String, OwnerReason)> {
        owners(leaf, &agents).into_iter().map(|o| (o.agent.0, o.reason)).collect()
    };
    assert_eq!(
        found(&leaf),
        [
            ("worker".to_owned(), StalledBlockerAssignee),
            ("head".to_owned(), AssigneeReportingChain),
            ("maker".to_owned(), CreatorReportingChain),
            ("ring".to_owned(), CreatorReportingChain),
            ("alone".to_owned(), RootAgent),
            ("other".to_owned(), OrderedInvokableFallback),
        ]
    );
    let cancelled = GraphIssue { status: IssueStatus::Cancelled, creator: None, ..leaf };
    assert_eq!(
        found(&cancelled),
        [
            ("head".to_owned(), AssigneeReportingChain),
            ("alone".to_owned(), RootAgent),
            ("maker".to_owned(), OrderedInvokableFallback),
            ("other".to_owned(), OrderedInvokableFallback),
            ("ring".to_owned(), OrderedInvokableFallback),
            ("worker".to_owned(), OrderedInvokableFallback),
        ]
    );
}

const WAKES: GraphSettings = GraphSettings { wakes_owners: true, look_back: Duration::from_secs(3600) };

fn pass(graph: &Graph, known: &[Known], settings: GraphSettings, now: Moment) -> Vec<GraphStep> {
    reconcile(graph, &findings(graph), known, settings, now)
}

fn opened(steps: &[GraphStep]) -> Vec<(&str, Option<&str>)> {
    steps
        .iter()
        .filter_map(|step| match step {
            GraphStep::Open { item, wake } => {
                Some((item.entity_id.as_str(), wake.as_ref().map(|w| w.agent.as_str())))
            }
            GraphStep::Resolve { .. } => None,
        })
        .collect()
}

fn known(graph: &Graph, wakes: u32, open: bool) -> Vec<Known> {
    findings(graph)
        .into_iter()
        .map(|f| Known { incident_key: f.incident_key, leaf_key: f.leaf_key, wakes, open })
        .collect()
}

#[test]
fn a_finding_opens_one_item_and_wakes_one_owner() {
    let graph = blocked_by(GraphIssue { creator: Some("a".into()), ..issue("b", IssueStatus::Todo) });
    let steps = pass(&graph, &[], WAKES, DAY);
    let [GraphStep::Open { item, wake: Some(wake) }] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!((item.kind, item.entity_type, item.entity_id.as_str()), (InboxKind::StuckChain, "issue", "s"));
    assert_eq!(item.cause, "harness_liveness:c:s:blocked_by_unassigned_issue:b");
    assert_eq!(item.title, "S is stuck: its blocker B has no assignee");
    assert_eq!(item.owner, Some("a".into()));
    assert_eq!(item.details["ownerReason"], "creator_reporting_chain");
    assert_eq!(wake.counts_as, Some(Cause::GraphLiveness));
    assert_eq!(wake.issue, None);
    assert_eq!(
        serde_json::Value::Object(wake.payload.clone()),
        json!({
            "sourceIssueId": "s", "recoveryIssueId": "b",
            "incidentKey": "harness_liveness:c:s:blocked_by_unassigned_issue:b",
        })
    );
    assert_eq!(wake.context["source"], "harness_liveness_escalation");
    assert_eq!(wake.context["taskKey"], "harness_liveness_leaf:c:blocked_by_unassigned_issue:b");
}

#[test]
fn the_assignee_of_the_leaf_is_woken_in_its_scope() {
    let graph = Graph {
        issues: vec![assigned("b", IssueStatus::InReview, "a")],
        blocks: vec![],
        ..blocked_by(issue("b", IssueStatus::Todo))
    };
    let steps = pass(&graph, &[], WAKES, DAY);
    let [GraphStep::Open { wake: Some(wake), .. }] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!((wake.agent.as_str(), wake.issue.clone()), ("a", Some("b".into())));
    assert_eq!((&wake.context["issueId"], &wake.context["taskId"]), (&json!("b"), &json!("b")));
    assert!(!wake.context.contains_key("taskKey"));
}

#[test]
fn owners_are_woken_only_where_that_is_wanted() {
    let graph = blocked_by(issue("b", IssueStatus::Todo));
    let late = DAY.plus(Duration::from_secs(3601));
    let told_only = [("s", None)];
    assert_eq!(opened(&pass(&graph, &[], GraphSettings::default(), DAY)), told_only);
    assert_eq!(opened(&pass(&graph, &[], WAKES, late)), told_only);
    assert_eq!(opened(&pass(&graph, &known(&graph, 2, false), WAKES, DAY)), told_only);
    assert_eq!(opened(&pass(&graph, &[], WAKES, DAY.plus(Duration::from_secs(3600)))), [("s", Some("m"))]);
    assert_eq!(opened(&pass(&graph, &known(&graph, 1, false), WAKES, DAY)), [("s", Some("m"))]);
    assert_eq!(GraphSettings::default().look_back, Duration::from_secs(86_400));
}

#[test]
fn a_hold_on_the_source_and_an_open_item_suppress_a_finding() {
    let mut graph = blocked_by(issue("b", IssueStatus::Todo));
    assert_eq!(pass(&graph, &known(&graph, 1, true), WAKES, DAY), []);
    graph.issues[0].held = true;
    assert_eq!(pass(&graph, &[], WAKES, DAY), []);
}

#[test]
fn an_owner_over_budget_is_passed_over() {
    let mut graph = blocked_by(assigned("b", IssueStatus::InReview, "a"));
    graph.agents[0].budget_blocked = true;
    assert_eq!(opened(&pass(&graph, &[], WAKES, DAY)), [("s", Some("m"))]);
    graph.agents[1].budget_blocked = true;
    assert_eq!(opened(&pass(&graph, &[], WAKES, DAY)), [("s", None)]);
}

#[test]
fn several_dependents_of_one_leaf_share_one_item() {
    let mut graph = blocked_by(issue("b", IssueStatus::Todo));
    graph.issues.push(issue("t", IssueStatus::Blocked));
    graph.blocks.push(("b".into(), "t".into()));
    assert_eq!(findings(&graph).len(), 2);
    assert_eq!(opened(&pass(&graph, &[], WAKES, DAY)), [("s", Some("m"))]);
    // The item stays while anybody waits for that leaf.
    let first = known(&graph, 1, true).into_iter().take(1).collect::<Vec<_>>();
    graph.issues[0].status = IssueStatus::Done;
    assert_eq!(findings(&graph).len(), 1);
    assert_eq!(pass(&graph, &first, WAKES, DAY), []);
}

#[test]
fn what_is_repaired_is_resolved_and_may_be_found_again() {
    let stuck = blocked_by(issue("b", IssueStatus::Todo));
    let open = known(&stuck, 1, true);
    let repaired = blocked_by(assigned("b", IssueStatus::Todo, "a"));
    assert_eq!(
        pass(&repaired, &open, GraphSettings::default(), DAY),
        [GraphStep::Resolve { incident_key: open[0].incident_key.clone() }]
    );
    assert_eq!(pass(&repaired, &known(&stuck, 1, false), WAKES, DAY), []);
    assert_eq!(opened(&pass(&stuck, &known(&stuck, 1, false), WAKES, DAY)), [("s", Some("m"))]);
}
