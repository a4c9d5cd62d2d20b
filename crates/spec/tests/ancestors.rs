//! Files of tenement and of at-rund load as they are, and mean here what they meant there.
//!
//! `fixtures/ancestors` has one file for each shape that the documents of the two have: the same keys, the
//! same kinds of values.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use insula_spec::config::{AccessMode, HealthCheck, LineFormat, Overrides};
use insula_spec::{ByteSize, Config, DiskMode, Launch, Level, LevelChoice, Placement};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ancestors")
}

fn load(name: &str) -> Config {
    let text = fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap();
    // What the one file that names variables of the host needs.
    let variables = ["QUEUE_URL", "SIGNING_KEY"].map(|name| (name.into(), "set".into()));
    let overrides = Overrides { variables: variables.into_iter().collect(), ..Overrides::default() };
    let loaded = Config::parse_with(&text, Path::new("/app/tenement.toml"), &overrides);
    loaded.unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn launch(config: &Config, service: &str) -> Launch {
    let placement = Placement { port: 4000, socket: PathBuf::from("/run/app.sock") };
    config.services[service].launch(&"ann".parse().unwrap(), &placement, None)
}

fn variable(launch: &Launch, name: &str) -> String {
    let found = launch.env.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value.expose().to_owned()).unwrap_or_else(|| panic!("no {name}"))
}

fn keys_noted(config: &Config) -> Vec<&str> {
    config.notes.iter().map(|note| note.key.as_str()).collect()
}

#[test]
fn every_file_loads() {
    let names: BTreeSet<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        load(&name);
    }
}

#[test]
fn a_file_with_nothing_old_in_it_has_no_notes() {
    assert_eq!(keys_noted(&load("tenement-smallest")), [""; 0]);
}

#[test]
fn old_names_are_read_and_said_to_be_old() {
    let config = load("tenement-legacy");
    let shop = &config.services["shop"];
    let check = HealthCheck { interval: Duration::from_secs(20), ..HealthCheck::at("/health".to_owned()) };
    assert_eq!(shop.health, Some(check));
    assert_eq!(variable(&launch(&config, "shop"), "SHOP_DB"), "/srv/old/shop/ann/shop.db");
    let vault = &config.services["vault"];
    assert_eq!(vault.isolation, LevelChoice::Fixed(Level::Vm));
    assert_eq!(vault.limits.memory, Some(ByteSize::mib(256)));
    assert_eq!(vault.limits.cpu_quota.map(|quota| quota.millis()), Some(2000));
    let expected = [
        "process.shop",
        "process.shop.socket",
        "process.vault",
        "process.vault.runtime",
        "process.vault.kernel",
        "process.vault.rootfs",
        "process.vault.socket",
        "process.vault.vsock_port",
    ];
    assert_eq!(keys_noted(&config), expected);
    assert_eq!(config.notes[0].line, 7);
    assert!(config.notes[0].text.contains("deprecated"), "{}", config.notes[0]);
    assert!(config.notes[3].text.contains("isolation = \"firecracker\""), "{}", config.notes[3]);
}

#[test]
fn every_key_of_the_reference_has_its_meaning() {
    let config = load("tenement-reference");
    let web = &config.services["web"];
    assert_eq!(web.restart.backoff, Duration::from_millis(500));
    assert_eq!(web.restart.backoff_max, Duration::from_secs(45));
    assert_eq!((web.restart.max_restarts, web.restart.window), (4, Duration::from_secs(240)));
    assert_eq!(web.health.as_ref().map(|health| health.interval), Some(Duration::from_secs(15)));
    assert_eq!(web.startup_timeout, Duration::from_secs(12));
    assert_eq!(web.limits.cpu_weight.map(|weight| weight.get()), Some(120));
    assert_eq!((web.limits.disk, web.limits.disk_mode), (Some(ByteSize::mib(512)), DiskMode::Soft));
    assert_eq!(config.services["jobs"].isolation, LevelChoice::Fixed(Level::Gvisor));
    let launch = launch(&config, "web");
    assert_eq!(variable(&launch, "WEB_DB"), "/srv/tenants/web/ann/web.db");
    assert_eq!(variable(&launch, "SOCKET_PATH"), "/run/app.sock");
    let expected = [
        "settings.tls",
        "service.web",
        "service.web.socket",
        "service.web.storage_quota_mb",
        "service.web.env.WEB_DB",
        "service.jobs",
        "service.jobs.socket",
    ];
    assert_eq!(keys_noted(&config), expected);
}

