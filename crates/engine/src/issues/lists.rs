//! Issues as they are shown: lists, one with all that belongs to it, and what an agent has to do.
//!
//! Everything is read in one go from one state of the store, and every list is bounded.

use std::collections::{BTreeMap, BTreeSet};

use domain::ids::{AgentId, CompanyId, IssueId, RunId};
use domain::issue::attention::{Attention, judge};
use domain::issue::{Blocker, IssueStatus};
use domain::run::RunStatus;
use store::documents::{self, Document};
use store::execution_workspaces::{self, ExecutionWorkspace};
use store::goals::{self, Goal};
use store::issues::{self, Filter, Issue};
use store::labels::{self, Label};
use store::reads;
use store::relations::{self, Related};
use store::runs::Run;
use store::work_products::{self, WorkProduct};
use store::{StoreError, Tx, companies, projects, runs_of_issues};

use super::documents::{MOST_DOCUMENTS, SYSTEM_KEY};
use super::products::MOST_PRODUCTS;
use crate::projects::ProjectCard;
use crate::{Engine, EngineError, issue_views};

/// As many issues as a list without a limit holds.
pub const DEFAULT_LISTED: i64 = 500;
/// As many edges as an issue is shown with.
const MOST_RELATED: i64 = 500;
/// As many issues as a text may refer to.
const MOST_REFERENCES: usize = 50;

/// What a list tells beside the issues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Include {
    pub blocked_by: bool,
    /// For this person: when they and others last did something there.
    pub touches_of_user: Option<String>,
}

/// An issue in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    pub issue: Issue,
    pub labels: Vec<Label>,
    pub active_run: Option<RunRef>,
    pub attention: Attention,
    /// If asked for.
    pub blocked_by: Option<Vec<Related>>,
    pub touch: Option<Touch>,
}

/// The run that an issue points to, while it is queued or running.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRef {
    pub run: Run,
}

/// What a person and others did with an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Touch {
    pub my_last_touch_at: Option<domain::moment::Moment>,
    pub last_external_comment_at: Option<domain::moment::Moment>,
    pub is_unread: bool,
}

/// One issue with all that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    pub issue: Issue,
    pub labels: Vec<Label>,
    /// The parent first.
    pub ancestors: Vec<Issue>,
    /// The projects of the ancestors.
    pub ancestor_projects: Vec<ProjectCard>,
    /// The goals of the ancestors.
    pub ancestor_goals: Vec<Goal>,
    pub attention: Attention,
    pub blocked_by: Vec<Related>,
    pub blocks: Vec<Related>,
    pub active_run: Option<RunRef>,
    /// The document `plan`, with its text.
    pub plan: Option<Document>,
    /// Without their texts, and without the program's own.
    pub documents: Vec<Document>,
    pub project: Option<ProjectCard>,
    /// Its own goal, else its project's, else the company's.
    pub goal: Option<Goal>,
    pub products: Vec<WorkProduct>,
    /// Identifiers in title and description, and the issues of the company that they name.
    pub referenced: Vec<String>,
    pub related: Vec<Issue>,
    /// Where it is worked on.
    pub place: Option<ExecutionWorkspace>,
}

/// An issue that an agent has to work on.
#[derive(Debug, Clone, PartialEq)]
pub struct LiteItem {
    pub issue: Issue,
    pub active_run: Option<RunRef>,
    pub unresolved_blockers: Vec<IssueId>,
}

impl Engine {
    /// Lists the issues of a company that a filter lets through, in the order of lists; one more than the most there
    /// is when there is a next page.
    pub async fn issues(
        &self,
        company: &CompanyId,
        filter: Filter,
        include: Include,
        limit: i64,
    ) -> Result<Vec<Listed>, EngineError> {
        let context = (company.clone(), filter, include);
        let listed = self.inner.read(context, move |tx, (company, filter, include)| {
            Box::pin(async move {
                if companies::get(tx, &company).await?.is_none() {
                    return Ok(None);
                }
                let limit = limit.clamp(1, issues::MOST_LISTED + 1);
                let found = issues::list(tx, &company, &filter, limit).await?;
                dress(tx, found, &include).await.map(Some)
            })
        });
        listed.await?.ok_or(EngineError::NotFound("Company"))
    }

