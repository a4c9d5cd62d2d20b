//! What a command said last is told, however little of it may be told at a time.

use rustix::pipe::pipe;

use super::*;

/// A command that has ended, with this left in its pipe and so much credit.
fn ended(left: &[u8], credit: usize) -> Execs {
    let (reader, writer) = pipe().unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    assert_eq!(rustix::io::write(&writer, left).unwrap(), left.len());
    let exec = Exec {
        id: 7,
        pid: Pid::from_raw(i32::MAX).unwrap(),
        tidy: false,
        start: None,
        stdin: None,
        input: Vec::new(),
        last: false,
        outputs: vec![(false, reader)],
        credit,
        ended: Some(Ended::Code(0)),
        after: AFTER_END,
    };
    Execs { workload: None, all: vec![exec] }
}

/// What is told, as bytes of output and whether the end was told.
fn told(news: &[ExecNews]) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    for piece in news {
        if let ExecNews::Output { bytes: more, .. } = piece {
            bytes.extend_from_slice(more);
        }
    }
    (bytes, news.iter().any(|piece| matches!(piece, ExecNews::Ended { .. })))
}

/// Its end and its last output are noticed together: by the time the pipe is looked at, there may be no credit.
#[test]
fn a_pipe_that_is_ready_without_credit_is_not_at_its_end() {
    let mut news = Vec::new();
    let mut execs = ended(b"the last word", 0);
    execs.handle(Source::Output(7, false), &mut |piece| news.push(piece));
    assert_eq!(told(&news), (Vec::new(), false), "it was given up");
    let read = ExecAsk::Read { id: 7, bytes: 100 };
    execs.obey(read, true, (&[], &[]), &mut |piece| news.push(piece));
    assert_eq!(told(&news), (b"the last word".to_vec(), true));
}

#[test]
fn what_is_left_is_told_as_far_as_there_is_credit() {
    let mut news = Vec::new();
    let mut execs = ended(b"the last word", 4);
    for (more, so_far, over) in [(0, "the ", false), (5, "the last ", false), (100, "the last word", true)] {
        let read = ExecAsk::Read { id: 7, bytes: more };
        execs.obey(read, true, (&[], &[]), &mut |piece| news.push(piece));
        assert_eq!(told(&news), (so_far.as_bytes().to_vec(), over));
    }
}
