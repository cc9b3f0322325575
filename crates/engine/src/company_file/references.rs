//! Secrets in a company file: by the name of the secret, never by a value; and what of a thing may be shown.
//!
//! In a file a variable of an environment is a text or `{ secret = "NAME" }`. In the store it is typed, with the id of the
//! secret. What the API hides of a configuration a file hides too, in the same way.

use adapters::{Binding, REDACTED, binding, redacted};
use domain::company_file::{Entry, Mistake, Section};
use domain::webhook::place;
use serde_json::{Map, Value as Json, json};
use store::secrets::Secret;

/// What ends the name of a setting that refers to a secret.
const REFERENCE: &str = "SecretRef";

/// One binding as a file says it.
fn to_file(value: &Json, secrets: &[Secret]) -> Json {
    match binding(value) {
        Some(Binding::Plain(text)) => Json::from(text),
        Some(Binding::Secret(reference)) => {
            let Some(secret) = secrets.iter().find(|secret| secret.id == reference.secret) else {
                return value.clone();
            };
            match reference.version {
                None => json!({ "secret": secret.name }),
                Some(version) => json!({ "secret": secret.name, "version": version }),
            }
        }
        None => value.clone(),
    }
}

/// An environment as a file says it.
pub(super) fn env_to_file(env: &Json, secrets: &[Secret]) -> Json {
    match env.as_object() {
        None => env.clone(),
        Some(env) => {
            Json::Object(env.iter().map(|(name, value)| (name.clone(), to_file(value, secrets))).collect())
        }
    }
}

/// The settings of a machine as a file says them.
pub(super) fn settings_to_file(config: &Json, secrets: &[Secret]) -> Json {
    let Some(config) = config.as_object() else { return config.clone() };
    let said = config.iter().map(|(key, value)| {
        let value = if key.ends_with(REFERENCE) { to_file(value, secrets) } else { value.clone() };
        (key.clone(), value)
    });
    Json::Object(said.collect())
}

/// One binding as it is stored.
fn to_store(path: &str, value: &Json, secrets: &[Secret], found: &mut Vec<Mistake>) -> Json {
    let hint = "write a text, or { secret = \"NAME\" }";
    let Some(fields) = value.as_object() else {
        if !value.is_string() {
            found.push(Mistake::new(path, "is neither a text nor a secret", hint));
        }
        return value.clone();
    };
    if let Some(Binding::Plain(text)) = binding(value) {
        return Json::from(text);
    }
    let known = fields.keys().all(|key| key == "secret" || key == "version");
    let version = fields.get("version").filter(|version| **version != "latest");
    let number = version.and_then(Json::as_i64).filter(|number| *number >= 1);
    let (Some(name), true, true) =
        (fields.get("secret").and_then(Json::as_str), known, version.is_some() == number.is_some())
    else {
        found.push(Mistake::new(path, "is neither a text nor a secret", hint));
        return value.clone();
    };
    let Some(secret) = secrets.iter().find(|secret| secret.name == name.trim()) else {
        let hint = format!("store it first: bugle secret set '{name}'");
        found.push(Mistake::new(path, format!("the company has no secret `{name}`"), hint));
        return value.clone();
    };
    match number {
        Some(number) if number > secret.latest_version => {
            let message = format!("`{name}` has {} versions", secret.latest_version);
            found.push(Mistake::new(path, message, "leave the version out for the latest"));
            value.clone()
        }
        Some(number) => json!({ "type": "secret_ref", "secretId": secret.id, "version": number }),
        None => json!({ "type": "secret_ref", "secretId": secret.id, "version": "latest" }),
    }
}

/// An environment as it is stored.
pub(super) fn env_to_store(path: &str, env: &Json, secrets: &[Secret], found: &mut Vec<Mistake>) -> Json {
    let Some(env) = env.as_object() else { return env.clone() };
    let stored = env
        .iter()
        .map(|(name, value)| (name.clone(), to_store(&format!("{path}.{name}"), value, secrets, found)));
    Json::Object(stored.collect())
}

