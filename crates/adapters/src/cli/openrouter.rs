//! Whether a program buys its tokens from OpenRouter, as far as the agent's environment shows (spec/heartbeat.md 9.8).

use crate::env::Declared;

/// Where programs are told the address of their provider; the first that is set is asked.
const ADDRESSES: [&str; 3] = ["OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_BASE_URL"];

/// The one who is paid then.
pub(crate) const BILLER: &str = "openrouter";

/// A key of the router is there, or its address.
pub(crate) fn is_asked(env: &Declared) -> bool {
    let set = |name: &str| env.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let address = ADDRESSES.into_iter().find_map(set);
    set("OPENROUTER_API_KEY").is_some() || address.is_some_and(|url| url.contains("openrouter.ai"))
}
