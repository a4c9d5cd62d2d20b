//! What the parent waits for, and what it makes of it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use super::notify::Due;
use super::supervise::{End, Event};
use super::worker::Worker;
use super::{Parent, announce, handover, raw};
use crate::lifeline::{Report, ToParent, ToWorker};
use crate::slim::slim;

/// Who has something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Worker,
    Standby,
    Door,
    /// By its place among the visitors.
    Visitor(usize),
}

/// Visitors at once; one more, and the oldest, who has not said a word yet, has to leave.
const VISITORS: usize = 8;

impl Parent {
    /// Waits for the next thing to happen.
    pub(super) fn wait(&mut self, events: &mut VecDeque<Event>) -> anyhow::Result<()> {
        let spoke = self.listen()?;
        if spoke.contains(&Source::Worker) {
            self.hear_worker(events);
        }
        if spoke.contains(&Source::Standby) {
            self.hear_standby(events);
        }
        while let Some(signal) = self.signals.next().context("cannot read signals")? {
            match Signal::from_named_raw(signal) {
                Some(Signal::CHILD) => self.reap(events)?,
                Some(Signal::HUP) => self.reload(None, false, events),
                _ => self.asked(events),
            }
        }
        // From the last one on, so that the places of the others stay the same.
        for at in (0..self.visitors.len()).rev().filter(|at| spoke.contains(&Source::Visitor(*at))) {
            if self.swap.is_none() {
                self.hear_visitor(at, events);
            }
        }
        if spoke.contains(&Source::Door) {
            self.let_in()?;
        }
        if self.deadline.is_some_and(|d| d <= Instant::now()) {
            self.deadline = None;
            events.push_back(Event::Elapsed);
        }
        if self.swap.as_ref().is_some_and(|s| s.deadline <= Instant::now()) {
            self.hand(handover::Event::Elapsed, events);
        }
        self.watch();
        Ok(())
    }

    fn let_in(&mut self) -> anyhow::Result<()> {
        let visitor = self.door.accept().context("cannot let a request in")?;
        if visitor.is_some() && self.visitors.len() >= VISITORS {
            self.visitors.remove(0);
        }
        self.visitors.extend(visitor);
        Ok(())
    }

    /// Asks the worker whether it is there, if somebody wants to know that, and ends one that does not answer.
    /// While none is meant to answer there is nothing to ask.
    fn watch(&mut self) {
        let serving = self.supervisor.is_serving() && self.swap.is_none();
        match (self.notifier.due(), &self.worker) {
            (Some(Due::Ask), Some(worker)) if serving => worker.tell(&ToWorker::Ping),
            (Some(Due::Silent), Some(worker)) if serving => {
                tracing::error!(pid = raw(worker.pid()), "the worker does not answer and is killed");
                worker.kill();
            }
            (Some(_), _) => self.notifier.alive(),
            (None, _) => {}
        }
    }

