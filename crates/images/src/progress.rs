//! What a long operation tells about itself while it lasts.

/// Is told how far an image is. Every method may be called from any thread.
pub trait Progress: Send + Sync {
    /// This layer, from 1, of so many is being worked on.
    fn layer(&self, _layer: usize, _of: usize) {}
    /// So many bytes of so many of the present layer are here.
    fn bytes(&self, _here: u64, _of: u64) {}
}

/// Nobody is told.
impl Progress for () {}
