//! The HTTP client of the small programs: blocking, TLS with the machine's own certificates, proxies by environment.
//!
//! Small on purpose: a caller process lives as long as its request, and many of them may wait at the same time.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::config::{Config, ConfigBuilder};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

/// Time to reach a host, when the whole request has no shorter limit.
pub(crate) const CONNECT: Duration = Duration::from_secs(30);

/// The settings that every request shares: answers of any status are answers, and nothing is sent anywhere else than
/// where it was meant for.
pub(crate) fn settings() -> ConfigBuilder<AgentScope> {
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    Config::builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .user_agent(concat!("bugle/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT))
}

/// Makes a client.
pub(crate) fn client(settings: ConfigBuilder<AgentScope>) -> Agent {
    settings.build().new_agent()
}
