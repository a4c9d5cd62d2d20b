//! Networks that are routed: what of a policy can be enforced for packets, and the way out.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

use insula_egress::address::special;
use insula_linux::identity::Identity;
use insula_linux::routed::{self, Allowed, Range, RoutedError, Wire};
use insula_spec::{Launch, NetPolicy, NetRule, Outside};

use super::Shared;
use super::body::Body;
use super::shell::{Shell, failed};
use crate::contract::LaunchError;
use crate::fault;

/// What a policy comes to for packets, which have addresses and no names.
///
/// # Errors
/// The first rule that cannot be enforced.
pub(super) fn allowed(policy: &NetPolicy) -> Result<Allowed, NetRule> {
    let mut allowed = Allowed::default();
    for rule in policy.rules() {
        match rule {
            NetRule::Public => allowed.public = true,
            NetRule::Block { first: IpAddr::V4(first), prefix, port }
                if special(IpAddr::V4(*first)).is_none() =>
            {
                allowed.blocks.push((*first, *prefix, *port));
            }
            rule => return Err(rule.clone()),
        }
    }
    Ok(allowed)
}

/// The same with the bound of bytes.
fn allowed_of(outside: &Outside) -> Result<Allowed, NetRule> {
    Ok(Allowed { rate: outside.bandwidth.map(|rate| rate.0), ..allowed(&outside.net)? })
}

/// The name servers that an instance is told of: those of the host that are public, since nothing else is within reach.
pub(crate) fn resolvers(text: &str) -> String {
    let server = |line: &str| {
        let address: Ipv4Addr = line.strip_prefix("nameserver")?.trim().parse().ok()?;
        special(address.into()).is_none().then(|| format!("nameserver {address}\n"))
    };
    text.lines().filter_map(server).collect()
}

/// Whose a pair of interfaces is.
fn owner(home_id: &str, key: &str) -> String {
    format!("{home_id} {key}")
}

/// Lays a wire to the network of these walls, which leads nowhere before it is opened. Where it cannot be laid ahead,
/// the start tries again, and tells why not.
pub(super) async fn lay_ahead(shell: &mut Shell) {
    match lay(&mut shell.body).await {
        Ok(wire) => shell.wire = Some(wire),
        Err(error) => tracing::debug!(%error, key = shell.body.key, "no wire is laid ahead"),
    }
}

async fn lay(body: &mut Body) -> Result<Wire, LaunchError> {
    let agent = body.agent().ok_or_else(|| LaunchError::Agent("it is gone".to_owned()))?;
    let (first, bits) = body.shared.routed_range.block();
    let range = Range::new(first, bits).ok_or(RoutedError::Full)?;
    let owner = owner(&body.shared.home_id, &body.key);
    // First: what is laid by work that nobody waits for any more is taken away, too.
    body.wired();
    let laid = body.blocking(move || {
        let network = network_of(agent).map_err(failed("find the network of the instance"))?;
        let wire = Wire::lay(range, &owner, network.as_fd())?;
        fault::point("wire.laid");
        Ok(wire)
    });
    laid.await.map_err(|e| failed("connect the network")(io::Error::other(e)))?
}

/// Connects the network of these walls.
pub(super) async fn join(shell: &mut Shell, launch: &Launch) -> Result<(), LaunchError> {
    let wire = match shell.wire.take() {
        Some(wire) => wire,
        None => lay(&mut shell.body).await?,
    };
    // Checked before.
    let allowed = allowed_of(&Outside::of(launch)).unwrap_or_default();
    let key = shell.body.key.clone();
    let joined = shell.body.blocking(move || {
        let ends = wire.open(&allowed)?;
        fault::point("wire.opened");
        tracing::debug!(key, name = ends.name, address = %ends.inside, "a network is routed");
        Ok(())
    });
    joined.await.map_err(|e| failed("connect the network")(io::Error::other(e)))?
}

fn network_of(agent: Identity) -> io::Result<File> {
    let network = File::open(format!("/proc/{}/ns/net", agent.pid))?;
    // The pid may have passed to another process meanwhile.
    if agent.lives()? { Ok(network) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

/// Judges by other terms from now on. Those that cannot be enforced let nothing out.
pub(super) fn judge(body: &Body, outside: &Outside) {
    let (Some(agent), key) = (body.agent(), body.key.clone()) else { return };
    let owner = owner(&body.shared.home_id, &key);
    let allowed = allowed_of(outside).unwrap_or_else(|rule| {
        tracing::warn!(key, %rule, "a rule cannot be enforced for packets: nothing is let out");
        Allowed::default()
    });
    body.blocking(move || {
        let done = network_of(agent).map_err(|e| e.to_string()).and_then(|network| {
            routed::judge(&owner, network.as_fd(), &allowed).map_err(|e| format!("{e}: {}", e.hint()))
        });
        if let Err(error) = done {
            tracing::warn!(key, error, "the rules of a routed network are what they were");
        }
    });
}

/// Takes the interface of the host away, if it did not end with its network.
pub(super) async fn leave(shared: &Shared, key: &str) {
    let owner = owner(&shared.home_id, key);
    match tokio::task::spawn_blocking(move || routed::leave(&owner)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(key, %error, hint = error.hint(), "an interface is left behind");
        }
        Err(error) => tracing::warn!(key, %error, "taking an interface away was cut short"),
    }
}

/// Takes away what nobody knows of this home. Blocks.
pub(super) fn sweep(shared: &Shared, known: &[&str]) -> Result<usize, RoutedError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(0);
    }
    let mine = |label: &str| {
        label.split_once(' ').is_some_and(|(home, key)| home == shared.home_id && !known.contains(&key))
    };
    routed::sweep(mine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[&str]) -> NetPolicy {
        NetPolicy::try_from(rules.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn addresses_can_be_enforced_and_nothing_else() {
        let found = allowed(&policy(&["public", "93.184.216.0/24:53"])).unwrap();
        assert!(found.public);
        assert_eq!(found.blocks, [("93.184.216.0".parse().unwrap(), 24, Some(53))]);
        for rule in
            ["a.com", "*.a.com:443", "self:db", "10.0.0.5", "0.0.0.0/0", "[2001:db8::1]:53", "[2606::/16]"]
        {
            assert_eq!(allowed(&policy(&["public", rule])).unwrap_err().to_string(), rule);
        }
    }

    #[test]
    fn only_public_name_servers_are_told() {
        let text =
            "search a\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver 9.9.9.9\nnameserver ::1\n";
        assert_eq!(resolvers(text), "nameserver 9.9.9.9\n");
    }
}
