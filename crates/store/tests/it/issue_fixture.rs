//! A company with two agents, and short ways to make issues, runs and wakes in it.

use domain::agent::{AgentStatus, Role};
use domain::ids::{AgentId, CommentId, CompanyId, IssueId, RunId, WakeId};
use domain::issue::{IssueStatus, Priority};
use domain::moment::Moment;
use domain::run::RunStatus;
use domain::wake::{ActorKind, Source, TriggerDetail, WakeStatus};
use serde_json::json;
use store::agents::{self, Agent};
use store::comments::{self, Comment};
use store::companies::{self, Company};
use store::issues::{self, Issue};
use store::leases::{self, Claimer, Lease};
use store::runs::{self, Run};
use store::wakes::{self, Wake};
use store::{BoxFuture, Store, StoreError, Tx};

/// Noon, and so many seconds.
pub(crate) fn at(seconds: i64) -> Moment {
    Moment::from_micros(crate::NOON + seconds * 1_000_000)
}

pub(crate) fn company() -> CompanyId {
    "acme".into()
}

/// Runs one transaction.
pub(crate) async fn write<T: Send + 'static>(
    store: &Store,
    f: impl for<'t, 'c> Fn(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T, StoreError>> + Send + Sync + 'static,
) -> T {
    store.write(f).await.unwrap()
}

/// Makes `acme` with the agents `ada` and `bob`.
pub(crate) async fn set_up(store: &Store) {
    write(store, |tx| {
        Box::pin(async move {
            let company = Company {
                id: company(),
                name: "Acme".into(),
                description: None,
                status: "active".into(),
                issue_prefix: "ACM".into(),
                issue_counter: 0,
                budget_monthly_cents: 0,
                require_approval: false,
                brand_color: None,
                created_at: at(0),
                updated_at: at(0),
            };
            assert!(companies::insert(tx, &company).await?);
            for name in ["ada", "bob"] {
                assert!(agents::insert(tx, &agent(name)).await?);
            }
            Ok(())
        })
    })
    .await;
}

pub(crate) fn agent(name: &str) -> Agent {
    Agent {
        id: name.into(),
        company_id: company(),
        name: name.into(),
        url_key: name.into(),
        role: Role::General,
        title: None,
        icon: None,
        status: AgentStatus::Idle,
        reports_to: None,
        capabilities: None,
        adapter_type: "process".into(),
        adapter_config: json!({}),
        default_environment_id: None,
        runtime_config: json!({}),
        budget_monthly_cents: 0,
        pause_reason: None,
        paused_at: None,
        permissions: json!({}),
        metadata: None,
        last_heartbeat_at: None,
        next_timer_at: None,
        created_at: at(0),
        updated_at: at(0),
    }
}

/// An issue that is to do, of medium priority, nobody's. `insert` gives it its number.
pub(crate) fn issue(id: &str) -> Issue {
    Issue {
        id: id.into(),
        company_id: company(),
        project_id: None,
        project_workspace_id: None,
        goal_id: None,
        parent_id: None,
        title: id.into(),
        description: None,
        status: IssueStatus::Todo,
        priority: Priority::Medium,
        assignee_agent_id: None,
        assignee_user_id: None,
        checkout_run_id: None,
        execution_run_id: None,
        lock_run_id: None,
        lock_epoch: None,
        lock_agent_id: None,
        locked_at: None,
        created_by_agent_id: None,
        created_by_user_id: None,
        issue_number: 0,
        identifier: String::new(),
        origin_kind: "manual".into(),
        origin_id: None,
        origin_run_id: None,
        origin_fingerprint: "default".into(),
        request_depth: 0,
        billing_code: None,
        assignee_adapter_overrides: None,
        execution_policy: None,
        execution_state: None,
        execution_workspace_id: None,
        execution_workspace_preference: None,
        execution_workspace_settings: None,
        started_at: None,
        completed_at: None,
        cancelled_at: None,
        hidden_at: None,
        waits_on_blockers: false,
        check_at: None,
        last_activity_at: at(0),
        created_at: at(0),
        updated_at: at(0),
    }
}

/// Adds an issue under the next number of its company.
pub(crate) async fn insert(tx: &mut Tx<'_>, issue: Issue) -> Result<Issue, StoreError> {
    let (issue_number, identifier) = issues::draw_identifier(tx, &issue.company_id).await?.unwrap();
    let issue = Issue { issue_number, identifier, ..issue };
    issues::insert(tx, &issue).await?;
    Ok(issue)
}

/// Adds issues, each after the one before it.
pub(crate) async fn add(store: &Store, made: Vec<Issue>) -> Vec<Issue> {
    write(store, move |tx| {
        let made = made.clone();
        Box::pin(async move {
            let mut done = Vec::new();
            for one in made {
                done.push(insert(tx, one).await?);
            }
            Ok(done)
        })
    })
    .await
}

pub(crate) async fn get(store: &Store, id: &'static str) -> Issue {
    store.read(move |tx| Box::pin(async move { issues::get(tx, &id.into()).await })).await.unwrap().unwrap()
}

