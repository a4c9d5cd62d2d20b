//! Loop devices (loop(4)): a file as a block device.
//!
//! One image never has two devices: two would be two file systems over the same bytes. A device detaches
//! itself when its last user is gone, so that none is left behind, however its users end.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

/// Where loop devices are made.
pub const CONTROL: &str = "/dev/loop-control";

/// `LOOP_CTL_GET_FREE`, `LOOP_CONFIGURE` and `LOOP_GET_STATUS64` (`linux/loop.h`).
const GET_FREE: libc::Ioctl = 0x4C82;
const CONFIGURE: libc::Ioctl = 0x4C0A;
const GET_STATUS: libc::Ioctl = 0x4C05;
/// `LO_FLAGS_AUTOCLEAR`
const AUTOCLEAR: u32 = 4;
/// How often a device may be taken by somebody else between the question and the answer.
const TRIES: usize = 16;
/// Pause before looking again whether a device is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// `struct loop_info64`
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Info>() == 232 && size_of::<Config>() == 304);

const NO_INFO: Info = Info {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; 64],
    crypt_name: [0; 64],
    encrypt_key: [0; 32],
    init: [0; 2],
};

/// A device over an image, held open. The device goes with its last user.
#[derive(Debug)]
pub struct Device {
    path: PathBuf,
    /// Keeps the device from detaching itself.
    _open: File,
}

/// Whether devices can be made here.
///
/// # Errors
/// When the control device cannot be opened.
pub fn probe() -> io::Result<()> {
    control().map(drop)
}

fn control() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(CONTROL)
}

impl Device {
    /// The device of this image: the one it has, or a new one.
    ///
    /// # Errors
    /// When the image cannot be opened, or no device can be made.
    pub fn over(image: &Path) -> io::Result<Self> {
        match Self::existing(image)? {
            Some(device) => Ok(device),
            None => Self::make(image),
        }
    }

    /// The device that an image has at this moment.
    ///
    /// # Errors
    /// When the image or the list of devices cannot be read.
    pub fn existing(image: &Path) -> io::Result<Option<Self>> {
        let image = fs::canonicalize(image)?;
        let found = fs::metadata(&image)?;
        for entry in fs::read_dir("/sys/block")? {
            let entry = entry?;
            // Only a device that is in use has this file.
            let backing = match fs::read_to_string(entry.path().join("loop/backing_file")) {
                Ok(backing) => backing,
                Err(_) => continue,
            };
            if Path::new(backing.trim_end_matches('\n')).file_name() != image.file_name() {
                continue;
            }
            let path = Path::new("/dev").join(entry.file_name());
            // It may have been detached by now, or be another's: the open device is asked.
            let Ok(open) = open_device(&path) else { continue };
            if status(&open).is_ok_and(|info| (info.device, info.inode) == (found.dev(), found.ino())) {
                return Ok(Some(Self { path, _open: open }));
            }
        }
        Ok(None)
    }

    /// Waits until an image has no device, at most so long; tells whether it has none.
    ///
    /// # Errors
    /// As for [`Device::existing`].
    pub fn is_gone(image: &Path, patience: Duration) -> io::Result<bool> {
        let until = Instant::now() + patience;
        let pause = Timespec::try_from(LOOK_AGAIN).map_err(io::Error::other)?;
        while Self::existing(image)?.is_some() {
            if Instant::now() >= until {
                return Ok(false);
            }
            // Nothing tells that a device detached itself.
            poll(&mut [], Some(&pause))?;
        }
        Ok(true)
    }

    fn make(image: &Path) -> io::Result<Self> {
        let backing = OpenOptions::new().read(true).write(true).open(image)?;
        let control = control()?;
        for _ in 0..TRIES {
            // SAFETY: this request takes no argument; the descriptor is open over the call.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let open = open_device(&path)?;
            match configure(&open, &backing) {
                Ok(()) => return Ok(Self { path, _open: open }),
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Mounts its ext4 file system, without devices and set-user-id, attached nowhere. If the image is mounted
    /// already this is another mount of the same file system.
    ///
    /// # Errors
    /// Those of fsopen(2), fsconfig(2) and fsmount(2).
    pub fn mount(&self) -> io::Result<OwnedFd> {
        let context = fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", &self.path)?;
        // Blocks of removed files go back to the host.
        fsconfig_set_flag(&context, "discard")?;
        // The image began as zeroes: nothing is to be cleared in the background.
        fsconfig_set_flag(&context, "noinit_itable")?;
        fsconfig_create(&context)?;
        let flags = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
        Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
    }
}

fn open_device(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn configure(device: &File, backing: &File) -> io::Result<()> {
    let fd = u32::try_from(backing.as_raw_fd()).map_err(io::Error::other)?;
    let config = Config { fd, block_size: 0, info: Info { flags: AUTOCLEAR, ..NO_INFO }, reserved: [0; 8] };
    // SAFETY: `config` is a whole `struct loop_config` (its size is checked above) and lives over the call;
    // the kernel takes a reference of its own to the descriptor in it.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const config) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn status(device: &File) -> io::Result<Info> {
    let mut info = NO_INFO;
    // SAFETY: `info` is a whole `struct loop_info64` (its size is checked above) and lives over the call.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), GET_STATUS, &raw mut info) };
    if done == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}
