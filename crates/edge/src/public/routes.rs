//! What answers where no name of a service does: the `[routing]` of the configuration. Pure.
//!
//! ```text
//! `[routing.host]` ──► what the name says ──► a service or instance that is declared
//!                              │ the domain itself, or a stranger (below a domain of `[routing.subdomain]`: its row)
//!                              └──► longest prefix of `[routing.path]` ──► `default` ──► nothing
//! ```
//! At the domain itself, paths of Insula itself are never given away.

use std::collections::{BTreeSet, HashMap};

use insula_spec::config::{Config, RESERVED, Target, is_below};
use insula_spec::{InstanceName, ServiceName};

use crate::public::route::{NotFound, Route};

/// Where requests go that no name of a service claims.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    services: BTreeSet<ServiceName>,
    hosts: HashMap<String, Route>,
    /// By the domain that a host is below, the longest first.
    below: Vec<(String, Route)>,
    /// By prefix, the longest first.
    paths: Vec<(String, Route)>,
    default: Option<Route>,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refined {
    pub(crate) route: Route,
    /// Whether another path of the same host may go somewhere else.
    pub(crate) by_path: bool,
}

impl Routes {
    /// Those of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let routing = &config.routing;
        let hosts = routing.hosts.iter().map(|(host, target)| (host.clone(), to(target)));
        let mut paths: Vec<_> =
            routing.paths.iter().map(|(prefix, target)| (prefix.clone(), to(target))).collect();
        paths.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        let mut below: Vec<_> =
            routing.below.iter().map(|(domain, target)| (domain.clone(), to(target))).collect();
        below.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.len()));
        Self {
            services: config.services.keys().cloned().collect(),
            hosts: hosts.collect(),
            below,
            paths,
            default: routing.default.as_ref().map(to),
        }
    }

    /// What answers, given what the name of the host says.
    pub(crate) fn refine(&self, named: Route, host: &str, path: &str) -> Refined {
        if let Some(route) = self.of_host(host) {
            return Refined { route, by_path: false };
        }
        let at_home = matches!(named, Route::Control | Route::NotFound(NotFound::Apex));
        let free = named != Route::Control && (at_home || self.is_stranger(&named));
        if self.is_empty() || !free {
            return Refined { route: named, by_path: at_home };
        }
        if let Some(route) = self.of_domain(host).filter(|_| !at_home) {
            return Refined { route: route.clone(), by_path: false };
        }
        let reserved = at_home && RESERVED.iter().any(|reserved| is_below(path, reserved));
        let given = self.of_path(path).filter(|_| !reserved).cloned();
        Refined { route: given.unwrap_or(named), by_path: true }
    }

    fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.default.is_none() && self.below.is_empty()
    }

    /// What answers for every host below some domain.
    fn of_domain(&self, host: &str) -> Option<&Route> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let lies_below = |domain: &str| {
            let cut = host.len().checked_sub(domain.len() + 1)?;
            let (label, rest) = (host.get(..cut)?, host.get(cut..)?.strip_prefix('.')?);
            (!label.is_empty() && rest.eq_ignore_ascii_case(domain)).then_some(())
        };
        self.below.iter().find(|(domain, _)| lies_below(domain).is_some()).map(|(_, route)| route)
    }

    fn of_host(&self, host: &str) -> Option<Route> {
        if self.hosts.is_empty() {
            return None;
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.hosts.get(&host).cloned()
    }

    fn of_path(&self, path: &str) -> Option<&Route> {
        let longest = self.paths.iter().find(|(prefix, _)| is_below(path, prefix));
        longest.map(|(_, route)| route).or(self.default.as_ref())
    }

    /// Whether the name means nothing here.
    fn is_stranger(&self, named: &Route) -> bool {
        match named {
            Route::Service(service) | Route::Instance(InstanceName { service, .. }) => {
                !self.services.contains(service)
            }
            Route::NotFound(missing) => *missing == NotFound::Host,
            Route::Control => false,
        }
    }
}

