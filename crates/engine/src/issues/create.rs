//! New issues: of a company, and as children of another issue.
//!
//! A new issue is one transaction: its number, its edges and labels, what is told of it, and the wake of its assignee.
//! Its blockers are locked with it, so that none of them ends unseen in between.

use std::collections::BTreeSet;

use domain::ids::{AgentId, CompanyId, IssueId};
use domain::issue::create::{NewIssue, check_blockers, create};
use domain::issue::refusal::{Kind, Refusal};
use domain::issue::stages::Policy;
use domain::issue::{IssueStatus, Priority};
use serde_json::{Value as Json, json};
use store::issues::{self, Issue};
use store::projects::Project;
use store::relations::By;
use store::{Tx, companies, execution_workspaces, goals, projects, relations};

use super::care::{agent_in, may_assign};
use super::facts::{self, user_exists};
use super::texts::{BODY, NAME, Sheet, TITLE};
use super::{Again, Locks, guard, labels, of_company, tidings};
use crate::activity::{Author, Scribe};
use crate::environments::check_choice;
use crate::{Engine, EngineError, held_texts, promotions};

/// As many edges as are looked at for a circle.
const MOST_EDGES: i64 = 10_000;
/// As many criteria as a child is made with, and the longest of them.
const CRITERIA: (usize, usize) = (20, 500);

/// A new issue (spec/api.md 4.5.2).
#[derive(Debug, Clone, PartialEq)]
pub struct IssueDraft {
    pub title: String,
    pub description: Option<String>,
    pub status: IssueStatus,
    pub priority: Priority,
    pub project_id: Option<String>,
    pub project_workspace_id: Option<String>,
    pub goal_id: Option<String>,
    pub parent_id: Option<IssueId>,
    pub execution_workspace_id: Option<String>,
    pub inherit_execution_workspace_from: Option<IssueId>,
    pub assignee_agent_id: Option<AgentId>,
    pub assignee_user_id: Option<String>,
    pub blocked_by: Vec<IssueId>,
    pub label_ids: Vec<String>,
    pub request_depth: i64,
    pub billing_code: Option<String>,
    pub assignee_adapter_overrides: Option<Json>,
    pub execution_policy: Option<Json>,
    pub execution_workspace_preference: Option<String>,
    pub execution_workspace_settings: Option<Json>,
    /// Where it comes from: `manual`, unless a part of the program makes it.
    pub origin_kind: String,
    pub origin_id: Option<String>,
    /// Its author is not trusted: what it says is held until somebody releases it.
    pub is_from_outside: bool,
}

impl Default for IssueDraft {
    fn default() -> IssueDraft {
        IssueDraft {
            title: String::new(),
            description: None,
            status: IssueStatus::Backlog,
            priority: Priority::Medium,
            project_id: None,
            project_workspace_id: None,
            goal_id: None,
            parent_id: None,
            execution_workspace_id: None,
            inherit_execution_workspace_from: None,
            assignee_agent_id: None,
            assignee_user_id: None,
            blocked_by: Vec::new(),
            label_ids: Vec::new(),
            request_depth: 0,
            billing_code: None,
            assignee_adapter_overrides: None,
            execution_policy: None,
            execution_workspace_preference: None,
            execution_workspace_settings: None,
            origin_kind: "manual".to_owned(),
            origin_id: None,
            is_from_outside: false,
        }
    }
}

/// A new child; its parent is named beside it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChildDraft {
    /// Its `parent_id` and `inherit_execution_workspace_from` are not looked at.
    pub issue: IssueDraft,
    /// Appended to the description.
    pub acceptance_criteria: Vec<String>,
    /// The parent waits until the child is done.
    pub block_parent_until_done: bool,
}

