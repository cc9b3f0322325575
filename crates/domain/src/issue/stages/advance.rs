//! What a policy makes of a change.
//!
//! A request to finish becomes a review, a reviewer's answer becomes a decision, everybody else is kept from jumping the
//! queue (spec/api.md 5.5). The other rules for changes are in `issue::change`.

use serde_json::{Value, json};

use super::{Current, Outcome, Policy, Stage, StageStatus, StageType, State};
use crate::ids::AgentId;
use crate::issue::refusal::Refusal;
use crate::issue::{IssueStatus, Principal};

/// The issue before the change, with the policy it will have after it.
#[derive(Debug, Clone)]
pub struct StageView<'a> {
    pub status: IssueStatus,
    pub assignee: Option<Principal>,
    pub policy: Option<&'a Policy>,
    pub state: Option<&'a State>,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct StageAsk<'a> {
    pub actor: Option<Principal>,
    pub status: Option<IssueStatus>,
    /// The assignee that the request names: not at all, nobody, somebody.
    pub assignee: Option<Option<Principal>>,
    pub comment: Option<&'a str>,
    /// Instructions for the reviewer: not at all, none, some.
    pub review_request: Option<Option<&'a str>>,
    /// The id that a decision gets, should one be made.
    pub decision_id: &'a str,
}

/// What the policy makes of a change. What is `None` stays as it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    pub status: Option<IssueStatus>,
    pub assignee: Option<Principal>,
    /// The new state; `Some(None)` clears it.
    pub state: Option<Option<State>>,
    pub decision: Option<StageDecision>,
    pub wake: Option<StageWake>,
}

/// A decision of a participant, for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageDecision {
    pub id: String,
    pub stage: String,
    pub kind: StageType,
    pub outcome: Outcome,
    pub body: String,
}

/// The agent whose turn it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageWake {
    pub agent: AgentId,
    pub reason: &'static str,
    /// `executionStage` of payload and context.
    pub stage: Value,
}

/// Decides what becomes of a change of an issue that has or had a policy.
pub fn advance(view: &StageView<'_>, ask: &StageAsk<'_>) -> Result<Step, Refusal> {
    let step = transition(view, ask)?;
    let after = match &step.state {
        Some(state) => state.as_ref(),
        None => view.state,
    };
    let is_asked = after.is_some_and(|state| state.status == StageStatus::Pending);
    if matches!(ask.review_request, Some(Some(_))) && !is_asked {
        return Err(Refusal::ReviewRequestNeedsStage);
    }
    Ok(step)
}

fn transition(view: &StageView<'_>, ask: &StageAsk<'_>) -> Result<Step, Refusal> {
    let Some(policy) = view.policy else {
        return Ok(view.state.map_or_else(Step::default, |state| clear(view, ask, state)));
    };
    let is_closed = view.status.is_terminal();
    let asks_open = ask.status.is_some_and(|status| !status.is_terminal());
    if is_closed && asks_open {
        return Ok(Step { state: view.state.map(|_| None), ..Step::default() });
    }
    if is_closed {
        return Ok(Step::default());
    }
    let Some(state) = view.state else { return start(view, ask, policy, None) };
    let Some(current) = &state.current else { return start(view, ask, policy, None) };
    let Some((index, stage)) = policy.stages.iter().enumerate().find(|(_, stage)| stage.id == current.id)
    else {
        // The stage was taken out of the policy: who asks to finish starts over, anybody else gets a clean state.
        let step = start(view, ask, policy, None)?;
        return Ok(if step.state.is_some() { step } else { clear(view, ask, state) });
    };
    match state.status {
        StageStatus::Pending => answer(view, ask, policy, state, (index, stage)),
        StageStatus::ChangesRequested => start(view, ask, policy, Some(state)),
        StageStatus::Idle | StageStatus::Completed => start(view, ask, policy, None),
    }
}

/// The policy no longer applies: who executed gets an issue back that waits for a review.
fn clear(view: &StageView<'_>, ask: &StageAsk<'_>, state: &State) -> Step {
    let goes_back = view.status == IssueStatus::InReview
        && ask.status.is_none_or(|status| status == IssueStatus::InReview);
    let back = state.return_assignee.clone().filter(|_| goes_back);
    Step {
        status: back.as_ref().map(|_| IssueStatus::InProgress),
        assignee: back,
        state: Some(None),
        ..Step::default()
    }
}

