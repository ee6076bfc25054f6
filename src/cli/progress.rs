//! What a transfer shows: bars on a terminal, docker's lines elsewhere. Bars are redrawn by what happens, never by a
//! thread of their own: the process forks while they stand.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::failure::{Failure, complain};
use super::{escape, output};
use crate::engine::image::pull::{Event, LayerState, Step};
use crate::engine::image::push;
use crate::oci::Digest;

/// Where docker's lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    Stdout,
    Stderr,
}

/// A way to show it.
#[derive(Debug)]
pub(super) enum Shown {
    Nothing,
    Plain(Plain),
    Bars(Bars),
}

impl Shown {
    /// Bars where somebody watches.
    pub(super) fn choose(to: Lines) -> Self {
        let plain = Plain { to, failure: None };
        let watched = match to {
            Lines::Stdout => io::stdout().is_terminal() && io::stderr().is_terminal(),
            Lines::Stderr => io::stderr().is_terminal(),
        };
        if watched { Self::Bars(Bars::new(plain)) } else { Self::Plain(plain) }
    }

    pub(super) fn step(&mut self, step: &Step<'_>) {
        match self {
            Self::Nothing => {}
            Self::Plain(plain) => plain.step(step),
            Self::Bars(bars) => bars.step(step),
        }
    }

    pub(super) fn push(&mut self, step: &push::Step<'_>) {
        match self {
            Self::Nothing => {}
            Self::Plain(plain) => plain.push(step),
            Self::Bars(bars) => bars.push(step),
        }
    }

    /// The transfer is over. An output that nobody took is an error now.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        let plain = match self {
            Self::Nothing => return Ok(()),
            Self::Plain(plain) => plain,
            Self::Bars(bars) => {
                bars.clear();
                &mut bars.plain
            }
        };
        plain.failure.take().map_or(Ok(()), Err)
    }
}

/// docker's lines where stdout is no terminal.
#[derive(Debug)]
pub(super) struct Plain {
    to: Lines,
    failure: Option<Failure>,
}

impl Plain {
    fn line(&mut self, text: &str) {
        let text = escape::line(text);
        match self.to {
            Lines::Stderr => complain(&format!("{text}\n")),
            Lines::Stdout => {
                if let Err(e) = output::line(&text) {
                    self.failure.get_or_insert(e);
                }
            }
        }
    }

    /// What is said once for each image.
    fn frame(&mut self, step: &Step<'_>) {
        match step {
            Step::Image(reference) => {
                let tag = reference.tag().filter(|_| reference.digest().is_none());
                let what = tag.map_or_else(|| reference.to_string(), str::to_owned);
                self.line(&format!("{what}: Pulling from {}", reference.path()));
            }
            Step::Pulled(pulled) => self.line(&format!("Digest: {}", pulled.digest)),
            Step::Event(_) => {}
        }
    }

    fn step(&mut self, step: &Step<'_>) {
        let Step::Event(Event::Layer { digest, state }) = step else { return self.frame(step) };
        let said = match state {
            LayerState::Present => "Already exists",
            LayerState::Waiting { .. } => "Pulling fs layer",
            LayerState::Extracting | LayerState::Downloaded => "Download complete",
            LayerState::Done => "Pull complete",
            LayerState::Retrying(reason) => {
                return self.line(&format!("{}: Retrying ({reason})", digest.short()));
            }
            LayerState::Downloading { .. } => return,
        };
        self.line(&format!("{}: {said}", digest.short()));
    }
}

impl Plain {
    /// What is said of a push once, or once for each image.
    fn push_frame(&mut self, step: &push::Step<'_>) {
        match step {
            push::Step::Repository(reference) => {
                self.line(&format!("The push refers to repository [{}]", reference.repository()));
            }
            push::Step::Pushed(reference, pushed) => {
                let tag = reference.tag().unwrap_or_default();
                self.line(&format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size));
            }
            push::Step::Layer(..) | push::Step::Alone { .. } => {}
        }
    }

    fn push(&mut self, step: &push::Step<'_>) {
        let push::Step::Layer(diff_id, state) = step else { return self.push_frame(step) };
        if let Some(said) = words_of_push(state) {
            self.line(&format!("{}: {said}", diff_id.short()));
        }
    }
}

