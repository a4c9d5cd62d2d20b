//! `insula image`, with and without a daemon.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use insula_tests::{Answer, Place, Server, is_root, program, system_program};

use crate::common::app;

/// A directory with a root file system, as a user would have one.
fn rootfs(place: &Place) -> PathBuf {
    let root = place.path().join("rootfs");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/app"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("bin/app"), std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    root
}

#[test]
fn an_image_comes_is_shown_and_goes_without_a_daemon() {
    let place = Place::new();
    let (home, root) = (place.home(), rootfs(&place));
    let image = |words: &[&str]| Answer::of(&home, &[&["image"], words].concat());
    assert!(image(&["ls"]).ok().stderr.contains("no images"));
    let loaded = image(&["load", root.to_str().unwrap(), "--name", "own/app:1"]).ok();
    assert!(loaded.stdout.contains("docker.io/own/app:1 loaded"), "{loaded:?}");
    assert!(loaded.stderr.contains("1 set-user-id or set-group-id bits were cleared"), "{loaded:?}");
    let listed = image(&["ls", "--json"]).ok().json();
    assert_eq!(
        (listed[0]["name"].as_str(), listed[0]["layers"].as_u64()),
        (Some("docker.io/own/app:1"), Some(1))
    );
    let digest = listed[0]["digest"].as_str().unwrap();
    let shown = image(&["inspect", &digest["sha256:".len()..][..12]]).ok();
    assert!(shown.stdout.contains(digest) && shown.stdout.contains("bits were cleared"), "{shown:?}");
    let layers = home.join("images/layers");
    image(&["rm", "own/app:1"]).ok();
    assert_eq!(fs::read_dir(&layers).unwrap().count(), 1, "it went before it was collected");
    assert!(image(&["gc"]).ok().stdout.starts_with("0 images, 1 layers"));
    assert_eq!(fs::read_dir(&layers).unwrap().count(), 0);
}

#[test]
fn it_works_beside_a_daemon() {
    let server = Server::start(&app("serve", "", &["a"]));
    let root = rootfs(server.place());
    let home = server.place().home();
    Answer::of(&home, &["image", "load", root.to_str().unwrap(), "--name", "own/app:1"]).ok();
    Answer::of(&home, &["image", "gc"]).ok();
    assert_eq!(Answer::of(&home, &["image", "ls", "--json"]).ok().json().as_array().unwrap().len(), 1);
    server.get("app:a", "/").expect(200);
}

