//! The documents of an image, as far as they are read here.
//!
//! Keys that are not known are passed over, as the OCI image specification wants it; what is known is read
//! strictly. Sizes are bounded by whoever reads the bytes.

use std::collections::BTreeMap;

use insula_spec::Digest;
use serde::{Deserialize, Deserializer, Serialize};

use crate::image::ImageConfig;

/// Media type of an index of manifests.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The same, of Docker.
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Media type of the manifest of one image.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The same, of Docker.
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of a configuration.
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a layer that is not compressed.
pub(crate) const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// Annotation with a name, in an index.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A pointer to content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub(crate) media_type: String,
    /// What it hashes to.
    pub(crate) digest: Digest,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Free text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    /// What it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
}

impl Descriptor {
    /// Whether it points to a list of manifests.
    pub(crate) fn is_index(&self) -> bool {
        self.media_type == INDEX || self.media_type == DOCKER_LIST
    }
}

/// What an image runs on, in the words of the Go compiler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    /// Such as `amd64`.
    pub(crate) architecture: String,
    /// Such as `linux`.
    pub(crate) os: String,
    /// Such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
}

impl Platform {
    /// Whether this program could run it.
    pub(crate) fn is_ours(&self) -> bool {
        let ours = self.os == "linux" && self.architecture == architecture();
        let variant = self.variant.as_deref();
        // Every machine of the first generation runs these; later ones are not asked for.
        ours && matches!(variant, None | Some("" | "v1" | "v8"))
    }
}

/// This machine, in the words of the Go compiler.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    /// Always 2.
    pub(crate) schema_version: u8,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    /// What it lists.
    pub(crate) manifests: Vec<Descriptor>,
}

/// The manifest of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    /// Always 2.
    pub(crate) schema_version: u8,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    /// Its configuration.
    pub(crate) config: Descriptor,
    /// Its layers, from the bottom to the top.
    pub(crate) layers: Vec<Descriptor>,
}

/// The configuration of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigFile {
    /// What it runs on.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) architecture: String,
    /// Such as `linux`.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) os: String,
    /// How it wants to be run.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) config: RunConfig,
    /// Its layers.
    pub(crate) rootfs: RootFs,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default, deserialize_with = "absent")]
    pub(crate) kind: String,
    /// Digests of the tars, uncompressed, from the bottom to the top.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) diff_ids: Vec<Digest>,
}

/// How an image wants to be run, in the spelling of the specification. `null` is as good as nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RunConfig {
    #[serde(deserialize_with = "absent")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "absent")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "absent")]
    env: Vec<String>,
    #[serde(deserialize_with = "absent")]
    user: String,
    #[serde(deserialize_with = "absent")]
    working_dir: String,
    #[serde(deserialize_with = "absent")]
    exposed_ports: BTreeMap<String, serde_json::Value>,
    stop_signal: Option<String>,
    #[serde(deserialize_with = "absent")]
    volumes: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "absent")]
    labels: BTreeMap<String, String>,
}

/// Takes `null` for the empty value.
fn absent<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

impl From<RunConfig> for ImageConfig {
    fn from(from: RunConfig) -> Self {
        Self {
            entrypoint: from.entrypoint,
            cmd: from.cmd,
            env: from.env,
            user: from.user,
            workdir: from.working_dir,
            exposed_ports: from.exposed_ports.into_keys().collect(),
            stop_signal: from.stop_signal.filter(|signal| !signal.is_empty()),
            volumes: from.volumes.into_keys().collect(),
            labels: from.labels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_null_are_the_same() {
        let text = r#"{"os":"linux","config":{"Cmd":["a"],"Entrypoint":null,"Env":null,"Volumes":{"/d":{}}},
                       "rootfs":{"type":"layers","diff_ids":null},"history":[{}]}"#;
        let file: ConfigFile = serde_json::from_str(text).unwrap();
        let config = ImageConfig::from(file.config);
        assert_eq!((config.cmd, config.entrypoint), (vec!["a".to_owned()], vec![]));
        assert_eq!(config.volumes, ["/d"]);
        assert!(serde_json::from_str::<ConfigFile>("{}").is_err(), "layers must be named");
    }
}