/// docker's words; `None` while bytes move.
fn words_of_push(state: &push::LayerState) -> Option<String> {
    Some(match state {
        push::LayerState::Preparing => "Preparing".into(),
        push::LayerState::Pushing { .. } => return None,
        push::LayerState::Retrying(reason) => format!("Retrying ({reason})"),
        push::LayerState::Present => "Layer already exists".into(),
        push::LayerState::Mounted(from) => format!("Mounted from {from}"),
        push::LayerState::Pushed => "Pushed".into(),
    })
}

/// The line of a layer that is not being downloaded.
const WORDS: &str = "{prefix}: {wide_msg}";

/// One line for each layer, redrawn in place, on stderr.
#[derive(Debug)]
pub(super) struct Bars {
    plain: Plain,
    all: MultiProgress,
    layers: BTreeMap<Digest, ProgressBar>,
}

impl Bars {
    fn new(plain: Plain) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        Self { plain, all, layers: BTreeMap::new() }
    }

    fn step(&mut self, step: &Step<'_>) {
        match step {
            Step::Image(_) => {
                self.clear();
                self.plain.frame(step);
            }
            Step::Pulled(_) => {
                self.settle();
                self.plain.frame(step);
            }
            Step::Event(Event::Begins) => {}
            Step::Event(Event::Layer { digest, state }) => self.layer(digest, state),
        }
    }

    fn push(&mut self, step: &push::Step<'_>) {
        let push::Step::Layer(diff_id, state) = step else {
            if let push::Step::Pushed(..) = step {
                self.settle();
            }
            return self.plain.push_frame(step);
        };
        let bar = self.bar(diff_id);
        match (words_of_push(state), state) {
            (Some(words), _) => say(&bar, escape::line(&words).into_owned()),
            (None, push::LayerState::Pushing { done, total }) => advance(&bar, "Pushing", *done, *total),
            (None, _) => {}
        }
        bar.tick();
    }

    /// The line of a layer.
    fn bar(&mut self, digest: &Digest) -> ProgressBar {
        let all = &self.all;
        let bar = self.layers.entry(digest.clone()).or_insert_with(|| {
            let bar = ProgressBar::no_length().with_style(style(WORDS));
            all.add(bar.with_prefix(digest.short().to_owned()))
        });
        bar.clone()
    }

    fn layer(&mut self, digest: &Digest, state: &LayerState) {
        let bar = &self.bar(digest);
        match state {
            LayerState::Present => say(bar, "Already exists".into()),
            LayerState::Waiting { total } => {
                bar.set_length(*total);
                say(bar, "Waiting".into());
            }
            LayerState::Downloading { done, total } => advance(bar, "Downloading", *done, *total),
            LayerState::Retrying(reason) => {
                bar.set_position(0);
                say(bar, format!("Retrying ({})", escape::line(reason)));
            }
            LayerState::Downloaded => say(bar, "Download complete".into()),
            LayerState::Extracting => say(bar, "Extracting".into()),
            LayerState::Done => say(bar, "Pull complete".into()),
        }
        bar.tick();
    }

    /// What stands there stays, and the cursor goes below it.
    fn settle(&mut self) {
        if self.layers.is_empty() {
            return;
        }
        for bar in std::mem::take(&mut self.layers).into_values() {
            bar.abandon();
        }
        complain("\n");
        self.all.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
    }

    fn clear(&mut self) {
        if !self.layers.is_empty() {
            self.layers.clear();
            let _ = self.all.clear();
        }
    }
}

impl Drop for Bars {
    /// An error or Ctrl-C leaves no half line behind.
    fn drop(&mut self) {
        self.clear();
    }
}

fn say(bar: &ProgressBar, text: String) {
    bar.set_style(style(WORDS));
    bar.set_message(text);
}

fn advance(bar: &ProgressBar, doing: &str, done: u64, total: u64) {
    if bar.position() == 0 {
        bar.set_style(style(&format!("{{prefix}}: {doing} {}", measures())));
        // What was there before is no measure of the speed.
        bar.reset_eta();
    }
    bar.set_length(total);
    bar.set_position(done);
}

/// As much as one line of the terminal holds, so that each layer has one: the size of it is the user's to choose.
fn measures() -> &'static str {
    match rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| size.ws_col) {
        0..40 => "{percent}%",
        40..66 => "{percent}% {eta}",
        66..80 => "{decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
        80..98 => "[{bar:12}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
        _ => "[{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
