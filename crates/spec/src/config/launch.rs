//! From a service to one launch: templates filled in, environment complete.

use std::collections::BTreeMap;

use super::template::render;
use super::{Runner, ServiceSpec};
use crate::{IdRange, InstanceId, InstanceName, Launch, Level, Mount, Placement, Root, RootSource};

/// Where programs are looked for, unless the service or its image says otherwise.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl ServiceSpec {
    /// What the root file system is made of, with the image in its place.
    fn root_of_image(&self) -> Root {
        match &self.image {
            Some(image) => Root { source: RootSource::Image(image.clone()), ..self.root.clone() },
            None => self.root.clone(),
        }
    }

    /// What stands before the command: the external program, its own arguments, and the end of them.
    #[must_use]
    pub fn runner_words(&self) -> Vec<String> {
        let Some(Runner { external, .. }) = &self.runner else { return Vec::new() };
        let program = external.program.to_string_lossy().into_owned();
        [program].into_iter().chain(external.args.iter().cloned()).chain(["--".to_owned()]).collect()
    }

    /// Walls with a view of their own must show the program that runs the workload.
    fn runner_shown(&self) -> Option<Mount> {
        let external = &self.runner.as_ref()?.external;
        let path = || external.program.clone();
        let shown = Mount { source: path(), target: path(), read_only: true };
        (external.walls != Level::Process && !external.program.starts_with("/usr")).then_some(shown)
    }

    /// Everything a level needs to start one instance.
    ///
    /// The environment is what the service declares, then `HOME`, `PATH`, `LANG` and `INSULA_INSTANCE` where
    /// it does not, and `PORT` and `SOCKET_PATH` always. It is sorted by name, so that the same service and
    /// placement give the same launch.
    #[must_use]
    pub fn launch(&self, id: &InstanceId, placement: &Placement, ids: Option<IdRange>) -> Launch {
        let instance = InstanceName::new(self.name.clone(), id.clone());
        let port = placement.port.to_string();
        let socket = placement.socket.to_string_lossy();
        let data_dir = self.data_dir.to_string_lossy();
        let fill = |template: &str| {
            render(template, |name| match name {
                "name" => Some(self.name.as_str()),
                "id" => Some(id.as_str()),
                "data_dir" => Some(data_dir.as_ref()),
                "port" => Some(port.as_str()),
                "socket" => Some(socket.as_ref()),
                _ => None,
            })
        };
        let tenant_dir = self.tenant_dir(id);
        let mut env = BTreeMap::from([
            ("HOME".to_owned(), tenant_dir.to_string_lossy().into_owned()),
            ("INSULA_INSTANCE".to_owned(), instance.to_string()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]);
        // An image has a path of its own.
        if self.image.is_none() {
            env.insert("PATH".to_owned(), PATH.to_owned());
        }
        env.extend(self.env.iter().map(|(name, value)| (name.clone(), fill(value.expose()))));
        env.insert("PORT".to_owned(), port.clone());
        env.insert("SOCKET_PATH".to_owned(), socket.to_string());
        Launch {
            argv: self.command.iter().map(|word| fill(word)).collect(),
            env: env.into_iter().map(|(name, value)| (name, value.into())).collect(),
            workdir: self.workdir.clone(),
            data_dir: tenant_dir,
            mounts: self.mounts.iter().cloned().chain(self.runner_shown()).collect(),
            runner: self.runner_words(),
            root: self.root_of_image(),
            seccomp: self.seccomp.clone(),
            network: self.network,
            net: self.net.clone(),
            net_given: self.net_given,
            limits: self.limits,
            ids,
            placement: placement.clone(),
            instance,
        }
    }
}
