//! One outgoing connection: where it may go is found out, then bytes flow.
//!
//! ```text
//! to the listener itself ──► explicit proxy (see `explicit`)
//! to port 53 ──────────────► resolver
//! stands for an instance ──► the worker passes a connection to it (see `sibling`)
//! address allowed as it is ► dialled
//! else ──► first bytes: a name in them? ──► its own resolution, checked, dialled; never the client's address
//!                └─ no ──► a name that led to the address, with a rule for it? ──► dialled, else refused
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use insula_spec::{InstanceName, NetRule, canonical_name};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::dns::Kind;
use crate::judge::{self, Reason};
use crate::member::{Inside, is_direct};
use crate::pace::Paced;
use crate::resolver::Nowhere;
use crate::sibling::{Server, Visit};
use crate::sniff::{self, First, SNIFF_MAX};
use crate::{explicit, resolver, sibling};

/// How long a client may take to say what it wants.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Ports on which the client speaks first, and tells a name.
const TELLING: [u16; 4] = [80, 443, 8080, 8443];
/// The alert `access_denied` (RFC 8446, section 6), as a record.
const TLS_DENIED: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 49];

/// Where a connection may go.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) name: Option<String>,
    pub(crate) place: Place,
    pub(crate) port: u16,
}

/// What stands for it.
#[derive(Debug)]
pub(crate) enum Place {
    /// Any of these.
    Addresses(Vec<IpAddr>),
    /// Another instance of this installation.
    Instance(InstanceName),
}

/// An open connection, and what it is judged by.
#[derive(Debug)]
pub(crate) enum Way {
    /// To this address.
    Out(TcpStream, IpAddr),
    /// To another instance.
    Sibling(Server, Visit),
}

/// Why it may not, or cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The policy does not allow it; this was told already.
    Refused(Reason),
    /// It leads nowhere.
    Unreachable,
}

/// Serves one connection, redirected from `to`.
pub(crate) async fn serve(inside: &Inside, mut client: TcpStream, to: SocketAddr) -> io::Result<()> {
    if is_direct(to) {
        return explicit::serve(inside, client).await;
    }
    if to.port() == 53 {
        return resolver::stream(inside, client).await;
    }
    let (address, port) = (to.ip(), to.port());
    if let Some(instance) = inside.sibling_at(address) {
        return sibling::serve(inside, client, instance, port).await;
    }
    let outright = inside.judge(address, Some(port), false);
    let Err(reason) = outright else {
        return carry(inside, client, &[], Goal { name: None, place: Place::Addresses(vec![address]), port })
            .await;
    };
    // Many servers speak first: where a name led here there is nothing to wait for.
    if !TELLING.contains(&port)
        && let Some(name) = inside.led_to(to)
    {
        return match inside.told((Some(name), address, port), inside.judge(address, Some(port), true)) {
            Ok(goal) => carry(inside, client, &[], goal).await,
            Err(stop) => refuse(client, &First::Other, stop).await,
        };
    }
    let mut bytes = Vec::new();
    let first = match worth_a_look(inside, port) {
        true => look(&mut client, &mut bytes).await?,
        false => First::Other,
    };
    let goal = match &first {
        First::Tls(Some(name)) => inside.goal(name, port).await,
        First::Http(Some(host)) => inside.goal(without_port(host), port).await,
        _ => inside.by_address(to, reason),
    };
    match goal {
        Ok(goal) => carry(inside, client, &bytes, goal).await,
        Err(stop) => refuse(client, &first, stop).await,
    }
}

/// Whether the first bytes could change the decision, or how it is told.
fn worth_a_look(inside: &Inside, port: u16) -> bool {
    let names =
        |rule: &NetRule| matches!(rule, NetRule::Name { port: at, .. } if at.is_none_or(|at| at == port));
    TELLING.contains(&port) || inside.policy().rules().iter().any(names)
}

/// What the first bytes of a client tell, where the client speaks first at this port.
pub(crate) async fn look_if_telling(client: &mut TcpStream, port: u16) -> io::Result<First> {
    if TELLING.contains(&port) { look(client, &mut Vec::new()).await } else { Ok(First::Other) }
}

