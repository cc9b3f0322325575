//! The key that secrets are sealed with: whether it is there, and nobody else's business.

use engine::{KEY_FILE, VaultError, look_at_key};

use super::Finding;
use crate::config::Config;

const CHECK: &str = "secrets key";

/// Looks at the key file. A server starts without it; runs that need a secret do not.
pub(super) fn look(config: &Config) -> Finding {
    let file = config.secrets.key_file.clone().unwrap_or_else(|| config.data_dir.join(KEY_FILE));
    let shown = file.display();
    let (code, error, fix) = match look_at_key(&file) {
        Ok(Some(id)) => return Finding::ok(CHECK, format!("{shown} (key {id})")),
        Ok(None) if config.secrets.key_file.is_none() => {
            return Finding::ok(CHECK, format!("{shown} (will be made with the first secret)"));
        }
        Ok(None) => (
            "secrets_key.missing",
            format!("{shown} is not there"),
            "put the key there; if there never was a secret, it is made with the first one".to_owned(),
        ),
        Err(error @ VaultError::TooOpen { .. }) => {
            ("secrets_key.open", error.to_string(), format!("chmod 600 '{shown}'"))
        }
        Err(error) => (
            "secrets_key.unusable",
            error.to_string(),
            "put the right key there; a lost key cannot be made again: store the secrets anew".to_owned(),
        ),
    };
    Finding::warn(CHECK, code, error, fix)
}