fn to(target: &Target) -> Route {
    match target {
        Target::Service(service) => Route::Service(service.clone()),
        Target::Instance(name) => Route::Instance(name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::public::route::route;

    fn routes(routing: &str) -> Routes {
        let text = format!(
            "[service.web]\ncommand = \"./web-{{id}}\"\n[service.api]\ncommand = \"./api-{{id}}\"\n\
             [service.notes]\ncommand = \"notes\"\n[routing]\n{routing}"
        );
        Routes::of(&Config::parse(&text, Path::new("/app/insula.toml")).unwrap())
    }

    fn whither(routes: &Routes, host: &str, path: &str) -> String {
        match routes.refine(route(host, path, "localhost"), host, path).route {
            Route::Service(service) => service.to_string(),
            Route::Instance(name) => name.to_string(),
            Route::NotFound(missing) => format!("{missing:?}"),
            Route::Control => "Control".to_owned(),
        }
    }

    const ALL: &str = "default = \"web\"\npath = { \"/api\" = \"api\", \"/api/notes/\" = \"notes:bob\" }\n\
                       host = { \"shop.example.org\" = \"notes:alice\", \"www.localhost\" = \"web\" }\n";

    #[test]
    fn the_longest_prefix_wins_where_nobody_else_answers() {
        let routes = routes(ALL);
        for host in ["localhost", "LOCALHOST.", "example.org", "nobody.localhost", "x.nobody.localhost"] {
            for (path, target) in [
                ("/", "web"),
                ("/apix", "web"),
                ("/api", "api"),
                ("/api?q=/api/notes", "api"),
                ("/api/notesx", "api"),
                ("/api/notes", "notes:bob"),
                ("/api/notes/1?q", "notes:bob"),
            ] {
                assert_eq!(whither(&routes, host, path), target, "{host}{path}");
            }
        }
    }

    #[test]
    fn names_of_services_and_hosts_win_over_paths() {
        let routes = routes(ALL);
        for (host, target) in [
            ("api.localhost", "api"),
            ("alice.notes.localhost", "notes:alice"),
            ("notes.localhost", "notes"),
            ("Shop.Example.org.", "notes:alice"),
            ("www.localhost", "web"),
        ] {
            assert_eq!(whither(&routes, host, "/api/notes"), target, "{host}");
        }
    }

    #[test]
    fn paths_of_the_control_side_are_never_given_away() {
        let routes = routes("default = \"web\"\n[routing.path]\n\"/\" = \"api\"\n");
        for path in [
            "/v1",
            "/v1/health",
            "/metrics",
            "/metrics?x",
            "/openapi.json",
            "/bundle/a",
            "/xrpc/x",
            "/.well-known/did.json",
        ] {
            let kept = whither(&routes, "localhost", path);
            assert!(["Apex", "Control"].contains(&&*kept), "{path} leads to {kept}");
            assert_eq!(whither(&routes, "example.org", path), "api", "{path} of another host");
        }
        assert_eq!(whither(&routes, "localhost", "/v1x"), "api");
        assert_eq!(whither(&routes, "localhost", "/.well-known/security.txt"), "api");
    }

    #[test]
    fn a_host_below_a_domain_of_an_old_file_is_answered_unless_it_is_somebodys() {
        let routes = routes(
            "default = \"api\"\n[routing.subdomain]\n\"*.example.org\" = \"web\"\n\"*.localhost\" = \"web\"\n\
             \"*.b.example.org\" = \"api\"\n",
        );
        for (host, target) in [
            ("x.example.org", "web"),
            ("Y.X.Example.ORG.", "web"),
            ("x.b.example.org", "api"),
            ("example.org", "api"),
            ("xexample.org", "api"),
            ("nobody.localhost", "web"),
            ("api.localhost", "api"),
            ("alice.notes.localhost", "notes:alice"),
            ("localhost", "api"),
        ] {
            assert_eq!(whither(&routes, host, "/"), target, "{host}");
        }
        assert_eq!(whither(&routes, "localhost", "/v1/health"), "Control");
    }

    #[test]
    fn without_routes_a_name_says_everything() {
        for routes in [routes(""), Routes::default()] {
            assert_eq!(whither(&routes, "localhost", "/"), "Apex");
            assert_eq!(whither(&routes, "example.org", "/"), "Host");
            assert_eq!(whither(&routes, "nobody.localhost", "/"), "nobody");
        }
    }

    #[test]
    fn only_what_depends_on_the_path_is_asked_again() {
        let routes = routes(ALL);
        let by_path = |host| routes.refine(route(host, "/", "localhost"), host, "/").by_path;
        assert!(by_path("localhost") && by_path("example.org"));
        assert!(!by_path("api.localhost") && !by_path("shop.example.org"));
    }
}
