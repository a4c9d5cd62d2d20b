//! Whose ids a workload takes: names are looked up in the root file system that it will see.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

/// Most bytes that are read of a list of users or groups: it belongs to whoever made the image.
const MOST: u64 = 1 << 20;

/// Ids of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// Looks `user[:group]` up, each a name or a number, in these layers, from the bottom to the top.
pub(crate) fn find(asked: &str, layers: &[PathBuf]) -> io::Result<User> {
    resolve(asked, &read(layers, "etc/passwd")?, &read(layers, "etc/group")?)
}

/// The topmost file of this name. A missing one names nobody. Links are followed inside the layer alone, and what
/// is no ordinary file, such as a pipe that never ends, is not read.
fn read(layers: &[PathBuf], name: &str) -> io::Result<String> {
    for layer in layers.iter().rev() {
        let dir = rustix::fs::openat(
            CWD,
            layer,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let Ok(file) = rustix::fs::openat2(&dir, name, flags, Mode::empty(), resolve) else { continue };
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            continue;
        }
        let mut bytes = Vec::new();
        File::from(file).take(MOST).read_to_end(&mut bytes)?;
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(String::new())
}

fn resolve(asked: &str, passwd: &str, group: &str) -> io::Result<User> {
    let (user, wanted_group) = match asked.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (asked, None),
    };
    let unknown = |what: &str, name: &str| {
        io::Error::new(io::ErrorKind::NotFound, format!("the image knows no {what} `{name}`"))
    };
    let number = user.parse::<u32>().ok();
    let line = fields(passwd).find(|f| {
        f.first() == Some(&user) || (number.is_some() && f.get(2).and_then(|id| id.parse().ok()) == number)
    });
    let id = |at: usize| line.as_ref().and_then(|f| f.get(at)?.parse::<u32>().ok());
    let uid = number.or_else(|| id(2)).ok_or_else(|| unknown("user", user))?;
    let gid = match wanted_group {
        Some(name) => name
            .parse::<u32>()
            .ok()
            .or_else(|| {
                let line = fields(group).find(|f| f.first() == Some(&name))?;
                line.get(2)?.parse().ok()
            })
            .ok_or_else(|| unknown("group", name))?,
        None => id(3).unwrap_or(0),
    };
    let name = line.as_ref().and_then(|f| f.first().copied()).unwrap_or_default();
    let member =
        |f: &Vec<&str>| !name.is_empty() && f.get(3).is_some_and(|all| all.split(',').any(|m| m == name));
    // A group that was named stands alone.
    let groups = fields(group).filter(|f| wanted_group.is_none() && member(f));
    let groups = groups.filter_map(|f| f.get(2)?.parse().ok()).filter(|id| *id != gid).collect();
    Ok(User { uid, gid, groups })
}

fn fields(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nredis:x:999:998::/:/bin/false\nodd:x:nine\n";
    const GROUP: &str = "root:x:0:\nredis:x:998:\nssl:x:101:other,redis\nstaff:x:50:\n";

    fn ids(asked: &str) -> Option<(u32, u32, Vec<u32>)> {
        resolve(asked, PASSWD, GROUP).ok().map(|user| (user.uid, user.gid, user.groups))
    }

    #[test]
    fn names_and_numbers_are_looked_up() {
        assert_eq!(ids("root"), Some((0, 0, vec![])));
        assert_eq!(ids("redis"), Some((999, 998, vec![101])));
        assert_eq!(ids("999"), Some((999, 998, vec![101])), "a number has its group, too");
        assert_eq!(ids("redis:staff"), Some((999, 50, vec![])));
        assert_eq!(ids("4242:7"), Some((4242, 7, vec![])));
        assert_eq!(ids("4242"), Some((4242, 0, vec![])), "a number that nobody has");
        assert_eq!(ids("redis:"), Some((999, 998, vec![101])));
    }

    #[test]
    fn who_is_not_there_is_refused() {
        for asked in ["nobody", "redis:nobody", "odd", "", "-1", "4294967296"] {
            assert_eq!(ids(asked), None, "{asked:?}");
        }
    }

    #[test]
    fn the_topmost_file_counts_and_links_lead_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let layer = |name: &str| {
            let layer = dir.path().join(name);
            std::fs::create_dir_all(layer.join("etc")).unwrap();
            layer
        };
        let layers = ["bottom", "top", "link"].map(layer);
        std::fs::write(layers[0].join("etc/passwd"), "a:x:1:1\n").unwrap();
        std::fs::write(layers[1].join("etc/passwd"), "a:x:2:2\n").unwrap();
        std::fs::write(dir.path().join("outside"), "a:x:3:3\n").unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside"), layers[2].join("etc/passwd")).unwrap();
        assert_eq!(find("a", &layers[..1]).unwrap().uid, 1);
        assert_eq!(find("a", &layers[..2]).unwrap().uid, 2);
        assert_eq!(find("a", &layers).unwrap().uid, 2, "a link does not lead out of its layer");
    }
}