#[test]
fn routes_lead_where_they_led() {
    let config = load("tenement-routing");
    let target = |text: &str| Some(text.to_owned());
    let routing = &config.routing;
    let lead = |found: Option<&insula_spec::config::Target>| found.map(ToString::to_string);
    assert_eq!(lead(routing.default.as_ref()), target("shop"));
    assert_eq!(lead(routing.hosts.get("admin.localhost")), target("admin-panel"));
    assert_eq!(lead(routing.hosts.get("www.example.net")), target("shop"));
    assert_eq!(lead(routing.below.get("example.net")), target("shop"));
    assert_eq!(lead(routing.paths.get("/panel")), target("admin-panel"));
    assert!(config.services.values().all(|service| service.versions), "they share the requests");
    let shop = config.services["shop"].limits;
    assert_eq!(shop.disk_mode, DiskMode::Soft, "a quota that only warned refuses nothing");
    assert_eq!(shop.disk, Some(ByteSize::mib(64)));
    let notes = keys_noted(&config);
    for key in ["process.shop", "routing.subdomain", "service.admin-panel", "process.shop.storage_quota_mb"] {
        assert!(notes.contains(&key), "{key} is not in {notes:?}");
    }
}

#[test]
fn what_a_file_of_tenements_lists_answers_for_its_service() {
    let versions = |text: &str| {
        let config = Config::parse(text, Path::new("/app/i")).unwrap_or_else(|e| panic!("{text}: {e}"));
        (config.services["a"].versions, config.notes.iter().any(|note| note.text.contains("versions = true")))
    };
    let service = "[service.a]\ncommand = \"x\"\n";
    let listed = "[instances]\na = [\"live\"]\n";
    for old in ["port = 3000", "socket = \"/tmp/{id}.sock\"", "cpu_shares = 100", "storage_persist = true"] {
        assert_eq!(versions(&format!("{service}{old}\n{listed}")), (true, true), "{old}");
        assert_eq!(versions(&format!("{service}{old}\n")), (false, false), "tenants that come and go: {old}");
        assert_eq!(versions(&format!("{service}{old}\nversions = false\n{listed}")), (false, false), "{old}");
    }
    assert_eq!(versions(&format!("[process.a]\ncommand = \"x\"\n{listed}")), (true, true));
    let beside = "[service.b]\ncommand = \"x\"\nport = 3000\n";
    assert_eq!(versions(&format!("{service}{beside}{listed}")), (true, true), "the whole file is tenement's");
    // The control: the same service in a file without such a key has tenants.
    assert_eq!(versions(&format!("{service}{listed}")), (false, false));
}

#[test]
fn a_service_that_a_route_names_as_a_whole_answers_as_one() {
    for routing in ["default = \"a\"\n", "path = { \"/x\" = \"a\" }\n", "host = { \"x.org\" = \"a\" }\n"] {
        let load = |keys: &str| {
            let text = format!("[service.a]\ncommand = \"x\"\n{keys}[routing]\n{routing}");
            Config::parse(&text, Path::new("/app/i"))
        };
        let config = load("").unwrap();
        assert!(config.services["a"].versions, "{routing}");
        assert_eq!(keys_noted(&config), ["service.a"], "{routing}");
        assert_eq!(keys_noted(&load("versions = true\n").unwrap()), [""; 0], "{routing}");
        let refused = load("versions = false\n").unwrap_err().to_string();
        assert!(refused.contains("`a` is a service of tenants"), "{refused}");
    }
}

