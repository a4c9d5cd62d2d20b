//! Numbers as text, without allocating.

use std::net::IpAddr;

/// Appends a number in lower-case hexadecimal.
pub(crate) fn push_hex(out: &mut Vec<u8>, number: u64) {
    push_digits(out, number, 16);
}

/// Appends a number in decimal.
pub(crate) fn push_decimal(out: &mut Vec<u8>, number: u64) {
    push_digits(out, number, 10);
}

fn push_digits(out: &mut Vec<u8>, mut number: u64, base: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let from = out.len();
    loop {
        // The remainder is below 16, so the table has it.
        out.push(DIGITS[usize::try_from(number % base).unwrap_or(0)]);
        number /= base;
        if number == 0 {
            break;
        }
    }
    out[from..].reverse();
}

/// Appends an address; a mapped IPv4 address as IPv4.
pub(crate) fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            for (at, octet) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                push_decimal(out, u64::from(octet));
            }
        }
        IpAddr::V6(v6) => out.extend_from_slice(v6.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_read_as_std_writes_them() {
        for n in [0, 1, 9, 10, 255, 256, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, n);
            out.push(b' ');
            push_hex(&mut out, n);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{n} {n:x}"));
        }
        for (address, text) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("::ffff:10.0.0.255", "10.0.0.255"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            let mut out = Vec::new();
            push_address(&mut out, address.parse().unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
