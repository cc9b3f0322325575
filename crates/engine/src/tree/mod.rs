//! What people do to a whole tree of issues: pause it, resume it, cancel it, bring it back (spec/heartbeat.md 7.4, D1).
//!
//! An operation is one transaction: the tree is locked, looked at, judged by `domain::tree`, and everything that follows
//! is written with its hold; nothing is left half done. A pause stops what runs and holds what waits; a cancel ends both,
//! and remembers what the issues were. How an operation is written is in `tree::operation`.

mod operation;
mod view;

use domain::cancel::Stop;
use domain::ids::{AgentId, CompanyId};
use domain::ids::{HoldId, IssueId};
use domain::issue::IssueStatus;
use domain::issue::refusal::{Kind, Refusal};
use domain::moment::Moment;
use domain::tree::preview::{AffectedAgent, SkipReason, TreeIssue, TreeRun, Warning};
use domain::tree::{self, HoldStatus, Mode, PauseGate, ReleasePolicy, ReleaseRefusal};
use serde_json::{Value as Json, json};
use store::holds::{self, Hold, Member, Release};
use store::{Tx, audit, issues};

use crate::activity::{Author, Scribe};
use crate::issues::{Locks, Sheet};
use crate::stops::StopReport;
use crate::{Engine, EngineError, stops};

/// The largest tree that is handled at once: all of it is locked.
pub const MOST_ISSUES: i64 = 1_000;
/// The longest list of holds.
const MOST_HOLDS: i64 = 200;
/// The longest reason, and the longest note.
const REASON: usize = 1_000;
const NOTE: usize = 500;

/// What is to be done to a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeOperation {
    pub mode: Mode,
    pub reason: Option<String>,
    pub release_policy: Option<ReleasePolicy>,
    /// Kept with the hold; `wakeAgents: true` has a restore wake the assignees.
    pub metadata: Option<Json>,
}

/// What an operation does, or would do.
#[derive(Debug, Clone, PartialEq)]
pub struct TreePreview {
    pub company_id: CompanyId,
    pub root: IssueId,
    pub mode: Mode,
    pub generated_at: Moment,
    pub release_policy: Option<ReleasePolicy>,
    /// Parents before their children, taken and skipped.
    pub issues: Vec<PreviewedIssue>,
    /// Runs of the tree that are not over.
    pub runs: Vec<TreeRun>,
    pub agents: Vec<AffectedAgent>,
    pub warnings: Vec<Warning>,
}

/// What would happen to one issue.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviewedIssue {
    pub issue: TreeIssue,
    pub active_run: Option<TreeRun>,
    /// Active holds whose root it is.
    pub holds: Vec<HoldId>,
    /// The status it gets; `None`: it keeps its own.
    pub becomes: Option<IssueStatus>,
    /// `None`: it is taken.
    pub skip: Option<SkipReason>,
}

/// A hold with what it remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldTree {
    pub hold: Hold,
    pub members: Vec<Member>,
}

/// Which holds of a root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HoldFilter {
    pub status: Option<HoldStatus>,
    pub mode: Option<Mode>,
    pub with_members: bool,
}

impl Engine {
    /// Says what an operation on a tree would do.
    pub async fn preview_tree(
        &self,
        root: &IssueId,
        mode: Mode,
        release_policy: Option<ReleasePolicy>,
        by: &Author,
    ) -> Result<TreePreview, EngineError> {
        board_only(by)?;
        let context = (root.clone(), release_policy);
        let previewed =
            self.inner.change(by, Locks::default(), context, move |tx, mut scribe, _, (root, policy)| {
                Box::pin(async move {
                    let tree = view::load(tx, &root).await?;
                    let preview = tree.preview(mode);
                    let details = json!({ "mode": mode, "affectedIssues": preview.affected().count() });
                    let action = "issue.tree_control_previewed";
                    scribe.tell_issue(tx, &tree.company, action, &root, details).await?;
                    Ok(tree.owned(&preview, scribe.now, policy))
                })
            });
        previewed.await
    }