impl Engine {
    /// Creates an issue.
    pub async fn create_issue(
        &self,
        company: &CompanyId,
        draft: IssueDraft,
        by: &Author,
    ) -> Result<Issue, EngineError> {
        check(&draft)?;
        if draft.is_from_outside {
            held_texts::check_draft(&draft)?;
        }
        let locks = Locks { agents: BTreeSet::new(), issues: draft.blocked_by.iter().cloned().collect() };
        let context = (company.clone(), draft);
        let made = self.inner.change(by, locks, context, |tx, mut scribe, locks, (company, draft)| {
            Box::pin(async move {
                locks.take(tx).await?;
                let parent = match &draft.parent_id {
                    None => None,
                    Some(parent) => {
                        Some(of_company(tx, &company, parent).await?.ok_or(Refusal::ParentNotFound)?)
                    }
                };
                let is_from_outside = draft.is_from_outside;
                let place = Place { parent, siblings: None };
                let mut made = plan(tx, &mut scribe, &company, draft, place).await?;
                if is_from_outside {
                    let said = held_texts::Said::take(&mut made.issue);
                    write(tx, &mut scribe, &made, "issue.created", Source::Create).await?;
                    held_texts::hold_issue(tx, &mut scribe, &made.issue, said).await?;
                    return Ok(made.issue);
                }
                write(tx, &mut scribe, &made, "issue.created", Source::Create).await?;
                Ok(made.issue)
            })
        });
        made.await
    }

    /// Creates an issue below another one.
    pub async fn create_child_issue(
        &self,
        parent: &IssueId,
        draft: ChildDraft,
        by: &Author,
    ) -> Result<Issue, EngineError> {
        check_child(&draft)?;
        let mut locks = Locks::of(parent);
        locks.issues.extend(draft.issue.blocked_by.iter().cloned());
        let context = (parent.clone(), draft);
        let made = self.inner.change(by, locks, context, |tx, mut scribe, locks, (id, draft)| {
            Box::pin(async move {
                let locked = locks.take(tx).await?;
                let parent = locked.issues.get(&id).ok_or(Refusal::ParentNotFound)?.clone();
                let company = parent.company_id.clone();
                let custodian = match draft.block_parent_until_done {
                    // To block the parent is to change it.
                    true => Some(guard(tx, &scribe, &parent).await?),
                    false => None,
                };
                let block_parent = draft.block_parent_until_done;
                let draft = of_parent(draft, &parent);
                let siblings = usize::try_from(issues::count_children(tx, &id).await?).unwrap_or(usize::MAX);
                let place = Place { parent: Some(parent.clone()), siblings: Some(siblings) };
                let made = plan(tx, &mut scribe, &company, draft, place).await?;
                write(tx, &mut scribe, &made, "issue.child_created", Source::Child).await?;
                if let Some(custodian) = custodian.filter(|_| block_parent) {
                    custodian.keep(tx, &mut scribe, &parent).await?;
                    // A new issue blocks nothing else, so that no circle can close.
                    relations::add(tx, &company, &made.issue.id, &id, &by_of(&scribe), scribe.now).await?;
                    if !parent.status.is_terminal() && made.issue.status != IssueStatus::Done {
                        issues::set_waits_on_blockers(tx, &id, true).await?;
                    }
                    let details =
                        json!({ "identifier": parent.identifier, "added": [made.issue.id], "removed": [] });
                    scribe.tell_issue(tx, &company, "issue.blockers_updated", &id, details).await?;
                }
                issues::touch(tx, &id, scribe.now).await?;
                Ok(made.issue)
            })
        });
        made.await
    }

