//! Variables that a program needs to work without a person beside it.

use crate::cli::config::ProgramSettings;

/// Returns those of `defaults` that the agent's own `env` does not name, in the shape that a command takes.
pub(crate) fn unattended<'a>(
    common: &ProgramSettings<'_>,
    defaults: &[(&'a str, &str)],
) -> Vec<(&'a str, String)> {
    let missing = defaults.iter().filter(|(name, _)| !common.env.contains_key(*name));
    missing.map(|(name, value)| (*name, (*value).to_owned())).collect()
}
