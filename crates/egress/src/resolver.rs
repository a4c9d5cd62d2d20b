//! Questions for names, answered by the same policy that judges connections.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::dns::{self, Code, Kind, Question};
use crate::internet::{NoAddress, Way};
use crate::judge::{self, Reason};
use crate::member::Inside;

/// Most seconds that an answer is held inside: the policy may change.
const TTL: u32 = 30;

/// Why a name has no address that may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nowhere {
    /// The policy does not allow it; this was told already.
    Refused(Reason),
    /// It has none.
    NoAddress(NoAddress),
}

impl Inside {
    /// The addresses of a name that this instance may reach, at any port where none is given.
    pub(crate) async fn resolve(
        &self,
        name: &str,
        kind: Kind,
        port: Option<u16>,
    ) -> Result<Vec<IpAddr>, Nowhere> {
        let policy = self.policy();
        if let Err(reason) = judge::may_ask(&policy, name) {
            self.deny((Some(name), None, port), reason);
            return Err(Nowhere::Refused(reason));
        }
        let held = self.names().get(name, kind, Instant::now());
        let found = match held {
            Some(found) => found,
            None => {
                let found = self.internet.lookup(name, kind).await.map_err(Nowhere::NoAddress)?;
                self.names().put(name, kind, found.clone(), Instant::now());
                found.0
            }
        };
        self.allowed(name, &found, port)
    }

    /// Those of these addresses that may be reached.
    fn allowed(&self, name: &str, found: &[IpAddr], port: Option<u16>) -> Result<Vec<IpAddr>, Nowhere> {
        let policy = self.policy();
        let named = judge::names(&policy, name, port);
        let mut refused = None;
        let mut good = Vec::new();
        for address in found {
            match self.judge(*address, port, named) {
                Ok(()) => good.push(*address),
                Err(reason) => refused = refused.or(Some((*address, reason))),
            }
        }
        match refused {
            Some((address, reason)) if good.is_empty() => {
                self.deny((Some(name), Some(address), port), reason);
                Err(Nowhere::Refused(reason))
            }
            _ => Ok(good),
        }
    }

    /// The policy about an address, and whether it is one of this host's own.
    pub(crate) fn judge(&self, address: IpAddr, port: Option<u16>, named: bool) -> Result<(), Reason> {
        let policy = self.policy();
        judge::address(&policy, address, port, named)?;
        if !judge::covers(&policy, address, port) && self.internet.way(address) == Way::Own {
            return Err(Reason::OwnHost);
        }
        Ok(())
    }

    async fn answer(&self, bytes: &[u8], max: usize) -> Option<Vec<u8>> {
        let question = dns::question(bytes)?;
        let (code, addresses) = self.answer_to(&question).await;
        Some(question.answered(code, &addresses, TTL, max))
    }

    async fn answer_to(&self, question: &Question) -> (Code, Vec<IpAddr>) {
        let Some(name) = &question.name else { return (Code::Malformed, Vec::new()) };
        if question.kind == Kind::Other {
            // Not a word about names that may not be asked for; of the others there are only addresses.
            let known = match self.sibling(name) {
                Some(to) => self.policy().reaches(&self.instance.id, &to),
                None => judge::may_ask(&self.policy(), name).is_ok(),
            };
            return (if known { Code::Ok } else { Code::Refused }, Vec::new());
        }
        if let Some(to) = self.sibling(name) {
            return match self.addresses_of(name, &to, question.kind) {
                Ok(addresses) => (Code::Ok, addresses),
                Err(_) => (Code::NoName, Vec::new()),
            };
        }
        match self.resolve(name, question.kind, None).await {
            Ok(mut addresses) => {
                // A connection begins before its way is tried, so what has no way must not be told.
                addresses.retain(|a| a.is_ipv4() || self.internet.way(*a) != Way::None);
                (Code::Ok, addresses)
            }
            Err(Nowhere::Refused(_) | Nowhere::NoAddress(NoAddress::NoName)) => (Code::NoName, Vec::new()),
            Err(Nowhere::NoAddress(NoAddress::Failed)) => (Code::Failed, Vec::new()),
        }
    }
}

/// Answers questions that come as packets, a bounded number at a time: one too many is lost, as on any network.
pub(crate) async fn packets(inside: Arc<Inside>, socket: UdpSocket, stop: CancellationToken) {
    let socket = Arc::new(socket);
    let mut buffer = [0; dns::MESSAGE_MAX];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Ok(turn) = Arc::clone(&inside.questions).try_acquire_owned() else { continue };
        let (inside, socket, stop) = (Arc::clone(&inside), Arc::clone(&socket), stop.clone());
        let question = buffer[..length].to_vec();
        Arc::clone(&inside).tasks.spawn(async move {
            let answer = stop.run_until_cancelled(inside.answer(&question, dns::UDP_MAX)).await.flatten();
            if let Some(answer) = answer
                && let Err(error) = socket.send_to(&answer, from).await
            {
                tracing::debug!(%error, "an answer to a question for a name is lost");
            }
            drop(turn);
        });
    }
}

/// Answers questions that come over a connection, one after another.
pub(crate) async fn stream(inside: &Inside, mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let Ok(length) = timeout(crate::relay::PATIENCE, stream.read_u16()).await else { return Ok(()) };
        let mut question = vec![0; usize::from(length?).min(dns::MESSAGE_MAX)];
        stream.read_exact(&mut question).await?;
        let Some(answer) = inside.answer(&question, usize::from(u16::MAX)).await else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), &answer[..]].concat()).await?;
    }
}
