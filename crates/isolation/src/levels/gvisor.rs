//! Level `gvisor`: a kernel in user space (runsc) between the workload and the host's kernel. It runs inside the
//! walls of `namespace`, so that whoever gets out of it is still behind those.
//!
//! ```text
//! agent (PID 1 in its namespaces) ──► runsc ──► Sentry, gofer ──► workload
//!    │ output, exit, signals, freezer, adoption: as at every level
//!    └ sockets: in the network namespace that the Sentry uses (`--network=host`)
//! ```

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use insula_spec::{InstanceName, Launch, Level, Network, Placement};

use crate::contract::{
    Adopted, Backend, BoxFuture, Capabilities, Gone, LaunchError, Record, Sandbox, Swept, Unavailable,
};
use crate::limits;
use crate::programs::{self, Program};
use crate::walls::{self, IdMode, Pool, Shared};

/// The first release, by its date, with the platform `systrap` as its default.
const OLDEST: u32 = 20_230_801;

/// How to get one that is new enough.
const INSTALL: &str = "install the package `runsc` of Debian bookworm-backports or newer: `apt-get install -t \
                       bookworm-backports runsc`; or name one with `path` in `[levels.gvisor]`; or use \
                       `isolation = \"container\"`";

/// The level on this host.
#[derive(Debug)]
pub(crate) struct Gvisor {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    found: OnceLock<Result<Program, String>>,
}

impl Gvisor {
    pub(crate) fn new(shared: Arc<Shared>, pool: Arc<Pool>) -> Self {
        Self { shared, pool, found: OnceLock::new() }
    }

    /// The program, looked for once.
    fn program(&self) -> Result<&Program, Unavailable> {
        let found = self.found.get_or_init(|| {
            let program = programs::find("runsc", self.shared.levels.gvisor.path.as_deref())?;
            match release(&program.version) {
                Some(date) if date >= OLDEST => Ok(program),
                _ => Err(format!(
                    "`{}` is too old ({}): it has no platform `systrap`",
                    program.path.display(),
                    program.version
                )),
            }
        });
        found.as_ref().map_err(|why| unavailable(why.clone(), INSTALL))
    }

    fn path(&self) -> Result<PathBuf, Unavailable> {
        self.program().map(|program| program.path.clone())
    }
}

fn unavailable(why: String, hint: &str) -> Unavailable {
    Unavailable { level: Level::Gvisor, why, hint: hint.to_owned() }
}

/// The date in `runsc version 0.0~20240729.0` or `runsc version release-20240729.0`.
fn release(version: &str) -> Option<u32> {
    let digits = |word: &str| (word.len() == 8).then(|| word.parse().ok()).flatten();
    version.split(|c: char| !c.is_ascii_digit()).find_map(digits)
}

impl Backend for Gvisor {
    fn level(&self) -> Level {
        Level::Gvisor
    }

    fn probe(&self) -> Result<Capabilities, Unavailable> {
        if self.shared.ids == IdMode::Single {
            let hint =
                "run the daemon as root, or install newuidmap and add a range to /etc/subuid and /etc/subgid";
            return Err(unavailable("runsc needs more than the one id that this user has".to_owned(), hint));
        }
        let program = self.program()?;
        let mut capabilities = limits::capabilities(&self.shared);
        capabilities.notes.push(format!("{} ({})", program.path.display(), program.version));
        Ok(capabilities)
    }

    fn place(&self, instance: &InstanceName, network: Network) -> Result<Placement, LaunchError> {
        walls::place(&self.shared, instance, network)
    }

    fn launch<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Result<Box<dyn Sandbox>, LaunchError>> {
        Box::pin(async {
            self.path()?;
            limits::check(&self.shared, Level::Gvisor, &launch.limits)?;
            let sandbox = walls::launch(&self.pool, Level::Gvisor, launch).await?;
            Ok(Box::new(sandbox) as Box<dyn Sandbox>)
        })
    }

    fn adopt<'a>(&'a self, record: &'a Record, logs_from: u64) -> BoxFuture<'a, Result<Adopted, Gone>> {
        Box::pin(walls::adopt::adopt(&self.shared, record, logs_from))
    }

    fn sweep<'a>(&'a self, known: &'a [Record]) -> BoxFuture<'a, Swept> {
        Box::pin(limits::sweep(Arc::clone(&self.shared), Level::Gvisor, known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_known_by_its_date() {
        assert_eq!(release("runsc version 0.0~20240729.0"), Some(20_240_729));
        assert_eq!(release("runsc version release-20221219.0-2"), Some(20_221_219));
        assert_eq!(release("runsc version VERSION_MISSING"), None);
    }
}
