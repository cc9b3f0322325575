//! Projects with their goals and workspaces.

use domain::agent::PauseReason;
use serde_json::json;
use store::goals::{self, Goal};
use store::issues::Issue;
use store::projects::{self, Project, Workspace};
use store::{StoreError, Tx};

use crate::both_stores;
use crate::issue_fixture::{add, at, company, get, issue, set_up, write};

fn project(id: &str, url_key: &str, seconds: i64) -> Project {
    Project {
        id: id.into(),
        company_id: company(),
        name: id.into(),
        url_key: url_key.into(),
        description: None,
        status: "backlog".into(),
        lead_agent_id: Some("ada".into()),
        target_date: Some("2026-12-31".into()),
        color: None,
        env: Some(json!({"A": "b"})),
        pause_reason: None,
        paused_at: None,
        execution_workspace_policy: None,
        archived_at: None,
        created_at: at(seconds),
        updated_at: at(seconds),
    }
}

fn goal(id: &str, level: &str, status: &str, parent: Option<&str>, seconds: i64) -> Goal {
    Goal {
        id: id.into(),
        company_id: company(),
        title: format!("title of {id}"),
        description: None,
        level: level.into(),
        status: status.into(),
        parent_id: parent.map(str::to_owned),
        owner_agent_id: None,
        created_at: at(seconds),
        updated_at: at(seconds),
    }
}

fn workspace(id: &str, is_primary: bool, seconds: i64) -> Workspace {
    Workspace {
        id: id.into(),
        company_id: company(),
        project_id: "p".into(),
        name: id.into(),
        source_type: "local_path".into(),
        cwd: Some("/tmp".into()),
        repo_url: None,
        repo_ref: None,
        default_ref: None,
        visibility: "default".into(),
        setup_command: None,
        cleanup_command: None,
        remote_provider: None,
        remote_workspace_ref: None,
        shared_workspace_key: None,
        metadata: None,
        runtime_config: None,
        is_primary,
        created_at: at(seconds),
        updated_at: at(seconds),
    }
}

async fn primaries(tx: &mut Tx<'_>) -> Result<Vec<(String, bool)>, StoreError> {
    let all = projects::workspaces_of(tx, &["p".into()]).await?;
    Ok(all.into_iter().map(|one| (one.id, one.is_primary)).collect())
}

