//! The program `bugle http-call`: sends the one request of a run, prints the answer, and says how it went.
//!
//! The request comes as JSON on stdin. The answer's body goes to stdout as it comes, up to a limit; then follow event
//! lines in plain speech, the last of them the terminal event. Nothing is sent twice: what a lost answer means is
//! decided by the run's settlement, which knows from the class of the error whether trying again is safe.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::moment::Moment;
use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ureq::http::{HeaderMap, StatusCode};

use crate::{plain, web};

/// The first argument under which the `bugle` executable becomes this program.
pub const HTTP_CALL: &str = "http-call";

/// The longest answer that is printed.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// The longest answer in which a report (usage, session, summary) is looked for.
const REPORT_LIMIT: usize = 1024 * 1024;

/// How much of a refusal is quoted in the error.
const QUOTE: usize = 200;

/// What to send.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) url: String,
    pub(crate) method: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
    pub(crate) run_id: String,
    pub(crate) limit_ms: Option<u64>,
    pub(crate) is_idempotent: bool,
}

impl Request {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a request has only text keys")
    }
}

/// The address without what may be secret in it.
pub(crate) fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// Sends the request that stands on stdin; 0 = the endpoint says that it is done.
pub fn http_call() -> ExitCode {
    let mut input = Vec::new();
    let request = io::stdin().lock().read_to_end(&mut input).map_err(|error| error.to_string());
    let request =
        request.and_then(|_| serde_json::from_slice::<Request>(&input).map_err(|error| error.to_string()));
    drop(input);
    let events = match request {
        Ok(request) => send(&request),
        Err(error) => vec![failed(
            problem(ErrorClass::BadRequest, format!("the request could not be read: {error}")),
            None,
        )],
    };
    let is_done = matches!(events.last(), Some(AgentEvent::Result { error: None, .. }));
    let said = events.iter().all(|event| io::stdout().write_all(&plain::line(event)).is_ok());
    let said = said && io::stdout().flush().is_ok();
    if is_done && said { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Sends, prints the answer, and returns what there is to say about it.
fn send(request: &Request) -> Vec<AgentEvent> {
    let limit = request.limit_ms.map(Duration::from_millis);
    let settings = web::settings()
        .timeout_global(limit)
        .timeout_connect(Some(limit.map_or(web::CONNECT, |limit| limit.min(web::CONNECT))));
    let built = match build(request) {
        Ok(built) => built,
        Err(error) => {
            let message = format!("the request could not be built: {error}");
            return vec![failed(problem(ErrorClass::BadRequest, message), None)];
        }
    };
    let mut answer = match web::client(settings).run(built) {
        Ok(answer) => answer,
        Err(error) => return vec![failed(unanswered(request, &error), None)],
    };
    let (status, headers) = (answer.status(), answer.headers().clone());
    let reader = answer.body_mut().with_config().limit(u64::MAX).reader();
    let (report, lost) = print(reader);
    let kept = Some(json!({ "status": status.as_u16() }));
    if !status.is_success() {
        return vec![failed(refused(status, &headers, &report, now()), kept)];
    }
    if let Some(error) = lost {
        let error = ureq::Error::from(error);
        return vec![failed(unanswered(request, &error), kept)];
    }
    let mut events = Vec::new();
    let report = Report::read(&report);
    events.extend(report.session.map(|id| AgentEvent::Session { id }));
    events.extend(report.usage.map(|usage| AgentEvent::UsageTotal { usage }));
    let summary =
        report.summary.unwrap_or_else(|| format!("HTTP {} {}", request.method, shown(&request.url)));
    events.push(AgentEvent::Result { error: None, summary: Some(summary), plan_only: false, json: kept });
    events
}

fn build(request: &Request) -> Result<ureq::http::Request<Vec<u8>>, ureq::http::Error> {
    let mut built = ureq::http::Request::builder().method(request.method.as_str()).uri(&request.url);
    let has = |name: &str| request.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    for (name, value) in &request.headers {
        built = built.header(name, value);
    }
    if !has("idempotency-key") {
        built = built.header("idempotency-key", &request.run_id);
    }
    if request.method == "GET" {
        return built.body(Vec::new());
    }
    if !has("content-type") {
        built = built.header("content-type", "application/json");
    }
    built.body(request.body.to_string().into_bytes())
}

/// Prints an answer while it arrives. Returns its beginning, and the error that ended it early.
fn print(mut reader: impl Read) -> (Vec<u8>, Option<io::Error>) {
    let mut beginning = Vec::new();
    let mut guard = Guard::new();
    let mut printed = 0;
    let mut piece = vec![0; 64 * 1024];
    let mut out = Vec::new();
    let lost = loop {
        let count = match reader.read(&mut piece) {
            Ok(0) => break None,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => break Some(error),
        };
        let kept = count.min(ANSWER_LIMIT - printed);
        printed += kept;
        // One byte more than can be a report shows that it is none.
        beginning.extend_from_slice(&piece[..kept.min(REPORT_LIMIT + 1 - beginning.len())]);
        guard.push(&piece[..kept], &mut out);
        // A stdout that nobody reads any more is noticed at the terminal event.
        let _ = io::stdout().write_all(&out);
        let _ = io::stdout().flush();
        out.clear();
        if kept < count {
            eprintln!("the answer is longer than {ANSWER_LIMIT} bytes; the rest is not kept");
            break None;
        }
    };
    guard.finish(&mut out);
    let _ = io::stdout().write_all(&out);
    (beginning, lost)
}

/// Keeps an answer from speaking for this program: a line of it that looks like an event gets a space in front.
#[derive(Debug)]
struct Guard {
    /// The beginning of a line that may still become an event line.
    held: Vec<u8>,
    is_at_start: bool,
    is_empty: bool,
}

impl Guard {
    fn new() -> Guard {
        Guard { held: Vec::new(), is_at_start: true, is_empty: true }
    }

    fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let prefix = plain::PREFIX.as_bytes();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.is_empty = false;
            if !self.is_at_start {
                out.extend_from_slice(part);
            } else {
                self.held.extend_from_slice(part);
                if self.held.len() < prefix.len() && prefix.starts_with(&self.held) {
                    continue;
                }
                if self.held.starts_with(prefix) {
                    out.push(b' ');
                }
                out.append(&mut self.held);
            }
            self.is_at_start = part.ends_with(b"\n");
        }
    }

    /// Ends the last line, so that the events begin on one of their own.
    fn finish(&mut self, out: &mut Vec<u8>) {
        let is_open = !self.is_at_start || !self.held.is_empty();
        out.append(&mut self.held);
        if is_open && !self.is_empty {
            out.push(b'\n');
        }
    }
}

