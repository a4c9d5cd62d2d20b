//! HTTP/2, turned into HTTP/1.1 at the border and back.
//!
//! ```text
//!  conn ──preface──► serve ──stream──► Face ══ bytes of HTTP/1.1 ══► Connection (one request)
//!                      │                                                │
//!                      └─ windows, limits, drain                   route, lease, proxy
//!                                                                       │
//!  workload that speaks h2c ◄── Session ◄── Origin ◄═ bytes of HTTP/1.1 ┘
//! ```
//! A stream of HTTP/2 is written out as one request of HTTP/1.1 and then goes the way of every other: the same
//! strict parser, the same routing, leases, retries, timeouts and errors (`docs/adr/0005-http2.md`). So there is
//! no second reading of a message that could differ from the first, which is what downgrade attacks live on.
//! [`face`] and [`origin`] are the two translations; [`inbound`] and [`outbound`] carry the bodies.

mod face;
mod inbound;
mod lines;
mod origin;
mod outbound;
mod prefixed;
mod serve;
mod session;
mod tally;

pub(crate) use origin::Origin;
pub(crate) use serve::serve;
pub(crate) use session::Session;

/// The part of the connection preface that ends like a head (RFC 9113, section 3.4).
pub(crate) const PREFACE_HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Streams that one client connection may have open at once.
const STREAMS_MAX: usize = 100;

/// Largest list of header fields, in bytes as RFC 9113, section 6.5.2 counts them.
const HEADER_LIST_MAX: u32 = 64 * 1024;

/// Bytes of one body that may be on their way before any of them was passed on.
const STREAM_WINDOW: u32 = 128 * 1024;

/// The same for all streams of a client connection together.
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// Bytes that may wait in a stream to be sent.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams beyond the answered ones that a client may cancel, before its connection is closed.
const CANCELS_MAX: i64 = 200;

/// An error of the protocol below, as one of a stream of bytes.
fn broken(error: h2::Error) -> std::io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| std::io::ErrorKind::ConnectionReset.into())
    } else {
        std::io::Error::new(std::io::ErrorKind::ConnectionReset, error)
    }
}
