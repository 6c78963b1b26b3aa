//! What `campanile who` can be asked.

use crate::cli::arguments::Target;
use clap::{Args, ValueEnum};

/// Show who has not got a broadcast or has not confirmed it, and why
#[derive(Debug, Args)]
#[command(after_help = "\
People stand in groups by what to do about them, the most urgent first: who said something other
than ok (\"need_help\"), who is not connected (and since when), who is connected and has not
received it, who has it and has not confirmed; then who is held until their quiet hours end, whom
their own preferences skip, and for whom it expired or failed. Inside a group they stand by role.
The total stands below them; a drill ends with its sheet.

Done is who has confirmed; where nobody was asked to confirm, who has received it. Times are those
of the venue or wedding that the broadcast names, else UTC.

Exits 0 when everybody is done and nobody said anything but ok, 3 when somebody is not done or did.
With --watch it looks again every two seconds until everybody is done, or it expires or is off.

--print makes a page for a runner with a clipboard: plain letters, 80 columns, 60 lines a page with
form feeds between, and a box for each person.

Examples:
  campanile who 01M4QZ6A4S3W0G00000000000C
  campanile who 01M4QZ6A4S3W0G00000000000C --watch
  campanile who 01M4QZ6A4S3W0G00000000000C --print | lp
  campanile who 01M4QZ6A4S3W0G00000000000C --state targeted,sent
  campanile who 01M4QZ6A4S3W0G00000000000C --all --json | jq '.groups[].people[].user'")]
pub struct Who {
    #[command(flatten)]
    pub target: Target,
    /// The broadcast, as `campanile publish` printed it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Name only people in these states; several are separated by commas [default: all who are not done]
    #[arg(
        long = "state",
        value_enum,
        value_name = "STATE",
        value_delimiter = ',',
        hide_possible_values = false
    )]
    pub states: Vec<State>,
    /// Name those who are done, too
    #[arg(long, conflicts_with = "states")]
    pub all: bool,
    /// Look again until everybody is done or it is over
    #[arg(long)]
    pub watch: bool,
    /// Plain pages for a printer, with a box for each person
    #[arg(long, conflicts_with = "watch")]
    pub print: bool,
}

/// The steps of a recipient, and what stands beside them, in the words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum State {
    Targeted,
    Sent,
    Received,
    Read,
    Acknowledged,
    Held,
    Skipped,
    Expired,
    Failed,
    Excluded,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Targeted => "targeted",
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Read => "read",
            Self::Acknowledged => "acknowledged",
            Self::Held => "held",
            Self::Skipped => "skipped",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Excluded => "excluded",
        }
    }
}
