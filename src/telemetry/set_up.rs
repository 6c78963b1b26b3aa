//! From the settings to a way out: the files that they name are read once, at the start.

use super::encode::Resource;
use super::push::{Pusher, Signal};
use super::settings::Config;
use super::span::Tracer;
use crate::base::clock;
use crate::net::{Endpoint, EndpointError, Outbound, Roots, TlsError};
use crate::security::secret::{self, SecretError};
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

const AGENT: &str = concat!("campanile/", env!("CARGO_PKG_VERSION"));

/// Why pushing cannot be set up; never the URL.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    #[error("otlp.url must {0}")]
    Url(EndpointError),
    #[error("otlp.headers_file: {0}")]
    Headers(SecretError),
    #[error("otlp.headers_file: line {line} is not a header, like Name: value")]
    Header { line: usize },
    #[error("otlp.ca_file: {0}")]
    File(SecretError),
    #[error("otlp.ca_file cannot be used: {0}")]
    Authorities(TlsError),
    #[error(
        "otlp.url is https, and this machine has no root certificates; install them (often the package ca-certificates), or set \
         otlp.ca_file"
    )]
    NoRoots,
    #[error("otlp: {0}")]
    Tls(TlsError),
}

/// Reads the files that the settings name. Without a collector there is nothing to push, and the tracer records nothing.
pub fn start(config: &Config, node: u64) -> Result<(Tracer, Option<Pusher>), SetUpError> {
    if !config.is_on() {
        return Ok((Tracer::off(), None));
    }
    let endpoint = |signal: Signal| {
        let url = format!("{}/v1/{}", config.url.trim_end_matches('/'), signal.name());
        Endpoint::parse(&url).map_err(SetUpError::Url)
    };
    let (queue, waiting) = mpsc::channel(config.spans_max);
    let filling = Arc::new(Notify::new());
    let traces = endpoint(Signal::Traces)?;
    let pusher = Pusher {
        outbound: outbound(config, traces.is_encrypted())?,
        metrics: config.metrics.then(|| endpoint(Signal::Metrics)).transpose()?,
        traces,
        headers: headers(config)?,
        resource: Resource {
            node,
            version: env!("CARGO_PKG_VERSION"),
            started: clock::wall_nanos(),
        },
        waiting,
        filling: filling.clone(),
        every: config.every.0,
        complained: [false; 2],
    };
    let tracer = if config.traces {
        Tracer::new(queue, config.sample, filling)
    } else {
        Tracer::off()
    };
    Ok((tracer, Some(pusher)))
}

fn outbound(config: &Config, is_encrypted: bool) -> Result<Outbound, SetUpError> {
    let mut roots = if is_encrypted {
        Roots::of_machine()
    } else {
        Roots::none()
    };
    if !config.ca_file.as_os_str().is_empty() {
        let pem = secret::read(&config.ca_file).map_err(SetUpError::File)?;
        roots.add(pem.bytes()).map_err(SetUpError::Authorities)?;
    }
    if is_encrypted && roots.is_empty() {
        return Err(SetUpError::NoRoots);
    }
    Outbound::new(config.allow.clone(), roots, config.timeout.0).map_err(SetUpError::Tls)
}

fn headers(config: &Config) -> Result<HeaderMap, SetUpError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    if config.headers_file.as_os_str().is_empty() {
        return Ok(headers);
    }
    let file = secret::read(&config.headers_file).map_err(SetUpError::Headers)?;
    if secret::is_shared(&config.headers_file) {
        tracing::warn!(
            "otlp.headers_file: {} can be read by other users of this machine",
            config.headers_file.display()
        );
    }
    let text = file.text().ok_or(SetUpError::Header { line: 1 })?;
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let (name, value) = header(text).ok_or(SetUpError::Header { line })?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// `Name: value`; the value is not shown by whoever shows headers.
fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::{Config, SetUpError, header, start};
    use std::path::Path;

    #[test]
    fn headers_are_read_by_the_line_and_not_shown() {
        let check = |line: &str, expected: Option<(&str, &str)>| {
            let read = header(line);
            let shown = read
                .as_ref()
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
            assert_eq!(shown, expected, "{line}");
            assert!(!format!("{read:?}").contains("hush"), "{read:?}");
        };
        check("X-Api-Key: hush", Some(("x-api-key", "hush")));
        check("authorization:Bearer hush", Some(("authorization", "Bearer hush")));
        check("hush", None);
        check("a b: hush", None);
        check(": hush", None);
    }

    fn with_headers(text: &str) -> Result<(), SetUpError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("headers");
        std::fs::write(&file, text).unwrap();
        let config = Config {
            url: "http://127.0.0.1:9".into(),
            headers_file: file,
            ..Config::default()
        };
        start(&config, 1).map(drop)
    }

    #[test]
    fn what_is_wrong_is_said_by_its_line() {
        assert!(with_headers("a: b\n\nc: d\n").is_ok());
        let error = with_headers("a: b\n\nhush\n").unwrap_err().to_string();
        assert_eq!(error, "otlp.headers_file: line 3 is not a header, like Name: value");
        let absent = Config {
            url: "https://host".into(),
            ca_file: Path::new("/nowhere").into(),
            ..Config::default()
        };
        assert!(matches!(start(&absent, 1), Err(SetUpError::File(_))));
        let (tracer, pusher) = start(&Config::default(), 1).unwrap();
        assert!(pusher.is_none() && tracer.begin(None, "publish").is_none());
    }
}
