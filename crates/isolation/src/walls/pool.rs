//! Bounded pools of blank shells, refilled as they are taken.
//!
//! A shell costs about as much as a launch. Made while a request waits for its wake it would take the processor
//! from it, so a refill waits until nobody is being woken ([`Wakes`]).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use insula_linux::watched::Watched;
use insula_spec::{Driver, Level, Network};
use tokio_util::task::AbortOnDropHandle;

use super::profile;
use super::raise;
use super::shell::{self, Shell};
use super::wakes::{Wake, Wakes};
use super::{Kind, List, Shared};
use crate::contract::LaunchError;

/// The kind that is kept ahead from the start: the default one. Any other is once it was expected or asked for.
const POOLED: Kind = Kind { level: Level::Namespace, network: Network::Isolated, list: List::Own };

/// Shells that wait. Each costs the memory of an idle agent and its launchpad.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// How many of each kind.
    size: usize,
    waiting: Mutex<Waiting>,
    /// Held while shells are being made ahead.
    filling: tokio::sync::Mutex<()>,
    wakes: Wakes,
}

/// Blank shells of one kind. Each is used by one instance, until its walls are taken down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmShells {
    /// Levels whose launches take them.
    pub levels: Vec<Level>,
    /// The network that is in them.
    pub network: Network,
    /// The program that makes the container, where that is not the agent.
    pub driver: Option<Driver>,
    /// How many are kept.
    pub kept: usize,
    /// Host pids of the agents of those that wait.
    pub agents: Vec<i32>,
}

#[derive(Debug, Default)]
struct Waiting {
    shells: Vec<(Kind, VecDeque<Kept>)>,
    /// Whether shells are being made now.
    making: bool,
    /// Whether no more are made ahead.
    closed: bool,
}

/// A shell that waits, and whoever watches over it.
#[derive(Debug)]
struct Kept {
    shell: Shell,
    _watch: AbortOnDropHandle<()>,
}

impl Kept {
    /// For whoever takes it; nobody watches over it any more.
    fn into_shell(self) -> Shell {
        self.shell
    }
}

impl Waiting {
    /// The shells of this kind, from now on kept ahead.
    fn of(&mut self, kind: Kind) -> &mut VecDeque<Kept> {
        let at = self.shells.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            self.shells.push((kind, VecDeque::new()));
            self.shells.len() - 1
        });
        &mut self.shells[at].1
    }

    fn all(&self) -> impl Iterator<Item = &Shell> {
        self.shells.iter().flat_map(|(_, shells)| shells).map(|kept| &kept.shell)
    }

    /// Takes out those whose agent ended. Each then takes down what it has on the host.
    fn without_dead(&mut self) -> Vec<Kept> {
        let mut dead = Vec::new();
        for (_, shells) in &mut self.shells {
            let (alive, ended) = std::mem::take(shells).into_iter().partition(|kept| kept.shell.is_alive());
            *shells = alive;
            dead.extend::<VecDeque<_>>(ended);
        }
        dead
    }
}

impl Pool {
    pub(crate) fn new(shared: Arc<Shared>, size: usize) -> Arc<Self> {
        Arc::new(Self {
            shared,
            size,
            waiting: Mutex::default(),
            filling: tokio::sync::Mutex::default(),
            wakes: Wakes::default(),
        })
    }

    /// A shell of this kind: a waiting one if there is one, else a new one. Whoever takes one says with
    /// [`Pool::wake`] how long it is needed for somebody who waits, and calls [`Pool::refill`].
    pub(crate) async fn take(&self, kind: Kind) -> Result<Shell, LaunchError> {
        match self.take_waiting(kind) {
            Some(shell) => Ok(Shell { kind, ..shell }),
            None => self.make(kind).await,
        }
    }

    /// A new one.
    pub(crate) async fn make(&self, kind: Kind) -> Result<Shell, LaunchError> {
        shell::make(&self.shared, kind, None).await
    }

    /// Who makes containers.
    pub(crate) fn driver(&self) -> Driver {
        self.shared.levels.container.driver
    }

