//! What a good file means, and where files are found.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use insula_spec::config::{HealthCheck, RestartMode, RestartPolicy, SleepMode, Target};
use insula_spec::{
    ByteSize, Config, ConfigError, IdRange, InstanceId, Level, LevelChoice, Mount, Network, Placement,
    ServiceSpec,
};

const EXAMPLE: &str = include_str!("corpus/good/example.toml");
const EVERYTHING: &str = include_str!("corpus/good/everything.toml");

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("/app/insula.toml")).unwrap()
}

fn one(text: &str, service: &str) -> ServiceSpec {
    parse(text).services.remove(service).unwrap()
}

fn id(text: &str) -> InstanceId {
    text.parse().unwrap()
}

fn placement() -> Placement {
    Placement { port: 4000, socket: PathBuf::from("/run/app.sock") }
}

#[test]
fn the_example_of_the_documentation_means_what_it_says() {
    let config = parse(EXAMPLE);
    assert_eq!(config.did.as_deref(), Some("did:plc:ewvi7nxzyoun6zhxrhs64oiz"));
    assert_eq!(config.settings.data_dir, Path::new("/app/data"));
    assert_eq!((config.settings.domain.as_str(), config.settings.port), ("localhost", 8080));
    let notes = &config.services["notes"];
    assert_eq!(notes.command, ["python3", "app.py"]);
    assert_eq!(notes.isolation, LevelChoice::Fixed(Level::Namespace));
    assert_eq!(notes.limits.memory, Some(ByteSize::mib(256)));
    assert_eq!(notes.idle_timeout, Some(Duration::from_secs(300)));
    assert_eq!(notes.health, Some(HealthCheck::at("/health".to_owned())));
    assert_eq!(
        config.instances["notes"].iter().map(InstanceId::as_str).collect::<Vec<_>>(),
        ["alice", "bob"]
    );
    assert_eq!(config.notes, []);
}

#[test]
fn what_is_kept_of_the_output_can_be_said() {
    let logs = parse("[logs]\nkeep = \"7d\"\nmax_size = \"1M\"\n");
    assert_eq!(logs.logs.keep, Some(Duration::from_secs(7 * 86_400)));
    assert_eq!((logs.logs.max_size, logs.logs.max_size_per_instance), (ByteSize::mib(1), ByteSize::mib(64)));
    assert!(
        logs.notes.iter().any(|note| note.text.contains("logs.max_size") || note.key == "logs.max_size"),
        "{:?}",
        logs.notes
    );
    for (bad, said) in
        [("keep = \"1s\"", "logs.keep"), ("max_size = \"1K\"", "1 MiB"), ("max_size = 5", "256M")]
    {
        let error = Config::parse(&format!("[logs]\n{bad}\n"), Path::new("/app/insula.toml")).unwrap_err();
        assert!(error.to_string().contains(said), "{bad}: {error}");
    }
}