    /// Removes an issue with all that hangs on it; its children stay, without a parent. Runs that are under way on it
    /// find it gone.
    pub async fn delete_issue(&self, issue: &IssueId, by: &Author) -> Result<Issue, EngineError> {
        let files = self.attachments(issue).await?;
        let deleted =
            self.inner.change_widely(by, Locks::of(issue), issue.clone(), |tx, mut scribe, locks, id| {
                Box::pin(async move {
                    let dependents = facts::dependents(tx, &id).await?;
                    let wanted = Locks { agents: BTreeSet::new(), issues: dependents.into_iter().collect() };
                    if !locks.holds(&wanted) {
                        return Err(Again::Wider(wanted));
                    }
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&id).ok_or(Refusal::IssueNotFound)?.clone();
                    guard(tx, &scribe, &issue).await?;
                    promotions::end_all_on(tx, &id, scribe.now).await?;
                    held_texts::forget_issue(tx, &scribe, &id).await?;
                    issues::remove(tx, &id).await?;
                    let details = json!({ "identifier": issue.identifier, "title": issue.title });
                    let company = &issue.company_id;
                    scribe.tell_issue(tx, company, "issue.deleted", &id, details).await?;
                    // What it blocked waits for one less.
                    tidings::after_removal(tx, &mut scribe, &issue, &locked).await?;
                    Ok(issue)
                })
            });
        let deleted = deleted.await?;
        for file in files {
            super::attachments::forget(&self.attachment_path(&file)).await;
        }
        Ok(deleted)
    }
}

/// Where a new issue stands.
pub(crate) struct Place {
    pub(crate) parent: Option<Issue>,
    /// How many children the parent has; `None` where nobody counts.
    pub(crate) siblings: Option<usize>,
}

/// A new issue that may be written.
pub(crate) struct Made {
    pub(crate) issue: Issue,
    blockers: Vec<IssueId>,
    labels: Vec<String>,
}

/// On which way an issue is made; the word in the context of its wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Create,
    Child,
    Interaction,
}

