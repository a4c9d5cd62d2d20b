//! The rules of the wall, as messages for `nf_tables` (`linux/netfilter/nf_tables.h`).
//!
//! ```text
//! table inet insula {
//!   chain redirect { type nat hook output priority -100
//!     udp dport 53             redirect to :PORT      every question for a name comes to us
//!     tcp dport 53             redirect to :PORT
//!     ip  daddr 127.0.0.0/8    return                 the loopback is the workload's own
//!     ip6 daddr ::1            return
//!     meta l4proto tcp         redirect to :PORT
//!   }
//!   chain rest { type filter hook output priority 0   what is not redirected fails at once
//!     ip  daddr 127.0.0.0/8    accept
//!     ip6 daddr ::1            accept
//!                              reject with icmpx admin-prohibited
//!   }
//! }
//! ```

use super::message::{Attributes, Messages};

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 0x1;
/// `NLM_F_CREATE | NLM_F_APPEND`, with the request.
const CREATE: u16 = REQUEST | 0x400 | 0x800;
/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
/// `NFPROTO_INET`.
const INET: u8 = 1;
/// `NF_INET_LOCAL_OUT`.
pub(crate) const OUTPUT: i32 = 3;
/// `NFT_RETURN`.
const RETURN: i32 = -5;
/// `NF_ACCEPT`.
pub(crate) const ACCEPT: i32 = 1;
/// `NFT_REG_1`.
const REGISTER: i32 = 1;
/// `NFT_META_NFPROTO`.
pub(crate) const FAMILY: i32 = 15;
/// `NFT_META_L4PROTO`.
pub(crate) const PROTOCOL: i32 = 16;
/// `NFT_PAYLOAD_NETWORK_HEADER`.
const NETWORK: i32 = 1;
/// `NFT_PAYLOAD_TRANSPORT_HEADER`.
pub(crate) const TRANSPORT: i32 = 2;
/// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
pub(crate) const FAMILIES: (u8, u8) = (2, 10);
/// `IPPROTO_TCP`, `IPPROTO_UDP`.
pub(crate) const PROTOCOLS: (u8, u8) = (6, 17);
const TABLE: &str = "insula";
/// Port of questions for names.
const DNS: u16 = 53;

/// A comparison of some bytes of a packet: where they are, and what they are compared with.
pub(crate) enum Match<'a> {
    Meta(i32, u8),
    /// The beginning of a text that the kernel knows of a packet.
    Begins(i32, &'a [u8]),
    Payload {
        base: i32,
        offset: i32,
        value: &'a [u8],
    },
    /// Bits of a field of four bytes.
    Masked {
        offset: i32,
        value: [u8; 4],
        mask: [u8; 4],
    },
    /// It belongs to a connection that was allowed to begin.
    Known,
}

/// What becomes of a packet.
pub(crate) enum Verdict {
    Code(i32),
    Redirect(u16),
    Reject,
    /// Leaves under the address of the host.
    Masquerade,
}

/// The whole wall, with this port of the listeners.
pub(super) fn all(port: u16) -> Messages {
    let mut all = Messages::default();
    begin(&mut all);
    chain(&mut all, ("redirect", OUTPUT), ("nat", -100));
    chain(&mut all, ("rest", OUTPUT), ("filter", 0));
    let to_dns = Match::Payload { base: TRANSPORT, offset: 2, value: &DNS.to_be_bytes() };
    for protocol in [PROTOCOLS.1, PROTOCOLS.0] {
        rule(&mut all, "redirect", &[&Match::Meta(PROTOCOL, protocol), &to_dns], &Verdict::Redirect(port));
    }
    loopback(&mut all, "redirect", RETURN);
    rule(&mut all, "redirect", &[&Match::Meta(PROTOCOL, PROTOCOLS.0)], &Verdict::Redirect(port));
    loopback(&mut all, "rest", ACCEPT);
    rule(&mut all, "rest", &[], &Verdict::Reject);
    end(&mut all);
    all
}

/// The beginning of a batch, which the kernel carries out as a whole or not at all, and the table.
pub(crate) fn begin(all: &mut Messages) {
    all.add((0x10, REQUEST), &batch(), |_| {});
    table(all, 0);
}

/// Makes the table (0) or removes it (2).
pub(crate) fn table(all: &mut Messages, message: u16) {
    let flags = if message == 0 { CREATE } else { REQUEST };
    all.add(kind(message, flags), &fixed(), |a| {
        a.text(1, TABLE);
    });
}

/// Asks how often the rules of a network were changed, whoever did it.
#[cfg_attr(not(feature = "host"), allow(dead_code, reason = "the agent builds no routed networks"))]
pub(crate) fn get_generation(all: &mut Messages) {
    // NFT_MSG_GETGEN
    all.add(kind(16, REQUEST), &fixed(), |_| {});
}

/// Asks for the table.
#[cfg(test)]
pub(crate) fn get_table(all: &mut Messages) {
    all.add(kind(1, REQUEST), &fixed(), |a| {
        a.text(1, TABLE);
    });
}

/// The end of a batch.
pub(crate) fn end(all: &mut Messages) {
    all.add((0x11, REQUEST), &batch(), |_| {});
}

/// `struct nfgenmsg` of a batch.
fn batch() -> [u8; 4] {
    [0, 0, 0, u8::try_from(SUBSYSTEM).unwrap_or_default()]
}

