//! The program `runsc`: run on the platform that is configured, and never waited for without an end.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use insula_tests::{Options, Place, Process, Server, skip, wait_until};

use crate::common::{app, lacks};

#[test]
fn the_platform_that_is_configured_is_the_one_that_runs() {
    for platform in ["systrap", "ptrace"] {
        let config = format!(
            "[levels.gvisor]\nplatform = \"{platform}\"\n{}",
            app("serve", "isolation = \"gvisor\"", &["a"])
        );
        let server = Server::start(&config);
        if let Some(why) = lacks(&server, "gvisor") {
            skip!("{why}");
        }
        server.get("app:a", "/health").expect(200);
        // The workload of the host is the program; the kernel inside is a child of it.
        let program = server.app("app:a");
        let sandbox = wait_until("the guest's kernel", || {
            program.children().into_iter().find(|child| child.command.contains("runsc-sandbox"))
        });
        for process in [&program, &sandbox] {
            assert!(process.command.contains(&format!("--platform={platform}")), "{process:?}");
        }
        if platform == "ptrace" {
            // A tracer is a thread, and any of its threads may be the one.
            let own = |tracer: String| fs::exists(format!("/proc/{}/task/{tracer}", sandbox.pid)).unwrap();
            let traced = |process: &Process| process.field("TracerPid").is_some_and(own);
            wait_until("it traces what it runs", || Process::all().iter().any(traced).then_some(()));
        }
    }
}

/// It would need a device that the walls do not give; a start says so, and what would do.
#[test]
fn a_platform_that_the_walls_do_not_give_is_refused() {
    let table = |platform| format!("[levels.gvisor]\nplatform = \"{platform}\"\n");
    let service = app("serve", "isolation = \"gvisor\"", &["a"]);
    // What the host lacks besides comes first where it is told: the control tells it from the platform.
    let (usual, kvm) =
        (Server::start(&(table("systrap") + &service)), Server::start(&(table("kvm") + &service)));
    assert!(lacks(&usual, "gvisor").is_none_or(|why| !why.contains("kvm")));
    let config = kvm.place().path().join("insula.toml");
    let report = kvm.cli(&["doctor", "--json", "--config", config.to_str().unwrap()]).json();
    let levels = report["levels"].as_array().unwrap().clone();
    let level = levels.iter().find(|level| level["level"] == "gvisor").unwrap();
    assert!(level["why_not"].as_str().unwrap().contains("/dev/kvm"), "{level}");
    let refused = kvm.cli(&["spawn", "app:a"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains("/dev/kvm") && refused.stderr.contains("systrap"), "{refused:?}");
}

/// A program for x86-64 that says it is a runsc of 2024 when it is asked for its version, and else waits for ever.
#[cfg(target_arch = "x86_64")]
fn hanging() -> Vec<u8> {
    const SAID: &[u8] = b"runsc version 0.0~20240729.0\n";
    const BASE: u64 = 0x40_0000;
    const HEADERS: usize = 64 + 56;
    #[rustfmt::skip]
    let code = [
        0x48, 0x8b, 0x04, 0x24,             // mov rax, [rsp]      the number of arguments
        0x83, 0xf8, 0x02,                   // cmp eax, 2
        0x75, 0x21,                         // jne wait
        0xb8, 1, 0, 0, 0,                   // mov eax, write
        0xbf, 1, 0, 0, 0,                   // mov edi, 1
        0x48, 0x8d, 0x35, 0x19, 0, 0, 0,    // lea rsi, [said]
        0xba, 29, 0, 0, 0,                  // mov edx, its length
        0x0f, 0x05,                         // syscall
        0xb8, 60, 0, 0, 0,                  // mov eax, exit
        0x31, 0xff,                         // xor edi, edi
        0x0f, 0x05,                         // syscall
        0xb8, 34, 0, 0, 0,                  // wait: mov eax, pause
        0x0f, 0x05,                         // syscall
        0xeb, 0xf7,                         // jmp wait
    ];
    let size = (HEADERS + code.len() + SAID.len()) as u64;
    let mut file = Vec::new();
    // ELF, 64 bits, little endian, version 1; a program for x86-64 (elf(5)).
    file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0]);
    [BASE + HEADERS as u64, 64, 0].iter().for_each(|word| file.extend(word.to_le_bytes()));
    [0_u32].iter().for_each(|word| file.extend(word.to_le_bytes()));
    [64_u16, 56, 1, 0, 0, 0].iter().for_each(|half| file.extend(half.to_le_bytes()));
    // One segment to load: all of it, to be read and executed.
    [1_u32, 5].iter().for_each(|word| file.extend(word.to_le_bytes()));
    [0, BASE, BASE, size, size, 0x1000].iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.extend(code);
    file.extend(SAID);
    file
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_program_that_hangs_is_killed_and_named() {
    let place = Place::new();
    let path = place.path().join("runsc");
    fs::write(&path, hanging()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let keys = "isolation = \"gvisor\"\nrestart = \"never\"";
    let config = format!("[levels.gvisor]\npath = \"$ROOT/runsc\"\n{}", app("serve", keys, &["a"]));
    let server = Server::with(place, &config, &Options::default());
    if let Some(why) = lacks(&server, "gvisor") {
        skip!("{why}");
    }
    let answer = server.cli(&["spawn", "app:a"]);
    assert_ne!(answer.code, 0, "{answer:?}");
    server.wait_observed("app:a", "failed");
    let why = server.cli(&["why", "app:a"]).ok().stdout;
    assert!(why.contains("`runsc` did not bring its guest up") && why.contains("platform"), "{why}");
    let file = fs::metadata(server.place().path().join("runsc")).unwrap();
    let hangs = |process: &Process| {
        let program = fs::metadata(format!("/proc/{}/exe", process.pid));
        program.is_ok_and(|program| (program.dev(), program.ino()) == (file.dev(), file.ino()))
    };
    wait_until("nothing of it runs", || (!Process::all().iter().any(hangs)).then_some(()));
}
