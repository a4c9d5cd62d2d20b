//! A planned restart, done: one worker is put in the place of another (see [`super::handover`]).

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use insula_spec::Config;
use insula_spec::config::ConfigError;
use rustix::process::{Signal, getpid, kill_process};

use super::door::{Outcome, Request, VERSION, Visitor};
use super::generation::Generation;
use super::handover::{Action, Event as Handed, Failed, Handover, PREPARE, Stage};
use super::plan::Plan;
use super::reborn::Rebirth;
use super::reconfigure::Changes;
use super::supervise::{End, Event};
use super::worker::Worker;
use super::{Parent, raw};
use crate::deed::{Act, Asker, Deed, Ending};
use crate::lifeline::{Report, ToWorker};

/// Why a request was not even begun.
const BUSY: &str = "the server is starting, stopping or being restarted";

/// What to do then.
const AGAIN: &str = "try again in a moment";

/// Why the configuration cannot be applied.
#[derive(Debug)]
struct Unfit {
    why: String,
    hint: String,
}

/// A planned restart under way.
#[derive(Debug)]
pub(super) struct Swap {
    handover: Handover,
    next: Generation,
    /// The new worker, until it becomes the worker.
    pub(super) standby: Option<Worker>,
    pub(super) deadline: Instant,
    /// Whoever asked, if it was not a signal.
    visitor: Option<Visitor>,
    deed: Deed,
    pub(super) report: Option<Report>,
    changes: Option<Changes>,
}

impl Swap {
    /// How far it has come.
    pub(super) fn stage(&self) -> Stage {
        self.handover.stage()
    }
}

impl Parent {
    /// Hears what a visitor wants.
    pub(super) fn hear_visitor(&mut self, at: usize, events: &mut VecDeque<Event>) {
        if at >= self.visitors.len() {
            return;
        }
        let visitor = self.visitors.remove(at);
        let (request, fds) = match visitor.hear() {
            Ok(Some(heard)) => heard,
            Ok(None) => return,
            Err(error) => {
                let hint = "use the same version of the program for both";
                return visitor.answer(&Outcome::refused(format!("not understood: {error}"), hint));
            }
        };
        match request {
            Request::Takeover { version, .. } | Request::Reload { version, .. } if version != VERSION => {
                let why =
                    format!("the program speaks version {version} of the hand-over, the server {VERSION}");
                visitor.answer(&Outcome::refused(why, "stop the server and start it with the new program"));
                let path = self.current.plan.path.clone();
                let act = if matches!(request, Request::Reload { .. }) { Act::Apply } else { Act::Takeover };
                self.write_down(deed(Some(&visitor), act, path), Ending::refused("other_version"));
            }
            Request::Takeover { plan, .. } => self.take_over(visitor, plan, fds, events),
            Request::Reload { dry_run, .. } => self.reload(Some(visitor), dry_run, events),
        }
    }

    fn take_over(&mut self, visitor: Visitor, plan: Plan, fds: Vec<OwnedFd>, events: &mut VecDeque<Event>) {
        let Ok([program, config]) = <[OwnedFd; 2]>::try_from(fds) else {
            return visitor.answer(&Outcome::refused("program and configuration are missing", "try again"));
        };
        let deed = deed(Some(&visitor), Act::Takeover, plan.path.clone());
        if let Some(refusal) = self.busy() {
            self.write_down(deed, Ending::refused("busy"));
            return visitor.answer(&refusal);
        }
        match self.current.upgraded(plan, program, config) {
            Ok(next) => self.begin(next, (Some(visitor), deed), None, events),
            Err(error) => {
                self.write_down(deed, Ending::refused("no_listener"));
                visitor.answer(&Outcome::refused(&error, error.hint()));
            }
        }
    }

