//! Sessions that are gone, and the skills of a company.

use domain::ids::{AgentId, RunId};
use serde_json::json;
use store::run_starts;
use store::sessions::{self, GoneSession, TaskSession};
use store::skills::{self, Skill};

use crate::acme::{at, company_with_an_agent, tx};
use crate::both_stores;

fn saved(agent: &AgentId, task: &str, session: &str) -> TaskSession {
    TaskSession {
        id: format!("id-{task}"),
        company_id: "acme".into(),
        agent_id: agent.clone(),
        adapter_type: "codex_local".to_owned(),
        task_key: task.to_owned(),
        session_id: session.to_owned(),
        params: Some(json!({ "sessionId": session, "cwd": "/w" })),
        last_run_id: None,
        last_error: None,
        created_at: at(0),
        updated_at: at(0),
    }
}

both_stores! {
    async fn a_gone_session_leaves_every_task_and_is_remembered(store: Store) {
        let (company, agent) = company_with_an_agent(&store).await;
        for (task, session) in [("a", "old"), ("b", "old"), ("c", "other")] {
            let session = saved(&agent, task, session);
            tx!(store, [session], |tx| sessions::save(tx, &session));
        }
        let gone = GoneSession {
            company_id: company,
            agent_id: agent.clone(),
            adapter_type: "codex_local".to_owned(),
            session_id: "old".to_owned(),
            run_id: RunId::from("r"),
            found_at: at(1),
        };
        // Said twice it is the same.
        for _ in 0..2 {
            tx!(store, [gone], |tx| sessions::mark_gone(tx, &gone));
        }
        let left = tx!(store, [agent], |tx| sessions::of_agent(tx, &agent, 10));
        assert_eq!(left, [saved(&agent, "c", "other")]);
        for (kind, session, expected) in
            [("codex_local", "old", true), ("codex_local", "other", false), ("claude_local", "old", false)]
        {
            let found = tx!(store, [agent], |tx| sessions::is_gone(tx, &agent, kind, session));
            assert_eq!(found, expected, "{kind} {session}");
        }
        let none = tx!(store, [agent], |tx| sessions::runs_in(tx, &agent, "other"));
        assert_eq!((none.runs, none.oldest), (0, None));
        let run = RunId::from("r");
        assert_eq!(tx!(store, [run], |tx| run_starts::of_run(tx, &run)), []);
    }

    async fn a_company_has_one_skill_of_a_key(store: Store) {
        let (company, _) = company_with_an_agent(&store).await;
        let skill = Skill {
            id: "s".to_owned(),
            company_id: company.clone(),
            key: "company/review".to_owned(),
            slug: "review".to_owned(),
            name: "Review".to_owned(),
            description: None,
            markdown: "x".to_owned(),
            source_type: "local".to_owned(),
            source_locator: None,
            trust_level: "markdown_only".to_owned(),
            metadata: Some(json!({ "a": 1 })),
            created_at: at(0),
            updated_at: at(0),
        };
        assert!(tx!(store, [skill], |tx| skills::insert(tx, &skill)));
        let twin = Skill { id: "t".to_owned(), ..skill.clone() };
        assert!(!tx!(store, [twin], |tx| skills::insert(tx, &twin)));
        let changed = Skill { markdown: "y".to_owned(), updated_at: at(1), ..skill };
        assert!(tx!(store, [changed], |tx| skills::rewrite(tx, &changed)));
        assert_eq!(tx!(store, [company], |tx| skills::list(tx, &company, 10)), [changed]);
        assert!(tx!(store, [], |tx| skills::remove(tx, "s")));
        assert!(!tx!(store, [], |tx| skills::remove(tx, "s")));
    }
}
