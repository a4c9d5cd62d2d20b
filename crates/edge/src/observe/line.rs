//! One access line, written without allocation. The forms are in `docs/reference/observability.md`.

use std::time::Duration;

use super::clock::Clock;
use super::{LineFormat, path};
use crate::public::{Exchange, Protocol, push_address};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) format: LineFormat,
    /// Whether the query is shown.
    pub(super) query: bool,
}

/// Appends one line.
pub(super) fn write(out: &mut Vec<u8>, style: Style, exchange: &Exchange<'_>, clock: &Clock) {
    let target = if style.query { exchange.target } else { path(exchange.target) };
    match style.format {
        LineFormat::Text => text(out, exchange, target, clock),
        LineFormat::Json => json(out, exchange, target, clock),
    }
}

/// The combined format, with more fields behind it.
fn text(out: &mut Vec<u8>, e: &Exchange<'_>, target: &str, clock: &Clock) {
    push_address(out, e.peer);
    push(out, " - - [");
    push(out, clock.common());
    push(out, "] \"");
    request_line(out, e, target);
    push(out, "\" ");
    decimal(out, e.status.into());
    push(out, " ");
    decimal(out, e.bytes_out);
    push(out, " \"-\" \"-\" ");
    instance(out, e, "-");
    push(out, " ");
    seconds(out, e.total);
    push(out, " ");
    seconds(out, e.waited);
    push(out, " ");
    out.extend_from_slice(&e.id.text());
    let mut before = " ";
    for word in [e.woke.then_some("woke"), e.retried.then_some("retried"), e.error].into_iter().flatten() {
        push(out, before);
        push(out, word);
        before = ",";
    }
    push(out, if before == " " { " -\n" } else { "\n" });
}

fn request_line(out: &mut Vec<u8>, e: &Exchange<'_>, target: &str) {
    match (e.protocol, e.method) {
        (Protocol::Tcp, _) => push(out, "TCP"),
        (_, "") => push(out, "-"),
        (_, method) => {
            escaped(out, method, escape_text);
            push(out, " ");
            escaped(out, target, escape_text);
            push(out, " ");
            push(out, e.version);
        }
    }
}

/// One object. Keys stand in this order in every line.
fn json(out: &mut Vec<u8>, e: &Exchange<'_>, target: &str, clock: &Clock) {
    push(out, "{\"time\":\"");
    push(out, clock.rfc3339());
    push(out, ".");
    let millis = clock.millis();
    push(out, ["00", "0", ""][usize::from(millis > 9) + usize::from(millis > 99)]);
    decimal(out, millis);
    push(out, "Z\",\"request\":\"");
    out.extend_from_slice(&e.id.text());
    push(out, "\",\"peer\":\"");
    push_address(out, e.peer);
    push(out, "\",\"instance\":\"");
    instance(out, e, "");
    push(out, "\",\"protocol\":\"");
    push(out, if e.protocol == Protocol::Tcp { "TCP" } else { e.version });
    push(out, "\",\"method\":\"");
    escaped(out, e.method, escape_json);
    push(out, "\",\"target\":\"");
    escaped(out, target, escape_json);
    push(out, "\"");
    json_numbers(out, e);
    match e.error {
        None => push(out, "null}\n"),
        Some(code) => {
            push(out, "\"");
            push(out, code);
            push(out, "\"}\n");
        }
    }
}

/// The fields behind the texts, up to the value of `error`.
fn json_numbers(out: &mut Vec<u8>, e: &Exchange<'_>) {
    push(out, ",\"status\":");
    decimal(out, e.status.into());
    push(out, ",\"bytes_in\":");
    decimal(out, e.bytes_in);
    push(out, ",\"bytes_out\":");
    decimal(out, e.bytes_out);
    push(out, ",\"seconds\":");
    seconds(out, e.total);
    push(out, ",\"waited\":");
    seconds(out, e.waited);
    push(out, if e.woke { ",\"woke\":true" } else { ",\"woke\":false" });
    push(out, if e.retried { ",\"retried\":true,\"error\":" } else { ",\"retried\":false,\"error\":" });
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn decimal(out: &mut Vec<u8>, number: u64) {
    push(out, itoa::Buffer::new().format(number));
}

fn instance(out: &mut Vec<u8>, e: &Exchange<'_>, none: &str) {
    match e.instance {
        None => push(out, none),
        Some(name) => {
            push(out, name.service.as_str());
            push(out, ":");
            push(out, name.id.as_str());
        }
    }
}

/// Seconds with six digits behind the point.
fn seconds(out: &mut Vec<u8>, span: Duration) {
    decimal(out, span.as_secs());
    let mut digits = *b".000000";
    let mut micros = span.subsec_micros();
    for digit in digits[1..].iter_mut().rev() {
        // Below 10, so that it fits.
        *digit = b'0' + u8::try_from(micros % 10).unwrap_or(0);
        micros /= 10;
    }
    out.extend_from_slice(&digits);
}

/// Appends a text, with `escape` for every byte that may not stand for itself.
fn escaped(out: &mut Vec<u8>, text: &str, escape: fn(&mut Vec<u8>, u8)) {
    let plain = |b: u8| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\';
    if text.bytes().all(plain) {
        return push(out, text);
    }
    for byte in text.bytes() {
        if plain(byte) { out.push(byte) } else { escape(out, byte) }
    }
}

/// As nginx does.
fn escape_text(out: &mut Vec<u8>, byte: u8) {
    push(out, "\\x");
    out.extend_from_slice(&hex(byte));
}

/// Bytes of UTF-8 beyond ASCII stand for themselves.
fn escape_json(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        0x80.. => out.push(byte),
        _ => {
            push(out, "\\u00");
            out.extend_from_slice(&hex(byte));
        }
    }
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]
}

/// An address that nobody has, for tests.
#[cfg(test)]
pub(super) const NOBODY: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
