//! The guards that routes ask before they do anything (spec/api.md 2.3, 2.4): which caller may pass.
//!
//! The rules are `domain::access::guard`; here they are asked for the caller of a request, and a refusal becomes an
//! answer. Finding what a path names asks the company's guard already (`lookup`), so that no route can forget it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::access::guard::{self, Access};
use domain::access::outside;
use domain::access::{Actor, AgentActor, Board, Grant, Refusal};
use domain::ids::{AgentId, CompanyId};
use engine::Author;

use crate::actor::Caller;
use crate::errors::ApiError;

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, ApiError> {
        // Missing only where a route was mounted outside the door that admits callers.
        parts.extensions.get::<Caller>().cloned().ok_or_else(ApiError::internal)
    }
}

impl Caller {
    /// The same caller for what says something and changes nothing else.
    pub(crate) fn saying(self) -> Caller {
        let access = match self.access() {
            Access::Read => Access::Read,
            Access::Write | Access::Say => Access::Say,
        };
        self.with_access(access)
    }

    /// What it writes in a company is a text from outside; `says_so`: the request says it.
    pub(crate) fn is_from_outside(&self, of: &CompanyId, says_so: bool) -> bool {
        outside::is_from_outside(self.who(), of, says_so)
    }

    /// `company(c)`: those who belong to the company, to read or to change as the request wants.
    pub(crate) fn company(&self, of: &CompanyId) -> Result<(), ApiError> {
        guard::company(self.who(), of, self.access()).map_err(ApiError::from)
    }

    /// Somebody, whoever it is.
    pub(crate) fn anybody(&self) -> Result<(), ApiError> {
        match self.who() {
            Actor::Nobody => Err(Refusal::Unauthorized.into()),
            Actor::Board(_) | Actor::Agent(_) => Ok(()),
        }
    }

    /// `board`: people.
    pub(crate) fn board(&self) -> Result<&Board, ApiError> {
        guard::board(self.who()).map_err(ApiError::from)
    }

    /// People of the company.
    pub(crate) fn board_of(&self, of: &CompanyId) -> Result<&Board, ApiError> {
        guard::board_of(self.who(), of, self.access()).map_err(ApiError::from)
    }

    /// Agents only.
    pub(crate) fn agent(&self) -> Result<&AgentActor, ApiError> {
        guard::agent(self.who()).map_err(ApiError::from)
    }

    /// `board-mgr(c)`: people who may make agents.
    pub(crate) fn board_manager(&self, of: &CompanyId) -> Result<&Board, ApiError> {
        guard::board_manager(self.who(), of, self.access()).map_err(ApiError::from)
    }

    /// `config-reader(c)`: those who may read configurations of agents.
    pub(crate) fn configuration_reader(&self, of: &CompanyId) -> Result<(), ApiError> {
        guard::company(self.who(), of, self.access()).map_err(ApiError::from)?;
        guard::configuration_reader(self.who(), of).map_err(ApiError::from)
    }

    /// Whether it may read configurations of agents.
    pub(crate) fn may_read_configurations(&self, of: &CompanyId) -> bool {
        guard::configuration_reader(self.who(), of).is_ok()
    }

    /// `agent-editor(target)`: those who may change this agent.
    pub(crate) fn agent_editor(&self, of: &CompanyId, target: &AgentId) -> Result<(), ApiError> {
        guard::agent_editor(self.who(), of, target).map_err(ApiError::from)
    }

    /// People who may change who belongs to a company. Whoever administers the instance may, member or not: somebody must
    /// be able to let the first one in.
    pub(crate) fn people_manager(&self, of: &CompanyId, grant: Grant) -> Result<(), ApiError> {
        match self.who() {
            Actor::Board(board) if board.has_all_grants() => Ok(()),
            _ => guard::people_manager(self.who(), of, grant).map_err(ApiError::from),
        }
    }

    /// `env-mgr(c)`: those who may change environments.
    pub(crate) fn environment_manager(&self, of: &CompanyId) -> Result<(), ApiError> {
        guard::environment_manager(self.who(), of).map_err(ApiError::from)
    }

    /// Whether it may change environments, and so read all of them.
    pub(crate) fn may_manage_environments(&self, of: &CompanyId) -> bool {
        guard::environment_manager(self.who(), of).is_ok()
    }

    /// An agent does not move itself to another machine: only those do who may change environments.
    pub(crate) fn chooser_of_environments(&self, of: &CompanyId) -> Result<(), ApiError> {
        match self.who() {
            Actor::Agent(_) => self.environment_manager(of),
            Actor::Board(_) | Actor::Nobody => Ok(()),
        }
    }

    /// `instance admin`.
    pub(crate) fn instance_admin(&self) -> Result<(), ApiError> {
        guard::instance_admin(self.who()).map_err(ApiError::from)
    }

    /// Those who may make companies.
    pub(crate) fn company_creator(&self) -> Result<(), ApiError> {
        guard::company_creator(self.who()).map_err(ApiError::from)
    }

    /// What only a person may do (D19): being on this machine proves nothing.
    pub(crate) fn person(&self, of: &CompanyId) -> Result<&Board, ApiError> {
        guard::person(self.who(), of).map_err(ApiError::from)
    }

    /// It is proven that a person asks.
    pub(crate) fn is_person(&self, of: &CompanyId) -> bool {
        guard::person(self.who(), of).is_ok()
    }

    /// Those who may wake this agent.
    pub(crate) fn waker(&self, of: &CompanyId, target: &AgentId) -> Result<(), ApiError> {
        guard::waker(self.who(), of, target).map_err(ApiError::from)
    }

    /// Those who may report what this agent cost.
    pub(crate) fn cost_reporter(&self, of: &CompanyId, target: &AgentId) -> Result<(), ApiError> {
        guard::cost_reporter(self.who(), of, target).map_err(ApiError::from)
    }

    /// The key with which it asks, where it is a person's.
    pub(crate) fn current_key(&self) -> Result<&str, ApiError> {
        guard::current_key(self.who()).map_err(ApiError::from)
    }

    /// As the engine's changes name it. Asked after the company's guard.
    pub(crate) fn author(&self, of: &CompanyId) -> Result<Author, ApiError> {
        Author::of(self.who(), of).map_err(ApiError::from)
    }

    /// The company it belongs to by what it is: an agent's.
    pub(crate) fn home(&self) -> Option<&CompanyId> {
        match self.who() {
            Actor::Agent(agent) => Some(&agent.company),
            Actor::Board(_) | Actor::Nobody => None,
        }
    }

    /// The companies it may read; `None` for all of them.
    pub(crate) fn companies(&self) -> Option<Vec<CompanyId>> {
        match self.who() {
            Actor::Nobody => Some(Vec::new()),
            Actor::Agent(agent) => Some(vec![agent.company.clone()]),
            Actor::Board(board) if board.proof.is_local() => None,
            Actor::Board(board) => {
                let all = board.memberships.iter().map(|membership| &membership.company);
                Some(
                    all.filter(|company| guard::company(self.who(), company, Access::Read).is_ok())
                        .cloned()
                        .collect(),
                )
            }
        }
    }
}