    /// Returns one issue with all that belongs to it.
    pub async fn issue_detail(&self, issue: &IssueId) -> Result<Detail, EngineError> {
        let found = self.inner.read(issue.clone(), |tx, id| {
            Box::pin(async move {
                let Some(issue) = issues::get(tx, &id).await? else { return Ok(None) };
                detail(tx, issue).await.map(Some)
            })
        });
        found.await?.ok_or(EngineError::NotFound("Issue"))
    }

    /// Returns what blocks an issue and what it blocks.
    pub async fn issue_relations(
        &self,
        issue: &IssueId,
    ) -> Result<(Vec<Related>, Vec<Related>), EngineError> {
        let found = self.inner.read(issue.clone(), |tx, id| {
            Box::pin(async move {
                let blocked_by = relations::blockers(tx, &id, MOST_RELATED).await?;
                Ok((blocked_by, relations::dependents(tx, &id, MOST_RELATED).await?))
            })
        });
        Ok(found.await?)
    }

    /// Returns the labels of an issue.
    pub async fn issue_labels(&self, issue: &IssueId) -> Result<Vec<Label>, EngineError> {
        let found = self.inner.read(issue.clone(), |tx, id| {
            Box::pin(async move { labels::of_issues(tx, std::slice::from_ref(&id)).await })
        });
        Ok(found.await?.into_iter().map(|(_, label)| label).collect())
    }

    /// Lists what an agent is to work on, in the order of lists.
    pub async fn inbox_lite(&self, agent: &AgentId) -> Result<Vec<LiteItem>, EngineError> {
        let listed = self.inner.read(agent.clone(), |tx, agent| {
            Box::pin(async move {
                let found = issues::inbox_lite(tx, &agent, DEFAULT_LISTED).await?;
                let ids: Vec<IssueId> = found.iter().map(|issue| issue.id.clone()).collect();
                let mut open: BTreeMap<IssueId, Vec<IssueId>> = BTreeMap::new();
                for (blocked, blocker, _) in relations::unresolved(tx, &ids).await? {
                    open.entry(blocked).or_default().push(blocker);
                }
                let mut runs = active_runs(tx, &found).await?;
                let item = |issue: Issue| LiteItem {
                    active_run: runs.remove(&issue.id),
                    unresolved_blockers: open.remove(&issue.id).unwrap_or_default(),
                    issue,
                };
                Ok(found.into_iter().map(item).collect())
            })
        });
        Ok(listed.await?)
    }

    /// Lists the runs of an issue, newest first.
    pub async fn runs_of_issue(&self, issue: &IssueId, limit: i64) -> Result<Vec<Run>, EngineError> {
        let limit = limit.clamp(1, issues::MOST_LISTED);
        let listed = self.inner.read(issue.clone(), move |tx, id| {
            Box::pin(async move {
                if issues::get(tx, &id).await?.is_none() {
                    return Ok(None);
                }
                runs_of_issues::list(tx, &id, limit).await.map(Some)
            })
        });
        listed.await?.ok_or(EngineError::NotFound("Issue"))
    }

    /// Lists the runs of an issue that are not over, oldest first.
    pub async fn live_runs_of_issue(&self, issue: &IssueId) -> Result<Vec<Run>, EngineError> {
        let listed = self.inner.read(issue.clone(), |tx, id| {
            Box::pin(async move {
                if issues::get(tx, &id).await?.is_none() {
                    return Ok(None);
                }
                runs_of_issues::live(tx, &id, MOST_RELATED).await.map(Some)
            })
        });
        listed.await?.ok_or(EngineError::NotFound("Issue"))
    }
}

