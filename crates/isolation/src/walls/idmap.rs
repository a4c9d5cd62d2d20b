//! Which host ids stand for the ids inside a user namespace.

use std::io;
use std::path::{Path, PathBuf};

use insula_spec::IdRange;
use tokio::process::Command;

/// What this user has to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdMode {
    /// Root over all ids: each instance has a range of its own.
    Ranges,
    /// An ordinary user with one subordinate range (subuid(5)): all instances share it.
    Subordinate {
        /// First subordinate user id.
        uid: u32,
        /// First subordinate group id.
        gid: u32,
    },
    /// An ordinary user with no id but its own.
    Single,
}

/// Ids of a subordinate range that are needed: all but the agent's.
const NEEDED: u32 = IdRange::LEN - 1;

impl IdMode {
    /// What the calling user can give.
    pub(crate) fn detect() -> Self {
        let uid = rustix::process::geteuid();
        let all_ids = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        if uid.is_root() && all_ids.split_whitespace().eq(["0", "0", "4294967295"]) {
            return Self::Ranges;
        }
        let tools = ["newuidmap", "newgidmap"].iter().all(|tool| installed(tool).is_some());
        let range = |file: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            subordinate(&text, &user_name(uid.as_raw()), uid.as_raw())
        };
        match (tools, range("/etc/subuid"), range("/etc/subgid")) {
            (true, Some(uid), Some(gid)) => Self::Subordinate { uid, gid },
            _ => Self::Single,
        }
    }

    /// For reports.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ranges => "range per instance",
            Self::Subordinate { .. } => "one subordinate range",
            Self::Single => "one id",
        }
    }
}

/// Where a set-user-id helper is. Not looked up in `PATH`: whoever sets that shall not choose what runs.
fn installed(tool: &str) -> Option<PathBuf> {
    let places = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"];
    places.iter().map(|dir| Path::new(dir).join(tool)).find(|path| path.exists())
}

fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    passwd.lines().find_map(of).unwrap_or_default()
}

/// First id of a range that is long enough and belongs to this user, by name or number.
fn subordinate(text: &str, name: &str, uid: u32) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse::<u32>().ok()?);
        let own = (!name.is_empty() && owner == name) || owner.parse() == Ok(uid);
        (own && count >= NEEDED).then_some(first)
    })
}

/// Maps a whole range into the user namespace of `pid`. Needs root.
pub(crate) fn map_range(pid: i32, range: IdRange) -> io::Result<()> {
    let line = format!("0 {} {}", range.base, IdRange::LEN);
    std::fs::write(format!("/proc/{pid}/uid_map"), &line)?;
    std::fs::write(format!("/proc/{pid}/gid_map"), &line)
}

/// Maps the caller's own id to 0 and the subordinate range behind it, with the set-user-id helpers.
pub(crate) async fn map_subordinate(pid: i32, uid: u32, gid: u32) -> io::Result<()> {
    let own_uid = rustix::process::getuid().as_raw();
    let own_gid = rustix::process::getgid().as_raw();
    for (tool, own, first) in [("newuidmap", own_uid, uid), ("newgidmap", own_gid, gid)] {
        let args = [pid.cast_unsigned(), 0, own, 1, 1, first, NEEDED].map(|n| n.to_string());
        let program = installed(tool).ok_or(io::ErrorKind::NotFound)?;
        let out = Command::new(program).args(&args).kill_on_drop(true).output().await?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
            return Err(io::Error::other(format!("{tool} {}: {said}", args.join(" "))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subordinate_range_must_be_ones_own_and_long_enough() {
        let text = "alice:100000:65536\n4242:200000:65536\nbob:300000:10\n";
        assert_eq!(subordinate(text, "alice", 1000), Some(100_000));
        assert_eq!(subordinate(text, "carol", 4242), Some(200_000));
        assert_eq!(subordinate(text, "bob", 1001), None, "ten ids are not enough");
        assert_eq!(subordinate(text, "", 7), None, "an empty name owns nothing");
        assert_eq!(subordinate(":1:70000\n", "", 7), None);
        assert_eq!(subordinate("garbage\nalice:x:y\n", "alice", 1000), None);
    }
}
