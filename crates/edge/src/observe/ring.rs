//! The last exchanges, in compact records.
//!
//! ```text
//! shard fills a block ──full──► newest ┊ ... 256 blocks ... ┊ oldest ──► its room is used for the next block
//! ```
//! Memory grows with the first 65,536 exchanges to 6 MiB, and then no more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use insula_spec::{InstanceName, ServiceName};
use insula_store::RequestRecord;

use super::clock::{Micros, system};
use super::path;
use super::shard::lock;
use crate::public::{Exchange, RequestId};

/// Records in one block.
pub(super) const BLOCK: usize = 256;
/// Full blocks that are kept.
const BLOCKS: usize = 256;
/// Bytes for the names and the path of one exchange.
const TEXT: usize = 55;

const WOKE: u8 = 1;
const RETRIED: u8 = 2;
/// The name of the instance did not fit.
const CUT: u8 = 4;

/// Methods that have a number; 0 is none of them.
const METHODS: [&str; 10] =
    ["", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];

/// One exchange in 96 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    id: u64,
    ended: Micros,
    /// Microseconds; more than 71 minutes are cut.
    total: u32,
    waited: u32,
    /// More than 4 GiB are cut.
    bytes_in: u32,
    bytes_out: u32,
    status: u16,
    /// Number of its service, from 1; 0 when it has none and `text` begins with the whole name.
    service: u16,
    flags: u8,
    method: u8,
    /// Number of its code, from 1.
    error: u8,
    /// Bytes of `text` that are a name, and those that are a path after it.
    name: u8,
    path: u8,
    text: [u8; TEXT],
}

impl Record {
    /// Whether it is the one of this id.
    pub(super) fn is(&self, id: RequestId) -> bool {
        self.id == id.number()
    }
}

/// What a ring holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// How many exchanges.
    pub count: usize,
    /// When the oldest of them ended.
    pub since: Option<SystemTime>,
}

impl Held {
    pub(super) fn of(count: usize, oldest: Option<&Record>) -> Self {
        Self { count, since: oldest.map(|record| system(record.ended)) }
    }

    pub(super) fn and(self, other: Self) -> Self {
        let since = [self.since, other.since].into_iter().flatten().min();
        Self { count: self.count + other.count, since }
    }
}

/// The full blocks, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ring {
    blocks: Mutex<VecDeque<Arc<Vec<Record>>>>,
    /// Codes of what went wrong, in the order of their first use.
    codes: RwLock<Vec<&'static str>>,
}

impl Ring {
    /// The record of an exchange that has just ended. `service` is its number, from 1; 0 when it has none.
    pub(super) fn record(&self, e: &Exchange<'_>, service: usize, now: Micros) -> Record {
        let mut text = [0; TEXT];
        let mut at = 0;
        let mut put = |part: &str| {
            let part = &part.as_bytes()[..part.len().min(TEXT - at)];
            text[at..at + part.len()].copy_from_slice(part);
            at += part.len();
            part.len()
        };
        let (mut name, mut whole) = (0, 0);
        if let Some(instance) = e.instance {
            if service == 0 {
                name += put(instance.service.as_str()) + put(":");
                whole += instance.service.as_str().len() + 1;
            }
            name += put(instance.id.as_str());
            whole += instance.id.as_str().len();
        }
        let path = put(path(e.target));
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        Record {
            id: e.id.number(),
            ended: now,
            total: micros(e.total),
            waited: micros(e.waited),
            bytes_in: u32::try_from(e.bytes_in).unwrap_or(u32::MAX),
            bytes_out: u32::try_from(e.bytes_out).unwrap_or(u32::MAX),
            status: e.status,
            service: u16::try_from(service).unwrap_or(0),
            flags: flag(e.woke, WOKE) | flag(e.retried, RETRIED) | flag(name < whole, CUT),
            method: number(METHODS.iter().position(|m| *m == e.method)),
            error: e.error.map_or(0, |code| self.code(code)),
            name: number(Some(name)),
            path: number(Some(path)),
            text,
        }
    }

    /// Takes a full block and gives an empty one for it.
    pub(super) fn turn(&self, block: &mut Vec<Record>) {
        let full = Arc::new(std::mem::take(block));
        let mut blocks = lock(&self.blocks);
        blocks.push_back(full);
        let oldest = if blocks.len() > BLOCKS { blocks.pop_front() } else { None };
        drop(blocks);
        // Whoever searches it meanwhile keeps it; then there is a new one.
        *block = oldest.and_then(Arc::into_inner).unwrap_or_default();
        block.clear();
        block.reserve(BLOCK);
    }

    pub(super) fn find(&self, id: RequestId) -> Option<Record> {
        let blocks: Vec<_> = lock(&self.blocks).iter().cloned().collect();
        blocks.iter().rev().flat_map(|block| block.iter()).find(|record| record.is(id)).copied()
    }

    pub(super) fn held(&self) -> Held {
        let blocks = lock(&self.blocks);
        let oldest = blocks.front().and_then(|block| block.first());
        Held::of(blocks.iter().map(|block| block.len()).sum(), oldest)
    }

    /// A record with all its words.
    pub(super) fn tell(&self, record: &Record, services: &[ServiceName]) -> RequestRecord {
        let (name, rest) = record.text.split_at(usize::from(record.name).min(TEXT));
        let path = &rest[..usize::from(record.path).min(rest.len())];
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let service = usize::from(record.service).checked_sub(1).and_then(|at| services.get(at));
        let name = service.map_or_else(|| text(name), |service| format!("{service}:{}", text(name)));
        let whole = record.flags & CUT == 0 && record.name > 0;
        let total = Duration::from_micros(record.total.into());
        let code = usize::from(record.error).checked_sub(1);
        RequestRecord {
            id: RequestId::of(record.id).to_string(),
            time: system(record.ended).checked_sub(total).unwrap_or(SystemTime::UNIX_EPOCH),
            instance: if whole { name.parse::<InstanceName>().ok() } else { None },
            method: METHODS.get(usize::from(record.method)).copied().unwrap_or_default().to_owned(),
            path: text(path),
            status: record.status,
            error: code.and_then(|at| self.codes().get(at).map(|code| (*code).to_owned())),
            waited: Duration::from_micros(record.waited.into()),
            total,
            bytes_in: record.bytes_in.into(),
            bytes_out: record.bytes_out.into(),
            woke: record.flags & WOKE != 0,
            retried: record.flags & RETRIED != 0,
            skipped: 0,
        }
    }

    /// The number of a code, from 1. There are some thirty of them.
    fn code(&self, code: &'static str) -> u8 {
        let of = |codes: &[&str]| codes.iter().position(|known| *known == code);
        if let Some(at) = of(&self.codes()) {
            return number(Some(at + 1));
        }
        let mut codes = self.codes.write().unwrap_or_else(PoisonError::into_inner);
        let at = of(&codes).unwrap_or_else(|| {
            codes.push(code);
            codes.len() - 1
        });
        number(Some(at + 1))
    }

    fn codes(&self) -> std::sync::RwLockReadGuard<'_, Vec<&'static str>> {
        self.codes.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}

/// A small number; what is none, or does not fit, is 0.
fn number(of: Option<usize>) -> u8 {
    of.and_then(|n| u8::try_from(n).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_takes_96_bytes() {
        assert_eq!(size_of::<Record>(), 96);
    }
}
