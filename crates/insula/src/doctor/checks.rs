//! One function for each thing that is looked at.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use insula_isolation::{DiskProbe, Mechanism};
use insula_linux::cgroup::Layout;
use insula_spec::Config;
use rustix::process::{Resource, getrlimit};

use super::{Check, Verdict};
use crate::home::Home;
use crate::{environment, verify};

/// Oldest kernel that has everything the walls use: `clone_tree` of mounts, pidfds, `close_range`.
const KERNEL: (u32, u32) = (5, 15);

/// What to do without a network wall.
const NO_WALL: &str = "`modprobe nf_tables nft_redir nf_nat`, or use a kernel with CONFIG_NFT_REDIR; without it nothing \
                       outside can be reached, and a service with `net` is refused";

/// Open files that a host with some hundred tenants needs.
const OPEN_FILES: u64 = 4096;

/// What the host is.
pub(super) fn host() -> Vec<Check> {
    vec![
        kernel(),
        user_namespaces(),
        control_groups(),
        subordinate_ids(),
        seccomp(),
        landlock(),
        network_wall(),
        proc_mount(),
        open_files(getrlimit(Resource::Nofile).maximum),
        engines(),
    ]
}

fn good(what: &'static str, found: impl Into<String>) -> Check {
    Check { what, verdict: Verdict::Good, found: found.into(), hint: None }
}

fn not(what: &'static str, verdict: Verdict, found: impl Into<String>, hint: &str) -> Check {
    Check { what, verdict, found: found.into(), hint: Some(hint.to_owned()) }
}

fn kernel() -> Check {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    match version(&release) {
        Some(found) if found >= KERNEL => good("kernel", release),
        _ => not("kernel", Verdict::Bad, release, "use Linux 5.15 or newer"),
    }
}

/// Major and minor number of `6.18.44-something`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn user_namespaces() -> Check {
    let what = "user namespaces";
    match fs::read_to_string("/proc/sys/user/max_user_namespaces") {
        Ok(text) if text.trim() != "0" => good(what, format!("up to {}", text.trim())),
        Ok(_) => not(what, Verdict::Bad, "switched off", "set `sysctl user.max_user_namespaces` above 0"),
        Err(e) => not(what, Verdict::Bad, e.to_string(), "use a kernel with CONFIG_USER_NS"),
    }
}

fn control_groups() -> Check {
    let what = "control groups";
    match Layout::detect() {
        Ok(Layout::None { why, hint }) => not(what, Verdict::Poor, why, &hint),
        Ok(layout) => good(what, format!("{}, writable", layout.name().unwrap_or("none"))),
        Err(e) => not(what, Verdict::Bad, e.to_string(), &e.hint()),
    }
}

fn subordinate_ids() -> Check {
    let what = "ids";
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return good(what, "root: each instance gets ids of its own");
    }
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let name = user_name(&read("/etc/passwd"), uid.as_raw());
    let mut missing: Vec<_> = ["newuidmap", "newgidmap"].into_iter().filter(|tool| !on_path(tool)).collect();
    let ranged = |file: &&str| has_range(&read(file), name.as_deref(), uid.as_raw());
    missing.extend(["/etc/subuid", "/etc/subgid"].into_iter().filter(|file| !ranged(file)));
    if missing.is_empty() {
        return good(what, "a subordinate range");
    }
    let hint =
        "install `uidmap` and add a range for this user to /etc/subuid and /etc/subgid, or run as root";
    let found = format!("this user's own id for all instances; not there: {}", missing.join(", "));
    not(what, Verdict::Poor, found, hint)
}

/// The name of a user in the text of passwd(5).
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let of = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    passwd.lines().find_map(of)
}

/// Whether subuid(5) gives this user a range; the user stands there by name or by number.
fn has_range(text: &str, name: Option<&str>, uid: u32) -> bool {
    let owner = |line: &str| line.split_once(':').map(|(owner, _)| owner.to_owned());
    text.lines().filter_map(owner).any(|o| Some(o.as_str()) == name || o.parse() == Ok(uid))
}

fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let runs =
        |path: &Path| fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    std::env::split_paths(&path).any(|dir| runs(&dir.join(tool)))
}

fn seccomp() -> Check {
    let what = "seccomp";
    match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.split_whitespace().any(|a| a == "errno") => good(what, "filters can be set"),
        _ => not(what, Verdict::Bad, "no filters", "use a kernel with CONFIG_SECCOMP_FILTER"),
    }
}

fn landlock() -> Check {
    let what = "landlock";
    match insula_linux::landlock::is_there() {
        Ok(true) => good(what, "abstract sockets and signals of others are out of reach"),
        Ok(false) => {
            let hint = "use Linux 6.12 or newer with CONFIG_SECURITY_LANDLOCK, or no `network = \"host\"`";
            not(what, Verdict::Poor, "no scopes: `network = \"host\"` shares abstract Unix sockets", hint)
        }
        Err(e) => not(
            what,
            Verdict::Poor,
            e.to_string(),
            "see whether `landlock` stands in /sys/kernel/security/lsm",
        ),
    }
}

/// Engines that others use for containers. Insula needs none of them, and an operator may wonder.
fn engines() -> Check {
    let found: Vec<_> = ["docker", "podman", "nerdctl"].into_iter().filter(|tool| on_path(tool)).collect();
    let text = match &*found {
        [] => "none, and none is needed".to_owned(),
        all => format!("{}: not used, images are run without", all.join(", ")),
    };
    good("container engines", text)
}

