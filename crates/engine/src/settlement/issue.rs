//! What the end of a run means for its issue: how alive the work was, what was said, who goes on.
//!
//! All of it is written in the commit of the settlement, behind the end of the run: the lock goes back first, so that
//! whoever is woken here finds it free. The rules are `liveness`, `duty`, `promotion`, `recovery` and `summary` of the
//! domain; here they are given what they look at, one after another, and what they say is written. The issue was locked
//! before the run (D15).

use domain::duty::{self, CommentStatus, DutyView};
use domain::ids::{CommentId, IssueId};
use domain::issue::IssueStatus;
use domain::liveness::{self, Evidence, IssueLook, Liveness, LivenessState, LivenessView, Spoken};
use domain::moment::Moment;
use domain::recovery::continuation::{self, Continuation, ContinuationView, ContinuedIssue};
use domain::recovery::looks;
use domain::recovery::stranded::{Asked, Stranded};
use domain::recovery::{Cause, InboxKind};
use domain::run::Outcome;
use domain::summary::{self, SummaryView};
use domain::wake::interaction::last_comment;
use domain::wake::unpark;
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::comments::{self, Comment};
use store::documents::{self, Document, Revision};
use store::issues::{self, Issue};
use store::leases::Lease;
use store::runs::Run;
use store::{StoreError, Tx, activity, inbox, locks, relations, runs, runs_of_issues, wakes, work_products};

use crate::activity::{Author, Scribe};
use crate::attempts::{self, AUTHOR, Counts};
use crate::intake::{Admission, Chain};
use crate::promotions::{self, Look};
use crate::run_task::Tending;
use crate::sweeps::{graph, stranded};
use crate::{budgets, orders, signals};

/// Comments of one run that are looked at; more of them say nothing new.
const MOST_COMMENTS: i64 = 100;
/// Revisions of one run that are looked at.
const MOST_REVISIONS: i64 = 500;
/// Blockers that the summary names.
const MOST_BLOCKERS: i64 = 12;
/// The longest comment that is posted for an agent, in characters.
const LONGEST_COMMENT: usize = 60_000;

/// What the program said and did, as far as its issue is concerned, and the ids of what is written about it.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) issue: IssueId,
    plan_only: bool,
    spoken: Spoken,
    tool_calls: u64,
    last_output_at: Option<Moment>,
    commands: Vec<String>,
    /// Writes what the program does by itself.
    program: Scribe,
    /// Writes what is posted in the name of the agent.
    agent: Scribe,
    /// For the wake that asks for a comment, and for the one that carries the work on.
    asks: Admission,
    carries: Admission,
}

/// A run that has ended, with its issue as it was locked.
pub(super) struct Ended<'a> {
    pub(super) run: &'a Run,
    pub(super) agent: &'a Agent,
    pub(super) issue: &'a Issue,
    pub(super) outcome: Outcome,
    /// Somebody asked to stop it.
    pub(super) stop_asked: bool,
    /// Another run takes its place: a retry.
    pub(super) retried: bool,
}

impl Work {
    /// Gathers it from the account of the task; `None` for a run without an issue.
    pub(super) fn of(
        task: &Tending<'_>,
        result: &Json,
        plan_only: bool,
        error: Option<&str>,
    ) -> Option<Work> {
        let issue = IssueId(task.run.issue_id.clone()?);
        let text = |key: &str| result.get(key).and_then(Json::as_str).map(printable);
        let account = &task.account;
        let spoken = Spoken {
            comments: Vec::new(),
            next_action: text("nextAction"),
            summary: text("summary"),
            result: text("result"),
            message: text("message"),
            error: text("error"),
            stdout: text("stdout"),
            stderr: text("stderr"),
            stdout_excerpt: account.stdout_tail.text(),
            stderr_excerpt: account.stderr_tail.text(),
            run_error: error.map(str::to_owned),
            earlier_summary: None,
        };
        let engine = task.engine;
        let admission = || engine.admission(engine.settings.max_runs, Chain::default());
        Some(Work {
            issue,
            plan_only,
            spoken,
            tool_calls: account.told.tool_calls,
            last_output_at: account.progress().last_output_at,
            commands: account.commands(),
            program: engine.scribe(&AUTHOR),
            agent: engine.scribe(&Author::agent(&task.run.agent_id, Some(&task.run.id))),
            asks: admission(),
            carries: admission(),
        })
    }

