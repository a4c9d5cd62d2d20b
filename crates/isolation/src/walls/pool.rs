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
    /// Held while shells are being made ahead.
    filling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    shells: VecDeque<Shell>,
    /// Shells being made now.
    making: usize,
    /// Whether no more are made ahead.
    closed: bool,
}

impl Pool {
    pub(crate) fn new(shared: Arc<Shared>, size: usize) -> Arc<Self> {
        Arc::new(Self { shared, size, waiting: Mutex::default(), filling: tokio::sync::Mutex::default() })
    }

    /// A shell of this kind: a waiting one if there is one, else a new one. Whoever takes one calls
    /// [`Pool::refill`] when the launch is over: before, the next shell would compete with it.
    pub(crate) async fn take(&self, kind: Kind) -> Result<Shell, LaunchError> {
        let ready = if kind == POOLED { self.take_waiting() } else { None };
        match ready {
            Some(shell) => Ok(shell),
            None => shell::make(&self.shared, kind).await,
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().shells.len()
    }

    /// Host pids of the agents of those that wait.
    pub(crate) fn agents(&self) -> Vec<i32> {
        self.lock().shells.iter().filter_map(|shell| shell.body.agent()).map(|agent| agent.pid).collect()
    }

    /// Makes as many as are missing, one after another, in the background.
    pub(crate) fn refill(self: &Arc<Self>) {
        {
            let mut waiting = self.lock();
            if waiting.closed || waiting.making > 0 || waiting.shells.len() >= self.size {
                return;
            }
            waiting.making = 1;
        }
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let _turn = pool.filling.lock().await;
            let filling = Filling(&pool);
            while pool.wants_more() {
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

    /// Takes down every shell that waits; none is made ahead any more.
    pub(crate) async fn close(&self) {
        self.lock().closed = true;
        let _turn = self.filling.lock().await;
        let shells = std::mem::take(&mut self.lock().shells);
        for shell in shells {
            shell.body.take_down().await;
        }
    }

    fn wants_more(&self) -> bool {
        let waiting = self.lock();
        !waiting.closed && waiting.shells.len() < self.size
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
