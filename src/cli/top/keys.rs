//! What the terminal says, as events.

use super::model::{Event, Key};
use crate::cli::failure::Failure;
use crossterm::event::{Event as Told, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// A terminal that says nothing more has gone.
pub fn event(told: Option<std::io::Result<Told>>) -> Result<Event, Failure> {
    match told {
        None => Ok(Event::Quit),
        Some(told) => Ok(read(&told?)),
    }
}

/// What means nothing here only draws the screen again.
fn read(told: &Told) -> Event {
    match told {
        Told::Key(key) if key.kind != KeyEventKind::Release => pressed(*key).map_or(Event::Resized, Event::Key),
        Told::Key(_) | Told::Resize(..) | Told::FocusGained | Told::FocusLost | Told::Mouse(_) | Told::Paste(_) => {
            Event::Resized
        }
    }
}

fn pressed(key: KeyEvent) -> Option<Key> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if is_control => Key::Interrupt,
        KeyCode::Char(_) if is_control || key.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(letter) => Key::Letter(letter),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Left | KeyCode::BackTab => Key::Left,
        KeyCode::Right | KeyCode::Tab => Key::Right,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete
        | KeyCode::Insert
        | KeyCode::F(_)
        | KeyCode::Null
        | KeyCode::CapsLock
        | KeyCode::ScrollLock
        | KeyCode::NumLock
        | KeyCode::PrintScreen
        | KeyCode::Pause
        | KeyCode::Menu
        | KeyCode::KeypadBegin
        | KeyCode::Media(_)
        | KeyCode::Modifier(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Key, pressed};
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    #[test]
    fn keys_are_what_they_look_like() {
        let check = |code: KeyCode, modifiers: KeyModifiers, expected: Option<Key>| {
            assert_eq!(
                pressed(KeyEvent::new(code, modifiers)),
                expected,
                "{code:?} {modifiers:?}"
            );
        };
        check(KeyCode::Char('c'), KeyModifiers::CONTROL, Some(Key::Interrupt));
        check(KeyCode::Char('c'), KeyModifiers::NONE, Some(Key::Letter('c')));
        check(KeyCode::Char('G'), KeyModifiers::SHIFT, Some(Key::Letter('G')));
        check(KeyCode::Char('q'), KeyModifiers::ALT, None);
        check(KeyCode::Tab, KeyModifiers::NONE, Some(Key::Right));
        check(KeyCode::BackTab, KeyModifiers::SHIFT, Some(Key::Left));
        check(KeyCode::F(1), KeyModifiers::NONE, None);
    }
}
