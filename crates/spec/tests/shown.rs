//! What `insula config show` tells: the values that hold, and where each comes from.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use insula_spec::Config;
use insula_spec::config::{Origin, Overrides, Shown, Source};
use serde_json::{Value, json};

const TEXT: &str = "\
isolation = \"process\"
[settings]
port = 8000
domain = \"apps.example.org\"
backoff_base_ms = 700
[service.notes]
command = \"app\"
args = [\"-v\"]
cpu_shares = 20000
health = \"/health\"
[service.notes.env]
TOKEN = \"hunter2-canary\"
[process.old]
command = \"old\"
isolation = \"namespace\"
[access]
mode = \"open\"
";

fn config(overrides: &Overrides) -> Config {
    Config::parse_with(TEXT, Path::new("/app/insula.toml"), overrides).unwrap()
}

fn find<'a>(shown: &'a [Shown], key: &str) -> &'a Shown {
    shown.iter().find(|one| one.key == key).unwrap_or_else(|| panic!("no `{key}` in {shown:#?}"))
}

fn row(shown: &[Shown], key: &str) -> (Value, Origin) {
    let one = find(shown, key);
    (one.value.clone(), one.origin)
}

#[test]
fn each_value_has_its_origin() {
    let shown = config(&Overrides::default()).show(true);
    let of = |key: &str| row(&shown, key);
    assert_eq!(of("settings.port"), (json!(8000), Origin::File(3)));
    assert_eq!(of("settings.data_dir"), (json!("/app/data"), Origin::Default));
    assert_eq!(of("service.notes.command"), (json!(["app", "-v"]), Origin::File(7)));
    assert_eq!(of("service.notes.cpu_weight"), (json!(10_000), Origin::File(9)));
    assert_eq!(of("service.notes.health.path"), (json!("/health"), Origin::File(10)));
    assert_eq!(of("service.notes.health.interval"), (json!("10s"), Origin::Default));
    assert_eq!(of("service.notes.isolation"), (json!("process"), Origin::File(1)));
    assert_eq!(of("service.notes.restart_backoff"), (json!("700ms"), Origin::File(5)));
    assert_eq!(of("service.old.isolation"), (json!("namespace"), Origin::File(15)));
    assert_eq!(of("service.old.hold_queue"), (json!(1024), Origin::Default));
    assert_eq!(of("access.mode"), (json!("open"), Origin::File(17)));
}

#[test]
fn what_is_named_outside_wins_and_says_so() {
    let overrides = Overrides {
        data_dir: Some((Source::Variable("INSULA_DATA_DIR"), "/var/data".into())),
        port: Some((Source::Option("port"), "9000".to_owned())),
        ..Overrides::default()
    };
    let shown = config(&overrides).show(false);
    assert_eq!(row(&shown, "settings.port"), (json!(9000), Origin::Option("port")));
    let named = Origin::Variable("INSULA_DATA_DIR");
    assert_eq!(row(&shown, "settings.data_dir"), (json!("/var/data"), named));
    assert_eq!(row(&shown, "settings.domain"), (json!("apps.example.org"), Origin::File(4)));
}

#[test]
fn defaults_are_shown_when_they_are_asked_for() {
    let config = config(&Overrides::default());
    let (set, all) = (config.show(false), config.show(true));
    assert!(set.iter().all(|one| one.origin != Origin::Default));
    assert!(all.len() > set.len() + 20 && set.iter().all(|one| all.contains(one)));
}

#[test]
fn no_key_is_shown_twice_and_none_is_lost() {
    let everything = include_str!("corpus/good/everything.toml");
    let shown = Config::parse(everything, Path::new("/app/insula.toml")).unwrap().show(true);
    let mut keys: Vec<_> = shown.iter().map(|one| one.key.as_str()).collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
    for key in ["did", "settings.trusted_proxies", "service.cache.listen_tcp.alice", "instances.cache"] {
        assert!(keys.contains(&key), "{key} is lost");
    }
}

#[test]
fn values_of_an_environment_are_hidden() {
    let shown = config(&Overrides::default()).show(true);
    assert!(find(&shown, "service.notes.env.TOKEN").is_hidden());
    let config = config(&Overrides::default());
    assert!(!format!("{shown:?}{config:?}").contains("hunter2"), "{shown:?}");
}
