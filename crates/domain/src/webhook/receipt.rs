//! What becomes of a request that proved who sent it.
//!
//! Senders repeat what they got no answer to, and they do so at the same moment and days later. A repeated event starts
//! nothing, whatever else has changed meanwhile; one id never means two bodies. Where a signature covers the body alone,
//! whoever recorded a request could send it again under another id: there the body tells, too.

use std::time::Duration;

use super::proof::Scheme;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier<'a> {
    pub id: &'a str,
    pub digest: &'a str,
    pub at: Moment,
}

/// What tells an event from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBy {
    /// The id that its sender gave it: it is signed, or whoever shows the secret says it.
    Id,
    /// The body alone, for a while: its sender gave it no id, and may mean the same thing once more.
    BodyForAWhile,
    /// Its id, and its body for as long as receipts are kept: the body is signed, and the id beside it is not.
    IdAndBody,
}

impl KnownBy {
    pub fn of(scheme: Scheme, has_id: bool) -> KnownBy {
        match (scheme, has_id) {
            // An id that was left out proves no more than one that was changed.
            (Scheme::Github, _) => KnownBy::IdAndBody,
            (Scheme::Standard | Scheme::SharedSecret, true) => KnownBy::Id,
            (Scheme::Standard | Scheme::SharedSecret, false) => KnownBy::BodyForAWhile,
        }
    }
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
    pub known_by: KnownBy,
    pub digest: &'a str,
    /// The last one of the same id, where it has one.
    pub by_id: Option<Earlier<'a>>,
    /// The last one of the same body.
    pub by_body: Option<Earlier<'a>>,
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
    if let Some(earlier) = view.by_id {
        let of = earlier.id.to_owned();
        let is_same = earlier.digest == view.digest;
        return if is_same { Decision::Duplicate { of } } else { Decision::Conflict { of } };
    }
    let is_known = |earlier: &Earlier<'_>| match view.known_by {
        KnownBy::Id => false,
        KnownBy::BodyForAWhile => view.now.since(earlier.at) < WINDOW,
        KnownBy::IdAndBody => true,
    };
    if let Some(earlier) = view.by_body.filter(is_known) {
        return Decision::Duplicate { of: earlier.id.to_owned() };
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

    fn earlier(digest: &str, seconds_ago: u64) -> Option<Earlier<'_>> {
        Some(Earlier { id: "first", digest, at: NOW.minus(Duration::from_secs(seconds_ago)) })
    }

    const VIEW: ReceiptView<'static> = ReceiptView {
        known_by: KnownBy::Id,
        digest: "d",
        by_id: None,
        by_body: None,
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
        use KnownBy::{BodyForAWhile, Id, IdAndBody};
        for (name, known_by, by_id, by_body, decision) in [
            ("the first", Id, None, None, Decision::Start),
            ("the same again", Id, same, same, Decision::Duplicate { of: of() }),
            ("the same, long ago", Id, long_ago, long_ago, Decision::Duplicate { of: of() }),
            ("the same id, another body", Id, other, None, Decision::Conflict { of: of() }),
            ("another id, the same body", Id, None, same, Decision::Start),
            ("no id, the same body", BodyForAWhile, None, just, Decision::Duplicate { of: of() }),
            ("no id, the window is over", BodyForAWhile, None, over, Decision::Start),
            ("the id is not signed: another one", IdAndBody, None, same, Decision::Duplicate { of: of() }),
            ("and that long ago", IdAndBody, None, long_ago, Decision::Duplicate { of: of() }),
            ("and the same one", IdAndBody, same, same, Decision::Duplicate { of: of() }),
            ("and of another body", IdAndBody, other, None, Decision::Conflict { of: of() }),
            ("and both are new", IdAndBody, None, None, Decision::Start),
        ] {
            let view = ReceiptView { known_by, by_id, by_body, ..VIEW };
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
    fn an_id_tells_an_event_only_where_it_is_proven() {
        for (scheme, with_id, without) in [
            (Scheme::Standard, KnownBy::Id, KnownBy::BodyForAWhile),
            (Scheme::SharedSecret, KnownBy::Id, KnownBy::BodyForAWhile),
            (Scheme::Github, KnownBy::IdAndBody, KnownBy::IdAndBody),
        ] {
            assert_eq!(
                (KnownBy::of(scheme, true), KnownBy::of(scheme, false)),
                (with_id, without),
                "{scheme}"
            );
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
