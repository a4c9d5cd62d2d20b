//! Whether this host can enforce what was asked for.

use insula_spec::Limits;

use super::{Layout, Leaf};

/// A limit that this host cannot enforce.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{what}` cannot be enforced: {why}")]
pub struct Unenforceable {
    /// The key in the configuration.
    pub what: &'static str,
    /// What is missing.
    pub why: String,
    /// What would do.
    pub hint: String,
}

/// A limit that needs a control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knob {
    Memory,
    Weight,
    Quota,
    Pids,
}

impl Knob {
    const ALL: [Self; 4] = [Self::Memory, Self::Weight, Self::Quota, Self::Pids];

    fn asked(self, limits: &Limits) -> bool {
        match self {
            Self::Memory => limits.memory.is_some(),
            Self::Weight => limits.cpu_weight.is_some(),
            Self::Quota => limits.cpu_quota.is_some(),
            Self::Pids => limits.pids.is_some(),
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Memory => "memory_limit_mb",
            Self::Weight => "cpu_weight",
            Self::Quota => "cpu_quota",
            Self::Pids => "pids_limit",
        }
    }

    const fn controller(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Weight | Self::Quota => "cpu",
            Self::Pids => "pids",
        }
    }

    /// Why it cannot be set and what would help; `None` when it can be.
    fn missing(self, layout: &Layout) -> Option<(String, String)> {
        let (key, controller) = (self.key(), self.controller());
        let no_controller = format!("there is no usable `{controller}` controller");
        match layout {
            Layout::None { why, hint } => Some((why.clone(), hint.clone())),
            Layout::V1 { quota: false, .. } if self == Self::Quota => Some((
                "the kernel was built without CFS bandwidth control".to_owned(),
                format!("use `cpu_weight`, or remove `{key}`"),
            )),
            Layout::V1 { hierarchies, .. } => match self {
                Self::Memory => hierarchies.memory.is_none(),
                Self::Weight | Self::Quota => hierarchies.cpu.is_none(),
                Self::Pids => hierarchies.pids.is_none(),
            }
            .then(|| (no_controller, format!("mount the `{controller}` hierarchy, or remove `{key}`"))),
            Layout::V2(v2) => (!v2.controllers().contains(&controller)).then(|| {
                let hint = format!(
                    "have the `{controller}` controller delegated (systemd: `Delegate=yes`), or remove `{key}`"
                );
                (no_controller, hint)
            }),
        }
    }
}

/// Tells whether control groups of this layout can enforce these limits. Limits that need no control group
/// (open files) always pass.
///
/// # Errors
/// Names the first limit that cannot be enforced.
pub fn check(layout: &Layout, limits: &Limits) -> Result<(), Unenforceable> {
    for knob in Knob::ALL {
        if knob.asked(limits)
            && let Some((why, hint)) = knob.missing(layout)
        {
            return Err(Unenforceable { what: knob.key(), why, hint });
        }
    }
    Ok(())
}

/// The same for a leaf that is already there, of which only its directories are known.
pub(super) fn check_leaf(leaf: &Leaf, limits: &Limits) -> Result<(), Unenforceable> {
    match leaf {
        Leaf::V1(hierarchies) => check(&Layout::V1 { hierarchies: hierarchies.clone(), quota: true }, limits),
        // There, a missing controller shows as a missing file, and the write fails.
        Leaf::V2(_) => Ok(()),
    }
}
