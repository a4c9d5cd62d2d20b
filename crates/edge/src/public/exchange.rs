//! One request of a connection: understood, leased, proxied, answered, told.
//!
//! ```text
//! head ──plan──► route ──reach──► lease, connection ──proxy──► answer ──► next request
//!   │              │       ▲ │             │            │ │
//!   │              │       └─┼─ nothing of an answer ───┘ │
//!   └──────────────┴─────────┴─────────────┴──────────────┴── failure ──► respond
//! ```
//! The lease is a local of the exchange: it ends after the last byte of the answer, whatever happens.

use std::mem;
use std::time::Duration;

use insula_services::Upstream;
use insula_spec::InstanceName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::public::apex;
use crate::public::body::Pipe;
use crate::public::conn::{After, Connection};
use crate::public::framing::Framing;
use crate::public::head::{BadHead, Version};
use crate::public::http2::PREFACE_HEAD;
use crate::public::link::Link;
use crate::public::observe::{Exchange as Record, Protocol, RequestId};
use crate::public::plan::{self, Asked, LastHost, Origin, Plan, Reply};
use crate::public::proxy::{Client, Ended, Exchange, attended};
use crate::public::reach::{Aim, BACKSTOP, Found, Reach, Waits};
use crate::public::respond::{Failure, Reader, Refusal};
use crate::public::route::{NotFound, Route};
use crate::public::tenants::Tenants;
use crate::public::tunnel::Carried;

/// What is known of an exchange while it runs.
#[derive(Debug)]
struct Running {
    id: RequestId,
    started: Instant,
    waits: Waits,
    uploaded: u64,
    /// Whether the request was sent to a workload more than once.
    retried: bool,
}

