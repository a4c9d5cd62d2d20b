//! What the host does before the agent takes over: ids, limits, directories, the view.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::Path;
use std::sync::Arc;

use insula_frames::LaunchPlan;
use insula_linux::cgroup::Leaves;
use insula_spec::{Launch, Level, Limits};
use tokio::task::JoinHandle;

use super::body::Body;
use super::idmap::{self, IdMode};
use super::plan::{owner_in, plan};
use super::profile::{self, Profile};
use super::root::{self, Ground};
use super::shell::{Shell, failed};
use super::view::{self, CannotShow};
use super::{Kind, Shared, changes, guest};
use crate::contract::LaunchError;
use crate::disk::{self, Own};
use crate::fault;
use crate::limits;
/// Tells how far a launch has come, to whoever asks with `INSULA_LOG=insula::wake=trace`.
pub(super) fn step(at: &str) {
    tracing::trace!(target: "insula::wake", at);
}

/// What walls are built around, and the note of it for later workers.
#[derive(Debug)]
pub(crate) struct Around {
    text: String,
    /// The limits that are set.
    limits: Limits,
    noting: Option<JoinHandle<io::Result<()>>>,
}

impl Around {
    /// Begins to note it, while the agent is at work.
    pub(super) fn note(body: &Body, text: String, limits: Limits) -> Self {
        let (dir, copy) = (body.dir(), text.clone());
        let noting = Some(body.blocking(move || dir.note_shown(&copy)));
        Self { text, limits, noting }
    }

    /// Waits until it is noted. Without the note these walls are not used again: new ones are built.
    pub(crate) async fn noted(&mut self, key: &str) {
        let Some(noting) = self.noting.take() else { return };
        if let Err(error) = noting.await.map_err(io::Error::other).and_then(|noted| noted) {
            tracing::warn!(key, %error, "cannot note what these walls show");
        }
    }
}

/// The plan of a launch and what travels beside it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) plan: LaunchPlan,
    pub(crate) fds: Vec<OwnedFd>,
    /// What the walls are built around, as text that can be compared.
    pub(crate) shown: String,
}

/// Everything that the host does before the agent takes over: ids, limits, directories, the view.
pub(super) async fn prepare(
    shell: &mut Shell,
    launch: &Launch,
    profile: Option<&Profile>,
) -> Result<Prepared, LaunchError> {
    let (kind, shared) = (shell.kind, Arc::clone(&shell.body.shared));
    let (leaves, dir) = (shell.body.leaves(), shell.body.dir());
    let agent = shell.body.agent().ok_or_else(|| LaunchError::Agent("it is gone".to_owned()))?;
    let spill = shell.spill.take().ok_or_else(|| LaunchError::Agent("it was used before".to_owned()))?;
    let (launch, key, profile) = (launch.clone(), shell.body.key.clone(), profile.cloned());
    // Where the processes do not have the ids of the instance, its files are shown under theirs.
    let borrowed = shell.borrowed.take();
    let ids = borrowed.as_ref().map(|borrowed| borrowed.range);
    let prepared = shell.body.blocking(move || {
        step("blocking thread");
        if let (true, false, Some(range)) = (kind.has_view(), guest::is_guest(kind.level), launch.ids) {
            idmap::map_range(agent.pid, range).map_err(failed("map the ids of the instance"))?;
        }
        step("mapped");
        fault::point("shell.mapped");
        // A blank shell is made without limits.
        if launch.limits != Limits::default() {
            set_limits(leaves.as_deref(), kind, &launch.limits)?;
        }
        fault::point("launch.limits");
        let ground = root::ground(&shared, &launch, &key).map_err(cannot_show)?;
        let shown_by = match (borrowed, launch.ids) {
            (Some(borrowed), Some(own)) => Some(borrowed.map(own).map_err(failed("map ids of files"))?),
            _ => None,
        };
        let owner = launch.ids.map(|own| owner_in(kind, own, &ground));
        let own = storage((kind, shared.ids), &launch, &ground, owner)?;
        match launch.placement.socket.parent() {
            Some(dir) if kind.level == Level::Process => own_dir(dir, owner)?,
            _ => own_app_dir(&shared, &dir.app(), ids.map(|range| owner_in(kind, range, &ground)).or(owner))?,
        }
        step("directories");
        fault::point("launch.data-dir");
        let (view, mut fds) = match kind.has_view() {
            true => {
                let (level, app_dir) = (kind.level, dir.app());
                let (ground, agent, shown_by) = (&ground, agent.pid, shown_by.as_ref());
                let driver = kind.driver();
                let place = view::Place { level, driver, app_dir: &app_dir, ground, agent, own, shown_by };
                let view = view::build(&shared, &launch, place).map_err(cannot_show)?;
                (Some((view.plan, view.inside)), view.mounts)
            }
            false => (None, Vec::new()),
        };
        fds.push(spill.into());
        let shown = shown(&shared, &launch, &ground, profile.as_ref());
        let filters = profile.map(|profile| profile.program).into_iter().collect();
        let plan = LaunchPlan { filters, ..plan(&shared, kind, &launch, (&ground, view)) };
        Ok(Prepared { plan, fds, shown })
    });
    prepared.await.map_err(|e| failed("prepare")(io::Error::other(e)))?
}

/// The directories of the tenant: its data, changes to the root file system, volumes of the image.
fn storage(
    (kind, ids): (Kind, IdMode),
    launch: &Launch,
    ground: &Ground,
    owner: Option<(u32, u32)>,
) -> Result<Own, LaunchError> {
    changes::check(launch, kind.level, ids)?;
    let level = (kind.level, kind.has_view());
    let own = disk::prepare(level, launch, owner.map(|(uid, _)| uid), in_place(launch, ground))?;
    if let Own::Plain(_) = own {
        own_dir(&launch.data_dir, owner)?;
    }
    own.finish(&launch.data_dir)?;
    if let Some(dir) = &ground.changes {
        changes::prepare(launch, dir)?;
    }
    ground.volumes.iter().try_for_each(|volume| own_dir(&volume.source, owner))?;
    Ok(own)
}

