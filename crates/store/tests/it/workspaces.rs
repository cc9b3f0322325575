//! Execution workspaces: whose they are, who works in them, and what is left of runs.

use domain::ids::RunId;
use domain::workspace::{OperationStatus, Status};
use serde_json::json;
use store::execution_workspaces::{self as places, ExecutionWorkspace, Filter};
use store::leftovers;
use store::run_outputs::{self, RunOutputs};
use store::workspace_operations::{self as operations, End, WorkspaceOperation};

use crate::both_stores;
use crate::issue_fixture::{at, company, finish, queue, run as run_row, set_up, start, write};

fn place(id: &str, branch: &str) -> ExecutionWorkspace {
    ExecutionWorkspace {
        id: id.into(),
        company_id: company(),
        project_id: "p".into(),
        project_workspace_id: None,
        source_issue_id: None,
        mode: "isolated_workspace".into(),
        strategy_type: "git_worktree".into(),
        name: branch.into(),
        status: "active".into(),
        cwd: Some(format!("/w/{id}")),
        repo_url: None,
        base_ref: None,
        branch_name: Some(branch.into()),
        provider_type: "git_worktree".into(),
        provider_ref: Some(format!("/w/{id}")),
        derived_from: None,
        last_used_at: at(1),
        opened_at: at(1),
        closed_at: None,
        cleanup_eligible_at: None,
        cleanup_reason: None,
        metadata: Some(json!({"a": 1})),
        node_id: "n".into(),
        scope_key: "issue:i".into(),
        repo_dir: Some("/r/.git".into()),
        base_commit: None,
        closing_at: None,
        look_at: None,
        created_at: at(1),
        updated_at: at(1),
    }
}

