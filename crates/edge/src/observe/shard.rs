//! One shard for each thread, as far as there are enough.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use insula_spec::ServiceName;
use insula_store::RequestRecord;

use super::clock::Clock;
use super::line::{self, Style};
use super::ring::{BLOCK, Held, Record, Ring};
use super::tally::Tally;
use crate::public::{Exchange, RequestId};

/// Most shards, whatever the host has.
const SHARDS_MAX: usize = 16;
/// Bytes of lines after which they go to the writer.
pub(super) const CHUNK: usize = 48 << 10;
/// Room for lines: a chunk and one more line of the longest kind that is not grown for.
pub(super) const ROOM: usize = CHUNK + (8 << 10);

/// Lines of one shard.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
}

/// What one thread keeps.
#[derive(Debug)]
struct Shard {
    clock: Clock,
    chunk: Chunk,
    tally: Tally,
    block: Vec<Record>,
}

/// On cache lines of its own, so that threads do not slow each other.
#[derive(Debug)]
#[repr(align(128))]
struct Own(Mutex<Shard>);

/// All shards, and the ring that they fill.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Box<[Own]>,
    ring: Ring,
    style: Option<Style>,
    /// Services that are counted apart; every shard has the same in the same order.
    names: Mutex<Vec<ServiceName>>,
}

/// Gives each thread a number at its first exchange.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn thread() -> usize {
    THREAD.with(|own| {
        if own.get() == usize::MAX {
            own.set(THREADS.fetch_add(1, Ordering::Relaxed));
        }
        own.get()
    })
}

impl Shards {
    pub(super) fn new(style: Option<Style>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shard = || Shard {
            clock: Clock::default(),
            chunk: Chunk::default(),
            tally: Tally::default(),
            block: Vec::with_capacity(BLOCK),
        };
        let count = threads.next_power_of_two().min(SHARDS_MAX);
        let shards = (0..count).map(|_| Own(Mutex::new(shard()))).collect();
        Self { shards, ring: Ring::default(), style, names: Mutex::default() }
    }

    /// Takes note of an exchange. Gives back lines that are enough to be written.
    pub(super) fn take(&self, exchange: &Exchange<'_>) -> Option<Chunk> {
        let mut guard = self.own();
        let shard = &mut *guard;
        let now = shard.clock.now();
        let service = shard.tally.add(exchange);
        shard.block.push(self.ring.record(exchange, service, now));
        if shard.block.len() == BLOCK {
            self.ring.turn(&mut shard.block);
        }
        let style = self.style?;
        if shard.chunk.bytes.capacity() == 0 {
            shard.chunk.bytes.reserve(ROOM);
        }
        line::write(&mut shard.chunk.bytes, style, exchange, &shard.clock);
        shard.chunk.lines += 1;
        let full = shard.chunk.bytes.len() >= CHUNK;
        full.then(|| std::mem::take(&mut shard.chunk))
    }

    /// The lines that wait in all shards.
    pub(super) fn sweep(&self) -> impl Iterator<Item = Chunk> + '_ {
        let chunks = self.shards.iter().map(|shard| std::mem::take(&mut lock(&shard.0).chunk));
        chunks.filter(|chunk| chunk.lines > 0)
    }

    pub(super) fn register<'a>(&self, services: impl IntoIterator<Item = &'a ServiceName>) {
        let mut names = lock(&self.names);
        for service in services {
            if names.len() < Tally::SERVICES_MAX && !names.contains(service) {
                names.push(service.clone());
                self.shards.iter().for_each(|shard| lock(&shard.0).tally.register(service.clone()));
            }
        }
    }

    /// Everything counted so far.
    pub(super) fn tally(&self) -> Tally {
        self.shards.iter().fold(Tally::default(), |mut sum, shard| {
            sum.merge(&lock(&shard.0).tally);
            sum
        })
    }

    pub(super) fn find(&self, id: RequestId) -> Option<RequestRecord> {
        let in_shards = || {
            let in_one = |shard: &Own| lock(&shard.0).block.iter().find(|r| r.is(id)).copied();
            self.shards.iter().find_map(in_one)
        };
        let record = in_shards().or_else(|| self.ring.find(id))?;
        Some(self.ring.tell(&record, &lock(&self.names)))
    }

    pub(super) fn held(&self) -> Held {
        let waiting = self.shards.iter().map(|shard| {
            let shard = lock(&shard.0);
            Held::of(shard.block.len(), shard.block.first())
        });
        waiting.fold(self.ring.held(), Held::and)
    }

    fn own(&self) -> MutexGuard<'_, Shard> {
        // The number of shards is a power of two.
        lock(&self.shards[thread() & (self.shards.len() - 1)].0)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is kept here is ever half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