pub(crate) fn comment(id: &str, on: &str, by_user: Option<&str>, seconds: i64) -> Comment {
    Comment {
        id: CommentId(id.into()),
        company_id: company(),
        issue_id: on.into(),
        author_agent_id: by_user.is_none().then(|| AgentId("ada".into())),
        author_user_id: by_user.map(str::to_owned),
        created_by_run_id: None,
        body: format!("says {id}"),
        created_at: at(seconds),
        updated_at: at(seconds),
    }
}

pub(crate) async fn say(store: &Store, comment: Comment) {
    write(store, move |tx| {
        let comment = comment.clone();
        Box::pin(async move { comments::insert(tx, &comment).await })
    })
    .await;
}

pub(crate) fn wake(id: &str, agent: &str, issue: Option<&str>, status: WakeStatus) -> Wake {
    Wake {
        id: id.into(),
        company_id: company(),
        agent_id: agent.into(),
        source: Source::Automation,
        trigger_detail: Some(TriggerDetail::System),
        reason: Some("issue_commented".into()),
        payload: json!({ "issueId": issue }),
        status,
        coalesced_count: 0,
        actor_kind: ActorKind::User,
        actor_id: Some("u1".into()),
        idempotency_key: None,
        body_hash: None,
        run_id: None,
        requested_at: at(1),
        claimed_at: None,
        finished_at: None,
        error: None,
        issue_id: issue.map(IssueId::from),
    }
}

pub(crate) fn run(id: &str, agent: &str, issue: Option<&str>, seconds: i64) -> Run {
    Run {
        id: id.into(),
        company_id: company(),
        agent_id: agent.into(),
        invocation_source: Source::Automation,
        trigger_detail: None,
        status: RunStatus::Queued,
        // A scope of its own, so that one agent may have several.
        task_key: id.into(),
        issue_id: issue.map(str::to_owned),
        wake_id: WakeId(format!("wake of {id}")),
        context: json!({}),
        retry_of_run_id: None,
        process_loss_retries: 0,
        retry_at: None,
        retry_attempt: 0,
        retry_reason: None,
        created_at: at(seconds),
        updated_at: at(seconds),
        started_at: None,
        finished_at: None,
        lease_epoch: 0,
        lease_holder: None,
        node_id: None,
        boot_id: None,
        fresh_start_used: false,
        stop_asked_at: None,
        stop_words: None,
        error: None,
        error_code: None,
        exit_code: None,
        signal: None,
        usage: None,
        result: None,
        session_before: None,
        session_after: None,
        process_pid: None,
        process_group_id: None,
        process_started_at: None,
        log_offset: 0,
        log_bytes: None,
        log_sha256: None,
        log_state: "none".into(),
        last_output_at: None,
        last_output_seq: 0,
        last_output_stream: None,
        last_output_bytes: None,
        stdout_excerpt: None,
        stderr_excerpt: None,
        event_seq: 1,
        project_id: None,
        external_run_id: None,
        issue_comment_status: "not_applicable".into(),
        issue_comment_satisfied_by_comment_id: None,
        issue_comment_retry_queued_at: None,
        liveness_state: None,
        liveness_reason: None,
        next_action: None,
        continuation_attempt: 0,
        last_useful_action_at: None,
        last_activity_at: None,
        silence_level: "ok".into(),
        snoozed_until: None,
        no_progress_count: 0,
    }
}

/// Adds queued runs.
pub(crate) async fn queue(store: &Store, made: Vec<Run>) {
    write(store, move |tx| {
        let made = made.clone();
        Box::pin(async move {
            for one in &made {
                runs::insert(tx, one).await?;
            }
            Ok(())
        })
    })
    .await;
}

pub(crate) fn server() -> Claimer {
    Claimer { holder: 1, node_id: "node".into(), boot_id: "boot".into() }
}

/// Gives a queued run a slot.
pub(crate) async fn start(store: &Store, id: &'static str) -> Lease {
    write(store, move |tx| Box::pin(async move { leases::claim(tx, &id.into(), &server(), at(100)).await }))
        .await
        .unwrap()
        .lease
}

/// Ends a running run, whoever holds it.
pub(crate) async fn finish(store: &Store, id: RunId) {
    write(store, move |tx| {
        let id = id.clone();
        Box::pin(async move {
            let text = store::sql!(
                "UPDATE runs SET status = 'succeeded', finished_at = 1 WHERE id = $1 AND status = 'running'"
            );
            assert_eq!(tx.exec(text, store::p![id]).await?, 1);
            Ok(())
        })
    })
    .await;
}

/// Adds wakes.
pub(crate) async fn ask(store: &Store, made: Vec<Wake>) {
    write(store, move |tx| {
        let made = made.clone();
        Box::pin(async move {
            for one in &made {
                wakes::insert(tx, one).await?;
            }
            Ok(())
        })
    })
    .await;
}

pub(crate) fn ids(found: &[Issue]) -> Vec<&str> {
    found.iter().map(|issue| issue.id.as_str()).collect()
}
