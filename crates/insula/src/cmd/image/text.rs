//! Images as people read them.

use insula_api::Timestamp;
use insula_images::{Collected, Listed, Loaded, Pulled, Removed};
use insula_spec::Digest;

use super::Inspected;
use crate::format::{age, bytes, or_dash};
use crate::printer::table;

/// Digits of a digest that are shown in a table.
const SHORT: usize = 12;

pub(super) fn pulled(pulled: &Pulled) -> String {
    let how = if pulled.up_to_date { "was here already" } else { "pulled" };
    format!("{} {} {how}", pulled.digest, pulled.name)
}

pub(super) fn loaded(all: &[Loaded]) -> String {
    let line = |one: &Loaded| format!("{} {} loaded", one.digest, or_dash(one.name.as_ref()));
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(super) fn removed(all: &[Removed]) -> String {
    let line = |one: &Removed| format!("{} {} removed", one.digest, or_dash(one.name.as_ref()));
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(super) fn collected(it: &Collected) -> String {
    format!("{} images, {} layers and {} blobs removed: {}", it.images, it.layers, it.blobs, bytes(it.bytes))
}

pub(super) fn list(all: &[Listed]) -> String {
    let now = Timestamp::now();
    let row = |one: &Listed| {
        let added = Timestamp::from_micros(one.added.saturating_mul(1_000_000));
        vec![
            or_dash(one.name.as_ref()),
            short(one.digest),
            one.damage.as_ref().map_or_else(|| bytes(one.bytes), |_| "damaged".to_owned()),
            one.layers.to_string(),
            format!("{} ago", age(now.since(added))),
            one.source.clone(),
        ]
    };
    table(&["NAME", "DIGEST", "SIZE", "LAYERS", "ADDED", "FROM"], all.iter().map(row).collect())
}

pub(super) fn inspected(it: &Inspected) -> String {
    let words = |words: &[String]| if words.is_empty() { "-".to_owned() } else { words.join(" ") };
    let config = &it.config;
    // Values of an environment may be secret even here.
    let names: Vec<_> =
        config.env.iter().map(|e| e.split('=').next().unwrap_or_default().to_owned()).collect();
    let mut rows = vec![
        ("name", or_dash(it.name.as_ref())),
        ("digest", it.digest.to_string()),
        ("entrypoint", words(&config.entrypoint)),
        ("cmd", words(&config.cmd)),
        ("user", if config.user.is_empty() { "root".to_owned() } else { config.user.clone() }),
        ("workdir", if config.workdir.is_empty() { "/".to_owned() } else { config.workdir.clone() }),
        ("env", words(&names)),
        ("ports", words(&config.exposed_ports)),
        ("volumes", words(&config.volumes)),
        ("stop signal", or_dash(config.stop_signal.as_ref())),
        ("pinned by", words(&it.pinned_by)),
    ];
    for (at, layer) in it.layers.iter().enumerate() {
        let notes = layer.notes();
        let notes = if notes.is_empty() { String::new() } else { format!("; {}", notes.join("; ")) };
        let what = if at == 0 { "layers" } else { "" };
        rows.push((what, format!("{} {}{notes}", layer.diff_id, bytes(layer.bytes))));
    }
    let rows: Vec<_> = rows.into_iter().map(|(what, value)| format!("{what:<12} {value}")).collect();
    rows.join("\n")
}

fn short(digest: Digest) -> String {
    digest.hex()[..SHORT].to_owned()
}
