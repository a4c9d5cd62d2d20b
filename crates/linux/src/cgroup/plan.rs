//! What to make and to write, in order. Pure, but for [`prepare_host`], which carries a plan out.

use std::fmt;
use std::path::{Path, PathBuf};

use insula_spec::{ByteSize, Limits};
use rustix::io::Errno;

use super::layout::DAEMON;
use super::leaves::carry_out;
use super::{CgroupError, Layout, Leaf, Unenforceable, V2, check};

/// Memory that an agent may use.
const AGENT_MEMORY: ByteSize = ByteSize::mib(32);
/// Processes that an agent may have, those on their way into the other leaf included.
const AGENT_PIDS: u32 = 64;
/// Length of one period of a CPU quota.
const PERIOD_MICROS: u64 = 100_000;
/// Of version 1, for weight 100; of version 2 the default is the weight itself.
const DEFAULT_SHARES: u64 = 1024;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make a group that several share; it may be there already.
    Shared(PathBuf),
    /// Make a group that must not be there yet.
    Make(PathBuf),
    /// Write a value to a file.
    Write {
        /// The file.
        file: PathBuf,
        /// The value.
        value: String,
        /// Whether a kernel without this file is good enough.
        optional: bool,
    },
}

impl Step {
    fn write(dir: &Path, file: &str, value: impl ToString) -> Self {
        Self::Write { file: dir.join(file), value: value.to_string(), optional: false }
    }

    fn if_there(dir: &Path, file: &str, value: impl ToString) -> Self {
        Self::Write { file: dir.join(file), value: value.to_string(), optional: true }
    }

    /// Sets a limit, or takes it back. Where the file is not there, there is nothing to take back.
    fn limit(dir: &Path, file: &str, value: Option<String>, unlimited: &str) -> Self {
        match value {
            Some(value) => Self::write(dir, file, value),
            None => Self::if_there(dir, file, unlimited),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared(dir) => write!(f, "mkdir -p {}", dir.display()),
            Self::Make(dir) => write!(f, "mkdir {}", dir.display()),
            Self::Write { file, value, optional: false } => write!(f, "{} = {value}", file.display()),
            Self::Write { file, value, optional: true } => {
                write!(f, "{} = {value} (if there)", file.display())
            }
        }
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A name that would not stay one component of a path.
    #[error("`{0}` cannot name a control group")]
    Name(String),
    /// No control groups can be made.
    #[error("control groups cannot be made here: {why}")]
    NoCgroup {
        /// Why not.
        why: String,
        /// What would change that.
        hint: String,
    },
    /// A limit cannot be enforced.
    #[error(transparent)]
    Unenforceable(#[from] Unenforceable),
}

impl PlanError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Name(_) => "use lower-case letters, digits and `-`".to_owned(),
            Self::NoCgroup { hint, .. } => hint.clone(),
            Self::Unenforceable(e) => e.hint.clone(),
        }
    }
}

/// The two leaves of one set of walls, and how they come to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// The leaf of the agent.
    pub agent: Leaf,
    /// The leaf of the workload.
    pub app: Leaf,
}

impl Plan {
    /// Plans the leaves of the walls `key` of the installation `home`.
    ///
    /// # Errors
    /// When a name is malformed, or the layout cannot enforce the limits.
    pub fn for_limits(layout: &Layout, home: &str, key: &str, limits: &Limits) -> Result<Self, PlanError> {
        name(key)?;
        check(layout, limits)?;
        let mut steps = host_steps(layout, home, &[])?;
        let (agent, app) = leaves(layout, home, key)?;
        if let Layout::V2(v2) = layout {
            let own = v2.base.join(format!("insula-{home}")).join(key);
            steps.push(Step::Make(own.clone()));
            steps.extend(delegate(v2, &own));
        }
        for leaf in [&agent, &app] {
            steps.extend(leaf.dirs().into_iter().map(|dir| Step::Make(dir.to_owned())));
        }
        steps.extend(limit_steps(&agent, &agent_limits(layout)));
        steps.extend(limit_steps(&app, limits));
        Ok(Self { steps, agent, app })
    }
}

