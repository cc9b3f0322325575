//! Takes one message to an address of the web and brings back what was answered.
//!
//! A name is looked up once, each address that it means is looked at, and the connection is made to one of these: what
//! was checked is what is reached. No proxy stands in between, redirects are not followed, and of an answer only its
//! beginning is read. Who is written to, and how often, is decided elsewhere.

use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;

use domain::moment::Moment;
use domain::webhook::place::{Reach, may_reach};
use ureq::config::Config;
use ureq::http::{Request, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::http_call::wait;
use crate::web;

/// Once it is known what was answered, the rest of the answer is waited for no longer than this.
const REST: Duration = Duration::from_secs(2);

/// What is to be taken where.
#[derive(Debug, Clone)]
pub struct Parcel {
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The whole of it takes no longer.
    pub limit: Duration,
    /// Of the answer, so many bytes are read.
    pub answer_limit: u64,
    pub reach: Reach,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    /// Its beginning.
    pub body: Vec<u8>,
    /// When the receiver wants to be asked again.
    pub not_before: Option<Moment>,
}

/// Nobody answered, in words that name no part of the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// Says whether an URL is one that a message can be taken to.
pub fn is_deliverable(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()))
}

/// Takes a message there; blocks until it is answered, or its limit is over.
pub fn deliver(parcel: &Parcel, now: Moment) -> Result<Answered, Unanswered> {
    let config = web::settings()
        .timeout_global(Some(parcel.limit))
        .timeout_connect(Some(parcel.limit))
        .timeout_recv_body(Some(REST))
        .proxy(None)
        .build();
    let resolver = Looked { reach: parcel.reach, inner: DefaultResolver::default() };
    let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), resolver);
    let mut request = Request::post(&parcel.url);
    for (name, value) in &parcel.headers {
        request = request.header(*name, value);
    }
    let request = request.body(parcel.body.as_slice()).map_err(|error| told(&error.into(), parcel))?;
    let mut answer = agent.run(request).map_err(|error| told(&error, parcel))?;
    let header = |name: &str| answer.headers().get(name)?.to_str().ok().map(str::trim).map(str::to_owned);
    let not_before = header("retry-after").and_then(|text| wait(&text, now));
    let status = answer.status().as_u16();
    let mut body = Vec::new();
    let reader = answer.body_mut().with_config().limit(u64::MAX).reader();
    // The status says what became of it; the rest of the answer is for people, as far as it came.
    let _ = reader.take(parcel.answer_limit).read_to_end(&mut body);
    Ok(Answered { status, body, not_before })
}

/// Looks names up, and refuses addresses that must not be reached.
#[derive(Debug)]
struct Looked {
    reach: Reach,
    inner: DefaultResolver,
}

impl Resolver for Looked {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        // One that must not be reached is enough: whoever mixes them wants to be misunderstood.
        match found.iter().find(|address| !may_reach(address.ip(), self.reach)) {
            Some(address) => Err(ureq::Error::Io(io::Error::other(OutOfReach(address.ip())))),
            None => Ok(found),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("leads to {0}, which must not be reached from here")]
struct OutOfReach(IpAddr);

/// Why there was no answer.
fn told(error: &ureq::Error, parcel: &Parcel) -> Unanswered {
    use ureq::{Error, Timeout};
    let text = match error {
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => "could not be reached in time".to_owned(),
        Error::Timeout(_) => format!("gave no answer within {:?}", parcel.limit),
        Error::HostNotFound => "no host was found".to_owned(),
        Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<OutOfReach>()) {
            Some(refused) => refused.to_string(),
            None => format!("no connection: {error}"),
        },
        Error::Rustls(error) => format!("no secure connection: {error}"),
        // It quotes the URL, and with it what may be secret in it.
        Error::BadUri(_) => "the URL cannot be used".to_owned(),
        other => format!("the connection broke: {other}"),
    };
    Unanswered(text)
}
