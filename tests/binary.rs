//! The real binary as people and scripts meet it: help, exit codes, JSON, and settings with faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test says no by panicking

use campanile::base::clock;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

#[path = "binary/doctor.rs"]
mod doctor;
#[path = "binary/report.rs"]
mod report;

const COMMANDS: [&str; 19] = [
    "serve",
    "dev",
    "rehearse",
    "load",
    "report",
    "season",
    "validate",
    "publish",
    "subscribe",
    "who",
    "status",
    "top",
    "alerts",
    "import",
    "token",
    "outputs",
    "config",
    "doctor",
    "version",
];

fn campanile(words: &[&str]) -> Output {
    run(words, &[])
}

/// Runs the binary with nothing of the outer environment that it could obey.
fn run(words: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_campanile"));
    command.args(words).env_clear().envs(environment.iter().copied());
    command.output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_command_explains_itself_with_an_example() {
    for name in COMMANDS {
        let output = campanile(&[name, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert!(out(&output).contains("Example"), "{name}: {}", out(&output));
        assert!(out(&output).contains("--json"), "{name}");
        assert!(!out(&output).contains('\u{1b}'), "no colours into a pipe");
    }
    let output = campanile(&["--help"]);
    assert!(COMMANDS.iter().all(|name| out(&output).contains(name)));
    assert!(out(&output).contains("Exit codes"));
}

#[test]
fn wrong_words_are_usage() {
    for words in [
        &["pubish"][..],
        &["status", "--jso"],
        &["publish", "--priority", "urgent"],
        &[],
    ] {
        let output = campanile(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(out(&output).is_empty(), "{words:?}");
    }
    assert!(err(&campanile(&["pubish"])).contains("publish"), "it names the nearest");
}

#[test]
fn wrong_words_are_one_line_of_json_for_programs() {
    for (words, part) in [
        (&["pubish", "--json"][..], "pubish"),
        (&["publish", "--json", "--priority", "urgent"], "urgent"),
        (&["subscribe", "--json", "--user", "u", "--count", "0"], "--count"),
        (&["rehearse", "./nowhere", "--json"], "nowhere"),
        (&["rehearse", "--speed", "0", "--json"], "--speed"),
        (&["--json"], "requires a subcommand"),
    ] {
        let output = campanile(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", err(&output));
        assert!(out(&output).is_empty(), "{words:?}");
        let told = json(&err(&output));
        assert_eq!(told["exit"], 2, "{words:?}: {told}");
        let what = told["error"].as_str().unwrap();
        assert!(what.contains(part) && !what.starts_with("error"), "{words:?}: {told}");
    }
}

#[test]
fn every_fault_in_the_settings_is_told_at_once() {
    let words = [
        "config",
        "check",
        "--set",
        "gateway.hartbeat=5s",
        "--set",
        "gateway.window_bytes_max=0 B",
        "--set",
        "api.deadline=soon",
    ];
    let output = run(&words, &[("CAMPANILE_CLUSTER__HEARTBEAT", "600ms")]);
    assert_eq!(output.status.code(), Some(2));
    let told = err(&output);
    for part in [
        "4 faults in the settings",
        "did you mean gateway.heartbeat?",
        "gateway.window_bytes_max is 0 B; it must be between 1 MiB and 64 GiB",
        "api.deadline is \"soon\"",
        "cluster.heartbeat is 600ms; it must be at most half of cluster.election_timeout_min",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    let output = run(&[&words[..], &["--json"]].concat(), &[]);
    let told = json(&err(&output));
    assert_eq!(told["exit"], 2);
    assert_eq!(told["details"].as_array().map(Vec::len), Some(3), "{told}");
}

#[test]
fn good_settings_are_fine_and_show_their_origin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    std::fs::write(&file, "[gateway]\nheartbeat = \"20s\"\n").unwrap();
    let file = file.to_str().unwrap();
    let environment = [("CAMPANILE_CONFIG", file), ("CAMPANILE_LOG__LEVEL", "debug")];
    let output = run(&["config", "check"], &environment);
    assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
    let words = ["config", "show", "--json", "--set", "rates.enabled=false"];
    let shown = json(&out(&run(&words, &environment)));
    for (name, value, from) in [
        ("gateway.heartbeat", Value::from("20s"), "file"),
        ("log.level", Value::from("debug"), "environment"),
        ("rates.enabled", Value::from(false), "flag"),
        ("node.id", Value::from(1), "default"),
    ] {
        assert_eq!(
            (&shown[name]["value"], &shown[name]["from"]),
            (&value, &Value::from(from)),
            "{name}"
        );
    }
    let people = out(&run(&["config", "show"], &environment));
    let line = people
        .lines()
        .find(|line| line.starts_with("heartbeat = \"20s\""))
        .unwrap();
    assert!(line.ends_with("# file"), "{line}");
}

#[test]
fn the_printed_defaults_are_good_settings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("default.toml");
    std::fs::write(&file, out(&campanile(&["config", "default"]))).unwrap();
    let output = campanile(&["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

#[test]
fn a_node_with_bad_settings_does_not_start() {
    for words in [&["serve", "--set", "node.id=0"][..], &["dev", "--set", "node.hat=1"]] {
        let output = campanile(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", err(&output));
    }
    let output = campanile(&["serve", "--set", "api.listen=0.0.0.0:0", "--set", "api.url=http://a"]);
    assert!(err(&output).contains("--insecure"), "{}", err(&output));
}

#[test]
fn the_version_names_the_data_format() {
    let told = json(&out(&campanile(&["version", "--json"])));
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert!(told["data_format"].is_u64() && told.get("commit").is_some(), "{told}");
}

#[test]
fn nobody_there_has_an_exit_code_of_its_own() {
    // Bound and dropped: nobody listens on this port now.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let output = run(&["status"], &[("CAMPANILE_URL", &url)]);
    assert_eq!(output.status.code(), Some(69), "{}", err(&output));
    assert!(
        err(&output).contains(&url) && err(&output).contains("try: "),
        "{}",
        err(&output)
    );
    let publish = [
        "publish", "--to", "everyone", "--type", "a.b", "--title", "T", "--body", "B", "--within", "10ms",
    ];
    let output = run(&publish, &[("CAMPANILE_URL", &url)]);
    assert_eq!(
        output.status.code(),
        Some(69),
        "never sent is not unknown: {}",
        err(&output)
    );
    let output = campanile(&["status", "--url", "ftp://x", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(json(&err(&output))["exit"], 2);
}

/// A node that says that it did not publish is believed, however little time was left; silence is not.
#[test]
fn only_an_unknown_outcome_is_called_unknown() {
    let check = |answer: &str, expected: i32| {
        let (url, asked) = answering(answer.to_owned());
        let publish = [
            "publish", "--json", "--to", "everyone", "--type", "a.b", "--title", "T", "--body", "B", "--within", "1ms",
        ];
        let output = run(&publish, &[("CAMPANILE_URL", &url)]);
        asked.join().unwrap();
        assert_eq!(output.status.code(), Some(expected), "{answer}: {}", err(&output));
        assert_eq!(json(&err(&output))["exit"], expected, "{}", err(&output));
    };
    let problem = |outcome: &str| {
        let body = format!("{{\"title\": \"no\", \"retryable\": true, \"outcome\": \"{outcome}\"}}");
        format!("HTTP/1.1 503 Later\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    check(&problem("not_published"), 1);
    check(&problem("unknown"), 75);
    check("", 75);
    check("HTTP/1.1 422 No\r\nContent-Length: 2\r\n\r\n{}", 1);
}

/// A server that reads one request, whole or not, gives this answer and closes.
fn answering(answer: String) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let builder = std::thread::Builder::new().name("answer".into());
    let asked = builder.spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        // The body of a broadcast ends with the only brace at the end of a piece.
        while !request.ends_with(b"}") {
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "the request broke off");
            request.extend_from_slice(&piece[..count]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let asked = asked.unwrap();
    (url, asked)
}

/// A node of its own, ended with the test.
struct Node {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

fn data_in(folder: &Path) -> String {
    format!("node.data={}", folder.join("node").display())
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Both are held until both are known, so that they differ.
        let listeners = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [api, peer] = listeners.map(|listener| listener.local_addr().unwrap());
        let settings = [
            data_in(folder.path()),
            format!("api.listen={api}"),
            format!("cluster.listen={peer}"),
        ];
        // A switch of these tests, like that of the browser's, is no setting, and a node refuses what it does not know.
        let child = Command::new(env!("CARGO_BIN_EXE_campanile"))
            .env_clear()
            .args(["serve", "--json"])
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let node = Self {
            child,
            url: format!("http://{api}"),
            folder,
        };
        let deadline = clock::now() + Duration::from_secs(30);
        while node.run(&["status"]).status.code() != Some(0) {
            assert!(clock::now() < deadline, "{}", node.log());
        }
        node
    }

    fn run(&self, words: &[&str]) -> Output {
        run(words, &[("CAMPANILE_URL", &self.url)])
    }

    /// The setting of its data folder.
    fn data(&self) -> String {
        data_in(self.folder.path())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

#[test]
fn a_node_serves_the_commands_and_stops_when_it_is_told() {
    let mut node = Node::start();
    let people = node.folder.path().join("people.ndjson");
    std::fs::write(
        &people,
        "{\"kind\": \"user\", \"id\": \"ana\", \"role\": \"guest\"}\nno\n",
    )
    .unwrap();
    let people = people.to_str().unwrap();
    let output = node.run(&["import", people]);
    assert_eq!(output.status.code(), Some(1), "a faulty line: {}", err(&output));
    assert!(out(&output).contains("line 2"), "{}", out(&output));
    std::fs::write(people, "{\"kind\": \"user\", \"id\": \"ana\", \"role\": \"guest\"}\n").unwrap();
    let output = node.run(&["import", people, "--json"]);
    assert_eq!(
        (output.status.code(), &json(&out(&output))["created"]),
        (Some(0), &Value::from(1))
    );

    let publish = [
        "publish",
        "--to",
        "role:guest",
        "--type",
        "a.b",
        "--title",
        "T",
        "--body",
        "B",
    ];
    let published = json(&out(&node.run(&[&publish[..], &["--key", "k", "--json"]].concat())));
    assert_eq!(
        (&published["targeted"], &published["replayed"]),
        (&Value::from(1), &Value::from(false))
    );
    let again = json(&out(&node.run(&[&publish[..], &["--key", "k", "--json"]].concat())));
    assert_eq!(
        (&again["id"], &again["replayed"]),
        (&published["id"], &Value::from(true))
    );
    let output = node.run(&[&publish[..], &["--to", "wedding:none"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("UNKNOWN_WEDDING"), "{}", err(&output));

    for transport in ["ws", "sse", "ndjson"] {
        let words = [
            "subscribe",
            "--user",
            "ana",
            "--from",
            "earliest",
            "--count",
            "1",
            "--transport",
            transport,
        ];
        let got = out(&node.run(&[&words[..], &["--json"]].concat()));
        let got: Vec<Value> = got.lines().map(json).collect();
        let (cursor, before) = got.split_last().unwrap();
        let last = before.last().unwrap();
        assert_eq!(
            (&last["event"], &last["id"], &cursor["event"]),
            (&Value::from("broadcast"), &published["id"], &Value::from("cursor")),
            "{transport}"
        );
        assert!(cursor["cursor"].is_string(), "{transport}: {cursor}");
        let people = out(&node.run(&words));
        assert!(people.contains("NORMAL    a.b  T: B"), "{transport}: {people}");
    }
    let status = json(&out(&node.run(&["status", "--json"])));
    assert_eq!(status["cluster"]["leader"], 1, "{status}");
    assert_eq!(status["cluster"]["nodes"][0]["says"], "ready", "{status}");
    let output = node.run(&["serve", "--set", &node.data()]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(
        err(&output).contains("is in use by another process"),
        "{}",
        err(&output)
    );

    let pid = rustix::process::Pid::from_child(&node.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(node.child.wait().unwrap().code(), Some(0), "{}", node.log());
    let log = node.log();
    assert!(log.lines().all(|line| json(line)["level"].is_string()), "{log}");
    assert!(log.contains("SIGTERM"), "{log}");
}

/// Whatever the number that is asked for at a time, all comes, once, in order: the cursor skips nothing and repeats nothing.
#[test]
fn a_subscription_goes_on_where_it_ended() {
    let node = Node::start();
    let people = node.folder.path().join("people.ndjson");
    std::fs::write(&people, "{\"kind\": \"user\", \"id\": \"ana\", \"role\": \"guest\"}\n").unwrap();
    assert_eq!(node.run(&["import", people.to_str().unwrap()]).status.code(), Some(0));
    let titles = ["one", "two", "three", "four", "five"];
    for title in titles {
        let publish = [
            "publish", "--to", "everyone", "--type", "a.b", "--title", title, "--body", "B",
        ];
        assert_eq!(node.run(&publish).status.code(), Some(0), "{title}");
    }
    for transport in ["ws", "sse", "ndjson"] {
        let (mut cursor, mut seen) = (None::<String>, Vec::new());
        while seen.len() < titles.len() {
            let count = (titles.len() - seen.len()).min(2).to_string();
            let mut words = vec![
                "subscribe",
                "--json",
                "--user",
                "ana",
                "--transport",
                transport,
                "--count",
                &count,
            ];
            match &cursor {
                Some(cursor) => words.extend(["--cursor", cursor]),
                None => words.extend(["--from", "earliest"]),
            }
            let got: Vec<Value> = out(&node.run(&words)).lines().map(json).collect();
            let of = |event: &'static str| got.iter().filter(move |frame| frame["event"] == event);
            seen.extend(of("broadcast").map(|frame| frame["title"].as_str().unwrap().to_owned()));
            cursor = of("cursor")
                .next_back()
                .map(|frame| frame["cursor"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen, titles, "{transport}");
    }
}

/// The first steps of the help, as typed and in order; only the node is one of the test's own.
#[test]
fn the_first_steps_work_as_typed() {
    let node = Node::start();
    let help = out(&campanile(&["--help"]));
    let steps: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("First steps"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    let [dev, import, subscribe, publish] = steps[..] else {
        panic!("{steps:?}")
    };
    assert!(dev.starts_with("campanile dev"), "{dev}");
    let folder = Path::new(env!("CARGO_BIN_EXE_campanile")).parent().unwrap();
    let shell = |step: &str| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", step]).env_clear().env("CAMPANILE_URL", &node.url);
        command.env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let output = shell(import).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{import}: {}", err(&output));
    let (subscribe, _) = subscribe.split_once('#').unwrap();
    let hears = shell(&format!("exec {subscribe} --count 1")).spawn().unwrap();
    let output = shell(publish).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{publish}: {}", err(&output));
    assert!(out(&output).contains("targeted 1"), "{}", out(&output));
    let heard = out(&hears.wait_with_output().unwrap());
    assert!(heard.contains("Hello: Doors at five"), "{heard}");
}

#[test]
fn the_page_of_commands_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/COMMANDS.md");
    let page = page();
    #[allow(clippy::disallowed_methods)] // a switch for whoever changes the page, not a setting
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == page,
        "docs/COMMANDS.md is old; write it with: BLESS=1 cargo test --test binary page"
    );
}

/// An example that the help had to wrap is two commands, neither of which works.
fn assert_can_be_pasted(help: &[&str]) {
    let examples = help.iter().skip_while(|line| !line.starts_with("Example"));
    let examples: Vec<&str> = examples.skip(1).copied().collect();
    let starts = [
        "campanile ",
        "CAMPANILE_",
        "export CAMPANILE_",
        "TOKEN=",
        "generate ",
        "zstdcat ",
    ];
    for (at, line) in examples.iter().enumerate() {
        let goes_on = at > 0 && examples[at - 1].ends_with('\\');
        assert!(
            goes_on || starts.iter().any(|start| line.trim_start().starts_with(start)),
            "{line:?} is wrapped"
        );
    }
}

const HEAD: &str = "\
# Commands

What `campanile COMMAND --help` prints, on one page; a test keeps it so.

Every command has `--json`: what it prints is then JSON, one value a line, on stdout; what it says beside that (an error, a
further attempt) is one line of JSON each on stderr. An error is
`{\"error\": ..., \"exit\": 1, \"details\": [...], \"try\": ..., \"problem\": {...}}`, all but the first two only where there is
something to say; `problem` is the node's whole answer ([API.md](API.md)).

| exit code | meaning |
|---|---|
| 0 | done; for `serve`, `dev`, `subscribe`, `top` and `status --watch` also Ctrl-C |
| 1 | failed: the node said no (and did not publish), a check did not pass, a file of the input has faults, a port or data folder is in use; `status`: there is no leader |
| 2 | wrong arguments or settings; nothing was sent and nothing has started |
| 3 | `who`: somebody is not done, or said something other than ok |
| 4 | `validate`: nothing failed, but not every check was run, or not all of it |
| 69 | no node could be reached, or none answered in time |
| 74 | the disk of this machine failed or is full |
| 75 | the outcome of a publish is unknown: it may have been published, or will be; repeat it with the same `--key` |
";

/// `docs/COMMANDS.md`: the help texts, one after the other.
fn page() -> String {
    let mut page = HEAD.to_owned();
    let all = [&["campanile"][..], &COMMANDS].concat();
    let verbs = [
        "token create",
        "token list",
        "token revoke",
        "outputs test",
        "config check",
        "config show",
        "config default",
    ];
    for name in all.iter().flat_map(|name| {
        let verbs = verbs
            .iter()
            .filter(move |verb| verb.starts_with(&format!("{name} ")))
            .copied();
        std::iter::once(*name).chain(verbs)
    }) {
        let words: Vec<&str> = name
            .split(' ')
            .filter(|word| *word != "campanile")
            .chain(["--help"])
            .collect();
        let help = out(&campanile(&words));
        let title = if name == "campanile" {
            name.to_owned()
        } else {
            format!("campanile {name}")
        };
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        assert_can_be_pasted(&lines);
        let _ = write!(page, "\n## {title}\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
    }
    page
}
