//! Archives as an attacker would make them, and an unpacker that believes them.

#![allow(unused_macros, dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use insula_images::{Images, LoadError, LoadOptions, Loaded};

/// Bytes of a block.
const BLOCK: usize = 512;

/// A tar in the making.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Any entry at all.
    pub(crate) fn entry(mut self, flag: u8, path: &[u8], link: &[u8], data: &[u8]) -> Self {
        self.push(header(flag, path, link, data.len() as u64), data);
        self
    }

    pub(crate) fn file(self, path: &str, data: &str) -> Self {
        self.entry(b'0', path.as_bytes(), b"", data.as_bytes())
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.entry(b'5', path.as_bytes(), b"", b"")
    }

    pub(crate) fn symlink(self, path: &str, to: &str) -> Self {
        self.entry(b'2', path.as_bytes(), to.as_bytes(), b"")
    }

    pub(crate) fn hardlink(self, path: &str, to: &str) -> Self {
        self.entry(b'1', path.as_bytes(), to.as_bytes(), b"")
    }

    /// Changes the header of the entry that came last, if it had no data.
    pub(crate) fn mode(mut self, mode: u32) -> Self {
        let at = self.0.len() - BLOCK;
        octal(&mut self.0[at + 100..at + 108], mode.into());
        sum(&mut self.0[at..]);
        self
    }

    /// Records for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut all = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            all.extend(format!("{length} {key}=").bytes());
            all.extend(*value);
            all.push(b'\n');
        }
        self.entry(b'x', b"pax", b"", &all)
    }

    pub(crate) fn push(&mut self, header: [u8; BLOCK], data: &[u8]) {
        self.0.extend(header);
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }

    /// With the two blocks of its end.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.0.as_slice(), &[0; 2 * BLOCK]].concat()
    }
}

pub(crate) fn header(flag: u8, path: &[u8], link: &[u8], size: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    header[..path.len().min(100)].copy_from_slice(&path[..path.len().min(100)]);
    let mode = if flag == b'5' { 0o755 } else { 0o644 };
    octal(&mut header[100..108], mode);
    octal(&mut header[108..116], 0);
    octal(&mut header[116..124], 0);
    octal(&mut header[124..136], size);
    octal(&mut header[136..148], 1_000_000_000);
    header[156] = flag;
    header[157..157 + link.len()].copy_from_slice(link);
    header[257..265].copy_from_slice(b"ustar\x0000");
    sum(&mut header);
    header
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    field[..digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
}

pub(crate) fn sum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u64 = header[..BLOCK].iter().map(|&b| u64::from(b)).sum();
    octal(&mut header[148..155], sum);
}

/// What everybody writes first: it joins names to the root and opens what comes out.
pub(crate) fn unpack_naively(tar: &[u8], root: &Path) {
    let mut at = 0;
    while tar[at] != 0 {
        let header = &tar[at..at + BLOCK];
        let text = |range: std::ops::Range<usize>| {
            let field = header[range].split(|&b| b == 0).next().unwrap();
            PathBuf::from(std::ffi::OsStr::from_bytes(field))
        };
        let octal = std::str::from_utf8(&header[124..135]).unwrap();
        let size = usize::from_str_radix(octal, 8).unwrap();
        let (path, link) = (root.join(text(0..100)), text(157..257));
        let data = &tar[at + BLOCK..at + BLOCK + size];
        drop(path.parent().map(fs::create_dir_all));
        // What fails here fails for the attacker.
        drop(match header[156] {
            b'0' => fs::File::create(&path).and_then(|mut file| file.write_all(data)),
            b'1' => fs::hard_link(root.join(link), &path),
            b'2' => std::os::unix::fs::symlink(link, &path),
            _ => fs::create_dir(&path),
        });
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
}

/// A place with images and a folder beside them that nobody may touch.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) images: Images,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        let images = Images::open(&dir.path().join("images")).unwrap();
        Self { dir, images }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Loads bytes as the tar of a root file system.
    pub(crate) fn load(&self, bytes: &[u8]) -> Result<Loaded, LoadError> {
        self.load_with(bytes, &LoadOptions::default())
    }

    pub(crate) fn load_with(&self, bytes: &[u8], options: &LoadOptions) -> Result<Loaded, LoadError> {
        let path = self.path("rootfs.tar");
        fs::write(&path, bytes).unwrap();
        Ok(self.images.load(&path, options, &())?.remove(0))
    }

    /// The only layer of what was loaded.
    pub(crate) fn layer(&self, loaded: &Loaded) -> PathBuf {
        let image = self.images.by_digest(loaded.digest).unwrap().unwrap();
        assert_eq!(image.layers.len(), 1);
        image.layers[0].path.clone()
    }

    /// What is outside, as one text.
    pub(crate) fn outside(&self) -> String {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.path("outside")).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap_or_default();
            all.push(format!("{}={text}", path.file_name().unwrap().to_str().unwrap()));
        }
        all.sort();
        all.join(" ")
    }
}