/// What an endpoint may tell in an answer that is a JSON object.
#[derive(Debug, Default, PartialEq)]
struct Report {
    session: Option<String>,
    usage: Option<Usage>,
    summary: Option<String>,
}

impl Report {
    fn read(answer: &[u8]) -> Report {
        let fields = match serde_json::from_slice(answer) {
            Ok(Value::Object(fields)) if answer.len() <= REPORT_LIMIT => fields,
            _ => return Report::default(),
        };
        let text = |key: &str| {
            let text = fields.get(key).and_then(Value::as_str).map(str::trim);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let cost =
            fields.get("costUsd").and_then(Value::as_f64).filter(|cost| cost.is_finite() && *cost >= 0.0);
        let cost_micros = cost.map(|cost| (cost * 1e6).round() as i64);
        let told = fields.get("usage").and_then(Value::as_object);
        let tokens = |key: &str| told.and_then(|told| told.get(key)).and_then(Value::as_u64).unwrap_or(0);
        let usage = (told.is_some() || cost.is_some()).then(|| Usage {
            input_tokens: tokens("inputTokens"),
            cached_input_tokens: tokens("cachedInputTokens"),
            output_tokens: tokens("outputTokens"),
            cost_micros,
            ..Usage::default()
        });
        Report { session: text("sessionId"), usage, summary: text("summary") }
    }
}

fn failed(error: AgentError, json: Option<Value>) -> AgentEvent {
    AgentEvent::Result { error: Some(error), summary: None, plan_only: false, json }
}

fn problem(class: ErrorClass, message: impl Into<String>) -> AgentError {
    AgentError { class, message: message.into(), code: None, not_before: None }
}

/// An answer that is not a success.
fn refused(status: StatusCode, headers: &HeaderMap, answer: &[u8], now: Moment) -> AgentError {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let class = match status.as_u16() {
        401 | 403 => ErrorClass::Auth,
        408 | 425 | 429 | 500..=599 => ErrorClass::Transient,
        300..=499 => ErrorClass::BadRequest,
        _ => ErrorClass::Other,
    };
    let mut message = format!("the endpoint answered {status}");
    if let Some(place) = header("location").filter(|_| status.is_redirection()) {
        message.push_str(&format!(", pointing to {}", shown(place)));
    }
    let quote = String::from_utf8_lossy(&answer[..answer.len().min(4 * QUOTE)]);
    let quote: String = quote.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(QUOTE).collect();
    if !quote.is_empty() {
        message.push_str(&format!(": {quote}"));
    }
    let not_before =
        header("retry-after").filter(|_| class == ErrorClass::Transient).and_then(|text| wait(text, now));
    AgentError { not_before, ..problem(class, message) }
}

/// `Retry-After`: seconds, or a date.
pub(crate) fn wait(text: &str, now: Moment) -> Option<Moment> {
    if let Ok(seconds) = text.parse() {
        return Some(now.plus(Duration::from_secs(seconds)));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Moment::from_micros(date.timestamp().as_microsecond()))
}

/// No answer, or only a part of one. Where the request may have arrived, only an endpoint that takes it twice is worth
/// another try; otherwise nobody may send it again without looking.
fn unanswered(request: &Request, error: &ureq::Error) -> AgentError {
    use ureq::{Error, Timeout};
    let place = shown(&request.url);
    let (was_sent, class, message) = match error {
        Error::HostNotFound => (false, ErrorClass::Transient, format!("no host was found for {place}")),
        Error::Io(error) if is_lookup(error) => {
            (false, ErrorClass::Transient, format!("no host was found for {place}: {error}"))
        }
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            (false, ErrorClass::Transient, format!("{place} could not be reached in time"))
        }
        Error::Timeout(_) => {
            let limit = request.limit_ms.map(|limit| format!(" within {limit} ms")).unwrap_or_default();
            (true, ErrorClass::TimedOut, format!("{place} gave no answer{limit}"))
        }
        Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            (false, ErrorClass::Transient, format!("nobody listens at {place}: {error}"))
        }
        Error::Io(error) if is_certificate(error) => {
            return problem(ErrorClass::BadRequest, format!("no secure connection to {place}: {error}"));
        }
        Error::Rustls(error) => {
            return problem(ErrorClass::BadRequest, format!("no secure connection to {place}: {error}"));
        }
        Error::Tls(error) => {
            return problem(ErrorClass::BadRequest, format!("no secure connection to {place}: {error}"));
        }
        Error::ConnectionFailed => (false, ErrorClass::Transient, format!("{place} could not be reached")),
        Error::Io(error) if is_unreachable(error) => {
            (false, ErrorClass::Transient, format!("{place} could not be reached: {error}"))
        }
        Error::BadUri(_) | Error::Http(_) | Error::InvalidProxyUrl => {
            return problem(
                ErrorClass::BadRequest,
                format!("the request to {place} could not be made: {error}"),
            );
        }
        other => (
            true,
            ErrorClass::Transient,
            format!("the connection to {place} broke before the answer was there: {other}"),
        ),
    };
    if was_sent && !request.is_idempotent {
        let message = format!("{message}; it may have done its work, and it is not marked as idempotent");
        let class = if class == ErrorClass::TimedOut { class } else { ErrorClass::Other };
        return problem(class, message);
    }
    problem(class, message)
}

