//! Bodies of new issues and of changes: what clients may send, field by field (spec/api.md 4.5.2, 4.5.3).

use domain::ids::{AgentId, IssueId};
use domain::issue::{IssueStatus, Priority};
use domain::moment::Moment;
use engine::issues::{ChildDraft, IssueDraft, IssuePatch};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::body::Fields;

/// Where an issue is worked on, as clients may prefer it.
const PREFERENCES: [&str; 6] = [
    "inherit",
    "shared_workspace",
    "isolated_workspace",
    "operator_branch",
    "reuse_existing",
    "agent_default",
];
const OVERRIDES: [&str; 2] = ["adapterConfig", "useProjectWorkspace"];
const SETTINGS: [&str; 4] = ["mode", "environmentId", "workspaceStrategy", "workspaceRuntime"];
/// Commands of a workspace strategy that the machine of the server executes.
const HOST_COMMANDS: [&str; 2] = ["provisionCommand", "teardownCommand"];

/// A new issue, or a change of one: what is absent stays or has its default, null clears.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IssueBody {
    /// Required for a new issue.
    #[schema(min_length = 1)]
    title: Option<String>,
    description: Option<Option<String>>,
    /// `backlog` (default), `todo`, `in_progress`, `in_review`, `done`, `blocked` or `cancelled`.
    #[schema(value_type = Option<String>)]
    status: Option<IssueStatus>,
    /// `critical`, `high`, `medium` (default) or `low`.
    #[schema(value_type = Option<String>)]
    priority: Option<Priority>,
    project_id: Option<Option<String>>,
    project_workspace_id: Option<Option<String>>,
    goal_id: Option<Option<String>>,
    parent_id: Option<Option<String>>,
    /// Of a change: an id or a short name.
    assignee_agent_id: Option<Option<String>>,
    assignee_user_id: Option<Option<String>>,
    blocked_by_issue_ids: Option<Vec<String>>,
    label_ids: Option<Vec<String>>,
    /// Of a new issue.
    #[schema(minimum = 0)]
    request_depth: Option<i64>,
    billing_code: Option<Option<String>>,
    /// `adapterConfig` and `useProjectWorkspace`.
    #[schema(value_type = Option<Object>)]
    assignee_adapter_overrides: Option<Option<Map<String, Value>>>,
    /// `mode` and `stages`.
    #[schema(value_type = Option<Object>)]
    execution_policy: Option<Option<Map<String, Value>>>,
    /// It is worked on where this issue is.
    inherit_execution_workspace_from_issue_id: Option<String>,
    /// The workspace that its runs go on in, with the preference `reuse_existing`.
    execution_workspace_id: Option<Option<String>>,
    execution_workspace_preference: Option<Option<String>>,
    /// `mode`, `environmentId`, `workspaceStrategy` and `workspaceRuntime`.
    #[schema(value_type = Option<Object>)]
    execution_workspace_settings: Option<Option<Map<String, Value>>>,
    /// Of a new issue: it is from outside, and held until a trusted member releases it; so is whatever members write who
    /// are not trusted.
    untrusted: Option<bool>,
}

impl IssueBody {
    /// Reads a new issue.
    pub(super) fn read(fields: &mut Fields) -> IssueBody {
        let title = fields.required_text("title");
        let assignee = fields.nullable_id("assigneeAgentId");
        let depth = fields.count("requestDepth");
        let untrusted = fields.boolean("untrusted");
        let inherits = fields.id("inheritExecutionWorkspaceFromIssueId");
        IssueBody {
            title: Some(title),
            assignee_agent_id: assignee,
            request_depth: depth,
            inherit_execution_workspace_from_issue_id: inherits,
            untrusted,
            ..IssueBody::common(fields)
        }
    }

