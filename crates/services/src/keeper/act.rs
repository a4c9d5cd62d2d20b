//! What a keeper does: actions of the machine become operations, answers and lines in the journal.

use std::sync::Arc;
use std::time::Duration;

use insula_isolation::Sandbox;
use tokio::time::Instant;

use super::machine::{self, Action, Cause, Event, Note, State};
use super::{Keeper, journal, ops};
use crate::fingerprint::{Kept, fingerprint};
use crate::lease::Run;
use crate::status::Status;
use crate::{health, logs};

impl Keeper {
    /// Runs the machine on all events that are due, then tells the directory.
    pub(super) fn feed(&mut self) {
        while let Some(event) = self.next.pop_front() {
            let now = Instant::now();
            let machine = std::mem::replace(
                &mut self.machine,
                machine::Machine::new(State::Down, insula_store::Wanted::Up),
            );
            let (machine, actions) = machine::next(machine, &self.site.spec, now, event);
            self.machine = machine;
            for action in actions {
                self.act(action);
            }
        }
        if !self.machine.is_checking() {
            self.check = None;
        }
        self.tell();
        if self.machine.at_rest() {
            // Before anybody is told: whoever hears that it is down may have another one up.
            self.seat = None;
        }
        if !self.machine.going_down() {
            let status = self.status();
            self.waiters.stopped(&status);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Launch => self.operation = Some(Box::pin(ops::launch(self.site.clone(), self.level))),
            Action::Relaunch => self.relaunch(),
            Action::Commit(cause) => self.commit(cause),
            Action::OpenGate => self.open_gate(),
            Action::CloseGate => self.close_gate(),
            Action::Answer(answer) => {
                let status = self.status();
                self.waiters.answer(&answer, self.run.as_ref(), &status);
            }
            Action::Stop { graceful } => {
                let grace = if graceful { self.site.spec.stop_timeout } else { Duration::ZERO };
                let frozen = self.frozen;
                self.count_cpu();
                self.operate(|sandbox| Box::pin(ops::stop(sandbox, grace, frozen)));
            }
            Action::Freeze => {
                // The gate is closed; connections kept for later would only age in the frozen workload.
                self.forget_run();
                self.operate(|sandbox| Box::pin(ops::freeze(sandbox)));
            }
            Action::Thaw => self.operate(|sandbox| Box::pin(ops::thaw(sandbox))),
            Action::Check => self.begin_check(),
            Action::Note(note) => self.note(&note),
        }
    }

    /// Hands the sandbox to an operation.
    fn operate(
        &mut self,
        begin: impl FnOnce(Box<dyn Sandbox>) -> insula_isolation::BoxFuture<'static, ops::Done>,
    ) {
        match self.sandbox.take() {
            Some(sandbox) => self.operation = Some(begin(sandbox)),
            None => tracing::error!(instance = %self.site.name, "there is no sandbox to operate on"),
        }
    }

    /// Remembers the CPU time of walls that are about to go.
    fn count_cpu(&self) {
        let used = self.sandbox.as_ref().and_then(|sandbox| sandbox.usage().cpu_micros);
        if let (Some(used), Some(entry)) = (used, self.site.shared.directory.write().get_mut(&self.site.name))
        {
            entry.cpu_micros += used;
        }
    }

    fn relaunch(&mut self) {
        let (site, level) = (self.site.clone(), self.level);
        match (self.sandbox.take(), level) {
            (Some(sandbox), Some(level)) => {
                self.operation = Some(Box::pin(ops::relaunch(site, sandbox, level)));
            }
            _ => self.operation = Some(Box::pin(ops::launch(site, level))),
        }
    }

    fn commit(&mut self, cause: Cause) {
        let Some(sandbox) = &self.sandbox else { return };
        let record = sandbox.record();
        let kept = Kept { record: record.clone(), launch: Some(fingerprint(&self.site.spec)) };
        let text = match serde_json::to_string(&kept) {
            Ok(text) => text,
            Err(error) => {
                return self
                    .next
                    .push_back(Event::CommitFailed(format!("cannot write its record: {error}").into()));
            }
        };
        let (change, event) = journal::started(cause, text, self.machine.why.as_deref());
        let detail = serde_json::json!({ "level": record.level, "pid": record.app_pid, "key": record.key });
        let change = change.requests(self.take_requests());
        let written = self.journal.confirm((change, event.detail(detail)));
        self.site.shared.directory.update(&self.site.name, |entry| {
            entry.level = Some(record.level);
            entry.record = Some(Arc::new(record));
            entry.outdated = false;
            match cause {
                Cause::Woken => entry.wakes += 1,
                Cause::Recovered => entry.restarts += 1,
                Cause::Spawned | Cause::Restarted | Cause::Replaced { .. } => {}
            }
        });
        self.operate(|sandbox| Box::pin(ops::commit(sandbox, written)));
    }

