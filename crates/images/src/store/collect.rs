//! Taking away: names by hand, and what no name, pin or instance holds by collection.
//!
//! ```text
//! remove(name) ── the name goes; content stays
//! gc(in_use)   ── alone: content that nothing holds is moved aside; not alone any more: it is deleted
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use insula_spec::{Digest, Reference};
use serde::Serialize;

use super::{Scratch, StoreError, index};
use crate::Images;
use crate::layer::Record;

/// What a name led to that is gone now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The name, if it had one.
    pub name: Option<Reference>,
    /// The image.
    pub digest: Digest,
}

/// What a collection took away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Images that had no name any more.
    pub images: usize,
    /// Layers.
    pub layers: usize,
    /// Blobs, those that were never whole included.
    pub blobs: usize,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Images {
    /// Takes a name away, or an image that has none. Its content stays until [`Images::gc`].
    ///
    /// # Errors
    /// If nothing has this name or digest, if something runs from the image and this is its last name, or
    /// the list cannot be written.
    pub fn remove(&self, text: &str) -> Result<Removed, StoreError> {
        let known = self.find_known(text)?;
        let pins = self.pins()?;
        index::change(&self.place, |all| {
            let holder = pins.iter().find(|(digest, _)| *digest == known.digest);
            let names = all.iter().filter(|other| other.digest == known.digest).count();
            if let (Some((_, holder)), ..=1) = (holder, names) {
                return Err(StoreError::InUse { name: text.to_owned(), holder: holder.clone() });
            }
            all.retain(|other| *other != known);
            Ok(())
        })?;
        Ok(Removed { name: known.name, digest: known.digest })
    }

    /// Removes what no name, no pin and no digest of `in_use` needs. Images that have no name are removed
    /// unless they are pinned or in use.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while another process brings something in; else what the file system says.
    pub fn gc(&self, in_use: &BTreeSet<Digest>) -> Result<Collected, StoreError> {
        let scratch = self.place.scratch()?;
        let _alone = self.place.alone()?;
        let mut held = in_use.clone();
        held.extend(self.pins()?.into_iter().map(|(digest, _)| digest));
        let mut collected = Collected::default();
        let kept = index::change(&self.place, |all| {
            let before = all.len();
            all.retain(|known| known.name.is_some() || held.contains(&known.digest));
            collected.images = before - all.len();
            Ok(all.clone())
        })?;
        let (mut blobs, mut layers) = (BTreeSet::new(), BTreeSet::new());
        for known in &kept {
            // Of an image that cannot be read, nothing is known; so nothing is taken away at all.
            let documents = self.documents(known.digest)?;
            blobs
                .extend([self.place.blob(&known.digest), self.place.blob(&documents.manifest.config.digest)]);
            let dirs = documents.config.rootfs.diff_ids.iter();
            layers.extend(dirs.map(|diff_id| self.place.layer(diff_id, known.keeps_setuid)));
        }
        // What is held and has no name any more may be unpacked either way.
        for digest in held.iter().filter(|digest| self.place.blob(digest).exists()) {
            let documents = self.documents(*digest)?;
            blobs.extend([self.place.blob(digest), self.place.blob(&documents.manifest.config.digest)]);
            for diff_id in &documents.config.rootfs.diff_ids {
                layers.extend([true, false].map(|setuid| self.place.layer(diff_id, setuid)));
            }
        }
        let aside = Aside { scratch };
        aside.take(&self.place.layers(), &layers, |path| {
            collected.layers += 1;
            collected.bytes += Record::read(path).map(|record| record.bytes).unwrap_or_default();
        })?;
        for dir in [self.place.blobs(), self.place.partials()] {
            aside.take(&dir, &blobs, |path| {
                collected.blobs += 1;
                collected.bytes += fs::metadata(path).map(|meta| meta.len()).unwrap_or_default();
            })?;
        }
        Ok(collected)
    }
}

/// Where things go that are to be deleted. That takes long, and needs no lock any more.
struct Aside {
    scratch: Scratch,
}

impl Aside {
    /// Takes everything out of a directory that is not among those to keep.
    fn take(
        &self,
        dir: &Path,
        keep: &BTreeSet<PathBuf>,
        mut seen: impl FnMut(&Path),
    ) -> Result<(), StoreError> {
        let entries: Result<Vec<_>, io::Error> = fs::read_dir(dir).and_then(Iterator::collect);
        for entry in entries.map_err(StoreError::io(dir))? {
            let path = entry.path();
            if keep.contains(&path) {
                continue;
            }
            seen(&path);
            let kind = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let target = self.scratch.path().join(format!("{kind}-{}", entry.file_name().to_string_lossy()));
            fs::rename(&path, target).map_err(StoreError::io(&path))?;
        }
        Ok(())
    }
}
