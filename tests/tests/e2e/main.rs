//! Claims about the whole program. Each test is one claim, shown on the real binary with real processes.
//!
//! They need `insula` (see `INSULA_BIN`), Debian's python3, and for single claims node, perl, redis. What this host
//! cannot show is printed as `SKIPPED`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

mod alerts;
mod ancestors;
mod api;
mod audited;
mod bad_input;
mod browser;
mod canary;
mod changes;
mod cli;
mod columns;
mod common;
mod container;
mod cores;
mod crash;
mod cycles;
mod daemon;
mod disk;
mod doctor;
mod egress;
mod exec;
mod external;
mod faults;
mod filter;
mod floor;
mod grpc;
mod helper;
mod hostile;
mod http;
mod images;
mod in_force;
mod languages;
mod limits;
mod logs;
mod observe;
mod postgres;
mod private;
mod quota;
mod remembered;
mod runsc;
mod scene;
mod settings;
mod sleep;
mod systemd;
mod takeover;
mod top;
mod usage;
mod verify;
mod versions;
mod volumes;
mod wake;
mod walls;
mod wrk;
