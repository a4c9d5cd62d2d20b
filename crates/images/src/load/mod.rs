//! Images that are on this host already.
//!
//! ```text
//! directory with index.json ── OCI layout ─────────────────────────┐
//! tar with index.json ──────── OCI archive ── taken apart ─────────┤
//! tar with manifest.json ───── docker save ── taken apart ─────────┼── layers ── documents ── name
//! any other directory ──────── a root file system ── made a tar ───┤
//! any other tar ────────────── a root file system ─────────────────┘
//! ```

mod archive;
mod docker;
mod error;
mod layout;
mod rootfs;

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use insula_spec::{Digest, ImageSource, Reference};
use serde::Serialize;

use crate::Images;
use crate::admit::Origin;
use crate::digest::{Hashing, digest_of};
use crate::document::{Documents, read_whole};
use crate::image::Image;
use crate::layer::{Policy, Record, UnpackError, unpack, unpacked};
use crate::progress::Progress;
use crate::store::{StoreError, index};

pub use error::LoadError;

/// How to load.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// What to call it; otherwise it is called what it calls itself, if anything.
    pub name: Option<Reference>,
    /// Which image, if there are several: what it is called there.
    pub only: Option<String>,
    /// What is kept of what it asks for.
    pub policy: Policy,
}

/// What a path held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// An OCI layout directory.
    OciLayout,
    /// An OCI layout in a tar.
    OciArchive,
    /// What `docker save` writes.
    DockerArchive,
    /// A directory with a root file system.
    Directory,
    /// A tar of a root file system.
    Tar,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loaded {
    /// Digest of its manifest.
    pub digest: Digest,
    /// What it is called now. Without a name it goes with the next collection, unless something runs from it.
    pub name: Option<Reference>,
    /// What it was loaded from.
    pub kind: SourceKind,
    /// What of it is not as it was.
    pub notes: Vec<String>,
}

/// Files of a layout or an archive, by their names there.
trait Files {
    /// A regular file; `None` if there is none of this name.
    fn open(&self, name: &str) -> io::Result<Option<File>>;
}

/// One image to be brought in.
struct Candidate {
    documents: Documents,
    /// Names of the blobs of its layers, and whether their digests are told by the manifest.
    blobs: Vec<String>,
    verified: bool,
    name: Option<Reference>,
}

/// What all steps of one load need.
struct Load<'a> {
    images: &'a Images,
    path: &'a Path,
    options: &'a LoadOptions,
    progress: &'a dyn Progress,
}

impl Images {
    /// Brings in what a path holds. Blocks for as long as it takes to unpack.
    ///
    /// # Errors
    /// If the path holds no image, one that is wrong or hostile, or the file system refuses.
    pub fn load(
        &self,
        path: &Path,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>, LoadError> {
        let path = std::path::absolute(path).map_err(LoadError::io(path))?;
        let _shared = self.place.share()?;
        let mark = mark(&path).map_err(LoadError::io(&path))?;
        let load = Load { images: self, path: &path, options, progress };
        if fs::metadata(&path).map_err(LoadError::io(&path))?.is_dir() {
            if path.join("index.json").exists() {
                let files = Directory(path.clone());
                return load.bring(layout::candidates(&load, &files)?, &files, (SourceKind::OciLayout, mark));
            }
            return load.rootfs_directory(mark);
        }
        let file = open_regular(&path).map_err(LoadError::io(&path))?;
        let file = file.ok_or_else(|| LoadError::Missing { path: path.clone(), part: "file".to_owned() })?;
        let scratch = self.place.scratch()?;
        match archive::open(&load, file, scratch.path())? {
            None => load.rootfs_tar(mark),
            Some(files) if files.has("manifest.json") => {
                load.bring(docker::candidates(&load, &files)?, &files, (SourceKind::DockerArchive, mark))
            }
            Some(files) => {
                load.bring(layout::candidates(&load, &files)?, &files, (SourceKind::OciArchive, mark))
            }
        }
    }

    /// The same as [`Images::provide`], and pins the image for whoever is to run from it, so that no collection
    /// comes between.
    ///
    /// # Errors
    /// As [`Images::provide`] and [`Images::pin`].
    pub fn provide_for(&self, source: &ImageSource, holder: &str) -> Result<Image, LoadError> {
        let _shared = self.place.share()?;
        let image = self.provide(source)?;
        self.pin(image.digest, holder)?;
        Ok(image)
    }

    /// The image that a configuration names. A name must be here already; a path is loaded when it was not
    /// yet, or was changed since. Of a directory with a root file system changes are not seen: load it again.
    ///
    /// # Errors
    /// As [`Images::load`], and [`StoreError::Unknown`] for a name that is not here.
    pub fn provide(&self, source: &ImageSource) -> Result<Image, LoadError> {
        let path = match source {
            ImageSource::Name(name) => {
                return Ok(self.get(name)?.ok_or_else(|| StoreError::unknown(name))?);
            }
            ImageSource::Path(path) => path,
        };
        let mark = mark(path).map_err(LoadError::io(path))?;
        let text = path.display().to_string();
        let all = index::read(&self.place)?;
        let same = |known: &&index::Known| known.source == text && known.mark == mark && !known.keeps_setuid;
        if let Some(known) = all.iter().rev().find(same) {
            return Ok(self.image(known)?);
        }
        let loaded = self.load(path, &LoadOptions::default(), &())?;
        match loaded.as_slice() {
            [one] => {
                let image = self.by_digest(one.digest)?;
                Ok(image.ok_or_else(|| StoreError::Unknown(one.digest.to_string()))?)
            }
            _ => {
                let refs = loaded.iter().map(|one| one.digest.to_string()).collect();
                Err(LoadError::Several { path: path.clone(), refs })
            }
        }
    }
}

impl Load<'_> {
    fn policy(&self) -> &Policy {
        &self.options.policy
    }

