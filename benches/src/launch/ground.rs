//! What all of them launch: one static program, as a file, as an OCI bundle, as images of two sizes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use super::runner::Runner;

const SOURCE: &str = include_str!("../../stamp.c");
/// Bytes of each file of the big image.
pub(super) const FILE_SIZE: usize = 8192;
/// Files of the big image in each of its directories.
const IN_ONE: usize = 500;
/// Identifiers are of fixed length: runsc takes the beginning of one for the whole.
const ID: &str = "insula-bench-launch";

/// A folder with all of it; it goes with this value.
#[derive(Debug)]
pub(super) struct Ground {
    dir: tempfile::TempDir,
}

impl Ground {
    /// Builds the program and lays out the rest, so many files in the big image among it.
    pub(super) fn lay(files: usize) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("insula-bench-launch").tempdir()?;
        // Workloads have ids of their own, and must reach the program.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        let ground = Self { dir };
        ground.build()?;
        for root in ["bundle/rootfs", "big"] {
            fs::create_dir_all(ground.at(root))?;
            fs::copy(ground.at("stamp"), ground.at(root).join("stamp"))?;
        }
        // What a root is mounted over where it is made by hand.
        for place in ["proc", "dev", "tmp"] {
            fs::create_dir(ground.at("bundle/rootfs").join(place))?;
        }
        ground.fill(files)?;
        ground.describe()?;
        Ok(ground)
    }

    fn build(&self) -> anyhow::Result<()> {
        fs::write(self.at("stamp.c"), SOURCE)?;
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-static", "-o"]).arg(self.at("stamp")).arg(self.at("stamp.c"));
        let built = cc.status().context("cannot start `cc`")?;
        anyhow::ensure!(built.success(), "`stamp.c` does not compile (is `libc6-dev` there?)");
        Ok(())
    }

    /// Files that no two have in common.
    fn fill(&self, files: usize) -> anyhow::Result<()> {
        for n in 0..files {
            let folder = self.at("big").join(format!("d{}", n / IN_ONE));
            if n.is_multiple_of(IN_ONE) {
                fs::create_dir(&folder)?;
            }
            fs::write(folder.join(n.to_string()), format!("{n:08}").repeat(FILE_SIZE / 8))?;
        }
        Ok(())
    }

    /// The bundle: what `crun spec` writes, with another program and without a terminal.
    fn describe(&self) -> anyhow::Result<()> {
        let made = Command::new("crun").arg("spec").current_dir(self.at("bundle")).status();
        anyhow::ensure!(made.context("cannot start `crun`")?.success(), "`crun spec` failed");
        let file = self.at("bundle").join("config.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(&file)?)?;
        let process = spec.get_mut("process").context("`crun spec` tells no process")?;
        process["args"] = json!(["/stamp"]);
        process["terminal"] = json!(false);
        Ok(fs::write(file, serde_json::to_vec(&spec)?)?)
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    /// The program, as words of a command.
    pub(super) fn stamp(&self) -> Vec<String> {
        vec![self.text("stamp")]
    }

    /// Names and directories of the images that the configuration uses.
    pub(super) fn images(&self) -> [(&'static str, PathBuf); 2] {
        [("small", self.at("bundle/rootfs")), ("big", self.at("big"))]
    }

    pub(super) fn config(&self) -> String {
        let service = |name: &str, keys: &str| {
            format!("[service.{name}]\nidle_timeout = \"50ms\"\nstop_timeout = \"100ms\"\n{keys}\n")
        };
        let bare = format!(
            "command = \"./stamp\"\nworkdir = \"{}\"\nisolation = \"namespace\"",
            self.path().display()
        );
        let of = |image: &str, level: &str| {
            format!("command = \"/stamp\"\nimage = \"{image}\"\nisolation = \"{level}\"")
        };
        [
            "[settings]\ndata_dir = \"./data\"\nport = 0\n".to_owned(),
            service("bare", &bare),
            service("small", &of("small", "container")),
            service("big", &of("big", "container")),
            service("sentry", &of("small", "gvisor")),
            "[instances]\nbare = [\"a\"]\nsmall = [\"a\"]\nbig = [\"a\"]\nsentry = [\"a\"]\n".to_owned(),
        ]
        .concat()
    }

    pub(super) fn crun(&self) -> Vec<String> {
        let (state, bundle) = (self.text("crun"), self.text("bundle"));
        words(&["crun", "--root", &state, "run", "--bundle", &bundle, ID])
    }

    /// No network and no control groups: what Insula's own sandbox at this level is held up by is the Sentry alone.
    pub(super) fn runsc(&self) -> Vec<String> {
        let (state, bundle) = (self.text("runsc"), self.text("bundle"));
        let flags = ["--platform=systrap", "--network=none", "--ignore-cgroups"];
        let before = words(&["runsc", "--root", &state]);
        [before, words(&flags), words(&["run", "--bundle", &bundle, ID])].concat()
    }

    /// The root file system of the small image.
    pub(super) fn rootfs(&self) -> PathBuf {
        self.at("bundle/rootfs")
    }

    /// A bundle of a server in the network of whoever runs it: what runs it, and what removes it. With control groups
    /// and a network around it, as Insula's own has them.
    pub(super) fn runsc_serving(&self, port: u16) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let dir = self.at("serving");
        fs::create_dir_all(&dir)?;
        let mut spec: Value = serde_json::from_slice(&fs::read(self.at("bundle").join("config.json"))?)?;
        spec["root"]["path"] = json!(self.rootfs());
        spec["process"]["env"] = json!([format!("PORT={port}")]);
        let namespaces =
            spec["linux"]["namespaces"].as_array_mut().context("`crun spec` has no namespaces")?;
        namespaces.retain(|namespace| namespace["type"] != "network");
        fs::write(dir.join("config.json"), serde_json::to_vec(&spec)?)?;
        let (state, bundle) = (self.text("runsc"), self.text("serving"));
        let before =
            words(&["runsc", "--root", &state, "--platform=systrap", "--network=host", "--ignore-cgroups"]);
        let run = [before.clone(), words(&["run", "--bundle", &bundle, ID])].concat();
        Ok((run, [before, words(&["delete", "--force", ID])].concat()))
    }

    fn podman_at(&self, rest: &[&str]) -> Vec<String> {
        let (root, run) = (self.text("podman"), self.text("podman-run"));
        let tmp = format!("--tmpdir={run}/tmp");
        let how = ["--cgroup-manager=cgroupfs", "--runtime=crun", &tmp];
        [words(&["podman", "--root", &root, "--runroot", &run]), words(&how), words(rest)].concat()
    }

    /// The bounds are named, since podman's own are more than root may have in some containers.
    pub(super) fn podman(&self) -> Vec<String> {
        let bounds = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"];
        let parent = format!("--cgroup-parent=/{}", groups());
        let run = ["run", "--rm", "--network=none", &parent, bounds[0], bounds[1], "stamp", "/stamp"];
        self.podman_at(&run)
    }

    /// Gives podman the same root file system as an image of its own.
    pub(super) fn import_into_podman(&self, runner: &mut Runner) -> anyhow::Result<()> {
        let tar = self.text("rootfs.tar");
        let rootfs = self.text("bundle/rootfs");
        runner.run(&words(&["tar", "--create", "--file", &tar, "--directory", &rootfs, "."]))?;
        runner.run(&self.podman_at(&["import", "--quiet", &tar, "stamp"]))
    }
}

/// The control group that podman puts its containers in, and leaves behind.
fn groups() -> String {
    format!("insula-bench-podman-{}", std::process::id())
}

/// Removes a control group and those in it.
fn remove_groups(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}

impl Drop for Ground {
    fn drop(&mut self) {
        let top = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
        for dir in
            hierarchies.chain([top.to_owned()]).map(|dir| dir.join(groups())).filter(|dir| dir.is_dir())
        {
            if let Err(error) = remove_groups(&dir) {
                crate::say(&format!("`{}` stays behind: {error}", dir.display())).unwrap_or_default();
            }
        }
    }
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|&word| word.to_owned()).collect()
}
