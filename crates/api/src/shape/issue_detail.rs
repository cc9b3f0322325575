//! An issue with everything around it, for people; and the same for an agent at the start of a run, smaller.

use domain::moment::Moment;
use engine::ProjectCard;
use engine::issues::{Detail, HeartbeatContext as Loaded};
use serde::Serialize;
use store::goals::Goal as GoalRow;
use store::issues::Issue as Row;
use utoipa::ToSchema;

use super::attachment::content_path;
use super::comment::Comment;
use super::document::{Document, DocumentSummary};
use super::execution_workspace::ExecutionWorkspace;
use super::issue::{BlockerAttention, Issue, Names, RelationSummary, summaries};
use super::project::{Goal, Project, ProjectWorkspace};
use super::reference::{LegacyPlanDocument, RelatedWork};
use super::work_product::WorkProduct;

/// An issue with everything around it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IssueDetail {
    #[serde(flatten)]
    issue: Issue,
    /// The parent first, at most 50.
    ancestors: Vec<Ancestor>,
    blocker_attention: BlockerAttention,
    blocked_by: Vec<RelationSummary>,
    blocks: Vec<RelationSummary>,
    related_work: RelatedWork,
    referenced_issue_identifiers: Vec<String>,
    /// The document `plan`.
    plan_document: Option<Document>,
    document_summaries: Vec<DocumentSummary>,
    legacy_plan_document: Option<LegacyPlanDocument>,
    project: Option<Project>,
    goal: Option<Goal>,
    mentioned_projects: Vec<Project>,
    /// Where it is worked on.
    current_execution_workspace: Option<ExecutionWorkspace>,
    work_products: Vec<WorkProduct>,
}

impl IssueDetail {
    pub(crate) fn new(detail: Detail, mentioned: Vec<ProjectCard>, names: &Names) -> IssueDetail {
        let related_work = RelatedWork::of(&detail.issue, &detail.related);
        let legacy = match &detail.plan {
            None => LegacyPlanDocument::of(detail.issue.description.as_deref()),
            Some(_) => None,
        };
        let ancestors = detail
            .ancestors
            .iter()
            .map(|row| Ancestor::new(row, &detail.ancestor_projects, &detail.ancestor_goals))
            .collect();
        let mut issue = Issue::new(detail.issue, detail.labels, names);
        issue.goal_id = detail.goal.as_ref().map(|goal| goal.id.clone());
        IssueDetail {
            issue,
            ancestors,
            blocker_attention: detail.attention.into(),
            blocked_by: summaries(detail.blocked_by),
            blocks: summaries(detail.blocks),
            related_work,
            referenced_issue_identifiers: detail.referenced,
            plan_document: detail.plan.map(Document::from),
            document_summaries: detail.documents.into_iter().map(DocumentSummary::from).collect(),
            legacy_plan_document: legacy,
            project: detail.project.map(Project::from),
            goal: detail.goal.map(Goal::from),
            mentioned_projects: mentioned.into_iter().map(Project::from).collect(),
            current_execution_workspace: detail.place.map(ExecutionWorkspace::from),
            work_products: detail.products.into_iter().map(WorkProduct::from).collect(),
        }
    }
}

/// What an issue is part of.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ancestor {
    id: String,
    identifier: String,
    title: String,
    description: Option<String>,
    status: &'static str,
    priority: &'static str,
    assignee_agent_id: Option<String>,
    project_id: Option<String>,
    goal_id: Option<String>,
    project: Option<AncestorProject>,
    goal: Option<AncestorGoal>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AncestorProject {
    id: String,
    name: String,
    description: Option<String>,
    status: String,
    goal_id: Option<String>,
    workspaces: Vec<ProjectWorkspace>,
    primary_workspace: Option<ProjectWorkspace>,
}

#[derive(Debug, Serialize, ToSchema)]
struct AncestorGoal {
    id: String,
    title: String,
    description: Option<String>,
    level: String,
    status: String,
}

impl Ancestor {
    fn new(row: &Row, projects: &[ProjectCard], goals: &[GoalRow]) -> Ancestor {
        let project = projects.iter().find(|card| Some(&card.project.id) == row.project_id.as_ref());
        let goal = goals.iter().find(|goal| Some(&goal.id) == row.goal_id.as_ref());
        Ancestor {
            id: row.id.0.clone(),
            identifier: row.identifier.clone(),
            title: row.title.clone(),
            description: row.description.clone(),
            status: row.status.as_str(),
            priority: row.priority.as_str(),
            assignee_agent_id: row.assignee_agent_id.clone().map(|id| id.0),
            project_id: row.project_id.clone(),
            goal_id: row.goal_id.clone(),
            project: project.map(AncestorProject::from),
            goal: goal.map(AncestorGoal::from),
        }
    }
}

