//! Goals: what the work of a company is for.

use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;
use serde_json::json;
use store::goals::{self, Goal};
use store::{Tx, companies};

use super::{BODY, MOST_PROJECTS, NAME, agent_of};
use crate::activity::Author;
use crate::issues::{Locks, Sheet, agent_in};
use crate::{Engine, EngineError};

const LEVELS: [&str; 4] = ["company", "team", "agent", "task"];
const STATUSES: [&str; 4] = ["planned", "active", "achieved", "cancelled"];

/// A new goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoalDraft {
    pub title: String,
    pub description: Option<String>,
    pub level: String,
    pub status: String,
    pub parent_id: Option<String>,
    pub owner_agent_id: Option<AgentId>,
}

impl Default for GoalDraft {
    fn default() -> GoalDraft {
        GoalDraft {
            title: String::new(),
            description: None,
            level: "task".to_owned(),
            status: "planned".to_owned(),
            parent_id: None,
            owner_agent_id: None,
        }
    }
}

/// A change of a goal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GoalPatch {
    pub title: Option<String>,
    pub description: Option<Option<String>>,
    pub level: Option<String>,
    pub status: Option<String>,
    pub parent_id: Option<Option<String>>,
    pub owner_agent_id: Option<Option<AgentId>>,
}

impl Engine {
    /// Lists the goals of a company, oldest first, behind a place.
    pub async fn goals(
        &self,
        company: &CompanyId,
        after: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Vec<Goal>, EngineError> {
        let limit = limit.clamp(1, MOST_PROJECTS);
        let listed = self.inner.read((company.clone(), after), move |tx, (company, after)| {
            Box::pin(async move { goals::list(tx, &company, after, limit).await })
        });
        Ok(listed.await?)
    }

    /// Finds a goal by its id, whatever company it belongs to.
    pub async fn goal(&self, id: &str) -> Result<Goal, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { goals::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Goal"))
    }

    /// Creates a goal.
    pub async fn create_goal(
        &self,
        company: &CompanyId,
        draft: GoalDraft,
        by: &Author,
    ) -> Result<Goal, EngineError> {
        self.make_goal(company, draft, false, by).await
    }

    /// The same. `is_once`: a title that another goal has is refused.
    pub(crate) async fn make_goal(
        &self,
        company: &CompanyId,
        draft: GoalDraft,
        is_once: bool,
        by: &Author,
    ) -> Result<Goal, EngineError> {
        let context = (company.clone(), draft);
        let made = self.inner.change(by, Locks::default(), context, move |tx, mut scribe, _, context| {
            Box::pin(async move {
                let (company, draft) = context;
                if is_once {
                    companies::lock(tx, &company).await?.ok_or(EngineError::NotFound("Company"))?;
                    if goals::is_titled(tx, &company, draft.title.trim()).await? {
                        return Err(EngineError::taken("goal", draft.title.trim()));
                    }
                }
                companies::get(tx, &company).await?.ok_or(EngineError::NotFound("Company"))?;
                agent_in(tx, &scribe, &company).await?;
                let goal = Goal {
                    id: scribe.id(),
                    company_id: company.clone(),
                    title: draft.title.trim().to_owned(),
                    description: draft.description,
                    level: draft.level,
                    status: draft.status,
                    parent_id: draft.parent_id,
                    owner_agent_id: draft.owner_agent_id,
                    created_at: scribe.now,
                    updated_at: scribe.now,
                };
                check_goal(tx, &goal).await?;
                goals::insert(tx, &goal).await?;
                let details = json!({ "title": goal.title, "level": goal.level });
                scribe.tell(tx, &company, "goal.created", ("goal", &goal.id), details).await?;
                Ok(goal)
            })
        });
        made.await
    }

    /// Changes a goal.
    pub async fn patch_goal(&self, id: &str, patch: GoalPatch, by: &Author) -> Result<Goal, EngineError> {
        let context = (id.to_owned(), patch);
        let patched = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (id, patch)| {
            Box::pin(async move {
                let mut goal = goals::lock(tx, &id).await?.ok_or(EngineError::NotFound("Goal"))?;
                agent_in(tx, &scribe, &goal.company_id).await?;
                if let Some(title) = &patch.title {
                    title.trim().clone_into(&mut goal.title);
                }
                goal.description = patch.description.unwrap_or(goal.description);
                goal.level = patch.level.unwrap_or(goal.level);
                goal.status = patch.status.unwrap_or(goal.status);
                goal.parent_id = patch.parent_id.unwrap_or(goal.parent_id);
                goal.owner_agent_id = patch.owner_agent_id.unwrap_or(goal.owner_agent_id);
                goal.updated_at = scribe.now;
                check_goal(tx, &goal).await?;
                goals::update(tx, &goal).await?;
                let details = json!({ "title": goal.title, "status": goal.status });
                scribe.tell(tx, &goal.company_id, "goal.updated", ("goal", &id), details).await?;
                Ok(goal)
            })
        });
        patched.await
    }

    /// Removes a goal; what served it stays, without it.
    pub async fn delete_goal(&self, id: &str, by: &Author) -> Result<Goal, EngineError> {
        let removed = self.inner.change(by, Locks::default(), id.to_owned(), |tx, mut scribe, _, id| {
            Box::pin(async move {
                let goal = goals::get(tx, &id).await?.ok_or(EngineError::NotFound("Goal"))?;
                agent_in(tx, &scribe, &goal.company_id).await?;
                goals::remove(tx, &id).await?;
                let details = json!({ "title": goal.title });
                scribe.tell(tx, &goal.company_id, "goal.deleted", ("goal", &id), details).await?;
                Ok(goal)
            })
        });
        removed.await
    }
}

/// What a goal says of itself.
fn said(sheet: &mut Sheet, title: &str, description: Option<&str>, level: &str) {
    sheet.required("title", title, NAME);
    sheet.maybe("description", description, BODY);
    sheet.word("level", level, &LEVELS);
}

/// Looks for mistakes in what a goal that is about to be saved says of itself.
pub(crate) fn check_said(title: &str, description: Option<&str>, level: &str) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    said(&mut sheet, title, description, level);
    sheet.finish()
}

async fn check_goal(tx: &mut Tx<'_>, goal: &Goal) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    said(&mut sheet, &goal.title, goal.description.as_deref(), &goal.level);
    sheet.word("status", &goal.status, &STATUSES);
    sheet.id("parentId", goal.parent_id.as_deref());
    sheet.id("ownerAgentId", goal.owner_agent_id.as_ref().map(AgentId::as_str));
    if goal.parent_id.as_ref() == Some(&goal.id) {
        sheet.wrong("parentId", "A goal cannot be its own parent", "name another goal, or null");
    }
    sheet.finish()?;
    if let Some(parent) = &goal.parent_id {
        let found = goals::get(tx, parent).await?.filter(|parent| parent.company_id == goal.company_id);
        found.ok_or(EngineError::NotFound("Goal"))?;
    }
    agent_of(tx, &goal.company_id, goal.owner_agent_id.as_ref()).await
}