    /// Reads what may change of an issue.
    fn read_change(fields: &mut Fields) -> IssueBody {
        let title = fields.text("title");
        let title = fields.not_blank("title", title);
        let assignee = fields.nullable_text("assigneeAgentId");
        if assignee.as_ref().is_some_and(|it| it.as_ref().is_some_and(|text| text.trim().is_empty())) {
            let message = "String must contain at least 1 character(s)";
            fields.mistake("too_small", "assigneeAgentId", message);
        }
        // To drop it would let go on what is to be held.
        if fields.has("untrusted") {
            fields.mistake("custom", "untrusted", "only a new issue or a comment can be from outside");
        }
        let request_depth = fields.count("requestDepth");
        let inherits = fields.id("inheritExecutionWorkspaceFromIssueId");
        IssueBody {
            title,
            assignee_agent_id: assignee,
            request_depth,
            inherit_execution_workspace_from_issue_id: inherits,
            ..IssueBody::common(fields)
        }
    }

    fn common(fields: &mut Fields) -> IssueBody {
        let preference = fields.nullable_text("executionWorkspacePreference");
        if preference.as_ref().and_then(Option::as_deref).is_some_and(|word| !PREFERENCES.contains(&word)) {
            let message = format!("Invalid enum value. Expected {}", PREFERENCES.join(" | "));
            fields.mistake("invalid_enum_value", "executionWorkspacePreference", message);
        }
        IssueBody {
            description: fields.nullable_lines("description"),
            status: fields.word("status", IssueStatus::ALL, IssueStatus::as_str),
            priority: fields.word("priority", Priority::ALL, Priority::as_str),
            project_id: fields.nullable_id("projectId"),
            project_workspace_id: fields.nullable_id("projectWorkspaceId"),
            goal_id: fields.nullable_id("goalId"),
            parent_id: fields.nullable_id("parentId"),
            assignee_user_id: fields.nullable_text("assigneeUserId"),
            blocked_by_issue_ids: fields.ids("blockedByIssueIds"),
            label_ids: fields.ids("labelIds"),
            billing_code: fields.nullable_text("billingCode"),
            assignee_adapter_overrides: fields.strict_object("assigneeAdapterOverrides", &OVERRIDES),
            execution_policy: fields.nullable_object("executionPolicy"),
            execution_workspace_id: fields.nullable_id("executionWorkspaceId"),
            execution_workspace_preference: preference,
            execution_workspace_settings: fields.strict_object("executionWorkspaceSettings", &SETTINGS),
            ..IssueBody::default()
        }
    }

    /// The commands for the machine of the server that the body sets.
    pub(super) fn host_commands(&self) -> Vec<String> {
        let settings = self.execution_workspace_settings.as_ref().and_then(Option::as_ref);
        let strategy = settings.and_then(|it| it.get("workspaceStrategy"));
        let is_set = |name: &&str| strategy.is_some_and(|strategy| !strategy[*name].is_null());
        let path = |name: &str| format!("executionWorkspaceSettings.workspaceStrategy.{name}");
        let mut paths: Vec<String> = HOST_COMMANDS.into_iter().filter(is_set).map(path).collect();
        // Services are commands as well.
        if settings.and_then(|it| it.get("workspaceRuntime")).is_some_and(|it| !it.is_null()) {
            paths.push("executionWorkspaceSettings.workspaceRuntime".to_owned());
        }
        paths
    }

    /// It says of itself that it is from outside.
    pub(super) fn is_from_outside(&self) -> bool {
        self.untrusted.unwrap_or(false)
    }

    /// It says on which machine the work is to be done.
    pub(super) fn names_environment(&self) -> bool {
        let settings = self.execution_workspace_settings.as_ref().and_then(Option::as_ref);
        settings.is_some_and(|it| it.contains_key("environmentId"))
    }