/// Somebody is asked already.
fn answer(
    view: &StageView<'_>,
    ask: &StageAsk<'_>,
    policy: &Policy,
    state: &State,
    (index, stage): (usize, &Stage),
) -> Result<Step, Refusal> {
    let is_member = |who: &&Principal| stage.participants.iter().any(|one| one.who == **who);
    let Some(participant) = state.participant.as_ref().filter(is_member) else {
        // Who was asked is no participant any more: the next one is, or nobody.
        return Ok(match choose(stage, None, None, state.return_assignee.as_ref()) {
            Some(next) => ask_stage(state, (index, stage), next, request(ask, Some(state))),
            None => clear(view, ask, state),
        });
    };
    let decides = ask.status.filter(|status| *status != IssueStatus::InReview);
    if let Some(status) = decides
        && ask.actor.as_ref() == Some(participant)
    {
        return decide(ask, policy, state, stage, status);
    }
    let names_other = ask.assignee.as_ref().is_some_and(|assignee| assignee.as_ref() != Some(participant));
    let has_drifted = view.status != IssueStatus::InReview || view.assignee.as_ref() != Some(participant);
    if has_drifted {
        return Ok(Step {
            status: Some(IssueStatus::InReview),
            assignee: Some(participant.clone()),
            state: asked_anew(ask, state),
            ..Step::default()
        });
    }
    if decides.is_some() || names_other {
        return Err(Refusal::NotTheParticipant);
    }
    Ok(Step { state: asked_anew(ask, state), ..Step::default() })
}

/// New instructions for the stage that is asked.
fn asked_anew(ask: &StageAsk<'_>, state: &State) -> Option<Option<State>> {
    let review_request = request(ask, Some(state));
    (review_request != state.review_request).then(|| Some(State { review_request, ..state.clone() }))
}

fn request(ask: &StageAsk<'_>, same_stage: Option<&State>) -> Option<String> {
    match ask.review_request {
        Some(given) => given.map(str::to_owned),
        None => same_stage.and_then(|state| state.review_request.clone()),
    }
}

/// The participant decides.
fn decide(
    ask: &StageAsk<'_>,
    policy: &Policy,
    state: &State,
    stage: &Stage,
    status: IssueStatus,
) -> Result<Step, Refusal> {
    let approves = status == IssueStatus::Done;
    let body = ask.comment.map(str::trim).filter(|text| !text.is_empty()).ok_or(if approves {
        Refusal::ApprovalNeedsComment
    } else {
        Refusal::ChangesNeedComment
    })?;
    let outcome = if approves { Outcome::Approved } else { Outcome::ChangesRequested };
    let decision = StageDecision {
        id: ask.decision_id.to_owned(),
        stage: stage.id.clone(),
        kind: stage.kind,
        outcome,
        body: body.to_owned(),
    };
    let decided =
        State { last_decision: Some(decision.id.clone()), last_outcome: Some(outcome), ..state.clone() };
    let step = if approves {
        let completed = state.completed.iter().cloned().chain([stage.id.clone()]).collect();
        // Its participant and instructions end with it: they are read again only for a stage that is not passed.
        let passed = State { completed, ..decided };
        next_stage(ask, policy, passed, true)?
    } else {
        let Some(back) = state.return_assignee.clone() else { return Err(Refusal::NoReturnAssignee) };
        let rework = State { status: StageStatus::ChangesRequested, ..decided };
        Step {
            status: Some(IssueStatus::InProgress),
            wake: wake(&back, "execution_changes_requested", "executor", &rework),
            assignee: Some(back),
            state: Some(Some(rework)),
            decision: None,
        }
    };
    Ok(Step { decision: Some(decision), ..step })
}

