//! What a request is about, whether whoever asks may come near it, and in whose name a change is written.
//!
//! What does not exist is 404 for everybody; what belongs to a company that the caller has no part in is refused before
//! anything of it is told. Finer rules (who may change an issue in progress, who may assign) are the engine's.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::access::guard;
use domain::access::task::{self, Deed};
use domain::ids::{AgentId, CompanyId, looks_like_id};
use engine::{Author, Engine, ProjectCard};
use store::goals::Goal;
use store::issues::Issue;

use crate::ApiState;
use crate::actor::Caller;
use crate::errors::ApiError;
use crate::lookup;
use crate::paging::Asked;
use crate::shape::issue::Names;

/// The caller of a route, with what it needs to find things.
#[derive(Debug)]
pub(crate) struct Reach {
    pub(crate) state: ApiState,
    pub(crate) caller: Caller,
}

impl FromRequestParts<ApiState> for Reach {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Reach, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        Ok(Reach { state: state.clone(), caller })
    }
}

impl Reach {
    /// For what says something and changes nothing else: members who are not trusted may do that, too.
    pub(crate) fn saying(self) -> Reach {
        Reach { caller: self.caller.saying(), ..self }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.state.engine
    }

    /// Refuses who has no part in the company.
    pub(crate) fn of(&self, company: &CompanyId) -> Result<(), ApiError> {
        self.caller.company(company)
    }

    /// In whose name a change in this company is written.
    pub(crate) fn author(&self, company: &CompanyId) -> Result<Author, ApiError> {
        self.caller.author(company)
    }

    /// The company of a path.
    pub(crate) async fn company(&self, id: &str) -> Result<CompanyId, ApiError> {
        Ok(lookup::company(self.engine(), &self.caller, id).await?.id)
    }

    /// The issue of a path: its id or its identifier.
    pub(crate) async fn issue(&self, reference: &str) -> Result<Issue, ApiError> {
        let found = self.engine().find_issue(reference).await?;
        let issue = found.ok_or_else(|| ApiError::not_found("Issue"))?;
        self.of(&issue.company_id)?;
        Ok(issue)
    }

    /// The issue of a path, and in whose name it is changed.
    pub(crate) async fn issue_for_change(&self, reference: &str) -> Result<(Issue, Author), ApiError> {
        self.issue_for(Deed::Change, reference).await
    }

    /// The same for what the token of a run may do around its task, too.
    pub(crate) async fn issue_for(&self, deed: Deed, reference: &str) -> Result<(Issue, Author), ApiError> {
        let issue = self.issue(reference).await?;
        self.in_scope(deed, &issue).await?;
        let author = self.author(&issue.company_id)?;
        Ok((issue, author))
    }

    /// In whose name plans of this company are changed: its projects, goals and labels.
    pub(crate) fn planner(&self, company: &CompanyId) -> Result<Author, ApiError> {
        task::of_plans(self.caller.who())?;
        self.author(company)
    }

    /// Refuses the token of a run on what is not its task.
    pub(crate) async fn in_scope(&self, deed: Deed, issue: &Issue) -> Result<(), ApiError> {
        Ok(self.engine().in_scope(self.caller.who(), deed, issue).await?)
    }

    /// The same for the issue that something belongs to, which is there.
    pub(crate) async fn in_scope_of(&self, deed: Deed, issue: &str) -> Result<(), ApiError> {
        match self.engine().find_issue(issue).await? {
            Some(issue) => self.in_scope(deed, &issue).await,
            None => Ok(()),
        }
    }

    /// The project of a path: its id, or its short name in the company that the query names, or in the agent's own.
    pub(crate) async fn project(&self, reference: &str, asked: &Asked) -> Result<ProjectCard, ApiError> {
        let card = if looks_like_id(reference) {
            self.engine().project(&reference.to_ascii_lowercase()).await?
        } else {
            let company = match (asked.get("companyId"), self.caller.home()) {
                (Some(id), _) => self.company(id).await?,
                (None, Some(home)) => home.clone(),
                (None, None) => {
                    return Err(ApiError::not_found("Project").hint("a short name needs ?companyId="));
                }
            };
            if reference.contains('\0') {
                return Err(ApiError::not_found("Project"));
            }
            self.engine().project_named(&company, reference).await?
        };
        self.of(&card.project.company_id)?;
        Ok(card)
    }

    /// The goal of a path.
    pub(crate) async fn goal(&self, id: &str) -> Result<Goal, ApiError> {
        if !looks_like_id(id) {
            return Err(ApiError::not_found("Goal"));
        }
        let goal = self.engine().goal(&id.to_ascii_lowercase()).await?;
        self.of(&goal.company_id)?;
        Ok(goal)
    }

    /// Refuses an agent that sets commands which this machine executes.
    pub(crate) fn no_host_commands(&self, paths: Vec<String>) -> Result<(), ApiError> {
        Ok(guard::host_commands(self.caller.who(), paths)?)
    }

    /// The names of the agents that hold these issues.
    pub(crate) async fn holders<'a>(
        &self,
        issues: impl Iterator<Item = &'a Issue>,
    ) -> Result<Names, ApiError> {
        let mut ids: Vec<AgentId> = issues.filter_map(|issue| issue.lock_agent_id.clone()).collect();
        if ids.is_empty() {
            return Ok(Names::new());
        }
        ids.sort();
        ids.dedup();
        let agents = self
            .engine()
            .store()
            .read(move |tx| {
                let ids = ids.clone();
                Box::pin(async move { store::agents::some(tx, &ids).await })
            })
            .await?;
        Ok(agents.into_iter().map(|agent| (agent.id, agent.name)).collect())
    }
}

/// An id of a path, in small letters; anything else is nothing that exists.
pub(crate) fn id_of_path(text: &str, thing: &str) -> Result<String, ApiError> {
    if looks_like_id(text) { Ok(text.to_ascii_lowercase()) } else { Err(ApiError::not_found(thing)) }
}
