//! The way from the public side to the control API.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use insula_edge::control::{Admission, Inside};
use insula_edge::public::Door;
use insula_isolation::{BoxFuture, Connect, Stream};
use insula_services::Lease;

use super::tenancy::Tenancy;
use crate::exit::Exit;
use crate::failure::Failure;

/// Longest time to an answer's head: a start waits as long as its service's own time-outs allow.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3600);

/// Makes connections to the control API: this worker's, or once it has given way the next one's.
#[derive(Debug)]
struct ToControl {
    own: Inside,
    tenancy: Arc<Tenancy>,
}

impl Connect for ToControl {
    fn connect(&self) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async {
            match self.tenancy.control().await {
                Some(next) => next,
                None => self.own.connect().map(Stream::Unix),
            }
        })
    }
}

/// The way in. Its name is in no directory and is shown to nobody.
pub(super) fn door(inside: Inside, tenancy: &Arc<Tenancy>) -> anyhow::Result<Door> {
    let connector = ToControl { own: inside, tenancy: Arc::clone(tenancy) };
    let name = "insula:control".parse()?;
    Ok(Door::new(Lease::detached(name, Arc::new(connector), ANSWER_TIMEOUT)))
}

/// What is asked of those who come over the network. Whoever started this checked already; but here are the
/// listeners themselves, and nothing is open that others can reach.
pub(super) fn admission(insecure: bool, listeners: &[TcpListener]) -> anyhow::Result<Admission> {
    if !insecure {
        return Ok(Admission::Token);
    }
    for listener in listeners {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            let message = format!("`--insecure-api` would open the control API on `{address}`");
            return Err(
                Failure::new(Exit::Refused, message, "serve `localhost` alone, or ask for tokens").into()
            );
        }
    }
    Ok(Admission::Anybody)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_listener_that_others_reach_is_open() {
        let listen = |address: &str| vec![TcpListener::bind(address).unwrap()];
        assert_eq!(admission(true, &listen("127.0.0.1:0")).unwrap(), Admission::Anybody);
        assert!(admission(true, &listen("0.0.0.0:0")).is_err());
        assert_eq!(admission(false, &listen("0.0.0.0:0")).unwrap(), Admission::Token);
    }
}
