//! How far an image is, on a terminal.

use std::io::IsTerminal;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use insula_images::Progress;

use crate::printer::Printer;

/// A line on standard error that changes; nothing, if that is no terminal or a program reads.
#[derive(Debug)]
pub(super) struct Bar {
    bar: ProgressBar,
    shown: Mutex<String>,
}

impl Bar {
    pub(super) fn new(printer: Printer) -> Self {
        let target = match std::io::stderr().is_terminal() && !printer.json {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:24}] {bytes}/{total_bytes}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, shown: Mutex::default() }
    }

    /// Takes the line away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn layer(&self, layer: usize, of: usize) {
        let text = format!("layer {layer}/{of}");
        if let Ok(mut shown) = self.shown.lock()
            && *shown != text
        {
            self.bar.set_message(text.clone());
            self.bar.set_position(0);
            *shown = text;
        }
    }

    fn bytes(&self, here: u64, of: u64) {
        self.bar.set_length(of);
        self.bar.set_position(here);
    }
}
