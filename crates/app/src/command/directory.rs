//! The names behind ids: agents and projects of a company, for lists that mention many of them; and ids in short.

use serde_json::Value as Json;

use super::answer::{one_line, rows, text};
use crate::client::Client;
use crate::failure::Failure;

/// As much of an id as is shown where there is no name for it.
const SHORT: usize = 13;

/// Who and what there is in a company.
#[derive(Debug, Default)]
pub(super) struct Directory {
    agents: Vec<(String, String)>,
    projects: Vec<(String, String)>,
    people: Vec<(String, String)>,
}

impl Directory {
    /// Loads the agents.
    pub(super) async fn of_agents(client: &Client, company: &str) -> Result<Directory, Failure> {
        let agents = client.get(&format!("/companies/{company}/agents")).await?;
        // Agents are not told who the people are; their ids must do.
        let members = client.get(&format!("/companies/{company}/members")).await.unwrap_or(Json::Null);
        let users: Vec<Json> =
            rows(&members).iter().filter_map(|member| member.get("user").cloned()).collect();
        let people = named(&Json::Array(users));
        Ok(Directory { agents: named(&agents), projects: Vec::new(), people })
    }

    /// Loads the agents and the projects.
    pub(super) async fn of(client: &Client, company: &str) -> Result<Directory, Failure> {
        let projects = client.get(&format!("/companies/{company}/projects")).await?;
        Ok(Directory { projects: named(&projects), ..Directory::of_agents(client, company).await? })
    }

    /// The name of an agent. One that was ended is not listed any more; its id must do.
    pub(super) fn agent(&self, id: &str) -> String {
        name_of(&self.agents, id)
    }

    /// The name of a person, as far as it is known.
    pub(super) fn person(&self, id: &str) -> String {
        let known = self.people.iter().find(|(known, _)| known == id);
        known.map_or_else(|| one_line(id, 40), |(_, name)| name.clone())
    }

    pub(super) fn project(&self, id: &str) -> String {
        name_of(&self.projects, id)
    }

    /// Who is responsible for an issue: an agent, a person, or nobody.
    pub(super) fn assignee(&self, issue: &Json) -> String {
        match (text(issue, "assigneeAgentId"), text(issue, "assigneeUserId")) {
            ("", "") => String::new(),
            ("", user) => format!("person {}", self.person(user)),
            (agent, _) => self.agent(agent),
        }
    }

    /// Who wrote or did something.
    pub(super) fn author(&self, of: &Json) -> String {
        match (text(of, "authorAgentId"), text(of, "authorUserId")) {
            ("", "") => "bugle".to_owned(),
            ("", user) => self.person(user),
            (agent, _) => self.agent(agent),
        }
    }
}

fn named(list: &Json) -> Vec<(String, String)> {
    rows(list).iter().map(|row| (text(row, "id").to_owned(), one_line(text(row, "name"), 40))).collect()
}

fn name_of(names: &[(String, String)], id: &str) -> String {
    match names.iter().find(|(known, _)| known == id) {
        Some((_, name)) => name.clone(),
        None => short(id),
    }
}

/// The beginning of an id.
pub(super) fn short(id: &str) -> String {
    id.get(..SHORT).unwrap_or(id).to_owned()
}

/// The beginnings that tell the ids of a list from each other.
///
/// Ids begin with the time at which they were made: what was made at one moment needs more of them to be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shorts {
    length: usize,
}

impl Shorts {
    /// Of the ids in a field of rows.
    pub(super) fn of(rows: &[Json], key: &str) -> Shorts {
        Shorts::among(rows.iter().map(|row| text(row, key)))
    }

    fn among<'a>(ids: impl Iterator<Item = &'a str>) -> Shorts {
        let mut ids: Vec<&str> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        let alike =
            |one: &str, other: &str| one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        let needed = ids.iter().zip(ids.iter().skip(1)).map(|(one, other)| alike(one, other) + 1).max();
        Shorts { length: needed.unwrap_or(0).max(SHORT) }
    }

    /// As much of an id as is shown.
    pub(super) fn cut(self, id: &str) -> String {
        id.get(..self.length).unwrap_or(id).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_issue_is_an_agents_a_persons_or_nobodys() {
        let directory = Directory {
            agents: vec![("a".into(), "Ada".into())],
            people: vec![("u".into(), "Mia".into())],
            ..Directory::default()
        };
        for (issue, said) in [
            (json!({"assigneeAgentId": "a", "assigneeUserId": null}), "Ada"),
            (json!({"assigneeAgentId": null, "assigneeUserId": "local-board"}), "person local-board"),
            (json!({"assigneeAgentId": "0192f7a0-0000-4000-8000-00000000000a"}), "0192f7a0-0000"),
            (json!({"assigneeAgentId": null, "assigneeUserId": "u"}), "person Mia"),
            (json!({}), ""),
        ] {
            assert_eq!(directory.assignee(&issue), said);
        }
        assert_eq!(directory.author(&json!({})), "bugle");
    }

    #[test]
    fn ids_of_one_moment_are_shown_as_far_as_they_differ_and_no_two_alike() {
        let ids = [
            "01a2025e-0e32-4f3a-8b2c-000000000001",
            "01a2025e-0e32-4f3b-8b2c-000000000002",
            "01a2025e-0e32-4f3b-9b2c-000000000003",
        ];
        for (ids, length) in [(&ids[..0], 13), (&ids[..1], 13), (&ids[..2], 18), (&ids[..], 20)] {
            let rows: Vec<Json> = ids.iter().map(|id| json!({ "id": id })).collect();
            let shorts = Shorts::of(&rows, "id");
            let cut: std::collections::BTreeSet<String> = ids.iter().map(|id| shorts.cut(id)).collect();
            assert_eq!(cut.len(), ids.len());
            assert!(cut.iter().all(|it| it.len() == length), "{cut:?}");
        }
        // One id that stands there several times is one, and what is none is left as it is.
        let rows = [json!({ "id": "01a2025e-0e32-4f3a" }), json!({ "id": "01a2025e-0e32-4f3a" }), json!({})];
        assert_eq!(Shorts::of(&rows, "id").cut("01a2025e-0e32-4f3a"), "01a2025e-0e32");
        assert_eq!(Shorts::of(&rows, "id").cut(""), "");
    }
}