/// Tried by a process of its own: it takes a network namespace, and one thread.
fn network_wall() -> Check {
    let what = "network wall";
    let tried = Command::new("/proc/self/exe").args([verify::PROBE_VERB, "wall"]).output();
    let outcome = tried.and_then(|output| Ok(serde_json::from_slice::<verify::Outcome>(&output.stdout)?));
    match outcome {
        Ok(outcome) if outcome.through => good(what, "nf_tables with NAT: `net` is enforced"),
        Ok(verify::Outcome { detail, .. }) => {
            not(what, Verdict::Poor, format!("no `net`: {detail}"), NO_WALL)
        }
        Err(e) => not(what, Verdict::Poor, format!("cannot be tried: {e}"), NO_WALL),
    }
}

/// An over-mounted part of /proc keeps an unprivileged user from mounting a fresh one.
fn proc_mount() -> Check {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let over = over_mounts(&mounts);
    if over.is_empty() {
        return good("/proc", "nothing is mounted over it");
    }
    let root = rustix::process::geteuid().is_root();
    let verdict = if root { Verdict::Good } else { Verdict::Bad };
    let found = format!("mounted over: {}", over.join(", "));
    let hint = "start the daemon where nothing is mounted over /proc (no ProtectKernelTunables=, ProtectProc= or \
                container masks), or as root";
    Check { what: "/proc", verdict, found, hint: (!root).then(|| hint.to_owned()) }
}

fn over_mounts(mountinfo: &str) -> Vec<&str> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|p| p.starts_with("/proc/") && !p.starts_with("/proc/sys/fs/binfmt_misc")).collect()
}

fn open_files(hard: Option<u64>) -> Check {
    let what = "open files";
    match hard {
        Some(n) if n < OPEN_FILES => {
            let hint = format!("raise the hard limit (`ulimit -Hn`, LimitNOFILE=) to {OPEN_FILES} or more");
            not(what, Verdict::Poor, format!("at most {n}"), &hint)
        }
        Some(n) => good(what, format!("at most {n}")),
        None => good(what, "not limited"),
    }
}

/// Whether the home can be used.
pub(super) fn home(home: &Home) -> Check {
    let what = "home";
    let path = home.path();
    let Ok(meta) = fs::metadata(path) else {
        return good(what, format!("{} (not made yet)", path.display()));
    };
    let user = rustix::process::geteuid().as_raw();
    if meta.uid() != user && user != 0 {
        let found = format!("{} belongs to user {}", path.display(), meta.uid());
        return not(what, Verdict::Bad, found, "run as its owner, or name another home with `--home`");
    }
    if meta.mode() & 0o077 != 0 {
        let found = format!("{} is open to others (mode {:o})", path.display(), meta.mode() & 0o777);
        return not(what, Verdict::Poor, found, "`insula serve` closes it when it starts");
    }
    good(what, path.display().to_string())
}

/// Whether the configuration is valid, where there is one.
pub(super) fn config(path: Option<&Path>) -> Check {
    let what = "config";
    match path.map(|path| Config::load_with(path, &environment::file_alone())) {
        None => good(what, "no `insula.toml` here or above"),
        Some(Ok(config)) => good(what, format!("`{}` is valid", config.path.display())),
        Some(Err(e)) => {
            let first = e.to_string().lines().next().unwrap_or_default().to_owned();
            not(what, Verdict::Bad, first, "run `insula config check` for all of it")
        }
    }
}

/// What can bound a tenant's directory, where the configuration keeps them.
pub(super) fn disk_limits(home: &Home, config: Option<&Path>) -> Check {
    let what = "disk limits";
    let known = config.and_then(|path| Config::load_with(path, &environment::file_alone()).ok());
    let dir = known.map_or_else(|| home.path().to_owned(), |config| config.settings.data_dir);
    let probe = DiskProbe::of(&dir);
    let hint = "run as root with loop devices and e2fsprogs, or use a file system mounted with `prjquota`";
    match (&probe.project, &probe.image) {
        (Ok(()), _) => good(what, Mechanism::Project.as_str()),
        (_, Ok(())) => good(what, Mechanism::Image.as_str()),
        _ => not(what, Verdict::Poor, format!("{}: {}", Mechanism::Soft, probe.why_soft()), hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_compared_as_numbers() {
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
        assert!(version("5.4.0") < Some(KERNEL) && version("5.100") > Some(KERNEL));
        assert_eq!(version("six"), None);
    }

    #[test]
    fn only_what_hides_parts_of_proc_counts() {
        let line = |point: &str| format!("25 30 0:23 / {point} rw shared:13 - proc proc rw\n");
        let harmless: String = ["/proc", "/", "/processes/x", "/proc/sys/fs/binfmt_misc"].map(line).concat();
        assert!(over_mounts(&harmless).is_empty());
        assert_eq!(over_mounts(&line("/proc/kcore")), ["/proc/kcore"]);
    }

    #[test]
    fn a_range_is_found_by_name_or_number() {
        let passwd = "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(user_name(passwd, 1001), None);
        let subuid = "bob:100000:65536\n1001:165536:65536\n";
        assert!(has_range(subuid, Some("bob"), 7) && has_range(subuid, None, 1001));
        assert!(!has_range(subuid, Some("ann"), 1000) && !has_range("", None, 0));
    }

    #[test]
    fn few_open_files_are_told() {
        assert_eq!(open_files(Some(1024)).verdict, Verdict::Poor);
        assert_eq!(open_files(Some(OPEN_FILES)).verdict, Verdict::Good);
        assert_eq!(open_files(None).verdict, Verdict::Good);
    }

    #[test]
    fn a_broken_config_is_bad_and_an_absent_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("insula.toml");
        fs::write(&path, "nonsense = 1\n").unwrap();
        assert_eq!(config(Some(&path)).verdict, Verdict::Bad);
        assert_eq!(config(None).verdict, Verdict::Good);
    }
}
