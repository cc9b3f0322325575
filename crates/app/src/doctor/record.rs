//! Whether the record of decisions ends where its head says: else nothing can be decided, or something was removed.
//!
//! The rest of the chain is not walked here; `bugle audit verify` does that.

use store::audit::Break;

use super::{Finding, Level, listening};
use crate::config::Config;
use crate::instance::Holder;
use crate::store_look;

const CHECK: &str = "decisions";

/// Asks the server that runs, else looks into the store. `None` where neither can tell.
pub(super) async fn look(config: &Config, holder: Option<&Holder>) -> Option<Finding> {
    let broken = match holder {
        None => store_look::ending(config).await?.err().map(|link| (link.seq, link.why)),
        Some(holder) => {
            let health = listening::health(holder.listen?).await?;
            // Without a version it is as much of the health as strangers hear.
            health.get("version")?;
            let broken = &health["auditBroken"];
            let why = broken["why"].as_str().map(|word| Break::parse(word).unwrap_or(Break::Changed));
            why.map(|why| (broken["seq"].as_i64().unwrap_or_default(), why))
        }
    };
    Some(finding(broken))
}

fn finding(broken: Option<(i64, Break)>) -> Finding {
    let Some((number, why)) = broken else {
        return Finding::ok(CHECK, "their record ends where its head says");
    };
    let message = format!("their record is broken at number {number}: {}", why.meaning());
    let fix = "see what is wrong: bugle audit verify; then stop the server, and put the last good backup in the place of its store";
    // A server starts all the same: what runs goes on, and everything can be looked at.
    Finding { level: Level::Fail, ..Finding::warn(CHECK, "audit.broken", message, fix) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_a_head_is_a_failure_that_stops_no_start() {
        let found = finding(Some((6, Break::NoHead)));
        assert_eq!((found.level, found.code, found.stops_up), (Level::Fail, "audit.broken", false));
        assert!(found.message.contains("number 6") && found.message.contains("no head"), "{found:?}");
        assert!(found.fix.is_some_and(|fix| fix.contains("bugle audit verify")));
        assert_eq!(finding(None).code, "ok");
    }
}
