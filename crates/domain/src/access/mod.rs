//! Who asks, and what they may do (spec/api.md 2).
//!
//! `credential` makes an [`Actor`] of what a request carries; `guard` says which actor may do what; `challenge` is the
//! login of a command line. A refusal is a [`Refusal`]; its texts are matched by clients. Hashing, headers and look-ups
//! are done elsewhere.

pub mod challenge;
pub mod credential;
pub mod guard;
pub mod origin;
pub mod outside;
pub mod reporting;
pub mod role;
pub mod task;

pub use role::{Grant, MemberRole, Membership, MembershipStatus};

use crate::agent::Role;
use crate::ids::{AgentId, CompanyId, IssueId, RunId};

/// The user id of the board of a trusted instance.
pub const LOCAL_USER: &str = "local-board";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    Nobody,
    Board(Board),
    Agent(AgentActor),
}

/// How a person is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Reached a trusted instance over loopback.
    LocalImplicit,
    /// Showed the local board token of a trusted instance.
    LocalToken,
    /// Signed in with a browser.
    Session,
    /// Showed a board key.
    BoardKey { key_id: String },
}

impl Proof {
    /// `source` on the wire.
    pub const fn source(&self) -> &'static str {
        match self {
            Proof::LocalImplicit | Proof::LocalToken => "local_implicit",
            Proof::Session => "session",
            Proof::BoardKey { .. } => "board_key",
        }
    }

    /// The person sits in front of a trusted instance.
    pub const fn is_local(&self) -> bool {
        matches!(self, Proof::LocalImplicit | Proof::LocalToken)
    }
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    pub user: String,
    pub proof: Proof,
    pub is_instance_admin: bool,
    pub memberships: Vec<Membership>,
    /// The run the request is made for, as the caller says.
    pub run: Option<RunId>,
}

impl Board {
    /// The person in front of a trusted instance.
    pub fn local(proof: Proof, run: Option<RunId>) -> Board {
        Board { user: LOCAL_USER.to_owned(), proof, is_instance_admin: true, memberships: Vec::new(), run }
    }

    /// Local, or an administrator of the instance: no grant is asked for.
    pub fn has_all_grants(&self) -> bool {
        self.proof.is_local() || self.is_instance_admin
    }

    /// The membership in a company.
    pub fn membership(&self, company: &CompanyId) -> Option<&Membership> {
        self.memberships.iter().find(|it| it.company == *company)
    }
}

/// How an agent is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentProof {
    /// A key that lives until it is revoked; the run is what the caller says.
    Key { key_id: String, run: Option<RunId> },
    /// The token of a run; it names that run and no other.
    Run(RunId),
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentActor {
    pub agent: AgentId,
    pub company: CompanyId,
    pub role: Role,
    /// `permissions.canCreateAgents` where it is set.
    pub can_create_agents: Option<bool>,
    /// The grants of its active membership.
    pub grants: Vec<Grant>,
    pub proof: AgentProof,
}

impl AgentActor {
    /// The run on whose behalf it asks.
    pub fn run(&self) -> Option<&RunId> {
        match &self.proof {
            AgentProof::Key { run, .. } => run.as_ref(),
            AgentProof::Run(run) => Some(run),
        }
    }

    /// May hire: set for it, else by its role.
    pub fn can_create_agents(&self) -> bool {
        self.can_create_agents.unwrap_or(self.role == Role::Ceo)
    }

    /// Has the grant.
    pub fn has(&self, grant: Grant) -> bool {
        self.grants.contains(&grant)
    }
}

impl Actor {
    /// The run on whose behalf the request is made.
    pub fn run(&self) -> Option<&RunId> {
        match self {
            Actor::Nobody => None,
            Actor::Board(board) => board.run.as_ref(),
            Actor::Agent(agent) => agent.run(),
        }
    }
}

