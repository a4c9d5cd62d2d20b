//! The protocol as claims: what is encoded decodes to itself, goldens do not move, and nothing that an
//! agent could send makes the host panic.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use insula_frames::{
    Decoder, EXEC_CHUNK, Ended, ExecAsk, ExecNews, ExecPlan, ExecWhat, FromAgent, GuestPlan, Ids, LaunchPlan,
    Line, MAX_FROM_AGENT, Malformed, Phase, Probe, Role, RootPlan, Setup, Step, ToAgent, Tree, ViewOp,
    ViewPlan, Walls,
};
use proptest::prelude::*;

fn plan() -> LaunchPlan {
    LaunchPlan {
        argv: vec!["python3".into(), "app.py".into()],
        env: vec!["PORT=8080".into()],
        cwd: "/srv".into(),
        ids: Some(Ids { agent_root: true, workload: 1000, group: 100 }),
        groups: vec![4, 24],
        view: Some(ViewPlan {
            hostname: "alice".into(),
            root: RootPlan::Layers {
                lowers: vec![Tree::Passed, Tree::Path("/layers/1".into())],
                changes: Some(Tree::Passed),
                size: 1 << 20,
            },
            read_only: true,
            guest: Some(("/rootfs".into(), RootPlan::Memory)),
            ops: vec![
                ViewOp::Attach { target: "/srv".into(), dir: true },
                ViewOp::Bind {
                    source: "/usr".into(),
                    target: "/usr".into(),
                    read_only: true,
                    optional: false,
                },
                ViewOp::Tmpfs { target: "/tmp".into(), mode: 0o1777, size: 1 << 20 },
                ViewOp::Proc { target: "/proc".into() },
                ViewOp::Symlink { target: "/bin".into(), to: "usr/bin".into() },
                ViewOp::File { target: "/etc/hosts".into(), content: b"x".to_vec() },
                ViewOp::Dir { target: "/run".into(), mode: 0o755 },
                ViewOp::Own { target: "/data".into() },
                ViewOp::Mask { target: "/proc/keys".into() },
                ViewOp::ReadOnly { target: "/proc/sys".into() },
                ViewOp::Shared { target: "/guest".into() },
                ViewOp::Agent { target: "/guest/agent".into() },
            ],
        }),
        open_files: Some(64),
        stop_signal: Some(2),
        role: Role::Guest(Box::new(GuestPlan {
            root: "/system".into(),
            view: ViewPlan {
                hostname: "alice".into(),
                root: RootPlan::Memory,
                read_only: true,
                guest: None,
                ops: vec![ViewOp::Proc { target: "/proc".into() }],
            },
            processes: Some(64),
        })),
        filters: vec![vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f]],
        probe: Probe { port: 8080, socket: "/run/app.sock".into() },
        spill: true,
    }
}

fn exec(what: ExecWhat) -> ExecPlan {
    ExecPlan { id: 7, what, env: vec!["PASSWORD=hunter2".into()], cwd: Some("/srv".into()), input: true }
}

fn to_agent() -> Vec<ToAgent> {
    vec![
        ToAgent::Hello { version: 1, epoch: 7, logs_from: 9 },
        ToAgent::Setup(Setup {
            key: "k".into(),
            epoch: 7,
            walls: Walls::USER.and(Walls::PID),
            map_self: Some(1000),
            agent_groups: 2,
            app_groups: 4,
            token: true,
            filters: vec![vec![0; 8]],
        }),
        ToAgent::Launch(Box::new(plan())),
        ToAgent::Commit,
        ToAgent::Signal(15),
        ToAgent::KillAll,
        ToAgent::Pause,
        ToAgent::Resume,
        ToAgent::Sockets { count: 4, v6: false },
        ToAgent::LogAck { next: 3 },
        ToAgent::Bye,
        ToAgent::Egress,
        ToAgent::Exec(ExecAsk::Start(exec(ExecWhat::Program(vec!["sh".into(), "-c".into()])))),
        ToAgent::Exec(ExecAsk::Start(exec(ExecWhat::ReadFile("/a".into())))),
        ToAgent::Exec(ExecAsk::Start(exec(ExecWhat::WriteFile { path: "/a".into(), mode: 0o644 }))),
        ToAgent::Exec(ExecAsk::Input { id: 7, bytes: vec![0, 1], last: true }),
        ToAgent::Exec(ExecAsk::Read { id: 7, bytes: 9 }),
        ToAgent::Exec(ExecAsk::Kill { id: 7 }),
        ToAgent::Exec(ExecAsk::KillAll),
    ]
}

