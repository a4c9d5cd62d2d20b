//! What only a start needs is given back after it.

/// Lets go of the program's pages in memory; those in use come back at once. Nothing depends on it.
pub(crate) fn slim() {
    match insula_linux::program::give_back_pages() {
        Ok(bytes) => tracing::debug!(bytes, "the pages of the program were given back"),
        Err(error) => tracing::warn!(%error, "cannot give back the pages of the program"),
    }
}
