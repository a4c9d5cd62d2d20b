//! Raising the wall around a guest: from a blank shell to one in which an agent waits behind another kernel.
//!
//! It takes a hundred times as long as everything that comes after it, so it is done ahead, with ids that are nobody's
//! ([`super::borrow`]), unless one root range serves all instances.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use insula_spec::{IdRange, Launch};

use super::borrow::Borrowed;
use super::guest;
use super::idmap::{self, IdMode};
use super::launch::execute;
use super::prepare::{Prepared, cannot_show};
use super::shell::{self, Shell, failed};
use super::{Kind, Shared, routed};
use crate::contract::LaunchError;
use crate::fault;

/// How long the program around a guest may take to bring it up: a hundred times what it takes. Less than what a service
/// has for its start by default, so that it is this that is told.
const GUEST: Duration = Duration::from_secs(15);

/// Makes a shell that waits: with a guest in it, where there is to be one, and a wire, where it is to be routed.
pub(crate) async fn make_ahead(shared: &Arc<Shared>, kind: Kind) -> Result<Shell, LaunchError> {
    let mut shell = make_raised(shared, kind).await?;
    if kind.is_routed() {
        routed::lay_ahead(&mut shell).await;
    }
    Ok(shell)
}

async fn make_raised(shared: &Arc<Shared>, kind: Kind) -> Result<Shell, LaunchError> {
    if !guest::is_guest(kind.level) || shared.ids == IdMode::Single {
        return shell::make(shared, kind, None).await;
    }
    if shared.ids != IdMode::Ranges {
        let mut shell = shell::make(shared, kind, None).await?;
        raise(&mut shell, None, true).await?;
        return Ok(shell);
    }
    let (borrowed, token) = Borrowed::take(shared).await.map_err(failed("borrow ids"))?;
    let mut shell = shell::make(shared, kind, Some(token)).await?;
    raise(&mut shell, Some(borrowed.range), true).await?;
    shell.borrowed = Some(borrowed);
    Ok(shell)
}

/// A guest for this launch in this shell, unless it has one.
pub(crate) async fn raise_for(shell: &mut Shell, launch: &Launch) -> Result<(), LaunchError> {
    if !guest::is_guest(shell.kind.level) || shell.raised {
        return Ok(());
    }
    raise(shell, launch.ids, false).await
}

/// Lets the agent of a shell execute the program around a guest, and waits for the agent behind it. `ids` are mapped
/// first, unless that was done. Made `ahead`, it rehearses.
async fn raise(shell: &mut Shell, ids: Option<IdRange>, ahead: bool) -> Result<(), LaunchError> {
    let agent = shell.body.agent().ok_or_else(|| LaunchError::Agent("it is gone".to_owned()))?;
    if let Some(range) = ids {
        let mapped = shell.body.blocking(move || idmap::map_range(agent.pid, range));
        let mapped = mapped.await.map_err(io::Error::other).and_then(|mapped| mapped);
        mapped.map_err(failed("map the ids of the instance"))?;
        fault::point("guest.mapped");
    }
    let plan = guest::wall(&shell.body.shared, shell.kind.network, ahead).map_err(cannot_show)?;
    let prepared = Prepared { plan, fds: Vec::new(), shown: String::new() };
    let raised = execute(&shell.link, &mut shell.streams, &shell.body, prepared);
    // Whoever gives up lets go of the shell, and everything in it is killed.
    let hangs = |_| LaunchError::Hangs { program: "runsc".to_owned(), seconds: GUEST.as_secs() };
    tokio::time::timeout(GUEST, raised).await.map_err(hangs)??;
    fault::point("guest.raised");
    shell.raised = true;
    Ok(())
}