/// Why something is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody asks.
    Unauthorized,
    /// A credential that matches nothing, was revoked or has expired.
    BadToken,
    /// A run's token whose run is over.
    RunEnded,
    AgentRequired,
    RunRequired,
    BoardRequired,
    BoardSignInRequired,
    ApproverSignInRequired,
    /// Only a person may do this; the local board token proves one.
    BoardTokenRequired,
    ForeignAgent,
    NoCompanyAccess,
    NoActiveAccess,
    ReadOnly,
    /// A member whom the company does not trust: says something, and changes nothing.
    Untrusted,
    InstanceAdminRequired,
    /// The same, in the words that command lines match.
    InstanceAdminRequiredShort,
    MissingGrant(Grant),
    CannotReadConfiguration,
    CannotEditAgent,
    /// An agent does not say what it is itself.
    OwnRole,
    /// An agent does not say what it may spend itself.
    OwnBudget,
    /// Only people make chiefs.
    MakesCeo,
    OnlyItself,
    OnlyOwnCosts,
    OnlyOwnCheckout,
    HostCommands(Vec<String>),
    /// A run's token is used on what is not the run's task.
    OtherTask,
    /// An agent binds secrets that it was not given itself.
    SecretBindings(Vec<String>),
    UntrustedOrigin,
    NoBoardKey,
    CheckedOut {
        issue: IssueId,
        assignee: AgentId,
        actor: AgentId,
    },
    NoChallenge,
}

/// What kind of refusal it is; the answer's status is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    Invalid,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
}

