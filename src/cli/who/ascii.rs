//! Text in the letters that every printer has.

use crate::cli::output::plain;

/// Text without what would drive a printer, in letters of ASCII: accents are left out, and what has no like is a question mark.
pub fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in plain(text).chars() {
        match like(letter) {
            Some(like) => out.push_str(like),
            None if letter.is_ascii() => out.push(letter),
            None => out.push('?'),
        }
    }
    out
}

const fn like(letter: char) -> Option<&'static str> {
    Some(match letter {
        'À'..='Å' | 'Ā' | 'Ă' | 'Ą' => "A",
        'à'..='å' | 'ā' | 'ă' | 'ą' => "a",
        'Æ' => "AE",
        'æ' => "ae",
        'Ç' | 'Ć' | 'Č' => "C",
        'ç' | 'ć' | 'č' => "c",
        'Ð' | 'Ď' | 'Đ' => "D",
        'ð' | 'ď' | 'đ' => "d",
        'È'..='Ë' | 'Ē' | 'Ę' | 'Ě' => "E",
        'è'..='ë' | 'ē' | 'ę' | 'ě' => "e",
        'Ğ' => "G",
        'ğ' => "g",
        'Ì'..='Ï' | 'İ' => "I",
        'ì'..='ï' | 'ı' => "i",
        'Ł' => "L",
        'ł' => "l",
        'Ñ' | 'Ń' | 'Ň' => "N",
        'ñ' | 'ń' | 'ň' => "n",
        'Ò'..='Ö' | 'Ø' | 'Ő' => "O",
        'ò'..='ö' | 'ø' | 'ő' => "o",
        'Œ' => "OE",
        'œ' => "oe",
        'Ř' => "R",
        'ř' => "r",
        'Ś' | 'Ş' | 'Š' => "S",
        'ś' | 'ş' | 'š' => "s",
        'ß' => "ss",
        'Ť' => "T",
        'ť' => "t",
        'Ù'..='Ü' | 'Ů' | 'Ű' => "U",
        'ù'..='ü' | 'ů' | 'ű' => "u",
        'Ý' => "Y",
        'ý' | 'ÿ' => "y",
        'Ź' | 'Ż' | 'Ž' => "Z",
        'ź' | 'ż' | 'ž' => "z",
        '‘' | '’' | '‚' | '´' | 'ʼ' => "'",
        '“' | '”' | '„' => "\"",
        '«' => "<<",
        '»' => ">>",
        '\u{2010}'..='\u{2015}' | '−' => "-",
        '…' => "...",
        '•' | '·' => "*",
        '€' => "EUR",
        '£' => "GBP",
        '×' => "x",
        '¡' => "!",
        '\u{A0}' | '\u{2007}' | '\u{202F}' => " ",
        _ => return None,
    })
}

/// Lines of at most `width` letters of ASCII, broken between words; a word that is longer is cut.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for mut word in text.split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        while let Some((start, rest)) = word.split_at_checked(width).filter(|(_, rest)| !rest.is_empty()) {
            lines.push(start.to_owned());
            word = rest;
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::{ascii, wrapped};

    #[test]
    fn letters_are_those_that_every_printer_has() {
        assert_eq!(ascii("Zoë’s café – “Größe” 12 €…"), "Zoe's cafe - \"Grosse\" 12 EUR...");
        assert_eq!(ascii("雨 \u{1b}[2J\u{c}a\nb"), "? [2Ja b");
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("go inside the barn", 9), ["go inside", "the barn"]);
        assert_eq!(wrapped("an abcdefghij b", 4), ["an", "abcd", "efgh", "ij b"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
