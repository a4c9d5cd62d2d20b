//! A real server on a folder of its own, for `insula demo` and `insula verify`.

pub(crate) mod http;
mod server;

pub(crate) use server::{Files, Server};
