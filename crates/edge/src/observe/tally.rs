//! What is counted of exchanges, by service.

use std::collections::HashMap;
use std::time::Duration;

use insula_spec::ServiceName;

use crate::public::{Exchange, Protocol};

/// Upper bounds of the buckets of all histograms, in microseconds; a last bucket takes the rest.
pub(super) const BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;
/// Classes of a status: 1xx to 5xx.
pub(super) const CLASSES: usize = 5;

/// How often something took how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Histogram {
    pub(super) buckets: [u64; BUCKETS],
    /// Nanoseconds.
    pub(super) sum: u64,
}

impl Histogram {
    fn add(&mut self, span: Duration) {
        self.buckets[bucket(span)] += 1;
        self.sum = self.sum.wrapping_add(nanos(span));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.sum = self.sum.wrapping_add(other.sum);
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, n)| *sum += n);
    }
}

/// What is counted of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// `None` for all services that have no row of their own, and for requests that reached none.
    pub(super) service: Option<ServiceName>,
    /// By class of the status: how long they took.
    pub(super) requests: [Histogram; CLASSES],
    /// How long those waited that had to.
    pub(super) waits: Histogram,
    pub(super) woke: u64,
    pub(super) retried: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// Raw TCP connections that are over.
    pub(super) connections: u64,
    /// By code of what went wrong.
    pub(super) errors: Vec<(&'static str, u64)>,
}

impl Row {
    fn add(&mut self, e: &Exchange<'_>) {
        match e.protocol {
            Protocol::Tcp => self.connections += 1,
            _ => self.requests[class(e.status)].add(e.total),
        }
        self.bytes_in += e.bytes_in;
        self.bytes_out += e.bytes_out;
        if !e.waited.is_zero() {
            self.waits.add(e.waited);
        }
        self.woke += u64::from(e.woke);
        self.retried += u64::from(e.retried);
        if let Some(code) = e.error {
            self.error(code, 1);
        }
    }

    fn error(&mut self, code: &'static str, times: u64) {
        match self.errors.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += times,
            None => self.errors.push((code, times)),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.requests.iter_mut().zip(&other.requests).for_each(|(sum, n)| sum.merge(n));
        self.waits.merge(&other.waits);
        self.woke += other.woke;
        self.retried += other.retried;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.connections += other.connections;
        other.errors.iter().for_each(|(code, times)| self.error(code, *times));
    }
}

/// Rows by service; the first is for everything that has none of its own.
#[derive(Debug)]
pub(crate) struct Tally {
    rows: Vec<Row>,
    index: HashMap<ServiceName, usize>,
    /// The row of the last exchange: the next one is often for the same service.
    last: usize,
}

impl Default for Tally {
    fn default() -> Self {
        Self { rows: vec![Row::default()], index: HashMap::new(), last: 0 }
    }
}

impl Tally {
    /// Most services with rows of their own.
    pub(super) const SERVICES_MAX: usize = 200;

    /// Gives a service a row of its own.
    pub(super) fn register(&mut self, service: ServiceName) {
        self.index.insert(service.clone(), self.rows.len());
        self.rows.push(Row { service: Some(service), ..Row::default() });
    }

    /// Counts an exchange. Answers the number of its row.
    pub(super) fn add(&mut self, exchange: &Exchange<'_>) -> usize {
        let at = exchange.instance.map_or(0, |name| self.row_of(&name.service));
        if let Some(row) = self.rows.get_mut(at) {
            row.add(exchange);
        }
        at
    }

    fn row_of(&mut self, service: &ServiceName) -> usize {
        let again = self.rows.get(self.last).is_some_and(|row| row.service.as_ref() == Some(service));
        if !again {
            self.last = self.index.get(service).copied().unwrap_or(0);
        }
        self.last
    }

    /// Adds the rows of another one with the same services in the same order.
    pub(super) fn merge(&mut self, other: &Self) {
        for (at, row) in other.rows.iter().enumerate() {
            match self.rows.get_mut(at) {
                Some(sum) => sum.merge(row),
                None => self.rows.push(row.clone()),
            }
        }
    }

    /// All rows, the common one first.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }
}

fn bucket(span: Duration) -> usize {
    let micros = span.as_micros();
    BOUNDS.iter().position(|bound| micros <= u128::from(*bound)).unwrap_or(BOUNDS.len())
}

fn class(status: u16) -> usize {
    usize::from(status / 100).clamp(1, CLASSES) - 1
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