/// The leaves `(agent, app)` of the walls `key`, whether they are there or not.
pub(super) fn leaves(layout: &Layout, home: &str, key: &str) -> Result<(Leaf, Leaf), PlanError> {
    name(home)?;
    Ok(match layout {
        Layout::V1 { hierarchies, .. } => {
            let at = |role: &str| Path::new("insula").join(home).join(format!("{key}.{role}"));
            (Leaf::V1(hierarchies.for_agent().join(at("agent"))), Leaf::V1(hierarchies.join(at("app"))))
        }
        Layout::V2(v2) => {
            let own = v2.base.join(format!("insula-{home}")).join(key);
            (Leaf::V2(own.join("agent")), Leaf::V2(own.join("app")))
        }
        Layout::None { why, hint } => {
            return Err(PlanError::NoCgroup { why: why.clone(), hint: hint.clone() });
        }
    })
}

/// What one start of Insula does once, before it makes leaves: on version 2, processes and groups with
/// controllers may not share a group, so it moves itself (`own_pids`) out of the way first.
pub(super) fn host_steps(layout: &Layout, home: &str, own_pids: &[i32]) -> Result<Vec<Step>, PlanError> {
    name(home)?;
    let mut steps = Vec::new();
    match layout {
        Layout::V1 { hierarchies, .. } => {
            for dir in hierarchies.dirs() {
                steps.push(Step::Shared(dir.join("insula")));
                steps.push(Step::Shared(dir.join("insula").join(home)));
            }
        }
        Layout::V2(v2) => {
            if !own_pids.is_empty() && !v2.root {
                let daemon = v2.base.join(DAEMON);
                steps.push(Step::Shared(daemon.clone()));
                steps.extend(own_pids.iter().map(|pid| Step::write(&daemon, "cgroup.procs", pid)));
            }
            let all = v2.base.join(format!("insula-{home}"));
            steps.extend(delegate(v2, &v2.base));
            steps.push(Step::Shared(all.clone()));
            steps.extend(delegate(v2, &all));
        }
        Layout::None { .. } => {}
    }
    Ok(steps)
}

/// Makes this host ready for leaves of this home; to be called once a start, by every process of Insula
/// that does not descend from one that did.
///
/// # Errors
/// When a group cannot be made or this process cannot be moved.
pub fn prepare_host(layout: &Layout, home: &str) -> Result<(), CgroupError> {
    let own_pids = match layout {
        Layout::V2(v2) if !v2.root => Leaf::V2(v2.base.clone()).pids()?,
        _ => Vec::new(),
    };
    let steps = host_steps(layout, home, &own_pids).map_err(|_| CgroupError::Foreign { dir: home.into() })?;
    carry_out(&steps, &mut Vec::new())
}

/// Gives the groups below this one the controllers.
fn delegate(v2: &V2, dir: &Path) -> Option<Step> {
    let wanted: Vec<_> = v2.controllers().iter().map(|name| format!("+{name}")).collect();
    (!wanted.is_empty()).then(|| Step::write(dir, "cgroup.subtree_control", wanted.join(" ")))
}

/// What of the agent's cap this layout can enforce.
fn agent_limits(layout: &Layout) -> Limits {
    let memory = Limits { memory: Some(AGENT_MEMORY), ..Limits::default() };
    let pids = Limits { pids: Some(AGENT_PIDS), ..Limits::default() };
    Limits {
        memory: memory.memory.filter(|_| check(layout, &memory).is_ok()),
        pids: pids.pids.filter(|_| check(layout, &pids).is_ok()),
        ..Limits::default()
    }
}

/// The writes that bring a leaf from any limits to these. Every limit is written: what is `None` is taken
/// back, so that a leaf can be used again.
pub(super) fn limit_steps(leaf: &Leaf, limits: &Limits) -> Vec<Step> {
    match leaf {
        Leaf::V1(hierarchies) => {
            let mut steps = Vec::new();
            steps.extend(hierarchies.memory.iter().flat_map(|dir| memory_1(dir, limits)));
            steps.extend(hierarchies.cpu.iter().flat_map(|dir| cpu_1(dir, limits)));
            steps.extend(hierarchies.pids.iter().map(|dir| pids(dir, limits)));
            steps
        }
        Leaf::V2(dir) => limits_2(dir, limits),
    }
}

