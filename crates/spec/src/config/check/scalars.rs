//! Numbers, words, durations, sizes, levels.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::kind::ProblemKind;
use super::super::raw::{RawDuration, RawQuota, RawSize};
use super::super::read::{Given, Integer};
use super::super::similar::similar;
use super::Check;
use crate::{ByteSize, CpuQuota, CpuWeight, Level, LevelChoice, parse_bytes, parse_duration};

/// Longest duration that any key takes, so that adding it to a clock cannot overflow.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);
/// Least memory with which a program can be started at all, and least disk that can be counted in blocks.
const SIZE_MIN: ByteSize = ByteSize::mib(1);
/// Most memory that a limit can be set to; beyond it kernels round down to "no limit".
const SIZE_MAX: ByteSize = ByteSize::mib(1 << 30);
/// Most CPUs that a quota can name.
const CPUS_MAX: u32 = 1024;

const LEVELS: &[&str] = &["auto", "process", "namespace", "container", "gvisor", "wasm", "vm"];
const FLOORS: &[&str] = &["process", "namespace", "container", "gvisor", "wasm", "vm"];

impl Check<'_> {
    /// A whole number within a range.
    pub(super) fn number<T>(&mut self, given: &Given<Integer>, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let value = given.value.0;
        let fits = T::try_from(value).ok().filter(|number| range.contains(number));
        if fits.is_none() {
            let (min, max) = (range.start().to_string(), range.end().to_string());
            self.problem(&given.at, ProblemKind::OutOfRange { value: value.to_string(), min, max });
        }
        fits
    }

    /// A duration of at least `min` and at most a year.
    pub(super) fn duration(&mut self, given: &Given<RawDuration>, min: Duration) -> Option<Duration> {
        let (parsed, typed) = match &given.value {
            RawDuration::Text(text) => (parse_duration(text), text.clone()),
            RawDuration::Seconds(Integer(seconds)) => {
                let text = seconds.to_string();
                (Ok(u64::try_from(*seconds).map_or(Duration::MAX, Duration::from_secs)), text)
            }
        };
        match parsed {
            Ok(duration) if (min..=LONGEST).contains(&duration) => return Some(duration),
            Ok(_) => {
                let value = format!("`{typed}`");
                let (min, max) = (human(min), human(LONGEST));
                self.problem(&given.at, ProblemKind::OutOfRange { value, min, max });
            }
            Err(e) => self.problem(&given.at, ProblemKind::Unit(e)),
        }
        None
    }

    /// A duration with a default.
    pub(super) fn duration_or(
        &mut self,
        given: Option<&Given<RawDuration>>,
        min: Duration,
        default: Duration,
    ) -> Duration {
        given.and_then(|given| self.duration(given, min)).unwrap_or(default)
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        given: Option<&Given<String>>,
        words: (&'static [&'static str], &[T]),
    ) -> Option<T> {
        let given = given?;
        let found = words.0.iter().position(|word| *word == given.value).and_then(|at| words.1.get(at));
        if found.is_none() {
            self.unknown_word(given, words.0);
        }
        found.copied()
    }

    fn unknown_word(&mut self, given: &Given<String>, known: &'static [&'static str]) {
        let similar = similar(&given.value, known.iter().copied()).map(str::to_owned);
        self.problem(&given.at, ProblemKind::UnknownWord { word: given.value.clone(), known, similar });
    }

    /// An isolation level, or `auto`.
    pub(super) fn isolation(&mut self, given: Option<&Given<String>>) -> Option<LevelChoice> {
        let given = given?;
        let level = given.value.parse().ok();
        if level.is_none() {
            self.unknown_word(given, LEVELS);
        }
        level
    }

    /// An isolation level as a floor.
    pub(super) fn floor(&mut self, given: Option<&Given<String>>) -> Option<Level> {
        let given = given?;
        let level = given.value.parse().ok();
        if level.is_none() {
            self.unknown_word(given, FLOORS);
        }
        level
    }

    /// A limit in bytes from whichever of the two keys is there; `key` is the one with a unit.
    pub(super) fn size(
        &mut self,
        text: Option<&Given<RawSize>>,
        mib: Option<&Given<Integer>>,
        key: &'static str,
    ) -> Option<ByteSize> {
        if let (Some(_), Some(mib)) = (text, mib) {
            self.problem(&mib.at, ProblemKind::SaidTwice(key));
        }
        if let Some(given) = mib {
            let most = SIZE_MAX.0 / ByteSize::mib(1).0;
            return self.number(given, 1..=most).map(ByteSize::mib);
        }
        let given = text?;
        let RawSize(text) = &given.value;
        match parse_bytes(text) {
            Ok(size) if (SIZE_MIN..=SIZE_MAX).contains(&size) => return Some(size),
            Ok(_) => {
                let value = format!("`{text}`");
                let (min, max) = (SIZE_MIN.to_string(), SIZE_MAX.to_string());
                self.problem(&given.at, ProblemKind::OutOfRange { value, min, max });
            }
            Err(e) => self.problem(&given.at, ProblemKind::Unit(e)),
        }
        None
    }

    /// A CPU weight, brought into range with a note.
    pub(super) fn cpu_weight(&mut self, given: &Given<Integer>) -> CpuWeight {
        let asked = given.value.0;
        let (weight, _) = CpuWeight::clamped(u64::try_from(asked.max(0)).unwrap_or(u64::MAX));
        if i128::from(weight.get()) != asked {
            let (min, max) = (CpuWeight::RANGE.start(), CpuWeight::RANGE.end());
            let used = weight.get();
            self.note(&given.at, &format!("{asked} is not between {min} and {max}; {used} is used"));
        }
        weight
    }

    /// A bound on CPU time.
    pub(super) fn cpu_quota(&mut self, given: &Given<RawQuota>) -> Option<CpuQuota> {
        let (typed, cpus) = match &given.value {
            RawQuota::Text(text) => {
                let percent = text.trim().strip_suffix('%').and_then(|number| decimal(number.trim()));
                (format!("`{text}`"), percent.map(|number| number / 100.0))
            }
            RawQuota::Cpus(number) => (number.clone(), decimal(number)),
        };
        let Some(cpus) = cpus else {
            self.problem(&given.at, ProblemKind::Quota(typed.trim_matches('`').to_owned()));
            return None;
        };
        // A quota is CPU time per time, so that the conversion of seconds serves here too.
        let millis = Duration::try_from_secs_f64(cpus).ok().map(|time| time.as_millis());
        let millis = millis.and_then(|m| u32::try_from(m).ok()).filter(|m| *m <= CPUS_MAX * 1000);
        let quota = millis.and_then(CpuQuota::from_millis);
        if quota.is_none() {
            let (min, max) = ("0.01 CPUs (1%)".to_owned(), format!("{CPUS_MAX} CPUs ({}%)", CPUS_MAX * 100));
            self.problem(&given.at, ProblemKind::OutOfRange { value: typed, min, max });
        }
        quota
    }
}

/// A finite number.
fn decimal(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A duration as it would be typed.
pub(in crate::config) fn human(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.as_millis());
    match seconds {
        _ if duration.is_zero() => "0s".to_owned(),
        _ if duration.subsec_nanos() > 0 || seconds == 0 => format!("{millis}ms"),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}
