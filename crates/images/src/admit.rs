//! The last steps of bringing an image in: its documents are kept, and a name leads to it.

use std::time::{SystemTime, UNIX_EPOCH};

use insula_spec::{Digest, Reference};

use crate::Images;
use crate::digest::digest_of;
use crate::document::Documents;
use crate::store::{Known, StoreError, index};

/// Where an image comes from, and what it is to be called.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) name: Option<Reference>,
    /// A name in a registry, or a path.
    pub(crate) source: String,
    /// What changes when the content of a path changes.
    pub(crate) mark: String,
    pub(crate) keep_setuid: bool,
}

impl Images {
    /// Keeps the documents of an image whose layers are all there, then its name. Whoever calls has the
    /// shared lock.
    pub(crate) fn admit(&self, documents: &Documents, origin: Origin) -> Result<Digest, StoreError> {
        for bytes in [&documents.config_bytes, &documents.manifest_bytes] {
            let path = self.place.blob(&digest_of(bytes));
            if !path.exists() {
                self.place.write_whole(&path, bytes)?;
            }
        }
        let digest = documents.digest();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        index::add(
            &self.place,
            Known {
                digest,
                size: documents.manifest_bytes.len() as u64,
                name: origin.name,
                source: origin.source,
                mark: origin.mark,
                added: now.as_secs(),
                keeps_setuid: origin.keep_setuid,
            },
        )?;
        Ok(digest)
    }
}
