//! From a host name to what answers for it. Pure.

use insula_spec::{InstanceName, ServiceName};

use crate::public::apex;

/// Why a `Host` was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHost {
    /// There is none.
    #[error("the request has no host")]
    Missing,
    /// There is more than one.
    #[error("the request has more than one host")]
    Several,
    /// It is not a host name with an optional port.
    #[error("the host is malformed")]
    Malformed,
    /// The request target names another host.
    #[error("the request target names another host than the host field")]
    Mismatch,
}

impl BadHost {
    /// What the sender should do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "send exactly one host field, the same as in the request target"
    }
}

/// A host and a port, as a `Host` field or an absolute request target gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses `host [":" port]`; no user info, no percent encoding.
    pub(crate) fn parse(text: &'a str) -> Result<Self, BadHost> {
        let (host, port) = match text.rfind(':') {
            Some(at) if !text[at..].contains(']') => (&text[..at], Some(&text[at + 1..])),
            _ => (text, None),
        };
        let port = match port {
            None | Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| BadHost::Malformed)?)
            }
            Some(_) => return Err(BadHost::Malformed),
        };
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let good = match literal {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            }
        };
        if good { Ok(Self { host, port }) } else { Err(BadHost::Malformed) }
    }

    /// Whether both name the same server by plain HTTP.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.host.eq_ignore_ascii_case(other.host) && self.port.unwrap_or(80) == other.port.unwrap_or(80)
    }
}

/// What answers for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// One instance of a service.
    Instance(InstanceName),
    /// The control API, at the domain itself.
    Control,
    /// One of the versions of a service.
    Service(ServiceName),
    /// Nothing here.
    NotFound(NotFound),
}

/// Why nothing answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// The domain itself was asked for.
    #[error("nothing is served at the domain itself")]
    Apex,
    /// A service of tenants was asked for without an id.
    #[error("a service is reached by one of its instances")]
    Service(ServiceName),
    /// The host is not of the form `{id}.{service}.{domain}`.
    #[error("no such host here")]
    Host,
}

impl NotFound {
    /// What the client should do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "ask for `{id}.{service}.{domain}`"
    }
}

/// Finds what answers for `host` (without port); case and one trailing dot do not matter.
///
/// The path decides only at the domain itself.
#[must_use]
pub fn route(host: &str, path: &str, domain: &str) -> Route {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.eq_ignore_ascii_case(domain) {
        return if apex::is_control(path) { Route::Control } else { Route::NotFound(NotFound::Apex) };
    }
    inside(host, domain).unwrap_or(Route::NotFound(NotFound::Host))
}

fn inside(host: &str, domain: &str) -> Option<Route> {
    let cut = host.len().checked_sub(domain.len())?;
    let (labels, suffix) = (host.get(..cut)?.strip_suffix('.')?, host.get(cut..)?);
    if !suffix.eq_ignore_ascii_case(domain) {
        return None;
    }
    let labels = labels.to_ascii_lowercase();
    Some(match labels.split_once('.') {
        None => Route::Service(labels.parse().ok()?),
        Some((id, service)) => Route::Instance(InstanceName::new(service.parse().ok()?, id.parse().ok()?)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn instance(name: &str) -> Route {
        Route::Instance(name.parse().unwrap())
    }

    #[test]
    fn hosts_lead_to_instances() {
        let service = Route::Service("notes".parse().unwrap());
        for (host, expected) in [
            ("alice.notes.example.org", instance("notes:alice")),
            ("ALICE.Notes.Example.ORG", instance("notes:alice")),
            ("alice.notes.example.org.", instance("notes:alice")),
            ("notes.example.org", service),
            ("example.org", Route::NotFound(NotFound::Apex)),
            ("example.org.", Route::NotFound(NotFound::Apex)),
            ("a.alice.notes.example.org", Route::NotFound(NotFound::Host)),
            ("alice.notes.example.com", Route::NotFound(NotFound::Host)),
            ("alice.notesexample.org", Route::NotFound(NotFound::Host)),
            ("alice.notes.example.org..", Route::NotFound(NotFound::Host)),
            (".notes.example.org", Route::NotFound(NotFound::Host)),
            ("-a.notes.example.org", Route::NotFound(NotFound::Host)),
            ("a_b.notes.example.org", Route::NotFound(NotFound::Host)),
            ("127.0.0.1", Route::NotFound(NotFound::Host)),
            ("", Route::NotFound(NotFound::Host)),
        ] {
            assert_eq!(route(host, "/", "example.org"), expected, "`{host}`");
        }
    }

    #[test]
    fn the_control_api_is_at_the_domain_itself_and_nowhere_else() {
        assert_eq!(route("example.org", "/v1/health", "example.org"), Route::Control);
        for host in
            ["notes.example.org", "alice.notes.example.org", "example.com", "127.0.0.1", "v1.example.org"]
        {
            assert_ne!(route(host, "/v1/health", "example.org"), Route::Control, "`{host}`");
        }
    }

    #[test]
    fn authorities_are_strict() {
        let parse = |text| Authority::parse(text).map(|a| (a.host, a.port));
        assert_eq!(parse("a.b"), Ok(("a.b", None)));
        assert_eq!(parse("a.b:8080"), Ok(("a.b", Some(8080))));
        assert_eq!(parse("a.b:"), Ok(("a.b", None)));
        assert_eq!(parse("[::1]:80"), Ok(("[::1]", Some(80))));
        for bad in
            ["", ":80", "a:b", "a:65536", "u@a", "a b", "a/b", "a,b", "[::1", "a:80:80", "ä", "a%20b", "[x]"]
        {
            assert_eq!(parse(bad), Err(BadHost::Malformed), "`{bad}` was let in");
        }
    }

    proptest! {
        #[test]
        fn routing_never_panics(host in "\\PC{0,40}", domain in "[a-z]{1,8}(\\.[a-z]{1,4})?") {
            let nested = format!("{host}.{domain}");
            for host in [&host, &nested] {
                let found = route(host, "/", &domain);
                prop_assert!(!matches!(found, Route::Instance(n) if n.id.as_str().is_empty()));
            }
        }
    }
}
