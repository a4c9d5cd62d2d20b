//! Ports for workloads on the host's network.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use insula_spec::InstanceName;

/// Below the ephemeral range of the kernel (32768 and up), so that no outgoing connection takes one.
const RANGE: Range<u16> = 20_000..32_000;

/// Hands out ports, one per instance, the same again while it is held.
#[derive(Debug)]
pub(crate) struct Ports {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    held: HashMap<InstanceName, u16>,
    next: u16,
}

impl Ports {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { held: HashMap::new(), next: RANGE.start }) }
    }

    /// A port that nothing listens on and no other instance holds. `None` when there is none.
    pub(crate) fn take(&self, instance: &InstanceName) -> Option<u16> {
        let mut state = self.lock();
        if let Some(port) = state.held.get(instance) {
            return Some(*port);
        }
        let port = RANGE.clone().find_map(|_| {
            let port = state.next;
            state.next = if port + 1 < RANGE.end { port + 1 } else { RANGE.start };
            (!state.held.values().any(|p| *p == port) && is_free(port)).then_some(port)
        })?;
        state.held.insert(instance.clone(), port);
        Some(port)
    }

    /// Holds the port of a sandbox that was found again.
    pub(crate) fn hold(&self, instance: &InstanceName, port: u16) {
        self.lock().held.insert(instance.clone(), port);
    }

    /// Gives back whatever this instance holds.
    pub(crate) fn release(&self, instance: &InstanceName) {
        self.lock().held.remove(instance);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave the map half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_free(port: u16) -> bool {
    let v4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    v4.is_ok() && TcpListener::bind((Ipv6Addr::LOCALHOST, port)).map_or_else(|e| no_ipv6(&e), |_| true)
}

fn no_ipv6(e: &std::io::Error) -> bool {
    e.kind() == std::io::ErrorKind::AddrNotAvailable || e.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> InstanceName {
        format!("api:t{n}").parse().unwrap()
    }

    #[test]
    fn no_two_instances_share_a_port_over_ten_thousand_spawns() {
        let ports = Ports::new();
        for round in 0..10 {
            let taken: std::collections::HashSet<u16> =
                (0..1_000).map(|n| ports.take(&name(n)).expect("a port is free")).collect();
            assert_eq!(taken.len(), 1_000, "round {round}");
            (0..1_000).for_each(|n| ports.release(&name(n)));
        }
    }

    #[test]
    fn a_port_in_use_is_passed_over_and_a_held_one_stays() {
        let ports = Ports::new();
        let first = ports.take(&name(1)).unwrap();
        assert_eq!(ports.take(&name(1)), Some(first), "a held port changed");
        ports.release(&name(1));
        ports.lock().next = first;
        let squatter = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        assert_ne!(ports.take(&name(2)), Some(first), "a port in use was handed out");
        drop(squatter);
    }
}
