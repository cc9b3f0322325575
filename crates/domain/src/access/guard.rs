//! Which actor may do what (spec/api.md 2.3, 2.4; D19).
//!
//! Each guard is asked by the routes that name it; what it is asked of an issue or an agent is loaded before. The order
//! within a guard is the order of the answers: who may not even see the company learns nothing else.

use super::{Actor, AgentActor, Board, Grant, MemberRole, Proof, Refusal};
use crate::agent::Role;
use crate::ids::{AgentId, CompanyId, IssueId, RunId};
use crate::issue::IssueStatus;

/// What a request does to what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// GET, HEAD, OPTIONS.
    Read,
    /// Anything else.
    Write,
    /// A new issue or a comment: a member who is not trusted may say something, too.
    Say,
}

/// Lets those in who belong to the company.
pub fn company(actor: &Actor, company: &CompanyId, access: Access) -> Result<(), Refusal> {
    match actor {
        Actor::Nobody => Err(Refusal::Unauthorized),
        Actor::Agent(agent) if agent.company == *company => Ok(()),
        Actor::Agent(_) => Err(Refusal::ForeignAgent),
        Actor::Board(board) => of_board(board, company, access),
    }
}

fn of_board(board: &Board, company: &CompanyId, access: Access) -> Result<(), Refusal> {
    if board.proof.is_local() {
        return Ok(());
    }
    let membership = board.membership(company).ok_or(Refusal::NoCompanyAccess)?;
    match access {
        // A membership that does not count yet, or no more, shows nothing.
        Access::Read if membership.is_active() || board.is_instance_admin => Ok(()),
        Access::Read => Err(Refusal::NoCompanyAccess),
        Access::Write | Access::Say if board.is_instance_admin => Ok(()),
        Access::Write | Access::Say if !membership.is_active() => Err(Refusal::NoActiveAccess),
        Access::Write | Access::Say if membership.role == MemberRole::Viewer => Err(Refusal::ReadOnly),
        Access::Write if membership.is_untrusted => Err(Refusal::Untrusted),
        Access::Write | Access::Say => Ok(()),
    }
}

/// Lets people through.
pub fn board(actor: &Actor) -> Result<&Board, Refusal> {
    match actor {
        Actor::Board(board) => Ok(board),
        Actor::Nobody | Actor::Agent(_) => Err(Refusal::BoardRequired),
    }
}

/// Lets people of the company through.
pub fn board_of<'a>(actor: &'a Actor, company: &CompanyId, access: Access) -> Result<&'a Board, Refusal> {
    let board = board(actor)?;
    of_board(board, company, access)?;
    Ok(board)
}

/// Lets agents through.
pub fn agent(actor: &Actor) -> Result<&AgentActor, Refusal> {
    match actor {
        Actor::Agent(agent) => Ok(agent),
        Actor::Nobody | Actor::Board(_) => Err(Refusal::AgentRequired),
    }
}

/// Lets people through who may make agents (`board-mgr`).
pub fn board_manager<'a>(actor: &'a Actor, of: &CompanyId, access: Access) -> Result<&'a Board, Refusal> {
    let board = board_of(actor, of, access)?;
    if holds(board, of, Grant::CreateAgents) {
        Ok(board)
    } else {
        Err(Refusal::MissingGrant(Grant::CreateAgents))
    }
}

/// Lets those through who may read configurations of agents (`config-reader`).
pub fn configuration_reader(actor: &Actor, of: &CompanyId) -> Result<(), Refusal> {
    let Actor::Agent(agent) = actor else { return board_manager(actor, of, Access::Read).map(drop) };
    company(actor, of, Access::Read)?;
    if agent.has(Grant::CreateAgents) || agent.can_create_agents() {
        Ok(())
    } else {
        Err(Refusal::CannotReadConfiguration)
    }
}

