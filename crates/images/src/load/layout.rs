//! An OCI layout: `index.json`, and blobs by their digests (OCI image specification, `image-layout.md`).

use insula_spec::Digest;

use super::{Candidate, Files, Load, LoadError};
use crate::document::{Documents, choose, parse, verify};
use crate::formats::{Descriptor, Index, Platform, REF_NAME};

/// Annotation of containerd and Docker with the whole name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Most images of one layout that are looked at.
const IMAGES_MAX: usize = 1000;

/// The images of a layout that were asked for.
pub(super) fn candidates(load: &Load<'_>, files: &dyn Files) -> Result<Vec<Candidate>, LoadError> {
    let index = load.document(files, "index.json", "index")?;
    let index: Index = parse(&index, "index").map_err(LoadError::document(load.path))?;
    let foreign = |one: &&Descriptor| one.platform.as_ref().is_none_or(Platform::is_ours);
    let called = |one: &Descriptor| one.annotations.get(REF_NAME).cloned();
    let refs: Vec<_> = index.manifests.iter().filter_map(called).collect();
    let chosen: Vec<_> = match &load.options.only {
        Some(only) => index.manifests.iter().filter(|one| called(one).as_ref() == Some(only)).collect(),
        None => index.manifests.iter().filter(foreign).take(IMAGES_MAX).collect(),
    };
    if chosen.is_empty() {
        return Err(match &load.options.only {
            Some(wanted) => LoadError::NoRef { path: load.path.to_owned(), wanted: wanted.clone(), refs },
            None => load.missing("image for this machine"),
        });
    }
    if chosen.len() > 1 && load.options.name.is_some() {
        return Err(LoadError::Several { path: load.path.to_owned(), refs });
    }
    chosen.into_iter().map(|one| candidate(load, files, one)).collect()
}

fn candidate(load: &Load<'_>, files: &dyn Files, entry: &Descriptor) -> Result<Candidate, LoadError> {
    let wrong = LoadError::document(load.path);
    let blob = |digest: Digest, what| {
        let bytes = load.document(files, &blob_name(digest), what)?;
        verify(&bytes, digest, what).map_err(&wrong)?;
        Ok::<_, LoadError>(bytes)
    };
    let mut manifest = blob(entry.digest, "manifest")?;
    if entry.is_index() {
        let index: Index = parse(&manifest, "index").map_err(&wrong)?;
        manifest = blob(choose(&index).map_err(&wrong)?.digest, "manifest")?;
    }
    let parsed: crate::formats::Manifest = parse(&manifest, "manifest").map_err(&wrong)?;
    let config = blob(parsed.config.digest, "configuration")?;
    let documents = Documents::new(manifest, config, &load.policy().bounds).map_err(&wrong)?;
    let blobs = documents.manifest.layers.iter().map(|layer| blob_name(layer.digest)).collect();
    Ok(Candidate { documents, blobs, verified: true, name: own_name(entry) })
}

/// What an image calls itself. A tag alone is no name.
fn own_name(entry: &Descriptor) -> Option<insula_spec::Reference> {
    let whole = entry.annotations.get(CONTAINERD_NAME);
    let short = entry.annotations.get(REF_NAME).filter(|name| name.contains(['/', ':']));
    whole.or(short)?.parse().ok()
}

fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
