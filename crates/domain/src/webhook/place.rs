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
    let Some(host) = host(authority).filter(|host| !host.is_empty()) else { return Some("names no host") };
    if literal(host).is_some_and(|address| kind_of(address) == Kind::Never) {
        return Some(
            "names an address that nothing is ever sent to: it is link-local, hands out the credentials of a cloud, \
             or is no machine's",
        );
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

/// The address that a host is by itself, without asking anybody for a name: as people write it, and in the older ways that
/// programs still read (`0x7f.1`, `2130706433`).
fn literal(host: &str) -> Option<IpAddr> {
    if host.contains(':') {
        let (address, _zone) = host.split_once('%').unwrap_or((host, ""));
        return address.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let mut parts = Vec::new();
    for part in host.split('.') {
        parts.push(number(part)?);
    }
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|part| *part > 255) {
        return None;
    }
    // The last one stands for all bytes that are left.
    let bits = 8 * (4 - leading.len());
    let last = u32::try_from(*last).ok().filter(|last| u64::from(*last) < 1_u64 << bits)?;
    let high = leading.iter().fold(0_u64, |all, part| all << 8 | part);
    Some(IpAddr::V4(Ipv4Addr::from(u32::try_from(high << bits).ok()? | last)))
}

/// A number in decimal, octal or hexadecimal digits.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    // A sign is none of them.
    let is_number = digits.chars().all(|digit| digit.is_digit(radix));
    u64::from_str_radix(digits, radix).ok().filter(|_| is_number)
}

/// Whether a machine may be reached. Addresses that hand out credentials of clouds, those next to this machine
/// (169.254.0.0/16) and others, and what is no machine at all, are never.
pub fn may_reach(address: IpAddr, reach: Reach) -> bool {
    match kind_of(address) {
        Kind::Public => true,
        Kind::Private => reach == Reach::Private,
        Kind::Never => false,
    }
}

/// Where clouds tell their machines about themselves, beside the link-local addresses: Alibaba, Oracle, Azure.
const CLOUDS_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
/// The same of Amazon, Google and Oracle; so many bits of the address count.
const CLOUDS_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
];

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
        _ if CLOUDS_V4.contains(&address) => Kind::Never,
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
    let is_of_a_cloud =
        CLOUDS_V6.iter().any(|(one, bits)| address.to_bits() ^ one.to_bits() < 1 << (128 - bits));
    if address.is_unspecified() || address.is_multicast() || first & 0xffc0 == 0xfe80 || is_of_a_cloud {
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
    fn an_address_that_is_never_reached_is_no_url_however_it_is_written() {
        for never in [
            "169.254.169.254",
            "169.254.43518",
            "0xa9.0xfe.0xa9.0xfe",
            "0251.0376.0251.0376",
            "2852039166",
            "0xA9FEA9FE:8080",
            "0",
            "0.0.0.0",
            "255.255.255.255",
            "168.63.129.16",
            "100.100.100.200",
            "[fe80::1]",
            "[fe80::1%25eth0]",
            "[::]",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::a9fe:a9fe]",
            "[fd00:ec2::254]",
        ] {
            let told = flaw(&format!("http://{never}/latest"));
            assert!(told.is_some_and(|flaw| flaw.contains("nothing is ever sent to")), "{never}: {told:?}");
        }
        // These may be reached, here or where that is allowed, or are names.
        for other in [
            "127.0.0.1",
            "0x7f.1",
            "10.1",
            "93.184.216.34:8080",
            "[::1]",
            "[2001:db8::1]",
            "1.2.3.4.5",
            "256.1",
            "1.2.3.256",
            "4294967296",
            "08",
            "0x",
            "169.254.169.254.example.com",
            "1..2",
            "+1",
        ] {
            assert_eq!(flaw(&format!("http://{other}/")), None, "{other}");
        }
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
            ("100.100.100.200", false, false),
            ("100.100.100.201", false, true),
            ("168.63.129.16", false, false),
            ("168.63.129.17", true, true),
            ("192.0.0.192", false, false),
            ("::ffff:168.63.129.16", false, false),
            ("fd00:ec2::254", false, false),
            ("fd00:ec2::23", false, false),
            ("fd00:ec3::254", false, true),
            ("fd20:ce::254", false, false),
            ("fd20:ce::255", false, true),
            ("fd00:c1::a9fe:a9fe", false, false),
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
