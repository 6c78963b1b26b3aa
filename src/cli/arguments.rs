//! What can be typed. The help texts are the first documentation that people meet; `docs/COMMANDS.md` is made of them.

use super::doctor::Doctor;
use super::load::Load;
use super::report::Report;
use super::season::Season;
use super::top::options::Top;
use super::validate::Validate;
use super::who::options::Who;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

#[derive(Debug, Parser)]
#[command(
    name = "campanile",
    about = "A broadcast server for venues: publish to an audience, and know who has not confirmed",
    styles = STYLES,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = false,
    after_help = "\
First steps, the first and the third in terminals of their own:
  campanile dev                                                        # three nodes on this machine
  echo '{\"kind\": \"user\", \"id\": \"ana\", \"role\": \"guest\"}' | campanile import -   # somebody to tell
  campanile subscribe --user ana                                       # what ana gets, as it comes
  campanile publish --to everyone --type venue.notice --title Hello --body \"Doors at five\"

Exit codes: 0 done, 1 failed or refused by the node, 2 wrong arguments or settings (nothing was
sent), 3 somebody is not done (`who`), 4 not every check was run (`validate`), 69 no node could be
reached, 74 the disk of this machine failed or is full, 75 the outcome is unknown (repeat with the
same --key).

Settings: defaults < TOML file < CAMPANILE_SECTION__KEY < --set section.key=value."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    /// Machine-readable output: JSON, one value a line; errors too
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(Serve),
    Dev(Dev),
    Rehearse(Rehearse),
    Load(Load),
    Report(Report),
    /// Hold subscribers for `load`
    #[command(hide = true)]
    LoadCrowd,
    Season(Season),
    Validate(Validate),
    Publish(Box<Publish>),
    Cancel(Cancel),
    Subscribe(Subscribe),
    Who(Who),
    Status(Status),
    Top(Top),
    Alerts(Alerts),
    Import(Import),
    Token(Token),
    Outputs(Outputs),
    Config(Config),
    Doctor(Doctor),
    /// Print version, commit and data format
    #[command(after_help = "Example:\n  campanile version --json")]
    Version,
}

/// Run one node of a cluster, or a cluster of one
#[derive(Debug, Args)]
#[command(after_help = "\
Without any settings this is a working single node on http://127.0.0.1:8205 with its data in
./campanile-data. SIGINT or SIGTERM stops it cleanly: no new requests, subscribers are told where
to go, what is in memory goes to disk. With --json the log is JSON lines. Logs go to stderr.

Examples:
  campanile serve
  campanile serve --config /etc/campanile.toml
  campanile serve --set node.data=/srv/campanile --set log.level=debug
  CAMPANILE_API__LISTEN=127.0.0.1:9000 campanile serve")]
pub struct Serve {
    #[command(flatten)]
    pub settings: Settings,
    /// Listen on other than loopback addresses although nobody is authenticated (only in a network you trust)
    #[arg(long)]
    pub insecure: bool,
}

