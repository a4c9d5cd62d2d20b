//! What tells one effective launch from another: kept with the record of whatever runs, so that any later process
//! knows whether it still runs as the configuration says.
//!
//! It is of what a program is started with and the walls around it. Rules that are judged while it runs, such as
//! `net`, are no part of it, and neither is what differs from tenant to tenant.

use insula_isolation::Record;
use insula_spec::{InstanceId, Placement, RootSource, ServiceSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A record as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    #[serde(flatten)]
    pub(crate) record: Record,
    /// Of the service as it was when this was started; `None` where a former version started it.
    #[serde(default)]
    pub(crate) launch: Option<String>,
}

/// The fingerprint of what this service would start: the same for the same, in any version of the program. Values of
/// its environment cannot be read from it.
#[must_use]
pub fn fingerprint(spec: &ServiceSpec) -> String {
    let mut hash = Sha256::new();
    hash.update(pruned(launch(spec)).unwrap_or_default().to_string());
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything that counts, by names that stay.
fn launch(spec: &ServiceSpec) -> Value {
    let placement = Placement { port: 1, socket: "/socket".into() };
    let Ok(id) = "id".parse::<InstanceId>() else { return Value::Null };
    let launch = spec.launch(&id, &placement, None);
    let env: Vec<_> = launch.env.iter().map(|(name, value)| json!([name, value.expose()])).collect();
    let mut limits = json!(launch.limits);
    if let Some(limits) = limits.as_object_mut() {
        limits.remove("bandwidth");
    }
    let source = match &launch.root.source {
        RootSource::Host => None,
        RootSource::Directory(path) => Some(format!("directory {}", path.display())),
        RootSource::Image(image) => Some(format!("image {image}")),
    };
    json!({
        "isolation": [spec.isolation.to_string(), spec.min_isolation],
        "argv": launch.argv,
        "runner": launch.runner,
        "env": env,
        "workdir": launch.workdir,
        "data_dir": launch.data_dir,
        "mounts": launch.mounts,
        "root": {
            "source": source,
            "read_only": launch.root.read_only,
            "persistent": launch.root.persistent,
            "workdir": launch.root.show_workdir,
            "user": launch.root.user,
        },
        "seccomp": launch.seccomp,
        "network": launch.network,
        "limits": limits,
    })
}

/// Without what says nothing, so that a key of a later version changes nothing where it is not used.
fn pruned(value: Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Object(fields) => {
            let kept = fields.into_iter().filter_map(|(name, value)| Some((name, pruned(value)?)));
            let kept: serde_json::Map<_, _> = kept.collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) if items.is_empty() => None,
        value => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use insula_spec::Config;

    use super::*;

    fn of(keys: &str) -> String {
        let text = format!("[service.app]\ncommand = \"./app --id {{id}}\"\nworkdir = \"/srv\"\n{keys}");
        let config =
            Config::parse(&text, Path::new("/etc/insula.toml")).unwrap_or_else(|e| panic!("{e}: {text}"));
        fingerprint(config.services.values().next().unwrap())
    }

    #[test]
    fn whatever_a_start_depends_on_changes_it() {
        let all = [
            "",
            "isolation = \"process\"",
            "min_isolation = \"namespace\"",
            "memory_limit_mb = 64",
            "disk_limit = \"1M\"",
            "mounts = [\"/srv/a:/a\"]",
            "mounts = [\"/srv/a:/a:rw\"]",
            "network = \"host\"",
            "seccomp = \"/etc/own.json\"",
            "rootfs = \"/srv/root\"",
            "rootfs = \"/srv/root\"\nread_only_root = true",
            "image = \"debian:bookworm\"",
            "[service.app.env]\nA = \"1\"",
            "[service.app.env]\nA = \"2\"",
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().map(|keys| of(keys)).collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn rules_that_are_judged_while_it_runs_do_not() {
        for keys in ["idle_timeout = \"9s\"", "net = []", "bandwidth_limit = \"1M\"", "hold_queue = 7"] {
            assert_eq!(of(keys), of(""), "{keys}");
        }
    }

    #[test]
    fn it_stays_what_it_is_from_version_to_version() {
        // A change here restarts everything that runs when the program is replaced.
        assert_eq!(of(""), "ec5ab95a784e17fef459c63b271426d04b6ecd433f9299ff3d17514b0c44b1fe");
    }
}
