//! What an app of a service could do at a level, and why.

use std::net::{IpAddr, Ipv4Addr};

use clap::ValueEnum;
use insula_spec::{DiskMode, Level, NetRule, Network, ServiceSpec};
use serde::Serialize;

use super::report::{Cell, Column, Row};
use crate::verify::{By, Probe};

/// Where clouds hand out credentials to whoever asks from within.
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// Whether an app gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// No.
    Stopped,
    /// As far as the service is written to.
    Granted,
    /// In a kernel of its own, and nowhere else.
    Inside,
    /// Only through one more kernel.
    Harder,
    /// Yes.
    Open,
}

/// What counts of the host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host {
    /// Whether the daemon would be root.
    pub(super) root: bool,
    /// Whether the kernel keeps programs off the abstract sockets of others.
    pub(super) landlock: bool,
    /// Whether a limit on disk can be hard.
    pub(super) hard_disk: bool,
    /// Whether a limit on disk can be hard where the data has to lie in the tenant's directory itself.
    pub(super) project_quota: bool,
}

/// A service on a host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manifest<'a> {
    pub(super) spec: &'a ServiceSpec,
    pub(super) host: Host,
}

/// What no program can try, or not on itself alone.
#[derive(Debug, Clone, Copy)]
enum Wider {
    KernelHole,
    SideChannel,
    Internet,
    Siblings,
    ReadHost,
    WriteHost,
}

const WIDER: [(Wider, &str, &str); 6] = [
    (Wider::KernelHole, "kernel-hole", "use a hole in the host's kernel"),
    (Wider::SideChannel, "side-channel", "learn from shared processors and caches"),
    (Wider::Internet, "internet", "send to the internet"),
    (Wider::Siblings, "other-service", "connect to other services here"),
    (Wider::ReadHost, "host-files", "read files of the host"),
    (Wider::WriteHost, "host-files-write", "write to files of the host"),
];

/// The key for which a level would refuse to start the service.
pub(super) fn refused(spec: &ServiceSpec, level: Level) -> Option<&'static str> {
    let bare = level == Level::Process;
    let own_root = matches!(level, Level::Container | Level::Gvisor);
    [
        (bare && spec.net_given, "net"),
        (bare && spec.limits.bandwidth.is_some(), "bandwidth_limit"),
        (bare && spec.network == Network::Routed, "network"),
        (bare && spec.seccomp.is_some(), "seccomp"),
        (!own_root && spec.root.persistent, "persistent_root"),
    ]
    .into_iter()
    .find_map(|(is, key)| is.then_some(key))
    .or_else(|| spec.root.asked().filter(|_| bare))
}

/// Every attempt at each of these levels.
pub(super) fn rows(manifest: &Manifest<'_>, columns: &[Column]) -> Vec<Row> {
    let row = |id, what, answer: &dyn Fn(Level) -> (Answer, String)| {
        let cell = |column: &Column| {
            let (answer, why) = answer(column.level);
            Cell { level: column.level, answer, why }
        };
        Row { id, what, levels: columns.iter().map(cell).collect() }
    };
    let wider = WIDER.iter().map(|(wider, id, what)| row(id, what, &|level| manifest.wider(*wider, level)));
    let tried = Probe::value_variants();
    let tried =
        tried.iter().map(|probe| row(probe.id(), probe.what(), &|level| manifest.tried(*probe, level)));
    wider.chain(tried).collect()
}

fn stopped(why: impl Into<String>) -> (Answer, String) {
    (Answer::Stopped, why.into())
}

fn open(why: impl Into<String>) -> (Answer, String) {
    (Answer::Open, why.into())
}

fn granted(why: impl Into<String>) -> (Answer, String) {
    (Answer::Granted, why.into())
}