fn from_agent() -> Vec<FromAgent> {
    let line = Line { seq: 1, micros: 2, stderr: true, bytes: b"hello".to_vec() };
    vec![
        FromAgent::Welcome { version: 1, key: "k".into(), phase: Phase::Blank, next_line: 0 },
        FromAgent::Welcome {
            version: 1,
            key: "k".into(),
            phase: Phase::Running { listening: true },
            next_line: 5,
        },
        FromAgent::Welcome {
            version: 1,
            key: "k".into(),
            phase: Phase::Exited(Ended::Signal(9)),
            next_line: 5,
        },
        FromAgent::ShellReady { pid: 42 },
        FromAgent::Started,
        FromAgent::Failed { step: Step::Exec, errno: 2, detail: "python3".into() },
        FromAgent::Committed,
        FromAgent::Listening { v6: false, unix: false, passed: true },
        FromAgent::Exited { ended: Ended::Code(1), next_line: 8 },
        FromAgent::Sockets { count: 2 },
        FromAgent::Log { gap: Some((1, 4)), lines: vec![line] },
        FromAgent::Done,
        FromAgent::Egress { count: 4, errno: 0 },
        FromAgent::Exec(ExecNews::Started { id: 7 }),
        FromAgent::Exec(ExecNews::Failed { id: 7, step: Step::Exec, errno: 2 }),
        FromAgent::Exec(ExecNews::Taken { id: 7, bytes: 5 }),
        FromAgent::Exec(ExecNews::Output { id: 7, stderr: true, bytes: vec![0xff, 0] }),
        FromAgent::Exec(ExecNews::Ended { id: 7, ended: Ended::Signal(9) }),
    ]
}

fn cut(bytes: &[u8]) -> (u8, Vec<u8>) {
    let mut decoder = Decoder::new(1 << 20);
    decoder.push(bytes);
    let (kind, fields) = decoder.next_frame().unwrap().unwrap();
    (kind, fields.to_vec())
}

#[test]
fn every_frame_decodes_to_itself() {
    for frame in to_agent() {
        let (kind, fields) = cut(&frame.encode());
        assert_eq!(ToAgent::decode(kind, &fields), Ok(frame));
    }
    for frame in from_agent() {
        let (kind, fields) = cut(&frame.encode());
        assert_eq!(FromAgent::decode(kind, &fields), Ok(frame));
    }
}

#[test]
fn every_truncation_and_every_trailing_byte_is_refused() {
    for frame in from_agent() {
        let (kind, fields) = cut(&frame.encode());
        for end in 0..fields.len() {
            assert!(FromAgent::decode(kind, &fields[..end]).is_err(), "{frame:?} cut at {end}");
        }
        let longer = [&fields[..], &[0]].concat();
        assert_eq!(FromAgent::decode(kind, &longer), Err(Malformed::Trailing));
    }
    for frame in to_agent() {
        let (kind, fields) = cut(&frame.encode());
        for end in 0..fields.len() {
            assert!(ToAgent::decode(kind, &fields[..end]).is_err(), "{frame:?} cut at {end}");
        }
    }
}