both_stores! {
    async fn no_two_open_workspaces_have_one_branch_of_a_repository(store: Store) {
        set_up(&store).await;
        let seen = write(&store, |tx| Box::pin(async {
            let other = ExecutionWorkspace { repo_dir: Some("/other/.git".into()), ..place("c", "one") };
            let made = [
                places::insert(tx, &place("a", "one")).await?,
                places::insert(tx, &place("b", "one")).await?,
                places::insert(tx, &other).await?,
            ];
            let taken = places::has_branch(tx, "n", "/r/.git", "one").await?;
            places::archive(tx, "a", None, None, at(5)).await?;
            let again = places::insert(tx, &place("b", "one")).await?;
            Ok((made, taken, again, places::archive(tx, "a", None, None, at(6)).await?))
        })).await;
        assert_eq!(seen, ([true, false, true], true, true, false));
        let found = write(&store, |tx| Box::pin(async {
            let archived = Filter { status: Some("archived".into()), ..Filter::default() };
            let reusable = Filter { reusable: true, ..Filter::default() };
            Ok((
                places::list(tx, &company(), &archived, 9).await?,
                places::list(tx, &company(), &reusable, 9).await?.len(),
                places::of_scope(tx, "n", "issue:i", 9).await?.len(),
                places::of_scope(tx, "elsewhere", "issue:i", 9).await?.len(),
                places::get(tx, "b").await?,
            ))
        })).await;
        let closed = ExecutionWorkspace {
            status: "archived".into(), closed_at: Some(at(5)), metadata: None, updated_at: at(5), ..place("a", "one")
        };
        assert!(closed.is_closed() && closed.is_worktree());
        assert_eq!(found, (vec![closed], 2, 2, 0, Some(place("b", "one"))));
    }

    async fn a_lease_lives_as_long_as_its_run_runs(store: Store) {
        set_up(&store).await;
        let run = RunId::from("r");
        queue(&store, vec![run_row("r", "ada", None, 1)]).await;
        let lease = start(&store, "r").await;
        let context = json!({"executionWorkspaceId": "a"});
        let (id, ours, said) = (run.clone(), lease.clone(), context.clone());
        let before = write(&store, move |tx| {
            let (run, lease, context) = (id.clone(), ours.clone(), said.clone());
            Box::pin(async move {
                places::insert(tx, &place("a", "one")).await?;
                places::take(tx, &run, "a", at(2)).await?;
                places::begin_at(tx, &run, Some("c1"), Some("t1")).await?;
                places::take(tx, &run, "a", at(3)).await?;
                places::begin_at(tx, &run, Some("c2"), None).await?;
                let stale = store::leases::Lease { epoch: 9, ..lease.clone() };
                let written = [
                    places::set_context(tx, &stale, &context).await?,
                    places::set_context(tx, &lease, &context).await?,
                ];
                Ok((written, places::lease_of(tx, &run).await?, places::tenants(tx, "a").await?))
            })
        }).await;
        let kept = before.1.unwrap();
        assert_eq!((kept.start_commit.as_deref(), kept.start_tree.as_deref()), (Some("c1"), Some("t1")));
        assert_eq!((before.0, before.2), ([false, true], vec![run.clone()]));
        finish(&store, run.clone()).await;
        let after = write(&store, move |tx| {
            let run = run.clone();
            Box::pin(async move {
                let row = store::runs::get(tx, &run).await?.unwrap();
                Ok((places::tenants(tx, "a").await?, row.context))
            })
        }).await;
        assert_eq!(after, (Vec::new(), context));
    }

    async fn what_may_go_is_found_and_what_could_not_go_is_looked_at_later(store: Store) {
        set_up(&store).await;
        let seen = write(&store, |tx| Box::pin(async {
            places::insert(tx, &place("old", "one")).await?;
            places::insert(tx, &ExecutionWorkspace { last_used_at: at(50), ..place("new", "two") }).await?;
            let told = ExecutionWorkspace { cleanup_eligible_at: Some(at(20)), last_used_at: at(50), ..place("told", "3") };
            places::insert(tx, &told).await?;
            let shared = ExecutionWorkspace { provider_type: "local_fs".into(), ..place("shared", "four") };
            places::insert(tx, &shared).await?;
            let first = places::to_close(tx, "n", at(10), at(60), "", 9).await?;
            assert!(places::begin_closing(tx, "new", at(60)).await?);
            let begun = places::to_close(tx, "n", at(10), at(60), "", 9).await?;
            places::stop_closing(tx, "new", Status::CleanupFailed, "busy", at(90), at(60)).await?;
            places::stop_closing(tx, "old", Status::Active, "ignored files", at(90), at(60)).await?;
            let later = places::to_close(tx, "n", at(10), at(60), "", 9).await?;
            Ok((first, begun, later, places::to_close(tx, "n", at(10), at(95), "told", 9).await?))
        })).await;
        let all = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert_eq!(seen, (all(&["old", "told"]), all(&["new", "old", "told"]), all(&["told"]), all(&[])));
    }

    async fn operations_end_once_and_outputs_are_written_over(store: Store) {
        set_up(&store).await;
        let operation = WorkspaceOperation {
            id: "o".into(),
            company_id: company(),
            execution_workspace_id: Some("a".into()),
            run_id: Some("r".into()),
            phase: "workspace_provision".into(),
            command: Some("make".into()),
            cwd: Some("/w".into()),
            status: "running".into(),
            exit_code: None,
            log_bytes: None,
            stdout_excerpt: None,
            stderr_excerpt: None,
            metadata: None,
            started_at: at(1),
            finished_at: None,
        };
        let outputs = RunOutputs {
            run_id: "r".into(),
            company_id: company(),
            workspace_id: "a".into(),
            issue_id: None,
            branch: Some("b".into()),
            base_commit: Some("1".into()),
            head_commit: Some("2".into()),
            commits: json!([{"sha": "2"}]),
            commit_count: 1,
            files: json!([]),
            file_count: 0,
            insertions: 3,
            deletions: 4,
            uncommitted: json!([]),
            uncommitted_count: 0,
            is_exclusive: true,
            patch_truncated: false,
            error: None,
            captured_at: at(7),
        };
        let (begun, first) = (operation.clone(), outputs.clone());
        let seen = write(&store, move |tx| {
            let (operation, outputs) = (begun.clone(), first.clone());
            Box::pin(async move {
                places::insert(tx, &place("a", "one")).await?;
                operations::begin(tx, &operation).await?;
                let end = End {
                    status: OperationStatus::Failed,
                    exit_code: Some(3),
                    log: "out\n".into(),
                    stdout_excerpt: Some("out".into()),
                    stderr_excerpt: None,
                };
                operations::finish(tx, "o", &end, at(2)).await?;
                operations::give_up(tx, "a", at(3)).await?;
                run_outputs::save(tx, &RunOutputs { error: Some("x".into()), ..outputs.clone() }, None).await?;
                run_outputs::save(tx, &outputs, Some("diff")).await?;
                let run = RunId::from("r");
                Ok((
                    (operations::of_run(tx, &run, 9).await?, operations::of_workspace(tx, "a", 9).await?.len()),
                    (operations::log(tx, "o").await?, operations::get(tx, "none").await?),
                    (run_outputs::get(tx, &run).await?, run_outputs::patch(tx, &run).await?),
                    places::get(tx, "a").await?.unwrap().last_used_at,
                ))
            })
        }).await;
        let ended = WorkspaceOperation {
            status: "failed".into(),
            exit_code: Some(3),
            log_bytes: Some(4),
            stdout_excerpt: Some("out".into()),
            finished_at: Some(at(2)),
            ..operation
        };
        assert_eq!(seen.0, (vec![ended], 1));
        assert_eq!(seen.1, (Some("out\n".to_owned()), None));
        assert_eq!(seen.2, (Some(outputs), Some(("diff".to_owned(), false))));
        assert_eq!(seen.3, at(7));
    }

    async fn the_worktrees_of_a_removed_company_are_left_to_their_node(store: Store) {
        set_up(&store).await;
        write(&store, |tx| Box::pin(async move {
            places::insert(tx, &place("a", "one")).await?;
            places::insert(tx, &ExecutionWorkspace { node_id: "m".into(), ..place("b", "two") }).await?;
            places::insert(tx, &ExecutionWorkspace { closed_at: Some(at(2)), ..place("c", "three") }).await?;
            store::removal::last(tx, &company(), at(9)).await
        })).await;
        let (due, others, gone) = write(&store, |tx| Box::pin(async move {
            Ok((
                leftovers::due(tx, "n", at(9), 10).await?,
                leftovers::due(tx, "n", at(8), 10).await?,
                leftovers::removed_of(tx, &[company().0, "other".into()]).await?,
            ))
        })).await;
        let named: Vec<(&str, &str)> =
            due.iter().map(|it| (it.workspace_id.as_str(), it.folder.as_str())).collect();
        assert_eq!((named, others.len(), gone), (vec![("a", "/w/a")], 0, vec![company().0]));
        let after = write(&store, |tx| Box::pin(async move {
            leftovers::put_off(tx, "a", at(60)).await?;
            let put_off = leftovers::due(tx, "n", at(30), 10).await?.len();
            leftovers::remove(tx, "a").await?;
            Ok((put_off, leftovers::due(tx, "n", at(90), 10).await?.len(), leftovers::due(tx, "m", at(90), 10).await?.len()))
        })).await;
        assert_eq!(after, (0, 0, 1));
    }
}
