//! One instance, seen from this process: its listeners, its policy, what it was told.
//!
//! ```text
//! Join + listeners + pidfd ──► Inside ──► accept, answer ──┐
//!         policy changed ────────┘                         │ all of it ends
//! agent ended (pidfd), Leave, Bye ─────────────────────────┘
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use insula_linux::wall;
use insula_linux::watched::Watched;
use insula_spec::{InstanceName, NetPolicy, Outside};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::denial::Denial;
use crate::internet::Internet;
use crate::judge::Reason;
use crate::names::Names;
use crate::pace::Pace;
use crate::sibling::Call;
use crate::{relay, resolver};

/// Most connections of one instance at once.
const CONNECTIONS: usize = 512;
/// Most questions of one instance at once.
const QUESTIONS: usize = 64;
/// Time until another try when this process can take no more connections.
const BREATH: Duration = Duration::from_millis(100);

/// What all instances share.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) internet: Arc<Internet>,
    pub(crate) deny: mpsc::Sender<Denial>,
    pub(crate) calls: mpsc::Sender<Call>,
}

/// One instance.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) instance: InstanceName,
    outside: watch::Receiver<Outside>,
    /// What it sends, and what it receives.
    pub(crate) paces: (Pace, Pace),
    pub(crate) calls: mpsc::Sender<Call>,
    pub(crate) internet: Arc<Internet>,
    names: Mutex<Names>,
    pub(crate) questions: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    denials: mpsc::Sender<Denial>,
    pub(crate) tasks: TaskTracker,
}

/// The listeners of an instance, and what ends with its agent.
#[derive(Debug)]
pub(crate) struct Sockets {
    listeners: Vec<TcpListener>,
    packets: Vec<UdpSocket>,
    agent: Watched,
}

impl Sockets {
    /// TCP and UDP for IPv4, perhaps for IPv6, and a pidfd. Whoever sent them has checked what they are.
    pub(crate) fn sort(mut fds: Vec<OwnedFd>) -> io::Result<Self> {
        let short = || io::Error::from(io::ErrorKind::InvalidData);
        let agent = Watched::new(fds.pop().ok_or_else(short)?)?;
        let (mut listeners, mut packets) = (Vec::new(), Vec::new());
        let mut fds = fds.into_iter();
        while let Some(tcp) = fds.next() {
            listeners.push(TcpListener::from_std(tcp.into())?);
            packets.push(UdpSocket::from_std(fds.next().ok_or_else(short)?.into())?);
        }
        Ok(Self { listeners, packets, agent })
    }
}

impl Inside {
    pub(crate) fn new(
        instance: InstanceName,
        outside: watch::Receiver<Outside>,
        Surroundings { internet, deny: denials, calls }: Surroundings,
    ) -> Arc<Self> {
        Arc::new(Self {
            instance,
            paces: (Pace::new(outside.clone()), Pace::new(outside.clone())),
            outside,
            calls,
            internet,
            names: Mutex::default(),
            questions: Arc::new(Semaphore::new(QUESTIONS)),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            denials,
            tasks: TaskTracker::new(),
        })
    }

    /// The policy of this moment.
    pub(crate) fn policy(&self) -> NetPolicy {
        self.outside.borrow().net.clone()
    }

    /// Tells when the policy changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Outside> {
        self.outside.clone()
    }

    pub(crate) fn names(&self) -> MutexGuard<'_, Names> {
        // Every change under the lock is complete in itself.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that something was refused. When too much is refused at once, some of it goes untold.
    pub(crate) fn deny(&self, what: (Option<&str>, Option<IpAddr>, Option<u16>), reason: Reason) {
        let (name, address, port) = what;
        let name = name.map(str::to_owned);
        let denial = Denial { instance: self.instance.clone(), name, address, port, reason };
        if let Err(error) = self.denials.try_send(denial) {
            tracing::debug!(instance = %self.instance, %error, "a refusal goes untold");
        }
    }

    /// Serves the instance until its agent ends or it is told to stop. Told to `retire`, it accepts no more and ends
    /// with its last connection.
    pub(crate) async fn serve(
        self: Arc<Self>,
        sockets: Sockets,
        stop: CancellationToken,
        retire: CancellationToken,
    ) {
        let Sockets { listeners, packets, agent } = sockets;
        let all = stop.child_token();
        for listener in listeners {
            let (inside, stop, retire) = (Arc::clone(&self), all.clone(), retire.clone());
            self.tasks.spawn(async move {
                let accepting = stop.run_until_cancelled(inside.accept(listener, &stop));
                retire.run_until_cancelled(accepting).await;
            });
        }
        for socket in packets {
            let (inside, stop, retire) = (Arc::clone(&self), all.clone(), retire.clone());
            self.tasks.spawn(async move {
                let answering = stop.run_until_cancelled(resolver::packets(inside, socket, stop.clone()));
                retire.run_until_cancelled(answering).await;
            });
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { retire.cancelled().await; self.tasks.close(); self.tasks.wait().await } => {}
            ended = agent.readable() => if let Err(error) = ended {
                tracing::warn!(instance = %self.instance, %error, "cannot wait for its agent");
            },
        }
        all.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, stop: &CancellationToken) {
        let v6 = listener.local_addr().is_ok_and(|at| at.is_ipv6());
        loop {
            let connection = match listener.accept().await {
                Ok((connection, _)) => connection,
                Err(error) => {
                    // Nothing tells when there is room for a descriptor again.
                    tracing::debug!(instance = %self.instance, %error, "cannot accept");
                    tokio::time::sleep(BREATH).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.connections).try_acquire_owned() else {
                let to = wall::original(&connection, v6).ok();
                self.deny((None, to.map(|to| to.ip()), to.map(|to| to.port())), Reason::TooMany);
                relay::reset(connection);
                continue;
            };
            let (inside, stop) = (Arc::clone(&self), stop.clone());
            self.tasks.spawn(async move {
                stop.run_until_cancelled(inside.meet(connection, v6)).await;
                drop(place);
            });
        }
    }

    async fn meet(&self, connection: TcpStream, v6: bool) {
        let done = match wall::original(&connection, v6) {
            Ok(to) => relay::serve(self, connection, to).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::debug!(instance = %self.instance, %error, "a connection broke");
        }
    }
}

/// Whether a connection was opened to the listener itself.
pub(crate) fn is_direct(to: SocketAddr) -> bool {
    to.ip().is_loopback() && to.port() == wall::PORT
}
