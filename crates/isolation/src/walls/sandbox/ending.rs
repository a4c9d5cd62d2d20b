//! The end of a workload: it is asked, then killed; its last lines are stored; its walls are taken down.

use std::time::Duration;

use insula_frames::ToAgent;

use super::Walled;
use crate::contract::Exit;
use crate::fault;

/// How long processes may take to die after SIGKILL.
const KILL: Duration = Duration::from_secs(5);
/// How long the end waits for the last log lines to be stored.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How long an agent may take to clear away what its workload left.
const BYE: Duration = Duration::from_secs(2);

impl Walled {
    /// SIGTERM, grace, SIGKILL; then everything is taken down.
    pub(super) async fn end(mut self, grace: Duration) -> Exit {
        let member = self.member.take();
        if self.exit.is_none() && !self.paused && !grace.is_zero() {
            self.ask_to_end(grace).await;
        }
        if self.exit.is_none() {
            self.kill().await;
        }
        let exit = self.exit.unwrap_or(Exit::Lost);
        self.wait_for_last_lines().await;
        fault::point("teardown.bye");
        self.link.send_if_there(&ToAgent::Bye);
        if exit != Exit::Lost {
            // It clears away what only it may; out of time, it is killed.
            drop(tokio::time::timeout(BYE, self.body.agent_ended()).await);
        }
        self.body.take_down().await;
        if let Some(member) = member {
            member.leave();
        }
        exit
    }

    async fn ask_to_end(&mut self, grace: Duration) {
        if self.link.send(&ToAgent::Signal(libc::SIGTERM), Vec::new()).await.is_err() {
            return;
        }
        // Out of time is not an error here: what comes next is stronger.
        drop(tokio::time::timeout(grace, self.wait_exit()).await);
    }

    async fn kill(&mut self) {
        // The host's own means do not depend on the agent's good will.
        self.link.send_if_there(&ToAgent::KillAll);
        if let Some(leaves) = self.body.leaves() {
            let killed = self.body.blocking(move || leaves.app().kill_all(KILL)).await;
            match killed {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(key = self.body.key, %error, "cannot kill a workload"),
                Err(error) => tracing::warn!(key = self.body.key, %error, "killing was cut short"),
            }
        }
        drop(tokio::time::timeout(KILL, self.wait_exit()).await);
    }

    async fn wait_exit(&mut self) {
        while self.exit.is_none() {
            let news = self.streams.news.recv().await;
            self.take_in(news);
        }
    }

    /// The agent forgets with its end, so the last lines are stored first; as long as somebody stores them.
    async fn wait_for_last_lines(&mut self) {
        // Output that nobody took until now will not be taken.
        drop(self.logs.take());
        let last = self.last_line;
        let stored = self.streams.acked.wait_for(|acked| *acked >= last);
        drop(tokio::time::timeout(LAST_LINES, stored).await);
    }
}
