//! Safe handles on kernel objects.
//!
//! Each module wraps one kind of object and says in its types what the kernel says in its manuals. `unsafe`
//! is allowed here (and in `insula-agent`), each block with the invariant it rests on. The agent uses this
//! crate without the feature `host`.

#[cfg(feature = "host")]
pub mod attempt;
#[cfg(feature = "host")]
pub mod cgroup;
#[cfg(feature = "host")]
pub mod child;
#[cfg(feature = "host")]
pub mod dontwait;
pub mod identity;
pub mod seccomp;

pub mod credentials;
pub mod fork;
#[cfg(feature = "host")]
pub mod inherited;
pub mod landlock;
pub mod loopback;
pub mod mount;
pub mod overlay;
#[cfg(feature = "host")]
pub mod program;
#[cfg(feature = "host")]
pub mod quota;
#[cfg(feature = "host")]
pub mod routed;
pub mod scm;
pub mod signals;
pub mod wall;
#[cfg(feature = "host")]
pub mod watched;
