//! The images of one home.

use std::path::Path;

use crate::store::{Place, StoreError};

/// The images of one home. Cheap to clone; all state is on disk.
#[derive(Debug, Clone)]
pub struct Images {
    pub(crate) place: Place,
}

impl Images {
    /// Opens the directory of images, makes what is missing in it, and removes what processes left that died
    /// at work.
    ///
    /// # Errors
    /// If the directory cannot be made or read.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let place = Place::make(dir)?;
        let swept = place.sweep()?;
        if swept > 0 {
            tracing::info!(swept, "removed unfinished work on images");
        }
        Ok(Self { place })
    }
}
