//! What the file says about functions. It is checked now and enforced when functions come.

use std::collections::{BTreeMap, BTreeSet};

/// Whose functions may run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessMode {
    /// Those of everybody.
    Open,
    /// Those of the authors in the allowlist; nobody's, if it is empty.
    #[default]
    Allowlist,
    /// Those of everybody but the authors in the blocklist.
    Blocklist,
}

/// The `[access]` table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Which list counts.
    pub mode: AccessMode,
    /// Authors by DID.
    pub allowlist: BTreeSet<String>,
    /// Authors by DID.
    pub blocklist: BTreeSet<String>,
}

/// Everything about functions. Nothing of it is in force yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Functions {
    /// Runtimes by name: the name of one that comes with Insula, or the path of a definition.
    pub runtimes: BTreeMap<String, String>,
    /// Whose functions may run here.
    pub access: Access,
}