    fn open_gate(&mut self) {
        self.run = self.new_run();
    }

    /// A run of the sandbox that stands.
    fn new_run(&self) -> Option<Arc<Run>> {
        let (spec, name) = (&self.site.spec, self.site.name.clone());
        let connector = self.sandbox.as_ref()?.connector();
        Some(Run::new(name, connector, spec.request_timeout, spec.protocol))
    }

    fn close_gate(&mut self) {
        let Some(run) = &self.run else { return };
        let empty = run.gate.close();
        run.drop_idle();
        if empty {
            // Nobody is inside: what follows need not wait. Ignored unless it is draining.
            self.next.push_back(Event::Quiet);
        }
    }

    /// The run is over: its connections are closed, its last leases end on their own.
    fn forget_run(&mut self) {
        self.count_requests();
        if let Some(run) = self.run.take() {
            run.drop_idle();
        }
    }

    /// Tells the directory of the requests that the run took meanwhile.
    fn count_requests(&mut self) {
        let Some(run) = &self.run else { return };
        // Under the lock, so that whoever reads both sees each request in one of them.
        let mut map = self.site.shared.directory.write();
        if let Some(entry) = map.get_mut(&self.site.name) {
            let more = run.count();
            entry.requests += more;
            self.unwritten += more;
        }
    }

    /// Requests to write down with whatever is written next.
    pub(super) fn take_requests(&mut self) -> u64 {
        self.count_requests();
        std::mem::take(&mut self.unwritten)
    }

    fn begin_check(&mut self) {
        // A program that has to prove itself is checked before anybody else may come in.
        let run = self.run.clone().or_else(|| self.new_run());
        let (Some(run), Some(rule)) = (run, &self.site.spec.health) else { return };
        let host = health::host(&self.site.name, &self.site.shared.plan().config.settings.domain);
        let path = rule.path.clone();
        self.check =
            Some(Box::pin(
                async move { health::check(run, host, path).await.map_err(|e| e.to_string().into()) },
            ));
    }

    fn note(&mut self, note: &Note) {
        let (name, why) = (&self.site.name, self.machine.why.as_deref());
        match note {
            Note::Thawed => self.site.shared.directory.update(name, |entry| entry.wakes += 1),
            Note::Adopted => {
                let record = self.sandbox.as_ref().map(|s| Arc::new(s.record()));
                self.site.shared.directory.update(name, |entry| entry.record = record);
            }
            Note::Slept
            | Note::Stopped
            | Note::Down
            | Note::Failed(_)
            | Note::Exited(_)
            | Note::StartFailed(_) => {
                self.site.shared.directory.update(name, |entry| entry.record = None);
            }
            _ => {}
        }
        let (change, event) = journal::noted(note, self.machine.wanted, why);
        let change = change.requests(self.take_requests());
        self.journal.add((change, event));
    }

    /// Begins to store its output, once per set of walls.
    pub(super) fn take_logs(&mut self) {
        let Some(sandbox) = &mut self.sandbox else { return };
        if let Some(stream) = sandbox.logs() {
            let (shared, key) = (&self.site.shared, sandbox.record().key);
            let pump = logs::pump(Arc::clone(shared), self.site.name.clone(), key, stream);
            shared.pumps.spawn(pump);
        }
    }

    fn status(&self) -> Status {
        let why = self.machine.why.as_deref().map(str::to_owned);
        Status::now(self.machine.observed(), self.machine.wanted, why)
    }

    /// Tells the directory where the instance is, if that changed.
    fn tell(&mut self) {
        let open = matches!(self.machine.state, State::Running { .. });
        if !open && !matches!(self.machine.state, State::Draining { .. }) {
            self.forget_run();
        }
        let now = (self.machine.observed(), self.machine.wanted, self.machine.why.clone());
        let run = self.run.as_ref().filter(|_| open);
        if now == self.told && !self.next_run_differs(run) {
            return;
        }
        let (status, moved) = (self.status(), now.0 != self.told.0);
        if moved {
            let why = now.2.as_deref().unwrap_or("");
            tracing::info!(instance = %self.site.name, service = %self.site.name.service, state = %now.0, why, "state");
        }
        self.told = now;
        self.site.shared.directory.update(&self.site.name, |entry| {
            entry.run = run.cloned();
            let since = if moved { status.since } else { entry.status.since };
            entry.status = Status { since, ..status };
        });
    }

    fn next_run_differs(&self, run: Option<&Arc<Run>>) -> bool {
        let map = self.site.shared.directory.read();
        let told = map.get(&self.site.name).and_then(|entry| entry.run.as_ref());
        told.map(Arc::as_ptr) != run.map(Arc::as_ptr)
    }
}
