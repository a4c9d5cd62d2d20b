//! Exchanges worth a record that lasts: those that waited, woke, were retried, failed, or were slow.
//!
//! ```text
//! exchange ──notable?──► bucket of its instance ──► bounded queue ──► Recorder ──► store
//!                              │ empty: counted        │ full: counted
//! ```
//! Exchanges that reached no instance share one bucket, so that made-up names cost no memory.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use insula_spec::InstanceName;
use insula_store::{RequestRecord, Store};
use tokio::sync::mpsc;

use super::path;
use super::shard::lock;
use crate::public::{Exchange, Protocol};

/// Records that an instance may have at once.
const BURST: u32 = 20;
/// Time after which it may have one more.
const REFILL: Duration = Duration::from_secs(5);
/// Most buckets. When there are more, those that are full go.
const BUCKETS_MAX: usize = 4096;
/// Records that may wait for the store.
const QUEUE: usize = 1024;
/// Records written together.
const BATCH: usize = 64;

/// How many more records one instance may have.
#[derive(Debug)]
struct Bucket {
    left: u32,
    refilled: Instant,
    /// Not recorded since the last one that was.
    skipped: u64,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { left: BURST, refilled: now, skipped: 0 }
    }

    fn refill(&mut self, now: Instant) {
        let due = now.duration_since(self.refilled).as_millis() / REFILL.as_millis();
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        if self.left.saturating_add(due) >= BURST {
            (self.left, self.refilled) = (BURST, now);
        } else {
            self.left += due;
            self.refilled += REFILL * due;
        }
    }

    /// How many were skipped before this one, if it may be recorded.
    fn take(&mut self, now: Instant) -> Option<u64> {
        self.refill(now);
        if self.left == 0 {
            self.skipped += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.skipped))
    }
}

/// The buckets, and the way out.
#[derive(Debug)]
struct Limiter {
    buckets: HashMap<Option<InstanceName>, Bucket>,
    out: Option<mpsc::Sender<RequestRecord>>,
}

impl Limiter {
    fn bucket(&mut self, key: Option<&InstanceName>, now: Instant) -> &mut Bucket {
        let key = key.cloned();
        if self.buckets.len() >= BUCKETS_MAX && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| {
                bucket.refill(now);
                bucket.left < BURST || bucket.skipped > 0
            });
        }
        let key = if self.buckets.len() >= BUCKETS_MAX { None } else { key };
        self.buckets.entry(key).or_insert_with(|| Bucket::full(now))
    }
}

/// Picks notable exchanges.
#[derive(Debug)]
pub(super) struct Notable {
    slow: Duration,
    limiter: Mutex<Limiter>,
    lost: AtomicU64,
}

/// Writes notable requests to the store.
#[derive(Debug)]
pub struct Recorder {
    queue: mpsc::Receiver<RequestRecord>,
}

impl Notable {
    pub(super) fn new(slow: Duration) -> (Self, Recorder) {
        let (out, queue) = mpsc::channel(QUEUE);
        let limiter = Mutex::new(Limiter { buckets: HashMap::new(), out: Some(out) });
        (Self { slow, limiter, lost: AtomicU64::new(0) }, Recorder { queue })
    }

    /// Queues a record of it if it is notable and there are not too many.
    pub(super) fn consider(&self, e: &Exchange<'_>) {
        if self.is_notable(e) {
            self.queue(e, Instant::now());
        }
    }

    fn is_notable(&self, e: &Exchange<'_>) -> bool {
        let long = e.protocol != Protocol::Tcp && e.status != 101 && e.total > self.slow;
        // A client that leaves is no failure; it is in the ring.
        let failed = e.status >= 500 || (e.error.is_some() && e.status != 499);
        failed || long || e.woke || e.retried || !e.waited.is_zero()
    }

    fn queue(&self, e: &Exchange<'_>, now: Instant) {
        let key = e.instance.filter(|_| e.error.is_none_or(|code| !code.starts_with("unknown_")));
        let mut limiter = lock(&self.limiter);
        let taken = limiter.bucket(key, now).take(now).map(|skipped| record(e, skipped));
        let sent = taken.and_then(|record| limiter.out.as_ref()?.try_send(record).ok());
        drop(limiter);
        if sent.is_none() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Lets the recorder end when it has written what is queued.
    pub(super) fn close(&self) {
        lock(&self.limiter).out = None;
    }
}

fn record(e: &Exchange<'_>, skipped: u64) -> RequestRecord {
    let now = SystemTime::now();
    RequestRecord {
        id: e.id.to_string(),
        time: now.checked_sub(e.total).unwrap_or(now),
        instance: e.instance.cloned(),
        method: e.method.to_owned(),
        path: path(e.target).to_owned(),
        status: e.status,
        error: e.error.map(str::to_owned),
        waited: e.waited,
        total: e.total,
        bytes_in: e.bytes_in,
        bytes_out: e.bytes_out,
        woke: e.woke,
        retried: e.retried,
        skipped,
    }
}

impl Recorder {
    /// Writes until [`Observe::close`](super::Observe::close) was called and the queue is empty.
    pub async fn run(mut self, store: Store) {
        let mut batch = Vec::new();
        while self.queue.recv_many(&mut batch, BATCH).await > 0 {
            let count = batch.len();
            if let Err(error) = store.record_requests(std::mem::take(&mut batch)).await {
                tracing::warn!(%error, count, "notable requests are not recorded");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_a_burst_and_then_one_at_a_time() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        let taken = (0..50).filter(|_| bucket.take(start).is_some()).count();
        assert_eq!((taken, bucket.skipped), (20, 30));
        assert_eq!(bucket.take(start + REFILL), Some(30), "the next one tells of those before it");
        assert_eq!(bucket.take(start + REFILL), None);
        let later = start + REFILL * 1000;
        assert_eq!((0..50).filter(|_| bucket.take(later).is_some()).count(), 20);
    }

    #[test]
    fn buckets_are_bounded_and_the_idle_ones_go_first() {
        let (notable, _recorder) = Notable::new(Duration::from_secs(1));
        let mut limiter = lock(&notable.limiter);
        let now = Instant::now();
        let name = |n: usize| format!("notes:t{n}").parse::<InstanceName>().unwrap();
        for n in 0..2 * BUCKETS_MAX {
            assert!(limiter.bucket(Some(&name(n)), now).take(now).is_some() || n >= BUCKETS_MAX);
        }
        assert!(limiter.buckets.len() <= BUCKETS_MAX + 1);
        let later = now + REFILL * BURST;
        limiter.bucket(Some(&name(0)), later).take(later);
        limiter.bucket(Some(&name(3 * BUCKETS_MAX)), later).take(later);
        assert!(limiter.buckets.len() < BUCKETS_MAX, "{} kept", limiter.buckets.len());
    }
}