/// The settings of a machine as they are stored.
pub(super) fn settings_to_store(
    path: &str,
    config: &Map<String, Json>,
    secrets: &[Secret],
    found: &mut Vec<Mistake>,
) -> Map<String, Json> {
    let stored = config.iter().map(|(key, value)| {
        let value = if key.ends_with(REFERENCE) {
            to_store(&format!("{path}.{key}"), value, secrets, found)
        } else {
            value.clone()
        };
        (key.clone(), value)
    });
    stored.collect()
}

/// An environment of which the values that are stored already are marks: nobody has to be told them once more, and the
/// strict mode is about new ones.
pub(super) fn marked_env(env: &Json, stored: Option<&Json>) -> Json {
    let Some(env) = env.as_object() else { return env.clone() };
    let marked = env.iter().map(|(name, value)| {
        let there = stored.and_then(|stored| stored.get(name));
        let is_kept = value.is_string() && there.is_some_and(|there| to_file(there, &[]) == *value);
        let hidden = is_kept && adapters::is_secret_name(name);
        (name.clone(), if hidden { Json::from(REDACTED) } else { value.clone() })
    });
    Json::Object(marked.collect())
}

/// An entry with marks for what nobody is to read.
pub(super) fn hidden(entry: Entry) -> Entry {
    let mut shown = entry.fields.clone();
    if let (Section::Webhooks, Some(Json::String(url))) = (entry.section, shown.get_mut("url")) {
        *url = place::shown(url);
    }
    for (name, value) in &mut shown {
        match (name.as_str(), value) {
            (
                "adapterConfig"
                | "runtimeConfig"
                | "metadata"
                | "config"
                | "env"
                | "executionWorkspacePolicy",
                value,
            ) => {
                *value = shown_settings(name, value.take());
            }
            ("workspaces", Json::Object(workspaces)) => {
                for workspace in workspaces.values_mut().filter_map(Json::as_object_mut) {
                    for name in ["metadata", "runtimeConfig"] {
                        if let Some(value) = workspace.get_mut(name) {
                            *value = shown_settings(name, value.take());
                        }
                    }
                }
            }
            _ => {}
        }
    }
    entry.showing(shown)
}

fn shown_settings(name: &str, value: Json) -> Json {
    let mut whole = json!({ name: value });
    type_references(name, &mut whole[name], true);
    let mut whole = redacted(whole);
    type_references(name, &mut whole[name], false);
    whole[name].take()
}

