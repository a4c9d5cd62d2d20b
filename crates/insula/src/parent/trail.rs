//! What was asked of the parent and was not done, on its way to the audit log.

use super::Parent;
use super::handover::Stage;
use crate::deed::{Deed, Ending};
use crate::lifeline::ToWorker;

/// Records kept while no worker can take them; one more, and the oldest is lost with a line in the log.
const KEPT: usize = 64;

impl Parent {
    /// Has it written down, now or by the next worker that serves.
    pub(super) fn write_down(&mut self, deed: Deed, ending: Ending) {
        if self.unwritten.len() >= KEPT
            && let Some((deed, ending)) = self.unwritten.pop_front()
        {
            tracing::warn!(?deed, ?ending, "a change that was asked for is not in the audit log");
        }
        self.unwritten.push_back((deed, ending));
        // A worker that gives way does not listen any more.
        let leaving = self.swap.as_ref().is_some_and(|s| matches!(s.stage(), Stage::Retiring { .. }));
        if self.supervisor.is_serving() && !leaving {
            self.pass_on();
        }
    }

    /// Tells the worker what was kept for it.
    pub(super) fn pass_on(&mut self) {
        let Some(worker) = &self.worker else { return };
        for (deed, ending) in self.unwritten.drain(..) {
            worker.tell(&ToWorker::Record(deed, ending));
        }
    }
}
