//! What the token of a run may change: the run's task, and what an agent at work on a task has to do with.
//!
//! A token travels in the environment of a process, so that whatever that process starts has it. It is good for the work
//! that the run was started for and little else: the task and what lies below it, what is given to the agent, what the
//! agent made, what the run was told to look at; above and beside the task it may only say something. Agents that direct
//! others direct them. Reading, and keys that people gave to an agent, are not bound to a task.

use super::{Actor, AgentActor, AgentProof, Grant, Refusal};
use crate::agent::Role;

/// What is done to an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Anything that changes it.
    Change,
    /// A comment on it, or an issue below it: whoever holds it decides what comes of that.
    Say,
}

/// How an issue stands to a run and to the agent of that run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// It is what the run works on.
    pub is_task: bool,
    /// It lies below what the run works on.
    pub is_below: bool,
    /// What the run works on lies below it.
    pub is_above: bool,
    /// It blocks what the run works on, or is blocked by it.
    pub is_beside: bool,
    /// It is given to the agent, or checked out by the run.
    pub is_held: bool,
    /// The agent made it.
    pub is_made: bool,
    /// The run was woken with its name: as one that a decided approval is about.
    pub is_named: bool,
    /// The agent is above whom it is given to.
    pub is_managed: bool,
}

/// Lets those through who may do this to an issue, as far as the task of a run goes.
pub fn of_run(actor: &Actor, deed: Deed, standing: &Standing) -> Result<(), Refusal> {
    let Some(agent) = bound(actor) else { return Ok(()) };
    let may_change = standing.is_task
        || standing.is_below
        || standing.is_held
        || standing.is_made
        || standing.is_named
        || standing.is_managed
        || directs(agent);
    let may_say = may_change || standing.is_above || standing.is_beside;
    let may = match deed {
        Deed::Change => may_change,
        Deed::Say => may_say,
    };
    if may { Ok(()) } else { Err(Refusal::OtherTask) }
}

/// Lets those through who may change what is planned: projects, goals, labels. No task has any of them.
pub fn of_plans(actor: &Actor) -> Result<(), Refusal> {
    match bound(actor) {
        Some(agent) if !directs(agent) => Err(Refusal::OtherTask),
        Some(_) | None => Ok(()),
    }
}

/// The agent that asks with the token of a run.
fn bound(actor: &Actor) -> Option<&AgentActor> {
    match actor {
        Actor::Agent(agent) if matches!(agent.proof, AgentProof::Run(_)) => Some(agent),
        Actor::Agent(_) | Actor::Board(_) | Actor::Nobody => None,
    }
}

/// The agent directs the work of others, whatever it works on itself.
fn directs(agent: &AgentActor) -> bool {
    agent.role == Role::Ceo || agent.can_create_agents() || agent.has(Grant::ManageActiveCheckouts)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{agent, local};
    use super::*;

    #[test]
    fn a_runs_token_changes_its_task_and_speaks_around_it() {
        let nothing = Standing::default();
        let worker = Actor::Agent(agent("a1", Role::Engineer));
        let rows = [
            ("another task", nothing, false, false),
            ("its task", Standing { is_task: true, ..nothing }, true, true),
            ("below", Standing { is_below: true, ..nothing }, true, true),
            ("above", Standing { is_above: true, ..nothing }, false, true),
            ("beside", Standing { is_beside: true, ..nothing }, false, true),
            ("given to it", Standing { is_held: true, ..nothing }, true, true),
            ("made by it", Standing { is_made: true, ..nothing }, true, true),
            ("named by its wake", Standing { is_named: true, ..nothing }, true, true),
            ("of whom it manages", Standing { is_managed: true, ..nothing }, true, true),
        ];
        for (name, standing, changes, says) in rows {
            for (deed, may) in [(Deed::Change, changes), (Deed::Say, says)] {
                let refused = (!may).then_some(Refusal::OtherTask);
                assert_eq!(of_run(&worker, deed, &standing).err(), refused, "{name} {deed:?}");
            }
        }
    }

    #[test]
    fn whoever_directs_others_and_whoever_has_no_run_is_not_bound_to_a_task() {
        let of = |actor: AgentActor| {
            let actor = Actor::Agent(actor);
            let changes = of_run(&actor, Deed::Change, &Standing::default()).is_ok();
            assert_eq!(of_plans(&actor).is_ok(), changes);
            changes
        };
        let worker = || agent("a1", Role::Engineer);
        let key = AgentProof::Key { key_id: "k".into(), run: Some("r1".into()) };
        assert!(!of(worker()));
        assert!(!of(AgentActor { grants: vec![Grant::AssignTasks], ..worker() }), "every agent has this one");
        assert!(of(AgentActor { grants: vec![Grant::ManageActiveCheckouts], ..worker() }));
        assert!(of(AgentActor { can_create_agents: Some(true), ..worker() }));
        assert!(of(agent("boss", Role::Ceo)));
        assert!(of(AgentActor { proof: key, ..worker() }));
        for actor in [local(), Actor::Nobody] {
            assert_eq!(of_run(&actor, Deed::Change, &Standing::default()), Ok(()));
        }
    }
}