/// Adds to issues what lists tell of them.
async fn dress(tx: &mut Tx<'_>, found: Vec<Issue>, include: &Include) -> Result<Vec<Listed>, StoreError> {
    let ids: Vec<IssueId> = found.iter().map(|issue| issue.id.clone()).collect();
    let mut labelled: BTreeMap<IssueId, Vec<Label>> = BTreeMap::new();
    for (issue, label) in labels::of_issues(tx, &ids).await? {
        labelled.entry(issue).or_default().push(label);
    }
    let mut runs = active_runs(tx, &found).await?;
    let asked: Vec<IssueId> = found
        .iter()
        .filter(|issue| include.blocked_by || issue.status == IssueStatus::Blocked)
        .map(|issue| issue.id.clone())
        .collect();
    let mut blockers: BTreeMap<IssueId, Vec<Related>> = BTreeMap::new();
    for (blocked, blocker) in relations::blockers_of(tx, &asked).await? {
        blockers.entry(blocked).or_default().push(blocker);
    }
    let at_work = at_work(tx, blockers.values().flatten()).await?;
    let mut touches = touches(tx, include.touches_of_user.as_deref(), &ids).await?;
    let mut listed = Vec::with_capacity(found.len());
    for issue in found {
        let blocked_by = blockers.remove(&issue.id).unwrap_or_default();
        let attention = attention(tx, &issue, &blocked_by, &at_work).await?;
        listed.push(Listed {
            labels: labelled.remove(&issue.id).unwrap_or_default(),
            active_run: runs.remove(&issue.id),
            attention,
            blocked_by: include.blocked_by.then_some(blocked_by),
            touch: include.touches_of_user.as_ref().map(|_| touches.remove(&issue.id).unwrap_or_default()),
            issue,
        });
    }
    Ok(listed)
}

async fn attention(
    tx: &mut Tx<'_>,
    issue: &Issue,
    blockers: &[Related],
    at_work: &BTreeSet<IssueId>,
) -> Result<Attention, StoreError> {
    let is_alone =
        issue.status == IssueStatus::Blocked && blockers.iter().all(|it| it.status == IssueStatus::Done);
    let has_open_child = is_alone && issues::has_open_child(tx, &issue.id).await?;
    let blockers: Vec<Blocker> = blockers.iter().cloned().map(issue_views::blocker).collect();
    Ok(judge(issue.status, &blockers, at_work, has_open_child))
}

/// How the blockers of one issue stand.
pub(super) async fn attention_of(
    tx: &mut Tx<'_>,
    issue: &Issue,
    blockers: &[Related],
) -> Result<Attention, StoreError> {
    let at_work = at_work(tx, blockers.iter()).await?;
    attention(tx, issue, blockers, &at_work).await
}

/// Which of these issues have a run that is not over.
async fn at_work(
    tx: &mut Tx<'_>,
    issues: impl Iterator<Item = &Related>,
) -> Result<BTreeSet<IssueId>, StoreError> {
    let ids: BTreeSet<IssueId> = issues.map(|issue| issue.id.clone()).collect();
    let ids: Vec<IssueId> = ids.into_iter().collect();
    Ok(runs_of_issues::live_of(tx, &ids).await?.into_iter().map(|run| run.issue_id).collect())
}

/// The runs that issues point to, as far as they are queued or running.
async fn active_runs(tx: &mut Tx<'_>, found: &[Issue]) -> Result<BTreeMap<IssueId, RunRef>, StoreError> {
    let ids: Vec<RunId> = found.iter().filter_map(|issue| issue.execution_run_id.clone()).collect();
    let mut runs: BTreeMap<RunId, Run> = BTreeMap::new();
    for run in runs_of_issues::some(tx, &ids).await? {
        if matches!(run.status, RunStatus::Queued | RunStatus::Running) {
            runs.insert(run.id.clone(), run);
        }
    }
    let pointed = found.iter().filter_map(|issue| {
        let run = runs.get(issue.execution_run_id.as_ref()?)?;
        Some((issue.id.clone(), RunRef { run: run.clone() }))
    });
    Ok(pointed.collect())
}

async fn touches(
    tx: &mut Tx<'_>,
    user: Option<&str>,
    ids: &[IssueId],
) -> Result<BTreeMap<IssueId, Touch>, StoreError> {
    let Some(user) = user else { return Ok(BTreeMap::new()) };
    let mut touches: BTreeMap<IssueId, Touch> = BTreeMap::new();
    for comments in reads::last_comments(tx, user, ids).await? {
        let touch = touches.entry(comments.issue_id).or_default();
        touch.my_last_touch_at = comments.own_at;
        touch.last_external_comment_at = comments.others_at;
    }
    for state in reads::of_user(tx, user, ids).await? {
        let touch = touches.entry(state.issue_id).or_default();
        touch.my_last_touch_at = touch.my_last_touch_at.max(state.last_read_at);
    }
    for touch in touches.values_mut() {
        touch.is_unread =
            touch.my_last_touch_at.is_some() && touch.last_external_comment_at > touch.my_last_touch_at;
    }
    Ok(touches)
}

