//! What is kept: names, blobs, layers, and who uses them.

mod collect;
mod error;
pub(crate) mod index;
mod pins;
mod place;
mod read;

pub use collect::{Collected, Removed};
pub use error::StoreError;
pub(crate) use index::Known;
pub(crate) use place::{Place, Scratch, sync_parent};
pub use read::Listed;
