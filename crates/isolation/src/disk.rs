//! The bound on a tenant's own directory: which one holds, how it is put up, what is used of it.
//!
//! ```text
//! disk_limit, disk_limit_mode ─┐
//! level: can it show a mount? ─┼─ choose ─► project quota │ image │ soft │ none
//! host: what could hold? ──────┘               │            │
//!                                         files assigned    mount that only the view of the instance has
//! ```
//! The mount of an image is attached nowhere on the host: it is passed into the view, lives as long as
//! somebody is in there, and needs no clean-up, however the processes end.

mod plain;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use insula_linux::quota::image::{Image, ImageError, Want};
use insula_linux::quota::project::{self, Step};
use insula_linux::quota::walk::Walk;
use insula_linux::quota::{Mechanism, Probe};
use insula_spec::{DiskMode, IdRange, Launch, Level, Limits};

use crate::contract::LaunchError;
use crate::fault;

/// What bounds a tenant's directory, and why nothing harder does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskHold {
    /// What bounds it.
    pub mechanism: Mechanism,
    /// Why it is not hard; empty where it is, or where soft was asked for.
    pub why: String,
}

/// A tenant's directory, as far as its bound is concerned.
#[derive(Debug, Clone, Copy)]
pub struct DiskPlace<'a> {
    /// The directory.
    pub dir: &'a Path,
    /// What was asked for.
    pub limits: Limits,
    /// Whether its level keeps a workload within a bound ([`crate::Backend::bounds_disk`]).
    pub walled: bool,
    /// Host ids of the instance, where it has its own.
    pub ids: Option<IdRange>,
}

/// What a tenant's directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUse {
    /// Bytes in use.
    pub used: u64,
    /// Bytes that may be in use; `None` where nothing bounds it.
    pub limit: Option<u64>,
    /// Whether that is all of it: a walk may have too little time, or rights.
    pub complete: bool,
}

impl DiskPlace<'_> {
    /// What bounds it, or would at its first start; `None` where nothing is asked for. It may block.
    #[must_use]
    pub fn hold(&self) -> Option<DiskHold> {
        let planned = self.planned()?;
        let moves = planned.mechanism == Mechanism::Image
            && !Image::of(self.dir).is_some_and(|image| image.exists())
            && std::fs::read_dir(self.dir).is_ok_and(|mut entries| entries.next().is_some());
        if moves {
            let why =
                "its data is not in an image yet: the next start that finds it within the limit moves it";
            return Some(DiskHold { mechanism: Mechanism::Soft, why: why.to_owned() });
        }
        Some(planned)
    }

    /// What a start puts up.
    fn planned(&self) -> Option<DiskHold> {
        let image = Image::of(self.dir);
        if image.as_ref().is_some_and(Image::exists) {
            return Some(DiskHold { mechanism: Mechanism::Image, why: String::new() });
        }
        self.limits.disk?;
        let hold = choose(self.limits.disk_mode, self.walled, || Probe::of(self.dir));
        match image.and_then(|image| plain::noted(&image)) {
            Some(why) if hold.mechanism == Mechanism::Image => {
                Some(DiskHold { mechanism: Mechanism::Soft, why })
            }
            _ => Some(hold),
        }
    }

    /// Counts what it holds. It may block; a walk at most for `limit`, and not after `cancelled` is true.
    ///
    /// # Errors
    /// When it cannot be read at all.
    pub fn measure(&self, limit: Duration, cancelled: &AtomicBool) -> io::Result<DiskUse> {
        let asked = self.limits.disk.map(|size| size.0);
        let whole = |used, limit| DiskUse { used, limit, complete: true };
        match self.hold().map(|hold| hold.mechanism) {
            Some(Mechanism::Image) => {
                let image = Image::of(self.dir).ok_or(io::ErrorKind::NotFound)?;
                match image.exists() {
                    true => image.held().map(|held| whole(held.used, Some(held.limit))),
                    false => Ok(whole(0, asked)),
                }
            }
            Some(Mechanism::Project) => match self.ids {
                Some(ids) => project::used(&project::device_of(self.dir)?, ids.workload())
                    .map(|used| whole(used, asked)),
                None => Ok(whole(0, asked)),
            },
            Some(Mechanism::Soft) | None => {
                let counted = Walk::of(limit, cancelled).count(self.dir)?;
                Ok(DiskUse { used: counted.bytes, limit: asked, complete: counted.complete })
            }
        }
    }
}

