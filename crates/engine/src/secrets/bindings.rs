//! Environments of agents and projects when they are saved: what they may hold, and which secrets they refer to.
//!
//! People give secrets out. An agent that could bind one would read every secret of its company at its next run, so that
//! it may only keep, or hand on, what it was given itself (spec/heartbeat.md 11.11).

use std::collections::BTreeSet;

use adapters::{Binding, Problem, REDACTED, SecretRef, binding, check_env, check_strictly};
use domain::access::Refusal;
use domain::ids::{AgentId, CompanyId};
use serde_json::{Map, Value as Json, json};
use store::secrets::{self, Owner};
use store::{Tx, agents};

use crate::{EngineError, Inner};

/// An environment that is about to be saved, with where it stands in the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Saved<'a> {
    pub(crate) owner: Owner<'a>,
    pub(crate) company: &'a CompanyId,
    /// `adapterConfig.env` or `env`.
    pub(crate) path: &'a str,
    /// What it was before; `None` for a new one.
    pub(crate) before: Option<&'a Json>,
    pub(crate) env: Option<&'a Json>,
}

/// Looks for mistakes in the environment of a configuration; those that the adapter has named are not named again.
pub(crate) fn problems(path: &str, env: Option<&Json>, known: &[Problem]) -> Vec<Problem> {
    let is_named = known.iter().any(|problem| problem.path.starts_with(path));
    match env.and_then(Json::as_object) {
        Some(env) if !is_named => check_env(path, env),
        Some(_) | None => Vec::new(),
    }
}

impl Inner {
    /// In strict mode: refuses plain values under sensitive names, in what is given and not in what was there before.
    pub(crate) fn refuse_bare_secrets(&self, path: &str, env: Option<&Json>) -> Result<(), EngineError> {
        let given = env.and_then(Json::as_object).filter(|_| self.settings.strict_secrets);
        match given.map(|env| check_strictly(path, env)) {
            Some(found) if !found.is_empty() => Err(EngineError::Invalid(found)),
            Some(_) | None => Ok(()),
        }
    }
}

/// Plain strings are stored as typed bindings (spec/api.md 4.3.1).
pub(crate) fn typed(env: &mut Json) {
    for value in env.as_object_mut().into_iter().flat_map(|env| env.values_mut()) {
        if value.is_string() {
            *value = json!({ "type": "plain", "value": value.take() });
        }
    }
}

/// Puts what is stored in the place of each mark that stands where a stored text was shown as one: whoever reads a
/// configuration, changes it and sends it back changes nothing else.
pub(crate) fn unmask(given: &mut Json, stored: &Json) {
    match (given, stored) {
        (Json::Object(given), Json::Object(stored)) => {
            for (key, value) in given {
                if let Some(stored) = stored.get(key) {
                    unmask(value, stored);
                }
            }
        }
        (Json::String(text), Json::String(stored)) if text == REDACTED => text.clone_from(stored),
        // A binding that was shown as its type, and comes back as a text.
        (given @ Json::String(_), stored @ Json::Object(_))
            if given == REDACTED && stored.get("type").is_some_and(|kind| kind == "plain") =>
        {
            *given = stored.clone();
        }
        _ => {}
    }
}

/// The variables of an environment that refer to secrets.
pub(crate) fn references(env: Option<&Json>) -> Vec<(String, SecretRef)> {
    let bindings = env.and_then(Json::as_object).into_iter().flatten();
    bindings
        .filter_map(|(name, value)| match binding(value) {
            Some(Binding::Secret(reference)) => Some((name.clone(), reference)),
            Some(Binding::Plain(_)) | None => None,
        })
        .collect()
}

