//! Files go in and out whole, as the user of the instance, and no link leads the copy out of the walls.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use insula_tests::{Server, wait_until};
use serde_json::json;

use crate::exec::refused;
use crate::ground::{Claim, Ground, Shown, act, held};

pub(crate) const CLAIM: Claim =
    Claim { name: "files_in_out", says: "files go in and out, within its walls", from: "namespace", run };

fn run(ground: &Ground) -> Shown {
    let server = ground.serve(include_str!("act.py"), "", &["a"]);
    if let Some(shown) = refused(ground, &server) {
        return shown;
    }
    let dir = act(&server, "app:a", "names", &[])["dir"].as_str().unwrap().to_owned();
    both_ways(&server, &dir);
    wrong(&server, &dir);
    links(ground, &server);
    torn(&server, &dir);
    Shown::Yes
}

fn both_ways(server: &Server, dir: &str) {
    let bytes: Vec<u8> = (0..1_000_003u32).map(|n| (n * 7 % 253).to_le_bytes()[0]).collect();
    let here = server.place().path().join("in.bin");
    fs::write(&here, &bytes).unwrap();
    fs::set_permissions(&here, fs::Permissions::from_mode(0o750)).unwrap();
    // A path that ends with a slash keeps the name.
    server.cli(&["cp", here.to_str().unwrap(), &format!("app:a:{dir}/")]).ok();
    let found = act(server, "app:a", "look", &[("name", "in.bin")]);
    assert_eq!(
        (&found["mode"], &found["size"], &found["uid"]),
        (&json!(0o750), &json!(bytes.len()), &found["own"])
    );
    let back = server.place().path().join("out.bin");
    server.cli(&["cp", &format!("app:a:{dir}/in.bin"), back.to_str().unwrap()]).ok();
    assert!(fs::read(&back).unwrap() == bytes);
    let through = server.fed(&["cp", "-", &format!("app:a:{dir}/piped")], &bytes);
    assert!(through.status.success(), "{through:?}");
    let out = server.fed(&["cp", &format!("app:a:{dir}/piped"), "-"], &[]);
    assert!(out.status.success() && out.stdout == bytes);
}

fn wrong(server: &Server, dir: &str) {
    let nowhere = server.place().path().join("nowhere");
    for (from, to, says) in [
        (format!("app:a:{dir}/no-such"), "-".to_owned(), "no-such"),
        (format!("app:a:{dir}"), "-".to_owned(), "regular file"),
        ("-".to_owned(), format!("app:a:{dir}/no/such/file"), "no/such/file"),
        ("-".to_owned(), format!("app:a:{dir}"), "directory"),
        (nowhere.to_str().unwrap().to_owned(), format!("app:a:{dir}/x"), "nowhere"),
        ("a".to_owned(), "b".to_owned(), "one side"),
    ] {
        let answer = server.cli(&["cp", &from, &to]);
        assert!(answer.code != 0 && answer.stderr.contains(says), "{from} {to}: {answer:?}");
    }
    let missing = server.place().path().join("missing");
    let answer = server.cli(&["cp", &format!("app:a:{dir}/no-such"), missing.to_str().unwrap()]);
    assert!(answer.code != 0 && !missing.exists());
    let names = act(server, "app:a", "names", &[]).to_string();
    assert!(!names.contains(".part"), "{names}");
}

/// A link of the instance leads where it leads inside.
fn links(ground: &Ground, server: &Server) {
    let file = server.place().path().join("of-the-host");
    fs::write(&file, "of the host").unwrap();
    let link = act(server, "app:a", "link", &[("path", file.to_str().unwrap())]);
    let link = link["link"].as_str().unwrap();
    let read = server.fed(&["cp", &format!("app:a:{link}"), "-"], &[]);
    held(ground, "namespace", &json!({ "through": read.stdout == b"of the host" }));
    // What is written goes in the place of the link, not to where it leads.
    let written = server.fed(&["cp", "-", &format!("app:a:{link}")], b"new");
    assert!(written.status.success(), "{written:?}");
    assert_eq!(fs::read(&file).unwrap(), b"of the host");
    let name = Path::new(link).file_name().unwrap().to_str().unwrap();
    assert_eq!(act(server, "app:a", "look", &[("name", name)])["size"], 3);
}

/// A copy whose client goes away leaves the file that was there, and nothing else.
fn torn(server: &Server, dir: &str) {
    let mut client = server.begin(&["cp", "-", &format!("app:a:{dir}/piped")]);
    client.write(&[b'x'; 100_000]);
    let names = || act(server, "app:a", "names", &[]).to_string();
    wait_until("the copy has begun", || names().contains(".part").then_some(()));
    client.kill();
    wait_until("the part is gone", || (!names().contains(".part")).then_some(()));
    assert_eq!(act(server, "app:a", "look", &[("name", "piped")])["size"], 1_000_003);
}
