//! A line of text with its meaning: written to a terminal, drawn by `top`, or plain.

use crate::cli::output::{self, plain};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

/// What a piece of text means; how that looks depends on where it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    Strong,
    Dim,
    Good,
    Warn,
    Bad,
    Critical,
    High,
}

/// Whether a terminal shows colours. Without them bold, dim and reversed letters carry the meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    Colours,
    Plain,
}

impl Palette {
    /// As the user wants it for stdout: `NO_COLOR`, `CLICOLOR`, a terminal that has none.
    pub fn of_stdout() -> Self {
        match anstream::AutoStream::choice(&std::io::stdout()) {
            anstream::ColorChoice::Never => Self::Plain,
            anstream::ColorChoice::Auto | anstream::ColorChoice::AlwaysAnsi | anstream::ColorChoice::Always => {
                Self::Colours
            }
        }
    }
}

impl Tone {
    pub fn of_priority(name: &str) -> Self {
        match name {
            "critical" => Self::Critical,
            "high" => Self::High,
            "low" => Self::Dim,
            _ => Self::Plain,
        }
    }

    pub fn of_severity(name: &str) -> Self {
        match name {
            "critical" | "error" => Self::Bad,
            "warning" => Self::Warn,
            _ => Self::Plain,
        }
    }

    const fn ansi(self) -> anstyle::Style {
        match self {
            Self::Plain => anstyle::Style::new(),
            Self::Strong => output::STRONG,
            Self::Dim => output::DIM,
            Self::Good => output::GOOD,
            Self::Warn => output::WARN,
            Self::Bad | Self::Critical => output::BAD,
            Self::High => output::WARN.bold(),
        }
    }

    pub fn style(self, palette: Palette) -> Style {
        let style = Style::new();
        match (self, palette) {
            (Self::Plain, _) | (Self::Good | Self::Warn, Palette::Plain) => style,
            (Self::Strong, _) | (Self::Bad | Self::Critical | Self::High, Palette::Plain) => {
                style.add_modifier(Modifier::BOLD)
            }
            (Self::Dim, Palette::Plain) => style.add_modifier(Modifier::DIM),
            (Self::Dim, Palette::Colours) => style.fg(Color::DarkGray),
            (Self::Good, Palette::Colours) => style.fg(Color::Green),
            (Self::Warn, Palette::Colours) => style.fg(Color::Yellow),
            (Self::High, Palette::Colours) => style.fg(Color::Yellow).add_modifier(Modifier::BOLD),
            (Self::Bad | Self::Critical, Palette::Colours) => style.fg(Color::Red).add_modifier(Modifier::BOLD),
        }
    }
}

/// Pieces of text, each with its meaning. What would drive a terminal is taken out when a piece comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(Tone, String)>);

impl Line {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, tone: Tone, text: impl AsRef<str>) -> Self {
        self.push(tone, text);
        self
    }

    pub fn push(&mut self, tone: Tone, text: impl AsRef<str>) {
        self.0.push((tone, plain(text.as_ref())));
    }

    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn is_empty(&self) -> bool {
        self.width() == 0
    }

    /// Columns that it takes.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| width(text)).sum()
    }

    /// At most so many columns: what is cut off ends with an ellipsis.
    #[must_use]
    pub fn fit(self, columns: usize) -> Self {
        if self.width() <= columns {
            return self;
        }
        let mut left = columns;
        let mut kept = Self::new();
        for (tone, text) in self.0 {
            let piece = width(&text);
            if piece < left {
                left -= piece;
                kept.0.push((tone, text));
            } else {
                kept.0.push((tone, cut(&text, left, Ending::Always)));
                break;
            }
        }
        kept
    }

    /// Without its meaning, and without blanks at its end.
    pub fn text(&self) -> String {
        let text: String = self.0.iter().map(|(_, text)| text.as_str()).collect();
        text.trim_end().to_owned()
    }

    /// For a terminal that has colours.
    pub fn ansi(&self) -> String {
        let each = self.0.iter().map(|(tone, text)| {
            let style = tone.ansi();
            format!("{style}{text}{style:#}")
        });
        each.collect::<String>().trim_end().to_owned()
    }

    pub fn spans(&self, palette: Palette) -> ratatui::text::Line<'static> {
        let each = self.0.iter();
        let each = each.map(|(tone, text)| Span::styled(text.clone(), tone.style(palette)));
        ratatui::text::Line::from(each.collect::<Vec<_>>())
    }
}

/// Columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Whether a text that fits is marked as cut all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// More was to come.
    Always,
    WhereCut,
}

/// As much of a text as fits.
pub fn cut(text: &str, columns: usize, ending: Ending) -> String {
    if ending == Ending::WhereCut && width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut taken = 0;
    for letter in text.chars() {
        let next = width(letter.encode_utf8(&mut [0; 4]));
        if taken + next + 1 > columns {
            break;
        }
        kept.push(letter);
        taken += next;
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{Ending, Line, Tone, cut};

    #[test]
    fn a_line_is_cut_at_the_edge() {
        let check = |columns: usize, expected: &str| {
            let line = Line::new().with(Tone::Good, "All is well").with(Tone::Dim, " (node 2)");
            let cut = line.fit(columns);
            assert_eq!(cut.text(), expected);
            assert!(cut.width() <= columns);
        };
        check(40, "All is well (node 2)");
        check(20, "All is well (node 2)");
        check(19, "All is well (node …");
        check(11, "All is wel…");
        check(1, "…");
        check(0, "");
    }

    #[test]
    fn wide_letters_take_two_columns() {
        assert_eq!(cut("雨が降る", 5, Ending::WhereCut), "雨が…");
        assert_eq!(cut("雨が降る", 8, Ending::WhereCut), "雨が降る");
    }

    #[test]
    fn text_from_outside_drives_no_terminal() {
        assert_eq!(Line::new().with(Tone::Plain, "a\u{1b}[2Jb\nc").text(), "a[2Jb c");
    }

    #[test]
    fn meaning_becomes_colour() {
        let line = Line::new().with(Tone::Good, "ok").with(Tone::Plain, "  ");
        assert_eq!(line.ansi(), "\u{1b}[32mok\u{1b}[0m");
    }
}
