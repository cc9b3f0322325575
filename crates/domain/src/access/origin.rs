//! Whether a change that a browser asks for comes from one of our own pages (spec/api.md 2.4).
//!
//! A browser sends its session with every request, whichever page made it; a key is only sent by who has it. So only
//! sessions are asked.

use super::{Actor, Board, Proof, Refusal};

/// What a request says about where it comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    pub origin: Option<&'a str>,
    pub referer: Option<&'a str>,
    pub host: Option<&'a str>,
    pub forwarded_host: Option<&'a str>,
}

const DEVELOPMENT: [&str; 2] = ["localhost:3100", "127.0.0.1:3100"];

/// Asks of a request that changes something. `public_url` is the address people use, where one is configured.
pub fn browser(actor: &Actor, headers: Headers<'_>, public_url: Option<&str>) -> Result<(), Refusal> {
    let Actor::Board(Board { proof: Proof::Session, .. }) = actor else { return Ok(()) };
    // An origin that is there counts, also when it is `null`: the referer is no second chance.
    let from = headers.origin.or(headers.referer).and_then(origin_of).ok_or(Refusal::UntrustedOrigin)?;
    let ours = headers
        .forwarded_host
        .and_then(|hosts| hosts.split(',').map(str::trim).find(|host| !host.is_empty()))
        .or(headers.host);
    let is_trusted = ours.is_some_and(|host| from.host.eq_ignore_ascii_case(host))
        || public_url.and_then(origin_of).is_some_and(|public| public.is(&from))
        || (from.scheme == "http" && DEVELOPMENT.iter().any(|host| from.host.eq_ignore_ascii_case(host)));
    if is_trusted { Ok(()) } else { Err(Refusal::UntrustedOrigin) }
}

struct Origin<'a> {
    scheme: &'static str,
    /// With the port, if it is named.
    host: &'a str,
}

impl Origin<'_> {
    fn is(&self, other: &Origin<'_>) -> bool {
        self.scheme == other.scheme && self.host.eq_ignore_ascii_case(other.host)
    }
}

fn origin_of(url: &str) -> Option<Origin<'_>> {
    let (scheme, rest) = url.trim().split_once("://")?;
    let scheme = ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known))?;
    let host = rest.split(['/', '?', '#', '\\']).next().filter(|host| !host.is_empty())?;
    // Whoever hides the host behind a user name means us no good.
    (!host.contains('@')).then_some(())?;
    let default = if scheme == "https" { ":443" } else { ":80" };
    Some(Origin { scheme, host: host.strip_suffix(default).unwrap_or(host) })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{agent, local, member, person};
    use super::super::{MemberRole, MembershipStatus};
    use super::*;
    use crate::agent::Role;

    fn from_page(origin: Option<&str>, referer: Option<&str>, forwarded: Option<&str>) -> bool {
        let headers =
            Headers { origin, referer, host: Some("bugle.example:8080"), forwarded_host: forwarded };
        browser(&member(MemberRole::Owner), headers, Some("https://Public.example/app")).is_ok()
    }

    #[test]
    fn a_browser_changes_things_from_our_pages_only() {
        for (origin, trusted) in [
            ("http://bugle.example:8080", true),
            ("https://BUGLE.example:8080", true),
            ("http://bugle.example", false),
            ("http://bugle.example:8081", false),
            ("https://public.example", true),
            ("https://public.example:443", true),
            ("http://public.example", false),
            ("http://localhost:3100", true),
            ("http://127.0.0.1:3100", true),
            ("https://localhost:3100", false),
            ("http://localhost:3101", false),
            ("http://bugle.example:8080.evil.example", false),
            ("http://bugle.example:8080@evil.example", false),
            ("http://evil.example/bugle.example:8080", false),
            ("ftp://bugle.example:8080", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(from_page(Some(origin), None, None), trusted, "{origin}");
            let page = format!("{origin}/page?x#y");
            if !origin.is_empty() && origin != "null" {
                assert_eq!(from_page(None, Some(&page), None), trusted, "{page}");
            }
        }
        assert!(!from_page(None, None, None));
        let stranger =
            Headers { origin: Some("http://evil.example"), host: Some("ours"), ..Headers::default() };
        assert_eq!(browser(&member(MemberRole::Owner), stranger, None), Err(Refusal::UntrustedOrigin));
        // The origin outweighs the referer.
        assert!(!from_page(Some("null"), Some("http://localhost:3100/"), None));
        assert!(from_page(Some("http://localhost:3100"), Some("http://evil.example/"), None));
    }

    #[test]
    fn behind_a_proxy_the_forwarded_host_is_ours() {
        let proxy = Some("a.example, b.example");
        assert!(from_page(Some("https://a.example"), None, proxy));
        assert!(!from_page(Some("https://b.example"), None, proxy));
        assert!(!from_page(Some("http://bugle.example:8080"), None, proxy));
        assert!(from_page(Some("http://bugle.example:8080"), None, Some(" ")));
    }

    #[test]
    fn keys_and_trusted_instances_are_not_asked() {
        let keyed = Board {
            proof: Proof::BoardKey { key_id: "k".into() },
            ..person(MemberRole::Owner, MembershipStatus::Active)
        };
        for actor in [Actor::Nobody, local(), Actor::Agent(agent("a1", Role::Ceo)), Actor::Board(keyed)] {
            assert_eq!(browser(&actor, Headers::default(), None), Ok(()), "{actor:?}");
        }
    }
}
