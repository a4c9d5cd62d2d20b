//! The terminal, taken and given back.

use std::io::{self, Write};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};
use tokio::sync::mpsc;

use super::frame::Frame;
use super::view::View;

/// Keys that may wait.
const KEYS: usize = 16;

/// What comes from the terminal.
#[derive(Debug)]
pub(super) enum Input {
    /// A key was pressed.
    Key(KeyEvent),
    /// It has another size now.
    Resized,
}

/// The terminal, on a screen of its own. Dropping it, in a panic too, gives it back as it was.
#[derive(Debug)]
pub(super) struct Screen(());

impl Screen {
    /// Takes the terminal. The other half tells what comes from it, and ends when it is gone.
    pub(super) fn open() -> io::Result<(Self, mpsc::Receiver<Input>)> {
        enable_raw_mode()?;
        let screen = Self(());
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        let (sender, receiver) = mpsc::channel(KEYS);
        // It may wait in a read for ever; it ends with the process.
        std::thread::Builder::new().name("keys".into()).spawn(move || hear(&sender))?;
        Ok((screen, receiver))
    }

    /// Draws a frame.
    pub(super) fn draw(&self, view: &View, frame: &Frame) -> io::Result<()> {
        let (width, height) = size()?;
        let mut out = io::stdout().lock();
        for (at, line) in (0..height).zip(view.lines(frame, (width.into(), height.into()))) {
            let attribute = if at == 2 { Attribute::Reverse } else { Attribute::Reset };
            queue!(out, MoveTo(0, at), SetAttribute(attribute), Print(line), SetAttribute(Attribute::Reset))?;
            queue!(out, Clear(ClearType::UntilNewLine))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let shown = execute!(io::stdout(), Show, LeaveAlternateScreen);
        if let Err(error) = disable_raw_mode().and(shown) {
            tracing::warn!(%error, "the terminal may be left in disorder; run `reset`");
        }
    }
}

fn hear(sender: &mpsc::Sender<Input>) {
    while let Ok(event) = event::read() {
        let input = match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => Input::Key(key),
            Event::Resize(..) => Input::Resized,
            _ => continue,
        };
        if sender.blocking_send(input).is_err() {
            return;
        }
    }
}
