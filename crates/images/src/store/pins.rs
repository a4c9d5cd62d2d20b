//! Who runs from which image: one file for each, so that it outlives every process that knows of it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use insula_spec::Digest;

use super::StoreError;
use super::place::sync_parent;
use crate::Images;

/// Longest name of a holder, in bytes.
const HOLDER_MAX: usize = 160;

impl Images {
    /// Keeps an image from being collected until [`Images::unpin`]. `holder` is the name of whoever runs from
    /// it, such as `notes:alice`; to pin twice is to pin once. Survives a crash of everything.
    ///
    /// # Errors
    /// If the image is not here (any more), or the file system refuses.
    pub fn pin(&self, digest: Digest, holder: &str) -> Result<(), StoreError> {
        check(holder)?;
        let _shared = self.place.share()?;
        if !self.place.blob(&digest).exists() {
            return Err(StoreError::Unknown(digest.to_string()));
        }
        let path = self.place.pins().join(format!("{}.{holder}", digest.hex()));
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        file.and_then(|_| sync_parent(&path)).map_err(StoreError::io(&path))
    }

    /// Takes back what [`Images::pin`] said about this holder and this image. To do so twice is no error.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn unpin(&self, digest: Digest, holder: &str) -> Result<(), StoreError> {
        check(holder)?;
        let path = self.place.pins().join(format!("{}.{holder}", digest.hex()));
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::Io { path, source: e }),
            _ => Ok(()),
        }
    }

    /// Takes back every pin whose holder is not alive any more. Returns how many those were.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn prune(&self, alive: impl Fn(&str) -> bool) -> Result<usize, StoreError> {
        let pins = self.pins()?;
        let dead = pins.iter().filter(|(_, holder)| !alive(holder));
        dead.map(|(digest, holder)| self.unpin(*digest, holder))
            .collect::<Result<Vec<_>, _>>()
            .map(|all| all.len())
    }

    /// Every pin: image and holder.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn pins(&self) -> Result<Vec<(Digest, String)>, StoreError> {
        let dir = self.place.pins();
        let mut pins = Vec::new();
        for entry in fs::read_dir(&dir).map_err(StoreError::io(&dir))? {
            let name = entry.map_err(StoreError::io(&dir))?.file_name();
            let name = name.to_string_lossy();
            if let Some((hex, holder)) = name.split_once('.')
                && let Ok(digest) = format!("sha256:{hex}").parse()
            {
                pins.push((digest, holder.to_owned()));
            }
        }
        pins.sort();
        Ok(pins)
    }
}

fn check(holder: &str) -> Result<(), StoreError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
    match (1..=HOLDER_MAX).contains(&holder.len()) && holder.bytes().all(good) {
        true => Ok(()),
        false => Err(StoreError::Holder(holder.to_owned())),
    }
}
