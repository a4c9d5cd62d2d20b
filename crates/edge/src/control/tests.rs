//! The control API over a real socket, with made-up rooms below it.

mod api;
mod fake;
mod peer;
