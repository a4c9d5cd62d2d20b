//! The program that makes containers, where the operator wants another one than the agent: looked for once.

use std::sync::OnceLock;

use insula_spec::{Driver, Level};

use crate::contract::Unavailable;
use crate::programs::{self, Program};
use crate::walls::{IdMode, Shared};

/// The oldest releases that are driven: major, minor.
const OLDEST: [(Driver, (u32, u32)); 2] = [(Driver::Crun, (1, 5)), (Driver::Runc, (1, 1))];

/// What was found, once it was looked for.
#[derive(Debug, Default)]
pub(crate) struct Found(OnceLock<Result<Program, String>>);

impl Found {
    /// The driver, with its version; `None` for the agent.
    pub(crate) fn program(&self, shared: &Shared) -> Result<Option<String>, Unavailable> {
        let settings = &shared.levels.container;
        let driver = settings.driver;
        if driver == Driver::Agent {
            return Ok(None);
        }
        let unavailable = |why: String, hint: String| Unavailable::new(Level::Container, why, hint);
        let name = driver.as_str();
        if shared.ids == IdMode::Single {
            let hint =
                "run the daemon as root, or install newuidmap and add a range to /etc/subuid and /etc/subgid";
            return Err(unavailable(
                format!("{name} needs more than the one id that this user has"),
                hint.to_owned(),
            ));
        }
        let found = self.0.get_or_init(|| {
            let program = programs::find(name, settings.path.as_deref())?;
            let oldest = OLDEST.iter().find(|(of, _)| *of == driver).map(|(_, oldest)| *oldest);
            match release(name, &program.version) {
                Some(release) if Some(release) >= oldest => Ok(program),
                Some(_) => Err(format!("`{}` is too old ({})", program.path.display(), program.version)),
                None => Err(format!("`{}` is not {name} ({})", program.path.display(), program.version)),
            }
        });
        match found {
            Ok(program) => Ok(Some(format!("{} ({})", program.path.display(), program.version))),
            Err(why) => Err(unavailable(
                why.clone(),
                format!(
                    "install the package `{name}`, name the program with `path` in `[levels.container]`, or set \
                     `driver = \"agent\"`"
                ),
            )),
        }
    }
}

/// The first two numbers in `crun version 1.8.1` or `runc version 1.1.5+ds1`.
fn release(name: &str, version: &str) -> Option<(u32, u32)> {
    let rest = version.strip_prefix(name)?.trim_start().strip_prefix("version")?.trim_start();
    let mut numbers = rest.split('.').map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_known_by_its_program() {
        assert_eq!(release("crun", "crun version 1.8.1"), Some((1, 8)));
        assert_eq!(release("runc", "runc version 1.1.5+ds1"), Some((1, 1)));
        assert_eq!(release("crun", "runc version 1.1.5"), None);
        assert_eq!(release("crun", ""), None);
    }
}
