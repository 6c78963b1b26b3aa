//! `campanile status`: one screen that answers whether all is well, once or as it changes.

mod screen;
mod watch;

use super::arguments::Status;
use super::failure::Failure;
use super::output;
use super::sight::Sight;
use super::sight::ask::Asker;
use super::sight::line::{Line, Palette};
use screen::{Room, lines};

pub async fn run(options: &Status, as_json: bool) -> Result<(), Failure> {
    let mut asker = Asker::new(&options.target)?;
    let mut sight = asker.look().await?;
    if options.watch {
        sight = watch::watch(&mut asker, sight, as_json).await?;
    } else if as_json {
        output::say(&sight.json().to_string())?;
    } else {
        let palette = Palette::of_stdout();
        for line in lines(&sight, Room::ENDLESS) {
            output::say(&shown(&line, palette))?;
        }
    }
    verdict(&sight)
}

fn shown(line: &Line, palette: Palette) -> String {
    match palette {
        Palette::Colours => line.ansi(),
        Palette::Plain => line.text(),
    }
}

/// Without a leader the cluster takes no broadcast: scripts want to know.
fn verdict(sight: &Sight) -> Result<(), Failure> {
    match sight.board.cluster.leader {
        Some(_) => Ok(()),
        None => Err(Failure::failed("this node has no leader")
            .hint("another node (--url); with two of three nodes down there is none until one returns")),
    }
}