/// Judges a new issue and fills in what was left out. Draws its number, so that locks come before; writes nothing else.
pub(crate) async fn plan(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    company: &CompanyId,
    draft: IssueDraft,
    place: Place,
) -> Result<Made, EngineError> {
    let agent = agent_in(tx, scribe, company).await?;
    companies::get(tx, company).await?.ok_or(EngineError::NotFound("Company"))?;
    let may_assign = may_assign(tx, &scribe.by, agent.as_ref()).await?;
    let assignee = match &draft.assignee_agent_id {
        None => None,
        Some(agent) => Some((agent.clone(), facts::assignee(tx, company, agent).await?)),
    };
    let assignee_user = match &draft.assignee_user_id {
        None => None,
        Some(user) => Some((user.clone(), user_exists(tx, company, user, &scribe.by).await?)),
    };
    let mut blockers: Vec<IssueId> = draft.blocked_by.clone();
    blockers.sort();
    blockers.dedup();
    let known = issues::some(tx, &blockers).await?;
    let is_known = |id: &IssueId| known.iter().any(|known| known.id == *id && known.company_id == *company);
    let new = NewIssue {
        status: draft.status,
        assignee,
        assignee_user,
        may_assign,
        foreign_blockers: blockers.iter().filter(|id| !is_known(id)).cloned().collect(),
        open_blockers: known
            .iter()
            .filter(|blocker| blocker.status != IssueStatus::Done)
            .map(|blocker| blocker.id.clone())
            .collect(),
        siblings: place.siblings.map(Some),
    };
    let created = create(&new, scribe.now)?;
    let labels = labels::checked(tx, company, &draft.label_ids).await?;
    let project = project_of(tx, company, draft.project_id.as_deref()).await?;
    check_choice(tx, company, draft.execution_workspace_settings.as_ref()).await?;
    let goal_id = goal_of(tx, company, draft.goal_id.as_deref(), project.as_ref()).await?;
    let mut fresh_ids = scribe.clone();
    let policy = match &draft.execution_policy {
        None => None,
        Some(policy) => Policy::normalise(policy, || fresh_ids.id())?,
    };
    let inherited = match &draft.inherit_execution_workspace_from {
        None => place.parent.clone(),
        Some(from) => Some(inherited_from(tx, company, from).await?),
    };
    let project_workspace_id = workspace_of(tx, &draft, project.as_ref(), inherited.as_ref()).await?;
    // Only where it was asked for: children that work beside each other have places of their own.
    let inherits = draft.inherit_execution_workspace_from.is_some()
        && draft.execution_workspace_id.is_none()
        && draft.execution_workspace_settings.is_none();
    let inherited_place = match inherited.as_ref().filter(|_| inherits) {
        Some(from) => open_place_of(tx, from).await?,
        None => None,
    };
    let id = IssueId(fresh_ids.id());
    *scribe = fresh_ids;
    let (issue_number, identifier) =
        issues::draw_identifier(tx, company).await?.ok_or(EngineError::NotFound("Company"))?;
    let now = scribe.now;
    let issue = Issue {
        id,
        company_id: company.clone(),
        project_id: project.map(|project| project.id),
        project_workspace_id,
        goal_id,
        parent_id: place.parent.map(|parent| parent.id),
        title: draft.title.trim().to_owned(),
        description: draft.description,
        status: draft.status,
        priority: draft.priority,
        assignee_agent_id: draft.assignee_agent_id,
        assignee_user_id: draft.assignee_user_id,
        checkout_run_id: None,
        execution_run_id: None,
        lock_run_id: None,
        lock_epoch: None,
        lock_agent_id: None,
        locked_at: None,
        created_by_agent_id: scribe.by.agent_id(),
        created_by_user_id: scribe.by.user_id(),
        issue_number,
        identifier,
        origin_kind: draft.origin_kind,
        origin_id: draft.origin_id,
        origin_run_id: scribe.by.run_id().map(|run| run.0),
        origin_fingerprint: "default".to_owned(),
        request_depth: draft.request_depth,
        billing_code: draft.billing_code,
        assignee_adapter_overrides: draft.assignee_adapter_overrides,
        execution_policy: policy.as_ref().map(Policy::to_value),
        execution_state: None,
        execution_workspace_id: draft.execution_workspace_id.or(inherited_place.clone()),
        execution_workspace_preference: draft
            .execution_workspace_preference
            .or_else(|| inherited_place.map(|_| "reuse_existing".to_owned())),
        execution_workspace_settings: draft.execution_workspace_settings,
        started_at: created.stamps.started_at,
        completed_at: created.stamps.completed_at,
        cancelled_at: created.stamps.cancelled_at,
        hidden_at: None,
        waits_on_blockers: created.waits_on_blockers,
        check_at: None,
        last_activity_at: now,
        created_at: now,
        updated_at: now,
    };
    // The new issue blocks nobody yet: it can only be its own blocker.
    check_blockers(&issue.id, &blockers, &[])?;
    Ok(Made { issue, blockers, labels })
}

/// Writes a new issue, tells of it and wakes its assignee.
pub(crate) async fn write(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    made: &Made,
    action: &str,
    source: Source,
) -> Result<(), EngineError> {
    let issue = &made.issue;
    issues::insert(tx, issue).await?;
    labels_of(tx, made).await?;
    if !made.blockers.is_empty() {
        let (company, now, by) = (&issue.company_id, scribe.now, by_of(scribe));
        relations::replace_blockers(tx, company, &issue.id, &made.blockers, &by, now).await?;
    }
    let mut details = json!({
        "title": issue.title, "identifier": issue.identifier, "status": issue.status,
        "assigneeAgentId": issue.assignee_agent_id, "parentId": issue.parent_id,
    });
    if !made.blockers.is_empty() {
        details["blockedByIssueIds"] = json!(made.blockers);
    }
    scribe.tell_issue(tx, &issue.company_id, action, &issue.id, details).await?;
    tidings::after_creation(tx, scribe, issue, source).await
}

async fn labels_of(tx: &mut Tx<'_>, made: &Made) -> Result<(), EngineError> {
    if !made.labels.is_empty() {
        store::labels::replace(tx, &made.issue.id, &made.labels).await?;
    }
    Ok(())
}

