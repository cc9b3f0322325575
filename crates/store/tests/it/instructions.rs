//! The files of instruction bundles.

use domain::ids::AgentId;
use store::instructions::{self, InstructionFile};
use store::removal;

use crate::acme::{at, company_with_an_agent, tx};
use crate::both_stores;

both_stores! {
    async fn a_file_of_a_bundle_says_what_was_written_last(store: Store) {
        let (company, agent) = company_with_an_agent(&store).await;
        let file = |path: &str, content: &str, now: i64| InstructionFile {
            agent_id: agent.clone(),
            path: path.to_owned(),
            company_id: company.clone(),
            content: content.to_owned(),
            updated_at: at(now),
        };
        for file in [file("b.md", "x", 0), file("AGENTS.md", "", 0), file("a/b.md", "", 0), file("b.md", "y", 1)] {
            tx!(store, [file], |tx| instructions::put(tx, &file));
        }
        // In the order of their bytes on both engines.
        let expected = [file("AGENTS.md", "", 0), file("a/b.md", "", 0), file("b.md", "y", 1)];
        assert_eq!(tx!(store, [agent], |tx| instructions::of_agent(tx, &agent, 10)), expected);
        assert_eq!(tx!(store, [agent], |tx| instructions::of_agent(tx, &agent, 1)), expected[..1]);
        let nobody = AgentId::from("nobody");
        assert_eq!(tx!(store, [nobody], |tx| instructions::of_agent(tx, &nobody, 10)), []);
        for expected in [true, false] {
            assert_eq!(tx!(store, [agent], |tx| instructions::remove(tx, &agent, "b.md")), expected);
        }
        assert!(tx!(store, [company], |tx| removal::last(tx, &company, at(2))));
        assert_eq!(tx!(store, [agent], |tx| instructions::of_agent(tx, &agent, 10)), []);
    }
}
