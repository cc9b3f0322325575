//! What a request has to show before it may start anything: the headers of three ways to sign.
//!
//! Which bytes are to be signed and which signatures were shown is read here; whether one of them is right is found
//! where the keys are. Old and future requests are refused where their time is signed with them: whoever recorded one
//! cannot send it again later.

use std::time::Duration;

use crate::moment::Moment;
use crate::words;

/// The time that is signed may be off by so much, either way.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// Signatures of one request that are looked at: senders show two while they change their key.
const MOST_SIGNATURES: usize = 8;
/// The longest id of an event.
const LONGEST_ID: usize = 200;

pub const ID: &str = "webhook-id";
pub const TIMESTAMP: &str = "webhook-timestamp";
pub const SIGNATURE: &str = "webhook-signature";
const GITHUB_ID: &str = "x-github-delivery";
const GITHUB_EVENT: &str = "x-github-event";
const GITHUB_SIGNATURE: &str = "x-hub-signature-256";
/// Where a shared secret stands, unless it is said otherwise.
pub const SHARED_HEADER: &str = "x-webhook-secret";

words!(
    /// How a sender proves who it is.
    Scheme {
        /// The convention of standardwebhooks.com: id, time and body are signed.
        Standard = "standard",
        /// `X-Hub-Signature-256`: the body is signed.
        Github = "github",
        /// A secret that stands in a header.
        SharedSecret = "shared_secret",
    }
);

words!(
    /// Why a request was not taken.
    Rejection {
        MissingHeader = "missing_header",
        BadHeader = "bad_header",
        OldTimestamp = "old_timestamp",
        FutureTimestamp = "future_timestamp",
        WrongSignature = "wrong_signature",
        BodyTooLarge = "body_too_large",
        BodyLost = "body_lost",
        /// The id was used for another body.
        IdReused = "id_reused",
        /// The automation is not to be started.
        AutomationPaused = "automation_paused",
        /// The automation was removed, and no other one has its name.
        AutomationRemoved = "automation_removed",
        /// The automation does not take what was sent.
        InputRefused = "input_refused",
    }
);

/// What was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// An HMAC-SHA256 over `prefix` and the body, in base64: one of these.
    Base64 { prefix: String, signatures: Vec<String> },
    /// An HMAC-SHA256 over the body, in hexadecimal digits.
    Hex { signature: String },
    /// The secret itself.
    Plain { secret: String },
}

/// Reads what a request shows. `header` gives a header by its name in small letters, when it is there once.
pub fn read(
    scheme: Scheme,
    shared_header: &str,
    header: &dyn Fn(&str) -> Option<String>,
    now: Moment,
) -> Result<Proof, Rejection> {
    match scheme {
        Scheme::Standard => standard(header, now),
        Scheme::Github => {
            let shown = header(GITHUB_SIGNATURE).ok_or(Rejection::MissingHeader)?;
            let signature = shown.strip_prefix("sha256=").ok_or(Rejection::BadHeader)?;
            Ok(Proof::Hex { signature: signature.to_owned() })
        }
        Scheme::SharedSecret => {
            let shown = header(shared_header).ok_or(Rejection::MissingHeader)?;
            let secret = match shared_header {
                "authorization" => shown.split_once(' ').map_or(shown.as_str(), |(_, token)| token.trim()),
                _ => shown.as_str(),
            };
            Ok(Proof::Plain { secret: secret.to_owned() })
        }
    }
}

fn standard(header: &dyn Fn(&str) -> Option<String>, now: Moment) -> Result<Proof, Rejection> {
    let id = header(ID).ok_or(Rejection::MissingHeader)?;
    let timestamp = header(TIMESTAMP).ok_or(Rejection::MissingHeader)?;
    let shown = header(SIGNATURE).ok_or(Rejection::MissingHeader)?;
    let is_number = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = timestamp.parse::<i64>().ok().filter(|_| is_number).ok_or(Rejection::BadHeader)?;
    let sent_at = Moment::from_micros(seconds.saturating_mul(1_000_000));
    if now.since(sent_at) > TOLERANCE {
        return Err(Rejection::OldTimestamp);
    }
    if sent_at.since(now) > TOLERANCE {
        return Err(Rejection::FutureTimestamp);
    }
    // Signatures of other kinds may stand beside ours.
    let signatures: Vec<String> = shown
        .split_ascii_whitespace()
        .filter_map(|one| one.strip_prefix("v1,"))
        .take(MOST_SIGNATURES)
        .map(str::to_owned)
        .collect();
    if signatures.is_empty() {
        return Err(Rejection::BadHeader);
    }
    Ok(Proof::Base64 { prefix: format!("{id}.{timestamp}."), signatures })
}

/// The id that the sender gave the event, by which it knows it when it sends it again.
pub fn event_id(
    scheme: Scheme,
    header: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, Rejection> {
    let names: &[&str] = match scheme {
        Scheme::Standard => &[ID],
        Scheme::Github => &[GITHUB_ID],
        Scheme::SharedSecret => &[ID, "idempotency-key", "x-gitlab-event-uuid"],
    };
    let Some(id) = names.iter().find_map(|name| header(name)) else { return Ok(None) };
    let is_good = !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic());
    if is_good { Ok(Some(id)) } else { Err(Rejection::BadHeader) }
}

/// The sender only wants to know whether somebody is there.
pub fn is_ping(scheme: Scheme, header: &dyn Fn(&str) -> Option<String>) -> bool {
    scheme == Scheme::Github && header(GITHUB_EVENT).is_some_and(|event| event == "ping")
}

