//! The one table from what went wrong to what the client is told.
//!
//! A client learns what it can act on and nothing of the host: no paths, pids, ports or reasons of the
//! operating system. The operator finds those by the request id.

use std::io;
use std::time::Duration;

use insula_services::{LeaseError, NoVersion};

use crate::public::cause;
use crate::public::chunked::BadBody;
use crate::public::framing::BadFraming;
use crate::public::grpc;
use crate::public::head::{BadHead, Version};
use crate::public::observe::RequestId;
use crate::public::route::{BadHost, NotFound};
use crate::public::text::push_decimal;

/// Why a request was refused before anything of it was forwarded, or while its body was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The head is malformed or too large.
    #[error(transparent)]
    Head(#[from] BadHead),
    /// The framing is ambiguous.
    #[error(transparent)]
    Framing(#[from] BadFraming),
    /// The host is malformed.
    #[error(transparent)]
    Host(#[from] BadHost),
    /// The body is malformed.
    #[error(transparent)]
    Body(#[from] BadBody),
    /// `CONNECT`: this is not a forward proxy.
    #[error("the method `CONNECT` is not served here")]
    Connect,
}

impl Refusal {
    /// What the client should do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Head(e) => e.hint(),
            Self::Framing(e) => e.hint(),
            Self::Host(e) => e.hint(),
            Self::Body(e) => e.hint(),
            Self::Connect => "ask the server for a path",
        }
    }
}

/// Why what the workload answered cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    /// Its head is malformed or too large.
    #[error(transparent)]
    Head(#[from] BadHead),
    /// Its framing is ambiguous.
    #[error(transparent)]
    Framing(#[from] BadFraming),
    /// Its body is malformed, and nothing of it was passed on yet.
    #[error(transparent)]
    Body(#[from] BadBody),
    /// It switched to a protocol that nobody asked for.
    #[error("the answer switches to a protocol that was not asked for")]
    Switch,
    /// It sent more than 32 interim responses.
    #[error("the answer has more than 32 interim responses")]
    Interim,
    /// It closed or broke the connection before its head was complete.
    #[error("the connection ended before the answer")]
    Closed,
}

/// Why an exchange did not end with the workload's own answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request is at fault.
    #[error("the request was refused")]
    Refused(#[from] Refusal),
    /// Nothing is served under this name.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// The instance is not to be had.
    #[error("no lease on the instance")]
    Lease(#[from] LeaseError),
    /// No version of the service takes requests.
    #[error(transparent)]
    NoVersion(NoVersion),
    /// The workload does not accept connections.
    #[error("cannot connect to the workload")]
    Unreachable(#[source] io::Error),
    /// The workload's answer is at fault.
    #[error("the workload's answer cannot be passed on")]
    BadAnswer(#[from] BadAnswer),
    /// The workload did not answer in time.
    #[error("the workload did not answer in time")]
    TimedOut,
    /// The client did not send the rest of its request in time.
    #[error("the request did not arrive in time")]
    SlowRequest,
    /// The client left.
    #[error("the client left")]
    ClientGone,
}

/// A body that ends early is the client leaving; any other fault in it is the client's mistake.
pub(crate) fn of_body(bad: BadBody) -> Failure {
    if bad == BadBody::Truncated { Failure::ClientGone } else { Failure::Refused(bad.into()) }
}

impl From<NoVersion> for Failure {
    fn from(none: NoVersion) -> Self {
        match none {
            NoVersion::UnknownService(_) => Self::Lease(LeaseError::UnknownService),
            NoVersion::Tenants(service) => Self::NotFound(NotFound::Service(service)),
            NoVersion::NoneWeighed(_) => Self::NoVersion(none),
        }
    }
}

/// What a client is told about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    title: &'static str,
    hint: &'static str,
    retry_after: Option<Duration>,
}

const AGAIN: &str = "try again later";

const fn answer(status: u16, code: &'static str, title: &'static str, hint: &'static str) -> Answer {
    Answer { status, code, title, hint, retry_after: None }
}

impl Failure {
    pub(crate) fn answer(&self) -> Answer {
        match self {
            Self::Refused(refusal) => of_refusal(refusal),
            Self::NotFound(missing) => of_missing(missing),
            Self::Lease(error) => of_lease(error),
            Self::NoVersion(_) => {
                answer(503, "no_version", "no version of the service takes requests", AGAIN)
            }
            Self::Unreachable(_) => {
                answer(502, "unreachable", "the service does not accept connections", AGAIN)
            }
            Self::BadAnswer(BadAnswer::Closed) => {
                answer(502, "no_answer", "the service closed the connection without an answer", AGAIN)
            }
            Self::BadAnswer(_) => answer(502, "bad_answer", "the service gave an invalid answer", AGAIN),
            Self::TimedOut => answer(504, "timed_out", "the service did not answer in time", AGAIN),
            Self::SlowRequest => {
                answer(408, "slow_request", "the request did not arrive in time", "send the request faster")
            }
            Self::ClientGone => answer(499, "client_gone", "the client left", "stay"),
        }
    }

    /// The whole response.
    pub(crate) fn render(&self, reader: Reader) -> Vec<u8> {
        self.answer().render(&cause::of(self), reader)
    }
}

fn of_refusal(refusal: &Refusal) -> Answer {
    let (status, code, title) = match refusal {
        Refusal::Head(BadHead::TooLarge | BadHead::TooManyFields) => {
            (431, "head_too_large", "the request head is too large")
        }
        Refusal::Head(BadHead::Version) => (505, "bad_version", "the protocol version is not supported"),
        Refusal::Head(_) => (400, "bad_head", "the request head is malformed"),
        Refusal::Framing(BadFraming::Coding) => (501, "bad_coding", "the transfer coding is not supported"),
        Refusal::Framing(_) => (400, "bad_framing", "the length of the request is ambiguous"),
        Refusal::Host(_) => (400, "bad_host", "the host is missing, malformed or ambiguous"),
        Refusal::Body(_) => (400, "bad_body", "the request body is malformed"),
        Refusal::Connect => (405, "connect_refused", "tunnels to other hosts are not served"),
    };
    answer(status, code, title, refusal.hint())
}

fn of_missing(missing: &NotFound) -> Answer {
    let (code, title) = match missing {
        NotFound::Apex => ("nothing_here", "nothing is served at this name"),
        NotFound::Service(_) => ("needs_instance", "a service is reached by one of its instances"),
        NotFound::Host => ("unknown_host", "no such host here"),
    };
    answer(404, code, title, missing.hint())
}

fn of_lease(error: &LeaseError) -> Answer {
    let name = "check the name";
    let known = match error {
        LeaseError::UnknownService => answer(404, "unknown_service", "there is no such service", name),
        LeaseError::UnknownInstance => answer(404, "unknown_instance", "there is no such instance", name),
        LeaseError::QueueFull { .. } => answer(503, "queue_full", "too many requests are waiting", AGAIN),
        LeaseError::TooMany { .. } => answer(503, "too_many_instances", "too many instances are up", AGAIN),
        LeaseError::Failed { .. } => answer(503, "failed", "the service could not be started", AGAIN),
        LeaseError::TimedOut { .. } => {
            answer(504, "wake_timed_out", "the service did not start in time", AGAIN)
        }
        LeaseError::Stopped => answer(503, "stopped", "the service is stopped", "ask its operator"),
        LeaseError::ShuttingDown => Answer {
            retry_after: Some(Duration::from_secs(1)),
            ..answer(503, "shutting_down", "the server is shutting down", AGAIN)
        },
    };
    Answer { retry_after: error.retry_after().or(known.retry_after), ..known }
}

/// For whom an [`Answer`] is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader {
    pub(crate) id: RequestId,
    pub(crate) version: Version,
    pub(crate) to_head: bool,
    /// Whether it is a client of gRPC.
    pub(crate) grpc: bool,
    pub(crate) close: bool,
}

impl Answer {
    /// The whole response: RFC 9457 problem details, with what [`cause::of`] says.
    fn render(&self, cause: &str, reader: Reader) -> Vec<u8> {
        if reader.grpc {
            return self.render_grpc(reader);
        }
        let Self { status, code, title, hint, .. } = self;
        let id = reader.id;
        // All texts are constants, so none needs escaping; a test reads each of them.
        let body = format!(
            "{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{status},\"code\":\"{code}\",\
             \"cause\":\"{cause}\",\"remediation\":\"{hint}\",\"request_id\":\"{id}\"}}\n"
        );
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason(*status)).as_bytes());
        out.extend_from_slice(b"content-type: application/problem+json\r\ncache-control: no-store\r\n");
        out.extend_from_slice(format!("insula-request-id: {id}\r\ncontent-length: ").as_bytes());
        push_decimal(&mut out, body.len() as u64);
        out.extend_from_slice(b"\r\n");
        if let Some(after) = self.retry_after {
            out.extend_from_slice(format!("retry-after: {}\r\n", seconds(after)).as_bytes());
        }
        out.extend_from_slice(reader.ending());
        if !reader.to_head {
            out.extend_from_slice(body.as_bytes());
        }
        out
    }

    /// The same for a client of gRPC: an answer that is all head.
    fn render_grpc(&self, reader: Reader) -> Vec<u8> {
        let Self { code, title, .. } = self;
        // As above: the texts need no escaping, which here would be percent encoding.
        let mut text = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: {}\r\n\
             grpc-message: {title} ({code})\r\ninsula-request-id: {}\r\ncontent-length: 0\r\n",
            grpc::status(self.status),
            reader.id
        );
        if let Some(after) = self.retry_after {
            text += &format!("grpc-retry-pushback-ms: {}\r\n", seconds(after) * 1000);
        }
        let mut out = text.into_bytes();
        out.extend_from_slice(reader.ending());
        out
    }
}

impl Reader {
    /// The end of the head.
    fn ending(self) -> &'static [u8] {
        match (self.close, self.version) {
            (true, _) => b"connection: close\r\n\r\n",
            (false, Version::Http10) => b"connection: keep-alive\r\n\r\n",
            (false, Version::Http11) => b"\r\n",
        }
    }
}

