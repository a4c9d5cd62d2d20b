//! How much an image may be.

/// Bounds on what others send. Beyond one of them nothing is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of a manifest, an index or a configuration.
    pub document: u64,
    /// Layers of an image. Linux stacks at most 500.
    pub layers: usize,
    /// Bytes of one layer as it is stored and sent.
    pub blob: u64,
    /// Bytes of one layer, uncompressed; sparse files count with their full length.
    pub unpacked: u64,
    /// Files, directories and links of one layer.
    pub entries: u64,
    /// Bytes that one byte may become, where more than [`Bounds::ratio_from`] come out.
    pub ratio: u64,
    /// Bytes uncompressed from which on `ratio` counts: small files of zeros are common.
    pub ratio_from: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            document: 8 << 20,
            layers: 200,
            blob: 32 << 30,
            unpacked: 128 << 30,
            entries: 2_000_000,
            ratio: 400,
            ratio_from: 1 << 30,
        }
    }
}
