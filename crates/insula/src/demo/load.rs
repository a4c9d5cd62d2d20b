//! A small load generator: clients that each have one request at a time, each on a new connection.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::stage::http::{Answer, Place};

/// Clients at work.
#[derive(Debug)]
pub(super) struct Load {
    stop: CancellationToken,
    clients: JoinSet<Outcome>,
}

/// What came of all requests.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Answered well.
    pub(super) served: usize,
    /// Not answered, or not well: when it began and why it failed.
    pub(super) failed: Vec<(Instant, String)>,
    /// When each good answer came. The demo runs for seconds, so this stays small.
    pub(super) good: Vec<Instant>,
}

impl Outcome {
    /// Failures of requests that began after this moment.
    pub(super) fn failed_after(&self, moment: Instant) -> usize {
        self.failed.iter().filter(|(began, _)| *began > moment).count()
    }

    /// Time from this moment to the first good answer after it.
    pub(super) fn answered_after(&self, moment: Instant) -> Option<Duration> {
        self.good.iter().filter(|t| **t > moment).min().map(|t| *t - moment)
    }
}

impl Load {
    /// Begins with so many clients.
    pub(super) fn begin(place: &Place, path: &'static str, clients: usize) -> Self {
        let stop = CancellationToken::new();
        let mut set = JoinSet::new();
        for _ in 0..clients {
            set.spawn(client(place.clone(), path, stop.clone()));
        }
        Self { stop, clients: set }
    }

    /// Lets every client finish its request; what came of them.
    pub(super) async fn end(self) -> Outcome {
        self.stop.cancel();
        let mut all = Outcome::default();
        for one in self.clients.join_all().await {
            all.served += one.served;
            all.failed.extend(one.failed);
            all.good.extend(one.good);
        }
        all
    }
}

async fn client(place: Place, path: &'static str, stop: CancellationToken) -> Outcome {
    let mut outcome = Outcome::default();
    while !stop.is_cancelled() {
        let began = Instant::now();
        match place.get(path).await.and_then(Answer::good) {
            Ok(_) => {
                outcome.served += 1;
                outcome.good.push(Instant::now());
            }
            Err(error) => outcome.failed.push((began, format!("{error:#}"))),
        }
    }
    outcome
}
