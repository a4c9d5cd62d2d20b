//! Ids and capabilities of the calling (single-threaded) process.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// Takes on one id as real, effective and saved user and group, and drops all further groups.
///
/// # Errors
/// Those of setgroups(2), setresgid(2) and setresuid(2).
pub fn become_id(id: u32) -> io::Result<()> {
    become_user(id, id, &[])
}

/// Takes on a user and a group, each as real, effective and saved one, and these further groups and no other.
///
/// # Errors
/// Those of setgroups(2), setresgid(2) and setresuid(2).
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let groups: Vec<_> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    Ok(set_thread_res_uid(uid, uid, uid)?)
}

/// Gives up every capability, now and for every program executed later, and any way to gain one.
///
/// # Errors
/// Those of prctl(2) and capset(2).
pub fn renounce() -> io::Result<()> {
    empty_bounding_set()?;
    keep_only(CapabilitySet::empty())?;
    Ok(set_no_new_privs(true)?)
}

/// Takes every capability out of reach of programs executed later. To be called before [`become_id`]: a
/// change away from id 0 takes the right to do so away.
///
/// # Errors
/// Those of prctl(2). Not having the right is none.
pub fn empty_bounding_set() -> io::Result<()> {
    // The kernel may know more capabilities than this program: EINVAL ends the list.
    for bit in 0..64u32 {
        let Some(capability) = CapabilitySet::from_bits(1 << bit) else { continue };
        match remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            // Without CAP_SETPCAP the bounding set cannot shrink, but then there is nothing to gain either:
            // no_new_privs closes the way through set-user-id programs.
            Err(rustix::io::Errno::PERM) => break,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Keeps these capabilities, effective and permitted; nothing is inherited by programs executed later.
///
/// # Errors
/// Those of capset(2).
pub fn keep_only(kept: CapabilitySet) -> io::Result<()> {
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}
