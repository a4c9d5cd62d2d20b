//! From a head to what will be done with it. Pure; nothing waits here.

use std::net::IpAddr;

use tokio_util::sync::CancellationToken;

use crate::public::apex;
use crate::public::body::Body;
use crate::public::chunked::ChunkDecoder;
use crate::public::forward::{self, Hop, Return};
use crate::public::framing::{self, Framing};
use crate::public::grpc;
use crate::public::head::{Kind, RequestHead, Version, parse_request, parse_response, slots};
use crate::public::observe::RequestId;
use crate::public::respond::{BadAnswer, Refusal};
use crate::public::route::{Authority, BadHost, Route, route};
use crate::public::settings::Settings;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) peer: IpAddr,
    pub(crate) id: RequestId,
}

/// The last host of a connection and where it leads; most requests of a connection ask for the same one.
#[derive(Debug, Default)]
pub(crate) struct LastHost {
    host: String,
    pub(crate) route: Option<Route>,
    /// Whether another path may lead somewhere else.
    by_path: bool,
}

/// What to do with one request.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The head for the workload.
    pub(crate) head: Vec<u8>,
    /// Method, a space, target in origin form.
    line: String,
    pub(crate) framing: Framing,
    pub(crate) version: Version,
    /// Whether the client wants its connection kept.
    pub(crate) keep_alive: bool,
    /// Whether it is a HEAD.
    pub(crate) to_head: bool,
    /// Whether it may be sent twice: idempotent and without a body.
    pub(crate) repeatable: bool,
    /// Whether it asks for another protocol.
    pub(crate) upgrade: bool,
    /// Whether it is a call of gRPC, whose client reads no statuses of HTTP.
    pub(crate) grpc: bool,
}

impl Plan {
    /// Method and target.
    pub(crate) fn line(&self) -> (&str, &str) {
        self.line.split_once(' ').unwrap_or((&self.line, ""))
    }
}

/// Understands a whole request head; `last` is updated to where it leads.
pub(crate) fn request(bytes: &[u8], origin: Origin<'_>, last: &mut LastHost) -> Result<Plan, Refusal> {
    let mut slots = slots();
    let head = parse_request(bytes, &mut slots)?;
    let framing = framing::of_request(&head)?;
    let field = host_field(&head)?;
    let (authority, target) = target(&head, field)?;
    if last.route.is_none() || last.by_path || last.host != authority.host {
        let named = route(authority.host, target, &origin.settings.domain);
        let refined = origin.settings.routes.refine(named, authority.host, target);
        (last.route, last.by_path) = (Some(refined.route), refined.by_path);
        authority.host.clone_into(&mut last.host);
    }
    let upgrade = wants_upgrade(&head, framing);
    let hop = Hop {
        id: origin.id,
        peer: origin.peer,
        trusted: origin.settings.trusted.contains(origin.peer),
        host: field,
        target,
        framing,
        upgrade,
    };
    let mut out = Vec::with_capacity(bytes.len() + 192);
    forward::request(&mut out, &head, &hop);
    if last.route == Some(Route::Control) {
        let settings = origin.settings;
        apex::name_client(&mut out, apex::client(&head.fields, origin.peer, &settings.trusted));
    }
    Ok(Plan {
        head: out,
        line: [head.method, " ", target].concat(),
        framing,
        version: head.version,
        keep_alive: keep_alive(&head),
        to_head: head.method == "HEAD",
        repeatable: framing == Framing::Empty && !upgrade && idempotent(head.method),
        upgrade,
        grpc: is_grpc(&head),
    })
}

/// Every call is a POST, so nothing else is searched for it.
fn is_grpc(head: &RequestHead<'_, '_>) -> bool {
    let content_type = |header: &httparse::Header<'_>| header.name.eq_ignore_ascii_case("content-type");
    head.method == "POST"
        && head.fields.iter().any(|(_, h)| content_type(h) && grpc::is_asked_by(Some(h.value)))
}

/// The one `Host`.
fn host_field<'b>(head: &RequestHead<'_, 'b>) -> Result<&'b str, BadHost> {
    let mut hosts = head.fields.values(Kind::Host);
    let host = hosts.next().ok_or(BadHost::Missing)?;
    if hosts.next().is_some() {
        return Err(BadHost::Several);
    }
    std::str::from_utf8(host).map_err(|_| BadHost::Malformed)
}