/// Says of each reference that it is one, or takes that back: what looks for values to hide leaves references alone.
fn type_references(name: &str, value: &mut Json, says_so: bool) {
    let is_env = name == "env";
    for (key, value) in value.as_object_mut().into_iter().flatten() {
        if is_env || key.ends_with(REFERENCE) {
            let is_reference = value.get("secret").is_some_and(Json::is_string);
            if let Some(fields) = value.as_object_mut().filter(|_| is_reference) {
                if says_so {
                    fields.insert("type".to_owned(), Json::from("secret_ref"));
                } else {
                    fields.shift_remove("type");
                }
            }
        } else if key == "env" {
            type_references("env", value, says_so);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::company_file::Section;
    use domain::ids::CompanyId;
    use domain::moment::Moment;

    use super::*;

    const ID: &str = "0192f7a0-0000-4000-8000-000000000000";

    fn secrets() -> Vec<Secret> {
        vec![Secret {
            id: ID.to_owned(),
            company_id: CompanyId::from("c"),
            name: "github".to_owned(),
            provider: "local_encrypted".to_owned(),
            external_ref: None,
            latest_version: 3,
            description: None,
            created_by_agent_id: None,
            created_by_user_id: None,
            created_at: Moment::from_micros(0),
            updated_at: Moment::from_micros(0),
        }]
    }

    #[test]
    fn a_secret_is_its_name_in_a_file_and_its_id_in_the_store() {
        let stored = json!({
            "A": {"type": "plain", "value": "1"},
            "B": {"type": "secret_ref", "secretId": ID, "version": "latest"},
            "C": {"type": "secret_ref", "secretId": ID, "version": 2},
        });
        let file = json!({"A": "1", "B": {"secret": "github"}, "C": {"secret": "github", "version": 2}});
        assert_eq!(env_to_file(&stored, &secrets()), file);
        let mut found = Vec::new();
        let back = env_to_store("env", &file, &secrets(), &mut found);
        assert_eq!((&back["B"], &back["C"], &back["A"]), (&stored["B"], &stored["C"], &json!("1")));
        assert_eq!(found, []);
        assert_eq!(env_to_file(&back, &secrets()), file);
    }

    #[test]
    fn what_is_no_binding_is_named_with_its_place() {
        let env = json!({
            "A": 1, "B": {"secret": "gone"}, "C": {"secret": "github", "version": 4}, "D": {"secret": "github", "x": 1},
            "E": {"type": "secret_ref", "secretId": ID}, "F": {"secret": "github", "version": "new"},
        });
        let mut found = Vec::new();
        env_to_store("agents[0].adapterConfig.env", &env, &secrets(), &mut found);
        let told: Vec<(&str, &str)> = found
            .iter()
            .map(|it| (it.path.rsplit('.').next().unwrap_or_default(), it.message.as_str()))
            .collect();
        let neither = "is neither a text nor a secret";
        let expected = [
            ("A", neither),
            ("B", "the company has no secret `gone`"),
            ("C", "`github` has 3 versions"),
            ("D", neither),
            ("E", neither),
            ("F", neither),
        ];
        assert_eq!(told, expected);
        assert_eq!(found[0].path, "agents[0].adapterConfig.env.A");
    }

    #[test]
    fn a_file_hides_what_the_api_hides_and_shows_references() {
        let fields = json!({
            "name": "Ada", "adapterType": "http",
            "adapterConfig": {
                "env": {"API_KEY": "k", "TOKEN": {"secret": "github"}, "REGION": "eu"},
                "headers": {"Authorization": "Bearer x", "X": "1"}, "secret": {"secret": "not a reference"},
            },
            "metadata": {"password": "p"},
        });
        let Json::Object(fields) = fields else { panic!("no object") };
        let shown = hidden(Entry::new(Section::Agents, None, fields)).shown;
        assert_eq!(
            shown["adapterConfig"],
            json!({
                "env": {"API_KEY": REDACTED, "TOKEN": {"secret": "github"}, "REGION": "eu"},
                "headers": {"Authorization": REDACTED, "X": "1"}, "secret": REDACTED,
            })
        );
        assert_eq!(shown["metadata"], json!({"password": REDACTED}));
        let config = json!({"host": "box", "privateKeySecretRef": {"secret": "github"}, "privateKey": "x"});
        let mut fields = Map::new();
        fields.insert("config".to_owned(), config);
        let shown = hidden(Entry::new(Section::Environments, None, fields)).shown;
        let expected =
            json!({"host": "box", "privateKeySecretRef": {"secret": "github"}, "privateKey": REDACTED});
        assert_eq!(shown["config"], expected);
        let mut fields = Map::new();
        fields
            .insert("env".to_owned(), json!({"API_KEY": {"secret": "github"}, "DB_PASSWORD": "p", "A": "1"}));
        let shown = hidden(Entry::new(Section::Projects, None, fields)).shown;
        assert_eq!(shown["env"], json!({"API_KEY": {"secret": "github"}, "DB_PASSWORD": REDACTED, "A": "1"}));
    }

    #[test]
    fn what_is_kept_is_not_given_once_more() {
        let stored =
            json!({"API_KEY": {"type": "plain", "value": "k"}, "A": {"type": "plain", "value": "1"}});
        let wanted = json!({"API_KEY": "k", "A": "1", "TOKEN": "new"});
        assert_eq!(
            marked_env(&wanted, Some(&stored)),
            json!({"API_KEY": REDACTED, "A": "1", "TOKEN": "new"})
        );
        assert_eq!(marked_env(&wanted, None), wanted);
    }
}