/// Nobody is asked: a request to finish or to review asks the first stage, or the one that wanted changes.
fn start(
    view: &StageView<'_>,
    ask: &StageAsk<'_>,
    policy: &Policy,
    rework: Option<&State>,
) -> Result<Step, Refusal> {
    let finishes = match ask.status {
        Some(IssueStatus::Done) => true,
        Some(IssueStatus::InReview) if view.status != IssueStatus::InReview => false,
        Some(_) | None => return Ok(Step::default()),
    };
    let executor = view
        .assignee
        .clone()
        .or_else(|| rework.and_then(|state| state.return_assignee.clone()))
        .or_else(|| ask.actor.clone());
    let from = State {
        status: StageStatus::Idle,
        current: rework.and_then(|state| state.current.clone()),
        participant: rework.and_then(|state| state.participant.clone()),
        return_assignee: executor,
        review_request: rework.and_then(|state| state.review_request.clone()),
        completed: rework.map(|state| state.completed.clone()).unwrap_or_default(),
        last_decision: rework.and_then(|state| state.last_decision.clone()),
        last_outcome: rework.and_then(|state| state.last_outcome),
    };
    next_stage(ask, policy, from, finishes)
}

/// Asks the first stage that is not passed. A review that only the executor could do is left out when the issue is to be
/// done; nobody reviews himself, and nobody is stuck for that.
fn next_stage(ask: &StageAsk<'_>, policy: &Policy, mut from: State, finishes: bool) -> Result<Step, Refusal> {
    let named = ask.assignee.as_ref().and_then(Option::as_ref);
    for (index, stage) in policy.stages.iter().enumerate() {
        if from.completed.contains(&stage.id) {
            continue;
        }
        let is_same = from.current.as_ref().is_some_and(|current| current.id == stage.id);
        let asked_before = from.participant.as_ref().filter(|_| is_same);
        if let Some(who) = choose(stage, named, asked_before, from.return_assignee.as_ref()) {
            let review_request = request(ask, is_same.then_some(&from));
            return Ok(ask_stage(&from, (index, stage), who, review_request));
        }
        if !(finishes && stage.kind == StageType::Review) {
            return Err(Refusal::NoEligibleParticipant(stage.kind));
        }
        from.completed.push(stage.id.clone());
    }
    let completed = State {
        status: StageStatus::Completed,
        current: None,
        participant: None,
        review_request: None,
        ..from
    };
    Ok(Step { status: Some(IssueStatus::Done), state: Some(Some(completed)), ..Step::default() })
}

/// The participant to ask: the one named, else the one asked before, else the first; never the executor.
fn choose<'a>(
    stage: &'a Stage,
    named: Option<&Principal>,
    asked_before: Option<&Principal>,
    executor: Option<&Principal>,
) -> Option<&'a Principal> {
    let eligible = || stage.participants.iter().map(|one| &one.who).filter(|who| Some(*who) != executor);
    eligible()
        .find(|who| Some(*who) == named)
        .or_else(|| eligible().find(|who| Some(*who) == asked_before))
        .or_else(|| eligible().next())
}

fn ask_stage(
    from: &State,
    (index, stage): (usize, &Stage),
    who: &Principal,
    review_request: Option<String>,
) -> Step {
    let state = State {
        status: StageStatus::Pending,
        current: Some(Current { id: stage.id.clone(), index, kind: stage.kind }),
        participant: Some(who.clone()),
        review_request,
        ..from.clone()
    };
    let (reason, role) = match stage.kind {
        StageType::Review => ("execution_review_requested", "reviewer"),
        StageType::Approval => ("execution_approval_requested", "approver"),
    };
    Step {
        status: Some(IssueStatus::InReview),
        assignee: Some(who.clone()),
        wake: wake(who, reason, role, &state),
        state: Some(Some(state)),
        decision: None,
    }
}