/// The wire format is a promise to agents of older builds: these bytes may not change without a new VERSION.
#[test]
fn the_wire_format_does_not_move() {
    assert_eq!(
        FromAgent::Exited { ended: Ended::Code(1), next_line: 8 }.encode(),
        [14, 0, 0, 0, 6, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        ToAgent::Hello { version: 1, epoch: 2, logs_from: 3 }.encode(),
        [19, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn a_role_is_one_byte_where_it_always_was() {
    // Agents of older builds know `wall` as a truth value there.
    let role = |role| {
        let bytes = ToAgent::Launch(Box::new(LaunchPlan { role, ..plan() })).encode();
        let socket = b"/run/app.sock";
        let at = bytes.windows(socket.len()).position(|part| part == socket).unwrap();
        // Behind it are the port and the length of the path.
        bytes[at - 4 - 2 - 1]
    };
    assert_eq!((role(Role::Program), role(Role::Wall)), (0, 1));
}

#[test]
fn claimed_counts_do_not_allocate() {
    let mut fields = vec![0];
    fields.extend(u32::MAX.to_le_bytes());
    assert_eq!(FromAgent::decode(8, &fields), Err(Malformed::Short));
}

#[test]
fn a_line_over_the_bound_is_refused() {
    let long = Line { seq: 0, micros: 0, stderr: false, bytes: vec![0; insula_frames::MAX_LINE + 1] };
    let (kind, fields) = cut(&FromAgent::Log { gap: None, lines: vec![long] }.encode());
    assert_eq!(FromAgent::decode(kind, &fields), Err(Malformed::Value));
}

proptest! {
    #[test]
    fn random_fields_never_panic(kind in 0u8..16, fields in proptest::collection::vec(any::<u8>(), 0..256)) {
        let agent = FromAgent::decode(kind, &fields);
        let host = ToAgent::decode(kind, &fields);
        if let Ok(frame) = agent {
            let (kind, again) = cut(&frame.encode());
            prop_assert_eq!(kind, frame.encode()[4]);
            prop_assert_eq!(FromAgent::decode(kind, &again), Ok(frame));
        }
        if let Ok(frame) = host {
            prop_assert_eq!(cut(&frame.encode()).1, fields);
        }
    }

    #[test]
    fn a_stream_splits_anywhere(cuts in proptest::collection::vec(1usize..40, 0..60)) {
        let stream: Vec<u8> = from_agent().iter().flat_map(FromAgent::encode).collect();
        let mut decoder = Decoder::new(MAX_FROM_AGENT);
        let mut seen = Vec::new();
        let mut rest = &stream[..];
        let mut cuts = cuts.into_iter();
        while !rest.is_empty() {
            let n = cuts.next().unwrap_or(rest.len()).min(rest.len());
            decoder.push(&rest[..n]);
            rest = &rest[n..];
            while let Some((kind, fields)) = decoder.next_frame().unwrap() {
                seen.push(FromAgent::decode(kind, fields).unwrap());
            }
        }
        prop_assert_eq!(seen, from_agent());
        prop_assert!(decoder.is_empty());
    }

    #[test]
    fn random_streams_end_in_an_error_or_wait(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let mut decoder = Decoder::new(128);
        decoder.push(&bytes);
        while let Ok(Some((kind, fields))) = decoder.next_frame() {
            prop_assert!(fields.len() < 128);
            drop(FromAgent::decode(kind, fields));
        }
    }
}

#[test]
fn a_piece_of_a_stream_over_the_bound_is_refused() {
    let bytes = vec![0; EXEC_CHUNK + 1];
    let (kind, fields) =
        cut(&FromAgent::Exec(ExecNews::Output { id: 1, stderr: false, bytes: bytes.clone() }).encode());
    assert_eq!(FromAgent::decode(kind, &fields), Err(Malformed::Value));
    let (kind, fields) = cut(&ToAgent::Exec(ExecAsk::Input { id: 1, bytes, last: false }).encode());
    assert_eq!(ToAgent::decode(kind, &fields), Err(Malformed::Value));
}

#[test]
fn a_command_shows_the_names_of_its_environment_only() {
    let shown = format!("{:?}", ToAgent::Exec(ExecAsk::Start(exec(ExecWhat::ReadFile("/a".into())))));
    assert!(shown.contains("PASSWORD") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_launch_shows_the_names_of_its_environment_only() {
    let launch = LaunchPlan { env: vec!["PASSWORD=hunter2=x".into(), "EMPTY=".into()], ..plan() };
    let shown = format!("{launch:?} {:#?}", ToAgent::Launch(Box::new(launch.clone())));
    assert!(shown.contains("PASSWORD") && shown.contains("EMPTY") && !shown.contains("hunter2"), "{shown}");
}
