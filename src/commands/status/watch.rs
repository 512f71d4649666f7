//! `p2pdbg status --watch`: the screen that stays, and the terminal that it is on.
//!
//! The terminal is put back as it was however the program ends, by a panic too. Keys are read by a thread, since the
//! terminal has no other way; it ends with the program.

use std::{
    io::{self, Write},
    time::Duration,
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    execute, queue,
    style::PrintStyledContent,
    terminal::{
        self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate,
        EnterAlternateScreen, LeaveAlternateScreen,
    },
};
use p2pdbg_base::{ErrorCode, Failure, takes_escapes};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{snapshots, watch_screen::Screen};
use crate::commands::interrupt::Interrupt;

/// How often the processes are asked.
const PERIOD: Duration = Duration::from_millis(500);

/// How long the thread that reads keys waits for one, so that it notices the end.
const KEYS: Duration = Duration::from_millis(250);

/// Shows what there is until a key ends it.
pub(super) async fn run() -> Result<(), Failure> {
    use io::IsTerminal;

    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let message = "p2pdbg status --watch needs a terminal";
        return Err(Failure::new(ErrorCode::Usage, message)
            .hint("without --watch it prints what there is, with --json for programs"));
    }
    if !takes_escapes(&io::stdout()) {
        let message = "p2pdbg status --watch writes all over the screen, and TERM says that this terminal cannot";
        return Err(
            Failure::new(ErrorCode::Usage, message).hint("without --watch it prints what there is")
        );
    }
    let mut interrupt = Interrupt::new()?;
    let _borrowed = Borrowed::begin().map_err(|error| failed(&error))?;
    let mut keys = keys();
    let mut screen = Screen::default();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => match snapshots().await {
                Ok(processes) => (screen.processes, screen.trouble) = (processes, None),
                Err(failure) => screen.trouble = Some(failure.message),
            },
            key = keys.recv() => match key {
                Some(Key::Scroll(lines)) => screen.scroll(lines),
                Some(Key::Redraw) => {}
                Some(Key::Quit) | None => return Ok(()),
            },
            () = interrupt.wait() => return Ok(()),
        }
        draw(&mut screen).map_err(|error| failed(&error))?;
    }
}

fn draw(screen: &mut Screen) -> io::Result<()> {
    let (width, height) = terminal::size()?;
    let rows = screen.rows(width.into(), height.into());
    // All at once, so that no half of a screen is seen.
    let mut bytes = Vec::new();
    queue!(bytes, BeginSynchronizedUpdate)?;
    let mut free = 0;
    for row in rows {
        // Cleared first: behind a full row the cursor is still on its last column.
        queue!(bytes, MoveTo(0, free), Clear(ClearType::UntilNewLine))?;
        for piece in row {
            queue!(bytes, PrintStyledContent(piece))?;
        }
        free += 1;
    }
    if free < height {
        queue!(bytes, MoveTo(0, free), Clear(ClearType::FromCursorDown))?;
    }
    queue!(bytes, EndSynchronizedUpdate)?;
    io::stdout().write_all(&bytes)?;
    io::stdout().flush()
}

/// The terminal while the screen has it; put back as it was when dropped.
struct Borrowed;

impl Borrowed {
    fn begin() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let borrowed = Self;
        // A panic's message is for the terminal as it was.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            hook(panic);
        }));
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(borrowed)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // Nobody is before a terminal that is gone.
    let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
    let _ = terminal::disable_raw_mode();
}

/// What a key, or a change of the terminal's size, asks for.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    Quit,
    Scroll(isize),
    Redraw,
}

fn keys() -> mpsc::Receiver<Key> {
    let (pressed, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !pressed.is_closed() {
            let event = match event::poll(KEYS) {
                Ok(true) => event::read(),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            // A terminal that is gone brings nothing more.
            let Ok(event) = event else { return };
            if let Some(key) = key_of(&event)
                && pressed.blocking_send(key).is_err()
            {
                return;
            }
        }
    });
    keys
}

fn key_of(event: &Event) -> Option<Key> {
    let key = match event {
        Event::Resize(..) => return Some(Key::Redraw),
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        _ => return None,
    };
    Some(match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Up | KeyCode::Char('k') => Key::Scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => Key::Scroll(1),
        KeyCode::PageUp => Key::Scroll(-20),
        KeyCode::PageDown => Key::Scroll(20),
        KeyCode::Home => Key::Scroll(isize::MIN),
        KeyCode::End => Key::Scroll(isize::MAX),
        _ => return None,
    })
}

fn failed(error: &io::Error) -> Failure {
    let message = format!("the terminal cannot be used: {error}");
    Failure::new(ErrorCode::Output, message)
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn q_escape_and_control_c_end_it_and_nothing_else_does() {
        let key = |code, modifiers| key_of(&Event::Key(KeyEvent::new(code, modifiers)));
        let none = KeyModifiers::NONE;
        assert_eq!(key(KeyCode::Char('q'), none), Some(Key::Quit));
        assert_eq!(key(KeyCode::Esc, none), Some(Key::Quit));
        let control = KeyModifiers::CONTROL;
        assert_eq!(key(KeyCode::Char('c'), control), Some(Key::Quit));
        assert_eq!(key(KeyCode::Char('c'), none), None);
        assert_eq!(key(KeyCode::Down, none), Some(Key::Scroll(1)));
        assert_eq!(key_of(&Event::Resize(1, 1)), Some(Key::Redraw));
    }
}