/// Which server is asked, and for what in origin form (RFC 9112, section 3.2).
fn target<'b>(head: &RequestHead<'_, 'b>, field: &'b str) -> Result<(Authority<'b>, &'b str), Refusal> {
    use crate::public::head::BadHead::Target;
    let host = Authority::parse(field)?;
    let target = head.target;
    if head.method == "CONNECT" {
        return Err(Refusal::Connect);
    }
    if target.starts_with('/') || (target == "*" && head.method == "OPTIONS") {
        return Ok((host, target));
    }
    let scheme = target.get(..7).filter(|s| s.eq_ignore_ascii_case("http://"));
    let rest = scheme.and(target.get(7..)).ok_or(Target)?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    if !Authority::parse(authority)?.same(&host) {
        return Err(BadHost::Mismatch.into());
    }
    match path {
        "" => Ok((host, "/")),
        _ if path.starts_with('/') => Ok((host, path)),
        _ => Err(Target.into()),
    }
}

/// `h2c` is not passed on: behind it, requests would travel that nobody here has looked at.
fn wants_upgrade(head: &RequestHead<'_, '_>, framing: Framing) -> bool {
    head.version == Version::Http11
        && framing == Framing::Empty
        && head.fields.has_token(Kind::Connection, "upgrade")
        && head.fields.values(Kind::Upgrade).next().is_some()
        && !head.fields.has_token(Kind::Upgrade, "h2c")
}

fn keep_alive(head: &RequestHead<'_, '_>) -> bool {
    let says = |token| head.fields.has_token(Kind::Connection, token);
    match head.version {
        Version::Http11 => !says("close"),
        Version::Http10 => says("keep-alive") && !says("close"),
    }
}

/// RFC 9110, section 9.2.2.
fn idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE")
}

/// How a request body is carried to the workload.
pub(crate) fn upload(framing: Framing) -> Body {
    match framing {
        Framing::Empty | Framing::UntilClose => Body::Done,
        Framing::Length(n) => Body::Length(n),
        Framing::Chunked => Body::Chunked(ChunkDecoder::new()),
    }
}

/// What to do with one response.
#[derive(Debug)]
pub(crate) enum Response {
    /// Pass this head on; more will follow.
    Interim(Vec<u8>),
    /// The answer.
    Reply(Reply),
}

/// The last response to a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The protocol is switched; the head for the client.
    Switch(Vec<u8>),
    /// An ordinary answer.
    Final(Final),
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Final {
    pub(crate) status: u16,
    /// The head for the client.
    pub(crate) head: Vec<u8>,
    pub(crate) body: Body,
    /// Whether the client's connection ends after it.
    pub(crate) close: bool,
    /// Whether the workload keeps its connection.
    pub(crate) keep_upstream: bool,
}

/// What a response depends on beside its own head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) id: RequestId,
    pub(crate) version: Version,
    pub(crate) to_head: bool,
    pub(crate) upgrade: bool,
    /// Whether the client's connection shall end after the answer.
    pub(crate) close: bool,
    /// Once cancelled, every connection ends after its answer.
    pub(crate) drain: &'a CancellationToken,
}

/// Understands a whole response head.
pub(crate) fn response(bytes: &[u8], asked: &Asked<'_>) -> Result<Response, BadAnswer> {
    let mut slots = slots();
    let head = parse_response(bytes, &mut slots)?;
    let mut out = Vec::with_capacity(bytes.len() + 96);
    let mut to = Return {
        id: asked.id,
        framing: Framing::Empty,
        close: asked.close || asked.drain.is_cancelled(),
        version: asked.version,
        switching: head.status == 101,
    };
    if head.status < 200 {
        if to.switching && !asked.upgrade {
            return Err(BadAnswer::Switch);
        }
        forward::response(&mut out, &head, &to);
        return Ok(if to.switching { Response::Reply(Reply::Switch(out)) } else { Response::Interim(out) });
    }
    to.framing = framing::of_response(&head, asked.to_head)?;
    let (body, unframed) = download(to.framing, asked.version);
    to.close |= unframed;
    forward::response(&mut out, &head, &to);
    let closes = head.version == Version::Http10
        || to.framing == Framing::UntilClose
        || head.fields.has_token(Kind::Connection, "close");
    let answer = Final { status: head.status, head: out, body, close: to.close, keep_upstream: !closes };
    Ok(Response::Reply(Reply::Final(answer)))
}