async fn detail(tx: &mut Tx<'_>, issue: Issue) -> Result<Detail, StoreError> {
    let id = issue.id.clone();
    let own = std::slice::from_ref(&id);
    let labels = labels::of_issues(tx, own).await?.into_iter().map(|(_, label)| label).collect();
    let ancestors = issues::ancestors(tx, &id, issues::MOST_ANCESTORS).await?;
    let ids = |field: fn(&Issue) -> Option<&String>| {
        let mut ids: Vec<String> = ancestors.iter().filter_map(field).cloned().collect();
        ids.sort();
        ids.dedup();
        ids
    };
    let (project_ids, goal_ids) = (ids(|it| it.project_id.as_ref()), ids(|it| it.goal_id.as_ref()));
    let ancestor_projects = projects::some(tx, &project_ids).await?;
    let ancestor_projects = crate::projects::cards(tx, ancestor_projects).await?;
    let ancestor_goals = goals::some(tx, &goal_ids).await?;
    let blocked_by = relations::blockers(tx, &id, MOST_RELATED).await?;
    let attention = attention_of(tx, &issue, &blocked_by).await?;
    let mut documents = documents::summaries(tx, &id, MOST_DOCUMENTS).await?;
    documents.retain(|document| document.key != SYSTEM_KEY);
    let (project, goal) = place_of(tx, &issue).await?;
    let referenced = references_in(&issue);
    let mut related = Vec::new();
    for identifier in &referenced {
        let found = issues::by_identifier(tx, identifier).await?;
        related.extend(found.filter(|found| found.company_id == issue.company_id && found.id != id));
    }
    Ok(Detail {
        labels,
        ancestors,
        ancestor_projects,
        ancestor_goals,
        attention,
        blocked_by,
        blocks: relations::dependents(tx, &id, MOST_RELATED).await?,
        active_run: active_runs(tx, std::slice::from_ref(&issue)).await?.remove(&id),
        plan: documents::get(tx, &id, "plan").await?,
        documents,
        project,
        goal,
        products: work_products::list(tx, &id, MOST_PRODUCTS).await?,
        referenced,
        related,
        place: current_place(tx, &issue).await?,
        issue,
    })
}

/// The execution workspace that an issue is worked on in.
pub(super) async fn current_place(
    tx: &mut Tx<'_>,
    issue: &Issue,
) -> Result<Option<ExecutionWorkspace>, StoreError> {
    let Some(id) = &issue.execution_workspace_id else { return Ok(None) };
    Ok(execution_workspaces::get(tx, id).await?.filter(|place| place.company_id == issue.company_id))
}

/// The project of an issue, and its goal: its own, else its project's, else the company's.
pub(super) async fn place_of(
    tx: &mut Tx<'_>,
    issue: &Issue,
) -> Result<(Option<ProjectCard>, Option<Goal>), StoreError> {
    let project = match &issue.project_id {
        None => None,
        Some(project) => {
            let found = projects::get(tx, project).await?;
            crate::projects::cards(tx, found.into_iter().collect()).await?.pop()
        }
    };
    let of_project = project.as_ref().and_then(|card| card.goals.first()).map(|(id, _)| id.clone());
    let goal = match issue.goal_id.clone().or(of_project) {
        Some(goal) => goals::get(tx, &goal).await?,
        None if project.is_none() => goals::default_of(tx, &issue.company_id).await?,
        None => None,
    };
    Ok((project, goal))
}

/// The identifiers that title and description name, each once, in the order of the text.
fn references_in(issue: &Issue) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let text = format!("{} {}", issue.title, issue.description.as_deref().unwrap_or_default());
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
        let Some(identifier) = domain::issue::create::parse_identifier(word) else { continue };
        // Words of prose have small letters; identifiers are written as they are stored.
        if word == identifier && identifier != issue.identifier && !found.contains(&identifier) {
            found.push(identifier);
        }
        if found.len() == MOST_REFERENCES {
            break;
        }
    }
    found
}