    /// The same at another moment: the store was away in between.
    fn at(self, now: Moment) -> Work {
        let mut work = self;
        work.program.now = now;
        work.agent.now = now;
        work.asks.now = now;
        work.carries.now = now;
        work
    }
}

/// NUL is text nowhere: PostgreSQL refuses it, and people cannot see it.
fn printable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Gives the lock of the issue back; true when the run had it. Comes right behind the end of the run.
pub(super) async fn let_go(tx: &mut Tx<'_>, issue: &Issue, lease: &Lease) -> Result<bool, StoreError> {
    if issue.lock_run_id.as_ref() == Some(&lease.run) {
        return locks::release(tx, &issue.id, (&lease.run, lease.epoch)).await;
    }
    locks::unpoint(tx, &issue.id, &lease.run).await?;
    Ok(false)
}

/// Everything that the end means for the issue, when nothing of it is refused by the store.
pub(super) async fn settle(
    tx: &mut Tx<'_>,
    ended: &Ended<'_>,
    held_lock: bool,
    work: Work,
    now: Moment,
) -> Result<(), StoreError> {
    let mut work = work.at(now);
    let (run, issue) = (ended.run, ended.issue);
    let own = comments::of_run(tx, &run.id, &issue.id, MOST_COMMENTS).await?;
    let former = documents::lock(tx, &issue.id, summary::KEY).await?;
    let mut found = classify(tx, ended, &work, &own, former.as_ref()).await?;
    let posted = match own.first() {
        Some(newest) => Some(newest.id.clone()),
        None => post(tx, ended, &mut work).await?,
    };
    let look = promotions::look(tx, Some(issue), now).await?;
    let counts = Counts::read(tx, &issue.id).await?;
    let asked_again = judge_duty(tx, ended, &work, (held_lock, posted, &look, &counts), now).await?;
    let promoted = go_on(tx, issue, &look, now).await?;
    let is_moved_on = ended.retried || asked_again || promoted;
    let exhausted = carry_on(tx, ended, &mut work, &found, (is_moved_on, &counts), now).await?;
    let is_given_up = exhausted.is_some();
    if let Some(reason) = exhausted {
        found.reason = reason;
    }
    save_liveness(tx, ended, &found).await?;
    write_summary(tx, ended, &mut work, &found, former, now).await?;
    // Somebody who was only mentioned says nothing of how the assignee fares.
    let is_assignee = issue.assignee_agent_id.as_ref() == Some(&ended.run.agent_id);
    if ended.outcome == Outcome::Succeeded && is_assignee && !is_given_up {
        counts.after_success(tx, &issue.id, found.state).await?;
        resolve_items(tx, ended, now).await?;
    }
    graph::show(tx, &mut work.program, issue).await
}

/// The least that the issue needs: who waits goes on, and a sweep does the rest.
pub(super) async fn settle_shortly(
    tx: &mut Tx<'_>,
    ended: &Ended<'_>,
    now: Moment,
) -> Result<(), StoreError> {
    let look = promotions::look(tx, Some(ended.issue), now).await?;
    go_on(tx, ended.issue, &look, now).await?;
    plan_a_look(tx, ended.issue, now).await
}

/// Orders the deferred wake whose turn it is; false when nobody's is.
async fn go_on(tx: &mut Tx<'_>, issue: &Issue, look: &Look, now: Moment) -> Result<bool, StoreError> {
    promotions::end_hopeless(tx, look, now).await?;
    match look.promoted() {
        Some(wake) => {
            orders::promote(tx, &issue.company_id, wake, now).await?;
            Ok(true)
        }
        None => Ok(false),
    }
}