    /// Somebody waits for a workload, until this is dropped.
    pub(crate) fn wake(&self) -> Wake {
        self.wakes.begin()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().all().count()
    }

    /// Those that wait, by kind.
    pub(crate) fn warm_shells(&self) -> Vec<WarmShells> {
        let pid = |kept: &Kept| kept.shell.body.agent().map(|agent| agent.pid);
        let of = |(kind, shells): &(Kind, VecDeque<Kept>)| WarmShells {
            levels: kind.used_by(),
            network: kind.network,
            driver: kind.driver(),
            kept: self.size,
            agents: shells.iter().filter_map(pid).collect(),
        };
        self.lock().shells.iter().map(of).collect()
    }

    /// Keeps the default kind ahead from now on.
    pub(crate) fn warm(self: &Arc<Self>) {
        self.lock().of(POOLED);
        self.refill();
    }

    /// Keeps shells for this level ahead from now on, as if one had been asked for.
    pub(crate) fn expect(self: &Arc<Self>, level: Level, network: Network) {
        // What is wrong with it, a launch will tell.
        let Ok(list) = profile::list(level, None, self.driver()) else { return };
        self.lock().of(Kind { level, network, list }.of_shell());
        self.refill();
    }

    /// Makes as many as are missing, one after another, in the background.
    pub(crate) fn refill(self: &Arc<Self>) {
        {
            let mut waiting = self.lock();
            if waiting.making || missing(&waiting, self.size).is_none() {
                return;
            }
            waiting.making = true;
        }
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let _turn = pool.filling.lock().await;
            let filling = Filling(&pool);
            while let Some(kind) = pool.next_missing().await {
                match raise::make_ahead(&pool.shared, kind).await {
                    Ok(shell) => pool.keep(kind, shell),
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

    /// Lets a shell wait. What it has on the host goes when its agent is killed; the next launch has another one made.
    fn keep(self: &Arc<Self>, kind: Kind, shell: Shell) {
        let (ended, pool) = (shell.body.agent_pidfd(), Arc::downgrade(self));
        let watch = tokio::spawn(async move {
            match ended.and_then(Watched::new) {
                Ok(agent) => drop(agent.readable().await),
                Err(error) => return tracing::warn!(%error, "a blank shell is not watched over"),
            }
            let dead = pool.upgrade().map(|pool| pool.lock().without_dead()).unwrap_or_default();
            for kept in dead {
                tracing::warn!(key = kept.shell.body.key, "a blank shell ended while it waited");
            }
        });
        self.lock().of(kind).push_back(Kept { shell, _watch: AbortOnDropHandle::new(watch) });
    }

    /// The kind of the next shell to make, when there is time for it.
    async fn next_missing(&self) -> Option<Kind> {
        missing(&self.lock(), self.size)?;
        self.wakes.over().await;
        // What was missing may not be any more, and the other way round.
        missing(&self.lock(), self.size)
    }

    /// Takes down every shell that waits; none is made ahead any more.
    pub(crate) async fn close(&self) {
        self.lock().closed = true;
        let _turn = self.filling.lock().await;
        let shells = std::mem::take(&mut self.lock().shells);
        for kept in shells.into_iter().flat_map(|(_, shells)| shells) {
            kept.into_shell().body.take_down().await;
        }
    }

    fn take_waiting(&self, kind: Kind) -> Option<Shell> {
        if self.size == 0 {
            return None;
        }
        loop {
            let shell = self.lock().of(kind.of_shell()).pop_front()?.into_shell();
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

/// A kind of which fewer wait than should.
fn missing(waiting: &Waiting, size: usize) -> Option<Kind> {
    let lacks = |(_, shells): &&(Kind, VecDeque<Kept>)| shells.len() < size;
    waiting.shells.iter().filter(|_| !waiting.closed).find(lacks).map(|(kind, _)| *kind)
}

/// Marks the pool as being filled until dropped.
struct Filling<'a>(&'a Pool);

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.lock().making = false;
    }
}
