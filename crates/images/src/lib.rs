//! OCI images and root file systems: pulled, loaded, unpacked safely, collected.
//!
//! ```text
//! registry ──pull──┐
//! OCI layout ──────┤            blobs ──unpack──► layers/HEX/fs ──► lowerdirs of overlayfs
//! archive ───load──┼──► images/    │                  ▲
//! directory ───────┘            index.json ── name ── Image
//! ```
//!
//! Everything that comes from outside is hostile until its digest was compared, and its paths and sizes stay so
//! even then. Who runs an image is not decided here: [`Image`] tells what it holds and what it asks for.
//!
//! Several processes may work on the same images at once; see [`store`] for the locks.

#![forbid(unsafe_code)]

mod admit;
mod digest;
mod document;
mod formats;
mod image;
mod images;
mod layer;
mod load;
mod progress;
mod registry;
mod store;
mod tar;
mod walk;

pub use document::DocumentError;
pub use image::{Image, ImageConfig, Layer, Whiteouts};
pub use images::Images;
pub use layer::{Bounds, Policy, Record, UnpackError};
pub use load::{LoadError, LoadOptions, Loaded, SourceKind};
pub use progress::Progress;
pub use registry::{AuthFiles, CredentialsError, PullError, PullOptions, Pulled};
pub use store::{Collected, Listed, Removed, StoreError};
pub use tar::TarError;