    /// Reads the configuration again, and has a new worker go on with it. One that is not valid changes
    /// nothing.
    pub(super) fn reload(&mut self, visitor: Option<Visitor>, dry_run: bool, events: &mut VecDeque<Event>) {
        let deed = deed(visitor.as_ref(), Act::Apply, self.current.plan.path.clone());
        let (ending, refused) = match self.reread() {
            Ok((_, _, changes)) if dry_run => (Ending::done(), Outcome::Planned(changes)),
            Ok((plan, text, changes)) => match self.busy() {
                Some(_) if visitor.is_none() => {
                    tracing::info!("the configuration is applied as soon as the server can");
                    return self.reload_meanwhile = true;
                }
                Some(refusal) => (Ending::refused("busy"), refusal),
                None => match self.current.reconfigured(plan, &text) {
                    Ok(next) => return self.begin(next, (visitor, deed), Some(changes), events),
                    Err(error) => {
                        let hint = crate::failure::hint(&error).unwrap_or_default();
                        (Ending::refused("no_listener"), Outcome::refused(format!("{error:#}"), hint))
                    }
                },
            },
            Err(Unfit { why, hint }) => (Ending::bad_config(), Outcome::Refused { why, hint, config: true }),
        };
        if let Outcome::Refused { why, .. } = &refused {
            tracing::error!("the configuration was not applied, the old one goes on: {why}");
        }
        if !dry_run {
            self.write_down(deed, ending);
        }
        if let Some(visitor) = visitor {
            visitor.answer(&refused);
        }
    }

    fn reread(&self) -> Result<(Plan, String, Changes), Unfit> {
        let plan = &self.current.plan;
        let bad = |e: ConfigError| Unfit { why: e.to_string(), hint: e.hint().to_string() };
        let text = std::fs::read_to_string(&plan.path).map_err(|e| {
            let why = format!("cannot read `{}`: {e}", plan.path.display());
            Unfit { why, hint: "restore the file".to_owned() }
        })?;
        let overrides = plan.above.overrides();
        let config = Config::parse_with(&text, &plan.path, &overrides).map_err(bad)?;
        let old =
            self.current.text().ok().and_then(|text| Config::parse_with(&text, &plan.path, &overrides).ok());
        // A configuration that this program cannot read was made for a newer one: all may be different.
        let unknown = Changes { settings: true, ..Changes::default() };
        let changes = old.map_or(unknown, |old| Changes::between(&old, &config));
        crate::alerts::check_keys(&config).map_err(|e| {
            let hint = e.hint();
            Unfit { why: format!("{:#}", anyhow::Error::from(e)), hint }
        })?;
        crate::named::check_filters(&config).map_err(|e| {
            let hint = e.hint();
            Unfit { why: format!("{:#}", anyhow::Error::from(e)), hint }
        })?;
        if plan.insecure_api {
            crate::cmd::secluded(&config).map_err(|e| Unfit { why: e.message, hint: e.hint })?;
        }
        let next = Plan { insecure_api: plan.insecure_api, ..Plan::of(&config, &overrides) };
        Ok((next, text, changes))
    }

    /// Has a signal that came too early come again, now that it can be obeyed: to this program or, where a new one is
    /// about to take its place, to that.
    pub(super) fn remember_reload(&mut self) -> anyhow::Result<()> {
        if self.reload_meanwhile && self.busy().is_none() {
            self.reload_meanwhile = false;
            kill_process(getpid(), Signal::HUP).context("cannot signal this process")?;
        }
        Ok(())
    }

    /// Sends away those who wait for the end of a planned restart that ends with another program.
    pub(super) fn send_away(&mut self) {
        for visitor in self.visitors.drain(..) {
            visitor.answer(&Outcome::refused(BUSY, AGAIN));
        }
    }

    fn busy(&self) -> Option<Outcome> {
        let free = self.swap.is_none() && self.supervisor.is_serving();
        (!free).then(|| Outcome::refused(BUSY, AGAIN))
    }

    fn begin(
        &mut self,
        next: Generation,
        (visitor, deed): (Option<Visitor>, Deed),
        changes: Option<Changes>,
        events: &mut VecDeque<Event>,
    ) {
        self.notifier.reloading();
        tracing::info!("a new worker is prepared for a planned restart");
        let standby = match next.stand_by(&self.home, &self.lock, &deed) {
            Ok(worker) => Some(worker),
            Err(error) => {
                tracing::error!(%error, "the new worker could not be started");
                None
            }
        };
        let dead = standby.is_none();
        let (handover, deadline) = (Handover::new(), Instant::now() + PREPARE);
        self.swap = Some(Swap { handover, next, standby, deadline, visitor, deed, changes, report: None });
        if dead {
            self.hand(Handed::NewDied, events);
        }
    }