fn wake(who: &Principal, reason: &'static str, role: &str, state: &State) -> Option<StageWake> {
    let actions = match role {
        "executor" => ["address_changes", "resubmit"],
        _ => ["approve", "request_changes"],
    };
    let told = state.to_value();
    Some(StageWake {
        agent: who.agent()?.clone(),
        reason,
        stage: json!({
            "wakeRole": role,
            "stageId": told["currentStageId"],
            "stageType": told["currentStageType"],
            "currentParticipant": told["currentParticipant"],
            "returnAssignee": told["returnAssignee"],
            "reviewRequest": told["reviewRequest"],
            "lastDecisionOutcome": told["lastDecisionOutcome"],
            "allowedActions": actions,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{agent, in_approval, in_review};
    use super::super::{Participant, PolicyMode};
    use super::*;

    fn user(id: &str) -> Principal {
        Principal::User(id.into())
    }

    fn stage(id: &str, kind: StageType, who: &[Principal]) -> Stage {
        let participants = who.iter().map(|who| Participant { id: "p".into(), who: who.clone() }).collect();
        Stage { id: id.into(), kind, participants }
    }

    fn policy(stages: Vec<Stage>) -> Policy {
        Policy { mode: PolicyMode::Normal, stages }
    }

    /// Review by qa or qa2, then approval by cto.
    fn both() -> Policy {
        policy(vec![
            stage("s1", StageType::Review, &[agent("qa"), agent("qa2")]),
            stage("s2", StageType::Approval, &[agent("cto")]),
        ])
    }

    fn ask(actor: &Principal, status: IssueStatus) -> StageAsk<'static> {
        StageAsk {
            actor: Some(actor.clone()),
            status: Some(status),
            assignee: None,
            comment: Some("because"),
            review_request: None,
            decision_id: "d1",
        }
    }

    fn nothing(actor: &Principal) -> StageAsk<'static> {
        StageAsk { status: None, ..ask(actor, IssueStatus::Done) }
    }

    fn at<'a>(
        status: IssueStatus,
        assignee: &Principal,
        policy: &'a Policy,
        state: Option<&'a State>,
    ) -> StageView<'a> {
        StageView { status, assignee: Some(assignee.clone()), policy: Some(policy), state }
    }

    /// Status, assignee and state of a step, which most rows compare.
    fn shown(step: Step) -> (Option<IssueStatus>, Option<Principal>, Option<Option<State>>) {
        (step.status, step.assignee, step.state)
    }

    #[test]
    fn the_executors_request_asks_the_first_stage() {
        use IssueStatus::{Done, InProgress, InReview};
        let (dev, policy) = (agent("dev"), both());
        for status in [Done, InReview] {
            let step = advance(&at(InProgress, &dev, &policy, None), &ask(&dev, status)).expect("a step");
            assert_eq!(shown(step), (Some(InReview), Some(agent("qa")), Some(Some(in_review()))), "{status}");
        }
        let step = advance(&at(InProgress, &dev, &policy, None), &ask(&dev, Done)).expect("a step");
        let wake = step.wake.expect("a wake");
        assert_eq!((wake.agent, wake.reason), ("qa".into(), "execution_review_requested"));
        assert_eq!(
            wake.stage,
            json!({"wakeRole": "reviewer", "stageId": "s1", "stageType": "review",
                "currentParticipant": {"type": "agent", "agentId": "qa", "userId": null},
                "returnAssignee": {"type": "agent", "agentId": "dev", "userId": null},
                "reviewRequest": null, "lastDecisionOutcome": null,
                "allowedActions": ["approve", "request_changes"]})
        );
        let nobodys = StageView { assignee: None, ..at(InProgress, &dev, &policy, None) };
        let step = advance(&nobodys, &ask(&user("u"), Done)).expect("a step");
        let state = step.state.flatten().expect("a state");
        assert_eq!(state.return_assignee, Some(user("u")));
    }

    #[test]
    fn other_changes_start_nothing() {
        use IssueStatus::{Blocked, Done, InProgress, InReview, Todo};
        let (dev, policy) = (agent("dev"), both());
        let finished = State { status: StageStatus::Completed, current: None, ..in_review() };
        let rows = [
            ("unrelated status", InProgress, None, Some(Blocked)),
            ("no status", InProgress, None, None),
            ("policy added while in review", InReview, None, None),
            ("in review already", InReview, None, Some(InReview)),
            ("done already", Done, Some(&finished), Some(Done)),
            ("comment on a done issue", Done, Some(&finished), None),
            ("unrelated status during a rework", InProgress, Some(&finished), Some(Todo)),
        ];
        for (name, status, state, asked) in rows {
            let view = at(status, &dev, &policy, state);
            let step = advance(&view, &StageAsk { status: asked, ..nothing(&dev) });
            assert_eq!(step, Ok(Step::default()), "{name}");
        }
        let without = StageView { policy: None, ..at(InProgress, &dev, &policy, None) };
        assert_eq!(advance(&without, &ask(&dev, Done)), Ok(Step::default()), "no policy, no state");
    }

    #[test]
    fn the_participant_named_is_asked_else_the_first_and_never_the_executor() {
        use IssueStatus::{Done, InProgress};
        let dev = agent("dev");
        let mixed = policy(vec![stage("s1", StageType::Review, &[agent("dev"), agent("qa"), user("u")])]);
        for (named, expected) in [
            (None, agent("qa")),
            (Some(Some(user("u"))), user("u")),
            (Some(Some(agent("dev"))), agent("qa")),
            (Some(Some(agent("stranger"))), agent("qa")),
            (Some(None), agent("qa")),
        ] {
            let asked = StageAsk { assignee: named.clone(), ..ask(&dev, Done) };
            let step = advance(&at(InProgress, &dev, &mixed, None), &asked).expect("a step");
            assert_eq!(step.assignee, Some(expected.clone()), "{named:?}");
            assert_eq!(step.wake.is_some(), expected.agent().is_some());
        }
    }

    #[test]
    fn an_approval_passes_to_the_next_stage_and_the_last_one_completes() {
        use IssueStatus::{Done, InReview};
        let policy = both();
        let reviewing = in_review();
        let step = advance(&at(InReview, &agent("qa"), &policy, Some(&reviewing)), &ask(&agent("qa"), Done))
            .expect("a step");
        let next = State {
            last_decision: Some("d1".into()),
            last_outcome: Some(Outcome::Approved),
            ..in_approval()
        };
        assert_eq!(
            step.decision,
            Some(StageDecision {
                id: "d1".into(),
                stage: "s1".into(),
                kind: StageType::Review,
                outcome: Outcome::Approved,
                body: "because".into()
            })
        );
        assert_eq!(step.wake.as_ref().map(|wake| wake.reason), Some("execution_approval_requested"));
        assert_eq!(step.wake.as_ref().map(|wake| wake.stage["wakeRole"].clone()), Some(json!("approver")));
        assert_eq!(shown(step), (Some(InReview), Some(agent("cto")), Some(Some(next.clone()))));

        let step = advance(&at(InReview, &agent("cto"), &policy, Some(&next)), &ask(&agent("cto"), Done))
            .expect("a step");
        let completed = State {
            status: StageStatus::Completed,
            current: None,
            participant: None,
            completed: vec!["s1".into(), "s2".into()],
            ..next
        };
        assert_eq!((&step.wake, step.decision.is_some()), (&None, true));
        assert_eq!(shown(step), (Some(Done), None, Some(Some(completed))));
    }

    #[test]
    fn one_stage_of_either_kind_is_enough_and_people_take_part() {
        use IssueStatus::{Done, InProgress, InReview};
        for kind in [StageType::Review, StageType::Approval] {
            let alone = policy(vec![stage("s", kind, &[user("u")])]);
            let dev = agent("dev");
            let asked = advance(&at(InProgress, &dev, &alone, None), &ask(&dev, Done)).expect("a step");
            assert_eq!((asked.assignee, asked.wake), (Some(user("u")), None));
            let state = asked.state.flatten().expect("a state");
            let step = advance(&at(InReview, &user("u"), &alone, Some(&state)), &ask(&user("u"), Done))
                .expect("a step");
            let after = step.state.flatten().expect("a state");
            assert_eq!((step.status, after.status), (Some(Done), StageStatus::Completed), "{kind}");
        }
    }

    #[test]
    fn requested_changes_return_to_the_executor_and_come_back_to_the_same_stage() {
        use IssueStatus::{Blocked, Done, InProgress, InReview, Todo};
        let policy = both();
        for (state, who) in [(in_review(), agent("qa")), (in_approval(), agent("cto"))] {
            for status in [InProgress, Todo, Blocked] {
                let view = at(InReview, &who, &policy, Some(&state));
                let step = advance(&view, &ask(&who, status)).expect("a step");
                assert_eq!(step.decision.as_ref().map(|d| d.outcome), Some(Outcome::ChangesRequested));
                let wake = step.wake.clone().expect("a wake");
                assert_eq!((wake.agent.as_str(), wake.reason), ("dev", "execution_changes_requested"));
                assert_eq!(wake.stage["wakeRole"], json!("executor"));
                assert_eq!(wake.stage["allowedActions"], json!(["address_changes", "resubmit"]));
                assert_eq!(wake.stage["lastDecisionOutcome"], json!("changes_requested"));
                let rework = State {
                    status: StageStatus::ChangesRequested,
                    last_decision: Some("d1".into()),
                    last_outcome: Some(Outcome::ChangesRequested),
                    ..state.clone()
                };
                assert_eq!(shown(step), (Some(InProgress), Some(agent("dev")), Some(Some(rework.clone()))));

                let again = advance(
                    &at(InProgress, &agent("dev"), &policy, Some(&rework)),
                    &ask(&agent("dev"), Done),
                );
                let asked = State { status: StageStatus::Pending, ..rework };
                let again = shown(again.expect("a step"));
                assert_eq!(again, (Some(InReview), Some(who.clone()), Some(Some(asked))), "resubmitted");
            }
        }
        let second =
            State { status: StageStatus::ChangesRequested, participant: Some(agent("qa2")), ..in_review() };
        let again =
            advance(&at(InProgress, &agent("dev"), &policy, Some(&second)), &ask(&agent("dev"), InReview));
        assert_eq!(again.expect("a step").assignee, Some(agent("qa2")), "the one who wanted changes");
    }

    #[test]
    fn decisions_need_words_and_somebody_to_return_to() {
        use IssueStatus::{Done, InProgress, InReview};
        let policy = both();
        let orphan = State { return_assignee: None, ..in_review() };
        let of = |state: &State, comment, status| {
            let asked = StageAsk { comment, ..ask(&agent("qa"), status) };
            advance(&at(InReview, &agent("qa"), &policy, Some(state)), &asked).map(|_| ())
        };
        assert_eq!(of(&in_review(), None, Done), Err(Refusal::ApprovalNeedsComment));
        assert_eq!(of(&in_review(), Some(" \n"), Done), Err(Refusal::ApprovalNeedsComment));
        assert_eq!(of(&in_review(), None, InProgress), Err(Refusal::ChangesNeedComment));
        assert_eq!(of(&in_review(), Some("  "), InProgress), Err(Refusal::ChangesNeedComment));
        assert_eq!(of(&orphan, Some("x"), InProgress), Err(Refusal::NoReturnAssignee));
        assert_eq!(of(&orphan, Some("x"), Done), Ok(()));
    }

    #[test]
    fn nobody_else_moves_a_stage_but_other_updates_pass() {
        use IssueStatus::{Done, InProgress, InReview};
        let (policy, state, qa) = (both(), in_review(), agent("qa"));
        let view = at(InReview, &qa, &policy, Some(&state));
        let to = |who: Option<Principal>| StageAsk { assignee: Some(who), ..nothing(&agent("dev")) };
        let refused = Err(Refusal::NotTheParticipant);
        let rows = [
            ("the executor finishes", ask(&agent("dev"), Done), refused.clone()),
            ("a person goes on", ask(&user("u"), InProgress), refused.clone()),
            ("the program finishes", StageAsk { actor: None, ..ask(&qa, Done) }, refused.clone()),
            ("given away", to(Some(agent("dev"))), refused.clone()),
            ("taken away", to(None), refused.clone()),
            ("the participant gives it away", StageAsk { actor: Some(qa.clone()), ..to(None) }, refused),
            ("given to the participant", to(Some(qa.clone())), Ok(Step::default())),
            ("in review already", ask(&agent("dev"), InReview), Ok(Step::default())),
            ("in review already, by the participant", ask(&qa, InReview), Ok(Step::default())),
            ("a comment", nothing(&agent("dev")), Ok(Step::default())),
        ];
        for (name, asked, expected) in rows {
            assert_eq!(advance(&view, &asked), expected, "{name}");
        }
    }

    #[test]
    fn a_stage_that_drifted_is_asked_again() {
        use IssueStatus::{Done, InProgress, InReview};
        let (policy, state, dev) = (both(), in_review(), agent("dev"));
        let back = Ok((Some(InReview), Some(agent("qa")), None));
        for (name, status, assignee, asked) in [
            ("status and assignee", InProgress, dev.clone(), ask(&dev, Done)),
            ("status", InProgress, agent("qa"), nothing(&dev)),
            ("assignee", InReview, dev.clone(), nothing(&dev)),
        ] {
            let step = advance(&at(status, &assignee, &policy, Some(&state)), &asked).map(shown);
            assert_eq!(step, back, "{name}");
        }
    }

    #[test]
    fn instructions_go_to_the_reviewer_and_are_taken_back_by_null() {
        use IssueStatus::{Done, InProgress, InReview};
        let (policy, dev, qa) = (both(), agent("dev"), agent("qa"));
        let told = |step: Result<Step, Refusal>| {
            step.expect("a step").state.flatten().expect("a state").review_request
        };
        let say = |text, asked| StageAsk { review_request: Some(Some(text)), ..asked };
        let first = told(advance(&at(InProgress, &dev, &policy, None), &say("tests", ask(&dev, Done))));
        assert_eq!(first.as_deref(), Some("tests"));
        let state = State { review_request: first, ..in_review() };
        let view = at(InReview, &qa, &policy, Some(&state));
        assert_eq!(told(advance(&view, &say("docs", nothing(&dev)))).as_deref(), Some("docs"));
        let taken = StageAsk { review_request: Some(None), ..nothing(&dev) };
        assert_eq!(told(advance(&view, &taken)), None);
        assert_eq!(advance(&view, &say("tests", nothing(&dev))), Ok(Step::default()), "as before");
        assert_eq!(told(advance(&view, &say("budget", ask(&qa, Done)))).as_deref(), Some("budget"));
        assert_eq!(told(advance(&view, &ask(&qa, Done))), None, "they were for the stage before");
        let (cto, last) = (agent("cto"), State { review_request: Some("sums".into()), ..in_approval() });
        let passed = advance(&at(InReview, &cto, &policy, Some(&last)), &ask(&cto, Done));
        assert_eq!(told(passed), None, "nobody is left to read them");
        let drifted = at(InProgress, &dev, &policy, Some(&state));
        assert_eq!(told(advance(&drifted, &say("new", nothing(&dev)))).as_deref(), Some("new"));

        let refused = Err(Refusal::ReviewRequestNeedsStage);
        let without = StageView { policy: None, ..at(InProgress, &dev, &policy, None) };
        assert_eq!(advance(&without, &say("x", nothing(&dev))), refused);
        assert_eq!(advance(&at(InProgress, &dev, &policy, None), &say("x", nothing(&dev))), refused);
        let rework = State { status: StageStatus::ChangesRequested, ..in_review() };
        assert_eq!(advance(&at(InProgress, &dev, &policy, Some(&rework)), &say("x", nothing(&dev))), refused);
        let none = StageAsk { review_request: Some(None), ..nothing(&dev) };
        assert_eq!(advance(&without, &none), Ok(Step::default()));
    }

    #[test]
    fn nobody_reviews_his_own_work_and_nobody_is_stuck_for_that() {
        use IssueStatus::{Done, InProgress, InReview};
        let dev = agent("dev");
        let own = stage("s1", StageType::Review, std::slice::from_ref(&dev));
        let alone = policy(vec![own.clone()]);
        let step = advance(&at(InProgress, &dev, &alone, None), &ask(&dev, Done)).expect("a step");
        let state = step.state.clone().flatten().expect("a state");
        assert_eq!((step.status, state.status), (Some(Done), StageStatus::Completed));
        assert_eq!((state.completed, state.participant), (vec!["s1".to_owned()], None));
        let review = advance(&at(InProgress, &dev, &alone, None), &ask(&dev, InReview));
        assert_eq!(review, Err(Refusal::NoEligibleParticipant(StageType::Review)));

        let then = policy(vec![own, stage("s2", StageType::Approval, &[agent("cto")])]);
        let step = advance(&at(InProgress, &dev, &then, None), &ask(&dev, Done)).expect("a step");
        assert_eq!(shown(step), (Some(InReview), Some(agent("cto")), Some(Some(in_approval()))));

        let self_approval = policy(vec![stage("s2", StageType::Approval, std::slice::from_ref(&dev))]);
        let step = advance(&at(InProgress, &dev, &self_approval, None), &ask(&dev, Done));
        assert_eq!(step, Err(Refusal::NoEligibleParticipant(StageType::Approval)));
    }

    #[test]
    fn a_policy_that_is_gone_returns_the_issue() {
        use IssueStatus::{Done, InProgress, InReview, Todo};
        let (policy, state, qa) = (both(), in_review(), agent("qa"));
        let orphan = State { return_assignee: None, ..in_review() };
        let gone = |status, state| StageView { policy: None, ..at(status, &qa, &policy, Some(state)) };
        let cleared = Some(None);
        for (name, view, asked, expected) in [
            ("in review", gone(InReview, &state), None, (Some(InProgress), Some(agent("dev")))),
            (
                "asked for in review",
                gone(InReview, &state),
                Some(InReview),
                (Some(InProgress), Some(agent("dev"))),
            ),
            ("asked for another status", gone(InReview, &state), Some(Done), (None, None)),
            ("not in review", gone(Todo, &state), None, (None, None)),
            ("nobody to return to", gone(InReview, &orphan), None, (None, None)),
        ] {
            let step = advance(&view, &StageAsk { status: asked, ..nothing(&qa) }).expect("a step");
            let (status, assignee) = expected;
            assert_eq!(shown(step), (status, assignee, cleared.clone()), "{name}");
        }
    }

    #[test]
    fn a_closed_issue_that_is_opened_again_starts_over() {
        use IssueStatus::{Cancelled, Done, Todo};
        let (policy, state, dev) = (both(), in_review(), agent("dev"));
        for status in [Done, Cancelled] {
            let step = advance(&at(status, &dev, &policy, Some(&state)), &ask(&dev, Todo)).map(shown);
            assert_eq!(step, Ok((None, None, Some(None))), "{status}");
        }
        let bare = advance(&at(Done, &dev, &policy, None), &ask(&dev, Todo));
        assert_eq!(bare, Ok(Step::default()));
        let pending = advance(&at(Cancelled, &dev, &policy, Some(&state)), &ask(&agent("qa"), Done));
        assert_eq!(pending, Ok(Step::default()), "a closed issue has no stage to decide");
    }

    #[test]
    fn stages_and_participants_that_are_gone_are_replaced() {
        use IssueStatus::{Done, InProgress, InReview};
        let (qa, dev) = (agent("qa"), agent("dev"));
        let removed = State {
            current: Some(Current { id: "old".into(), index: 0, kind: StageType::Review }),
            ..in_review()
        };
        let policy_after = both();
        let view = at(InReview, &qa, &policy_after, Some(&removed));
        let step = advance(&view, &nothing(&dev)).map(shown);
        assert_eq!(step, Ok((Some(InProgress), Some(dev.clone()), Some(None))), "stage removed");
        let step = advance(&at(InProgress, &dev, &policy_after, Some(&removed)), &ask(&dev, Done)).map(shown);
        assert_eq!(step, Ok((Some(InReview), Some(qa.clone()), Some(Some(in_review())))), "starts over");

        let replaced = State { participant: Some(agent("left")), ..in_review() };
        let step = advance(&at(InReview, &agent("left"), &policy_after, Some(&replaced)), &nothing(&dev));
        let step = step.expect("a step");
        assert_eq!(step.wake.as_ref().map(|wake| wake.agent.as_str()), Some("qa"));
        assert_eq!(shown(step), (Some(InReview), Some(qa), Some(Some(in_review()))), "participant replaced");

        let only_dev = policy(vec![stage("s1", StageType::Review, std::slice::from_ref(&dev))]);
        let step = advance(&at(InReview, &agent("left"), &only_dev, Some(&replaced)), &nothing(&dev));
        assert_eq!(step.map(shown), Ok((Some(InProgress), Some(dev), Some(None))), "nobody is left");
    }
}
