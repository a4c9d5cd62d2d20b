//! The text of a token.
//!
//! ```text
//! insula_a_0f3c9b1d2e4a_<64 hexadecimal digits: the secret>_<8: checksum>
//!        │ └ id, no secret: whoever finds a leaked token can revoke it by this
//!        └ a: admin, t: tenant
//! ```
//! The checksum is the beginning of the SHA-256 of all before it. It lets scanners tell a token from text that
//! only looks like one, and a mistyped one from a revoked one.

use std::io;

use insula_api::Bearer;
use insula_spec::Scope;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest, Sha256};

/// Bytes of an id.
const ID: usize = 6;

/// Bytes of a secret.
const SECRET: usize = 32;

/// Bytes of a checksum.
const SUM: usize = 4;

/// A token just made.
#[derive(Debug)]
pub(super) struct Minted {
    pub(super) text: Bearer,
    pub(super) id: String,
    pub(super) hash: [u8; 32],
}

/// Makes a token of random bytes.
pub(super) fn mint(scope: &Scope) -> io::Result<Minted> {
    let (mut id, mut secret) = ([0; ID], [0; SECRET]);
    fill(&mut id)?;
    fill(&mut secret)?;
    let id = hex(&id);
    let letter = letter(scope);
    let body = format!("insula_{letter}_{id}_{}", hex(&secret));
    let text = format!("{body}_{}", sum(&body));
    let hash = hash(&text);
    Ok(Minted { text: Bearer::new(text), id, hash })
}

/// The id of a text that has the form of a token; `None` for anything else.
pub(super) fn id(text: &str) -> Option<&str> {
    let (body, given) = text.rsplit_once('_')?;
    let mut parts = body.strip_prefix("insula_")?.split('_');
    let (letter, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let good = matches!(letter, "a" | "t")
        && is_hex(id, ID)
        && is_hex(secret, SECRET)
        && parts.next().is_none()
        && given == sum(body);
    good.then_some(id)
}

/// Whether a text has the form of an id.
pub(super) fn is_id(text: &str) -> bool {
    is_hex(text, ID)
}

/// What is stored of a token.
pub(super) fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn letter(scope: &Scope) -> char {
    match scope {
        Scope::Admin => 'a',
        Scope::Tenant(_) => 't',
    }
}

fn sum(body: &str) -> String {
    hex(&hash(body)[..SUM])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == 2 * bytes && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Fills a buffer from the kernel's generator.
fn fill(buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_and_no_other_text_is() {
        let minted = mint(&Scope::Tenant("notes".parse().unwrap())).unwrap();
        let text = minted.text.expose();
        assert!(text.starts_with("insula_t_") && text.len() == 9 + 12 + 1 + 64 + 1 + 8, "{text}");
        assert_eq!(id(text), Some(&*minted.id));
        for at in 0..text.len() {
            let mut other = text.to_owned();
            let byte = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
            other.replace_range(at..=at, byte);
            assert_eq!(id(&other), None, "one character off was let in: {other}");
        }
        let upper = text.to_uppercase();
        for bad in ["", "insula_", "insula_a___", "insula_a_0_0_0", &text[1..], &upper, &format!("{text} ")] {
            assert_eq!(id(bad), None, "{bad}");
        }
    }

    #[test]
    fn no_two_tokens_are_alike() {
        let all: Vec<_> = (0..100).map(|_| mint(&Scope::Admin).unwrap()).collect();
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a.hash != b.hash && a.id != b.id));
        }
        assert_eq!(format!("{:?}", all[0].text), "...");
    }
}
