//! Variables of an environment as they are typed: `NAME=VALUE`, or `NAME=secret:SECRET` for a stored secret.

use serde_json::{Map, Value as Json, json};

use super::secret;
use crate::client::Client;
use crate::failure::Failure;

/// What a value begins with that names a secret.
const SECRET: &str = "secret:";

/// Splits what was typed into names and values.
pub(super) fn split(flag: &str, pairs: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let split = |pair: &String| match pair.split_once('=').filter(|(name, _)| !name.is_empty()) {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Failure::usage("env.invalid", format!("{flag}{pair} is not KEY=VALUE"))
            .hint("for example LEVEL=full, or GITHUB_TOKEN=secret:github for a stored secret")),
    };
    pairs.iter().map(split).collect()
}

/// Makes the bindings of an environment of them; the names of secrets are looked up in the company.
pub(super) async fn bindings(
    client: &Client,
    company: &str,
    pairs: &[(String, String)],
) -> Result<Map<String, Json>, Failure> {
    let mut env = Map::new();
    for (name, value) in pairs {
        let binding = match value.strip_prefix(SECRET) {
            None => json!({ "type": "plain", "value": value }),
            Some(named) => {
                let (named, version) = match named.rsplit_once('@') {
                    Some((named, number)) if number.parse::<u32>().is_ok() => {
                        (named, json!(number.parse::<u32>().ok()))
                    }
                    _ => (named, json!("latest")),
                };
                let found = secret::find(client, company, named).await?;
                json!({ "type": "secret_ref", "secretId": found["id"], "version": version })
            }
        };
        env.insert(name.clone(), binding);
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_needs_a_name() {
        let pairs = |text: &str| split("--env ", &[text.to_owned()]);
        assert_eq!(pairs("A=b=c").unwrap(), [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!(pairs("A=").unwrap(), [("A".to_owned(), String::new())]);
        for text in ["A", "=b", ""] {
            assert_eq!(pairs(text).unwrap_err().code, "env.invalid", "{text}");
        }
    }
}
