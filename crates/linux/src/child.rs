//! Children that must not outlive whoever started them.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

/// Has what `command` starts killed when the thread that starts it ends, however that comes.
pub fn ends_with_thread(command: &mut Command) -> &mut Command {
    let end = || set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into);
    // SAFETY: between fork and execve this makes one system call (prctl), which allocates nothing and takes no lock.
    unsafe { command.pre_exec(end) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::Stdio;

    #[test]
    fn a_child_ends_with_the_thread_that_started_it() {
        let start = |bound: bool| {
            let mut command = Command::new("cat");
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            std::thread::spawn(
                move || if bound { ends_with_thread(&mut command).spawn() } else { command.spawn() },
            )
            .join()
            .unwrap()
            .unwrap()
        };
        let mut bound = start(true);
        // Its input is still open: only a signal ends it.
        assert_eq!(bound.stdout.take().unwrap().read(&mut [0]).unwrap(), 0);
        assert!(!bound.wait().unwrap().success());
        let mut free = start(false);
        assert!(free.try_wait().unwrap().is_none(), "the control");
        drop(free.stdin.take());
        assert!(free.wait().unwrap().success());
    }
}
