//! Whether a gateway is there, and lets this server in: asked when an environment is tested, and nothing is begun.
//!
//! It comes without its device, so that no gateway is made to ask somebody about it.

use std::time::{Duration, Instant};

use super::talk::{ADMIN, Talk, Visitor};
use super::wire::Place;
use super::words::{Auth, Line};
use crate::adapter::{Check, Level};

/// All of it has to be done within this time.
const LIMIT: Duration = Duration::from_secs(3);

/// Asks the gateway.
pub(super) fn probe(place: &Place, headers: &[(String, String)], auth: &Auth) -> Check {
    let until = Instant::now() + LIMIT;
    let mut talk = match Talk::open(place, headers, until, silent) {
        Ok(talk) => talk,
        Err(fault) => {
            return Check::new(
                "openclaw_gateway_probe_error",
                Level::Warn,
                "no connection to the gateway came about",
            )
            .detail(fault.words())
            .hint("check the address, and that the gateway runs and can be reached from this machine");
        }
    };
    let nonce = match talk.challenge(until) {
        Ok(nonce) => nonce,
        Err(fault) => {
            return Check::new(
                "openclaw_gateway_probe_failed",
                Level::Warn,
                "something answers at the address, but not as a gateway does",
            )
            .detail(fault.words())
            .hint("check that the address is that of an OpenClaw gateway");
        }
    };
    let visitor = Visitor { device: None, family: None, scopes: &[ADMIN] };
    let entered = talk.enter(&nonce, auth, visitor, until);
    talk.close();
    match entered {
        Ok(()) => Check::new("openclaw_gateway_probe_ok", Level::Info, "the gateway lets this server in")
            .detail(place.shown()),
        Err(fault) => Check::new(
            "openclaw_gateway_probe_challenge_only",
            Level::Warn,
            "the gateway is there, and does not let this server in",
        )
        .detail(fault.words())
        .hint("check authToken or password; a gateway that knows devices only says this too, and may still let a run in"),
    }
}

fn silent(_: &Line) {}
