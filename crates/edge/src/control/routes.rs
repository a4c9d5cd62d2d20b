//! A router that knows its own paths, so that a test can hold them against what is described.

use std::convert::Infallible;

use axum::Router;
use axum::routing::MethodRouter;

/// A router under construction.
#[derive(Debug)]
pub(super) struct Routes<S> {
    router: Router<S>,
    paths: Vec<String>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// Without any route.
    pub(super) fn new() -> Self {
        Self { router: Router::new(), paths: Vec::new() }
    }

    /// Adds a path, as [`Router::route`] does.
    pub(super) fn route(mut self, path: &str, methods: MethodRouter<S, Infallible>) -> Self {
        self.paths.push(path.to_owned());
        Self { router: self.router.route(path, methods), ..self }
    }

    /// The router, and its paths.
    pub(super) fn into_parts(self) -> (Router<S>, Vec<String>) {
        (self.router, self.paths)
    }
}
