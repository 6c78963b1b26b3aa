//! Holds the terminal while the screen is drawn, and gives it back however that ends: in the end, with a fault, in a panic.

use super::draw::draw;
use super::model::Model;
use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use std::io::{self, Stdout, Write, stdout};

/// A terminal that was taken.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    _taken: Taken<Stdout>,
}

impl Screen {
    pub fn open() -> io::Result<Self> {
        let taken = Taken::take(stdout())?;
        // What is told of a panic is told after the terminal was given back, or it would be lost with the screen.
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back(&mut stdout());
            tell(panic);
        }));
        Ok(Self {
            terminal: Terminal::new(CrosstermBackend::new(stdout()))?,
            _taken: taken,
        })
    }

    pub fn draw(&mut self, model: &Model) -> io::Result<()> {
        self.terminal.draw(|frame| draw(model, frame)).map(|_| ())
    }
}

/// Gives the terminal back when it goes.
struct Taken<W: Write>(W);

impl<W: Write> Taken<W> {
    fn take(out: W) -> io::Result<Self> {
        enable_raw_mode()?;
        let mut taken = Self(out);
        // Ratatui's own clearing asks the terminal where its cursor is, and not every terminal answers.
        execute!(taken.0, EnterAlternateScreen, Clear(ClearType::All), Hide)?;
        Ok(taken)
    }
}

impl<W: Write> Drop for Taken<W> {
    fn drop(&mut self) {
        give_back(&mut self.0);
    }
}

/// Nothing can be done for a terminal that has gone.
fn give_back(out: &mut impl Write) {
    let _ = disable_raw_mode();
    let _ = execute!(out, LeaveAlternateScreen, Show);
}

#[cfg(test)]
mod tests {
    use super::Taken;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let paper = Paper::default();
        let taken = Taken(paper.clone());
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _taken = taken;
            panic!("while it was drawn");
        }));
        assert!(ended.is_err());
        let written = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written, "\u{1b}[?1049l\u{1b}[?25h");
    }
}