/// Lets those through who may change this agent (`agent-editor`).
pub fn agent_editor(actor: &Actor, of: &CompanyId, target: &AgentId) -> Result<(), Refusal> {
    let Actor::Agent(agent) = actor else { return board_manager(actor, of, Access::Write).map(drop) };
    company(actor, of, Access::Write)?;
    let may = agent.agent == *target
        || agent.role == Role::Ceo
        || agent.has(Grant::CreateAgents)
        || agent.can_create_agents();
    if may { Ok(()) } else { Err(Refusal::CannotEditAgent) }
}

/// What a change of an agent does to what that agent may do and spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RightsChange {
    /// The role it has, and the one it is to have.
    pub role: (Role, Role),
    /// Its head-room (`runtimeConfig.budget`) becomes another.
    pub changes_budget: bool,
}

/// Lets those through who may change an agent in this way: no agent gives itself more than it was given. What repeats
/// changes nothing. Asked beside [`agent_editor`].
pub fn agent_rights(
    actor: &Actor,
    of: &CompanyId,
    target: &AgentId,
    change: &RightsChange,
) -> Result<(), Refusal> {
    agent_editor(actor, of, target)?;
    let Actor::Agent(agent) = actor else { return Ok(()) };
    let (before, after) = change.role;
    let is_itself = agent.agent == *target;
    if before != after {
        if is_itself {
            return Err(Refusal::OwnRole);
        }
        chief(actor, after)?;
    }
    if is_itself && change.changes_budget {
        return Err(Refusal::OwnBudget);
    }
    Ok(())
}

/// Lets those through who may give an agent this role: a chief may everything that an agent can, so no agent makes one.
pub fn chief(actor: &Actor, role: Role) -> Result<(), Refusal> {
    match actor {
        Actor::Agent(_) if role == Role::Ceo => Err(Refusal::MakesCeo),
        Actor::Agent(_) | Actor::Board(_) | Actor::Nobody => Ok(()),
    }
}

/// Lets those through who may say who works on what. Asked only when a request sets an assignee.
pub fn assign(actor: &Actor, of: &CompanyId) -> Result<(), Refusal> {
    company(actor, of, Access::Write)?;
    let may = match actor {
        Actor::Nobody => return Err(Refusal::Unauthorized),
        Actor::Board(board) => holds(board, of, Grant::AssignTasks),
        Actor::Agent(agent) => {
            agent.has(Grant::AssignTasks) || agent.role == Role::Ceo || agent.can_create_agents()
        }
    };
    if may { Ok(()) } else { Err(Refusal::MissingGrant(Grant::AssignTasks)) }
}

/// Lets those through who may change environments (`env-mgr`).
pub fn environment_manager(actor: &Actor, of: &CompanyId) -> Result<(), Refusal> {
    company(actor, of, Access::Write)?;
    let may = match actor {
        Actor::Nobody => return Err(Refusal::Unauthorized),
        Actor::Board(board) => holds(board, of, Grant::ManageEnvironments),
        Actor::Agent(agent) => agent.has(Grant::ManageEnvironments) || agent.can_create_agents(),
    };
    if may { Ok(()) } else { Err(Refusal::MissingGrant(Grant::ManageEnvironments)) }
}

/// Lets people with a right over the people of a company through.
pub fn people_manager(actor: &Actor, of: &CompanyId, grant: Grant) -> Result<(), Refusal> {
    let board = board_of(actor, of, Access::Write)?;
    if holds(board, of, grant) { Ok(()) } else { Err(Refusal::MissingGrant(grant)) }
}

fn holds(board: &Board, of: &CompanyId, grant: Grant) -> bool {
    board.has_all_grants() || board.membership(of).is_some_and(|membership| membership.has(grant))
}

/// Lets administrators of the instance through.
pub fn instance_admin(actor: &Actor) -> Result<(), Refusal> {
    if board(actor)?.has_all_grants() { Ok(()) } else { Err(Refusal::InstanceAdminRequired) }
}

