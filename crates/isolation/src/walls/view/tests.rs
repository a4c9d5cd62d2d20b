//! The plan of one fixed launch, as it is sent to an agent.

use std::fmt::Write as _;

use insula_linux::cgroup::Layout;
use insula_spec::{IdRange, Limits, Placement};

use super::*;
use crate::ports::Ports;
use crate::walls::IdMode;

fn shared(ids: IdMode, hidden: &[&str]) -> Shared {
    Shared {
        home_id: "home".into(),
        run_dir: "/run".into(),
        socket_root: "/run".into(),
        hidden: hidden.iter().map(PathBuf::from).collect(),
        agent: tempfile::tempfile().unwrap().into(),
        epoch: 1,
        layout: Layout::None { why: String::new(), hint: String::new() },
        ids,
        boot_id: String::new(),
        filters: Vec::new(),
        opened: Vec::new(),
        images: None,
        levels: insula_spec::Levels::default(),
        routed_range: insula_spec::RoutedRange::DEFAULT,
        deaf: None,
        ports: Ports::new(),
        falling: tokio_util::task::TaskTracker::new(),
        egress: None,
    }
}

/// A launch of directories that every Linux has.
fn launch(network: Network) -> Launch {
    let mount = |source: &str, target: &str, read_only| Mount {
        source: source.into(),
        target: target.into(),
        read_only,
    };
    Launch {
        instance: "notes:alice".parse().unwrap(),
        argv: vec!["true".into()],
        env: Vec::new(),
        workdir: "/usr/share".into(),
        data_dir: "/var/lib".into(),
        root: insula_spec::Root::host(),
        mounts: vec![mount("/etc", "/srv/etc", true), mount("/var", "/srv/var", false)],
        seccomp: None,
        runner: Vec::new(),
        network,
        net: insula_spec::NetPolicy::none(),
        net_given: false,
        limits: Limits::default(),
        ids: Some(IdRange { base: 1 << 20 }),
        placement: Placement { port: 8080, socket: SOCKET_INSIDE.into() },
    }
}

fn build_at(level: Level, shared: &Shared, launch: &Launch) -> Result<View, CannotShow> {
    let ground = root::ground(shared, launch, "none")?;
    let (app_dir, own) = (Path::new("/tmp"), Own::Plain(Vec::new()));
    build(
        shared,
        launch,
        Place { level, driver: None, app_dir, ground: &ground, agent: 0, own, shown_by: None },
    )
}

/// One step a line; where the system directories are links differs between hosts, so they are left out.
fn golden(plan: &ViewPlan) -> String {
    let mut text = format!("host name {}\n", plan.hostname);
    for op in &plan.ops {
        match op {
            ViewOp::Bind { source, .. } if SYSTEM.contains(&source.as_str()) => {}
            ViewOp::Symlink { target, .. } if SYSTEM.contains(&target.as_str()) => {}
            ViewOp::File { target, .. } => writeln!(text, "file {target}").unwrap(),
            ViewOp::Bind { source, target, read_only, optional } => {
                let mode = if *read_only { "ro" } else { "rw" };
                let need = if *optional { " if there" } else { "" };
                let at = if source == target { String::new() } else { format!(" at {target}") };
                writeln!(text, "bind {source}{at} {mode}{need}").unwrap();
            }
            ViewOp::Tmpfs { target, mode, size } => {
                writeln!(text, "tmpfs {target} {mode:o} {} MiB", size >> 20).unwrap();
            }
            ViewOp::Symlink { target, to } => writeln!(text, "link {target} -> {to}").unwrap(),
            ViewOp::Proc { target } => writeln!(text, "proc {target}").unwrap(),
            ViewOp::Own { target } => writeln!(text, "own {target}").unwrap(),
            other => writeln!(text, "{other:?}").unwrap(),
        }
    }
    text
}

#[test]
fn the_plan_of_an_ordinary_user_is_as_agreed() {
    let shared = shared(IdMode::Single, &["/etc/passwd", "/usr/share/doc", "/nowhere", "/var/lib"]);
    let view = build_at(Level::Namespace, &shared, &launch(Network::Isolated)).unwrap();
    assert!(view.mounts.is_empty(), "an ordinary user's agent opens its sources itself");
    insta::assert_snapshot!(golden(&view.plan), @r"
    host name alice
    bind /usr ro
    bind /etc/alternatives ro if there
    bind /etc/ca-certificates ro if there
    bind /etc/debian_version ro if there
    bind /etc/fonts ro if there
    bind /etc/host.conf ro if there
    bind /etc/ld.so.cache ro if there
    bind /etc/ld.so.conf ro if there
    bind /etc/ld.so.conf.d ro if there
    bind /etc/localtime ro if there
    bind /etc/mime.types ro if there
    bind /etc/nsswitch.conf ro if there
    bind /etc/os-release ro if there
    bind /etc/perl ro if there
    bind /etc/protocols ro if there
    bind /etc/python3 ro if there
    bind /etc/python3.11 ro if there
    bind /etc/services ro if there
    bind /etc/timezone ro if there
    bind /etc/ssl/certs ro if there
    bind /etc/ssl/openssl.cnf ro if there
    file /etc/passwd
    file /etc/group
    file /etc/hosts
    file /etc/hostname
    file /etc/resolv.conf
    proc /proc
    tmpfs /dev 755 1 MiB
    bind /dev/null ro
    bind /dev/zero ro
    bind /dev/full ro
    bind /dev/random ro
    bind /dev/urandom ro
    bind /dev/tty ro if there
    link /dev/fd -> /proc/self/fd
    link /dev/stdin -> /proc/self/fd/0
    link /dev/stdout -> /proc/self/fd/1
    link /dev/stderr -> /proc/self/fd/2
    tmpfs /dev/shm 1777 64 MiB
    tmpfs /tmp 1777 256 MiB
    link /var/tmp -> ../tmp
    link /var/run -> ../run
    bind /usr/share ro
    tmpfs /usr/share/doc 755 1 MiB
    bind /etc at /srv/etc ro
    bind /dev/null at /srv/etc/passwd ro
    bind /var at /srv/var rw
    tmpfs /srv/var/lib 755 1 MiB
    bind /var/lib rw
    bind /tmp at /run/insula rw
    own /var/lib
    ");
}

#[test]
fn only_on_the_hosts_network_are_its_name_servers_shown() {
    let shared = shared(IdMode::Single, &[]);
    let shows = |network| {
        let view = build_at(Level::Namespace, &shared, &launch(network)).unwrap();
        golden(&view.plan).contains("bind /etc/resolv.conf")
    };
    assert!(shows(Network::Host));
    assert!(!shows(Network::Isolated));
}

#[test]
fn what_is_not_there_cannot_be_shown_and_is_named() {
    let shared = shared(IdMode::Single, &[]);
    let missing = Launch { workdir: "/nowhere/at/all".into(), ..launch(Network::Isolated) };
    let error = build_at(Level::Namespace, &shared, &missing).unwrap_err();
    assert_eq!(error.path, Path::new("/nowhere/at/all"));
}