    pub(super) fn draft(self) -> IssueDraft {
        let otherwise = IssueDraft::default();
        IssueDraft {
            title: self.title.unwrap_or_default(),
            description: self.description.flatten(),
            status: self.status.unwrap_or(otherwise.status),
            priority: self.priority.unwrap_or(otherwise.priority),
            project_id: self.project_id.flatten(),
            project_workspace_id: self.project_workspace_id.flatten(),
            goal_id: self.goal_id.flatten(),
            parent_id: self.parent_id.flatten().map(IssueId),
            inherit_execution_workspace_from: self.inherit_execution_workspace_from_issue_id.map(IssueId),
            assignee_agent_id: self.assignee_agent_id.flatten().map(AgentId),
            assignee_user_id: self.assignee_user_id.flatten(),
            blocked_by: issues(self.blocked_by_issue_ids.unwrap_or_default()),
            label_ids: self.label_ids.unwrap_or_default(),
            request_depth: self.request_depth.unwrap_or(0),
            billing_code: self.billing_code.flatten(),
            assignee_adapter_overrides: self.assignee_adapter_overrides.flatten().map(Value::Object),
            execution_policy: self.execution_policy.flatten().map(Value::Object),
            execution_workspace_id: self.execution_workspace_id.flatten(),
            execution_workspace_preference: self.execution_workspace_preference.flatten(),
            execution_workspace_settings: self.execution_workspace_settings.flatten().map(Value::Object),
            ..otherwise
        }
    }
}

fn issues(ids: Vec<String>) -> Vec<IssueId> {
    ids.into_iter().map(IssueId).collect()
}

/// A new issue below another one. `parentId` is that of the path.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChildBody {
    #[serde(flatten)]
    pub(super) issue: IssueBody,
    /// At most 20, each at most 500 characters; appended to the description.
    #[serde(default)]
    acceptance_criteria: Vec<String>,
    /// The parent waits until the child is done.
    #[serde(default)]
    block_parent_until_done: bool,
}

impl ChildBody {
    pub(super) fn read(fields: &mut Fields) -> ChildBody {
        // Left over, so that the answer names them.
        if fields.has("untrusted") {
            fields.mistake("custom", "untrusted", "an issue from outside has no parent");
        }
        let parent = fields.set_aside("parentId");
        let inherits = fields.set_aside("inheritExecutionWorkspaceFromIssueId");
        let read = ChildBody {
            issue: IssueBody::read(fields),
            acceptance_criteria: fields.texts("acceptanceCriteria").unwrap_or_default(),
            block_parent_until_done: fields.flag("blockParentUntilDone"),
        };
        fields.put_back("parentId", parent);
        fields.put_back("inheritExecutionWorkspaceFromIssueId", inherits);
        read
    }

    pub(super) fn draft(self) -> ChildDraft {
        ChildDraft {
            issue: self.issue.draft(),
            acceptance_criteria: self.acceptance_criteria,
            block_parent_until_done: self.block_parent_until_done,
        }
    }
}

/// A change of an issue.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IssuePatchBody {
    #[serde(flatten)]
    issue: IssueBody,
    /// Is added to the issue with the change.
    #[schema(min_length = 1)]
    comment: Option<String>,
    /// `instructions` for whoever reviews.
    #[schema(value_type = Option<Object>)]
    review_request: Option<Option<String>>,
    /// Moves a closed issue to `todo`.
    #[serde(default)]
    reopen: bool,
    /// Asks to go on with the work; needs a comment.
    #[serde(default)]
    resume: bool,
    /// Stops the run under way; for people, with a comment.
    #[serde(default)]
    interrupt: bool,
    #[schema(value_type = Option<String>)]
    hidden_at: Option<Option<Moment>>,
}

impl IssuePatchBody {
    pub(super) fn read(fields: &mut Fields) -> IssuePatchBody {
        let comment = fields.lines("comment");
        IssuePatchBody {
            issue: IssueBody::read_change(fields),
            comment: fields.not_blank("comment", comment),
            review_request: review_request(fields),
            reopen: fields.flag("reopen"),
            resume: fields.flag("resume"),
            interrupt: fields.flag("interrupt"),
            hidden_at: fields.nullable_moment("hiddenAt"),
        }
    }

    pub(super) fn host_commands(&self) -> Vec<String> {
        self.issue.host_commands()
    }

    pub(super) fn names_environment(&self) -> bool {
        self.issue.names_environment()
    }

