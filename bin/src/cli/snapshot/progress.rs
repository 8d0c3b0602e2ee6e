//! How far it has got, on stderr: a bar on a terminal, else a line for each quarter.

use indicatif::{ProgressBar, ProgressStyle};
use isogrid_engine::snapshot_file::Progress;

use crate::cli::output::{bars, note};
use crate::server::backup::Phase;

const BAR: &str = "{msg:8} {bar:40} {pos}/{len} entries {per_sec} {eta} left";
/// Lines of one phase where there is no terminal.
const STEPS: u64 = 4;

/// Shows the progress of one command.
#[derive(Default)]
pub struct Show {
    /// The phase that is shown, and the last step of it that was told.
    now: Option<(Phase, u64)>,
    bar: Option<ProgressBar>,
}

impl Show {
    /// Shows how far it has got.
    pub fn at(&mut self, phase: Phase, progress: Progress) {
        let Progress { entries, entries_total, .. } = progress;
        // While a file is written nobody knows how many there will be.
        let total = entries_total.max(entries).max(1);
        // A load begins anew with each cache.
        let (known, step) = self.now.unwrap_or((phase, 0));
        let begins = self.now.is_none() || known != phase || entries * STEPS / total < step;
        if begins {
            self.begin(phase);
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(entries);
        }
        let (step, last) = (entries * STEPS / total, if begins { 0 } else { step });
        if step > last && self.bar.as_ref().is_none_or(ProgressBar::is_hidden) {
            note(&format!("{}: {entries} of {total} entries", phase.name()));
        }
        self.now = Some((phase, step.max(last)));
    }

    fn begin(&mut self, phase: Phase) {
        self.end();
        let bar = ProgressBar::with_draw_target(Some(1), bars());
        // A template that does not parse would only cost the bar its looks.
        bar.set_style(ProgressStyle::with_template(BAR).unwrap_or(ProgressStyle::default_bar()));
        bar.set_message(phase.name());
        self.bar = Some(bar);
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