impl From<&ProjectCard> for AncestorProject {
    fn from(card: &ProjectCard) -> AncestorProject {
        let workspace = |row: &store::projects::Workspace| ProjectWorkspace::from(row.clone());
        AncestorProject {
            id: card.project.id.clone(),
            name: card.project.name.clone(),
            description: card.project.description.clone(),
            status: card.project.status.clone(),
            goal_id: card.goals.first().map(|(id, _)| id.clone()),
            workspaces: card.workspaces.iter().map(workspace).collect(),
            primary_workspace: card.workspaces.iter().find(|row| row.is_primary).map(workspace),
        }
    }
}

impl From<&GoalRow> for AncestorGoal {
    fn from(goal: &GoalRow) -> AncestorGoal {
        AncestorGoal {
            id: goal.id.clone(),
            title: goal.title.clone(),
            description: goal.description.clone(),
            level: goal.level.clone(),
            status: goal.status.clone(),
        }
    }
}

/// What an agent reads first of its issue.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeartbeatContext {
    issue: ContextIssue,
    ancestors: Vec<ContextAncestor>,
    project: Option<ContextProject>,
    goal: Option<ContextGoal>,
    comment_cursor: CommentCursor,
    /// The comment that woke the agent.
    wake_comment: Option<Comment>,
    attachments: Vec<ContextAttachment>,
    continuation_summary: Option<ContinuationSummary>,
    /// Where it is worked on.
    current_execution_workspace: Option<ExecutionWorkspace>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ContextIssue {
    id: String,
    identifier: String,
    title: String,
    description: Option<String>,
    status: &'static str,
    blocker_attention: BlockerAttention,
    priority: &'static str,
    project_id: Option<String>,
    goal_id: Option<String>,
    parent_id: Option<String>,
    blocked_by: Vec<RelationSummary>,
    blocks: Vec<RelationSummary>,
    assignee_agent_id: Option<String>,
    assignee_user_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

#[derive(Debug, Serialize, ToSchema)]
struct ContextAncestor {
    id: String,
    identifier: String,
    title: String,
    status: &'static str,
    priority: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ContextProject {
    id: String,
    name: String,
    status: String,
    target_date: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ContextGoal {
    id: String,
    title: String,
    status: String,
    level: String,
    parent_id: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CommentCursor {
    total_comments: i64,
    latest_comment_id: Option<String>,
    #[schema(value_type = Option<String>)]
    latest_comment_at: Option<Moment>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ContextAttachment {
    id: String,
    filename: Option<String>,
    content_type: String,
    byte_size: i64,
    content_path: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ContinuationSummary {
    key: String,
    title: Option<String>,
    body: String,
    latest_revision_id: String,
    latest_revision_number: i64,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Loaded> for HeartbeatContext {
    fn from(loaded: Loaded) -> HeartbeatContext {
        let Loaded { issue, cursor, .. } = loaded;
        let (latest_comment_id, latest_comment_at) = cursor.latest.map(|(id, at)| (id.0, at)).unzip();
        HeartbeatContext {
            issue: ContextIssue {
                id: issue.id.0,
                identifier: issue.identifier,
                title: issue.title,
                description: issue.description,
                status: issue.status.as_str(),
                blocker_attention: loaded.attention.into(),
                priority: issue.priority.as_str(),
                project_id: issue.project_id,
                goal_id: loaded.goal.as_ref().map(|goal| goal.id.clone()),
                parent_id: issue.parent_id.map(|id| id.0),
                blocked_by: summaries(loaded.blocked_by),
                blocks: summaries(loaded.blocks),
                assignee_agent_id: issue.assignee_agent_id.map(|id| id.0),
                assignee_user_id: issue.assignee_user_id,
                updated_at: issue.updated_at,
            },
            ancestors: loaded
                .ancestors
                .into_iter()
                .map(|row| ContextAncestor {
                    id: row.id.0,
                    identifier: row.identifier,
                    title: row.title,
                    status: row.status.as_str(),
                    priority: row.priority.as_str(),
                })
                .collect(),
            project: loaded.project.map(|card| ContextProject {
                id: card.project.id,
                name: card.project.name,
                status: card.project.status,
                target_date: card.project.target_date,
            }),
            goal: loaded.goal.map(|goal| ContextGoal {
                id: goal.id,
                title: goal.title,
                status: goal.status,
                level: goal.level,
                parent_id: goal.parent_id,
            }),
            comment_cursor: CommentCursor {
                total_comments: cursor.total,
                latest_comment_id,
                latest_comment_at,
            },
            wake_comment: loaded.wake_comment.map(Comment::from),
            attachments: loaded
                .attachments
                .into_iter()
                .map(|row| ContextAttachment {
                    content_path: content_path(&row.id),
                    id: row.id,
                    filename: row.original_filename,
                    content_type: row.content_type,
                    byte_size: row.byte_size,
                    created_at: row.created_at,
                })
                .collect(),
            continuation_summary: loaded.continuation_summary.map(|document| ContinuationSummary {
                key: document.key,
                title: document.title,
                body: document.body,
                latest_revision_id: document.latest_revision_id,
                latest_revision_number: document.latest_revision_number,
                updated_at: document.updated_at,
            }),
            current_execution_workspace: loaded.place.map(ExecutionWorkspace::from),
        }
    }
}
