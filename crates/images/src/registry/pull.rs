//! The whole way of an image from a registry to here.

use std::sync::Arc;
use std::time::Duration;

use insula_spec::{Digest, Reference};
use serde::Serialize;

use super::blob;
use super::session::Session;
use super::{AuthFiles, PullError};
use crate::Images;
use crate::admit::Origin;
use crate::document::{Documents, choose, parse};
use crate::formats::{Index, Manifest};
use crate::layer::{Policy, Record, UnpackError, unpack, unpacked};
use crate::progress::Progress;

/// How to pull.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Where what to log in with may be.
    pub auth: AuthFiles,
    /// Whether to do without TLS. To this machine itself there is none anyway.
    pub plain_http: bool,
    /// Time for everything.
    pub timeout: Duration,
    /// What is kept of what the image asks for.
    pub policy: Policy,
}

impl Default for PullOptions {
    /// As everybody, with TLS, within an hour.
    fn default() -> Self {
        let timeout = Duration::from_secs(3600);
        Self { auth: AuthFiles::default(), plain_http: false, timeout, policy: Policy::default() }
    }
}

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pulled {
    /// Digest of its manifest.
    pub digest: Digest,
    /// What it is called.
    pub name: Reference,
    /// Whether it was here already, just as it is.
    pub up_to_date: bool,
    /// What of it is not as it was.
    pub notes: Vec<String>,
}

/// What the manifest has beside its own digest: lists are told apart by what is in them.
#[derive(serde::Deserialize)]
struct Either {
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

impl Images {
    /// Brings in an image from its registry. If the future is dropped, what came so far stays for the next
    /// attempt.
    ///
    /// # Errors
    /// If the registry cannot be reached or refuses, what it sends is wrong, hostile, or too much, or the file
    /// system refuses.
    pub async fn pull(
        &self,
        name: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled, PullError> {
        let place = self.place.clone();
        let share = tokio::task::spawn_blocking(move || place.share());
        let _shared = share.await.map_err(|_| PullError::Ended)??;
        let limit = options.timeout;
        let late = |_| PullError::Deadline { name: name.clone(), limit };
        tokio::time::timeout(limit, self.bring(name, options, progress)).await.map_err(late)?
    }

    async fn bring(
        &self,
        name: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled, PullError> {
        let policy = options.policy;
        let mut session = Session::new(name, &options.auth, options.plain_http, policy.bounds)?;
        let documents = documents(&mut session).await?;
        let before = self.get(name).ok().flatten().map(|image| image.digest);
        let count = documents.manifest.layers.len();
        let mut records = Vec::new();
        for (at, (layer, diff_id)) in documents.layers().enumerate() {
            progress.layer(at + 1, count);
            let failed =
                |source| PullError::Layer { name: name.clone(), layer: at + 1, source: Box::new(source) };
            if let Some(record) = unpacked(&self.place, &diff_id, &policy) {
                records.push(record);
                continue;
            }
            if layer.size > policy.bounds.blob {
                let limit = policy.bounds.blob;
                return Err(failed(UnpackError::TooMuch { what: "bytes as it is sent", limit }));
            }
            let claim = blob::Claim::new(&self.place, layer).await?;
            if let Some(record) = unpacked(&self.place, &diff_id, &policy) {
                claim.forget();
                records.push(record);
                continue;
            }
            let fetched = blob::fetch(&mut session, claim, layer, progress).await?;
            records.push(self.unpack_apart(fetched, diff_id, policy).await?.map_err(failed)?);
        }
        let origin = Origin {
            name: Some(name.clone()),
            source: name.to_string(),
            mark: String::new(),
            keep_setuid: policy.keep_setuid,
        };
        let digest = self.admit(&documents, origin)?;
        let notes = crate::layer::notes(&records);
        Ok(Pulled { digest, name: name.clone(), up_to_date: before == Some(digest), notes })
    }

    /// Unpacks where it holds nobody up.
    async fn unpack_apart(
        &self,
        fetched: blob::Fetched,
        diff_id: Digest,
        policy: Policy,
    ) -> Result<Result<Record, UnpackError>, PullError> {
        let place = Arc::new(self.place.clone());
        let work = move || unpack(&place, &fetched.file, Some(diff_id), &policy);
        tokio::task::spawn_blocking(work).await.map_err(|_| PullError::Ended)
    }
}

/// Manifest and configuration for this machine.
async fn documents(session: &mut Session) -> Result<Documents, PullError> {
    let mut manifest = session.manifest(session.name().digest()).await?;
    let either: Either = parse(&manifest, "manifest").map_err(|e| session.wrong(e))?;
    if either.manifests.is_some() {
        let index: Index = parse(&manifest, "index").map_err(|e| session.wrong(e))?;
        let digest = choose(&index).map_err(|e| session.wrong(e))?.digest;
        manifest = session.manifest(Some(digest)).await?;
    }
    let parsed: Manifest = parse(&manifest, "manifest").map_err(|e| session.wrong(e))?;
    let config = session.document(parsed.config.digest).await?;
    Documents::new(manifest, config, &session.bounds).map_err(|e| session.wrong(e))
}
