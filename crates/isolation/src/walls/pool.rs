//! A bounded pool of blank shells, refilled as they are taken.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use insula_spec::{Level, Network};

use super::shell::{self, Shell};
use super::{Kind, Shared};
use crate::contract::LaunchError;

/// The only kind worth keeping ahead: the default one.
const POOLED: Kind = Kind { level: Level::Namespace, network: Network::Isolated };

/// Shells that wait. Each costs the memory of an idle agent and its launchpad.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    size: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    shells: VecDeque<Shell>,
    /// Shells being made now.
    making: usize,
}

impl Pool {
    pub(crate) fn new(shared: Arc<Shared>, size: usize) -> Arc<Self> {
        Arc::new(Self { shared, size, waiting: Mutex::default() })
    }

    /// A shell of this kind: a waiting one if there is one, else a new one.
    pub(crate) async fn take(self: &Arc<Self>, kind: Kind) -> Result<Shell, LaunchError> {
        if kind == POOLED {
            let ready = self.take_waiting();
            self.refill();
            if let Some(shell) = ready {
                return Ok(shell);
            }
        }
        shell::make(&self.shared, kind).await
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().shells.len()
    }

    /// Makes as many as are missing, one after another, in the background.
    pub(crate) fn refill(self: &Arc<Self>) {
        {
            let mut waiting = self.lock();
            if waiting.making > 0 || waiting.shells.len() >= self.size {
                return;
            }
            waiting.making = 1;
        }
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let filling = Filling(&pool);
            while pool.len() < pool.size {
                match shell::make(&pool.shared, POOLED).await {
                    Ok(shell) => pool.lock().shells.push_back(shell),
                    Err(error) => {
                        // The next launch meets the same error and tells it to whoever waits.
                        tracing::warn!(%error, "cannot make a blank shell ahead");
                        break;
                    }
                }
            }
            drop(filling);
        });
    }

    fn take_waiting(&self) -> Option<Shell> {
        loop {
            let shell = self.lock().shells.pop_front()?;
            if shell.is_alive() {
                return Some(shell);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every change under the lock is complete in itself.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks the pool as being filled until dropped.
struct Filling<'a>(&'a Pool);

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.lock().making = 0;
    }
}
