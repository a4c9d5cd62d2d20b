//! Debian's `docker-registry` on the loopback.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::support::run;

/// Who may pull where somebody has to log in.
pub(crate) const USER: &str = "alice";
/// And with what.
pub(crate) const PASSWORD: &str = "correct-horse";

/// A registry, ended with this.
pub(crate) struct Registry {
    child: Child,
    pub(crate) port: u16,
    auth: bool,
}

impl Registry {
    /// Starts one with its files in this folder, and waits until it listens.
    pub(crate) fn start(dir: &Path, auth: bool) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}/registry}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"}}\n",
            dir.display()
        );
        if auth {
            let line = run(dir, &["htpasswd", "-Bbn", USER, PASSWORD]);
            fs::write(dir.join("htpasswd"), line).unwrap();
            config += &format!("auth: {{htpasswd: {{realm: test, path: {}/htpasswd}}}}\n", dir.display());
        }
        fs::write(dir.join("registry.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        command.args(["serve", "registry.yml"]).current_dir(dir).env("OTEL_TRACES_EXPORTER", "none");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("listening on")), "the registry did not start");
        // Whoever does not read would stop it once the pipe is full.
        std::thread::spawn(move || lines.count());
        Self { child, port, auth }
    }

    /// Puts an image there with `skopeo`.
    pub(crate) fn push(&self, dir: &Path, from: &str, name: &str) {
        let to = format!("docker://127.0.0.1:{}/{name}", self.port);
        let creds = format!("{USER}:{PASSWORD}");
        let mut words =
            vec!["skopeo", "--insecure-policy", "--tmpdir", ".", "copy", "-q", "--dest-tls-verify=false"];
        if self.auth {
            words.extend(["--dest-creds", &creds]);
        }
        words.extend([from, &to]);
        run(dir, &words);
    }

    /// Puts a list of manifests there.
    pub(crate) fn put_index(&self, repository: &str, tag: &str, body: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "PUT /v2/{repository}/manifests/{tag} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\
             Content-Type: application/vnd.oci.image.index.v1+json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A file as `docker login` writes it.
pub(crate) fn auth_file(port: u16, user: &str, password: &str) -> String {
    let auth = base64(format!("{user}:{password}").as_bytes());
    format!(r#"{{"auths":{{"127.0.0.1:{port}":{{"auth":"{auth}"}}}}}}"#)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let all = three.iter().chain([&0; 2]).take(3).fold(0_usize, |sum, &b| sum << 8 | usize::from(b));
        let digit =
            |at: usize| if at <= three.len() { char::from(DIGITS[all >> (18 - 6 * at) & 63]) } else { '=' };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    bytes.chunks(3).flat_map(group).collect()
}
