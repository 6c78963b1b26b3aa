//! A program in a terminal of its own: what it shows, keys for it, another size, and how it leaves the terminal behind.

use super::wait::maybe;
use rustix::termios::{LocalModes, Termios, tcgetattr};
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub struct Terminal {
    child: Child,
    pty: Arc<pty_process::blocking::Pty>,
    screen: Arc<Mutex<vt100::Parser>>,
    before: Termios,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Runs a program as the one that the terminal belongs to.
    pub fn start(command: Command, columns: u16, rows: u16) -> Self {
        let (pty, theirs) = pty_process::blocking::open().unwrap();
        pty.resize(pty_process::Size::new(rows, columns)).unwrap();
        let before = tcgetattr(&pty).unwrap();
        let command = pty_process::blocking::Command::from(command).env("TERM", "xterm-256color");
        let child = command.spawn(theirs).unwrap();
        let pty = Arc::new(pty);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let (reads, shows) = (pty.clone(), screen.clone());
        let reader = std::thread::Builder::new().name("terminal".into()).spawn(move || {
            let mut piece = [0; 4096];
            // It ends when nobody has the other side open any more.
            while let Ok(count @ 1..) = (&*reads).read(&mut piece) {
                shows.lock().unwrap().process(&piece[..count]);
            }
        });
        Self {
            child,
            pty,
            screen,
            before,
            reader: Some(reader.unwrap()),
        }
    }

    pub fn text(&self) -> String {
        self.look(vt100::Screen::contents)
    }

    pub fn look<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        look(self.screen.lock().unwrap().screen())
    }

    /// Waits until the screen has what is wanted; fails with the screen when it does not come.
    pub fn until(&self, what: &str, within: Duration, holds: impl Fn(&str) -> bool) -> String {
        let seen = maybe(within, || Some(self.text()).filter(|text| holds(text)));
        seen.unwrap_or_else(|| panic!("not within {within:?}: {what}; the screen is\n{}", self.text()))
    }

    pub fn until_has(&self, part: &str, within: Duration) -> String {
        self.until(part, within, |text| text.contains(part))
    }

    /// Types text, letter by letter as a keyboard does.
    pub fn press(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(rows, columns);
        self.pty.resize(pty_process::Size::new(rows, columns)).unwrap();
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Whether the program has taken the keyboard: keys come at once and are not shown.
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&*self.pty).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits until it has ended; its exit code, after a look that the terminal is as it was.
    pub fn ended(mut self, within: Duration) -> Option<i32> {
        let status = maybe(within, || self.child.try_wait().unwrap());
        let status = status.unwrap_or_else(|| panic!("it does not end; the screen is\n{}", self.text()));
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        let now = tcgetattr(&*self.pty).unwrap();
        assert_eq!(
            now.local_modes, self.before.local_modes,
            "the keyboard is not given back"
        );
        assert_eq!(now.input_modes, self.before.input_modes);
        assert_eq!(now.output_modes, self.before.output_modes);
        self.look(|screen| {
            assert!(!screen.alternate_screen(), "the screen is not given back");
            assert!(!screen.hide_cursor(), "the cursor is not given back");
        });
        status.code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
