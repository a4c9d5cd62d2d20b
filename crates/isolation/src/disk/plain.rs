//! The note that a tenant's data has to lie in the directory itself, whatever could bound it: written by the start
//! that finds it out, read by whoever asks what bounds the directory.
//!
//! `{data_dir}/.quota/{id}.plain`, beside the place of the image that there is none of.

use std::fs;
use std::io;
use std::path::PathBuf;

use insula_linux::quota::image::Image;

use super::cannot;
use crate::contract::LaunchError;

fn place(image: &Image) -> PathBuf {
    image.path().with_extension("plain")
}

/// Why the data has to lie there; `None` where it does not.
pub(super) fn noted(image: &Image) -> Option<String> {
    fs::read_to_string(place(image)).ok()
}

/// Takes note of it, or of its being over.
pub(super) fn note(image: &Image, why: Option<&str>) -> Result<(), LaunchError> {
    if noted(image).as_deref() == why {
        return Ok(());
    }
    let path = place(image);
    let done = match why {
        Some(why) => {
            image.make_dir()?;
            fs::write(&path, why)
        }
        None => fs::remove_file(&path).or_else(|e| match e.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(e),
        }),
    };
    done.map_err(cannot("take note in", &path))
}