/// Decides what is to bound a directory that is in no image yet.
fn choose(mode: DiskMode, walled: bool, probe: impl FnOnce() -> Probe) -> DiskHold {
    let soft = |why: String| DiskHold { mechanism: Mechanism::Soft, why };
    let hard = |mechanism| DiskHold { mechanism, why: String::new() };
    match (mode, walled) {
        (DiskMode::Soft, _) => soft(String::new()),
        (_, false) => soft("this level has no wall around the files of an instance".to_owned()),
        _ => match probe() {
            Probe { project: Ok(()), .. } => hard(Mechanism::Project),
            Probe { image: Ok(()), .. } => hard(Mechanism::Image),
            probe => soft(probe.why_soft()),
        },
    }
}

/// What to show as the tenant's own directory.
#[derive(Debug)]
pub(crate) enum Own {
    /// The directory itself, once these steps are done.
    Plain(Vec<Step>),
    /// This mount.
    Mount(OwnedFd),
}

const PLAIN: Own = Own::Plain(Vec::new());

impl Own {
    /// Carries out what is left to do; the directory is there.
    pub(crate) fn finish(&self, dir: &Path) -> Result<(), LaunchError> {
        match self {
            Self::Plain(steps) => project::apply(steps).map_err(cannot("set the project quota of", dir)),
            Self::Mount(_) => Ok(()),
        }
    }

    /// The mount, once.
    pub(crate) fn take_mount(&mut self) -> Option<OwnedFd> {
        match std::mem::replace(self, PLAIN) {
            Self::Mount(mount) => Some(mount),
            Self::Plain(steps) => {
                *self = Self::Plain(steps);
                None
            }
        }
    }
}

/// Puts up the bound for a launch, or refuses it.
///
/// `owner` is the host id as which the workload runs; `in_place` why its data has to lie in the directory itself,
/// where an image would not do.
pub(crate) fn prepare(
    (level, walled): (Level, bool),
    launch: &Launch,
    owner: Option<u32>,
    in_place: Option<&str>,
) -> Result<Own, LaunchError> {
    let Launch { data_dir: dir, limits, ids, .. } = launch;
    let (limits, ids) = (*limits, *ids);
    let Some(image) = Image::of(dir).filter(|image| limits.disk.is_some() || image.any()) else {
        return Ok(PLAIN);
    };
    image.recover()?;
    if let (true, Some(why)) = (image.exists(), in_place) {
        return Err(LaunchError::Unenforceable {
            what: "disk_limit",
            level,
            hint: moved_out(&image, dir, why),
        });
    }
    plain::note(&image, in_place.filter(|_| limits.disk.is_some()))?;
    let Some(hold) = (DiskPlace { dir, limits, walled, ids }).planned() else {
        return Ok(Own::Plain(lift(dir, ids)));
    };
    if limits.disk_mode == DiskMode::Hard && !hold.mechanism.is_hard() {
        let hint = format!("{}; or set `disk_limit_mode = \"auto\"`, which counts and reports", hold.why);
        return Err(LaunchError::Unenforceable { what: "disk_limit", level, hint });
    }
    match (hold.mechanism, ids.zip(owner)) {
        (Mechanism::Image, _) if !walled => {
            let hint = format!(
                "its data is in `{}`, which this level cannot show: use `isolation = \"namespace\"`",
                image.path().display()
            );
            Err(LaunchError::Unenforceable { what: "disk_limit", level, hint })
        }
        (Mechanism::Image, Some((_, owner))) => open(&image, limits, owner),
        (Mechanism::Image, None) => Err(LaunchError::Unenforceable {
            what: "disk_limit",
            level,
            hint: format!("its data is in `{}`, which only root can mount", image.path().display()),
        }),
        (Mechanism::Project, Some((ids, _))) => {
            let device = project::device_of(dir).map_err(cannot("find the device of", dir))?;
            let limit = limits.disk.map_or(0, |size| size.0);
            image.make_dir()?;
            Ok(Own::Plain(project::plan(&device, dir, ids.workload(), limit)))
        }
        (Mechanism::Project, None) | (Mechanism::Soft, _) => Ok(Own::Plain(lift(dir, ids))),
    }
}

