//! Where events may be sent: which addresses of the web are taken, and which machines are reached.
//!
//! A name says nothing about the machine behind it, and may mean another one a moment later. So an URL is looked at when
//! it is saved, and the address that it leads to each time before a connection is made, to that very address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest URL.
const LONGEST: usize = 2_000;
/// Stands for the values of a query, which are often keys.
const MASK: &str = "***";

/// Which machines may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Those that everybody can reach.
    #[default]
    Public,
    /// This machine and its neighbours, too.
    Private,
}

/// Says what is wrong with an URL; `None` when events can be sent there.
pub fn flaw(url: &str) -> Option<&'static str> {
    if url.len() > LONGEST {
        return Some("is longer than 2000 bytes");
    }
    // A backslash ends the host for some programs and not for others.
    if !url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Some("must not contain spaces, backslashes, control characters or letters outside of ASCII");
    }
    let Some(rest) = after_scheme(url) else { return Some("must begin with http:// or https://") };
    let authority = authority(rest);
    if authority.contains('@') {
        return Some("must not contain a user or a password: receivers check the signature");
    }
    if host(authority).is_none_or(str::is_empty) {
        return Some("names no host");
    }
    if url.contains('#') {
        return Some("must not contain a fragment: it is never sent");
    }
    if query(url).is_some_and(|query| query.split('&').any(|part| part.ends_with(&format!("={MASK}")))) {
        return Some("holds a masked value: give the whole URL");
    }
    None
}

/// The URL as it may be shown: values of its query are masked.
pub fn shown(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let masked = |part: &str| match part.split_once('=') {
        Some((name, _)) => format!("{name}={MASK}"),
        // Without a name all of it may be a key.
        None if part.is_empty() => String::new(),
        None => MASK.to_owned(),
    };
    format!("{path}?{}", query.split('&').map(masked).collect::<Vec<_>>().join("&"))
}

fn query(url: &str) -> Option<&str> {
    url.split_once('?').map(|(_, query)| query)
}

fn after_scheme(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some(rest)
}

fn authority(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The host of `host`, `host:port` or `[v6]:port`.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, after.strip_prefix(':').or(after.is_empty().then_some("")))
        }
        None => authority.split_once(':').map_or((authority, Some("")), |(host, port)| (host, Some(port))),
    };
    let port = port?;
    (port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0)).then_some(host)
}

/// Whether a machine may be reached. Addresses next to this machine that hand out credentials of clouds (169.254.0.0/16),
/// and what is no machine at all, are never.
pub fn may_reach(address: IpAddr, reach: Reach) -> bool {
    match kind_of(address) {
        Kind::Public => true,
        Kind::Private => reach == Reach::Private,
        Kind::Never => false,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    Private,
    Never,
}

fn kind_of(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_of_v4(address),
        IpAddr::V6(address) => match within(address) {
            Some(inner) => kind_of_v4(inner),
            None => kind_of_v6(address),
        },
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Kind {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (0 | 224.., _, _) | (169, 254, _) => Kind::Never,
        (10 | 127, _, _) | (192, 168, _) | (172, 16..=31, _) => Kind::Private,
        // Shared by the customers of a provider, and by private networks laid over others.
        (100, 64..=127, _) => Kind::Private,
        // For benchmarks, for protocols and for documents: no machine of anybody's.
        (198, 18..=19, _) | (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) => Kind::Private,
        _ => Kind::Public,
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Kind {
    let [first, second, ..] = address.segments();
    if address.is_unspecified() || address.is_multicast() || first & 0xffc0 == 0xfe80 {
        return Kind::Never;
    }
    let is_private = address.is_loopback()
        || first & 0xfe00 == 0xfc00
        || first & 0xffc0 == 0xfec0
        || (first == 0x2001 && second == 0xdb8);
    // What is not handed out for the public belongs to nobody known.
    if is_private || first & 0xe000 != 0x2000 { Kind::Private } else { Kind::Public }
}

/// The address that another kind of address leads to: mapped, translated (64:ff9b::/96) and tunnelled (2002::/16) ones.
fn within(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_sent_to_is_an_url() {
        for good in [
            "https://example.com/hook",
            "http://example.com:8080/a?b=c&d",
            "HTTPS://[2001:db8::1]:443/",
            "https://example.com",
            "https://example.com?x=1",
        ] {
            assert_eq!(flaw(good), None, "{good}");
        }
        for bad in [
            "",
            "example.com",
            "ftp://example.com",
            "file:///etc/passwd",
            "https://",
            "https:///path",
            "https://user:pass@example.com/",
            "https://user@example.com/",
            "https://example.com/#part",
            "https://exa mple.com",
            "https://example.com/\u{7}",
            "https://exämple.com",
            "https://example.com:0/",
            "https://example.com:99999/",
            "https://[::1/",
            "https://[::1]x/",
            "https://good.example\\@evil.example/",
            "https://example.com/?key=***",
        ] {
            assert!(flaw(bad).is_some(), "{bad}");
        }
        assert!(flaw(&format!("https://example.com/{}", "a".repeat(2_000))).is_some());
    }

    #[test]
    fn what_is_shown_of_an_url_holds_no_key() {
        for (url, seen) in [
            ("https://a/b", "https://a/b"),
            ("https://a/b?token=x&y=", "https://a/b?token=***&y=***"),
            ("https://a/b?secret", "https://a/b?***"),
            ("https://a/b?", "https://a/b?"),
            ("https://a?x=1?z=2", "https://a?x=***"),
        ] {
            assert_eq!(shown(url), seen);
        }
    }

    #[test]
    fn machines_nearby_are_reached_only_where_that_is_allowed_and_some_never() {
        let rows = [
            ("93.184.216.34", true, true),
            ("2606:2800:220:1::1", true, true),
            ("::ffff:93.184.216.34", true, true),
            ("127.0.0.1", false, true),
            ("127.9.9.9", false, true),
            ("10.0.0.1", false, true),
            ("172.16.0.1", false, true),
            ("172.32.0.1", true, true),
            ("192.168.1.1", false, true),
            ("100.64.0.1", false, true),
            ("192.0.2.1", false, true),
            ("198.18.0.1", false, true),
            ("::1", false, true),
            ("fd00::1", false, true),
            ("fec0::1", false, true),
            ("2001:db8::1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("::ffff:10.0.0.1", false, true),
            ("64:ff9b::7f00:1", false, true),
            ("2002:7f00:1::", false, true),
            ("::127.0.0.1", false, true),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("64:ff9b::a9fe:a9fe", false, false),
            ("fe80::1", false, false),
            ("0.0.0.0", false, false),
            ("0.1.2.3", false, false),
            ("::", false, false),
            ("224.0.0.1", false, false),
            ("255.255.255.255", false, false),
            ("ff02::1", false, false),
        ];
        for (address, public, private) in rows {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(may_reach(address, Reach::Public), public, "{address}");
            assert_eq!(may_reach(address, Reach::Private), private, "{address}");
        }
    }
}