    /// The process that was the worker has ended.
    pub(super) fn worker_died(&mut self, end: End, events: &mut VecDeque<Event>) {
        match self.swap.as_ref().map(|s| s.handover.stage()) {
            // It was to leave anyway; the next one is there already.
            Some(Stage::Retiring { .. }) => self.hand(Handed::OldDied, events),
            Some(Stage::Starting) => {
                events.push_back(Event::Died(end));
                self.hand(Handed::NewDied, events);
            }
            Some(Stage::Preparing) => {
                events.push_back(Event::Died(end));
                self.hand(Handed::OldDied, events);
            }
            Some(Stage::Over) | None => events.push_back(Event::Died(end)),
        }
    }

    /// Takes one step of the planned restart, if one is under way.
    pub(super) fn hand(&mut self, event: Handed, events: &mut VecDeque<Event>) {
        let Some(swap) = &mut self.swap else { return };
        for action in swap.handover.next(event) {
            self.do_hand(action, events);
        }
        if self.swap.as_ref().is_some_and(|s| s.handover.stage() == Stage::Over) {
            self.swap = None;
            let asked = std::mem::take(&mut self.asked_meanwhile);
            events.extend(std::iter::repeat_n(Event::Asked, asked));
        }
    }

    fn do_hand(&mut self, action: Action, events: &mut VecDeque<Event>) {
        match action {
            Action::Retire => self.tell(&ToWorker::Retire),
            Action::Go => self.promote(events),
            Action::Succeed => self.succeed(),
            Action::Fail(why) => self.fail(why),
            Action::Restore => {
                self.retired.extend(self.worker.take());
                events.push_back(Event::Swapped);
                events.push_back(Event::Died(End::NotStarted));
            }
            Action::KillNew => {
                let standby = self.swap.as_ref().and_then(|s| s.standby.as_ref());
                // Before it is told to go it is the standby, afterwards the worker.
                let starting = || self.worker.as_ref().filter(|_| self.is_starting());
                if let Some(worker) = standby.or_else(starting) {
                    worker.kill();
                }
                if let Some(standby) = self.swap.as_mut().and_then(|s| s.standby.take()) {
                    // Reaped like a worker that gave way.
                    self.retired.push(standby);
                }
            }
            Action::KillOld => {
                if let Some(worker) = &self.worker {
                    worker.kill();
                }
            }
            Action::Arm(delay) => {
                if let Some(swap) = &mut self.swap {
                    swap.deadline = Instant::now() + delay;
                }
            }
        }
    }

    fn is_starting(&self) -> bool {
        self.swap.as_ref().is_some_and(|s| s.handover.stage() == Stage::Starting)
    }

    /// The old worker has let go: the new one is the worker.
    fn promote(&mut self, events: &mut VecDeque<Event>) {
        let Some(swap) = &mut self.swap else { return };
        self.retired.extend(self.worker.take());
        self.worker = swap.standby.take();
        events.push_back(Event::Swapped);
        self.tell(&ToWorker::Go);
    }

    fn succeed(&mut self) {
        let Some(swap) = self.swap.as_mut() else { return };
        std::mem::swap(&mut self.current, &mut swap.next);
        self.supervisor.set_stop_timeout(self.current.plan.stop_timeout());
        let worker = self.worker.as_ref().map_or(0, |w| raw(w.pid()));
        tracing::info!(worker, streams = self.retired.len(), "planned restart done");
        let (visitor, changes) = (swap.visitor.take(), swap.changes.take());
        if let Some(report) = swap.report.take() {
            self.rebirth = Some(Rebirth { visitor, report, changes });
        }
    }

    fn fail(&mut self, why: Failed) {
        tracing::error!("the planned restart failed: {why}; {}", why.hint());
        self.notifier.ready(&self.status());
        let Some(swap) = &mut self.swap else { return };
        let (visitor, deed) = (swap.visitor.take(), swap.deed.clone());
        self.write_down(deed, Ending::failed(why.code()));
        if let Some(visitor) = visitor {
            visitor.answer(&Outcome::refused(why, why.hint()));
        }
    }
}

/// What somebody asked for; without a visitor it was a signal.
fn deed(visitor: Option<&Visitor>, act: Act, config: PathBuf) -> Deed {
    let who = visitor.map_or(Asker::Signal, |visitor| Asker::User(visitor.uid()));
    Deed { who, act, config }
}