/// The same for making a company, in the words that command lines match.
pub fn company_creator(actor: &Actor) -> Result<(), Refusal> {
    if board(actor)?.has_all_grants() { Ok(()) } else { Err(Refusal::InstanceAdminRequiredShort) }
}

/// Lets through what only a person may do: deciding gates and approvals, and raising budgets.
///
/// A trusted instance takes everybody on this machine for the board, agents' programs too, so that being local proves
/// nothing here.
pub fn person<'a>(actor: &'a Actor, of: &CompanyId) -> Result<&'a Board, Refusal> {
    let board = board_of(actor, of, Access::Write)?;
    if board.proof == Proof::LocalImplicit {
        return Err(Refusal::BoardTokenRequired);
    }
    Ok(board)
}

/// Lets through who may wake this agent: the agent itself, or people who may make agents.
pub fn waker(actor: &Actor, of: &CompanyId, target: &AgentId) -> Result<(), Refusal> {
    let Actor::Agent(agent) = actor else { return board_manager(actor, of, Access::Write).map(drop) };
    company(actor, of, Access::Write)?;
    if agent.agent == *target { Ok(()) } else { Err(Refusal::OnlyItself) }
}

/// An agent reports its own costs only.
pub fn cost_reporter(actor: &Actor, of: &CompanyId, target: &AgentId) -> Result<(), Refusal> {
    company(actor, of, Access::Write)?;
    match actor {
        Actor::Agent(agent) if agent.agent != *target => Err(Refusal::OnlyOwnCosts),
        Actor::Agent(_) | Actor::Board(_) | Actor::Nobody => Ok(()),
    }
}

/// An agent checks out as itself, and for a run.
pub fn checkout(actor: &Actor, target: &AgentId) -> Result<(), Refusal> {
    match actor {
        Actor::Agent(agent) if agent.agent != *target => Err(Refusal::OnlyOwnCheckout),
        Actor::Agent(agent) if agent.run().is_none() => Err(Refusal::RunRequired),
        Actor::Agent(_) | Actor::Board(_) | Actor::Nobody => Ok(()),
    }
}

/// Agents do not set commands that this machine executes. `paths` are those the request sets.
pub fn host_commands(actor: &Actor, paths: Vec<String>) -> Result<(), Refusal> {
    match actor {
        Actor::Agent(_) if !paths.is_empty() => Err(Refusal::HostCommands(paths)),
        Actor::Agent(_) | Actor::Board(_) | Actor::Nobody => Ok(()),
    }
}

/// The key that a request to revoke the current key is about.
pub fn current_key(actor: &Actor) -> Result<&str, Refusal> {
    match actor {
        Actor::Board(Board { proof: Proof::BoardKey { key_id }, .. }) => Ok(key_id),
        Actor::Board(_) | Actor::Agent(_) | Actor::Nobody => Err(Refusal::NoBoardKey),
    }
}

/// An issue, as far as changing it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueView<'a> {
    pub id: &'a IssueId,
    pub company: &'a CompanyId,
    pub status: IssueStatus,
    pub assignee: Option<&'a AgentId>,
    /// The actor is above the assignee (`reporting::is_above`).
    pub is_managed: bool,
}

/// How an issue may be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pass {
    /// Without a further question.
    Free,
    /// By its assignee, whose run must own the checkout (spec/api.md 5.3).
    IfOwner { run: RunId },
}

