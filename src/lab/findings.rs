//! What is wrong with a run, in words for people.

/// So many are kept; the counts go on.
const MAX: usize = 20;

#[derive(Debug, Default)]
pub struct Findings(Vec<String>);

impl Findings {
    pub fn add(&mut self, words: impl FnOnce() -> String) {
        match self.0.len() {
            0..MAX => self.0.push(words()),
            MAX => self.0.push("and more that are only counted".into()),
            _ => {}
        }
    }

    pub fn words(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Findings, MAX};

    #[test]
    fn the_first_are_kept_and_the_rest_is_one_line() {
        let mut findings = Findings::default();
        (0..MAX + 5).for_each(|number| findings.add(|| number.to_string()));
        let words = findings.words();
        assert_eq!((words.len(), words[MAX - 1].as_str()), (MAX + 1, "19"));
    }
}