/// An error with everything below it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

/// Tells why a test cannot run on this host, and ends it.
#[macro_export]
macro_rules! skip_without {
    ($($program:literal),* $(,)?) => {{
        fn here() {}
        for program in [$($program),*] {
            if !$crate::support::is_there(program) {
                let name = std::any::type_name_of_val(&here).trim_end_matches("::here");
                let name = name.split_once("::").map_or(name, |(_, rest)| rest);
                // Not `eprintln`: the harness would swallow it.
                let line = format!("SKIPPED {name}: `{program}` is not installed; scripts/setup does it\n");
                std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
                return;
            }
        }
    }};
}

pub(crate) fn is_there(program: &str) -> bool {
    let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    dirs.iter().any(|dir| Path::new(dir).join(program).exists())
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a program in a folder; its output, or what it complains about.
pub(crate) fn run(dir: &Path, words: &[&str]) -> String {
    let mut command = std::process::Command::new(words[0]);
    if ["skopeo", "buildah"].contains(&words[0]) {
        // What somebody is logged in to is no part of a test.
        let nobody = dir.join("no-auth.json");
        std::fs::write(&nobody, "{}").unwrap();
        command.env("REGISTRY_AUTH_FILE", nobody);
    }
    command.args(&words[1..]).current_dir(dir).env("HOME", dir);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{words:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// An image of two layers, made with `umoci`: the upper one removes, replaces and hides what the lower one has.
/// It is `layout:two`; `layout:one` is its lower half. `big` bytes that nobody can compress are in it.
pub(crate) fn make_layout(dir: &Path, big: usize) {
    let umoci = |words: &[&str]| run(dir, &[&["umoci"], words].concat());
    let rootless: &[&str] = if is_root() { &[] } else { &["--rootless"] };
    umoci(&["init", "--layout", "layout"]);
    umoci(&["new", "--image", "layout:one"]);
    umoci(&[&["unpack"], rootless, &["--image", "layout:one", "bundle"]].concat());
    let root = dir.join("bundle/rootfs");
    for made in ["etc", "bin", "gone/deep", "keep/sub", "closed"] {
        fs::create_dir_all(root.join(made)).unwrap();
    }
    fs::write(root.join("etc/motd"), "hello\n").unwrap();
    fs::write(root.join("gone/deep/x"), "x").unwrap();
    fs::write(root.join("keep/sub/old"), "old").unwrap();
    fs::write(root.join("keep/file"), "kept").unwrap();
    fs::write(root.join("big"), noise(big)).unwrap();
    fs::hard_link(root.join("etc/motd"), root.join("etc/motd2")).unwrap();
    std::os::unix::fs::symlink("../etc/motd", root.join("bin/link")).unwrap();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(130));
    fs::create_dir(root.join("d".repeat(120))).unwrap();
    fs::write(root.join(long), "long").unwrap();
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o500);
    fs::set_permissions(root.join("closed"), closed).unwrap();
    umoci(&["repack", "--image", "layout:one", "bundle"]);
    run(dir, &["chmod", "-R", "u+w", "bundle"]);
    run(dir, &["rm", "-rf", "bundle"]);
    umoci(&[&["unpack"], rootless, &["--image", "layout:one", "bundle"]].concat());
    fs::remove_dir_all(root.join("gone")).unwrap();
    fs::remove_dir_all(root.join("keep/sub")).unwrap();
    fs::create_dir(root.join("keep/sub")).unwrap();
    fs::write(root.join("keep/sub/new"), "new").unwrap();
    fs::remove_file(root.join("bin/link")).unwrap();
    fs::create_dir(root.join("bin/link")).unwrap();
    umoci(&["repack", "--image", "layout:two", "bundle"]);
    umoci(&[
        "config",
        "--image",
        "layout:two",
        "--config.entrypoint",
        "/bin/app",
        "--config.cmd",
        "serve",
        "--config.env",
        "A=b",
        "--config.user",
        "1000:1000",
        "--config.workingdir",
        "/etc",
        "--config.exposedports",
        "80/tcp",
        "--config.stopsignal",
        "SIGQUIT",
        "--config.volume",
        "/data",
        "--config.label",
        "k=v",
    ]);
}

/// Bytes that no compression makes shorter.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

/// What overlayfs shows of an image: each path with its kind, mode, links, and size or target.
pub(crate) fn merged(image: &insula_images::Image, dir: &Path) -> String {
    let lower: Vec<_> = image.layers.iter().rev().map(|layer| layer.path.display().to_string()).collect();
    fs::create_dir_all(dir.join("merged")).unwrap();
    // One directory alone is no stack; an empty one below makes it one.
    fs::create_dir_all(dir.join("bottom")).unwrap();
    let lower = format!("{}:{}", lower.join(":"), dir.join("bottom").display());
    let user = image.layers.iter().any(|layer| layer.whiteouts == insula_images::Whiteouts::User);
    let options = format!("ro,lowerdir={lower}{}", if user { ",userxattr" } else { "" });
    let script = format!("mount -t overlay overlay -o \"$1\" merged && cd merged && {LISTING}");
    let unshare: &[&str] = if is_root() { &["unshare", "-m"] } else { &["unshare", "-Urm"] };
    run(dir, &[unshare, &["sh", "-ec", &script, "sh", &options]].concat())
}

/// Names, kinds, modes, and content of all files of the working directory.
const LISTING: &str = "find . -mindepth 1 -printf '%P %y %m %l\n' | LC_ALL=C sort; \
                       find . -type f -exec sha256sum {} + | LC_ALL=C sort";

/// The same of a directory.
pub(crate) fn listing(dir: &Path) -> String {
    run(dir, &["sh", "-ec", LISTING])
}

/// What `docker save` would write of an image with these layers, from the bottom.
pub(crate) fn docker_archive(tag: &str, layers: &[Tar]) -> Vec<u8> {
    use sha2::Digest;
    let hex =
        |bytes: &[u8]| sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let blobs: Vec<_> = layers.iter().map(Tar::bytes).collect();
    let ids: Vec<_> = blobs.iter().map(|blob| format!("sha256:{}", hex(blob))).collect();
    let config = serde_json::json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}});
    let names: Vec<_> = (0..blobs.len()).map(|at| format!("{at}.tar")).collect();
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [tag], "Layers": names}]);
    let mut tar = Tar::new().file("config.json", &config.to_string());
    for (name, blob) in names.iter().zip(&blobs) {
        tar = tar.entry(b'0', name.as_bytes(), b"", blob);
    }
    tar.file("manifest.json", &manifest.to_string()).bytes()
}
