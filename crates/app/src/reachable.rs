//! The address under which agents on this machine reach the server (spec/heartbeat.md 9.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The address to be told. One that stands for all addresses of the machine is none that a program can call everywhere, and
/// the server itself refuses to be called by it.
pub(crate) fn url(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_told_an_address_that_can_be_called() {
        for (listen, expected) in [
            ("127.0.0.1:3100", "http://127.0.0.1:3100"),
            ("192.168.1.9:80", "http://192.168.1.9:80"),
            ("0.0.0.0:3100", "http://127.0.0.1:3100"),
            ("[::1]:3100", "http://[::1]:3100"),
            ("[::]:3100", "http://[::1]:3100"),
        ] {
            assert_eq!(url(listen.parse().unwrap()), expected, "{listen}");
        }
    }
}
