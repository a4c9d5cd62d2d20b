//! A root file system without any documents: they are made here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;

use insula_spec::Digest;
use serde::Serialize;

use super::{Load, LoadError, Loaded, SourceKind, open_regular};
use crate::digest::digest_of;
use crate::document::{DocumentError, Documents};
use crate::formats::{
    CONFIG, ConfigFile, Descriptor, LAYER_TAR, MANIFEST, Manifest, RootFs, RunConfig, architecture,
};
use crate::layer::{Record, unpack};
use crate::walk::write_directory;

impl Load<'_> {
    /// A directory: made into a tar first, so that its digest follows from its files and it is unpacked like
    /// everything else.
    pub(super) fn rootfs_directory(&self, mark: String) -> Result<Vec<Loaded>, LoadError> {
        let scratch = self.images.place.scratch()?;
        let tar = scratch.path().join("tar");
        let io = LoadError::io(&tar);
        let out = BufWriter::with_capacity(256 << 10, File::create_new(&tar).map_err(io)?);
        let done = write_directory(self.path, self.images.place.dir(), out, self.policy().bounds.entries);
        done.map_err(LoadError::io(self.path))?;
        let blob = File::open(&tar).map_err(LoadError::io(&tar))?;
        self.rootfs(blob, (SourceKind::Directory, mark))
    }

    /// A tar, perhaps compressed.
    pub(super) fn rootfs_tar(&self, mark: String) -> Result<Vec<Loaded>, LoadError> {
        let blob = open_regular(self.path).map_err(LoadError::io(self.path))?;
        self.rootfs(blob.ok_or_else(|| self.missing("file"))?, (SourceKind::Tar, mark))
    }

    fn rootfs(&self, blob: File, kind: (SourceKind, String)) -> Result<Vec<Loaded>, LoadError> {
        self.progress.layer(1, 1);
        let record = unpack(&self.images.place, blob, None, self.policy());
        let failed = |source| LoadError::Layer { path: self.path.to_owned(), layer: 1, source };
        let record = record.map_err(failed)?;
        let documents = self.documents_of(&record).map_err(LoadError::document(self.path))?;
        Ok(vec![self.admit(&documents, self.options.name.clone(), kind, &[record])?])
    }

    /// The documents of an image with this one layer. They follow from it alone.
    fn documents_of(&self, record: &Record) -> Result<Documents, DocumentError> {
        let config = ConfigFile {
            architecture: architecture().to_owned(),
            os: "linux".to_owned(),
            config: RunConfig::default(),
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![record.diff_id] },
        };
        let config = encode(&config, "configuration")?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            config: descriptor(CONFIG, digest_of(&config), config.len() as u64),
            layers: vec![descriptor(LAYER_TAR, record.diff_id, record.bytes)],
        };
        Documents::new(encode(&manifest, "manifest")?, config, &self.policy().bounds)
    }
}

pub(super) fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    let media_type = media_type.to_owned();
    Descriptor { media_type, digest, size, annotations: BTreeMap::new(), platform: None }
}

pub(super) fn encode<T: Serialize>(value: &T, what: &'static str) -> Result<Vec<u8>, DocumentError> {
    serde_json::to_vec(value).map_err(|source| DocumentError::Malformed { what, source })
}
