//! Which agents a text calls: `@name` and `[text](agent://id)`.
//!
//! A token is the whole name of an agent, whatever its case, so that a name with a space is only called by its link.
//! Who is asked for are the agents of the company: an id of anybody else calls nobody.

use crate::ids::AgentId;

/// An agent of the company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name<'a> {
    pub id: &'a AgentId,
    pub name: &'a str,
}

/// The agents that `text` calls, each once, in the order of the text.
pub fn mentioned(text: &str, agents: &[Name<'_>]) -> Vec<AgentId> {
    let mut calls: Vec<(usize, Call<'_>)> = tokens(text).chain(links(text)).collect();
    calls.sort_by_key(|(at, _)| *at);
    let mut found: Vec<AgentId> = Vec::new();
    for (_, call) in calls {
        for agent in agents.iter().filter(|agent| call.means(agent)) {
            if !found.contains(agent.id) {
                found.push(agent.id.clone());
            }
        }
    }
    found
}

enum Call<'a> {
    Name(&'a str),
    Id(&'a str),
}

impl Call<'_> {
    fn means(&self, agent: &Name<'_>) -> bool {
        match self {
            Call::Name(name) => name.to_lowercase() == agent.name.trim().to_lowercase(),
            Call::Id(id) => id.eq_ignore_ascii_case(agent.id.as_str()),
        }
    }
}

/// `@name` where no word precedes the sign, up to white space or a mark that ends a sentence.
fn tokens(text: &str) -> impl Iterator<Item = (usize, Call<'_>)> {
    text.match_indices('@').filter_map(move |(at, _)| {
        let follows_word =
            text[..at].chars().next_back().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        let rest = &text[at + 1..];
        let end = rest.find(|c: char| c.is_whitespace() || "@,!?.:;()[]".contains(c)).unwrap_or(rest.len());
        (!follows_word).then(|| (at, Call::Name(&rest[..end])))
    })
}

/// The target of a Markdown link, without query and fragment.
fn links(text: &str) -> impl Iterator<Item = (usize, Call<'_>)> {
    const OPENS: &str = "](agent://";
    text.match_indices(OPENS).filter_map(move |(at, _)| {
        text[..at].rfind('[')?;
        let target = &text[at + OPENS.len()..];
        let target = &target[..target.find(')')?];
        let end = target.find(|c: char| c.is_whitespace() || "?#/".contains(c)).unwrap_or(target.len());
        Some((at, Call::Id(&target[..end])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_called_by_name_or_by_link() {
        let ids: Vec<AgentId> = ["a-1", "b-2", "c-3", "d-4"].iter().map(|id| (*id).into()).collect();
        let names = ["Qa", "dev-ops", "Product Owner", "Zoë"];
        let agents: Vec<Name<'_>> = ids.iter().zip(names).map(|(id, name)| Name { id, name }).collect();
        for (text, expected) in [
            ("", vec![]),
            ("no one", vec![]),
            ("@qa please", vec!["a-1"]),
            ("ask @QA.", vec!["a-1"]),
            ("(@qa) [@dev-ops]", vec!["a-1", "b-2"]),
            ("@dev-ops, @qa!", vec!["b-2", "a-1"]),
            ("@qa @qa", vec!["a-1"]),
            ("@zoë", vec!["d-4"]),
            ("mail qa@dev-ops.org", vec![]),
            ("x_@qa", vec![]),
            ("é@qa", vec!["a-1"]),
            ("@qateam", vec![]),
            ("@ qa", vec![]),
            ("@@qa", vec!["a-1"]),
            ("@Product Owner", vec![]),
            ("[@Product Owner](agent://c-3)", vec!["c-3"]),
            ("[x](agent://C-3?via=text) and [y](agent://b-2#top)", vec!["c-3", "b-2"]),
            ("[x](agent://c-3/runs)", vec!["c-3"]),
            ("[x](agent://)", vec![]),
            ("[x](agent://c-3", vec![]),
            ("](agent://c-3)", vec![]),
            ("[x](agent://of-another-company)", vec![]),
            ("[x](agent://b-2) @qa", vec!["b-2", "a-1"]),
        ] {
            let found = mentioned(text, &agents);
            let found: Vec<&str> = found.iter().map(AgentId::as_str).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
