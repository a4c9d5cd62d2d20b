//! What answers at the domain itself and at hosts that are not `{service}.{domain}`.
//!
//! ```text
//! host ──in `[routing.host]`──► target
//!   │ not there, and the domain itself or a stranger
//!   ├──► below a domain of tenement's `[routing.subdomain]` ──► target
//!   └──► path: longest prefix of `[routing.path]` ──► target
//!                    │ none
//!                    └──► `default` ──► target
//! ```

use std::collections::BTreeMap;
use std::fmt;

use crate::{InstanceName, ServiceName};

/// Where Insula itself answers at the domain itself; no route of the file may lead there.
pub const RESERVED: &[&str] =
    &["/v1", "/metrics", "/openapi.json", "/bundle", "/xrpc", "/.well-known/did.json"];

/// Whether a path is `prefix` or lies below it, compared byte by byte and only at a `/`. A query does not
/// belong to the path.
#[must_use]
pub fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix));
    rest.is_some_and(|rest| matches!(rest.as_bytes().first(), None | Some(b'/' | b'?')))
}

/// What answers for a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// One of the versions of a service, by weight.
    Service(ServiceName),
    /// One instance.
    Instance(InstanceName),
}

impl Target {
    /// The service that it belongs to.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        match self {
            Self::Service(service) => service,
            Self::Instance(name) => &name.service,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => fmt::Display::fmt(service, f),
            Self::Instance(name) => fmt::Display::fmt(name, f),
        }
    }
}

/// The `[routing]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// What answers where nothing else does.
    pub default: Option<Target>,
    /// Targets by path prefix, without a slash at the end; `""` is every path.
    pub paths: BTreeMap<String, Target>,
    /// Targets by host, in lower case.
    pub hosts: BTreeMap<String, Target>,
    /// Targets of every host below a domain that nobody else claims, by that domain.
    pub below: BTreeMap<String, Target>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_slash() {
        for (path, prefix, below) in [
            ("/api", "/api", true),
            ("/api/", "/api", true),
            ("/api/x", "/api/", true),
            ("/api?x", "/api", true),
            ("/apix", "/api", false),
            ("/ap", "/api", false),
            ("/API", "/api", false),
            ("/", "", true),
            ("/x", "/", true),
            ("*", "/", false),
        ] {
            assert_eq!(is_below(path, prefix), below, "{path} below {prefix}");
        }
    }
}