#[test]
fn variables_of_the_host_arrive_as_they_are_and_are_shown_to_nobody() {
    let text = fs::read_to_string(folder().join("tenement-secrets.toml")).unwrap();
    let given = [("QUEUE_URL", "amqp://{id}@queue"), ("SIGNING_KEY", "s3cret")];
    let variables = given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let overrides = Overrides { variables, ..Overrides::default() };
    let config = Config::parse_with(&text, Path::new("/app/tenement.toml"), &overrides).unwrap();
    let launch = launch(&config, "mailer");
    assert_eq!(variable(&launch, "QUEUE"), "amqp://{id}@queue");
    assert_eq!(variable(&launch, "SIGNER"), "ann:s3cret");
    let shown: String = config.show(true).iter().map(|row| format!("{} {}\n", row.key, row.value)).collect();
    assert!(shown.contains("service.mailer.env.SIGNER"), "{shown}");
    assert!(!shown.contains("s3cret") && !format!("{config:?}").contains("s3cret"), "{shown}");
    let unset = Config::parse(&text, Path::new("/app/tenement.toml")).unwrap_err();
    let said: Vec<_> = unset.problems().iter().map(|p| (p.key.clone(), p.kind.to_string())).collect();
    let not_set = |name: &str| format!("`{name}` is not set in the environment of this program");
    let expected = [("QUEUE", "QUEUE_URL"), ("SIGNER", "SIGNING_KEY")];
    assert_eq!(said, expected.map(|(key, name)| (format!("service.mailer.env.{key}"), not_set(name))));
}

#[test]
fn each_way_to_name_the_tenants_directory_is_understood() {
    let todo = load("tenement-tenants");
    assert_eq!(variable(&launch(&todo, "todo"), "TODO_DIR"), "/app/data/todo/ann");
    assert!(todo.notes[0].text.contains("{data_dir}/{id}"), "{}", todo.notes[0]);
    let languages = load("tenement-languages");
    assert_eq!(variable(&launch(&languages, "pyside"), "STATE"), "/app/state/pyside/ann");
    assert_eq!(variable(&launch(&languages, "goside"), "STATE"), "/app/state/goside/ann");
    let config = Config::parse(
        "[service.a]\ncommand = \"x --a {data_dir}/{name}/{id}/b\"\nargs = [\"{data_dir}/a/{id}\", \"{data_dir}\"]\n",
        Path::new("/app/i"),
    );
    let launch = launch(&config.unwrap(), "a");
    assert_eq!(launch.argv[2..], ["/app/data/a/ann/b", "/app/data/a/ann", "/app/data/a"]);
}

#[test]
fn ports_of_the_file_are_not_promised_to_anybody() {
    let config = load("tenement-environments");
    assert_eq!(config.settings.port, 8080);
    let launch = launch(&config, "front");
    assert_eq!(variable(&launch, "PORT"), "4000");
    let note = config.notes.iter().find(|note| note.key == "service.front.port").unwrap();
    assert!(note.text.starts_with("4101 is not used"), "{note}");
    assert_eq!(config.instances["kv"].len(), 2);
    assert!(config.services.values().all(|service| service.versions), "`SERVICE.DOMAIN` is answered by all");
}

#[test]
fn what_would_open_more_than_before_is_not_there() {
    // Neither the old names nor the keys without effect touch network, mounts or the floor.
    let floor = "min_isolation = \"gvisor\"\n";
    let old = "[process.a]\ncommand = \"x\"\nruntime = \"process\"\n";
    let refused = Config::parse(&format!("{floor}{old}"), Path::new("/app/i")).unwrap_err();
    assert!(refused.to_string().contains("weaker than `min_isolation`"), "{refused}");
    assert!(Config::parse(old, Path::new("/app/i")).is_ok());
}

#[test]
fn a_runner_is_read_whole() {
    let config = load("at-rund");
    assert_eq!(config.handle.as_deref(), Some("runner.example.org"));
    assert_eq!(config.functions.runtimes["deno"], "deno");
    assert_eq!(config.functions.access.mode, AccessMode::Allowlist);
    assert_eq!(config.functions.access.allowlist.len(), 2);
    assert_eq!(config.observability.log_format, LineFormat::Json);
    assert_eq!(config.observability.otlp_endpoint.as_deref(), Some("http://localhost:4317"));
    let later = config.notes.iter().filter(|note| note.text.contains("functions come later")).count();
    assert_eq!(later, 2, "{:?}", config.notes);
    assert_eq!(load("at-rund-open").functions.access.mode, AccessMode::Blocklist);
    let silent = Config::parse("[access]\n", Path::new("/app/i")).unwrap().functions.access;
    assert_eq!(silent.mode, AccessMode::Allowlist, "a table that says nothing lets nobody in");
}