/// How a response body is carried to a client, and whether only the close tells its end.
fn download(framing: Framing, version: Version) -> (Body, bool) {
    match (framing, version) {
        (Framing::Empty, _) => (Body::Done, false),
        (Framing::Length(n), _) => (Body::Length(n), false),
        (Framing::Chunked, Version::Http11) => (Body::Chunked(ChunkDecoder::new()), false),
        (Framing::Chunked, Version::Http10) => (Body::Unchunked(ChunkDecoder::new()), true),
        (Framing::UntilClose, Version::Http11) => (Body::Chunking, false),
        (Framing::UntilClose, Version::Http10) => (Body::UntilClose, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, Refusal> {
        let settings = Settings::new("localhost");
        let origin = Origin { settings: &settings, peer: "127.0.0.1".parse().unwrap(), id: RequestId::of(1) };
        request(text.as_bytes(), origin, &mut LastHost::default())
    }

    #[test]
    fn targets_become_origin_form() {
        for (line, target) in [
            ("GET /a?b", "/a?b"),
            ("OPTIONS *", "*"),
            ("GET http://a.b.localhost/x", "/x"),
            ("GET HTTP://A.B.LOCALHOST:80", "/"),
        ] {
            let plan = plan(&format!("{line} HTTP/1.1\r\nHost: a.b.localhost\r\n\r\n")).unwrap();
            assert_eq!(plan.line().1, target, "{line}");
            assert!(plan.head.starts_with(format!("{} {target} HTTP/1.1\r\n", plan.line().0).as_bytes()));
        }
        for (line, why) in [
            ("GET http://x.b.localhost/x", Refusal::Host(BadHost::Mismatch)),
            ("GET http://a.b.localhost:81/x", Refusal::Host(BadHost::Mismatch)),
            ("GET ftp://a.b.localhost/x", Refusal::Head(crate::public::head::BadHead::Target)),
            ("GET a.b.localhost", Refusal::Head(crate::public::head::BadHead::Target)),
            ("GET *", Refusal::Head(crate::public::head::BadHead::Target)),
            ("CONNECT a.b.localhost:80", Refusal::Connect),
        ] {
            let refused = plan(&format!("{line} HTTP/1.1\r\nHost: a.b.localhost\r\n\r\n"));
            assert_eq!(refused.map(|_| ()), Err(why), "{line}");
        }
    }

    #[test]
    fn connections_are_kept_as_asked() {
        for (version, field, kept) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: foo, Close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
        ] {
            let plan = plan(&format!("GET / HTTP/{version}\r\nHost: a.b.localhost\r\n{field}\r\n")).unwrap();
            assert_eq!(plan.keep_alive, kept, "HTTP/{version} {field:?}");
        }
    }

    #[test]
    fn only_bodiless_idempotent_requests_are_repeated() {
        for (line, field, repeatable) in [
            ("GET /", "", true),
            ("GET /", "Content-Length: 1\r\n", false),
            ("POST /", "", false),
            ("DELETE /", "", true),
            ("GET /", "Connection: upgrade\r\nUpgrade: websocket\r\n", false),
        ] {
            let plan = plan(&format!("{line} HTTP/1.1\r\nHost: a.b.localhost\r\n{field}\r\n")).unwrap();
            assert_eq!(plan.repeatable, repeatable, "{line} {field:?}");
        }
    }

    #[test]
    fn h2c_is_not_an_upgrade() {
        for (protocol, upgrade) in [("websocket", true), ("h2c", false), ("websocket, h2c", false)] {
            let field = format!("Connection: upgrade\r\nUpgrade: {protocol}\r\n");
            let plan = plan(&format!("GET / HTTP/1.1\r\nHost: a.b.localhost\r\n{field}\r\n")).unwrap();
            assert_eq!(plan.upgrade, upgrade, "{protocol}");
        }
    }
}