/// Notes what an environment refers to, after the row that holds it was written. Refused when a secret is not the
/// company's, or when an agent (`by`) gives out what it was not given itself.
pub(crate) async fn refer(
    tx: &mut Tx<'_>,
    saved: Saved<'_>,
    by: Option<&AgentId>,
) -> Result<(), EngineError> {
    let wanted = references(saved.env);
    if let Some(agent) = by {
        let given = given_to(tx, agent, saved).await?;
        let taken: Vec<String> = wanted
            .iter()
            .filter(|(_, reference)| !given.contains(&reference.secret))
            .map(|(name, _)| format!("{}.{name}", saved.path))
            .collect();
        if !taken.is_empty() {
            return Err(Refusal::SecretBindings(taken).into());
        }
    }
    let mut problems = Vec::new();
    for (name, reference) in &wanted {
        let found = secrets::get(tx, &reference.secret).await?;
        // A foreign one is as good as none: nobody learns what others have.
        let message = match found.filter(|secret| secret.company_id == *saved.company) {
            None => "Secret not found: the company has none of this id".to_owned(),
            Some(secret) => match reference.version {
                Some(version) if version > secret.latest_version => {
                    format!(
                        "Secret version not found: {} has {} versions",
                        secret.name, secret.latest_version
                    )
                }
                Some(_) | None => continue,
            },
        };
        let hint = Some("see which there are: bugle secret list".to_owned());
        problems.push(Problem { path: format!("{}.{name}", saved.path), message, hint });
    }
    if !problems.is_empty() {
        return Err(EngineError::Invalid(problems));
    }
    let rows: Vec<(String, String)> =
        wanted.into_iter().map(|(name, reference)| (name, reference.secret)).collect();
    Ok(secrets::refer(tx, saved.owner, &rows).await?)
}

/// The secrets that an agent may hand on: its own, and those that stood there before.
async fn given_to(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    saved: Saved<'_>,
) -> Result<BTreeSet<String>, EngineError> {
    // Its own row is written by now, with whatever it asks for.
    let own = match saved.owner {
        Owner::Agent(owner) if owner == agent => None,
        Owner::Agent(_) | Owner::Project(_) => {
            agents::get(tx, agent).await?.map(|row| row.adapter_config["env"].clone())
        }
    };
    let there = references(own.as_ref()).into_iter().chain(references(saved.before));
    Ok(there.map(|(_, reference)| reference.secret).collect())
}

/// The environment of a configuration.
pub(crate) fn env_of(config: &Json) -> Option<&Json> {
    config.get("env").filter(|env| env.is_object())
}

/// Lays a project's environment over an agent's: the project wins.
pub(crate) fn overlaid(agent: Option<&Json>, project: Option<&Json>) -> Map<String, Json> {
    let mut env = agent.and_then(Json::as_object).cloned().unwrap_or_default();
    for (name, value) in project.and_then(Json::as_object).into_iter().flatten() {
        env.insert(name.clone(), value.clone());
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0192f7a0-0000-4000-8000-000000000000";

    #[test]
    fn marks_that_come_back_stand_for_what_is_stored() {
        let stored = json!({
            "env": {"TOKEN": {"type": "plain", "value": "kept"}, "OTHER": {"type": "plain", "value": "x"}},
            "headers": {"Authorization": "Bearer y"},
        });
        let mut given = json!({
            "env": {"TOKEN": {"type": "plain", "value": REDACTED}, "NEW": REDACTED, "OTHER": REDACTED},
            "headers": {"Authorization": REDACTED, "X": "1"},
        });
        unmask(&mut given, &stored);
        assert_eq!(
            given,
            json!({
                "env": {
                    "TOKEN": {"type": "plain", "value": "kept"}, "NEW": REDACTED,
                    "OTHER": {"type": "plain", "value": "x"},
                },
                "headers": {"Authorization": "Bearer y", "X": "1"},
            })
        );
    }

    #[test]
    fn the_projects_environment_wins() {
        let (agent, project) = (json!({"A": "1", "B": "1"}), json!({"B": "2", "C": "2"}));
        let merged = Json::Object(overlaid(Some(&agent), Some(&project)));
        assert_eq!(merged, json!({"A": "1", "B": "2", "C": "2"}));
        assert!(overlaid(None, Some(&Json::Null)).is_empty());
    }

    #[test]
    fn only_references_are_references() {
        let env = json!({"A": "x", "B": {"type": "secret_ref", "secretId": ID, "version": 3}});
        let secret = SecretRef { secret: ID.to_owned(), version: Some(3) };
        assert_eq!(references(Some(&env)), [("B".to_owned(), secret)]);
    }

    #[test]
    fn a_mistake_that_the_adapter_named_is_not_named_twice() {
        let env = json!({"1": "x", "API_KEY": "plain"});
        let named = [Problem { path: "adapterConfig.env.1".into(), message: "no".into(), hint: None }];
        assert_eq!(problems("adapterConfig.env", Some(&env), &[]).len(), 1);
        assert_eq!(problems("adapterConfig.env", Some(&env), &named), []);
    }
}
