//! at-rund's tables: who the operator is, whose functions run here, and where traces go.

use std::collections::BTreeSet;

use super::super::kind::ProblemKind;
use super::super::raw::RawAccess;
use super::super::read::{Entries, Given};
use super::super::{Access, AccessMode, Functions};
use super::Check;

const MODES: (&[&str], &[AccessMode]) =
    (&["open", "allowlist", "blocklist"], &[AccessMode::Open, AccessMode::Allowlist, AccessMode::Blocklist]);

/// What is said of tables that nothing acts on.
const LATER: &str = "not in force yet: functions come later, and nobody's function runs here until then";

impl Check<'_> {
    /// The operator's name, without the `@` that people write in front.
    pub(super) fn handle(&mut self, given: Option<Given<String>>) -> Option<String> {
        let given = given?;
        let value = given.value.strip_prefix('@').unwrap_or(&given.value).to_owned();
        Some(self.domain(&Given { at: given.at, value }))
    }

    /// Runtimes and access.
    pub(super) fn functions(
        &mut self,
        runtimes: Option<Given<Entries<String>>>,
        access: Option<Given<RawAccess>>,
    ) -> Functions {
        let mut functions = Functions::default();
        if let Some(given) = runtimes {
            self.note(&given.at, LATER);
            for entry in given.value.0 {
                self.path(&entry.value);
                functions.runtimes.insert(entry.key.value, entry.value.value);
            }
        }
        if let Some(given) = access {
            self.note(&given.at, LATER);
            functions.access = self.access(given.value);
        }
        functions
    }

    fn access(&mut self, raw: RawAccess) -> Access {
        let mode = self.word(raw.mode.as_ref(), MODES).unwrap_or_default();
        let lists = [("allowlist", raw.allowlist), ("blocklist", raw.blocklist)];
        let [allowlist, blocklist] = lists.map(|(name, list)| {
            let counts = match mode {
                AccessMode::Open => false,
                AccessMode::Allowlist => name == "allowlist",
                AccessMode::Blocklist => name == "blocklist",
            };
            if let Some(given) = list.as_ref().filter(|_| !counts) {
                self.note(&given.at, "this list does not count in this `mode`");
            }
            self.authors(list.map(|list| list.value).unwrap_or_default())
        });
        Access { mode, allowlist, blocklist }
    }

    fn authors(&mut self, list: Vec<Given<String>>) -> BTreeSet<String> {
        let mut authors = BTreeSet::new();
        for given in list {
            let at = given.at.clone();
            let Some(did) = self.did(given) else { continue };
            if !authors.insert(did.clone()) {
                self.problem(&at, ProblemKind::ListedTwice(did));
            }
        }
        authors
    }

    /// An `http` or `https` URL with a host, and without a password that would be shown with it.
    pub(super) fn endpoint(&mut self, given: &Given<String>) {
        let url = &given.value;
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let host = rest.map(|rest| rest.split('/').next().unwrap_or_default()).unwrap_or_default();
        let plain = url.bytes().all(|b| b.is_ascii_graphic());
        if host.is_empty() || host.contains('@') || !plain {
            self.problem(&given.at, ProblemKind::Endpoint(without_password(url)));
        }
    }
}

/// The address without what may be a password.
fn without_password(url: &str) -> String {
    url.rsplit_once('@').map_or_else(|| url.to_owned(), |(_, host)| format!("...@{host}"))
}