#[test]
fn the_image_of_a_configured_service_is_not_removed() {
    let place = Place::new();
    let (home, root) = (place.home(), rootfs(&place));
    let config = place.configure("[service.notes]\nisolation = \"container\"\nimage = \"own/app:1\"\n");
    Answer::of(&home, &["image", "load", root.to_str().unwrap(), "--name", "own/app:1"]).ok();
    let rm = |more: &[&str]| {
        Answer::of(
            &home,
            &[&["image", "rm", "own/app:1", "--config", config.to_str().unwrap()], more].concat(),
        )
    };
    let refused = rm(&[]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(
        refused.stderr.contains("`[service.notes]`") && refused.stderr.contains("--force"),
        "{refused:?}"
    );
    rm(&["--force"]).ok();
}

/// A registry at an address that is not of the loopback, so that it has to speak TLS: in a network of the test's own. The
/// image is pushed, and pulled with and without the authority that vouches for the certificate.
const OVER_TLS: &str = r#"
ip link set lo up
ip address add 10.9.9.9/32 dev lo
echo "{}" >auth.json
key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
openssl req -x509 $key -days 2 -keyout ca.key -out ca.pem -subj "/CN=An authority of a test" 2>/dev/null
openssl req $key -keyout key.pem -out csr.pem -subj "/CN=A registry of a test" 2>/dev/null
printf 'subjectAltName=IP:10.9.9.9\nbasicConstraints=CA:FALSE\n' >ext
openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out cert.pem 2>/dev/null
cat >registry.yml <<EOF
version: 0.1
log: {level: info}
storage: {filesystem: {rootdirectory: $PWD/registry}}
http: {addr: "10.9.9.9:5000", tls: {certificate: $PWD/cert.pem, key: $PWD/key.pem}}
EOF
umoci --log=error init --layout layout
umoci --log=error new --image layout:one
umoci --log=error insert --rootless --image layout:one rootfs /
mkfifo said
OTEL_TRACES_EXPORTER=none docker-registry serve registry.yml >/dev/null 2>said &
trap "kill $!" EXIT
# Only the registry holds the other end: should it die, this ends too.
exec 3<said
grep -m 1 "listening on" <&3
cat <&3 >/dev/null &
# Nobody's login; the registry itself would take this for a part of its configuration.
export REGISTRY_AUTH_FILE="$PWD/auth.json"
skopeo --insecure-policy --tmpdir . copy -q --dest-tls-verify=false oci:layout:one docker://10.9.9.9:5000/team/app:1
echo "--- a stranger"
"$INSULA" image pull 10.9.9.9:5000/team/app:1 2>&1 && exit 9
echo "--- one who is vouched for"
SSL_CERT_FILE=ca.pem "$INSULA" image pull 10.9.9.9:5000/team/app:1
"#;

#[test]
fn an_image_is_pulled_over_tls_from_whom_an_authority_vouches_for() {
    let place = Place::new();
    rootfs(&place);
    let mut command = Command::new(system_program("unshare").unwrap());
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "sh", "-euc", OVER_TLS]).current_dir(place.path());
    command.env("INSULA", program()).env("INSULA_HOME", place.home()).env_remove("SSL_CERT_FILE");
    let answer = Answer::from(command.output().unwrap()).ok();
    let (stranger, believed) = answer.stdout.split_once("--- one who is vouched for").unwrap();
    assert!(stranger.contains("certificate") && !stranger.contains(" pulled"), "{stranger}");
    assert!(believed.contains("10.9.9.9:5000/team/app:1 pulled"), "{answer:?}");
}

#[test]
fn every_failure_has_its_code_and_says_what_to_do() {
    let place = Place::new();
    let home = place.home();
    let port = insula_tests::free_port();
    let nobody = format!("127.0.0.1:{port}/a");
    fs::write(place.path().join("cut.tar"), [b'x'; 700]).unwrap();
    let cut = place.path().join("cut.tar").display().to_string();
    for (words, code, said) in [
        (&["inspect", "nobody"][..], 3, "there is no image `nobody` here"),
        (&["rm", "nobody"], 3, "insula image ls"),
        (&["load", "/nowhere"], 3, "cannot read `/nowhere`"),
        (&["load", &cut], 1, "no valid `checksum`"),
        (&["pull", "Upper"], 2, "lower-case letters"),
        (&["pull", &nobody], 1, "cannot connect to"),
        (&["pull", &nobody, "--auth-file", "/nowhere"], 1, "cannot read `/nowhere`"),
    ] {
        let answer = Answer::of(&home, &[&["image"], words].concat());
        assert_eq!(answer.code, code, "{words:?}: {answer:?}");
        assert!(answer.stderr.contains(said), "{words:?}: {answer:?}");
        assert!(answer.stdout.is_empty());
    }
}

/// Until an engine for images is there, a service with one is refused, and never run with the host's files.
#[test]
fn a_service_with_an_image_is_never_run_without_it() {
    let place = Place::new();
    let config = place
        .configure("[service.notes]\ncommand = \"true\"\nimage = \"own/app:1\"\nisolation = \"namespace\"\n");
    let check = Answer::of(&place.home(), &["config", "check", "--config", config.to_str().unwrap()]);
    assert_eq!(check.code, 6, "{check:?}");
    assert!(check.stderr.contains("`namespace` shows those of the host"), "{check:?}");
}
