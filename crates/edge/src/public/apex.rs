//! The domain itself, where the control API answers beside the tenants.
//!
//! ```text
//! /v1/...  ──► Door ──socket pair──► control API        (tenants' hosts never lead here)
//! ```
//! The API is one more upstream: the same framing rules hold on the way in and out. It is told who asks by
//! a field that is taken from nobody else.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use insula_services::{Lease, Upstream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::control::CLIENT;
use crate::public::body::Pipe;
use crate::public::head::{Fields, Kind, tokens};
use crate::public::link::Link;
use crate::public::plan::{self, Asked, Plan, Reply};
use crate::public::proxy::{Client, Ended, Exchange};
use crate::public::respond::Failure;
use crate::public::settings::TrustedProxies;
use crate::public::text::push_address;

/// The way to the control API.
#[derive(Clone)]
pub struct Door {
    lease: Arc<Lease>,
}

impl Door {
    /// A door whose lease makes connections to the control API; its request time-out bounds the time to an
    /// answer's head. The lease should be detached: no keeper waits for its end.
    #[must_use]
    pub fn new(lease: Lease) -> Self {
        Self { lease: Arc::new(lease) }
    }

    async fn connect(&self) -> io::Result<Upstream> {
        self.lease.connect().await
    }

    fn timeout(&self) -> Duration {
        self.lease.request_timeout()
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door")
    }
}

/// Whether the control API answers for this path.
pub(crate) fn is_control(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    matches!(path, "/v1" | "/openapi.json" | "/metrics") || path.starts_with("/v1/")
}

/// Adds who asks to a head that ends with its empty line.
pub(crate) fn name_client(head: &mut Vec<u8>, client: IpAddr) {
    head.truncate(head.len().saturating_sub(2));
    head.extend_from_slice(CLIENT.as_bytes());
    head.extend_from_slice(b": ");
    push_address(head, client);
    head.extend_from_slice(b"\r\n\r\n");
}

/// Who asks: the peer, or whom the last trusted proxy before it names.
pub(crate) fn client(fields: &Fields<'_, '_>, peer: IpAddr, trusted: &TrustedProxies) -> IpAddr {
    let mut claimed: Vec<_> = fields.values(Kind::ForwardedFor).flat_map(tokens).collect();
    let mut client = peer;
    while trusted.contains(client) {
        let next = claimed.pop().and_then(|text| std::str::from_utf8(text).ok()?.trim().parse().ok());
        let Some(next) = next else { break };
        client = next;
    }
    client
}

/// Has a request answered by the control API.
pub(crate) async fn exchange<C>(
    client: Client<'_, C>,
    door: &Door,
    plan: &mut Plan,
    asked: &Asked<'_>,
) -> Result<Ended, Failure>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let upstream = door.connect().await.map_err(Failure::Unreachable)?;
    client.deadline.set(Instant::now() + door.timeout());
    let upload = Pipe::new(std::mem::take(&mut plan.head), plan::upload(plan.framing));
    let mut exchange = Exchange::new(client, Link::Direct(upstream), upload, door.timeout());
    match exchange.answer(asked).await? {
        Reply::Final(answer) => exchange.deliver(answer).await.map(|ended| Ended { upstream: None, ..ended }),
        // A command beside an instance. A client that has gone leaves nothing to wait for.
        Reply::Switch(head) => Ok(exchange.switch(head, door.timeout()).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::public::head::{parse_request, slots};

    #[test]
    fn only_its_own_paths_lead_to_the_control_api() {
        for path in ["/v1", "/v1/", "/v1/health", "/v1?x", "/v1/instances/a:b?x=/y", "/openapi.json"] {
            assert!(is_control(path), "{path}");
        }
        for path in
            ["/", "", "/v1x", "/v2/health", "/x/v1/", "//v1/", "*", "/?/v1/", "/V1/health", "/openapi.jsonx"]
        {
            assert!(!is_control(path), "{path}");
        }
    }

    #[test]
    fn a_client_is_believed_only_as_far_as_proxies_are_trusted() {
        let told = |peer: &str, trusted: &[&str], claims: &str| {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{claims}\r\n");
            let mut slots = slots();
            let head = parse_request(text.as_bytes(), &mut slots).unwrap();
            client(&head.fields, peer.parse().unwrap(), &TrustedProxies::parse(trusted).unwrap()).to_string()
        };
        let claim = "X-Forwarded-For: 192.0.2.9, 198.51.100.7, 10.0.0.2\r\n";
        assert_eq!(told("203.0.113.1", &[], claim), "203.0.113.1");
        assert_eq!(told("10.0.0.1", &["10.0.0.0/8"], claim), "198.51.100.7");
        assert_eq!(told("10.0.0.1", &["10.0.0.1"], claim), "10.0.0.2");
        assert_eq!(told("10.0.0.1", &["10.0.0.1"], "X-Forwarded-For: nonsense\r\n"), "10.0.0.1");
        assert_eq!(told("10.0.0.1", &["10.0.0.1"], ""), "10.0.0.1");
    }

    #[test]
    fn who_asks_is_the_last_field() {
        let mut head = b"GET / HTTP/1.1\r\na: b\r\n\r\n".to_vec();
        name_client(&mut head, "::1".parse().unwrap());
        assert_eq!(String::from_utf8(head).unwrap(), "GET / HTTP/1.1\r\na: b\r\ninsula-client: ::1\r\n\r\n");
    }
}
