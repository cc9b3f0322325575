//! Environments, leases on them, and services.

use std::time::Duration;

use domain::environment::lease::{Cleanup, LeaseStatus};
use domain::environment::runtime_service::{Health, Lifecycle, ServiceScope, ServiceStatus};
use domain::ids::RunId;
use serde_json::json;
use store::environment_leases::{self as leases, EnvironmentLease, LeaseEnd};
use store::environments::{self, Environment};
use store::runtime_services::{self as services, RuntimeService};

use crate::both_stores;
use crate::issue_fixture::{at, company, set_up, write};

fn environment(id: &str, driver: &str) -> Environment {
    Environment {
        id: id.into(),
        company_id: company(),
        name: id.into(),
        description: None,
        driver: driver.into(),
        status: "active".into(),
        config: json!({ "host": "box" }),
        metadata: None,
        created_at: at(1),
        updated_at: at(1),
    }
}

fn lease(id: &str, run: &str) -> EnvironmentLease {
    EnvironmentLease {
        id: id.into(),
        company_id: company(),
        environment_id: "e".into(),
        execution_workspace_id: None,
        issue_id: None,
        heartbeat_run_id: Some(RunId::from(run)),
        status: LeaseStatus::Active,
        lease_policy: "ephemeral".into(),
        provider: "ssh".into(),
        provider_lease_id: None,
        acquired_at: at(1),
        last_used_at: at(1),
        expires_at: None,
        released_at: None,
        failure_reason: None,
        cleanup_status: None,
        metadata: Some(json!({})),
        release_tries: 0,
        created_at: at(1),
        updated_at: at(1),
    }
}

fn service(id: &str, name: &str) -> RuntimeService {
    RuntimeService {
        id: id.into(),
        company_id: company(),
        project_id: None,
        project_workspace_id: Some("w".into()),
        execution_workspace_id: None,
        issue_id: None,
        scope_type: ServiceScope::ProjectWorkspace,
        scope_id: Some("w".into()),
        service_name: name.into(),
        status: ServiceStatus::Starting,
        lifecycle: Lifecycle::Shared,
        reuse_key: None,
        command: Some("true".into()),
        cwd: Some("/tmp".into()),
        port: Some(8080),
        url: None,
        provider: "local_process".into(),
        provider_ref: None,
        owner_agent_id: None,
        started_by_run_id: None,
        last_used_at: at(1),
        started_at: at(1),
        stopped_at: None,
        stop_policy: None,
        health_status: Health::Unknown,
        plan: json!({ "argv": ["true"] }),
        node_id: "node".into(),
        epoch: 1,
        stop_asked_at: None,
        failure: None,
        created_at: at(1),
        updated_at: at(1),
    }
}

