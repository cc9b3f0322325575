//! The connection to a gateway: a WebSocket, over TLS where the address says so, and frames of JSON on it.
//!
//! Everything blocks, and everything has a limit: whoever waits here is woken by what comes, by his deadline, or by a
//! signal. What the frames mean is not known here.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_platform_verifier::BuilderVerifierExt;
use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::{HeaderName, HeaderValue, Uri};
use tungstenite::protocol::{Message, WebSocket, WebSocketConfig};

use crate::scripted::system::Mailbox;

/// A longer message is none of a gateway's.
const LONGEST_MESSAGE: usize = 25 * 1024 * 1024;
/// The longest wait in one go.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// An address that a gateway can be behind.
#[derive(Debug, Clone)]
pub(super) struct Place {
    uri: Uri,
    host: String,
    port: u16,
    is_secure: bool,
}

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WrongUrl {
    Invalid,
    Protocol,
    HasLogin,
}

impl WrongUrl {
    pub(super) fn message(self) -> &'static str {
        match self {
            WrongUrl::Invalid => "is not an absolute address",
            WrongUrl::Protocol => "must begin with ws:// or wss://",
            WrongUrl::HasLogin => "must not hold a user or a password",
        }
    }

    pub(super) fn hint(self) -> &'static str {
        match self {
            WrongUrl::Invalid => "write it like wss://gateway.example.org or ws://127.0.0.1:18789",
            WrongUrl::Protocol => "use wss:// for a gateway behind TLS, ws:// for one on this machine",
            WrongUrl::HasLogin => "put the token into authToken, or the password into password",
        }
    }
}

impl Place {
    pub(super) fn of(url: &str) -> Result<Place, WrongUrl> {
        // A fragment never leaves this machine.
        let url = url.split('#').next().unwrap_or_default();
        let uri: Uri = url.parse().map_err(|_| WrongUrl::Invalid)?;
        let is_secure = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("ws") => false,
            Some("wss") => true,
            Some(_) => return Err(WrongUrl::Protocol),
            None => return Err(WrongUrl::Invalid),
        };
        let authority = uri.authority().ok_or(WrongUrl::Invalid)?;
        if authority.as_str().contains('@') {
            return Err(WrongUrl::HasLogin);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(WrongUrl::Invalid);
        }
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        Ok(Place { uri, host, port, is_secure })
    }

    /// What is sent there can be read on the way.
    pub(super) fn is_open_to_all(&self) -> bool {
        let is_here = self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        !self.is_secure && !is_here
    }

    /// The address without what may be secret in it.
    pub(super) fn shown(&self) -> String {
        let scheme = if self.is_secure { "wss" } else { "ws" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}{}", self.port, self.uri.path())
    }
}

/// Why there is nothing more to read, or to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Break {
    /// The deadline came first.
    Late,
    /// A signal came.
    Signal,
    /// The connection broke, or never was one, in words for people.
    Gone(String),
}

/// An open connection.
pub(super) struct Wire {
    socket: WebSocket<Stream>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    /// Connects within the limit.
    pub(super) fn open(place: &Place, headers: &[(String, String)], until: Instant) -> Result<Wire, Break> {
        let gone = |what: &str| Break::Gone(format!("{} {what}", place.shown()));
        let addresses = (place.host.as_str(), place.port)
            .to_socket_addrs()
            .map_err(|error| gone(&format!("has no address: {error}")))?;
        let mut last = None;
        let mut connected = None;
        for address in addresses {
            let Some(left) = left(until) else { return Err(Break::Late) };
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    connected = Some(stream);
                    break;
                }
                Err(error) => last = Some(error),
            }
        }
        let Some(stream) = connected else {
            return Err(match last {
                Some(error) if is_late(&error) => Break::Late,
                Some(error) => gone(&format!("cannot be reached: {error}")),
                None => gone("has no address"),
            });
        };
        let prepared = stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true));
        prepared.map_err(|error| gone(&format!("cannot be used: {error}")))?;
        let patient = Patient { stream, until, mailbox: None };
        let stream = if place.is_secure {
            Stream::Secure(Box::new(secured(place, patient).map_err(|why| gone(&why))?))
        } else {
            Stream::Plain(patient)
        };
        let mut request =
            place.uri.clone().into_client_request().map_err(|error| gone(&error.to_string()))?;
        for (name, value) in headers {
            let pair = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
            let Some((name, value)) = pair else { return Err(gone("was given a header that is none")) };
            request.headers_mut().insert(name, value);
        }
        let limits = WebSocketConfig::default()
            .max_message_size(Some(LONGEST_MESSAGE))
            .max_frame_size(Some(LONGEST_MESSAGE));
        match tungstenite::client::client_with_config(request, stream, Some(limits)) {
            Ok((socket, _)) => Ok(Wire { socket }),
            Err(HandshakeError::Interrupted(_)) => Err(Break::Late),
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                Err(gone(&format!("answered HTTP {} and is no gateway", answer.status())))
            }
            Err(HandshakeError::Failure(error)) => Err(gone(&format!("is no gateway: {error}"))),
        }
    }

    /// Listens to signals from now on.
    pub(super) fn heed(&mut self, mailbox: Mailbox) {
        self.socket.get_mut().patient().mailbox = Some(mailbox);
    }

    /// Waits for the next frame; what is no JSON is skipped.
    pub(super) fn next(&mut self, until: Instant) -> Result<Value, Break> {
        self.socket.get_mut().patient().until = until;
        loop {
            if left(until).is_none() {
                return Err(Break::Late);
            }
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    if let Ok(frame) = serde_json::from_str(&text) {
                        return Ok(frame);
                    }
                }
                Ok(Message::Close(frame)) => {
                    let why = frame.map(|frame| format!(" ({}): {}", u16::from(frame.code), frame.reason));
                    return Err(Break::Gone(format!(
                        "the gateway closed the connection{}",
                        why.unwrap_or_default()
                    )));
                }
                Ok(_) => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    /// Sends a frame.
    pub(super) fn send(&mut self, frame: &Value, until: Instant) -> Result<(), Break> {
        self.socket.get_mut().patient().until = until;
        match self.socket.send(Message::text(frame.to_string())) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// Takes leave, as far as that takes no time.
    pub(super) fn close(mut self) {
        self.socket.get_mut().patient().until = Instant::now() + Duration::from_millis(100);
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }

    fn broken(&mut self, error: &tungstenite::Error) -> Break {
        match error {
            tungstenite::Error::Io(error) if is_late(error) => {
                let patient = self.socket.get_mut().patient();
                if patient.mailbox.as_ref().is_some_and(|mailbox| mailbox.next().is_some()) {
                    Break::Signal
                } else {
                    Break::Late
                }
            }
            tungstenite::Error::Capacity(_) => {
                Break::Gone(format!("the gateway sent a message of more than {LONGEST_MESSAGE} bytes"))
            }
            other => Break::Gone(format!("connection closed before the run was over: {other}")),
        }
    }
}

fn secured(place: &Place, patient: Patient) -> Result<StreamOwned<ClientConnection, Patient>, String> {
    let wrong = |error: &dyn fmt::Display| format!("has no secure connection: {error}");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|error| wrong(&error))?
        .with_no_client_auth();
    let name = place.host.clone().try_into().map_err(|error| wrong(&error))?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|error| wrong(&error))?;
    Ok(StreamOwned::new(connection, patient))
}