impl Manifest<'_> {
    /// Whether its network is that of the host.
    fn on_host_network(&self, level: Level) -> bool {
        level == Level::Process || self.spec.network == Network::Host
    }

    /// What [`crate::verify`] tries.
    pub(super) fn tried(&self, probe: Probe, level: Level) -> (Answer, String) {
        match probe {
            Probe::ForkBomb => limited(self.spec.limits.pids.is_some(), "pids_limit"),
            Probe::MemoryBomb => limited(self.spec.limits.memory.is_some(), "memory_limit_mb"),
            Probe::DiskFill => self.disk(level),
            Probe::HostLoopback | Probe::HostAddress | Probe::Metadata | Probe::HostAbstract => {
                self.reach(probe, level)
            }
            _ => self.promised(probe, level),
        }
    }

    /// What a level promises whatever the service is given.
    fn promised(&self, probe: Probe, level: Level) -> (Answer, String) {
        let filtered = probe.by() == By::Filter;
        match (probe.is_stopped_at(level, self.host.root), &self.spec.seccomp) {
            (true, Some(file)) if filtered => granted(format!("`seccomp` is {}", file.display())),
            (true, _) => stopped(match probe.by() {
                By::Always => "at every level",
                By::Ids if level == Level::Process => "another user id",
                By::Ids | By::Walls => "namespaces, and no capabilities",
                By::Filter => "the system call filter",
            }),
            (false, _) if filtered && level == Level::Gvisor => {
                (Answer::Inside, "in a kernel of its own: the host's is not asked".to_owned())
            }
            (false, _) if filtered => open("as far as the kernel lets any user"),
            (false, _) if probe.by() == By::Ids => open("it runs as the user that the daemon does"),
            (false, _) => open("the level has no such wall"),
        }
    }

    fn disk(&self, level: Level) -> (Answer, String) {
        let mode = self.spec.limits.disk_mode;
        match (self.spec.limits.disk, mode) {
            (None, _) => open("no `disk_limit`"),
            (Some(_), DiskMode::Soft) => open("`disk_limit_mode` is soft: counted"),
            _ if level == Level::Process => open("counted: the level cannot bound it"),
            (Some(_), DiskMode::Auto) if !self.host.hard_disk => open("counted: this host cannot bound it"),
            _ if self.host.project_quota => stopped("`disk_limit`"),
            // Only an image could hold it, and what lies in the tenant's directory itself fits into none.
            (Some(_), DiskMode::Auto) if self.spec.root.persistent => {
                open("counted: beside `persistent_root` this host cannot bound it")
            }
            (Some(_), DiskMode::Auto) if self.spec.image.is_some() => {
                stopped("`disk_limit`, unless the image has volumes: counted then")
            }
            _ => stopped("`disk_limit`"),
        }
    }

    fn reach(&self, probe: Probe, level: Level) -> (Answer, String) {
        let spec = self.spec;
        if self.on_host_network(level) {
            return match probe {
                Probe::HostAbstract if level != Level::Process && self.host.landlock => stopped("Landlock"),
                _ => open("on the network of the host"),
            };
        }
        let named = |covers: &dyn Fn(&NetRule) -> bool| {
            let rule = spec.net.rules().iter().find(|rule| covers(rule));
            // Whatever is written, nothing inside is routed.
            rule.filter(|_| spec.network == Network::Isolated)
                .map(|rule| granted(format!("`net` has `{rule}`")))
        };
        let granted = match probe {
            Probe::Metadata => named(&|rule| rule.covers(METADATA, Some(80))),
            Probe::HostLoopback => named(&|rule| rule.covers(IpAddr::V4(Ipv4Addr::LOCALHOST), None)),
            // Which addresses the host will have, only the host knows.
            Probe::HostAddress => named(&|rule| matches!(rule, NetRule::Block { .. })),
            _ => None,
        };
        granted.unwrap_or_else(|| stopped("a network of its own"))
    }

    /// What cannot be tried.
    fn wider(&self, wider: Wider, level: Level) -> (Answer, String) {
        match wider {
            Wider::KernelHole if level == Level::Gvisor => (
                Answer::Harder,
                "its calls go to runsc; the host's kernel hears runsc, behind walls".to_owned(),
            ),
            Wider::KernelHole => open("the kernel is shared"),
            Wider::SideChannel => open("no level of this version stops that"),
            Wider::Internet => self.internet(level),
            Wider::Siblings => self.siblings(level),
            Wider::ReadHost => self.files(level, true),
            Wider::WriteHost => self.files(level, false),
        }
    }

    fn internet(&self, level: Level) -> (Answer, String) {
        let net = &self.spec.net;
        let out = |rule: &NetRule| !matches!(rule, NetRule::Instance { .. });
        match self.on_host_network(level) {
            true => open("on the network of the host"),
            false if !net.rules().iter().any(out) => stopped("`net` names nothing outside"),
            false => granted(listed("`net`", net.rules().iter().filter(|rule| out(rule)))),
        }
    }

    fn siblings(&self, level: Level) -> (Answer, String) {
        let inside = |rule: &&NetRule| matches!(rule, NetRule::Instance { .. });
        let rules: Vec<_> = self.spec.net.rules().iter().filter(inside).collect();
        match self.on_host_network(level) {
            true => open("on the network of the host"),
            false if rules.is_empty() => stopped("`net` names none"),
            false => granted(format!("{}, where `reachable_from` agrees", listed("`net`", rules))),
        }
    }

    fn files(&self, level: Level, read: bool) -> (Answer, String) {
        let spec = self.spec;
        if level == Level::Process {
            let user = if self.host.root { "any user may" } else { "the daemon's user may" };
            return open(format!("what {user}"));
        }
        let mounts = spec.mounts.iter().filter(|mount| read || !mount.read_only);
        let mut paths: Vec<_> = mounts.map(|mount| mount.source.display().to_string()).collect();
        if read && spec.root.show_workdir {
            paths.insert(0, spec.workdir.display().to_string());
        }
        if read && spec.root.is_host() {
            paths.insert(0, "system directories".to_owned());
        }
        if paths.is_empty() { stopped("a view of its own") } else { granted(paths.join(", ")) }
    }
}

fn limited(is: bool, key: &str) -> (Answer, String) {
    if is { stopped(format!("`{key}`")) } else { open(format!("no `{key}`")) }
}

fn listed<'a>(what: &str, rules: impl IntoIterator<Item = &'a NetRule>) -> String {
    let rules: Vec<_> = rules.into_iter().map(ToString::to_string).collect();
    format!("{what} has {}", rules.join(", "))
}

#[cfg(test)]
mod tests;