impl Refusal {
    /// What kind of refusal it is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Refusal::Unauthorized
            | Refusal::BadToken
            | Refusal::AgentRequired
            | Refusal::RunRequired
            | Refusal::BoardSignInRequired
            | Refusal::ApproverSignInRequired => RefusalKind::Unauthenticated,
            Refusal::RunEnded
            | Refusal::BoardRequired
            | Refusal::BoardTokenRequired
            | Refusal::ForeignAgent
            | Refusal::NoCompanyAccess
            | Refusal::NoActiveAccess
            | Refusal::ReadOnly
            | Refusal::Untrusted
            | Refusal::InstanceAdminRequired
            | Refusal::InstanceAdminRequiredShort
            | Refusal::MissingGrant(_)
            | Refusal::CannotReadConfiguration
            | Refusal::CannotEditAgent
            | Refusal::OwnRole
            | Refusal::OwnBudget
            | Refusal::MakesCeo
            | Refusal::OnlyItself
            | Refusal::OnlyOwnCosts
            | Refusal::OnlyOwnCheckout
            | Refusal::HostCommands(_)
            | Refusal::SecretBindings(_)
            | Refusal::OtherTask
            | Refusal::UntrustedOrigin => RefusalKind::Forbidden,
            Refusal::NoBoardKey => RefusalKind::Invalid,
            Refusal::CheckedOut { .. } => RefusalKind::Conflict,
            Refusal::NoChallenge => RefusalKind::NotFound,
        }
    }

    /// The text of the wire.
    pub fn text(&self) -> String {
        let fixed = match self {
            Refusal::Unauthorized => "Unauthorized",
            Refusal::BadToken => "Token is not valid",
            Refusal::RunEnded => "Run token is not valid any more: its run has ended",
            Refusal::AgentRequired => "Agent authentication required",
            Refusal::RunRequired => "Agent run id required",
            Refusal::BoardRequired => "Board access required",
            Refusal::BoardSignInRequired => "Board authentication required",
            Refusal::ApproverSignInRequired => "Sign in before approving CLI access",
            Refusal::BoardTokenRequired => "Board access required: local board token",
            Refusal::ForeignAgent => "Agent key cannot access another company",
            Refusal::NoCompanyAccess => "User does not have access to this company",
            Refusal::NoActiveAccess => "User does not have active company access",
            Refusal::ReadOnly => "Viewer access is read-only",
            Refusal::Untrusted => "Untrusted members can only create issues and comment on them",
            Refusal::InstanceAdminRequired => "Instance admin access required",
            Refusal::InstanceAdminRequiredShort => "Instance admin required",
            Refusal::MissingGrant(grant) => return format!("Missing permission: {grant}"),
            Refusal::CannotReadConfiguration => "Missing permission: can create agents",
            Refusal::CannotEditAgent => "Only CEO or agent creators can modify other agents",
            Refusal::OwnRole => "Agents cannot change their own role: it says what they may do",
            Refusal::OwnBudget => {
                "Agents cannot change their own runtimeConfig.budget: it limits what they may spend"
            }
            Refusal::MakesCeo => "Agents cannot give the role ceo to an agent: only people may",
            Refusal::OnlyItself => "Agent can only invoke itself",
            Refusal::OnlyOwnCosts => "Agent can only report its own costs",
            Refusal::OnlyOwnCheckout => "Agent can only checkout as itself",
            Refusal::HostCommands(paths) => {
                let paths = paths.join(", ");
                return format!("Agent keys cannot modify host-executed workspace commands ({paths}).");
            }
            Refusal::OtherTask => "Run token can only act on its own task",
            Refusal::SecretBindings(paths) => {
                let paths = paths.join(", ");
                return format!("Agents can only bind secrets that they were given themselves ({paths})");
            }
            Refusal::UntrustedOrigin => "Board mutation requires trusted browser origin",
            Refusal::NoBoardKey => "Current board API key context is required",
            Refusal::CheckedOut { .. } => "Issue is checked out by another agent",
            Refusal::NoChallenge => "CLI auth challenge not found",
        };
        fixed.to_owned()
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    pub(crate) fn home() -> CompanyId {
        CompanyId::from("c1")
    }

    /// The board of a trusted instance.
    pub(crate) fn local() -> Actor {
        Actor::Board(Board::local(Proof::LocalImplicit, None))
    }

    pub(crate) fn person(role: MemberRole, status: MembershipStatus) -> Board {
        Board {
            user: "u1".into(),
            proof: Proof::Session,
            is_instance_admin: false,
            memberships: vec![Membership {
                company: home(),
                role,
                status,
                grants: vec![],
                is_untrusted: false,
            }],
            run: None,
        }
    }

    pub(crate) fn member(role: MemberRole) -> Actor {
        Actor::Board(person(role, MembershipStatus::Active))
    }

    pub(crate) fn agent(id: &str, role: Role) -> AgentActor {
        AgentActor {
            agent: AgentId::from(id),
            company: home(),
            role,
            can_create_agents: None,
            grants: vec![],
            proof: AgentProof::Run(RunId::from("r1")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::agent;
    use super::*;

    #[test]
    fn refusals_have_the_kind_and_text_that_clients_match() {
        use RefusalKind::{Conflict, Forbidden, Invalid, NotFound, Unauthenticated};
        let checked_out = Refusal::CheckedOut { issue: "i".into(), assignee: "a".into(), actor: "b".into() };
        for (refusal, kind, text) in [
            (Refusal::Unauthorized, Unauthenticated, "Unauthorized"),
            (Refusal::BadToken, Unauthenticated, "Token is not valid"),
            (Refusal::RunEnded, Forbidden, "Run token is not valid any more: its run has ended"),
            (Refusal::AgentRequired, Unauthenticated, "Agent authentication required"),
            (Refusal::RunRequired, Unauthenticated, "Agent run id required"),
            (Refusal::BoardRequired, Forbidden, "Board access required"),
            (Refusal::BoardSignInRequired, Unauthenticated, "Board authentication required"),
            (Refusal::ApproverSignInRequired, Unauthenticated, "Sign in before approving CLI access"),
            (Refusal::BoardTokenRequired, Forbidden, "Board access required: local board token"),
            (Refusal::ForeignAgent, Forbidden, "Agent key cannot access another company"),
            (Refusal::NoCompanyAccess, Forbidden, "User does not have access to this company"),
            (Refusal::NoActiveAccess, Forbidden, "User does not have active company access"),
            (Refusal::ReadOnly, Forbidden, "Viewer access is read-only"),
            (Refusal::Untrusted, Forbidden, "Untrusted members can only create issues and comment on them"),
            (Refusal::InstanceAdminRequired, Forbidden, "Instance admin access required"),
            (Refusal::InstanceAdminRequiredShort, Forbidden, "Instance admin required"),
            (Refusal::MissingGrant(Grant::CreateAgents), Forbidden, "Missing permission: agents:create"),
            (Refusal::MissingGrant(Grant::AssignTasks), Forbidden, "Missing permission: tasks:assign"),
            (Refusal::CannotReadConfiguration, Forbidden, "Missing permission: can create agents"),
            (Refusal::CannotEditAgent, Forbidden, "Only CEO or agent creators can modify other agents"),
            (Refusal::OwnRole, Forbidden, "Agents cannot change their own role: it says what they may do"),
            (
                Refusal::OwnBudget,
                Forbidden,
                "Agents cannot change their own runtimeConfig.budget: it limits what they may spend",
            ),
            (Refusal::MakesCeo, Forbidden, "Agents cannot give the role ceo to an agent: only people may"),
            (Refusal::OnlyItself, Forbidden, "Agent can only invoke itself"),
            (Refusal::OnlyOwnCosts, Forbidden, "Agent can only report its own costs"),
            (Refusal::OnlyOwnCheckout, Forbidden, "Agent can only checkout as itself"),
            (
                Refusal::HostCommands(vec!["a.teardownCommand".into(), "b".into()]),
                Forbidden,
                "Agent keys cannot modify host-executed workspace commands (a.teardownCommand, b).",
            ),
            (Refusal::OtherTask, Forbidden, "Run token can only act on its own task"),
            (
                Refusal::SecretBindings(vec!["adapterConfig.env.A".into(), "env.B".into()]),
                Forbidden,
                "Agents can only bind secrets that they were given themselves (adapterConfig.env.A, env.B)",
            ),
            (Refusal::UntrustedOrigin, Forbidden, "Board mutation requires trusted browser origin"),
            (Refusal::NoBoardKey, Invalid, "Current board API key context is required"),
            (checked_out, Conflict, "Issue is checked out by another agent"),
            (Refusal::NoChallenge, NotFound, "CLI auth challenge not found"),
        ] {
            assert_eq!((refusal.kind(), refusal.text().as_str()), (kind, text));
        }
    }

    #[test]
    fn the_run_of_a_request_is_the_tokens_or_what_the_caller_says() {
        let with_token = agent("a1", Role::Engineer);
        assert_eq!(with_token.run(), Some(&RunId::from("r1")));
        for run in [None, Some(RunId::from("r2"))] {
            let proof = AgentProof::Key { key_id: "k".into(), run: run.clone() };
            let keyed = AgentActor { proof, ..with_token.clone() };
            assert_eq!(Actor::Agent(keyed).run(), run.as_ref());
            assert_eq!(Actor::Board(Board::local(Proof::LocalToken, run.clone())).run(), run.as_ref());
        }
        assert_eq!(Actor::Nobody.run(), None);
    }

    #[test]
    fn the_local_board_is_shown_as_an_administrator() {
        let board = Board::local(Proof::LocalToken, None);
        assert!(board.is_instance_admin && board.has_all_grants());
        assert_eq!((board.user.as_str(), board.memberships.len()), ("local-board", 0));
    }

    #[test]
    fn ceos_may_hire_unless_they_are_told_not_to() {
        for (role, set, may) in [
            (Role::Ceo, None, true),
            (Role::Ceo, Some(false), false),
            (Role::Engineer, None, false),
            (Role::Engineer, Some(true), true),
        ] {
            assert_eq!(AgentActor { can_create_agents: set, ..agent("a", role) }.can_create_agents(), may);
        }
    }

    #[test]
    fn sources_have_their_wire_names() {
        let key = Proof::BoardKey { key_id: "k".into() };
        for (proof, source, local) in [
            (Proof::LocalImplicit, "local_implicit", true),
            (Proof::LocalToken, "local_implicit", true),
            (Proof::Session, "session", false),
            (key, "board_key", false),
        ] {
            assert_eq!((proof.source(), proof.is_local()), (source, local));
        }
    }
}
