//! `docs/PERFORMANCE.md`: made from the runs in `data/measured/` and the index that orders them, and from nothing else.
//!
//! The index says how something is measured. What came of it stands in the files, each with its command, date, machine and commit.

mod record;
#[cfg(test)]
mod tests;

use super::Outcome;
use super::grid::grid;
use super::kept::Kept;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const INDEX: &str = "index.toml";
/// The highest heading of Markdown is the page's own.
const TOP: usize = 2;

/// `index.toml`: the order of the page, and the prose that no run wrote.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    pub title: String,
    pub about: String,
    pub chapter: Vec<Chapter>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chapter {
    pub title: String,
    /// How it is measured. Figures come from the files only.
    #[serde(default)]
    pub about: String,
    #[serde(default)]
    pub files: Vec<String>,
    /// Beginnings of the keys of figures and latencies, and of the titles of tables, that are shown; empty: all of them.
    #[serde(default)]
    pub show: Vec<String>,
    #[serde(default)]
    pub section: Vec<Chapter>,
}

/// The index with the runs that it names.
pub struct Measured {
    index: Index,
    kept: BTreeMap<String, Kept>,
}

impl Index {
    /// Every chapter and section in the order of the page.
    fn chapters(&self) -> Vec<&Chapter> {
        self.chapter.iter().flat_map(Chapter::whole).collect()
    }

    /// Prose with a number in it would be a figure without a date: only code and the ends of links may have one.
    fn check_prose(&self) -> Result<()> {
        let abouts = self.chapters();
        let prose = abouts.iter().flat_map(|chapter| [&chapter.title, &chapter.about]);
        for text in prose.chain([&self.title, &self.about]) {
            if let Some(word) = spoken(text)
                .split_whitespace()
                .find(|word| word.contains(|letter: char| letter.is_ascii_digit()))
            {
                bail!("{INDEX} says {word:?}; a figure comes from a run that was kept");
            }
        }
        Ok(())
    }
}

impl Chapter {
    /// Itself, and all sections below it.
    fn whole(&self) -> Vec<&Self> {
        let mut all = Vec::new();
        let mut waiting = vec![self];
        while let Some(chapter) = waiting.pop() {
            all.push(chapter);
            waiting.extend(chapter.section.iter().rev());
        }
        all
    }
}

/// A text without its code and without where its links lead.
fn spoken(text: &str) -> String {
    let outside_of_code: String = text.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let mut parts = outside_of_code.split("](");
    let mut spoken = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        spoken.push_str(part.split_once(')').map_or("", |(_, rest)| rest));
    }
    spoken
}

impl Measured {
    /// Reads a folder like `data/measured/`; the index and the files must name each other.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(INDEX);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let index: Index = toml::from_str(&text).with_context(|| path.display().to_string())?;
        index.check_prose()?;
        let mut kept = BTreeMap::new();
        for name in index.chapters().into_iter().flat_map(|chapter| &chapter.files) {
            let before = kept.insert(name.clone(), Kept::read(&folder.join(name))?);
            ensure!(before.is_none(), "{INDEX} names {name} twice");
        }
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            ensure!(
                name == INDEX || kept.contains_key(&name),
                "{INDEX} does not name {name}"
            );
        }
        let measured = Self { index, kept };
        measured.check_shown()?;
        Ok(measured)
    }

    /// What is asked for and is not there would be missed by nobody.
    fn check_shown(&self) -> Result<()> {
        for chapter in self.index.chapters() {
            let kept = || chapter.files.iter().filter_map(|name| self.kept.get(name));
            for begin in &chapter.show {
                ensure!(
                    kept().any(|kept| record::has(kept, begin)),
                    "{INDEX} shows {begin:?} under {:?}, and no file there has anything that begins so",
                    chapter.title
                );
            }
        }
        Ok(())
    }

    /// The page, in Markdown.
    pub fn page(&self) -> String {
        let mut page = format!("# {}\n\n{}\n", self.index.title, self.index.about.trim());
        page.push_str(&self.missed());
        for chapter in &self.index.chapter {
            self.write_chapter(&mut page, chapter, TOP, &[]);
        }
        page
    }

    /// `told`: what stands above already.
    fn write_chapter(&self, page: &mut String, chapter: &Chapter, level: usize, told: &[&str]) {
        let _ = writeln!(page, "\n{} {}", "#".repeat(level), chapter.title);
        if !chapter.about.is_empty() {
            let _ = writeln!(page, "\n{}", chapter.about.trim());
        }
        let mut shared = self.shared(chapter);
        shared.retain(|text| !told.contains(text));
        if !shared.is_empty() {
            let _ = writeln!(page, "\nOf all that follows here:\n");
            shared.iter().for_each(|text| {
                let _ = writeln!(page, "- {text}");
            });
        }
        let told = [told, &shared].concat();
        for name in &chapter.files {
            if let Some(kept) = self.kept.get(name) {
                record::write_kept(page, (name, kept), &chapter.show, &told);
            }
        }
        for section in &chapter.section {
            self.write_chapter(page, section, level + 1, &told);
        }
    }

    /// What all runs of a chapter note, when there is more than one file of them.
    fn shared(&self, chapter: &Chapter) -> Vec<&str> {
        let names = chapter.whole().into_iter().flat_map(|chapter| &chapter.files);
        let said: Vec<Vec<&str>> = names
            .filter_map(|name| Some(self.kept.get(name)?.always_noted()))
            .collect();
        match said.split_first() {
            Some((first, others)) if !others.is_empty() => {
                let is_of_all = |text: &&str| others.iter().all(|said| said.contains(text));
                first.iter().copied().filter(is_of_all).collect()
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// Where the program falls short, and what nobody measured, before everything else.
    fn missed(&self) -> String {
        let mut rows = Vec::new();
        for chapter in self.index.chapters() {
            for kept in chapter.files.iter().filter_map(|name| self.kept.get(name)) {
                let short = kept.targets.iter().filter(|aim| aim.outcome() != Outcome::Passed);
                rows.extend(short.map(|aim| {
                    [
                        vec![format!("[{}](#{})", chapter.title, anchor(&chapter.title))],
                        record::aim_cells(aim),
                    ]
                    .concat()
                }));
            }
        }
        if rows.is_empty() {
            return String::new();
        }
        let heading = ["", "target", "measured", "bound", ""].map(str::to_owned).to_vec();
        format!(
            "\nTargets that are missed or were not measured:\n\n{}",
            grid(&heading, &rows)
        )
    }
}

/// How Markdown names a heading in an address.
fn anchor(title: &str) -> String {
    let letters = title.to_lowercase();
    let kept = letters
        .chars()
        .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}
