//! Ports for workloads on the host's network.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use insula_spec::InstanceName;

/// Below the ephemeral range of the kernel (32768 and up), so that no outgoing connection takes one.
const RANGE: Range<u16> = 20_000..32_000;
const LEN: u16 = RANGE.end - RANGE.start;

/// Hands out ports: reserved for an instance when asked for, in use from its launch to its end.
#[derive(Debug)]
pub(crate) struct Ports {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// For whom each port is reserved; `None` once it is in use.
    held: HashMap<u16, Option<InstanceName>>,
    next: u16,
}

impl Ports {
    /// Begins anywhere in the range: another installation on this host hands out ports of it, too, and for a
    /// moment neither sees that the other's is taken.
    pub(crate) fn new() -> Self {
        let offset = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ()) % u64::from(LEN);
        let next = RANGE.start + u16::try_from(offset).unwrap_or(0);
        Self { state: Mutex::new(State { held: HashMap::new(), next }) }
    }

    /// A port that nothing listens on and nobody holds; the same again until it is claimed. `None` when
    /// there is none.
    pub(crate) fn take(&self, instance: &InstanceName) -> Option<u16> {
        let mut state = self.lock();
        if let Some((port, _)) = state.held.iter().find(|(_, whose)| whose.as_ref() == Some(instance)) {
            return Some(*port);
        }
        let port = RANGE.clone().find_map(|_| {
            let port = state.next;
            state.next = if port + 1 < RANGE.end { port + 1 } else { RANGE.start };
            (!state.held.contains_key(&port) && is_free(port)).then_some(port)
        })?;
        state.held.insert(port, Some(instance.clone()));
        Some(port)
    }

    /// A sandbox uses this port from now on. The next sandbox of its instance gets another one, for this one
    /// may still be ending.
    pub(crate) fn claim(&self, port: u16) {
        self.lock().held.insert(port, None);
    }

    /// The sandbox that used this port is gone.
    pub(crate) fn release(&self, port: u16) {
        self.lock().held.remove(&port);
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
    fn no_two_sandboxes_share_a_port_over_ten_thousand_spawns() {
        let ports = Ports::new();
        for round in 0..10 {
            let taken: std::collections::HashSet<u16> =
                (0..1_000).map(|n| ports.take(&name(n)).expect("a port is free")).collect();
            assert_eq!(taken.len(), 1_000, "round {round}");
            taken.iter().for_each(|port| ports.claim(*port));
            taken.iter().for_each(|port| ports.release(*port));
        }
    }

    #[test]
    fn a_port_in_use_is_passed_over_and_a_reserved_one_stays() {
        let ports = Ports::new();
        let first = ports.take(&name(1)).unwrap();
        assert_eq!(ports.take(&name(1)), Some(first), "a reserved port changed");
        ports.release(first);
        ports.lock().next = first;
        let squatter = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        assert_ne!(ports.take(&name(2)), Some(first), "a port in use was handed out");
        drop(squatter);
    }

    #[test]
    fn while_a_sandbox_ends_the_next_of_its_instance_listens_elsewhere() {
        let ports = Ports::new();
        let first = ports.take(&name(1)).unwrap();
        ports.claim(first);
        let second = ports.take(&name(1)).unwrap();
        assert_ne!(first, second);
        ports.release(first);
        assert_eq!(ports.take(&name(1)), Some(second), "the end of the first took the second's port");
    }
}