    fn missing(&self, part: impl Into<String>) -> LoadError {
        LoadError::Missing { path: self.path.to_owned(), part: part.into() }
    }

    /// A document of the image.
    fn document(&self, files: &dyn Files, name: &str, what: &'static str) -> Result<Vec<u8>, LoadError> {
        let file = files.open(name).map_err(LoadError::io(self.path))?;
        let file = file.ok_or_else(|| self.missing(name))?;
        let bounds = &self.policy().bounds;
        let long = crate::document::DocumentError::Long { what, limit: bounds.document };
        let bytes = read_whole(file, bounds).map_err(LoadError::io(self.path))?;
        bytes.ok_or(long).map_err(LoadError::document(self.path))
    }

    /// Unpacks the layers of every image, and gives each its name.
    fn bring(
        &self,
        candidates: Vec<Candidate>,
        files: &dyn Files,
        (kind, mark): (SourceKind, String),
    ) -> Result<Vec<Loaded>, LoadError> {
        let mut loaded = Vec::new();
        for candidate in candidates {
            let mut records = Vec::new();
            for (at, (layer, diff_id)) in candidate.documents.layers().enumerate() {
                let failed = |source| LoadError::Layer { path: self.path.to_owned(), layer: at + 1, source };
                self.progress.layer(at + 1, candidate.blobs.len());
                if let Some(record) = unpacked(&self.images.place, &diff_id, self.policy()) {
                    records.push(record);
                    continue;
                }
                let blob = &candidate.blobs[at];
                let open =
                    || files.open(blob).map_err(LoadError::io(self.path))?.ok_or_else(|| self.missing(blob));
                if candidate.verified {
                    check_blob(open()?, layer.digest, self.policy().bounds.blob).map_err(failed)?;
                }
                let record = unpack(&self.images.place, open()?, Some(diff_id), self.policy());
                records.push(record.map_err(failed)?);
            }
            let name = self.options.name.clone().or(candidate.name);
            loaded.push(self.admit(&candidate.documents, name, (kind, mark.clone()), &records)?);
        }
        Ok(loaded)
    }

    fn admit(
        &self,
        documents: &Documents,
        name: Option<Reference>,
        (kind, mark): (SourceKind, String),
        records: &[Record],
    ) -> Result<Loaded, LoadError> {
        let origin = Origin {
            name: name.clone(),
            source: self.path.display().to_string(),
            mark,
            keep_setuid: self.policy().keep_setuid,
        };
        let digest = self.images.admit(documents, origin)?;
        let notes = crate::layer::notes(records);
        Ok(Loaded { digest, name, kind, notes })
    }
}

/// A layout on disk.
struct Directory(PathBuf);

impl Files for Directory {
    fn open(&self, name: &str) -> io::Result<Option<File>> {
        open_regular(&self.0.join(name))
    }
}

/// Opens a regular file. A pipe in its place would be waited for otherwise, without end.
fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match file.metadata()?.is_file() {
        true => Ok(Some(file)),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Whether a blob is what the manifest says.
fn check_blob(file: File, expected: Digest, limit: u64) -> Result<(), UnpackError> {
    if file.metadata().map_err(UnpackError::Read)?.len() > limit {
        return Err(UnpackError::TooMuch { what: "bytes as it is stored", limit });
    }
    let mut hashing = Hashing::new(BufReader::new(file));
    io::copy(&mut hashing, &mut io::sink()).map_err(UnpackError::Read)?;
    let actual = hashing.finish();
    if actual == expected { Ok(()) } else { Err(UnpackError::Digest { expected, actual }) }
}

/// Something that changes when the content of a path does, as far as that can be told cheaply.
fn mark(path: &Path) -> io::Result<String> {
    let meta = fs::metadata(path)?;
    if !meta.is_dir() {
        return Ok(format!("{}-{}-{}.{}", meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()));
    }
    match fs::read(path.join("index.json")) {
        Ok(bytes) => Ok(digest_of(&bytes).to_string()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok("directory".to_owned()),
        Err(e) => Err(e),
    }
}
