//! The home of one installation: where its state, its sockets and its lock are.
//!
//! ```text
//! INSULA_HOME/           0700
//!   id                   random name of this home; every host resource carries it
//!   lock                 held by the parent while it lives
//!   state.db             instances, events, captured logs
//!   logs/                0700; access lines
//!   images/              0700; images, their layers, and their names
//!   run/                 0700
//!     control.sock       the control API
//!     door.sock          requests to the parent: planned restart, reload
//!     heirs.sock         from a worker that gave way to the next one
//!     egress.sock        to the process that judges what leaves the walls
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Longest path of a Unix socket: 108 bytes with the final zero (`sun_path`, unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// Length of the random part of a home's name, in bytes; twice as many characters.
const ID_BYTES: usize = 4;

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    /// Nobody said where it is.
    #[error("cannot tell where the home is: neither `INSULA_HOME` nor `HOME` is set")]
    Unknown,
    /// It cannot be made or read.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It belongs to somebody else.
    #[error("the home `{}` belongs to user {owner}, not to user {user}", path.display())]
    NotOurs {
        /// The home.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who runs this program.
        user: u32,
    },
    /// Sockets in it would have too long a path.
    #[error("the path of the home is too long for a socket: `{}`", socket.display())]
    TooLong {
        /// The path that is too long.
        socket: PathBuf,
    },
    /// The file with its name was changed.
    #[error("`{}` does not hold the name of a home", path.display())]
    BadId {
        /// The file.
        path: PathBuf,
    },
}

impl HomeError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Unknown => "name a directory with `--home` or `INSULA_HOME`".to_owned(),
            Self::Io { .. } => "check that the directory exists and this user may write to it".to_owned(),
            Self::NotOurs { .. } => {
                "run the command as its owner, or name another home with `--home`".to_owned()
            }
            Self::TooLong { .. } => {
                format!("choose a home of at most {} characters", SOCKET_PATH_MAX - "/run/control.sock".len())
            }
            Self::BadId { path } => {
                format!("restore `{}`, or remove the whole home to begin anew", path.display())
            }
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}

/// The home of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Home {
    path: PathBuf,
}

impl Home {
    /// The home that was named, or the default of this user (`~/.insula`). Touches nothing.
    pub(crate) fn locate(named: Option<PathBuf>) -> Result<Self, HomeError> {
        let path = match named {
            Some(path) => path,
            None => PathBuf::from(std::env::var_os("HOME").ok_or(HomeError::Unknown)?).join(".insula"),
        };
        let path = std::path::absolute(&path).map_err(HomeError::io(&path))?;
        Ok(Self { path })
    }

    /// Makes what is missing, closed to everybody else.
    pub(crate) fn prepare(&self) -> Result<(), HomeError> {
        if self.control_socket().as_os_str().len() > SOCKET_PATH_MAX {
            return Err(HomeError::TooLong { socket: self.control_socket() });
        }
        for dir in [self.path.clone(), self.run_dir()] {
            DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(HomeError::io(&dir))?;
            let meta = fs::metadata(&dir).map_err(HomeError::io(&dir))?;
            let user = rustix::process::geteuid().as_raw();
            if meta.uid() != user {
                return Err(HomeError::NotOurs { path: dir, owner: meta.uid(), user });
            }
            if meta.mode() & 0o077 != 0 {
                fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).map_err(HomeError::io(&dir))?;
            }
        }
        Ok(())
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Directory of sockets.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.path.join("run")
    }

    /// Directory of access logs; made if it is not there.
    pub(crate) fn log_dir(&self) -> Result<PathBuf, HomeError> {
        let dir = self.path.join("logs");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(HomeError::io(&dir))?;
        Ok(dir)
    }

    /// Directory of images; made by whoever opens it.
    pub(crate) fn images(&self) -> PathBuf {
        self.path.join("images")
    }

    /// Socket of the control API.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.run_dir().join("control.sock")
    }

    /// Socket of the parent itself.
    pub(crate) fn door_socket(&self) -> PathBuf {
        self.run_dir().join("door.sock")
    }

    /// Socket on which a worker hears of the streams that earlier workers still have.
    pub(crate) fn heirs_socket(&self) -> PathBuf {
        self.run_dir().join("heirs.sock")
    }

    /// Socket of the process that judges what leaves the walls.
    pub(crate) fn egress_socket(&self) -> PathBuf {
        self.run_dir().join("egress.sock")
    }

    /// Where its owner may leave a token for commands that ask a daemon elsewhere.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.path.join("token")
    }

    /// Held by whoever has the listeners.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("state.db")
    }

    /// The random name of this home, made at first use.
    pub(crate) fn id(&self) -> Result<String, HomeError> {
        let path = self.path.join("id");
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made {
            Ok(mut file) => {
                let id = random_id().map_err(HomeError::io(&path))?;
                file.write_all(id.as_bytes()).map_err(HomeError::io(&path))?;
                file.sync_all().map_err(HomeError::io(&path))?;
                Ok(id)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let id = fs::read_to_string(&path).map_err(HomeError::io(&path))?;
                let id = id.trim().to_owned();
                let good = id.len() == 2 * ID_BYTES && id.bytes().all(|b| b.is_ascii_hexdigit());
                if good { Ok(id) } else { Err(HomeError::BadId { path }) }
            }
            Err(e) => Err(HomeError::Io { path, source: e }),
        }
    }
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0; ID_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_closed_to_others_and_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("home");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        let home = Home::locate(Some(open.clone())).unwrap();
        home.prepare().unwrap();
        for path in [&open, &home.run_dir()] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700);
        }
        let id = home.id().unwrap();
        assert_eq!(home.id().unwrap(), id);
        fs::write(open.join("id"), "../x").unwrap();
        assert!(matches!(home.id(), Err(HomeError::BadId { .. })));
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::locate(Some(dir.path().join("x".repeat(100)))).unwrap();
        assert!(matches!(home.prepare(), Err(HomeError::TooLong { .. })));
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("home"), "").unwrap();
        let error = Home::locate(Some(dir.path().join("home"))).unwrap().prepare().unwrap_err();
        assert!(error.to_string().contains("home"), "{error}");
    }
}
