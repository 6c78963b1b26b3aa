//! Words that many users share (roles, tiers, zones), each kept once and named by a small number.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A word's number; only this process knows it, rows carry the word.
pub type Name = u32;

#[derive(Debug, Default)]
pub struct Names {
    words: Vec<Arc<str>>,
    numbers: BTreeMap<Arc<str>, Name>,
}

impl Names {
    pub fn number(&mut self, word: &str) -> Name {
        if let Some(number) = self.numbers.get(word) {
            return *number;
        }
        let number = self.words.len() as Name;
        let word: Arc<str> = word.into();
        self.words.push(word.clone());
        self.numbers.insert(word, number);
        number
    }

    pub fn find(&self, word: &str) -> Option<Name> {
        self.numbers.get(word).copied()
    }

    pub fn word(&self, number: Name) -> &str {
        self.words.get(number as usize).map_or("", AsRef::as_ref)
    }
}