/// Lets those through who may change the issue (`issue-mutation`).
///
/// Work in progress belongs to its assignee: other agents need to be above it or have a right to it.
pub fn issue_mutation(actor: &Actor, issue: &IssueView<'_>) -> Result<Pass, Refusal> {
    company(actor, issue.company, Access::Write)?;
    let Actor::Agent(agent) = actor else { return Ok(Pass::Free) };
    let assignee = match issue.assignee {
        Some(assignee) if issue.status == IssueStatus::InProgress => assignee,
        Some(_) | None => return Ok(Pass::Free),
    };
    if *assignee == agent.agent {
        let run = agent.run().cloned().ok_or(Refusal::RunRequired)?;
        return Ok(Pass::IfOwner { run });
    }
    let may_override = agent.has(Grant::ManageActiveCheckouts)
        || agent.role == Role::Ceo
        || agent.can_create_agents()
        || issue.is_managed;
    if may_override {
        return Ok(Pass::Free);
    }
    Err(Refusal::CheckedOut {
        issue: issue.id.clone(),
        assignee: assignee.clone(),
        actor: agent.agent.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{agent as an_agent, home, local, member, person as a_person};
    use super::super::{AgentProof, MembershipStatus};
    use super::*;

    fn there() -> CompanyId {
        CompanyId::from("c2")
    }

    fn worker() -> AgentActor {
        an_agent("a1", Role::Engineer)
    }

    fn ceo() -> Actor {
        Actor::Agent(an_agent("boss", Role::Ceo))
    }

    fn granted(grant: Grant) -> Actor {
        Actor::Agent(AgentActor { grants: vec![grant], ..worker() })
    }

    fn hiring() -> Actor {
        Actor::Agent(AgentActor { can_create_agents: Some(true), ..worker() })
    }

    fn tame_ceo() -> Actor {
        Actor::Agent(AgentActor { can_create_agents: Some(false), ..an_agent("boss", Role::Ceo) })
    }

    fn plain() -> Actor {
        Actor::Agent(worker())
    }

    fn admin(is_member: bool) -> Actor {
        let mut board = a_person(MemberRole::Viewer, MembershipStatus::Suspended);
        board.is_instance_admin = true;
        if !is_member {
            board.memberships.clear();
        }
        Actor::Board(board)
    }

    fn member_with(grant: Grant) -> Actor {
        let mut board = a_person(MemberRole::Member, MembershipStatus::Active);
        board.memberships[0].grants.push(grant);
        Actor::Board(board)
    }

    #[test]
    fn a_company_lets_its_own_in() {
        use MembershipStatus::{Active, Pending, Suspended};
        let board = |role, status| Actor::Board(a_person(role, status));
        let no_access = Some(Refusal::NoCompanyAccess);
        let mut rows = vec![
            ("nobody", Actor::Nobody, Some(Refusal::Unauthorized), Some(Refusal::Unauthorized)),
            ("agent", plain(), None, None),
            ("local", local(), None, None),
            ("local with token", Actor::Board(Board::local(Proof::LocalToken, None)), None, None),
            ("viewer", board(MemberRole::Viewer, Active), None, Some(Refusal::ReadOnly)),
            ("admin of the instance", admin(true), None, None),
            ("admin of the instance, no member", admin(false), no_access.clone(), no_access.clone()),
        ];
        for role in [MemberRole::Owner, MemberRole::Admin, MemberRole::Member] {
            rows.push(("member", board(role, Active), None, None));
        }
        for status in [Pending, Suspended] {
            let inactive = Some(Refusal::NoActiveAccess);
            rows.push(("not active", board(MemberRole::Owner, status), no_access.clone(), inactive.clone()));
            rows.push(("viewer, not active", board(MemberRole::Viewer, status), no_access.clone(), inactive));
        }
        for (name, actor, read, write) in rows {
            assert_eq!(company(&actor, &home(), Access::Read).err(), read, "{name}");
            assert_eq!(company(&actor, &home(), Access::Write).err(), write, "{name}");
        }
        for access in [Access::Read, Access::Write] {
            assert_eq!(company(&plain(), &there(), access), Err(Refusal::ForeignAgent));
            assert_eq!(company(&member(MemberRole::Owner), &there(), access), Err(Refusal::NoCompanyAccess));
            assert_eq!(company(&admin(true), &there(), access), Err(Refusal::NoCompanyAccess));
            assert_eq!(company(&local(), &there(), access), Ok(()));
        }
    }

    #[test]
    fn boards_and_agents_are_told_apart() {
        assert_eq!(board(&Actor::Nobody), Err(Refusal::BoardRequired));
        assert_eq!(board(&plain()), Err(Refusal::BoardRequired));
        assert!(board(&local()).is_ok() && board(&member(MemberRole::Viewer)).is_ok());
        assert_eq!(agent(&Actor::Nobody), Err(Refusal::AgentRequired));
        assert_eq!(agent(&local()), Err(Refusal::AgentRequired));
        assert_eq!(agent(&plain()), Ok(&worker()));
        assert_eq!(
            board_of(&member(MemberRole::Owner), &there(), Access::Read),
            Err(Refusal::NoCompanyAccess)
        );
        assert_eq!(board_of(&member(MemberRole::Viewer), &home(), Access::Write), Err(Refusal::ReadOnly));
        assert_eq!(board_of(&ceo(), &home(), Access::Read), Err(Refusal::BoardRequired));
    }

    type Guard = fn(&Actor) -> Result<(), Refusal>;

    /// Who passes, by name: the table of all guards that ask for a right.
    #[test]
    fn rights_open_their_doors() {
        let viewer_with_grant = {
            let mut board = a_person(MemberRole::Viewer, MembershipStatus::Active);
            board.memberships[0].grants.push(Grant::CreateAgents);
            Actor::Board(board)
        };
        let actors = [
            ("nobody", Actor::Nobody),
            ("local", local()),
            ("instance", admin(true)),
            ("owner", member(MemberRole::Owner)),
            ("admin", member(MemberRole::Admin)),
            ("member", member(MemberRole::Member)),
            ("member+create", member_with(Grant::CreateAgents)),
            ("member+env", member_with(Grant::ManageEnvironments)),
            ("member+people", member_with(Grant::ManagePermissions)),
            ("viewer", member(MemberRole::Viewer)),
            ("viewer+create", viewer_with_grant),
            ("agent", plain()),
            ("agent+create", granted(Grant::CreateAgents)),
            ("agent+assign", granted(Grant::AssignTasks)),
            ("agent+env", granted(Grant::ManageEnvironments)),
            ("hiring", hiring()),
            ("ceo", ceo()),
            ("tame ceo", tame_ceo()),
        ];
        let people = "local instance owner admin";
        let rows: [(&str, Guard, String); 9] = [
            (
                "board-mgr",
                |actor| board_manager(actor, &home(), Access::Write).map(drop),
                format!("{people} member+create"),
            ),
            (
                "board-mgr, reading",
                |actor| board_manager(actor, &home(), Access::Read).map(drop),
                format!("{people} member+create viewer+create"),
            ),
            (
                "config-reader",
                |actor| configuration_reader(actor, &home()),
                format!("{people} member+create viewer+create agent+create hiring ceo"),
            ),
            (
                "agent-editor of another",
                |actor| agent_editor(actor, &home(), &AgentId::from("a9")),
                format!("{people} member+create agent+create hiring ceo tame ceo"),
            ),
            (
                "assign",
                |actor| assign(actor, &home()),
                format!(
                    "{people} member member+create member+env member+people agent+assign hiring ceo tame ceo"
                ),
            ),
            (
                "env-mgr",
                |actor| environment_manager(actor, &home()),
                format!("{people} member+env agent+env hiring ceo"),
            ),
            (
                "people",
                |actor| people_manager(actor, &home(), Grant::ManagePermissions),
                "local instance owner member+people".to_owned(),
            ),
            ("instance admin", instance_admin, "local instance".to_owned()),
            ("company creator", company_creator, "local instance".to_owned()),
        ];
        for (name, guard, passing) in rows {
            let found: Vec<&str> =
                actors.iter().filter(|(_, actor)| guard(actor).is_ok()).map(|(who, _)| *who).collect();
            assert_eq!(found.join(" "), passing, "{name}");
        }
    }

    #[test]
    fn each_door_refuses_in_its_own_words() {
        let (colleague, member) = (AgentId::from("a9"), member(MemberRole::Member));
        let create = || Err(Refusal::MissingGrant(Grant::CreateAgents));
        assert_eq!(board_manager(&member, &home(), Access::Write).map(drop), create());
        assert_eq!(board_manager(&plain(), &home(), Access::Write).map(drop), Err(Refusal::BoardRequired));
        assert_eq!(configuration_reader(&member, &home()), create());
        assert_eq!(configuration_reader(&plain(), &home()), Err(Refusal::CannotReadConfiguration));
        assert_eq!(configuration_reader(&plain(), &there()), Err(Refusal::ForeignAgent));
        assert_eq!(agent_editor(&member, &home(), &colleague), create());
        assert_eq!(agent_editor(&plain(), &home(), &colleague), Err(Refusal::CannotEditAgent));
        assert_eq!(agent_editor(&plain(), &home(), &AgentId::from("a1")), Ok(()));
        assert_eq!(agent_editor(&ceo(), &there(), &colleague), Err(Refusal::ForeignAgent));
        assert_eq!(assign(&plain(), &home()), Err(Refusal::MissingGrant(Grant::AssignTasks)));
        assert_eq!(assign(&ceo(), &there()), Err(Refusal::ForeignAgent));
        assert_eq!(assign(&Actor::Nobody, &home()), Err(Refusal::Unauthorized));
        let environments = Err(Refusal::MissingGrant(Grant::ManageEnvironments));
        assert_eq!(environment_manager(&plain(), &home()), environments);
        assert_eq!(instance_admin(&plain()), Err(Refusal::BoardRequired));
        assert_eq!(instance_admin(&member), Err(Refusal::InstanceAdminRequired));
        assert_eq!(company_creator(&member), Err(Refusal::InstanceAdminRequiredShort));
        let invite = Err(Refusal::MissingGrant(Grant::InviteUsers));
        assert_eq!(people_manager(&member, &home(), Grant::InviteUsers), invite);
    }

    #[test]
    fn no_agent_gives_itself_more_than_it_was_given() {
        use Role::{Ceo, Engineer, General};
        let (own, boss, other) = (AgentId::from("a1"), AgentId::from("boss"), AgentId::from("a9"));
        let (same, up, aside) = ((Engineer, Engineer), (Engineer, Ceo), (Engineer, General));
        let rows = [
            ("board", local(), &own, up, true, None),
            ("owner", member(MemberRole::Owner), &own, up, true, None),
            (
                "member",
                member(MemberRole::Member),
                &own,
                same,
                false,
                Some(Refusal::MissingGrant(Grant::CreateAgents)),
            ),
            ("itself, the same", plain(), &own, same, false, None),
            ("itself, a chief", plain(), &own, up, false, Some(Refusal::OwnRole)),
            ("itself, aside", plain(), &own, aside, false, Some(Refusal::OwnRole)),
            ("itself, its budget", plain(), &own, same, true, Some(Refusal::OwnBudget)),
            ("itself, hiring", hiring(), &own, aside, false, Some(Refusal::OwnRole)),
            ("itself, hiring, its budget", hiring(), &own, same, true, Some(Refusal::OwnBudget)),
            ("a chief itself, the same", ceo(), &boss, (Ceo, Ceo), false, None),
            ("a chief itself, down", ceo(), &boss, (Ceo, General), false, Some(Refusal::OwnRole)),
            ("a chief itself, its budget", ceo(), &boss, (Ceo, Ceo), true, Some(Refusal::OwnBudget)),
            ("a colleague", plain(), &other, aside, false, Some(Refusal::CannotEditAgent)),
            ("a chief of another", ceo(), &other, aside, true, None),
            ("a chief makes a chief", ceo(), &other, up, false, Some(Refusal::MakesCeo)),
            ("hiring, another", hiring(), &other, aside, true, None),
            ("hiring makes a chief", hiring(), &other, up, false, Some(Refusal::MakesCeo)),
            ("hiring, a chief as it is", hiring(), &other, (Ceo, Ceo), false, None),
            ("granted, another", granted(Grant::CreateAgents), &other, aside, false, None),
        ];
        for (name, actor, target, role, changes_budget, refused) in rows {
            let change = RightsChange { role, changes_budget };
            assert_eq!(agent_rights(&actor, &home(), target, &change).err(), refused, "{name}");
        }
        let change = RightsChange { role: same, changes_budget: false };
        assert_eq!(agent_rights(&ceo(), &there(), &other, &change), Err(Refusal::ForeignAgent));
        for (actor, role, refused) in [
            (ceo(), Ceo, Some(Refusal::MakesCeo)),
            (hiring(), Ceo, Some(Refusal::MakesCeo)),
            (hiring(), Engineer, None),
            (local(), Ceo, None),
        ] {
            assert_eq!(chief(&actor, role).err(), refused, "{actor:?} {role}");
        }
    }

    #[test]
    fn being_local_does_not_prove_a_person() {
        let keyed = Actor::Board(Board {
            proof: Proof::BoardKey { key_id: "k".into() },
            ..a_person(MemberRole::Member, MembershipStatus::Active)
        });
        for (actor, refused) in [
            (local(), Some(Refusal::BoardTokenRequired)),
            (Actor::Board(Board::local(Proof::LocalToken, None)), None),
            (member(MemberRole::Member), None),
            (keyed, None),
            (member(MemberRole::Viewer), Some(Refusal::ReadOnly)),
            (admin(true), None),
            (admin(false), Some(Refusal::NoCompanyAccess)),
            (ceo(), Some(Refusal::BoardRequired)),
            (Actor::Nobody, Some(Refusal::BoardRequired)),
        ] {
            assert_eq!(person(&actor, &home()).err(), refused, "{actor:?}");
        }
        assert_eq!(person(&member(MemberRole::Owner), &there()).err(), Some(Refusal::NoCompanyAccess));
    }

    #[test]
    fn agents_speak_for_themselves_only() {
        let (own, other) = (AgentId::from("a1"), AgentId::from("a9"));
        assert_eq!(waker(&plain(), &home(), &own), Ok(()));
        assert_eq!(waker(&plain(), &home(), &other), Err(Refusal::OnlyItself));
        assert_eq!(waker(&ceo(), &home(), &other), Err(Refusal::OnlyItself));
        assert_eq!(waker(&plain(), &there(), &own), Err(Refusal::ForeignAgent));
        assert_eq!(waker(&local(), &home(), &other), Ok(()));
        let create = Err(Refusal::MissingGrant(Grant::CreateAgents));
        assert_eq!(waker(&member(MemberRole::Member), &home(), &other), create);
        assert_eq!(cost_reporter(&plain(), &home(), &own), Ok(()));
        assert_eq!(cost_reporter(&plain(), &home(), &other), Err(Refusal::OnlyOwnCosts));
        assert_eq!(cost_reporter(&plain(), &there(), &own), Err(Refusal::ForeignAgent));
        assert_eq!(cost_reporter(&local(), &home(), &other), Ok(()));
        assert_eq!(cost_reporter(&Actor::Nobody, &home(), &own), Err(Refusal::Unauthorized));
        let without_run =
            Actor::Agent(AgentActor { proof: AgentProof::Key { key_id: "k".into(), run: None }, ..worker() });
        assert_eq!(checkout(&plain(), &own), Ok(()));
        assert_eq!(checkout(&plain(), &other), Err(Refusal::OnlyOwnCheckout));
        assert_eq!(checkout(&without_run, &other), Err(Refusal::OnlyOwnCheckout));
        assert_eq!(checkout(&without_run, &own), Err(Refusal::RunRequired));
        assert_eq!(checkout(&local(), &other), Ok(()));
    }

    #[test]
    fn agents_do_not_set_what_this_machine_executes() {
        let paths = vec!["executionWorkspaceSettings.workspaceStrategy.provisionCommand".to_owned()];
        assert_eq!(host_commands(&ceo(), paths.clone()), Err(Refusal::HostCommands(paths.clone())));
        assert_eq!(host_commands(&ceo(), vec![]), Ok(()));
        assert_eq!(host_commands(&member(MemberRole::Member), paths), Ok(()));
    }

    #[test]
    fn only_a_board_key_revokes_itself() {
        let proof = Proof::BoardKey { key_id: "k7".into() };
        let keyed = Actor::Board(Board { proof, ..a_person(MemberRole::Member, MembershipStatus::Active) });
        assert_eq!(current_key(&keyed), Ok("k7"));
        for actor in [Actor::Nobody, local(), member(MemberRole::Owner), plain()] {
            assert_eq!(current_key(&actor), Err(Refusal::NoBoardKey));
        }
    }

    #[test]
    fn work_in_progress_belongs_to_its_assignee() {
        let (id, home, own, other) = (IssueId::from("i1"), home(), AgentId::from("a1"), AgentId::from("a9"));
        let free = Ok(Pass::Free);
        let owner = Ok(Pass::IfOwner { run: RunId::from("r1") });
        let without_run =
            Actor::Agent(AgentActor { proof: AgentProof::Key { key_id: "k".into(), run: None }, ..worker() });
        let taken =
            Err(Refusal::CheckedOut { issue: id.clone(), assignee: other.clone(), actor: own.clone() });
        let rows = [
            ("board", local(), Some(&other), false, free.clone()),
            ("member", member(MemberRole::Member), Some(&other), false, free.clone()),
            ("viewer", member(MemberRole::Viewer), Some(&other), false, Err(Refusal::ReadOnly)),
            ("nobody", Actor::Nobody, None, false, Err(Refusal::Unauthorized)),
            ("no assignee", plain(), None, false, free.clone()),
            ("assignee", plain(), Some(&own), false, owner.clone()),
            ("assignee that manages itself", plain(), Some(&own), true, owner),
            ("assignee without run", without_run.clone(), Some(&own), false, Err(Refusal::RunRequired)),
            ("other", plain(), Some(&other), false, taken.clone()),
            ("other without run", without_run, Some(&other), false, taken.clone()),
            ("manager", plain(), Some(&other), true, free.clone()),
            ("grant", granted(Grant::ManageActiveCheckouts), Some(&other), false, free.clone()),
            ("another grant", granted(Grant::AssignTasks), Some(&other), false, taken),
            ("hiring", hiring(), Some(&other), false, free.clone()),
            ("ceo", ceo(), Some(&other), false, free.clone()),
            ("tame ceo", tame_ceo(), Some(&other), false, free),
        ];
        for (name, actor, assignee, is_managed, expected) in rows {
            let status = IssueStatus::InProgress;
            let view = IssueView { id: &id, company: &home, status, assignee, is_managed };
            assert_eq!(issue_mutation(&actor, &view), expected, "{name}");
        }
        for &status in IssueStatus::ALL.iter().filter(|it| **it != IssueStatus::InProgress) {
            let view =
                IssueView { id: &id, company: &home, status, assignee: Some(&other), is_managed: false };
            assert_eq!(issue_mutation(&plain(), &view), Ok(Pass::Free), "{status}");
        }
        let there = there();
        let status = IssueStatus::Todo;
        let foreign = IssueView { id: &id, company: &there, status, assignee: None, is_managed: true };
        assert_eq!(issue_mutation(&ceo(), &foreign), Err(Refusal::ForeignAgent));
    }
}