    fn listen(&self) -> anyhow::Result<Vec<Source>> {
        let swap = self.swap.as_ref();
        let mut watched: Vec<(Source, BorrowedFd<'_>)> = vec![(Source::Signals, self.signals.as_fd())];
        watched.extend(self.worker.as_ref().and_then(Worker::messages).map(|fd| (Source::Worker, fd)));
        let standby = swap.and_then(|s| s.standby.as_ref()).and_then(Worker::messages);
        watched.extend(standby.map(|fd| (Source::Standby, fd)));
        // During a planned restart they wait for its end, which is soon.
        let visitors = self.visitors.iter().enumerate().filter(|_| swap.is_none());
        watched.extend(visitors.map(|(at, v)| (Source::Visitor(at), v.as_fd())));
        watched.push((Source::Door, self.door.as_fd()));
        let deadline =
            [self.deadline, swap.map(|s| s.deadline), self.notifier.deadline()].into_iter().flatten().min();
        let timeout = deadline.map(|d| timespec(d.saturating_duration_since(Instant::now())));
        let mut fds: Vec<_> =
            watched.iter().map(|(_, fd)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(e) => return Err(e).context("cannot wait for signals"),
        }
        let ready = watched.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|((source, _), _)| *source).collect())
    }

    fn hear_worker(&mut self, events: &mut VecDeque<Event>) {
        let Some(worker) = &mut self.worker else { return };
        match worker.recv() {
            Ok(Some(ToParent::Ready(report))) => {
                tracing::info!(pid = raw(worker.pid()), epoch = report.epoch, "worker ready");
                self.ready(report, events);
            }
            Ok(Some(ToParent::Pong)) => self.notifier.alive(),
            Ok(Some(ToParent::Released)) => self.hand(handover::Event::Released, events),
            Ok(Some(message)) => tracing::warn!(?message, "the worker said something out of turn"),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the worker said something that is not a message"),
        }
    }

    fn ready(&mut self, report: Report, events: &mut VecDeque<Event>) {
        events.push_back(Event::Ready);
        if self.swap.is_none() {
            self.notifier.ready(&self.status());
        }
        if let Some(config) = self.greeting.take() {
            announce::ready(self.printer, &self.home, &config, (self.current.port, &report));
        }
        slim();
        if let Some(swap) = &mut self.swap {
            swap.report = Some(report);
            self.hand(handover::Event::Ready, events);
        }
        self.pass_on();
    }

    fn hear_standby(&mut self, events: &mut VecDeque<Event>) {
        let Some(worker) = self.swap.as_mut().and_then(|s| s.standby.as_mut()) else { return };
        match worker.recv() {
            Ok(Some(ToParent::Prepared)) => self.hand(handover::Event::Prepared, events),
            Ok(Some(message)) => tracing::warn!(?message, "the new worker said something out of turn"),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the new worker said something that is not a message"),
        }
    }

    /// Somebody wants the whole to end. A planned restart that can be given up is, another one is waited for.
    fn asked(&mut self, events: &mut VecDeque<Event>) {
        self.hand(handover::Event::Cancel, events);
        match self.swap {
            Some(_) => self.asked_meanwhile += 1,
            None => events.push_back(Event::Asked),
        }
    }

    /// Takes note of every process that ended: workers, and agents whose worker died before them.
    pub(super) fn reap(&mut self, events: &mut VecDeque<Event>) -> anyhow::Result<()> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.ended(pid, status, events),
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e).context("cannot wait for children"),
            }
        }
    }

    fn ended(&mut self, pid: Pid, status: WaitStatus, events: &mut VecDeque<Event>) {
        let is = |worker: &Option<Worker>| worker.as_ref().is_some_and(|w| w.pid() == pid);
        let how = describe(status);
        if is(&self.worker) {
            // What it said last may not have been heard yet, and may have made another one the worker.
            self.hear_worker(events);
        }
        if is(&self.worker) {
            tracing::info!(pid = raw(pid), how, "worker ended");
            self.worker = None;
            self.worker_died(end(status), events);
        } else if self.swap.as_ref().is_some_and(|s| is(&s.standby)) {
            tracing::warn!(pid = raw(pid), how, "the new worker ended");
            if let Some(swap) = &mut self.swap {
                swap.standby = None;
            }
            self.hand(handover::Event::NewDied, events);
        } else if let Some(at) = self.retired.iter().position(|w| w.pid() == pid) {
            self.retired.swap_remove(at);
            tracing::info!(pid = raw(pid), how, "a worker that gave way has ended");
        } else {
            tracing::debug!(pid = raw(pid), "agent reaped");
        }
    }
}

fn end(status: WaitStatus) -> End {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => End::Code(u8::try_from(code).unwrap_or(1)),
        (None, Some(signal)) => End::Signal(signal),
        (None, None) => End::Code(1),
    }
}

fn describe(status: WaitStatus) -> String {
    match end(status) {
        End::Code(code) => format!("exited with status {code}"),
        End::Signal(signal) => format!("killed by signal {signal}"),
        End::NotStarted => "not started".to_owned(),
    }
}

fn timespec(duration: Duration) -> Timespec {
    // Rounded up to a millisecond, so that the timer has gone off when the wait ends.
    let duration = duration + Duration::from_millis(1);
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
