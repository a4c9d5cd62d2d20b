//! A network of a test's own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace with nothing but a loopback, which forwards. Dropping it ends it and every interface in it. Needs
/// root.
#[derive(Debug)]
pub struct OwnNetwork {
    holder: Child,
}

impl OwnNetwork {
    /// A fresh one.
    #[must_use]
    pub fn new() -> Self {
        let script =
            "ip link set lo up && echo 1 >/proc/sys/net/ipv4/ip_forward && echo ready && exec sleep 10000";
        let mut holder =
            Command::new("unshare").args(["-n", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let network = Self { holder };
        assert_eq!(said, "ready\n", "a network of its own cannot be made");
        network
    }

    /// Does something on a thread that is in this network. What it starts is there, too.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Default for OwnNetwork {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for OwnNetwork {
    fn drop(&mut self) {
        self.holder.kill().unwrap();
        self.holder.wait().unwrap();
    }
}
