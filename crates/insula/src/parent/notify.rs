//! What a service manager is told, as sd_notify(3) and sd_watchdog_enabled(3) say.
//!
//! ```text
//! READY=1 once the first worker serves · RELOADING=1 … READY=1 around a planned restart · STOPPING=1
//! WATCHDOG=1 while the worker answers; one that does not is killed, and the next one found ready in time
//! ```
//! Without `NOTIFY_SOCKET` nothing is sent. No child sees these variables.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// Variables of the service manager that are for this process alone.
pub(crate) const VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// Tells the service manager.
#[derive(Debug)]
pub(crate) struct Notifier {
    target: Option<(UnixDatagram, SocketAddr)>,
    /// The manager ends the parent when it hears nothing for so long.
    watchdog: Option<Watchdog>,
}

/// When the worker is asked, and until when it may be silent.
#[derive(Debug)]
pub(crate) struct Watchdog {
    limit: Duration,
    next: Instant,
    /// Since when an answer is missing.
    asked: Option<Instant>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ask the worker.
    Ask,
    /// The worker is silent for too long.
    Silent,
}

impl Watchdog {
    fn new(limit: Duration) -> Self {
        Self { limit, next: Instant::now(), asked: None }
    }

    /// What is due now. Asked every quarter of the limit; silent for a half of it is too long.
    fn due(&mut self, now: Instant) -> Option<Due> {
        if now < self.next {
            return None;
        }
        self.next = now + self.limit / 4;
        match self.asked {
            Some(since) if now.duration_since(since) >= self.limit / 2 => {
                self.asked = None;
                Some(Due::Silent)
            }
            Some(_) => None,
            None => {
                self.asked = Some(now);
                Some(Due::Ask)
            }
        }
    }
}

impl Notifier {
    /// As the environment of this process says.
    pub(crate) fn from_environment() -> Self {
        let target = std::env::var("NOTIFY_SOCKET").ok().and_then(|name| match open(&name) {
            Ok(target) => Some(target),
            Err(error) => {
                tracing::warn!(%error, "the service manager cannot be told anything");
                None
            }
        });
        let own = |name: &str| match std::env::var(name) {
            Ok(pid) => pid == std::process::id().to_string(),
            Err(_) => true,
        };
        let limit = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let limit = limit.filter(|usec| *usec > 0 && own("WATCHDOG_PID")).map(Duration::from_micros);
        let watchdog = limit.filter(|_| target.is_some()).map(Watchdog::new);
        Self { target, watchdog }
    }

    /// The server serves.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// A planned restart begins.
    pub(crate) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let usec = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS=planned restart"));
    }

    /// The server is being stopped.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=draining requests and stopping instances");
    }

    /// The worker answers, or its absence is being dealt with.
    pub(crate) fn alive(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.asked = None;
            self.send("WATCHDOG=1");
        }
    }

    /// When [`Self::due`] is to be asked next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.watchdog.as_ref().map(|w| w.next)
    }

    /// What is due now.
    pub(crate) fn due(&mut self) -> Option<Due> {
        self.watchdog.as_mut()?.due(Instant::now())
    }

    fn send(&self, text: &str) {
        let Some((socket, target)) = &self.target else { return };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), target) {
            tracing::warn!(%error, text, "the service manager could not be told");
        }
    }
}

/// A path, or with `@` in front a name in the abstract namespace.
fn open(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let target = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not listen must not hold up the parent.
    socket.set_nonblocking(true)?;
    Ok((socket, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_asked_and_has_half_the_limit_to_answer() {
        let mut watchdog = Watchdog::new(Duration::from_secs(8));
        let start = watchdog.next;
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(watchdog.due(at(0)), Some(Due::Ask));
        assert_eq!(watchdog.due(at(1)), None);
        watchdog.asked = None;
        assert_eq!(watchdog.due(at(2)), Some(Due::Ask), "it had answered");
        assert_eq!(watchdog.due(at(4)), None, "it has time");
        assert_eq!(watchdog.due(at(6)), Some(Due::Silent));
        assert_eq!(watchdog.due(at(8)), Some(Due::Ask), "the next one is asked anew");
    }

    #[test]
    fn names_with_an_at_are_abstract() {
        let name = format!("@insula-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier { target: Some(open(&name).unwrap()), watchdog: None };
        notifier.ready("serves");
        let mut text = [0; 64];
        let got = manager.recv(&mut text).unwrap();
        assert_eq!(&text[..got], b"READY=1\nSTATUS=serves");
    }
}
