//! The scene in which the walls are probed.
//!
//! ```text
//! victim:a   level namespace     what the probes are after
//! spy:a      level namespace     the probes, behind the wall
//! bare:a     level process, network host     the same probes, with most walls off
//! outside    the probe script run by the test itself     no wall at all
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};

use insula_tests::{Server, system_program};
use serde_json::Value;

use crate::common::{escaped, services};

/// Only the victims have it on their command line.
pub(crate) const SECRET: &str = "a-word-of-the-victim";
const OPEN: &str = "isolation = \"process\"\nnetwork = \"host\"";

/// Four apps and the ways to probe from them.
pub(crate) struct Scene {
    pub(crate) server: Server,
}

impl Scene {
    pub(crate) fn set() -> Self {
        let victim = format!("serve {SECRET}");
        let config = services(&[
            ("victim", &victim, "", &["a"]),
            ("spy", "serve", "", &["a"]),
            ("bare", "serve", OPEN, &["a"]),
            ("barevictim", &victim, OPEN, &["a"]),
        ]);
        let config =
            config.replacen("[service.victim.env]", "[service.victim.env]\nSECRET = \"of-the-victim\"", 1);
        let server = Server::start(&config);
        for name in ["victim:a", "spy:a", "bare:a", "barevictim:a"] {
            server.get(name, "/health").expect(200);
        }
        Self { server }
    }

    /// A copy of `id` beside the apps that runs as root for whoever starts it. Only root can make it.
    pub(crate) fn set_user_id_program(&self) -> String {
        let program = self.server.place().apps().join("id");
        fs::copy(system_program("id").unwrap(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
        program.to_str().unwrap().to_owned()
    }

    /// What a probe answers as part of an app.
    pub(crate) fn through_app(&self, app: &str, probe: &str, target: &str) -> Value {
        let path = format!("/probe?name={probe}&target={}", escaped(target));
        self.server.get(app, &path).expect(200).json()
    }

    /// The probe behind the wall. It must not get through.
    #[track_caller]
    pub(crate) fn wall_holds(&self, probe: &str, target: &str) {
        let answer = self.through_app("spy:a", probe, target);
        assert_eq!(answer["through"], false, "probe `{probe}` on `{target}` got through: {answer}");
    }

    /// The same with most walls off. It must get through.
    #[track_caller]
    pub(crate) fn control_bare(&self, probe: &str, target: &str) {
        let answer = self.through_app("bare:a", probe, target);
        assert_eq!(
            answer["through"], true,
            "the control of `{probe}` on `{target}` does not get through: {answer}"
        );
    }

    /// The same without any wall. It must get through.
    #[track_caller]
    pub(crate) fn control_outside(&self, probe: &str, target: &str) {
        let answer = self.outside(&[], probe, target);
        assert_eq!(
            answer["through"], true,
            "the control of `{probe}` on `{target}` does not get through: {answer}"
        );
    }

    /// Runs a probe outside, perhaps under another user.
    pub(crate) fn outside(&self, under: &[&str], probe: &str, target: &str) -> Value {
        let script = self.server.place().apps().join("probes.py");
        let python = system_program("python3").unwrap();
        let mut words = under.to_vec();
        words.extend([python.to_str().unwrap(), script.to_str().unwrap(), probe, target]);
        let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    /// The port on which an instance listens, in its own network.
    pub(crate) fn port(&self, instance: &str) -> String {
        self.server.inspect(instance)["placement"]["port"].to_string()
    }
}

/// A process of the test itself, as a target.
pub(crate) struct Sleeper(pub(crate) Child);

impl Sleeper {
    pub(crate) fn start() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
