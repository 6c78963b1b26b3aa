//! What `campanile top` can be asked.

use crate::base::size::Span;
use crate::cli::arguments::Target;
use clap::Args;
use std::time::Duration;

/// More often would only show noise, and cost the nodes more than it tells.
const EVERY_MIN: Duration = Duration::from_millis(250);
const EVERY_MAX: Duration = Duration::from_secs(3_600);

/// Look at the whole cluster on one screen, as it changes
#[derive(Debug, Args)]
#[command(after_help = "\
Panes: the queues over all nodes; nodes with their sessions; the threads that write to phones;
alerts and what else wants a look; the newest broadcasts. Figures are asked from every node.

Keys: Tab and the arrows (or h j k l) move; s sorts by the next column, r turns the order round;
/ filters the rows of a pane; Enter opens a broadcast: its ladder as it fills, and who has not
confirmed and why, as `campanile who` names them; Esc goes back; ? explains; q quits.

When the node that is looked through is lost, it goes on with another one and says so. Colours
follow NO_COLOR. It needs a terminal of 40 columns and 10 rows; below 76 x 20 one pane is shown
at a time. For programs there is `campanile status --watch --json`.

Examples:
  campanile top
  campanile top --url http://10.0.0.1:8205,http://10.0.0.2:8205 --every 250ms")]
pub struct Top {
    #[command(flatten)]
    pub target: Target,
    /// Between two looks, at least 250ms
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = every)]
    pub every: Duration,
    /// People that are asked for at most when a broadcast is opened
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rows: u32,
}

fn every(text: &str) -> Result<Duration, String> {
    let Span(every) = text.parse()?;
    if (EVERY_MIN..=EVERY_MAX).contains(&every) {
        Ok(every)
    } else {
        Err("it must be between 250ms and 1h".into())
    }
}

#[cfg(test)]
mod tests {
    use super::every;
    use std::time::Duration;

    #[test]
    fn nodes_are_not_asked_too_often() {
        assert_eq!(every("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(every("1h"), Ok(Duration::from_secs(3_600)));
        for text in ["249ms", "0s", "2h", "soon", "-1s"] {
            assert!(every(text).is_err(), "{text}");
        }
    }
}
