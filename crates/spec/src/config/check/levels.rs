//! `[levels]`: settings of single levels.

use std::collections::BTreeMap;

use super::super::kind::ProblemKind;
use super::super::levels::{ContainerSettings, Driver, External, GvisorSettings, Levels, Runner};
use super::super::raw::{RawContainer, RawExternal, RawGvisor, RawLevels, RawService};
use super::super::read::{Entries, Given};
use super::super::similar::similar;
use super::Check;

const PLATFORMS: (&[&str], &[&str]) = (&GvisorSettings::PLATFORMS, &GvisorSettings::PLATFORMS);
const DRIVERS: (&[&str], &[Driver]) = (&Driver::NAMES, &Driver::ALL);
const WALLS: (&[&str], &[crate::Level]) = (&External::NAMES, &External::WALLS);

/// How a service names a program of `[levels.external]`.
const EXTERNAL: &str = "external:";

impl Check<'_> {
    /// Settings of single levels.
    pub(super) fn levels(&mut self, given: Option<Given<RawLevels>>) -> Levels {
        let raw = given.map(|given| given.value).unwrap_or_default();
        Levels {
            container: self.container(raw.container.map(|given| given.value).unwrap_or_default()),
            gvisor: self.gvisor(raw.gvisor.map(|given| given.value).unwrap_or_default()),
            external: self.external(raw.external.map(|given| given.value)),
        }
    }

    fn container(&mut self, raw: RawContainer) -> ContainerSettings {
        let driver = self.word(raw.driver.as_ref(), DRIVERS).unwrap_or_default();
        if let (Some(path), Driver::Agent) = (&raw.path, driver) {
            self.note(&path.at, "no effect without `driver = \"crun\"` or `driver = \"runc\"`");
        }
        ContainerSettings { driver, path: raw.path.and_then(|given| self.path(&given)) }
    }

    fn gvisor(&mut self, raw: RawGvisor) -> GvisorSettings {
        let default = GvisorSettings::default();
        GvisorSettings {
            path: raw.path.and_then(|given| self.path(&given)),
            platform: self.word(raw.platform.as_ref(), PLATFORMS).unwrap_or(default.platform),
        }
    }

    fn external(&mut self, given: Option<Entries<RawExternal>>) -> BTreeMap<String, External> {
        let mut all = BTreeMap::new();
        for entry in given.into_iter().flat_map(|entries| entries.0) {
            let raw = entry.value.value;
            for (key, missing) in [("program", raw.program.is_none()), ("walls", raw.walls.is_none())] {
                if missing {
                    self.missing(&entry.key.at, key);
                }
            }
            let program = raw.program.and_then(|given| self.path(&given));
            let walls = self.word(raw.walls.as_ref(), WALLS);
            let args = raw.args.map(|list| list.value).unwrap_or_default();
            let args = args.into_iter().map(|given| given.value).collect();
            if let (Some(program), Some(walls)) = (program, walls) {
                all.insert(entry.key.value, External { program, args, walls });
            }
        }
        all
    }

    /// The external program that a service names as its level, which is from then on that of its walls.
    pub(super) fn runner(
        &mut self,
        raw: &mut RawService,
        known: &BTreeMap<String, External>,
    ) -> Option<Runner> {
        let given = raw.isolation.as_mut()?;
        let name = given.value.strip_prefix(EXTERNAL)?.to_owned();
        if let Some(external) = known.get(&name) {
            external.walls.as_str().clone_into(&mut given.value);
            return Some(Runner { name, external: external.clone() });
        }
        let at = given.at.clone();
        raw.isolation = None;
        let similar = similar(&name, known.keys().map(String::as_str)).map(ToOwned::to_owned);
        self.problem(&at, ProblemKind::UnknownExternal { name, similar });
        None
    }
}
