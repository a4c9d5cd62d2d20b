//! Whether what is asked of the outside can be enforced.

use std::io;

use insula_spec::{Launch, Network};

use super::{Kind, routed};
use crate::contract::LaunchError;
use crate::link::Link;

/// What a kernel needs that can judge what leaves the walls.
const REMEDY: &str = "the kernel needs nf_tables with NAT: `modprobe nf_tables nft_redir nf_nat`, or a kernel with \
                      CONFIG_NFT_REDIR; or remove `net`, and nothing outside is reached";

/// Refuses a launch whose rules for the outside would not be enforced. Where nobody wrote any, nothing outside is
/// reached on a host that cannot judge, and the log says so.
pub(super) async fn check(kind: Kind, launch: &Launch, link: &Link) -> Result<(), LaunchError> {
    let refused = |what, hint: String| Err(LaunchError::Unenforceable { what, level: kind.level, hint });
    if launch.network == Network::Routed {
        return packets(kind, launch);
    }
    if launch.limits.bandwidth.is_some() && !kind.is_judged() {
        let hint = "Insula does not carry what leaves the network of the host: remove the key, or choose a level \
                    from `namespace` on and `network = \"isolated\"`";
        return refused("bandwidth_limit", hint.to_owned());
    }
    if launch.net_given && !kind.is_judged() {
        let hint = "Insula does not judge what leaves the network of the host: remove `net` (`insula policy set NAME \
                    --default` where it was set for the instance), or choose a level from `namespace` on and \
                    `network = \"isolated\"`";
        return refused("net", hint.to_owned());
    }
    let asked = (launch.net_given && !launch.net.is_none()) || launch.limits.bandwidth.is_some();
    if !asked {
        return Ok(());
    }
    match link.wall().await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => refused(if launch.net_given { "net" } else { "bandwidth_limit" }, remedy(&error)),
        Err(error) => Err(LaunchError::Agent(error.to_string())),
    }
}

/// The same for a routed network.
fn packets(kind: Kind, launch: &Launch) -> Result<(), LaunchError> {
    let refused = |what, hint: String| Err(LaunchError::Unenforceable { what, level: kind.level, hint });
    if !kind.has_view() {
        let hint = "level `process` has the network of the host: choose a level from `namespace` on";
        return refused("network", hint.to_owned());
    }
    if let Err(error) = insula_linux::routed::check() {
        return refused("network", format!("{error}: {}", error.hint()));
    }
    match routed::allowed(&launch.net) {
        Ok(_) => Ok(()),
        Err(rule) => refused(
            "net",
            format!(
                "`{rule}` is not a block of public IPv4 addresses, which is all that packets can be judged by"
            ),
        ),
    }
}

fn remedy(error: &io::Error) -> String {
    format!("{REMEDY} ({error})")
}