    /// Does something to a tree; returns the hold that stands for it, with its members, and what was done.
    pub async fn operate_tree(
        &self,
        root: &IssueId,
        operation: TreeOperation,
        by: &Author,
    ) -> Result<(HeldTree, TreePreview), EngineError> {
        board_only(by)?;
        check(&operation)?;
        let mode = operation.mode;
        let context = (root.clone(), operation);
        let done = self.inner.change_widely(
            by,
            Locks::of(root),
            context,
            |tx, mut scribe, locks, (root, operation)| {
                Box::pin(async move { operation::operate(tx, &mut scribe, locks, &root, operation).await })
            },
        );
        let operation::Done { held, preview, stopped } = done.await?;
        let words = words(mode);
        for (agent, report) in stopped {
            self.inner.after_stop(&Some(agent), &report, words);
        }
        if mode != Mode::Cancel {
            // What a hold kept may start now.
            self.inner.lifted();
            self.inner.look_again(&held.hold.company_id).await;
        }
        Ok((held, preview))
    }

    /// Returns the pause that covers an issue.
    pub async fn pause_gate(&self, issue: &IssueId) -> Result<Option<PauseGate>, EngineError> {
        let found = self.inner.read(issue.clone(), |tx, id| {
            Box::pin(async move {
                if issues::get(tx, &id).await?.is_none() {
                    return Ok(None);
                }
                let hold = holds::gate(tx, &id).await?;
                Ok(Some(hold.map(|hold| PauseGate {
                    is_root: hold.root_issue_id == id,
                    hold: hold.id,
                    root: hold.root_issue_id,
                    issue: id,
                    reason: hold.reason,
                    release_policy:
                        hold.release_policy.and_then(|policy| serde_json::from_value(policy).ok()),
                })))
            })
        });
        found.await?.ok_or_else(|| Refusal::IssueNotFound.into())
    }

    /// Lists the holds on a root, newest first.
    pub async fn tree_holds(&self, root: &IssueId, filter: HoldFilter) -> Result<Vec<HeldTree>, EngineError> {
        let found = self.inner.read((root.clone(), filter), |tx, (root, filter)| {
            Box::pin(async move {
                if issues::get(tx, &root).await?.is_none() {
                    return Ok(None);
                }
                let status = filter.status.map(HoldStatus::as_str);
                let mode = filter.mode.map(Mode::as_str);
                let mut held = Vec::new();
                for hold in holds::of_root(tx, &root, status, mode, MOST_HOLDS).await? {
                    let members = if filter.with_members {
                        holds::members(tx, &hold.id, MOST_ISSUES).await?
                    } else {
                        Vec::new()
                    };
                    held.push(HeldTree { hold, members });
                }
                Ok(Some(held))
            })
        });
        found.await?.ok_or_else(|| Refusal::IssueNotFound.into())
    }

    /// Returns one hold of a root, with its members.
    pub async fn tree_hold(&self, root: &IssueId, hold: &HoldId) -> Result<HeldTree, EngineError> {
        let found = self.inner.read(hold.clone(), |tx, id| {
            Box::pin(async move {
                let Some(hold) = holds::get(tx, &id).await? else { return Ok(None) };
                Ok(Some(HeldTree { members: holds::members(tx, &id, MOST_ISSUES).await?, hold }))
            })
        });
        let held = found.await?.filter(|held| held.hold.root_issue_id == *root);
        held.ok_or(EngineError::NotFound("Issue tree hold"))
    }