    pub(super) fn patch(self) -> IssuePatch {
        let issue = self.issue;
        IssuePatch {
            title: issue.title,
            description: issue.description,
            status: issue.status,
            priority: issue.priority,
            project_id: issue.project_id,
            project_workspace_id: issue.project_workspace_id,
            goal_id: issue.goal_id,
            parent_id: issue.parent_id.map(|id| id.map(IssueId)),
            inherit_execution_workspace_from: issue.inherit_execution_workspace_from_issue_id.map(IssueId),
            assignee_agent: issue.assignee_agent_id,
            assignee_user_id: issue.assignee_user_id,
            blocked_by: issue.blocked_by_issue_ids.map(issues),
            label_ids: issue.label_ids,
            request_depth: issue.request_depth,
            billing_code: issue.billing_code,
            assignee_adapter_overrides: issue
                .assignee_adapter_overrides
                .map(|object| object.map(Value::Object)),
            execution_policy: issue.execution_policy.map(|object| object.map(Value::Object)),
            execution_workspace_id: issue.execution_workspace_id,
            execution_workspace_preference: issue.execution_workspace_preference,
            execution_workspace_settings: issue
                .execution_workspace_settings
                .map(|object| object.map(Value::Object)),
            hidden_at: self.hidden_at,
            comment: self.comment,
            review_request: self.review_request,
            reopen: self.reopen,
            resume: self.resume,
            interrupt: self.interrupt,
            // Who is not trusted changes nothing.
            is_from_outside: false,
        }
    }
}

fn review_request(fields: &mut Fields) -> Option<Option<String>> {
    let Some(object) = fields.strict_object("reviewRequest", &["instructions"])? else { return Some(None) };
    let mut part = Fields::of(object);
    let instructions = part.required_text("instructions");
    fields.take_mistakes("reviewRequest", part);
    Some(Some(instructions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_new_issue_has_the_defaults_of_the_reference() {
        let mut read = fields(r#"{"title": "t", "description": "a\\nb", "requestDepth": 2}"#);
        let draft = IssueBody::read(&mut read).draft();
        read.finish().unwrap();
        let expected = IssueDraft {
            title: "t".into(),
            description: Some("a\nb".into()),
            request_depth: 2,
            ..IssueDraft::default()
        };
        assert_eq!(draft, expected);
        assert_eq!((draft.status, draft.priority), (IssueStatus::Backlog, Priority::Medium));
    }

    #[test]
    fn null_clears_and_absence_keeps() {
        let mut read = fields(
            r#"{"description": null, "assigneeAgentId": null, "parentId": null, "reviewRequest": null, "hiddenAt": null}"#,
        );
        let patch = IssuePatchBody::read(&mut read).patch();
        read.finish().unwrap();
        let expected = IssuePatch {
            description: Some(None),
            assignee_agent: Some(None),
            parent_id: Some(None),
            review_request: Some(None),
            hidden_at: Some(None),
            ..IssuePatch::default()
        };
        assert_eq!(patch, expected);
    }

    #[test]
    fn commands_for_the_server_are_found() {
        let mut read = fields(
            r#"{"title": "t", "executionWorkspaceSettings": {"workspaceStrategy": {"teardownCommand": "rm"}}}"#,
        );
        let body = IssueBody::read(&mut read);
        assert_eq!(body.host_commands(), ["executionWorkspaceSettings.workspaceStrategy.teardownCommand"]);
        read.refuse_rest().unwrap();
        let strategy = serde_json::json!({"workspaceStrategy": {"teardownCommand": "rm"}});
        assert_eq!(body.draft().execution_workspace_settings, Some(strategy));
    }

    #[test]
    fn strict_parts_refuse_what_they_do_not_know() {
        for wrong in [
            r#"{"assigneeAdapterOverrides": {"model": "x"}}"#,
            r#"{"reviewRequest": {"instructions": ""}}"#,
            r#"{"reviewRequest": {"instructions": "x", "by": "y"}}"#,
            r#"{"executionWorkspacePreference": "elsewhere"}"#,
            r#"{"comment": " "}"#,
            r#"{"title": ""}"#,
            r#"{"assigneeAgentId": " "}"#,
        ] {
            let mut read = fields(wrong);
            IssuePatchBody::read(&mut read);
            assert!(read.finish().is_err(), "{wrong}");
        }
    }
}
