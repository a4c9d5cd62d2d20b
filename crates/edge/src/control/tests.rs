//! The control API over a real socket, with made-up rooms below it.

mod api;
mod described;
mod fake;
mod find;
mod network;
mod peer;
