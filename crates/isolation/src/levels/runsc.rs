//! The program `runsc`: where it is, and whether it is new enough.
//!
//! Asking it takes a tenth of a second, so that is done beside everything else, once for each program that is found
//! there: another file is another program.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use insula_spec::Level;

use crate::contract::Unavailable;
use crate::programs::{self, Program};

/// The first release, by its date, with the platform `systrap` as its default.
const OLDEST: u32 = 20_230_801;

/// How to get one that is new enough.
const INSTALL: &str = "install the package `runsc` of Debian bookworm-backports or newer: `apt-get install -t \
                       bookworm-backports runsc`; or name one with `path` in `[levels.gvisor]`";

/// Which file was asked: another one has another time, or another size.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    changed: Option<SystemTime>,
    size: u64,
}

/// What a file answered.
type Answer = (Stamp, Result<Program, String>);

/// The program on this host.
#[derive(Debug)]
pub(crate) struct Runsc {
    named: Option<PathBuf>,
    /// The last answer. Locked while a file is asked, so that it is asked once.
    known: Mutex<Option<Answer>>,
    /// Who asks in the background.
    asking: Mutex<Option<JoinHandle<()>>>,
}

impl Runsc {
    /// That at the place that the operator names, or the one of the system.
    pub(crate) fn new(named: Option<&Path>) -> Self {
        Self { named: named.map(ToOwned::to_owned), known: Mutex::default(), asking: Mutex::default() }
    }

    /// The program, if it is one that will do. Waits for its answer, where it has not given it yet.
    pub(crate) fn get(&self) -> Result<Program, Unavailable> {
        let Some(stamp) = self.stamp() else {
            let found = programs::find("runsc", self.named.as_deref());
            return found.map_err(unavailable);
        };
        // A value under this lock is always a whole answer.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, answer)) if *of == stamp => answer.clone().map_err(unavailable),
            _ => {
                let answer = ask(self.named.as_deref());
                *known = Some((stamp, answer.clone()));
                answer.map_err(unavailable)
            }
        }
    }

    /// Whether there is a program at all. It is asked in the background; what is wrong with it goes to the log.
    pub(crate) fn glance(self: &Arc<Self>) -> Result<(), Unavailable> {
        if self.stamp().is_none() {
            return self.get().map(drop);
        }
        let asked = Arc::clone(self);
        let asking = std::thread::spawn(move || {
            if let Err(e) = asked.get() {
                tracing::warn!(level = %e.level, why = e.why, hint = e.hint, "a level cannot be used");
            }
        });
        *self.asking.lock().unwrap_or_else(PoisonError::into_inner) = Some(asking);
        Ok(())
    }

    /// Waits for the answer that was asked for in the background.
    pub(crate) fn settle(&self) {
        let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(_)) = asking.map(JoinHandle::join) {
            tracing::warn!("the question for the version of runsc ended badly");
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        let path = programs::locate("runsc", self.named.as_deref())?;
        let found = fs::metadata(&path).ok()?;
        Some(Stamp { path, changed: found.modified().ok(), size: found.len() })
    }
}

fn ask(named: Option<&Path>) -> Result<Program, String> {
    let program = programs::find("runsc", named)?;
    match release(&program.version) {
        Some(date) if date >= OLDEST => Ok(program),
        _ => Err(format!(
            "`{}` is too old ({}): it has no platform `systrap`",
            program.path.display(),
            program.version
        )),
    }
}

fn unavailable(why: String) -> Unavailable {
    Unavailable::new(Level::Gvisor, why, INSTALL)
}

/// The date in `runsc version 0.0~20240729.0` or `runsc version release-20240729.0`.
fn release(version: &str) -> Option<u32> {
    let digits = |word: &str| (word.len() == 8).then(|| word.parse().ok()).flatten();
    version.split(|c: char| !c.is_ascii_digit()).find_map(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_release_is_known_by_its_date() {
        assert_eq!(release("runsc version 0.0~20240729.0"), Some(20_240_729));
        assert_eq!(release("runsc version release-20221219.0-2"), Some(20_221_219));
        assert_eq!(release("runsc version VERSION_MISSING"), None);
    }

    /// A program that tells this date, and notes that it was asked.
    fn install(dir: &Path, date: &str) -> PathBuf {
        let path = dir.join("runsc");
        let script = format!("#!/bin/sh\necho x >>{}/asked\necho runsc version {date}.0\n", dir.display());
        // A new file: a script that runs cannot be written to.
        let fresh = dir.join("fresh");
        fs::write(&fresh, script).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&fresh, &path).unwrap();
        path
    }

    #[test]
    fn a_program_is_asked_once_and_again_when_it_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let asked = || fs::read_to_string(dir.path().join("asked")).unwrap_or_default().lines().count();
        let runsc = Runsc::new(Some(&dir.path().join("runsc")));
        let missing = runsc.get().unwrap_err();
        assert!(missing.why.contains("there is no program") && missing.hint.contains("apt-get install"));
        assert_eq!(asked(), 0);
        install(dir.path(), "20221219");
        let old = runsc.get().unwrap_err();
        assert!(old.why.contains("too old") && old.hint.contains("apt-get install"), "{old:?}");
        assert_eq!((runsc.get().is_ok(), asked()), (false, 1));
        install(dir.path(), "20240729+");
        assert!(runsc.get().is_ok() && runsc.get().is_ok());
        assert_eq!(asked(), 2);
    }

    #[test]
    fn a_glance_does_not_wait_for_the_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runsc");
        // Whoever opens it waits for a writer, who never comes before the glance is over.
        let gate = dir.path().join("gate");
        let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &gate, fifo, mode, 0).unwrap();
        fs::write(&path, format!("#!/bin/sh\ncat {}\n", gate.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let runsc = Arc::new(Runsc::new(Some(&path)));
        runsc.glance().unwrap();
        fs::write(&gate, "runsc version 0.0~20240729.0\n").unwrap();
        assert!(runsc.get().is_ok());
        assert!(Arc::new(Runsc::new(Some(&dir.path().join("none")))).glance().is_err());
    }
}
