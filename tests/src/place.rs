//! A folder for one test: the apps, the data, the home, the configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Files that tests run as apps. Carried in the program, so that it runs from anywhere.
const APPS: [(&str, &str); 13] = [
    ("app.py", include_str!("../fixtures/app.py")),
    ("rpc_client.py", include_str!("../fixtures/rpc_client.py")),
    ("rpc_server.py", include_str!("../fixtures/rpc_server.py")),
    ("reach.py", include_str!("../fixtures/reach.py")),
    ("probes.py", include_str!("../fixtures/probes.py")),
    ("echo.py", include_str!("../fixtures/echo.py")),
    ("packets.py", include_str!("../fixtures/packets.py")),
    ("notes.py", include_str!("../../examples/notes/app.py")),
    ("page/index.html", include_str!("../../examples/notes/page/index.html")),
    ("page/style.css", include_str!("../../examples/notes/page/style.css")),
    ("page/notes.js", include_str!("../../examples/notes/page/notes.js")),
    ("page/icon.svg", include_str!("../../examples/notes/page/icon.svg")),
    ("chat.js", include_str!("../../examples/chat/server.js")),
];

/// A temporary folder, removed with everything in it.
#[derive(Debug)]
pub struct Place {
    root: TempDir,
}

impl Place {
    /// A fresh one. Its name is unique, so whatever carries it belongs to this test.
    #[must_use]
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("insula-e2e-").tempdir().unwrap();
        let place = Self { root };
        // Workloads run under other user ids, and at level `process` they see the real path.
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(place.apps()).unwrap();
        for (name, text) in APPS {
            let path = place.apps().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        place
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// The apps (`$APPS` in a configuration).
    #[must_use]
    pub fn apps(&self) -> PathBuf {
        self.path().join("apps")
    }

    /// `INSULA_HOME`.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// Root of the tenants' data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Writes the configuration. `$APPS` and `$ROOT` stand for this folder's; settings are put in front unless
    /// the text has its own, and level `namespace`, so that no test depends on what the host has installed.
    #[must_use]
    pub fn configure(&self, text: &str) -> PathBuf {
        let mut whole = text.to_owned();
        if !text.lines().take_while(|line| !line.starts_with('[')).any(|line| line.starts_with("isolation")) {
            whole = format!("isolation = \"namespace\"\n{whole}");
        }
        if !text.contains("[settings]") {
            whole = format!("{whole}\n[settings]\ndata_dir = \"$ROOT/data\"\nport = 0\n");
        }
        let whole = whole
            .replace("$APPS", self.apps().to_str().unwrap())
            .replace("$ROOT", self.path().to_str().unwrap());
        let path = self.path().join("insula.toml");
        fs::write(&path, whole).unwrap();
        path
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}
