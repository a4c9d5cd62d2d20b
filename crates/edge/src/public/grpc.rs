//! What a gRPC client is told when there is no answer.
//!
//! It does not read statuses of HTTP: an error is an answer of status 200 without a body whose head says
//! `grpc-status` (gRPC over HTTP/2, "Trailers-Only").

use http::{HeaderMap, HeaderName, HeaderValue};

/// Cancelled by the client.
const CANCELLED: u8 = 1;
/// Not answered in time.
const DEADLINE_EXCEEDED: u8 = 4;
/// Larger than what is let in.
const RESOURCE_EXHAUSTED: u8 = 8;
/// Nobody here of this name.
const UNIMPLEMENTED: u8 = 12;
/// A message that breaks the rules.
const INTERNAL: u8 = 13;
/// Not to be had now.
const UNAVAILABLE: u8 = 14;

/// Whether a `Content-Type` is that of gRPC.
pub(crate) fn is_asked_by(content_type: Option<&[u8]>) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let Some(value) = content_type else { return false };
    let rest = value.get(..TYPE.len()).filter(|t| t.eq_ignore_ascii_case(TYPE)).and(value.get(TYPE.len()..));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// The status of gRPC for one of HTTP.
pub(crate) fn status(http: u16) -> u8 {
    match http {
        499 => CANCELLED,
        408 | 504 => DEADLINE_EXCEEDED,
        413 | 431 => RESOURCE_EXHAUSTED,
        404 | 405 | 501 | 505 => UNIMPLEMENTED,
        502 | 503 => UNAVAILABLE,
        _ => INTERNAL,
    }
}

/// The trailers of an answer that the workload broke off.
pub(crate) fn broken_off() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(u16::from(UNAVAILABLE)));
    trailers.insert(
        HeaderName::from_static("grpc-message"),
        HeaderValue::from_static("the service broke off its answer"),
    );
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_known_and_its_neighbours_are_not() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=utf-8"] {
            assert!(is_asked_by(Some(yes.as_bytes())), "{yes}");
        }
        for no in ["application/grpc-web", "application/json", "application/grp", ""] {
            assert!(!is_asked_by(Some(no.as_bytes())), "{no}");
        }
        assert!(!is_asked_by(None));
    }
}