/// Why the data of a tenant has to lie in its directory on the host: parts of that are shown at other places.
fn in_place(launch: &Launch, ground: &Ground) -> Option<&'static str> {
    match (ground.volumes.is_empty(), launch.root.persistent) {
        (false, _) => Some("its image declares volumes, which lie in the tenant's directory"),
        (true, true) => Some("`persistent_root` keeps changes in the tenant's directory"),
        (true, false) => None,
    }
}

/// What of a launch the walls are built around, as text that can be compared: an image under the same name may have
/// other layers by now, and the operator's filter another content.
fn shown(shared: &Shared, launch: &Launch, ground: &Ground, profile: Option<&Profile>) -> String {
    let Launch { workdir, data_dir, mounts, root, network, ids, placement, .. } = launch;
    let mut rules = DefaultHasher::new();
    (&shared.filters, &shared.hidden).hash(&mut rules);
    let rules = rules.finish();
    let disk = launch.limits.disk.map(|limit| (limit, launch.limits.disk_mode));
    let disk = disk.map_or_else(String::new, |disk| format!("{disk:?}\n"));
    let layers = &ground.layers;
    let filter = profile.map_or("", |profile| profile.name.as_str());
    format!(
        "{workdir:?}\n{data_dir:?}\n{mounts:?}\n{root:?}\n{network:?}\n{ids:?}\n{placement:?}\n{rules:x}\n{disk}\
         {layers:?}\n{filter}\n"
    )
}

/// Everything that the host does before another run in the same walls: they must show what is asked for now,
/// and the limits may have changed.
///
/// `around` is what they were built around, where this process built them.
pub(crate) async fn prepare_again(
    body: &Body,
    kind: Kind,
    around: &mut Option<Around>,
    launch: &Launch,
) -> Result<Prepared, LaunchError> {
    if kind.driver().is_some() {
        return Err(LaunchError::Agent("its container is described once".to_owned()));
    }
    if kind.has_view() && !launch.root.is_host() && !launch.root.read_only {
        return Err(LaunchError::Agent("its root has changes of an earlier run".to_owned()));
    }
    let (shared, leaves, dir) = (Arc::clone(&body.shared), body.leaves(), body.dir());
    let known = around.as_ref().map(|around| around.text.clone());
    let set = around.as_ref().is_some_and(|around| around.limits == launch.limits);
    let profile = profile::of(kind.level, launch).await?;
    let (launch, limits, key) = (launch.clone(), launch.limits, body.key.clone());
    let prepared = body.blocking(move || {
        let noted = known.map_or_else(|| dir.noted_shown().map_err(failed("read what is shown")), Ok)?;
        let ground = root::ground(&shared, &launch, &key).map_err(cannot_show)?;
        let shown = shown(&shared, &launch, &ground, profile.as_ref());
        if noted != shown {
            return Err(LaunchError::Agent("its walls were built around something else".to_owned()));
        }
        if !set {
            limits::check(&shared, kind.level, &launch.limits)?;
            set_limits(leaves.as_deref(), kind, &launch.limits)?;
        }
        let filters = profile.map(|profile| profile.program).into_iter().collect();
        let plan = LaunchPlan { spill: false, filters, ..plan(&shared, kind, &launch, (&ground, None)) };
        Ok(Prepared { plan, fds: Vec::new(), shown })
    });
    let prepared = prepared.await.map_err(|e| failed("prepare")(io::Error::other(e)))??;
    if let Some(around) = around {
        around.limits = limits;
    }
    Ok(prepared)
}

fn set_limits(leaves: Option<&Leaves>, kind: Kind, limits: &Limits) -> Result<(), LaunchError> {
    let Some(leaves) = leaves else { return Ok(()) };
    let limits = if guest::is_guest(kind.level) { guest::around(limits) } else { *limits };
    leaves.app().apply_limits(&limits).map_err(|e| failed("set limits")(io::Error::other(e)))
}

/// Makes a directory that belongs to the instance alone, or leaves the one that is there, and gives its top
/// to the instance's ids.
pub(crate) fn own_dir(path: &Path, owner: Option<(u32, u32)>) -> Result<(), LaunchError> {
    let on = |e| failed(&format!("directory `{}`", path.display()))(e);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(on)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(on(e)),
        _ => {}
    }
    let Some((uid, gid)) = owner else { return Ok(()) };
    let found = fs::symlink_metadata(path).map_err(on)?;
    if !found.is_dir() {
        return Err(on(io::ErrorKind::NotADirectory.into()));
    }
    if found.uid() == uid {
        return Ok(());
    }
    lchown(path, Some(uid), Some(gid)).map_err(on)
}

/// The directory for the workload's socket. Where the workload has ids that this process has no rights over,
/// it stays this process's own, so that it can be removed; the directory around it lets nobody else through.
fn own_app_dir(shared: &Shared, path: &Path, owner: Option<(u32, u32)>) -> Result<(), LaunchError> {
    own_dir(path, owner)?;
    match shared.ids {
        IdMode::Subordinate { .. } => fs::set_permissions(path, fs::Permissions::from_mode(0o777))
            .map_err(failed(&format!("directory `{}`", path.display()))),
        IdMode::Ranges | IdMode::Single => Ok(()),
    }
}

pub(crate) fn cannot_show(e: CannotShow) -> LaunchError {
    LaunchError::Walls { step: format!("show `{}` inside", e.path.display()), source: e.source }
}