/// Headers that are handed on to a run when nobody named others.
pub const HEADERS: [&str; 6] = ["content-type", "user-agent", ID, GITHUB_EVENT, GITHUB_ID, "x-gitlab-event"];
/// Headers that a trigger may name.
pub const MOST_HEADERS: usize = 20;

/// Says what is wrong with the name of a header that is to be handed on.
pub fn header_flaw(name: &str) -> Option<&'static str> {
    let is_token =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 100 || !name.bytes().all(is_token) {
        return Some("is no name of a header, in small letters");
    }
    let is_proof = [
        "authorization",
        "proxy-authorization",
        "cookie",
        SIGNATURE,
        GITHUB_SIGNATURE,
        "x-hub-signature",
        "x-gitlab-token",
        SHARED_HEADER,
    ];
    is_proof.contains(&name).then_some("holds what proves the sender, which no run is told")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_micros(1_767_268_800_000_000);

    fn with<'a>(headers: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| headers.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn a_standard_request_shows_id_time_and_signatures() {
        let now = "1767268800";
        let good = [(ID, "msg_1"), (TIMESTAMP, now), (SIGNATURE, "v1,YWJj v1a,xx v1,ZGVm")];
        assert_eq!(
            read(Scheme::Standard, "", &with(&good), NOW),
            Ok(Proof::Base64 {
                prefix: "msg_1.1767268800.".to_owned(),
                signatures: vec!["YWJj".to_owned(), "ZGVm".to_owned()]
            })
        );
        for missing in [ID, TIMESTAMP, SIGNATURE] {
            let rest: Vec<(&str, &str)> = good.iter().copied().filter(|(name, _)| *name != missing).collect();
            assert_eq!(
                read(Scheme::Standard, "", &with(&rest), NOW),
                Err(Rejection::MissingHeader),
                "{missing}"
            );
        }
        for (time, signature, refused) in [
            ("1767268500", "v1,YWJj", None),
            ("1767268499", "v1,YWJj", Some(Rejection::OldTimestamp)),
            ("0", "v1,YWJj", Some(Rejection::OldTimestamp)),
            ("1767269100", "v1,YWJj", None),
            ("1767269101", "v1,YWJj", Some(Rejection::FutureTimestamp)),
            ("9223372036854775807", "v1,YWJj", Some(Rejection::FutureTimestamp)),
            ("99999999999999999999", "v1,YWJj", Some(Rejection::BadHeader)),
            ("+1767268800", "v1,YWJj", Some(Rejection::BadHeader)),
            ("-1", "v1,YWJj", Some(Rejection::BadHeader)),
            ("", "v1,YWJj", Some(Rejection::BadHeader)),
            (now, "v1a,YWJj", Some(Rejection::BadHeader)),
            (now, "", Some(Rejection::BadHeader)),
        ] {
            let headers = [(ID, "msg_1"), (TIMESTAMP, time), (SIGNATURE, signature)];
            assert_eq!(read(Scheme::Standard, "", &with(&headers), NOW).err(), refused, "{time} {signature}");
        }
    }

    #[test]
    fn the_other_schemes_show_one_header() {
        let github = [("x-hub-signature-256", "sha256=00ff")];
        let shown = Proof::Hex { signature: "00ff".to_owned() };
        assert_eq!(read(Scheme::Github, "", &with(&github), NOW), Ok(shown));
        let old = [("x-hub-signature-256", "sha1=00ff")];
        assert_eq!(read(Scheme::Github, "", &with(&old), NOW), Err(Rejection::BadHeader));
        let plain = |text: &str| Ok(Proof::Plain { secret: text.to_owned() });
        let shared = [("x-gitlab-token", "s3cret"), ("authorization", "Bearer tok")];
        assert_eq!(read(Scheme::SharedSecret, "x-gitlab-token", &with(&shared), NOW), plain("s3cret"));
        assert_eq!(read(Scheme::SharedSecret, "authorization", &with(&shared), NOW), plain("tok"));
        for scheme in [Scheme::Github, Scheme::SharedSecret] {
            assert_eq!(read(scheme, SHARED_HEADER, &with(&[]), NOW), Err(Rejection::MissingHeader));
        }
    }

    #[test]
    fn an_event_has_the_id_that_its_sender_gave_it() {
        let all = [(ID, "a"), ("x-github-delivery", "b"), ("idempotency-key", "c")];
        for (scheme, headers, id) in [
            (Scheme::Standard, &all[..], Some("a")),
            (Scheme::Github, &all[..], Some("b")),
            (Scheme::Github, &all[..1], None),
            (Scheme::SharedSecret, &all[..], Some("a")),
            (Scheme::SharedSecret, &all[2..], Some("c")),
            (Scheme::SharedSecret, &[], None),
        ] {
            assert_eq!(event_id(scheme, &with(headers)), Ok(id.map(str::to_owned)), "{scheme}");
        }
        for bad in ["", "a b", "ä", &"x".repeat(201)] {
            assert_eq!(event_id(Scheme::Standard, &with(&[(ID, bad)])), Err(Rejection::BadHeader), "{bad}");
        }
        assert!(is_ping(Scheme::Github, &with(&[("x-github-event", "ping")])));
        assert!(!is_ping(Scheme::Github, &with(&[("x-github-event", "push")])));
        assert!(!is_ping(Scheme::Standard, &with(&[("x-github-event", "ping")])));
    }

    #[test]
    fn no_run_is_told_what_proves_a_sender() {
        for name in HEADERS {
            assert_eq!(header_flaw(name), None, "{name}");
        }
        for name in
            ["", "X-Event", "a b", "authorization", "cookie", SIGNATURE, SHARED_HEADER, "x-gitlab-token"]
        {
            assert!(header_flaw(name).is_some(), "{name}");
        }
    }
}
