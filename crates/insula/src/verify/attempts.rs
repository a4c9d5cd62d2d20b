//! The attempts themselves.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use insula_linux::attempt;

use super::inside::{DATA, VERB};
use super::probes::{DISK_MB, MEMORY_MB, PIDS, Probe};

/// How long a connection, and an answer on it, may take; what is dropped on the way would hang.
const PATIENCE: Duration = Duration::from_millis(500);
/// Where clouds hand out credentials to whoever asks from within.
pub(super) const METADATA: &str = "169.254.169.254:80";

/// Tries to get through. What it saw on the other side, or the error that kept it out.
pub(super) fn make(probe: Probe, target: &str) -> io::Result<String> {
    match probe {
        Probe::NeighbourProcess => find_word(target),
        Probe::NeighbourMemory => read(&PathBuf::from(format!("/proc/{target}/mem"))),
        Probe::NeighbourSignal => attempt::signal(pid(target)?).map(|()| "may be signalled".to_owned()),
        Probe::NeighbourTrace => attempt::trace(pid(target)?).map(|()| "attached".to_owned()),
        Probe::NeighbourFile | Probe::State => read(Path::new(target)),
        Probe::NeighbourLink => read_through_link(target),
        Probe::ControlSocket => UnixStream::connect(target).map(|_| "connected".to_owned()),
        Probe::HostLoopback | Probe::HostAddress => connect(target),
        Probe::Metadata => connect(METADATA),
        Probe::HostAbstract => {
            let address = UnixAddr::from_abstract_name(target)?;
            UnixStream::connect_addr(&address).map(|_| "connected".to_owned())
        }
        Probe::OwnCode => write(&Path::new(target).join("was-here")),
        Probe::KernelSetting => write_again("/proc/sys/kernel/core_pattern"),
        Probe::SetUserId => set_user_id(target),
        Probe::ForkBomb => fork_bomb(),
        Probe::MemoryBomb => memory_bomb(),
        Probe::DiskFill => disk_fill(),
        Probe::Outlive => outlive(target),
        _ => plain(probe).map(|()| "done".to_owned()),
    }
}

/// Those that are one system call.
fn plain(probe: Probe) -> io::Result<()> {
    match probe {
        Probe::RawSocket => attempt::raw_socket(),
        Probe::Device => attempt::device(&scratch("device")),
        Probe::BecomeRoot => attempt::become_root(),
        Probe::Mount => attempt::mount(Path::new("/tmp")),
        Probe::UserNamespace => attempt::own_user_namespace(),
        Probe::EnterNetwork => attempt::enter_network(Path::new("/proc/self/ns/net")),
        Probe::ChangeRoot => attempt::change_root(Path::new("/tmp")),
        Probe::Keyring => attempt::keyring(),
        Probe::KernelMap => attempt::kernel_map(),
        Probe::KernelCounter => attempt::kernel_counter(),
        Probe::Ring => attempt::ring(),
        Probe::Clock => attempt::set_clock(),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn pid(target: &str) -> io::Result<i32> {
    target.parse().map_err(io::Error::other)
}

/// A name in /tmp that nobody else uses.
fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("insula-probe-{name}-{}", std::process::id()))
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned())
}

/// Looks for a process, other than this and those that asked for it, whose command line has the word.
fn find_word(word: &str) -> io::Result<String> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(word) && !line.contains(" try ") {
            return Ok(format!("process {}", entry.file_name().to_string_lossy()));
        }
    }
    Err(refused("no command line has the word"))
}

fn read(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    // The memory of a process begins with a page that is not there: to open it is what counts.
    let got = if path.ends_with("mem") { 0 } else { file.read(&mut [0; 64])? };
    Ok(format!("read {got} bytes of it"))
}

fn read_through_link(target: &str) -> io::Result<String> {
    let link = scratch("link");
    symlink(target, &link)?;
    let found = read(&link);
    fs::remove_file(&link)?;
    found
}

fn write(path: &Path) -> io::Result<String> {
    fs::write(path, "x")?;
    fs::remove_file(path)?;
    Ok("written".to_owned())
}

/// Writes what is there already.
fn write_again(path: &str) -> io::Result<String> {
    let now = fs::read(path)?;
    fs::write(path, now)?;
    Ok("written".to_owned())
}

fn connect(target: &str) -> io::Result<String> {
    let address: SocketAddr = target.parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    // A wall may take the connection itself, only to close it once it knows where it was to go.
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"insula\n")?;
    match stream.read(&mut [0; 64]) {
        Ok(0) => Err(refused("it was closed at once")),
        Ok(_) => Ok("connected, and answered".to_owned()),
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Ok("connected, and stays open".to_owned())
        }
        Err(e) => Err(e),
    }
}

fn set_user_id(program: &str) -> io::Result<String> {
    let output = Command::new(program).arg("-u").stdin(Stdio::null()).output()?;
    match output.stdout.trim_ascii() {
        b"0" => Ok("it ran as root".to_owned()),
        other => Err(refused(&format!("it ran as uid {}", String::from_utf8_lossy(other)))),
    }
}

/// A process that ends when its standard input does.
fn idler() -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args([VERB, "idle"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

fn fork_bomb() -> io::Result<String> {
    let mut children = Vec::new();
    let mut end = None;
    while children.len() < 2 * PIDS && end.is_none() {
        match idler() {
            Ok(child) => children.push(child),
            Err(error) => end = Some(error),
        }
    }
    let count = children.len();
    for mut child in children {
        drop(child.stdin.take());
        child.wait()?;
    }
    end.map_or_else(|| Ok(format!("{count} processes at once")), Err)
}

/// Twice the memory that it may have, each page really used.
fn memory_bomb() -> io::Result<String> {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    for n in 0..2 * MEMORY_MB {
        let fill = u8::try_from(n % 251).unwrap_or(1) + 1;
        blocks.push(vec![fill; 1 << 20]);
    }
    let sum: usize = blocks.iter().map(|block| usize::from(block[block.len() - 1])).sum();
    Ok(format!("{} MiB held (check {sum})", blocks.len()))
}

/// Twice of what it may keep, to the disk and not only to memory; gone afterwards.
fn disk_fill() -> io::Result<String> {
    let dir = std::env::var_os(DATA).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = dir.join(format!("insula-probe-fill-{}", std::process::id()));
    let mut file = fs::File::create(&path)?;
    let block = vec![b'x'; 1 << 20];
    let written = (0..2 * DISK_MB).try_for_each(|_| file.write_all(&block)).and_then(|()| file.sync_all());
    fs::remove_file(&path)?;
    written.map(|()| format!("{} MiB written", 2 * DISK_MB))
}

/// Starts a process in a session of its own that nobody waits for, with the word on its command line. It is waited for
/// until it listens: a program that is just being executed has no command line to be found by.
fn outlive(word: &str) -> io::Result<String> {
    let mut command = Command::new("/proc/self/exe");
    command.args([VERB, "serve", word]).env_remove("PORT").env("PORT", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    let mut output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    output.read_exact(&mut [0; 1])?;
    Ok(format!("process {}", child.id()))
}