/// What to do where the data is in an image, and must not be any more.
fn moved_out(image: &Image, dir: &Path, why: &str) -> String {
    let (path, dir) = (image.path(), dir.display());
    format!(
        "{why}, and its data is in `{path}`: copy it to `{dir}` (`mount -o loop,ro {path} /mnt`), then remove that \
         file; or do without what does not fit",
        path = path.display()
    )
}

/// What takes a project quota back that an earlier start set. Most file systems have no projects, and say so.
fn lift(dir: &Path, ids: Option<IdRange>) -> Vec<Step> {
    let limited = ids.filter(|ids| project::is_in(dir, ids.workload()).unwrap_or(false));
    match (limited, project::device_of(dir)) {
        (Some(ids), Ok(device)) => project::lift(&device, ids.workload()),
        _ => Vec::new(),
    }
}

/// Mounts the image. In mode `auto` a directory that holds more than its limit stays as it is until it holds
/// less.
fn open(image: &Image, limits: Limits, owner: u32) -> Result<Own, LaunchError> {
    let want = Want { limit: limits.disk.map(|size| size.0), owner };
    match image.open(want, &fault::point) {
        Ok(mount) => Ok(Own::Mount(mount)),
        Err(error @ ImageError::TooSmall { .. }) if limits.disk_mode == DiskMode::Auto && !image.exists() => {
            tracing::warn!(%error, "a disk limit stays soft");
            Ok(PLAIN)
        }
        Err(e) => Err(e.into()),
    }
}

fn cannot(what: &str, dir: &Path) -> impl FnOnce(io::Error) -> LaunchError {
    let step = format!("{what} `{}`", dir.display());
    move |source| LaunchError::Walls { step, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(project: bool, image: bool) -> Probe {
        let found = |there: bool, why: &str| if there { Ok(()) } else { Err(why.to_owned()) };
        Probe { project: found(project, "not mounted with it"), image: found(image, "needs root") }
    }

    fn mechanism(mode: DiskMode, walled: bool, found: Probe) -> Mechanism {
        choose(mode, walled, || found).mechanism
    }

    #[test]
    fn the_hardest_that_the_host_has_is_chosen() {
        use Mechanism::{Image, Project, Soft};
        for mode in [DiskMode::Auto, DiskMode::Hard] {
            assert_eq!(mechanism(mode, true, probe(true, true)), Project);
            assert_eq!(mechanism(mode, true, probe(false, true)), Image);
            assert_eq!(mechanism(mode, true, probe(false, false)), Soft);
            assert_eq!(mechanism(mode, false, probe(true, true)), Soft, "its owner could leave the project");
        }
        assert_eq!(mechanism(DiskMode::Soft, true, probe(true, true)), Soft);
    }

    #[test]
    fn soft_says_why_unless_it_was_asked_for() {
        let why = |mode, walled| choose(mode, walled, || probe(false, false)).why;
        assert_eq!(why(DiskMode::Auto, true), "no project quota: not mounted with it; no image: needs root");
        assert!(why(DiskMode::Auto, false).contains("level"));
        assert_eq!(why(DiskMode::Soft, true), "");
    }

    #[test]
    fn where_nothing_is_asked_for_nothing_holds() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits::default();
        let place = DiskPlace { dir: &dir.path().join("a"), limits, walled: true, ids: None };
        assert_eq!(place.hold(), None);
        let used = place.measure(Duration::from_secs(5), &AtomicBool::new(false)).unwrap();
        assert_eq!(used, DiskUse { used: 0, limit: None, complete: true });
    }
}
