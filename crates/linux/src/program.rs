//! The program's own pages in memory.

use std::fs;
use std::io;

/// A range of addresses, from the first to the one after the last.
type Range = (usize, usize);

/// Gives back the pages of this program's code and constants that are in memory. Those that are needed again
/// come back from the file as they are touched; those that only a start needs do not. Answers how many bytes of
/// addresses were let go, whether there were pages or not.
///
/// # Errors
/// When the kernel does not tell what is mapped, or refuses.
pub fn give_back_pages() -> io::Result<usize> {
    let program = fs::read_link("/proc/self/exe")?;
    let maps = fs::read_to_string("/proc/self/smaps")?;
    let ranges = unchanged(&maps, &program.to_string_lossy());
    for (from, to) in &ranges {
        // SAFETY: the range is a mapping of a file that nobody can write through (`unchanged`), and of which this
        // process has no changed copy: after `MADV_DONTNEED` each page is read from the file again, with the same
        // bytes. The program never unmaps its own code.
        let done =
            unsafe { libc::madvise(std::ptr::without_provenance_mut(*from), to - from, libc::MADV_DONTNEED) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(ranges.iter().map(|(from, to)| to - from).sum())
}

/// The mappings of a file that are private, not writable, and without a page of this process's own, such as the
/// relocated ones have.
fn unchanged(smaps: &str, file: &str) -> Vec<Range> {
    let (mut found, mut at) = (Vec::new(), None);
    for line in smaps.lines() {
        if let Some(kib) = line.strip_prefix("Anonymous:") {
            let none = kib.trim() == "0 kB";
            found.extend(at.take().filter(|_| none));
        } else if let Some(range) = mapping(line, file) {
            at = range;
        }
    }
    found
}

/// The first line of a mapping; `Some(None)` if it is not one of those.
fn mapping(line: &str, file: &str) -> Option<Option<Range>> {
    // 55d0c0a00000-55d0c1200000 r-xp 004be000 fe:00 1234     /usr/bin/insula
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let range = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
    let rights = words.next()?;
    let name = words.nth(3).unwrap_or_default();
    let constant = matches!(rights, "r--p" | "r-xp") && name == file && words.next().is_none();
    Some(constant.then_some(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-3000 r--p 00000000 fe:00 12     /usr/bin/insula
Rss:                   8 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
3000-5000 r-xp 00002000 fe:00 12     /usr/bin/insula
Anonymous:             0 kB
5000-6000 r--p 00004000 fe:00 12     /usr/bin/insula
Anonymous:             4 kB
6000-7000 rw-p 00005000 fe:00 12     /usr/bin/insula
Anonymous:             0 kB
7000-8000 r-xp 00000000 fe:00 13     /usr/lib/libc.so.6
Anonymous:             0 kB
8000-9000 rw-p 00000000 00:00 0
Anonymous:             0 kB
9000-a000 r-xp 00002000 fe:00 12     /usr/bin/insula (deleted)
Anonymous:             0 kB
";

    #[test]
    fn only_what_the_file_can_give_again_is_let_go() {
        assert_eq!(unchanged(SMAPS, "/usr/bin/insula"), [(0x1000, 0x3000), (0x3000, 0x5000)]);
        assert_eq!(unchanged(SMAPS, "/usr/bin/other"), []);
    }

    /// In memory now, of all that is mapped of this program, in KiB.
    fn resident() -> u64 {
        let rollup = fs::read_to_string("/proc/self/status").unwrap();
        let line = rollup.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn what_was_let_go_comes_back_when_it_is_needed() {
        let before = resident();
        assert!(give_back_pages().unwrap() > 0);
        let after = resident();
        assert!(after < before, "{before} KiB before, {after} KiB after");
        // The code and the constants of this very test are still what they were.
        assert_eq!(unchanged(SMAPS, "/usr/bin/insula").len(), 2);
    }
}
