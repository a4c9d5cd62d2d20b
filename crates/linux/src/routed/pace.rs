//! How many bytes a second an interface sends, by the kernel's token bucket (tc-tbf(8)). What is more waits in a queue;
//! what finds the queue full is dropped, which tells the sender to slow down.

use std::io;
use std::os::fd::OwnedFd;

use crate::wall::ask_on;
use crate::wall::message::Messages;

/// `NLM_F_REQUEST`, and with it `NLM_F_CREATE | NLM_F_REPLACE`.
const REQUEST: u16 = 0x1;
const INSTEAD: u16 = REQUEST | 0x400 | 0x100;
/// `RTM_NEWQDISC`, `RTM_DELQDISC`.
const NEW: u16 = 36;
const REMOVE: u16 = 37;
/// `TC_H_ROOT`.
const ROOT: u32 = u32::MAX;
/// `TC_LINKLAYER_ETHERNET`: nothing needs to be said of how long each packet takes.
const ETHERNET: u8 = 1;
/// The least that may be sent at once, and that may wait: more than the largest packet.
const LEAST: u32 = 128 << 10;
/// What may be ahead, and what may wait: a tenth and a fifth of a second.
const AHEAD: u64 = 10;
const WAITS: u64 = 5;

/// Bounds what an interface sends; `None` takes the bound away. `socket` leads to the network that it is in.
pub(super) fn bound(socket: &OwnedFd, index: i32, rate: Option<u64>) -> io::Result<()> {
    let mut all = Messages::default();
    // `struct tcmsg`
    let mut fixed = [0; 20];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[12..16].copy_from_slice(&ROOT.to_ne_bytes());
    let Some(rate) = rate else {
        all.add((REMOVE, REQUEST), &fixed, |_| {});
        return match ask_on(socket, &all) {
            // There is none.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(()),
            done => done,
        };
    };
    let part = |of: u64| u32::try_from(rate / of).unwrap_or(u32::MAX).max(LEAST);
    all.add((NEW, INSTEAD), &fixed, |a| {
        // TCA_KIND, TCA_OPTIONS with TCA_TBF_PARMS, TCA_TBF_BURST and, for what has no room in the first, TCA_TBF_RATE64.
        a.text(1, "tbf").nest(2, |options| {
            options.bytes(1, &parameters(rate, part(WAITS))).bytes(6, &part(AHEAD).to_ne_bytes());
            if u32::try_from(rate).is_err() {
                options.bytes(4, &rate.to_ne_bytes());
            }
        });
    });
    ask_on(socket, &all)
}

/// `struct tc_tbf_qopt`: two times `struct tc_ratespec`, of which the second one is not used, and the bytes that may wait.
fn parameters(rate: u64, waits: u32) -> [u8; 36] {
    let mut all = [0; 36];
    all[1] = ETHERNET;
    all[8..12].copy_from_slice(&u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    all[24..28].copy_from_slice(&waits.to_ne_bytes());
    all
}