async fn classify(
    tx: &mut Tx<'_>,
    ended: &Ended<'_>,
    work: &Work,
    own: &[Comment],
    former: Option<&Document>,
) -> Result<Liveness, StoreError> {
    let (run, issue) = (ended.run, ended.issue);
    let written = documents::written_by_run(tx, &run.id, &issue.id, MOST_REVISIONS).await?;
    let written: Vec<&(String, Moment)> = written.iter().filter(|(key, _)| key != summary::KEY).collect();
    let (products, product_at) = work_products::made_by_run(tx, &run.id, &issue.id).await?;
    let (activities, activity_at) = activity::count_of_run(tx, &run.id).await?;
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let newest = [
        own.first().map(|comment| comment.created_at),
        written.last().map(|(_, at)| *at),
        product_at,
        activity_at,
        work.last_output_at.filter(|_| work.tool_calls > 0),
    ];
    let evidence = Evidence {
        comments: count(own.len()),
        document_revisions: count(written.len()),
        plan_revisions: count(written.iter().filter(|(key, _)| key == "plan").count()),
        work_products: u64::try_from(products).unwrap_or(0),
        workspace_operations: 0,
        activities: u64::try_from(activities).unwrap_or(0),
        tool_events: work.tool_calls,
        latest_at: newest.into_iter().flatten().max(),
    };
    let mut spoken = work.spoken.clone();
    spoken.comments = own.iter().rev().map(|comment| comment.body.clone()).collect();
    spoken.earlier_summary = former.map(|document| document.body.clone());
    Ok(liveness::classify(&LivenessView {
        outcome: ended.outcome,
        error_code: run.error_code.clone(),
        plan_only: work.plan_only,
        issue: Some(IssueLook {
            status: issue.status,
            title: issue.title.clone(),
            description: issue.description.clone().unwrap_or_default(),
        }),
        spoken,
        evidence,
    }))
}

async fn save_liveness(tx: &mut Tx<'_>, ended: &Ended<'_>, found: &Liveness) -> Result<(), StoreError> {
    let liveness = runs_of_issues::Liveness {
        state: Some(found.state.as_str().to_owned()),
        reason: Some(found.reason.clone()),
        next_action: found.next_action.clone(),
        last_useful_action_at: found.last_useful_action_at,
    };
    runs_of_issues::set_liveness(tx, &ended.run.id, &liveness).await
}

/// Posts the last words of an agent that succeeded and said nothing on the issue itself.
async fn post(tx: &mut Tx<'_>, ended: &Ended<'_>, work: &mut Work) -> Result<Option<CommentId>, StoreError> {
    let issue = ended.issue;
    let spoken = &work.spoken;
    let words = [spoken.summary.as_deref(), spoken.result.as_deref(), spoken.message.as_deref()];
    let Some(text) = duty::closing_comment(ended.outcome, true, false, words) else { return Ok(None) };
    let body: String = text.chars().take(LONGEST_COMMENT).collect();
    let scribe = &mut work.agent;
    let comment = Comment {
        id: CommentId(scribe.id()),
        company_id: issue.company_id.clone(),
        issue_id: issue.id.clone(),
        author_agent_id: Some(ended.run.agent_id.clone()),
        author_user_id: None,
        created_by_run_id: Some(ended.run.id.clone()),
        body,
        created_at: scribe.now,
        updated_at: scribe.now,
    };
    comments::insert(tx, &comment).await?;
    issues::touch(tx, &issue.id, scribe.now).await?;
    let snippet: String = comment.body.chars().take(120).collect();
    let details = json!({
        "commentId": comment.id, "bodySnippet": snippet, "identifier": issue.identifier, "issueTitle": issue.title,
    });
    scribe.tell_issue(tx, &issue.company_id, "issue.comment_added", &issue.id, details).await?;
    Ok(Some(comment.id))
}

/// What became of the duty to comment; true when the agent is asked for it once more.
async fn judge_duty(
    tx: &mut Tx<'_>,
    ended: &Ended<'_>,
    work: &Work,
    (held_lock, comment, look, counts): (bool, Option<CommentId>, &Look, &Counts),
    now: Moment,
) -> Result<bool, StoreError> {
    let run = ended.run;
    let context = |key: &str| run.context.get(key).and_then(Json::as_str).map(str::to_owned);
    let waits = look.wakes.iter().any(|wake| {
        let payload = wake.payload.as_object().cloned().unwrap_or_default();
        wake.agent_id == run.agent_id && last_comment(&unpark(payload).1).is_some()
    });
    let judgement = duty::judge(&DutyView {
        run: run.id.clone(),
        agent: run.agent_id.clone(),
        issue: Some(ended.issue.id.clone()),
        comment,
        retry_reason: context("retryReason"),
        wake_reason: context("wakeReason"),
        comment_waits: waits,
        holds_lock: held_lock,
        stop_asked: ended.stop_asked,
        retried: ended.retried,
        attempts: counts.of(Cause::MissingComment),
    });
    let asked_at = (judgement.status == CommentStatus::RetryQueued).then_some(now);
    if judgement.status != CommentStatus::NotApplicable {
        let status = judgement.status.as_str();
        runs_of_issues::set_comment_duty(tx, &run.id, status, judgement.comment.as_ref(), asked_at).await?;
    }
    if let Some(event) = judgement.event {
        let seq = runs::draw_seq(tx, &run.id, 1).await?;
        let event = signals::lifecycle(event.level(), event.message(), None);
        signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), seq, event, now).await?;
    }
    let Some(order) = judgement.retry else { return Ok(false) };
    Ok(attempts::admit(tx, ended.agent, &order, &work.asks).await?.is_some())
}

