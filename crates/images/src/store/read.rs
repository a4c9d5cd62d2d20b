//! Looking at what is here.

use std::fs;

use insula_spec::{Digest, Reference};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Known, StoreError, index};
use crate::Images;
use crate::digest::digest_of;
use crate::formats::{ConfigFile, Manifest};
use crate::image::{Image, ImageConfig, Layer};
use crate::layer::Record;

/// One image in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Digest of its manifest.
    pub digest: Digest,
    /// The name that leads to it.
    pub name: Option<Reference>,
    /// Where it came from.
    pub source: String,
    /// When it came, in seconds since 1970.
    pub added: u64,
    /// Bytes of its files; layers that are shared with other images count for each.
    pub bytes: u64,
    /// How many layers it has.
    pub layers: usize,
    /// What is wrong with it, if it cannot be used.
    pub damage: Option<String>,
}

/// The documents of one image.
pub(crate) struct Documents {
    pub(crate) manifest: Manifest,
    pub(crate) config: ConfigFile,
}

impl Images {
    /// Every image, by name.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let mut listed = Vec::new();
        for known in index::read(&self.place)? {
            let (records, damage) = match self.records(&known) {
                Ok(records) => (records, None),
                Err(StoreError::Damaged { what, .. }) => (Vec::new(), Some(what)),
                Err(other) => return Err(other),
            };
            listed.push(Listed {
                digest: known.digest,
                name: known.name,
                source: known.source,
                added: known.added,
                bytes: records.iter().map(|record| record.bytes).sum(),
                layers: records.len(),
                damage,
            });
        }
        listed.sort_by(|a, b| (&a.name, a.digest).cmp(&(&b.name, b.digest)));
        Ok(listed)
    }

    /// The image that this name leads to. A name with a digest is found if that image is here, whatever its
    /// tag leads to now.
    ///
    /// # Errors
    /// If the list or the image cannot be read.
    pub fn get(&self, name: &Reference) -> Result<Option<Image>, StoreError> {
        let all = index::read(&self.place)?;
        let named = |known: &&Known| match name.digest() {
            Some(digest) => known.is_pinned_by(digest, name),
            None => known.name.as_ref() == Some(name),
        };
        all.iter().find(named).map(|known| self.image(known)).transpose()
    }

    /// The image with this digest.
    ///
    /// # Errors
    /// If the list or the image cannot be read.
    pub fn by_digest(&self, digest: Digest) -> Result<Option<Image>, StoreError> {
        let all = index::read(&self.place)?;
        all.iter().find(|known| known.digest == digest).map(|known| self.image(known)).transpose()
    }

    /// What a user means by a text: a name, a digest, or at least six digits that only one digest begins with.
    ///
    /// # Errors
    /// If nothing or more than one image is meant, or the list cannot be read.
    pub fn find(&self, text: &str) -> Result<Image, StoreError> {
        self.find_known(text).and_then(|known| self.image(&known))
    }

    /// Digest and name of what a user means, as [`Images::find`]; the image may be damaged.
    ///
    /// # Errors
    /// As [`Images::find`].
    pub fn lookup(&self, text: &str) -> Result<(Digest, Option<Reference>), StoreError> {
        self.find_known(text).map(|known| (known.digest, known.name))
    }

    pub(crate) fn find_known(&self, text: &str) -> Result<Known, StoreError> {
        let all = index::read(&self.place)?;
        if let Ok(name) = text.parse::<Reference>() {
            let named = |known: &&Known| match name.digest() {
                Some(digest) => known.is_pinned_by(digest, &name),
                None => known.name.as_ref() == Some(&name),
            };
            if let Some(known) = all.iter().find(named) {
                return Ok(known.clone());
            }
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let begins = |known: &&Known| digits.len() >= 6 && known.digest.hex().starts_with(digits);
        let found: Vec<_> = all.iter().filter(begins).collect();
        match found.as_slice() {
            [] => Err(StoreError::Unknown(text.to_owned())),
            [first, rest @ ..] if rest.iter().all(|other| other.digest == first.digest) => {
                Ok((*first).clone())
            }
            _ => Err(StoreError::Ambiguous(text.to_owned())),
        }
    }

    /// What became of the files of an image, layer by layer from the bottom.
    ///
    /// # Errors
    /// If the image is not here or damaged.
    pub fn layer_records(&self, digest: Digest) -> Result<Vec<Record>, StoreError> {
        let all = index::read(&self.place)?;
        let known = all.iter().find(|known| known.digest == digest);
        self.records(known.ok_or_else(|| StoreError::Unknown(digest.to_string()))?)
    }

    pub(crate) fn image(&self, known: &Known) -> Result<Image, StoreError> {
        let documents = self.documents(known.digest)?;
        let mut layers = Vec::new();
        for record in self.records(known)? {
            if record.opaque_root {
                layers.clear();
            }
            layers.push(Layer {
                diff_id: record.diff_id,
                path: self.place.layer(&record.diff_id, known.keeps_setuid).join("fs"),
                whiteouts: record.whiteouts,
                ownership: record.ownership,
            });
        }
        let config = ImageConfig::from(documents.config.config);
        Ok(Image { digest: known.digest, name: known.name.clone(), config, layers })
    }

    pub(crate) fn documents(&self, digest: Digest) -> Result<Documents, StoreError> {
        let manifest: Manifest = self.document(digest, digest)?;
        let config = self.document(digest, manifest.config.digest)?;
        Ok(Documents { manifest, config })
    }

    /// A blob that is one document, checked again: disks forget.
    fn document<T: DeserializeOwned>(&self, image: Digest, digest: Digest) -> Result<T, StoreError> {
        let damaged = |what: String| StoreError::Damaged { digest: image, what };
        let bytes = fs::read(self.place.blob(&digest));
        let bytes = bytes.map_err(|e| damaged(format!("its blob `{digest}` cannot be read: {e}")))?;
        if digest_of(&bytes) != digest {
            return Err(damaged(format!("the content of its blob `{digest}` has changed")));
        }
        serde_json::from_slice(&bytes)
            .map_err(|e| damaged(format!("its blob `{digest}` cannot be read: {e}")))
    }

    fn records(&self, known: &Known) -> Result<Vec<Record>, StoreError> {
        let documents = self.documents(known.digest)?;
        let read = |diff_id: &Digest| {
            let dir = self.place.layer(diff_id, known.keeps_setuid);
            let what = |e| format!("its layer `{diff_id}` cannot be read: {e}");
            Record::read(&dir).map_err(|e| StoreError::Damaged { digest: known.digest, what: what(e) })
        };
        documents.config.rootfs.diff_ids.iter().map(read).collect()
    }
}

impl Known {
    /// Whether a name with a digest means this one: the digest that it has, or had in a list of architectures.
    fn is_pinned_by(&self, digest: Digest, name: &Reference) -> bool {
        self.digest == digest || self.name.as_ref() == Some(name)
    }
}
