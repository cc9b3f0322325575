//! The names behind ids: agents and projects of a company, for lists that mention many of them.

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
}