/// Who makes an edge.
pub(super) fn by_of(scribe: &Scribe) -> By {
    By { agent_id: scribe.by.agent_id(), user_id: scribe.by.user_id() }
}

/// The blockers that an issue is to get, once each: of its company, and closing no circle. Locks the graph.
pub(super) async fn checked_blockers(
    tx: &mut Tx<'_>,
    issue: &Issue,
    blockers: &[IssueId],
) -> Result<Vec<Issue>, EngineError> {
    let mut wanted = blockers.to_vec();
    wanted.sort();
    wanted.dedup();
    let known = issues::some(tx, &wanted).await?;
    let own = known.iter().filter(|known| known.company_id == issue.company_id).count();
    if own != wanted.len() {
        return Err(Refusal::BlockersForeign.into());
    }
    relations::lock_graph(tx, &issue.company_id).await?;
    let above = relations::above(tx, &wanted, MOST_EDGES).await?;
    let edges: Vec<(IssueId, IssueId)> =
        above.into_iter().map(|(blocked, blocker)| (blocker, blocked)).collect();
    check_blockers(&issue.id, &wanted, &edges)?;
    Ok(known)
}

/// The project of an id, of the company.
pub(super) async fn project_of(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    id: Option<&str>,
) -> Result<Option<Project>, EngineError> {
    let Some(id) = id else { return Ok(None) };
    let found = projects::get(tx, id).await?.filter(|project| project.company_id == *company);
    found.map(Some).ok_or(EngineError::NotFound("Project"))
}

/// The goal of an issue: its own, else its project's first, else the one that everything of the company serves.
pub(super) async fn goal_of(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    id: Option<&str>,
    project: Option<&Project>,
) -> Result<Option<String>, EngineError> {
    if let Some(id) = id {
        let found = goals::get(tx, id).await?.filter(|goal| goal.company_id == *company);
        return found.map(|goal| Some(goal.id)).ok_or(EngineError::NotFound("Goal"));
    }
    if let Some(project) = project {
        let served = projects::goals_of(tx, std::slice::from_ref(&project.id)).await?;
        if let Some((_, goal, _)) = served.into_iter().next() {
            return Ok(Some(goal));
        }
    }
    Ok(goals::default_of(tx, company).await?.map(|goal| goal.id))
}

/// The issue that another one takes its place of work from.
pub(super) async fn inherited_from(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    from: &IssueId,
) -> Result<Issue, EngineError> {
    let missing = || EngineError::refused(Kind::NotFound, "Workspace inheritance issue not found");
    of_company(tx, company, from).await?.ok_or_else(missing)
}

/// Where an issue is worked on; a closed workspace is no place to work in.
pub(super) async fn open_place_of(tx: &mut Tx<'_>, issue: &Issue) -> Result<Option<String>, EngineError> {
    let Some(place) = issue.execution_workspace_id.as_deref() else { return Ok(None) };
    Ok(execution_workspaces::get(tx, place).await?.filter(|row| !row.is_closed()).map(|row| row.id))
}

/// The project workspace: the one given, which must be of the project; else that of the issue it inherits from; else the
/// project's primary one.
async fn workspace_of(
    tx: &mut Tx<'_>,
    draft: &IssueDraft,
    project: Option<&Project>,
    inherited: Option<&Issue>,
) -> Result<Option<String>, EngineError> {
    if let Some(workspace) = &draft.project_workspace_id {
        return own_workspace(tx, workspace, project.map(|project| project.id.as_str())).await.map(Some);
    }
    let Some(project) = project else { return Ok(None) };
    let of_same = inherited.filter(|issue| issue.project_id.as_ref() == Some(&project.id));
    if let Some(workspace) = of_same.and_then(|issue| issue.project_workspace_id.clone()) {
        return Ok(Some(workspace));
    }
    let all = projects::workspaces_of(tx, std::slice::from_ref(&project.id)).await?;
    Ok(all.into_iter().find(|workspace| workspace.is_primary).map(|workspace| workspace.id))
}