both_stores! {
    async fn a_company_has_one_local_environment_whoever_makes_it(store: Store) {
        set_up(&store).await;
        let added = write(&store, |tx| Box::pin(async move {
            Ok((
                environments::insert(tx, &environment("l1", "local")).await?,
                environments::insert(tx, &environment("l2", "local")).await?,
                environments::insert(tx, &environment("s1", "ssh")).await?,
                environments::insert(tx, &environment("s2", "ssh")).await?,
            ))
        })).await;
        assert_eq!(added, (true, false, true, true));
        let (local, ssh) = write(&store, |tx| Box::pin(async move {
            Ok((
                environments::local_of(tx, &company()).await?,
                environments::list(tx, &company(), Some("active"), Some("ssh"), 10).await?,
            ))
        })).await;
        assert_eq!(local, Some(environment("l1", "local")));
        assert_eq!(ssh, [environment("s1", "ssh"), environment("s2", "ssh")]);
    }

    async fn a_run_has_one_active_lease_and_one_that_ended_is_not_ended_again(store: Store) {
        set_up(&store).await;
        let end = LeaseEnd { status: LeaseStatus::Released, cleanup: Cleanup::Success, failure_reason: None };
        let second = end.clone();
        let (added, ended) = write(&store, move |tx| {
            let (end, second) = (end.clone(), second.clone());
            Box::pin(async move {
                environments::insert(tx, &environment("e", "ssh")).await?;
                let added = (
                    leases::insert(tx, &lease("a", "r")).await?,
                    leases::insert(tx, &lease("b", "r")).await?,
                );
                let is_used = environments_used(tx).await?;
                let ended =
                    (leases::end(tx, "a", &end, at(5)).await?, leases::end(tx, "a", &second, at(6)).await?);
                let after = leases::insert(tx, &lease("c", "r")).await?;
                Ok(((added, is_used, after), ended))
            })
        }).await;
        assert_eq!(added, ((true, false), true, true));
        assert_eq!(ended, (true, false));
        let all = write(&store, |tx| Box::pin(async move { leases::of_environment(tx, "e", None, 10).await })).await;
        let shown: Vec<_> = all.iter().map(|lease| (lease.id.as_str(), lease.status, lease.released_at)).collect();
        assert_eq!(shown, [("c", LeaseStatus::Active, None), ("a", LeaseStatus::Released, Some(at(5)))]);
    }

    async fn leases_of_runs_that_are_gone_are_due_and_wait_when_they_were_put_off(store: Store) {
        set_up(&store).await;
        write(&store, |tx| Box::pin(async move {
            environments::insert(tx, &environment("e", "ssh")).await?;
            leases::insert(tx, &lease("a", "nobody")).await?;
            leases::insert(tx, &lease("b", "nobody else")).await?;
            leases::put_off(tx, "b", "no answer", at(60), at(10)).await
        })).await;
        let due = write(&store, |tx| Box::pin(async move {
            Ok((leases::due(tx, at(30), 10).await?, leases::due(tx, at(60), 10).await?))
        })).await;
        let (a, b) = (("a".to_owned(), None), ("b".to_owned(), None));
        assert_eq!(due, (vec![a.clone()], vec![a, b]));
        let next = write(&store, |tx| Box::pin(async move { leases::next_due(tx).await })).await;
        assert_eq!(next, Some(at(60)));
        let b = write(&store, |tx| Box::pin(async move { leases::get(tx, "b").await })).await.unwrap();
        assert_eq!((b.release_tries, b.failure_reason.as_deref()), (1, Some("no answer")));
    }

    async fn a_scope_has_one_live_service_of_a_name(store: Store) {
        set_up(&store).await;
        let added = write(&store, |tx| Box::pin(async move {
            let first = services::insert(tx, &service("1", "web")).await?;
            let second = services::insert(tx, &service("2", "web")).await?;
            let other = services::insert(tx, &service("3", "db")).await?;
            let moved = services::become_(tx, &service("1", "web"), ServiceStatus::Stopped, Health::Unknown, None, at(9)).await?;
            // It is not any more what it was when it was looked at.
            let again = services::become_(tx, &service("1", "web"), ServiceStatus::Running, Health::Unknown, None, at(9)).await?;
            let third = services::insert(tx, &service("4", "web")).await?;
            Ok((first, second, other, moved, again, third))
        })).await;
        assert_eq!(added, (true, false, true, true, false, true));
        let asked = write(&store, |tx| Box::pin(async move {
            Ok((services::ask_to_stop(tx, "1", at(10)).await?, services::ask_to_stop(tx, "4", at(10)).await?))
        })).await;
        assert_eq!(asked, (false, true));
        let live = write(&store, |tx| Box::pin(async move { services::live(tx, "node", 10).await })).await;
        assert_eq!(live.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["3", "4"]);
        let old = at(9).plus(Duration::from_secs(1));
        let ended = write(&store, move |tx| Box::pin(async move { services::ended_before(tx, "node", old, 10).await })).await;
        assert_eq!(ended, ["1"]);
    }
}

async fn environments_used(tx: &mut store::Tx<'_>) -> Result<bool, store::StoreError> {
    leases::is_used(tx, "e").await
}
