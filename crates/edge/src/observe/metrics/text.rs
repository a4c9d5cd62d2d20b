//! The text format of Prometheus, version 0.0.4.

use std::fmt::{self, Display, Write};

use crate::observe::tally::{BOUNDS, Histogram};

/// Name and value of labels.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// What kind of number a family holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// A page under construction, family by family.
#[derive(Debug, Default)]
pub(super) struct Page {
    out: String,
    name: &'static str,
}

impl Page {
    /// Begins a family; the samples that follow are of it.
    pub(super) fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> &mut Self {
        self.name = name;
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        self
    }

    /// A sample of the family.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.named("", labels, None, value)
    }

    /// A histogram of the family. Buckets become cumulative, nanoseconds become seconds.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        let mut sum = 0;
        for (at, count) in histogram.buckets.iter().enumerate() {
            sum += count;
            let bound = BOUNDS.get(at).map_or_else(|| "+Inf".to_owned(), |micros| seconds(micros * 1000));
            self.named("_bucket", labels, Some(&bound), sum);
        }
        self.named("_sum", labels, None, seconds(histogram.sum)).named("_count", labels, None, sum);
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.out
    }

    fn named(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        bound: Option<&str>,
        value: impl Display,
    ) -> &mut Self {
        let name = self.name;
        self.line(format_args!("{name}{suffix}"));
        let bound = bound.map(|bound| ("le", bound));
        let mut before = '{';
        for (name, text) in labels.iter().copied().chain(bound) {
            self.line(format_args!("{before}{name}=\"{}\"", Escaped(text)));
            before = ',';
        }
        self.line(format_args!("{} {value}\n", if before == '{' { "" } else { "}" }));
        self
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a text in memory does not fail.
        self.out.write_fmt(text).unwrap_or_default();
    }
}

/// The value of a label.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

/// Nanoseconds as seconds, exact and without needless zeros.
pub(super) fn seconds(nanos: u64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_look_as_the_format_asks() {
        let mut page = Page::default();
        page.family(Kind::Counter, "a_total", "Help.").sample(&[], 1);
        page.sample(&[("x", "q\"\\\n"), ("y", "")], "2.5");
        let expected = "# HELP a_total Help.\n# TYPE a_total counter\na_total 1\na_total{x=\"q\\\"\\\\\\n\",y=\"\"} 2.5\n";
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_all() {
        let mut histogram = Histogram { sum: 1_500_000_000, ..Histogram::default() };
        histogram.buckets[0] = 2;
        histogram.buckets[BOUNDS.len()] = 1;
        let mut page = Page::default();
        page.family(Kind::Histogram, "a_seconds", "Help.").histogram(&[("s", "x")], &histogram);
        let text = page.finish();
        for line in [
            "a_seconds_bucket{s=\"x\",le=\"0.0001\"} 2\n",
            "a_seconds_bucket{s=\"x\",le=\"10\"} 2\n",
            "a_seconds_bucket{s=\"x\",le=\"+Inf\"} 3\n",
            "a_seconds_sum{s=\"x\"} 1.5\n",
            "a_seconds_count{s=\"x\"} 3\n",
        ] {
            assert!(text.contains(line), "no {line} in {text}");
        }
    }

    #[test]
    fn seconds_are_exact() {
        for (nanos, text) in [(0, "0"), (1, "0.000000001"), (100_000, "0.0001"), (10_000_000_000, "10")] {
            assert_eq!(seconds(nanos), text);
        }
    }
}