/// Reads until the first bytes tell what this is, or that they do not.
async fn look(client: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<First> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match sniff::first(bytes) {
            First::More if bytes.len() < SNIFF_MAX => {}
            First::More => return Ok(First::Other),
            told => return Ok(told),
        }
        let Ok(read) = timeout_at(deadline, client.read_buf(bytes)).await else { return Ok(First::Other) };
        if read? == 0 {
            return Ok(First::Other);
        }
    }
}

/// A host without the port behind it.
pub(crate) fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

impl Inside {
    /// Where a host by this name, or address written in full, may be reached.
    pub(crate) async fn goal(&self, host: &str, port: u16) -> Result<Goal, Stop> {
        if let Ok(address) = host.parse::<IpAddr>() {
            let judged = self.judge(address, Some(port), false);
            return self.told((None, address, port), judged);
        }
        // What some programs read as an address (`127.1`) is no name, and not written in full: it is nothing.
        let Some(name) = canonical_name(host) else {
            let reason = judge::refusal(&self.policy());
            self.deny((Some(host), None, Some(port)), reason);
            return Err(Stop::Refused(reason));
        };
        if let Some(to) = self.sibling(&name) {
            self.may_reach((&name, &to), Some(port))?;
            return Ok(Goal { name: Some(name), place: Place::Instance(to), port });
        }
        let mut addresses = Vec::new();
        let mut refused = None;
        for kind in [Kind::V4, Kind::V6] {
            match self.resolve(&name, kind, Some(port)).await {
                Ok(found) => addresses.extend(found),
                Err(Nowhere::Refused(reason)) => refused = Some(reason),
                Err(Nowhere::NoAddress(_)) => {}
            }
        }
        match (addresses.is_empty(), refused) {
            (false, _) => Ok(Goal { name: Some(name), place: Place::Addresses(addresses), port }),
            (true, Some(reason)) => Err(Stop::Refused(reason)),
            (true, None) => Err(Stop::Unreachable),
        }
    }

    /// Where a connection that tells no name may go: its address, if a name with a rule led to it.
    fn by_address(&self, to: SocketAddr, reason: Reason) -> Result<Goal, Stop> {
        match self.led_to(to) {
            Some(name) => {
                let judged = self.judge(to.ip(), Some(to.port()), true);
                self.told((Some(name), to.ip(), to.port()), judged)
            }
            None => self.told((None, to.ip(), to.port()), Err(reason)),
        }
    }

    /// A name that led to this address, and that a rule is about.
    fn led_to(&self, to: SocketAddr) -> Option<String> {
        let policy = self.policy();
        let names = self.names().of(to.ip(), Instant::now());
        names.into_iter().find(|name| judge::names(&policy, name, Some(to.port())))
    }

    fn told(&self, to: (Option<String>, IpAddr, u16), judged: Result<(), Reason>) -> Result<Goal, Stop> {
        let (name, address, port) = to;
        judged.map_err(|reason| {
            self.deny((name.as_deref(), Some(address), Some(port)), reason);
            Stop::Refused(reason)
        })?;
        Ok(Goal { name, place: Place::Addresses(vec![address]), port })
    }

    /// Whether a connection that was allowed still is.
    fn still(&self, name: Option<&str>, address: IpAddr, port: u16) -> Result<(), Reason> {
        let named = name.is_some_and(|name| judge::names(&self.policy(), name, Some(port)));
        self.judge(address, Some(port), named)
    }
}

/// Opens the connection and lets bytes flow. What cannot be opened is reset, as the server would.
async fn carry(inside: &Inside, client: TcpStream, first: &[u8], goal: Goal) -> io::Result<()> {
    match open(inside, &goal).await {
        Ok(way) => flow(inside, (client, way), first, goal).await,
        Err(Stop::Unreachable) => {
            reset(client);
            Ok(())
        }
        Err(stop) => refuse(client, &sniff::first(first), stop).await,
    }
}