/// Run three nodes on this machine, as three processes
#[derive(Debug, Args)]
#[command(after_help = "\
Client APIs are on PORT, PORT+10 and PORT+20, peers one above each. A node that is killed from
outside stays dead unless --respawn. With --json it prints a line per node once the cluster takes
writes: {\"node\": 1, \"url\": \"http://127.0.0.1:8205\", \"pid\": 4711}. With --auth the line
{\"admin_token\": \"cmp_...\"} comes before them, with --tls {\"ca\": \"FILE\"}.

Examples:
  campanile dev
  campanile dev --data ./three-nodes --respawn
  campanile dev --auth --tls
  campanile dev --port 9205 --json --set log.level=debug")]
pub struct Dev {
    /// The first node's port for clients
    #[arg(long, default_value_t = 8205)]
    pub port: u16,
    /// Keep the data here and go on from it [default: a temporary folder, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Start a node again when it dies
    #[arg(long)]
    pub respawn: bool,
    /// Every request needs a token; the administrator's is printed first, and kept in the folder's `admin-token`
    #[arg(long)]
    pub auth: bool,
    /// Speak TLS to clients; the certificate's authority is kept in the folder's `ca.pem`, which is printed first
    #[arg(long)]
    pub tls: bool,
    /// A setting for all three nodes; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// Play a scripted day on three nodes and check every delivery
#[derive(Debug, Args)]
#[command(after_help = "\
Starts three nodes, imports the scenario's people, connects every device, plays the day's
broadcasts and compares what each device read with what an independent oracle says it must get.
Of a broadcast that escalates, those who are needed keep silent until they are alerted again: each
step must be taken once, after its full time, alert those who have not confirmed and call its
outputs, which lead to a receiver in this process that verifies every signature. What another
broadcast replaces in time must not escalate. Exits 1 when anything is missing, wrong or unexpected.

Examples:
  campanile rehearse
  campanile rehearse --faults
  campanile rehearse ./my-day --speed 300 --json > report.json")]
pub struct Rehearse {
    /// `saturday`, or a folder with directory.ndjson, broadcasts.ndjson and faults.ndjson
    #[arg(default_value = "saturday")]
    pub scenario: String,
    /// How many times shorter the pauses between broadcasts are
    #[arg(long, default_value_t = 1200.0, value_parser = speed)]
    pub speed: f64,
    /// Also play the faults of the script that concern processes and connections
    #[arg(long)]
    pub faults: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "it must be a number".to_owned())?;
    if speed.is_finite() && speed > 0.0 {
        Ok(speed)
    } else {
        Err("it must be above 0".into())
    }
}

/// Which settings a node runs with
#[derive(Debug, Args)]
pub struct Settings {
    /// TOML file with settings
    #[arg(long, value_name = "FILE", env = "CAMPANILE_CONFIG")]
    pub config: Option<PathBuf>,
    /// One setting, over file and environment; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// Which nodes a client command talks to
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// A node; several, separated by commas, are tried in turn
    #[arg(
        long,
        value_name = "URL",
        env = "CAMPANILE_URL",
        default_value = "http://127.0.0.1:8205",
        value_delimiter = ','
    )]
    pub url: Vec<String>,
    /// Sent as `Authorization: Bearer TOKEN`
    #[arg(long, env = "CAMPANILE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// For https: believe the authorities in this PEM file, and no others [default: those of this machine]
    #[arg(long, value_name = "FILE", env = "CAMPANILE_CA")]
    pub ca: Option<PathBuf>,
}