pub(crate) fn loopback(all: &mut Messages, chain: &str, code: i32) {
    let v4 = Match::Payload { base: NETWORK, offset: 16, value: &[127] };
    rule(all, chain, &[&Match::Meta(FAMILY, FAMILIES.0), &v4], &Verdict::Code(code));
    let localhost = std::net::Ipv6Addr::LOCALHOST.octets();
    let v6 = Match::Payload { base: NETWORK, offset: 24, value: &localhost };
    rule(all, chain, &[&Match::Meta(FAMILY, FAMILIES.1), &v6], &Verdict::Code(code));
}

fn kind(message: u16, flags: u16) -> (u16, u16) {
    (SUBSYSTEM << 8 | message, flags)
}

/// `struct nfgenmsg`.
fn fixed() -> [u8; 4] {
    [INET, 0, 0, 0]
}

pub(crate) fn chain(all: &mut Messages, (name, hook_at): (&str, i32), (sort, priority): (&str, i32)) {
    all.add(kind(3, CREATE), &fixed(), |a| {
        a.text(1, TABLE).text(3, name).nest(4, |hook| {
            hook.be32(1, hook_at).be32(2, priority);
        });
        a.be32(5, ACCEPT).text(7, sort);
    });
}

pub(crate) fn rule(all: &mut Messages, chain: &str, matches: &[&Match<'_>], verdict: &Verdict) {
    all.add(kind(6, CREATE), &fixed(), |a| {
        a.text(1, TABLE).text(2, chain).nest(4, |list| {
            for one in matches {
                compare(list, one);
            }
            decide(list, verdict);
        });
    });
}

fn expression(list: &mut Attributes, name: &str, fill: impl FnOnce(&mut Attributes)) {
    list.nest(1, |one| {
        one.text(1, name).nest(2, fill);
    });
}

fn compare(list: &mut Attributes, one: &Match<'_>) {
    let single;
    let value: &[u8] = match one {
        Match::Meta(key, value) => {
            expression(list, "meta", |e| {
                e.be32(1, REGISTER).be32(2, *key);
            });
            single = [*value];
            &single
        }
        Match::Begins(key, value) => {
            expression(list, "meta", |e| {
                e.be32(1, REGISTER).be32(2, *key);
            });
            value
        }
        Match::Masked { offset, value, mask } => {
            expression(list, "payload", |e| {
                e.be32(1, REGISTER).be32(2, NETWORK).be32(3, *offset).be32(4, 4);
            });
            masked(list, mask);
            value
        }
        Match::Known => {
            expression(list, "ct", |e| {
                // NFT_CT_STATE
                e.be32(1, REGISTER).be32(2, 0);
            });
            // Established and related, as the kernel counts its states.
            masked(list, &6_u32.to_ne_bytes());
            return cmp(list, 1, &[0; 4]);
        }
        Match::Payload { base, offset, value } => {
            let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
            expression(list, "payload", |e| {
                e.be32(1, REGISTER).be32(2, *base).be32(3, *offset).be32(4, length);
            });
            value
        }
    };
    cmp(list, 0, value);
}

/// Goes on where the register is equal (0), or is not (1).
fn cmp(list: &mut Attributes, how: i32, value: &[u8]) {
    expression(list, "cmp", |e| {
        e.be32(1, REGISTER).be32(2, how).nest(3, |data| {
            data.bytes(1, value);
        });
    });
}

/// Keeps these bits of the register.
fn masked(list: &mut Attributes, mask: &[u8; 4]) {
    expression(list, "bitwise", |e| {
        e.be32(1, REGISTER).be32(2, REGISTER).be32(3, 4);
        e.nest(4, |data| {
            data.bytes(1, mask);
        });
        e.nest(5, |data| {
            data.bytes(1, &[0; 4]);
        });
    });
}

fn decide(list: &mut Attributes, verdict: &Verdict) {
    match verdict {
        Verdict::Code(code) => expression(list, "immediate", |e| {
            e.be32(1, 0).nest(2, |data| {
                data.nest(2, |verdict| {
                    verdict.be32(1, *code);
                });
            });
        }),
        Verdict::Redirect(port) => {
            expression(list, "immediate", |e| {
                e.be32(1, REGISTER).nest(2, |data| {
                    data.bytes(1, &port.to_be_bytes());
                });
            });
            expression(list, "redir", |e| {
                e.be32(1, REGISTER);
            });
        }
        Verdict::Masquerade => expression(list, "masq", |_| {}),
        Verdict::Reject => expression(list, "reject", |e| {
            // NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED
            e.be32(1, 2).bytes(2, &[3]);
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_fits_its_length_and_the_batch_is_closed() {
        let all = all(15_001);
        let (mut rest, mut kinds) = (all.as_bytes(), Vec::new());
        while !rest.is_empty() {
            let length = usize::try_from(u32::from_ne_bytes(rest[..4].try_into().unwrap())).unwrap();
            assert_eq!(length % 4, 0, "messages are aligned");
            kinds.push(u16::from_ne_bytes(rest[4..6].try_into().unwrap()));
            rest = &rest[length..];
        }
        assert_eq!(kinds.first(), Some(&0x10));
        assert_eq!(kinds.last(), Some(&0x11));
        assert_eq!(kinds.iter().filter(|kind| **kind == SUBSYSTEM << 8 | 6).count(), 8, "rules: {kinds:x?}");
    }

    #[test]
    fn the_port_is_in_every_redirect_in_network_order() {
        let with = |port: u16| all(port).as_bytes().to_vec();
        let differ = with(0x1234).iter().zip(with(0x5678)).filter(|(a, b)| *a != b).count();
        assert_eq!(differ, 3 * 2);
    }
}
