//! Why an image cannot be pulled.

use std::io;
use std::time::Duration;

use http::StatusCode;
use insula_spec::{Digest, Reference};

use super::credentials::CredentialsError;
use crate::document::DocumentError;
use crate::layer::UnpackError;
use crate::store::StoreError;

/// Why an image cannot be pulled. Layers that were whole stay, and what came of the others: the next attempt
/// goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// What to log in with cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Nobody listens there, or not with TLS.
    #[error("cannot connect to `{host}`")]
    Connect {
        /// Host and port.
        host: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something would go over the network in the clear.
    #[error("`{host}` is only reached without TLS")]
    Insecure {
        /// Host and port.
        host: String,
    },
    /// The exchange broke off.
    #[error("the exchange with `{host}` broke off")]
    Exchange {
        /// Host and port.
        host: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// It answered what nobody asked for.
    #[error("`{host}` does not speak like a registry: {what}")]
    Protocol {
        /// Host and port.
        host: String,
        /// What it did.
        what: &'static str,
    },
    /// It refused.
    #[error("`{host}` answered {status}{}", said(message))]
    Status {
        /// Host and port.
        host: String,
        /// Its status.
        status: StatusCode,
        /// What it said, cut.
        message: String,
    },
    /// It lets nobody have this image, or only others.
    #[error("`{registry}` does not let {} have `{name}`", if *known { "this user" } else { "everybody" })]
    Denied {
        /// The registry.
        registry: String,
        /// The image.
        name: Reference,
        /// Whether there was something to log in with.
        known: bool,
    },
    /// It has no such image.
    #[error("the registry has no image `{0}`")]
    NotFound(Reference),
    /// It said nothing any more.
    #[error("`{host}` was silent for {} seconds", after.as_secs())]
    Slow {
        /// Host and port.
        host: String,
        /// How long.
        after: Duration,
    },
    /// It took longer than it may.
    #[error("`{name}` did not come within {} seconds", limit.as_secs())]
    Deadline {
        /// The image.
        name: Reference,
        /// The bound.
        limit: Duration,
    },
    /// The documents are wrong.
    #[error("the image `{name}` cannot be used")]
    Document {
        /// The image.
        name: Reference,
        /// What is wrong.
        #[source]
        source: Box<DocumentError>,
    },
    /// A layer is not what was promised.
    #[error("what `{host}` sent as `{expected}` is {what}")]
    Blob {
        /// Host and port.
        host: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        what: String,
    },
    /// A layer cannot be unpacked.
    #[error("layer {layer} of `{name}` cannot be used")]
    Layer {
        /// The image.
        name: Reference,
        /// Which layer, from 1 at the bottom.
        layer: usize,
        /// What is wrong.
        #[source]
        source: Box<UnpackError>,
    },
    /// What is kept cannot be changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The program itself failed.
    #[error("the work was ended before it was done")]
    Ended,
}

impl PullError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Credentials(e) => e.hint(),
            Self::Connect { .. } => "check the name of the registry, the network, and its certificate",
            Self::Insecure { .. } => {
                "give the registry a certificate; `--plain-http` does without, for everybody to read"
            }
            Self::Exchange { .. } | Self::Slow { .. } => "try again: what has come already is kept",
            Self::Deadline { .. } => "try again: what has come already is kept; `--timeout` gives it longer",
            Self::Protocol { .. } => "check that the name is that of a registry",
            Self::Status { .. } => "try again later, or ask whoever runs the registry",
            Self::Denied { known: false, .. } => {
                "check the name; if it is private, log in with `docker login` or `podman login`, or name a file with `--auth-file`"
            }
            Self::Denied { known: true, .. } => "check the name and the password, and who may read it",
            Self::NotFound(_) => "check name and tag",
            Self::Document { source, .. } => source.hint(),
            Self::Blob { .. } => "do not trust this registry, or the way to it",
            Self::Layer { source, .. } => source.hint(),
            Self::Store(e) => e.hint(),
            Self::Ended => "try again",
        }
    }

    /// Whether another attempt may go better.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Exchange { .. } | Self::Slow { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::REQUEST_TIMEOUT
            }
            _ => false,
        }
    }
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