/// Publish one broadcast
#[derive(Debug, Args)]
#[command(after_help = "\
An audience is one or more clauses; whoever matches any of them gets the broadcast:
  everyone                       all users
  wedding:w-1                    all members of a wedding
  wedding:w-1,w-2/staff          those with a role there (guests, staff: sets of roles)
  venue:larkfield/staff          a venue's own members
  on-site:larkfield              a venue's members and those of weddings under way there
  user:u-1,u-2   role:dj   tier:starter   segment:spring
  {\"weddings\": [\"w-1\"], \"tiers\": [\"starter\"]}    any clause as JSON; keys are AND, values OR

The command retries with the same Idempotency-Key until --within: it cannot publish twice. If the
outcome stays unknown it exits 75; repeat it with the --key it printed.

Examples:
  campanile publish --to wedding:w-1/guests --type timeline.changed --title Cake --body \"At nine\"
  campanile publish --to on-site:larkfield --type weather.warning --priority critical \\
      --title \"Go inside now\" --body \"Go inside the barn now.\" \\
      --ack-within 15s --answers ok,need_help
  campanile publish --to wedding:w-1 --type timeline.changed --title Buses --body \"At ten\" --at 2h
  campanile publish --to wedding:w-1 --type timeline.changed --title Today --body \"At four\" \\
      --at-local 2027-06-19T09:00
  campanile publish --file broadcast.json --dry-run
  campanile publish --file broadcast.json --key storm-1
  generate | campanile publish --file - --to everyone --json")]
pub struct Publish {
    #[command(flatten)]
    pub target: Target,
    /// Dotted lower-case words; the first is the category that recipients can mute
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// [default: normal]
    #[arg(long, value_enum)]
    pub priority: Option<Priority>,
    /// Who gets it; may be repeated
    #[arg(long, value_name = "CLAUSE", num_args = 1..)]
    pub to: Vec<String>,
    /// Who does not, although --to says so
    #[arg(long, value_name = "CLAUSE", num_args = 1..)]
    pub except: Vec<String>,
    /// Up to 200 characters
    #[arg(long)]
    pub title: Option<String>,
    /// Up to 1000 characters (critical: 360)
    #[arg(long)]
    pub body: Option<String>,
    /// A time (2027-06-19T16:42:00-04:00) or how long from now (2h) [default: 24h after release]
    #[arg(long, value_name = "WHEN")]
    pub expires: Option<String>,
    /// When it goes out: a time, or how long from now (2h); at most 7 days ahead [default: now]
    #[arg(long, value_name = "WHEN")]
    pub at: Option<String>,
    /// When the clocks of each recipient's own zone show this date and time, like 2027-06-19T09:00
    #[arg(long, value_name = "LOCAL TIME", conflicts_with = "at")]
    pub at_local: Option<String>,
    /// People must confirm within this time
    #[arg(long, value_name = "DURATION")]
    pub ack_within: Option<String>,
    /// What they can answer
    #[arg(long, value_name = "ANSWER", value_delimiter = ',')]
    pub answers: Vec<String>,
    /// Any JSON for the recipients' programs, up to 16 KiB
    #[arg(long, value_name = "JSON")]
    pub data: Option<String>,
    /// Replaces an earlier broadcast
    #[arg(long, value_name = "ID")]
    pub supersedes: Option<String>,
    /// An exercise, shown as one
    #[arg(long)]
    pub drill: bool,
    /// Say what the rules say, whom it would reach and whom not, and publish nothing
    #[arg(long, conflicts_with = "key")]
    pub dry_run: bool,
    /// A broadcast as JSON (`-` reads stdin); options go over what it says
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Idempotency-Key: the same key and broadcast are published once [default: made up, and printed]
    #[arg(long)]
    pub key: Option<String>,
    /// Begin no further attempt after this long; the one under way is waited for
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub within: String,
}

/// Call a broadcast off
#[derive(Debug, Args)]
#[command(after_help = "\
One that waits for its time (--at) never goes out. One that is out already stops: whoever has it
is told, and nobody else hears of it. Calling it off again changes nothing.

Example:
  campanile cancel 01M4QZ6A4S3W0G00000000000C")]
pub struct Cancel {
    #[command(flatten)]
    pub target: Target,
    /// The broadcast, as `campanile publish` printed it
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Priority {
    /// Safety, evacuation, cancellation: overtakes everything
    Critical,
    /// Time changes, no-shows, weather
    High,
    /// Announcements
    Normal,
    /// Tips
    Low,
}

/// Print what a user gets, as it comes
#[derive(Debug, Args)]
#[command(after_help = "\
The stream survives nodes: when one goes, it goes on at another from the last cursor, and
repeats nothing. Human output is one line per broadcast, coloured by priority; --json prints
every frame as the server sent it, and {\"event\": \"cursor\", \"cursor\": ...} when the cursor has
moved. Ctrl-C or --count ends it and prints the cursor to go on from: it skips nothing.

Examples:
  campanile subscribe --user u-1
  campanile subscribe --user u-1 --from earliest --json | jq --unbuffered 'select(.title).title'
  campanile subscribe --user u-1 --cursor 00abcdef.3.0.17.2 --transport sse")]
pub struct Subscribe {
    #[command(flatten)]
    pub target: Target,
    /// Whose broadcasts; with a token, its own user's
    #[arg(long)]
    pub user: Option<String>,
    /// Go on from here
    #[arg(long, conflicts_with = "from")]
    pub cursor: Option<String>,
    /// Where to start without a cursor [default: what is unread and not expired, then live]
    #[arg(long, value_enum)]
    pub from: Option<From>,
    #[arg(long, value_enum, default_value_t = Transport::Ws)]
    pub transport: Transport,
    /// End after this many broadcasts, 1 or more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum From {
    /// Only what is published from now on
    Now,
    /// Everything that is kept
    Earliest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// WebSocket: tells the server what was received
    Ws,
    /// Server-sent events
    Sse,
    /// Lines of JSON over HTTP
    Ndjson,
}

/// Show on one screen whether all is well, once or as it changes
#[derive(Debug, Args)]
#[command(after_help = "\
The first line is the answer. Below it stand the health score and what took points off it, the part
of the last hour's probes that were answered, the nodes, what waits in their queues (summed over
all that answer), threads and what scaling last did, how often the cache has what is asked for,
alerts that fire, and the newest critical broadcasts with how many are missing: who has not
confirmed or, where nobody is asked to, who has not received it. `says` is what each node answers
itself to \"are you ready?\" within a second.

With --watch it follows the cluster until Ctrl-C; when the node that tells is lost, it goes on with
another one and says so. --json prints one value, with --watch one a line for every change.

Exits 0, or 1 when the last look found no leader, 69 when no node could be reached.

Examples:
  campanile status
  campanile status --watch
  campanile status --url http://10.0.0.2:8205 --json
  campanile status --watch --json | jq --unbuffered -c .health.concerns")]
pub struct Status {
    #[command(flatten)]
    pub target: Target,
    /// Show it as it changes
    #[arg(long)]
    pub watch: bool,
}

/// Show what is wrong, what was, and how each rule stands
#[derive(Debug, Args)]
#[command(after_help = "\
An alert is a rule of rules.alerts that is broken for long enough on one or more nodes. The table at
the end is of the node that answers.

Examples:
  campanile alerts
  campanile alerts --json | jq '.items[] | select(.severity == \"critical\")'")]
pub struct Alerts {
    #[command(flatten)]
    pub target: Target,
}

/// Load users, venues, weddings, members, segments and preferences
#[derive(Debug, Args)]
#[command(after_help = "\
One JSON object a line, 64 KiB at most, each with a `kind`:
  {\"kind\": \"venue\", \"id\": \"larkfield\", \"name\": \"Larkfield\", \"timezone\": \"America/New_York\"}
  {\"kind\": \"user\", \"id\": \"u-1\", \"role\": \"dj\"}
  {\"kind\": \"member\", \"of\": {\"venue\": \"larkfield\"}, \"user\": \"u-1\", \"role\": \"dj\"}
Every 1,000 lines are applied together or not at all; importing again changes nothing twice, so
after an interruption simply run it again. Exits 1 when any line was refused.

Examples:
  campanile import data/scenarios/saturday/directory.ndjson
  zstdcat people.ndjson.zst | campanile import - --json")]
pub struct Import {
    #[command(flatten)]
    pub target: Target,
    /// NDJSON file, or `-` for stdin
    pub file: PathBuf,
    /// Faults that are printed
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub faults_max: usize,
}

/// Make, list and revoke API tokens
#[derive(Debug, Args)]
#[command(after_help = "\
A token says who its bearer is (user, role), where (weddings, venues) and what for (scopes):
  publish     send broadcasts, within what the role may send
  subscribe   receive, confirm, read the own inbox, set the own preferences
  read        look at broadcasts, who got them, the directory, the cluster
  admin       all of that, and change the directory, the cluster and tokens

Only an administrator makes tokens. The first administrator's token is a file: see
auth.admin_token_file in `campanile config default`; `campanile dev --auth` makes one and prints it.

Examples:
  export CAMPANILE_TOKEN=cmp_...
  campanile token create --user ah-dj-01 --role dj --wedding w-1 --scope publish,subscribe --ttl 12h
  campanile token create --role venue_ops --venue larkfield --scope publish --json | jq -r .token
  campanile token list
  campanile token revoke tok-0123456789abcdef")]
pub struct Token {
    #[command(subcommand)]
    pub verb: TokenVerb,
}

#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    Create(TokenCreate),
    List(TokenList),
    Revoke(TokenRevoke),
}

/// Make a token; it is printed once and kept nowhere
#[derive(Debug, Args)]
#[command(after_help = "\
The token is the only line on stdout, so that a script can keep it; what it is stands on stderr.

Examples:
  campanile token create --user ah-dj-01 --role dj --wedding w-1 --scope publish,subscribe --ttl 12h
  TOKEN=$(campanile token create --role administrator --scope admin)")]
pub struct TokenCreate {
    #[command(flatten)]
    pub target: Target,
    /// Whom it stands for; without it, for a thing or for whoever holds the role
    #[arg(long, value_name = "ID")]
    pub user: Option<String>,
    /// The role that its bearer acts in
    #[arg(long)]
    pub role: String,
    /// Weddings that it counts in; may be repeated
    #[arg(long = "wedding", value_name = "ID", value_delimiter = ',')]
    pub weddings: Vec<String>,
    /// Venues that it counts in; may be repeated
    #[arg(long = "venue", value_name = "ID", value_delimiter = ',')]
    pub venues: Vec<String>,
    /// What it is for; may be repeated
    #[arg(long = "scope", value_enum, value_delimiter = ',', required = true)]
    pub scopes: Vec<Scope>,
    /// How long it is good [default: the node's `auth.token_ttl_default`]
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// Send broadcasts
    Publish,
    /// Receive and confirm
    Subscribe,
    /// Look at broadcasts and who got them
    Read,
    /// Everything
    Admin,
}

/// Show all tokens, never their secrets
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  campanile token list --json | jq 'select(.expired | not) | .id'")]
pub struct TokenList {
    #[command(flatten)]
    pub target: Target,
}

/// Make a token worthless, on every node and at once; its open streams end
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  campanile token revoke tok-0123456789abcdef")]
pub struct TokenRevoke {
    #[command(flatten)]
    pub target: Target,
    /// As `campanile token list` shows it
    #[arg(required = true)]
    pub ids: Vec<String>,
}

/// Try what the cluster calls when people do not answer
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  campanile outputs test siren --config /etc/campanile.toml")]
pub struct Outputs {
    #[command(subcommand)]
    pub verb: OutputsVerb,
}

#[derive(Debug, Subcommand)]
pub enum OutputsVerb {
    Test(OutputsTest),
}

/// Send one test message to an output from this machine, marked as a drill
#[derive(Debug, Args)]
#[command(after_help = "\
It makes one call by the settings of a file, as a node with this file would; no node needs to run
and none is asked. The message is of the type output.test and low priority. Whoever gets it gets
a real call: a siren may sound. Exits 1 when the output did not take it.

Examples:
  campanile outputs test siren --config /etc/campanile.toml
  campanile outputs test pager --config campanile.toml --json")]
pub struct OutputsTest {
    /// The output's name in `outputs.targets`
    pub name: String,
    #[command(flatten)]
    pub settings: Settings,
}

/// Check, show and explain settings
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config default > campanile.toml
  campanile config check --config campanile.toml
  campanile config show --set gateway.heartbeat=20s")]
pub struct Config {
    #[command(subcommand)]
    pub verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Name every fault at once; exits 2 when there is any
    #[command(after_help = "Example:\n  campanile config check --config campanile.toml --set node.id=2")]
    Check(Settings),
    /// Print the settings in force and where each comes from (default, file, environment, flag)
    #[command(after_help = "Secrets are masked.\n\nExample:\n  CAMPANILE_LOG__LEVEL=debug campanile config show")]
    Show(Settings),
    /// Print all settings with their defaults and what they mean
    #[command(after_help = "Example:\n  campanile config default > campanile.toml")]
    Default,
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }
}