    /// Releases a hold: what it kept may start.
    pub async fn release_tree_hold(
        &self,
        root: &IssueId,
        hold: &HoldId,
        reason: Option<String>,
        metadata: Option<Json>,
        by: &Author,
    ) -> Result<HeldTree, EngineError> {
        board_only(by)?;
        let mut sheet = Sheet::default();
        sheet.maybe("reason", reason.as_deref(), REASON);
        sheet.object("metadata", metadata.as_ref());
        sheet.finish()?;
        let context = (root.clone(), hold.clone(), reason, metadata);
        let released = self.inner.change(
            by,
            Locks::of(root),
            context,
            |tx, mut scribe, locks, (root, id, reason, metadata)| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&root).ok_or(Refusal::IssueNotFound)?;
                    let hold = holds::get(tx, &id).await?.filter(|hold| hold.company_id == issue.company_id);
                    let known = hold.as_ref().and_then(view::of_row);
                    tree::release(known.as_ref(), &root).map_err(refused)?;
                    let release = release_of(&scribe, reason, metadata);
                    if !holds::release(tx, &id, &release, scribe.now).await? {
                        return Err(refused(ReleaseRefusal::Released));
                    }
                    let company = &issue.company_id;
                    let details =
                        json!({ "holdId": id, "identifier": issue.identifier, "reason": release.reason });
                    scribe.tell_issue(tx, company, "issue.tree_hold_released", &root, details).await?;
                    let (actor, now) = (scribe.by.actor(), scribe.now);
                    let action = "issue.tree_hold_released";
                    audit::append(tx, stops::record(company, &actor, action, id.as_str(), "", now)).await?;
                    let hold = holds::get(tx, &id).await?.ok_or(EngineError::NotFound("Issue tree hold"))?;
                    let members = holds::members(tx, &id, MOST_ISSUES).await?;
                    Ok(HeldTree { hold, members })
                })
            },
        );
        let released = released.await?;
        self.inner.lifted();
        self.inner.look_again(&released.hold.company_id).await;
        Ok(released)
    }
}

/// What an operation says to the runs that it ends. "pause" is what clients match on.
const fn words(mode: Mode) -> &'static str {
    match mode {
        Mode::Pause => "Cancelled due to subtree pause hold",
        Mode::Cancel | Mode::Resume | Mode::Restore => "Cancelled with its issue tree",
    }
}

/// How a stop treats a run of the tree.
const fn stop_of(mode: Mode) -> Stop {
    match mode {
        Mode::Pause => Stop::PauseAgent,
        Mode::Cancel | Mode::Resume | Mode::Restore => Stop::CancelRun,
    }
}

fn release_of(scribe: &Scribe, reason: Option<String>, metadata: Option<Json>) -> Release {
    Release {
        actor_type: actor_type(&scribe.by).to_owned(),
        agent_id: scribe.by.agent_id(),
        user_id: scribe.by.user_id(),
        run_id: scribe.by.run_id(),
        reason,
        metadata,
    }
}

const fn actor_type(by: &Author) -> &'static str {
    match by {
        Author::Board { .. } => "user",
        Author::Agent { .. } => "agent",
        Author::System { .. } => "system",
    }
}

fn board_only(by: &Author) -> Result<(), EngineError> {
    if by.is_board() { Ok(()) } else { Err(Refusal::BoardRequired.into()) }
}

fn refused(refusal: ReleaseRefusal) -> EngineError {
    let kind = match refusal {
        ReleaseRefusal::Missing => Kind::NotFound,
        ReleaseRefusal::OtherRoot => Kind::Unprocessable,
        ReleaseRefusal::Released => Kind::Conflict,
    };
    EngineError::refused(kind, refusal.text())
}

fn check(operation: &TreeOperation) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    if let Some(reason) = &operation.reason {
        sheet.required("reason", reason, REASON);
    }
    if let Some(note) = operation.release_policy.as_ref().and_then(|policy| policy.note.as_ref()) {
        sheet.required("releasePolicy.note", note, NOTE);
    }
    sheet.object("metadata", operation.metadata.as_ref());
    sheet.finish()
}

/// What a stop did to the runs of each agent.
type Stopped = Vec<(AgentId, StopReport)>;

/// The issue at the root of a tree.
async fn root_of(tx: &mut Tx<'_>, root: &IssueId) -> Result<issues::Issue, EngineError> {
    Ok(issues::get(tx, root).await?.ok_or(Refusal::IssueNotFound)?)
}
