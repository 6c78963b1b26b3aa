//! `campanile outputs test`: one call to an output from this machine, by the settings of a file.

use super::arguments::{OutputsTest, OutputsVerb};
use super::failure::Failure;
use super::output::{self, GOOD, plain};
use super::settings;
use crate::base::clock;
use crate::model::Priority;
use crate::outputs::{Config, Message, OutputStatus, Outputs, Turn};
use serde_json::json;
use std::time::Duration;

/// The type of a test message.
const KIND: &str = "output.test";

pub async fn run(verb: &OutputsVerb, as_json: bool) -> Result<(), Failure> {
    match verb {
        OutputsVerb::Test(options) => test(options, as_json).await,
    }
}

async fn test(options: &OutputsTest, as_json: bool) -> Result<(), Failure> {
    let settings = settings::read(&options.settings, &[])?;
    let (output, took) = call(&options.name, &settings.config.outputs).await?;
    let (name, host, shape, took) = (output.name, plain(&output.host), output.shape.name(), took.as_millis());
    if as_json {
        let said = json!({"output": name, "shape": shape, "host": host, "milliseconds": took});
        return output::say(&said.to_string());
    }
    output::say(&format!(
        "{GOOD}taken{GOOD:#} by {name} ({shape} at {host}) after {took} ms"
    ))
}

/// The output that has taken a message, and how long that took.
async fn call(name: &str, config: &Config) -> Result<(OutputStatus, Duration), Failure> {
    let outputs = Outputs::new(config).map_err(|error| Failure::usage(error.to_string()))?;
    let known = outputs.status();
    let Some(output) = known.into_iter().find(|output| output.name == name) else {
        let names: Vec<&str> = outputs.names().collect();
        let hint = if names.is_empty() {
            "set outputs.targets, or name a file of settings with --config".to_owned()
        } else {
            format!("one of: {}", names.join(", "))
        };
        return Err(Failure::usage(format!("there is no output {name:?} in the settings")).hint(hint));
    };
    let begun = clock::now();
    let called = outputs.call(name, &message(name)).await;
    called.map_err(|failure| {
        Failure::failed(format!("{name} has not taken the message"))
            .details(vec![plain(&failure.detail)])
            .hint("the section outputs of the settings; `campanile config show` prints those in force")
    })?;
    Ok((output, begun.elapsed()))
}

fn message(name: &str) -> Message {
    let at = clock::wall();
    let id = format!("test-{name}-{at}");
    Message {
        group: id.clone(),
        id,
        at,
        kind: KIND.into(),
        summary: format!("This is a test of the output {name}. Nothing has happened."),
        priority: Priority::Low,
        drill: true,
        turn: Turn::Begins,
        data: json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Failure, call};
    use crate::cli::failure::Exit;
    use crate::net::outbound::server::{Play, Server};
    use crate::outputs::{Shape, Target};
    use serde_json::Value;

    /// Tries the output `name` where there is only a siren, at a server that answers this.
    async fn check(name: &str, status: &str, allow: &str) -> (Server, Result<String, Failure>) {
        let server = Server::plain(&[Play::Say(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))]).await;
        let siren = Target {
            name: "siren".into(),
            url: Some(server.url("/hush")),
            url_file: None,
            shape: Shape::Slack,
            secret_file: None,
        };
        let config = Config {
            targets: vec![siren],
            allow: serde_json::from_str(allow).unwrap(),
            ..Config::default()
        };
        let called = call(name, &config).await.map(|(output, _)| output.host);
        (server, called)
    }

    #[tokio::test]
    async fn one_message_is_sent_and_says_that_it_is_a_drill() {
        let (mut server, called) = check("siren", "204 Taken", r#"["127.0.0.0/8"]"#).await;
        assert_eq!(called.unwrap(), server.address.to_string());
        let body: Value = serde_json::from_slice(&server.request().await.body).unwrap();
        assert_eq!(
            body["text"],
            "DRILL: This is a test of the output siren. Nothing has happened."
        );
        assert_eq!(server.connections(), 1);
    }

    #[tokio::test]
    async fn a_failure_says_why_and_what_to_try() {
        let failed = |called: Result<String, Failure>| called.unwrap_err();
        let refused = failed(check("siren", "500 No", r#"["127.0.0.0/8"]"#).await.1);
        assert_eq!(
            (refused.exit, refused.details),
            (Exit::Failed, vec!["it answered 500".to_owned()])
        );
        let inside = failed(check("siren", "204 Taken", "[]").await.1);
        assert!(inside.details[0].contains("127.0.0.1 (loopback)"), "{inside:?}");
        assert!(!format!("{inside:?}").contains("hush"), "{inside:?}");
        let unknown = failed(check("horn", "204 Taken", "[]").await.1);
        assert_eq!(
            (unknown.exit, unknown.hint.as_deref()),
            (Exit::Usage, Some("one of: siren"))
        );
    }
}