/// A workspace of the project.
pub(super) async fn own_workspace(
    tx: &mut Tx<'_>,
    workspace: &str,
    project: Option<&str>,
) -> Result<String, EngineError> {
    let found = projects::workspace(tx, workspace).await?;
    found
        .filter(|workspace| Some(workspace.project_id.as_str()) == project)
        .map(|workspace| workspace.id)
        .ok_or_else(|| {
            let words = "Project workspace must belong to the selected project";
            EngineError::refused(Kind::Unprocessable, words)
        })
}

/// What a child takes from its parent.
fn of_parent(draft: ChildDraft, parent: &Issue) -> IssueDraft {
    let mut issue = draft.issue;
    issue.parent_id = Some(parent.id.clone());
    issue.inherit_execution_workspace_from = None;
    issue.project_id = issue.project_id.or_else(|| parent.project_id.clone());
    issue.goal_id = issue.goal_id.or_else(|| parent.goal_id.clone());
    issue.request_depth = issue.request_depth.max(parent.request_depth + 1);
    if !draft.acceptance_criteria.is_empty() {
        let mut text = issue.description.take().map(|text| text + "\n\n").unwrap_or_default();
        text.push_str("## Acceptance Criteria\n");
        for criterion in &draft.acceptance_criteria {
            text.push_str("\n- ");
            text.push_str(criterion.trim());
        }
        issue.description = Some(text);
    }
    issue
}

pub(crate) fn check(draft: &IssueDraft) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    check_into(&mut sheet, draft);
    sheet.finish()
}

fn check_child(draft: &ChildDraft) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    check_into(&mut sheet, &draft.issue);
    let (most, longest) = CRITERIA;
    if draft.acceptance_criteria.len() > most {
        sheet.wrong("acceptanceCriteria", &format!("has more than {most} entries"), "give fewer");
    }
    for (index, criterion) in draft.acceptance_criteria.iter().enumerate() {
        sheet.required(&format!("acceptanceCriteria.{index}"), criterion, longest);
    }
    sheet.finish()
}

fn check_into(sheet: &mut Sheet, draft: &IssueDraft) {
    sheet.required("title", &draft.title, TITLE);
    sheet.maybe("description", draft.description.as_deref(), BODY);
    sheet.id("projectId", draft.project_id.as_deref());
    sheet.id("projectWorkspaceId", draft.project_workspace_id.as_deref());
    sheet.id("goalId", draft.goal_id.as_deref());
    sheet.id("parentId", draft.parent_id.as_ref().map(IssueId::as_str));
    sheet.id("executionWorkspaceId", draft.execution_workspace_id.as_deref());
    let from = draft.inherit_execution_workspace_from.as_ref();
    sheet.id("inheritExecutionWorkspaceFromIssueId", from.map(IssueId::as_str));
    sheet.id("assigneeAgentId", draft.assignee_agent_id.as_ref().map(AgentId::as_str));
    sheet.maybe("assigneeUserId", draft.assignee_user_id.as_deref(), NAME);
    sheet.ids("blockedByIssueIds", draft.blocked_by.iter().map(IssueId::as_str));
    sheet.ids("labelIds", draft.label_ids.iter().map(String::as_str));
    sheet.depth(Some(draft.request_depth));
    sheet.maybe("billingCode", draft.billing_code.as_deref(), NAME);
    sheet.object("assigneeAdapterOverrides", draft.assignee_adapter_overrides.as_ref());
    sheet.object("executionPolicy", draft.execution_policy.as_ref());
    let preference = draft.execution_workspace_preference.as_deref();
    sheet.maybe("executionWorkspacePreference", preference, NAME);
    sheet.object("executionWorkspaceSettings", draft.execution_workspace_settings.as_ref());
}
