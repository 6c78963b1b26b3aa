//! The real binary as people and scripts meet it: help, exit codes, JSON, and settings with faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test says no by panicking

use campanile::base::clock;
use serde_json::Value;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const COMMANDS: [&str; 10] = [
    "serve",
    "dev",
    "rehearse",
    "publish",
    "subscribe",
    "status",
    "import",
    "token",
    "config",
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

/// A node of its own, ended with the test.
struct Node {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
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
            format!("node.data={}", folder.path().join("node").display()),
            format!("api.listen={api}"),
            format!("cluster.listen={peer}"),
        ];
        let child = Command::new(env!("CARGO_BIN_EXE_campanile"))
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
        let last = json(got.lines().last().unwrap());
        assert_eq!(
            (&last["event"], &last["id"]),
            (&Value::from("broadcast"), &published["id"]),
            "{transport}"
        );
        let people = out(&node.run(&words));
        assert!(people.contains("NORMAL    a.b  T: B"), "{transport}: {people}");
    }
    let status = json(&out(&node.run(&["status", "--json"])));
    assert_eq!(status["cluster"]["leader"], 1, "{status}");

    let pid = rustix::process::Pid::from_child(&node.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(node.child.wait().unwrap().code(), Some(0), "{}", node.log());
    let log = node.log();
    assert!(log.lines().all(|line| json(line)["level"].is_string()), "{log}");
    assert!(log.contains("SIGTERM"), "{log}");
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

/// `docs/COMMANDS.md`: the help texts, one after the other.
fn page() -> String {
    let mut page =
        "# Commands\n\nWhat `campanile COMMAND --help` prints, on one page; a test keeps it so.\n".to_owned();
    let all = [&["campanile"][..], &COMMANDS].concat();
    let verbs = [
        "token create",
        "token list",
        "token revoke",
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
        let _ = write!(page, "\n## {title}\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
    }
    page
}
