//! `insula top`: what uses how much, now.
//!
//! ```text
//! control API ──(each second)──► Sample ──(two of them)──► Frame ──► JSON, table, or screen
//! keys, resizes, signals ───────────────────────────────────────────────────────► screen
//! ```

mod frame;
mod sample;
mod screen;
mod view;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use insula_api::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::TopArgs;
use crate::exit::Exit;
use crate::printer::Printer;
use frame::Frame;
use sample::Sample;
use screen::{Input, Screen};
use view::View;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(client: &Client, args: TopArgs, printer: Printer) -> anyhow::Result<Exit> {
    let live = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if live && !args.once && !printer.json {
        return watch(client.clone(), View::new(args.sort)).await;
    }
    // Rates need two looks.
    let first = Sample::take(client).await?;
    let mut ticks = interval(EVERY);
    ticks.tick().await;
    ticks.tick().await;
    let mut frame = Frame::between(&first, &Sample::take(client).await?);
    frame.sort(args.sort);
    printer.either(&frame, view::table)?;
    Ok(Exit::Ok)
}

/// Draws until somebody wants it to end.
async fn watch(client: Client, mut view: View) -> anyhow::Result<Exit> {
    let mut last = Sample::take(&client).await?;
    let mut looks = look(client);
    let mut ends = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()]
        .map(signal)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .context("cannot hear signals")?;
    let [terminate, hangup, interrupt] = &mut ends[..] else { return Ok(Exit::Failed) };
    let (screen, mut inputs) = Screen::open().context("cannot take the terminal")?;
    let mut frame = Frame::between(&last, &last);
    loop {
        frame.sort(view.sort());
        screen.draw(&view, &frame).context("cannot draw")?;
        tokio::select! {
            look = looks.recv() => match look {
                Some(Ok(sample)) => {
                    frame = Frame::between(&last, &sample);
                    last = sample;
                    view.well();
                }
                Some(Err(error)) => view.ill(&error),
                None => return Ok(Exit::Failed),
            },
            input = inputs.recv() => match input {
                Some(Input::Key(key)) => if view.press(key) { return Ok(Exit::Ok) },
                Some(Input::Resized) => {}
                None => return Ok(Exit::Ok),
            },
            _ = terminate.recv() => return Ok(Exit::Ok),
            _ = hangup.recv() => return Ok(Exit::Ok),
            _ = interrupt.recv() => return Ok(Exit::Ok),
        }
    }
}

/// Looks each second, as long as somebody wants to know.
fn look(client: Client) -> mpsc::Receiver<Result<Sample, String>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let sample = Sample::take(&client).await.map_err(|error| error.to_string());
            if sender.send(sample).await.is_err() {
                return;
            }
        }
    });
    receiver
}
