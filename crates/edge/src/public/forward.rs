//! The heads that go on, written from the heads that came.
//!
//! Everything passes untouched and in order, except: fields that end at this hop, what a client claims
//! about where it comes from, and the framing, which is written anew from what was understood.

use std::net::IpAddr;

use httparse::{Header, Status};

use crate::public::chunked::BadBody;
use crate::public::framing::{Framing, bodiless};
use crate::public::head::{
    FIELDS_MAX, Fields, Kind, RequestHead, ResponseHead, Version, check_lines, kind, tokens,
};
use crate::public::observe::RequestId;
use crate::public::text::{push_address, push_decimal};

/// What is known about a request beside its own head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop<'a> {
    pub(crate) id: RequestId,
    pub(crate) peer: IpAddr,
    /// Whether the peer is a proxy whose claims are believed.
    pub(crate) trusted: bool,
    pub(crate) host: &'a str,
    /// The target in origin form.
    pub(crate) target: &'a str,
    pub(crate) framing: Framing,
    /// Whether the request asks for another protocol and may.
    pub(crate) upgrade: bool,
}

/// Appends the request head that the workload gets.
pub(crate) fn request(out: &mut Vec<u8>, head: &RequestHead<'_, '_>, hop: &Hop<'_>) {
    for part in [head.method, " ", hop.target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    let odd = names_fields(&head.fields);
    for (kind, header) in head.fields.iter() {
        let passes = match kind {
            Kind::Other => !odd || !named(&head.fields, header.name),
            Kind::Host | Kind::ContentLength => true,
            Kind::Expect => head.version == Version::Http11,
            Kind::Claim => hop.trusted,
            _ => false,
        };
        if passes {
            field(out, header.name, header.value);
        }
    }
    request_hop(out, head, hop);
    claims(out, &head.fields, hop);
    request_id(out, hop.id);
    out.extend_from_slice(b"\r\n");
}

fn request_hop(out: &mut Vec<u8>, head: &RequestHead<'_, '_>, hop: &Hop<'_>) {
    if hop.framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if hop.upgrade {
        upgrade(out, &head.fields);
    } else if head.fields.has_token(Kind::Te, "trailers") {
        out.extend_from_slice(b"connection: te\r\nte: trailers\r\n");
    }
}

fn upgrade(out: &mut Vec<u8>, fields: &Fields<'_, '_>) {
    out.extend_from_slice(b"connection: upgrade\r\n");
    for value in fields.values(Kind::Upgrade) {
        field(out, "upgrade", value);
    }
}

/// `X-Forwarded-*`: appended to what a trusted proxy says, in place of what anybody else says.
fn claims(out: &mut Vec<u8>, fields: &Fields<'_, '_>, hop: &Hop<'_>) {
    out.extend_from_slice(b"x-forwarded-for: ");
    for value in fields.values(Kind::ForwardedFor).filter(|_| hop.trusted) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    push_address(out, hop.peer);
    out.extend_from_slice(b"\r\n");
    let told = |kind| fields.values(kind).next().filter(|_| hop.trusted);
    field(out, "x-forwarded-proto", told(Kind::ForwardedProto).unwrap_or(b"http"));
    field(out, "x-forwarded-host", told(Kind::ForwardedHost).unwrap_or(hop.host.as_bytes()));
}

/// How a response goes to the client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Return {
    pub(crate) id: RequestId,
    pub(crate) framing: Framing,
    /// Whether the client's connection ends after it.
    pub(crate) close: bool,
    /// The version that the client speaks.
    pub(crate) version: Version,
    /// Whether the protocol is switched.
    pub(crate) switching: bool,
}

/// Appends the response head that the client gets.
pub(crate) fn response(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>, to: &Return) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(head.status));
    out.push(b' ');
    out.extend_from_slice(head.reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    let odd = names_fields(&head.fields);
    let sized = head.status >= 200 && head.status != 204;
    for (kind, header) in head.fields.iter() {
        let passes = match kind {
            Kind::ContentLength => sized,
            Kind::Connection | Kind::TransferEncoding | Kind::HopByHop | Kind::RequestId => false,
            // Names what to upgrade to (RFC 9110, section 15.5.22).
            Kind::Upgrade => head.status == 426,
            _ => !odd || !named(&head.fields, header.name),
        };
        if passes {
            field(out, header.name, header.value);
        }
    }
    if head.status >= 200 {
        request_id(out, to.id);
    }
    response_hop(out, head, to);
    out.extend_from_slice(b"\r\n");
}

fn response_hop(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>, to: &Return) {
    let coded = matches!(to.framing, Framing::Chunked | Framing::UntilClose) && to.version == Version::Http11;
    if to.switching {
        upgrade(out, &head.fields);
        return;
    }
    if coded && !bodiless(head.status) {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    match (to.close, to.version) {
        _ if head.status < 200 => {}
        (true, _) => out.extend_from_slice(b"connection: close\r\n"),
        (false, Version::Http10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (false, Version::Http11) => {}
    }
}

/// Appends the trailer section that goes on: `section` without the fields that must not be trailers.
pub(crate) fn trailers(section: &[u8], out: &mut Vec<u8>) -> Result<(), BadBody> {
    check_lines(section).map_err(|_| BadBody::Trailers)?;
    let mut slots = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let Ok(Status::Complete((_, fields))) = httparse::parse_headers(section, &mut slots) else {
        return Err(BadBody::Trailers);
    };
    for Header { name, value } in fields.iter().filter(|f| may_trail(f.name)) {
        field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Fields that steer framing, routing, authentication or the reading of the body (RFC 9110, section 6.5.1)
/// may not come after it.
fn may_trail(name: &str) -> bool {
    const NEVER: [&str; 15] = [
        "age",
        "authorization",
        "cache-control",
        "content-encoding",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "expires",
        "location",
        "max-forwards",
        "range",
        "set-cookie",
        "trailer",
        "www-authenticate",
    ];
    kind(name) == Kind::Other && !NEVER.iter().any(|n| n.eq_ignore_ascii_case(name))
}

/// Whether `Connection` names anything beside the usual.
fn names_fields(fields: &Fields<'_, '_>) -> bool {
    let usual = |token: &[u8]| {
        [&b"close"[..], b"keep-alive", b"upgrade", b"te", b""].iter().any(|u| u.eq_ignore_ascii_case(token))
    };
    fields.values(Kind::Connection).flat_map(tokens).any(|t| !usual(t))
}

fn named(fields: &Fields<'_, '_>, name: &str) -> bool {
    fields.has_token(Kind::Connection, name)
}

fn request_id(out: &mut Vec<u8>, id: RequestId) {
    out.extend_from_slice(b"insula-request-id: ");
    out.extend_from_slice(&id.text());
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