/// Connects to the first address that answers, or to the instance.
///
/// # Errors
/// Why not; a refusal was told.
pub(crate) async fn open(inside: &Inside, goal: &Goal) -> Result<Way, Stop> {
    let addresses = match &goal.place {
        Place::Addresses(addresses) => addresses,
        Place::Instance(to) => {
            let name = goal.name.as_deref().unwrap_or_default();
            let (server, visit) = inside.reach(name, to, goal.port).await?;
            return Ok(Way::Sibling(server, visit));
        }
    };
    for address in addresses {
        match inside.internet.dial(SocketAddr::new(*address, goal.port)).await {
            Ok(server) => return Ok(Way::Out(server, *address)),
            Err(error) => tracing::debug!(instance = %inside.instance, %address, %error, "cannot connect"),
        }
    }
    Err(Stop::Unreachable)
}

/// Lets bytes flow until both sides have ended, or the policy does not allow it any more.
pub(crate) async fn flow(
    inside: &Inside,
    (client, way): (TcpStream, Way),
    first: &[u8],
    goal: Goal,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    match way {
        Way::Out(server, address) => {
            let still = || inside.still(goal.name.as_deref(), address, goal.port);
            let cut = stream(inside, (client, server), first, (still, None)).await?;
            if let Some(reason) = cut {
                inside.deny((goal.name.as_deref(), Some(address), Some(goal.port)), reason);
            }
        }
        Way::Sibling(server, visit) => {
            let own = &inside.instance.id;
            let still = || match inside.policy() {
                policy if policy.reaches(own, &visit.to) => Ok(()),
                policy => Err(judge::refusal(&policy)),
            };
            let cut = stream(inside, (client, server), first, (still, Some(&visit.hang_up))).await?;
            if let Some(reason) = cut {
                inside.deny((goal.name.as_deref(), None, Some(goal.port)), reason);
            }
        }
    }
    Ok(())
}

/// Copies both ways. Answers why it was cut, if it was.
async fn stream<S: AsyncRead + AsyncWrite + AsFd + Unpin>(
    inside: &Inside,
    (client, mut server): (TcpStream, S),
    first: &[u8],
    (still, hang_up): (impl Fn() -> Result<(), Reason>, Option<&CancellationToken>),
) -> io::Result<Option<Reason>> {
    server.write_all(first).await?;
    inside.paces.0.charge(first.len());
    let mut policy = inside.watch();
    policy.mark_unchanged();
    let mut client = Paced::new(client, &inside.paces.0);
    let mut server = Paced::new(server, &inside.paces.1);
    let cut = {
        let copy = tokio::io::copy_bidirectional(&mut client, &mut server);
        let mut copy = std::pin::pin!(copy);
        loop {
            tokio::select! {
                done = &mut copy => return done.map(|_| None),
                () = hung_up(hang_up) => break Reason::NotReachable,
                changed = policy.changed() => match (changed, still()) {
                    (Ok(()), Ok(())) => {}
                    (Ok(()), Err(reason)) => break reason,
                    // Without a policy there is no instance any more.
                    (Err(_), _) => return Ok(None),
                },
            }
        }
    };
    reset(client.into_inner());
    reset(server.into_inner());
    Ok(Some(cut))
}

async fn hung_up(hang_up: Option<&CancellationToken>) {
    match hang_up {
        Some(hang_up) => hang_up.cancelled().await,
        None => std::future::pending().await,
    }
}

/// Tells the client in its own words where it has some, and ends the connection.
pub(crate) async fn refuse(mut client: TcpStream, first: &First, stop: Stop) -> io::Result<()> {
    match (first, stop) {
        (First::Http(_), stop) => client.write_all(&explicit::refusal(stop)).await?,
        (First::Tls(_), Stop::Refused(_)) => client.write_all(&TLS_DENIED).await?,
        _ => {
            reset(client);
            return Ok(());
        }
    }
    finish(client).await
}

/// Ends a connection so that what was written arrives: what the client still sends is read until it ends, too.
pub(crate) async fn finish(mut client: TcpStream) -> io::Result<()> {
    client.shutdown().await?;
    let deadline = Instant::now() + PATIENCE;
    let mut rest = [0; 4096];
    while let Ok(Ok(1..)) = timeout_at(deadline, client.read(&mut rest)).await {}
    Ok(())
}

/// Ends a connection at once, in a way that the other side notices as an error.
pub(crate) fn reset(stream: impl AsFd) {
    if let Err(error) = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection ends without a reset");
    }
    drop(stream);
}