/// Sets the work going again, or gives it up, if nothing else carries it on. Answers with the new reason of the run's
/// liveness when it is not continued any more.
async fn carry_on(
    tx: &mut Tx<'_>,
    ended: &Ended<'_>,
    work: &mut Work,
    found: &Liveness,
    (is_moved_on, counts): (bool, &Counts),
    now: Moment,
) -> Result<Option<String>, StoreError> {
    if ended.outcome == Outcome::Succeeded {
        let view = continuation_view(tx, ended, found, (is_moved_on, counts), now).await?;
        match continuation::decide(&view) {
            Continuation::Nothing(_) => {}
            Continuation::Wake(order) => {
                attempts::admit(tx, ended.agent, &order, &work.carries).await?;
            }
            Continuation::Exhausted { .. } => {
                let owner = attempts::owner(tx, ended.issue).await?;
                let decided = continuation::decide(&ContinuationView { owner, ..view });
                let Continuation::Exhausted { reason, block } = decided else { return Ok(None) };
                attempts::give_up(tx, &mut work.program, ended.issue, &block).await?;
                return Ok(Some(reason));
            }
        }
        plan_a_look(tx, ended.issue, now).await?;
        return Ok(None);
    }
    let mut view = stranded::view(tx, ended.issue, Asked::AfterRun, Some(ended.run), now).await?;
    view.carried_on |= is_moved_on;
    match stranded::decide(tx, ended.issue, view).await? {
        Stranded::Rest(_) => {}
        Stranded::Wake(order) => {
            attempts::admit(tx, ended.agent, &order, &work.carries).await?;
        }
        Stranded::Block(block) => {
            return attempts::give_up(tx, &mut work.program, ended.issue, &block).await.map(|()| None);
        }
    }
    plan_a_look(tx, ended.issue, now).await?;
    Ok(None)
}

async fn continuation_view(
    tx: &mut Tx<'_>,
    ended: &Ended<'_>,
    found: &Liveness,
    (is_moved_on, counts): (bool, &Counts),
    now: Moment,
) -> Result<ContinuationView, StoreError> {
    let (run, issue, agent) = (ended.run, ended.issue, ended.agent);
    let mut view = ContinuationView {
        run: run.id.clone(),
        agent: run.agent_id.clone(),
        state: found.state,
        reason: found.reason.clone(),
        next_action: found.next_action.clone(),
        issue: Some(ContinuedIssue {
            id: issue.id.clone(),
            identifier: issue.identifier.clone(),
            status: issue.status,
            assignee: issue.assignee_agent_id.clone(),
            has_execution_state: issue.execution_state.is_some(),
            held: false,
            blocked_by_others: false,
        }),
        agent_status: Some(agent.status),
        budget_blocked: false,
        run_attempt: u32::try_from(run.continuation_attempt).unwrap_or(0),
        issue_attempts: counts.of(Cause::Continuation),
        stop_asked: ended.stop_asked,
        carried_on: is_moved_on,
        ordered_before: false,
        owner: None,
    };
    // Most runs leave work behind: the rest is asked only where it matters.
    if !matches!(found.state, LivenessState::PlanOnly | LivenessState::EmptyResponse) {
        return Ok(view);
    }
    view.carried_on |= stranded::is_carried_on(tx, issue, now).await?;
    if let Some(of) = &mut view.issue {
        of.held = crate::issue_views::pause_hold(tx, &issue.id).await?.is_some();
        of.blocked_by_others = !relations::is_ready(tx, &issue.id).await?;
    }
    let project = issue.project_id.as_deref();
    view.budget_blocked = budgets::block(tx, &issue.company_id, &agent.id, project, now).await?.is_some();
    let next = view.run_attempt.max(view.issue_attempts) + 1;
    let key = continuation::key(&issue.id, &run.id, found.state, next);
    view.ordered_before = wakes::with_key(tx, &issue.company_id, &agent.id, &key).await?.is_some();
    Ok(view)
}

