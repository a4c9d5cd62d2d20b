//! The file of an access log, kept within its size.
//!
//! ```text
//! access.log ──full──► access.log.1 ──► access.log.2 ──► ... ──► access.log.N ──► gone
//! ```
//! A file that somebody moved or removed is opened anew, as log rotation programs expect.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An open log file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    max: u64,
    keep: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
    /// Device and inode.
    place: (u64, u64),
}

impl LogFile {
    /// Opens it, or makes it (mode 0600), to write behind what is there.
    pub(super) fn open(path: PathBuf, max: u64, keep: u32) -> io::Result<Self> {
        let open = Some(open(&path)?);
        Ok(Self { path, max, keep, open })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.try_write(lines);
        if written.is_err() {
            // Half a line may stand there; whatever was wrong, the next attempt opens the file anew.
            self.open = None;
        }
        written
    }

    fn try_write(&mut self, lines: &[u8]) -> io::Result<()> {
        let length = lines.len() as u64;
        let mut open = self.in_place()?;
        if open.size > 0 && open.size.saturating_add(length) > self.max {
            drop(open);
            self.put_aside()?;
            open = self::open(&self.path)?;
        }
        open.file.write_all(lines)?;
        open.size += length;
        self.open = Some(open);
        Ok(())
    }

    /// The file that has the name now.
    fn in_place(&mut self) -> io::Result<Open> {
        let there = match fs::metadata(&self.path) {
            Ok(there) => Some(place(&there)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        match self.open.take() {
            Some(open) if Some(open.place) == there => Ok(open),
            _ => open(&self.path),
        }
    }

    /// Gives every file the next number; the last one goes.
    fn put_aside(&self) -> io::Result<()> {
        if self.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn open(path: &Path) -> io::Result<Open> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let metadata = file.metadata()?;
    Ok(Open { size: metadata.len(), place: place(&metadata), file })
}

fn place(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(max: u64, keep: u32) -> (tempfile::TempDir, LogFile) {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFile::open(dir.path().join("access.log"), max, keep).unwrap();
        (dir, log)
    }

    fn text(log: &LogFile, number: u32) -> Option<String> {
        let path = if number == 0 { log.path.clone() } else { log.numbered(number) };
        fs::read_to_string(path).ok()
    }

    #[test]
    fn files_are_put_aside_and_the_oldest_goes() {
        let (_dir, mut log) = log(8, 2);
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n"] {
            log.write(line.as_bytes()).unwrap();
        }
        let texts = [0, 1, 2, 3].map(|n| text(&log, n));
        let expected = ["five\n", "four\n", "three\n"].map(|t| Some(t.to_owned()));
        assert_eq!((&texts[..3], &texts[3]), (&expected[..], &None));
        assert_eq!(fs::metadata(log.path()).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn without_old_files_it_begins_anew() {
        let (dir, mut log) = log(8, 0);
        for line in ["one\n", "two\n", "three\n"] {
            log.write(line.as_bytes()).unwrap();
        }
        assert_eq!(text(&log, 0).unwrap(), "three\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_was_moved_or_removed_is_made_anew() {
        let (dir, mut log) = log(1000, 2);
        log.write(b"one\n").unwrap();
        fs::rename(log.path(), dir.path().join("moved")).unwrap();
        log.write(b"two\n").unwrap();
        assert_eq!(text(&log, 0).unwrap(), "two\n");
        assert_eq!(fs::read_to_string(dir.path().join("moved")).unwrap(), "one\n");
        fs::remove_file(log.path()).unwrap();
        log.write(b"three\n").unwrap();
        assert_eq!(text(&log, 0).unwrap(), "three\n");
    }

    #[test]
    fn it_goes_on_behind_what_is_there_and_after_a_failure() {
        let (dir, mut log) = log(1000, 2);
        log.write(b"one\n").unwrap();
        let mut again = LogFile::open(log.path.clone(), 1000, 2).unwrap();
        again.write(b"two\n").unwrap();
        log.write(b"three\n").unwrap();
        assert_eq!(text(&log, 0).unwrap(), "one\ntwo\nthree\n");
        let away = dir.path().with_extension("away");
        fs::rename(dir.path(), &away).unwrap();
        assert!(log.write(b"lost\n").is_err());
        fs::rename(&away, dir.path()).unwrap();
        log.write(b"four\n").unwrap();
        assert_eq!(text(&log, 0).unwrap(), "one\ntwo\nthree\nfour\n");
    }
}
