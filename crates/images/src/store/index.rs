//! The list of images: `index.json`, an index of the OCI image layout.
//!
//! One entry for each name, and one for each image without a name. It is replaced as a whole, under a lock.

use std::fs;
use std::io;

use insula_spec::{Digest, Reference};

use super::{Place, StoreError};
use crate::formats::{Descriptor, INDEX, Index, MANIFEST, REF_NAME};

/// Annotation: where the image came from.
const SOURCE: &str = "org.insula.image.source";
/// Annotation: what changes when the content of that place changes.
const MARK: &str = "org.insula.image.mark";
/// Annotation: seconds since 1970 when it came.
const ADDED: &str = "org.insula.image.added";
/// Annotation: that set-user-id bits are kept.
const SETUID: &str = "org.insula.image.setuid";

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// Digest of the manifest.
    pub(crate) digest: Digest,
    /// Length of the manifest in bytes.
    pub(crate) size: u64,
    /// The name that leads to it.
    pub(crate) name: Option<Reference>,
    /// Where it came from: a name in a registry, or a path.
    pub(crate) source: String,
    /// What changes when the content of that place changes.
    pub(crate) mark: String,
    /// Seconds since 1970 when it came.
    pub(crate) added: u64,
    /// Whether set-user-id bits of its files are kept.
    pub(crate) keeps_setuid: bool,
}

impl Known {
    fn from(descriptor: Descriptor) -> Self {
        let text = |key: &str| descriptor.annotations.get(key);
        Self {
            digest: descriptor.digest,
            size: descriptor.size,
            name: text(REF_NAME).and_then(|name| name.parse().ok()),
            source: text(SOURCE).cloned().unwrap_or_default(),
            mark: text(MARK).cloned().unwrap_or_default(),
            added: text(ADDED).and_then(|text| text.parse().ok()).unwrap_or_default(),
            keeps_setuid: text(SETUID).is_some_and(|text| text == "keep"),
        }
    }

    fn descriptor(&self) -> Descriptor {
        let mut annotations = std::collections::BTreeMap::new();
        annotations.insert(SOURCE.to_owned(), self.source.clone());
        annotations.insert(MARK.to_owned(), self.mark.clone());
        annotations.insert(ADDED.to_owned(), self.added.to_string());
        if let Some(name) = &self.name {
            annotations.insert(REF_NAME.to_owned(), name.to_string());
        }
        if self.keeps_setuid {
            annotations.insert(SETUID.to_owned(), "keep".to_owned());
        }
        let (digest, size) = (self.digest, self.size);
        Descriptor { media_type: MANIFEST.to_owned(), digest, size, annotations, platform: None }
    }
}

/// Everything that is known, in the order in which it came.
pub(crate) fn read(place: &Place) -> Result<Vec<Known>, StoreError> {
    let path = place.index();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(StoreError::Io { path, source }),
    };
    let index: Index =
        serde_json::from_slice(&bytes).map_err(|source| StoreError::BadIndex { path, source })?;
    Ok(index.manifests.into_iter().map(Known::from).collect())
}

/// Changes the list.
pub(crate) fn change<T>(
    place: &Place,
    how: impl FnOnce(&mut Vec<Known>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let _lock = place.lock_index()?;
    let mut all = read(place)?;
    let before = all.clone();
    let answer = how(&mut all)?;
    if all != before {
        let manifests = all.iter().map(Known::descriptor).collect();
        let index = Index { schema_version: 2, media_type: Some(INDEX.to_owned()), manifests };
        let path = place.index();
        let bytes = serde_json::to_vec_pretty(&index)
            .map_err(|source| StoreError::BadIndex { path: path.clone(), source })?;
        place.write_whole(&path, &bytes)?;
    }
    Ok(answer)
}

/// Adds an image. A name leads to the newest; what it led to before stays, without a name, until it is
/// collected.
pub(crate) fn add(place: &Place, new: Known) -> Result<(), StoreError> {
    change(place, |all| {
        match &new.name {
            Some(name) => lose_name(all, name),
            None => all.retain(|old| old.name.is_some() || old.source != new.source),
        }
        all.retain(|old| old.name.is_some() || old.digest != new.digest);
        all.push(new);
        Ok(())
    })
}

/// Takes a name off what it led to. That stays in the list until it is collected: something may run from it.
fn lose_name(all: &mut Vec<Known>, name: &Reference) {
    let Some(at) = all.iter().position(|old| old.name.as_ref() == Some(name)) else { return };
    let digest = all[at].digest;
    match all.iter().filter(|other| other.digest == digest).count() {
        1 => all[at].name = None,
        _ => drop(all.remove(at)),
    }
}
