//! The documents of one image, checked against each other.

use std::fs::File;
use std::io::Read;

use insula_spec::Digest;
use serde::de::DeserializeOwned;

use crate::digest::digest_of;
use crate::formats::{ConfigFile, Descriptor, Index, Manifest, Platform, architecture};
use crate::layer::Bounds;

/// What is wrong with the documents of an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// A document that is longer than is taken.
    #[error("its {what} has more than {limit} bytes")]
    Long {
        /// Which one.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// A document that cannot be understood.
    #[error("its {what} cannot be read")]
    Malformed {
        /// Which one.
        what: &'static str,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A document that is not the one that was meant.
    #[error("its {what} is `{actual}`, and not `{expected}` as it should be")]
    Digest {
        /// Which one.
        what: &'static str,
        /// What was meant.
        expected: Digest,
        /// What is there.
        actual: Digest,
    },
    /// It is for other machines.
    #[error("it is for {found}, and this host is linux/{}", architecture())]
    Platform {
        /// What it is for.
        found: String,
    },
    /// The documents have different numbers of layers.
    #[error("its manifest has {manifest} layers and its configuration {config}")]
    Layers {
        /// In the manifest.
        manifest: usize,
        /// In the configuration.
        config: usize,
    },
    /// It has no files.
    #[error("it has no layers, so there is nothing to run")]
    Empty,
    /// It has more layers than are taken.
    #[error("it has {found} layers, and at most {limit} are taken")]
    TooMany {
        /// How many it has.
        found: usize,
        /// The bound.
        limit: usize,
    },
    /// A layer that cannot be unpacked here.
    #[error("a layer of it is of the kind `{0}`")]
    Kind(String),
}

impl DocumentError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Digest { .. } => "fetch it again; if that does not help, do not trust where it comes from",
            Self::Platform { .. } => "choose an image that was built for this machine",
            Self::Empty => "build the image with at least one file",
            Self::TooMany { .. } | Self::Long { .. } => "squash the image into fewer layers",
            Self::Kind(_) => "use layers that are tar archives, plain, or compressed by gzip or zstd",
            Self::Malformed { .. } | Self::Layers { .. } => {
                "build the image again: it contradicts its format"
            }
        }
    }
}

/// The manifest and the configuration of an image, as they are kept.
#[derive(Debug, Clone)]
pub(crate) struct Documents {
    pub(crate) manifest_bytes: Vec<u8>,
    pub(crate) config_bytes: Vec<u8>,
    pub(crate) manifest: Manifest,
    pub(crate) config: ConfigFile,
}

impl Documents {
    /// Checks both against each other, and whether this host could run the image.
    pub(crate) fn new(
        manifest_bytes: Vec<u8>,
        config_bytes: Vec<u8>,
        bounds: &Bounds,
    ) -> Result<Self, DocumentError> {
        let manifest: Manifest = parse(&manifest_bytes, "manifest")?;
        let expected = manifest.config.digest;
        verify(&config_bytes, expected, "configuration")?;
        let config: ConfigFile = parse(&config_bytes, "configuration")?;
        let (told, there) = (config.rootfs.diff_ids.len(), manifest.layers.len());
        if told != there {
            return Err(DocumentError::Layers { manifest: there, config: told });
        }
        check_count(there, bounds)?;
        for layer in &manifest.layers {
            let kind = &layer.media_type;
            if !kind.is_empty() && !kind.contains(".tar") && !kind.contains("diff.tar")
                || kind.contains("encrypted")
            {
                return Err(DocumentError::Kind(kind.clone()));
            }
        }
        let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
        let same = |text: &str, ours: &str| text.is_empty() || text == ours;
        if !same(&config.os, "linux") || !same(&config.architecture, architecture()) {
            let found = format!("{}/{}", known(&config.os), known(&config.architecture));
            return Err(DocumentError::Platform { found });
        }
        Ok(Self { manifest_bytes, config_bytes, manifest, config })
    }

    /// The identity of the image.
    pub(crate) fn digest(&self) -> Digest {
        digest_of(&self.manifest_bytes)
    }

    /// Each layer with the digest of its tar.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (&Descriptor, Digest)> {
        self.manifest.layers.iter().zip(self.config.rootfs.diff_ids.iter().copied())
    }
}

pub(crate) fn check_count(found: usize, bounds: &Bounds) -> Result<(), DocumentError> {
    match found {
        0 => Err(DocumentError::Empty),
        _ if found > bounds.layers => Err(DocumentError::TooMany { found, limit: bounds.layers }),
        _ => Ok(()),
    }
}

/// The manifest for this machine out of a list.
pub(crate) fn choose(index: &Index) -> Result<&Descriptor, DocumentError> {
    let ours = |d: &&Descriptor| d.platform.as_ref().is_some_and(Platform::is_ours);
    let only = || index.manifests.first().filter(|one| index.manifests.len() == 1 && one.platform.is_none());
    index.manifests.iter().find(ours).or_else(only).ok_or_else(|| {
        let name = |d: &Descriptor| d.platform.as_ref().map(|p| format!("{}/{}", p.os, p.architecture));
        let all: Vec<_> = index.manifests.iter().filter_map(name).take(12).collect();
        DocumentError::Platform { found: all.join(", ") }
    })
}

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, DocumentError> {
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Malformed { what, source })
}

pub(crate) fn verify(bytes: &[u8], expected: Digest, what: &'static str) -> Result<(), DocumentError> {
    let actual = digest_of(bytes);
    if actual == expected { Ok(()) } else { Err(DocumentError::Digest { what, expected, actual }) }
}

/// Reads a document that may not be long.
pub(crate) fn read_whole(file: File, bounds: &Bounds) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(bounds.document + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= bounds.document).then_some(bytes))
}
