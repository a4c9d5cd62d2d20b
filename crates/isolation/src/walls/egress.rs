//! Making walls known to the process that judges what leaves them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use insula_egress::{Fetch, Member};
use insula_spec::Outside;

use super::Kind;
use super::body::Body;
use crate::link::Link;

/// Makes these walls known with what holds outside; `None` where nothing judges.
pub(super) fn admit(kind: Kind, body: &Body, link: &Link, outside: &Outside) -> Option<Member> {
    let egress = body.shared.egress.as_ref().filter(|_| kind.is_judged())?;
    let instance = body.instance.clone()?;
    let agent = match body.agent_pidfd() {
        Ok(agent) => Arc::new(agent),
        Err(error) => {
            tracing::warn!(%instance, %error, "nothing outside can be reached: its agent is gone");
            return None;
        }
    };
    Some(egress.member(&body.key, instance, outside.clone(), fetch(link.clone(), agent)))
}

/// Asks the agent for the listeners of the wall; the agent's own pidfd goes with them.
fn fetch(link: Link, agent: Arc<OwnedFd>) -> Fetch {
    Box::new(move || {
        let (link, agent) = (link.clone(), Arc::clone(&agent));
        Box::pin(async move {
            let mut fds = link.wall().await.map_err(io::Error::other)??;
            fds.push(agent.as_fd().try_clone_to_owned()?);
            Ok(fds)
        })
    })
}
