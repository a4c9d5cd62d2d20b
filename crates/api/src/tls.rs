//! TLS as a client: with the roots that the host trusts, or with those of one file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Whose certificates are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those that a root of this host vouches for.
    #[default]
    Host,
    /// Those that a certificate in this file (PEM) vouches for, and no others.
    File(PathBuf),
}

/// Why a connection is not private.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The host has no roots.
    #[error("this host has no root certificates")]
    NoRoots,
    /// The file holds none.
    #[error("there is no certificate in `{}`{}", path.display(), why.as_ref().map(|w| format!(": {w}")).unwrap_or_default())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not, if there is more to say.
        why: Option<String>,
    },
    /// The name cannot be in a certificate.
    #[error("`{0}` is not a name that a certificate can be for")]
    Name(String),
    /// The other side and this one did not agree, or its certificate does not hold.
    #[error("the other side did not prove to be `{name}`")]
    Handshake {
        /// Who it was to be.
        name: String,
        /// What was wrong.
        #[source]
        source: io::Error,
    },
    /// It could not be set up.
    #[error("cannot set up TLS")]
    Setup(#[source] io::Error),
}

impl TlsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoRoots => "install `ca-certificates`, or name a file of certificates",
            Self::File { .. } => "name a file of certificates in PEM form",
            Self::Name(_) => "use the name that the certificate is for",
            Self::Handshake { .. } => {
                "check the name, that it speaks TLS, and that its certificate is of an authority that this host \
                 trusts; for the command line `INSULA_CA_FILE` names the certificate of one's own authority"
            }
            Self::Setup(_) => "this is a fault of Insula; please report it",
        }
    }
}

/// Speaks TLS over a connection; the certificate of the other side must be for this host, and be believed.
///
/// # Errors
/// When it is not, or there is nobody to believe.
pub async fn connect(host: &str, stream: TcpStream, trust: &Trust) -> Result<TlsStream<TcpStream>, TlsError> {
    // `[::1]` is an address in brackets.
    let plain = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(plain.clone()).map_err(|_| TlsError::Name(plain.clone()))?;
    let trust = trust.clone();
    let config = tokio::task::spawn_blocking(move || config(&trust)).await;
    let config = config.map_err(|e| TlsError::Setup(io::Error::other(e)))??;
    let spoken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    spoken.map_err(|source| TlsError::Handshake { name: plain, source })
}

/// Read anew for each connection: they are few, and the roots of a host change while it runs.
fn config(trust: &Trust) -> Result<ClientConfig, TlsError> {
    let roots = match trust {
        Trust::Host => roots(load_native_certs()).ok_or(TlsError::NoRoots)?,
        Trust::File(path) => of_file(path)?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Setup(io::Error::other(e)))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn of_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let found = load_certs_from_paths(Some(path), None);
    let why = found.errors.first().map(ToString::to_string);
    roots(found).ok_or_else(|| TlsError::File { path: path.to_owned(), why })
}

/// `None` when there is none.
fn roots(found: CertificateResult) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    (added > 0).then_some(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_told_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        for text in [None, Some(""), Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let error = config(&Trust::File(path.clone())).unwrap_err();
            assert!(
                matches!(&error, TlsError::File { path: told, .. } if *told == path),
                "{text:?}: {error}"
            );
        }
    }
}