/// Whole seconds, at least one.
fn seconds(after: Duration) -> u64 {
    (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1)
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Reader {
        Reader { id: RequestId::of(10), version: Version::Http11, to_head: false, grpc: false, close: false }
    }

    #[test]
    fn a_failed_wake_says_when_to_come_back_and_not_why() {
        let error =
            LeaseError::Failed { why: "/secret/path".to_owned(), retry_after: Duration::from_millis(1500) };
        let text = String::from_utf8(Failure::from(error).render(reader())).unwrap();
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{text}");
        assert!(text.contains("\r\nretry-after: 2\r\n") && text.contains("\"code\":\"failed\""), "{text}");
        assert!(text.contains("\"request_id\":\"000000000000000a\"") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn a_head_request_gets_the_length_without_the_body() {
        let failure = Failure::from(NotFound::Host);
        let full = failure.render(reader());
        let bare = failure.render(Reader { to_head: true, ..reader() });
        let split = full.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(&full[..split], &bare[..]);
        let length = format!("content-length: {}\r\n", full.len() - split);
        assert!(String::from_utf8(bare).unwrap().contains(&length));
    }

    /// One failure of each kind, and of requests each fault that there is.
    fn every_failure() -> Vec<Failure> {
        use crate::public::head::BadHead as Head;
        use BadFraming as Framing;
        let retry_after = Duration::ZERO;
        let service: insula_spec::ServiceName = "api".parse().unwrap();
        let heads = [
            Head::TooLarge,
            Head::TooManyFields,
            Head::LineEnd,
            Head::Method,
            Head::Target,
            Head::Version,
            Head::StatusLine,
            Head::FieldName,
            Head::FieldValue,
        ];
        let framings = [
            Framing::LengthAndCoding,
            Framing::Lengths,
            Framing::Length,
            Framing::Coding,
            Framing::CodingInOld,
        ];
        let hosts = [BadHost::Missing, BadHost::Several, BadHost::Malformed, BadHost::Mismatch];
        let refusals = heads.into_iter().map(Refusal::from).chain(framings.into_iter().map(Refusal::from));
        let refusals = refusals.chain(hosts.into_iter().map(Refusal::from)).chain([Refusal::Connect]);
        let leases = [
            LeaseError::UnknownService,
            LeaseError::UnknownInstance,
            LeaseError::QueueFull { retry_after },
            LeaseError::TooMany { key: "settings.max_instances".to_owned(), limit: 1, retry_after },
            LeaseError::Failed { why: "\"x\"".to_owned(), retry_after },
            LeaseError::TimedOut { retry_after },
            LeaseError::Stopped,
            LeaseError::ShuttingDown,
        ];
        let missing = [NotFound::Apex, NotFound::Service(service.clone()), NotFound::Host];
        let mut all: Vec<Failure> = refusals.map(Failure::from).collect();
        all.extend(leases.into_iter().map(Failure::from));
        all.extend(missing.into_iter().map(Failure::from));
        all.extend([
            Failure::Refused(BadBody::Truncated.into()),
            Failure::NoVersion(NoVersion::NoneWeighed(service)),
            Failure::Unreachable(io::Error::other("\"refused\"")),
            Failure::BadAnswer(BadAnswer::Closed),
            Failure::BadAnswer(BadAnswer::Switch),
            Failure::TimedOut,
            Failure::SlowRequest,
            Failure::ClientGone,
        ]);
        all
    }

    #[test]
    fn every_body_is_json_and_says_cause_and_remedy() {
        for failure in every_failure() {
            let text = String::from_utf8(failure.render(reader())).unwrap();
            let (_, body) = text.split_once("\r\n\r\n").unwrap();
            let json: serde_json::Value =
                serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
            assert_eq!(json["status"], failure.answer().status);
            for key in ["title", "code", "cause", "remediation", "request_id"] {
                assert!(json[key].as_str().is_some_and(|text| !text.is_empty()), "no `{key}`: {body}");
            }
        }
    }

    #[test]
    fn every_code_is_on_the_page_beside_its_status() {
        const PAGE: &str = include_str!("../../../../docs/reference/http.md");
        for failure in every_failure() {
            let Answer { status, code, .. } = failure.answer();
            let (start, word) = (format!("| {status} | "), format!("`{code}`"));
            let told =
                PAGE.lines().any(|line| line.contains(&word) && (line.starts_with(&start) || status == 499));
            assert!(told, "{status} {word} is not on the page");
        }
    }
}
