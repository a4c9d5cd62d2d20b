//! Walls as they really stand: launched, reached, adopted, killed.
//!
//! Every claim that something is refused has a control beside it that shows the same attempt succeed where
//! the wall is not.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(missing_docs, reason = "tests name themselves")]

mod adoption;
mod container;
mod disk;
mod drivers;
mod ends;
mod filter;
mod guest;
mod gvisor;
mod life;
mod limits;
mod logs;
mod neighbours;
mod sockets;
mod subordinate;
#[allow(dead_code, reason = "shared with the tests of hostile agents")]
mod support;
mod sweep;
mod view;