impl<C, T> Connection<C, T>
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    T: Tenants,
{
    /// Serves the request whose head is the first `end` bytes of the input.
    pub(crate) async fn exchange(&mut self, end: usize) -> After {
        let id = self.shared.ids.next();
        let origin = Origin { settings: &self.shared.settings, peer: self.peer, id };
        let mut plan = match plan::request(&self.input.bytes()[..end], origin, &mut self.last) {
            Ok(plan) => plan,
            Err(refusal) if self.is_http2(&refusal, end) => return After::Http2,
            Err(refusal) => return self.refuse(id, &refusal.into()).await,
        };
        self.input.consume(end);
        let mut running =
            Running { id, started: Instant::now(), waits: Waits::default(), uploaded: 0, retried: false };
        match self.proxied(&mut plan, &mut running).await {
            Ok(ended) => self.ended(&plan, &running, ended),
            Err(failure) => self.failed(&plan, &running, &failure).await,
        }
    }

    /// Whether the first thing on this connection is the preface of HTTP/2. To the parser it is a head of a
    /// version that it does not know, so no other request pays for the question.
    fn is_http2(&self, refusal: &Refusal, end: usize) -> bool {
        *refusal == Refusal::Head(BadHead::Version)
            && self.last.route.is_none()
            && self.input.bytes()[..end] == *PREFACE_HEAD
    }

    async fn proxied(&mut self, plan: &mut Plan, running: &mut Running) -> Result<Ended, Failure> {
        let Self { shared, stream, input, deadline, last, held, drain, .. } = self;
        let mut client = Client { stream, input, deadline };
        if let (Some(Route::Control), Some(door)) = (&last.route, &shared.settings.control) {
            return apex::exchange(client, door, plan, &asked(plan, running.id, drain)).await;
        }
        let (aim, settings) = (aim(last)?, &shared.settings);
        let mut reach = Reach::new(&shared.tenants, settings, aim, &mut running.waits, running.started);
        let mut found = reached(&mut client, &mut reach, running.started, held).await?;
        let timeout = found.lease.request_timeout();
        let upload = Pipe::remembering(mem::take(&mut plan.head), plan::upload(plan.framing));
        let mut exchange = Exchange::new(client, found.upstream, upload, timeout);
        let asked = asked(plan, running.id, drain);
        let reply = loop {
            match exchange.answer(&asked).await {
                Err(failure) if plan.repeatable && exchange.is_unanswered(&failure) => {
                    let again = reach.again(found.lease, found.reused, failure);
                    found = attended(exchange.client(), again).await??;
                    exchange.restart(found.upstream);
                    running.retried = true;
                }
                reply => break reply,
            }
        };
        running.uploaded = exchange.uploaded();
        match reply? {
            Reply::Final(answer) => exchange.deliver(answer).await,
            Reply::Switch(head) => Ok(exchange.switch(head, settings.tunnel_linger).await),
        }
    }

    /// The workload has answered.
    fn ended(&mut self, plan: &Plan, running: &Running, ended: Ended) -> After {
        self.tell(plan, running, (ended.status, ended.error), ended.carried);
        match ended.upstream {
            Some(upstream) if ended.next => self.held = Some(upstream),
            Some(upstream) => upstream.keep(),
            None => {}
        }
        match (ended.next, ended.linger) {
            (true, _) => After::Next,
            (false, true) => After::Linger,
            (false, false) => After::Close,
        }
    }

    /// The workload has not answered; the client gets an answer of our own.
    async fn failed(&mut self, plan: &Plan, running: &Running, failure: &Failure) -> After {
        let answer = failure.answer();
        let carried = Carried { up: running.uploaded, down: 0 };
        tracing::debug!(request = %running.id, error = failure as &dyn std::error::Error, "an exchange failed");
        self.tell(plan, running, (answer.status, Some(answer.code)), carried);
        if matches!(failure, Failure::ClientGone) {
            return After::Close;
        }
        let close = !plan.keep_alive || plan.framing != Framing::Empty || self.drain.is_cancelled();
        let reader =
            Reader { id: running.id, version: plan.version, to_head: plan.to_head, grpc: plan.grpc, close };
        match (self.send(failure.render(reader)).await, close) {
            (false, _) => After::Close,
            (true, true) => After::Linger,
            (true, false) => After::Next,
        }
    }

    /// Answers a request that could not be understood. Where the next one would begin is not known, so
    /// the connection ends.
    pub(crate) async fn refuse(&mut self, id: RequestId, failure: &Failure) -> After {
        let answer = failure.answer();
        let reader = Reader { id, version: Version::Http11, to_head: false, grpc: false, close: true };
        self.shared.observer.exchange(&Record {
            id,
            protocol: Protocol::Http,
            peer: self.peer,
            version: "",
            instance: None,
            method: "",
            target: "",
            status: answer.status,
            bytes_in: 0,
            bytes_out: 0,
            waited: Duration::ZERO,
            total: Duration::ZERO,
            woke: false,
            retried: false,
            error: Some(answer.code),
        });
        if self.send(failure.render(reader)).await { After::Linger } else { After::Close }
    }

    fn tell(&self, plan: &Plan, running: &Running, end: (u16, Option<&'static str>), carried: Carried) {
        let (method, target) = plan.line();
        self.shared.observer.exchange(&Record {
            id: running.id,
            protocol: Protocol::Http,
            peer: self.peer,
            version: plan.version.as_str(),
            instance: running.waits.version.as_deref().or(instance(&self.last)),
            method,
            target,
            status: end.0,
            bytes_in: carried.up,
            bytes_out: carried.down,
            waited: running.waits.waited,
            total: running.started.elapsed(),
            woke: running.waits.woke,
            retried: running.retried,
            error: end.1,
        });
    }
}

/// The instance that the host names, if it names one.
fn instance(last: &LastHost) -> Option<&InstanceName> {
    match &last.route {
        Some(Route::Instance(name)) => Some(name),
        _ => None,
    }
}

/// Whom the request is for.
fn aim(last: &LastHost) -> Result<Aim<'_>, NotFound> {
    match &last.route {
        Some(Route::Instance(name)) => Ok(Aim::Instance(name)),
        Some(Route::Service(service)) => Ok(Aim::Service(service)),
        Some(Route::Control) => Err(NotFound::Apex),
        Some(Route::NotFound(missing)) => Err(missing.clone()),
        None => Err(NotFound::Host),
    }
}

fn asked<'a>(plan: &Plan, id: RequestId, drain: &'a tokio_util::sync::CancellationToken) -> Asked<'a> {
    Asked {
        id,
        version: plan.version,
        to_head: plan.to_head,
        upgrade: plan.upgrade,
        close: !plan.keep_alive,
        drain,
    }
}

/// Waits for the lease and a connection as long as the client does. A wake counts as part of the time that
/// the answer may take.
async fn reached<C: AsyncRead + Unpin, T: Tenants>(
    client: &mut Client<'_, C>,
    reach: &mut Reach<'_, T>,
    started: Instant,
    held: &mut Option<Upstream>,
) -> Result<Found, Failure> {
    client.deadline.set(reach.until() + BACKSTOP);
    let lease = attended(client, reach.lease()).await??;
    reach.give_up_at(started + lease.request_timeout());
    client.deadline.set(reach.until() + BACKSTOP);
    let idle = held.take().filter(|upstream| lease.fits(upstream)).or_else(|| lease.reuse());
    let found = match idle {
        Some(upstream) => Found { lease, upstream: Link::Direct(upstream), reused: true },
        None => attended(client, reach.connect(lease)).await??,
    };
    client.deadline.set(reach.until());
    Ok(found)
}
