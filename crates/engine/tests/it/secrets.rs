//! Secrets and the processes that need them: keys that are missing or others, and servers that start again.

use std::os::unix::fs::PermissionsExt;

use domain::ids::AgentId;
use engine::{AgentPatch, Author, Engine, EngineError, KEY_FILE, SecretDraft, SecretValue};
use serde_json::json;
use testkit::{World, both_stores};

const VALUE: &str = "canary-in-the-store";

fn draft(name: &str) -> SecretDraft {
    SecretDraft {
        name: name.to_owned(),
        value: SecretValue::new(VALUE.to_owned()),
        provider: "local_encrypted".to_owned(),
        description: None,
        external_ref: None,
    }
}

/// Binds TOKEN of an agent to a secret of its company.
async fn bind(engine: &Engine, agent: &AgentId, secret: &str) {
    let config = json!({ "env": { "TOKEN": { "type": "secret_ref", "secretId": secret } } });
    let patch = AgentPatch { adapter_config: Some(config), ..AgentPatch::default() };
    engine.patch_agent(agent, patch, &domain::wake::Actor::local_board()).await.unwrap();
}

fn other_key(world: &World) {
    let file = world.settings().data_dir.join(KEY_FILE);
    std::fs::write(&file, "ab".repeat(32)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

both_stores! {
    async fn a_node_with_another_key_says_so_and_starts_nothing_that_needs_it(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let by = Author::local_board();
        let secret = engine.create_secret(&agent.company_id, draft("github"), &by).await.unwrap();
        bind(&engine, &agent.id, &secret.id).await;
        engine.check_secrets().await.unwrap();
        engine.leave().await;
        other_key(&world);
        let engine = world.engine().await;
        assert!(engine.check_secrets().await.is_err());
        let run = world.wake(&engine, &agent.id, "task").await;
        let run = world.over(&run.id).await;
        let error = run.error.unwrap_or_default();
        assert!(error.contains("the secret of TOKEN: `github`"), "{error}");
        assert!(error.contains("give every node the same key file"), "{error}");
        assert!(!error.contains("canary"), "{error}");
        for refused in [
            engine.create_secret(&agent.company_id, draft("npm"), &by).await.unwrap_err(),
            engine.rotate_secret(&secret.id, SecretValue::new(VALUE.to_owned()), None, &by).await.unwrap_err(),
        ] {
            assert!(matches!(refused, EngineError::Refused { .. }), "{refused}");
        }
        engine.leave().await;
    }

    async fn a_lost_key_is_not_made_again(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let by = Author::local_board();
        engine.create_secret(&company, draft("github"), &by).await.unwrap();
        engine.leave().await;
        let file = world.settings().data_dir.join(KEY_FILE);
        std::fs::remove_file(&file).unwrap();
        let engine = world.engine().await;
        let refused = engine.create_secret(&company, draft("npm"), &by).await.unwrap_err().to_string();
        assert!(refused.contains("put it back there"), "{refused}");
        assert!(!file.exists());
        engine.leave().await;
    }

    async fn the_audit_chain_tells_what_was_done_and_no_value(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let by = Author::local_board();
        let secret = engine.create_secret(&company, draft("github"), &by).await.unwrap();
        engine.rotate_secret(&secret.id, SecretValue::new(format!("{VALUE}-2")), None, &by).await.unwrap();
        engine.delete_secret(&secret.id, &by).await.unwrap();
        let told = world.read(|tx| Box::pin(async move { store::audit::page(tx, 0, 100).await })).await;
        let actions = told.iter().map(|entry| &*entry.action).filter(|it| it.starts_with("secret."));
        let actions: Vec<&str> = actions.collect();
        assert_eq!(actions, ["secret.created", "secret.rotated", "secret.deleted"]);
        assert!(!format!("{told:?}").contains("canary"), "{told:?}");
        engine.leave().await;
    }
}
