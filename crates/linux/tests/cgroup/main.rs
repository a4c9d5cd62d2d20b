//! Control groups hold what they promise, shown on real processes. Each claim has its negative control: the
//! same thing with the limit off, or done the naive way, comes out differently.
//!
//! They need a host whose control groups this user may write to. Where that is not so, and for the writes of
//! version 2 on a host of version 1, each test prints `SKIPPED name: why`.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod life;
mod limits;
mod support;
