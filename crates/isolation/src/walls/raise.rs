//! Raising the wall around a guest: from a blank shell to one in which an agent waits behind another kernel.
//!
//! It takes a hundred times as long as everything that comes after it, so it is done ahead wherever it can be known
//! whose ids the program has.

use std::io;

use insula_spec::IdRange;

use super::guest;
use super::idmap;
use super::launch::{Prepared, cannot_show, execute};
use super::shell::{Shell, failed};
use crate::contract::LaunchError;

/// Lets the agent of a shell execute the program around a guest, and waits for the agent behind it. `ids` are mapped
/// first, unless that was done.
pub(crate) async fn raise(shell: &mut Shell, ids: Option<IdRange>) -> Result<(), LaunchError> {
    let agent = shell.body.agent().ok_or_else(|| LaunchError::Agent("it is gone".to_owned()))?;
    if let Some(range) = ids {
        let mapped = shell.body.blocking(move || idmap::map_range(agent.pid, range));
        let mapped = mapped.await.map_err(io::Error::other).and_then(|mapped| mapped);
        mapped.map_err(failed("map the ids of the instance"))?;
    }
    let plan = guest::wall(&shell.body.shared).map_err(cannot_show)?;
    let prepared = Prepared { plan, fds: Vec::new(), shown: String::new() };
    execute(&shell.link, &mut shell.streams, &shell.body, prepared).await?;
    shell.raised = true;
    Ok(())
}