fn left(until: Instant) -> Option<Duration> {
    Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

enum Stream {
    Plain(Patient),
    Secure(Box<StreamOwned<ClientConnection, Patient>>),
}

impl Stream {
    fn patient(&mut self) -> &mut Patient {
        match self {
            Stream::Plain(patient) => patient,
            Stream::Secure(stream) => &mut stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(patient) => patient.read(into),
            Stream::Secure(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(patient) => patient.write(bytes),
            Stream::Secure(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(patient) => patient.flush(),
            Stream::Secure(stream) => stream.flush(),
        }
    }
}

/// A stream that waits, and says that it would block when the deadline, or a signal, came first.
struct Patient {
    stream: TcpStream,
    until: Instant,
    mailbox: Option<Mailbox>,
}

impl Patient {
    fn wait(&self, for_what: PollFlags) -> io::Result<()> {
        loop {
            let Some(left) = left(self.until) else { return Err(io::ErrorKind::WouldBlock.into()) };
            let limit = left.min(LONGEST_WAIT) + Duration::from_millis(1);
            let limit =
                Timespec { tv_sec: limit.as_secs() as _, tv_nsec: i64::from(limit.subsec_nanos()) as _ };
            let mut fds = vec![PollFd::from_borrowed_fd(self.stream.as_fd(), for_what)];
            fds.extend(
                self.mailbox.as_ref().map(|mailbox| PollFd::from_borrowed_fd(mailbox.fd(), PollFlags::IN)),
            );
            match poll(&mut fds, Some(&limit)) {
                // A signal goes before: an agent that talks all the time is stopped like any other.
                Ok(_) if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(_) if !fds[0].revents().is_empty() => return Ok(()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Read for Patient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait(PollFlags::IN)?;
            match self.stream.read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::OUT)?,
                wrote => return wrote,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_a_websocket_or_refused_with_a_reason() {
        for (url, expected) in [
            ("ws://127.0.0.1:18789", Ok("ws://127.0.0.1:18789/")),
            ("wss://gate.example.org/claw?token=x#y", Ok("wss://gate.example.org:443/claw")),
            ("WS://[::1]:7/a", Ok("ws://[::1]:7/a")),
            ("https://gate.example.org", Err(WrongUrl::Protocol)),
            ("gate.example.org", Err(WrongUrl::Invalid)),
            ("ws://", Err(WrongUrl::Invalid)),
            ("ws://a b", Err(WrongUrl::Invalid)),
            ("ws://me:pw@host", Err(WrongUrl::HasLogin)),
        ] {
            let found = Place::of(url).map(|place| place.shown());
            assert_eq!(found.as_deref().map_err(|wrong| *wrong), expected, "{url}");
        }
    }

    #[test]
    fn only_an_address_elsewhere_without_tls_is_open_to_all() {
        for (url, expected) in [
            ("ws://127.8.0.1", false),
            ("ws://LOCALHOST:1", false),
            ("ws://[::1]:1", false),
            ("wss://gate.example.org", false),
            ("ws://gate.example.org", true),
            ("ws://10.0.0.1", true),
        ] {
            assert_eq!(Place::of(url).unwrap().is_open_to_all(), expected, "{url}");
        }
    }
}
