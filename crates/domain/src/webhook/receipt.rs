//! What becomes of a request that proved who sent it.
//!
//! Senders repeat what they got no answer to, and they do so at the same moment and days later. A repeated event starts
//! nothing, whatever else has changed meanwhile; one id never means two bodies.

use std::time::Duration;

use crate::moment::Moment;
use crate::words;

/// A body that came before without an id is the same event for so long.
pub const WINDOW: Duration = Duration::from_secs(5 * 60);

words!(
    /// How a request was taken.
    ReceiptStatus {
        /// It was taken in, and starts nothing.
        Received = "received",
        /// It started a run.
        Accepted = "accepted",
        /// It was refused.
        Rejected = "rejected",
        /// It came before.
        Duplicate = "duplicate",
        /// Its trigger is turned off.
        Disabled = "disabled",
        /// The run could not be started.
        Failed = "failed",
    }
);

/// A request that was taken before, under the same id or with the same body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    pub id: String,
    pub digest: String,
    pub at: Moment,
}

/// How the automation of a trigger stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// It takes runs.
    Open,
    /// It takes none at present.
    Closed,
    /// It was removed, and no other one has its name.
    Removed,
}

/// What the decision looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptView<'a> {
    /// The sender gave it an id.
    pub has_id: bool,
    pub digest: &'a str,
    /// The last one of the same id; without an id, of the same body.
    pub earlier: Option<&'a Earlier>,
    pub is_ping: bool,
    pub is_enabled: bool,
    pub target: Target,
    pub now: Moment,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It starts a run.
    Start,
    /// It is noted, and starts nothing.
    Note,
    /// The one that came before is the answer.
    Duplicate {
        of: String,
    },
    /// The id was used for another body.
    Conflict {
        of: String,
    },
    Disabled,
    /// The automation takes no runs at present.
    Closed,
    /// There is no automation to start.
    Removed,
}

/// Decides about a request whose proof was right.
pub fn decide(view: &ReceiptView<'_>) -> Decision {
    if let Some(earlier) = view.earlier {
        let is_same = earlier.digest == view.digest;
        let of = earlier.id.clone();
        if view.has_id {
            return if is_same { Decision::Duplicate { of } } else { Decision::Conflict { of } };
        }
        if is_same && view.now.since(earlier.at) < WINDOW {
            return Decision::Duplicate { of };
        }
    }
    match view {
        ReceiptView { is_enabled: false, .. } => Decision::Disabled,
        ReceiptView { is_ping: true, .. } => Decision::Note,
        ReceiptView { target: Target::Removed, .. } => Decision::Removed,
        ReceiptView { target: Target::Closed, .. } => Decision::Closed,
        ReceiptView { target: Target::Open, .. } => Decision::Start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_micros(1_767_268_800_000_000);

    fn earlier(digest: &str, seconds_ago: u64) -> Earlier {
        Earlier {
            id: "first".to_owned(),
            digest: digest.to_owned(),
            at: NOW.minus(Duration::from_secs(seconds_ago)),
        }
    }

    const VIEW: ReceiptView<'static> = ReceiptView {
        has_id: true,
        digest: "d",
        earlier: None,
        is_ping: false,
        is_enabled: true,
        target: Target::Open,
        now: NOW,
    };

    #[test]
    fn what_came_before_starts_nothing() {
        let of = || "first".to_owned();
        let (same, other, long_ago) = (earlier("d", 1), earlier("e", 1), earlier("d", 9_999_999));
        let (just, over) = (earlier("d", 299), earlier("d", 300));
        for (name, has_id, before, decision) in [
            ("the first", true, None, Decision::Start),
            ("the same again", true, Some(&same), Decision::Duplicate { of: of() }),
            ("the same, long ago", true, Some(&long_ago), Decision::Duplicate { of: of() }),
            ("the same id, another body", true, Some(&other), Decision::Conflict { of: of() }),
            ("no id, the same body", false, Some(&just), Decision::Duplicate { of: of() }),
            ("no id, the window is over", false, Some(&over), Decision::Start),
        ] {
            let view = ReceiptView { has_id, earlier: before, ..VIEW };
            assert_eq!(decide(&view), decision, "{name}");
            // Also where nothing would be started any more.
            for target in [Target::Closed, Target::Removed] {
                let closed = ReceiptView { target, is_enabled: false, ..view };
                let expected =
                    if decision == Decision::Start { Decision::Disabled } else { decision.clone() };
                assert_eq!(decide(&closed), expected, "{name}, {target:?}");
            }
        }
    }

    #[test]
    fn a_trigger_that_is_off_comes_before_a_ping_and_a_ping_before_a_pause() {
        assert_eq!(decide(&ReceiptView { is_enabled: false, is_ping: true, ..VIEW }), Decision::Disabled);
        for (target, decision) in [(Target::Closed, Decision::Closed), (Target::Removed, Decision::Removed)] {
            assert_eq!(decide(&ReceiptView { is_ping: true, target, ..VIEW }), Decision::Note);
            assert_eq!(decide(&ReceiptView { target, ..VIEW }), decision);
        }
    }
}