#[test]
fn what_is_not_said_has_its_default() {
    let config = parse("[service.a]\ncommand = \"a\"\n");
    let a = &config.services["a"];
    assert_eq!(config.settings.data_dir, Path::new("/app/data"));
    assert_eq!((a.isolation, a.floor(), a.network), (LevelChoice::Auto, None, Network::Isolated));
    assert_eq!((a.workdir.as_path(), a.data_dir.as_path()), (Path::new("/app"), Path::new("/app/data/a")));
    let seconds = [a.startup_timeout, a.stop_timeout, a.request_timeout].map(|t| t.as_secs());
    assert_eq!((seconds, a.idle_timeout), ([30, 10, 60], None));
    assert_eq!((a.sleep, a.hold_queue, &a.restart), (SleepMode::Stop, 1024, &RestartPolicy::default()));
    assert_eq!((a.limits, &a.health, a.mounts.len()), (Default::default(), &None, 0));
    assert_eq!(a.restart.mode, RestartMode::OnFailure);
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let config = parse(EVERYTHING);
    assert_eq!((config.settings.domain.as_str(), config.settings.port), ("apps.example.org", 0));
    assert_eq!(config.settings.trusted_proxies, ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"]);
    let cache = &config.services["cache"];
    assert_eq!(cache.workdir, Path::new("/app/cache"));
    assert_eq!((cache.isolation, cache.network), (LevelChoice::Fixed(Level::Process), Network::Host));
    let mount = |source: &str, target: &str, read_only| Mount {
        source: source.into(),
        target: target.into(),
        read_only,
    };
    let mounts =
        [mount("/app/models", "/models", true), mount("/srv/out", "/out", false), mount("/a:b", "/c", false)];
    assert_eq!(cache.mounts, mounts);
    let limits = cache.limits;
    assert_eq!(limits.memory, Some(ByteSize::mib(1024)));
    assert_eq!(limits.cpu_quota.map(|quota| quota.millis()), Some(1500));
    assert_eq!((limits.pids, limits.open_files), (Some(64), Some(1024)));
    let health = HealthCheck {
        path: "/health?deep=1".to_owned(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(5),
        failures: 2,
    };
    assert_eq!(cache.health, Some(health));
    let seconds = [cache.startup_timeout, cache.stop_timeout, cache.request_timeout].map(|t| t.as_secs());
    assert_eq!((seconds, cache.idle_timeout), ([5, 0, 120], None));
    let restart = RestartPolicy {
        mode: RestartMode::Always,
        backoff: Duration::from_secs(1),
        backoff_max: Duration::from_secs(60),
        max_restarts: 0,
        window: Duration::from_secs(3600),
    };
    assert_eq!((cache.sleep, &cache.restart, cache.hold_queue), (SleepMode::Freeze, &restart, 7));
    assert_eq!((cache.listen_tcp["alice"], cache.listen_tcp["bob"]), (6379, 6380));
}

#[test]
fn a_weight_out_of_range_is_clamped_and_noted() {
    let config = parse(EVERYTHING);
    assert_eq!(config.services["cache"].limits.cpu_weight.map(|weight| weight.get()), Some(10_000));
    let note = "`service.cache.cpu_weight`: 20000 is not between 1 and 10000; 10000 is used";
    assert_eq!(config.notes.iter().map(ToString::to_string).collect::<Vec<_>>(), [note]);
    for (asked, used) in [(-5, 1), (0, 1), (1, 1), (10_000, 10_000)] {
        let config = parse(&format!("[service.a]\ncommand = \"a\"\ncpu_weight = {asked}\n"));
        assert_eq!(config.services["a"].limits.cpu_weight.map(|weight| weight.get()), Some(used));
        assert_eq!(config.notes.len(), usize::from(asked != i32::from(used)), "{asked}");
    }
}

#[test]
fn slips_that_are_not_errors_are_noted() {
    let shell = parse("[service.a]\ncommand = \"build && run\"\n");
    assert!(shell.notes[0].text.contains("`&&` is passed to the program"), "{:?}", shell.notes);
    let freeze = parse("[service.a]\ncommand = \"a\"\nsleep = \"freeze\"\n");
    assert!(freeze.notes[0].text.contains("never sleeps"), "{:?}", freeze.notes);
    let trust = parse("[settings]\ntrusted_proxies = [\"0.0.0.0/0\"]\n");
    assert!(trust.notes[0].text.contains("every client"), "{:?}", trust.notes);
}

#[test]
fn quoted_arguments_arrive_intact() {
    let text = r#"
        [service.a]
        command = '''sh -c "echo 'two  words' \"$1\"" - ''  x\ y'''
        args = ["a b", "", "'"]
    "#;
    let launch = one(text, "a").launch(&id("t"), &placement(), None);
    assert_eq!(launch.argv, ["sh", "-c", "echo 'two  words' \"$1\"", "-", "", "x y", "a b", "", "'"]);
}

#[test]
fn a_quota_is_a_percentage_or_a_number_of_cpus() {
    for (typed, millis) in [("\"150%\"", 1500), ("1.5", 1500), ("2", 2000), ("\"1 %\"", 10), ("0.29", 290)] {
        let spec = one(&format!("[service.a]\ncommand = \"a\"\ncpu_quota = {typed}\n"), "a");
        assert_eq!(spec.limits.cpu_quota.map(|quota| quota.millis()), Some(millis), "{typed}");
    }
}

#[test]
fn services_inherit_level_and_floor_and_may_name_their_own() {
    let text = "isolation = \"vm\"\nmin_isolation = \"gvisor\"\n[service.a]\ncommand = \"a\"\n\
                [service.b]\ncommand = \"b\"\nisolation = \"process\"\nmin_isolation = \"process\"\n";
    let config = parse(text);
    let levels = |name: &str| (config.services[name].isolation, config.services[name].floor());
    assert_eq!(levels("a"), (LevelChoice::Fixed(Level::Vm), Some(Level::Gvisor)));
    assert_eq!(levels("b"), (LevelChoice::Fixed(Level::Process), Some(Level::Process)));
}

#[test]
fn a_launch_has_its_placeholders_filled_in() {
    let cache = one(EVERYTHING, "cache");
    let ids = IdRange { base: 1 << 16 };
    let launch = cache.launch(&id("alice"), &placement(), Some(ids));
    assert_eq!(launch.instance.to_string(), "cache:alice");
    let args = ["--port", "4000", "--dir", "/var/lib/apps/cache/alice"];
    assert_eq!(launch.argv[1..5], args);
    assert_eq!(launch.argv[5..], ["--unixsocket", "/run/app.sock", "--logfile", ""]);
    assert_eq!(launch.data_dir, Path::new("/var/lib/apps/cache/alice"));
    assert_eq!(launch.data_dir, cache.tenant_dir(&id("alice")));
    assert_eq!((launch.ids, launch.network, launch.limits), (Some(ids), cache.network, cache.limits));
    assert_eq!((launch.workdir, launch.mounts), (cache.workdir, cache.mounts));
    assert_eq!(launch.placement, placement());
}

#[test]
fn the_environment_is_complete_and_the_users_own_wins() {
    let launch = one(EVERYTHING, "cache").launch(&id("alice"), &placement(), None);
    let env: Vec<_> = launch.env.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect();
    let expected = [
        "HOME=/var/lib/apps/cache/alice",
        "INSULA_INSTANCE=cache:alice",
        "LANG=de_DE.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PORT=4000",
        "SOCKET_PATH=/run/app.sock",
        "TEMPLATE={id}",
        "WHO=cache/alice",
    ];
    assert_eq!(env, expected);
}

#[test]
fn the_same_tenant_has_one_directory_and_two_tenants_have_two() {
    let cache = one(EVERYTHING, "cache");
    assert_eq!(cache.tenant_dir(&id("alice")), cache.tenant_dir(&id("alice")));
    assert_ne!(cache.tenant_dir(&id("alice")), cache.tenant_dir(&id("bob")));
}

#[test]
fn a_file_is_found_upward_and_loaded_from_its_own_folder() {
    let root = tempfile::tempdir().unwrap();
    let deep = root.path().join("apps/notes/src");
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir(root.path().join("apps/notes/insula.toml")).unwrap();
    fs::write(root.path().join("apps/insula.toml"), EXAMPLE).unwrap();
    let found = Config::find(&deep).unwrap();
    assert_eq!(found, root.path().join("apps/insula.toml"), "a folder of that name is not a file");
    let config = Config::load(&deep.join("../../insula.toml")).unwrap();
    let folder = fs::canonicalize(root.path().join("apps")).unwrap();
    assert_eq!(config.path, folder.join("insula.toml"));
    assert_eq!(config.services["notes"].workdir, folder);
    fs::remove_file(found).unwrap();
    assert_eq!(Config::find(&deep), None);
}

#[test]
fn what_cannot_be_read_is_told_apart_from_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let missing = Config::load(&dir.path().join("none.toml")).unwrap_err();
    assert!(matches!(missing, ConfigError::Read { .. }) && missing.hint().contains("--config"));
    assert!(matches!(Config::load(dir.path()), Err(ConfigError::Read { .. })));
    let latin1 = Config::load(&write("latin1.toml", b"did = \"\xe4\"")).unwrap_err();
    assert!(matches!(latin1, ConfigError::NotText { .. }) && latin1.problems().is_empty());
    let limit = usize::try_from(Config::MAX_BYTES).unwrap();
    let large = Config::load(&write("large.toml", &vec![b'\n'; limit + 1])).unwrap_err();
    assert!(matches!(large, ConfigError::TooLarge { .. }));
    assert!(Config::load(&write("full.toml", &vec![b'\n'; limit])).is_ok());
    let wrong = Config::load(&write("wrong.toml", b"x = 1")).unwrap_err();
    assert!(matches!(wrong, ConfigError::Invalid { .. }) && wrong.problems().len() == 1);
}

#[test]
fn targets_of_routes_are_services_and_instances() {
    let config = parse(EVERYTHING);
    let target = |name: &str| Target::Instance(name.parse().unwrap());
    let cache = Target::Service("cache".parse().unwrap());
    assert_eq!(config.routing.default, Some(cache.clone()));
    let paths = [("/api", cache), ("/api/deep", target("cache:b"))];
    assert_eq!(config.routing.paths, paths.map(|(path, target)| (path.to_owned(), target)).into());
    let hosts = [("shop.example.com".to_owned(), target("cache:a"))];
    assert_eq!(config.routing.hosts, hosts.into());
    assert_eq!((config.settings.max_instances, config.services["cache"].max_instances), (Some(100), Some(3)));
}

#[test]
fn a_program_of_its_own_for_each_id_makes_versions() {
    for (command, more, versions) in [
        ("./api-{id}", "", true),
        ("./api-{id} --port {port}", "", true),
        ("./api-{{id}}", "", false),
        ("./api --dir {data_dir}/{id}", "", false),
        ("./api --dir {data_dir}/{id}", "versions = true", true),
        ("./api-{id}", "versions = false", false),
    ] {
        let text = format!("[service.a]\ncommand = \"{command}\"\n{more}\n");
        assert_eq!(one(&text, "a").versions, versions, "{text}");
    }
}

#[test]
fn what_is_written_down_is_as_asked() {
    use insula_spec::config::{AccessLog, LineFormat, MetricsAccess};
    let of = |text: &str| parse(&format!("[observability]\n{text}\n")).observability;
    assert_eq!(parse("").observability, insula_spec::Observability::default());
    for (text, place) in [
        ("on", AccessLog::Home),
        ("off", AccessLog::Off),
        ("./on", AccessLog::File("/app/on".into())),
        ("/var/log/a", AccessLog::File("/var/log/a".into())),
    ] {
        assert_eq!(of(&format!("access_log = {text:?}")).access_log, place);
    }
    let all = of("access_log_format = \"json\"\naccess_log_query = true\naccess_log_size = \"2M\"\n\
                  access_log_files = 0\nslow_request = 5\nmetrics = \"off\"\ninstance_metrics = true\n\
                  log_format = \"json\"\nlog_level = \"warn\"");
    assert_eq!((all.access_log_format, all.log_format), (LineFormat::Json, LineFormat::Json));
    assert_eq!((all.access_log_size, all.access_log_files), (ByteSize::mib(2), 0));
    assert_eq!((all.slow_request.as_secs(), all.metrics), (5, MetricsAccess::Off));
    assert!(all.access_log_query && all.instance_metrics && all.log_level.as_deref() == Some("warn"));
}

#[test]
fn an_image_raises_the_floor_and_may_bring_the_command() {
    use insula_spec::ImageSource;
    let spec = one("[service.notes]\nimage = \"debian\"\n", "notes");
    assert_eq!(spec.image, Some(ImageSource::Name("docker.io/library/debian:latest".parse().unwrap())));
    assert!(spec.command.is_empty());
    assert_eq!(spec.min_isolation, Some(Level::Container));
    let spec =
        one("[service.notes]\nimage = \"./app.tar\"\nmin_isolation = \"vm\"\ncommand = \"x\"\n", "notes");
    assert_eq!(spec.image, Some(ImageSource::Path("/app/app.tar".into())));
    assert_eq!((spec.min_isolation, spec.command.len()), (Some(Level::Vm), 1));
    let without = one("[service.notes]\ncommand = \"x\"\n", "notes");
    assert_eq!((without.image, without.min_isolation), (None, None));
}