/// Memory with swap may never be less than memory alone, so it is opened first and closed last. Where swap
/// is accounted at all, it does not widen the limit.
fn memory_1(dir: &Path, limits: &Limits) -> Vec<Step> {
    let bytes = limits.memory.map(|memory| memory.0.to_string());
    let both = "memory.memsw.limit_in_bytes";
    let mut steps =
        vec![Step::if_there(dir, both, -1), Step::limit(dir, "memory.limit_in_bytes", bytes.clone(), "-1")];
    steps.extend(bytes.map(|bytes| Step::if_there(dir, both, bytes)));
    steps
}

/// 100 is the default weight of version 2, 1,024 shares are that of version 1; the kernel takes at least 2.
fn cpu_1(dir: &Path, limits: &Limits) -> Vec<Step> {
    let shares = limits.cpu_weight.map(|weight| (u64::from(weight.get()) * DEFAULT_SHARES / 100).max(2));
    let quota = quota_micros(limits);
    let mut steps = vec![Step::limit(
        dir,
        "cpu.shares",
        shares.map(|shares| shares.to_string()),
        &DEFAULT_SHARES.to_string(),
    )];
    steps.extend(quota.map(|_| Step::write(dir, "cpu.cfs_period_us", PERIOD_MICROS)));
    steps.push(Step::limit(dir, "cpu.cfs_quota_us", quota.map(|quota| quota.to_string()), "-1"));
    steps
}

fn pids(dir: &Path, limits: &Limits) -> Step {
    Step::limit(dir, "pids.max", limits.pids.map(|pids| pids.to_string()), "max")
}

fn limits_2(dir: &Path, limits: &Limits) -> Vec<Step> {
    let limited = limits.memory.is_some();
    let quota = quota_micros(limits).map(|quota| format!("{quota} {PERIOD_MICROS}"));
    vec![
        Step::limit(dir, "memory.max", limits.memory.map(|memory| memory.0.to_string()), "max"),
        Step::if_there(dir, "memory.swap.max", if limited { "0" } else { "max" }),
        // The whole workload ends, not whichever of its processes happened to be the largest.
        Step::if_there(dir, "memory.oom.group", u8::from(limited)),
        Step::limit(dir, "cpu.weight", limits.cpu_weight.map(|weight| weight.get().to_string()), "100"),
        Step::limit(dir, "cpu.max", quota, &format!("max {PERIOD_MICROS}")),
        pids(dir, limits),
    ]
}

/// CPU time in each period.
fn quota_micros(limits: &Limits) -> Option<u64> {
    limits.cpu_quota.map(|quota| u64::from(quota.millis()) * PERIOD_MICROS / 1000)
}

/// Refuses what would not stay one component of a path, or hide.
fn name(name: &str) -> Result<(), PlanError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = !name.is_empty() && name.len() <= 64 && name.chars().all(plain);
    if good { Ok(()) } else { Err(PlanError::Name(name.to_owned())) }
}

/// Removes what [`prepare_host`] made for this home, as far as nothing is left in it.
///
/// # Errors
/// When the kernel refuses for another reason than that.
pub fn leave_host(layout: &Layout, home: &str) -> Result<(), CgroupError> {
    let dirs: Vec<PathBuf> = match layout {
        Layout::V1 { hierarchies, .. } => {
            hierarchies.dirs().into_iter().map(|dir| dir.join("insula").join(home)).collect()
        }
        Layout::V2(v2) => vec![v2.base.join(format!("insula-{home}"))],
        Layout::None { .. } => Vec::new(),
    };
    for dir in dirs {
        match rustix::fs::rmdir(&dir) {
            Ok(()) | Err(Errno::NOENT | Errno::BUSY | Errno::NOTEMPTY) => {}
            Err(e) => return Err(CgroupError::Remove { dir, source: e.into() }),
        }
    }
    Ok(())
}