both_stores! {
    async fn a_short_name_names_one_project_of_a_company(store: Store) {
        set_up(&store).await;
        let made = write(&store, |tx| Box::pin(async {
            Ok([
                projects::insert(tx, &project("p", "site", 1)).await?,
                projects::insert(tx, &project("q", "site", 2)).await?,
                projects::insert(tx, &project("q", "shop", 2)).await?,
                projects::update(tx, &project("q", "site", 2)).await?,
                projects::update(tx, &Project { status: "planned".into(), ..project("q", "store", 2) }).await?,
            ])
        })).await;
        assert_eq!(made, [true, false, true, false, true]);
        let (named, all, page, some) = store
            .read(|tx| Box::pin(async {
                Ok((
                    projects::by_url_key(tx, &company(), "store").await?.unwrap(),
                    projects::list(tx, &company(), None, 10).await?,
                    projects::list(tx, &company(), Some((at(1), "p".into())), 10).await?,
                    projects::some(tx, &["p".into(), "none".into()]).await?,
                ))
            }))
            .await
            .unwrap();
        assert_eq!(named, Project { status: "planned".into(), ..project("q", "store", 2) });
        assert_eq!(all, [project("p", "site", 1), named.clone()]);
        assert_eq!((page, some), (vec![named], vec![project("p", "site", 1)]));
    }

    async fn a_project_is_paused_for_a_reason_and_goes_on(store: Store) {
        set_up(&store).await;
        let seen = write(&store, |tx| Box::pin(async {
            projects::insert(tx, &project("p", "p", 1)).await?;
            let mut seen = Vec::new();
            for (reason, seconds) in [(Some(PauseReason::Budget), 5), (None, 6)] {
                projects::set_pause(tx, "p", reason, at(seconds)).await?;
                let now = projects::lock(tx, "p").await?.unwrap();
                seen.push((now.pause_reason, now.paused_at));
            }
            Ok(seen)
        })).await;
        assert_eq!(seen, [(Some(PauseReason::Budget), Some(at(5))), (None, None)]);
    }

    async fn a_removed_project_leaves_its_issues_and_takes_its_workspaces(store: Store) {
        set_up(&store).await;
        add(&store, vec![Issue { project_id: Some("p".into()), project_workspace_id: Some("w".into()), ..issue("i") }]).await;
        let (removed, left) = write(&store, |tx| Box::pin(async {
            projects::insert(tx, &project("p", "p", 1)).await?;
            projects::insert_workspace(tx, &workspace("w", false, 1)).await?;
            Ok((projects::remove(tx, "p").await?, projects::workspace(tx, "w").await?))
        })).await;
        assert_eq!((removed, left), (true, None));
        let issue = get(&store, "i").await;
        assert_eq!((issue.project_id, issue.project_workspace_id), (None, None));
    }

    async fn one_workspace_of_a_project_is_primary_as_long_as_there_is_one(store: Store) {
        set_up(&store).await;
        let seen = write(&store, |tx| Box::pin(async {
            projects::insert(tx, &project("p", "p", 1)).await?;
            let mut seen = Vec::new();
            assert!(projects::insert_workspace(tx, &workspace("w1", false, 1)).await?.is_primary, "the first one");
            assert!(!projects::insert_workspace(tx, &workspace("w2", false, 2)).await?.is_primary);
            seen.push(primaries(tx).await?);
            projects::insert_workspace(tx, &workspace("w3", true, 3)).await?;
            seen.push(primaries(tx).await?);
            projects::update_workspace(tx, &Workspace { name: "new".into(), ..workspace("w2", true, 2) }).await?;
            assert_eq!(projects::workspace(tx, "w2").await?.unwrap().name, "new");
            seen.push(primaries(tx).await?);
            assert!(projects::remove_workspace(tx, "w2", at(9)).await?);
            assert!(!projects::remove_workspace(tx, "w2", at(9)).await?);
            seen.push(primaries(tx).await?);
            Ok(seen)
        })).await;
        let row = |id: &str, primary| (id.to_owned(), primary);
        assert_eq!(seen, [
            vec![row("w1", true), row("w2", false)],
            vec![row("w3", true), row("w1", false), row("w2", false)],
            vec![row("w2", true), row("w1", false), row("w3", false)],
            vec![row("w1", true), row("w3", false)],
        ]);
    }

    async fn a_project_serves_goals_in_order_and_a_company_has_a_default_one(store: Store) {
        set_up(&store).await;
        let (served, defaults, some, kept) = write(&store, |tx| Box::pin(async {
            let mut defaults = Vec::new();
            for made in [
                goal("task", "task", "active", None, 1),
                goal("nested", "company", "active", Some("task"), 2),
                goal("root", "company", "planned", None, 3),
                goal("active", "company", "active", None, 4),
            ] {
                goals::insert(tx, &made).await?;
                defaults.push(goals::default_of(tx, &company()).await?.map(|goal| goal.id));
            }
            projects::insert(tx, &project("p", "p", 1)).await?;
            projects::replace_goals(tx, "p", &["task".into()]).await?;
            projects::replace_goals(tx, "p", &["root".into(), "active".into(), "root".into()]).await?;
            goals::update(tx, &Goal { title: "new".into(), ..goal("root", "company", "planned", None, 3) }).await?;
            let served = projects::goals_of(tx, &["p".into()]).await?;
            assert!(goals::remove(tx, "task").await?);
            assert!(!goals::remove(tx, "task").await?);
            Ok((
                served,
                defaults,
                goals::some(tx, &["nested".into()]).await?,
                goals::list(tx, &company(), Some((at(2), "nested".into())), 10).await?,
            ))
        })).await;
        let text = str::to_owned;
        assert_eq!(served, [
            (text("p"), text("root"), text("new")),
            (text("p"), text("active"), text("title of active")),
        ]);
        assert_eq!(defaults, [None, Some(text("nested")), Some(text("root")), Some(text("active"))]);
        assert_eq!(some[0].parent_id, None, "what was below a removed goal stays");
        assert_eq!(kept.iter().map(|goal| goal.id.as_str()).collect::<Vec<_>>(), ["root", "active"]);
    }
}
