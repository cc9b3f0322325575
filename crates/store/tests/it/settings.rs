//! Settings of the instance, and revisions of agents' configurations.

use domain::ids::AgentId;
use serde_json::json;
use store::config_revisions::{self, ConfigRevision};
use store::instance_settings;

use crate::acme::{at, tx};
use crate::both_stores;

both_stores! {
    async fn the_last_saved_settings_are_those_that_hold(store: Store) {
        assert_eq!(tx!(store, [], |tx| instance_settings::get(tx, "general")), None);
        for value in [json!({"censorUsernameInLogs": true}), json!({"censorUsernameInLogs": false})] {
            tx!(store, [value], |tx| instance_settings::save(tx, "general", &value, at(1)));
            assert_eq!(tx!(store, [], |tx| instance_settings::get(tx, "general")), Some(value));
        }
        assert_eq!(tx!(store, [], |tx| instance_settings::get(tx, "experimental")), None);
    }

    async fn revisions_come_newest_first(store: Store) {
        let revision = |id: &str, agent: &str, seconds| ConfigRevision {
            id: id.into(),
            company_id: "acme".into(),
            agent_id: agent.into(),
            created_by_agent_id: None,
            created_by_user_id: Some("board".into()),
            source: "patch".into(),
            rolled_back_from_revision_id: None,
            changed_keys: json!(["name"]),
            before_config: json!({"name": "Ada"}),
            after_config: json!({"name": "Adele"}),
            created_at: at(seconds),
        };
        for one in [revision("1", "ada", 1), revision("2", "ada", 2), revision("3", "ada", 2), revision("4", "bob", 3)] {
            tx!(store, [one], |tx| config_revisions::insert(tx, &one));
        }
        let ada = AgentId::from("ada");
        assert_eq!(
            tx!(store, [ada], |tx| config_revisions::list(tx, &ada, None, 2)),
            [revision("3", "ada", 2), revision("2", "ada", 2)]
        );
        let before = Some((at(2), "2".to_owned()));
        let rest = tx!(store, [ada, before], |tx| config_revisions::list(tx, &ada, before.clone(), 2));
        assert_eq!(rest, [revision("1", "ada", 1)]);
        assert_eq!(tx!(store, [ada], |tx| config_revisions::get(tx, &ada, "1")), Some(revision("1", "ada", 1)));
        assert_eq!(tx!(store, [ada], |tx| config_revisions::get(tx, &ada, "4")), None, "another agent's");
    }
}
