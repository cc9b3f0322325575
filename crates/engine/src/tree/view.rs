//! A tree of issues as the rules see it, loaded from the store.

use domain::ids::{CompanyId, IssueId};
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use domain::tree::preview::{self, Member, Preview, SkipReason, TreeIssue, TreeRun, TreeView};
use domain::tree::{self, HoldStatus, Mode, ReleasePolicy};
use store::{Tx, holds, issues, runs_of_issues};

use super::{MOST_ISSUES, PreviewedIssue, TreePreview, root_of};
use crate::EngineError;

/// A tree that owns what a view borrows.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) company: CompanyId,
    pub(super) root: IssueId,
    pub(super) issues: Vec<TreeIssue>,
    above: Vec<IssueId>,
    pub(super) holds: Vec<tree::Hold>,
    members: Vec<Member>,
    pub(super) runs: Vec<TreeRun>,
}

/// Loads a tree. One that is larger than what can be handled at once is refused.
pub(super) async fn load(tx: &mut Tx<'_>, root: &IssueId) -> Result<Tree, EngineError> {
    let top = root_of(tx, root).await?;
    let below = issues::descendants(tx, root, MOST_ISSUES + 1).await?;
    if i64::try_from(below.len()).is_ok_and(|count| count > MOST_ISSUES) {
        let words = format!("Issue tree has more than {MOST_ISSUES} issues; operate on a part of it");
        return Err(EngineError::refused(Kind::Unprocessable, words));
    }
    let issues: Vec<TreeIssue> = below
        .into_iter()
        .map(|issue| TreeIssue {
            id: issue.id,
            parent: issue.parent_id,
            depth: u32::try_from(issue.depth).unwrap_or(u32::MAX),
            identifier: Some(issue.identifier),
            title: issue.title,
            status: issue.status,
            assignee_agent: issue.assignee_agent_id,
            assignee_user: issue.assignee_user_id,
        })
        .collect();
    let above = issues::ancestors(tx, root, issues::MOST_ANCESTORS).await?;
    let above: Vec<IssueId> = above.into_iter().map(|issue| issue.id).collect();
    let ids: Vec<IssueId> = issues.iter().map(|issue| issue.id.clone()).collect();
    let roots: Vec<IssueId> = ids.iter().chain(&above).cloned().collect();
    let mut rows = Vec::new();
    for mode in [Mode::Pause, Mode::Cancel] {
        rows.extend(holds::active_on(tx, mode.as_str(), &roots).await?);
    }
    let mut members = Vec::new();
    for hold in rows.iter().filter(|hold| hold.root_issue_id == *root && hold.mode == Mode::Cancel.as_str()) {
        let of_hold = holds::members(tx, &hold.id, MOST_ISSUES).await?;
        members.extend(of_hold.into_iter().map(member));
    }
    let runs = runs_of_issues::live_of(tx, &ids).await?;
    let runs = runs
        .into_iter()
        .map(|run| TreeRun {
            id: run.id,
            issue: run.issue_id,
            agent: run.agent_id,
            status: run.status,
            started_at: run.started_at,
            created_at: run.created_at,
        })
        .collect();
    let holds = rows.iter().filter_map(of_row).collect();
    Ok(Tree { company: top.company_id, root: root.clone(), issues, above, holds, members, runs })
}

impl Tree {
    /// Says what an operation would do.
    pub(super) fn preview(&self, mode: Mode) -> Preview<'_> {
        let view = TreeView {
            root: &self.root,
            issues: &self.issues,
            above: &self.above,
            holds: &self.holds,
            members: &self.members,
            runs: &self.runs,
        };
        preview::preview(mode, &view)
    }

    /// The same without borrowing.
    pub(super) fn owned(
        &self,
        preview: &Preview<'_>,
        now: Moment,
        release_policy: Option<ReleasePolicy>,
    ) -> TreePreview {
        let issue = |of: &preview::PreviewIssue<'_>| PreviewedIssue {
            issue: of.issue.clone(),
            active_run: of.active_run.cloned(),
            holds: of.holds.iter().map(|hold| (*hold).clone()).collect(),
            becomes: of.becomes,
            skip: of.skip,
        };
        TreePreview {
            company_id: self.company.clone(),
            root: self.root.clone(),
            mode: preview.mode,
            generated_at: now,
            release_policy,
            issues: preview.issues.iter().map(issue).collect(),
            runs: self.runs.clone(),
            agents: preview.agents.clone(),
            warnings: preview.warnings.clone(),
        }
    }
}

/// A stored hold as the rules see it; `None` for words that a newer program wrote.
pub(super) fn of_row(hold: &holds::Hold) -> Option<tree::Hold> {
    Some(tree::Hold {
        id: hold.id.clone(),
        root: hold.root_issue_id.clone(),
        mode: Mode::parse(&hold.mode)?,
        status: HoldStatus::parse(&hold.status)?,
        reason: hold.reason.clone(),
        release_policy: hold.release_policy.clone().and_then(|policy| serde_json::from_value(policy).ok()),
        created_at: hold.created_at,
    })
}

fn member(row: holds::Member) -> Member {
    // A skip whose word is not known is a skip all the same.
    let skip = row.skip_reason.as_deref().and_then(SkipReason::parse);
    Member {
        hold: row.hold_id,
        issue: row.issue_id,
        parent: row.parent_issue_id,
        depth: u32::try_from(row.depth).unwrap_or(u32::MAX),
        identifier: row.issue_identifier,
        title: row.issue_title,
        status: row.issue_status,
        assignee_agent: row.assignee_agent_id,
        assignee_user: row.assignee_user_id,
        active_run: row.active_run_id.zip(row.active_run_status),
        skip: skip.or_else(|| row.skipped.then_some(SkipReason::TerminalStatus)),
    }
}
