use std::path::Path;

use insula_spec::Config;

use super::*;

const ROOT: Host = Host { root: true, landlock: true, hard_disk: true, project_quota: true };
const WALLED: [Level; 3] = [Level::Namespace, Level::Container, Level::Gvisor];

fn spec(keys: &str) -> ServiceSpec {
    let text = format!("[service.app]\ncommand = \"./app\"\nworkdir = \"/srv/app\"\n{keys}");
    let config =
        Config::parse(&text, Path::new("/etc/insula.toml")).unwrap_or_else(|e| panic!("{e}: {text}"));
    config.services.into_values().next().unwrap()
}

#[track_caller]
fn says(keys: &str, host: Host, (probe, level): (Probe, Level), answer: Answer, why: &str) {
    let spec = spec(keys);
    let told = Manifest { spec: &spec, host }.tried(probe, level);
    assert!(told.0 == answer && told.1.contains(why), "{probe:?} at {level}, {keys:?}: {told:?}");
}

#[track_caller]
fn wider(keys: &str, asked: Wider, level: Level, answer: Answer, why: &str) {
    let spec = spec(keys);
    let told = Manifest { spec: &spec, host: ROOT }.wider(asked, level);
    assert!(told.0 == answer && told.1.contains(why), "{asked:?} at {level}, {keys:?}: {told:?}");
}

#[test]
fn what_has_no_limit_is_open_at_every_level() {
    for (probe, key) in [
        (Probe::ForkBomb, "pids_limit = 8"),
        (Probe::MemoryBomb, "memory_limit_mb = 64"),
        (Probe::DiskFill, "disk_limit = \"1M\""),
    ] {
        for level in WALLED {
            let name = key.split(' ').next().unwrap();
            says("", ROOT, (probe, level), Answer::Open, name);
            says(key, ROOT, (probe, level), Answer::Stopped, name);
        }
    }
    says("disk_limit = \"1M\"", ROOT, (Probe::DiskFill, Level::Process), Answer::Open, "counted");
    let soft = "disk_limit = \"1M\"\ndisk_limit_mode = \"soft\"";
    says(soft, ROOT, (Probe::DiskFill, Level::Namespace), Answer::Open, "soft");
    let poor = Host { hard_disk: false, ..ROOT };
    says("disk_limit = \"1M\"", poor, (Probe::DiskFill, Level::Namespace), Answer::Open, "this host");
    let kept = "disk_limit = \"1M\"\nrootfs = \"/r\"\npersistent_root = true";
    let by_image = Host { project_quota: false, ..ROOT };
    says(kept, ROOT, (Probe::DiskFill, Level::Container), Answer::Stopped, "disk_limit");
    says(kept, by_image, (Probe::DiskFill, Level::Container), Answer::Open, "persistent_root");
    let image = "disk_limit = \"1M\"\nimage = \"own/app:1\"";
    says(image, by_image, (Probe::DiskFill, Level::Container), Answer::Stopped, "volumes");
    says("disk_limit = \"1M\"", by_image, (Probe::DiskFill, Level::Container), Answer::Stopped, "disk_limit");
}

#[test]
fn the_network_of_the_host_is_the_hosts() {
    for level in WALLED {
        for probe in [Probe::HostLoopback, Probe::HostAddress, Probe::Metadata] {
            says("", ROOT, (probe, level), Answer::Stopped, "network of its own");
            says("network = \"host\"", ROOT, (probe, level), Answer::Open, "network of the host");
        }
        says("network = \"host\"", ROOT, (Probe::HostAbstract, level), Answer::Stopped, "Landlock");
        let old = Host { landlock: false, ..ROOT };
        says("network = \"host\"", old, (Probe::HostAbstract, level), Answer::Open, "network of the host");
    }
    says("", ROOT, (Probe::HostAbstract, Level::Process), Answer::Open, "network of the host");
}

#[test]
fn a_rule_that_names_an_address_grants_it() {
    let level = Level::Namespace;
    says("net = [\"169.254.0.0/16\"]", ROOT, (Probe::Metadata, level), Answer::Granted, "169.254.0.0/16");
    says("net = [\"169.254.169.254:443\"]", ROOT, (Probe::Metadata, level), Answer::Stopped, "");
    says("net = [\"127.0.0.1:5432\"]", ROOT, (Probe::HostLoopback, level), Answer::Granted, "127.0.0.1:5432");
    says("net = [\"127.0.0.1:5432\"]", ROOT, (Probe::Metadata, level), Answer::Stopped, "");
    says("net = [\"public\", \"*.a.com\"]", ROOT, (Probe::HostAddress, level), Answer::Stopped, "");
}

#[test]
fn a_filter_of_the_operators_is_as_it_is_written() {
    let own = "seccomp = \"/etc/own.json\"";
    says(own, ROOT, (Probe::Keyring, Level::Namespace), Answer::Granted, "/etc/own.json");
    says("", ROOT, (Probe::Keyring, Level::Namespace), Answer::Stopped, "filter");
    says("", ROOT, (Probe::Keyring, Level::Gvisor), Answer::Inside, "kernel of its own");
    says("", ROOT, (Probe::Keyring, Level::Process), Answer::Open, "any user");
}

#[test]
fn another_user_id_counts_under_root_alone() {
    let user = Host { root: false, ..ROOT };
    says("", ROOT, (Probe::NeighbourFile, Level::Process), Answer::Stopped, "user id");
    says("", user, (Probe::NeighbourFile, Level::Process), Answer::Open, "user that the daemon");
    says("", user, (Probe::NeighbourFile, Level::Namespace), Answer::Stopped, "namespaces");
}

#[test]
fn what_a_service_is_given_is_named() {
    let level = Level::Container;
    wider("", Wider::Internet, level, Answer::Granted, "`net` has public");
    wider("net = []", Wider::Internet, level, Answer::Stopped, "nothing outside");
    wider("net = [\"self:db\"]", Wider::Internet, level, Answer::Stopped, "nothing outside");
    wider("net = [\"self:db\"]", Wider::Siblings, level, Answer::Granted, "self:db");
    wider("", Wider::Siblings, level, Answer::Stopped, "names none");
    wider("", Wider::ReadHost, level, Answer::Granted, "system directories, /srv/app");
    let mounts = "mounts = [\"/srv/fonts:/fonts\", \"/srv/shared:/shared:rw\"]";
    wider(mounts, Wider::ReadHost, level, Answer::Granted, "/srv/app, /srv/fonts, /srv/shared");
    wider(mounts, Wider::WriteHost, level, Answer::Granted, "/srv/shared");
    wider("", Wider::WriteHost, level, Answer::Stopped, "");
    wider("", Wider::WriteHost, Level::Process, Answer::Open, "any user");
    wider("", Wider::KernelHole, Level::Container, Answer::Open, "shared");
    wider("", Wider::KernelHole, Level::Gvisor, Answer::Harder, "runsc");
}

#[test]
fn a_level_that_cannot_enforce_a_key_names_it() {
    for (keys, level, key) in [
        ("net = []", Level::Process, Some("net")),
        ("net = []", Level::Namespace, None),
        ("bandwidth_limit = \"1M\"", Level::Process, Some("bandwidth_limit")),
        ("network = \"routed\"", Level::Process, Some("network")),
        ("seccomp = \"own.json\"", Level::Process, Some("seccomp")),
        ("", Level::Process, None),
    ] {
        assert_eq!(refused(&spec(keys), level), key, "{keys:?} at {level}");
    }
}