/// The standard library gives a failed look-up no kind of its own, only these words.
fn is_lookup(error: &io::Error) -> bool {
    error.raw_os_error().is_none() && error.to_string().starts_with("failed to lookup address information")
}

fn is_certificate(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn is_unreachable(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkDown, NetworkUnreachable};
    matches!(error.kind(), AddrNotAvailable | HostUnreachable | NetworkDown | NetworkUnreachable)
}

fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lets an answer through the guard, cut at some places.
    fn guarded(answer: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(answer.len())).collect();
        cuts.extend([0, answer.len()]);
        cuts.sort_unstable();
        let (mut guard, mut out) = (Guard::new(), Vec::new());
        for pair in cuts.windows(2) {
            guard.push(&answer[pair[0]..pair[1]], &mut out);
        }
        guard.finish(&mut out);
        out
    }

    proptest! {
        #[test]
        fn however_an_answer_is_cut_no_line_of_it_is_an_event(
            answer in "((::bugle:: )|(::bu)|[:x \n]){0,12}",
            cuts in proptest::collection::vec(0usize..80, 0..6),
        ) {
            let mut expected = answer.replace('\n', "\n\0");
            expected.insert(0, '\0');
            let mut expected = expected.replace("\0::bugle:: ", " ::bugle:: ").replace('\0', "");
            if !expected.is_empty() && !expected.ends_with('\n') {
                expected.push('\n');
            }
            let seen = String::from_utf8(guarded(answer.as_bytes(), &cuts)).unwrap();
            prop_assert!(seen.lines().all(|line| !line.starts_with(plain::PREFIX)));
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn waits_are_seconds_or_dates_and_never_end_the_clock() {
        let now = Moment::from_micros(1_000_000);
        assert_eq!(wait("2", now), Some(Moment::from_micros(3_000_000)));
        assert_eq!(wait(&u64::MAX.to_string(), now).map(|moment| moment > now), Some(true));
        assert_eq!(wait("Thu, 01 Jan 1970 00:00:05 GMT", now), Some(Moment::from_micros(5_000_000)));
        assert_eq!(wait("-5", now), None);
        assert_eq!(wait("", now), None);
    }

    #[test]
    fn what_is_shown_of_an_address_has_no_query() {
        assert_eq!(shown("https://a/b?token=x#y"), "https://a/b");
        assert_eq!(shown("https://a/b"), "https://a/b");
    }
}