/// Has an issue looked at a moment later whose work should go on; another one is not.
async fn plan_a_look(tx: &mut Tx<'_>, issue: &Issue, now: Moment) -> Result<(), StoreError> {
    let at = issue.is_agents_work().then(|| now.plus(looks::AFTER));
    if at.is_some() || issue.check_at.is_some() {
        issues::set_check_at(tx, &issue.id, at).await?;
    }
    Ok(())
}

/// Writes the document that tells the next run where this one stopped, on top of what was read.
async fn write_summary(
    tx: &mut Tx<'_>,
    ended: &Ended<'_>,
    work: &mut Work,
    found: &Liveness,
    former: Option<Document>,
    now: Moment,
) -> Result<(), StoreError> {
    let (run, issue, agent) = (ended.run, ended.issue, ended.agent);
    let open = relations::blockers(tx, &issue.id, MOST_BLOCKERS).await?;
    let mut blockers: Vec<String> = open
        .into_iter()
        .filter(|blocker| blocker.status != IssueStatus::Done)
        .map(|blocker| format!("Waits for {} {} ({}).", blocker.identifier, blocker.title, blocker.status))
        .collect();
    if found.state == LivenessState::Blocked {
        blockers.push(found.reason.clone());
    }
    let spoken = &work.spoken;
    let body = summary::body(&SummaryView {
        identifier: issue.identifier.clone(),
        title: issue.title.clone(),
        description: issue.description.clone().unwrap_or_default(),
        status: issue.status,
        agent_name: agent.name.clone(),
        run: run.id.to_string(),
        outcome: ended.outcome,
        error: run.error.clone(),
        error_code: run.error_code.clone(),
        result: [spoken.summary.clone(), spoken.result.clone(), spoken.message.clone()],
        stdout_excerpt: spoken.stdout_excerpt.clone(),
        stderr_excerpt: spoken.stderr_excerpt.clone(),
        commands: work.commands.clone(),
        blockers,
        next_action: found.next_action.clone(),
        former_body: former.as_ref().map(|document| document.body.clone()),
        at: now,
    });
    let by = Some(run.agent_id.clone());
    let revision = Revision {
        id: work.agent.id(),
        company_id: issue.company_id.clone(),
        document_id: former.as_ref().map_or_else(|| work.agent.id(), |document| document.id.clone()),
        issue_id: issue.id.clone(),
        key: summary::KEY.to_owned(),
        revision_number: former.as_ref().map_or(1, |document| document.latest_revision_number + 1),
        title: Some(summary::TITLE.to_owned()),
        format: "markdown".to_owned(),
        body,
        change_summary: None,
        created_by_agent_id: by.clone(),
        created_by_user_id: None,
        created_by_run_id: Some(run.id.clone()),
        created_at: now,
    };
    if let Some(former) = former {
        documents::revise(tx, &former.latest_revision_id, &revision).await?;
        return Ok(());
    }
    let document = Document {
        id: revision.document_id.clone(),
        company_id: revision.company_id.clone(),
        issue_id: revision.issue_id.clone(),
        key: revision.key.clone(),
        title: revision.title.clone(),
        format: revision.format.clone(),
        body: revision.body.clone(),
        latest_revision_id: revision.id.clone(),
        latest_revision_number: revision.revision_number,
        created_by_agent_id: by.clone(),
        created_by_user_id: None,
        updated_by_agent_id: by,
        updated_by_user_id: None,
        created_at: now,
        updated_at: now,
    };
    documents::create(tx, &document, &revision).await?;
    Ok(())
}

/// An issue that its agent set going again itself needs nobody any more.
async fn resolve_items(tx: &mut Tx<'_>, ended: &Ended<'_>, now: Moment) -> Result<(), StoreError> {
    if ended.issue.status == IssueStatus::Blocked {
        return Ok(());
    }
    for item in inbox::open_of(tx, ended.issue.id.as_str(), MOST_COMMENTS).await? {
        if item.kind == InboxKind::StrandedIssue.as_str() {
            inbox::resolve(tx, &item.id, "work_goes_on", now).await?;
        }
    }
    Ok(())
}

/// A process that was lost is replaced so often for one issue, and then the rule for stranded work is asked.
pub(super) async fn may_replace(tx: &mut Tx<'_>, issue: &Issue, now: Moment) -> Result<bool, StoreError> {
    attempts::count(tx, &issue.company_id, &issue.id, Cause::ProcessLost, now).await
}
