//! One file of the instance, read or written as its user, behind its walls.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use insula_linux::signals::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};

/// Bytes that are moved at once.
const PIECE: usize = 64 * 1024;

/// What failed, for the person who asked.
pub(super) struct Failed {
    doing: &'static str,
    path: String,
    why: io::Error,
}

fn at<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Failed + 'a {
    move |why| Failed { doing, path: path.display().to_string(), why }
}

/// The status to end with, after what failed was told.
pub(super) fn report(done: Result<(), Failed>) -> i32 {
    let Err(Failed { doing, path, why }) = done else { return 0 };
    // Nobody else could be told.
    drop(writeln!(io::stderr(), "cannot {doing} `{path}`: {why}"));
    1
}

/// Writes what is in a regular file to standard output.
pub(super) fn read(path: &str) -> Result<(), Failed> {
    let path = Path::new(path);
    let failed = |e| at("read", path)(e);
    // Whoever opens a named pipe would wait.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let failed = |e| at("read", path)(e);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(at("read", path)(io::Error::other("it is not a regular file")));
    }
    let mut buffer = vec![0; PIECE];
    loop {
        let failed = |e| at("read", path)(e);
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(()),
            n => send(&buffer[..n]).map_err(at("pass on", path))?,
        }
    }
}

fn send(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(io::stdout().as_fd(), bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// A file that is removed unless it was put in its place.
struct Part {
    path: PathBuf,
    placed: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.placed {
            // It may be gone; what matters is told already.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Puts standard input into a file. Until all of it is there the file has another name.
pub(super) fn write(path: &str, mode: u32) -> Result<(), Failed> {
    let path = Path::new(path);
    let asked_to_end = SignalFd::block(&[libc::SIGTERM]).map_err(at("wait for the end of", path))?;
    let name = path.file_name().ok_or_else(|| at("write", path)(io::ErrorKind::InvalidInput.into()))?;
    if path.is_dir() {
        return Err(at("write", path)(io::ErrorKind::IsADirectory.into()));
    }
    let beside = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
    let mut part = Part { path: path.with_file_name(beside), placed: false };
    let mut new = OpenOptions::new();
    new.write(true).create_new(true).mode(0o600);
    let mut file = new.open(&part.path).map_err(at("write", path))?;
    fill(&mut file, &asked_to_end).map_err(at("write", path))?;
    file.set_permissions(Permissions::from_mode(mode & 0o777)).map_err(at("write", path))?;
    fs::rename(&part.path, path).map_err(at("write", path))?;
    part.placed = true;
    Ok(())
}

fn fill(file: &mut File, asked_to_end: &SignalFd) -> io::Result<()> {
    let (input, mut buffer) = (io::stdin(), vec![0; PIECE]);
    loop {
        let mut ready = [
            PollFd::from_borrowed_fd(asked_to_end.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let some = !ready[1].revents().is_empty();
        let n = if some { rustix::io::read(input.as_fd(), &mut buffer)? } else { 0 };
        // Whoever asks closes the input right after, which must not look like all of it.
        if asked_to_end.next()?.is_some() {
            return Err(io::Error::other("it was not sent to its end"));
        }
        match (some, n) {
            (true, 0) => return Ok(()),
            (true, n) => file.write_all(&buffer[..n])?,
            (false, _) => {}
        }
    }
}
