//! The example apps, carried in the binary, and the folder that they are written to.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::stage::Files;

/// The files of `examples/` that the demo runs.
const FILES: [(&str, &str); 8] = [
    ("notes/app.py", include_str!("../../../../examples/notes/app.py")),
    ("notes/page/index.html", include_str!("../../../../examples/notes/page/index.html")),
    ("notes/page/style.css", include_str!("../../../../examples/notes/page/style.css")),
    ("notes/page/notes.js", include_str!("../../../../examples/notes/page/notes.js")),
    ("notes/page/icon.svg", include_str!("../../../../examples/notes/page/icon.svg")),
    ("versions/api.py", include_str!("../../../../examples/versions/api.py")),
    ("hello-node/server.js", include_str!("../../../../examples/hello-node/server.js")),
    ("chat/server.js", include_str!("../../../../examples/chat/server.js")),
];

/// Behind the word that is changed for another level.
pub(super) const THE_WORD: &str = "    # the word that the demo changes";

/// What the demo serves. Short idle times, so that nobody waits long for a sleep.
const CONFIG: &str = r#"# Written by `insula demo`: the apps of examples/ with short idle times, at one level on every host.
isolation = "namespace"

[settings]
data_dir = "./data"
domain = "localhost"
port = 0

[service.notes]
command = "python3 app.py"
workdir = "./notes"
health = "/health"
idle_timeout = "700ms"
restart = "always"

[service.notes.env]
DATABASE_PATH = "{data_dir}/{id}/notes.db"

[service.hello]
command = "node server.js"
workdir = "./hello-node"
idle_timeout = "200ms"
sleep = "freeze"

[service.api]
command = "python3 api.py {id}"
workdir = "./versions"
versions = true
health = "/health"

[service.chat]
command = "node server.js"
workdir = "./chat"
idle_timeout = "700ms"

# The notes once more, as they are at each level.
[service.word]
command = "python3 app.py"
workdir = "./notes"
health = "/health"
idle_timeout = "700ms"
isolation = "process"    # the word that the demo changes

[service.word.env]
DATABASE_PATH = "{data_dir}/{id}/notes.db"

[service.cache]
command = "redis-server --port {port} --dir {data_dir}/{id} --appendonly yes --save ''"
idle_timeout = "700ms"

[service.cache.listen_tcp]
alice = CACHE_PORT

[instances]
notes = ["alice", "bob", "carol"]
hello = ["web"]
chat = ["lobby"]
cache = ["alice"]
word = ["dora"]
"#;

/// A folder of the demo's own; removed at the end unless it is to be kept.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    keep: bool,
    cache_port: u16,
}

impl Folder {
    /// Makes it, with the apps and the configuration in it.
    pub(super) fn create(keep: bool) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("insula-demo-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make the folder `{}`", path.display()))?;
        let folder = Self { path, keep, cache_port: free_port().context("no free port")? };
        folder.fill().with_context(|| format!("cannot write to `{}`", folder.path.display()))?;
        Ok(folder)
    }

    fn fill(&self) -> io::Result<()> {
        // Apps run under other user ids, which must be able to come by.
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o755))?;
        for (name, text) in FILES {
            let path = self.path.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, text)?;
        }
        fs::write(self.files().config(), CONFIG.replace("CACHE_PORT", &self.cache_port.to_string()))
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the server is started with.
    pub(super) fn files(&self) -> Files {
        Files { folder: self.path.clone() }
    }

    /// The raw TCP port of `cache:alice`.
    pub(super) fn cache_port(&self) -> u16 {
        self.cache_port
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the demo's folder could not be removed");
        }
    }
}

/// A TCP port of the loopback that was free a moment ago.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use insula_spec::Config;

    use super::*;

    #[test]
    fn the_configuration_of_the_demo_is_valid() {
        let text = CONFIG.replace("CACHE_PORT", "6379");
        Config::parse(&text, Path::new("/demo/insula.toml")).unwrap();
        assert!(Config::parse(CONFIG, Path::new("/demo/insula.toml")).is_err(), "the port was not needed");
        assert_eq!(CONFIG.lines().filter(|line| line.ends_with(THE_WORD)).count(), 1);
    }

    #[test]
    fn the_folder_goes_with_its_owner() {
        let folder = Folder::create(false).unwrap();
        let path = folder.path().to_owned();
        assert!(folder.files().config().exists() && path.join("notes/app.py").exists());
        drop(folder);
        assert!(!path.exists());
    }
}
