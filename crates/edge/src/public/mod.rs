//! The public proxy, for tenants' traffic.
//!
//! ```text
//! listen ──► conn ──► head ──► plan ──► tenants ──► proxy ──► body, tunnel
//!   │         (one task per         │  (framing,  (lease)      │
//!   └► tcp     connection)          │   route, forward)        │
//!                                   └────── respond ◄──────────┘
//! ```
//! HTTP/1.1 is read and written here, byte by byte, because what a proxy lets through ambiguously its
//! workloads pay for (`docs/adr/0003-own-http1-path.md`). What it does to a request is written down in
//! `docs/reference/http.md`.

mod apex;
mod body;
mod buffer;
mod cause;
mod chunked;
mod conn;
mod deadline;
mod exchange;
mod forward;
mod framing;
mod grpc;
mod hands;
mod head;
mod http2;
mod link;
mod listen;
mod observe;
mod patient;
mod plan;
mod proxy;
mod reach;
mod respond;
mod route;
mod routes;
mod settings;
mod tcp;
mod tenants;
mod text;
mod tunnel;

pub use apex::Door;
pub use chunked::BadBody;
pub use framing::BadFraming;
pub use hands::{Hands, HandsError};
pub use head::BadHead;
pub use listen::{ListenError, Proxy};
pub use observe::{BadRequestId, Exchange, Observer, Origin, Protocol, RequestId, RequestIds};
pub use respond::{BadAnswer, Failure, Refusal};
pub use route::{BadHost, NotFound, Route, route};
pub use routes::Routes;
pub use settings::{InvalidBlock, Keepalive, Settings, TrustedProxies};
pub use tenants::Tenants;
pub(crate) use text::push_address;
