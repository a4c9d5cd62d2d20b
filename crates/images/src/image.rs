//! What an image is to those who run it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use insula_spec::{Digest, Reference};
use serde::{Deserialize, Serialize};

/// An image that is here, whole and unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of its manifest: its identity.
    pub digest: Digest,
    /// A name that leads to it, if it has one.
    pub name: Option<Reference>,
    /// How to run it.
    pub config: ImageConfig,
    /// Its files, from the bottom to the top. Never empty. Layers that an opaque root hides are left out.
    pub layers: Vec<Layer>,
}

/// How an image wants to be run (OCI image specification, `config.md`). Nothing here is trusted: whoever
/// made the image wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// First words of the command.
    pub entrypoint: Vec<String>,
    /// Words behind `entrypoint`; what a user names takes their place.
    pub cmd: Vec<String>,
    /// Environment, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// User, or user and group, by name or number: `1000:1000`, `www-data`. Empty for root.
    pub user: String,
    /// Working directory, absolute inside; empty for the root.
    pub workdir: String,
    /// Ports such as `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Signal that ends it, such as `SIGQUIT` or `3`.
    pub stop_signal: Option<String>,
    /// Paths inside that want to be writable beyond an instance.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// One unpacked layer, ready to be a `lowerdir` of overlayfs. It is shared by every image that has it, so
/// nobody may write to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of its tar, uncompressed.
    pub diff_id: Digest,
    /// The directory with its files.
    pub path: PathBuf,
    /// How it marks what is gone.
    pub whiteouts: Whiteouts,
    /// Whether files have the owners that the image gave them; otherwise all belong to this user.
    pub ownership: bool,
}

/// How a layer marks what it hides of those below: removed files as character devices 0:0, and opaque
/// directories by an extended attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whiteouts {
    /// `trusted.overlay.opaque`: mount by root, without `userxattr`.
    Trusted,
    /// `user.overlay.opaque`: mount with the option `userxattr`.
    User,
}
