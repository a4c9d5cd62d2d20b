//! What `docker save` writes: `manifest.json` names configurations, tags and layers.

use serde::Deserialize;

use super::{Candidate, Files, Load, LoadError};
use crate::digest::digest_of;
use crate::document::{Documents, check_count, parse};
use crate::formats::{CONFIG, ConfigFile, Descriptor, LAYER_TAR, MANIFEST, Manifest};

/// One image of the archive.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The images of an archive that were asked for; one with several tags comes once for each.
pub(super) fn candidates(load: &Load<'_>, files: &dyn Files) -> Result<Vec<Candidate>, LoadError> {
    let all = load.document(files, "manifest.json", "manifest")?;
    let all: Vec<Saved> = parse(&all, "manifest").map_err(LoadError::document(load.path))?;
    let mut candidates = Vec::new();
    let mut refs = Vec::new();
    for saved in &all {
        let documents = documents(load, files, saved)?;
        let tags = saved.repo_tags.clone().unwrap_or_default();
        let named = |tag: Option<&String>| Candidate {
            documents: documents.clone(),
            blobs: saved.layers.clone(),
            verified: false,
            name: tag.and_then(|tag| tag.parse().ok()),
        };
        let wanted = |tag: &&String| load.options.only.as_ref().is_none_or(|only| only == *tag);
        let chosen: Vec<_> = tags.iter().filter(wanted).collect();
        match (chosen.first(), &load.options.only, &load.options.name) {
            (None, Some(_), _) => {}
            (None, None, _) => candidates.push(named(None)),
            // With a name of its own, the tags mean nothing.
            (first, _, Some(_)) => candidates.push(named(first.copied())),
            _ => candidates.extend(chosen.iter().map(|tag| named(Some(tag)))),
        }
        refs.extend(tags);
    }
    let path = || load.path.to_owned();
    match (candidates.len(), &load.options.only) {
        (0, Some(wanted)) => Err(LoadError::NoRef { path: path(), wanted: wanted.clone(), refs }),
        (0, None) => Err(load.missing("image")),
        (2.., _) if load.options.name.is_some() => Err(LoadError::Several { path: path(), refs }),
        _ => Ok(candidates),
    }
}

/// An archive has no manifest in the sense of OCI; this one follows from its content alone.
fn documents(load: &Load<'_>, files: &dyn Files, saved: &Saved) -> Result<Documents, LoadError> {
    let wrong = LoadError::document(load.path);
    let config_bytes = load.document(files, &saved.config, "configuration")?;
    let config: ConfigFile = parse(&config_bytes, "configuration").map_err(&wrong)?;
    check_count(saved.layers.len(), &load.policy().bounds).map_err(&wrong)?;
    let mut layers = Vec::new();
    for (diff_id, name) in config.rootfs.diff_ids.iter().zip(&saved.layers) {
        let file = files.open(name).map_err(LoadError::io(load.path))?;
        let file = file.ok_or_else(|| load.missing(name))?;
        let size = file.metadata().map_err(LoadError::io(load.path))?.len();
        layers.push(super::rootfs::descriptor(LAYER_TAR, *diff_id, size));
    }
    let config = Descriptor {
        media_type: CONFIG.to_owned(),
        ..super::rootfs::descriptor(CONFIG, digest_of(&config_bytes), config_bytes.len() as u64)
    };
    let media_type = Some(MANIFEST.to_owned());
    let manifest = Manifest { schema_version: 2, media_type, config, layers };
    let manifest = super::rootfs::encode(&manifest, "manifest").map_err(&wrong)?;
    Documents::new(manifest, config_bytes, &load.policy().bounds).map_err(wrong)
}
